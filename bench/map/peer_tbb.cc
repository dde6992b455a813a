// oneTBB's concurrent_hash_map: accessors, as its documentation uses them.
#include <tbb/concurrent_hash_map.h>

#include "harness.h"

struct compare {
	static size_t hash(const key_type &key) {
		return key_hash(&key);
	}
	static bool equal(const key_type &a, const key_type &b) {
		return key_same(&a, &b);
	}
};

typedef tbb::concurrent_hash_map<key_type, value_type, compare> map_type;
static map_type *map;

static void peer_setup(uint64_t entries) {
	map = new map_type(entries);
}

static void *peer_join(uint32_t number) {
	return NULL;
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	map_type::const_accessor at;
	if (!map->find(at, *key))
		return false;
	*ret = at->second;
	return true;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	map_type::accessor at;
	map->insert(at, *key);
	at->second = *value;
}
