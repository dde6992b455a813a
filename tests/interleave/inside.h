/*
 * inside.h - what the explorer's files share. explore.c decides who runs and what a load returns,
 * model.c knows what it may return, shadow.c what is a race, fiber.c how to change threads.
 */
#ifndef HF_TESTS_INTERLEAVE_INSIDE_H
#define HF_TESTS_INTERLEAVE_INSIDE_H

#include <setjmp.h>

#include "explore.h"

enum {
	IL_MAIN = IL_THREADS_MAX, /* who runs setup and check */
	IL_CLOCKS,		  /* entries of a vector clock */
	IL_LOCATIONS_MAX = 4096,
};

typedef const struct hf_interleave_site *il_site;

/* ---- fiber.c */

/* Threads have stacks that outlive runs; a run that is given up just leaves them. */
void il_fibers_init(void (*body)(int thread));
void il_fiber_start(int thread);  /* does not return: body(thread), from the beginning */
void il_fiber_resume(int thread); /* does not return: where it has paused */
/* What the macro needs; a function that calls setjmp must not return before the jump. */
jmp_buf *il_fiber_context(int thread);
#define IL_FIBER_PAUSE(thread, next) \
	do { \
		if (_setjmp(*il_fiber_context(thread)) == 0) \
			next; \
	} while (0)

/* ---- model.c: the memory model */

enum il_kind {
	IL_LOAD,
	IL_STORE,
	IL_RMW,
	IL_CAS,
	IL_PAIR_LOAD,
	IL_PAIR_STORE,
	IL_FENCE, /* seq_cst; weaker ones are no steps */
	IL_LIGHT,
	IL_HEAVY,
	IL_RELAX,
	IL_WAIT,
	IL_WOKEN,
	IL_WAKE,
};

struct il_op {
	enum il_kind kind;
	uint8_t bytes;
	uint8_t what; /* IL_RMW: enum hf_interleave_rmw */
	int order, order_if_failed;
	uintptr_t where;
	uint64_t value, value_high;
	uint64_t expected;
	il_site site;
	/* What came of it: */
	uint64_t got, got_high;
	uint32_t read_step; /* of the newest store that it saw */
	bool stored;
};

void il_model_reset(void);
/* The thread begins, having seen what main has; main has seen what all threads have. */
void il_model_spawn(int thread);
void il_model_join(int threads);
/* How many values a step of this kind may choose from, newest first, stored at step `since` on. */
unsigned il_model_choices(int thread, const struct il_op *op, uint32_t since);
/* Does it. Fails on a race, and the like. `step` is its number, from 1; 0 for main's. */
void il_model_execute(int thread, struct il_op *op, unsigned choice, uint32_t step);
void il_model_local_fence(int thread, int order);
/* Memory that becomes another object: its locations have no history. */
void il_model_forget(uintptr_t where, size_t bytes);
/*
 * A thread comes to hf_cpu_relax: its turn of a loop ends. False if it only repeats an earlier
 * one although it could have seen something new: then another run does without this turn.
 */
bool il_model_relax(int thread);
/* The step of the store for which another turn is worth while. */
#define IL_NEWS_NONE UINT32_MAX	     /* there is none: it waits */
#define IL_NEWS_OWN (UINT32_MAX - 1) /* no need: it changed something, or saw a change */
uint32_t il_model_news(int thread);

/* The vector clock of what happens before the thread's next step. */
const uint16_t *il_model_clock(int thread);

/* ---- shadow.c: races and lifetimes */

void il_shadow_reset(void);
void il_shadow_plain(int thread, uintptr_t where, size_t bytes, bool writes, il_site site);
void il_shadow_atomic(int thread, uintptr_t where, size_t bytes, bool writes, il_site site);
void il_shadow_new(int thread, uintptr_t where, size_t bytes, il_site site);
void il_shadow_dead(int thread, uintptr_t where, size_t bytes, il_site site);
/* Whether a marked plain store has been there. */
bool il_shadow_written(uintptr_t where);

/* ---- explore.c */

extern const struct il_test *il_test_now;
int il_current(void); /* the thread that runs, or IL_MAIN */
const char *il_thread_name(int thread);
bool il_is_traced(void);
/* A traced line: the step's number, who, and this. */
const char *il_place(il_site site); /* "file.c:12"; of the last four calls */

/* Ends the run as a repetition of others. */
_Noreturn void il_cut(void);

#endif
