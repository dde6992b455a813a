/*
 * Turns: a whole server, driven pass by pass from outside, so that what one of them does can be
 * counted: a MGET of large values is answered in parts, and costs the others one part at a time;
 * nor do they wait behind crowds.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/engine.h"
#include "os/clock.h"
#include "server/loop.h"
#include "server/server.h"

#define READERS 12u
#define CROWD 40u  /* more than are looked at in two passes */
#define LARGE 8u   /* keys l0 ... with the longest value that there may be */
#define NAMED 200u /* in one MGET, again and again: 13 MB of values */
#define PASSES_MAX 100000u
#define PIECES 200u /* that a socket holds */
#define SETS 100u   /* of one client, more than one turn does */
#define TURN 64u    /* commands in one turn */
#define FAR_NS (UINT64_MAX / 2)
#define SCANS 32u	 /* of one client, in one small read */
#define SCANS_NS 200000u /* more than slow commands have in one turn */
/* What one pass may write: a part, and small replies. */
#define PART_MAX (HF_TURN_SLOW_BYTES + HF_PLAIN_VALUE_MAX + 4096u)

static const char pong[] = "+PONG\r\n";

struct fixture {
	char path[80];
	struct hf_engine *engine;
	struct hf_server *server;
	struct hf_err err;
	/* The reply to one long MGET, and PONG. */
	char *wanted;
	size_t wanted_len;
};

struct client {
	int fd;
	struct hf_conn *conn;
	size_t seen; /* of what is wanted of it */
};

/* ---- the clock --------------------------------------------------------------------------- */

/* This thread's clock is ahead of the true one, by so much more each time that it is read. */
static _Thread_local uint64_t ahead_ns, ahead_step_ns;
static _Thread_local uint64_t stands_ns; /* it stands still there; 0: it goes */

uint64_t __real_hf_clock_monotonic_ns(void);
uint64_t __wrap_hf_clock_monotonic_ns(void);
uint64_t __wrap_hf_clock_monotonic_ns(void) {
	ahead_ns += ahead_step_ns;
	if (stands_ns != 0)
		return stands_ns;
	return __real_hf_clock_monotonic_ns() + ahead_ns;
}

/* ---- passes ------------------------------------------------------------------------------- */

static void too_long(int number) {
	(void)number;
	abort();
}

/* One that sleeps for ever is a failure. */
static bool pass_at_once(struct hf_loop *loop) {
	alarm(20);
	bool ret = hf_loop_pass(loop);
	alarm(0);
	return ret;
}

/* ---- the server -------------------------------------------------------------------------- */

static int set_up(void **state) {
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	*state = fixture;
	ahead_ns = stands_ns = 0;
	signal(SIGALRM, too_long);
	snprintf(fixture->path, sizeof(fixture->path), "build/test-turns-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	struct hf_engine_options options = { .data_dir = fixture->path,
					     .segment_size = HF_SEGMENT_SIZE_MIN };
	if (!hf_engine_open(&options, &fixture->engine, &fixture->err))
		return -1;
	struct hf_server_options server = {
		.engine = fixture->engine, .listen = "127.0.0.1:0", .threads = 1, .max_clients = 64
	};
	return hf_server_open(&server, &fixture->server, &fixture->err) ? 0 : -1;
}

static int tear_down(void **state) {
	struct fixture *fixture = *state;
	char command[128];
	hf_server_close(fixture->server);
	bool closed = hf_engine_close(fixture->engine, &fixture->err);
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture->path);
	free(fixture->wanted);
	free(fixture);
	return system(command) == 0 && closed ? 0 : -1;
}

static struct hf_loop *loop_of(struct fixture *fixture) {
	return &fixture->server->loops[0];
}

/* One pass, if there is anything to do within `wait_ms`. */
static bool pass(struct fixture *fixture, int wait_ms) {
	struct hf_loop *loop = loop_of(fixture);
	struct pollfd ready = { .fd = loop->epoll_fd, .events = POLLIN };
	if (!hf_loop_has_work(loop) && poll(&ready, 1, wait_ms) == 0)
		return false;
	assert_true(pass_at_once(loop));
	return true;
}

static void run_dry(struct fixture *fixture) {
	uint32_t passes = 0;
	while (pass(fixture, 0))
		assert_true(++passes < PASSES_MAX);
}

/* ---- clients ----------------------------------------------------------------------------- */

static struct client come_over(struct fixture *fixture, int socket_type) {
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, socket_type | SOCK_NONBLOCK, 0, fds), 0);
	assert_true(hf_server_adopt(fixture->server, fds[1]));
	return (struct client){ .fd = fds[0], .conn = fixture->server->conns };
}

static struct client come(struct fixture *fixture) {
	return come_over(fixture, SOCK_STREAM);
}

static void tell(struct client *client, const char *bytes, size_t len) {
	assert_int_equal(send(client->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say(struct client *client, const char *line) {
	tell(client, line, strlen(line));
}

/* Replies that have come and must be these. */
static void expect(struct fixture *fixture, struct client *client, const char *wanted) {
	char got[512] = { 0 };
	size_t len = 0;
	while (len < strlen(wanted)) {
		ssize_t count = recv(client->fd, got + len, strlen(wanted) - len, 0);
		assert_true(count > 0 || (count < 0 && errno == EAGAIN));
		if (count > 0)
			len += (size_t)count;
		else
			assert_true(pass(fixture, 10000));
	}
	assert_string_equal(got, wanted);
}

static void set_value(struct fixture *fixture, struct client *client, const char *key, char fill,
		      size_t len) {
	char *text = malloc(len + 128);
	int head = snprintf(text, 128, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key),
			    key, len);
	memset(text + head, fill, len);
	memcpy(text + head + len, "\r\n", 2);
	for (size_t sent = 0; sent < (size_t)head + len + 2;) {
		ssize_t count = send(client->fd, text + sent, (size_t)head + len + 2 - sent, 0);
		assert_true(count > 0 || errno == EAGAIN);
		sent += count > 0 ? (size_t)count : 0;
		run_dry(fixture);
	}
	free(text);
	expect(fixture, client, "+OK\r\n");
}

static char fill_of(uint32_t key) {
	return (char)('a' + key % LARGE);
}

static size_t append_value(char *to, char fill, size_t len) {
	size_t head = (size_t)sprintf(to, "$%zu\r\n", len);
	memset(to + head, fill, len);
	memcpy(to + head + len, "\r\n", 2);
	return head + len + 2;
}

/* Values, and what is wanted of who asks for them. */
static void fill(struct fixture *fixture) {
	struct client client = come(fixture);
	for (uint32_t i = 0; i < LARGE; i++) {
		char key[8];
		snprintf(key, sizeof(key), "l%u", i);
		set_value(fixture, &client, key, fill_of(i), HF_PLAIN_VALUE_MAX);
	}
	close(client.fd);
	run_dry(fixture);
	char *to = fixture->wanted = malloc((size_t)NAMED * (HF_PLAIN_VALUE_MAX + 16) + 64);
	to += sprintf(to, "*%u\r\n", NAMED);
	for (uint32_t i = 0; i < NAMED; i++)
		to += append_value(to, fill_of(i), HF_PLAIN_VALUE_MAX);
	to += sprintf(to, "%s", pong);
	fixture->wanted_len = (size_t)(to - fixture->wanted);
}

/* A long MGET, and a PING behind it. */
static void ask_for_much(struct client *client) {
	char request[NAMED * 16 + 64];
	char *to = request + sprintf(request, "*%u\r\n$4\r\nMGET\r\n", NAMED + 1);
	for (uint32_t i = 0; i < NAMED; i++)
		to += sprintf(to, "$2\r\nl%u\r\n", i % LARGE);
	to += sprintf(to, "PING\r\n");
	tell(client, request, (size_t)(to - request));
}

/* Takes what has come, `max` bytes at most: it must be what was to come. */
static void take(const struct fixture *fixture, struct client *client, size_t max) {
	static char bytes[HF_PLAIN_VALUE_MAX];
	while (max > 0) {
		ssize_t count =
			recv(client->fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes), 0);
		if (count < 0 && errno == EAGAIN)
			return;
		assert_true(count > 0 && client->seen + (size_t)count <= fixture->wanted_len);
		assert_memory_equal(bytes, fixture->wanted + client->seen, (size_t)count);
		client->seen += (size_t)count;
		max -= (size_t)count;
	}
}

/* Reads all that is wanted. */
static void take_all(struct fixture *fixture, struct client *client) {
	take(fixture, client, SIZE_MAX);
	while (client->seen < fixture->wanted_len) {
		assert_true(pass(fixture, 10000));
		take(fixture, client, SIZE_MAX);
	}
}

/* ---- what a pass may do ------------------------------------------------------------------ */

static uint64_t written(struct fixture *fixture) {
	uint64_t bytes = 0;
	for (const struct hf_conn *conn = fixture->server->conns; conn != NULL; conn = conn->next)
		bytes += hf_out_end(&conn->out);
	return bytes;
}

/* One pass, with a PING that it has to answer; false if there is nothing else to do. */
static bool pass_with_ping(struct fixture *fixture, struct client *other) {
	char got[16];
	uint64_t before = written(fixture);
	struct hf_loop *loop = loop_of(fixture);
	say(other, "PING\r\n");
	assert_true(pass(fixture, 0));
	bool more = loop->bulk.first != NULL || loop->slow.first != NULL;
	assert_int_equal(recv(other->fd, got, sizeof(got), 0), sizeof(pong) - 1);
	assert_memory_equal(got, pong, sizeof(pong) - 1);
	uint64_t bytes = written(fixture) - before;
	if (bytes > PART_MAX)
		fail_msg("one pass wrote %llu bytes", (unsigned long long)bytes);
	return more;
}

static void expect_bounded(const struct client *client) {
	const struct hf_out *out = &client->conn->out;
	assert_true(hf_out_pending(out) < HF_CONNECTION_OUTPUT_PAUSE + PART_MAX);
	assert_true(out->cap <= 2 * HF_CONNECTION_OUTPUT_PAUSE);
}

/*
 * A dozen clients want 13 MB each. Nobody reads: each is given a mebibyte and no more. They read:
 * each gets all of it, in order. All the while a PING is answered in the pass that it comes in.
 */
static void test_long_mgets(void **state) {
	struct fixture *fixture = *state;
	struct client readers[READERS], other = come(fixture);
	uint32_t passes = 0, left = READERS;
	fill(fixture);
	for (uint32_t i = 0; i < READERS; i++) {
		readers[i] = come(fixture);
		ask_for_much(&readers[i]);
	}
	while (pass_with_ping(fixture, &other) || passes < 10) {
		assert_true(++passes < PASSES_MAX);
		for (uint32_t i = 0; i < READERS; i++)
			expect_bounded(&readers[i]);
	}
	for (uint32_t i = 0; i < READERS; i++)
		assert_true(readers[i].conn->paused && readers[i].conn->aside);
	assert_true(loop_of(fixture)->pool.used < READERS * 3 * HF_CONNECTION_OUTPUT_PAUSE);
	for (uint32_t round = 0; left > 0; round++) {
		assert_true(++passes < PASSES_MAX);
		left = 0;
		for (uint32_t i = 0; i < READERS; i++) {
			/* Some read faster than others. */
			if (round % (i + 1) == 0)
				take(fixture, &readers[i], HF_PLAIN_VALUE_MAX);
			expect_bounded(&readers[i]);
			left += readers[i].seen < fixture->wanted_len;
		}
		(void)pass_with_ping(fixture, &other);
	}
	run_dry(fixture);
	for (uint32_t i = 0; i < READERS; i++) {
		assert_false(readers[i].conn->aside); /* it has read all */
		close(readers[i].fd);
	}
	close(other.fd);
	run_dry(fixture);
	assert_int_equal(loop_of(fixture)->pool.used, 0);
}

/* More than a pass looks at send their commands byte by byte: nobody waits behind their bytes. */
static void test_crumbs_stand_aside(void **state) {
	struct fixture *fixture = *state;
	struct client crowd[CROWD], other = come(fixture);
	for (uint32_t i = 0; i < CROWD; i++) {
		crowd[i] = come(fixture);
		for (const char *byte = "PING"; *byte != '\0'; byte++) {
			assert_false(crowd[i].conn->aside);
			tell(&crowd[i], byte, 1);
			run_dry(fixture);
		}
		assert_true(crowd[i].conn->aside);
	}
	for (uint32_t i = 0; i < CROWD; i++)
		say(&crowd[i], " ");
	(void)pass_with_ping(fixture, &other);
	run_dry(fixture);
	for (uint32_t i = 0; i < CROWD; i++) {
		say(&crowd[i], "\r\n");
		expect(fixture, &crowd[i], pong);
		assert_false(crowd[i].conn->aside); /* it was a whole command, after all */
		close(crowd[i].fd);
	}
	close(other.fd);
	run_dry(fixture);
}

/* Has anything come for it? */
static bool is_answered(const struct client *client) {
	char byte;
	return recv(client->fd, &byte, 1, MSG_PEEK) == 1;
}

/* Who sends much waits until those with little are answered, but not for ever. */
static void test_turns_in_a_crowd(void **state) {
	struct fixture *fixture = *state;
	struct client crowd[CROWD], bulk = come(fixture);
	char pings[2048];
	for (uint32_t i = 0; i < CROWD; i++)
		crowd[i] = come(fixture);
	run_dry(fixture);
	for (size_t i = 0; i < sizeof(pings); i += 8)
		memcpy(pings + i, "PING  \r\n", 8);
	tell(&bulk, pings, sizeof(pings));
	for (uint32_t i = 0; i < CROWD; i++)
		say(&crowd[i], "PING\r\n");
	assert_true(pass(fixture, 0));
	assert_true(is_answered(&crowd[0]));
	assert_false(is_answered(&bulk));
	uint32_t passes = 1;
	for (; !is_answered(&bulk); passes++) {
		assert_true(passes < 100);
		for (uint32_t i = 0; i < CROWD; i++) /* all of them are ready again */
			if (is_answered(&crowd[i])) {
				expect(fixture, &crowd[i], pong);
				say(&crowd[i], "PING\r\n");
			}
		assert_true(pass(fixture, 0));
	}
	assert_true(passes > 2); /* it was one */
	for (uint32_t i = 0; i < CROWD; i++)
		close(crowd[i].fd);
	close(bulk.fd);
	run_dry(fixture);
}

/* A pass that ends a flush gives no turns, so that it is short; the next one does. */
static void test_no_turns_beside_a_flush(void **state) {
	struct fixture *fixture = *state;
	struct client writer = come(fixture), bulk = come(fixture);
	struct pollfd flush = { .fd = loop_of(fixture)->commit_fd, .events = POLLIN };
	char pings[2048];
	for (size_t i = 0; i < sizeof(pings); i += 8)
		memcpy(pings + i, "PING  \r\n", 8);
	say(&writer, "SET x y\r\n");
	assert_true(pass(fixture, 0));
	assert_int_equal(poll(&flush, 1, 10000), 1);
	tell(&bulk, pings, sizeof(pings));
	assert_true(pass(fixture, 0));
	assert_true(is_answered(&writer));
	assert_false(is_answered(&bulk));
	assert_true(pass(fixture, 0));
	assert_true(is_answered(&bulk));
	close(writer.fd);
	close(bulk.fd);
	run_dry(fixture);
}

static struct hf_engine_info info_of(struct fixture *fixture) {
	struct hf_engine_info info;
	hf_engine_lock(fixture->engine);
	hf_engine_info(fixture->engine, &info);
	hf_engine_unlock(fixture->engine);
	return info;
}

static uint64_t last_lsn(struct fixture *fixture) {
	return info_of(fixture).last_lsn;
}

/* A log with a thread begins flushes by itself. */
static void needs_io_uring(struct fixture *fixture) {
	if (!info_of(fixture).io_uring) {
		print_message("SKIP: io_uring is forbidden here\n");
		skip();
	}
}

/* Has sent much once, so what it sends next waits for a turn. */
static struct client come_with_bulk(struct fixture *fixture) {
	struct client client = come(fixture);
	char pings[2048];
	for (size_t i = 0; i < sizeof(pings); i += 8)
		memcpy(pings + i, "PING  \r\n", 8);
	tell(&client, pings, sizeof(pings));
	for (size_t i = 0; i < sizeof(pings); i += 8)
		expect(fixture, &client, pong);
	run_dry(fixture);
	assert_true(client.conn->bulky);
	return client;
}

/* More than one turn does, and all to one key. */
static void set_often(struct client *client) {
	char sets[SETS * 16];
	for (uint32_t i = 0; i < SETS; i++)
		memcpy(sets + i * 16, "SET often once\r\n", 16);
	tell(client, sets, SETS * 16);
}

static void expect_ok(struct fixture *fixture, struct client *client, uint32_t times) {
	for (uint32_t i = 0; i < times; i++)
		expect(fixture, client, "+OK\r\n");
}

/* Until the flush that is under way is over, and the loop knows. */
static void end_flush(struct fixture *fixture) {
	struct pollfd flush = { .fd = loop_of(fixture)->commit_fd, .events = POLLIN };
	while (loop_of(fixture)->flying) {
		assert_int_equal(poll(&flush, 1, 10000), 1);
		assert_true(pass(fixture, 0));
	}
	run_dry(fixture);
}

/* Two have much to send, and wait for turns after this pass: what they wrote is gathered. */
static void gather(struct fixture *fixture, struct client bulk[2]) {
	struct hf_loop *loop = loop_of(fixture);
	for (uint32_t i = 0; i < 2; i++)
		set_often(&bulk[i]);
	loop->flushed_ns = FAR_NS; /* the last flush began just now, whatever the time */
	assert_true(pass(fixture, 0));
	assert_true(loop->bulk.first != NULL && loop->gathering);
}

/* The next pass begins a flush, though some wait for their turn. */
static void expect_flush(struct fixture *fixture) {
	struct hf_loop *loop = loop_of(fixture);
	uint64_t before = loop->flushed_ns;
	assert_true(pass(fixture, 0));
	assert_true(loop->bulk.first != NULL && loop->flushed_ns != before);
}

static void expect_gathered(struct fixture *fixture, struct client bulk[2]) {
	end_flush(fixture);
	for (uint32_t i = 0; i < 2; i++)
		expect_ok(fixture, &bulk[i], SETS);
	end_flush(fixture);
}

/* Records to the next group's end, of a client without a connection. */
static void fill_group(struct fixture *fixture) {
	static uint8_t value[HF_PLAIN_VALUE_MAX];
	struct hf_engine *engine = fixture->engine;
	const struct hf_plain_set set = { .key = hf_span_of("full"),
					  .value = hf_span(value, sizeof(value)) };
	hf_engine_lock(engine);
	for (uint32_t i = 0; !hf_engine_group_full(engine); i++) {
		struct hf_reply reply;
		bool is_set;
		assert_true(i <= HF_FRAME_MAX / sizeof(value));
		hf_engine_plain_set(engine, &set, NULL, NULL, &is_set, &reply);
		assert_int_equal(reply.status, HF_OK);
	}
	hf_engine_unlock(engine);
}

/*
 * While turns go on, what they wrote is gathered for a flush, for a time; but what somebody with
 * little wrote is flushed at once, and so is a group that is full.
 */
static void test_flushes_gather(void **state) {
	struct fixture *fixture = *state;
	needs_io_uring(fixture);
	struct hf_loop *loop = loop_of(fixture);
	struct client bulk[] = { come_with_bulk(fixture), come_with_bulk(fixture) };
	struct client other = come(fixture);
	run_dry(fixture);
	gather(fixture, bulk);
	say(&other, "SET other x\r\n");
	expect_flush(fixture);
	expect_ok(fixture, &other, 1);
	expect_gathered(fixture, bulk);
	gather(fixture, bulk);
	say(&other, "GET often\r\n"); /* shows what is gathered */
	expect_flush(fixture);
	expect(fixture, &other, "$4\r\nonce\r\n");
	expect_gathered(fixture, bulk);
	gather(fixture, bulk);
	fill_group(fixture);
	expect_flush(fixture);
	expect_gathered(fixture, bulk);
	gather(fixture, bulk);
	loop->flushed_ns = 0; /* long ago */
	expect_flush(fixture);
	/* Where nobody waits for a turn any more there is nothing to gather for. */
	for (uint32_t i = 0; i < 2; i++) {
		loop->flushed_ns = FAR_NS;
		expect_ok(fixture, &bulk[i], SETS);
		close(bulk[i].fd);
	}
	close(other.fd);
	run_dry(fixture);
}

/* LSNs that the next pass that gives a turn brings: one that ends a flush gives none. */
static uint64_t next_part(struct fixture *fixture) {
	uint64_t before = last_lsn(fixture);
	while (last_lsn(fixture) == before)
		assert_true(pass(fixture, 0));
	return last_lsn(fixture) - before;
}

/* While somebody with little is about, a turn takes several passes; it is as long as ever. */
static void test_turns_have_parts(void **state) {
	struct fixture *fixture = *state;
	struct hf_loop *loop = loop_of(fixture);
	struct client bulk[] = { come_with_bulk(fixture), come_with_bulk(fixture) };
	struct client other = come(fixture);
	run_dry(fixture);
	for (uint32_t i = 0; i < 2; i++)
		set_often(&bulk[i]);
	stands_ns = hf_clock_monotonic_ns();
	loop->light_ns = 0; /* long ago */
	assert_int_equal(next_part(fixture), TURN);
	const struct hf_conn *second = loop->bulk.first, *first = second->queue_next;
	assert_true(first == bulk[0].conn || first == bulk[1].conn);
	uint64_t begun = last_lsn(fixture);
	say(&other, "PING\r\n");
	assert_true(pass(fixture, 0));
	assert_true(is_answered(&other));
	while (last_lsn(fixture) - begun < TURN) {
		assert_ptr_equal(loop->bulk.first, second);
		assert_int_equal(next_part(fixture), TURN / 4);
	}
	assert_ptr_equal(loop->bulk.first, first);
	assert_int_equal(next_part(fixture), TURN / 4);
	assert_ptr_equal(loop->bulk.first, first);
	stands_ns = 0;
	for (uint32_t i = 0; i < 2; i++) {
		expect_ok(fixture, &bulk[i], SETS);
		close(bulk[i].fd);
	}
	close(other.fd);
	run_dry(fixture);
}

/* Who was to write more is gone before its turn: what is gathered is flushed all the same. */
static void test_gathered_and_gone(void **state) {
	struct fixture *fixture = *state;
	needs_io_uring(fixture);
	struct hf_loop *loop = loop_of(fixture);
	struct client bulk = come_with_bulk(fixture);
	uint64_t memory_max = loop->client_memory_max, lsn = last_lsn(fixture);
	run_dry(fixture);
	set_often(&bulk);
	loop->flushed_ns = FAR_NS;
	loop->client_memory_max = 0;
	assert_true(pass(fixture, 0));
	loop->client_memory_max = memory_max;
	assert_true(loop->bulk.first == NULL && loop->gathering);
	assert_true(pass_at_once(loop));
	assert_true(loop->flushed_ns != FAR_NS);
	end_flush(fixture);
	assert_true(last_lsn(fixture) > lsn);
	assert_int_equal(hf_engine_committed(fixture->engine), last_lsn(fixture));
	close(bulk.fd);
}

static struct client come_by_tcp(struct fixture *fixture) {
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned port;
	assert_int_equal(sscanf(fixture->server->address, "127.0.0.1:%u", &port), 1);
	to.sin_port = htons((uint16_t)port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	(void)!connect(fd, (struct sockaddr *)&to, sizeof(to));
	while (fixture->server->conns == NULL)
		assert_true(pass(fixture, 10000));
	return (struct client){ .fd = fd, .conn = fixture->server->conns };
}

/* A read ends before an urgent byte (MSG_OOB), and is short, though there is more. */
static void test_urgent_bytes(void **state) {
	struct fixture *fixture = *state;
	struct client client = come_by_tcp(fixture);
	run_dry(fixture);
	say(&client, "PING\r\n");
	assert_int_equal(send(client.fd, "!", 1, MSG_OOB), 1);
	say(&client, "PING\r\n");
	expect(fixture, &client, pong);
	expect(fixture, &client, pong);
	close(client.fd);
	run_dry(fixture);
}

/* What came while a connection was not read is read when it is, though nothing comes any more. */
static void test_no_edge_is_lost(void **state) {
	struct fixture *fixture = *state;
	static char pings[4 * HF_BLOCK_SIZE];
	struct client bulk = come_with_bulk(fixture), large = come(fixture);
	set_often(&bulk);
	assert_true(pass(fixture, 0));
	assert_non_null(bulk.conn->queue);
	say(&bulk, "PING\r\n");
	expect_ok(fixture, &bulk, SETS);
	expect(fixture, &bulk, pong);
	for (size_t i = 0; i < sizeof(pings); i += 8)
		memcpy(pings + i, "PING  \r\n", 8);
	tell(&large, pings, sizeof(pings));
	for (size_t i = 0; i < sizeof(pings); i += 8)
		expect(fixture, &large, pong);
	/* An end that comes with the last command is seen. */
	say(&large, "PING\r\n");
	assert_int_equal(shutdown(large.fd, SHUT_WR), 0);
	expect(fixture, &large, pong);
	run_dry(fixture);
	assert_int_equal(atomic_load(&loop_of(fixture)->conn_count), 1);
	close(large.fd);
	close(bulk.fd);
	run_dry(fixture);
	assert_int_equal(atomic_load(&loop_of(fixture)->conn_count), 0);
}

/*
 * Slow commands that reply little, each of which takes longer than a turn of theirs: a pass runs
 * one of them, and a PING is answered in the pass that it comes in. All come to their turn.
 */
static void test_slow_commands_take_time(void **state) {
	static const char reply[] = "*2\r\n$1\r\n0\r\n*0\r\n";
	struct fixture *fixture = *state;
	struct client scans = come(fixture), other = come(fixture);
	run_dry(fixture);
	for (uint32_t i = 0; i < SCANS; i++)
		say(&scans, "SCAN 0 MATCH x\r\n");
	uint64_t begun = hf_out_end(&scans.conn->out), end = begun + SCANS * strlen(reply);
	uint32_t passes = 0;
	ahead_step_ns = SCANS_NS;
	for (uint64_t had = begun; had < end; passes++) {
		assert_true(passes < PASSES_MAX);
		(void)pass_with_ping(fixture, &other);
		uint64_t has = hf_out_end(&scans.conn->out);
		assert_true(has - had <= strlen(reply));
		had = has;
	}
	ahead_step_ns = 0;
	assert_true(passes >= SCANS);
	for (uint32_t i = 0; i < SCANS; i++)
		expect(fixture, &scans, reply);
	close(scans.fd);
	close(other.fd);
	run_dry(fixture);
}

/* A socket that takes little at a time: a reply goes out in pieces, every byte of it once. */
static void test_small_pieces(void **state) {
	enum { COUNT = 2000 };
	struct fixture *fixture = *state;
	struct client client = come(fixture);
	int least = 1; /* the kernel's minimum, a few KiB, is more */
	uint32_t pieces = 0;
	char *asked = malloc(COUNT * 32), *to = asked;
	char *wanted = fixture->wanted = malloc(COUNT * 32);
	assert_int_equal(setsockopt(client.conn->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
			 0);
	for (uint32_t i = 0; i < COUNT; i++) {
		to += sprintf(to, "ECHO %u\r\n", 10000 + i);
		wanted += sprintf(wanted, "$5\r\n%u\r\n", 10000 + i);
	}
	fixture->wanted_len = (size_t)(wanted - fixture->wanted);
	tell(&client, asked, (size_t)(to - asked));
	run_dry(fixture); /* the replies are due, and the socket is full */
	const struct hf_out *out = &client.conn->out;
	for (take(fixture, &client, SIZE_MAX); client.seen < fixture->wanted_len;
	     take(fixture, &client, SIZE_MAX)) {
		uint64_t sent = out->base + out->start;
		assert_true(pass(fixture, 10000));
		pieces += out->base + out->start > sent && client.conn->blocked;
	}
	assert_true(pieces > 1);
	free(asked);
	close(client.fd);
	run_dry(fixture);
}

/* Who hangs up, reading or not, leaves nothing behind; the others get theirs. */
static void test_gone_in_mid_mget(void **state) {
	struct fixture *fixture = *state;
	fill(fixture);
	struct client stays = come(fixture);
	ask_for_much(&stays);
	for (uint32_t i = 0; i < 40; i++) {
		struct client goes = come(fixture);
		ask_for_much(&goes);
		for (uint32_t j = 0; j < i * 3; j++) {
			take(fixture, &stays, HF_PLAIN_VALUE_MAX / 8);
			if (i % 2 == 0)
				take(fixture, &goes, HF_PLAIN_VALUE_MAX);
			(void)pass(fixture, 0);
		}
		close(goes.fd);
	}
	take_all(fixture, &stays);
	run_dry(fixture);
	assert_int_equal(fixture->server->conn_count, 1);
	assert_int_equal(loop_of(fixture)->pool.used, 0);
	close(stays.fd);
	run_dry(fixture);
}

/* Up to the limit the values are of one instant: there is no pass between them. */
static void test_of_one_instant(void **state) {
	struct fixture *fixture = *state;
	struct client client = come(fixture);
	char *wanted = malloc(HF_MGET_WHOLE_MAX + 128);
	size_t half = HF_MGET_WHOLE_MAX / 2;
	set_value(fixture, &client, "a", 'a', half);
	set_value(fixture, &client, "b", 'b', half);
	run_dry(fixture);
	uint64_t before = hf_out_end(&client.conn->out);
	say(&client, "MGET a b none\r\n");
	assert_true(pass(fixture, 0));
	size_t len = (size_t)sprintf(wanted, "*3\r\n");
	len += append_value(wanted + len, 'a', half);
	len += append_value(wanted + len, 'b', half);
	len += (size_t)sprintf(wanted + len, "$-1\r\n");
	assert_int_equal(hf_out_end(&client.conn->out) - before, len);
	assert_int_equal(client.conn->answered, 0);
	fixture->wanted = wanted;
	fixture->wanted_len = len;
	take_all(fixture, &client);
	/* One byte more, and a part is one value. */
	set_value(fixture, &client, "b", 'b', half + 1);
	run_dry(fixture);
	say(&client, "MGET a b none\r\n");
	assert_true(pass(fixture, 0));
	assert_int_equal(client.conn->answered, 1);
	close(client.fd);
	run_dry(fixture);
}

/*
 * Each value is what it is when its turn comes. What was asked behind it comes behind it; and a
 * line with quotes, which a parser takes away, can be parsed once for each part.
 */
static void test_key_by_key(void **state) {
	struct fixture *fixture = *state;
	struct client reader = come(fixture), writer = come(fixture);
	set_value(fixture, &writer, "x", 'x', HF_PLAIN_VALUE_MAX);
	set_value(fixture, &writer, "y", 'y', HF_PLAIN_VALUE_MAX);
	run_dry(fixture);
	say(&reader, "MGET y \"x\" 'y' none \"\\x79\"\r\nSET y 'a \"b\"'\r\nMGET y\r\n"
		     "ECHO \"\\x41\"\r\nMGET x x 'x' y\r\n");
	assert_true(pass(fixture, 0));
	assert_int_equal(reader.conn->answered, 1);
	say(&writer, "SET y z\r\nMGET y none\r\n");
	expect(fixture, &writer, "+OK\r\n*2\r\n$1\r\nz\r\n$-1\r\n");
	char *to = fixture->wanted = malloc(8 * HF_PLAIN_VALUE_MAX);
	to += sprintf(to, "*5\r\n");
	to += append_value(to, 'y', HF_PLAIN_VALUE_MAX);
	to += append_value(to, 'x', HF_PLAIN_VALUE_MAX);
	to += sprintf(
		to, "$1\r\nz\r\n$-1\r\n$1\r\nz\r\n+OK\r\n*1\r\n$5\r\na \"b\"\r\n$1\r\nA\r\n*4\r\n");
	for (uint32_t i = 0; i < 3; i++)
		to += append_value(to, 'x', HF_PLAIN_VALUE_MAX);
	to += sprintf(to, "$5\r\na \"b\"\r\n");
	fixture->wanted_len = (size_t)(to - fixture->wanted);
	take_all(fixture, &reader);
	close(writer.fd);
	close(reader.fd);
	run_dry(fixture);
}

/* Each part waits for what it shows: here for a SET of the same pass, whose flush just began. */
static void part_waits(struct fixture *fixture) {
	struct client reader = come(fixture), writer = come(fixture);
	set_value(fixture, &writer, "x", 'x', HF_PLAIN_VALUE_MAX);
	set_value(fixture, &writer, "y", 'y', HF_PLAIN_VALUE_MAX);
	run_dry(fixture);
	say(&reader, "MGET x y x\r\n");
	assert_true(pass(fixture, 0));
	assert_int_equal(reader.conn->answered, 1);
	say(&writer, "SET y z\r\n");
	char *to = fixture->wanted = malloc(4 * HF_PLAIN_VALUE_MAX);
	to += sprintf(to, "*3\r\n");
	to += append_value(to, 'x', HF_PLAIN_VALUE_MAX);
	size_t durable_len = (size_t)(to - fixture->wanted);
	to += sprintf(to, "$1\r\nz\r\n");
	to += append_value(to, 'x', HF_PLAIN_VALUE_MAX);
	fixture->wanted_len = (size_t)(to - fixture->wanted);
	uint64_t lsn = last_lsn(fixture) + 1;
	while (reader.seen < fixture->wanted_len) {
		assert_true(pass(fixture, 10000));
		bool durable = hf_engine_committed(fixture->engine) >= lsn;
		take(fixture, &reader, SIZE_MAX);
		assert_true(durable || reader.seen <= durable_len);
	}
	assert_int_equal(last_lsn(fixture), lsn);
	close(writer.fd);
	close(reader.fd);
	run_dry(fixture);
	free(fixture->wanted);
	fixture->wanted = NULL;
}

/* More than once: the flush may be over within the pass, and then nothing is shown by it. */
static void test_parts_wait_for_the_disk(void **state) {
	for (uint32_t i = 0; i < 20; i++)
		part_waits(*state);
}

/* A refusal shows what the event before it did, and so waits for that event's flush. */
static void refusal_waits(struct fixture *fixture, uint32_t round) {
	struct client first = come(fixture), second = come(fixture);
	char line[64], got[256];
	uint64_t lsn = last_lsn(fixture) + 1;
	snprintf(line, sizeof(line), "HF.SEND t %u New\r\n", round);
	say(&first, line);
	say(&second, line);
	ssize_t len = -1;
	while (len < 0) {
		assert_true(pass(fixture, 10000));
		bool durable = hf_engine_committed(fixture->engine) >= lsn;
		len = recv(second.fd, got, sizeof(got), 0);
		assert_true(len > 0 || (len < 0 && errno == EAGAIN));
		assert_true(durable || len < 0);
	}
	assert_int_equal(strncmp(got, "-REFUSED t:", 11), 0);
	assert_int_equal(last_lsn(fixture), lsn);
	close(first.fd);
	close(second.fd);
	run_dry(fixture);
}

static void test_refusals_wait_for_the_disk(void **state) {
	static const char contract[] = "---\ntitle: t\n---\nstateDiagram-v2\n[*] --> A : New\n";
	struct fixture *fixture = *state;
	struct hf_reply reply;
	hf_engine_lock(fixture->engine);
	hf_engine_contract_load(fixture->engine, hf_span_of(contract), "t.mmd", &reply);
	hf_engine_unlock(fixture->engine);
	assert_int_equal(reply.status, HF_OK);
	assert_true(hf_engine_wait(fixture->engine, reply.lsn, &fixture->err));
	for (uint32_t i = 0; i < 20; i++)
		refusal_waits(fixture, i);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void begin_drain(struct fixture *fixture) {
	loop_of(fixture)->draining = true;
	loop_of(fixture)->drain_began_ns = hf_clock_monotonic_ns();
}

/* A drain's wait is held against who does not read his replies, not against a slow disk. */
static void test_drain_waits_for_the_disk(void **state) {
	struct fixture *fixture = *state;
	struct client client = come(fixture);
	uint32_t passes = 0;
	begin_drain(fixture);
	while (hf_loop_pass(loop_of(fixture))) /* the log's start may be told late */
		assert_true(++passes < 4);
	say(&client, "PING\r\n");
	hf_conn_gate(client.conn, hf_engine_committed(fixture->engine) + 1);
	assert_true(hf_loop_pass(loop_of(fixture)));
	assert_false(is_answered(&client));
	assert_true(hf_loop_pass(loop_of(fixture)));
	close(client.fd);
	run_dry(fixture);
}

/* What had been read before a drain is answered; a snapshot among it is not waited for. */
static void test_drain_gives_up_snapshots(void **state) {
	struct fixture *fixture = *state;
	struct client client = come(fixture);
	set_value(fixture, &client, "x", 'x', 1);
	run_dry(fixture);
	begin_drain(fixture);
	say(&client, "HF.SNAPSHOT\r\nHF.SNAPSHOT\r\nPING\r\n");
	for (uint32_t i = 0; i < 2; i++)
		expect(fixture, &client,
		       "-STOPPED the server is stopping: the snapshot is given up\r\n");
	expect(fixture, &client, pong);
	close(client.fd);
	run_dry(fixture);
}

/* What comes behind a QUIT is thrown away, a part at a time: who sends on keeps nobody waiting. */
static void test_long_goodbye(void **state) {
	struct fixture *fixture = *state;
	struct client client = come_over(fixture, SOCK_SEQPACKET); /* a read takes one piece */
	size_t discarded = 0;
	say(&client, "QUIT\r\n");
	for (uint32_t i = 0; i < PIECES; i++)
		tell(&client, "x", 1);
	while (discarded < PIECES) {
		assert_true(pass(fixture, 0));
		assert_in_range(client.conn->discarded, discarded + 1, discarded + PIECES / 2);
		discarded = client.conn->discarded;
	}
	close(client.fd);
	run_dry(fixture);
	assert_int_equal(atomic_load(&loop_of(fixture)->conn_count), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_long_mgets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_crumbs_stand_aside, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turns_in_a_crowd, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_turns_beside_a_flush, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flushes_gather, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turns_have_parts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gathered_and_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_edge_is_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_urgent_bytes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slow_commands_take_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_small_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gone_in_mid_mget, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_one_instant, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_key_by_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parts_wait_for_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refusals_wait_for_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_drain_waits_for_the_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_drain_gives_up_snapshots, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_goodbye, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
