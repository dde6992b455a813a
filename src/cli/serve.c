/*
 * holdfast serve: opens the data directory, loads the contracts, says what it serves and how
 * durable it is, and serves.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/deploy.h"
#include "cli/options.h"
#include "engine/engine.h"
#include "machine/machine.h"
#include "server/server.h"

static const char help[] =
	"Usage: holdfast serve [OPTION...]\n"
	"Serves life cycles to Redis clients.\n"
	"\n"
	"  --data DIR           where the log is kept (./holdfast-data)\n"
	"  --contracts DIR      loads every *.mmd of DIR; without it, serves those in the log\n"
	"  --listen ADDR:PORT   where clients connect (127.0.0.1:7379); port 0 takes a free one\n"
	"  --threads N          network threads, at most 64 (1: network and sequencer are one)\n"
	"  --max-clients N      connections at a time (10000)\n"
	"  --segment-size N     bytes of one log file of a new log (67108864): from 1048576 to\n"
	"                       1073741824, in multiples of 4096\n"
	"  --snapshot-log N     a snapshot after N bytes of log, at least (268435456); 0: not so\n"
	"  --snapshot-every N   a snapshot after N seconds, if anything was logged; 0: not so (0)\n"
	"  --flush auto|thread  who writes the log: io_uring in the sequencer, or a thread;\n"
	"                       with more than one network thread it is always a thread\n"
	"  --no-sync            for benchmarks only: acknowledges before the disk has it\n"
	"  --help               this text\n"
	"\n"
	"HOLDFAST_DATA, HOLDFAST_CONTRACTS, HOLDFAST_LISTEN and HOLDFAST_THREADS stand in for the\n"
	"options of those names. SIGTERM, SIGINT and SIGHUP drain and exit 0; a second one,\n"
	"but for SIGHUP, exits at once.\n";

/* ---- options ----------------------------------------------------------------------------- */

struct serve_options {
	const char *data_dir;
	const char *contracts_dir; /* NULL: none */
	const char *listen;
	uint64_t threads;
	uint64_t max_clients;
	uint64_t segment_size;
	uint64_t snapshot_log, snapshot_every_s;
	enum hf_flush_mode flush;
	bool no_sync;
};

/* The options as they were spelled; NULL: not given. */
struct spelled {
	const char *data, *contracts, *listen, *threads, *max_clients, *segment_size, *flush;
	const char *snapshot_log, *snapshot_every;
};

/* By what name the value came: of the option, or of the variable that stands in for it. */
static const char *name_of(const char *option, const char *variable, const char *value) {
	return value != NULL && value == getenv(variable) ? variable : option;
}

/* `text` may be NULL: there is none. The options were looked at when they were parsed. */
static bool check_not_empty(const char *variable, const char *text, struct hf_err *err) {
	return text == NULL || text[0] != '\0' ||
	       hf_fail(err, HF_USAGE, "%s is empty; try --help", variable);
}

static bool check_none_empty(const struct spelled *spelled, struct hf_err *err) {
	return check_not_empty("HOLDFAST_DATA", spelled->data, err) &&
	       check_not_empty("HOLDFAST_CONTRACTS", spelled->contracts, err) &&
	       check_not_empty("HOLDFAST_LISTEN", spelled->listen, err) &&
	       check_not_empty("HOLDFAST_THREADS", spelled->threads, err);
}

static bool read_listen(const char *text, const char **ret, struct hf_err *err) {
	struct hf_err why;
	*ret = text != NULL ? text : "127.0.0.1:7379";
	return hf_server_check_listen(*ret, &why) ||
	       hf_fail(err, HF_USAGE, "%s: %s", name_of("--listen", "HOLDFAST_LISTEN", text),
		       why.text);
}

/* `text` may be NULL: *ret keeps the default. */
static bool read_number(const char *option, const char *text, uint64_t min, uint64_t max,
			uint64_t *ret, struct hf_err *err) {
	if (text == NULL)
		return true;
	uint64_t value;
	if (!hf_option_u64(option, text, &value, err))
		return false;
	if (value < min || value > max)
		return hf_fail(err, HF_USAGE, "%s takes a number from %llu to %llu, not %s", option,
			       (unsigned long long)min, (unsigned long long)max, text);
	*ret = value;
	return true;
}

/* The log refuses a size between two multiples as well, but after the command line is read. */
static bool read_segment_size(const char *text, uint64_t *ret, struct hf_err *err) {
	return read_number("--segment-size", text, HF_SEGMENT_SIZE_MIN, HF_SEGMENT_SIZE_MAX, ret,
			   err) &&
	       (*ret % 4096 == 0 ||
		hf_fail(err, HF_USAGE, "--segment-size takes a multiple of 4096, not %s", text));
}

static bool read_flush(const char *text, enum hf_flush_mode *ret, struct hf_err *err) {
	if (text == NULL || strcmp(text, "auto") == 0)
		*ret = HF_FLUSH_AUTO;
	else if (strcmp(text, "thread") == 0)
		*ret = HF_FLUSH_THREAD;
	else
		return hf_fail(err, HF_USAGE, "--flush takes auto or thread, not %s", text);
	return true;
}

/* Flags over environment over defaults. *ret_help: the help was printed, there is nothing to do. */
static bool read_options(int argc, char **argv, struct serve_options *ret, bool *ret_help,
			 struct hf_err *err) {
	struct spelled spelled = {
		.data = getenv("HOLDFAST_DATA"),
		.contracts = getenv("HOLDFAST_CONTRACTS"),
		.listen = getenv("HOLDFAST_LISTEN"),
		.threads = getenv("HOLDFAST_THREADS"),
	};
	*ret = (struct serve_options){
		.threads = 1,
		.max_clients = HF_CONNECTIONS_DEFAULT,
		.snapshot_log = HF_SNAPSHOT_LOG_DEFAULT,
	};
	const struct hf_option options[] = {
		{ "--data", &spelled.data, NULL },
		{ "--contracts", &spelled.contracts, NULL },
		{ "--listen", &spelled.listen, NULL },
		{ "--threads", &spelled.threads, NULL },
		{ "--max-clients", &spelled.max_clients, NULL },
		{ "--segment-size", &spelled.segment_size, NULL },
		{ "--snapshot-log", &spelled.snapshot_log, NULL },
		{ "--snapshot-every", &spelled.snapshot_every, NULL },
		{ "--flush", &spelled.flush, NULL },
		{ "--no-sync", NULL, &ret->no_sync },
	};
	int operands;
	if (!hf_options_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help,
			      &operands, ret_help, err))
		return false;
	if (*ret_help)
		return true;
	if (operands > 0)
		return hf_fail(err, HF_USAGE, "serve takes no operand, and got %s; try --help",
			       argv[1]);
	ret->data_dir = spelled.data != NULL ? spelled.data : "./holdfast-data";
	ret->contracts_dir = spelled.contracts;
	const char *threads = name_of("--threads", "HOLDFAST_THREADS", spelled.threads);
	return check_none_empty(&spelled, err) && read_listen(spelled.listen, &ret->listen, err) &&
	       read_number(threads, spelled.threads, 1, HF_SERVER_THREADS_MAX, &ret->threads,
			   err) &&
	       read_number("--max-clients", spelled.max_clients, 1, HF_CONNECTIONS_MAX,
			   &ret->max_clients, err) &&
	       read_segment_size(spelled.segment_size, &ret->segment_size, err) &&
	       read_number("--snapshot-log", spelled.snapshot_log, 0, INT64_MAX, &ret->snapshot_log,
			   err) &&
	       read_number("--snapshot-every", spelled.snapshot_every, 0, INT32_MAX,
			   &ret->snapshot_every_s, err) &&
	       read_flush(spelled.flush, &ret->flush, err);
}

/* ---- signals ----------------------------------------------------------------------------- */

/* Shared between main and the thread that waits for signals. */
struct signals {
	sigset_t set;
	pthread_t thread;
	pthread_mutex_t mutex;
	struct hf_server *server; /* guarded by mutex; NULL while there is nothing to drain */
	bool served;		  /* guarded by mutex; there was one: it closes, or has */
};

/*
 * The first signal drains the server, the next one ends the process; so does the first if
 * nothing is served yet. A terminal that closes may send SIGHUP twice, and means it once.
 */
static void *wait_for_signals(void *arg) {
	struct signals *signals = arg;
	bool draining = false;
	for (;;) {
		int signal_number;
		if (sigwait(&signals->set, &signal_number) != 0 ||
		    (draining && signal_number == SIGHUP))
			continue;
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* it has the mutex */
		pthread_mutex_lock(&signals->mutex);
		if (draining || (signals->server == NULL && !signals->served))
			_exit(128 + signal_number);
		fprintf(stderr, "holdfast: %s: draining\n", strsignal(signal_number));
		if (signals->server != NULL)
			hf_server_stop(signals->server);
		draining = true;
		pthread_mutex_unlock(&signals->mutex);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	}
}

static void set_server(struct signals *signals, struct hf_server *server) {
	pthread_mutex_lock(&signals->mutex);
	signals->server = server;
	signals->served |= server != NULL;
	pthread_mutex_unlock(&signals->mutex);
}

/* Before any other thread is started: all of them inherit the mask. */
static bool catch_signals(struct signals *signals, struct hf_err *err) {
	pthread_mutex_init(&signals->mutex, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write past a file size limit fails, and the engine says so */
	sigemptyset(&signals->set);
	sigaddset(&signals->set, SIGTERM);
	sigaddset(&signals->set, SIGINT);
	struct sigaction hangup;
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup */
		sigaddset(&signals->set, SIGHUP);
	int rc = pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
	if (rc == 0)
		rc = pthread_create(&signals->thread, NULL, wait_for_signals, signals);
	return rc == 0 || hf_fail_sys(err, rc, "cannot wait for signals");
}

static void release_signals(struct signals *signals) {
	pthread_cancel(signals->thread);
	pthread_join(signals->thread, NULL);
	pthread_mutex_destroy(&signals->mutex);
}

/* ---- the screen -------------------------------------------------------------------------- */

static void print_notice(void *arg, const char *line) {
	fprintf(stderr, "holdfast: %s\n", line);
}

static void add_entities(void *arg, const char *state, uint64_t entities) {
	*(uint64_t *)arg += entities;
}

static void print_contract(struct hf_engine *engine, const struct hf_contract *contract) {
	uint64_t entities = 0;
	struct hf_reply reply;
	hf_engine_count(engine, hf_span_of(contract->name), add_entities, &entities, &reply);
	char states[160];
	struct hf_text text = hf_text(states, sizeof(states));
	for (uint32_t i = HF_STATE_NEW + 1; i < contract->state_count; i++)
		hf_text_add(&text, "%s%s", text.len > 0 ? " " : "", contract->states[i].name);
	fprintf(stderr, "  contract   %s version %llu: %s; %llu %s\n", contract->name,
		(unsigned long long)contract->version, states, (unsigned long long)entities,
		entities == 1 ? "entity" : "entities");
}

/* The engine's own notice has told by now if io_uring is missing, and why. */
static void print_warnings(const struct hf_engine_info *info) {
	if (!info->synced)
		fprintf(stderr,
			"WARNING: --no-sync: a crash of the machine loses acknowledged events.\n");
	if (!info->direct_io)
		fprintf(stderr, "WARNING: no direct writes on this file system: the log goes "
				"through the page cache, which is slower.\n");
}

static void print_screen(struct hf_engine *engine, const struct hf_server *server,
			 const struct serve_options *options) {
	struct hf_engine_info info;
	hf_engine_lock(engine);
	hf_engine_info(engine, &info);
	fprintf(stderr, "holdfast %s\n", HF_VERSION);
	fprintf(stderr, "  data       %s: %llu log segment%s of %llu bytes, LSN %llu\n",
		info.data_dir, (unsigned long long)info.segments, info.segments == 1 ? "" : "s",
		(unsigned long long)info.segment_size, (unsigned long long)info.last_lsn);
	fprintf(stderr, "  recovered  %llu events in %.3f s",
		(unsigned long long)info.recovered_events, (double)info.recovered_ns / 1e9);
	if (info.recovered_snapshot_lsn > 0)
		fprintf(stderr, ", up to LSN %llu from a snapshot",
			(unsigned long long)info.recovered_snapshot_lsn);
	if (info.cut_bytes > 0)
		fprintf(stderr, "; cut %llu bytes of an unfinished, never acknowledged write",
			(unsigned long long)info.cut_bytes);
	fprintf(stderr, "\n  durable    %s\n", info.flush_text);
	const struct hf_contract *contract;
	uint32_t count = 0;
	for (; (contract = hf_engine_contract_at(engine, count)) != NULL; count++)
		print_contract(engine, contract);
	hf_engine_unlock(engine);
	if (count == 0)
		fprintf(stderr,
			"  contract   none yet: give --contracts DIR, or send HF.CONTRACT LOAD\n");
	fprintf(stderr, "  clients    at most %u, on %u thread%s\n", hf_server_max_clients(server),
		(unsigned)options->threads, options->threads == 1 ? "" : "s");
	print_warnings(&info);
	fprintf(stderr, "ready: %s\n", hf_server_address(server));
}

/* ---- serving ----------------------------------------------------------------------------- */

/*
 * The command line was right: whatever rule of the engine's API it is that did not hold (one
 * process per data directory), the exit code is that of a start that failed.
 */
static int fail(const struct hf_err *err) {
	(void)hf_cli_fail("serve", err);
	return HF_EXIT_BAD;
}

static int fail_to_open(const struct hf_err *err) {
	struct hf_err whole;
	if (err->sys_errno != ENOSPC && err->sys_errno != EDQUOT)
		return fail(err);
	(void)hf_fail(&whole, err->status,
		      "%s; a new log begins with two segments: --segment-size makes them smaller",
		      err->text);
	return fail(&whole);
}

/*
 * A start that fails leaves the log as it was: what can be wrong with a contract, and with the
 * address, is found before any contract is logged. Clients may connect, and wait for their turn.
 */
static bool serve(struct hf_engine *engine, const struct serve_options *options,
		  struct signals *signals, struct hf_err *err) {
	struct hf_deployment deployment = { 0 };
	if (options->contracts_dir != NULL &&
	    !hf_deployment_check(engine, options->contracts_dir, &deployment, err))
		return false;
	const struct hf_server_options server_options = {
		.engine = engine,
		.listen = options->listen,
		.threads = (uint32_t)options->threads,
		.max_clients = (uint32_t)options->max_clients,
		.notice = print_notice,
	};
	struct hf_server *server = NULL;
	bool ok = hf_server_open(&server_options, &server, err) &&
		  hf_deployment_load(engine, &deployment, err);
	hf_deployment_free(&deployment);
	if (ok) {
		set_server(signals, server);
		print_screen(engine, server, options);
		ok = hf_server_run(server, err);
		set_server(signals, NULL);
	}
	if (server != NULL)
		hf_server_close(server);
	return ok;
}

/* The exit code. */
static int open_and_serve(const struct serve_options *options, struct signals *signals) {
	const struct hf_engine_options engine_options = {
		.data_dir = options->data_dir,
		.flush = options->threads > 1 ? HF_FLUSH_THREAD : options->flush,
		.no_sync = options->no_sync,
		.segment_size = options->segment_size,
		.snapshot_log_bytes =
			options->snapshot_log == 0 ? UINT64_MAX : options->snapshot_log,
		.snapshot_every_s = options->snapshot_every_s,
		.notice = print_notice,
	};
	struct hf_engine *engine;
	struct hf_err err;
	if (!hf_engine_open(&engine_options, &engine, &err))
		return fail_to_open(&err);
	bool served = serve(engine, options, signals, &err);
	int exit_code = served ? HF_EXIT_GOOD : fail(&err);
	if (!hf_engine_close(engine, &err) && served)
		exit_code = fail(&err);
	return exit_code;
}

int hf_cli_serve(int argc, char **argv) {
	struct serve_options options;
	struct hf_err err;
	bool help_shown;
	if (!read_options(argc, argv, &options, &help_shown, &err))
		return hf_cli_fail("serve", &err);
	if (help_shown)
		return HF_EXIT_GOOD;
	struct signals signals = { 0 };
	if (!catch_signals(&signals, &err))
		return fail(&err);
	int exit_code = open_and_serve(&options, &signals);
	release_signals(&signals);
	return exit_code;
}
