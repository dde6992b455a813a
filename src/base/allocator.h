/*
 * allocator.h - where a folder that may not call the operating system gets its memory: from its
 * caller.
 */
#ifndef HF_BASE_ALLOCATOR_H
#define HF_BASE_ALLOCATOR_H

#include <stddef.h>

struct hf_allocator {
	void *(*alloc)(size_t bytes);		  /* zeroed; NULL if there is none */
	void (*free)(void *memory, size_t bytes); /* NULL is fine */
	/*
	 * Gives back what stands behind a part of it, whole pages, ahead of `free`: the part is not
	 * used any more. To give back much at once takes long. NULL: it cannot.
	 */
	void (*drop)(void *part, size_t bytes);
};

#endif
