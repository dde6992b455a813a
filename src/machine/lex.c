/*
 * What stands outside the drawing: the front matter, directives, and the comments with the
 * declarations. Mermaid takes these away before it reads the diagram, wherever they stand; so do
 * we.
 */
#include "machine/ast.h"

static bool at_line_start(const struct source *source, uint32_t at) {
	return at == 0 || source->clean[at - 1] == '\n';
}

static void blank(struct source *source, uint32_t at, uint32_t end) {
	for (; at < end; at++)
		if (source->clean[at] != '\n')
			source->clean[at] = ' ';
}

/* ---- the front matter ----------------------------------------------------------------------- */

/* The value of "title: value", without quotes and a comment. */
static struct slice title_value(const struct source *source, uint32_t at, uint32_t end) {
	struct slice value = mc_trimmed(source, (struct slice){ at, end - at });
	const char *text = source->clean + value.at;
	if (value.len >= 2 && (text[0] == '"' || text[0] == '\'')) {
		const char *close = memchr(text + 1, text[0], value.len - 1);
		if (close != NULL)
			return (struct slice){ value.at + 1, (uint32_t)(close - text) - 1 };
	}
	for (uint32_t i = 1; i < value.len; i++)
		if (text[i] == '#' && (text[i - 1] == ' ' || text[i - 1] == '\t'))
			value.len = i;
	return mc_trimmed(source, value);
}

static void read_title(struct source *source, uint32_t at, uint32_t end) {
	if (source->title.len > 0) {
		mc_error_at(source, "title", (struct slice){ at, end - at },
			    "the front matter has a second title");
		return;
	}
	source->title = title_value(source, at + 6, end);
	struct slice title = source->title;
	if (title.len == 0) {
		mc_help_on(mc_error_at(source, "title", (struct slice){ at, 6 },
				       "the title is empty"),
			   "the title is the contract's name: write title: order, or leave it out");
	} else if (!mc_is_name(mc_span_of(source, title), "-.") || title.len > HF_NAME_MAX) {
		char buf[HF_NAME_MAX + 1];
		mc_help_on(mc_error_at(source, "title", title,
				       "the title \"%s\" cannot be a contract's name",
				       mc_show(source, title).text),
			   "clients type it: one word of at most %u letters, digits, _, - and ., "
			   "the first a letter or _, such as %s",
			   HF_NAME_MAX, mc_suggested_name(mc_span_of(source, title), buf));
	}
}

/* A title as YAML may also write it: indented, quoted, or with blanks before the colon. */
static bool is_unread_title(const struct source *source, struct slice line) {
	struct slice key = line;
	const char *text = source->clean + line.at;
	char quote = line.len > 0 && (text[0] == '"' || text[0] == '\'') ? text[0] : '\0';
	const char *colon = memchr(text, ':', line.len);
	if (colon == NULL)
		return false;
	key.len = (uint32_t)(colon - text);
	key = mc_trimmed(source, key);
	if (quote != '\0' && key.len > 2 && source->clean[key.at + key.len - 1] == quote)
		key = (struct slice){ key.at + 1, key.len - 2 };
	bool ends = (uint32_t)(colon - text) + 1 == line.len || mc_is_blank(colon[1]);
	return mc_slice_is(source, key, "title") && (ends || quote != '\0');
}

/* Its value is not taken for the name: texts that were logged keep the name that they had. */
static void warn_of_unread_title(struct source *source, struct slice line) {
	if (is_unread_title(source, line))
		mc_help_on(mc_warning_at(source, "title", line,
					 "this title is not read, and names nothing"),
			   "begin the line with title: and nothing before it");
}

/* Is the line of three dashes that opens or closes front matter at `at`? */
static bool is_fence(const struct source *source, uint32_t at) {
	uint32_t end = mc_end_of_line(source, at);
	return end - at >= 3 && memcmp(source->clean + at, "---", 3) == 0 &&
	       mc_trimmed(source, (struct slice){ at, end - at }).len == 3;
}

static uint32_t read_front_matter(struct source *source) {
	if (!is_fence(source, 0))
		return 0;
	uint32_t at = mc_end_of_line(source, 0), root = UINT32_MAX; /* its indentation */
	while (at < source->text.len) {
		uint32_t line = at + 1, end = mc_end_of_line(source, line);
		struct slice words = mc_trimmed(source, (struct slice){ line, end - line });
		if (line < source->text.len && is_fence(source, line))
			return end;
		if (root == UINT32_MAX && words.len > 0 && source->clean[words.at] != '#')
			root = words.at - line;
		if (end - line >= 6 && memcmp(source->clean + line, "title:", 6) == 0)
			read_title(source, line, end);
		else if (words.at - line == root)
			warn_of_unread_title(source, words);
		at = end;
	}
	mc_help_on(mc_error_at(source, "front-matter", (struct slice){ 0, 3 },
			       "the front matter is not closed"),
		   "close it with a line of three dashes before stateDiagram-v2");
	return (uint32_t)source->text.len;
}

/* ---- declarations --------------------------------------------------------------------------- */

static void expect_end(struct cursor *cursor, const char *what) {
	mc_skip_blanks(cursor);
	if (cursor->at < cursor->end)
		mc_error_at(cursor->source, "declaration",
			    (struct slice){ cursor->at, cursor->end - cursor->at },
			    "this does not belong to the %s", what);
}

static void read_version(struct cursor *cursor) {
	struct source *source = cursor->source;
	mc_skip_blanks(cursor);
	struct slice at =
		mc_trimmed(source, (struct slice){ cursor->at, cursor->end - cursor->at });
	if (source->version_at.len > 0) {
		mc_error_at(source, "duplicate", at, "the version is declared twice");
		return;
	}
	if (!hf_span_u64(mc_span_of(source, at), &source->version) || source->version == 0 ||
	    source->version > HF_CONTRACT_VERSION_MAX) {
		source->version = 1;
		mc_help_on(mc_error_at(source, "declaration", at.len > 0 ? at : mc_here(cursor),
				       "the version must be a number from 1 to %llu",
				       (unsigned long long)HF_CONTRACT_VERSION_MAX),
			   "for example: %%%% version 2");
		return;
	}
	source->version_at = at;
}

static void read_field(struct cursor *cursor) {
	struct source *source = cursor->source;
	struct field field = { .name = mc_take_word(cursor) };
	bool good = field.name.len > 0 && mc_take_char(cursor, ':');
	if (!good) {
		mc_help_on(mc_error_at(source, "declaration", mc_here(cursor),
				       "a field is declared as name: type"),
			   "for example: %%%% field qty: u64");
		return;
	}
	if (!mc_read_type(cursor, &field.type, &field.bytes_max, &field.type_at))
		return;
	expect_end(cursor, "field");
	struct field *copy = mc_source_alloc(source, sizeof(*copy));
	*copy = field;
	copy->index = (uint16_t)source->field_count++;
	if (source->last_field == NULL)
		source->first_field = copy;
	else
		source->last_field->next = copy;
	source->last_field = copy;
	if (source->field_count > HF_FIELDS_MAX) {
		mc_error_at(source, "too-many", field.name, "a contract has at most %u fields",
			    HF_FIELDS_MAX);
		source->stop = true;
	}
}

static void read_invariant(struct cursor *cursor) {
	struct source *source = cursor->source;
	mc_skip_blanks(cursor);
	struct slice at =
		mc_trimmed(source, (struct slice){ cursor->at, cursor->end - cursor->at });
	struct expr *expr = mc_read_expr(cursor);
	if (expr == NULL)
		return;
	expect_end(cursor, "invariant");
	struct invariant *invariant = mc_source_alloc(source, sizeof(*invariant));
	*invariant = (struct invariant){ .at = at, .expr = expr };
	if (source->last_invariant == NULL)
		source->first_invariant = invariant;
	else
		source->last_invariant->next = invariant;
	source->last_invariant = invariant;
	if (++source->invariant_count > HF_INVARIANTS_MAX) {
		mc_error_at(source, "too-many", at, "a contract has at most %u invariants",
			    HF_INVARIANTS_MAX);
		source->stop = true;
	}
}

/* A comment that starts with almost one of our words is perhaps meant to be a declaration. */
static void warn_of_near_word(struct source *source, struct slice word) {
	static const char *const words[] = { "version", "field", "invariant" };
	char lower[HF_NAME_MAX + 1];
	if (word.len < 4 || word.len > HF_NAME_MAX)
		return;
	for (uint32_t i = 0; i < word.len; i++) {
		char c = source->clean[word.at + i];
		lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t allowed = strlen(words[i]) > 5 ? 2 : 1;
		if (mc_edit_distance(hf_span(lower, word.len), hf_span_of(words[i]), allowed) >
		    allowed)
			continue;
		mc_help_on(mc_warning_at(source, "near-declaration", word,
					 "this comment is not a declaration"),
			   "if it should be one, its first word is %s; if not, begin it otherwise",
			   words[i]);
		return;
	}
}

void mc_read_comment(struct source *source, uint32_t at, uint32_t end) {
	struct cursor cursor = { .source = source, .at = at + 2, .end = end };
	struct slice word = mc_take_word(&cursor);
	if (mc_slice_is(source, word, "version"))
		read_version(&cursor);
	else if (mc_slice_is(source, word, "field"))
		read_field(&cursor);
	else if (mc_slice_is(source, word, "invariant"))
		read_invariant(&cursor);
	else
		warn_of_near_word(source, word);
}

/* ---- comments and directives ---------------------------------------------------------------- */

static const char *after_blanks(const char *at) {
	while (mc_is_blank(*at))
		at++;
	return at;
}

static const char *after_word(const char *at) {
	while (mc_is_word_byte(*at))
		at++;
	return after_blanks(at);
}

/* %%{name}%%, %%{name: anything}%%; but after a single word Mermaid stops reading, and draws the
 * rest. */
static bool is_directive(const char *at, const char *close) {
	const char *name = after_blanks(at + 3), *value = after_word(name);
	if (*value == ':')
		value = after_blanks(value + 1);
	return close != NULL && value > name && mc_is_word_byte(*name) &&
	       (!mc_is_word_byte(*value) || after_word(value) == close);
}

/* Directives say how Mermaid draws; they may span lines and stand anywhere. */
static void blank_directives(struct source *source, uint32_t from) {
	char *at = source->clean + from;
	while ((at = strstr(at, "%%{")) != NULL) {
		uint32_t start = (uint32_t)(at - source->clean);
		char *close = strstr(at, "}%%");
		if (!is_directive(at, close))
			mc_help_on(mc_error_at(source, "directive", (struct slice){ start, 3 },
					       "this is not a directive"),
				   "a directive is %%%%{name}%%%% or %%%%{name: ...}%%%%, a "
				   "comment is "
				   "%%%% text");
		if (close == NULL)
			return;
		uint32_t end = (uint32_t)(close - source->clean) + 3;
		blank(source, start, end);
		at = source->clean + end;
	}
}

/* In `clean`, every line end is \n; \r\n becomes two, so that offsets stay. NUL cannot be kept. */
static void copy_clean(struct source *source) {
	for (uint32_t i = 0; i < source->text.len; i++) {
		char c = (char)source->text.data[i];
		if (c == '\0')
			mc_error_at(source, "encoding", (struct slice){ i, 1 },
				    "a NUL byte cannot be part of a diagram");
		source->clean[i] = c == '\r' ? '\n' : c == '\0' ? ' ' : c;
	}
}

uint32_t mc_read_comments(struct source *source) {
	copy_clean(source);
	uint32_t start = read_front_matter(source);
	if (start == 0 && source->text.len >= 3 && memcmp(source->clean, "\xef\xbb\xbf", 3) == 0)
		start = 3;
	blank_directives(source, start);
	for (uint32_t at = start; at < source->text.len && !source->stop;) {
		uint32_t end = mc_end_of_line(source, at), first = at;
		while (first < end && (source->clean[first] == ' ' || source->clean[first] == '\t'))
			first++;
		bool comment = (at_line_start(source, at) || at == start) && end - first >= 2 &&
			       memcmp(source->clean + first, "%%", 2) == 0;
		if (comment) {
			mc_read_comment(source, first, end);
			blank(source, first, end);
		}
		at = end + 1;
	}
	return start;
}
