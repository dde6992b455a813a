/*
 * glob.h - Redis's patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`, over any bytes.
 *
 * Patterns are compiled to positions, a bit each: where a text may have come to in one of them. A
 * match moves all of them at once, by each byte of the text; so it takes as long for the worst
 * pattern as for any other of as many items.
 */
#ifndef HF_SERVER_GLOB_H
#define HF_SERVER_GLOB_H

#include "base/span.h"

/* Each pattern has a position before each of its items, and one at its end. */
#define HF_GLOB_WORDS ((HF_PATTERNS_LEN_MAX + HF_PATTERNS_MAX) / 64)

struct hf_glob {
	bool nocase;
	uint32_t positions;
	uint64_t starts[HF_GLOB_WORDS];
	uint64_t ends[HF_GLOB_WORDS];
	uint64_t stars[HF_GLOB_WORDS];	    /* positions that any byte leaves as they are */
	uint64_t takes[HF_GLOB_WORDS][256]; /* by byte: positions that it moves to the next one */
};

/*
 * Compiles up to HF_PATTERNS_MAX patterns, of HF_PATTERNS_LEN_MAX bytes together; ASCII letters
 * without case, if `nocase`. A class without its end goes to the end of its pattern, as Redis has
 * it. HF_TOOBIG.
 */
HF_MUST bool hf_glob_compile(struct hf_glob *glob, const struct hf_span *patterns, uint32_t count,
			     bool nocase, struct hf_err *err);
/* How long a match may take, in steps of some 1.5 ns: one for each byte and 64 positions. */
static inline uint64_t hf_glob_work(const struct hf_glob *glob, struct hf_span text) {
	return text.len * ((glob->positions + 63) / 64);
}
/* Does all of `text` match one of the patterns? */
bool hf_glob_matches(const struct hf_glob *glob, struct hf_span text);

#endif
