/*
 * chaos.c - one world, many lives: processes that run one after the other on one disk, which fails,
 * fills up, and loses its power; and memory that runs out, and a clock that jumps.
 *
 * And the n-th operation or allocation of a life fails, for every n.
 *
 * All this is within what is promised: what was acknowledged must be there in every later life. A
 * process may fail to open, or stop, but only while the faults last, and never because it thinks
 * that the log is damaged.
 */
#include <stdio.h>
#include <string.h>

#include "memo.h"
#include "modes.h"

struct world {
	struct actor actor;
	struct totals *totals;
	bool calm; /* no faults: nothing may fail */
};

static uint32_t rate(struct sim_random *random, uint32_t most) {
	return sim_once_in(random, 3) ? 0 : 1 + sim_below(random, most);
}

static void set_faults(struct world *world) {
	struct sim_random *random = &world->actor.random;
	struct sim_faults *faults = sim_faults_of(world->actor.sim);
	struct sim_faults set = { .no_direct = faults->no_direct, .no_uring = faults->no_uring };
	if (!world->calm) {
		set.write_eio = rate(random, 400);
		set.sync_eio = rate(random, 200);
		set.read_eio = rate(random, 400);
		set.dir_eio = rate(random, 200);
		set.short_write = rate(random, 400);
		set.no_space = rate(random, 50);
		set.no_memory = rate(random, 2000);
		set.clock_jump = rate(random, 20);
	}
	*faults = set;
}

static void fail_of_fault(struct world *world, uint64_t faults_before, enum hf_status status,
			  const char *what, const char *why) {
	bool struck = sim_fault_count(world->actor.sim) > faults_before;
	world->totals->stops++;
	if (world->calm || !struck ||
	    (status != HF_IO && status != HF_NOMEM && status != HF_STOPPED))
		actor_fail(&world->actor, "%s: %s (%s)", what, hf_status_name(status), why);
}

static void live(void *arg) {
	struct world *world = arg;
	struct actor *actor = &world->actor;
	struct hf_err err;
	uint64_t faults = sim_fault_count(actor->sim);
	if (!actor_open(actor, &err)) {
		fail_of_fault(world, faults, err.status, "opening", err.text);
		return;
	}
	actor_check_recovered(actor);
	/* What went before may be of this life's faults, too; what a request meets must be. */
	for (uint32_t contract = 0; contract < CONTRACTS; contract++)
		if (actor->model->contract_versions[contract] == 0)
			(void)actor_load(actor, contract, 1);
	if (sim_once_in(&actor->random, 4))
		(void)actor_load(actor, ORDER, 2);
	uint32_t steps = sim_below(&actor->random, actor->is_crowd ? 8 : 40);
	for (uint32_t i = 0; i < steps && actor_step(actor); i++) {
		if (sim_once_in(&actor->random, 8))
			actor_look(actor);
		if (sim_once_in(&actor->random, 8))
			actor_settle(actor);
	}
	if (!world->calm && sim_once_in(&actor->random, 2))
		actor_crash(actor);
	if (!actor_close(actor, &err))
		fail_of_fault(world, faults, err.status, "closing", err.text);
}

static void run_life(struct world *world) {
	struct actor *actor = &world->actor;
	sim_say("-- a life%s; %llu to %llu must be recovered", world->calm ? ", calm" : "",
		(unsigned long long)actor->floor, (unsigned long long)actor->ceiling);
	enum sim_end end = sim_run(actor->sim, live, world);
	if (end != SIM_DONE && end != SIM_CRASHED)
		actor_fail(actor, "%s", sim_why(actor->sim));
	world->totals->lives++;
}

static void one_life(struct world *world) {
	struct actor *actor = &world->actor;
	actor->faults = !world->calm;
	set_faults(world);
	memo_set(!sim_once_in(&actor->random, MEMO_NOT_ONE_IN));
	run_life(world);
	memo_set(false);
	if (sim_once_in(&actor->random, 2)) {
		sim_say("-- the power is cut");
		sim_disk_cut(sim_disk_of(actor->sim), sim_next(&actor->random));
	}
	if (sim_once_in(&actor->random, 3))
		sim_set_room(actor->sim, sim_below(&actor->random, 4) * 8192);
	else
		sim_set_room(actor->sim, UINT64_MAX);
}

static struct world new_world(const char *mode, uint64_t seed, struct totals *totals) {
	struct sim_random random = { seed ^ 0xc4a05 };
	struct world world = {
		.actor = {
			.mode = mode,
			.seed = seed,
			.model = modes_model(0),
			.clients = modes_clients(0),
			.counts = &totals->counts,
			.sim = sim_new(seed, sim_disk_new()),
			.options = { .data_dir = "data" },
			.next_id = 1,
		},
		.totals = totals,
	};
	memset(world.actor.model, 0, offsetof(struct model, records));
	sim_faults_of(world.actor.sim)->no_direct = sim_once_in(&random, 2);
	world.actor.random = random;
	actor_crowd(&world.actor);
	return world;
}

static uint64_t end_world(struct world *world) {
	struct sim *sim = world->actor.sim;
	uint64_t trace = sim_trace(sim);
	world->totals->events += world->actor.model->last;
	world->totals->faults += sim_fault_count(sim);
	sim_free(sim);
	return trace;
}

static uint64_t run(uint64_t seed, struct totals *totals) {
	struct world world = new_world("chaos", seed, totals);
	struct actor *actor = &world.actor;
	struct sim_random *random = &actor->random;
	uint32_t lives = 2 + sim_below(random, 20);
	for (uint32_t i = 0; i < lives; i++) {
		world.calm = i + 1 == lives || sim_once_in(random, 8);
		actor->options.flush = sim_once_in(random, 2) ? HF_FLUSH_AUTO : HF_FLUSH_THREAD;
		sim_faults_of(actor->sim)->no_uring = sim_once_in(random, 4);
		if (world.calm)
			sim_set_room(actor->sim, UINT64_MAX);
		one_life(&world);
	}
	return end_world(&world);
}

static void print(const struct totals *totals) {
	printf("%llu lives in %llu worlds, %llu faults, %llu processes stopped by one; %llu "
	       "snapshots answered\n",
	       (unsigned long long)totals->lives, (unsigned long long)totals->runs,
	       (unsigned long long)totals->faults, (unsigned long long)totals->stops,
	       (unsigned long long)totals->counts.snapshots);
}

const struct mode chaos_mode = {
	.name = "chaos",
	.run = run,
	.goal = offsetof(struct totals, lives),
	.print = print,
};

/* ---- the n-th operation, and the n-th allocation ---- */

/*
 * Two lives: in the second nothing fails. False: nothing failed in the first one, either. The same
 * seed does the same up to the fault.
 */
static bool fail_nth(uint64_t seed, const struct sim_faults *what, struct totals *totals,
		     uint64_t *trace) {
	struct world world = new_world("nth", seed, totals);
	struct actor *actor = &world.actor;
	struct sim_faults *faults = sim_faults_of(actor->sim);
	actor->options.flush = seed % 2 == 0 ? HF_FLUSH_AUTO : HF_FLUSH_THREAD;
	faults->fail_io_at = what->fail_io_at;
	faults->fail_alloc_at = what->fail_alloc_at;
	faults->fail_for_ever = what->fail_for_ever;
	actor->faults = true;
	run_life(&world);
	bool failed = sim_fault_count(actor->sim) > 0;
	faults->fail_io_at = faults->fail_alloc_at = 0;
	actor->faults = false;
	world.calm = true;
	if (sim_once_in(&actor->random, 2))
		sim_disk_cut(sim_disk_of(actor->sim), sim_next(&actor->random));
	run_life(&world);
	*trace ^= end_world(&world) * 0x9e3779b97f4a7c15u;
	return failed;
}

/* As SQLite is tested: n = 1, 2, 3... until a run ends in which nothing was left to fail. */
static uint64_t run_nth(uint64_t seed, struct totals *totals) {
	uint64_t trace = 0;
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct sim_faults faults = { .fail_for_ever = kind % 2 };
		do {
			faults.fail_io_at += kind / 2 == 0;
			faults.fail_alloc_at += kind / 2 == 1;
		} while (fail_nth(seed, &faults, totals, &trace));
	}
	return trace;
}

static void print_nth(const struct totals *totals) {
	printf("%llu lives with a fault at their n-th operation or allocation, once or for ever, "
	       "every n of %llu runs: %llu stopped by it; %llu snapshots answered\n",
	       (unsigned long long)totals->faults, (unsigned long long)totals->runs,
	       (unsigned long long)totals->stops, (unsigned long long)totals->counts.snapshots);
}

const struct mode nth_mode = {
	.name = "nth",
	.run = run_nth,
	.goal = offsetof(struct totals, lives),
	.print = print_nth,
};
