/*
 * machine.h - contracts: from the text of a diagram to a table, and the pure step over it.
 *
 * A compiled contract is immutable and may be read from any thread. Nothing here does I/O, reads a
 * clock, or depends on addresses or hash order: the same text compiles to the same table, the same
 * step gives the same result, everywhere and for ever.
 */
#ifndef HF_MACHINE_H
#define HF_MACHINE_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"

enum hf_type { HF_TYPE_U64, HF_TYPE_I64, HF_TYPE_BOOL, HF_TYPE_BYTES };

/* A param's value. bytes: `data` borrowed, `len` <= HF_BYTES_MAX; bool: num is 0 or 1; i64: two's
 * complement in num. */
struct hf_value {
	uint64_t num;
	const uint8_t *data;
	uint8_t len;
};

/*
 * A field in the entity's field block: little-endian, offsets fixed at compile time.
 * u64, i64: 8 bytes, aligned to 8. bool: 1 byte, 0 or 1. bytes(N): one length byte, then N bytes,
 * those past the length zero. Gaps are zero, so two equal entities have equal blocks.
 */
struct hf_field {
	char name[HF_NAME_MAX + 1];
	enum hf_type type;
	uint8_t bytes_max; /* N of bytes(N), otherwise 0 */
	uint16_t offset;
};

struct hf_param {
	char name[HF_NAME_MAX + 1];
	enum hf_type type;
	uint8_t bytes_max;
};

struct hf_event {
	char name[HF_NAME_MAX + 1];
	uint8_t param_count;
	struct hf_param params[HF_PARAMS_MAX];
};

struct hf_state {
	char name[HF_NAME_MAX + 1];
	bool final; /* has an edge to [*]: the life ends here */
};

struct hf_transition {
	uint16_t from; /* state index; HF_STATE_NEW for a labelled initial transition */
	uint16_t to;
	uint8_t event;
	uint32_t line; /* of the text, 1-based */
};

/* The state of an entity that does not exist yet. Named "[*]". Always index 0 of the states. */
#define HF_STATE_NEW 0u

struct hf_contract {
	char name[HF_NAME_MAX + 1];
	uint64_t version;    /* `%% version N`, 1 if not declared */
	uint8_t hash[16];    /* XXH3-128 of the text, canonical (big-endian) bytes */
	uint16_t initial;    /* HF_STATE_NEW, or the state of an unlabelled initial transition */
	uint16_t block_size; /* of an entity's field block, a multiple of 8; 0 with no fields */
	uint16_t state_count;
	uint16_t event_count;
	uint16_t field_count;
	uint16_t transition_count;
	struct hf_state *states;
	struct hf_event *events;
	struct hf_field *fields;
	struct hf_transition *transitions; /* in the file's order: the first that holds wins */
	char *text;			   /* the source, NUL-terminated */
	size_t text_len;
	size_t bytes;		    /* of memory, with all that it points to */
	struct hf_program *program; /* private to src/machine */
};

enum hf_severity { HF_SEVERITY_ERROR, HF_SEVERITY_WARNING };

/* One message of the checker. */
struct hf_diagnostic {
	enum hf_severity severity;
	uint32_t line;	   /* 1-based */
	uint32_t column;   /* 1-based, in bytes */
	uint32_t length;   /* bytes to underline, at least 1 */
	char code[32];	   /* stable, such as "unknown-name" */
	char message[256]; /* what is wrong */
	char help[256];	   /* what to do; may be empty */
};

struct hf_diagnostics {
	uint32_t error_count; /* all of them, also those past the limit */
	uint32_t warning_count;
	uint32_t count; /* entries below, in the order of their positions */
	struct hf_diagnostic items[HF_DIAGNOSTICS_MAX];
};

/*
 * Compiles `text`. `file_name` gives the contract's name where the diagram has no title (its last
 * path component without ".mmd"), and is used in messages. `ret` is set only if there are no errors
 * and is freed with hf_contract_free. False with errors: `diagnostics` says which, `err` repeats
 * the first as "file:line:col: message" (HF_BADCONTRACT), or HF_NOMEM.
 */
HF_MUST bool hf_contract_compile(struct hf_span text, const char *file_name,
				 struct hf_diagnostics *diagnostics, struct hf_contract **ret,
				 struct hf_err *err);
void hf_contract_free(struct hf_contract *contract); /* NULL is fine */

/*
 * May `next` (a higher version of the same name) replace `old`? Every field of `old` must be there
 * with its type (bytes may grow), and every state of `old` for which `state_in_use(arg,
 * state_index)` is true. Fills the maps: state_map[i] is next's index of old's state i (UINT16_MAX
 * if it is gone), field_map[i] likewise.
 */
HF_MUST bool hf_contract_upgrade(const struct hf_contract *old, const struct hf_contract *next,
				 bool (*state_in_use)(void *arg, uint16_t state), void *arg,
				 uint16_t *ret_state_map, uint16_t *ret_field_map,
				 struct hf_err *err);

/* Copies a field block laid out for `old` into one for `next` (new fields are zero). */
void hf_contract_convert(const struct hf_contract *old, const struct hf_contract *next,
			 const uint16_t *field_map, const uint8_t *block, uint8_t *ret_block);

/* Look-ups by name; -1 if there is none. */
int hf_contract_event(const struct hf_contract *contract, struct hf_span name);
int hf_contract_state(const struct hf_contract *contract, struct hf_span name);
int hf_contract_field(const struct hf_contract *contract, struct hf_span name);
int hf_event_param(const struct hf_event *event, struct hf_span name);

/*
 * The diagram as it was drawn, before composites and choices were taken apart. Spans are of the
 * contract's text.
 */
enum hf_drawn_kind { HF_DRAWN_STATE, HF_DRAWN_COMPOSITE, HF_DRAWN_CHOICE };

struct hf_drawn_state {
	struct hf_span name;
	struct hf_span within; /* the composite around it; empty: none */
	enum hf_drawn_kind kind;
	uint32_t line;
};

struct hf_drawn_arc {
	struct hf_span from, to; /* state names, or "[*]" */
	struct hf_span label;	 /* without the colon; empty: none */
	struct hf_span within;	 /* the composite in whose braces it stands; empty: none */
	uint32_t line;
};

/* In the file's order; valid while the contract lives. */
const struct hf_drawn_state *hf_contract_drawn_states(const struct hf_contract *contract,
						      uint32_t *ret_count);
const struct hf_drawn_arc *hf_contract_drawn_arcs(const struct hf_contract *contract,
						  uint32_t *ret_count);
uint32_t hf_contract_invariant_count(const struct hf_contract *contract);
/* The text of an invariant, `index` as in struct hf_step. */
struct hf_span hf_contract_invariant(const struct hf_contract *contract, uint32_t index);

/* Text to value and back, as on the wire: decimal, true/false, raw bytes. Parse says in `err`
 * (HF_BADPARAM or HF_TOOBIG) what the type wants; it does not copy bytes. */
HF_MUST bool hf_value_parse(enum hf_type type, uint8_t bytes_max, struct hf_span text,
			    struct hf_value *ret, struct hf_err *err);
/* `buf` has room for at least 64 bytes; returns the length written. */
size_t hf_value_format(enum hf_type type, const struct hf_value *value, char *buf);
struct hf_value hf_field_value(const struct hf_field *field, const uint8_t *block);
/* "u64", "bytes(12)"; `buf` has room for 16. */
const char *hf_type_text(enum hf_type type, uint8_t bytes_max, char *buf);

enum hf_verdict {
	HF_STEP_OK,
	HF_STEP_NOT_ALLOWED, /* no transition from this state has this event */
	HF_STEP_GUARD,	     /* there are some, but no guard holds */
	HF_STEP_ARITHMETIC,  /* overflow or division by zero, in a guard, effect or invariant */
	HF_STEP_INVARIANT,   /* the outcome would break an invariant */
};

struct hf_step {
	uint16_t transition; /* the one taken, or the one that failed; UINT16_MAX if none */
	uint16_t state;	     /* the new state, if OK */
	uint16_t invariant;  /* the broken one */
};

/*
 * Judges one event: pure. `state` is HF_STATE_NEW (or contract->initial) with a zeroed block for an
 * entity that does not exist. `params` are the event's, all of them, in declared order, already of
 * the right types. `block_out` (block_size bytes, not overlapping `block`) gets the new fields if
 * the verdict is HF_STEP_OK, else its content is undefined. A step costs at most HF_CODE_MAX
 * instructions and allocates nothing.
 */
HF_MUST enum hf_verdict hf_contract_step(const struct hf_contract *contract, uint16_t state,
					 const uint8_t *block, uint8_t event,
					 const struct hf_value *params, int64_t now_ns,
					 uint8_t *block_out, struct hf_step *ret);

/*
 * Adds why a step was not OK, and what is allowed, to `text`; it continues a sentence such as
 * "order:42 is Filled (version 7): ". For example "Fill is allowed from Open", or
 * "Fill needs [n > 0 && filled + n < qty] or [filled + n == qty], with n = 9, filled = 3, qty = 5",
 * "Fill overflows in filled + n, with filled = ..., n = ...", "Fill would break the invariant
 * filled <= qty, with ...".
 */
void hf_step_explain(const struct hf_contract *contract, uint16_t state, const uint8_t *block,
		     uint8_t event, const struct hf_value *params, int64_t now_ns,
		     enum hf_verdict verdict, const struct hf_step *step, struct hf_text *text);

#endif
