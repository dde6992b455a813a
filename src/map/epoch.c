#include "map/epoch.h"

#include <stdio.h>

#include "map/lock.h"

void hf_epochs_init(struct hf_epochs *epochs) {
	*epochs = (struct hf_epochs){ .now = 1, .fences = !hf_fence_heavy_works() };
}

void hf_epochs_add(struct hf_epochs *epochs, struct hf_pin *pin) {
	hf_lock(&epochs->lock);
	pin->epoch = 0;
	pin->fences = epochs->fences;
	pin->next = epochs->pins;
	epochs->pins = pin;
	hf_unlock(&epochs->lock);
}

void hf_epochs_remove(struct hf_epochs *epochs, struct hf_pin *pin) {
	hf_lock(&epochs->lock);
	struct hf_pin **at = &epochs->pins;
	while (*at != pin)
		at = &(*at)->next;
	*at = pin->next;
	hf_unlock(&epochs->lock);
}

static void fence(const struct hf_epochs *epochs) {
	if (epochs->fences)
		hf_fence(HF_SEQ_CST);
	else
		hf_fence_heavy();
}

uint64_t hf_epochs_stamp(const struct hf_epochs *epochs) {
	if (epochs->fences)
		hf_fence(HF_SEQ_CST);
	return hf_epochs_stamp_fast(epochs);
}

bool hf_epochs_passed(struct hf_epochs *epochs, uint64_t stamp) {
	if (hf_epochs_known(epochs, stamp))
		return true;
	if (!hf_lock_try(&epochs->lock))
		return false;
	if (stamp + 1 >= epochs->fenced) {
		uint64_t next = epochs->now + 1;
		hf_atomic_store(&epochs->now, next, HF_RELEASE);
		/*
		 * Behind it, every thread either shows its pin, or has yet to pin itself, and will
		 * not find what was taken out before.
		 */
		fence(epochs);
		epochs->fenced = next;
	}
	uint64_t safe = epochs->fenced;
	for (struct hf_pin *pin = epochs->pins; pin != NULL; pin = pin->next) {
		uint64_t pinned = hf_atomic_load(&pin->epoch, HF_ACQUIRE);
		if (pinned != 0 && pinned - 1 < safe)
			safe = pinned - 1;
	}
	if (safe > epochs->safe)
		hf_atomic_store(&epochs->safe, safe, HF_RELEASE);
	hf_unlock(&epochs->lock);
	return stamp < safe;
}

bool hf_epochs_culprit(struct hf_epochs *epochs, uint64_t stamp, char *ret_name, uint32_t cap) {
	bool found = false;
	hf_lock(&epochs->lock);
	for (struct hf_pin *pin = epochs->pins; pin != NULL && !found; pin = pin->next) {
		uint64_t pinned = hf_atomic_load(&pin->epoch, HF_RELAXED);
		found = pinned != 0 && pinned <= stamp + 1;
		if (found)
			snprintf(ret_name, cap, "%s", pin->name);
	}
	hf_unlock(&epochs->lock);
	return found;
}
