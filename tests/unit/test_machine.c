/* The step and what goes with it: values, explanations, composites and choices taken apart, new
 * versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/machine.h"

/* An entity under a contract. */
struct life {
	struct hf_contract *contract;
	uint16_t state;
	uint8_t block[HF_BLOCK_MAX];
	struct hf_step step;
	enum hf_verdict verdict;
	char why[512];
};

static struct hf_contract *compile(const char *text) {
	struct hf_diagnostics diagnostics;
	struct hf_contract *contract = NULL;
	struct hf_err err;
	if (!hf_contract_compile(hf_span_of(text), "test.mmd", &diagnostics, &contract, &err))
		fail_msg("%s", err.text);
	return contract;
}

static struct life begin(const char *text) {
	struct life ret = { .contract = compile(text) };
	ret.state = ret.contract->initial;
	return ret;
}

static void end(struct life *life) {
	hf_contract_free(life->contract);
}

/* Sends `event` with params spelled as on the wire: "name=value name=value". */
static enum hf_verdict send_at(struct life *life, int64_t now_ns, const char *event,
			       const char *params) {
	struct hf_value values[HF_PARAMS_MAX];
	char text[512], *rest = text;
	uint8_t out[HF_BLOCK_MAX];
	struct hf_err err;
	int index = hf_contract_event(life->contract, hf_span_of(event));
	assert_true(index >= 0);
	const struct hf_event *declared = &life->contract->events[index];
	snprintf(text, sizeof(text), "%s", params);
	uint32_t count = 0;
	for (char *pair; (pair = strsep(&rest, " ")) != NULL && pair[0] != '\0'; count++) {
		char *value = strchr(pair, '=');
		assert_non_null(value);
		int param = hf_event_param(declared, hf_span(pair, (size_t)(value - pair)));
		assert_int_equal(param, count);
		if (!hf_value_parse(declared->params[param].type, declared->params[param].bytes_max,
				    hf_span_of(value + 1), &values[param], &err))
			fail_msg("%s", err.text);
	}
	assert_int_equal(count, declared->param_count);
	life->verdict = hf_contract_step(life->contract, life->state, life->block, (uint8_t)index,
					 values, now_ns, out, &life->step);
	struct hf_text why = hf_text(life->why, sizeof(life->why));
	hf_step_explain(life->contract, life->state, life->block, (uint8_t)index, values, now_ns,
			life->verdict, &life->step, &why);
	if (life->verdict == HF_STEP_OK) {
		life->state = life->step.state;
		memcpy(life->block, out, life->contract->block_size);
	}
	return life->verdict;
}

static enum hf_verdict send(struct life *life, const char *event, const char *params) {
	return send_at(life, 0, event, params);
}

static void is_in(const struct life *life, const char *state) {
	assert_string_equal(life->contract->states[life->state].name, state);
}

static void has(const struct life *life, const char *field, const char *text) {
	char buf[65];
	int index = hf_contract_field(life->contract, hf_span_of(field));
	assert_true(index >= 0);
	struct hf_value value = hf_field_value(&life->contract->fields[index], life->block);
	buf[hf_value_format(life->contract->fields[index].type, &value, buf)] = '\0';
	assert_string_equal(buf, text);
}

#define ORDER \
	"---\ntitle: order\n---\nstateDiagram-v2\n%% version 1\n%% field qty: u64\n" \
	"%% field filled: u64\n%% field price: i64\n%% field symbol: bytes(12)\n" \
	"%% invariant filled <= qty\n" \
	"[*] --> Open : Place(q: u64, p: i64, s: bytes(12)) [q > 0] / qty = q, price = p, " \
	"symbol = s\n" \
	"Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n" \
	"Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n" \
	"Open --> Cancelled : Cancel\nFilled --> [*]\nCancelled --> [*]\n"
/* One state with fields of each type, and the given self transitions. */
#define LOOP(lines) \
	"stateDiagram-v2\n%% field u: u64\n%% field v: u64\n%% field i: i64\n%% field b: bool\n" \
	"%% field s: bytes(4)\n%% field t: bytes(7)\n[*] --> A\n" lines
#define ON(label) "A --> A : " label "\n"

/* ---- the order ------------------------------------------------------------------------------ */

static void order(void **state) {
	struct life life = begin(ORDER);
	assert_string_equal(life.contract->name, "order");
	assert_int_equal(life.contract->version, 1);
	assert_int_equal(life.contract->state_count, 4);
	assert_int_equal(life.contract->initial, HF_STATE_NEW);
	assert_int_equal(life.contract->block_size, 40);
	assert_int_equal(send(&life, "Fill", "n=1"), HF_STEP_NOT_ALLOWED);
	assert_int_equal(send(&life, "Place", "q=0 p=-5 s=AAPL"), HF_STEP_GUARD);
	assert_int_equal(send(&life, "Place", "q=10 p=-5 s=AAPL"), HF_STEP_OK);
	is_in(&life, "Open");
	has(&life, "price", "-5");
	has(&life, "symbol", "AAPL");
	assert_int_equal(send(&life, "Fill", "n=4"), HF_STEP_OK);
	is_in(&life, "Open");
	assert_int_equal(send(&life, "Fill", "n=7"), HF_STEP_GUARD);
	assert_string_equal(life.why,
			    "Fill needs [n > 0 && filled + n < qty] or [filled + n == qty], "
			    "with n = 7, filled = 4, qty = 10");
	assert_int_equal(send(&life, "Fill", "n=18446744073709551615"), HF_STEP_ARITHMETIC);
	assert_string_equal(life.why, "Fill overflows in filled + n, with filled = 4, n = "
				      "18446744073709551615");
	assert_int_equal(send(&life, "Fill", "n=6"), HF_STEP_OK);
	is_in(&life, "Filled");
	has(&life, "filled", "10");
	assert_true(life.contract->states[life.state].final);
	assert_int_equal(send(&life, "Fill", "n=1"), HF_STEP_NOT_ALLOWED);
	assert_string_equal(life.why, "Fill is allowed from Open");
	assert_int_equal(send(&life, "Place", "q=1 p=1 s="), HF_STEP_NOT_ALLOWED);
	assert_string_equal(life.why, "Place is allowed as the first event");
	end(&life);
}

static void undeclared(void **state) {
	struct life life = begin("stateDiagram-v2\n"
				 "    [*] --> Created\n"
				 "    Created --> PartiallyFilled: OrderPlaced\n"
				 "    PartiallyFilled --> Filled: MatchComplete\n"
				 "    PartiallyFilled --> Cancelled: CancelRequested\n"
				 "    Filled --> [*]\n"
				 "    Cancelled --> [*]\n");
	assert_string_equal(life.contract->name, "test");
	assert_int_equal(life.contract->block_size, 0);
	is_in(&life, "Created");
	assert_int_equal(send(&life, "MatchComplete", ""), HF_STEP_NOT_ALLOWED);
	assert_string_equal(
		life.why,
		"MatchComplete is allowed from PartiallyFilled; allowed now: OrderPlaced");
	life.state = HF_STATE_NEW; /* as good as the beginning that the diagram draws */
	assert_int_equal(send(&life, "OrderPlaced", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "CancelRequested", ""), HF_STEP_OK);
	is_in(&life, "Cancelled");
	end(&life);
}

static void allowed_in_several_places(void **state) {
	struct life life = begin("stateDiagram-v2\nA --> B : x\nB --> C : x\n[*] --> A : x\n"
				 "C --> A : y\nD --> C : x\nA --> D : y\n");
	assert_int_equal(send(&life, "x", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "x", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "x", ""), HF_STEP_OK);
	is_in(&life, "C");
	assert_int_equal(send(&life, "x", ""), HF_STEP_NOT_ALLOWED);
	assert_string_equal(
		life.why,
		"x is allowed from A or B or as the first event or from D; allowed now: y");
	end(&life);
}

/* ---- semantics ------------------------------------------------------------------------------ */

static void effects_read_old_values(void **state) {
	struct life life = begin(LOOP(ON("set(a: u64, c: u64) / u = a, v = c") ON(
		"swap / u = v, v = u") ON("move(n: u64) / u -= n, v += u")));
	assert_int_equal(send(&life, "set", "a=7 c=2"), HF_STEP_OK);
	assert_int_equal(send(&life, "swap", ""), HF_STEP_OK);
	has(&life, "u", "2");
	has(&life, "v", "7");
	assert_int_equal(send(&life, "move", "n=1"), HF_STEP_OK);
	has(&life, "u", "1");
	has(&life, "v", "9");
	end(&life);
}

static void first_that_holds_wins(void **state) {
	struct life life = begin(LOOP(ON("x(n: u64) [n < 10] / u = 1") ON(
		"x(n: u64) [n < 20] / u = 2") ON("x(n: u64) [else] / u = 3")));
	static const char *const sent[] = { "n=5", "n=15", "n=25" }, *const wanted[] = { "1", "2",
											 "3" };
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(&life, "x", sent[i]), HF_STEP_OK);
		has(&life, "u", wanted[i]);
		assert_int_equal(life.step.transition, i);
	}
	end(&life);
}

static void conditions_stop_early(void **state) {
	struct life life = begin(LOOP(ON("and(n: u64) [n != 0 && 10 / n > 1]") ON(
		"or(n: u64) [n == 0 || 10 / n > 1]") ON("both(n: u64) [10 / n > 1 && n != 0]")));
	assert_int_equal(send(&life, "and", "n=0"), HF_STEP_GUARD);
	assert_int_equal(send(&life, "or", "n=0"), HF_STEP_OK);
	assert_int_equal(send(&life, "both", "n=0"), HF_STEP_ARITHMETIC);
	assert_string_equal(life.why, "both divides by zero in 10 / n, with n = 0");
	end(&life);
}

/* A guard that cannot be judged is not skipped: a later transition does not get its turn. */
static void arithmetic_in_a_guard_refuses(void **state) {
	struct life life =
		begin(LOOP(ON("x(n: u64) [n + 1 < 5]") ON("x(n: u64) [n + 1 >= 5] / u = 1")));
	assert_int_equal(send(&life, "x", "n=18446744073709551615"), HF_STEP_ARITHMETIC);
	assert_int_equal(life.step.transition, 0);
	assert_int_equal(send(&life, "x", "n=18446744073709551614"), HF_STEP_OK);
	end(&life);
}

struct sum {
	const char *label;
	const char *params;
	const char *result; /* of u or i; NULL: arithmetic */
};

#define U64_MOST "18446744073709551615"
#define I64_MOST "9223372036854775807"
#define I64_LEAST "-9223372036854775808"

static void check_sums(const struct sum *sums, size_t count, const char *type, const char *field) {
	for (size_t i = 0; i < count; i++) {
		char text[512];
		snprintf(text, sizeof(text), "%sA --> A : x(a: %s, c: %s) / %s = %s\n", LOOP(""),
			 type, type, field, sums[i].label);
		struct life life = begin(text);
		enum hf_verdict verdict = send(&life, "x", sums[i].params);
		if (verdict != (sums[i].result == NULL ? HF_STEP_ARITHMETIC : HF_STEP_OK))
			fail_msg("%s with %s: verdict %d", sums[i].label, sums[i].params, verdict);
		has(&life, field, sums[i].result == NULL ? "0" : sums[i].result);
		end(&life);
	}
}

static void arithmetic_u64(void **state) {
	static const struct sum sums[] = {
		{ "a + c", "a=" U64_MOST " c=0", U64_MOST },
		{ "a + c", "a=" U64_MOST " c=1", NULL },
		{ "a - c", "a=5 c=5", "0" },
		{ "a - c", "a=5 c=6", NULL },
		{ "a * c", "a=4294967296 c=4294967295", "18446744069414584320" },
		{ "a * c", "a=4294967296 c=4294967296", NULL },
		{ "a / c", "a=" U64_MOST " c=2", I64_MOST },
		{ "a / c", "a=1 c=0", NULL },
		{ "a % c", "a=7 c=4", "3" },
		{ "a % c", "a=7 c=0", NULL },
		{ "min(a, c)", "a=" U64_MOST " c=1", "1" },
		{ "max(a, c)", "a=" U64_MOST " c=1", U64_MOST },
		{ "u64(i64(a))", "a=" I64_MOST " c=0", I64_MOST },
		{ "u64(i64(a))", "a=9223372036854775808 c=0", NULL },
		{ "a + c * 2 - 1", "a=1 c=3", "6" },
		{ "(a + c) * 2", "a=1 c=3", "8" },
		{ "a - c - 1", "a=9 c=3", "5" },
		{ "18446744073709551615 - a", "a=1 c=0", "18446744073709551614" },
	};
	check_sums(sums, sizeof(sums) / sizeof(sums[0]), "u64", "u");
}

static void arithmetic_i64(void **state) {
	static const struct sum sums[] = {
		{ "a + c", "a=" I64_MOST " c=1", NULL },
		{ "a + c", "a=" I64_LEAST " c=-1", NULL },
		{ "a + c", "a=" I64_MOST " c=" I64_LEAST, "-1" },
		{ "a - c", "a=" I64_LEAST " c=1", NULL },
		{ "a - c", "a=-1 c=" I64_LEAST, I64_MOST },
		{ "a * c", "a=" I64_LEAST " c=-1", NULL },
		{ "a * c", "a=-3037000499 c=3037000499", "-9223372030926249001" },
		{ "a / c", "a=-7 c=2", "-3" },
		{ "a / c", "a=" I64_LEAST " c=-1", NULL },
		{ "a / c", "a=1 c=0", NULL },
		{ "a % c", "a=-7 c=2", "-1" },
		{ "a % c", "a=" I64_LEAST " c=-1", "0" },
		{ "a % c", "a=1 c=0", NULL },
		{ "-a", "a=" I64_MOST " c=0", "-9223372036854775807" },
		{ "-a", "a=" I64_LEAST " c=0", NULL },
		{ "abs(a)", "a=-7 c=0", "7" },
		{ "abs(a)", "a=" I64_LEAST " c=0", NULL },
		{ "min(a, c)", "a=-1 c=1", "-1" },
		{ "max(a, c)", "a=-1 c=1", "1" },
		{ "i64(u64(a))", "a=-1 c=0", NULL },
		{ "-9223372036854775808 + a", "a=0 c=0", I64_LEAST },
		{ "-(a + 1) * -c", "a=1 c=3", "6" },
	};
	check_sums(sums, sizeof(sums) / sizeof(sums[0]), "i64", "i");
}

static void comparisons_are_of_their_type(void **state) {
	struct life life =
		begin(LOOP(ON("x(n: u64) [n > 5] / b = true") ON("y(n: i64) [n > 5] / b = true")
				   ON("z(n: i64) / b = n <= -1 || n == 3 && !(n != 3)")));
	assert_int_equal(send(&life, "x", "n=" U64_MOST), HF_STEP_OK);
	assert_int_equal(send(&life, "y", "n=-1"), HF_STEP_GUARD);
	assert_int_equal(send(&life, "z", "n=-1"), HF_STEP_OK);
	has(&life, "b", "true");
	assert_int_equal(send(&life, "z", "n=2"), HF_STEP_OK);
	has(&life, "b", "false");
	assert_int_equal(send(&life, "z", "n=3"), HF_STEP_OK);
	has(&life, "b", "true");
	end(&life);
}

static void bools(void **state) {
	struct life life = begin(LOOP(ON("set(p: bool) / b = p") ON("flip / b = !b")
					      ON("same(p: bool) [b == p]") ON("on [b] / u += 1")));
	assert_int_equal(send(&life, "on", ""), HF_STEP_GUARD);
	assert_int_equal(send(&life, "set", "p=true"), HF_STEP_OK);
	assert_int_equal(send(&life, "on", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "same", "p=false"), HF_STEP_GUARD);
	assert_int_equal(send(&life, "flip", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "same", "p=false"), HF_STEP_OK);
	end(&life);
}

static void bytes_are_padded(void **state) {
	struct life life = begin(LOOP(ON("set(p: bytes(4)) / s = p") ON("copy / t = s") ON(
		"lit / t = \"ab\"") ON("eq(p: bytes(64)) [p == s && s != \"zz\"]")));
	uint8_t fresh[HF_BLOCK_MAX];
	assert_int_equal(send(&life, "set", "p=wxyz"), HF_STEP_OK);
	assert_int_equal(send(&life, "copy", ""), HF_STEP_OK);
	has(&life, "t", "wxyz");
	assert_int_equal(send(&life, "eq", "p=wxyz"), HF_STEP_OK);
	assert_int_equal(send(&life, "eq", "p=wxy"), HF_STEP_GUARD);
	assert_string_equal(life.why,
			    "eq needs [p == s && s != \"zz\"], with p = \"wxy\", s = \"wxyz\"");
	assert_int_equal(send(&life, "lit", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "set", "p="), HF_STEP_OK);
	/* What was longer leaves nothing behind. */
	struct life other = begin(LOOP(ON("lit / t = \"ab\"")));
	assert_int_equal(send(&other, "lit", ""), HF_STEP_OK);
	memcpy(fresh, other.block, other.contract->block_size);
	assert_memory_equal(fresh, life.block, life.contract->block_size);
	end(&other);
	end(&life);
}

static void now_is_the_time_of_the_event(void **state) {
	struct life life = begin(LOOP(ON("arm / i = now") ON("fire [now - i >= 1000]")));
	assert_int_equal(send_at(&life, 5000, "arm", ""), HF_STEP_OK);
	has(&life, "i", "5000");
	assert_int_equal(send_at(&life, 5999, "fire", ""), HF_STEP_GUARD);
	assert_int_equal(send_at(&life, 6000, "fire", ""), HF_STEP_OK);
	end(&life);
}

static void invariants(void **state) {
	struct life life = begin(LOOP("%% invariant u < 10\n%% invariant u + v < 100\n" ON(
		"x(n: u64) / u += n") ON("y(n: u64) / v = n")));
	assert_int_equal(send(&life, "x", "n=9"), HF_STEP_OK);
	assert_int_equal(send(&life, "x", "n=1"), HF_STEP_INVARIANT);
	assert_int_equal(life.step.invariant, 0);
	assert_string_equal(life.why, "x would break the invariant u < 10, with u = 10");
	has(&life, "u", "9");
	assert_int_equal(send(&life, "y", "n=91"), HF_STEP_INVARIANT);
	assert_int_equal(life.step.invariant, 1);
	assert_int_equal(send(&life, "y", "n=" U64_MOST), HF_STEP_ARITHMETIC);
	assert_string_equal(life.why, "y overflows in u + v, with u = 9, v = " U64_MOST);
	assert_int_equal(send(&life, "y", "n=90"), HF_STEP_OK);
	assert_int_equal(hf_contract_invariant_count(life.contract), 2);
	assert_true(hf_span_is(hf_contract_invariant(life.contract, 1), "u + v < 100"));
	end(&life);
}

/* ---- composites and choices ----------------------------------------------------------------- */

static void composites(void **state) {
	struct life life =
		begin("stateDiagram-v2\n%% field n: u64\n[*] --> Idle\nIdle --> Work : start\n"
		      "Work --> Idle : stop / n = 1\nWork --> Work : restart\n"
		      "state Work {\n[*] --> Deep\nstate Deep {\n[*] --> a\na --> b : next\n"
		      "b --> Idle : stop / n = 2\nb --> c : finish\nc --> [*]\n}\nDeep --> [*]\n}\n"
		      "Work --> [*]\nIdle --> b : jump\n");
	assert_int_equal(send(&life, "start", ""), HF_STEP_OK);
	is_in(&life, "a");
	assert_int_equal(send(&life, "stop", ""), HF_STEP_OK);
	is_in(&life, "Idle");
	has(&life, "n", "1");
	assert_int_equal(send(&life, "jump", ""), HF_STEP_OK);
	is_in(&life, "b");
	assert_int_equal(send(&life, "restart", ""), HF_STEP_OK);
	is_in(&life, "a");
	assert_int_equal(send(&life, "next", ""), HF_STEP_OK);
	/* The inner arrow goes before the outer one, though it stands later in the file. */
	assert_int_equal(send(&life, "stop", ""), HF_STEP_OK);
	has(&life, "n", "2");
	assert_int_equal(send(&life, "jump", ""), HF_STEP_OK);
	assert_int_equal(send(&life, "finish", ""), HF_STEP_OK);
	is_in(&life, "c");
	assert_true(life.contract->states[life.state].final);
	assert_int_equal(send(&life, "stop", ""), HF_STEP_NOT_ALLOWED);
	assert_int_equal(send(&life, "restart", ""), HF_STEP_NOT_ALLOWED);
	assert_int_equal(hf_contract_state(life.contract, hf_span_of("Work")), -1);
	end(&life);
}

static void inner_guard_falls_through(void **state) {
	struct life life =
		begin("stateDiagram-v2\n%% field n: u64\n[*] --> C\nstate C {\n[*] --> a\n"
		      "a --> a : x(k: u64) [k < 5] / n = k\n}\nC --> D : x(k: u64)\nD --> [*]\n");
	assert_int_equal(send(&life, "x", "k=4"), HF_STEP_OK);
	is_in(&life, "a");
	assert_int_equal(send(&life, "x", "k=5"), HF_STEP_OK);
	is_in(&life, "D");
	end(&life);
}

static void choices(void **state) {
	struct life life =
		begin("stateDiagram-v2\n%% field n: u64\n%% field m: u64\nstate c <<choice>>\n"
		      "state d <<choice>>\n[*] --> c : x(k: u64) [k > 0] / n = k\n"
		      "c --> Small : [k < 10 && n == 0] / m = 1\nc --> d\nd --> Middle : [k < 20]\n"
		      "d --> Big : [k < 30] / m = 3\nSmall --> [*]\nMiddle --> [*]\nBig --> [*]\n");
	struct life again = life;
	assert_int_equal(send(&again, "x", "k=0"), HF_STEP_GUARD);
	assert_int_equal(send(&again, "x", "k=30"), HF_STEP_GUARD);
	assert_string_equal(again.why,
			    "x needs [k > 0] and [k < 10 && n == 0] or [k > 0] and [k < 20] or "
			    "[k > 0] and [k < 30], with k = 30, n = 0");
	assert_int_equal(send(&again, "x", "k=9"), HF_STEP_OK);
	is_in(&again, "Small");
	has(&again, "n", "9");
	has(&again, "m", "1");
	again = life;
	assert_int_equal(send(&again, "x", "k=10"), HF_STEP_OK);
	is_in(&again, "Middle");
	has(&again, "m", "0");
	again = life;
	assert_int_equal(send(&again, "x", "k=29"), HF_STEP_OK);
	is_in(&again, "Big");
	end(&life);
}

/* One arrow after a choice, judged with the params of each event that leads to it. */
static void choice_of_two_events(void **state) {
	struct life life = begin(
		"stateDiagram-v2\n%% field n: i64\nstate c <<choice>>\n[*] --> A\n"
		"A --> c : x(k: i64)\nA --> c : y(j: u64, k: i64)\nc --> B : [k > 5] / n = k\n"
		"c --> A : [else] / n = -k\nB --> [*]\n");
	assert_int_equal(send(&life, "x", "k=2"), HF_STEP_OK);
	has(&life, "n", "-2");
	assert_int_equal(send(&life, "y", "j=99 k=3"), HF_STEP_OK);
	has(&life, "n", "-3");
	assert_int_equal(send(&life, "y", "j=1 k=6"), HF_STEP_OK);
	is_in(&life, "B");
	has(&life, "n", "6");
	end(&life);
}

/* ---- values --------------------------------------------------------------------------------- */

static void refuses_value(enum hf_type type, const char *text, enum hf_status status) {
	struct hf_value value;
	struct hf_err err;
	if (hf_value_parse(type, 4, hf_span_of(text), &value, &err))
		fail_msg("'%s' was taken", text);
	assert_int_equal(err.status, status);
}

static void values(void **state) {
	static const char *const no_numbers[] = { "",	 " 1",	"1 ", "01", "+1",
						  "1.0", "0x1", "a",  "--1" };
	for (size_t i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++) {
		refuses_value(HF_TYPE_U64, no_numbers[i], HF_BADPARAM);
		refuses_value(HF_TYPE_I64, no_numbers[i], HF_BADPARAM);
	}
	refuses_value(HF_TYPE_U64, "-1", HF_BADPARAM);
	refuses_value(HF_TYPE_U64, "18446744073709551616", HF_BADPARAM);
	refuses_value(HF_TYPE_I64, "9223372036854775808", HF_BADPARAM);
	refuses_value(HF_TYPE_I64, "-9223372036854775809", HF_BADPARAM);
	refuses_value(HF_TYPE_BOOL, "1", HF_BADPARAM);
	refuses_value(HF_TYPE_BOOL, "TRUE", HF_BADPARAM);
	refuses_value(HF_TYPE_BYTES, "12345", HF_TOOBIG);
	char buf[16];
	assert_string_equal(hf_type_text(HF_TYPE_BYTES, 64, buf), "bytes(64)");
	assert_string_equal(hf_type_text(HF_TYPE_BOOL, 0, buf), "bool");
}

static void names(void **state) {
	struct hf_contract *contract = compile(ORDER);
	assert_int_equal(hf_contract_event(contract, hf_span_of("Cancel")), 2);
	assert_int_equal(hf_contract_event(contract, hf_span_of("cancel")), -1);
	assert_int_equal(hf_contract_event(contract, hf_span_of("")), -1);
	assert_int_equal(hf_contract_field(contract, hf_span_of("symbol")), 3);
	assert_int_equal(hf_contract_field(contract, hf_span_of("symbo")), -1);
	assert_int_equal(hf_contract_state(contract, hf_span_of("Filled")), 2);
	assert_int_equal(hf_event_param(&contract->events[0], hf_span_of("s")), 2);
	assert_int_equal(hf_event_param(&contract->events[0], hf_span_of("qq")), -1);
	hf_contract_free(contract);
}

static void same_text_same_table(void **state) {
	struct hf_contract *a = compile(ORDER), *b = compile(ORDER), *c = compile(ORDER " ");
	assert_memory_equal(a->hash, b->hash, sizeof(a->hash));
	assert_memory_not_equal(a->hash, c->hash, sizeof(a->hash));
	assert_int_equal(a->transition_count, b->transition_count);
	assert_memory_equal(a->transitions, b->transitions,
			    a->transition_count * sizeof(*a->transitions));
	hf_contract_free(a);
	hf_contract_free(b);
	hf_contract_free(c);
}

/* ---- new versions --------------------------------------------------------------------------- */

static bool in_use(void *arg, uint16_t index) {
	return ((const bool *)arg)[index];
}

#define TICKET_1 \
	"%% version 1\n%% field a: u64\n%% field s: bytes(4)\n%% field b: bool\n[*] --> Open : " \
	"open\n" \
	"Open --> Shut : shut\nOpen --> Lost : lose\nShut --> [*]\nLost --> [*]\n"

static bool can_follow(const char *text, const bool *used, uint16_t *states, uint16_t *fields,
		       struct hf_err *err) {
	struct hf_contract *old = compile("stateDiagram-v2\n" TICKET_1), *next = compile(text);
	bool arg[8] = { false };
	memcpy(arg, used, 4 * sizeof(bool));
	bool good = hf_contract_upgrade(old, next, in_use, arg, states, fields, err);
	hf_contract_free(old);
	hf_contract_free(next);
	return good;
}

static void upgrade(void **state) {
	static const bool none[4] = { false }, lost[4] = { false, false, false, true };
	const char *next = "stateDiagram-v2\n%% version 2\n%% field x: bool\n%% field b: bool\n"
			   "%% field s: bytes(9)\n%% field a: u64\n[*] --> Open : open\n"
			   "Open --> Held : hold\nHeld --> Shut : shut\nShut --> [*]\n";
	uint16_t states[4], fields[3];
	struct hf_err err;
	assert_true(can_follow(next, none, states, fields, &err));
	assert_int_equal(states[0], 0);
	assert_int_equal(states[1], 1);
	assert_int_equal(states[2], 3);
	assert_int_equal(states[3], UINT16_MAX);
	assert_int_equal(fields[0], 3);
	assert_int_equal(fields[1], 2);
	assert_int_equal(fields[2], 1);
	assert_false(can_follow(next, lost, states, fields, &err));
	assert_non_null(strstr(err.text, "no state Lost"));
	assert_false(can_follow("stateDiagram-v2\n" TICKET_1, none, states, fields, &err));
	assert_non_null(strstr(err.text, "higher version"));
	assert_false(can_follow("stateDiagram-v2\n%% version 2\n[*] --> Open : open\n", none,
				states, fields, &err));
	assert_non_null(strstr(err.text, "no field a"));
	assert_false(
		can_follow("stateDiagram-v2\n%% version 2\n%% field a: i64\n%% field s: bytes(4)\n"
			   "%% field b: bool\n[*] --> Open : open\n",
			   none, states, fields, &err));
	assert_false(
		can_follow("stateDiagram-v2\n%% version 2\n%% field a: u64\n%% field s: bytes(3)\n"
			   "%% field b: bool\n[*] --> Open : open\n",
			   none, states, fields, &err));
	assert_non_null(strstr(err.text, "bytes(3), it was bytes(4)"));
}

static void convert(void **state) {
	struct life life = begin(LOOP(ON("set(n: u64, p: bytes(4)) / u = n, s = p, b = true")));
	struct life next =
		begin("stateDiagram-v2\n%% version 2\n%% field s: bytes(9)\n%% field new: i64\n"
		      "%% field b: bool\n%% field t: bytes(7)\n%% field i: i64\n%% field v: u64\n"
		      "%% field u: u64\n[*] --> A\nA --> A : x\n");
	uint16_t states[2], fields[6];
	bool used[2] = { false, true };
	struct hf_err err;
	assert_int_equal(send(&life, "set", "n=77 p=wxyz"), HF_STEP_OK);
	assert_true(hf_contract_upgrade(life.contract, next.contract, in_use, used, states, fields,
					&err));
	memset(next.block, 0xee, sizeof(next.block));
	hf_contract_convert(life.contract, next.contract, fields, life.block, next.block);
	has(&next, "u", "77");
	has(&next, "s", "wxyz");
	has(&next, "b", "true");
	has(&next, "new", "0");
	for (int i = 5; i < 10; i++) /* the room that s has grown by */
		assert_int_equal(next.block[i], 0);
	end(&life);
	end(&next);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),
		cmocka_unit_test(undeclared),
		cmocka_unit_test(allowed_in_several_places),
		cmocka_unit_test(effects_read_old_values),
		cmocka_unit_test(first_that_holds_wins),
		cmocka_unit_test(conditions_stop_early),
		cmocka_unit_test(arithmetic_in_a_guard_refuses),
		cmocka_unit_test(arithmetic_u64),
		cmocka_unit_test(arithmetic_i64),
		cmocka_unit_test(comparisons_are_of_their_type),
		cmocka_unit_test(bools),
		cmocka_unit_test(bytes_are_padded),
		cmocka_unit_test(now_is_the_time_of_the_event),
		cmocka_unit_test(invariants),
		cmocka_unit_test(composites),
		cmocka_unit_test(inner_guard_falls_through),
		cmocka_unit_test(choices),
		cmocka_unit_test(choice_of_two_events),
		cmocka_unit_test(values),
		cmocka_unit_test(names),
		cmocka_unit_test(same_text_same_table),
		cmocka_unit_test(upgrade),
		cmocka_unit_test(convert),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
