#include "server/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/clock.h"
#include "os/memory.h"
#include "server/loop.h"

#define BY_EDGES (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define LINGER_MAX 1048576u /* bytes thrown away for a client that does not stop */

struct hf_conn *hf_conn_new(struct hf_loop *loop, int fd, uint64_t id) {
	struct hf_conn *conn = hf_memory_new(sizeof(*conn));
	if (conn == NULL)
		return NULL;
	conn->source.kind = HF_SOURCE_CONN;
	conn->fd = fd;
	conn->loop = loop;
	conn->id = id;
	conn->born_ns = hf_clock_monotonic_ns();
	conn->out.pool = &loop->pool;
	conn->interest = BY_EDGES;
	return conn;
}

void hf_conn_free(struct hf_conn *conn) {
	if (conn->fd >= 0)
		close(conn->fd);
	hf_conn_drop_input(conn);
	hf_out_clear(&conn->out);
	hf_memory_free(conn);
}

/* ---- in ---------------------------------------------------------------------------------- */

static bool make_room(struct hf_conn *conn) {
	struct hf_pool *pool = &conn->loop->pool;
	if (conn->in == NULL) {
		conn->in = hf_pool_take(pool);
		conn->in_cap = HF_BLOCK_SIZE;
		return conn->in != NULL;
	}
	if (conn->in_end < conn->in_cap)
		return true;
	/* One command fills the buffer; the parser bounds its length. */
	HF_ASSERT(conn->in_start == 0 && conn->in_cap < HF_COMMAND_MAX);
	uint8_t *grown = hf_pool_grow(pool, conn->in, &conn->in_cap, conn->in_end);
	if (grown != NULL)
		conn->in = grown;
	return grown != NULL;
}

static enum hf_conn_input read_result(ssize_t count) {
	if (count > 0)
		return HF_INPUT_BYTES;
	if (count == 0)
		return HF_INPUT_END;
	return errno == EAGAIN || errno == EINTR ? HF_INPUT_NONE : HF_INPUT_BROKEN;
}

static enum hf_conn_input read_and_discard(struct hf_conn *conn) {
	uint8_t scratch[HF_BLOCK_SIZE];
	ssize_t count = read(conn->fd, scratch, sizeof(scratch));
	enum hf_conn_input result = read_result(count);
	if (result == HF_INPUT_BYTES)
		conn->discarded += (size_t)count;
	bool too_much = conn->discarded > LINGER_MAX && !conn->loop->draining;
	if (result == HF_INPUT_END || too_much)
		return HF_INPUT_BROKEN;
	return result;
}

enum hf_conn_input hf_conn_read(struct hf_conn *conn) {
	if (conn->lingering)
		return read_and_discard(conn);
	if (!make_room(conn))
		return HF_INPUT_BROKEN;
	size_t room = conn->in_cap - conn->in_end;
	ssize_t count;
	do
		count = read(conn->fd, conn->in + conn->in_end, room);
	while (count < 0 && errno == EINTR);
	/* A short read took all there was; of what comes now, epoll will tell. */
	if (count < (ssize_t)room && !conn->behind)
		conn->readable = false;
	if (count > 0)
		conn->in_end += (size_t)count;
	else if (conn->in_start == conn->in_end)
		hf_conn_drop_input(conn);
	return read_result(count);
}

void hf_conn_settle(struct hf_conn *conn) {
	HF_ASSERT(conn->queued == 0);
	if (conn->in_start == conn->in_end) {
		hf_conn_drop_input(conn);
	} else if (conn->in_start > 0) {
		memmove(conn->in, conn->in + conn->in_start, conn->in_end - conn->in_start);
		conn->in_end -= conn->in_start;
		conn->in_start = 0;
	}
}

void hf_conn_drop_input(struct hf_conn *conn) {
	hf_pool_give(&conn->loop->pool, conn->in, conn->in_cap);
	conn->in = NULL;
	conn->in_cap = 0;
	conn->in_start = 0;
	conn->in_end = 0;
	conn->in_need = 0;
}

/* ---- out --------------------------------------------------------------------------------- */

void hf_conn_seal(struct hf_conn *conn) {
	uint32_t last = (conn->mark_first + conn->mark_count - 1) % HF_MARKS_MAX;
	struct hf_mark *mark = &conn->marks[last];
	bool covered = conn->mark_count > 0 && conn->gate <= mark->durable_at;
	if (!covered) {
		/*
		 * With all marks taken the last one stands in: the replies it had wait a little
		 * longer.
		 */
		if (conn->mark_count < HF_MARKS_MAX)
			mark = &conn->marks[(conn->mark_first + conn->mark_count++) % HF_MARKS_MAX];
		mark->durable_at = conn->gate;
	}
	mark->end = conn->open ? conn->open_from : hf_out_end(&conn->out);
	conn->gate = 0;
}

static void release(struct hf_conn *conn, uint64_t committed) {
	while (conn->mark_count > 0 && conn->marks[conn->mark_first].durable_at <= committed) {
		conn->released = conn->marks[conn->mark_first].end;
		conn->mark_first = (conn->mark_first + 1) % HF_MARKS_MAX;
		conn->mark_count--;
	}
}

bool hf_conn_flush(struct hf_conn *conn, uint64_t committed) {
	struct hf_out *out = &conn->out;
	if (out->failed)
		return false;
	release(conn, committed);
	uint64_t sent = out->base + out->start;
	if (conn->blocked || conn->released == sent)
		return true;
	size_t due = (size_t)(conn->released - sent);
	size_t len = due < HF_CONN_SEND_MAX ? due : HF_CONN_SEND_MAX;
	ssize_t count = send(conn->fd, out->data + out->start, len, MSG_NOSIGNAL);
	if (count < 0) {
		conn->blocked = errno == EAGAIN || errno == EINTR;
		return conn->blocked;
	}
	hf_out_sent(out, (size_t)count);
	conn->blocked = (size_t)count < due;
	return true;
}

static int watcher(const struct hf_conn *conn, bool aside) {
	return aside ? conn->loop->aside_fd : conn->loop->epoll_fd;
}

/* It comes back when it has sent a whole command, and read all that it was sent. */
static bool stands_aside(const struct hf_conn *conn) {
	if (conn->blocked || conn->fragments >= HF_FRAGMENTS_MAX)
		return true;
	return conn->aside && (conn->fragments > 0 || hf_out_pending(&conn->out) > 0);
}

/* Who is not read now may be watched still: most have sent nothing when they are read again. */
static uint32_t wanted(const struct hf_conn *conn) {
	uint32_t in = conn->interest & BY_EDGES;
	if (hf_conn_reads(conn))
		in = conn->lingering ? EPOLLIN : BY_EDGES;
	return in | (conn->blocked ? EPOLLOUT : 0u);
}

static void watch(struct hf_conn *conn, uint32_t interest) {
	struct epoll_event event = { .events = interest, .data.ptr = &conn->source };
	int rc = epoll_ctl(watcher(conn, conn->aside), EPOLL_CTL_MOD, conn->fd, &event);
	HF_ASSERT(rc == 0);
	conn->interest = interest;
}

void hf_conn_hush(struct hf_conn *conn) {
	watch(conn, conn->interest & EPOLLOUT);
}

void hf_conn_watch(struct hf_conn *conn) {
	uint32_t interest = wanted(conn);
	/* An edge tells once; a change tells again what is so. */
	bool remind = conn->readable && hf_conn_reads(conn);
	struct epoll_event event = { .events = interest, .data.ptr = &conn->source };
	bool aside = stands_aside(conn);
	/* Without memory for that it stays where it is: it is only a matter of who comes first. */
	if (aside != conn->aside &&
	    epoll_ctl(watcher(conn, aside), EPOLL_CTL_ADD, conn->fd, &event) == 0) {
		int rc = epoll_ctl(watcher(conn, conn->aside), EPOLL_CTL_DEL, conn->fd, NULL);
		HF_ASSERT(rc == 0);
		conn->aside = aside;
		conn->interest = interest;
	} else if (interest != conn->interest || remind) {
		watch(conn, interest);
	}
}

/* ---- addresses --------------------------------------------------------------------------- */

void hf_address_text(const struct sockaddr_storage *address, char *buf) {
	char host[INET6_ADDRSTRLEN] = "?";
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(buf, HF_ADDRESS_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
		inet_ntop(AF_INET, &in4->sin_addr, host, sizeof(host));
		snprintf(buf, HF_ADDRESS_MAX, "%s:%u", host, ntohs(in4->sin_port));
	}
}

static void address_of(const struct hf_conn *conn, bool own, char *buf) {
	struct sockaddr_storage storage = { .ss_family = AF_INET };
	struct sockaddr *address = (struct sockaddr *)&storage;
	socklen_t len = sizeof(storage);
	int rc = own ? getsockname(conn->fd, address, &len) : getpeername(conn->fd, address, &len);
	if (rc != 0)
		storage.ss_family = AF_INET;
	hf_address_text(&storage, buf);
}

void hf_conn_peer(const struct hf_conn *conn, char *buf) {
	address_of(conn, false, buf);
}

void hf_conn_own(const struct hf_conn *conn, char *buf) {
	address_of(conn, true, buf);
}
