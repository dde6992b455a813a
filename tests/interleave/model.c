/*
 * model.c - the memory model: C11's atomics as a machine of views.
 *
 * A location is the list of all stores to it, in the order in which they were made. What a thread
 * knows is a view: per location the oldest store that it may still read, and a vector clock. A
 * store carries the view that its reader gets by acquiring it. README.md says what this leaves out.
 */
#include <stdlib.h>
#include <string.h>

#include "inside.h"

enum {
	MESSAGES_MAX = 1 << 15,
	VIEW_BYTES = 64 << 20, /* of all messages of a run */
	TABLE = 1 << 13,       /* of locations by address */
	SPIN_MAX = 64,	       /* locations in one turn of a waiting loop that are looked at */
	TURNS_MAX = 8,	       /* that are remembered */
};

struct view {
	uint16_t clock[IL_CLOCKS];
	uint32_t locations; /* beyond: 0 */
	uint16_t *seen;	    /* by location: index of the oldest store that may be read */
};

struct message {
	uint64_t value;
	uint32_t before; /* the message before it in its location + 1; 0: none */
	uint32_t step;
	uint16_t index; /* in its location, from 1 */
	uint8_t thread;
	bool futile; /* of a turn of a waiting loop that left everything as it was */
	bool twin;   /* the high half of a pair, whose low half is the message before in time */
	struct view view;
};

struct location {
	uintptr_t where;
	uint32_t bytes, last; /* message + 1 */
	bool forgotten;
};

/* What a thread has done since it last relaxed: the locations, and what they were and are to it. */
struct spin {
	uint32_t count, location[SPIN_MAX], message[SPIN_MAX];
	uint64_t first[SPIN_MAX];
	bool written[SPIN_MAX];
	uint32_t begin; /* of its messages */
	bool overflow;
};

static struct {
	struct message messages[MESSAGES_MAX];
	struct location locations[IL_LOCATIONS_MAX];
	uint32_t message_count, location_count;
	uint32_t table[TABLE], table_run[TABLE], run;
	uint8_t *views;
	size_t views_used;
	/* cur: what it has seen; acq: and would have, had it acquired; rel: at its release fence */
	struct view cur[IL_CLOCKS], acq[IL_CLOCKS], rel[IL_CLOCKS];
	struct view seq, heavy, light; /* what the fences of each kind have gathered */
	struct spin spin[IL_CLOCKS], turns[IL_CLOCKS][TURNS_MAX];
	uint32_t turn_count[IL_CLOCKS]; /* without effect, one after the other */
} model;

/* ---- views */

static void view_reset(struct view *view) {
	if (!view->seen)
		view->seen = malloc(IL_LOCATIONS_MAX * sizeof(*view->seen));
	memset(view->clock, 0, sizeof(view->clock));
	view->locations = 0;
}

static void view_reach(struct view *view, uint32_t locations) {
	while (view->locations < locations)
		view->seen[view->locations++] = 0;
}

static void join_seen(struct view *into, const struct view *from) {
	view_reach(into, from->locations);
	for (uint32_t i = 0; i < from->locations; i++)
		into->seen[i] = into->seen[i] < from->seen[i] ? from->seen[i] : into->seen[i];
}

static void join(struct view *into, const struct view *from) {
	for (int i = 0; i < IL_CLOCKS; i++)
		if (into->clock[i] < from->clock[i])
			into->clock[i] = from->clock[i];
	join_seen(into, from);
}

static uint16_t seen(const struct view *view, uint32_t location) {
	return location < view->locations ? view->seen[location] : 0;
}

static void see(struct view *view, uint32_t location, uint16_t index) {
	view_reach(view, location + 1);
	if (view->seen[location] < index)
		view->seen[location] = index;
}

/* Of a message: as large as need be, gone with the run. */
static void view_keep(struct view *view, const struct view *from, const struct view *and_from) {
	uint32_t locations = from->locations;
	if (and_from && and_from->locations > locations)
		locations = and_from->locations;
	if (model.views_used + locations * sizeof(*view->seen) > VIEW_BYTES)
		il_fail("the explorer's memory for views is used up: a smaller test is wanted");
	memset(view, 0, sizeof(*view));
	view->seen = (uint16_t *)(void *)(model.views + model.views_used);
	model.views_used += locations * sizeof(*view->seen);
	join(view, from);
	if (and_from)
		join(view, and_from);
}

void il_model_reset(void) {
	if (!model.views)
		model.views = malloc(VIEW_BYTES);
	model.views_used = 0;
	model.message_count = model.location_count = 0;
	model.run++;
	for (int i = 0; i < IL_CLOCKS; i++) {
		view_reset(&model.cur[i]);
		view_reset(&model.acq[i]);
		view_reset(&model.rel[i]);
		model.spin[i].count = model.spin[i].begin = 0;
		model.spin[i].overflow = false;
		model.turn_count[i] = 0;
	}
	view_reset(&model.seq);
	view_reset(&model.heavy);
	view_reset(&model.light);
	model.cur[IL_MAIN].clock[IL_MAIN] = 1;
}

void il_model_spawn(int thread) {
	join(&model.cur[thread], &model.cur[IL_MAIN]);
	join(&model.acq[thread], &model.cur[IL_MAIN]);
	model.cur[thread].clock[thread] = 1;
}

void il_model_join(int threads) {
	model.cur[IL_MAIN].clock[IL_MAIN]++;
	for (int i = 0; i < threads; i++)
		join(&model.cur[IL_MAIN], &model.cur[i]);
}

const uint16_t *il_model_clock(int thread) {
	return model.cur[thread].clock;
}

/* ---- locations */

static uint64_t peek(uintptr_t where, unsigned bytes) {
	uint64_t value = 0;
	memcpy(&value, (const void *)where, bytes);
	return value;
}

static struct message *append(uint32_t location, uint64_t value, uint32_t step) {
	struct location *l = &model.locations[location];
	if (model.message_count == MESSAGES_MAX)
		il_fail("more than %d stores in a run: a smaller test is wanted", MESSAGES_MAX);
	struct message *m = &model.messages[model.message_count++];
	*m = (struct message){ .value = value, .before = l->last, .step = step };
	m->index = (uint16_t)(l->last ? model.messages[l->last - 1].index + 1 : 1);
	l->last = model.message_count;
	return m;
}

static uint32_t *slot_of(uintptr_t where) {
	uint32_t i = (uint32_t)((where * 0x9e3779b97f4a7c15u) >> 51);
	for (;; i = (i + 1) % TABLE) {
		if (model.table_run[i] != model.run) {
			model.table_run[i] = model.run;
			model.table[i] = 0;
			return &model.table[i];
		}
		if (!model.table[i] || model.locations[model.table[i] - 1].where == where)
			return &model.table[i];
	}
}

/* The location; what memory holds is its first store, if it is new. */
static uint32_t location_of(uintptr_t where, unsigned bytes) {
	uint32_t *slot = slot_of(where);
	if (*slot && !model.locations[*slot - 1].forgotten) {
		if (model.locations[*slot - 1].bytes != bytes)
			il_fail("one address, accessed as %u and as %u bytes",
				model.locations[*slot - 1].bytes, bytes);
		return *slot - 1;
	}
	if (model.location_count == IL_LOCATIONS_MAX)
		il_fail("more than %d locations: a smaller test is wanted", IL_LOCATIONS_MAX);
	uint32_t location = model.location_count++;
	*slot = location + 1;
	model.locations[location] = (struct location){ .where = where, .bytes = bytes };
	append(location, peek(where, bytes), 0);
	return location;
}

static struct message *last_of(uint32_t location) {
	return &model.messages[model.locations[location].last - 1];
}

void il_model_forget(uintptr_t where, size_t bytes) {
	for (uint32_t i = 0; i < model.location_count; i++) {
		struct location *l = &model.locations[i];
		l->forgotten |= l->where >= where && l->where < where + bytes;
	}
}

/* Before an access: a marked plain store, or main's, becomes a store of the list. */
static void refresh(int thread, uint32_t location, il_site site) {
	struct location *l = &model.locations[location];
	uint64_t value = peek(l->where, l->bytes);
	if (value == last_of(location)->value)
		return;
	if (thread != IL_MAIN && !il_shadow_written(l->where))
		il_fail("%s: %s was changed by a store that is not marked", il_place(site),
			site->what);
	append(location, value, 0);
	see(&model.cur[thread], location, last_of(location)->index);
}

/* ---- what a load may return */

static bool acquires(int order) {
	return order == HF_ACQUIRE || order == HF_ACQ_REL || order == HF_SEQ_CST;
}

static bool releases(int order) {
	return order == HF_RELEASE || order == HF_ACQ_REL || order == HF_SEQ_CST;
}

static uint16_t oldest(int thread, uint32_t location, int order) {
	uint16_t floor = seen(&model.cur[thread], location);
	uint16_t seq = order == HF_SEQ_CST ? seen(&model.seq, location) : 0;
	return seq > floor ? seq : floor;
}

static struct message *older(const struct message *m, uint16_t floor) {
	struct message *before = m->before ? &model.messages[m->before - 1] : NULL;
	return before && before->index >= floor ? before : NULL;
}

/* One of the values that a load may return: its messages, the second for a pair's high half. */
struct sight {
	struct message *low, *high;
};

static struct sight newest_sight(const struct il_op *op) {
	struct sight sight = { 0 };
	if (op->kind != IL_PAIR_LOAD) {
		sight.low = last_of(location_of(op->where, op->bytes));
		return sight;
	}
	uint32_t high = location_of(op->where + 8, 8);
	sight.low = last_of(location_of(op->where, 8));
	sight.high = last_of(high);
	return sight;
}

/* When a store was made, among all. What was there at first was there before everything. */
static uint32_t time_of(const struct message *m) {
	return m->index == 1 ? 0 : (uint32_t)(m - model.messages);
}

/* The next older one; false if there is none. A pair is of one moment: its newer half goes back. */
static bool older_sight(int thread, const struct il_op *op, struct sight *sight) {
	if (op->kind == IL_CAS) {
		uint16_t floor =
			oldest(thread, location_of(op->where, op->bytes), op->order_if_failed);
		do
			sight->low = older(sight->low, floor);
		while (sight->low && sight->low->value == op->expected);
		return sight->low;
	}
	uint16_t floor =
		oldest(thread, location_of(op->where, op->kind == IL_PAIR_LOAD ? 8 : op->bytes),
		       op->order);
	if (op->kind == IL_LOAD)
		return (sight->low = older(sight->low, floor)) != NULL;
	uint16_t floor_high = oldest(thread, location_of(op->where + 8, 8), op->order);
	bool both = sight->high->twin && sight->low == sight->high - 1;
	bool low = both || time_of(sight->low) > time_of(sight->high), high = both || !low;
	if (low && !(sight->low = older(sight->low, floor)))
		return false;
	return !high || (sight->high = older(sight->high, floor_high));
}

static uint32_t step_of(const struct sight *sight) {
	uint32_t step = sight->low->step;
	return sight->high && sight->high->step > step ? sight->high->step : step;
}

unsigned il_model_choices(int thread, const struct il_op *op, uint32_t since) {
	if (op->kind != IL_LOAD && op->kind != IL_PAIR_LOAD && op->kind != IL_CAS)
		return since == 0;
	if (op->kind == IL_CAS && since)
		return 0;
	struct sight sight = newest_sight(op);
	unsigned count = 0;
	do {
		if (step_of(&sight) < since)
			break;
		count++;
	} while (older_sight(thread, op, &sight));
	return count;
}

/* ---- the steps */

static void spin_note(int thread, uint32_t location, const struct message *m, uint64_t first,
		      bool written) {
	struct spin *spin = &model.spin[thread];
	uint32_t i = 0;
	while (i < spin->count && spin->location[i] != location)
		i++;
	if (i == SPIN_MAX) {
		spin->overflow = true;
		return;
	}
	if (i == spin->count) {
		spin->count++;
		spin->location[i] = location;
		spin->first[i] = first;
		spin->written[i] = false;
	}
	spin->written[i] |= written;
	spin->message[i] = (uint32_t)(m - model.messages);
}

static void read_message(int thread, uint32_t location, struct message *m, int order) {
	see(&model.cur[thread], location, m->index);
	join(acquires(order) ? &model.cur[thread] : &model.acq[thread], &m->view);
	spin_note(thread, location, m, m->value, false);
}

/* `source`: the message that a read-modify-write read; its release goes on. */
static struct message *write_message(int thread, uint32_t location, uint64_t value, int order,
				     uint32_t step, const struct message *source) {
	struct location *l = &model.locations[location];
	uint64_t before = last_of(location)->value;
	struct message *m = append(location, value, step);
	m->thread = (uint8_t)thread;
	see(&model.cur[thread], location, m->index);
	view_keep(&m->view, releases(order) ? &model.cur[thread] : &model.rel[thread],
		  source ? &source->view : NULL);
	if (order == HF_SEQ_CST)
		see(&model.seq, location, m->index);
	spin_note(thread, location, m, before, true);
	memcpy((void *)l->where, &value, l->bytes);
	return m;
}

static void load(int thread, struct il_op *op, unsigned choice) {
	bool pair = op->kind == IL_PAIR_LOAD;
	uint32_t low = location_of(op->where, pair ? 8 : op->bytes);
	refresh(thread, low, op->site);
	if (pair)
		refresh(thread, location_of(op->where + 8, 8), op->site);
	struct sight sight = newest_sight(op);
	while (choice-- > 0)
		if (!older_sight(thread, op, &sight))
			il_fail("the schedule does not fit the test");
	op->got = sight.low->value;
	op->read_step = step_of(&sight);
	read_message(thread, low, sight.low, op->order);
	if (pair) {
		op->got_high = sight.high->value;
		read_message(thread, location_of(op->where + 8, 8), sight.high, op->order);
	}
}

static void store(int thread, const struct il_op *op, uint32_t step) {
	bool pair = op->kind == IL_PAIR_STORE;
	uint32_t low = location_of(op->where, pair ? 8 : op->bytes);
	uint32_t high = pair ? location_of(op->where + 8, 8) : 0;
	write_message(thread, low, op->value, op->order, step, NULL);
	if (pair)
		write_message(thread, high, op->value_high, op->order, step, NULL)->twin = true;
}

static uint64_t modified(const struct il_op *op) {
	uint64_t mask = op->bytes == 8 ? UINT64_MAX : ((uint64_t)1 << (op->bytes * 8)) - 1;
	switch ((enum hf_interleave_rmw)op->what) {
	case HF_INTERLEAVE_EXCHANGE:
		return op->value;
	case HF_INTERLEAVE_ADD:
		return (op->got + op->value) & mask;
	case HF_INTERLEAVE_SUB:
		return (op->got - op->value) & mask;
	case HF_INTERLEAVE_AND:
		return op->got & op->value;
	case HF_INTERLEAVE_OR:
		return op->got | op->value;
	}
	abort();
}

static void modify(int thread, struct il_op *op, unsigned choice, uint32_t step) {
	uint32_t location = location_of(op->where, op->bytes);
	refresh(thread, location, op->site);
	struct sight sight = newest_sight(op);
	while (choice-- > 0)
		if (!older_sight(thread, op, &sight))
			il_fail("the schedule does not fit the test");
	op->got = sight.low->value;
	op->read_step = sight.low->step;
	op->stored = op->kind == IL_RMW || op->got == op->expected;
	int order = op->stored ? op->order : op->order_if_failed;
	read_message(thread, location, sight.low, order);
	if (op->kind == IL_RMW)
		op->value = modified(op);
	if (!op->stored)
		return;
	write_message(thread, location, op->value, order, step, sight.low);
}

static void seq_fence(int thread) {
	struct view *cur = &model.cur[thread];
	join(cur, &model.acq[thread]);
	join_seen(cur, &model.seq);
	join_seen(&model.seq, cur);
}

static void light_fence(int thread) {
	join_seen(&model.cur[thread], &model.heavy);
	join_seen(&model.light, &model.cur[thread]);
}

static void heavy_fence(int thread) {
	join_seen(&model.cur[thread], &model.light);
	seq_fence(thread);
	join_seen(&model.heavy, &model.cur[thread]);
}

void il_model_local_fence(int thread, int order) {
	if (acquires(order))
		join(&model.cur[thread], &model.acq[thread]);
	if (releases(order))
		join(&model.rel[thread], &model.cur[thread]);
	model.cur[thread].clock[thread]++;
}

static bool is_changed(const struct spin *spin, uint32_t i) {
	return model.messages[spin->message[i]].value != spin->first[i];
}

/* It has changed something, and not back. */
static bool has_effect(const struct spin *spin) {
	for (uint32_t i = 0; i < spin->count; i++)
		if (spin->written[i] && is_changed(spin, i))
			return true;
	return spin->overflow;
}

static void next_turn(int thread) {
	struct spin *spin = &model.spin[thread];
	if (has_effect(spin))
		model.turn_count[thread] = 0;
	else
		model.turns[thread][model.turn_count[thread]++ % TURNS_MAX] = *spin;
	spin->count = 0;
	spin->begin = model.message_count;
	spin->overflow = false;
}

/* Waits and wakes are ordered as read-modify-writes that change nothing would be. */
static void futex(int thread, struct il_op *op) {
	uint32_t location = location_of(op->where, op->bytes);
	struct message *m = last_of(location);
	op->got = m->value;
	read_message(thread, location, m, HF_SEQ_CST);
}

static void touch(int thread, const struct il_op *op) {
	switch (op->kind) {
	case IL_LOAD:
		il_shadow_atomic(thread, op->where, op->bytes, false, op->site);
		break;
	case IL_PAIR_LOAD:
		il_shadow_atomic(thread, op->where, 16, false, op->site);
		break;
	case IL_PAIR_STORE:
		il_shadow_atomic(thread, op->where, 16, true, op->site);
		break;
	case IL_STORE:
	case IL_RMW:
	case IL_CAS:
		il_shadow_atomic(thread, op->where, op->bytes, true, op->site);
		break;
	default:
		break;
	}
}

void il_model_execute(int thread, struct il_op *op, unsigned choice, uint32_t step) {
	touch(thread, op);
	switch (op->kind) {
	case IL_LOAD:
	case IL_PAIR_LOAD:
		load(thread, op, choice);
		break;
	case IL_STORE:
	case IL_PAIR_STORE:
		store(thread, op, step);
		break;
	case IL_RMW:
	case IL_CAS:
		modify(thread, op, choice, step);
		break;
	case IL_FENCE:
		seq_fence(thread);
		il_model_local_fence(thread, HF_ACQ_REL);
		break;
	case IL_LIGHT:
		light_fence(thread);
		break;
	case IL_HEAVY:
		heavy_fence(thread);
		il_model_local_fence(thread, HF_ACQ_REL);
		break;
	case IL_RELAX:
		next_turn(thread);
		break;
	case IL_WAIT:
	case IL_WAKE:
		futex(thread, op);
		break;
	case IL_WOKEN:
		break;
	}
	model.cur[thread].clock[thread]++;
}

/* ---- loops that wait */

/* The first store that would make another turn another; NULL if there is none. */
static const struct message *news_after(const struct message *known, uint32_t location) {
	const struct message *last = last_of(location), *news = NULL;
	for (const struct message *m = last; m->index > known->index;
	     m = &model.messages[m->before - 1])
		if (m->value != known->value && (!m->futile || m == last))
			news = m;
	return news;
}

uint32_t il_model_news(int thread) {
	const struct spin *spin = &model.spin[thread];
	const struct message *first = NULL;
	if (has_effect(spin))
		return IL_NEWS_OWN;
	for (uint32_t i = 0; i < spin->count; i++) {
		if (is_changed(spin, i))
			return IL_NEWS_OWN;
		const struct message *news =
			news_after(&model.messages[spin->message[i]], spin->location[i]);
		if (news && (!first || news < first))
			first = news;
	}
	return first ? first->step : IL_NEWS_NONE;
}

static bool is_same(const struct spin *now, const struct spin *before) {
	if (now->count != before->count)
		return false;
	for (uint32_t i = 0; i < now->count; i++)
		if (now->location[i] != before->location[i] || now->first[i] != before->first[i] ||
		    model.messages[now->message[i]].value !=
			    model.messages[before->message[i]].value)
			return false;
	return true;
}

bool il_model_relax(int thread) {
	const struct spin *now = &model.spin[thread];
	bool repeats = false;
	if (has_effect(now))
		return true;
	for (uint32_t i = now->begin; i < model.message_count; i++)
		if (model.messages[i].thread == thread)
			model.messages[i].futile = true;
	for (uint32_t i = 0; i < TURNS_MAX && i < model.turn_count[thread]; i++)
		repeats |= is_same(now, &model.turns[thread][i]);
	return !repeats || il_model_news(thread) == IL_NEWS_NONE;
}
