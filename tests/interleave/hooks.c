/* hooks.c - what base/atomic.h calls: each access as a step, and its line in the trace. */
#include "search.h"

#include <stdio.h>
#include <string.h>

const char *il_place(il_site site) {
	static char places[4][80];
	static unsigned next;
	char *place = places[next++ % 4];
	const char *slash = strrchr(site->file, '/');
	if (site->line == 0)
		snprintf(place, sizeof(places[0]), "the heap");
	else
		snprintf(place, sizeof(places[0]), "%s:%d", slash ? slash + 1 : site->file,
			 site->line);
	return place;
}

/* ---- the trace */

static const char *number(uint64_t value) {
	static char texts[4][24];
	static unsigned next;
	char *text = texts[next++ % 4];
	snprintf(text, sizeof(texts[0]), value < 100000 ? "%ju" : "%#jx", (uintmax_t)value);
	return text;
}

static const char *order_name(int order) {
	switch (order) {
	case HF_RELAXED:
		return "relaxed";
	case HF_ACQUIRE:
		return "acquire";
	case HF_RELEASE:
		return "release";
	case HF_ACQ_REL:
		return "acq_rel";
	default:
		return "seq_cst";
	}
}

static void trace_access(const struct il_op *op, const char *text) {
	uint64_t newest = 0;
	bool stale = false;
	if (op->kind == IL_LOAD) {
		memcpy(&newest, (const void *)op->where, op->bytes);
		stale = newest != op->got;
	}
	il_note("%-52s %-8s %s%s%s", text, order_name(op->order), il_place(op->site),
		stale ? "   an old value, now it is " : "", stale ? number(newest) : "");
}

void il_trace_op(const struct il_op *op) {
	static const char *const rmw[] = { "exchange", "fetch_add", "fetch_sub", "fetch_and",
					   "fetch_or" };
	static const char *const others[] = {
		[IL_FENCE] = "fence seq_cst", [IL_LIGHT] = "fence light",
		[IL_HEAVY] = "fence heavy",   [IL_RELAX] = "goes on after hf_cpu_relax",
		[IL_WAIT] = "futex wait",     [IL_WOKEN] = "woken",
		[IL_WAKE] = "futex wake",
	};
	char text[200];
	const char *what = op->site->what;
	if (!il_is_traced())
		return;
	switch (op->kind) {
	case IL_LOAD:
		snprintf(text, sizeof(text), "load  %s -> %s", what, number(op->got));
		break;
	case IL_PAIR_LOAD:
		snprintf(text, sizeof(text), "load  %s -> { %s, %s }", what, number(op->got),
			 number(op->got_high));
		break;
	case IL_STORE:
		snprintf(text, sizeof(text), "store %s = %s", what, number(op->value));
		break;
	case IL_PAIR_STORE:
		snprintf(text, sizeof(text), "store %s = { %s, %s }", what, number(op->value),
			 number(op->value_high));
		break;
	case IL_RMW:
		snprintf(text, sizeof(text), "%s %s: %s -> %s", rmw[op->what], what,
			 number(op->got), number(op->value));
		break;
	case IL_CAS:
		snprintf(text, sizeof(text), "cas   %s: %s, wants %s%s%s", what, number(op->got),
			 number(op->expected), op->stored ? " -> " : ": fails",
			 op->stored ? number(op->value) : "");
		break;
	default:
		il_note("%-61s %s", others[op->kind], il_place(op->site));
		return;
	}
	trace_access(op, text);
}

/* ---- base/interleave.h */

uint64_t hf_interleave_load(const volatile void *where, unsigned bytes, int order, il_site site) {
	struct il_op op = { .kind = IL_LOAD,
			    .bytes = (uint8_t)bytes,
			    .order = order,
			    .where = (uintptr_t)where,
			    .site = site };
	il_step(&op);
	return op.got;
}

void hf_interleave_store(volatile void *where, unsigned bytes, uint64_t value, int order,
			 il_site site) {
	struct il_op op = { .kind = IL_STORE,
			    .bytes = (uint8_t)bytes,
			    .order = order,
			    .where = (uintptr_t)where,
			    .value = value,
			    .site = site };
	il_step(&op);
}

uint64_t hf_interleave_rmw(volatile void *where, unsigned bytes, enum hf_interleave_rmw what,
			   uint64_t value, int order, il_site site) {
	struct il_op op = { .kind = IL_RMW,
			    .bytes = (uint8_t)bytes,
			    .what = (uint8_t)what,
			    .order = order,
			    .where = (uintptr_t)where,
			    .value = value,
			    .site = site };
	il_step(&op);
	return op.got;
}

bool hf_interleave_cas(volatile void *where, unsigned bytes, uint64_t *expected, uint64_t value,
		       int success, int failure, il_site site) {
	struct il_op op = { .kind = IL_CAS,
			    .bytes = (uint8_t)bytes,
			    .order = success,
			    .order_if_failed = failure,
			    .where = (uintptr_t)where,
			    .value = value,
			    .expected = *expected,
			    .site = site };
	il_step(&op);
	*expected = op.got;
	return op.stored;
}

struct hf_atomic_pair hf_interleave_pair_load(const volatile struct hf_atomic_pair *where,
					      il_site site) {
	struct il_op op = { .kind = IL_PAIR_LOAD,
			    .bytes = 16,
			    .order = HF_ACQUIRE,
			    .where = (uintptr_t)where,
			    .site = site };
	il_step(&op);
	return (struct hf_atomic_pair){ op.got, op.got_high };
}

void hf_interleave_pair_store(volatile struct hf_atomic_pair *where, struct hf_atomic_pair pair,
			      il_site site) {
	struct il_op op = { .kind = IL_PAIR_STORE,
			    .bytes = 16,
			    .order = HF_RELEASE,
			    .where = (uintptr_t)where,
			    .value = pair.low,
			    .value_high = pair.high,
			    .site = site };
	il_step(&op);
}

static void step_alone(enum il_kind kind, il_site site) {
	struct il_op op = { .kind = kind, .order = HF_SEQ_CST, .site = site };
	il_step(&op);
}

void hf_interleave_fence(int order, il_site site) {
	if (order == HF_SEQ_CST)
		step_alone(IL_FENCE, site);
	else
		il_model_local_fence(il_current(), order);
}

void hf_interleave_fence_light(il_site site) {
	step_alone(IL_LIGHT, site);
}

bool hf_fence_heavy_works(void) {
	return !il_test_now->no_heavy_fence;
}

void hf_interleave_fence_heavy(il_site site) {
	if (!hf_fence_heavy_works())
		il_fail("%s: hf_fence_heavy does not work", il_place(site));
	step_alone(IL_HEAVY, site);
}

void hf_interleave_relax(il_site site) {
	step_alone(IL_RELAX, site);
}

void hf_interleave_plain(const volatile void *where, size_t bytes, bool writes, il_site site) {
	il_note("%-5s %-55s %s", writes ? "STORE" : "LOAD", site->what, il_place(site));
	il_shadow_plain(il_current(), (uintptr_t)where, bytes, writes, site);
}

void hf_interleave_note_new(const volatile void *where, size_t bytes, il_site site) {
	il_note("new   %-55s %s", site->what, il_place(site));
	il_shadow_new(il_current(), (uintptr_t)where, bytes, site);
}

void hf_interleave_note_dead(const volatile void *where, size_t bytes, il_site site) {
	il_note("dead  %-55s %s", site->what, il_place(site));
	il_shadow_dead(il_current(), (uintptr_t)where, bytes, site);
}

static void futex(enum il_kind kind, uint32_t *where, uint32_t expected) {
	static const struct hf_interleave_site site = { "futex", 0, "futex" };
	struct il_op op = { .kind = kind,
			    .bytes = 4,
			    .order = HF_SEQ_CST,
			    .where = (uintptr_t)where,
			    .expected = expected,
			    .site = &site };
	il_step(&op);
}

void il_futex_wait(uint32_t *where, uint32_t expected) {
	futex(IL_WAIT, where, expected);
}

void il_futex_wake(uint32_t *where) {
	futex(IL_WAKE, where, 0);
}
