#include "map/blocks.h"

#include "base/atomic.h"

#define CUT_BITS_MIN 6u	 /* of the pieces that are cut: 4 KB */
#define CUT_BITS_MAX 12u /* 256 KB */

/* How a piece that was cut begins. */
struct hf_cut {
	struct hf_cut *next;
	uint32_t bits;
};

static uint32_t lines_of(size_t bytes) {
	return (uint32_t)((bytes + HF_LINE - 1) / HF_LINE);
}

static uint32_t bits_of(size_t bytes) {
	uint32_t bits = 0;
	while (hf_piece_bytes(bits) < bytes)
		bits++;
	return bits;
}

static void put_back(struct hf_blocks *blocks, void *block, uint32_t lines) {
	*(void **)block = blocks->free[lines - 1];
	blocks->free[lines - 1] = block;
}

static bool cut_new(struct hf_blocks *blocks, struct hf_pieces *pieces) {
	uint32_t bits = blocks->cuts == NULL ? CUT_BITS_MIN : blocks->cuts->bits + 1;
	bits = bits > CUT_BITS_MAX ? CUT_BITS_MAX : bits;
	struct hf_cut *cut = hf_piece_new(pieces, bits);
	if (cut == NULL)
		return false;
	if (blocks->fresh_bytes != 0)
		put_back(blocks, blocks->fresh, lines_of(blocks->fresh_bytes));
	*cut = (struct hf_cut){ blocks->cuts, bits };
	blocks->cuts = cut;
	blocks->fresh = (uint8_t *)cut + HF_LINE;
	blocks->fresh_bytes = hf_piece_bytes(bits) - HF_LINE;
	return true;
}

void *hf_block_new(struct hf_blocks *blocks, struct hf_pieces *pieces, size_t bytes) {
	uint32_t lines = lines_of(bytes);
	if (lines > HF_BLOCK_LINES)
		return hf_piece_new(pieces, bits_of(bytes));
	void *block = blocks->free[lines - 1];
	if (block != NULL) {
		blocks->free[lines - 1] = *(void **)block;
		__builtin_prefetch(blocks->free[lines - 1], 1);
	} else {
		if (blocks->fresh_bytes < lines * HF_LINE && !cut_new(blocks, pieces))
			return NULL;
		block = blocks->fresh;
		blocks->fresh += lines * HF_LINE;
		blocks->fresh_bytes -= lines * HF_LINE;
	}
	hf_note_new(block, lines * HF_LINE);
	return block;
}

void hf_block_free(struct hf_blocks *blocks, struct hf_pieces *pieces, void *block, size_t bytes) {
	if (lines_of(bytes) > HF_BLOCK_LINES) {
		hf_piece_free(pieces, block, bits_of(bytes));
		return;
	}
	hf_note_dead(block, lines_of(bytes) * HF_LINE);
	put_back(blocks, block, lines_of(bytes));
}

void hf_blocks_fini(struct hf_blocks *blocks, struct hf_pieces *pieces) {
	while (blocks->cuts != NULL) {
		struct hf_cut *cut = blocks->cuts;
		blocks->cuts = cut->next;
		hf_piece_free(pieces, cut, cut->bits);
	}
}
