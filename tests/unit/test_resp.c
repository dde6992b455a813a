/* The request parser: what it takes, what it refuses, and that it never needs more than it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/resp.h"

static struct hf_resp_command command;
static struct hf_err err;

/* Parses a copy in a buffer of exactly that size, so that a sanitizer sees any read past it. */
static uint8_t *parsed_bytes;
static enum hf_resp_result parse(const void *bytes, size_t len, size_t *ret_size) {
	free(parsed_bytes);
	parsed_bytes = malloc(len > 0 ? len : 1);
	memcpy(parsed_bytes, bytes, len);
	return hf_resp_parse(parsed_bytes, len, &command, ret_size, &err);
}

static void expect_command(const char *bytes, size_t len, uint32_t argc, const char *const *argv) {
	size_t size;
	assert_int_equal(parse(bytes, len, &size), HF_RESP_COMMAND);
	assert_int_equal(size, len);
	assert_int_equal(command.argc, argc);
	for (uint32_t i = 0; i < argc; i++)
		assert_true(hf_span_is(command.argv[i], argv[i]));
}
#define EXPECT_COMMAND(bytes, ...) \
	do { \
		const char *const argv[] = { __VA_ARGS__ }; \
		expect_command(bytes, sizeof(bytes) - 1, sizeof(argv) / sizeof(argv[0]), argv); \
	} while (0)

static void expect_error(const char *bytes, const char *text) {
	size_t size;
	assert_int_equal(parse(bytes, strlen(bytes), &size), HF_RESP_ERROR);
	assert_string_equal(err.text, text);
}

static void test_arrays(void **state) {
	EXPECT_COMMAND("*1\r\n$4\r\nPING\r\n", "PING");
	EXPECT_COMMAND("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "ECHO", "");
	EXPECT_COMMAND("*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", "ECHO", "\r\n\r\n");
	expect_command("*0\r\n", 4, 0, NULL);
	expect_command("*-1\r\n", 5, 0, NULL);
}

static void test_only_the_first_command_is_taken(void **state) {
	static const char bytes[] = "*1\r\n$4\r\nPING\r\nPING\r\n";
	size_t size;
	assert_int_equal(parse(bytes, sizeof(bytes) - 1, &size), HF_RESP_COMMAND);
	assert_int_equal(size, 14);
}

static void test_inline(void **state) {
	EXPECT_COMMAND("PING\r\n", "PING");
	EXPECT_COMMAND("PING\n", "PING");
	EXPECT_COMMAND("  HF.GET \t order   42  \r\n", "HF.GET", "order", "42");
	expect_command("\r\n", 2, 0, NULL);
	expect_command("   \n", 4, 0, NULL);
}

static void test_inline_quotes(void **state) {
	EXPECT_COMMAND("ECHO \"a b\"\r\n", "ECHO", "a b");
	EXPECT_COMMAND("ECHO ''\r\n", "ECHO", "");
	EXPECT_COMMAND("ECHO \"\"\r\n", "ECHO", "");
	EXPECT_COMMAND("ECHO 'it\\'s \\n'\r\n", "ECHO", "it's \\n");
	EXPECT_COMMAND("ECHO \"\\x41\\x4a\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\n", "ECHO",
		       "AJ\n\r\t\b\a\\\"q");
	EXPECT_COMMAND("ECHO \"\\x4\"\r\n", "ECHO", "x4");
	EXPECT_COMMAND("ECHO a\"b c\"\r\n", "ECHO", "ab c");
	expect_error("ECHO \"a\r\n", "Protocol error: unbalanced quotes in request");
	expect_error("ECHO 'a\r\n", "Protocol error: unbalanced quotes in request");
	expect_error("ECHO \"a\"b\r\n", "Protocol error: unbalanced quotes in request");
	expect_error("ECHO \"a\\\r\n", "Protocol error: unbalanced quotes in request");
}

static void test_protocol_errors(void **state) {
	expect_error("*x\r\n", "Protocol error: invalid multibulk length");
	expect_error("*\r\n", "Protocol error: invalid multibulk length");
	expect_error("*01\r\n", "Protocol error: invalid multibulk length");
	expect_error("*1\rx", "Protocol error: invalid multibulk length");
	expect_error("*+1\r\n", "Protocol error: invalid multibulk length");
	expect_error("*9999999999999999999\r\n", "Protocol error: invalid multibulk length");
	expect_error("*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'");
	expect_error("*1\r\n\x01", "Protocol error: expected '$', got '\\x01'");
	expect_error("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
	expect_error("*1\r\n$x\r\n", "Protocol error: invalid bulk length");
	expect_error("*1\r\n$4\r\nPINGxx",
		     "Protocol error: expected CRLF at the end of a bulk string");
}

/* A length over its limit is refused when it is announced, whatever follows. */
static void test_limits(void **state) {
	expect_error("*10000000\r\n",
		     "Protocol error: invalid multibulk length: 10000000 is over the limit of "
		     "1024 strings");
	expect_error("*1\r\n$1073741824\r\n",
		     "Protocol error: invalid bulk length: 1073741824 is over the limit of "
		     "131072 bytes");
	size_t size;
	static char line[HF_INLINE_MAX + 1];
	memset(line, 'a', sizeof(line));
	assert_int_equal(parse(line, HF_INLINE_MAX - 1, &size), HF_RESP_MORE);
	assert_int_equal(parse(line, HF_INLINE_MAX, &size), HF_RESP_ERROR);
	static char many[3 * (HF_ARGS_MAX + 1) + 1];
	for (uint32_t i = 0; i <= HF_ARGS_MAX; i++)
		memcpy(many + 2 * i, "a ", 3);
	memcpy(many + 2 * (HF_ARGS_MAX + 1), "\n", 2);
	assert_int_equal(parse(many, strlen(many), &size), HF_RESP_ERROR);
	memcpy(many + 2 * HF_ARGS_MAX, "\n", 2);
	assert_int_equal(parse(many, strlen(many), &size), HF_RESP_COMMAND);
	assert_int_equal(command.argc, HF_ARGS_MAX);
}

/* Three strings, each within its limit, but together over the command's. */
static void test_command_limit(void **state) {
	static uint8_t bytes[HF_COMMAND_MAX + 1024];
	size_t len = (size_t)sprintf((char *)bytes, "*3\r\n");
	for (int i = 0; i < 2; i++) {
		len += (size_t)sprintf((char *)bytes + len, "$%u\r\n", HF_BULK_MAX);
		size_t size;
		enum hf_resp_result result = parse(bytes, len, &size);
		assert_int_equal(result, i == 0 ? HF_RESP_MORE : HF_RESP_ERROR);
		memset(bytes + len, 'x', HF_BULK_MAX);
		len += HF_BULK_MAX;
		len += (size_t)sprintf((char *)bytes + len, "\r\n");
	}
	assert_non_null(strstr(err.text, "over the limit of 262144 bytes"));
}

static const char *const samples[] = {
	"*1\r\n$4\r\nPING\r\n",
	"*4\r\n$7\r\nHF.SEND\r\n$5\r\norder\r\n$2\r\n42\r\n$6\r\nCancel\r\n",
	"*3\r\n$6\r\nHF.GET\r\n$5\r\norder\r\n$0\r\n\r\n",
	"*0\r\n",
	"HF.GET order \"4 2\"\r\n",
	"\r\n",
};

/*
 * Every proper beginning needs more, and says a number that is true: more than it has, no more
 * than the whole takes.
 */
static void test_every_truncation_needs_more(void **state) {
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		size_t whole = strlen(samples[i]);
		for (size_t len = 0; len < whole; len++) {
			size_t size;
			assert_int_equal(parse(samples[i], len, &size), HF_RESP_MORE);
			assert_true(size > len && size <= whole);
		}
	}
}

/* Whatever the bytes: no crash, and a result within its contract. */
static void test_noise(void **state) {
	static const char alphabet[] = "*$\r\n0123456789-\"'\\x aPING";
	uint64_t seed = 0x9e3779b97f4a7c15;
	for (int round = 0; round < 200000; round++) {
		uint8_t bytes[64];
		size_t len = 0;
		do {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			bytes[len++] = (uint8_t)alphabet[(seed >> 32) % (sizeof(alphabet) - 1)];
		} while (len < sizeof(bytes) && seed % 32 != 0);
		size_t size;
		enum hf_resp_result result = parse(bytes, len, &size);
		if (result == HF_RESP_COMMAND)
			assert_true(size > 0 && size <= len && command.argc <= HF_ARGS_MAX);
		else if (result == HF_RESP_MORE)
			assert_true(size > len && size <= HF_COMMAND_MAX);
		else
			assert_memory_equal(err.text, "Protocol error: ", 16);
		for (uint32_t i = 0; result == HF_RESP_COMMAND && i < command.argc; i++)
			assert_true(command.argv[i].data >= parsed_bytes &&
				    command.argv[i].data + command.argv[i].len <=
					    parsed_bytes + size);
	}
}

static int free_bytes(void **state) {
	free(parsed_bytes);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_only_the_first_command_is_taken),
		cmocka_unit_test(test_inline),
		cmocka_unit_test(test_inline_quotes),
		cmocka_unit_test(test_protocol_errors),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_command_limit),
		cmocka_unit_test(test_every_truncation_needs_more),
		cmocka_unit_test(test_noise),
	};
	return cmocka_run_group_tests(tests, NULL, free_bytes);
}
