/*
 * recover.c - from a snapshot's file back to memory. hf_snapshot_recover reads top to bottom.
 *
 * A snapshot is taken over only if all of it is proven: each block by its checksums, each entity
 * by its contract, and all entities together by the state hash. Of one that is not, nothing is
 * kept.
 */
#include <stdio.h>

#include "engine/engine_private.h"
#include "frame/cursor.h"
#include "os/clock.h"

#define BATCH 32u /* entities and ids looked ahead, so that the index's memory is there */
#define ID_IMAGE 12u
#define ID_HASH_MASK (((uint64_t)1 << 48) - 1)

struct loading {
	struct hf_engine *engine;
	struct hf_snapshot_reader reader;
	struct hf_snapshot_head head;
	struct hf_snapshot_block block;
};

static bool corrupt(const struct loading *loading, size_t at, struct hf_err *err,
		    const char *what) {
	return hf_snapshot_corrupt(&loading->reader, loading->block.offset + at, err, what);
}

static bool load_contracts(struct loading *loading, struct hf_err *err) {
	struct hf_reader in = hf_reader(loading->block.payload);
	for (uint32_t i = 0; i < loading->block.items; i++) {
		size_t at = (size_t)(in.at - loading->block.payload.data);
		uint64_t lsn = hf_read_u64(&in);
		struct hf_span body = hf_read_span(&in, hf_read_u32(&in));
		struct hf_err why;
		if (in.bad)
			return corrupt(loading, at, err, "a contract does not fit its block");
		if (hf_contract_restore(loading->engine, body, lsn, &why))
			continue;
		if (why.status != HF_NOMEM)
			return corrupt(loading, at, err, why.text);
		*err = why;
		return false;
	}
	return in.at == in.end ||
	       corrupt(loading, 0, err, "more than its contracts is in this block");
}

static const char *age_flaw(const struct hf_snapshot_head *head, const struct entity *image) {
	if (image->key_len == 0 || image->zero != 0 || image->version == 0)
		return "impossible entity";
	return image->lsn > head->lsn || image->position >= head->position
		       ? "an entity's last event is younger than the snapshot"
		       : NULL;
}

/* Could the engine have such an entity at the snapshot's LSN? */
static const char *flaw(struct hf_engine *engine, const struct hf_snapshot_head *head,
			const struct entity *image) {
	if (image->slot == SLOT_PLAIN) {
		if (image->block_saved != 0 || image->state != 0)
			return "impossible plain key";
		return age_flaw(head, image);
	}
	if (image->slot >= engine->slot_count)
		return "an entity names a contract that is not there";
	const struct contract_slot *slot = &engine->slots[image->slot];
	if (image->block_saved != slot->contract->block_size ||
	    image->state >= slot->contract->state_count)
		return "an entity is not as its contract says";
	if (slot != hf_newest(engine, slot->family) && slot->state_map[image->state] == UINT16_MAX)
		return "an entity is in a state that its contract has no more";
	if (image->skip > image->position)
		return "an entity's last event is younger than the snapshot";
	return age_flaw(head, image);
}

/* The image at `at` of the payload, which begins at a multiple of 8, as every image does. */
static bool image_at(const struct loading *loading, size_t at, const struct entity **ret,
		     struct hf_err *err) {
	size_t left = loading->block.payload.len - at;
	const struct entity *image = (const struct entity *)(loading->block.payload.data + at);
	if (left < sizeof(*image) ||
	    (image->slot == SLOT_PLAIN && image->skip > HF_PLAIN_VALUE_MAX) ||
	    left < hf_entity_size(image))
		return corrupt(loading, at, err, "an entity does not fit its block");
	const char *what = flaw(loading->engine, &loading->head, image);
	*ret = image;
	return what == NULL || corrupt(loading, at, err, what);
}

/* The entities of a batch, all placed; into the index. */
static bool index_entities(struct hf_engine *engine, struct entity **entities, uint64_t *hashes,
			   uint32_t count, struct hf_err *err) {
	for (uint32_t i = 0; i < count; i++) {
		if (!hf_object_reserve(engine->entities, hashes[i], err))
			return false;
		hf_object_add(engine->entities, hashes[i], entities[i]);
	}
	return true;
}

static bool load_entities(struct loading *loading, struct hf_err *err) {
	struct hf_engine *engine = loading->engine;
	struct hf_span payload = loading->block.payload;
	struct entity *entities[BATCH];
	uint64_t hashes[BATCH];
	uint32_t batch = 0;
	size_t at = 0;
	for (uint32_t i = 0; i < loading->block.items; i++) {
		const struct entity *image;
		if (!image_at(loading, at, &image, err))
			return false;
		at += hf_entity_size(image);
		if (image->slot == SLOT_PLAIN) {
			if (!hf_plain_restore(engine, image, err))
				return false;
			continue;
		}
		hashes[batch] = hf_entity_hash(engine, engine->slots[image->slot].family,
					       hf_entity_key(image));
		hf_object_prefetch(engine->entities, hashes[batch]);
		if (!hf_entity_restore(engine, image, &entities[batch], err))
			return false;
		if (++batch < BATCH)
			continue;
		if (!index_entities(engine, entities, hashes, batch, err))
			return false;
		batch = 0;
	}
	if (!index_entities(engine, entities, hashes, batch, err))
		return false;
	return at == payload.len ||
	       corrupt(loading, at, err, "more than its entities is in this block");
}

static bool load_ids(struct loading *loading, struct hf_err *err) {
	struct hf_engine *engine = loading->engine;
	struct hf_span payload = loading->block.payload;
	if (payload.len != (size_t)loading->block.items * ID_IMAGE)
		return corrupt(loading, 0, err, "more or less than its ids is in this block");
	for (size_t at = 0; at < payload.len; at += ID_IMAGE) {
		uint64_t hash = 0, position = 0, ahead = 0;
		memcpy(&hash, payload.data + at, 6);
		memcpy(&position, payload.data + at + 6, 6);
		if (payload.len - at > BATCH * ID_IMAGE) {
			memcpy(&ahead, payload.data + at + BATCH * ID_IMAGE, 6);
			hf_index_prefetch(&engine->ids, ahead);
		}
		if (position == 0 || position >= loading->head.position)
			return corrupt(loading, at, err, "an id is younger than the snapshot");
		if (!hf_index_reserve(&engine->ids, err))
			return false;
		hf_index_add(&engine->ids, hash, position);
	}
	return true;
}

/* Room for what the head announces, if the file can hold as much. */
static bool presize(struct loading *loading, struct hf_err *err) {
	const struct hf_snapshot_head *head = &loading->head;
	struct hf_engine *engine = loading->engine;
	if (head->entities > loading->reader.size / sizeof(struct entity) ||
	    head->plain_keys > loading->reader.size / sizeof(struct entity) ||
	    head->ids > loading->reader.size / ID_IMAGE || head->contracts > HF_CONTRACTS_MAX)
		return hf_snapshot_corrupt(&loading->reader, 0, err,
					   "the head announces more than the file can hold");
	return hf_engine_make_maps(engine, head->entities, head->plain_keys, err) &&
	       (head->ids == 0 || hf_index_presize(&engine->ids, head->ids, err));
}

static bool load_blocks(struct loading *loading, struct hf_err *err) {
	struct hf_engine *engine = loading->engine;
	bool ok = presize(loading, err);
	while (ok) {
		if (!hf_snapshot_read(&loading->reader, &loading->block, err))
			return false;
		if (loading->block.kind == HF_SNAPSHOT_END)
			break;
		ok = loading->block.kind == HF_SNAPSHOT_CONTRACTS  ? load_contracts(loading, err)
		     : loading->block.kind == HF_SNAPSHOT_ENTITIES ? load_entities(loading, err)
								   : load_ids(loading, err);
		if (engine->progress != NULL)
			engine->progress(engine->arg, loading->reader.offset, loading->reader.size,
					 loading->head.events);
	}
	const uint64_t *hash = loading->head.state_hash;
	if (ok && (engine->state_hash[0] != hash[0] || engine->state_hash[1] != hash[1]))
		ok = hf_snapshot_corrupt(&loading->reader, 0, err,
					 "its entities have not the state hash that was recorded");
	return ok;
}

static bool load(struct hf_engine *engine, uint64_t lsn, struct hf_err *err) {
	struct loading loading = { .engine = engine };
	if (!hf_snapshot_open(&engine->dir, lsn, &loading.reader, &loading.head, err))
		return false;
	uint64_t seed = engine->hash_seed;
	/* Ids are kept by their hashes, and these depend on it. */
	engine->hash_seed = loading.head.hash_seed;
	bool ok = load_blocks(&loading, err);
	if (ok) {
		engine->events = loading.head.events;
		engine->now_ns = engine->logged_ns = loading.head.time_ns;
		engine->recovered_from = loading.head;
		engine->recovered_bytes = loading.reader.size;
	} else {
		hf_engine_empty(engine);
		engine->hash_seed = seed;
	}
	hf_snapshot_close(&loading.reader);
	return ok;
}

/* ---- holdfast replay --verify ---- */

/* What the engine has under the image's key. */
static const struct entity *find_same(struct hf_engine *engine, const struct entity *image) {
	struct hf_span key = hf_entity_key(image);
	if (image->slot == SLOT_PLAIN)
		return hf_plain_find(engine, hf_plain_hash(engine, key), key);
	uint32_t family = engine->slots[image->slot].family;
	return hf_entity_find(engine, hf_entity_hash(engine, family, key), family, key, NULL);
}

static bool same_entities(struct loading *loading, struct hf_err *err) {
	struct hf_engine *engine = loading->engine;
	size_t at = 0;
	for (uint32_t i = 0; i < loading->block.items; i++) {
		const struct entity *image;
		if (!image_at(loading, at, &image, err))
			return false;
		const struct entity *entity = find_same(engine, image);
		if (entity == NULL || hf_entity_size(entity) != hf_entity_size(image) ||
		    memcmp(entity, image, hf_entity_size(image)) != 0)
			return corrupt(loading, at, err,
				       "this entity is not as the log makes it up to this LSN");
		at += hf_entity_size(image);
	}
	return true;
}

/* Is there an id of this hash, of the record at `position`? */
typedef bool id_test(struct hf_engine *engine, uint64_t hash, uint64_t position,
		     struct hf_err *err);

static bool id_is_indexed(struct hf_engine *engine, uint64_t hash, uint64_t position,
			  struct hf_err *err) {
	struct hf_index_cursor cursor;
	uint64_t value = hf_index_first(&engine->ids, hash, &cursor);
	while (value != 0 && value != position)
		value = hf_index_next(&cursor);
	return value != 0 || hf_fail(err, HF_CORRUPT, "no such id");
}

static bool id_is_logged(struct hf_engine *engine, uint64_t hash, uint64_t position,
			 struct hf_err *err) {
	struct hf_record record;
	struct hf_event_record event;
	if (!hf_log_read(engine->log, position, engine->scratch, &record, err))
		return false;
	if (record.type != HF_RECORD_EVENT || !hf_event_body_get(record.body, &event) ||
	    event.id.len == 0)
		return hf_fail(err, HF_CORRUPT, "no such id");
	uint32_t family = hf_slot_by_ref(engine, event.ref)->family;
	uint64_t whole = hf_id_hash(hf_entity_hash(engine, family, event.key), event.id);
	return (whole & ID_HASH_MASK) == hash || hf_fail(err, HF_CORRUPT, "no such id");
}

static bool same_ids(struct loading *loading, id_test *is_there, struct hf_err *err) {
	struct hf_span payload = loading->block.payload;
	for (size_t at = 0; at + ID_IMAGE <= payload.len; at += ID_IMAGE) {
		uint64_t hash = 0, position = 0;
		memcpy(&hash, payload.data + at, 6);
		memcpy(&position, payload.data + at + 6, 6);
		bool before = position < loading->head.position;
		if (before && is_there(loading->engine, hash, position, err))
			continue;
		/* The whole log was proven: where none of its records begins, the id is wrong. */
		if (!before || err->status == HF_CORRUPT)
			(void)corrupt(loading, at, err,
				      "this id is not as the log makes it up to this LSN");
		return false;
	}
	return true;
}

static bool same_totals(const struct loading *loading, struct hf_err *err) {
	const struct hf_engine *engine = loading->engine;
	const struct hf_snapshot_head *head = &loading->head;
	return (head->state_hash[0] == engine->state_hash[0] &&
		head->state_hash[1] == engine->state_hash[1] && head->events == engine->events &&
		head->contracts == engine->slot_count && head->time_ns == engine->logged_ns &&
		head->entities == hf_objects_count(engine->entities) &&
		head->plain_keys == hf_objects_count(engine->plain.map) &&
		head->ids == hf_index_count(&engine->ids)) ||
	       hf_snapshot_corrupt(&loading->reader, HF_SNAPSHOT_HEADER_SIZE, err,
				   "the state hash or a total is not what the log makes up to this "
				   "LSN");
}

/*
 * All that stands behind the head: the entities, if they are asked for; the ids, if `id_is_there`
 * is not NULL.
 */
static bool compare_blocks(struct loading *loading, bool entities, id_test *id_is_there,
			   struct hf_err *err) {
	bool ok = true;
	while (ok && hf_snapshot_read(&loading->reader, &loading->block, err)) {
		if (loading->block.kind == HF_SNAPSHOT_END)
			return true;
		if (loading->block.kind == HF_SNAPSHOT_ENTITIES && entities)
			ok = same_entities(loading, err);
		else if (loading->block.kind == HF_SNAPSHOT_IDS && id_is_there != NULL)
			ok = same_ids(loading, id_is_there, err);
	}
	return false;
}

bool hf_snapshot_compare_unlike(struct hf_engine *engine, struct hf_err *err) {
	uint64_t seed = engine->hash_seed;
	bool ok = true;
	for (uint32_t i = 0; ok && i < engine->snapshots_unlike_count; i++) {
		struct loading loading = { .engine = engine };
		ok = hf_snapshot_open(&engine->dir, engine->snapshots_unlike[i], &loading.reader,
				      &loading.head, err);
		if (!ok) {
			ok = hf_snapshot_gone(err);
			continue;
		}
		/* By which ids are hashed. */
		engine->hash_seed = loading.head.hash_seed;
		ok = compare_blocks(&loading, false, id_is_logged, err);
		hf_snapshot_close(&loading.reader);
	}
	engine->hash_seed = seed;
	return ok;
}

bool hf_snapshot_compare(struct hf_engine *engine, uint64_t lsn, struct hf_err *err) {
	struct loading loading = { .engine = engine };
	if (!hf_snapshot_open(&engine->dir, lsn, &loading.reader, &loading.head, err))
		return false;
	bool same_seed = loading.head.hash_seed == engine->hash_seed;
	bool ok = same_totals(&loading, err);
	if (ok && !same_seed) {
		/* At most all that were listed. */
		HF_ASSERT(engine->snapshots_unlike_count < HF_SNAPSHOTS_LISTED);
		engine->snapshots_unlike[engine->snapshots_unlike_count++] = lsn;
	}
	ok = ok && compare_blocks(&loading, true, same_seed ? id_is_indexed : NULL, err);
	hf_snapshot_close(&loading.reader);
	return ok;
}

void hf_snapshot_take_seed(struct hf_engine *engine, const uint64_t *lsns, uint32_t count) {
	struct hf_snapshot_reader reader;
	struct hf_snapshot_head head;
	struct hf_err ignored; /* hf_snapshot_compare will meet it, and tell */
	bool found = false;
	for (uint32_t i = 0; i < count && !found; i++) {
		found = hf_snapshot_open(&engine->dir, lsns[i], &reader, &head, &ignored);
		if (!found)
			continue;
		engine->hash_seed = head.hash_seed;
		hf_snapshot_close(&reader);
	}
}

bool hf_snapshot_recover(struct hf_engine *engine, const uint64_t *lsns, uint32_t count,
			 struct hf_log_place *ret_place, struct hf_err *err) {
	uint64_t begin_ns = hf_clock_monotonic_ns();
	for (uint32_t i = 0; i < count; i++) {
		struct hf_err why;
		if (load(engine, lsns[i], &why))
			break;
		if (why.status == HF_NOMEM) {
			*err = why;
			return false;
		}
		char line[HF_ERR_TEXT_MAX + 80];
		snprintf(line, sizeof(line),
			 "WARNING: this snapshot is not used: %s; recovering from %s", why.text,
			 i + 1 < count ? "the one before it" : "the whole log");
		if (engine->notice != NULL)
			engine->notice(engine->arg, line);
	}
	const struct hf_snapshot_head *head = &engine->recovered_from;
	*ret_place = (struct hf_log_place){
		.log_id = head->log_id,
		.lsn = head->lsn,
		.position = head->position,
		.frame_position = head->frame_position,
		.crc = head->crc,
		.record_bytes = head->record_bytes,
	};
	engine->load_ns = hf_clock_monotonic_ns() - begin_ns;
	return true;
}
