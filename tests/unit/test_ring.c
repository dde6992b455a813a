/* The ring: who gets which keys, what moves when nodes come and go, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "base/limits.h"
#include "holdfast/ring.h"

#define KEYS 100000u

static char why[768];

static struct hf_bytes bytes(const char *text) {
	return (struct hf_bytes){ text, strlen(text) };
}

static struct hf_ring *new_ring(uint32_t points) {
	struct hf_ring *ring;
	assert_int_equal(hf_ring_new(points, &ring, why, sizeof(why)), HF_OK);
	return ring;
}

static uint32_t add(struct hf_ring *ring, const char *name, uint32_t weight) {
	uint32_t node = HF_RING_NONE;
	assert_int_equal(hf_ring_add(ring, bytes(name), weight, &node, why, sizeof(why)), HF_OK);
	assert_memory_equal(hf_ring_name(ring, node).data, name, strlen(name));
	return node;
}

static void drop(struct hf_ring *ring, const char *name) {
	assert_int_equal(hf_ring_remove(ring, bytes(name), why, sizeof(why)), HF_OK);
}

static const char *node_name(uint32_t i) {
	static char name[32];
	snprintf(name, sizeof(name), "node-%u", i);
	return name;
}

static uint32_t owner_of(const struct hf_ring *ring, uint32_t key) {
	char text[32];
	int len = snprintf(text, sizeof(text), "order:%u", key);
	return hf_ring_find(ring, (struct hf_bytes){ text, (size_t)len });
}

/* The same, the slow and plain way, from what ring.h says about places. */
static uint32_t owner_by_definition(const struct hf_ring *ring, const uint32_t *weights,
				    uint32_t nodes, uint32_t points, uint64_t place) {
	uint64_t best = UINT64_MAX;
	uint32_t owner = HF_RING_NONE;
	for (uint32_t i = 0; i < nodes; i++) {
		struct hf_bytes name = hf_ring_name(ring, i);
		for (uint32_t point = 0; point < weights[i] * points; point++) {
			uint8_t text[64];
			memcpy(text, name.data, name.len);
			memcpy(text + name.len, &point, 4); /* this machine is little-endian */
			uint64_t distance = XXH3_64bits(text, name.len + 4) - place;
			if (distance <= best) {
				best = distance;
				owner = i;
			}
		}
	}
	return owner;
}

static void a_key_belongs_to_the_next_place(void **state) {
	const uint32_t weights[] = { 1, 3, 1, 2, 7 };
	for (uint32_t points = 1; points <= 64; points *= 4) {
		struct hf_ring *ring = new_ring(points);
		for (uint32_t i = 0; i < 5; i++)
			assert_int_equal(add(ring, node_name(i), weights[i]), i);
		for (uint32_t i = 0; i < 2000; i++) {
			uint64_t place = XXH3_64bits(&i, sizeof(i));
			assert_int_equal(hf_ring_find_place(ring, place),
					 owner_by_definition(ring, weights, 5, points, place));
		}
		/* At a place, and right beside it. */
		for (uint32_t point = 0; point < points; point++) {
			char text[12] = "node-2";
			memcpy(text + 6, &point, 4);
			uint64_t place = XXH3_64bits(text, 10);
			assert_int_equal(hf_ring_find_place(ring, place), 2);
			for (uint64_t near = place - 2; near != place + 3; near++)
				assert_int_equal(hf_ring_find_place(ring, near),
						 owner_by_definition(ring, weights, 5, points,
								     near));
		}
		assert_int_equal(hf_ring_find_place(ring, 0),
				 owner_by_definition(ring, weights, 5, points, 0));
		assert_int_equal(hf_ring_find_place(ring, UINT64_MAX),
				 owner_by_definition(ring, weights, 5, points, UINT64_MAX));
		hf_ring_free(ring);
	}
}

/* The places are promised: these figures must never change. */
static void places_are_the_same_everywhere(void **state) {
	static const struct {
		const char *key, *node;
	} golden[] = {
		{ "", "eu-2.example:7379" },	     { "a", "ap-1.example:7379" },
		{ "order:1", "ap-1.example:7379" },  { "order:2", "eu-2.example:7379" },
		{ "order:3", "eu-2.example:7379" },  { "payment:8d1f", "eu-2.example:7379" },
		{ "stock:42", "ap-1.example:7379" }, { "ticket:0", "eu-2.example:7379" },
	};
	struct hf_ring *ring = new_ring(128);
	add(ring, "eu-1.example:7379", 1);
	add(ring, "eu-2.example:7379", 2);
	add(ring, "us-1.example:7379", 1);
	add(ring, "ap-1.example:7379", 4);
	uint64_t all = 0;
	for (uint32_t key = 0; key < KEYS; key++)
		all = (all ^ owner_of(ring, key)) * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		struct hf_bytes name = hf_ring_name(ring, hf_ring_find(ring, bytes(golden[i].key)));
		assert_int_equal(name.len, strlen(golden[i].node));
		assert_memory_equal(name.data, golden[i].node, name.len);
	}
	assert_int_equal(all, 0x56e54e52ad5b413);
	assert_int_equal(XXH3_64bits("eu-1.example:7379\1\0\0\0", 21), 0x9af40158f762be1);
	hf_ring_free(ring);
}

static void the_order_of_coming_does_not_matter(void **state) {
	struct hf_ring *one = new_ring(128), *other = new_ring(128);
	for (uint32_t i = 0; i < 20; i++) {
		add(one, node_name(i), 1 + i % 3);
		add(other, node_name(19 - i), 1 + (19 - i) % 3);
	}
	add(other, "guest", 5);
	drop(other, "guest");
	for (uint32_t key = 0; key < KEYS; key++) {
		struct hf_bytes a = hf_ring_name(one, owner_of(one, key));
		struct hf_bytes b = hf_ring_name(other, owner_of(other, key));
		assert_true(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	}
	hf_ring_free(one);
	hf_ring_free(other);
}

/*
 * A node comes and goes again. Every key that moves goes to it, and comes back to where it was, and
 * they are as many as the node's part of the ring says.
 */
static void move(uint32_t nodes, uint32_t weight) {
	static uint32_t before[KEYS];
	struct hf_ring *ring = new_ring(128);
	uint32_t total = 0;
	for (uint32_t i = 0; i < nodes; i++) {
		add(ring, node_name(i), 1 + i % 4);
		total += 1 + i % 4;
	}
	for (uint32_t key = 0; key < KEYS; key++)
		before[key] = owner_of(ring, key);
	uint32_t guest = add(ring, "guest", weight), moved = 0;
	for (uint32_t key = 0; key < KEYS; key++) {
		uint32_t now = owner_of(ring, key);
		moved += now == guest;
		assert_true(now == guest || now == before[key]);
	}
	double share = hf_ring_share(ring, guest), fair = (double)weight / (total + weight);
	double measured = (double)moved / KEYS;
	print_message("%3u nodes, and one of weight %u: fair %.4f, its places %.4f, moved %.4f\n",
		      nodes, weight, fair, share, measured);
	/* Sampling: five standard deviations. Places: 1 / sqrt(128 * weight), five times. */
	assert_true((measured - share) * (measured - share) <= 25 * share * (1 - share) / KEYS);
	assert_true((share / fair - 1) * (share / fair - 1) <= 25.0 / (128 * weight));
	drop(ring, "guest");
	for (uint32_t key = 0; key < KEYS; key++)
		assert_int_equal(owner_of(ring, key), before[key]);
	hf_ring_free(ring);
}

static void no_more_than_a_nodes_share_moves(void **state) {
	for (uint32_t nodes = 1; nodes <= 100; nodes *= 10)
		for (uint32_t weight = 1; weight <= 9; weight += 4)
			move(nodes, weight);
}

static void shares_follow_the_weights(void **state) {
	struct hf_ring *ring = new_ring(128);
	double sum = 0;
	for (uint32_t i = 0; i < 40; i++)
		add(ring, node_name(i), 1 + i % 8);
	for (uint32_t i = 0; i < 40; i++) {
		double fair = (1 + i % 8) / 180.0, share = hf_ring_share(ring, i);
		assert_true(share > fair * 0.6 && share < fair * 1.5);
		sum += share;
	}
	assert_true(sum > 0.999999999 && sum < 1.000000001);
	hf_ring_free(ring);
}

static void numbers_are_used_again(void **state) {
	struct hf_ring *ring = new_ring(1);
	assert_int_equal(hf_ring_find(ring, bytes("x")), HF_RING_NONE);
	for (uint32_t i = 0; i < 9; i++)
		assert_int_equal(add(ring, node_name(i), 1), i);
	drop(ring, "node-4");
	drop(ring, "node-2");
	assert_int_equal(hf_ring_name(ring, 4).len, 0);
	assert_int_equal(hf_ring_name(ring, 9).len, 0);
	assert_int_equal(hf_ring_node_count(ring), 7);
	assert_int_equal(add(ring, "a", 1), 2);
	assert_int_equal(add(ring, "b", 1), 4);
	assert_int_equal(add(ring, "c", 1), 9);
	for (uint32_t i = 0; i < 9; i++)
		if (i != 2 && i != 4)
			drop(ring, node_name(i));
	drop(ring, "a");
	drop(ring, "b");
	assert_int_equal(hf_ring_find(ring, bytes("x")), 9);
	assert_true(hf_ring_share(ring, 9) == 1 && hf_ring_share(ring, 2) == 0);
	drop(ring, "c");
	assert_int_equal(hf_ring_find(ring, bytes("x")), HF_RING_NONE);
	assert_int_equal(hf_ring_node_count(ring), 0);
	hf_ring_free(ring);
}

static void a_name_stays_where_it_is(void **state) {
	struct hf_ring *ring = new_ring(1);
	struct hf_bytes first = hf_ring_name(ring, add(ring, "alpha", 1));
	for (uint32_t i = 0; i < 1000; i++)
		add(ring, node_name(i), 1);
	assert_ptr_equal(hf_ring_name(ring, 0).data, first.data);
	assert_memory_equal(first.data, "alpha", first.len);
	hf_ring_free(ring);
}

static void refuses(struct hf_ring *ring, struct hf_bytes name, uint32_t weight,
		    enum hf_status status) {
	uint32_t count = hf_ring_node_count(ring);
	why[0] = '\0';
	assert_int_equal(hf_ring_add(ring, name, weight, NULL, why, sizeof(why)), status);
	assert_true(strlen(why) > 10);
	assert_int_equal(hf_ring_node_count(ring), count);
}

static void bad_input_is_refused(void **state) {
	struct hf_ring *ring;
	char name[HF_RING_NAME_MAX + 2];
	memset(name, 'n', sizeof(name));
	assert_int_equal(hf_ring_new(0, &ring, why, sizeof(why)), HF_USAGE);
	assert_int_equal(hf_ring_new(HF_RING_POINTS_MAX + 1, &ring, NULL, 0), HF_USAGE);
	ring = new_ring(HF_RING_POINTS_MAX);
	add(ring, "a", 1);
	refuses(ring, bytes("a"), 1, HF_USAGE);
	refuses(ring, bytes("b"), 0, HF_USAGE);
	refuses(ring, bytes(""), 1, HF_USAGE);
	refuses(ring, (struct hf_bytes){ name, HF_RING_NAME_MAX + 1 }, 1, HF_TOOBIG);
	refuses(ring, bytes("b"), UINT32_MAX, HF_TOOBIG);
	refuses(ring, bytes("b"), HF_RING_PLACES_MAX / HF_RING_POINTS_MAX, HF_TOOBIG);
	assert_int_equal(hf_ring_remove(ring, bytes("b"), why, sizeof(why)), HF_NOTFOUND);
	/* A name of the length of another one, and one that it begins with. */
	assert_int_equal(hf_ring_remove(ring, bytes(""), why, sizeof(why)), HF_NOTFOUND);
	name[HF_RING_NAME_MAX] = '\0';
	add(ring, name, 1);
	drop(ring, name);
	/* As many places as there may be. */
	add(ring, "b", HF_RING_PLACES_MAX / HF_RING_POINTS_MAX - 1);
	refuses(ring, bytes("c"), 1, HF_TOOBIG);
	assert_true(owner_of(ring, 1) < 2);
	hf_ring_free(ring);
	hf_ring_free(NULL);
}

static void as_many_nodes_as_may_be(void **state) {
	struct hf_ring *ring = new_ring(1);
	for (uint32_t i = 0; i < HF_RING_NODES_MAX; i++)
		add(ring, node_name(i), 1);
	refuses(ring, bytes("one more"), 1, HF_TOOBIG);
	drop(ring, node_name(77));
	assert_int_equal(add(ring, "one more", 1), 77);
	hf_ring_free(ring);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_belongs_to_the_next_place),
		cmocka_unit_test(places_are_the_same_everywhere),
		cmocka_unit_test(the_order_of_coming_does_not_matter),
		cmocka_unit_test(no_more_than_a_nodes_share_moves),
		cmocka_unit_test(shares_follow_the_weights),
		cmocka_unit_test(numbers_are_used_again),
		cmocka_unit_test(a_name_stays_where_it_is),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(as_many_nodes_as_may_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
