/*
 * stats.h - exact counters, gauges and histograms for many threads, at the price of an addition.
 *
 * Each thread counts in memory of its own, between quiescent points, which it announces: a turn of
 * its loop, a batch, a request. A snapshot is exact as of one instant: it has the whole of each
 * interval between two quiescent points that began before the instant, and nothing of those that
 * began after it. So what holds at every quiescent point (as many begun as ended, say) holds in
 * every snapshot. src/stats/README.md has the argument.
 *
 *     hf_stats_counter(stats, "orders.filled", &filled, err, sizeof(err));    once
 *     hf_stats_join(stats, "worker-1", &thread, err, sizeof(err));            once a thread
 *     for (;;) {
 *             hf_stats_quiescent(thread);
 *             ... hf_count(thread, filled, 1); ...
 *     }
 *
 * Thread rules: a struct hf_stats_thread is used by one thread at a time: the one that joined, or,
 * where a lock goes around, whoever holds that. All else may be called from any thread, unless it
 * says otherwise.
 */
#ifndef HOLDFAST_STATS_H
#define HOLDFAST_STATS_H

#include "holdfast.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hf_stats;

struct hf_stats_options {
	uint32_t counters;   /* room for so many, gauges included; 0: 1024 */
	uint32_t histograms; /* 0: 64 */
	/* The breaker opens where a count takes longer than this, on average; 0: 100. */
	uint64_t slow_ns;
};

/*
 * Memory: for each thread 24 bytes a counter and 1024 a histogram of that room, of which the system
 * gives what is touched, and at most 119 kB for each histogram that it records in. HF_TOOBIG: more
 * than 1,048,576 counters or 4,096 histograms. HF_NOMEM. `err` (of err_cap bytes) gets the reason,
 * here and below.
 */
HF_API enum hf_status hf_stats_new(const struct hf_stats_options *options, struct hf_stats **ret,
				   char *err, size_t err_cap);
/* No thread may be joined, and no snapshot or archiver be left. NULL is fine. */
HF_API void hf_stats_free(struct hf_stats *stats);

/* ---- keys ------------------------------------------------------------------------------------ */

/*
 * A key is registered once and has its slot for ever; no two share one. The same name of the same
 * kind again gives the same key. All zeros is a key, too, for what could not be registered:
 * "stats.without_key", a gauge's "stats.without_key.level", a histogram's
 * "stats.without_key.recorded".
 */
struct hf_counter {
	uint32_t slot;
};
struct hf_gauge {
	uint32_t slot; /* less one: slot 0 is a counter's */
};
struct hf_histogram {
	uint32_t slot;
};

/*
 * Names are 1 to 319 visible ASCII characters. HF_USAGE: it is none, or one of another kind;
 * HF_TOOBIG: no room is left; HF_NOMEM. *ret is zeros then.
 */
HF_API enum hf_status hf_stats_counter(struct hf_stats *stats, const char *name,
				       struct hf_counter *ret, char *err, size_t err_cap);
HF_API enum hf_status hf_stats_gauge(struct hf_stats *stats, const char *name, struct hf_gauge *ret,
				     char *err, size_t err_cap);
HF_API enum hf_status hf_stats_histogram(struct hf_stats *stats, const char *name,
					 struct hf_histogram *ret, char *err, size_t err_cap);

/* ---- threads --------------------------------------------------------------------------------- */

#define HF_STATS_OCTAVES 58 /* of buckets: 128 for 0 to 127, and 128 for each power of two */

/* What a thread records in one histogram. */
struct hf_stats_cells {
	uint64_t sum, sum_high, max;
	uint64_t made;			     /* which octaves there are: a bit each */
	uint64_t spare[2];		     /* 512 bytes in all */
	uint64_t *octaves[HF_STATS_OCTAVES]; /* the first two: both or none */
};

/* What the inline functions need; all of it is the thread's own. */
struct hf_stats_thread {
	uint64_t *counts; /* NULL: the breaker is open */
	struct hf_stats_cells *cells;
	uint64_t *levels;
};

/*
 * The calling thread may count from now on. Its name (cut to 31 bytes) is for telling who is late.
 * What a thread has counted stays when it leaves. HF_TOOBIG: 256 are joined; HF_NOMEM.
 */
HF_API enum hf_status hf_stats_join(struct hf_stats *stats, const char *name,
				    struct hf_stats_thread **ret, char *err, size_t err_cap);
/* Its gauges fall back to 0. */
HF_API void hf_stats_leave(struct hf_stats_thread *thread);

/*
 * A quiescent point. What is counted from here to the next one is in a snapshot as a whole or not
 * at all. Announce one after taking work from another thread and before counting it, so that no
 * snapshot has an effect without its cause. Costs about a nanosecond. Not while the thread rests;
 * but for a shared handle (hf_stats_share) it does nothing then.
 */
HF_API void hf_stats_quiescent(struct hf_stats_thread *thread);
/*
 * Around a wait of unknown length: between the two the thread counts nothing, and no snapshot waits
 * for it. Each is a quiescent point. The second costs a memory fence.
 */
HF_API void hf_stats_rest(struct hf_stats_thread *thread);
HF_API void hf_stats_wake(struct hf_stats_thread *thread);

/*
 * Of a thread's handle that several threads use under a lock: how a snapshot gets its quiescent
 * point when nobody comes by. `pass` takes the lock if it is free at this moment, calls
 * hf_stats_quiescent, and lets go; it must not wait for the lock, for hf_stats_take, which calls it
 * again and again until its deadline, would wait with it. What is locked until then is late. Once,
 * after joining.
 *
 * A snapshot that was under way when the handle left may still call `pass`, once. So the handle
 * leaves under the same lock, under which `pass` must be able to see that it has, and then leaves
 * the handle alone; and what `arg` points to, the lock above all, stays until no hf_stats_take is
 * under way that began before hf_stats_leave returned.
 */
HF_API void hf_stats_share(struct hf_stats_thread *thread, void (*pass)(void *arg), void *arg);

/*
 * Not for direct use: memory for an octave, or NULL; that the breaker let something pass by; where
 * gauges are, also then.
 */
HF_API uint64_t *hf_stats_octave(struct hf_stats_thread *thread, uint32_t slot, uint32_t octave);
HF_API void hf_stats_skip(struct hf_stats_thread *thread);
HF_API uint64_t *hf_stats_gauges(struct hf_stats_thread *thread);

/* Counts n (modulo 2^64). */
static inline void hf_count(struct hf_stats_thread *thread, struct hf_counter counter, uint64_t n) {
	if (__builtin_expect(thread->counts != NULL, 1))
		thread->counts[counter.slot] += n;
	else
		hf_stats_skip(thread);
}

/*
 * The thread's value of a gauge. A snapshot has the sum of all threads' values. The breaker lets
 * none pass by: a gauge that is not set again would be wrong from then on.
 */
static inline void hf_gauge_set(struct hf_stats_thread *thread, struct hf_gauge gauge,
				int64_t value) {
	uint64_t *counts = thread->counts;
	if (__builtin_expect(counts == NULL, 0))
		counts = hf_stats_gauges(thread);
	size_t slot = (size_t)gauge.slot + 1;
	counts[slot] += (uint64_t)value - thread->levels[slot];
	thread->levels[slot] = (uint64_t)value;
}

/* 0 to 7423. A bucket's values differ by less than 1/128 of the smallest; below 256 by nothing. */
static inline uint32_t hf_stats_bucket(uint64_t value) {
	uint32_t shift = (63 ^ (uint32_t)__builtin_clzll(value | 128)) - 7;
	return shift * 128 + (uint32_t)(value >> shift);
}

/*
 * Records a value, any, n times. Where memory for an octave is missing, "stats.records_lost" counts
 * it, once.
 */
static inline void hf_record_n(struct hf_stats_thread *thread, struct hf_histogram histogram,
			       uint64_t value, uint64_t n) {
	if (__builtin_expect(thread->cells == NULL, 0)) {
		hf_stats_skip(thread);
		return;
	}
	struct hf_stats_cells *cells = &thread->cells[histogram.slot];
	/*
	 * As hf_stats_bucket. `high` is 128 to 255, or less where there is no shift: the first two
	 * octaves are one piece of memory.
	 */
	uint64_t shift = (63 ^ (uint64_t)__builtin_clzll(value | 128)) - 7;
	uint64_t high = value >> shift;
	uint64_t *octave = cells->octaves[shift + 1];
	if (__builtin_expect(octave == NULL, 0)) {
		octave = hf_stats_octave(thread, histogram.slot, (uint32_t)shift + 1);
		if (octave == NULL)
			return;
	}
	octave[(int64_t)high - 128] += n;
	__extension__ unsigned __int128 sum = (unsigned __int128)value * n;
	uint64_t carry = (uint64_t)(sum >> 64);
	carry += __builtin_add_overflow(cells->sum, (uint64_t)sum, &cells->sum);
	if (__builtin_expect(carry != 0, 0))
		cells->sum_high += carry;
	if (__builtin_expect(value > cells->max, 0) && n > 0)
		cells->max = value;
}

static inline void hf_record(struct hf_stats_thread *thread, struct hf_histogram histogram,
			     uint64_t value) {
	hf_record_n(thread, histogram, value, 1);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

/*
 * All values as of one instant, in memory of their own, which is used again with each
 * hf_stats_take. One thread at a time.
 */
struct hf_stats_snapshot;

HF_API enum hf_status hf_stats_snapshot_new(struct hf_stats *stats, struct hf_stats_snapshot **ret,
					    char *err, size_t err_cap);
HF_API void hf_stats_snapshot_free(struct hf_stats_snapshot *snapshot); /* NULL is fine */

/*
 * Takes a snapshot. Waits until every thread has passed a quiescent point, but no longer than
 * `deadline_ns` from now; after that the values are those of the last snapshot that was complete,
 * and hf_stats_about says so, and who is late. `self` is the calling thread's own, for which the
 * call is a quiescent point, or NULL if it has not joined. HF_NOMEM: `snapshot` is as it was, but
 * that it is not fresh any more, and names nobody.
 */
HF_API enum hf_status hf_stats_take(struct hf_stats *stats, struct hf_stats_thread *self,
				    uint64_t deadline_ns, struct hf_stats_snapshot *snapshot,
				    char *err, size_t err_cap);

struct hf_stats_about {
	bool fresh;	  /* its instant was during hf_stats_take; else it is an older one */
	uint64_t number;  /* of the snapshot: 1, 2, ...; 0: none has been complete yet */
	int64_t time_ns;  /* its instant: wall clock, since 1970-01-01 UTC */
	uint32_t threads; /* that are joined */
	uint32_t late;	  /* of them, those that were waited for in vain */
	/* The breaker. What it let pass by is in no snapshot. */
	uint32_t open;	   /* threads that do not count at present, but for gauges */
	uint64_t openings; /* so far */
	uint64_t skipped;  /* counts that were not made */
};
HF_API void hf_stats_about(const struct hf_stats_snapshot *snapshot, struct hf_stats_about *ret);
/* The i-th late thread's name, valid until the snapshot is taken again. */
HF_API const char *hf_stats_late(const struct hf_stats_snapshot *snapshot, uint32_t i);

HF_API uint64_t hf_stats_count(const struct hf_stats_snapshot *snapshot, struct hf_counter counter);
HF_API int64_t hf_stats_level(const struct hf_stats_snapshot *snapshot, struct hf_gauge gauge);

struct hf_stats_summary {
	uint64_t count;		/* of values */
	uint64_t sum, sum_high; /* of 128 bits */
	uint64_t max;
	double mean;
};
HF_API void hf_stats_summary(const struct hf_stats_snapshot *snapshot,
			     struct hf_histogram histogram, struct hf_stats_summary *ret);
/*
 * The value that a part `q` (0 to 1) of all are not above, within 0.4 %; exact below 256, and for q
 * = 1. The least one for q = 0. 0 if there are none.
 */
HF_API uint64_t hf_stats_quantile(const struct hf_stats_snapshot *snapshot,
				  struct hf_histogram histogram, double q);
/*
 * Adds all that was recorded in `from` to `into`, a key of into_snapshot's counters, also one that
 * was registered after the snapshot was taken, or before it ever was. HF_NOMEM: nothing was added.
 */
HF_API enum hf_status hf_stats_merge(struct hf_stats_snapshot *into_snapshot,
				     struct hf_histogram into,
				     const struct hf_stats_snapshot *from_snapshot,
				     struct hf_histogram from);

enum hf_stats_kind { HF_STATS_COUNTER, HF_STATS_GAUGE, HF_STATS_HISTOGRAM };
struct hf_stats_item {
	const char *name; /* valid until hf_stats_free */
	enum hf_stats_kind kind;
	uint64_t count; /* a counter's; of a histogram, how many values */
	int64_t level;	/* a gauge's */
	struct hf_histogram histogram;
};
/* All keys, as they were registered. */
HF_API uint32_t hf_stats_item_count(const struct hf_stats_snapshot *snapshot);
HF_API void hf_stats_item(const struct hf_stats_snapshot *snapshot, uint32_t i,
			  struct hf_stats_item *ret);

/* ---- the archiver ---------------------------------------------------------------------------- */

/*
 * Takes a snapshot every so often, and has workers write it, from a bounded queue. Threads that
 * count never meet it, however slow the writing: a snapshot for which there is no room is dropped,
 * and counted.
 */
struct hf_archiver;

struct hf_archiver_options {
	struct hf_stats *stats;
	uint64_t period_ns;
	uint64_t deadline_ns; /* for each snapshot: see hf_stats_take */
	uint32_t queue;	      /* snapshots that may wait: 1 to 1024 */
	uint32_t workers;     /* 1 to 64 */
	/* Writes a snapshot; from any worker, several at a time. False: it failed (counted). */
	bool (*write)(void *arg, const struct hf_stats_snapshot *snapshot);
	void *arg;
};

struct hf_archiver_info {
	uint64_t written, failed, dropped; /* snapshots */
	uint32_t queued;		   /* wait, or are being written */
};

/* HF_USAGE, HF_IO (no thread), HF_NOMEM. `options` is not kept. */
HF_API enum hf_status hf_archiver_start(const struct hf_archiver_options *options,
					struct hf_archiver **ret, char *err, size_t err_cap);
HF_API void hf_archiver_info(struct hf_archiver *archiver, struct hf_archiver_info *ret);
/*
 * Writes what waits, tells how it was (ret may be NULL), and lets go. A snapshot that is being
 * taken waits no longer: who has not come by until now is late in it.
 */
HF_API void hf_archiver_stop(struct hf_archiver *archiver, struct hf_archiver_info *ret);

#ifdef __cplusplus
}
#endif

#endif
