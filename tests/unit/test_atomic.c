/*
 * base/atomic.h as instructions, with threads of the system: pairs are whole, and a light fence on
 * one side and a heavy one on the other order as two full ones do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "os/clock.h"
#include "os/thread.h"

#define TEST_NS 300000000u

struct shared {
	struct hf_atomic_pair pair;
	uint64_t x __attribute__((aligned(64)));
	uint64_t y __attribute__((aligned(64)));
	uint64_t round __attribute__((aligned(64)));
	uint64_t seen, done;
	bool stop;
};

static void store_pairs(void *arg) {
	struct shared *shared = arg;
	for (uint64_t i = 1; !hf_atomic_load(&shared->stop, HF_RELAXED); i++)
		hf_atomic_pair_store(&shared->pair, (struct hf_atomic_pair){ i, ~i });
}

static void test_pairs(void **state) {
	struct shared shared = { .pair = { 0, ~(uint64_t)0 } };
	struct hf_thread thread;
	struct hf_err err;
	uint64_t last = 0;
	assert_true(hf_thread_start(&thread, store_pairs, &shared, &err));
	for (uint64_t end_ns = hf_clock_monotonic_ns() + TEST_NS;
	     hf_clock_monotonic_ns() < end_ns;) {
		struct hf_atomic_pair pair = hf_atomic_pair_load(&shared.pair);
		assert_int_equal(pair.high, ~pair.low);
		assert_true(pair.low >= last);
		last = pair.low;
	}
	hf_atomic_store(&shared.stop, true, HF_RELAXED);
	hf_thread_join(&thread);
	assert_true(last > 0);
}

/* Until it is no longer `old`; what it is then. */
static uint64_t wait_for_next(const uint64_t *where, uint64_t old) {
	uint64_t now = old;
	for (uint32_t spins = 0; (now = hf_atomic_load(where, HF_ACQUIRE)) == old; spins++)
		if (spins > 10000)
			hf_thread_yield();
	return now;
}

/* In each round: stores x, and looks at y without a fence that costs anything. Round 0 ends it. */
static void store_lightly(void *arg) {
	struct shared *shared = arg;
	for (uint64_t round = 0; (round = wait_for_next(&shared->round, round)) != 0;) {
		hf_atomic_store(&shared->x, round, HF_RELAXED);
		hf_fence_light();
		shared->seen = hf_atomic_load(&shared->y, HF_RELAXED);
		hf_atomic_store(&shared->done, round, HF_RELEASE);
	}
}

static void test_light_and_heavy(void **state) {
	struct shared shared = { 0 };
	struct hf_thread thread;
	struct hf_err err;
	if (!hf_fence_heavy_works())
		skip();
	assert_true(hf_thread_start(&thread, store_lightly, &shared, &err));
	uint64_t end_ns = hf_clock_monotonic_ns() + TEST_NS;
	for (uint64_t round = 1; hf_clock_monotonic_ns() < end_ns; round++) {
		hf_atomic_store(&shared.round, round, HF_RELEASE);
		for (uint64_t i = 0; i < round % 16; i++)
			hf_cpu_relax(); /* so that the two meet */
		hf_atomic_store(&shared.y, round, HF_RELAXED);
		hf_fence_heavy();
		uint64_t seen = hf_atomic_load(&shared.x, HF_RELAXED);
		(void)wait_for_next(&shared.done, round - 1);
		assert_true(seen == round || shared.seen == round);
	}
	hf_atomic_store(&shared.round, 0, HF_RELEASE);
	hf_thread_join(&thread);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_light_and_heavy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
