/* The bytes of the log: headers, records, chains, varints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "frame/cursor.h"
#include "frame/frame.h"

static void segment_header_holds(void **state) {
	uint8_t sector[HF_SECTOR];
	struct hf_segment_header header = { HF_FORMAT_VERSION, 0x1122334455667788u, 7,
					    HF_SEGMENT_SIZE_MIN },
				 read;
	struct hf_err err;
	hf_segment_header_put(&header, sector);
	assert_true(hf_segment_header_get(sector, &read, &err));
	assert_int_equal(read.segment, 7);
	assert_int_equal(read.log_id, header.log_id);
	for (size_t bit = 0; bit < HF_SECTOR * 8; bit++) {
		sector[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(hf_segment_header_get(sector, &read, &err));
		assert_int_equal(err.status, HF_CORRUPT);
		sector[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void unknown_version_is_named(void **state) {
	uint8_t sector[HF_SECTOR];
	struct hf_segment_header header = { 9, 1, 0, HF_SEGMENT_SIZE_MIN }, read;
	struct hf_err err;
	hf_segment_header_put(&header, sector);
	assert_false(hf_segment_header_get(sector, &read, &err));
	assert_non_null(strstr(err.text, "version 9"));
}

static void a_frame_is_bound_to_its_place(void **state) {
	uint8_t bytes[HF_FRAME_HEADER_SIZE + 99];
	struct hf_frame frame = { .position = 4096,
				  .first_lsn = 12,
				  .payload_len = 99,
				  .record_count = 3 },
			read;
	uint32_t seed = hf_frame_seed(42);
	memset(bytes, 'x', sizeof(bytes));
	hf_frame_put(&frame, seed, bytes);
	assert_true(hf_frame_get(bytes, seed, 4096, &read));
	assert_int_equal(read.first_lsn, 12);
	assert_true(hf_frame_payload_holds(&read, bytes));
	assert_false(hf_frame_get(bytes, seed, 4608, &read));
	assert_false(hf_frame_get(bytes, hf_frame_seed(43), 4096, &read));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bool header = hf_frame_get(bytes, seed, 4096, &read);
		assert_int_equal(header, bit / 8 >= HF_FRAME_HEADER_SIZE);
		assert_false(header && hf_frame_payload_holds(&read, bytes));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static bool record_holds(const uint8_t *bytes, size_t len, uint64_t position,
			 struct hf_record *ret) {
	return hf_record_get(hf_span(bytes, len), position, ret) && hf_record_holds(ret, bytes);
}

static void every_flipped_bit_of_a_record_is_seen(void **state) {
	uint8_t bytes[HF_RECORD_OVERHEAD + 50] = { 0 };
	struct hf_record record;
	memset(bytes + HF_RECORD_HEADER_SIZE, 'x', 50);
	hf_record_put(bytes, 1000, HF_RECORD_EVENT, 5, -6, 50);
	assert_true(record_holds(bytes, sizeof(bytes), 1000, &record));
	assert_int_equal(record.lsn, 5);
	assert_int_equal(record.time_ns, -6);
	assert_int_equal(record.body.len, 50);
	assert_int_equal(record.type, HF_RECORD_EVENT);
	assert_false(record_holds(bytes, sizeof(bytes), 1001, &record)); /* misplaced */
	assert_false(record_holds(bytes, sizeof(bytes) - 1, 1000, &record));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(record_holds(bytes, sizeof(bytes), 1000, &record));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void varints_have_one_form(void **state) {
	const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT64_MAX / 2, UINT64_MAX };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		uint8_t bytes[10];
		struct hf_writer writer = { bytes, bytes + sizeof(bytes) };
		hf_write_varint(&writer, values[i]);
		size_t len = (size_t)(writer.at - bytes);
		struct hf_reader reader = hf_reader(hf_span(bytes, len));
		assert_int_equal(hf_read_varint(&reader), values[i]);
		assert_false(reader.bad);
		reader = hf_reader(hf_span(bytes, len - 1));
		hf_read_varint(&reader);
		assert_true(reader.bad);
	}
	struct hf_reader longer = hf_reader(hf_span("\x81\x00", 2));
	hf_read_varint(&longer);
	assert_true(longer.bad);
	struct hf_reader too_big =
		hf_reader(hf_span("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10));
	hf_read_varint(&too_big);
	assert_true(too_big.bad);
}

static void zigzag_is_its_own_way_back(void **state) {
	const int64_t values[] = { 0, -1, 1, INT64_MIN, INT64_MAX };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		assert_int_equal(hf_unzigzag(hf_zigzag(values[i])), values[i]);
	assert_int_equal(hf_zigzag(-1), 1);
}

static void a_reader_never_passes_its_end(void **state) {
	struct hf_reader reader = hf_reader(hf_span("abc", 3));
	assert_int_equal(hf_read_u32(&reader), 0);
	assert_true(reader.bad);
	assert_null(hf_read(&reader, SIZE_MAX));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_header_holds),
		cmocka_unit_test(unknown_version_is_named),
		cmocka_unit_test(a_frame_is_bound_to_its_place),
		cmocka_unit_test(every_flipped_bit_of_a_record_is_seen),
		cmocka_unit_test(varints_have_one_form),
		cmocka_unit_test(zigzag_is_its_own_way_back),
		cmocka_unit_test(a_reader_never_passes_its_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
