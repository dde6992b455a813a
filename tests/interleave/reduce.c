/*
 * reduce.c - the reduction: which steps depend on each other, and which orders have to be tried.
 *
 * Source sets (Abdulla and others, "Optimal dynamic partial order reduction", 2014) with sleep
 * sets, and one thing more: as a load may also return older values, a load after a store covers
 * the same load before it. So only a load that came before a store has to be turned round.
 */
#include "search.h"

enum relation {
	NONE,
	EDGE, /* ordered, and no other order is wanted */
	WEAK, /* not ordered, but the other order has to be tried */
	RACE, /* ordered, and the other order has to be tried */
};

static bool is_load(int kind) {
	return kind == IL_LOAD || kind == IL_PAIR_LOAD;
}

static bool is_write(int kind) {
	switch ((enum il_kind)kind) {
	case IL_STORE:
	case IL_RMW:
	case IL_CAS:
	case IL_PAIR_STORE:
	case IL_WAIT:
	case IL_WAKE:
		return true;
	default:
		return false;
	}
}

static bool is_fence(int kind) {
	return kind == IL_FENCE || kind == IL_HEAVY;
}

static bool overlap(const struct event *a, const struct event *b) {
	return a->where < b->where + b->bytes && b->where < a->where + a->bytes;
}

/* Neither order is like the other. */
static bool conflict(const struct event *a, const struct event *b) {
	if (is_fence(a->kind) || is_fence(b->kind))
		return (is_fence(a->kind) || a->seq ||
			(a->kind == IL_LIGHT && b->kind == IL_HEAVY)) &&
		       (is_fence(b->kind) || b->seq ||
			(b->kind == IL_LIGHT && a->kind == IL_HEAVY));
	if (is_write(a->kind) && is_write(b->kind))
		return overlap(a, b);
	return a->seq && b->seq && (is_write(a->kind) || is_write(b->kind)) && overlap(a, b);
}

/* `a` came before `b`. */
static enum relation relate(const struct event *a, uint32_t step_of_a, const struct event *b) {
	if (conflict(a, b))
		return RACE;
	if (is_write(a->kind) && is_load(b->kind) && overlap(a, b))
		return b->read_step >= step_of_a ? EDGE : NONE;
	if (is_load(a->kind) && is_write(b->kind) && overlap(a, b))
		return WEAK;
	if (b->kind == IL_RELAX)
		return b->read_step == step_of_a ? EDGE : NONE;
	return b->kind == IL_WOKEN && a->kind == IL_WAKE && a->where == b->where ? EDGE : NONE;
}

bool search_wakes(const struct event *event, const struct il_op *pending) {
	struct event other = {
		.kind = (uint8_t)pending->kind,
		.bytes = pending->bytes,
		.seq = pending->order == HF_SEQ_CST && pending->where,
		.where = pending->where,
	};
	return conflict(event, &other);
}

static bool is_before(const struct event *a, const struct event *b) {
	return b->clock[a->thread] >= a->number;
}

/*
 * The events after `early` that do not depend on it, and `late`: they could have come before
 * `early`. The threads that could begin with that; *asleep if one was explored already.
 */
static unsigned initials(const struct search *search, uint32_t early, uint32_t late,
			 bool *covered) {
	const struct node *node = &search->nodes[early];
	const struct event *a = &search->events[early];
	uint16_t first[IL_THREADS_MAX] = { 0 };
	unsigned threads = 0;
	for (uint32_t i = early + 1; i <= late; i++) {
		const struct event *event = &search->events[i];
		if (i < late && is_before(a, event))
			continue;
		if (first[event->thread])
			continue;
		bool initial = true;
		for (int t = 0; t < search->threads; t++)
			initial &= !first[t] || event->clock[t] < first[t];
		first[event->thread] = event->number;
		if (!initial)
			continue;
		threads |= 1u << event->thread;
		*covered |= node->since[event->thread] && !is_load(event->kind);
	}
	return threads;
}

static void reverse(struct search *search, uint32_t early, uint32_t late) {
	struct node *node = &search->nodes[early];
	bool covered = false;
	unsigned threads = initials(search, early, late, &covered);
	if (covered || (threads & node->backtrack))
		return;
	unsigned able = threads & node->enabled, own = 1u << search->events[late].thread;
	if (able & own)
		node->backtrack |= (uint8_t)own;
	else if (able)
		node->backtrack |= (uint8_t)(able & -able);
	else
		node->backtrack |= node->enabled;
}

void search_relate(struct search *search, uint32_t index) {
	struct event *b = &search->events[index];
	uint32_t races[IL_STEPS_MAX], count = 0;
	for (uint32_t i = index; i-- > 0;) {
		const struct event *a = &search->events[i];
		if (a->thread == b->thread || is_before(a, b))
			continue;
		enum relation relation = relate(a, i + 1, b);
		if (relation == WEAK || relation == RACE)
			races[count++] = i;
		if (relation == EDGE || relation == RACE)
			for (int t = 0; t < search->threads; t++)
				if (b->clock[t] < a->clock[t])
					b->clock[t] = a->clock[t];
	}
	for (uint32_t i = 0; i < count; i++)
		reverse(search, races[i], index);
}
