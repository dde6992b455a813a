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

/* Bit 4i + 3 for each slot i of this line with this tag. */
#if defined(__SSE2__) && !defined(HF_BASE_TSAN) && !defined(HF_INTERLEAVE)
static inline uint32_t hf_tags_match(const uint64_t *line, uint64_t tag) {
	const __m128i *words = (const __m128i *)(const void *)line;
	__m128i wanted = _mm_set1_epi16((short)tag);
	__m128i low = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(&words[0]), wanted),
				      _mm_cmpeq_epi16(_mm_load_si128(&words[1]), wanted));
	__m128i high = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(&words[2]), wanted),
				       _mm_cmpeq_epi16(_mm_load_si128(&words[3]), wanted));
	uint32_t found = (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high) << 16;
	return found & 0x88888888u; /* the highest of a word's four 16-bit lanes is its tag */
}
#else
static inline uint32_t hf_tags_match(const uint64_t *line, uint64_t tag) {
	uint32_t found = 0;
	for (uint32_t i = 0; i < HF_LINE_WORDS; i++)
		found |= hf_is_same(hf_atomic_load(&line[i], HF_RELAXED) >> HF_TAG_SHIFT, tag)
			 << (4 * i + 3);
	return found;
}
#endif

/* Is what stands at this address what is wanted? */
typedef bool hf_tag_is_fn(const void *wanted, const void *there);

__attribute__((always_inline)) static inline uint64_t *hf_tags_find_in(uint64_t *line, uint64_t tag,
								       hf_tag_is_fn *is_it,
								       const void *wanted,
								       uint64_t *ret_word) {
	for (uint32_t found = hf_tags_match(line, tag); found != 0; found &= found - 1) {
		uint64_t *slot = line + __builtin_ctz(found) / 4;
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
