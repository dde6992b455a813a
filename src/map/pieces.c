#include "map/pieces.h"

#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/memory.h"
#include "map/helper.h"
#include "map/lock.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define SMALL_PAGE 4096u
#define CHUNK_PIECES 64u /* at most: so many bits has `free` */

struct hf_chunk {
	struct hf_chunk *next, **at; /* of its list, and what points to it there */
	void *memory;		     /* as it came, of `bytes` */
	size_t bytes, piece_bytes;
	uint8_t *first; /* piece's line before it */
	uint64_t free;	/* a bit for each piece that is not in use */
	uint64_t all;	/* a bit for each piece */
	uint64_t there; /* a bit for each piece that has memory */
	uint64_t dirty; /* a bit for each piece that is no longer zero */
	size_t dropped; /* unused: bytes of the pieces that the system has again */
};

void hf_pieces_init(struct hf_pieces *pieces, const struct hf_allocator *allocator,
		    size_t chunk_bytes) {
	*pieces = (struct hf_pieces){ .allocator = allocator, .chunk_bytes = chunk_bytes };
}

static void list_add(struct hf_chunk **list, struct hf_chunk *chunk) {
	chunk->next = *list;
	chunk->at = list;
	if (*list != NULL)
		(*list)->at = &chunk->next;
	*list = chunk;
}

static void list_remove(struct hf_chunk *chunk) {
	*chunk->at = chunk->next;
	if (chunk->next != NULL)
		chunk->next->at = chunk->at;
}

/* How many bytes of it may have memory. */
static size_t used_bytes(const struct hf_chunk *chunk) {
	return (uint32_t)__builtin_popcountll(chunk->all) * chunk->piece_bytes;
}

/* With the lock. */
static void unused_add(struct hf_pieces *pieces, struct hf_chunk *chunk) {
	chunk->next = pieces->unused;
	hf_atomic_store(&pieces->unused, chunk, HF_RELAXED);
}

/* Gives it back to the system, or a part of it; true: there is more. */
static bool drop(struct hf_pieces *pieces, struct hf_chunk *chunk) {
	const struct hf_allocator *allocator = pieces->allocator;
	if (allocator->drop != NULL && used_bytes(chunk) - chunk->dropped > HF_MAP_DROP_BYTES) {
		allocator->drop(chunk->first + chunk->dropped, HF_MAP_DROP_BYTES);
		chunk->dropped += HF_MAP_DROP_BYTES;
		return true;
	}
	allocator->free(chunk->memory, chunk->bytes);
	hf_memory_free(chunk);
	return false;
}

static void chunk_free(struct hf_pieces *pieces, struct hf_chunk *chunk) {
	pieces->bytes -= (uint32_t)__builtin_popcountll(chunk->there) * chunk->piece_bytes;
	bool large = used_bytes(chunk) > HF_MAP_DROP_BYTES && pieces->allocator->drop != NULL;
	if (large || pieces->helper != NULL)
		unused_add(pieces, chunk);
	else
		(void)drop(pieces, chunk);
}

/* Gives some back to the system, if there is any. Without the lock: that takes a while. */
static bool unused_free(struct hf_pieces *pieces) {
	hf_lock(&pieces->lock);
	struct hf_chunk *chunk = pieces->unused;
	if (chunk != NULL)
		hf_atomic_store(&pieces->unused, chunk->next, HF_RELAXED);
	hf_unlock(&pieces->lock);
	if (chunk == NULL)
		return false;
	if (drop(pieces, chunk)) {
		hf_lock(&pieces->lock);
		unused_add(pieces, chunk);
		hf_unlock(&pieces->lock);
	}
	return true;
}

bool hf_pieces_are_due(const struct hf_pieces *pieces) {
	return pieces->helper == NULL && hf_atomic_load(&pieces->unused, HF_RELAXED) != NULL;
}

void hf_pieces_tend(struct hf_pieces *pieces) {
	if (hf_pieces_are_due(pieces))
		(void)unused_free(pieces);
}

static void all_free(struct hf_pieces *pieces, struct hf_chunk **list) {
	while (*list != NULL) {
		struct hf_chunk *chunk = *list;
		list_remove(chunk);
		chunk_free(pieces, chunk);
	}
}

void hf_pieces_fini(struct hf_pieces *pieces) {
	for (uint32_t bits = 0; bits < HF_PIECE_CLASSES; bits++) {
		all_free(pieces, &pieces->chunks[bits]);
		all_free(pieces, &pieces->full[bits]);
	}
	while (unused_free(pieces))
		continue;
}

/* How many pieces of this size share a chunk. */
static uint32_t pieces_of(const struct hf_pieces *pieces, uint32_t bits) {
	size_t fit = pieces->chunk_bytes >> bits >> 6;
	return fit == 0 ? 1 : fit > CHUNK_PIECES ? CHUNK_PIECES : (uint32_t)fit;
}

static struct hf_chunk *chunk_new(struct hf_pieces *pieces, uint32_t bits) {
	uint32_t count = pieces_of(pieces, bits);
	size_t piece = HF_LINE + hf_piece_bytes(bits);
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
	HF_ASSERT((uintptr_t)chunk->memory % HF_PIECE_ALIGNMENT == 0);
	chunk->first =
		(uint8_t *)chunk->memory + (huge == 0 ? 0 : -(uintptr_t)chunk->memory & (huge - 1));
	chunk->all = chunk->free = count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1;
	list_add(&pieces->chunks[bits], chunk);
	return chunk;
}

/* The free pieces that have memory, or have none. */
static uint64_t free_ones(const struct hf_chunk *chunk, bool there) {
	return chunk->free & (there ? chunk->there : ~chunk->there);
}

/* A chunk with such a piece; NULL: there is none. */
static struct hf_chunk *chunk_with(const struct hf_pieces *pieces, uint32_t bits, bool there) {
	struct hf_chunk *chunk = pieces->chunks[bits];
	while (chunk != NULL && free_ones(chunk, there) == 0)
		chunk = chunk->next;
	return chunk;
}

/* Of a piece of this chunk. */
static uint8_t *piece_at(const struct hf_chunk *chunk, uint32_t i) {
	return chunk->first + i * chunk->piece_bytes + HF_LINE;
}

/* Whose piece it is stands before it, once it was taken. */
static struct hf_chunk **chunk_of(void *piece) {
	return (struct hf_chunk **)(void *)((uint8_t *)piece - HF_LINE);
}

/* Who looks for a free piece meets no chunk that has none, however many there are. */
static void set_used(struct hf_pieces *pieces, uint32_t bits, struct hf_chunk *chunk,
		     uint64_t piece) {
	chunk->free &= ~piece;
	if (chunk->free == 0) {
		list_remove(chunk);
		list_add(&pieces->full[bits], chunk);
	}
}

static void set_free(struct hf_pieces *pieces, uint32_t bits, struct hf_chunk *chunk,
		     uint64_t piece) {
	if (chunk->free == 0) {
		list_remove(chunk);
		list_add(&pieces->chunks[bits], chunk);
	}
	chunk->free |= piece;
}

static void *take(struct hf_pieces *pieces, uint32_t bits, bool must, bool *ret_zero) {
	HF_ASSERT(bits < HF_PIECE_CLASSES);
	hf_lock(&pieces->lock);
	struct hf_chunk *chunk = chunk_with(pieces, bits, true);
	if (chunk == NULL && must)
		chunk = chunk_with(pieces, bits, false);
	if (chunk == NULL && must)
		chunk = chunk_new(pieces, bits);
	uint8_t *piece = NULL;
	if (chunk != NULL) {
		uint64_t there = free_ones(chunk, true);
		uint32_t i = (uint32_t)__builtin_ctzll(there != 0 ? there : chunk->free);
		uint64_t bit = (uint64_t)1 << i;
		piece = piece_at(chunk, i);
		*ret_zero = (chunk->dirty & bit) == 0;
		pieces->bytes += (chunk->there & bit) == 0 ? chunk->piece_bytes : 0;
		set_used(pieces, bits, chunk, bit);
		chunk->there |= bit;
		chunk->dirty |= bit;
	}
	bool ask = piece != NULL && pieces->wanted[bits] != 0;
	hf_unlock(&pieces->lock);
	/* Without the lock: it may be the first time that this memory is touched. */
	if (piece != NULL) {
		*chunk_of(piece) = chunk;
		hf_note_new(piece, hf_piece_bytes(bits));
	}
	if (ask)
		hf_helper_ask(pieces->helper);
	return piece;
}

void *hf_piece_take(struct hf_pieces *pieces, uint32_t bits, bool *ret_zero) {
	return take(pieces, bits, true, ret_zero);
}

void *hf_piece_try(struct hf_pieces *pieces, uint32_t bits, bool *ret_zero) {
	return take(pieces, bits, pieces->helper == NULL, ret_zero);
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
	hf_lock(&pieces->lock);
	struct hf_chunk *chunk = *chunk_of(piece);
	size_t number = (size_t)((uint8_t *)piece - chunk->first) / chunk->piece_bytes;
	set_free(pieces, bits, chunk, (uint64_t)1 << number);
	bool unused = chunk->free == chunk->all;
	if (unused) {
		list_remove(chunk);
		chunk_free(pieces, chunk);
	}
	hf_unlock(&pieces->lock);
	if (unused)
		hf_helper_ask(pieces->helper);
}

/* ---- the helper */

void hf_pieces_want(struct hf_pieces *pieces, uint32_t bits, int32_t more) {
	if (pieces->helper == NULL)
		return;
	hf_lock(&pieces->lock);
	pieces->wanted[bits] += (uint32_t)more;
	hf_unlock(&pieces->lock);
	hf_helper_ask(pieces->helper);
}

static bool is_short(const struct hf_pieces *pieces, uint32_t bits) {
	uint32_t ready = 0;
	if (pieces->wanted[bits] == 0)
		return false;
	for (const struct hf_chunk *at = pieces->chunks[bits]; at != NULL; at = at->next)
		ready += (uint32_t)__builtin_popcountll(free_ones(at, true));
	return ready < pieces->wanted[bits];
}

/* Chooses the piece that gets memory next, and takes it; false: none is wanted. With the lock. */
static bool help_begin(struct hf_pieces *pieces) {
	uint32_t bits = 0;
	while (bits < HF_PIECE_CLASSES && !is_short(pieces, bits))
		bits++;
	if (bits == HF_PIECE_CLASSES)
		return false;
	struct hf_chunk *chunk = chunk_with(pieces, bits, false);
	if (chunk == NULL)
		chunk = chunk_new(pieces, bits);
	if (chunk == NULL)
		return false;
	pieces->helped = chunk;
	pieces->helped_bits = bits;
	pieces->helped_number = (uint32_t)__builtin_ctzll(free_ones(chunk, false));
	pieces->helped_bytes = 0;
	set_used(pieces, bits, chunk, (uint64_t)1 << pieces->helped_number);
	return true;
}

/* It can be taken by others now. With the lock. */
static void help_end(struct hf_pieces *pieces) {
	struct hf_chunk *chunk = pieces->helped;
	uint64_t bit = (uint64_t)1 << pieces->helped_number;
	set_free(pieces, pieces->helped_bits, chunk, bit);
	chunk->there |= bit;
	pieces->bytes += chunk->piece_bytes;
	pieces->helped = NULL;
}

bool hf_pieces_help(struct hf_pieces *pieces) {
	if (unused_free(pieces))
		return true;
	hf_lock(&pieces->lock);
	bool helps = pieces->helped != NULL || help_begin(pieces);
	hf_unlock(&pieces->lock);
	if (!helps)
		return false;
	uint8_t *piece = piece_at(pieces->helped, pieces->helped_number);
	size_t bytes = hf_piece_bytes(pieces->helped_bits), end = pieces->helped_bytes + HUGE_PAGE;
	for (size_t at = pieces->helped_bytes; at < bytes && at < end; at += SMALL_PAGE)
		*(volatile uint64_t *)(void *)(piece + at) = 0;
	*(volatile uint64_t *)(void *)(piece + bytes - HF_LINE) = 0;
	pieces->helped_bytes = end;
	if (end < bytes)
		return true; /* to be asked between two parts whether it is to end */
	hf_lock(&pieces->lock);
	help_end(pieces);
	hf_unlock(&pieces->lock);
	return true;
}

uint64_t hf_pieces_bytes(struct hf_pieces *pieces) {
	hf_lock(&pieces->lock);
	uint64_t bytes = pieces->bytes;
	hf_unlock(&pieces->lock);
	return bytes;
}
