/*
 * HF.SEND: the hot path. Requests are gathered, then judged a batch at a time, so that the
 * engine can fetch the memory of all of them at once.
 */
#include "base/assert.h"
#include "server/command.h"

/* Position of the first param's name in the command. */
#define FIRST_PARAM 4u

static bool bad(struct hf_err *err, const char *what, uint32_t position) {
	return hf_fail(err, HF_BADPARAM, "%s (argument %u)", what, position);
}

/* IFVERSION n and ID id: never a param, whatever the case. Sets *ret_taken. */
static inline bool take_option(const struct hf_span *argv, uint32_t position, struct hf_send *send,
			       bool *ret_taken, struct hf_err *err) {
	struct hf_span name = argv[0], value = argv[1];
	*ret_taken = true;
	if (name.len == 2 && hf_span_is_nocase(name, "id")) {
		if (send->id.data != NULL)
			return bad(err, "ID is given twice", position);
		if (value.len == 0)
			return bad(err, "ID is empty: it takes 1 to 255 bytes", position + 1);
		send->id = value;
		return true;
	}
	if (name.len == 9 && hf_span_is_nocase(name, "ifversion")) {
		if (send->has_ifversion)
			return bad(err, "IFVERSION is given twice", position);
		send->has_ifversion = true;
		if (!hf_span_u64(value, &send->ifversion))
			return bad(err, "IFVERSION takes a version number: 0, 1, 2, ...",
				   position + 1);
		return true;
	}
	*ret_taken = false;
	return true;
}

/* Reads the command into `send`, its params into `args`. */
static bool read_send(const struct hf_resp_command *request, struct hf_arg *args,
		      struct hf_send *send, struct hf_err *err) {
	const struct hf_span *argv = request->argv;
	*send = (struct hf_send){
		.contract = argv[1], .key = argv[2], .event = argv[3], .args = args
	};
	for (uint32_t i = FIRST_PARAM; i + 1 < request->argc; i += 2) {
		bool taken;
		if (!take_option(argv + i, i, send, &taken, err))
			return false;
		if (!taken)
			args[send->arg_count++] =
				(struct hf_arg){ .name = argv[i], .value = argv[i + 1] };
	}
	if ((request->argc - FIRST_PARAM) % 2 == 0)
		return true;
	char name[HF_NAME_MAX * 4 + 1];
	struct hf_text text = hf_text(name, sizeof(name));
	hf_text_add_quoted(&text, argv[request->argc - 1], HF_NAME_MAX);
	return hf_fail(err, HF_BADPARAM,
		       "%s (argument %u) has no value: params come as name value pairs", name,
		       request->argc - 1);
}

void hf_cmd_send(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	struct hf_batch *batch = &loop->batch;
	if (batch->count == HF_BATCH_MAX || batch->arg_count + request->argc > HF_BATCH_ARGS_MAX)
		hf_loop_execute(loop);
	struct hf_err err;
	struct hf_send *send = &batch->sends[batch->count];
	if (!read_send(request, batch->args + batch->arg_count, send, &err)) {
		if (conn->queued > 0)
			hf_loop_execute(loop);
		hf_out_err(&conn->out, &err);
		hf_loop_measure(loop, loop->server->latencies[HF_COMMAND_SEND], 1);
		return;
	}
	batch->conns[batch->count++] = conn;
	batch->arg_count += send->arg_count;
	conn->queued++;
}

void hf_send_execute(struct hf_loop *loop) {
	struct hf_batch *batch = &loop->batch;
	if (batch->count == 0)
		return;
	hf_engine_lock(loop->engine);
	for (uint32_t i = 0; i < batch->count; i++)
		hf_engine_prepare(loop->engine, &batch->sends[i]);
	for (uint32_t i = 0; i < batch->count; i++)
		hf_engine_touch(loop->engine, &batch->sends[i]);
	for (uint32_t i = 0; i < batch->count; i++) {
		struct hf_conn *conn = batch->conns[i];
		struct hf_reply reply;
		hf_engine_send(loop->engine, &batch->sends[i], &reply);
		hf_conn_gate(conn, reply.durable_at);
		if (reply.status == HF_OK)
			hf_out_outcome(&conn->out, reply.state, reply.version, reply.lsn);
		else
			hf_out_error(&conn->out, hf_status_name(reply.status), reply.text);
		conn->queued--;
	}
	loop->queued = true;
	hf_engine_unlock(loop->engine);
	hf_loop_measure(loop, loop->server->latencies[HF_COMMAND_SEND], batch->count);
	batch->count = 0;
	batch->arg_count = 0;
}
