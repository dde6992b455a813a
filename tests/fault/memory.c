/*
 * memory.c - the real memory backend, but that allocations can be made to fail: linked instead of
 * os/real/memory.c into tests/fault/holdfast-fault.
 *
 * $HOLDFAST_FAULT_MEMORY names a file that holds a struct control; who maps it, too, says which
 * allocation fails, at any time, and sees how many there were.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/memory.h"

/* The real ones, under other names. */
static void *real_memory_new(size_t bytes);
static void *real_memory_grow(void *old, size_t bytes);
static void *real_pages_new(size_t bytes);
static bool real_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err);
#define hf_memory_new real_memory_new
#define hf_memory_grow real_memory_grow
#define hf_pages_new real_pages_new
#define hf_ring_memory_new real_ring_memory_new
#include "os/real/memory.c"
#undef hf_memory_new
#undef hf_memory_grow
#undef hf_pages_new
#undef hf_ring_memory_new

struct control {
	_Atomic uint64_t fail_at; /* the how manieth fails; 0: none */
	_Atomic uint64_t forever; /* all after it fail, too */
	_Atomic uint64_t count;	  /* of allocations */
	_Atomic uint64_t failed;
};

static struct control *control(void) {
	static _Atomic(struct control *) mapped;
	struct control *found = atomic_load(&mapped);
	if (found != NULL)
		return found;
	const char *path = getenv("HOLDFAST_FAULT_MEMORY");
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (found == MAP_FAILED) {
		perror("HOLDFAST_FAULT_MEMORY");
		_exit(2);
	}
	close(fd);
	atomic_store(&mapped, found);
	return found;
}

static bool fails(void) {
	struct control *c = control();
	uint64_t fail_at = atomic_load(&c->fail_at);
	uint64_t count = atomic_fetch_add(&c->count, 1) + 1;
	if (fail_at == 0 || count < fail_at || (count > fail_at && !atomic_load(&c->forever)))
		return false;
	atomic_fetch_add(&c->failed, 1);
	return true;
}

void *hf_memory_new(size_t bytes) {
	return fails() ? NULL : real_memory_new(bytes);
}

void *hf_memory_grow(void *old, size_t bytes) {
	return fails() ? NULL : real_memory_grow(old, bytes);
}

void *hf_pages_new(size_t bytes) {
	return fails() ? NULL : real_pages_new(bytes);
}

bool hf_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err) {
	return fails() ? hf_fail_sys(err, ENOMEM, "cannot map %zu bytes for the log ring", bytes)
		       : real_ring_memory_new(bytes, ret, err);
}
