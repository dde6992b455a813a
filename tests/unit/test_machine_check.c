/*
 * The checker: every code that it gives, with the place it points at; and diagrams with which it is content.
 *
 * In the texts, {{ and }} enclose what the diagnostic must underline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "machine/machine.h"

/* ---- one text ---------------------------------------------------------------------------------- */

struct place {
	uint32_t line, column, length;
};

/* Takes the marks out of the text; they say where the diagnostic must be. */
static struct place unmark(char *text, size_t *len) {
	struct place ret = { 0 };
	char *start = strstr(text, "{{"), *end = start != NULL ? strstr(start, "}}") : NULL;
	assert_non_null(end);
	ret.line = 1;
	ret.column = 1;
	for (char *at = text; at < start; at++) {
		ret.line += *at == '\n';
		ret.column = *at == '\n' ? 1 : ret.column + 1;
	}
	ret.length = (uint32_t)(end - start) - 2;
	memmove(end, end + 2, *len - (size_t)(end + 2 - text) + 1);
	memmove(start, start + 2, *len - 2 - (size_t)(start + 2 - text) + 1);
	*len -= 4;
	return ret;
}

static struct hf_diagnostics diagnostics;

static struct hf_contract *compile(const char *text, size_t len, const char *file) {
	struct hf_contract *contract = NULL;
	struct hf_err err;
	bool good = hf_contract_compile(hf_span(text, len), file, &diagnostics, &contract, &err);
	assert_int_equal(good, diagnostics.error_count == 0);
	assert_int_equal(good, contract != NULL);
	if (!good)
		assert_int_equal(err.status, HF_BADCONTRACT);
	return contract;
}

static void fail_with_diagnostics(const char *text) {
	print_error("of this text:\n%s\n", text);
	for (uint32_t i = 0; i < diagnostics.count; i++)
		print_error("%u:%u (%u) %s [%s]\n", diagnostics.items[i].line,
			    diagnostics.items[i].column, diagnostics.items[i].length,
			    diagnostics.items[i].message, diagnostics.items[i].code);
	fail();
}

/* One of the diagnostics has this code, and is where the marks are. */
static void expect(enum hf_severity severity, const char *code, const char *marked) {
	size_t len = strlen(marked);
	char *text = malloc(len + 1);
	assert_non_null(text);
	memcpy(text, marked, len + 1);
	struct place place = unmark(text, &len);
	struct hf_contract *contract = compile(text, len, "test.mmd");
	bool found = false;
	for (uint32_t i = 0; i < diagnostics.count; i++) {
		const struct hf_diagnostic *item = &diagnostics.items[i];
		found |= strcmp(item->code, code) == 0 && item->severity == severity &&
			 item->line == place.line && item->column == place.column &&
			 item->length == place.length && item->message[0] != '\0';
	}
	if (!found) {
		print_error("no %s at %u:%u (%u)\n", code, place.line, place.column, place.length);
		fail_with_diagnostics(text);
	}
	hf_contract_free(contract);
	free(text);
}

static void expect_error(const char *code, const char *marked) {
	expect(HF_SEVERITY_ERROR, code, marked);
}

static void expect_warning(const char *code, const char *marked) {
	expect(HF_SEVERITY_WARNING, code, marked);
}

static void expect_silence(const char *text) {
	struct hf_contract *contract = compile(text, strlen(text), "test.mmd");
	if (diagnostics.count > 0)
		fail_with_diagnostics(text);
	hf_contract_free(contract);
}

/* A life with an end, and room for more. */
#define LIFE(more) "stateDiagram-v2\n[*] --> A\nA --> B : go\nB --> [*]\n" more
/* One transition under test, among fields of each type. */
#define FIELDS                                                                                     \
	"stateDiagram-v2\n%% field u: u64\n%% field i: i64\n%% field b: bool\n%% field s: "        \
	"bytes(4)\n[*] --> A\nB --> [*]\n"
#define STEP(label) FIELDS "A --> B : " label "\n"

/* ---- text and drawing -------------------------------------------------------------------------- */

static void test_outside_the_diagram(void **state) {
	expect_error("header", "{{flowchart TD}}\nA --> B\n");
	expect_error("header", "{{stateDiagram-v3}}\n[*] --> A\n");
	expect_error("encoding", "stateDiagram-v2\n[*] --> A\n{{---}}") ;
}

static void test_front_matter(void **state) {
	expect_error("front-matter", "{{---}}\ntitle: a\nstateDiagram-v2\n");
	expect_error("title", "---\ntitle: {{my order}}\n---\n" LIFE(""));
	expect_error("title", "---\n{{title:}}\n---\n" LIFE(""));
	expect_error("title", "---\ntitle: a\n{{title: b}}\n---\n" LIFE(""));
	expect_silence("---\ntitle: 'my-order' # the name\nconfig:\n  theme: dark\n---\n" LIFE(""));
}

static void test_declarations(void **state) {
	expect_error("declaration", LIFE("%% field qty {{u}}64\n"));
	expect_error("declaration", LIFE("%% field qty: u64 {{too much}}\n"));
	expect_error("declaration", LIFE("%% version {{one}}\n"));
	expect_error("declaration", LIFE("%% version {{0}}\n"));
	expect_error("declaration", LIFE("%% field a: u64\n%% invariant a > 1 {{, a < 9}}\n"));
	expect_error("duplicate", LIFE("%% version 1\n%% version {{2}}\n"));
	expect_error("duplicate", LIFE("%% field a: u64\n%% field {{a}}: i64\n"));
	expect_error("unknown-type", LIFE("%% field a: {{int}}\n"));
	expect_error("unknown-type", LIFE("%% field a: {{bytes(65}})\n"));
	expect_error("unknown-type", LIFE("%% field a: {{bytes(0}})\n"));
	expect_error("reserved-name", LIFE("%% field {{version}}: u64\n"));
	expect_error("reserved-name", LIFE("%% field {{now}}: u64\n"));
	expect_error("directive", LIFE("{{%%{}}init: 1\n"));
	expect_error("invariant-now", LIFE("%% field a: i64\n%% invariant a < {{now}}\n"));
	expect_warning("near-declaration", LIFE("%% {{filed}} qty: u64\n"));
	expect_warning("near-declaration", LIFE("%% {{invariants}} hold\n"));
	expect_warning("near-declaration", LIFE("%% {{Field}} qty: u64\n"));
	expect_silence(LIFE("%% fine words, not declarations\n%%\n%%%%\n"));
}

static void test_statements(void **state) {
	expect_error("syntax", LIFE("A --> B {{:}}\n"));
	expect_error("syntax", LIFE("A --> B : x {{:}}: y\n"));
	expect_error("syntax", LIFE("{{note above A}} : no\n" + 0) );
	expect_error("arrow", LIFE("A {{-}}> B : x\n"));
	expect_error("line-break", LIFE("A -->{{\n}}"));
	expect_error("line-break", LIFE("{{--> B : x}}\n"));
	expect_error("two-statements", LIFE("A --> B {{go}}\n"));
	expect_error("semicolon", LIFE("A --> B : x{{;}}\n"));
	expect_error("semicolon", LIFE("A --> {{B;}}\n"));
	expect_error("comment", LIFE("A --> B : x {{%% not one}}\n"));
	expect_error("entity", LIFE("A --> B : x{{#35;}}\n"));
	expect_error("direction", LIFE("A --> B : {{direction TB}}\n"));
	expect_error("state-name", LIFE("A --> {{B!}} : x\n"));
	expect_error("state-name", LIFE("A --> {{\xc3\xa9}} : x\n"));
	expect_error("state-name", LIFE("A --> in{{-}}flight : x\n"));
	expect_error("state-declaration", LIFE("state A {{with words}}\n"));
	expect_error("alias", LIFE("state \"words\" {{i}}s A\n"));
	expect_error("style", LIFE("classDef {{hot}}\n"));
	expect_error("click", LIFE("click {{A there}}\n"));
	expect_error("acc", LIFE("{{accTitle}}:\n"));
	expect_error("too-long", LIFE("A --> "
				      "{{a23456789012345678901234567890123456789012345678901234567890"
				      "1234}} : x\n"));
}

static void test_composites(void **state) {
	expect_error("brace", LIFE("state C {{{}}\n"));
	expect_error("brace", LIFE("{{}}}\n" + 0));
	expect_error("duplicate", LIFE("A --> C : x\nstate {{C}} {\n[*] --> D\nD --> [*]\n}\nC --> "
				       "[*]\nstate C {\n}\n"));
	expect_error("contains-itself", LIFE("state C {\nD --> {{C}} : x\n}\n"));
	expect_error("two-composites", LIFE("state C {\nD\n}\nstate E {\n{{D}}\n}\n"));
	expect_error("concurrency", LIFE("state C {\nD\n{{--}}\nE\n}\n"));
	expect_error("fork", LIFE("state F {{<<fork>>}}\n"));
	expect_error("fork", LIFE("state F {{[[join]]}}\n"));
	expect_error("initial", LIFE("A --> {{C}} : x\nstate C {\nD --> D : y\n}\nC --> B : z\n"));
	expect_error("initial", LIFE("A --> C : x\nstate C {\n[*] --> D : {{y}}\n}\nC --> B : z\n"));
	expect_error("initial", LIFE("A --> C : x\nstate C {\n[*] --> D\n{{[*] --> E}}\n}\nC --> B : "
				     "z\n"));
	expect_error("inner-end", LIFE("A --> C : x\nstate C {\n[*] --> D\n{{D --> [*]}}\n}\nC --> B : "
				       "z\n"));
	expect_error("inner-end", LIFE("A --> C : x\nstate C {\n[*] --> D\n}\n{{C --> [*]}}\n"));
	expect_error("too-deep", "stateDiagram-v2\nstate A {\nstate B {\nstate C {\nstate D {\nstate E "
				 "{{{}}{") ;
}

/* ---- meaning ----------------------------------------------------------------------------------- */

static void test_beginnings_and_ends(void **state) {
	expect_error("initial", "{{stateDiagram-v2}}\nA --> B : go\nB --> [*]\n");
	expect_error("initial", LIFE("{{[*] --> B}}\n"));
	expect_error("initial", "stateDiagram-v2\n{{[*] --> A}}\n[*] --> B : x\nA --> B : go\nB --> [*]\n");
	expect_error("end", LIFE("{{[*] --> [*]}}\n"));
	expect_error("labelled-end", LIFE("A --> [*] : {{stop}}\n"));
	expect_error("no-event", LIFE("{{A --> B}}\n"));
	expect_error("no-event", LIFE("A --> B : {{[true]}}\n"));
	expect_error("leaves-final", LIFE("{{B --> A}} : back\n"));
	expect_error("unreachable", LIFE("{{C}} --> B : x\n"));
	expect_error("no-end", LIFE("A --> {{C}} : x\nC --> C : y\n"));
	expect_warning("no-end", "{{stateDiagram-v2}}\n[*] --> A\nA --> A : x\n");
}

static void test_choices(void **state) {
	expect_error("choice", LIFE("state {{c}} <<choice>>\nA --> c : x\n"));
	expect_error("choice", LIFE("state c <<choice>>\nA --> c : x\nc --> B : {{y}}\n"));
	expect_error("choice", LIFE("state {{c}} <<choice>>\nA --> c : x\nc --> c : [true]\n"));
	expect_error("choice", "stateDiagram-v2\nstate c <<choice>>\n[*] --> {{c}}\nc --> B\nB --> [*]\n");
	expect_error("unreachable", LIFE("state {{c}} <<choice>>\nc --> B\n"));
	expect_error("no-event", LIFE("state c <<choice>>\n{{A --> c}}\nc --> B\n"));
	expect_error("labelled-end", LIFE("state c <<choice>>\nA --> c : x\n{{c --> [*]}}\n"));
	expect_error("assigned-twice", FIELDS "state c <<choice>>\nA --> c : x / u = 1\nc --> B : / "
					      "{{u}} = 2\n");
	expect_silence(FIELDS "state c <<choice>>\nA --> c : x(n: u64) / u = n\nc --> B : [n > 5] / i = "
			      "1\nc --> A : [else]\n");
}

static void test_labels(void **state) {
	expect_error("event-name", LIFE("A --> B : {{order placed}}\n"));
	expect_error("event-name", LIFE("A --> B : {{9lives}}\n"));
	expect_error("label", STEP("x(n: u64) {{?}}"));
	expect_error("label", STEP("x({{:}} u64)"));
	expect_error("label", STEP("x(n {{u}}64)"));
	expect_error("label", STEP("x(n: u64{{;}}").text + 0) ;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outside_the_diagram),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
