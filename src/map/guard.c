#include "map/map_private.h"

static const char *right_name(uint32_t right) {
	return right & HF_MAP_DELETE ? "delete" : right & HF_MAP_WRITE ? "write" : "read";
}

enum hf_status hf_guard(struct hf_map_thread *thread, uint32_t right, enum hf_map_kind kind,
			const char *operation) {
	const struct hf_map *map = thread->map;
	if (map->kind != kind) {
		hf_fail(&thread->err, HF_USAGE, "map '%s' has %s: no %s for %s", map->name,
			map->kind == HF_MAP_U64 ? "64-bit keys" : "records", operation,
			kind == HF_MAP_U64 ? "64-bit keys" : "records");
		return HF_USAGE;
	}
	uint32_t lacking = right & ~thread->rights;
	if (lacking != 0) {
		hf_atomic_store(&thread->denied, thread->denied + 1, HF_RELAXED);
		hf_fail(&thread->err, HF_REFUSED,
			"map '%s': thread '%s' may not %s: %s needs a right it does not have",
			map->name, thread->name, right_name(lacking), operation);
		return HF_REFUSED;
	}
	return HF_OK;
}
