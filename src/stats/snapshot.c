/*
 * snapshot.c - what was collected, copied for a reader, and read.
 */
#include <string.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "os/memory.h"
#include "stats/stats_private.h"

static size_t snapshot_bytes(const struct hf_stats *stats) {
	return sizeof(struct hf_stats_snapshot) + 64 + hf_bank_bytes(stats);
}

enum hf_status hf_stats_snapshot_new(struct hf_stats *stats, struct hf_stats_snapshot **ret,
				     char *err, size_t err_cap) {
	struct hf_err why;
	struct hf_stats_snapshot *snapshot = hf_pages_new(snapshot_bytes(stats));
	if (snapshot == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory for a snapshot of counters");
		return hf_err_tell(&why, err, err_cap);
	}
	snapshot->stats = stats;
	hf_bank_init(stats, &snapshot->values,
		     (uint8_t *)snapshot + (sizeof(*snapshot) + 63) / 64 * 64);
	*ret = snapshot;
	return HF_OK;
}

void hf_stats_snapshot_free(struct hf_stats_snapshot *snapshot) {
	if (snapshot == NULL)
		return;
	for (uint32_t i = 0; i < snapshot->histogram_count; i++)
		hf_cells_fini(&snapshot->values.cells[i]);
	hf_pages_free(snapshot, snapshot_bytes(snapshot->stats));
}

static void tell_about(struct hf_stats_snapshot *snapshot, bool fresh) {
	const struct hf_stats *stats = snapshot->stats;
	struct hf_stats_about *about = &snapshot->about;
	*about = (struct hf_stats_about){
		.fresh = fresh,
		.number = stats->settled - 1,
		.time_ns = stats->total_ns,
	};
	for (uint32_t i = 0; i < stats->seat_count; i++) {
		struct seat *seat = stats->seats[i];
		about->threads += seat->taken;
		about->openings += hf_atomic_load(&seat->openings, HF_RELAXED);
		about->skipped += hf_atomic_load(&seat->skipped, HF_RELAXED);
		about->open += seat->taken && hf_atomic_load(&seat->told_open, HF_RELAXED);
		if (fresh || hf_atomic_load(&seat->seen, HF_RELAXED) >= stats->epoch)
			continue;
		memcpy(snapshot->late[about->late++], seat->name, sizeof(seat->name));
	}
}

bool hf_stats_fill(struct hf_stats_snapshot *snapshot, bool fresh, struct hf_err *err) {
	const struct hf_stats *stats = snapshot->stats;
	/* First, so that what is reserved is freed, whatever happens. */
	snapshot->histogram_count = stats->histogram_count;
	for (uint32_t i = 0; i < stats->histogram_count; i++)
		if (!hf_cells_reserve(&snapshot->values.cells[i], &stats->total.cells[i]))
			return hf_fail(err, HF_NOMEM, "out of memory for a snapshot of counters");
	snapshot->key_count = stats->key_count;
	snapshot->slot_count = stats->slot_count;
	memcpy(snapshot->values.counts, stats->total.counts, stats->slot_count * sizeof(uint64_t));
	for (uint32_t i = 0; i < stats->histogram_count; i++)
		hf_cells_copy(&snapshot->values.cells[i], &stats->total.cells[i]);
	tell_about(snapshot, fresh);
	return true;
}

void hf_stats_about(const struct hf_stats_snapshot *snapshot, struct hf_stats_about *ret) {
	*ret = snapshot->about;
}

const char *hf_stats_late(const struct hf_stats_snapshot *snapshot, uint32_t i) {
	return i < snapshot->about.late ? snapshot->late[i] : "";
}

/* ---- values ---------------------------------------------------------------------------------- */

uint64_t hf_stats_count(const struct hf_stats_snapshot *snapshot, struct hf_counter counter) {
	return counter.slot < snapshot->slot_count ? snapshot->values.counts[counter.slot] : 0;
}

int64_t hf_stats_level(const struct hf_stats_snapshot *snapshot, struct hf_gauge gauge) {
	return (int64_t)hf_stats_count(snapshot, (struct hf_counter){ gauge.slot + 1 });
}

static const struct hf_stats_cells *cells_of(const struct hf_stats_snapshot *snapshot,
					     struct hf_histogram histogram) {
	static const struct hf_stats_cells none;
	return histogram.slot < snapshot->histogram_count ? &snapshot->values.cells[histogram.slot]
							  : &none;
}

static uint64_t count_octave(const uint64_t *octave) {
	uint64_t count = 0;
	for (uint32_t i = 0; i < OCTAVE; i++)
		count += octave[i];
	return count;
}

static uint64_t count_values(const struct hf_stats_cells *cells) {
	uint64_t count = 0;
	for (uint64_t left = cells->made; left != 0; left &= left - 1)
		count += count_octave(cells->octaves[__builtin_ctzll(left)]);
	return count;
}

void hf_stats_summary(const struct hf_stats_snapshot *snapshot, struct hf_histogram histogram,
		      struct hf_stats_summary *ret) {
	const struct hf_stats_cells *cells = cells_of(snapshot, histogram);
	uint64_t count = count_values(cells);
	*ret = (struct hf_stats_summary){
		.count = count,
		.sum = cells->sum,
		.sum_high = cells->sum_high,
		.max = cells->max,
	};
	if (count > 0)
		ret->mean = ((double)cells->sum_high * 0x1p64 + (double)cells->sum) / (double)count;
}

/* The middle of a bucket. */
static uint64_t value_of(uint32_t octave, uint32_t sub) {
	if (octave < 2)
		return octave * OCTAVE + sub;
	uint32_t shift = octave - 1;
	return ((uint64_t)(OCTAVE + sub) << shift) + (((uint64_t)1 << shift) - 1) / 2;
}

uint64_t hf_stats_quantile(const struct hf_stats_snapshot *snapshot, struct hf_histogram histogram,
			   double q) {
	const struct hf_stats_cells *cells = cells_of(snapshot, histogram);
	uint64_t count = count_values(cells);
	double wanted = q * (double)count;
	/* How many values are not above the one that is looked for, itself included. */
	uint64_t rank = wanted >= (double)count ? count : wanted > 1 ? (uint64_t)wanted : 1;
	/* A part k/n of n values are k, also where k/n and its product were rounded up. */
	if (rank < count && wanted - (double)rank > wanted * 0x1p-51)
		rank++;
	if (rank == count)
		return cells->max;
	for (uint64_t left = cells->made; left != 0; left &= left - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(left);
		uint64_t here = count_octave(cells->octaves[i]);
		if (rank > here) {
			rank -= here;
			continue;
		}
		uint32_t sub = 0;
		while (rank > cells->octaves[i][sub])
			rank -= cells->octaves[i][sub++];
		uint64_t value = value_of(i, sub);
		return value < cells->max ? value : cells->max;
	}
	HF_ASSERT(false);
	return 0;
}

enum hf_status hf_stats_merge(struct hf_stats_snapshot *into_snapshot, struct hf_histogram into,
			      const struct hf_stats_snapshot *from_snapshot,
			      struct hf_histogram from) {
	HF_ASSERT(into.slot < into_snapshot->stats->histograms_max);
	/* It has room for all; those that it does not know yet are empty. */
	if (into.slot >= into_snapshot->histogram_count)
		into_snapshot->histogram_count = into.slot + 1;
	return hf_cells_add(&into_snapshot->values.cells[into.slot], cells_of(from_snapshot, from))
		       ? HF_OK
		       : HF_NOMEM;
}

uint32_t hf_stats_item_count(const struct hf_stats_snapshot *snapshot) {
	return snapshot->key_count;
}

void hf_stats_item(const struct hf_stats_snapshot *snapshot, uint32_t i,
		   struct hf_stats_item *ret) {
	HF_ASSERT(i < snapshot->key_count);
	const struct key *key = &snapshot->stats->keys[i];
	*ret = (struct hf_stats_item){ .name = key->name, .kind = key->kind };
	switch (key->kind) {
	case HF_STATS_COUNTER:
		ret->count = hf_stats_count(snapshot, (struct hf_counter){ key->slot });
		break;
	case HF_STATS_GAUGE:
		ret->level = hf_stats_level(snapshot, (struct hf_gauge){ key->slot - 1 });
		break;
	case HF_STATS_HISTOGRAM:
		ret->histogram.slot = key->slot;
		ret->count = count_values(cells_of(snapshot, ret->histogram));
		break;
	}
}
