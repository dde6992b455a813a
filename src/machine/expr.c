/* Expressions: C's, without side effects. Precedence climbing over the characters of a label. */
#include "machine/ast.h"

/* ---- the cursor ----------------------------------------------------------------------------- */

void mc_skip_blanks(struct cursor *cursor) {
	while (cursor->at < cursor->end && (cursor->source->clean[cursor->at] == ' ' ||
					    cursor->source->clean[cursor->at] == '\t'))
		cursor->at++;
}

struct slice mc_take_word(struct cursor *cursor) {
	mc_skip_blanks(cursor);
	struct slice word = { cursor->at, 0 };
	const char *text = cursor->source->clean;
	if (cursor->at < cursor->end && text[cursor->at] >= '0' && text[cursor->at] <= '9')
		return word;
	while (cursor->at < cursor->end && mc_is_word_byte(text[cursor->at]))
		cursor->at++;
	word.len = cursor->at - word.at;
	return word;
}

static char next_char(struct cursor *cursor) {
	mc_skip_blanks(cursor);
	return cursor->at < cursor->end ? cursor->source->clean[cursor->at] : '\0';
}

bool mc_take_char(struct cursor *cursor, char c) {
	if (next_char(cursor) != c)
		return false;
	cursor->at++;
	return true;
}

struct slice mc_here(const struct cursor *cursor) {
	struct cursor copy = *cursor;
	mc_skip_blanks(&copy);
	return (struct slice){ copy.at, 1 };
}

/* ---- types ---------------------------------------------------------------------------------- */

static bool bad_type(struct cursor *cursor, struct slice at) {
	mc_help_on(mc_error_at(cursor->source, "unknown-type", at.len > 0 ? at : mc_here(cursor),
			       at.len > 0 ? "there is no type %s" : "a type is missing here%s",
			       at.len > 0 ? mc_show(cursor->source, at).text : ""),
		   "the types are u64, i64, bool and bytes(N) with N from 1 to %u", HF_BYTES_MAX);
	return false;
}

bool mc_read_type(struct cursor *cursor, enum hf_type *ret, uint8_t *ret_bytes_max,
		  struct slice *ret_at) {
	struct source *source = cursor->source;
	struct slice word = mc_take_word(cursor);
	*ret_at = word;
	*ret_bytes_max = 0;
	if (mc_slice_is(source, word, "u64"))
		*ret = HF_TYPE_U64;
	else if (mc_slice_is(source, word, "i64"))
		*ret = HF_TYPE_I64;
	else if (mc_slice_is(source, word, "bool"))
		*ret = HF_TYPE_BOOL;
	else if (mc_slice_is(source, word, "bytes"))
		*ret = HF_TYPE_BYTES;
	else
		return bad_type(cursor, word);
	if (*ret != HF_TYPE_BYTES)
		return true;

	uint64_t size = 0;
	bool good = mc_take_char(cursor, '(');
	mc_skip_blanks(cursor);
	uint32_t first = cursor->at;
	while (good && cursor->at < cursor->end && source->clean[cursor->at] >= '0' &&
	       source->clean[cursor->at] <= '9')
		cursor->at++;
	good = good && hf_span_u64(hf_span(source->clean + first, cursor->at - first), &size) &&
	       size >= 1 && size <= HF_BYTES_MAX && mc_take_char(cursor, ')');
	ret_at->len = cursor->at - ret_at->at;
	*ret_bytes_max = (uint8_t)size;
	return good || bad_type(cursor, *ret_at);
}

/* ---- expressions ---------------------------------------------------------------------------- */

static struct expr *parse_binary(struct cursor *cursor, uint32_t least);

static struct expr *new_expr(struct cursor *cursor, enum expr_op op, struct slice op_at,
			     struct expr *left, struct expr *right) {
	struct expr *expr = mc_source_alloc(cursor->source, sizeof(*expr));
	uint16_t height = left != NULL ? left->height : 0;
	if (right != NULL && right->height > height)
		height = right->height;
	expr->op = op;
	expr->op_at = op_at;
	expr->left = left;
	expr->right = right;
	expr->height = height + 1;
	if (expr->height <= CHAIN_TERMS_MAX)
		return expr;
	mc_help_on(mc_error_at(cursor->source, "too-deep", op_at,
			       "this expression has more than %u operators on top of each other",
			       CHAIN_TERMS_MAX - 1),
		   "split it");
	return NULL;
}

static struct expr *bad_expr(struct cursor *cursor) {
	static const char *const help = "an expression is made of fields, params, now, numbers, "
					"true, false, \"bytes\", + - * / %, comparisons, && || ! "
					"and min max abs u64 i64";
	struct slice at = mc_here(cursor);
	if (at.at >= cursor->end)
		mc_help_on(mc_error_at(cursor->source, "expression", at, "a value is missing here"),
			   "%s", help);
	else
		mc_help_on(mc_error_at(cursor->source, "expression", at,
				       "a value should stand here, not %s",
				       mc_show(cursor->source, at).text),
			   "%s", help);
	return NULL;
}

static struct expr *parse_number(struct cursor *cursor) {
	struct source *source = cursor->source;
	struct slice at = { cursor->at, 0 };
	while (cursor->at < cursor->end && mc_is_word_byte(source->clean[cursor->at]))
		cursor->at++;
	at.len = cursor->at - at.at;
	uint64_t number;
	if (!hf_span_u64(mc_span_of(source, at), &number)) {
		mc_help_on(
			mc_error_at(source, "literal", at, "%s is not a number of 64 bits",
				    mc_show(source, at).text),
			"numbers are decimal, without a leading zero, up to 18446744073709551615");
		return NULL;
	}
	struct expr *expr = new_expr(cursor, EXPR_NUMBER, at, NULL, NULL);
	expr->number = number;
	expr->at = at;
	return expr;
}

static struct expr *parse_string(struct cursor *cursor) {
	struct source *source = cursor->source;
	uint32_t start = cursor->at++;
	while (cursor->at < cursor->end && source->clean[cursor->at] != '"')
		cursor->at++;
	struct slice at = { start, cursor->at - start };
	if (cursor->at == cursor->end) {
		mc_error_at(source, "literal", at, "the closing quote is missing");
		return NULL;
	}
	cursor->at++;
	at.len++;
	if (at.len - 2 > HF_BYTES_MAX) {
		mc_error_at(source, "literal", at,
			    "a literal has at most %u bytes, this one has %u", HF_BYTES_MAX,
			    at.len - 2);
		return NULL;
	}
	struct expr *expr =
		new_expr(cursor, EXPR_STRING, (struct slice){ start + 1, at.len - 2 }, NULL, NULL);
	expr->bytes_max = (uint8_t)(at.len - 2);
	expr->at = at;
	return expr;
}

struct function {
	const char *name;
	enum expr_op op;
	uint32_t operands;
};

static const struct function *function_named(const struct source *source, struct slice name) {
	static const struct function functions[] = {
		{ "min", EXPR_MIN, 2 },	   { "max", EXPR_MAX, 2 },    { "abs", EXPR_ABS, 1 },
		{ "u64", EXPR_TO_U64, 1 }, { "i64", EXPR_TO_I64, 1 },
	};
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (mc_slice_is(source, name, functions[i].name))
			return &functions[i];
	return NULL;
}

static struct expr *parse_call(struct cursor *cursor, struct slice name) {
	struct source *source = cursor->source;
	const struct function *function = function_named(source, name);
	if (function == NULL) {
		mc_help_on(mc_error_at(source, "unknown-name", name, "there is no function %s",
				       mc_show(source, name).text),
			   "the functions are min(a, b), max(a, b), abs(a), u64(a) and i64(a)");
		return NULL;
	}
	cursor->at++; /* the ( */
	struct expr *left = parse_binary(cursor, 1), *right = NULL;
	if (left == NULL)
		return NULL;
	bool good = true;
	if (function->operands == 2) {
		good = mc_take_char(cursor, ',');
		right = good ? parse_binary(cursor, 1) : NULL;
		if (good && right == NULL)
			return NULL;
	}
	if (!good || !mc_take_char(cursor, ')')) {
		mc_error_at(source, "expression", mc_here(cursor),
			    "%s takes %u value%s in parentheses", function->name,
			    function->operands, function->operands == 1 ? "" : "s");
		return NULL;
	}
	struct expr *expr = new_expr(cursor, function->op, name, left, right);
	if (expr != NULL)
		expr->at = (struct slice){ name.at, cursor->at - name.at };
	return expr;
}

static struct expr *parse_name(struct cursor *cursor) {
	struct source *source = cursor->source;
	struct slice name = mc_take_word(cursor);
	struct cursor ahead = *cursor;
	if (next_char(&ahead) == '(') {
		*cursor = ahead;
		return parse_call(cursor, name);
	}
	bool truth = mc_slice_is(source, name, "true");
	enum expr_op op = truth || mc_slice_is(source, name, "false") ? EXPR_BOOL
			  : mc_slice_is(source, name, "now")	      ? EXPR_NOW
								      : EXPR_NAME;
	struct expr *expr = new_expr(cursor, op, name, NULL, NULL);
	expr->at = name;
	expr->number = truth;
	return expr;
}

static struct expr *parse_parens(struct cursor *cursor) {
	uint32_t start = cursor->at++;
	struct expr *expr = parse_binary(cursor, 1);
	if (expr == NULL)
		return NULL;
	if (!mc_take_char(cursor, ')')) {
		mc_error_at(cursor->source, "expression", mc_here(cursor), "a ) is missing here");
		return NULL;
	}
	expr->at = (struct slice){ start, cursor->at - start };
	return expr;
}

static struct expr *parse_prefix(struct cursor *cursor, char op) {
	struct slice op_at = { cursor->at++, 1 };
	char after = next_char(cursor);
	if (op == '-' && after >= '0' && after <= '9') {
		struct expr *number = parse_number(cursor);
		if (number == NULL)
			return NULL;
		number->negative = number->number != 0;
		number->at = (struct slice){ op_at.at, cursor->at - op_at.at };
		return number;
	}
	struct expr *operand = parse_binary(cursor, 7);
	if (operand == NULL)
		return NULL;
	struct expr *expr = new_expr(cursor, op == '-' ? EXPR_NEG : EXPR_NOT, op_at, operand, NULL);
	if (expr != NULL)
		expr->at = (struct slice){ op_at.at, operand->at.at + operand->at.len - op_at.at };
	return expr;
}

static struct expr *parse_operand(struct cursor *cursor) {
	if (cursor->depth == HF_EXPR_DEPTH_MAX) {
		mc_error_at(cursor->source, "too-deep", mc_here(cursor),
			    "expressions nest at most %u deep", HF_EXPR_DEPTH_MAX);
		return NULL;
	}
	cursor->depth++;
	char c = next_char(cursor);
	struct expr *expr = c == '('			      ? parse_parens(cursor)
			    : c == '"'			      ? parse_string(cursor)
			    : c == '-' || c == '!'	      ? parse_prefix(cursor, c)
			    : c >= '0' && c <= '9'	      ? parse_number(cursor)
			    : c != '\0' && mc_is_word_byte(c) ? parse_name(cursor)
							      : bad_expr(cursor);
	cursor->depth--;
	return expr;
}

struct binary {
	const char *text;
	uint32_t binds; /* more strongly than those with less */
	enum expr_op op;
};

static const struct binary *next_operator(struct cursor *cursor) {
	static const struct binary operators[] = {
		{ "||", 1, EXPR_OR }, { "&&", 2, EXPR_AND }, { "==", 3, EXPR_EQ },
		{ "!=", 3, EXPR_NE }, { "<=", 4, EXPR_LE },  { ">=", 4, EXPR_GE },
		{ "<", 4, EXPR_LT },  { ">", 4, EXPR_GT },   { "+", 5, EXPR_ADD },
		{ "-", 5, EXPR_SUB }, { "*", 6, EXPR_MUL },  { "/", 6, EXPR_DIV },
		{ "%", 6, EXPR_MOD },
	};
	mc_skip_blanks(cursor);
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		size_t len = strlen(operators[i].text);
		if (cursor->end - cursor->at >= len &&
		    memcmp(cursor->source->clean + cursor->at, operators[i].text, len) == 0)
			return &operators[i];
	}
	return NULL;
}

/* C's operators that we lack, or have under another name. */
static bool is_strange_operator(struct cursor *cursor) {
	static const char *const helps[] = { "=", "== compares", "&", "&& means and",
					     "|", "|| means or" };
	char c = next_char(cursor);
	for (size_t i = 0; i < sizeof(helps) / sizeof(helps[0]); i += 2) {
		if (c != helps[i][0])
			continue;
		mc_help_on(mc_error_at(cursor->source, "expression", mc_here(cursor),
				       "there is no operator %c in an expression", c),
			   "%s", helps[i + 1]);
		return true;
	}
	return false;
}

/* Operands joined by operators that bind at least as strongly as `least`; all bind to the left. */
static struct expr *parse_binary(struct cursor *cursor, uint32_t least) {
	struct expr *left = parse_operand(cursor);
	while (left != NULL) {
		const struct binary *binary = next_operator(cursor);
		if (binary == NULL && is_strange_operator(cursor))
			return NULL;
		if (binary == NULL || binary->binds < least)
			return left;
		struct slice op_at = { cursor->at, (uint32_t)strlen(binary->text) };
		cursor->at += op_at.len;
		struct expr *right = parse_binary(cursor, binary->binds + 1);
		if (right == NULL)
			return NULL;
		uint32_t start = left->at.at;
		left = new_expr(cursor, binary->op, op_at, left, right);
		if (left != NULL)
			left->at = (struct slice){ start, right->at.at + right->at.len - start };
	}
	return NULL;
}

struct expr *mc_read_expr(struct cursor *cursor) {
	return parse_binary(cursor, 1);
}
