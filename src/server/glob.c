#include "server/glob.h"

#include <stddef.h>

static uint8_t folded(uint8_t byte, bool nocase) {
	return nocase && byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
}

/* ---- compiling --------------------------------------------------------------------------- */

static void set(uint64_t *bits, uint32_t position) {
	bits[position / 64] |= 1ull << position % 64;
}

/* The item at the last position so far takes these bytes, in whichever order they are given. */
static void take(struct hf_glob *glob, uint8_t from, uint8_t to) {
	unsigned low = from < to ? from : to, high = from < to ? to : from;
	for (unsigned byte = low; byte <= high; byte++)
		glob->takes[glob->positions / 64][byte] |= 1ull << glob->positions % 64;
}

/* ... all others instead. */
static void negate(struct hf_glob *glob) {
	for (unsigned byte = 0; byte < 256; byte++)
		glob->takes[glob->positions / 64][byte] ^= 1ull << glob->positions % 64;
}

/* `[a-z]` or `[^a]`, from behind its bracket; returns what is behind it. */
static const uint8_t *add_class(struct hf_glob *glob, const uint8_t *at, const uint8_t *end) {
	bool negated = at < end && *at == '^';
	for (at += negated; at < end && *at != ']'; at++) {
		bool escaped = *at == '\\' && at + 1 < end;
		at += escaped;
		uint8_t first = *at;
		if (!escaped && end - at >= 3 && at[1] == '-')
			at += 2;
		take(glob, folded(first, glob->nocase), folded(*at, glob->nocase));
	}
	if (negated)
		negate(glob);
	return at < end ? at + 1 : at;
}

/* One byte of a text: a class, `?`, `\x` or a byte; returns what is behind it. */
static const uint8_t *add_item(struct hf_glob *glob, const uint8_t *at, const uint8_t *end) {
	if (*at == '[')
		return add_class(glob, at + 1, end);
	if (*at == '?') {
		negate(glob);
		return at + 1;
	}
	at += *at == '\\' && at + 1 < end;
	take(glob, folded(*at, glob->nocase), folded(*at, glob->nocase));
	return at + 1;
}

static void add_pattern(struct hf_glob *glob, struct hf_span pattern) {
	const uint8_t *at = pattern.data, *end = at + pattern.len;
	set(glob->starts, glob->positions);
	while (at < end) {
		if (*at == '*') {
			set(glob->stars, glob->positions);
			at++;
			continue;
		}
		at = add_item(glob, at, end);
		glob->positions++;
	}
	set(glob->ends, glob->positions++);
}

bool hf_glob_compile(struct hf_glob *glob, const struct hf_span *patterns, uint32_t count,
		     bool nocase, struct hf_err *err) {
	size_t len = 0;
	for (uint32_t i = 0; i < count; i++)
		len += patterns[i].len;
	if (count > HF_PATTERNS_MAX)
		return hf_fail(err, HF_TOOBIG, "%u patterns: the limit is %u at a time", count,
			       HF_PATTERNS_MAX);
	if (len > HF_PATTERNS_LEN_MAX)
		return hf_fail(err, HF_TOOBIG, "%s %zu bytes, the limit is %u%s",
			       count == 1 ? "the pattern has" : "the patterns have", len,
			       HF_PATTERNS_LEN_MAX, count == 1 ? "" : " at a time");
	/* Most patterns are short, and nobody looks at the words behind the last position's. */
	memset(glob, 0, offsetof(struct hf_glob, takes));
	memset(glob->takes, 0, (len + count + 63) / 64 * sizeof(glob->takes[0]));
	glob->nocase = nocase;
	for (uint32_t i = 0; i < count; i++)
		add_pattern(glob, patterns[i]);
	return true;
}

/* ---- matching ---------------------------------------------------------------------------- */

bool hf_glob_matches(const struct hf_glob *glob, struct hf_span text) {
	uint64_t at[HF_GLOB_WORDS] = { 0 }, ended = 0;
	uint32_t used = 0; /* words: those behind have none yet */
	for (uint32_t i = 0; i < HF_GLOB_WORDS; i++) {
		at[i] = glob->starts[i];
		used = at[i] != 0 ? i + 1 : used;
	}
	for (size_t i = 0; i < text.len && used > 0; i++) {
		uint8_t byte = folded(text.data[i], glob->nocase);
		uint64_t carry = 0, any = 0;
		for (uint32_t word = 0; word < used; word++) {
			uint64_t moved = at[word] & glob->takes[word][byte];
			at[word] = (at[word] & glob->stars[word]) | moved << 1 | carry;
			carry = moved >> 63;
			any |= at[word];
		}
		if (carry != 0)
			at[used++] = carry; /* there is one: an end takes no byte */
		else if (any == 0)
			used = 0;
	}
	for (uint32_t word = 0; word < used; word++)
		ended |= at[word] & glob->ends[word];
	return ended != 0;
}
