#include "server/loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/thread.h"
#include "server/command.h"

/*
 * A pass is short: who comes in the middle of it is looked at some 50 us later, whatever the others
 * want. Work is counted roughly in microseconds: see `worked`.
 */
#define EVENTS_MAX 16
#define EVENTS_HEAVY 8 /* the same, after a pass of more than PASS_WORK */
#define PASS_WORK 64u
#define ASIDES_MAX 8	  /* of those, from connections that stand aside */
#define LIGHT_MAX 1024u	  /* bytes of one read that are executed at once, without a turn */
#define TURN_WORK 64u	  /* of one connection, before the others go on; and of turns in a pass */
#define TURN_PART 16u	  /* of it, in a pass, while somebody with little is about */
#define LIGHT_NS 2000000u /* since he came */
#define CROWDED_MAX 16 /* passes without turns, while more were ready than are looked at in one */
#define TURN_SLOW_NS 100000u /* of slow commands: after it no further one begins */
/*
 * Between flushes, while turns go on: each takes some 80 us of processor time, by interrupts and
 * the kernel's threads, as much as a hundred events.
 */
#define FLUSH_PACE_NS 800000u
#define STALL_NS 200000u /* without the end of a flush, while replies wait for one */
#define SLOW_WORK 512u	 /* from one turn of slow commands to the next, while others keep us busy */
/*
 * A drain gives up the clients that are left: in the first case those that do not read their
 * replies, in the second those that have them and do not hang up.
 */
#define DRAIN_WAIT_MS 250
#define DRAIN_WAITS_UNREAD 20 /* in a row without any event */
#define DRAIN_WAITS_READ 2
#define DRAIN_MAX_NS 10000000000u /* whatever they do */

/* ---- lists ------------------------------------------------------------------------------- */

static bool list_init(struct hf_conn_list *list, uint32_t cap) {
	list->count = 0;
	list->items = hf_memory_grow(NULL, cap * sizeof(list->items[0]));
	return list->items != NULL;
}

/* `*member` is the connection's flag for this list. */
static void list_add(struct hf_conn_list *list, struct hf_conn *conn, bool *member) {
	if (*member)
		return;
	*member = true;
	list->items[list->count++] = conn;
}

static void list_drop_dead(struct hf_conn_list *list) {
	uint32_t kept = 0;
	for (uint32_t i = 0; i < list->count; i++)
		if (list->items[i]->fd >= 0)
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* ---- turns ------------------------------------------------------------------------------- */

static void enqueue_between(struct hf_conn_queue *queue, struct hf_conn *prev, struct hf_conn *conn,
			    struct hf_conn *next) {
	conn->queue = queue;
	conn->queue_prev = prev;
	conn->queue_next = next;
	*(prev != NULL ? &prev->queue_next : &queue->first) = conn;
	*(next != NULL ? &next->queue_prev : &queue->last) = conn;
}

/* The connection waits for its turn; if it does so already, it stays where it is. */
static void enqueue(struct hf_conn_queue *queue, struct hf_conn *conn) {
	if (conn->queue == NULL)
		enqueue_between(queue, queue->last, conn, NULL);
}

/* It goes on with its turn in the next pass. */
static void enqueue_first(struct hf_conn_queue *queue, struct hf_conn *conn) {
	HF_ASSERT(conn->queue == NULL);
	enqueue_between(queue, NULL, conn, queue->first);
}

static void dequeue(struct hf_conn *conn) {
	struct hf_conn_queue *queue = conn->queue;
	if (queue == NULL)
		return;
	if (conn->queue_next != NULL)
		conn->queue_next->queue_prev = conn->queue_prev;
	else
		queue->last = conn->queue_prev;
	if (conn->queue_prev != NULL)
		conn->queue_prev->queue_next = conn->queue_next;
	else
		queue->first = conn->queue_next;
	conn->queue = NULL;
}

/* What `bytes` read and a command of `args` strings cost, about: a SEND is 1, a full read 16. */
static void worked(struct hf_loop *loop, size_t bytes, uint32_t args) {
	loop->work += (uint32_t)(bytes / 1024) + args / 16 + 1;
}

/* ---- closing ----------------------------------------------------------------------------- */

/* The connection is gone; its memory stays until the end of the pass. */
static void kill_conn(struct hf_loop *loop, struct hf_conn *conn) {
	if (conn->fd < 0)
		return;
	HF_ASSERT(conn->queued == 0);
	if (loop->held == conn)
		loop->held = NULL;
	if (loop->job.conn == conn)
		loop->job.conn = NULL;
	dequeue(conn);
	hf_server_forget(loop->server, conn);
	close(conn->fd);
	conn->fd = -1;
	loop->dead.items[loop->dead.count++] = conn;
}

static void bury_dead(struct hf_loop *loop) {
	if (loop->dead.count == 0)
		return;
	list_drop_dead(&loop->waiting);
	for (uint32_t i = 0; i < loop->dead.count; i++) {
		hf_conn_free(loop->dead.items[i]);
		atomic_fetch_sub(&loop->conn_count, 1);
	}
	loop->dead.count = 0;
}

#define GOODBYE_READS 64u /* at once */

/*
 * Everything was answered and sent. Closing a socket with unread bytes resets it and can
 * destroy the replies on their way, so our direction is shut first, and what still comes is
 * read and thrown away; of one that does not stop, the rest in later passes.
 */
static void say_goodbye(struct hf_loop *loop, struct hf_conn *conn) {
	if (conn->lingering)
		return;
	conn->lingering = true;
	bool shut = shutdown(conn->fd, SHUT_WR) == 0;
	enum hf_conn_input rest = shut ? HF_INPUT_BYTES : HF_INPUT_BROKEN;
	for (uint32_t i = 0; i < GOODBYE_READS && rest == HF_INPUT_BYTES; i++)
		rest = hf_conn_read(conn);
	if (rest == HF_INPUT_BROKEN)
		kill_conn(loop, conn);
}

/* ---- in ---------------------------------------------------------------------------------- */

static void settle(struct hf_conn *conn) {
	if (conn->finishing && !conn->paused && !conn->held && conn->queue == NULL)
		hf_conn_drop_input(conn);
	else
		hf_conn_settle(conn);
}

void hf_loop_execute(struct hf_loop *loop) {
	hf_send_execute(loop);
	for (uint32_t i = 0; i < loop->unsettled.count; i++) {
		loop->unsettled.items[i]->unsettled = false;
		settle(loop->unsettled.items[i]);
	}
	loop->unsettled.count = 0;
}

/* Unread replies at which a connection is not read any more. */
static size_t pause_limit(const struct hf_loop *loop) {
	return loop->pool.used > loop->client_memory_max / 2 ? HF_CONNECTION_OUTPUT_SQUEEZED
							     : HF_CONNECTION_OUTPUT_PAUSE;
}

/* Where a slow command waits that cannot be run now. */
static struct hf_conn_queue *wait_queue(struct hf_loop *loop) {
	return hf_loop_has_turn(loop) ? &loop->jobs : &loop->slow;
}

/*
 * Parses the next command into loop->command. One with quotes is rewritten by that, and if it has
 * to wait it is parsed again: so it is copied before.
 */
static enum hf_resp_result parse_next(struct hf_loop *loop, struct hf_conn *conn, size_t *ret_size,
				      struct hf_err *err) {
	uint8_t *bytes = conn->in + conn->in_start;
	size_t len = conn->in_end - conn->in_start;
	size_t quoted = hf_resp_quoted_line(bytes, len);
	if (quoted > 0) {
		/* The batch may point into the last one's copy. */
		hf_loop_execute(loop);
		memcpy(loop->line, bytes, quoted);
		bytes = loop->line;
		len = quoted;
	}
	return hf_resp_parse(bytes, len, &loop->command, ret_size, err);
}

/* After so much work of its turn: that is over, or goes on in the next pass, before the others'. */
static void interrupt(struct hf_loop *loop, struct hf_conn *conn, uint32_t work) {
	if (work >= TURN_WORK) {
		enqueue(&loop->bulk, conn);
	} else {
		conn->turn_work = work;
		enqueue_first(&loop->bulk, conn);
	}
}

/*
 * Runs the complete commands in the buffer, until the client owes us too much reading, or the next
 * one has to wait for its turn, and all behind it.
 */
static void parse(struct hf_loop *loop, struct hf_conn *conn) {
	uint32_t begun = loop->work, before = conn->turn_work;
	uint32_t left = TURN_WORK - before; /* of its turn: never none */
	uint32_t most = left < loop->turn_most ? left : loop->turn_most;
	conn->turn_work = 0;
	/* Executing the batch must not move the buffer that is being parsed. */
	HF_ASSERT(!conn->unsettled);
	list_add(&loop->dirty, conn, &conn->dirty);
	while (conn->in_end - conn->in_start > conn->in_need && !conn->held && !conn->paused) {
		if (hf_out_pending(&conn->out) >= pause_limit(loop)) {
			conn->paused = true;
			break;
		}
		if (loop->work - begun >= most) {
			interrupt(loop, conn, before + loop->work - begun);
			break;
		}
		/* Not parsed in vain: it is a long one. */
		if (conn->answered > 0 && !hf_loop_has_turn(loop)) {
			enqueue(&loop->slow, conn);
			break;
		}
		struct hf_err err;
		size_t size;
		uint64_t begun_out = hf_out_end(&conn->out);
		enum hf_resp_result result = parse_next(loop, conn, &size, &err);
		if (result == HF_RESP_MORE) {
			conn->in_need = size - 1;
			break;
		}
		conn->in_need = 0;
		if (result == HF_RESP_ERROR) {
			if (conn->queued > 0)
				hf_loop_execute(loop);
			hf_out_error(&conn->out, "ERR", err.text);
			hf_conn_finish(conn);
			break;
		}
		conn->in_start += size;
		conn->fragments = 0;
		bool is_done =
			loop->command.argc == 0 || hf_command_run(loop, conn, &loop->command);
		/* To write takes a quarter of what it takes to read. */
		worked(loop, (hf_out_end(&conn->out) - begun_out) / 4, loop->command.argc);
		if (!is_done) {
			conn->in_start -= size;
			enqueue(wait_queue(loop), conn);
			break;
		}
	}
	if (conn->queued > 0)
		list_add(&loop->unsettled, conn, &conn->unsettled);
	else
		settle(conn);
}

/* Reads once, and executes what came, if it is little or the connection has its turn. */
static void input(struct hf_loop *loop, struct hf_conn *conn, bool has_turn) {
	size_t had = conn->in_end;
	enum hf_conn_input result = hf_conn_read(conn);
	size_t came = result == HF_INPUT_BYTES && !conn->lingering ? conn->in_end - had : 0;
	worked(loop, came, 0);
	conn->bulky = came > LIGHT_MAX;
	if (conn->bulky)
		conn->fragments = 0;
	else if (came > 0 && conn->fragments < HF_FRAGMENTS_MAX)
		conn->fragments++;
	switch (result) {
	case HF_INPUT_BYTES:
		if (conn->lingering)
			break;
		if (conn->bulky && !has_turn) {
			enqueue(&loop->bulk, conn);
			break;
		}
		parse(loop, conn);
		/* All that he wants is done, and was a whole command: he needs no turn. */
		if (!has_turn && conn->queue == NULL && conn->fragments == 0)
			loop->light_ns = loop->now_ns;
		break;
	case HF_INPUT_NONE:
		break;
	case HF_INPUT_END:
		hf_conn_finish(conn);
		settle(conn);
		list_add(&loop->dirty, conn, &conn->dirty);
		break;
	case HF_INPUT_BROKEN:
		kill_conn(loop, conn);
		break;
	}
}

static void conn_event(struct hf_loop *loop, struct hf_conn *conn, uint32_t events) {
	bool in = (events & EPOLLIN) != 0;
	if (conn->fd < 0)
		return;
	conn->readable |= in;
	conn->behind |= (events & (EPOLLRDHUP | EPOLLPRI)) != 0;
	if (events & EPOLLOUT) {
		/* What is still due may be much: it is sent by turns, before a slow command. */
		conn->blocked = false;
		if (conn->queue != &loop->bulk)
			dequeue(conn);
		enqueue(&loop->bulk, conn);
		hf_conn_watch(conn);
	}
	if (in && hf_conn_reads(conn) && conn->bulky)
		enqueue(&loop->bulk, conn);
	else if (in && hf_conn_reads(conn))
		input(loop, conn, false);
	else if ((events & (EPOLLERR | EPOLLHUP)) && !(in && conn->queue != NULL))
		kill_conn(loop, conn);
	else if (in)
		hf_conn_hush(conn); /* we know */
}

/* One connection's turn: what it has in its buffer, or one read; and one send, when it is over. */
static void take_turn(struct hf_loop *loop, struct hf_conn *conn) {
	size_t due = hf_out_pending(&conn->out);
	dequeue(conn);
	worked(loop, due < HF_CONN_SEND_MAX ? due : HF_CONN_SEND_MAX, 0);
	/* The batch points into its buffer, if it was parsed in this pass before. */
	if (conn->unsettled)
		hf_loop_execute(loop);
	if (conn->in_end - conn->in_start <= conn->in_need && hf_conn_reads(conn))
		input(loop, conn, true);
	else
		parse(loop, conn);
	if (conn->fd >= 0)
		list_add(&loop->dirty, conn, &conn->dirty);
}

static void take_bulk_turns(struct hf_loop *loop) {
	uint32_t begun = loop->work;
	while (loop->bulk.first != NULL && loop->work - begun < loop->turn_most)
		take_turn(loop, loop->bulk.first);
}

/*
 * The slow commands' turn: a part of the job, or the next one, and some of the short ones. A
 * connection with more of them goes to the end of the queue. Some reply little and take long all
 * the same (a SCAN that finds nothing), so it is time that is bounded as well.
 */
static void take_slow_turn(struct hf_loop *loop) {
	struct hf_conn *conn = loop->job.conn;
	if (conn != NULL && hf_job_step(loop)) {
		list_add(&loop->dirty, conn, &conn->dirty);
		enqueue(&loop->bulk, conn);
	}
	if (loop->jobs.first == NULL && loop->slow.first == NULL)
		return;
	loop->turn = true;
	loop->slow_bytes = 0;
	/* Not from now_ns: what was read and gathered since then is no part of the turn. */
	loop->turn_until_ns = hf_clock_monotonic_ns() + TURN_SLOW_NS;
	if (loop->job.conn == NULL && loop->jobs.first != NULL)
		take_turn(loop, loop->jobs.first);
	while (loop->slow.first != NULL && hf_loop_has_turn(loop))
		take_turn(loop, loop->slow.first);
	loop->turn = false;
}

/* Once those that have little are answered: in a crowd, some passes later. */
static void take_turns(struct hf_loop *loop, bool crowded) {
	if (crowded && ++loop->crowded < CROWDED_MAX)
		return;
	loop->crowded = 0;
	bool light = loop->now_ns < loop->light_ns + LIGHT_NS;
	loop->turn_most = light && !crowded ? TURN_PART : TURN_WORK;
	take_bulk_turns(loop);
	loop->turn_most = TURN_WORK;
	bool busy = loop->bulk.first != NULL || loop->work >= TURN_WORK;
	/* Slow commands have their turn when nobody else is ready, or has been for long enough. */
	loop->work_since_slow += loop->work;
	if (!busy || loop->work_since_slow >= SLOW_WORK) {
		loop->work_since_slow = 0;
		take_slow_turn(loop);
	}
}

/* The connection that waits for a snapshot has its reply if that is over: on with its commands. */
static void release_held(struct hf_loop *loop) {
	struct hf_conn *conn = loop->held;
	if (conn == NULL || !hf_snapshot_reply(loop))
		return;
	loop->held = NULL;
	conn->held = false;
	list_add(&loop->dirty, conn, &conn->dirty);
	enqueue(&loop->bulk, conn);
}

/* ---- out --------------------------------------------------------------------------------- */

/* Sends what may be sent, and draws the conclusions. */
static void advance(struct hf_loop *loop, struct hf_conn *conn) {
	if (!hf_conn_flush(conn, loop->committed)) {
		kill_conn(loop, conn);
		return;
	}
	size_t pending = hf_out_pending(&conn->out);
	if (conn->paused && pending < pause_limit(loop) / 2) {
		conn->paused = false;
		enqueue(&loop->bulk, conn);
	}
	if (conn->finishing && conn->queue == NULL && !conn->paused && !conn->held && pending == 0)
		say_goodbye(loop, conn);
	if (conn->fd >= 0)
		hf_conn_watch(conn);
}

/* Of those that were written to, and of those that waited; the first have little, if `urgent`. */
static void send_replies(struct hf_loop *loop, bool urgent) {
	uint64_t committed = hf_engine_committed(loop->engine);
	bool moved = committed != loop->committed;
	if (moved || loop->waiting.count == 0)
		loop->moved_ns = loop->now_ns;
	loop->committed = committed;
	for (uint32_t i = 0; i < loop->dirty.count; i++) {
		struct hf_conn *conn = loop->dirty.items[i];
		conn->dirty = false;
		if (conn->fd < 0)
			continue;
		if (urgent && conn->gate > committed && conn->gate > loop->urgent_lsn) {
			loop->urgent_lsn = conn->gate;
			loop->queued = true; /* perhaps by another loop, which gathers */
		}
		hf_conn_seal(conn);
		advance(loop, conn);
		if (conn->fd >= 0 && conn->mark_count > 0)
			list_add(&loop->waiting, conn, &conn->waiting);
	}
	loop->dirty.count = 0;
	if (!moved)
		return;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < loop->waiting.count; i++) {
		struct hf_conn *conn = loop->waiting.items[i];
		if (conn->fd >= 0)
			advance(loop, conn);
		conn->waiting = conn->fd >= 0 && conn->mark_count > 0;
		if (conn->waiting)
			loop->waiting.items[kept++] = conn;
	}
	loop->waiting.count = kept;
}

/* ---- memory ------------------------------------------------------------------------------ */

static uint64_t bytes_held(const struct hf_conn *conn) {
	return conn->in_cap + conn->out.cap;
}

static struct hf_conn *biggest(struct hf_loop *loop) {
	struct hf_server *server = loop->server;
	struct hf_conn *found = NULL;
	pthread_mutex_lock(&server->mutex);
	for (struct hf_conn *conn = server->conns; conn != NULL; conn = conn->next)
		if (conn->loop == loop && (found == NULL || bytes_held(conn) > bytes_held(found)))
			found = conn;
	pthread_mutex_unlock(&server->mutex);
	return found;
}

/* Clients together hold too much: whoever holds most goes, until it is enough. */
static void evict(struct hf_loop *loop) {
	while (loop->pool.used > loop->client_memory_max) {
		struct hf_conn *conn = biggest(loop);
		HF_ASSERT(conn != NULL);
		kill_conn(loop, conn);
		hf_conn_drop_input(conn);
		hf_out_clear(&conn->out);
		hf_count(loop->counting, loop->server->evicted, 1);
	}
	hf_gauge_set(loop->counting, loop->server->client_memory, (int64_t)loop->pool.used);
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* No more is read. What was read is answered, then each connection is closed. */
static void begin_drain(struct hf_loop *loop) {
	struct hf_server *server = loop->server;
	loop->draining = true;
	loop->drain_began_ns = hf_clock_monotonic_ns();
	pthread_mutex_lock(&server->mutex);
	for (struct hf_conn *conn = server->conns; conn != NULL; conn = conn->next) {
		if (conn->loop != loop)
			continue;
		conn->finishing = true;
		list_add(&loop->dirty, conn, &conn->dirty);
	}
	pthread_mutex_unlock(&server->mutex);
	release_held(loop);
	int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, server->drain_fd, NULL);
	HF_ASSERT(rc == 0);
	for (uint32_t i = 0; i < loop->dirty.count; i++) {
		struct hf_conn *conn = loop->dirty.items[i];
		if (conn->fd >= 0 && !conn->lingering && conn->queued == 0)
			settle(conn);
	}
}

/* Some of those that stand aside. */
static void dispatch_aside(struct hf_loop *loop) {
	struct epoll_event events[ASIDES_MAX];
	int count = epoll_wait(loop->aside_fd, events, ASIDES_MAX, 0);
	HF_ASSERT(count >= 0 || errno == EINTR);
	for (int i = 0; i < count; i++)
		conn_event(loop, events[i].data.ptr, events[i].events);
}

/* Handles what epoll reported. True if the engine's commit fd was in it. */
static bool dispatch(struct hf_loop *loop, const struct epoll_event *events, int count) {
	bool commit = false;
	for (int i = 0; i < count; i++) {
		struct hf_source *source = events[i].data.ptr;
		switch (source->kind) {
		case HF_SOURCE_CONN:
			conn_event(loop, (struct hf_conn *)source, events[i].events);
			break;
		case HF_SOURCE_ASIDE:
			dispatch_aside(loop);
			break;
		case HF_SOURCE_COMMIT:
			commit = true;
			break;
		case HF_SOURCE_LISTEN:
			hf_server_accept(loop->server);
			break;
		case HF_SOURCE_STOP:
			hf_server_drain(loop->server);
			break;
		case HF_SOURCE_DRAIN:
			begin_drain(loop);
			break;
		}
	}
	return commit;
}

/*
 * Does the next flush wait for more? Those whose turn comes are about to send more, and have much
 * under way. Nobody with little waits for them, nor does a group that is full. Under the lock.
 */
static bool gathers(const struct hf_loop *loop) {
	return loop->bulk.first != NULL && loop->now_ns < loop->flushed_ns + FLUSH_PACE_NS &&
	       loop->urgent_lsn <= hf_engine_taken(loop->engine) &&
	       !hf_engine_group_full(loop->engine);
}

/* Collects a flush that is over, and begins the next one, of all that is queued, or leaves it. */
static void flush(struct hf_loop *loop, bool commit) {
	struct hf_engine *engine = loop->engine;
	hf_engine_lock(engine);
	if (commit)
		hf_engine_commit_poll(engine, loop->commit_fd);
	loop->gathering = gathers(loop);
	bool began = !loop->gathering && hf_engine_flush(engine);
	loop->flying = hf_engine_flushing(engine);
	hf_engine_unlock(engine);
	if (began) {
		loop->flushed_ns = loop->now_ns;
		loop->moved_ns = loop->now_ns;
	}
}

/*
 * Executes what the pass has so far, all of it by turns or not, sends what is durable, flushes,
 * sends what that released.
 */
static void answer(struct hf_loop *loop, bool commit, bool turns) {
	hf_loop_execute(loop);
	/* A read of what has long been durable does not wait for a flush to be submitted. */
	send_replies(loop, !turns);
	if (!commit && !loop->queued && !loop->gathering)
		return;
	loop->queued = false;
	flush(loop, commit);
	if (commit)
		release_held(loop);
	send_replies(loop, false);
}

/*
 * A flush is ended by a thread of the kernel's that is bound to the processor that has the disk's
 * interrupts, in two steps. Where that is ours, we never sleep, and the thread has had its share
 * just now, by the first step, it runs at the scheduler's next tick: in 4 ms. So if a flush takes
 * long we make room.
 */
static void let_flush_end(struct hf_loop *loop) {
	if (loop->waiting.count == 0 || (loop->gathering && !loop->flying) ||
	    loop->now_ns < loop->moved_ns + STALL_NS)
		return;
	hf_thread_nap();
	loop->moved_ns = hf_clock_monotonic_ns();
}

/* While replies wait for a flush it matters whether we slept. */
static int wait_for_events(struct hf_loop *loop, struct epoll_event *events, int max,
			   int timeout_ms) {
	if (timeout_ms == 0 || loop->waiting.count == 0)
		return epoll_wait(loop->epoll_fd, events, max, timeout_ms);
	int count = epoll_wait(loop->epoll_fd, events, max, 0);
	if (count != 0)
		return count;
	count = epoll_wait(loop->epoll_fd, events, max, timeout_ms);
	loop->moved_ns = hf_clock_monotonic_ns(); /* asleep we were in nobody's way */
	return count;
}

bool hf_loop_pass(struct hf_loop *loop) {
	struct epoll_event events[EVENTS_MAX];
	bool more = hf_loop_has_work(loop);
	int timeout_ms = more ? 0 : loop->draining ? DRAIN_WAIT_MS : -1;
	int max = loop->work > PASS_WORK ? EVENTS_HEAVY : EVENTS_MAX;
	let_flush_end(loop);

	int count = wait_for_events(loop, events, max, timeout_ms);
	HF_ASSERT(count >= 0 || errno == EINTR);
	if (count == 0 && !more)
		return loop->waiting.count > 0;

	hf_stats_wake(loop->counting);
	loop->now_ns = hf_clock_monotonic_ns();
	loop->work = 0;
	bool commit = dispatch(loop, events, count);
	/* Who has little waits for nobody else's turn, neither for its flush nor its replies. */
	if (commit || (count > 0 && loop->bulk.first != NULL))
		answer(loop, commit, false);
	/* A flush's end is as much work as a turn: who comes meanwhile does not wait for both. */
	loop->turns_due = commit && !loop->turns_due;
	if (!loop->turns_due) {
		bool bulk = loop->bulk.first != NULL;
		take_turns(loop, count == max);
		answer(loop, false, bulk);
	}
	bury_dead(loop); /* before it is counted what the others have */
	evict(loop);
	bury_dead(loop);
	hf_stats_rest(loop->counting);
	return true;
}

static bool has_unread_replies(struct hf_loop *loop) {
	struct hf_server *server = loop->server;
	bool found = false;
	pthread_mutex_lock(&server->mutex);
	for (struct hf_conn *conn = server->conns; conn != NULL && !found; conn = conn->next)
		found = conn->loop == loop && hf_out_pending(&conn->out) > 0;
	pthread_mutex_unlock(&server->mutex);
	return found;
}

static bool is_drained(struct hf_loop *loop, uint32_t idle_waits) {
	if (atomic_load(&loop->conn_count) == 0)
		return true;
	if (hf_clock_monotonic_ns() - loop->drain_began_ns > DRAIN_MAX_NS)
		return true;
	return idle_waits >= DRAIN_WAITS_READ &&
	       (idle_waits >= DRAIN_WAITS_UNREAD || !has_unread_replies(loop));
}

bool hf_loop_run(struct hf_loop *loop) {
	uint32_t idle_waits = 0;
	hf_thread_give_way();
	while (!hf_engine_stopped(loop->engine)) {
		idle_waits = hf_loop_pass(loop) ? 0 : idle_waits + 1;
		if (loop->draining && !loop->gathering && is_drained(loop, idle_waits))
			return true;
	}
	return false;
}

static bool watch(struct hf_loop *loop, int fd, struct hf_source *source, struct hf_err *err) {
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = source };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return hf_fail_sys(err, errno, "cannot watch a file descriptor");
	return true;
}

bool hf_loop_init(struct hf_loop *loop, struct hf_server *server, struct hf_err *err) {
	uint32_t cap = server->max_clients;
	loop->server = server;
	loop->engine = server->engine;
	loop->turn_most = TURN_WORK;
	loop->commit_source.kind = HF_SOURCE_COMMIT;
	loop->aside_source.kind = HF_SOURCE_ASIDE;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->aside_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->aside_fd < 0)
		return hf_fail_sys(err, errno, "cannot make an epoll instance");
	if (!list_init(&loop->dirty, cap) || !list_init(&loop->waiting, cap) ||
	    !list_init(&loop->unsettled, cap) || !list_init(&loop->dead, cap))
		return hf_fail(err, HF_NOMEM, "no memory for the lists of %u clients", cap);
	hf_engine_lock(loop->engine);
	bool has_fd = hf_engine_commit_fd(loop->engine, &loop->commit_fd, err);
	hf_engine_unlock(loop->engine);
	char name[16];
	snprintf(name, sizeof(name), "network %u", (unsigned)(loop - server->loops) + 1);
	if (!has_fd || !hf_loop_join_stats(loop, err) ||
	    !hf_engine_reader_join(loop->engine, name, &loop->reader, err) ||
	    !watch(loop, loop->aside_fd, &loop->aside_source, err) ||
	    !watch(loop, loop->commit_fd, &loop->commit_source, err) ||
	    !watch(loop, server->drain_fd, &server->drain_source, err))
		return false;
	/* The first loop also accepts clients and is told to stop. */
	if (loop != server->loops)
		return true;
	return watch(loop, server->listen_fd, &server->listen_source, err) &&
	       watch(loop, server->stop_fd, &server->stop_source, err);
}

void hf_loop_fini(struct hf_loop *loop) {
	hf_loop_leave_stats(loop);
	hf_engine_reader_leave(&loop->reader);
	hf_pool_fini(&loop->pool);
	hf_memory_free(loop->dirty.items);
	hf_memory_free(loop->waiting.items);
	hf_memory_free(loop->unsettled.items);
	hf_memory_free(loop->dead.items);
	if (loop->aside_fd > 0)
		close(loop->aside_fd);
	if (loop->epoll_fd > 0)
		close(loop->epoll_fd);
}
