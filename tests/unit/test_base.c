/*
 * src/base: numbers as the wire spells them, and texts that are cut, never overrun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/span.h"

static void test_u64(void **state) {
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "10", 10 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		"",
		"-1",
		"+1",
		"01",
		"00",
		" 1",
		"1 ",
		"1a",
		"0x10",
		"1.0",
		"18446744073709551616",
		"99999999999999999999",
		"100000000000000000000",
	};
	uint64_t value;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(hf_span_u64(hf_span_of(good[i].text), &value));
		assert_true(value == good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		value = 42;
		assert_false(hf_span_u64(hf_span_of(bad[i]), &value));
		assert_int_equal(value, 42);
	}
	assert_false(hf_span_u64(hf_span("1\0", 2), &value));
}

static void test_i64(void **state) {
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{ "0", 0 },
		{ "-1", -1 },
		{ "9223372036854775807", INT64_MAX },
		{ "-9223372036854775808", INT64_MIN },
	};
	static const char *const bad[] = {
		"", "-", "-0", "--1", "+1", "-01", "9223372036854775808", "-9223372036854775809",
	};
	int64_t value;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(hf_span_i64(hf_span_of(good[i].text), &value));
		assert_true(value == good[i].value);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hf_span_i64(hf_span_of(bad[i]), &value));
}

static void test_compare(void **state) {
	assert_true(hf_span_is(hf_span_of("order"), "order"));
	assert_false(hf_span_is(hf_span_of("order"), "orders"));
	assert_true(hf_span_is(hf_span(NULL, 0), ""));
	assert_true(hf_span_is_nocase(hf_span_of("Hf.SenD"), "hf.send"));
	assert_false(hf_span_is_nocase(hf_span_of("hf.sen"), "hf.send"));
	assert_false(hf_span_is_nocase(hf_span_of("hf.sendx"), "hf.send"));
	assert_false(hf_span_is_nocase(hf_span("hf\0", 3), "hf"));
}

static void test_text_is_cut(void **state) {
	struct {
		char buf[16];
		char behind;
	} memory = { .behind = '!' };
	struct hf_text text = hf_text(memory.buf, sizeof(memory.buf));
	hf_text_add(&text, "%s", "fifteen bytes!!");
	assert_string_equal(memory.buf, "fifteen bytes!!");
	assert_int_equal(text.len, 15);
	hf_text_add(&text, "%s", "?");
	assert_string_equal(memory.buf, "fifteen byte...");
	assert_int_equal(text.len, 15);
	hf_text_add(&text, "%s", "more");
	assert_string_equal(memory.buf, "fifteen byte...");
	assert_int_equal(memory.behind, '!');
}

static void test_quoted(void **state) {
	char buf[64];
	struct hf_text text = hf_text(buf, sizeof(buf));
	hf_text_add_quoted(&text, hf_span("a\0\"\\\n\x7f~", 7), 7);
	assert_string_equal(buf, "a\\x00\\x22\\x5c\\x0a\\x7f~");
	text = hf_text(buf, sizeof(buf));
	hf_text_add_quoted(&text, hf_span_of("abcdef"), 3);
	assert_string_equal(buf, "abc...");
}

static void test_copy_is_cut(void **state) {
	char buf[4];
	hf_text_copy(buf, sizeof(buf), "abcd");
	assert_string_equal(buf, "abc");
	hf_text_copy(buf, sizeof(buf), "xy");
	assert_string_equal(buf, "xy");
}

static void test_numbered_names(void **state) {
	static const char *const bad[] = { "",
					   "log-",
					   "log-0123456789abcde.x",
					   "log-0123456789abcdef.xy",
					   "log-0123456789abcdef.",
					   "log-0123456789ABCDEF.x",
					   "log-0x23456789abcdef.x",
					   "log 0123456789abcdef.x",
					   "log-0123456789abcdeg.x" };
	char buf[32];
	uint64_t number;
	assert_string_equal(hf_numbered_name("log-", 0x123456789abcdef, ".x", buf),
			    "log-0123456789abcdef.x");
	assert_true(hf_numbered_name_get(buf, "log-", ".x", &number));
	assert_int_equal(number, 0x123456789abcdef);
	hf_numbered_name("", UINT64_MAX, "", buf);
	assert_true(hf_numbered_name_get(buf, "", "", &number));
	assert_true(number == UINT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hf_numbered_name_get(bad[i], "log-", ".x", &number));
}

static void test_err(void **state) {
	struct hf_err err;
	assert_false(hf_fail(&err, HF_TOOBIG, "key of %u bytes", 300u));
	assert_int_equal(err.status, HF_TOOBIG);
	assert_string_equal(err.text, "key of 300 bytes");
	assert_false(hf_fail_sys(&err, 2, "cannot open %s", "x"));
	assert_int_equal(err.status, HF_IO);
	assert_string_equal(err.text, "cannot open x: No such file or directory");
	assert_string_equal(hf_status_name(HF_NOMEM), "NOMEM");
	assert_string_equal(hf_status_name((enum hf_status)99), "UNKNOWN");
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_i64),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_text_is_cut),
		cmocka_unit_test(test_quoted),
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_numbered_names),
		cmocka_unit_test(test_copy_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
