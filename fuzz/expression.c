/*
 * Expressions: what a compiled guard, effect or invariant comes to, against a plain evaluation of
 * the same tree; and what the prover claims of guards, against values.
 *
 * Input: bytes that choose two guards, two effects and an invariant, node by node, all well typed;
 * then the values to judge them with. The contract has two arrows for its event:
 *
 *     S --> S : E(params) [guard 0] / n = effect 0, k = effect 1
 *     S --> T : E(params) [guard 1]
 *
 * What must hold: it compiles, unless a guard provably never holds or is never reached, and then
 * that is so; where no overlap is reported the two never hold together; the verdict and the fields
 * are those of the tree; a step that was refused changed nothing; and a step is repeatable.
 */
#include "base/assert.h"
#include "machine/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 144u
#define NODES_LEFT 64u /* then only leaves come: enough for every operand that is still open */
#define DEPTH_MAX 4u
#define TRIALS 6u
#define NOW_NS 1700000000000000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op {
	LITERAL,
	NAME,
	NOW,
	NEG,
	NOT,
	ABS,
	CONVERT,
	MIN,
	MAX,
	ADD,
	SUB,
	MUL,
	DIV,
	MOD,
	LT,
	LE,
	GT,
	GE,
	EQ,
	NE,
	AND,
	OR
};

/* How strongly each binds, as in C; 0: it stands in parentheses of its own, or needs none. */
static const struct {
	const char *text;
	int binds;
} spelling[] = {
	[LITERAL] = { "", 8 }, [NAME] = { "", 8 },   [NOW] = { "now", 8 },  [NEG] = { "-", 7 },
	[NOT] = { "!", 7 },    [ABS] = { "abs", 8 }, [CONVERT] = { "", 8 }, [MIN] = { "min", 8 },
	[MAX] = { "max", 8 },  [ADD] = { "+", 5 },   [SUB] = { "-", 5 },    [MUL] = { "*", 6 },
	[DIV] = { "/", 6 },    [MOD] = { "%", 6 },   [LT] = { "<", 4 },	    [LE] = { "<=", 4 },
	[GT] = { ">", 4 },     [GE] = { ">=", 4 },   [EQ] = { "==", 3 },    [NE] = { "!=", 3 },
	[AND] = { "&&", 2 },   [OR] = { "||", 1 },
};

struct node {
	enum op op;
	enum hf_type type;
	const struct node *left, *right;
	uint64_t num;	    /* LITERAL of a number or bool; NAME: which name */
	const char *string; /* LITERAL of bytes */
	bool untyped;	    /* of literals only */
	bool parens;	    /* in parentheses although it needs none */
};

/* The contract's fields, then the event's params; the first FIELDS are fields. */
#define FIELDS 5u
#define NAMES 10u
static const struct {
	const char *name;
	enum hf_type type;
} names[NAMES] = {
	{ "n", HF_TYPE_U64 },	 { "k", HF_TYPE_I64 },	 { "b", HF_TYPE_BOOL },
	{ "m", HF_TYPE_U64 },	 { "s", HF_TYPE_BYTES }, { "pn", HF_TYPE_U64 },
	{ "pk", HF_TYPE_I64 },	 { "pb", HF_TYPE_BOOL }, { "pj", HF_TYPE_I64 },
	{ "ps", HF_TYPE_BYTES },
};
static const char *const type_names[] = { "u64", "i64", "bool", "bytes(4)" };
static const char *const strings[] = { "", "a", "ab", "abcd" };

struct input {
	const uint8_t *at, *end;
	struct node nodes[NODES_MAX];
	uint32_t node_count;
};

/* ---- choosing ------------------------------------------------------------------------------ */

static uint8_t take(struct input *input) {
	return input->at < input->end ? *input->at++ : 0;
}

/* Small, at an edge, or anything. */
static uint64_t take_number(struct input *input) {
	static const uint64_t edges[] = { UINT64_MAX, INT64_MAX,  (uint64_t)INT64_MAX + 1,
					  UINT32_MAX, 3037000500, NOW_NS };
	uint8_t choice = take(input);
	if (choice < 96)
		return choice % 12;
	if (choice < 144)
		return 0 - (uint64_t)(choice % 12); /* a small negative one, or a huge one */
	if (choice < 208)
		return edges[choice % 6] + choice / 6 % 3 - 1;
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | take(input);
	return value;
}

static struct node *new_node(struct input *input, enum op op, enum hf_type type) {
	HF_ASSERT(input->node_count < NODES_MAX);
	struct node *node = &input->nodes[input->node_count++];
	*node = (struct node){ .op = op, .type = type };
	return node;
}

/* A field or param; in an invariant only fields. Those of one type are FIELDS apart, or more. */
static struct node *choose_name(struct input *input, enum hf_type type, bool fields_only) {
	uint32_t first = take(input), count = fields_only ? FIELDS : NAMES;
	for (uint32_t i = 0;; i++) {
		uint32_t name = (first + i) % count;
		if (names[name].type != type)
			continue;
		struct node *node = new_node(input, NAME, type);
		node->num = name;
		return node;
	}
}

static struct node *choose_literal(struct input *input, enum hf_type type) {
	struct node *node = new_node(input, LITERAL, type);
	node->untyped = type != HF_TYPE_BOOL && type != HF_TYPE_BYTES;
	if (type == HF_TYPE_BYTES)
		node->string = strings[take(input) % 4];
	else
		node->num = type == HF_TYPE_BOOL ? take(input) & 1 : take_number(input);
	return node;
}

static struct node *choose(struct input *input, enum hf_type type, uint32_t depth,
			   bool fields_only);

/* Two operands of one type; not both literals, whose type would then be another than ours. */
static void choose_pair(struct input *input, struct node *node, enum hf_type type, uint32_t depth,
			bool fields_only) {
	node->left = choose(input, type, depth, fields_only);
	node->right = choose(input, type, depth, fields_only);
	if (node->op >= LT && node->left->untyped && node->right->untyped)
		node->left = choose_name(input, type, fields_only);
	node->untyped = node->op < LT && node->left->untyped && node->right->untyped;
}

static struct node *choose_number(struct input *input, enum hf_type type, uint32_t depth,
				  bool fields_only) {
	static const enum op binaries[] = { ADD, ADD, SUB, SUB, MUL, DIV, MOD, MIN, MAX };
	uint8_t choice = take(input) % 16;
	if (choice < 9) {
		struct node *node = new_node(input, binaries[choice], type);
		choose_pair(input, node, type, depth, fields_only);
		return node;
	}
	if (choice < 11 && type == HF_TYPE_I64) {
		struct node *node = new_node(input, choice == 9 ? NEG : ABS, type);
		node->left = choose(input, type, depth, fields_only);
		if (node->left->untyped) /* -5 would be another literal; -(5 + 5) a literal */
			node->left = choose_name(input, type, fields_only);
		return node;
	}
	if (choice < 13) {
		enum hf_type other = type == HF_TYPE_U64 ? HF_TYPE_I64 : HF_TYPE_U64;
		struct node *node = new_node(input, CONVERT, type);
		node->left = choose(input, other, depth, fields_only);
		if (node->left->untyped)
			node->left = choose_name(input, other, fields_only);
		return node;
	}
	if (choice == 13 && type == HF_TYPE_I64 && !fields_only)
		return new_node(input, NOW, type);
	return choice == 14 ? choose_literal(input, type) : choose_name(input, type, fields_only);
}

static struct node *choose_bool(struct input *input, uint32_t depth, bool fields_only) {
	uint8_t choice = take(input) % 16;
	if (choice < 8) {
		static const enum op comparisons[] = { LT, LE, GT, GE, EQ, NE };
		enum op op = comparisons[take(input) % 6];
		enum hf_type type = choice < 4		    ? HF_TYPE_U64
				    : choice < 7 || op < EQ ? HF_TYPE_I64
				    : take(input) & 1	    ? HF_TYPE_BOOL
							    : HF_TYPE_BYTES;
		struct node *node = new_node(input, op, HF_TYPE_BOOL);
		choose_pair(input, node, type, depth, fields_only);
		return node;
	}
	if (choice < 13) {
		struct node *node = new_node(input, choice < 11 ? AND : OR, HF_TYPE_BOOL);
		choose_pair(input, node, HF_TYPE_BOOL, depth, fields_only);
		return node;
	}
	if (choice == 13) {
		struct node *node = new_node(input, NOT, HF_TYPE_BOOL);
		node->left = choose(input, HF_TYPE_BOOL, depth, fields_only);
		return node;
	}
	return choice == 14 ? choose_literal(input, HF_TYPE_BOOL)
			    : choose_name(input, HF_TYPE_BOOL, fields_only);
}

static struct node *choose(struct input *input, enum hf_type type, uint32_t depth,
			   bool fields_only) {
	struct node *node;
	bool leaf = depth == 0 || input->node_count > NODES_MAX - NODES_LEFT;
	if (leaf || type == HF_TYPE_BYTES)
		node = take(input) & 1 ? choose_literal(input, type)
				       : choose_name(input, type, fields_only);
	else if (type == HF_TYPE_BOOL)
		node = choose_bool(input, depth - 1, fields_only);
	else
		node = choose_number(input, type, depth - 1, fields_only);
	node->parens = take(input) % 8 == 7;
	return node;
}

/* ---- printing ------------------------------------------------------------------------------ */

static void print(struct hf_text *text, const struct node *node, int binds);

static void print_literal(struct hf_text *text, const struct node *node) {
	if (node->type == HF_TYPE_BYTES)
		hf_text_add(text, "\"%s\"", node->string);
	else if (node->type == HF_TYPE_BOOL)
		hf_text_add(text, "%s", node->num ? "true" : "false");
	else if (node->type == HF_TYPE_I64)
		hf_text_add(text, "%lld", (long long)node->num);
	else
		hf_text_add(text, "%llu", (unsigned long long)node->num);
}

static void print_inside(struct hf_text *text, const struct node *node) {
	int binds = spelling[node->op].binds;
	switch (node->op) {
	case LITERAL:
		print_literal(text, node);
		break;
	case NAME:
		hf_text_add(text, "%s", names[node->num].name);
		break;
	case NOW:
		hf_text_add(text, "now");
		break;
	case NEG:
	case NOT:
		hf_text_add(text, "%s", spelling[node->op].text);
		print(text, node->left, binds);
		break;
	case ABS:
	case CONVERT:
	case MIN:
	case MAX:
		hf_text_add(text, "%s(",
			    node->op == CONVERT ? type_names[node->type] : spelling[node->op].text);
		print(text, node->left, 0);
		if (node->right != NULL) {
			hf_text_add(text, ", ");
			print(text, node->right, 0);
		}
		hf_text_add(text, ")");
		break;
	default:
		print(text, node->left, binds);
		hf_text_add(text, " %s ", spelling[node->op].text);
		print(text, node->right, binds + 1);
	}
}

/* With parentheses if it binds less strongly than its surroundings need. */
static void print(struct hf_text *text, const struct node *node, int binds) {
	bool parens = node->parens || spelling[node->op].binds < binds;
	hf_text_add(text, parens ? "(" : "");
	print_inside(text, node);
	hf_text_add(text, parens ? ")" : "");
}

/* ---- evaluating ---------------------------------------------------------------------------- */

/* Values by name. */
struct world {
	struct hf_value values[NAMES];
};

static bool eval(const struct node *node, const struct world *world, struct hf_value *ret);

/* In integers that are wide enough for every result of one operation. */
static bool eval_number(const struct node *node, __int128 a, __int128 b, struct hf_value *ret) {
	__int128 value = 0;
	bool divides = node->op == DIV || node->op == MOD;
	if (divides && b == 0)
		return false;
	switch (node->op) {
	case NEG:
		value = -a;
		break;
	case ABS:
		value = a < 0 ? -a : a;
		break;
	case CONVERT:
		value = a;
		break;
	case MIN:
		value = a < b ? a : b;
		break;
	case MAX:
		value = a > b ? a : b;
		break;
	case ADD:
		value = a + b;
		break;
	case SUB:
		value = a - b;
		break;
	case MUL:
		if (__builtin_mul_overflow(a, b, &value))
			return false;
		break;
	case DIV:
		value = a / b;
		break;
	default:
		value = a % b;
		break;
	}
	bool fits = node->type == HF_TYPE_U64 ? value >= 0 && value <= UINT64_MAX
					      : value >= INT64_MIN && value <= INT64_MAX;
	ret->num = (uint64_t)value;
	return fits;
}

static bool compare(enum op op, __int128 a, __int128 b) {
	switch (op) {
	case LT:
		return a < b;
	case LE:
		return a <= b;
	case GT:
		return a > b;
	case GE:
		return a >= b;
	case EQ:
		return a == b;
	default:
		return a != b;
	}
}

static __int128 number(const struct node *node, const struct hf_value *value) {
	return node->type == HF_TYPE_I64 ? (__int128)(int64_t)value->num : (__int128)value->num;
}

static bool eval_operator(const struct node *node, const struct world *world,
			  struct hf_value *ret) {
	struct hf_value a, b = { 0 };
	if (!eval(node->left, world, &a))
		return false;
	if (node->op == NOT || node->op == AND || node->op == OR) {
		ret->num = node->op == NOT ? !a.num : a.num;
		bool done = node->op == NOT || (node->op == AND) == !a.num;
		return done || eval(node->right, world, ret);
	}
	if (node->right != NULL && !eval(node->right, world, &b))
		return false;
	if (node->left->type == HF_TYPE_BYTES) {
		bool equal = a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
		ret->num = equal == (node->op == EQ);
		return true;
	}
	__int128 left = number(node->left, &a);
	__int128 right = node->right == NULL ? 0 : number(node->right, &b);
	if (node->op < LT)
		return eval_number(node, left, right, ret);
	ret->num = compare(node->op, left, right);
	return true;
}

/* False: arithmetic that does not come out. */
static bool eval(const struct node *node, const struct world *world, struct hf_value *ret) {
	*ret = (struct hf_value){ 0 };
	if (node->op == NAME)
		*ret = world->values[node->num];
	else if (node->op == NOW)
		ret->num = NOW_NS;
	else if (node->op == LITERAL && node->type == HF_TYPE_BYTES)
		*ret = (struct hf_value){ .data = (const uint8_t *)node->string,
					  .len = (uint8_t)strlen(node->string) };
	else if (node->op == LITERAL)
		ret->num = node->num;
	else
		return eval_operator(node, world, ret);
	return true;
}

/* ---- the contract -------------------------------------------------------------------------- */

struct subject {
	const struct node *guards[2], *effects[2], *invariant;
	bool adds; /* n += effect 0 */
	uint32_t guard_lines[2];
	struct hf_contract *contract;
	bool never[2]; /* the checker refuses it: this guard never holds, or is never reached */
	bool overlap;  /* the checker says that both may hold */
};

static void write_contract(struct subject *subject, struct hf_text *text) {
	hf_text_add(text, "stateDiagram-v2\n");
	for (uint32_t i = 0; i < FIELDS; i++)
		hf_text_add(text, "%%%% field %s: %s\n", names[i].name, type_names[names[i].type]);
	hf_text_add(text, "%%%% invariant ");
	print(text, subject->invariant, 0);
	hf_text_add(text, "\n[*] --> S\n");
	for (uint32_t guard = 0; guard < 2; guard++) {
		subject->guard_lines[guard] = 4 + FIELDS + guard;
		hf_text_add(text, "S --> %s : E", guard == 0 ? "S" : "T");
		for (uint32_t i = FIELDS; i < NAMES; i++)
			hf_text_add(text, "%s%s: %s", i == FIELDS ? "(" : ", ", names[i].name,
				    type_names[names[i].type]);
		hf_text_add(text, ") [");
		print(text, subject->guards[guard], 0);
		hf_text_add(text, "]");
		if (guard == 0) {
			hf_text_add(text, " / n %s ", subject->adds ? "+=" : "=");
			print(text, subject->effects[0], 0);
			hf_text_add(text, ", k = ");
			print(text, subject->effects[1], 0);
		}
		hf_text_add(text, "\n");
	}
	hf_text_add(text, "T --> S : Back\n");
}

static void compile(struct subject *subject, const char *text) {
	static struct hf_diagnostics diagnostics;
	struct hf_err err;
	bool good = hf_contract_compile(hf_span_of(text), "fuzz.mmd", &diagnostics,
					&subject->contract, &err);
	if (!good)
		subject->contract = NULL;
	for (uint32_t i = 0; i < diagnostics.count; i++) {
		const struct hf_diagnostic *item = &diagnostics.items[i];
		bool never = strcmp(item->code, "never-holds") == 0 ||
			     strcmp(item->code, "never-taken") == 0;
		subject->overlap |= strcmp(item->code, "overlap") == 0;
		if (item->severity == HF_SEVERITY_ERROR && !never)
			fprintf(stderr, "%s\n%s\n", text, err.text);
		HF_ASSERT(item->severity != HF_SEVERITY_ERROR || never);
		for (uint32_t guard = 0; guard < 2; guard++)
			subject->never[guard] |= never && item->line == subject->guard_lines[guard];
	}
	HF_ASSERT(good || subject->never[0] || subject->never[1]);
}

/* ---- judging ------------------------------------------------------------------------------- */

static void choose_values(struct input *input, struct world *world) {
	for (uint32_t i = 0; i < NAMES; i++) {
		struct hf_value *value = &world->values[i];
		*value = (struct hf_value){ 0 };
		if (names[i].type == HF_TYPE_BYTES) {
			value->data = (const uint8_t *)strings[take(input) % 4];
			value->len = (uint8_t)strlen((const char *)value->data);
		} else {
			value->num = names[i].type == HF_TYPE_BOOL ? take(input) & 1
								   : take_number(input);
		}
	}
}

static void fill_block(const struct hf_contract *contract, const struct world *world,
		       uint8_t *block) {
	memset(block, 0, contract->block_size);
	for (uint32_t i = 0; i < FIELDS; i++) {
		const struct hf_value *value = &world->values[i];
		uint8_t *place = block + contract->fields[i].offset;
		if (names[i].type == HF_TYPE_BYTES) {
			place[0] = value->len;
			memcpy(place + 1, value->data, value->len);
		} else {
			memcpy(place, &value->num, names[i].type == HF_TYPE_BOOL ? 1 : 8);
		}
	}
}

/* What the contract does, by the trees; `world` has the new fields if it is HF_STEP_OK. */
static enum hf_verdict judge(const struct subject *subject, struct world *world,
			     uint32_t *ret_guard) {
	struct hf_value holds = { 0 }, effects[2];
	uint32_t guard = 0;
	for (; guard < 2 && !holds.num; guard++)
		if (!eval(subject->guards[guard], world, &holds))
			return HF_STEP_ARITHMETIC;
	if (!holds.num)
		return HF_STEP_GUARD;
	*ret_guard = guard - 1;
	if (*ret_guard == 0) {
		for (uint32_t i = 0; i < 2; i++)
			if (!eval(subject->effects[i], world, &effects[i]))
				return HF_STEP_ARITHMETIC;
		if (subject->adds &&
		    __builtin_add_overflow(effects[0].num, world->values[0].num, &effects[0].num))
			return HF_STEP_ARITHMETIC;
		world->values[0] = effects[0];
		world->values[1] = effects[1];
	}
	if (!eval(subject->invariant, world, &holds))
		return HF_STEP_ARITHMETIC;
	return holds.num ? HF_STEP_OK : HF_STEP_INVARIANT;
}

/* What the checker claimed must be so for these values. */
static void check_claims(const struct subject *subject, const struct world *world) {
	struct hf_value holds[2];
	bool known = eval(subject->guards[0], world, &holds[0]);
	bool second = eval(subject->guards[1], world, &holds[1]);
	HF_ASSERT(!subject->never[0] || !known || !holds[0].num);
	HF_ASSERT(!subject->never[1] || !known || holds[0].num || !second || !holds[1].num);
	if (subject->contract != NULL && !subject->overlap)
		HF_ASSERT(!known || !second || !(holds[0].num && holds[1].num));
}

static void check_step(const struct subject *subject, struct world *world) {
	const struct hf_contract *contract = subject->contract;
	_Alignas(8) uint8_t block[HF_BLOCK_MAX], before[HF_BLOCK_MAX], expected[HF_BLOCK_MAX];
	_Alignas(8) uint8_t out[2][HF_BLOCK_MAX];
	struct hf_step steps[2];
	uint32_t guard = 0;
	size_t size = contract->block_size;
	fill_block(contract, world, block);
	memcpy(before, block, size);
	struct world after = *world;
	enum hf_verdict verdict = judge(subject, &after, &guard);
	for (int i = 0; i < 2; i++) {
		memset(out[i], i == 0 ? 0 : 0xff, size);
		HF_ASSERT(hf_contract_step(contract, contract->initial, block, 0,
					   world->values + FIELDS, NOW_NS, out[i],
					   &steps[i]) == verdict);
		HF_ASSERT(memcmp(block, before, size) == 0);
	}
	if (verdict != HF_STEP_OK) {
		char buf[HF_ERR_TEXT_MAX];
		struct hf_text text = hf_text(buf, sizeof(buf));
		hf_step_explain(contract, contract->initial, block, 0, world->values + FIELDS,
				NOW_NS, verdict, &steps[0], &text);
		HF_ASSERT(text.len > 0);
		return;
	}
	fill_block(contract, &after, expected);
	HF_ASSERT(memcmp(out[0], expected, size) == 0 && memcmp(out[1], expected, size) == 0);
	HF_ASSERT(strcmp(contract->states[steps[0].state].name, guard == 0 ? "S" : "T") == 0);
	HF_ASSERT(steps[0].transition == steps[1].transition && steps[0].state == steps[1].state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct input input;
	static char buf[HF_CONTRACT_TEXT_MAX];
	input.at = data;
	input.end = data + size;
	input.node_count = 0;
	struct subject subject = { .adds = take(&input) & 1 };
	for (uint32_t i = 0; i < 2; i++) {
		subject.guards[i] = choose(&input, HF_TYPE_BOOL, DEPTH_MAX, false);
		subject.effects[i] =
			choose(&input, i == 0 ? HF_TYPE_U64 : HF_TYPE_I64, DEPTH_MAX / 2, false);
	}
	subject.invariant = choose(&input, HF_TYPE_BOOL, DEPTH_MAX / 2, true);
	struct hf_text text = hf_text(buf, sizeof(buf));
	write_contract(&subject, &text);
	compile(&subject, buf);
	for (uint32_t i = 0; i < TRIALS; i++) {
		struct world world;
		choose_values(&input, &world);
		check_claims(&subject, &world);
		if (subject.contract != NULL)
			check_step(&subject, &world);
	}
	hf_contract_free(subject.contract);
	return 0;
}
