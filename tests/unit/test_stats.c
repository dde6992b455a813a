/* Counters, gauges, histograms; and that a snapshot of them is exact, whatever the threads do. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/limits.h"
#include "holdfast/stats.h"
#include "os/clock.h"
#include "os/thread.h"
#include "stats/stats_private.h"

#define MS 1000000u
#define LONG_NS 20000000000u /* a thread that is later than this does not come */

static char why[768];

/* Memory, until it runs out: what hf_memory_new asks for is asked for here (meson.build). */
static bool without_memory;
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
	return without_memory ? NULL : __real_calloc(count, size);
}

static struct hf_stats *new_stats(void) {
	struct hf_stats *stats;
	/* A test may be run on a busy machine, or a slow one: no breaker here. */
	const struct hf_stats_options options = { .slow_ns = UINT64_MAX };
	assert_int_equal(hf_stats_new(&options, &stats, why, sizeof(why)), HF_OK);
	return stats;
}

static struct hf_counter counter(struct hf_stats *stats, const char *name) {
	struct hf_counter key;
	assert_int_equal(hf_stats_counter(stats, name, &key, why, sizeof(why)), HF_OK);
	return key;
}

static struct hf_gauge gauge(struct hf_stats *stats, const char *name) {
	struct hf_gauge key;
	assert_int_equal(hf_stats_gauge(stats, name, &key, why, sizeof(why)), HF_OK);
	return key;
}

static struct hf_histogram histogram(struct hf_stats *stats, const char *name) {
	struct hf_histogram key;
	assert_int_equal(hf_stats_histogram(stats, name, &key, why, sizeof(why)), HF_OK);
	return key;
}

static struct hf_stats_thread *join(struct hf_stats *stats, const char *name) {
	struct hf_stats_thread *thread;
	assert_int_equal(hf_stats_join(stats, name, &thread, why, sizeof(why)), HF_OK);
	return thread;
}

static struct hf_stats_snapshot *new_snapshot(struct hf_stats *stats) {
	struct hf_stats_snapshot *snapshot;
	assert_int_equal(hf_stats_snapshot_new(stats, &snapshot, why, sizeof(why)), HF_OK);
	return snapshot;
}

/* Takes one that must be fresh. */
static void take(struct hf_stats *stats, struct hf_stats_thread *self,
		 struct hf_stats_snapshot *snapshot) {
	struct hf_stats_about about;
	assert_int_equal(hf_stats_take(stats, self, LONG_NS, snapshot, why, sizeof(why)), HF_OK);
	hf_stats_about(snapshot, &about);
	assert_true(about.fresh);
	assert_int_equal(about.late, 0);
}

static void end(struct hf_stats *stats, struct hf_stats_thread *thread,
		struct hf_stats_snapshot *snapshot) {
	hf_stats_leave(thread);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(stats);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void a_key_has_a_slot_of_its_own(void **state) {
	struct hf_stats *stats;
	struct hf_counter a, b;
	struct hf_gauge g;
	struct hf_histogram h;
	char name[HF_STATS_NAME_MAX + 2];
	bool used[304] = { 0 };
	assert_int_equal(hf_stats_new(&(struct hf_stats_options){ .counters = 300,
								  .histograms = 2 },
				      &stats, why, sizeof(why)),
			 HF_OK);
	for (uint32_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "key-%u", i);
		if (i % 3 == 0)
			assert_int_equal(hf_stats_gauge(stats, name, &g, NULL, 0), HF_OK);
		else
			assert_int_equal(hf_stats_counter(stats, name, &a, NULL, 0), HF_OK);
		uint32_t slot = i % 3 == 0 ? g.slot + 1 : a.slot;
		assert_true(slot > 0 && slot < 304 && !used[slot]);
		used[slot] = true;
	}
	assert_int_equal(hf_stats_counter(stats, "key-299", &b, NULL, 0), HF_OK);
	assert_int_equal(b.slot, a.slot);
	assert_int_equal(hf_stats_counter(stats, "key-0", &b, why, sizeof(why)), HF_USAGE);
	assert_int_equal(b.slot, 0);
	assert_int_equal(hf_stats_histogram(stats, "key-1", &h, why, sizeof(why)), HF_USAGE);
	assert_int_equal(hf_stats_counter(stats, "key-300", &b, why, sizeof(why)), HF_TOOBIG);
	assert_int_equal(b.slot, 0);
	assert_int_equal(hf_stats_gauge(stats, "key-300", &g, why, sizeof(why)), HF_TOOBIG);
	assert_int_equal(g.slot, 0);
	assert_int_equal(hf_stats_histogram(stats, "h-1", &h, why, sizeof(why)), HF_OK);
	assert_int_equal(hf_stats_histogram(stats, "h-2", &h, why, sizeof(why)), HF_OK);
	assert_int_equal(hf_stats_histogram(stats, "h-3", &h, why, sizeof(why)), HF_TOOBIG);
	hf_stats_free(stats);
}

static void bad_names_and_sizes_are_refused(void **state) {
	static const char *const bad[] = { NULL, "", "a b", "a\n", "\x7f", "\xc3\xa4" };
	struct hf_stats *stats = new_stats(), *none;
	struct hf_counter key;
	char name[HF_STATS_NAME_MAX + 2];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hf_stats_counter(stats, bad[i], &key, why, sizeof(why)), HF_USAGE);
	memset(name, 'n', sizeof(name));
	name[HF_STATS_NAME_MAX + 1] = '\0';
	assert_int_equal(hf_stats_counter(stats, name, &key, why, sizeof(why)), HF_USAGE);
	name[HF_STATS_NAME_MAX] = '\0';
	assert_int_equal(hf_stats_counter(stats, name, &key, why, sizeof(why)), HF_OK);
	hf_stats_free(stats);
	hf_stats_free(NULL);
	struct hf_stats_options options = { .counters = HF_STATS_COUNTERS_MAX + 1 };
	assert_int_equal(hf_stats_new(&options, &none, why, sizeof(why)), HF_TOOBIG);
	options = (struct hf_stats_options){ .histograms = HF_STATS_HISTOGRAMS_MAX + 1 };
	assert_int_equal(hf_stats_new(&options, &none, why, sizeof(why)), HF_TOOBIG);
	options = (struct hf_stats_options){ .counters = 1, .slow_ns = UINT64_MAX };
	assert_int_equal(hf_stats_new(&options, &stats, why, sizeof(why)), HF_OK);
	assert_int_equal(hf_stats_counter(stats, "x", &key, why, sizeof(why)), HF_OK);
	assert_int_equal(hf_stats_counter(stats, "y", &key, why, sizeof(why)), HF_TOOBIG);
	assert_string_equal(why, "no room for y: 1 counters were asked for");
	hf_stats_free(stats);
	options = (struct hf_stats_options){ HF_STATS_COUNTERS_MAX, HF_STATS_HISTOGRAMS_MAX, 0 };
	assert_int_equal(hf_stats_new(&options, &stats, why, sizeof(why)), HF_OK);
	struct hf_stats_thread *thread = join(stats, "one");
	hf_count(thread, counter(stats, "x"), 5);
	hf_stats_leave(thread);
	hf_stats_free(stats);
}

static void items_come_in_the_order_of_registration(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_stats_item item;
	hf_count(thread, counter(stats, "c"), 7);
	hf_gauge_set(thread, gauge(stats, "g"), -7);
	hf_record(thread, histogram(stats, "h"), 70);
	hf_count(thread, (struct hf_counter){ 0 }, 9);
	hf_gauge_set(thread, (struct hf_gauge){ 0 }, -9);
	hf_record(thread, (struct hf_histogram){ 0 }, 9);
	take(stats, thread, snapshot);
	/* Keys that come later are not in it. */
	struct hf_counter later = counter(stats, "later");
	assert_int_equal(hf_stats_count(snapshot, later), 0);
	uint32_t count = hf_stats_item_count(snapshot);
	assert_true(count == 7);
	hf_stats_item(snapshot, 0, &item);
	assert_string_equal(item.name, "stats.without_key");
	assert_int_equal(item.count, 9);
	hf_stats_item(snapshot, 1, &item);
	assert_string_equal(item.name, "stats.without_key.level");
	assert_int_equal(item.level, -9);
	hf_stats_item(snapshot, 3, &item);
	assert_true(item.kind == HF_STATS_HISTOGRAM && item.count == 1);
	hf_stats_item(snapshot, 4, &item);
	assert_true(item.kind == HF_STATS_COUNTER && item.count == 7 &&
		    strcmp(item.name, "c") == 0);
	hf_stats_item(snapshot, 5, &item);
	assert_true(item.kind == HF_STATS_GAUGE && item.level == -7);
	hf_stats_item(snapshot, 6, &item);
	assert_true(item.kind == HF_STATS_HISTOGRAM && item.count == 1);
	assert_int_equal(hf_stats_quantile(snapshot, item.histogram, 0.5), 70);
	end(stats, thread, snapshot);
}

/* ---- histograms ------------------------------------------------------------------------------ */

static void buckets_cover_every_value(void **state) {
	assert_int_equal(hf_stats_bucket(0), 0);
	assert_int_equal(hf_stats_bucket(UINT64_MAX), HF_STATS_OCTAVES * 128 - 1);
	for (uint64_t i = 0; i < 256; i++)
		assert_int_equal(hf_stats_bucket(i), i);
	/* From each bucket to the next it is one step, 1/128 of the value at most. */
	uint64_t low = 0;
	for (uint32_t bucket = 0; bucket < HF_STATS_OCTAVES * 128; bucket++) {
		uint64_t width = bucket < 256 ? 1 : (uint64_t)1 << (bucket / 128 - 1);
		assert_int_equal(hf_stats_bucket(low), bucket);
		assert_int_equal(hf_stats_bucket(low + width - 1), bucket);
		assert_true(width == 1 || width <= low / 128);
		low += width;
	}
	assert_int_equal(low, 0); /* around: 2^64 */
}

static uint64_t next_random(uint64_t *seed) {
	*seed += 0x9e3779b97f4a7c15u;
	uint64_t z = (*seed ^ (*seed >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int compare(const void *a, const void *b) {
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Of `count` values of up to `bits` bits, against the sorted values themselves. */
static void quantiles_of(uint32_t count, uint32_t bits) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_histogram h = histogram(stats, "h");
	struct hf_stats_summary summary;
	uint64_t *values = calloc(count, sizeof(*values)), seed = bits;
	unsigned __int128 sum = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t random = next_random(&seed);
		values[i] = random >> (64 - bits) >> (bits > 8 ? random % (bits - 7) : 0);
		hf_record(thread, h, values[i]);
		sum += values[i];
	}
	qsort(values, count, sizeof(*values), compare);
	take(stats, thread, snapshot);
	for (uint32_t i = 0; i <= count; i++) {
		double got = (double)hf_stats_quantile(snapshot, h, (double)i / count);
		double want = (double)values[i == 0 ? 0 : i - 1];
		assert_true(got <= want * 1.004 && got >= want * 0.996);
	}
	assert_int_equal(hf_stats_quantile(snapshot, h, 1), values[count - 1]);
	/* What is no part: as the part next to it, and not a number as 0. */
	assert_int_equal(hf_stats_quantile(snapshot, h, 2), values[count - 1]);
	assert_int_equal(hf_stats_quantile(snapshot, h, -1), hf_stats_quantile(snapshot, h, 0));
	assert_int_equal(hf_stats_quantile(snapshot, h, NAN), hf_stats_quantile(snapshot, h, 0));
	hf_stats_summary(snapshot, h, &summary);
	assert_int_equal(summary.count, count);
	assert_int_equal(summary.max, values[count - 1]);
	assert_true(summary.sum == (uint64_t)sum && summary.sum_high == (uint64_t)(sum >> 64));
	free(values);
	end(stats, thread, snapshot);
}

static void quantiles_are_right_within_0_4_percent(void **state) {
	for (uint32_t bits = 1; bits <= 64; bits += 9)
		quantiles_of(2000, bits);
	quantiles_of(1, 64);
	quantiles_of(2, 64);
}

static uint64_t to_256(uint64_t i, uint64_t *seed) {
	return i < 256 ? i * 77 % 256 : next_random(seed) % 256;
}

/* A part k/n of n values: not one more, nor one less, however k/n is rounded. */
static void quantiles_below_256_are_exact(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_histogram h = histogram(stats, "h");
	uint64_t values[2000], seed = 1;
	for (uint32_t n = 1; n <= 2000; n++) {
		uint64_t value = to_256(n - 1, &seed);
		uint32_t at = n - 1;
		for (; at > 0 && values[at - 1] > value; at--)
			values[at] = values[at - 1];
		values[at] = value;
		hf_record(thread, h, value);
		take(stats, thread, snapshot);
		for (uint32_t k = 1; k <= n; k++)
			if (hf_stats_quantile(snapshot, h, (double)k / n) != values[k - 1])
				fail_msg("%u of %u: not %llu", k, n,
					 (unsigned long long)values[k - 1]);
	}
	/* As such parts are written, and one between two. */
	assert_int_equal(hf_stats_quantile(snapshot, h, 0.07), values[139]);
	assert_int_equal(hf_stats_quantile(snapshot, h, 0.55), values[1099]);
	assert_int_equal(hf_stats_quantile(snapshot, h, 0.07001), values[140]);
	end(stats, thread, snapshot);
}

static void histograms_are_merged(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_histogram a = histogram(stats, "a"), b = histogram(stats, "b"),
			    both = histogram(stats, "both");
	struct hf_stats_summary one, other;
	for (uint64_t i = 0; i < 5000; i++) {
		uint64_t value = i * i * i;
		hf_record(thread, i % 3 == 0 ? a : b, value << i % 30);
		hf_record(thread, both, value << i % 30);
	}
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_merge(snapshot, a, snapshot, b), HF_OK);
	hf_stats_summary(snapshot, a, &one);
	hf_stats_summary(snapshot, both, &other);
	assert_true(one.count == 5000 && one.count == other.count && one.max == other.max);
	assert_true(one.sum == other.sum && one.mean == other.mean);
	for (double q = 0; q <= 1; q += 1.0 / 128)
		assert_int_equal(hf_stats_quantile(snapshot, a, q),
				 hf_stats_quantile(snapshot, both, q));
	/* Into a snapshot that does not know the key yet; also what it does not know either. */
	struct hf_stats_snapshot *other_snapshot = new_snapshot(stats);
	assert_int_equal(hf_stats_merge(other_snapshot, both, snapshot, both), HF_OK);
	assert_int_equal(hf_stats_merge(other_snapshot, a, other_snapshot, b), HF_OK);
	hf_stats_summary(other_snapshot, both, &one);
	assert_true(one.count == other.count && one.max == other.max && one.sum == other.sum);
	hf_stats_summary(other_snapshot, a, &one);
	assert_int_equal(one.count, 0);
	hf_stats_snapshot_free(other_snapshot);
	/* An empty one has nothing to tell. */
	struct hf_histogram empty = histogram(stats, "empty");
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_quantile(snapshot, empty, 0.5), 0);
	end(stats, thread, snapshot);
}

static void a_value_that_is_recorded_no_times_is_none(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_histogram h = histogram(stats, "h");
	struct hf_stats_summary summary;
	hf_record(thread, h, 5);
	hf_record_n(thread, h, 1000, 0);
	take(stats, thread, snapshot);
	hf_stats_summary(snapshot, h, &summary);
	assert_true(summary.count == 1 && summary.sum == 5 && summary.max == 5);
	assert_int_equal(hf_stats_quantile(snapshot, h, 1), 5);
	end(stats, thread, snapshot);
}

/* ---- one thread ------------------------------------------------------------------------------ */

static void a_gauge_is_the_sum_of_its_threads(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *one = join(stats, "one"), *two = join(stats, "two");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_gauge g = gauge(stats, "g");
	for (int64_t i = -50; i <= 50; i++) {
		hf_gauge_set(one, g, 3 * i);
		hf_gauge_set(two, g, 1000);
		hf_stats_quiescent(two);
		hf_stats_rest(two);
		take(stats, one, snapshot);
		assert_int_equal(hf_stats_level(snapshot, g), 3 * i + 1000);
		hf_stats_wake(two);
	}
	hf_stats_leave(two);
	take(stats, one, snapshot);
	assert_int_equal(hf_stats_level(snapshot, g), 150);
	hf_stats_leave(one);
	take(stats, NULL, snapshot);
	assert_int_equal(hf_stats_level(snapshot, g), 0);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(stats);
}

static void what_a_thread_counted_stays_when_it_leaves(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_counter c = counter(stats, "c");
	struct hf_histogram h = histogram(stats, "h");
	struct hf_stats_thread *threads[HF_STATS_THREADS_MAX], *none;
	struct hf_stats_summary summary;
	uint64_t total = 0, records = 0;
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < HF_STATS_THREADS_MAX; i++) {
			threads[i] = join(stats, "worker");
			hf_count(threads[i], c, i);
			hf_record(threads[i], h, i);
			total += i;
			records++;
			if (i % 8 == round)
				hf_stats_rest(threads[i]);
		}
		assert_int_equal(hf_stats_join(stats, "one more", &none, why, sizeof(why)),
				 HF_TOOBIG);
		for (uint32_t i = 0; i < HF_STATS_THREADS_MAX; i++)
			hf_stats_leave(threads[i]);
		if (round == 1)
			continue; /* none is taken between two lives of a seat */
		take(stats, NULL, snapshot);
		assert_int_equal(hf_stats_count(snapshot, c), total);
		hf_stats_summary(snapshot, h, &summary);
		assert_int_equal(summary.count, records);
	}
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(stats);
}

/* ---- who is late ----------------------------------------------------------------------------- */

static void a_late_thread_is_told(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_counter c = counter(stats, "c");
	struct hf_stats_thread *self = join(stats, "self"), *late = join(stats, "the late one");
	struct hf_stats_about about;
	hf_count(late, c, 1);
	hf_stats_quiescent(late);
	/* Nothing was complete yet. */
	assert_int_equal(hf_stats_take(stats, self, MS, snapshot, why, sizeof(why)), HF_OK);
	hf_stats_about(snapshot, &about);
	assert_true(!about.fresh && about.number == 0 && about.late == 1 && about.threads == 2);
	assert_string_equal(hf_stats_late(snapshot, 0), "the late one");
	assert_string_equal(hf_stats_late(snapshot, 1), "");
	hf_stats_rest(late);
	take(stats, self, snapshot);
	hf_stats_about(snapshot, &about);
	assert_int_equal(hf_stats_count(snapshot, c), 1);
	uint64_t number = about.number;
	int64_t time_ns = about.time_ns;

	/* The last good one, as often as one asks. */
	hf_stats_wake(late);
	for (int i = 0; i < 3; i++) {
		hf_count(self, c, 100);
		hf_count(late, c, 10);
		assert_int_equal(hf_stats_take(stats, self, i * MS, snapshot, why, sizeof(why)),
				 HF_OK);
		hf_stats_about(snapshot, &about);
		assert_true(!about.fresh && about.late == 1);
		assert_true(about.number == number && about.time_ns == time_ns);
		assert_int_equal(hf_stats_count(snapshot, c), 1);
	}

	/* What was waited for comes, and only that: the second flip is waited for in vain. */
	hf_stats_quiescent(late);
	hf_count(late, c, 10);
	assert_int_equal(hf_stats_take(stats, self, MS, snapshot, why, sizeof(why)), HF_OK);
	hf_stats_about(snapshot, &about);
	assert_true(!about.fresh && about.late == 1 && about.number == number + 1);
	/* The first 100 of `self` came before that flip, the others behind it. */
	assert_int_equal(hf_stats_count(snapshot, c), 1 + 100 + 30);
	hf_stats_leave(late);
	take(stats, self, snapshot);
	assert_int_equal(hf_stats_count(snapshot, c), 1 + 300 + 40);
	end(stats, self, snapshot);
}

static void without_memory_the_last_values_are_not_fresh(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_counter c = counter(stats, "c");
	struct hf_histogram h = histogram(stats, "h");
	struct hf_stats_about about;
	hf_count(thread, c, 1);
	take(stats, thread, snapshot);
	hf_count(thread, c, 41);
	hf_record(thread, h, 5);
	without_memory = true;
	enum hf_status status = hf_stats_take(stats, thread, LONG_NS, snapshot, why, sizeof(why));
	without_memory = false;
	assert_int_equal(status, HF_NOMEM);
	hf_stats_about(snapshot, &about);
	assert_true(!about.fresh && about.number == 1);
	assert_int_equal(hf_stats_count(snapshot, c), 1);
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_count(snapshot, c), 42);
	end(stats, thread, snapshot);
}

/* ---- the breaker ----------------------------------------------------------------------------- */

/* From now on each sample is slow, or none. */
static void be_slow(struct hf_stats *stats, bool slow) {
	stats->slow_ns = slow ? 0 : UINT64_MAX;
}

static void open_breaker(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	be_slow(seat->stats, true);
	while (!seat->open)
		hf_stats_quiescent(thread);
}

static void close_breaker(struct hf_stats_thread *thread) {
	struct seat *seat = (struct seat *)thread;
	be_slow(seat->stats, false);
	while (seat->open)
		hf_stats_quiescent(thread);
}

static void gauges_are_right_whatever_the_breaker_does(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_stats_about about;
	struct hf_counter c = counter(stats, "c");
	struct hf_gauge g = gauge(stats, "g");
	hf_gauge_set(thread, g, 100);
	hf_count(thread, c, 1);
	open_breaker(thread);
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_level(snapshot, g), 100);
	hf_gauge_set(thread, g, 3);
	hf_count(thread, c, 1);
	take(stats, thread, snapshot);
	hf_stats_about(snapshot, &about);
	assert_true(about.open == 1 && about.skipped == 1);
	assert_int_equal(hf_stats_level(snapshot, g), 3);
	close_breaker(thread);
	hf_count(thread, c, 1);
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_level(snapshot, g), 3);
	assert_int_equal(hf_stats_count(snapshot, c), 2);
	/* Nor is one left over that was set meanwhile, when its thread leaves. */
	open_breaker(thread);
	hf_gauge_set(thread, g, 50);
	hf_stats_leave(thread);
	take(stats, NULL, snapshot);
	assert_int_equal(hf_stats_level(snapshot, g), 0);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(stats);
}

/* Also of a thread that has few quiescent points. */
static void the_breaker_closes_by_time(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct seat *seat = (struct seat *)thread;
	uint64_t begin_ns = hf_clock_monotonic_ns();
	open_breaker(thread);
	be_slow(stats, false);
	uint32_t points = 0;
	for (; seat->open; points++) {
		uint64_t next_ns = hf_clock_monotonic_ns() + 40 * MS;
		while (hf_clock_monotonic_ns() < next_ns)
			hf_thread_nap();
		hf_stats_quiescent(thread);
	}
	/* Looks after 40 ms, 120 ms, at the latest. */
	assert_in_range(points, 1, 3);
	assert_true(hf_clock_monotonic_ns() - begin_ns >= HF_STATS_PAUSE_MIN_NS);
	/* Four slow samples in a row, not all at once; as soon as the first comes. */
	be_slow(stats, true);
	for (points = 0; !seat->open; points++)
		hf_stats_quiescent(thread);
	assert_in_range(points, 3 * HF_STATS_SAMPLE_SOON, 2 * HF_STATS_SAMPLE_EVERY);
	hf_stats_leave(thread);
	hf_stats_free(stats);
}

/* ---- threads --------------------------------------------------------------------------------- */

#define WORKERS 4u
#define ROUNDS 60000u /* at least: until MADE_MIN fresh snapshots were made meanwhile */
#define MADE_MIN 11u

struct crowd {
	struct hf_stats *stats;
	struct hf_counter a, b;
	struct hf_histogram h;
	struct hf_gauge g;
	uint32_t running, made; /* atomic */
};

struct worker {
	struct crowd *crowd;
	struct hf_thread thread;
	uint64_t seed, done;
};

/* What every interval counts keeps a == b == the records of h == their sum, and g == 0. */
static void count_some(struct worker *worker, struct hf_stats_thread *thread) {
	const struct crowd *crowd = worker->crowd;
	uint64_t n = next_random(&worker->seed) % 4;
	for (uint64_t i = 0; i < n; i++)
		hf_count(thread, crowd->a, 1);
	hf_gauge_set(thread, crowd->g, (int64_t)n + 1);
	for (uint64_t i = 0; i < n; i++)
		hf_record(thread, crowd->h, 1);
	hf_count(thread, crowd->b, n);
	hf_gauge_set(thread, crowd->g, 0);
	worker->done += n;
}

static void count_much(void *arg) {
	struct worker *worker = arg;
	struct crowd *crowd = worker->crowd;
	struct hf_stats_thread *thread = join(crowd->stats, "worker");
	for (uint32_t i = 0; i < ROUNDS || hf_atomic_load(&crowd->made, HF_RELAXED) < MADE_MIN;
	     i++) {
		count_some(worker, thread);
		uint64_t what = next_random(&worker->seed) % 512;
		if (what == 0) {
			hf_stats_leave(thread);
			thread = join(crowd->stats, "worker");
		} else if (what < 64) {
			hf_stats_rest(thread);
			hf_stats_wake(thread);
		} else {
			hf_stats_quiescent(thread);
		}
	}
	hf_stats_leave(thread);
	hf_atomic_fetch_sub(&crowd->running, 1, HF_RELEASE);
}

static uint64_t look(const struct crowd *crowd, const struct hf_stats_snapshot *snapshot) {
	struct hf_stats_summary summary;
	uint64_t a = hf_stats_count(snapshot, crowd->a);
	assert_int_equal(a, hf_stats_count(snapshot, crowd->b));
	hf_stats_summary(snapshot, crowd->h, &summary);
	assert_int_equal(a, summary.count);
	assert_int_equal(a, summary.sum);
	assert_int_equal(hf_stats_level(snapshot, crowd->g), 0);
	return a;
}

/* Snapshots are taken as fast as can be, by two threads. */
static void take_many(void *arg) {
	struct crowd *crowd = arg;
	struct hf_stats_snapshot *snapshot = new_snapshot(crowd->stats);
	uint64_t last = 0, taken = 0;
	while (hf_atomic_load(&crowd->running, HF_ACQUIRE) > 0) {
		struct hf_stats_about about;
		assert_int_equal(hf_stats_take(crowd->stats, NULL, taken % 3 * 50000, snapshot, why,
					       sizeof(why)),
				 HF_OK);
		hf_stats_about(snapshot, &about);
		assert_true(about.fresh || about.number > 0 || about.late > 0 || last == 0);
		uint64_t now = look(crowd, snapshot);
		assert_true(now >= last);
		last = now;
		taken++;
		hf_atomic_fetch_add(&crowd->made, about.fresh, HF_RELAXED);
	}
	hf_stats_snapshot_free(snapshot);
}

static void a_snapshot_is_exact_while_threads_count(void **state) {
	struct crowd crowd = { .stats = new_stats(), .running = WORKERS };
	struct worker workers[WORKERS];
	struct hf_thread takers[2];
	struct hf_err err;
	crowd.a = counter(crowd.stats, "a");
	crowd.b = counter(crowd.stats, "b");
	crowd.h = histogram(crowd.stats, "h");
	crowd.g = gauge(crowd.stats, "g");
	for (uint32_t i = 0; i < 2; i++)
		assert_true(hf_thread_start(&takers[i], take_many, &crowd, &err));
	for (uint32_t i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .crowd = &crowd, .seed = i };
		assert_true(hf_thread_start(&workers[i].thread, count_much, &workers[i], &err));
	}
	uint64_t total = 0;
	for (uint32_t i = 0; i < WORKERS; i++) {
		hf_thread_join(&workers[i].thread);
		total += workers[i].done;
	}
	for (uint32_t i = 0; i < 2; i++)
		hf_thread_join(&takers[i]);
	struct hf_stats_snapshot *snapshot = new_snapshot(crowd.stats);
	take(crowd.stats, NULL, snapshot);
	assert_int_equal(look(&crowd, snapshot), total);
	print_message("%u fresh snapshots while %llu were counted\n", crowd.made,
		      (unsigned long long)total);
	assert_true(crowd.made >= MADE_MIN);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(crowd.stats);
}

/* One thread makes, the other one uses what was made: never more was used than made. */
struct pair {
	struct hf_stats *stats;
	struct hf_counter made, used;
	uint64_t ready, running; /* atomic */
};

static void make(void *arg) {
	struct pair *pair = arg;
	struct hf_stats_thread *thread = join(pair->stats, "maker");
	for (uint64_t i = 1; i <= 10 * ROUNDS; i++) {
		hf_stats_quiescent(thread);
		hf_count(thread, pair->made, 1);
		hf_atomic_store(&pair->ready, i, HF_RELEASE);
	}
	hf_stats_leave(thread);
}

static void use(void *arg) {
	struct pair *pair = arg;
	struct hf_stats_thread *thread = join(pair->stats, "user");
	uint64_t used = 0;
	while (used < 10 * ROUNDS) {
		uint64_t ready = hf_atomic_load(&pair->ready, HF_ACQUIRE);
		hf_stats_quiescent(thread);
		hf_count(thread, pair->used, ready - used);
		used = ready;
	}
	hf_stats_leave(thread);
	hf_atomic_store(&pair->running, 0, HF_RELEASE);
}

static void no_effect_comes_before_its_cause(void **state) {
	struct pair pair = { .stats = new_stats(), .running = 1 };
	struct hf_thread maker, user;
	struct hf_err err;
	struct hf_stats_snapshot *snapshot = new_snapshot(pair.stats);
	pair.made = counter(pair.stats, "made");
	pair.used = counter(pair.stats, "used");
	assert_true(hf_thread_start(&maker, make, &pair, &err));
	assert_true(hf_thread_start(&user, use, &pair, &err));
	while (hf_atomic_load(&pair.running, HF_ACQUIRE) == 1) {
		take(pair.stats, NULL, snapshot);
		assert_true(hf_stats_count(snapshot, pair.used) <=
			    hf_stats_count(snapshot, pair.made));
	}
	hf_thread_join(&maker);
	hf_thread_join(&user);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(pair.stats);
}

/* A handle that several threads use, under a lock. */
struct shared {
	struct hf_mutex lock;
	struct hf_stats *stats;
	struct hf_stats_thread *thread;
	struct hf_counter c;
	struct hf_histogram h;
	uint64_t running; /* atomic */
};

static void pass_shared(void *arg) {
	struct shared *shared = arg;
	if (!hf_mutex_try_lock(&shared->lock))
		return;
	hf_stats_quiescent(shared->thread);
	hf_mutex_unlock(&shared->lock);
}

static void count_shared(void *arg) {
	struct shared *shared = arg;
	for (uint32_t i = 0; i < ROUNDS / 10; i++) {
		hf_mutex_lock(&shared->lock);
		hf_count(shared->thread, shared->c, 1);
		hf_record_n(shared->thread, shared->h, UINT64_MAX - i, 3);
		hf_mutex_unlock(&shared->lock);
	}
	hf_atomic_fetch_sub(&shared->running, 1, HF_RELEASE);
}

static void a_sum_beyond_64_bits_keeps_its_carry(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "main");
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct hf_histogram h = histogram(stats, "h");
	struct hf_stats_summary summary;
	/* In two snapshots: the carry comes when the second is added to the total. */
	hf_record(thread, h, UINT64_MAX);
	take(stats, thread, snapshot);
	hf_record(thread, h, 1);
	take(stats, thread, snapshot);
	hf_stats_summary(snapshot, h, &summary);
	assert_true(summary.sum == 0 && summary.sum_high == 1);
	/* The next one when it is added to itself. */
	hf_record(thread, h, UINT64_MAX);
	take(stats, thread, snapshot);
	assert_int_equal(hf_stats_merge(snapshot, h, snapshot, h), HF_OK);
	hf_stats_summary(snapshot, h, &summary);
	assert_true(summary.sum == UINT64_MAX - 1 && summary.sum_high == 3);
	assert_int_equal(summary.count, 6);
	end(stats, thread, snapshot);
}

static void a_handle_may_be_shared_under_a_lock(void **state) {
	struct shared shared = { .stats = new_stats(), .running = WORKERS };
	struct hf_thread threads[WORKERS];
	struct hf_err err;
	struct hf_stats_snapshot *snapshot = new_snapshot(shared.stats);
	struct hf_stats_summary summary;
	hf_mutex_init(&shared.lock);
	shared.c = counter(shared.stats, "c");
	shared.h = histogram(shared.stats, "h");
	shared.thread = join(shared.stats, "shared");
	hf_stats_share(shared.thread, pass_shared, &shared);
	for (uint32_t i = 0; i < WORKERS; i++)
		assert_true(hf_thread_start(&threads[i], count_shared, &shared, &err));
	bool done;
	do {
		done = hf_atomic_load(&shared.running, HF_ACQUIRE) == 0;
		take(shared.stats, NULL, snapshot);
		hf_stats_summary(snapshot, shared.h, &summary);
		assert_int_equal(summary.count, 3 * hf_stats_count(snapshot, shared.c));
		/* Each is hardly less than 2^64. */
		assert_true(summary.count == 0 || summary.sum_high == summary.count - 1);
	} while (!done);
	assert_int_equal(summary.count, 3 * WORKERS * (ROUNDS / 10));
	for (uint32_t i = 0; i < WORKERS; i++)
		hf_thread_join(&threads[i]);
	end(shared.stats, shared.thread, snapshot);
	hf_mutex_fini(&shared.lock);
}

static void only_a_shared_handle_may_be_quiescent_while_it_rests(void **state) {
	struct shared shared = { .stats = new_stats() };
	struct hf_stats_snapshot *snapshot = new_snapshot(shared.stats);
	int status;
	hf_mutex_init(&shared.lock);
	shared.thread = join(shared.stats, "shared");
	hf_stats_rest(shared.thread);
	pid_t child = fork();
	if (child == 0) {
		close(STDERR_FILENO);
		hf_stats_quiescent(shared.thread);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	hf_stats_share(shared.thread, pass_shared, &shared);
	hf_stats_quiescent(shared.thread);
	take(shared.stats, NULL, snapshot);
	end(shared.stats, shared.thread, snapshot);
	hf_mutex_fini(&shared.lock);
}

/* Has the lock for a while, as told, and nobody takes it again after that. */
static void hold_the_lock(void *arg) {
	struct shared *shared = arg;
	hf_mutex_lock(&shared->lock);
	hf_atomic_store(&shared->running, 1, HF_RELEASE);
	uint64_t end_ns = hf_clock_monotonic_ns() + 30 * MS;
	while (hf_clock_monotonic_ns() < end_ns)
		hf_thread_yield();
	hf_mutex_unlock(&shared->lock);
}

static void a_lock_that_is_taken_is_waited_for_until_the_deadline(void **state) {
	struct shared shared = { .stats = new_stats() };
	struct hf_thread holder;
	struct hf_err err;
	struct hf_stats_snapshot *snapshot = new_snapshot(shared.stats);
	struct hf_stats_about about;
	hf_mutex_init(&shared.lock);
	shared.thread = join(shared.stats, "shared");
	hf_stats_share(shared.thread, pass_shared, &shared);
	hf_mutex_lock(&shared.lock);
	assert_int_equal(hf_stats_take(shared.stats, NULL, MS, snapshot, why, sizeof(why)), HF_OK);
	hf_mutex_unlock(&shared.lock);
	hf_stats_about(snapshot, &about);
	assert_true(!about.fresh && about.late == 1);
	assert_string_equal(hf_stats_late(snapshot, 0), "shared");
	assert_true(hf_thread_start(&holder, hold_the_lock, &shared, &err));
	while (hf_atomic_load(&shared.running, HF_ACQUIRE) == 0)
		hf_thread_yield();
	take(shared.stats, NULL, snapshot);
	hf_thread_join(&holder);
	end(shared.stats, shared.thread, snapshot);
	hf_mutex_fini(&shared.lock);
}

/* ---- the archiver ---------------------------------------------------------------------------- */

struct shelf {
	struct hf_mutex mutex;
	struct hf_cond moved;
	bool stuck, fails;
	uint64_t writes, last;
	struct hf_counter c;
};

static bool put_on_shelf(void *arg, const struct hf_stats_snapshot *snapshot) {
	struct shelf *shelf = arg;
	struct hf_stats_about about;
	hf_mutex_lock(&shelf->mutex);
	while (shelf->stuck)
		hf_cond_wait(&shelf->moved, &shelf->mutex);
	hf_stats_about(snapshot, &about);
	uint64_t value = hf_stats_count(snapshot, shelf->c);
	shelf->writes++;
	if (value > shelf->last)
		shelf->last = value;
	bool ok = !shelf->fails;
	hf_mutex_unlock(&shelf->mutex);
	return ok;
}

static void shelf_set(struct shelf *shelf, bool stuck, bool fails) {
	hf_mutex_lock(&shelf->mutex);
	shelf->stuck = stuck;
	shelf->fails = fails;
	hf_cond_broadcast(&shelf->moved);
	hf_mutex_unlock(&shelf->mutex);
}

static void what_finds_no_room_in_the_archive_is_counted(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *thread = join(stats, "counts");
	struct shelf shelf = { .stuck = true, .c = counter(stats, "c") };
	struct hf_archiver *archiver;
	struct hf_archiver_info info;
	const struct hf_archiver_options options = { .stats = stats,
						     .period_ns = MS / 10,
						     .deadline_ns = LONG_NS,
						     .queue = 3,
						     .workers = 2,
						     .write = put_on_shelf,
						     .arg = &shelf };
	hf_mutex_init(&shelf.mutex);
	hf_cond_init(&shelf.moved);
	assert_int_equal(hf_archiver_start(&options, &archiver, why, sizeof(why)), HF_OK);
	uint64_t counted = 0;
	/*
	 * Writing is stuck, and counting goes on: in the end three wait, two are being written, and
	 * all else is dropped, as what came before both workers were awake may have been.
	 */
	do {
		hf_count(thread, shelf.c, 1);
		counted++;
		hf_stats_quiescent(thread);
		hf_archiver_info(archiver, &info);
	} while (info.dropped < 10 || info.queued < 5);
	assert_int_equal(info.queued, 5);
	assert_int_equal(info.written + info.failed, 0);
	shelf_set(&shelf, false, true);
	do {
		hf_stats_quiescent(thread);
		hf_archiver_info(archiver, &info);
	} while (info.failed < 7);
	shelf_set(&shelf, false, false);
	do {
		hf_stats_quiescent(thread);
		hf_archiver_info(archiver, &info);
	} while (info.written < 7);
	hf_stats_leave(thread);
	hf_archiver_stop(archiver, &info);
	assert_int_equal(info.queued, 0);
	assert_int_equal(info.written + info.failed, shelf.writes);
	assert_int_equal(shelf.last, counted);
	hf_cond_fini(&shelf.moved);
	hf_mutex_fini(&shelf.mutex);
	hf_stats_free(stats);
}

static void an_archiver_may_wait_for_ever(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_snapshot *snapshot = new_snapshot(stats);
	struct shelf shelf = { .c = counter(stats, "c") };
	struct hf_archiver *archiver;
	struct hf_archiver_info info;
	const struct hf_archiver_options options = { .stats = stats,
						     .period_ns = UINT64_MAX,
						     .deadline_ns = LONG_NS,
						     .queue = 1,
						     .workers = 1,
						     .write = put_on_shelf,
						     .arg = &shelf };
	hf_mutex_init(&shelf.mutex);
	assert_int_equal(hf_archiver_start(&options, &archiver, why, sizeof(why)), HF_OK);
	uint64_t end_ns = hf_clock_monotonic_ns() + 20 * MS;
	while (hf_clock_monotonic_ns() < end_ns)
		take(stats, NULL, snapshot);
	hf_archiver_stop(archiver, &info);
	assert_int_equal(info.written + info.failed + info.dropped, 0);
	hf_mutex_fini(&shelf.mutex);
	hf_stats_snapshot_free(snapshot);
	hf_stats_free(stats);
}

/* Nor must it be waited for: the thread that is late may be the one that stops the archiver. */
static void an_archiver_that_waits_for_a_thread_can_be_stopped(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_stats_thread *late = join(stats, "late");
	struct shelf shelf = { .c = counter(stats, "c") };
	struct hf_archiver *archiver;
	struct hf_archiver_info info;
	const struct hf_archiver_options options = { .stats = stats,
						     .period_ns = MS / 10,
						     .deadline_ns = LONG_NS,
						     .queue = 1,
						     .workers = 1,
						     .write = put_on_shelf,
						     .arg = &shelf };
	hf_mutex_init(&shelf.mutex);
	assert_int_equal(hf_archiver_start(&options, &archiver, why, sizeof(why)), HF_OK);
	/* Until it has begun a snapshot, for which it waits now. */
	while (hf_atomic_load(&stats->epoch, HF_RELAXED) == 1)
		hf_thread_yield();
	uint64_t begin_ns = hf_clock_monotonic_ns();
	hf_archiver_stop(archiver, &info);
	assert_true(hf_clock_monotonic_ns() - begin_ns < LONG_NS / 4);
	assert_int_equal(info.written + info.dropped, 1);
	hf_stats_leave(late);
	hf_mutex_fini(&shelf.mutex);
	hf_stats_free(stats);
}

static void a_bad_archiver_is_refused(void **state) {
	struct hf_stats *stats = new_stats();
	struct hf_archiver *archiver;
	const struct hf_archiver_options good = {
		.stats = stats, .period_ns = 1, .queue = 1, .workers = 1, .write = put_on_shelf
	};
	struct hf_archiver_options bad[] = { good, good, good, good, good, good, good };
	bad[0].queue = 0;
	bad[1].queue = HF_ARCHIVER_QUEUE_MAX + 1;
	bad[2].workers = 0;
	bad[3].workers = HF_ARCHIVER_WORKERS_MAX + 1;
	bad[4].period_ns = 0;
	bad[5].write = NULL;
	bad[6].stats = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hf_archiver_start(&bad[i], &archiver, why, sizeof(why)), HF_USAGE);
	hf_stats_free(stats);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_a_slot_of_its_own),
		cmocka_unit_test(bad_names_and_sizes_are_refused),
		cmocka_unit_test(items_come_in_the_order_of_registration),
		cmocka_unit_test(buckets_cover_every_value),
		cmocka_unit_test(quantiles_are_right_within_0_4_percent),
		cmocka_unit_test(quantiles_below_256_are_exact),
		cmocka_unit_test(histograms_are_merged),
		cmocka_unit_test(a_value_that_is_recorded_no_times_is_none),
		cmocka_unit_test(a_gauge_is_the_sum_of_its_threads),
		cmocka_unit_test(what_a_thread_counted_stays_when_it_leaves),
		cmocka_unit_test(a_late_thread_is_told),
		cmocka_unit_test(without_memory_the_last_values_are_not_fresh),
		cmocka_unit_test(gauges_are_right_whatever_the_breaker_does),
		cmocka_unit_test(the_breaker_closes_by_time),
		cmocka_unit_test(a_snapshot_is_exact_while_threads_count),
		cmocka_unit_test(no_effect_comes_before_its_cause),
		cmocka_unit_test(a_sum_beyond_64_bits_keeps_its_carry),
		cmocka_unit_test(a_handle_may_be_shared_under_a_lock),
		cmocka_unit_test(only_a_shared_handle_may_be_quiescent_while_it_rests),
		cmocka_unit_test(a_lock_that_is_taken_is_waited_for_until_the_deadline),
		cmocka_unit_test(what_finds_no_room_in_the_archive_is_counted),
		cmocka_unit_test(an_archiver_may_wait_for_ever),
		cmocka_unit_test(an_archiver_that_waits_for_a_thread_can_be_stopped),
		cmocka_unit_test(a_bad_archiver_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
