/*
 * bench.c - `holdfast bench`: what this disk gives, and what the library makes of it.
 *
 * flush asks the disk alone, with the very calls of the log. The others send events through the
 * public calls of holdfast.h: `Fill n 1` with a unique id of 25 bytes, on orders in random order.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/span.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "os/clock.h"
#include "os/disk.h"
#include "os/flush.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/thread.h"

#define EVENTS_MAX 1000000000u
#define ORDERS 100000u
#define KEY_LEN 14u	/* o: and 12 digits, as redis-benchmark writes them */
#define ID_LEN 25u	/* a letter and 24 digits */
#define ID_DIGITS 12u	/* of them that count; zeros before */
#define EACH_DEFAULT 3u /* events, each with an id, that an order gets */
#define EACH_MAX 1000u
#define SUBMITS_PER_LOOK 4096u /* how often submitting looks for a signal */
#define BATCH 64u	       /* of hf_submit_many */
#define FLUSH_FILE_SIZE (16u << 20)

static const char help[] =
	"usage: holdfast bench [flush] [send] [submit] [batch] [get] [memory] [snapshot] "
	"[recovery]\n"
	"                      [--data DIR] [--events N] [--each N] [--no-sync] [--keep] [--json]\n"
	"\n"
	"Measures, in a new directory that is removed at the end. Run it on the disk that is to "
	"hold the data.\n"
	"\n"
	"  flush   one write made durable, by size: into a file whose blocks are there, as the "
	"log's are (written),\n"
	"          and at the end of a growing file\n"
	"  send    how long an event takes when each is waited for\n"
	"  submit  events per second from one thread, many on their way\n"
	"  batch   the same, 64 events a call\n"
	"  get     reads per second and their times: from one thread, from two, and from one "
	"while another\n"
	"          submits as fast as it can\n"
	"  memory  what an order with three ids (--each) costs in memory\n"
	"  snapshot  what requests notice of snapshots that are taken meanwhile, one behind the "
	"other: medians of ten\n"
	"          windows with and ten without, and of the ratios of the pairs\n"
	"  recovery  how long opening takes, of orders with three ids each: by the whole log, and "
	"by a snapshot\n"
	"\n"
	"Without such a word: flush, send, submit and batch, which take seconds, and up to 300 MB "
	"of disk at a time.\n"
	"\n"
	"  --data DIR  the directory to make the new one in (.)\n"
	"  --events N  of each: writes per size (200), events to wait for (2000), events to "
	"submit, reads a thread (1000000),\n"
	"              orders in memory, in snapshot and recovery (1000000)\n"
	"  --each N    events that an order gets in memory and recovery, each with an id (3)\n"
	"  --no-sync   do not wait for the disk\n"
	"  --keep      leave the data: DIR/holdfast-bench-..., and tell where (with --json: on "
	"stderr)\n"
	"  --json      print one JSON object a line\n"
	"\n"
	"Exits 0 if all was done, 1 if not, 2 on wrong usage.\n";

/*
 * The text of examples/order/order.mmd. It is in the binary because `bench` is for machines that
 * have nothing but the binary, and because figures compare only if the contract is the same.
 */
static const char contract[] =
	"---\n"
	"title: order\n"
	"---\n"
	"stateDiagram-v2\n"
	"    %% version 1\n"
	"    %% field qty: u64\n"
	"    %% field filled: u64\n"
	"    %% field price: i64\n"
	"    %% field symbol: bytes(12)\n"
	"    %% invariant filled <= qty\n"
	"    [*] --> Open : Place(q: u64, p: i64, s: bytes(12)) [q > 0] / qty = q, price = p, "
	"symbol = s\n"
	"    Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n"
	"    Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n"
	"    Open --> Cancelled : Cancel\n"
	"    Filled --> [*]\n"
	"    Cancelled --> [*]\n";

/* What one mode works with. */
struct bench {
	struct hf_dir dir; /* a fresh one */
	uint64_t count;
	uint64_t each; /* events of an order, in memory and recovery */
	bool synced;
	bool json;
};

/* Where the parts of a request that differ are written. */
struct spot {
	char key[KEY_LEN], id[ID_LEN];
};

/* What the events are made of, and how they ended. */
struct feed {
	struct hf_db *db;
	struct spot spots[BATCH];
	uint64_t ids; /* given out */
	uint64_t random;
	uint64_t submitted;
	/* Written by the library's thread; read after hf_drain. */
	uint64_t completed, retried;
	struct hf_err failure; /* the first; HF_OK: none */
};

/* ---- printing ---------------------------------------------------------------------------- */

struct figure {
	const char *name; /* the key in JSON, the column's title in the table */
	double value;
	int digits;
};

static void print_json(const struct bench *bench, const char *mode, const struct figure *figures,
		       size_t count) {
	printf("{\"bench\":\"%s\",\"synced\":%s", mode, bench->synced ? "true" : "false");
	for (size_t i = 0; i < count; i++)
		printf(",\"%s\":%.*f", figures[i].name, figures[i].digits, figures[i].value);
	printf("}\n");
}

static void print_table_row(bool titled, const char *mode, const struct figure *figures,
			    size_t count) {
	if (titled) {
		printf("\n%-8s", "");
		for (size_t i = 0; i < count; i++)
			printf("  %10s", figures[i].name);
		printf("\n");
	}
	printf("%-8s", mode);
	for (size_t i = 0; i < count; i++) {
		size_t title = strlen(figures[i].name);
		printf("  %*.*f", title > 10 ? (int)title : 10, figures[i].digits,
		       figures[i].value);
	}
	printf("\n");
}

/*
 * `titled`: the columns' titles above it. At once, for those who watch. Nothing more is measured
 * where nobody can be told.
 */
static bool print_row(const struct bench *bench, bool titled, const char *mode,
		      const struct figure *figures, size_t count, struct hf_err *err) {
	if (bench->json)
		print_json(bench, mode, figures, count);
	else
		print_table_row(titled, mode, figures, count);
	return fflush(stdout) == 0 || hf_fail_sys(err, errno, "the output could not be written");
}

/* ---- measuring --------------------------------------------------------------------------- */

/*
 * The signals are blocked while there is something to clean up. They stay pending, and take
 * effect at the end.
 */
static bool interrupted(struct hf_err *err) {
	sigset_t pending;
	sigpending(&pending);
	return (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
		sigismember(&pending, SIGHUP)) &&
	       !hf_fail(err, HF_STOPPED, "interrupted");
}

/* Of those signals; one that is ignored (nohup) would be pending, too. */
static sigset_t not_ignored(void) {
	static const int all[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;
	sigset_t ret;
	sigemptyset(&ret);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (sigaction(all[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&ret, all[i]);
	return ret;
}

static bool new_times(uint64_t count, uint64_t **ret, struct hf_err *err) {
	*ret = hf_memory_new(count * sizeof(**ret));
	return *ret != NULL || hf_fail(err, HF_NOMEM, "out of memory for %llu measurements",
				       (unsigned long long)count);
}

static int by_value(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Of sorted times in ns. */
static double percentile_us(const uint64_t *times, uint64_t count, uint64_t permille) {
	return (double)times[count * permille / 1000] / 1e3;
}

/* ---- flush ------------------------------------------------------------------------------- */

/*
 * Times `count` flushes of `size` bytes, one behind the other, and sorts the times. Past `wrap` it
 * begins again at 0.
 */
static bool time_flushes(const struct bench *bench, const struct hf_file *file, const void *block,
			 size_t size, uint64_t wrap, uint64_t *times, struct hf_err *err) {
	uint64_t at = 0;
	for (uint64_t i = 0; i < bench->count; i++) {
		if (interrupted(err))
			return false;
		uint64_t begin = hf_clock_monotonic_ns();
		if (!hf_flush_write(file, block, size, at, bench->synced, err))
			return false;
		times[i] = hf_clock_monotonic_ns() - begin;
		at = at + 2 * size > wrap ? 0 : at + size;
	}
	qsort(times, bench->count, sizeof(*times), by_value);
	return true;
}

static bool flush_size(const struct bench *bench, const struct hf_file *written, const void *block,
		       size_t size, uint64_t *times, struct hf_err *err) {
	struct hf_file growing;
	if (!time_flushes(bench, written, block, size, FLUSH_FILE_SIZE, times, err) ||
	    !hf_file_open(&bench->dir, "growing", HF_FILE_CREATE, true, &growing, err))
		return false;
	double p50 = percentile_us(times, bench->count, 500);
	double p99 = percentile_us(times, bench->count, 990);
	bool ok = time_flushes(bench, &growing, block, size, UINT64_MAX, times, err);
	hf_file_close(&growing);
	if (!ok || !hf_dir_remove(&bench->dir, "growing", err))
		return false;
	const struct figure figures[] = {
		{ "bytes", (double)size, 0 },
		{ "writes", (double)bench->count, 0 },
		{ "p50_us", p50, 1 },
		{ "p99_us", p99, 1 },
		{ "growing_p50_us", percentile_us(times, bench->count, 500), 1 },
		{ "growing_p99_us", percentile_us(times, bench->count, 990), 1 },
	};
	return print_row(bench, size == HF_SECTOR, "flush", figures, 6, err);
}

static bool flush_sizes(const struct bench *bench, void *block, uint64_t *times,
			struct hf_err *err) {
	static const size_t sizes[] = { HF_SECTOR, 4 << 10, 64 << 10, HF_FRAME_MAX };
	struct hf_file written;
	if (!hf_file_open(&bench->dir, "written", HF_FILE_CREATE, true, &written, err))
		return false;
	if (!written.direct)
		fprintf(stderr, "holdfast bench: no direct writes on this file system: they go "
				"through the page cache, which is slower\n");
	/* Not zeros, which a clever disk need not write. */
	memset(block, 0x5a, HF_FRAME_MAX);
	bool ok = hf_file_fill(&written, FLUSH_FILE_SIZE, err);
	for (size_t i = 0; ok && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		ok = flush_size(bench, &written, block, sizes[i], times, err);
	hf_file_close(&written);
	return ok;
}

static bool bench_flush(const struct bench *bench, struct hf_err *err) {
	uint64_t *times;
	if (!new_times(bench->count, &times, err))
		return false;
	void *block = hf_pages_new(HF_FRAME_MAX);
	bool ok = block != NULL || hf_fail(err, HF_NOMEM, "out of memory");
	ok = ok && flush_sizes(bench, block, times, err);
	hf_pages_free(block, HF_FRAME_MAX);
	hf_memory_free(times);
	return ok;
}

/* ---- events ------------------------------------------------------------------------------ */

/* `number` in decimal, to the end of the text; what stands before stays. */
static void put_digits(char *text, size_t from, size_t len, uint64_t number) {
	for (size_t i = len; i-- > from; number /= 10)
		text[i] = (char)('0' + number % 10);
}

/* xorshift64: any order that caches and prefetchers cannot guess will do. */
static uint64_t next_random(struct feed *feed) {
	feed->random ^= feed->random << 13;
	feed->random ^= feed->random >> 7;
	feed->random ^= feed->random << 17;
	return feed->random;
}

/* The next event, `Place` or `Fill`, for an order; with an id of its own. Points into the spot. */
static struct hf_request next_request(struct feed *feed, struct spot *spot, uint64_t order,
				      bool place) {
	static const struct hf_pair place_params[] = {
		{ { "q", 1 }, { "1000000000000", 13 } }, /* more than any run will fill */
		{ { "p", 1 }, { "100", 3 } },
		{ { "s", 1 }, { "AAPL", 4 } },
	};
	static const struct hf_pair fill_params[] = { { { "n", 1 }, { "1", 1 } } };
	put_digits(spot->key, 2, KEY_LEN, order);
	put_digits(spot->id, ID_LEN - ID_DIGITS, ID_LEN, ++feed->ids);
	return (struct hf_request){
		.contract = { "order", 5 },
		.key = { spot->key, KEY_LEN },
		.event = { place ? "Place" : "Fill", place ? 5 : 4 },
		.params = place ? place_params : fill_params,
		.param_count = place ? 3 : 1,
		.id = { spot->id, ID_LEN },
	};
}

static void done(void *arg, const struct hf_result *result) {
	struct feed *feed = arg;
	feed->completed++;
	feed->retried += result->retried;
	if (result->status != HF_OK && feed->failure.status == HF_OK)
		(void)hf_fail(&feed->failure, result->status, "%s", result->text);
}

/* Waits for all that was submitted, and makes sure that each was applied, once. */
static bool settle(struct feed *feed, struct hf_err *err) {
	enum hf_status status = hf_drain(feed->db);
	if (feed->failure.status != HF_OK) {
		*err = feed->failure;
		return false;
	}
	if (status != HF_OK)
		return hf_fail(err, status, "cannot wait for the disk: %s", hf_status_text(status));
	return (feed->completed == feed->submitted && feed->retried == 0) ||
	       hf_fail(err, HF_CORRUPT, "%llu of %llu events completed, %llu of them retried",
		       (unsigned long long)feed->completed, (unsigned long long)feed->submitted,
		       (unsigned long long)feed->retried);
}

static bool submit(struct feed *feed, uint64_t order, bool place, struct hf_err *err) {
	if (feed->submitted % SUBMITS_PER_LOOK == 0 && interrupted(err))
		return false;
	struct hf_request request = next_request(feed, &feed->spots[0], order, place);
	feed->submitted++;
	/* Where it failed, the reason comes with its completion. */
	return hf_submit(feed->db, &request, done, feed) == HF_OK || settle(feed, err);
}

/* `count` (at most BATCH) events to random orders, in one call. */
static bool submit_many(struct feed *feed, uint64_t orders, uint32_t count, struct hf_err *err) {
	struct hf_request requests[BATCH];
	void *args[BATCH];
	if (interrupted(err))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		requests[i] =
			next_request(feed, &feed->spots[i], next_random(feed) % orders, false);
		args[i] = feed;
	}
	feed->submitted += count;
	return hf_submit_many(feed->db, requests, count, done, args) == HF_OK || settle(feed, err);
}

static bool place_orders(struct feed *feed, uint64_t count, struct hf_err *err) {
	bool ok = true;
	for (uint64_t i = 0; ok && i < count; i++)
		ok = submit(feed, i, true, err);
	return ok && settle(feed, err);
}

/* Opens a database in the directory with the contract in it, and runs `body`. */
static bool with_database(const struct bench *bench,
			  bool (*body)(const struct bench *, struct feed *, struct hf_err *),
			  struct hf_err *err) {
	const struct hf_options options = {
		.data_dir = bench->dir.path,
		.no_sync = !bench->synced,
		.snapshot_log_bytes = UINT64_MAX, /* where they are measured they are asked for */
	};
	struct feed feed = {
		.random = 88172645463325252,
	};
	for (uint32_t i = 0; i < BATCH; i++) {
		memcpy(feed.spots[i].key, "o:000000000000", KEY_LEN);
		memcpy(feed.spots[i].id, "e000000000000000000000000", ID_LEN);
	}
	struct hf_result result;
	char text[HF_ERR_TEXT_MAX];
	enum hf_status status = hf_open(&options, &feed.db, text, sizeof(text));
	if (status != HF_OK)
		return hf_fail(err, status, "%s", text);
	status = hf_load_contract(feed.db, (struct hf_bytes){ contract, sizeof(contract) - 1 },
				  "order", &result);
	bool ok = status == HF_OK || hf_fail(err, status, "%s", result.text);
	ok = ok && body(bench, &feed, err);
	status = hf_close(feed.db, text, sizeof(text));
	return ok && (status == HF_OK || hf_fail(err, status, "%s", text));
}

/* Sends `count` events to random orders, waits for each, and sorts their times. */
static bool time_sends(struct feed *feed, uint64_t orders, uint64_t count, uint64_t *times,
		       double *ret_seconds, struct hf_err *err) {
	uint64_t began = hf_clock_monotonic_ns();
	for (uint64_t i = 0; i < count; i++) {
		if (interrupted(err))
			return false;
		struct hf_request request =
			next_request(feed, &feed->spots[0], next_random(feed) % orders, false);
		struct hf_result result;
		uint64_t begin = hf_clock_monotonic_ns();
		if (hf_send(feed->db, &request, &result) != HF_OK)
			return hf_fail(err, result.status, "%s", result.text);
		times[i] = hf_clock_monotonic_ns() - begin;
	}
	*ret_seconds = (double)(hf_clock_monotonic_ns() - began) / 1e9;
	qsort(times, count, sizeof(*times), by_value);
	return true;
}

static bool send_events(const struct bench *bench, struct feed *feed, uint64_t *times,
			struct hf_err *err) {
	double seconds = 0;
	if (!place_orders(feed, ORDERS, err) ||
	    !time_sends(feed, ORDERS, bench->count, times, &seconds, err))
		return false;
	const struct figure figures[] = {
		{ "events", (double)bench->count, 0 },
		{ "events_per_second", (double)bench->count / seconds, 0 },
		{ "p50_us", percentile_us(times, bench->count, 500), 2 },
		{ "p99_us", percentile_us(times, bench->count, 990), 2 },
		{ "p999_us", percentile_us(times, bench->count, 999), 2 },
	};
	return print_row(bench, true, "send", figures, 5, err);
}

static bool send_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	uint64_t *times;
	if (!new_times(bench->count, &times, err))
		return false;
	bool ok = send_events(bench, feed, times, err);
	hf_memory_free(times);
	return ok;
}

static bool bench_send(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, send_body, err);
}

/* Submits `count` events to random orders, `batch` a call, and waits until all are durable. */
static bool time_submits(struct feed *feed, uint64_t orders, uint64_t count, uint32_t batch,
			 double *ret_seconds, struct hf_err *err) {
	bool ok = true;
	uint64_t began = hf_clock_monotonic_ns();
	for (uint64_t i = 0; ok && i < count; i += batch) {
		uint32_t some = count - i < batch ? (uint32_t)(count - i) : batch;
		ok = batch == 1 ? submit(feed, next_random(feed) % orders, false, err)
				: submit_many(feed, orders, some, err);
	}
	if (!ok || !settle(feed, err))
		return false;
	*ret_seconds = (double)(hf_clock_monotonic_ns() - began) / 1e9;
	return true;
}

static bool measure_submits(const struct bench *bench, struct feed *feed, const char *name,
			    uint32_t batch, struct hf_err *err) {
	double seconds = 0;
	if (!place_orders(feed, ORDERS, err))
		return false;
	uint64_t cpu = hf_clock_cpu_ns();
	if (!time_submits(feed, ORDERS, bench->count, batch, &seconds, err))
		return false;
	double cpu_us = (double)(hf_clock_cpu_ns() - cpu) / 1e3;
	const struct figure figures[] = {
		{ "events", (double)bench->count, 0 },
		{ "events_per_second", (double)bench->count / seconds, 0 },
		{ "seconds", seconds, 3 },
		{ "cpu_us", cpu_us / (double)bench->count, 4 },
	};
	return print_row(bench, true, name, figures, 4, err);
}

static bool submit_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	return measure_submits(bench, feed, "submit", 1, err);
}

static bool batch_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	return measure_submits(bench, feed, "batch", BATCH, err);
}

static bool bench_batch(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, batch_body, err);
}

static bool bench_submit(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, submit_body, err);
}

/* ---- memory ------------------------------------------------------------------------------ */

static bool resident_bytes(uint64_t *ret, struct hf_err *err) {
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;
	bool ok = file != NULL && fscanf(file, "%*s %llu", &pages) == 1;
	if (file != NULL)
		fclose(file);
	*ret = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return ok || hf_fail(err, HF_IO, "cannot read /proc/self/statm");
}

/* Orders with their ids: each placed, then filled. */
static bool some_orders(struct feed *feed, uint64_t from, uint64_t to, uint64_t each,
			struct hf_err *err) {
	bool ok = true;
	for (uint64_t i = from; ok && i < to; i++)
		for (uint64_t event = 0; ok && event < each; event++)
			ok = submit(feed, i, event == 0, err);
	return ok && settle(feed, err);
}

static bool memory_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	uint64_t before, after;
	/* First what costs memory once: the log's ring is written all round. */
	if (!some_orders(feed, 0, ORDERS, bench->each, err) || !resident_bytes(&before, err) ||
	    !some_orders(feed, ORDERS, ORDERS + bench->count, bench->each, err) ||
	    !resident_bytes(&after, err))
		return false;
	const struct figure figures[] = {
		{ "orders", (double)bench->count, 0 },
		{ "events", (double)(bench->count * bench->each), 0 },
		{ "resident_bytes_each", ((double)after - (double)before) / (double)bench->count,
		  1 },
	};
	return print_row(bench, true, "memory", figures, 3, err);
}

static bool bench_memory(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, memory_body, err);
}

/* ---- snapshots --------------------------------------------------------------------------- */

#define SNAPSHOT_ROUNDS 10u

/* Of a window, by the number of orders. */
static uint64_t snapshot_submits(const struct bench *bench) {
	return bench->count / 4 + 1;
}

static uint64_t snapshot_sends(const struct bench *bench) {
	return bench->count / 400 + 1;
}

/* What is asked of a window without snapshots, and of one with them, round by round. */
enum asked { EVENTS_PER_SECOND, P50_US, P99_US, MORE_MB, ASKED };

struct windows {
	double calm[ASKED][SNAPSHOT_ROUNDS];
	double taking[ASKED][SNAPSHOT_ROUNDS];
	double ratio[ASKED][SNAPSHOT_ROUNDS];
	uint64_t taken;
};

/* Takes snapshots, one behind the other. */
struct taker {
	struct hf_db *db;
	struct hf_thread thread;
	_Atomic bool quit;
	uint64_t taken; /* read after the join */
	struct hf_result failure;
};

static void take_snapshots(void *arg) {
	struct taker *taker = arg;
	struct hf_result result = { .status = HF_OK };
	while (result.status == HF_OK && !atomic_load(&taker->quit))
		taker->taken += hf_snapshot(taker->db, &result) == HF_OK;
	taker->failure = result;
}

static bool measure_requests(const struct bench *bench, struct feed *feed, uint64_t *times,
			     double (*ret)[SNAPSHOT_ROUNDS], uint32_t round, struct hf_err *err) {
	uint64_t submits = snapshot_submits(bench), sends = snapshot_sends(bench);
	double seconds = 0;
	if (!time_submits(feed, bench->count, submits, 1, &seconds, err))
		return false;
	ret[EVENTS_PER_SECOND][round] = (double)submits / seconds;
	if (!time_sends(feed, bench->count, sends, times, &seconds, err))
		return false;
	ret[P50_US][round] = percentile_us(times, sends, 500);
	ret[P99_US][round] = percentile_us(times, sends, 990);
	return true;
}

static bool measure_taking(const struct bench *bench, struct feed *feed, uint64_t *times,
			   struct windows *windows, uint32_t round, struct hf_err *err) {
	struct taker taker = { .db = feed->db };
	uint64_t during = 0, after = 0;
	if (!hf_thread_start(&taker.thread, take_snapshots, &taker, err))
		return false;
	bool ok = measure_requests(bench, feed, times, windows->taking, round, err) &&
		  resident_bytes(&during, err);
	atomic_store(&taker.quit, true);
	hf_thread_join(&taker.thread);
	ok = ok && resident_bytes(&after, err);
	if (ok && taker.failure.status != HF_OK)
		ok = hf_fail(err, taker.failure.status, "%s", taker.failure.text);
	windows->taking[MORE_MB][round] = ((double)during - (double)after) / 1e6;
	windows->taken += taker.taken;
	return ok;
}

static int by_number(const void *a, const void *b) {
	double first = *(const double *)a, second = *(const double *)b;
	return (first > second) - (first < second);
}

/* Sorts them. */
static double median(double *values) {
	qsort(values, SNAPSHOT_ROUNDS, sizeof(*values), by_number);
	return (values[(SNAPSHOT_ROUNDS - 1) / 2] + values[SNAPSHOT_ROUNDS / 2]) / 2;
}

static bool print_windows(const struct bench *bench, struct windows *windows, struct hf_err *err) {
	uint64_t resident;
	if (!resident_bytes(&resident, err))
		return false;
	double(*rows[])[SNAPSHOT_ROUNDS] = { windows->calm, windows->taking, windows->ratio };
	static const char *const names[] = { "calm", "taking", "ratio" };
	bool ok = true;
	for (int i = 0; ok && i < 3; i++) {
		double(*row)[SNAPSHOT_ROUNDS] = rows[i];
		const struct figure figures[] = {
			{ "events_per_second", median(row[EVENTS_PER_SECOND]), i == 2 ? 3 : 0 },
			{ "p50_us", median(row[P50_US]), i == 2 ? 3 : 1 },
			{ "p99_us", median(row[P99_US]), i == 2 ? 3 : 1 },
			{ "more_mb", median(row[MORE_MB]), 1 },
			{ "resident_mb", (double)resident / 1e6, 1 },
			{ "orders", (double)bench->count, 0 },
			{ "snapshots", i == 0 ? 0 : (double)windows->taken, 0 },
		};
		ok = print_row(bench, i == 0, names[i], figures, i == 2 ? 3 : 7, err);
	}
	return ok;
}

/* Windows with and without take turns, and which is first does, too: what drifts hits both. */
static bool measure_snapshots(const struct bench *bench, struct feed *feed, uint64_t *times,
			      struct windows *windows, struct hf_err *err) {
	for (uint32_t round = 0; round < SNAPSHOT_ROUNDS; round++) {
		bool first = round % 2 != 0;
		if ((first && !measure_taking(bench, feed, times, windows, round, err)) ||
		    !measure_requests(bench, feed, times, windows->calm, round, err) ||
		    (!first && !measure_taking(bench, feed, times, windows, round, err)))
			return false;
		for (int i = 0; i < MORE_MB; i++)
			windows->ratio[i][round] =
				windows->taking[i][round] / windows->calm[i][round];
	}
	return print_windows(bench, windows, err);
}

static bool snapshot_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	struct windows windows = { .taken = 0 };
	uint64_t *times;
	if (!new_times(snapshot_sends(bench), &times, err))
		return false;
	bool ok = place_orders(feed, bench->count, err) &&
		  measure_snapshots(bench, feed, times, &windows, err);
	hf_memory_free(times);
	return ok;
}

static bool bench_snapshot(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, snapshot_body, err);
}

/* ---- reads ------------------------------------------------------------------------------- */

#define GETTERS_MAX 2u

/* A thread that reads orders, one after the other. */
struct getter {
	struct hf_db *db;
	struct hf_thread thread;
	uint64_t random, count;
	uint64_t *times;
	struct hf_result failure;
};

static void see_field(void *arg, struct hf_bytes name, struct hf_bytes value) {
	uint64_t *fields = arg;
	(*fields)++;
}

static void get_orders(void *arg) {
	struct getter *getter = arg;
	struct feed order = { .random = getter->random };
	struct hf_err why;
	uint64_t fields = 0;
	memcpy(order.spots[0].key, "o:000000000000", KEY_LEN);
	for (uint64_t i = 0; i < getter->count; i++) {
		put_digits(order.spots[0].key, 2, KEY_LEN, next_random(&order) % ORDERS);
		uint64_t begin = hf_clock_monotonic_ns();
		enum hf_status status = hf_get(getter->db, (struct hf_bytes){ "order", 5 },
					       (struct hf_bytes){ order.spots[0].key, KEY_LEN },
					       see_field, &fields, &getter->failure);
		getter->times[i] = hf_clock_monotonic_ns() - begin;
		if (status != HF_OK)
			return;
		if (i % SUBMITS_PER_LOOK == 0 && interrupted(&why)) {
			getter->failure.status = hf_err_tell(&why, getter->failure.text,
							     sizeof(getter->failure.text));
			return;
		}
	}
}

/* Writes as fast as it can until the getters are through. */
struct writer {
	struct feed *feed;
	struct hf_thread thread;
	_Atomic bool quit;
	bool ok;
	struct hf_err err;
};

static void write_orders(void *arg) {
	struct writer *writer = arg;
	while (writer->ok && !atomic_load(&writer->quit))
		writer->ok = submit_many(writer->feed, ORDERS, BATCH, &writer->err);
	writer->ok = writer->ok && settle(writer->feed, &writer->err);
}

static bool run_getters(struct getter *getters, uint32_t count, struct hf_err *err) {
	uint32_t started = 0;
	while (started < count &&
	       hf_thread_start(&getters[started].thread, get_orders, &getters[started], err))
		started++;
	for (uint32_t i = 0; i < started; i++)
		hf_thread_join(&getters[i].thread);
	for (uint32_t i = 0; i < started; i++)
		if (getters[i].failure.status != HF_OK)
			return hf_fail(err, getters[i].failure.status, "%s",
				       getters[i].failure.text);
	return started == count;
}

/* `count` threads; the times are one behind the other. */
static bool measure_gets(const struct bench *bench, struct feed *feed, uint64_t *times,
			 uint32_t count, bool writing, struct hf_err *err) {
	struct getter getters[GETTERS_MAX] = { 0 };
	struct writer writer = { .feed = feed, .ok = true };
	uint64_t submitted = feed->submitted, all = bench->count * count;
	for (uint32_t i = 0; i < count; i++)
		getters[i] = (struct getter){ .db = feed->db,
					      .random = next_random(feed),
					      .count = bench->count,
					      .times = times + bench->count * i };
	if (writing && !hf_thread_start(&writer.thread, write_orders, &writer, err))
		return false;
	uint64_t began = hf_clock_monotonic_ns();
	bool ok = run_getters(getters, count, err);
	double seconds = (double)(hf_clock_monotonic_ns() - began) / 1e9;
	atomic_store(&writer.quit, true);
	if (writing)
		hf_thread_join(&writer.thread);
	submitted = feed->submitted - submitted;
	if (ok && !writer.ok)
		*err = writer.err;
	if (!ok || !writer.ok)
		return false;
	qsort(times, all, sizeof(*times), by_value);
	const struct figure figures[] = {
		{ "threads", count, 0 },
		{ "gets_per_second", (double)all / seconds, 0 },
		{ "p50_us", percentile_us(times, all, 500), 2 },
		{ "p99_us", percentile_us(times, all, 990), 2 },
		{ "p999_us", percentile_us(times, all, 999), 2 },
		{ "events_meanwhile", (double)submitted, 0 },
	};
	return print_row(bench, count == 1 && !writing, writing ? "written" : "get", figures, 6,
			 err);
}

static bool get_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	uint64_t *times;
	if (!new_times(bench->count * GETTERS_MAX, &times, err))
		return false;
	bool ok = place_orders(feed, ORDERS, err) &&
		  measure_gets(bench, feed, times, 1, false, err) &&
		  measure_gets(bench, feed, times, 2, false, err) &&
		  measure_gets(bench, feed, times, 1, true, err);
	hf_memory_free(times);
	return ok;
}

static bool bench_get(const struct bench *bench, struct hf_err *err) {
	return with_database(bench, get_body, err);
}

/* ---- recovery ---------------------------------------------------------------------------- */

/* Bytes of the files whose name begins like this. */
struct sizes {
	const struct hf_dir *dir;
	const char *prefix;
	uint64_t bytes;
};

static bool add_size(void *arg, const char *name, struct hf_err *err) {
	struct sizes *sizes = arg;
	struct hf_file file;
	uint64_t size;
	if (strncmp(name, sizes->prefix, strlen(sizes->prefix)) != 0)
		return true;
	if (!hf_file_open(sizes->dir, name, HF_FILE_READ, false, &file, err))
		return false;
	bool ok = hf_file_size(&file, &size, err);
	hf_file_close(&file);
	sizes->bytes += ok ? size : 0;
	return ok;
}

static bool orders_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	return some_orders(feed, 0, bench->count, bench->each, err);
}

static bool take_one_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	struct hf_result result;
	return hf_snapshot(feed->db, &result) == HF_OK ||
	       hf_fail(err, result.status, "%s", result.text);
}

static bool nothing_body(const struct bench *bench, struct feed *feed, struct hf_err *err) {
	return true;
}

static bool time_database(const struct bench *bench,
			  bool (*body)(const struct bench *, struct feed *, struct hf_err *),
			  double *ret_seconds, struct hf_err *err) {
	uint64_t began = hf_clock_monotonic_ns();
	bool ok = with_database(bench, body, err);
	*ret_seconds = (double)(hf_clock_monotonic_ns() - began) / 1e9;
	return ok;
}

static bool bench_recovery(const struct bench *bench, struct hf_err *err) {
	struct sizes log = { &bench->dir, "log-", 0 }, snapshot = { &bench->dir, "snapshot-", 0 };
	double by_log, with_taking, by_snapshot;
	if (!with_database(bench, orders_body, err) ||
	    !time_database(bench, nothing_body, &by_log, err) ||
	    !time_database(bench, take_one_body, &with_taking, err) ||
	    !time_database(bench, nothing_body, &by_snapshot, err) ||
	    !hf_dir_list(&bench->dir, add_size, &log, err) ||
	    !hf_dir_list(&bench->dir, add_size, &snapshot, err))
		return false;
	const struct figure figures[] = {
		{ "orders", (double)bench->count, 0 },
		{ "ids", (double)bench->count * (double)bench->each, 0 },
		{ "log_mb", (double)log.bytes / 1e6, 1 },
		{ "snapshot_mb", (double)snapshot.bytes / 1e6, 1 },
		{ "log_seconds", by_log, 3 },
		{ "snapshot_seconds", by_snapshot, 3 },
	};
	return print_row(bench, true, "recovery", figures, 6, err);
}

/* ---- the command ------------------------------------------------------------------------- */

struct mode {
	const char *name;
	bool (*run)(const struct bench *bench, struct hf_err *err);
	uint64_t count; /* without --events */
	bool usual;	/* runs where none is named */
};

static const struct mode modes[] = {
	{ "flush", bench_flush, 200, true },
	{ "send", bench_send, 2000, true },
	{ "submit", bench_submit, 1000000, true },
	{ "batch", bench_batch, 1000000, true },
	{ "get", bench_get, 1000000, false },
	{ "memory", bench_memory, 1000000, false },
	{ "snapshot", bench_snapshot, 1000000, false },
	{ "recovery", bench_recovery, 1000000, false },
};

#define MODES (sizeof(modes) / sizeof(modes[0]))

struct bench_options {
	const char *data_dir;
	uint64_t count; /* 0: each mode's own */
	uint64_t each;
	bool chosen[MODES];
	bool no_sync, keep, json;
};

static bool choose(struct bench_options *options, const char *word, struct hf_err *err) {
	const char *names[MODES];
	for (size_t i = 0; i < MODES; i++) {
		names[i] = modes[i].name;
		if (strcmp(word, names[i]) == 0)
			return options->chosen[i] = true;
	}
	const char *close = hf_closest(word, names, MODES);
	return hf_fail(err, HF_USAGE, "nothing to measure is called '%s'%s%s%s; try --help", word,
		       close != NULL ? "; did you mean '" : "", close != NULL ? close : "",
		       close != NULL ? "'?" : "");
}

/* `text` is NULL where the option was not given: *ret stays. */
static bool option_count(const char *name, const char *text, uint64_t max, uint64_t *ret,
			 struct hf_err *err) {
	if (text == NULL)
		return true;
	if (!hf_option_u64(name, text, ret, err))
		return false;
	return (*ret > 0 && *ret <= max) ||
	       hf_fail(err, HF_USAGE, "%s takes a number from 1 to %llu, not %s", name,
		       (unsigned long long)max, text);
}

static bool read_options(int argc, char **argv, struct bench_options *ret, bool *ret_help,
			 struct hf_err *err) {
	const char *events = NULL, *each = NULL;
	*ret = (struct bench_options){ .data_dir = ".", .each = EACH_DEFAULT };
	const struct hf_option options[] = {
		{ "--data", &ret->data_dir, NULL },   { "--events", &events, NULL },
		{ "--no-sync", NULL, &ret->no_sync }, { "--keep", NULL, &ret->keep },
		{ "--json", NULL, &ret->json },	      { "--each", &each, NULL },
	};
	int operands;
	if (!hf_options_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help,
			      &operands, ret_help, err))
		return false;
	if (*ret_help)
		return true;
	for (int i = 1; i <= operands; i++)
		if (!choose(ret, argv[i], err))
			return false;
	for (size_t i = 0; operands == 0 && i < MODES; i++)
		ret->chosen[i] = modes[i].usual;
	return option_count("--events", events, EVENTS_MAX, &ret->count, err) &&
	       option_count("--each", each, EACH_MAX, &ret->each, err);
}

static bool remove_entry(void *arg, const char *name, struct hf_err *err) {
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || hf_dir_remove(arg, name, err);
}

/* One mode, in a fresh directory below `parent`. */
static bool run_mode(const struct mode *mode, const struct bench_options *options,
		     const struct hf_dir *parent, struct hf_err *err) {
	struct bench bench = {
		.count = options->count > 0 ? options->count : mode->count,
		.each = options->each,
		.synced = !options->no_sync,
		.json = options->json,
	};
	char name[64], path[HF_DIR_PATH_MAX + sizeof(name)];
	uint64_t random;
	if (interrupted(err) || !hf_random_u64(&random, err))
		return false;
	snprintf(name, sizeof(name), "holdfast-bench-%016llx", (unsigned long long)random);
	snprintf(path, sizeof(path), "%s/%s", parent->path, name);
	if (!hf_dir_open(path, true, &bench.dir, err))
		return false;
	bool ok = mode->run(&bench, err);
	struct hf_err removal;
	bool removed =
		options->keep || (hf_dir_list(&bench.dir, remove_entry, &bench.dir, &removal) &&
				  hf_dir_remove_dir(parent, name, &removal));
	hf_dir_close(&bench.dir);
	if (options->keep) /* behind a failure, too; no row of JSON */
		fprintf(options->json ? stderr : stdout, "kept %s\n", path);
	if (fflush(stdout) != 0 && ok) /* a pending signal may end the process before exit does */
		ok = hf_fail_sys(err, errno, "the output could not be written");
	if (ok && !removed)
		*err = removal;
	return ok && removed;
}

static bool run_modes(const struct bench_options *options, struct hf_err *err) {
	struct hf_dir parent;
	if (!hf_dir_open(options->data_dir, false, &parent, err))
		return false;
	if (!options->json)
		printf("holdfast %s, data below %s, %s\n", HF_VERSION, options->data_dir,
		       options->no_sync ? "not waiting for the disk" : "durable");
	bool ok = true;
	for (size_t i = 0; ok && i < MODES; i++)
		ok = !options->chosen[i] || run_mode(&modes[i], options, &parent, err);
	hf_dir_close(&parent);
	return ok;
}

int hf_cli_bench(int argc, char **argv) {
	struct bench_options options;
	struct hf_err err;
	bool helped;
	if (!read_options(argc, argv, &options, &helped, &err))
		return hf_cli_fail("bench", &err);
	if (helped)
		return HF_EXIT_GOOD;
	sigset_t stops = not_ignored(), old;
	sigprocmask(SIG_BLOCK, &stops, &old);
	/* A write past a file size limit fails, and it is told; so does one that nobody reads. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	int code = run_modes(&options, &err) ? HF_EXIT_GOOD : hf_cli_fail("bench", &err);
	sigprocmask(SIG_SETMASK, &old, NULL); /* one that came ends the process here, by itself */
	return code;
}
