/*
 * api.c - libholdfast: the public calls of holdfast.h over the engine.
 *
 * A log thread flushes. What was submitted waits in a queue, in order, until its LSN is durable;
 * whoever finds its head durable (the log thread after a commit, or a submitter) completes it, one
 * of them at a time.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine_private.h"
#include "os/memory.h"

#define PENDING_MAX 65536u
#define DELIVER_BATCH 64u

_Static_assert(sizeof(((struct hf_result *)0)->state) == HF_NAME_MAX + 1, "a state's name fits");
_Static_assert(sizeof(((struct hf_result *)0)->text) >= HF_ERR_TEXT_MAX, "an error's text fits");

/* Something submitted; its outcome is known, and waits for the disk. */
struct pending {
	hf_done_fn *done;
	void *arg;
	uint64_t durable_at, version, lsn;
	const char *state;
	char *text; /* of an error, on the heap */
	enum hf_status status;
	bool retried;
};

struct hf_db {
	struct hf_engine *engine;
	pthread_mutex_t lock; /* of what follows; taken inside the engine's lock, never around it */
	pthread_cond_t moved; /* the head has moved */
	struct pending *pending;
	uint64_t head, tail; /* counts, not indexes */
	uint32_t promised;   /* places that submitters have, and have not filled yet */
	bool delivering;
};

static struct hf_span span_of(struct hf_bytes bytes) {
	return hf_span(bytes.data, bytes.len);
}

static struct hf_bytes bytes_of(struct hf_span span) {
	return (struct hf_bytes){ .data = span.data, .len = span.len };
}

static enum hf_status result_of(const struct hf_reply *reply, struct hf_result *ret) {
	ret->status = reply->status;
	ret->retried = reply->retried;
	ret->version = reply->version;
	ret->lsn = reply->lsn;
	ret->state[0] = ret->text[0] = '\0';
	if (reply->state != NULL)
		snprintf(ret->state, sizeof(ret->state), "%s", reply->state);
	if (reply->text != NULL)
		snprintf(ret->text, sizeof(ret->text), "%s", reply->text);
	return ret->status;
}

static enum hf_status result_err(const struct hf_err *err, struct hf_result *ret) {
	*ret = (struct hf_result){ .status = err->status };
	snprintf(ret->text, sizeof(ret->text), "%s", err->text);
	return ret->status;
}

/* Waits until what `ret` tells is durable. */
static enum hf_status settle(struct hf_db *db, uint64_t durable_at, struct hf_result *ret) {
	struct hf_err err;
	return hf_engine_wait(db->engine, durable_at, &err) ? ret->status : result_err(&err, ret);
}

/*
 * ---- completion --------------------------------------------------------------------------------
 */

static bool head_is_ready(const struct hf_db *db) {
	return db->head != db->tail &&
	       (hf_engine_stopped(db->engine) ||
		db->pending[db->head % PENDING_MAX].durable_at <= hf_engine_committed(db->engine));
}

static void complete(struct hf_db *db, struct pending *pending) {
	struct hf_result result = { .status = pending->status };
	if (pending->durable_at > hf_engine_committed(db->engine)) {
		struct hf_err err;
		hf_fail(&err, HF_STOPPED, "%s", hf_engine_stop_reason(db->engine));
		result_err(&err, &result);
	} else {
		struct hf_reply reply = {
			.status = pending->status,
			.state = pending->state,
			.version = pending->version,
			.lsn = pending->lsn,
			.retried = pending->retried,
			.text = pending->text,
		};
		result_of(&reply, &result);
	}
	pending->done(pending->arg, &result);
	free(pending->text);
}

/* Completes what is durable; a second thread leaves it to the first. */
static void deliver(struct hf_db *db) {
	pthread_mutex_lock(&db->lock);
	bool mine = !db->delivering;
	db->delivering = true;
	while (mine && head_is_ready(db)) {
		struct pending batch[DELIVER_BATCH];
		uint32_t count = 0;
		for (; count < DELIVER_BATCH && head_is_ready(db); count++)
			batch[count] = db->pending[db->head++ % PENDING_MAX];
		pthread_mutex_unlock(&db->lock);
		for (uint32_t i = 0; i < count; i++)
			complete(db, &batch[i]);
		pthread_mutex_lock(&db->lock);
	}
	if (mine) {
		db->delivering = false;
		pthread_cond_broadcast(&db->moved);
	}
	pthread_mutex_unlock(&db->lock);
}

static void on_commit(void *arg) {
	struct hf_db *db = arg;
	/* Before hf_open has returned there is nothing to complete. */
	if (db->engine != NULL)
		deliver(db);
}

enum hf_status hf_drain(struct hf_db *db) {
	pthread_mutex_lock(&db->lock);
	while (db->head != db->tail || db->promised > 0 || db->delivering)
		pthread_cond_wait(&db->moved, &db->lock);
	pthread_mutex_unlock(&db->lock);
	return hf_engine_stopped(db->engine) ? HF_STOPPED : HF_OK;
}

static void take_place(struct hf_db *db) {
	pthread_mutex_lock(&db->lock);
	while (db->tail - db->head + db->promised >= PENDING_MAX)
		pthread_cond_wait(&db->moved, &db->lock);
	db->promised++;
	pthread_mutex_unlock(&db->lock);
}

/* Queues an outcome; true if the submitter is to deliver, since no commit that is to come will. */
static bool queue(struct hf_db *db, const struct hf_reply *reply, hf_done_fn *done, void *arg) {
	pthread_mutex_lock(&db->lock);
	db->promised--;
	db->pending[db->tail++ % PENDING_MAX] = (struct pending){
		.done = done,
		.arg = arg,
		.durable_at = reply->durable_at,
		.version = reply->version,
		.lsn = reply->lsn,
		.state = reply->state,
		.text = reply->text == NULL ? NULL : strdup(reply->text),
		.status = reply->status,
		.retried = reply->retried,
	};
	bool ready = head_is_ready(db);
	pthread_mutex_unlock(&db->lock);
	return ready;
}

/*
 * ---- requests
 * ------------------------------------------------------------------------------------
 */

/* Judges a request. Under the engine's lock. */
static void judge(struct hf_db *db, const struct hf_request *request, struct hf_reply *ret) {
	struct hf_arg args[HF_PARAMS_MAX];
	if (request->param_count > HF_PARAMS_MAX) {
		static char too_many[] = "more params than any event can have";
		*ret = (struct hf_reply){ .status = HF_TOOBIG, .text = too_many };
		return;
	}
	for (size_t i = 0; i < request->param_count; i++)
		args[i] = (struct hf_arg){ span_of(request->params[i].name),
					   span_of(request->params[i].value) };
	struct hf_send send = {
		.contract = span_of(request->contract),
		.key = span_of(request->key),
		.event = span_of(request->event),
		.args = args,
		.arg_count = (uint32_t)request->param_count,
		.has_ifversion = request->has_ifversion,
		.ifversion = request->ifversion,
		.id = span_of(request->id),
	};
	hf_engine_send(db->engine, &send, ret);
}

enum hf_status hf_send(struct hf_db *db, const struct hf_request *request, struct hf_result *ret) {
	struct hf_reply reply;
	hf_engine_lock(db->engine);
	judge(db, request, &reply);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return settle(db, reply.durable_at, ret);
}

enum hf_status hf_submit(struct hf_db *db, const struct hf_request *request, hf_done_fn *done,
			 void *arg) {
	struct hf_reply reply;
	take_place(db);
	hf_engine_lock(db->engine);
	judge(db, request, &reply);
	bool ready = queue(db, &reply, done, arg);
	hf_engine_flush(db->engine);
	hf_engine_unlock(db->engine);
	if (ready)
		deliver(db);
	return reply.status;
}

enum hf_status hf_load_contract(struct hf_db *db, struct hf_bytes text, const char *name,
				struct hf_result *ret) {
	struct hf_reply reply;
	hf_engine_lock(db->engine);
	hf_engine_contract_load(db->engine, span_of(text), name, &reply);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return settle(db, reply.durable_at, ret);
}

enum hf_status hf_get(struct hf_db *db, struct hf_bytes contract, struct hf_bytes key,
		      hf_field_fn *each, void *arg, struct hf_result *ret) {
	struct hf_entity_view view;
	struct hf_reply reply;
	uint8_t block[HF_BLOCK_MAX];
	hf_engine_lock(db->engine);
	hf_engine_get(db->engine, span_of(contract), span_of(key), &view, &reply);
	if (reply.status == HF_OK)
		memcpy(block, view.block, view.contract->block_size);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	if (settle(db, reply.durable_at, ret) != HF_OK || each == NULL)
		return ret->status;
	for (uint16_t i = 0; i < view.contract->field_count; i++) {
		const struct hf_field *field = &view.contract->fields[i];
		struct hf_value value = hf_field_value(field, block);
		char text[HF_BYTES_MAX];
		size_t len = hf_value_format(field->type, &value, text);
		each(arg, bytes_of(hf_span_of(field->name)), (struct hf_bytes){ text, len });
	}
	return HF_OK;
}

struct past_call {
	hf_past_fn *each;
	void *arg;
};

static void show_past(void *arg, const struct hf_history_event *event) {
	const struct past_call *call = arg;
	const struct hf_event *declared = &event->contract->events[event->event_index];
	struct hf_pair params[HF_PARAMS_MAX];
	char texts[HF_PARAMS_MAX][HF_BYTES_MAX];
	for (uint32_t i = 0; i < declared->param_count; i++) {
		size_t len = hf_value_format(declared->params[i].type, &event->params[i], texts[i]);
		params[i] = (struct hf_pair){ bytes_of(hf_span_of(declared->params[i].name)),
					      { texts[i], len } };
	}
	call->each(call->arg, &(struct hf_past){
				      .version = event->version,
				      .lsn = event->lsn,
				      .time_ns = event->time_ns,
				      .event = bytes_of(hf_span_of(event->event)),
				      .state = bytes_of(hf_span_of(event->state)),
				      .id = bytes_of(event->id),
				      .params = params,
				      .param_count = declared->param_count,
			      });
}

enum hf_status hf_history(struct hf_db *db, struct hf_bytes contract, struct hf_bytes key,
			  uint64_t from, uint64_t count, hf_past_fn *each, void *arg,
			  struct hf_result *ret) {
	/* What is durable by now is shown, and nothing younger. */
	if (hf_get(db, contract, key, NULL, NULL, ret) != HF_OK)
		return ret->status;
	uint64_t first = from == 0 ? 1 : from;
	uint64_t left = first <= ret->version ? ret->version - first + 1 : 0;
	struct past_call call = { .each = each, .arg = arg };
	struct hf_reply reply;
	hf_engine_lock(db->engine);
	hf_engine_history(db->engine, span_of(contract), span_of(key), first,
			  count < left || count > HF_HISTORY_MAX ? count : left, show_past, &call,
			  &reply);
	if (reply.status != HF_OK)
		result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return ret->status;
}

enum hf_status hf_hash(struct hf_db *db, uint8_t ret_hash[16], struct hf_result *ret) {
	struct hf_reply reply;
	hf_engine_lock(db->engine);
	hf_engine_hash(db->engine, ret_hash, &reply);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return settle(db, reply.durable_at, ret);
}

/*
 * ---- life
 * ----------------------------------------------------------------------------------------
 */

static enum hf_status fail_text(const struct hf_err *why, char *err, size_t err_cap) {
	if (err_cap > 0)
		snprintf(err, err_cap, "%s", why->text);
	return why->status;
}

static void db_free(struct hf_db *db) {
	pthread_cond_destroy(&db->moved);
	pthread_mutex_destroy(&db->lock);
	hf_memory_free(db->pending);
	hf_memory_free(db);
}

enum hf_status hf_open(const struct hf_options *options, struct hf_db **ret, char *err,
		       size_t err_cap) {
	struct hf_err why;
	struct hf_db *db = hf_memory_new(sizeof(*db));
	if (db != NULL) {
		pthread_mutex_init(&db->lock, NULL);
		pthread_cond_init(&db->moved, NULL);
		db->pending = hf_memory_new(PENDING_MAX * sizeof(*db->pending));
	}
	if (db == NULL || db->pending == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory");
		if (db != NULL)
			db_free(db);
		return fail_text(&why, err, err_cap);
	}
	struct hf_engine_options engine = {
		.data_dir = options->data_dir,
		.flush = HF_FLUSH_THREAD,
		.no_sync = options->no_sync,
		.segment_size = options->segment_size,
		.committed = on_commit,
		.arg = db,
	};
	if (!hf_engine_open(&engine, &db->engine, &why)) {
		db_free(db);
		return fail_text(&why, err, err_cap);
	}
	*ret = db;
	return HF_OK;
}

enum hf_status hf_close(struct hf_db *db, char *err, size_t err_cap) {
	struct hf_err why;
	(void)hf_drain(db); /* a stop is told by hf_engine_close, too */
	bool ok = hf_engine_close(db->engine, &why);
	db_free(db);
	return ok ? HF_OK : fail_text(&why, err, err_cap);
}

const char *hf_status_text(enum hf_status status) {
	return hf_status_name(status);
}

const char *hf_version(void) {
	return HF_VERSION;
}
