/*
 * planted.c - does the explorer find them? One small protocol per class of bug, wrong and right:
 * the wrong one must fail under every search, in the way that is written here, and fail the same
 * way again from its schedule; the right one must pass every behaviour.
 *
 *     planted [-v] [PART-OF-NAME]      -v prints the failing runs
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "explore.h"

/* What is wrong now: 0 nothing, else which of the test's bugs. */
static int bug;

/* ---- helpers of the protocols */

static void lock(uint32_t *word) {
	uint32_t free = 0;
	while (!hf_atomic_cas(word, &free, 1u, HF_ACQUIRE, HF_RELAXED)) {
		free = 0;
		hf_cpu_relax();
	}
}

static void unlock(uint32_t *word) {
	hf_atomic_store(word, 0u, HF_RELEASE);
}

/* ---- check-then-act: who takes the free slot? */

struct slot {
	uint64_t owner;
	bool taken[2];
};

static bool take(struct slot *slot, uint64_t who) {
	uint64_t nobody = 0;
	if (!bug)
		return hf_atomic_cas(&slot->owner, &nobody, who, HF_ACQ_REL, HF_RELAXED);
	if (hf_atomic_load(&slot->owner, HF_SEQ_CST) != 0)
		return false;
	hf_atomic_store(&slot->owner, who, HF_SEQ_CST);
	return true;
}

static void slot_first(void *state) {
	struct slot *slot = state;
	slot->taken[0] = take(slot, 1);
}

static void slot_second(void *state) {
	struct slot *slot = state;
	slot->taken[1] = take(slot, 2);
}

static void slot_check(void *state) {
	struct slot *slot = state;
	IL_CHECK(slot->taken[0] + slot->taken[1] == 1);
}

/* ---- lost update */

static void count_thrice(void *state) {
	uint64_t *count = state;
	for (int i = 0; i < 3; i++) {
		if (bug)
			hf_atomic_store(count, hf_atomic_load(count, HF_SEQ_CST) + 1, HF_SEQ_CST);
		else
			hf_atomic_fetch_add(count, 1, HF_RELAXED);
	}
}

static void count_check(void *state) {
	IL_CHECK(*(uint64_t *)state == 6);
}

/* ---- data race: bug 1 forgets the lock on one side */

struct guarded {
	uint32_t lock;
	uint64_t value;
};

static void guarded_add(struct guarded *guarded, bool locks) {
	if (locks)
		lock(&guarded->lock);
	hf_plain_store(&guarded->value, hf_plain_load(&guarded->value) + 1);
	if (locks)
		unlock(&guarded->lock);
}

static void guarded_first(void *state) {
	guarded_add(state, true);
}

static void guarded_second(void *state) {
	guarded_add(state, !bug);
}

/* ---- publication: bug 1 without release, of plain fields; bug 2 the same of atomic ones */

struct record {
	uint64_t a, b;
};

static void publish(void *state) {
	struct record **shared = state, *record = hf_memory_new(sizeof(*record));
	if (bug == 2) {
		hf_atomic_store(&record->a, 7, HF_RELAXED);
		hf_atomic_store(&record->b, 7, HF_RELAXED);
	} else {
		hf_plain_store(&record->a, 7);
		hf_plain_store(&record->b, 7);
	}
	hf_atomic_store(shared, record, bug ? HF_RELAXED : HF_RELEASE);
}

static void read_published(void *state) {
	struct record **shared = state, *record = hf_atomic_load(shared, HF_ACQUIRE);
	if (!record)
		return;
	if (bug == 2)
		IL_CHECK(hf_atomic_load(&record->a, HF_RELAXED) == 7);
	else
		IL_CHECK(hf_plain_load(&record->a) + hf_plain_load(&record->b) == 14);
}

/* The same in memory that was there before: only the values can tell. */
struct message {
	struct record record;
	uint64_t ready;
};

static void message_send(void *state) {
	struct message *message = state;
	hf_atomic_store(&message->record.a, 7, HF_RELAXED);
	hf_atomic_store(&message->ready, 1, bug ? HF_RELAXED : HF_RELEASE);
}

static void message_receive(void *state) {
	struct message *message = state;
	while (!hf_atomic_load(&message->ready, HF_ACQUIRE))
		hf_cpu_relax();
	IL_CHECK(hf_atomic_load(&message->record.a, HF_RELAXED) == 7);
}

/*
 * ---- early free: a reader pins itself, a writer takes the record out and frees it when nobody is
 * pinned. Bug 1: it does not wait. Bug 2: the pin is not fenced. Bug 3: the writer looks for pins
 * before it takes the record out. Bug 4: the reader unpins, then reads.
 */
struct pinned {
	struct record *record;
	uint64_t pin;
};

static void pinned_setup(void *state) {
	struct pinned *pinned = state;
	pinned->record = hf_memory_new(sizeof(*pinned->record));
	hf_plain_store(&pinned->record->a, 7);
}

static void pinned_read(void *state) {
	struct pinned *pinned = state;
	hf_atomic_store(&pinned->pin, 1, HF_RELAXED);
	if (bug != 2)
		hf_fence_light();
	struct record *record = hf_atomic_load(&pinned->record, HF_ACQUIRE);
	if (bug == 4)
		hf_atomic_store(&pinned->pin, 0, HF_RELEASE);
	if (record)
		IL_CHECK(hf_plain_load(&record->a) == 7);
	if (bug != 4)
		hf_atomic_store(&pinned->pin, 0, HF_RELEASE);
}

static void pinned_wait(struct pinned *pinned) {
	hf_fence_heavy();
	while (hf_atomic_load(&pinned->pin, HF_ACQUIRE))
		hf_cpu_relax();
}

static void pinned_free(void *state) {
	struct pinned *pinned = state;
	struct record *record = pinned->record;
	if (bug == 3)
		pinned_wait(pinned);
	hf_atomic_store(&pinned->record, NULL, HF_RELEASE);
	if (bug != 1 && bug != 3)
		pinned_wait(pinned);
	hf_memory_free(record);
}

/*
 * ---- torn read of several fields, under a sequence lock. Bug 1: the reader does not look at the
 * version again. Bug 2: it does, but nothing keeps the fields' loads before that. Bug 3: the writer
 * does not make the version odd first.
 */
struct versioned {
	uint64_t version, a, b;
};

static void versioned_write(void *state) {
	struct versioned *v = state;
	if (bug != 3)
		hf_atomic_store(&v->version, 1, HF_RELAXED);
	hf_fence(HF_RELEASE);
	hf_atomic_store(&v->a, 5, HF_RELAXED);
	hf_atomic_store(&v->b, 5, HF_RELAXED);
	hf_atomic_store(&v->version, 2, HF_RELEASE);
}

static void versioned_read(void *state) {
	struct versioned *v = state;
	for (;;) {
		uint64_t before = hf_atomic_load(&v->version, HF_ACQUIRE);
		uint64_t a = hf_atomic_load(&v->a, HF_RELAXED);
		uint64_t b = hf_atomic_load(&v->b, HF_RELAXED);
		if (bug != 2)
			hf_fence(HF_ACQUIRE);
		uint64_t after = hf_atomic_load(&v->version, HF_RELAXED);
		if (bug == 1 || (before == after && !(before & 1))) {
			IL_CHECK(a == b);
			return;
		}
		hf_cpu_relax();
	}
}

/* ---- torn pair: bug 1 stores the halves one by one; bug 2 loads them so */

static void pair_write(void *state) {
	struct hf_atomic_pair *pair = state;
	for (uint64_t i = 1; i <= 2; i++) {
		if (bug == 1) {
			hf_atomic_store(&pair->low, i, HF_RELEASE);
			hf_atomic_store(&pair->high, i, HF_RELEASE);
		} else {
			hf_atomic_pair_store(pair, (struct hf_atomic_pair){ i, i });
		}
	}
}

static void pair_read(void *state) {
	struct hf_atomic_pair *pair = state, got;
	if (bug == 2) {
		got.low = hf_atomic_load(&pair->low, HF_SEQ_CST);
		got.high = hf_atomic_load(&pair->high, HF_SEQ_CST);
	} else {
		got = hf_atomic_pair_load(pair);
	}
	IL_CHECK(got.low == got.high);
}

/* ---- store buffering: Dekker's entry. Bug 1: release and acquire; bug 2: one fence lacks */

struct dekker {
	uint64_t wants[2], inside;
};

static void dekker_enter(struct dekker *dekker, int me) {
	hf_atomic_store(&dekker->wants[me], 1, bug == 1 ? HF_RELEASE : HF_RELAXED);
	if (bug != 1 && (bug != 2 || me == 0))
		hf_fence(HF_SEQ_CST);
	if (hf_atomic_load(&dekker->wants[!me], HF_ACQUIRE))
		return;
	IL_CHECK(hf_atomic_fetch_add(&dekker->inside, 1, HF_RELAXED) == 0);
}

static void dekker_first(void *state) {
	dekker_enter(state, 0);
}

static void dekker_second(void *state) {
	dekker_enter(state, 1);
}

/* ---- ABA: a stack of nodes that are used again; right with a count beside the top */

enum { NODES = 3 };

struct stack {
	uint64_t top; /* node number + 1, above it a count */
	uint64_t next[NODES];
	bool out[NODES];
};

static uint64_t counted(uint64_t top, uint64_t node) {
	return bug ? node : node | ((top >> 32) + 1) << 32;
}

static uint64_t pop(struct stack *stack) {
	uint64_t top = hf_atomic_load(&stack->top, HF_ACQUIRE);
	for (;;) {
		uint64_t node = top & 0xff;
		if (node == 0)
			return 0;
		uint64_t next = hf_atomic_load(&stack->next[node - 1], HF_RELAXED);
		if (hf_atomic_cas(&stack->top, &top, counted(top, next & 0xff), HF_ACQ_REL,
				  HF_ACQUIRE))
			return node;
	}
}

static void push(struct stack *stack, uint64_t node) {
	uint64_t top = hf_atomic_load(&stack->top, HF_ACQUIRE);
	do
		hf_atomic_store(&stack->next[node - 1], top & 0xff, HF_RELAXED);
	while (!hf_atomic_cas(&stack->top, &top, counted(top, node), HF_ACQ_REL, HF_ACQUIRE));
}

static void stack_setup(void *state) {
	struct stack *stack = state;
	for (uint64_t i = NODES; i > 0; i--)
		push(stack, i);
}

static void stack_pop(void *state) {
	struct stack *stack = state;
	uint64_t node = pop(stack);
	if (node)
		stack->out[node - 1] = true;
}

/* Keeps what it pops second, and puts the first back. */
static void stack_churn(void *state) {
	struct stack *stack = state;
	uint64_t first = pop(stack), second = pop(stack);
	if (second)
		stack->out[second - 1] = true;
	if (first)
		push(stack, first);
}

static void stack_check(void *state) {
	struct stack *stack = state;
	for (uint64_t node; (node = pop(stack)) != 0; stack->out[node - 1] = true)
		IL_CHECK(!stack->out[node - 1]); /* nobody else has it */
}

/* ---- missed wake-up: bug 1 notes the count of events after it looked; bug 2 forgets one wake */

struct mailbox {
	uint32_t events;
	uint64_t mail[2];
};

static void mailbox_put(struct mailbox *box, int who) {
	hf_atomic_store(&box->mail[who], 1, HF_RELEASE);
	hf_atomic_fetch_add(&box->events, 1, HF_RELEASE);
	if (bug != 2 || who == 0)
		il_futex_wake(&box->events);
}

static void mailbox_first(void *state) {
	mailbox_put(state, 0);
}

static void mailbox_second(void *state) {
	mailbox_put(state, 1);
}

static void mailbox_take(void *state) {
	struct mailbox *box = state;
	for (;;) {
		uint32_t seen = hf_atomic_load(&box->events, HF_ACQUIRE);
		if (hf_atomic_load(&box->mail[0], HF_ACQUIRE) &&
		    hf_atomic_load(&box->mail[1], HF_ACQUIRE))
			return;
		if (bug == 1)
			seen = hf_atomic_load(&box->events, HF_ACQUIRE);
		il_futex_wait(&box->events, seen);
	}
}

/* ---- deadlock: two locks, by bug 1 in two orders */

struct locks {
	uint32_t a, b;
};

static void locks_take(uint32_t *one, uint32_t *other) {
	lock(one);
	lock(other);
	unlock(other);
	unlock(one);
}

static void locks_first(void *state) {
	struct locks *locks = state;
	locks_take(&locks->a, &locks->b);
}

static void locks_second(void *state) {
	struct locks *locks = state;
	locks_take(bug ? &locks->b : &locks->a, bug ? &locks->a : &locks->b);
}

/* ---- livelock: two who step aside for each other, by bug 1 for ever */

static void polite(struct dekker *dekker, int me) {
	for (int tries = 0; bug || tries < 2; tries++) {
		hf_atomic_store(&dekker->wants[me], 1, HF_SEQ_CST);
		if (!hf_atomic_load(&dekker->wants[!me], HF_SEQ_CST))
			break;
		hf_atomic_store(&dekker->wants[me], 0, HF_SEQ_CST);
	}
	hf_atomic_store(&dekker->wants[me], 0, HF_SEQ_CST);
}

static void polite_first(void *state) {
	polite(state, 0);
}

static void polite_second(void *state) {
	polite(state, 1);
}

/* ---- all of them */

static const struct planted {
	struct il_test test;
	int bugs;
	const char *failures[4]; /* what the failure says, per bug */
} planted[] = {
	{ { "check-then-act",
	    sizeof(struct slot),
	    NULL,
	    slot_check,
	    { { "first", slot_first }, { "second", slot_second } } },
	  1,
	  { "== 1 does not hold" } },
	{ { "lost update",
	    sizeof(uint64_t),
	    NULL,
	    count_check,
	    { { "first", count_thrice }, { "second", count_thrice } } },
	  1,
	  { "== 6 does not hold" } },
	{ { "data race",
	    sizeof(struct guarded),
	    NULL,
	    NULL,
	    { { "first", guarded_first }, { "second", guarded_second } } },
	  1,
	  { "data race on &guarded->value" } },
	{ { "publication without release",
	    sizeof(void *),
	    NULL,
	    NULL,
	    { { "writer", publish }, { "reader", read_published } } },
	  2,
	  { "not published", "not published" } },
	{ { "message without release",
	    sizeof(struct message),
	    NULL,
	    NULL,
	    { { "writer", message_send }, { "reader", message_receive } } },
	  1,
	  { "== 7 does not hold" } },
	{ { "early free",
	    sizeof(struct pinned),
	    pinned_setup,
	    NULL,
	    { { "reader", pinned_read }, { "writer", pinned_free } } },
	  4,
	  { "free", "free", "free", "free" } },
	{ { "torn read",
	    sizeof(struct versioned),
	    NULL,
	    NULL,
	    { { "writer", versioned_write }, { "reader", versioned_read } } },
	  3,
	  { "a == b does not hold", "a == b does not hold", "a == b does not hold" } },
	{ { "torn pair",
	    sizeof(struct hf_atomic_pair),
	    NULL,
	    NULL,
	    { { "writer", pair_write }, { "reader", pair_read } } },
	  2,
	  { "got.low == got.high", "got.low == got.high" } },
	{ { "store buffering",
	    sizeof(struct dekker),
	    NULL,
	    NULL,
	    { { "first", dekker_first }, { "second", dekker_second } } },
	  2,
	  { "== 0 does not hold", "== 0 does not hold" } },
	{ { "ABA",
	    sizeof(struct stack),
	    stack_setup,
	    stack_check,
	    { { "popper", stack_pop }, { "churner", stack_churn } } },
	  1,
	  { "!stack->out[node - 1] does not hold" } },
	{ { "missed wake-up",
	    sizeof(struct mailbox),
	    NULL,
	    NULL,
	    { { "taker", mailbox_take },
	      { "first", mailbox_first },
	      { "second", mailbox_second } } },
	  2,
	  { "nobody can go on", "nobody can go on" } },
	{ { "deadlock",
	    sizeof(struct locks),
	    NULL,
	    NULL,
	    { { "first", locks_first }, { "second", locks_second } } },
	  1,
	  { "nobody can go on" } },
	{ { "livelock",
	    sizeof(struct dekker),
	    NULL,
	    NULL,
	    { { "first", polite_first }, { "second", polite_second } } },
	  1,
	  { "livelock" } },
};

static const struct search {
	const char *name;
	struct il_options options;
} searches[] = {
	{ "all", { .mode = IL_ALL } },
	{ "bounded", { .mode = IL_BOUNDED, .preemptions = 2, .stale = 1 } },
	{ "random", { .mode = IL_RANDOM, .seed = 1, .runs = 100000, .stale = 3 } },
};

static bool passes(const struct planted *it) {
	struct il_options options = { .mode = IL_ALL, .trace = stdout };
	struct il_result result;
	bug = 0;
	bool passed = il_explore(&it->test, &options, &result) && result.complete;
	printf("| %-28s | - | all | %-5s | %6ju + %ju | %u | %.3f |\n", it->test.name,
	       passed ? "right" : "WRONG", (uintmax_t)result.runs, (uintmax_t)result.cut,
	       result.longest, result.seconds);
	return passed;
}

/* Found, as what it is, and again from its schedule. */
static bool is_found(const struct planted *it, const struct search *search, bool verbose) {
	struct il_options options = search->options;
	struct il_result result, again;
	options.trace = verbose ? stdout : NULL;
	bool found = !il_explore(&it->test, &options, &result) &&
		     strstr(result.failure, it->failures[bug - 1]) &&
		     !strstr(result.failure, "does not replay");
	struct il_options replay = { .mode = IL_REPLAY, .schedule = result.schedule };
	found = found && !il_explore(&it->test, &replay, &again) &&
		strcmp(again.failure, result.failure) == 0 &&
		strcmp(again.schedule, result.schedule) == 0;
	printf("| %-28s | %d | %-7s | %-5s | %6ju + %ju | %u | %.3f |\n", it->test.name, bug,
	       search->name, found ? "found" : "MISSED", (uintmax_t)result.runs,
	       (uintmax_t)result.cut, result.longest, result.seconds);
	if (!found)
		printf("    %s (%s)\n", result.failed ? result.failure : "no failure",
		       result.schedule);
	return found;
}

int main(int argc, char **argv) {
	bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0, good = true;
	const char *part = argc > 1 + verbose ? argv[1 + verbose] : "";
	printf("| bug | variant | search | | runs + cut short | steps | seconds |\n");
	for (size_t i = 0; i < sizeof(planted) / sizeof(*planted); i++) {
		if (!strstr(planted[i].test.name, part))
			continue;
		for (bug = 1; bug <= planted[i].bugs; bug++)
			for (int s = 0; s < 3; s++)
				good &= is_found(&planted[i], &searches[s], verbose);
		good &= passes(&planted[i]);
	}
	return good ? 0 : 1;
}
