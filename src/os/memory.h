/*
 * memory.h - allocation, so that a test can make it fail.
 */
#ifndef HF_OS_MEMORY_H
#define HF_OS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Zeroed memory, NULL if there is none. Freed with hf_memory_free. */
void *hf_memory_new(size_t bytes);
/* As realloc: NULL leaves `old` as it was. New bytes are not zeroed. */
void *hf_memory_grow(void *old, size_t bytes);
void hf_memory_free(void *memory); /* NULL is fine */

/* Zeroed whole pages (huge ones where the system gives them), NULL if there are none. */
void *hf_pages_new(size_t bytes);
void hf_pages_free(void *pages, size_t bytes); /* NULL is fine */

/*
 * A ring of `bytes` (a power of two, whole pages) mapped twice in a row, so that bytes [i, i +
 * bytes) of it are contiguous for every i < bytes. Zeroed.
 */
HF_MUST bool hf_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err);
void hf_ring_memory_free(uint8_t *ring, size_t bytes); /* NULL is fine */

#endif
