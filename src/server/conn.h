/*
 * conn.h - one client's connection: its bytes in, its replies out, and which of them may be
 * shown yet.
 *
 * A connection belongs to one loop and is touched by that loop's thread only, but for what
 * `server->mutex` guards.
 *
 * Replies wait. Everything written to `out` during a pass of the loop depends on the log up to
 * `gate`. At the end of the pass hf_conn_seal turns that into a mark: "the stream up to `end`
 * may be sent once `durable_at` is committed". Marks are in the order of the stream, and a
 * reply never overtakes an earlier one.
 */
#ifndef HF_SERVER_CONN_H
#define HF_SERVER_CONN_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "server/out.h"

struct hf_loop;
struct hf_conn;

/* Connections that wait for their turn, in the order in which they came. */
struct hf_conn_queue {
	struct hf_conn *first, *last;
};

/* What an epoll event points at. */
enum hf_source_kind {
	HF_SOURCE_CONN,
	HF_SOURCE_ASIDE,
	HF_SOURCE_LISTEN,
	HF_SOURCE_COMMIT,
	HF_SOURCE_STOP,
	HF_SOURCE_DRAIN
};
struct hf_source {
	enum hf_source_kind kind;
};

struct hf_mark {
	uint64_t durable_at;
	uint64_t end; /* of the reply stream */
};

#define HF_MARKS_MAX 8u
#define HF_CLIENT_NAME_MAX 63u

struct hf_conn {
	struct hf_source source; /* first: an epoll event is cast to it */
	int fd;			 /* -1: dead, to be freed at the end of the pass */
	struct hf_loop *loop;
	uint64_t id;
	uint64_t born_ns; /* monotonic */

	/* Bytes received: in[in_start..in_end) is not parsed yet. NULL when there are none. */
	uint8_t *in;
	size_t in_cap, in_start, in_end;
	size_t in_need; /* parsing makes no sense before more than these unparsed bytes are there */

	struct hf_out out;
	uint64_t released; /* the stream up to here may be sent */
	uint64_t gate;	   /* what this pass's replies depend on */
	struct hf_mark marks[HF_MARKS_MAX];
	uint32_t mark_first, mark_count;

	/* The reply from this offset of the stream on is not whole: it is not sealed. */
	bool open;
	uint64_t open_from;

	uint32_t answered;  /* keys of the MGET at in_start whose values were replied: it goes on */
	uint32_t queued;    /* commands of this connection in the loop's batch */
	uint32_t interest;  /* what epoll watches */
	bool readable;	    /* the socket may hold bytes that epoll has told of */
	bool behind;	    /* a short read leaves something: the end, or what is urgent */
	uint32_t fragments; /* small reads in a row that brought no whole command */
	uint32_t turn_work; /* done in its turn so far, which goes on */
	bool aside;	    /* watched by the loop's `aside_fd` */
	bool blocked;	    /* the socket is full, or got enough: wait for EPOLLOUT */
	bool paused;	    /* too many unread replies: nothing is read or parsed */
	bool held;	    /* waits for a snapshot or the loop's job: nothing is read or parsed */
	bool bulky;	    /* the last read brought much: it is read when its turn comes */
	bool finishing;	    /* nothing more is read; closed when all replies are sent */
	bool lingering;	    /* all is said: what still comes is thrown away */
	bool in_multi;	    /* between MULTI and EXEC: nothing is executed */
	size_t discarded;   /* bytes thrown away while lingering */

	/* Membership in the loop's lists. */
	bool dirty, waiting, unsettled;
	struct hf_conn_queue *queue; /* where it waits for its turn; NULL: it does not */
	struct hf_conn *queue_next, *queue_prev;

	/* Guarded by server->mutex: CLIENT LIST reads them from any loop. */
	struct hf_conn *next, *prev;
	char name[HF_CLIENT_NAME_MAX + 1];
	char lib_name[HF_CLIENT_NAME_MAX + 1];
	char lib_ver[HF_CLIENT_NAME_MAX + 1];
};

/* Are its bytes wanted now? */
static inline bool hf_conn_reads(const struct hf_conn *conn) {
	return conn->lingering ||
	       !(conn->paused || conn->held || conn->finishing || conn->queue != NULL);
}

/* What was written to conn->out depends on the log up to `lsn`. */
static inline void hf_conn_gate(struct hf_conn *conn, uint64_t lsn) {
	if (lsn > conn->gate)
		conn->gate = lsn;
}

/*
 * A connection over `fd`, which it owns from then on. NULL if out of memory: `fd` is the
 * caller's still.
 */
struct hf_conn *hf_conn_new(struct hf_loop *loop, int fd, uint64_t id);
void hf_conn_free(struct hf_conn *conn);

enum hf_conn_input {
	HF_INPUT_BYTES,	 /* some came */
	HF_INPUT_NONE,	 /* none now */
	HF_INPUT_END,	 /* the client will send no more */
	HF_INPUT_BROKEN, /* the connection is gone */
};
/* One read, of at most a buffer's room; of a lingering connection, for nothing. */
enum hf_conn_input hf_conn_read(struct hf_conn *conn);
/*
 * Gives back, or moves to the front of the buffer, what the parser left. No command may point
 * into the buffer.
 */
void hf_conn_settle(struct hf_conn *conn);
/* Gives the input buffer back with what is in it. */
void hf_conn_drop_input(struct hf_conn *conn);
/* Nothing more is read or parsed; the connection is closed when its replies are sent. */
static inline void hf_conn_finish(struct hf_conn *conn) {
	conn->finishing = true;
	conn->in_start = conn->in_end;
}

/* The pass is over: what it wrote, but for an open reply, waits for its gate. */
void hf_conn_seal(struct hf_conn *conn);
/* What is sent at once: the system copies it, which takes some 30 us, and others wait. */
#define HF_CONN_SEND_MAX 32768u
/*
 * Sends what `committed` allows, or a part: then it is `blocked`. False if the connection is gone.
 */
HF_MUST bool hf_conn_flush(struct hf_conn *conn, uint64_t committed);
#define HF_FRAGMENTS_MAX 4u
/*
 * Tells epoll what the connection's flags ask for. It watches by edges: what was told is not told
 * again, unless hf_conn_watch finds it unread. One that reads slowly, or sends its commands in many
 * small pieces, stands aside meanwhile: see `aside_fd`.
 */
void hf_conn_watch(struct hf_conn *conn);
/* Nothing more is told of what comes, until hf_conn_watch finds that it is wanted. */
void hf_conn_hush(struct hf_conn *conn);

/* "127.0.0.1:50000", of the client's end and of ours; `buf` has room for HF_ADDRESS_MAX. */
#define HF_ADDRESS_MAX 64u
void hf_address_text(const struct sockaddr_storage *address, char *buf);
void hf_conn_peer(const struct hf_conn *conn, char *buf);
void hf_conn_own(const struct hf_conn *conn, char *buf);

#endif
