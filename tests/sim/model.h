/*
 * model.h - what Holdfast should answer, written a second time, as simply as can be: two fixed
 * contracts, whose rules stand here by hand, plain keys, and the list of all that was accepted.
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include "base/err.h"

#define MODEL_KEYS 16u
#define MODEL_IDS 512u
#define MODEL_LSNS 1024u

/* Plain keys have no contract, and are kept beside those that have one. */
enum model_contract { ORDER, DOOR, CONTRACTS, PLAIN = CONTRACTS, KINDS };
enum model_event {
	PLACE,	/* order(q) */
	FILL,	/* order(n) */
	CANCEL, /* order */
	AMEND,	/* order(q), from its version 2 on */
	OPEN,	/* door, and so on */
	CLOSE,
	LOCK,
	UNLOCK,
	NONSENSE, /* no contract has it */
	EVENTS,
	SET, /* a plain key; `param`, then `padding` zeros */
	ADD,
	DELETE,
};

/* The texts that are loaded: model_texts[contract][version - 1]. */
extern const char *const model_texts[CONTRACTS][2];
extern const char *const model_event_names[EVENTS];
extern const char *const model_contract_names[CONTRACTS];

struct model_request {
	enum model_contract contract;
	uint32_t key;
	enum model_event event;
	uint64_t param;
	uint32_t id;	    /* 0: none */
	bool has_ifversion; /* SET: only if it is not there */
	uint64_t ifversion;
	uint32_t padding;
};

struct model_entity {
	uint64_t version; /* 0: is not there */
	uint64_t lsn;
	const char *state;
	uint64_t qty, filled; /* of a plain key: its number, and its padding */
};

/* One LSN. */
struct model_record {
	bool is_contract;
	uint32_t contract_version; /* is_contract */
	struct model_request request;
	struct model_entity after;
	uint8_t hash[16]; /* that the engine told after it; set by the caller */
};

struct model {
	struct model_entity entities[KINDS][MODEL_KEYS];
	uint64_t deleted_lsn; /* the last that ended a plain key */
	uint64_t contract_lsns[CONTRACTS];
	uint32_t contract_versions[CONTRACTS]; /* 0: not loaded */
	uint64_t last;
	struct model_record records[MODEL_LSNS]; /* by LSN; [0] is before all */
};

struct model_answer {
	enum hf_status status;
	bool retried;
	uint64_t lsn, version;
	const char *state;
	uint64_t durable_at; /* at least */
};

/* Judges, and takes what is accepted. */
struct model_answer model_send(struct model *model, const struct model_request *request);
/* Likewise of a plain key. */
struct model_answer model_plain(struct model *model, const struct model_request *request);
/* Is there no room for another LSN? */
static inline bool model_is_full(const struct model *model) {
	return model->last + 1 == MODEL_LSNS;
}

/* A text that takes force. */
void model_load(struct model *model, enum model_contract contract, uint32_t version);
/* Forgets what came after `lsn`. */
void model_cut(struct model *model, uint64_t lsn);
/* The entity as it was after `lsn`. */
struct model_entity model_entity_at(const struct model *model, enum model_contract contract,
				    uint32_t key, uint64_t lsn);

#endif
