/* Holdfast's own map, through its public header; not inlined. */
#include <stdbool.h>

#include "holdfast/map.h"

#define PEER_MANY
#include "harness.h"

static struct hf_map *map;

static void die(const char *why) {
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static void peer_setup(uint64_t entries) {
	char err[768];
	struct hf_map_options options = {
		.name = "bench",
		.expected = entries,
		.kind = KIND == KIND_U64 ? HF_MAP_U64 : HF_MAP_RECORDS,
	};
	if (hf_map_new(&options, &map, err, sizeof(err)) != HF_OK)
		die(err);
}

static void *peer_join(uint32_t number) {
	char err[768];
	struct hf_map_thread *thread;
	if (hf_map_join(map, "bench", HF_MAP_READ | HF_MAP_WRITE, &thread, err, sizeof(err)) !=
	    HF_OK)
		die(err);
	return thread;
}

#if KIND == KIND_U64
static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	return hf_map_get((struct hf_map_thread *)handle, *key, ret) == HF_OK;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	if (hf_map_put((struct hf_map_thread *)handle, *key, *value) != HF_OK)
		die(hf_map_error((struct hf_map_thread *)handle));
}

static inline void peer_get_many(void *handle, size_t count, const uint64_t *keys, uint64_t *ret,
				 bool *ret_found) {
	hf_map_get_many((struct hf_map_thread *)handle, count, keys, ret, ret_found);
}
#else
static inline struct hf_bytes bytes_of(const key_type *key) {
#if KIND == KIND_STRING
	return (struct hf_bytes){ key->word, key->len };
#else
	return (struct hf_bytes){ key, sizeof(*key) };
#endif
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	struct hf_map_record got;
	return hf_map_record_get((struct hf_map_thread *)handle, bytes_of(key), ret, sizeof(*ret),
				 &got) == HF_OK;
}

static inline void peer_get_many(void *handle, size_t count, const key_type *keys, value_type *ret,
				 bool *ret_found) {
	struct hf_bytes names[MANY];
	struct hf_map_record got[MANY];
	enum hf_status status[MANY];
	for (size_t i = 0; i < count; i++)
		names[i] = bytes_of(&keys[i]);
	(void)hf_map_record_get_many((struct hf_map_thread *)handle, count, names, ret,
				     sizeof(*ret), got, status);
	for (size_t i = 0; i < count; i++)
		ret_found[i] = status[i] == HF_OK;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	struct hf_bytes data = { value, sizeof(*value) };
	if (hf_map_record_put((struct hf_map_thread *)handle, bytes_of(key), data, NULL) != HF_OK)
		die(hf_map_error((struct hf_map_thread *)handle));
}
#endif
