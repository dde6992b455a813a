/* os.c - what src/map and src/stats ask src/os for, in a world in which time stands still. */
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

void hf_pages_drop(void *part, size_t bytes) {
}

void hf_thread_yield(void) {
	hf_cpu_relax();
}

int64_t hf_clock_wall_ns(void) {
	return 1;
}

void hf_mutex_init(struct hf_mutex *mutex) {
	*(uint32_t *)(void *)mutex = 0;
}

void hf_mutex_fini(struct hf_mutex *mutex) {
}

bool hf_mutex_try_lock(struct hf_mutex *mutex) {
	uint32_t *word = (uint32_t *)(void *)mutex, free = 0;
	return hf_atomic_cas(word, &free, 1u, HF_ACQUIRE, HF_RELAXED);
}

void hf_mutex_lock(struct hf_mutex *mutex) {
	while (!hf_mutex_try_lock(mutex))
		hf_cpu_relax();
}

void hf_mutex_unlock(struct hf_mutex *mutex) {
	hf_atomic_store((uint32_t *)(void *)mutex, 0u, HF_RELEASE);
}

void hf_cond_init(struct hf_cond *cond) {
}

void hf_cond_fini(struct hf_cond *cond) {
}

/* As after a wake-up without reason: whoever waits looks again. */
void hf_cond_wait_ns(struct hf_cond *cond, struct hf_mutex *mutex, uint64_t ns) {
	hf_mutex_unlock(mutex);
	hf_cpu_relax();
	hf_mutex_lock(mutex);
}

/* Nothing here asks for these. */
void hf_cond_wait(struct hf_cond *cond, struct hf_mutex *mutex) {
	il_fail("something waits for a helper");
}

bool hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
		     struct hf_err *err) {
	il_fail("something starts a thread of its own");
}

void hf_thread_join(struct hf_thread *thread) {
	il_fail("something waits for a thread of its own");
}

void hf_cond_broadcast(struct hf_cond *cond) {
}
