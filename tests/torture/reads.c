/*
 * reads [SECONDS [MET]] - threads that read entities and plain keys without the lock, while another
 * changes, deletes and moves them, contracts grow, and snapshots are taken; every answer is
 * checked.
 *
 * Each key's writer notes the number of a change before it makes it (`begun`) and afterwards
 * (`done`). A reader looks at `done`, reads, looks at `begun`: what it got must be one version,
 * whole, of those between. Most reads must have done without the lock, and many must have met a
 * change, or nothing was tested: threads that share a processor meet seldom, so they go on until
 * then.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "engine/engine.h"
#include "machine/machine.h"
#include "os/clock.h"

#define ENTITIES 40u
#define PLAIN_KEYS 400u
#define READERS 2u
#define FIELDS 24u     /* that count */
#define TEXTS_MAX 8u   /* versions of the contract: each has a field more */
#define BATCH 16u      /* changes under one hold of the lock */
#define WORDS_MAX 300u /* of a value */
#define MET_MIN 1000u  /* reads of an entity while it was changed, of each reader */
#define LATE_S 120     /* not to go on for ever */

struct truth {
	uint64_t begun, done;
};

struct world {
	struct hf_engine *engine;
	struct truth entities[ENTITIES], plain[PLAIN_KEYS];
	uint64_t end_ns, late_ns;
	uint64_t met_min;
	uint32_t reading; /* readers that have not met so many */
	uint64_t free_reads, locked_reads, changes, missing;
	uint32_t texts; /* loaded */
};

#define CHECK(condition, ...) \
	((condition) ? (void)0 : (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort()))

static uint64_t mix(uint64_t x) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct hf_span key_of(char prefix, uint32_t number, char *buf) {
	int len = snprintf(buf, 32, "%c%u", prefix, number);
	return hf_span(buf, (size_t)len);
}

static bool goes_on(const struct world *world) {
	uint64_t now = hf_clock_monotonic_ns();
	bool wanted = hf_atomic_load(&world->reading, HF_RELAXED) > 0;
	return now < (wanted ? world->late_ns : world->end_ns);
}

/* ---- the writer */

/* Every field counts the steps: the more there are, the longer a change takes. */
static void load_contract(struct world *world) {
	char text[4000], action[1000];
	struct hf_text all = hf_text(text, sizeof(text)), step = hf_text(action, sizeof(action));
	uint32_t fields = FIELDS + world->texts;
	hf_text_add(&all, "---\ntitle: steps\n---\nstateDiagram-v2\n    %%%% version %u\n",
		    ++world->texts);
	for (uint32_t i = 0; i < fields; i++)
		hf_text_add(&all, "    %%%% field f%u: u64\n", i);
	for (uint32_t i = 0; i < FIELDS; i++)
		hf_text_add(&step, "%s f%u = f%u + 1", i == 0 ? " /" : ",", i, i);
	hf_text_add(&all, "    [*] --> Odd : Step%s\n    Odd --> Even : Step%s\n", action, action);
	hf_text_add(&all, "    Even --> Odd : Step%s\n", action);
	struct hf_reply reply;
	hf_engine_contract_load(world->engine, hf_span_of(text), "steps", &reply);
	CHECK(reply.status == HF_OK, "contract %u: %s", world->texts, reply.text);
}

static void step_entity(struct world *world, uint64_t random) {
	uint32_t number = (uint32_t)(random % ENTITIES);
	struct truth *truth = &world->entities[number];
	char key[32];
	struct hf_send send = {
		.contract = hf_span_of("steps"),
		.key = key_of('e', number, key),
		.event = hf_span_of("Step"),
	};
	struct hf_reply reply;
	hf_atomic_store(&truth->begun, truth->begun + 1, HF_SEQ_CST);
	hf_engine_send(world->engine, &send, &reply);
	CHECK(reply.status == HF_OK, "step: %s", reply.text);
	hf_atomic_store(&truth->done, truth->begun, HF_SEQ_CST);
}

/* Change s of a key: is it a removal, and if not, how long is the value? */
static bool is_removal(uint32_t key, uint64_t change) {
	return change == 0 || mix(change * PLAIN_KEYS + key) % 5 == 0;
}

static size_t words_of(uint32_t key, uint64_t change) {
	uint64_t random = mix(~(change * PLAIN_KEYS + key));
	return random % 3 == 0 ? 2 : 1 + random / 3 % WORDS_MAX; /* often as long as before */
}

static void change_plain(struct world *world, uint64_t random) {
	uint32_t number = (uint32_t)(random % PLAIN_KEYS);
	struct truth *truth = &world->plain[number];
	uint64_t words[WORDS_MAX], change = truth->begun + 1, deleted;
	char buf[32];
	struct hf_span key = key_of('p', number, buf);
	struct hf_reply reply;
	bool set;
	hf_atomic_store(&truth->begun, change, HF_SEQ_CST);
	if (is_removal(number, change)) {
		hf_engine_plain_delete(world->engine, &key, 1, &deleted, &reply);
	} else {
		size_t count = words_of(number, change);
		for (size_t i = 0; i < count; i++)
			words[i] = change;
		struct hf_plain_set put = { .key = key, .value = hf_span(words, count * 8) };
		hf_engine_plain_set(world->engine, &put, NULL, NULL, &set, &reply);
	}
	CHECK(reply.status == HF_OK, "plain: %s", reply.text);
	hf_atomic_store(&truth->done, change, HF_SEQ_CST);
}

static void write_all(struct world *world, uint64_t begin_ns) {
	uint64_t random = 1, ticket;
	struct hf_err err;
	for (uint64_t batch = 0; goes_on(world); batch++) {
		uint64_t span = world->end_ns - begin_ns;
		hf_engine_lock(world->engine);
		if (world->texts < TEXTS_MAX &&
		    hf_clock_monotonic_ns() - begin_ns > span * world->texts / TEXTS_MAX)
			load_contract(world);
		for (uint32_t i = 0; i < BATCH; i++) {
			random = mix(random + batch);
			if (random >> 63 == 0)
				step_entity(world, random >> 1);
			else
				change_plain(world, random >> 1);
		}
		hf_engine_flush(world->engine);
		hf_engine_unlock(world->engine);
		world->changes += BATCH;
		if (batch % 1000 == 0)
			(void)!hf_engine_snapshot(world->engine, &ticket, &err);
	}
}

/* ---- the readers */

struct reading {
	struct world *world;
	struct hf_engine_reader reader;
	uint64_t free_reads, locked_reads, missing, met;
	uint64_t random;
	_Alignas(8) uint8_t bytes[HF_PLAIN_VALUE_MAX + 8];
};

/* What all its fields are, and its version says. */
static uint64_t steps_of(const struct hf_entity_view *view) {
	for (uint32_t i = 0; i < FIELDS; i++) {
		const struct hf_field *field = &view->contract->fields[i];
		uint64_t n = (uint64_t)hf_field_value(field, view->block).num;
		CHECK(n == view->version, "version %llu: %s is %llu",
		      (unsigned long long)view->version, field->name, (unsigned long long)n);
	}
	return view->version;
}

static void read_entity(struct reading *reading) {
	struct world *world = reading->world;
	uint32_t number = (uint32_t)(reading->random >> 8) % ENTITIES;
	char buf[32];
	struct hf_span key = key_of('e', number, buf);
	struct hf_entity_view view;
	struct hf_reply reply;
	uint64_t from = hf_atomic_load(&world->entities[number].done, HF_SEQ_CST), n = 0;
	bool free = hf_engine_reader_get(&reading->reader, hf_span_of("steps"), key, reading->bytes,
					 &view, &reply);
	if (!free) {
		hf_engine_lock(world->engine);
		hf_engine_get(world->engine, hf_span_of("steps"), key, &view, &reply);
	}
	if (reply.status == HF_OK) {
		n = steps_of(&view);
		CHECK(strcmp(view.state, n % 2 == 1 ? "Odd" : "Even") == 0, "e%u: version %llu %s",
		      number, (unsigned long long)n, view.state);
		/* Under the lock it may be shown through a text that is younger. */
		CHECK(free ? reply.durable_at == view.lsn : reply.durable_at >= view.lsn,
		      "e%u: durable at %llu, LSN %llu", number,
		      (unsigned long long)reply.durable_at, (unsigned long long)view.lsn);
		CHECK(view.lsn >= n, "e%u: LSN", number);
	}
	if (!free)
		hf_engine_unlock(world->engine);
	uint64_t to = hf_atomic_load(&world->entities[number].begun, HF_SEQ_CST);
	CHECK(n >= from && n <= to, "e%u: version %llu, want %llu to %llu", number,
	      (unsigned long long)n, (unsigned long long)from, (unsigned long long)to);
	reading->free_reads += free;
	reading->locked_reads += !free;
	if (free && to > from && ++reading->met == world->met_min)
		hf_atomic_fetch_sub(&world->reading, 1, HF_RELAXED);
}

static void read_plain(struct reading *reading) {
	struct world *world = reading->world;
	uint32_t number = (uint32_t)(reading->random >> 8) % PLAIN_KEYS;
	char buf[32];
	struct hf_span key = key_of('p', number, buf), value;
	struct hf_reply reply;
	uint64_t from = hf_atomic_load(&world->plain[number].done, HF_SEQ_CST), change = 0;
	if (!hf_engine_reader_plain_get(&reading->reader, key, reading->bytes, &value, &reply)) {
		reading->locked_reads++;
		return;
	}
	uint64_t to = hf_atomic_load(&world->plain[number].begun, HF_SEQ_CST);
	reading->free_reads++;
	if (reply.status == HF_OK) {
		memcpy(&change, value.data, 8);
		for (size_t at = 0; at < value.len; at += 8)
			CHECK(memcmp(value.data + at, &change, 8) == 0, "p%u: torn", number);
		CHECK(change >= from && change <= to && !is_removal(number, change) &&
			      value.len == 8 * words_of(number, change),
		      "p%u: change %llu of %zu bytes, want %llu to %llu", number,
		      (unsigned long long)change, value.len, (unsigned long long)from,
		      (unsigned long long)to);
		return;
	}
	reading->missing++;
	bool may_be = false, was_there = false;
	for (uint64_t i = from; i <= to; i++)
		may_be |= is_removal(number, i);
	for (uint64_t i = from; i > 0 && !was_there; i--)
		was_there = !is_removal(number, i);
	CHECK(may_be, "p%u: not there after change %llu", number, (unsigned long long)from);
	CHECK(!was_there || reply.durable_at > 0, "p%u: what it depends on", number);
}

static void *read_all(void *arg) {
	struct reading *reading = arg;
	while (goes_on(reading->world)) {
		for (uint32_t i = 0; i < 64; i++) {
			reading->random = mix(reading->random + i + 1);
			if (reading->random % 2 == 0)
				read_entity(reading);
			else
				read_plain(reading);
		}
	}
	return NULL;
}

/* ---- all */

static void run(struct world *world, double seconds) {
	struct reading *readings = calloc(READERS, sizeof(*readings));
	pthread_t threads[READERS];
	struct hf_err err;
	HF_ASSERT(readings != NULL);
	uint64_t begin_ns = hf_clock_monotonic_ns();
	world->end_ns = begin_ns + (uint64_t)(seconds * 1e9);
	world->late_ns = world->end_ns + LATE_S * 1000000000ull;
	world->reading = READERS;
	for (uint32_t i = 0; i < READERS; i++) {
		readings[i].world = world;
		readings[i].random = i + 1;
		CHECK(hf_engine_reader_join(world->engine, "reader", &readings[i].reader, &err),
		      "%s", err.text);
		HF_ASSERT(pthread_create(&threads[i], NULL, read_all, &readings[i]) == 0);
	}
	write_all(world, begin_ns);
	for (uint32_t i = 0; i < READERS; i++) {
		HF_ASSERT(pthread_join(threads[i], NULL) == 0);
		hf_engine_reader_leave(&readings[i].reader);
		world->free_reads += readings[i].free_reads;
		world->locked_reads += readings[i].locked_reads;
		world->missing += readings[i].missing;
	}
	free(readings);
}

int main(int argc, char **argv) {
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	char path[] = "/tmp/holdfast-reads-XXXXXX", command[80];
	struct world *world = calloc(1, sizeof(*world));
	struct hf_err err;
	HF_ASSERT(world != NULL && mkdtemp(path) != NULL);
	world->met_min = argc > 2 ? strtoull(argv[2], NULL, 10) : MET_MIN;
	struct hf_engine_options options = { .data_dir = path,
					     .flush = HF_FLUSH_THREAD,
					     .no_sync = true };
	CHECK(hf_engine_open(&options, &world->engine, &err), "%s", err.text);
	hf_engine_lock(world->engine);
	load_contract(world);
	hf_engine_unlock(world->engine);
	run(world, seconds);
	CHECK(hf_engine_close(world->engine, &err), "%s", err.text);
	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	CHECK(system(command) == 0, "cannot remove %s", path);
	printf("%llu changes under %u contract texts; %llu reads without the lock (%llu of keys "
	       "that were not there), %llu with it\n",
	       (unsigned long long)world->changes, world->texts,
	       (unsigned long long)world->free_reads, (unsigned long long)world->missing,
	       (unsigned long long)world->locked_reads);
	CHECK(world->texts == TEXTS_MAX && world->missing > 0, "too little has happened");
	CHECK(world->reading == 0, "too few reads met a change");
	CHECK(world->free_reads > world->locked_reads, "most reads took the lock");
	free(world);
	return 0;
}
