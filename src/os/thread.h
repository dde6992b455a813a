/*
 * thread.h - threads, and what they wait with.
 *
 * The structs stay where they are from init (or start) to fini (or join). Their insides are the
 * backend's: the simulated one keeps its own things in the same bytes.
 */
#ifndef HF_OS_THREAD_H
#define HF_OS_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

struct hf_thread {
	pthread_t handle;
	void (*main)(void *arg);
	void *arg;
};

struct hf_mutex {
	pthread_mutex_t handle;
	atomic_uint tickets, serving; /* of those who queue: drawn, and had */
};

struct hf_cond {
	atomic_uint signals, sleepers;
};

/* Runs main(arg) in a thread of its own; every thread that was started must be joined. */
HF_MUST bool hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
			     struct hf_err *err);
void hf_thread_join(struct hf_thread *thread);
/* Lets another thread have the processor, if one wants it. */
void hf_thread_yield(void);
/*
 * Sleeps for some 20 us (70 before hf_thread_give_way), in which all others that want this
 * processor have it. A yield would give away a whole slice of it.
 */
void hf_thread_nap(void);
/*
 * From now on the calling thread, busy as it may be, gives way at once to those that want the
 * processor for a moment and have not had more than their share: the kernel's that end its writes,
 * say. Without effect where the scheduler does not know of that (Linux before 6.12), or must not be
 * told.
 */
void hf_thread_give_way(void);

/*
 * Made for being held for microseconds: who finds it taken spins for a while before it sleeps, and
 * who has waited for 100 us is served in turn, before any newcomer. Not recursive.
 */
void hf_mutex_init(struct hf_mutex *mutex);
void hf_mutex_fini(struct hf_mutex *mutex);
void hf_mutex_lock(struct hf_mutex *mutex);
/* False: somebody has it, or is waiting for it. */
HF_MUST bool hf_mutex_try_lock(struct hf_mutex *mutex);
void hf_mutex_unlock(struct hf_mutex *mutex);

void hf_cond_init(struct hf_cond *cond);
void hf_cond_fini(struct hf_cond *cond);
/* May return without a signal: look at what is waited for, in a loop. */
void hf_cond_wait(struct hf_cond *cond, struct hf_mutex *mutex);
/* As hf_cond_wait, but returns after `ns` of monotonic time at the latest. */
void hf_cond_wait_ns(struct hf_cond *cond, struct hf_mutex *mutex, uint64_t ns);
void hf_cond_signal(struct hf_cond *cond);
void hf_cond_broadcast(struct hf_cond *cond);

#endif
