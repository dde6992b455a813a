/*
 * ast.h - private to src/machine: one text under compilation, and what was read in it.
 *
 * Everything here lives in the source's arena and dies with it. Places are offsets into the text;
 * they become lines and columns only when a diagnostic is kept.
 */
#ifndef HF_MACHINE_AST_H
#define HF_MACHINE_AST_H

#include "machine/machine.h"

#define CHAIN_MAX 9u	       /* arcs of one path: the event's own and those through choices */
#define CHAIN_TERMS_MAX 256u   /* height of an expression's tree, its values included */
#define STATE_TABLE_SIZE 4096u /* a power of two, at least twice HF_STATES_MAX */

/* A run of the text. */
struct slice {
	uint32_t at;
	uint32_t len;
};

enum expr_op {
	EXPR_NUMBER, /* magnitude in `number`, sign in `negative` */
	EXPR_STRING, /* the bytes are the text at `at`, without its quotes */
	EXPR_BOOL,   /* 0 or 1 in `number` */
	EXPR_NAME,   /* index says which; `is_param` */
	EXPR_NOW,
	/* one operand */
	EXPR_NEG,
	EXPR_NOT,
	EXPR_ABS,
	EXPR_TO_U64,
	EXPR_TO_I64,
	/* two operands */
	EXPR_MIN,
	EXPR_MAX,
	EXPR_MUL,
	EXPR_DIV,
	EXPR_MOD,
	EXPR_ADD,
	EXPR_SUB,
	EXPR_LT,
	EXPR_LE,
	EXPR_GT,
	EXPR_GE,
	EXPR_EQ,
	EXPR_NE,
	EXPR_AND,
	EXPR_OR,
};

/* HF_TYPE_* or one of these while a type is being worked out. */
#define TYPE_LITERAL 100 /* a number that takes the type of what it meets */
#define TYPE_UNKNOWN 101 /* an error was reported below: say nothing more */

struct expr {
	enum expr_op op;
	int type;	    /* filled by check_expr */
	struct slice at;    /* the whole expression */
	struct slice op_at; /* the operator or the name of the function */
	struct expr *left, *right;
	uint64_t number;
	uint16_t height;
	uint16_t index;	   /* of the field or param */
	uint8_t bytes_max; /* bytes: of the field or param, or a literal's length */
	bool negative;
	bool is_param;
};

struct param {
	struct slice name;
	struct slice type_at;
	enum hf_type type;
	uint8_t bytes_max;
	struct param *next;
};

struct effect {
	struct slice field_at;
	struct slice op_at;
	char op; /* '=', '+' or '-' */
	struct expr *value;
	struct expr *whole; /* the value to store: field op value */
	struct effect *next;
};

/* event(params) [guard] / effects: each part may be missing. */
struct label {
	struct slice at; /* trimmed; len 0: there is no label */
	struct slice event;
	struct slice params_at; /* with the parens */
	struct param *params;
	bool has_parens;
	bool is_else;	       /* [else] */
	bool bad;	       /* did not parse */
	struct slice guard_at; /* without the brackets; len 0: none */
	struct expr *guard;
	struct effect *effects;
	int event_index;
	const struct event *typed_for; /* the event that guard and effects have types for */
	bool typed_well;
};

enum state_kind { STATE_PLAIN, STATE_COMPOSITE, STATE_CHOICE };

struct state {
	struct slice name; /* where it is first mentioned */
	enum state_kind kind;
	struct state *parent; /* the composite around it; NULL: none */
	struct state *next;   /* in the order of first mention */
	struct arc *first_out, *last_out;
	struct state *initial; /* composite: the target of its [*] --> */
	struct slice initial_at;
	struct slice brace_at; /* of its { ; len 0: it has none */
	bool end;	       /* has an unlabelled edge to [*] */
	struct slice end_at;
	bool reached;	/* by an arc, directly */
	bool visiting;	/* by a walk over choices */
	uint16_t index; /* plain: in the contract's states */
	uint16_t depth;
};

/* An arrow as drawn. NULL for [*]. */
struct arc {
	struct state *from, *to;
	struct state *scope; /* the composite in whose braces it stands; NULL: none */
	struct slice at;     /* the arrow with both its ends */
	struct slice from_at, to_at;
	struct label label;
	struct arc *next;     /* in the file's order */
	struct arc *next_out; /* of the same `from` */
};

struct field {
	struct slice name;
	struct slice type_at;
	enum hf_type type;
	uint8_t bytes_max;
	uint16_t index;
	struct field *next;
};

struct invariant {
	struct slice at;
	struct expr *expr;
	struct invariant *next;
};

/* An event name, and the params of its first label. */
struct event {
	struct slice name;
	struct label *label;
	struct event *next;
	uint16_t index;
	uint16_t param_count;
};

/* What comparing guards found of a path. */
enum flaw { FLAW_NONE, FLAW_OVERLAP, FLAW_NEVER_TAKEN, FLAW_NEVER_HOLDS };

/* One way to go: from a source (a state, a composite or [*]) with one event to a plain state. */
struct path {
	struct arc *arcs[CHAIN_MAX];
	uint32_t arc_count;
	struct state *from; /* NULL: [*] */
	struct state *to;
	struct event *event;
	uint32_t guard; /* code, or NO_CODE */
	uint32_t effect;
	bool bad; /* had an error: the prover leaves it alone */
	enum flaw flaw;
	const struct path *winner; /* of FLAW_OVERLAP and FLAW_NEVER_TAKEN: what goes before it */
};

struct source {
	const char *file_name;
	struct hf_span text; /* as given */
	/* The same length, NUL-terminated; comments and directives are blank, line ends are \n. */
	char *clean;
	uint8_t *arena;
	size_t arena_used, arena_cap;
	uint32_t *line_starts; /* offsets */
	uint32_t line_count;
	struct hf_diagnostics *diagnostics;
	bool stop; /* a limit was passed: reading on would only repeat it */

	/* the declarations */
	struct slice title; /* of the front matter; len 0: none */
	struct slice version_at;
	uint64_t version;
	struct field *first_field, *last_field;
	uint32_t field_count;
	struct invariant *first_invariant, *last_invariant;
	uint32_t invariant_count;

	/* the drawing */
	struct slice header;
	struct state *first_state, *last_state;
	struct state *state_table[STATE_TABLE_SIZE];
	uint32_t state_count;
	struct arc *first_arc, *last_arc;
	uint32_t arc_count;

	/* what it means: filled by flatten.c and check.c */
	char name[HF_NAME_MAX + 1];
	struct event *first_event, *last_event;
	uint32_t event_count;
	struct arc *initial;	     /* the unlabelled [*] --> of the diagram, or NULL */
	struct state *initial_state; /* where it leads in the end; NULL: new entities wait in [*] */
	struct path *paths;	     /* malloc'd */
	uint32_t path_count;
	uint32_t follow_count; /* steps taken to find them */
	uint32_t plain_count;  /* plain states: they have the indexes 1..plain_count */
	bool has_end;
};

/* ---- source.c: places, diagnostics, the arena ------------------------------------------------ */

/* `source` is all zeros; `text` and `file_name` are borrowed. False: out of memory. */
HF_MUST bool mc_source_init(struct source *source, struct hf_span text, const char *file_name,
			    struct hf_diagnostics *diagnostics);
void mc_source_fini(struct source *source);

/* Zeroed memory. It cannot fail: the arena is sized for the text, and each thing made in it comes
 * from at least one byte of the text. */
void *mc_source_alloc(struct source *source, size_t size);

/* Adds a diagnostic; returns it, for help_on, or NULL if there are too many to keep. */
struct hf_diagnostic *mc_error_at(struct source *source, const char *code, struct slice at,
				  const char *fmt, ...) HF_PRINTF(4, 5);
struct hf_diagnostic *mc_warning_at(struct source *source, const char *code, struct slice at,
				    const char *fmt, ...) HF_PRINTF(4, 5);
/* What to do about it. `diagnostic` may be NULL. */
void mc_help_on(struct hf_diagnostic *diagnostic, const char *fmt, ...) HF_PRINTF(2, 3);
/* Orders the diagnostics by place. */
void mc_diagnostics_sort(struct hf_diagnostics *diagnostics);

uint32_t mc_line_of(const struct source *source, uint32_t at);

/* A slice for a message: printable, cut. */
struct shown {
	char text[72];
};
struct shown mc_show(const struct source *source, struct slice slice);

struct hf_span mc_span_of(const struct source *source, struct slice slice);
bool mc_slice_is(const struct source *source, struct slice slice, const char *word);
bool mc_slices_equal(const struct source *source, struct slice a, struct slice b);
/* Without blanks at both ends. */
struct slice mc_trimmed(const struct source *source, struct slice slice);

/* [A-Za-z_][A-Za-z0-9_]*, and what `also` lists after the first character. */
bool mc_is_name(struct hf_span span, const char *also);
bool mc_is_word_byte(char c);
bool mc_is_blank(char c); /* also a line's end */
uint32_t mc_end_of_line(const struct source *source, uint32_t at);
/* The fewest single-byte edits (swaps count as one) between them, at most `max` + 1. */
uint32_t mc_edit_distance(struct hf_span a, struct hf_span b, uint32_t max);
/* A name made of a text: "order placed" to "OrderPlaced". `buf` has room for HF_NAME_MAX + 1. */
const char *mc_suggested_name(struct hf_span text, char *buf);

/* ---- lex.c ----------------------------------------------------------------------------------- */

/* Reads the front matter and all comments, and fills `clean`. Returns where the diagram begins. */
uint32_t mc_read_comments(struct source *source);
/* One comment, from its %%: a declaration, or nothing. */
void mc_read_comment(struct source *source, uint32_t at, uint32_t end);

/* ---- label.c, expr.c ------------------------------------------------------------------------- */

/* A place in a label, an expression or a declaration, and where it ends. */
struct cursor {
	struct source *source;
	uint32_t at;
	uint32_t end;
	uint32_t depth; /* of parentheses and unary operators open here */
};
void mc_skip_blanks(struct cursor *cursor);
/* Takes a name; len 0 if there is none here. */
struct slice mc_take_word(struct cursor *cursor);
bool mc_take_char(struct cursor *cursor, char c);
/* The place of the next byte, or of the last one. */
struct slice mc_here(const struct cursor *cursor);

/* False: an error was reported. */
bool mc_read_type(struct cursor *cursor, enum hf_type *ret, uint8_t *ret_bytes_max,
		  struct slice *ret_at);
bool mc_read_label(struct source *source, struct slice at, struct label *ret);
/* NULL: an error was reported. Stops before what cannot go on an expression. */
struct expr *mc_read_expr(struct cursor *cursor);

/* ---- parse.c --------------------------------------------------------------------------------- */

void mc_read_diagram(struct source *source, uint32_t at);

/* ---- flatten.c ------------------------------------------------------------------------------- */

/* Gives each arrow its meaning: events, plain states, paths. */
void mc_flatten(struct source *source);
/* Does the path start in this plain state (NULL: [*]) or in a composite around it? An end is left
 * by no path of a composite: who has ended stays so. */
bool mc_path_leaves(const struct path *path, const struct state *state);
/* Is `state` the composite `around`, or within it? */
bool mc_is_within(const struct state *state, const struct state *around);

/* ---- check.c, types.c, prove.c -------------------------------------------------------------- */

const struct field *mc_field_named(const struct source *source, struct slice name);
/* Types a condition; names are the fields' and, if `event` is not NULL, its params'. */
bool mc_check_guard(struct source *source, struct expr *guard, const struct event *event);
/* Types the guards and effects of all paths, and says what is wrong with them. */
void mc_check_paths(struct source *source);
/* Types those of one path for its event. To be called again before they are used: arrows after a
 * choice are shared by paths with other events. */
bool mc_check_path(struct source *source, struct path *path);
void mc_check_declarations(struct source *source);
/* What can be reached, what can end, what can never be taken. Paths must have been typed. */
void mc_check_graph(struct source *source);
HF_MUST bool mc_check_overlaps(struct source *source); /* false: out of memory */

/* ---- prove.c -------------------------------------------------------------------------------- */

/* Answers questions about the guards of typed paths: "never" is proven, everything else is
 * "perhaps". Its work is bounded, for one question and for all of one prover's. */
struct prover;
struct prover *mc_prover_new(struct source *source); /* NULL: out of memory */
void mc_prover_free(struct prover *prover);

bool mc_never_holds(struct prover *prover, const struct path *path);
bool mc_never_together(struct prover *prover, const struct path *a, const struct path *b);
/* True if it is proven that wherever a's guards hold, b's do. */
bool mc_holds_only_with(struct prover *prover, const struct path *a, const struct path *b);

#endif
