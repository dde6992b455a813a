#include "server/out.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "os/memory.h"

#define POOL_FREE_MAX 256u /* 4 MiB kept for the next burst */

/* The longest header or integer line: a type byte, a sign, 20 digits, CRLF. */
#define LINE_MAX 24u
#define DIGITS_MAX 20u

struct hf_pool_block {
	struct hf_pool_block *next;
};

uint8_t *hf_pool_take(struct hf_pool *pool) {
	struct hf_pool_block *block = pool->free;
	if (block == NULL) {
		block = hf_memory_grow(NULL, HF_BLOCK_SIZE);
	} else {
		pool->free = block->next;
		pool->free_count--;
	}
	if (block != NULL)
		pool->used += HF_BLOCK_SIZE;
	return (uint8_t *)block;
}

void hf_pool_give(struct hf_pool *pool, uint8_t *data, size_t cap) {
	if (data == NULL)
		return;
	pool->used -= cap;
	if (cap != HF_BLOCK_SIZE || pool->free_count == POOL_FREE_MAX) {
		hf_memory_free(data);
		return;
	}
	struct hf_pool_block *block = (struct hf_pool_block *)data;
	block->next = pool->free;
	pool->free = block;
	pool->free_count++;
}

void hf_pool_fini(struct hf_pool *pool) {
	while (pool->free != NULL)
		hf_memory_free(hf_pool_take(pool));
}

uint8_t *hf_pool_grow(struct hf_pool *pool, uint8_t *data, size_t *cap, size_t keep) {
	uint8_t *grown = hf_memory_grow(NULL, *cap * 2);
	if (grown == NULL)
		return NULL;
	memcpy(grown, data, keep);
	hf_pool_give(pool, data, *cap);
	*cap *= 2;
	pool->used += *cap;
	return grown;
}

bool hf_out_grow(struct hf_out *out, size_t room) {
	if (out->failed)
		return false;
	if (out->data == NULL) {
		out->data = hf_pool_take(out->pool);
		out->cap = out->data == NULL ? 0 : HF_BLOCK_SIZE;
	} else if (out->start >= out->cap / 4) { /* sent: enough to be worth the move */
		memmove(out->data, out->data + out->start, out->len - out->start);
		out->base += out->start;
		out->len -= out->start;
		out->start = 0;
	}
	while (out->data != NULL && out->cap - out->len < room) {
		uint8_t *grown = hf_pool_grow(out->pool, out->data, &out->cap, out->len);
		if (grown == NULL)
			break;
		out->data = grown;
	}
	out->failed = out->cap - out->len < room;
	return !out->failed;
}

void hf_out_sent(struct hf_out *out, size_t count) {
	HF_ASSERT(count <= hf_out_pending(out));
	out->start += count;
	if (out->start == out->len)
		hf_out_clear(out);
}

void hf_out_clear(struct hf_out *out) {
	hf_pool_give(out->pool, out->data, out->cap);
	out->base += out->len;
	out->data = NULL;
	out->cap = 0;
	out->start = 0;
	out->len = 0;
}

/* ---- replies ----------------------------------------------------------------------------- */

static inline uint8_t *put_bytes(uint8_t *p, const void *data, size_t len) {
	hf_bytes_copy(p, data, len);
	return p + len;
}

static inline uint8_t *put_u64(uint8_t *p, uint64_t value) {
	static const char pairs[] = "00010203040506070809101112131415161718192021222324"
				    "25262728293031323334353637383940414243444546474849"
				    "50515253545556575859606162636465666768697071727374"
				    "75767778798081828384858687888990919293949596979899";
	uint8_t digits[2 * DIGITS_MAX] = { 0 };
	size_t at = DIGITS_MAX;
	while (value >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * value, 2);
	} else {
		digits[--at] = (uint8_t)('0' + value);
	}
	/* A copy of fixed size beats one of the right size; all callers have room for it. */
	memcpy(p, digits + at, DIGITS_MAX);
	return p + (DIGITS_MAX - at);
}

/* "<type><value>\r\n" */
static inline uint8_t *put_line(uint8_t *p, char type, uint64_t value) {
	*p++ = (uint8_t)type;
	p = put_u64(p, value);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

static inline uint8_t *put_bulk(uint8_t *p, const void *data, size_t len) {
	p = put_line(p, '$', len);
	p = put_bytes(p, data, len);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

static inline void wrote(struct hf_out *out, const uint8_t *end) {
	out->len = (size_t)(end - out->data);
}

static void reply_line(struct hf_out *out, char type, uint64_t value) {
	uint8_t *p = hf_out_room(out, LINE_MAX);
	if (p != NULL)
		wrote(out, put_line(p, type, value));
}

void hf_out_raw(struct hf_out *out, struct hf_span bytes) {
	uint8_t *p = hf_out_room(out, bytes.len);
	if (p != NULL)
		wrote(out, put_bytes(p, bytes.data, bytes.len));
}

void hf_out_simple(struct hf_out *out, const char *text) {
	hf_out_raw(out, hf_span("+", 1));
	hf_out_raw(out, hf_span_of(text));
	hf_out_raw(out, hf_span("\r\n", 2));
}

void hf_out_error(struct hf_out *out, const char *status, const char *text) {
	hf_out_raw(out, hf_span("-", 1));
	hf_out_raw(out, hf_span_of(status));
	hf_out_raw(out, hf_span(" ", 1));
	size_t len = strlen(text);
	uint8_t *p = hf_out_room(out, len + 2);
	if (p == NULL)
		return;
	for (size_t i = 0; i < len; i++)
		*p++ = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
	*p++ = '\r';
	*p++ = '\n';
	wrote(out, p);
}

void hf_out_err(struct hf_out *out, const struct hf_err *err) {
	hf_out_error(out, hf_status_name(err->status), err->text);
}

void hf_out_errorf(struct hf_out *out, const char *fmt, ...) {
	char text[HF_ERR_TEXT_MAX];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	hf_out_error(out, "ERR", text);
}

void hf_out_int(struct hf_out *out, int64_t value) {
	uint8_t *p = hf_out_room(out, LINE_MAX);
	if (p == NULL)
		return;
	*p++ = ':';
	if (value < 0)
		*p++ = '-';
	p = put_u64(p, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
	wrote(out, put_bytes(p, "\r\n", 2));
}

void hf_out_bulk(struct hf_out *out, struct hf_span bytes) {
	uint8_t *p = hf_out_room(out, LINE_MAX + bytes.len + 2);
	if (p != NULL)
		wrote(out, put_bulk(p, bytes.data, bytes.len));
}

void hf_out_text(struct hf_out *out, const char *text) {
	hf_out_bulk(out, hf_span_of(text));
}

void hf_out_verbatim(struct hf_out *out, struct hf_span text) {
	if (!out->resp3) {
		hf_out_bulk(out, text);
		return;
	}
	reply_line(out, '=', text.len + 4);
	hf_out_raw(out, hf_span("txt:", 4));
	hf_out_raw(out, text);
	hf_out_raw(out, hf_span("\r\n", 2));
}

void hf_out_null(struct hf_out *out) {
	hf_out_raw(out, out->resp3 ? hf_span("_\r\n", 3) : hf_span("$-1\r\n", 5));
}

void hf_out_array(struct hf_out *out, uint64_t count) {
	reply_line(out, '*', count);
}

void hf_out_map(struct hf_out *out, uint64_t pairs) {
	reply_line(out, out->resp3 ? '%' : '*', out->resp3 ? pairs : pairs * 2);
}

uint64_t hf_out_begin(struct hf_out *out) {
	uint64_t begun = hf_out_end(out);
	if (hf_out_room(out, LINE_MAX) != NULL)
		out->len += LINE_MAX;
	return begun;
}

static void reply_end(struct hf_out *out, uint64_t begun, char type, uint64_t count) {
	if (out->failed)
		return;
	uint8_t *header = out->data + (begun - out->base);
	uint8_t *body = header + LINE_MAX;
	size_t body_len = (size_t)(out->data + out->len - body);
	uint8_t *p = put_line(header, type, count);
	memmove(p, body, body_len);
	wrote(out, p + body_len);
}

void hf_out_end_array(struct hf_out *out, uint64_t begun, uint64_t count) {
	reply_end(out, begun, '*', count);
}

void hf_out_end_map(struct hf_out *out, uint64_t begun, uint64_t pairs) {
	reply_end(out, begun, out->resp3 ? '%' : '*', out->resp3 ? pairs : pairs * 2);
}

void hf_out_cancel(struct hf_out *out, uint64_t begun) {
	if (!out->failed)
		out->len = (size_t)(begun - out->base);
}

void hf_out_outcome(struct hf_out *out, const char *state, uint64_t version, uint64_t lsn) {
	size_t state_len = strlen(state);
	uint8_t *p = hf_out_room(out, 4 * LINE_MAX + state_len + 2);
	if (p == NULL)
		return;
	p = put_bytes(p, "*3\r\n", 4);
	p = put_bulk(p, state, state_len);
	p = put_line(p, ':', version);
	wrote(out, put_line(p, ':', lsn));
}
