/* The step: pure, and hot. It allocates nothing and looks at nothing but its arguments. */
#include "machine/program.h"

void mc_frame_init(struct frame *frame, const struct hf_program *program, const uint8_t *block,
		   uint8_t *out, const struct hf_value *params, int64_t now_ns) {
	frame->bases[BASE_BLOCK] = block;
	frame->bases[BASE_OUT] = out;
	frame->bases[BASE_PARAMS] = (const uint8_t *)params;
	frame->bases[BASE_CONSTS] = (const uint8_t *)program->consts;
	frame->bases[BASE_BYTES] = program->bytes;
	frame->bases[BASE_TEMPS] = (const uint8_t *)frame->temps;
	frame->bases[BASE_NOW] = (const uint8_t *)&frame->now;
	frame->out = out;
	frame->now = now_ns;
}

/* ---- operands ------------------------------------------------------------------------------- */

static inline uint64_t load(const struct frame *frame, uint8_t base, uint32_t at) {
	uint64_t ret;
	memcpy(&ret, frame->bases[base] + at, sizeof(ret));
	return ret;
}

/* Only the new fields and the temporaries are written. */
static inline uint8_t *written(struct frame *frame, const struct insn *insn) {
	return (insn->dst_base == BASE_OUT ? frame->out : (uint8_t *)frame->temps) + insn->dst;
}

static inline void store(struct frame *frame, const struct insn *insn, uint64_t value) {
	memcpy(written(frame, insn), &value, sizeof(value));
}

static struct hf_span load_bytes(const struct frame *frame, uint8_t base, uint32_t at) {
	const uint8_t *place = frame->bases[base] + at;
	if (base != BASE_PARAMS)
		return hf_span(place + 1, place[0]);
	struct hf_value value;
	memcpy(&value, place, sizeof(value));
	return hf_span(value.data, value.len);
}

static void store_bytes(struct frame *frame, const struct insn *insn) {
	struct hf_span bytes = load_bytes(frame, insn->a_base, insn->a);
	uint8_t *place = written(frame, insn);
	place[0] = (uint8_t)bytes.len;
	if (bytes.len > 0)
		memcpy(place + 1, bytes.data, bytes.len);
	memset(place + 1 + bytes.len, 0, insn->b - bytes.len);
}

static bool bytes_equal(const struct frame *frame, const struct insn *insn) {
	return hf_span_equal(load_bytes(frame, insn->a_base, insn->a),
			     load_bytes(frame, insn->b_base, insn->b));
}

/* ---- the interpreter ------------------------------------------------------------------------ */

/* The quotient of INT64_MIN and -1 does not fit; the rest of that division is 0. */
static bool divide(uint64_t a, uint64_t b, uint8_t op, uint64_t *ret) {
	int64_t x = (int64_t)a, y = (int64_t)b;
	if (b == 0 || (op == OP_DIV_I && y == -1 && x == INT64_MIN))
		return false;
	switch (op) {
	case OP_DIV_U:
		*ret = a / b;
		return true;
	case OP_MOD_U:
		*ret = a % b;
		return true;
	case OP_DIV_I:
		*ret = (uint64_t)(x / y);
		return true;
	default:
		*ret = y == -1 ? 0 : (uint64_t)(x % y);
		return true;
	}
}

/* Within mc_run(): the operands, and what an instruction does with them. */
#define A load(frame, insn->a_base, insn->a)
#define B load(frame, insn->b_base, insn->b)
#define SET(value) \
	do { \
		store(frame, insn, (uint64_t)(value)); \
		goto next; \
	} while (0)
#define CHECKED(operation, type) \
	do { \
		type result; \
		if (operation((type)A, (type)B, &result)) \
			goto arithmetic; \
		SET(result); \
	} while (0)
#define JUMP_IF(condition) \
	do { \
		if (condition) \
			insn = code + insn->dst; \
		else \
			insn++; \
		goto jumped; \
	} while (0)

/* clang-format off */
enum outcome mc_run(const struct hf_program *program, struct frame *frame, uint32_t pc,
		 uint32_t *ret_pc) {
	const struct insn *code = program->code, *insn = code + pc;
	enum outcome ret = RUN_ARITHMETIC;
	uint64_t quotient;
jumped:
	switch ((enum opcode)insn->op) {
	case OP_ADD_U: CHECKED(__builtin_add_overflow, uint64_t);
	case OP_SUB_U: CHECKED(__builtin_sub_overflow, uint64_t);
	case OP_MUL_U: CHECKED(__builtin_mul_overflow, uint64_t);
	case OP_ADD_I: CHECKED(__builtin_add_overflow, int64_t);
	case OP_SUB_I: CHECKED(__builtin_sub_overflow, int64_t);
	case OP_MUL_I: CHECKED(__builtin_mul_overflow, int64_t);
	case OP_DIV_U:
	case OP_MOD_U:
	case OP_DIV_I:
	case OP_MOD_I:
		if (!divide(A, B, insn->op, &quotient))
			goto arithmetic;
		SET(quotient);
	case OP_MIN_U: SET(A < B ? A : B);
	case OP_MAX_U: SET(A > B ? A : B);
	case OP_MIN_I: SET((int64_t)A < (int64_t)B ? A : B);
	case OP_MAX_I: SET((int64_t)A > (int64_t)B ? A : B);
	case OP_NEG_I:
	case OP_ABS_I:
		if ((int64_t)A == INT64_MIN)
			goto arithmetic;
		SET(insn->op == OP_NEG_I || (int64_t)A < 0 ? 0 - A : A);
	case OP_CONVERT:
		if ((int64_t)A < 0)
			goto arithmetic;
		SET(A);
	case OP_MOVE: SET(A);
	case OP_LOAD_BOOL: SET(frame->bases[insn->a_base][insn->a]);
	case OP_STORE_BOOL: *written(frame, insn) = (uint8_t)A; goto next;
	case OP_STORE_BYTES: store_bytes(frame, insn); goto next;
	case OP_JUMP: JUMP_IF(true);
	case OP_JUMP_LT_U: JUMP_IF(A < B);
	case OP_JUMP_LE_U: JUMP_IF(A <= B);
	case OP_JUMP_LT_I: JUMP_IF((int64_t)A < (int64_t)B);
	case OP_JUMP_LE_I: JUMP_IF((int64_t)A <= (int64_t)B);
	case OP_JUMP_EQ: JUMP_IF(A == B);
	case OP_JUMP_NE: JUMP_IF(A != B);
	case OP_JUMP_BYTES_EQ: JUMP_IF(bytes_equal(frame, insn));
	case OP_JUMP_BYTES_NE: JUMP_IF(!bytes_equal(frame, insn));
	case OP_JUMP_ZERO: JUMP_IF(A == 0);
	case OP_JUMP_NOT_ZERO: JUMP_IF(A != 0);
	case OP_FALSE: ret = RUN_FALSE; break;
	case OP_TRUE: ret = RUN_TRUE; break;
	}
arithmetic:
	*ret_pc = (uint32_t)(insn - code);
	return ret;
next:
	insn++;
	goto jumped;
}
/* clang-format on */

/* ---- the step ------------------------------------------------------------------------------- */

/* Finds the first transition whose guard holds. */
static enum hf_verdict choose(const struct hf_contract *contract, const struct cell *cell,
			      struct frame *frame, struct hf_step *ret) {
	const struct hf_program *program = contract->program;
	uint32_t pc;
	for (uint32_t i = 0; i < cell->count; i++) {
		uint16_t transition = program->candidates[cell->first + i];
		uint32_t guard = program->rules[transition].guard;
		enum outcome outcome =
			guard == NO_CODE ? RUN_TRUE : mc_run(program, frame, guard, &pc);
		if (outcome == RUN_FALSE)
			continue;
		ret->transition = transition;
		return outcome == RUN_TRUE ? HF_STEP_OK : HF_STEP_ARITHMETIC;
	}
	if (cell->count == 0)
		return HF_STEP_NOT_ALLOWED;
	ret->transition = program->candidates[cell->first];
	return HF_STEP_GUARD;
}

enum hf_verdict hf_contract_step(const struct hf_contract *contract, uint16_t state,
				 const uint8_t *block, uint8_t event, const struct hf_value *params,
				 int64_t now_ns, uint8_t *block_out, struct hf_step *ret) {
	const struct hf_program *program = contract->program;
	struct frame frame;
	uint32_t pc;
	if (state == HF_STATE_NEW)
		state = contract->initial;
	*ret = (struct hf_step){ .transition = UINT16_MAX, .invariant = UINT16_MAX };
	mc_frame_init(&frame, program, block, block_out, params, now_ns);
	enum hf_verdict verdict =
		choose(contract, &program->cells[(uint32_t)state * contract->event_count + event],
		       &frame, ret);
	if (verdict != HF_STEP_OK)
		return verdict;

	const struct rule *rule = &program->rules[ret->transition];
	if (contract->block_size > 0)
		memcpy(block_out, block, contract->block_size);
	if (rule->effect != NO_CODE && mc_run(program, &frame, rule->effect, &pc) != RUN_TRUE)
		return HF_STEP_ARITHMETIC;
	enum outcome outcome = program->invariants == NO_CODE
				       ? RUN_TRUE
				       : mc_run(program, &frame, program->invariants, &pc);
	if (outcome == RUN_ARITHMETIC)
		return HF_STEP_ARITHMETIC;
	if (outcome == RUN_FALSE) {
		ret->invariant = (uint16_t)program->code[pc].a;
		return HF_STEP_INVARIANT;
	}
	ret->state = contract->transitions[ret->transition].to;
	return HF_STEP_OK;
}
