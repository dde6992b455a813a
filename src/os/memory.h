/*
 * memory.h - memory in pages, and all of base/memory.h: the one place that allocates.
 */
#ifndef HF_OS_MEMORY_H
#define HF_OS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/memory.h"

/* Zeroed whole pages (huge ones where the system gives them), NULL if there are none. */
void *hf_pages_new(size_t bytes);
/* The same, never huge ones. */
void *hf_small_pages_new(size_t bytes);
void hf_pages_free(void *pages, size_t bytes); /* NULL is fine */
/* A part, whole pages, is not used any more: its memory goes to the system, ahead of the rest. */
void hf_pages_drop(void *part, size_t bytes);

/*
 * A ring of `bytes` (a power of two, whole pages) mapped twice in a row, so that bytes [i, i +
 * bytes) of it are contiguous for every i < bytes. Zeroed.
 */
HF_MUST bool hf_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err);
void hf_ring_memory_free(uint8_t *ring, size_t bytes); /* NULL is fine */

#endif
