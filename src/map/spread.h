/*
 * spread.h - how a shard's hashes are spread, as far as it decides whether they fit into a table.
 *
 * What overflows a line goes on behind it, so all entries fit if, from each home line to the end,
 * there are no more of them than slots. A program can see to it that few lines from the end have
 * most: it need only remove what a cursor shows. So the entries are counted by their distance from
 * the end: in parts from 2^n to 1.5 * 2^n hashes, and from there to 2^(n+1). The end that begins
 * within a part has at most what is in that part and behind it, and at least the slots behind it.
 */
#ifndef HF_MAP_SPREAD_H
#define HF_MAP_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

#define HF_SPREAD_LOW 20u /* below 2^this nothing is told apart: no table has lines so narrow */
#define HF_SPREAD_PARTS (2 * (64 - HF_SPREAD_LOW))

struct hf_spread {
	uint64_t count;
	uint64_t parts[HF_SPREAD_PARTS];
};

static inline uint32_t hf_spread_part(uint64_t hash) {
	uint64_t distance = ~hash | (uint64_t)1 << HF_SPREAD_LOW;
	uint32_t octave = 63 ^ (uint32_t)__builtin_clzll(distance);
	return 2 * (octave - HF_SPREAD_LOW) + (uint32_t)(distance >> (octave - 1) & 1);
}

static inline void hf_spread_add(struct hf_spread *spread, uint64_t hash) {
	spread->parts[hf_spread_part(hash)]++;
	spread->count++;
}

static inline void hf_spread_remove(struct hf_spread *spread, uint64_t hash) {
	spread->parts[hf_spread_part(hash)]--;
	spread->count--;
}

/*
 * Is there room in a table of 2^bits home lines with `slots` each, and `tail` slots behind them?
 * Looks no further than to the part `lowest`, whatever is behind that.
 */
static inline bool hf_spread_fits(const struct hf_spread *spread, uint32_t lowest, uint32_t bits,
				  uint64_t slots, uint64_t tail) {
	uint64_t entries = spread->count;
	uint32_t line = 2 * (64 - bits - HF_SPREAD_LOW); /* the part that is a line from the end */
	for (uint32_t part = HF_SPREAD_PARTS; part-- > line && part >= lowest;) {
		uint64_t half_lines = (uint64_t)(2 + part % 2) << (part - line) / 2;
		if (entries > half_lines * slots / 2 + tail)
			return false;
		entries -= spread->parts[part];
	}
	return true;
}

#endif
