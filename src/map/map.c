#include "map/map_private.h"

#include <string.h>

#include "base/span.h"
#include "map/helper.h"
#include "os/memory.h"
#include "os/random.h"

static const struct hf_allocator pages = { hf_pages_new, hf_pages_free, hf_pages_drop };
static const struct hf_allocator small_pages = { hf_small_pages_new, hf_pages_free, hf_pages_drop };

static bool check_name(const char *name, const char *whose, struct hf_err *err) {
	size_t len = name == NULL ? 0 : strnlen(name, HF_MAP_NAME_MAX + 1);
	return (len != 0 && len <= HF_MAP_NAME_MAX) ||
	       hf_fail(err, HF_USAGE, "the name of %s has 1 to %u bytes", whose, HF_MAP_NAME_MAX);
}

static bool check_options(const struct hf_map_options *options, struct hf_err *err) {
	uint32_t shards = options->shards;
	if (!check_name(options->name, "a map", err))
		return false;
	if (shards > HF_MAP_SHARDS_MAX || (shards & (shards - 1)) != 0)
		return hf_fail(err, HF_USAGE, "%u shards: want a power of two, at most %u", shards,
			       HF_MAP_SHARDS_MAX);
	if (options->kind != HF_MAP_U64 && options->kind != HF_MAP_RECORDS)
		return hf_fail(err, HF_USAGE, "a map is HF_MAP_U64 or HF_MAP_RECORDS");
	if (options->expected > (uint64_t)1 << 40)
		return hf_fail(err, HF_TOOBIG, "a map of %llu entries: want at most 2^40",
			       (unsigned long long)options->expected);
	return true;
}

static bool choose_hash(struct hf_map *map, uint64_t seed, struct hf_err *err) {
	map->seed = seed;
	map->multiplier = seed;
	if (seed == 0 && (!hf_random_u64(&map->seed, err) || !hf_random_u64(&map->multiplier, err)))
		return false;
	/* Odd, and with bits in both halves whatever the seed. */
	map->multiplier = (map->multiplier ^ 0xd1342543de82ef95u) | 1;
	return true;
}

/* By how much entries of a shard are likely to exceed the average: five standard deviations. */
static uint64_t expected_of_shard(uint64_t expected, uint32_t shards) {
	uint64_t mean = expected / shards, root = 1;
	while (root * root < mean)
		root += root / 8 + 1;
	return expected == 0 ? 0 : shards == 1 ? mean : mean + 5 * root;
}

static bool make_shards(struct hf_map *map, uint64_t expected, struct hf_err *err) {
	uint32_t count = map->shard_mask + 2;
	map->shard_bytes = count * (sizeof(struct hf_map_shard) + sizeof(hf_table));
	map->shard_memory = map->allocator->alloc(map->shard_bytes);
	if (map->shard_memory == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no map of %u shards", count - 1);
	map->shards = map->shard_memory;
	map->tables = (hf_table *)(map->shards + count);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t share =
			i + 1 == count ? 0 : expected_of_shard(expected, map->shard_mask + 1);
		if (!hf_shard_init(map, &map->shards[i], share, err))
			return false;
	}
	return true;
}

static bool make(const struct hf_map_options *options, const struct hf_object_kind *objects,
		 const struct hf_allocator *allocator, struct hf_map **ret, struct hf_err *err) {
	struct hf_map *map = allocator->alloc(sizeof(*map));
	if (map == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no map");
	map->allocator = allocator;
	map->kind = options->kind;
	if (objects != NULL) {
		map->kind = HF_MAP_OBJECTS;
		map->objects = *objects;
	}
	map->owned = options->owned;
	map->patience_ms = options->patience_ms == 0 ? HF_MAP_PATIENCE_MS : options->patience_ms;
	uint32_t shards = options->shards == 0 ? HF_MAP_SHARDS_DEFAULT : options->shards;
	map->shard_mask = shards - 1;
	hf_text_copy(map->name, sizeof(map->name), options->name);
	hf_epochs_init(&map->epochs);
	/* That of objects has one shard, and its tables share nothing. */
	size_t chunk_bytes = options->small_pages ? HF_CHUNK_SMALL : HF_CHUNK_HUGE;
	hf_pieces_init(&map->pieces, allocator, objects != NULL ? HF_LINE : chunk_bytes);
	map->depot = (struct hf_depot){ .pieces = &map->pieces, .epochs = &map->epochs };
	if (options->helper && !hf_helper_start(&map->pieces, &map->pieces.helper, err)) {
		hf_map_free(map);
		return false;
	}
	if (!choose_hash(map, options->seed, err) || !make_shards(map, options->expected, err)) {
		hf_map_free(map);
		return false;
	}
	*ret = map;
	return true;
}

bool hf_map_make(const struct hf_map_options *options, const struct hf_allocator *allocator,
		 struct hf_map **ret, struct hf_err *err) {
	return check_options(options, err) && make(options, NULL, allocator, ret, err);
}

bool hf_objects_make(const struct hf_object_kind *kind, uint64_t expected,
		     const struct hf_allocator *allocator, struct hf_map **ret,
		     struct hf_err *err) {
	/* The seed is of no use: objects have their own hash. */
	struct hf_map_options options = {
		.name = kind->name, .shards = 1, .owned = true, .expected = expected, .seed = 1
	};
	return make(&options, kind, allocator, ret, err);
}

enum hf_status hf_map_new(const struct hf_map_options *options, struct hf_map **ret, char *err,
			  size_t err_cap) {
	struct hf_err why;
	const struct hf_allocator *allocator = options->small_pages ? &small_pages : &pages;
	return hf_map_make(options, allocator, ret, &why) ? HF_OK : hf_err_tell(&why, err, err_cap);
}

void hf_map_free(struct hf_map *map) {
	if (map == NULL)
		return;
	HF_ASSERT(map->threads == NULL && map->cursors == NULL);
	hf_helper_stop(map->pieces.helper);
	map->pieces.helper = NULL;
	if (map->kind == HF_MAP_OBJECTS)
		hf_objects_free(map);
	for (uint32_t i = 0; map->shards != NULL && i < map->shard_mask + 2; i++)
		hf_shard_fini(map, &map->shards[i]);
	hf_blocks_fini(map->blocks, &map->depot);
	while (map->blocks != NULL) {
		struct hf_blocks *blocks = map->blocks;
		map->blocks = blocks->next;
		map->allocator->free(blocks, sizeof(*blocks));
	}
	map->allocator->free(map->shard_memory, map->shard_bytes);
	hf_pieces_fini(&map->pieces);
	map->allocator->free(map, sizeof(*map));
}

/* What a thread that has left was writing with, or something new. With epochs.lock. */
static struct hf_blocks *blocks_take(struct hf_map *map) {
	struct hf_blocks *blocks = map->blocks;
	while (blocks != NULL && blocks->taken)
		blocks = blocks->next;
	if (blocks == NULL) {
		blocks = map->allocator->alloc(sizeof(*blocks));
		if (blocks == NULL || !hf_blocks_widen(blocks)) {
			map->allocator->free(blocks, sizeof(*blocks));
			return NULL;
		}
		blocks->next = map->blocks;
		map->blocks = blocks;
	}
	blocks->taken = true;
	return blocks;
}

static struct hf_map_thread *thread_new(struct hf_map *map, const char *name, uint32_t rights) {
	struct hf_map_thread *thread = map->allocator->alloc(sizeof(*thread));
	if (thread == NULL)
		return NULL;
	thread->map = map;
	thread->rights = rights;
	hf_text_copy(thread->name, sizeof(thread->name), name);
	thread->pin.name = thread->name;
	if (map->kind != HF_MAP_RECORDS)
		return thread;
	hf_lock(&map->epochs.lock);
	thread->blocks = blocks_take(map);
	hf_unlock(&map->epochs.lock);
	if (thread->blocks == NULL) {
		map->allocator->free(thread, sizeof(*thread));
		return NULL;
	}
	return thread;
}

enum hf_status hf_map_join(struct hf_map *map, const char *name, uint32_t rights,
			   struct hf_map_thread **ret, char *err, size_t err_cap) {
	struct hf_err why;
	if (!check_name(name, "a map's thread", &why))
		return hf_err_tell(&why, err, err_cap);
	if (hf_atomic_fetch_add(&map->thread_count, 1u, HF_RELAXED) >= HF_MAP_THREADS_MAX) {
		hf_atomic_fetch_sub(&map->thread_count, 1u, HF_RELAXED);
		hf_fail(&why, HF_TOOBIG, "map '%s' has %u threads already", map->name,
			HF_MAP_THREADS_MAX);
		return hf_err_tell(&why, err, err_cap);
	}
	struct hf_map_thread *thread = thread_new(map, name, rights);
	if (thread == NULL) {
		hf_atomic_fetch_sub(&map->thread_count, 1u, HF_RELAXED);
		hf_fail(&why, HF_NOMEM, "out of memory: thread '%s' cannot join map '%s'", name,
			map->name);
		return hf_err_tell(&why, err, err_cap);
	}
	hf_epochs_add(&map->epochs, &thread->pin);
	hf_lock(&map->epochs.lock);
	thread->watch = hf_guard_watch(thread);
	thread->next = map->threads;
	map->threads = thread;
	hf_unlock(&map->epochs.lock);
	*ret = thread;
	return HF_OK;
}

void hf_map_leave(struct hf_map_thread *thread) {
	if (thread == NULL)
		return;
	struct hf_map *map = thread->map;
	HF_ASSERT(hf_atomic_load(&thread->pin.epoch, HF_RELAXED) == 0);
	hf_epochs_remove(&map->epochs, &thread->pin);
	hf_lock(&map->epochs.lock);
	struct hf_map_thread **at = &map->threads;
	while (*at != thread)
		at = &(*at)->next;
	*at = thread->next;
	map->denied += thread->denied;
	if (thread->blocks != NULL)
		thread->blocks->taken = false;
	hf_unlock(&map->epochs.lock);
	hf_atomic_fetch_sub(&map->thread_count, 1u, HF_RELAXED);
	map->allocator->free(thread, sizeof(*thread));
}

const char *hf_map_error(const struct hf_map_thread *thread) {
	return thread->err.text;
}

void hf_map_enter(struct hf_map_thread *thread) {
	if (thread->depth++ == 0)
		(void)hf_pin(&thread->map->epochs, &thread->pin);
}

void hf_map_exit(struct hf_map_thread *thread) {
	HF_ASSERT(thread->depth > 0);
	if (--thread->depth == 0)
		hf_unpin(&thread->pin, 0);
}

bool hf_map_settle(struct hf_map_thread *thread) {
	struct hf_map *map = thread->map;
	bool settled = thread->blocks == NULL || hf_blocks_drain(thread->blocks, &map->depot);
	for (uint32_t i = 0; i < map->shard_mask + 2; i++) {
		struct hf_map_shard *shard = &map->shards[i];
		hf_shard_lock(map, shard);
		hf_shard_tend(map, shard);
		settled &= hf_shard_is_still(map, shard);
		hf_shard_unlock(map, shard);
	}
	return settled && !hf_pieces_are_due(&map->pieces);
}

void hf_map_stats(struct hf_map *map, struct hf_map_stats *ret) {
	*ret = (struct hf_map_stats){
		.bytes = hf_pieces_bytes(&map->pieces) + map->shard_bytes + sizeof(*map) +
			 hf_atomic_load(&map->cursor_bytes, HF_RELAXED),
		.waits = hf_atomic_load(&map->waits, HF_RELAXED),
	};
	for (uint32_t i = 0; i < map->shard_mask + 2; i++) {
		struct hf_map_shard *shard = &map->shards[i];
		hf_lock(&shard->lock);
		ret->entries += shard->live;
		ret->resizes += shard->resizes;
		ret->moving += shard->phase != HF_PHASE_STILL;
		ret->waiting += shard->limbo_count;
		ret->bytes += shard->limbo == NULL ? 0 : HF_MAP_LIMBO * sizeof(*shard->limbo);
		hf_unlock(&shard->lock);
	}
	hf_lock(&map->epochs.lock);
	ret->denied = map->denied;
	for (const struct hf_blocks *at = map->blocks; at != NULL; at = at->next) {
		ret->waiting += hf_atomic_load(&at->limbo_count, HF_RELAXED);
		ret->bytes += sizeof(*at) + (hf_atomic_load(&at->limbo_mask, HF_RELAXED) + 1) *
						    sizeof(*at->limbo);
	}
	for (const struct hf_map_thread *at = map->threads; at != NULL; at = at->next)
		ret->denied += hf_atomic_load(&at->denied, HF_RELAXED);
	hf_unlock(&map->epochs.lock);
}
