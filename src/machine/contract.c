/* Compiling a text, step by step; and what can be asked of a contract. */

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"
#include "machine/program.h"

static bool first_error(const struct source *source, struct hf_err *err) {
	const struct hf_diagnostics *all = source->diagnostics;
	uint32_t i = 0;
	while (all->items[i].severity != HF_SEVERITY_ERROR)
		i++;
	const struct hf_diagnostic *first = &all->items[i];
	return hf_fail(err, HF_BADCONTRACT, "%s:%u:%u: %s%s%s", source->file_name, first->line,
		       first->column, first->message, first->help[0] != '\0' ? "; " : "",
		       first->help);
}

/* Reads and checks as far as it makes sense after errors. False: out of memory. */
static bool check_source(struct source *source) {
	uint32_t *errors = &source->diagnostics->error_count;
	if (source->text.len > HF_CONTRACT_TEXT_MAX) {
		mc_error_at(source, "too-many", (struct slice){ 0, 1 },
			    "a contract has at most %u bytes", HF_CONTRACT_TEXT_MAX);
		return true;
	}
	uint32_t start = mc_read_comments(source), errors_before = *errors;
	mc_read_diagram(source, start);
	if (source->header.len == 0 || source->stop)
		return true;
	/* Around a line that was not understood, much would seem wrong that is not. */
	if (*errors == errors_before)
		mc_flatten(source);
	bool drawn = *errors == errors_before && !source->stop;
	mc_check_declarations(source);
	mc_check_paths(source);
	if (!drawn)
		return true;
	mc_check_graph(source);
	return mc_check_overlaps(source);
}

bool hf_contract_compile(struct hf_span text, const char *file_name,
			 struct hf_diagnostics *diagnostics, struct hf_contract **ret,
			 struct hf_err *err) {
	diagnostics->error_count = diagnostics->warning_count = diagnostics->count = 0;
	struct source *source = hf_memory_new(sizeof(*source));
	struct hf_span start = hf_span(text.len > 0 ? (const void *)text.data : "", text.len);
	if (start.len > HF_CONTRACT_TEXT_MAX + 1)
		start.len = HF_CONTRACT_TEXT_MAX + 1;
	if (source == NULL || !mc_source_init(source, start, file_name, diagnostics)) {
		hf_memory_free(source);
		return hf_fail(err, HF_NOMEM, "%s: no memory to compile it", file_name);
	}
	bool nomem = !check_source(source);
	struct hf_contract *contract = NULL;
	bool good = !nomem && diagnostics->error_count == 0 &&
		    mc_build_contract(source, &contract, &nomem);
	mc_diagnostics_sort(diagnostics);
	if (nomem)
		good = hf_fail(err, HF_NOMEM, "%s: no memory to compile it", file_name);
	else if (!good)
		good = first_error(source, err);
	else
		*ret = contract;
	mc_source_fini(source);
	hf_memory_free(source);
	return good;
}

void hf_contract_free(struct hf_contract *contract) {
	if (contract == NULL)
		return;
	struct hf_program *program = contract->program;
	hf_memory_free(program->code);
	hf_memory_free(program->places);
	hf_memory_free(program->consts);
	hf_memory_free(program->bytes);
	hf_memory_free(program->rules);
	hf_memory_free(program->guard_texts);
	hf_memory_free(program->cells);
	hf_memory_free(program->candidates);
	hf_memory_free(program->invariant_texts);
	hf_memory_free(program->state_names.slots);
	hf_memory_free(program->event_names.slots);
	hf_memory_free(program->field_names.slots);
	hf_memory_free(program->drawn_states);
	hf_memory_free(program->drawn_arcs);
	hf_memory_free(program);
	hf_memory_free(contract->states);
	hf_memory_free(contract->events);
	hf_memory_free(contract->fields);
	hf_memory_free(contract->transitions);
	hf_memory_free(contract->text);
	hf_memory_free(contract);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* A name is the first member of what is indexed, NUL-terminated, with HF_NAME_MAX + 1 bytes of
 * room. */
static const char *name_at(const void *names, uint32_t stride, uint32_t index) {
	return (const char *)names + (size_t)index * stride;
}

bool mc_name_table_init(struct name_table *table, uint32_t count, uint32_t stride,
			const void *names) {
	uint32_t size = 4;
	while (size < 2 * count)
		size *= 2;
	table->mask = size - 1;
	table->slots = hf_memory_new(size * sizeof(*table->slots));
	if (table->slots == NULL)
		return false;
	memset(table->slots, 0xff, size * sizeof(*table->slots));
	for (uint32_t i = 0; i < count; i++) {
		const char *name = name_at(names, stride, i);
		uint32_t slot = (uint32_t)XXH3_64bits(name, strlen(name)) & table->mask;
		while (table->slots[slot] != UINT16_MAX)
			slot = (slot + 1) & table->mask;
		table->slots[slot] = (uint16_t)i;
	}
	return true;
}

static int name_table_find(const struct name_table *table, uint32_t stride, const void *names,
			   struct hf_span name) {
	if (name.len == 0 || name.len > HF_NAME_MAX)
		return -1;
	uint32_t slot = (uint32_t)XXH3_64bits(name.data, name.len) & table->mask;
	for (; table->slots[slot] != UINT16_MAX; slot = (slot + 1) & table->mask) {
		const char *other = name_at(names, stride, table->slots[slot]);
		if (hf_bytes_equal(other, name.data, name.len) && other[name.len] == '\0')
			return table->slots[slot];
	}
	return -1;
}

int hf_contract_event(const struct hf_contract *contract, struct hf_span name) {
	return name_table_find(&contract->program->event_names, sizeof(struct hf_event),
			       contract->events, name);
}

int hf_contract_state(const struct hf_contract *contract, struct hf_span name) {
	return name_table_find(&contract->program->state_names, sizeof(struct hf_state),
			       contract->states, name);
}

int hf_contract_field(const struct hf_contract *contract, struct hf_span name) {
	return name_table_find(&contract->program->field_names, sizeof(struct hf_field),
			       contract->fields, name);
}

int hf_event_param(const struct hf_event *event, struct hf_span name) {
	if (name.len > HF_NAME_MAX)
		return -1;
	for (int i = 0; i < event->param_count; i++)
		if (hf_bytes_equal(event->params[i].name, name.data, name.len) &&
		    event->params[i].name[name.len] == '\0')
			return i;
	return -1;
}

/* ---- as drawn ------------------------------------------------------------------------------- */

const struct hf_drawn_state *hf_contract_drawn_states(const struct hf_contract *contract,
						      uint32_t *ret_count) {
	*ret_count = contract->program->drawn_state_count;
	return contract->program->drawn_states;
}

const struct hf_drawn_arc *hf_contract_drawn_arcs(const struct hf_contract *contract,
						  uint32_t *ret_count) {
	*ret_count = contract->program->drawn_arc_count;
	return contract->program->drawn_arcs;
}

uint32_t hf_contract_invariant_count(const struct hf_contract *contract) {
	return contract->program->invariant_count;
}

struct hf_span hf_contract_invariant(const struct hf_contract *contract, uint32_t index) {
	struct slice text = contract->program->invariant_texts[index];
	return hf_span(contract->text + text.at, text.len);
}
