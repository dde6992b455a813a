/*
 * figures.c - what the engine counts: each request by what it came to, each group commit by its
 * size and how long it took. All under the lock, in one handle of src/stats, whoever holds it.
 *
 *     events.CONTRACT.FROM.EVENT.TO      accepted, by transition ("#2": the second such)
 *     retried.CONTRACT                   answered with the reply that their id had got before
 *     refused.CONTRACT.REASON            refused.(none).REASON, if there is no such contract
 *     log.group_records, log.group_bytes, log.durable_ns
 *
 * CONTRACT is (other) for what finds no counter of its own any more.
 */
#include <stdio.h>

#include "engine/engine_private.h"
#include "os/memory.h"

static const char *const reasons[REFUSALS] = {
	[REFUSAL_NOT_ALLOWED] = "not_allowed",
	[REFUSAL_GUARD] = "guard",
	[REFUSAL_ARITHMETIC] = "arithmetic",
	[REFUSAL_INVARIANT] = "invariant",
	[REFUSAL_STALE] = "stale",
	[REFUSAL_NOTFOUND] = "not_found",
	[REFUSAL_BADEVENT] = "bad_event",
	[REFUSAL_BADPARAM] = "bad_param",
	[REFUSAL_TOOBIG] = "too_big",
	[REFUSAL_STOPPED] = "stopped",
	[REFUSAL_OTHER] = "other",
};

/* What cannot be registered is counted by `other`. */
static struct hf_counter counter(struct hf_engine *engine, const char *name,
				 struct hf_counter other) {
	struct hf_counter ret;
	enum hf_status status = hf_stats_counter(engine->stats, name, &ret, NULL, 0);
	return status == HF_OK ? ret : other;
}

static struct hf_histogram histogram(struct hf_engine *engine, const char *name) {
	struct hf_histogram ret;
	(void)hf_stats_histogram(engine->stats, name, &ret, NULL, 0);
	return ret;
}

/* Names are put together without a look at their room. */
_Static_assert(HF_STATS_NAME_MAX >= 4 * HF_NAME_MAX + 32, "four names and what is between them");

static void register_refusals(struct hf_engine *engine, const char *contract,
			      struct hf_counter *refused) {
	char name[HF_STATS_NAME_MAX + 1];
	char *behind = stpcpy(stpcpy(name, "refused."), contract);
	for (uint32_t i = 0; i < REFUSALS; i++) {
		stpcpy(stpcpy(behind, "."), reasons[i]);
		refused[i] = counter(engine, name, engine->other_refused[i]);
	}
}

/* Before any contract's: these have room. */
static void register_first(struct hf_engine *engine) {
	static const char *const servers[] = { HF_FIGURE_EVICTED, HF_FIGURE_REJECTED };
	const struct hf_counter none = { 0 }; /* counts without a name */
	struct hf_gauge gauge;
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
		(void)counter(engine, servers[i], none);
	(void)hf_stats_gauge(engine->stats, HF_FIGURE_CLIENT_MEMORY, &gauge, NULL, 0);
	register_refusals(engine, "(none)", engine->refused);
	engine->other_accepted = counter(engine, "events.(other)", none);
	engine->other_retried = counter(engine, "retried.(other)", none);
	register_refusals(engine, "(other)", engine->other_refused);
}

/* For hf_stats_take. Where the lock is taken, whoever takes it next passes a quiescent point. */
static void pass(void *arg) {
	struct hf_engine *engine = arg;
	if (!hf_log_try_lock(engine->log))
		return;
	hf_stats_quiescent(engine->counting);
	hf_log_unlock(engine->log);
}

bool hf_figures_start(struct hf_engine *engine, struct hf_err *err) {
	const struct hf_stats_options options = { .counters = HF_ENGINE_COUNTERS,
						  .histograms = HF_ENGINE_HISTOGRAMS };
	err->status = hf_stats_new(&options, &engine->stats, err->text, sizeof(err->text));
	if (err->status != HF_OK)
		return false;
	err->status = hf_stats_join(engine->stats, "sequencer", &engine->counting, err->text,
				    sizeof(err->text));
	if (err->status != HF_OK)
		return false;
	hf_stats_share(engine->counting, pass, engine);
	register_first(engine);
	engine->group_records = histogram(engine, "log.group_records");
	engine->group_bytes = histogram(engine, "log.group_bytes");
	engine->durable_ns = histogram(engine, "log.durable_ns");
	return true;
}

void hf_figures_stop(struct hf_engine *engine) {
	if (engine->counting != NULL)
		hf_stats_leave(engine->counting);
	hf_stats_free(engine->stats);
}

struct hf_stats *hf_engine_stats(struct hf_engine *engine) {
	return engine->stats;
}

static bool same_step(const struct hf_transition *a, const struct hf_transition *b) {
	return a->from == b->from && a->event == b->event && a->to == b->to;
}

static void name_transition(const struct hf_contract *contract, uint32_t i, char *ret, size_t cap) {
	const struct hf_transition *step = &contract->transitions[i];
	uint32_t before = 0;
	for (uint32_t k = 0; k < i; k++)
		before += same_step(&contract->transitions[k], step);
	char *at = stpcpy(stpcpy(ret, "events."), contract->name);
	at = stpcpy(stpcpy(at, "."), contract->states[step->from].name);
	at = stpcpy(stpcpy(at, "."), contract->events[step->event].name);
	at = stpcpy(stpcpy(at, "."), contract->states[step->to].name);
	if (before > 0)
		snprintf(at, cap - (size_t)(at - ret), "#%u", before + 1);
}

void hf_figures_add_contract(struct hf_engine *engine, struct contract_slot *slot) {
	const struct hf_contract *contract = slot->contract;
	struct family *family = &engine->families[slot->family];
	char name[HF_STATS_NAME_MAX + 1];
	if (engine->stats == NULL)
		return;
	slot->accepted = hf_memory_new((contract->transition_count + 1u) * sizeof(*slot->accepted));
	for (uint32_t i = 0; slot->accepted != NULL && i < contract->transition_count; i++) {
		name_transition(contract, i, name, sizeof(name));
		slot->accepted[i] = counter(engine, name, engine->other_accepted);
	}
	if (family->text_count > 1)
		return; /* the others are the family's */
	stpcpy(stpcpy(name, "retried."), contract->name);
	family->retried = counter(engine, name, engine->other_retried);
	register_refusals(engine, contract->name, family->refused);
}

static enum refusal reason_of(const struct judged *judged, enum hf_status status) {
	switch (status) {
	case HF_REFUSED:
		switch (judged->verdict) {
		case HF_STEP_GUARD:
			return REFUSAL_GUARD;
		case HF_STEP_ARITHMETIC:
			return REFUSAL_ARITHMETIC;
		case HF_STEP_INVARIANT:
			return REFUSAL_INVARIANT;
		default:
			return REFUSAL_NOT_ALLOWED;
		}
	case HF_STALE:
		return REFUSAL_STALE;
	case HF_NOTFOUND:
		return REFUSAL_NOTFOUND;
	case HF_BADEVENT:
		return REFUSAL_BADEVENT;
	case HF_BADPARAM:
		return REFUSAL_BADPARAM;
	case HF_TOOBIG:
		return REFUSAL_TOOBIG;
	case HF_STOPPED:
		return REFUSAL_STOPPED;
	default:
		return REFUSAL_OTHER;
	}
}

void hf_figures_count(struct hf_engine *engine, const struct judged *judged,
		      const struct hf_reply *reply) {
	const struct contract_slot *slot = judged->slot;
	struct hf_counter counter = engine->other_accepted;
	if (reply->status != HF_OK) {
		const struct hf_counter *refused =
			slot == NULL ? engine->refused : engine->families[slot->family].refused;
		counter = refused[reason_of(judged, reply->status)];
	} else if (reply->retried) {
		counter = engine->families[slot->family].retried;
	} else if (slot->accepted != NULL) {
		counter = slot->accepted[judged->step.transition];
	}
	hf_count(engine->counting, counter, 1);
}

void hf_figures_group(void *arg, const struct hf_log_group *group) {
	struct hf_engine *engine = arg;
	hf_record(engine->counting, engine->group_records, group->records);
	hf_record(engine->counting, engine->group_bytes, group->bytes);
	hf_record(engine->counting, engine->durable_ns, group->lag_ns);
}
