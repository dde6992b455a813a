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
	good = hf_record_get(hf_span(data, size), 0, seed, &record);
	HF_ASSERT(!good || record.size <= size);
}

static void turn_bit(uint8_t *bytes, size_t len, uint32_t bit) {
	bytes[bit / 8 % len] ^= (uint8_t)(1u << bit % 8);
}

static void record_there_and_back(uint64_t position, uint32_t previous, uint32_t bit,
				  struct hf_span body) {
	size_t size = body.len + HF_RECORD_OVERHEAD;
	uint8_t *bytes = malloc(size);
	HF_ASSERT(bytes != NULL);
	struct hf_record record;
	if (body.len > 0)
		memcpy(bytes + HF_RECORD_HEADER_SIZE, body.data, body.len);
	uint32_t crc = hf_record_put(bytes, position, previous, HF_RECORD_EVENT, position + 1, -1,
				     body.len);
	HF_ASSERT(hf_record_size(bytes) == size);
	HF_ASSERT(hf_record_get(hf_span(bytes, size), position, previous, &record));
	HF_ASSERT(record.crc == crc && record.size == size && record.lsn == position + 1);
	HF_ASSERT(record.time_ns == -1 && record.type == HF_RECORD_EVENT);
	HF_ASSERT(hf_span_equal(record.body, body));
	HF_ASSERT(!hf_record_get(hf_span(bytes, size - 1), position, previous, &record));
	HF_ASSERT(!hf_record_get(hf_span(bytes, size), position ^ 1, previous, &record));
	HF_ASSERT(!hf_record_get(hf_span(bytes, size), position, previous ^ 1, &record));
	turn_bit(bytes, size, bit);
	HF_ASSERT(!hf_record_get(hf_span(bytes, size), position, previous, &record));
	free(bytes);
}

static void frame_there_and_back(uint64_t position, uint32_t previous, uint32_t bit, uint32_t len) {
	uint8_t bytes[HF_FRAME_HEADER_SIZE];
	struct hf_frame frame = { .position = position,
				  .first_lsn = 1,
				  .payload_len = len,
				  .record_count = 1,
				  .last_crc = ~previous,
				  .previous_crc = previous };
	struct hf_frame back;
	uint32_t seed = hf_frame_seed(position);
	hf_frame_put(&frame, seed, bytes);
	HF_ASSERT(hf_frame_get(bytes, seed, position, &back));
	HF_ASSERT(back.first_lsn == 1 && back.payload_len == len && back.record_count == 1 &&
		  back.last_crc == ~previous && back.previous_crc == previous);
	HF_ASSERT(!hf_frame_get(bytes, seed, position ^ HF_SECTOR, &back));
	HF_ASSERT(!hf_frame_get(bytes, hf_frame_seed(position + 1), position, &back));
	turn_bit(bytes, sizeof(bytes), bit);
	HF_ASSERT(!hf_frame_get(bytes, seed, position, &back));
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
	record_there_and_back(position, previous, bit, body);
	frame_there_and_back(position, previous, bit, (uint32_t)body.len);
	return 0;
}
