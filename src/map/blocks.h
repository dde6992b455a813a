/*
 * blocks.h - memory for one shard's records. Small blocks are whole lines of 64 bytes, cut from
 * pieces, and used again for blocks of the same size; large ones are pieces. The shard's lock.
 */
#ifndef HF_MAP_BLOCKS_H
#define HF_MAP_BLOCKS_H

#include "map/pieces.h"

#define HF_BLOCK_LINES 16u /* of the largest small block */

struct hf_blocks {
	void *free[HF_BLOCK_LINES]; /* by lines - 1; each begins with the address of the next */
	uint8_t *fresh;		    /* the rest of the newest piece */
	size_t fresh_bytes;
	struct hf_cut *cuts; /* the pieces; each twice as large as the one before, up to a limit */
};

/* Not zeroed. NULL: out of memory. */
void *hf_block_new(struct hf_blocks *blocks, struct hf_pieces *pieces, size_t bytes);
/* `bytes` as it was asked for. */
void hf_block_free(struct hf_blocks *blocks, struct hf_pieces *pieces, void *block, size_t bytes);
/* Gives back all that was cut; large blocks must be back. */
void hf_blocks_fini(struct hf_blocks *blocks, struct hf_pieces *pieces);

#endif
