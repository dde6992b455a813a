#include "world.h"

#include <stdio.h>

#include "base/assert.h"
#include "engine/record.h"
#include "machine/machine.h"

#define PART 4u /* of a history, at a time */

const char hf_fuzz_contract[] = "---\ntitle: t\n---\n"
				"stateDiagram-v2\n"
				"%% field n: u64\n"
				"%% field s: bytes(8)\n"
				"[*] --> A : New(x: u64) / n = x\n"
				"A --> A : Add(d: u64) [d < 9] / n += d\n"
				"A --> B : Set(v: bytes(8), f: bool, i: i64) [f] / s = v\n"
				"B --> [*]\n";

struct hf_span hf_fuzz_take_part(struct hf_span *input) {
	static const char separator[] = { (char)0xf5, (char)0xf6 };
	const uint8_t *end =
		input->len == 0 ? NULL
				: memmem(input->data, input->len, separator, sizeof(separator));
	size_t len = end == NULL ? input->len : (size_t)(end - input->data);
	size_t taken = end == NULL ? len : len + sizeof(separator);
	struct hf_span part = hf_span(input->data, len);
	*input = hf_span(input->data + taken, input->len - taken);
	return part;
}

/* ---- filling ------------------------------------------------------------------------------- */

static void send_event(struct hf_engine *engine, const char *key, const char *event,
		       const struct hf_arg *args, uint32_t count, const char *id) {
	struct hf_send send = { .contract = hf_span_of("t"),
				.key = hf_span_of(key),
				.event = hf_span_of(event),
				.args = args,
				.arg_count = count,
				.id = hf_span_of(id) };
	struct hf_reply reply;
	hf_engine_send(engine, &send, &reply);
	HF_ASSERT(reply.status == HF_OK);
}

static void set_plain(struct hf_engine *engine, const char *key, struct hf_span value) {
	struct hf_plain_set set = { .key = hf_span_of(key), .value = value };
	struct hf_reply reply;
	bool is_set;
	hf_engine_plain_set(engine, &set, NULL, NULL, &is_set, &reply);
	HF_ASSERT(reply.status == HF_OK && is_set);
}

static void delete_plain(struct hf_engine *engine, const char *key) {
	struct hf_span name = hf_span_of(key);
	struct hf_reply reply;
	uint64_t deleted;
	hf_engine_plain_delete(engine, &name, 1, &deleted, &reply);
	HF_ASSERT(reply.status == HF_OK && deleted == 1);
}

void hf_fuzz_fill(struct hf_engine *engine) {
	const struct hf_arg x = { hf_span_of("x"), hf_span_of("5") };
	const struct hf_arg d = { hf_span_of("d"), hf_span_of("3") };
	const struct hf_arg set[] = { { hf_span_of("v"), hf_span_of("abc") },
				      { hf_span_of("f"), hf_span_of("true") },
				      { hf_span_of("i"), hf_span_of("-7") } };
	struct hf_reply reply;
	char id[16];
	hf_engine_contract_load(engine, hf_span_of(hf_fuzz_contract), "t.mmd", &reply);
	HF_ASSERT(reply.status == HF_OK);
	send_event(engine, "a", "New", &x, 1, "id-a");
	send_event(engine, "b", "New", &x, 1, "");
	for (uint32_t i = 0; i < 70; i++) {
		snprintf(id, sizeof(id), "id-%u", i);
		send_event(engine, "a", "Add", &d, 1, i % 9 == 0 ? id : "");
	}
	send_event(engine, "b", "Set", set, 3, "id-b");
	static const uint8_t zeros[300];
	set_plain(engine, "p", hf_span_of("7"));
	set_plain(engine, "q", hf_span(zeros, sizeof(zeros)));
	set_plain(engine, "r", hf_span_of(""));
	delete_plain(engine, "r");
}

void hf_fuzz_fill_more(struct hf_engine *engine) {
	const struct hf_arg x = { hf_span_of("x"), hf_span_of("6") };
	const struct hf_arg d = { hf_span_of("d"), hf_span_of("1") };
	send_event(engine, "a", "Add", &d, 1, "");
	send_event(engine, "c", "New", &x, 1, "id-c");
	set_plain(engine, "p", hf_span_of("8"));
	delete_plain(engine, "q");
}

/* ---- asking -------------------------------------------------------------------------------- */

static void show_event(void *arg, const struct hf_history_event *event) {
	uint64_t *version = arg;
	char buf[64];
	const struct hf_event *declared = &event->contract->events[event->event_index];
	HF_ASSERT(event->version == ++*version && event->lsn > 0 && event->state[0] != '\0');
	for (uint32_t i = 0; i < declared->param_count; i++)
		if (declared->params[i].type != HF_TYPE_BYTES)
			HF_ASSERT(hf_value_format(declared->params[i].type, &event->params[i],
						  buf) > 0);
}

static void show_count(void *arg, const char *state, uint64_t entities) {
	*(uint64_t *)arg += entities;
}

/* The versions from `from` on, so many of them. */
static void ask_history(struct hf_engine *engine, struct hf_span name, struct hf_span key,
			uint64_t from, uint64_t count) {
	struct hf_reply reply = { .status = HF_OK };
	uint64_t version = from - 1, end = version + count;
	while (reply.status == HF_OK && version < end)
		hf_engine_history(engine, name, key, version + 1,
				  end - version < HF_HISTORY_MAX ? end - version : HF_HISTORY_MAX,
				  show_event, &version, &reply);
	HF_ASSERT(reply.status == HF_CORRUPT || (reply.status == HF_OK && version == end));
}

/* All of a short life; of a long one the end, and a part that is reached by a stride. */
static void ask_entity(struct hf_engine *engine, struct hf_span name, struct hf_span key) {
	struct hf_entity_view view;
	struct hf_reply reply;
	hf_engine_get(engine, name, key, &view, &reply);
	if (reply.status != HF_OK)
		return;
	for (uint32_t i = 0; i < view.contract->field_count; i++) {
		struct hf_value value = hf_field_value(&view.contract->fields[i], view.block);
		HF_ASSERT(value.len <= view.contract->fields[i].bytes_max);
	}
	uint64_t stride = view.version - view.version % HF_SKIP_VERSIONS;
	if (stride <= PART) {
		ask_history(engine, name, key, 1, view.version);
	} else {
		ask_history(engine, name, key, stride - PART, PART);
		ask_history(engine, name, key, view.version - PART, PART + 1);
	}
}

static void ask_plain(struct hf_engine *engine, struct hf_span key) {
	struct hf_span value;
	struct hf_reply reply;
	hf_engine_plain_get(engine, key, &value, &reply);
	HF_ASSERT(reply.status == HF_NOTFOUND || value.len <= HF_PLAIN_VALUE_MAX);
}

static void count_key(void *arg, struct hf_span key) {
	HF_ASSERT(key.len > 0 && key.len <= HF_KEY_MAX);
	(*(uint64_t *)arg)++;
}

void hf_fuzz_ask(struct hf_engine *engine) {
	uint64_t entities = 0, plain_keys = 0, cursor = 0;
	struct hf_engine_info info;
	struct hf_reply reply;
	const struct hf_contract *each;
	for (uint32_t i = 0; (each = hf_engine_contract_at(engine, i)) != NULL; i++) {
		struct hf_span name = hf_span_of(each->name);
		hf_engine_count(engine, name, show_count, &entities, &reply);
		HF_ASSERT(reply.status == HF_OK);
		ask_entity(engine, name, hf_span_of("a"));
		ask_entity(engine, name, hf_span_of("b"));
	}
	hf_engine_info(engine, &info);
	HF_ASSERT(info.entities == entities);
	ask_plain(engine, hf_span_of("p"));
	ask_plain(engine, hf_span_of("q"));
	do
		cursor = hf_engine_plain_scan(engine, cursor, count_key, &plain_keys, &reply);
	while (cursor != 0);
	HF_ASSERT(info.plain_keys == plain_keys);
}
