#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "base/span.h"
#include "map/record.h"
#include "map/tags.h"

/* Eight bytes, or less where there are fewer: of short keys every byte at least once. */
static inline uint64_t load8(const uint8_t *bytes) {
	uint64_t word;
	memcpy(&word, bytes, sizeof(word));
	return word;
}

static inline uint64_t load4(const uint8_t *bytes) {
	uint32_t word;
	memcpy(&word, bytes, sizeof(word));
	return word;
}

static inline uint64_t fold(uint64_t a, uint64_t b) {
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Most keys are short: two multiplications, which others can overlap with, instead of a call. */
static inline uint64_t hash_of(const struct hf_map *map, const void *key, size_t len) {
	const uint8_t *bytes = key;
	uint64_t a, b;
	if (len > 16)
		return XXH3_64bits_withSeed(key, len, map->seed);
	if (HF_LIKELY(len >= 8)) {
		a = load8(bytes);
		b = load8(bytes + len - 8);
	} else if (len >= 4) {
		a = load4(bytes);
		b = load4(bytes + len - 4);
	} else {
		a = bytes[0];
		b = (uint64_t)bytes[len / 2] << 8 | bytes[len - 1];
	}
	return fold(fold(a ^ map->seed, b ^ map->multiplier) ^ len, 0x9e3779b97f4a7c15u);
}

uint64_t hf_record_hash(const struct hf_map *map, const void *key, size_t len) {
	return hash_of(map, key, len);
}

static inline bool is_key(const struct hf_record *record, struct hf_bytes key) {
	hf_plain_reads(record, sizeof(*record));
	if (HF_UNLIKELY(hf_record_key_len(record) != key.len))
		return false;
	return hf_bytes_equal(hf_record_key(record), key.data, key.len);
}

struct wanted {
	const struct hf_map *map;
	struct hf_bytes key;
};

static inline bool is_wanted(const void *arg, const void *there) {
	const struct wanted *wanted = arg;
	if (hf_atomic_load(&wanted->map->long_records, HF_RELAXED))
		__builtin_prefetch((const uint8_t *)there + HF_LINE);
	return is_key(there, wanted->key);
}

/* As hf_table_find. *ret_word is what the slot held when the key was found there. */
static inline uint64_t *find(const struct hf_map *map, hf_table table, uint64_t hash,
			     struct hf_bytes key, uint64_t *ret_word) {
	struct wanted wanted = { map, key };
	return hf_tags_find(table, hash, is_wanted, &wanted, ret_word);
}

static bool refuse(struct hf_map_thread *thread, uint32_t right, struct hf_bytes key, size_t len,
		   const char *operation, enum hf_status *ret) {
	*ret = hf_guard(thread, right, HF_MAP_RECORDS, operation, key);
	if (*ret != HF_OK)
		return true;
	if (key.len >= 1 && key.len <= HF_KEY_MAX && len <= HF_MAP_RECORD_MAX)
		return false;
	hf_fail(&thread->err, *ret = HF_TOOBIG,
		"map '%s': a key of %zu bytes, a record of %zu: keys have 1 to %u bytes, records "
		"up to %u",
		thread->map->name, key.len, len, HF_KEY_MAX, HF_MAP_RECORD_MAX);
	return true;
}

/* Nearly always false at once. */
static inline bool is_refused(struct hf_map_thread *thread, uint32_t right, struct hf_bytes key,
			      size_t len, const char *operation, enum hf_status *ret) {
	bool plain =
		(hf_atomic_load(&thread->watch, HF_RELAXED) & right << HF_WATCH_RECORDS) == 0 &&
		key.len - 1 < HF_KEY_MAX && len <= HF_MAP_RECORD_MAX;
	return HF_UNLIKELY(!plain) && refuse(thread, right, key, len, operation, ret);
}

/* ---- reading */

static const struct hf_record *look(const struct hf_map *map, struct hf_bytes key) {
	uint64_t hash = hash_of(map, key.data, key.len), word;
	hf_table table = hf_atomic_load(&map->tables[hf_shard_number(map, hash)], HF_ACQUIRE);
	return find(map, table, hash, key, &word) == NULL ? NULL : hf_record_of(word);
}

static inline struct hf_map_record shown(const struct hf_record *record) {
	hf_plain_reads(record, hf_record_bytes(record));
	return (struct hf_map_record){
		.data = record->bytes,
		.len = hf_record_len(record),
		.version = hf_record_version(record),
	};
}

enum hf_status hf_map_record(struct hf_map_thread *thread, struct hf_bytes key,
			     struct hf_map_record *ret) {
	enum hf_status refused;
	if (is_refused(thread, HF_MAP_READ, key, 0, "record", &refused))
		return refused;
	if (thread->depth == 0) {
		hf_fail(&thread->err, HF_USAGE,
			"map '%s': thread '%s' must be between hf_map_enter and hf_map_exit",
			thread->map->name, thread->name);
		return HF_USAGE;
	}
	const struct hf_record *record = look(thread->map, key);
	if (record == NULL)
		return HF_NOTFOUND;
	*ret = shown(record);
	return HF_OK;
}

static enum hf_status copy_out(struct hf_map_thread *thread, const struct hf_record *record,
			       void *buffer, size_t cap, struct hf_map_record *ret) {
	*ret = shown(record);
	if (ret->len > cap) {
		ret->data = NULL;
		hf_fail(&thread->err, HF_TOOBIG, "a record of %zu bytes for a buffer of %zu",
			ret->len, cap);
		return HF_TOOBIG;
	}
	ret->data = memcpy(buffer, record->bytes, ret->len);
	return HF_OK;
}

enum hf_status hf_map_record_get(struct hf_map_thread *thread, struct hf_bytes key, void *buffer,
				 size_t cap, struct hf_map_record *ret) {
	enum hf_status refused;
	if (is_refused(thread, HF_MAP_READ, key, 0, "record_get", &refused))
		return refused;
	uint64_t outer = hf_pin(&thread->map->epochs, &thread->pin);
	const struct hf_record *record = look(thread->map, key);
	enum hf_status status = HF_NOTFOUND;
	if (HF_LIKELY(record != NULL))
		status = copy_out(thread, record, buffer, cap, ret);
	hf_unpin(&thread->pin, outer);
	return status;
}

/* ---- writing */

/* A change of one record, all of it with the shard's lock. */
struct change {
	struct hf_bytes key;
	size_t len;	  /* of the new record */
	const void *data; /* NULL: `fill` makes it */
	hf_map_fill_fn *fill;
	void *arg;
	uint64_t *version; /* only in the place of this one; NULL: of any */
	bool only_new, only_old, removes;
	uint64_t ret_version; /* that is there now */
	/* For only_new: where to copy what is there */
	void *buffer;
	size_t cap;
	struct hf_map_record *ret;
	bool put;
};

static struct hf_record *record_new(struct hf_map *map, struct hf_map_shard *shard,
				    const struct change *change, const struct hf_record *old) {
	size_t bytes = sizeof(struct hf_record) + change->len + change->key.len;
	struct hf_record *record = hf_block_new(&shard->blocks, &map->pieces, bytes);
	if (record == NULL)
		return NULL;
	if (bytes > HF_LINE && !hf_atomic_load(&map->long_records, HF_RELAXED))
		hf_atomic_store(&map->long_records, true, HF_RELAXED);
	hf_plain_writes(record, bytes);
	shard->version = shard->version < HF_RECORD_VERSION_MAX ? shard->version + 1 : 1;
	record->head = shard->version << 24 | change->len << 8 | change->key.len;
	memcpy(record->bytes + change->len, change->key.data, change->key.len);
	if (change->fill == NULL) {
		memcpy(record->bytes, change->data, change->len);
	} else {
		struct hf_map_record was = { 0 };
		if (old != NULL)
			was = shown(old);
		change->fill(change->arg, old == NULL ? NULL : &was, record->bytes);
	}
	return record;
}

/* Puts the new record into the slot of the old one, or a new slot. */
static bool put(struct hf_map_thread *thread, struct hf_map_shard *shard, uint64_t hash,
		uint64_t *slot, struct hf_record *old, struct change *change) {
	struct hf_map *map = thread->map;
	bool room = old != NULL ? hf_shard_limbo_room(map, shard, &thread->pin, &thread->err)
				: (slot = hf_shard_room(map, shard, &thread->pin, hash,
							&thread->err)) != NULL;
	if (!room)
		return false;
	struct hf_record *record = record_new(map, shard, change, old);
	if (record == NULL)
		return hf_fail(&thread->err, HF_NOMEM,
			       "out of memory: map '%s' cannot keep %zu bytes", map->name,
			       change->len);
	uint64_t was = hf_atomic_load(slot, HF_RELAXED);
	hf_atomic_store(slot, hf_tag_word(hash, record), HF_RELEASE);
	if (old != NULL)
		hf_shard_retire(map, shard, old, hf_record_bytes(old));
	else
		hf_shard_added(shard, hash, was);
	change->ret_version = hf_record_version(record);
	change->put = true;
	return true;
}

static void note(struct hf_map *map, const struct hf_map_shard *shard, uint64_t hash,
		 const uint64_t *slot, struct hf_bytes key) {
	uint64_t number = (uint64_t)(shard - map->shards);
	struct hf_entry entry = {
		.shard = number, .hash = hash, .key = key.data, .key_len = key.len
	};
	if (slot != NULL)
		entry = hf_entry_of(map, number, hash, slot);
	hf_cursors_note(map, &entry, slot != NULL);
}

static enum hf_status change_locked(struct hf_map_thread *thread, struct hf_map_shard *shard,
				    uint64_t hash, struct change *change) {
	struct hf_map *map = thread->map;
	uint64_t word = 0;
	uint64_t *slot = find(map, hf_shard_table(shard, hash), hash, change->key, &word);
	struct hf_record *old = slot == NULL ? NULL : hf_record_of(word);
	if (old == NULL && (change->only_old || change->removes))
		return HF_NOTFOUND;
	if (old != NULL)
		change->ret_version = hf_record_version(old);
	if (old != NULL && change->version != NULL && *change->version != change->ret_version)
		return HF_STALE;
	if (old != NULL && change->only_new)
		return copy_out(thread, old, change->buffer, change->cap, change->ret);
	if (HF_UNLIKELY(hf_atomic_load(&map->cursors, HF_RELAXED) != NULL))
		note(map, shard, hash, slot, change->key);
	if (change->removes) {
		if (!hf_shard_limbo_room(map, shard, &thread->pin, &thread->err))
			return thread->err.status;
		hf_shard_remove(map, shard, slot);
		hf_shard_retire(map, shard, old, hf_record_bytes(old));
		return HF_OK;
	}
	return put(thread, shard, hash, slot, old, change) ? HF_OK : thread->err.status;
}

static enum hf_status change(struct hf_map_thread *thread, struct change *change) {
	struct hf_map *map = thread->map;
	uint64_t hash = hash_of(map, change->key.data, change->key.len), word;
	uint64_t number = hf_shard_number(map, hash);
	struct hf_map_shard *shard = &map->shards[number];
	/*
	 * Looks before taking the lock, so that the misses are over then: they overlap with those
	 * of earlier calls, as nothing does that comes after the lock's atomic instruction.
	 */
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	(void)find(map, hf_atomic_load(&map->tables[number], HF_ACQUIRE), hash, change->key, &word);
	hf_unpin(&thread->pin, outer);
	hf_shard_lock(map, shard);
	hf_shard_tend(map, shard);
	enum hf_status status = change_locked(thread, shard, hash, change);
	hf_shard_unlock(map, shard);
	return status;
}

static void tell(uint64_t *ret_version, uint64_t version) {
	if (ret_version != NULL)
		*ret_version = version;
}

enum hf_status hf_map_record_put(struct hf_map_thread *thread, struct hf_bytes key,
				 struct hf_bytes data, uint64_t *ret_version) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_WRITE, key, data.len, "record_put", &status))
		return status;
	struct change put = { .key = key, .len = data.len, .data = data.data };
	status = change(thread, &put);
	tell(ret_version, put.ret_version);
	return status;
}

enum hf_status hf_map_record_get_or_put(struct hf_map_thread *thread, struct hf_bytes key,
					struct hf_bytes data, void *buffer, size_t cap,
					struct hf_map_record *ret, bool *ret_put) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_READ | HF_MAP_WRITE, key, data.len, "record_get_or_put",
		       &status))
		return status;
	struct change put = { .key = key,
			      .len = data.len,
			      .data = data.data,
			      .only_new = true,
			      .buffer = buffer,
			      .cap = cap,
			      .ret = ret };
	status = change(thread, &put);
	*ret_put = put.put;
	if (put.put)
		*ret = (struct hf_map_record){ data.data, data.len, put.ret_version };
	return status;
}

enum hf_status hf_map_record_compare_put(struct hf_map_thread *thread, struct hf_bytes key,
					 uint64_t *version, struct hf_bytes data) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_WRITE, key, data.len, "record_compare_put", &status))
		return status;
	struct change put = {
		.key = key, .len = data.len, .data = data.data, .version = version, .only_old = true
	};
	status = change(thread, &put);
	if (status == HF_OK || status == HF_STALE)
		*version = put.ret_version;
	return status;
}

enum hf_status hf_map_record_update(struct hf_map_thread *thread, struct hf_bytes key, size_t len,
				    hf_map_fill_fn *fill, void *arg, uint64_t *ret_version) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_READ | HF_MAP_WRITE, key, len, "record_update", &status))
		return status;
	struct change put = { .key = key, .len = len, .fill = fill, .arg = arg };
	status = change(thread, &put);
	tell(ret_version, put.ret_version);
	return status;
}

enum hf_status hf_map_record_delete(struct hf_map_thread *thread, struct hf_bytes key,
				    uint64_t *version) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_DELETE, key, 0, "record_delete", &status))
		return status;
	struct change removal = { .key = key, .removes = true, .version = version };
	status = change(thread, &removal);
	if (status == HF_STALE)
		*version = removal.ret_version;
	return status;
}
