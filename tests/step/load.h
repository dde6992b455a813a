/*
 * load.h - the program whose every instruction is stepped, and what must hold of what it leaves.
 *
 * The events are the same in every run: event i has LSN i + 2, behind the contract's.
 */
#ifndef TEST_STEP_LOAD_H
#define TEST_STEP_LOAD_H

#include <stdatomic.h>

#include "engine/engine.h"

#define SEGMENT_SIZE HF_SEGMENT_SIZE_MIN

struct plan {
	enum hf_flush_mode flush;
	uint32_t group;	     /* events per group; two groups, one behind the other, are the path */
	bool at_segment_end; /* the path enters the next segment */
	bool lie;	     /* acknowledges before the disk has it: must be caught */
};

/* Where the program tells; shared with the one that steps it. */
struct shared {
	_Atomic uint64_t acknowledged; /* highest LSN */
	_Atomic bool finished;
	bool io_uring;		 /* is what writes the log; otherwise a thread */
	uint64_t first_event;	 /* of the path; those before are acknowledged when it begins */
	uint64_t begin_position; /* in the log */
};

/* What each LSN must leave: learned from a run that nobody disturbs. */
struct expected {
	uint64_t version;
	uint8_t hash[16];
};

/*
 * Opens `dir`, makes ready, raises SIGSTOP, runs the path, raises SIGSTOP again. Does not return.
 */
_Noreturn void load_run(const char *dir, const struct plan *plan, struct shared *shared);

/* `events` events in the new directory `dir`: ret[lsn] for every LSN up to events + 1. */
void load_learn(const char *dir, uint64_t events, struct expected *ret);

/*
 * Recovers `dir`: the state is exactly that of its last LSN, which is returned, and the events from
 * `first` to before `end`, sent again, get their replies and end in the expected state. False: what
 * is wrong is in `err`.
 */
bool load_recover(const char *dir, uint64_t first, uint64_t end, const struct expected *expected,
		  uint64_t *ret_lsn, struct hf_err *err);

#endif
