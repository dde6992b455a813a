#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "machine/ast.h"

/* No byte of text makes more than this of AST; see source_alloc. */
#define ARENA_PER_BYTE 256u
#define ARENA_EXTRA 8192u

static void find_lines(struct source *source);

bool mc_source_init(struct source *source, struct hf_span text, const char *file_name,
		    struct hf_diagnostics *diagnostics) {
	source->text = text;
	source->file_name = file_name;
	source->diagnostics = diagnostics;
	source->version = 1;
	source->arena_cap = text.len * ARENA_PER_BYTE + ARENA_EXTRA;
	source->arena = hf_memory_grow(NULL, source->arena_cap);
	source->clean = hf_memory_new(text.len + 1);
	source->paths = hf_memory_grow(NULL, HF_TRANSITIONS_MAX * sizeof(*source->paths));
	if (source->arena == NULL || source->clean == NULL || source->paths == NULL) {
		mc_source_fini(source);
		return false;
	}
	find_lines(source);
	return true;
}

void mc_source_fini(struct source *source) {
	hf_memory_free(source->arena);
	hf_memory_free(source->clean);
	hf_memory_free(source->paths);
}

void *mc_source_alloc(struct source *source, size_t size) {
	size = (size + 15) & ~(size_t)15;
	HF_ASSERT(size <= source->arena_cap - source->arena_used);
	void *ret = source->arena + source->arena_used;
	source->arena_used += size;
	memset(ret, 0, size);
	return ret;
}

/* ---- places --------------------------------------------------------------------------------- */

/* A line ends with \n, \r\n or \r, as in Mermaid. */
static bool ends_line(const struct source *source, uint32_t at) {
	const uint8_t *text = source->text.data;
	bool crlf = text[at] == '\r' && at + 1 < source->text.len && text[at + 1] == '\n';
	return text[at] == '\n' || (text[at] == '\r' && !crlf);
}

static void find_lines(struct source *source) {
	source->line_starts = mc_source_alloc(source, (source->text.len + 1) * sizeof(uint32_t));
	source->line_count = 1;
	for (uint32_t i = 0; i < source->text.len; i++)
		if (ends_line(source, i))
			source->line_starts[source->line_count++] = i + 1;
}

uint32_t mc_line_of(const struct source *source, uint32_t at) {
	uint32_t low = 0, high = source->line_count;
	while (high - low > 1) {
		uint32_t middle = (low + high) / 2;
		if (source->line_starts[middle] <= at)
			low = middle;
		else
			high = middle;
	}
	return low + 1;
}

static uint32_t column_of(const struct source *source, uint32_t at) {
	return at - source->line_starts[mc_line_of(source, at) - 1] + 1;
}

/* The part of `at` that is on its first line, at least one byte. */
static uint32_t length_on_line(const struct source *source, struct slice at) {
	uint32_t len = 0;
	while (len < at.len && at.at + len < source->text.len &&
	       source->text.data[at.at + len] != '\n' && source->text.data[at.at + len] != '\r')
		len++;
	return len == 0 ? 1 : len;
}

/* ---- diagnostics ---------------------------------------------------------------------------- */

/* The entry to fill, or NULL: too many. An error takes the place of the last warning. */
static struct hf_diagnostic *new_entry(struct hf_diagnostics *all, enum hf_severity severity) {
	if (all->count < HF_DIAGNOSTICS_MAX)
		return &all->items[all->count++];
	for (uint32_t i = all->count; severity == HF_SEVERITY_ERROR && i-- > 0;)
		if (all->items[i].severity == HF_SEVERITY_WARNING)
			return &all->items[i];
	return NULL;
}

static bool is_same(const struct hf_diagnostic *a, const struct hf_diagnostic *b) {
	return a->line == b->line && a->column == b->column && strcmp(a->code, b->code) == 0 &&
	       strcmp(a->message, b->message) == 0;
}

/* One arrow may be judged several times, once for each way that leads over it: say it once. */
static bool is_repeated(const struct hf_diagnostics *all, const struct hf_diagnostic *diagnostic) {
	for (uint32_t i = 0; i < all->count; i++)
		if (is_same(&all->items[i], diagnostic))
			return true;
	return false;
}

static struct hf_diagnostic *add(struct source *source, enum hf_severity severity, const char *code,
				 struct slice at, const char *fmt, va_list args) {
	struct hf_diagnostics *all = source->diagnostics;
	uint32_t *counter = severity == HF_SEVERITY_ERROR ? &all->error_count : &all->warning_count;
	if (*counter >= HF_DIAGNOSTICS_MAX) {
		++*counter;
		return NULL;
	}
	struct hf_diagnostic entry = {
		.severity = severity,
		.line = mc_line_of(source, at.at),
		.column = column_of(source, at.at),
		.length = length_on_line(source, at),
	};
	snprintf(entry.code, sizeof(entry.code), "%s", code);
	vsnprintf(entry.message, sizeof(entry.message), fmt, args);
	if (is_repeated(all, &entry))
		return NULL;
	++*counter;
	struct hf_diagnostic *kept = new_entry(all, severity);
	if (kept != NULL)
		*kept = entry;
	return kept;
}

struct hf_diagnostic *mc_error_at(struct source *source, const char *code, struct slice at,
				  const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	struct hf_diagnostic *ret = add(source, HF_SEVERITY_ERROR, code, at, fmt, args);
	va_end(args);
	return ret;
}

struct hf_diagnostic *mc_warning_at(struct source *source, const char *code, struct slice at,
				    const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	struct hf_diagnostic *ret = add(source, HF_SEVERITY_WARNING, code, at, fmt, args);
	va_end(args);
	return ret;
}

void mc_help_on(struct hf_diagnostic *diagnostic, const char *fmt, ...) {
	if (diagnostic == NULL)
		return;
	va_list args;
	va_start(args, fmt);
	vsnprintf(diagnostic->help, sizeof(diagnostic->help), fmt, args);
	va_end(args);
}

static bool is_after(const struct hf_diagnostic *a, const struct hf_diagnostic *b) {
	return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* Stable, so that what was found first at a place stays first. */
void mc_diagnostics_sort(struct hf_diagnostics *diagnostics) {
	for (uint32_t i = 1; i < diagnostics->count; i++) {
		struct hf_diagnostic moved = diagnostics->items[i];
		uint32_t j = i;
		for (; j > 0 && is_after(&diagnostics->items[j - 1], &moved); j--)
			diagnostics->items[j] = diagnostics->items[j - 1];
		diagnostics->items[j] = moved;
	}
}

/* ---- slices and names ----------------------------------------------------------------------- */

struct hf_span mc_span_of(const struct source *source, struct slice slice) {
	return hf_span(source->text.data + slice.at, slice.len);
}

struct shown mc_show(const struct source *source, struct slice slice) {
	struct shown ret;
	struct hf_text text = hf_text(ret.text, sizeof(ret.text));
	for (uint32_t i = 0; i < slice.len; i++) {
		uint8_t c = source->text.data[slice.at + i];
		bool no_break = c == 0xc2 && i + 1 < slice.len &&
				source->text.data[slice.at + i + 1] == 0xa0;
		i += no_break;
		if (no_break) /* it looks like the blank that it is not */
			hf_text_add(&text, "<no-break space>");
		else if (c < 0x20 || c == 0x7f)
			hf_text_add(&text, "\\x%02x", c);
		else
			hf_text_add(&text, "%c", c);
		if (text.len + 4 >= sizeof(ret.text))
			break;
	}
	return ret;
}

bool mc_slice_is(const struct source *source, struct slice slice, const char *word) {
	return hf_span_is(mc_span_of(source, slice), word);
}

bool mc_slices_equal(const struct source *source, struct slice a, struct slice b) {
	return hf_span_equal(mc_span_of(source, a), mc_span_of(source, b));
}

struct slice mc_trimmed(const struct source *source, struct slice slice) {
	const char *text = source->clean;
	while (slice.len > 0 && (uint8_t)text[slice.at] <= ' ') {
		slice.at++;
		slice.len--;
	}
	while (slice.len > 0 && (uint8_t)text[slice.at + slice.len - 1] <= ' ')
		slice.len--;
	return slice;
}

static bool is_letter(char c) {
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

bool mc_is_word_byte(char c) {
	return is_letter(c) || (c >= '0' && c <= '9');
}

bool mc_is_blank(char c) {
	return c == ' ' || (c >= '\t' && c <= '\r');
}

uint32_t mc_end_of_line(const struct source *source, uint32_t at) {
	while (at < source->text.len && source->clean[at] != '\n')
		at++;
	return at;
}

bool mc_is_name(struct hf_span span, const char *also) {
	if (span.len == 0 || !is_letter((char)span.data[0]))
		return false;
	for (size_t i = 1; i < span.len; i++) {
		char c = (char)span.data[i];
		if (!mc_is_word_byte(c) && (c == '\0' || strchr(also, c) == NULL))
			return false;
	}
	return true;
}

const char *mc_suggested_name(struct hf_span text, char *buf) {
	size_t len = 0;
	bool start = false;
	for (size_t i = 0; i < text.len && len < HF_NAME_MAX; i++) {
		char c = (char)text.data[i];
		if (!mc_is_word_byte(c) || (len == 0 && !is_letter(c))) {
			start = len > 0;
			continue;
		}
		buf[len++] = start && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		start = false;
	}
	buf[len] = '\0';
	return len > 0 ? buf : "Name";
}

uint32_t mc_edit_distance(struct hf_span a, struct hf_span b, uint32_t max) {
	if (a.len > HF_NAME_MAX || b.len > HF_NAME_MAX || a.len > b.len + max ||
	    b.len > a.len + max)
		return max + 1;
	uint32_t rows[3][HF_NAME_MAX + 2];
	for (uint32_t j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (uint32_t i = 1; i <= a.len; i++) {
		uint32_t *row = rows[i % 3], *above = rows[(i + 2) % 3],
			 *two_up = rows[(i + 1) % 3];
		row[0] = i;
		for (uint32_t j = 1; j <= b.len; j++) {
			uint32_t best = above[j - 1] + (a.data[i - 1] != b.data[j - 1]);
			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			bool swapped = i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
				       a.data[i - 2] == b.data[j - 1];
			if (swapped && two_up[j - 2] + 1 < best)
				best = two_up[j - 2] + 1;
			row[j] = best;
		}
	}
	uint32_t distance = rows[a.len % 3][b.len];
	return distance <= max ? distance : max + 1;
}
