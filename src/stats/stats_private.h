/*
 * stats_private.h - the insides of src/stats.
 */
#ifndef HF_STATS_PRIVATE_H
#define HF_STATS_PRIVATE_H

#include "base/assert.h"
#include "base/err.h"
#include "base/limits.h"
#include "holdfast/stats.h"
#include "os/thread.h"

#define OCTAVE 128u	   /* buckets */
#define RESTS UINT64_MAX   /* instead of an epoch: no snapshot needs to wait for the thread */
#define SLOT_WITHOUT_KEY 0 /* of counters and of histograms */
#define SLOT_LEVEL 1	   /* of gauges without a key */
#define SLOT_LOST 2	   /* counter: records for which there was no memory */

_Static_assert(sizeof(struct hf_stats_cells) == 512, "an index is a shift");

/* A counter's or a gauge's slot is one of `counts`, a histogram's one of `cells`. */
struct bank {
	uint64_t *counts;
	struct hf_stats_cells *cells;
};

/*
 * A thread's place; when it leaves, another one takes it over, with all that is in it. The thread
 * counts in banks[current % 2]; the other bank is the collector's, once `seen` says so.
 */
struct seat {
	struct hf_stats_thread hot; /* first: it is what the thread has of it */
	struct hf_stats *stats;
	struct bank banks[2];
	uint64_t current; /* the epoch that it counts in */
	bool rests;

	/* The breaker's; the thread's own. */
	uint32_t until_sample; /* quiescent points */
	uint32_t away;	       /* open: the next look at the clock is so many of them away */
	uint32_t probed;       /* slot */
	uint32_t slow;	       /* samples in a row */
	bool open;
	uint64_t pause_ns, close_at_ns;

	/* Written by the thread, read by the collector. */
	_Alignas(64) uint64_t seen; /* `current`, or RESTS */
	uint64_t openings, skipped;
	uint32_t told_open;

	/* Under the mutex. */
	bool taken;
	void (*pass)(void *arg); /* NULL: one thread alone uses it */
	void *arg;
	char name[HF_STATS_THREAD_NAME_MAX + 1];
};

/* Names of keys, one behind the other. */
struct names {
	struct names *before;
	size_t used;
	char text[2032];
};

struct key {
	const char *name; /* in `names` */
	uint32_t slot;
	enum hf_stats_kind kind;
};

struct hf_stats {
	_Alignas(64) uint64_t epoch; /* read by every thread at every quiescent point */

	_Alignas(64) uint64_t slow_ns;
	uint32_t counters_max, histograms_max;
	struct bank total; /* all that was collected: the last complete snapshot */
	struct names *names;
	struct key *keys;  /* never moved: below key_count they may be read without the mutex */
	uint32_t *buckets; /* key + 1, by the name's hash; 0: empty */
	uint32_t bucket_mask;
	uint32_t slot_count; /* of counters and gauges; also read without the mutex */

	struct hf_mutex mutex; /* guards what follows and the three above */
	struct hf_cond moved;
	bool taking; /* some thread flips and collects */
	uint32_t key_count, histogram_count, seat_count;
	uint64_t settled; /* the epoch up to which (exclusively) all is in `total` */
	int64_t flip_ns;  /* wall clock, when `epoch` began */
	int64_t total_ns; /* wall clock, of `total`'s instant */
	struct seat *seats[HF_STATS_THREADS_MAX];
};

struct hf_stats_snapshot {
	const struct hf_stats *stats;
	struct hf_stats_about about;
	char late[HF_STATS_THREADS_MAX][HF_STATS_THREAD_NAME_MAX + 1];
	uint32_t key_count, slot_count, histogram_count;
	struct bank values;
};

/* `by_ns` later, or the end of time. */
static inline uint64_t hf_later_ns(uint64_t now_ns, uint64_t by_ns) {
	return by_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + by_ns;
}

/* ---- stats.c */

/*
 * As hf_stats_take, but hf_stats_cancel of the same `cancel` (NULL: none) ends the wait, as the
 * deadline does.
 */
enum hf_status hf_stats_take_until(struct hf_stats *stats, struct hf_stats_thread *self,
				   uint64_t deadline_ns, const bool *cancel,
				   struct hf_stats_snapshot *snapshot, char *err, size_t err_cap);
void hf_stats_cancel(struct hf_stats *stats, bool *cancel);

/* ---- memory.c */

/* Bytes of a bank's two arrays. */
size_t hf_bank_bytes(const struct hf_stats *stats);
/* Lays them down at `at`; returns the first byte behind. */
uint8_t *hf_bank_init(const struct hf_stats *stats, struct bank *bank, uint8_t *at);
/* Its octaves; the arrays are the owner's. */
void hf_bank_fini(const struct hf_stats *stats, struct bank *bank);
void hf_cells_fini(struct hf_stats_cells *cells);
/* Adds and sets to zero; takes the memory of octaves that `to` does not have. Cannot fail. */
void hf_cells_move(struct hf_stats_cells *to, struct hf_stats_cells *from);
/* Adds. False: out of memory, nothing was added. */
HF_MUST bool hf_cells_add(struct hf_stats_cells *to, const struct hf_stats_cells *from);
/* Makes `to` the same as `from`; needs no memory once hf_cells_reserve has been through. */
HF_MUST bool hf_cells_reserve(struct hf_stats_cells *to, const struct hf_stats_cells *from);
void hf_cells_copy(struct hf_stats_cells *to, const struct hf_stats_cells *from);

/* ---- snapshot.c */

/* Copies the totals and who is late. Under the mutex. */
HF_MUST bool hf_stats_fill(struct hf_stats_snapshot *snapshot, bool fresh, struct hf_err *err);

/* ---- breaker.c */

void hf_breaker_init(struct seat *seat);
/* At a quiescent point, when `until_sample` is over. */
void hf_breaker_sample(struct seat *seat);
/* Where the thread counts from now on. */
void hf_seat_point(struct seat *seat);

#endif
