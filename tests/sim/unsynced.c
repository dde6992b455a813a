/*
 * unsynced.c - what was written without syncing, by --no-sync, is no one's promise. But what is
 * acknowledged after a start that syncs is, and it stands behind all of that.
 *
 * A log is written over many segments without a sync, and its process ends in order or is killed.
 * The next one syncs: it is acknowledged a few records, and the power goes. All of the log must
 * still be there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "log/log.h"
#include "os/sim/sim.h"

#define BODY 1000u
#define SEGMENTS 9u

struct life {
	bool synced, threaded, ends_in_order;
	uint64_t segments; /* to reach; 0: a few records */
	uint64_t acknowledged, recovered;
	bool opened;
	struct hf_err err;
};

static bool on_records(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err) {
	struct life *life = arg;
	life->recovered += count;
	return true;
}

static void append(struct hf_log *log, struct hf_err *err) {
	uint64_t lsn, position;
	hf_log_lock(log);
	bool room = hf_log_make_room(log, BODY, err);
	HF_ASSERT(room);
	uint8_t *body = hf_log_begin(log, BODY, &lsn, &position);
	memset(body, (int)(1 + lsn % 255), BODY);
	hf_log_end(log, HF_RECORD_EVENT, (int64_t)lsn, BODY);
	hf_log_flush(log);
	hf_log_unlock(log);
}

static void live(void *arg) {
	struct life *life = arg;
	struct hf_dir dir;
	struct hf_log *log;
	bool ok = hf_dir_open("data", true, &dir, &life->err);
	HF_ASSERT(ok);
	struct hf_log_options options = {
		.dir = &dir,
		.segment_size = HF_SEGMENT_SIZE_MIN,
		.synced = life->synced,
		.threaded = life->threaded,
		.records = on_records,
		.arg = life,
	};
	life->opened = hf_log_open(&options, &log, &life->err);
	if (!life->opened) {
		hf_dir_close(&dir);
		return;
	}
	uint64_t end = life->segments * HF_SEGMENT_SIZE_MIN;
	do
		append(log, &life->err);
	while (hf_log_position(log) < end || hf_log_last(log) < 3);
	ok = hf_log_wait(log, hf_log_last(log), &life->err);
	HF_ASSERT(ok);
	life->acknowledged = hf_log_committed(log);
	if (!life->ends_in_order)
		sim_crash();
	ok = hf_log_close(log, &life->err);
	HF_ASSERT(ok);
	hf_dir_close(&dir);
}

/* Lives it on the disk, and returns a copy of what is left. */
static struct sim_disk *run(uint64_t seed, struct sim_disk *disk, struct life *life) {
	struct sim *sim = sim_new(seed, disk);
	enum sim_end end = sim_run(sim, live, life);
	struct sim_disk *left = sim_disk_clone(sim_disk_of(sim));
	if (end != SIM_DONE && end != SIM_CRASHED) {
		fprintf(stderr, "seed %llu: ended with %d: %s\n", (unsigned long long)seed, end,
			sim_why(sim));
		exit(1);
	}
	sim_free(sim);
	return left;
}

static void check(uint64_t seed) {
	struct life unsynced = { .segments = SEGMENTS,
				 .threaded = seed % 2 == 0,
				 .ends_in_order = seed / 2 % 2 == 0 };
	struct life synced = { .synced = true, .threaded = seed / 4 % 2 == 0 };
	struct life last = { .synced = true, .ends_in_order = true };
	struct sim_disk *disk = run(seed, sim_disk_new(), &unsynced);
	disk = run(seed, disk, &synced);
	(void)sim_disk_cut(disk, seed);
	sim_disk_free(run(seed, disk, &last));
	if (synced.opened && last.opened && last.recovered >= synced.acknowledged)
		return;
	fprintf(stderr, "seed %llu: %llu records were acknowledged after a start that syncs: %s\n",
		(unsigned long long)seed, (unsigned long long)synced.acknowledged,
		!synced.opened ? synced.err.text
		: last.opened  ? "some are gone"
			       : last.err.text);
	exit(1);
}

int main(int argc, char **argv) {
	uint64_t count = 100, seed = 1;
	for (int i = 1; i + 1 < argc; i += 2)
		*(strcmp(argv[i], "--seed") == 0 ? &seed : &count) = strtoull(argv[i + 1], NULL, 0);
	for (uint64_t i = 0; i < count; i++)
		check(seed + i);
	printf("%llu lives without syncing, and all that came after is there\n",
	       (unsigned long long)count);
	return 0;
}
