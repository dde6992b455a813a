#include "map/map_private.h"

/* The line hash and the shard of a key, and what stands for it in a slot. */
struct place {
	struct hf_map_shard *shard;
	uint64_t hash;
	uint64_t key;
};

/* Keys that look like marks live in a shard of their own, under another name. */
static __attribute__((noinline)) struct place place_of_mark(const struct hf_map *map,
							    uint64_t key) {
	uint64_t alias = key + HF_MARKS;
	return (struct place){
		.shard = &map->shards[(uint64_t)1 << map->shard_bits],
		.hash = hf_line_hash(map, hf_hash_u64(map, alias)),
		.key = alias,
	};
}

static inline struct place place_of(const struct hf_map *map, uint64_t key) {
	if (HF_UNLIKELY(key < HF_MARKS))
		return place_of_mark(map, key);
	uint64_t hash = hf_hash_u64(map, key);
	return (struct place){ hf_shard_of(map, hash), hf_line_hash(map, hash), key };
}

static inline uint64_t *find(const struct place *place) {
	hf_table table = hf_atomic_load(&place->shard->table, HF_ACQUIRE);
	return hf_table_find(table, place->hash, place->key);
}

#define GUARD(thread, right, operation) \
	do { \
		if (HF_UNLIKELY(hf_atomic_load(&(thread)->watch, HF_RELAXED) & (right))) { \
			enum hf_status said = \
				hf_guard((thread), (right), HF_MAP_U64, (operation)); \
			if (said != HF_OK) \
				return said; \
		} \
	} while (0)

/* ---- reading */

enum hf_status hf_map_get(struct hf_map_thread *thread, uint64_t key, uint64_t *ret) {
	GUARD(thread, HF_MAP_READ, "get");
	struct hf_map *map = thread->map;
	struct place place = place_of(map, key);
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	const uint64_t *slot = find(&place);
	/*
	 * Removed meanwhile, or moved: then the value is what it was at that moment, for the slot
	 * is not used again before this thread is out. So nothing needs to be looked at again.
	 */
	if (HF_LIKELY(slot != NULL))
		*ret = hf_atomic_load(&slot[1], HF_ACQUIRE);
	hf_unpin(&thread->pin, outer);
	return slot != NULL ? HF_OK : HF_NOTFOUND;
}

#define BATCH 16u

enum hf_status hf_map_get_many(struct hf_map_thread *thread, size_t count, const uint64_t *keys,
			       uint64_t *ret, bool *ret_found) {
	GUARD(thread, HF_MAP_READ, "get_many");
	struct hf_map *map = thread->map;
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	for (size_t begin = 0; begin < count; begin += BATCH) {
		size_t n = count - begin < BATCH ? count - begin : BATCH;
		struct place places[BATCH];
		hf_table tables[BATCH];
		for (size_t i = 0; i < n; i++) {
			places[i] = place_of(map, keys[begin + i]);
			tables[i] = hf_atomic_load(&places[i].shard->table, HF_ACQUIRE);
			__builtin_prefetch(
				hf_table_line(tables[i], hf_table_home(tables[i], places[i].hash)));
		}
		for (size_t i = 0; i < n; i++) {
			const uint64_t *slot =
				hf_table_find(tables[i], places[i].hash, places[i].key);
			ret_found[begin + i] = slot != NULL;
			if (HF_LIKELY(slot != NULL))
				ret[begin + i] = hf_atomic_load(&slot[1], HF_ACQUIRE);
		}
	}
	hf_unpin(&thread->pin, outer);
	return HF_OK;
}

/* ---- writing */

/*
 * Overwriting needs no lock. The slot that a pinned thread found stays the key's: a removed one is
 * not used again, and a table is not moved, before all have left who came before that was
 * announced (`frozen`). A value that is stored into a slot that was removed meanwhile came just
 * before the removal. NULL: to be done with the lock.
 */
static inline uint64_t *find_unfrozen(const struct place *place) {
	if (HF_UNLIKELY(hf_atomic_load(&place->shard->frozen, HF_ACQUIRE) != 0))
		return NULL;
	return find(place);
}

/* With the lock. */
static uint64_t *find_locked(const struct place *place) {
	return hf_table_find(hf_shard_table(place->shard, place->hash), place->hash, place->key);
}

static bool add(struct hf_map_thread *thread, const struct place *place, uint64_t value) {
	struct hf_map_shard *shard = place->shard;
	uint64_t *slot = hf_shard_room(thread->map, shard, &thread->pin, place->hash, &thread->err);
	if (slot == NULL)
		return false;
	uint64_t mark = hf_atomic_load(slot, HF_RELAXED);
	hf_atomic_store(&slot[1], value, HF_RELEASE);
	hf_atomic_store(slot, place->key, HF_RELEASE);
	hf_shard_added(shard, place->hash, mark);
	return true;
}

/* Everything that changes a value, in one: what to put, given what is there. */
enum verdict { PUT, LEAVE, MISSED };
struct change {
	enum verdict (*judge)(struct change *change, bool found, uint64_t old);
	uint64_t value; /* what to put */
	uint64_t old;	/* what was there */
	uint64_t expected;
	hf_map_change_fn *function;
	void *arg;
	bool blind; /* puts whatever was there */
};

/* In a slot that stays the key's. Others may be overwriting. */
static inline enum verdict overwrite(struct change *change, uint64_t *slot) {
	uint64_t old = hf_atomic_load(&slot[1], HF_ACQUIRE);
	enum verdict verdict;
	do {
		change->old = old;
		verdict = change->judge(change, true, old);
	} while (verdict == PUT &&
		 !hf_atomic_cas(&slot[1], &old, change->value, HF_ACQ_REL, HF_ACQUIRE));
	return verdict;
}

static __attribute__((noinline)) enum hf_status change_locked(struct hf_map_thread *thread,
							      const struct place *place,
							      struct change *change,
							      enum verdict *ret) {
	struct hf_map *map = thread->map;
	enum hf_status status = HF_OK;
	hf_shard_lock(map, place->shard);
	hf_shard_tend(map, place->shard);
	uint64_t *slot = find_locked(place);
	if (slot != NULL) {
		*ret = overwrite(change, slot);
	} else {
		*ret = change->judge(change, false, 0);
		if (*ret == PUT && !add(thread, place, change->value))
			status = thread->err.status;
	}
	hf_shard_unlock(map, place->shard);
	return status;
}

static inline enum hf_status change(struct hf_map_thread *thread, uint64_t key,
				    struct change *change, enum verdict *ret) {
	struct hf_map *map = thread->map;
	struct place place = place_of(map, key);
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	uint64_t *slot = find_unfrozen(&place);
	if (HF_LIKELY(slot != NULL)) {
		if (change->blind) {
			hf_atomic_store(&slot[1], change->value, HF_RELEASE);
			*ret = PUT;
		} else {
			*ret = overwrite(change, slot);
		}
	}
	hf_unpin(&thread->pin, outer);
	return HF_LIKELY(slot != NULL) ? HF_OK : change_locked(thread, &place, change, ret);
}

static enum verdict judge_put(struct change *change, bool found, uint64_t old) {
	return PUT;
}

enum hf_status hf_map_put(struct hf_map_thread *thread, uint64_t key, uint64_t value) {
	GUARD(thread, HF_MAP_WRITE, "put");
	struct change put = { .judge = judge_put, .value = value, .blind = true };
	enum verdict verdict;
	return change(thread, key, &put, &verdict);
}

static enum verdict judge_get_or_put(struct change *change, bool found, uint64_t old) {
	return found ? LEAVE : PUT;
}

enum hf_status hf_map_get_or_put(struct hf_map_thread *thread, uint64_t key, uint64_t value,
				 uint64_t *ret, bool *ret_put) {
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "get_or_put");
	struct change put = { .judge = judge_get_or_put, .value = value };
	enum verdict verdict;
	enum hf_status status = change(thread, key, &put, &verdict);
	if (status == HF_OK) {
		*ret_put = verdict == PUT;
		*ret = *ret_put ? value : put.old;
	}
	return status;
}

static enum verdict judge_compare(struct change *change, bool found, uint64_t old) {
	return !found ? MISSED : old == change->expected ? PUT : LEAVE;
}

enum hf_status hf_map_compare_put(struct hf_map_thread *thread, uint64_t key, uint64_t *expected,
				  uint64_t value) {
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "compare_put");
	struct change put = { .judge = judge_compare, .value = value, .expected = *expected };
	enum verdict verdict;
	enum hf_status status = change(thread, key, &put, &verdict);
	if (status != HF_OK || verdict == PUT)
		return status;
	if (verdict == MISSED)
		return HF_NOTFOUND;
	*expected = put.old;
	return HF_STALE;
}

static enum verdict judge_update(struct change *change, bool found, uint64_t old) {
	change->value = change->function(change->arg, found, old);
	return PUT;
}

enum hf_status hf_map_update(struct hf_map_thread *thread, uint64_t key, hf_map_change_fn *function,
			     void *arg, uint64_t *ret) {
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "update");
	struct change put = { .judge = judge_update, .function = function, .arg = arg };
	enum verdict verdict;
	enum hf_status status = change(thread, key, &put, &verdict);
	if (status == HF_OK)
		*ret = put.value;
	return status;
}

enum hf_status hf_map_delete(struct hf_map_thread *thread, uint64_t key) {
	GUARD(thread, HF_MAP_DELETE, "delete");
	struct hf_map *map = thread->map;
	struct place place = place_of(map, key);
	hf_shard_lock(map, place.shard);
	hf_shard_tend(map, place.shard);
	uint64_t *slot = find_locked(&place);
	if (slot != NULL)
		hf_shard_remove(map, place.shard, slot);
	hf_shard_unlock(map, place.shard);
	return slot != NULL ? HF_OK : HF_NOTFOUND;
}
