/*
 * replay.c - from log records back to memory, through the same step and the same change as
 * requests.
 *
 * Every event is judged again, and what the record says must come out: the version, the transition,
 * the distances. A log of which one event would not be lawful is not replayed past it.
 */
#include <stdio.h>

#include "engine/engine_private.h"
#include "os/memory.h"

typedef unsigned long long ull;

static bool differs(const struct hf_record *record, const struct hf_event_record *event,
		    struct hf_err *err, const char *what) {
	char buf[320];
	struct hf_text text = hf_text(buf, sizeof(buf));
	if (event != NULL) {
		hf_text_add(&text, " (entity ");
		hf_text_add_quoted(&text, event->key, 64);
		hf_text_add(&text, ", version %llu)", (ull)event->version);
	}
	return hf_fail(err, HF_CORRUPT, "LSN %llu at log position %llu%s: %s", (ull)record->lsn,
		       (ull)record->position, buf, what);
}

bool hf_contract_restore(struct hf_engine *engine, struct hf_span body, uint64_t lsn,
			 struct hf_err *err) {
	struct hf_diagnostics *diagnostics = hf_memory_new(sizeof(*diagnostics));
	if (diagnostics == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	struct hf_contract *contract;
	bool ok = hf_contract_body_compile(body, diagnostics, &contract, err);
	hf_memory_free(diagnostics);
	if (!ok)
		return false;
	ok = hf_contract_admit(engine, contract, err) &&
	     hf_contract_activate(engine, contract, lsn, err);
	if (!ok)
		hf_contract_free(contract);
	return ok;
}

static bool replay_contract(struct hf_engine *engine, const struct hf_record *record,
			    struct hf_err *err) {
	struct hf_err why;
	if (hf_contract_restore(engine, record->body, record->lsn, &why))
		return true;
	if (why.status != HF_NOMEM)
		return differs(record, NULL, err, why.text);
	*err = why;
	return false;
}

/* Decodes, hashes, and fetches the index's memory. */
static bool look_ahead(struct hf_engine *engine, const struct hf_record *record,
		       struct replay_step *step, struct hf_err *err) {
	if (!hf_event_body_get(record->body, &step->event))
		return differs(record, NULL, err, "this event record does not parse");
	const struct contract_slot *slot = hf_slot_by_ref(engine, step->event.ref);
	if (slot == NULL || step->event.event >= slot->contract->event_count ||
	    &engine->slots[engine->families[slot->family].newest] != slot)
		return differs(record, &step->event, err,
			       "it names a contract or event that was not in force here");
	step->slot = (uint32_t)(slot - engine->slots);
	step->hash = hf_entity_hash(engine, slot->family, step->event.key);
	hf_object_prefetch(engine->entities, step->hash);
	step->id_hash = 0;
	if (step->event.id.len > 0) {
		step->id_hash = hf_id_hash(step->hash, step->event.id);
		hf_index_prefetch(&engine->ids, step->id_hash);
	}
	return true;
}

/* Does the record say what the engine would have logged now? */
static const char *difference(const struct hf_record *record, const struct hf_event_record *event,
			      const struct change *change, const struct hf_step *step,
			      enum hf_verdict verdict) {
	const struct entity *entity = change->entity;
	uint64_t back = entity == NULL ? 0 : record->position - entity->position;
	uint64_t skip = entity == NULL || entity->skip == 0 ? 0 : record->position - entity->skip;
	if (change->version != event->version)
		return "the entity is not at the version before this one";
	if (verdict != HF_STEP_OK)
		return "judged again, the contract refuses this event";
	if (step->transition != event->transition)
		return "judged again, this event takes another transition";
	if (event->back != back || (event->version % HF_SKIP_VERSIONS == 0 && event->skip != skip))
		return "it does not point to the entity's record before it";
	return NULL;
}

/* Remembers the records whose ids may be this one's. */
static bool note_id_pairs(struct hf_engine *engine, const struct change *change,
			  struct hf_err *err) {
	struct hf_index_cursor cursor;
	uint64_t earlier = hf_index_first(&engine->ids, change->id_hash, &cursor);
	for (; earlier != 0; earlier = hf_index_next(&cursor)) {
		if (engine->id_pair_count == engine->id_pair_room) {
			uint64_t room = engine->id_pair_room == 0 ? 64 : engine->id_pair_room * 2;
			void *grown =
				hf_memory_grow(engine->id_pairs, room * sizeof(*engine->id_pairs));
			if (grown == NULL)
				return hf_fail(err, HF_NOMEM, "out of memory");
			engine->id_pairs = grown;
			engine->id_pair_room = room;
		}
		engine->id_pairs[engine->id_pair_count++] =
			(struct id_pair){ .position = change->position, .earlier = earlier };
	}
	return true;
}

static bool same_request(struct hf_engine *engine, const struct id_pair *pair,
			 struct hf_record *record, struct hf_event_record *event, bool *ret_same,
			 struct hf_err *err) {
	struct hf_record earlier_record;
	struct hf_event_record earlier;
	uint8_t bytes[HF_KEY_MAX + HF_ID_MAX];
	if (!hf_log_read(engine->log, pair->earlier, engine->scratch, &earlier_record, err) ||
	    !hf_event_body_get(earlier_record.body, &earlier))
		return false;
	memcpy(bytes, earlier.key.data, earlier.key.len);
	memcpy(bytes + earlier.key.len, earlier.id.data, earlier.id.len);
	earlier.key.data = bytes;
	earlier.id.data = bytes + earlier.key.len;
	if (!hf_log_read(engine->log, pair->position, engine->scratch, record, err) ||
	    !hf_event_body_get(record->body, event))
		return false;
	*ret_same = hf_slot_by_ref(engine, event->ref)->family ==
			    hf_slot_by_ref(engine, earlier.ref)->family &&
		    hf_span_equal(event->key, earlier.key) && hf_span_equal(event->id, earlier.id);
	return true;
}

bool hf_verify_ids(struct hf_engine *engine, struct hf_err *err) {
	for (uint64_t i = 0; i < engine->id_pair_count; i++) {
		struct hf_record record;
		struct hf_event_record event;
		bool same;
		if (!same_request(engine, &engine->id_pairs[i], &record, &event, &same, err))
			return false;
		if (same)
			return differs(&record, &event, err,
				       "its id was applied to this entity before");
	}
	return true;
}

static bool replay_event(struct hf_engine *engine, const struct hf_record *record,
			 const struct replay_step *ahead, struct hf_err *err) {
	const struct hf_event_record *event = &ahead->event;
	struct contract_slot *slot = &engine->slots[ahead->slot];
	const struct hf_contract *contract = slot->contract;
	if (!hf_event_params_get(&contract->events[event->event], event->params, engine->values))
		return differs(record, event, err, "its params are not those of the contract");
	struct change change = {
		.slot = slot,
		.hash = ahead->hash,
		.key = event->key,
		.lsn = record->lsn,
		.position = record->position,
		.time_ns = record->time_ns,
		.id_hash = ahead->id_hash,
		.has_id = event->id.len > 0,
		.block = engine->block,
	};
	change.entity = hf_entity_find(engine, change.hash, slot->family, change.key, ahead->hint);
	change.version = change.entity == NULL ? 1 : change.entity->version + 1;
	struct hf_step step = { 0 };
	uint16_t state;
	const uint8_t *block;
	hf_entity_view(engine, slot, change.entity, &state, &block);
	enum hf_verdict verdict =
		hf_contract_step(contract, state, block, event->event, engine->values,
				 record->time_ns, engine->block, &step);
	const char *what = record->time_ns < engine->now_ns
				   ? "its log time is before that of the record before it"
				   : difference(record, event, &change, &step, verdict);
	if (what != NULL)
		return differs(record, event, err, what);
	change.state = step.state;
	if ((engine->verify && change.has_id && !note_id_pairs(engine, &change, err)) ||
	    !hf_change_reserve(engine, &change, err))
		return false;
	hf_change_apply(engine, &change);
	engine->now_ns = record->time_ns;
	return true;
}

static bool replay_set(struct hf_engine *engine, const struct hf_record *record,
		       struct hf_err *err) {
	struct hf_span key;
	size_t len;
	if (!hf_set_body_get(record->body, &key, engine->value, &len))
		return differs(record, NULL, err, "this record of a plain key does not parse");
	struct plain_change change = hf_plain_look(engine, key);
	if (!hf_plain_reserve(engine, &change, len, err))
		return false;
	hf_plain_apply_set(engine, &change, hf_span(engine->value, len), record);
	return true;
}

static bool replay_delete(struct hf_engine *engine, const struct hf_record *record,
			  struct hf_err *err) {
	struct hf_reader reader = hf_reader(record->body);
	if (!hf_plain_reserve_delete(engine, err))
		return false;
	do {
		struct hf_span key;
		if (!hf_delete_body_next(&reader, &key))
			return differs(record, NULL, err, "this deletion does not parse");
		if (!hf_plain_apply_delete(engine, key, record->lsn))
			return differs(record, NULL, err, "it deletes a key that is not there");
	} while (reader.at < reader.end);
	engine->events++;
	return true;
}

/* Whatever is no event. */
static bool replay_other(struct hf_engine *engine, const struct hf_record *record,
			 struct hf_err *err) {
	bool ok;
	if (record->type != HF_RECORD_CONTRACT && record->time_ns < engine->now_ns)
		return differs(record, NULL, err,
			       "its log time is before that of the record before it");
	switch (record->type) {
	case HF_RECORD_CONTRACT:
		ok = replay_contract(engine, record, err);
		break;
	case HF_RECORD_SET:
		ok = replay_set(engine, record, err);
		break;
	case HF_RECORD_DELETE:
		ok = replay_delete(engine, record, err);
		break;
	default:
		ok = differs(record, NULL, err, "unknown type of record");
	}
	if (ok)
		engine->now_ns = engine->logged_ns = record->time_ns;
	return ok;
}

/* The snapshots up to here: each was taken between two frames, so it was taken exactly here. */
static bool compare_snapshots(struct hf_engine *engine, uint64_t lsn, struct hf_err *err) {
	while (engine->snapshots_ahead_count > 0) {
		uint64_t next = engine->snapshots_ahead[engine->snapshots_ahead_count - 1];
		if (next > lsn)
			return true;
		engine->snapshots_ahead_count--;
		if (!hf_snapshot_compare(engine, next, err) && !hf_snapshot_gone(err))
			return false;
	}
	return true;
}

bool hf_replay_records(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err) {
	struct hf_engine *engine = arg;
	uint32_t done = 0;
	while (done < count) {
		uint32_t ahead = 0;
		/* Up to the next record of another kind: what follows may be of a new contract. */
		for (; ahead < HF_REPLAY_BATCH && done + ahead < count &&
		       records[done + ahead].type == HF_RECORD_EVENT;
		     ahead++)
			if (!look_ahead(engine, &records[done + ahead], &engine->steps[ahead], err))
				return false;
		for (uint32_t i = 0; i < ahead; i++)
			engine->steps[i].hint = hf_entity_hint(engine, engine->steps[i].hash);
		for (uint32_t i = 0; i < ahead; i++)
			if (!replay_event(engine, &records[done + i], &engine->steps[i], err))
				return false;
		done += ahead;
		if (done < count && records[done].type != HF_RECORD_EVENT) {
			if (!replay_other(engine, &records[done], err))
				return false;
			done++;
		}
	}
	return compare_snapshots(engine, records[count - 1].lsn, err);
}
