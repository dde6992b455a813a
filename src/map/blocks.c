#include "map/blocks.h"

#include "base/atomic.h"
#include "base/memory.h"
#include "map/lock.h"

#define CUT_BITS_MIN 6u	 /* of the pieces that are cut: 4 KB */
#define CUT_BITS_MAX 12u /* 256 KB */
#define CUTS_AHEAD 16	 /* that a helper keeps ready */

/* How a piece that was cut begins. */
struct hf_cut {
	struct hf_cut *next;
	uint32_t bits;
};

/* Of the piece that a large block is. */
static uint32_t bits_of(uint32_t lines) {
	uint32_t bits = 0;
	while (hf_piece_bytes(bits) < (size_t)lines * HF_LINE)
		bits++;
	return bits;
}

/* ---- free blocks */

static void batch_give(struct hf_depot *depot, uint32_t class, struct hf_batch batch) {
	hf_lock(&depot->lock);
	((void **)batch.first)[1] = depot->batches[class];
	depot->batches[class] = batch.first;
	hf_unlock(&depot->lock);
}

static struct hf_batch batch_take(struct hf_depot *depot, uint32_t class) {
	if (hf_atomic_load(&depot->batches[class], HF_RELAXED) == NULL)
		return (struct hf_batch){ 0 };
	hf_lock(&depot->lock);
	void *first = depot->batches[class];
	if (first != NULL)
		hf_atomic_store(&depot->batches[class], ((void **)first)[1], HF_RELAXED);
	hf_unlock(&depot->lock);
	return (struct hf_batch){ first, first == NULL ? 0 : HF_BATCH_LINES / (class + 1) };
}

static void put_back(struct hf_blocks *blocks, struct hf_depot *depot, void *block,
		     uint32_t lines) {
	struct hf_batch *free = &blocks->free[lines - 1], *full = &blocks->full[lines - 1];
	*(void **)block = free->first;
	*free = (struct hf_batch){ block, free->count + 1 };
	if (free->count < HF_BATCH_LINES / lines)
		return;
	if (full->first != NULL)
		batch_give(depot, lines - 1, *full);
	*full = *free;
	*free = (struct hf_batch){ 0 };
}

static bool cut_new(struct hf_blocks *blocks, struct hf_depot *depot) {
	uint32_t bits = blocks->cuts == NULL ? CUT_BITS_MIN : blocks->cuts->bits + 1;
	bits = bits > CUT_BITS_MAX ? CUT_BITS_MAX : bits;
	if (bits == CUT_BITS_MAX && !blocks->wants) {
		hf_pieces_want(depot->pieces, bits, CUTS_AHEAD);
		blocks->wants = true;
	}
	bool zero;
	struct hf_cut *cut = hf_piece_take(depot->pieces, bits, &zero);
	if (cut == NULL)
		return false;
	if (blocks->fresh_bytes != 0)
		put_back(blocks, depot, blocks->fresh, hf_lines_of(blocks->fresh_bytes));
	*cut = (struct hf_cut){ blocks->cuts, bits };
	blocks->cuts = cut;
	blocks->fresh = (uint8_t *)cut + HF_LINE;
	blocks->fresh_bytes = hf_piece_bytes(bits) - HF_LINE;
	return true;
}

static void *block_fresh(struct hf_blocks *blocks, struct hf_depot *depot, uint32_t lines) {
	if (blocks->fresh_bytes < lines * HF_LINE && !cut_new(blocks, depot))
		return NULL;
	void *block = blocks->fresh;
	blocks->fresh += lines * HF_LINE;
	blocks->fresh_bytes -= lines * HF_LINE;
	return block;
}

void *hf_block_new(struct hf_blocks *blocks, struct hf_depot *depot, uint32_t lines) {
	bool zero;
	if (lines > HF_BLOCK_LINES)
		return hf_piece_take(depot->pieces, bits_of(lines), &zero);
	struct hf_batch *free = &blocks->free[lines - 1], *full = &blocks->full[lines - 1];
	if (free->first == NULL) {
		*free = full->first != NULL ? *full : batch_take(depot, lines - 1);
		*full = (struct hf_batch){ 0 };
	}
	void *block = free->first;
	if (block != NULL) {
		*free = (struct hf_batch){ *(void **)block, free->count - 1 };
		__builtin_prefetch(free->first, 1);
	} else {
		block = block_fresh(blocks, depot, lines);
	}
	if (block != NULL)
		hf_note_new(block, lines * HF_LINE);
	return block;
}

void hf_large_free(struct hf_depot *depot, void *block, uint32_t lines) {
	if (lines > HF_BLOCK_LINES)
		hf_piece_free(depot->pieces, block, bits_of(lines));
}

void hf_block_free(struct hf_blocks *blocks, struct hf_depot *depot, void *block, uint32_t lines) {
	if (lines > HF_BLOCK_LINES) {
		hf_large_free(depot, block, lines);
		return;
	}
	hf_note_dead(block, lines * HF_LINE);
	put_back(blocks, depot, block, lines);
}

/* ---- limbo */

static void free_oldest(struct hf_blocks *blocks, struct hf_depot *depot) {
	uint64_t what = hf_blocks_oldest(blocks)->what;
	hf_blocks_shift(blocks);
	hf_block_free(blocks, depot, (void *)(uintptr_t)(what & HF_ADDRESS_MASK),
		      (uint32_t)(what >> 48));
}

void hf_blocks_tend(struct hf_blocks *blocks, struct hf_depot *depot) {
	bool many = hf_blocks_are_many(blocks);
	if (!many) {
		blocks->limbo_look = 0;
	} else if (blocks->limbo_count >= blocks->limbo_look) {
		if (!hf_epochs_passed(depot->epochs, hf_blocks_oldest(blocks)->stamp)) {
			/* Somebody is inside for long: no good asking at every write. */
			blocks->limbo_look = blocks->limbo_count + HF_MAP_LIMBO_FIRST / 16;
			return;
		}
	}
	uint32_t most = many ? HF_TEND_EVERY : 1;
	for (uint32_t i = 0; i < most && blocks->limbo_count != 0; i++) {
		if (!hf_epochs_known(depot->epochs, hf_blocks_oldest(blocks)->stamp))
			return;
		free_oldest(blocks, depot);
	}
}

bool hf_blocks_widen(struct hf_blocks *blocks) {
	uint32_t had = blocks->limbo == NULL ? 0 : blocks->limbo_mask + 1;
	uint32_t size = had == 0 ? HF_MAP_LIMBO_FIRST : 2 * had;
	if (size > HF_MAP_LIMBO_RECORDS)
		return false;
	struct hf_removed *limbo = hf_memory_new(size * sizeof(*limbo));
	if (limbo == NULL)
		return false;
	for (uint32_t i = 0; i < blocks->limbo_count; i++)
		limbo[i] = blocks->limbo[(blocks->limbo_first + i) & blocks->limbo_mask];
	hf_memory_free(blocks->limbo);
	blocks->limbo = limbo;
	hf_atomic_store(&blocks->limbo_mask, size - 1, HF_RELAXED); /* hf_map_stats reads it */
	blocks->limbo_first = 0;
	return true;
}

bool hf_blocks_drain(struct hf_blocks *blocks, struct hf_depot *depot) {
	while (blocks->limbo_count != 0 &&
	       hf_epochs_passed(depot->epochs, hf_blocks_oldest(blocks)->stamp))
		free_oldest(blocks, depot);
	return blocks->limbo_count == 0;
}

void hf_blocks_fini(struct hf_blocks *all, struct hf_depot *depot) {
	for (struct hf_blocks *at = all; at != NULL; at = at->next)
		while (at->limbo_count != 0)
			free_oldest(at, depot);
	for (struct hf_blocks *at = all; at != NULL; at = at->next) {
		while (at->cuts != NULL) {
			struct hf_cut *cut = at->cuts;
			at->cuts = cut->next;
			hf_piece_free(depot->pieces, cut, cut->bits);
		}
		hf_memory_free(at->limbo);
	}
}
