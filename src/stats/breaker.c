/*
 * breaker.c - when counting itself is slow, a thread stops counting for a while, and tries again.
 *
 * The sample is counting as it is done: additions (of nothing) to real slots, between two readings
 * of the clock, which are what measuring a duration costs. What makes them slow is a machine that
 * swaps, a host that takes the processor away again and again, a clock source that traps. Gauges
 * are set all the same: one that was missed may not be set again for long.
 */
#include "base/atomic.h"
#include "os/clock.h"
#include "stats/stats_private.h"

#define PROBES 64u

void hf_breaker_init(struct seat *seat) {
	seat->until_sample = HF_STATS_SAMPLE_EVERY;
	seat->pause_ns = HF_STATS_PAUSE_MIN_NS;
	seat->slow = 0;
	seat->open = false;
	hf_atomic_store(&seat->told_open, 0, HF_RELAXED);
}

void hf_seat_point(struct seat *seat) {
	struct bank *bank = &seat->banks[seat->current % 2];
	bool counts = !seat->open && !seat->rests;
	seat->hot.counts = counts ? bank->counts : NULL;
	seat->hot.cells = counts ? bank->cells : NULL;
}

void hf_stats_skip(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	HF_ASSERT(!seat->rests); /* a thread that rests does not count */
	hf_atomic_store(&seat->skipped, seat->skipped + 1, HF_RELAXED);
}

uint64_t *hf_stats_gauges(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	HF_ASSERT(!seat->rests); /* a thread that rests does not count */
	return seat->banks[seat->current % 2].counts;
}

/* Adds nothing to slots that are next to each other; each time to others. */
static void count_nothing(struct seat *seat) {
	volatile uint64_t *counts = seat->banks[seat->current % 2].counts;
	uint32_t slots = hf_atomic_load(&seat->stats->slot_count, HF_RELAXED);
	for (uint32_t i = 0; i < PROBES; i++) {
		if (++seat->probed >= slots)
			seat->probed = 0;
		counts[seat->probed] += 0;
	}
}

static void begin_pause(struct seat *seat, uint64_t now_ns) {
	seat->close_at_ns = now_ns + seat->pause_ns;
	seat->until_sample = seat->away = 1;
}

static void set_open(struct seat *seat, bool open, uint64_t now_ns) {
	seat->open = open;
	seat->slow = 0;
	if (open)
		begin_pause(seat, now_ns);
	hf_atomic_store(&seat->told_open, open, HF_RELAXED);
	if (open)
		hf_atomic_store(&seat->openings, seat->openings + 1, HF_RELAXED);
	hf_seat_point(seat);
}

/*
 * A pause is one of time, and a thread may pass a quiescent point a second, or a hundred million.
 * The second must not look at a clock that may be what is slow each time. So from one look to the
 * next there are twice as many: the pause is exceeded by no more than itself, or one interval.
 */
static bool pause_is_over(struct seat *seat, uint64_t now_ns) {
	if (now_ns >= seat->close_at_ns)
		return true;
	if (seat->away < HF_STATS_SAMPLE_EVERY)
		seat->away *= 2;
	seat->until_sample = seat->away;
	return false;
}

void hf_breaker_sample(struct seat *seat) {
	seat->until_sample = HF_STATS_SAMPLE_EVERY;
	uint64_t begun_ns = hf_clock_monotonic_ns();
	if (seat->open && !pause_is_over(seat, begun_ns))
		return;
	count_nothing(seat);
	uint64_t now_ns = hf_clock_monotonic_ns();
	bool slow = (now_ns - begun_ns + PROBES - 1) / PROBES > seat->stats->slow_ns;
	if (!seat->open) {
		seat->slow = slow ? seat->slow + 1 : 0;
		if (slow)
			seat->until_sample = HF_STATS_SAMPLE_SOON;
		if (seat->slow == HF_STATS_SLOW_SAMPLES)
			set_open(seat, true, now_ns);
	} else if (slow) {
		seat->pause_ns *= 2;
		if (seat->pause_ns > HF_STATS_PAUSE_MAX_NS)
			seat->pause_ns = HF_STATS_PAUSE_MAX_NS;
		begin_pause(seat, now_ns);
	} else {
		seat->pause_ns = HF_STATS_PAUSE_MIN_NS;
		set_open(seat, false, now_ns);
	}
}
