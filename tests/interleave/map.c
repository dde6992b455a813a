/*
 * map.c - the product's own src/map, explored: every file of it is compiled into this program, with
 * small limits, so that tables of a few lines fill up, move and come back.
 *
 *     map [-a] [-f] [-v] [-s SECONDS] [PART-OF-NAME]
 *
 * -a explores every behaviour also of the large tests (for at most SECONDS each), -f ends with the
 * first failure, -v prints the failing run.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "explore.h"
#include "map/record.h"
#include "os/memory.h"

enum { TABLE_AT = 128 };
enum { KEYS_MAX = 16, ALL_RIGHTS = HF_MAP_READ | HF_MAP_WRITE | HF_MAP_DELETE };

struct state {
	struct hf_map *map;
	struct hf_map_thread *main, *a, *b, *c;
	uint64_t keys[KEYS_MAX];   /* whose home is line 1 of the first table, its last home line */
	uint64_t others[KEYS_MAX]; /* whose home is line 0 */
	enum hf_status said[4];
	uint64_t got[4];
	bool put[4];
};

static struct hf_map_thread *join(struct hf_map *map, const char *name) {
	struct hf_map_thread *thread = NULL;
	char err[768];
	IL_CHECK(hf_map_join(map, name, ALL_RIGHTS, &thread, err, sizeof(err)) == HF_OK);
	return thread;
}

static void find_keys(const struct hf_map *map, uint64_t home, uint64_t *keys) {
	hf_table table = map->shards[0].table;
	uint64_t count = 0;
	for (uint64_t key = 100; count < KEYS_MAX; key++)
		if (hf_table_home(table, hf_hash_u64(map, key)) == home)
			keys[count++] = key;
}

static void put(struct hf_map_thread *thread, uint64_t key, uint64_t value) {
	IL_CHECK(hf_map_put(thread, key, value) == HF_OK);
}

static uint64_t get(struct hf_map_thread *thread, uint64_t key) {
	uint64_t got = 0;
	enum hf_status status = hf_map_get(thread, key, &got);
	IL_CHECK(status == HF_OK ? got != 0 : status == HF_NOTFOUND); /* no test stores 0 */
	return got;
}

static void join_all(struct state *s) {
	s->main = join(s->map, "main");
	s->a = join(s->map, "a");
	s->b = join(s->map, "b");
	s->c = join(s->map, "c");
}

static void make_map(struct state *s, enum hf_map_kind kind, uint32_t shards) {
	struct hf_map_options options = {
		.name = "map", .kind = kind, .shards = shards, .seed = 42
	};
	char err[768];
	IL_CHECK(hf_map_new(&options, &s->map, err, sizeof(err)) == HF_OK);
	join_all(s);
}

/* A map of one shard with keys[0] -> 10, keys[1] -> 11... */
static void make(struct state *s, uint64_t entries) {
	make_map(s, HF_MAP_U64, 1);
	find_keys(s->map, 0, s->others);
	find_keys(s->map, 1, s->keys);
	for (uint64_t i = 0; i < entries; i++)
		put(s->main, s->keys[i], 10 + i);
}

static void make_empty(void *state) {
	make(state, 0);
}

static void make_one(void *state) {
	make(state, 1);
}

/* The next new key begins a resize. Line 0 has room, line 1 is full, keys[4] is in line 2. */
static void make_full(void *state) {
	struct state *s = state;
	make(s, 5);
	for (uint64_t i = 0; i < 3; i++)
		put(s->main, s->others[i], 30 + i);
	hf_table table = s->map->shards[0].table;
	IL_CHECK(hf_table_head(table)->used == hf_table_slots(table));
	IL_CHECK(s->map->shards[0].resizes == 0 && s->map->shards[0].phase == HF_PHASE_STILL);
}

/* All is still, and the memory goes back: nobody may be using it. */
static void end(struct state *s) {
	while (!hf_map_settle(s->main))
		;
	hf_map_leave(s->a);
	hf_map_leave(s->b);
	hf_map_leave(s->c);
	hf_map_leave(s->main);
	hf_map_free(s->map);
}

/* ---- epochs alone: what a reader has found is not freed under it */

struct found {
	struct hf_epochs epochs;
	struct hf_pin pins[3];
	uint64_t *shared[2];
};

static void found_setup(void *state) {
	struct found *found = state;
	hf_epochs_init(&found->epochs);
	for (int i = 0; i < 3; i++)
		hf_epochs_add(&found->epochs, &found->pins[i]);
	for (int i = 0; i < 2; i++) {
		found->shared[i] = hf_memory_new(8);
		hf_plain_store(found->shared[i], 7);
	}
}

static void found_read(struct found *found, int reader) {
	uint64_t outer = hf_pin(&found->epochs, &found->pins[reader]);
	uint64_t *it = hf_atomic_load(&found->shared[0], HF_ACQUIRE);
	if (it)
		IL_CHECK(hf_plain_load(it) == 7);
	hf_unpin(&found->pins[reader], outer);
}

static void found_first(void *state) {
	found_read(state, 0);
}

static void found_twice(void *state) {
	found_read(state, 1);
	found_read(state, 1);
}

static void found_free(struct found *found, int which) {
	uint64_t *it = found->shared[which];
	hf_atomic_store(&found->shared[which], NULL, HF_RELEASE);
	uint64_t stamp = hf_epochs_stamp(&found->epochs);
	while (!hf_epochs_passed(&found->epochs, stamp))
		hf_cpu_relax();
	hf_memory_free(it);
}

static void found_free_first(void *state) {
	found_free(state, 0);
}

static void found_free_second(void *state) {
	found_free(state, 1);
}

/* Frees it only if that can be done at once. */
static void found_try(void *state) {
	struct found *found = state;
	uint64_t *it = found->shared[0];
	hf_atomic_store(&found->shared[0], NULL, HF_RELEASE);
	if (hf_epochs_passed(&found->epochs, hf_epochs_stamp(&found->epochs)))
		hf_memory_free(it);
}

/* Another writer, as far as the epochs see it. */
static void found_advance(void *state) {
	struct found *found = state;
	(void)hf_epochs_passed(&found->epochs, hf_epochs_stamp(&found->epochs));
}

/* ---- get beside put */

static void a_puts_first(void *state) {
	struct state *s = state;
	put(s->a, s->keys[0], 20);
}

static void b_gets_first(void *state) {
	struct state *s = state;
	uint64_t before = get(s->b, s->keys[0]);
	uint64_t after = get(s->b, s->keys[0]);
	IL_CHECK(before == 10 || before == 20);
	IL_CHECK(after == 20 || after == before);
}

static void end_first_20(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 20);
	end(s);
}

static void b_gets_new(void *state) {
	struct state *s = state;
	uint64_t before = get(s->b, s->keys[0]);
	uint64_t after = get(s->b, s->keys[0]);
	IL_CHECK(before == 0 || before == 20);
	IL_CHECK(after == 20 || after == before);
}

/* ---- a slot that is used again, for another key */

static void a_replaces(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_delete(s->a, s->keys[0]) == HF_OK);
	(void)hf_map_settle(s->a);
	put(s->a, s->keys[1], 21);
}

static void b_gets_both(void *state) {
	struct state *s = state;
	uint64_t first = get(s->b, s->keys[0]), second = get(s->b, s->keys[1]);
	IL_CHECK(first == 10 || first == 0);
	IL_CHECK(second == 21 || second == 0);
}

static void end_replaced(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 0);
	IL_CHECK(get(s->main, s->keys[1]) == 21);
	end(s);
}

static void b_overwrites(void *state) {
	struct state *s = state;
	put(s->b, s->keys[0], 30);
}

/* The overwriting put comes before the delete, or after it; it never goes to the other key. */
static void end_overwritten(void *state) {
	struct state *s = state;
	uint64_t first = get(s->main, s->keys[0]);
	IL_CHECK(first == 0 || first == 30);
	IL_CHECK(get(s->main, s->keys[1]) == 21);
	end(s);
}

/* The same by two writers: one deletes, the other puts, where there may be room by then. */
static void a_deletes_first(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_delete(s->a, s->keys[0]) == HF_OK);
}

static void c_puts_second(void *state) {
	struct state *s = state;
	(void)hf_map_settle(s->c);
	put(s->c, s->keys[1], 21);
}

/* ---- updates are one after the other */

static uint64_t add_one(void *arg, bool found, uint64_t old) {
	return found ? old + 1 : 1;
}

static void update(struct state *s, struct hf_map_thread *thread, int i) {
	s->said[i] = hf_map_update(thread, s->keys[0], add_one, NULL, &s->got[i]);
	IL_CHECK(s->said[i] == HF_OK);
}

static void a_updates(void *state) {
	struct state *s = state;
	update(s, s->a, 0);
}

static void b_updates(void *state) {
	struct state *s = state;
	update(s, s->b, 1);
}

static void end_updated(void *state) {
	struct state *s = state;
	uint64_t now = get(s->main, s->keys[0]);
	IL_CHECK(s->got[0] != s->got[1]);
	IL_CHECK(now == s->got[0] || now == s->got[1]);
	IL_CHECK(now == 12 || now == 2);
	end(s);
}

static void a_gets_or_puts(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_get_or_put(s->a, s->keys[0], 20, &s->got[0], &s->put[0]) == HF_OK);
}

static void b_gets_or_puts(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_get_or_put(s->b, s->keys[0], 30, &s->got[1], &s->put[1]) == HF_OK);
}

static void end_got_or_put(void *state) {
	struct state *s = state;
	IL_CHECK(s->put[0] + s->put[1] == 1);
	IL_CHECK(s->got[0] == s->got[1] && get(s->main, s->keys[0]) == s->got[0]);
	end(s);
}

static void a_deletes(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_delete(s->a, s->keys[0]) == HF_OK);
}

static void end_deleted_or_updated(void *state) {
	struct state *s = state;
	uint64_t now = get(s->main, s->keys[0]);
	IL_CHECK((s->got[1] == 11 && now == 0) || (s->got[1] == 1 && now == 1));
	end(s);
}

/* ---- a table that moves */

static void a_grows(void *state) {
	struct state *s = state;
	put(s->a, s->keys[5], 15);
	(void)hf_map_settle(s->a);
	(void)hf_map_settle(s->a);
}

/* Until the emptied table is freed. */
static void a_grows_through(void *state) {
	struct state *s = state;
	put(s->a, s->keys[5], 15);
	while (!hf_map_settle(s->a))
		hf_cpu_relax();
}

static void b_gets_moving(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->b, s->keys[0]) == 10);
}

/* Of a key that found no room in its home line. */
static void b_gets_far_moving(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->b, s->keys[4]) == 14);
}

static void b_gets_other_moving(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->b, s->others[1]) == 31);
}

static void b_gets_new_moving(void *state) {
	struct state *s = state;
	uint64_t got = get(s->b, s->keys[5]);
	IL_CHECK(got == 0 || got == 15);
}

static void b_puts_moving(void *state) {
	struct state *s = state;
	put(s->b, s->keys[0], 20);
}

static void b_deletes_moving(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_delete(s->b, s->keys[0]) == HF_OK);
}

static void end_grown(void *state) {
	struct state *s = state;
	while (!hf_map_settle(s->main))
		;
	IL_CHECK(s->map->shards[0].resizes == 1);
	for (uint64_t i = 1; i < 6; i++)
		IL_CHECK(get(s->main, s->keys[i]) == 10 + i);
	IL_CHECK(s->map->shards[0].live == 9 - (get(s->main, s->keys[0]) == 0));
	end(s);
}

static void end_grown_same(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 10);
	end_grown(s);
}

static void end_grown_20(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 20);
	end_grown(s);
}

static void end_grown_deleted(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 0);
	end_grown(s);
}

/*
 * ---- records: of two equal numbers, so that a torn one shows. Those of keys[i] of make_records
 * are 10 + i at first.
 */

struct numbers {
	uint64_t a, b;
};

static struct hf_bytes key_of(const uint64_t *key) {
	return (struct hf_bytes){ (const char *)key, sizeof(*key) };
}

static struct hf_bytes data_of(const struct numbers *numbers) {
	return (struct hf_bytes){ (const char *)numbers, sizeof(*numbers) };
}

static void find_record_keys(const struct hf_map *map, uint64_t home, uint64_t *keys) {
	hf_table table = map->shards[0].table;
	uint64_t count = 0;
	for (uint64_t key = 100; count < KEYS_MAX; key++)
		if (hf_table_home(table, hf_record_hash(map, &key, sizeof(key))) == home)
			keys[count++] = key;
}

static void put_record(struct hf_map_thread *thread, const uint64_t *key, uint64_t number) {
	struct numbers numbers = { number, number };
	IL_CHECK(hf_map_record_put(thread, key_of(key), data_of(&numbers), NULL) == HF_OK);
}

/* Its number, 0 if it is not there. */
static uint64_t get_record(struct hf_map_thread *thread, const uint64_t *key, uint64_t *version) {
	struct numbers numbers;
	struct hf_map_record record = { 0 };
	enum hf_status status =
		hf_map_record_get(thread, key_of(key), &numbers, sizeof(numbers), &record);
	*version = record.version;
	if (status == HF_NOTFOUND)
		return 0;
	IL_CHECK(status == HF_OK && record.len == sizeof(numbers) && record.version != 0);
	IL_CHECK(numbers.a == numbers.b && numbers.a != 0);
	return numbers.a;
}

/* Of `count` keys at once; otherwise as get_record. */
static void get_records(struct hf_map_thread *thread, uint32_t count, const uint64_t *const *keys,
			uint64_t *ret, uint64_t *ret_versions) {
	struct hf_bytes names[2];
	struct numbers numbers[2];
	struct hf_map_record records[2];
	enum hf_status status[2];
	for (uint32_t i = 0; i < count; i++)
		names[i] = key_of(keys[i]);
	IL_CHECK(hf_map_record_get_many(thread, count, names, numbers, sizeof(*numbers), records,
					status) == HF_OK);
	for (uint32_t i = 0; i < count; i++) {
		ret_versions[i] = records[i].version;
		ret[i] = status[i] == HF_OK ? numbers[i].a : 0;
		IL_CHECK(status[i] == HF_OK ? ret[i] != 0 && numbers[i].b == ret[i] &&
						      records[i].len == sizeof(*numbers)
					    : status[i] == HF_NOTFOUND);
	}
}

static void make_record_map(struct state *s, uint64_t entries) {
	make_map(s, HF_MAP_RECORDS, 1);
	find_record_keys(s->map, 0, s->others);
	find_record_keys(s->map, 1, s->keys);
	for (uint64_t i = 0; i < entries; i++)
		put_record(s->main, &s->keys[i], 10 + i);
}

static void make_record(void *state) {
	make_record_map(state, 1);
}

static void make_no_record(void *state) {
	make_record_map(state, 0);
}

/* a and b have each replaced a record whose memory is known to be out of sight. */
static void make_record_with_memory(void *state) {
	struct state *s = state;
	make_record_map(s, 1);
	for (int i = 0; i < 2; i++) {
		put_record(s->a, &s->others[0], 30);
		put_record(s->b, &s->others[1], 31);
		put_record(s->main, &s->others[2], 32);
	}
	while (!hf_map_settle(s->main))
		;
	for (int i = 0; i < 2; i++) {
		struct hf_blocks *blocks = (i == 0 ? s->a : s->b)->blocks;
		uint64_t stamp = hf_blocks_oldest(blocks)->stamp;
		IL_CHECK(blocks->limbo_count == 1 && hf_epochs_known(&s->map->epochs, stamp));
	}
}

/* Line 0 has room, line 1 is full, the rest in line 2. The next new key begins a resize. */
static void make_full_of_records(void *state) {
	struct state *s = state;
	make_record_map(s, 10);
	hf_table table = s->map->shards[0].table;
	for (uint64_t i = 0; hf_table_head(table)->used < hf_table_slots(table); i++)
		put_record(s->main, &s->others[i], 30 + i);
}

/* What each write with the lock does first. */
static void tend(struct hf_map *map, struct hf_map_shard *shard) {
	hf_lock(&shard->lock);
	hf_shard_tend(map, shard);
	hf_unlock(&shard->lock);
}

/* The same where the lines of the full table are about to move, and a look at one is all. */
static void make_moving_records(void *state) {
	struct state *s = state;
	make_full_of_records(s);
	struct hf_map_shard *shard = &s->map->shards[0];
	while (shard->phase != HF_PHASE_MOVING)
		tend(s->map, shard);
	IL_CHECK(shard->moved == 0);
}

static void a_puts_record(void *state) {
	struct state *s = state;
	put_record(s->a, &s->keys[0], 20);
}

static void b_gets_record(void *state) {
	struct state *s = state;
	uint64_t first, second;
	uint64_t before = get_record(s->b, &s->keys[0], &first);
	uint64_t after = get_record(s->b, &s->keys[0], &second);
	IL_CHECK(before == 0 || (before >= 10 && before <= 20));
	IL_CHECK(before == after ? first == second : after > before && second > first);
}

static void end_record_20(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(get_record(s->main, &s->keys[0], &version) == 20);
	end(s);
}

/* Twice: the second version may take the memory of the first one before it. */
static void a_puts_record_thrice(void *state) {
	struct state *s = state;
	put_record(s->a, &s->keys[0], 18);
	put_record(s->a, &s->keys[0], 19);
	put_record(s->a, &s->keys[0], 20);
}

/* What it has seen between enter and exit stays. */
static void b_looks_at_record(void *state) {
	struct state *s = state;
	struct hf_map_record record;
	hf_map_enter(s->b);
	enum hf_status status = hf_map_record(s->b, key_of(&s->keys[0]), &record);
	if (status == HF_OK) {
		const struct numbers *numbers = record.data;
		(void)get_record(s->b, &s->keys[1], &s->got[3]);
		IL_CHECK(hf_plain_load(&numbers->a) == hf_plain_load(&numbers->b));
	}
	hf_map_exit(s->b);
	IL_CHECK(status == HF_OK);
}

static void a_replaces_record(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_record_delete(s->a, key_of(&s->keys[0]), NULL) == HF_OK);
	(void)hf_map_settle(s->a);
	put_record(s->a, &s->keys[1], 21);
}

static void b_gets_both_records(void *state) {
	struct state *s = state;
	uint64_t version, first = get_record(s->b, &s->keys[0], &version);
	uint64_t second = get_record(s->b, &s->keys[1], &version);
	IL_CHECK(first == 10 || first == 0);
	IL_CHECK(second == 21 || second == 0);
}

/* At once, with one behind it that is not there: time to lose what the first one is. */
static void b_gets_many(void *state) {
	struct state *s = state;
	uint64_t got[2], versions[2];
	get_records(s->b, 2, (const uint64_t *const[]){ &s->keys[0], &s->keys[1] }, got, versions);
	IL_CHECK((got[0] == 10 && versions[0] == 1) || (got[0] >= 18 && got[0] <= 20));
	IL_CHECK(got[0] == 10 || versions[0] == got[0] - 16);
	IL_CHECK(got[1] == 0);
}

static void b_gets_many_replaced(void *state) {
	struct state *s = state;
	uint64_t got[2], versions[2];
	get_records(s->b, 2, (const uint64_t *const[]){ &s->keys[0], &s->keys[1] }, got, versions);
	IL_CHECK(got[0] == 10 || got[0] == 0);
	IL_CHECK(got[1] == 21 || got[1] == 0);
}

static void end_record_replaced(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(get_record(s->main, &s->keys[0], &version) == 0);
	IL_CHECK(get_record(s->main, &s->keys[1], &version) == 21);
	end(s);
}

static void compare_put_record(struct hf_map_thread *thread, struct state *s, int i) {
	struct numbers numbers = { 20 + (uint64_t)i, 20 + (uint64_t)i };
	s->got[i] = 1; /* the version that is there at first */
	s->said[i] = hf_map_record_compare_put(thread, key_of(&s->keys[0]), &s->got[i],
					       data_of(&numbers));
}

static void a_compares_and_puts(void *state) {
	struct state *s = state;
	compare_put_record(s->a, s, 0);
}

static void b_compares_and_puts(void *state) {
	struct state *s = state;
	compare_put_record(s->b, s, 1);
}

static void end_compared(void *state) {
	struct state *s = state;
	uint64_t version;
	int winner = s->said[0] == HF_OK ? 0 : 1;
	IL_CHECK(s->said[winner] == HF_OK && s->said[!winner] == HF_STALE);
	IL_CHECK(get_record(s->main, &s->keys[0], &version) == 20 + (uint64_t)winner);
	IL_CHECK(version == s->got[0] && version == s->got[1]);
	end(s);
}

/* Both replace what is there, without a lock: one of them replaces what the other one put. */
static void b_puts_record(void *state) {
	struct state *s = state;
	put_record(s->b, &s->keys[0], 21);
}

static void end_put_twice(void *state) {
	struct state *s = state;
	uint64_t version, number = get_record(s->main, &s->keys[0], &version);
	IL_CHECK((number == 20 || number == 21) && version == 3);
	end(s);
}

/* The put comes before the delete, or after it, under a version that there never was. */
static void a_deletes_record(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_record_delete(s->a, key_of(&s->keys[0]), NULL) == HF_OK);
}

static void end_deleted_or_put(void *state) {
	struct state *s = state;
	uint64_t version, number = get_record(s->main, &s->keys[0], &version);
	IL_CHECK(number == 0 || (number == 21 && version == 2));
	end(s);
}

static void end_record_replaced_or_put(void *state) {
	struct state *s = state;
	uint64_t version, first = get_record(s->main, &s->keys[0], &version);
	IL_CHECK(first == 0 || first == 21);
	IL_CHECK(get_record(s->main, &s->keys[1], &version) == 21);
	end(s);
}

static void a_grows_records(void *state) {
	struct state *s = state;
	put_record(s->a, &s->keys[10], 20);
	(void)hf_map_settle(s->a);
	(void)hf_map_settle(s->a);
}

static void a_moves_a_run(void *state) {
	struct state *s = state;
	tend(s->map, &s->map->shards[0]);
}

static void b_gets_record_moving(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(get_record(s->b, &s->keys[0], &version) == 10);
}

static void b_gets_far_record_moving(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(get_record(s->b, &s->keys[9], &version) == 19);
}

static void b_gets_other_record_moving(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(get_record(s->b, &s->others[1], &version) == 31);
}

/* Beside its home line, and in a line with room. */
static void b_gets_many_moving(void *state) {
	struct state *s = state;
	uint64_t got[2], versions[2];
	const uint64_t *keys[] = { &s->keys[9], &s->others[1] };
	get_records(s->b, 2, keys, got, versions);
	IL_CHECK(got[0] == 19 && got[1] == 31);
}

static void end_grown_records(void *state) {
	struct state *s = state;
	uint64_t version;
	while (!hf_map_settle(s->main))
		;
	IL_CHECK(s->map->shards[0].resizes == 1);
	for (uint64_t i = 0; i <= 10; i++)
		IL_CHECK(get_record(s->main, &s->keys[i], &version) == 10 + i);
	end(s);
}

static void end_moved_run(void *state) {
	struct state *s = state;
	uint64_t version;
	IL_CHECK(s->map->shards[0].moved > 0);
	IL_CHECK(get_record(s->main, &s->others[1], &version) == 31);
	end(s);
}

static void end_grown_records_put(void *state) {
	struct state *s = state;
	uint64_t version;
	while (!hf_map_settle(s->main))
		;
	IL_CHECK(s->map->shards[0].resizes == 1);
	IL_CHECK(get_record(s->main, &s->keys[0], &version) == 21 && version == 2);
	end(s);
}

/* ---- cursors: what b walks over is of one moment, or it is told */

/* The values of the keys, as b's cursor shows them, in got[]; 0: not there. */
static enum hf_status walk(struct state *s, enum hf_map_cursor_mode mode) {
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	enum hf_status status;
	IL_CHECK(hf_map_cursor_open(s->b, mode, &cursor) == HF_OK);
	while ((status = hf_map_cursor_next(cursor, &entry)) == HF_OK) {
		int i = 0;
		while (i < 4 && s->keys[i] != entry.key)
			i++;
		IL_CHECK(i < 4 && s->got[i] == 0); /* each once */
		s->got[i] = entry.value;
	}
	hf_map_cursor_close(cursor);
	return status;
}

static bool walked(const struct state *s, uint64_t first, uint64_t second, uint64_t fourth) {
	return s->got[0] == first && s->got[1] == second && s->got[3] == fourth;
}

/* In two shards, for a cursor has the lock of one at a time: keys[1] and [3] are in
 * the second. */
static void make_two(void *state) {
	struct state *s = state;
	make_map(s, HF_MAP_U64, 2);
	uint64_t key = 100;
	for (uint64_t i = 0; i < 4; i++, key++) {
		while (hf_shard_number(s->map, hf_hash_u64(s->map, key)) != i % 2)
			key++;
		s->keys[i] = key;
	}
	put(s->main, s->keys[0], 10);
	put(s->main, s->keys[1], 11);
}

static void a_puts_two(void *state) {
	struct state *s = state;
	put(s->a, s->keys[0], 20);
	put(s->a, s->keys[1], 21);
}

static void b_walks_puts(void *state) {
	struct state *s = state;
	IL_CHECK(walk(s, HF_MAP_CURSOR_SNAPSHOT) == HF_NOTFOUND);
	IL_CHECK(walked(s, 10, 11, 0) || walked(s, 20, 11, 0) || walked(s, 20, 21, 0));
}

static void a_deletes_and_adds(void *state) {
	struct state *s = state;
	IL_CHECK(hf_map_delete(s->a, s->keys[0]) == HF_OK);
	put(s->a, s->keys[3], 23);
}

static void b_walks_changes(void *state) {
	struct state *s = state;
	IL_CHECK(walk(s, HF_MAP_CURSOR_SNAPSHOT) == HF_NOTFOUND);
	IL_CHECK(walked(s, 10, 11, 0) || walked(s, 0, 11, 0) || walked(s, 0, 11, 23));
}

static void b_walks_strictly(void *state) {
	struct state *s = state;
	enum hf_status status = walk(s, HF_MAP_CURSOR_STRICT);
	IL_CHECK(status == HF_NOTFOUND || status == HF_STALE);
	if (status == HF_NOTFOUND)
		IL_CHECK(walked(s, 10, 11, 0) || walked(s, 0, 11, 0) || walked(s, 0, 11, 23));
}

static void end_two(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 20 && get(s->main, s->keys[1]) == 21);
	end(s);
}

static void end_changed(void *state) {
	struct state *s = state;
	IL_CHECK(get(s->main, s->keys[0]) == 0 && get(s->main, s->keys[3]) == 23);
	end(s);
}

/*
 * ---- objects: a program's own. a alone writes, b looks up meanwhile, inside. Their keys are their
 * hashes; that of keys[i] is 10 + i at first.
 */

struct object {
	uint64_t hash;
	struct numbers numbers;
};

static uint64_t hash_of_object(const void *arg, const void *object) {
	return hf_plain_load(&((const struct object *)object)->hash);
}

static void free_object(void *arg, void *object) {
	hf_memory_free(object);
}

static bool has_hash(const void *wanted, const void *object) {
	return hash_of_object(NULL, object) == *(const uint64_t *)wanted;
}

static struct object *object_new(uint64_t hash, uint64_t number) {
	struct object *object = hf_memory_new(sizeof(*object));
	hf_plain_store(&object->hash, hash);
	hf_plain_store(&object->numbers.a, number);
	hf_plain_store(&object->numbers.b, number);
	return object;
}

static uint64_t number_in(const struct object *object) {
	uint64_t number = hf_plain_load(&object->numbers.a);
	IL_CHECK(number != 0 && hf_plain_load(&object->numbers.b) == number);
	return number;
}

/* 0 if it is not there. By a, or inside. */
static uint64_t find_object(const struct hf_map *map, uint64_t hash) {
	const struct object *object = hf_object_find(map, hash, has_hash, &hash);
	return object == NULL ? 0 : number_in(object);
}

static void add_object(struct hf_map *map, uint64_t hash, uint64_t number) {
	struct hf_err err;
	IL_CHECK(hf_object_reserve(map, hash, &err));
	hf_object_add(map, hash, object_new(hash, number));
}

static void replace_object(struct hf_map *map, uint64_t hash, uint64_t number) {
	struct hf_err err;
	struct object *old = hf_object_find(map, hash, has_hash, &hash);
	IL_CHECK(old != NULL && hf_object_reserve_retire(map, &err));
	hf_object_replace(map, hash, old, object_new(hash, number));
	hf_object_retire(map, old, sizeof(*old));
}

static void remove_object(struct hf_map *map, uint64_t hash) {
	struct hf_err err;
	struct object *old = hf_object_find(map, hash, has_hash, &hash);
	IL_CHECK(old != NULL && hf_object_reserve_retire(map, &err));
	hf_object_remove(map, hash, old, sizeof(*old));
}

/*
 * Of a table, which is all of its memory here: the explorer has been told of its end before the
 * memory goes back, so that has to begin elsewhere.
 */
static void *table_new(size_t bytes) {
	uint8_t *memory = hf_pages_new(TABLE_AT + bytes);
	return memory == NULL ? NULL : memory + TABLE_AT;
}

static void table_free(void *memory, size_t bytes) {
	if (memory != NULL)
		hf_pages_free((uint8_t *)memory - TABLE_AT, TABLE_AT + bytes);
}

static void make_objects(struct state *s, uint64_t objects) {
	static const struct hf_allocator heap = { table_new, table_free, hf_pages_drop };
	const struct hf_object_kind kind = { "map", hash_of_object, free_object, NULL };
	struct hf_err err;
	IL_CHECK(hf_objects_make(&kind, 0, &heap, &s->map, &err));
	join_all(s);
	for (uint64_t i = 0; i < KEYS_MAX; i++) {
		s->others[i] = (i + 1) * 0x9e3779b97f4a7c15u >> 1;
		s->keys[i] = s->others[i] | (uint64_t)1 << 63;
	}
	for (uint64_t i = 0; i < objects; i++)
		add_object(s->map, s->keys[i], 10 + i);
}

static void make_no_object(void *state) {
	make_objects(state, 0);
}

static void make_object(void *state) {
	make_objects(state, 1);
}

/* Line 1 is full, keys[8] and [9] are in line 2. */
static void make_ten_objects(void *state) {
	make_objects(state, 10);
}

/* The same, and line 0 has room; the next one begins a resize. */
static void make_full_of_objects(void *state) {
	struct state *s = state;
	make_objects(s, 10);
	for (uint64_t i = 0; i < 5; i++)
		add_object(s->map, s->others[i], 30 + i);
	IL_CHECK(s->map->shards[0].phase == HF_PHASE_STILL);
}

static void a_adds_object(void *state) {
	struct state *s = state;
	add_object(s->map, s->keys[0], 20);
}

static void a_replaces_object(void *state) {
	struct state *s = state;
	replace_object(s->map, s->keys[0], 20);
}

/* What was replaced first is freed as soon as nobody has it: the third time asks for that. */
static void a_replaces_object_thrice(void *state) {
	struct state *s = state;
	for (uint64_t number = 18; number <= 20; number++)
		replace_object(s->map, s->keys[0], number);
}

/* So many that the last removal waits for whoever is inside. */
static void a_removes_many_objects(void *state) {
	struct state *s = state;
	for (uint64_t i = 0; i <= HF_MAP_LIMBO; i++)
		remove_object(s->map, s->keys[i]);
}

static void a_removes_and_adds_object(void *state) {
	struct state *s = state;
	remove_object(s->map, s->keys[0]);
	add_object(s->map, s->keys[1], 21);
}

static void a_removes_second_object(void *state) {
	struct state *s = state;
	remove_object(s->map, s->keys[1]);
}

static void a_grows_objects(void *state) {
	struct state *s = state;
	add_object(s->map, s->others[5], 35);
	(void)hf_map_settle(s->a);
	(void)hf_map_settle(s->a);
}

/* Until the emptied table is freed, if b is out by then. */
static void a_grows_objects_through(void *state) {
	struct state *s = state;
	add_object(s->map, s->others[5], 35);
	for (int i = 0; i < 6; i++)
		(void)hf_map_settle(s->a);
	IL_CHECK(s->map->shards[0].resizes == 1);
}

/* Where it stood, and where it has moved to. */
static void a_replaces_moving_object(void *state) {
	struct state *s = state;
	const struct hf_map_shard *shard = &s->map->shards[0];
	add_object(s->map, s->others[5], 35);
	replace_object(s->map, s->keys[0], 18);
	IL_CHECK(hf_shard_table(shard, s->keys[0]) == shard->table);
	replace_object(s->map, s->keys[0], 20);
	IL_CHECK(hf_shard_table(shard, s->keys[0]) == shard->next);
}

static void b_finds_first(void *state) {
	struct state *s = state;
	hf_map_enter(s->b);
	uint64_t before = find_object(s->map, s->keys[0]);
	uint64_t after = find_object(s->map, s->keys[0]);
	hf_map_exit(s->b);
	IL_CHECK(before <= after && after <= 20);
	s->got[0] = before;
}

/* It is never away. */
static void b_finds_replaced(void *state) {
	struct state *s = state;
	b_finds_first(s);
	IL_CHECK(s->got[0] != 0);
}

/* What it has found stays as it was until it leaves. */
static void b_holds_object(void *state) {
	struct state *s = state;
	hf_map_enter(s->b);
	const struct object *object = hf_object_find(s->map, s->keys[0], has_hash, &s->keys[0]);
	uint64_t number = object == NULL ? 0 : number_in(object);
	(void)find_object(s->map, s->keys[1]);
	IL_CHECK(object == NULL || number_in(object) == number);
	hf_map_exit(s->b);
}

static void b_finds_both(void *state) {
	struct state *s = state;
	hf_map_enter(s->b);
	uint64_t first = find_object(s->map, s->keys[0]), second = find_object(s->map, s->keys[1]);
	hf_map_exit(s->b);
	IL_CHECK(first == 10 || first == 0);
	IL_CHECK(second == 21 || second == 0);
}

static void b_finds(struct state *s, uint64_t hash, uint64_t number) {
	hf_map_enter(s->b);
	IL_CHECK(find_object(s->map, hash) == number);
	hf_map_exit(s->b);
}

static void b_finds_moving(void *state) {
	struct state *s = state;
	b_finds(s, s->keys[0], 10);
}

static void b_finds_far(void *state) {
	struct state *s = state;
	b_finds(s, s->keys[9], 19);
}

static void b_finds_other(void *state) {
	struct state *s = state;
	b_finds(s, s->others[1], 31);
}

static void b_finds_new(void *state) {
	struct state *s = state;
	hf_map_enter(s->b);
	uint64_t number = find_object(s->map, s->others[5]);
	hf_map_exit(s->b);
	IL_CHECK(number == 0 || number == 35);
}

static void end_object_20(void *state) {
	struct state *s = state;
	IL_CHECK(find_object(s->map, s->keys[0]) == 20);
	end(s);
}

static void end_objects_removed(void *state) {
	struct state *s = state;
	for (uint64_t i = 0; i < 10; i++)
		IL_CHECK(find_object(s->map, s->keys[i]) == (i <= HF_MAP_LIMBO ? 0 : 10 + i));
	IL_CHECK(hf_objects_count(s->map) == 9 - HF_MAP_LIMBO);
	end(s);
}

static void end_objects_exchanged(void *state) {
	struct state *s = state;
	IL_CHECK(find_object(s->map, s->keys[0]) == 0);
	IL_CHECK(find_object(s->map, s->keys[1]) == 21);
	end(s);
}

static void end_second_removed(void *state) {
	struct state *s = state;
	IL_CHECK(find_object(s->map, s->keys[1]) == 0 && hf_objects_count(s->map) == 9);
	end(s);
}

static void end_grown_objects(void *state) {
	struct state *s = state;
	while (!hf_map_settle(s->main))
		;
	IL_CHECK(s->map->shards[0].resizes == 1 && hf_objects_count(s->map) == 16);
	for (uint64_t i = 1; i < 10; i++)
		IL_CHECK(find_object(s->map, s->keys[i]) == 10 + i);
	for (uint64_t i = 0; i < 6; i++)
		IL_CHECK(find_object(s->map, s->others[i]) == 30 + i);
	end(s);
}

/*
 * ---- across keys: each puts one, then gets the other's. What map.h says of it must be seen, all
 * of it: with release and acquire alone both may miss; where the program fences, one sees.
 */

enum { BOTH_MISS = 1, A_SEES = 2, B_SEES = 4, BOTH_SEE = 8 };

static unsigned ends_seen; /* in the runs of one test */

/* In two shards: those who put into one have its lock, one after the other. */
static void make_two_records(void *state) {
	struct state *s = state;
	make_map(s, HF_MAP_RECORDS, 2);
	uint64_t key = 100;
	for (uint64_t i = 0; i < 2; i++, key++) {
		while (hf_shard_number(s->map, hf_record_hash(s->map, &key, sizeof(key))) != i)
			key++;
		s->keys[i] = key;
		put_record(s->main, &s->keys[i], 10 + i);
	}
}

static void a_puts_then_gets(void *state) {
	struct state *s = state;
	put(s->a, s->keys[0], 20);
	s->got[0] = get(s->a, s->keys[1]);
}

static void b_puts_then_gets(void *state) {
	struct state *s = state;
	put(s->b, s->keys[1], 21);
	s->got[1] = get(s->b, s->keys[0]);
}

static void a_puts_fences_gets(void *state) {
	struct state *s = state;
	put(s->a, s->keys[0], 20);
	hf_fence(HF_SEQ_CST);
	s->got[0] = get(s->a, s->keys[1]);
}

static void b_puts_fences_gets(void *state) {
	struct state *s = state;
	put(s->b, s->keys[1], 21);
	hf_fence(HF_SEQ_CST);
	s->got[1] = get(s->b, s->keys[0]);
}

static void a_puts_record_then_gets(void *state) {
	struct state *s = state;
	uint64_t version;
	put_record(s->a, &s->keys[0], 20);
	s->got[0] = get_record(s->a, &s->keys[1], &version);
}

static void b_puts_record_then_gets(void *state) {
	struct state *s = state;
	uint64_t version;
	put_record(s->b, &s->keys[1], 21);
	s->got[1] = get_record(s->b, &s->keys[0], &version);
}

static void end_across(void *state) {
	struct state *s = state;
	bool a_sees = s->got[0] == 21, b_sees = s->got[1] == 20;
	IL_CHECK((a_sees || s->got[0] == 11) && (b_sees || s->got[1] == 10));
	ends_seen |= 1u << (a_sees + 2 * b_sees);
	end(s);
}

/* ---- all of them */

static const struct explored {
	const char *name;
	void (*setup)(void *state), (*check)(void *state), (*threads[3])(void *state);
	unsigned preemptions; /* at most so many, unless -a is given; 0: any */
	unsigned stale;	      /* and so many old values; 0: one */
	bool no_heavy_fence;
	unsigned ends; /* that runs must have had, all of these and no other; 0: whatever */
} tests[] = {
	/* clang-format off */
	{ "epochs: a reader, a writer", found_setup, NULL,
	  { found_first, found_free_first } },
	{ "epochs: a reader, two writers", found_setup, NULL,
	  { found_first, found_try, found_advance } },
	{ "epochs: two readers, a writer", found_setup, NULL,
	  { found_first, found_twice, found_free_first } },
	{ "epochs: a reader, two writers that wait", found_setup, NULL,
	  { found_first, found_free_first, found_free_second }, 1 },
	{ "epochs without membarrier: a reader, a writer", found_setup, NULL,
	  { found_twice, found_free_first }, .no_heavy_fence = true },
	{ "epochs without membarrier: a reader, two writers", found_setup, NULL,
	  { found_first, found_try, found_advance }, .no_heavy_fence = true },
	{ "put; get", make_one, end_first_20, { a_puts_first, b_gets_first } },
	{ "put of a new key; get", make_empty, end_first_20, { a_puts_first, b_gets_new } },
	{ "a slot used again; get", make_one, end_replaced, { a_replaces, b_gets_both } },
	{ "a slot used again; put", make_one, end_overwritten, { a_replaces, b_overwrites } },
	{ "a slot used again by another writer; get", make_one, end_replaced,
	  { a_deletes_first, b_gets_both, c_puts_second } },
	{ "two updates", make_one, end_updated, { a_updates, b_updates } },
	{ "two updates of a new key", make_empty, end_updated, { a_updates, b_updates } },
	{ "two get_or_put", make_empty, end_got_or_put, { a_gets_or_puts, b_gets_or_puts } },
	{ "delete; update", make_one, end_deleted_or_updated, { a_deletes, b_updates } },
	{ "resize; get", make_full, end_grown_same, { a_grows, b_gets_moving } },
	{ "resize to the end; get", make_full, end_grown_same,
	  { a_grows_through, b_gets_moving } },
	{ "resize; get of a key beside its home", make_full, end_grown_same,
	  { a_grows, b_gets_far_moving } },
	{ "resize; get of a key in a line with room", make_full, end_grown_same,
	  { a_grows, b_gets_other_moving } },
	{ "resize; get of a new key", make_full, end_grown_same, { a_grows, b_gets_new_moving } },
	{ "resize; put", make_full, end_grown_20, { a_grows, b_puts_moving }, 1 },
	{ "resize; delete", make_full, end_grown_deleted, { a_grows, b_deletes_moving } },
	{ "record put; get", make_record, end_record_20, { a_puts_record, b_gets_record } },
	{ "record put of a new key; get", make_no_record, end_record_20,
	  { a_puts_record, b_gets_record } },
	{ "record put thrice; get", make_record, end_record_20,
	  { a_puts_record_thrice, b_gets_record } },
	{ "record put thrice; look", make_record, end_record_20,
	  { a_puts_record_thrice, b_looks_at_record } },
	{ "record replaced; get", make_record, end_record_replaced,
	  { a_replaces_record, b_gets_both_records } },
	{ "record put thrice; get_many", make_record, end_record_20,
	  { a_puts_record_thrice, b_gets_many } },
	{ "record replaced; get_many", make_record, end_record_replaced,
	  { a_replaces_record, b_gets_many_replaced } },
	{ "two record compare_put", make_record, end_compared,
	  { a_compares_and_puts, b_compares_and_puts } },
	{ "two record puts", make_record, end_put_twice, { a_puts_record, b_puts_record } },
	{ "two record puts into used memory", make_record_with_memory, end_put_twice,
	  { a_puts_record, b_puts_record } },
	{ "record put into used memory; get", make_record_with_memory, end_record_20,
	  { a_puts_record, b_gets_record } },
	{ "record delete; put into used memory", make_record_with_memory, end_deleted_or_put,
	  { a_deletes_record, b_puts_record } },
	{ "record delete; put", make_record, end_deleted_or_put,
	  { a_deletes_record, b_puts_record } },
	{ "record replaced; put", make_record, end_record_replaced_or_put,
	  { a_replaces_record, b_puts_record }, 1 },
	{ "records resize; put", make_full_of_records, end_grown_records_put,
	  { a_grows_records, b_puts_record }, 1 },
	{ "records resize; get", make_full_of_records, end_grown_records,
	  { a_grows_records, b_gets_record_moving }, 1 },
	{ "records resize; get of one beside its home", make_full_of_records, end_grown_records,
	  { a_grows_records, b_gets_far_record_moving }, 1 },
	{ "records resize; get from a line with room", make_full_of_records, end_grown_records,
	  { a_grows_records, b_gets_other_record_moving }, 1 },
	{ "records resize; get_many", make_full_of_records, end_grown_records,
	  { a_grows_records, b_gets_many_moving }, 1 },
	{ "a run of records moves; get from a line with room", make_moving_records, end_moved_run,
	  { a_moves_a_run, b_gets_other_record_moving }, 1, 2 },
	{ "two puts; a cursor", make_two, end_two, { a_puts_two, b_walks_puts }, 1 },
	{ "delete, put of a new key; a cursor", make_two, end_changed,
	  { a_deletes_and_adds, b_walks_changes }, 1 },
	{ "delete, put of a new key; a strict cursor", make_two, end_changed,
	  { a_deletes_and_adds, b_walks_strictly }, 1 },
	{ "object added; find", make_no_object, end_object_20, { a_adds_object, b_finds_first } },
	{ "object replaced; find", make_object, end_object_20,
	  { a_replaces_object, b_finds_replaced } },
	{ "object replaced thrice; find", make_object, end_object_20,
	  { a_replaces_object_thrice, b_holds_object } },
	{ "objects removed, one too many; find", make_ten_objects, end_objects_removed,
	  { a_removes_many_objects, b_holds_object } },
	{ "object removed, another added; find", make_object, end_objects_exchanged,
	  { a_removes_and_adds_object, b_finds_both } },
	{ "object removed from a full line; find of one behind it", make_ten_objects,
	  end_second_removed, { a_removes_second_object, b_finds_far } },
	{ "objects resize; find", make_full_of_objects, end_grown_objects,
	  { a_grows_objects, b_finds_moving }, 1 },
	{ "objects resize to the end; find", make_full_of_objects, end_grown_objects,
	  { a_grows_objects_through, b_finds_moving }, 1 },
	{ "objects resize; find of one beside its home", make_full_of_objects, end_grown_objects,
	  { a_grows_objects, b_finds_far }, 1 },
	{ "objects resize; find in a line with room", make_full_of_objects, end_grown_objects,
	  { a_grows_objects, b_finds_other }, 1 },
	{ "objects resize; find of a new one", make_full_of_objects, end_grown_objects,
	  { a_grows_objects, b_finds_new }, 1 },
	{ "objects resize, one is replaced; find", make_full_of_objects, end_grown_objects,
	  { a_replaces_moving_object, b_finds_replaced }, 1 },
	{ "across two keys", make_two, end_across, { a_puts_then_gets, b_puts_then_gets },
	  .ends = BOTH_MISS | A_SEES | B_SEES | BOTH_SEE },
	{ "across two keys, fenced", make_two, end_across,
	  { a_puts_fences_gets, b_puts_fences_gets }, .ends = A_SEES | B_SEES | BOTH_SEE },
	{ "across two records", make_two_records, end_across,
	  { a_puts_record_then_gets, b_puts_record_then_gets },
	  .ends = BOTH_MISS | A_SEES | B_SEES | BOTH_SEE },
	/* clang-format on */
};

/* Any test's state. */
union states {
	struct found found;
	struct state state;
};

static bool explore(const struct explored *it, bool all, double seconds, bool verbose) {
	struct il_test test = {
		.name = it->name,
		.state_bytes = sizeof(union states),
		.setup = it->setup,
		.check = it->check,
		.threads = { { "a", it->threads[0] },
			     { "b", it->threads[1] },
			     { "c", it->threads[2] } },
		.no_heavy_fence = it->no_heavy_fence,
	};
	struct il_options options = { .mode = IL_ALL, .seconds = seconds };
	struct il_result result;
	char bound[40];
	unsigned stale = it->stale == 0 ? 1 : it->stale;
	bool bounded = it->preemptions && !all;
	if (bounded)
		options = (struct il_options){ .mode = IL_BOUNDED,
					       .preemptions = it->preemptions,
					       .stale = stale };
	options.trace = verbose ? stdout : NULL;
	ends_seen = 0;
	bool good = il_explore(&test, &options, &result);
	if (good && it->ends != 0 && ends_seen != it->ends) {
		good = false;
		snprintf(result.failure, sizeof(result.failure), "the ends %#x were seen, not %#x",
			 ends_seen, it->ends);
	}
	snprintf(bound, sizeof(bound), "%u preemptions, %u old value%s", it->preemptions, stale,
		 stale == 1 ? "" : "s");
	const char *what = !good	      ? "FAILED"
			   : !result.complete ? "some behaviours"
			   : bounded	      ? bound
					      : "every behaviour";
	printf("| %s | %s | %ju + %ju | %u | %.2f |\n", it->name, what, (uintmax_t)result.runs,
	       (uintmax_t)result.cut, result.longest, result.seconds);
	if (!good)
		printf("    %s\n", result.failure);
	if (result.failed)
		printf("    schedule %s\n", result.schedule);
	fflush(stdout);
	return good;
}

int main(int argc, char **argv) {
	bool good = true, all = false, verbose = false, first = false;
	double seconds = 0;
	int option;
	while ((option = getopt(argc, argv, "afvs:")) != -1) {
		if (option == '?')
			return 2;
		all |= option == 'a';
		first |= option == 'f';
		verbose |= option == 'v';
		if (option == 's')
			seconds = atof(optarg);
	}
	const char *part = optind < argc ? argv[optind] : "";
	printf("| test | explored | runs + cut short | steps | seconds |\n"
	       "| --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		if (strstr(tests[i].name, part) && (good || !first))
			good &= explore(&tests[i], all, seconds, verbose);
	return good ? 0 : 1;
}
