/*
 * Patterns: what each item takes, many patterns at a time, the limits; and that they say the same
 * as a matcher that tries everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/glob.h"

#define RANDOM_PATTERNS 200000u
#define TEXTS_EACH 8u

static struct hf_glob glob;

static void compile(const char *pattern, bool nocase) {
	struct hf_span span = hf_span_of(pattern);
	struct hf_err err;
	assert_true(hf_glob_compile(&glob, &span, 1, nocase, &err));
}

static bool matches(const char *pattern, const char *text, bool nocase) {
	compile(pattern, nocase);
	return hf_glob_matches(&glob, hf_span_of(text));
}

static void test_items(void **state) {
	static const struct {
		const char *pattern, *matched, *others;
	} cases[] = {
		{ "[a-c]", "abc", "-dA" },   { "[c-a]", "abc", "-d" },	 { "[^a-c]", "d-A", "abc" },
		{ "[a-", "a-", "b[" },	     { "[]", "", "a]" },	 { "[^]", "a^", "" },
		{ "[\\a-c]", "a-c", "b\\" }, { "[a\\]b]", "a]b", "\\" }, { "\\?", "?", "a\\" },
		{ "\\", "\\", "a" },	     { "[a-\\]b]", "", "ab\\" }, { "?", "a?\n", "" },
		{ "[", "", "[a" },	     { "[^", "a[", "" },	 { "[-a]", "-a", "b" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2] = "";
		for (const char *at = cases[i].matched; *at != '\0'; at++) {
			text[0] = *at;
			assert_true(matches(cases[i].pattern, text, false));
		}
		for (const char *at = cases[i].others; *at != '\0'; at++) {
			text[0] = *at;
			assert_false(matches(cases[i].pattern, text, false));
		}
	}
	assert_true(matches("MAX[C-m]*S", "maxclientS", true));
	assert_false(matches("MAX*", "maxclients", false));
}

/* ---- beside a matcher that tries everything ---------------------------------------------- */

/* One item of Redis's against one byte; where it ends. */
static const char *try_item(const char *at, char byte, bool *ret) {
	if (*at != '[') {
		bool escaped = *at == '\\' && at[1] != '\0';
		at += escaped;
		*ret = *at == byte || (*at == '?' && !escaped);
		return at + 1;
	}
	bool negated = at[1] == '^', found = false;
	for (at += 1 + negated; *at != '\0' && *at != ']'; at++) {
		if (*at == '\\' && at[1] != '\0') {
			found |= *++at == byte;
		} else if (at[1] == '-' && at[2] != '\0') {
			found |= at[0] <= at[2] ? at[0] <= byte && byte <= at[2]
						: at[2] <= byte && byte <= at[0];
			at += 2;
		} else {
			found |= *at == byte;
		}
	}
	*ret = found != negated;
	return at + (*at != '\0');
}

static bool try_all(const char *pattern, const char *text) {
	bool same;
	if (*pattern == '\0')
		return *text == '\0';
	if (*pattern == '*')
		return try_all(pattern + 1, text) || (*text != '\0' && try_all(pattern, text + 1));
	if (*text == '\0')
		return false;
	const char *rest = try_item(pattern, *text, &same);
	return same && try_all(rest, text + 1);
}

static void make_random(char *text, const char *of, uint32_t max) {
	uint32_t len = (uint32_t)rand() % (max + 1);
	for (uint32_t i = 0; i < len; i++)
		text[i] = of[(uint32_t)rand() % strlen(of)];
	text[len] = '\0';
}

static void test_same_as_trying_everything(void **state) {
	uint32_t matched = 0;
	srand(1);
	for (uint32_t i = 0; i < RANDOM_PATTERNS; i++) {
		char pattern[12], text[12];
		make_random(pattern, "aabcd**?[]^-\\", 10);
		compile(pattern, false);
		for (uint32_t each = 0; each < TEXTS_EACH; each++) {
			make_random(text, "aabcd]^-\\", 6);
			bool wanted = try_all(pattern, text);
			if (hf_glob_matches(&glob, hf_span_of(text)) != wanted)
				fail_msg("'%s' and '%s': not %d", pattern, text, wanted);
			matched += wanted;
		}
	}
	assert_true(matched > RANDOM_PATTERNS / 20);
}

/* ---- lengths ----------------------------------------------------------------------------- */

static void test_limits(void **state) {
	static char pattern[HF_PATTERNS_LEN_MAX + 2], text[HF_PATTERNS_LEN_MAX + 2];
	struct hf_span spans[HF_PATTERNS_MAX + 1];
	struct hf_err err;
	/* Of each length: that its last byte counts, too. */
	for (size_t len = 1; len <= HF_PATTERNS_LEN_MAX; len++) {
		memset(pattern, 'a', len);
		memset(text, 'a', len);
		pattern[len - 1] = 'b';
		assert_false(matches(pattern, text, false));
		text[len - 1] = 'b';
		assert_true(matches(pattern, text, false));
	}
	pattern[HF_PATTERNS_LEN_MAX] = 'b';
	spans[0] = hf_span_of(pattern);
	assert_false(hf_glob_compile(&glob, spans, 1, false, &err));
	assert_string_equal(err.text, "the pattern has 1025 bytes, the limit is 1024");
	/* As many as there may be, with as many bytes, each with an end of its own. */
	size_t each = HF_PATTERNS_LEN_MAX / HF_PATTERNS_MAX;
	for (uint32_t i = 0; i < HF_PATTERNS_MAX; i++) {
		char *bytes = pattern + i * each;
		memset(bytes, '*', each);
		bytes[each - 1] = (char)(128 + i); /* none that means more */
		spans[i] = hf_span(bytes, each);
	}
	spans[HF_PATTERNS_MAX] = hf_span("", 0);
	assert_true(hf_glob_compile(&glob, spans, HF_PATTERNS_MAX, false, &err));
	for (uint32_t last = 0; last < 256; last++) {
		uint8_t end[] = { 'x', (uint8_t)last };
		bool wanted = last >= 128 && last < 128 + HF_PATTERNS_MAX;
		assert_int_equal(hf_glob_matches(&glob, hf_span(end, 2)), wanted);
	}
	assert_false(hf_glob_compile(&glob, spans, HF_PATTERNS_MAX + 1, false, &err));
	assert_string_equal(err.text, "65 patterns: the limit is 64 at a time");
	spans[1] = hf_span(pattern, HF_PATTERNS_LEN_MAX);
	assert_false(hf_glob_compile(&glob, spans, 2, false, &err));
	assert_string_equal(err.text, "the patterns have 1040 bytes, the limit is 1024 at a time");
	assert_true(hf_glob_compile(&glob, spans + HF_PATTERNS_MAX, 1, false, &err));
	assert_true(hf_glob_matches(&glob, hf_span("", 0)));
	assert_false(hf_glob_matches(&glob, hf_span("x", 1)));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_same_as_trying_everything),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
