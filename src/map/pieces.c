#include "map/pieces.h"

#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/memory.h"
#include "map/lock.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define CHUNK_PIECES 64u /* at most: so many bits has `out` */

struct hf_chunk {
	struct hf_chunk *next;
	void *memory; /* as it came, of `bytes` */
	size_t bytes, piece_bytes;
	uint8_t *first;	    /* piece */
	uint64_t free;	    /* a bit for each piece that is not in use */
	uint64_t all;	    /* a bit for each piece */
	uint64_t used_once; /* a bit for each piece that is no longer zero */
};

void hf_pieces_init(struct hf_pieces *pieces, const struct hf_allocator *allocator,
		    size_t chunk_bytes) {
	*pieces = (struct hf_pieces){ .allocator = allocator, .chunk_bytes = chunk_bytes };
}

static void chunk_free(struct hf_pieces *pieces, struct hf_chunk *chunk) {
	pieces->bytes -= (uint32_t)__builtin_popcountll(chunk->used_once) * chunk->piece_bytes;
	pieces->allocator->free(chunk->memory, chunk->bytes);
	hf_memory_free(chunk);
}

void hf_pieces_fini(struct hf_pieces *pieces) {
	for (uint32_t bits = 0; bits < HF_PIECE_CLASSES; bits++) {
		for (struct hf_chunk *chunk = pieces->chunks[bits]; chunk != NULL;) {
			struct hf_chunk *next = chunk->next;
			chunk_free(pieces, chunk);
			chunk = next;
		}
		pieces->chunks[bits] = NULL;
	}
}

/* How many pieces of this size share a chunk. */
static uint32_t pieces_of(const struct hf_pieces *pieces, uint32_t bits) {
	size_t fit = pieces->chunk_bytes >> bits >> 6;
	return fit == 0 ? 1 : fit > CHUNK_PIECES ? CHUNK_PIECES : (uint32_t)fit;
}

static struct hf_chunk *chunk_new(struct hf_pieces *pieces, uint32_t bits) {
	uint32_t count = pieces_of(pieces, bits);
	size_t piece = hf_piece_bytes(bits);
	struct hf_chunk *chunk = hf_memory_new(sizeof(*chunk));
	if (chunk == NULL)
		return NULL;
	/* A large one begins at a huge page; what lies before is never touched. */
	size_t huge = count * piece >= HF_CHUNK_HUGE / 2 ? HUGE_PAGE : 0;
	chunk->bytes = count * piece + huge;
	chunk->piece_bytes = piece;
	chunk->memory = pieces->allocator->alloc(chunk->bytes);
	if (chunk->memory == NULL) {
		hf_memory_free(chunk);
		return NULL;
	}
	HF_ASSERT((uintptr_t)chunk->memory % HF_LINE == 0);
	chunk->first =
		(uint8_t *)chunk->memory + (huge == 0 ? 0 : -(uintptr_t)chunk->memory & (huge - 1));
	chunk->all = chunk->free = count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1;
	chunk->next = pieces->chunks[bits];
	pieces->chunks[bits] = chunk;
	return chunk;
}

void *hf_piece_take(struct hf_pieces *pieces, uint32_t bits, bool *ret_zero) {
	HF_ASSERT(bits < HF_PIECE_CLASSES);
	hf_lock(&pieces->lock);
	struct hf_chunk *chunk = pieces->chunks[bits];
	while (chunk != NULL && chunk->free == 0)
		chunk = chunk->next;
	if (chunk == NULL)
		chunk = chunk_new(pieces, bits);
	uint8_t *piece = NULL;
	bool zero = true;
	if (chunk != NULL) {
		uint32_t i = (uint32_t)__builtin_ctzll(chunk->free);
		uint64_t bit = (uint64_t)1 << i;
		piece = chunk->first + i * hf_piece_bytes(bits);
		zero = (chunk->used_once & bit) == 0;
		chunk->free &= ~bit;
		chunk->used_once |= bit;
		pieces->bytes += zero ? chunk->piece_bytes : 0;
	}
	hf_unlock(&pieces->lock);
	if (piece != NULL)
		hf_note_new(piece, hf_piece_bytes(bits));
	*ret_zero = zero;
	return piece;
}

void *hf_piece_new(struct hf_pieces *pieces, uint32_t bits) {
	bool zero;
	void *piece = hf_piece_take(pieces, bits, &zero);
	if (piece != NULL && !zero)
		memset(piece, 0, hf_piece_bytes(bits));
	return piece;
}

void hf_piece_free(struct hf_pieces *pieces, void *piece, uint32_t bits) {
	if (piece == NULL)
		return;
	hf_note_dead(piece, hf_piece_bytes(bits));
	size_t span = pieces_of(pieces, bits) * hf_piece_bytes(bits);
	hf_lock(&pieces->lock);
	struct hf_chunk **at = &pieces->chunks[bits];
	while ((uintptr_t)piece - (uintptr_t)(*at)->first >= span)
		at = &(*at)->next;
	struct hf_chunk *chunk = *at;
	chunk->free |= (uint64_t)1
		       << ((size_t)((uint8_t *)piece - chunk->first) / hf_piece_bytes(bits));
	if (chunk->free == chunk->all) {
		*at = chunk->next;
		chunk_free(pieces, chunk);
	}
	hf_unlock(&pieces->lock);
}

uint64_t hf_pieces_bytes(struct hf_pieces *pieces) {
	hf_lock(&pieces->lock);
	uint64_t bytes = pieces->bytes;
	hf_unlock(&pieces->lock);
	return bytes;
}
