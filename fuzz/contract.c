/*
 * Contracts: any text compiles or is refused with positions that are in it; and a contract that
 * compiles can be stepped with any params, twice with the same outcome.
 *
 * Input: the text; after a NUL, if there is one, bytes that choose events and their params.
 */
#include "base/assert.h"
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t take(struct hf_span *bytes, size_t len) {
	uint64_t value = 0;
	for (; len > 0 && bytes->len > 0; len--) {
		value = value << 8 | bytes->data[0];
		*bytes = hf_span(bytes->data + 1, bytes->len - 1);
	}
	return value;
}

static void choose_params(const struct hf_event *event, struct hf_span *bytes,
			  struct hf_value *params) {
	static const uint8_t letters[HF_BYTES_MAX] = "abcdefgh";
	for (uint8_t i = 0; i < event->param_count; i++) {
		const struct hf_param *param = &event->params[i];
		bool wide = take(bytes, 1) % 4 == 0;
		uint64_t num = take(bytes, wide ? 8 : 1);
		params[i] = (struct hf_value){ .num = param->type == HF_TYPE_BOOL ? num & 1 : num };
		if (param->type == HF_TYPE_BYTES)
			params[i] = (struct hf_value){
				.data = letters, .len = (uint8_t)(num % (param->bytes_max + 1u))
			};
	}
}

static void explain(const struct hf_contract *contract, uint16_t state, const uint8_t *block,
		    uint8_t event, const struct hf_value *params, enum hf_verdict verdict,
		    const struct hf_step *step) {
	char buf[HF_ERR_TEXT_MAX];
	struct hf_text text = hf_text(buf, sizeof(buf));
	hf_step_explain(contract, state, block, event, params, 7, verdict, step, &text);
	HF_ASSERT(text.len > 0 && strlen(buf) == text.len);
}

/* One life, of as many events as the bytes last for. */
static void live(const struct hf_contract *contract, struct hf_span bytes) {
	_Alignas(8) uint8_t block[HF_BLOCK_MAX] = { 0 }, next[HF_BLOCK_MAX], again[HF_BLOCK_MAX];
	uint16_t state = contract->initial;
	for (int i = 0; i < STEPS_MAX && contract->event_count > 0; i++) {
		struct hf_value params[HF_PARAMS_MAX];
		struct hf_step step, step_again;
		uint8_t event = (uint8_t)(take(&bytes, 1) % contract->event_count);
		choose_params(&contract->events[event], &bytes, params);
		enum hf_verdict verdict =
			hf_contract_step(contract, state, block, event, params, 7, next, &step);
		HF_ASSERT(hf_contract_step(contract, state, block, event, params, 7, again,
					   &step_again) == verdict);
		if (verdict != HF_STEP_OK) {
			explain(contract, state, block, event, params, verdict, &step);
			continue;
		}
		HF_ASSERT(step.state == step_again.state && step.state < contract->state_count);
		HF_ASSERT(step.transition < contract->transition_count);
		HF_ASSERT(memcmp(next, again, contract->block_size) == 0);
		memcpy(block, next, contract->block_size);
		state = step.state;
	}
}

static void check_diagnostics(const struct hf_diagnostics *diagnostics, struct hf_span text) {
	uint32_t lines = 1; /* which end with \n, \r\n or \r */
	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n' || text.data[i] == '\r';
	HF_ASSERT(diagnostics->count <= HF_DIAGNOSTICS_MAX);
	for (uint32_t i = 0; i < diagnostics->count; i++) {
		const struct hf_diagnostic *item = &diagnostics->items[i];
		HF_ASSERT(item->line >= 1 && item->line <= lines);
		HF_ASSERT(item->column >= 1 && item->column <= text.len + 1 && item->length >= 1);
		HF_ASSERT(item->code[0] != '\0' && item->message[0] != '\0');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct hf_diagnostics diagnostics;
	const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t len = nul != NULL ? (size_t)(nul - data) : size;
	uint8_t *copy = malloc(len + 1); /* of just that size, so that reading past it is caught */
	HF_ASSERT(copy != NULL);
	if (len > 0)
		memcpy(copy + 1, data, len);
	struct hf_span text = hf_span(copy + 1, len);
	struct hf_contract *contract, *again;
	struct hf_err err;
	bool good = hf_contract_compile(text, "fuzz.mmd", &diagnostics, &contract, &err);
	check_diagnostics(&diagnostics, text);
	HF_ASSERT(good == (diagnostics.error_count == 0));
	if (good) {
		HF_ASSERT(hf_contract_compile(text, "fuzz.mmd", &diagnostics, &again, &err));
		HF_ASSERT(memcmp(contract->hash, again->hash, sizeof(contract->hash)) == 0);
		live(contract, nul != NULL ? hf_span(nul + 1, size - len - 1) : hf_span(NULL, 0));
		hf_contract_free(again);
		hf_contract_free(contract);
	} else {
		HF_ASSERT(err.status == HF_BADCONTRACT && err.text[0] != '\0');
	}
	free(copy);
	return 0;
}
