/* The index: what was put in is found, under colliding hashes and across growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "map/map.h"

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

static uint64_t hash_of(uint64_t i) {
	return i * 0x9e3779b97f4a7c15u;
}

static bool holds(const struct hf_map *map, uint64_t hash, uint64_t value) {
	struct hf_map_cursor cursor;
	uint64_t found = hf_map_first(map, hash, &cursor);
	while (found != 0 && found != value)
		found = hf_map_next(&cursor);
	return found == value;
}

static void put(struct hf_map *map, uint64_t hash, uint64_t value) {
	struct hf_err err;
	assert_true(hf_map_reserve(map, &err));
	hf_map_add(map, hash, value);
}

static void finds_all_across_growth(void **state) {
	struct hf_map map;
	hf_map_init(&map, &heap);
	assert_false(holds(&map, hash_of(1), 1));
	for (uint64_t i = 1; i <= ENTRIES; i++) {
		put(&map, hash_of(i), i);
		assert_true(holds(&map, hash_of(i / 2 + 1), i / 2 + 1)); /* also while it moves */
		assert_int_equal(hf_map_count(&map), i);
	}
	for (uint64_t i = 1; i <= ENTRIES; i++)
		assert_true(holds(&map, hash_of(i), i));
	assert_false(holds(&map, hash_of(ENTRIES + 1), ENTRIES + 1));
	/* 7/16 full at the least, and half as much again while it moves, or is about to. */
	assert_true(hf_map_bytes(&map) <= ENTRIES * 64 / 5 * 16 / 7 * 3 / 2);
	hf_map_fini(&map);
}

static void one_hash_holds_many_values(void **state) {
	struct hf_map map;
	hf_map_init(&map, &heap);
	for (uint64_t i = 1; i <= 1000; i++)
		put(&map, 0, i << 33);
	for (uint64_t i = 1; i <= 1000; i++)
		assert_true(holds(&map, 0, i << 33));
	struct hf_map_cursor cursor;
	uint64_t first = hf_map_first(&map, 0, &cursor);
	assert_int_equal(first & 0x1ffffffff, 0);
	hf_map_replace(&cursor, HF_MAP_VALUE_MAX);
	assert_int_equal(hf_map_first(&map, 0, &cursor), HF_MAP_VALUE_MAX);
	hf_map_fini(&map);
}

static void a_replaced_value_stays_replaced_while_the_table_moves(void **state) {
	struct hf_map map;
	hf_map_init(&map, &heap);
	for (uint64_t i = 1; i <= 5000; i++) {
		put(&map, hash_of(i), i);
		/* Some of these are in the old table, some in the new one, some in both. */
		struct hf_map_cursor cursor;
		uint64_t victim = i * 7919 % i + 1;
		uint64_t found = hf_map_first(&map, hash_of(victim), &cursor);
		assert_true(found == victim || found == victim + 1000000);
		hf_map_replace(&cursor, victim + 1000000);
		assert_int_equal(hf_map_first(&map, hash_of(victim), &cursor), victim + 1000000);
	}
	for (uint64_t i = 1; i <= 5000; i++) {
		struct hf_map_cursor cursor;
		uint64_t found = hf_map_first(&map, hash_of(i), &cursor);
		assert_true(found == i || found == i + 1000000);
	}
	hf_map_fini(&map);
}

static void no_memory_changes_nothing(void **state) {
	struct hf_map map;
	struct hf_err err;
	hf_map_init(&map, &heap);
	uint64_t count;
	put(&map, hash_of(1), 1);
	count = 1;
	map.allocator = &exhausted;
	while (hf_map_reserve(&map, &err)) {
		count++;
		hf_map_add(&map, hash_of(count), count);
	}
	assert_int_equal(err.status, HF_NOMEM);
	assert_int_equal(hf_map_count(&map), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_true(holds(&map, hash_of(i), i));
	map.allocator = &heap;
	put(&map, hash_of(count + 1), count + 1);
	assert_true(holds(&map, hash_of(count + 1), count + 1));
	hf_map_fini(&map);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_all_across_growth),
		cmocka_unit_test(one_hash_holds_many_values),
		cmocka_unit_test(a_replaced_value_stays_replaced_while_the_table_moves),
		cmocka_unit_test(no_memory_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
