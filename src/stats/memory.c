/*
 * memory.c - banks and cells: what is counted, and how it is added up.
 */
#include <string.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "stats/stats_private.h"

#define OCTAVE_BYTES (OCTAVE * sizeof(uint64_t))
/* This octave is no piece of memory of its own: it stands behind the first. */
#define SECOND ((uint64_t)1 << 1)

static size_t counts_bytes(const struct hf_stats *stats) {
	return (stats->counters_max * sizeof(uint64_t) + 63) / 64 * 64;
}

size_t hf_bank_bytes(const struct hf_stats *stats) {
	return counts_bytes(stats) + stats->histograms_max * sizeof(struct hf_stats_cells);
}

uint8_t *hf_bank_init(const struct hf_stats *stats, struct bank *bank, uint8_t *at) {
	bank->counts = (uint64_t *)at;
	bank->cells = (struct hf_stats_cells *)(at + counts_bytes(stats));
	return at + hf_bank_bytes(stats);
}

void hf_bank_fini(const struct hf_stats *stats, struct bank *bank) {
	for (uint32_t i = 0; i < stats->histogram_count; i++)
		hf_cells_fini(&bank->cells[i]);
}

void hf_cells_fini(struct hf_stats_cells *cells) {
	for (uint64_t left = cells->made & ~SECOND; left != 0; left &= left - 1)
		hf_memory_free(cells->octaves[__builtin_ctzll(left)]);
}

/* All but the buckets. */
static void add_sums(struct hf_stats_cells *to, const struct hf_stats_cells *from) {
	/* Both may be the same. */
	uint64_t high = from->sum_high;
	high += __builtin_add_overflow(to->sum, from->sum, &to->sum);
	to->sum_high += high;
	if (from->max > to->max)
		to->max = from->max;
}

static void put_octave(struct hf_stats_cells *cells, uint32_t i, uint64_t *octave) {
	cells->octaves[i] = octave;
	cells->made |= (uint64_t)1 << i;
}

/* NULL: out of memory. */
static uint64_t *make_octave(struct hf_stats_cells *cells, uint32_t i) {
	uint64_t *made = hf_memory_new(i < 2 ? 2 * OCTAVE_BYTES : OCTAVE_BYTES);
	if (made != NULL && i < 2) {
		put_octave(cells, 0, made);
		put_octave(cells, 1, made + OCTAVE);
	} else if (made != NULL) {
		put_octave(cells, i, made);
	}
	return cells->octaves[i];
}

static void add_octave(uint64_t *to, const uint64_t *from) {
	for (uint32_t i = 0; i < OCTAVE; i++)
		to[i] += from[i];
}

void hf_cells_move(struct hf_stats_cells *to, struct hf_stats_cells *from) {
	hf_plain_writes(from, sizeof(*from));
	add_sums(to, from);
	from->sum = from->sum_high = from->max = 0;
	for (uint64_t left = from->made; left != 0; left &= left - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(left);
		uint64_t *octave = from->octaves[i];
		hf_plain_writes(octave, OCTAVE_BYTES);
		if (to->octaves[i] == NULL) {
			put_octave(to, i, octave);
			from->octaves[i] = NULL;
			from->made ^= (uint64_t)1 << i;
		} else {
			add_octave(to->octaves[i], octave);
			memset(octave, 0, OCTAVE_BYTES);
		}
	}
}

bool hf_cells_reserve(struct hf_stats_cells *to, const struct hf_stats_cells *from) {
	for (uint64_t left = from->made & ~to->made & ~SECOND; left != 0; left &= left - 1)
		if (make_octave(to, (uint32_t)__builtin_ctzll(left)) == NULL)
			return false;
	return true;
}

bool hf_cells_add(struct hf_stats_cells *to, const struct hf_stats_cells *from) {
	if (!hf_cells_reserve(to, from))
		return false;
	add_sums(to, from);
	for (uint64_t left = from->made; left != 0; left &= left - 1) {
		int i = __builtin_ctzll(left);
		add_octave(to->octaves[i], from->octaves[i]);
	}
	return true;
}

void hf_cells_copy(struct hf_stats_cells *to, const struct hf_stats_cells *from) {
	to->sum = from->sum;
	to->sum_high = from->sum_high;
	to->max = from->max;
	for (uint64_t left = to->made; left != 0; left &= left - 1) {
		int i = __builtin_ctzll(left);
		if (from->octaves[i] != NULL)
			memcpy(to->octaves[i], from->octaves[i], OCTAVE_BYTES);
		else
			memset(to->octaves[i], 0, OCTAVE_BYTES);
	}
}

uint64_t *hf_stats_octave(struct hf_stats_thread *thread, uint32_t slot, uint32_t octave) {
	uint64_t *made = make_octave(&thread->cells[slot], octave);
	if (made == NULL)
		thread->counts[SLOT_LOST]++;
	return made;
}
