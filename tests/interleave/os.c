/* os.c - what src/map asks src/os for, in a world in which time stands still. */
#include "inside.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/thread.h"

/* A wait that would end by a timeout lasts until what is waited for comes. */
uint64_t hf_clock_monotonic_ns(void) {
	return 1;
}

/* Chance is the search's alone. */
bool hf_random_u64(uint64_t *ret, struct hf_err *err) {
	il_fail("something asks for chance");
}

void *hf_pages_new(size_t bytes) {
	return hf_memory_new(bytes);
}

void *hf_small_pages_new(size_t bytes) {
	return hf_memory_new(bytes);
}

void hf_pages_free(void *pages, size_t bytes) {
	hf_memory_free(pages);
}

void hf_thread_yield(void) {
	hf_cpu_relax();
}
