/*
 * ring.c - the ring of consistent hashing (include/holdfast/ring.h says what it promises).
 *
 * The places are one sorted array; an index by their top bits, with about as many buckets as there
 * are places, says where to begin. So a look-up reads one entry of the index, a place or two next
 * to each other, and an owner: at 1,000 nodes with 128 points each, 1.75 MB in all.
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

#define SCAN_MAX 8u /* places of one bucket that are looked at one by one */

struct node {
	uint32_t weight; /* 0: this number is free */
	uint32_t len;
	uint8_t name[HF_RING_NAME_MAX];
};

/* In one piece of memory, which begins at `places`. */
struct table {
	uint32_t count;
	uint32_t shift;	  /* of a place, to its bucket */
	uint64_t *places; /* sorted; of equal ones, the first owner's name sorts first */
	uint32_t *first;  /* of each bucket, and one more: the first place in it or behind it */
	uint16_t *owners;
};

struct hf_ring {
	uint32_t points;
	uint32_t node_count, numbers; /* in use; ever given */
	struct node *nodes;
	struct table table;
};

_Static_assert(HF_RING_NODES_MAX <= UINT16_MAX, "an owner has 16 bits");

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
	uint8_t *memory = hf_memory_new(count * (sizeof(*table->places) + sizeof(*table->owners)) +
					(buckets + 1) * sizeof(*table->first));
	if (memory == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for a ring of %u places", count);
	table->places = (uint64_t *)memory;
	table->first = (uint32_t *)(table->places + count);
	table->owners = (uint16_t *)(table->first + buckets + 1);
	return true;
}

/* The index, once all places are there. */
static void table_index(struct table *table) {
	size_t buckets = (size_t)1 << (64 - table->shift);
	uint32_t i = 0;
	for (size_t bucket = 0; bucket < buckets; bucket++) {
		while (i < table->count && table->places[i] >> table->shift < bucket)
			i++;
		table->first[bucket] = i;
	}
	table->first[buckets] = table->count;
}

/* ---- nodes ---- */

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
				sorts_before(&ring->nodes[number], &ring->nodes[old->owners[i]]);
		ret->places[i + k] = new_first ? places[k] : old->places[i];
		ret->owners[i + k] = new_first ? (uint16_t)number : old->owners[i];
		*(new_first ? &k : &i) += 1;
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
		ring->nodes[number].weight = 0;
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
	*node = (struct node){ .weight = weight, .len = (uint32_t)name.len };
	memcpy(node->name, name.data, name.len);
	if (!put_places(ring, number, &why)) {
		node->weight = 0;
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
		if (old->owners[i] == number)
			continue;
		table.places[kept] = old->places[i];
		table.owners[kept++] = old->owners[i];
	}
	if (rest > 0)
		table_index(&table);
	table_free(old);
	ring->table = table;
	ring->nodes[number].weight = 0;
	ring->node_count--;
	return HF_OK;
}

/* ---- look-ups ---- */

uint32_t hf_ring_find_place(const struct hf_ring *ring, uint64_t place) {
	const struct table *table = &ring->table;
	if (table->count == 0)
		return HF_RING_NONE;
	size_t bucket = place >> table->shift;
	uint32_t i = table->first[bucket], end = table->first[bucket + 1];
	while (end - i > SCAN_MAX) {
		uint32_t middle = i + (end - i) / 2;
		if (table->places[middle] < place)
			i = middle + 1;
		else
			end = middle;
	}
	while (i < end && table->places[i] < place)
		i++;
	return table->owners[i < table->count ? i : 0];
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
		return table->owners[0] == node ? 1 : 0;
	for (uint32_t i = 0; i < table->count; i++) {
		uint64_t before = table->places[i == 0 ? table->count - 1 : i - 1];
		if (table->owners[i] == node)
			places += (double)(table->places[i] - before);
	}
	return places / 0x1p64;
}
