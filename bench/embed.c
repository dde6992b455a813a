/*
 * embed.c - the engine without a network, through the public API alone.
 *
 *     embed submit DIR CONTRACT EVENTS [no-sync]  events/s from one thread, many on their way
 *     embed send DIR CONTRACT EVENTS              how long an event takes when each is waited for
 *     embed memory DIR CONTRACT ENTITIES          what an order with three ids costs in memory
 *
 * DIR is a fresh data directory, CONTRACT the file of the order contract. The events are the ones
 * that bench/run sends over the network: `Fill n 1` with a unique id of 25 bytes, on 100,000
 * placed orders in random order.
 * Prints one line of `name=value` words on stdout.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "holdfast.h"

#define ORDERS 100000u
#define KEY_LEN 14u /* o: and 12 digits, as redis-benchmark writes them */
#define ID_LEN 25u  /* a letter and 24 digits */
#define IDS_PER_ORDER 3u

/* What the events are made of, and how they ended. */
struct feed {
	struct hf_db *db;
	char key[KEY_LEN + 1];
	char id[ID_LEN + 1];
	uint64_t random;
	uint64_t completed; /* written by the library's thread; read after hf_drain */
	uint64_t retried;
};

static const struct hf_pair place_params[] = {
	{ { "q", 1 }, { "1000000000000", 13 } },
	{ { "p", 1 }, { "100", 3 } },
	{ { "s", 1 }, { "AAPL", 4 } },
};
static const struct hf_pair fill_params[] = { { { "n", 1 }, { "1", 1 } } };

static double now_s(void) {
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t resident_bytes(void) {
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages;

	if (file == NULL || fscanf(file, "%*s %zu", &pages) != 1)
		err(1, "/proc/self/statm");
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void key_of(struct feed *feed, uint64_t order) {
	for (size_t i = KEY_LEN; i-- > 2; order /= 10)
		feed->key[i] = (char)('0' + order % 10);
}

/* Counts the id up in place: unique, at the price of about one digit. */
static void next_id(struct feed *feed) {
	size_t i = ID_LEN - 1;

	while (feed->id[i] == '9')
		feed->id[i--] = '0';
	feed->id[i]++;
}

/* xorshift64: any order that caches and prefetchers cannot guess will do. */
static uint64_t next_random(struct feed *feed) {
	feed->random ^= feed->random << 13;
	feed->random ^= feed->random >> 7;
	feed->random ^= feed->random << 17;
	return feed->random;
}

static struct hf_request request_of(const struct feed *feed, bool place) {
	struct hf_request request = {
		.contract = { "order", 5 },
		.key = { feed->key, KEY_LEN },
		.event = { place ? "Place" : "Fill", place ? 5 : 4 },
		.params = place ? place_params : fill_params,
		.param_count = place ? 3 : 1,
		.id = { feed->id, ID_LEN },
	};

	return request;
}

static void done(void *arg, const struct hf_result *result) {
	struct feed *feed = arg;

	if (result->status != HF_OK)
		errx(1, "%s %s", hf_status_text(result->status), result->text);
	feed->completed++;
	feed->retried += result->retried;
}

static void submit(struct feed *feed, uint64_t order, bool place) {
	key_of(feed, order);
	next_id(feed);
	struct hf_request request = request_of(feed, place);
	enum hf_status status = hf_submit(feed->db, &request, done, feed);

	if (status != HF_OK)
		errx(1, "hf_submit: %s", hf_status_text(status));
}

/* Waits for all and makes sure that each was applied, once. */
static void settle(struct feed *feed, uint64_t expected) {
	enum hf_status status = hf_drain(feed->db);

	if (status != HF_OK)
		errx(1, "hf_drain: %s", hf_status_text(status));
	if (feed->completed != expected || feed->retried != 0)
		errx(1, "%lu of %lu events completed, %lu of them retried", feed->completed,
		     expected, feed->retried);
}

static void place_orders(struct feed *feed, uint64_t count) {
	for (uint64_t i = 0; i < count; i++)
		submit(feed, i, true);
	settle(feed, count);
}

static void bench_submit(struct feed *feed, uint64_t events) {
	place_orders(feed, ORDERS);
	clock_t cpu = clock();
	double begin = now_s();

	for (uint64_t i = 0; i < events; i++)
		submit(feed, next_random(feed) % ORDERS, false);
	settle(feed, ORDERS + events);
	double took = now_s() - begin;
	double cpu_s = (double)(clock() - cpu) / CLOCKS_PER_SEC;

	printf("events=%lu seconds=%.6f rate=%.0f cpu_us=%.4f\n", events, took,
	       (double)events / took, cpu_s * 1e6 / (double)events);
}

static int by_value(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void bench_send(struct feed *feed, uint64_t events) {
	double *took = calloc(events, sizeof(*took));

	if (took == NULL)
		errx(1, "out of memory");
	place_orders(feed, ORDERS);
	for (uint64_t i = 0; i < events; i++) {
		key_of(feed, next_random(feed) % ORDERS);
		next_id(feed);
		struct hf_request request = request_of(feed, false);
		struct hf_result result;
		double begin = now_s();

		if (hf_send(feed->db, &request, &result) != HF_OK)
			errx(1, "hf_send: %s", result.text);
		took[i] = now_s() - begin;
	}
	qsort(took, events, sizeof(*took), by_value);
	printf("p50_us=%.2f p99_us=%.2f p999_us=%.2f\n", took[events / 2] * 1e6,
	       took[events * 99 / 100] * 1e6, took[events * 999 / 1000] * 1e6);
	free(took);
}

/* An order and its ids: placed, then filled twice. */
static void three_events(struct feed *feed, uint64_t from, uint64_t to) {
	for (uint64_t i = from; i < to; i++) {
		for (uint64_t event = 0; event < IDS_PER_ORDER; event++)
			submit(feed, i, event == 0);
	}
	settle(feed, to * IDS_PER_ORDER);
}

static void bench_memory(struct feed *feed, uint64_t entities) {
	/* First what costs memory once: the log's ring is written all round. */
	three_events(feed, 0, ORDERS);
	size_t before = resident_bytes();

	three_events(feed, ORDERS, ORDERS + entities);
	printf("entities=%lu resident_each=%.1f\n", entities,
	       (double)(resident_bytes() - before) / (double)entities);
}

static void load_contract(struct hf_db *db, const char *path) {
	char text[65536];
	FILE *file = fopen(path, "r");
	struct hf_result result;

	if (file == NULL)
		err(1, "%s", path);
	size_t len = fread(text, 1, sizeof(text), file);

	fclose(file);
	if (hf_load_contract(db, (struct hf_bytes){ text, len }, "order", &result) != HF_OK)
		errx(1, "%s: %s", path, result.text);
}

int main(int argc, char **argv) {
	struct feed feed = { .key = "o:000000000000",
			     .id = "e000000000000000000000000",
			     .random = 88172645463325252 };
	char text[1024];
	uint64_t count = argc >= 5 ? strtoull(argv[4], NULL, 10) : 0;
	struct hf_options options = { .no_sync = argc == 6 && strcmp(argv[5], "no-sync") == 0 };

	if (count == 0 || argc > 5 + (int)options.no_sync)
		errx(2, "usage: embed submit|send|memory DIR CONTRACT COUNT [no-sync]");
	options.data_dir = argv[2];
	if (hf_open(&options, &feed.db, text, sizeof(text)) != HF_OK)
		errx(1, "%s", text);
	load_contract(feed.db, argv[3]);
	if (strcmp(argv[1], "submit") == 0)
		bench_submit(&feed, count);
	else if (strcmp(argv[1], "send") == 0)
		bench_send(&feed, count);
	else if (strcmp(argv[1], "memory") == 0)
		bench_memory(&feed, count);
	else
		errx(2, "embed %s: want submit, send or memory", argv[1]);
	if (hf_close(feed.db, text, sizeof(text)) != HF_OK)
		errx(1, "%s", text);
	return 0;
}
