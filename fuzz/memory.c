/*
 * Keeps large blocks of memory, and pages, for the next execution: mapping and unmapping them would
 * take longer than all else together. Wraps the calls of os/memory.h (-Wl,--wrap, in meson.build).
 * What is kept is poisoned, so that a use after it was freed is still seen.
 */
#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "os/memory.h"

#define LARGE 131072u
#define GRAIN 65536u /* of large blocks: those of about one size take each other's place */
#define KEPT_MAX 24u

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
	for (uint32_t i = 0; i < KEPT_MAX; i++) {
		void *block = kept[i].block;
		if (block == NULL || kept[i].bytes != bytes)
			continue;
		kept[i].block = NULL;
		ASAN_UNPOISON_MEMORY_REGION(block, bytes);
		return block;
	}
	return NULL;
}

/* A large block; what it has behind `bytes` is poisoned. */
static void *new_large(size_t bytes, bool zeroed) {
	size_t whole = (bytes + GRAIN - 1) / GRAIN * GRAIN;
	uint8_t *block = take_kept(whole);
	if (block == NULL)
		block = zeroed ? __real_hf_memory_new(whole) : __real_hf_memory_grow(NULL, whole);
	else if (zeroed)
		memset(block, 0, bytes);
	if (block != NULL)
		ASAN_POISON_MEMORY_REGION(block + bytes, whole - bytes);
	return block;
}

void *__wrap_hf_memory_new(size_t bytes) {
	return bytes < LARGE ? __real_hf_memory_new(bytes) : new_large(bytes, true);
}

void *__wrap_hf_memory_grow(void *old, size_t bytes) {
	return bytes < LARGE || old != NULL ? __real_hf_memory_grow(old, bytes)
					    : new_large(bytes, false);
}

/* Keeps a large one, if need be in the place of the one that has waited longest. */
void __wrap_hf_memory_free(void *memory) {
	static uint32_t oldest;
	size_t bytes = memory == NULL ? 0 : __sanitizer_get_allocated_size(memory);
	if (bytes < LARGE) {
		__real_hf_memory_free(memory);
		return;
	}
	uint32_t place = 0;
	while (place < KEPT_MAX && kept[place].block != NULL)
		place++;
	if (place == KEPT_MAX) {
		place = oldest++ % KEPT_MAX;
		ASAN_UNPOISON_MEMORY_REGION(kept[place].block, kept[place].bytes);
		__real_hf_memory_free(kept[place].block);
	}
	kept[place].block = memory;
	kept[place].bytes = bytes;
	ASAN_POISON_MEMORY_REGION(memory, bytes);
}

/* ---- pages --------------------------------------------------------------------------------- */

#define PAGE 4096u
#define PAGES_KEPT_MAX 64u
#define PAGES_LARGE ((size_t)4 << 20) /* larger ones go back */

void *__real_hf_small_pages_new(size_t bytes);
void *__wrap_hf_small_pages_new(size_t bytes);
void *__wrap_hf_pages_new(size_t bytes);
void __real_hf_pages_free(void *pages, size_t bytes);
void __wrap_hf_pages_free(void *pages, size_t bytes);

static struct {
	void *pages;
	size_t bytes;
} kept_pages[PAGES_KEPT_MAX];

/* Those that were never written to are zeros, and not there yet. */
static void clear_pages(uint8_t *pages, size_t bytes) {
	static unsigned char there[PAGES_LARGE / PAGE];
	if (bytes <= PAGE) {
		memset(pages, 0, bytes);
		return;
	}
	HF_ASSERT(bytes <= PAGES_LARGE);
	int failed = mincore(pages, bytes, there);
	HF_ASSERT(failed == 0);
	for (size_t at = 0; at < bytes; at += PAGE)
		if (there[at / PAGE] & 1)
			memset(pages + at, 0, bytes - at < PAGE ? bytes - at : PAGE);
}

void *__wrap_hf_small_pages_new(size_t bytes) {
	for (uint32_t i = 0; i < PAGES_KEPT_MAX; i++) {
		void *pages = kept_pages[i].pages;
		if (pages == NULL || kept_pages[i].bytes != bytes)
			continue;
		kept_pages[i].pages = NULL;
		ASAN_UNPOISON_MEMORY_REGION(pages, bytes);
		clear_pages(pages, bytes);
		return pages;
	}
	return __real_hf_small_pages_new(bytes);
}

/* Never huge ones: zeroing one takes longer than an execution. */
void *__wrap_hf_pages_new(size_t bytes) {
	return __wrap_hf_small_pages_new(bytes);
}

void __wrap_hf_pages_free(void *pages, size_t bytes) {
	uint32_t place = 0;
	while (place < PAGES_KEPT_MAX && kept_pages[place].pages != NULL)
		place++;
	if (pages == NULL || bytes > PAGES_LARGE || place == PAGES_KEPT_MAX) {
		__real_hf_pages_free(pages, bytes);
		return;
	}
	kept_pages[place].pages = pages;
	kept_pages[place].bytes = bytes;
	ASAN_POISON_MEMORY_REGION(pages, bytes);
}
