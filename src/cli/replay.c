/*
 * replay.c - `holdfast replay DIR`: the whole log again, from its first byte, to the same state
 * hash.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "engine/engine.h"

static const char help[] =
	"usage: holdfast replay DIR [--until LSN] [--verify] [--json]\n"
	"\n"
	"Reads the log in DIR from its first byte, proves every frame, judges every event again, "
	"and prints the last LSN\n"
	"and the state hash. Changes nothing, and may run on the directory of a running server: it "
	"reads what is there.\n"
	"\n"
	"  --until LSN  stop after that LSN\n"
	"  --verify     besides, compare all ids byte by byte: none was applied twice to its "
	"entity; and each snapshot\n"
	"               with what the log makes up to its LSN\n"
	"  --json       print one JSON object\n"
	"\n"
	"Exits 0 if all is as it was recorded, 1 at the first difference, 2 on wrong usage.\n";

static void print_result(struct hf_engine *engine, bool verified, bool json) {
	struct hf_engine_info info;
	struct hf_reply reply;
	uint8_t hash[16];
	hf_engine_info(engine, &info);
	hf_engine_hash(engine, hash, &reply);
	printf(json ? "{\"lsn\":%llu,\"state_hash\":\"" : "lsn         %llu\nstate hash  ",
	       (unsigned long long)reply.lsn);
	hf_text_hex(hf_span(hash, sizeof(hash)));
	double seconds = (double)info.recovered_ns / 1e9;
	double rate = seconds > 0 ? (double)info.recovered_events / seconds : 0;
	printf(json ? "\",\"events\":%llu,\"entities\":%llu,\"plain_keys\":%llu,\"seconds\":%.3f,"
		      "\"events_per_second\":%.0f,\"verified\":%s}\n"
		    : "\nevents      %llu\nentities    %llu\nplain keys  %llu\nseconds     %.3f\n"
		      "events/s    %.0f\nverified    %s\n",
	       (unsigned long long)info.recovered_events, (unsigned long long)info.entities,
	       (unsigned long long)info.plain_keys, seconds, rate,
	       json ? (verified ? "true" : "false") : (verified ? "yes" : "no"));
}

/* Is what was replayed there at all, up to `until_lsn`? */
static bool is_whole(struct hf_engine *engine, uint64_t until_lsn, struct hf_err *err) {
	struct hf_engine_info info;
	hf_engine_info(engine, &info);
	if (info.segment_size == 0) /* there is no segment, of which one would tell it */
		return hf_fail(err, HF_NOTFOUND,
			       "%s: no log is here (no file log-0000000000000000.hfl)",
			       info.data_dir);
	return info.last_lsn >= until_lsn ||
	       hf_fail(err, HF_NOTFOUND, "--until %llu: the log ends at LSN %llu",
		       (unsigned long long)until_lsn, (unsigned long long)info.last_lsn);
}

static void notice(void *arg, const char *line) {
	fprintf(stderr, "holdfast replay: %s\n", line);
}

int hf_cli_replay(int argc, char **argv) {
	const char *until = NULL;
	bool verify = false, json = false, helped;
	int operands;
	struct hf_err err;
	const struct hf_option options[] = {
		{ "--until", &until, NULL },
		{ "--verify", NULL, &verify },
		{ "--json", NULL, &json },
	};
	if (!hf_options_parse(argc, argv, options, sizeof(options) / sizeof(options[0]), help,
			      &operands, &helped, &err))
		return hf_cli_fail("replay", &err);
	if (helped)
		return HF_EXIT_GOOD;
	uint64_t until_lsn = 0;
	if (operands != 1)
		hf_fail(&err, HF_USAGE, "one data directory is wanted, %d given; try --help",
			operands);
	else if (until == NULL ||
		 (hf_option_u64("--until", until, &until_lsn, &err) &&
		  (until_lsn > 0 || hf_fail(&err, HF_USAGE, "--until 0: LSNs begin at 1"))))
		err.status = HF_OK;
	if (operands != 1 || err.status != HF_OK)
		return hf_cli_fail("replay", &err);

	struct hf_progress progress;
	hf_progress_init(&progress);
	struct hf_engine_options engine_options = {
		.data_dir = argv[1],
		.read_only = true,
		.until_lsn = until_lsn,
		.verify = verify,
		.progress = hf_progress_draw,
		.notice = notice,
		.arg = &progress,
	};
	struct hf_engine *engine;
	bool ok = hf_engine_open(&engine_options, &engine, &err);
	hf_progress_end(&progress);
	if (!ok)
		return hf_cli_fail("replay", &err);
	ok = is_whole(engine, until_lsn, &err);
	if (ok)
		print_result(engine, verify, json);
	int code = ok ? HF_EXIT_GOOD : hf_cli_fail("replay", &err);
	if (!hf_engine_close(engine, &err))
		return hf_cli_fail("replay", &err);
	return code;
}
