#include "map/objects.h"

#include "base/memory.h"
#include "map/tags.h"

/* Removed in one request at most, beyond what makes a writer wait: keys of one command. */
#define RETIRED_MAX (HF_MAP_LIMBO + HF_ARGS_MAX)

struct hf_retired {
	void *object;
	uint64_t stamp, bytes;
};

/* There is one shard: one thread writes. */
static struct hf_map_shard *shard_of(const struct hf_map *map) {
	return &map->shards[0];
}

static inline uint64_t *slot_of(const struct hf_map *map, uint64_t hash, hf_object_is_fn *is_it,
				const void *wanted, uint64_t *ret_word) {
	hf_table table = hf_atomic_load(&map->tables[0], HF_ACQUIRE);
	return hf_tags_find(table, hash, is_it, wanted, ret_word);
}

void *hf_object_find(const struct hf_map *map, uint64_t hash, hf_object_is_fn *is_it,
		     const void *wanted) {
	uint64_t word;
	return slot_of(map, hash, is_it, wanted, &word) == NULL ? NULL : hf_tag_address(word);
}

static const uint64_t *home_of(const struct hf_map *map, uint64_t hash) {
	hf_table table = hf_shard_table(shard_of(map), hash);
	return hf_table_line(table, hf_table_home(table, hash));
}

void hf_object_prefetch(const struct hf_map *map, uint64_t hash) {
	__builtin_prefetch(home_of(map, hash));
}

void *hf_object_hint(const struct hf_map *map, uint64_t hash) {
	const uint64_t *line = home_of(map, hash);
	uint32_t found = hf_tags_match(line, hf_tag_of(hash));
	if (found == 0)
		return NULL;
	uint64_t word = hf_atomic_load(hf_tags_first(line, found), HF_RELAXED);
	return word >> HF_TAG_SHIFT == hf_tag_of(hash) ? hf_tag_address(word) : NULL;
}

bool hf_object_reserve(struct hf_map *map, uint64_t hash, struct hf_err *err) {
	struct hf_map_shard *shard = shard_of(map);
	struct hf_pin nobody = { 0 };
	hf_shard_tend(map, shard);
	shard->reserved = hf_shard_room(map, shard, &nobody, hash, err);
	return shard->reserved != NULL;
}

void hf_object_add(struct hf_map *map, uint64_t hash, void *object) {
	struct hf_map_shard *shard = shard_of(map);
	uint64_t *slot = shard->reserved;
	HF_ASSERT(slot != NULL && object != NULL && (uintptr_t)object <= HF_ADDRESS_MASK);
	shard->reserved = NULL;
	uint64_t was = hf_atomic_load(slot, HF_RELAXED);
	hf_atomic_store(slot, hf_tag_word(hash, object), HF_RELEASE);
	hf_shard_added(shard, hash, was);
}

static bool is_same(const void *wanted, const void *object) {
	return wanted == object;
}

static uint64_t *slot_with(struct hf_map *map, uint64_t hash, const void *object) {
	uint64_t word, *slot = slot_of(map, hash, is_same, object, &word);
	HF_ASSERT(slot != NULL);
	return slot;
}

void hf_object_replace(struct hf_map *map, uint64_t hash, const void *old, void *object) {
	HF_ASSERT(object != NULL && (uintptr_t)object <= HF_ADDRESS_MASK);
	hf_atomic_store(slot_with(map, hash, old), hf_tag_word(hash, object), HF_RELEASE);
}

/* Frees what is out of sight, without finding out more than is known if `known`. */
static void drain(struct hf_map *map, bool known) {
	struct hf_object_limbo *limbo = &map->limbo;
	while (limbo->count != 0) {
		const struct hf_retired *oldest = &limbo->ring[limbo->first];
		if (known ? !hf_epochs_known(&map->epochs, oldest->stamp)
			  : !hf_epochs_passed(&map->epochs, oldest->stamp))
			return;
		limbo->bytes -= oldest->bytes;
		map->objects.free(map->objects.arg, oldest->object);
		limbo->first = (limbo->first + 1) % RETIRED_MAX;
		limbo->count--;
	}
}

static bool make_limbo(struct hf_map *map, struct hf_err *err) {
	map->limbo.ring = hf_memory_new(RETIRED_MAX * sizeof(*map->limbo.ring));
	return map->limbo.ring != NULL ||
	       hf_fail(err, HF_NOMEM, "out of memory: map '%s' can remove nothing", map->name);
}

bool hf_object_reserve_retire(struct hf_map *map, struct hf_err *err) {
	struct hf_object_limbo *limbo = &map->limbo;
	struct hf_pin nobody = { 0 };
	if (limbo->ring == NULL && !make_limbo(map, err))
		return false;
	hf_shard_tend(map, shard_of(map));
	drain(map, limbo->count < HF_MAP_LIMBO_EAGER && limbo->bytes < HF_MAP_RETIRED_BYTES / 8);
	while (limbo->count >= HF_MAP_LIMBO || limbo->bytes >= HF_MAP_RETIRED_BYTES) {
		if (!hf_map_wait_passed(map, &nobody, limbo->ring[limbo->first].stamp,
					"free what was removed", err))
			return false;
		drain(map, false);
	}
	return true;
}

void hf_object_retire(struct hf_map *map, void *object, size_t bytes) {
	struct hf_object_limbo *limbo = &map->limbo;
	/* More than this in one request is replay's alone, where nobody looks on. */
	if (limbo->count == RETIRED_MAX)
		drain(map, false);
	HF_ASSERT(limbo->ring != NULL && limbo->count < RETIRED_MAX);
	uint32_t at = (limbo->first + limbo->count++) % RETIRED_MAX;
	uint64_t stamp = hf_epochs_stamp(&map->epochs);
	limbo->ring[at] = (struct hf_retired){ object, stamp, bytes };
	limbo->bytes += bytes;
}

void hf_object_remove(struct hf_map *map, uint64_t hash, void *object, size_t bytes) {
	hf_shard_remove(map, shard_of(map), slot_with(map, hash, object), hash);
	hf_object_retire(map, object, bytes);
}

struct visit {
	hf_object_visit_fn *fn;
	void *arg;
};

static bool show(void *arg, uint64_t hash, const uint64_t *slot) {
	const struct visit *visit = arg;
	visit->fn(visit->arg, hf_tag_address(hf_atomic_load(slot, HF_RELAXED)));
	return true;
}

uint64_t hf_objects_walk(struct hf_map *map, uint64_t from, hf_object_visit_fn *visit, void *arg) {
	struct visit each = { visit, arg };
	uint64_t last = hf_shard_line_last(shard_of(map), from);
	(void)hf_shard_each(map, shard_of(map), from, last, show, &each);
	HF_ASSERT((last + 1) % HF_OBJECTS_WALK_STEP == 0);
	return last + 1;
}

/* Slot by slot: a walk would ask for the hash of objects that are gone. */
static void free_all(struct hf_map *map, hf_table table) {
	if (table == 0 || map->objects.free == NULL)
		return;
	for (uint64_t i = 0; i < hf_table_count(table) * HF_LINE_WORDS; i++) {
		uint64_t word = hf_table_lines(table)[i];
		if (word >= HF_MARKS)
			map->objects.free(map->objects.arg, hf_tag_address(word));
	}
}

void hf_objects_free(struct hf_map *map) {
	drain(map, false);
	HF_ASSERT(map->limbo.count == 0); /* all threads have left */
	hf_memory_free(map->limbo.ring);
	if (map->shards == NULL)
		return;
	free_all(map, shard_of(map)->table);
	free_all(map, hf_shard_moving_to(shard_of(map)));
}

uint64_t hf_objects_count(const struct hf_map *map) {
	return shard_of(map)->live;
}

uint64_t hf_objects_bytes(struct hf_map *map) {
	return hf_pieces_bytes(&map->pieces);
}
