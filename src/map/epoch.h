/*
 * epoch.h - when is what was taken out of the map out of everyone's sight?
 *
 * A thread that looks into the map is pinned: it stores the epoch that it read into its own line,
 * and nothing else. What is taken out gets a stamp, the epoch of that moment. Whoever wants it back
 * begins a new epoch, lets all running threads pass a fence (so that pinning needs none), and looks
 * at the pins: what is stamped with an epoch older than all of them by two, nobody can reach any
 * more.
 *
 * One is not enough. Who takes something out may still read the old epoch when a reader has already
 * pinned the new one, and that reader may be before the fence: it finds what is taken out just
 * then. A reader that has pinned the epoch after that has passed the fence.
 */
#ifndef HF_MAP_EPOCH_H
#define HF_MAP_EPOCH_H

#include "base/atomic.h"

/* A thread's line. Only its thread stores into it. */
struct hf_pin {
	uint64_t epoch; /* 0: not pinned */
	bool fences;	/* hf_fence_heavy does not work here: each pin needs a fence of its own */
	const char *name;
	struct hf_pin *next; /* in the list of all */
};

struct hf_epochs {
	uint64_t now; /* from 1 on; read by every pin, written when something is wanted back */
	uint64_t padding[7];
	uint64_t safe;	 /* what was stamped before this is out of sight */
	uint64_t fenced; /* every thread has passed a fence since this epoch began */
	struct hf_pin *pins;
	uint32_t lock; /* of all that follows `now` */
	bool fences;
};

void hf_epochs_init(struct hf_epochs *epochs);
void hf_epochs_add(struct hf_epochs *epochs, struct hf_pin *pin);
/* The pin must not be pinned. */
void hf_epochs_remove(struct hf_epochs *epochs, struct hf_pin *pin);

/*
 * From here to hf_unpin, what this thread reaches stays there. Nests: a pin within a pin does
 * nothing. Returns what hf_unpin wants to know.
 */
static inline uint64_t hf_pin_fast(const struct hf_epochs *epochs, struct hf_pin *pin) {
	uint64_t outer = hf_atomic_load(&pin->epoch, HF_RELAXED);
	uint64_t now = hf_atomic_load(&epochs->now, HF_ACQUIRE);
	hf_atomic_store(&pin->epoch, outer != 0 ? outer : now, HF_RELEASE);
	hf_fence_light();
	return outer;
}

/* The same, also where every pin needs a fence. */
static inline uint64_t hf_pin(const struct hf_epochs *epochs, struct hf_pin *pin) {
	uint64_t outer = hf_pin_fast(epochs, pin);
	if (__builtin_expect(pin->fences, 0))
		hf_fence(HF_SEQ_CST);
	return outer;
}

static inline void hf_unpin(struct hf_pin *pin, uint64_t outer) {
	hf_atomic_store(&pin->epoch, outer, HF_RELEASE);
}

/* The stamp for what has just been taken out. */
uint64_t hf_epochs_stamp(const struct hf_epochs *epochs);
/* The same where pins need no fence: what was taken out is taken out before the epoch is read. */
static inline uint64_t hf_epochs_stamp_fast(const struct hf_epochs *epochs) {
	hf_fence_light();
	return hf_atomic_load(&epochs->now, HF_ACQUIRE);
}
/* Out of sight already, as far as is known? Costs nothing. */
static inline bool hf_epochs_known(const struct hf_epochs *epochs, uint64_t stamp) {
	return stamp < hf_atomic_load(&epochs->safe, HF_ACQUIRE);
}
/*
 * Finds out whether it is: microseconds, at most twice per stamp; later calls only look at the
 * pins. False also if another thread is just finding out.
 */
bool hf_epochs_passed(struct hf_epochs *epochs, uint64_t stamp);
/* Who holds up `stamp`: copies the name of one such thread; false if nobody does. */
bool hf_epochs_culprit(struct hf_epochs *epochs, uint64_t stamp, char *ret_name, uint32_t cap);

#endif
