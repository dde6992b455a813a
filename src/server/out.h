/*
 * out.h - replies under construction: a growing buffer of bytes for one client, and the RESP2
 * and RESP3 writers into it.
 *
 * The buffer is a window on the connection's whole stream of replies: data[0] is byte `base` of
 * the stream, bytes [start, len) of data are still to be sent. An empty buffer holds no memory.
 * If memory runs out the buffer is marked `failed` and takes nothing more: its connection has
 * to be closed.
 */
#ifndef HF_SERVER_OUT_H
#define HF_SERVER_OUT_H

#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

#define HF_BLOCK_SIZE 16384u /* what one read takes at most, and the first size of every buffer */

/*
 * Free blocks of HF_BLOCK_SIZE, last in first out so that they stay in the cache. One per loop;
 * no locks.
 */
struct hf_pool {
	struct hf_pool_block *free;
	uint32_t free_count;
	uint64_t used; /* bytes of the buffers that are out, of any size */
};

/* NULL if out of memory. */
uint8_t *hf_pool_take(struct hf_pool *pool);
/* Takes back a buffer of any size; NULL is fine. */
void hf_pool_give(struct hf_pool *pool, uint8_t *data, size_t cap);
void hf_pool_fini(struct hf_pool *pool);
/*
 * A buffer of `*cap` bytes becomes one of twice that, with the first `keep` bytes kept. NULL if
 * out of memory: nothing changed.
 */
uint8_t *hf_pool_grow(struct hf_pool *pool, uint8_t *data, size_t *cap, size_t keep);

struct hf_out {
	struct hf_pool *pool;
	uint8_t *data;
	size_t cap, start, len;
	uint64_t base;
	bool resp3;
	bool failed;
};

/* Bytes that the client has not been sent yet. */
static inline size_t hf_out_pending(const struct hf_out *out) {
	return out->len - out->start;
}

/* The stream's offset behind the last byte written so far. */
static inline uint64_t hf_out_end(const struct hf_out *out) {
	return out->base + out->len;
}

/* Makes room; false if out of memory. For hf_out_room. */
bool hf_out_grow(struct hf_out *out, size_t room);

/*
 * At least `room` free bytes at the end, or NULL. What is written there counts once `len` says
 * so.
 */
static inline uint8_t *hf_out_room(struct hf_out *out, size_t room) {
	if (__builtin_expect(out->cap - out->len < room, 0) && !hf_out_grow(out, room))
		return NULL;
	return out->data + out->len;
}

/* `count` bytes have been sent. */
void hf_out_sent(struct hf_out *out, size_t count);
/* Drops everything and gives the memory back. */
void hf_out_clear(struct hf_out *out);

/* ---- replies ----------------------------------------------------------------------------- */

void hf_out_raw(struct hf_out *out, struct hf_span bytes);
/* "+OK" */
void hf_out_simple(struct hf_out *out, const char *text);
/* "-STATUS text", line ends in the text flattened to blanks. */
void hf_out_error(struct hf_out *out, const char *status, const char *text);
/* The same of an error. */
void hf_out_err(struct hf_out *out, const struct hf_err *err);
/* "-ERR ...": the usual Redis error. */
void hf_out_errorf(struct hf_out *out, const char *fmt, ...) HF_PRINTF(2, 3);
void hf_out_int(struct hf_out *out, int64_t value);
void hf_out_bulk(struct hf_out *out, struct hf_span bytes);
void hf_out_text(struct hf_out *out, const char *text);
/* Text for people: a verbatim string in RESP3, a bulk string in RESP2. */
void hf_out_verbatim(struct hf_out *out, struct hf_span text);
void hf_out_null(struct hf_out *out);
void hf_out_array(struct hf_out *out, uint64_t count);
/* A map of `pairs` keys and values: the RESP3 type, or a flat array of twice as many in RESP2. */
void hf_out_map(struct hf_out *out, uint64_t pairs);

/*
 * For an array or map whose size is known only once it is written: keep begin's result, write
 * the elements, then end. Arrays may nest. Nothing is sent in between.
 */
uint64_t hf_out_begin(struct hf_out *out);
void hf_out_end_array(struct hf_out *out, uint64_t begun, uint64_t count);
void hf_out_end_map(struct hf_out *out, uint64_t begun, uint64_t pairs);
/* Takes back what was written since begin, to reply an error instead. */
void hf_out_cancel(struct hf_out *out, uint64_t begun);

/* [state, version, lsn]: the reply of HF.SEND, and so the hot one. */
void hf_out_outcome(struct hf_out *out, const char *state, uint64_t version, uint64_t lsn);

#endif
