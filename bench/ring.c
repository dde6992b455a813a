/*
 * ring.c - what a look-up in a ring costs: 1,000 nodes with 128 points each, and others.
 *
 *     build/bench/ring     medians of 5
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "holdfast/ring.h"

#define ROUNDS 5
#define LOOKUPS (1u << 21)

static double now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b) {
	const double *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* One after the other: the next key (16 bytes) depends on where the last one belongs. */
static double measure(const struct hf_ring *ring, bool hashed) {
	double ns[ROUNDS];
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t node = 0;
		uint64_t key[2] = { 0, 1 };
		double begun = now_ns();
		for (uint32_t i = 0; i < LOOKUPS; i++) {
			key[0] = key[0] * 6364136223846793005u + 1442695040888963407u + node;
			uint64_t place = key[0] ^ key[0] >> 32;
			node = hashed ? hf_ring_find_place(ring, place)
				      : hf_ring_find(ring, (struct hf_bytes){ key, sizeof(key) });
		}
		ns[round] = (now_ns() - begun) / LOOKUPS;
		if (node == HF_RING_NONE)
			exit(1);
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	return ns[ROUNDS / 2];
}

int main(void) {
	static const uint32_t nodes[] = { 3, 100, 1000, 4000 };
	printf("ns of CPU time for each look-up, each waiting for the one before (median of %d)\n",
	       ROUNDS);
	printf("%-24s %8s %8s %14s\n", "", "key", "place", "add a node, ms");
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		struct hf_ring *ring;
		char name[32];
		double begun = 0;
		if (hf_ring_new(128, &ring, NULL, 0) != HF_OK)
			return 1;
		for (uint32_t k = 0; k < nodes[i]; k++) {
			size_t len = (size_t)snprintf(name, sizeof(name), "node-%u:7379", k);
			begun = now_ns();
			if (hf_ring_add(ring, (struct hf_bytes){ name, len }, 1, NULL, NULL, 0) !=
			    HF_OK)
				return 1;
		}
		double add_ms = (now_ns() - begun) / 1e6;
		snprintf(name, sizeof(name), "%u nodes x 128", nodes[i]);
		printf("%-24s %8.1f %8.1f %14.2f\n", name, measure(ring, false),
		       measure(ring, true), add_ms);
		hf_ring_free(ring);
	}
	return 0;
}
