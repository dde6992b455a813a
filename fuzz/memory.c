/*
 * Keeps large blocks of memory for the next execution: AddressSanitizer maps and unmaps them, which
 * takes longer than all else together. Wraps the calls of os/memory.h (-Wl,--wrap, in meson.build).
 * A kept block is poisoned, so that a use after it was freed is still seen.
 */
#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <string.h>

#include "os/memory.h"

#define LARGE 131072u
#define KEPT_MAX 8u

void *__real_hf_memory_grow(void *old, size_t bytes);
void *__wrap_hf_memory_grow(void *old, size_t bytes);
void *__real_hf_memory_new(size_t bytes);
void *__wrap_hf_memory_new(size_t bytes);
void __real_hf_memory_free(void *memory);
void __wrap_hf_memory_free(void *memory);

/* The wrapped calls have no argument of ours. */
static struct {
	void *block;
	size_t bytes;
} kept[KEPT_MAX];

/* NULL if none of this size is kept. */
static void *take_kept(size_t bytes) {
	for (uint32_t i = 0; bytes >= LARGE && i < KEPT_MAX; i++) {
		void *block = kept[i].block;
		if (block == NULL || kept[i].bytes != bytes)
			continue;
		kept[i].block = NULL;
		ASAN_UNPOISON_MEMORY_REGION(block, bytes);
		return block;
	}
	return NULL;
}

void *__wrap_hf_memory_new(size_t bytes) {
	void *block = take_kept(bytes);
	return block == NULL ? __real_hf_memory_new(bytes) : memset(block, 0, bytes);
}

void *__wrap_hf_memory_grow(void *old, size_t bytes) {
	void *block = old == NULL ? take_kept(bytes) : NULL;
	return block == NULL ? __real_hf_memory_grow(old, bytes) : block;
}

/* Takes the place of the one that has waited longest. */
void __wrap_hf_memory_free(void *memory) {
	static uint32_t oldest;
	size_t bytes = memory == NULL ? 0 : __sanitizer_get_allocated_size(memory);
	if (bytes < LARGE) {
		__real_hf_memory_free(memory);
		return;
	}
	uint32_t place = oldest++ % KEPT_MAX;
	if (kept[place].block != NULL) {
		ASAN_UNPOISON_MEMORY_REGION(kept[place].block, kept[place].bytes);
		__real_hf_memory_free(kept[place].block);
	}
	kept[place].block = memory;
	kept[place].bytes = bytes;
	ASAN_POISON_MEMORY_REGION(memory, bytes);
}
