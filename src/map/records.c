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

/* 16 bytes of a key, and a secret that no other word of it has. */
static inline uint64_t fold_word(const struct hf_map *map, const uint8_t *bytes, uint64_t number) {
	uint64_t secret = number * 0xbf58476d1ce4e5b9u;
	return fold(load8(bytes) ^ (map->seed + secret),
		    load8(bytes + 8) ^ (map->multiplier + secret));
}

/* Of 16 to 64 bytes, in four words that may overlap: no branch by the length, which is any. */
static inline uint64_t fold_words(const struct hf_map *map, const uint8_t *bytes, size_t len) {
	size_t last = len - 16, second = hf_second_word(last);
	uint64_t sum = fold_word(map, bytes, 1) + fold_word(map, bytes + second, 2);
	sum += fold_word(map, bytes + last - second, 3) + fold_word(map, bytes + last, 4);
	uint64_t hash = (sum ^ len) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 32;
}

/* Most keys are short: few multiplications, which others can overlap with, instead of a call. */
static inline uint64_t hash_of(const struct hf_map *map, const void *key, size_t len) {
	const uint8_t *bytes = key;
	uint64_t a, b;
	if (len > 64)
		return XXH3_64bits_withSeed(key, len, map->seed);
	if (len >= 16)
		return fold_words(map, bytes, len);
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
	return (fold(a ^ map->seed, b ^ map->multiplier) ^ len) * 0x9e3779b97f4a7c15u;
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

/* Where a key was found, and what was there. */
struct spot {
	uint64_t *slot; /* NULL: nowhere */
	uint64_t word;
};

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

/* As hf_table_find. */
static __attribute__((noinline)) struct spot find(const struct hf_map *map, hf_table table,
						  uint64_t hash, struct hf_bytes key) {
	struct wanted wanted = { map, key };
	struct spot spot = { NULL, 0 };
	spot.slot = hf_tags_find(table, hash, is_wanted, &wanted, &spot.word);
	return spot;
}

/*
 * Is it certain that the key is not there, of which a look at its home line found no tag? A line
 * fills up from its first slot on, so that searches end in one whose last slot is empty; and it is
 * marked as moved from its first slot on, so that a key that had moved before that look shows here.
 */
static inline bool ends_here(const uint64_t *line) {
	/*
	 * The other side are line_mark_moved's release stores: if hf_tags_match, whose loads are
	 * relaxed, met the mark in the key's slot, the loads below see those that were made before
	 * it, the first slot's among them. Without this they could be from before that look.
	 */
	hf_fence(HF_ACQUIRE);
	return hf_atomic_load(&line[0], HF_ACQUIRE) != HF_MARK_MOVED &&
	       hf_atomic_load(&line[HF_LINE_WORDS - 1], HF_ACQUIRE) == HF_MARK_EMPTY;
}

/*
 * In its home line, where a key nearly always is; no loop, and no call: a record that has the tag,
 * and may be the key's. If it returns false, the spot's word is HF_MARK_EMPTY if the key is not
 * there, else it is to be looked for on.
 */
static inline bool match_near(const struct hf_map *map, hf_table table, uint64_t hash,
			      struct spot *ret) {
	uint64_t *line = hf_table_line(table, hf_table_home(table, hash));
	uint32_t found = hf_tags_match(line, hf_tag_of(hash));
	ret->word = HF_MARK_MOVED;
	if (HF_UNLIKELY(found == 0)) {
		if (ends_here(line))
			ret->word = HF_MARK_EMPTY;
		return false;
	}
	ret->slot = hf_tags_first(line, found);
	ret->word = hf_atomic_load(ret->slot, HF_ACQUIRE);
	if (HF_UNLIKELY(ret->word < HF_MARKS)) { /* it went between the two looks */
		ret->word = HF_MARK_MOVED;
		return false;
	}
	if (hf_atomic_load(&map->long_records, HF_RELAXED))
		__builtin_prefetch((const uint8_t *)hf_record_of(ret->word) + HF_LINE);
	return true;
}

/* The same, and it is the key's. */
static inline bool find_near(const struct hf_map *map, hf_table table, uint64_t hash,
			     struct hf_bytes key, struct spot *ret) {
	return match_near(map, table, hash, ret) && is_key(hf_record_of(ret->word), key);
}

static __attribute__((noinline)) bool refuse(struct hf_map_thread *thread, uint32_t right,
					     struct hf_bytes key, size_t len, const char *operation,
					     enum hf_status *ret) {
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

/* Nobody watches, nothing is too long. */
static inline bool is_plain(const struct hf_map_thread *thread, uint32_t right, struct hf_bytes key,
			    size_t len) {
	bool watched =
		(hf_atomic_load(&thread->watch, HF_RELAXED) & right << HF_WATCH_RECORDS) != 0;
	return HF_LIKELY(!watched && key.len - 1 < HF_KEY_MAX && len <= HF_MAP_RECORD_MAX);
}

static inline bool is_refused(struct hf_map_thread *thread, uint32_t right, struct hf_bytes key,
			      size_t len, const char *operation, enum hf_status *ret) {
	return !is_plain(thread, right, key, len) &&
	       refuse(thread, right, key, len, operation, ret);
}

/* ---- reading */

static inline hf_table table_of(const struct hf_map *map, uint64_t hash) {
	return hf_atomic_load(&map->tables[hf_shard_number(map, hash)], HF_ACQUIRE);
}

/* The thread is pinned. NULL: it is not there. */
static inline const struct hf_record *look(const struct hf_map *map, struct hf_bytes key) {
	uint64_t hash = hash_of(map, key.data, key.len);
	hf_table table = table_of(map, hash);
	struct spot spot;
	if (HF_UNLIKELY(!find_near(map, table, hash, key, &spot)))
		spot = find(map, table, hash, key);
	return HF_LIKELY(spot.slot != NULL) ? hf_record_of(spot.word) : NULL;
}

/* `data` is where its data is to be found. */
static inline struct hf_map_record shown_at(const struct hf_record *record, const void *data) {
	hf_plain_reads(record, hf_record_bytes(record));
	return (struct hf_map_record){
		.data = data,
		.len = hf_record_len(record),
		.version = hf_record_version(record),
	};
}

static inline struct hf_map_record shown(const struct hf_record *record) {
	return shown_at(record, record->bytes);
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

/*
 * The length of a record that is read comes from memory that is not there yet. So it decides
 * branches, which are foreseen, but no address, where it can be helped: loads of the calls that
 * come next, which run ahead, might have to wait for a store of which it is not known yet where it
 * goes.
 */
static inline void data_copy(uint8_t *to, const uint8_t *from, size_t len) {
	size_t at = 0;
	if (HF_UNLIKELY(len > 256)) {
		memcpy(to, from, len);
		return;
	}
	for (; at + 16 <= len; at += 16)
		*(hf_words *)(to + at) = *(const hf_words *)(from + at);
#pragma GCC unroll 4
	for (size_t part = 8; part != 0; part /= 2) {
		if ((len & part) != 0) {
			memcpy(to + at, from + at, part);
			at += part;
		}
	}
}

static enum hf_status copy_out(struct hf_map_thread *thread, const struct hf_record *record,
			       void *buffer, size_t cap, struct hf_map_record *ret) {
	*ret = shown(record);
	if (ret->len > cap) {
		ret->data = NULL;
		hf_fail(&thread->err, HF_TOOBIG,
			"map '%s': a record of %zu bytes for a buffer of %zu", thread->map->name,
			ret->len, cap);
		return HF_TOOBIG;
	}
	data_copy(buffer, record->bytes, ret->len);
	ret->data = buffer;
	return HF_OK;
}

/* The rest of a get that was not the usual one. */
static __attribute__((noinline)) enum hf_status get_far(struct hf_map_thread *thread,
							struct hf_bytes key, void *buffer,
							size_t cap, struct hf_map_record *ret) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_READ, key, 0, "record_get", &status))
		return status;
	const struct hf_map *map = thread->map;
	uint64_t hash = hash_of(map, key.data, key.len);
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	struct spot spot = find(map, table_of(map, hash), hash, key);
	status = spot.slot == NULL ? HF_NOTFOUND
				   : copy_out(thread, hf_record_of(spot.word), buffer, cap, ret);
	hf_unpin(&thread->pin, outer);
	return status;
}

#define WORDS_MAX 112u /* bytes; a mask of the lengths that are whole words of 16 bytes */

/* The rest of a get that found its record, for which there is room. */
static __attribute__((noinline)) enum hf_status take(struct hf_map_thread *thread, uint64_t outer,
						     const struct hf_record *record, void *buffer,
						     struct hf_map_record *ret) {
	*ret = shown_at(record, buffer);
	data_copy(buffer, record->bytes, ret->len);
	hf_unpin(&thread->pin, outer);
	return HF_OK;
}

/*
 * The usual one finds its key in its home line, and has room for the record, which is a few words
 * of 16 bytes.
 */
__attribute__((always_inline)) static inline enum hf_status get_near(struct hf_map_thread *thread,
								     struct hf_bytes key,
								     void *buffer, size_t cap,
								     struct hf_map_record *ret) {
	const struct hf_map *map = thread->map;
	if (!is_plain(thread, HF_MAP_READ, key, 0))
		return get_far(thread, key, buffer, cap, ret);
	uint64_t hash = hash_of(map, key.data, key.len);
	uint64_t outer = hf_pin_fast(&map->epochs, &thread->pin);
	struct spot spot;
	bool found = find_near(map, table_of(map, hash), hash, key, &spot);
	const struct hf_record *record = hf_record_of(spot.word);
	if (HF_UNLIKELY(!found || hf_record_len(record) > cap)) {
		hf_unpin(&thread->pin, outer);
		if (spot.word == HF_MARK_EMPTY)
			return HF_NOTFOUND;
		return get_far(thread, key, buffer, cap, ret);
	}
	size_t len = hf_record_len(record);
	if (HF_UNLIKELY((len & ~(size_t)WORDS_MAX) != 0))
		return take(thread, outer, record, buffer, ret);
	*ret = shown_at(record, buffer);
#pragma GCC unroll 8
	for (size_t at = 0; at < WORDS_MAX; at += 16) {
		if (at >= len)
			break;
		*(hf_words *)((uint8_t *)buffer + at) = *(const hf_words *)(record->bytes + at);
	}
	hf_unpin(&thread->pin, outer);
	return HF_OK;
}

/* Of keys that have not 8 bytes. Those that do, the most frequent ones, have code of their own. */
static __attribute__((noinline)) enum hf_status get_any(struct hf_map_thread *thread,
							struct hf_bytes key, void *buffer,
							size_t cap, struct hf_map_record *ret) {
	return get_near(thread, key, buffer, cap, ret);
}

enum hf_status hf_map_record_get(struct hf_map_thread *thread, struct hf_bytes key, void *buffer,
				 size_t cap, struct hf_map_record *ret) {
	if (HF_UNLIKELY(key.len != 8))
		return get_any(thread, key, buffer, cap, ret);
	return get_near(thread, (struct hf_bytes){ key.data, 8 }, buffer, cap, ret);
}

/* ---- reading many */

#define BATCH 16u

/* One of those that are looked up at once. */
struct sought {
	hf_table table;
	uint64_t hash;
	struct spot spot; /* as match_near leaves it */
};

/*
 * The thread is pinned, and has been since the spot was found: so the record is what it was, even
 * if another has taken its place meanwhile.
 */
static enum hf_status take_sought(struct hf_map_thread *thread, const struct sought *sought,
				  struct hf_bytes key, void *buffer, size_t cap,
				  struct hf_map_record *ret) {
	struct spot spot = sought->spot;
	if (spot.word == HF_MARK_EMPTY)
		return HF_NOTFOUND;
	if (HF_UNLIKELY(spot.word < HF_MARKS || !is_key(hf_record_of(spot.word), key))) {
		spot = find(thread->map, sought->table, sought->hash, key);
		if (spot.slot == NULL)
			return HF_NOTFOUND;
	}
	return copy_out(thread, hf_record_of(spot.word), buffer, cap, ret);
}

/* Where the record of number i goes. Without room there may be no buffer either. */
static inline void *room_of(void *buffer, size_t cap, size_t i) {
	return cap == 0 ? buffer : (uint8_t *)buffer + i * cap;
}

/*
 * Of those whose status is HF_OK. First all index lines are fetched, then, by the tags in them, all
 * records: the misses of each round overlap.
 */
static void get_admitted(struct hf_map_thread *thread, size_t count, const struct hf_bytes *keys,
			 void *buffer, size_t cap, struct hf_map_record *ret,
			 enum hf_status *ret_status) {
	const struct hf_map *map = thread->map;
	struct sought all[BATCH];
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	for (size_t i = 0; i < count; i++) {
		if (HF_UNLIKELY(ret_status[i] != HF_OK))
			continue;
		uint64_t hash = hash_of(map, keys[i].data, keys[i].len);
		hf_table table = table_of(map, hash);
		__builtin_prefetch(hf_table_line(table, hf_table_home(table, hash)));
		all[i] = (struct sought){ .table = table, .hash = hash };
	}
	for (size_t i = 0; i < count; i++)
		if (HF_LIKELY(ret_status[i] == HF_OK) &&
		    match_near(map, all[i].table, all[i].hash, &all[i].spot))
			__builtin_prefetch(hf_record_of(all[i].spot.word));
	for (size_t i = 0; i < count; i++)
		if (HF_LIKELY(ret_status[i] == HF_OK))
			ret_status[i] = take_sought(thread, &all[i], keys[i],
						    room_of(buffer, cap, i), cap, &ret[i]);
	hf_unpin(&thread->pin, outer);
}

enum hf_status hf_map_record_get_many(struct hf_map_thread *thread, size_t count,
				      const struct hf_bytes *keys, void *buffer, size_t cap,
				      struct hf_map_record *ret, enum hf_status *ret_status) {
	bool failed = false;
	for (size_t begin = 0; begin < count; begin += BATCH) {
		size_t n = count - begin < BATCH ? count - begin : BATCH;
		/* Before the thread is pinned: an audit hook holds nobody's memory back. */
		for (size_t i = begin; i < begin + n; i++) {
			ret[i] = (struct hf_map_record){ 0 };
			ret_status[i] = HF_OK;
			(void)is_refused(thread, HF_MAP_READ, keys[i], 0, "record_get_many",
					 &ret_status[i]);
		}
		get_admitted(thread, n, &keys[begin], room_of(buffer, cap, begin), cap, &ret[begin],
			     &ret_status[begin]);
		for (size_t i = begin; i < begin + n; i++)
			failed |= ret_status[i] != HF_OK && ret_status[i] != HF_NOTFOUND;
	}
	return failed ? thread->err.status : HF_OK;
}

/* ---- writing */

/* A change of one record. */
struct change {
	struct hf_bytes key;
	uint64_t hash, shard; /* its number */
	size_t len;	      /* of the new record */
	const void *data;     /* NULL: `fill` makes it */
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

static enum hf_status no_memory(struct hf_map_thread *thread, const struct change *change) {
	hf_fail(&thread->err, HF_NOMEM, "out of memory: map '%s' cannot keep %zu bytes",
		thread->map->name, change->len);
	return HF_NOMEM;
}

static inline uint32_t lines_for(size_t len, size_t key_len) {
	return hf_lines_of(sizeof(struct hf_record) + len + key_len);
}

static struct hf_record *record_new(struct hf_map_thread *thread, const struct change *change) {
	struct hf_map *map = thread->map;
	uint32_t lines = lines_for(change->len, change->key.len);
	if (lines > 1 && !hf_atomic_load(&map->long_records, HF_RELAXED))
		hf_atomic_store(&map->long_records, true, HF_RELAXED);
	return hf_block_new(thread->blocks, &map->depot, lines);
}

/* All but the data; its version is the one after `before`. */
static inline void record_head(struct hf_record *record, struct hf_bytes key, size_t len,
			       uint64_t before) {
	hf_plain_writes(record, sizeof(*record) + len + key.len);
	uint64_t version = before < HF_RECORD_VERSION_MAX ? before + 1 : 1;
	record->head = version << 24 | len << 8 | key.len;
	hf_bytes_copy(record->bytes + len, key.data, key.len);
}

/* `old` is what it takes the place of, or NULL. */
static void record_fill(struct hf_record *record, const struct change *change, uint64_t before,
			const struct hf_record *old) {
	record_head(record, change->key, change->len, before);
	if (change->fill == NULL) {
		hf_bytes_copy(record->bytes, change->data, change->len);
	} else {
		struct hf_map_record was = { 0 };
		if (old != NULL)
			was = shown(old);
		change->fill(change->arg, old == NULL ? NULL : &was, record->bytes);
	}
}

/* Before a change. While there are cursors, all changes have the lock. */
static void note(struct hf_map *map, const struct change *change, const uint64_t *slot) {
	struct hf_entry entry = { .shard = change->shard,
				  .hash = change->hash,
				  .key = change->key.data,
				  .key_len = change->key.len };
	if (HF_LIKELY(hf_atomic_load(&map->cursors, HF_RELAXED) == NULL))
		return;
	if (slot != NULL)
		entry = hf_entry_of(map, change->shard, change->hash, slot);
	hf_cursors_note(map, &entry, slot != NULL);
}

/* How to go on. */
enum step { DONE, AGAIN, NOT_THERE };

/*
 * Changes the record that is there. Needs no lock: the slot keeps `word` as long as that is what
 * its key has, for a pinned thread sees no record whose memory was used again, and a table is not
 * moved before all have left who came before that was announced (`frozen`). So what is exchanged
 * for the new record is the old one, which nobody else has replaced, removed, or moved.
 */
static enum step change_found(struct hf_map_thread *thread, struct spot spot, struct change *change,
			      struct hf_record **spare, enum hf_status *ret) {
	struct hf_record *old = hf_record_of(spot.word);
	change->ret_version = hf_record_version(old);
	*ret = HF_OK;
	if (change->version != NULL && *change->version != change->ret_version) {
		*ret = HF_STALE;
		return DONE;
	}
	if (change->only_new) {
		*ret = copy_out(thread, old, change->buffer, change->cap, change->ret);
		return DONE;
	}
	uint64_t now = HF_MARK_DEAD;
	if (!change->removes) {
		if (*spare == NULL && (*spare = record_new(thread, change)) == NULL) {
			*ret = no_memory(thread, change);
			return DONE;
		}
		record_fill(*spare, change, change->ret_version, old);
		now = (spot.word & ~HF_ADDRESS_MASK) | (uintptr_t)*spare;
	}
	note(thread->map, change, spot.slot);
	if (!hf_atomic_cas(spot.slot, &spot.word, now, HF_ACQ_REL, HF_RELAXED))
		return AGAIN;
	hf_blocks_retire(thread->blocks, &thread->map->depot, old, hf_record_lines(old));
	if (!change->removes) {
		change->ret_version = hf_record_version(*spare);
		change->put = true;
		*spare = NULL;
	}
	return DONE;
}

/* With the lock, and not pinned: it may have to wait for readers. */
static enum hf_status add(struct hf_map_thread *thread, struct hf_map_shard *shard,
			  struct change *change, struct hf_record **spare) {
	struct hf_map *map = thread->map;
	uint64_t *slot = hf_shard_room(map, shard, &thread->pin, change->hash, &thread->err);
	if (slot == NULL)
		return thread->err.status;
	if (*spare == NULL && (*spare = record_new(thread, change)) == NULL)
		return no_memory(thread, change);
	note(map, change, NULL);
	struct hf_record *record = *spare;
	record_fill(record, change, shard->version, NULL);
	uint64_t was = hf_atomic_load(slot, HF_RELAXED);
	hf_atomic_store(slot, hf_tag_word(change->hash, record), HF_RELEASE);
	hf_shard_added(shard, change->hash, was);
	change->ret_version = hf_record_version(record);
	change->put = true;
	*spare = NULL;
	return HF_OK;
}

/* Numbers begin again behind the last one: less than half of them ahead is later (RFC 1982). */
static bool is_later(uint64_t version, uint64_t than) {
	return ((version - than) & HF_RECORD_VERSION_MAX) <= HF_RECORD_VERSION_MAX / 2;
}

static enum hf_status change_locked(struct hf_map_thread *thread, struct hf_map_shard *shard,
				    struct change *change, struct hf_record **spare) {
	struct hf_map *map = thread->map;
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	struct spot spot;
	enum hf_status status = HF_OK;
	enum step step;
	do {
		step = NOT_THERE;
		spot = find(map, hf_shard_table(shard, change->hash), change->hash, change->key);
		if (spot.slot != NULL)
			step = change_found(thread, spot, change, spare, &status);
	} while (step == AGAIN);
	if (step == DONE && change->removes && status == HF_OK) {
		if (is_later(change->ret_version, shard->version))
			shard->version = change->ret_version;
		hf_shard_remove(map, shard, spot.slot, change->hash);
	}
	hf_unpin(&thread->pin, outer);
	if (step == DONE)
		return status;
	if (change->only_old || change->removes)
		return HF_NOTFOUND;
	return add(thread, shard, change, spare);
}

/* What is there is overwritten without the lock; all else has it. */
static enum step change_unlocked(struct hf_map_thread *thread, struct change *change,
				 struct hf_record **spare, enum hf_status *ret) {
	struct hf_map *map = thread->map;
	uint64_t outer = hf_pin(&map->epochs, &thread->pin);
	enum step step;
	do {
		step = NOT_THERE;
		hf_table table = hf_atomic_load(&map->tables[change->shard], HF_ACQUIRE);
		if (HF_UNLIKELY((table & HF_TABLE_FROZEN) != 0))
			break;
		struct spot spot = find(map, table, change->hash, change->key);
		if (spot.slot != NULL)
			step = change_found(thread, spot, change, spare, ret);
	} while (HF_UNLIKELY(step == AGAIN));
	hf_unpin(&thread->pin, outer);
	return step;
}

static enum hf_status change(struct hf_map_thread *thread, struct change *change) {
	struct hf_map *map = thread->map;
	struct hf_record *spare = NULL; /* made for a change that another one forestalled */
	enum hf_status status;
	change->hash = hash_of(map, change->key.data, change->key.len);
	change->shard = hf_shard_number(map, change->hash);
	hf_blocks_tend(thread->blocks, &map->depot);
	if (HF_UNLIKELY(hf_blocks_are_full(thread->blocks)) &&
	    !hf_shard_limbo_room(map, thread->blocks, &thread->pin, &thread->err))
		return thread->err.status;
	if (!change->removes && change_unlocked(thread, change, &spare, &status) == DONE)
		goto out;
	struct hf_map_shard *shard = &map->shards[change->shard];
	hf_shard_lock(map, shard);
	hf_shard_tend(map, shard);
	status = change_locked(thread, shard, change, &spare);
	hf_shard_unlock(map, shard);
out:
	if (HF_UNLIKELY(spare != NULL))
		hf_block_free(thread->blocks, &map->depot, spare,
			      lines_for(change->len, change->key.len));
	return status;
}

static void tell(uint64_t *ret_version, uint64_t version) {
	if (ret_version != NULL)
		*ret_version = version;
}

/* The rest of a put that was not the usual one. */
static __attribute__((noinline)) enum hf_status put_far(struct hf_map_thread *thread,
							struct hf_bytes key, struct hf_bytes data,
							uint64_t *ret_version) {
	enum hf_status status;
	if (is_refused(thread, HF_MAP_WRITE, key, data.len, "record_put", &status))
		return status;
	struct change put = { .key = key, .len = data.len, .data = data.data };
	status = change(thread, &put);
	tell(ret_version, put.ret_version);
	return status;
}

/*
 * The usual one overwrites what stands in its home line, in the memory of what was overwritten a
 * while ago. See change_found.
 */
__attribute__((always_inline)) static inline enum hf_status put_near(struct hf_map_thread *thread,
								     struct hf_bytes key,
								     struct hf_bytes data,
								     uint64_t *ret_version) {
	const struct hf_map *map = thread->map;
	if (!is_plain(thread, HF_MAP_WRITE, key, data.len))
		return put_far(thread, key, data, ret_version);
	uint64_t hash = hash_of(map, key.data, key.len);
	uint64_t outer = hf_pin_fast(&map->epochs, &thread->pin);
	hf_table table = table_of(map, hash);
	struct spot spot;
	bool found = find_near(map, table, hash, key, &spot);
	struct hf_record *record = NULL, *old = hf_record_of(spot.word);
	uint32_t lines = lines_for(data.len, key.len);
	if (HF_LIKELY(found && (table & HF_TABLE_FROZEN) == 0))
		record = hf_block_again(thread->blocks, &map->epochs, lines);
	if (HF_UNLIKELY(record == NULL)) {
		hf_unpin(&thread->pin, outer);
		return put_far(thread, key, data, ret_version);
	}
	record_head(record, key, data.len, hf_record_version(old));
	hf_bytes_copy(record->bytes, data.data, data.len);
	uint64_t version = hf_record_version(record);
	uint64_t was = spot.word, now = (was & ~HF_ADDRESS_MASK) | (uintptr_t)record;
	bool done = hf_atomic_cas(spot.slot, &was, now, HF_ACQ_REL, HF_RELAXED);
	if (HF_LIKELY(done))
		hf_blocks_rotate(thread->blocks, &map->epochs, lines, old,
				 lines_for(hf_record_len(old), key.len));
	hf_unpin(&thread->pin, outer);
	if (HF_UNLIKELY(!done))
		return put_far(thread, key, data, ret_version);
	tell(ret_version, version);
	return HF_OK;
}

/* Of keys of 8 bytes. */
static __attribute__((noinline)) enum hf_status put_word(struct hf_map_thread *thread,
							 struct hf_bytes key, struct hf_bytes data,
							 uint64_t *ret_version) {
	return put_near(thread, (struct hf_bytes){ key.data, 8 }, data, ret_version);
}

static __attribute__((noinline)) enum hf_status put_any(struct hf_map_thread *thread,
							struct hf_bytes key, struct hf_bytes data,
							uint64_t *ret_version) {
	return put_near(thread, key, data, ret_version);
}

enum hf_status hf_map_record_put(struct hf_map_thread *thread, struct hf_bytes key,
				 struct hf_bytes data, uint64_t *ret_version) {
	return key.len == 8 ? put_word(thread, key, data, ret_version)
			    : put_any(thread, key, data, ret_version);
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
