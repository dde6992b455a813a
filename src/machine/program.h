/*
 * program.h - private to src/machine: the compiled form of a contract.
 *
 * Three-address code. An operand is a base and an offset in bytes from it, so that a field, a
 * param, a constant and a temporary are all read the same way. Conditions are compiled to jumps.
 */
#ifndef HF_MACHINE_PROGRAM_H
#define HF_MACHINE_PROGRAM_H

#include "machine/ast.h"

enum base {
	BASE_BLOCK,  /* the old fields */
	BASE_OUT,    /* the new ones */
	BASE_PARAMS, /* struct hf_value */
	BASE_CONSTS, /* 64-bit constants */
	BASE_BYTES,  /* bytes literals, laid out like fields: a length, then the bytes */
	BASE_TEMPS,
	BASE_NOW,
	BASE_COUNT,
};

/*
 * A jump's target is `dst`, an index of the code. Arithmetic is checked: what does not fit ends the
 * run. Fields of type bool are one byte; everywhere else a bool is a 64-bit 0 or 1.
 */
enum opcode {
	OP_ADD_U,
	OP_SUB_U,
	OP_MUL_U,
	OP_DIV_U,
	OP_MOD_U,
	OP_MIN_U,
	OP_MAX_U,
	OP_ADD_I,
	OP_SUB_I,
	OP_MUL_I,
	OP_DIV_I,
	OP_MOD_I,
	OP_MIN_I,
	OP_MAX_I,
	OP_NEG_I,
	OP_ABS_I,
	OP_CONVERT,	/* dst = a, which must be in 0..INT64_MAX */
	OP_MOVE,	/* dst = a */
	OP_LOAD_BOOL,	/* dst = the byte at a */
	OP_STORE_BOOL,	/* the byte at dst = a */
	OP_STORE_BYTES, /* the bytes field of b bytes at dst = a */
	OP_JUMP,
	OP_JUMP_LT_U,
	OP_JUMP_LE_U,
	OP_JUMP_LT_I,
	OP_JUMP_LE_I,
	OP_JUMP_EQ,
	OP_JUMP_NE,
	OP_JUMP_BYTES_EQ,
	OP_JUMP_BYTES_NE,
	OP_JUMP_ZERO,
	OP_JUMP_NOT_ZERO,
	OP_TRUE,  /* ends the run */
	OP_FALSE, /* ends the run; `a` says which invariant */
};

struct insn {
	uint8_t op;
	uint8_t dst_base, a_base, b_base;
	uint32_t dst, a, b;
};

#define NO_CODE UINT32_MAX

/* A transition's code and, for explanations, the guards it was drawn with. */
struct rule {
	uint32_t guard;	 /* NO_CODE: always holds */
	uint32_t effect; /* NO_CODE: changes no field */
	uint32_t first_text;
	uint32_t text_count;
};

/* The transitions to try, in order, for one state and event: a run of `candidates`. */
struct cell {
	uint16_t first;
	uint16_t count;
};

/* Names to indexes: open addressing, a power of two, UINT16_MAX is free. */
struct name_table {
	uint16_t *slots;
	uint32_t mask;
};

static inline size_t mc_name_table_bytes(const struct name_table *table) {
	return (table->mask + (size_t)1) * sizeof(*table->slots);
}

struct hf_program {
	struct insn *code;
	struct slice *places; /* of each instruction in the text */
	uint32_t code_count;
	uint64_t *consts;
	uint8_t *bytes;
	struct rule *rules; /* one per transition */
	struct slice *guard_texts;
	struct cell *cells; /* [state * event_count + event] */
	uint16_t *candidates;
	uint32_t invariants; /* code; NO_CODE: there are none */
	uint16_t invariant_count;
	struct slice *invariant_texts;
	struct name_table state_names, event_names, field_names;
	uint32_t drawn_state_count, drawn_arc_count;
	struct hf_drawn_state *drawn_states;
	struct hf_drawn_arc *drawn_arcs;
};

enum outcome { RUN_FALSE, RUN_TRUE, RUN_ARITHMETIC };

/* What a run reads and writes, indexed by enum base. */
struct frame {
	const uint8_t *bases[BASE_COUNT];
	uint8_t *out;
	uint64_t temps[HF_STACK_MAX];
	int64_t now;
};
void mc_frame_init(struct frame *frame, const struct hf_program *program, const uint8_t *block,
		   uint8_t *out, const struct hf_value *params, int64_t now_ns);
/* Runs from `pc`; `ret_pc` is where it ended. */
enum outcome mc_run(const struct hf_program *program, struct frame *frame, uint32_t pc,
		    uint32_t *ret_pc);

/* Turns a checked source into a contract. False: too much code (a diagnostic says so), or out of
 * memory. */
HF_MUST bool mc_build_contract(struct source *source, struct hf_contract **ret, bool *ret_nomem);
HF_MUST bool mc_name_table_init(struct name_table *table, uint32_t count, uint32_t stride,
				const void *names);

#endif
