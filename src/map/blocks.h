/*
 * blocks.h - memory for the records that one thread writes, and what it has replaced.
 *
 * Small blocks are whole lines of 64 bytes, cut from pieces, and used again for blocks of the same
 * size; large ones are pieces. What a thread frees it takes again, so no other processor has it in
 * its cache. Where one thread frees more than it takes, the rest goes through the depot, a batch at
 * a time.
 *
 * What was replaced may still be being read: it waits in the thread's limbo until its epoch is out
 * of sight.
 */
#ifndef HF_MAP_BLOCKS_H
#define HF_MAP_BLOCKS_H

#include "base/err.h"
#include "map/epoch.h"
#include "map/pieces.h"

#define HF_BLOCK_LINES 16u  /* of the largest small block */
#define HF_BATCH_LINES 512u /* of the blocks that go to the depot together */
#define HF_TEND_EVERY 16u   /* writes, of a limbo with much in it; and so much is freed then */

/* A list of free blocks of one size; each begins with the address of the next. */
struct hf_batch {
	void *first;
	uint32_t count;
};

/* What all threads of a map share. */
struct hf_depot {
	struct hf_pieces *pieces;
	struct hf_epochs *epochs;
	uint32_t lock;
	void *batches[HF_BLOCK_LINES]; /* full ones; the second word of a first block: the next */
};

/* Something that was removed, and the epoch of that moment. */
struct hf_removed {
	uint64_t what; /* a slot; or a record, and above its address how many lines it takes */
	uint64_t stamp;
};

struct hf_blocks {
	struct hf_batch free[HF_BLOCK_LINES]; /* by lines - 1 */
	struct hf_batch full[HF_BLOCK_LINES]; /* nothing, or a whole batch */
	uint8_t *fresh;			      /* the rest of the newest piece */
	size_t fresh_bytes;
	struct hf_cut *cuts;	/* the pieces; each twice as large as the one before, to a limit */
	struct hf_blocks *next; /* of the map's */
	bool wants;		/* that the helper keeps pieces ready */
	bool taken;		/* by a thread. Else what it left waits for the next one */
	struct hf_removed *limbo; /* a ring; it grows when a reader is stuck */
	uint32_t limbo_mask;	  /* its size less one */
	uint32_t limbo_first, limbo_count;
	uint32_t limbo_look; /* from so many on it is found out what is out of sight */
	uint64_t limbo_lines;
};

static inline uint32_t hf_lines_of(size_t bytes) {
	return (uint32_t)((bytes + HF_LINE - 1) / HF_LINE);
}

/* Not zeroed. NULL: out of memory. */
void *hf_block_new(struct hf_blocks *blocks, struct hf_depot *depot, uint32_t lines);
/* Nobody can be reading it. */
void hf_block_free(struct hf_blocks *blocks, struct hf_depot *depot, void *block, uint32_t lines);
/* The same if it is a large one; a small one goes with the piece it was cut from. */
void hf_large_free(struct hf_depot *depot, void *block, uint32_t lines);

/*
 * Frees a bit of what is out of sight, and finds out what is where much is waiting. To be called
 * before each hf_blocks_retire.
 */
void hf_blocks_tend(struct hf_blocks *blocks, struct hf_depot *depot);
/* Frees all that is out of sight, and finds out what is; true: nothing is left. */
bool hf_blocks_drain(struct hf_blocks *blocks, struct hf_depot *depot);

/* Makes the ring twice as large; false: it is as large as may be, or there is no memory. */
HF_MUST bool hf_blocks_widen(struct hf_blocks *blocks);

/* No more can be retired now? */
static inline bool hf_blocks_are_full(const struct hf_blocks *blocks) {
	return blocks->limbo_count > blocks->limbo_mask ||
	       blocks->limbo_lines >= HF_MAP_LIMBO_BYTES / HF_LINE;
}

/* Enough waits that it is worth microseconds to find out what is out of sight. */
static inline bool hf_blocks_are_many(const struct hf_blocks *blocks) {
	return blocks->limbo_count >= HF_MAP_LIMBO_FIRST / 2 ||
	       blocks->limbo_lines >= HF_MAP_LIMBO_BYTES / HF_LINE / 32;
}

static inline struct hf_removed *hf_blocks_oldest(struct hf_blocks *blocks) {
	return &blocks->limbo[blocks->limbo_first & blocks->limbo_mask];
}

/* Takes the oldest out of limbo. */
static inline void hf_blocks_shift(struct hf_blocks *blocks) {
	blocks->limbo_lines -= hf_blocks_oldest(blocks)->what >> 48;
	blocks->limbo_first++;
	hf_atomic_store(&blocks->limbo_count, blocks->limbo_count - 1, HF_RELAXED);
}

static inline struct hf_removed hf_removed(const void *record, uint32_t lines, uint64_t stamp) {
	return (struct hf_removed){ (uint64_t)lines << 48 | (uintptr_t)record, stamp };
}

/* A record can no longer be found (by whom comes from now on). There is room in limbo. */
static inline void hf_blocks_retire(struct hf_blocks *blocks, struct hf_depot *depot, void *record,
				    uint32_t lines) {
	uint32_t at = (blocks->limbo_first + blocks->limbo_count) & blocks->limbo_mask;
	blocks->limbo[at] = hf_removed(record, lines, hf_epochs_stamp(depot->epochs));
	blocks->limbo_lines += lines;
	hf_atomic_store(&blocks->limbo_count, blocks->limbo_count + 1, HF_RELAXED);
}

/* Is this a write that has to tend the limbo? If there is much in it, each sixteenth is. */
static inline bool hf_blocks_are_due(const struct hf_blocks *blocks) {
	return hf_blocks_are_many(blocks) &&
	       ((blocks->limbo_first + blocks->limbo_count) % HF_TEND_EVERY == 0 ||
		blocks->limbo_lines >= HF_MAP_LIMBO_BYTES / HF_LINE / 2);
}

/*
 * As hf_blocks_tend and hf_block_new, for the usual case: what this thread replaced a while ago is
 * known to be out of sight, has the size that is wanted, and is in this processor's cache. It stays
 * the oldest in limbo, until hf_blocks_rotate. NULL: it is not the usual case.
 */
static inline void *hf_block_again(struct hf_blocks *blocks, const struct hf_epochs *epochs,
				   uint32_t lines) {
	const struct hf_removed *oldest = hf_blocks_oldest(blocks);
	bool usual = blocks->limbo_count != 0 && !hf_blocks_are_due(blocks) &&
		     oldest->what >> 48 == lines && hf_epochs_known(epochs, oldest->stamp);
	if (__builtin_expect(!usual, 0))
		return NULL;
	void *block = (void *)(uintptr_t)(oldest->what & HF_ADDRESS_MASK);
	hf_note_dead(block, lines * HF_LINE);
	hf_note_new(block, lines * HF_LINE);
	return block;
}

/*
 * The block of so many lines that hf_block_again gave has taken the place of this record, which
 * goes into limbo instead of it. For threads whose pins need no fence.
 */
static inline void hf_blocks_rotate(struct hf_blocks *blocks, const struct hf_epochs *epochs,
				    uint32_t lines, const void *old, uint32_t old_lines) {
	struct hf_removed *limbo = blocks->limbo;
	uint32_t first = blocks->limbo_first, mask = blocks->limbo_mask;
	uint64_t next = limbo[(first + 1) & mask].what;
	blocks->limbo_lines += (uint64_t)old_lines - lines;
	blocks->limbo_first = first + 1;
	limbo[(first + blocks->limbo_count) & mask] =
		hf_removed(old, old_lines, hf_epochs_stamp_fast(epochs));
	__builtin_prefetch((void *)(uintptr_t)(next & HF_ADDRESS_MASK), 1);
}

/* Of all threads: gives back what is in limbo, being read or not, and then all that was cut. */
void hf_blocks_fini(struct hf_blocks *all, struct hf_depot *depot);

#endif
