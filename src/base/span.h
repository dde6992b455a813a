/*
 * span.h - a borrowed run of bytes, and a bounded text writer.
 */
#ifndef HF_BASE_SPAN_H
#define HF_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* Bytes owned by someone else; `data` may be NULL when `len` is 0. */
struct hf_span {
	const uint8_t *data;
	size_t len;
};

static inline struct hf_span hf_span(const void *data, size_t len) {
	return (struct hf_span){ .data = data, .len = len };
}

static inline struct hf_span hf_span_of(const char *text) {
	return (struct hf_span){ .data = (const uint8_t *)text, .len = strlen(text) };
}

/* 16 bytes, anywhere. */
typedef uint64_t hf_words __attribute__((vector_size(16), aligned(1), may_alias));

/*
 * Where four words of 16 bytes begin, which may overlap, so that they are all of a run of 16 to 64:
 * at 0, here, at `last` less here, at `last`. Its length decides no branch.
 */
static inline size_t hf_second_word(size_t last) {
	return last < 16 ? last : 16;
}

/*
 * memcmp() == 0 and memcpy() for the short runs of names, keys and ids, where the call costs more
 * than the work.
 */
static inline bool hf_bytes_equal(const void *a, const void *b, size_t len) {
	const uint8_t *x = a, *y = b;
	uint64_t x_first, x_last, y_first, y_last;
	if (len > 64)
		return memcmp(a, b, len) == 0;
	if (len >= 16) {
		size_t last = len - 16, second = hf_second_word(last), third = last - second;
		hf_words differ = *(const hf_words *)x ^ *(const hf_words *)y;
		differ |= *(const hf_words *)(x + second) ^ *(const hf_words *)(y + second);
		differ |= *(const hf_words *)(x + third) ^ *(const hf_words *)(y + third);
		differ |= *(const hf_words *)(x + last) ^ *(const hf_words *)(y + last);
		return (differ[0] | differ[1]) == 0;
	}
	if (len >= 8) {
		memcpy(&x_first, x, 8);
		memcpy(&y_first, y, 8);
		memcpy(&x_last, x + len - 8, 8);
		memcpy(&y_last, y + len - 8, 8);
		return ((x_first ^ y_first) | (x_last ^ y_last)) == 0;
	}
	for (size_t i = 0; i < len; i++)
		if (x[i] != y[i])
			return false;
	return true;
}

static inline void hf_bytes_copy(void *to, const void *from, size_t len) {
	uint8_t *t = to;
	const uint8_t *f = from;
	uint64_t first, last;
	if (len > 64) {
		memcpy(to, from, len);
	} else if (len >= 16) {
		size_t end = len - 16, second = hf_second_word(end), third = end - second;
		hf_words words[4] = { *(const hf_words *)f, *(const hf_words *)(f + second),
				      *(const hf_words *)(f + third),
				      *(const hf_words *)(f + end) };
		*(hf_words *)t = words[0];
		*(hf_words *)(t + second) = words[1];
		*(hf_words *)(t + third) = words[2];
		*(hf_words *)(t + end) = words[3];
	} else if (len >= 8) {
		memcpy(&first, f, 8);
		memcpy(&last, f + len - 8, 8);
		memcpy(t, &first, 8);
		memcpy(t + len - 8, &last, 8);
	} else {
		for (size_t i = 0; i < len; i++)
			t[i] = f[i];
	}
}

static inline bool hf_span_equal(struct hf_span a, struct hf_span b) {
	return a.len == b.len && hf_bytes_equal(a.data, b.data, a.len);
}

/* True if the bytes are exactly those of the C string. */
static inline bool hf_span_is(struct hf_span a, const char *text) {
	return hf_span_equal(a, hf_span_of(text));
}

/* As hf_span_is, ASCII letters compared without case. `text` is in lower case. */
bool hf_span_is_nocase(struct hf_span a, const char *text);

/*
 * Decimal integers, the whole span, no sign but a leading '-' for i64, no blanks, no leading zeros.
 * False if it is not one or does not fit.
 */
HF_MUST bool hf_span_u64(struct hf_span a, uint64_t *ret);
HF_MUST bool hf_span_i64(struct hf_span a, int64_t *ret);

/* A text under construction in the caller's memory; what does not fit is cut and ends in "...". */
struct hf_text {
	char *buf;
	size_t cap; /* includes the final NUL */
	size_t len;
};

static inline struct hf_text hf_text(char *buf, size_t cap) {
	buf[0] = '\0';
	return (struct hf_text){ .buf = buf, .cap = cap, .len = 0 };
}

void hf_text_add(struct hf_text *text, const char *fmt, ...) HF_PRINTF(2, 3);

/*
 * Adds bytes as printable ASCII: others, backslash and quotes become \xNN. At most `max` of them.
 */
void hf_text_add_quoted(struct hf_text *text, struct hf_span bytes, size_t max);

/* As much of `text` as fits `cap` bytes, with a zero behind it. */
void hf_text_copy(char *buf, size_t cap, const char *text);

/*
 * "PREFIX0123456789abcdefSUFFIX": the number in 16 hexadecimal digits. `buf` has room for it and a
 * zero; returns `buf`.
 */
const char *hf_numbered_name(const char *prefix, uint64_t number, const char *suffix, char *buf);
/* The number of such a name; false if it is none. */
HF_MUST bool hf_numbered_name_get(const char *name, const char *prefix, const char *suffix,
				  uint64_t *ret);

#endif
