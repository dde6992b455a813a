/*
 * The commands on plain keys: Redis's strings, on the same log as the entities. Replies and errors
 * are Redis's, word for word where clients look at them; as everywhere, none is sent before all
 * that it depends on is durable.
 */
#include "server/command.h"
#include "server/glob.h"

#define SCAN_COUNT_DEFAULT 10
#define SCAN_COUNT_MAX 250  /* COUNT is a hint; so many take a fraction of a millisecond */
#define SCAN_LINES_MAX 10u  /* looked at, for each key that is wanted */
#define SCAN_WORK_MAX 16384 /* of patterns (hf_glob_work): some 25 us, twice */

static void reply_failure(struct hf_conn *conn, const struct hf_reply *reply) {
	/* What was wrong with the request is told as Redis does. */
	const char *word = reply->status == HF_BADPARAM ? "ERR" : hf_status_name(reply->status);
	hf_out_error(&conn->out, word, reply->text);
}

/* Looks a key up; the reply depends on what was found, or not. Under the lock. */
static bool look(struct hf_loop *loop, struct hf_conn *conn, struct hf_span key,
		 struct hf_span *ret_value) {
	struct hf_reply reply;
	hf_engine_plain_get(loop->engine, key, ret_value, &reply);
	hf_conn_gate(conn, reply.durable_at);
	return reply.status == HF_OK;
}

static void reply_value(struct hf_conn *conn, bool found, struct hf_span value) {
	if (found)
		hf_out_bulk(&conn->out, value);
	else
		hf_out_null(&conn->out);
}

/* ---- reads ------------------------------------------------------------------------------- */

/* Replies the value that the key has now, or null; takes the lock only if need be. Its length. */
static size_t reply_key(struct hf_loop *loop, struct hf_conn *conn, struct hf_span key) {
	struct hf_span value;
	struct hf_reply reply;
	if (hf_engine_reader_plain_get(&loop->reader, key, loop->read, &value, &reply)) {
		hf_conn_gate(conn, reply.durable_at);
		reply_value(conn, reply.status == HF_OK, value);
		return value.len;
	}
	hf_engine_lock(loop->engine);
	bool found = look(loop, conn, key, &value);
	reply_value(conn, found, value);
	hf_engine_unlock(loop->engine);
	return value.len;
}

void hf_cmd_plain_get(struct hf_loop *loop, struct hf_conn *conn,
		      const struct hf_resp_command *request) {
	(void)reply_key(loop, conn, request->argv[1]);
}

/* All values, of one moment: under the lock. False, and no reply, if they are too long for that. */
static bool reply_whole(struct hf_loop *loop, struct hf_conn *conn,
			const struct hf_resp_command *request) {
	struct hf_out *out = &conn->out;
	uint64_t begun = hf_out_end(out);
	struct hf_span value;
	size_t bytes = 0;
	hf_out_array(out, request->argc - 1);
	hf_engine_lock(loop->engine);
	for (uint32_t i = 1; i < request->argc && bytes <= HF_MGET_WHOLE_MAX; i++) {
		bool found = look(loop, conn, request->argv[i], &value);
		bytes += value.len;
		if (bytes <= HF_MGET_WHOLE_MAX)
			reply_value(conn, found, value);
	}
	hf_engine_unlock(loop->engine);
	if (bytes <= HF_MGET_WHOLE_MAX)
		return true;
	hf_out_cancel(out, begun);
	if (hf_out_pending(out) == 0)
		hf_out_clear(out); /* who only waits holds no memory */
	return false;
}

/*
 * The next values, of a turn's length: so much the connection may hold. Each is one version of its
 * own, and its part of the reply waits for what that depends on. True: that was the last part.
 */
static bool reply_part(struct hf_loop *loop, struct hf_conn *conn,
		       const struct hf_resp_command *request) {
	size_t bytes = 0;
	if (conn->answered == 0)
		hf_out_array(&conn->out, request->argc - 1);
	while (conn->answered + 1 < request->argc && bytes < HF_TURN_SLOW_BYTES)
		bytes += reply_key(loop, conn, request->argv[++conn->answered]);
	return conn->answered + 1 == request->argc;
}

void hf_cmd_mget(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	if (conn->answered == 0 && reply_whole(loop, conn, request))
		return;
	loop->unfinished = !hf_loop_has_turn(loop) || !reply_part(loop, conn, request);
	if (loop->unfinished)
		loop->now_ns = hf_clock_monotonic_ns(); /* not a part of what others take */
	else
		conn->answered = 0;
}

void hf_cmd_exists(struct hf_loop *loop, struct hf_conn *conn,
		   const struct hf_resp_command *request) {
	struct hf_span value;
	int64_t count = 0;
	hf_engine_lock(loop->engine);
	for (uint32_t i = 1; i < request->argc; i++)
		count += look(loop, conn, request->argv[i], &value);
	hf_engine_unlock(loop->engine);
	hf_out_int(&conn->out, count);
}

/* `contract:key` names an entity, unless a plain key has this name. Under the lock. */
static bool is_entity(struct hf_loop *loop, struct hf_conn *conn, struct hf_span name) {
	const uint8_t *colon = name.len > 0 ? memchr(name.data, ':', name.len) : NULL;
	struct hf_entity_view view;
	struct hf_reply reply;
	if (colon == NULL)
		return false;
	size_t contract_len = (size_t)(colon - name.data);
	hf_engine_get(loop->engine, hf_span(name.data, contract_len),
		      hf_span(colon + 1, name.len - contract_len - 1), &view, &reply);
	hf_conn_gate(conn, reply.durable_at);
	return reply.status == HF_OK;
}

void hf_cmd_type(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	struct hf_span value;
	hf_engine_lock(loop->engine);
	const char *type = look(loop, conn, request->argv[1], &value) ? "string"
			   : is_entity(loop, conn, request->argv[1])  ? "entity"
								      : "none";
	hf_engine_unlock(loop->engine);
	hf_out_simple(&conn->out, type);
}

void hf_cmd_dbsize(struct hf_loop *loop, struct hf_conn *conn,
		   const struct hf_resp_command *request) {
	struct hf_engine_info info;
	hf_engine_lock(loop->engine);
	hf_engine_info(loop->engine, &info);
	hf_conn_gate(conn, info.last_lsn);
	hf_engine_unlock(loop->engine);
	hf_out_int(&conn->out, (int64_t)(info.entities + info.plain_keys));
}

/* ---- writes ------------------------------------------------------------------------------ */

static void show_old(void *arg, const struct hf_span *value) {
	struct hf_out *out = arg;
	if (value == NULL)
		hf_out_null(out);
	else
		hf_out_bulk(out, *value);
}

/* Sets, and replies the error if that cannot be; or, where it is wanted, the old value. */
static bool set(struct hf_loop *loop, struct hf_conn *conn, const struct hf_plain_set *set,
		bool wants_old, bool *ret_set) {
	struct hf_out *out = &conn->out;
	struct hf_reply reply;
	uint64_t begun = hf_out_end(out);
	hf_engine_lock(loop->engine);
	hf_engine_plain_set(loop->engine, set, wants_old ? show_old : NULL, out, ret_set, &reply);
	loop->queued = true;
	hf_conn_gate(conn, reply.durable_at);
	if (reply.status != HF_OK) {
		hf_out_cancel(out, begun);
		reply_failure(conn, &reply);
	}
	hf_engine_unlock(loop->engine);
	return reply.status == HF_OK;
}

/* The options behind SET's value. False: the reply is an error. */
static bool read_set_options(struct hf_conn *conn, const struct hf_resp_command *request,
			     struct hf_plain_set *set, bool *ret_get) {
	for (uint32_t i = 3; i < request->argc; i++) {
		struct hf_span option = request->argv[i];
		enum hf_plain_when when = hf_span_is_nocase(option, "nx")     ? HF_PLAIN_ABSENT
					  : hf_span_is_nocase(option, "xx")   ? HF_PLAIN_PRESENT
					  : hf_span_is_nocase(option, "ifeq") ? HF_PLAIN_EQUAL
									      : HF_PLAIN_ALWAYS;
		if (hf_span_is_nocase(option, "get") && !*ret_get) {
			*ret_get = true;
			continue;
		}
		bool lacks_value = when == HF_PLAIN_EQUAL && i + 1 == request->argc;
		if (when == HF_PLAIN_ALWAYS || set->when != HF_PLAIN_ALWAYS || lacks_value) {
			hf_out_errorf(&conn->out,
				      "syntax error at argument %u of SET: it takes NX, XX or IFEQ "
				      "value, and GET; keys do not expire",
				      i);
			return false;
		}
		set->when = when;
		if (when == HF_PLAIN_EQUAL)
			set->equal = request->argv[++i];
	}
	return true;
}

void hf_cmd_plain_set(struct hf_loop *loop, struct hf_conn *conn,
		      const struct hf_resp_command *request) {
	struct hf_plain_set wanted = { .key = request->argv[1], .value = request->argv[2] };
	bool wants_old = false, is_set;
	if (!read_set_options(conn, request, &wanted, &wants_old) ||
	    !set(loop, conn, &wanted, wants_old, &is_set) || wants_old)
		return;
	if (is_set)
		hf_out_simple(&conn->out, "OK");
	else
		hf_out_null(&conn->out);
}

void hf_cmd_setnx(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	struct hf_plain_set wanted = { .key = request->argv[1],
				       .value = request->argv[2],
				       .when = HF_PLAIN_ABSENT };
	bool is_set;
	if (set(loop, conn, &wanted, false, &is_set))
		hf_out_int(&conn->out, is_set);
}

void hf_cmd_del(struct hf_loop *loop, struct hf_conn *conn, const struct hf_resp_command *request) {
	struct hf_reply reply;
	uint64_t deleted;
	hf_engine_lock(loop->engine);
	hf_engine_plain_delete(loop->engine, request->argv + 1, request->argc - 1, &deleted,
			       &reply);
	loop->queued = true;
	hf_conn_gate(conn, reply.durable_at);
	if (reply.status == HF_OK)
		hf_out_int(&conn->out, (int64_t)deleted);
	else
		reply_failure(conn, &reply);
	hf_engine_unlock(loop->engine);
}

static void add(struct hf_loop *loop, struct hf_conn *conn, struct hf_span key, int64_t by) {
	struct hf_reply reply;
	int64_t value = 0;
	hf_engine_lock(loop->engine);
	hf_engine_plain_add(loop->engine, key, by, &value, &reply);
	loop->queued = true;
	hf_conn_gate(conn, reply.durable_at);
	if (reply.status == HF_OK)
		hf_out_int(&conn->out, value);
	else
		reply_failure(conn, &reply);
	hf_engine_unlock(loop->engine);
}

void hf_cmd_incr(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	add(loop, conn, request->argv[1], 1);
}

void hf_cmd_incrby(struct hf_loop *loop, struct hf_conn *conn,
		   const struct hf_resp_command *request) {
	int64_t by;
	if (hf_span_i64(request->argv[2], &by))
		add(loop, conn, request->argv[1], by);
	else
		hf_out_errorf(&conn->out, "value is not an integer or out of range");
}

/* ---- SCAN -------------------------------------------------------------------------------- */

struct scan {
	struct hf_out *out;	    /* NULL: the keys are only counted */
	const struct hf_glob *glob; /* NULL: all */
	uint64_t count;		    /* that is wanted */
	bool strings;		    /* TYPE string, or none given: there are no others */
	uint64_t seen, shown;
	uint64_t work; /* done by its pattern */
};

static void show_key(void *arg, struct hf_span key) {
	struct scan *scan = arg;
	scan->seen++;
	if (scan->strings && scan->glob != NULL)
		scan->work += hf_glob_work(scan->glob, key);
	if (!scan->strings || (scan->glob != NULL && !hf_glob_matches(scan->glob, key)))
		return;
	if (scan->out != NULL)
		hf_out_bulk(scan->out, key);
	scan->shown++;
}

/* The pattern, if there is one, is compiled into `glob`. */
static bool read_scan_options(struct hf_conn *conn, const struct hf_resp_command *request,
			      struct scan *scan, struct hf_glob *glob) {
	struct hf_err err;
	int64_t count = SCAN_COUNT_DEFAULT;
	for (uint32_t i = 2; i < request->argc; i += 2) {
		struct hf_span option = request->argv[i];
		struct hf_span value =
			i + 1 < request->argc ? request->argv[i + 1] : hf_span(NULL, 0);
		if (value.data == NULL) {
			hf_out_errorf(&conn->out, "syntax error");
			return false;
		}
		if (hf_span_is_nocase(option, "match")) {
			if (!hf_glob_compile(glob, &value, 1, false, &err)) {
				hf_out_err(&conn->out, &err);
				return false;
			}
			scan->glob = glob;
		} else if (hf_span_is_nocase(option, "type")) {
			scan->strings = hf_span_is_nocase(value, "string");
		} else if (hf_span_is_nocase(option, "count") && !hf_span_i64(value, &count)) {
			hf_out_errorf(&conn->out, "value is not an integer or out of range");
			return false;
		} else if (!hf_span_is_nocase(option, "count") || count < 1) {
			hf_out_errorf(&conn->out, "syntax error");
			return false;
		}
	}
	scan->count = count > SCAN_COUNT_MAX ? SCAN_COUNT_MAX : (uint64_t)count;
	return true;
}

/* As many lines as it takes for the keys that are wanted. The next cursor; 0 at the end. */
static uint64_t walk(struct hf_loop *loop, struct scan *scan, uint64_t cursor,
		     struct hf_reply *ret) {
	scan->seen = scan->shown = scan->work = 0;
	uint64_t lines = scan->count * SCAN_LINES_MAX;
	do
		cursor = hf_engine_plain_scan(loop->engine, cursor, show_key, scan, ret);
	while (cursor != 0 && scan->seen < scan->count && scan->work < SCAN_WORK_MAX &&
	       --lines > 0);
	return cursor;
}

void hf_cmd_scan(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	struct hf_out *out = &conn->out;
	struct scan scan = { .strings = true };
	struct hf_glob glob;
	struct hf_reply reply;
	uint64_t cursor;
	if (!hf_span_u64(request->argv[1], &cursor) || cursor >= HF_PLAIN_CURSORS) {
		hf_out_errorf(out, "invalid cursor");
		return;
	}
	if (!read_scan_options(conn, request, &scan, &glob))
		return;
	char text[24];
	struct hf_text next = hf_text(text, sizeof(text));
	hf_engine_lock(loop->engine);
	/* Twice: the next cursor and the number of keys stand before the keys. */
	hf_text_add(&next, "%llu", (unsigned long long)walk(loop, &scan, cursor, &reply));
	hf_out_array(out, 2);
	hf_out_text(out, text);
	hf_out_array(out, scan.shown);
	scan.out = out;
	(void)walk(loop, &scan, cursor, &reply);
	hf_engine_unlock(loop->engine);
	hf_conn_gate(conn, reply.durable_at);
}
