/*
 * reader.c - reads that take no lock: an entity, or a plain key, while the sequencer works.
 *
 * A reader is inside the map while it looks, so what it finds is not freed. It copies words between
 * two looks at the LSN; if both are the same, and without the mark of a change, the copy is one
 * version (a seqlock: Boehm, "Can seqlocks get along with programming language memory models?",
 * 2012). Whatever is not that simple - no such entity, a contract that has changed since, a writer
 * in its way again and again - it leaves to the caller, who asks under the lock.
 *
 * What it read may not be durable yet: `durable_at` says when it may be shown, as always.
 */
#include "engine/engine_private.h"

#define TRIES 16u

bool hf_engine_reader_join(struct hf_engine *engine, const char *name, struct hf_engine_reader *ret,
			   struct hf_err *err) {
	char why[HF_ERR_TEXT_MAX];
	*ret = (struct hf_engine_reader){ .engine = engine };
	enum hf_status status =
		hf_map_join(engine->entities, name, HF_MAP_READ, &ret->entities, why, sizeof(why));
	if (status == HF_OK)
		status = hf_map_join(engine->plain.map, name, HF_MAP_READ, &ret->plain, why,
				     sizeof(why));
	if (status == HF_OK)
		return true;
	hf_engine_reader_leave(ret);
	return hf_fail(err, status, "%s", why);
}

void hf_engine_reader_leave(struct hf_engine_reader *reader) {
	hf_map_leave(reader->entities);
	hf_map_leave(reader->plain);
	*reader = (struct hf_engine_reader){ 0 };
}

/*
 * Head and data of one version; `plain` says what it is, for an entity's size never changes. False:
 * it was being changed.
 */
static bool copy(const struct entity *from, bool plain, struct entity *head, uint8_t *data) {
	uint64_t lsn = hf_atomic_load(&from->lsn, HF_ACQUIRE);
	if ((lsn & ENTITY_CHANGING) != 0)
		return false;
	head->lsn = lsn;
	head->time_ns = hf_atomic_load(&from->time_ns, HF_RELAXED);
	head->kind = hf_atomic_load(&from->kind, HF_ACQUIRE);
	head->version = hf_atomic_load(&from->version, HF_RELAXED);
	/* Of a plain key it is the same for ever; of an entity it is something else. */
	size_t bytes = plain ? from->skip : head->block_saved & ENTITY_BLOCK;
	for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
		uint64_t word = hf_atomic_load((const uint64_t *)(const void *)(from->data + at),
					       HF_RELAXED);
		memcpy(data + at, &word, sizeof(word));
	}
	head->skip = bytes;
	hf_fence(HF_ACQUIRE);
	return hf_atomic_load(&from->lsn, HF_RELAXED) == lsn;
}

/* The entity, as it was at one moment within this call. */
static bool read_entity(struct hf_engine_reader *reader, uint32_t family, struct hf_span key,
			struct entity *head, uint8_t *block) {
	const struct hf_engine *engine = reader->engine;
	uint64_t hash = hf_entity_hash(engine, family, key);
	bool found = false;
	hf_map_enter(reader->entities);
	for (uint32_t tries = 0; !found && tries < TRIES; tries++) {
		const struct entity *entity = hf_entity_find(engine, hash, family, key, NULL);
		if (entity == NULL)
			break;
		found = copy(entity, false, head, block);
	}
	hf_map_exit(reader->entities);
	return found;
}

bool hf_engine_reader_get(struct hf_engine_reader *reader, struct hf_span contract,
			  struct hf_span key, uint8_t *block, struct hf_entity_view *ret_view,
			  struct hf_reply *ret) {
	struct hf_engine *engine = reader->engine;
	struct entity head;
	uint32_t family = hf_family_find(engine, contract);
	if (family == UINT32_MAX || key.len == 0 || key.len > HF_KEY_MAX ||
	    !read_entity(reader, family, key, &head, block))
		return false;
	const struct contract_slot *slot = &engine->slots[head.slot];
	if (slot != hf_newest(engine, family))
		return false;
	hf_entity_show(slot, head.state, &head, block, ret_view, ret);
	return true;
}

bool hf_engine_reader_plain_get(struct hf_engine_reader *reader, struct hf_span key, uint8_t *value,
				struct hf_span *ret_value, struct hf_reply *ret) {
	const struct hf_engine *engine = reader->engine;
	uint64_t hash = hf_plain_hash(engine, key);
	struct entity head = { 0 };
	bool read = false;
	hf_map_enter(reader->plain);
	const struct entity *entity = NULL;
	for (uint32_t tries = 0; !read && tries < TRIES; tries++) {
		entity = hf_plain_find(engine, hash, key);
		read = entity == NULL || copy(entity, true, &head, value);
	}
	hf_map_exit(reader->plain);
	*ret_value = entity == NULL ? hf_span(NULL, 0) : hf_span(value, head.skip);
	/* After the look: see hf_plain_apply_delete. */
	uint64_t gone = hf_atomic_load(&engine->plain.deleted_lsn, HF_ACQUIRE);
	hf_plain_show(entity == NULL ? NULL : &head, gone, ret);
	return read;
}
