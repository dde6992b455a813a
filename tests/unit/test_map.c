#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "holdfast/map.h"

#define ALL (HF_MAP_READ | HF_MAP_WRITE | HF_MAP_DELETE)

static char err[768];

static struct hf_map *map_new(struct hf_map_options options) {
	struct hf_map *map = NULL;
	options.name = "test";
	if (options.seed == 0)
		options.seed = 42;
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_OK);
	return map;
}

static struct hf_map_thread *join(struct hf_map *map, const char *name, uint32_t rights) {
	struct hf_map_thread *thread = NULL;
	assert_int_equal(hf_map_join(map, name, rights, &thread, err, sizeof(err)), HF_OK);
	return thread;
}

static uint64_t next_random(uint64_t *state) {
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct hf_map_stats stats_of(struct hf_map *map) {
	struct hf_map_stats stats;
	hf_map_stats(map, &stats);
	return stats;
}

/* ---- 64-bit keys, one thread */

static void assert_has(struct hf_map_thread *thread, uint64_t key, uint64_t value) {
	uint64_t got = ~value;
	assert_int_equal(hf_map_get(thread, key, &got), HF_OK);
	assert_int_equal(got, value);
}

static void assert_lacks(struct hf_map_thread *thread, uint64_t key) {
	uint64_t got;
	assert_int_equal(hf_map_get(thread, key, &got), HF_NOTFOUND);
}

/* Also those that look like the marks of slots. */
static void every_key_can_be_used(void **state) {
	uint64_t keys[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, UINT64_MAX, UINT64_MAX - 1, 1ull << 63 };
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		assert_lacks(thread, keys[i]);
		assert_int_equal(hf_map_delete(thread, keys[i]), HF_NOTFOUND);
		assert_int_equal(hf_map_put(thread, keys[i], ~keys[i]), HF_OK);
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		assert_has(thread, keys[i], ~keys[i]);
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		assert_int_equal(hf_map_delete(thread, keys[i]), HF_OK);
		assert_lacks(thread, keys[i]);
	}
	assert_int_equal(stats_of(map).entries, 0);
	hf_map_leave(thread);
	hf_map_free(map);
}

static uint64_t twice_plus_one(void *arg, bool found, uint64_t old) {
	*(bool *)arg = found;
	return old * 2 + 1;
}

static void what_each_call_does(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 2 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	uint64_t got = 0;
	bool put = false;
	assert_int_equal(hf_map_get_or_put(thread, 10, 1, &got, &put), HF_OK);
	assert_true(put && got == 1);
	assert_int_equal(hf_map_get_or_put(thread, 10, 2, &got, &put), HF_OK);
	assert_true(!put && got == 1);
	uint64_t expected = 7;
	assert_int_equal(hf_map_compare_put(thread, 10, &expected, 5), HF_STALE);
	assert_int_equal(expected, 1);
	assert_has(thread, 10, 1);
	assert_int_equal(hf_map_compare_put(thread, 10, &expected, 5), HF_OK);
	assert_has(thread, 10, 5);
	assert_int_equal(hf_map_compare_put(thread, 11, &expected, 5), HF_NOTFOUND);
	assert_lacks(thread, 11);
	bool found = true;
	assert_int_equal(hf_map_update(thread, 11, twice_plus_one, &found, &got), HF_OK);
	assert_true(!found && got == 1);
	assert_int_equal(hf_map_update(thread, 11, twice_plus_one, &found, &got), HF_OK);
	assert_true(found && got == 3);
	assert_has(thread, 11, 3);
	hf_map_leave(thread);
	hf_map_free(map);
}

#define MODEL_KEYS 4096u

struct model {
	bool has[MODEL_KEYS];
	uint64_t value[MODEL_KEYS];
	uint64_t count;
};

static void model_check(struct hf_map_thread *thread, const struct model *model) {
	uint64_t keys[MODEL_KEYS], got[MODEL_KEYS];
	bool found[MODEL_KEYS];
	for (uint64_t key = 0; key < MODEL_KEYS; key++)
		keys[key] = key;
	assert_int_equal(hf_map_get_many(thread, MODEL_KEYS, keys, got, found), HF_OK);
	for (uint64_t key = 0; key < MODEL_KEYS; key++) {
		assert_int_equal(found[key], model->has[key]);
		if (found[key])
			assert_int_equal(got[key], model->value[key]);
	}
}

static void model_step(struct hf_map_thread *thread, struct model *model, uint64_t random,
		       uint64_t deletes) {
	uint64_t key = random % MODEL_KEYS, value = random >> 12, got = 0;
	bool has = model->has[key], found;
	enum hf_status is = has ? HF_OK : HF_NOTFOUND;
	switch (random >> 32 & 7) {
	case 0:
	case 1:
		assert_int_equal(hf_map_get(thread, key, &got), is);
		assert_true(!has || got == model->value[key]);
		return;
	case 2:
		assert_int_equal(hf_map_update(thread, key, twice_plus_one, &found, &value), HF_OK);
		assert_true(found == has && value == (has ? model->value[key] * 2 + 1 : 1));
		break;
	case 3:
		got = model->value[key];
		assert_int_equal(hf_map_compare_put(thread, key, &got, value), is);
		if (!has)
			return;
		break;
	default:
		if ((random >> 40) % 100 < deletes) {
			assert_int_equal(hf_map_delete(thread, key), is);
			model->has[key] = false;
			model->count -= has;
			return;
		}
		assert_int_equal(hf_map_put(thread, key, value), HF_OK);
	}
	model->count += !has;
	model->has[key] = true;
	model->value[key] = value;
}

/* Growing, shrinking and churning: whatever happened, the map and the model agree. */
static void agrees_with_a_model(void **state) {
	static const uint64_t deletes[] = { 10, 90, 50, 0, 100, 50, 95 };
	for (uint32_t shards = 1; shards <= 16; shards *= 4) {
		for (int owned = 0; owned < 2; owned++) {
			struct model *model = calloc(1, sizeof(*model));
			struct hf_map *map = map_new(
				(struct hf_map_options){ .shards = shards, .owned = owned });
			struct hf_map_thread *thread = join(map, "one", ALL);
			uint64_t random = 88172645463325252u + shards;
			for (size_t phase = 0; phase < sizeof(deletes) / sizeof(*deletes);
			     phase++) {
				for (int i = 0; i < 30000; i++)
					model_step(thread, model, next_random(&random),
						   deletes[phase]);
				model_check(thread, model);
				assert_int_equal(stats_of(map).entries, model->count);
			}
			assert_true(stats_of(map).resizes > 5);
			while (!hf_map_settle(thread))
				;
			model_check(thread, model);
			hf_map_leave(thread);
			hf_map_free(map);
			free(model);
		}
	}
}

/* Whatever comes and goes, memory follows what is there. */
static void memory_comes_back(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 4 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	uint64_t peak = 0;
	for (uint64_t i = 0; i < 400000; i++) {
		assert_int_equal(hf_map_put(thread, i, i), HF_OK);
		if (i >= 10000)
			assert_int_equal(hf_map_delete(thread, i - 10000), HF_OK);
		if (stats_of(map).bytes > peak)
			peak = stats_of(map).bytes;
	}
	assert_int_equal(stats_of(map).entries, 10000);
	assert_true(peak < (uint64_t)16 << 20);
	for (uint64_t i = 390000; i < 400000; i++)
		assert_int_equal(hf_map_delete(thread, i), HF_OK);
	while (!hf_map_settle(thread))
		;
	assert_true(stats_of(map).bytes < 300000);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* A reader that is stuck inside: overwriting goes on, growing is refused, and who it is is said. */
static void a_stuck_reader_stops_growth(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 1, .patience_ms = 1 });
	struct hf_map_thread *writer = join(map, "writer", ALL);
	struct hf_map_thread *reader = join(map, "sleepy", HF_MAP_READ);
	hf_map_enter(reader);
	uint64_t count = 0;
	enum hf_status status = HF_OK;
	while (count < 100000 && status == HF_OK)
		status = hf_map_put(writer, count++, 1);
	assert_int_equal(status, HF_NOMEM);
	assert_non_null(strstr(hf_map_error(writer), "'sleepy'"));
	assert_true(stats_of(map).bytes < 1 << 20 && stats_of(map).waits > 0);
	for (uint64_t key = 0; key + 1 < count; key++)
		assert_int_equal(hf_map_put(writer, key, 7), HF_OK);
	hf_map_exit(reader);
	while (count < 100000)
		assert_int_equal(hf_map_put(writer, count++, 7), HF_OK);
	hf_map_leave(reader);
	hf_map_leave(writer);
	hf_map_free(map);
}

static void rights_are_kept_and_named(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ 0 });
	struct hf_map_thread *reader = join(map, "reader", HF_MAP_READ);
	struct hf_map_thread *writer = join(map, "writer", HF_MAP_WRITE);
	uint64_t got;
	assert_int_equal(hf_map_put(writer, 1, 2), HF_OK);
	assert_has(reader, 1, 2);
	assert_int_equal(hf_map_put(reader, 1, 3), HF_REFUSED);
	assert_string_equal(hf_map_error(reader), "map 'test': thread 'reader' may not write: put "
						  "needs a right it does not have");
	assert_int_equal(hf_map_delete(writer, 1), HF_REFUSED);
	assert_string_equal(hf_map_error(writer), "map 'test': thread 'writer' may not delete: "
						  "delete needs a right it does not have");
	assert_int_equal(hf_map_get(writer, 1, &got), HF_REFUSED);
	assert_has(reader, 1, 2);
	assert_int_equal(stats_of(map).denied, 3);
	hf_map_leave(reader);
	hf_map_leave(writer);
	assert_int_equal(stats_of(map).denied, 3);
	hf_map_free(map);
}

static void bad_options_are_refused(void **state) {
	struct hf_map *map;
	struct hf_map_options options = { .name = "test", .shards = 3 };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
	assert_non_null(strstr(err, "power of two"));
	options = (struct hf_map_options){ .name = "a name of more than thirty-one bytes" };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
	options = (struct hf_map_options){ .name = "test", .kind = (enum hf_map_kind)7 };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_can_be_used),
		cmocka_unit_test(what_each_call_does),
		cmocka_unit_test(agrees_with_a_model),
		cmocka_unit_test(memory_comes_back),
		cmocka_unit_test(a_stuck_reader_stops_growth),
		cmocka_unit_test(rights_are_kept_and_named),
		cmocka_unit_test(bad_options_are_refused),
	};
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
