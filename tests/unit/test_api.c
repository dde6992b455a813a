/* The public library: blocking and submitted events from several threads, reads, restarts. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "holdfast.h"

#define THREADS 4
#define EVENTS_EACH 3000

static const char counter[] = "stateDiagram-v2\n"
			      "    %% field sum: u64\n"
			      "    %% invariant sum <= 1000000\n"
			      "    [*] --> Live : Add(n: u64) / sum += n\n"
			      "    Live --> Live : Add(n: u64) / sum += n\n"
			      "    Live --> Ended : End\n"
			      "    Ended --> [*]\n";

struct fixture {
	char path[64];
	struct hf_db *db;
	char err[256];
	struct hf_result result;
};

static struct hf_bytes text(const char *s) {
	return (struct hf_bytes){ s, strlen(s) };
}

static void open_db(struct fixture *fixture) {
	struct hf_options options = { .data_dir = fixture->path, .segment_size = 1 << 20 };
	if (hf_open(&options, &fixture->db, fixture->err, sizeof(fixture->err)) != HF_OK)
		fail_msg("%s", fixture->err);
}

static void reopen(struct fixture *fixture) {
	if (hf_close(fixture->db, fixture->err, sizeof(fixture->err)) != HF_OK)
		fail_msg("%s", fixture->err);
	open_db(fixture);
}

static int set_up(void **state) {
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	*state = fixture;
	snprintf(fixture->path, sizeof(fixture->path), "build/test-api-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	open_db(fixture);
	return hf_load_contract(fixture->db, text(counter), "counter", &fixture->result) == HF_OK
		       ? 0
		       : -1;
}

static int tear_down(void **state) {
	struct fixture *fixture = *state;
	char command[128];
	bool closed = hf_close(fixture->db, fixture->err, sizeof(fixture->err)) == HF_OK;
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture->path);
	free(fixture);
	return system(command) == 0 && closed ? 0 : -1;
}

static struct hf_request add(const char *key, const struct hf_pair *n, const char *id) {
	return (struct hf_request){
		.contract = text("counter"),
		.key = text(key),
		.event = text("Add"),
		.params = n,
		.param_count = 1,
		.id = text(id),
	};
}

struct sender {
	struct hf_db *db;
	int number;
	uint64_t accepted, completed;
	uint64_t last_lsn;
	bool in_order;
};

static void *send_blocking(void *arg) {
	struct sender *sender = arg;
	struct hf_pair n = { text("n"), text("1") };
	for (int i = 0; i < EVENTS_EACH / 20; i++) {
		char id[32];
		struct hf_result result;
		snprintf(id, sizeof(id), "%d-%d", sender->number, i);
		struct hf_request request = add("shared", &n, id);
		sender->accepted +=
			hf_send(sender->db, &request, &result) == HF_OK && !result.retried;
		sender->in_order &= result.lsn > sender->last_lsn;
		sender->last_lsn = result.lsn;
	}
	return NULL;
}

static void on_done(void *arg, const struct hf_result *result) {
	struct sender *sender = arg;
	sender->completed++;
	sender->in_order &= result->status == HF_OK && result->lsn > sender->last_lsn;
	sender->last_lsn = result->lsn;
}

static void *submit_many(void *arg) {
	struct sender *sender = arg;
	struct hf_pair n = { text("n"), text("1") };
	char key[16];
	snprintf(key, sizeof(key), "own-%d", sender->number);
	for (int i = 0; i < EVENTS_EACH; i++) {
		char id[32];
		snprintf(id, sizeof(id), "%d", i);
		struct hf_request request = add(key, &n, id);
		void *to = sender;
		sender->accepted += (i % 2 == 0 ? hf_submit(sender->db, &request, on_done, sender)
						: hf_submit_many(sender->db, &request, 1, on_done,
								 &to)) == HF_OK;
	}
	return NULL;
}

static void run_senders(struct fixture *fixture, void *(*body)(void *), struct sender *senders) {
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++) {
		senders[i] = (struct sender){ .db = fixture->db, .number = i, .in_order = true };
		assert_int_equal(pthread_create(&threads[i], NULL, body, &senders[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(hf_drain(fixture->db), HF_OK);
}

static void on_sum(void *arg, struct hf_bytes name, struct hf_bytes value) {
	assert_int_equal(name.len, 3);
	*(uint64_t *)arg = strtoull(value.data, NULL, 10);
}

static void assert_sum(struct fixture *fixture, const char *key, uint64_t expected) {
	uint64_t sum = 0;
	assert_int_equal(hf_get(fixture->db, text("counter"), text(key), on_sum, &sum,
				&fixture->result),
			 HF_OK);
	assert_int_equal(sum, expected);
	assert_int_equal(fixture->result.version, expected);
}

static void racing_senders_lose_nothing(void **state) {
	struct fixture *fixture = *state;
	struct sender senders[THREADS];
	run_senders(fixture, send_blocking, senders);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(senders[i].accepted, EVENTS_EACH / 20);
		assert_true(senders[i].in_order);
	}
	for (int round = 0; round < 2; round++) {
		assert_sum(fixture, "shared", THREADS * (EVENTS_EACH / 20));
		reopen(fixture);
	}
	run_senders(fixture, send_blocking, senders); /* the same ids again */
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(senders[i].accepted, 0);
	assert_sum(fixture, "shared", THREADS * (EVENTS_EACH / 20));
}

static void submitted_events_complete_once_and_in_order(void **state) {
	struct fixture *fixture = *state;
	struct sender senders[THREADS];
	run_senders(fixture, submit_many, senders);
	for (int i = 0; i < THREADS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "own-%d", i);
		assert_int_equal(senders[i].accepted, EVENTS_EACH);
		assert_int_equal(senders[i].completed, EVENTS_EACH);
		assert_true(senders[i].in_order);
		assert_sum(fixture, key, EVENTS_EACH);
	}
	uint8_t before[16], after[16];
	assert_int_equal(hf_hash(fixture->db, before, &fixture->result), HF_OK);
	reopen(fixture);
	assert_int_equal(hf_hash(fixture->db, after, &fixture->result), HF_OK);
	assert_memory_equal(before, after, 16);
}

static void on_refused(void *arg, const struct hf_result *result) {
	assert_int_equal(result->status, HF_REFUSED);
	assert_non_null(strstr(result->text, "sum <= 1000000"));
	(*(int *)arg)++;
}

static void a_refused_submission_completes_too(void **state) {
	struct fixture *fixture = *state;
	struct hf_pair n = { text("n"), text("1000001") };
	int completed = 0;
	for (int i = 0; i < 100; i++) {
		struct hf_request request = add("new", &n, "");
		assert_int_equal(hf_submit(fixture->db, &request, on_refused, &completed),
				 HF_REFUSED);
	}
	hf_drain(fixture->db);
	assert_int_equal(completed, 100);
	assert_int_equal(hf_get(fixture->db, text("counter"), text("new"), NULL, NULL,
				&fixture->result),
			 HF_NOTFOUND);
}

/* One of many submitted at once. */
struct one {
	uint64_t *next; /* the number of the one to complete next */
	uint64_t number;
	enum hf_status expected;
};

static void on_one(void *arg, const struct hf_result *result) {
	struct one *one = arg;
	assert_int_equal((*one->next)++, one->number);
	assert_int_equal(result->status, one->expected);
	if (result->status == HF_OK)
		assert_int_equal(result->version, one->number - one->number / 10);
}

/* More than one batch; each tenth is refused, and the last one is of no contract. */
static void many_at_once_are_as_many_one_by_one(void **state) {
	enum { COUNT = 205 };
	struct fixture *fixture = *state;
	struct hf_pair good = { text("n"), text("1") }, bad = { text("n"), text("1000001") };
	struct hf_request requests[COUNT];
	struct one ones[COUNT];
	void *args[COUNT];
	char ids[COUNT][8];
	uint64_t next = 1;
	for (uint64_t i = 0; i < COUNT; i++) {
		bool refused = (i + 1) % 10 == 0;
		snprintf(ids[i], sizeof(ids[i]), "%u", (unsigned)i);
		requests[i] = add("many", refused ? &bad : &good, ids[i]);
		ones[i] = (struct one){ &next, i + 1, refused ? HF_REFUSED : HF_OK };
		args[i] = &ones[i];
	}
	requests[COUNT - 1].contract = text("none");
	ones[COUNT - 1].expected = HF_NOTFOUND;
	assert_int_equal(hf_submit_many(fixture->db, requests, COUNT, on_one, args), HF_REFUSED);
	assert_int_equal(hf_drain(fixture->db), HF_OK);
	assert_int_equal(next, COUNT + 1);
	assert_sum(fixture, "many", COUNT - 1 - COUNT / 10);

	/* All again: replies of old, and nothing is added. */
	next = 1;
	assert_int_equal(hf_submit_many(fixture->db, requests, 9, on_one, args), HF_OK);
	assert_int_equal(hf_drain(fixture->db), HF_OK);
	assert_sum(fixture, "many", COUNT - 1 - COUNT / 10);
}

static void on_past(void *arg, const struct hf_past *past) {
	uint64_t *next = arg;
	char n[24];
	snprintf(n, sizeof(n), "%llu", (unsigned long long)*next);
	assert_int_equal(past->version, *next);
	assert_int_equal(past->param_count, 1);
	assert_int_equal(past->params[0].value.len, strlen(n));
	assert_memory_equal(past->params[0].value.data, n, strlen(n));
	(*next)++;
}

static void history_shows_what_was_sent(void **state) {
	struct fixture *fixture = *state;
	for (int i = 1; i <= 200; i++) {
		char value[16];
		snprintf(value, sizeof(value), "%d", i);
		struct hf_pair n = { text("n"), text(value) };
		struct hf_request request = add("h", &n, "");
		assert_int_equal(hf_send(fixture->db, &request, &fixture->result), HF_OK);
	}
	uint64_t next = 3;
	assert_int_equal(hf_history(fixture->db, text("counter"), text("h"), 3, 150, on_past, &next,
				    &fixture->result),
			 HF_OK);
	assert_int_equal(next, 153);
	next = 1;
	assert_int_equal(hf_history(fixture->db, text("counter"), text("h"), 0, 3, on_past, &next,
				    &fixture->result),
			 HF_OK);
	assert_int_equal(next, 4); /* from 0 is from 1 */
	assert_int_equal(hf_history(fixture->db, text("counter"), text("h"), 1, 1001, on_past,
				    &next, &fixture->result),
			 HF_TOOBIG);
}

static void an_empty_database_has_no_snapshot(void **state) {
	struct fixture *fixture = *state;
	char path[80];
	snprintf(path, sizeof(path), "%s/empty", fixture->path);
	struct hf_options options = { .data_dir = path, .segment_size = 1 << 20 };
	struct hf_db *empty;
	assert_int_equal(hf_open(&options, &empty, fixture->err, sizeof(fixture->err)), HF_OK);
	assert_int_equal(hf_snapshot(empty, &fixture->result), HF_NOTFOUND);
	assert_int_equal(hf_close(empty, fixture->err, sizeof(fixture->err)), HF_OK);
}

/* A zeroed struct is how a program begins; what it leaves out is named, and nothing is made. */
static void what_is_left_out_is_named(void **state) {
	struct fixture *fixture = *state;
	const char *none[] = { NULL, "" };
	for (int i = 0; i < 2; i++) {
		struct hf_options options = { .data_dir = none[i] };
		struct hf_db *db;
		assert_int_equal(hf_open(&options, &db, fixture->err, sizeof(fixture->err)),
				 HF_USAGE);
		assert_non_null(strstr(fixture->err, "data_dir"));
	}
	assert_int_equal(hf_load_contract(fixture->db, text(counter), NULL, &fixture->result),
			 HF_BADCONTRACT);
	assert_non_null(strstr(fixture->result.text, "has no title"));
	const char titled[] = "---\ntitle: titled\n---\nstateDiagram-v2\n    [*] --> A : Go\n";
	assert_int_equal(hf_load_contract(fixture->db, text(titled), NULL, &fixture->result),
			 HF_OK);
	assert_string_equal(fixture->result.state, "titled");
}

static void a_second_process_is_turned_away(void **state) {
	struct fixture *fixture = *state;
	struct hf_options options = { .data_dir = fixture->path };
	struct hf_db *second;
	assert_int_equal(hf_open(&options, &second, fixture->err, sizeof(fixture->err)), HF_USAGE);
	assert_non_null(strstr(fixture->err, "one process per data directory"));
}

/* A child that the process forked has all it had open, and may outlive what the parent does. */
static void a_forked_child_holds_nothing_back(void **state) {
	struct fixture *fixture = *state;
	int ends[2];
	char none;
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &none, 1) == 0 ? 0 : 1);
	}
	assert_true(child > 0);
	close(ends[0]);
	reopen(fixture);
	int status;
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(racing_senders_lose_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(submitted_events_complete_once_and_in_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_refused_submission_completes_too, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(many_at_once_are_as_many_one_by_one, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(history_shows_what_was_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_empty_database_has_no_snapshot, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_left_out_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_second_process_is_turned_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_forked_child_holds_nothing_back, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
