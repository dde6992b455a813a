/*
 * pieces.h - where tables and records get their memory: pieces of 2^bits lines of 64 bytes.
 *
 * The tables of many shards are small, the pages that make random access fast are huge; so pieces
 * of one size share a chunk of up to 2 MB. A piece that comes back is used again; a chunk of which
 * all pieces are back goes to the system. Pieces of 2 MB and more are chunks of their own.
 */
#ifndef HF_MAP_PIECES_H
#define HF_MAP_PIECES_H

#include <stdint.h>

#include "base/allocator.h"
#include "base/limits.h"

#define HF_LINE 64u
#define HF_PIECE_CLASSES 48u

struct hf_chunk;

struct hf_pieces {
	const struct hf_allocator *allocator; /* at least 64-byte aligned */
	struct hf_chunk *chunks[HF_PIECE_CLASSES];
	uint64_t bytes; /* held, used or not */
	uint32_t lock;
};

void hf_pieces_init(struct hf_pieces *pieces, const struct hf_allocator *allocator);
/* All pieces must be back, or out of use: gives everything to the system. */
void hf_pieces_fini(struct hf_pieces *pieces);
/* Zeroed memory of 2^bits lines, NULL if there is none. From any thread. */
void *hf_piece_new(struct hf_pieces *pieces, uint32_t bits);
void hf_piece_free(struct hf_pieces *pieces, void *piece, uint32_t bits);
uint64_t hf_pieces_bytes(struct hf_pieces *pieces);

#endif
