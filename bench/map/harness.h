/*
 * harness.h - the loops that every map runs: included by each peer_NAME.c, once it has defined
 *
 *     peer_setup(entries)              makes the map, sized for so many
 *     peer_join(number)                the calling thread's handle
 *     peer_get(handle, key, &value)    false: not there
 *     peer_put(handle, key, &value)
 *     peer_get_many(handle, n, keys, values, found), with PEER_MANY
 *     peer_leave(handle), with PEER_LEAVE: its thread ends
 *
 * so that the compiler may inline them: no peer pays for a call through a pointer. KIND says what
 * keys and values are. Prints a line `NAME FIGURE CPU` per mode: millions of calls a second, of all
 * threads together (latencies: ns), and which share of the time the threads had a processor, with
 * those that the peer has for itself. Dies if a value is not what belongs to its key, or is torn.
 */
#ifndef BENCH_MAP_HARNESS_H
#define BENCH_MAP_HARNESS_H

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KIND_U64 0
#define KIND_RECORD 1
#define KIND_STRING 2
#ifndef KIND
#define KIND KIND_U64
#endif

#define KEY_MAX 64u
#define FIELDS 6u
struct fields {
	uint64_t field[FIELDS];
};
struct text {
	uint8_t len;
	uint64_t word[KEY_MAX / 8];
};

#if KIND == KIND_U64
typedef uint64_t key_type;
typedef uint64_t value_type;
#elif KIND == KIND_RECORD
typedef uint64_t key_type;
typedef struct fields value_type;
#else
typedef struct text key_type;
typedef struct fields value_type;
#endif

static inline uint64_t mix(uint64_t x) {
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint64_t draw(uint64_t *state) {
	uint64_t x = *state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static inline void key_make(uint64_t number, key_type *ret) {
#if KIND == KIND_STRING
	uint64_t seed = mix(number + 1);
	ret->len = (uint8_t)(8 + (seed >> 40) % (KEY_MAX - 7));
	for (uint32_t i = 0; i < KEY_MAX / 8; i++) /* all: a loop by length is mispredicted */
		ret->word[i] = seed + i * 0x9e3779b97f4a7c15u;
#else
	*ret = mix(number + 1);
#endif
}

/* How much of a key is in use: what a peer that keeps its keys has to copy. */
static inline size_t key_size(const key_type *key) {
#if KIND == KIND_STRING
	return offsetof(struct text, word) + (key->len + 7u) / 8 * 8;
#else
	return sizeof(*key);
#endif
}

static inline uint64_t words_hash(const uint64_t *words, uint64_t len) {
	uint64_t hash = len;
	for (uint64_t i = 0; i * 8 < len; i++)
		hash = mix(hash ^ words[i]);
	return hash;
}

/* For peers that leave hash and comparison to their user. */
static inline uint64_t key_hash(const key_type *key) {
#if KIND == KIND_STRING
	return words_hash(key->word, key->len);
#else
	return mix(*key);
#endif
}

static inline bool key_same(const key_type *a, const key_type *b) {
#if KIND == KIND_STRING
	return a->len == b->len && memcmp(a->word, b->word, a->len) == 0;
#else
	return *a == *b;
#endif
}

/*
 * A value tells which key it belongs to; a record also whether all of it is of one version: its
 * last field is the sum of the others, which no mixture of two versions has.
 */
static inline void value_make(uint64_t number, uint64_t any, value_type *ret) {
#if KIND == KIND_U64
	*ret = number << 8 | (any & 0xff);
#else
	uint64_t sum = ret->field[0] = number;
	for (uint32_t i = 1; i < FIELDS - 1; i++)
		sum += ret->field[i] = ret->field[i - 1] + (any & 0xffff);
	ret->field[FIELDS - 1] = sum;
#endif
}

/* 0 if it is right. */
static inline uint64_t value_check(uint64_t number, const value_type *value) {
#if KIND == KIND_U64
	return *value >> 8 ^ number;
#else
	uint64_t sum = value->field[0];
	for (uint32_t i = 1; i < FIELDS - 1; i++)
		sum += value->field[i];
	return (value->field[0] ^ number) | (sum ^ value->field[FIELDS - 1]);
#endif
}

static inline uint64_t value_zero(const value_type *value) {
#if KIND == KIND_U64
	return *value >> 63;
#else
	return value->field[0] >> 63;
#endif
}

/* ---- what the peer brings */
static void peer_setup(uint64_t entries);
static void *peer_join(uint32_t number);
static inline bool peer_get(void *handle, const key_type *key, value_type *ret);
static inline void peer_put(void *handle, const key_type *key, const value_type *value);
#ifdef PEER_MANY
static inline void peer_get_many(void *handle, size_t count, const key_type *keys, value_type *ret,
				 bool *ret_found);
#endif
#ifdef PEER_LEAVE
static void peer_leave(void *handle);
#endif

/* ---- the runs */

enum mode { MODE_MIXED, MODE_MISS, MODE_SERIAL, MODE_MANY, MODE_LATENCY };

#define THREADS_MAX 64u
#define DRAWS ((uint64_t)1 << 20)
#define MANY 16u
#define NS_BUCKETS 65536u /* of latencies; the last holds all above */

struct run {
	enum mode mode;
	uint32_t reads; /* of 100 */
	uint64_t limit; /* a read if a random number of 32 bits is below it */
	uint64_t entries;
	const uint32_t *draws; /* numbers of keys, DRAWS of them */
	double seconds;
};

struct worker {
	pthread_t handle;
	uint32_t number;
	const struct run *run;
	uint64_t ops, bad;
	uint64_t ns[NS_BUCKETS];
};

static pthread_barrier_t begin;
static int stop;

static inline uint64_t clock_ns(clockid_t clock) {
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t now_ns(void) {
	return clock_ns(CLOCK_MONOTONIC);
}

static void pin_to(uint32_t cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu % (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fprintf(stderr, "warning: cannot pin a thread\n");
}

static inline uint64_t read_key(void *handle, const key_type *key, uint64_t number, bool there,
				uint64_t *ret_zero) {
	value_type value;
	if (__builtin_expect(peer_get(handle, key, &value) != there, 0))
		return 1;
	if (!there)
		return 0;
	*ret_zero = value_zero(&value);
	return value_check(number, &value);
}

static inline uint64_t read_one(void *handle, uint64_t number, uint64_t *ret_zero) {
	key_type key;
	key_make(number, &key);
	return read_key(handle, &key, number, true, ret_zero);
}

static inline bool is_read(const struct run *run, uint64_t random) {
	return (uint32_t)random < run->limit;
}

static inline uint64_t mixed_one(void *handle, const key_type *key, uint64_t number, bool read,
				 uint64_t random) {
	uint64_t zero;
	if (read)
		return read_key(handle, key, number, true, &zero);
	value_type value;
	value_make(number, random >> 32, &value);
	peer_put(handle, key, &value);
	return 0;
}

/*
 * Calls that are made ready, many at a time: what the loop itself does between two calls takes
 * room in the reorder buffer, and fewer cache misses of the calls can overlap.
 */
#define AHEAD 64u
struct ahead {
	key_type keys[AHEAD];
	uint64_t numbers[AHEAD], randoms[AHEAD];
	bool reads[AHEAD];
};

static __attribute__((noinline)) void look_ahead(struct ahead *ahead, const struct run *run,
						 uint64_t at, uint64_t offset, uint64_t *random) {
	for (uint32_t i = 0; i < AHEAD; i++)
		ahead->numbers[i] = run->draws[(at + i) % DRAWS] + offset;
	for (uint32_t i = 0; i < AHEAD; i++)
		key_make(ahead->numbers[i], &ahead->keys[i]);
	for (uint32_t i = 0; i < AHEAD; i++)
		ahead->randoms[i] = draw(random);
	for (uint32_t i = 0; i < AHEAD; i++)
		ahead->reads[i] = is_read(run, ahead->randoms[i]);
}

static void run_mixed(struct worker *worker, void *handle) {
	uint64_t at = DRAWS / THREADS_MAX * worker->number, random = mix(worker->number + 1);
	struct ahead ahead;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint64_t bad = 0;
		look_ahead(&ahead, worker->run, at, 0, &random);
		for (uint32_t i = 0; i < AHEAD; i++)
			bad |= mixed_one(handle, &ahead.keys[i], ahead.numbers[i], ahead.reads[i],
					 ahead.randoms[i]);
		worker->bad |= bad;
		worker->ops += AHEAD;
		at += AHEAD;
	}
}

static void run_miss(struct worker *worker, void *handle) {
	uint64_t at = DRAWS / THREADS_MAX * worker->number, random = 1, zero;
	struct ahead ahead;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint64_t bad = 0;
		look_ahead(&ahead, worker->run, at, worker->run->entries, &random);
		for (uint32_t i = 0; i < AHEAD; i++)
			bad |= read_key(handle, &ahead.keys[i], ahead.numbers[i], false, &zero);
		worker->bad |= bad;
		worker->ops += AHEAD;
		at += AHEAD;
	}
}

/* The next key is known once the last value is there. */
static void run_serial(struct worker *worker, void *handle) {
	uint64_t at = DRAWS / THREADS_MAX * worker->number, zero = 0;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (uint32_t i = 0; i < 64; i++)
			worker->bad |=
				read_one(handle, worker->run->draws[at++ % DRAWS] + zero, &zero);
		worker->ops += 64;
	}
}

static void run_many(struct worker *worker, void *handle) {
#ifdef PEER_MANY
	uint64_t at = DRAWS / THREADS_MAX * worker->number;
	key_type keys[MANY];
	value_type values[MANY];
	bool found[MANY];
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		const uint32_t *numbers = &worker->run->draws[at % DRAWS];
		for (uint32_t i = 0; i < MANY; i++)
			key_make(numbers[i], &keys[i]);
		peer_get_many(handle, MANY, keys, values, found);
		for (uint32_t i = 0; i < MANY; i++)
			worker->bad |= (uint64_t)!found[i] | value_check(numbers[i], &values[i]);
		worker->ops += MANY;
		at += MANY;
	}
#endif
}

static void run_latency(struct worker *worker, void *handle) {
	uint64_t at = DRAWS / THREADS_MAX * worker->number, random = mix(worker->number + 1);
	uint64_t before = now_ns();
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint64_t number = worker->run->draws[at++ % DRAWS];
		key_type key;
		key_make(number, &key);
		uint64_t bits = draw(&random);
		worker->bad |= mixed_one(handle, &key, number, is_read(worker->run, bits), bits);
		uint64_t now = now_ns(), took = now - before;
		worker->ns[took < NS_BUCKETS ? took : NS_BUCKETS - 1]++;
		worker->ops++;
		before = now;
	}
}

static void leave(void *handle) {
#ifdef PEER_LEAVE
	peer_leave(handle);
#endif
}

static void *work(void *arg) {
	struct worker *worker = (struct worker *)arg;
	pin_to(worker->number);
	void *handle = peer_join(worker->number);
	pthread_barrier_wait(&begin);
	switch (worker->run->mode) {
	case MODE_MIXED:
		run_mixed(worker, handle);
		break;
	case MODE_MISS:
		run_miss(worker, handle);
		break;
	case MODE_SERIAL:
		run_serial(worker, handle);
		break;
	case MODE_MANY:
		run_many(worker, handle);
		break;
	case MODE_LATENCY:
		run_latency(worker, handle);
		break;
	}
	leave(handle);
	return NULL;
}

static uint64_t quantile_ns(const struct worker *workers, uint32_t threads, double share) {
	uint64_t total = 0, seen = 0;
	for (uint32_t i = 0; i < threads; i++)
		total += workers[i].ops;
	for (uint32_t ns = 0; ns < NS_BUCKETS; ns++) {
		for (uint32_t i = 0; i < threads; i++)
			seen += workers[i].ns[ns];
		if ((double)seen >= (double)total * share)
			return ns;
	}
	return NS_BUCKETS - 1;
}

static void measure(const char *name, struct run *run, uint32_t threads) {
	static struct worker workers[THREADS_MAX];
	memset(workers, 0, threads * sizeof(*workers));
	run->limit = ((uint64_t)run->reads << 32) / 100;
	pthread_barrier_init(&begin, NULL, threads + 1);
	stop = 0;
	for (uint32_t i = 0; i < threads; i++) {
		workers[i].number = i;
		workers[i].run = run;
		pthread_create(&workers[i].handle, NULL, work, &workers[i]);
	}
	pthread_barrier_wait(&begin);
	uint64_t from = now_ns(), cpu_from = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	usleep((useconds_t)(run->seconds * 1e6));
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	uint64_t ops = 0, bad = 0, took = now_ns() - from;
	for (uint32_t i = 0; i < threads; i++) {
		pthread_join(workers[i].handle, NULL);
		ops += workers[i].ops;
		bad |= workers[i].bad;
	}
	if (bad != 0) {
		fprintf(stderr, "%s: a value was lost, torn, or another key's\n", name);
		exit(1);
	}
	/* Of the process: what a peer's own helper takes was not taken by others. */
	uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_from;
	double cpu = (double)cpu_ns / (double)took / threads;
	if (run->mode == MODE_LATENCY)
		printf("p50 %llu %.3f\np99.9 %llu %.3f\n",
		       (unsigned long long)quantile_ns(workers, threads, 0.5), cpu,
		       (unsigned long long)quantile_ns(workers, threads, 0.999), cpu);
	else
		printf("%s %.2f %.3f\n", name, (double)ops * 1e3 / (double)took, cpu);
	fflush(stdout);
}

static uint64_t resident_bytes(void) {
	unsigned long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	if (file == NULL || fscanf(file, "%lu %lu", &size, &resident) != 2)
		exit(1);
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Zipf with s = 0.99 by the inverse of its integral: close enough, and the same for all. */
static uint64_t draw_zipf(uint64_t entries, double unit) {
	double s = 0.99, n = (double)entries;
	double rank = pow(unit * (pow(n, 1 - s) - 1) + 1, 1 / (1 - s));
	uint64_t number = (uint64_t)rank - 1;
	return mix(number < entries ? number : 0) % entries;
}

static uint32_t *draws_new(uint64_t entries, bool zipf) {
	uint32_t *draws = (uint32_t *)aligned_alloc(64, (DRAWS + MANY) * sizeof(*draws));
	uint64_t random = 88172645463325252u;
	for (uint64_t i = 0; i < DRAWS + MANY; i++) {
		uint64_t bits = draw(&random);
		draws[i] = (uint32_t)(zipf ? draw_zipf(entries, (double)(bits >> 11) / 0x1p53)
					   : (uint64_t)((unsigned __int128)bits * entries >> 64));
	}
	return draws;
}

static void *fill(void *arg) {
	const struct run *run = (const struct run *)arg;
	void *handle = peer_join(0);
	pin_to(0);
	for (uint64_t i = 0; i < run->entries; i++) {
		key_type key;
		value_type value;
		key_make(i, &key);
		value_make(i, i, &value);
		peer_put(handle, &key, &value);
	}
	leave(handle);
	return NULL;
}

/* PROGRAM [ENTRIES [SECONDS [THREADS]]] */
int main(int argc, char **argv) {
	uint64_t entries = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	double seconds = argc > 2 ? atof(argv[2]) : 0.3;
	uint32_t threads = argc > 3 ? (uint32_t)atoi(argv[3]) : 2;
	uint32_t *uniform = draws_new(entries, false), *zipf = draws_new(entries, true);
	struct run run = { MODE_MIXED, 100, 0, entries, uniform, seconds };
	pthread_t filler;
	uint64_t before = resident_bytes();
	peer_setup(entries);
	pthread_create(&filler, NULL, fill, &run);
	pthread_join(filler, NULL);
	printf("bytes %.1f\n", (double)(resident_bytes() - before) / (double)entries);
	measure("100", &run, threads);
	run.reads = 90, measure("90", &run, threads);
	run.reads = 50, measure("50", &run, threads);
	run.draws = zipf;
	run.reads = 100, measure("zipf-100", &run, threads);
	run.reads = 90, measure("zipf-90", &run, threads);
	run.reads = 50, measure("zipf-50", &run, threads);
	run.draws = uniform;
	run.mode = MODE_MISS, measure("miss", &run, threads);
	run.mode = MODE_SERIAL, measure("serial", &run, threads);
#ifdef PEER_MANY
	run.mode = MODE_MANY, measure("many", &run, threads);
#endif
	run.mode = MODE_LATENCY, run.reads = 90, measure("latency", &run, threads);
	return 0;
}

#endif
