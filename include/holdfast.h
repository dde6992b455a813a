/*
 * holdfast.h - the public C API of libholdfast.
 *
 * Holdfast runs life cycles: a contract (a Mermaid state diagram) says which
 * events an entity may take; every event is judged, logged, applied exactly
 * once, and acknowledged only when it is durable.
 *
 * Thread rules: one `struct hf_db` may be used from any number of threads.
 * Strings are UTF-8 or raw bytes with an explicit length; nothing is kept
 * after a call returns unless it says so.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a request ended. All but HF_OK and HF_USAGE are on the wire as well, as the first word of the
 * error. */
enum hf_status {
	HF_OK = 0,
	HF_REFUSED,	/* the contract does not allow it; nothing changed */
	HF_STALE,	/* IFVERSION did not match; nothing changed */
	HF_NOTFOUND,	/* no such contract or entity */
	HF_BADEVENT,	/* the contract has no such event */
	HF_BADPARAM,	/* missing, repeated, unknown or ill-typed param, id reused */
	HF_TOOBIG,	/* a stated limit is exceeded */
	HF_STOPPED,	/* the log failed, for good, or has no room as yet: not taken */
	HF_BADCONTRACT, /* a contract text that does not check */
	HF_USAGE,	/* the caller broke a rule of this API or the command line */
	HF_IO,		/* the operating system refused */
	HF_CORRUPT,	/* bytes on disk that cannot be proven intact */
	HF_NOMEM,	/* out of memory; nothing changed */
};

#define HF_API __attribute__((visibility("default")))

/* A borrowed run of bytes. */
struct hf_bytes {
	const void *data;
	size_t len;
};

struct hf_options {
	const char *data_dir;  /* made if it is not there, but its parent is not */
	uint64_t segment_size; /* bytes of one log segment; 0: the default */
	bool no_sync;	       /* benchmarks only: acknowledges before the disk has it */
	/* A snapshot after so many bytes of log, at least; 0: the default, UINT64_MAX: never. */
	uint64_t snapshot_log_bytes;
	/* A snapshot after so many seconds, if anything was logged; 0: not for that reason. */
	uint64_t snapshot_every_s;
};

/* One named param of an event, spelled as on the wire: decimal, true/false, raw bytes. */
struct hf_pair {
	struct hf_bytes name;
	struct hf_bytes value;
};

struct hf_request {
	struct hf_bytes contract, key, event;
	const struct hf_pair *params;
	size_t param_count;
	struct hf_bytes id; /* idempotency id; len 0: none */
	bool has_ifversion; /* refuse unless the entity's version is `ifversion` */
	uint64_t ifversion;
};

struct hf_result {
	enum hf_status status;
	bool retried; /* the original reply of an id that was seen before */
	uint64_t version;
	uint64_t lsn;
	char state[64];
	char text[768]; /* the error in words; empty if HF_OK */
};

struct hf_db;

/*
 * Opens a data directory and recovers it. One process per directory, and one handle in it: of a
 * process that forks, the parent has it, and the child must leave `db` alone; if the parent is
 * killed, the directory is in use until the child has ended, too. `err` (of err_cap bytes) gets the
 * reason of a failure: HF_USAGE (an option, or the directory is in use), HF_TOOBIG (its path),
 * HF_IO, HF_CORRUPT, HF_NOMEM.
 */
HF_API enum hf_status hf_open(const struct hf_options *options, struct hf_db **ret, char *err,
			      size_t err_cap);
/*
 * Makes durable what was accepted, completes what was submitted, and lets go. No other call may be
 * under way. `db` is gone afterwards, also after a failure: HF_STOPPED (the log had failed, or what
 * was accepted could not be made durable), HF_IO. `err` (of err_cap bytes) gets the reason; the
 * next hf_open finds what became durable.
 */
HF_API enum hf_status hf_close(struct hf_db *db, char *err, size_t err_cap);

/*
 * Loads the text of a contract (a Mermaid state diagram). `name` is used where it has no title,
 * and in messages; it may be NULL. Returns once durable: ret->state is then the contract's name,
 * ret->version its version. HF_BADCONTRACT: ret->text is the first message.
 */
HF_API enum hf_status hf_load_contract(struct hf_db *db, struct hf_bytes text, const char *name,
				       struct hf_result *ret);

/* Sends an event and waits until it is durable. */
HF_API enum hf_status hf_send(struct hf_db *db, const struct hf_request *request,
			      struct hf_result *ret);

/*
 * Sends an event without waiting. It is judged before hf_submit returns; `done` is called exactly
 * once, in the order of the submissions, when the outcome is durable. It is called from a thread of
 * the library, or from any thread that is inside hf_submit or hf_submit_many: also the caller's
 * own, before its call returns, as with a refusal. So whoever calls them must hold no lock that a
 * `done` takes. `result` is valid during the call. `done` must not call back into `db`. Blocks
 * while too many are on their way.
 */
typedef void hf_done_fn(void *arg, const struct hf_result *result);
HF_API enum hf_status hf_submit(struct hf_db *db, const struct hf_request *request,
				hf_done_fn *done, void *arg);
/*
 * hf_submit for each of `count` requests, in order; `done` of requests[i] gets args[i]. Faster than
 * as many calls: the memory of up to 64 requests is fetched at once. All are judged, whatever
 * becomes of those before; returns HF_OK, or the status of the first that did not end so.
 */
HF_API enum hf_status hf_submit_many(struct hf_db *db, const struct hf_request *requests,
				     size_t count, hf_done_fn *done, void *const *args);
/*
 * Waits until everything submitted has completed. HF_STOPPED: the log failed, and each `done` was
 * told what became of its request.
 */
HF_API enum hf_status hf_drain(struct hf_db *db);

/* One field of an entity, or one param of an event, as text. Valid during the callback. */
typedef void hf_field_fn(void *arg, struct hf_bytes name, struct hf_bytes value);
/* Reads one version of an entity; only durable versions are shown. `each` may be NULL. */
HF_API enum hf_status hf_get(struct hf_db *db, struct hf_bytes contract, struct hf_bytes key,
			     hf_field_fn *each, void *arg, struct hf_result *ret);

struct hf_past {
	uint64_t version, lsn;
	int64_t time_ns;
	struct hf_bytes event, state, id;
	const struct hf_pair *params;
	size_t param_count;
};
/* Called under the lock of `db`: it must not call back into it, and if it takes long, all wait. */
typedef void hf_past_fn(void *arg, const struct hf_past *past);
/*
 * The events of versions [from, from + count), as many of them as there are, oldest first; they
 * begin at 1, and from 0 is from 1. `each` must not be NULL. HF_NOTFOUND; HF_BADPARAM: the key is
 * empty; HF_TOOBIG: it is too long, or count is over 1000; HF_IO, HF_CORRUPT: the log could not be
 * read there, and `each` has had those before.
 */
HF_API enum hf_status hf_history(struct hf_db *db, struct hf_bytes contract, struct hf_bytes key,
				 uint64_t from, uint64_t count, hf_past_fn *each, void *arg,
				 struct hf_result *ret);

/* The state hash (16 bytes) after ret->lsn, once that is durable. */
HF_API enum hf_status hf_hash(struct hf_db *db, uint8_t ret_hash[16], struct hf_result *ret);

/*
 * Takes a snapshot of everything up to ret->lsn and returns when it is on disk; other calls go on
 * meanwhile. A later hf_open begins with it, and replays only the log behind it. HF_REFUSED: one is
 * under way. HF_NOTFOUND: nothing has been logged yet. HF_IO, HF_NOMEM, HF_STOPPED: it could not be
 * taken; the log is as it was.
 */
HF_API enum hf_status hf_snapshot(struct hf_db *db, struct hf_result *ret);

/* "REFUSED", "STALE", ... */
HF_API const char *hf_status_text(enum hf_status status);
/* "0.1.0" */
HF_API const char *hf_version(void);

#ifdef __cplusplus
}
#endif

#endif
