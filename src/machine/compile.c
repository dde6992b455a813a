/* From a checked source to a contract: the tables, and the code of guards, effects and
 * invariants. */

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/memory.h"
#include "machine/program.h"

struct builder {
	struct source *source;
	struct hf_contract *contract;
	struct hf_program *program;
	uint32_t code_cap, const_count, const_cap, bytes_count, bytes_cap;
	size_t bytes;	      /* of all that the contract holds */
	uint32_t temps;	      /* in use */
	enum base field_base; /* where fields are read: the old ones, or for invariants the new */
	bool nomem;
	bool failed; /* a limit was passed and reported, or nomem */
};

struct operand {
	enum base base;
	uint32_t at;
};

/* ---- growing -------------------------------------------------------------------------------- */

static void *zeroed(struct builder *builder, size_t count, size_t size) {
	void *ret = hf_memory_new((count > 0 ? count : 1) * size);
	if (ret == NULL)
		builder->nomem = builder->failed = true;
	builder->bytes += count * size;
	return ret;
}

/* Makes room for one more. The old memory stays valid, and in use, if there is no more. */
static void grow(struct builder *builder, void *array, uint32_t count, uint32_t *cap, size_t size) {
	void *memory, *bigger;
	if (count < *cap)
		return;
	memcpy(&memory, array, sizeof(memory));
	bigger = hf_memory_grow(memory, (size_t)(*cap * 2 + 16) * size);
	if (bigger == NULL) {
		builder->nomem = builder->failed = true;
		return;
	}
	memcpy(array, &bigger, sizeof(bigger));
	builder->bytes += (size_t)(*cap + 16) * size;
	*cap = *cap * 2 + 16;
}

static void too_much(struct builder *builder, struct slice at, const char *what) {
	if (!builder->failed)
		mc_error_at(builder->source, "too-many", at, "%s", what);
	builder->failed = true;
}

static uint32_t emit(struct builder *builder, enum opcode op, struct slice place,
		     struct operand dst, struct operand a, struct operand b) {
	struct hf_program *program = builder->program;
	uint32_t cap = builder->code_cap;
	if (program->code_count == HF_CODE_MAX)
		too_much(builder, place, "the guards, effects and invariants are too long");
	grow(builder, &program->code, program->code_count, &cap, sizeof(*program->code));
	grow(builder, &program->places, program->code_count, &builder->code_cap,
	     sizeof(*program->places));
	if (builder->failed)
		return 0;
	uint32_t index = program->code_count++;
	program->places[index] = place;
	program->code[index] = (struct insn){
		.op = (uint8_t)op,
		.dst_base = (uint8_t)dst.base,
		.a_base = (uint8_t)a.base,
		.b_base = (uint8_t)b.base,
		.dst = dst.at,
		.a = a.at,
		.b = b.at,
	};
	return index;
}

static struct operand constant(struct builder *builder, uint64_t value) {
	struct hf_program *program = builder->program;
	uint32_t count = builder->const_count;
	for (uint32_t i = count > 32 ? count - 32 : 0; i < count; i++)
		if (program->consts[i] == value)
			return (struct operand){ BASE_CONSTS, i * 8 };
	grow(builder, &program->consts, count, &builder->const_cap, sizeof(uint64_t));
	if (builder->failed)
		return (struct operand){ BASE_CONSTS, 0 };
	program->consts[builder->const_count++] = value;
	return (struct operand){ BASE_CONSTS, count * 8 };
}

static struct operand bytes_literal(struct builder *builder, struct slice text) {
	struct hf_program *program = builder->program;
	struct operand ret = { BASE_BYTES, builder->bytes_count };
	for (uint32_t i = 0; i <= text.len; i++) {
		grow(builder, &program->bytes, builder->bytes_count, &builder->bytes_cap, 1);
		if (builder->failed)
			return ret;
		program->bytes[builder->bytes_count++] =
			i == 0 ? (uint8_t)text.len : builder->source->text.data[text.at + i - 1];
	}
	return ret;
}

static struct operand new_temp(struct builder *builder, struct slice place) {
	if (builder->temps == HF_STACK_MAX)
		too_much(builder, place, "this expression is too deep");
	if (builder->failed)
		return (struct operand){ BASE_TEMPS, 0 };
	return (struct operand){ BASE_TEMPS, 8 * builder->temps++ };
}

/* ---- expressions ---------------------------------------------------------------------------- */

static const struct operand none = { 0, 0 };

static void branch(struct builder *builder, const struct expr *expr, bool sense, uint32_t *jumps);
static struct operand value(struct builder *builder, const struct expr *expr);

/* Jumps whose target is not known yet are a list: each one's dst is the next. */
static void jump(struct builder *builder, enum opcode op, struct slice place, struct operand a,
		 struct operand b, uint32_t *jumps) {
	uint32_t index = emit(builder, op, place, (struct operand){ 0, *jumps }, a, b);
	if (!builder->failed)
		*jumps = index;
}

static void land(struct builder *builder, uint32_t jumps) {
	while (jumps != NO_CODE && !builder->failed) {
		uint32_t next = builder->program->code[jumps].dst;
		builder->program->code[jumps].dst = builder->program->code_count;
		jumps = next;
	}
}

static struct operand name_operand(const struct builder *builder, const struct expr *expr) {
	if (expr->is_param)
		return (struct operand){ BASE_PARAMS,
					 expr->index * (uint32_t)sizeof(struct hf_value) };
	return (struct operand){ builder->field_base,
				 builder->contract->fields[expr->index].offset };
}

static struct operand bytes_operand(struct builder *builder, const struct expr *expr) {
	return expr->op == EXPR_STRING ? bytes_literal(builder, expr->op_at)
				       : name_operand(builder, expr);
}

static enum opcode arithmetic_op(const struct expr *expr) {
	bool is_signed = expr->type == HF_TYPE_I64;
	switch (expr->op) {
	case EXPR_ADD:
		return is_signed ? OP_ADD_I : OP_ADD_U;
	case EXPR_SUB:
		return is_signed ? OP_SUB_I : OP_SUB_U;
	case EXPR_MUL:
		return is_signed ? OP_MUL_I : OP_MUL_U;
	case EXPR_DIV:
		return is_signed ? OP_DIV_I : OP_DIV_U;
	case EXPR_MOD:
		return is_signed ? OP_MOD_I : OP_MOD_U;
	case EXPR_MIN:
		return is_signed ? OP_MIN_I : OP_MIN_U;
	case EXPR_MAX:
		return is_signed ? OP_MAX_I : OP_MAX_U;
	case EXPR_ABS:
		return OP_ABS_I;
	case EXPR_TO_U64:
	case EXPR_TO_I64:
		return expr->left->type == expr->type ? OP_MOVE : OP_CONVERT;
	default:
		HF_ASSERT(expr->op == EXPR_NEG);
		return OP_NEG_I;
	}
}

static void arithmetic_into(struct builder *builder, const struct expr *expr, struct operand dst) {
	struct operand a = value(builder, expr->left);
	struct operand b = expr->right != NULL ? value(builder, expr->right) : none;
	emit(builder, arithmetic_op(expr), expr->at, dst, a, b);
}

static bool is_arithmetic(const struct expr *expr) {
	return expr->type <= HF_TYPE_I64 && expr->op >= EXPR_NEG;
}

/* A comparison or a combination of conditions, as 0 or 1. */
static void truth_into(struct builder *builder, const struct expr *expr, struct operand dst) {
	uint32_t is_false = NO_CODE, is_done = NO_CODE;
	branch(builder, expr, false, &is_false);
	emit(builder, OP_MOVE, expr->at, dst, constant(builder, 1), none);
	jump(builder, OP_JUMP, expr->at, none, none, &is_done);
	land(builder, is_false);
	emit(builder, OP_MOVE, expr->at, dst, constant(builder, 0), none);
	land(builder, is_done);
}

/* Where the value of a number or bool can be read. */
static struct operand value(struct builder *builder, const struct expr *expr) {
	switch (expr->op) {
	case EXPR_NUMBER:
		return constant(builder, expr->negative ? 0 - expr->number : expr->number);
	case EXPR_BOOL:
		return constant(builder, expr->number);
	case EXPR_NOW:
		return (struct operand){ BASE_NOW, 0 };
	case EXPR_NAME:
		if (expr->is_param || expr->type != HF_TYPE_BOOL)
			return name_operand(builder, expr);
		break;
	default:
		break;
	}
	uint32_t in_use = builder->temps;
	struct operand dst = new_temp(builder, expr->at);
	if (expr->op == EXPR_NAME)
		emit(builder, OP_LOAD_BOOL, expr->at, dst, name_operand(builder, expr), none);
	else if (is_arithmetic(expr))
		arithmetic_into(builder, expr, dst);
	else
		truth_into(builder, expr, dst);
	builder->temps = in_use + 1;
	return dst;
}

static void branch_compared(struct builder *builder, const struct expr *expr, bool sense,
			    uint32_t *jumps) {
	const struct expr *left = expr->left, *right = expr->right;
	uint32_t in_use = builder->temps;
	if (left->type == HF_TYPE_BYTES) {
		struct operand a = bytes_operand(builder, left), b = bytes_operand(builder, right);
		jump(builder, (expr->op == EXPR_EQ) == sense ? OP_JUMP_BYTES_EQ : OP_JUMP_BYTES_NE,
		     expr->at, a, b, jumps);
		return;
	}
	struct operand a = value(builder, left), b = value(builder, right);
	bool is_signed = left->type == HF_TYPE_I64;
	bool less = expr->op == EXPR_LT || expr->op == EXPR_LE;
	bool strict = expr->op == EXPR_LT || expr->op == EXPR_GT;
	if (expr->op == EXPR_EQ || expr->op == EXPR_NE) {
		jump(builder, (expr->op == EXPR_EQ) == sense ? OP_JUMP_EQ : OP_JUMP_NE, expr->at, a,
		     b, jumps);
	} else {
		/* not (a < b) is b <= a, and so on */
		bool straight = less == sense;
		enum opcode op = strict == sense ? (is_signed ? OP_JUMP_LT_I : OP_JUMP_LT_U)
						 : (is_signed ? OP_JUMP_LE_I : OP_JUMP_LE_U);
		jump(builder, op, expr->at, straight ? a : b, straight ? b : a, jumps);
	}
	builder->temps = in_use;
}

/* Jumps if the condition is `sense`, and falls through if it is not. */
static void branch(struct builder *builder, const struct expr *expr, bool sense, uint32_t *jumps) {
	if (expr->op == EXPR_NOT) {
		branch(builder, expr->left, !sense, jumps);
	} else if (expr->op >= EXPR_LT && expr->op <= EXPR_NE) {
		branch_compared(builder, expr, sense, jumps);
	} else if (expr->op == EXPR_AND || expr->op == EXPR_OR) {
		/* `decides`: the left side alone can decide for a jump */
		bool decides = (expr->op == EXPR_OR) == sense;
		uint32_t skips = NO_CODE;
		branch(builder, expr->left, decides ? sense : !sense, decides ? jumps : &skips);
		branch(builder, expr->right, sense, jumps);
		land(builder, skips);
	} else {
		uint32_t in_use = builder->temps;
		struct operand a = value(builder, expr);
		jump(builder, sense ? OP_JUMP_NOT_ZERO : OP_JUMP_ZERO, expr->at, a, none, jumps);
		builder->temps = in_use;
	}
}

/* ---- guards, effects, invariants ------------------------------------------------------------ */

static uint32_t compile_guard(struct builder *builder, const struct path *path) {
	uint32_t start = builder->program->code_count, failed = NO_CODE;
	struct slice place = path->arcs[0]->label.at;
	builder->field_base = BASE_BLOCK;
	for (uint32_t i = 0; i < path->arc_count; i++)
		if (path->arcs[i]->label.guard != NULL)
			branch(builder, path->arcs[i]->label.guard, false, &failed);
	if (failed == NO_CODE)
		return NO_CODE;
	emit(builder, OP_TRUE, place, none, none, none);
	land(builder, failed);
	emit(builder, OP_FALSE, place, none, none, none);
	return start;
}

static void compile_effect(struct builder *builder, const struct effect *effect) {
	const struct field *field = mc_field_named(builder->source, effect->field_at);
	const struct expr *whole = effect->whole;
	struct operand dst = { BASE_OUT, builder->contract->fields[field->index].offset };
	if (field->type == HF_TYPE_BYTES)
		emit(builder, OP_STORE_BYTES, whole->at, dst, bytes_operand(builder, whole),
		     (struct operand){ 0, field->bytes_max });
	else if (field->type == HF_TYPE_BOOL)
		emit(builder, OP_STORE_BOOL, whole->at, dst, value(builder, whole), none);
	else if (is_arithmetic(whole))
		arithmetic_into(builder, whole, dst);
	else
		emit(builder, OP_MOVE, whole->at, dst, value(builder, whole), none);
	builder->temps = 0;
}

static uint32_t compile_effects(struct builder *builder, const struct path *path) {
	uint32_t start = builder->program->code_count;
	builder->field_base = BASE_BLOCK;
	for (uint32_t i = 0; i < path->arc_count; i++)
		for (const struct effect *effect = path->arcs[i]->label.effects; effect != NULL;
		     effect = effect->next)
			compile_effect(builder, effect);
	if (builder->program->code_count == start)
		return NO_CODE;
	emit(builder, OP_TRUE, path->arcs[0]->label.at, none, none, none);
	return start;
}

static void compile_invariants(struct builder *builder) {
	const struct source *source = builder->source;
	struct hf_program *program = builder->program;
	program->invariants = source->first_invariant == NULL ? NO_CODE : program->code_count;
	program->invariant_texts = zeroed(builder, source->invariant_count, sizeof(struct slice));
	builder->field_base = BASE_OUT;
	struct slice place = { 0, 0 };
	for (const struct invariant *invariant = source->first_invariant;
	     invariant != NULL && !builder->failed; invariant = invariant->next) {
		uint32_t holds = NO_CODE;
		place = invariant->at;
		branch(builder, invariant->expr, true, &holds);
		emit(builder, OP_FALSE, place, none,
		     (struct operand){ 0, program->invariant_count }, none);
		land(builder, holds);
		program->invariant_texts[program->invariant_count++] = place;
	}
	if (program->invariants != NO_CODE)
		emit(builder, OP_TRUE, place, none, none, none);
}

static void compile_paths(struct builder *builder) {
	struct source *source = builder->source;
	for (uint32_t i = 0; i < source->path_count && !builder->failed; i++) {
		struct path *path = &source->paths[i];
		(void)mc_check_path(source, path);
		path->guard = compile_guard(builder, path);
		path->effect = compile_effects(builder, path);
	}
}

/* ---- tables --------------------------------------------------------------------------------- */

static void copy_name(struct source *source, struct slice name, char *ret) {
	HF_ASSERT(name.len <= HF_NAME_MAX);
	memcpy(ret, source->text.data + name.at, name.len);
}

static void build_fields(struct builder *builder) {
	struct hf_contract *contract = builder->contract;
	contract->fields = zeroed(builder, builder->source->field_count, sizeof(struct hf_field));
	if (builder->failed)
		return;
	uint32_t offset = 0;
	for (const struct field *field = builder->source->first_field; field != NULL;
	     field = field->next) {
		struct hf_field *ret = &contract->fields[contract->field_count++];
		copy_name(builder->source, field->name, ret->name);
		ret->type = field->type;
		ret->bytes_max = field->bytes_max;
		if (field->type == HF_TYPE_U64 || field->type == HF_TYPE_I64)
			offset = (offset + 7) & ~7u;
		ret->offset = (uint16_t)offset;
		offset += field->type == HF_TYPE_BYTES	? 1u + field->bytes_max
			  : field->type == HF_TYPE_BOOL ? 1u
							: 8u;
	}
	contract->block_size = (uint16_t)((offset + 7) & ~7u);
	HF_ASSERT(contract->block_size <= HF_BLOCK_MAX);
}

static void build_events(struct builder *builder) {
	struct hf_contract *contract = builder->contract;
	contract->events = zeroed(builder, builder->source->event_count, sizeof(struct hf_event));
	if (builder->failed)
		return;
	for (const struct event *event = builder->source->first_event; event != NULL;
	     event = event->next) {
		struct hf_event *ret = &contract->events[contract->event_count++];
		copy_name(builder->source, event->name, ret->name);
		for (const struct param *param = event->label->params; param != NULL;
		     param = param->next) {
			struct hf_param *to = &ret->params[ret->param_count++];
			copy_name(builder->source, param->name, to->name);
			to->type = param->type;
			to->bytes_max = param->bytes_max;
		}
	}
}

static void build_states(struct builder *builder) {
	struct hf_contract *contract = builder->contract;
	struct source *source = builder->source;
	contract->state_count = (uint16_t)(source->plain_count + 1);
	contract->states = zeroed(builder, contract->state_count, sizeof(struct hf_state));
	if (builder->failed)
		return;
	strcpy(contract->states[HF_STATE_NEW].name, "[*]");
	for (const struct state *state = source->first_state; state != NULL; state = state->next) {
		if (state->kind != STATE_PLAIN)
			continue;
		copy_name(source, state->name, contract->states[state->index].name);
		contract->states[state->index].final = state->end;
	}
	contract->initial =
		source->initial_state != NULL ? source->initial_state->index : HF_STATE_NEW;
}

/* The texts of a path's guards, for explanations. */
static void add_guard_texts(struct builder *builder, const struct path *path, uint32_t *count,
			    struct rule *rule) {
	rule->first_text = *count;
	for (uint32_t i = 0; i < path->arc_count; i++)
		if (path->arcs[i]->label.guard != NULL)
			builder->program->guard_texts[(*count)++] = path->arcs[i]->label.guard_at;
	rule->text_count = *count - rule->first_text;
}

static void add_transition(struct builder *builder, const struct path *path, uint16_t from,
			   const struct rule *rule) {
	struct hf_contract *contract = builder->contract;
	if (contract->transition_count == HF_TRANSITIONS_MAX) {
		too_much(builder, path->arcs[0]->at,
			 "with its composite states taken apart, the contract has too many "
			 "transitions");
		return;
	}
	contract->transitions[contract->transition_count] = (struct hf_transition){
		.from = from,
		.to = path->to->index,
		.event = (uint8_t)path->event->index,
		.line = mc_line_of(builder->source, path->arcs[0]->at.at),
	};
	builder->program->rules[contract->transition_count++] = *rule;
}

/* `depths`, per transition: how far in the state stands that the arrow leaves. Returns the number
 * of guards' texts. */
static uint32_t build_transitions(struct builder *builder, uint16_t *depths) {
	struct source *source = builder->source;
	uint32_t text_count = 0;
	for (uint32_t i = 0; i < source->path_count && !builder->failed; i++) {
		const struct path *path = &source->paths[i];
		struct rule rule = { .guard = path->guard, .effect = path->effect };
		uint16_t first = builder->contract->transition_count;
		add_guard_texts(builder, path, &text_count, &rule);
		if (path->from == NULL)
			add_transition(builder, path, HF_STATE_NEW, &rule);
		for (const struct state *state = source->first_state;
		     path->from != NULL && state != NULL && !builder->failed; state = state->next)
			if (state->kind == STATE_PLAIN && mc_path_leaves(path, state))
				add_transition(builder, path, state->index, &rule);
		for (uint16_t j = first; j < builder->contract->transition_count; j++)
			depths[j] = path->from != NULL ? path->from->depth : 0;
	}
	return text_count;
}

/* Inner arrows go before outer ones; else the file's order. */
static void sort_cell(uint16_t *candidates, uint32_t count, const uint16_t *depths) {
	for (uint32_t i = 1; i < count; i++) {
		uint16_t moved = candidates[i];
		uint32_t j = i;
		for (; j > 0 && depths[candidates[j - 1]] < depths[moved]; j--)
			candidates[j] = candidates[j - 1];
		candidates[j] = moved;
	}
}

static void build_cells(struct builder *builder, const uint16_t *depths) {
	struct hf_contract *contract = builder->contract;
	struct hf_program *program = builder->program;
	uint32_t cell_count = (uint32_t)contract->state_count * contract->event_count;
	program->cells = zeroed(builder, cell_count, sizeof(struct cell));
	program->candidates = zeroed(builder, contract->transition_count, sizeof(uint16_t));
	if (builder->failed)
		return;
	for (uint32_t i = 0; i < contract->transition_count; i++) {
		const struct hf_transition *transition = &contract->transitions[i];
		program->cells[transition->from * contract->event_count + transition->event]
			.count++;
	}
	uint16_t first = 0;
	for (uint32_t i = 0; i < cell_count; i++) {
		program->cells[i].first = first;
		first += program->cells[i].count;
		program->cells[i].count = 0;
	}
	for (uint16_t i = 0; i < contract->transition_count; i++) {
		const struct hf_transition *transition = &contract->transitions[i];
		struct cell *cell = &program->cells[transition->from * contract->event_count +
						    transition->event];
		program->candidates[cell->first + cell->count++] = i;
	}
	for (uint32_t i = 0; i < cell_count; i++)
		sort_cell(program->candidates + program->cells[i].first, program->cells[i].count,
			  depths);
}

/* ---- as drawn ------------------------------------------------------------------------------- */

static struct hf_span kept(const struct builder *builder, struct slice slice) {
	return hf_span(builder->contract->text + slice.at, slice.len);
}

static void build_drawing(struct builder *builder) {
	static const struct slice empty = { 0, 0 };
	const struct source *source = builder->source;
	struct hf_program *program = builder->program;
	program->drawn_states = zeroed(builder, source->state_count, sizeof(struct hf_drawn_state));
	program->drawn_arcs = zeroed(builder, source->arc_count, sizeof(struct hf_drawn_arc));
	if (builder->failed)
		return;
	for (const struct state *state = source->first_state; state != NULL; state = state->next)
		program->drawn_states[program->drawn_state_count++] = (struct hf_drawn_state){
			.name = kept(builder, state->name),
			.within = kept(builder, state->parent ? state->parent->name : empty),
			.kind = state->kind == STATE_CHOICE	 ? HF_DRAWN_CHOICE
				: state->kind == STATE_COMPOSITE ? HF_DRAWN_COMPOSITE
								 : HF_DRAWN_STATE,
			.line = mc_line_of(source, state->name.at),
		};
	for (const struct arc *arc = source->first_arc; arc != NULL; arc = arc->next)
		program->drawn_arcs[program->drawn_arc_count++] = (struct hf_drawn_arc){
			.from = kept(builder, arc->from_at),
			.to = kept(builder, arc->to_at),
			.label = kept(builder, arc->label.at),
			.within = kept(builder, arc->scope ? arc->scope->name : empty),
			.line = mc_line_of(source, arc->at.at),
		};
}

/* Gives back what was made for the largest contract, `cap` of them, and is not used by this one. */
static void *shrunk(struct builder *builder, void *memory, size_t cap, size_t count, size_t size) {
	void *smaller = hf_memory_grow(memory, (count > 0 ? count : 1) * size);
	if (smaller == NULL)
		return memory;
	builder->bytes -= (cap - count) * size;
	return smaller;
}

static void shrink(struct builder *builder, size_t text_cap, uint32_t text_count) {
	struct hf_contract *contract = builder->contract;
	struct hf_program *program = builder->program;
	size_t transitions = contract->transition_count, code = program->code_count;
	contract->transitions = shrunk(builder, contract->transitions, HF_TRANSITIONS_MAX,
				       transitions, sizeof(*contract->transitions));
	program->rules = shrunk(builder, program->rules, HF_TRANSITIONS_MAX, transitions,
				sizeof(*program->rules));
	program->guard_texts = shrunk(builder, program->guard_texts, text_cap, text_count,
				      sizeof(*program->guard_texts));
	program->code =
		shrunk(builder, program->code, builder->code_cap, code, sizeof(*program->code));
	program->places =
		shrunk(builder, program->places, builder->code_cap, code, sizeof(*program->places));
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void build_text(struct builder *builder) {
	struct hf_contract *contract = builder->contract;
	const struct source *source = builder->source;
	contract->text = zeroed(builder, source->text.len + 1, 1);
	if (builder->failed)
		return;
	memcpy(contract->text, source->text.data, source->text.len);
	contract->text_len = source->text.len;
	memcpy(contract->name, source->name, sizeof(contract->name));
	contract->version = source->version;
	XXH128_canonical_t canonical;
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(source->text.data, source->text.len));
	memcpy(contract->hash, canonical.digest, sizeof(contract->hash));
}

static void build_names(struct builder *builder) {
	const struct hf_contract *contract = builder->contract;
	struct hf_program *program = builder->program;
	bool good = mc_name_table_init(&program->state_names, contract->state_count,
				       sizeof(struct hf_state), contract->states) &&
		    mc_name_table_init(&program->event_names, contract->event_count,
				       sizeof(struct hf_event), contract->events) &&
		    mc_name_table_init(&program->field_names, contract->field_count,
				       sizeof(struct hf_field), contract->fields);
	if (!good)
		builder->nomem = builder->failed = true;
	builder->bytes += mc_name_table_bytes(&program->state_names) +
			  mc_name_table_bytes(&program->event_names) +
			  mc_name_table_bytes(&program->field_names);
}

static void build(struct builder *builder) {
	struct source *source = builder->source;
	size_t text_cap = (size_t)source->path_count * CHAIN_MAX;
	build_text(builder);
	build_fields(builder);
	build_events(builder);
	build_states(builder);
	builder->contract->transitions =
		zeroed(builder, HF_TRANSITIONS_MAX, sizeof(struct hf_transition));
	builder->program->rules = zeroed(builder, HF_TRANSITIONS_MAX, sizeof(struct rule));
	builder->program->guard_texts = zeroed(builder, text_cap, sizeof(struct slice));
	uint16_t *depths = zeroed(builder, HF_TRANSITIONS_MAX, sizeof(*depths));
	if (!builder->failed)
		compile_paths(builder);
	if (!builder->failed)
		compile_invariants(builder);
	uint32_t text_count = builder->failed ? 0 : build_transitions(builder, depths);
	if (!builder->failed)
		build_cells(builder, depths);
	if (!builder->failed)
		build_drawing(builder);
	if (!builder->failed)
		build_names(builder);
	if (!builder->failed)
		shrink(builder, text_cap, text_count);
	hf_memory_free(depths);
	builder->bytes -= HF_TRANSITIONS_MAX * sizeof(*depths);
}

bool mc_build_contract(struct source *source, struct hf_contract **ret, bool *ret_nomem) {
	struct builder builder = { .source = source };
	builder.contract = zeroed(&builder, 1, sizeof(*builder.contract));
	builder.program = zeroed(&builder, 1, sizeof(*builder.program));
	if (!builder.failed) {
		builder.contract->program = builder.program;
		build(&builder);
		builder.contract->bytes = builder.bytes;
		*ret = builder.contract;
	} else {
		hf_memory_free(builder.contract);
		hf_memory_free(builder.program);
		builder.contract = NULL;
	}
	*ret_nomem = builder.nomem;
	if (builder.failed)
		hf_contract_free(builder.contract);
	return !builder.failed;
}
