/*
 * holdfast serve: opens the data directory, loads the contracts, says what it serves and how durable it is, and serves.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "engine/engine.h"
#include "machine/machine.h"
#include "server/server.h"

#define PATH_TEXT_MAX 4096u

struct serve_options {
	const char *data_dir;
	const char *contracts_dir; /* NULL: none */
	const char *listen;
	uint32_t threads;
	uint32_t max_clients;
	bool no_sync;
	uint64_t segment_size;
	enum hf_flush_mode flush;
};

static const char usage[] =
	"Usage: holdfast serve [OPTION...]\n"
	"Serves life cycles to Redis clients.\n"
	"\n"
	"  --data DIR           where the log is kept (./holdfast-data)\n"
	"  --contracts DIR      loads every *.mmd of DIR; without it, serves those in the log\n"
	"  --listen ADDR:PORT   where clients connect (127.0.0.1:7379); port 0 takes a free one\n"
	"  --threads N          network threads (1: network and sequencer are one thread)\n"
	"  --max-clients N      connections at a time (10000)\n"
	"  --segment-size N     bytes of one log file (67108864)\n"
	"  --flush auto|thread  who writes the log: io_uring in the sequencer, or a thread\n"
	"  --no-sync            for benchmarks only: acknowledges before the disk has it\n"
	"  --help               this text\n"
	"\n"
	"HOLDFAST_DATA, HOLDFAST_CONTRACTS, HOLDFAST_LISTEN and HOLDFAST_THREADS stand in for the\n"
	"options of those names. SIGTERM and SIGINT drain and exit 0, a second one exits at once.\n";

/* ---- options ------------------------------------------------------------------------------------- */

enum option_id {
	OPTION_DATA = 256,
	OPTION_CONTRACTS,
	OPTION_LISTEN,
	OPTION_THREADS,
	OPTION_MAX_CLIENTS,
	OPTION_SEGMENT_SIZE,
	OPTION_FLUSH,
	OPTION_NO_SYNC,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "data", required_argument, NULL, OPTION_DATA },
	{ "contracts", required_argument, NULL, OPTION_CONTRACTS },
	{ "listen", required_argument, NULL, OPTION_LISTEN },
	{ "threads", required_argument, NULL, OPTION_THREADS },
	{ "max-clients", required_argument, NULL, OPTION_MAX_CLIENTS },
	{ "segment-size", required_argument, NULL, OPTION_SEGMENT_SIZE },
	{ "flush", required_argument, NULL, OPTION_FLUSH },
	{ "no-sync", no_argument, NULL, OPTION_NO_SYNC },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

static bool read_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
	if (hf_span_u64(hf_span_of(text), ret) && *ret >= min && *ret <= max)
		return true;
	fprintf(stderr, "holdfast serve: %s takes a number from %llu to %llu, not '%s'\n", what,
		(unsigned long long)min, (unsigned long long)max, text);
	return false;
}

static bool read_u32(const char *what, const char *text, uint32_t max, uint32_t *ret) {
	uint64_t value;
	if (!read_number(what, text, 1, max, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool read_flush(const char *text, enum hf_flush_mode *ret) {
	bool is_auto = strcmp(text, "auto") == 0;
	if (!is_auto && strcmp(text, "thread") != 0) {
		fprintf(stderr, "holdfast serve: --flush takes auto or thread, not '%s'\n", text);
		return false;
	}
	*ret = is_auto ? HF_FLUSH_AUTO : HF_FLUSH_THREAD;
	return true;
}

/* Letters that must be changed, added or left out to make one of the other; at most 32 each. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len) {
	size_t row[33];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);
			best = row[j] + 1 < best ? row[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[b_len];
}

static void refuse_option(const char *given) {
	const char *closest = NULL;
	size_t best = 4; /* more than three slips are another word */
	size_t given_len = strcspn(given, "=");
	fprintf(stderr, "holdfast serve: unknown option or argument '%s'", given);
	for (const struct option *option = long_options; option->name != NULL; option++) {
		if (given_len < 3 || given_len > 32 || strncmp(given, "--", 2) != 0)
			break;
		size_t far = distance(given + 2, given_len - 2, option->name, strlen(option->name));
		if (far < best) {
			best = far;
			closest = option->name;
		}
	}
	if (closest != NULL)
		fprintf(stderr, ": did you mean --%s?", closest);
	fprintf(stderr, "\nTry 'holdfast serve --help'.\n");
}

static bool read_option(int id, struct serve_options *options) {
	switch (id) {
	case OPTION_DATA:
		options->data_dir = optarg;
		return true;
	case OPTION_CONTRACTS:
		options->contracts_dir = optarg;
		return true;
	case OPTION_LISTEN:
		options->listen = optarg;
		return true;
	case OPTION_THREADS:
		return read_u32("--threads", optarg, HF_SERVER_THREADS_MAX, &options->threads);
	case OPTION_MAX_CLIENTS:
		return read_u32("--max-clients", optarg, HF_CONNECTIONS_MAX, &options->max_clients);
	case OPTION_SEGMENT_SIZE:
		return read_number("--segment-size", optarg, HF_SEGMENT_SIZE_MIN, HF_SEGMENT_SIZE_MAX,
				   &options->segment_size);
	case OPTION_FLUSH:
		return read_flush(optarg, &options->flush);
	default:
		options->no_sync = true;
		return true;
	}
}

static bool read_environment(struct serve_options *options) {
	const char *threads = getenv("HOLDFAST_THREADS");
	const char *data = getenv("HOLDFAST_DATA");
	const char *contracts = getenv("HOLDFAST_CONTRACTS");
	const char *listen = getenv("HOLDFAST_LISTEN");
	options->data_dir = data != NULL ? data : options->data_dir;
	options->contracts_dir = contracts;
	options->listen = listen != NULL ? listen : options->listen;
	return threads == NULL ||
	       read_u32("HOLDFAST_THREADS", threads, HF_SERVER_THREADS_MAX, &options->threads);
}

/* True to go on; otherwise *ret_exit is the exit code. */
static bool read_options(int argc, char **argv, struct serve_options *options, int *ret_exit) {
	*ret_exit = 2;
	if (!read_environment(options))
		return false;
	opterr = 0;
	for (;;) {
		int at = optind;
		int id = getopt_long(argc, argv, ":", long_options, NULL);
		if (id == -1)
			break;
		if (id == OPTION_HELP) {
			fputs(usage, stdout);
			*ret_exit = 0;
			return false;
		}
		if (id == ':') {
			fprintf(stderr, "holdfast serve: %s needs a value\n", argv[at]);
			return false;
		}
		if (id == '?') {
			refuse_option(argv[at]);
			return false;
		}
		if (!read_option(id, options))
			return false;
	}
	if (optind < argc) {
		refuse_option(argv[optind]);
		return false;
	}
	return true;
}

/* ---- signals ------------------------------------------------------------------------------------- */

/* Shared between main and the thread that waits for signals. */
struct signals {
	sigset_t set;
	pthread_t thread;
	pthread_mutex_t mutex;
	struct hf_server *server; /* guarded by mutex; NULL while there is nothing to drain */
};

/* The first signal drains the server, the next one ends the process; so does the first if nothing is served yet. */
static void *wait_for_signals(void *arg) {
	struct signals *signals = arg;
	for (bool draining = false;; draining = true) {
		int signal_number;
		if (sigwait(&signals->set, &signal_number) != 0)
			continue;
		pthread_mutex_lock(&signals->mutex);
		if (draining || signals->server == NULL)
			_exit(128 + signal_number);
		fprintf(stderr, "holdfast: %s: draining\n", strsignal(signal_number));
		hf_server_stop(signals->server);
		pthread_mutex_unlock(&signals->mutex);
	}
}

static void set_server(struct signals *signals, struct hf_server *server) {
	pthread_mutex_lock(&signals->mutex);
	signals->server = server;
	pthread_mutex_unlock(&signals->mutex);
}

/* Before any other thread is started: all of them inherit the mask. */
static bool catch_signals(struct signals *signals) {
	pthread_mutex_init(&signals->mutex, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals->set);
	sigaddset(&signals->set, SIGTERM);
	sigaddset(&signals->set, SIGINT);
	int rc = pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
	if (rc == 0)
		rc = pthread_create(&signals->thread, NULL, wait_for_signals, signals);
	if (rc != 0)
		fprintf(stderr, "holdfast: cannot wait for signals: %s\n", strerror(rc));
	return rc == 0;
}

static void release_signals(struct signals *signals) {
	pthread_cancel(signals->thread);
	pthread_join(signals->thread, NULL);
	pthread_mutex_destroy(&signals->mutex);
}

/* ---- contracts ----------------------------------------------------------------------------------- */

static int is_contract_file(const struct dirent *entry) {
	size_t len = strlen(entry->d_name);
	return len > 4 && strcmp(entry->d_name + len - 4, ".mmd") == 0;
}

/* Reads a file of at most HF_CONTRACT_TEXT_MAX bytes into `buf`, which has room for one more. */
static bool read_text(const char *path, uint8_t *buf, size_t *ret_len, struct hf_err *err) {
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return hf_fail_sys(err, errno, "cannot read %s", path);
	*ret_len = fread(buf, 1, HF_CONTRACT_TEXT_MAX + 1, file);
	bool failed = ferror(file) != 0;
	int read_errno = errno;
	fclose(file);
	if (failed)
		return hf_fail_sys(err, read_errno, "cannot read %s", path);
	if (*ret_len > HF_CONTRACT_TEXT_MAX)
		return hf_fail(err, HF_TOOBIG, "%s: a contract has at most %u bytes", path,
			       HF_CONTRACT_TEXT_MAX);
	return true;
}

static bool load_contract(struct hf_engine *engine, const char *path, uint64_t *ret_lsn,
			  struct hf_err *err) {
	static const char hint[] = "\nholdfast check shows all there is to say about it";
	uint8_t text[HF_CONTRACT_TEXT_MAX + 1];
	size_t len = 0;
	struct hf_reply reply;
	if (!read_text(path, text, &len, err))
		return false;
	hf_engine_lock(engine);
	hf_engine_contract_load(engine, hf_span(text, len), path, &reply);
	if (reply.status != HF_OK)
		(void)hf_fail(err, reply.status, "%s%s", reply.text,
			      reply.status == HF_BADCONTRACT ? hint : "");
	hf_engine_flush(engine);
	hf_engine_unlock(engine);
	*ret_lsn = reply.durable_at;
	return reply.status == HF_OK;
}

/* Loads every *.mmd of the directory in name order, and waits until they are durable. */
static bool load_contracts(struct hf_engine *engine, const char *dir, struct hf_err *err) {
	struct dirent **entries;
	int count = scandir(dir, &entries, is_contract_file, alphasort);
	if (count < 0)
		return hf_fail_sys(err, errno, "cannot read the contracts directory %s", dir);
	bool ok = count > 0;
	uint64_t lsn = 0;
	if (!ok)
		(void)hf_fail(err, HF_USAGE, "%s has no contract: no file ends in .mmd", dir);
	for (int i = 0; i < count; i++) {
		char path[PATH_TEXT_MAX];
		snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
		ok = ok && load_contract(engine, path, &lsn, err);
		free(entries[i]);
	}
	free(entries);
	return ok && hf_engine_wait(engine, lsn, err);
}

/* ---- the screen ---------------------------------------------------------------------------------- */

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
	fprintf(stderr, "  contract   %s version %llu: %s; %llu entities\n", contract->name,
		(unsigned long long)contract->version, states, (unsigned long long)entities);
}

static void print_warnings(const struct hf_engine_info *info) {
	if (!info->synced)
		fprintf(stderr, "WARNING: --no-sync: a crash of the machine loses acknowledged events.\n");
	if (!info->io_uring)
		fprintf(stderr, "WARNING: io_uring is not available here (often forbidden in containers): "
				"plain calls are used, which is slower.\n");
	if (!info->direct_io)
		fprintf(stderr, "WARNING: the file system does not take direct writes: the log goes through "
				"the page cache, which is slower.\n");
}

static void print_screen(struct hf_engine *engine, const struct hf_server *server,
			 const struct serve_options *options) {
	struct hf_engine_info info;
	hf_engine_lock(engine);
	hf_engine_info(engine, &info);
	fprintf(stderr, "holdfast %s\n", HF_VERSION);
	fprintf(stderr, "  data       %s: %llu log segments of %llu bytes, LSN %llu\n", info.data_dir,
		(unsigned long long)info.segments, (unsigned long long)info.segment_size,
		(unsigned long long)info.last_lsn);
	fprintf(stderr, "  recovered  %llu events in %.3f s", (unsigned long long)info.recovered_events,
		(double)info.recovered_ns / 1e9);
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
		fprintf(stderr, "  contract   none yet: give --contracts DIR, or send HF.CONTRACT LOAD\n");
	fprintf(stderr, "  clients    at most %u, on %u thread%s\n", hf_server_max_clients(server),
		options->threads, options->threads == 1 ? "" : "s");
	print_warnings(&info);
	fprintf(stderr, "ready: %s\n", hf_server_address(server));
}

/* ---- serving ------------------------------------------------------------------------------------- */

static bool serve(struct hf_engine *engine, const struct serve_options *options,
		  struct signals *signals, struct hf_err *err) {
	if (options->contracts_dir != NULL && !load_contracts(engine, options->contracts_dir, err))
		return false;
	const struct hf_server_options server_options = {
		.engine = engine,
		.listen = options->listen,
		.threads = options->threads,
		.max_clients = options->max_clients,
	};
	struct hf_server *server;
	if (!hf_server_open(&server_options, &server, err))
		return false;
	set_server(signals, server);
	print_screen(engine, server, options);
	bool ok = hf_server_run(server, err);
	set_server(signals, NULL);
	hf_server_close(server);
	return ok;
}

static int report(const struct hf_err *err) {
	fprintf(stderr, "holdfast: %s: %s\n", hf_status_name(err->status), err->text);
	return err->status == HF_USAGE ? 2 : 1;
}

/* The exit code. */
static int open_and_serve(const struct serve_options *options, struct signals *signals) {
	const struct hf_engine_options engine_options = {
		.data_dir = options->data_dir,
		.flush = options->threads > 1 ? HF_FLUSH_THREAD : options->flush,
		.no_sync = options->no_sync,
		.segment_size = options->segment_size,
		.notice = print_notice,
	};
	struct hf_engine *engine;
	struct hf_err err;
	if (!hf_engine_open(&engine_options, &engine, &err))
		return report(&err);
	bool served = serve(engine, options, signals, &err);
	int exit_code = served ? 0 : report(&err);
	if (!hf_engine_close(engine, &err) && served)
		exit_code = report(&err);
	return exit_code;
}

int hf_cli_serve(int argc, char **argv) {
	struct signals signals = { 0 };
	struct serve_options options = {
		.data_dir = "./holdfast-data",
		.listen = "127.0.0.1:7379",
		.threads = 1,
		.max_clients = HF_CONNECTIONS_MAX,
	};
	int exit_code;
	if (!read_options(argc, argv, &options, &exit_code))
		return exit_code;
	if (!catch_signals(&signals))
		return 1;
	exit_code = open_and_serve(&options, &signals);
	release_signals(&signals);
	return exit_code;
}
