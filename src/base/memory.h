/*
 * memory.h - the heap, for every folder. Behind it stands the backend that src/os is built with, so
 * that a test can make any allocation fail.
 */
#ifndef HF_BASE_MEMORY_H
#define HF_BASE_MEMORY_H

#include <stddef.h>

/* Zeroed memory, NULL if there is none. Freed with hf_memory_free. */
void *hf_memory_new(size_t bytes);
/* As realloc: NULL leaves `old` as it was. New bytes are not zeroed. */
void *hf_memory_grow(void *old, size_t bytes);
void hf_memory_free(void *memory); /* NULL is fine */

#endif
