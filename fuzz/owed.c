#include "owed.h"

#include "base/assert.h"
#include "engine/engine.h"
#include "server/command.h"

#define CONNS_MAX 2u
#define DEBTS_MAX 8192u /* of an execution: more than its input has bytes */

/* What is sent from this offset on. */
struct debt {
	uint64_t from, lsn;
};

struct debtor {
	const struct hf_conn *conn; /* NULL: none yet */
	uint32_t first, count;
	struct debt debts[DEBTS_MAX];
};

/* The wrapped calls have no argument of ours. */
static struct {
	struct debtor debtors[CONNS_MAX];
	struct hf_loop *loop;	/* whose batch is executed */
	struct hf_conn *asking; /* whose command is run */
} owed;

void hf_owed_forget(void) {
	for (uint32_t i = 0; i < CONNS_MAX; i++) {
		owed.debtors[i].conn = NULL;
		owed.debtors[i].first = owed.debtors[i].count = 0;
	}
}

static struct debtor *debtor_of(const struct hf_conn *conn) {
	uint32_t i = 0;
	while (owed.debtors[i].conn != NULL && owed.debtors[i].conn != conn)
		HF_ASSERT(++i < CONNS_MAX);
	owed.debtors[i].conn = conn;
	return &owed.debtors[i];
}

uint64_t hf_owed_for(const struct hf_conn *conn, uint64_t len) {
	struct debtor *debtor = debtor_of(conn);
	uint64_t lsn = 0;
	for (; debtor->first < debtor->count && debtor->debts[debtor->first].from < len;
	     debtor->first++)
		if (debtor->debts[debtor->first].lsn > lsn)
			lsn = debtor->debts[debtor->first].lsn;
	return lsn;
}

/* What this connection is told from now on, or from `from` on, depends on the log up to `lsn`. */
static void note(const struct hf_conn *conn, uint64_t from, uint64_t lsn) {
	struct debtor *debtor = debtor_of(conn);
	if (lsn == 0)
		return;
	if (debtor->count == debtor->first || debtor->debts[debtor->count - 1].from != from) {
		HF_ASSERT(debtor->count < DEBTS_MAX);
		debtor->debts[debtor->count++] = (struct debt){ .from = from };
	}
	struct debt *last = &debtor->debts[debtor->count - 1];
	if (lsn > last->lsn)
		last->lsn = lsn;
}

/* ---- who asks ------------------------------------------------------------------------------ */

bool __real_hf_command_run(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request);
bool __wrap_hf_command_run(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request);
void __real_hf_send_execute(struct hf_loop *loop);
void __wrap_hf_send_execute(struct hf_loop *loop);

bool __wrap_hf_command_run(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request) {
	owed.asking = conn;
	bool done = __real_hf_command_run(loop, conn, request);
	owed.asking = NULL;
	return done;
}

void __wrap_hf_send_execute(struct hf_loop *loop) {
	owed.loop = loop;
	__real_hf_send_execute(loop);
}

/* ---- what they are told -------------------------------------------------------------------- */

/* Where the next of what the asker is told begins. The target asks, too: that owes nobody. */
static uint64_t place(void) {
	return owed.asking == NULL ? 0 : hf_out_end(&owed.asking->out);
}

static void told(uint64_t from, const struct hf_reply *reply) {
	if (owed.asking != NULL)
		note(owed.asking, from, reply->durable_at);
}

/* Calls of the engine that say in `ret` what their replies depend on. */
#define TELLS(call, params, args) \
	void __real_##call params; \
	void __wrap_##call params; \
	void __wrap_##call params { \
		uint64_t at = place(); \
		__real_##call args; \
		told(at, ret); \
	}
#define TELLS_AND_RETURNS(type, call, params, args) \
	type __real_##call params; \
	type __wrap_##call params; \
	type __wrap_##call params { \
		uint64_t at = place(); \
		*ret = (struct hf_reply){ 0 }; /* a reader that comes to nothing leaves it */ \
		type result = __real_##call args; \
		told(at, ret); \
		return result; \
	}

TELLS(hf_engine_get,
      (struct hf_engine * engine, struct hf_span contract, struct hf_span key,
       struct hf_entity_view *view, struct hf_reply *ret),
      (engine, contract, key, view, ret))
TELLS(hf_engine_history_begin,
      (struct hf_engine * engine, struct hf_span contract, struct hf_span key, uint64_t from,
       uint64_t count, struct hf_history *history, struct hf_reply *ret),
      (engine, contract, key, from, count, history, ret))
TELLS(hf_engine_count,
      (struct hf_engine * engine, struct hf_span contract, hf_count_fn *fn, void *arg,
       struct hf_reply *ret),
      (engine, contract, fn, arg, ret))
TELLS(hf_engine_hash, (struct hf_engine * engine, uint8_t *hash, struct hf_reply *ret),
      (engine, hash, ret))
TELLS(hf_engine_contract_load,
      (struct hf_engine * engine, struct hf_span text, const char *name, struct hf_reply *ret),
      (engine, text, name, ret))
TELLS(hf_engine_plain_get,
      (struct hf_engine * engine, struct hf_span key, struct hf_span *value, struct hf_reply *ret),
      (engine, key, value, ret))
TELLS(hf_engine_plain_set,
      (struct hf_engine * engine, const struct hf_plain_set *set, hf_plain_old_fn *old, void *arg,
       bool *is_set, struct hf_reply *ret),
      (engine, set, old, arg, is_set, ret))
TELLS(hf_engine_plain_add,
      (struct hf_engine * engine, struct hf_span key, int64_t by, int64_t *value,
       struct hf_reply *ret),
      (engine, key, by, value, ret))
TELLS(hf_engine_plain_delete,
      (struct hf_engine * engine, const struct hf_span *keys, uint32_t count, uint64_t *deleted,
       struct hf_reply *ret),
      (engine, keys, count, deleted, ret))
TELLS_AND_RETURNS(uint64_t, hf_engine_plain_scan,
		  (struct hf_engine * engine, uint64_t cursor, hf_plain_key_fn *key, void *arg,
		   struct hf_reply *ret),
		  (engine, cursor, key, arg, ret))

TELLS_AND_RETURNS(bool, hf_engine_reader_get,
		  (struct hf_engine_reader * reader, struct hf_span contract, struct hf_span key,
		   uint8_t *block, struct hf_entity_view *view, struct hf_reply *ret),
		  (reader, contract, key, block, view, ret))
TELLS_AND_RETURNS(bool, hf_engine_reader_plain_get,
		  (struct hf_engine_reader * reader, struct hf_span key, uint8_t *buffer,
		   struct hf_span *value, struct hf_reply *ret),
		  (reader, key, buffer, value, ret))

/* ---- events -------------------------------------------------------------------------------- */

void __real_hf_engine_send(struct hf_engine *engine, const struct hf_send *send,
			   struct hf_reply *ret);
void __wrap_hf_engine_send(struct hf_engine *engine, const struct hf_send *send,
			   struct hf_reply *ret);

/* A refusal tells of the entity as its last event left it, whatever the engine says. */
void __wrap_hf_engine_send(struct hf_engine *engine, const struct hf_send *send,
			   struct hf_reply *ret) {
	struct hf_entity_view before = { .lsn = 0 };
	__real_hf_engine_get(engine, send->contract, send->key, &before, ret);
	uint64_t entity_lsn = ret->status == HF_OK ? before.lsn : 0;
	__real_hf_engine_send(engine, send, ret);
	bool refused = ret->status == HF_REFUSED || ret->status == HF_STALE;
	uint64_t lsn = refused && entity_lsn > ret->durable_at ? entity_lsn : ret->durable_at;
	const struct hf_conn *conn = owed.loop->batch.conns[send - owed.loop->batch.sends];
	note(conn, hf_out_end(&conn->out), lsn);
}
