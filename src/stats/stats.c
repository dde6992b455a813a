/*
 * stats.c - keys, threads, and how all their counts become one snapshot. Read hf_stats_take_until
 * and hf_stats_quiescent first; README.md has the argument why it is exact.
 */
#include "holdfast/stats.h"

#include <string.h>
#include <xxhash.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "base/span.h"
#include "os/clock.h"
#include "os/memory.h"
#include "stats/stats_private.h"

#define POLL_MIN_NS 20000u /* between two looks at who is late */
#define POLL_MAX_NS 1000000u
#define WAIT_NS 1000000000u /* for another taker, who signals when it is done */

/* ---- keys ------------------------------------------------------------------------------------ */

/* Ours, besides the caller's. */
#define OUR_COUNTERS 3u
#define OUR_HISTOGRAMS 1u

static bool name_is_good(const char *name, size_t len) {
	uint32_t bad = 0;
	for (size_t i = 0; i < len; i++)
		bad |= name[i] <= ' ' || name[i] > '~';
	return bad == 0 && len > 0 && len <= HF_STATS_NAME_MAX;
}

/* The bucket that holds the name's key, or an empty one. */
static uint32_t *find_key(struct hf_stats *stats, const char *name, size_t len) {
	uint64_t at = XXH3_64bits(name, len);
	for (;; at++) {
		uint32_t *bucket = &stats->buckets[at & stats->bucket_mask];
		if (*bucket == 0 || strcmp(stats->keys[*bucket - 1].name, name) == 0)
			return bucket;
	}
}

/* A copy that lives as long as `stats`; NULL: out of memory. */
static const char *keep_name(struct hf_stats *stats, const char *name, size_t len) {
	size_t size = len + 1;
	struct names *names = stats->names;
	if (names == NULL || sizeof(names->text) - names->used < size) {
		names = hf_memory_new(sizeof(*names));
		if (names == NULL)
			return NULL;
		names->before = stats->names;
		stats->names = names;
	}
	char *copy = names->text + names->used;
	hf_bytes_copy(copy, name, size);
	names->used += size;
	return copy;
}

static bool add_key(struct hf_stats *stats, uint32_t *bucket, const char *name, size_t len,
		    enum hf_stats_kind kind, uint32_t *ret_slot, struct hf_err *err) {
	uint32_t *count = kind == HF_STATS_HISTOGRAM ? &stats->histogram_count : &stats->slot_count;
	uint32_t max = kind == HF_STATS_HISTOGRAM ? stats->histograms_max : stats->counters_max;
	if (*count == max)
		return hf_fail(err, HF_TOOBIG, "no room for %s: %u %s were asked for", name,
			       kind == HF_STATS_HISTOGRAM ? max - OUR_HISTOGRAMS
							  : max - OUR_COUNTERS,
			       kind == HF_STATS_HISTOGRAM ? "histograms" : "counters");
	const char *copy = keep_name(stats, name, len);
	if (copy == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for %s", name);
	stats->keys[stats->key_count] = (struct key){ .name = copy, .slot = *count, .kind = kind };
	*bucket = ++stats->key_count;
	*ret_slot = *count;
	hf_atomic_store(count, *count + 1, HF_RELAXED);
	return true;
}

static enum hf_status register_key(struct hf_stats *stats, const char *name,
				   enum hf_stats_kind kind, uint32_t *ret_slot, char *err,
				   size_t err_cap) {
	struct hf_err why;
	*ret_slot = SLOT_WITHOUT_KEY;
	size_t len = name == NULL ? 0 : strnlen(name, HF_STATS_NAME_MAX + 1);
	if (!name_is_good(name, len)) {
		hf_fail(&why, HF_USAGE, "a name has 1 to %u visible ASCII characters",
			HF_STATS_NAME_MAX);
		return hf_err_tell(&why, err, err_cap);
	}
	hf_mutex_lock(&stats->mutex);
	uint32_t *bucket = find_key(stats, name, len);
	bool ok = true;
	if (*bucket == 0)
		ok = add_key(stats, bucket, name, len, kind, ret_slot, &why);
	else if (stats->keys[*bucket - 1].kind == kind)
		*ret_slot = stats->keys[*bucket - 1].slot;
	else
		ok = hf_fail(&why, HF_USAGE, "%s is there already, and is of another kind", name);
	hf_mutex_unlock(&stats->mutex);
	return ok ? HF_OK : hf_err_tell(&why, err, err_cap);
}

enum hf_status hf_stats_counter(struct hf_stats *stats, const char *name, struct hf_counter *ret,
				char *err, size_t err_cap) {
	return register_key(stats, name, HF_STATS_COUNTER, &ret->slot, err, err_cap);
}

enum hf_status hf_stats_gauge(struct hf_stats *stats, const char *name, struct hf_gauge *ret,
			      char *err, size_t err_cap) {
	uint32_t slot;
	enum hf_status status = register_key(stats, name, HF_STATS_GAUGE, &slot, err, err_cap);
	ret->slot = (status == HF_OK ? slot : SLOT_LEVEL) - 1;
	return status;
}

enum hf_status hf_stats_histogram(struct hf_stats *stats, const char *name,
				  struct hf_histogram *ret, char *err, size_t err_cap) {
	return register_key(stats, name, HF_STATS_HISTOGRAM, &ret->slot, err, err_cap);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* What a struct hf_stats takes, all in one: itself, the totals, the keys, their buckets. */
static size_t stats_bytes(const struct hf_stats *stats) {
	size_t keys = (size_t)stats->counters_max + stats->histograms_max;
	return sizeof(*stats) + hf_bank_bytes(stats) + keys * sizeof(struct key) +
	       ((size_t)stats->bucket_mask + 1) * sizeof(uint32_t);
}

static bool read_options(const struct hf_stats_options *options, struct hf_stats *ret,
			 struct hf_err *err) {
	*ret = (struct hf_stats){
		.counters_max = options->counters,
		.histograms_max = options->histograms,
		.slow_ns = options->slow_ns,
	};
	if (ret->counters_max == 0)
		ret->counters_max = HF_STATS_COUNTERS_DEFAULT;
	if (ret->histograms_max == 0)
		ret->histograms_max = HF_STATS_HISTOGRAMS_DEFAULT;
	if (ret->slow_ns == 0)
		ret->slow_ns = HF_STATS_SLOW_NS_DEFAULT;
	if (ret->counters_max > HF_STATS_COUNTERS_MAX ||
	    ret->histograms_max > HF_STATS_HISTOGRAMS_MAX)
		return hf_fail(err, HF_TOOBIG,
			       "room for %u counters and %u histograms: at most %u and %u",
			       ret->counters_max, ret->histograms_max, HF_STATS_COUNTERS_MAX,
			       HF_STATS_HISTOGRAMS_MAX);
	ret->counters_max += OUR_COUNTERS;
	ret->histograms_max += OUR_HISTOGRAMS;
	uint32_t keys = ret->counters_max + ret->histograms_max;
	ret->bucket_mask = UINT32_MAX >> __builtin_clz(2 * keys);
	return true;
}

enum hf_status hf_stats_new(const struct hf_stats_options *options, struct hf_stats **ret,
			    char *err, size_t err_cap) {
	struct hf_err why;
	struct hf_stats wanted;
	if (!read_options(options, &wanted, &why))
		return hf_err_tell(&why, err, err_cap);
	struct hf_stats *stats = hf_pages_new(stats_bytes(&wanted));
	if (stats == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory for counters");
		return hf_err_tell(&why, err, err_cap);
	}
	*stats = wanted;
	stats->keys =
		(struct key *)hf_bank_init(stats, &stats->total, (uint8_t *)stats + sizeof(*stats));
	stats->buckets = (uint32_t *)(stats->keys + stats->counters_max + stats->histograms_max);
	stats->epoch = stats->settled = 1;
	hf_mutex_init(&stats->mutex);
	hf_cond_init(&stats->moved);
	/* In this order: their slots are known (stats_private.h). */
	struct hf_counter counter;
	struct hf_gauge gauge;
	struct hf_histogram histogram;
	enum hf_status status =
		hf_stats_counter(stats, "stats.without_key", &counter, err, err_cap);
	if (status == HF_OK)
		status = hf_stats_gauge(stats, "stats.without_key.level", &gauge, err, err_cap);
	if (status == HF_OK)
		status = hf_stats_counter(stats, "stats.records_lost", &counter, err, err_cap);
	if (status == HF_OK)
		status = hf_stats_histogram(stats, "stats.without_key.recorded", &histogram, err,
					    err_cap);
	if (status != HF_OK) {
		hf_stats_free(stats);
		return status;
	}
	*ret = stats;
	return HF_OK;
}

static size_t seat_bytes(const struct hf_stats *stats) {
	return sizeof(struct seat) + 2 * hf_bank_bytes(stats) +
	       stats->counters_max * sizeof(uint64_t);
}

void hf_stats_free(struct hf_stats *stats) {
	if (stats == NULL)
		return;
	for (uint32_t i = 0; i < stats->seat_count; i++) {
		struct seat *seat = stats->seats[i];
		HF_ASSERT(!seat->taken);
		hf_bank_fini(stats, &seat->banks[0]);
		hf_bank_fini(stats, &seat->banks[1]);
		hf_pages_free(seat, seat_bytes(stats));
	}
	while (stats->names != NULL) {
		struct names *names = stats->names;
		stats->names = names->before;
		hf_memory_free(names);
	}
	hf_bank_fini(stats, &stats->total);
	hf_cond_fini(&stats->moved);
	hf_mutex_fini(&stats->mutex);
	hf_pages_free(stats, stats_bytes(stats));
}

/* ---- threads --------------------------------------------------------------------------------- */

static struct seat *new_seat(struct hf_stats *stats, struct hf_err *err) {
	if (stats->seat_count == HF_STATS_THREADS_MAX) {
		hf_fail(err, HF_TOOBIG, "%u threads count, the limit", HF_STATS_THREADS_MAX);
		return NULL;
	}
	struct seat *seat = hf_pages_new(seat_bytes(stats));
	if (seat == NULL) {
		hf_fail(err, HF_NOMEM, "out of memory for a thread's counters");
		return NULL;
	}
	seat->stats = stats;
	uint8_t *at = (uint8_t *)seat + sizeof(*seat);
	for (int i = 0; i < 2; i++)
		at = hf_bank_init(stats, &seat->banks[i], at);
	seat->hot.levels = (uint64_t *)at;
	seat->rests = true;
	seat->seen = RESTS;
	stats->seats[stats->seat_count++] = seat;
	return seat;
}

/* One that a thread has left, or a new one. */
static struct seat *take_seat(struct hf_stats *stats, struct hf_err *err) {
	for (uint32_t i = 0; i < stats->seat_count; i++)
		if (!stats->seats[i]->taken)
			return stats->seats[i];
	return new_seat(stats, err);
}

enum hf_status hf_stats_join(struct hf_stats *stats, const char *name, struct hf_stats_thread **ret,
			     char *err, size_t err_cap) {
	struct hf_err why;
	hf_mutex_lock(&stats->mutex);
	struct seat *seat = take_seat(stats, &why);
	if (seat != NULL) {
		seat->taken = true;
		hf_text_copy(seat->name, sizeof(seat->name), name);
	}
	hf_mutex_unlock(&stats->mutex);
	if (seat == NULL)
		return hf_err_tell(&why, err, err_cap);
	hf_breaker_init(seat);
	hf_stats_wake(&seat->hot);
	*ret = &seat->hot;
	return HF_OK;
}

void hf_stats_leave(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	struct hf_stats *stats = seat->stats;
	if (seat->rests)
		hf_stats_wake(thread);
	uint64_t *counts = seat->banks[seat->current % 2].counts;
	hf_mutex_lock(&stats->mutex);
	for (uint32_t i = 0; i < stats->key_count; i++) {
		uint32_t slot = stats->keys[i].slot;
		if (stats->keys[i].kind != HF_STATS_GAUGE || thread->levels[slot] == 0)
			continue;
		counts[slot] -= thread->levels[slot];
		thread->levels[slot] = 0;
	}
	hf_stats_rest(thread);
	hf_plain_store(&seat->pass, NULL);
	seat->taken = false;
	hf_mutex_unlock(&stats->mutex);
}

void hf_stats_share(struct hf_stats_thread *thread, void (*pass)(void *arg), void *arg) {
	struct seat *seat = (struct seat *)thread;
	hf_mutex_lock(&seat->stats->mutex);
	hf_plain_store(&seat->pass, pass);
	hf_plain_store(&seat->arg, arg);
	hf_mutex_unlock(&seat->stats->mutex);
}

static void pass_point(struct seat *seat) {
	if (--seat->until_sample == 0)
		hf_breaker_sample(seat);
}

void hf_stats_quiescent(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	if (seat->rests) {
		/* A shared handle may have come to rest since pass_shared looked at it. */
		HF_ASSERT(hf_plain_load(&seat->pass) != NULL);
		return;
	}
	/* Acquire: the bank that it leads to was set to zero before. */
	uint64_t epoch = hf_atomic_load(&seat->stats->epoch, HF_ACQUIRE);
	if (epoch != seat->current) {
		seat->current = epoch;
		hf_seat_point(seat);
		/* Release: what the other bank holds is the collector's now. */
		hf_atomic_store(&seat->seen, epoch, HF_RELEASE);
	}
	pass_point(seat);
}

void hf_stats_rest(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	HF_ASSERT(!seat->rests);
	seat->rests = true;
	hf_seat_point(seat);
	hf_atomic_store(&seat->seen, RESTS, HF_RELEASE);
}

void hf_stats_wake(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	HF_ASSERT(seat->rests);
	uint64_t epoch = hf_atomic_load(&seat->stats->epoch, HF_RELAXED);
	for (;;) {
		/* Either a flip from here on sees this, and waits; or we see the flip. */
		hf_atomic_store(&seat->seen, epoch, HF_RELEASE);
		hf_fence(HF_SEQ_CST);
		/* Acquire, which the fence is already: ThreadSanitizer knows no fences. */
		uint64_t now = hf_atomic_load(&seat->stats->epoch, HF_ACQUIRE);
		if (now == epoch)
			break;
		epoch = now;
	}
	seat->current = epoch;
	seat->rests = false;
	hf_seat_point(seat);
	pass_point(seat);
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* The instant of the next snapshot. All before it was collected. */
static void flip(struct hf_stats *stats) {
	HF_ASSERT(stats->settled == stats->epoch);
	stats->flip_ns = hf_clock_wall_ns();
	hf_atomic_store(&stats->epoch, stats->epoch + 1, HF_RELEASE);
	hf_fence(HF_SEQ_CST); /* hf_stats_wake has the other one */
}

static bool all_have_seen(const struct hf_stats *stats) {
	for (uint32_t i = 0; i < stats->seat_count; i++)
		if (hf_atomic_load(&stats->seats[i]->seen, HF_ACQUIRE) < stats->epoch)
			return false;
	return true;
}

/* Adds up what was counted before the flip; no thread touches it any more. */
static void collect(struct hf_stats *stats) {
	for (uint32_t i = 0; i < stats->seat_count; i++) {
		struct bank *bank = &stats->seats[i]->banks[stats->settled % 2];
		hf_plain_writes(bank->counts, stats->slot_count * sizeof(uint64_t));
		for (uint32_t k = 0; k < stats->slot_count; k++) {
			if (bank->counts[k] == 0)
				continue;
			stats->total.counts[k] += bank->counts[k];
			bank->counts[k] = 0;
		}
		for (uint32_t k = 0; k < stats->histogram_count; k++)
			hf_cells_move(&stats->total.cells[k], &bank->cells[k]);
	}
	stats->settled = stats->epoch;
	stats->total_ns = stats->flip_ns;
}

/* How long a snapshot may wait. */
struct patience {
	uint64_t end_ns;
	const bool *cancel; /* under the mutex; NULL: only until then */
};

/* Lets go of the mutex for `ns`, but not beyond what `patience` has; false if that is over. */
static bool wait_a_while(struct hf_stats *stats, uint64_t ns, const struct patience *patience) {
	uint64_t now_ns = hf_clock_monotonic_ns(), end_ns = patience->end_ns;
	if (now_ns >= end_ns || (patience->cancel != NULL && *patience->cancel))
		return false;
	hf_cond_wait_ns(&stats->moved, &stats->mutex, ns < end_ns - now_ns ? ns : end_ns - now_ns);
	return true;
}

/*
 * Goes and gets the quiescent points of those shared handles whose lock is free. Without the mutex:
 * whoever has their lock may want it. So the handle may have left by the time of the call, which
 * stats.h tells its owner.
 */
static void pass_shared(struct hf_stats *stats) {
	for (uint32_t i = 0; i < stats->seat_count; i++) {
		const struct seat *seat = stats->seats[i];
		void (*pass)(void *arg) = hf_plain_load(&seat->pass);
		void *arg = hf_plain_load(&seat->arg);
		if (pass == NULL || hf_atomic_load(&seat->seen, HF_RELAXED) >= stats->epoch)
			continue;
		hf_mutex_unlock(&stats->mutex);
		pass(arg);
		hf_mutex_lock(&stats->mutex);
	}
}

/* Waits for who has not seen the flip yet, and collects. */
static bool settle(struct hf_stats *stats, const struct patience *patience) {
	uint64_t step_ns = POLL_MIN_NS;
	if (stats->settled == stats->epoch)
		return true;
	pass_shared(stats);
	while (!all_have_seen(stats)) {
		if (!wait_a_while(stats, step_ns, patience))
			return false;
		step_ns = 2 * step_ns < POLL_MAX_NS ? 2 * step_ns : POLL_MAX_NS;
		pass_shared(stats);
	}
	collect(stats);
	return true;
}

void hf_stats_cancel(struct hf_stats *stats, bool *cancel) {
	hf_mutex_lock(&stats->mutex);
	*cancel = true;
	hf_cond_broadcast(&stats->moved);
	hf_mutex_unlock(&stats->mutex);
}

enum hf_status hf_stats_take_until(struct hf_stats *stats, struct hf_stats_thread *self,
				   uint64_t deadline_ns, const bool *cancel,
				   struct hf_stats_snapshot *snapshot, char *err, size_t err_cap) {
	struct hf_err why;
	const struct patience patience = { hf_later_ns(hf_clock_monotonic_ns(), deadline_ns),
					   cancel };
	bool awake = self != NULL && !((struct seat *)self)->rests, fresh = false;
	if (awake)
		hf_stats_rest(self);
	hf_mutex_lock(&stats->mutex);
	while (stats->taking && wait_a_while(stats, WAIT_NS, &patience))
		continue;
	if (!stats->taking) {
		stats->taking = true;
		/* What an earlier call waited for in vain comes first. */
		if (settle(stats, &patience)) {
			flip(stats);
			fresh = settle(stats, &patience);
		}
		stats->taking = false;
		hf_cond_broadcast(&stats->moved);
	}
	bool ok = hf_stats_fill(snapshot, fresh, &why);
	hf_mutex_unlock(&stats->mutex);
	if (!ok) {
		snapshot->about.fresh = false;
		snapshot->about.late = 0; /* nobody: those of another instant were */
	}
	if (awake)
		hf_stats_wake(self);
	return ok ? HF_OK : hf_err_tell(&why, err, err_cap);
}

enum hf_status hf_stats_take(struct hf_stats *stats, struct hf_stats_thread *self,
			     uint64_t deadline_ns, struct hf_stats_snapshot *snapshot, char *err,
			     size_t err_cap) {
	return hf_stats_take_until(stats, self, deadline_ns, NULL, snapshot, err, err_cap);
}
