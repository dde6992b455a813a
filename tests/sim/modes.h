/*
 * modes.h - the kinds of runs. Each takes one seed, and ends the program if it finds something.
 */
#ifndef TESTS_SIM_MODES_H
#define TESTS_SIM_MODES_H

#include "actor.h"

struct totals {
	uint64_t runs, points, events, moments;
	uint64_t deep, killed, lost_tails; /* of points */
	uint64_t faults, damages, stops, refusals, unseen, lives;
	struct actor_counts counts;
};

/* What a mode's runs are counted in, and how a run is made. */
struct mode {
	const char *name;
	uint64_t (*run)(uint64_t seed, struct totals *totals); /* returns a hash of all it did */
	size_t goal;					       /* offset of the count */
	void (*print)(const struct totals *totals);
};

extern const struct mode points_mode, chaos_mode, nth_mode, damage_mode;

/* Each mode's processes have their own of these, by how deep they are nested. */
struct model *modes_model(uint32_t depth);
struct client *modes_clients(uint32_t depth);
void modes_copy_model(struct model *to, const struct model *from);

#endif
