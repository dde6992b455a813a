/*
 * The RESP parser: no bytes may make it read past them, and what it says of a beginning must agree
 * with what it says of the whole.
 */
#include "base/assert.h"
#include "server/resp.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parses the first `len` bytes in memory of just that size, so that reading past them is caught. */
static enum hf_resp_result parse(const uint8_t *data, size_t len, size_t *ret_size) {
	static struct hf_resp_command command;
	struct hf_err err;
	uint8_t *copy = malloc(len + 1);
	HF_ASSERT(copy != NULL);
	uint8_t *buf = copy + 1;
	memcpy(buf, data, len);
	enum hf_resp_result result = hf_resp_parse(buf, len, &command, ret_size, &err);
	if (result == HF_RESP_COMMAND) {
		HF_ASSERT(*ret_size > 0 && *ret_size <= len && *ret_size <= HF_COMMAND_MAX);
		HF_ASSERT(command.argc <= HF_ARGS_MAX);
		for (uint32_t i = 0; i < command.argc; i++) {
			struct hf_span arg = command.argv[i];
			HF_ASSERT(arg.len == 0 ||
				  (arg.data >= buf && arg.data + arg.len <= buf + *ret_size));
		}
	}
	if (result == HF_RESP_MORE)
		HF_ASSERT(*ret_size > len && *ret_size <= HF_COMMAND_MAX);
	if (result == HF_RESP_ERROR)
		HF_ASSERT(err.text[0] != '\0');
	free(copy);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	size_t at = 0, taken = 0, wanted;
	enum hf_resp_result whole = HF_RESP_MORE;
	while (at < size && (whole = parse(data + at, size - at, &taken)) == HF_RESP_COMMAND) {
		HF_ASSERT(parse(data + at, taken, &wanted) == HF_RESP_COMMAND && wanted == taken);
		HF_ASSERT(parse(data + at, taken - 1, &wanted) == HF_RESP_MORE && wanted <= taken);
		HF_ASSERT(parse(data + at, taken / 2, &wanted) == HF_RESP_MORE && wanted <= taken);
		at += taken;
	}
	if (at < size && whole == HF_RESP_MORE)
		HF_ASSERT(parse(data + at, (size - at) / 2, &wanted) == HF_RESP_MORE);
	return 0;
}
