/*
 * tags.h - looking for an address in a table by its tag: 16 bits of the hash that stand above the
 * address in a slot's word. Eight of them are compared at once, and what they find is only a hint:
 * what counts is the word that is loaded then, and what stands at its address.
 */
#ifndef HF_MAP_TAGS_H
#define HF_MAP_TAGS_H

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "map/map_private.h"

#define HF_TAG_SHIFT HF_ADDRESS_BITS

static inline void *hf_tag_address(uint64_t word) {
	return (void *)(uintptr_t)(word & HF_ADDRESS_MASK);
}

/* What a slot's word has above the address; never 0, which the marks have. */
static inline uint64_t hf_tag_of(uint64_t hash) {
	return (hash & 0xffff) | 0x8000;
}

static inline uint64_t hf_tag_word(uint64_t hash, const void *address) {
	return hf_tag_of(hash) << HF_TAG_SHIFT | (uintptr_t)address;
}

/* Bit 2i for each slot i of this line with this tag. */
#if defined(__SSE2__) && !defined(HF_BASE_TSAN) && !defined(HF_INTERLEAVE)
/* The upper halves of two slots each. */
static inline __m128i hf_tags_upper(const __m128i *slots) {
	__m128 first = _mm_castsi128_ps(_mm_load_si128(&slots[0]));
	__m128 second = _mm_castsi128_ps(_mm_load_si128(&slots[1]));
	return _mm_castps_si128(_mm_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1)));
}

static inline uint32_t hf_tags_match(const uint64_t *line, uint64_t tag) {
	const __m128i *slots = (const __m128i *)(const void *)line;
	__m128i low = _mm_srai_epi32(hf_tags_upper(&slots[0]), 16);
	__m128i high = _mm_srai_epi32(hf_tags_upper(&slots[2]), 16);
	__m128i same = _mm_cmpeq_epi16(_mm_packs_epi32(low, high), _mm_set1_epi16((short)tag));
	return (uint32_t)_mm_movemask_epi8(same) & 0x5555;
}
#else
static inline uint32_t hf_tags_match(const uint64_t *line, uint64_t tag) {
	uint32_t found = 0;
	for (uint32_t i = 0; i < HF_LINE_WORDS; i++)
		found |= hf_is_same(hf_atomic_load(&line[i], HF_RELAXED) >> HF_TAG_SHIFT, tag)
			 << 2 * i;
	return found;
}
#endif

/* The first slot that hf_tags_match found in the line; it did find one. */
static inline uint64_t *hf_tags_first(const uint64_t *line, uint32_t found) {
	uintptr_t at = (uintptr_t)line + 4 * (uintptr_t)(uint32_t)__builtin_ctz(found);
	return (uint64_t *)at;
}

/* Is what stands at this address what is wanted? */
typedef bool hf_tag_is_fn(const void *wanted, const void *there);

__attribute__((always_inline)) static inline uint64_t *hf_tags_find_in(uint64_t *line, uint64_t tag,
								       hf_tag_is_fn *is_it,
								       const void *wanted,
								       uint64_t *ret_word) {
	for (uint32_t found = hf_tags_match(line, tag); found != 0; found &= found - 1) {
		uint64_t *slot = hf_tags_first(line, found);
		uint64_t word = hf_atomic_load(slot, HF_ACQUIRE);
		if (HF_UNLIKELY(word >> HF_TAG_SHIFT != tag))
			continue;
		if (HF_LIKELY(is_it(wanted, hf_tag_address(word)))) {
			*ret_word = word;
			return slot;
		}
	}
	return NULL;
}

/*
 * As hf_table_find. *ret_word is what the slot held when it was found there. Always inline: so is
 * `is_it` then.
 */
__attribute__((always_inline)) static inline uint64_t *hf_tags_find(hf_table table, uint64_t hash,
								    hf_tag_is_fn *is_it,
								    const void *wanted,
								    uint64_t *ret_word) {
	uint64_t *line = hf_table_line(table, hf_table_home(table, hash));
	for (;;) {
		uint64_t *slot = hf_tags_find_in(line, hf_tag_of(hash), is_it, wanted, ret_word);
		if (HF_LIKELY(slot != NULL))
			return slot;
		uint32_t ends = 0, moved = 0;
		for (uint32_t i = 0; i < HF_LINE_WORDS; i++) {
			uint64_t word = hf_atomic_load(&line[i], HF_ACQUIRE);
			ends |= word == HF_MARK_EMPTY;
			moved |= word == HF_MARK_MOVED;
		}
		line = hf_table_on(&table, line, hash, moved, ends);
		if (line == NULL)
			return NULL;
	}
}

#endif
