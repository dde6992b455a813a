/*
 * Connections: one or two clients of a whole server, from the first byte to the last reply. Only
 * the log is a mock (memory_log.c): so the input says when a flush is over.
 *
 * Input: a byte of switches, then what the clients send, with three bytes that are not sent:
 * 0xff: the other client goes on; 0xfe: the flush is over; 0xfd: the server has a turn.
 *
 * What must hold: all replies are well-formed, one for each command; none that shows what an event
 * did, be it a refusal, is sent before that event is durable; how the bytes were cut into pieces
 * makes no difference; and replaying the log gives the state that the clients saw.
 */
#include "base/assert.h"
#include "engine/engine.h"
#include "compile_once.h"
#include "image.h"
#include "memory_log.h"
#include "os/clock.h"
#include "os/random.h"
#include "owed.h"
#include "server/command.h"
#include "server/loop.h"
#include "server/server.h"
#include "world.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLIENTS 2u
#define REPLIES_MAX 4194304u /* the longest reply: a MGET that names a value again and again */
#define DEPTH_MAX 8u

enum switches { AFTER_HANDSHAKE = 1, REPLAY = 2, IN_ONE_PIECE = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char handshake[] =
	"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
	"*4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$8\r\nLIB-NAME\r\n$8\r\nredis-py\r\n"
	"*4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$7\r\nLIB-VER\r\n$5\r\n5.0.1\r\n";

struct client {
	int fd;			    /* our end; -1: the server has closed it */
	const struct hf_conn *conn; /* the server's, or where it was */
	uint64_t received;
	size_t checked;
	bool forgot;		  /* not all of its replies are in `bytes` */
	uint32_t replies, errors; /* whole ones; of them protocol errors */
	size_t len;
	uint8_t bytes[REPLIES_MAX];
};

/* libFuzzer gives a target no place of its own for what outlives a run. */
static struct {
	struct hf_server *server;
	struct hf_engine *engine;
	struct client clients[CLIENTS];
	struct client before[CLIENTS]; /* of the run in pieces */
} world;

/* ---- a clock that stands still, and no chance: two runs are the same --------------------- */

int64_t hf_clock_wall_ns(void) {
	return 1700000000000000000;
}

uint64_t hf_clock_monotonic_ns(void) {
	return 1;
}

uint64_t hf_clock_cpu_ns(void) {
	return 1;
}

bool hf_random_u64(uint64_t *ret, struct hf_err *err) {
	*ret = 4;
	return true;
}

/* Snapshots are taken by a thread, with files: not here. */
bool __wrap_hf_engine_snapshot(struct hf_engine *engine, uint64_t *ret_ticket, struct hf_err *err);

bool __wrap_hf_engine_snapshot(struct hf_engine *engine, uint64_t *ret_ticket, struct hf_err *err) {
	return hf_fail(err, HF_IO, "no snapshot");
}

/* ---- replies ------------------------------------------------------------------------------- */

/* "12\r\n" at *at; false: not whole. Asserts that it is a number. */
static bool read_number(const uint8_t **at, const uint8_t *end, int64_t *ret) {
	const uint8_t *line = *at, *cr = memchr(line, '\r', (size_t)(end - line));
	if (cr == NULL || cr + 1 == end)
		return false;
	bool negative = *line == '-';
	uint64_t value = 0;
	HF_ASSERT(cr[1] == '\n' && cr > line + negative && cr - line <= 20);
	for (const uint8_t *digit = line + negative; digit < cr; digit++) {
		HF_ASSERT(*digit >= '0' && *digit <= '9');
		value = value * 10 + (uint64_t)(*digit - '0');
	}
	*ret = (int64_t)(negative ? -value : value);
	*at = cr + 2;
	return true;
}

static bool skip_line(const uint8_t **at, const uint8_t *end) {
	const uint8_t *lf = memchr(*at, '\n', (size_t)(end - *at));
	if (lf == NULL)
		return false;
	HF_ASSERT(lf > *at && lf[-1] == '\r');
	HF_ASSERT(memchr(*at, '\r', (size_t)(lf - *at)) == lf - 1);
	*at = lf + 1;
	return true;
}

static bool skip_bulk(const uint8_t **at, const uint8_t *end) {
	int64_t len;
	if (!read_number(at, end, &len))
		return false;
	HF_ASSERT(len >= -1);
	if (len < 0)
		return true;
	if (end - *at < len + 2)
		return false;
	HF_ASSERT(memcmp(*at + len, "\r\n", 2) == 0);
	*at += len + 2;
	return true;
}

/* Moves *at behind one reply; false: not whole. `ret` is its number, if it is one. */
static bool skip_reply(const uint8_t **at, const uint8_t *end, uint32_t depth, int64_t *ret) {
	HF_ASSERT(depth < DEPTH_MAX);
	if (*at == end)
		return false;
	int64_t count = 0, ignored;
	uint8_t kind = *(*at)++;
	switch (kind) {
	case '+':
	case '-':
	case '_':
	case '#':
		return skip_line(at, end);
	case ':':
		return read_number(at, end, ret);
	case '$':
	case '=':
		return skip_bulk(at, end);
	case '*':
	case '%':
	case '~':
		if (!read_number(at, end, &count))
			return false;
		HF_ASSERT(count >= -1);
		for (int64_t i = 0; i < (kind == '%' ? 2 * count : count); i++)
			if (!skip_reply(at, end, depth + 1, &ignored))
				return false;
		return true;
	default:
		HF_ASSERT(!"a kind of reply that there is not");
		return false;
	}
}

/* The LSN of [state, version, lsn]; 0 if this whole reply is another one. */
static uint64_t lsn_of(const uint8_t *at, const uint8_t *end) {
	int64_t version = -1, lsn = -1, ignored;
	if (end - at < 6 || memcmp(at, "*3\r\n", 4) != 0)
		return 0;
	at += 4;
	if (*at == ':' || !skip_reply(&at, end, 1, &ignored) || *at != ':' ||
	    !skip_reply(&at, end, 1, &version) || at == end || *at != ':' ||
	    !skip_reply(&at, end, 1, &lsn) || at != end)
		return 0;
	return (uint64_t)lsn;
}

static void check_replies(struct client *client) {
	const uint8_t *end = client->bytes + client->len;
	for (;;) {
		const uint8_t *begin = client->bytes + client->checked, *at = begin;
		int64_t ignored;
		if (!skip_reply(&at, end, 0, &ignored))
			return;
		HF_ASSERT(lsn_of(begin, at) <= hf_engine_committed(world.engine));
		client->replies++;
		client->errors += strncmp((const char *)begin, "-ERR Protocol error", 19) == 0;
		client->checked = (size_t)(at - client->bytes);
	}
}

static void receive(struct client *client) {
	while (client->fd >= 0) {
		if (client->len == REPLIES_MAX) { /* what was checked is not needed any more */
			client->len -= client->checked;
			memmove(client->bytes, client->bytes + client->checked, client->len);
			client->checked = 0;
			client->forgot = true;
			HF_ASSERT(client->len < REPLIES_MAX);
		}
		ssize_t count = recv(client->fd, client->bytes + client->len,
				     REPLIES_MAX - client->len, MSG_DONTWAIT);
		if (count < 0 && errno == EAGAIN)
			return;
		if (count <= 0) {
			close(client->fd);
			client->fd = -1;
			return;
		}
		client->len += (size_t)count;
		client->received += (uint64_t)count;
		HF_ASSERT(hf_owed_for(client->conn, client->received) <=
			  hf_engine_committed(world.engine));
		check_replies(client);
	}
}

/* ---- the server ---------------------------------------------------------------------------- */

static void must(bool ok, const struct hf_err *err) {
	if (!ok)
		fprintf(stderr, "%s\n", err->text);
	HF_ASSERT(ok);
}

/* The server takes turns as long as it has something to do. */
static void turn(void) {
	struct hf_loop *loop = &world.server->loops[0];
	for (;;) {
		struct pollfd ready = { .fd = loop->epoll_fd, .events = POLLIN };
		if (!hf_loop_has_work(loop) && poll(&ready, 1, 0) == 0)
			break;
		(void)hf_loop_pass(loop);
		for (uint32_t i = 0; i < CLIENTS; i++)
			receive(&world.clients[i]);
	}
}

static void finish_flush(void) {
	hf_memory_log_finish_flush();
	turn();
}

/* What was queued behind the flush that is over goes out with the next one. */
static void finish_flushes(void) {
	uint64_t before;
	turn();
	do {
		before = hf_engine_committed(world.engine);
		finish_flush();
	} while (hf_engine_committed(world.engine) != before);
}

static void deliver(struct client *client, const uint8_t *bytes, size_t len) {
	while (len > 0 && client->fd >= 0) {
		ssize_t count = send(client->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		HF_ASSERT(count > 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
		if (count < 0 && errno != EAGAIN)
			return;
		bytes += count < 0 ? 0 : count;
		len -= count < 0 ? 0 : (size_t)count;
		if (count < 0) /* perhaps its replies wait for the flush, so nothing is read */
			finish_flush();
	}
}

static void open_server(void) {
	struct hf_server_options options = {
		.engine = world.engine, .listen = "127.0.0.1:0", .threads = 1, .max_clients = 16
	};
	struct hf_err err;
	must(hf_server_open(&options, &world.server, &err), &err);
}

static void open_engine(void) {
	struct hf_engine_options options = { .data_dir = "/", .verify = true };
	struct hf_err err;
	must(hf_engine_open(&options, &world.engine, &err), &err);
}

static void close_engine(void) {
	struct hf_err err;
	must(hf_engine_close(world.engine, &err), &err);
}

static void begin(void) {
	struct hf_reply reply;
	hf_memory_log_forget();
	hf_owed_forget();
	open_engine();
	hf_engine_contract_load(world.engine, hf_span_of(hf_fuzz_contract), "t.mmd", &reply);
	HF_ASSERT(reply.status == HF_OK);
	struct hf_err err;
	must(hf_engine_wait(world.engine, reply.lsn, &err), &err);
	bool is_new = world.server == NULL;
	if (is_new)
		open_server();
	struct hf_loop *loop = &world.server->loops[0];
	world.server->engine = loop->engine = world.engine;
	must(is_new || hf_server_register(world.server, &err), &err);
	must(is_new || hf_loop_join_stats(loop, &err), &err);
	must(is_new || hf_engine_reader_join(world.engine, "network 1", &loop->reader, &err), &err);
	world.server->accepted = 0;
	loop->committed = 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		int fds[2];
		HF_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
		world.clients[i].fd = fds[0];
		world.clients[i].checked = world.clients[i].len = 0;
		world.clients[i].forgot = false;
		world.clients[i].replies = world.clients[i].errors = 0;
		world.clients[i].received = 0;
		HF_ASSERT(hf_server_adopt(world.server, fds[1]));
		world.clients[i].conn = world.server->conns;
	}
}

static void end(void) {
	struct hf_loop *loop = &world.server->loops[0];
	uint32_t replies = 0, errors = 0;
	finish_flushes();
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct client *client = &world.clients[i];
		HF_ASSERT(client->checked == client->len);
		HF_ASSERT(client->errors <= 1);
		replies += client->replies;
		errors += client->errors;
		if (client->fd >= 0)
			close(client->fd);
		client->fd = -1;
	}
	bool drained = world.server->listen_fd < 0; /* SHUTDOWN, which has no reply */
	hf_loop_take_figures(loop);
	HF_ASSERT(drained || replies == hf_stats_sum_of(loop->figures, "latency_ns.") + errors);
	turn();
	HF_ASSERT(drained || world.server->conn_count == 0);
	if (drained) {
		hf_server_close(world.server);
		world.server = NULL;
	} else {
		hf_loop_leave_stats(loop); /* the next engine is another one */
		hf_engine_reader_leave(&loop->reader);
	}
}

static void check_replay(void) {
	uint8_t hash[16], again[16];
	struct hf_reply reply;
	hf_engine_hash(world.engine, hash, &reply);
	close_engine();
	open_engine();
	hf_engine_hash(world.engine, again, &reply);
	HF_ASSERT(memcmp(hash, again, sizeof(hash)) == 0);
}

/* ---- a run --------------------------------------------------------------------------------- */

static void run(const uint8_t *data, size_t size, uint8_t switches, bool in_pieces) {
	uint32_t client = 0;
	size_t begun = 0;
	begin();
	for (uint32_t i = 0; (switches & AFTER_HANDSHAKE) && i < CLIENTS; i++)
		deliver(&world.clients[i], (const uint8_t *)handshake, sizeof(handshake) - 1);
	for (size_t i = 0; i <= size; i++) {
		if (i < size && data[i] < 0xfd)
			continue;
		deliver(&world.clients[client], data + begun, i - begun);
		begun = i + 1;
		if (i < size && data[i] == 0xff)
			client = (client + 1) % CLIENTS;
		if (in_pieces || client != 0 || (i < size && data[i] == 0xff))
			turn();
		if (i < size && data[i] == 0xfe)
			finish_flush();
	}
	end();
	if (switches & REPLAY)
		check_replay();
	close_engine();
}

/* Replies that tell of the server's own doings differ from run to run. */
static bool tells_of_itself(const struct client *client) {
	static const char *const signs[] = { "\r\n# ",	  "txt:# ", /* a section of INFO */
					     "qbuf=",	  "stats.",	"clients.",
					     "log.group", "latency_ns." };
	if (client->forgot)
		return true;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (memmem(client->bytes, client->len, signs[i], strlen(signs[i])) != NULL)
			return true;
	return false;
}

/*
 * The same replies; only a protocol error may be missing, where the parser waits for the rest of a
 * command before it looks at the beginning again. That may be so in one piece, too: it is cut where
 * a flush is over.
 */
static void compare(const struct client *pieces, const struct client *whole) {
	static const char error[] = "-ERR Protocol error";
	const struct client *longer = pieces->len > whole->len ? pieces : whole;
	size_t same = longer == whole ? pieces->len : whole->len, rest = longer->len - same;
	HF_ASSERT(memcmp(pieces->bytes, whole->bytes, same) == 0);
	HF_ASSERT(rest == 0 || (rest > sizeof(error) &&
				memcmp(longer->bytes + same, error, sizeof(error) - 1) == 0));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	static const struct hf_image_file none;
	hf_image_show(&none, 0);
	hf_compile_once(hf_span_of(hf_fuzz_contract));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size == 0)
		return 0;
	run(data + 1, size - 1, data[0], true);
	bool shut_down = world.server == NULL; /* the next one has another port */
	if (!(data[0] & IN_ONE_PIECE) || memchr(data, 0xff, size) != NULL || shut_down)
		return 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		memcpy(world.before[i].bytes, world.clients[i].bytes, world.clients[i].len);
		world.before[i].len = world.clients[i].len;
	}
	run(data + 1, size - 1, data[0], false);
	for (uint32_t i = 0; i < CLIENTS; i++)
		if (!tells_of_itself(&world.clients[i]))
			compare(&world.before[i], &world.clients[i]);
	return 0;
}
