#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "map/map_private.h"
#include "map/record.h"
#include "os/memory.h"
#include "os/thread.h"

static bool without_memory;
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
	return without_memory ? NULL : __real_calloc(count, size);
}

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

/* ---- records, one thread */

static struct hf_bytes text(const char *string) {
	return (struct hf_bytes){ string, strlen(string) };
}

static void assert_record(struct hf_map_thread *thread, const char *key, const char *data,
			  uint64_t version) {
	char buffer[64];
	struct hf_map_record got;
	assert_int_equal(hf_map_record_get(thread, text(key), buffer, sizeof(buffer), &got), HF_OK);
	assert_int_equal(got.len, strlen(data));
	assert_memory_equal(got.data, data, got.len);
	assert_int_equal(got.version, version);
}

static void append(void *arg, const struct hf_map_record *old, void *data) {
	size_t len = old == NULL ? 0 : old->len;
	if (old != NULL)
		memcpy(data, old->data, len);
	memcpy((char *)data + len, arg, strlen(arg));
}

static void what_each_record_call_does(void **state) {
	struct hf_map *map =
		map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct hf_map_record got;
	uint64_t version = 0;
	bool put = false;
	char buffer[64];
	assert_int_equal(hf_map_record_get(thread, text("a"), buffer, 64, &got), HF_NOTFOUND);
	assert_int_equal(hf_map_record_put(thread, text("a"), text("one"), &version), HF_OK);
	assert_int_equal(version, 1);
	assert_record(thread, "a", "one", 1);
	assert_int_equal(hf_map_record_put(thread, text("a"), text("longer"), NULL), HF_OK);
	assert_record(thread, "a", "longer", 2);
	assert_int_equal(hf_map_record_compare_put(thread, text("a"), &version, text("no")),
			 HF_STALE);
	assert_int_equal(version, 2);
	assert_int_equal(hf_map_record_compare_put(thread, text("a"), &version, text("yes")),
			 HF_OK);
	assert_int_equal(version, 3);
	assert_record(thread, "a", "yes", 3);
	assert_int_equal(hf_map_record_compare_put(thread, text("b"), &version, text("no")),
			 HF_NOTFOUND);
	assert_int_equal(hf_map_record_get_or_put(thread, text("a"), text("x"), buffer, 64, &got,
						  &put),
			 HF_OK);
	assert_true(!put && got.len == 3 && got.version == 3 && memcmp(buffer, "yes", 3) == 0);
	assert_int_equal(hf_map_record_get_or_put(thread, text("b"), text("new"), buffer, 64, &got,
						  &put),
			 HF_OK);
	assert_true(put && got.version == 1);
	assert_int_equal(hf_map_record_update(thread, text("b"), 5, append, "er", &version), HF_OK);
	assert_record(thread, "b", "newer", version);
	uint64_t other = version + 1;
	assert_int_equal(hf_map_record_delete(thread, text("b"), &other), HF_STALE);
	assert_int_equal(other, version);
	assert_int_equal(hf_map_record_delete(thread, text("b"), &version), HF_OK);
	assert_int_equal(hf_map_record_delete(thread, text("b"), NULL), HF_NOTFOUND);
	assert_int_equal(hf_map_record_delete(thread, text("a"), NULL), HF_OK);
	assert_int_equal(stats_of(map).entries, 0);
	hf_map_leave(thread);
	hf_map_free(map);
}

static uint64_t version_put(struct hf_map_thread *thread, const char *key) {
	uint64_t version;
	assert_int_equal(hf_map_record_put(thread, text(key), text("data"), &version), HF_OK);
	return version;
}

/* And no key gets one again that it had a moment ago. */
static void numbers_of_versions_begin_again(void **state) {
	struct hf_map *map =
		map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	map->shards[0].version = HF_RECORD_VERSION_MAX - 2;
	assert_int_equal(version_put(thread, "old"), HF_RECORD_VERSION_MAX - 1);
	assert_int_equal(version_put(thread, "a"), HF_RECORD_VERSION_MAX - 1);
	assert_int_equal(version_put(thread, "a"), HF_RECORD_VERSION_MAX);
	for (uint64_t version = 1; version < 4; version++) {
		assert_int_equal(hf_map_record_delete(thread, text("a"), NULL), HF_OK);
		assert_int_equal(version_put(thread, "a"), version);
	}
	assert_int_equal(hf_map_record_delete(thread, text("old"), NULL), HF_OK);
	assert_int_equal(hf_map_record_delete(thread, text("a"), NULL), HF_OK);
	assert_int_equal(version_put(thread, "a"), 4);
	hf_map_leave(thread);
	hf_map_free(map);
}

static void record_limits_are_kept(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS });
	struct hf_map_thread *thread = join(map, "one", ALL);
	static char bytes[65536], buffer[65536];
	struct hf_map_record got;
	uint64_t value;
	struct hf_bytes key = { bytes, 255 }, data = { bytes, 65535 };
	assert_int_equal(hf_map_record_put(thread, key, data, NULL), HF_OK);
	assert_int_equal(hf_map_record_get(thread, key, buffer, 65535, &got), HF_OK);
	assert_int_equal(hf_map_record_get(thread, key, buffer, 65534, &got), HF_TOOBIG);
	assert_int_equal(got.len, 65535);
	assert_int_equal(hf_map_record(thread, key, &got), HF_USAGE);
	hf_map_enter(thread);
	assert_int_equal(hf_map_record(thread, key, &got), HF_OK);
	hf_map_exit(thread);
	data.len++;
	assert_int_equal(hf_map_record_put(thread, key, data, NULL), HF_TOOBIG);
	key.len++;
	assert_int_equal(hf_map_record_get(thread, key, buffer, 1, &got), HF_TOOBIG);
	key.len = 0;
	assert_int_equal(hf_map_record_get(thread, key, buffer, 1, &got), HF_TOOBIG);
	assert_int_equal(hf_map_get(thread, 1, &value), HF_USAGE);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* A reader that stands inside keeps what it sees; writers are refused before memory grows. */
static void a_stuck_reader_stops_record_writers(void **state) {
	struct hf_map *map = map_new(
		(struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 1, .patience_ms = 1 });
	struct hf_map_thread *writer = join(map, "writer", ALL);
	struct hf_map_thread *reader = join(map, "sleepy", HF_MAP_READ);
	struct hf_map_record seen;
	assert_int_equal(hf_map_record_put(writer, text("a"), text("first"), NULL), HF_OK);
	hf_map_enter(reader);
	assert_int_equal(hf_map_record(reader, text("a"), &seen), HF_OK);
	enum hf_status status = HF_OK;
	uint64_t puts = 0;
	while (status == HF_OK && puts++ < 100000)
		status = hf_map_record_put(writer, text("a"), text("later"), NULL);
	assert_int_equal(status, HF_NOMEM);
	assert_non_null(strstr(hf_map_error(writer), "'sleepy'"));
	assert_memory_equal(seen.data, "first", 5);
	hf_map_exit(reader);
	assert_int_equal(hf_map_record_put(writer, text("a"), text("last"), NULL), HF_OK);
	assert_true(stats_of(map).bytes < 8 << 20);
	hf_map_leave(reader);
	hf_map_leave(writer);
	hf_map_free(map);
}

/* Not by their number alone: large ones hold much sooner. */
static void a_stuck_reader_stops_writers_of_large_records(void **state) {
	struct hf_map *map = map_new(
		(struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 1, .patience_ms = 1 });
	struct hf_map_thread *writer = join(map, "writer", ALL);
	struct hf_map_thread *reader = join(map, "sleepy", HF_MAP_READ);
	static char data[60000];
	struct hf_bytes large = { data, sizeof(data) };
	hf_map_enter(reader);
	enum hf_status status = HF_OK;
	uint64_t puts = 0;
	while (status == HF_OK && puts < 1000) {
		status = hf_map_record_put(writer, text("a"), large, NULL);
		puts += status == HF_OK;
	}
	assert_int_equal(status, HF_NOMEM);
	assert_non_null(strstr(hf_map_error(writer), "'sleepy'"));
	assert_in_range(puts, 100, HF_MAP_LIMBO_BYTES / sizeof(data) + 2);
	hf_map_exit(reader);
	assert_int_equal(hf_map_record_put(writer, text("a"), large, NULL), HF_OK);
	/* Who is inside itself does not wait for itself, and is told so. */
	hf_map_enter(writer);
	status = HF_OK;
	while (status == HF_OK)
		status = hf_map_record_put(writer, text("a"), large, NULL);
	assert_int_equal(status, HF_NOMEM);
	assert_non_null(strstr(hf_map_error(writer), "'writer' is between hf_map_enter and"));
	hf_map_exit(writer);
	assert_int_equal(hf_map_record_put(writer, text("a"), large, NULL), HF_OK);
	hf_map_leave(reader);
	hf_map_leave(writer);
	hf_map_free(map);
}

#define RECORD_KEYS 3000u

static size_t record_key(uint64_t number, char ret[256]) {
	size_t len = 1 + number * 7 % 255;
	memset(ret, (int)(number & 0xff), len);
	memcpy(ret, &number, len < 2 ? len : 2);
	return len < 2 ? (memcpy(ret, &number, 2), 2) : len;
}

static void records_agree_with_a_model(void **state) {
	static uint64_t version[RECORD_KEYS];
	static uint32_t len[RECORD_KEYS];
	static char data[4096], buffer[4096];
	struct hf_map *map =
		map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 4 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	uint64_t random = 88172645463325252u;
	for (uint32_t step = 0; step < 300000; step++) {
		uint64_t number = next_random(&random) % RECORD_KEYS;
		char name[256];
		struct hf_bytes key = { name, record_key(number, name) };
		struct hf_map_record got;
		enum hf_status is = version[number] != 0 ? HF_OK : HF_NOTFOUND;
		assert_int_equal(hf_map_record_get(thread, key, buffer, sizeof(buffer), &got), is);
		if (is == HF_OK) {
			assert_true(got.version == version[number] && got.len == len[number]);
			assert_true(got.len == 0 || (uint8_t)buffer[got.len - 1] ==
							    (uint8_t)(version[number] ^ number));
		}
		bool grows = step / 50000 % 2 == 0;
		if (random >> 40 & 3 && (random >> 44) % 10 < (grows ? 2 : 8)) {
			assert_int_equal(hf_map_record_delete(thread, key, NULL), is);
			version[number] = 0;
			continue;
		}
		uint64_t now = version[number];
		len[number] = random >> 20 & (step % 16 == 0 ? 4095 : 127);
		assert_int_equal(hf_map_record_put(thread, key,
						   (struct hf_bytes){ data, len[number] }, &now),
				 HF_OK);
		/* What it holds depends on the version, which only the map knows before. */
		memset(data, (int)((now + 1) ^ number), len[number]);
		assert_int_equal(hf_map_record_compare_put(thread, key, &now,
							   (struct hf_bytes){ data, len[number] }),
				 HF_OK);
		version[number] = now;
	}
	assert_true(stats_of(map).resizes > 10);
	hf_map_leave(thread);
	hf_map_free(map);
}

#define MANY_MAX 80u
#define LEN_MAX 300u

/* Some keys: of the model's, some of them twice, some that no record can have. */
static void some_keys(uint64_t *random, size_t count, char names[][256], struct hf_bytes *ret) {
	static const char too_long[256];
	for (size_t i = 0; i < count; i++) {
		uint64_t any = next_random(random);
		ret[i] = (struct hf_bytes){ names[i], record_key(any % RECORD_KEYS, names[i]) };
		if (i > 0 && any >> 40 & 1 && any >> 48 & 1)
			ret[i] = ret[any % i];
		else if ((any >> 50) % 32 == 0)
			ret[i] = (struct hf_bytes){ too_long, any >> 60 & 1 ? 256 : 0 };
	}
}

/* Whatever single gets say of these keys, all at once says, too. */
static void assert_as_one_by_one(struct hf_map_thread *thread, uint64_t *random) {
	static char names[MANY_MAX][256];
	struct hf_bytes keys[MANY_MAX];
	struct hf_map_record records[MANY_MAX];
	enum hf_status status[MANY_MAX], said, is = HF_OK;
	size_t count = next_random(random) % (MANY_MAX + 1);
	size_t cap = next_random(random) % 3 * LEN_MAX / 2;
	char buffer[LEN_MAX], *room = malloc(count * cap + 1); /* to the byte, for asan */
	assert_non_null(room);
	some_keys(random, count, names, keys);
	memset(records, 0x55, sizeof(records));
	said = hf_map_record_get_many(thread, count, keys, cap == 0 ? NULL : room, cap, records,
				      status);
	for (size_t i = 0; i < count; i++) {
		struct hf_map_record got = { 0 };
		assert_int_equal(status[i], hf_map_record_get(thread, keys[i], buffer, cap, &got));
		assert_true(records[i].len == got.len && records[i].version == got.version);
		if (status[i] == HF_OK && got.len != 0) {
			assert_ptr_equal(records[i].data, room + i * cap);
			assert_memory_equal(records[i].data, buffer, got.len);
		} else if (status[i] != HF_OK) {
			assert_null(records[i].data);
		}
		if (status[i] != HF_OK && status[i] != HF_NOTFOUND)
			is = status[i];
	}
	assert_int_equal(said, is);
	free(room);
}

/* Through growing and shrinking, replacing and removing, and with long records and short ones. */
static void many_records_are_got_as_one_by_one(void **state) {
	static char data[LEN_MAX];
	struct hf_map *map =
		map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 2 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	uint64_t random = 88172645463325252u, moving = 0;
	for (uint32_t step = 0; step < 200000; step++) {
		uint64_t any = next_random(&random);
		char name[256];
		struct hf_bytes key = { name, record_key(any % RECORD_KEYS, name) };
		bool grows = step / 25000 % 2 == 0;
		memset(data, (int)any, sizeof(data));
		if ((any >> 40) % 10 < (grows ? 1 : 9))
			(void)hf_map_record_delete(thread, key, NULL);
		else
			assert_int_equal(hf_map_record_put(thread, key,
							   (struct hf_bytes){ data,
									      any >> 50 & 255 },
							   NULL),
					 HF_OK);
		bool moves = stats_of(map).moving != 0;
		moving += moves;
		if (step % 16 == 0 || moves)
			assert_as_one_by_one(thread, &random);
	}
	assert_true(stats_of(map).resizes > 10 && moving > 100);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* ---- cursors */

#define WALKED 3000u

static void put_any(struct hf_map_thread *thread, bool records, uint64_t key, uint64_t value) {
	struct hf_bytes name = { &key, sizeof(key) }, data = { &value, sizeof(value) };
	assert_int_equal(records ? hf_map_record_put(thread, name, data, NULL)
				 : hf_map_put(thread, key, value),
			 HF_OK);
}

static void delete_any(struct hf_map_thread *thread, bool records, uint64_t key) {
	struct hf_bytes name = { &key, sizeof(key) };
	if (records)
		(void)hf_map_record_delete(thread, name, NULL);
	else
		(void)hf_map_delete(thread, key);
}

static void assert_there(struct hf_map_thread *thread, bool records, uint64_t key) {
	struct hf_bytes name = { &key, sizeof(key) };
	struct hf_map_record record;
	uint64_t value;
	assert_int_equal(records ? hf_map_record_get(thread, name, &value, sizeof(value), &record)
				 : hf_map_get(thread, key, &value),
			 HF_OK);
}

static void read_entry(const struct hf_map_entry *entry, bool records, uint64_t *ret_key,
		       uint64_t *ret_value) {
	*ret_key = entry->key;
	*ret_value = entry->value;
	if (!records)
		return;
	assert_true(entry->name.len == 8 && entry->record.len == 8 && entry->record.version > 0);
	memcpy(ret_key, entry->name.data, 8);
	memcpy(ret_value, entry->record.data, 8);
}

/* Changes as wild as can be, of entries that were seen and that were not, through resizes. */
static void snapshot_cursors_show_one_moment(void **state) {
	for (uint32_t run = 0; run < 12; run++) {
		bool records = run & 1, owned = run & 2;
		struct hf_map *map = map_new(
			(struct hf_map_options){ .kind = records ? HF_MAP_RECORDS : HF_MAP_U64,
						 .shards = 4,
						 .owned = owned });
		struct hf_map_thread *thread = join(map, "one", ALL);
		struct hf_map_cursor *cursor;
		struct hf_map_entry entry;
		static bool seen[WALKED];
		uint64_t random = 88172645463325252u + run, count = 0, key, value;
		memset(seen, 0, sizeof(seen));
		for (uint64_t i = 0; i < WALKED; i++)
			put_any(thread, records, i, i * 3);
		assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor),
				 HF_OK);
		enum hf_status status;
		while ((status = hf_map_cursor_next(cursor, &entry)) == HF_OK) {
			read_entry(&entry, records, &key, &value);
			assert_true(key < WALKED && value == key * 3 && !seen[key]);
			seen[key] = true;
			count++;
			for (uint32_t i = 0; i < 12; i++) {
				uint64_t any = next_random(&random) % (2 * WALKED);
				if (run % 3 == 0 || (run % 3 == 1 && random >> 40 & 1))
					delete_any(thread, records, any);
				else
					put_any(thread, records, any, 1);
			}
		}
		assert_int_equal(status, HF_NOTFOUND);
		assert_int_equal(count, WALKED);
		hf_map_cursor_close(cursor);
		put_any(thread, records, 1, 2);
		hf_map_leave(thread);
		hf_map_free(map);
	}
}

/*
 * What goes as a cursor shows it leaves the entries of one end of each table, however large. Some
 * come back at once.
 */
static void what_cursors_show_can_be_removed(void **state) {
	for (int i = 0; i < 16; i++) {
		bool records = i % 2 == 1, back = (i & 2) != 0, owned = (i & 4) != 0;
		struct hf_map *map = map_new(
			(struct hf_map_options){ .kind = records ? HF_MAP_RECORDS : HF_MAP_U64,
						 .shards = (i & 8) != 0 ? 1 : 8,
						 .owned = owned });
		struct hf_map_thread *thread = join(map, "one", ALL);
		for (uint64_t key = 0; key < 40000; key++)
			put_any(thread, records, key, key);
		uint64_t full_bytes = stats_of(map).bytes, gone = 0, kept = 0, key, value;
		struct hf_map_cursor *cursor;
		struct hf_map_entry entry;
		assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor),
				 HF_OK);
		while (hf_map_cursor_next(cursor, &entry) == HF_OK) {
			read_entry(&entry, records, &key, &value);
			delete_any(thread, records, key);
			gone++;
			if (back && gone % 4 == 0) {
				put_any(thread, records, key, key);
				kept++;
			}
		}
		hf_map_cursor_close(cursor);
		assert_int_equal(gone, 40000);
		assert_int_equal(stats_of(map).entries, kept);
		while (!hf_map_settle(thread))
			;
		if (!records && !back) /* nothing is left to do: tables of the least size */
			assert_true(stats_of(map).bytes < full_bytes / 4);
		hf_map_leave(thread);
		hf_map_free(map);
	}
}

/* Beside what is chosen so, all else is as always: nothing is lost of what stays at one end. */
static void one_end_of_the_hashes_can_stay(void **state) {
	for (int i = 0; i < 4; i++) {
		bool records = i % 2 == 1, upper = i / 2 == 1;
		struct hf_map *map = map_new((struct hf_map_options){
			.kind = records ? HF_MAP_RECORDS : HF_MAP_U64, .shards = 1 });
		struct hf_map_thread *thread = join(map, "one", ALL);
		uint64_t *keys = calloc(40000, sizeof(*keys)), count = 0, value;
		assert_non_null(keys);
		for (uint64_t key = 4; key < 40004; key++)
			put_any(thread, records, key, key);
		struct hf_map_cursor *cursor;
		struct hf_map_entry entry;
		assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor),
				 HF_OK);
		while (hf_map_cursor_next(cursor, &entry) == HF_OK)
			read_entry(&entry, records, &keys[count++], &value);
		hf_map_cursor_close(cursor);
		assert_int_equal(count, 40000);
		for (int round = 0; round < 3; round++) {
			for (uint64_t k = 0; k < count - 400; k++)
				delete_any(thread, records, keys[upper ? k : count - 1 - k]);
			while (!hf_map_settle(thread))
				;
			assert_int_equal(stats_of(map).entries, 400);
			for (uint64_t k = 0; k < 400; k++)
				assert_there(thread, records, keys[upper ? count - 1 - k : k]);
			for (uint64_t k = 400; k < count; k++)
				put_any(thread, records, keys[upper ? count - 1 - k : k], 1);
		}
		assert_int_equal(stats_of(map).entries, 40000);
		free(keys);
		hf_map_leave(thread);
		hf_map_free(map);
	}
}

/* The most lines in a row of which none ends a search. */
static uint64_t longest_run(const struct hf_map *map) {
	const struct hf_map_shard *shard = &map->shards[0];
	uint32_t words = map->kind == HF_MAP_U64 ? 2 : 1;
	uint64_t run = 0, longest = 0;
	assert_int_equal(shard->phase, HF_PHASE_STILL);
	for (uint64_t i = 0; i < hf_table_count(shard->table); i++) {
		const uint64_t *line = hf_table_line(shard->table, i);
		bool ends = false;
		for (uint32_t k = 0; k < HF_LINE_WORDS; k += words)
			ends |= line[k] == HF_MARK_EMPTY;
		run = ends ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	return longest;
}

/* A tenth of the hashes, those that a cursor shows from here on, is all that is kept. */
static void keep_a_tenth(bool records, uint64_t begin, uint64_t total) {
	struct hf_map *map = map_new((struct hf_map_options){
		.kind = records ? HF_MAP_RECORDS : HF_MAP_U64, .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	uint64_t *keys = calloc(total, sizeof(*keys)), count = 0, value;
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	assert_non_null(keys);
	for (uint64_t key = 4; key < total + 4; key++)
		put_any(thread, records, key, key);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor), HF_OK);
	while (hf_map_cursor_next(cursor, &entry) == HF_OK)
		read_entry(&entry, records, &keys[count++], &value);
	hf_map_cursor_close(cursor);
	for (uint64_t k = 0; k < count; k++)
		if (k < begin || k >= begin + total / 10)
			delete_any(thread, records, keys[k]);
	while (!hf_map_settle(thread))
		;
	assert_int_equal(stats_of(map).entries, total / 10);
	assert_in_range(longest_run(map), 0, 256);
	/* And what comes to it does not make it one run again, nor go with it for ever. */
	uint64_t more = total / 10 * 6;
	for (uint64_t key = total + 4; key < total + 4 + more; key++)
		put_any(thread, records, key, key);
	while (!hf_map_settle(thread))
		;
	assert_in_range(longest_run(map), 0, 256);
	for (uint64_t key = total + 4; key < total + 4 + more; key++)
		delete_any(thread, records, key);
	while (!hf_map_settle(thread))
		;
	assert_in_range(longest_run(map), 0, 256);
	/* Once most of those have gone as well, there is no reason for a large table any more. */
	uint32_t bits = hf_table_bits(map->shards[0].table);
	for (uint64_t k = begin; k < begin + total / 10; k++) {
		assert_there(thread, records, keys[k]);
		if (k % 100 != 0)
			delete_any(thread, records, keys[k]);
	}
	while (!hf_map_settle(thread))
		;
	assert_in_range(hf_table_bits(map->shards[0].table), 0, bits - 2);
	assert_in_range(longest_run(map), 0, 256);
	free(keys);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* What stands close together may do so for no longer than that: it is asked again, now and then. */
static void a_smaller_table_is_asked_for_again(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	const struct hf_map_shard *shard = &map->shards[0];
	uint64_t total = 20000, calls = 0;
	for (uint64_t key = 4; key < total + 4; key++)
		put_any(thread, false, key, key);
	for (uint64_t key = 4; key < total + 4; key++)
		if (hf_hash_u64(map, key) >> 61 != 0)
			delete_any(thread, false, key);
	while (!hf_map_settle(thread))
		;
	assert_int_not_equal(shard->dense_bits, 0);
	uint64_t most = shard->dense_calls, left = most;
	while (shard->dense_calls <= left && calls < 2 * most) {
		left = shard->dense_calls;
		put_any(thread, false, total + 4, 0);
		delete_any(thread, false, total + 4);
		calls += 2;
	}
	assert_in_range(calls, most / 2, most + 1000); /* and those of the look itself */
	hf_map_leave(thread);
	hf_map_free(map);
}

/* Hashes that are the same from their first bits on are kept apart by no table that may be had. */
static void a_table_does_not_grow_for_one_run_for_ever(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	const uint64_t total = 1500;
	uint64_t keys[1501], count = 0;
	for (uint64_t key = 4; count <= total; key++)
		if (hf_hash_u64(map, key) >> 56 == 0)
			keys[count++] = key;
	for (uint64_t k = 0; k < total; k++)
		put_any(thread, false, keys[k], keys[k]);
	/* Each time that it has grown there is another addition to meet the run. */
	for (int i = 0; i < 12; i++) {
		while (!hf_map_settle(thread))
			;
		put_any(thread, false, keys[total], 0);
		delete_any(thread, false, keys[total]);
	}
	assert_in_range(hf_table_slots(map->shards[0].table), 16 * total, 2 * 64 * total);
	for (uint64_t k = 0; k < total; k++)
		assert_there(thread, false, keys[k]);
	hf_map_leave(thread);
	hf_map_free(map);
}

static void what_is_kept_stays_near_its_home(void **state) {
	for (int i = 0; i < 6; i++) {
		uint64_t total = 200000;
		keep_a_tenth(i % 2 == 1, i / 2 * (total / 10 * 9) / 2, total);
	}
}

static void strict_cursors_refuse_what_has_changed(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 4 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	uint64_t got, count = 0;
	bool put;
	for (uint64_t i = 0; i < 100; i++)
		put_any(thread, false, i, i);
	enum hf_map_cursor_mode none = (enum hf_map_cursor_mode)9;
	assert_int_equal(hf_map_cursor_open(thread, none, &cursor), HF_USAGE);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_STRICT, &cursor), HF_OK);
	assert_int_equal(hf_map_get_or_put(thread, 5, 7, &got, &put), HF_OK);
	assert_int_equal(hf_map_delete(thread, 1000), HF_NOTFOUND);
	while (hf_map_cursor_next(cursor, &entry) == HF_OK)
		count++;
	assert_int_equal(count, 100);
	hf_map_cursor_close(cursor);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_STRICT, &cursor), HF_OK);
	assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_OK);
	assert_int_equal(hf_map_put(thread, 5, 6), HF_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_STALE);
		assert_string_equal(hf_map_error(thread),
				    "map 'test': the cursor of thread 'one' is stale: the map has "
				    "changed since it was opened; open another");
	}
	hf_map_cursor_close(cursor);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* A cursor that never moves on does not make memory grow for ever: it goes stale. */
static void a_crowded_snapshot_cursor_is_stale(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ 0 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	put_any(thread, false, 1, 1);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor), HF_OK);
	for (uint64_t i = 0; i < 70000; i++)
		put_any(thread, false, i, 2);
	assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_STALE);
	assert_non_null(strstr(hf_map_error(thread), "too much has changed"));
	hf_map_cursor_close(cursor);
	hf_map_leave(thread);
	hf_map_free(map);
}

#define LARGE 60000u

/* Under the numbers below `count`. */
static void put_large_records(struct hf_map_thread *thread, uint64_t count) {
	static const uint8_t large[LARGE];
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(hf_map_record_put(thread, (struct hf_bytes){ &i, 8 },
						   (struct hf_bytes){ large, LARGE }, NULL),
				 HF_OK);
}

/* Of 64-bit keys, each shard has a ring of slots that wait, however few keys there are. */
static void the_map_says_what_its_shards_hold(void **state) {
	for (uint32_t shards = 1; shards <= 64; shards *= 8) {
		struct hf_map *map = map_new((struct hf_map_options){ .shards = shards });
		assert_true(stats_of(map).bytes >=
			    shards * HF_MAP_LIMBO * sizeof(struct hf_removed));
		hf_map_free(map);
	}
}

/* However many chunks there are: who looks for a free piece meets none that has none. */
static void full_chunks_are_in_nobodys_way(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS });
	struct hf_map_thread *thread = join(map, "one", ALL);
	static const uint8_t large[LARGE];
	uint32_t bits = 0;
	while (hf_piece_bytes(bits) < LARGE)
		bits++;
	for (uint64_t i = 0; i < 3 * 64; i++) {
		assert_true((map->pieces.chunks[bits] == NULL) == (i % 64 == 0));
		assert_true((map->pieces.full[bits] != NULL) == (i >= 64));
		assert_int_equal(hf_map_record_put(thread, (struct hf_bytes){ &i, 8 },
						   (struct hf_bytes){ large, LARGE }, NULL),
				 HF_OK);
	}
	for (uint64_t i = 0; i < 3 * 64; i++)
		delete_any(thread, true, i);
	while (!hf_map_settle(thread))
		;
	assert_null(map->pieces.chunks[bits]);
	assert_null(map->pieces.full[bits]);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* However few entries it is of. And the map says what it holds. */
static void a_snapshot_cursor_that_holds_much_is_stale(void **state) {
	const uint64_t some = 100, all = HF_MAP_CURSOR_BYTES / LARGE + 2;
	struct hf_map *map =
		map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS, .shards = 1 });
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	put_large_records(thread, all);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor), HF_OK);
	for (uint64_t i = 0; i < some; i++)
		put_any(thread, true, i, i);
	uint64_t bytes = stats_of(map).bytes;
	hf_map_cursor_close(cursor);
	assert_true(stats_of(map).bytes + some * LARGE <= bytes);
	put_large_records(thread, all);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor), HF_OK);
	/* What it shows it copies, but no more at a time than a line may hold, and a bit. */
	uint64_t held = stats_of(map).bytes;
	assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_OK);
	assert_in_range(stats_of(map).bytes - held, LARGE, 16 * LARGE);
	hf_map_cursor_close(cursor);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor), HF_OK);
	for (uint64_t i = 0; i < all; i++)
		put_any(thread, true, i, i);
	assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_STALE);
	assert_non_null(strstr(hf_map_error(thread), "too much has changed"));
	hf_map_cursor_close(cursor);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* ---- guards */

struct audited {
	uint32_t calls, denied;
	char last[256];
};

static void audit(void *arg, const struct hf_map_access *access) {
	struct audited *audited = arg;
	uint64_t key = 0;
	if (access->key.len > 0)
		memcpy(&key, access->key.data, access->key.len < 8 ? access->key.len : 8);
	audited->calls++;
	audited->denied += !access->allowed;
	snprintf(audited->last, sizeof(audited->last), "%s %s %s %llu", access->map, access->thread,
		 access->operation, (unsigned long long)key);
}

/* A cursor that had no memory for an entry does not go on behind it. */
static void a_cursor_without_memory_is_stale(void **state) {
	for (int kind = HF_MAP_U64; kind <= HF_MAP_RECORDS; kind++) {
		struct hf_map *map = map_new((struct hf_map_options){ .kind = kind });
		struct hf_map_thread *thread = join(map, "one", ALL);
		struct hf_map_cursor *cursor;
		struct hf_map_entry entry;
		for (uint64_t i = 0; i < 1000; i++)
			put_any(thread, kind == HF_MAP_RECORDS, i, i);
		assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor),
				 HF_OK);
		assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_OK);
		without_memory = true;
		enum hf_status status = HF_OK;
		uint32_t shown = 1;
		while ((status = hf_map_cursor_next(cursor, &entry)) == HF_OK)
			shown++;
		without_memory = false;
		assert_int_equal(status, HF_NOMEM);
		assert_in_range(shown, 1, 999);
		for (int i = 0; i < 2; i++)
			assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_STALE);
		hf_map_cursor_close(cursor);
		hf_map_leave(thread);
		hf_map_free(map);
	}
}

static void the_audit_hook_sees_every_access(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ 0 });
	struct hf_map_thread *thread = join(map, "one", HF_MAP_READ | HF_MAP_WRITE);
	struct audited audited = { 0 };
	uint64_t got;
	assert_int_equal(hf_map_put(thread, 7, 8), HF_OK);
	assert_int_equal(hf_map_set_audit(map, audit, &audited), HF_OK);
	assert_int_equal(hf_map_set_audit(map, audit, &audited), HF_USAGE);
	assert_has(thread, 7, 8);
	assert_string_equal(audited.last, "test one get 7");
	assert_int_equal(hf_map_put(thread, 9, 8), HF_OK);
	assert_string_equal(audited.last, "test one put 9");
	assert_int_equal(hf_map_delete(thread, 3), HF_REFUSED);
	assert_string_equal(audited.last, "test one delete 3");
	struct hf_map_thread *late = join(map, "late", HF_MAP_READ);
	assert_has(late, 7, 8);
	assert_string_equal(audited.last, "test late get 7");
	assert_int_equal(audited.calls, 4);
	assert_int_equal(audited.denied, 1);
	assert_int_equal(hf_map_set_audit(map, NULL, NULL), HF_OK);
	assert_has(thread, 7, 8);
	assert_int_equal(audited.calls, 4);
	hf_map_set_rights(thread, HF_MAP_WRITE);
	assert_int_equal(hf_map_get(thread, 7, &got), HF_REFUSED);
	hf_map_set_rights(thread, ALL);
	assert_int_equal(hf_map_delete(thread, 7), HF_OK);
	hf_map_leave(late);
	hf_map_leave(thread);
	hf_map_free(map);
}

struct audited_keys {
	uint64_t keys[64];
	uint32_t calls, denied;
};

static void audit_keys(void *arg, const struct hf_map_access *access) {
	struct audited_keys *audited = arg;
	assert_string_equal(access->operation, "record_get_many");
	assert_true(access->rights == HF_MAP_READ && access->key.len == 8);
	memcpy(&audited->keys[audited->calls++], access->key.data, 8);
	audited->denied += !access->allowed;
}

static void the_guards_see_each_of_many(void **state) {
	struct hf_map *map = map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS });
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct audited_keys audited = { .calls = 0 };
	uint64_t numbers[40], values[40];
	struct hf_bytes keys[40];
	struct hf_map_record records[40];
	enum hf_status status[40];
	for (uint64_t i = 0; i < 40; i++) {
		numbers[i] = i;
		keys[i] = (struct hf_bytes){ &numbers[i], 8 };
		if (i % 2 == 0)
			put_any(thread, true, i, i * 3);
	}
	assert_int_equal(hf_map_set_audit(map, audit_keys, &audited), HF_OK);
	for (int may = 0; may < 2; may++) {
		hf_map_set_rights(thread, may ? HF_MAP_READ : HF_MAP_WRITE | HF_MAP_DELETE);
		memset(values, 0x55, sizeof(values));
		audited = (struct audited_keys){ .calls = 0 };
		assert_int_equal(hf_map_record_get_many(thread, 40, keys, values, 8, records,
							status),
				 may ? HF_OK : HF_REFUSED);
		assert_true(audited.calls == 40 && audited.denied == (may ? 0 : 40));
		for (uint64_t i = 0; i < 40; i++) {
			bool found = may && i % 2 == 0;
			assert_int_equal(audited.keys[i], i);
			enum hf_status absent = may ? HF_NOTFOUND : HF_REFUSED;
			assert_int_equal(status[i], found ? HF_OK : absent);
			assert_int_equal(values[i], found ? i * 3 : 0x5555555555555555u);
			assert_int_equal(records[i].len, found ? 8 : 0);
		}
	}
	assert_string_equal(hf_map_error(thread), "map 'test': thread 'one' may not read: "
						  "record_get_many needs a right it does not have");
	assert_int_equal(stats_of(map).denied, 40);
	assert_int_equal(hf_map_set_audit(map, NULL, NULL), HF_OK);
	hf_map_leave(thread);
	hf_map_free(map);
	map = map_new((struct hf_map_options){ 0 });
	thread = join(map, "one", ALL);
	assert_int_equal(hf_map_record_get_many(thread, 2, keys, values, 8, records, status),
			 HF_USAGE);
	assert_true(status[0] == HF_USAGE && status[1] == HF_USAGE);
	hf_map_leave(thread);
	hf_map_free(map);
}

/* Also of a cursor that was opened while all was allowed, and nobody listened. */
static void the_guards_see_each_step_of_a_cursor(void **state) {
	for (int kind = 0; kind < 2; kind++) {
		bool records = kind == 1;
		struct hf_map *map = map_new(
			(struct hf_map_options){ .kind = records ? HF_MAP_RECORDS : HF_MAP_U64 });
		struct hf_map_thread *thread = join(map, "one", ALL);
		struct hf_map_cursor *cursor;
		struct hf_map_entry entry;
		struct audited audited = { 0 };
		uint64_t key, value, shown = 0;
		char wanted[64];
		for (uint64_t i = 0; i < 100; i++)
			put_any(thread, records, i, i);
		assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor),
				 HF_OK);
		assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_OK);
		assert_int_equal(hf_map_set_audit(map, audit, &audited), HF_OK);
		hf_map_set_rights(thread, HF_MAP_WRITE);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_REFUSED);
			assert_string_equal(hf_map_error(thread),
					    "map 'test': thread 'one' may not read: cursor_next "
					    "needs a right it does not have");
		}
		assert_true(audited.calls == 2 && audited.denied == 2);
		assert_int_equal(stats_of(map).denied, 2);
		hf_map_set_rights(thread, HF_MAP_READ);
		while (hf_map_cursor_next(cursor, &entry) == HF_OK) {
			read_entry(&entry, records, &key, &value);
			snprintf(wanted, sizeof(wanted), "test one cursor_next %llu",
				 (unsigned long long)key);
			assert_string_equal(audited.last, wanted);
			shown++;
		}
		assert_int_equal(shown, 99);
		assert_true(audited.calls == 2 + 99 + 1 && audited.denied == 2);
		assert_int_equal(hf_map_set_audit(map, NULL, NULL), HF_OK);
		hf_map_cursor_close(cursor);
		hf_map_leave(thread);
		hf_map_free(map);
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

#define MANY_PAGES 3u /* of keys */
#define PAGE_KEYS 512u

/* A get of many keys, some of which are not to be read yet. */
static struct {
	struct hf_map_thread *reader;
	uint64_t *keys;
	uint32_t faults;
	bool was_inside, passed;
	uint64_t stamp;
} many;

/*
 * The next page of keys is to be read: lets the call go on. What was removed when the first was is
 * out of sight when the next one is.
 */
static void at_page_of_keys(int signal) {
	struct hf_epochs *epochs = &many.reader->map->epochs;
	if (many.faults++ == 0)
		many.stamp = hf_epochs_stamp(epochs);
	many.was_inside &= many.reader->pin.epoch != 0;
	for (int i = 0; i < 3; i++)
		many.passed = hf_epochs_passed(epochs, many.stamp);
	mprotect(many.keys + many.faults * PAGE_KEYS, PAGE_KEYS * sizeof(uint64_t),
		 PROT_READ | PROT_WRITE);
}

/* However many keys are got at once, what others remove meanwhile can be used again meanwhile. */
static void a_get_of_many_is_inside_for_some_at_a_time(void **state) {
	const size_t count = MANY_PAGES * PAGE_KEYS, bytes = count * sizeof(uint64_t);
	struct hf_map *map = map_new((struct hf_map_options){ .shards = 1 });
	struct hf_map_thread *reader = join(map, "reader", ALL);
	uint64_t *got = calloc(count, sizeof(*got)), *keys = hf_small_pages_new(bytes);
	bool *found = calloc(count, sizeof(*found));
	struct sigaction old, action = { .sa_handler = at_page_of_keys };
	assert_true(got != NULL && found != NULL && keys != NULL);
	assert_int_equal(hf_map_put(reader, 0, 7), HF_OK);
	many.reader = reader;
	many.keys = keys;
	many.was_inside = true;
	assert_int_equal(mprotect(keys + PAGE_KEYS, bytes - PAGE_KEYS * 8, PROT_NONE), 0);
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	assert_int_equal(hf_map_get_many(reader, count, keys, got, found), HF_OK);
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
	for (size_t i = 0; i < count; i++)
		assert_true(found[i] && got[i] == 7);
	assert_int_equal(many.faults, MANY_PAGES - 1);
	assert_true(many.was_inside && many.passed);
	hf_pages_free(keys, bytes);
	free(found);
	free(got);
	hf_map_leave(reader);
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

/* Keys that differ in few bits fall into all lines alike, and have all tags. */
static void hashes_are_spread(void **state) {
	static uint32_t lines[1024], tags[1024];
	struct hf_map *map = map_new((struct hf_map_options){ .kind = HF_MAP_RECORDS });
	for (size_t len = 16; len <= 72; len++) {
		for (size_t at = 0; at + 4 <= len; at += 4) {
			memset(lines, 0, sizeof(lines));
			memset(tags, 0, sizeof(tags));
			for (uint32_t i = 0; i < 32768; i++) {
				char key[72];
				memset(key, 'a', sizeof(key));
				memcpy(key + at, &i, sizeof(i));
				uint64_t hash = hf_record_hash(map, key, len);
				lines[hash >> 54]++;
				tags[hash & 1023]++;
			}
			/* 32 on average; the 8 standard deviations to 78 come by chance never. */
			for (size_t i = 0; i < 1024; i++) {
				assert_in_range(lines[i], 2, 78);
				assert_in_range(tags[i], 2, 78);
			}
		}
	}
	hf_map_free(map);
}

/* ---- how much one call may do */

#define PAGE 4096u

/* How many pages of this memory there are, by what the system says. */
static size_t pages_there(void *memory, size_t bytes) {
	static unsigned char there[4096];
	size_t pages = (bytes + PAGE - 1) / PAGE, count = 0;
	assert_true(pages <= sizeof(there));
	assert_int_equal(mincore(memory, bytes, there), 0);
	for (size_t i = 0; i < pages; i++)
		count += there[i] & 1;
	return count;
}

static uint8_t *newest; /* memory of more than half a megabyte; NULL: it is gone */
static size_t newest_bytes;

static void *allocate_watched(size_t bytes) {
	void *memory = hf_small_pages_new(bytes);
	if (memory != NULL && bytes > 1u << 19) {
		newest = memory;
		newest_bytes = bytes;
	}
	return memory;
}

static void release_watched(void *memory, size_t bytes) {
	if (memory == newest)
		newest = NULL;
	hf_pages_free(memory, bytes);
}

/* How often a table came to be where another one had been. */
static uint32_t anew;

static void check_call(struct hf_map_thread *thread, uint64_t key, bool put) {
	const struct hf_map *map = thread->map;
	const struct hf_map_shard *shard =
		&map->shards[hf_shard_number(map, hf_hash_u64(map, key))];
	enum hf_phase phase = shard->phase;
	uint64_t warmed = phase == HF_PHASE_WARMING ? shard->warmed : 0;
	uint64_t moved = shard->moved, count = hf_table_count(shard->table);
	uint8_t *memory = newest;
	size_t there = memory == NULL ? 0 : pages_there(memory, newest_bytes);
	assert_int_equal(put ? hf_map_put(thread, key, key) : hf_map_delete(thread, key), HF_OK);
	if (shard->phase == HF_PHASE_WARMING)
		assert_in_range(shard->warmed - warmed, 1, HF_MAP_WARM_LINES);
	/* And a few lines a call move, with those up to the next one in which searches end. */
	if (phase == HF_PHASE_MOVING)
		assert_in_range((shard->phase == HF_PHASE_MOVING ? shard->moved : count) - moved, 1,
				HF_MAP_MOVE_LINES + 256);
	/* Only what is no larger than that is ready at once. */
	if (phase == HF_PHASE_STILL && shard->phase > HF_PHASE_WARMING)
		assert_in_range(hf_table_homes(shard->next), 1, HF_MAP_WARM_LINES);
	anew += phase == HF_PHASE_STILL && shard->phase == HF_PHASE_WARMING && !shard->next_is_zero;
	if (newest != NULL && newest == memory)
		assert_in_range(pages_there(memory, newest_bytes) - there, 0, 1);
}

/* The next table comes a page a call, also where another one has been. */
static void a_table_is_made_ready_a_page_a_call(void **state) {
	static const struct hf_allocator allocator = { allocate_watched, release_watched };
	struct hf_map_options options = { .name = "test", .shards = 4, .seed = 42 };
	struct hf_map *map;
	struct hf_err why;
	options.small_pages = true;
	assert_true(hf_map_make(&options, &allocator, &map, &why));
	struct hf_map_thread *thread = join(map, "one", ALL);
	anew = 0;
	for (uint64_t i = HF_MARKS; i < 60000; i++)
		check_call(thread, i, true);
	assert_non_null(newest);
	/* One shard alone gives its place away, and comes back to it. */
	for (int round = 0; round < 4; round++)
		for (uint64_t i = HF_MARKS; i < 60000; i++)
			if (hf_shard_number(map, hf_hash_u64(map, i)) == 0)
				check_call(thread, i, round % 2 != 0);
	for (uint64_t i = HF_MARKS; i < 60000; i++)
		check_call(thread, i, false);
	assert_true(stats_of(map).resizes > 60 && anew > 0);
	hf_map_leave(thread);
	hf_map_free(map);
}

static size_t given, dropped; /* to the system, by a call; of these, not freed yet */

static void drop_counted(void *part, size_t bytes) {
	given += bytes;
	dropped += bytes;
	hf_pages_drop(part, bytes);
}

static void release_counted(void *memory, size_t bytes) {
	size_t ahead = dropped < bytes ? dropped : bytes;
	given += bytes - ahead;
	dropped -= ahead;
	hf_pages_free(memory, bytes);
}

/* To give back a table of many megabytes takes milliseconds: no call does all of it. */
static void a_table_is_given_back_in_parts(void **state) {
	static const struct hf_allocator allocator = { hf_small_pages_new, release_counted,
						       drop_counted };
	struct hf_map_options options = { .name = "test", .shards = 1, .seed = 42 };
	struct hf_map *map;
	struct hf_err why;
	size_t most = 0;
	options.small_pages = true;
	assert_true(hf_map_make(&options, &allocator, &map, &why));
	struct hf_map_thread *thread = join(map, "one", ALL);
	given = dropped = 0;
	for (int round = 0; round < 2; round++) {
		for (uint64_t key = HF_MARKS; key < 400000; key++) {
			assert_int_equal(round == 0 ? hf_map_put(thread, key, key)
						    : hf_map_delete(thread, key),
					 HF_OK);
			most = given > most ? given : most;
			given = 0;
		}
	}
	assert_in_range(most, HF_MAP_DROP_BYTES / 2, HF_MAP_DROP_BYTES);
	while (!hf_map_settle(thread))
		assert_in_range(given, 0, 2 * HF_MAP_DROP_BYTES);
	assert_int_equal(dropped, 0);
	hf_map_leave(thread);
	hf_map_free(map);
}

#define SOON 10000u /* entries, and a helper has been asked for the memory of a larger table */

/* What a helper has found memory for, nobody else has to. */
static void a_helper_finds_memory_ahead(void **state) {
	static const struct hf_allocator allocator = { allocate_watched, release_watched };
	struct hf_map_options options = { .name = "test", .shards = 1, .seed = 42 };
	struct hf_map *map;
	struct hf_err why;
	options.small_pages = options.helper = true;
	options.expected = SOON;
	assert_true(hf_map_make(&options, &allocator, &map, &why));
	struct hf_map_thread *thread = join(map, "one", ALL);
	struct hf_map_shard *shard = &map->shards[0];
	uint64_t before = stats_of(map).bytes, key = HF_MARKS;
	while (shard->wanted == 0)
		assert_int_equal(hf_map_put(thread, key++, 1), HF_OK);
	while (stats_of(map).bytes < before + before / 2)
		hf_thread_nap(); /* a test that takes too long is ended */
	size_t there = pages_there(newest, newest_bytes);
	for (; shard->resizes == 0; key++) {
		assert_int_equal(hf_map_put(thread, key, 1), HF_OK);
		assert_int_equal(pages_there(newest, newest_bytes), there);
	}
	for (uint64_t i = HF_MARKS; i < key; i++)
		assert_has(thread, i, 1);
	hf_map_leave(thread);
	hf_map_free(map);
}

static void bad_options_are_refused(void **state) {
	struct hf_map *map;
	struct hf_map_options options = { .name = "test", .shards = 3 };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
	assert_non_null(strstr(err, "power of two"));
	options = (struct hf_map_options){ .name = "a name of more than thirty-one bytes" };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
	assert_string_equal(err, "the name of a map has 1 to 31 bytes");
	options = (struct hf_map_options){ .name = "test", .kind = (enum hf_map_kind)7 };
	assert_int_equal(hf_map_new(&options, &map, err, sizeof(err)), HF_USAGE);
}

/* ---- memory runs out */

static int allocations_left;
static long allocated;

static void *allocate(size_t bytes) {
	if (allocations_left-- <= 0)
		return NULL;
	allocated += (long)bytes;
	return hf_pages_new(bytes);
}

static void release(void *memory, size_t bytes) {
	if (memory != NULL)
		allocated -= (long)bytes;
	hf_pages_free(memory, bytes);
}

/* 2^40 entries are no mistake of the caller's, though there may not be memory for them. */
static void as_many_as_may_be_expected(void **state) {
	static const struct hf_allocator allocator = { allocate, release };
	struct hf_map_options options = { .name = "test", .expected = (uint64_t)1 << 40 };
	struct hf_map *map;
	struct hf_err why;
	allocations_left = 0;
	assert_false(hf_map_make(&options, &allocator, &map, &why));
	assert_int_equal(why.status, HF_NOMEM);
	options.expected++;
	assert_false(hf_map_make(&options, &allocator, &map, &why));
	assert_int_equal(why.status, HF_TOOBIG);
}

static enum hf_status put_large(struct hf_map_thread *thread, enum hf_map_kind kind, uint64_t key) {
	static const uint8_t large[HF_MAP_RECORD_MAX];
	if (kind == HF_MAP_U64)
		return hf_map_put(thread, key, 1);
	return hf_map_record_put(thread, (struct hf_bytes){ &key, sizeof(key) },
				 (struct hf_bytes){ large, sizeof(large) }, NULL);
}

/* Nor does it make a strict cursor stale. Of `count` keys; there was no memory for the next. */
static void failed_writes_are_no_change(struct hf_map_thread *thread, enum hf_map_kind kind,
					uint64_t count) {
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	uint64_t key = 0;
	while (kind == HF_MAP_RECORDS && put_large(thread, kind, key) == HF_OK)
		key++;
	assert_in_range(key, 0, count - 1);
	assert_int_equal(hf_map_cursor_open(thread, HF_MAP_CURSOR_STRICT, &cursor), HF_OK);
	assert_int_equal(put_large(thread, kind, count), HF_NOMEM);
	if (kind == HF_MAP_RECORDS)
		assert_int_equal(put_large(thread, kind, key), HF_NOMEM);
	assert_int_equal(hf_map_cursor_next(cursor, &entry), HF_OK);
	hf_map_cursor_close(cursor);
}

/* Wherever it does, the call says so and changes nothing, and all memory comes back. */
static void memory_that_runs_out_is_an_error(void **state) {
	static const struct hf_allocator allocator = { allocate, release };
	for (int limit = 0; limit < 12; limit++) {
		for (enum hf_map_kind kind = HF_MAP_U64; kind <= HF_MAP_RECORDS; kind++) {
			struct hf_map_options options = {
				.name = "test", .kind = kind, .shards = 2, .seed = 42
			};
			struct hf_map_thread *thread = NULL;
			struct hf_map *map = NULL;
			struct hf_err why;
			allocations_left = limit;
			uint64_t count = 0;
			enum hf_status status = HF_NOMEM;
			if (hf_map_make(&options, &allocator, &map, &why))
				status = hf_map_join(map, "one", ALL, &thread, err, sizeof(err));
			else
				assert_int_equal(why.status, HF_NOMEM);
			while (status == HF_OK) {
				struct hf_bytes key = { &count, sizeof(count) };
				status = kind == HF_MAP_U64
						 ? hf_map_put(thread, count, count)
						 : hf_map_record_put(thread, key, key, NULL);
				count += status == HF_OK;
			}
			assert_int_equal(status, HF_NOMEM);
			if (thread != NULL)
				assert_int_equal(stats_of(map).entries, count);
			if (count > 0)
				failed_writes_are_no_change(thread, kind, count);
			for (uint64_t i = 0; i < count && kind == HF_MAP_U64; i++)
				assert_has(thread, i, i);
			hf_map_leave(thread);
			hf_map_free(map);
			assert_int_equal(allocated, 0);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_can_be_used),
		cmocka_unit_test(what_each_call_does),
		cmocka_unit_test(agrees_with_a_model),
		cmocka_unit_test(what_each_record_call_does),
		cmocka_unit_test(numbers_of_versions_begin_again),
		cmocka_unit_test(record_limits_are_kept),
		cmocka_unit_test(a_stuck_reader_stops_record_writers),
		cmocka_unit_test(a_stuck_reader_stops_writers_of_large_records),
		cmocka_unit_test(records_agree_with_a_model),
		cmocka_unit_test(many_records_are_got_as_one_by_one),
		cmocka_unit_test(snapshot_cursors_show_one_moment),
		cmocka_unit_test(what_cursors_show_can_be_removed),
		cmocka_unit_test(one_end_of_the_hashes_can_stay),
		cmocka_unit_test(what_is_kept_stays_near_its_home),
		cmocka_unit_test(a_smaller_table_is_asked_for_again),
		cmocka_unit_test(a_table_does_not_grow_for_one_run_for_ever),
		cmocka_unit_test(strict_cursors_refuse_what_has_changed),
		cmocka_unit_test(a_crowded_snapshot_cursor_is_stale),
		cmocka_unit_test(the_map_says_what_its_shards_hold),
		cmocka_unit_test(full_chunks_are_in_nobodys_way),
		cmocka_unit_test(a_snapshot_cursor_that_holds_much_is_stale),
		cmocka_unit_test(a_cursor_without_memory_is_stale),
		cmocka_unit_test(the_audit_hook_sees_every_access),
		cmocka_unit_test(the_guards_see_each_of_many),
		cmocka_unit_test(the_guards_see_each_step_of_a_cursor),
		cmocka_unit_test(memory_comes_back),
		cmocka_unit_test(a_get_of_many_is_inside_for_some_at_a_time),
		cmocka_unit_test(a_stuck_reader_stops_growth),
		cmocka_unit_test(rights_are_kept_and_named),
		cmocka_unit_test(hashes_are_spread),
		cmocka_unit_test(a_table_is_made_ready_a_page_a_call),
		cmocka_unit_test(a_table_is_given_back_in_parts),
		cmocka_unit_test(a_helper_finds_memory_ahead),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(as_many_as_may_be_expected),
		cmocka_unit_test(memory_that_runs_out_is_an_error),
	};
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
