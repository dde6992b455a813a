#include "server/command.h"

#define SEND_SYNTAX "contract key event [param value ...] [IFVERSION n] [ID id]"

/* The most frequent first: look-up goes down the table. */
const struct hf_command hf_commands[] = {
	[HF_COMMAND_SEND] = { "hf.send", hf_cmd_send, -4, HF_COMMAND_WRITE, 2, "holdfast",
			      SEND_SYNTAX,
			      "Sends an event to an entity; replies once it is durable" },
	{ "hf.get", hf_cmd_get, -3, 0, 2, "holdfast", "contract key [field ...]",
	  "Reads one version of an entity" },
	{ "get", hf_cmd_plain_get, 2, 0, 1, "string", "key", "Reads a plain key's value" },
	{ "set", hf_cmd_plain_set, -3, HF_COMMAND_WRITE, 1, "string",
	  "key value [NX | XX | IFEQ value] [GET]", "Gives a plain key a value" },
	{ "incr", hf_cmd_incr, 2, HF_COMMAND_WRITE, 1, "string", "key",
	  "Adds 1 to the number that is a plain key's value" },
	{ "incrby", hf_cmd_incrby, 3, HF_COMMAND_WRITE, 1, "string", "key increment",
	  "Adds to the number that is a plain key's value" },
	{ "mget", hf_cmd_mget, -2, HF_COMMAND_KEYS, 1, "string", "key [key ...]",
	  "Reads the values of plain keys; up to 64 KiB of them, all at one instant" },
	{ "setnx", hf_cmd_setnx, 3, HF_COMMAND_WRITE, 1, "string", "key value",
	  "Gives a plain key a value if it has none" },
	{ "del", hf_cmd_del, -2, HF_COMMAND_WRITE | HF_COMMAND_KEYS, 1, "generic", "key [key ...]",
	  "Deletes plain keys, all or nothing" },
	{ "exists", hf_cmd_exists, -2, HF_COMMAND_KEYS, 1, "generic", "key [key ...]",
	  "Counts which of these plain keys are there" },
	{ "ping", hf_cmd_ping, -1, HF_COMMAND_IN_MULTI, 0, "connection", "[message]",
	  "Replies PONG" },
	{ "hf.history", hf_cmd_history, -3, HF_COMMAND_SLOW | HF_COMMAND_JOB, 2, "holdfast",
	  "contract key [FROM version] [COUNT n]", "Lists an entity's events, oldest first" },
	{ "hf.count", hf_cmd_count, -2, HF_COMMAND_SLOW, 0, "holdfast", "contract [state]",
	  "Counts a contract's entities per state" },
	{ "hf.contract", NULL, -2, 0, 0, "holdfast", "subcommand", "Contracts" },
	{ "hf.contract|list", hf_cmd_contract_list, 2, HF_COMMAND_SLOW, 0, "holdfast", "",
	  "Lists the contracts in force" },
	{ "hf.contract|show", hf_cmd_contract_show, 3, HF_COMMAND_SLOW, 0, "holdfast", "name",
	  "Replies the text of the contract in force" },
	{ "hf.contract|check", hf_cmd_contract_check, 3, HF_COMMAND_SLOW, 0, "holdfast", "text",
	  "Checks a contract without loading it" },
	{ "hf.contract|load", hf_cmd_contract_load, 3, HF_COMMAND_WRITE | HF_COMMAND_SLOW, 0,
	  "holdfast", "text", "Checks a contract and puts it in force" },
	{ "hf.contract|help", hf_cmd_contract_help, 2, 0, 0, "holdfast", "",
	  "Lists the subcommands of HF.CONTRACT" },
	{ "hf.stats", hf_cmd_stats, -1, HF_COMMAND_SLOW, 0, "holdfast", "[pattern ...]",
	  "Replies all that was counted and measured, as of one instant" },
	{ "hf.hash", hf_cmd_hash, 1, 0, 0, "holdfast", "", "Replies the state hash and its LSN" },
	{ "hf.snapshot", hf_cmd_snapshot, 1, HF_COMMAND_ADMIN, 0, "holdfast", "",
	  "Takes a snapshot; replies its LSN and bytes once it is on disk" },
	{ "echo", hf_cmd_echo, 2, HF_COMMAND_IN_MULTI, 0, "connection", "message",
	  "Replies the message" },
	{ "hello", hf_cmd_hello, -1, HF_COMMAND_IN_MULTI, 0, "connection",
	  "[protover [AUTH username password] [SETNAME name]]", "Chooses RESP2 or RESP3" },
	{ "auth", hf_cmd_auth, -2, HF_COMMAND_IN_MULTI, 0, "connection", "[username] password",
	  "Checks a password; none is set" },
	{ "quit", hf_cmd_quit, -1, HF_COMMAND_IN_MULTI, 0, "connection", "",
	  "Closes the connection after its replies" },
	{ "reset", hf_cmd_reset, 1, HF_COMMAND_IN_MULTI, 0, "connection", "",
	  "Makes the connection as new" },
	{ "select", hf_cmd_select, 2, HF_COMMAND_IN_MULTI, 0, "connection", "index",
	  "Chooses the database; there is one, 0" },
	{ "client", NULL, -2, 0, 0, "connection", "subcommand", "Client connections" },
	{ "client|id", hf_cmd_client_id, 2, HF_COMMAND_IN_MULTI, 0, "connection", "",
	  "Replies the connection's number" },
	{ "client|getname", hf_cmd_client_getname, 2, HF_COMMAND_IN_MULTI, 0, "connection", "",
	  "Replies the connection's name" },
	{ "client|setname", hf_cmd_client_setname, 3, HF_COMMAND_IN_MULTI, 0, "connection", "name",
	  "Names the connection" },
	{ "client|setinfo", hf_cmd_client_setinfo, 4, HF_COMMAND_IN_MULTI, 0, "connection",
	  "LIB-NAME name | LIB-VER version", "Names the client's library" },
	{ "client|info", hf_cmd_client_info, 2, HF_COMMAND_IN_MULTI, 0, "connection", "",
	  "Describes the connection" },
	{ "client|list", hf_cmd_client_list, 2, HF_COMMAND_IN_MULTI | HF_COMMAND_SLOW, 0,
	  "connection", "", "Describes all connections" },
	{ "client|no-evict", hf_cmd_client_flag, 3, HF_COMMAND_IN_MULTI, 0, "connection",
	  "ON | OFF", "Accepted, without effect" },
	{ "client|no-touch", hf_cmd_client_flag, 3, HF_COMMAND_IN_MULTI, 0, "connection",
	  "ON | OFF", "Accepted: reads never change an entity" },
	{ "multi", hf_cmd_multi, 1, HF_COMMAND_IN_MULTI, 0, "transactions", "",
	  "Not available: what follows is refused until EXEC" },
	{ "exec", hf_cmd_exec, 1, HF_COMMAND_IN_MULTI, 0, "transactions", "", "Ends MULTI" },
	{ "discard", hf_cmd_discard, 1, HF_COMMAND_IN_MULTI, 0, "transactions", "", "Ends MULTI" },
	{ "command", hf_cmd_command, -1, HF_COMMAND_SLOW, 0, "server", "",
	  "Describes all commands" },
	{ "command|count", hf_cmd_command_count, 2, 0, 0, "server", "", "Counts the commands" },
	{ "command|docs", hf_cmd_command_docs, -2, HF_COMMAND_SLOW, 0, "server", "[name ...]",
	  "Documents commands" },
	{ "command|info", hf_cmd_command_info, -2, HF_COMMAND_SLOW, 0, "server", "[name ...]",
	  "Describes commands" },
	{ "command|list", hf_cmd_command_list, 2, HF_COMMAND_SLOW, 0, "server", "",
	  "Lists the commands' names" },
	{ "info", hf_cmd_info, -1, HF_COMMAND_SLOW, 0, "server", "[section ...]",
	  "Figures about the server" },
	{ "config", NULL, -2, HF_COMMAND_ADMIN, 0, "server", "subcommand", "Settings" },
	{ "config|get", hf_cmd_config_get, -3, HF_COMMAND_ADMIN, 0, "server",
	  "pattern [pattern ...]", "Replies the settings whose names match" },
	{ "dbsize", hf_cmd_dbsize, 1, 0, 0, "server", "", "Counts plain keys and entities" },
	{ "scan", hf_cmd_scan, -2, HF_COMMAND_SLOW, 0, "generic",
	  "cursor [MATCH pattern] [COUNT count] [TYPE type]",
	  "Lists the plain keys, some at a time" },
	{ "type", hf_cmd_type, 2, 0, 1, "generic", "key",
	  "Replies string, entity (of contract:key) or none" },
	{ "wait", hf_cmd_zero, 3, 0, 0, "generic", "numreplicas timeout",
	  "Replies 0: there are no replicas" },
	{ "module", NULL, -2, HF_COMMAND_ADMIN, 0, "server", "subcommand", "Modules" },
	{ "module|list", hf_cmd_empty, 2, HF_COMMAND_ADMIN, 0, "server", "",
	  "Lists the modules: none" },
	{ "cluster", hf_cmd_no_cluster, -2, 0, 0, "cluster", "subcommand", "Not available" },
	{ "slowlog", NULL, -2, HF_COMMAND_ADMIN, 0, "server", "subcommand", "The slow log" },
	{ "slowlog|get", hf_cmd_empty, -2, HF_COMMAND_ADMIN, 0, "server", "[count]",
	  "Lists slow commands: none are kept" },
	{ "slowlog|len", hf_cmd_zero, 2, HF_COMMAND_ADMIN, 0, "server", "", "Counts them: 0" },
	{ "slowlog|reset", hf_cmd_ok, 2, HF_COMMAND_ADMIN, 0, "server", "", "Forgets them" },
	{ "acl", NULL, -2, HF_COMMAND_ADMIN, 0, "server", "subcommand", "Users" },
	{ "acl|whoami", hf_cmd_acl_whoami, 2, 0, 0, "server", "", "Replies the user: default" },
	{ "acl|list", hf_cmd_acl_list, 2, HF_COMMAND_ADMIN, 0, "server", "", "Lists the users" },
	{ "shutdown", hf_cmd_shutdown, -1, HF_COMMAND_ADMIN, 0, "server", "[NOSAVE | SAVE]",
	  "Drains and ends the server" },
};

const uint32_t hf_command_count = sizeof(hf_commands) / sizeof(hf_commands[0]);

/*
 * HF.SEND is never looked up: this is what every one of them costs. Seven bytes at once, the case
 * of the letters taken away.
 */
static inline bool is_send(struct hf_span name) {
	uint64_t word = 0, letters = 0, wanted = 0;
	if (name.len != 7)
		return false;
	memcpy(&word, name.data, 7);
	memcpy(&letters, "\x20\x20\0\x20\x20\x20\x20", 7);
	memcpy(&wanted, "hf.send", 7);
	return (word | letters) == wanted;
}

const struct hf_command *hf_command_find(struct hf_span name) {
	for (uint32_t i = 0; i < hf_command_count; i++)
		if (hf_span_is_nocase(name, hf_commands[i].name))
			return &hf_commands[i];
	return NULL;
}

/* The rows of its subcommands follow a command's own. */
static bool is_subcommand_of(const struct hf_command *parent, const struct hf_command *command) {
	size_t len = strlen(parent->name);
	return command < hf_commands + hf_command_count &&
	       strncmp(command->name, parent->name, len) == 0 && command->name[len] == '|';
}

static bool has_subcommands(const struct hf_command *command) {
	return is_subcommand_of(command, command + 1);
}

static const struct hf_command *find_subcommand(const struct hf_command *parent,
						struct hf_span name) {
	size_t begin = strlen(parent->name) + 1;
	for (const struct hf_command *sub = parent + 1; is_subcommand_of(parent, sub); sub++)
		if (hf_span_is_nocase(name, sub->name + begin))
			return sub;
	return NULL;
}

/* In Redis's words, which clients look for. */
static void reply_unknown(struct hf_conn *conn, const struct hf_resp_command *request) {
	char shown[HF_ERR_TEXT_MAX];
	struct hf_text text = hf_text(shown, sizeof(shown));
	hf_text_add(&text, "unknown command '");
	hf_text_add_quoted(&text, request->argv[0], 128);
	hf_text_add(&text, "', with args beginning with: ");
	size_t begun = text.len;
	for (uint32_t i = 1; i < request->argc && text.len - begun < 128; i++) {
		hf_text_add(&text, "'");
		hf_text_add_quoted(&text, request->argv[i], 128 - (text.len - begun));
		hf_text_add(&text, "' ");
	}
	hf_out_error(&conn->out, "ERR", shown);
	/* A browser was made to talk to us: what follows is a page's choice, not its user's. */
	if (hf_span_is_nocase(request->argv[0], "post") ||
	    hf_span_is_nocase(request->argv[0], "host:"))
		hf_conn_finish(conn);
}

void hf_reply_unknown_subcommand(struct hf_conn *conn, const char *parent, struct hf_span name) {
	char shown[160];
	struct hf_text text = hf_text(shown, sizeof(shown));
	hf_text_add_quoted(&text, name, 128);
	hf_out_errorf(&conn->out, "unknown subcommand '%s' of '%s'; COMMAND DOCS lists them", shown,
		      parent);
}

/* The row that says how to run the request; NULL if there is none. */
static const struct hf_command *find(const struct hf_resp_command *request) {
	const struct hf_command *command = hf_command_find(request->argv[0]);
	if (command == NULL || strchr(command->name, '|') != NULL)
		return NULL;
	if (request->argc < 2 || !has_subcommands(command))
		return command;
	const struct hf_command *sub = find_subcommand(command, request->argv[1]);
	return sub != NULL ? sub : command;
}

/* False: there is no such command, and that was the reply. */
static bool can_run(struct hf_conn *conn, const struct hf_command *command,
		    const struct hf_resp_command *request) {
	if (command == NULL)
		reply_unknown(conn, request);
	else if (command->run == NULL && request->argc > 1)
		hf_reply_unknown_subcommand(conn, command->name, request->argv[1]);
	else
		return true;
	return false;
}

static void run(struct hf_loop *loop, struct hf_conn *conn, const struct hf_command *command,
		const struct hf_resp_command *request) {
	uint64_t begun = hf_out_end(&conn->out);
	command->run(loop, conn, request);
	if (!loop->turn)
		return;
	loop->slow_bytes += hf_out_end(&conn->out) - begun;
	for (uint32_t i = 0; i < request->argc; i++)
		loop->slow_bytes += request->argv[i].len;
}

static bool arity_fits(const struct hf_command *command, uint32_t argc) {
	return command->arity < 0 ? argc >= (uint32_t)-command->arity
				  : argc == (uint32_t)command->arity;
}

static void run_or_refuse(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_command *command, const struct hf_resp_command *request) {
	if (!can_run(conn, command, request))
		return;
	if (!arity_fits(command, request->argc))
		hf_out_errorf(&conn->out, "wrong number of arguments for '%s' command",
			      command->name);
	else if (conn->in_multi && !(command->flags & HF_COMMAND_IN_MULTI))
		hf_out_errorf(&conn->out,
			      "not executed: MULTI is not available: every HF.SEND is atomic "
			      "by itself, use ID for retries");
	else
		run(loop, conn, command, request);
}

static bool has_to_wait(const struct hf_loop *loop, const struct hf_command *command) {
	return ((command->flags & HF_COMMAND_SLOW) && !hf_loop_has_turn(loop)) ||
	       ((command->flags & HF_COMMAND_JOB) && loop->job.conn != NULL);
}

bool hf_command_run(struct hf_loop *loop, struct hf_conn *conn,
		    const struct hf_resp_command *request) {
	if (is_send(request->argv[0]) && request->argc >= 4 && !conn->in_multi) {
		hf_cmd_send(loop, conn, request);
		return true;
	}
	const struct hf_command *command = find(request);
	if (command != NULL && has_to_wait(loop, command))
		return false;
	/* Replies are in the order of the requests. */
	if (conn->queued > 0)
		hf_loop_execute(loop);
	uint32_t row = command == NULL ? hf_command_count : (uint32_t)(command - hf_commands);
	run_or_refuse(loop, conn, command, request);
	if (loop->unfinished) {
		loop->unfinished = false;
		return false;
	}
	hf_loop_measure(loop, loop->server->latencies[row], 1);
	return true;
}
