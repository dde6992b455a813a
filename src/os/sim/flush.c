/*
 * flush.c - flush.h: one write at a time, in flight until the world lets it complete.
 */
#include "os/flush.h"

#include <errno.h>

#include "base/assert.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "os/event.h"
#include "os/memory.h"
#include "os/sim/world.h"

/* A write on its way. */
struct flight {
	uint32_t slot;
	uint64_t offset;
	const void *buf;
	size_t len;
	uint64_t hash; /* of what was in `buf` */
	bool synced, direct;
};

struct hf_flusher {
	int event_fd;
	bool synced;
	bool in_flight, completed;
	struct flight flight;
	bool failed;
	struct hf_err err;
};

static void take_off(struct sim *sim, struct flight *flight) {
	sim_put(sim, SIM_FLUSH, flight->slot, flight->offset, flight->buf, flight->len);
}

/* The write fails, and only some of it is there; without a page cache that is seen at once. */
static void crash_land(struct sim *sim, const struct flight *flight, size_t from, uint32_t keep) {
	sim_inode_betray(sim->disk, flight->slot, flight->offset + from, flight->len - from,
			 &sim->random, keep);
	if (flight->direct)
		sim_inode_reveal(sim->disk, flight->slot);
}

/* The write ends: durable, or failed. */
static bool land(struct sim *sim, const struct flight *flight, struct hf_err *err) {
	int reason;
	/* The disk may read the memory at any time until now. */
	HF_ASSERT(XXH3_64bits(flight->buf, flight->len) == flight->hash);
	if (!sim_io(sim, SIM_FLUSH, (uint64_t)flight->slot << 32 | flight->offset,
		    sim->faults.write_eio, &reason)) {
		crash_land(sim, flight, 0, sim_below(&sim->random, 4));
		return hf_fail_sys(err, reason, "the log write failed");
	}
	if (sim_strikes(sim, sim->faults.short_write)) {
		size_t part = sim_below(&sim->random, (uint32_t)(flight->len / HF_SECTOR)) *
			      (size_t)HF_SECTOR;
		crash_land(sim, flight, part, 0);
		return hf_fail(err, HF_IO, "the log write was cut short: %zu of %zu bytes", part,
			       flight->len);
	}
	if (flight->synced)
		sim_settle(sim, flight->slot, flight->offset, flight->len);
	return true;
}

static struct flight flight_of(const struct sim *sim, const struct hf_file *file, const void *buf,
			       size_t len, uint64_t offset, bool synced) {
	HF_ASSERT(!file->direct ||
		  ((uintptr_t)buf % HF_SECTOR | len % HF_SECTOR | offset % HF_SECTOR) == 0);
	return (struct flight){
		.slot = sim_slot(sim, file),
		.offset = offset,
		.buf = buf,
		.len = len,
		.hash = XXH3_64bits(buf, len),
		.synced = synced,
		.direct = file->direct,
	};
}

bool hf_flusher_new(bool synced, struct hf_flusher **ret, struct hf_err *err) {
	struct sim *sim = sim_world();
	if (sim->faults.no_uring)
		return hf_fail_sys(err, EPERM, "io_uring is not available");
	struct hf_flusher *flusher = hf_memory_new(sizeof(*flusher));
	if (flusher == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	flusher->synced = synced;
	if (!hf_event_new(&flusher->event_fd, err)) {
		hf_memory_free(flusher);
		return false;
	}
	*ret = flusher;
	return true;
}

void hf_flusher_free(struct hf_flusher *flusher) {
	struct sim *sim = sim_world();
	if (flusher == NULL)
		return;
	/* The kernel would go on reading the memory, and writing to the file. */
	HF_ASSERT(!flusher->in_flight || flusher->completed);
	sim->flusher = NULL;
	hf_event_close(flusher->event_fd);
	hf_memory_free(flusher);
}

int hf_flusher_fd(const struct hf_flusher *flusher) {
	return flusher->event_fd;
}

bool hf_flusher_start(struct hf_flusher *flusher, const struct hf_file *file, const void *buf,
		      size_t len, uint64_t offset, struct hf_err *err) {
	struct sim *sim = sim_world();
	HF_ASSERT(!flusher->in_flight);
	flusher->flight = flight_of(sim, file, buf, len, offset, flusher->synced);
	flusher->in_flight = true;
	flusher->completed = false;
	sim->flusher = flusher;
	take_off(sim, &flusher->flight);
	return true;
}

bool sim_flusher_complete(struct sim *sim) {
	struct hf_flusher *flusher = sim->flusher;
	if (flusher == NULL)
		return false;
	sim->flusher = NULL;
	flusher->failed = !land(sim, &flusher->flight, &flusher->err);
	flusher->completed = true;
	hf_event_signal(flusher->event_fd);
	return true;
}

void sim_kill(const struct sim *sim, struct sim_disk *disk, uint64_t seed) {
	const struct sim_faults *faults = &sim->faults;
	/* Where writes go astray, what is seen does not tell where this one went. */
	if (sim->flusher == NULL || faults->misdirected || faults->lost_write || faults->rot_rest ||
	    seed % 2 == 0)
		return;
	const struct flight *flight = &sim->flusher->flight;
	sim_disk_delay(disk, flight->slot, flight->offset, flight->len);
}

bool hf_flusher_collect(struct hf_flusher *flusher, bool wait, bool *ret_done, struct hf_err *err) {
	struct sim *sim = sim_world();
	*ret_done = false;
	if (!flusher->in_flight)
		return true;
	if (!flusher->completed && (wait || sim_once_in(&sim->random, 4)))
		sim_flusher_complete(sim);
	if (!flusher->completed)
		return true;
	flusher->in_flight = false;
	*ret_done = true;
	if (flusher->failed)
		*err = flusher->err;
	return !flusher->failed;
}

bool hf_flush_write(const struct hf_file *file, const void *buf, size_t len, uint64_t offset,
		    bool synced, struct hf_err *err) {
	struct sim *sim = sim_world();
	struct flight flight = flight_of(sim, file, buf, len, offset, synced);
	sim_yield();
	take_off(sim, &flight);
	do
		sim_yield();
	while (!sim_once_in(&sim->random, 3));
	return land(sim, &flight, err);
}
