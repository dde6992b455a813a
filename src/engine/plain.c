/*
 * plain.c - plain keys: a byte string with a value, without a contract, as Redis's strings are.
 *
 * A plain key is kept, hashed and saved as an entity is, only that no contract judged it
 * (SLOT_PLAIN) and that its value has a length of its own. It lives on the heap, in a table that
 * grows by linear hashing (Litwin, 1980): each insertion splits one bucket, so none takes long,
 * and entries only ever move to buckets behind their own. That makes walking simple: by
 * ascending buckets, nothing that stays is missed.
 *
 * All of it under the engine's lock.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/engine_private.h"
#include "os/memory.h"

#define SEGMENT_BUCKETS 1024u
#define NUMBER_TEXT_MAX 24u

static struct plain **bucket_at(const struct plain_table *table, uint64_t bucket) {
	return &table->segments[bucket / SEGMENT_BUCKETS][bucket % SEGMENT_BUCKETS];
}

/* Where a hash belongs while there are so many buckets. */
static uint64_t bucket_of(uint64_t hash, uint64_t buckets) {
	HF_ASSERT(buckets > 0);
	uint64_t mask = buckets == 1 ? 0 : UINT64_MAX >> __builtin_clzll(buckets - 1);
	uint64_t bucket = hash & mask;
	return bucket < buckets ? bucket : bucket & mask >> 1;
}

static uint64_t hash_of(const struct hf_engine *engine, struct hf_span key) {
	return XXH3_64bits_withSeed(key.data, key.len, engine->hash_seed);
}

/* The link that holds the key, or NULL. */
static struct plain **find(const struct hf_engine *engine, struct hf_span key) {
	const struct plain_table *table = &engine->plain;
	if (table->buckets == 0)
		return NULL;
	struct plain **link = bucket_at(table, bucket_of(hash_of(engine, key), table->buckets));
	for (; *link != NULL; link = &(*link)->next)
		if (hf_span_equal(hf_entity_key(&(*link)->entity), key))
			return link;
	return NULL;
}

static struct hf_span value_of(const struct entity *entity) {
	return hf_span(entity->data, hf_entity_block(entity));
}

/* ---- the table --------------------------------------------------------------------------- */

/* Room for one bucket more. */
static bool reserve_bucket(struct plain_table *table, struct hf_err *err) {
	uint64_t segment = table->buckets / SEGMENT_BUCKETS;
	if (segment < table->segment_count)
		return true;
	if (segment == table->segment_room) {
		uint64_t room = table->segment_room == 0 ? 16 : table->segment_room * 2;
		void *grown = hf_memory_grow(table->segments, room * sizeof(*table->segments));
		if (grown == NULL)
			return hf_fail(err, HF_NOMEM, "out of memory: no room for another key");
		table->segments = grown;
		table->segment_room = room;
	}
	struct plain **made = hf_memory_new(SEGMENT_BUCKETS * sizeof(*made));
	if (made == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no room for another key");
	table->segments[table->segment_count++] = made;
	return true;
}

/* The bucket at the end gets its share of the one that stood for it. */
static void split(struct hf_engine *engine) {
	struct plain_table *table = &engine->plain;
	uint64_t made = table->buckets++;
	if (made == 0)
		return;
	struct plain **from = bucket_at(table, bucket_of(made, made)),
		     **to = bucket_at(table, made);
	while (*from != NULL) {
		struct plain *plain = *from;
		uint64_t hash = hash_of(engine, hf_entity_key(&plain->entity));
		if (bucket_of(hash, table->buckets) != made) {
			from = &plain->next;
			continue;
		}
		*from = plain->next;
		plain->next = NULL;
		*to = plain;
		to = &plain->next;
	}
}

static void put_in_table(struct hf_engine *engine, struct plain *plain) {
	struct plain_table *table = &engine->plain;
	split(engine);
	uint64_t hash = hash_of(engine, hf_entity_key(&plain->entity));
	struct plain **link = bucket_at(table, bucket_of(hash, table->buckets));
	plain->next = *link;
	*link = plain;
	table->count++;
}

static size_t plain_size(const struct plain *plain) {
	return offsetof(struct plain, entity) + hf_entity_size(&plain->entity);
}

static struct plain *plain_new(struct hf_span key, size_t value_len, struct hf_err *err) {
	struct entity head = { .slot = SLOT_PLAIN, .skip = value_len, .key_len = (uint8_t)key.len };
	struct plain *plain = hf_memory_new(offsetof(struct plain, entity) + hf_entity_size(&head));
	if (plain == NULL) {
		(void)hf_fail(err, HF_NOMEM, "out of memory: no room for a value of %zu bytes",
			      value_len);
		return NULL;
	}
	plain->entity = head;
	memcpy(plain->entity.data + value_len, key.data, key.len);
	return plain;
}

void hf_plain_free(struct hf_engine *engine) {
	struct plain_table *table = &engine->plain;
	for (uint64_t i = 0; i < table->buckets; i++) {
		struct plain *plain = *bucket_at(table, i);
		while (plain != NULL) {
			struct plain *next = plain->next;
			hf_memory_free(plain);
			plain = next;
		}
	}
	for (uint64_t i = 0; i < table->segment_count; i++)
		hf_memory_free(table->segments[i]);
	hf_memory_free(table->segments);
	*table = (struct plain_table){ 0 };
}

uint64_t hf_plain_bytes(const struct hf_engine *engine) {
	const struct plain_table *table = &engine->plain;
	return table->bytes + table->segment_room * sizeof(*table->segments) +
	       table->segment_count * SEGMENT_BUCKETS * sizeof(**table->segments);
}

const struct entity *hf_plain_find(const struct hf_engine *engine, struct hf_span key) {
	struct plain **link = find(engine, key);
	return link == NULL ? NULL : &(*link)->entity;
}

struct plain *hf_plain_bucket(const struct hf_engine *engine, uint64_t bucket) {
	return bucket < engine->plain.buckets ? *bucket_at(&engine->plain, bucket) : NULL;
}

/* ---- changes: for requests and for replay alike ------------------------------------------ */

static void save(struct hf_engine *engine, struct entity *entity) {
	if (engine->saver.saving && entity->saved != engine->saver.mark)
		hf_entity_save(engine, entity);
}

bool hf_plain_reserve(struct hf_engine *engine, struct hf_span key, size_t value_len,
		      struct plain_change *ret, struct hf_err *err) {
	*ret = (struct plain_change){ .link = find(engine, key) };
	struct plain *old = ret->link == NULL ? NULL : *ret->link;
	if (old != NULL && old->entity.skip == value_len) {
		ret->plain = old; /* the value is written over the old one */
		return true;
	}
	if (old == NULL && !reserve_bucket(&engine->plain, err))
		return false;
	ret->plain = plain_new(key, value_len, err);
	return ret->plain != NULL;
}

void hf_plain_apply_set(struct hf_engine *engine, const struct plain_change *change,
			struct hf_span value, const struct hf_record *record) {
	struct plain *plain = change->plain, *old = change->link == NULL ? NULL : *change->link;
	struct entity *entity = &plain->entity;
	uint64_t version = old == NULL ? 1 : old->entity.version + 1;
	if (old != NULL) {
		save(engine, &old->entity);
		hf_entity_hash_share(engine, &old->entity, (uint64_t)-1);
	}
	entity->saved = engine->saver.mark & 1;
	entity->position = record->position;
	entity->lsn = record->lsn;
	entity->time_ns = record->time_ns;
	entity->version = version;
	if (value.len > 0)
		memmove(entity->data, value.data, value.len);
	hf_entity_hash_share(engine, entity, 1);
	engine->logged_ns = record->time_ns;
	engine->events++;
	if (old == plain)
		return;
	engine->plain.bytes += plain_size(plain);
	if (old == NULL) {
		put_in_table(engine, plain);
		return;
	}
	plain->next = old->next;
	*change->link = plain;
	engine->plain.bytes -= plain_size(old);
	hf_memory_free(old);
}

bool hf_plain_apply_delete(struct hf_engine *engine, struct hf_span key, uint64_t lsn) {
	struct plain **link = find(engine, key);
	if (link == NULL)
		return false;
	struct plain *plain = *link;
	save(engine, &plain->entity);
	hf_entity_hash_share(engine, &plain->entity, (uint64_t)-1);
	*link = plain->next;
	engine->plain.count--;
	engine->plain.bytes -= plain_size(plain);
	engine->plain.deleted_lsn = lsn;
	hf_memory_free(plain);
	return true;
}

bool hf_plain_restore(struct hf_engine *engine, const struct entity *image, struct hf_err *err) {
	struct hf_span key = hf_entity_key(image);
	struct plain *plain;
	if (!reserve_bucket(&engine->plain, err) ||
	    (plain = plain_new(key, hf_entity_block(image), err)) == NULL)
		return false;
	memcpy(&plain->entity, image, hf_entity_size(image));
	engine->plain.bytes += plain_size(plain);
	put_in_table(engine, plain);
	hf_entity_hash_share(engine, &plain->entity, 1);
	return true;
}

/* ---- requests ---------------------------------------------------------------------------- */

/* What a reply about a key depends on: its last change, or, if it is not there, any end. */
static uint64_t depends_on(const struct hf_engine *engine, const struct entity *entity) {
	return entity != NULL ? entity->lsn : engine->plain.deleted_lsn;
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
	const struct entity *entity = hf_plain_find(engine, key);
	*ret_value = entity == NULL ? hf_span(NULL, 0) : value_of(entity);
	*ret = (struct hf_reply){
		.status = entity == NULL ? HF_NOTFOUND : HF_OK,
		.durable_at = depends_on(engine, entity),
		.version = entity == NULL ? 0 : entity->version,
		.lsn = entity == NULL ? 0 : entity->lsn,
	};
}

/* Room for a change, before anything is looked at: it may wait. False: the reply is filled. */
static bool make_room(struct hf_engine *engine, size_t body_max, struct hf_reply *ret) {
	struct hf_err err;
	if (hf_log_stopped(engine->log)) {
		(void)hf_fail(&err, HF_STOPPED, "%s", hf_log_stop_reason(engine->log));
		hf_reply_err(engine, &err, 0, ret);
		return false;
	}
	if (engine->saver.saving)
		hf_saver_make_room(engine);
	if (hf_log_make_room(engine->log, body_max, &err))
		return true;
	hf_reply_err(engine, &err, 0, ret);
	return false;
}

/* Logs the value and applies it; the log has room. Nothing has changed if it fails. */
static bool log_and_set(struct hf_engine *engine, struct hf_span key, struct hf_span value,
			struct hf_reply *ret) {
	struct plain_change change;
	struct hf_err err;
	if (!hf_plain_reserve(engine, key, value.len, &change, &err)) {
		hf_reply_err(engine, &err, 0, ret);
		return false;
	}
	size_t body_max = hf_set_body_max(key.len, value.len);
	struct hf_record record = { .time_ns = hf_log_time(engine) };
	uint8_t *body = hf_log_begin(engine->log, body_max, &record.lsn, &record.position);
	hf_log_end(engine->log, HF_RECORD_SET, record.time_ns,
		   hf_set_body_put(key, value, body, body_max));
	hf_plain_apply_set(engine, &change, value, &record);
	*ret = (struct hf_reply){
		.status = HF_OK,
		.durable_at = record.lsn,
		.version = change.plain->entity.version,
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
	const struct entity *entity = hf_plain_find(engine, set->key);
	bool sets = condition_holds(set, entity);
	uint64_t seen = depends_on(engine, entity);
	if (old != NULL) {
		struct hf_span value = entity == NULL ? hf_span(NULL, 0) : value_of(entity);
		old(arg, entity == NULL ? NULL : &value);
	}
	if (sets)
		*ret_set = log_and_set(engine, set->key, set->value, ret);
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
	const struct entity *entity = hf_plain_find(engine, key);
	int64_t now = 0, sum;
	if (entity != NULL && !hf_span_i64(value_of(entity), &now)) {
		reply_bad_number(engine, entity->lsn, "value is not an integer or out of range",
				 ret);
		return;
	}
	if (__builtin_add_overflow(now, by, &sum)) {
		reply_bad_number(engine, depends_on(engine, entity),
				 "increment or decrement would overflow", ret);
		return;
	}
	char text[NUMBER_TEXT_MAX];
	struct hf_text number = hf_text(text, sizeof(text));
	hf_text_add(&number, "%lld", (long long)sum);
	*ret_value = sum;
	(void)log_and_set(engine, key, hf_span(text, number.len), ret);
}

void hf_engine_plain_delete(struct hf_engine *engine, const struct hf_span *keys, uint32_t count,
			    uint64_t *ret_deleted, struct hf_reply *ret) {
	size_t body_max = 0;
	*ret_deleted = 0;
	for (uint32_t i = 0; i < count; i++)
		body_max += 1 + keys[i].len;
	if (body_max > HF_RECORD_MAX - HF_RECORD_OVERHEAD) {
		struct hf_err err;
		(void)hf_fail(&err, HF_TOOBIG, "the keys have %zu bytes, the limit is %u at a time",
			      body_max, HF_RECORD_MAX - HF_RECORD_OVERHEAD);
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	if (!make_room(engine, body_max, ret))
		return;
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

uint64_t hf_engine_plain_scan(struct hf_engine *engine, uint64_t cursor, hf_plain_key_fn *key,
			      void *arg, struct hf_reply *ret) {
	*ret = (struct hf_reply){ .status = HF_OK, .durable_at = hf_log_last(engine->log) };
	for (const struct plain *plain = hf_plain_bucket(engine, cursor); plain != NULL;
	     plain = plain->next)
		key(arg, hf_entity_key(&plain->entity));
	return cursor + 1 < engine->plain.buckets ? cursor + 1 : 0;
}
