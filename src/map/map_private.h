/*
 * map_private.h - what the files of the concurrent map share.
 */
#ifndef HF_MAP_PRIVATE_H
#define HF_MAP_PRIVATE_H

#include "base/assert.h"
#include "base/err.h"
#include "holdfast/map.h"
#include "map/blocks.h"
#include "map/epoch.h"
#include "map/lock.h"
#include "map/objects.h"
#include "map/pieces.h"
#include "map/spread.h"
#include "map/table.h"

#define HF_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define HF_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* The third kind, which programs do not know: see objects.h. */
#define HF_MAP_OBJECTS ((enum hf_map_kind)2)

/* Why every write to a shard takes its lock (else overwriting does not). */
#define HF_FROZEN_RESIZE 1u
#define HF_FROZEN_CURSOR 2u

enum hf_phase {
	HF_PHASE_STILL,
	HF_PHASE_SURVEYING, /* would a smaller table keep apart what is there? */
	HF_PHASE_WARMING,   /* `next` is made ready, a page at a time */
	HF_PHASE_FREEZING,  /* `frozen` is set; who did not see it yet may still be overwriting */
	HF_PHASE_MOVING,
};

/* What a shard's writer knows; what readers know is in hf_map.tables. */
struct hf_map_shard {
	uint32_t lock;
	uint32_t
		frozen; /* HF_FROZEN_...: why every write takes the lock; 0: overwriting does not */
	hf_table table;
	enum hf_phase phase;
	uint32_t limbo_first, limbo_count;
	uint32_t bits_min;    /* of a table: what was expected has room */
	uint64_t live;	      /* entries */
	hf_table next;	      /* MOVING: where to. WARMING, FREEZING: the same, not yet in use */
	uint64_t warmed;      /* WARMING: so many lines of it are zero, and have memory */
	bool next_is_zero;    /* it came so: it only has to be touched */
	uint32_t survey_bits; /* SURVEYING: of the smaller table */
	uint64_t surveyed;    /* ... lines of `table` so far */
	uint64_t gathered;    /* ... entries, in those that would be one window of it */
	/* A table of so many bits would not; 0: none is known. For so many calls, and entries. */
	uint32_t dense_bits;
	uint64_t dense_calls, dense_live;
	bool crowded;	   /* this one does not */
	uint32_t wanted;   /* of such a size a piece for a table was asked for; 0: none */
	uint64_t moved;	   /* MOVING: lines of `table` before this one are in `next` */
	uint64_t freezing; /* FREEZING: the stamp to wait for */
	hf_table retired;  /* emptied, perhaps still being read; 0: none */
	uint64_t retired_at;
	struct hf_removed *limbo; /* of slots of 64-bit keys: a ring of HF_MAP_LIMBO */
	uint64_t resizes;
	uint64_t version;   /* the greatest of a record that was removed */
	uint64_t *reserved; /* the slot for the object that is added next; NULL: none */
	/* Entries, and those that were removed from `next` since it is in use; these alone. */
	struct hf_spread spread, gone;
} __attribute__((aligned(128)));

/* Objects that have been retired, and may still be looked at. */
struct hf_object_limbo {
	struct hf_retired *ring; /* NULL: none ever was */
	uint32_t first, count;
	uint64_t bytes;
};

struct hf_map {
	/* What every look-up reads. */
	hf_table *tables; /* of the shards: the next line, in one word each */
	uint64_t seed, multiplier;
	uint32_t shard_mask;	     /* their number less one */
	bool long_records;	     /* there was one of more than a line */
	struct hf_map_shard *shards; /* and one more, for keys that look like marks */
	bool owned;
	enum hf_map_kind kind;
	struct hf_epochs epochs __attribute__((aligned(64)));
	struct hf_pieces pieces __attribute__((aligned(64)));
	struct hf_depot depot __attribute__((aligned(64)));
	struct hf_blocks *blocks; /* of all threads; under epochs.lock */
	const struct hf_allocator *allocator;
	struct hf_object_kind objects;
	struct hf_object_limbo limbo;
	struct hf_map_thread *threads; /* under epochs.lock, as the pins are */
	uint64_t denied;	       /* by threads that have left */
	uint64_t waits;
	uint32_t thread_count;
	uint32_t patience_ms;
	/* Open cursors: the list, and each one's place and images, under cursor_lock (which comes
	 * after a shard's); their number, and what follows from it, under cursor_count_lock. */
	struct hf_map_cursor *cursors;
	uint32_t cursor_lock, cursor_count_lock, cursor_count;
	uint64_t cursor_bytes; /* atomic: what all of them hold */
	hf_map_audit_fn *audit;
	void *audit_arg;
	void *shard_memory;
	size_t shard_bytes;
	char name[HF_MAP_NAME_MAX + 1];
};

struct hf_map_thread {
	struct hf_pin pin;
	struct hf_map *map;
	uint32_t watch; /* a bit for each operation that may not simply go on: see guard.c */
	uint32_t rights;
	uint32_t depth;		  /* of hf_map_enter */
	struct hf_blocks *blocks; /* for records */
	uint64_t outer;		  /* of the outermost hf_map_enter */
	uint64_t denied;
	struct hf_map_thread *next;
	char name[HF_MAP_NAME_MAX + 1];
	struct hf_err err;
} __attribute__((aligned(128)));

/* As hf_map_new, with the memory from `allocator` (aligned to 128 bytes at least). */
HF_MUST bool hf_map_make(const struct hf_map_options *options, const struct hf_allocator *allocator,
			 struct hf_map **ret, struct hf_err *err);

static inline void hf_shard_lock(const struct hf_map *map, struct hf_map_shard *shard) {
	if (!map->owned)
		hf_lock(&shard->lock);
}

static inline void hf_shard_unlock(const struct hf_map *map, struct hf_map_shard *shard) {
	if (!map->owned)
		hf_unlock(&shard->lock);
}

/* The number of the shard: bits of the hash that no table is large enough to use. */
static inline uint64_t hf_shard_number(const struct hf_map *map, uint64_t hash) {
	return (uint32_t)(hash >> 32) & map->shard_mask;
}

/* Of a 64-bit key. Its upper half, which is what is used, depends on every bit of the key. */
static inline uint64_t hf_hash_u64(const struct hf_map *map, uint64_t key) {
	uint64_t hash = (key ^ map->seed) * map->multiplier;
	hash ^= hash >> 32;
	return hash * 0x9e3779b97f4a7c15u;
}

/* The table that has some of the entries by now; 0: none. */
static inline hf_table hf_shard_moving_to(const struct hf_map_shard *shard) {
	return shard->phase == HF_PHASE_MOVING ? shard->next : 0;
}

/* ---- shard.c: all with the shard's lock */

HF_MUST bool hf_shard_init(struct hf_map *map, struct hf_map_shard *shard, uint64_t expected,
			   struct hf_err *err);
void hf_shard_fini(struct hf_map *map, struct hf_map_shard *shard);
/* Sets or clears a reason why writes take the lock. */
void hf_shard_freeze(struct hf_map *map, struct hf_map_shard *shard, uint32_t why, bool on);
/* Housekeeping, a bounded bit. */
void hf_shard_tend(struct hf_map *map, struct hf_map_shard *shard);
/* Is there no more for hf_shard_tend to do? Finds out what is out of sight. */
bool hf_shard_is_still(struct hf_map *map, struct hf_map_shard *shard);
/* The table in which an entry of this hash is, or is to be. */
hf_table hf_shard_table(const struct hf_map_shard *shard, uint64_t hash);
/*
 * A slot for a new entry of this hash, which is not there: may resize, and wait for readers. NULL:
 * there is none, `err` says why.
 */
uint64_t *hf_shard_room(struct hf_map *map, struct hf_map_shard *shard, struct hf_pin *pin,
			uint64_t hash, struct hf_err *err);
/* An entry was put into a slot that hf_shard_room gave. `mark` is what the slot had been. */
void hf_shard_added(struct hf_map_shard *shard, uint64_t hash, uint64_t mark);
/* Waits until records can be retired; false: a reader is stuck, `err` says who. Without a lock. */
HF_MUST bool hf_shard_limbo_room(struct hf_map *map, struct hf_blocks *blocks, struct hf_pin *pin,
				 struct hf_err *err);
/* Waits until what was stamped so is out of sight; false: a reader is stuck, `err` says who. */
HF_MUST bool hf_map_wait_passed(struct hf_map *map, struct hf_pin *pin, uint64_t stamp,
				const char *what, struct hf_err *err);
/* Takes the entry out of this slot. A record or object stays the caller's to retire. */
void hf_shard_remove(struct hf_map *map, struct hf_map_shard *shard, uint64_t *slot, uint64_t hash);
/* The hash of what a slot holds. */
uint64_t hf_slot_hash(const struct hf_map *map, uint64_t mark);
/* The last hash from `from` on that has the same home line as `from`, in both tables of a move. */
uint64_t hf_shard_line_last(const struct hf_map_shard *shard, uint64_t from);
/*
 * Calls `fn` for each entry whose hash is from `from` to `last`, with its slot, until it returns
 * false; so does this then.
 */
typedef bool hf_slot_fn(void *arg, uint64_t hash, const uint64_t *slot);
bool hf_shard_each(const struct hf_map *map, const struct hf_map_shard *shard, uint64_t from,
		   uint64_t last, hf_slot_fn *fn, void *arg);

/* ---- objects.c */

/* Frees all of them, if they are the map's to free, and those that are retired. */
void hf_objects_free(struct hf_map *map);

/* ---- guard.c */

/* By how much the rights of the operations on records are shifted in hf_map_thread.watch. */
#define HF_WATCH_RECORDS 8u

/* What of this thread's calls hf_guard is to see. With epochs.lock, or of a new thread. */
uint32_t hf_guard_watch(const struct hf_map_thread *thread);
/* Reports and refuses, or lets pass, an operation that `watch` stopped. */
enum hf_status hf_guard(struct hf_map_thread *thread, uint32_t rights, enum hf_map_kind kind,
			const char *operation, struct hf_bytes key);

/* ---- cursor.c */

/* An entry, where it is and what it holds; borrowed. */
struct hf_entry {
	uint64_t shard, hash, version;
	const void *key, *data;
	size_t key_len, len;
};

/* Of a slot that holds one. */
struct hf_entry hf_entry_of(const struct hf_map *map, uint64_t shard, uint64_t hash,
			    const uint64_t *slot);
/*
 * With the shard's lock, before an entry changes, if there are cursors: how it was, or (not there,
 * no data) that it was not.
 */
void hf_cursors_note(struct hf_map *map, const struct hf_entry *entry, bool there);

#endif
