/*
 * explore.c - the search: who makes the next step, and which of its choices it takes.
 *
 * Runs are not undone but begun anew: a node per step holds what was tried there, and the next run
 * follows the nodes up to the deepest that has something left. README.md says why the reduction
 * leaves nothing out.
 */
#include "explore.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/assert.h"
#include "search.h"

enum outcome { ENDED = 1, CUT, FAILED };

const struct il_test *il_test_now;
static struct {
	const struct il_options *options;
	struct il_result *result;
	struct search search;
	jmp_buf top;
	int threads, current, started;
	unsigned finished, steps_max;
	void *state;
	FILE *trace;
	struct il_op *pending[IL_THREADS_MAX];
	bool woken[IL_THREADS_MAX];
} ex;

/* ---- what a run ends with */

_Noreturn static void end_run(enum outcome outcome) {
	_longjmp(ex.top, outcome);
}

_Noreturn void il_cut(void) {
	end_run(CUT);
}

_Noreturn void il_fail(const char *format, ...) {
	va_list args;
	va_start(args, format);
	vsnprintf(ex.result->failure, sizeof(ex.result->failure), format, args);
	va_end(args);
	il_note("%s", ex.result->failure);
	end_run(FAILED);
}

/* base/assert.h: the product's own asserts are checks, too. */
_Noreturn void hf_assert_failed(const char *condition, const char *file, int line) {
	struct hf_interleave_site site = { file, line, condition };
	il_fail("%s: assertion failed: %s", il_place(&site), condition);
}

/* ---- who runs */

int il_current(void) {
	return ex.current;
}

const char *il_thread_name(int thread) {
	return thread == IL_MAIN ? "main" : il_test_now->threads[thread].name;
}

static bool is_enabled(int thread) {
	if (ex.finished >> thread & 1)
		return false;
	if (ex.pending[thread]->kind == IL_RELAX)
		return il_model_news(thread) != IL_NEWS_NONE;
	return ex.pending[thread]->kind != IL_WOKEN || ex.woken[thread];
}

_Noreturn static void deadlock(void) {
	char who[IL_FAILURE_BYTES / 2] = "";
	for (int i = 0; i < ex.threads; i++)
		if (!(ex.finished >> i & 1))
			snprintf(who + strlen(who), sizeof(who) - strlen(who), "%s %s at %s",
				 *who ? "," : "", il_thread_name(i), il_place(ex.pending[i]->site));
	il_fail("nobody can go on:%s would wait for ever", who);
}

/* Goes on with the thread whose step is next; returns if that is the one that runs. */
static void go_on(void) {
	int self = ex.current;
	if (ex.started < ex.threads) {
		ex.current = ex.started++;
		il_fiber_start(ex.current);
	}
	if (ex.finished == (1u << ex.threads) - 1)
		end_run(ENDED);
	unsigned enabled = 0;
	for (int i = 0; i < ex.threads; i++)
		enabled |= (unsigned)is_enabled(i) << i;
	if (!enabled)
		deadlock();
	if (ex.search.depth == ex.steps_max)
		il_fail("livelock: %u steps, and no end (does a loop lack hf_cpu_relax?)",
			ex.steps_max);
	ex.current = search_decide(&ex.search, enabled, ex.pending);
	if (ex.current != self || ex.finished >> self & 1)
		il_fiber_resume(ex.current);
}

static void body(int thread) {
	il_test_now->threads[thread].main(ex.state);
	ex.finished |= 1u << thread;
	go_on();
}

/* ---- a step of the thread that runs */

static void wake(uintptr_t where) {
	for (int i = 0; i < ex.threads; i++)
		if (!(ex.finished >> i & 1) && i != ex.current && ex.pending[i]->kind == IL_WOKEN &&
		    ex.pending[i]->where == where)
			ex.woken[i] = true;
}

static __attribute__((noinline)) void pause_before(struct il_op *op) {
	ex.pending[ex.current] = op;
	IL_FIBER_PAUSE(ex.current, go_on());
}

void il_step(struct il_op *op) {
	if (ex.current == IL_MAIN) {
		il_model_execute(IL_MAIN, op, 0, 0);
		return;
	}
	if (op->kind == IL_RELAX && !il_model_relax(ex.current))
		il_cut();
	pause_before(op);
	int self = ex.current;
	if (op->kind == IL_RELAX)
		op->read_step = il_model_news(self);
	il_model_execute(self, op, ex.search.choice, ex.search.depth + 1);
	search_note(&ex.search, self, op, ex.pending, ex.finished);
	ex.search.depth++;
	il_trace_op(op);
	if (op->kind == IL_WAKE)
		wake(op->where);
	if (op->kind == IL_WAIT && op->got == op->expected) {
		struct il_op woken = { .kind = IL_WOKEN, .where = op->where, .site = op->site };
		ex.woken[self] = false;
		il_step(&woken);
	}
}

/* ---- runs */

bool il_is_traced(void) {
	return ex.trace;
}

void il_note(const char *format, ...) {
	if (!ex.trace)
		return;
	va_list args;
	va_start(args, format);
	fprintf(ex.trace, "%5u %-10s ", ex.search.depth, il_thread_name(ex.current));
	vfprintf(ex.trace, format, args);
	fputc('\n', ex.trace);
	va_end(args);
}

static void begin_run(void) {
	il_shadow_reset();
	il_model_reset();
	ex.finished = 0;
	ex.started = 0;
	ex.current = IL_MAIN;
	search_begin_run(&ex.search);
	memset(ex.state, 0, il_test_now->state_bytes);
}

static void end_main(void) {
	ex.current = IL_MAIN;
	il_model_join(ex.threads);
	if (il_test_now->check)
		il_test_now->check(ex.state);
}

static void begin_threads(void) {
	if (il_test_now->setup)
		il_test_now->setup(ex.state);
	for (int i = 0; i < ex.threads; i++)
		il_model_spawn(i);
	ex.current = ex.started++;
	il_fiber_start(ex.current);
}

static __attribute__((noinline)) enum outcome run_once(void) {
	begin_run();
	int outcome = _setjmp(ex.top);
	if (outcome == 0)
		begin_threads();
	if (outcome != ENDED)
		return (enum outcome)outcome;
	outcome = _setjmp(ex.top);
	if (outcome != 0)
		return (enum outcome)outcome;
	end_main();
	return ENDED;
}

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static enum outcome explore(double begin) {
	struct il_result *result = ex.result;
	double limit = ex.options->seconds;
	for (uint64_t i = 1;; i++) {
		enum outcome outcome = run_once();
		result->runs += outcome != CUT;
		result->cut += outcome == CUT;
		if (ex.search.depth > result->longest)
			result->longest = ex.search.depth;
		if (outcome == FAILED)
			return outcome;
		if (!search_next_run(&ex.search)) {
			result->complete = true;
			return ENDED;
		}
		if (limit > 0 && i % 64 == 0 && now() - begin > limit)
			return ENDED;
	}
}

/* The failing run again, in plain sight: it must fail in the same way. */
static void replay(const struct il_options *options) {
	struct il_result *result = ex.result;
	char failure[IL_FAILURE_BYTES];
	memcpy(failure, result->failure, sizeof(failure));
	struct il_options again = { .mode = IL_REPLAY, .schedule = result->schedule };
	result->failure[0] = '\0';
	search_init(&ex.search, &again, ex.threads);
	ex.trace = options->trace;
	if (ex.trace)
		fprintf(ex.trace, "%s, schedule %s\n", il_test_now->name, result->schedule);
	enum outcome outcome = run_once();
	ex.trace = NULL;
	if (outcome == FAILED && strcmp(failure, result->failure) == 0)
		return;
	snprintf(result->failure, sizeof(result->failure), "does not replay: %.500s", failure);
}

bool il_explore(const struct il_test *test, const struct il_options *options,
		struct il_result *result) {
	static uint8_t *states;
	size_t most = (size_t)1 << 20;
	double begin = now();
	if (!states)
		states = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);
	memset(result, 0, sizeof(*result));
	if (states == MAP_FAILED || test->state_bytes > most)
		abort();
	ex.state = states;
	ex.options = options;
	ex.result = result;
	ex.trace = NULL;
	il_test_now = test;
	for (ex.threads = 0; ex.threads < IL_THREADS_MAX && test->threads[ex.threads].main;)
		ex.threads++;
	il_fibers_init(body);
	ex.steps_max = options->steps ? options->steps : IL_STEPS_MAX;
	search_init(&ex.search, options, ex.threads);
	if (explore(begin) == FAILED) {
		result->failed = true;
		search_print(&ex.search, result->schedule, sizeof(result->schedule));
		replay(options);
	}
	result->seconds = now() - begin;
	return !result->failed;
}
