/*
 * plain.c - plain keys in the simulated world. Values are a number, some of them with zeros behind
 * it: whole sectors of zeros must not be taken for a torn write.
 */
#include <string.h>

#include "actor.h"

#define PADDING_MAX (HF_PLAIN_VALUE_MAX - 24u)

static const char *const names[] = { [SET] = "SET", [ADD] = "INCRBY", [DELETE] = "DEL" };

/* `buf` has room for HF_PLAIN_VALUE_MAX. */
static struct hf_span value_text(uint64_t number, uint64_t padding, uint8_t *buf) {
	uint8_t *end = (uint8_t *)actor_put_number(number, (char *)buf);
	memset(end, 0, padding);
	return hf_span(buf, (size_t)(end - buf) + padding);
}

struct model_request plain_invent(struct actor *actor) {
	struct sim_random *random = &actor->random;
	struct model_request request = {
		.contract = PLAIN,
		.key = sim_below(random, actor->keys),
		.event = sim_once_in(random, 3)	  ? DELETE
			 : sim_once_in(random, 2) ? ADD
						  : SET,
		.param = sim_below(random, 1000),
	};
	if (request.event == SET) {
		request.has_ifversion = sim_once_in(random, 4);
		request.padding = sim_once_in(random, 4) ? sim_below(random, PADDING_MAX) : 0;
	}
	return request;
}

/* SET and INCRBY, but for what is checked of every answer. */
static void set_or_add(struct actor *actor, const struct model_request *request,
		       const struct hf_span *key, struct hf_reply *ret) {
	uint8_t value[HF_PLAIN_VALUE_MAX];
	const struct model_entity *entity = &actor->model->entities[PLAIN][request->key];
	if (request->event == ADD) {
		int64_t sum = 0;
		hf_engine_plain_add(actor->engine, *key, (int64_t)request->param, &sum, ret);
		if (ret->status == HF_OK &&
		    (uint64_t)sum != request->param + (entity->version > 0 ? entity->qty : 0))
			actor_fail(actor, "INCRBY of key %u makes %lld", request->key,
				   (long long)sum);
		return;
	}
	bool is_set;
	struct hf_plain_set set = {
		.key = *key,
		.value = value_text(request->param, request->padding, value),
		.when = request->has_ifversion ? HF_PLAIN_ABSENT : HF_PLAIN_ALWAYS,
	};
	hf_engine_plain_set(actor->engine, &set, NULL, NULL, &is_set, ret);
	if (ret->status == HF_OK && is_set != (!request->has_ifversion || entity->version == 0))
		actor_fail(actor, "SET of key %u: the condition was judged wrongly", request->key);
}

bool plain_send(struct actor *actor, const struct model_request *request,
		struct model_answer *ret) {
	char buf[ACTOR_TEXT_MAX];
	struct hf_span key = actor_key_text(request->key, buf);
	struct hf_reply reply;
	uint64_t last = actor->model->last, deleted = 0;
	bool was_there = actor->model->entities[PLAIN][request->key].version > 0;
	if (request->event == DELETE) {
		struct hf_span twice[] = { key, key };
		hf_engine_plain_delete(actor->engine, twice, 2, &deleted, &reply);
	} else {
		set_or_add(actor, request, &key, &reply);
	}
	if (actor_is_of_the_world(actor, reply.status)) {
		actor_check_hash(actor, last);
		return false;
	}
	*ret = model_plain(actor->model, request);
	if (reply.status != ret->status || reply.lsn != ret->lsn ||
	    (request->event == DELETE ? deleted != was_there : reply.version != ret->version))
		actor_fail(actor, "%s of key %u: %s LSN %llu, should be %s LSN %llu",
			   names[request->event], request->key, hf_status_name(reply.status),
			   (unsigned long long)reply.lsn, hf_status_name(ret->status),
			   (unsigned long long)ret->lsn);
	if (reply.durable_at < ret->durable_at || reply.durable_at > actor->model->last)
		actor_fail(actor, "%s of key %u: to be shown at LSN %llu, should be %llu",
			   names[request->event], request->key,
			   (unsigned long long)reply.durable_at,
			   (unsigned long long)ret->durable_at);
	if (actor->model->last > last)
		actor_keep_hash(actor);
	else
		actor_check_hash(actor, last);
	return true;
}

struct scan {
	struct hf_span key;
	uint32_t seen, all;
};

static void on_key(void *arg, struct hf_span key) {
	struct scan *scan = arg;
	scan->seen += hf_span_equal(key, scan->key);
	scan->all++;
}

void plain_look(struct actor *actor) {
	char buf[ACTOR_TEXT_MAX];
	uint8_t want_buf[HF_PLAIN_VALUE_MAX];
	uint32_t key = sim_below(&actor->random, actor->keys), there = 0;
	const struct model_entity *entity = &actor->model->entities[PLAIN][key];
	struct scan scan = { .key = actor_key_text(key, buf) };
	struct hf_span value, want = value_text(entity->qty, entity->filled, want_buf);
	struct hf_reply reply;
	hf_engine_plain_get(actor->engine, scan.key, &value, &reply);
	bool found = reply.status == HF_OK;
	if (found != (entity->version > 0) ||
	    (found && (!hf_span_equal(value, want) || reply.lsn != entity->lsn ||
		       reply.version != entity->version)) ||
	    reply.durable_at < (found ? entity->lsn : actor->model->deleted_lsn))
		actor_fail(actor, "a read of plain key %u is wrong", key);
	uint64_t cursor = 0;
	do
		cursor = hf_engine_plain_scan(actor->engine, cursor, on_key, &scan, &reply);
	while (cursor != 0);
	for (uint32_t i = 0; i < MODEL_KEYS; i++)
		there += actor->model->entities[PLAIN][i].version > 0;
	if (scan.seen != found || scan.all != there)
		actor_fail(actor, "a scan shows %u keys of %u, key %u %u times", scan.all, there,
			   key, scan.seen);
}
