#include "map/index.h"

#include <stddef.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "base/limits.h"

#define LINE_BYTES 64u
#define MOVE_LINES 2u /* per insertion: one would do; two are done before half the entries came */
#define WARM_LINES 8u /* per insertion, from 13/16 full on: 6.4 would do until 7/8 */

_Static_assert(sizeof(struct hf_index_line) == LINE_BYTES, "one line, one cache line");
_Static_assert(HF_INDEX_LINE_ENTRIES == 5, "matches() looks at four and one");

static struct hf_index_line *line_of(const struct hf_index_table *table, uint64_t hash) {
	return &table->lines[hash & table->mask];
}

static struct hf_index_line *line_after(const struct hf_index_table *table,
					const struct hf_index_line *line) {
	return &table->lines[((uint64_t)(line - table->lines) + 1) & table->mask];
}

static size_t table_bytes(const struct hf_index_table *table) {
	return table->lines == NULL ? 0 : (table->mask + 1) * sizeof(struct hf_index_line);
}

static void table_free(struct hf_index *map, struct hf_index_table *table) {
	map->allocator->free(table->lines, table_bytes(table));
	*table = (struct hf_index_table){ 0 };
}

/* Gives it back, in parts if it is large: see hf_index_add. */
static void table_retire(struct hf_index *map, struct hf_index_table *table) {
	if (map->allocator->drop == NULL || table_bytes(table) <= HF_MAP_DROP_BYTES) {
		table_free(map, table);
		return;
	}
	table_free(map, &map->retired); /* long gone: twice as many entries came since */
	map->retired = *table;
	map->dropped = 0;
	*table = (struct hf_index_table){ 0 };
}

/* Up to the next huge page, so that none is split more than it is. */
static void drop_retired(struct hf_index *map) {
	uint8_t *part = (uint8_t *)map->retired.lines + map->dropped;
	size_t bytes = HF_MAP_DROP_BYTES - ((uintptr_t)part & (HF_MAP_DROP_BYTES - 1));
	if (bytes < table_bytes(&map->retired) - map->dropped) {
		map->allocator->drop(part, bytes);
		map->dropped += bytes;
	} else {
		table_free(map, &map->retired);
		map->dropped = 0;
	}
}

void hf_index_init(struct hf_index *map, const struct hf_allocator *allocator) {
	*map = (struct hf_index){ .allocator = allocator };
}

void hf_index_fini(struct hf_index *map) {
	hf_index_walk_end(map);
	table_free(map, &map->now);
	table_free(map, &map->old);
	table_free(map, &map->next);
	table_free(map, &map->retired);
}

static uint64_t line_hash(const struct hf_index_line *line, uint32_t entry) {
	return line->hash_low[entry] | (uint64_t)line->hash_high[entry] << 32;
}

static uint64_t line_value(const struct hf_index_line *line, uint32_t entry) {
	return line->value_low[entry] | (uint64_t)line->value_high[entry] << 32;
}

/*
 * A bit for each entry with this hash; without branches, which would be mispredicted. Where the
 * processor has them, four entries at a time by vectors of 16 bytes, and the fifth by itself.
 */
static uint32_t matches(const struct hf_index_line *line, uint64_t hash) {
	uint32_t low = (uint32_t)hash, found = 0, i = 0;
	uint16_t high = (uint16_t)(hash >> 32);
#ifdef __SSE2__
	__m128i lows = _mm_loadu_si128((const __m128i *)line->hash_low);
	__m128i highs = _mm_loadl_epi64((const __m128i *)line->hash_high);
	__m128i same_low = _mm_cmpeq_epi32(lows, _mm_set1_epi32((int)low));
	__m128i same_high = _mm_cmpeq_epi16(highs, _mm_set1_epi16((short)high));
	same_high = _mm_unpacklo_epi16(same_high, same_high);
	found = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_and_si128(same_low, same_high)));
	i = 4;
#endif
	for (; i < HF_INDEX_LINE_ENTRIES; i++)
		found |= (uint32_t)((line->hash_low[i] == low) & (line->hash_high[i] == high)) << i;
	return found & ((1u << line->used) - 1);
}

static void stand_on(struct hf_index_cursor *cursor, struct hf_index_line *line) {
	cursor->line = line;
	cursor->matches = matches(line, cursor->hash);
}

uint64_t hf_index_next(struct hf_index_cursor *cursor) {
	for (;;) {
		const struct hf_index_line *line = cursor->line;
		if (cursor->matches != 0) {
			uint32_t i = cursor->entry = (uint32_t)__builtin_ctz(cursor->matches);
			cursor->matches &= cursor->matches - 1;
			return line_value(line, i);
		}
		if (line->used == HF_INDEX_LINE_ENTRIES) {
			stand_on(cursor, line_after(cursor->table, line));
			continue;
		}
		if (cursor->next_table == NULL)
			return 0;
		cursor->table = cursor->next_table;
		cursor->next_table = NULL;
		stand_on(cursor, line_of(cursor->table, cursor->hash));
	}
}

uint64_t hf_index_first(const struct hf_index *map, uint64_t hash, struct hf_index_cursor *ret) {
	if (map->now.lines == NULL)
		return 0;
	ret->table = &map->now;
	ret->next_table = map->old.lines == NULL ? NULL : &map->old;
	ret->hash = hash;
	stand_on(ret, line_of(&map->now, hash));
	return hf_index_next(ret);
}

static void line_set(struct hf_index_line *line, uint32_t entry, uint64_t hash, uint64_t value) {
	line->hash_low[entry] = (uint32_t)hash;
	line->hash_high[entry] = (uint16_t)(hash >> 32);
	line->value_low[entry] = (uint32_t)value;
	line->value_high[entry] = (uint16_t)(value >> 32);
}

static void table_add(struct hf_index_table *table, uint64_t hash, uint64_t value) {
	struct hf_index_line *line = line_of(table, hash);
	while (line->used == HF_INDEX_LINE_ENTRIES)
		line = line_after(table, line);
	line_set(line, line->used++, hash, value);
	table->count++;
}

static void move_line(struct hf_index *map) {
	if (map->old.lines == NULL)
		return;
	const struct hf_index_line *line = &map->old.lines[map->moved++];
	for (uint32_t i = 0; i < line->used; i++)
		table_add(&map->now, line_hash(line, i), line_value(line, i));
	map->old.count -= line->used;
	if (map->moved <= map->old.mask)
		return;
	HF_ASSERT(map->old.count == 0);
	if (map->old.lines == map->walked.lines) /* hf_index_walk_end frees it */
		map->old = (struct hf_index_table){ 0 };
	else
		table_retire(map, &map->old);
}

static void warm_line(struct hf_index *map) {
	if (map->warmed > map->next.mask)
		return;
	volatile uint32_t *used = &map->next.lines[map->warmed++].used;
	*used = 0;
}

/*
 * New memory costs when it is first touched: milliseconds for a huge page that the machine has to
 * find first. So a successor is touched step by step before it is needed: touched all at once, by
 * the first insertions into it, it would stop everything for a tenth of a second.
 */
static void warm_next(struct hf_index *map) {
	const struct hf_index_table *now = &map->now;
	if (map->next.lines == NULL) {
		uint64_t lines = (now->mask + 1) * 2;
		if (now->count * 16 < (now->mask + 1) * HF_INDEX_LINE_ENTRIES * 13)
			return;
		map->next.lines = map->allocator->alloc(lines * sizeof(struct hf_index_line));
		map->next.mask = lines - 1;
		map->warmed = 0;
		if (map->next.lines == NULL)
			return; /* grow() tries again, and tells */
	}
	for (uint32_t i = 0; i < WARM_LINES; i++)
		warm_line(map);
}

static bool grow(struct hf_index *map, struct hf_err *err) {
	/* `now` had room for 7/16 of its entries since it was made: more lines than `old` had. */
	HF_ASSERT(map->old.lines == NULL);
	uint64_t lines = map->now.lines == NULL ? HF_INDEX_LINES_FIRST : (map->now.mask + 1) * 2;
	struct hf_index_table next = map->next;
	if (next.lines == NULL)
		next = (struct hf_index_table){
			.lines = map->allocator->alloc(lines * sizeof(struct hf_index_line)),
			.mask = lines - 1,
		};
	if (next.lines == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: an index of %llu entries cannot grow",
			       (unsigned long long)map->now.count);
	map->old = map->now;
	map->now = next;
	map->next = (struct hf_index_table){ 0 };
	map->moved = 0;
	return true;
}

bool hf_index_reserve(struct hf_index *map, struct hf_err *err) {
	const struct hf_index_table *now = &map->now;
	return (now->lines != NULL &&
		now->count * 8 < (now->mask + 1) * HF_INDEX_LINE_ENTRIES * 7) ||
	       grow(map, err);
}

void hf_index_add(struct hf_index *map, uint64_t hash, uint64_t value) {
	HF_ASSERT(value != 0 && value <= HF_INDEX_VALUE_MAX);
	HF_ASSERT(map->now.count < (map->now.mask + 1) * HF_INDEX_LINE_ENTRIES - 1);
	if (map->retired.lines != NULL)
		drop_retired(map);
	table_add(&map->now, hash, value);
	for (uint32_t i = 0; i < MOVE_LINES; i++)
		move_line(map);
	warm_next(map);
}

void hf_index_prefetch(const struct hf_index *map, uint64_t hash) {
	if (map->now.lines != NULL)
		__builtin_prefetch(line_of(&map->now, hash), 1);
	if (map->old.lines != NULL)
		__builtin_prefetch(line_of(&map->old, hash));
}

bool hf_index_presize(struct hf_index *map, uint64_t count, struct hf_err *err) {
	HF_ASSERT(map->now.lines == NULL);
	uint64_t lines = HF_INDEX_LINES_FIRST;
	while (count * 8 >= lines * HF_INDEX_LINE_ENTRIES * 7)
		lines *= 2;
	struct hf_index_line *made = map->allocator->alloc(lines * sizeof(*made));
	if (made == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no index of %llu entries",
			       (unsigned long long)count);
	map->now = (struct hf_index_table){ .lines = made, .mask = lines - 1 };
	return true;
}

bool hf_index_settle(struct hf_index *map, uint64_t lines) {
	for (; lines > 0 && map->old.lines != NULL; lines--)
		move_line(map);
	return map->old.lines == NULL;
}

void hf_index_walk_begin(struct hf_index *map) {
	HF_ASSERT(map->walked.lines == NULL && map->old.lines == NULL);
	map->walked = map->now;
}

int hf_index_walk_line(struct hf_index *map, uint64_t *line,
		       uint64_t ret_hash[HF_INDEX_LINE_ENTRIES],
		       uint64_t ret_value[HF_INDEX_LINE_ENTRIES]) {
	if (map->walked.lines == NULL || *line > map->walked.mask)
		return -1;
	const struct hf_index_line *from = &map->walked.lines[(*line)++];
	for (uint32_t i = 0; i < from->used; i++) {
		ret_hash[i] = line_hash(from, i);
		ret_value[i] = line_value(from, i);
	}
	return (int)from->used;
}

void hf_index_walk_end(struct hf_index *map) {
	if (map->walked.lines != map->now.lines && map->walked.lines != map->old.lines)
		table_retire(map, &map->walked);
	map->walked = (struct hf_index_table){ 0 };
}

uint64_t hf_index_count(const struct hf_index *map) {
	return map->now.count + map->old.count;
}

uint64_t hf_index_bytes(const struct hf_index *map) {
	uint64_t warmed = map->next.lines == NULL ? 0 : map->warmed * sizeof(struct hf_index_line);
	bool kept = map->walked.lines != map->now.lines && map->walked.lines != map->old.lines;
	return table_bytes(&map->now) + table_bytes(&map->old) + warmed +
	       (kept ? table_bytes(&map->walked) : 0) + table_bytes(&map->retired) - map->dropped;
}
