/*
 * contracts.c - the contracts in force, by name, and every text they ever had.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/engine_private.h"
#include "os/memory.h"

static uint32_t bucket_of(struct hf_span name) {
	return (uint32_t)XXH3_64bits(name.data, name.len) % HF_CONTRACT_BUCKETS;
}

uint32_t hf_family_find(const struct hf_engine *engine, struct hf_span name) {
	uint32_t bucket = bucket_of(name);
	for (;; bucket = (bucket + 1) % HF_CONTRACT_BUCKETS) {
		uint32_t number = hf_atomic_load(&engine->family_buckets[bucket], HF_ACQUIRE);
		if (number == 0)
			return UINT32_MAX;
		if (hf_span_equal(name, engine->families[number - 1].name))
			return number - 1;
	}
}

struct contract_slot *hf_slot_by_ref(struct hf_engine *engine, uint32_t ref) {
	uint32_t bucket = ref % HF_CONTRACT_BUCKETS;
	for (; engine->slot_buckets[bucket] != 0; bucket = (bucket + 1) % HF_CONTRACT_BUCKETS)
		if (engine->slots[engine->slot_buckets[bucket] - 1].ref == ref)
			return &engine->slots[engine->slot_buckets[bucket] - 1];
	return NULL;
}

static void put_in_bucket(uint16_t *buckets, uint32_t from, uint32_t number) {
	uint32_t bucket = from % HF_CONTRACT_BUCKETS;
	while (buckets[bucket] != 0)
		bucket = (bucket + 1) % HF_CONTRACT_BUCKETS;
	hf_atomic_store(&buckets[bucket], (uint16_t)(number + 1), HF_RELEASE);
}

static uint32_t ref_of(const struct hf_contract *contract) {
	uint32_t ref;
	memcpy(&ref, contract->hash, sizeof(ref));
	return ref;
}

static bool state_in_use(void *arg, uint16_t state) {
	const struct contract_slot *slot = arg;
	return slot->counts[state] > 0;
}

/* The maps from every earlier text of the family to `next`; filled only where `store`. */
static bool map_family(struct hf_engine *engine, uint32_t family, const struct hf_contract *next,
		       bool store, struct hf_err *err) {
	uint16_t state_map[HF_STATES_MAX], field_map[HF_FIELDS_MAX];
	for (uint32_t i = 0; i < engine->slot_count; i++) {
		struct contract_slot *slot = &engine->slots[i];
		if (slot->family != family || slot->contract == next)
			continue;
		if (!hf_contract_upgrade(slot->contract, next, state_in_use, slot, state_map,
					 field_map, err))
			return false;
		if (!store)
			continue;
		memcpy(slot->state_map, state_map,
		       slot->contract->state_count * sizeof(*state_map));
		memcpy(slot->field_map, field_map,
		       slot->contract->field_count * sizeof(*field_map));
	}
	return true;
}

static bool same_text(const struct hf_contract *a, const struct hf_contract *b) {
	return memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

/* An event's record names its contract by the beginning of the hash. */
static bool told_apart(const struct hf_contract *contract, const struct hf_contract *other,
		       struct hf_err *err) {
	if (ref_of(contract) != ref_of(other))
		return true;
	if (same_text(contract, other)) /* under another name: that of its file */
		return hf_fail(err, HF_REFUSED,
			       "contract %s has the very text of contract %s: if both are meant, "
			       "give each text its `title`",
			       contract->name, other->name);
	return hf_fail(err, HF_REFUSED,
		       "contract %s version %llu: its hash begins like that of %s version "
		       "%llu; change the text, a comment will do, and raise `%%%% version`",
		       contract->name, (unsigned long long)contract->version, other->name,
		       (unsigned long long)other->version);
}

bool hf_contract_beside(const struct hf_contract *contract, const struct hf_contract *other,
			struct hf_err *err) {
	bool one_name = strcmp(contract->name, other->name) == 0;
	if (one_name && same_text(contract, other))
		return true; /* a copy */
	if (one_name)
		return hf_fail(err, HF_REFUSED,
			       "both are contract %s, with different texts: keep the one that is "
			       "to be in force",
			       contract->name);
	return told_apart(contract, other, err);
}

static bool fail_full(const struct hf_contract *contract, struct hf_err *err) {
	return hf_fail(err, HF_TOOBIG,
		       "contract %s: this data directory already has %u contract texts, its limit",
		       contract->name, HF_CONTRACTS_MAX);
}

bool hf_contract_admit(struct hf_engine *engine, const struct hf_contract *contract,
		       struct hf_err *err) {
	uint32_t family = hf_family_find(engine, hf_span_of(contract->name));
	if (engine->slot_count == HF_CONTRACTS_MAX)
		return fail_full(contract, err);
	const struct hf_contract *now =
		family == UINT32_MAX ? NULL : hf_newest(engine, family)->contract;
	if (now != NULL && contract->version == now->version)
		return hf_fail(err, HF_REFUSED,
			       "contract %s version %llu is in force with another text: a changed "
			       "text needs a higher "
			       "`%%%% version`",
			       now->name, (unsigned long long)now->version);
	if (now != NULL && contract->version < now->version)
		return hf_fail(
			err, HF_REFUSED,
			"contract %s version %llu is older than version %llu, which is in force",
			now->name, (unsigned long long)contract->version,
			(unsigned long long)now->version);
	/* Not an earlier text again: that has an older version. */
	const struct contract_slot *same = hf_slot_by_ref(engine, ref_of(contract));
	if (same != NULL && !told_apart(contract, same->contract, err))
		return false;
	if (now == NULL || map_family(engine, family, contract, false, err))
		return true;
	err->status = HF_REFUSED; /* the text is good, but not as a successor */
	return false;
}

static void slot_fini(struct contract_slot *slot) {
	hf_memory_free(slot->counts);
	hf_memory_free(slot->state_map);
	hf_memory_free(slot->field_map);
	hf_memory_free(slot->accepted);
}

/* What a slot holds of its own: see hf_contract_activate, and `accepted` in figures.c. */
static size_t slot_bytes(const struct hf_contract *contract) {
	const struct contract_slot *slot;
	return (contract->state_count + 1u) * (sizeof(*slot->counts) + sizeof(*slot->state_map)) +
	       (contract->field_count + 1u) * sizeof(*slot->field_map) +
	       (contract->transition_count + 1u) * sizeof(*slot->accepted);
}

bool hf_contract_activate(struct hf_engine *engine, struct hf_contract *contract, uint64_t lsn,
			  struct hf_err *err) {
	HF_ASSERT(engine->slot_count < HF_CONTRACTS_MAX);
	uint32_t family = hf_family_find(engine, hf_span_of(contract->name));
	bool is_new = family == UINT32_MAX;
	struct contract_slot slot = {
		.contract = contract,
		.lsn = lsn,
		.ref = ref_of(contract),
		.family = (uint16_t)(is_new ? engine->family_count : family),
		.counts = hf_memory_new((contract->state_count + 1u) * sizeof(*slot.counts)),
		.state_map = hf_memory_new((contract->state_count + 1u) * sizeof(*slot.state_map)),
		.field_map = hf_memory_new((contract->field_count + 1u) * sizeof(*slot.field_map)),
	};
	if (slot.counts == NULL || slot.state_map == NULL || slot.field_map == NULL) {
		slot_fini(&slot);
		return hf_fail(err, HF_NOMEM, "out of memory");
	}
	engine->slots[engine->slot_count] = slot;
	engine->contract_bytes += contract->bytes + slot_bytes(contract);
	put_in_bucket(engine->slot_buckets, slot.ref, engine->slot_count);
	if (is_new) {
		family = engine->family_count++;
		engine->families[family].name = hf_span_of(contract->name);
	} else {
		bool mapped = map_family(engine, family, contract, true, err);
		HF_ASSERT(mapped); /* it was admitted */
	}
	/* From here on readers without the lock may find it. */
	hf_atomic_store(&engine->families[family].newest, engine->slot_count++, HF_RELEASE);
	engine->families[family].text_count++;
	if (is_new)
		put_in_bucket(engine->family_buckets, bucket_of(hf_span_of(contract->name)),
			      family);
	hf_figures_add_contract(engine, hf_newest(engine, family));
	return true;
}

void hf_contracts_free(struct hf_engine *engine) {
	for (uint32_t i = 0; i < engine->slot_count; i++) {
		slot_fini(&engine->slots[i]);
		hf_contract_free(engine->slots[i].contract);
	}
	engine->slot_count = engine->family_count = 0;
	engine->contract_bytes = 0;
	memset(engine->family_buckets, 0, sizeof(engine->family_buckets));
	memset(engine->slot_buckets, 0, sizeof(engine->slot_buckets));
}

/* Logs an admitted contract, for which the log has room, and puts it in force. */
static bool enact(struct hf_engine *engine, struct hf_contract *contract, uint64_t *ret_lsn,
		  struct hf_err *err) {
	uint64_t position;
	uint8_t *body =
		hf_log_begin(engine->log, hf_contract_body_max(contract), ret_lsn, &position);
	if (!hf_contract_activate(engine, contract, *ret_lsn, err))
		return false;
	engine->logged_ns = hf_log_time(engine);
	hf_log_end(engine->log, HF_RECORD_CONTRACT, engine->logged_ns,
		   hf_contract_body_put(contract, body, hf_contract_body_max(contract)));
	return true;
}

/* The slot of the contract's text, if it is in force; else NULL. */
static const struct contract_slot *in_force(struct hf_engine *engine,
					    const struct hf_contract *contract) {
	uint32_t family = hf_family_find(engine, hf_span_of(contract->name));
	const struct contract_slot *now = family == UINT32_MAX ? NULL : hf_newest(engine, family);
	return now != NULL && same_text(now->contract, contract) ? now : NULL;
}

bool hf_engine_contract_check(struct hf_engine *engine, const struct hf_contract *contract,
			      uint32_t *news, struct hf_err *err) {
	if (in_force(engine, contract) != NULL)
		return true;
	if (!hf_contract_admit(engine, contract, err))
		return false;
	if (engine->slot_count + *news >= HF_CONTRACTS_MAX)
		return fail_full(contract, err);
	(*news)++;
	return true;
}

void hf_engine_contract_put(struct hf_engine *engine, struct hf_contract *contract,
			    struct hf_reply *ret) {
	struct hf_err err;
	*ret = (struct hf_reply){ .status = HF_OK };
	/* This may wait, and others may load contracts meanwhile: before anything else is asked. */
	bool has_room = hf_log_make_room(engine->log, hf_contract_body_max(contract), &err);
	const struct contract_slot *now = in_force(engine, contract);
	if (now != NULL) {
		ret->lsn = ret->durable_at = now->lsn;
		ret->version = now->contract->version;
		ret->state = now->contract->name;
	} else if (!has_room) {
		hf_reply_err(engine, &err, 0, ret);
	} else if (hf_contract_admit(engine, contract, &err) &&
		   enact(engine, contract, &ret->lsn, &err)) {
		ret->durable_at = ret->lsn;
		ret->version = contract->version;
		ret->state = contract->name;
		return;
	} else {
		/* What is in force, or which states are in use, may have refused it. */
		hf_reply_err(engine, &err, hf_log_last(engine->log), ret);
	}
	hf_contract_free(contract);
}

void hf_engine_contract_load(struct hf_engine *engine, struct hf_span text, const char *file_name,
			     struct hf_reply *ret) {
	struct hf_diagnostics *diagnostics = hf_memory_new(sizeof(*diagnostics));
	struct hf_contract *contract = NULL;
	struct hf_err err;
	*ret = (struct hf_reply){ .status = HF_OK };
	if (diagnostics == NULL) {
		hf_fail(&err, HF_NOMEM, "out of memory");
		hf_reply_err(engine, &err, 0, ret);
		return;
	}
	/* A long text's proofs take a while, and nothing of the engine: others go on meanwhile. */
	hf_engine_unlock(engine);
	bool ok = hf_contract_compile(text, file_name, diagnostics, &contract, &err);
	hf_memory_free(diagnostics);
	hf_engine_lock(engine);
	if (ok)
		hf_engine_contract_put(engine, contract, ret);
	else
		hf_reply_err(engine, &err, 0, ret);
}

const struct hf_contract *hf_engine_contract_at(const struct hf_engine *engine, uint32_t i) {
	return i < engine->family_count ? engine->slots[engine->families[i].newest].contract : NULL;
}

const struct hf_contract *hf_engine_contract(const struct hf_engine *engine, struct hf_span name) {
	uint32_t family = hf_family_find(engine, name);
	return family == UINT32_MAX ? NULL : hf_engine_contract_at(engine, family);
}
