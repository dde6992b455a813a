/*
 * main.c - the simulation's command line.
 *
 *     sim MODE [--count N] [--seed S]     runs from seed S on, until N of what the mode counts
 *              [--jobs J]                 in J processes: of J seeds, each takes one
 *     sim twice --count N [--seed S]      N runs of each mode, twice: must do the same
 *     sim MODE --replay S                 the one run of seed S; its story on stderr
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "modes.h"

#define DEPTHS 4u
#define SEEDS_APART 1000000u /* more than the runs of one call */
#define JOBS_MAX 64u
#define SNAPSHOTS_FROM 1000u /* a count that so many are too few for may be without */

static const struct mode *const modes[] = { &points_mode, &chaos_mode, &nth_mode, &damage_mode };

#define MODES (sizeof(modes) / sizeof(modes[0]))

struct model *modes_model(uint32_t depth) {
	static struct model models[DEPTHS];
	return &models[depth];
}

struct client *modes_clients(uint32_t depth) {
	static struct client clients[DEPTHS][CLIENTS_MAX];
	return clients[depth];
}

void modes_copy_model(struct model *to, const struct model *from) {
	memcpy(to, from, offsetof(struct model, records));
	memcpy(to->records, from->records, (from->last + 1) * sizeof(from->records[0]));
}

static double seconds(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell(const char *line) {
	fprintf(stderr, "%s\n", line);
}

static int replay(const struct mode *mode, uint64_t seed) {
	struct totals totals = { 0 };
	sim_set_story(tell);
	uint64_t first = mode->run(seed, &totals);
	sim_set_story(NULL);
	uint64_t second = mode->run(seed, &totals);
	printf("%s of seed %llu: %016llx, then %016llx\n", mode->name, (unsigned long long)seed,
	       (unsigned long long)first, (unsigned long long)second);
	return first == second ? 0 : 1;
}

/* The first `runs` of every mode, each of them twice. */
static int run_twice(uint64_t seed, uint64_t runs) {
	struct totals totals = { 0 };
	for (size_t i = 0; i < MODES; i++)
		for (uint64_t j = 0; j < runs; j++) {
			uint64_t first = modes[i]->run(seed + j, &totals);
			if (modes[i]->run(seed + j, &totals) == first)
				continue;
			fprintf(stderr, "%s of seed %llu was another one the second time\n",
				modes[i]->name, (unsigned long long)(seed + j));
			return 1;
		}
	printf("%llu runs of each of %zu modes, twice: all the same\n", (unsigned long long)runs,
	       MODES);
	return 0;
}

static uint64_t done(const struct mode *mode, const struct totals *totals) {
	uint64_t ret;
	memcpy(&ret, (const char *)totals + mode->goal, sizeof(ret));
	return ret;
}

/* Every `step`-th seed from `seed` on, until `count` is reached. */
static struct totals run_seeds(const struct mode *mode, uint64_t seed, uint64_t step,
			       uint64_t count) {
	struct totals totals = { 0 };
	for (; done(mode, &totals) < count; seed += step) {
		mode->run(seed, &totals);
		totals.runs++;
	}
	return totals;
}

static void add_totals(struct totals *to, const struct totals *more) {
	uint64_t *sums = (uint64_t *)to;
	const uint64_t *terms = (const uint64_t *)more;
	for (size_t i = 0; i < sizeof(*to) / sizeof(*sums); i++)
		sums[i] += terms[i];
}

/* A process that does its share, and writes its totals to the pipe whose end is returned. */
static int start_job(const struct mode *mode, uint64_t seed, uint64_t step, uint64_t count,
		     pid_t *ret_pid) {
	int ends[2];
	HF_ASSERT(pipe(ends) == 0);
	*ret_pid = fork();
	HF_ASSERT(*ret_pid >= 0);
	if (*ret_pid == 0) {
		struct totals totals = run_seeds(mode, seed, step, count);
		_exit(write(ends[1], &totals, sizeof(totals)) != sizeof(totals));
	}
	close(ends[1]);
	return ends[0];
}

/* False: one of them failed, and the others were ended. */
static bool run_jobs(const struct mode *mode, uint64_t seed, uint64_t count, uint32_t jobs,
		     struct totals *ret) {
	pid_t pids[JOBS_MAX];
	int ends[JOBS_MAX], status;
	bool ok = true;
	for (uint32_t i = 0; i < jobs; i++)
		ends[i] = start_job(mode, seed + i, jobs, (count + jobs - 1) / jobs, &pids[i]);
	for (uint32_t left = jobs; left > 0; left--) {
		HF_ASSERT(wait(&status) > 0);
		for (uint32_t i = 0; ok && status != 0 && i < jobs; i++)
			kill(pids[i], SIGTERM);
		ok = ok && status == 0;
	}
	for (uint32_t i = 0; ok && i < jobs; i++) {
		struct totals part;
		HF_ASSERT(read(ends[i], &part, sizeof(part)) == sizeof(part));
		add_totals(ret, &part);
	}
	return ok;
}

static int run_all(const struct mode *mode, uint64_t seed, uint64_t count, uint32_t jobs) {
	struct totals totals = { 0 };
	double begin = seconds();
	if (jobs == 1)
		totals = run_seeds(mode, seed, 1, count);
	else if (!run_jobs(mode, seed, count, jobs, &totals))
		return 1;
	double took = seconds() - begin;
	mode->print(&totals);
	printf("in %.1f s: %.0f a second\n", took, (double)done(mode, &totals) / took);
	if (count < SNAPSHOTS_FROM || totals.counts.snapshots > 0)
		return 0;
	fprintf(stderr, "FAILED: of all snapshots that were asked for, none was answered\n");
	return 1;
}

static int usage(void) {
	fprintf(stderr, "usage: sim MODE|twice [--count N] [--seed S] [--jobs J] "
			"[--replay SEED]\nmodes:");
	for (size_t i = 0; i < MODES; i++)
		fprintf(stderr, " %s", modes[i]->name);
	fprintf(stderr, "\n");
	return 2;
}

int main(int argc, char **argv) {
	uint64_t count = 1000, seed = 1, again = 0, jobs = 1;
	const struct mode *mode = NULL;
	if (argc % 2 != 0)
		return usage();
	for (size_t i = 0; i < MODES; i++)
		if (strcmp(modes[i]->name, argv[1]) == 0)
			mode = modes[i];
	for (int i = 2; i < argc; i += 2) {
		uint64_t value = strtoull(argv[i + 1], NULL, 0);
		if (strcmp(argv[i], "--count") == 0)
			count = value;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = value;
		else if (strcmp(argv[i], "--jobs") == 0)
			jobs = value;
		else if (strcmp(argv[i], "--replay") == 0)
			again = value;
		else
			return usage();
	}
	if (strcmp(argv[1], "twice") == 0)
		return run_twice(seed * SEEDS_APART, count);
	if (mode == NULL || jobs == 0 || jobs > JOBS_MAX)
		return usage();
	return again != 0 ? replay(mode, again)
			  : run_all(mode, seed * SEEDS_APART, count, (uint32_t)jobs);
}
