/*
 * search.h - which runs are made, and in which order. explore.c asks before every step.
 */
#ifndef HF_TESTS_INTERLEAVE_SEARCH_H
#define HF_TESTS_INTERLEAVE_SEARCH_H

#include "inside.h"

/* A step that was made in this run. */
struct event {
	uint8_t thread, kind, bytes;
	bool seq;			/* seq_cst */
	uint16_t number;		/* in its thread, from 1 */
	uint16_t clock[IL_THREADS_MAX]; /* per thread: how many of its events come before this */
	uint32_t read_step;
	uintptr_t where;
};

/* What was tried before a step. */
struct node {
	int8_t thread; /* that makes it; -1: to be chosen */
	uint8_t enabled, backtrack, done;
	uint16_t choice, choices, preemptions, stale;
	/* Asleep: 0 is awake; else what it would do was explored, but for loads of newer stores. */
	uint32_t since[IL_THREADS_MAX];
};

struct taken {
	uint8_t thread;
	uint16_t choice;
};

struct search {
	const struct il_options *options;
	enum il_mode mode;
	int threads;
	uint32_t depth;	 /* steps made in this run */
	uint32_t known;	 /* nodes on the stack */
	uint32_t follow; /* events before it are as in the last run */
	uint16_t choice; /* of the step that is made now */
	uint64_t runs, random;
	uint32_t longest, planned; /* IL_REPLAY: steps of the schedule */
	uint32_t priority[IL_THREADS_MAX], change_at[3];
	unsigned stale;
	uint16_t numbers[IL_THREADS_MAX];
	uint32_t last_event[IL_THREADS_MAX]; /* + 1 */
	uint32_t since[IL_THREADS_MAX];	     /* for the next node */
	struct node nodes[IL_STEPS_MAX];
	struct event events[IL_STEPS_MAX];
	struct taken taken[IL_STEPS_MAX];
};

void search_init(struct search *search, const struct il_options *options, int threads);
void search_begin_run(struct search *search);
/* Which of the enabled threads makes the next step; search->choice is set. */
int search_decide(struct search *search, unsigned enabled, struct il_op *const *pending);
/* A step was made. */
void search_note(struct search *search, int thread, const struct il_op *op,
		 struct il_op *const *pending, unsigned finished);
/* False if there is nothing left. */
bool search_next_run(struct search *search);
/* The schedule of the last run. */
void search_print(const struct search *search, char *text, size_t bytes);

/* reduce.c: the dependences of the event at `index`, and what has to be tried for them. */
void search_relate(struct search *search, uint32_t index);
/* Whether an event changes what a pending step would do, or the other way round. */
bool search_wakes(const struct event *event, const struct il_op *pending);

/* hooks.c */
void il_trace_op(const struct il_op *op);
void il_step(struct il_op *op);

#endif
