/*
 * log.c - `holdfast log dump DIR` and `holdfast log verify DIR`.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/text.h"
#include "engine/record.h"
#include "log/log.h"
#include "log/snapshot.h"
#include "machine/machine.h"

typedef unsigned long long ull;

static const char help[] =
	"usage: holdfast log dump DIR [--json]\n"
	"       holdfast log verify DIR [--json]\n"
	"\n"
	"dump prints every record of the log in DIR, one a line, oldest first, and then its "
	"snapshots. "
	"verify proves every\n"
	"frame, record and snapshot by its checksums and its place, and prints what is there. "
	"Neither "
	"changes anything.\n"
	"\n"
	"  --json  dump: one JSON object a line, in which bytes that are no UTF-8 are "
	"{\"hex\":\"...\"}; verify: one JSON object\n"
	"\n"
	"Exits 0 if all is proven, 1 if not (the file and the offset are named), 2 on "
	"wrong "
	"usage.\n";

struct dump {
	bool json;
	uint32_t count;
	struct hf_contract *contracts[HF_CONTRACTS_MAX];
	struct hf_diagnostics diagnostics;
	uint8_t value[HF_PLAIN_VALUE_MAX];
};

static const struct hf_contract *contract_of(const struct dump *dump, uint32_t ref) {
	for (uint32_t i = dump->count; i-- > 0;)
		if (memcmp(dump->contracts[i]->hash, &ref, sizeof(ref)) == 0)
			return dump->contracts[i];
	return NULL;
}

/*
 * Bytes, so that they can be had back: as quoted text, or as a JSON string, which is text; what is
 * none is {"hex":"..."} there.
 */
static void put_bytes(const struct dump *dump, struct hf_span bytes) {
	if (dump->json && hf_text_is_utf8(bytes)) {
		hf_text_json(bytes);
		return;
	}
	if (dump->json) {
		printf("{\"hex\":\"");
		hf_text_hex(bytes);
		printf("\"}");
		return;
	}
	putchar('"');
	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.data[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
		printf(plain ? "%c" : "\\x%02x", c);
	}
	putchar('"');
}

static void put_value(const struct dump *dump, enum hf_type type, const struct hf_value *value) {
	char text[HF_BYTES_MAX];
	size_t len = hf_value_format(type, value, text);
	if (type == HF_TYPE_BYTES)
		put_bytes(dump, hf_span(text, len));
	else
		printf("%.*s", (int)len, text);
}

static bool dump_contract(struct dump *dump, const struct hf_record *record, struct hf_err *err) {
	struct hf_contract **slot = &dump->contracts[dump->count];
	struct hf_err why;
	if (dump->count == HF_CONTRACTS_MAX)
		return hf_fail(err, HF_CORRUPT, "LSN %llu: one contract too many",
			       (ull)record->lsn);
	if (!hf_contract_body_compile(record->body, &dump->diagnostics, slot, &why))
		return hf_fail(err, why.status, "LSN %llu: %s", (ull)record->lsn, why.text);
	dump->count++;
	printf(dump->json ? "{\"lsn\":%llu,\"time_ns\":%lld,\"contract\":\"%s\",\"version\":%llu,"
			    "\"hash\":\""
			  : "%llu %lld contract %s version %llu hash ",
	       (ull)record->lsn, (long long)record->time_ns, (*slot)->name, (ull)(*slot)->version);
	hf_text_hex(hf_span((*slot)->hash, sizeof((*slot)->hash)));
	if (dump->json) {
		printf("\",\"text\":");
		put_bytes(dump, hf_span((*slot)->text, (*slot)->text_len));
		printf("}");
	}
	putchar('\n');
	return true;
}

static void put_params(const struct dump *dump, const struct hf_event *event,
		       const struct hf_value *values) {
	for (uint32_t i = 0; i < event->param_count; i++) {
		const struct hf_param *param = &event->params[i];
		printf(dump->json ? "%s\"%s\":" : "%s%s=",
		       i == 0	    ? ""
		       : dump->json ? ","
				    : " ",
		       param->name);
		put_value(dump, param->type, &values[i]);
	}
}

static bool dump_event(struct dump *dump, const struct hf_record *record, struct hf_err *err) {
	struct hf_event_record event;
	struct hf_value values[HF_PARAMS_MAX];
	const struct hf_contract *contract = NULL;
	if (hf_event_body_get(record->body, &event))
		contract = contract_of(dump, event.ref);
	if (contract == NULL || event.event >= contract->event_count ||
	    event.transition >= contract->transition_count ||
	    !hf_event_params_get(&contract->events[event.event], event.params, values))
		return hf_fail(err, HF_CORRUPT, "LSN %llu: this event record does not parse",
			       (ull)record->lsn);
	const struct hf_event *declared = &contract->events[event.event];
	const char *state = contract->states[contract->transitions[event.transition].to].name;
	printf(dump->json ? "{\"lsn\":%llu,\"time_ns\":%lld,\"contract\":\"%s\",\"key\":"
			  : "%llu %lld %s:",
	       (ull)record->lsn, (long long)record->time_ns, contract->name);
	put_bytes(dump, event.key);
	printf(dump->json ? ",\"event\":\"%s\",\"params\":{" : " %s(", declared->name);
	put_params(dump, declared, values);
	printf(dump->json ? "},\"state\":\"%s\",\"version\":%llu" : ") -> %s version %llu", state,
	       (ull)event.version);
	if (event.id.len > 0) {
		printf(dump->json ? ",\"id\":" : " id ");
		put_bytes(dump, event.id);
	}
	printf(dump->json ? "}\n" : "\n");
	return true;
}

static bool dump_set(struct dump *dump, const struct hf_record *record, struct hf_err *err) {
	struct hf_span key;
	size_t len;
	if (!hf_set_body_get(record->body, &key, dump->value, &len))
		return hf_fail(err, HF_CORRUPT,
			       "LSN %llu: this record of a plain key does not parse",
			       (ull)record->lsn);
	printf(dump->json ? "{\"lsn\":%llu,\"time_ns\":%lld,\"set\":" : "%llu %lld set ",
	       (ull)record->lsn, (long long)record->time_ns);
	put_bytes(dump, key);
	printf(dump->json ? ",\"value\":" : " = ");
	put_bytes(dump, hf_span(dump->value, len));
	printf(dump->json ? "}\n" : "\n");
	return true;
}

static bool dump_delete(struct dump *dump, const struct hf_record *record, struct hf_err *err) {
	struct hf_reader reader = hf_reader(record->body);
	printf(dump->json ? "{\"lsn\":%llu,\"time_ns\":%lld,\"delete\":[" : "%llu %lld delete",
	       (ull)record->lsn, (long long)record->time_ns);
	for (bool first = true; reader.at < reader.end; first = false) {
		struct hf_span key;
		if (!hf_delete_body_next(&reader, &key))
			return hf_fail(err, HF_CORRUPT, "LSN %llu: this deletion does not parse",
				       (ull)record->lsn);
		printf("%s", !dump->json ? " " : first ? "" : ",");
		put_bytes(dump, key);
	}
	printf(dump->json ? "]}\n" : "\n");
	return true;
}

static bool dump_record(struct dump *dump, const struct hf_record *record, struct hf_err *err) {
	switch (record->type) {
	case HF_RECORD_CONTRACT:
		return dump_contract(dump, record, err);
	case HF_RECORD_EVENT:
		return dump_event(dump, record, err);
	case HF_RECORD_SET:
		return dump_set(dump, record, err);
	case HF_RECORD_DELETE:
		return dump_delete(dump, record, err);
	default:
		return hf_fail(err, HF_CORRUPT, "LSN %llu: unknown type of record",
			       (ull)record->lsn);
	}
}

static bool dump_records(void *arg, const struct hf_record *records, uint32_t count,
			 struct hf_err *err) {
	struct dump *dump = arg;
	bool ok = true;
	for (uint32_t i = 0; ok && i < count; i++)
		ok = dump_record(dump, &records[i], err);
	return ok;
}

/* What a directory holds: the log, proven, and the snapshots, which are still to be. */
struct held {
	struct hf_dir dir;
	struct hf_log_end end;
	uint64_t snapshots[HF_SNAPSHOTS_LISTED]; /* newest first */
	uint32_t snapshot_count;
};

/* Scans the log. If that goes well, `ret->dir` is to be closed. */
static bool scan(const char *path, hf_log_records_fn *records, void *arg, struct held *ret,
		 struct hf_err *err) {
	if (!hf_dir_open(path, false, &ret->dir, err))
		return false;
	struct hf_log_scan options = {
		.dir = &ret->dir, .records = records, .prove_records = true, .arg = arg
	};
	/* The snapshots first: the log may be in use, and both grow. */
	bool ok = hf_snapshot_list(&ret->dir, ret->snapshots, &ret->snapshot_count, err) &&
		  hf_log_scan(&options, &ret->end, err);
	if (ok && ret->end.segments == 0)
		ok = hf_fail(err, HF_NOTFOUND,
			     "%s: no log is here (no file log-0000000000000000.hfl)", path);
	if (!ok)
		hf_dir_close(&ret->dir);
	return ok;
}

static bool prove_snapshot(const struct held *held, uint64_t lsn, struct hf_snapshot_head *ret_head,
			   uint64_t *ret_bytes, struct hf_err *err) {
	const struct hf_log_end *end = &held->end;
	char name[HF_SNAPSHOT_NAME_SIZE];
	if (!hf_snapshot_verify(&held->dir, lsn, ret_head, ret_bytes, err))
		return false;
	return (ret_head->log_id == end->log_id && lsn <= end->last_lsn) ||
	       hf_fail(err, HF_CORRUPT,
		       "%s/%s: this snapshot is of LSN %llu of log %016llx, but the "
		       "log here is %016llx and ends at LSN %llu",
		       held->dir.path, hf_snapshot_name(lsn, name), (ull)lsn, (ull)ret_head->log_id,
		       (ull)end->log_id, (ull)end->last_lsn);
}

static void print_snapshot(const struct hf_snapshot_head *head, uint64_t bytes, bool json) {
	char name[HF_SNAPSHOT_NAME_SIZE];
	printf(json ? "{\"snapshot\":\"%s\",\"lsn\":%llu,\"state_hash\":\"%016llx%016llx\","
		      "\"events\":%llu,\"contracts\":%llu,\"entities\":%llu,\"plain_keys\":%llu,"
		      "\"ids\":%llu,\"bytes\":%llu,\"taken_ns\":%lld}"
		    : "snapshot %s lsn %llu hash %016llx%016llx events %llu contracts %llu "
		      "entities %llu plain_keys %llu ids %llu bytes %llu taken %lld",
	       hf_snapshot_name(head->lsn, name), (ull)head->lsn, (ull)head->state_hash[1],
	       (ull)head->state_hash[0], (ull)head->events, (ull)head->contracts,
	       (ull)head->entities, (ull)head->plain_keys, (ull)head->ids, (ull)bytes,
	       (long long)head->taken_ns);
}

/*
 * Prints the snapshots that are good, as lines or as a JSON list's inside, and tells of each that
 * is not: one bad one hides no other. The exit code.
 */
static int print_snapshots(const struct held *held, bool json, bool lines) {
	int code = HF_EXIT_GOOD;
	bool first = true;
	for (uint32_t i = 0; i < held->snapshot_count; i++) {
		struct hf_snapshot_head head;
		struct hf_err err;
		uint64_t bytes;
		if (!prove_snapshot(held, held->snapshots[i], &head, &bytes, &err)) {
			if (!hf_snapshot_gone(&err))
				code = hf_cli_fail("log", &err);
			continue;
		}
		if (!lines && !first)
			putchar(',');
		print_snapshot(&head, bytes, json);
		if (lines)
			putchar('\n');
		first = false;
	}
	return code;
}

static int dump(const char *path, bool json) {
	struct held held;
	struct hf_err err;
	struct dump *dump = hf_memory_new(sizeof(*dump));
	if (dump == NULL) {
		(void)hf_fail(&err, HF_NOMEM, "out of memory");
		return hf_cli_fail("log", &err);
	}
	dump->json = json;
	bool ok = scan(path, dump_records, dump, &held, &err);
	int code = ok ? print_snapshots(&held, json, true) : hf_cli_fail("log", &err);
	if (ok)
		hf_dir_close(&held.dir);
	for (uint32_t i = 0; i < dump->count; i++)
		hf_contract_free(dump->contracts[i]);
	hf_memory_free(dump);
	return code;
}

static const char *witness_text(const struct hf_log_end *end, bool json) {
	switch (end->witness) {
	case HF_WITNESS_MISSING:
		return json ? "missing"
			    : "no acked.hfw: if the end of the log was lost, nobody knows";
	case HF_WITNESS_SHORT:
		if (end->last_lsn == 0) /* one that was being made */
			return json ? "missing" : "acked.hfw is not made yet; nothing is logged";
		/* fall through */
	case HF_WITNESS_DAMAGED:
		return json ? "damaged"
			    : "acked.hfw is damaged: if the end of the log was lost, nobody knows";
	default:
		return "whole";
	}
}

static void print_log(const struct hf_log_end *end, bool json) {
	printf(json ? "{\"log_id\":\"%016llx\",\"segments\":%llu,\"segment_size\":%llu,\"frames\":%"
		      "llu,\"last_lsn\":%llu,"
		      "\"bytes\":%llu,\"record_bytes\":%llu,\"closed\":%s,\"torn_bytes\":%llu,"
		      "\"witness\":\"%s\",\"snapshots\":["
		    : "log id        %016llx\nsegments      %llu\nsegment size  %llu\nframes       "
		      " %llu\n"
		      "last LSN      %llu\nbytes         %llu\nrecord bytes  %llu\nclosed        "
		      "%s\ntorn bytes    %llu\nwitness       %s\n",
	       (ull)end->log_id, (ull)end->segments, (ull)end->segment_size, (ull)end->frames,
	       (ull)end->last_lsn, (ull)end->position, (ull)end->record_bytes,
	       json ? (end->closed ? "true" : "false")
		    : (end->closed ? "in order" : "no: it is in use, or was killed"),
	       (ull)end->torn_bytes, witness_text(end, json));
	if (!json && end->torn_bytes > 0)
		printf("An unfinished group stands at the end. It was never acknowledged; the next "
		       "start cuts it off.\n");
}

static int verify(const char *path, bool json) {
	struct held held;
	struct hf_err err;
	if (!scan(path, NULL, NULL, &held, &err))
		return hf_cli_fail("log", &err);
	print_log(&held.end, json);
	int code = print_snapshots(&held, json, !json);
	if (json)
		printf("]}\n");
	hf_dir_close(&held.dir);
	return code;
}

int hf_cli_log(int argc, char **argv) {
	bool json = false, helped;
	int operands;
	struct hf_err err;
	const struct hf_option options[] = { { "--json", NULL, &json } };
	if (!hf_options_parse(argc, argv, options, 1, help, &operands, &helped, &err))
		return hf_cli_fail("log", &err);
	if (helped)
		return HF_EXIT_GOOD;
	const char *action = operands > 0 ? argv[1] : "";
	bool dumps = strcmp(action, "dump") == 0;
	if (operands != 2 || (!dumps && strcmp(action, "verify") != 0)) {
		(void)hf_fail(&err, HF_USAGE, "'dump DIR' or 'verify DIR' is wanted; try --help");
		return hf_cli_fail("log", &err);
	}
	return dumps ? dump(argv[2], json) : verify(argv[2], json);
}
