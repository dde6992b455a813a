/* What one writes oneself: 64 shards, each a pthread rwlock and an open-addressing table. */
#include <stdbool.h>

#include "harness.h"

#define SHARDS 64u

struct slot {
	uint64_t hash; /* 0: empty */
	key_type key;
	value_type value;
};

struct shard {
	pthread_rwlock_t lock;
	struct slot *slots;
	uint64_t mask;
} __attribute__((aligned(128)));

static struct shard shards[SHARDS];

static void peer_setup(uint64_t entries) {
	uint64_t slots = 64;
	while (slots * 3 < entries / SHARDS * 5)
		slots *= 2;
	for (uint32_t i = 0; i < SHARDS; i++) {
		pthread_rwlock_init(&shards[i].lock, NULL);
		shards[i].slots = (struct slot *)calloc(slots, sizeof(struct slot));
		shards[i].mask = slots - 1;
	}
}

static void *peer_join(uint32_t number) {
	return NULL;
}

static inline uint64_t hash_of(const key_type *key) {
	return key_hash(key) | 1;
}

static inline struct slot *find(struct shard *shard, uint64_t hash, const key_type *key) {
	for (uint64_t i = hash >> 6;; i++) {
		struct slot *slot = &shard->slots[i & shard->mask];
		if (slot->hash == 0 || (slot->hash == hash && key_same(&slot->key, key)))
			return slot;
	}
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	uint64_t hash = hash_of(key);
	struct shard *shard = &shards[hash >> 58];
	pthread_rwlock_rdlock(&shard->lock);
	const struct slot *slot = find(shard, hash, key);
	bool found = slot->hash != 0;
	if (found)
		*ret = slot->value;
	pthread_rwlock_unlock(&shard->lock);
	return found;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	uint64_t hash = hash_of(key);
	struct shard *shard = &shards[hash >> 58];
	pthread_rwlock_wrlock(&shard->lock);
	struct slot *slot = find(shard, hash, key);
	slot->hash = hash;
	slot->key = *key;
	slot->value = *value;
	pthread_rwlock_unlock(&shard->lock);
}
