/*
 * engine.h - the sequencer: judges events, orders them, logs them, applies them, and says when
 * each is durable.
 *
 * One engine owns one data directory. Any thread may call, but requests are made by one thread at
 * a time: between hf_engine_lock and hf_engine_unlock (take it per batch, not per request).
 *
 * State changes at once; replies wait. Every outcome carries `durable_at`: it may be shown to a
 * client only when hf_engine_committed() >= durable_at.
 */
#ifndef HF_ENGINE_H
#define HF_ENGINE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

struct hf_engine;
struct hf_contract;
struct hf_stats;

enum hf_flush_mode {
	/* io_uring in the caller's thread; a log thread where io_uring is forbidden */
	HF_FLUSH_AUTO,
	/* a log thread: several threads make requests */
	HF_FLUSH_THREAD,
};

/*
 * What a server counts in the engine's figures. The engine registers these before any contract's,
 * so that the server finds room however many contracts there are: counters, and a gauge.
 */
#define HF_FIGURE_EVICTED "clients.evicted"
#define HF_FIGURE_REJECTED "clients.rejected"
#define HF_FIGURE_CLIENT_MEMORY "clients.memory"

struct hf_engine_options {
	const char *data_dir; /* made if it is not there, but its parent is not */
	enum hf_flush_mode flush;
	bool no_sync;	       /* benchmarks only: acknowledges before the disk has it */
	uint64_t segment_size; /* 0: the default */
	bool read_only;	       /* replay and tools: no lock, nothing written */
	uint64_t until_lsn;    /* 0: all; otherwise recovery stops after this LSN (read_only) */
	bool verify;	       /* compare all ids and snapshots with the log (read_only) */
	/* A snapshot after so many bytes of log, at least; 0: the default, UINT64_MAX: never. */
	uint64_t snapshot_log_bytes;
	/* A snapshot after so many seconds, if anything was logged; 0: no. */
	uint64_t snapshot_every_s;
	void (*progress)(void *arg, uint64_t bytes_done, uint64_t bytes_total, uint64_t events);
	/* HF_FLUSH_THREAD: from the log thread, after each commit or the stop; may be NULL */
	void (*committed)(void *arg);
	/*
	 * What an operator should know; may be NULL. From any of the engine's threads, and from the
	 * caller's under the lock: it must not call the engine.
	 */
	void (*notice)(void *arg, const char *line);
	void *arg;
};

/* Opens and recovers. On failure nothing is held. `ret` is closed by hf_engine_close. */
HF_MUST bool hf_engine_open(const struct hf_engine_options *options, struct hf_engine **ret,
			    struct hf_err *err);
/* Flushes what is queued, waits for it, and lets go. False if the log had failed. */
HF_MUST bool hf_engine_close(struct hf_engine *engine, struct hf_err *err);

void hf_engine_lock(struct hf_engine *engine);
void hf_engine_unlock(struct hf_engine *engine);

/* ---- commit ---------------------------------------------------------------------------------- */

/* The highest LSN known to be durable. Any thread, no lock. */
uint64_t hf_engine_committed(const struct hf_engine *engine);
/*
 * Starts a flush of what is queued if none is under way any more: true if so. Once per batch, under
 * the lock.
 */
bool hf_engine_flush(struct hf_engine *engine);
/*
 * Is one under way? Up to which LSN has one begun? Does a group wait for one that is full? Under
 * the lock.
 */
bool hf_engine_flushing(const struct hf_engine *engine);
uint64_t hf_engine_taken(const struct hf_engine *engine);
bool hf_engine_group_full(const struct hf_engine *engine);
/* An fd for epoll, readable when hf_engine_committed may have moved or the engine stopped; one per
 * calling loop, at most one in HF_FLUSH_AUTO. Owned by the engine. Under the lock. */
HF_MUST bool hf_engine_commit_fd(struct hf_engine *engine, int *ret_fd, struct hf_err *err);
/*
 * Call when that fd is readable (under the lock), before reading hf_engine_committed; then
 * hf_engine_flush, now or later, for what was queued meanwhile.
 */
void hf_engine_commit_poll(struct hf_engine *engine, int fd);
/* Blocks until `lsn` is durable. False if the engine stopped. Not under the lock. */
HF_MUST bool hf_engine_wait(struct hf_engine *engine, uint64_t lsn, struct hf_err *err);
/* True once a write or sync has failed: nothing is accepted or acknowledged any more. */
bool hf_engine_stopped(const struct hf_engine *engine);
/* Why, once stopped. */
const char *hf_engine_stop_reason(const struct hf_engine *engine);

/* ---- requests (under the lock) ---- */

struct hf_arg {
	struct hf_span name;
	struct hf_span value;
};

/* HF.SEND, as the client spelled it. All spans borrowed until the call returns. */
struct hf_send {
	struct hf_span contract, key, event;
	const struct hf_arg *args;
	uint32_t arg_count;
	bool has_ifversion;
	uint64_t ifversion;
	struct hf_span id; /* len 0: none */
	uint64_t hash[2];  /* filled by hf_engine_prepare; 0 otherwise */
	uint32_t family;   /* likewise */
	void *hint;	   /* filled by hf_engine_touch */
};

struct hf_reply {
	enum hf_status status;
	uint64_t durable_at; /* show nothing of it before this LSN is committed */
	const char *state;   /* valid while the engine lives */
	uint64_t version;
	uint64_t lsn;
	bool retried; /* the original reply of an id that was seen before */
	/* The error's text without the status word, NULL if OK; valid until the next request. */
	char *text;
};

/*
 * For batches: call prepare on each request of a batch, then touch on each, then send on each.
 * Prepare and touch only fetch memory ahead of need; leaving them out is correct. No contract is
 * loaded within a batch.
 */
void hf_engine_prepare(struct hf_engine *engine, struct hf_send *send);
void hf_engine_touch(struct hf_engine *engine, struct hf_send *send);
void hf_engine_send(struct hf_engine *engine, const struct hf_send *send, struct hf_reply *ret);

/* A view of an entity, valid until the next request. */
struct hf_entity_view {
	const struct hf_contract
		*contract; /* names and types of the fields: src/machine/machine.h */
	const char *state;
	uint64_t version;
	uint64_t lsn;	      /* of its last event */
	int64_t time_ns;      /* of its last event */
	const uint8_t *block; /* hf_field_value reads it */
};
void hf_engine_get(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
		   struct hf_entity_view *ret_view, struct hf_reply *ret);

/* One event of an entity's history; spans valid during the callback. */
struct hf_history_event {
	uint64_t version, lsn;
	int64_t time_ns;
	const char *event;
	const char *state;		    /* after it */
	const struct hf_contract *contract; /* that judged it */
	uint8_t event_index;
	const struct hf_value *params; /* as declared by contract->events[event_index] */
	struct hf_span id;
};
typedef void hf_history_fn(void *arg, const struct hf_history_event *event);
/*
 * Calls `fn` for the events of versions [from, from + count), oldest first. count <=
 * HF_HISTORY_MAX.
 */
void hf_engine_history(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
		       uint64_t from, uint64_t count, hf_history_fn *fn, void *arg,
		       struct hf_reply *ret);

/*
 * The same a part at a time, for who cannot wait so long. The caller's memory. It borrows nothing:
 * its versions are those there were at the beginning, and the log behind them does not change, so
 * anything may happen in between.
 */
struct hf_history {
	uint64_t from, to; /* versions; none if from > to */
	uint64_t next;	   /* to be shown */
	/* Where the way back to `from` has come to, and the next stride from there. */
	uint64_t version, at, skip_version, skip;
	uint64_t positions[HF_HISTORY_MAX];
};
static inline bool hf_history_over(const struct hf_history *history) {
	return history->next > history->to;
}
void hf_engine_history_begin(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
			     uint64_t from, uint64_t count, struct hf_history *history,
			     struct hf_reply *ret);
/* Reads at most `reads` records of the log, and calls `fn` for the events that it comes to. */
HF_MUST bool hf_engine_history_step(struct hf_engine *engine, struct hf_history *history,
				    uint32_t reads, hf_history_fn *fn, void *arg,
				    struct hf_err *err);

/*
 * Calls `fn` for each state of the contract's current version, in the file's order, [*] left out.
 */
typedef void hf_count_fn(void *arg, const char *state, uint64_t entities);
void hf_engine_count(struct hf_engine *engine, struct hf_span contract, hf_count_fn *fn, void *arg,
		     struct hf_reply *ret);

/* ---- plain keys (under the lock): byte strings without a contract, as Redis's are ---- */

/* HF_NOTFOUND, without a text, if there is none. The value is valid until the next request. */
void hf_engine_plain_get(struct hf_engine *engine, struct hf_span key, struct hf_span *ret_value,
			 struct hf_reply *ret);

enum hf_plain_when { HF_PLAIN_ALWAYS, HF_PLAIN_ABSENT, HF_PLAIN_PRESENT, HF_PLAIN_EQUAL };

struct hf_plain_set {
	struct hf_span key, value;
	enum hf_plain_when when;
	struct hf_span equal; /* HF_PLAIN_EQUAL: only if this is the value */
};
/* Called before the change, with the value that is there, or NULL. */
typedef void hf_plain_old_fn(void *arg, const struct hf_span *value);
/*
 * `old` may be NULL; it is not called where the request is wrong. HF_OK with *ret_set false: the
 * condition did not hold.
 */
void hf_engine_plain_set(struct hf_engine *engine, const struct hf_plain_set *set,
			 hf_plain_old_fn *old, void *arg, bool *ret_set, struct hf_reply *ret);
/* Adds to the number that is the value; 0 if there is none. HF_BADPARAM: in Redis's words. */
void hf_engine_plain_add(struct hf_engine *engine, struct hf_span key, int64_t by,
			 int64_t *ret_value, struct hf_reply *ret);
/* All or nothing, in one record; a key that is named twice is deleted once. */
void hf_engine_plain_delete(struct hf_engine *engine, const struct hf_span *keys, uint32_t count,
			    uint64_t *ret_deleted, struct hf_reply *ret);
/*
 * The keys of one bucket, from cursor 0 on; returns the next cursor, 0 at the end. A key that is
 * there all the while is called at least once. Any cursor below HF_PLAIN_CURSORS is good.
 */
#define HF_PLAIN_CURSORS ((uint64_t)1 << HF_MAP_BITS_MAX)
typedef void hf_plain_key_fn(void *arg, struct hf_span key);
uint64_t hf_engine_plain_scan(struct hf_engine *engine, uint64_t cursor, hf_plain_key_fn *key,
			      void *arg, struct hf_reply *ret);

/* ---- reads without the lock ---- */

struct hf_map_thread;
/*
 * One thread's way of reading while the sequencer works: no lock, no store to a shared line, no
 * waiting. Joined once per thread; leaves before the engine is closed.
 */
struct hf_engine_reader {
	struct hf_engine *engine;
	struct hf_map_thread *entities, *plain;
};
/* `name` (1 to 31 bytes): of the thread, for errors. HF_NOMEM, HF_TOOBIG. */
HF_MUST bool hf_engine_reader_join(struct hf_engine *engine, const char *name,
				   struct hf_engine_reader *ret, struct hf_err *err);
void hf_engine_reader_leave(struct hf_engine_reader *reader); /* also of zeros */
/*
 * As hf_engine_get. `block` (HF_BLOCK_MAX) is what the view is of. False: this read needs the lock;
 * nothing was filled that counts. Fails only so, never with an error.
 */
HF_MUST bool hf_engine_reader_get(struct hf_engine_reader *reader, struct hf_span contract,
				  struct hf_span key, uint8_t *block,
				  struct hf_entity_view *ret_view, struct hf_reply *ret);
/* As hf_engine_plain_get, into `value` (HF_PLAIN_VALUE_MAX + 8). */
HF_MUST bool hf_engine_reader_plain_get(struct hf_engine_reader *reader, struct hf_span key,
					uint8_t *value, struct hf_span *ret_value,
					struct hf_reply *ret);

/* ---- all ---- */

/* The state hash after the LSN in ret->lsn. */
void hf_engine_hash(struct hf_engine *engine, uint8_t ret_hash[16], struct hf_reply *ret);

/* Compiles, checks against the version in force, logs and activates. A text that is already in
 * force: HF_OK, nothing logged. The reply's `state` is the contract's name, `version` its
 * version, `lsn` that of its record. Lets go of the lock while it compiles. */
void hf_engine_contract_load(struct hf_engine *engine, struct hf_span text, const char *file_name,
			     struct hf_reply *ret);
/* The same of a contract that was compiled already, which is the engine's from then on. */
void hf_engine_contract_put(struct hf_engine *engine, struct hf_contract *contract,
			    struct hf_reply *ret);
/*
 * Would hf_engine_contract_put take it? Changes nothing. `*news`: how many texts that are not in
 * force will come before it; counts this one, if it is one of them.
 */
HF_MUST bool hf_engine_contract_check(struct hf_engine *engine, const struct hf_contract *contract,
				      uint32_t *news, struct hf_err *err);
/* May both be in force at once? Two names, and texts that an event's record can tell apart. */
HF_MUST bool hf_contract_beside(const struct hf_contract *contract, const struct hf_contract *other,
				struct hf_err *err);
/* The newest version of the i-th contract name (by first load), NULL past the end. */
const struct hf_contract *hf_engine_contract_at(const struct hf_engine *engine, uint32_t i);
const struct hf_contract *hf_engine_contract(const struct hf_engine *engine, struct hf_span name);

/* ---- snapshots (any thread, no lock; not of a read_only engine) ---- */

struct hf_snapshot_outcome {
	uint64_t lsn, bytes;
	struct hf_err err; /* HF_OK: it is on disk */
};

#define HF_SNAPSHOT_UNDER_WAY \
	"a snapshot is under way, and one is taken at a time: ask again when it is there (INFO " \
	"holdfast: snapshot_under_way)"

/*
 * Asks for a snapshot; the engine's own thread takes it, while requests go on. False if one is
 * under way. When it is over, the fds of hf_engine_commit_fd become readable.
 */
HF_MUST bool hf_engine_snapshot(struct hf_engine *engine, uint64_t *ret_ticket, struct hf_err *err);
/* Is it over? Then `ret` tells how it ended (if 64 came since, how a later one did). */
bool hf_engine_snapshot_done(struct hf_engine *engine, uint64_t ticket,
			     struct hf_snapshot_outcome *ret);
/* Waits until it is over. Not from the thread that makes the log move (hf_engine_commit_poll). */
void hf_engine_snapshot_wait(struct hf_engine *engine, uint64_t ticket,
			     struct hf_snapshot_outcome *ret);

/* ---- figures ---- */

/*
 * What the engine counts (figures.c), for others to count along; NULL if it is read_only. No
 * snapshot of it may be taken under the lock.
 */
struct hf_stats *hf_engine_stats(struct hf_engine *engine);

struct hf_engine_info {
	const char *data_dir;
	char flush_text[160]; /* one line: how a flush is made, and what it relies on */
	bool io_uring, direct_io, synced;
	uint64_t last_lsn, committed_lsn;
	uint64_t events, contracts, entities, ids,
		plain_keys; /* events: writes of plain keys, too */
	uint64_t log_bytes, segments,
		segment_size;  /* log_bytes: written since the log's beginning, padding included */
	uint64_t record_bytes; /* of them, records */
	uint64_t memory_entities, memory_ids, memory_index; /* bytes held for ever */
	uint64_t memory_plain;				    /* of plain keys and their table */
	uint64_t memory_contracts;			    /* of all versions, for ever */
	uint64_t recovered_events, recovered_ns, cut_bytes;
	uint64_t recovered_snapshot_lsn;       /* recovery began there; 0: at the log's beginning */
	uint64_t snapshot_lsn, snapshot_bytes; /* of the newest good one; 0: there is none */
	int64_t snapshot_taken_ns;	       /* wall clock */
	uint64_t snapshot_duration_ns;	       /* 0: it was there at the start */
	uint64_t snapshot_failures;	       /* since the start */
	bool snapshot_under_way;
};
void hf_engine_info(const struct hf_engine *engine, struct hf_engine_info *ret);

#endif
