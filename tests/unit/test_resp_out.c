/*
 * Replies: their bytes in RESP2 and RESP3, and that none is sent before what it depends on is
 * durable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/loop.h"

static struct hf_loop loop;

static void expect_out(struct hf_out *out, const char *bytes) {
	assert_int_equal(hf_out_pending(out), strlen(bytes));
	assert_memory_equal(out->data + out->start, bytes, strlen(bytes));
	hf_out_clear(out);
}

static void test_scalars(void **state) {
	struct hf_out out = { .pool = &loop.pool };
	hf_out_simple(&out, "OK");
	expect_out(&out, "+OK\r\n");
	hf_out_int(&out, INT64_MIN);
	hf_out_int(&out, 0);
	hf_out_int(&out, INT64_MAX);
	expect_out(&out, ":-9223372036854775808\r\n:0\r\n:9223372036854775807\r\n");
	for (uint64_t value = 1; value != 0 && value <= 1000000; value *= 10) {
		char wanted[64];
		hf_out_int(&out, (int64_t)value - 1);
		hf_out_int(&out, (int64_t)value + 2);
		snprintf(wanted, sizeof(wanted), ":%llu\r\n:%llu\r\n",
			 (unsigned long long)value - 1, (unsigned long long)value + 2);
		expect_out(&out, wanted);
	}
	hf_out_bulk(&out, hf_span(NULL, 0));
	hf_out_bulk(&out, hf_span("a\r\nb", 4));
	expect_out(&out, "$0\r\n\r\n$4\r\na\r\nb\r\n");
	hf_out_outcome(&out, "Filled", 18446744073709551615u, 42);
	expect_out(&out, "*3\r\n$6\r\nFilled\r\n:18446744073709551615\r\n:42\r\n");
}

/* An error is one line, whatever its text holds. */
static void test_errors_are_one_line(void **state) {
	struct hf_out out = { .pool = &loop.pool };
	struct hf_err err;
	hf_out_error(&out, "BADCONTRACT", "a:1:2: no\r\n  ^\nhelp");
	expect_out(&out, "-BADCONTRACT a:1:2: no    ^ help\r\n");
	hf_out_errorf(&out, "the limit is %d", 7);
	expect_out(&out, "-ERR the limit is 7\r\n");
	(void)hf_fail(&err, HF_STALE, "it is\nversion %d", 8);
	hf_out_err(&out, &err);
	expect_out(&out, "-STALE it is version 8\r\n");
}

static void test_resp3_shapes(void **state) {
	struct hf_out out = { .pool = &loop.pool };
	hf_out_map(&out, 2);
	hf_out_null(&out);
	hf_out_verbatim(&out, hf_span("ab", 2));
	expect_out(&out, "*4\r\n$-1\r\n$2\r\nab\r\n");
	out.resp3 = true;
	hf_out_map(&out, 2);
	hf_out_null(&out);
	hf_out_verbatim(&out, hf_span("ab", 2));
	expect_out(&out, "%2\r\n_\r\n=6\r\ntxt:ab\r\n");
}

static void test_sizes_known_at_the_end(void **state) {
	struct hf_out out = { .pool = &loop.pool, .resp3 = true };
	hf_out_simple(&out, "before");
	uint64_t outer = hf_out_begin(&out);
	uint64_t inner = hf_out_begin(&out);
	hf_out_int(&out, 1);
	hf_out_int(&out, 2);
	hf_out_end_map(&out, inner, 1);
	hf_out_end_array(&out, outer, 1);
	uint64_t cancelled = hf_out_begin(&out);
	hf_out_text(&out, "never seen");
	hf_out_cancel(&out, cancelled);
	expect_out(&out, "+before\r\n*1\r\n%1\r\n:1\r\n:2\r\n");
}

/* The buffer grows, is sent in parts, and holds no memory when it is empty. */
static void test_growth_keeps_the_stream(void **state) {
	struct hf_out out = { .pool = &loop.pool };
	static uint8_t chunk[1000];
	uint64_t written = 0, sent = 0;
	for (int round = 0; round < 500; round++) {
		for (size_t i = 0; i < sizeof(chunk); i++)
			chunk[i] = (uint8_t)((written + i) % 251);
		hf_out_raw(&out, hf_span(chunk, sizeof(chunk)));
		written += sizeof(chunk);
		assert_int_equal(hf_out_end(&out), written);
		size_t part = hf_out_pending(&out) / 3 + 1;
		for (size_t i = 0; i < part; i++)
			assert_int_equal(out.data[out.start + i], (sent + i) % 251);
		hf_out_sent(&out, part);
		sent += part;
	}
	hf_out_sent(&out, hf_out_pending(&out));
	assert_null(out.data);
	assert_int_equal(hf_out_end(&out), written);
}

struct pair {
	struct hf_conn *conn;
	int client;
};

static struct pair connect_pair(void) {
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	struct pair pair = { .conn = hf_conn_new(&loop, fds[0], 1), .client = fds[1] };
	assert_non_null(pair.conn);
	return pair;
}

static void reply_in_a_pass(struct hf_conn *conn, const char *text, uint64_t lsn) {
	hf_out_raw(&conn->out, hf_span_of(text));
	hf_conn_gate(conn, lsn);
	hf_conn_seal(conn);
}

static void expect_sent(struct pair *pair, uint64_t committed, const char *text) {
	char got[256];
	assert_true(hf_conn_flush(pair->conn, committed));
	ssize_t count = read(pair->client, got, sizeof(got));
	assert_int_equal(count < 0 ? 0 : count, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void disconnect(struct pair *pair) {
	hf_conn_free(pair->conn);
	close(pair->client);
}

static void test_replies_wait_until_durable(void **state) {
	struct pair pair = connect_pair();
	reply_in_a_pass(pair.conn, "a", 5);
	expect_sent(&pair, 4, "");
	reply_in_a_pass(pair.conn, "b", 9);
	expect_sent(&pair, 5, "a");
	expect_sent(&pair, 8, "");
	expect_sent(&pair, 9, "b");
	disconnect(&pair);
}

/* A reply that depends on nothing still comes after those before it. */
static void test_replies_keep_their_order(void **state) {
	struct pair pair = connect_pair();
	reply_in_a_pass(pair.conn, "send", 5);
	reply_in_a_pass(pair.conn, "ping", 0);
	expect_sent(&pair, 4, "");
	expect_sent(&pair, 5, "sendping");
	reply_in_a_pass(pair.conn, "ping", 0);
	expect_sent(&pair, 5, "ping");
	disconnect(&pair);
}

/* More passes than marks: replies may wait longer than they must, but never less. */
static void test_marks_run_out_safely(void **state) {
	struct pair pair = connect_pair();
	for (uint64_t lsn = 1; lsn <= 3 * HF_MARKS_MAX; lsn++)
		reply_in_a_pass(pair.conn, "x", lsn);
	uint64_t seen = 0;
	for (uint64_t committed = 1; committed <= 3 * HF_MARKS_MAX; committed++) {
		char got[64];
		assert_true(hf_conn_flush(pair.conn, committed));
		ssize_t count = read(pair.client, got, sizeof(got));
		seen += count > 0 ? (uint64_t)count : 0;
		assert_true(seen <= committed);
	}
	assert_int_equal(seen, 3 * HF_MARKS_MAX);
	disconnect(&pair);
}

/* A reply that is written over several passes is sent when it is whole; those before it at once. */
static void test_an_open_reply_is_not_sent(void **state) {
	struct pair pair = connect_pair();
	hf_out_raw(&pair.conn->out, hf_span_of("a"));
	pair.conn->open = true;
	pair.conn->open_from = hf_out_end(&pair.conn->out);
	reply_in_a_pass(pair.conn, "b", 3);
	expect_sent(&pair, 3, "a");
	reply_in_a_pass(pair.conn, "c", 3);
	expect_sent(&pair, 9, "");
	hf_out_cancel(&pair.conn->out, pair.conn->open_from);
	reply_in_a_pass(pair.conn, "d", 4);
	expect_sent(&pair, 9, "");
	pair.conn->open = false;
	reply_in_a_pass(pair.conn, "e", 5);
	expect_sent(&pair, 4, "");
	expect_sent(&pair, 5, "de");
	disconnect(&pair);
}

static int free_pool(void **state) {
	hf_pool_fini(&loop.pool);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_errors_are_one_line),
		cmocka_unit_test(test_resp3_shapes),
		cmocka_unit_test(test_sizes_known_at_the_end),
		cmocka_unit_test(test_growth_keeps_the_stream),
		cmocka_unit_test(test_replies_wait_until_durable),
		cmocka_unit_test(test_replies_keep_their_order),
		cmocka_unit_test(test_marks_run_out_safely),
		cmocka_unit_test(test_an_open_reply_is_not_sent),
	};
	return cmocka_run_group_tests(tests, NULL, free_pool);
}
