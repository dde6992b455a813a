/* One version of a contract after another. */
#include <inttypes.h>

#include "machine/machine.h"

static bool map_states(const struct hf_contract *old, const struct hf_contract *next,
		       bool (*state_in_use)(void *arg, uint16_t state), void *arg,
		       uint16_t *ret_state_map, struct hf_err *err) {
	for (uint16_t i = 0; i < old->state_count; i++) {
		int index = i == HF_STATE_NEW
				    ? (int)HF_STATE_NEW
				    : hf_contract_state(next, hf_span_of(old->states[i].name));
		ret_state_map[i] = index < 0 ? UINT16_MAX : (uint16_t)index;
		if (index < 0 && state_in_use(arg, i))
			return hf_fail(err, HF_BADCONTRACT,
				       "%s version %" PRIu64
				       " has no state %s, but entities are in it; "
				       "keep the state, with arrows that lead out of it",
				       next->name, next->version, old->states[i].name);
	}
	return true;
}

static bool map_field(const struct hf_field *old, const struct hf_contract *next,
		      uint16_t *ret_index, struct hf_err *err) {
	int index = hf_contract_field(next, hf_span_of(old->name));
	if (index < 0)
		return hf_fail(err, HF_BADCONTRACT,
			       "%s version %" PRIu64
			       " has no field %s; keep it, fields are for ever",
			       next->name, next->version, old->name);
	const struct hf_field *field = &next->fields[index];
	*ret_index = (uint16_t)index;
	if (field->type == old->type && field->bytes_max >= old->bytes_max)
		return true;
	char was[16], is[16];
	return hf_fail(err, HF_BADCONTRACT,
		       "%s version %" PRIu64
		       " makes field %s %s, it was %s; a field keeps its type, "
		       "only bytes may grow",
		       next->name, next->version, old->name,
		       hf_type_text(field->type, field->bytes_max, is),
		       hf_type_text(old->type, old->bytes_max, was));
}

bool hf_contract_upgrade(const struct hf_contract *old, const struct hf_contract *next,
			 bool (*state_in_use)(void *arg, uint16_t state), void *arg,
			 uint16_t *ret_state_map, uint16_t *ret_field_map, struct hf_err *err) {
	if (strcmp(old->name, next->name) != 0)
		return hf_fail(err, HF_BADCONTRACT, "%s cannot replace %s: the names differ",
			       next->name, old->name);
	if (next->version <= old->version)
		return hf_fail(err, HF_BADCONTRACT,
			       "%s version %" PRIu64
			       " is in force: a changed contract needs a higher "
			       "version, such as %%%% version %" PRIu64,
			       old->name, old->version, old->version + 1);
	for (uint16_t i = 0; i < old->field_count; i++)
		if (!map_field(&old->fields[i], next, &ret_field_map[i], err))
			return false;
	return map_states(old, next, state_in_use, arg, ret_state_map, err);
}

void hf_contract_convert(const struct hf_contract *old, const struct hf_contract *next,
			 const uint16_t *field_map, const uint8_t *block, uint8_t *ret_block) {
	memset(ret_block, 0, next->block_size);
	for (uint16_t i = 0; i < old->field_count; i++) {
		const struct hf_field *from = &old->fields[i], *to = &next->fields[field_map[i]];
		size_t size = from->type == HF_TYPE_BYTES  ? 1u + from->bytes_max
			      : from->type == HF_TYPE_BOOL ? 1u
							   : 8u;
		memcpy(ret_block + to->offset, block + from->offset, size);
	}
}
