/*
 * stats.c - what a count costs, beside one atomic that all threads share.
 *
 *     build/bench/stats [MS]     each run takes so many ms (20); medians of 5, threads pinned
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "holdfast/stats.h"

#define ROUNDS 5
#define THREADS_MAX 2
#define KEYS 64u
#define VALUES 1024u

/* What follows cannot be merged with what was before. */
#define KEEP() __asm__ volatile("" ::: "memory")

static struct hf_stats *stats;
static struct hf_counter keys[KEYS];
static struct hf_histogram histograms[8];
static _Alignas(64) _Atomic uint64_t shared;
static _Alignas(64) _Atomic uint64_t shared_buckets[HF_STATS_OCTAVES * 128];
static uint64_t values[VALUES];
static uint64_t run_ns = 20000000;

/* Time of this thread, or of the world: what others take from the processor is not ours. */
static uint64_t clock_ns(clockid_t clock) {
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what is measured: n times --------------------------------------------------------------- */

static void count_one_key(struct hf_stats_thread *thread, uint64_t n) {
	struct hf_counter key = keys[0];
	for (uint64_t i = 0; i < n; i++) {
		hf_count(thread, key, 1);
		KEEP();
	}
}

/* Eight of them one after the other, here and below, as in code that counts what happens to it. */
static void count_many_keys(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i += 8) {
#pragma GCC unroll 8
		for (uint32_t k = 0; k < 8; k++) {
			hf_count(thread, keys[k], 1);
			KEEP();
		}
	}
}

static void count_in_batches(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++) {
		if (i % 16 == 0)
			hf_stats_quiescent(thread);
		hf_count(thread, keys[i % KEYS], 1);
		KEEP();
	}
}

static void record_in_many(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i += 8) {
		const uint64_t *next = &values[i % VALUES];
#pragma GCC unroll 8
		for (uint32_t k = 0; k < 8; k++) {
			hf_record(thread, histograms[k], next[k]);
			KEEP();
		}
	}
}

static void record(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++) {
		hf_record(thread, histograms[0], values[i % VALUES]);
		KEEP();
	}
}

static void pass_points(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		hf_stats_quiescent(thread);
}

static void rest_and_wake(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++) {
		hf_stats_rest(thread);
		hf_stats_wake(thread);
	}
}

static void share_a_counter(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		atomic_fetch_add_explicit(&shared, 1, memory_order_relaxed);
}

static void share_buckets(struct hf_stats_thread *thread, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		atomic_fetch_add_explicit(&shared_buckets[hf_stats_bucket(values[i % VALUES])], 1,
					  memory_order_relaxed);
}

/* Tells how fast the machine is at this moment. */
static void multiply(struct hf_stats_thread *thread, uint64_t n) {
	uint64_t x = n;
	for (uint64_t i = 0; i < n; i++) {
		x *= 6364136223846793005u;
		__asm__ volatile("" : "+r"(x));
	}
}

static const struct row {
	const char *name;
	void (*run)(struct hf_stats_thread *thread, uint64_t n);
	bool snapshots; /* are taken meanwhile, each ms */
} rows[] = {
	{ "probe: a multiplication (3 cycles)", multiply, false },
	{ "count, one key again and again", count_one_key, false },
	{ "count, 8 keys", count_many_keys, false },
	{ "64 keys, a quiescent point every 16", count_in_batches, false },
	{ "the same, snapshots every ms", count_in_batches, true },
	{ "record, one histogram again and again", record, false },
	{ "record, 8 histograms", record_in_many, false },
	{ "a quiescent point", pass_points, false },
	{ "rest and wake", rest_and_wake, false },
	{ "peer: one shared atomic", share_a_counter, false },
	{ "peer: shared atomic buckets", share_buckets, false },
};

/* ---- measuring ------------------------------------------------------------------------------- */

struct worker {
	pthread_t handle;
	const struct row *row;
	int cpu;
	double ns; /* for each */
	atomic_uint *waiting;
};

static void pin(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *work(void *arg) {
	struct worker *worker = arg;
	struct hf_stats_thread *thread;
	uint64_t n = 0, begun, took;
	pin(worker->cpu);
	if (hf_stats_join(stats, "bench", &thread, NULL, 0) != HF_OK)
		exit(1);
	worker->row->run(thread, 100000);
	atomic_fetch_sub(worker->waiting, 1);
	while (atomic_load(worker->waiting) > 0)
		sched_yield();
	begun = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	do {
		worker->row->run(thread, 65536);
		n += 65536;
	} while ((took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun) < run_ns);
	worker->ns = (double)took / (double)n;
	hf_stats_leave(thread);
	return NULL;
}

static double run_once(const struct row *row, uint32_t threads) {
	struct worker workers[THREADS_MAX];
	struct hf_stats_snapshot *snapshot;
	atomic_uint waiting = threads;
	double sum = 0;
	for (uint32_t i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .row = row, .cpu = (int)i, .waiting = &waiting };
		if (pthread_create(&workers[i].handle, NULL, work, &workers[i]) != 0)
			exit(1);
	}
	if (row->snapshots && hf_stats_snapshot_new(stats, &snapshot, NULL, 0) == HF_OK) {
		for (uint64_t end = clock_ns(CLOCK_MONOTONIC) + run_ns;
		     clock_ns(CLOCK_MONOTONIC) < end; usleep(1000))
			if (hf_stats_take(stats, NULL, 1000000, snapshot, NULL, 0) != HF_OK)
				exit(1);
		hf_stats_snapshot_free(snapshot);
	}
	for (uint32_t i = 0; i < threads; i++) {
		pthread_join(workers[i].handle, NULL);
		sum += workers[i].ns;
	}
	return sum / threads;
}

static int compare(const void *a, const void *b) {
	const double *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static double median(const struct row *row, uint32_t threads) {
	double ns[ROUNDS];
	for (int i = 0; i < ROUNDS; i++)
		ns[i] = run_once(row, threads);
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	return ns[ROUNDS / 2];
}

int main(int argc, char **argv) {
	char name[16], err[768];
	uint32_t threads = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1;
	if (argc > 1)
		run_ns = strtoull(argv[1], NULL, 10) * 1000000;
	bool ok = hf_stats_new(&(struct hf_stats_options){ 0 }, &stats, err, sizeof(err)) == HF_OK;
	for (uint32_t i = 0; ok && i < 8; i++) {
		snprintf(name, sizeof(name), "latency-%u", i);
		ok = hf_stats_histogram(stats, name, &histograms[i], err, sizeof(err)) == HF_OK;
	}
	for (uint32_t i = 0; ok && i < KEYS; i++) {
		snprintf(name, sizeof(name), "key-%u", i);
		ok = hf_stats_counter(stats, name, &keys[i], err, sizeof(err)) == HF_OK;
	}
	if (!ok) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	/* Latencies: from a microsecond on, each power of two half as often as the one before. */
	srandom(1);
	for (uint32_t i = 0; i < VALUES; i++)
		values[i] = (uint64_t)(1000 + random() % 1000)
			    << __builtin_ctz((unsigned)random() | 1u << 16);
	printf("ns of CPU time each, in every thread (median of %d runs of %llu ms)\n", ROUNDS,
	       (unsigned long long)(run_ns / 1000000));
	printf("%-40s %9s %9s\n", "", "1 thread", threads > 1 ? "2 threads" : "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		printf("%-40s %9.2f", rows[i].name, median(&rows[i], 1));
		if (threads > 1)
			printf(" %9.2f", median(&rows[i], 2));
		printf("\n");
	}
	hf_stats_free(stats);
	return 0;
}
