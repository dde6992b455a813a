/*
 * record.c - the bodies of log records.
 *
 *   event      0  4  contract: the first 4 bytes of its hash
 *              4  1  event: its index in the contract, in order of first appearance
 *              5  1  length of the key
 *              6  1  length of the id, 0: none
 *              7     key, id
 *                 v  version of the entity after this event
 *                 v  transition taken: its index in the contract
 *                 v  distance back to the record of the version before, 0: none
 *                 v  only if the version is a multiple of 64: distance back to the record of the
 *                 one 64 before, 0: none
 *                    params, in declared order: u64 v; i64 v, zigzag; bool 1 byte; bytes 1 byte of
 *                    length, and these
 *
 *   contract   0 16  hash: XXH3-128 of the text, canonical
 *             16  1  length of the name
 *             17     name, text
 *
 *   set        0  1  length of the key
 *              1     key
 *                    value, in pieces: 1 byte of length, 1 to 255, and so many bytes; all but the
 *                    last have 255. So no 512 bytes of a record are all zeros, whatever the value
 *                    is: see src/log/append.c
 *
 *   delete     0  1  length of a key, and it; one or more of them, all different
 *
 * v is a LEB128 varint. Distances are between positions of records.
 */
#include "engine/record.h"

#include "frame/frame.h"

#define PIECE_MAX 255u

_Static_assert(HF_EVENT_BODY_MAX + HF_RECORD_OVERHEAD <= HF_RECORD_MAX,
	       "every event fits into a record");
_Static_assert(1 + HF_KEY_MAX + HF_PLAIN_VALUE_MAX + HF_PLAIN_VALUE_MAX / PIECE_MAX + 1 +
			       HF_RECORD_OVERHEAD <=
		       HF_RECORD_MAX,
	       "every plain key fits into a record");
_Static_assert(HF_KEY_MAX + PIECE_MAX < HF_SECTOR, "no sector of a record is all zeros");
_Static_assert(17 + HF_NAME_MAX + HF_CONTRACT_TEXT_MAX + HF_RECORD_OVERHEAD <= HF_RECORD_MAX,
	       "every contract fits into a record");

size_t hf_event_body_max(const struct hf_event *event, size_t key_len, size_t id_len) {
	size_t size = 7 + key_len + id_len + 4 * HF_VARINT_MAX;
	for (uint32_t i = 0; i < event->param_count; i++)
		size += event->params[i].type == HF_TYPE_BYTES ? 1u + event->params[i].bytes_max
							       : HF_VARINT_MAX;
	return size;
}

static void put_param(struct hf_writer *writer, enum hf_type type, const struct hf_value *value) {
	switch (type) {
	case HF_TYPE_U64:
		hf_write_varint(writer, value->num);
		break;
	case HF_TYPE_I64:
		hf_write_varint(writer, hf_zigzag((int64_t)value->num));
		break;
	case HF_TYPE_BOOL:
		hf_write_u8(writer, (uint8_t)value->num);
		break;
	case HF_TYPE_BYTES:
		hf_write_u8(writer, value->len);
		hf_write_span(writer, hf_span(value->data, value->len));
		break;
	}
}

size_t hf_event_body_put(const struct hf_event_record *record, const struct hf_event *event,
			 const struct hf_value *values, uint8_t *body, size_t body_max) {
	struct hf_writer writer = { .at = body, .end = body + body_max };
	uint8_t *head = hf_write(&writer, 7);
	memcpy(head, &record->ref, 4);
	head[4] = record->event;
	head[5] = (uint8_t)record->key.len;
	head[6] = (uint8_t)record->id.len;
	hf_write_span(&writer, record->key);
	hf_write_span(&writer, record->id);
	hf_write_varint(&writer, record->version);
	hf_write_varint(&writer, record->transition);
	hf_write_varint(&writer, record->back);
	if (record->version % HF_SKIP_VERSIONS == 0)
		hf_write_varint(&writer, record->skip);
	for (uint32_t i = 0; i < event->param_count; i++)
		put_param(&writer, event->params[i].type, &values[i]);
	return (size_t)(writer.at - body);
}

bool hf_event_body_get(struct hf_span body, struct hf_event_record *ret) {
	struct hf_reader reader = hf_reader(body);
	const uint8_t *head = hf_read(&reader, 7);
	if (head == NULL)
		return false;
	memcpy(&ret->ref, head, 4);
	ret->event = head[4];
	ret->key = hf_read_span(&reader, head[5]);
	ret->id = hf_read_span(&reader, head[6]);
	ret->version = hf_read_varint(&reader);
	ret->transition = hf_read_varint(&reader);
	ret->back = hf_read_varint(&reader);
	ret->skip = ret->version % HF_SKIP_VERSIONS == 0 ? hf_read_varint(&reader) : 0;
	ret->params = hf_span(reader.at, (size_t)(reader.end - reader.at));
	return !reader.bad && ret->key.len > 0 && ret->version > 0;
}

bool hf_event_params_get(const struct hf_event *event, struct hf_span params,
			 struct hf_value *ret) {
	struct hf_reader reader = hf_reader(params);
	for (uint32_t i = 0; i < event->param_count; i++) {
		const struct hf_param *param = &event->params[i];
		struct hf_value *value = &ret[i];
		*value = (struct hf_value){ 0 };
		switch (param->type) {
		case HF_TYPE_U64:
			value->num = hf_read_varint(&reader);
			break;
		case HF_TYPE_I64:
			value->num = (uint64_t)hf_unzigzag(hf_read_varint(&reader));
			break;
		case HF_TYPE_BOOL:
			value->num = hf_read_u8(&reader);
			reader.bad |= value->num > 1;
			break;
		case HF_TYPE_BYTES:
			value->len = hf_read_u8(&reader);
			reader.bad |= value->len > param->bytes_max;
			value->data = hf_read_span(&reader, value->len).data;
			break;
		}
	}
	return !reader.bad && reader.at == reader.end;
}

size_t hf_set_body_max(size_t key_len, size_t value_len) {
	return 1 + key_len + value_len + (value_len + PIECE_MAX - 1) / PIECE_MAX;
}

size_t hf_set_body_put(struct hf_span key, struct hf_span value, uint8_t *body, size_t body_max) {
	struct hf_writer writer = { .at = body, .end = body + body_max };
	hf_write_u8(&writer, (uint8_t)key.len);
	hf_write_span(&writer, key);
	for (size_t at = 0; at < value.len;) {
		size_t len = value.len - at < PIECE_MAX ? value.len - at : PIECE_MAX;
		hf_write_u8(&writer, (uint8_t)len);
		hf_write_span(&writer, hf_span(value.data + at, len));
		at += len;
	}
	return (size_t)(writer.at - body);
}

bool hf_set_body_get(struct hf_span body, struct hf_span *ret_key, uint8_t *ret_value,
		     size_t *ret_len) {
	struct hf_reader reader = hf_reader(body);
	*ret_key = hf_read_span(&reader, hf_read_u8(&reader));
	*ret_len = 0;
	for (size_t len = PIECE_MAX; !reader.bad && reader.at < reader.end;) {
		if (len != PIECE_MAX)
			return false; /* behind the last piece */
		len = hf_read_u8(&reader);
		struct hf_span piece = hf_read_span(&reader, len);
		if (len == 0 || reader.bad || *ret_len + len > HF_PLAIN_VALUE_MAX)
			return false;
		memcpy(ret_value + *ret_len, piece.data, len);
		*ret_len += len;
	}
	return !reader.bad && ret_key->len > 0;
}

size_t hf_delete_body_put(struct hf_span key, uint8_t *body, size_t body_max) {
	struct hf_writer writer = { .at = body, .end = body + body_max };
	hf_write_u8(&writer, (uint8_t)key.len);
	hf_write_span(&writer, key);
	return (size_t)(writer.at - body);
}

bool hf_delete_body_next(struct hf_reader *reader, struct hf_span *ret_key) {
	*ret_key = hf_read_span(reader, hf_read_u8(reader));
	return !reader->bad && ret_key->len > 0;
}

size_t hf_contract_body_max(const struct hf_contract *contract) {
	return 17 + HF_NAME_MAX + contract->text_len;
}

size_t hf_contract_body_put(const struct hf_contract *contract, uint8_t *body, size_t body_max) {
	struct hf_writer writer = { .at = body, .end = body + body_max };
	size_t name_len = strlen(contract->name);
	hf_write_span(&writer, hf_span(contract->hash, sizeof(contract->hash)));
	hf_write_u8(&writer, (uint8_t)name_len);
	hf_write_span(&writer, hf_span(contract->name, name_len));
	hf_write_span(&writer, hf_span(contract->text, contract->text_len));
	return (size_t)(writer.at - body);
}

/* False: it is none. */
static bool take_contract(struct hf_span body, struct hf_span *ret_hash, struct hf_span *ret_name,
			  struct hf_span *ret_text) {
	struct hf_reader reader = hf_reader(body);
	*ret_hash = hf_read_span(&reader, 16);
	uint8_t name_len = hf_read_u8(&reader);
	*ret_name = hf_read_span(&reader, name_len);
	*ret_text = hf_span(reader.at, (size_t)(reader.end - reader.at));
	return !reader.bad && name_len > 0 && name_len <= HF_NAME_MAX;
}

bool hf_contract_body_compile(struct hf_span body, struct hf_diagnostics *diagnostics,
			      struct hf_contract **ret, struct hf_err *err) {
	static const char extension[] = ".mmd";
	struct hf_span hash, name, text;
	if (!take_contract(body, &hash, &name, &text))
		return hf_fail(err, HF_CORRUPT, "this contract record does not parse");
	/* Where the text has no title, its name is its file's, without one ".mmd": the recorded one
	 * may end in another. */
	char file_name[HF_NAME_MAX + sizeof(extension)];
	memcpy(file_name, name.data, name.len);
	memcpy(file_name + name.len, extension, sizeof(extension));
	struct hf_contract *contract;
	if (!hf_contract_compile(text, file_name, diagnostics, &contract, err))
		return false;
	if (memcmp(contract->hash, hash.data, hash.len) != 0)
		hf_fail(err, HF_CORRUPT, "the contract's text has not the hash that was recorded");
	else if (!hf_span_is(name, contract->name))
		hf_fail(err, HF_CORRUPT,
			"the contract is called %s, which is not what was recorded",
			contract->name);
	else {
		*ret = contract;
		return true;
	}
	hf_contract_free(contract);
	return false;
}
