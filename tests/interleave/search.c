/* search.c - the nodes of the search, and how each mode chooses. */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_tree(enum il_mode mode) {
	return mode != IL_RANDOM && mode != IL_REPLAY;
}

static uint64_t random_next(struct search *search) {
	search->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
	uint64_t x = search->random;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* "3ab.1": a three times, then b, which takes the second newest value. */
static void parse(struct search *search, const char *text) {
	while (*text) {
		char *end;
		unsigned long count = strtoul(text, &end, 10);
		count = end == text ? 1 : count;
		struct taken taken = { .thread = (uint8_t)(*end - 'a') };
		if (*end == '\0' || taken.thread >= IL_THREADS_MAX)
			break;
		text = end + 1;
		if (*text == '.') {
			taken.choice = (uint16_t)strtoul(text + 1, &end, 10);
			text = *end == '.' ? end + 1 : end;
		}
		while (count-- > 0 && search->planned < IL_STEPS_MAX)
			search->taken[search->planned++] = taken;
	}
}

void search_print(const struct search *search, char *text, size_t bytes) {
	size_t used = 0;
	text[0] = '\0';
	for (uint32_t i = 0, next; i < search->depth && used + 24 < bytes; i = next) {
		struct taken taken = search->taken[i];
		for (next = i + 1; next < search->depth; next++)
			if (search->taken[next].thread != taken.thread ||
			    search->taken[next].choice != taken.choice)
				break;
		if (next - i > 1)
			used += (size_t)snprintf(text + used, bytes - used, "%u", next - i);
		text[used++] = (char)('a' + taken.thread);
		text[used] = '\0';
		if (taken.choice)
			used += (size_t)snprintf(text + used, bytes - used, ".%u.", taken.choice);
	}
}

void search_init(struct search *search, const struct il_options *options, int threads) {
	search->options = options;
	search->mode = options->mode;
	search->threads = threads;
	search->depth = search->known = search->follow = search->longest = search->planned = 0;
	search->runs = 0;
	search->random = options->seed;
	if (options->mode == IL_REPLAY)
		parse(search, options->schedule);
}

void search_begin_run(struct search *search) {
	search->follow = search->known ? search->known - 1 : 0;
	search->depth = 0;
	search->stale = 0;
	memset(search->numbers, 0, sizeof(search->numbers));
	memset(search->last_event, 0, sizeof(search->last_event));
	memset(search->since, 0, sizeof(search->since));
	if (search->mode != IL_RANDOM)
		return;
	for (int i = 0; i < search->threads; i++)
		search->priority[i] = 1000 + (uint32_t)(random_next(search) % 1000000);
	for (int i = 0; i < 3; i++)
		search->change_at[i] =
			(uint32_t)(random_next(search) % (search->longest ? search->longest : 20));
}

/* ---- trees */

static int lowest(unsigned threads) {
	return __builtin_ctz(threads);
}

static struct node *new_node(struct search *search, unsigned enabled,
			     struct il_op *const *pending) {
	struct node *node = &search->nodes[search->known++];
	memset(node, 0, sizeof(*node));
	memcpy(node->since, search->since, sizeof(node->since));
	node->thread = -1;
	node->enabled = (uint8_t)enabled;
	int last = search->depth ? search->taken[search->depth - 1].thread : -1;
	unsigned kept = last >= 0 ? enabled & 1u << last : 0;
	if (kept && pending[last]->kind == IL_RELAX)
		kept = 0; /* who waits is not interrupted */
	if (search->depth) {
		node->preemptions = node[-1].preemptions;
		node->stale = node[-1].stale;
		if (node[-1].choice)
			node->stale++;
	}
	if (search->mode != IL_ALL)
		node->backtrack = node->enabled;
	else if (kept)
		node->backtrack = (uint8_t)kept;
	if (search->mode == IL_BOUNDED && kept && node->preemptions >= search->options->preemptions)
		node->backtrack = (uint8_t)kept;
	return node;
}

static unsigned choices_of(const struct search *search, const struct node *node, int thread,
			   struct il_op *const *pending) {
	unsigned choices = il_model_choices(thread, pending[thread], node->since[thread]);
	if (search->mode == IL_BOUNDED && choices > 1 && node->stale >= search->options->stale)
		choices = 1;
	return choices;
}

/* Chooses who makes the step of a node, if that is open; cuts the run if there is nobody left. */
static void settle(struct search *search, struct node *node, struct il_op *const *pending) {
	while (node->thread < 0) {
		unsigned left = node->backtrack & node->enabled & ~node->done;
		/* Where all that was wanted is asleep, and nothing was tried yet: anyone else. */
		if (!left && !node->choices)
			left = node->enabled & ~node->done;
		if (!left)
			il_cut();
		int last = search->depth ? search->taken[search->depth - 1].thread : 0;
		int thread = left >> last & 1 ? last : lowest(left);
		unsigned choices = choices_of(search, node, thread, pending);
		node->backtrack |= (uint8_t)(1u << thread);
		node->done |= (uint8_t)(1u << thread);
		if (choices == 0)
			continue;
		node->thread = (int8_t)thread;
		node->choice = 0;
		node->choices = (uint16_t)choices;
	}
}

static int decide_in_tree(struct search *search, unsigned enabled, struct il_op *const *pending) {
	struct node *node = &search->nodes[search->depth];
	if (search->depth == search->known)
		node = new_node(search, enabled, pending);
	else if (node->enabled != enabled)
		il_fail("the test does not do the same under the same schedule");
	settle(search, node, pending);
	search->choice = node->choice;
	return node->thread;
}

bool search_next_run(struct search *search) {
	search->runs++;
	if (search->depth > search->longest)
		search->longest = search->depth;
	if (search->mode == IL_REPLAY)
		return false;
	if (search->mode == IL_RANDOM)
		return search->runs < search->options->runs;
	for (; search->known > 0; search->known--) {
		struct node *node = &search->nodes[search->known - 1];
		if (node->thread >= 0) {
			if (++node->choice < node->choices)
				return true;
			if (search->mode == IL_ALL || search->mode == IL_SLEEP)
				node->since[node->thread] = search->known;
			node->thread = -1;
		}
		if (node->backtrack & node->enabled & ~node->done)
			return true;
	}
	return false;
}

/* ---- chance and schedules */

static int decide_by_chance(struct search *search, unsigned enabled, struct il_op *const *pending) {
	int best = -1;
	for (int i = 0; i < search->threads; i++)
		if (enabled >> i & 1 && (best < 0 || search->priority[i] > search->priority[best]))
			best = i;
	for (int i = 0; i < 3; i++)
		if (search->change_at[i] == search->depth)
			search->priority[best] = (uint32_t)i;
	if (pending[best]->kind == IL_RELAX)
		search->priority[best] = (uint32_t)(random_next(search) % 1000);
	unsigned choices = il_model_choices(best, pending[best], 0);
	search->choice = 0;
	if (choices > 1 && search->stale < search->options->stale && random_next(search) % 4 == 0)
		search->choice = (uint16_t)(random_next(search) % choices);
	search->stale += search->choice > 0;
	return best;
}

static int decide_by_schedule(struct search *search, unsigned enabled,
			      struct il_op *const *pending) {
	if (search->depth >= search->planned) {
		search->choice = 0;
		return lowest(enabled);
	}
	struct taken taken = search->taken[search->depth];
	if (!(enabled >> taken.thread & 1) ||
	    taken.choice >= il_model_choices(taken.thread, pending[taken.thread], 0))
		il_fail("the schedule does not fit the test");
	search->choice = taken.choice;
	return taken.thread;
}

int search_decide(struct search *search, unsigned enabled, struct il_op *const *pending) {
	int thread;
	if (is_tree(search->mode))
		thread = decide_in_tree(search, enabled, pending);
	else if (search->mode == IL_RANDOM)
		thread = decide_by_chance(search, enabled, pending);
	else
		thread = decide_by_schedule(search, enabled, pending);
	search->taken[search->depth] = (struct taken){ (uint8_t)thread, search->choice };
	return thread;
}

/* ---- what was done */

static void count_preemption(struct search *search, int thread, struct il_op *const *pending) {
	struct node *node = &search->nodes[search->depth];
	int last = search->depth ? search->taken[search->depth - 1].thread : thread;
	bool interrupted =
		last != thread && node->enabled >> last & 1 && pending[last]->kind != IL_RELAX;
	unsigned before = search->depth ? node[-1].preemptions : 0;
	node->preemptions = (uint16_t)(before + interrupted);
}

static void sleep_on(struct search *search, int thread, const struct event *event,
		     struct il_op *const *pending, unsigned finished) {
	const struct node *node = &search->nodes[search->depth];
	for (int i = 0; i < search->threads; i++) {
		bool awake = i == thread || finished >> i & 1 || !node->since[i] ||
			     search_wakes(event, pending[i]);
		search->since[i] = awake ? 0 : node->since[i];
	}
}

void search_note(struct search *search, int thread, const struct il_op *op,
		 struct il_op *const *pending, unsigned finished) {
	if (!is_tree(search->mode))
		return;
	uint32_t index = search->depth;
	struct event *event = &search->events[index];
	uint16_t number = ++search->numbers[thread];
	if (search->mode == IL_BOUNDED)
		count_preemption(search, thread, pending);
	if (search->mode == IL_ALL && index < search->follow) {
		search->last_event[thread] = index + 1;
		sleep_on(search, thread, event, pending, finished);
		return;
	}
	memset(event, 0, sizeof(*event));
	event->thread = (uint8_t)thread;
	event->kind = (uint8_t)op->kind;
	event->bytes = op->bytes;
	event->seq = op->order == HF_SEQ_CST && op->where;
	event->number = number;
	event->read_step = op->read_step;
	event->where = op->where;
	if (search->last_event[thread])
		memcpy(event->clock, search->events[search->last_event[thread] - 1].clock,
		       sizeof(event->clock));
	event->clock[thread] = number;
	search->last_event[thread] = index + 1;
	if (search->mode == IL_ALL)
		search_relate(search, index);
	sleep_on(search, thread, event, pending, finished);
}
