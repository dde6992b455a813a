/* The index: what was put in is found, under colliding hashes and across growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "map/index.h"

#define ENTRIES 300000u

static void *zeroed(size_t bytes) {
	void *memory = aligned_alloc(64, bytes);
	return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static void *nothing(size_t bytes) {
	return NULL;
}

static void give_back(void *memory, size_t bytes) {
	free(memory);
}

static const struct hf_allocator heap = { zeroed, give_back };
static const struct hf_allocator exhausted = { nothing, give_back };

/* As the system's pages, which go in parts. */
static size_t given, dropped; /* by a call; of these, not freed yet */

static void give_back_part(void *part, size_t bytes) {
	given += bytes;
	dropped += bytes;
	memset(part, 0xdd, bytes); /* nobody is to look at it */
}

static void give_back_rest(void *memory, size_t bytes) {
	if (memory == NULL)
		return;
	size_t ahead = dropped < bytes ? dropped : bytes;
	given += bytes - ahead;
	dropped -= ahead;
	free(memory);
}

static uint64_t hash_of(uint64_t i) {
	return i * 0x9e3779b97f4a7c15u;
}

static bool holds(const struct hf_index *map, uint64_t hash, uint64_t value) {
	struct hf_index_cursor cursor;
	uint64_t found = hf_index_first(map, hash, &cursor);
	while (found != 0 && found != value)
		found = hf_index_next(&cursor);
	return found == value;
}

static void put(struct hf_index *map, uint64_t hash, uint64_t value) {
	struct hf_err err;
	assert_true(hf_index_reserve(map, &err));
	hf_index_add(map, hash, value);
}

/* To give back a table of many megabytes takes milliseconds: no call does all of it. */
static void a_table_is_given_back_in_parts(void **state) {
	static const struct hf_allocator parts = { zeroed, give_back_rest, give_back_part };
	struct hf_index map;
	size_t most = 0;
	hf_index_init(&map, &parts);
	for (uint64_t i = 1; i <= 4 * ENTRIES; i++) {
		given = 0;
		put(&map, hash_of(i), i);
		most = given > most ? given : most;
		if (map.retired.lines != NULL)
			assert_true(holds(&map, hash_of(i / 2 + 1), i / 2 + 1));
	}
	assert_in_range(most, 1, HF_MAP_DROP_BYTES);
	assert_true(dropped == 0 && map.retired.lines == NULL);
	for (uint64_t i = 1; i <= 4 * ENTRIES; i++)
		assert_true(holds(&map, hash_of(i), i));
	hf_index_fini(&map);
}

static void finds_all_across_growth(void **state) {
	struct hf_index map;
	hf_index_init(&map, &heap);
	assert_false(holds(&map, hash_of(1), 1));
	for (uint64_t i = 1; i <= ENTRIES; i++) {
		put(&map, hash_of(i), i);
		assert_true(holds(&map, hash_of(i / 2 + 1), i / 2 + 1)); /* also while it moves */
		assert_int_equal(hf_index_count(&map), i);
	}
	for (uint64_t i = 1; i <= ENTRIES; i++)
		assert_true(holds(&map, hash_of(i), i));
	assert_false(holds(&map, hash_of(ENTRIES + 1), ENTRIES + 1));
	/* 7/16 full at the least, and half as much again while it moves, or is about to. */
	assert_true(hf_index_bytes(&map) <= ENTRIES * 64 / 5 * 16 / 7 * 3 / 2);
	hf_index_fini(&map);
}

static void one_hash_holds_many_values(void **state) {
	struct hf_index map;
	hf_index_init(&map, &heap);
	for (uint64_t i = 1; i <= 1000; i++)
		put(&map, 0, i << 33);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_true(holds(&map, 0, i << 33));
	struct hf_index_cursor cursor;
	uint64_t first = hf_index_first(&map, 0, &cursor);
	assert_int_equal(first & 0x1ffffffff, 0);
	hf_index_fini(&map);
}

static void no_memory_changes_nothing(void **state) {
	struct hf_index map;
	struct hf_err err;
	hf_index_init(&map, &heap);
	uint64_t count;
	put(&map, hash_of(1), 1);
	count = 1;
	map.allocator = &exhausted;
	while (hf_index_reserve(&map, &err)) {
		count++;
		hf_index_add(&map, hash_of(count), count);
	}
	assert_int_equal(err.status, HF_NOMEM);
	assert_int_equal(hf_index_count(&map), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_true(holds(&map, hash_of(i), i));
	map.allocator = &heap;
	put(&map, hash_of(count + 1), count + 1);
	assert_true(holds(&map, hash_of(count + 1), count + 1));
	hf_index_fini(&map);
}

/*
 * Each entry that was there when the walk began comes once, with any number of insertions between
 * its steps: none, a few, and so many that the table is outgrown twice.
 */
static void walk_with(uint64_t entries, uint64_t between) {
	struct hf_index map;
	uint64_t hashes[HF_INDEX_LINE_ENTRIES], values[HF_INDEX_LINE_ENTRIES];
	uint64_t line = 0, next = entries + 1;
	uint8_t *seen = calloc(entries + 1, 1);
	hf_index_init(&map, &heap);
	for (uint64_t i = 1; i <= entries; i++)
		put(&map, hash_of(i), i);
	while (!hf_index_settle(&map, 3))
		put(&map, hash_of(next), next), next++;
	hf_index_walk_begin(&map);
	for (int count; (count = hf_index_walk_line(&map, &line, hashes, values)) >= 0;) {
		for (int i = 0; i < count; i++) {
			assert_int_equal(hashes[i], hash_of(values[i]) & HF_INDEX_VALUE_MAX);
			if (values[i] <= entries)
				assert_int_equal(seen[values[i]]++, 0);
		}
		for (uint64_t i = 0; i < between; i++, next++)
			put(&map, hash_of(next), next);
	}
	hf_index_walk_end(&map);
	for (uint64_t i = 1; i <= entries; i++)
		assert_int_equal(seen[i], 1);
	for (uint64_t i = 1; i < next; i++)
		assert_true(holds(&map, hash_of(i), i));
	assert_int_equal(hf_index_count(&map), next - 1);
	hf_index_fini(&map);
	free(seen);
}

static void a_walk_sees_each_entry_once(void **state) {
	const uint64_t sizes[] = { 1, 5, 279, 280, 281, 300, 1000, 5000 };
	const uint64_t between[] = { 0, 1, 3, 40 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t k = 0; k < sizeof(between) / sizeof(between[0]); k++)
			walk_with(sizes[i], between[k]);
}

/* Ended in the middle, with the table outgrown; and never ended. */
static void a_walk_may_be_left(void **state) {
	for (int ends = 0; ends < 2; ends++) {
		struct hf_index map;
		hf_index_init(&map, &heap);
		for (uint64_t i = 1; i <= 200; i++)
			put(&map, hash_of(i), i);
		assert_true(hf_index_settle(&map, 1000));
		hf_index_walk_begin(&map);
		uint64_t bytes = hf_index_bytes(&map);
		for (uint64_t i = 201; i <= 5000; i++)
			put(&map, hash_of(i), i);
		assert_true(hf_index_bytes(&map) > bytes);
		bytes = hf_index_bytes(&map);
		if (ends) {
			hf_index_walk_end(&map);
			assert_true(hf_index_bytes(&map) <
				    bytes); /* what was kept for it is given back */
		}
		hf_index_fini(&map);
	}
}

static void a_presized_map_does_not_grow(void **state) {
	const uint64_t counts[] = { 1, 279, 280, 281, 5000 };
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct hf_index map;
		struct hf_err err;
		hf_index_init(&map, &heap);
		assert_true(hf_index_presize(&map, counts[i], &err));
		map.allocator = &exhausted;
		/* The last may ask for a successor, which is not needed. */
		for (uint64_t k = 1; k <= counts[i]; k++)
			put(&map, hash_of(k), k);
		map.allocator = &heap;
		for (uint64_t k = 1; k <= counts[i]; k++)
			assert_true(holds(&map, hash_of(k), k));
		hf_index_fini(&map);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_given_back_in_parts),
		cmocka_unit_test(finds_all_across_growth),
		cmocka_unit_test(one_hash_holds_many_values),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(a_walk_sees_each_entry_once),
		cmocka_unit_test(a_walk_may_be_left),
		cmocka_unit_test(a_presized_map_does_not_grow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
