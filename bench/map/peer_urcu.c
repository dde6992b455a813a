/* liburcu's rculfhash, QSBR flavour; a value is overwritten in its node. */
#include <stdbool.h>

#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

#include "harness.h"

#if KIND != KIND_U64
#error "64-bit keys and values only"
#endif

struct node {
	struct cds_lfht_node node;
	uint64_t key, value;
};

static struct cds_lfht *table;
static __thread bool registered;

static void peer_setup(uint64_t entries) {
	unsigned long buckets = 1024;
	while (buckets < entries)
		buckets *= 2;
	table = cds_lfht_new_flavor(buckets, buckets, 0, 0, &urcu_qsbr_flavor, NULL);
	if (table == NULL)
		exit(1);
}

static void *peer_join(uint32_t number) {
	if (!registered)
		urcu_qsbr_register_thread();
	registered = true;
	return NULL;
}

static int match(struct cds_lfht_node *node, const void *key) {
	return caa_container_of(node, struct node, node)->key == *(const uint64_t *)key;
}

static inline struct node *find(uint64_t key) {
	struct cds_lfht_iter iter;
	cds_lfht_lookup(table, mix(key), match, &key, &iter);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
	return node == NULL ? NULL : caa_container_of(node, struct node, node);
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	urcu_qsbr_read_lock();
	const struct node *node = find(*key);
	if (node != NULL)
		*ret = __atomic_load_n(&node->value, __ATOMIC_ACQUIRE);
	urcu_qsbr_read_unlock();
	return node != NULL;
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	urcu_qsbr_read_lock();
	struct node *node = find(*key);
	if (node != NULL) {
		__atomic_store_n(&node->value, *value, __ATOMIC_RELEASE);
	} else {
		node = (struct node *)calloc(1, sizeof(*node));
		node->key = *key;
		node->value = *value;
		cds_lfht_node_init(&node->node);
		cds_lfht_add(table, mix(*key), &node->node);
	}
	urcu_qsbr_read_unlock();
}
