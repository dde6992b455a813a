/*
 * The longest call while a map grows from nothing to ENTRIES and shrinks to nothing again: one
 * thread, each call timed by the processor time of the thread, so that others cannot disturb it.
 * A virtual machine's host can: what it takes away in the middle of a call is counted as the
 * call's. So beside each run stands a control, as many turns of the same length, in which the
 * thread only spins in warm memory.
 * First what the system needs for a huge page, and for a small one, that nobody has touched yet: no
 * call that needs one can be shorter.
 *
 * PROGRAM [ENTRIES [u64|records [SHARDS]]]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "holdfast/map.h"

static uint64_t cpu_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct times {
	uint64_t total_ns, longest_ns, over_1ms, over_100us;
};

static void note(struct times *times, uint64_t *before) {
	uint64_t now = cpu_ns(), took = now - *before;
	*before = now;
	times->total_ns += took;
	times->longest_ns = took > times->longest_ns ? took : times->longest_ns;
	times->over_1ms += took > 1000000;
	times->over_100us += took > 100000;
}

static void must(struct hf_map_thread *thread, enum hf_status status) {
	if (status != HF_OK) {
		fprintf(stderr, "%s\n", hf_map_error(thread));
		exit(1);
	}
}

static void print(const char *what, const struct times *times) {
	printf("  %-10s longest call %6.0f us, %5llu above 0.1 ms, %4llu above 1 ms", what,
	       (double)times->longest_ns / 1e3, (unsigned long long)times->over_100us,
	       (unsigned long long)times->over_1ms);
}

/* As many turns, which take as long all together, with nothing but warm memory. */
static struct times control(const struct times *like, uint64_t turns) {
	static uint64_t warm[1024];
	struct times times = { 0 };
	uint64_t at = 0, spins = 100, before = cpu_ns();
	for (uint64_t turn = 0; turn < turns; turn++) {
		double ahead = (double)times.total_ns * (double)turns -
			       (double)like->total_ns * (double)turn;
		if (turn % 256 == 0)
			spins = ahead > 0 ? spins * 15 / 16 : spins + spins / 16 + 1;
		for (uint64_t i = 0; i < spins; i++)
			at = (warm[at % 1024] += at + 1);
		note(&times, &before);
	}
	return times;
}

static void print_beside(const char *what, const struct times *times, uint64_t turns,
			 struct hf_map *map) {
	struct hf_map_stats stats;
	struct times spun = control(times, turns);
	hf_map_stats(map, &stats);
	print(what, times);
	printf("; then %llu resizes, %llu MB\n", (unsigned long long)stats.resizes,
	       (unsigned long long)stats.bytes >> 20);
	print("(control)", &spun);
	printf("; %.2f s, and %.2f s of calls\n", (double)spun.total_ns / 1e9,
	       (double)times->total_ns / 1e9);
}

static void run(enum hf_map_kind kind, uint64_t entries, uint32_t shards, bool small_pages,
		bool helper) {
	char err[768];
	struct hf_map *map;
	struct hf_map_thread *thread;
	struct hf_map_options options = { .name = "pause",
					  .kind = kind,
					  .shards = shards,
					  .small_pages = small_pages,
					  .helper = helper };
	if (hf_map_new(&options, &map, err, sizeof(err)) != HF_OK ||
	    hf_map_join(map, "one", HF_MAP_READ | HF_MAP_WRITE | HF_MAP_DELETE, &thread, err,
			sizeof(err)) != HF_OK) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	uint64_t fields[6] = { 0 };
	struct times growing = { 0 }, shrinking = { 0 };
	printf("%s, %llu entries, %s pages%s\n",
	       kind == HF_MAP_U64 ? "64-bit keys" : "records of 48 bytes",
	       (unsigned long long)entries, small_pages ? "small" : "huge",
	       helper ? ", with a helper" : "");
	uint64_t before = cpu_ns();
	for (uint64_t i = 0; i < entries; i++) {
		struct hf_bytes key = { &i, sizeof(i) }, data = { fields, sizeof(fields) };
		must(thread, kind == HF_MAP_U64 ? hf_map_put(thread, i, i)
						: hf_map_record_put(thread, key, data, NULL));
		note(&growing, &before);
	}
	print_beside("growing:", &growing, entries, map);
	before = cpu_ns();
	for (uint64_t i = 0; i < entries; i++) {
		struct hf_bytes key = { &i, sizeof(i) };
		must(thread, kind == HF_MAP_U64 ? hf_map_delete(thread, i)
						: hf_map_record_delete(thread, key, NULL));
		note(&shrinking, &before);
	}
	print_beside("shrinking:", &shrinking, entries, map);
	hf_map_leave(thread);
	hf_map_free(map);
}

#define HUGE_PAGE ((size_t)2 << 20)
#define PAGES 32u

static void touch(size_t step, int advice) {
	uint8_t *memory = mmap(NULL, (PAGES + 1) * HUGE_PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		exit(1);
	uint8_t *at = memory + (-(uintptr_t)memory & (HUGE_PAGE - 1));
	(void)madvise(memory, (PAGES + 1) * HUGE_PAGE, advice);
	struct times times = { 0 };
	uint64_t begin = cpu_ns(), before = begin, count = PAGES * HUGE_PAGE / step;
	for (uint64_t i = 0; i < count; i++) {
		at[i * step] = 1;
		note(&times, &before);
	}
	printf("a page of %4zu KB, touched: %6.1f us, longest %6.0f us, %llu of %llu above 1 ms\n",
	       step >> 10, (double)(before - begin) / 1e3 / (double)count,
	       (double)times.longest_ns / 1e3, (unsigned long long)times.over_1ms,
	       (unsigned long long)count);
	munmap(memory, (PAGES + 1) * HUGE_PAGE);
}

int main(int argc, char **argv) {
	uint64_t entries = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
	touch(HUGE_PAGE, MADV_HUGEPAGE);
	touch(4096, MADV_NOHUGEPAGE);
	const char *names[] = { "u64", "records" };
	uint32_t shards = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	for (enum hf_map_kind kind = HF_MAP_U64; kind <= HF_MAP_RECORDS; kind++) {
		if (argc > 2 && strcmp(argv[2], names[kind]) != 0)
			continue;
		run(kind, entries, shards, false, true);
		run(kind, entries, shards, false, false);
		run(kind, entries, shards, true, false);
	}
	return 0;
}
