/*
 * entity.c - entities in memory: finding, changing, and the state hash.
 *
 * The state hash is the sum, over all entities, of XXH3-128 of (state, key length, version, fields,
 * key), seeded with the first 8 bytes of the hash of the contract that judged the entity's last
 * event (of a plain key: with PLAIN_SEED, its value in the fields' place, state 0); the two halves
 * are summed apart, modulo 2^64. A sum does not depend on order, and changes
 * by one subtraction and one addition per event.
 */
#include <stddef.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/engine_private.h"
#include "os/memory.h"

#define PLAIN_SEED 0x6e69616c70u /* "plain" */

_Static_assert(sizeof(struct entity) == 48, "bytes per entity count");
_Static_assert(sizeof(struct entity) + HF_BLOCK_MAX + HF_KEY_MAX + sizeof(struct chunk) <
		       HF_ARENA_CHUNK,
	       "every entity fits");
_Static_assert(HF_BLOCK_MAX <= ENTITY_BLOCK, "a block's size leaves a bit");

static bool arena_reserve(struct arena *arena, size_t bytes, struct hf_err *err) {
	if ((size_t)(arena->end - arena->at) >= bytes)
		return true;
	struct chunk *chunk = hf_pages_new(HF_ARENA_CHUNK);
	if (chunk == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no room for another entity");
	if (arena->chunks != NULL)
		arena->chunks->end = arena->at;
	chunk->before = arena->chunks;
	arena->chunks = chunk;
	arena->at = chunk->bytes;
	arena->end = (uint8_t *)chunk + HF_ARENA_CHUNK;
	return true;
}

static void *arena_take(struct arena *arena, size_t bytes) {
	HF_ASSERT((size_t)(arena->end - arena->at) >= bytes);
	arena->at += bytes;
	arena->bytes += bytes;
	return arena->at - bytes;
}

void hf_arena_free(struct arena *arena) {
	while (arena->chunks != NULL) {
		struct chunk *chunk = arena->chunks;
		arena->chunks = chunk->before;
		hf_pages_free(chunk, HF_ARENA_CHUNK);
	}
	*arena = (struct arena){ 0 };
}

const uint8_t *hf_arena_next(const uint8_t *at) {
	const struct entity *entity = (const struct entity *)at;
	/* One that has moved away left the size of its place here: see place_entity. */
	return at + (entity->key_len == 0 ? entity->position : hf_entity_size(entity));
}

uint64_t hf_entity_hash(const struct hf_engine *engine, uint32_t family, struct hf_span key) {
	return XXH3_64bits_withSeed(key.data, key.len, engine->hash_seed + family);
}

uint64_t hf_id_hash(uint64_t entity_hash, struct hf_span id) {
	return XXH3_64bits_withSeed(id.data, id.len, entity_hash);
}

struct wanted {
	const struct hf_engine *engine;
	struct hf_span key;
	uint32_t family;
};

/* Key, family and size of a place are the same for ever; one that was left has no key. */
static bool is_wanted(const void *arg, const void *there) {
	const struct wanted *wanted = arg;
	const struct entity *entity = there;
	/* Acquires the contract slot, too. */
	struct entity head = { .kind = hf_atomic_load(&entity->kind, HF_ACQUIRE) };
	const uint8_t *key = entity->data + (head.block_saved & ENTITY_BLOCK);
	return hf_span_equal(hf_span(key, head.key_len), wanted->key) &&
	       wanted->engine->slots[head.slot].family == wanted->family;
}

struct entity *hf_entity_hint(const struct hf_engine *engine, uint64_t hash) {
	struct entity *entity = hf_object_hint(engine->entities, hash);
	if (entity != NULL) {
		/* Where they begin in a line is anywhere, so most of them stand in three. */
		__builtin_prefetch(entity, 1);
		__builtin_prefetch((const uint8_t *)entity + 64, 1);
		__builtin_prefetch((const uint8_t *)entity + 112, 1);
	}
	return entity;
}

struct entity *hf_entity_find(const struct hf_engine *engine, uint64_t hash, uint32_t family,
			      struct hf_span key, struct entity *hint) {
	struct wanted wanted = { engine, key, family };
	if (hint != NULL && is_wanted(&wanted, hint))
		return hint;
	return hf_object_find(engine->entities, hash, is_wanted, &wanted);
}

static uint64_t hash_of(const void *arg, const void *object) {
	const struct hf_engine *engine = arg;
	const struct entity *entity = object;
	return hf_entity_hash(engine, engine->slots[entity->slot].family, hf_entity_key(entity));
}

struct hf_object_kind hf_entity_kind(struct hf_engine *engine) {
	return (struct hf_object_kind){ .name = "entities", .hash = hash_of, .arg = engine };
}

void hf_entity_store(struct entity *entity, const void *from, size_t bytes) {
	const uint8_t *source = from;
	size_t at = 0;
	for (; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, source + at, sizeof(word));
		hf_atomic_store((uint64_t *)(void *)(entity->data + at), word, HF_RELAXED);
	}
	for (; at < bytes; at++)
		hf_atomic_store(&entity->data[at], source[at], HF_RELAXED);
}

void hf_entity_view(struct hf_engine *engine, const struct contract_slot *slot,
		    const struct entity *entity, uint16_t *ret_state, const uint8_t **ret_block) {
	const struct hf_contract *contract = slot->contract;
	if (entity == NULL) {
		memset(engine->view_block, 0, contract->block_size);
		*ret_state = contract->initial;
		*ret_block = engine->view_block;
		return;
	}
	const struct contract_slot *own = &engine->slots[entity->slot];
	if (own == slot) {
		*ret_state = entity->state;
		*ret_block = entity->data;
		return;
	}
	*ret_state = own->state_map[entity->state];
	HF_ASSERT(*ret_state != UINT16_MAX);
	hf_contract_convert(own->contract, contract, own->field_map, entity->data,
			    engine->view_block);
	*ret_block = engine->view_block;
}

static inline void hash_bytes(struct hf_engine *engine, const struct entity *entity, size_t block,
			      uint64_t seed, uint64_t sign) {
	const uint8_t *from = (const uint8_t *)entity + ENTITY_HASHED_FROM;
	size_t len = sizeof(*entity) - ENTITY_HASHED_FROM + block + entity->key_len;
	XXH128_hash_t hash = XXH3_128bits_withSeed(from, len, seed);
	engine->state_hash[0] += sign * hash.low64;
	engine->state_hash[1] += sign * hash.high64;
}

static void hash_entity(struct hf_engine *engine, const struct entity *entity, uint64_t sign) {
	uint64_t seed;
	memcpy(&seed, engine->slots[entity->slot].contract->hash, sizeof(seed));
	hash_bytes(engine, entity, entity->block_saved & ENTITY_BLOCK, seed, sign);
}

void hf_entity_hash_share(struct hf_engine *engine, const struct entity *entity, uint64_t sign) {
	if (entity->slot == SLOT_PLAIN)
		hash_bytes(engine, entity, entity->skip, PLAIN_SEED, sign);
	else
		hash_entity(engine, entity, sign);
}

static size_t entity_size(uint16_t block_size, size_t key_len) {
	return (sizeof(struct entity) + block_size + key_len + 7) / 8 * 8;
}

static bool needs_memory(const struct change *change) {
	return change->entity == NULL ||
	       hf_entity_block(change->entity) != change->slot->contract->block_size;
}

bool hf_change_reserve(struct hf_engine *engine, const struct change *change, struct hf_err *err) {
	if (needs_memory(change) &&
	    !arena_reserve(&engine->arena,
			   entity_size(change->slot->contract->block_size, change->key.len), err))
		return false;
	if (change->entity == NULL && !hf_object_reserve(engine->entities, change->hash, err))
		return false;
	return !change->has_id || hf_index_reserve(&engine->ids, err);
}

static struct entity *new_entity(struct hf_engine *engine, const struct change *change) {
	uint16_t block_size = change->slot->contract->block_size;
	struct entity *entity =
		arena_take(&engine->arena, entity_size(block_size, change->key.len));
	entity->block_saved = block_size;
	hf_entity_set_saved(entity, engine->saver.mark);
	entity->key_len = (uint8_t)change->key.len;
	entity->skip = change->entity == NULL ? 0 : change->entity->skip;
	memcpy(entity->data + block_size, change->key.data, change->key.len);
	return entity;
}

/* Whoever has found the old place may still read there what was true a moment ago. */
static void leave_place(struct entity *old) {
	hf_atomic_store(&old->position, hf_entity_size(old), HF_RELAXED);
	hf_atomic_store(&old->key_len, (uint8_t)0, HF_RELAXED);
}

static void store_change(const struct hf_engine *engine, struct entity *entity,
			 const struct change *change) {
	struct entity head = { .kind = entity->kind };
	head.slot = (uint16_t)(change->slot - engine->slots);
	head.state = change->state;
	hf_atomic_store(&entity->position, change->position, HF_RELAXED);
	if (change->version % HF_SKIP_VERSIONS == 0)
		hf_atomic_store(&entity->skip, change->position, HF_RELAXED);
	hf_atomic_store(&entity->time_ns, change->time_ns, HF_RELAXED);
	hf_atomic_store(&entity->kind, head.kind, HF_RELEASE);
	hf_atomic_store(&entity->version, change->version, HF_RELAXED);
	hf_entity_store(entity, change->block, change->slot->contract->block_size);
}

/* Gives a new place to an entity that is new, or whose place is too small or too large. */
static struct entity *place_change(struct hf_engine *engine, const struct change *change) {
	struct entity *entity = new_entity(engine, change);
	store_change(engine, entity, change);
	entity->lsn = change->lsn;
	if (change->entity == NULL) {
		hf_object_add(engine->entities, change->hash, entity);
	} else {
		hf_object_replace(engine->entities, change->hash, change->entity, entity);
		leave_place(change->entity);
	}
	return entity;
}

void hf_change_apply(struct hf_engine *engine, const struct change *change) {
	struct entity *entity = change->entity;
	if (entity != NULL) {
		if (engine->saver.saving && !hf_entity_is_saved(entity, engine->saver.mark))
			hf_entity_save(engine, entity);
		hash_entity(engine, entity, (uint64_t)-1);
		engine->slots[entity->slot].counts[entity->state]--;
	}
	if (needs_memory(change)) {
		entity = place_change(engine, change);
	} else {
		hf_entity_begin_change(entity);
		store_change(engine, entity, change);
		hf_entity_end_change(entity, change->lsn);
	}
	hash_entity(engine, entity, 1);
	change->slot->counts[entity->state]++;
	if (change->has_id)
		hf_index_add(&engine->ids, change->id_hash, change->position);
	engine->logged_ns = change->time_ns;
	engine->events++;
}

bool hf_entity_restore(struct hf_engine *engine, const struct entity *image, struct entity **ret,
		       struct hf_err *err) {
	size_t size = hf_entity_size(image);
	if (!arena_reserve(&engine->arena, size, err))
		return false;
	struct entity *entity = arena_take(&engine->arena, size);
	memcpy(entity, image, size);
	hash_entity(engine, entity, 1);
	engine->slots[entity->slot].counts[entity->state]++;
	*ret = entity;
	return true;
}
