/* Why a step was not OK, in words. */
#include "machine/program.h"

/* One sentence, and the names whose values belong to it. */
struct account {
	const struct hf_contract *contract;
	const struct hf_event *event;
	const uint8_t *block;
	const uint8_t *out;
	const struct hf_value *params;
	struct hf_text *text;
	bool params_told[HF_PARAMS_MAX];
	bool fields_told[HF_FIELDS_MAX];
	bool begun; /* the list of values */
};

static void add_slice(struct account *account, struct slice slice) {
	const char *text = account->contract->text + slice.at;
	for (uint32_t i = 0; i < slice.len; i++)
		hf_text_add(account->text, "%c", (uint8_t)text[i] < ' ' ? ' ' : text[i]);
}

static void add_value(struct account *account, const char *name, enum hf_type type,
		      const struct hf_value *value) {
	char buf[64];
	size_t len = hf_value_format(type, value, buf);
	hf_text_add(account->text, account->begun ? ", %s = " : ", with %s = ", name);
	account->begun = true;
	if (type != HF_TYPE_BYTES) {
		hf_text_add(account->text, "%.*s", (int)len, buf);
		return;
	}
	hf_text_add(account->text, "\"");
	hf_text_add_quoted(account->text, hf_span(buf, len), HF_BYTES_MAX);
	hf_text_add(account->text, "\"");
}

static void add_named_value(struct account *account, struct hf_span name, bool after) {
	const struct hf_contract *contract = account->contract;
	int param = after ? -1 : hf_event_param(account->event, name);
	int field = param < 0 ? hf_contract_field(contract, name) : -1;
	if (param >= 0 && !account->params_told[param]) {
		account->params_told[param] = true;
		add_value(account, account->event->params[param].name,
			  account->event->params[param].type, &account->params[param]);
	} else if (field >= 0 && !account->fields_told[field]) {
		struct hf_value value = hf_field_value(&contract->fields[field],
						       after ? account->out : account->block);
		account->fields_told[field] = true;
		add_value(account, contract->fields[field].name, contract->fields[field].type,
			  &value);
	}
}

/* Adds the values of the names in a piece of the contract; `after` the effects, or before. */
static void add_values(struct account *account, struct slice slice, bool after) {
	const char *text = account->contract->text + slice.at;
	bool quoted = false;
	for (uint32_t i = 0; i < slice.len;) {
		uint32_t start = i;
		while (!quoted && i < slice.len && mc_is_word_byte(text[i]))
			i++;
		if (i > start) {
			add_named_value(account, hf_span(text + start, i - start), after);
			continue;
		}
		quoted ^= text[i++] == '"';
	}
}

static void explain_not_allowed(struct account *account, uint16_t state) {
	const struct hf_contract *contract = account->contract;
	bool told[HF_STATES_MAX + 1] = { false }, any = false, after_from = false;
	hf_text_add(account->text, "%s is allowed", account->event->name);
	for (uint32_t i = 0; i < contract->transition_count; i++) {
		const struct hf_transition *transition = &contract->transitions[i];
		const struct hf_event *event = &contract->events[transition->event];
		if (event != account->event || told[transition->from])
			continue;
		told[transition->from] = true;
		hf_text_add(account->text, any ? " or " : " ");
		if (transition->from == HF_STATE_NEW)
			hf_text_add(account->text, "as the first event");
		else
			hf_text_add(account->text, after_from ? "%s" : "from %s",
				    contract->states[transition->from].name);
		after_from = transition->from != HF_STATE_NEW;
		any = true;
	}
	bool can_go_on = false;
	for (uint32_t i = 0; i < contract->event_count; i++)
		can_go_on |= contract->program->cells[state * contract->event_count + i].count > 0;
	if (!can_go_on)
		return;
	any = false;
	hf_text_add(account->text, "; allowed now:");
	for (uint32_t i = 0; i < contract->event_count; i++) {
		if (contract->program->cells[state * contract->event_count + i].count == 0)
			continue;
		hf_text_add(account->text, any ? ", %s" : " %s", contract->events[i].name);
		any = true;
	}
}

static void explain_guard(struct account *account, uint16_t state, uint8_t event) {
	const struct hf_program *program = account->contract->program;
	const struct cell *cell = &program->cells[state * account->contract->event_count + event];
	hf_text_add(account->text, "%s needs ", account->event->name);
	for (uint32_t i = 0; i < cell->count; i++) {
		const struct rule *rule = &program->rules[program->candidates[cell->first + i]];
		hf_text_add(account->text, i == 0 ? "" : " or ");
		for (uint32_t j = 0; j < rule->text_count; j++) {
			hf_text_add(account->text, j == 0 ? "[" : " and [");
			add_slice(account, program->guard_texts[rule->first_text + j]);
			hf_text_add(account->text, "]");
		}
	}
	for (uint32_t i = 0; i < cell->count; i++) {
		const struct rule *rule = &program->rules[program->candidates[cell->first + i]];
		for (uint32_t j = 0; j < rule->text_count; j++)
			add_values(account, program->guard_texts[rule->first_text + j], false);
	}
}

/* Runs the transition again, up to the place where the arithmetic failed. */
static bool find_failure(const struct hf_program *program, const struct rule *rule,
			 struct frame *frame, uint32_t *ret_pc, bool *ret_after) {
	*ret_after = false;
	if (rule->guard != NO_CODE && mc_run(program, frame, rule->guard, ret_pc) == RUN_ARITHMETIC)
		return true;
	if (rule->effect != NO_CODE &&
	    mc_run(program, frame, rule->effect, ret_pc) == RUN_ARITHMETIC)
		return true;
	*ret_after = true;
	return program->invariants != NO_CODE &&
	       mc_run(program, frame, program->invariants, ret_pc) == RUN_ARITHMETIC;
}

static void explain_arithmetic(struct account *account, const struct rule *rule,
			       struct frame *frame) {
	const struct hf_program *program = account->contract->program;
	uint32_t pc;
	bool after;
	if (!find_failure(program, rule, frame, &pc, &after))
		return;
	uint8_t op = program->code[pc].op;
	bool division = op == OP_DIV_U || op == OP_MOD_U || op == OP_DIV_I || op == OP_MOD_I;
	uint64_t divisor = 1;
	if (division)
		memcpy(&divisor, frame->bases[program->code[pc].b_base] + program->code[pc].b,
		       sizeof(divisor));
	hf_text_add(account->text, "%s %s in ", account->event->name,
		    divisor == 0 ? "divides by zero" : "overflows");
	add_slice(account, program->places[pc]);
	add_values(account, program->places[pc], after);
}

static void explain_invariant(struct account *account, const struct rule *rule, struct frame *frame,
			      uint16_t invariant) {
	const struct hf_program *program = account->contract->program;
	uint32_t pc;
	if (rule->effect != NO_CODE && mc_run(program, frame, rule->effect, &pc) != RUN_TRUE)
		return;
	hf_text_add(account->text, "%s would break the invariant ", account->event->name);
	add_slice(account, program->invariant_texts[invariant]);
	add_values(account, program->invariant_texts[invariant], true);
}

void hf_step_explain(const struct hf_contract *contract, uint16_t state, const uint8_t *block,
		     uint8_t event, const struct hf_value *params, int64_t now_ns,
		     enum hf_verdict verdict, const struct hf_step *step, struct hf_text *text) {
	const struct hf_program *program = contract->program;
	uint8_t out[HF_BLOCK_MAX];
	struct frame frame;
	struct account account = {
		.contract = contract,
		.event = &contract->events[event],
		.block = block,
		.out = out,
		.params = params,
		.text = text,
	};
	if (state == HF_STATE_NEW)
		state = contract->initial;
	if (contract->block_size > 0)
		memcpy(out, block, contract->block_size);
	mc_frame_init(&frame, program, block, out, params, now_ns);
	switch (verdict) {
	case HF_STEP_NOT_ALLOWED:
		explain_not_allowed(&account, state);
		break;
	case HF_STEP_GUARD:
		explain_guard(&account, state, event);
		break;
	case HF_STEP_ARITHMETIC:
		explain_arithmetic(&account, &program->rules[step->transition], &frame);
		break;
	case HF_STEP_INVARIANT:
		explain_invariant(&account, &program->rules[step->transition], &frame,
				  step->invariant);
		break;
	case HF_STEP_OK:
		break;
	}
}
