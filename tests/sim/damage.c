/*
 * damage.c - disks that lie: rot, writes that were lost or landed elsewhere, files that are gone.
 *
 * Nobody can promise that nothing is lost then. What is promised: Holdfast refuses, and names the
 * place, or is right. One exception is documented (docs/format/log.md): what was acknowledged after
 * the witness last looked, and reads as zeros, looks like what was never written. It is allowed
 * here where the damage made zeros, or took the newest segment away, and counted, but only if it
 * was younger than the witness may be late (WITNESS_NS). So is what the witness had seen, if it was
 * damaged as well, and Holdfast said so.
 */
#include <stdio.h>
#include <string.h>

#include "frame/frame.h"
#include "memo.h"
#include "modes.h"

#define FILES_MAX 64u
/*
 * How long after a commit the witness knows of it, at the latest. A commit that comes while it
 * writes waits for that write's end, then for the 20 ms that it rests, then for the next write. In
 * this world a write takes 0.1 ms and a few turns, which others may have first: 10 ms are far more
 * than that (of 19,000 lives the longest had 20.2 ms in all).
 */
#define WITNESS_NS (20000000u + 2 * 10000000u)

struct place {
	struct actor actor;
	struct totals *totals;
	bool zeros;   /* the damage may have made zeros of what was written */
	bool damaged; /* there was some */
	bool refused;
	bool witness_harmed; /* what stands in acked.hfw may be another thing than was written */
	bool closed;	     /* this life came to its orderly end */
	uint64_t witnessed;  /* on the disk, when the life began */
	uint64_t due;	     /* so much the last life's witness had the time to see */
};

/* The highest LSN that acked.hfw vouches for on this disk: of slots that are damaged, none. */
static uint64_t witnessed(const struct sim_disk *disk) {
	uint64_t highest = 0;
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t sector[HF_SECTOR];
		struct hf_witness_slot slot;
		if (sim_disk_peek(disk, "data", "acked.hfw", i * 4096, sector, sizeof(sector)) &&
		    hf_witness_slot_get(sector, &slot) && slot.lsn > highest)
			highest = slot.lsn;
	}
	return highest;
}

static bool names_a_place(const char *text) {
	return strstr(text, "log-") != NULL || strstr(text, "snapshot-") != NULL ||
	       strstr(text, "position") != NULL || strstr(text, "segments") != NULL ||
	       strstr(text, "acked.hfw") != NULL;
}

static void refuse(struct place *place, const struct hf_err *err) {
	if (!place->damaged || err->status != HF_CORRUPT || !names_a_place(err->text))
		actor_fail(&place->actor, "refused: %s (%s)", hf_status_name(err->status),
			   err->text);
	sim_say("-- refused: %s", err->text);
	place->refused = true;
	place->totals->refusals++;
}

/* What may be missing, if it is. */
static void allow_for_zeros(struct place *place) {
	struct actor *actor = &place->actor;
	uint64_t there = hf_engine_committed(actor->engine);
	if (!place->zeros || there >= actor->floor)
		return;
	if (there < place->witnessed && !actor->unwitnessed)
		return;
	if (there < place->due && !place->witness_harmed)
		return;
	sim_say("-- %llu acknowledged and lost: zeros that the witness had not seen",
		(unsigned long long)(actor->floor - there));
	actor->floor = there;
	place->totals->unseen++;
}

static void live(void *arg) {
	struct place *place = arg;
	struct actor *actor = &place->actor;
	struct hf_err err;
	if (!actor_open(actor, &err)) {
		refuse(place, &err);
		return;
	}
	allow_for_zeros(place);
	actor_check_recovered(actor);
	for (uint32_t contract = 0; contract < CONTRACTS; contract++)
		if (actor->model->contract_versions[contract] == 0)
			(void)actor_load(actor, contract, 1);
	uint32_t steps = 1 + sim_below(&actor->random, actor->is_crowd ? 6 : 30);
	bool rests = sim_once_in(&actor->random, 2);
	for (uint32_t i = 0; i < steps && actor_step(actor); i++) {
		if (sim_once_in(&actor->random, 4))
			actor_look(actor);
		if (sim_once_in(&actor->random, 4))
			actor_settle(actor);
		if (rests && sim_once_in(&actor->random, 4))
			actor_rest(actor);
	}
	if (sim_once_in(&actor->random, 2))
		actor_crash(actor);
	if (!actor_close(actor, &err))
		actor_fail(actor, "closing: %s", err.text);
	place->closed = true;
}

/* The last LSN that was committed so long before the life's end that the witness knows it. */
static uint64_t due(const struct place *place) {
	const struct actor *actor = &place->actor;
	const struct commits *commits = actor->commits;
	uint64_t lsn = commits->last;
	if (place->closed)
		return actor->floor;
	while (lsn > 0 && commits->at_ns[lsn] + WITNESS_NS > sim_time_ns(actor->sim))
		lsn--;
	return lsn;
}

/* Of a disk that nothing was done to: the power cut must have left what the witness wrote. */
static void check_witness(const struct place *place) {
	uint64_t lsn = witnessed(sim_disk_of(place->actor.sim));
	if (!place->damaged && lsn < place->due)
		actor_fail(&place->actor,
			   "the witness knows LSN %llu only, and %llu was committed more than %u "
			   "ms before the end",
			   (unsigned long long)lsn, (unsigned long long)place->due,
			   WITNESS_NS / 1000000);
}

static void run_life(struct place *place) {
	struct actor *actor = &place->actor;
	actor->damage = place->damaged;
	place->witnessed = witnessed(sim_disk_of(actor->sim));
	place->closed = false;
	sim_say("-- a life; %llu to %llu must be recovered, %llu are witnessed",
		(unsigned long long)actor->floor, (unsigned long long)actor->ceiling,
		(unsigned long long)place->witnessed);
	enum sim_end end = sim_run(actor->sim, live, place);
	if (end != SIM_DONE && end != SIM_CRASHED)
		actor_fail(actor, "%s", sim_why(actor->sim));
	place->due = due(place);
	place->totals->lives++;
}

/* ---- damage at rest ---- */

enum harm { FLIP, SCRIBBLE, ZERO, COPY, REMOVE, HARMS };

static void harm(struct place *place, enum harm what) {
	struct sim_random *random = &place->actor.random;
	struct sim_disk *disk = sim_disk_of(place->actor.sim);
	struct sim_name files[FILES_MAX];
	uint8_t sector[HF_SECTOR];
	uint32_t count = (uint32_t)sim_disk_list(disk, "data", files, FILES_MAX);
	const struct sim_name *file = &files[sim_below(random, count)];
	if (file->size < HF_SECTOR)
		return;
	uint64_t sectors = file->size / HF_SECTOR;
	uint64_t at = HF_SECTOR * (uint64_t)sim_below(random, (uint32_t)sectors);
	uint64_t from = at;
	if (what == COPY)
		from = HF_SECTOR * (uint64_t)sim_below(random, (uint32_t)sectors);
	if (!sim_disk_peek(disk, "data", file->text, from, sector, sizeof(sector)))
		return;
	if (what == FLIP)
		sector[sim_below(random, HF_SECTOR)] ^= (uint8_t)(1u << sim_below(random, 8));
	for (uint32_t i = 0; what == SCRIBBLE && i < HF_SECTOR; i++)
		sector[i] = (uint8_t)sim_next(random);
	if (what == ZERO)
		memset(sector, 0, sizeof(sector));
	sim_say("-- harm %d to %s at %llu", what, file->text, (unsigned long long)at);
	place->damaged = true;
	place->zeros |= what == ZERO || what == COPY || what == REMOVE;
	place->witness_harmed |= strcmp(file->text, "acked.hfw") == 0;
	place->totals->damages++;
	if (what == REMOVE)
		sim_disk_unlink(disk, "data", file->text);
	else
		(void)sim_disk_poke(disk, "data", file->text, at, sector, sizeof(sector));
}

/* ---- a run ---- */

static void set_faults(struct place *place) {
	struct sim_random *random = &place->actor.random;
	struct sim_faults *faults = sim_faults_of(place->actor.sim);
	switch (sim_below(random, 5)) {
	case 0:
		faults->lost_write = 1 + sim_below(random, 200);
		place->zeros = true;
		break;
	case 1:
		faults->misdirected = 1 + sim_below(random, 200);
		place->zeros = true;
		break;
	case 2:
		faults->rot_rest = 1 + sim_below(random, 100);
		break;
	case 3:
		faults->rot_read = 1 + sim_below(random, 200);
		break;
	default:
		return; /* at rest */
	}
	place->damaged = place->witness_harmed = true;
}

static uint64_t run(uint64_t seed, struct totals *totals) {
	static struct commits commits;
	struct sim_random random = { seed ^ 0xda3a9e };
	struct place place = {
		.actor = {
			.mode = "damage",
			.seed = seed,
			.model = modes_model(0),
			.clients = modes_clients(0),
			.counts = &totals->counts,
			.commits = &commits,
			.sim = sim_new(seed, sim_disk_new()),
			.options = { .data_dir = "data" },
			.next_id = 1,
		},
		.totals = totals,
	};
	struct actor *actor = &place.actor;
	memset(actor->model, 0, offsetof(struct model, records));
	actor->random = random;
	actor_crowd(actor);
	sim_faults_of(actor->sim)->no_direct = sim_once_in(&random, 2);
	actor->options.flush = sim_once_in(&random, 2) ? HF_FLUSH_AUTO : HF_FLUSH_THREAD;
	uint32_t lives = 2 + sim_below(&actor->random, 3);
	for (uint32_t i = 0; i < lives && !place.refused; i++) {
		if (i > 0 && sim_once_in(&actor->random, 2))
			set_faults(&place);
		memo_set(!sim_once_in(&actor->random, MEMO_NOT_ONE_IN));
		run_life(&place);
		memo_set(false);
		if (sim_once_in(&actor->random, 2)) {
			sim_say("-- the power is cut");
			sim_disk_cut(sim_disk_of(actor->sim), sim_next(&actor->random));
		}
		check_witness(&place);
		if (!sim_once_in(&actor->random, 3))
			harm(&place, sim_below(&actor->random, HARMS));
	}
	uint64_t trace = sim_trace(actor->sim);
	totals->damages += sim_damage_count(actor->sim);
	sim_free(actor->sim);
	return trace;
}

static void print(const struct totals *totals) {
	printf("%llu lives on %llu disks with %llu damages: %llu refused, the others right; %llu "
	       "lost zeros that the witness had not seen; %llu snapshots answered\n",
	       (unsigned long long)totals->lives, (unsigned long long)totals->runs,
	       (unsigned long long)totals->damages, (unsigned long long)totals->refusals,
	       (unsigned long long)totals->unseen, (unsigned long long)totals->counts.snapshots);
}

const struct mode damage_mode = {
	.name = "damage",
	.run = run,
	.goal = offsetof(struct totals, lives),
	.print = print,
};
