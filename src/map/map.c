#include "map/map.h"

#include <stddef.h>

#include "base/assert.h"

#define FIRST_SLOTS 256u

/*
 * Slots moved per insertion. While `now`, of 2n slots, takes the at most 7/8 n entries that still
 * fit, the n slots of `old` must have been moved: 8/7 would do. More ends the time of two tables
 * sooner.
 */
#define MOVE_SLOTS 4u

static uint64_t tag_of(uint64_t hash) {
	return hash & HF_MAP_VALUE_MAX;
}

static uint64_t slot_tag(const struct hf_map_slot *slot) {
	return slot->word[0] | (uint64_t)(slot->word[1] & 0xffff) << 32;
}

static uint64_t slot_value(const struct hf_map_slot *slot) {
	return slot->word[1] >> 16 | (uint64_t)slot->word[2] << 16;
}

static void slot_set(struct hf_map_slot *slot, uint64_t tag, uint64_t value) {
	slot->word[0] = (uint32_t)tag;
	slot->word[1] = (uint32_t)(tag >> 32) | (uint32_t)value << 16;
	slot->word[2] = (uint32_t)(value >> 16);
}

static size_t table_bytes(const struct hf_map_table *table) {
	return table->slots == NULL ? 0 : (table->mask + 1) * sizeof(struct hf_map_slot);
}

static void table_free(struct hf_map *map, struct hf_map_table *table) {
	map->allocator->free(table->slots, table_bytes(table));
	*table = (struct hf_map_table){ 0 };
}

void hf_map_init(struct hf_map *map, const struct hf_allocator *allocator) {
	*map = (struct hf_map){ .allocator = allocator };
}

void hf_map_fini(struct hf_map *map) {
	table_free(map, &map->now);
	table_free(map, &map->old);
}

uint64_t hf_map_next(struct hf_map_cursor *cursor) {
	for (;;) {
		const struct hf_map_table *table = cursor->table;
		cursor->at = (cursor->at + 1) & table->mask;
		const struct hf_map_slot *slot = &table->slots[cursor->at];
		uint64_t value = slot_value(slot);
		if (value != 0 && slot_tag(slot) == cursor->tag)
			return value;
		if (value != 0)
			continue;
		if (cursor->next_table == NULL)
			return 0;
		cursor->table = cursor->next_table;
		cursor->next_table = NULL;
		cursor->at = cursor->tag - 1;
	}
}

uint64_t hf_map_first(const struct hf_map *map, uint64_t hash, struct hf_map_cursor *ret) {
	uint64_t tag = tag_of(hash);
	if (map->now.slots == NULL)
		return 0;
	/* `now` first: of an entry that is in both, the one there is the true one. */
	*ret = (struct hf_map_cursor){
		.table = &map->now,
		.next_table = map->old.slots == NULL ? NULL : &map->old,
		.tag = tag,
		.at = tag - 1,
	};
	return hf_map_next(ret);
}

static void table_add(struct hf_map_table *table, uint64_t tag, uint64_t value) {
	uint64_t at = tag & table->mask;
	while (slot_value(&table->slots[at]) != 0)
		at = (at + 1) & table->mask;
	slot_set(&table->slots[at], tag, value);
	table->count++;
}

static void move_some(struct hf_map *map) {
	for (uint32_t i = 0; i < MOVE_SLOTS && map->moved <= map->old.mask; i++) {
		const struct hf_map_slot *slot = &map->old.slots[map->moved++];
		uint64_t value = slot_value(slot);
		if (value == 0)
			continue;
		table_add(&map->now, slot_tag(slot), value);
		map->old.count--;
	}
	if (map->moved <= map->old.mask)
		return;
	HF_ASSERT(map->old.count == 0);
	table_free(map, &map->old);
}

static bool grow(struct hf_map *map, struct hf_err *err) {
	HF_ASSERT(map->old.slots == NULL);
	uint64_t slots = map->now.slots == NULL ? FIRST_SLOTS : (map->now.mask + 1) * 2;
	struct hf_map_table next = {
		.slots = map->allocator->alloc(slots * sizeof(struct hf_map_slot)),
		.mask = slots - 1,
	};
	if (next.slots == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: an index of %llu entries cannot grow",
			       (unsigned long long)map->now.count);
	map->old = map->now;
	map->now = next;
	map->moved = 0;
	return true;
}

bool hf_map_reserve(struct hf_map *map, struct hf_err *err) {
	const struct hf_map_table *now = &map->now;
	return (now->slots != NULL && now->count < (now->mask + 1) / 8 * 7) || grow(map, err);
}

void hf_map_add(struct hf_map *map, uint64_t hash, uint64_t value) {
	HF_ASSERT(value != 0 && value <= HF_MAP_VALUE_MAX);
	HF_ASSERT(map->now.slots != NULL && map->now.count < map->now.mask);
	table_add(&map->now, tag_of(hash), value);
	if (map->old.slots != NULL)
		move_some(map);
}

void hf_map_replace(const struct hf_map_cursor *cursor, uint64_t value) {
	HF_ASSERT(value != 0 && value <= HF_MAP_VALUE_MAX);
	slot_set(&cursor->table->slots[cursor->at], cursor->tag, value);
}

void hf_map_prefetch(const struct hf_map *map, uint64_t hash) {
	uint64_t tag = tag_of(hash);
	if (map->now.slots != NULL)
		__builtin_prefetch(&map->now.slots[tag & map->now.mask]);
	if (map->old.slots != NULL)
		__builtin_prefetch(&map->old.slots[tag & map->old.mask]);
}

uint64_t hf_map_count(const struct hf_map *map) {
	return map->now.count + map->old.count;
}

uint64_t hf_map_bytes(const struct hf_map *map) {
	return table_bytes(&map->now) + table_bytes(&map->old);
}
