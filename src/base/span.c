#include "base/span.h"

#include <stdarg.h>
#include <stdio.h>

bool hf_span_is_nocase(struct hf_span a, const char *text) {
	for (size_t i = 0; i < a.len; i++) {
		uint8_t c = a.data[i];
		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c - 'A' + 'a');
		if (text[i] == '\0' || c != (uint8_t)text[i])
			return false;
	}
	return text[a.len] == '\0';
}

bool hf_span_u64(struct hf_span a, uint64_t *ret) {
	if (a.len == 0 || a.len > 20 || (a.len > 1 && a.data[0] == '0'))
		return false;
	uint64_t value = 0;
	size_t safe = a.len < 19 ? a.len : 19; /* so many digits always fit */
	for (size_t i = 0; i < safe; i++) {
		uint8_t digit = (uint8_t)(a.data[i] - '0');
		if (digit > 9)
			return false;
		value = value * 10 + digit;
	}
	if (a.len > safe) {
		uint8_t digit = (uint8_t)(a.data[safe] - '0');
		if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	*ret = value;
	return true;
}

bool hf_span_i64(struct hf_span a, int64_t *ret) {
	bool negative = a.len > 0 && a.data[0] == '-';
	uint64_t magnitude;
	if (!hf_span_u64(negative ? hf_span(a.data + 1, a.len - 1) : a, &magnitude))
		return false;
	if (negative ? magnitude == 0 || magnitude > (uint64_t)INT64_MAX + 1
		     : magnitude > INT64_MAX)
		return false;
	*ret = (int64_t)(negative ? 0 - magnitude : magnitude);
	return true;
}

void hf_text_add(struct hf_text *text, const char *fmt, ...) {
	va_list args;
	va_start(args, fmt);
	int wanted = vsnprintf(text->buf + text->len, text->cap - text->len, fmt, args);
	va_end(args);
	if (wanted < 0)
		return;
	if ((size_t)wanted < text->cap - text->len) {
		text->len += (size_t)wanted;
		return;
	}
	text->len = text->cap - 1;
	if (text->cap > 4)
		memcpy(text->buf + text->cap - 4, "...", 4);
}

void hf_text_add_quoted(struct hf_text *text, struct hf_span bytes, size_t max) {
	for (size_t i = 0; i < bytes.len && i < max; i++) {
		uint8_t c = bytes.data[i];
		if (c < 0x20 || c > 0x7e || c == '\\' || c == '"' || c == '\'')
			hf_text_add(text, "\\x%02x", c);
		else
			hf_text_add(text, "%c", c);
	}
	if (bytes.len > max)
		hf_text_add(text, "...");
}

void hf_text_copy(char *buf, size_t cap, const char *text) {
	if (memccpy(buf, text, '\0', cap) == NULL)
		buf[cap - 1] = '\0';
}

static const char digits[] = "0123456789abcdef";

const char *hf_numbered_name(const char *prefix, uint64_t number, const char *suffix, char *buf) {
	char *at = stpcpy(buf, prefix);
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = digits[number >> shift & 15];
	strcpy(at, suffix);
	return buf;
}

bool hf_numbered_name_get(const char *name, const char *prefix, const char *suffix, uint64_t *ret) {
	size_t len = strlen(prefix);
	if (strncmp(name, prefix, len) != 0)
		return false;
	uint64_t number = 0;
	for (const char *at = name + len, *end = at + 16; at < end; at++) {
		bool is_letter = *at >= 'a' && *at <= 'f';
		if (!is_letter && (*at < '0' || *at > '9'))
			return false;
		number = number << 4 | (uint64_t)(*at - (is_letter ? 'a' - 10 : '0'));
	}
	*ret = number;
	return strcmp(name + len + 16, suffix) == 0;
}
