/*
 * cursor.h - bounded reading and writing of bytes.
 *
 * A reader never passes its end: a read that would sets `bad`, returns zeros, and stays bad, so
 * that a decoder checks once, at its end. A writer is given enough room beforehand; running out is
 * a bug, and asserts. Numbers are little-endian. Varints are LEB128, at most 10 bytes, in their
 * shortest form only.
 */
#ifndef HF_FRAME_CURSOR_H
#define HF_FRAME_CURSOR_H

#include <stdint.h>

#include "base/assert.h"
#include "base/span.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats are read by plain loads");

struct hf_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

struct hf_writer {
	uint8_t *at;
	uint8_t *end;
};

static inline struct hf_reader hf_reader(struct hf_span bytes) {
	return (struct hf_reader){ .at = bytes.data, .end = bytes.data + bytes.len };
}

/* The next `len` bytes, or NULL. */
static inline const uint8_t *hf_read(struct hf_reader *reader, size_t len) {
	if ((size_t)(reader->end - reader->at) < len) {
		reader->bad = true;
		return NULL;
	}
	reader->at += len;
	return reader->at - len;
}

#define HF_READ_NUMBER(name, type) \
	static inline type name(struct hf_reader *reader) { \
		type value = 0; \
		const uint8_t *bytes = hf_read(reader, sizeof(value)); \
		if (bytes != NULL) \
			memcpy(&value, bytes, sizeof(value)); \
		return value; \
	}
HF_READ_NUMBER(hf_read_u8, uint8_t)
HF_READ_NUMBER(hf_read_u16, uint16_t)
HF_READ_NUMBER(hf_read_u32, uint32_t)
HF_READ_NUMBER(hf_read_u64, uint64_t)
#undef HF_READ_NUMBER

#define HF_VARINT_MAX 10u /* bytes */

uint64_t hf_read_varint_slow(struct hf_reader *reader);

static inline uint64_t hf_read_varint(struct hf_reader *reader) {
	if (reader->at < reader->end && *reader->at < 0x80)
		return *reader->at++;
	return hf_read_varint_slow(reader);
}

static inline struct hf_span hf_read_span(struct hf_reader *reader, size_t len) {
	const uint8_t *bytes = hf_read(reader, len);
	return hf_span(bytes, bytes == NULL ? 0 : len);
}

static inline uint8_t *hf_write(struct hf_writer *writer, size_t len) {
	HF_ASSERT((size_t)(writer->end - writer->at) >= len);
	writer->at += len;
	return writer->at - len;
}

#define HF_WRITE_NUMBER(name, type) \
	static inline void name(struct hf_writer *writer, type value) { \
		memcpy(hf_write(writer, sizeof(value)), &value, sizeof(value)); \
	}
HF_WRITE_NUMBER(hf_write_u8, uint8_t)
HF_WRITE_NUMBER(hf_write_u16, uint16_t)
HF_WRITE_NUMBER(hf_write_u32, uint32_t)
HF_WRITE_NUMBER(hf_write_u64, uint64_t)
#undef HF_WRITE_NUMBER

/* Needs room for HF_VARINT_MAX bytes, however few it takes. */
static inline void hf_write_varint(struct hf_writer *writer, uint64_t value) {
	HF_ASSERT(writer->end - writer->at >= (ptrdiff_t)HF_VARINT_MAX);
	uint8_t *at = writer->at;
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	writer->at = at;
}

static inline void hf_write_span(struct hf_writer *writer, struct hf_span bytes) {
	hf_bytes_copy(hf_write(writer, bytes.len), bytes.data, bytes.len);
}

/* Small magnitudes of either sign become small numbers. */
static inline uint64_t hf_zigzag(int64_t value) {
	return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t hf_unzigzag(uint64_t value) {
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

#endif
