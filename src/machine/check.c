/* The rules of a contract that need the whole diagram: declarations, reachability, guards that
 * overlap. */
#include "machine/ast.h"

/* ---- declarations --------------------------------------------------------------------------- */

static bool is_reserved_field(const struct source *source, struct slice name) {
	static const char *const words[] = { "state", "version", "lsn",	 "time",
					     "now",   "true",	 "false" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (mc_slice_is(source, name, words[i]))
			return true;
	return false;
}

/* No error: texts that were logged with such a name compile for ever. */
static void warn_of_else(struct source *source, struct slice name) {
	if (mc_slice_is(source, name, "else"))
		mc_help_on(mc_warning_at(source, "reserved-name", name,
					 "[else] means all other cases, and never what is called "
					 "so"),
			   "choose another name, or write [(else)]");
}

static void check_field(struct source *source, const struct field *field) {
	struct shown name = mc_show(source, field->name);
	if (field->name.len > HF_NAME_MAX)
		mc_error_at(source, "too-long", field->name, "a name has at most %u bytes",
			    HF_NAME_MAX);
	if (is_reserved_field(source, field->name))
		mc_help_on(
			mc_error_at(source, "reserved-name", field->name,
				    "a field cannot be called %s", name.text),
			"state, version, lsn and time are in every reply, now, true and false in "
			"expressions: choose another name");
	warn_of_else(source, field->name);
	if (mc_field_named(source, field->name) != field)
		mc_error_at(source, "duplicate", field->name, "field %s is declared twice",
			    name.text);
}

/* A param must not hide a field: `filled = filled` would read as it is not meant. */
static void check_param_names(struct source *source) {
	for (const struct event *event = source->first_event; event != NULL; event = event->next)
		for (const struct param *param = event->label->params; param != NULL;
		     param = param->next) {
			struct shown name = mc_show(source, param->name);
			warn_of_else(source, param->name);
			if (mc_field_named(source, param->name) != NULL)
				mc_help_on(mc_error_at(source, "duplicate", param->name,
						       "param %s has the name of a field",
						       name.text),
					   "give the param another name, such as new_%s",
					   name.text);
		}
}

static void check_contract_name(struct source *source) {
	if (source->title.len > 0) {
		uint32_t len = source->title.len < HF_NAME_MAX ? source->title.len : HF_NAME_MAX;
		memcpy(source->name, source->text.data + source->title.at, len);
		return;
	}
	const char *slash = strrchr(source->file_name, '/');
	const char *base = slash != NULL ? slash + 1 : source->file_name;
	size_t len = strlen(base);
	if (len > 4 && strcmp(base + len - 4, ".mmd") == 0)
		len -= 4;
	char buf[HF_NAME_MAX + 1];
	if (len <= HF_NAME_MAX && mc_is_name(hf_span(base, len), "-."))
		memcpy(source->name, base, len);
	else
		mc_help_on(mc_error_at(source, "title", (struct slice){ 0, 1 },
				       "the contract has no title, and its file's name \"%.64s\" "
				       "is not a name",
				       base),
			   "begin the file with front matter: ---, title: %s, ---",
			   mc_suggested_name(hf_span(base, len), buf));
}

void mc_check_declarations(struct source *source) {
	check_contract_name(source);
	for (const struct field *field = source->first_field; field != NULL; field = field->next)
		check_field(source, field);
	check_param_names(source);
	for (struct invariant *invariant = source->first_invariant; invariant != NULL;
	     invariant = invariant->next)
		(void)mc_check_guard(source, invariant->expr, NULL);
}

/* ---- the graph ------------------------------------------------------------------------------ */

/* Plain states by index, 0 being [*]. Edges go from every plain state within a path's source to its
 * end. */
struct graph {
	struct source *source;
	struct state *states[HF_STATES_MAX + 1];
	bool reached[HF_STATES_MAX + 1];
	bool ends[HF_STATES_MAX + 1];
};

/* Marks the states that a path leads to from state `at`. */
static void spread(struct graph *graph, uint32_t at) {
	const struct source *source = graph->source;
	for (uint32_t i = 0; i < source->path_count; i++) {
		const struct path *path = &source->paths[i];
		if (!graph->reached[path->to->index] && mc_path_leaves(path, graph->states[at]))
			graph->reached[path->to->index] = true;
	}
}

static void find_reached(struct graph *graph) {
	bool done[HF_STATES_MAX + 1] = { false };
	const struct source *source = graph->source;
	graph->reached[source->initial_state != NULL ? source->initial_state->index : 0] = true;
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = 0; i <= source->plain_count; i++) {
			if (!graph->reached[i] || done[i])
				continue;
			done[i] = changed = true;
			spread(graph, i);
		}
	}
}

/* Marks the states that a path leads from to state `at`. */
static void spread_back(struct graph *graph, uint32_t at) {
	const struct source *source = graph->source;
	for (uint32_t i = 0; i < source->path_count; i++) {
		const struct path *path = &source->paths[i];
		if (path->to->index != at)
			continue;
		for (uint32_t j = 1; j <= source->plain_count; j++)
			if (!graph->ends[j] && mc_path_leaves(path, graph->states[j]))
				graph->ends[j] = true;
	}
}

/* Marks every state from which paths lead to a marked one. */
static void find_ends(struct graph *graph) {
	bool done[HF_STATES_MAX + 1] = { false };
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = 1; i <= graph->source->plain_count; i++) {
			if (!graph->ends[i] || done[i])
				continue;
			done[i] = changed = true;
			spread_back(graph, i);
		}
	}
}

static bool is_left(const struct graph *graph, const struct path *path) {
	bool ret = path->from == NULL;
	for (uint32_t i = 1; i <= graph->source->plain_count && !ret; i++)
		ret = mc_path_leaves(path, graph->states[i]);
	return ret;
}

/* No arrow leaves an end, nor a composite in which all are ends. */
static void check_finals(struct graph *graph) {
	struct source *source = graph->source;
	for (uint32_t i = 0; i < source->path_count; i++) {
		const struct path *path = &source->paths[i];
		bool is_end =
			path->from != NULL && path->from->kind == STATE_PLAIN && path->from->end;
		if (!is_end && is_left(graph, path))
			continue;
		struct shown name = mc_show(source, path->from->name);
		mc_help_on(mc_error_at(source, "leaves-final", path->arcs[0]->at,
				       is_end ? "%s is an end, and this arrow leaves it"
					      : "all states of %s are ends, this arrow leaves none",
				       name.text),
			   "take away this arrow, or %s --> [*]", name.text);
	}
}

static bool has_way_out(const struct source *source, const struct state *state) {
	bool ret = state->end;
	for (uint32_t i = 0; i < source->path_count && !ret; i++)
		ret = source->paths[i].to != state && mc_path_leaves(&source->paths[i], state);
	return ret;
}

static void check_state(struct graph *graph, const struct state *state) {
	struct source *source = graph->source;
	struct shown name = mc_show(source, state->name);
	bool reached = graph->reached[state->index];
	/* A later version retires a state so: who is in it lives on, and nobody comes. */
	bool retired = !reached && source->version > 1 && has_way_out(source, state);
	if (!reached && !retired)
		mc_help_on(
			mc_error_at(source, "unreachable", state->name, "no event leads to %s",
				    name.text),
			"draw an arrow to it, or take it away; a misspelt name makes a new state");
	else if (retired)
		mc_help_on(mc_warning_at(source, "unreachable", state->name,
					 "no event leads to %s: nothing will be in it but what is "
					 "already",
					 name.text),
			   "draw an arrow to it if it is not being retired; a misspelt name makes "
			   "a new state");
	if ((reached || retired) && source->has_end && !graph->ends[state->index])
		mc_help_on(mc_error_at(source, "no-end", state->name,
				       "no end can be reached from %s", name.text),
			   "draw %s --> [*] if it is an end, or an arrow that leads on", name.text);
}

void mc_check_graph(struct source *source) {
	struct graph storage = { .source = source }, *graph = &storage;
	for (struct state *state = source->first_state; state != NULL; state = state->next) {
		if (state->kind == STATE_CHOICE && !state->reached)
			mc_error_at(source, "unreachable", state->name,
				    "no event leads to choice %s",
				    mc_show(source, state->name).text);
		if (state->kind != STATE_PLAIN)
			continue;
		graph->states[state->index] = state;
		graph->ends[state->index] = state->end;
		source->has_end |= state->end;
	}
	find_reached(graph);
	find_ends(graph);
	check_finals(graph);
	for (const struct state *state = source->first_state; state != NULL; state = state->next)
		if (state->kind == STATE_PLAIN)
			check_state(graph, state);
	if (!source->has_end)
		mc_help_on(mc_warning_at(source, "no-end", source->header, "no state is an end"),
			   "if life ends somewhere, draw that state --> [*]");
}

/* ---- guards that overlap -------------------------------------------------------------------- */

static bool has_guard(const struct path *path) {
	for (uint32_t i = 0; i < path->arc_count; i++)
		if (path->arcs[i]->label.guard != NULL)
			return true;
	return false;
}

static bool is_rest(const struct arc *arc) {
	bool from_choice = arc->from != NULL && arc->from->kind == STATE_CHOICE;
	return arc->label.is_else || (from_choice && arc->label.guard == NULL);
}

/* Where two paths part. */
static uint32_t fork_of(const struct path *a, const struct path *b) {
	uint32_t i = 0;
	while (i < a->arc_count && i < b->arc_count && a->arcs[i] == b->arcs[i])
		i++;
	return i;
}

/* Nothing comes after an [else] that leads somewhere in every case. */
static bool takes_the_rest(const struct path *path, uint32_t fork) {
	bool ret = is_rest(path->arcs[fork]);
	for (uint32_t i = fork + 1; i < path->arc_count; i++)
		ret &= path->arcs[i]->label.guard == NULL && !path->arcs[i]->label.is_else;
	return ret;
}

/* Of the second; FLAW_NONE if the two are as they should be. */
static enum flaw compare(struct prover *prover, const struct path *first,
			 const struct path *second) {
	uint32_t fork = fork_of(first, second);
	if (takes_the_rest(first, fork) || mc_holds_only_with(prover, second, first))
		return FLAW_NEVER_TAKEN;
	bool good = is_rest(second->arcs[fork]) || mc_never_together(prover, first, second);
	return good ? FLAW_NONE : FLAW_OVERLAP;
}

static void find_flaw(struct prover *prover, struct source *source, uint32_t index) {
	struct path *path = &source->paths[index];
	if (path->bad)
		return;
	(void)mc_check_path(source, path);
	if (has_guard(path) && mc_never_holds(prover, path)) {
		path->flaw = FLAW_NEVER_HOLDS;
		return;
	}
	for (uint32_t i = 0; i < index && path->flaw == FLAW_NONE; i++) {
		struct path *earlier = &source->paths[i];
		if (earlier->from != path->from || earlier->event != path->event || earlier->bad)
			continue;
		(void)mc_check_path(source, earlier);
		path->flaw = compare(prover, earlier, path);
		path->winner = earlier;
	}
}

static bool is_dead(const struct path *path) {
	return path->flaw == FLAW_NEVER_TAKEN || path->flaw == FLAW_NEVER_HOLDS;
}

/* Behind a choice, other events and other states' paths may lead over the same arrow. */
static bool is_dead_on_all(const struct source *source, const struct arc *arc) {
	for (uint32_t i = 0; i < source->path_count; i++) {
		const struct path *path = &source->paths[i];
		for (uint32_t k = 0; k < path->arc_count && !is_dead(path); k++)
			if (path->arcs[k] == arc)
				return false;
	}
	return true;
}

/* The last guard that no other way needs: what stands in a choice's may hold on another. */
static void tell_never_holds(struct source *source, const struct path *path) {
	for (uint32_t i = path->arc_count; i-- > 0;) {
		const struct arc *arc = path->arcs[i];
		if (arc->label.guard == NULL || !is_dead_on_all(source, arc))
			continue;
		mc_error_at(source, "never-holds", arc->label.guard_at,
			    "this guard can never hold");
		return;
	}
}

/* Where the two part: a path over the same arcs up to there may still be taken. */
static void tell_of_winner(struct source *source, const struct path *path) {
	uint32_t fork = fork_of(path->winner, path);
	const struct arc *arc = path->arcs[fork];
	uint32_t line = mc_line_of(source, path->winner->arcs[fork]->at.at);
	struct slice at = arc->label.at.len > 0 ? arc->label.at : arc->at;
	if (is_dead(path) && !is_dead_on_all(source, arc))
		return;
	if (path->flaw == FLAW_NEVER_TAKEN)
		mc_help_on(
			mc_error_at(source, "never-taken", at,
				    "this can never be taken: line %u always goes first", line),
			"the first in the file that holds wins: put this one before it, or narrow "
			"the guard of line %u",
			line);
	else
		mc_help_on(mc_warning_at(source, "overlap", at,
					 "this may hold together with line %u, which then wins",
					 line),
			   arc->label.guard == NULL ? "write [else] if it is meant for the rest"
						    : "make the guards exclude each other");
}

bool mc_check_overlaps(struct source *source) {
	struct prover *prover = mc_prover_new(source);
	if (prover == NULL)
		return false;
	for (uint32_t i = 0; i < source->path_count; i++)
		find_flaw(prover, source, i);
	mc_prover_free(prover);
	for (uint32_t i = 0; i < source->path_count; i++) {
		const struct path *path = &source->paths[i];
		if (path->flaw == FLAW_NEVER_HOLDS)
			tell_never_holds(source, path);
		else if (path->flaw != FLAW_NONE)
			tell_of_winner(source, path);
	}
	return true;
}
