/*
 * query.c - reads: an entity, its history, counts per state, the state hash.
 */
#include "engine/engine_private.h"

typedef unsigned long long ull;

static void no_entity(struct hf_engine *engine, const struct hf_contract *contract,
		      struct hf_span key, struct hf_reply *ret) {
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add_entity(&text, contract, key);
	hf_text_add(&text, " does not exist");
	hf_reply_text(engine, HF_NOTFOUND, 0, ret);
}

/* The entity, or NULL with the reply filled. */
static struct entity *find(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
			   struct hf_reply *ret) {
	uint32_t family = hf_request_family(engine, contract, key, ret);
	if (family == UINT32_MAX)
		return NULL;
	struct entity *entity =
		hf_entity_find(engine, hf_entity_hash(engine, family, key), family, key, NULL);
	if (entity == NULL)
		no_entity(engine, hf_newest(engine, family)->contract, key, ret);
	return entity;
}

static void reply_entity(const struct entity *entity, const char *state, struct hf_reply *ret) {
	*ret = (struct hf_reply){
		.status = HF_OK,
		.durable_at = entity->lsn,
		.state = state,
		.version = entity->version,
		.lsn = entity->lsn,
	};
}

void hf_engine_get(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
		   struct hf_entity_view *ret_view, struct hf_reply *ret) {
	const struct entity *entity = find(engine, contract, key, ret);
	if (entity == NULL)
		return;
	const struct contract_slot *slot = hf_newest(engine, engine->slots[entity->slot].family);
	uint16_t state;
	const uint8_t *block;
	hf_entity_view(engine, slot, entity, &state, &block);
	*ret_view = (struct hf_entity_view){
		.contract = slot->contract,
		.state = slot->contract->states[state].name,
		.version = entity->version,
		.lsn = entity->lsn,
		.time_ns = entity->time_ns,
		.block = block,
	};
	reply_entity(entity, ret_view->state, ret);
}

static bool read_event(struct hf_engine *engine, uint64_t position, struct hf_record *record,
		       struct hf_event_record *event, struct hf_err *err) {
	if (!hf_log_read(engine->log, position, engine->scratch, record, err))
		return false;
	if (record->type != HF_RECORD_EVENT || !hf_event_body_get(record->body, event))
		return hf_fail(err, HF_CORRUPT, "log position %llu: no event stands here",
			       (ull)position);
	return true;
}

/*
 * Collects the positions of versions [from, to], walking back: by strides where they end above
 * `to`.
 */
static bool walk_back(struct hf_engine *engine, const struct entity *entity, uint64_t from,
		      uint64_t to, uint64_t *positions, struct hf_err *err) {
	struct hf_record record;
	struct hf_event_record event;
	uint64_t at = entity->position, version = entity->version;
	uint64_t stride_version = version - version % HF_SKIP_VERSIONS;
	uint64_t stride = entity->skip;
	while (stride != 0 && stride_version >= to && stride_version < version) {
		at = stride;
		version = stride_version;
		if (!read_event(engine, at, &record, &event, err))
			return false;
		stride = event.skip == 0 ? 0 : at - event.skip;
		stride_version -= HF_SKIP_VERSIONS;
	}
	for (;;) {
		if (version <= to)
			positions[version - from] = at;
		if (version == from)
			return true;
		if (!read_event(engine, at, &record, &event, err))
			return false;
		HF_ASSERT(event.version == version && event.back != 0);
		at -= event.back;
		version--;
	}
}

static bool show(struct hf_engine *engine, uint64_t position, hf_history_fn *fn, void *arg,
		 struct hf_err *err) {
	struct hf_record record;
	struct hf_event_record event;
	if (!read_event(engine, position, &record, &event, err))
		return false;
	const struct contract_slot *slot = hf_slot_by_ref(engine, event.ref);
	HF_ASSERT(slot != NULL && event.event < slot->contract->event_count);
	const struct hf_contract *contract = slot->contract;
	HF_ASSERT(event.transition < contract->transition_count);
	if (!hf_event_params_get(&contract->events[event.event], event.params, engine->values))
		return hf_fail(err, HF_CORRUPT, "log position %llu: the params do not parse",
			       (ull)position);
	fn(arg, &(struct hf_history_event){
			.version = event.version,
			.lsn = record.lsn,
			.time_ns = record.time_ns,
			.event = contract->events[event.event].name,
			.state = contract->states[contract->transitions[event.transition].to].name,
			.contract = contract,
			.event_index = event.event,
			.params = engine->values,
			.id = event.id,
		});
	return true;
}

void hf_engine_history(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
		       uint64_t from, uint64_t count, hf_history_fn *fn, void *arg,
		       struct hf_reply *ret) {
	uint64_t positions[HF_HISTORY_MAX];
	const struct entity *entity = find(engine, contract, key, ret);
	struct hf_err err;
	if (entity == NULL)
		return;
	if (count > HF_HISTORY_MAX) {
		hf_fail(&err, HF_TOOBIG, "COUNT %llu: the limit is %u events at a time", (ull)count,
			HF_HISTORY_MAX);
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	if (from == 0)
		from = 1;
	if (from <= entity->version && count > 0) {
		uint64_t to = entity->version - from < count ? entity->version : from + count - 1;
		bool ok = walk_back(engine, entity, from, to, positions, &err);
		for (uint64_t i = 0; ok && i <= to - from; i++)
			ok = show(engine, positions[i], fn, arg, &err);
		if (!ok) {
			hf_reply_err(engine, &err, 0, ret);
			return;
		}
	}
	const struct contract_slot *slot = &engine->slots[entity->slot];
	reply_entity(entity, slot->contract->states[entity->state].name, ret);
}

void hf_engine_count(struct hf_engine *engine, struct hf_span contract, hf_count_fn *fn, void *arg,
		     struct hf_reply *ret) {
	uint32_t family = hf_request_family(engine, contract, hf_span_of("-"), ret);
	if (family == UINT32_MAX)
		return;
	uint64_t counts[HF_STATES_MAX + 1] = { 0 };
	const struct contract_slot *newest = hf_newest(engine, family);
	for (uint32_t i = 0; i < engine->slot_count; i++) {
		const struct contract_slot *slot = &engine->slots[i];
		if (slot->family != family)
			continue;
		for (uint32_t state = 0; state < slot->contract->state_count; state++)
			if (slot->counts[state] > 0)
				counts[slot == newest ? state : slot->state_map[state]] +=
					slot->counts[state];
	}
	for (uint32_t state = HF_STATE_NEW + 1; state < newest->contract->state_count; state++)
		fn(arg, newest->contract->states[state].name, counts[state]);
	*ret = (struct hf_reply){ .status = HF_OK, .durable_at = hf_log_last(engine->log) };
}

void hf_engine_hash(struct hf_engine *engine, uint8_t ret_hash[16], struct hf_reply *ret) {
	for (int i = 0; i < 16; i++)
		ret_hash[i] = (uint8_t)(engine->state_hash[1 - i / 8] >> (56 - i % 8 * 8));
	uint64_t lsn = hf_log_last(engine->log);
	*ret = (struct hf_reply){ .status = HF_OK, .durable_at = lsn, .lsn = lsn };
}
