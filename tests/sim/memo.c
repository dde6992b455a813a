#include "memo.h"

#include <string.h>

#include "machine/machine.h"
#include "os/sim/sim.h"

#define MEMOS_MAX 8u

/* What src/machine is compiled as here (meson.build). */
bool real_contract_compile(struct hf_span text, const char *file_name,
			   struct hf_diagnostics *diagnostics, struct hf_contract **ret,
			   struct hf_err *err);
void real_contract_free(struct hf_contract *contract);

static struct {
	struct hf_contract *contract;
	uint8_t text[HF_CONTRACT_TEXT_MAX];
	size_t len;
} memos[MEMOS_MAX];

static uint32_t memo_count;
static bool memo_on;

void memo_set(bool on) {
	memo_on = on;
}

bool hf_contract_compile(struct hf_span text, const char *file_name,
			 struct hf_diagnostics *diagnostics, struct hf_contract **ret,
			 struct hf_err *err) {
	if (!memo_on)
		return real_contract_compile(text, file_name, diagnostics, ret, err);
	diagnostics->error_count = diagnostics->warning_count = diagnostics->count = 0;
	for (uint32_t i = 0; i < memo_count; i++) {
		if (!hf_span_equal(text, hf_span(memos[i].text, memos[i].len)))
			continue;
		*ret = memos[i].contract;
		return true;
	}
	sim_keep_memory(true);
	bool ok = real_contract_compile(text, file_name, diagnostics, ret, err);
	sim_keep_memory(false);
	if (ok && memo_count < MEMOS_MAX) {
		memos[memo_count].contract = *ret;
		memos[memo_count].len = text.len;
		memcpy(memos[memo_count++].text, text.data, text.len);
	}
	return ok;
}

void hf_contract_free(struct hf_contract *contract) {
	for (uint32_t i = 0; i < memo_count; i++)
		if (memos[i].contract == contract)
			return;
	real_contract_free(contract);
}
