/*
 * lock.h - the lock of a shard, and of other things held for a microsecond. One word; who finds it
 * taken spins a little, then gives the processor away until it is free. Not recursive.
 */
#ifndef HF_MAP_LOCK_H
#define HF_MAP_LOCK_H

#include "base/atomic.h"
#include "os/thread.h"

#define HF_LOCK_SPINS 200u

static inline bool hf_lock_try(uint32_t *lock) {
	uint32_t free = 0;
	return hf_atomic_load(lock, HF_RELAXED) == 0 &&
	       hf_atomic_cas(lock, &free, 1u, HF_ACQUIRE, HF_RELAXED);
}

static inline void hf_lock(uint32_t *lock) {
	for (uint32_t spins = 0; !hf_lock_try(lock); spins++) {
		if (spins >= HF_LOCK_SPINS)
			hf_thread_yield(); /* its holder may be waiting for this processor */
		else
			hf_cpu_relax();
	}
}

static inline void hf_unlock(uint32_t *lock) {
	hf_atomic_store(lock, 0u, HF_RELEASE);
}

#endif
