/*
 * api.c - libholdfast: the public calls of holdfast.h over the engine.
 *
 * A log thread flushes. What was submitted waits in a queue, in order, until its LSN is durable;
 * whoever finds its head durable (the log thread after a commit, or a submitter) completes it, one
 * of them at a time.
 */
#include <stdio.h>

#include "engine/engine_private.h"
#include "os/memory.h"
#include "os/thread.h"

#define PENDING_MAX 8192u /* 512 KiB: it stays in the cache */
#define BATCH_MAX 64u	  /* requests whose memory is fetched ahead under one lock */
#define READERS 16u	  /* reads at a time that take no lock */

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

/* Whoever takes it reads through it. Each in a line of its own. */
struct reader {
	_Alignas(128) uint32_t taken;
	struct hf_engine_reader reader;
};

/*
 * The queue has one producer at a time (under the engine's lock) and one consumer (whoever has
 * `delivering`), so its two ends need no lock. The mutex is for those who sleep until the head has
 * moved.
 */
struct hf_db {
	struct hf_engine *engine;
	struct pending *pending;
	_Alignas(64) _Atomic uint64_t head; /* counts, not indexes */
	_Atomic bool delivering;
	_Alignas(64) _Atomic uint64_t tail;
	_Atomic uint64_t claimed; /* places given out: those before tail, and some behind it */
	_Atomic uint32_t sleepers;
	struct hf_mutex lock;
	struct hf_cond moved;
	struct reader readers[READERS];
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
		hf_bytes_copy(ret->state, reply->state, strlen(reply->state) + 1);
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

/* ---- completion ---- */

/* Sequentially consistent, as the stores are: of two threads at least one sees the other's. */
static bool head_is_ready(struct hf_db *db) {
	uint64_t head = atomic_load(&db->head);
	return head != atomic_load(&db->tail) &&
	       (hf_engine_stopped(db->engine) ||
		db->pending[head % PENDING_MAX].durable_at <= hf_engine_committed(db->engine));
}

static void complete(struct hf_db *db, const struct pending *pending) {
	struct hf_result result;
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
	hf_memory_free(pending->text);
}

static void wake_sleepers(struct hf_db *db) {
	if (atomic_load(&db->sleepers) == 0)
		return;
	hf_mutex_lock(&db->lock);
	hf_cond_broadcast(&db->moved);
	hf_mutex_unlock(&db->lock);
}

/*
 * Completes what is durable. A second thread leaves it to the first, which looks again after it has
 * let go: so whatever was queued while both looked away is found by one of them.
 */
static void deliver(struct hf_db *db) {
	while (head_is_ready(db)) {
		if (atomic_exchange(&db->delivering, true))
			return;
		while (head_is_ready(db)) {
			uint64_t head = atomic_load_explicit(&db->head, memory_order_relaxed);
			complete(db, &db->pending[head % PENDING_MAX]);
			atomic_store(&db->head, head + 1);
		}
		atomic_store(&db->delivering, false);
		wake_sleepers(db);
	}
}

static void on_commit(void *arg) {
	struct hf_db *db = arg;
	/* Before hf_open has returned there is nothing to complete. */
	if (db->engine != NULL)
		deliver(db);
}

/* Sleeps until at most `left` places are taken. */
static void sleep_until(struct hf_db *db, uint64_t left) {
	hf_mutex_lock(&db->lock);
	atomic_fetch_add(&db->sleepers, 1);
	while (atomic_load(&db->claimed) - atomic_load(&db->head) > left)
		hf_cond_wait(&db->moved, &db->lock);
	atomic_fetch_sub(&db->sleepers, 1);
	hf_mutex_unlock(&db->lock);
}

enum hf_status hf_drain(struct hf_db *db) {
	sleep_until(db, 0);
	return hf_engine_stopped(db->engine) ? HF_STOPPED : HF_OK;
}

/*
 * The engine's lock, with free places in the queue. They stay the caller's if judging lets go of
 * the lock to wait for the log.
 */
static void lock_with_places(struct hf_db *db, uint32_t count) {
	hf_engine_lock(db->engine);
	while (atomic_load_explicit(&db->claimed, memory_order_relaxed) + count -
		       atomic_load(&db->head) >
	       PENDING_MAX) {
		hf_engine_unlock(db->engine);
		sleep_until(db, PENDING_MAX / 2);
		hf_engine_lock(db->engine);
	}
	atomic_fetch_add_explicit(&db->claimed, count, memory_order_relaxed);
}

/* On the heap; NULL for none, and where there is no memory: the status tells, then. */
static char *copy_of(const char *text) {
	size_t size = text == NULL ? 0 : strlen(text) + 1;
	char *copy = size == 0 ? NULL : hf_memory_new(size);
	return copy == NULL ? NULL : memcpy(copy, text, size);
}

/* Under the engine's lock, with a claimed place. */
static void queue(struct hf_db *db, const struct hf_reply *reply, hf_done_fn *done, void *arg) {
	uint64_t tail = atomic_load_explicit(&db->tail, memory_order_relaxed);
	HF_ASSERT(tail < atomic_load_explicit(&db->claimed, memory_order_relaxed));
	db->pending[tail % PENDING_MAX] = (struct pending){
		.done = done,
		.arg = arg,
		.durable_at = reply->durable_at,
		.version = reply->version,
		.lsn = reply->lsn,
		.state = reply->state,
		.text = copy_of(reply->text),
		.status = reply->status,
		.retried = reply->retried,
	};
	atomic_store(&db->tail, tail + 1);
}

/* ---- requests ---- */

/* A request in the engine's words, but for its params. */
static struct hf_send send_of(const struct hf_request *request) {
	return (struct hf_send){
		.contract = span_of(request->contract),
		.key = span_of(request->key),
		.event = span_of(request->event),
		.arg_count = (uint32_t)request->param_count,
		.has_ifversion = request->has_ifversion,
		.ifversion = request->ifversion,
		.id = span_of(request->id),
	};
}

/* Judges a request. Under the engine's lock. */
static void judge(struct hf_db *db, const struct hf_request *request, struct hf_send *send,
		  struct hf_reply *ret) {
	struct hf_arg args[HF_PARAMS_MAX];
	if (request->param_count > HF_PARAMS_MAX) {
		static char too_many[] = "more params than any event can have";
		*ret = (struct hf_reply){ .status = HF_TOOBIG, .text = too_many };
		return;
	}
	for (size_t i = 0; i < request->param_count; i++)
		args[i] = (struct hf_arg){ span_of(request->params[i].name),
					   span_of(request->params[i].value) };
	send->args = args;
	hf_engine_send(db->engine, send, ret);
}

enum hf_status hf_send(struct hf_db *db, const struct hf_request *request, struct hf_result *ret) {
	struct hf_reply reply;
	struct hf_send send = send_of(request);
	hf_engine_lock(db->engine);
	judge(db, request, &send, &reply);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return settle(db, reply.durable_at, ret);
}

/* Judges and queues up to BATCH_MAX requests; all memory they will look at is fetched first. */
static enum hf_status submit_batch(struct hf_db *db, const struct hf_request *requests,
				   uint32_t count, hf_done_fn *done, void *const *args) {
	struct hf_send sends[BATCH_MAX];
	enum hf_status ret = HF_OK;
	lock_with_places(db, count);
	for (uint32_t i = 0; i < count; i++) {
		sends[i] = send_of(&requests[i]);
		if (count > 1)
			hf_engine_prepare(db->engine, &sends[i]);
	}
	for (uint32_t i = 0; count > 1 && i < count; i++)
		hf_engine_touch(db->engine, &sends[i]);
	for (uint32_t i = 0; i < count; i++) {
		struct hf_reply reply;
		judge(db, &requests[i], &sends[i], &reply);
		queue(db, &reply, done, args[i]);
		if (ret == HF_OK)
			ret = reply.status;
	}
	hf_engine_flush(db->engine);
	hf_engine_unlock(db->engine);
	deliver(db);
	return ret;
}

enum hf_status hf_submit_many(struct hf_db *db, const struct hf_request *requests, size_t count,
			      hf_done_fn *done, void *const *args) {
	enum hf_status ret = HF_OK;
	for (size_t from = 0; from < count; from += BATCH_MAX) {
		uint32_t batch = count - from < BATCH_MAX ? (uint32_t)(count - from) : BATCH_MAX;
		enum hf_status status = submit_batch(db, requests + from, batch, done, args + from);
		if (ret == HF_OK)
			ret = status;
	}
	return ret;
}

enum hf_status hf_submit(struct hf_db *db, const struct hf_request *request, hf_done_fn *done,
			 void *arg) {
	return submit_batch(db, request, 1, done, &arg);
}

enum hf_status hf_load_contract(struct hf_db *db, struct hf_bytes text, const char *name,
				struct hf_result *ret) {
	struct hf_reply reply;
	hf_engine_lock(db->engine);
	hf_engine_contract_load(db->engine, span_of(text), name == NULL ? "<text>" : name, &reply);
	result_of(&reply, ret);
	hf_engine_unlock(db->engine);
	return settle(db, reply.durable_at, ret);
}

/* One that nobody else has; NULL: more threads read than there are. */
static struct reader *take_reader(struct hf_db *db) {
	uint32_t here;
	/* Each thread has a stack of its own, so it mostly comes back to the same one. */
	uint32_t first = (uint32_t)((uintptr_t)&here >> 16);
	for (uint32_t i = 0; i < READERS; i++) {
		struct reader *reader = &db->readers[(first + i) % READERS];
		uint32_t free = 0;
		if (hf_atomic_cas(&reader->taken, &free, 1u, HF_ACQUIRE, HF_RELAXED))
			return reader;
	}
	return NULL;
}

/* Without the lock, if that will do. */
static bool read_entity(struct hf_db *db, struct hf_span contract, struct hf_span key,
			uint8_t *block, struct hf_entity_view *ret_view, struct hf_reply *ret) {
	struct reader *reader = take_reader(db);
	if (reader == NULL)
		return false;
	bool read = hf_engine_reader_get(&reader->reader, contract, key, block, ret_view, ret);
	hf_atomic_store(&reader->taken, 0u, HF_RELEASE);
	return read;
}

enum hf_status hf_get(struct hf_db *db, struct hf_bytes contract, struct hf_bytes key,
		      hf_field_fn *each, void *arg, struct hf_result *ret) {
	struct hf_entity_view view;
	struct hf_reply reply;
	_Alignas(8) uint8_t block[HF_BLOCK_MAX];
	if (read_entity(db, span_of(contract), span_of(key), block, &view, &reply)) {
		result_of(&reply, ret);
	} else {
		hf_engine_lock(db->engine);
		hf_engine_get(db->engine, span_of(contract), span_of(key), &view, &reply);
		if (reply.status == HF_OK)
			memcpy(block, view.block, view.contract->block_size);
		result_of(&reply, ret);
		hf_engine_unlock(db->engine);
	}
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

enum hf_status hf_snapshot(struct hf_db *db, struct hf_result *ret) {
	struct hf_err err;
	struct hf_snapshot_outcome outcome;
	uint64_t ticket;
	if (!hf_engine_snapshot(db->engine, &ticket, &err))
		return result_err(&err, ret);
	hf_engine_snapshot_wait(db->engine, ticket, &outcome);
	if (outcome.err.status != HF_OK)
		return result_err(&outcome.err, ret);
	*ret = (struct hf_result){ .status = HF_OK, .lsn = outcome.lsn };
	return HF_OK;
}

/* ---- life ---- */

static bool join_readers(struct hf_db *db, struct hf_err *err) {
	for (uint32_t i = 0; i < READERS; i++)
		if (!hf_engine_reader_join(db->engine, "hf_get", &db->readers[i].reader, err))
			return false;
	return true;
}

static void leave_readers(struct hf_db *db) {
	for (uint32_t i = 0; i < READERS; i++)
		hf_engine_reader_leave(&db->readers[i].reader);
}

static void db_free(struct hf_db *db) {
	hf_cond_fini(&db->moved);
	hf_mutex_fini(&db->lock);
	hf_memory_free(db->pending);
	hf_memory_free(db);
}

enum hf_status hf_open(const struct hf_options *options, struct hf_db **ret, char *err,
		       size_t err_cap) {
	struct hf_err why;
	if (options->data_dir == NULL || options->data_dir[0] == '\0') {
		hf_fail(&why, HF_USAGE, "options.data_dir is empty: want a directory for the log");
		return hf_err_tell(&why, err, err_cap);
	}
	struct hf_db *db = hf_memory_new(sizeof(*db));
	if (db != NULL) {
		hf_mutex_init(&db->lock);
		hf_cond_init(&db->moved);
		db->pending = hf_memory_new(PENDING_MAX * sizeof(*db->pending));
	}
	if (db == NULL || db->pending == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory");
		if (db != NULL)
			db_free(db);
		return hf_err_tell(&why, err, err_cap);
	}
	struct hf_engine_options engine = {
		.data_dir = options->data_dir,
		.flush = HF_FLUSH_THREAD,
		.no_sync = options->no_sync,
		.segment_size = options->segment_size,
		.snapshot_log_bytes = options->snapshot_log_bytes,
		.snapshot_every_s = options->snapshot_every_s,
		.committed = on_commit,
		.arg = db,
	};
	if (!hf_engine_open(&engine, &db->engine, &why)) {
		db_free(db);
		return hf_err_tell(&why, err, err_cap);
	}
	if (!join_readers(db, &why)) {
		struct hf_err ignored; /* nothing was written */
		leave_readers(db);
		(void)!hf_engine_close(db->engine, &ignored);
		db_free(db);
		return hf_err_tell(&why, err, err_cap);
	}
	*ret = db;
	return HF_OK;
}

enum hf_status hf_close(struct hf_db *db, char *err, size_t err_cap) {
	struct hf_err why;
	(void)hf_drain(db); /* a stop is told by hf_engine_close, too */
	leave_readers(db);
	bool ok = hf_engine_close(db->engine, &why);
	db_free(db);
	return ok ? HF_OK : hf_err_tell(&why, err, err_cap);
}

const char *hf_status_text(enum hf_status status) {
	return hf_status_name(status);
}

const char *hf_version(void) {
	return HF_VERSION;
}
