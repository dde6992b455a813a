/*
 * The drawing: states and arrows, as Mermaid's own grammar reads them, one statement to a line.
 *
 * Mermaid is more liberal than this in places where it surely is a slip (two statements on a line,
 * a statement over several lines, text after `state x`): those are refused, each with its own code.
 * The code "syntax" is for what Mermaid refuses as well.
 */
#include "machine/ast.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct parser {
	struct source *source;
	uint32_t at;
	uint32_t depth; /* of open braces */
	struct state *scope;
	struct state **outer; /* the scopes around it, [0] being none: room for HF_EXPR_DEPTH_MAX */
};

static bool fail_at(struct parser *parser, const char *code, struct slice at, const char *what,
		    const char *help) {
	mc_help_on(mc_error_at(parser->source, code, at, "%s", what), "%s", help);
	return false;
}

/* ---- characters ----------------------------------------------------------------------------- */

static char byte_at(const struct parser *parser, uint32_t at) {
	return parser->source->clean[at]; /* NUL at the end */
}

static void skip_line_blanks(struct parser *parser) {
	while (byte_at(parser, parser->at) != '\n' && mc_is_blank(byte_at(parser, parser->at)))
		parser->at++;
}

static void skip_all_blanks(struct parser *parser) {
	while (mc_is_blank(byte_at(parser, parser->at)))
		parser->at++;
}

static char to_lower(char c) {
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool starts_with(const struct parser *parser, uint32_t at, const char *lower) {
	while (*lower != '\0' && to_lower(byte_at(parser, at)) == *lower) {
		lower++;
		at++;
	}
	return *lower == '\0';
}

/* A word of Mermaid, and not the beginning of a longer one. */
static bool at_word(const struct parser *parser, const char *lower) {
	return starts_with(parser, parser->at, lower) &&
	       !mc_is_word_byte(byte_at(parser, parser->at + (uint32_t)strlen(lower)));
}

static bool take_keyword(struct parser *parser, const char *lower) {
	size_t len = strlen(lower);
	if (!starts_with(parser, parser->at, lower) ||
	    !mc_is_blank(byte_at(parser, parser->at + (uint32_t)len)))
		return false;
	parser->at += (uint32_t)len;
	skip_line_blanks(parser);
	return true;
}

static bool at_line_end(const struct parser *parser) {
	char c = byte_at(parser, parser->at);
	return c == '\n' || c == '\0';
}

static struct slice rest_of_line(const struct parser *parser) {
	return mc_trimmed(parser->source,
			  (struct slice){ parser->at, mc_end_of_line(parser->source, parser->at) -
							      parser->at });
}

static struct slice one_byte(const struct parser *parser) {
	return (struct slice){ parser->at, 1 };
}

/* ---- states --------------------------------------------------------------------------------- */

static struct state **slot_of(struct source *source, struct slice name) {
	uint64_t hash = XXH3_64bits(source->text.data + name.at, name.len);
	uint32_t slot = (uint32_t)hash % STATE_TABLE_SIZE;
	while (source->state_table[slot] != NULL &&
	       !mc_slices_equal(source, source->state_table[slot]->name, name))
		slot = (slot + 1) % STATE_TABLE_SIZE;
	return &source->state_table[slot];
}

/* Of a state that is mentioned in several braces, the innermost hold it; all must lie around one
 * another. */
static bool set_parent(struct parser *parser, struct state *state, struct slice at) {
	struct source *source = parser->source;
	struct shown name = mc_show(source, at);
	if (parser->scope == state->parent || mc_is_within(state->parent, parser->scope))
		return true;
	if (mc_is_within(parser->scope, state)) {
		mc_error_at(source, "contains-itself", at, "%s cannot stand within itself",
			    name.text);
		return false;
	}
	if (mc_is_within(parser->scope, state->parent)) {
		state->parent = parser->scope;
		return true;
	}
	mc_help_on(mc_error_at(source, "two-composites", at, "%s already belongs to %s", name.text,
			       mc_show(source, state->parent->name).text),
		   "a state is drawn in one composite; draw an arrow between two of them outside "
		   "both");
	return false;
}

static bool check_state_name(struct parser *parser, struct slice name) {
	struct source *source = parser->source;
	char buf[HF_NAME_MAX + 1];
	if (memchr(source->clean + name.at, ';', name.len) != NULL)
		return fail_at(parser, "semicolon", name,
			       "Mermaid takes a ; here as part of a state's name",
			       "end the statement with the line instead");
	if (!mc_is_name(mc_span_of(source, name), ".")) {
		mc_help_on(mc_error_at(source, "state-name", name, "%s cannot be a state's name",
				       mc_show(source, name).text),
			   "a name is letters, digits, _ and ., the first a letter or _; for "
			   "example state \"%s\" as %s",
			   mc_show(source, name).text,
			   mc_suggested_name(mc_span_of(source, name), buf));
		return false;
	}
	if (name.len <= HF_NAME_MAX)
		return true;
	mc_error_at(source, "too-long", name, "a name has at most %u bytes", HF_NAME_MAX);
	return false;
}

/* The state of that name, made if it is new. NULL: an error was reported. */
static struct state *mention(struct parser *parser, struct slice name) {
	struct source *source = parser->source;
	if (!check_state_name(parser, name))
		return NULL;
	struct state **slot = slot_of(source, name);
	if (*slot != NULL)
		return set_parent(parser, *slot, name) ? *slot : NULL;
	if (source->state_count == HF_STATES_MAX - 1) {
		mc_error_at(source, "too-many", name, "a contract has at most %u states",
			    HF_STATES_MAX - 1);
		source->stop = true;
		return NULL;
	}
	struct state *state = mc_source_alloc(source, sizeof(*state));
	state->name = name;
	state->parent = parser->scope;
	*slot = state;
	if (source->last_state == NULL)
		source->first_state = state;
	else
		source->last_state->next = state;
	source->last_state = state;
	source->state_count++;
	return state;
}

/* ---- texts ---------------------------------------------------------------------------------- */

/* The length of a Mermaid entity such as #35; or #quot; at `at`, or 0. */
static uint32_t entity_length(const struct parser *parser, uint32_t at) {
	uint32_t len = 1;
	if (byte_at(parser, at) != '#')
		return 0;
	while (mc_is_word_byte(byte_at(parser, at + len)))
		len++;
	return len > 1 && byte_at(parser, at + len) == ';' ? len + 1 : 0;
}

static bool at_comment(const struct parser *parser) {
	return starts_with(parser, parser->at, "%%") ||
	       (byte_at(parser, parser->at) == '#' && entity_length(parser, parser->at) == 0);
}

static bool ends_text(char c) {
	return c == ':' || c == ';' || c == '\n' || c == '\0';
}

/* The text after a colon: to the line's end. A single colon may stand in it if `colons`. */
static bool read_text(struct parser *parser, bool colons, struct slice *ret) {
	uint32_t start = ++parser->at;
	for (;;) {
		char c = byte_at(parser, parser->at);
		uint32_t entity = entity_length(parser, parser->at);
		if (entity > 0)
			parser->at += entity;
		else if (!ends_text(c))
			parser->at++;
		else if (colons && c == ':' && !ends_text(byte_at(parser, parser->at + 1)))
			parser->at += 2;
		else
			break;
	}
	*ret = (struct slice){ start, parser->at - start };
	if (byte_at(parser, parser->at) == ';')
		return fail_at(parser, "semicolon", one_byte(parser),
			       "Mermaid ends the text here, and takes the ; as a state",
			       "leave the ; out, or write #59; in a text");
	if (byte_at(parser, parser->at) == ':')
		return fail_at(parser, "syntax", one_byte(parser),
			       colons ? "this colon cannot stand here"
				      : "a note on one line has no second colon",
			       colons ? "Mermaid takes single colons with something after them"
				      : "write it over several lines, up to `end note`");
	if (ret->len == 0)
		return fail_at(parser, "syntax", (struct slice){ start - 1, 1 },
			       "a text is missing after the colon", "");
	return true;
}

/* ---- arrows --------------------------------------------------------------------------------- */

/* Words that Mermaid does not take as the name of a state. */
static bool at_reserved_word(const struct parser *parser) {
	static const char *const before_blank[] = { "state", "note", "class", "classdef", "style" };
	static const char *const root_before_blank[] = { "scale", "statediagram",
							 "statediagram-v2" };
	static const char *const root[] = { "default", "click", "href" };
	struct parser copy = *parser;
	for (size_t i = 0; i < 5; i++)
		if (take_keyword(&copy, before_blank[i]))
			return true;
	for (size_t i = 0; i < 3 && parser->depth == 0; i++)
		if (take_keyword(&copy, root_before_blank[i]) || at_word(parser, root[i]))
			return true;
	return false;
}

/* One end of an arrow: [*] (ret is NULL) or a state, perhaps with :::class. */
static bool read_end(struct parser *parser, struct state **ret, struct slice *ret_at) {
	if (at_line_end(parser))
		return fail_at(parser, "line-break", one_byte(parser),
			       "a state is missing at the end of this line",
			       "a transition is one line: A --> B : event");
	if (at_reserved_word(parser))
		return fail_at(parser, "syntax", rest_of_line(parser),
			       "this is a word of Mermaid's own, not a state", "");
	uint32_t start = parser->at;
	*ret = NULL;
	if (starts_with(parser, start, "[*]")) {
		parser->at += 3;
		*ret_at = (struct slice){ start, 3 };
	} else {
		while (!mc_is_blank(byte_at(parser, parser->at)) &&
		       strchr(":-{", byte_at(parser, parser->at)) == NULL)
			parser->at++;
		*ret_at = (struct slice){ start, parser->at - start };
		if (ret_at->len == 0)
			return fail_at(parser, "syntax", one_byte(parser),
				       "a state should stand here",
				       "a line is A --> B : event, or A : text");
		if (byte_at(parser, parser->at) == '-' && !starts_with(parser, parser->at, "--"))
			return fail_at(parser, "state-name", one_byte(parser),
				       "a state's name has no -, and an arrow is -->",
				       "names are letters, digits, _ and .");
		*ret = mention(parser, *ret_at);
		if (*ret == NULL)
			return false;
	}
	skip_line_blanks(parser);
	if (!starts_with(parser, parser->at, ":::"))
		return true;
	parser->at += 3;
	skip_line_blanks(parser);
	uint32_t style = parser->at;
	while (mc_is_word_byte(byte_at(parser, parser->at)))
		parser->at++;
	if (parser->at == style)
		return fail_at(parser, "style", one_byte(parser),
			       "a class is missing after :::", "");
	skip_line_blanks(parser);
	return true;
}

/* What Mermaid shows in a label, but does not mean what it seems to. */
static bool check_label_text(struct parser *parser, struct slice at) {
	for (uint32_t i = at.at; i < at.at + at.len; i++) {
		uint32_t entity = entity_length(parser, i);
		if (entity > 0)
			return fail_at(parser, "entity", (struct slice){ i, entity },
				       "an entity cannot stand in an event's label",
				       "write the character itself");
		if (starts_with(parser, i, "%%"))
			return fail_at(parser, "comment", (struct slice){ i, at.at + at.len - i },
				       "Mermaid takes this as part of the label, not as a comment",
				       "put the comment on a line of its own");
	}
	return true;
}

static bool read_arc(struct parser *parser, struct state *from, struct slice from_at) {
	struct source *source = parser->source;
	struct arc arc = { .from = from, .from_at = from_at, .scope = parser->scope };
	if (!read_end(parser, &arc.to, &arc.to_at))
		return false;
	arc.at = (struct slice){ from_at.at, arc.to_at.at + arc.to_at.len - from_at.at };
	arc.label.event_index = -1;
	bool good = true;
	if (byte_at(parser, parser->at) == ':') {
		struct slice text;
		if (!read_text(parser, true, &text))
			return false;
		good = check_label_text(parser, text) && mc_read_label(source, text, &arc.label);
		arc.label.bad = !good;
	}
	struct arc *copy = mc_source_alloc(source, sizeof(*copy));
	*copy = arc;
	if (source->last_arc == NULL)
		source->first_arc = copy;
	else
		source->last_arc->next = copy;
	source->last_arc = copy;
	source->arc_count++;
	if (from == NULL)
		return good;
	if (from->last_out == NULL)
		from->first_out = copy;
	else
		from->last_out->next_out = copy;
	from->last_out = copy;
	return good;
}

static bool open_composite(struct parser *parser, struct state *state) {
	struct slice brace = one_byte(parser);
	if (parser->depth == HF_EXPR_DEPTH_MAX) {
		parser->source->stop = true;
		mc_error_at(parser->source, "too-deep", brace,
			    "composite states nest at most %u deep", HF_EXPR_DEPTH_MAX);
		return false;
	}
	parser->at++;
	if (state->brace_at.len > 0)
		fail_at(parser, "duplicate", state->name, "this state has braces twice",
			"draw what is in it between one pair");
	if (state->kind == STATE_CHOICE)
		fail_at(parser, "choice", brace, "a choice has no inner states", "");
	else
		state->kind = STATE_COMPOSITE;
	state->brace_at = brace;
	parser->outer[parser->depth++] = parser->scope;
	parser->scope = state;
	return true;
}

/* Lines that begin with what cannot begin one. Sets *ret_is_one. */
static bool read_odd_line(struct parser *parser, bool *ret_is_one) {
	struct slice at = rest_of_line(parser);
	*ret_is_one = true;
	if (starts_with(parser, parser->at, "-->") || byte_at(parser, parser->at) == ':')
		return fail_at(parser, "line-break", at, "this line has no beginning",
			       "a transition is one line: A --> B : event");
	if (starts_with(parser, parser->at, "--") && parser->depth > 0)
		return fail_at(
			parser, "concurrency", (struct slice){ parser->at, 2 },
			"an entity is in one state at a time: there are no concurrent regions",
			"give each region a contract of its own");
	if (byte_at(parser, parser->at) == '}')
		return fail_at(parser, "brace", one_byte(parser), "no brace is open here", "");
	*ret_is_one = false;
	return true;
}

/* A --> B : event, or A : text, or A alone. */
static bool read_state_line(struct parser *parser) {
	struct state *state;
	struct slice at, text;
	bool odd, good = read_odd_line(parser, &odd);
	if (odd)
		return good;
	if (!read_end(parser, &state, &at))
		return false;
	if (byte_at(parser, parser->at) == '{') {
		fail_at(parser, "syntax", one_byte(parser), "this brace belongs to no composite",
			"write state name { ... }");
		(void)open_composite(parser, mc_source_alloc(parser->source, sizeof(*state)));
		return false;
	}
	if (starts_with(parser, parser->at, "-->")) {
		parser->at += 3;
		skip_line_blanks(parser);
		return read_arc(parser, state, at);
	}
	if (byte_at(parser, parser->at) == '-')
		return fail_at(parser, "arrow", one_byte(parser), "this is not an arrow",
			       "the arrow is -->, and names have no -");
	return byte_at(parser, parser->at) != ':' || read_text(parser, true, &text);
}

/* ---- state ... ------------------------------------------------------------------------------ */

/* state x <<choice>> and its kin. Sets *ret_is_one. */
static bool read_pseudo_state(struct parser *parser, bool *ret_is_one) {
	static const char *const marks[] = { "<<fork>>", "<<join>>", "<<choice>>",
					     "[[fork]]", "[[join]]", "[[choice]]" };
	uint32_t end = mc_end_of_line(parser->source, parser->at), found = end;
	size_t which = 0;
	for (size_t i = 0; i < 6 && found == end; i++)
		for (uint32_t at = parser->at; at < end && found == end; at++)
			if (starts_with(parser, at, marks[i])) {
				found = at;
				which = i;
			}
	*ret_is_one = found < end;
	if (found == end)
		return true;
	struct slice name =
		mc_trimmed(parser->source, (struct slice){ parser->at, found - parser->at });
	struct slice mark = { found, (uint32_t)strlen(marks[which]) };
	parser->at = found + mark.len;
	if (which % 3 != 2)
		return fail_at(
			parser, "fork", mark,
			"an entity is in one state at a time: there is no fork and no join",
			"draw the states one after the other, or give each branch a contract of "
			"its own");
	struct state *state = name.len > 0 ? mention(parser, name) : NULL;
	if (state == NULL)
		return name.len > 0 ||
		       fail_at(parser, "state-name", mark, "the choice has no name", "");
	if (state->kind == STATE_COMPOSITE)
		return fail_at(parser, "choice", mark, "a choice has no inner states", "");
	state->kind = STATE_CHOICE;
	return true;
}

/* "text" as name: takes the text and leaves the cursor at the name. */
static bool read_alias_text(struct parser *parser) {
	uint32_t start = parser->at++;
	while (byte_at(parser, parser->at) != '"' && byte_at(parser, parser->at) != '\0')
		parser->at++;
	if (byte_at(parser, parser->at) == '\0') {
		parser->at = start;
		return fail_at(parser, "syntax", one_byte(parser), "the closing quote is missing",
			       "");
	}
	parser->at++;
	skip_line_blanks(parser);
	if (!take_keyword(parser, "as"))
		return fail_at(parser, "alias", one_byte(parser),
			       "the name for this text is missing", "write state \"text\" as name");
	return true;
}

static struct slice read_declared_name(struct parser *parser, bool alias) {
	uint32_t start = parser->at;
	while (!at_line_end(parser) && byte_at(parser, parser->at) != '{' &&
	       (alias || !mc_is_blank(byte_at(parser, parser->at))))
		parser->at++;
	struct slice name = { start, parser->at - start };
	const char *colon = alias ? memchr(parser->source->clean + start, ':', name.len) : NULL;
	if (colon != NULL)
		name.len = (uint32_t)(colon - parser->source->clean) - start;
	return mc_trimmed(parser->source, name);
}

static bool read_declaration(struct parser *parser) {
	bool done, good = read_pseudo_state(parser, &done);
	if (done)
		return good;
	bool alias = byte_at(parser, parser->at) == '"';
	if (alias && !read_alias_text(parser))
		return false;
	struct slice name = read_declared_name(parser, alias);
	if (name.len == 0)
		return fail_at(parser, "state-name", one_byte(parser),
			       "the name of the state is missing",
			       "write state name, state \"text\" as name, or state name { ... }");
	struct state *state = mention(parser, name);
	skip_line_blanks(parser);
	struct parser ahead = *parser;
	if (parser->depth == 0)
		skip_all_blanks(&ahead); /* only there does Mermaid take a { on a line of its own */
	if (byte_at(&ahead, ahead.at) == '{') {
		parser->at = ahead.at;
		/* The braces must pair up, even around a state that cannot be. */
		struct state *held = state;
		if (held == NULL)
			held = mc_source_alloc(parser->source, sizeof(*held));
		return open_composite(parser, held) && state != NULL;
	}
	if (state == NULL)
		return false;
	if (at_line_end(parser) || at_comment(parser))
		return true;
	struct slice rest = rest_of_line(parser);
	fail_at(parser, "state-declaration", rest, "this is lost after the state's name",
		"write state \"text\" as name, or name : text on a line without `state`");
	parser->at = rest.at + rest.len - 1;
	if (byte_at(parser, parser->at) == '{')
		(void)open_composite(parser, state);
	return false;
}

/* ---- notes and looks ------------------------------------------------------------------------ */

static bool skip_long_note(struct parser *parser, struct slice note) {
	while (byte_at(parser, parser->at) != '\0') {
		parser->at = mc_end_of_line(parser->source, parser->at);
		skip_all_blanks(parser);
		if (at_word(parser, "end note")) {
			parser->at += 8;
			return true;
		}
	}
	return fail_at(parser, "syntax", note, "this note has no end",
		       "write `note right of A : text`, or end it with a line `end note`");
}

static bool read_note(struct parser *parser) {
	struct slice note = rest_of_line(parser), text;
	bool left = at_word(parser, "left of");
	if (left || at_word(parser, "right of")) {
		parser->at += left ? 7 : 8;
		skip_all_blanks(parser);
		uint32_t start = parser->at;
		while (!mc_is_blank(byte_at(parser, parser->at)) &&
		       strchr(":-", byte_at(parser, parser->at)) == NULL)
			parser->at++;
		struct slice name = { start, parser->at - start };
		if (name.len == 0)
			return fail_at(parser, "syntax", one_byte(parser),
				       "the note's state is missing", "");
		struct parser ahead = *parser;
		skip_all_blanks(&ahead);
		bool is_short = byte_at(&ahead, ahead.at) == ':' &&
				!ends_text(byte_at(&ahead, ahead.at + 1));
		if (is_short)
			*parser = ahead;
		return (is_short ? read_text(parser, false, &text)
				 : skip_long_note(parser, note)) &&
		       mention(parser, name) != NULL;
	}
	if (byte_at(parser, parser->at) != '"')
		return fail_at(parser, "syntax", note, "this is not a note",
			       "write note left of A, note right of A, or note \"text\" as name");
	if (!read_alias_text(parser))
		return false;
	parser->at = mc_end_of_line(parser->source, parser->at);
	return true;
}

/* classDef, class and style lines: how Mermaid paints. */
static bool read_style(struct parser *parser, const char *also, bool needs_rest) {
	struct slice line = rest_of_line(parser);
	uint32_t start = parser->at;
	while (mc_is_word_byte(byte_at(parser, parser->at)) ||
	       (byte_at(parser, parser->at) != '\0' &&
		strchr(also, byte_at(parser, parser->at)) != NULL))
		parser->at++;
	bool good = parser->at > start && (needs_rest ? mc_is_blank(byte_at(parser, parser->at))
						      : mc_is_word_byte(byte_at(parser, start)));
	if (also[0] == '\0' &&
	    hf_span_is_nocase(hf_span(parser->source->clean + start, parser->at - start),
			      "default"))
		return fail_at(parser, "syntax", line, "Mermaid takes no class `default` here",
			       "give it another name, and write class A,B name");
	skip_line_blanks(parser);
	good = good && (!needs_rest || !at_line_end(parser));
	parser->at = mc_end_of_line(parser->source, parser->at);
	if (good)
		return true;
	return fail_at(parser, line.len == 0 || needs_rest ? "style" : "syntax",
		       line.len > 0 ? line : one_byte(parser), "this style is not complete",
		       "write classDef name styles, class A,B name, or style A styles");
}

static bool read_scale(struct parser *parser) {
	struct slice at = rest_of_line(parser);
	while (byte_at(parser, parser->at) >= '0' && byte_at(parser, parser->at) <= '9')
		parser->at++;
	bool good = parser->at > at.at;
	uint32_t end = parser->at;
	skip_line_blanks(parser);
	if (!good || parser->at == end || !at_word(parser, "width"))
		return fail_at(parser, "syntax", at, "this is not a scale",
			       "write scale 350 width");
	parser->at += 5;
	return true;
}

static bool read_click(struct parser *parser) {
	struct state *state;
	struct slice at = rest_of_line(parser), state_at;
	if (!read_end(parser, &state, &state_at))
		return false;
	bool href = take_keyword(parser, "href");
	for (uint32_t i = 0; i < (href ? 1 : 2); i++) {
		uint32_t end = mc_end_of_line(parser->source, parser->at);
		const char *close = NULL;
		if (byte_at(parser, parser->at) == '"')
			close = memchr(parser->source->clean + parser->at + 1, '"',
				       end - parser->at - 1);
		if (close == NULL)
			return fail_at(
				parser, "click", at, "this is not a link",
				"write click A \"address\" \"tip\", or click A href \"address\"");
		parser->at = (uint32_t)(close - parser->source->clean) + 1;
		skip_line_blanks(parser);
	}
	return true;
}

/* accTitle and accDescr: texts for those who cannot see the drawing. Sets *ret_is_one. */
static bool read_accessible(struct parser *parser, bool *ret_is_one) {
	struct parser ahead = *parser;
	bool title = starts_with(parser, parser->at, "acctitle");
	*ret_is_one = false;
	if (!title && !starts_with(parser, parser->at, "accdescr"))
		return true;
	struct slice word = { parser->at, 8 };
	ahead.at += 8;
	skip_all_blanks(&ahead);
	char c = byte_at(&ahead, ahead.at);
	if (c != ':' && (title || c != '{'))
		return true;
	*ret_is_one = true;
	parser->at = ahead.at + 1;
	skip_line_blanks(parser);
	bool empty = at_line_end(parser);
	if (c == ':') {
		parser->at = mc_end_of_line(parser->source, parser->at);
		return !empty || fail_at(parser, "acc", word, "this text is empty",
					 "Mermaid would take the next line for it");
	}
	const char *close = strchr(parser->source->clean + parser->at, '}');
	if (close == NULL) {
		parser->at = (uint32_t)parser->source->text.len;
		return fail_at(parser, "acc", word, "the } of this text is missing", "");
	}
	parser->at = (uint32_t)(close - parser->source->clean) + 1;
	return true;
}

static bool at_way(const struct parser *parser) {
	return starts_with(parser, parser->at, "tb") || starts_with(parser, parser->at, "bt") ||
	       starts_with(parser, parser->at, "rl") || starts_with(parser, parser->at, "lr");
}

/* No error: texts that were logged with such a pair of lines compile for ever. */
static void warn_of_joined_lines(struct parser *parser, struct slice word) {
	if (!at_line_end(parser))
		return;
	skip_all_blanks(parser);
	if (at_way(parser))
		mc_help_on(mc_warning_at(parser->source, "direction", word,
					 "Mermaid reads this line and the next as a direction"),
			   "use other words, or begin the next line with others");
}

/* Mermaid reads any line that has `direction TB` in it as nothing but that. Sets *ret_is_one. */
static bool read_direction(struct parser *parser, bool *ret_is_one) {
	uint32_t end = mc_end_of_line(parser->source, parser->at);
	*ret_is_one = false;
	for (uint32_t at = parser->at; at < end && !*ret_is_one; at++) {
		struct parser ahead = *parser;
		ahead.at = at;
		if (!take_keyword(&ahead, "direction"))
			continue;
		*ret_is_one = at_way(&ahead);
		if (!*ret_is_one) {
			warn_of_joined_lines(&ahead, (struct slice){ at, 9 });
			continue;
		}
		struct slice word = { at, ahead.at + 2 - at };
		bool good = at == parser->at;
		parser->at = end;
		return good ||
		       fail_at(parser, "direction", word,
			       "Mermaid reads this whole line as a direction",
			       "put the direction on a line of its own, or use other words");
	}
	return true;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Words that have their meaning only outside all braces. */
static bool read_root_statement(struct parser *parser, bool *ret_is_one) {
	bool good = read_accessible(parser, ret_is_one);
	if (*ret_is_one)
		return good;
	*ret_is_one = true;
	if (take_keyword(parser, "scale"))
		return read_scale(parser);
	if (at_word(parser, "hide empty description")) {
		parser->at += 22;
		return true;
	}
	if (at_word(parser, "click")) {
		parser->at += 5;
		skip_line_blanks(parser);
		return read_click(parser);
	}
	*ret_is_one = false;
	return true;
}

static bool read_statement(struct parser *parser) {
	bool done, good = read_direction(parser, &done);
	if (done)
		return good;
	if (take_keyword(parser, "classdef"))
		return read_style(parser, "", true);
	if (take_keyword(parser, "class"))
		return read_style(parser, ",", false);
	if (take_keyword(parser, "style"))
		return read_style(parser, ",", true);
	if (take_keyword(parser, "state"))
		return read_declaration(parser);
	if (take_keyword(parser, "note"))
		return read_note(parser);
	if (parser->depth == 0) {
		good = read_root_statement(parser, &done);
		if (done)
			return good;
	}
	return read_state_line(parser);
}

static void close_composite(struct parser *parser) {
	parser->at++;
	parser->scope = parser->outer[--parser->depth];
}

static bool read_header(struct parser *parser) {
	struct source *source = parser->source;
	skip_all_blanks(parser);
	struct slice at = rest_of_line(parser);
	uint32_t len = 0;
	if (memcmp(source->clean + at.at, "stateDiagram", at.len < 12 ? at.len : 12) == 0 &&
	    at.len >= 12)
		len = starts_with(parser, at.at, "statediagram-v2") ? 15 : 12;
	if (len == 0 || (at.len > len && !mc_is_blank(source->clean[at.at + len])))
		return fail_at(parser, "header", at.len > 0 ? at : one_byte(parser),
			       "a contract is a state diagram, and begins with stateDiagram-v2",
			       "only front matter, directives and comments may stand before it");
	bool is_direction, good = read_direction(parser, &is_direction);
	if (is_direction)
		return good;
	source->header = (struct slice){ at.at, len };
	parser->at += len;
	return true;
}

void mc_read_diagram(struct source *source, uint32_t at) {
	struct state *outer[HF_EXPR_DEPTH_MAX];
	struct parser parser = { .source = source, .at = at, .outer = outer };
	if (source->stop || !read_header(&parser))
		return;
	bool fresh = true; /* no statement was read on this line yet */
	while (!source->stop) {
		skip_line_blanks(&parser);
		char c = byte_at(&parser, parser.at);
		if (c == '\0')
			break;
		if (c == '\n') {
			parser.at++;
			fresh = true;
		} else if (at_comment(&parser)) {
			uint32_t end = mc_end_of_line(source, parser.at);
			if (c == '%')
				mc_read_comment(source, parser.at, end);
			parser.at = end;
		} else if (c == '}' && parser.depth > 0) {
			close_composite(&parser);
			fresh = false;
		} else if (!fresh) {
			fail_at(&parser, "two-statements", rest_of_line(&parser),
				"this stands after a complete statement",
				"a label begins with a colon: A --> B : event; else begin a new "
				"line");
			parser.at = mc_end_of_line(source, parser.at);
		} else {
			struct state *scope = parser.scope;
			if (!read_statement(&parser) && parser.scope == scope)
				parser.at = mc_end_of_line(source, parser.at);
			fresh = parser.scope != scope;
		}
	}
	if (parser.depth > 0)
		mc_help_on(mc_error_at(source, "brace", parser.scope->brace_at,
				       "this brace is not closed"),
			   "write } where the composite ends");
}
