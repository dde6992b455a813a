/*
 * Mutexes and conditions of src/os/real, between threads: they exclude, are fair, and miss nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/clock.h"
#include "os/thread.h"

enum { LOCKS = 200, HELD_NS = 20000 };

struct fixture {
	struct hf_mutex mutex;
	struct hf_cond cond;
	atomic_bool stop;
	atomic_ulong hogged; /* times that the hog had the mutex */
	uint64_t counter;    /* under the mutex */
	int turn;	     /* likewise */
};

static void spend(uint64_t ns) {
	uint64_t end = hf_clock_monotonic_ns() + ns;
	while (hf_clock_monotonic_ns() < end)
		;
}

static void hog(void *arg) {
	struct fixture *fixture = arg;
	while (!atomic_load(&fixture->stop)) {
		hf_mutex_lock(&fixture->mutex);
		atomic_fetch_add(&fixture->hogged, 1);
		spend(HELD_NS);
		hf_mutex_unlock(&fixture->mutex);
	}
}

static int by_size(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void start(struct hf_thread *thread, void (*main)(void *arg), struct fixture *fixture) {
	struct hf_err err;
	assert_true(hf_thread_start(thread, main, fixture, &err));
}

/* Whoever lets go of the mutex only to take it again does not keep the others out. */
static void test_a_mutex_is_fair(void **state) {
	struct fixture fixture = { 0 };
	struct hf_thread hogs[2];
	uint64_t passed_by[LOCKS];
	hf_mutex_init(&fixture.mutex);
	for (int i = 0; i < 2; i++)
		start(&hogs[i], hog, &fixture);
	for (int i = 0; i < LOCKS; i++) {
		uint64_t before = atomic_load(&fixture.hogged);
		hf_mutex_lock(&fixture.mutex);
		passed_by[i] = atomic_load(&fixture.hogged) - before;
		hf_mutex_unlock(&fixture.mutex);
		spend(HELD_NS);
	}
	atomic_store(&fixture.stop, true);
	for (int i = 0; i < 2; i++)
		hf_thread_join(&hogs[i]);
	hf_mutex_fini(&fixture.mutex);
	/* The median: a thread may be kept from running in between, whatever the mutex does. */
	qsort(passed_by, LOCKS, sizeof(*passed_by), by_size);
	assert_in_range(passed_by[LOCKS / 2], 0, 30);
}

static void count(void *arg) {
	struct fixture *fixture = arg;
	for (int i = 0; i < 20000; i++) {
		hf_mutex_lock(&fixture->mutex);
		fixture->counter++;
		hf_mutex_unlock(&fixture->mutex);
	}
}

static void test_a_mutex_excludes(void **state) {
	struct fixture fixture = { 0 };
	struct hf_thread threads[4];
	hf_mutex_init(&fixture.mutex);
	for (int i = 0; i < 4; i++)
		start(&threads[i], count, &fixture);
	for (int i = 0; i < 4; i++)
		hf_thread_join(&threads[i]);
	hf_mutex_fini(&fixture.mutex);
	assert_int_equal(fixture.counter, 4 * 20000);
}

static void answer(void *arg) {
	struct fixture *fixture = arg;
	hf_mutex_lock(&fixture->mutex);
	while (fixture->turn >= 0) {
		if (fixture->turn == 1) {
			fixture->turn = 0;
			hf_cond_broadcast(&fixture->cond);
		}
		hf_cond_wait(&fixture->cond, &fixture->mutex);
	}
	hf_mutex_unlock(&fixture->mutex);
}

/* No signal is lost: 10,000 of them to and fro. */
static void test_conditions_miss_nothing(void **state) {
	struct fixture fixture = { 0 };
	struct hf_thread thread;
	hf_mutex_init(&fixture.mutex);
	hf_cond_init(&fixture.cond);
	start(&thread, answer, &fixture);
	hf_mutex_lock(&fixture.mutex);
	for (int i = 0; i < 10000; i++) {
		fixture.turn = 1;
		hf_cond_signal(&fixture.cond);
		while (fixture.turn == 1)
			hf_cond_wait(&fixture.cond, &fixture.mutex);
	}
	fixture.turn = -1;
	hf_cond_signal(&fixture.cond);
	hf_mutex_unlock(&fixture.mutex);
	hf_thread_join(&thread);
	hf_cond_fini(&fixture.cond);
	hf_mutex_fini(&fixture.mutex);
}

static void test_a_wait_ends_in_time(void **state) {
	struct fixture fixture = { 0 };
	hf_mutex_init(&fixture.mutex);
	hf_cond_init(&fixture.cond);
	hf_mutex_lock(&fixture.mutex);
	uint64_t begun = hf_clock_monotonic_ns();
	while (hf_clock_monotonic_ns() - begun < 2000000)
		hf_cond_wait_ns(&fixture.cond, &fixture.mutex, 1000000);
	hf_mutex_unlock(&fixture.mutex);
	hf_cond_fini(&fixture.cond);
	hf_mutex_fini(&fixture.mutex);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_mutex_is_fair),
		cmocka_unit_test(test_a_mutex_excludes),
		cmocka_unit_test(test_conditions_miss_nothing),
		cmocka_unit_test(test_a_wait_ends_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
