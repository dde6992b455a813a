#include "map/map_private.h"

/* Where a key belongs. Keys that look like marks live in a shard of their own, in disguise. */
struct place {
	uint64_t shard; /* number */
	uint64_t hash;
	uint64_t key; /* what stands for it in a slot */
};

static inline struct place place_of(const struct hf_map *map, uint64_t key) {
	bool like_mark = HF_UNLIKELY(key < HF_MARKS);
	uint64_t disguised = like_mark ? key + HF_MARKS : key;
	uint64_t hash = hf_hash_u64(map, disguised);
	uint64_t shard = like_mark ? map->shard_mask + 1 : hf_shard_number(map, hash);
	return (struct place){ shard, hash, disguised };
}

static inline hf_table table_of(const struct hf_map *map, uint64_t shard) {
	return hf_atomic_load(&map->tables[shard], HF_ACQUIRE);
}

uint64_t *hf_table_find(hf_table table, uint64_t hash, uint64_t key) {
	uint64_t *line = hf_table_line(table, hf_table_home(table, hash));
	for (;;) {
		bool ends = false, moved = false;
		for (uint32_t i = 0; i < HF_LINE_WORDS; i += 2) {
			uint64_t mark = hf_atomic_load(&line[i], HF_ACQUIRE);
			if (mark == key)
				return &line[i];
			ends |= mark == HF_MARK_EMPTY;
			moved |= mark == HF_MARK_MOVED;
		}
		line = hf_table_on(&table, line, hash, moved, ends);
		if (line == NULL)
			return NULL;
	}
}

/* The home line, where a key nearly always is. */
static inline uint64_t *home_of(hf_table table, uint64_t hash) {
	return hf_table_line(table, hf_table_home(table, hash));
}

static inline bool is_watched(const struct hf_map_thread *thread, uint32_t right) {
	return HF_UNLIKELY((hf_atomic_load(&thread->watch, HF_RELAXED) & right) != 0);
}

#define GUARD(thread, right, operation, keys, count) \
	do { \
		if (is_watched((thread), (right))) { \
			struct hf_bytes which = { (keys), (count) * sizeof(uint64_t) }; \
			enum hf_status said = \
				hf_guard((thread), (right), HF_MAP_U64, (operation), which); \
			if (said != HF_OK) \
				return said; \
		} \
	} while (0)

/* ---- reading */

/*
 * A get of any key, but for the pin, which it ends. What hf_map_get knew already is found anew, for
 * which any table will do that is published while the thread is pinned: to keep it at hand would
 * cost the usual get registers.
 */
static __attribute__((noinline)) enum hf_status get_far(struct hf_map_thread *thread, uint64_t key,
							uint64_t *ret, uint64_t outer) {
	struct place place = place_of(thread->map, key);
	hf_table table = table_of(thread->map, place.shard);
	const uint64_t *slot = hf_table_find(table, place.hash, place.key);
	if (slot != NULL)
		*ret = hf_atomic_load(&slot[1], HF_ACQUIRE);
	hf_unpin(&thread->pin, outer);
	return slot != NULL ? HF_OK : HF_NOTFOUND;
}

static __attribute__((noinline)) enum hf_status get_watched(struct hf_map_thread *thread,
							    uint64_t key, uint64_t *ret) {
	GUARD(thread, HF_MAP_READ, "get", &key, 1);
	uint64_t outer = hf_pin(&thread->map->epochs, &thread->pin);
	return get_far(thread, key, ret, outer);
}

/* The hot path has no call but the last, so that it need not save registers. */
enum hf_status hf_map_get(struct hf_map_thread *thread, uint64_t key, uint64_t *ret) {
	if (is_watched(thread, HF_MAP_READ) || HF_UNLIKELY(key < HF_MARKS))
		return get_watched(thread, key, ret);
	const struct hf_map *map = thread->map;
	uint64_t hash = hf_hash_u64(map, key);
	uint64_t outer = hf_pin_fast(&map->epochs, &thread->pin);
	hf_table table = table_of(map, hf_shard_number(map, hash));
	const uint64_t *slot = hf_line_find(home_of(table, hash), key);
	if (HF_UNLIKELY(slot == NULL))
		return get_far(thread, key, ret, outer);
	/*
	 * Removed meanwhile, or moved: then the value is what it was at that moment, for the slot
	 * is not used again before this thread is out. So nothing needs to be looked at again.
	 */
	*ret = hf_atomic_load(&slot[1], HF_ACQUIRE);
	hf_unpin(&thread->pin, outer);
	return HF_OK;
}

#define BATCH 16u

static inline bool load(hf_table table, const struct place *place, uint64_t *ret) {
	const uint64_t *slot = hf_line_find(home_of(table, place->hash), place->key);
	if (HF_UNLIKELY(slot == NULL))
		slot = hf_table_find(table, place->hash, place->key);
	if (slot != NULL)
		*ret = hf_atomic_load(&slot[1], HF_ACQUIRE);
	return slot != NULL;
}

enum hf_status hf_map_get_many(struct hf_map_thread *thread, size_t count, const uint64_t *keys,
			       uint64_t *ret, bool *ret_found) {
	GUARD(thread, HF_MAP_READ, "get_many", keys, count);
	struct hf_map *map = thread->map;
	for (size_t begin = 0; begin < count; begin += BATCH) {
		size_t n = count - begin < BATCH ? count - begin : BATCH;
		struct place places[BATCH];
		hf_table tables[BATCH];
		/* Anew: however many keys there are, nobody's memory is held back for long. */
		uint64_t outer = hf_pin(&map->epochs, &thread->pin);
		for (size_t i = 0; i < n; i++) {
			places[i] = place_of(map, keys[begin + i]);
			tables[i] = table_of(map, places[i].shard);
			__builtin_prefetch(home_of(tables[i], places[i].hash));
		}
		for (size_t i = 0; i < n; i++)
			ret_found[begin + i] = load(tables[i], &places[i], &ret[begin + i]);
		hf_unpin(&thread->pin, outer);
	}
	return HF_OK;
}

/* ---- writing */

/*
 * Overwriting needs no lock. The slot that a pinned thread found stays the key's: a removed one is
 * not used again, and a table is not moved, before all have left who came before that was
 * announced (`frozen`). A value that is stored into a slot that was removed meanwhile came just
 * before the removal. NULL: to be done with the lock.
 */
static inline uint64_t *find_unfrozen(const struct hf_map *map, const struct place *place) {
	hf_table table = table_of(map, place->shard);
	if (HF_UNLIKELY((table & HF_TABLE_FROZEN) != 0))
		return NULL;
	return hf_table_find(table, place->hash, place->key);
}

/* With the lock. */
static uint64_t *find_locked(const struct hf_map *map, const struct place *place) {
	hf_table table = hf_shard_table(&map->shards[place->shard], place->hash);
	return hf_table_find(table, place->hash, place->key);
}

/* With the lock, before the entry changes; while a cursor is open, all changes have the lock. */
static void note(struct hf_map *map, const struct place *place, const uint64_t *slot) {
	struct hf_entry entry = { .shard = place->shard,
				  .hash = place->hash,
				  .key = &place->key,
				  .key_len = sizeof(place->key) };
	if (HF_LIKELY(hf_atomic_load(&map->cursors, HF_RELAXED) == NULL))
		return;
	if (slot != NULL)
		entry = hf_entry_of(map, place->shard, place->hash, slot);
	hf_cursors_note(map, &entry, slot != NULL);
}

static bool add(struct hf_map_thread *thread, const struct place *place, uint64_t value) {
	struct hf_map_shard *shard = &thread->map->shards[place->shard];
	uint64_t *slot = hf_shard_room(thread->map, shard, &thread->pin, place->hash, &thread->err);
	if (slot == NULL)
		return false;
	note(thread->map, place, NULL);
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
	struct hf_map_shard *shard = &map->shards[place->shard];
	hf_shard_lock(map, shard);
	hf_shard_tend(map, shard);
	uint64_t *slot = find_locked(map, place);
	if (slot != NULL) {
		if (HF_UNLIKELY(hf_atomic_load(&map->cursors, HF_RELAXED) != NULL) &&
		    change->judge(change, true, slot[1]) == PUT)
			note(map, place, slot);
		*ret = overwrite(change, slot);
	} else {
		*ret = change->judge(change, false, 0);
		if (*ret == PUT && !add(thread, place, change->value))
			status = thread->err.status;
	}
	hf_shard_unlock(map, shard);
	return status;
}

static inline enum hf_status change(struct hf_map_thread *thread, uint64_t key,
				    struct change *change, enum verdict *ret) {
	struct hf_map *map = thread->map;
	struct place place = place_of(map, key);
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	uint64_t *slot = find_unfrozen(map, &place);
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

/* The rest of a put that did not find its key in its home line, unfrozen. */
static __attribute__((noinline)) enum hf_status put_far(struct hf_map_thread *thread, uint64_t key,
							uint64_t value) {
	GUARD(thread, HF_MAP_WRITE, "put", &key, 1);
	struct change put = { .judge = judge_put, .value = value, .blind = true };
	enum verdict verdict;
	return change(thread, key, &put, &verdict);
}

/* As hf_map_get, and for the reason that find_unfrozen has, no more than a store. */
enum hf_status hf_map_put(struct hf_map_thread *thread, uint64_t key, uint64_t value) {
	if (is_watched(thread, HF_MAP_WRITE) || HF_UNLIKELY(key < HF_MARKS))
		return put_far(thread, key, value);
	const struct hf_map *map = thread->map;
	uint64_t hash = hf_hash_u64(map, key);
	uint64_t outer = hf_pin_fast(&map->epochs, &thread->pin);
	hf_table table = table_of(map, hf_shard_number(map, hash));
	uint64_t *slot = hf_line_find(home_of(table, hash), key);
	if (HF_UNLIKELY(slot == NULL || (table & HF_TABLE_FROZEN) != 0)) {
		hf_unpin(&thread->pin, outer);
		return put_far(thread, key, value);
	}
	hf_atomic_store(&slot[1], value, HF_RELEASE);
	hf_unpin(&thread->pin, outer);
	return HF_OK;
}

static enum verdict judge_get_or_put(struct change *change, bool found, uint64_t old) {
	return found ? LEAVE : PUT;
}

enum hf_status hf_map_get_or_put(struct hf_map_thread *thread, uint64_t key, uint64_t value,
				 uint64_t *ret, bool *ret_put) {
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "get_or_put", &key, 1);
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
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "compare_put", &key, 1);
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
	GUARD(thread, HF_MAP_READ | HF_MAP_WRITE, "update", &key, 1);
	struct change put = { .judge = judge_update, .function = function, .arg = arg };
	enum verdict verdict;
	enum hf_status status = change(thread, key, &put, &verdict);
	if (status == HF_OK)
		*ret = put.value;
	return status;
}

enum hf_status hf_map_delete(struct hf_map_thread *thread, uint64_t key) {
	GUARD(thread, HF_MAP_DELETE, "delete", &key, 1);
	struct hf_map *map = thread->map;
	struct place place = place_of(map, key);
	struct hf_map_shard *shard = &map->shards[place.shard];
	hf_shard_lock(map, shard);
	hf_shard_tend(map, shard);
	uint64_t *slot = find_locked(map, &place);
	if (slot != NULL) {
		note(map, &place, slot);
		hf_shard_remove(map, shard, slot, place.hash);
	}
	hf_shard_unlock(map, shard);
	return slot != NULL ? HF_OK : HF_NOTFOUND;
}
