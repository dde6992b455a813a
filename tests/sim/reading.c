/*
 * reading.c - a log in use is read, from its beginning to its end, as `holdfast log verify` does,
 * again and again, while another thread writes it. It is whole, whenever that is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "log/log.h"
#include "os/sim/sim.h"
#include "os/thread.h"

#define BODY 1000u
#define RECORDS 200u

struct life {
	struct hf_dir dir;
	struct hf_log *log;
	bool threaded, writing;
	uint32_t scans;
	struct sim_random random;
	struct hf_err err;
};

/* Now and then a sync takes as long as all others do a lot. */
static void on_io(void *arg, enum sim_op op) {
	struct life *life = arg;
	if (op != SIM_SYNC || !sim_once_in(&life->random, 8))
		return;
	for (uint32_t i = 0; i < 500; i++)
		sim_yield();
}

static bool on_records(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err) {
	return true;
}

static void write_all(void *arg) {
	struct life *life = arg;
	uint64_t lsn = 0, position;
	while (lsn < RECORDS) {
		hf_log_lock(life->log);
		bool ok = hf_log_make_room(life->log, BODY, &life->err);
		HF_ASSERT(ok);
		memset(hf_log_begin(life->log, BODY, &lsn, &position), (int)(1 + lsn % 255), BODY);
		hf_log_end(life->log, HF_RECORD_EVENT, (int64_t)lsn, BODY);
		hf_log_flush(life->log);
		hf_log_unlock(life->log);
		ok = hf_log_wait(life->log, lsn, &life->err);
		HF_ASSERT(ok);
	}
	life->writing = false;
}

static void live(void *arg) {
	struct life *life = arg;
	struct hf_thread writer;
	struct hf_log_options options = {
		.dir = &life->dir,
		.segment_size = HF_SEGMENT_SIZE_MIN,
		.synced = true,
		.threaded = life->threaded,
		.records = on_records,
	};
	bool ok = hf_dir_open("data", true, &life->dir, &life->err) &&
		  hf_log_open(&options, &life->log, &life->err) &&
		  hf_thread_start(&writer, write_all, life, &life->err);
	HF_ASSERT(ok);
	struct hf_log_scan scan = { .dir = &life->dir, .prove_records = true };
	struct hf_log_end end = { 0 };
	while (ok && life->writing) {
		ok = hf_log_scan(&scan, &end, &life->err);
		life->scans++;
	}
	struct hf_err why = life->err;
	hf_thread_join(&writer);
	life->err = why;
	life->scans = ok ? life->scans : 0;
	ok = hf_log_close(life->log, &why);
	HF_ASSERT(ok);
	hf_dir_close(&life->dir);
}

static uint32_t check(uint64_t seed) {
	struct life life = { .threaded = seed % 2 == 0, .writing = true, .random = { seed } };
	struct sim *sim = sim_new(seed, sim_disk_new());
	sim_set_hook(sim, on_io, &life);
	enum sim_end end = sim_run(sim, live, &life);
	if (end != SIM_DONE || life.scans == 0) {
		fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed,
			end != SIM_DONE ? sim_why(sim) : life.err.text);
		exit(1);
	}
	sim_free(sim);
	return life.scans;
}

int main(int argc, char **argv) {
	uint64_t count = 100, seed = 1, scans = 0;
	for (int i = 1; i + 1 < argc; i += 2)
		*(strcmp(argv[i], "--seed") == 0 ? &seed : &count) = strtoull(argv[i + 1], NULL, 0);
	for (uint64_t i = 0; i < count; i++)
		scans += check(seed + i);
	printf("%llu logs were read while they were written, %llu times; all were whole\n",
	       (unsigned long long)count, (unsigned long long)scans);
	return 0;
}
