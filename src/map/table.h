/*
 * table.h - one table of one shard: lines of 64 bytes, in the order of the hashes.
 *
 * A line is 8 words: 4 slots of a key and a value, or 8 slots of a tagged address of a record. The
 * first word of a slot, its mark, is one of the four below, or what is stored. An entry stands in
 * its home line, or in the first one after it that had room; so a search may end at a line with an
 * empty slot. Home lines rise with the hash, nothing wraps around (a few lines behind the last home
 * line take what overflows there, and the very last is never filled), so a table is emptied from
 * its first line on, and a walk in the order of the hashes is the same walk in a table of any size.
 *
 * A table is a piece of 2^bits lines; the first is its head. A reader gets it as one word: the
 * address of line 0, with `bits` in the six lowest bits.
 */
#ifndef HF_MAP_TABLE_H
#define HF_MAP_TABLE_H

#include "base/atomic.h"
#include "map/pieces.h"

#define HF_LINE_WORDS 8u

enum hf_mark {
	HF_MARK_EMPTY, /* never used, or as good as */
	HF_MARK_FREE,  /* used before: a search goes on behind it; may be used again */
	HF_MARK_DEAD,  /* removed, but readers that found it may be about to load its value */
	HF_MARK_MOVED, /* look into the next table */
	HF_MARKS,
};

struct hf_table_head {
	uint64_t next;	/* the table that this one is emptied into; set before the first HF_MOVED */
	uint64_t used;	/* slots that are not empty. The writer's */
	uint64_t words; /* of a slot */
};

typedef uint64_t hf_table; /* the word; 0: none */

static inline uint64_t *hf_table_lines(hf_table table) {
	return (uint64_t *)(uintptr_t)(table & ~(uint64_t)63);
}

static inline struct hf_table_head *hf_table_head(hf_table table) {
	return (struct hf_table_head *)(void *)(hf_table_lines(table) - HF_LINE_WORDS);
}

static inline uint32_t hf_table_bits(hf_table table) {
	return table & 63;
}

/* Lines that entries may have as their home. */
static inline uint64_t hf_table_homes(hf_table table) {
	return ((uint64_t)1 << hf_table_bits(table)) - 1 - HF_MAP_TAIL_LINES;
}

/* All lines but the head. */
static inline uint64_t hf_table_count(hf_table table) {
	return ((uint64_t)1 << hf_table_bits(table)) - 1;
}

/* The number of the home line; `hash` without the bits that chose the shard. */
static inline uint64_t hf_table_home(hf_table table, uint64_t hash) {
	return (uint64_t)((unsigned __int128)hash * hf_table_homes(table) >> 64);
}

static inline uint64_t *hf_table_line(hf_table table, uint64_t number) {
	return hf_table_lines(table) + number * HF_LINE_WORDS;
}

static inline hf_table hf_table_next(hf_table table) {
	return hf_atomic_load(&hf_table_head(table)->next, HF_ACQUIRE);
}

static inline uint64_t hf_table_slots(hf_table table) {
	return hf_table_homes(table) * HF_LINE_WORDS / hf_table_head(table)->words;
}

/*
 * The slot with `key`, in this table or the one that has its entries now; NULL if there is none.
 * For 64-bit keys. The thread is pinned, or has the shard's lock.
 *
 * Nothing here depends on what is found but two branches that nearly always go the same way: a
 * mispredicted one would wait for the line, and the CPU could not fetch those of the next searches
 * meanwhile.
 */
static inline uint64_t *hf_table_find(hf_table table, uint64_t hash, uint64_t key) {
	uint64_t *line = hf_table_line(table, hf_table_home(table, hash));
	for (;;) {
		uint64_t a = hf_atomic_load(&line[0], HF_ACQUIRE);
		uint64_t b = hf_atomic_load(&line[2], HF_ACQUIRE);
		uint64_t c = hf_atomic_load(&line[4], HF_ACQUIRE);
		uint64_t d = hf_atomic_load(&line[6], HF_ACQUIRE);
		uint32_t found = (uint32_t)(a == key) | (uint32_t)(b == key) << 2 |
				 (uint32_t)(c == key) << 4 | (uint32_t)(d == key) << 6;
		if (__builtin_expect(found != 0, 1))
			return line + __builtin_ctz(found);
		if ((a == HF_MARK_EMPTY) | (b == HF_MARK_EMPTY) | (c == HF_MARK_EMPTY) |
		    (d == HF_MARK_EMPTY))
			return NULL;
		line += HF_LINE_WORDS;
		if ((a == HF_MARK_MOVED) | (b == HF_MARK_MOVED) | (c == HF_MARK_MOVED) |
		    (d == HF_MARK_MOVED)) {
			table = hf_table_next(table);
			line = hf_table_line(table, hf_table_home(table, hash));
		}
	}
}

#endif
