/* Values as text, and in the field block. */
#include <inttypes.h>
#include <stdio.h>

#include "machine/machine.h"

static bool wrong(struct hf_err *err, struct hf_span text, const char *wanted) {
	char buf[96];
	struct hf_text shown = hf_text(buf, sizeof(buf));
	hf_text_add_quoted(&shown, text, 40);
	return hf_fail(err, HF_BADPARAM, "'%s' is not %s", buf, wanted);
}

bool hf_value_parse(enum hf_type type, uint8_t bytes_max, struct hf_span text, struct hf_value *ret,
		    struct hf_err *err) {
	int64_t number;
	*ret = (struct hf_value){ 0 };
	switch (type) {
	case HF_TYPE_U64:
		return hf_span_u64(text, &ret->num) ||
		       wrong(err, text, "a u64: decimal digits, 0 to 18446744073709551615");
	case HF_TYPE_I64:
		if (!hf_span_i64(text, &number))
			return wrong(err, text,
				     "an i64: decimal digits, perhaps after -, within 64 bits");
		ret->num = (uint64_t)number;
		return true;
	case HF_TYPE_BOOL:
		ret->num = hf_span_is(text, "true");
		return ret->num != 0 || hf_span_is(text, "false") ||
		       wrong(err, text, "a bool: true or false");
	default:
		if (text.len > bytes_max)
			return hf_fail(err, HF_TOOBIG, "it has %zu bytes, at most %u fit", text.len,
				       bytes_max);
		ret->data = text.data;
		ret->len = (uint8_t)text.len;
		return true;
	}
}

size_t hf_value_format(enum hf_type type, const struct hf_value *value, char *buf) {
	switch (type) {
	case HF_TYPE_U64:
		return (size_t)snprintf(buf, 64, "%" PRIu64, value->num);
	case HF_TYPE_I64:
		return (size_t)snprintf(buf, 64, "%" PRId64, (int64_t)value->num);
	case HF_TYPE_BOOL:
		return (size_t)snprintf(buf, 64, "%s", value->num ? "true" : "false");
	default:
		if (value->len > 0)
			memcpy(buf, value->data, value->len);
		return value->len;
	}
}

struct hf_value hf_field_value(const struct hf_field *field, const uint8_t *block) {
	struct hf_value ret = { 0 };
	const uint8_t *place = block + field->offset;
	switch (field->type) {
	case HF_TYPE_BOOL:
		ret.num = place[0];
		break;
	case HF_TYPE_BYTES:
		ret.len = place[0];
		ret.data = place + 1;
		break;
	default:
		memcpy(&ret.num, place, sizeof(ret.num));
	}
	return ret;
}

const char *hf_type_text(enum hf_type type, uint8_t bytes_max, char *buf) {
	static const char *const names[] = { "u64", "i64", "bool" };
	if (type == HF_TYPE_BYTES)
		snprintf(buf, 16, "bytes(%u)", bytes_max);
	else
		snprintf(buf, 16, "%s", names[type]);
	return buf;
}
