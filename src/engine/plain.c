/*
 * plain.c - plain keys: a byte string with a value, without a contract, as Redis's strings are.
 *
 * A plain key is kept, hashed and saved as an entity is, only that no contract judged it
 * (SLOT_PLAIN) and that its value has a length of its own. It lives on the heap. A value of the
 * same length is written over the old one; for another a new entity takes the place of the old,
 * which is freed when no reader can have it any more.
 *
 * All of it under the engine's lock; who reads without it: reader.c.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/engine_private.h"
#include "os/memory.h"

#define NUMBER_TEXT_MAX 24u

uint64_t hf_plain_hash(const struct hf_engine *engine, struct hf_span key) {
	return XXH3_64bits_withSeed(key.data, key.len, engine->hash_seed);
}

static struct hf_span value_of(const struct entity *entity) {
	return hf_span(entity->data, hf_entity_block(entity));
}

/* ---- the map ----------------------------------------------------------------------------- */

/* The key and the value's length are the same as long as the entity is there. */
static bool is_key(const void *wanted, const void *there) {
	const struct entity *entity = there;
	struct entity head = { .kind = hf_atomic_load(&entity->kind, HF_RELAXED) };
	return hf_span_equal(hf_span(entity->data + entity->skip, head.key_len),
			     *(const struct hf_span *)wanted);
}

static uint64_t hash_of(const void *arg, const void *object) {
	return hf_plain_hash(arg, hf_entity_key(object));
}

static void free_entity(void *arg, void *object) {
	hf_memory_free(object);
}

struct hf_object_kind hf_plain_kind(struct hf_engine *engine) {
	return (struct hf_object_kind){
		.name = "plain keys", .hash = hash_of, .free = free_entity, .arg = engine
	};
}

struct entity *hf_plain_find(const struct hf_engine *engine, uint64_t hash, struct hf_span key) {
	return hf_object_find(engine->plain.map, hash, is_key, &key);
}

static struct entity *entity_new(struct hf_span key, size_t value_len, struct hf_err *err) {
	struct entity head = { .slot = SLOT_PLAIN, .skip = value_len, .key_len = (uint8_t)key.len };
	struct entity *entity = hf_memory_new(hf_entity_size(&head));
	if (entity == NULL) {
		(void)hf_fail(err, HF_NOMEM, "out of memory: no room for a value of %zu bytes",
			      value_len);
		return NULL;
	}
	*entity = head;
	memcpy(entity->data + value_len, key.data, key.len);
	return entity;
}

/* ---- changes: for requests and for replay alike ------------------------------------------ */

static void save(struct hf_engine *engine, struct entity *entity) {
	if (engine->saver.saving && !hf_entity_is_saved(entity, engine->saver.mark))
		hf_entity_save(engine, entity);
}

struct plain_change hf_plain_look(const struct hf_engine *engine, struct hf_span key) {
	uint64_t hash = hf_plain_hash(engine, key);
	return (struct plain_change){ .key = key,
				      .hash = hash,
				      .old = hf_plain_find(engine, hash, key) };
}

bool hf_plain_reserve(struct hf_engine *engine, struct plain_change *change, size_t value_len,
		      struct hf_err *err) {
	if (change->old != NULL && change->old->skip == value_len) {
		change->entity = change->old;
		return true;
	}
	if (change->old == NULL ? !hf_object_reserve(engine->plain.map, change->hash, err)
				: !hf_object_reserve_retire(engine->plain.map, err))
		return false;
	change->entity = entity_new(change->key, value_len, err);
	return change->entity != NULL;
}

/* The value takes the old one's place, or the new entity that of the old. */
static void place_value(struct hf_engine *engine, const struct plain_change *change,
			struct hf_span value, const struct hf_record *record, uint64_t version) {
	struct entity *entity = change->entity, *old = change->old;
	hf_entity_begin_change(entity);
	hf_entity_set_saved(entity, engine->saver.mark);
	hf_atomic_store(&entity->position, record->position, HF_RELAXED);
	hf_atomic_store(&entity->time_ns, record->time_ns, HF_RELAXED);
	hf_atomic_store(&entity->version, version, HF_RELAXED);
	hf_entity_store(entity, value.data, value.len);
	hf_entity_end_change(entity, record->lsn);
	if (old == entity)
		return;
	engine->plain.bytes += hf_entity_size(entity);
	if (old == NULL) {
		hf_object_add(engine->plain.map, change->hash, entity);
		return;
	}
	hf_object_replace(engine->plain.map, change->hash, old, entity);
	engine->plain.bytes -= hf_entity_size(old);
	hf_object_retire(engine->plain.map, old, hf_entity_size(old));
}

void hf_plain_apply_set(struct hf_engine *engine, const struct plain_change *change,
			struct hf_span value, const struct hf_record *record) {
	uint64_t version = 1;
	if (change->old != NULL) {
		version = change->old->version + 1;
		save(engine, change->old);
		hf_entity_hash_share(engine, change->old, (uint64_t)-1);
	}
	place_value(engine, change, value, record, version);
	hf_entity_hash_share(engine, change->entity, 1);
	engine->logged_ns = record->time_ns;
	engine->events++;
}

bool hf_plain_reserve_delete(struct hf_engine *engine, struct hf_err *err) {
	return hf_object_reserve_retire(engine->plain.map, err);
}

bool hf_plain_apply_delete(struct hf_engine *engine, struct hf_span key, uint64_t lsn) {
	uint64_t hash = hf_plain_hash(engine, key);
	struct entity *entity = hf_plain_find(engine, hash, key);
	if (entity == NULL)
		return false;
	HF_ASSERT(!engine->saver.saving || hf_entity_is_saved(entity, engine->saver.mark));
	hf_entity_hash_share(engine, entity, (uint64_t)-1);
	size_t bytes = hf_entity_size(entity);
	engine->plain.bytes -= bytes;
	/* First: who does not find the key any more must see what that depends on. */
	hf_atomic_store(&engine->plain.deleted_lsn, lsn, HF_RELEASE);
	hf_object_remove(engine->plain.map, hash, entity, bytes);
	return true;
}

bool hf_plain_restore(struct hf_engine *engine, const struct entity *image, struct hf_err *err) {
	struct hf_span key = hf_entity_key(image);
	uint64_t hash = hf_plain_hash(engine, key);
	struct entity *entity;
	if (!hf_object_reserve(engine->plain.map, hash, err) ||
	    (entity = entity_new(key, hf_entity_block(image), err)) == NULL)
		return false;
	memcpy(entity, image, hf_entity_size(image));
	engine->plain.bytes += hf_entity_size(entity);
	hf_object_add(engine->plain.map, hash, entity);
	hf_entity_hash_share(engine, entity, 1);
	return true;
}

/* ---- requests ---------------------------------------------------------------------------- */

/* What a reply about a key depends on: its last change, or, if it is not there, any end. */
static uint64_t depends_on(const struct hf_engine *engine, const struct entity *entity) {
	return entity != NULL ? entity->lsn : engine->plain.deleted_lsn;
}

void hf_plain_show(const struct entity *head, uint64_t deleted_lsn, struct hf_reply *ret) {
	*ret = head == NULL ? (struct hf_reply){ .status = HF_NOTFOUND, .durable_at = deleted_lsn }
			    : (struct hf_reply){ .status = HF_OK,
						 .durable_at = head->lsn,
						 .version = head->version,
						 .lsn = head->lsn };
}

static bool key_fits(struct hf_engine *engine, struct hf_span key, struct hf_reply *ret) {
	struct hf_err err;
	if (key.len > 0 && key.len <= HF_KEY_MAX)
		return true;
	(void)hf_fail(&err, key.len == 0 ? HF_BADPARAM : HF_TOOBIG,
		      "a key has 1 to %u bytes, this one has %zu", HF_KEY_MAX, key.len);
	hf_reply_err(engine, &err, 0, ret);
	return false;
}

void hf_engine_plain_get(struct hf_engine *engine, struct hf_span key, struct hf_span *ret_value,
			 struct hf_reply *ret) {
	const struct entity *entity = hf_plain_look(engine, key).old;
	*ret_value = entity == NULL ? hf_span(NULL, 0) : value_of(entity);
	hf_plain_show(entity, engine->plain.deleted_lsn, ret);
}

/* Room for a change, before anything is looked at: it may wait. False: the reply is filled. */
static bool make_room(struct hf_engine *engine, size_t body_max, struct hf_reply *ret) {
	struct hf_err err;
	if (hf_log_stopped(engine->log)) {
		(void)hf_fail(&err, HF_STOPPED, "%s", hf_log_stop_reason(engine->log));
		hf_reply_err(engine, &err, 0, ret);
		return false;
	}
	if (hf_engine_make_room(engine, body_max, &err))
		return true;
	hf_reply_err(engine, &err, 0, ret);
	return false;
}

/* Logs the value and applies it; the log has room. Nothing has changed if it fails. */
static bool log_and_set(struct hf_engine *engine, struct plain_change *change, struct hf_span value,
			struct hf_reply *ret) {
	struct hf_err err;
	if (!hf_plain_reserve(engine, change, value.len, &err)) {
		hf_reply_err(engine, &err, 0, ret);
		return false;
	}
	size_t body_max = hf_set_body_max(change->key.len, value.len);
	struct hf_record record = { .time_ns = hf_log_time(engine) };
	uint8_t *body = hf_log_begin(engine->log, body_max, &record.lsn, &record.position);
	hf_log_end(engine->log, HF_RECORD_SET, record.time_ns,
		   hf_set_body_put(change->key, value, body, body_max));
	hf_plain_apply_set(engine, change, value, &record);
	*ret = (struct hf_reply){
		.status = HF_OK,
		.durable_at = record.lsn,
		.version = change->entity->version,
		.lsn = record.lsn,
	};
	return true;
}

static bool condition_holds(const struct hf_plain_set *set, const struct entity *entity) {
	switch (set->when) {
	case HF_PLAIN_ABSENT:
		return entity == NULL;
	case HF_PLAIN_PRESENT:
		return entity != NULL;
	case HF_PLAIN_EQUAL:
		return entity != NULL && hf_span_equal(value_of(entity), set->equal);
	case HF_PLAIN_ALWAYS:
		break;
	}
	return true;
}

void hf_engine_plain_set(struct hf_engine *engine, const struct hf_plain_set *set,
			 hf_plain_old_fn *old, void *arg, bool *ret_set, struct hf_reply *ret) {
	*ret_set = false;
	if (!key_fits(engine, set->key, ret))
		return;
	if (set->value.len > HF_PLAIN_VALUE_MAX) {
		struct hf_err err;
		(void)hf_fail(&err, HF_TOOBIG, "the value has %zu bytes, the limit is %u",
			      set->value.len, HF_PLAIN_VALUE_MAX);
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	if (!make_room(engine, hf_set_body_max(set->key.len, set->value.len), ret))
		return;
	struct plain_change change = hf_plain_look(engine, set->key);
	bool sets = condition_holds(set, change.old);
	uint64_t seen = depends_on(engine, change.old);
	if (old != NULL) {
		struct hf_span value = change.old == NULL ? hf_span(NULL, 0) : value_of(change.old);
		old(arg, change.old == NULL ? NULL : &value);
	}
	if (sets)
		*ret_set = log_and_set(engine, &change, set->value, ret);
	else
		*ret = (struct hf_reply){ .status = HF_OK, .durable_at = seen };
}

/* "value is not an integer or out of range": clients look for Redis's words. */
static void reply_bad_number(struct hf_engine *engine, uint64_t durable_at, const char *text,
			     struct hf_reply *ret) {
	struct hf_err err;
	(void)hf_fail(&err, HF_BADPARAM, "%s", text);
	hf_reply_err(engine, &err, durable_at, ret);
}

void hf_engine_plain_add(struct hf_engine *engine, struct hf_span key, int64_t by,
			 int64_t *ret_value, struct hf_reply *ret) {
	if (!key_fits(engine, key, ret) ||
	    !make_room(engine, hf_set_body_max(key.len, NUMBER_TEXT_MAX), ret))
		return;
	struct plain_change change = hf_plain_look(engine, key);
	int64_t now = 0, sum;
	if (change.old != NULL && !hf_span_i64(value_of(change.old), &now)) {
		reply_bad_number(engine, change.old->lsn, "value is not an integer or out of range",
				 ret);
		return;
	}
	if (__builtin_add_overflow(now, by, &sum)) {
		reply_bad_number(engine, depends_on(engine, change.old),
				 "increment or decrement would overflow", ret);
		return;
	}
	char text[NUMBER_TEXT_MAX];
	struct hf_text number = hf_text(text, sizeof(text));
	hf_text_add(&number, "%lld", (long long)sum);
	*ret_value = sum;
	(void)log_and_set(engine, &change, hf_span(text, number.len), ret);
}

/*
 * What a snapshot under way has not of these is saved, one by one, each after a wait for room: all
 * at once, a thousand large values would be more than the ring of images takes. False: it let go
 * of the lock meanwhile.
 */
static bool save_all(struct hf_engine *engine, const struct hf_span *keys, uint32_t count) {
	bool waited = false;
	for (uint32_t i = 0; i < count && engine->saver.saving; i++) {
		waited |= hf_saver_make_room(engine);
		struct entity *entity = hf_plain_look(engine, keys[i]).old;
		if (entity != NULL)
			save(engine, entity);
	}
	return !waited;
}

void hf_engine_plain_delete(struct hf_engine *engine, const struct hf_span *keys, uint32_t count,
			    uint64_t *ret_deleted, struct hf_reply *ret) {
	struct hf_err err;
	size_t body_max = 0;
	*ret_deleted = 0;
	for (uint32_t i = 0; i < count; i++)
		body_max += 1 + keys[i].len;
	if (body_max > HF_RECORD_MAX - HF_RECORD_OVERHEAD) {
		(void)hf_fail(&err, HF_TOOBIG, "the keys have %zu bytes, the limit is %u at a time",
			      body_max, HF_RECORD_MAX - HF_RECORD_OVERHEAD);
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	do
		if (!make_room(engine, body_max, ret))
			return;
	while (!save_all(engine, keys, count));
	if (!hf_plain_reserve_delete(engine, &err)) {
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	uint64_t lsn, position, seen = engine->plain.deleted_lsn;
	int64_t time_ns = hf_log_time(engine);
	uint8_t *body = hf_log_begin(engine->log, body_max, &lsn, &position);
	size_t len = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!hf_plain_apply_delete(engine, keys[i], lsn))
			continue; /* it is not there, or named twice */
		len += hf_delete_body_put(keys[i], body + len, body_max - len);
		(*ret_deleted)++;
	}
	*ret = (struct hf_reply){ .status = HF_OK, .durable_at = seen };
	if (*ret_deleted == 0)
		return;
	hf_log_end(engine->log, HF_RECORD_DELETE, time_ns, len);
	engine->logged_ns = time_ns;
	engine->events++;
	ret->durable_at = ret->lsn = lsn;
}

struct scan {
	hf_plain_key_fn *key;
	void *arg;
};

static void scan_key(void *arg, void *object) {
	const struct scan *scan = arg;
	scan->key(scan->arg, hf_entity_key(object));
}

uint64_t hf_engine_plain_scan(struct hf_engine *engine, uint64_t cursor, hf_plain_key_fn *key,
			      void *arg, struct hf_reply *ret) {
	struct scan scan = { key, arg };
	*ret = (struct hf_reply){ .status = HF_OK, .durable_at = hf_log_last(engine->log) };
	/* As small as can be: clients keep it in a double, or in an int64_t. */
	return hf_objects_walk(engine->plain.map, cursor * HF_OBJECTS_WALK_STEP, scan_key, &scan) /
	       HF_OBJECTS_WALK_STEP;
}
