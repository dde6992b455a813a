/*
 * main.c - the simulation's command line.
 *
 *     sim MODE [--count N] [--seed S]     runs from seed S on, until N of what the mode counts
 *     sim twice --count N [--seed S]      N runs of each mode, twice: must do the same
 *     sim MODE --replay S                 the one run of seed S; its story on stderr
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "modes.h"

#define DEPTHS 4u
#define SEEDS_APART 1000000u /* more than the runs of one call */

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

static int run_all(const struct mode *mode, uint64_t seed, uint64_t count) {
	struct totals totals = { 0 };
	double begin = seconds();
	uint64_t done = 0;
	while (done < count) {
		mode->run(seed++, &totals);
		totals.runs++;
		memcpy(&done, (const char *)&totals + mode->goal, sizeof(done));
	}
	double took = seconds() - begin;
	mode->print(&totals);
	printf("in %.1f s: %.0f a second\n", took, (double)done / took);
	return 0;
}

static int usage(void) {
	fprintf(stderr, "usage: sim MODE|twice [--count N] [--seed S] [--replay SEED]\nmodes:");
	for (size_t i = 0; i < MODES; i++)
		fprintf(stderr, " %s", modes[i]->name);
	fprintf(stderr, "\n");
	return 2;
}

int main(int argc, char **argv) {
	uint64_t count = 1000, seed = 1, again = 0;
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
		else if (strcmp(argv[i], "--replay") == 0)
			again = value;
		else
			return usage();
	}
	if (strcmp(argv[1], "twice") == 0)
		return run_twice(seed * SEEDS_APART, count);
	if (mode == NULL)
		return usage();
	return again != 0 ? replay(mode, again) : run_all(mode, seed * SEEDS_APART, count);
}
