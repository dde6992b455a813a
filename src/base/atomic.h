/*
 * atomic.h - the only way in which concurrent code (src/map, src/stats) touches memory that another
 * thread may touch; but for two searches that are vectors or assembly on x86-64 (map/tags.h,
 * map/table.h) and are written with these, too.
 *
 * The names and orders are C11's, over GCC's builtins, on plain objects of 1, 2, 4 or 8 bytes that
 * are aligned to their size. In the normal build each is the instruction and nothing else. With
 * -DHF_INTERLEAVE each is a call into an explorer of interleavings (interleave.h, whose code is
 * tests/interleave), so code that uses these macros runs there as it is.
 *
 *   hf_atomic_load(where, order)                  HF_RELAXED, HF_ACQUIRE, HF_SEQ_CST
 *   hf_atomic_store(where, value, order)          HF_RELAXED, HF_RELEASE, HF_SEQ_CST
 *   hf_atomic_exchange(where, value, order)       the old value
 *   hf_atomic_cas(where, expected, value, success, failure)
 *           strong; true if it stored; else *expected has become what is there
 *   hf_atomic_fetch_add, _sub, _and, _or(where, value, order)    the old value
 *   hf_atomic_pair_load(where), hf_atomic_pair_store(where, pair)
 *           16 bytes at once, acquire and release. Either half may also be loaded or stored alone,
 *           with the calls above, by its one writer.
 *   hf_fence(order)
 *   hf_fence_light(), hf_fence_heavy()    together they order as two seq_cst fences do; the light
 *           one, for who does it often, costs nothing, the heavy one microseconds
 *   hf_cpu_relax()    in each turn of a loop that waits for another thread
 *
 * What is not atomic, but shared, is marked, so that the explorer can tell a data race and a use
 * after free; in the normal build a mark is nothing:
 *
 *   hf_plain_load(where), hf_plain_store(where, value)    the access itself
 *   hf_plain_reads(where, bytes), hf_plain_writes(where, bytes)
 *           before a memcpy or the like. For memory that only one thread can reach yet, no mark is
 *           needed.
 *   hf_note_new(where, bytes), hf_note_dead(where, bytes)
 *           memory from the heap is known; this is for parts of it that are used anew: dead at the
 *           moment of reuse or return, new before it is filled
 */
#ifndef HF_BASE_ATOMIC_H
#define HF_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define HF_RELAXED __ATOMIC_RELAXED
#define HF_ACQUIRE __ATOMIC_ACQUIRE
#define HF_RELEASE __ATOMIC_RELEASE
#define HF_ACQ_REL __ATOMIC_ACQ_REL
#define HF_SEQ_CST __ATOMIC_SEQ_CST

struct hf_atomic_pair {
	uint64_t low, high;
} __attribute__((aligned(16)));

#ifdef HF_INTERLEAVE
#include "base/interleave.h"
#else

#if defined(__SANITIZE_THREAD__)
#define HF_BASE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HF_BASE_TSAN 1
#endif
#endif

#define hf_atomic_load(where, order) __atomic_load_n((where), (order))
#define hf_atomic_store(where, value, order) __atomic_store_n((where), (value), (order))
#define hf_atomic_exchange(where, value, order) __atomic_exchange_n((where), (value), (order))
#define hf_atomic_cas(where, expected, value, success, failure) \
	__atomic_compare_exchange_n((where), (expected), (value), false, (success), (failure))
#define hf_atomic_fetch_add(where, value, order) __atomic_fetch_add((where), (value), (order))
#define hf_atomic_fetch_sub(where, value, order) __atomic_fetch_sub((where), (value), (order))
#define hf_atomic_fetch_and(where, value, order) __atomic_fetch_and((where), (value), (order))
#define hf_atomic_fetch_or(where, value, order) __atomic_fetch_or((where), (value), (order))
/* ThreadSanitizer knows no fences: what it shall see ordered, an access must order. */
#if defined(HF_BASE_TSAN) && defined(__x86_64__)
#define hf_fence(order) ((void)(order), ({ __asm__ volatile("mfence" ::: "memory"); }))
#elif defined(HF_BASE_TSAN)
#define hf_fence(order) ((void)(order), ({ __asm__ volatile("dmb ish" ::: "memory"); }))
#else
#define hf_fence(order) __atomic_thread_fence(order)
#endif
#define hf_fence_light() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#define hf_plain_load(where) (*(where))
#define hf_plain_store(where, value) ((void)(*(where) = (value)))
#define hf_plain_reads(where, bytes) ((void)(where), (void)(bytes))
#define hf_plain_writes(where, bytes) ((void)(where), (void)(bytes))
#define hf_note_new(where, bytes) ((void)(where), (void)(bytes))
#define hf_note_dead(where, bytes) ((void)(where), (void)(bytes))

/*
 * A barrier in every running thread of this process, as if each had called hf_fence(HF_SEQ_CST)
 * where it stands (Linux' membarrier; the code is src/os's). Only where hf_fence_heavy_works();
 * elsewhere both sides must use hf_fence(HF_SEQ_CST).
 */
void hf_fence_heavy(void);
/* Readies the process for hf_fence_heavy. The answer never changes; ask once, from any thread. */
bool hf_fence_heavy_works(void);

/* Tells the CPU that this is a loop that waits. */
static inline void hf_cpu_relax(void) {
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

/* Nor does it look into assembly. */
#ifdef HF_BASE_TSAN
void __tsan_acquire(void *where);
void __tsan_release(void *where);
#define HF_BASE_ACQUIRED(where) __tsan_acquire((void *)(uintptr_t)(where))
#define HF_BASE_RELEASES(where) __tsan_release((void *)(uintptr_t)(where))
#else
#define HF_BASE_ACQUIRED(where) ((void)0)
#define HF_BASE_RELEASES(where) ((void)0)
#endif

#if defined(__x86_64__)
/*
 * Intel and AMD promise that an aligned 16-byte move is atomic on every CPU with AVX, in its SSE
 * encoding, too. Elsewhere cmpxchg16b does it, also for loads: the memory must be writable.
 */
static inline bool hf_atomic_pair_moves_at_once(void) {
#ifdef __AVX__
	return true;
#else
	return __builtin_cpu_supports("avx");
#endif
}

static inline struct hf_atomic_pair hf_atomic_pair_swap(struct hf_atomic_pair *where,
							struct hf_atomic_pair old,
							struct hf_atomic_pair pair, bool *swapped) {
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(*swapped), "+m"(*where), "+a"(old.low), "+d"(old.high)
			 : "b"(pair.low), "c"(pair.high)
			 : "memory");
	return old;
}

static inline struct hf_atomic_pair hf_atomic_pair_load(const struct hf_atomic_pair *where) {
	typedef long long words __attribute__((vector_size(16)));
	struct hf_atomic_pair pair;
	bool swapped;
	if (__builtin_expect(hf_atomic_pair_moves_at_once(), 1)) {
		words both;
#ifdef __AVX__
		__asm__ volatile("vmovdqa %1, %0" : "=x"(both) : "m"(*where) : "memory");
#else
		__asm__ volatile("movdqa %1, %0" : "=x"(both) : "m"(*where) : "memory");
#endif
		pair = (struct hf_atomic_pair){ (uint64_t)both[0], (uint64_t)both[1] };
	} else {
		pair = (struct hf_atomic_pair){ 0 };
		pair = hf_atomic_pair_swap((struct hf_atomic_pair *)(uintptr_t)where, pair, pair,
					   &swapped);
	}
	HF_BASE_ACQUIRED(where);
	return pair;
}

static inline void hf_atomic_pair_store(struct hf_atomic_pair *where, struct hf_atomic_pair pair) {
	typedef long long words __attribute__((vector_size(16)));
	bool swapped = false;
	HF_BASE_RELEASES(where);
	if (__builtin_expect(hf_atomic_pair_moves_at_once(), 1)) {
		words both = { (long long)pair.low, (long long)pair.high };
#ifdef __AVX__
		__asm__ volatile("vmovdqa %1, %0" : "=m"(*where) : "x"(both) : "memory");
#else
		__asm__ volatile("movdqa %1, %0" : "=m"(*where) : "x"(both) : "memory");
#endif
		return;
	}
	for (struct hf_atomic_pair old = { 0 }; !swapped;)
		old = hf_atomic_pair_swap(where, old, pair, &swapped);
}

#elif defined(__aarch64__)
/*
 * From Armv8.4 on (LSE2) an aligned ldp or stp is atomic. Before, an exclusive pair is, once its
 * store has succeeded; so a load stores, too, and the memory must be writable.
 */
static inline struct hf_atomic_pair hf_atomic_pair_load(const struct hf_atomic_pair *where) {
	struct hf_atomic_pair pair;
#if __ARM_ARCH >= 804
	__asm__ volatile("ldp %0, %1, [%2]\n\tdmb ishld"
			 : "=&r"(pair.low), "=&r"(pair.high)
			 : "r"(where)
			 : "memory");
#else
	int failed;
	do {
		__asm__ volatile("ldaxp %0, %1, %3\n\tstxp %w2, %0, %1, %3"
				 : "=&r"(pair.low), "=&r"(pair.high), "=&r"(failed)
				 : "Q"(*where)
				 : "memory");
	} while (failed);
#endif
	HF_BASE_ACQUIRED(where);
	return pair;
}

static inline void hf_atomic_pair_store(struct hf_atomic_pair *where, struct hf_atomic_pair pair) {
	HF_BASE_RELEASES(where);
#if __ARM_ARCH >= 804
	__asm__ volatile("dmb ish\n\tstp %1, %2, [%0]"
			 :
			 : "r"(where), "r"(pair.low), "r"(pair.high)
			 : "memory");
#else
	uint64_t low, high;
	int failed;
	do {
		__asm__ volatile("ldxp %0, %1, %3\n\tstlxp %w2, %4, %5, %3"
				 : "=&r"(low), "=&r"(high), "=&r"(failed), "+Q"(*where)
				 : "r"(pair.low), "r"(pair.high)
				 : "memory");
	} while (failed);
#endif
}
#else
#error "hf_atomic_pair_load and hf_atomic_pair_store are for x86-64 and arm64"
#endif

#endif /* HF_INTERLEAVE */
#endif
