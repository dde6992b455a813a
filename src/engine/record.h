/*
 * record.h - the bodies of log records, encoded and taken apart. The bytes are described in
 * record.c.
 */
#ifndef HF_ENGINE_RECORD_H
#define HF_ENGINE_RECORD_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"
#include "frame/cursor.h"
#include "machine/machine.h"

#define HF_SKIP_VERSIONS \
	64u /* every so many versions, an event's record points this many versions back */

/* An event record, taken apart; spans into the record. */
struct hf_event_record {
	uint32_t ref;
	uint8_t event;
	struct hf_span key, id;
	uint64_t version;
	uint64_t transition;
	uint64_t back; /* distance to the entity's previous record, 0: none */
	/* Distance to the last one whose version is a multiple of HF_SKIP_VERSIONS, 0: none; in
	 * such records only. */
	uint64_t skip;
	struct hf_span params;
};

/* Bytes that the body of any event's record takes at most. */
#define HF_EVENT_BODY_MAX \
	(7u + HF_KEY_MAX + HF_ID_MAX + 4u * HF_VARINT_MAX + HF_PARAMS_MAX * (1u + HF_BYTES_MAX))

/* Bytes that the body of an event's record takes at most. */
size_t hf_event_body_max(const struct hf_event *event, size_t key_len, size_t id_len);
size_t hf_event_body_put(const struct hf_event_record *record, const struct hf_event *event,
			 const struct hf_value *values, uint8_t *body, size_t body_max);
/* Takes a body apart, up to its params. False: it is none. */
HF_MUST bool hf_event_body_get(struct hf_span body, struct hf_event_record *ret);
/* The params of an event record; bytes borrowed. False: they are not those of `event`. */
HF_MUST bool hf_event_params_get(const struct hf_event *event, struct hf_span params,
				 struct hf_value *ret);
/* Bytes that the body of the record takes at most by which a plain key gets a value. */
size_t hf_set_body_max(size_t key_len, size_t value_len);
size_t hf_set_body_put(struct hf_span key, struct hf_span value, uint8_t *body, size_t body_max);
/* `ret_value` has room for HF_PLAIN_VALUE_MAX bytes; the key is borrowed. False: it is none. */
HF_MUST bool hf_set_body_get(struct hf_span body, struct hf_span *ret_key, uint8_t *ret_value,
			     size_t *ret_len);
/* One key of the body of a record by which plain keys go; behind the ones before. */
size_t hf_delete_body_put(struct hf_span key, uint8_t *body, size_t body_max);
HF_MUST bool hf_delete_body_next(struct hf_reader *reader, struct hf_span *ret_key);
size_t hf_contract_body_max(const struct hf_contract *contract);
size_t hf_contract_body_put(const struct hf_contract *contract, uint8_t *body, size_t body_max);
/*
 * Compiles the contract of a record's body. HF_CORRUPT if that is none, or if its text gives
 * another hash or name than was recorded. `ret` is set only if it is good, and is freed with
 * hf_contract_free.
 */
HF_MUST bool hf_contract_body_compile(struct hf_span body, struct hf_diagnostics *diagnostics,
				      struct hf_contract **ret, struct hf_err *err);

#endif
