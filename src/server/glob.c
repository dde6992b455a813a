#include "server/glob.h"

static uint8_t folded(uint8_t byte, bool nocase) {
	return nocase && byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
}

/*
 * One item of a pattern against one byte: `[a-z]`, `[^a]`, `?`, `\x` or a byte. Returns what is
 * behind the item.
 */
static struct hf_span match_item(struct hf_span pattern, uint8_t byte, bool nocase,
				 bool *ret_matches) {
	byte = folded(byte, nocase);
	const uint8_t *at = pattern.data, *end = at + pattern.len;
	if (*at != '[') {
		bool escaped = *at == '\\' && at + 1 < end;
		at += escaped;
		*ret_matches = folded(*at, nocase) == byte || (*at == '?' && !escaped);
		return hf_span(at + 1, (size_t)(end - at) - 1);
	}
	at++;
	bool negated = at < end && *at == '^', found = false;
	for (at += negated; at < end && *at != ']'; at++) {
		at += *at == '\\' && at + 1 < end;
		uint8_t low = folded(*at, nocase), high = low;
		if (end - at >= 3 && at[1] == '-') {
			at += 2;
			high = folded(*at, nocase);
		}
		found |= low <= high ? byte >= low && byte <= high : byte >= high && byte <= low;
	}
	*ret_matches = found != negated;
	at += at < end;
	return hf_span(at, (size_t)(end - at));
}

/* On a mismatch only the last `*` takes one byte more. */
bool hf_glob_matches(struct hf_span pattern, struct hf_span text, bool nocase) {
	struct hf_span star = { 0 }, star_text = { 0 };
	bool has_star = false;
	for (;;) {
		bool same = false;
		struct hf_span rest;
		if (pattern.len > 0 && pattern.data[0] == '*') {
			has_star = true;
			star = pattern = hf_span(pattern.data + 1, pattern.len - 1);
			star_text = text;
			continue;
		}
		if (pattern.len == 0 && text.len == 0)
			return true;
		if (pattern.len > 0 && text.len > 0)
			rest = match_item(pattern, text.data[0], nocase, &same);
		if (same) {
			pattern = rest;
			text = hf_span(text.data + 1, text.len - 1);
			continue;
		}
		if (!has_star || star_text.len == 0)
			return false;
		text = star_text = hf_span(star_text.data + 1, star_text.len - 1);
		pattern = star;
	}
}
