/*
 * points.c - crash points: runs of the whole engine in a simulated world, and a crash at every
 * moment of them.
 *
 * A crash point is a moment and what of the unsynced writes the disk kept: no two with the same are
 * counted. At each, a fresh process recovers, and is asked.
 */
#include <stdio.h>
#include <string.h>

#include "memo.h"
#include "modes.h"

#define CUTS_PER_MOMENT 10u
#define DEPTH_MAX 3u

/* A process, and what is known of the disk that it runs on. */
struct scene {
	struct actor actor;
	struct scene *parent;
	uint32_t depth;
	struct totals *totals;
	bool was_killed; /* not a power cut: what was not synced is still there */
	uint32_t steps;
};

static void on_moment(void *arg, enum sim_op op);

static struct actor points_actor(uint64_t seed, uint32_t depth, struct totals *totals) {
	struct sim_random random = { seed ^ 0x5eed };
	struct actor actor = {
		.mode = "points",
		.seed = seed,
		.random = random,
		.model = modes_model(depth),
		.clients = modes_clients(depth),
		.counts = &totals->counts,
		.options = { .data_dir = "data" },
		.next_id = 1,
	};
	actor_crowd(&actor);
	actor.options.flush = sim_once_in(&actor.random, 2) ? HF_FLUSH_AUTO : HF_FLUSH_THREAD;
	return actor;
}

/* ---- a process that recovers, and looks around ---- */

static void go_on(struct scene *scene) {
	struct actor *actor = &scene->actor;
	struct hf_err err;
	for (uint32_t i = 0; i < 1 + sim_below(&actor->random, 4); i++)
		if (!actor_step(actor))
			actor_fail(actor, "the engine stopped: %s",
				   hf_engine_stop_reason(actor->engine));
	if (sim_once_in(&actor->random, 2)) {
		actor_settle(actor);
		actor_look(actor);
	}
	if (sim_once_in(&actor->random, 2))
		actor_crash(actor);
	if (!actor_close(actor, &err))
		actor_fail(actor, "closing: %s", err.text);
	if (!actor_open(actor, &err))
		actor_fail(actor, "opening what was closed: %s", err.text);
	actor_check_recovered(actor);
}

static void recover(void *arg) {
	struct scene *scene = arg;
	struct actor *actor = &scene->actor;
	struct hf_err err;
	if (actor->floor > 0 && sim_once_in(&actor->random, 8))
		actor_verify(actor);
	if (!actor_open(actor, &err))
		actor_fail(actor, "recovery refused: %s", err.text);
	actor_check_recovered(actor);
	scene->totals->lost_tails += actor->model->last < actor->ceiling;
	actor_look(actor);
	if (actor->model->contract_versions[ORDER] > 0 && sim_once_in(&actor->random, 8))
		go_on(scene);
	if (sim_once_in(&actor->random, 4)) {
		if (!actor_close(actor, &err))
			actor_fail(actor, "closing: %s", err.text);
	} else {
		actor_crash(actor);
	}
}

/* One crash point. Owns the disk. */
static void try_point(struct scene *parent, struct sim_disk *disk, uint64_t seed, bool killed) {
	struct scene scene = {
		.actor = points_actor(parent->actor.seed, parent->depth + 1, parent->totals),
		.parent = parent,
		.depth = parent->depth + 1,
		.totals = parent->totals,
		.was_killed = killed,
	};
	scene.actor.random.state = seed;
	scene.actor.floor = actor_floor(&parent->actor);
	scene.actor.ceiling = actor_ceiling(&parent->actor);
	scene.actor.snapshot_floor = parent->actor.snapshot_floor;
	scene.actor.keys = parent->actor.keys;
	scene.actor.next_id = parent->actor.next_id;
	modes_copy_model(scene.actor.model, parent->actor.model);
	scene.actor.sim = sim_new(sim_next(&scene.actor.random), disk);
	*sim_faults_of(scene.actor.sim) = *sim_faults_of(parent->actor.sim);
	/* What is recovered after a kill may not be taken back by the power cut that follows. */
	if (scene.depth < DEPTH_MAX && sim_once_in(&scene.actor.random, killed ? 2 : 16))
		sim_set_hook(scene.actor.sim, on_moment, &scene);
	memo_set(!sim_once_in(&scene.actor.random, 64));
	enum sim_end end = sim_run(scene.actor.sim, recover, &scene);
	memo_set(true);
	if (end != SIM_DONE && end != SIM_CRASHED)
		actor_fail(&scene.actor, "recovering: %s", sim_why(scene.actor.sim));
	sim_free(scene.actor.sim);
	scene.totals->points++;
	scene.totals->deep += scene.depth > 1;
	scene.totals->killed += killed;
}

static void on_moment(void *arg, enum sim_op op) {
	struct scene *scene = arg;
	struct sim_random *random = &scene->actor.random;
	uint64_t seen[CUTS_PER_MOMENT];
	uint32_t count = 0, again = 0;
	struct sim_disk *now = sim_disk_of(scene->actor.sim);
	scene->totals->moments++;
	if (scene->depth > 0 && !sim_once_in(random, 4))
		return;
	while (count < CUTS_PER_MOMENT && again < 2) {
		struct sim_disk *disk = sim_disk_clone(now);
		uint64_t kept = sim_disk_cut(disk, sim_next(random)), i = 0;
		while (i < count && seen[i] != kept)
			i++;
		if (i < count) {
			again++;
			sim_disk_free(disk);
			continue;
		}
		seen[count++] = kept;
		try_point(scene, disk, sim_next(random), false);
	}
	if (sim_once_in(random, 8)) {
		struct sim_disk *disk = sim_disk_clone(now);
		sim_kill(scene->actor.sim, disk, sim_next(random));
		try_point(scene, disk, sim_next(random), true);
	}
}

/* ---- a run ---- */

static void live(void *arg) {
	struct scene *scene = arg;
	struct actor *actor = &scene->actor;
	struct hf_err err;
	if (!actor_open(actor, &err))
		actor_fail(actor, "opening a new directory: %s", err.text);
	actor_load(actor, ORDER, 1);
	actor_load(actor, DOOR, 1);
	uint32_t upgrade_at = sim_below(&actor->random, scene->steps * 2);
	/* A log that is full does not change any more: its points would all be of the same one. */
	for (uint32_t i = 0; i < scene->steps && !model_is_full(actor->model); i++) {
		if (i == upgrade_at)
			actor_load(actor, ORDER, 2);
		if (!actor_step(actor))
			actor_fail(actor, "the engine stopped: %s",
				   hf_engine_stop_reason(actor->engine));
		if (sim_once_in(&actor->random, 8))
			actor_look(actor);
		if (sim_once_in(&actor->random, 8))
			actor_settle(actor);
	}
	if (sim_once_in(&actor->random, 2)) {
		actor_settle(actor);
		actor_look(actor);
		if (!actor_close(actor, &err))
			actor_fail(actor, "closing: %s", err.text);
	} else {
		actor_crash(actor);
	}
}

/* Returns the hash of all its I/O. */
static uint64_t run(uint64_t seed, struct totals *totals) {
	struct scene scene = { .actor = points_actor(seed, 0, totals), .totals = totals };
	struct actor *actor = &scene.actor;
	memset(actor->model, 0, offsetof(struct model, records));
	/* Most are short: a long log takes its time in each of its points, and they are alike. */
	scene.steps = 5 + sim_below(&actor->random, sim_once_in(&actor->random, 4) ? 200 : 60);
	if (actor->is_crowd) /* a step is sixteen times as many requests */
		scene.steps = 2 + scene.steps / 8;
	actor->sim = sim_new(seed, sim_disk_new());
	sim_faults_of(actor->sim)->no_direct = sim_once_in(&actor->random, 4);
	sim_faults_of(actor->sim)->no_uring = sim_once_in(&actor->random, 4);
	sim_set_hook(actor->sim, on_moment, &scene);
	memo_set(true);
	enum sim_end end = sim_run(actor->sim, live, &scene);
	memo_set(false);
	if (end != SIM_DONE && end != SIM_CRASHED)
		actor_fail(actor, "%s", sim_why(actor->sim));
	uint64_t trace = sim_trace(actor->sim);
	sim_free(actor->sim);
	totals->events += actor->model->last;
	return trace ^ sim_next(&actor->random);
}

static void print(const struct totals *totals) {
	printf("%llu crash points in %llu runs of %llu events: %llu in a recovery, %llu after a "
	       "kill; %llu lost a tail that nobody was told of; %llu snapshots answered, %llu "
	       "refused\n",
	       (unsigned long long)totals->points, (unsigned long long)totals->runs,
	       (unsigned long long)totals->events, (unsigned long long)totals->deep,
	       (unsigned long long)totals->killed, (unsigned long long)totals->lost_tails,
	       (unsigned long long)totals->counts.snapshots,
	       (unsigned long long)totals->counts.snapshots_refused);
}

const struct mode points_mode = {
	.name = "points",
	.run = run,
	.goal = offsetof(struct totals, points),
	.print = print,
};
