#include "compile_once.h"

#include "machine/machine.h"

bool __real_hf_contract_compile(struct hf_span text, const char *file_name,
				struct hf_diagnostics *diagnostics, struct hf_contract **ret,
				struct hf_err *err);
bool __wrap_hf_contract_compile(struct hf_span text, const char *file_name,
				struct hf_diagnostics *diagnostics, struct hf_contract **ret,
				struct hf_err *err);
void __real_hf_contract_free(struct hf_contract *contract);
void __wrap_hf_contract_free(struct hf_contract *contract);

/* The wrapped calls have no argument of ours. */
static struct {
	struct hf_span text;
	struct hf_contract *contract; /* NULL: not compiled yet */
} once;

void hf_compile_once(struct hf_span text) {
	once.text = text;
}

bool __wrap_hf_contract_compile(struct hf_span text, const char *file_name,
				struct hf_diagnostics *diagnostics, struct hf_contract **ret,
				struct hf_err *err) {
	bool known = hf_span_equal(text, once.text);
	if (known && once.contract != NULL) {
		diagnostics->error_count = diagnostics->warning_count = diagnostics->count = 0;
		*ret = once.contract;
		return true;
	}
	bool good = __real_hf_contract_compile(text, file_name, diagnostics, ret, err);
	if (known && good)
		once.contract = *ret;
	return good;
}

void __wrap_hf_contract_free(struct hf_contract *contract) {
	if (contract == NULL || contract != once.contract)
		__real_hf_contract_free(contract);
}
