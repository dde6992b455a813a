/*
 * deleting.c - deletes more at once than a snapshot under way has room for: it is not given up.
 *
 * The keys' values together are more than the ring of images holds. A snapshot is asked for, and
 * at some moment of it, which the seed decides, one request deletes them all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/engine.h"
#include "os/sim/sim.h"

#define KEYS 150u
#define VALUE 600u

struct life {
	uint32_t yields; /* between the snapshot's beginning and the request */
	enum hf_flush_mode flush;
	bool met; /* the request came while it was under way, and it was not over before */
	struct hf_snapshot_outcome outcome;
};

struct keys {
	char text[KEYS][4];
	struct hf_span spans[KEYS];
};

static void fill(struct hf_engine *engine, struct keys *keys) {
	char value[VALUE];
	memset(value, 'v', sizeof(value));
	for (uint32_t i = 0; i < KEYS; i++) {
		int len = snprintf(keys->text[i], sizeof(keys->text[i]), "%03u", i);
		keys->spans[i] = hf_span(keys->text[i], (size_t)len);
		struct hf_plain_set set = { .key = keys->spans[i],
					    .value = hf_span(value, sizeof(value)) };
		struct hf_reply reply;
		bool was_set;
		hf_engine_lock(engine);
		hf_engine_plain_set(engine, &set, NULL, NULL, &was_set, &reply);
		hf_engine_unlock(engine);
		HF_ASSERT(was_set);
	}
}

/* Is one under way? */
static bool looks(struct hf_engine *engine) {
	struct hf_engine_info info;
	hf_engine_info(engine, &info);
	return info.snapshot_under_way;
}

static void live(void *arg) {
	struct life *life = arg;
	struct hf_engine_options options = { .data_dir = "data", .flush = life->flush };
	struct hf_engine *engine;
	struct hf_err err;
	struct keys keys;
	struct hf_reply reply;
	uint64_t ticket, deleted;
	bool ok = hf_engine_open(&options, &engine, &err);
	HF_ASSERT(ok);
	fill(engine, &keys);
	ok = hf_engine_snapshot(engine, &ticket, &err);
	HF_ASSERT(ok);
	for (uint32_t i = 0; i < life->yields; i++)
		sim_yield();
	hf_engine_lock(engine);
	bool before = looks(engine);
	hf_engine_plain_delete(engine, keys.spans, KEYS, &deleted, &reply);
	hf_engine_flush(engine);
	life->met = before && looks(engine);
	hf_engine_unlock(engine);
	HF_ASSERT(deleted == KEYS);
	ok = hf_engine_wait(engine, reply.lsn, &err);
	HF_ASSERT(ok);
	hf_engine_snapshot_wait(engine, ticket, &life->outcome);
	ok = hf_engine_close(engine, &err);
	HF_ASSERT(ok);
}

static bool check(uint64_t seed) {
	struct life life = { .yields = (uint32_t)(seed % 97),
			     .flush = seed % 2 == 0 ? HF_FLUSH_AUTO : HF_FLUSH_THREAD };
	struct sim *sim = sim_new(seed, sim_disk_new());
	enum sim_end end = sim_run(sim, live, &life);
	if (end != SIM_DONE || life.outcome.err.status != HF_OK) {
		fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed,
			end != SIM_DONE ? sim_why(sim) : life.outcome.err.text);
		exit(1);
	}
	sim_free(sim);
	return life.met;
}

int main(int argc, char **argv) {
	uint64_t count = 100, seed = 1, met = 0;
	for (int i = 1; i + 1 < argc; i += 2)
		*(strcmp(argv[i], "--seed") == 0 ? &seed : &count) = strtoull(argv[i + 1], NULL, 0);
	for (uint64_t i = 0; i < count; i++)
		met += check(seed + i);
	printf("%llu snapshots taken, a delete of everything in the midst of %llu\n",
	       (unsigned long long)count, (unsigned long long)met);
	return met == 0;
}
