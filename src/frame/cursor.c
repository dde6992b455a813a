#include "frame/cursor.h"

uint64_t hf_read_varint_slow(struct hf_reader *reader) {
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = hf_read_u8(reader);
		bool last = byte < 0x80;
		/*
		 * The tenth byte holds one bit, and a last byte of zero would be a longer form than
		 * needed.
		 */
		if (reader->bad || (shift == 63 && byte > 1) || (last && byte == 0 && shift > 0))
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (last)
			return value;
	}
	reader->bad = true;
	return 0;
}
