#include "frame/cursor.h"

uint64_t hf_read_varint_slow(struct hf_reader *reader) {
	size_t left = (size_t)(reader->end - reader->at);
	size_t count = left < HF_VARINT_MAX ? left : HF_VARINT_MAX;
	uint64_t value = 0;
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = reader->at[i];
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte >= 0x80)
			continue;
		/*
		 * The tenth byte holds one bit, and a last byte of zero would be a longer form than
		 * needed.
		 */
		if ((i == HF_VARINT_MAX - 1 && byte > 1) || (byte == 0 && i > 0))
			break;
		reader->at += i + 1;
		return value;
	}
	reader->bad = true;
	return 0;
}
