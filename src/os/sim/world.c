/*
 * world.c - worlds, their clock, and when faults strike.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/sim/world.h"

static struct sim *running;

struct sim *sim_world(void) {
	HF_ASSERT(running != NULL);
	return running;
}

struct sim *sim_new(uint64_t seed, struct sim_disk *disk) {
	struct sim *sim = calloc(1, sizeof(*sim));
	HF_ASSERT(sim != NULL);
	sim->random.state = seed;
	sim->disk = disk;
	sim->room = UINT64_MAX;
	sim->now_ns = 1000000000;
	sim->wall_ns = 1700000000000000000;
	sim->blocks.next = sim->blocks.previous = &sim->blocks;
	return sim;
}

void sim_free(struct sim *sim) {
	HF_ASSERT(!sim->running);
	sim_disk_free(sim->disk);
	free(sim);
}

/* ---- a process ---- */

/* What a process that has come to its end should not hold any more. */
static void find_leaks(struct sim *sim) {
	uint32_t handles = 0, events = 0;
	for (uint32_t i = 0; i < HANDLES_MAX; i++)
		handles += sim->handles[i].kind != HANDLE_FREE;
	for (uint32_t i = 0; i < EVENTS_MAX; i++)
		events += sim->events_used[i];
	bool threads = false;
	for (uint32_t i = 1; i < FIBERS_MAX; i++)
		threads |= sim->fibers[i].state != FIBER_FREE;
	bool memory = !sim_memory_is_free(sim);
	if (handles == 0 && events == 0 && !threads && !memory)
		return;
	sim->end = SIM_LEFT;
	snprintf(sim->why, sizeof(sim->why),
		 "the process has ended, and did not let go of %u files, %u events%s%s", handles,
		 events, threads ? ", threads" : "", memory ? ", memory" : "");
}

enum sim_end sim_run(struct sim *sim, void (*main)(void *arg), void *arg) {
	HF_ASSERT(!sim->running);
	sim->below = running;
	sim->running = true;
	running = sim;
	sim_fibers_begin(sim);
	if (_setjmp(sim->out) == 0) {
		main(arg);
		sim->end = SIM_DONE;
		find_leaks(sim);
	}
	sim_fibers_end(sim);
	if (sim->end == SIM_CRASHED)
		sim_kill(sim, sim->disk, sim_next(&sim->random));
	sim_memory_free_all(sim);
	memset(sim->handles, 0, sizeof(sim->handles));
	memset(sim->events_used, 0, sizeof(sim->events_used));
	memset(sim->disk->opened, 0, sim->disk->slots * sizeof(*sim->disk->opened));
	sim->flusher = NULL;
	sim->running = false;
	running = sim->below;
	return sim->end;
}

void sim_crash(void) {
	sim_fibers_leave(sim_world(), SIM_CRASHED);
}

const char *sim_why(const struct sim *sim) {
	return sim->why;
}

void sim_set_hook(struct sim *sim, void (*hook)(void *arg, enum sim_op op), void *arg) {
	sim->hook = hook;
	sim->hook_arg = arg;
}

struct sim_disk *sim_disk_of(struct sim *sim) {
	return sim->disk;
}

void sim_set_disk(struct sim *sim, struct sim_disk *disk) {
	HF_ASSERT(!sim->running);
	sim_disk_free(sim->disk);
	sim->disk = disk;
}

struct sim_faults *sim_faults_of(struct sim *sim) {
	return &sim->faults;
}

void sim_set_room(struct sim *sim, uint64_t bytes) {
	sim->room = bytes;
}

uint64_t sim_trace(const struct sim *sim) {
	return sim->trace;
}

uint64_t sim_io_count(const struct sim *sim) {
	return sim->io_count;
}

uint64_t sim_alloc_count(const struct sim *sim) {
	return sim->alloc_count;
}

uint64_t sim_fault_count(const struct sim *sim) {
	return sim->fault_count;
}

uint64_t sim_damage_count(const struct sim *sim) {
	return sim->damage_count;
}

/* ---- operations and faults ---- */

void sim_trace_add(struct sim *sim, uint64_t value) {
	sim->trace = (sim->trace ^ value) * 0x9e3779b97f4a7c15u;
	sim->trace ^= sim->trace >> 32;
}

static void (*story)(const char *line);

void sim_set_story(void (*line)(const char *line)) {
	story = line;
}

void sim_say(const char *fmt, ...) {
	va_list args;
	if (story == NULL)
		return;
	char line[512];
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	story(line);
}

static void tell(const struct sim *sim, enum sim_op op, uint64_t what, bool fails) {
	static const char *const names[SIM_OP_COUNT] = {
		[SIM_OPEN] = "open",
		[SIM_READ] = "read",
		[SIM_WRITE] = "write",
		[SIM_SYNC] = "sync",
		[SIM_FLUSH] = "flush",
		[SIM_FILL] = "fill",
		[SIM_CREATE] = "create",
		[SIM_RENAME] = "rename",
		[SIM_REMOVE] = "remove",
		[SIM_DIR_SYNC] = "sync directory",
		[SIM_MAKE_DIR] = "make directory",
	};
	sim_say("%*s%llu: %s %llx%s", sim->below == NULL ? 0 : 4, "",
		(unsigned long long)sim->io_count, names[op], (unsigned long long)what,
		fails ? ": FAILS" : "");
}

bool sim_strikes(struct sim *sim, uint32_t rate) {
	bool strikes = sim_once_in(&sim->random, rate);
	sim->fault_count += strikes;
	return strikes;
}

bool sim_damages(struct sim *sim, uint32_t rate) {
	bool strikes = sim_once_in(&sim->random, rate);
	sim->damage_count += strikes;
	return strikes;
}

bool sim_io(struct sim *sim, enum sim_op op, uint64_t what, uint32_t rate, int *ret_errno) {
	const struct sim_faults *faults = &sim->faults;
	sim->now_ns += 1000 + sim_below(&sim->random, 100000);
	sim->io_count++;
	sim_trace_add(sim, sim->io_count << 8 | op);
	sim_trace_add(sim, what);
	if (sim_disk_is_late(sim->disk) && sim_once_in(&sim->random, 16))
		sim_disk_land(sim->disk);
	bool fails = faults->fail_io_at != 0 &&
		     (faults->fail_for_ever ? sim->io_count >= faults->fail_io_at
					    : sim->io_count == faults->fail_io_at);
	sim->fault_count += fails;
	fails = fails || sim_strikes(sim, rate);
	if (story != NULL)
		tell(sim, op, what, fails);
	*ret_errno = EIO;
	return !fails;
}

void sim_moment(struct sim *sim, enum sim_op op) {
	if (sim->hook != NULL)
		sim->hook(sim->hook_arg, op);
}

/* ---- clock.h, random.h ---- */

int64_t hf_clock_wall_ns(void) {
	struct sim *sim = sim_world();
	if (sim_strikes(sim, sim->faults.clock_jump))
		sim->wall_ns += (int64_t)(sim_next(&sim->random) >> 14) - ((int64_t)1 << 49);
	sim->now_ns += 50;
	return (int64_t)sim->now_ns + sim->wall_ns;
}

uint64_t hf_clock_monotonic_ns(void) {
	struct sim *sim = sim_world();
	return sim->now_ns += 50 + sim->faults.slow_clock_ns;
}

uint64_t hf_clock_cpu_ns(void) {
	return hf_clock_monotonic_ns();
}

uint64_t sim_time_ns(const struct sim *sim) {
	return sim->now_ns;
}

bool hf_random_u64(uint64_t *ret, struct hf_err *err) {
	*ret = sim_next(&sim_world()->random);
	return true;
}
