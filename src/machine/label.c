/* The text at an arrow: event(params) [guard] / effects. */
#include "machine/ast.h"

static bool missing(struct cursor *cursor, const char *what, const char *help) {
	mc_help_on(mc_error_at(cursor->source, "label", mc_here(cursor), "%s", what), "%s", help);
	return false;
}

/* The words of a label that is not in our language, such as "order placed by client". */
static bool not_one_word(struct cursor *cursor, uint32_t start) {
	struct source *source = cursor->source;
	uint32_t end = start;
	while (end < cursor->end && strchr("([/", source->clean[end]) == NULL)
		end++;
	struct slice at = mc_trimmed(source, (struct slice){ start, end - start });
	char buf[HF_NAME_MAX + 1];
	mc_help_on(
		mc_error_at(source, "event-name", at.len > 0 ? at : mc_here(cursor),
			    "\"%s\" cannot be an event's name", mc_show(source, at).text),
		"clients send it: one word of letters, digits, _, - and ., the first a letter or "
		"_, such as %s; a label is event(params) [guard] / effects",
		mc_suggested_name(mc_span_of(source, at), buf));
	return false;
}

static bool read_event(struct cursor *cursor, struct label *label) {
	struct source *source = cursor->source;
	mc_skip_blanks(cursor);
	uint32_t start = cursor->at;
	while (cursor->at < cursor->end && strchr(" \t([/", source->clean[cursor->at]) == NULL)
		cursor->at++;
	label->event = (struct slice){ start, cursor->at - start };
	if (label->event.len == 0)
		return true;
	mc_skip_blanks(cursor);
	bool alone = cursor->at == cursor->end || strchr("([/", source->clean[cursor->at]) != NULL;
	if (!alone || !mc_is_name(mc_span_of(source, label->event), "-."))
		return not_one_word(cursor, start);
	if (label->event.len <= HF_NAME_MAX)
		return true;
	mc_error_at(source, "too-long", label->event, "a name has at most %u bytes", HF_NAME_MAX);
	return false;
}

static bool is_reserved_param(const struct source *source, struct slice name) {
	return hf_span_is_nocase(mc_span_of(source, name), "ifversion") ||
	       hf_span_is_nocase(mc_span_of(source, name), "id") ||
	       mc_slice_is(source, name, "now") || mc_slice_is(source, name, "true") ||
	       mc_slice_is(source, name, "false");
}

static bool check_param(struct source *source, const struct label *label, struct slice name,
			uint32_t count) {
	if (name.len > HF_NAME_MAX) {
		mc_error_at(source, "too-long", name, "a name has at most %u bytes", HF_NAME_MAX);
	} else if (is_reserved_param(source, name)) {
		mc_help_on(mc_error_at(source, "reserved-name", name, "a param cannot be called %s",
				       mc_show(source, name).text),
			   "IFVERSION and ID are words of HF.SEND, now, true and false are "
			   "expressions: choose another name");
	} else if (count == HF_PARAMS_MAX) {
		mc_error_at(source, "too-many", name, "an event has at most %u params",
			    HF_PARAMS_MAX);
	} else {
		for (const struct param *other = label->params; other != NULL;
		     other = other->next) {
			if (!mc_slices_equal(source, other->name, name))
				continue;
			mc_error_at(source, "duplicate", name, "param %s is there twice",
				    mc_show(source, name).text);
			return false;
		}
		return true;
	}
	return false;
}

static bool read_param(struct cursor *cursor, struct label *label, struct param ***tail,
		       uint32_t count) {
	static const char *const help = "params are name: type, for example Place(qty: u64, "
					"symbol: bytes(12))";
	struct param param = { .name = mc_take_word(cursor) };
	if (param.name.len == 0)
		return missing(cursor, "a param's name is missing here", help);
	if (!mc_take_char(cursor, ':'))
		return missing(cursor, "a param's type is missing here", help);
	if (!mc_read_type(cursor, &param.type, &param.bytes_max, &param.type_at) ||
	    !check_param(cursor->source, label, param.name, count))
		return false;
	struct param *copy = mc_source_alloc(cursor->source, sizeof(*copy));
	*copy = param;
	**tail = copy;
	*tail = &copy->next;
	return true;
}

static bool read_params(struct cursor *cursor, struct label *label) {
	uint32_t start = mc_here(cursor).at;
	if (!mc_take_char(cursor, '('))
		return true;
	struct param **tail = &label->params;
	label->has_parens = true;
	bool more = !mc_take_char(cursor, ')');
	for (uint32_t count = 0; more; count++) {
		if (!read_param(cursor, label, &tail, count))
			return false;
		more = mc_take_char(cursor, ',');
		if (!more && !mc_take_char(cursor, ')'))
			return missing(cursor, "a , or ) is missing here", "the params end with )");
	}
	label->params_at = (struct slice){ start, cursor->at - start };
	return true;
}

static bool read_guard(struct cursor *cursor, struct label *label) {
	if (!mc_take_char(cursor, '['))
		return true;
	struct source *source = cursor->source;
	struct cursor ahead = *cursor;
	label->is_else =
		mc_slice_is(source, mc_take_word(&ahead), "else") && mc_take_char(&ahead, ']');
	if (label->is_else) {
		*cursor = ahead;
		return true;
	}
	uint32_t start = mc_here(cursor).at;
	label->guard = mc_read_expr(cursor);
	if (label->guard == NULL)
		return false;
	label->guard_at = mc_trimmed(source, (struct slice){ start, cursor->at - start });
	return mc_take_char(cursor, ']') ||
	       missing(cursor, "the guard should end here, with ]",
		       "a guard is one expression: [qty > 0 && qty < 100]");
}

/* The expression that `field op value` stores. */
static struct expr *stored_expr(struct source *source, const struct effect *effect) {
	if (effect->op == '=')
		return effect->value;
	struct expr *field = mc_source_alloc(source, sizeof(*field));
	*field = (struct expr){
		.op = EXPR_NAME, .at = effect->field_at, .op_at = effect->field_at, .height = 1
	};
	struct expr *whole = mc_source_alloc(source, sizeof(*whole));
	struct slice value_at = effect->value->at;
	*whole = (struct expr){
		.op = effect->op == '+' ? EXPR_ADD : EXPR_SUB,
		.at = { effect->field_at.at, value_at.at + value_at.len - effect->field_at.at },
		.op_at = effect->op_at,
		.left = field,
		.right = effect->value,
		.height = effect->value->height + 1,
	};
	return whole;
}

static bool read_effect(struct cursor *cursor, struct effect ***tail) {
	static const char *const help = "an effect is field = value, field += value or "
					"field -= value; several are separated by commas";
	struct source *source = cursor->source;
	struct effect effect = { .field_at = mc_take_word(cursor), .op = '=' };
	if (effect.field_at.len == 0)
		return missing(cursor, "the field of an effect is missing here", help);
	effect.op_at = mc_here(cursor);
	if (mc_take_char(cursor, '+'))
		effect.op = '+';
	else if (mc_take_char(cursor, '-'))
		effect.op = '-';
	if (!mc_take_char(cursor, '='))
		return missing(cursor, "=, += or -= is missing here", help);
	if (cursor->at < cursor->end && source->clean[cursor->at] == '=')
		return missing(cursor, "an effect assigns, it does not compare", help);
	effect.op_at.len = cursor->at - effect.op_at.at;
	effect.value = mc_read_expr(cursor);
	if (effect.value == NULL)
		return false;
	effect.whole = stored_expr(source, &effect);
	struct effect *copy = mc_source_alloc(source, sizeof(*copy));
	*copy = effect;
	**tail = copy;
	*tail = &copy->next;
	return true;
}

static bool read_effects(struct cursor *cursor, struct label *label) {
	if (!mc_take_char(cursor, '/'))
		return true;
	struct effect **tail = &label->effects;
	for (uint32_t count = 0;; count++) {
		struct slice at = mc_here(cursor);
		if (!read_effect(cursor, &tail))
			return false;
		if (count == HF_FIELDS_MAX) {
			mc_error_at(cursor->source, "too-many", at,
				    "a transition has at most %u effects, one for each field",
				    HF_FIELDS_MAX);
			return false;
		}
		if (!mc_take_char(cursor, ','))
			return true;
	}
}

bool mc_read_label(struct source *source, struct slice at, struct label *ret) {
	*ret = (struct label){ .at = mc_trimmed(source, at), .event_index = -1 };
	struct cursor cursor = { source, ret->at.at, ret->at.at + ret->at.len, 0 };
	bool good = read_event(&cursor, ret) && read_params(&cursor, ret) &&
		    read_guard(&cursor, ret) && read_effects(&cursor, ret);
	mc_skip_blanks(&cursor);
	if (good && cursor.at < cursor.end)
		good = missing(&cursor, "the label should end here",
			       "a label is event(params) [guard] / effects");
	ret->bad = !good;
	return good;
}
