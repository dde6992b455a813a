/*
 * counting.c - src/stats in the simulated world: clocks that become slow, memory that is not there,
 * threads that come, go, wait and are late, all as a seed says. Whatever happens, each count that
 * was made is in the last snapshot or was told to have been skipped or lost.
 *
 *     counting [--count N] [--seed S]     N worlds from seed S on
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "holdfast/stats.h"
#include "os/clock.h"
#include "os/sim/sim.h"
#include "os/thread.h"

#define WORKERS 3u
#define INTERVALS 300u

struct world {
	struct sim *sim;
	struct sim_random random;
	struct hf_stats *stats;
	struct hf_counter a, b;
	struct hf_histogram h;
	uint64_t made, records; /* calls of hf_count and hf_record, of all fibers */
	uint32_t running;
};

static uint64_t runs_refused, late_snapshots, fresh_snapshots, openings, lost;

/* ---- threads that come and go ---------------------------------------------------------------- */

/* a and b get the same; with the breaker open both are skipped. */
static void count_some(struct world *world, struct hf_stats_thread *thread) {
	uint32_t n = 1 + sim_below(&world->random, 4);
	for (uint32_t i = 0; i < n; i++)
		hf_count(thread, world->a, 1);
	sim_yield(); /* in the middle of an interval */
	uint64_t begun_ns = hf_clock_monotonic_ns();
	for (uint32_t i = 0; i < n; i++)
		hf_count(thread, world->b, 1);
	uint64_t took_ns = hf_clock_monotonic_ns() - begun_ns;
	hf_record(thread, world->h, took_ns << sim_below(&world->random, 40));
	world->made += 2 * (uint64_t)n;
	world->records++;
}

static void count_much(void *arg) {
	struct world *world = arg;
	struct hf_stats_thread *thread;
	if (hf_stats_join(world->stats, "worker", &thread, NULL, 0) != HF_OK) {
		world->running--;
		return;
	}
	for (uint32_t i = 0; i < INTERVALS; i++) {
		count_some(world, thread);
		uint32_t what = sim_below(&world->random, 64);
		if (what < 8) {
			hf_stats_rest(thread);
			sim_yield();
			hf_stats_wake(thread);
		} else if (what < 32) {
			hf_stats_quiescent(thread);
			sim_yield();
		} else {
			hf_stats_quiescent(thread);
		}
	}
	hf_stats_leave(thread);
	world->running--;
}

static void check(struct world *world, const struct hf_stats_snapshot *snapshot) {
	struct hf_stats_about about;
	hf_stats_about(snapshot, &about);
	HF_ASSERT(hf_stats_count(snapshot, world->a) == hf_stats_count(snapshot, world->b));
	HF_ASSERT(about.fresh == (about.late == 0) || about.number == 0);
	*(about.fresh ? &fresh_snapshots : &late_snapshots) += 1;
}

static void take(struct world *world, uint64_t deadline_ns, struct hf_stats_snapshot *snapshot) {
	if (hf_stats_take(world->stats, NULL, deadline_ns, snapshot, NULL, 0) == HF_OK)
		check(world, snapshot);
}

/* All is quiet: nothing may be missing. */
static void check_sum(struct world *world, struct hf_stats_snapshot *snapshot) {
	struct hf_stats_about about;
	struct hf_stats_summary summary;
	while (hf_stats_take(world->stats, NULL, 0, snapshot, NULL, 0) != HF_OK)
		continue;
	hf_stats_about(snapshot, &about);
	hf_stats_summary(snapshot, world->h, &summary);
	HF_ASSERT(about.fresh && about.late == 0 && about.threads == 0);
	uint64_t counts = hf_stats_count(snapshot, world->a) + hf_stats_count(snapshot, world->b);
	struct hf_counter key;
	enum hf_status known = hf_stats_counter(world->stats, "stats.records_lost", &key, NULL, 0);
	HF_ASSERT(known == HF_OK);
	uint64_t gone = hf_stats_count(snapshot, key);
	HF_ASSERT(counts <= world->made && summary.count + gone <= world->records);
	HF_ASSERT(counts + summary.count + gone + about.skipped == world->made + world->records);
	openings += about.openings;
	lost += gone;
}

static void run_threads(struct world *world, struct hf_stats_snapshot *snapshot) {
	struct hf_thread threads[WORKERS];
	struct hf_err err;
	uint32_t started = 0;
	for (uint32_t i = 0; i < WORKERS; i++) {
		world->running++;
		if (hf_thread_start(&threads[started], count_much, world, &err))
			started++;
		else
			world->running--;
	}
	while (world->running > 0) {
		/* Slow for a while, and quick again. */
		struct sim_faults *faults = sim_faults_of(world->sim);
		if (sim_once_in(&world->random, 4))
			faults->slow_clock_ns = faults->slow_clock_ns == 0 ? 10000 : 0;
		take(world, sim_below(&world->random, 30000), snapshot);
		for (uint32_t i = sim_below(&world->random, 20); i > 0; i--)
			sim_yield();
	}
	for (uint32_t i = 0; i < started; i++)
		hf_thread_join(&threads[i]);
}

static void live(void *arg) {
	struct world *world = arg;
	struct hf_stats_snapshot *snapshot;
	const struct hf_stats_options options = { .counters = 40, .histograms = 4 };
	if (hf_stats_new(&options, &world->stats, NULL, 0) != HF_OK) {
		runs_refused++;
		return;
	}
	bool ok = hf_stats_counter(world->stats, "a", &world->a, NULL, 0) == HF_OK;
	ok &= hf_stats_counter(world->stats, "b", &world->b, NULL, 0) == HF_OK;
	ok &= hf_stats_histogram(world->stats, "h", &world->h, NULL, 0) == HF_OK;
	if (ok && hf_stats_snapshot_new(world->stats, &snapshot, NULL, 0) == HF_OK) {
		run_threads(world, snapshot);
		check_sum(world, snapshot);
		hf_stats_snapshot_free(snapshot);
	} else {
		runs_refused++;
	}
	hf_stats_free(world->stats);
}

/* ---- the breaker, step by step --------------------------------------------------------------- */

/* So many intervals of one count each; returns how many of them were not skipped. */
static uint32_t count_intervals(struct world *world, struct hf_stats_thread *thread, uint32_t n) {
	uint32_t counted = 0;
	for (uint32_t i = 0; i < n; i++) {
		hf_stats_quiescent(thread);
		counted += thread->counts != NULL;
		hf_count(thread, world->a, 1);
	}
	return counted;
}

static void break_and_mend(void *arg) {
	struct world *world = arg;
	struct sim_faults *faults = sim_faults_of(world->sim);
	struct hf_stats_thread *thread;
	struct hf_stats_snapshot *snapshot;
	struct hf_stats_about about;
	bool ok = hf_stats_new(&(struct hf_stats_options){ 0 }, &world->stats, NULL, 0) == HF_OK &&
		  hf_stats_counter(world->stats, "a", &world->a, NULL, 0) == HF_OK &&
		  hf_stats_snapshot_new(world->stats, &snapshot, NULL, 0) == HF_OK &&
		  hf_stats_join(world->stats, "main", &thread, NULL, 0) == HF_OK;
	HF_ASSERT(ok);
	uint32_t counted = count_intervals(world, thread, 1000);
	HF_ASSERT(counted == 1000);

	/* A few slow samples are an accident. */
	faults->slow_clock_ns = 100 * 1000;
	counted +=
		count_intervals(world, thread, (HF_STATS_SLOW_SAMPLES - 1) * HF_STATS_SAMPLE_EVERY);
	faults->slow_clock_ns = 0;
	counted += count_intervals(world, thread, 1000);
	HF_ASSERT(counted == 2000 + (HF_STATS_SLOW_SAMPLES - 1) * HF_STATS_SAMPLE_EVERY);

	/* As many as it takes are not. */
	faults->slow_clock_ns = 100 * 1000;
	uint32_t before = counted, made = 0;
	made = HF_STATS_SLOW_SAMPLES * HF_STATS_SAMPLE_EVERY;
	counted += count_intervals(world, thread, made);
	HF_ASSERT(counted - before < made && thread->counts == NULL);
	uint32_t skipped = made - (counted - before);
	/* It stays open while it is slow, however long. */
	HF_ASSERT(count_intervals(world, thread, 100000) == 0);
	skipped += 100000;
	HF_ASSERT(hf_stats_take(world->stats, thread, 0, snapshot, NULL, 0) == HF_OK);
	hf_stats_about(snapshot, &about);
	HF_ASSERT(about.open == 1 && about.openings == 1 && about.skipped == skipped);
	HF_ASSERT(about.fresh && hf_stats_count(snapshot, world->a) == counted);

	/* And comes back once it is quick: it says so, and counts. */
	faults->slow_clock_ns = 0;
	for (before = counted; counted == before; skipped++)
		counted += count_intervals(world, thread, 1);
	skipped--;
	counted += count_intervals(world, thread, 1000);
	HF_ASSERT(hf_stats_take(world->stats, thread, 0, snapshot, NULL, 0) == HF_OK);
	hf_stats_about(snapshot, &about);
	HF_ASSERT(about.open == 0 && about.openings == 1 && about.skipped == skipped);
	HF_ASSERT(hf_stats_count(snapshot, world->a) == counted);
	printf("breaker: %u counted, %u skipped, closed again after %llu ms\n", counted, skipped,
	       (unsigned long long)(sim_time_ns(world->sim) / 1000000));
	hf_stats_leave(thread);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(world->stats);
}

/* ---- worlds ---------------------------------------------------------------------------------- */

static void run(uint64_t seed, void (*main)(void *arg), bool faults) {
	struct sim *sim = sim_new(seed, sim_disk_new());
	struct world world = { .sim = sim, .random = { seed } };
	if (faults && seed % 4 == 1)
		sim_faults_of(sim)->fail_alloc_at = 1 + seed / 4 % 64;
	if (faults && seed % 4 == 2)
		sim_faults_of(sim)->no_memory = 10;
	enum sim_end end = sim_run(sim, main, &world);
	if (end != SIM_DONE) {
		fprintf(stderr, "seed %llu: ended with %d: %s\n", (unsigned long long)seed, end,
			sim_why(sim));
		exit(1);
	}
	sim_free(sim);
}

int main(int argc, char **argv) {
	uint64_t count = 1000, seed = 1;
	for (int i = 1; i + 1 < argc; i += 2)
		*(strcmp(argv[i], "--seed") == 0 ? &seed : &count) = strtoull(argv[i + 1], NULL, 0);
	run(seed, break_and_mend, false);
	for (uint64_t i = 0; i < count; i++)
		run(seed + i, live, true);
	printf("%llu worlds: %llu snapshots fresh, %llu late; %llu openings; %llu records lost; "
	       "%llu worlds without memory to begin\n",
	       (unsigned long long)count, (unsigned long long)fresh_snapshots,
	       (unsigned long long)late_snapshots, (unsigned long long)openings,
	       (unsigned long long)lost, (unsigned long long)runs_refused);
	/* Each of them was met. */
	return fresh_snapshots > 0 && late_snapshots > 0 && openings > 0 && lost > 0 ? 0 : 1;
}
