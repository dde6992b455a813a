/*
 * engine_private.h - the engine's insides, shared by the files of this folder.
 */
#ifndef HF_ENGINE_PRIVATE_H
#define HF_ENGINE_PRIVATE_H

#include <stddef.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "engine/engine.h"
#include "engine/record.h"
#include "frame/frame.h"
#include "holdfast/stats.h"
#include "log/log.h"
#include "log/snapshot.h"
#include "machine/machine.h"
#include "map/index.h"
#include "map/objects.h"
#include "os/disk.h"
#include "os/random.h"

/*
 * An entity, or a plain key. What the state hash covers is one run of bytes, from `state` to the
 * end of the key. An entity lives in the arena for ever, and moves only when a new contract version
 * changes the size of its block; a plain key lives on the heap, and moves when its value gets
 * another size.
 *
 * The sequencer changes it in place while others may read it without the lock (reader.c): between
 * hf_entity_begin_change and hf_entity_end_change, and by hf_entity_store alone. What is read
 * between two equal LSNs, without the mark of a change, is one version.
 */
struct entity {
	uint64_t position; /* of its last event's record */
	/*
	 * Of its last record whose version is a multiple of HF_SKIP_VERSIONS, 0: none. Of a plain
	 * key: bytes of its value.
	 */
	uint64_t skip;
	uint64_t lsn; /* with ENTITY_CHANGING: it is being changed */
	int64_t time_ns;
	union {
		struct {
			uint16_t slot; /* of its last event's contract, or SLOT_PLAIN */
			uint16_t block_saved;
			uint16_t state;
			uint8_t key_len;
			uint8_t zero;
		};
		uint64_t kind; /* all of these at once */
	};
	uint64_t version;
	uint8_t data[]; /* the block or value, then the key; zeros to a multiple of 8 */
};

#define ENTITY_CHANGING ((uint64_t)1 << 63)
#define ENTITY_BLOCK 0x7fffu  /* of block_saved: bytes of the block */
#define ENTITY_SAVED 0x8000u  /* compared with the saver's mark */
#define SLOT_PLAIN UINT16_MAX /* a plain key: no contract */
_Static_assert(HF_CONTRACTS_MAX < SLOT_PLAIN, "no contract has this slot");

/* The plain keys: see plain.c. */
struct plain_keys {
	struct hf_map *map;
	uint64_t bytes;	      /* of the keys themselves */
	uint64_t deleted_lsn; /* the last that ended a key: what is not there depends on it */
};

#define ENTITY_HASHED_FROM offsetof(struct entity, state)

/* One contract text. */
struct contract_slot {
	struct hf_contract *contract;
	uint64_t lsn; /* of its record */
	uint32_t ref; /* first 4 bytes of its hash: what event records name it by */
	uint16_t family;
	uint64_t *counts;		 /* entities by state, judged last under this text */
	uint16_t *state_map, *field_map; /* to the family's newest text; NULL in that one */
	struct hf_counter *accepted;	 /* by transition; NULL: by engine->other_accepted */
};

/* Why a request was refused, as it is counted. */
enum refusal {
	REFUSAL_NOT_ALLOWED,
	REFUSAL_GUARD,
	REFUSAL_ARITHMETIC,
	REFUSAL_INVARIANT,
	REFUSAL_STALE,
	REFUSAL_NOTFOUND,
	REFUSAL_BADEVENT,
	REFUSAL_BADPARAM,
	REFUSAL_TOOBIG,
	REFUSAL_STOPPED,
	REFUSAL_OTHER,
	REFUSALS,
};

/* All texts of one name. */
struct family {
	struct hf_span name; /* of its contracts */
	uint32_t newest;     /* slot */
	uint32_t text_count;
	struct hf_counter retried, refused[REFUSALS];
};

struct chunk {
	struct chunk *before;
	uint8_t *end; /* of the entities in it; set when the next chunk is begun */
	uint8_t bytes[];
};

/* Memory that is only ever added to. */
struct arena {
	uint8_t *at, *end;
	struct chunk *chunks; /* the newest */
	uint64_t bytes;	      /* handed out */
};

/* A record that is about to be replayed. */
struct replay_step {
	struct hf_event_record event;
	uint64_t hash, id_hash;
	struct entity *hint;
	uint32_t slot;
};

/* Two records whose ids have the same hash. */
struct id_pair {
	uint64_t position, earlier;
};

/* A block of entities' images on its way to the snapshot's file. */
struct image_block {
	uint8_t *bytes; /* HF_SNAPSHOT_BLOCK_MAX */
	size_t used;	/* of its payload */
	uint32_t items;
};

/*
 * What a snapshot under way collects, under the lock: each entity's image as it was at the
 * snapshot's LSN. The walker copies entity after entity; a request that changes one which the
 * walker has not reached yet copies it first.
 */
struct saver {
	bool saving;   /* an entity whose `saved` is not `mark` is to be copied before it changes */
	bool overrun;  /* there was no room for an image: the snapshot is given up */
	uint16_t mark; /* 0 or 1: means the other thing with each snapshot */
	struct image_block *blocks; /* a ring */
	uint32_t block_count;
	uint32_t waiting; /* requests that wait for a block */
	uint32_t first;	  /* of the blocks that wait to be written; behind them one is filled */
	_Atomic uint32_t full; /* how many wait: changed under the lock */
};

struct hf_engine {
	struct hf_dir dir;
	bool dir_open;
	struct hf_log *log;
	uint64_t hash_seed;
	void (*notice)(void *arg, const char *line);
	void (*progress)(void *arg, uint64_t done, uint64_t total, uint64_t events);
	void (*committed)(void *arg);
	void *arg;
	bool verify;

	struct contract_slot slots[HF_CONTRACTS_MAX];
	uint64_t contract_bytes; /* of memory, of all slots */
	uint32_t slot_count;
	struct family families[HF_CONTRACTS_MAX];
	uint32_t family_count;
	uint16_t family_buckets[HF_CONTRACT_BUCKETS]; /* family + 1; 0: empty */
	uint16_t slot_buckets[HF_CONTRACT_BUCKETS];   /* slot + 1, by ref */

	struct hf_map *entities; /* struct entity */
	struct plain_keys plain;
	struct hf_index ids; /* position of the record */
	struct arena arena;
	uint64_t state_hash[2];
	uint64_t events;
	int64_t now_ns;	   /* the last log time given; never goes back */
	int64_t logged_ns; /* that of the last record; a refused event is none */
	bool now_is_fresh; /* the clock was read since the lock was taken */

	uint64_t snapshots_ahead[HF_SNAPSHOTS_LISTED]; /* verify: to be compared, oldest last */
	uint32_t snapshots_ahead_count;
	uint64_t snapshots_unlike[HF_SNAPSHOTS_LISTED]; /* verify: compared, but for the ids */
	uint32_t snapshots_unlike_count;
	struct id_pair *id_pairs; /* verify: to be compared when the log can be read */
	uint64_t id_pair_count, id_pair_room;

	uint64_t recovered_events;

	struct hf_stats *stats; /* NULL: read only */
	struct hf_stats_thread *counting;
	struct hf_counter refused[REFUSALS]; /* of requests for no contract */
	/* Of what found no counter of its own. */
	struct hf_counter other_accepted, other_retried, other_refused[REFUSALS];
	struct hf_histogram group_records, group_bytes, durable_ns;

	struct saver saver;
	struct snapshots *snapshots;		/* NULL: read only */
	struct hf_snapshot_head recovered_from; /* lsn 0: from the log alone */
	uint64_t recovered_bytes, load_ns;

	struct hf_value values[HF_PARAMS_MAX];
	struct hf_value old_values[HF_PARAMS_MAX];
	_Alignas(8) uint8_t block[HF_BLOCK_MAX];
	_Alignas(8) uint8_t view_block[HF_BLOCK_MAX];
	char text[HF_ERR_TEXT_MAX];
	uint8_t scratch[HF_RECORD_MAX];
	uint64_t unread_position;	   /* of the record that could not be read last; 0: none */
	uint8_t value[HF_PLAIN_VALUE_MAX]; /* being replayed */
	struct replay_step steps[HF_REPLAY_BATCH];
};

/* ---- engine.c */

/* No contracts, no entities, no ids; nor maps to put some in. */
void hf_engine_empty(struct hf_engine *engine);
/* The maps, with room for so many. */
HF_MUST bool hf_engine_make_maps(struct hf_engine *engine, uint64_t entities, uint64_t plain_keys,
				 struct hf_err *err);

/* ---- contracts.c */

/* The family of that name, or UINT32_MAX. */
uint32_t hf_family_find(const struct hf_engine *engine, struct hf_span name);
/* The slot that an event record names, or NULL. */
struct contract_slot *hf_slot_by_ref(struct hf_engine *engine, uint32_t ref);
/* May `contract` take force now? */
HF_MUST bool hf_contract_admit(struct hf_engine *engine, const struct hf_contract *contract,
			       struct hf_err *err);
/*
 * Puts an admitted contract in force; owns it from then on. False: out of memory, nothing
 * changed.
 */
HF_MUST bool hf_contract_activate(struct hf_engine *engine, struct hf_contract *contract,
				  uint64_t lsn, struct hf_err *err);
void hf_contracts_free(struct hf_engine *engine);

static inline struct contract_slot *hf_newest(struct hf_engine *engine, uint32_t family) {
	return &engine->slots[hf_atomic_load(&engine->families[family].newest, HF_ACQUIRE)];
}

/*
 * What a reply waits for that shows an entity (NULL: none is there) through a contract's text,
 * which may be younger than the entity's last event.
 */
static inline uint64_t hf_shown_lsn(const struct contract_slot *slot, const struct entity *entity) {
	return entity != NULL && entity->lsn > slot->lsn ? entity->lsn : slot->lsn;
}

/* ---- entity.c */

uint64_t hf_entity_hash(const struct hf_engine *engine, uint32_t family, struct hf_span key);
uint64_t hf_id_hash(uint64_t entity_hash, struct hf_span id);
/*
 * NULL if there is none. `hint` is hf_entity_hint's, of now or of earlier, or NULL. Under the lock,
 * or by a reader that is inside (it may find none, though there is one, that is just moving).
 */
struct entity *hf_entity_find(const struct hf_engine *engine, uint64_t hash, uint32_t family,
			      struct hf_span key, struct entity *hint);
/*
 * An entity with this hash, perhaps the one that is looked for, or NULL; its memory is fetched
 * ahead of need.
 */
struct entity *hf_entity_hint(const struct hf_engine *engine, uint64_t hash);
/* Bytes of its block, or of a plain key's value. */
static inline size_t hf_entity_block(const struct entity *entity) {
	return entity->slot == SLOT_PLAIN ? entity->skip : entity->block_saved & ENTITY_BLOCK;
}
static inline bool hf_entity_is_saved(const struct entity *entity, uint16_t mark) {
	return (entity->block_saved & ENTITY_SAVED) == (mark == 0 ? 0 : ENTITY_SAVED);
}
static inline void hf_entity_set_saved(struct entity *entity, uint16_t mark) {
	uint16_t both = (entity->block_saved & ENTITY_BLOCK) | (mark == 0 ? 0 : ENTITY_SAVED);
	hf_atomic_store(&entity->block_saved, both, HF_RELAXED);
}
static inline void hf_entity_begin_change(struct entity *entity) {
	hf_atomic_store(&entity->lsn, entity->lsn | ENTITY_CHANGING, HF_RELAXED);
	hf_fence(HF_RELEASE);
}
static inline void hf_entity_end_change(struct entity *entity, uint64_t lsn) {
	hf_atomic_store(&entity->lsn, lsn, HF_RELEASE);
}
/* Copies `bytes` to its data, a word at a time: whoever reads meanwhile finds out later. */
void hf_entity_store(struct entity *entity, const void *from, size_t bytes);
static inline struct hf_span hf_entity_key(const struct entity *entity) {
	return hf_span(entity->data + hf_entity_block(entity), entity->key_len);
}
/*
 * The entity's state and fields as the newest text of its family sees them; for no entity, those
 * of a new one.
 */
void hf_entity_view(struct hf_engine *engine, const struct contract_slot *slot,
		    const struct entity *entity, uint16_t *ret_state, const uint8_t **ret_block);

/*
 * What hf_engine_get says of an entity with this head, which `slot` shows in this state and with
 * these fields.
 */
void hf_entity_show(const struct contract_slot *slot, uint16_t state, const struct entity *head,
		    const uint8_t *block, struct hf_entity_view *ret_view, struct hf_reply *ret);

/* What an accepted event does to memory; all of it, for requests and for replay alike. */
struct change {
	struct contract_slot *slot; /* that judged it: the family's newest */
	struct entity *entity;	    /* NULL: it begins with this event */
	uint64_t hash;
	struct hf_span key;
	uint16_t state;
	const uint8_t *block;
	uint64_t version, lsn, position;
	int64_t time_ns;
	uint64_t id_hash;
	bool has_id;
};
/* Bytes that it takes in memory, and as an image in a snapshot. */
static inline size_t hf_entity_size(const struct entity *entity) {
	return (sizeof(*entity) + hf_entity_block(entity) + entity->key_len + 7) / 8 * 8;
}
/*
 * What stands behind `at` in a chunk: an entity, or one that has moved away and left its place
 * (its key is empty). Returns the address behind it.
 */
const uint8_t *hf_arena_next(const uint8_t *at);
/*
 * Takes an entity over from a snapshot, its contract and its key having been checked. The caller
 * adds it to the index.
 */
HF_MUST bool hf_entity_restore(struct hf_engine *engine, const struct entity *image,
			       struct entity **ret, struct hf_err *err);
/* What a map of them must know. */
struct hf_object_kind hf_entity_kind(struct hf_engine *engine);
/* Makes sure that hf_change_apply cannot fail. */
HF_MUST bool hf_change_reserve(struct hf_engine *engine, const struct change *change,
			       struct hf_err *err);
void hf_change_apply(struct hf_engine *engine, const struct change *change);
void hf_arena_free(struct arena *arena);
/* Adds (sign 1) or takes away (sign -1) one entity's, or plain key's, share of the state hash. */
void hf_entity_hash_share(struct hf_engine *engine, const struct entity *entity, uint64_t sign);

/* ---- plain.c */

uint64_t hf_plain_hash(const struct hf_engine *engine, struct hf_span key);
/* NULL if there is none. Under the lock, or by a reader that is inside. */
struct entity *hf_plain_find(const struct hf_engine *engine, uint64_t hash, struct hf_span key);

/* A key that is about to get a value. */
struct plain_change {
	struct hf_span key; /* borrowed */
	uint64_t hash;
	struct entity *old;    /* that is there; NULL: none */
	struct entity *entity; /* that will hold it, perhaps the same; since hf_plain_reserve */
};
struct plain_change hf_plain_look(const struct hf_engine *engine, struct hf_span key);
/* Makes sure that hf_plain_apply_set, called next, cannot fail. */
HF_MUST bool hf_plain_reserve(struct hf_engine *engine, struct plain_change *change,
			      size_t value_len, struct hf_err *err);
/* What a new value does to memory; for requests and replay alike. */
void hf_plain_apply_set(struct hf_engine *engine, const struct plain_change *change,
			struct hf_span value, const struct hf_record *record);
/* Makes sure that hf_plain_apply_delete can be called for the keys of one record. */
HF_MUST bool hf_plain_reserve_delete(struct hf_engine *engine, struct hf_err *err);
/* False: there is no such key. */
HF_MUST bool hf_plain_apply_delete(struct hf_engine *engine, struct hf_span key, uint64_t lsn);
/* The reply about a key of which this is the head; NULL: it is not there, since deleted_lsn. */
void hf_plain_show(const struct entity *head, uint64_t deleted_lsn, struct hf_reply *ret);
/* Takes a plain key over from a snapshot; its bytes have been checked. */
HF_MUST bool hf_plain_restore(struct hf_engine *engine, const struct entity *image,
			      struct hf_err *err);
/* What a map of them must know. */
struct hf_object_kind hf_plain_kind(struct hf_engine *engine);

/* ---- snapshot.c */

/*
 * Waits until there is room for an image, as hf_log_make_room does. While a snapshot is taken. True
 * if it had to, and let go of the lock.
 */
bool hf_saver_make_room(struct hf_engine *engine);
/* As hf_log_make_room, and room for an image as well if a snapshot is taken. */
HF_MUST bool hf_engine_make_room(struct hf_engine *engine, size_t body_max, struct hf_err *err);
/* Copies an entity that is not saved yet. */
void hf_entity_save(struct hf_engine *engine, struct entity *entity);
/*
 * Takes a snapshot, while requests go on; returns when it is durable in its place. Not under the
 * lock. ret_head->lsn is 0 if nothing came since the newest one, at `newest_lsn`. HF_NOTFOUND:
 * nothing was ever logged.
 */
HF_MUST bool hf_snapshot_take(struct hf_engine *engine, uint64_t newest_lsn,
			      struct hf_snapshot_head *ret_head, uint64_t *ret_bytes,
			      struct hf_err *err);

/* ---- snapshots.c */

/* Starts the thread that takes snapshots; ended with hf_snapshots_stop (also if there is none). */
HF_MUST bool hf_snapshots_start(struct hf_engine *engine, const struct hf_engine_options *options,
				struct hf_err *err);
/* Gives up the snapshot that is under way. */
void hf_snapshots_stop(struct hf_engine *engine);
bool hf_snapshots_quit(const struct hf_engine *engine);
/* Sleeps, unless the thread is to end. */
void hf_snapshots_sleep(struct hf_engine *engine, uint64_t ns);
/* Under the lock. */
void hf_snapshots_info(const struct hf_engine *engine, struct hf_engine_info *ret);

/* ---- recover.c */

/*
 * Loads the first of these snapshots, newest first, that is good; tells of those that are not.
 * ret_place->lsn is 0 if none is.
 */
HF_MUST bool hf_snapshot_recover(struct hf_engine *engine, const uint64_t *lsns, uint32_t count,
				 struct hf_log_place *ret_place, struct hf_err *err);

/*
 * Compares a snapshot with what the log up to its LSN has made: each entity, each id, all totals.
 * The ids of one whose seed the engine has not wait for hf_snapshot_compare_unlike.
 */
HF_MUST bool hf_snapshot_compare(struct hf_engine *engine, uint64_t lsn, struct hf_err *err);
/* When the log can be read: compares those ids with it, each by its record. */
HF_MUST bool hf_snapshot_compare_unlike(struct hf_engine *engine, struct hf_err *err);
/*
 * Before anything is in memory: the seed of the newest snapshot, so that ids can be compared
 * quickly.
 */
void hf_snapshot_take_seed(struct hf_engine *engine, const uint64_t *lsns, uint32_t count);

/* ---- replay.c */

/*
 * Compiles a contract from a record's body, checks it against what was recorded, and puts it in
 * force.
 */
HF_MUST bool hf_contract_restore(struct hf_engine *engine, struct hf_span body, uint64_t lsn,
				 struct hf_err *err);

/* A hf_log_records_fn; `arg` is the engine. */
bool hf_replay_records(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err);

/* Compares the ids that share a hash; false if one was applied twice to its entity. */
HF_MUST bool hf_verify_ids(struct hf_engine *engine, struct hf_err *err);

/* ---- figures.c */

HF_MUST bool hf_figures_start(struct hf_engine *engine, struct hf_err *err);
void hf_figures_stop(struct hf_engine *engine); /* also if it has not started */
/* A contract that is in force has its counters from now on. */
void hf_figures_add_contract(struct hf_engine *engine, struct contract_slot *slot);

/* Where a request stands in its judgement. */
struct judged {
	const struct contract_slot *slot; /* NULL: there is no such contract */
	uint16_t state;
	const uint8_t *block;
	uint8_t event;
	enum hf_verdict verdict;
	struct hf_step step;
};
void hf_figures_count(struct hf_engine *engine, const struct judged *judged,
		      const struct hf_reply *reply);
/* A hf_log_options.durable; `arg` is the engine. */
void hf_figures_group(void *arg, const struct hf_log_group *group);

/* ---- query.c */

/*
 * As hf_log_read, for a request: an operator is told of a record that cannot be read, once for each
 * in a row. Under the lock.
 */
HF_MUST bool hf_record_read(struct hf_engine *engine, uint64_t position, struct hf_record *ret,
			    struct hf_err *err);

/* ---- send.c */

/* The log's clock: it never goes back, and one batch of requests shares a reading. */
int64_t hf_log_time(struct hf_engine *engine);

/* Finds the params of `event` among the request's args. */
HF_MUST bool hf_params_bind(const struct hf_event *event, const struct hf_arg *args,
			    uint32_t arg_count, struct hf_value *ret_values, struct hf_err *err);
/* "order:42", of a key perhaps not printable. */
void hf_text_add_entity(struct hf_text *text, const struct hf_contract *contract,
			struct hf_span key);
/* The contract and the key's length; fills the reply if they are not there. UINT32_MAX then. */
uint32_t hf_request_family(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
			   struct hf_reply *ret);
/* A refusal with the text that is in engine->text, or in `err`. */
void hf_reply_text(struct hf_engine *engine, enum hf_status status, uint64_t durable_at,
		   struct hf_reply *ret);
void hf_reply_err(struct hf_engine *engine, const struct hf_err *err, uint64_t durable_at,
		  struct hf_reply *ret);

#endif
