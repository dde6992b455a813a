/*
 * The checker: every code that it gives, with the place it points at; and diagrams with which it is
 * content.
 *
 * In the texts, @ and $ enclose what the diagnostic must underline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/machine.h"

/* All codes; the last test fails if one of them was not provoked by the others. */
static const char *const codes[] = {
	"acc",
	"alias",
	"arrow",
	"assigned-twice",
	"brace",
	"choice",
	"click",
	"comment",
	"concurrency",
	"contains-itself",
	"declaration",
	"direction",
	"directive",
	"duplicate",
	"encoding",
	"end",
	"entity",
	"event-name",
	"expression",
	"fork",
	"front-matter",
	"header",
	"initial",
	"inner-end",
	"invariant-now",
	"label",
	"labelled-end",
	"leaves-final",
	"line-break",
	"literal",
	"near-declaration",
	"never-holds",
	"never-taken",
	"no-end",
	"no-event",
	"overlap",
	"reserved-name",
	"semicolon",
	"signature",
	"state-declaration",
	"state-name",
	"style",
	"syntax",
	"title",
	"too-deep",
	"too-long",
	"too-many",
	"two-composites",
	"two-statements",
	"type",
	"unknown-name",
	"unknown-type",
	"unreachable",
};
#define CODES (sizeof(codes) / sizeof(codes[0]))
static bool seen[CODES];

/* ---- one text ------------------------------------------------------------------------------- */

struct place {
	uint32_t line, column, length;
};

/* Takes the marks out of the text; they say where the diagnostic must be. */
static struct place unmark(char *text, size_t *len) {
	struct place ret = { .line = 1, .column = 1 };
	char *start = strchr(text, '@'), *end = start != NULL ? strchr(start, '$') : NULL;
	assert_non_null(end);
	for (char *at = text; at < start; at++) {
		ret.line += *at == '\n';
		ret.column = *at == '\n' ? 1 : ret.column + 1;
	}
	ret.length = end - start > 1 ? (uint32_t)(end - start) - 1 : 1;
	memmove(end, end + 1, (size_t)(text + *len - end));
	memmove(start, start + 1, (size_t)(text + *len - 1 - start));
	*len -= 2;
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

static void fail_showing(const char *text) {
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
		fail_showing(text);
	}
	for (size_t i = 0; i < CODES; i++)
		seen[i] |= strcmp(codes[i], code) == 0;
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
		fail_showing(text);
	hf_contract_free(contract);
}

/* A life with an end, and room for more. */
#define LIFE(more) "stateDiagram-v2\n[*] --> A\nA --> B : go\nB --> [*]\n" more
/* Transitions among fields of each type. */
#define FIELDS(more) \
	"stateDiagram-v2\n%% field u: u64\n%% field i: i64\n%% field b: bool\n" \
	"%% field s: bytes(4)\n[*] --> A\nB --> [*]\n" more
#define STEP(label) FIELDS("A --> B : " label "\n")
#define TWO(first, second) FIELDS("A --> A : " first "\nA --> B : " second "\n")

/* ---- text and drawing ----------------------------------------------------------------------- */

static void outside_the_diagram(void **state) {
	expect_error("header", "@flowchart TD$\nA --> B\n");
	expect_error("header", "@stateDiagram-v3$\n[*] --> A\n");
	expect_error("header", "@statediagram-v2$\n[*] --> A\n");
	expect_error("header", "@$");
	expect_error("directive", LIFE("@%%{$init: 1\n"));
	expect_error("directive", LIFE("@%%{$init: word more}%%\n"));
	expect_silence("%%{init: {\"theme\": \"dark\"}}%%\n" LIFE("%%{\nwrap }%%\n"));
}

static void nul_bytes(void **state) {
	static const char text[] = "stateDiagram-v2\n[*] --> A\nA --> B\0 : go\nB --> [*]\n";
	assert_null(compile(text, sizeof(text) - 1, "test.mmd"));
	assert_string_equal(diagnostics.items[0].code, "encoding");
	assert_int_equal(diagnostics.items[0].line, 3);
	assert_int_equal(diagnostics.items[0].column, 8);
	for (size_t i = 0; i < CODES; i++)
		seen[i] |= strcmp(codes[i], "encoding") == 0;
}

static void front_matter(void **state) {
	expect_error("front-matter", "@---$\ntitle: a\nstateDiagram-v2\n");
	expect_error("title", "---\ntitle: @my order$\n---\n" LIFE(""));
	expect_error("title", "---\ntitle: @123$\n---\n" LIFE(""));
	assert_non_null(strstr(diagnostics.items[0].help, "the first a letter or _"));
	expect_error("title", "---\n@title:$\n---\n" LIFE(""));
	expect_error("title", "---\ntitle: a\n@title: b$\n---\n" LIFE(""));
	expect_silence("---\ntitle: 'my-order' # the name\nconfig:\n  theme: dark\n---\n" LIFE(""));
}

static void titles_that_are_not_read(void **state) {
	static const char *const texts[] = {
		"---\n\n# a comment\n  @title: order$\n  config: x\n---\n" LIFE(""),
		"---\nconfig: x\n@title : order$\n---\n" LIFE(""),
		"---\n@\"title\": order$\n---\n" LIFE(""),
		"---\n  @'title' :$\n---\n" LIFE(""),
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		expect_warning("title", texts[i]);
		assert_int_equal(diagnostics.count, 1);
	}
	expect_silence("---\ntitle: a\nconfig:\n  title: order\n  title : b\n---\n" LIFE(""));
	expect_silence("---\ntitles: a\nsub title: b\ntitle\n:\n\"title\n---\n" LIFE(""));
}

static void name_from_the_file(void **state) {
	const char *text = LIFE("");
	struct hf_contract *contract = compile(text, strlen(text), "some/where/my-order.v2.mmd");
	assert_string_equal(contract->name, "my-order.v2");
	hf_contract_free(contract);
	assert_null(compile(text, strlen(text), "some/where/my order.mmd"));
	assert_string_equal(diagnostics.items[0].code, "title");
}

static void declarations(void **state) {
	expect_error("declaration", LIFE("%% field qty @u$64\n"));
	expect_error("declaration", LIFE("%% field qty: u64 @too much$\n"));
	expect_error("declaration", LIFE("%% version @one$\n"));
	expect_error("declaration", LIFE("%% version @0$\n"));
	expect_error("declaration", LIFE("%% version@$\n"));
	expect_error("declaration", LIFE("%% version @9223372036854775808$\n"));
	expect_silence(LIFE("%% version 9223372036854775807\n"));
	expect_error("declaration", LIFE("%% field a: u64\n%% invariant a > 1 @, a < 9$\n"));
	expect_error("duplicate", LIFE("%% version 1\n%% version @2$\n"));
	expect_error("duplicate", LIFE("%% field a: u64\n%% field @a$: i64\n"));
	expect_error("unknown-type", LIFE("%% field a: @int$\n"));
	expect_error("unknown-type", LIFE("%% field a:@$\n"));
	expect_error("unknown-type", LIFE("%% field a: @bytes(65$)\n"));
	expect_error("unknown-type", LIFE("%% field a: @bytes(0$)\n"));
	expect_error("reserved-name", LIFE("%% field @version$: u64\n"));
	expect_error("reserved-name", LIFE("%% field @now$: u64\n"));
	expect_warning("reserved-name", LIFE("%% field @else$: bool\nA --> A : x [(else)]\n"));
	assert_int_equal(diagnostics.count, 1);
	expect_warning("reserved-name", LIFE("A --> A : x(@else$: bool) [else == true]\n"));
	assert_int_equal(diagnostics.count, 1);
	expect_error("invariant-now", LIFE("%% field a: i64\n%% invariant a < @now$\n"));
	expect_error("type", LIFE("%% field a: i64\n%% invariant @a + 1$\n"));
	expect_warning("near-declaration", LIFE("%% @filed$ qty: u64\n"));
	expect_warning("near-declaration", LIFE("%% @invariants$ hold\n"));
	expect_warning("near-declaration", LIFE("%% @Field$ qty: u64\n"));
	expect_silence(LIFE("%% fine words, not declarations\n%%\n%%%%\n"));
	expect_silence(LIFE("note right of A\n%% field a: u64\nend note\nB %% field c: u64\n"));
}

static void statements(void **state) {
	expect_error("syntax", LIFE("A --> B @:$\n"));
	expect_error("syntax", LIFE("A --> B : x @:$: y\n"));
	expect_error("syntax", LIFE("note @above A : no$\n"));
	expect_error("syntax", LIFE("note left of A : one@:$ two\n"));
	expect_error("syntax", LIFE("note @left of A$\nwithout an end\n"));
	expect_error("syntax", LIFE("scale @350$\n"));
	expect_error("syntax", LIFE("A --> @default : x$\n"));
	expect_error("arrow", LIFE("A @-$> B : x\n"));
	expect_error("line-break", LIFE("A -->@$\n"));
	expect_error("line-break", LIFE("@--> B : x$\n"));
	expect_error("two-statements", LIFE("A --> B @go$\n"));
	expect_error("semicolon", LIFE("A --> B : x@;$\n"));
	expect_error("semicolon", LIFE("A --> @B;$\n"));
	expect_error("comment", LIFE("A --> B : x @%% not one$\n"));
	expect_error("entity", LIFE("A --> B : x@#35;$\n"));
	expect_error("direction", LIFE("A --> B : @direction TB$\n"));
	expect_warning("direction",
		       LIFE("A --> B : x_@direction$ \n\n LRx --> B : y\nA --> LRx : z\n"));
	assert_int_equal(diagnostics.count, 1);
	expect_silence(
		LIFE("A --> A : a_direction\nA --> B : b_direction\nA --> TB : x\nTB --> B : y\n"));
	expect_error("state-name", LIFE("A --> @B!$ : x\n"));
	expect_error("state-name", LIFE("A --> @\xc3\xa9$ : x\n"));
	expect_error("state-name", LIFE("@A\xc2\xa0$ --> B : x\n"));
	assert_non_null(strstr(diagnostics.items[0].message, "A<no-break space> cannot be"));
	expect_error("state-name", LIFE("A --> in@-$flight : x\n"));
	expect_error("state-declaration", LIFE("state A @with words$\n"));
	expect_error("alias", LIFE("state \"words\" @i$s A\n"));
	expect_error("style", LIFE("classDef @hot$\n"));
	expect_error("click", LIFE("click @A there$\n"));
	expect_error("acc", LIFE("@accTitle$:\n"));
	expect_error("too-long",
		     LIFE("@a23456789012345678901234567890123456789012345678901234567890"
			  "1234$ --> B : x\n"));
}

static void composites(void **state) {
	expect_error("brace", LIFE("state C @{$\n"));
	expect_error("brace", LIFE("@}$\n"));
	expect_error("syntax", LIFE("C @{$\n}\n"));
	expect_error("duplicate", LIFE("state @C$ {\nD\n}\nstate C {\nE\n}\n"));
	expect_error("contains-itself", LIFE("state C {\nD --> @C$ : x\n}\n"));
	expect_error("two-composites", LIFE("state C {\nD\n}\nstate E {\n@D$\n}\n"));
	expect_error("concurrency", LIFE("state C {\nD\n@--$\nE\n}\n"));
	expect_error("fork", LIFE("state F @<<fork>>$\n"));
	expect_error("fork", LIFE("state F @[[join]]$\n"));
	expect_error("initial", LIFE("A --> @C$ : x\nstate C {\nD --> D : y\n}\nC --> B : z\n"));
	expect_error("initial", LIFE("state C {\n[*] --> D : @y$\n}\n"));
	expect_error("initial", LIFE("state C {\n[*] --> D\n@[*] --> E$\n}\n"));
	expect_error("inner-end", LIFE("state C {\n[*] --> D\n@D --> [*]$\n}\n"));
	expect_error("inner-end", LIFE("state C {\n[*] --> D\n}\n@C --> [*]$\n"));
}

static void deep_composites(void **state) {
	char text[2048] = "stateDiagram-v2\n";
	size_t len = strlen(text);
	for (int i = 0; i < 65; i++)
		len += (size_t)sprintf(text + len, "state s%d %s{%s\n", i, i == 64 ? "@" : "",
				       i == 64 ? "$" : "");
	expect_error("too-deep", text);
}

/* ---- meaning -------------------------------------------------------------------------------- */

static void beginnings_and_ends(void **state) {
	expect_error("initial", "@stateDiagram-v2$\nA --> B : go\nB --> [*]\n");
	expect_error("initial", LIFE("@[*] --> B$\n"));
	expect_error("initial", "stateDiagram-v2\n@[*] --> A$\n[*] --> B : x\nA --> B : go\n");
	expect_error("end", LIFE("@[*] --> [*]$\n"));
	expect_error("labelled-end", LIFE("A --> [*] : @stop$\n"));
	expect_error("no-event", LIFE("@A --> B$\n"));
	expect_error("no-event", LIFE("A --> B : @[true]$\n"));
	expect_error("no-event", "stateDiagram-v2\n[*] --> A : @[true]$\n");
	expect_error("leaves-final", LIFE("@B --> A$ : back\n"));
	expect_error("leaves-final",
		     LIFE("A --> C : x\nstate C {\n[*] --> D\nD --> [*]\n}\nC --> [*]\n"
			  "@C --> A$ : back\n"));
	expect_error("unreachable", LIFE("@C$ --> B : x\n"));
	expect_error("unreachable", LIFE("@C$ --> [*]\n"));
	/* A later version may retire a state: nothing leads to it, but out of it. */
	expect_warning("unreachable", LIFE("%% version 2\n@C$ --> B : x\n"));
	expect_warning("unreachable", LIFE("%% version 2\n@C$ --> [*]\n"));
	expect_warning("unreachable", LIFE("%% version 2\nA --> D : x\nstate D {\n[*] --> E\n"
					   "@C$ --> E : y\n}\nD --> B : z\n"));
	expect_error("unreachable", LIFE("%% version 2\n@C$ --> C : x\n"));
	expect_error("unreachable", LIFE("%% version 2\nstate @C$\n"));
	expect_error("unreachable", LIFE("%% version 2\nstate @c$ <<choice>>\nc --> B\n"));
	expect_error("no-end", LIFE("A --> @C$ : x\nC --> C : y\n"));
	expect_warning("no-end", "@stateDiagram-v2$\n[*] --> A\nA --> A : x\n");
}

static void choices(void **state) {
	expect_error("choice", LIFE("state @c$ <<choice>>\nA --> c : x\n"));
	expect_error("choice", LIFE("state c <<choice>>\nA --> c : x\nc --> B : @y$\n"));
	expect_error("choice", LIFE("state @c$ <<choice>>\nA --> c : x\nc --> c : [true]\n"));
	expect_error("choice", "stateDiagram-v2\nstate c <<choice>>\n[*] --> @c$\nc --> B\n");
	expect_error("unreachable", LIFE("state @c$ <<choice>>\nc --> B\n"));
	expect_error("no-event", LIFE("state c <<choice>>\n@A --> c$\nc --> B\n"));
	expect_error("labelled-end", LIFE("state c <<choice>>\nA --> c : x\n@c --> [*]$\n"));
	expect_error("assigned-twice", FIELDS("state c <<choice>>\nA --> c : x / u = 1\n"
					      "c --> B : / @u$ = 2\n"));
	expect_silence(FIELDS("state c <<choice>>\nA --> c : x(n: u64) / u = n\n"
			      "c --> B : [n > 5] / i = 1\nc --> A : [else]\n"));
	expect_error("unknown-name", FIELDS("state c <<choice>>\nA --> c : x(n: u64)\n"
					    "A --> c : y\nc --> B : [@n$ > 5]\n"));
}

/* What logged texts may have, and is surely not meant. */
static void params_behind_a_choice(void **state) {
	expect_warning("choice", LIFE("state c <<choice>>\nA --> c : x(n: u64)\n"
				      "c --> B : @(n: bool, m: i64)$ [n > 1]\nc --> A : ()\n"));
	assert_int_equal(diagnostics.error_count, 0);
	assert_int_equal(diagnostics.warning_count, 1);
}

static void labels(void **state) {
	expect_error("event-name", LIFE("A --> B : @order placed$\n"));
	expect_error("event-name", LIFE("A --> B : @9lives$\n"));
	expect_error("label", STEP("x(n: u64 @?$)"));
	expect_error("label", STEP("x(@:$ u64)"));
	expect_error("label", STEP("x(n @u$64)"));
	expect_error("label", STEP("x [u > 0@$"));
	expect_error("label", STEP("x / u @:$ 1"));
	expect_error("label", STEP("x / u =@=$ 1"));
	expect_error("label", STEP("x / u = 1 @i$ = 2"));
	expect_error("reserved-name", STEP("x(@Id$: u64)"));
	expect_error("reserved-name", STEP("x(@IFVERSION$: u64)"));
	expect_error("duplicate", STEP("x(n: u64, @n$: u64)"));
	expect_error("duplicate", STEP("x(@u$: u64)"));
	expect_error("signature", TWO("x(n: u64) [n < 5]", "x@(n: i64)$ [n > 7]"));
	expect_error("signature", TWO("x(n: u64) [n < 5]", "@x$ [u > 7]"));
	expect_error("signature", TWO("x [u < 5]", "x@(n: u64)$ [u > 7]"));
}

/* ---- expressions ---------------------------------------------------------------------------- */

static void expressions(void **state) {
	expect_error("expression", STEP("x [u > @]$"));
	expect_error("expression", STEP("x [u @=$ 1]"));
	expect_error("expression", STEP("x [u > 1 @&$ b]"));
	expect_error("expression", STEP("x [(u > 1@]$"));
	expect_error("expression", STEP("x [min(u@)$ > 1]"));
	expect_error("literal", STEP("x [u > @007$]"));
	expect_error("literal", STEP("x [u > @18446744073709551616$]"));
	expect_error("literal", STEP("x [i > @9223372036854775808$]"));
	expect_error("literal", STEP("x [u > @-1$]"));
	expect_error("literal", STEP("x [s == @\"open]$"));
	expect_silence(STEP("x [u < u64(18446744073709551615)] / u = u64(18446744073709551615)"));
	expect_error("literal", STEP("x [i > i64(@18446744073709551615$)]"));
	expect_error("literal", STEP("x / u = u64(@18446744073709551615$ - 1)"));
	expect_error("unknown-name", STEP("x [@v$ > 1]"));
	expect_error("unknown-name", STEP("x [@sqrt$(u) > 1]"));
	expect_error("unknown-name", STEP("x / @v$ = 1"));
	expect_error("type", STEP("x [@u < i$]"));
	expect_error("type", STEP("x [@u$]"));
	expect_error("type", STEP("x [!@u$]"));
	expect_error("type", STEP("x [-@u$ == 1]"));
	expect_error("type", STEP("x [b @<$ true]"));
	expect_error("type", STEP("x [@s == \"12345\"$]"));
	expect_error("type", STEP("x / u = @b$"));
	expect_error("type", STEP("x / u = @i$"));
	expect_error("type", STEP("x(t: bytes(5)) / s = @t$"));
	expect_error("type", STEP("x / s = @\"12345\"$"));
	expect_error("assigned-twice", STEP("x / u = 1, @u$ += 2"));
	expect_silence(
		STEP("x(n: i64) [n > -9223372036854775808 && u64(n) + 1 < max(u, 5) && "
		     "i % 2 == abs(i) && !b && s != \"a\" && now > 5] / u += 1, i = -n, b = u > "
		     "3, s = \"abcd\""));
}

static void deep_expressions(void **state) {
	char text[4096] = FIELDS("A --> B : x [");
	size_t len = strlen(text);
	for (int i = 0; i < 64; i++)
		text[len++] = '(';
	strcpy(text + len, "@u$ > 1\n");
	expect_error("too-deep", text);
	strcpy(text, FIELDS("A --> B : x [0"));
	for (int i = 0; i < 256; i++)
		strcat(text, i == 255 ? " @+$ 1" : " + 1");
	expect_error("too-deep", text);
}

/* As docs/contract-language.md counts: the last that is good, and the first that is not. */
static void nearly_too_deep(void **state) {
	static const struct {
		const char *first, *more, *last;
		int count;
	} chains[] = {
		{ "x / u = u", " + u", "\n", 129 }, { "x / u += u", " + u", "\n", 128 },
		{ "x [u", " + u", " > 1]\n", 128 }, { "x [b", " && b", "]\n", 255 },
		{ "x [", "!", "b]\n", 63 },
	};
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		char text[4096] = FIELDS("A --> B : ");
		strcat(text, chains[i].first);
		for (int k = 0; k < chains[i].count; k++)
			strcat(text, chains[i].more);
		size_t len = strlen(text);
		strcat(text, chains[i].last);
		expect_silence(text);
		strcpy(strcpy(text + len, chains[i].more) + strlen(chains[i].more), chains[i].last);
		assert_null(compile(text, strlen(text), "test.mmd"));
		assert_string_equal(diagnostics.items[0].code, i < 3 ? "too-many" : "too-deep");
	}
}

static void too_many(void **state) {
	char *text = malloc(200000);
	assert_non_null(text);
	size_t len = (size_t)sprintf(text, "%s", LIFE(""));
	for (int i = 0; i < 65; i++)
		len += (size_t)sprintf(text + len,
				       i == 64 ? "%%%% field @f%d$: u64\n"
					       : "%%%% field f%d: u64\n",
				       i);
	strcpy(text + strlen(text), "%% field one too\n");
	expect_error("too-many", text);
	assert_int_equal(diagnostics.error_count, 1);
	len = (size_t)sprintf(text, "%s", LIFE(""));
	for (int i = 0; i < 65; i++)
		len += (size_t)sprintf(text + len, "%%%% invariant %s\n",
				       i == 64 ? "@true$\n%% field one too" : "true");
	expect_error("too-many", text);
	assert_int_equal(diagnostics.error_count, 1);
	len = (size_t)sprintf(text, "%s", LIFE(""));
	for (int i = 0; i < 255; i++)
		len += (size_t)sprintf(text + len,
				       i == 254 ? "A --> A : @e%d$\n" : "A --> A : e%d\n", i);
	expect_error("too-many", text);
	len = (size_t)sprintf(text, "%s", LIFE(""));
	for (int i = 0; i < 1022; i++)
		len += (size_t)sprintf(text + len, i == 1021 ? "@s%d$\n" : "s%d\n", i);
	expect_error("too-many", text);
	len = (size_t)sprintf(text, "%s", LIFE("A --> B : x("));
	for (int i = 0; i < 33; i++)
		len += (size_t)sprintf(text + len, i == 32 ? "@p%d$: u64)\n" : "p%d: u64, ", i);
	expect_error("too-many", text);
	memset(text, ' ', 65537);
	text[0] = '@';
	text[2] = '$';
	text[65539] = '\0';
	memset(text + 65537, ' ', 2);
	expect_error("too-many", text);
	free(text);
}

/* ---- guards that overlap -------------------------------------------------------------------- */

static void overlaps(void **state) {
	expect_error("never-holds", STEP("x [@u < 0$]"));
	expect_error("never-holds", STEP("x [@u > 5 && u < 6$]"));
	expect_error("never-holds", STEP("x [@s == \"a\" && s == \"b\"$]"));
	expect_error("never-holds", STEP("x [@b && !b$]"));
	expect_error("never-taken", TWO("x", "@x [u > 1]$"));
	expect_error("never-taken", TWO("x [u > 1]", "@x [u > 2]$"));
	expect_error("never-taken", TWO("x [else]", "@x [u > 2]$"));
	expect_warning("overlap", TWO("x [u > 1]", "@x [u < 9]$"));
	expect_warning("overlap", TWO("x [u > 1]", "@x$"));
	expect_warning("overlap", TWO("x [u * u > 9]", "@x [u < 9]$"));
	expect_warning("overlap", TWO("x [s == \"a\"]", "@x [s != \"b\"]$"));
}

/* What no path with one event or from one state does, another may. */
static void an_arrow_behind_a_choice_has_several_paths(void **state) {
#define SHARED(lines) \
	"stateDiagram-v2\n%% field last: u64\nstate size <<choice>>\n[*] --> Open : go\n" lines
#define BY_TWO \
	"Open --> size : Small(n: u64) [n < 10] / last = n\n" \
	"Open --> size : Big(n: u64) [n >= 10] / last = n\n"
	static const char *const alive[] = {
		SHARED(BY_TWO "size --> Review : [n > 100]\nsize --> Done : [else]\n"),
		SHARED(BY_TWO "size --> Tiny : [n < 10]\nsize --> Review : [n < 50]\n"
			      "size --> Done : [else]\n"),
		SHARED("Open --> Held : Hold\nOpen --> size : Judge(n: u64) [n < 10]\n"
		       "Held --> size : Judge(n: u64)\nsize --> Review : [n > 100]\n"
		       "size --> Done : [else]\n"),
	};
#define ENDS "size --> Done : [else]\nReview --> [*]\nDone --> [*]\n"
	static const struct {
		const char *text;
		uint32_t line; /* of the only error */
	} dead[] = {
		{ SHARED(BY_TWO "size --> Review : [n > 9 && n < 5]\n" ENDS), 7 },
		{ SHARED("Open --> size : Small(n: u64) [n < 10 && n > 20]\n"
			 "Open --> size : Big(n: u64)\nsize --> Review : [n > 100]\n" ENDS),
		  5 },
	};
	for (size_t i = 0; i < sizeof(alive) / sizeof(alive[0]); i++) {
		struct hf_contract *contract = compile(alive[i], strlen(alive[i]), "test.mmd");
		if (contract == NULL)
			fail_showing(alive[i]);
		hf_contract_free(contract);
	}
	for (size_t i = 0; i < sizeof(dead) / sizeof(dead[0]); i++) {
		assert_null(compile(dead[i].text, strlen(dead[i].text), "test.mmd"));
		assert_string_equal(diagnostics.items[0].code, "never-holds");
		assert_int_equal(diagnostics.items[0].line, dead[i].line);
	}
}

static void proven_apart(void **state) {
	expect_silence(TWO("x(n: u64) [n > 0 && u + n < 5]", "x(n: u64) [u + n == 5]"));
	expect_silence(TWO("x [u > 1]", "x [else]"));
	expect_silence(TWO("x [u < 5 || u > 9]", "x [u >= 5 && u <= 9]"));
	expect_silence(TWO("x [s == \"a\"]", "x [s == \"b\"]"));
	expect_silence(TWO("x [s == \"a\"]", "x [s != \"a\"]"));
	expect_silence(TWO("x [b]", "x [!b]"));
	expect_silence(TWO("x [b == true]", "x [b != true]"));
	expect_silence(TWO("x [2 * i < 7]", "x [i >= 4]"));
	expect_silence(TWO("x [u / 3 == 1]", "x [u / 3 == 2]"));
	expect_silence(TWO("x(t: bytes(4)) [s == t]", "x(t: bytes(4)) [t != s]"));
	expect_silence(TWO("x(d: i64) [now < d]", "x(d: i64) [now >= d]"));
}

/* The prover's work is bounded: it says perhaps, and the checker warns. */
static void hard_guards(void **state) {
	char text[8192] = FIELDS("A --> A : x [(i < 0 || i > 9)");
	for (int i = 1; i < 40; i++)
		sprintf(text + strlen(text), " && (i * %d < 0 || u > %d)", i + 1, i);
	strcat(text, "]\nA --> B : x [i < 5]\n");
	hf_contract_free(compile(text, strlen(text), "test.mmd"));
	assert_int_equal(diagnostics.error_count, 0);
}

static void several_at_once(void **state) {
	const char *text = LIFE("A --> B\nA --> [*] : x\nA --> C : y\n");
	assert_null(compile(text, strlen(text), "test.mmd"));
	assert_int_equal(diagnostics.error_count, 2);
	assert_int_equal(diagnostics.items[0].line, 5);
	assert_int_equal(diagnostics.items[1].line, 6);
}

static void every_code_is_tested(void **state) {
	for (size_t i = 0; i < CODES; i++)
		if (!seen[i])
			fail_msg("no test provokes %s", codes[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outside_the_diagram),
		cmocka_unit_test(nul_bytes),
		cmocka_unit_test(front_matter),
		cmocka_unit_test(titles_that_are_not_read),
		cmocka_unit_test(name_from_the_file),
		cmocka_unit_test(declarations),
		cmocka_unit_test(statements),
		cmocka_unit_test(composites),
		cmocka_unit_test(deep_composites),
		cmocka_unit_test(beginnings_and_ends),
		cmocka_unit_test(choices),
		cmocka_unit_test(params_behind_a_choice),
		cmocka_unit_test(labels),
		cmocka_unit_test(expressions),
		cmocka_unit_test(deep_expressions),
		cmocka_unit_test(nearly_too_deep),
		cmocka_unit_test(too_many),
		cmocka_unit_test(overlaps),
		cmocka_unit_test(an_arrow_behind_a_choice_has_several_paths),
		cmocka_unit_test(proven_apart),
		cmocka_unit_test(hard_guards),
		cmocka_unit_test(several_at_once),
		cmocka_unit_test(every_code_is_tested),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
