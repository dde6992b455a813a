/* Concurrency Kit's ck_ht: 64 tables of 64-bit keys, each with a spinlock for its writers. */
#include <ck_ht.h>
#include <ck_spinlock.h>
#include <stdbool.h>

#include "harness.h"

#if KIND != KIND_U64
#error "64-bit keys and values only: what it would do with old records is the user's to solve"
#endif

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
	ret->value = mix(*(const uint64_t *)key);
}

static void peer_setup(uint64_t entries) {
	static struct ck_malloc allocator = { .malloc = allocate, .free = release };
	for (uint32_t i = 0; i < SHARDS; i++) {
		ck_spinlock_init(&shards[i].lock);
		if (!ck_ht_init(&shards[i].table, CK_HT_MODE_DIRECT, hash_of, &allocator,
				entries / SHARDS * 2, 1))
			exit(1);
	}
}

static void *peer_join(uint32_t number) {
	return NULL;
}

static inline struct shard *shard_of(uint64_t key, ck_ht_hash_t *ret) {
	ret->value = mix(key);
	return &shards[ret->value >> 58];
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	ck_ht_hash_t hash;
	ck_ht_entry_t entry;
	struct shard *shard = shard_of(*key, &hash);
	ck_ht_entry_key_set_direct(&entry, *key);
	if (!ck_ht_get_spmc(&shard->table, hash, &entry))
		return false;
	*ret = ck_ht_entry_value_direct(&entry);
	return true;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	ck_ht_hash_t hash;
	ck_ht_entry_t entry;
	struct shard *shard = shard_of(*key, &hash);
	ck_ht_entry_set_direct(&entry, hash, *key, *value);
	ck_spinlock_lock(&shard->lock);
	if (!ck_ht_set_spmc(&shard->table, hash, &entry))
		exit(1);
	ck_spinlock_unlock(&shard->lock);
}
