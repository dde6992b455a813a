/*
 * stats.c - the product's own src/stats, explored: what src/stats/README.md argues, under every
 * behaviour of two or three threads.
 *
 *     stats [-f] [-v] [PART-OF-NAME]     as map
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "explore.h"
#include "holdfast/stats.h"
#include "os/thread.h"

struct state {
	struct hf_stats *stats;
	struct hf_stats_thread *a, *b;
	struct hf_stats_snapshot *snapshot;
	struct hf_counter x, y;
	uint64_t sent;
	struct hf_mutex lock; /* of a's handle, where it is shared */
};

static char err[768];

static void setup(void *state) {
	struct state *s = state;
	struct hf_stats_options options = { .counters = 4, .histograms = 1 };
	IL_CHECK(hf_stats_new(&options, &s->stats, err, sizeof(err)) == HF_OK);
	IL_CHECK(hf_stats_counter(s->stats, "x", &s->x, err, sizeof(err)) == HF_OK);
	IL_CHECK(hf_stats_counter(s->stats, "y", &s->y, err, sizeof(err)) == HF_OK);
	IL_CHECK(hf_stats_join(s->stats, "a", &s->a, err, sizeof(err)) == HF_OK);
	IL_CHECK(hf_stats_join(s->stats, "b", &s->b, err, sizeof(err)) == HF_OK);
	IL_CHECK(hf_stats_snapshot_new(s->stats, &s->snapshot, err, sizeof(err)) == HF_OK);
	hf_stats_rest(s->a);
	hf_stats_rest(s->b);
	hf_mutex_init(&s->lock);
}

static void count(struct hf_stats_thread *thread, struct hf_counter counter) {
	hf_plain_writes(&thread->counts[counter.slot], sizeof(uint64_t));
	hf_count(thread, counter, 1);
}

static void take(struct state *s, uint64_t *x, uint64_t *y) {
	struct hf_stats_about about;
	IL_CHECK(hf_stats_take(s->stats, NULL, 1000, s->snapshot, err, sizeof(err)) == HF_OK);
	hf_stats_about(s->snapshot, &about);
	IL_CHECK(about.fresh);
	*x = hf_stats_count(s->snapshot, s->x);
	*y = hf_stats_count(s->snapshot, s->y);
}

static void end(struct state *s) {
	hf_stats_snapshot_free(s->snapshot);
	if (s->a != NULL)
		hf_stats_leave(s->a);
	hf_stats_leave(s->b);
	hf_stats_free(s->stats);
}

/* After all threads: nothing is lost, nothing counted twice. */
static void check(void *state, uint64_t wanted_x, uint64_t wanted_y) {
	struct state *s = state;
	uint64_t x, y;
	take(s, &x, &y);
	IL_CHECK(x == wanted_x && y == wanted_y);
	end(s);
}

/* As many x as y in each interval. */
static void a_counts_both(void *state) {
	struct state *s = state;
	hf_stats_wake(s->a);
	for (int i = 0; i < 2; i++) {
		hf_stats_quiescent(s->a);
		count(s->a, s->x);
		count(s->a, s->y);
	}
	hf_stats_rest(s->a);
}

static void takes_equal(void *state) {
	struct state *s = state;
	uint64_t x, y, x2, y2;
	take(s, &x, &y);
	IL_CHECK(x == y && x <= 2);
	take(s, &x2, &y2);
	IL_CHECK(x2 == y2 && x2 >= x && x2 <= 2);
}

static void end_two(void *state) {
	check(state, 2, 2);
}

/* a counts x, then lets b count y for it. */
static void a_causes(void *state) {
	struct state *s = state;
	hf_stats_wake(s->a);
	count(s->a, s->x);
	hf_atomic_store(&s->sent, 1, HF_RELEASE);
	hf_stats_rest(s->a);
}

static void b_follows(void *state) {
	struct state *s = state;
	hf_stats_wake(s->b);
	bool sent = hf_atomic_load(&s->sent, HF_ACQUIRE);
	hf_stats_quiescent(s->b);
	if (sent)
		count(s->b, s->y);
	hf_stats_rest(s->b);
}

static void takes_in_order(void *state) {
	struct state *s = state;
	uint64_t x, y;
	take(s, &x, &y);
	IL_CHECK(y <= x);
}

static void end_any(void *state) {
	struct state *s = state;
	uint64_t x, y;
	take(s, &x, &y);
	IL_CHECK(x == 1 && y <= 1);
	end(s);
}

static void a_sleeps_and_counts(void *state) {
	struct state *s = state;
	for (int i = 0; i < 2; i++) {
		hf_stats_wake(s->a);
		count(s->a, s->x);
		count(s->a, s->y);
		hf_stats_rest(s->a);
	}
}

static void b_counts_both(void *state) {
	struct state *s = state;
	hf_stats_wake(s->b);
	count(s->b, s->x);
	count(s->b, s->y);
	hf_stats_quiescent(s->b);
	hf_stats_rest(s->b);
}

static void takes_once(void *state) {
	struct state *s = state;
	uint64_t x, y;
	take(s, &x, &y);
	IL_CHECK(x == y && x <= 3);
}

static void end_three(void *state) {
	check(state, 3, 3);
}

/*
 * a's handle goes around under a lock: a snapshot may come for it at any time. Time stands still:
 * to find the lock taken, and to come again until it is free, is to wait for it.
 */
static void pass_under_lock(void *arg) {
	struct state *s = arg;
	hf_mutex_lock(&s->lock);
	if (s->a != NULL)
		hf_stats_quiescent(s->a);
	hf_mutex_unlock(&s->lock);
}

static void share_and_count(struct state *s) {
	hf_stats_share(s->a, pass_under_lock, s);
	hf_mutex_lock(&s->lock);
	hf_stats_wake(s->a);
	count(s->a, s->x);
	count(s->a, s->y);
	hf_mutex_unlock(&s->lock);
}

static void a_shares_and_rests(void *state) {
	struct state *s = state;
	share_and_count(s);
	hf_mutex_lock(&s->lock);
	hf_stats_rest(s->a);
	hf_mutex_unlock(&s->lock);
}

static void a_shares_and_leaves(void *state) {
	struct state *s = state;
	share_and_count(s);
	hf_mutex_lock(&s->lock);
	hf_stats_leave(s->a);
	s->a = NULL;
	hf_mutex_unlock(&s->lock);
}

static void end_one(void *state) {
	check(state, 1, 1);
}

static const struct explored {
	const char *name;
	void (*check)(void *state), (*threads[3])(void *state);
} tests[] = {
	{ "a counts; two snapshots", end_two, { a_counts_both, takes_equal } },
	{ "a rests and counts; two snapshots", end_two, { a_sleeps_and_counts, takes_equal } },
	{ "a rests, b counts; a snapshot",
	  end_three,
	  { a_sleeps_and_counts, b_counts_both, takes_once } },
	{ "cause and effect; a snapshot", end_any, { a_causes, b_follows, takes_in_order } },
	{ "a shared handle rests; a snapshot", end_one, { a_shares_and_rests, takes_once } },
	{ "a shared handle leaves; a snapshot", end_one, { a_shares_and_leaves, takes_once } },
};

static bool explore(const struct explored *it, bool verbose) {
	struct il_test test = {
		.name = it->name,
		.state_bytes = sizeof(struct state),
		.setup = setup,
		.check = it->check,
		.threads = { { "a", it->threads[0] },
			     { "b", it->threads[1] },
			     { "c", it->threads[2] } },
	};
	struct il_options options = { .mode = IL_ALL, .trace = verbose ? stdout : NULL };
	struct il_result result;
	(void)il_explore(&test, &options, &result);
	printf("| %s | %s | %ju + %ju | %u | %.2f |\n", it->name,
	       result.failed ? "FAILED" : "every behaviour", (uintmax_t)result.runs,
	       (uintmax_t)result.cut, result.longest, result.seconds);
	if (result.failed)
		printf("    %s\n    schedule %s\n", result.failure, result.schedule);
	return !result.failed;
}

int main(int argc, char **argv) {
	bool good = true, first = false, verbose = false;
	int option;
	while ((option = getopt(argc, argv, "fv")) != -1) {
		if (option == '?')
			return 2;
		first |= option == 'f';
		verbose |= option == 'v';
	}
	const char *part = optind < argc ? argv[optind] : "";
	printf("| test | explored | runs + cut short | steps | seconds |\n"
	       "| --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (strstr(tests[i].name, part) && (good || !first))
			good &= explore(&tests[i], verbose);
	return good ? 0 : 1;
}
