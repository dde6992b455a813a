/*
 * What the machine can do: one line of memory after the other, each address known only from the
 * last one. PROGRAM [BYTES [THREADS]] prints the ns of one step, in memory like the maps' tables.
 */
#include <stdbool.h>

#define KIND 0
#include "harness.h"

static uint64_t *lines;
static uint64_t count, there;

static void peer_setup(uint64_t entries) {
	count = 1;
	there = entries;
	while (count * 64 < entries * 32)
		count *= 2;
	size_t bytes = count * 64, huge = (size_t)2 << 20;
	uint8_t *memory = (uint8_t *)mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	lines = (uint64_t *)(void *)(memory + (-(uintptr_t)memory & (huge - 1)));
	madvise(lines, bytes, MADV_HUGEPAGE);
	for (uint64_t i = 0; i < count; i++)
		lines[i * 8] = mix(i) << 1;
}

static void *peer_join(uint32_t number) {
	return NULL;
}

/* The harness asks for a key; this loads one line, as the cheapest map of all would. */
static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	uint64_t number = *key;
	number = (number ^ number >> 31 ^ number >> 62) * 0x319642b2d24d8ec3u;
	number = (number ^ number >> 27 ^ number >> 54) * 0x96de1b173f119089u;
	number = (number ^ number >> 30 ^ number >> 60) - 1; /* mix, undone: which key it is */
	uint64_t line = lines[(*key & (count - 1)) * 8];
	*ret = number << 8 | (line & 1);
	return number < there;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	uint64_t *line = &lines[(*key & (count - 1)) * 8];
	__atomic_store_n(line, *line + 2, __ATOMIC_RELAXED);
}
