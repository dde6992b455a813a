/*
 * pieces.h - where tables and records get their memory: pieces of 2^bits lines of 64 bytes, and
 * the few more that a table's head and tail take.
 *
 * The tables of many shards are small, the pages that make random access fast are huge; so up to 64
 * pieces of one size share a chunk, side by side. Of a chunk, only what is used costs memory. A
 * piece that comes back is used again; a chunk of which all are back goes to the system. Where no
 * huge pages are wanted, chunks are small: to give back much memory at once takes long. For that
 * reason a larger one goes in parts, one with each write, or the helper gives it back.
 */
#ifndef HF_MAP_PIECES_H
#define HF_MAP_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/limits.h"

/* An address takes this much of a word; what stands above it there is the map's. */
#define HF_ADDRESS_BITS 48u
#define HF_ADDRESS_MASK (((uint64_t)1 << HF_ADDRESS_BITS) - 1)

#define HF_LINE 64u
#define HF_PIECE_CLASSES 48u
#define HF_CHUNK_HUGE ((size_t)32 << 20)
#define HF_CHUNK_SMALL ((size_t)1 << 20)
#define HF_PIECE_EXTRA (1 + HF_MAP_TAIL_LINES) /* lines */
/*
 * A chunk's memory is aligned so. Before each piece stands a line that tells its chunk, so the
 * second line of a piece is aligned so again (but for bits = 0): a table's first home line.
 */
#define HF_PIECE_ALIGNMENT 128u

_Static_assert(HF_MAP_BITS_MIN >= 1 && (1 + HF_PIECE_EXTRA) * HF_LINE % HF_PIECE_ALIGNMENT == 0,
	       "pieces of tables stand side by side");

struct hf_chunk;
struct hf_helper;

struct hf_pieces {
	const struct hf_allocator *allocator; /* aligned to HF_PIECE_ALIGNMENT at least */
	size_t chunk_bytes;
	struct hf_helper *helper;		   /* NULL: who needs memory finds it */
	struct hf_chunk *chunks[HF_PIECE_CLASSES]; /* that have free pieces */
	struct hf_chunk *full[HF_PIECE_CLASSES];
	uint64_t bytes;		 /* of the pieces that have memory */
	struct hf_chunk *unused; /* to be given back to the system */
	uint32_t lock;
	/* The helper's: */
	uint32_t wanted[HF_PIECE_CLASSES]; /* so many free pieces are to have memory */
	struct hf_chunk *helped;	   /* in which one gets memory; NULL: none */
	uint32_t helped_bits, helped_number;
	size_t helped_bytes; /* that it has so far */
};

/* Chunks of at most `chunk_bytes`, or of one piece. */
void hf_pieces_init(struct hf_pieces *pieces, const struct hf_allocator *allocator,
		    size_t chunk_bytes);
/* All pieces must be back, or out of use: gives everything to the system. */
void hf_pieces_fini(struct hf_pieces *pieces);
static inline size_t hf_piece_bytes(uint32_t bits) {
	return (((size_t)1 << bits) + HF_PIECE_EXTRA) * HF_LINE;
}

/* Memory of hf_piece_bytes, NULL if there is none; *ret_zero: all of it is 0. From any thread. */
void *hf_piece_take(struct hf_pieces *pieces, uint32_t bits, bool *ret_zero);
/* The same, zeroed. */
void *hf_piece_new(struct hf_pieces *pieces, uint32_t bits);
/* The same; NULL also if it would have to find memory, and has a helper for that. */
void *hf_piece_try(struct hf_pieces *pieces, uint32_t bits, bool *ret_zero);
/* The helper, if there is one, is to keep so many pieces more ready, or less. */
void hf_pieces_want(struct hf_pieces *pieces, uint32_t bits, int32_t more);
/* The helper's: finds memory for 2 MB, or gives some back; false: there is nothing to do. */
bool hf_pieces_help(struct hf_pieces *pieces);
void hf_piece_free(struct hf_pieces *pieces, void *piece, uint32_t bits);
uint64_t hf_pieces_bytes(struct hf_pieces *pieces);
/* Where nobody helps: is there memory to be given back? */
bool hf_pieces_are_due(const struct hf_pieces *pieces);
/* Gives some of it back: for a moment, but without the lock of the pieces. */
void hf_pieces_tend(struct hf_pieces *pieces);

#endif
