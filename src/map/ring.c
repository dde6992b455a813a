/*
 * ring.c - the ring of consistent hashing (include/holdfast/ring.h says what it promises).
 *
 * The places are sorted. Of each an entry has the first 48 bits and its owner, and an index by the
 * places' top bits, with about as many buckets as there are places, says where to begin. So a
 * look-up reads one word of the index and a few entries next to each other: at 1,000 nodes with 128
 * points each, from 1.5 MB in all. The whole places are there for the rare case that 48 bits do not
 * tell.
 *
 * A change makes the arrays anew beside the old ones, so that it can fail and leave them as they
 * are.
 */
#include "holdfast/ring.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/memory.h"

#define OWNER_BITS 16u
#define WINDOW 4u /* entries that are looked at together */

struct node {
	uint32_t weight; /* 0: this number is free */
	uint32_t len;
	uint8_t *name; /* memory of its own: it stays where it is when the nodes move */
};

/* In one piece of memory, which begins at `places`. */
struct table {
	uint32_t count;
	uint32_t shift;	   /* of a place, to its bucket */
	uint64_t *places;  /* sorted; of equal ones, the first owner's name sorts first */
	uint64_t *entries; /* their high bits, and the owner; behind them the first one's owner */
	uint32_t *first;   /* of each bucket, and one more: the first place in it or behind it */
};

struct hf_ring {
	uint32_t points;
	uint32_t node_count, numbers; /* in use; ever given */
	struct node *nodes;
	struct table table;
};

_Static_assert(HF_RING_NODES_MAX <= 1u << OWNER_BITS, "an owner fits");

/* ---- tables ---- */

static void table_free(struct table *table) {
	hf_memory_free(table->places);
	*table = (struct table){ 0 };
}

/* Room for `count` places. */
static bool table_init(struct table *table, uint32_t count, struct hf_err *err) {
	uint32_t bits = 1;
	while (count >> bits > 0)
		bits++;
	size_t buckets = (size_t)1 << bits;
	*table = (struct table){ .count = count, .shift = 64 - bits };
	table->places = hf_memory_new((2 * (size_t)count + WINDOW) * sizeof(uint64_t) +
				      (buckets + 1) * sizeof(uint32_t));
	if (table->places == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for a ring of %u places", count);
	table->entries = table->places + count;
	table->first = (uint32_t *)(table->entries + count + WINDOW);
	return true;
}

static uint32_t owner_at(const struct table *table, uint32_t i) {
	return (uint32_t)(table->entries[i] & (((uint64_t)1 << OWNER_BITS) - 1));
}

static void put_place(struct table *table, uint32_t i, uint64_t place, uint32_t owner) {
	table->places[i] = place;
	table->entries[i] = place >> OWNER_BITS << OWNER_BITS | owner;
}

/* The index, and the end of the entries, once all places are there. */
static void table_index(struct table *table) {
	size_t buckets = (size_t)1 << (64 - table->shift);
	uint32_t i = 0;
	for (size_t bucket = 0; bucket < buckets; bucket++) {
		while (i < table->count && table->places[i] >> table->shift < bucket)
			i++;
		table->first[bucket] = i;
	}
	table->first[buckets] = table->count;
	for (uint32_t k = 0; k < WINDOW; k++)
		table->entries[table->count + k] = UINT64_MAX << OWNER_BITS | owner_at(table, 0);
}

/* ---- nodes ---- */

static bool node_init(struct node *node, struct hf_bytes name, uint32_t weight,
		      struct hf_err *err) {
	uint8_t *copy = hf_memory_new(name.len);
	if (copy == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for a node's name");
	memcpy(copy, name.data, name.len);
	*node = (struct node){ .weight = weight, .len = (uint32_t)name.len, .name = copy };
	return true;
}

/* Its number is free from here on. */
static void node_free(struct node *node) {
	hf_memory_free(node->name);
	*node = (struct node){ 0 };
}

static uint64_t place_of_point(const struct node *node, uint32_t point) {
	uint8_t bytes[HF_RING_NAME_MAX + 4];
	memcpy(bytes, node->name, node->len);
	for (uint32_t i = 0; i < 4; i++)
		bytes[node->len + i] = (uint8_t)(point >> 8 * i);
	return XXH3_64bits(bytes, node->len + 4);
}

static bool sorts_before(const struct node *a, const struct node *b) {
	int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);
	return order != 0 ? order < 0 : a->len < b->len;
}

static uint32_t find_node(const struct hf_ring *ring, struct hf_bytes name) {
	for (uint32_t i = 0; i < ring->numbers; i++) {
		const struct node *node = &ring->nodes[i];
		if (node->weight != 0 && node->len == name.len &&
		    memcmp(node->name, name.data, name.len) == 0)
			return i;
	}
	return HF_RING_NONE;
}

static int compare_places(const void *a, const void *b) {
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* The table with a node's sorted places put among the others. */
static void merge(const struct hf_ring *ring, const uint64_t *places, uint32_t count,
		  uint32_t number, struct table *ret) {
	const struct table *old = &ring->table;
	uint32_t i = 0, k = 0;
	while (i < old->count || k < count) {
		bool new_first = i == old->count || (k < count && places[k] < old->places[i]);
		if (i < old->count && k < count && places[k] == old->places[i])
			new_first =
				sorts_before(&ring->nodes[number], &ring->nodes[owner_at(old, i)]);
		uint32_t at = i + k;
		if (new_first)
			put_place(ret, at, places[k++], number);
		else
			put_place(ret, at, old->places[i++], owner_at(old, at - k));
	}
	table_index(ret);
}

static bool put_places(struct hf_ring *ring, uint32_t number, struct hf_err *err) {
	const struct node *node = &ring->nodes[number];
	uint32_t count = node->weight * ring->points;
	struct table table;
	uint64_t *places = hf_memory_new(count * sizeof(*places));
	if (places == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for a node of %u places", count);
	bool ok = table_init(&table, ring->table.count + count, err);
	if (ok) {
		for (uint32_t i = 0; i < count; i++)
			places[i] = place_of_point(node, i);
		qsort(places, count, sizeof(*places), compare_places);
		merge(ring, places, count, number, &table);
		table_free(&ring->table);
		ring->table = table;
	}
	hf_memory_free(places);
	return ok;
}

/* ---- changes ---- */

enum hf_status hf_ring_new(uint32_t points, struct hf_ring **ret, char *err, size_t err_cap) {
	struct hf_err why;
	if (points == 0 || points > HF_RING_POINTS_MAX) {
		hf_fail(&why, HF_USAGE, "%u points for each unit of weight: want 1 to %u", points,
			HF_RING_POINTS_MAX);
		return hf_err_tell(&why, err, err_cap);
	}
	struct hf_ring *ring = hf_memory_new(sizeof(*ring));
	if (ring == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory for a ring");
		return hf_err_tell(&why, err, err_cap);
	}
	ring->points = points;
	*ret = ring;
	return HF_OK;
}

void hf_ring_free(struct hf_ring *ring) {
	if (ring == NULL)
		return;
	table_free(&ring->table);
	for (uint32_t i = 0; i < ring->numbers; i++)
		node_free(&ring->nodes[i]);
	hf_memory_free(ring->nodes);
	hf_memory_free(ring);
}

static bool may_add(const struct hf_ring *ring, struct hf_bytes name, uint32_t weight,
		    struct hf_err *err) {
	uint64_t places = (uint64_t)weight * ring->points;
	if (name.len == 0)
		return hf_fail(err, HF_USAGE, "the node's name is empty: it has 1 to %u bytes",
			       HF_RING_NAME_MAX);
	if (name.len > HF_RING_NAME_MAX)
		return hf_fail(err, HF_TOOBIG, "the node's name has %zu bytes, the limit is %u",
			       name.len, HF_RING_NAME_MAX);
	if (weight == 0)
		return hf_fail(err, HF_USAGE, "the node's weight is 0: want 1 at least");
	if (find_node(ring, name) != HF_RING_NONE)
		return hf_fail(err, HF_USAGE, "the ring has a node of that name");
	if (ring->node_count == HF_RING_NODES_MAX)
		return hf_fail(err, HF_TOOBIG, "the ring has %u nodes, the limit",
			       HF_RING_NODES_MAX);
	if (ring->table.count + places > HF_RING_PLACES_MAX)
		return hf_fail(err, HF_TOOBIG,
			       "%u places, and %llu more for a node of weight %u: the limit is %u",
			       ring->table.count, (unsigned long long)places, weight,
			       HF_RING_PLACES_MAX);
	return true;
}

/* The lowest number that is free, with room for its node. */
static bool take_number(struct hf_ring *ring, uint32_t *ret, struct hf_err *err) {
	uint32_t number = 0;
	while (number < ring->numbers && ring->nodes[number].weight != 0)
		number++;
	if (number == ring->numbers) {
		/* Doubled whenever the count is a power of two. */
		if ((number & (number - 1)) == 0) {
			size_t room = number == 0 ? 1 : 2 * (size_t)number;
			void *nodes = hf_memory_grow(ring->nodes, room * sizeof(*ring->nodes));
			if (nodes == NULL)
				return hf_fail(err, HF_NOMEM, "out of memory for %zu nodes", room);
			ring->nodes = nodes;
		}
		ring->nodes[number] = (struct node){ 0 };
		ring->numbers++;
	}
	*ret = number;
	return true;
}

enum hf_status hf_ring_add(struct hf_ring *ring, struct hf_bytes name, uint32_t weight,
			   uint32_t *ret_node, char *err, size_t err_cap) {
	struct hf_err why;
	uint32_t number = 0;
	if (!may_add(ring, name, weight, &why) || !take_number(ring, &number, &why))
		return hf_err_tell(&why, err, err_cap);
	struct node *node = &ring->nodes[number];
	if (!node_init(node, name, weight, &why))
		return hf_err_tell(&why, err, err_cap);
	if (!put_places(ring, number, &why)) {
		node_free(node);
		return hf_err_tell(&why, err, err_cap);
	}
	ring->node_count++;
	if (ret_node != NULL)
		*ret_node = number;
	return HF_OK;
}

enum hf_status hf_ring_remove(struct hf_ring *ring, struct hf_bytes name, char *err,
			      size_t err_cap) {
	struct hf_err why;
	struct table table = { 0 }, *old = &ring->table;
	uint32_t number = find_node(ring, name), kept = 0;
	if (number == HF_RING_NONE) {
		hf_fail(&why, HF_NOTFOUND, "the ring has no node of that name");
		return hf_err_tell(&why, err, err_cap);
	}
	uint32_t rest = old->count - ring->nodes[number].weight * ring->points;
	if (rest > 0 && !table_init(&table, rest, &why))
		return hf_err_tell(&why, err, err_cap);
	for (uint32_t i = 0; i < old->count; i++) {
		if (owner_at(old, i) != number)
			put_place(&table, kept++, old->places[i], owner_at(old, i));
	}
	if (rest > 0)
		table_index(&table);
	table_free(old);
	ring->table = table;
	node_free(&ring->nodes[number]);
	ring->node_count--;
	return HF_OK;
}

/* ---- look-ups ---- */

/* Of the places from `i` to `end`, the first that is not before `place`; or else `end`. */
static uint32_t search(const struct table *table, uint32_t i, uint32_t end, uint64_t place) {
	while (i < end) {
		uint32_t middle = i + (end - i) / 2;
		if (table->places[middle] < place)
			i = middle + 1;
		else
			end = middle;
	}
	return i;
}

uint32_t hf_ring_find_place(const struct hf_ring *ring, uint64_t place) {
	const struct table *table = &ring->table;
	if (table->count == 0)
		return HF_RING_NONE;
	uint64_t high = place >> OWNER_BITS;
	size_t bucket = place >> table->shift;
	uint32_t i = table->first[bucket], before = 0;
	/* Counted, not walked over: how many they are is chance, and no branch can know it. */
	for (uint32_t k = 0; k < WINDOW; k++)
		before += table->entries[i + k] >> OWNER_BITS < high;
	i += before;
	if (__builtin_expect(before == WINDOW || table->entries[i] >> OWNER_BITS == high, 0))
		i = search(table, table->first[bucket], table->first[bucket + 1], place);
	return owner_at(table, i);
}

uint32_t hf_ring_find(const struct hf_ring *ring, struct hf_bytes key) {
	return hf_ring_find_place(ring, XXH3_64bits(key.data, key.len));
}

uint32_t hf_ring_node_count(const struct hf_ring *ring) {
	return ring->node_count;
}

struct hf_bytes hf_ring_name(const struct hf_ring *ring, uint32_t node) {
	if (node >= ring->numbers || ring->nodes[node].weight == 0)
		return (struct hf_bytes){ NULL, 0 };
	return (struct hf_bytes){ ring->nodes[node].name, ring->nodes[node].len };
}

double hf_ring_share(const struct hf_ring *ring, uint32_t node) {
	const struct table *table = &ring->table;
	double places = 0;
	if (ring->node_count == 1)
		return owner_at(table, 0) == node ? 1 : 0;
	for (uint32_t i = 0; i < table->count; i++) {
		uint64_t before = table->places[i == 0 ? table->count - 1 : i - 1];
		if (owner_at(table, i) == node)
			places += (double)(table->places[i] - before);
	}
	return places / 0x1p64;
}
