/*
 * loop.h - one thread's event loop over its connections (private to src/server).
 *
 * A pass: wait; read and execute what each ready connection has, if it is little, start a flush of
 * it, and send what replies are durable by now; give those that have more a turn, of bounded work,
 * in a queue; flush and reply again. The first function to read is
 * `hf_loop_pass` in loop.c.
 */
#ifndef HF_SERVER_LOOP_H
#define HF_SERVER_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/engine.h"
#include "holdfast/stats.h"
#include "server/conn.h"
#include "server/resp.h"

/* A set of connections; each is in it at most once, so it never outgrows max_clients. */
struct hf_conn_list {
	struct hf_conn **items;
	uint32_t count;
};

#define HF_BATCH_MAX 64u
#define HF_BATCH_ARGS_MAX 1024u /* at least those of one command */

/*
 * HF.SENDs that were parsed and not executed yet. Their spans point into the connections' read
 * buffers.
 */
struct hf_batch {
	uint32_t count, arg_count;
	struct hf_conn *conns[HF_BATCH_MAX];
	struct hf_send sends[HF_BATCH_MAX];
	struct hf_arg args[HF_BATCH_ARGS_MAX];
};

/*
 * A command that takes long, done in parts while the loop goes on. One at a time: the others of its
 * kind wait.
 */
struct hf_job {
	struct hf_conn *conn; /* which is held for it, with its reply open; NULL: there is none */
	uint64_t durable_at;  /* what the reply depends on */
	struct hf_history history;
};

#define HF_LOOP_FILES 3u /* that it has open: epoll_fd, aside_fd, and a commit_fd of its own */

struct hf_loop {
	struct hf_server *server;
	struct hf_engine *engine;
	pthread_t thread;
	int epoll_fd;
	/*
	 * Watches the connections that stand aside, and is watched by epoll_fd. What it reports is
	 * looked at a few at a time: a thousand slow clients that stir at once hold nobody up.
	 */
	int aside_fd;
	int commit_fd; /* the engine's */
	struct hf_source aside_source, commit_source;
	struct hf_pool pool;
	uint64_t client_memory_max; /* what the pool may have out at the end of a pass */
	uint64_t committed;	    /* as of the last pass */
	bool draining;
	uint64_t drain_began_ns;
	bool queued;		  /* the pass gave the engine something to flush */
	uint64_t urgent_lsn;	  /* somebody with little waits for it */
	bool gathering;		  /* no flush is begun before there is more */
	bool flying;		  /* one is under way */
	uint64_t flushed_ns;	  /* the last one began */
	bool turn;		  /* slow commands are run now */
	uint64_t slow_bytes;	  /* asked and answered by them in this turn */
	uint64_t turn_until_ns;	  /* after that they are run in the next one */
	uint32_t turn_most;	  /* work, until who is served is interrupted, and no turn begins */
	uint64_t light_ns;	  /* somebody sent little */
	uint32_t work_since_slow; /* since the last turn of slow commands */
	uint32_t crowded;	  /* passes without turns */
	bool turns_due;		  /* the last pass gave none: it ended a flush */
	uint32_t work;		  /* done in this pass */
	uint64_t moved_ns;	  /* a flush began or ended, or we slept: none waited for us */
	atomic_uint conn_count;
	struct hf_stats_thread *counting; /* rests between passes */
	struct hf_stats_snapshot *figures;
	uint64_t now_ns; /* the end of the last command, or the pass's beginning */

	struct hf_conn *held; /* waits for the snapshot `held_ticket`; NULL: none does */
	uint64_t held_ticket;

	struct hf_conn_list dirty;     /* written to in this pass */
	struct hf_conn_list waiting;   /* have replies that are not durable yet */
	struct hf_conn_list unsettled; /* have commands in the batch */
	struct hf_conn_list dead;      /* closed in this pass */
	struct hf_conn_queue bulk;     /* have much to read or parse */
	struct hf_conn_queue slow;     /* have a slow command next */
	struct hf_conn_queue jobs;     /* have one next that waits for the job's end */
	struct hf_job job;

	struct hf_batch batch;
	struct hf_resp_command command;
	bool unfinished;	     /* it goes on at its connection's next turn */
	uint8_t line[HF_INLINE_MAX]; /* where it is, if it has quotes */

	struct hf_engine_reader reader;
	_Alignas(8) uint8_t read[HF_PLAIN_VALUE_MAX + 8]; /* what it has read last */
};

struct hf_server {
	struct hf_engine *engine;
	char address[HF_ADDRESS_MAX];
	uint32_t max_clients;
	void (*notice)(void *arg, const char *line); /* may be NULL */
	void *notice_arg;
	int64_t started_s; /* wall clock */
	int listen_fd;	   /* -1 once it drains */
	int stop_fd;	   /* eventfd: hf_server_stop was called */
	int drain_fd;	   /* eventfd, never read: no more clients come, every loop drains */
	int spare_fd;	   /* given up to refuse a client politely when files run out */
	struct hf_source listen_source, stop_source, drain_source;
	uint32_t loop_count;
	struct hf_loop *loops;
	struct hf_histogram *latencies; /* by row of hf_commands; the last: of what is none */
	struct hf_counter evicted, rejected;
	struct hf_gauge client_memory;

	pthread_mutex_t mutex; /* guards what follows */
	struct hf_conn *conns;
	uint32_t conn_count;
	uint64_t accepted; /* numbers the clients */
	bool shutdown;	   /* a client asked for it, and that was told */
};

/* Does it go on by itself, though nobody stirs? */
static inline bool hf_loop_has_work(const struct hf_loop *loop) {
	return loop->bulk.first != NULL || loop->slow.first != NULL || loop->jobs.first != NULL ||
	       loop->job.conn != NULL || loop->gathering;
}

HF_MUST bool hf_loop_init(struct hf_loop *loop, struct hf_server *server, struct hf_err *err);
/* Closes what connections are left. Safe on a loop of zeros, and on one whose init failed. */
void hf_loop_fini(struct hf_loop *loop);
/* Serves until drained (true) or the engine stopped (false). */
bool hf_loop_run(struct hf_loop *loop);

/*
 * One turn of the loop. False if nothing happened in the time that a drain waits; but while replies
 * wait for a flush, that says nothing about their clients.
 */
bool hf_loop_pass(struct hf_loop *loop);

/* May a slow command be run now? */
static inline bool hf_loop_has_turn(const struct hf_loop *loop) {
	return loop->turn && loop->slow_bytes < HF_TURN_SLOW_BYTES &&
	       loop->now_ns < loop->turn_until_ns;
}

/* Executes the batch: afterwards no command points into a read buffer any more. */
void hf_loop_execute(struct hf_loop *loop);

/* ---- clients: server.c ------------------------------------------------------------------- */

/* Accepts who waits, and hands each to the loop with the fewest. */
void hf_server_accept(struct hf_server *server);
/* A connection over `fd`, for the loop with the fewest. False (out of memory, or of what epoll
 * watches): `fd` is the caller's still. */
HF_MUST bool hf_server_adopt(struct hf_server *server, int fd);
/* No more clients; every loop drains. */
void hf_server_drain(struct hf_server *server);
/* A client asks for what hf_server_stop does; the first that does is named in a notice. */
void hf_server_shutdown(struct hf_server *server, const struct hf_conn *conn);
/* The connection leaves the server's list. */
void hf_server_forget(struct hf_server *server, struct hf_conn *conn);

#endif
