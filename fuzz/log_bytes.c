/*
 * A log of any bytes, in a build where every checksum holds: scanned, replayed, and asked. Nothing
 * may crash; what is replayed can be read back whole.
 *
 * Input: a byte; if it is odd, the log from the first sector behind the segment's header on. Else
 * records, of which frames are made as they should be: each a type, two bytes of length, a body.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "compile_once.h"
#include "engine/engine.h"
#include "frame/cursor.h"
#include "frame/frame.h"
#include "image.h"
#include "log/log.h"
#include "machine/machine.h"

#include <stdlib.h>

#define LOG_ID 0x1122334455667788
#define BYTES_MAX 65536u
#define RECORDS_PER_FRAME 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char contract[] = "---\ntitle: t\n---\n"
			       "stateDiagram-v2\n"
			       "%% field n: u64\n"
			       "%% field s: bytes(8)\n"
			       "[*] --> A : New(x: u64) / n = x\n"
			       "A --> A : Add(d: u64) [d < 9] / n += d\n"
			       "A --> B : Set(v: bytes(8), f: bool, i: i64) [f] / s = v\n"
			       "B --> [*]\n";

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	hf_compile_once(hf_span_of(contract));
	return 0;
}

/* ---- the log ------------------------------------------------------------------------------- */

struct log_bytes {
	size_t len;
	uint32_t crc; /* of the last frame */
	uint64_t lsn;
	uint8_t bytes[BYTES_MAX];
};

/* The rest of the input's records, up to a frame's fill. */
static void put_frame(struct log_bytes *log, struct hf_reader *input) {
	uint8_t *begin = log->bytes + log->len, *at = begin + HF_FRAME_HEADER_SIZE;
	struct hf_frame frame = { .position = log->len,
				  .first_lsn = log->lsn + 1,
				  .previous_crc = log->crc };
	while (input->at < input->end && frame.record_count < RECORDS_PER_FRAME) {
		uint8_t type = hf_read_u8(input);
		size_t len = hf_read_u16(input), left = (size_t)(input->end - input->at);
		struct hf_span body = hf_read_span(input, len < left ? len : left);
		hf_bytes_copy(at + HF_RECORD_HEADER_SIZE, body.data, body.len);
		hf_record_put(at, (uint64_t)(at - log->bytes), type, ++log->lsn, 1000, body.len);
		at += body.len + HF_RECORD_OVERHEAD;
		frame.record_count++;
	}
	frame.payload_len = (uint32_t)(at - begin) - HF_FRAME_HEADER_SIZE;
	hf_frame_put(&frame, hf_frame_seed(LOG_ID), begin);
	log->crc = frame.crc;
	log->len = (size_t)(at - log->bytes);
	while (log->len % HF_SECTOR != 0)
		log->bytes[log->len++] = HF_PADDING;
}

static void make_log(struct log_bytes *log, struct hf_span input) {
	struct hf_segment_header header = { .format_version = HF_FORMAT_VERSION,
					    .log_id = LOG_ID,
					    .segment_size = HF_SEGMENT_SIZE_MIN };
	struct hf_reader reader = hf_reader(input);
	hf_segment_header_put(&header, log->bytes);
	log->len = HF_SECTOR;
	log->crc = 0;
	log->lsn = 0;
	if (hf_read_u8(&reader) & 1) {
		size_t len = (size_t)(reader.end - reader.at);
		hf_bytes_copy(log->bytes + log->len, reader.at, len);
		log->len += len;
		return;
	}
	while (reader.at < reader.end && !reader.bad && log->len < BYTES_MAX / 2)
		put_frame(log, &reader);
}

/* ---- what is in it ------------------------------------------------------------------------- */

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

static void ask_entity(struct hf_engine *engine, struct hf_span name, struct hf_span key) {
	struct hf_entity_view view;
	struct hf_reply reply;
	uint64_t version = 0;
	hf_engine_get(engine, name, key, &view, &reply);
	if (reply.status != HF_OK)
		return;
	for (uint32_t i = 0; i < view.contract->field_count; i++) {
		struct hf_value value = hf_field_value(&view.contract->fields[i], view.block);
		HF_ASSERT(value.len <= HF_BYTES_MAX);
	}
	hf_engine_history(engine, name, key, 1, HF_HISTORY_MAX, show_event, &version, &reply);
	HF_ASSERT(reply.status == HF_OK && version == view.version);
}

static void ask(struct hf_engine *engine) {
	uint64_t entities = 0;
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
	HF_ASSERT(info.entities == entities && info.events <= info.last_lsn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct log_bytes log;
	struct hf_engine_options options = { .data_dir = "", .read_only = true, .verify = true };
	struct hf_engine *engine;
	struct hf_err err;
	char name[HF_SEGMENT_NAME_SIZE];
	if (size > BYTES_MAX / 4)
		return 0;
	make_log(&log, hf_span(data, size));
	struct hf_image_file file = { .name = hf_segment_name(0, name),
				      .bytes = log.bytes,
				      .len = log.len,
				      .size = HF_SEGMENT_SIZE_MIN };
	hf_image_show(&file, 1);
	if (!hf_engine_open(&options, &engine, &err)) {
		HF_ASSERT(err.status == HF_CORRUPT && err.text[0] != '\0');
		return 0;
	}
	ask(engine);
	bool closed = hf_engine_close(engine, &err);
	HF_ASSERT(closed);
	return 0;
}
