/*
 * The commands that read the engine, and those on contracts.
 *
 * Every reply is gated on what the engine says it depends on: a read, too, shows nothing that a
 * crash could take back.
 */
#include "base/assert.h"
#include "machine/machine.h"
#include "os/clock.h"
#include "os/memory.h"
#include "server/command.h"

#define HISTORY_COUNT_DEFAULT 100u
#define STEP_READS 8u  /* of a history, with the engine's lock */
#define STEP_NS 50000u /* of a history, while others wait */
#define VALUE_TEXT_MAX 64u

/* Gates on the engine's reply. If it is an error, sends it and returns false. */
static bool settled_ok(struct hf_conn *conn, const struct hf_reply *reply) {
	hf_conn_gate(conn, reply->durable_at);
	if (reply->status == HF_OK)
		return true;
	hf_out_error(&conn->out, hf_status_name(reply->status), reply->text);
	return false;
}

/* Gates on everything so far: for replies that depend on more than one entity. Under the lock. */
static void gate_on_all(struct hf_loop *loop, struct hf_conn *conn,
			struct hf_engine_info *ret_info) {
	hf_engine_info(loop->engine, ret_info);
	hf_conn_gate(conn, ret_info->last_lsn);
}

/* Bytes of a client, made fit for a message. `buf` has room for 4 * HF_NAME_MAX + 4. */
#define SHOWN_MAX (4 * HF_NAME_MAX + 4)
static const char *shown(struct hf_span bytes, char *buf) {
	struct hf_text text = hf_text(buf, SHOWN_MAX);
	if (bytes.len == 0)
		hf_text_add(&text, "''");
	hf_text_add_quoted(&text, bytes, HF_NAME_MAX);
	return buf;
}

static void reply_value(struct hf_out *out, enum hf_type type, const struct hf_value *value) {
	char text[VALUE_TEXT_MAX];
	hf_out_bulk(out, hf_span(text, hf_value_format(type, value, text)));
}

/* ---- HF.GET ------------------------------------------------------------------------------ */

static void reply_field(struct hf_out *out, const struct hf_entity_view *view,
			const struct hf_field *field) {
	struct hf_value value = hf_field_value(field, view->block);
	hf_out_text(out, field->name);
	reply_value(out, field->type, &value);
}

/* One of the four that every entity has. False if `name` is none of them. */
static bool reply_own(struct hf_out *out, const struct hf_entity_view *view, struct hf_span name) {
	if (hf_span_is(name, "state")) {
		hf_out_text(out, "state");
		hf_out_text(out, view->state);
	} else if (hf_span_is(name, "version")) {
		hf_out_text(out, "version");
		hf_out_int(out, (int64_t)view->version);
	} else if (hf_span_is(name, "lsn")) {
		hf_out_text(out, "lsn");
		hf_out_int(out, (int64_t)view->lsn);
	} else if (hf_span_is(name, "time")) {
		hf_out_text(out, "time");
		hf_out_int(out, view->time_ns);
	} else {
		return false;
	}
	return true;
}

static void reply_all(struct hf_out *out, const struct hf_entity_view *view) {
	static const char *const own[] = { "state", "version", "lsn", "time" };
	const struct hf_contract *contract = view->contract;
	hf_out_map(out, 4u + contract->field_count);
	for (uint32_t i = 0; i < 4; i++)
		(void)reply_own(out, view, hf_span_of(own[i]));
	for (uint32_t i = 0; i < contract->field_count; i++)
		reply_field(out, view, &contract->fields[i]);
}

static void reply_some(struct hf_out *out, const struct hf_entity_view *view,
		       const struct hf_span *names, uint32_t count) {
	uint64_t begun = hf_out_begin(out);
	for (uint32_t i = 0; i < count; i++) {
		if (reply_own(out, view, names[i]))
			continue;
		int field = hf_contract_field(view->contract, names[i]);
		if (field < 0) {
			char name[SHOWN_MAX];
			struct hf_err err;
			(void)hf_fail(
				&err, HF_BADPARAM,
				"%s has no field %s (argument %u): HF.GET without fields lists all",
				view->contract->name, shown(names[i], name), i + 3);
			hf_out_cancel(out, begun);
			hf_out_err(out, &err);
			return;
		}
		reply_field(out, view, &view->contract->fields[field]);
	}
	hf_out_end_map(out, begun, count);
}

void hf_cmd_get(struct hf_loop *loop, struct hf_conn *conn, const struct hf_resp_command *request) {
	struct hf_entity_view view;
	struct hf_reply reply;
	bool locks = !hf_engine_reader_get(&loop->reader, request->argv[1], request->argv[2],
					   loop->read, &view, &reply);
	if (locks) {
		hf_engine_lock(loop->engine);
		hf_engine_get(loop->engine, request->argv[1], request->argv[2], &view, &reply);
	}
	if (settled_ok(conn, &reply)) {
		if (request->argc == 3)
			reply_all(&conn->out, &view);
		else
			reply_some(&conn->out, &view, request->argv + 3, request->argc - 3);
	}
	if (locks)
		hf_engine_unlock(loop->engine);
}

/* ---- HF.HISTORY -------------------------------------------------------------------------- */

static void reply_history_event(void *arg, const struct hf_history_event *event) {
	struct hf_out *out = arg;
	const struct hf_event *declared = &event->contract->events[event->event_index];
	hf_out_map(out, event->id.len > 0 ? 7 : 6);
	hf_out_text(out, "version");
	hf_out_int(out, (int64_t)event->version);
	hf_out_text(out, "lsn");
	hf_out_int(out, (int64_t)event->lsn);
	hf_out_text(out, "time");
	hf_out_int(out, event->time_ns);
	hf_out_text(out, "event");
	hf_out_text(out, event->event);
	hf_out_text(out, "state");
	hf_out_text(out, event->state);
	hf_out_text(out, "params");
	hf_out_map(out, declared->param_count);
	for (uint32_t i = 0; i < declared->param_count; i++) {
		hf_out_text(out, declared->params[i].name);
		reply_value(out, declared->params[i].type, &event->params[i]);
	}
	if (event->id.len > 0) {
		hf_out_text(out, "id");
		hf_out_bulk(out, event->id);
	}
}

static bool read_history_options(const struct hf_resp_command *request, uint64_t *ret_from,
				 uint64_t *ret_count, struct hf_err *err) {
	bool has_from = false, has_count = false;
	for (uint32_t i = 3; i < request->argc; i += 2) {
		bool from = hf_span_is_nocase(request->argv[i], "from");
		char name[SHOWN_MAX];
		if (!from && !hf_span_is_nocase(request->argv[i], "count"))
			return hf_fail(err, HF_BADPARAM,
				       "%s (argument %u) is neither FROM nor COUNT",
				       shown(request->argv[i], name), i);
		bool *has = from ? &has_from : &has_count;
		if (*has)
			return hf_fail(err, HF_BADPARAM, "%s is given twice (argument %u)",
				       from ? "FROM" : "COUNT", i);
		*has = true;
		uint64_t value;
		if (i + 1 == request->argc || !hf_span_u64(request->argv[i + 1], &value) ||
		    value == 0 || (!from && value > HF_HISTORY_MAX))
			return from ? hf_fail(err, HF_BADPARAM,
					      "FROM takes a version: 1, 2, ... (argument %u)",
					      i + 1)
				    : hf_fail(err, HF_BADPARAM, "COUNT takes 1 to %u (argument %u)",
					      HF_HISTORY_MAX, i + 1);
		*(from ? ret_from : ret_count) = value;
	}
	return true;
}

void hf_cmd_history(struct hf_loop *loop, struct hf_conn *conn,
		    const struct hf_resp_command *request) {
	uint64_t from = 1, count = HISTORY_COUNT_DEFAULT;
	struct hf_err err;
	if (!read_history_options(request, &from, &count, &err)) {
		hf_out_err(&conn->out, &err);
		return;
	}
	struct hf_job *job = &loop->job;
	struct hf_history *history = &job->history;
	struct hf_reply reply;
	hf_engine_lock(loop->engine);
	hf_engine_history_begin(loop->engine, request->argv[1], request->argv[2], from, count,
				history, &reply);
	bool ok = settled_ok(conn, &reply);
	hf_engine_unlock(loop->engine);
	if (!ok)
		return;
	HF_ASSERT(job->conn == NULL && !conn->open);
	job->conn = conn;
	job->durable_at = reply.durable_at;
	conn->held = true;
	conn->open = true;
	conn->open_from = hf_out_end(&conn->out);
	hf_out_array(&conn->out, history->to + 1 - history->from);
}

/* Ends the job: its reply is whole. */
static void close_job(struct hf_loop *loop) {
	struct hf_conn *conn = loop->job.conn;
	hf_conn_gate(conn, loop->job.durable_at);
	conn->held = false;
	conn->open = false;
	loop->job.conn = NULL;
}

bool hf_job_step(struct hf_loop *loop) {
	struct hf_history *history = &loop->job.history;
	struct hf_conn *conn = loop->job.conn;
	struct hf_out *out = &conn->out;
	struct hf_err err;
	uint64_t begun = hf_out_end(out), begun_ns = hf_clock_monotonic_ns();
	bool ok = true;
	/* Records that are not in memory take long: so it is time that is bounded as well. */
	while (ok && !hf_history_over(history) && hf_out_end(out) - begun < HF_TURN_SLOW_BYTES &&
	       hf_clock_monotonic_ns() - begun_ns < STEP_NS) {
		hf_engine_lock(loop->engine);
		ok = hf_engine_history_step(loop->engine, history, STEP_READS, reply_history_event,
					    out, &err);
		hf_engine_unlock(loop->engine);
	}
	/* Not a part of what the next command takes. */
	loop->now_ns = hf_clock_monotonic_ns();
	if (ok && !hf_history_over(history))
		return false;
	if (!ok) {
		hf_out_cancel(out, conn->open_from);
		hf_out_err(&conn->out, &err);
	}
	close_job(loop);
	return true;
}

/* ---- HF.COUNT, HF.HASH ------------------------------------------------------------------- */

struct count {
	struct hf_out *out;
	uint64_t states;
	const struct hf_span *wanted; /* NULL: all */
	uint64_t entities;	      /* in the wanted state */
};

static void count_state(void *arg, const char *state, uint64_t entities) {
	struct count *count = arg;
	if (count->wanted != NULL) {
		if (!hf_span_is(*count->wanted, state))
			return;
		count->entities = entities;
	} else {
		hf_out_text(count->out, state);
		hf_out_int(count->out, (int64_t)entities);
	}
	count->states++;
}

void hf_cmd_count(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	struct hf_out *out = &conn->out;
	struct hf_reply reply;
	struct count count = { .out = out };
	if (request->argc > 3) {
		hf_out_errorf(out, "wrong number of arguments for 'hf.count' command");
		return;
	}
	if (request->argc == 3)
		count.wanted = &request->argv[2];
	uint64_t begun = hf_out_begin(out);
	hf_engine_lock(loop->engine);
	hf_engine_count(loop->engine, request->argv[1], count_state, &count, &reply);
	if (reply.status == HF_OK && request->argc == 2)
		hf_out_end_map(out, begun, count.states);
	else
		hf_out_cancel(out, begun);
	if (settled_ok(conn, &reply) && request->argc == 3) {
		char contract[SHOWN_MAX], state[SHOWN_MAX], text[HF_ERR_TEXT_MAX];
		struct hf_text why = hf_text(text, sizeof(text));
		hf_text_add(&why, "%s has no state %s", shown(request->argv[1], contract),
			    shown(request->argv[2], state));
		if (count.states > 0)
			hf_out_int(out, (int64_t)count.entities);
		else
			hf_out_error(out, hf_status_name(HF_NOTFOUND), text);
	}
	hf_engine_unlock(loop->engine);
}

static void reply_hex(struct hf_out *out, const uint8_t hash[16]) {
	char hex[33];
	struct hf_text text = hf_text(hex, sizeof(hex));
	for (uint32_t i = 0; i < 16; i++)
		hf_text_add(&text, "%02x", hash[i]);
	hf_out_text(out, hex);
}

void hf_cmd_hash(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	uint8_t hash[16];
	struct hf_reply reply;
	hf_engine_lock(loop->engine);
	hf_engine_hash(loop->engine, hash, &reply);
	if (settled_ok(conn, &reply)) {
		hf_out_array(&conn->out, 2);
		hf_out_int(&conn->out, (int64_t)reply.lsn);
		reply_hex(&conn->out, hash);
	}
	hf_engine_unlock(loop->engine);
}

static void reply_given_up(struct hf_out *out) {
	hf_out_error(out, hf_status_name(HF_STOPPED),
		     "the server is stopping: the snapshot is given up");
}

void hf_cmd_snapshot(struct hf_loop *loop, struct hf_conn *conn,
		     const struct hf_resp_command *request) {
	struct hf_err err;
	/* A drain waits for no snapshot, and so would drop all behind it. */
	if (loop->draining) {
		reply_given_up(&conn->out);
		return;
	}
	/* The last one may be over, and its connection not told yet. */
	bool waits = loop->held != NULL;
	if (waits)
		hf_fail(&err, HF_REFUSED, "%s", HF_SNAPSHOT_UNDER_WAY);
	if (waits || !hf_engine_snapshot(loop->engine, &loop->held_ticket, &err)) {
		hf_out_err(&conn->out, &err);
		return;
	}
	loop->held = conn;
	conn->held = true;
}

bool hf_snapshot_reply(struct hf_loop *loop) {
	struct hf_out *out = &loop->held->out;
	struct hf_snapshot_outcome outcome;
	bool done = hf_engine_snapshot_done(loop->engine, loop->held_ticket, &outcome);
	if (!done && !loop->draining)
		return false;
	if (!done) {
		reply_given_up(out);
	} else if (outcome.err.status != HF_OK) {
		hf_out_err(out, &outcome.err);
	} else {
		hf_out_array(out, 2);
		hf_out_int(out, (int64_t)outcome.lsn);
		hf_out_int(out, (int64_t)outcome.bytes);
	}
	return true;
}

/* ---- HF.CONTRACT ------------------------------------------------------------------------- */

static void reply_contract(struct hf_out *out, const struct hf_contract *contract) {
	hf_out_map(out, 4);
	hf_out_text(out, "name");
	hf_out_text(out, contract->name);
	hf_out_text(out, "version");
	hf_out_int(out, (int64_t)contract->version);
	hf_out_text(out, "hash");
	reply_hex(out, contract->hash);
	hf_out_text(out, "states");
	hf_out_array(out, contract->state_count - 1u);
	for (uint32_t i = HF_STATE_NEW + 1; i < contract->state_count; i++)
		hf_out_text(out, contract->states[i].name);
}

void hf_cmd_contract_list(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_resp_command *request) {
	uint64_t begun = hf_out_begin(&conn->out);
	uint32_t count = 0;
	const struct hf_contract *contract;
	struct hf_engine_info info;
	hf_engine_lock(loop->engine);
	gate_on_all(loop, conn, &info);
	for (; (contract = hf_engine_contract_at(loop->engine, count)) != NULL; count++)
		reply_contract(&conn->out, contract);
	hf_out_end_array(&conn->out, begun, count);
	hf_engine_unlock(loop->engine);
}

void hf_cmd_contract_show(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_resp_command *request) {
	struct hf_span name = request->argv[2];
	struct hf_engine_info info;
	hf_engine_lock(loop->engine);
	gate_on_all(loop, conn, &info);
	const struct hf_contract *contract = hf_engine_contract(loop->engine, name);
	if (contract != NULL)
		hf_out_bulk(&conn->out, hf_span(contract->text, contract->text_len));
	hf_engine_unlock(loop->engine);
	if (contract != NULL)
		return;
	char buf[SHOWN_MAX];
	struct hf_err err;
	(void)hf_fail(&err, HF_NOTFOUND, "no contract %s: HF.CONTRACT LIST names those in force",
		      shown(name, buf));
	hf_out_err(&conn->out, &err);
}

/*
 * Stands for the file in messages about a text that came over the wire. It is no name, so such a
 * text needs a title.
 */
#define WIRE_FILE_NAME "<text>"

void hf_cmd_contract_check(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request) {
	struct hf_err err;
	struct hf_contract *contract = NULL;
	struct hf_diagnostics *diagnostics = hf_memory_new(sizeof(*diagnostics));
	if (diagnostics == NULL) {
		hf_out_error(&conn->out, hf_status_name(HF_NOMEM), "no memory to check a contract");
		return;
	}
	if (hf_contract_compile(request->argv[2], WIRE_FILE_NAME, diagnostics, &contract, &err))
		hf_out_simple(&conn->out, "OK");
	else
		hf_out_err(&conn->out, &err);
	hf_contract_free(contract);
	hf_memory_free(diagnostics);
}

/* The contract in force whose text this is. */
static const struct hf_contract *contract_of(struct hf_engine *engine, struct hf_span text) {
	for (uint32_t i = 0;; i++) {
		const struct hf_contract *contract = hf_engine_contract_at(engine, i);
		HF_ASSERT(contract != NULL);
		if (hf_span_equal(text, hf_span(contract->text, contract->text_len)))
			return contract;
	}
}

void hf_cmd_contract_load(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_resp_command *request) {
	struct hf_reply reply;
	struct hf_out *out = &conn->out;
	hf_engine_lock(loop->engine);
	hf_engine_contract_load(loop->engine, request->argv[2], WIRE_FILE_NAME, &reply);
	loop->queued = true;
	if (settled_ok(conn, &reply)) {
		const struct hf_contract *contract = contract_of(loop->engine, request->argv[2]);
		hf_out_array(out, 4);
		hf_out_text(out, contract->name);
		hf_out_int(out, (int64_t)contract->version);
		reply_hex(out, contract->hash);
		hf_out_int(out, (int64_t)reply.lsn);
	}
	hf_engine_unlock(loop->engine);
}

void hf_cmd_contract_help(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_resp_command *request) {
	uint64_t begun = hf_out_begin(&conn->out);
	uint32_t count = 0;
	for (uint32_t i = 0; i < hf_command_count; i++) {
		const struct hf_command *command = &hf_commands[i];
		if (strncmp(command->name, "hf.contract|", 12) != 0)
			continue;
		char line[128];
		struct hf_text text = hf_text(line, sizeof(line));
		hf_text_add(&text, "%s %s - %s", command->name + 12, command->syntax,
			    command->summary);
		hf_out_text(&conn->out, line);
		count++;
	}
	hf_out_end_array(&conn->out, begun, count);
}
