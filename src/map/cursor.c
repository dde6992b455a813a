#include "map/map_private.h"

#include <string.h>

#include "base/memory.h"
#include "map/record.h"
#include "os/clock.h"

/* With one hold of a shard's lock, no home line more after so many, or so many bytes of images. */
#define STEP_LINES 64u
#define STEP_BYTES 65536u
#define HEAD_BITS 12u
#define HEADS (1u << HEAD_BITS)

/* An entry, as the cursor shows it, or as it was before it was changed. */
struct image {
	struct image *next;
	uint64_t shard, hash, version;
	bool there; /* false: there was no such entry */
	uint32_t key_len, len;
	uint8_t bytes[]; /* key, data */
};

struct hf_map_cursor {
	struct hf_map_thread *thread;
	struct hf_map_cursor *next; /* of those that are open */
	enum hf_map_cursor_mode mode;
	/* Where it is: entries before (shard, hash) were seen. Under cursor_lock, written with the
	 * shard's lock besides. */
	uint64_t shard, hash;
	bool stale, crowded; /* under cursor_lock */
	uint32_t images;
	uint64_t bytes;		      /* of those */
	struct image *changed[HEADS]; /* what has changed since, as it was; by the upper hash */
	struct image *ready, *last;   /* to be shown next */
	uint64_t step_bytes;	      /* of those, the last step's */
	struct image *shown;	      /* last: valid until the next step */
};

static uint32_t head_of(uint64_t hash) {
	return (uint32_t)(hash >> (64 - HEAD_BITS));
}

static size_t entry_bytes(const struct hf_entry *entry) {
	return sizeof(struct image) + entry->key_len + entry->len;
}

static size_t image_bytes(const struct image *image) {
	return sizeof(*image) + image->key_len + image->len;
}

static struct image *image_new(struct hf_map *map, const struct hf_entry *entry, bool there) {
	struct image *image = hf_memory_new(entry_bytes(entry));
	if (image == NULL)
		return NULL;
	hf_atomic_fetch_add(&map->cursor_bytes, entry_bytes(entry), HF_RELAXED);
	image->shard = entry->shard;
	image->hash = entry->hash;
	image->version = entry->version;
	image->there = there;
	image->key_len = (uint32_t)entry->key_len;
	image->len = (uint32_t)entry->len;
	memcpy(image->bytes, entry->key, entry->key_len);
	if (entry->len != 0)
		memcpy(image->bytes + entry->key_len, entry->data, entry->len);
	return image;
}

static void images_free(struct hf_map *map, struct image *image) {
	while (image != NULL) {
		struct image *next = image->next;
		hf_atomic_fetch_sub(&map->cursor_bytes, image_bytes(image), HF_RELAXED);
		hf_memory_free(image);
		image = next;
	}
}

static const struct image *find_changed(const struct hf_map_cursor *cursor,
					const struct hf_entry *entry) {
	const struct image *image = cursor->changed[head_of(entry->hash)];
	while (image != NULL && !(image->shard == entry->shard && image->hash == entry->hash &&
				  image->key_len == entry->key_len &&
				  memcmp(image->bytes, entry->key, entry->key_len) == 0))
		image = image->next;
	return image;
}

/* ---- what writers do, with the shard's lock, while a cursor is open */

/* One it may have, however large. */
static bool has_room(const struct hf_map_cursor *cursor, const struct hf_entry *entry) {
	return cursor->images == 0 || (cursor->images < HF_MAP_CURSOR_IMAGES &&
				       cursor->bytes + entry_bytes(entry) <= HF_MAP_CURSOR_BYTES);
}

static void keep(struct hf_map_cursor *cursor, const struct hf_entry *entry, bool there) {
	bool seen = entry->shard < cursor->shard ||
		    (entry->shard == cursor->shard && entry->hash < cursor->hash);
	if (seen || cursor->stale || find_changed(cursor, entry) != NULL)
		return;
	struct image *image = NULL;
	if (has_room(cursor, entry))
		image = image_new(cursor->thread->map, entry, there);
	if (image == NULL) {
		cursor->stale = cursor->crowded = true;
		return;
	}
	image->next = cursor->changed[head_of(entry->hash)];
	cursor->changed[head_of(entry->hash)] = image;
	cursor->images++;
	cursor->bytes += image_bytes(image);
}

void hf_cursors_note(struct hf_map *map, const struct hf_entry *entry, bool there) {
	hf_lock(&map->cursor_lock);
	for (struct hf_map_cursor *at = map->cursors; at != NULL; at = at->next) {
		if (at->mode == HF_MAP_CURSOR_STRICT)
			at->stale = true;
		else
			keep(at, entry, there);
	}
	hf_unlock(&map->cursor_lock);
}

/* ---- opening and closing */

static void freeze_all(struct hf_map *map, bool on) {
	for (uint32_t i = 0; i < map->shard_mask + 2; i++) {
		hf_shard_lock(map, &map->shards[i]);
		hf_shard_freeze(map, &map->shards[i], HF_FROZEN_CURSOR, on);
		hf_shard_unlock(map, &map->shards[i]);
	}
}

/* Until nobody overwrites without the lock any more: from then on, nothing changes unnoticed. */
static bool wait_for_writers(struct hf_map_thread *thread) {
	struct hf_map *map = thread->map;
	if (map->owned)
		return true;
	char name[HF_MAP_NAME_MAX + 1];
	uint64_t stamp = hf_epochs_stamp(&map->epochs), begin_ns = hf_clock_monotonic_ns();
	while (!hf_epochs_passed(&map->epochs, stamp)) {
		if (hf_clock_monotonic_ns() - begin_ns < (uint64_t)map->patience_ms * 1000000) {
			hf_thread_yield();
			continue;
		}
		if (!hf_epochs_culprit(&map->epochs, stamp, name, sizeof(name)))
			continue;
		return hf_fail(&thread->err, HF_NOMEM,
			       "map '%s': no cursor can be opened: thread '%s' has been inside for "
			       "more than %u ms",
			       map->name, name, map->patience_ms);
	}
	return true;
}

/* With all shards' locks, so that the set it shows is that of one moment. */
static void enlist(struct hf_map *map, struct hf_map_cursor *cursor) {
	for (uint32_t i = 0; i < map->shard_mask + 2; i++)
		hf_shard_lock(map, &map->shards[i]);
	hf_lock(&map->cursor_lock);
	cursor->next = map->cursors;
	hf_atomic_store(&map->cursors, cursor, HF_RELAXED);
	hf_unlock(&map->cursor_lock);
	for (uint32_t i = 0; i < map->shard_mask + 2; i++)
		hf_shard_unlock(map, &map->shards[i]);
}

static void cursor_free(struct hf_map_cursor *cursor) {
	struct hf_map *map = cursor->thread->map;
	for (uint32_t i = 0; i < HEADS; i++)
		images_free(map, cursor->changed[i]);
	images_free(map, cursor->ready);
	images_free(map, cursor->shown);
	hf_atomic_fetch_sub(&map->cursor_bytes, sizeof(*cursor), HF_RELAXED);
	hf_memory_free(cursor);
}

enum hf_status hf_map_cursor_open(struct hf_map_thread *thread, enum hf_map_cursor_mode mode,
				  struct hf_map_cursor **ret) {
	struct hf_map *map = thread->map;
	struct hf_bytes none = { 0 };
	enum hf_status status = hf_guard(thread, HF_MAP_READ, map->kind, "cursor_open", none);
	if (status != HF_OK)
		return status;
	if (mode != HF_MAP_CURSOR_SNAPSHOT && mode != HF_MAP_CURSOR_STRICT) {
		hf_fail(&thread->err, HF_USAGE,
			"map '%s': a cursor is HF_MAP_CURSOR_SNAPSHOT or HF_MAP_CURSOR_STRICT",
			map->name);
		return HF_USAGE;
	}
	struct hf_map_cursor *cursor = hf_memory_new(sizeof(*cursor));
	if (cursor == NULL) {
		hf_fail(&thread->err, HF_NOMEM, "out of memory: no cursor of map '%s'", map->name);
		return HF_NOMEM;
	}
	hf_atomic_fetch_add(&map->cursor_bytes, sizeof(*cursor), HF_RELAXED);
	cursor->thread = thread;
	cursor->mode = mode;
	hf_lock(&map->cursor_count_lock);
	if (map->cursor_count++ == 0)
		freeze_all(map, true);
	bool ok = wait_for_writers(thread);
	if (ok)
		enlist(map, cursor);
	else if (--map->cursor_count == 0)
		freeze_all(map, false);
	hf_unlock(&map->cursor_count_lock);
	if (!ok) {
		cursor_free(cursor);
		return thread->err.status;
	}
	*ret = cursor;
	return HF_OK;
}

void hf_map_cursor_close(struct hf_map_cursor *cursor) {
	if (cursor == NULL)
		return;
	struct hf_map *map = cursor->thread->map;
	hf_lock(&map->cursor_lock);
	struct hf_map_cursor **at = &map->cursors;
	while (*at != cursor)
		at = &(*at)->next;
	hf_atomic_store(at, cursor->next, HF_RELAXED);
	hf_unlock(&map->cursor_lock);
	hf_lock(&map->cursor_count_lock);
	if (--map->cursor_count == 0)
		freeze_all(map, false);
	hf_unlock(&map->cursor_count_lock);
	cursor_free(cursor);
}

/* ---- a step */

static bool show(struct hf_map_cursor *cursor, struct image *image) {
	if (image == NULL)
		return false;
	image->next = NULL;
	cursor->step_bytes += image_bytes(image);
	if (cursor->ready == NULL)
		cursor->ready = image;
	else
		cursor->last->next = image;
	cursor->last = image;
	return true;
}

static bool take_entry(void *arg, uint64_t hash, const uint64_t *slot) {
	struct hf_map_cursor *cursor = arg;
	struct hf_entry entry = hf_entry_of(cursor->thread->map, cursor->shard, hash, slot);
	return find_changed(cursor, &entry) != NULL ||
	       show(cursor, image_new(cursor->thread->map, &entry, true));
}

/* Those that have changed, as they were. They are not needed any more: nothing looks back. */
static void take_changed(struct hf_map_cursor *cursor, uint64_t from, uint64_t last) {
	for (uint32_t head = head_of(from); head <= head_of(last); head++) {
		struct image **at = &cursor->changed[head];
		while (*at != NULL) {
			struct image *image = *at;
			bool mine = image->shard == cursor->shard && image->hash >= from &&
				    image->hash <= last;
			if (!mine) {
				at = &image->next;
				continue;
			}
			*at = image->next;
			cursor->images--;
			cursor->bytes -= image_bytes(image);
			image->next = NULL;
			if (image->there)
				(void)show(cursor, image);
			else
				images_free(cursor->thread->map, image);
		}
	}
}

/* The next home lines of the shard that it is in. */
static bool step(struct hf_map_cursor *cursor) {
	struct hf_map *map = cursor->thread->map;
	struct hf_map_shard *shard = &map->shards[cursor->shard];
	bool ok = true, over = false;
	cursor->step_bytes = 0;
	hf_shard_lock(map, shard);
	hf_lock(&map->cursor_lock);
	for (uint32_t i = 0;
	     ok && !over && i < STEP_LINES && cursor->step_bytes < STEP_BYTES && !cursor->stale;
	     i++) {
		uint64_t from = cursor->hash, last = hf_shard_line_last(shard, from);
		/* As they are now, but those that had changed. */
		ok = hf_shard_each(map, shard, from, last, take_entry, cursor);
		take_changed(cursor, from, last);
		cursor->hash = last + 1;
		over = cursor->hash == 0;
	}
	cursor->shard += over;
	hf_unlock(&map->cursor_lock);
	hf_shard_unlock(map, shard);
	return ok;
}

static enum hf_status stale(struct hf_map_cursor *cursor) {
	struct hf_map_thread *thread = cursor->thread;
	hf_fail(&thread->err, HF_STALE,
		"map '%s': the cursor of thread '%s' is stale: %s; open another", thread->map->name,
		thread->name,
		cursor->crowded ? "too much has changed since it was opened"
				: "the map has changed since it was opened");
	return HF_STALE;
}

static bool is_stale(struct hf_map_cursor *cursor) {
	hf_lock(&cursor->thread->map->cursor_lock);
	bool answer = cursor->stale;
	hf_unlock(&cursor->thread->map->cursor_lock);
	return answer;
}

/* Finds what comes next, and leaves it in `ready`. */
static enum hf_status find_next(struct hf_map_cursor *cursor) {
	struct hf_map_thread *thread = cursor->thread;
	struct hf_map *map = thread->map;
	if (is_stale(cursor))
		return stale(cursor);
	while (cursor->ready == NULL && cursor->shard < map->shard_mask + 2) {
		if (!step(cursor)) {
			hf_fail(&thread->err, HF_NOMEM, "out of memory: a cursor of map '%s'",
				map->name);
			hf_lock(&map->cursor_lock);
			cursor->stale = cursor->crowded = true; /* it has lost its place */
			hf_unlock(&map->cursor_lock);
			return HF_NOMEM;
		}
		if (is_stale(cursor))
			return stale(cursor);
	}
	return cursor->ready != NULL ? HF_OK : HF_NOTFOUND;
}

static struct hf_map_entry entry_in(const struct hf_map *map, const struct image *image) {
	struct hf_map_entry ret = {
		.name = { image->bytes, image->key_len },
		.record = { image->bytes + image->key_len, image->len, image->version },
	};
	if (map->kind != HF_MAP_U64)
		return ret;
	memcpy(&ret.key, image->bytes, sizeof(ret.key));
	memcpy(&ret.value, ret.record.data, sizeof(ret.value));
	if (image->shard == map->shard_mask + 1)
		ret.key -= HF_MARKS; /* it was in disguise: see place_of */
	return ret;
}

static bool is_watched(const struct hf_map_thread *thread) {
	uint32_t shift = thread->map->kind == HF_MAP_U64 ? 0 : HF_WATCH_RECORDS;
	return HF_UNLIKELY((hf_atomic_load(&thread->watch, HF_RELAXED) & HF_MAP_READ << shift) !=
			   0);
}

/* What may not be shown stays where it is: the next step, with the right, begins with it. */
enum hf_status hf_map_cursor_next(struct hf_map_cursor *cursor, struct hf_map_entry *ret) {
	struct hf_map_thread *thread = cursor->thread;
	struct hf_map *map = thread->map;
	struct hf_map_entry entry = { 0 };
	images_free(map, cursor->shown);
	cursor->shown = NULL;
	enum hf_status status = find_next(cursor);
	struct image *image = status == HF_OK ? cursor->ready : NULL;
	if (image != NULL)
		entry = entry_in(map, image);
	if (is_watched(thread)) {
		struct hf_bytes key = entry.name;
		if (image != NULL && map->kind == HF_MAP_U64)
			key = (struct hf_bytes){ &entry.key, sizeof(entry.key) };
		enum hf_status said = hf_guard(thread, HF_MAP_READ, map->kind, "cursor_next", key);
		if (said != HF_OK)
			return said;
	}
	if (image == NULL)
		return status;
	cursor->ready = image->next;
	image->next = NULL;
	cursor->shown = image;
	*ret = entry;
	return HF_OK;
}
