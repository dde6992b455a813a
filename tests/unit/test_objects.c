/* The map of objects: found by hash and by what they are, walked, and freed when nobody looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "map/objects.h"

#define OBJECTS 50000u

struct object {
	uint64_t number, hash;
	uint32_t walked, freed;
};

static uint32_t allocations_left;

static void *zeroed(size_t bytes) {
	if (allocations_left == 0)
		return NULL;
	allocations_left--;
	bytes = (bytes + 127) / 128 * 128;
	void *memory = aligned_alloc(128, bytes);
	return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static void give_back(void *memory, size_t bytes) {
	free(memory);
}

static const struct hf_allocator heap = { zeroed, give_back };

static uint64_t object_hash(const void *arg, const void *object) {
	return ((const struct object *)object)->hash;
}

static void object_free(void *arg, void *object) {
	((struct object *)object)->freed++;
}

static bool is_number(const void *wanted, const void *object) {
	return ((const struct object *)object)->number == *(const uint64_t *)wanted;
}

static struct object *find(const struct hf_map *map, uint64_t hash, uint64_t number) {
	return hf_object_find(map, hash, is_number, &number);
}

static struct hf_map *make(uint64_t expected) {
	struct hf_object_kind kind = { .name = "test", .hash = object_hash, .free = object_free };
	struct hf_map *map;
	struct hf_err err;
	allocations_left = UINT32_MAX;
	assert_true(hf_objects_make(&kind, expected, &heap, &map, &err));
	return map;
}

/* Numbered objects; eight share each hash, if `collide`. */
static struct object *some(bool collide) {
	struct object *objects = calloc(OBJECTS, sizeof(*objects));
	assert_non_null(objects);
	for (uint64_t i = 0; i < OBJECTS; i++) {
		objects[i].number = i;
		objects[i].hash = (collide ? i / 8 : i) * 0x9e3779b97f4a7c15u;
	}
	return objects;
}

static void add(struct hf_map *map, struct object *object) {
	struct hf_err err;
	assert_true(hf_object_reserve(map, object->hash, &err));
	hf_object_add(map, object->hash, object);
}

static void finds_all_across_growth(void **state) {
	for (int collide = 0; collide < 2; collide++) {
		struct object *objects = some(collide);
		struct hf_map *map = make(collide ? OBJECTS : 0);
		for (uint64_t i = 0; i < OBJECTS; i++) {
			assert_null(find(map, objects[i].hash, i));
			add(map, &objects[i]);
			struct object *earlier = &objects[i / 2]; /* also while it moves */
			assert_ptr_equal(find(map, earlier->hash, i / 2), earlier);
			assert_int_equal(hf_objects_count(map), i + 1);
		}
		for (uint64_t i = 0; i < OBJECTS; i++)
			assert_ptr_equal(find(map, objects[i].hash, i), &objects[i]);
		/* 6 of 10 slots full at the least, when it has just grown. */
		assert_true(hf_objects_bytes(map) < OBJECTS * 8 * 10 / 5 * 2);
		hf_map_free(map);
		for (uint64_t i = 0; i < OBJECTS; i++)
			assert_int_equal(objects[i].freed, 1);
		free(objects);
	}
}

static void a_hint_is_mostly_right(void **state) {
	struct object *objects = some(false);
	struct hf_map *map = make(0);
	uint64_t right = 0;
	for (uint64_t i = 0; i < OBJECTS; i++)
		add(map, &objects[i]);
	for (uint64_t i = 0; i < OBJECTS; i++)
		right += hf_object_hint(map, objects[i].hash) == &objects[i];
	assert_true(right > OBJECTS * 7 / 10); /* the others stand behind their home line */
	hf_map_free(map);
	free(objects);
}

static void replaced_and_removed_are_freed_once(void **state) {
	struct object *objects = some(true), *others = some(true);
	struct hf_map *map = make(0);
	struct hf_err err;
	for (uint64_t i = 0; i < OBJECTS; i++)
		add(map, &objects[i]);
	for (uint64_t i = 0; i < OBJECTS; i++) {
		assert_true(hf_object_reserve_retire(map, &err));
		if (i % 3 == 0) {
			hf_object_remove(map, objects[i].hash, &objects[i], sizeof(objects[i]));
			assert_null(find(map, objects[i].hash, i));
		} else {
			hf_object_replace(map, objects[i].hash, &objects[i], &others[i]);
			hf_object_retire(map, &objects[i], sizeof(objects[i]));
			assert_ptr_equal(find(map, others[i].hash, i), &others[i]);
		}
	}
	assert_int_equal(hf_objects_count(map), OBJECTS - (OBJECTS + 2) / 3);
	hf_map_free(map);
	for (uint64_t i = 0; i < OBJECTS; i++) {
		assert_int_equal(objects[i].freed, 1);
		assert_int_equal(others[i].freed, i % 3 == 0 ? 0 : 1);
	}
	free(objects);
	free(others);
}

static struct hf_map_thread *join(struct hf_map *map) {
	struct hf_map_thread *reader;
	char text[300];
	assert_int_equal(hf_map_join(map, "stuck", HF_MAP_READ, &reader, text, sizeof(text)),
			 HF_OK);
	return reader;
}

/* The reader goes on: the objects that were removed are freed, then all there is. */
static void free_what_was_held(struct hf_map *map, struct hf_map_thread *reader,
			       struct object *objects, uint64_t removed) {
	struct hf_err err;
	hf_map_exit(reader);
	assert_true(hf_object_reserve_retire(map, &err));
	for (uint64_t i = 0; i < removed; i++)
		assert_int_equal(objects[i].freed, 1);
	hf_map_leave(reader);
	hf_map_free(map);
	free(objects);
}

/* What a reader that is inside may have is not freed; a writer waits for it, but not for ever. */
static void a_stuck_reader_holds_what_it_may_have(void **state) {
	struct object *objects = some(false);
	struct hf_map *map = make(0);
	struct hf_map_thread *reader = join(map);
	struct hf_err err;
	for (uint64_t i = 0; i < OBJECTS; i++)
		add(map, &objects[i]);
	hf_map_enter(reader);
	uint64_t removed = 0;
	while (hf_object_reserve_retire(map, &err)) {
		struct object *object = &objects[removed++];
		hf_object_remove(map, object->hash, object, sizeof(*object));
		assert_int_equal(object->freed, 0);
	}
	assert_int_equal(err.status, HF_NOMEM);
	assert_non_null(strstr(err.text, "'stuck'"));
	free_what_was_held(map, reader, objects, removed);
}

/* A few large ones make the writer wait as many small ones do: the limit is theirs together. */
static void large_ones_wait_by_their_bytes(void **state) {
	struct object *objects = some(false);
	struct hf_map *map = make(0);
	struct hf_map_thread *reader = join(map);
	struct hf_err err;
	for (uint64_t i = 0; i < 8; i++)
		add(map, &objects[i]);
	hf_map_enter(reader);
	uint64_t removed = 0;
	while (hf_object_reserve_retire(map, &err)) {
		struct object *object = &objects[removed++];
		hf_object_remove(map, object->hash, object, HF_MAP_RETIRED_BYTES / 4);
	}
	assert_int_equal(removed, 4);
	assert_int_equal(err.status, HF_NOMEM);
	free_what_was_held(map, reader, objects, removed);
}

static void count_walk(void *arg, void *object) {
	((struct object *)object)->walked++;
}

static void a_walk_sees_each_once_while_others_come_and_go(void **state) {
	struct object *objects = some(true);
	struct hf_map *map = make(0);
	struct hf_err err;
	uint64_t place = 0, steps = 0, added = OBJECTS / 4;
	for (uint64_t i = 0; i < added; i++)
		add(map, &objects[i]);
	do {
		place = hf_objects_walk(map, place, count_walk, NULL);
		steps++;
		for (uint32_t i = 0; i < 20 && added < OBJECTS; i++) /* it grows meanwhile */
			add(map, &objects[added++]);
		if (steps < 100) {
			struct object *gone = &objects[OBJECTS / 8 + steps];
			assert_true(hf_object_reserve_retire(map, &err));
			hf_object_remove(map, gone->hash, gone, sizeof(*gone));
		}
	} while (place != 0);
	assert_true(steps > 1000);
	for (uint64_t i = 0; i < OBJECTS; i++) {
		bool stayed = i < OBJECTS / 8;
		assert_true(stayed ? objects[i].walked == 1 : objects[i].walked <= 1);
	}
	hf_map_free(map);
	free(objects);
}

struct found {
	struct object *objects[64];
	uint32_t count;
};

static void note_walked(void *arg, void *object) {
	struct found *found = arg;
	assert_true(found->count < 64);
	found->objects[found->count++] = object;
}

/* What goes as a walk shows it leaves those of one end of the table, however large. */
static void what_a_walk_shows_can_be_removed(void **state) {
	struct object *objects = some(false);
	struct hf_map *map = make(0);
	struct hf_err err;
	for (uint64_t i = 0; i < OBJECTS; i++)
		add(map, &objects[i]);
	uint64_t place = 0;
	do {
		struct found found = { .count = 0 };
		place = hf_objects_walk(map, place, note_walked, &found);
		for (uint32_t i = 0; i < found.count; i++) {
			struct object *object = found.objects[i];
			assert_true(hf_object_reserve_retire(map, &err));
			hf_object_remove(map, object->hash, object, sizeof(*object));
		}
	} while (place != 0);
	assert_int_equal(hf_objects_count(map), 0);
	hf_map_free(map);
	for (uint64_t i = 0; i < OBJECTS; i++)
		assert_int_equal(objects[i].freed, 1);
	free(objects);
}

static void out_of_memory_changes_nothing(void **state) {
	struct hf_object_kind kind = { .name = "test", .hash = object_hash, .free = object_free };
	struct object *objects = some(false);
	struct hf_map *map;
	struct hf_err err;
	for (allocations_left = 0; !hf_objects_make(&kind, 0, &heap, &map, &err);) {
		assert_int_equal(err.status, HF_NOMEM);
		static uint32_t tried;
		allocations_left = ++tried;
	}
	allocations_left = 0;
	uint64_t count = 0;
	while (hf_object_reserve(map, objects[count].hash, &err)) {
		hf_object_add(map, objects[count].hash, &objects[count]);
		count++;
	}
	assert_int_equal(err.status, HF_NOMEM);
	assert_int_equal(hf_objects_count(map), count);
	for (uint64_t i = 0; i < count; i++)
		assert_ptr_equal(find(map, objects[i].hash, i), &objects[i]);
	allocations_left = UINT32_MAX;
	for (uint64_t i = count; i < OBJECTS; i++)
		add(map, &objects[i]);
	assert_int_equal(hf_objects_count(map), OBJECTS);
	hf_map_free(map);
	free(objects);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_all_across_growth),
		cmocka_unit_test(a_hint_is_mostly_right),
		cmocka_unit_test(replaced_and_removed_are_freed_once),
		cmocka_unit_test(a_stuck_reader_holds_what_it_may_have),
		cmocka_unit_test(large_ones_wait_by_their_bytes),
		cmocka_unit_test(a_walk_sees_each_once_while_others_come_and_go),
		cmocka_unit_test(what_a_walk_shows_can_be_removed),
		cmocka_unit_test(out_of_memory_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
