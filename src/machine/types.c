/* Names and types of expressions. Numbers of unlike types never meet; a literal takes the type of
 * what it meets. */
#include "machine/ast.h"

const struct field *mc_field_named(const struct source *source, struct slice name) {
	const struct field *field = source->first_field;
	while (field != NULL && !mc_slices_equal(source, field->name, name))
		field = field->next;
	return field;
}

/* ---- messages ------------------------------------------------------------------------------- */

static struct shown type_text(const struct expr *expr, int type) {
	struct shown ret;
	if (type == TYPE_LITERAL)
		strcpy(ret.text, "a number");
	else if (expr->op == EXPR_STRING)
		strcpy(ret.text, "bytes");
	else
		hf_type_text((enum hf_type)type, expr->bytes_max, ret.text);
	return ret;
}

static int wrong_type(struct source *source, const struct expr *expr, int type,
		      const char *wanted) {
	mc_error_at(source, "type", expr->at, "%s is %s, but %s is needed",
		    mc_show(source, expr->at).text, type_text(expr, type).text, wanted);
	return TYPE_UNKNOWN;
}

static int unlike_types(struct source *source, const struct expr *expr, int left, int right) {
	struct shown a = mc_show(source, expr->left->at), b = mc_show(source, expr->right->at);
	struct hf_diagnostic *error = mc_error_at(source, "type", expr->at, "%s is %s, %s is %s",
						  a.text, type_text(expr->left, left).text, b.text,
						  type_text(expr->right, right).text);
	bool numbers = left <= HF_TYPE_I64 && right <= HF_TYPE_I64;
	if (numbers)
		mc_help_on(error,
			   "convert one: i64(%s) or u64(%s); what does not fit refuses the event",
			   left == HF_TYPE_U64 ? a.text : b.text,
			   left == HF_TYPE_U64 ? b.text : a.text);
	return TYPE_UNKNOWN;
}

struct nearest {
	struct slice name;
	uint32_t distance;
};

static void consider(const struct source *source, struct nearest *nearest, struct slice wanted,
		     struct slice name) {
	uint32_t distance = mc_edit_distance(mc_span_of(source, wanted), mc_span_of(source, name),
					     nearest->distance);
	if (distance >= nearest->distance)
		return;
	*nearest = (struct nearest){ name, distance };
}

static int unknown_name(struct source *source, struct slice name, const struct event *event) {
	struct hf_diagnostic *error;
	if (event != NULL)
		error = mc_error_at(source, "unknown-name", name,
				    "there is no field %s, and %s has no such param",
				    mc_show(source, name).text, mc_show(source, event->name).text);
	else
		error = mc_error_at(source, "unknown-name", name, "there is no field %s",
				    mc_show(source, name).text);
	if (error == NULL) /* a text may have thousands of them: no help that nobody reads */
		return TYPE_UNKNOWN;
	struct nearest nearest = { .distance = name.len > 4 ? 3 : 2 };
	for (const struct field *field = source->first_field; field != NULL; field = field->next)
		consider(source, &nearest, name, field->name);
	for (const struct param *param = event != NULL ? event->label->params : NULL; param != NULL;
	     param = param->next)
		consider(source, &nearest, name, param->name);
	if (nearest.name.len > 0)
		mc_help_on(error, "did you mean %s?", mc_show(source, nearest.name).text);
	else
		mc_help_on(error, "declare it: %%%% field %s: u64", mc_show(source, name).text);
	return TYPE_UNKNOWN;
}

/* ---- literals ------------------------------------------------------------------------------- */

static bool adapt_number(struct source *source, struct expr *expr, int type) {
	uint64_t most = expr->negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
	bool fits = type == HF_TYPE_U64 ? !expr->negative : expr->number <= most;
	expr->type = type;
	if (!fits)
		mc_error_at(source, "literal", expr->at, "%s does not fit into %s",
			    mc_show(source, expr->at).text, type == HF_TYPE_U64 ? "u64" : "i64");
	return fits;
}

/* Gives literals the type. False: they do not fit, and an error was reported. */
static bool adapt_literals(struct source *source, struct expr *expr, int type) {
	if (expr->type != TYPE_LITERAL)
		return true;
	if (expr->op == EXPR_NUMBER)
		return adapt_number(source, expr, type);
	if (expr->op == EXPR_NEG && type == HF_TYPE_U64) {
		mc_error_at(source, "type", expr->at, "u64 has no negative numbers");
		return false;
	}
	expr->type = type;
	return adapt_literals(source, expr->left, type) &&
	       (expr->right == NULL || adapt_literals(source, expr->right, type));
}

/* Brings the operands to one type. Two literals stay one. */
static int common_type(struct source *source, struct expr *expr, int left, int right) {
	if (left == TYPE_LITERAL && right <= HF_TYPE_I64)
		return adapt_literals(source, expr->left, right) ? right : TYPE_UNKNOWN;
	if (right == TYPE_LITERAL && left <= HF_TYPE_I64)
		return adapt_literals(source, expr->right, left) ? left : TYPE_UNKNOWN;
	return left == right ? left : unlike_types(source, expr, left, right);
}

/* ---- expressions ---------------------------------------------------------------------------- */

static int check_name(struct source *source, struct expr *expr, const struct event *event) {
	uint16_t index = 0;
	for (const struct param *param = event != NULL ? event->label->params : NULL; param != NULL;
	     param = param->next, index++) {
		if (!mc_slices_equal(source, param->name, expr->op_at))
			continue;
		expr->is_param = true;
		expr->index = index;
		expr->bytes_max = param->bytes_max;
		return (int)param->type;
	}
	const struct field *field = mc_field_named(source, expr->op_at);
	if (field == NULL)
		return unknown_name(source, expr->op_at, event);
	expr->is_param = false;
	expr->index = field->index;
	expr->bytes_max = field->bytes_max;
	return (int)field->type;
}

static int check_now(struct source *source, const struct expr *expr, const struct event *event) {
	if (event != NULL)
		return HF_TYPE_I64;
	mc_help_on(mc_error_at(source, "invariant-now", expr->at,
			       "an invariant cannot depend on time"),
		   "time goes on without events: use now in a guard");
	return TYPE_UNKNOWN;
}

static int check_unary(struct source *source, struct expr *expr, int operand) {
	if (expr->op == EXPR_NOT)
		return operand == HF_TYPE_BOOL ? HF_TYPE_BOOL
					       : wrong_type(source, expr->left, operand, "bool");
	bool number = operand <= HF_TYPE_I64 || operand == TYPE_LITERAL;
	if (!number)
		return wrong_type(source, expr->left, operand, "a number");
	if (expr->op == EXPR_NEG && operand == TYPE_LITERAL)
		return TYPE_LITERAL;
	/* One number only: u64(1 - 2 + 3) was computed in i64, and in u64 would overflow. */
	bool unsigned_number =
		expr->op == EXPR_TO_U64 && expr->left->op == EXPR_NUMBER && !expr->left->negative;
	if (operand == TYPE_LITERAL &&
	    !adapt_literals(source, expr->left, unsigned_number ? HF_TYPE_U64 : HF_TYPE_I64))
		return TYPE_UNKNOWN;
	if (expr->op == EXPR_TO_U64)
		return HF_TYPE_U64;
	if (expr->op != EXPR_TO_I64 && operand == HF_TYPE_U64)
		return wrong_type(source, expr->left, operand, "i64");
	return HF_TYPE_I64;
}

static bool literal_is_too_long(const struct expr *literal, const struct expr *other) {
	return literal->op == EXPR_STRING && other->op != EXPR_STRING &&
	       literal->bytes_max > other->bytes_max;
}

static int check_comparison(struct source *source, struct expr *expr, int common) {
	bool equality = expr->op == EXPR_EQ || expr->op == EXPR_NE;
	if (common == HF_TYPE_BYTES && (literal_is_too_long(expr->left, expr->right) ||
					literal_is_too_long(expr->right, expr->left))) {
		mc_error_at(source, "type", expr->at,
			    "these bytes are never equal: the literal is too long");
		return TYPE_UNKNOWN;
	}
	if (common == TYPE_LITERAL) {
		bool fits = adapt_literals(source, expr->left, HF_TYPE_I64) &&
			    adapt_literals(source, expr->right, HF_TYPE_I64);
		return fits ? HF_TYPE_BOOL : TYPE_UNKNOWN;
	}
	if (common <= HF_TYPE_I64 || equality)
		return HF_TYPE_BOOL;
	mc_help_on(mc_error_at(source, "type", expr->op_at, "%s compares only numbers",
			       mc_show(source, expr->op_at).text),
		   "bool and bytes have == and !=");
	return TYPE_UNKNOWN;
}

static int check_binary(struct source *source, struct expr *expr, int left, int right) {
	if (expr->op == EXPR_AND || expr->op == EXPR_OR) {
		if (left != HF_TYPE_BOOL)
			return wrong_type(source, expr->left, left, "bool");
		return right == HF_TYPE_BOOL ? HF_TYPE_BOOL
					     : wrong_type(source, expr->right, right, "bool");
	}
	int common = common_type(source, expr, left, right);
	if (common == TYPE_UNKNOWN)
		return TYPE_UNKNOWN;
	if (expr->op >= EXPR_LT && expr->op <= EXPR_NE)
		return check_comparison(source, expr, common);
	if (common == HF_TYPE_BOOL || common == HF_TYPE_BYTES)
		return wrong_type(source, expr->left, common, "a number");
	return common;
}

static int check_expr(struct source *source, struct expr *expr, const struct event *event) {
	int left = HF_TYPE_BOOL, right = HF_TYPE_BOOL;
	if (expr->left != NULL)
		left = check_expr(source, expr->left, event);
	if (expr->right != NULL)
		right = check_expr(source, expr->right, event);
	if (left == TYPE_UNKNOWN || right == TYPE_UNKNOWN) {
		expr->type = TYPE_UNKNOWN;
		return TYPE_UNKNOWN;
	}
	switch (expr->op) {
	case EXPR_NUMBER:
		expr->type = TYPE_LITERAL;
		break;
	case EXPR_STRING:
		expr->type = HF_TYPE_BYTES;
		break;
	case EXPR_BOOL:
		expr->type = HF_TYPE_BOOL;
		break;
	case EXPR_NAME:
		expr->type = check_name(source, expr, event);
		break;
	case EXPR_NOW:
		expr->type = check_now(source, expr, event);
		break;
	default:
		expr->type = expr->right == NULL ? check_unary(source, expr, left)
						 : check_binary(source, expr, left, right);
	}
	return expr->type;
}

/* ---- guards and effects --------------------------------------------------------------------- */

bool mc_check_guard(struct source *source, struct expr *guard, const struct event *event) {
	int type = check_expr(source, guard, event);
	if (type == HF_TYPE_BOOL || type == TYPE_UNKNOWN)
		return type == HF_TYPE_BOOL;
	mc_help_on(mc_error_at(source, "type", guard->at, "%s is %s, not a condition",
			       mc_show(source, guard->at).text, type_text(guard, type).text),
		   "compare it: [%s != 0]", mc_show(source, guard->at).text);
	return false;
}

static bool check_effect(struct source *source, struct effect *effect, const struct event *event) {
	const struct field *field = mc_field_named(source, effect->field_at);
	if (field == NULL)
		return unknown_name(source, effect->field_at, NULL) == HF_TYPE_BOOL;
	int type = check_expr(source, effect->whole, event);
	if (type == TYPE_UNKNOWN)
		return false;
	if (type == TYPE_LITERAL && field->type <= HF_TYPE_I64)
		return adapt_literals(source, effect->whole, (int)field->type);
	struct shown name = mc_show(source, effect->field_at);
	char wanted[16];
	hf_type_text(field->type, field->bytes_max, wanted);
	if (type != (int)field->type) {
		mc_help_on(mc_error_at(source, "type", effect->value->at, "%s is %s, %s is %s",
				       name.text, wanted, mc_show(source, effect->value->at).text,
				       type_text(effect->value, type).text),
			   type == HF_TYPE_U64 && field->type == HF_TYPE_I64
				   ? "write i64(...): what does not fit refuses the event"
			   : type == HF_TYPE_I64 && field->type == HF_TYPE_U64
				   ? "write u64(...): what does not fit refuses the event"
				   : "a field keeps its type");
		return false;
	}
	if (type != HF_TYPE_BYTES || effect->whole->bytes_max <= field->bytes_max)
		return true;
	mc_error_at(source, "type", effect->value->at, "%s is %s, %u bytes may not fit", name.text,
		    wanted, effect->whole->bytes_max);
	return false;
}

/* No field is assigned twice on one path: the order would matter, and there is none. */
static bool is_assigned_before(const struct source *source, const struct path *path,
			       const struct effect *effect) {
	for (uint32_t i = 0; i < path->arc_count; i++)
		for (const struct effect *other = path->arcs[i]->label.effects; other != NULL;
		     other = other->next) {
			if (other == effect)
				return false;
			if (mc_slices_equal(source, other->field_at, effect->field_at))
				return true;
		}
	return false;
}

/* Types the guard and the effects of one arrow. */
static bool check_label(struct source *source, struct label *label, const struct event *event) {
	if (label->typed_for == event)
		return label->typed_well;
	label->typed_for = event;
	label->typed_well = label->guard == NULL || mc_check_guard(source, label->guard, event);
	for (struct effect *effect = label->effects; effect != NULL; effect = effect->next)
		label->typed_well &= check_effect(source, effect, event);
	return label->typed_well;
}

static bool check_assignments(struct source *source, const struct path *path) {
	bool good = true;
	for (uint32_t i = 0; i < path->arc_count; i++)
		for (const struct effect *effect = path->arcs[i]->label.effects; effect != NULL;
		     effect = effect->next) {
			if (!is_assigned_before(source, path, effect))
				continue;
			mc_help_on(mc_error_at(source, "assigned-twice", effect->field_at,
					       "%s is assigned twice in one transition",
					       mc_show(source, effect->field_at).text),
				   "all effects read the old values: write one assignment");
			good = false;
		}
	return good;
}

bool mc_check_path(struct source *source, struct path *path) {
	bool good = true;
	for (uint32_t i = 0; i < path->arc_count; i++)
		good &= check_label(source, &path->arcs[i]->label, path->event);
	path->bad = !good;
	return good;
}

void mc_check_paths(struct source *source) {
	for (uint32_t i = 0; i < source->path_count; i++) {
		struct path *path = &source->paths[i];
		bool good = mc_check_path(source, path);
		path->bad = !check_assignments(source, path) || !good;
	}
}
