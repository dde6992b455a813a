/*
 * ring.h - consistent hashing: which node a key belongs to, with virtual nodes and weights.
 *
 * A node of weight w stands at w * points places of a ring of 2^64; a key belongs to the node whose
 * place is the first at or behind the key's own. So a node that comes takes keys from the others
 * and moves none between them, and one that goes gives its own away and moves no others.
 *
 * The places are part of the interface: they are the same on every machine and in every version.
 *
 *     place of point i (0, 1, ...) of a node   XXH3-64 of its name followed by i, 4 bytes,
 *                                              little-endian
 *     place of a key                           XXH3-64 of the key
 *
 * with XXH3's seed 0. Of two nodes at one place the one whose name sorts first (by bytes, the
 * shorter first) has it. The order in which nodes came does not matter.
 *
 * XXH3 is fast, and not made against an enemy: who may choose names or keys freely can heap them up
 * on one node. No look-up takes longer for it.
 *
 * Thread rules: look-ups from any number of threads at a time; a change only while nothing else is
 * under way.
 */
#ifndef HOLDFAST_RING_H
#define HOLDFAST_RING_H

#include "holdfast.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hf_ring;

#define HF_RING_NONE UINT32_MAX /* no node */

/*
 * A ring without nodes, with `points` places for each unit of weight: 1 to 1024, 128 is usual. A
 * node's share of the keys strays from the fair one by about 1 / sqrt(weight * points). Freed with
 * hf_ring_free. HF_USAGE, HF_NOMEM; `err` (of err_cap bytes) gets the reason, here and below.
 */
HF_API enum hf_status hf_ring_new(uint32_t points, struct hf_ring **ret, char *err, size_t err_cap);
HF_API void hf_ring_free(struct hf_ring *ring); /* NULL is fine */

/*
 * Adds a node, with a name of 1 to 255 bytes, which is copied, and a weight from 1 on. ret_node
 * (may be NULL) is its number, for hf_ring_find's callers to index by: the lowest that is free, and
 * the node's until it is removed. HF_USAGE: the name is there already or is empty, or the weight is
 * 0; HF_TOOBIG: more than 8,192 nodes, 4,194,304 places, or bytes of a name; HF_NOMEM. Nothing has
 * changed then. Takes time in proportion to all places.
 */
HF_API enum hf_status hf_ring_add(struct hf_ring *ring, struct hf_bytes name, uint32_t weight,
				  uint32_t *ret_node, char *err, size_t err_cap);
/* Removes a node. HF_NOTFOUND, HF_NOMEM: nothing has changed. */
HF_API enum hf_status hf_ring_remove(struct hf_ring *ring, struct hf_bytes name, char *err,
				     size_t err_cap);

/* The node that the key belongs to; HF_RING_NONE if there are no nodes. Cannot fail otherwise. */
HF_API uint32_t hf_ring_find(const struct hf_ring *ring, struct hf_bytes key);
/* The same for a key whose place (see above) is known. */
HF_API uint32_t hf_ring_find_place(const struct hf_ring *ring, uint64_t place);

HF_API uint32_t hf_ring_node_count(const struct hf_ring *ring);
/* A node's name, valid until it is removed; of length 0 if no node has this number. */
HF_API struct hf_bytes hf_ring_name(const struct hf_ring *ring, uint32_t node);
/* The part of all places that belongs to a node: 0 to 1. Walks over the whole ring. */
HF_API double hf_ring_share(const struct hf_ring *ring, uint32_t node);

#ifdef __cplusplus
}
#endif

#endif
