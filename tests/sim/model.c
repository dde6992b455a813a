#include "model.h"

#include <string.h>

#define ORDER_RULES(version, more) \
	"---\n" \
	"title: order\n" \
	"---\n" \
	"stateDiagram-v2\n" \
	"    %% version " version "\n" \
	"    %% field qty: u64\n" \
	"    %% field filled: u64\n" \
	"    [*] --> Open : Place(q: u64) [q > 0] / qty = q\n" \
	"    Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n" \
	"    Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n" \
	"    Open --> Cancelled : Cancel\n" more "    Filled --> [*]\n" \
	"    Cancelled --> [*]\n"

const char *const model_texts[CONTRACTS][2] = {
	[ORDER] = { ORDER_RULES("1", ""),
		    ORDER_RULES("2",
				"    Open --> Open : Amend(q: u64) [q > filled] / qty = q\n") },
	[DOOR] = { "---\n"
		   "title: door\n"
		   "---\n"
		   "stateDiagram-v2\n"
		   "    [*] --> Closed\n"
		   "    Closed --> Opened : Open\n"
		   "    Opened --> Closed : Close\n"
		   "    Closed --> Locked : Lock\n"
		   "    Locked --> Closed : Unlock\n",
		   NULL },
};

const char *const model_event_names[EVENTS] = {
	[PLACE] = "Place", [FILL] = "Fill",	[CANCEL] = "Cancel",
	[AMEND] = "Amend", [OPEN] = "Open",	[CLOSE] = "Close",
	[LOCK] = "Lock",   [UNLOCK] = "Unlock", [NONSENSE] = "Nonsense",
};

const char *const model_contract_names[CONTRACTS] = { [ORDER] = "order", [DOOR] = "door" };

static bool in_state(const struct model_entity *entity, const char *state) {
	return entity->version > 0 && strcmp(entity->state, state) == 0;
}

/* The rules of `order`. */
static bool order_step(struct model_entity *entity, enum model_event event, uint64_t param) {
	switch (event) {
	case PLACE:
		if (entity->version > 0 || param == 0)
			return false;
		entity->state = "Open";
		entity->qty = param;
		return true;
	case FILL:
		if (!in_state(entity, "Open") || param == 0 || entity->filled + param > entity->qty)
			return false;
		entity->filled += param;
		if (entity->filled == entity->qty)
			entity->state = "Filled";
		return true;
	case CANCEL:
		if (!in_state(entity, "Open"))
			return false;
		entity->state = "Cancelled";
		return true;
	default: /* AMEND */
		if (!in_state(entity, "Open") || param <= entity->filled)
			return false;
		entity->qty = param;
		return true;
	}
}

/* The rules of `door`: a new one is closed. */
static bool door_step(struct model_entity *entity, enum model_event event) {
	static const struct {
		enum model_event event;
		const char *from, *to;
	} rules[] = {
		{ OPEN, "Closed", "Opened" },
		{ CLOSE, "Opened", "Closed" },
		{ LOCK, "Closed", "Locked" },
		{ UNLOCK, "Locked", "Closed" },
	};
	for (uint32_t i = 0; i < 4; i++) {
		if (rules[i].event != event ||
		    (entity->version == 0 ? strcmp(rules[i].from, "Closed") != 0
					  : !in_state(entity, rules[i].from)))
			continue;
		entity->state = rules[i].to;
		return true;
	}
	return false;
}

static bool knows(const struct model *model, enum model_contract contract, enum model_event event) {
	if (contract == DOOR)
		return event >= OPEN && event <= UNLOCK;
	return event <= CANCEL || (event == AMEND && model->contract_versions[ORDER] >= 2);
}

static bool same_request(const struct model_request *a, const struct model_request *b) {
	bool has_param = a->event == PLACE || a->event == FILL || a->event == AMEND;
	return a->event == b->event && (!has_param || a->param == b->param);
}

/* What was accepted under this id of this entity, or NULL. */
static const struct model_record *earlier(const struct model *model,
					  const struct model_request *request) {
	for (uint64_t lsn = model->last; lsn > 0 && request->id != 0; lsn--) {
		const struct model_record *record = &model->records[lsn];
		if (!record->is_contract && record->request.id == request->id &&
		    record->request.key == request->key &&
		    record->request.contract == request->contract)
			return record;
	}
	return NULL;
}

static struct model_answer judge(struct model *model, const struct model_request *request) {
	struct model_entity *entity = &model->entities[request->contract][request->key];
	struct model_entity next = *entity;
	const struct model_record *old = earlier(model, request);
	uint64_t seen = entity->version > 0 ? entity->lsn : model->contract_lsns[request->contract];
	if (old != NULL && !same_request(&old->request, request))
		return (struct model_answer){ .status = HF_BADPARAM, .durable_at = old->after.lsn };
	if (old != NULL)
		return (struct model_answer){ .retried = true,
					      .lsn = old->after.lsn,
					      .version = old->after.version,
					      .state = old->after.state,
					      .durable_at = old->after.lsn };
	if (!knows(model, request->contract, request->event))
		return (struct model_answer){ .status = HF_BADEVENT };
	if (request->has_ifversion && request->ifversion != entity->version)
		return (struct model_answer){ .status = HF_STALE, .durable_at = seen };
	if (request->contract == ORDER ? !order_step(&next, request->event, request->param)
				       : !door_step(&next, request->event))
		return (struct model_answer){ .status = HF_REFUSED, .durable_at = seen };
	next.version++;
	next.lsn = ++model->last;
	*entity = next;
	model->records[next.lsn] = (struct model_record){ .request = *request, .after = next };
	return (struct model_answer){ .lsn = next.lsn,
				      .version = next.version,
				      .state = next.state,
				      .durable_at = next.lsn };
}

struct model_answer model_send(struct model *model, const struct model_request *request) {
	if (model->contract_versions[request->contract] == 0)
		return (struct model_answer){ .status = HF_NOTFOUND };
	return judge(model, request);
}

struct model_answer model_plain(struct model *model, const struct model_request *request) {
	struct model_entity *entity = &model->entities[PLAIN][request->key];
	struct model_entity next = *entity;
	struct model_answer none = {
		.durable_at = entity->version > 0 ? entity->lsn : model->deleted_lsn,
	};
	bool is_number = entity->version == 0 || entity->filled == 0;
	if (request->event == ADD && !is_number)
		none.status = HF_BADPARAM;
	if (none.status != HF_OK || (request->event == DELETE && entity->version == 0) ||
	    (request->event == SET && request->has_ifversion && entity->version > 0))
		return none;
	next.version = request->event == DELETE ? 0 : entity->version + 1;
	next.qty = request->param + (request->event == ADD ? entity->qty : 0);
	next.filled = request->event == SET ? request->padding : 0;
	if (request->event == DELETE)
		next = (struct model_entity){ 0 };
	next.lsn = ++model->last;
	*entity = next;
	if (request->event == DELETE)
		model->deleted_lsn = next.lsn;
	model->records[next.lsn] = (struct model_record){ .request = *request, .after = next };
	return (struct model_answer){ .lsn = next.lsn,
				      .version = next.version,
				      .durable_at = next.lsn };
}

void model_load(struct model *model, enum model_contract contract, uint32_t version) {
	model->contract_versions[contract] = version;
	model->contract_lsns[contract] = ++model->last;
	model->records[model->last] = (struct model_record){
		.is_contract = true,
		.contract_version = version,
		.request.contract = contract,
	};
}

struct model_entity model_entity_at(const struct model *model, enum model_contract contract,
				    uint32_t key, uint64_t lsn) {
	for (; lsn > 0; lsn--) {
		const struct model_record *record = &model->records[lsn];
		if (!record->is_contract && record->request.contract == contract &&
		    record->request.key == key)
			return record->after;
	}
	return (struct model_entity){ 0 };
}

void model_cut(struct model *model, uint64_t lsn) {
	memset(model->entities, 0, sizeof(model->entities));
	memset(model->contract_versions, 0, sizeof(model->contract_versions));
	memset(model->contract_lsns, 0, sizeof(model->contract_lsns));
	model->last = lsn;
	model->deleted_lsn = 0; /* all that is left is durable */
	for (uint64_t i = 1; i <= lsn; i++) {
		const struct model_record *record = &model->records[i];
		const struct model_request *request = &record->request;
		if (record->is_contract) {
			model->contract_versions[request->contract] = record->contract_version;
			model->contract_lsns[request->contract] = i;
			continue;
		}
		model->entities[request->contract][request->key] = record->after;
	}
}
