/*
 * What is told about the server and its commands, in the shapes that Redis's clients and tools
 * read.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/clock.h"
#include "server/command.h"
#include "server/glob.h"
#include "server/server.h"
#include "server/version.h"

/* ---- COMMAND ----------------------------------------------------------------------------- */

static bool is_subcommand(const struct hf_command *command) {
	return strchr(command->name, '|') != NULL;
}

static bool is_subcommand_of(const struct hf_command *command, const struct hf_command *parent) {
	size_t len = strlen(parent->name);
	return strncmp(command->name, parent->name, len) == 0 && command->name[len] == '|';
}

static uint32_t count_subcommands(const struct hf_command *parent) {
	uint32_t count = 0;
	for (uint32_t i = 0; i < hf_command_count; i++)
		count += is_subcommand_of(&hf_commands[i], parent);
	return count;
}

static void reply_command(struct hf_out *out, const struct hf_command *command) {
	hf_out_array(out, 10);
	hf_out_text(out, command->name);
	hf_out_int(out, command->arity);
	bool admin = command->flags & HF_COMMAND_ADMIN;
	hf_out_array(out, admin ? 2 : 1);
	hf_out_simple(out, command->flags & HF_COMMAND_WRITE ? "write" : "readonly");
	if (admin)
		hf_out_simple(out, "admin");
	hf_out_int(out, command->first_key);
	hf_out_int(out, command->flags & HF_COMMAND_KEYS ? -1 : command->first_key);
	hf_out_int(out, command->first_key > 0);
	hf_out_array(out, 0); /* ACL categories */
	hf_out_array(out, 0); /* tips */
	hf_out_array(out, 0); /* key specifications */
	hf_out_array(out, count_subcommands(command));
	for (uint32_t i = 0; i < hf_command_count; i++)
		if (is_subcommand_of(&hf_commands[i], command))
			reply_command(out, &hf_commands[i]);
}

static uint32_t count_commands(void) {
	uint32_t count = 0;
	for (uint32_t i = 0; i < hf_command_count; i++)
		count += !is_subcommand(&hf_commands[i]);
	return count;
}

void hf_cmd_command(struct hf_loop *loop, struct hf_conn *conn,
		    const struct hf_resp_command *request) {
	if (request->argc > 1) {
		hf_reply_unknown_subcommand(conn, "command", request->argv[1]);
		return;
	}
	hf_out_array(&conn->out, count_commands());
	for (uint32_t i = 0; i < hf_command_count; i++)
		if (!is_subcommand(&hf_commands[i]))
			reply_command(&conn->out, &hf_commands[i]);
}

void hf_cmd_command_count(struct hf_loop *loop, struct hf_conn *conn,
			  const struct hf_resp_command *request) {
	hf_out_int(&conn->out, count_commands());
}

void hf_cmd_command_list(struct hf_loop *loop, struct hf_conn *conn,
			 const struct hf_resp_command *request) {
	hf_out_array(&conn->out, hf_command_count);
	for (uint32_t i = 0; i < hf_command_count; i++)
		hf_out_text(&conn->out, hf_commands[i].name);
}

void hf_cmd_command_info(struct hf_loop *loop, struct hf_conn *conn,
			 const struct hf_resp_command *request) {
	if (request->argc == 2) {
		struct hf_resp_command all = { .argc = 1 };
		hf_cmd_command(loop, conn, &all);
		return;
	}
	hf_out_array(&conn->out, request->argc - 2);
	for (uint32_t i = 2; i < request->argc; i++) {
		const struct hf_command *command = hf_command_find(request->argv[i]);
		if (command != NULL)
			reply_command(&conn->out, command);
		else
			hf_out_null(&conn->out);
	}
}

static void reply_docs(struct hf_out *out, const struct hf_command *command) {
	uint32_t subcommands = count_subcommands(command);
	bool has_arguments = command->syntax[0] != '\0' && subcommands == 0;
	hf_out_text(out, command->name);
	hf_out_map(out, 3u + has_arguments + (subcommands > 0));
	hf_out_text(out, "summary");
	hf_out_text(out, command->summary);
	hf_out_text(out, "since");
	hf_out_text(out, "0.1.0");
	hf_out_text(out, "group");
	hf_out_text(out, command->group);
	if (has_arguments) {
		/* The syntax as one argument: tools print it as it stands. */
		hf_out_text(out, "arguments");
		hf_out_array(out, 1);
		hf_out_map(out, 3);
		hf_out_text(out, "name");
		hf_out_text(out, command->syntax);
		hf_out_text(out, "type");
		hf_out_text(out, "string");
		hf_out_text(out, "display_text");
		hf_out_text(out, command->syntax);
	}
	if (subcommands == 0)
		return;
	hf_out_text(out, "subcommands");
	hf_out_map(out, subcommands);
	for (uint32_t i = 0; i < hf_command_count; i++)
		if (is_subcommand_of(&hf_commands[i], command))
			reply_docs(out, &hf_commands[i]);
}

void hf_cmd_command_docs(struct hf_loop *loop, struct hf_conn *conn,
			 const struct hf_resp_command *request) {
	struct hf_out *out = &conn->out;
	uint64_t begun = hf_out_begin(out);
	uint32_t count = 0;
	for (uint32_t i = 0; request->argc == 2 && i < hf_command_count; i++) {
		if (is_subcommand(&hf_commands[i]))
			continue;
		reply_docs(out, &hf_commands[i]);
		count++;
	}
	for (uint32_t i = 2; i < request->argc; i++) {
		const struct hf_command *command = hf_command_find(request->argv[i]);
		if (command == NULL)
			continue;
		reply_docs(out, command);
		count++;
	}
	hf_out_end_map(out, begun, count);
}

/* ---- INFO -------------------------------------------------------------------------------- */

#define INFO_TEXT_MAX 12288u /* a path of 3 KiB may be in it */

struct figures {
	const struct hf_loop *loop;
	struct hf_server *server;
	struct hf_engine_info engine;
	uint32_t clients;
	uint64_t accepted, client_memory_max;
};

static void read_figures(struct hf_loop *loop, struct figures *ret) {
	struct hf_server *server = loop->server;
	*ret = (struct figures){ .loop = loop, .server = server };
	hf_engine_lock(loop->engine);
	hf_engine_info(loop->engine, &ret->engine);
	hf_engine_unlock(loop->engine);
	pthread_mutex_lock(&server->mutex);
	ret->clients = server->conn_count;
	ret->accepted = server->accepted;
	pthread_mutex_unlock(&server->mutex);
	for (uint32_t i = 0; i < server->loop_count; i++)
		ret->client_memory_max += server->loops[i].client_memory_max;
	hf_loop_take_figures(loop);
}

static void add_number(struct hf_text *text, const char *name, uint64_t value) {
	hf_text_add(text, "%s:%llu\r\n", name, (unsigned long long)value);
}

static void add_string(struct hf_text *text, const char *name, const char *value) {
	hf_text_add(text, "%s:%s\r\n", name, value);
}

static void info_server(const struct figures *figures, struct hf_text *text) {
	const struct hf_server *server = figures->server;
	struct utsname os;
	int64_t uptime_s = hf_clock_wall_ns() / 1000000000 - server->started_s;
	add_string(text, "redis_version", HF_REDIS_VERSION);
	add_string(text, "redis_mode", "standalone");
	add_string(text, "holdfast_version", HF_VERSION);
	if (uname(&os) == 0)
		hf_text_add(text, "os:%s %s %s\r\n", os.sysname, os.release, os.machine);
	add_number(text, "arch_bits", 64);
	add_string(text, "multiplexing_api", "epoll");
	add_number(text, "process_id", (uint64_t)getpid());
	add_string(text, "tcp_port", strrchr(server->address, ':') + 1);
	add_number(text, "uptime_in_seconds", uptime_s > 0 ? (uint64_t)uptime_s : 0);
	add_number(text, "uptime_in_days", uptime_s > 0 ? (uint64_t)uptime_s / 86400 : 0);
	add_number(text, "io_threads", server->loop_count);
}

static void info_clients(const struct figures *figures, struct hf_text *text) {
	add_number(text, "connected_clients", figures->clients);
	add_number(text, "maxclients", figures->server->max_clients);
	add_number(text, "blocked_clients", 0);
}

/* Resident bytes of the process; 0 if the system does not say. */
static uint64_t resident_bytes(void) {
	unsigned long long pages_total = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file == NULL)
		return 0;
	int read = fscanf(file, "%llu %llu", &pages_total, &pages);
	fclose(file);
	return read == 2 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void info_memory(const struct figures *figures, struct hf_text *text) {
	uint64_t used = figures->engine.memory_entities + figures->engine.memory_ids +
			figures->engine.memory_index + figures->engine.memory_plain +
			figures->engine.memory_contracts;
	add_number(text, "used_memory", used);
	hf_text_add(text, "used_memory_human:%.2fM\r\n", (double)used / 1048576);
	add_number(text, "used_memory_rss", resident_bytes());
	add_number(text, "maxmemory", 0);
	add_number(text, "mem_clients_normal",
		   (uint64_t)hf_stats_level(figures->loop->figures,
					    figures->server->client_memory));
	add_number(text, "maxmemory_clients", figures->client_memory_max);
}

static void info_persistence(const struct figures *figures, struct hf_text *text) {
	add_number(text, "loading", 0);
	add_number(text, "async_loading", 0);
	add_number(text, "aof_enabled", 1);
	add_number(text, "rdb_bgsave_in_progress", figures->engine.snapshot_under_way);
	add_number(text, "aof_rewrite_in_progress", 0);
}

static void info_stats(const struct figures *figures, struct hf_text *text) {
	const struct hf_stats_snapshot *counted = figures->loop->figures;
	add_number(text, "total_connections_received", figures->accepted);
	add_number(text, "total_commands_processed", hf_stats_sum_of(counted, "latency_ns."));
	add_number(text, "rejected_connections",
		   hf_stats_count(counted, figures->server->rejected));
	add_number(text, "evicted_clients", hf_stats_count(counted, figures->server->evicted));
}

static void info_replication(const struct figures *figures, struct hf_text *text) {
	add_string(text, "role", "master");
	add_number(text, "connected_slaves", 0);
}

static void info_cluster(const struct figures *figures, struct hf_text *text) {
	add_number(text, "cluster_enabled", 0);
}

static void info_holdfast(const struct figures *figures, struct hf_text *text) {
	const struct hf_engine_info *engine = &figures->engine;
	add_string(text, "data_dir", engine->data_dir);
	add_string(text, "flush", engine->flush_text);
	add_number(text, "io_uring", engine->io_uring);
	add_number(text, "direct_io", engine->direct_io);
	add_number(text, "synced", engine->synced);
	add_number(text, "last_lsn", engine->last_lsn);
	add_number(text, "committed_lsn", engine->committed_lsn);
	add_number(text, "events", engine->events);
	add_number(text, "contracts", engine->contracts);
	add_number(text, "entities", engine->entities);
	add_number(text, "ids", engine->ids);
	add_number(text, "plain_keys", engine->plain_keys);
	add_number(text, "log_bytes", engine->log_bytes);
	add_number(text, "log_record_bytes", engine->record_bytes);
	add_number(text, "log_segments", engine->segments);
	add_number(text, "log_segment_size", engine->segment_size);
	hf_info_figures(figures->loop, text);
	add_number(text, "memory_entities", engine->memory_entities);
	add_number(text, "memory_ids", engine->memory_ids);
	add_number(text, "memory_index", engine->memory_index);
	add_number(text, "memory_plain", engine->memory_plain);
	add_number(text, "memory_contracts", engine->memory_contracts);
	add_number(text, "recovered_events", engine->recovered_events);
	add_number(text, "recovered_ms", engine->recovered_ns / 1000000);
	add_number(text, "recovered_cut_bytes", engine->cut_bytes);
	add_number(text, "recovered_snapshot_lsn", engine->recovered_snapshot_lsn);
	int64_t age_ns = hf_clock_wall_ns() - engine->snapshot_taken_ns;
	add_number(text, "snapshot_lsn", engine->snapshot_lsn);
	add_number(text, "snapshot_bytes", engine->snapshot_bytes);
	add_number(text, "snapshot_age_seconds",
		   engine->snapshot_lsn == 0 || age_ns < 0 ? 0 : (uint64_t)age_ns / 1000000000);
	add_number(text, "snapshot_duration_ms", engine->snapshot_duration_ns / 1000000);
	add_number(text, "snapshot_failures", engine->snapshot_failures);
	add_number(text, "snapshot_under_way", engine->snapshot_under_way);
}

static void info_keyspace(const struct figures *figures, struct hf_text *text) {
	uint64_t keys = figures->engine.entities + figures->engine.plain_keys;
	if (keys > 0)
		hf_text_add(text, "db0:keys=%llu,expires=0,avg_ttl=0\r\n",
			    (unsigned long long)keys);
}

static const struct section {
	const char *name;
	void (*add)(const struct figures *figures, struct hf_text *text);
} sections[] = {
	{ "Server", info_server },     { "Clients", info_clients },
	{ "Memory", info_memory },     { "Persistence", info_persistence },
	{ "Stats", info_stats },       { "Replication", info_replication },
	{ "Cluster", info_cluster },   { "Holdfast", info_holdfast },
	{ "Keyspace", info_keyspace },
};

/* Is the section asked for? All of them are if none is named. */
static bool is_wanted(const struct hf_resp_command *request, const char *section) {
	bool wanted = request->argc == 1;
	for (uint32_t i = 1; i < request->argc; i++) {
		struct hf_span name = request->argv[i];
		wanted = wanted || (name.len == strlen(section) &&
				    strncasecmp((const char *)name.data, section, name.len) == 0);
		wanted = wanted || hf_span_is_nocase(name, "all") ||
			 hf_span_is_nocase(name, "default") ||
			 hf_span_is_nocase(name, "everything");
	}
	return wanted;
}

void hf_cmd_info(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	struct figures figures;
	char buf[INFO_TEXT_MAX];
	struct hf_text text = hf_text(buf, sizeof(buf));
	read_figures(loop, &figures);
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		if (!is_wanted(request, sections[i].name))
			continue;
		hf_text_add(&text, "%s# %s\r\n", text.len > 0 ? "\r\n" : "", sections[i].name);
		sections[i].add(&figures, &text);
	}
	hf_out_verbatim(&conn->out, hf_span(buf, text.len));
}

/* ---- CONFIG ------------------------------------------------------------------------------ */

struct setting {
	const char *name;
	const char *value;
};

void hf_cmd_config_get(struct hf_loop *loop, struct hf_conn *conn,
		       const struct hf_resp_command *request) {
	const struct hf_server *server = loop->server;
	char max_clients[16], threads[16], bulk[16];
	struct hf_engine_info engine;
	struct hf_glob wanted;
	struct hf_err err;
	if (!hf_glob_compile(&wanted, request->argv + 2, request->argc - 2, true, &err)) {
		hf_out_err(&conn->out, &err);
		return;
	}
	hf_engine_lock(loop->engine);
	hf_engine_info(loop->engine, &engine);
	hf_engine_unlock(loop->engine);
	snprintf(max_clients, sizeof(max_clients), "%u", server->max_clients);
	snprintf(threads, sizeof(threads), "%u", server->loop_count);
	snprintf(bulk, sizeof(bulk), "%u", HF_BULK_MAX);
	const struct setting settings[] = {
		{ "save", "" },
		{ "appendonly", "yes" },
		{ "appendfsync", engine.synced ? "always" : "no" },
		{ "databases", "1" },
		{ "maxclients", max_clients },
		{ "maxmemory", "0" },
		{ "timeout", "0" },
		{ "io-threads", threads },
		{ "proto-max-bulk-len", bulk },
		{ "port", strrchr(server->address, ':') + 1 },
	};
	uint64_t begun = hf_out_begin(&conn->out);
	uint32_t count = 0;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (!hf_glob_matches(&wanted, hf_span_of(settings[i].name)))
			continue;
		hf_out_text(&conn->out, settings[i].name);
		hf_out_text(&conn->out, settings[i].value);
		count++;
	}
	hf_out_end_map(&conn->out, begun, count);
}

/* ---- the rest ---------------------------------------------------------------------------- */

void hf_cmd_empty(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	hf_out_array(&conn->out, 0);
}

void hf_cmd_zero(struct hf_loop *loop, struct hf_conn *conn,
		 const struct hf_resp_command *request) {
	hf_out_int(&conn->out, 0);
}

void hf_cmd_ok(struct hf_loop *loop, struct hf_conn *conn, const struct hf_resp_command *request) {
	hf_out_simple(&conn->out, "OK");
}

void hf_cmd_no_cluster(struct hf_loop *loop, struct hf_conn *conn,
		       const struct hf_resp_command *request) {
	hf_out_errorf(&conn->out, "This instance has cluster support disabled");
}

void hf_cmd_acl_whoami(struct hf_loop *loop, struct hf_conn *conn,
		       const struct hf_resp_command *request) {
	hf_out_text(&conn->out, "default");
}

void hf_cmd_acl_list(struct hf_loop *loop, struct hf_conn *conn,
		     const struct hf_resp_command *request) {
	hf_out_array(&conn->out, 1);
	hf_out_text(&conn->out, "user default on nopass ~* &* +@all");
}

/* Redis has no reply to this, either: the connection is closed once the server has drained. */
void hf_cmd_shutdown(struct hf_loop *loop, struct hf_conn *conn,
		     const struct hf_resp_command *request) {
	bool known = request->argc == 1 ||
		     (request->argc == 2 && (hf_span_is_nocase(request->argv[1], "nosave") ||
					     hf_span_is_nocase(request->argv[1], "save")));
	if (!known) {
		hf_out_errorf(&conn->out, "syntax error");
		return;
	}
	hf_server_shutdown(loop->server, conn);
}
