/*
 * The connection's own commands: what clients send before and around their work. Replies and
 * errors are Redis's, word for word where clients look at them.
 */
#include <stdio.h>

#include "os/memory.h"
#include "server/command.h"
#include "server/version.h"

static void reply_ok(struct hf_conn *conn) {
	hf_out_simple(&conn->out, "OK");
}

/* As in Redis: printable ASCII without blanks. `ret` has room for HF_CLIENT_NAME_MAX + 1. */
static bool copy_name(struct hf_conn *conn, const char *what, struct hf_span name, char *ret) {
	if (name.len > HF_CLIENT_NAME_MAX) {
		hf_out_errorf(&conn->out, "%s is longer than %u bytes", what, HF_CLIENT_NAME_MAX);
		return false;
	}
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] > ' ' && name.data[i] <= '~')
			continue;
		hf_out_errorf(&conn->out,
			      "%s cannot contain spaces, newlines or special characters.", what);
		return false;
	}
	memcpy(ret, name.data, name.len);
	ret[name.len] = '\0';
	return true;
}

/* CLIENT LIST of another loop reads both: they change under the server's lock. */
static void set_protocol(struct hf_loop *loop, struct hf_conn *conn, bool resp3) {
	pthread_mutex_lock(&loop->server->mutex);
	conn->out.resp3 = resp3;
	pthread_mutex_unlock(&loop->server->mutex);
}

static void set_name(struct hf_loop *loop, char *field, const char *name) {
	pthread_mutex_lock(&loop->server->mutex);
	snprintf(field, HF_CLIENT_NAME_MAX + 1, "%s", name);
	pthread_mutex_unlock(&loop->server->mutex);
}

/* ---- HELLO, AUTH ------------------------------------------------------------------------- */

/* No password is set, so the default user has any. */
static bool check_user(struct hf_conn *conn, struct hf_span user) {
	if (hf_span_is(user, "default"))
		return true;
	hf_out_error(&conn->out, "WRONGPASS",
		     "invalid username-password pair or user is disabled.");
	return false;
}

void hf_cmd_auth(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	if (request->argc > 3)
		hf_out_errorf(&conn->out, "syntax error");
	else if (request->argc == 2)
		hf_out_errorf(&conn->out,
			      "AUTH <password> called without any password configured for the "
			      "default user. Are you sure your configuration is correct?");
	else if (check_user(conn, request->argv[1]))
		reply_ok(conn);
}

/* The options of HELLO: they change nothing unless all of them are right. */
static bool read_hello_options(struct hf_conn *conn, const struct hf_resp_command *request,
			       char *name) {
	for (uint32_t i = 2; i < request->argc; i++) {
		struct hf_span option = request->argv[i];
		uint32_t rest = request->argc - i - 1;
		if (hf_span_is_nocase(option, "auth") && rest >= 2) {
			if (!check_user(conn, request->argv[i + 1]))
				return false;
			i += 2;
		} else if (hf_span_is_nocase(option, "setname") && rest >= 1) {
			if (!copy_name(conn, "Client names", request->argv[i + 1], name))
				return false;
			i++;
		} else {
			char buf[4 * HF_NAME_MAX + 4];
			struct hf_text shown = hf_text(buf, sizeof(buf));
			hf_text_add_quoted(&shown, option, HF_NAME_MAX);
			hf_out_errorf(&conn->out, "Syntax error in HELLO option '%s'", buf);
			return false;
		}
	}
	return true;
}

static void reply_hello(struct hf_conn *conn) {
	struct hf_out *out = &conn->out;
	hf_out_map(out, 7);
	hf_out_text(out, "server");
	hf_out_text(out, "holdfast");
	hf_out_text(out, "version");
	hf_out_text(out, HF_REDIS_VERSION);
	hf_out_text(out, "proto");
	hf_out_int(out, out->resp3 ? 3 : 2);
	hf_out_text(out, "id");
	hf_out_int(out, (int64_t)conn->id);
	hf_out_text(out, "mode");
	hf_out_text(out, "standalone");
	hf_out_text(out, "role");
	hf_out_text(out, "master");
	hf_out_text(out, "modules");
	hf_out_array(out, 0);
}

void hf_cmd_hello(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	int64_t version = conn->out.resp3 ? 3 : 2;
	if (request->argc > 1 && !hf_span_i64(request->argv[1], &version)) {
		hf_out_errorf(&conn->out, "Protocol version is not an integer or out of range");
		return;
	}
	if (version != 2 && version != 3) {
		hf_out_error(&conn->out, "NOPROTO", "unsupported protocol version");
		return;
	}
	char name[HF_CLIENT_NAME_MAX + 1];
	snprintf(name, sizeof(name), "%s", conn->name);
	if (!read_hello_options(conn, request, name))
		return;
	set_name(loop, conn->name, name);
	set_protocol(loop, conn, version == 3);
	reply_hello(conn);
}

/* ---- the small ones ---------------------------------------------------------------------- */

void hf_cmd_ping(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	if (request->argc == 1)
		hf_out_simple(&conn->out, "PONG");
	else if (request->argc == 2)
		hf_out_bulk(&conn->out, request->argv[1]);
	else
		hf_out_errorf(&conn->out, "wrong number of arguments for 'ping' command");
}

void hf_cmd_echo(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	hf_out_bulk(&conn->out, request->argv[1]);
}

void hf_cmd_quit(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	reply_ok(conn);
	hf_conn_finish(conn);
}

void hf_cmd_reset(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	set_name(loop, conn->name, "");
	conn->in_multi = false;
	set_protocol(loop, conn, false);
	hf_out_simple(&conn->out, "RESET");
}

void hf_cmd_select(struct hf_loop *loop, struct hf_conn *conn,
		   const struct hf_resp_command *request) {
	int64_t index;
	if (!hf_span_i64(request->argv[1], &index))
		hf_out_errorf(&conn->out, "value is not an integer or out of range");
	else if (index != 0)
		hf_out_errorf(&conn->out, "DB index is out of range");
	else
		reply_ok(conn);
}

/*
 * There are no transactions. Clients send MULTI, the commands and EXEC in one go, so an error
 * to MULTI alone would come too late: the commands behind it are refused, each with the reason,
 * and EXEC reports that nothing was done, as Redis would.
 */
void hf_cmd_multi(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	if (conn->in_multi) {
		hf_out_errorf(&conn->out, "MULTI calls can not be nested");
		return;
	}
	conn->in_multi = true;
	reply_ok(conn);
}

void hf_cmd_exec(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	if (!conn->in_multi)
		hf_out_errorf(&conn->out, "EXEC without MULTI");
	else
		hf_out_error(&conn->out, "EXECABORT",
			     "Transaction discarded because of previous errors: MULTI is not "
			     "available, nothing was executed");
	conn->in_multi = false;
}

void hf_cmd_discard(struct hf_loop *loop, struct hf_conn *conn,
		    const struct hf_resp_command *request) {
	if (!conn->in_multi)
		hf_out_errorf(&conn->out, "DISCARD without MULTI");
	else
		reply_ok(conn);
	conn->in_multi = false;
}

/* ---- CLIENT ------------------------------------------------------------------------------ */

void hf_cmd_client_id(struct hf_loop *loop, struct hf_conn *conn,
		      const struct hf_resp_command *request) {
	hf_out_int(&conn->out, (int64_t)conn->id);
}

void hf_cmd_client_getname(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request) {
	if (conn->name[0] == '\0')
		hf_out_null(&conn->out);
	else
		hf_out_text(&conn->out, conn->name);
}

void hf_cmd_client_setname(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request) {
	char name[HF_CLIENT_NAME_MAX + 1];
	if (!copy_name(conn, "Client names", request->argv[2], name))
		return;
	set_name(loop, conn->name, name);
	reply_ok(conn);
}

void hf_cmd_client_setinfo(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request) {
	char value[HF_CLIENT_NAME_MAX + 1];
	bool is_name = hf_span_is_nocase(request->argv[2], "lib-name");
	if (!is_name && !hf_span_is_nocase(request->argv[2], "lib-ver")) {
		hf_out_errorf(&conn->out,
			      "Unrecognized option: CLIENT SETINFO takes LIB-NAME or LIB-VER");
		return;
	}
	if (!copy_name(conn, is_name ? "lib-name" : "lib-ver", request->argv[3], value))
		return;
	set_name(loop, is_name ? conn->lib_name : conn->lib_ver, value);
	reply_ok(conn);
}

void hf_cmd_client_flag(struct hf_loop *loop, struct hf_conn *conn,
			const struct hf_resp_command *request) {
	if (hf_span_is_nocase(request->argv[2], "on") || hf_span_is_nocase(request->argv[2], "off"))
		reply_ok(conn);
	else
		hf_out_errorf(&conn->out, "syntax error");
}

#define CLIENT_LINE_MAX 768u

/*
 * In Redis's format, with all its fields: clients look for them. What only the connection's own
 * loop knows, or nobody counts, is as in a connection that does nothing. Under the server's lock.
 */
static void describe(const struct hf_conn *conn, uint64_t now_ns, struct hf_text *text) {
	char peer[HF_ADDRESS_MAX], own[HF_ADDRESS_MAX];
	uint64_t age_ns = now_ns > conn->born_ns ? now_ns - conn->born_ns : 0;
	hf_conn_peer(conn, peer);
	hf_conn_own(conn, own);
	hf_text_add(text,
		    "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=0 flags=N db=0 sub=0 "
		    "psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 "
		    "obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=NULL user=default redir=-1 resp=%d "
		    "lib-name=%s lib-ver=%s\n",
		    (unsigned long long)conn->id, peer, own, conn->fd, conn->name,
		    (unsigned long long)age_ns / 1000000000, conn->out.resp3 ? 3 : 2,
		    conn->lib_name, conn->lib_ver);
}

void hf_cmd_client_info(struct hf_loop *loop, struct hf_conn *conn,
			const struct hf_resp_command *request) {
	char line[CLIENT_LINE_MAX];
	struct hf_text text = hf_text(line, sizeof(line));
	describe(conn, hf_clock_monotonic_ns(), &text);
	hf_out_verbatim(&conn->out, hf_span(line, text.len));
}

void hf_cmd_client_list(struct hf_loop *loop, struct hf_conn *conn,
			const struct hf_resp_command *request) {
	struct hf_server *server = loop->server;
	uint64_t now_ns = hf_clock_monotonic_ns();
	pthread_mutex_lock(&server->mutex);
	size_t cap = server->conn_count * CLIENT_LINE_MAX + 1;
	char *lines = hf_memory_new(cap);
	if (lines != NULL) {
		struct hf_text text = hf_text(lines, cap);
		for (const struct hf_conn *each = server->conns; each != NULL; each = each->next)
			describe(each, now_ns, &text);
		hf_out_verbatim(&conn->out, hf_span(lines, text.len));
	} else {
		hf_out_errorf(&conn->out, "no memory to list %u clients", server->conn_count);
	}
	pthread_mutex_unlock(&server->mutex);
	hf_memory_free(lines);
}
