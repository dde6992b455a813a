/*
 * The frame codec. The input as it is must be safe to read; what was written must read back the
 * same; and with one bit turned, at another place or behind another record, it must not.
 *
 * Input: 16 bytes of parameters, then a record's body.
 */
#include "base/assert.h"
#include "base/limits.h"
#include "frame/cursor.h"
#include "frame/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as_it_is(const uint8_t *data, size_t size, uint32_t seed) {
	struct hf_segment_header segment;
	struct hf_frame frame;
	struct hf_record record;
	struct hf_err err;
	uint8_t sector[HF_SECTOR] = { 0 };
	memcpy(sector, data, size < sizeof(sector) ? size : sizeof(sector));
	bool good = hf_segment_header_get(sector, &segment, &err);
	HF_ASSERT(good || err.status == HF_CORRUPT);
	good = hf_frame_get(sector, seed, 0, &frame);
	HF_ASSERT(!good || frame.payload_len <= HF_FRAME_MAX);
	good = hf_record_get(hf_span(data, size), 0, &record);
	HF_ASSERT(!good ||
		  (record.size <= size && record.body.data + record.body.len < data + size));
	if (good)
		(void)!hf_record_holds(&record, data);
}

static void turn_bit(uint8_t *bytes, size_t len, uint32_t bit) {
	bytes[bit / 8 % len] ^= (uint8_t)(1u << bit % 8);
}

/* Is there a record at the start of these bytes, and does its check hold? */
static bool proven(struct hf_span bytes, uint64_t position, struct hf_record *ret) {
	return hf_record_get(bytes, position, ret) && hf_record_holds(ret, bytes.data);
}

/* A frame of one record, at `bytes`, which has room for it; returns its length. */
static size_t put(struct hf_frame *frame, struct hf_span body, uint32_t seed, uint8_t *bytes) {
	uint8_t *record = bytes + HF_FRAME_HEADER_SIZE;
	if (body.len > 0)
		memcpy(record + HF_RECORD_HEADER_SIZE, body.data, body.len);
	hf_record_put(record, frame->position + HF_FRAME_HEADER_SIZE, HF_RECORD_EVENT,
		      frame->first_lsn, -1, body.len);
	frame->payload_len = (uint32_t)body.len + HF_RECORD_OVERHEAD;
	hf_frame_put(frame, seed, bytes);
	return HF_FRAME_HEADER_SIZE + frame->payload_len;
}

static void record_there_and_back(struct hf_span bytes, uint64_t position, struct hf_span body) {
	struct hf_record record;
	HF_ASSERT(hf_record_size(bytes.data) == bytes.len);
	HF_ASSERT(proven(bytes, position, &record));
	HF_ASSERT(record.size == bytes.len && record.lsn == 1 && record.time_ns == -1);
	HF_ASSERT(record.type == HF_RECORD_EVENT && hf_span_equal(record.body, body));
	HF_ASSERT(!hf_record_get(hf_span(bytes.data, bytes.len - 1), position, &record));
	HF_ASSERT(!proven(bytes, position ^ 1, &record));
}

static void there_and_back(uint64_t position, uint32_t previous, uint32_t bit,
			   struct hf_span body) {
	uint8_t *bytes = malloc(HF_FRAME_HEADER_SIZE + HF_RECORD_OVERHEAD + body.len);
	HF_ASSERT(bytes != NULL);
	struct hf_frame back, frame = { .position = position, .first_lsn = 1, .record_count = 1 };
	struct hf_record record;
	uint32_t seed = hf_frame_seed(position);
	frame.previous_crc = previous;
	size_t size = put(&frame, body, seed, bytes);
	struct hf_span payload = hf_span(bytes + HF_FRAME_HEADER_SIZE, frame.payload_len);
	HF_ASSERT(hf_frame_get(bytes, seed, position, &back));
	HF_ASSERT(hf_frame_payload_holds(&back, bytes));
	HF_ASSERT(back.first_lsn == 1 && back.record_count == 1 && back.crc == frame.crc);
	HF_ASSERT(back.payload_len == frame.payload_len && back.previous_crc == previous);
	record_there_and_back(payload, position + HF_FRAME_HEADER_SIZE, body);
	HF_ASSERT(!hf_frame_get(bytes, seed, position ^ HF_SECTOR, &back));
	HF_ASSERT(!hf_frame_get(bytes, hf_frame_seed(position + 1), position, &back));
	turn_bit(bytes, size, bit);
	if (bit / 8 % size < HF_FRAME_HEADER_SIZE) {
		HF_ASSERT(!hf_frame_get(bytes, seed, position, &back));
	} else {
		HF_ASSERT(hf_frame_get(bytes, seed, position, &back));
		HF_ASSERT(!hf_frame_payload_holds(&back, bytes));
		/* A shorter record's check is the body's: who sees the comparison can forge it. */
		HF_ASSERT(!proven(payload, position + HF_FRAME_HEADER_SIZE, &record) ||
			  record.size < payload.len);
	}
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct hf_reader reader = hf_reader(hf_span(data, size));
	uint64_t position = hf_read_u64(&reader);
	uint32_t previous = hf_read_u32(&reader);
	uint32_t bit = hf_read_u32(&reader);
	if (reader.bad)
		return 0;
	struct hf_span body = hf_read_span(&reader, (size_t)(reader.end - reader.at));
	if (body.len > 4096)
		return 0;
	read_as_it_is(data, size, previous);
	there_and_back(position, previous, bit, body);
	return 0;
}
