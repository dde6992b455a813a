/*
 * command.h - the commands, as data: one table gives dispatch, arity, COMMAND and help (private
 * to src/server).
 */
#ifndef HF_SERVER_COMMAND_H
#define HF_SERVER_COMMAND_H

#include "os/clock.h"
#include "server/loop.h"

typedef void hf_command_fn(struct hf_loop *loop, struct hf_conn *conn,
			   const struct hf_resp_command *request);

enum hf_command_flags {
	HF_COMMAND_WRITE = 1,	 /* changes the log */
	HF_COMMAND_IN_MULTI = 2, /* is executed between MULTI and EXEC, too */
	HF_COMMAND_ADMIN = 4,
	HF_COMMAND_SLOW = 8,  /* may take a millisecond, or reply a lot: others go first */
	HF_COMMAND_JOB = 16,  /* of these, one that becomes the loop's job */
	HF_COMMAND_KEYS = 32, /* all strings from first_key on are keys */
};

struct hf_command {
	const char *name;   /* lower case; of a subcommand "client|id" */
	hf_command_fn *run; /* NULL: the subcommands do it */
	int arity;	    /* strings, with the name; negative: at least so many */
	unsigned flags;
	int first_key; /* position of the first key, 0 if there is none */
	const char *group;
	const char *syntax; /* of the arguments */
	const char *summary;
};

extern const struct hf_command hf_commands[];
extern const uint32_t hf_command_count;
#define HF_COMMAND_SEND 0 /* HF.SEND's row */

/*
 * Looks the command up, checks its arity and runs it. HF.SENDs may be left in the loop's batch.
 * False if it is a slow one and has to wait, for its turn or for the end of the loop's job, or if
 * it was done in part (conn->answered). Then the same request is to be run again.
 */
HF_MUST bool hf_command_run(struct hf_loop *loop, struct hf_conn *conn,
			    const struct hf_resp_command *request);

/* The row of "client", "client|id"; compared without case. NULL if there is none. */
const struct hf_command *hf_command_find(struct hf_span name);

/* command_send.c */
hf_command_fn hf_cmd_send; /* into the loop's batch */
void hf_send_execute(struct hf_loop *loop);

/* command_hf.c */
/*
 * Replies to loop->held if its snapshot is over, or will not be waited for because the server
 * drains. False: it has to wait.
 */
bool hf_snapshot_reply(struct hf_loop *loop);
/* Goes on with loop->job, for a while. True: it is over, and the reply whole. */
bool hf_job_step(struct hf_loop *loop);
hf_command_fn hf_cmd_get, hf_cmd_history, hf_cmd_count, hf_cmd_hash, hf_cmd_snapshot;
hf_command_fn hf_cmd_contract_list, hf_cmd_contract_show, hf_cmd_contract_check,
	hf_cmd_contract_load, hf_cmd_contract_help;

/* Of a command that is only a group of others, or was given what is none of them. */
void hf_reply_unknown_subcommand(struct hf_conn *conn, const char *parent, struct hf_span name);

/* command_plain.c */
hf_command_fn hf_cmd_plain_get, hf_cmd_plain_set, hf_cmd_setnx, hf_cmd_del, hf_cmd_exists,
	hf_cmd_mget, hf_cmd_incr, hf_cmd_incrby, hf_cmd_scan, hf_cmd_type, hf_cmd_dbsize;

/* command_client.c */
hf_command_fn hf_cmd_hello, hf_cmd_auth, hf_cmd_ping, hf_cmd_echo, hf_cmd_quit, hf_cmd_reset,
	hf_cmd_select;
hf_command_fn hf_cmd_client_id, hf_cmd_client_getname, hf_cmd_client_setname, hf_cmd_client_setinfo,
	hf_cmd_client_info, hf_cmd_client_list, hf_cmd_client_flag;
hf_command_fn hf_cmd_multi, hf_cmd_exec, hf_cmd_discard;

/* command_info.c */
hf_command_fn hf_cmd_command, hf_cmd_command_count, hf_cmd_command_info, hf_cmd_command_docs,
	hf_cmd_command_list;
hf_command_fn hf_cmd_info, hf_cmd_config_get, hf_cmd_empty, hf_cmd_zero, hf_cmd_ok,
	hf_cmd_no_cluster, hf_cmd_acl_whoami, hf_cmd_acl_list, hf_cmd_shutdown;

/* command_stats.c */
hf_command_fn hf_cmd_stats;
/* The server's and a loop's part in the figures of their engine. */
HF_MUST bool hf_server_register(struct hf_server *server, struct hf_err *err);
HF_MUST bool hf_loop_join_stats(struct hf_loop *loop, struct hf_err *err);
void hf_loop_leave_stats(struct hf_loop *loop); /* also if it has not joined */
/* Takes a snapshot of all figures into loop->figures. */
void hf_loop_take_figures(struct hf_loop *loop);
/* All counters, and histograms' numbers of values, whose names begin with `prefix`. */
uint64_t hf_stats_sum_of(const struct hf_stats_snapshot *figures, const char *prefix);
/* Adds INFO's lines about loop->figures. */
void hf_info_figures(const struct hf_loop *loop, struct hf_text *text);

/*
 * What `count` commands took that have been executed together: all since the one before them in
 * this pass.
 */
static inline void hf_loop_measure(struct hf_loop *loop, struct hf_histogram latency,
				   uint32_t count) {
	uint64_t now_ns = hf_clock_monotonic_ns();
	hf_record_n(loop->counting, latency, now_ns - loop->now_ns, count);
	loop->now_ns = now_ns;
}

#endif
