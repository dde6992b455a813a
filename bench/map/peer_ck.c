/*
 * Concurrency Kit's ck_ht: 64 tables, each with a spinlock for its writers. 64-bit values stand in
 * the table. Of records it holds pointers to objects that never change: whoever overwrites one puts
 * a new object in its place and leaves the old one to ck_epoch, in whose sections all reads are.
 */
#include <ck_epoch.h>
#include <ck_ht.h>
#include <ck_spinlock.h>
#include <stdbool.h>

#include "harness.h"

#define SHARDS 64u

struct shard {
	ck_ht_t table;
	ck_spinlock_t lock;
} __attribute__((aligned(128)));

static struct shard shards[SHARDS];

static void *allocate(size_t bytes) {
	return malloc(bytes);
}

static void release(void *memory, size_t bytes, bool later) {
	if (!later) /* nothing grows while it is measured */
		free(memory);
}

static void hash_of(ck_ht_hash_t *ret, const void *key, size_t len, uint64_t seed) {
#if KIND == KIND_STRING
	ret->value = words_hash((const uint64_t *)key, len);
#else
	ret->value = mix(*(const uint64_t *)key);
#endif
}

static void tables_init(uint64_t entries) {
	static struct ck_malloc allocator = { .malloc = allocate, .free = release };
	uint32_t mode = KIND == KIND_STRING ? CK_HT_MODE_BYTESTRING : CK_HT_MODE_DIRECT;
	for (uint32_t i = 0; i < SHARDS; i++) {
		ck_spinlock_init(&shards[i].lock);
		if (!ck_ht_init(&shards[i].table, mode, hash_of, &allocator, entries / SHARDS * 2,
				1))
			exit(1);
	}
}

static inline struct shard *shard_of(ck_ht_hash_t hash) {
	return &shards[hash.value >> 58];
}

static inline bool find(const key_type *key, ck_ht_entry_t *ret) {
	ck_ht_hash_t hash = { key_hash(key) };
#if KIND == KIND_STRING
	ck_ht_entry_key_set(ret, key->word, key->len);
#else
	ck_ht_entry_key_set_direct(ret, *key);
#endif
	return ck_ht_get_spmc(&shard_of(hash)->table, hash, ret);
}

/* Whom it replaced is in the entry then. */
static inline void set(ck_ht_hash_t hash, ck_ht_entry_t *entry) {
	struct shard *shard = shard_of(hash);
	ck_spinlock_lock(&shard->lock);
	if (!ck_ht_set_spmc(&shard->table, hash, entry))
		exit(1);
	ck_spinlock_unlock(&shard->lock);
}

#if KIND == KIND_U64
static void peer_setup(uint64_t entries) {
	tables_init(entries);
}

static void *peer_join(uint32_t number) {
	return NULL;
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	ck_ht_entry_t entry;
	if (!find(key, &entry))
		return false;
	*ret = ck_ht_entry_value_direct(&entry);
	return true;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	ck_ht_hash_t hash = { key_hash(key) };
	ck_ht_entry_t entry;
	ck_ht_entry_set_direct(&entry, hash, *key, *value);
	set(hash, &entry);
}
#else
#define POLL_EVERY 64u /* objects given up */

struct object {
	ck_epoch_entry_t later;
	value_type value;
#if KIND == KIND_STRING
	key_type key; /* as much of it as is in use */
#endif
};

struct thread {
	ck_epoch_record_t record;
	uint64_t given_up;
	bool registered;
};

static ck_epoch_t epoch;
static struct thread threads_of[THREADS_MAX];

CK_EPOCH_CONTAINER(struct object, later, object_of)

static void object_free(ck_epoch_entry_t *entry) {
	free(object_of(entry));
}

static void peer_setup(uint64_t entries) {
	tables_init(entries);
	ck_epoch_init(&epoch);
}

/* A record outlives its thread: the next of that number takes it over, with what waits there. */
static void *peer_join(uint32_t number) {
	struct thread *thread = &threads_of[number];
	if (!thread->registered)
		ck_epoch_register(&epoch, &thread->record, NULL);
	thread->registered = true;
	return thread;
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	struct thread *thread = (struct thread *)handle;
	ck_ht_entry_t entry;
	ck_epoch_begin(&thread->record, NULL);
	bool found = find(key, &entry);
	if (found)
		*ret = ((const struct object *)ck_ht_entry_value(&entry))->value;
	ck_epoch_end(&thread->record, NULL);
	return found;
}

static void give_up(struct thread *thread, struct object *object) {
	ck_epoch_call(&thread->record, &object->later, object_free);
	if (++thread->given_up % POLL_EVERY == 0)
		ck_epoch_poll(&thread->record);
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	ck_ht_hash_t hash = { key_hash(key) };
	ck_ht_entry_t entry;
#if KIND == KIND_STRING
	size_t bytes = offsetof(struct object, key) + key_size(key);
	struct object *object = (struct object *)malloc(bytes);
	memcpy(&object->key, key, key_size(key));
	ck_ht_entry_set(&entry, hash, object->key.word, key->len, object);
#else
	struct object *object = (struct object *)malloc(sizeof(*object));
	ck_ht_entry_set_direct(&entry, hash, *key, (uintptr_t)object);
#endif
	object->value = *value;
	set(hash, &entry);
	if (!ck_ht_entry_empty(&entry))
		give_up((struct thread *)handle, (struct object *)ck_ht_entry_value(&entry));
}
#endif
