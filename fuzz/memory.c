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
#define KEPT_MAX 4u

void *__real_hf_memory_new(size_t bytes);
void *__wrap_hf_memory_new(size_t bytes);
void __real_hf_memory_free(void *memory);
void __wrap_hf_memory_free(void *memory);

/* The wrapped calls have no argument of ours. */
static struct {
	void *block;
	size_t bytes;
} kept[KEPT_MAX];

void *__wrap_hf_memory_new(size_t bytes) {
	for (uint32_t i = 0; bytes >= LARGE && i < KEPT_MAX; i++) {
		void *block = kept[i].block;
		if (block == NULL || kept[i].bytes != bytes)
			continue;
		kept[i].block = NULL;
		ASAN_UNPOISON_MEMORY_REGION(block, bytes);
		return memset(block, 0, bytes);
	}
	return __real_hf_memory_new(bytes);
}

void __wrap_hf_memory_free(void *memory) {
	size_t bytes = memory == NULL ? 0 : __sanitizer_get_allocated_size(memory);
	for (uint32_t i = 0; bytes >= LARGE && i < KEPT_MAX; i++) {
		if (kept[i].block != NULL)
			continue;
		kept[i].block = memory;
		kept[i].bytes = bytes;
		ASAN_POISON_MEMORY_REGION(memory, bytes);
		return;
	}
	__real_hf_memory_free(memory);
}
