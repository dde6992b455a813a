/*
 * torture - threads that read, write, delete and get stuck in one map that grows and shrinks all
 * the while, and check every answer.
 *
 * Each key has one writer, which numbers its changes of the key: change s is a put of a value that
 * holds key and s, or a removal, as a hash of key and s says. Before a change the writer notes its
 * number as begun, after it as done. A reader looks at `done`, reads, looks at `begun`: what it got
 * must be the outcome of one of the changes between. That finds a value that is torn, another
 * key's, lost, or back from the dead. Besides, all threads count in a few keys with atomic updates,
 * and no count may be missing in the end.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "map/map_private.h"

#define KEYS 6000u
#define COUNTERS 16u
#define COUNTER_BASE ((uint64_t)1 << 40)
#define WRITERS 2u
#define READERS 2u
#define OTHERS 3u
#define BYTES_MAX ((uint64_t)64 << 20)

struct truth {
	uint64_t begun, done;
};

struct world {
	struct hf_map *map;
	bool records;
	struct truth truth[KEYS];
	uint64_t begin_ns, end_ns;
	uint64_t reads, writes, refused, counted, stuck, walks;
};

static _Noreturn void fail(const char *what, uint64_t key, uint64_t got, uint64_t from,
			   uint64_t to) {
	fprintf(stderr, "key %llu: %s: got change %llu, want one of %llu to %llu\n",
		(unsigned long long)key, what, (unsigned long long)got, (unsigned long long)from,
		(unsigned long long)to);
	abort();
}

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t mix(uint64_t x) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* In growing phases few changes remove, in shrinking ones most do; the number tells the phase. */
static bool removes(uint64_t key, uint64_t change) {
	if (change == 0)
		return true;
	return mix(key << 32 ^ change) % 100 < ((change / 16) % 2 == 0 ? 15u : 85u);
}

static struct hf_map_thread *join(struct world *world, const char *name) {
	char err[768];
	struct hf_map_thread *thread;
	if (hf_map_join(world->map, name, HF_MAP_READ | HF_MAP_WRITE | HF_MAP_DELETE, &thread, err,
			sizeof(err)) != HF_OK) {
		fprintf(stderr, "%s\n", err);
		abort();
	}
	return thread;
}

static bool over(const struct world *world) {
	return now_ns() >= world->end_ns;
}

/* ---- one change, one look, of either kind */

#define FIELDS 6u

/* Keys of 3 to 34 bytes. */
static struct hf_bytes key_of(uint64_t key, uint8_t bytes[40]) {
	memset(bytes, (int)(key & 0xff), 40);
	memcpy(bytes, &key, 3);
	return (struct hf_bytes){ bytes, 3 + key % 32 };
}

/* All fields tell key and change, each in another way. */
static uint64_t field_of(uint64_t key, uint64_t change, uint32_t field) {
	return field == 0 ? key << 40 | change : mix(key << 40 ^ change) + field * change;
}

static enum hf_status make_change(const struct world *world, struct hf_map_thread *thread,
				  uint64_t key, uint64_t change) {
	enum hf_status status;
	uint64_t fields[FIELDS];
	uint8_t bytes[40];
	if (removes(key, change)) {
		status = world->records ? hf_map_record_delete(thread, key_of(key, bytes), NULL)
					: hf_map_delete(thread, key);
		return status == HF_NOTFOUND ? HF_OK : status;
	}
	if (!world->records)
		return hf_map_put(thread, key, key << 40 | change);
	for (uint32_t i = 0; i < FIELDS; i++)
		fields[i] = field_of(key, change, i);
	struct hf_bytes data = { fields, sizeof(fields) };
	return hf_map_record_put(thread, key_of(key, bytes), data, NULL);
}

static uint64_t change_in(uint64_t key, uint64_t value) {
	if (value >> 40 != key)
		fail("another key's value", key, value, 0, 0);
	return value & (((uint64_t)1 << 40) - 1);
}

/* The change that made this record of the key, all of it. */
static uint64_t change_of(uint64_t key, const struct hf_map_record *record) {
	uint64_t fields[FIELDS];
	if (record->len != sizeof(fields))
		fail("a record of another length", key, record->len, 0, 0);
	memcpy(fields, record->data, sizeof(fields));
	uint64_t change = change_in(key, fields[0]);
	for (uint32_t i = 1; i < FIELDS; i++)
		if (fields[i] != field_of(key, change, i))
			fail("a torn record", key, change, 0, 0);
	return change;
}

/* The change that the map shows: its number, or none. */
static bool look(const struct world *world, struct hf_map_thread *thread, uint64_t key,
		 uint64_t *ret) {
	uint64_t value, fields[FIELDS];
	uint8_t bytes[40];
	struct hf_map_record got;
	if (!world->records) {
		if (hf_map_get(thread, key, &value) != HF_OK)
			return false;
		*ret = change_in(key, value);
		return true;
	}
	if (hf_map_record_get(thread, key_of(key, bytes), fields, sizeof(fields), &got) != HF_OK)
		return false;
	*ret = change_of(key, &got);
	return true;
}

static void check(uint64_t key, bool found, uint64_t got, uint64_t from, uint64_t to) {
	if (found && (got < from || got > to || removes(key, got)))
		fail(got < from ? "an old value" : "a value too early", key, got, from, to);
	for (uint64_t change = from; !found && !removes(key, change); change++)
		if (change == to)
			fail("a value is lost", key, 0, from, to);
}

/* ---- the threads */

struct part {
	pthread_t handle;
	struct world *world;
	uint32_t number;
};

static uint64_t plus_one(void *arg, bool found, uint64_t old) {
	return old + 1;
}

static void fill_plus_one(void *arg, const struct hf_map_record *old, void *data) {
	uint64_t count = 0;
	if (old != NULL)
		memcpy(&count, old->data, sizeof(count));
	count++;
	memcpy(data, &count, sizeof(count));
}

static void count(struct world *world, struct hf_map_thread *thread, uint64_t random) {
	uint64_t key = COUNTER_BASE + random % COUNTERS, now;
	struct hf_bytes name = { &key, sizeof(key) };
	enum hf_status status = world->records ? hf_map_record_update(thread, name, sizeof(now),
								      fill_plus_one, NULL, NULL)
					       : hf_map_update(thread, key, plus_one, NULL, &now);
	if (status == HF_OK)
		__atomic_fetch_add(&world->counted, 1, __ATOMIC_RELAXED);
}

static uint64_t count_of(const struct world *world, struct hf_map_thread *thread, uint64_t key) {
	struct hf_map_record got;
	uint64_t count = 0;
	struct hf_bytes name = { &key, sizeof(key) };
	enum hf_status status =
		world->records ? hf_map_record_get(thread, name, &count, sizeof(count), &got)
			       : hf_map_get(thread, key, &count);
	return status == HF_OK ? count : 0;
}

static void *write_all(void *arg) {
	struct part *part = arg;
	struct world *world = part->world;
	struct hf_map_thread *thread = join(world, "writer");
	uint64_t random = mix(part->number + 1), made = 0, refused = 0;
	while (!over(world)) {
		for (uint32_t i = 0; i < 100; i++) {
			random = mix(random + 1);
			uint64_t key = random % (KEYS / WRITERS) * WRITERS + part->number;
			struct truth *truth = &world->truth[key];
			uint64_t change = truth->done + 1;
			__atomic_store_n(&truth->begun, change, __ATOMIC_SEQ_CST);
			enum hf_status status;
			while ((status = make_change(world, thread, key, change)) == HF_NOMEM)
				refused++;
			if (status != HF_OK)
				fail("a change went wrong", key, change, 0, 0);
			__atomic_store_n(&truth->done, change, __ATOMIC_SEQ_CST);
			if (i % 8 == 0)
				count(world, thread, random >> 32);
			made++;
		}
	}
	__atomic_fetch_add(&world->writes, made, __ATOMIC_RELAXED);
	__atomic_fetch_add(&world->refused, refused, __ATOMIC_RELAXED);
	hf_map_leave(thread);
	return NULL;
}

static void read_one(struct world *world, struct hf_map_thread *thread, uint64_t key) {
	struct truth *truth = &world->truth[key];
	uint64_t got = 0, from = __atomic_load_n(&truth->done, __ATOMIC_SEQ_CST);
	bool found = look(world, thread, key, &got);
	check(key, found, got, from, __atomic_load_n(&truth->begun, __ATOMIC_SEQ_CST));
}

#define MANY 24u

static void look_at_many_records(struct hf_map_thread *thread, const uint64_t *keys, uint64_t *got,
				 bool *found) {
	uint8_t bytes[MANY][40];
	uint64_t fields[MANY][FIELDS];
	struct hf_bytes names[MANY];
	struct hf_map_record records[MANY];
	enum hf_status status[MANY];
	for (uint32_t i = 0; i < MANY; i++)
		names[i] = key_of(keys[i], bytes[i]);
	if (hf_map_record_get_many(thread, MANY, names, fields, sizeof(fields[0]), records,
				   status) != HF_OK)
		fail("record_get_many went wrong", 0, 0, 0, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		found[i] = status[i] == HF_OK;
		if (found[i])
			got[i] = change_of(keys[i], &records[i]);
	}
}

static void look_at_many(const struct world *world, struct hf_map_thread *thread,
			 const uint64_t *keys, uint64_t *got, bool *found) {
	if (world->records) {
		look_at_many_records(thread, keys, got, found);
		return;
	}
	if (hf_map_get_many(thread, MANY, keys, got, found) != HF_OK)
		fail("get_many went wrong", 0, 0, 0, 0);
	for (uint32_t i = 0; i < MANY; i++)
		if (found[i])
			got[i] = change_in(keys[i], got[i]);
}

static void read_many(struct world *world, struct hf_map_thread *thread, uint64_t random) {
	uint64_t keys[MANY], from[MANY], got[MANY] = { 0 };
	bool found[MANY];
	for (uint32_t i = 0; i < MANY; i++) {
		keys[i] = mix(random + i) % KEYS;
		from[i] = __atomic_load_n(&world->truth[keys[i]].done, __ATOMIC_SEQ_CST);
	}
	look_at_many(world, thread, keys, got, found);
	for (uint32_t i = 0; i < MANY; i++)
		check(keys[i], found[i], got[i], from[i],
		      __atomic_load_n(&world->truth[keys[i]].begun, __ATOMIC_SEQ_CST));
}

static void *read_all(void *arg) {
	struct part *part = arg;
	struct world *world = part->world;
	struct hf_map_thread *thread = join(world, "reader");
	uint64_t random = mix(part->number + 100), made = 0;
	while (!over(world)) {
		for (uint32_t i = 0; i < 200; i++) {
			random = mix(random + 1);
			read_one(world, thread, random % KEYS);
		}
		read_many(world, thread, random);
		count(world, thread, random);
		made += 200;
	}
	__atomic_fetch_add(&world->reads, made, __ATOMIC_RELAXED);
	hf_map_leave(thread);
	return NULL;
}

/* Stands inside the map for a while, again and again, longer than the writers' patience. */
static void *get_stuck(void *arg) {
	struct part *part = arg;
	struct world *world = part->world;
	struct hf_map_thread *thread = join(world, "stuck");
	while (!over(world)) {
		hf_map_enter(thread);
		read_one(world, thread, world->stuck % KEYS);
		usleep((useconds_t)(mix(world->stuck++) % 12000));
		read_one(world, thread, world->stuck % KEYS);
		hf_map_exit(thread);
		usleep(1000);
	}
	hf_map_leave(thread);
	return NULL;
}

/* What a snapshot cursor shows is what was there at one moment while it was being opened. */
static void walk_once(struct world *world, struct hf_map_thread *thread) {
	static uint64_t from[KEYS], to[KEYS], got[KEYS];
	static bool found[KEYS];
	struct hf_map_cursor *cursor;
	struct hf_map_entry entry;
	enum hf_status status;
	for (uint64_t key = 0; key < KEYS; key++)
		from[key] = __atomic_load_n(&world->truth[key].done, __ATOMIC_SEQ_CST);
	if (hf_map_cursor_open(thread, HF_MAP_CURSOR_SNAPSHOT, &cursor) != HF_OK)
		return;
	for (uint64_t key = 0; key < KEYS; key++)
		to[key] = __atomic_load_n(&world->truth[key].begun, __ATOMIC_SEQ_CST);
	memset(found, 0, sizeof(found));
	while ((status = hf_map_cursor_next(cursor, &entry)) == HF_OK) {
		uint64_t key = entry.key, value = entry.value;
		if (world->records) {
			bool counter =
				entry.name.len == sizeof(key) && entry.record.len == sizeof(key);
			key = counter ? COUNTER_BASE : 0;
			memcpy(&key, entry.name.data, counter ? sizeof(key) : 3);
			memcpy(&value, entry.record.data, sizeof(value));
		}
		if (key >= COUNTER_BASE)
			continue;
		if (key >= KEYS || found[key])
			fail("shown twice, or never put", key, value, 0, 0);
		found[key] = true;
		got[key] = change_in(key, value);
	}
	hf_map_cursor_close(cursor);
	if (status == HF_STALE) /* too much has changed: that is allowed, and said */
		return;
	for (uint64_t key = 0; key < KEYS; key++)
		check(key, found[key], got[key], from[key], to[key]);
	world->walks++;
}

static void *walk(void *arg) {
	struct part *part = arg;
	struct hf_map_thread *thread = join(part->world, "walker");
	while (!over(part->world)) {
		walk_once(part->world, thread);
		usleep(20000);
	}
	hf_map_leave(thread);
	return NULL;
}

static void *watch(void *arg) {
	struct part *part = arg;
	struct hf_map_stats stats;
	while (!over(part->world)) {
		hf_map_stats(part->world->map, &stats);
		if (stats.bytes > BYTES_MAX) {
			fprintf(stderr, "the map holds %llu bytes\n",
				(unsigned long long)stats.bytes);
			abort();
		}
		usleep(3000);
	}
	return NULL;
}

/* ---- the end */

/* False: something has not happened at all, for the machine had no time for it. */
static bool check_end(struct world *world) {
	struct hf_map_thread *thread = join(world, "end");
	uint64_t counted = 0, got, there = 0;
	while (!hf_map_settle(thread))
		;
	for (uint64_t key = 0; key < KEYS; key++) {
		read_one(world, thread, key);
		there += !removes(key, world->truth[key].done);
	}
	for (uint64_t i = 0; i < COUNTERS; i++) {
		got = count_of(world, thread, COUNTER_BASE + i);
		counted += got;
		there += got != 0;
	}
	struct hf_map_stats stats;
	hf_map_stats(world->map, &stats);
	if (counted != world->counted || stats.entries != there) {
		fprintf(stderr, "%llu counts of %llu are there, %llu entries of %llu\n",
			(unsigned long long)counted, (unsigned long long)world->counted,
			(unsigned long long)stats.entries, (unsigned long long)there);
		abort();
	}
	printf("%llu reads, %llu changes (%llu refused), %llu counts, %llu resizes, %llu waits, "
	       "stuck %llu times, %llu walks\n",
	       (unsigned long long)world->reads, (unsigned long long)world->writes,
	       (unsigned long long)world->refused, (unsigned long long)counted,
	       (unsigned long long)stats.resizes, (unsigned long long)stats.waits,
	       (unsigned long long)world->stuck, (unsigned long long)world->walks);
	hf_map_leave(thread);
	return stats.resizes > 0 && world->reads > 0 && world->writes > 0 && world->stuck > 0;
}

/* `fences`: as on a system without membarrier, where each pin needs a fence of its own. */
static bool run_once(enum hf_map_kind kind, uint32_t shards, bool fences, double seconds) {
	static struct world world;
	char err[768];
	struct hf_map_options options = {
		.name = "torture",
		.kind = kind,
		.shards = shards,
		.patience_ms = 2,
		.helper = shards > 1,
	};
	world = (struct world){ .begin_ns = now_ns(), .records = kind == HF_MAP_RECORDS };
	world.end_ns = world.begin_ns + (uint64_t)(seconds * 1e9);
	if (hf_map_new(&options, &world.map, err, sizeof(err)) != HF_OK) {
		fprintf(stderr, "%s\n", err);
		abort();
	}
	world.map->epochs.fences |= fences;
	struct part parts[WRITERS + READERS + OTHERS];
	uint32_t count = 0;
	for (; count < WRITERS + READERS + OTHERS; count++) {
		void *(*main)(void *) = count < WRITERS			 ? write_all
					: count < WRITERS + READERS	 ? read_all
					: count == WRITERS + READERS	 ? get_stuck
					: count == WRITERS + READERS + 1 ? walk
									 : watch;
		parts[count] = (struct part){ .world = &world, .number = count };
		pthread_create(&parts[count].handle, NULL, main, &parts[count]);
	}
	for (uint32_t i = 0; i < count; i++)
		pthread_join(parts[i].handle, NULL);
	bool all = check_end(&world);
	hf_map_free(world.map);
	return all;
}

/* On a machine with much else to do it takes longer until everything has happened. */
static void run(enum hf_map_kind kind, uint32_t shards, bool fences, double seconds) {
	for (uint32_t tries = 0; !run_once(kind, shards, fences, seconds); tries++) {
		if (tries == 5) {
			fprintf(stderr, "something did not happen at all\n");
			abort();
		}
		seconds *= 2;
	}
}

/* torture [SECONDS] */
int main(int argc, char **argv) {
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	run(HF_MAP_U64, 1, false, seconds / 5);
	run(HF_MAP_U64, 8, false, seconds / 5);
	run(HF_MAP_U64, 8, true, seconds / 5);
	run(HF_MAP_RECORDS, 1, false, seconds / 5);
	run(HF_MAP_RECORDS, 8, false, seconds / 5);
	return 0;
}
