#include "map/map.h"

#include <stddef.h>

#include "base/assert.h"

#define FIRST_SLOTS 16u

/* The low 48 bits of a hash are kept in its slot, the high 8 choose the table: the position needs no others up to 2^40 slots. */
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

static const struct hf_map_table *table_of(const struct hf_map *map, uint64_t hash) {
	return &map->tables[hash >> 56];
}

void hf_map_init(struct hf_map *map, const struct hf_allocator *allocator) {
	*map = (struct hf_map){ .allocator = allocator };
}

void hf_map_fini(struct hf_map *map) {
	for (uint32_t i = 0; i < HF_MAP_TABLES; i++)
		map->allocator->free(map->tables[i].slots);
}

uint64_t hf_map_next(struct hf_map_cursor *cursor) {
	const struct hf_map_table *table = cursor->table;
	for (;;) {
		cursor->at = (cursor->at + 1) & table->mask;
		const struct hf_map_slot *slot = &table->slots[cursor->at];
		uint64_t value = slot_value(slot);
		if (value == 0 || slot_tag(slot) == cursor->tag)
			return value;
	}
}

uint64_t hf_map_first(const struct hf_map *map, uint64_t hash, struct hf_map_cursor *ret) {
	const struct hf_map_table *table = table_of(map, hash);
	uint64_t tag = tag_of(hash);
	if (table->slots == NULL)
		return 0;
	*ret = (struct hf_map_cursor){ .table = table, .tag = tag, .at = (uint32_t)(tag - 1) & table->mask };
	return hf_map_next(ret);
}

static void table_add(struct hf_map_table *table, uint64_t tag, uint64_t value) {
	uint32_t at = (uint32_t)tag & table->mask;
	while (slot_value(&table->slots[at]) != 0)
		at = (at + 1) & table->mask;
	slot_set(&table->slots[at], tag, value);
	table->count++;
}

static bool grow(struct hf_map *map, struct hf_map_table *table, struct hf_err *err) {
	uint32_t old_slots = table->slots == NULL ? 0 : table->mask + 1;
	uint32_t slots = old_slots == 0 ? FIRST_SLOTS : old_slots * 2;
	HF_ASSERT(slots > old_slots);
	struct hf_map_table next = {
		.slots = map->allocator->alloc((size_t)slots * sizeof(struct hf_map_slot)),
		.mask = slots - 1,
	};
	if (next.slots == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: an index of %u entries cannot grow", table->count);
	for (uint32_t i = 0; i < old_slots; i++) {
		uint64_t value = slot_value(&table->slots[i]);
		if (value != 0)
			table_add(&next, slot_tag(&table->slots[i]), value);
	}
	map->allocator->free(table->slots);
	*table = next;
	map->slot_count += slots - old_slots;
	return true;
}

bool hf_map_reserve(struct hf_map *map, uint64_t hash, struct hf_err *err) {
	struct hf_map_table *table = &map->tables[hash >> 56];
	if (table->slots != NULL && table->count + 1 <= (table->mask + 1) / 8 * 7)
		return true;
	return grow(map, table, err);
}

void hf_map_add(struct hf_map *map, uint64_t hash, uint64_t value) {
	HF_ASSERT(value != 0 && value <= HF_MAP_VALUE_MAX);
	struct hf_map_table *table = &map->tables[hash >> 56];
	HF_ASSERT(table->slots != NULL && table->count < table->mask);
	table_add(table, tag_of(hash), value);
	map->count++;
}

void hf_map_replace(const struct hf_map_cursor *cursor, uint64_t value) {
	HF_ASSERT(value != 0 && value <= HF_MAP_VALUE_MAX);
	slot_set(&cursor->table->slots[cursor->at], cursor->tag, value);
}

void hf_map_prefetch(const struct hf_map *map, uint64_t hash) {
	const struct hf_map_table *table = table_of(map, hash);
	if (table->slots != NULL)
		__builtin_prefetch(&table->slots[(uint32_t)tag_of(hash) & table->mask]);
}

uint64_t hf_map_bytes(const struct hf_map *map) {
	return map->slot_count * sizeof(struct hf_map_slot);
}
