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
 * A table is a piece of a head, 2^bits home lines and a tail. A reader gets it as one word: the
 * address of line 0, which has seven bits to spare: in the six lowest by how much a hash is to be
 * shifted right to be the number of its home line, in the seventh whether the shard is frozen.
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
	uint64_t next;	/* that this one is emptied into; set before the first HF_MARK_MOVED */
	uint64_t used;	/* slots that are not empty. The writer's */
	uint64_t words; /* of a slot */
};

typedef uint64_t hf_table; /* the word; 0: none */

#define HF_TABLE_FROZEN ((uint64_t)1 << 6)

_Static_assert(2 * HF_TABLE_FROZEN == HF_PIECE_ALIGNMENT, "a bit of the address is free for it");

static inline uint64_t *hf_table_lines(hf_table table) {
	return (uint64_t *)(uintptr_t)(table & -(uint64_t)HF_PIECE_ALIGNMENT);
}

static inline struct hf_table_head *hf_table_head(hf_table table) {
	return (struct hf_table_head *)(void *)(hf_table_lines(table) - HF_LINE_WORDS);
}

static inline uint32_t hf_table_bits(hf_table table) {
	return 64 - (table & 63);
}

/* Lines that entries may have as their home. */
static inline uint64_t hf_table_homes(hf_table table) {
	return (uint64_t)1 << hf_table_bits(table);
}

/* All lines but the head. */
static inline uint64_t hf_table_count(hf_table table) {
	return hf_table_homes(table) + HF_MAP_TAIL_LINES;
}

/* The number of the home line. */
static inline uint64_t hf_table_home(hf_table table, uint64_t hash) {
	return hash >> (table & 63);
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
 * Where a search goes on behind a line without its key, in which it saw a moved slot or an empty
 * one; NULL: nowhere. A moved one counts first: the key may have moved after a look at an empty
 * slot before its own.
 */
static inline uint64_t *hf_table_on(hf_table *table, uint64_t *line, uint64_t hash, bool moved,
				    bool ends) {
	if (moved) {
		*table = hf_table_next(*table);
		return hf_table_line(*table, hf_table_home(*table, hash));
	}
	return ends ? NULL : line + HF_LINE_WORDS;
}

/* 1 if they are equal, else 0, in a way that the compiler cannot turn into a branch. */
static inline uint32_t hf_is_same(uint64_t a, uint64_t b) {
	uint32_t same = a == b;
	__asm__("" : "+r"(same));
	return same;
}

/*
 * `at`, if its word is `key`, else `slot`. By hand on x86-64, since the fewer instructions a search
 * takes, the more of them wait for their lines at a time (of gcc's it takes twice as many). There a
 * load acquires; but the compiler orders no other memory behind it: only what `slot` points to may
 * be relied on then. Volatile, so that it stays between hf_pin and hf_unpin.
 */
#if defined(__x86_64__) && !defined(HF_BASE_TSAN) && !defined(HF_INTERLEAVE)
static inline uint64_t *hf_slot_choose(uint64_t *slot, uint64_t *at, uint64_t key) {
	__asm__ volatile("cmpq %2, %1\n\tcmoveq %3, %0"
			 : "+r"(slot)
			 : "m"(*at), "r"(key), "r"(at)
			 : "cc");
	return slot;
}
#else
static inline uint64_t *hf_slot_choose(uint64_t *slot, uint64_t *at, uint64_t key) {
	uintptr_t mask = -(uintptr_t)hf_is_same(hf_atomic_load(at, HF_ACQUIRE), key);
	return (uint64_t *)(((uintptr_t)slot & ~mask) | ((uintptr_t)at & mask));
}
#endif

/*
 * The slot of this line with `key`; NULL if it has none: then hf_table_find has to look on. Which
 * slot it is decides no branch: one that is mispredicted would wait for the line, and the CPU could
 * not fetch those of the next searches meanwhile.
 */
static inline uint64_t *hf_line_find(uint64_t *line, uint64_t key) {
	uint64_t *slot = hf_slot_choose(NULL, line, key);
	for (uint32_t i = 2; i < HF_LINE_WORDS; i += 2)
		slot = hf_slot_choose(slot, &line[i], key);
	return slot;
}

/*
 * The slot with `key`, in this table or the one that has its entries now; NULL if there is none.
 * For 64-bit keys. The thread is pinned, or has the shard's lock.
 */
uint64_t *hf_table_find(hf_table table, uint64_t hash, uint64_t key);

#endif
