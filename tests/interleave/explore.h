/*
 * explore.h - runs the threads of a small test as coroutines, and explores their interleavings.
 *
 * A test's code, and the product's code that it calls, touch shared memory through base/atomic.h,
 * compiled with -DHF_INTERLEAVE: every atomic access is a step, and what a load may return is a
 * choice, too (README.md says which memory model). Every run of the test starts anew: setup, all
 * threads, check. It must do the same under the same choices: no clock, no chance, no addresses in
 * what it decides.
 *
 * One exploration at a time in a process. Only linked into tests.
 */
#ifndef HF_TESTS_INTERLEAVE_EXPLORE_H
#define HF_TESTS_INTERLEAVE_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/atomic.h"

enum {
	IL_THREADS_MAX = 7,
	IL_STEPS_MAX = 4000,
	IL_SCHEDULE_BYTES = 8192,
	IL_FAILURE_BYTES = 600,
};

struct il_thread {
	const char *name;
	void (*main)(void *state);
};

struct il_test {
	const char *name;
	size_t state_bytes; /* of the state that all functions get, zeroed before each run */
	void (*setup)(void *state); /* NULL if there is nothing to do; alone, before the threads */
	void (*check)(void *state); /* NULL if there is nothing to do; alone, after the threads */
	struct il_thread threads[IL_THREADS_MAX]; /* up to the first without a main */
	bool no_heavy_fence;			  /* hf_fence_heavy_works says no */
};

enum il_mode {
	IL_ALL,	    /* every behaviour, each about once: dynamic partial-order reduction */
	IL_SLEEP,   /* every behaviour, with sleep sets alone: slower; to test IL_ALL against */
	IL_NAIVE,   /* every interleaving: much slower; to test IL_ALL against */
	IL_BOUNDED, /* every run with at most `preemptions` and `stale` */
	IL_RANDOM,  /* `runs` runs by `seed`: random priorities that change at a few random steps */
	IL_REPLAY,  /* the run of `schedule` */
};

struct il_options {
	enum il_mode mode;
	unsigned preemptions; /* IL_BOUNDED: how often a thread that could go on is interrupted */
	unsigned stale;	      /* IL_BOUNDED, IL_RANDOM: loads that do not return the newest value */
	uint64_t seed, runs;  /* IL_RANDOM */
	double seconds;	      /* give up after so long; 0: never */
	unsigned steps;	      /* a longer run is a livelock; 0: IL_STEPS_MAX */
	const char *schedule; /* IL_REPLAY */
	FILE *trace;	      /* where the failing run is printed, NULL: nowhere */
};

struct il_result {
	bool failed;
	bool complete;	  /* nothing was left out that the mode covers */
	uint64_t runs;	  /* that went to their end or to the failure */
	uint64_t cut;	  /* that were given up as repetitions of others */
	unsigned longest; /* steps of the longest run */
	double seconds;
	char failure[IL_FAILURE_BYTES];	  /* what went wrong, in one line; no address in it */
	char schedule[IL_SCHEDULE_BYTES]; /* of the failing run, for IL_REPLAY */
};

/*
 * Explores until something fails or all is done. The first failing run is run a second time, from
 * its schedule, and printed to options->trace; if that does not fail in the same way, the failure
 * says so. False if the test failed.
 */
bool il_explore(const struct il_test *test, const struct il_options *options,
		struct il_result *result);

/* What must hold, in a test. */
#define IL_CHECK(condition) \
	((condition) ? (void)0 : il_fail("%s:%d: %s does not hold", __FILE__, __LINE__, #condition))
/* Ends the run as a failure. */
_Noreturn void il_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line for the trace. */
void il_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * As Linux' futex: waits for a wake if *where is `expected` at that moment, else returns at once.
 * No spurious wake-ups. The wake is for all that wait there.
 */
void il_futex_wait(uint32_t *where, uint32_t expected);
void il_futex_wake(uint32_t *where);

#endif
