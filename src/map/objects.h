/*
 * objects.h - the concurrent map over a program's own objects. It keeps where they stand, by their
 * hashes; what they are, and which of two with the same hash is meant, the program knows.
 *
 * One thread at a time writes (the program's lock says which). Any number of threads that have
 * joined (hf_map_join) and are inside (hf_map_enter) look up meanwhile: they take no lock, store
 * to no line that another thread uses, and wait for nobody. An object that was removed is freed
 * once nobody who was inside can have it any more. Reading what is *in* an object that its
 * program changes is the program's affair.
 */
#ifndef HF_MAP_OBJECTS_H
#define HF_MAP_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/err.h"
#include "base/limits.h"
#include "holdfast/map.h"

struct hf_object_kind {
	const char *name; /* of the map, for errors */
	/* What the object was added under; called when tables grow. */
	uint64_t (*hash)(const void *arg, const void *object);
	/* NULL: they are never freed by the map. Else also when the map is. */
	void (*free)(void *arg, void *object);
	void *arg;
};

/*
 * A map with room for `expected` objects. `kind` is copied, `allocator` borrowed (it aligns to 128
 * bytes). To be freed with hf_map_free. HF_NOMEM.
 */
HF_MUST bool hf_objects_make(const struct hf_object_kind *kind, uint64_t expected,
			     const struct hf_allocator *allocator, struct hf_map **ret,
			     struct hf_err *err);

/*
 * The object of this hash for which `is_it(wanted, object)` is true; NULL: there is none. By the
 * writer, or inside. A reader may be shown one that was removed or replaced a moment ago.
 */
typedef bool hf_object_is_fn(const void *wanted, const void *object);
void *hf_object_find(const struct hf_map *map, uint64_t hash, hf_object_is_fn *is_it,
		     const void *wanted);
/* One that may have this hash, or NULL: to fetch its memory ahead of need. The writer's. */
void *hf_object_hint(const struct hf_map *map, uint64_t hash);
/* Fetches the memory that hf_object_find will look at first. */
void hf_object_prefetch(const struct hf_map *map, uint64_t hash);

/*
 * The writer's. hf_object_reserve is the only one that can fail (HF_NOMEM; nothing has changed):
 * after it, one hf_object_add of this hash cannot. The object is not in the map yet.
 */
HF_MUST bool hf_object_reserve(struct hf_map *map, uint64_t hash, struct hf_err *err);
void hf_object_add(struct hf_map *map, uint64_t hash, void *object);
/* Puts `object` in the place of `old`, which is in the map and stays the caller's. */
void hf_object_replace(struct hf_map *map, uint64_t hash, const void *old, void *object);

/*
 * The writer's, for kinds with `free`. Makes room for objects that are removed and may still be
 * looked at: waits for readers that are inside, up to a second each (HF_NOMEM, which names the
 * thread), if too many or too large ones do so already. After it, a request may retire what it
 * has to.
 */
HF_MUST bool hf_object_reserve_retire(struct hf_map *map, struct hf_err *err);
/* Takes it out of the map, and frees it when that may be. `bytes`: its size. */
void hf_object_remove(struct hf_map *map, uint64_t hash, void *object, size_t bytes);
/* Frees, when that may be, one that hf_object_replace has put another in the place of. */
void hf_object_retire(struct hf_map *map, void *object, size_t bytes);

/*
 * Some of the objects, in the order of their hashes: those from hash `from` on that share a line.
 * Returns where to go on, 0 at the end; a multiple of HF_OBJECTS_WALK_STEP, as a line ends there in
 * the largest of tables, too. The writer's; in between anything may change, and an object that is
 * there all the while is visited exactly once.
 */
#define HF_OBJECTS_WALK_STEP ((uint64_t)1 << (64 - HF_MAP_BITS_MAX))
typedef void hf_object_visit_fn(void *arg, void *object);
uint64_t hf_objects_walk(struct hf_map *map, uint64_t from, hf_object_visit_fn *visit, void *arg);

/* The writer's. */
uint64_t hf_objects_count(const struct hf_map *map);
/* Bytes of the map's tables. */
uint64_t hf_objects_bytes(struct hf_map *map);

#endif
