/*
 * P5's other half: makes a log of events that follow from a seed, or replays one, and prints the
 * state hash at some LSNs. test_builds.py compares what builds by different compilers print.
 *
 *     feed make DIR EVENTS SEED      makes the log; LSN and hash, several times and at the end
 *     feed replay DIR LSN...         judges every event again up to each LSN; LSN and hash
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/engine.h"
#include "machine/machine.h"

#define PRINTS 4u
#define GROUP 4096u
#define KEYS 4000u
#define SENDS_PER_KEY 32u
#define ARGS_MAX 4u
#define TEXT_MAX 32u

/* ---- contracts: all types, all operators, choices, composites, a new version --------------- */

static const char calculator[] =
	"---\ntitle: calculator\n---\nstateDiagram-v2\n"
	"%% field a: u64\n%% field b: i64\n%% field c: bool\n%% field s: bytes(12)\n"
	"%% invariant a != 18446744073709551615 && (c || b >= -4000000000)\n"
	"[*] --> Run : Start(x: u64, y: i64) / a = x, b = y, c = true\n"
	"Run --> Run : Mul(x: u64) [x != 0 && x < 99] / a = a % 1000003 * x + x / 3\n"
	"Run --> Run : Mul(x: u64) [x >= 99] / a -= x\n"
	"Run --> Run : Mix(y: i64, f: bool) [now > 0] / b = min(max(b - y, -1000000), abs(y % "
	"1000) "
	"* 7), c = f || !c && y < 0\n"
	"Run --> Run : Convert(y: i64) / a = u64(y) + a % 97, b = i64(a) - -y / 3\n"
	"Run --> Run : Name(t: bytes(12)) [s != t] / s = t\n"
	"Run --> Done : Stop [a % 7 == 0 && c]\n"
	"Done --> [*]\n";
static const char order[] =
	"---\ntitle: order\n---\nstateDiagram-v2\n"
	"%% field qty: u64\n%% field filled: u64\n%% invariant filled <= qty\n"
	"[*] --> Open : Place(q: u64) [q > 0] / qty = q\n"
	"Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n"
	"Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n"
	"Open --> Cancelled : Cancel\n"
	"Filled --> [*]\n"
	"Cancelled --> [*]\n";
static const char build_1[] = "---\ntitle: build\n---\nstateDiagram-v2\n"
			      "%% version 1\n%% field tries: u64\n"
			      "state size <<choice>>\n"
			      "[*] --> Idle\n"
			      "Idle --> size : Begin(n: i64) [n != 0] / tries += 1\n"
			      "size --> Working : [n > 0 && n < 1000]\n"
			      "size --> Idle : [else]\n"
			      "state Working {\n[*] --> Fetch\nFetch --> Make : Fetched\n}\n"
			      "Working --> Idle : Fail\n"
			      "Make --> Idle : Made\n";
static const char build_2[] = "---\ntitle: build\n---\nstateDiagram-v2\n"
			      "%% version 2\n%% field tries: u64\n%% field made: i64\n"
			      "state size <<choice>>\n"
			      "[*] --> Idle\n"
			      "Idle --> size : Begin(n: i64) [n != 0] / tries += 2\n"
			      "size --> Working : [n > 0]\n"
			      "size --> Idle : [else]\n"
			      "state Working {\n[*] --> Fetch\nFetch --> Make : Fetched\n}\n"
			      "Working --> Idle : Fail\n"
			      "Make --> Idle : Made / made -= 3\n";

/* ---- chance -------------------------------------------------------------------------------- */

/* SplitMix64: the same numbers everywhere. */
static uint64_t chance(uint64_t *seed, uint64_t limit) {
	uint64_t x = *seed += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % limit;
}

static size_t put_decimal(uint64_t value, char *text) {
	char digits[20];
	size_t count = 0;
	do
		digits[count++] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	for (size_t i = 0; i < count; i++)
		text[i] = digits[count - 1 - i];
	return count;
}

static size_t put_number(uint64_t *seed, bool is_signed, char *text) {
	static const uint64_t edges[] = { 0, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1 };
	uint64_t value = chance(seed, 8) > 0	? chance(seed, 1200)
			 : chance(seed, 2) == 0 ? edges[chance(seed, 4)]
						: chance(seed, UINT64_MAX);
	if (is_signed && chance(seed, 3) == 0)
		value = 0 - value;
	if (!is_signed || value <= INT64_MAX)
		return put_decimal(value, text);
	text[0] = '-';
	return 1 + put_decimal(0 - value, text + 1);
}

static size_t put_value(uint64_t *seed, const struct hf_param *param, char *text) {
	if (param->type == HF_TYPE_BOOL) {
		bool value = chance(seed, 2);
		memcpy(text, value ? "true" : "false", 5);
		return value ? 4 : 5;
	}
	if (param->type != HF_TYPE_BYTES)
		return put_number(seed, param->type == HF_TYPE_I64, text);
	size_t len = chance(seed, param->bytes_max + 1u);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)chance(seed, 256);
	return len;
}

/* ---- making and replaying ------------------------------------------------------------------ */

static void must(bool ok, const char *why) {
	if (ok)
		return;
	fprintf(stderr, "feed: %s\n", why);
	exit(1);
}

static void print_hash(struct hf_engine *engine) {
	uint8_t hash[16];
	struct hf_reply reply;
	hf_engine_hash(engine, hash, &reply);
	printf("%llu ", (unsigned long long)reply.lsn);
	for (size_t i = 0; i < sizeof(hash); i++)
		printf("%02x", hash[i]);
	printf("\n");
}

static void load(struct hf_engine *engine, const char *text) {
	struct hf_reply reply;
	hf_engine_contract_load(engine, hf_span_of(text), "feed.mmd", &reply);
	must(reply.status == HF_OK, reply.text);
}

/* Orders end soon: with as many as the others most events would be refused. */
static const struct hf_contract *choose_contract(struct hf_engine *engine, uint64_t *seed) {
	static const char *const names[] = { "calculator", "build", "order" };
	uint64_t choice = chance(seed, 9);
	return hf_engine_contract(engine, hf_span_of(names[choice == 0 ? 2 : choice % 2]));
}

/*
 * Mostly one that the entity's state has an arrow for, as a refused request costs more than an
 * accepted one, and is not in the log that all builds replay. NULL: the entity has ended.
 */
static const struct hf_event *choose_event(struct hf_engine *engine,
					   const struct hf_contract *contract, struct hf_span key,
					   uint64_t *seed) {
	struct hf_entity_view view = { .state = contract->states[contract->initial].name };
	struct hf_reply reply;
	if (chance(seed, 32) == 0)
		return &contract->events[chance(seed, contract->event_count)];
	hf_engine_get(engine, hf_span_of(contract->name), key, &view, &reply);
	uint64_t first = chance(seed, contract->transition_count);
	for (uint32_t i = 0; i < contract->transition_count; i++) {
		const struct hf_transition *transition =
			&contract->transitions[(first + i) % contract->transition_count];
		if (contract->states[transition->from].name == view.state)
			return &contract->events[transition->event];
	}
	return NULL;
}

/* One event of some entity; most are lawful. True if it was accepted. */
static bool send_any(struct hf_engine *engine, uint64_t *seed, uint64_t number) {
	char texts[ARGS_MAX][TEXT_MAX], key[TEXT_MAX], id[TEXT_MAX] = "id-";
	struct hf_arg args[ARGS_MAX];
	const struct hf_contract *contract = choose_contract(engine, seed);
	/* New keys come and old ones are left: what has ended takes no events. */
	size_t key_len = put_decimal(number / SENDS_PER_KEY + chance(seed, KEYS), key);
	const struct hf_event *event = choose_event(engine, contract, hf_span(key, key_len), seed);
	if (event == NULL)
		return false;
	for (uint32_t i = 0; i < event->param_count; i++)
		args[i] = (struct hf_arg){
			.name = hf_span_of(event->params[i].name),
			.value = hf_span(texts[i], put_value(seed, &event->params[i], texts[i])),
		};
	size_t id_len = 3 + put_decimal(number, id + 3);
	struct hf_send send = {
		.contract = hf_span_of(contract->name),
		.key = hf_span(key, key_len),
		.event = hf_span_of(event->name),
		.args = args,
		.arg_count = event->param_count,
		.id = hf_span(id, chance(seed, 4) == 0 ? id_len : 0),
	};
	struct hf_reply reply;
	hf_engine_send(engine, &send, &reply);
	must(reply.status == HF_OK || reply.status == HF_REFUSED, reply.text);
	return reply.status == HF_OK;
}

static void make(struct hf_engine *engine, uint64_t events, uint64_t seed) {
	hf_engine_lock(engine);
	load(engine, calculator);
	load(engine, order);
	load(engine, build_1);
	for (uint64_t sent = 0, accepted = 0; accepted < events; sent++) {
		bool took = send_any(engine, &seed, sent);
		accepted += took;
		if (took && accepted == events / 2)
			load(engine, build_2);
		if (took && accepted < events && accepted % (events / PRINTS + 1) == 0)
			print_hash(engine);
		if (sent % GROUP == 0) { /* another reading of the clock, and a frame */
			hf_engine_flush(engine);
			hf_engine_unlock(engine);
			hf_engine_lock(engine);
		}
	}
	hf_engine_unlock(engine);
	print_hash(engine);
}

static struct hf_engine *open_engine(const char *dir, bool read_only, uint64_t until_lsn) {
	struct hf_engine_options options = {
		.data_dir = dir,
		.flush = HF_FLUSH_THREAD,
		.no_sync = true,
		.read_only = read_only,
		.until_lsn = until_lsn,
		.verify = read_only,
	};
	struct hf_engine *engine;
	struct hf_err err;
	must(hf_engine_open(&options, &engine, &err), err.text);
	return engine;
}

static void close_engine(struct hf_engine *engine) {
	struct hf_err err;
	must(hf_engine_close(engine, &err), err.text);
}

int main(int argc, char **argv) {
	struct hf_engine *engine;
	if (argc == 5 && strcmp(argv[1], "make") == 0) {
		engine = open_engine(argv[2], false, 0);
		make(engine, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
		close_engine(engine);
		return 0;
	}
	must(argc > 3 && strcmp(argv[1], "replay") == 0,
	     "usage: feed make DIR EVENTS SEED | feed replay DIR LSN...");
	for (int i = 3; i < argc; i++) {
		engine = open_engine(argv[2], true, strtoull(argv[i], NULL, 10));
		print_hash(engine);
		close_engine(engine);
	}
	return 0;
}
