#include "map/map_private.h"

static const char *right_name(uint32_t right) {
	return right & HF_MAP_DELETE ? "delete" : right & HF_MAP_WRITE ? "write" : "read";
}

uint32_t hf_guard_watch(const struct hf_map_thread *thread) {
	const struct hf_map *map = thread->map;
	uint32_t all = HF_MAP_READ | HF_MAP_WRITE | HF_MAP_DELETE;
	/* Where pinning needs a fence, no call is fast, and the fast paths need not look for it. */
	uint32_t watch = all & ~thread->rights;
	if (thread->pin.fences || map->audit != NULL)
		watch = all;
	return map->kind == HF_MAP_U64 ? watch | all << HF_WATCH_RECORDS
				       : watch << HF_WATCH_RECORDS | all;
}

static void watch_anew(struct hf_map_thread *thread) {
	hf_atomic_store(&thread->watch, hf_guard_watch(thread), HF_RELEASE);
}

enum hf_status hf_map_set_audit(struct hf_map *map, hf_map_audit_fn *audit, void *arg) {
	hf_lock(&map->epochs.lock);
	bool taken = audit != NULL && map->audit != NULL;
	if (!taken) {
		if (audit != NULL)
			hf_atomic_store(&map->audit_arg, arg, HF_RELAXED);
		hf_atomic_store(&map->audit, audit, HF_RELEASE);
		for (struct hf_map_thread *at = map->threads; at != NULL; at = at->next)
			watch_anew(at);
	}
	hf_unlock(&map->epochs.lock);
	return taken ? HF_USAGE : HF_OK;
}

void hf_map_set_rights(struct hf_map_thread *thread, uint32_t rights) {
	hf_lock(&thread->map->epochs.lock);
	hf_atomic_store(&thread->rights, rights, HF_RELAXED);
	watch_anew(thread);
	hf_unlock(&thread->map->epochs.lock);
}

enum hf_status hf_guard(struct hf_map_thread *thread, uint32_t rights, enum hf_map_kind kind,
			const char *operation, struct hf_bytes key) {
	struct hf_map *map = thread->map;
	if (map->kind != kind) {
		hf_fail(&thread->err, HF_USAGE, "map '%s' has %s: no %s for %s", map->name,
			map->kind == HF_MAP_U64 ? "64-bit keys" : "records", operation,
			kind == HF_MAP_U64 ? "64-bit keys" : "records");
		return HF_USAGE;
	}
	uint32_t lacking = rights & ~hf_atomic_load(&thread->rights, HF_RELAXED);
	hf_map_audit_fn *audit = hf_atomic_load(&map->audit, HF_ACQUIRE);
	if (audit != NULL)
		audit(hf_atomic_load(&map->audit_arg, HF_RELAXED),
		      &(struct hf_map_access){ map->name, thread->name, operation, rights,
					       lacking == 0, key });
	if (lacking == 0)
		return HF_OK;
	hf_atomic_store(&thread->denied, thread->denied + 1, HF_RELAXED);
	hf_fail(&thread->err, HF_REFUSED,
		"map '%s': thread '%s' may not %s: %s needs a right it does not have", map->name,
		thread->name, right_name(lacking), operation);
	return HF_REFUSED;
}
