/*
 * send.c - the main path: one event, from the request to the log and the map. `judge` reads top to
 * bottom.
 */
#include <stdio.h>

#include "engine/engine_private.h"
#include "os/clock.h"

#define KEY_SHOWN 64u	/* bytes of a key or id in a message */
#define NAMES_SHOWN 16u /* of contracts */

typedef unsigned long long ull;

void hf_reply_text(struct hf_engine *engine, enum hf_status status, uint64_t durable_at,
		   struct hf_reply *ret) {
	*ret = (struct hf_reply){ .status = status,
				  .durable_at = durable_at,
				  .text = engine->text };
}

void hf_reply_err(struct hf_engine *engine, const struct hf_err *err, uint64_t durable_at,
		  struct hf_reply *ret) {
	memmove(engine->text, err->text, strlen(err->text) + 1);
	hf_reply_text(engine, err->status, durable_at, ret);
}

void hf_text_add_entity(struct hf_text *text, const struct hf_contract *contract,
			struct hf_span key) {
	hf_text_add(text, "%s:", contract->name);
	hf_text_add_quoted(text, key, KEY_SHOWN);
}

/* It shows which are there: all of them, as none ever goes. */
static void reply_no_contract(struct hf_engine *engine, struct hf_span contract,
			      struct hf_reply *ret) {
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	uint32_t slots = engine->slot_count;
	hf_text_add(&text, "no contract is named '");
	hf_text_add_quoted(&text, contract, HF_NAME_MAX);
	hf_text_add(&text, "'; %s", engine->family_count == 0 ? "none is loaded" : "loaded are: ");
	for (uint32_t i = 0; i < engine->family_count && i < NAMES_SHOWN; i++)
		hf_text_add(&text, "%s%s", i > 0 ? ", " : "",
			    hf_engine_contract_at(engine, i)->name);
	if (engine->family_count > NAMES_SHOWN)
		hf_text_add(&text, ", ...");
	hf_reply_text(engine, HF_NOTFOUND, slots > 0 ? engine->slots[slots - 1].lsn : 0, ret);
}

/* It shows that the contract is there. */
static void reply_bad_key(struct hf_engine *engine, uint32_t family, struct hf_span key,
			  struct hf_reply *ret) {
	struct hf_err err;
	if (key.len == 0)
		hf_fail(&err, HF_BADPARAM, "the key is empty: it has 1 to %u bytes", HF_KEY_MAX);
	else
		hf_fail(&err, HF_TOOBIG, "the key has %zu bytes, the limit is %u", key.len,
			HF_KEY_MAX);
	hf_reply_err(engine, &err, hf_newest(engine, family)->lsn, ret);
}

uint32_t hf_request_family(struct hf_engine *engine, struct hf_span contract, struct hf_span key,
			   struct hf_reply *ret) {
	uint32_t family = hf_family_find(engine, contract);
	if (family == UINT32_MAX) {
		reply_no_contract(engine, contract, ret);
	} else if (key.len == 0 || key.len > HF_KEY_MAX) {
		reply_bad_key(engine, family, key, ret);
		return UINT32_MAX;
	}
	return family;
}

/* "Fill takes n: u64". */
static void add_signature(struct hf_text *text, const struct hf_event *event) {
	char type[16];
	hf_text_add(text, "%s takes %s", event->name, event->param_count == 0 ? "no params" : "");
	for (uint32_t i = 0; i < event->param_count; i++)
		hf_text_add(text, "%s%s: %s", i > 0 ? ", " : "", event->params[i].name,
			    hf_type_text(event->params[i].type, event->params[i].bytes_max, type));
}

static bool bad_param(struct hf_err *err, const struct hf_event *event, const char *what,
		      struct hf_span name) {
	char buf[HF_ERR_TEXT_MAX];
	struct hf_text text = hf_text(buf, sizeof(buf));
	hf_text_add(&text, "%s '", what);
	hf_text_add_quoted(&text, name, HF_NAME_MAX);
	hf_text_add(&text, "': ");
	add_signature(&text, event);
	return hf_fail(err, HF_BADPARAM, "%s", buf);
}

bool hf_params_bind(const struct hf_event *event, const struct hf_arg *args, uint32_t arg_count,
		    struct hf_value *ret_values, struct hf_err *err) {
	uint32_t seen = 0;
	_Static_assert(HF_PARAMS_MAX <= 32, "one bit a param");
	for (uint32_t i = 0; i < arg_count; i++) {
		int index = hf_event_param(event, args[i].name);
		if (index < 0)
			return bad_param(err, event, "unknown param", args[i].name);
		if (seen & 1u << index)
			return bad_param(err, event, "repeated param", args[i].name);
		seen |= 1u << index;
		const struct hf_param *param = &event->params[index];
		struct hf_err why;
		if (!hf_value_parse(param->type, param->bytes_max, args[i].value,
				    &ret_values[index], &why))
			return hf_fail(err, why.status, "param '%s' of %s: %s", param->name,
				       event->name, why.text);
	}
	for (uint32_t i = 0; i < event->param_count; i++)
		if (!(seen & 1u << i))
			return bad_param(err, event, "missing param",
					 hf_span_of(event->params[i].name));
	return true;
}

static bool values_equal(const struct hf_event *event, const struct hf_value *a,
			 const struct hf_value *b) {
	for (uint32_t i = 0; i < event->param_count; i++) {
		if (event->params[i].type != HF_TYPE_BYTES
			    ? a[i].num != b[i].num
			    : !hf_span_equal(hf_span(a[i].data, a[i].len),
					     hf_span(b[i].data, b[i].len)))
			return false;
	}
	return true;
}

/* The id was seen before: the original reply, if it is the original request. */
static void reply_again(struct hf_engine *engine, const struct hf_send *send,
			const struct contract_slot *slot, const struct hf_event_record *old,
			uint64_t lsn, struct hf_reply *ret) {
	const struct hf_contract *contract = slot->contract;
	const struct hf_event *event = &contract->events[old->event];
	struct hf_err ignored;
	if (hf_span_is(send->event, event->name) &&
	    hf_event_params_get(event, old->params, engine->old_values) &&
	    hf_params_bind(event, send->args, send->arg_count, engine->values, &ignored) &&
	    values_equal(event, engine->values, engine->old_values)) {
		*ret = (struct hf_reply){
			.status = HF_OK,
			.durable_at = lsn,
			.state = contract->states[contract->transitions[old->transition].to].name,
			.version = old->version,
			.lsn = lsn,
			.retried = true,
		};
		return;
	}
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add(&text, "ID '");
	hf_text_add_quoted(&text, send->id, KEY_SHOWN);
	hf_text_add(&text, "' of ");
	hf_text_add_entity(&text, contract, send->key);
	hf_text_add(&text,
		    " was used for another request: %s, which made version %llu; an id belongs to "
		    "one event with one "
		    "set of params",
		    event->name, (ull)old->version);
	hf_reply_text(engine, HF_BADPARAM, lsn, ret);
}

/* True if the id was seen before, or that cannot be told; the reply is filled then. */
static bool answered_before(struct hf_engine *engine, const struct hf_send *send, uint32_t family,
			    uint64_t id_hash, struct hf_reply *ret) {
	struct hf_index_cursor cursor;
	uint64_t position = hf_index_first(&engine->ids, id_hash, &cursor);
	for (; position != 0; position = hf_index_next(&cursor)) {
		struct hf_record record;
		struct hf_event_record old;
		struct hf_err err;
		if (!hf_record_read(engine, position, &record, &err)) {
			hf_reply_err(engine, &err, 0, ret);
			return true;
		}
		const struct contract_slot *slot = NULL;
		if (record.type == HF_RECORD_EVENT && hf_event_body_get(record.body, &old))
			slot = hf_slot_by_ref(engine, old.ref);
		HF_ASSERT(slot != NULL && old.event < slot->contract->event_count);
		if (slot->family != family || !hf_span_equal(old.key, send->key) ||
		    !hf_span_equal(old.id, send->id))
			continue;
		reply_again(engine, send, slot, &old, record.lsn, ret);
		return true;
	}
	return false;
}

static void refuse_event(struct hf_engine *engine, const struct hf_send *send,
			 const struct contract_slot *slot, struct hf_reply *ret) {
	const struct hf_contract *contract = slot->contract;
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add(&text, "contract %s has no event '", contract->name);
	hf_text_add_quoted(&text, send->event, HF_NAME_MAX);
	hf_text_add(&text, "'; it has: ");
	for (uint32_t i = 0; i < contract->event_count; i++)
		hf_text_add(&text, "%s%s", i > 0 ? ", " : "", contract->events[i].name);
	hf_reply_text(engine, HF_BADEVENT, hf_shown_lsn(slot, NULL), ret);
}

static void refuse_stale(struct hf_engine *engine, const struct hf_send *send,
			 const struct change *change, struct hf_reply *ret) {
	const struct entity *entity = change->entity;
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add_entity(&text, change->slot->contract, send->key);
	if (entity == NULL)
		hf_text_add(&text, " does not exist yet (version 0), not at version %llu",
			    (ull)send->ifversion);
	else
		hf_text_add(&text,
			    " is at version %llu (%s), not %llu: read it again, and decide again",
			    (ull)entity->version,
			    engine->slots[entity->slot].contract->states[entity->state].name,
			    (ull)send->ifversion);
	hf_reply_text(engine, HF_STALE, hf_shown_lsn(change->slot, entity), ret);
}

static void refuse_step(struct hf_engine *engine, const struct change *change,
			const struct judged *judged, struct hf_reply *ret) {
	const struct hf_contract *contract = change->slot->contract;
	struct hf_text text = hf_text(engine->text, sizeof(engine->text));
	hf_text_add_entity(&text, contract, change->key);
	if (change->entity == NULL)
		hf_text_add(&text, " does not exist yet: ");
	else
		hf_text_add(&text, " is %s (version %llu): ", contract->states[judged->state].name,
			    (ull)change->entity->version);
	hf_step_explain(contract, judged->state, judged->block, judged->event, engine->values,
			change->time_ns, judged->verdict, &judged->step, &text);
	hf_reply_text(engine, HF_REFUSED, hf_shown_lsn(change->slot, change->entity), ret);
}

int64_t hf_log_time(struct hf_engine *engine) {
	if (!engine->now_is_fresh) {
		int64_t now_ns = hf_clock_wall_ns();
		if (now_ns > engine->now_ns)
			engine->now_ns = now_ns;
		engine->now_is_fresh = true;
	}
	return engine->now_ns;
}

/*
 * Logs the event and applies it; the log has room for it. Nothing has changed if it fails. Nothing
 * here lets go of the lock: what was judged still holds.
 */
static bool log_and_apply(struct hf_engine *engine, const struct hf_send *send,
			  struct change *change, const struct judged *judged, struct hf_err *err) {
	const struct hf_event *event = &change->slot->contract->events[judged->event];
	size_t body_max = hf_event_body_max(event, send->key.len, send->id.len);
	if (!hf_change_reserve(engine, change, err))
		return false;
	uint8_t *body = hf_log_begin(engine->log, body_max, &change->lsn, &change->position);
	const struct entity *entity = change->entity;
	struct hf_event_record record = {
		.ref = change->slot->ref,
		.event = judged->event,
		.key = send->key,
		.id = send->id,
		.version = change->version,
		.transition = judged->step.transition,
		.back = entity == NULL ? 0 : change->position - entity->position,
		.skip = entity == NULL || entity->skip == 0 ? 0 : change->position - entity->skip,
	};
	size_t len = hf_event_body_put(&record, event, engine->values, body, body_max);
	hf_log_end(engine->log, HF_RECORD_EVENT, change->time_ns, len);
	hf_change_apply(engine, change);
	return true;
}

void hf_engine_prepare(struct hf_engine *engine, struct hf_send *send) {
	uint32_t family = hf_family_find(engine, send->contract);
	send->hash[0] = send->hash[1] = 0;
	if (family == UINT32_MAX || send->key.len == 0 || send->key.len > HF_KEY_MAX)
		return;
	send->family = family;
	send->hash[0] = hf_entity_hash(engine, family, send->key);
	hf_object_prefetch(engine->entities, send->hash[0]);
	if (send->id.len > 0) {
		send->hash[1] = hf_id_hash(send->hash[0], send->id);
		hf_index_prefetch(&engine->ids, send->hash[1]);
	}
}

void hf_engine_touch(struct hf_engine *engine, struct hf_send *send) {
	send->hint = send->hash[0] == 0 ? NULL : hf_entity_hint(engine, send->hash[0]);
}

/* Whom the request is for. False: the reply is filled. */
static bool address(struct hf_engine *engine, const struct hf_send *send, struct change *change,
		    uint32_t *ret_family, struct hf_reply *ret) {
	bool prepared = send->hash[0] != 0;
	uint32_t family =
		prepared ? send->family : hf_request_family(engine, send->contract, send->key, ret);
	if (family == UINT32_MAX)
		return false;
	if (send->id.len > HF_ID_MAX) {
		struct hf_err err;
		hf_fail(&err, HF_TOOBIG, "the ID has %zu bytes, the limit is %u", send->id.len,
			HF_ID_MAX);
		hf_reply_err(engine, &err, hf_newest(engine, family)->lsn, ret);
		return false;
	}
	*change = (struct change){
		.slot = hf_newest(engine, family),
		.key = send->key,
		.hash = prepared ? send->hash[0] : hf_entity_hash(engine, family, send->key),
		.has_id = send->id.len > 0,
	};
	if (change->has_id)
		change->id_hash = prepared ? send->hash[1] : hf_id_hash(change->hash, send->id);
	*ret_family = family;
	if (!prepared) {
		hf_object_prefetch(engine->entities, change->hash);
		if (change->has_id)
			hf_index_prefetch(&engine->ids, change->id_hash);
	}
	return true;
}

static void judge(struct hf_engine *engine, const struct hf_send *send, struct judged *judged,
		  struct hf_reply *ret) {
	struct hf_err err, no_room;
	struct change change;
	uint32_t family;
	if (hf_log_stopped(engine->log)) {
		hf_fail(&err, HF_STOPPED, "%s", hf_log_stop_reason(engine->log));
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	/* First of all: this may wait, and others are judged and applied meanwhile. */
	bool has_room = hf_engine_make_room(engine, HF_EVENT_BODY_MAX, &no_room);
	if (!address(engine, send, &change, &family, ret))
		return;

	/* Looked up before it is needed: the two indexes' memory is on its way meanwhile. */
	judged->slot = change.slot;
	const struct hf_contract *contract = change.slot->contract;
	int event = hf_contract_event(contract, send->event);
	struct entity *hint = send->hint != NULL ? send->hint : hf_entity_hint(engine, change.hash);
	if (change.has_id && answered_before(engine, send, family, change.id_hash, ret))
		return;
	if (event < 0) {
		refuse_event(engine, send, change.slot, ret);
		return;
	}
	if (!hf_params_bind(&contract->events[event], send->args, send->arg_count, engine->values,
			    &err)) {
		hf_reply_err(engine, &err, hf_shown_lsn(change.slot, NULL), ret);
		return;
	}

	change.entity = hf_entity_find(engine, change.hash, family, send->key, hint);
	change.version = change.entity == NULL ? 1 : change.entity->version + 1;
	if (send->has_ifversion && send->ifversion != change.version - 1) {
		refuse_stale(engine, send, &change, ret);
		return;
	}

	judged->event = (uint8_t)event;
	change.time_ns = hf_log_time(engine);
	hf_entity_view(engine, change.slot, change.entity, &judged->state, &judged->block);
	judged->verdict =
		hf_contract_step(contract, judged->state, judged->block, judged->event,
				 engine->values, change.time_ns, engine->block, &judged->step);
	if (judged->verdict != HF_STEP_OK) {
		refuse_step(engine, &change, judged, ret);
		return;
	}

	if (!has_room) {
		hf_reply_err(engine, &no_room, 0, ret);
		return;
	}
	change.state = judged->step.state;
	change.block = engine->block;
	if (!log_and_apply(engine, send, &change, judged, &err)) {
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	*ret = (struct hf_reply){
		.status = HF_OK,
		.durable_at = change.lsn,
		.state = contract->states[change.state].name,
		.version = change.version,
		.lsn = change.lsn,
	};
}

void hf_engine_send(struct hf_engine *engine, const struct hf_send *send, struct hf_reply *ret) {
	struct judged judged = { 0 };
	judge(engine, send, &judged, ret);
	hf_figures_count(engine, &judged, ret);
}
