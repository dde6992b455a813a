/*
 * Hostile texts: whatever the bytes, the compiler ends soon with a contract or with errors that lie
 * within the text; and a contract that it made can be stepped with any values. Seeded, so that a
 * failure can be seen again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "machine/machine.h"

#define ROUNDS 60000u

static uint64_t seed = 20250711;

static uint32_t below(uint32_t limit) {
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % limit;
}

static struct hf_diagnostics diagnostics;
static uint32_t compiled, steps_taken;

/* Steps through states that a walk from the beginning reaches, with values from the edges. */
static void walk(const struct hf_contract *contract) {
	static const uint64_t edges[] = { 0, 1, 5, INT64_MAX, (uint64_t)INT64_MIN, UINT64_MAX };
	uint8_t blocks[2][HF_BLOCK_MAX] = { { 0 } }, bytes[HF_BYTES_MAX];
	uint16_t state = contract->initial;
	memset(bytes, 'x', sizeof(bytes));
	for (uint32_t i = 0; i < 8 && contract->event_count > 0; i++) {
		uint8_t event = (uint8_t)below(contract->event_count);
		struct hf_value params[HF_PARAMS_MAX];
		for (uint32_t j = 0; j < contract->events[event].param_count; j++) {
			const struct hf_param *param = &contract->events[event].params[j];
			params[j].num = param->type == HF_TYPE_BOOL ? below(2) : edges[below(6)];
			params[j].data = bytes;
			params[j].len =
				param->bytes_max > 0 ? (uint8_t)below(param->bytes_max + 1u) : 0;
		}
		struct hf_step step;
		enum hf_verdict verdict =
			hf_contract_step(contract, state, blocks[i % 2], event, params, (int64_t)i,
					 blocks[1 - i % 2], &step);
		char why[200];
		struct hf_text text = hf_text(why, sizeof(why));
		hf_step_explain(contract, state, blocks[i % 2], event, params, (int64_t)i, verdict,
				&step, &text);
		assert_int_equal(verdict == HF_STEP_OK, why[0] == '\0');
		if (verdict == HF_STEP_OK) {
			assert_in_range(step.state, 1, contract->state_count - 1);
			state = step.state;
			steps_taken++;
		} else {
			memcpy(blocks[1 - i % 2], blocks[i % 2], sizeof(blocks[0]));
		}
	}
}

static void compile(const char *text, size_t len) {
	struct hf_contract *contract = NULL;
	struct hf_err err;
	bool good = hf_contract_compile(hf_span(text, len), "hostile.mmd", &diagnostics, &contract,
					&err);
	assert_int_equal(good, diagnostics.error_count == 0);
	for (uint32_t i = 0; i < diagnostics.count; i++) {
		const struct hf_diagnostic *item = &diagnostics.items[i];
		assert_true(item->line >= 1 && item->column >= 1 && item->length >= 1);
		assert_true(item->line <= len + 1 && item->column <= len + 1);
		assert_true(i == 0 || item->line >= item[-1].line);
	}
	if (!good)
		return;
	compiled++;
	walk(contract);
	hf_contract_free(contract);
}

/* ---- mutations ------------------------------------------------------------------------------ */

static const char *const texts[] = {
	"---\ntitle: order\n---\nstateDiagram-v2\n%% version 1\n%% field qty: u64\n%% field "
	"filled: u64\n"
	"%% field price: i64\n%% field symbol: bytes(12)\n%% invariant filled <= qty\n"
	"[*] --> Open : Place(q: u64, p: i64, s: bytes(12)) [q > 0] / qty = q, price = p, symbol = "
	"s\n"
	"Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n"
	"Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n"
	"Open --> Cancelled : Cancel\nFilled --> [*]\nCancelled --> [*]\n",
	"stateDiagram-v2\n%% field n: i64\n%% field b: bool\nstate c <<choice>>\n[*] --> A\n"
	"A --> c : x(k: i64) / b = !b\nc --> W : [k > 5 || b == (n < 3)] / n = max(k, abs(n)) % 7\n"
	"c --> A : [else]\nstate W {\n[*] --> D\nstate \"d e\" as D {\n[*] --> a\na --> b : y\nb "
	"--> [*]\n}\n"
	"D --> [*]\n}\nW --> [*]\nW --> A : z [n / 2 == 1 && now > 0]\n",
	"%%{init: {}}%%\nstateDiagram\ndirection LR\naccTitle: t\naccDescr {\nd\n}\n[*] --> A:::x\n"
	"note left of A : hi\nnote right of A\nmore\nend note\nclassDef x fill:#fff\nclass A "
	"x\nstyle A f:1\n"
	"A --> A : e [u64(now) > 1]\nclick A href \"u\"\nscale 3 width\nhide empty description\nA "
	"--> [*]\n",
};
static const char *const pieces[] = {
	"-->",	    "[*]",	  ":",		":::",
	"{",	    "}",	  "\n",		"(",
	")",	    "[",	  "]",		"/",
	"\"",	    "%%",	  "%%{",	"}%%",
	"#",	    ";",	  "&&",		"||",
	"!",	    "-",	  "0",		"18446744073709551615",
	"state ",   "note ",	  "<<choice>>", "field ",
	"\r\n",	    "invariant ", " as ",	"direction TB",
	"end note", "---\n",	  "\xff",	"\xc3\xa9",
	"else",	    "A",	  "n",		"+=",
};

static size_t mutate(char *text, size_t len, size_t room) {
	size_t at = below((uint32_t)len + 1);
	uint32_t what = below(8);
	if (what < 4) {
		const char *piece = pieces[below(sizeof(pieces) / sizeof(pieces[0]))];
		size_t size = strlen(piece);
		if (len + size > room)
			return len;
		memmove(text + at + size, text + at, len - at);
		memcpy(text + at, piece, size);
		return len + size;
	}
	if (what < 6) {
		size_t size = below(6);
		size = size < len - at ? size : len - at;
		memmove(text + at, text + at + size, len - at - size);
		return len - size;
	}
	if (at < len)
		text[at] = what == 6 ? (char)below(256) : text[below((uint32_t)len)];
	return len;
}

static void mutations(void **state) {
	static char text[4096];
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const char *source = texts[below(3)];
		size_t len = strlen(source);
		memcpy(text, source, len);
		for (uint32_t changes = 1 + below(4); changes > 0; changes--)
			len = mutate(text, len, sizeof(text));
		compile(text, len);
	}
	/* It would prove little if nearly all of them failed early. */
	assert_true(compiled > ROUNDS / 50);
	assert_true(steps_taken > compiled / 4);
}

static void random_bytes(void **state) {
	static char text[600];
	for (uint32_t i = 0; i < ROUNDS / 4; i++) {
		size_t len = below(sizeof(text));
		size_t start = below(2) != 0 ? (size_t)sprintf(text, "stateDiagram-v2\n") : 0;
		for (size_t j = start; j < len; j++)
			text[j] = below(3) == 0 ? (char)below(256)
						: ":->[]*{}()%\n \"AB,;#/"[below(20)];
		compile(text, len > start ? len : start);
	}
}

/* ---- large ones ----------------------------------------------------------------------------- */

/* Of the processor: a busy machine makes no work. */
static double seconds_to_compile(const char *text, size_t len) {
	struct timespec begin, end;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	compile(text, len);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

static double seconds_of(const char *head, const char *piece, const char *tail) {
	static char text[HF_CONTRACT_TEXT_MAX + 64];
	size_t len = (size_t)sprintf(text, "%s", head);
	while (len + strlen(piece) + strlen(tail) <= HF_CONTRACT_TEXT_MAX)
		len += (size_t)sprintf(text + len, "%s", piece);
	len += (size_t)sprintf(text + len, "%s", tail);
	return seconds_to_compile(text, len);
}

#define HEAD "stateDiagram-v2\n[*] --> A\n"
#define GUARD HEAD "%% field u: u64\n%% field b: bool\nA --> A : x ["

static void large_texts_end_soon(void **state) {
	static const char *const cases[][3] = {
		{ "", "(", "" },
		{ "", "\n", "" },
		{ "", "%%{", "" },
		{ "", "%%{a}%%", "" },
		{ "---\n", "title: x\n", "" },
		{ "stateDiagram-v2\n", "note left of A\n\n\n", "" },
		{ "stateDiagram-v2\n", "note left of A", "" },
		{ "stateDiagram-v2\n", "state a{", "" },
		{ "stateDiagram-v2\n", "state a{}", "" },
		{ "stateDiagram-v2\n", "state a{\n}\n", "" },
		{ "stateDiagram-v2\n", "state \"", "" },
		{ "stateDiagram-v2\n", "#a", "" },
		{ "stateDiagram-v2\n", "direction ", "" },
		{ "stateDiagram-v2\n", "accDescr {\n", "" },
		{ HEAD, "A --> A : x\n", "" },
		{ HEAD, "A --> B : x [true]\n", "" },
		{ HEAD, "A-->A:x[now==1]\n", "" },
		{ HEAD "state c <<choice>>\nA --> c : x\n", "c --> c\n", "" },
		{ HEAD "state c <<choice>>\nstate d <<choice>>\nA --> c : x\n",
		  "c --> d\nd --> A\n", "" },
		{ GUARD, "(", "" },
		{ GUARD, "-", "" },
		{ GUARD, "!", "b]\n" },
		{ GUARD, "b||", "b]\n" },
		{ GUARD, "u+", "u > 0]\n" },
		{ GUARD "b", "&&(b||u>1)", "]\n" },
		{ GUARD "true]\nA --> A : x [b", "&&(u<1||u>2)", "]\n" },
		{ HEAD "A --> A : x(", "a:u64,", "b:u64)\n" },
		{ HEAD "A --> A : x /", "a=1,", "b=2\n" },
		{ HEAD, "%% field a: u64\n", "" },
		{ HEAD, "%% invariant true\n", "" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double seconds = seconds_of(cases[i][0], cases[i][1], cases[i][2]);
		if (seconds > 5)
			fail_msg("\"%s...%s\" took %.1f s", cases[i][0], cases[i][1], seconds);
	}
}

/* A long guard before a choice with many ways out, which are compared with one another. */
static void choices_are_bounded(void **state) {
	static char text[HF_CONTRACT_TEXT_MAX];
	size_t len = (size_t)sprintf(text, HEAD
				     "%%%% field u: u64\nstate c <<choice>>\nA --> c : x [u > 1");
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(text + len, " && (u * u > %d || u * u * u < 4)", i);
	len += (size_t)sprintf(text + len, "] / u = 2\nA --> c : y\n");
	for (int i = 0; i < 1500; i++)
		len += (size_t)sprintf(text + len,
				       i % 2 == 0 ? "c --> A : [u * 3 == %d]\n" : "c --> A\n", i);
	assert_true(seconds_to_compile(text, len) < 6);
}

/* Guards whose every way is full of facts: the search is short, what it looks at is not. None can
 * hold, but that is no error where it is not proven. */
static void proofs_are_bounded(void **state) {
	static char text[HF_CONTRACT_TEXT_MAX];
	size_t len = (size_t)sprintf(text, HEAD "%%%% field u: u64\n");
	for (int i = 0; i < 63; i++)
		len += (size_t)sprintf(text + len, "%%%% field f%d: bytes(4)\n", i);
	for (int event = 0; event < 8; event++) {
		len += (size_t)sprintf(text + len, "A --> A : bytes%d [f0 != f0", event);
		for (int i = 0; i < 43; i++)
			len += (size_t)sprintf(text + len, " && f%d == f%d", i, i + 1);
		for (int i = 44; i < 62; i++)
			len += (size_t)sprintf(text + len, " && (f%d == \"q\" || f%d == \"r\")", i,
					       i);
		len += (size_t)sprintf(text + len, "]\n");
	}
	double seconds = seconds_to_compile(text, len);
	assert_int_equal(diagnostics.error_count, 0);
	for (int event = 0; event < 8; event++) {
		len = (size_t)sprintf(text, HEAD "%%%% field u: u64\nA --> A : x [u - u > 0");
		for (int i = 0; i < 200; i++)
			len += (size_t)sprintf(text + len, " && u <= %d", 900 + event + i);
		for (int i = 0; i < 20; i++)
			len += (size_t)sprintf(text + len, " && (u > %d || u < %d)", i + 5, i + 2);
		len += (size_t)sprintf(text + len, "]\n");
		seconds += seconds_to_compile(text, len);
	}
	assert_true(seconds < 6);
}

/* Names that nobody declared, judged again for each event that comes to their choice. */
static void unknown_names_are_bounded(void **state) {
	static const char tail[] = "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdef";
	static char text[HF_CONTRACT_TEXT_MAX];
	size_t len = (size_t)sprintf(text, HEAD "state c <<choice>>\n");
	for (int i = 0; i < 64; i++)
		len += (size_t)sprintf(text + len, "%%%% field f%04d%s: u64\n", i, tail);
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(text + len, "A --> c : e%d\n", i);
	for (int i = 0; i < 800; i++)
		len += (size_t)sprintf(text + len, "%sg%04d%s%s",
				       i % 100 == 0 ? "c --> A : [" : "+", i, tail,
				       i % 100 == 99 ? " > 1]\n" : "");
	assert_true(seconds_to_compile(text, len) < 6);
	assert_string_equal(diagnostics.items[0].code, "unknown-name");
}

/* Many states within composites, each left by many arrows: flattening must stop at its limit. */
static void flattening_is_bounded(void **state) {
	static char text[HF_CONTRACT_TEXT_MAX];
	size_t len = (size_t)sprintf(text, "stateDiagram-v2\n[*] --> C\nstate C {\n[*] --> s0\n");
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(text + len, "s%d --> s%d : go\n", i, (i + 1) % 200);
	len += (size_t)sprintf(text + len, "}\n");
	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(text + len, "C --> C : e%d\n", i);
	compile(text, len);
	assert_string_equal(diagnostics.items[diagnostics.count - 1].code, "too-many");
	/* And ways through choices. */
	len = (size_t)sprintf(text, HEAD "%%%% field b: bool\nA --> c0 : x\n");
	for (int i = 0; i < 8; i++) {
		len += (size_t)sprintf(text + len, "state c%d <<choice>>\n", i);
		for (int j = 0; j < 8; j++)
			len += (size_t)sprintf(text + len,
					       i == 7 ? "c%d --> A : [b]\n" : "c%d --> c%d : [b]\n",
					       i, i + 1);
	}
	compile(text, len);
	assert_true(diagnostics.error_count > 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutations),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(large_texts_end_soon),
		cmocka_unit_test(choices_are_bounded),
		cmocka_unit_test(proofs_are_bounded),
		cmocka_unit_test(unknown_names_are_bounded),
		cmocka_unit_test(flattening_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
