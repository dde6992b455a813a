/*
 * The engine by its own calls: what requests answer, what they leave, what a restart brings back.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine_private.h"
#include "holdfast/stats.h"
#include "machine/machine.h"
#include "os/clock.h"

#define SECOND_NS 1000000000u

static const char order_v1[] =
	"---\n"
	"title: order\n"
	"---\n"
	"stateDiagram-v2\n"
	"    %% version 1\n"
	"    %% field qty: u64\n"
	"    %% field filled: u64\n"
	"    %% field symbol: bytes(12)\n"
	"    %% invariant filled <= qty\n"
	"    [*] --> Open : Place(q: u64, s: bytes(12)) [q > 0] / qty = q, symbol = s\n"
	"    Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n"
	"    Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n"
	"    Open --> Cancelled : Cancel\n"
	"    Filled --> [*]\n"
	"    Cancelled --> [*]\n";

struct fixture {
	char path[80];
	enum hf_flush_mode flush;
	struct hf_engine *engine;
	struct hf_reply reply;
	struct hf_err err;
	uint64_t next_version; /* that the history is expected to show */
};

static void open_engine(struct fixture *fixture) {
	struct hf_engine_options options = {
		.data_dir = fixture->path,
		.flush = fixture->flush,
		.segment_size = HF_SEGMENT_SIZE_MIN,
	};
	if (!hf_engine_open(&options, &fixture->engine, &fixture->err))
		fail_msg("%s", fixture->err.text);
}

static void reopen(struct fixture *fixture) {
	if (!hf_engine_close(fixture->engine, &fixture->err))
		fail_msg("%s", fixture->err.text);
	open_engine(fixture);
}

static enum hf_status load(struct fixture *fixture, const char *text) {
	hf_engine_lock(fixture->engine);
	hf_engine_contract_load(fixture->engine, hf_span_of(text), "test", &fixture->reply);
	hf_engine_unlock(fixture->engine);
	return fixture->reply.status;
}

static int set_up(void **state) {
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	*state = fixture;
	snprintf(fixture->path, sizeof(fixture->path), "build/test-engine-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	open_engine(fixture);
	return load(fixture, order_v1) == HF_OK ? 0 : -1;
}

static int tear_down(void **state) {
	struct fixture *fixture = *state;
	char command[128];
	bool closed = fixture->engine == NULL || hf_engine_close(fixture->engine, &fixture->err);
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture->path);
	free(fixture);
	return system(command) == 0 && closed ? 0 : -1;
}

/* `params`: "name=value name=value". */
static enum hf_status send_full(struct fixture *fixture, const char *key, const char *event,
				const char *params, const char *id, int64_t ifversion) {
	char text[256];
	struct hf_arg args[8];
	uint32_t count = 0;
	snprintf(text, sizeof(text), "%s", params);
	for (char *pair = strtok(text, " "); pair != NULL; pair = strtok(NULL, " ")) {
		char *equals = strchr(pair, '=');
		*equals = '\0';
		args[count++] = (struct hf_arg){ hf_span_of(pair), hf_span_of(equals + 1) };
	}
	struct hf_send send = {
		.contract = hf_span_of("order"),
		.key = hf_span_of(key),
		.event = hf_span_of(event),
		.args = args,
		.arg_count = count,
		.id = hf_span_of(id),
		.has_ifversion = ifversion >= 0,
		.ifversion = (uint64_t)ifversion,
	};
	hf_engine_lock(fixture->engine);
	hf_engine_prepare(fixture->engine, &send);
	hf_engine_touch(fixture->engine, &send);
	hf_engine_send(fixture->engine, &send, &fixture->reply);
	hf_engine_unlock(fixture->engine);
	return fixture->reply.status;
}

static enum hf_status send_event(struct fixture *fixture, const char *key, const char *event,
				 const char *params) {
	return send_full(fixture, key, event, params, "", -1);
}

static void assert_text(const struct fixture *fixture, const char *part) {
	if (fixture->reply.text == NULL || strstr(fixture->reply.text, part) == NULL)
		fail_msg("'%s' is not in: %s", part,
			 fixture->reply.text == NULL ? "(no text)" : fixture->reply.text);
}

static void assert_ok(const struct fixture *fixture, const char *state, uint64_t version) {
	if (fixture->reply.status != HF_OK)
		fail_msg("%s %s", hf_status_name(fixture->reply.status), fixture->reply.text);
	assert_string_equal(fixture->reply.state, state);
	assert_int_equal(fixture->reply.version, version);
}

static void state_hash(struct fixture *fixture, uint8_t hash[16]) {
	hf_engine_lock(fixture->engine);
	hf_engine_hash(fixture->engine, hash, &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_int_equal(fixture->reply.status, HF_OK);
}

/* Runs `request` and checks that it left nothing behind. */
static void assert_untouched(struct fixture *fixture, const uint8_t before[16], uint64_t lsn) {
	uint8_t after[16];
	state_hash(fixture, after);
	assert_memory_equal(before, after, 16);
	assert_int_equal(fixture->reply.lsn, lsn);
}

static void refusals_say_why_and_change_nothing(void **state) {
	struct fixture *fixture = *state;
	send_event(fixture, "42", "Place", "q=5 s=AAPL");
	assert_ok(fixture, "Open", 1);
	send_full(fixture, "42", "Fill", "n=3", "f1", 1);
	assert_ok(fixture, "Open", 2);
	uint8_t before[16];
	state_hash(fixture, before);
	uint64_t lsn = fixture->reply.lsn;
	char long_key[HF_KEY_MAX + 2];
	memset(long_key, 'k', sizeof(long_key) - 1);
	long_key[sizeof(long_key) - 1] = '\0';
	const struct {
		const char *key, *event, *params, *id;
		int64_t ifversion;
		enum hf_status status;
		const char *part;
	} cases[] = {
		{ "42", "Place", "q=1 s=x", "", -1, HF_REFUSED,
		  "order:42 is Open (version 2): Place" },
		{ "42", "Fill", "n=9", "", -1, HF_REFUSED, "filled" },
		{ "42", "Fill", "n=18446744073709551615", "", -1, HF_REFUSED, "overflow" },
		{ "43", "Fill", "n=1", "", -1, HF_REFUSED, "order:43 does not exist yet: " },
		{ "42", "Fil", "n=1", "", -1, HF_BADEVENT, "Fill" },
		{ "42", "Fill", "", "", -1, HF_BADPARAM, "missing param 'n'" },
		{ "42", "Fill", "n=1 n=1", "", -1, HF_BADPARAM, "repeated param 'n'" },
		{ "42", "Fill", "n=1 m=1", "", -1, HF_BADPARAM,
		  "unknown param 'm': Fill takes n: u64" },
		{ "42", "Fill", "n=-1", "", -1, HF_BADPARAM, "n" },
		{ "42", "Fill", "n=01", "", -1, HF_BADPARAM, "n" },
		{ "44", "Place", "q=1 s=thirteenbytes", "", -1, HF_TOOBIG, "12" },
		{ "42", "Fill", "n=1", "", 1, HF_STALE, "at version 2 (Open), not 1" },
		{ "43", "Place", "q=1 s=x", "", 3, HF_STALE, "does not exist yet (version 0)" },
		{ "42", "Fill", "n=2", "f1", -1, HF_BADPARAM,
		  "ID 'f1' of order:42 was used for another request: Fill" },
		{ "42", "Cancel", "", "f1", -1, HF_BADPARAM, "version 2" },
		{ long_key, "Fill", "n=1", "", -1, HF_TOOBIG, "256 bytes, the limit is 255" },
		{ "42", "Fill", "n=1", long_key, -1, HF_TOOBIG, "256 bytes, the limit is 255" },
		{ "", "Fill", "n=1", "", -1, HF_BADPARAM, "empty" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		send_full(fixture, cases[i].key, cases[i].event, cases[i].params, cases[i].id,
			  cases[i].ifversion);
		assert_int_equal(fixture->reply.status, cases[i].status);
		assert_text(fixture, cases[i].part);
		assert_untouched(fixture, before, lsn);
	}
}

static void an_id_gets_its_original_reply_for_ever(void **state) {
	struct fixture *fixture = *state;
	send_full(fixture, "1", "Place", "q=5 s=A", "p", -1);
	uint64_t lsn = fixture->reply.lsn;
	for (int i = 0; i < 5; i++)
		send_event(fixture, "1", "Fill", "n=1");
	assert_ok(fixture, "Filled", 6);
	/* An id belongs to its entity: another one may use it. */
	send_full(fixture, "2", "Place", "q=5 s=A", "p", -1);
	assert_ok(fixture, "Open", 1);
	assert_false(fixture->reply.retried);
	for (int round = 0; round < 2; round++) {
		send_full(fixture, "1", "Place", "s=A q=5", "p",
			  77); /* also with a version that is stale by now */
		assert_ok(fixture, "Open", 1);
		assert_true(fixture->reply.retried);
		assert_int_equal(fixture->reply.lsn, lsn);
		reopen(fixture);
	}
}

static void replay_gives_the_same_hash_at_every_lsn(void **state) {
	struct fixture *fixture = *state;
	enum { EVENTS = 600 };
	static uint8_t hashes[EVENTS + 2][16];
	for (int i = 0; i < EVENTS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i / 3);
		if (i % 3 == 0)
			send_full(fixture, key, "Place", "q=9 s=X", "id", -1);
		else
			send_event(fixture, key, "Fill", i % 2 ? "n=4" : "n=5");
		assert_int_equal(fixture->reply.status, HF_OK);
		uint64_t lsn = fixture->reply.lsn;
		state_hash(fixture, hashes[lsn]);
	}
	reopen(fixture);
	uint8_t hash[16];
	state_hash(fixture, hash);
	assert_memory_equal(hash, hashes[EVENTS + 1], 16);
	for (uint64_t lsn = 2; lsn <= EVENTS + 1; lsn += 37) {
		struct hf_engine_options options = { .data_dir = fixture->path,
						     .read_only = true,
						     .until_lsn = lsn,
						     .verify = true };
		struct hf_engine *replayed;
		assert_true(hf_engine_open(&options, &replayed, &fixture->err));
		hf_engine_lock(replayed);
		hf_engine_hash(replayed, hash, &fixture->reply);
		hf_engine_unlock(replayed);
		assert_int_equal(fixture->reply.lsn, lsn);
		assert_memory_equal(hash, hashes[lsn], 16);
		assert_true(hf_engine_close(replayed, &fixture->err));
	}
}

static void on_history(void *arg, const struct hf_history_event *event) {
	struct fixture *fixture = arg;
	assert_int_equal(event->version, fixture->next_version++);
	if (event->version == 1) {
		assert_string_equal(event->event, "Place");
		assert_int_equal(event->params[0].num, 100000);
		assert_true(
			hf_span_is(hf_span(event->params[1].data, event->params[1].len), "IBM"));
		assert_true(hf_span_is(event->id, "place"));
		return;
	}
	assert_string_equal(event->event, "Fill");
	assert_int_equal(event->params[0].num, event->version);
	assert_int_equal(event->id.len, 0);
}

static void get(struct fixture *fixture, const char *key) {
	struct hf_entity_view view;
	hf_engine_lock(fixture->engine);
	hf_engine_get(fixture->engine, hf_span_of("order"), hf_span_of(key), &view,
		      &fixture->reply);
	hf_engine_unlock(fixture->engine);
}

static void every_outcome_waits_for_what_it_shows(void **state) {
	struct fixture *fixture = *state;
	uint8_t hash[16];
	send_full(fixture, "a", "Place", "q=9 s=x", "id-1", -1);
	uint64_t placed = fixture->reply.lsn;
	assert_int_equal(fixture->reply.durable_at, placed);
	send_full(fixture, "a", "Place", "q=9 s=x", "id-1", -1);
	assert_true(fixture->reply.retried);
	assert_int_equal(fixture->reply.durable_at, placed);
	send_full(fixture, "a", "Place", "q=8 s=x", "id-1", -1);
	assert_int_equal(fixture->reply.status, HF_BADPARAM);
	assert_int_equal(fixture->reply.durable_at, placed);
	assert_int_equal(send_event(fixture, "a", "Fill", "n=10"), HF_REFUSED);
	assert_int_equal(fixture->reply.durable_at, placed);
	assert_int_equal(send_full(fixture, "a", "Fill", "n=1", "", 7), HF_STALE);
	assert_int_equal(fixture->reply.durable_at, placed);
	get(fixture, "a");
	assert_int_equal(fixture->reply.durable_at, placed);
	send_event(fixture, "b", "Place", "q=9 s=x");
	state_hash(fixture, hash);
	assert_int_equal(fixture->reply.durable_at, placed + 1);
	get(fixture, "a"); /* of what is older it waits for no more */
	assert_int_equal(fixture->reply.durable_at, placed);
}

static void count_state(void *arg, const char *state, uint64_t entities) {
}

static void count(struct fixture *fixture, const char *contract) {
	hf_engine_lock(fixture->engine);
	hf_engine_count(fixture->engine, hf_span_of(contract), count_state, NULL, &fixture->reply);
	hf_engine_unlock(fixture->engine);
}

/* Sixteen contracts are named to who asks for another; if there are more, that is said. */
static void a_message_says_that_there_are_more_contracts(void **state) {
	struct fixture *fixture = *state;
	for (int count = 1; count <= 17; count++) {
		struct hf_entity_view view;
		char text[128];
		hf_engine_lock(fixture->engine);
		hf_engine_get(fixture->engine, hf_span_of("none"), hf_span_of("1"), &view,
			      &fixture->reply);
		hf_engine_unlock(fixture->engine);
		assert_int_equal(fixture->reply.status, HF_NOTFOUND);
		assert_non_null(strstr(fixture->reply.text, "loaded are: order"));
		assert_true((strstr(fixture->reply.text, ", c15, ...") != NULL) == (count > 16));
		snprintf(text, sizeof(text),
			 "---\ntitle: c%d\n---\nstateDiagram-v2\n[*] --> A : Go\n", count);
		assert_int_equal(load(fixture, text), HF_OK);
	}
}

/* What an older entity is shown through, and judged by, may not be durable yet. */
static void every_outcome_waits_for_the_contract_it_shows(void **state) {
	struct fixture *fixture = *state;
	static char later[sizeof(order_v1) + 40];
	send_event(fixture, "a", "Place", "q=9 s=x");
	snprintf(later, sizeof(later), "%s    %%%% field note: u64\n", order_v1);
	strstr(later, "version 1")[8] = '2';
	assert_int_equal(load(fixture, later), HF_OK);
	uint64_t loaded = fixture->reply.lsn;
	get(fixture, "a");
	assert_int_equal(fixture->reply.durable_at, loaded);
	get(fixture, "b");
	assert_int_equal(fixture->reply.status, HF_NOTFOUND);
	assert_int_equal(fixture->reply.durable_at, loaded);
	assert_int_equal(send_event(fixture, "a", "Fill", "n=10"), HF_REFUSED);
	assert_int_equal(fixture->reply.durable_at, loaded);
	assert_int_equal(send_event(fixture, "a", "Fill", "m=1"), HF_BADPARAM);
	assert_int_equal(fixture->reply.durable_at, loaded);
	assert_int_equal(send_event(fixture, "a", "Nothing", ""), HF_BADEVENT);
	assert_int_equal(fixture->reply.durable_at, loaded);
	assert_int_equal(send_full(fixture, "a", "Fill", "n=1", "", 7), HF_STALE);
	assert_int_equal(fixture->reply.durable_at, loaded);
	count(fixture, "orders");
	assert_text(fixture, "loaded are: order");
	assert_int_equal(fixture->reply.durable_at, loaded);
	get(fixture, "");
	assert_int_equal(fixture->reply.status, HF_BADPARAM);
	assert_int_equal(fixture->reply.durable_at, loaded);
}

/* That it may not be loaded tells of the one in force, and of the entities that it would strand. */
static void a_refused_contract_waits_for_what_refused_it(void **state) {
	struct fixture *fixture = *state;
	static char later[sizeof(order_v1) + 40];
	snprintf(later, sizeof(later), "%s    %%%% field note: u64\n", order_v1);
	strstr(later, "version 1")[8] = '2';
	assert_int_equal(load(fixture, later), HF_OK);
	uint64_t loaded = fixture->reply.lsn;
	strstr(later, "note")[0] = 'v';
	assert_int_equal(load(fixture, later), HF_REFUSED);
	assert_text(fixture, "is in force with another text");
	assert_int_equal(fixture->reply.durable_at, loaded);
	send_event(fixture, "a", "Place", "q=9 s=x");
	uint64_t placed = fixture->reply.lsn;
	strstr(later, "vote")[0] = 'n';
	strstr(later, "version 2")[8] = '3';
	for (char *at; (at = strstr(later, "Open")) != NULL;)
		memcpy(at, "Shut", 4);
	assert_int_equal(load(fixture, later), HF_REFUSED);
	assert_text(fixture, "Open");
	assert_int_equal(fixture->reply.durable_at, placed);
}

/* A snapshot of what is there now, that is over; nobody has looked yet how it ended. */
static uint64_t snapshot_over(struct fixture *fixture) {
	struct hf_engine_info info;
	uint64_t ticket;
	assert_true(hf_engine_snapshot(fixture->engine, &ticket, &fixture->err));
	do {
		usleep(1000);
		hf_engine_lock(fixture->engine);
		hf_engine_flush(fixture->engine);
		hf_engine_info(fixture->engine, &info);
		hf_engine_unlock(fixture->engine);
	} while (info.snapshot_under_way);
	return ticket;
}

static void who_asked_for_a_snapshot_is_told_of_that_one(void **state) {
	struct fixture *fixture = *state;
	struct hf_snapshot_outcome outcome;
	char path[160];
	send_event(fixture, "a", "Place", "q=9 s=x");
	uint64_t placed = fixture->reply.lsn, good = snapshot_over(fixture);
	send_event(fixture, "b", "Place", "q=9 s=x");
	snprintf(path, sizeof(path), "%s/snapshot-%016llx.hfs.making", fixture->path,
		 (unsigned long long)fixture->reply.lsn);
	assert_int_equal(mkdir(path, 0777), 0);
	uint64_t bad = snapshot_over(fixture);
	assert_int_equal(rmdir(path), 0);
	assert_true(hf_engine_snapshot_done(fixture->engine, good, &outcome));
	assert_int_equal(outcome.err.status, HF_OK);
	assert_int_equal(outcome.lsn, placed);
	assert_true(hf_engine_snapshot_done(fixture->engine, bad, &outcome));
	assert_int_equal(outcome.err.status, HF_IO);
}

/* Whoever has the lock, and however long. */
static void the_figures_do_not_wait_for_the_lock_beyond_their_deadline(void **state) {
	struct fixture *fixture = *state;
	struct hf_stats *stats = hf_engine_stats(fixture->engine);
	struct hf_stats_snapshot *snapshot;
	struct hf_stats_about about;
	struct hf_err *err = &fixture->err;
	size_t cap = sizeof(err->text);
	assert_int_equal(hf_stats_snapshot_new(stats, &snapshot, err->text, cap), HF_OK);
	hf_engine_lock(fixture->engine);
	assert_int_equal(hf_stats_take(stats, NULL, 1000000, snapshot, err->text, cap), HF_OK);
	hf_engine_unlock(fixture->engine);
	hf_stats_about(snapshot, &about);
	assert_true(!about.fresh && about.late == 1);
	assert_string_equal(hf_stats_late(snapshot, 0), "sequencer");
	assert_int_equal(hf_stats_take(stats, NULL, UINT64_MAX, snapshot, err->text, cap), HF_OK);
	hf_stats_about(snapshot, &about);
	assert_true(about.fresh);
	hf_stats_snapshot_free(snapshot);
}

static const char timed[] = "---\ntitle: timed\n---\n"
			    "stateDiagram-v2\n"
			    "    %% version 1\n"
			    "    %% field at: i64\n"
			    "    [*] --> On : Tick [now > 0] / at = now\n"
			    "    On --> On : Tick [now >= at] / at = now\n"
			    "    On --> Done : Stop\n"
			    "    Done --> [*]\n";

static void replay_sees_the_time_that_was_logged(void **state) {
	struct fixture *fixture = *state;
	uint8_t before[16], after[16];
	assert_int_equal(load(fixture, timed), HF_OK);
	struct hf_send tick = {
		.contract = hf_span_of("timed"),
		.key = hf_span_of("t"),
		.event = hf_span_of("Tick"),
	};
	for (int i = 0; i < 10; i++) {
		hf_engine_lock(fixture->engine);
		hf_engine_send(fixture->engine, &tick, &fixture->reply);
		hf_engine_unlock(fixture->engine);
		assert_int_equal(fixture->reply.status, HF_OK);
		usleep(1000);
	}
	state_hash(fixture, before);
	reopen(fixture);
	state_hash(fixture, after);
	assert_memory_equal(before, after, sizeof(before));
}

static void history_is_found_from_any_version(void **state) {
	struct fixture *fixture = *state;
	enum { VERSIONS = 400 };
	send_full(fixture, "h", "Place", "q=100000 s=IBM", "place", -1);
	for (int version = 2; version <= VERSIONS; version++) {
		char params[16];
		snprintf(params, sizeof(params), "n=%d", version);
		send_event(fixture, "h", "Fill", params);
		send_event(fixture, "other", version == 2 ? "Place" : "Fill",
			   version == 2 ? "q=9999 s=x" : "n=1");
		assert_ok(fixture, "Open", (uint64_t)version - 1);
	}
	for (int round = 0; round < 2; round++) {
		for (uint64_t from = 1; from <= VERSIONS + 1; from++) {
			uint64_t count = from % 67 + 1;
			fixture->next_version = from;
			hf_engine_lock(fixture->engine);
			hf_engine_history(fixture->engine, hf_span_of("order"), hf_span_of("h"),
					  from, count, on_history, fixture, &fixture->reply);
			hf_engine_unlock(fixture->engine);
			assert_int_equal(fixture->reply.status, HF_OK);
			uint64_t end = from + count > VERSIONS + 1 ? VERSIONS + 1 : from + count;
			assert_int_equal(fixture->next_version, end);
		}
		reopen(fixture);
	}
	hf_engine_lock(fixture->engine);
	hf_engine_history(fixture->engine, hf_span_of("order"), hf_span_of("h"), 1,
			  HF_HISTORY_MAX + 1, on_history, fixture, &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_int_equal(fixture->reply.status, HF_TOOBIG);
}

static void fill_next(struct fixture *fixture, int *version) {
	char params[16];
	snprintf(params, sizeof(params), "n=%d", ++*version);
	send_event(fixture, "h", "Fill", params);
}

/* A history read in steps shows what there was at its beginning, and reads no more than it may. */
static void history_goes_on_while_events_come(void **state) {
	struct fixture *fixture = *state;
	enum { VERSIONS = 256, READS = 5 };
	int version = 1;
	send_full(fixture, "h", "Place", "q=100000 s=IBM", "place", -1);
	while (version < VERSIONS)
		fill_next(fixture, &version);
	for (uint64_t from = 1; from <= VERSIONS; from += 51) {
		struct hf_history history;
		uint64_t steps = 0;
		fixture->next_version = from;
		hf_engine_lock(fixture->engine);
		hf_engine_history_begin(fixture->engine, hf_span_of("order"), hf_span_of("h"), from,
					HF_HISTORY_MAX, &history, &fixture->reply);
		hf_engine_unlock(fixture->engine);
		assert_int_equal(fixture->reply.status, HF_OK);
		uint64_t end = fixture->reply.version;
		for (; !hf_history_over(&history); steps++) {
			hf_engine_lock(fixture->engine);
			assert_true(hf_engine_history_step(fixture->engine, &history, READS,
							   on_history, fixture, &fixture->err));
			hf_engine_unlock(fixture->engine);
			if (steps % 8 == 0)
				fill_next(fixture, &version);
		}
		assert_int_equal(fixture->next_version, end + 1);
		/* There, by strides; then back to `from`, and forward again. */
		assert_in_range(steps, 2 * (end - from) / READS, 2 * (end - from) / READS + 16);
	}
	/* Strides: the oldest ones are as near as the newest. */
	struct hf_history history;
	fixture->next_version = 1;
	hf_engine_lock(fixture->engine);
	hf_engine_history_begin(fixture->engine, hf_span_of("order"), hf_span_of("h"), 1, 1,
				&history, &fixture->reply);
	assert_true(hf_engine_history_step(fixture->engine, &history, VERSIONS / 64 + 64,
					   on_history, fixture, &fixture->err));
	hf_engine_unlock(fixture->engine);
	assert_true(hf_history_over(&history));
	assert_int_equal(fixture->next_version, 2);
}

struct counts {
	char text[256];
};

static void on_count(void *arg, const char *state, uint64_t entities) {
	struct counts *counts = arg;
	size_t len = strlen(counts->text);
	snprintf(counts->text + len, sizeof(counts->text) - len, "%s=%llu ", state,
		 (unsigned long long)entities);
}

static void assert_counts(struct fixture *fixture, const char *expected) {
	struct counts counts = { "" };
	hf_engine_lock(fixture->engine);
	hf_engine_count(fixture->engine, hf_span_of("order"), on_count, &counts, &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_int_equal(fixture->reply.status, HF_OK);
	assert_string_equal(counts.text, expected);
}

/* The text with `from` in it replaced by `to`. */
static const char *edit(char *buf, size_t cap, const char *text, const char *from, const char *to) {
	const char *at = strstr(text, from);
	assert_non_null(at);
	snprintf(buf, cap, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return buf;
}

static void a_contract_is_upgraded_only_where_nothing_is_stranded(void **state) {
	struct fixture *fixture = *state;
	char a[2048], b[2048];
	send_full(fixture, "1", "Place", "q=5 s=A", "p1", -1);
	send_event(fixture, "2", "Place", "q=5 s=B");
	send_event(fixture, "2", "Cancel", "");
	uint8_t before[16];
	state_hash(fixture, before);
	uint64_t lsn = fixture->reply.lsn;

	assert_int_equal(load(fixture, order_v1), HF_OK); /* in force: nothing to do */
	assert_untouched(fixture, before, lsn);
	load(fixture, edit(a, sizeof(a), order_v1, "n > 0", "n > 1"));
	assert_int_equal(fixture->reply.status, HF_REFUSED);
	assert_text(fixture, "higher `%% version`");
	load(fixture, edit(b, sizeof(b), edit(a, sizeof(a), order_v1, "version 1", "version 2"),
			   "field qty: u64", "field qty: i64"));
	assert_int_not_equal(fixture->reply.status, HF_OK);
	edit(a, sizeof(a), order_v1, "version 1", "version 2");
	edit(b, sizeof(b), a, "    Open --> Cancelled : Cancel\n", "");
	load(fixture, edit(a, sizeof(a), b, "    Cancelled --> [*]\n", ""));
	assert_text(fixture, "Cancelled");
	assert_int_equal(fixture->reply.status, HF_REFUSED);
	assert_untouched(fixture, before, lsn);

	edit(a, sizeof(a), order_v1, "version 1", "version 2");
	edit(b, sizeof(b), a, "    %% field symbol",
	     "    %% field note: bytes(4)\n    %% field symbol");
	load(fixture, edit(a, sizeof(a), b, "    Open --> Cancelled : Cancel\n",
			   "    Open --> Held : Hold\n    Held --> Open : Resume\n    Open --> "
			   "Cancelled : Cancel\n"));
	assert_int_equal(fixture->reply.status, HF_OK);
	assert_int_equal(fixture->reply.version, 2);
	assert_counts(fixture, "Open=1 Filled=0 Held=0 Cancelled=1 ");
	assert_int_equal(load(fixture, order_v1), HF_REFUSED);
	assert_text(fixture, "order version 1 is older than version 2, which is in force");
	for (int round = 0; round < 2; round++) {
		send_full(fixture, "1", "Place", "q=5 s=A", "p1", -1);
		assert_ok(fixture, "Open", 1);
		assert_true(fixture->reply.retried);
		reopen(fixture);
	}
	send_event(fixture, "1", "Hold", "");
	assert_ok(fixture, "Held", 2);
	struct hf_entity_view view;
	hf_engine_lock(fixture->engine);
	hf_engine_get(fixture->engine, hf_span_of("order"), hf_span_of("1"), &view,
		      &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_ok(fixture, "Held", 2);
	int symbol = hf_contract_field(view.contract, hf_span_of("symbol"));
	int qty = hf_contract_field(view.contract, hf_span_of("qty"));
	struct hf_value value = hf_field_value(&view.contract->fields[symbol], view.block);
	assert_true(hf_span_is(hf_span(value.data, value.len), "A"));
	assert_int_equal(hf_field_value(&view.contract->fields[qty], view.block).num, 5);
	assert_counts(fixture, "Open=0 Filled=0 Held=1 Cancelled=1 ");
	uint8_t after[16], again[16];
	state_hash(fixture, after);
	reopen(fixture);
	state_hash(fixture, again);
	assert_memory_equal(after, again, 16);
	assert_int_equal(load(fixture, order_v1), HF_REFUSED); /* an older version */
}

/* Nothing leads to them any more, and those who are in them live on: also an end. */
static void states_are_retired_with_entities_in_them(void **state) {
	struct fixture *fixture = *state;
	char v2[2048], v3[2048], a[2048], b[2048];
	edit(a, sizeof(a), order_v1, "version 1", "version 2");
	edit(v2, sizeof(v2), a, "    Filled --> [*]\n",
	     "    Open --> Held : Hold\n    Held --> Open : Resume\n    Filled --> [*]\n");
	assert_int_equal(load(fixture, v2), HF_OK);
	for (const char *key = "1"; key != NULL; key = *key == '1' ? "2" : NULL)
		send_event(fixture, key, "Place", "q=5 s=A");
	send_event(fixture, "1", "Hold", "");
	send_event(fixture, "2", "Cancel", "");
	assert_counts(fixture, "Open=0 Filled=0 Cancelled=1 Held=1 ");

	edit(a, sizeof(a), v2, "version 2", "version 3");
	edit(b, sizeof(b), a, "    Open --> Cancelled : Cancel\n", "");
	edit(v3, sizeof(v3), b, "    Open --> Held : Hold\n", "");
	assert_int_equal(load(fixture, edit(a, sizeof(a), v3, "    Held --> Open : Resume\n", "")),
			 HF_REFUSED);
	assert_text(fixture, "keep the state, with arrows that lead out of it");
	if (load(fixture, v3) != HF_OK)
		fail_msg("%s", fixture->reply.text);
	reopen(fixture);
	assert_counts(fixture, "Open=0 Filled=0 Held=1 Cancelled=1 ");
	send_event(fixture, "1", "Resume", "");
	assert_ok(fixture, "Open", 3);
	send_event(fixture, "1", "Hold", "");
	assert_int_equal(fixture->reply.status, HF_BADEVENT);
	send_event(fixture, "2", "Resume", "");
	assert_int_equal(fixture->reply.status, HF_REFUSED);
	reopen(fixture);
	assert_counts(fixture, "Open=1 Filled=0 Held=0 Cancelled=1 ");
	/* Empty, it may go. */
	edit(a, sizeof(a), v3, "version 3", "version 4");
	assert_int_equal(load(fixture, edit(b, sizeof(b), a, "    Held --> Open : Resume\n", "")),
			 HF_OK);
}

static struct hf_contract *numbered(uint32_t number) {
	static struct hf_diagnostics diagnostics;
	struct hf_contract *contract;
	struct hf_err err;
	char text[128];
	snprintf(text, sizeof(text),
		 "---\ntitle: c%u\n---\nstateDiagram-v2\n    [*] --> A : go\n    A --> [*]\n",
		 number);
	if (!hf_contract_compile(hf_span_of(text), "test", &diagnostics, &contract, &err))
		fail_msg("%s", err.text);
	return contract;
}

static enum hf_status check(struct fixture *fixture, uint32_t number, uint32_t *news) {
	struct hf_contract *contract = numbered(number);
	hf_engine_lock(fixture->engine);
	bool ok = hf_engine_contract_check(fixture->engine, contract, news, &fixture->err);
	hf_engine_unlock(fixture->engine);
	hf_contract_free(contract);
	return ok ? HF_OK : fixture->err.status;
}

static enum hf_status put(struct fixture *fixture, uint32_t number) {
	hf_engine_lock(fixture->engine);
	hf_engine_contract_put(fixture->engine, numbered(number), &fixture->reply);
	hf_engine_unlock(fixture->engine);
	return fixture->reply.status;
}

/* That several do not fit is known before the first of them is logged. */
static void contracts_are_counted_before_they_are_put(void **state) {
	struct fixture *fixture = *state;
	uint32_t news = 0, number = 1; /* order is there */
	for (; number < HF_CONTRACTS_MAX - 2; number++)
		assert_int_equal(put(fixture, number), HF_OK);
	assert_int_equal(check(fixture, number, &news), HF_OK);
	assert_int_equal(check(fixture, 1, &news), HF_OK); /* in force: none more */
	assert_int_equal(check(fixture, number + 1, &news), HF_OK);
	assert_int_equal(check(fixture, number + 2, &news), HF_TOOBIG);
	assert_non_null(strstr(fixture->err.text, "contract texts, its limit"));
	assert_int_equal(check(fixture, 2, &news), HF_OK);
	assert_int_equal(news, 2);
	assert_int_equal(put(fixture, number), HF_OK);
	assert_int_equal(put(fixture, number + 1), HF_OK);
	assert_int_equal(put(fixture, number + 2), HF_TOOBIG);
	news = 0;
	assert_int_equal(check(fixture, number + 2, &news), HF_TOOBIG);
	assert_int_equal(check(fixture, number, &news), HF_OK);
	assert_int_equal(news, 0);
}

static uint64_t contract_memory(struct fixture *fixture) {
	struct hf_engine_info info;
	hf_engine_lock(fixture->engine);
	hf_engine_info(fixture->engine, &info);
	hf_engine_unlock(fixture->engine);
	return info.memory_contracts;
}

/* What most of a large contract is: which arrows to try, for each state and event. */
static void what_contracts_take_is_counted(void **state) {
	enum { STATES = 250, EVENTS = 100, TABLE = STATES * EVENTS * 4 };
	struct fixture *fixture = *state;
	static char text[STATES * 24];
	uint64_t before = contract_memory(fixture);
	assert_in_range(before, sizeof(order_v1), 16384);
	int len = snprintf(text, sizeof(text), "stateDiagram-v2\n[*] --> s0\n");
	for (int i = 0; i < STATES - 1; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "s%d --> s%d : e%d\n", i,
				i + 1, i % EVENTS);
	assert_int_equal(load(fixture, text), HF_OK);
	uint64_t after = contract_memory(fixture);
	assert_in_range(after - before, TABLE + (uint64_t)len, 4 * TABLE);
	assert_int_equal(load(fixture, text), HF_OK); /* it is there */
	assert_int_equal(contract_memory(fixture), after);
	reopen(fixture);
	assert_int_equal(contract_memory(fixture), after);
}

static void order_of_entities_does_not_change_the_hash(void **state) {
	struct fixture *fixture = *state;
	uint8_t empty[16], forth[16], back[16];
	state_hash(fixture, empty);
	static const uint8_t zeros[16];
	assert_memory_equal(empty, zeros, 16);
	send_event(fixture, "a", "Place", "q=5 s=A");
	send_event(fixture, "b", "Place", "q=6 s=B");
	state_hash(fixture, forth);
	struct fixture other = { .flush = HF_FLUSH_THREAD };
	snprintf(other.path, sizeof(other.path), "%.64s/other", fixture->path);
	open_engine(&other);
	assert_int_equal(load(&other, order_v1), HF_OK);
	send_event(&other, "b", "Place", "q=6 s=B");
	send_event(&other, "a", "Place", "q=5 s=A");
	state_hash(&other, back);
	assert_memory_equal(forth, back, 16);
	send_event(&other, "a", "Cancel", "");
	state_hash(&other, back);
	assert_memory_not_equal(forth, back, 16);
	assert_true(hf_engine_close(other.engine, &other.err));
}

static void a_failed_write_stops_everything(void **state) {
	struct fixture *fixture = *state;
	send_event(fixture, "1", "Place", "q=5 s=A");
	assert_true(hf_engine_wait(fixture->engine, fixture->reply.lsn, &fixture->err));
	uint64_t durable = fixture->reply.lsn;
	/* A real failure, from the kernel: no byte may be written any more. */
	struct rlimit old, none;
	getrlimit(RLIMIT_FSIZE, &old);
	none = (struct rlimit){ .rlim_cur = 512, .rlim_max = old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &none);
	/* The witness of what was acknowledged may have met the failure already. */
	enum hf_status status = send_event(fixture, "2", "Place", "q=5 s=A");
	assert_true(status == HF_OK || status == HF_STOPPED);
	if (status == HF_OK)
		assert_false(hf_engine_wait(fixture->engine, fixture->reply.lsn, &fixture->err));
	else
		(void)hf_fail(&fixture->err, status, "%s", fixture->reply.text);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(fixture->err.status, HF_STOPPED);
	/* Which file was first is a matter of threads: the log, its next segment, its witness. */
	assert_non_null(strstr(fixture->err.text, fixture->path));
	assert_true(hf_engine_stopped(fixture->engine));
	assert_int_equal(hf_engine_committed(fixture->engine), durable);
	/* The disk would take it again by now; nothing is tried again. */
	send_event(fixture, "3", "Place", "q=5 s=A");
	assert_int_equal(fixture->reply.status, HF_STOPPED);
	assert_false(hf_engine_close(fixture->engine, &fixture->err));
	open_engine(fixture);
	struct hf_entity_view view;
	hf_engine_lock(fixture->engine);
	hf_engine_get(fixture->engine, hf_span_of("order"), hf_span_of("1"), &view,
		      &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_ok(fixture, "Open", 1);
	hf_engine_lock(fixture->engine);
	hf_engine_get(fixture->engine, hf_span_of("order"), hf_span_of("2"), &view,
		      &fixture->reply);
	hf_engine_unlock(fixture->engine);
	assert_int_equal(fixture->reply.status, HF_NOTFOUND);
}

static int set_up_threaded(void **state) {
	int result = set_up(state);
	struct fixture *fixture = *state;
	if (result != 0 || !hf_engine_close(fixture->engine, &fixture->err))
		return -1;
	fixture->flush = HF_FLUSH_THREAD;
	open_engine(fixture);
	return 0;
}

/* ---- several threads --------------------------------------------------------------------- */

#define SENDERS 4
#define SENDS 6000

struct sender {
	struct fixture *fixture;
	uint64_t lsns[SENDS], versions[SENDS];
};

static void *send_many(void *arg) {
	struct sender *sender = arg;
	struct hf_engine *engine = sender->fixture->engine;
	for (uint32_t i = 0; i < SENDS; i++) {
		struct hf_arg fill = { hf_span_of("n"), hf_span_of("1") };
		struct hf_send send = {
			.contract = hf_span_of("order"),
			.key = hf_span_of("shared"),
			.event = hf_span_of("Fill"),
			.args = &fill,
			.arg_count = 1,
		};
		struct hf_reply reply;
		char id[HF_ID_MAX + 1];
		snprintf(id, sizeof(id), "%p-%u-%0200d", arg, i, 0); /* long, to fill segments */
		send.id = hf_span_of(id);
		hf_engine_lock(engine);
		hf_engine_send(engine, &send, &reply);
		hf_engine_unlock(engine);
		sender->lsns[i] = reply.status == HF_OK ? reply.lsn : 0;
		sender->versions[i] = reply.version;
	}
	return NULL;
}

/*
 * An append waits for room, in a small segment often, and others make requests meanwhile: what was
 * judged before such a wait would be judged by a state that is gone.
 */
static void a_wait_for_room_does_not_part_judging_and_applying(void **state) {
	struct fixture *fixture = *state;
	static struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	uint8_t seen[SENDERS * SENDS + 2] = { 0 };
	send_event(fixture, "shared", "Place", "q=1000000 s=x");
	for (int i = 0; i < SENDERS; i++) {
		senders[i].fixture = fixture;
		pthread_create(&threads[i], NULL, send_many, &senders[i]);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < SENDERS; i++)
		for (int j = 0; j < SENDS; j++) {
			assert_int_not_equal(senders[i].lsns[j], 0);
			assert_int_equal(senders[i].lsns[j], senders[i].versions[j] + 1);
			assert_int_equal(seen[senders[i].versions[j]]++, 0);
		}
	reopen(fixture);
}

/* ---- a disk that waits ------------------------------------------------------------------- */

/* Writes to files of such a name wait while theirs is shut. These stand before libc's. */
static struct gate {
	const char *name;
	_Atomic bool shut;
	_Atomic uint32_t waiting;
} gates[] = { { .name = "/snapshot-" }, { .name = "/log-" } };
static struct gate *const snapshot_gate = &gates[0], *const log_gate = &gates[1];

static void pass_gates(int fd) {
	char link[64], path[256];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	for (size_t i = 0; i < sizeof(gates) / sizeof(gates[0]); i++) {
		if (!gates[i].shut || strstr(path, gates[i].name) == NULL)
			continue;
		gates[i].waiting++;
		while (gates[i].shut)
			usleep(1000);
		gates[i].waiting--;
	}
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t offset) {
	pass_gates(fd);
	return syscall(SYS_pwrite64, fd, from, len, offset);
}

ssize_t pwritev2(int fd, const struct iovec *from, int count, off_t offset, int flags) {
	pass_gates(fd);
	return syscall(SYS_pwritev2, fd, from, count, (long)offset, 0L, flags);
}

#define SETTERS 40

struct setter {
	struct fixture *fixture;
	_Atomic uint32_t *begun, *over;
	uint32_t from, count; /* keys by number */
	enum hf_status status;
};

static void *set_some(void *arg) {
	static uint8_t value[HF_PLAIN_VALUE_MAX];
	struct setter *setter = arg;
	struct hf_engine *engine = setter->fixture->engine;
	for (uint32_t i = 0; i < setter->count; i++) {
		char key[16];
		bool is_set;
		struct hf_reply reply;
		snprintf(key, sizeof(key), "key %u", setter->from + i);
		struct hf_plain_set set = { .key = hf_span_of(key),
					    .value = hf_span(value, sizeof(value)) };
		(*setter->begun)++;
		hf_engine_lock(engine);
		hf_engine_plain_set(engine, &set, NULL, NULL, &is_set, &reply);
		hf_engine_unlock(engine);
		setter->status = reply.status;
		(*setter->over)++;
	}
	return NULL;
}

/* Until `count` has not moved for so long. */
static void wait_for_rest(const _Atomic uint32_t *count, useconds_t us) {
	for (uint32_t before = UINT32_MAX; before != *count; usleep(us))
		before = *count;
}

/*
 * The log is full, and there is room for images. Many wait for the log; each of them found that
 * room, but it is not enough for all: they wait for it, too, and the snapshot is not given up.
 */
static void a_wait_for_the_log_does_not_cost_the_room_for_an_image(void **state) {
	struct fixture *fixture = *state;
	_Atomic uint32_t begun = 0, over = 0, filled = 0;
	struct setter first = { fixture, &begun, &over, 0, SETTERS, HF_OK }, setters[SETTERS];
	struct setter filler = { fixture, &begun, &filled, 1000, 300, HF_OK };
	pthread_t threads[SETTERS], filling;
	struct hf_snapshot_outcome outcome;
	uint64_t ticket;
	set_some(&first);
	snapshot_gate->shut = true;
	assert_true(hf_engine_snapshot(fixture->engine, &ticket, &fixture->err));
	while (snapshot_gate->waiting == 0)
		usleep(1000);
	log_gate->shut = true;
	pthread_create(&filling, NULL, set_some, &filler);
	wait_for_rest(&filled, 200000);
	assert_true(filled < filler.count && log_gate->waiting > 0);
	begun = over = 0;
	for (uint32_t i = 0; i < SETTERS; i++) {
		setters[i] = (struct setter){ fixture, &begun, &over, i, 1, HF_OK };
		pthread_create(&threads[i], NULL, set_some, &setters[i]);
	}
	wait_for_rest(&begun, 200000);
	assert_int_equal(begun, SETTERS);
	assert_int_equal(over, 0);
	log_gate->shut = false;
	wait_for_rest(&over, 100000); /* a wait for an image gives up after a second */
	snapshot_gate->shut = false;
	for (uint32_t i = 0; i < SETTERS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(filling, NULL);
	for (uint32_t i = 0; i < SETTERS; i++)
		assert_int_equal(setters[i].status, HF_OK);
	hf_engine_snapshot_wait(fixture->engine, ticket, &outcome);
	if (outcome.err.status != HF_OK)
		fail_msg("%s", outcome.err.text);
	reopen(fixture);
}

/* ---- a disk that is too slow for a snapshot ---------------------------------------------- */

struct waiter {
	struct hf_engine *engine;
	pthread_t thread;
	uint64_t ns;
};

static void *wait_for_block(void *arg) {
	struct waiter *waiter = arg;
	uint64_t begin_ns = hf_clock_monotonic_ns();
	hf_engine_lock(waiter->engine);
	(void)hf_saver_make_room(waiter->engine);
	hf_engine_unlock(waiter->engine);
	waiter->ns = hf_clock_monotonic_ns() - begin_ns;
	return NULL;
}

/* A snapshot that writes nothing, and whose ring is full, or not any more. */
static void fill_ring(struct hf_engine *engine, bool full) {
	hf_engine_lock(engine);
	engine->saver.saving = full;
	engine->saver.overrun = false;
	engine->saver.block_count = 2;
	engine->saver.full = full ? 1 : 0;
	hf_engine_unlock(engine);
}

/* Who comes half a second later does not wait a second of his own. */
static void who_gives_a_snapshot_up_wakes_who_waits_for_it(void **state) {
	struct fixture *fixture = *state;
	struct waiter first = { .engine = fixture->engine }, second = first;
	fill_ring(fixture->engine, true);
	pthread_create(&first.thread, NULL, wait_for_block, &first);
	usleep(500000);
	pthread_create(&second.thread, NULL, wait_for_block, &second);
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	assert_true(fixture->engine->saver.overrun);
	assert_true(first.ns >= SECOND_NS && second.ns < SECOND_NS);
	fill_ring(fixture->engine, false);
}

#define BOTH(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down), { \
#test " (log thread)", test, set_up_threaded, tear_down, NULL \
	}

int main(void) {
	const struct CMUnitTest tests[] = {
		BOTH(refusals_say_why_and_change_nothing),
		cmocka_unit_test_setup_teardown(a_message_says_that_there_are_more_contracts,
						set_up, tear_down),
		BOTH(an_id_gets_its_original_reply_for_ever),
		BOTH(replay_gives_the_same_hash_at_every_lsn),
		BOTH(every_outcome_waits_for_what_it_shows),
		BOTH(every_outcome_waits_for_the_contract_it_shows),
		BOTH(a_refused_contract_waits_for_what_refused_it),
		BOTH(who_asked_for_a_snapshot_is_told_of_that_one),
		BOTH(replay_sees_the_time_that_was_logged),
		BOTH(history_is_found_from_any_version),
		BOTH(history_goes_on_while_events_come),
		BOTH(a_contract_is_upgraded_only_where_nothing_is_stranded),
		BOTH(states_are_retired_with_entities_in_them),
		cmocka_unit_test_setup_teardown(contracts_are_counted_before_they_are_put, set_up,
						tear_down),
		BOTH(what_contracts_take_is_counted),
		BOTH(order_of_entities_does_not_change_the_hash),
		BOTH(a_failed_write_stops_everything),
		cmocka_unit_test_setup_teardown(
			the_figures_do_not_wait_for_the_lock_beyond_their_deadline, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_wait_for_room_does_not_part_judging_and_applying,
						set_up_threaded, tear_down),
		cmocka_unit_test_setup_teardown(
			a_wait_for_the_log_does_not_cost_the_room_for_an_image, set_up_threaded,
			tear_down),
		BOTH(who_gives_a_snapshot_up_wakes_who_waits_for_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
