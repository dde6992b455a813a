/*
 * A log of any bytes, in a build where every checksum holds: scanned, replayed, and asked. Nothing
 * may crash; what is replayed can be read back whole.
 *
 * Input: a byte; if it is odd, the log from the first sector behind the segment's header on. Else
 * records, of which frames are made as they should be: each a type and a body, up to a separator.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "compile_once.h"
#include "engine/engine.h"
#include "frame/frame.h"
#include "image.h"
#include "log/log.h"
#include "world.h"

#define LOG_ID 0x1122334455667788
#define BYTES_MAX 65536u
#define RECORDS_PER_FRAME 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	hf_compile_once(hf_span_of(hf_fuzz_contract));
	return 0;
}

struct log_bytes {
	size_t len;
	uint32_t crc; /* of the last frame */
	uint64_t lsn;
	uint8_t bytes[BYTES_MAX];
};

static void put_frame(struct log_bytes *log, struct hf_span *input) {
	uint8_t *begin = log->bytes + log->len, *at = begin + HF_FRAME_HEADER_SIZE;
	struct hf_frame frame = { .position = log->len,
				  .first_lsn = log->lsn + 1,
				  .previous_crc = log->crc };
	for (; input->len > 0 && frame.record_count < RECORDS_PER_FRAME; frame.record_count++) {
		struct hf_span part = hf_fuzz_take_part(input);
		uint8_t type = part.len == 0 ? 0 : part.data[0];
		size_t len = part.len == 0 ? 0 : part.len - 1;
		if (len > HF_RECORD_MAX - HF_RECORD_OVERHEAD)
			len = HF_RECORD_MAX - HF_RECORD_OVERHEAD;
		hf_bytes_copy(at + HF_RECORD_HEADER_SIZE, part.data + 1, len);
		hf_record_put(at, (uint64_t)(at - log->bytes), type, ++log->lsn, 1000, len);
		at += len + HF_RECORD_OVERHEAD;
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
					    .segment_size = BYTES_MAX };
	hf_segment_header_put(&header, log->bytes);
	log->len = HF_SECTOR;
	log->crc = 0;
	log->lsn = 0;
	if (input.len == 0)
		return;
	struct hf_span rest = hf_span(input.data + 1, input.len - 1);
	if (input.data[0] & 1) {
		hf_bytes_copy(log->bytes + log->len, rest.data, rest.len);
		log->len += rest.len;
		return;
	}
	while (rest.len > 0 && log->len < BYTES_MAX / 2)
		put_frame(log, &rest);
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
				      .size = BYTES_MAX };
	hf_image_show(&file, 1);
	if (!hf_engine_open(&options, &engine, &err)) {
		HF_ASSERT(err.status == HF_CORRUPT && err.text[0] != '\0');
		return 0;
	}
	hf_fuzz_ask(engine);
	bool closed = hf_engine_close(engine, &err);
	HF_ASSERT(closed);
	return 0;
}
