#include "os/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

void *hf_memory_new(size_t bytes) {
	return calloc(1, bytes);
}

void *hf_memory_grow(void *old, size_t bytes) {
	return realloc(old, bytes);
}

void hf_memory_free(void *memory) {
	free(memory);
}

static void *map_pages(size_t bytes) {
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return pages == MAP_FAILED ? NULL : pages;
}

void *hf_small_pages_new(size_t bytes) {
	void *pages = map_pages(bytes);
	if (pages != NULL && bytes >= HUGE_PAGE)
		(void)madvise(pages, bytes, MADV_NOHUGEPAGE);
	return pages;
}

void *hf_pages_new(size_t bytes) {
	void *pages = map_pages(bytes);
	if (pages == NULL)
		return NULL;
	/* Advice only: without huge pages it works as well, with more TLB misses. */
	if (bytes >= HUGE_PAGE)
		(void)madvise(pages, bytes, MADV_HUGEPAGE);
	return pages;
}

void hf_pages_free(void *pages, size_t bytes) {
	if (pages != NULL)
		munmap(pages, bytes);
}

void hf_pages_drop(void *part, size_t bytes) {
	(void)madvise(part, bytes, MADV_DONTNEED);
}

/*
 * Takes all pages of a memory file now: one that is not to be had later would be a SIGBUS. In
 * parts, for a signal undoes the part that it interrupts. Returns an errno, 0 is none.
 */
static int take_pages(int fd, size_t bytes) {
	const size_t part = 1u << 20;
	int reason = 0;
	for (size_t at = 0; at < bytes && reason == 0; at += part)
		do
			reason = posix_fallocate(fd, (off_t)at,
						 (off_t)(bytes - at < part ? bytes - at : part));
		while (reason == EINTR);
	return reason == ENOSPC ? ENOMEM : reason; /* no disk is meant */
}

bool hf_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err) {
	int fd = memfd_create("holdfast-log-ring", MFD_CLOEXEC);
	if (fd < 0)
		return hf_fail_sys(err, errno, "cannot make the log ring's memory");
	uint8_t *ring = MAP_FAILED;
	int reason = take_pages(fd, bytes);
	if (reason == 0)
		ring = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = ring != MAP_FAILED;
	for (int i = 0; ok && i < 2; i++)
		ok = mmap(ring + (size_t)i * bytes, bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) != MAP_FAILED;
	if (reason == 0)
		reason = errno;
	close(fd);
	if (!ok) {
		if (ring != MAP_FAILED)
			munmap(ring, 2 * bytes);
		return hf_fail_sys(err, reason, "cannot map %zu bytes for the log ring", bytes);
	}
	*ret = ring;
	return true;
}

void hf_ring_memory_free(uint8_t *ring, size_t bytes) {
	if (ring != NULL)
		munmap(ring, 2 * bytes);
}
