/*
 * index.h - an index from hashes to 48-bit values: positions in the log.
 *
 * It knows no keys: several entries may share a hash, and the caller tells them apart by looking
 * at what the values point to. Entries are never removed. A cache line holds five of them, 48
 * bits of hash and 48 of value each; one that does not fit goes into the next line that has room,
 * so a search ends at the first line that is not full, which is nearly always the first. At most
 * 7/8 full, a table gets a successor of twice its size; each insertion then moves two lines, so
 * that none ever moves many.
 *
 * Thread rules: the caller's lock.
 */
#ifndef HF_INDEX_H
#define HF_INDEX_H

#include <stdint.h>

#include "base/allocator.h"
#include "base/err.h"

#define HF_INDEX_VALUE_MAX (((uint64_t)1 << 48) - 1)

#define HF_INDEX_LINE_ENTRIES 5u

struct hf_index_line {
	uint32_t hash_low[HF_INDEX_LINE_ENTRIES];
	uint32_t value_low[HF_INDEX_LINE_ENTRIES];
	uint16_t hash_high[HF_INDEX_LINE_ENTRIES];
	uint16_t value_high[HF_INDEX_LINE_ENTRIES];
	uint32_t used; /* entries, from the first on */
};

struct hf_index_table {
	struct hf_index_line *lines; /* NULL: no table */
	uint64_t mask;
	uint64_t count;
};

struct hf_index {
	const struct hf_allocator *allocator;
	struct hf_index_table now;
	struct hf_index_table old;  /* while it is being emptied into `now` */
	uint64_t moved;		    /* lines of `old` before this one are in `now`, too */
	struct hf_index_table next; /* being made ready before it is needed */
	uint64_t warmed;	    /* lines of `next` that have real memory behind them */
	struct hf_index_table
		walked; /* being walked; one of the tables above, or kept for it alone */
	struct hf_index_table retired; /* out of use; given back to the system in parts */
	size_t dropped;		       /* bytes of it that are */
};

/* Where a search stands; valid until the next insertion. */
struct hf_index_cursor {
	struct hf_index_line *line;
	const struct hf_index_table *table;
	const struct hf_index_table *next_table; /* to search behind it, or NULL */
	uint64_t hash;
	uint32_t entry;	  /* of the line: the one it stands on */
	uint32_t matches; /* of the line: a bit for each entry that is still to come */
};

void hf_index_init(struct hf_index *map, const struct hf_allocator *allocator);
void hf_index_fini(struct hf_index *map);

/*
 * The first value under `hash`, and the ones after it (one may come twice); 0 when there are no
 * more.
 */
uint64_t hf_index_first(const struct hf_index *map, uint64_t hash, struct hf_index_cursor *ret);
uint64_t hf_index_next(struct hf_index_cursor *cursor);

/*
 * Room for one more entry, so that the next hf_index_add cannot fail. False: out of memory, nothing
 * changed.
 */
HF_MUST bool hf_index_reserve(struct hf_index *map, struct hf_err *err);
/* Adds an entry (1 <= value <= HF_INDEX_VALUE_MAX) for which hf_index_reserve made room. */
void hf_index_add(struct hf_index *map, uint64_t hash, uint64_t value);

/* Fetches the memory that hf_index_first will look at. */
void hf_index_prefetch(const struct hf_index *map, uint64_t hash);

/*
 * A table for `count` entries at once, in an empty map, so that filling it moves nothing. False:
 * out of memory.
 */
HF_MUST bool hf_index_presize(struct hf_index *map, uint64_t count, struct hf_err *err);

/*
 * Walking all entries while more are added. hf_index_settle ends a move that is under way, `lines`
 * at a time, until it returns true; hf_index_walk_begin, then at once, pins the table;
 * hf_index_walk_line copies the entries of its next line, and returns their number, or -1 behind
 * the last line. Each entry that was there at the beginning comes exactly once; one that was
 * added since comes at most once. A table that is outgrown meanwhile is kept as it is until
 * hf_index_walk_end.
 */
bool hf_index_settle(struct hf_index *map, uint64_t lines);
void hf_index_walk_begin(struct hf_index *map);
int hf_index_walk_line(struct hf_index *map, uint64_t *line,
		       uint64_t ret_hash[HF_INDEX_LINE_ENTRIES],
		       uint64_t ret_value[HF_INDEX_LINE_ENTRIES]);
void hf_index_walk_end(struct hf_index *map);

uint64_t hf_index_count(const struct hf_index *map);
/* Bytes held. */
uint64_t hf_index_bytes(const struct hf_index *map);

#endif
