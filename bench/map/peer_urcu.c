/*
 * liburcu's rculfhash, QSBR flavour. A 64-bit value is overwritten in its node; a node with a
 * record never changes: another one takes its place, and call_rcu frees it.
 */
#include <stdbool.h>

#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

#define PEER_LEAVE
#include "harness.h"

struct node {
	struct cds_lfht_node node;
#if KIND != KIND_U64
	struct rcu_head later;
#endif
	value_type value;
	key_type key; /* the last: as much of it as is in use */
};

static struct cds_lfht *table;

static void peer_setup(uint64_t entries) {
	unsigned long buckets = 1024;
	while (buckets < entries)
		buckets *= 2;
	table = cds_lfht_new_flavor(buckets, buckets, 0, 0, &urcu_qsbr_flavor, NULL);
	if (table == NULL)
		exit(1);
#if KIND != KIND_U64
	/* A helper for each processor, made here: a pinned thread's would share its pin. */
	if (urcu_qsbr_create_all_cpu_call_rcu_data(0) != 0)
		exit(1);
#endif
}

static void *peer_join(uint32_t number) {
	urcu_qsbr_register_thread();
	return NULL;
}

static void peer_leave(void *handle) {
	urcu_qsbr_unregister_thread();
}

/* With QSBR each thread has to say now and then that it reads nothing. */
static inline void say_quiescent(void) {
#if KIND != KIND_U64
	static __thread uint32_t calls;
	if (++calls % 64 == 0)
		urcu_qsbr_quiescent_state();
#endif
}

static int match(struct cds_lfht_node *node, const void *key) {
	return key_same(&caa_container_of(node, struct node, node)->key, (const key_type *)key);
}

static inline struct node *find(const key_type *key) {
	struct cds_lfht_iter iter;
	cds_lfht_lookup(table, key_hash(key), match, key, &iter);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
	return node == NULL ? NULL : caa_container_of(node, struct node, node);
}

static inline struct node *node_new(const key_type *key, const value_type *value) {
	struct node *node = (struct node *)malloc(offsetof(struct node, key) + key_size(key));
	cds_lfht_node_init(&node->node);
	memcpy(&node->key, key, key_size(key));
	node->value = *value;
	return node;
}

static inline bool peer_get(void *handle, const key_type *key, value_type *ret) {
	urcu_qsbr_read_lock();
	const struct node *node = find(key);
	if (node != NULL) {
#if KIND == KIND_U64
		*ret = __atomic_load_n(&node->value, __ATOMIC_ACQUIRE);
#else
		*ret = node->value;
#endif
	}
	urcu_qsbr_read_unlock();
	say_quiescent();
	return node != NULL;
}

#if KIND == KIND_U64
static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	urcu_qsbr_read_lock();
	struct node *node = find(key);
	if (node != NULL)
		__atomic_store_n(&node->value, *value, __ATOMIC_RELEASE);
	else
		cds_lfht_add(table, key_hash(key), &node_new(key, value)->node);
	urcu_qsbr_read_unlock();
}
#else
static void node_free(struct rcu_head *head) {
	free(caa_container_of(head, struct node, later));
}

static inline void peer_put(void *handle, const key_type *key, const value_type *value) {
	struct node *node = node_new(key, value);
	urcu_qsbr_read_lock();
	struct cds_lfht_node *old =
		cds_lfht_add_replace(table, key_hash(key), match, key, &node->node);
	if (old != NULL)
		urcu_qsbr_call_rcu(&caa_container_of(old, struct node, node)->later, node_free);
	urcu_qsbr_read_unlock();
	say_quiescent();
}
#endif
