/*
 * Can two guards hold together? A search over the ways in which the guards can be true; each way is
 * a set of linear inequalities over integers, refuted by Fourier-Motzkin elimination, and of equal
 * or unequal bytes.
 *
 * "Never" is proven; everything that the method does not understand, or has no budget for, is
 * "perhaps". It is enough to look at exact integers: where a guard holds, none of its arithmetic
 * overflowed.
 *
 * "Never" makes the errors never-holds and never-taken, and spares the warning overlap. "Perhaps"
 * in its place only ever removes an error; but nothing may be proven that once was not, as a text
 * that compiled when it was logged must compile at recovery for ever. So the effort has a count of
 * its own, one for the whole text, beside the budget, whose counting decides what is proven: until
 * the effort is spent, each answer is what it would be without it; after that, none is "never".
 */

#include "base/memory.h"
#include "machine/ast.h"

#define VARS_MAX 16u
#define ROWS_MAX 512u
#define BYTES_MAX 64u
#define DEPTH_MAX 2000u
#define QUERY_BUDGET 1000000u
#define TOTAL_BUDGET 8000000u
#define TOTAL_EFFORT 300000000u /* of about 1 ns each */
#define COMPARISON_EFFORT 4u
#define STEP_EFFORT 8u	    /* of the search, or into a sum */
#define ROW_EFFORT 8u	    /* of copying a row */
#define DIVISION_EFFORT 32u /* of 128 bits */

typedef __int128 wide;

/*
 * The sum of coefficients times variables, plus the constant, is at most 0. Those of variables that
 * the question does not have are 0, and are not looked at: most questions have one or two.
 */
struct row {
	wide constant;
	wide coefficients[VARS_MAX];
};

/* Two bytes terms that are equal, or that are not. */
struct bytes_fact {
	const struct expr *left, *right;
	bool equal;
};

struct prover {
	struct source *source;
	uint64_t total;	 /* work left for this text */
	uint64_t budget; /* work left for this question */
	uint64_t effort; /* what may still be done for this text, in proportion to its time */
	uint32_t depth;
	bool lost; /* something was not understood: the answer is "perhaps" */
	const struct expr *vars[VARS_MAX]; /* what does not come apart further */
	uint32_t var_count;
	uint32_t row_count, bytes_count;
	struct row rows[ROWS_MAX];
	struct bytes_fact bytes[BYTES_MAX];
	struct row work[ROWS_MAX];
};

struct prover *mc_prover_new(struct source *source) {
	struct prover *prover = hf_memory_grow(NULL, sizeof(*prover)); /* the rest: ask() */
	if (prover == NULL)
		return NULL;
	prover->source = source;
	prover->total = TOTAL_BUDGET;
	prover->effort = TOTAL_EFFORT;
	return prover;
}

void mc_prover_free(struct prover *prover) {
	hf_memory_free(prover);
}

static void spend(struct prover *prover, uint64_t amount) {
	prover->budget -= amount < prover->budget ? amount : prover->budget;
	if (prover->budget == 0)
		prover->lost = true;
}

static void exert(struct prover *prover, uint64_t amount) {
	prover->effort -= amount < prover->effort ? amount : prover->effort;
	if (prover->effort == 0)
		prover->lost = true;
}

/* ---- terms ---------------------------------------------------------------------------------- */

static bool same_expr(struct prover *prover, const struct expr *a, const struct expr *b) {
	exert(prover, COMPARISON_EFFORT);
	if (a == NULL || b == NULL)
		return a == b;
	if (a->op != b->op || a->type != b->type)
		return false;
	switch (a->op) {
	case EXPR_NUMBER:
	case EXPR_BOOL:
		return a->number == b->number && a->negative == b->negative;
	case EXPR_STRING:
		return mc_slices_equal(prover->source, a->op_at, b->op_at);
	case EXPR_NAME:
		return a->is_param == b->is_param && a->index == b->index;
	default:
		return same_expr(prover, a->left, b->left) && same_expr(prover, a->right, b->right);
	}
}

/* Too large to go on with. Rows are still built to their end: of numbers that can be negated. */
static void lose(struct prover *prover, wide *value) {
	prover->lost = true;
	*value = 0;
}

static void scale_to(struct prover *prover, wide *value, wide factor) {
	const wide limit = (wide)1 << 110;
	if (__builtin_mul_overflow(*value, factor, value) || *value > limit || *value < -limit)
		lose(prover, value);
}

static void add_to(struct prover *prover, wide *value, wide other) {
	const wide least = -(wide)(~(unsigned __int128)0 >> 1);
	if (__builtin_add_overflow(*value, other, value) || *value < least)
		lose(prover, value);
}

static uint32_t var_of(struct prover *prover, const struct expr *expr) {
	for (uint32_t i = 0; i < prover->var_count; i++)
		if (same_expr(prover, prover->vars[i], expr))
			return i;
	if (prover->var_count == VARS_MAX) {
		prover->lost = true;
		return 0;
	}
	prover->vars[prover->var_count] = expr;
	return prover->var_count++;
}

static wide number_of(const struct expr *expr) {
	return expr->negative ? -(wide)expr->number : (wide)expr->number;
}

/* The value of an expression of literals. */
static bool is_constant(const struct expr *expr, wide *ret) {
	*ret = expr->op == EXPR_NUMBER ? number_of(expr) : 0;
	return expr->op == EXPR_NUMBER;
}

/* Adds factor * expr to the row. */
static void add_term(struct prover *prover, struct row *row, const struct expr *expr, wide factor) {
	wide number;
	exert(prover, STEP_EFFORT);
	switch (expr->op) {
	case EXPR_NUMBER:
		number = number_of(expr);
		scale_to(prover, &number, factor);
		add_to(prover, &row->constant, number);
		return;
	case EXPR_ADD:
	case EXPR_SUB:
		add_term(prover, row, expr->left, factor);
		add_term(prover, row, expr->right, expr->op == EXPR_ADD ? factor : -factor);
		return;
	case EXPR_NEG:
		add_term(prover, row, expr->left, -factor);
		return;
	case EXPR_TO_U64:
	case EXPR_TO_I64:
		add_term(prover, row, expr->left, factor);
		return;
	case EXPR_MUL:
		if (is_constant(expr->left, &number) || is_constant(expr->right, &number)) {
			bool left = expr->left->op == EXPR_NUMBER;
			scale_to(prover, &number, factor);
			add_term(prover, row, left ? expr->right : expr->left, number);
			return;
		}
		break;
	default:
		break;
	}
	add_to(prover, &row->coefficients[var_of(prover, expr)], factor);
}

/* ---- refuting rows -------------------------------------------------------------------------- */

static wide magnitude(wide value) {
	return value < 0 ? -value : value;
}

static wide common_divisor(struct prover *prover, wide a, wide b) {
	while (b != 0) {
		exert(prover, DIVISION_EFFORT);
		wide rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* Divides by the greatest common divisor; over integers the constant may then be rounded up. */
static void tighten(struct prover *prover, struct row *row) {
	uint32_t vars = prover->var_count;
	wide divisor = 0;
	exert(prover, vars);
	for (uint32_t i = 0; i < vars && divisor != 1; i++)
		if (row->coefficients[i] != 0)
			divisor = common_divisor(prover, magnitude(row->coefficients[i]), divisor);
	if (divisor <= 1)
		return;
	exert(prover, DIVISION_EFFORT * vars);
	for (uint32_t i = 0; i < vars; i++)
		row->coefficients[i] /= divisor;
	wide quotient = row->constant / divisor;
	row->constant = quotient + (row->constant > quotient * divisor);
}

/* Which variable makes the fewest new rows when it goes? VARS_MAX: none is left. */
static uint32_t cheapest_var(const struct row *rows, uint32_t count, uint32_t vars) {
	uint32_t best = VARS_MAX, best_cost = UINT32_MAX;
	for (uint32_t v = 0; v < vars; v++) {
		uint32_t above = 0, below = 0;
		for (uint32_t i = 0; i < count; i++) {
			above += rows[i].coefficients[v] > 0;
			below += rows[i].coefficients[v] < 0;
		}
		if (above + below > 0 && above * below < best_cost) {
			best = v;
			best_cost = above * below;
		}
	}
	return best;
}

static struct row combine(struct prover *prover, const struct row *above, const struct row *below,
			  uint32_t v) {
	struct row ret = { 0 };
	wide up = above->coefficients[v], down = -below->coefficients[v];
	uint32_t vars = prover->var_count;
	for (uint32_t i = 0; i <= vars; i++) {
		wide a = i < vars ? above->coefficients[i] : above->constant;
		wide b = i < vars ? below->coefficients[i] : below->constant;
		scale_to(prover, &a, down);
		scale_to(prover, &b, up);
		add_to(prover, &a, b);
		if (i < vars)
			ret.coefficients[i] = a;
		else
			ret.constant = a;
	}
	exert(prover, 2ull * DIVISION_EFFORT * (vars + 1));
	tighten(prover, &ret);
	return ret;
}

/* Replaces the rows with `v` by their combinations. Returns the new count. */
static uint32_t eliminate(struct prover *prover, struct row *rows, uint32_t count, uint32_t v) {
	uint32_t old_count = count, kept = 0;
	for (uint32_t i = 0; i < old_count && !prover->lost; i++) {
		exert(prover, rows[i].coefficients[v] > 0 ? old_count : 1);
		for (uint32_t j = 0; rows[i].coefficients[v] > 0 && j < old_count; j++) {
			if (rows[j].coefficients[v] >= 0)
				continue;
			spend(prover, 1);
			if (count == ROWS_MAX)
				prover->lost = true;
			if (prover->lost)
				return 0;
			rows[count++] = combine(prover, &rows[i], &rows[j], v);
		}
	}
	exert(prover, ROW_EFFORT * count);
	for (uint32_t i = 0; i < count; i++)
		if (rows[i].coefficients[v] == 0)
			rows[kept++] = rows[i];
	return kept;
}

/* The bounds of a variable's type, as two rows. */
static void add_bounds(struct prover *prover, struct row *rows, uint32_t *count, uint32_t v) {
	int type = prover->vars[v]->type;
	wide least = type == HF_TYPE_I64 ? (wide)INT64_MIN : 0;
	wide most = type == HF_TYPE_I64	   ? (wide)INT64_MAX
		    : type == HF_TYPE_BOOL ? 1
					   : (wide)UINT64_MAX;
	struct row low = { .constant = least }, high = { .constant = -most };
	low.coefficients[v] = -1;
	high.coefficients[v] = 1;
	rows[(*count)++] = low;
	rows[(*count)++] = high;
}

static bool rows_refuted(struct prover *prover) {
	uint32_t count = prover->row_count;
	if (count + 2 * prover->var_count > ROWS_MAX)
		return false;
	memcpy(prover->work, prover->rows, count * sizeof(struct row));
	for (uint32_t v = 0; v < prover->var_count; v++)
		add_bounds(prover, prover->work, &count, v);
	exert(prover, ROW_EFFORT * count);
	while (!prover->lost) {
		exert(prover, (uint64_t)count * (2 * prover->var_count + 1));
		for (uint32_t i = 0; i < count; i++) {
			bool empty = true;
			for (uint32_t v = 0; v < prover->var_count && empty; v++)
				empty = prover->work[i].coefficients[v] == 0;
			if (empty && prover->work[i].constant > 0)
				return true;
		}
		uint32_t v = cheapest_var(prover->work, count, prover->var_count);
		if (v == VARS_MAX)
			return false;
		spend(prover, count);
		count = eliminate(prover, prover->work, count, v);
	}
	return false;
}

/* ---- refuting bytes ------------------------------------------------------------------------- */

/* Spreads equality over terms: each is the number of its class. */
static bool bytes_refuted(struct prover *prover) {
	const struct expr *terms[2 * BYTES_MAX];
	uint32_t classes[2 * BYTES_MAX];
	uint32_t count = 2 * prover->bytes_count;
	exert(prover, (uint64_t)count * count); /* beside what same_expr counts */
	for (uint32_t i = 0; i < count; i++) {
		const struct bytes_fact *fact = &prover->bytes[i / 2];
		terms[i] = i % 2 == 0 ? fact->left : fact->right;
		classes[i] = i;
		for (uint32_t j = 0; j < i; j++)
			if (same_expr(prover, terms[i], terms[j])) {
				classes[i] = classes[j];
				break;
			}
	}
	for (uint32_t f = 0; f < prover->bytes_count; f++) {
		uint32_t from = classes[2 * f], to = classes[2 * f + 1];
		for (uint32_t i = 0; prover->bytes[f].equal && i < count; i++)
			if (classes[i] == from)
				classes[i] = to;
	}
	for (uint32_t f = 0; f < prover->bytes_count; f++)
		if (!prover->bytes[f].equal && classes[2 * f] == classes[2 * f + 1])
			return true;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (classes[i] == classes[j] && terms[i]->op == EXPR_STRING &&
			    terms[j]->op == EXPR_STRING && !same_expr(prover, terms[i], terms[j]))
				return true;
	return false;
}

/* ---- the search ----------------------------------------------------------------------------- */

/* What has still to hold (or, if not `sense`, to be false). */
struct goal {
	const struct expr *expr;
	bool sense;
	const struct goal *next;
};

static bool perhaps(struct prover *prover, const struct goal *goal);

static void add_row(struct prover *prover, const struct row *row) {
	exert(prover, 2 * ROW_EFFORT);
	if (prover->row_count == ROWS_MAX)
		prover->lost = true;
	else
		prover->rows[prover->row_count++] = *row;
}

/* left - right + constant <= 0, or the other way round. */
static void add_difference(struct prover *prover, const struct expr *left, const struct expr *right,
			   wide constant) {
	struct row row = { .constant = constant };
	add_term(prover, &row, left, 1);
	add_term(prover, &row, right, -1);
	tighten(prover, &row);
	add_row(prover, &row);
}

/* left < right (strict), left <= right, or equal; then on to the other goals. */
static bool perhaps_ordered(struct prover *prover, const struct expr *left,
			    const struct expr *right, bool strict, bool equal,
			    const struct goal *next) {
	uint32_t rows = prover->row_count, vars = prover->var_count;
	add_difference(prover, left, right, strict ? 1 : 0);
	if (equal)
		add_difference(prover, right, left, 0);
	bool ret = perhaps(prover, next);
	prover->row_count = rows;
	prover->var_count = vars;
	return ret;
}

static bool perhaps_bytes(struct prover *prover, const struct expr *expr, bool equal,
			  const struct goal *next) {
	if (prover->bytes_count == BYTES_MAX) {
		prover->lost = true;
		return true;
	}
	prover->bytes[prover->bytes_count++] =
		(struct bytes_fact){ expr->left, expr->right, equal };
	bool ret = perhaps(prover, next);
	prover->bytes_count--;
	return ret;
}

static bool perhaps_bools(struct prover *prover, const struct expr *expr, bool equal,
			  const struct goal *next) {
	for (int left = 0; left < 2; left++) {
		struct goal second = { expr->right, equal ? left : !left, next };
		struct goal first = { expr->left, left, &second };
		if (perhaps(prover, &first))
			return true;
	}
	return false;
}

static bool perhaps_compared(struct prover *prover, const struct expr *expr, bool sense,
			     const struct goal *next) {
	const struct expr *left = expr->left, *right = expr->right;
	bool equal = (expr->op == EXPR_EQ) == sense;
	if (expr->op == EXPR_EQ || expr->op == EXPR_NE) {
		if (left->type == HF_TYPE_BYTES)
			return perhaps_bytes(prover, expr, equal, next);
		if (left->type == HF_TYPE_BOOL)
			return perhaps_bools(prover, expr, equal, next);
		if (equal)
			return perhaps_ordered(prover, left, right, false, true, next);
		return perhaps_ordered(prover, left, right, true, false, next) ||
		       perhaps_ordered(prover, right, left, true, false, next);
	}
	bool less = expr->op == EXPR_LT || expr->op == EXPR_LE;
	bool strict = expr->op == EXPR_LT || expr->op == EXPR_GT;
	if (less == sense)
		return perhaps_ordered(prover, left, right, strict == sense, false, next);
	return perhaps_ordered(prover, right, left, strict == sense, false, next);
}

/* A bool field or param: 1 - value <= 0, or value <= 0. */
static bool perhaps_bool(struct prover *prover, const struct expr *expr, bool sense,
			 const struct goal *next) {
	uint32_t rows = prover->row_count, vars = prover->var_count;
	struct row row = { .constant = sense ? 1 : 0 };
	row.coefficients[var_of(prover, expr)] = sense ? -1 : 1;
	add_row(prover, &row);
	bool ret = perhaps(prover, next);
	prover->row_count = rows;
	prover->var_count = vars;
	return ret;
}

static bool perhaps_goal(struct prover *prover, const struct goal *goal) {
	const struct expr *expr = goal->expr;
	if (expr->op == EXPR_NOT) {
		struct goal inner = { expr->left, !goal->sense, goal->next };
		return perhaps(prover, &inner);
	}
	if (expr->op == EXPR_BOOL)
		return (expr->number != 0) == goal->sense && perhaps(prover, goal->next);
	if (expr->op >= EXPR_LT && expr->op <= EXPR_NE)
		return perhaps_compared(prover, expr, goal->sense, goal->next);
	if (expr->op != EXPR_AND && expr->op != EXPR_OR)
		return perhaps_bool(prover, expr, goal->sense, goal->next);
	bool both = (expr->op == EXPR_AND) == goal->sense;
	struct goal right = { expr->right, goal->sense, goal->next };
	struct goal left = { expr->left, goal->sense, both ? &right : goal->next };
	return perhaps(prover, &left) || (!both && perhaps(prover, &right));
}

static bool perhaps(struct prover *prover, const struct goal *goal) {
	spend(prover, 1);
	exert(prover, STEP_EFFORT);
	if (prover->lost || prover->depth == DEPTH_MAX)
		return true;
	if (goal == NULL)
		return !bytes_refuted(prover) && !rows_refuted(prover);
	prover->depth++;
	bool ret = perhaps_goal(prover, goal);
	prover->depth--;
	return ret;
}

/* ---- questions ------------------------------------------------------------------------------ */

/* The guards of a path, as goals before `next`. Those of [else] are left out: the answer stays on
 * the safe side. */
static const struct goal *goals_of(const struct path *path, struct goal *goals,
				   const struct goal *next) {
	for (uint32_t i = 0; i < path->arc_count; i++) {
		const struct expr *guard = path->arcs[i]->label.guard;
		if (guard == NULL)
			continue;
		goals[i] = (struct goal){ guard, true, next };
		next = &goals[i];
	}
	return next;
}

static void ask(struct prover *prover) {
	prover->budget = prover->total < QUERY_BUDGET ? prover->total : QUERY_BUDGET;
	prover->total -= prover->budget;
	prover->lost = prover->budget == 0 || prover->effort == 0;
	prover->depth = 0;
	prover->var_count = 0;
	prover->row_count = 0;
	prover->bytes_count = 0;
}

static bool answer(struct prover *prover, bool perhaps_so) {
	bool never = !perhaps_so && !prover->lost;
	prover->total += prover->budget;
	return never;
}

bool mc_never_holds(struct prover *prover, const struct path *path) {
	struct goal goals[CHAIN_MAX];
	ask(prover);
	return answer(prover, perhaps(prover, goals_of(path, goals, NULL)));
}

bool mc_never_together(struct prover *prover, const struct path *a, const struct path *b) {
	struct goal goals[2][CHAIN_MAX];
	const struct goal *of_b = goals_of(b, goals[1], NULL);
	ask(prover);
	return answer(prover, perhaps(prover, goals_of(a, goals[0], of_b)));
}

bool mc_holds_only_with(struct prover *prover, const struct path *a, const struct path *b) {
	struct goal goals[CHAIN_MAX], refuted;
	const struct goal *of_a = goals_of(a, goals, NULL);
	bool so = false;
	ask(prover);
	for (uint32_t i = 0; i < b->arc_count && !so; i++) {
		refuted = (struct goal){ b->arcs[i]->label.guard, false, of_a };
		so = b->arcs[i]->label.is_else ||
		     (refuted.expr != NULL && perhaps(prover, &refuted));
	}
	return answer(prover, so);
}
