/*
 * map.h - a concurrent map, usable on its own.
 *
 * Two kinds. HF_MAP_U64: any 64-bit key to any 64-bit value. HF_MAP_RECORDS: byte strings of 1 to
 * 255 bytes to records; a reader always gets one version of a record, whole.
 *
 * A map has shards. Of each shard one thread at a time changes what is in it: it takes the shard's
 * lock for a moment, or the program promises it (`owned`). Readers take no lock, store to no line
 * that another thread uses, and wait for nobody. Overwriting what is there takes no lock either.
 *
 * Each thread joins a map and then calls through its own `struct hf_map_thread`, which no other
 * thread may use at the same time. A handle has rights; what they do not cover is refused.
 *
 * The operations on one key are linearizable. Across keys a put may be seen a moment late: of two
 * threads that each put a key and then get the other's, both may miss, as the processor's own
 * stores would; with atomic_thread_fence(memory_order_seq_cst) between, in both, they do not.
 *
 * The cost of memory safety is that a thread that reads must not stop in the middle: what was
 * removed is used again once all threads have been seen outside. A reader that is stuck inside
 * stops writers in the end (HF_NOMEM, after `patience_ms`; the error names it), but memory does
 * not grow.
 */
#ifndef HOLDFAST_MAP_H
#define HOLDFAST_MAP_H

#include "holdfast.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hf_map_kind { HF_MAP_U64, HF_MAP_RECORDS };

#define HF_MAP_READ 1u
#define HF_MAP_WRITE 2u
#define HF_MAP_DELETE 4u

struct hf_map_options {
	const char *name; /* 1 to 31 bytes, for errors */
	enum hf_map_kind kind;
	uint32_t shards;   /* a power of two, at most 1024; 0: 64 */
	bool owned;	   /* the caller sees to it that no two threads write in a shard at once */
	uint64_t expected; /* entries to make room for now, so that filling moves nothing */
	/*
	 * Of the hash; 0: random, so that nobody can choose colliding keys. Of two maps with the
	 * same one (for tests), who fills the second in the order of a cursor of the first should
	 * say what it expects: all that comes first belongs to one end of each table.
	 */
	uint64_t seed;
	/*
	 * How long a write waits for a stuck reader; 0: 1000. Where it needs a larger table it has
	 * the lock of its shard meanwhile: other changes there wait for it, and then for as long.
	 */
	uint32_t patience_ms;
	/*
	 * Never ask for huge pages. Look-ups in large maps then take up to twice as long. But no
	 * write waits until the system has found and cleared 2 MB: usually a quarter of a
	 * millisecond; on a virtual machine whose host has to find them, too, several.
	 */
	bool small_pages;
	/*
	 * A thread of the map's own finds memory before it is needed, also huge pages, and gives it
	 * back, so that no write does, unless the map grows faster than memory can be found. The
	 * next tables then have their memory a while earlier: up to three times as much at worst,
	 * and for as long as the map lives, also where entries are deleted and no table is needed
	 * any more; 4 MB for each thread that writes records of less than a kilobyte. It does
	 * nothing for longer records. And hf_map_new finds that of what is expected.
	 */
	bool helper;
};

struct hf_map;
struct hf_map_thread;

/*
 * `err` (of err_cap bytes) gets the reason of a failure: HF_USAGE, HF_TOOBIG (more than 2^40 are
 * expected), HF_NOMEM, HF_IO (the system gives no random bytes for the seed, or no thread for the
 * helper).
 */
HF_API enum hf_status hf_map_new(const struct hf_map_options *options, struct hf_map **ret,
				 char *err, size_t err_cap);
/* NULL is fine. All threads must have left. */
HF_API void hf_map_free(struct hf_map *map);

/*
 * Lets the calling thread in, with `rights` (HF_MAP_READ | ...). `name` (1 to 31 bytes) is for
 * errors. HF_TOOBIG: 1,024 threads are in.
 */
HF_API enum hf_status hf_map_join(struct hf_map *map, const char *name, uint32_t rights,
				  struct hf_map_thread **ret, char *err, size_t err_cap);
/* NULL is fine. */
HF_API void hf_map_leave(struct hf_map_thread *thread);
/* What went wrong in this thread's last call that did; valid until its next call. */
HF_API const char *hf_map_error(const struct hf_map_thread *thread);

/*
 * Between these, what the thread got from hf_map_record stays valid, and single calls are a little
 * cheaper. Nests. To be kept short: while a thread is inside, nothing that is removed can be used
 * again. Writing inside is allowed, but the writer may then have to wait for itself (HF_NOMEM).
 */
HF_API void hf_map_enter(struct hf_map_thread *thread);
HF_API void hf_map_exit(struct hf_map_thread *thread);

/*
 * 64-bit keys. All return HF_REFUSED where the thread has not the right, HF_USAGE for the other
 * kind of map, and those that add an entry HF_NOMEM; what else is named at each. To get, to open a
 * cursor, and each step of it need HF_MAP_READ, to put HF_MAP_WRITE, to delete HF_MAP_DELETE;
 * get_or_put, compare_put and update need HF_MAP_READ and HF_MAP_WRITE (record_compare_put, which
 * tells no more than a version, HF_MAP_WRITE alone).
 */

/* HF_OK, or HF_NOTFOUND. */
HF_API enum hf_status hf_map_get(struct hf_map_thread *thread, uint64_t key, uint64_t *ret);
/*
 * `count` gets at once, each on its own, several times faster than one by one: their cache misses
 * overlap. Sets ret_found[i], and ret[i] where found. HF_OK whatever was found. The thread is
 * inside for 16 keys at a time; all the while if it is between hf_map_enter and hf_map_exit.
 */
HF_API enum hf_status hf_map_get_many(struct hf_map_thread *thread, size_t count,
				      const uint64_t *keys, uint64_t *ret, bool *ret_found);
HF_API enum hf_status hf_map_put(struct hf_map_thread *thread, uint64_t key, uint64_t value);
/* The value that is there, or `value`, which is there then; *ret_put says which. */
HF_API enum hf_status hf_map_get_or_put(struct hf_map_thread *thread, uint64_t key, uint64_t value,
					uint64_t *ret, bool *ret_put);
/*
 * Puts `value` where `*expected` is. HF_STALE: something else is there, *expected says what.
 * HF_NOTFOUND: no such key.
 */
HF_API enum hf_status hf_map_compare_put(struct hf_map_thread *thread, uint64_t key,
					 uint64_t *expected, uint64_t value);
/*
 * Puts what `change` makes of what is there (`found` false, `old` 0: nothing); *ret is the result.
 * `change` may be called several times; only what it returned last counts. It must not call this
 * map.
 */
typedef uint64_t hf_map_change_fn(void *arg, bool found, uint64_t old);
HF_API enum hf_status hf_map_update(struct hf_map_thread *thread, uint64_t key,
				    hf_map_change_fn *change, void *arg, uint64_t *ret);
/* HF_OK, or HF_NOTFOUND. */
HF_API enum hf_status hf_map_delete(struct hf_map_thread *thread, uint64_t key);

/*
 * Records. A key has 1 to 255 bytes, a record up to 65,535. Each version of a record is written
 * once and never changed, so what a reader has is one version, whole. Its number is greater than
 * those of all versions that its key had before, also before it was removed, until 2^39 changes;
 * with 2^40 numbers begin again. HF_REFUSED, HF_USAGE and HF_NOMEM as above, HF_TOOBIG for lengths.
 * While a reader is stuck, all that may change a record may return HF_NOMEM, also where nothing is
 * to be changed.
 */
struct hf_map_record {
	const void *data;
	size_t len;
	uint64_t version; /* 1 or more */
};

/*
 * The record itself, without a copy: valid until the hf_map_exit that matches the caller's
 * outermost hf_map_enter, without which it returns HF_USAGE. HF_OK, or HF_NOTFOUND.
 */
HF_API enum hf_status hf_map_record(struct hf_map_thread *thread, struct hf_bytes key,
				    struct hf_map_record *ret);
/*
 * Copies the record to `buffer`, and ret->data is that. HF_TOOBIG: `cap` is too small for it,
 * ret->len is its length. HF_OK, or HF_NOTFOUND.
 */
HF_API enum hf_status hf_map_record_get(struct hf_map_thread *thread, struct hf_bytes key,
					void *buffer, size_t cap, struct hf_map_record *ret);
/*
 * `count` gets at once, faster than one by one: their cache misses overlap. Each is as
 * hf_map_record_get, with `cap` bytes of room: the record of keys[i] is copied to byte i * cap of
 * `buffer`, which has count * cap bytes. It is the caller's, as are the arrays, each of `count`;
 * none may overlap with another. A key may come several times.
 *
 * ret_status[i] is what hf_map_record_get would have returned:
 *   HF_OK        ret[i] is the record, one version of it, whole; ret[i].data points into `buffer`
 *   HF_NOTFOUND  there was none
 *   HF_TOOBIG    it is longer than `cap`: ret[i].len is its length. Or the key has not 1 to 255
 *                bytes: ret[i].len is 0
 *   HF_REFUSED   the thread has not HF_MAP_READ
 *   HF_USAGE     the map has 64-bit keys
 * What ret[i] does not get is 0 and NULL. Returns HF_OK if each key has HF_OK or HF_NOTFOUND, else
 * the status of one that has not, which is the one that hf_map_error tells of; the others were got
 * all the same.
 *
 * Each key on its own: each record is what was there at some moment of the call, but of another
 * moment than the next one. Of changes that were made one after the other, a later one may show
 * and an earlier one not; the same key twice may show two versions, in any order.
 *
 * The rights are asked for and the audit hook is called (as "record_get_many") for each key, in
 * their order, before its record is looked for. The thread is inside for 16 keys at a time; all
 * the while if it is between hf_map_enter and hf_map_exit.
 */
HF_API enum hf_status hf_map_record_get_many(struct hf_map_thread *thread, size_t count,
					     const struct hf_bytes *keys, void *buffer, size_t cap,
					     struct hf_map_record *ret, enum hf_status *ret_status);
/* *ret_version, here and below, is the version that is there now; it may be NULL. */
HF_API enum hf_status hf_map_record_put(struct hf_map_thread *thread, struct hf_bytes key,
					struct hf_bytes data, uint64_t *ret_version);
/*
 * Puts `data` if the key is not there; *ret_put says whether it did, and ret->data is the caller's
 * `data` then. Otherwise as hf_map_record_get.
 */
HF_API enum hf_status hf_map_record_get_or_put(struct hf_map_thread *thread, struct hf_bytes key,
					       struct hf_bytes data, void *buffer, size_t cap,
					       struct hf_map_record *ret, bool *ret_put);
/*
 * Puts `data` in the place of version `*version`. HF_STALE: another one is there, *version says
 * which. HF_NOTFOUND: none is.
 */
HF_API enum hf_status hf_map_record_compare_put(struct hf_map_thread *thread, struct hf_bytes key,
						uint64_t *version, struct hf_bytes data);
/*
 * Puts a record of `len` bytes that `change` fills, given what is there (NULL: nothing). `change`
 * may be called several times; only what it filled last counts. It must be short, and not call this
 * map.
 */
typedef void hf_map_fill_fn(void *arg, const struct hf_map_record *old, void *data);
HF_API enum hf_status hf_map_record_update(struct hf_map_thread *thread, struct hf_bytes key,
					   size_t len, hf_map_fill_fn *change, void *arg,
					   uint64_t *ret_version);
/* Removes version `*version`, or (NULL) whichever is there. HF_OK, HF_NOTFOUND, or HF_STALE. */
HF_API enum hf_status hf_map_record_delete(struct hf_map_thread *thread, struct hf_bytes key,
					   uint64_t *version);

/*
 * Cursors: each entry once, in no particular order, of one moment. An open cursor makes writing a
 * little slower: overwriting takes the shard's lock, too. It belongs to the thread
 * that opened it (if `owned`: which must own all shards). To be closed before the thread leaves.
 */
enum hf_map_cursor_mode {
	/*
	 * The set of the moment of opening, whatever is changed meanwhile. What is changed is kept
	 * as it was until the cursor has passed it: up to 65,536 entries, and 64 MiB of them (or
	 * one); then the cursor is stale.
	 */
	HF_MAP_CURSOR_SNAPSHOT,
	/* Stale as soon as anything changes. */
	HF_MAP_CURSOR_STRICT,
};

struct hf_map_entry {
	uint64_t key, value;  /* 64-bit keys */
	struct hf_bytes name; /* records */
	struct hf_map_record record;
};

struct hf_map_cursor;
/* HF_NOMEM also if a thread, perhaps this one, is inside the map for longer than `patience_ms`. */
HF_API enum hf_status hf_map_cursor_open(struct hf_map_thread *thread, enum hf_map_cursor_mode mode,
					 struct hf_map_cursor **ret);
/*
 * The next entry, valid until the next call. HF_NOTFOUND: there are no more. HF_STALE: the map has
 * changed (see the mode); so it says from then on, as it does after HF_NOMEM. HF_REFUSED: the
 * thread has lost HF_MAP_READ since it opened the cursor, which stays where it is. hf_map_error of
 * the thread says more.
 */
HF_API enum hf_status hf_map_cursor_next(struct hf_map_cursor *cursor, struct hf_map_entry *ret);
/* NULL is fine. */
HF_API void hf_map_cursor_close(struct hf_map_cursor *cursor);

/*
 * Guards. The hook is called before each access, also one that is denied, in the thread that makes
 * it; it must not call the map. Without one (NULL) nothing is called, and nothing is slower. One
 * that is taken off may still be called by calls that are under way then; only when they have
 * returned may another be set.
 */
struct hf_map_access {
	const char *map, *thread, *operation; /* names; "get", "record_put", ... */
	uint32_t rights;		      /* that it needs */
	bool allowed;
	/*
	 * 64-bit keys: their 8 bytes, one after the other. "cursor_next": the entry's that is to be
	 * shown; none if there is none, as with "cursor_open".
	 */
	struct hf_bytes key;
};
typedef void hf_map_audit_fn(void *arg, const struct hf_map_access *access);
/* HF_USAGE: there is another hook; it must be taken off first. */
HF_API enum hf_status hf_map_set_audit(struct hf_map *map, hf_map_audit_fn *audit, void *arg);
/* From any thread; calls that are under way still have the old ones. */
HF_API void hf_map_set_rights(struct hf_map_thread *thread, uint32_t rights);

/*
 * One bit of housekeeping in each shard: moves entries of tables that are growing or shrinking, and
 * frees what is out of sight. Writes do it on the way; this is for a map that is only read by now.
 * True: nothing is left to do. It leaves the records that threads which have left had replaced: the
 * next one that joins takes them over.
 */
HF_API bool hf_map_settle(struct hf_map_thread *thread);

struct hf_map_stats {
	uint64_t entries;
	uint64_t bytes;	  /* held, by cursors, too */
	uint64_t resizes; /* tables that were emptied into another, since the map was made */
	uint64_t moving;  /* shards with a table in motion */
	uint64_t waiting; /* removed, but not yet out of every reader's sight */
	uint64_t waits;	  /* writes that had to wait for a reader */
	uint64_t denied;  /* calls without the right */
};
/*
 * Each figure is right for a moment; together they are right if nobody writes. If shards are
 * `owned`, to be called, as hf_map_settle, by who owns all of them.
 */
HF_API void hf_map_stats(struct hf_map *map, struct hf_map_stats *ret);

#ifdef __cplusplus
}
#endif

#endif
