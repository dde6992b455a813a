/*
 * What the drawing means: every arrow with an event becomes paths, one for each way through
 * choices, that lead from a state, a composite or [*] to a plain state.
 */
#include "machine/ast.h"

bool mc_is_within(const struct state *state, const struct state *around) {
	if (around == NULL)
		return true;
	while (state != NULL && state != around)
		state = state->parent;
	return state == around;
}

bool mc_path_leaves(const struct path *path, const struct state *state) {
	if (state == NULL || path->from == NULL || path->from == state)
		return path->from == state;
	return !state->end && mc_is_within(state, path->from);
}

/* ---- events --------------------------------------------------------------------------------- */

static bool same_params(const struct source *source, const struct label *a, const struct label *b) {
	const struct param *p = a->params, *q = b->params;
	while (p != NULL && q != NULL && mc_slices_equal(source, p->name, q->name) &&
	       p->type == q->type && p->bytes_max == q->bytes_max) {
		p = p->next;
		q = q->next;
	}
	return p == NULL && q == NULL;
}

static void check_signature(struct source *source, const struct event *event,
			    const struct label *label) {
	if (same_params(source, event->label, label))
		return;
	struct slice first = event->label->params_at;
	struct shown name = mc_show(source, label->event);
	uint32_t line = mc_line_of(source, event->name.at);
	struct hf_diagnostic *error =
		mc_error_at(source, "signature",
			    label->has_parens ? label->params_at : label->event,
			    "%s has other params here than on line %u", name.text, line);
	if (first.len > 0)
		mc_help_on(error, "an event has the same params everywhere: write %s%s", name.text,
			   mc_show(source, first).text);
	else
		mc_help_on(error,
			   "an event has the same params everywhere: write them on line %u, too",
			   line);
}

static void add_event(struct source *source, struct label *label) {
	for (struct event *event = source->first_event; event != NULL; event = event->next) {
		if (!mc_slices_equal(source, event->name, label->event))
			continue;
		label->event_index = event->index;
		check_signature(source, event, label);
		return;
	}
	if (source->event_count == HF_EVENTS_MAX) {
		mc_error_at(source, "too-many", label->event, "a contract has at most %u events",
			    HF_EVENTS_MAX);
		source->stop = true;
		return;
	}
	struct event *event = mc_source_alloc(source, sizeof(*event));
	event->name = label->event;
	event->label = label;
	event->index = (uint16_t)source->event_count++;
	for (const struct param *param = label->params; param != NULL; param = param->next)
		event->param_count++;
	label->event_index = event->index;
	if (source->last_event == NULL)
		source->first_event = event;
	else
		source->last_event->next = event;
	source->last_event = event;
}

static struct event *event_of(const struct source *source, const struct label *label) {
	struct event *event = source->first_event;
	while (event != NULL && event->index != label->event_index)
		event = event->next;
	return event;
}

/* ---- states --------------------------------------------------------------------------------- */

/* Indexes the plain states in the order of their first mention. Braces with nothing in them hold
 * nothing. */
static void index_states(struct source *source) {
	for (struct state *state = source->first_state; state != NULL; state = state->next)
		if (state->kind == STATE_COMPOSITE)
			state->kind = STATE_PLAIN;
	for (struct state *state = source->first_state; state != NULL; state = state->next)
		if (state->parent != NULL && state->parent->brace_at.len > 0)
			state->parent->kind = STATE_COMPOSITE;
	for (struct state *state = source->first_state; state != NULL; state = state->next) {
		for (const struct state *up = state->parent; up != NULL; up = up->parent)
			state->depth++;
		if (state->kind == STATE_PLAIN)
			state->index = (uint16_t)++source->plain_count;
	}
}

/* ---- arrows from and to [*] ----------------------------------------------------------------- */

static void note_initial(struct source *source, struct arc *arc) {
	struct state *scope = arc->scope;
	if (scope == NULL) {
		if (source->initial != NULL)
			mc_help_on(mc_error_at(source, "initial", arc->at, "a second beginning"),
				   "one arrow from [*] has no label, or several have events");
		else
			source->initial = arc;
	} else if (scope->initial != NULL) {
		mc_error_at(source, "initial", arc->at, "%s has a second beginning",
			    mc_show(source, scope->name).text);
	} else if (!mc_is_within(arc->to, scope) || arc->to == scope) {
		mc_help_on(mc_error_at(source, "initial", arc->to_at, "%s is not within %s",
				       mc_show(source, arc->to_at).text,
				       mc_show(source, scope->name).text),
			   "a composite begins in one of its own states");
	} else {
		scope->initial = arc->to;
		scope->initial_at = arc->at;
	}
}

static void read_beginning(struct source *source, struct arc *arc) {
	if (arc->label.at.len == 0)
		note_initial(source, arc);
	else if (arc->scope != NULL)
		mc_help_on(mc_error_at(source, "initial", arc->label.at,
				       "the beginning of a composite has no label"),
			   "put the event on the arrow that enters %s",
			   mc_show(source, arc->scope->name).text);
	else if (arc->label.event.len == 0 && !arc->label.bad)
		mc_help_on(mc_error_at(source, "no-event", arc->label.at,
				       "this arrow has no event"),
			   "a label is event(params) [guard] / effects");
}

static void read_end_arrow(struct source *source, struct arc *arc) {
	if (arc->from == NULL)
		mc_error_at(source, "end", arc->at, "an arrow from [*] to [*] has no meaning");
	else if (arc->label.at.len > 0)
		mc_help_on(mc_error_at(source, "labelled-end", arc->label.at,
				       "an arrow to [*] takes no event"),
			   "name the last state: %s --> Done : %s, and Done --> [*]",
			   mc_show(source, arc->from->name).text,
			   mc_show(source, arc->label.at).text);
	else if (arc->from->kind == STATE_CHOICE)
		mc_help_on(mc_error_at(source, "labelled-end", arc->at,
				       "a choice cannot lead to [*]"),
			   "name the last state, and draw an arrow from it to [*]");
	else {
		arc->from->end = true;
		arc->from->end_at = arc->at;
	}
}

static void read_plain_arrow(struct source *source, struct arc *arc) {
	if (arc->label.bad || arc->label.event.len > 0)
		return;
	struct shown from = mc_show(source, arc->from_at), to = mc_show(source, arc->to_at);
	if (arc->label.at.len == 0)
		mc_help_on(mc_error_at(source, "no-event", arc->at,
				       "no event takes an entity from %s to %s", from.text,
				       to.text),
			   "name one: %s --> %s : event", from.text, to.text);
	else
		mc_help_on(mc_error_at(source, "no-event", arc->label.at,
				       "this arrow has no event"),
			   "a label without an event stands only after a choice: write event %s",
			   mc_show(source, arc->label.at).text);
}

/* Params are no error: texts that were logged with them compile for ever. */
static void check_choice_label(struct source *source, const struct arc *arc) {
	if (arc->label.event.len > 0)
		mc_help_on(mc_error_at(source, "choice", arc->label.event,
				       "an arrow from a choice has no event of its own"),
			   "write a guard in brackets, such as [qty > 0] or [else]");
	else if (arc->label.params != NULL)
		mc_help_on(mc_warning_at(source, "choice", arc->label.params_at,
					 "an arrow from a choice has no params of its own: these "
					 "mean nothing"),
			   "take them away; its guard and effects know those of the event");
}

static void read_arrows(struct source *source) {
	for (struct arc *arc = source->first_arc; arc != NULL && !source->stop; arc = arc->next) {
		if (arc->to == NULL)
			read_end_arrow(source, arc);
		else if (arc->from == NULL)
			read_beginning(source, arc);
		else if (arc->from->kind == STATE_CHOICE)
			check_choice_label(source, arc);
		else
			read_plain_arrow(source, arc);
		bool takes_event = arc->to != NULL && !arc->label.bad && arc->label.event.len > 0 &&
				   (arc->from == NULL || arc->from->kind != STATE_CHOICE);
		if (takes_event)
			add_event(source, &arc->label);
	}
}

/* An end drawn inside a composite ends the life only if the composite ends it, too; and it must
 * have one. */
static void check_inner_ends(struct source *source) {
	for (const struct arc *arc = source->first_arc; arc != NULL; arc = arc->next) {
		if (arc->to != NULL || arc->from == NULL || !arc->from->end)
			continue;
		struct shown name = mc_show(source, arc->from->name);
		for (const struct state *up = arc->scope; up != NULL; up = up->parent) {
			if (up->end)
				continue;
			struct shown outer = mc_show(source, up->name);
			mc_help_on(mc_error_at(source, "inner-end", arc->at,
					       "%s ends here, and then?", outer.text),
				   "if life ends: draw %s --> [*] outside the braces; else draw %s "
				   "--> T : event",
				   outer.text, name.text);
			break;
		}
		bool has_end = arc->from->kind != STATE_COMPOSITE;
		for (const struct arc *other = source->first_arc; other != NULL && !has_end;
		     other = other->next)
			has_end = other->to == NULL && other->from != NULL &&
				  other->scope == arc->from;
		if (!has_end)
			mc_help_on(mc_error_at(source, "inner-end", arc->at,
					       "no state within %s ends it", name.text),
				   "draw an arrow to [*] from its last state, inside the braces");
	}
}

/* ---- paths ---------------------------------------------------------------------------------- */

static void add_path(struct source *source, const struct path *path, struct state *to) {
	if (source->path_count == HF_TRANSITIONS_MAX) {
		mc_error_at(source, "too-many", path->arcs[0]->at,
			    "a contract has at most %u transitions", HF_TRANSITIONS_MAX);
		source->stop = true;
		return;
	}
	struct path *copy = &source->paths[source->path_count++];
	*copy = *path;
	copy->to = to;
}

/* Follows beginnings of composites down to a plain state or a choice. NULL: an error was
 * reported. */
static struct state *descend(struct source *source, struct state *state, struct slice at) {
	while (state->kind == STATE_COMPOSITE) {
		if (state->initial == NULL) {
			struct shown name = mc_show(source, state->name);
			mc_help_on(mc_error_at(source, "initial", at,
					       "%s does not say where it begins", name.text),
				   "draw [*] --> first state inside the braces of %s, or lead the "
				   "arrow to "
				   "a state within",
				   name.text);
			return NULL;
		}
		state = state->initial;
	}
	return state;
}

/* The plain state that an arrow to `state` enters, or NULL (an error was reported at `at`). */
static struct state *entered(struct source *source, struct state *state, struct slice at) {
	struct state *ret = descend(source, state, at);
	if (ret == NULL || ret->kind != STATE_CHOICE)
		return ret;
	mc_help_on(mc_error_at(source, "choice", at, "an entity cannot begin in a choice"),
		   "put an event on this arrow");
	return NULL;
}

static void follow(struct source *source, struct path *path, struct state *state, struct slice at);

static void follow_choice(struct source *source, struct path *path, struct state *choice) {
	if (choice->visiting || path->arc_count == CHAIN_MAX) {
		mc_error_at(source, "choice", choice->name,
			    choice->visiting ? "choice %s leads back to itself"
					     : "%s: too many choices in a row",
			    mc_show(source, choice->name).text);
		return;
	}
	if (choice->first_out == NULL)
		mc_help_on(mc_error_at(source, "choice", choice->name, "choice %s leads nowhere",
				       mc_show(source, choice->name).text),
			   "draw an arrow from it for each case: %s --> A : [guard]",
			   mc_show(source, choice->name).text);
	choice->visiting = true;
	choice->reached = true;
	for (struct arc *arc = choice->first_out; arc != NULL && !source->stop;
	     arc = arc->next_out) {
		if (arc->to == NULL || arc->label.bad || arc->label.event.len > 0)
			continue;
		path->arcs[path->arc_count++] = arc;
		follow(source, path, arc->to, arc->to_at);
		path->arc_count--;
	}
	choice->visiting = false;
}

static void follow(struct source *source, struct path *path, struct state *state, struct slice at) {
	if (++source->follow_count > CHAIN_MAX * HF_TRANSITIONS_MAX) {
		mc_error_at(source, "too-many", path->arcs[0]->at,
			    "there are too many ways through "
			    "the choices");
		source->stop = true;
		return;
	}
	state = descend(source, state, at);
	if (state == NULL)
		return;
	if (state->kind == STATE_CHOICE)
		follow_choice(source, path, state);
	else
		add_path(source, path, state);
}

static void make_paths(struct source *source) {
	for (struct arc *arc = source->first_arc; arc != NULL && !source->stop; arc = arc->next) {
		if (arc->label.event_index < 0)
			continue;
		struct path path = {
			.arcs = { arc },
			.arc_count = 1,
			.from = arc->from,
			.event = event_of(source, &arc->label),
			.guard = UINT32_MAX,
			.effect = UINT32_MAX,
		};
		follow(source, &path, arc->to, arc->to_at);
	}
}

/* `errors_before`: those before the arrows were read; one more, and the beginning may be among what
 * was refused. */
static void check_beginning(struct source *source, uint32_t errors_before) {
	const struct arc *labelled = source->first_arc;
	while (labelled != NULL && (labelled->from != NULL || labelled->to == NULL ||
				    labelled->scope != NULL || labelled->label.at.len == 0))
		labelled = labelled->next;
	if (source->initial == NULL && labelled == NULL &&
	    source->diagnostics->error_count == errors_before)
		mc_help_on(mc_error_at(source, "initial", source->header,
				       "the diagram does not say where an entity begins"),
			   "draw [*] --> First, or [*] --> First : event");
	if (source->initial == NULL)
		return;
	source->initial_state = entered(source, source->initial->to, source->initial->to_at);
	if (labelled != NULL)
		mc_help_on(mc_error_at(source, "initial", source->initial->at,
				       "this beginning has no event, that of line %u has one",
				       mc_line_of(source, labelled->at.at)),
			   "either one arrow from [*] without a label, or all of them with events");
}

void mc_flatten(struct source *source) {
	uint32_t errors_before = source->diagnostics->error_count;
	index_states(source);
	read_arrows(source);
	check_inner_ends(source);
	check_beginning(source, errors_before);
	make_paths(source);
}
