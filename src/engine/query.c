/*
 * query.c - reads: an entity, its history, counts per state, the state hash.
 */
#include <stdio.h>

#include "engine/engine_private.h"

typedef unsigned long long ull;

static void no_entity(struct hf_engine *engine, const struct contract_slot *slot,
		      struct hf_span key, struct hf_reply *ret) {
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add_entity(&text, slot->contract, key);
	hf_text_add(&text, " does not exist");
	hf_reply_text(engine, HF_NOTFOUND, slot->lsn, ret);
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
		no_entity(engine, hf_newest(engine, family), key, ret);
	return entity;
}

static void reply_entity(const struct contract_slot *slot, const struct entity *entity,
			 const char *state, struct hf_reply *ret) {
	*ret = (struct hf_reply){
		.status = HF_OK,
		.durable_at = hf_shown_lsn(slot, entity),
		.state = state,
		.version = entity->version,
		.lsn = entity->lsn,
	};
}

void hf_entity_show(const struct contract_slot *slot, uint16_t state, const struct entity *head,
		    const uint8_t *block, struct hf_entity_view *ret_view, struct hf_reply *ret) {
	*ret_view = (struct hf_entity_view){
		.contract = slot->contract,
		.state = slot->contract->states[state].name,
		.version = head->version,
		.lsn = head->lsn,
		.time_ns = head->time_ns,
		.block = block,
	};
	reply_entity(slot, head, ret_view->state, ret);
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
	hf_entity_show(slot, state, entity, block, ret_view, ret);
}

bool hf_record_read(struct hf_engine *engine, uint64_t position, struct hf_record *ret,
		    struct hf_err *err) {
	if (hf_log_read(engine->log, position, engine->scratch, ret, err))
		return true;
	if (engine->notice != NULL && position != engine->unread_position) {
		char line[HF_ERR_TEXT_MAX + 80];
		snprintf(line, sizeof(line), "WARNING: a request needed a record of the log: %s",
			 err->text);
		engine->notice(engine->arg, line);
	}
	engine->unread_position = position;
	return false;
}

static bool read_event(struct hf_engine *engine, uint64_t position, struct hf_record *record,
		       struct hf_event_record *event, struct hf_err *err) {
	if (!hf_record_read(engine, position, record, err))
		return false;
	if (record->type != HF_RECORD_EVENT || !hf_event_body_get(record->body, event))
		return hf_fail(err, HF_CORRUPT, "log position %llu: no event stands here",
			       (ull)position);
	return true;
}

/* Where the history stands, as the snapshot or a later event said. */
static bool read_version(struct hf_engine *engine, const struct hf_history *history,
			 struct hf_event_record *event, struct hf_err *err) {
	struct hf_record record;
	if (!read_event(engine, history->at, &record, event, err))
		return false;
	return (event->version == history->version && (event->back != 0 || event->version == 1)) ||
	       hf_fail(err, HF_CORRUPT,
		       "log position %llu: version %llu of the entity should stand here",
		       (ull)history->at, (ull)history->version);
}

/*
 * One record further back: by a stride where it ends above `to`. Notes the positions of versions
 * [from, to].
 */
static bool walk_back(struct hf_engine *engine, struct hf_history *history, struct hf_err *err) {
	struct hf_event_record event;
	if (history->skip != 0 && history->skip_version >= history->to) {
		history->at = history->skip;
		history->version = history->skip_version;
		if (!read_version(engine, history, &event, err))
			return false;
		history->skip = event.skip == 0 ? 0 : history->at - event.skip;
		history->skip_version -= HF_SKIP_VERSIONS;
	} else {
		if (!read_version(engine, history, &event, err))
			return false;
		history->at -= event.back;
		history->version--;
	}
	if (history->version <= history->to)
		history->positions[history->version - history->from] = history->at;
	return true;
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

void hf_engine_history_begin(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
			     uint64_t from, uint64_t count, struct hf_history *history,
			     struct hf_reply *ret) {
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
	uint64_t version = entity->version;
	bool some = from <= version && count > 0;
	history->from = history->next = some ? from : 1;
	history->to = !some ? 0 : version - from < count ? version : from + count - 1;
	history->version = version;
	history->at = entity->position;
	history->skip_version = version - version % HF_SKIP_VERSIONS;
	history->skip = entity->skip;
	if (some && history->to == version)
		history->positions[version - from] = entity->position;
	const struct contract_slot *slot = &engine->slots[entity->slot];
	reply_entity(slot, entity, slot->contract->states[entity->state].name, ret);
}

bool hf_engine_history_step(struct hf_engine *engine, struct hf_history *history, uint32_t reads,
			    hf_history_fn *fn, void *arg, struct hf_err *err) {
	for (; reads > 0 && !hf_history_over(history); reads--) {
		bool back = history->version > history->from;
		if (back ? !walk_back(engine, history, err)
			 : !show(engine, history->positions[history->next - history->from], fn, arg,
				 err))
			return false;
		history->next += !back;
	}
	return true;
}

void hf_engine_history(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
		       uint64_t from, uint64_t count, hf_history_fn *fn, void *arg,
		       struct hf_reply *ret) {
	struct hf_history history;
	struct hf_err err;
	hf_engine_history_begin(engine, contract, key, from, count, &history, ret);
	while (ret->status == HF_OK && !hf_history_over(&history))
		if (!hf_engine_history_step(engine, &history, UINT32_MAX, fn, arg, &err))
			hf_reply_err(engine, &err, 0, ret);
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
