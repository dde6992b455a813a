/*
 * litmus.c - is the explorer right? What each of the field's litmus tests may end in, and that
 * three searches, of which two are too simple to be wrong, find the same for programs by chance.
 */
#include <stdlib.h>
#include <string.h>

#include "explore.h"

enum { THREADS = 4, STEPS = 5, PLACES = 3, OUTCOMES_MAX = 1 << 14 };

/*
 * A step of a litmus program: a kind, a place, an order; stores store `value`. SPIN waits until the
 * place is not 0, LOCK until it can make it 1 (it was 0), UNLOCK makes it 0, TRY waits until it
 * gets the lock (place 0) without waiting, and sees under it that the next place is not 0.
 */
enum kind {
	END,
	LOAD,
	STORE,
	ADD,
	CAS,
	FENCE,
	LIGHT,
	HEAVY,
	PAIR_LOAD,
	PAIR_STORE,
	SPIN,
	LOCK,
	UNLOCK,
	TRY
};

struct step {
	enum kind kind;
	int place, order;
	uint64_t value;
};

struct program {
	struct step steps[THREADS][STEPS];
};

struct state {
	struct hf_atomic_pair words[PLACES]; /* pairs use all of it, the others the low half */
	uint64_t got[THREADS][STEPS];
};

static struct program program;
/* What was seen: hashes of ends, each once. */
static uint64_t outcomes[OUTCOMES_MAX];
static unsigned outcome_count;

/* 0: the loops end when they have what they wait for; else after so many turns. */
static int turns_max;
static bool gave_up;

static bool turn_again(int *turns) {
	gave_up |= turns_max && *turns + 1 >= turns_max;
	if (turns_max)
		return ++*turns < turns_max;
	hf_cpu_relax();
	return true;
}

static uint64_t spin(uint64_t *word, int order) {
	int turns = 0;
	uint64_t got;
	do
		got = hf_atomic_load(word, order);
	while (got == 0 && turn_again(&turns));
	return got;
}

static uint64_t lock(uint64_t *word) {
	int turns = 0;
	uint64_t free = 0;
	while (!hf_atomic_cas(word, &free, 1, HF_ACQUIRE, HF_RELAXED) && turn_again(&turns))
		free = 0;
	return 0;
}

static uint64_t try(uint64_t *word, const uint64_t *other, int order) {
	int turns = 0;
	for (uint64_t got = 0;; got = 0) {
		uint64_t free = 0;
		if (hf_atomic_load(word, HF_RELAXED) == 0 &&
		    hf_atomic_cas(word, &free, 1, HF_ACQUIRE, HF_RELAXED)) {
			got = hf_atomic_load(other, order);
			hf_atomic_store(word, 0, HF_RELEASE);
		}
		if (got != 0 || !turn_again(&turns))
			return got;
	}
}

static uint64_t play(struct state *state, const struct step *step) {
	uint64_t *word = &state->words[step->place].low;
	uint64_t expected = 0;
	struct hf_atomic_pair pair;
	int load_order = step->order == HF_RELEASE ? HF_ACQUIRE : step->order;
	int store_order = step->order == HF_ACQUIRE ? HF_RELEASE : step->order;
	switch (step->kind) {
	case LOAD:
		return hf_atomic_load(word, load_order);
	case STORE:
		hf_atomic_store(word, step->value, store_order);
		return 0;
	case ADD:
		return hf_atomic_fetch_add(word, 10, step->order);
	case CAS:
		(void)hf_atomic_cas(word, &expected, step->value, step->order, load_order);
		return expected;
	case FENCE:
		hf_fence(HF_SEQ_CST);
		return 0;
	case LIGHT:
		hf_fence_light();
		return 0;
	case HEAVY:
		hf_fence_heavy();
		return 0;
	case PAIR_LOAD:
		pair = hf_atomic_pair_load(&state->words[step->place]);
		return pair.low + pair.high * 1000;
	case PAIR_STORE:
		hf_atomic_pair_store(&state->words[step->place],
				     (struct hf_atomic_pair){ step->value, step->value });
		return 0;
	case SPIN:
		return spin(word, load_order);
	case LOCK:
		return lock(word);
	case TRY:
		return try(word, &state->words[step->place + 1].low, load_order);
	case UNLOCK:
		hf_atomic_store(word, 0, HF_RELEASE);
		return 0;
	case END:
		break;
	}
	return 0;
}

static void play_thread(struct state *state, int thread) {
	for (int i = 0; i < STEPS && program.steps[thread][i].kind != END; i++)
		state->got[thread][i] = play(state, &program.steps[thread][i]);
}

static void first(void *state) {
	play_thread(state, 0);
}

static void second(void *state) {
	play_thread(state, 1);
}

static void third(void *state) {
	play_thread(state, 2);
}

static void fourth(void *state) {
	play_thread(state, 3);
}

static void remember(uint64_t outcome) {
	for (unsigned i = 0; i < outcome_count; i++)
		if (outcomes[i] == outcome)
			return;
	if (outcome_count == OUTCOMES_MAX)
		abort();
	outcomes[outcome_count++] = outcome;
}

static void forget_turns(void *arg) {
	gave_up = false;
}

static void note_outcome(void *arg) {
	struct state *state = arg;
	if (gave_up)
		return;
	uint64_t hash = 14695981039346656037u;
	for (int i = 0; i < THREADS * STEPS; i++)
		hash = (hash ^ (&state->got[0][0])[i]) * 1099511628211u;
	for (int i = 0; i < PLACES; i++)
		hash = (hash ^ state->words[i].low ^ state->words[i].high << 20) * 1099511628211u;
	remember(hash);
}

static int by_value(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Explores the program; its outcomes are in `outcomes`, in order. */
static struct il_result outcomes_of(enum il_mode mode, int threads, void (*check)(void *state)) {
	static void (*const mains[])(void *) = { first, second, third, fourth };
	static const char *const names[] = { "first", "second", "third", "fourth" };
	struct il_test test = { .name = "litmus", .state_bytes = sizeof(struct state) };
	struct il_options options = { .mode = mode, .seconds = 1 };
	struct il_result result;
	test.setup = forget_turns;
	test.check = check;
	for (int i = 0; i < threads; i++)
		test.threads[i] = (struct il_thread){ names[i], mains[i] };
	outcome_count = 0;
	if (!il_explore(&test, &options, &result)) {
		fprintf(stderr, "a litmus program fails: %s\n", result.failure);
		exit(1);
	}
	qsort(outcomes, outcome_count, sizeof(*outcomes), by_value);
	return result;
}

/* ---- the known ones */

#define RLX HF_RELAXED
#define ACQ HF_ACQUIRE
#define REL HF_RELEASE
#define SC HF_SEQ_CST

static const struct litmus {
	const char *name;
	struct program program;
	struct {
		int thread, step;
		uint64_t value;
	} end[4]; /* of this outcome, up to the first that is all zero */
	bool possible;
} litmus[] = {
	{ "store buffering, release and acquire",
	  { { { { STORE, 0, REL, 1 }, { LOAD, 1, ACQ } },
	      { { STORE, 1, REL, 1 }, { LOAD, 0, ACQ } } } },
	  { { 0, 1, 0 }, { 1, 1, 0 } },
	  true },
	{ "store buffering, seq_cst",
	  { { { { STORE, 0, SC, 1 }, { LOAD, 1, SC } },
	      { { STORE, 1, SC, 1 }, { LOAD, 0, SC } } } },
	  { { 0, 1, 0 }, { 1, 1, 0 } },
	  false },
	{ "store buffering, fences",
	  { { { { STORE, 0, RLX, 1 }, { FENCE }, { LOAD, 1, RLX } },
	      { { STORE, 1, RLX, 1 }, { FENCE }, { LOAD, 0, RLX } } } },
	  { { 0, 2, 0 }, { 1, 2, 0 } },
	  false },
	{ "store buffering, one fence",
	  { { { { STORE, 0, RLX, 1 }, { FENCE }, { LOAD, 1, RLX } },
	      { { STORE, 1, RLX, 1 }, { LOAD, 0, RLX } } } },
	  { { 0, 2, 0 }, { 1, 1, 0 } },
	  true },
	{ "store buffering, light and heavy",
	  { { { { STORE, 0, RLX, 1 }, { LIGHT }, { LOAD, 1, RLX } },
	      { { STORE, 1, RLX, 1 }, { HEAVY }, { LOAD, 0, RLX } } } },
	  { { 0, 2, 0 }, { 1, 2, 0 } },
	  false },
	{ "store buffering, light and light",
	  { { { { STORE, 0, RLX, 1 }, { LIGHT }, { LOAD, 1, RLX } },
	      { { STORE, 1, RLX, 1 }, { LIGHT }, { LOAD, 0, RLX } } } },
	  { { 0, 2, 0 }, { 1, 2, 0 } },
	  true },
	{ "store buffering, light and seq_cst",
	  { { { { STORE, 0, RLX, 1 }, { LIGHT }, { LOAD, 1, RLX } },
	      { { STORE, 1, RLX, 1 }, { FENCE }, { LOAD, 0, RLX } } } },
	  { { 0, 2, 0 }, { 1, 2, 0 } },
	  true },
	{ "message passing, relaxed",
	  { { { { STORE, 0, RLX, 1 }, { STORE, 1, RLX, 1 } },
	      { { LOAD, 1, ACQ }, { LOAD, 0, RLX } } } },
	  { { 1, 0, 1 }, { 1, 1, 0 } },
	  true },
	{ "message passing, release and acquire",
	  { { { { STORE, 0, RLX, 1 }, { STORE, 1, REL, 1 } },
	      { { LOAD, 1, ACQ }, { LOAD, 0, RLX } } } },
	  { { 1, 0, 1 }, { 1, 1, 0 } },
	  false },
	{ "message passing, through a read-modify-write between",
	  { { { { STORE, 0, RLX, 1 }, { STORE, 1, REL, 1 } },
	      { { LOAD, 1, ACQ }, { LOAD, 0, RLX } },
	      { { ADD, 1, RLX } } } },
	  { { 1, 0, 11 }, { 1, 1, 0 } },
	  false },
	{ "coherence of two loads",
	  { { { { STORE, 0, RLX, 1 } }, { { LOAD, 0, RLX }, { LOAD, 0, RLX } } } },
	  { { 1, 0, 1 }, { 1, 1, 0 } },
	  false },
	{ "independent reads of independent writes, acquire",
	  { { { { STORE, 0, REL, 1 } },
	      { { STORE, 1, REL, 1 } },
	      { { LOAD, 0, ACQ }, { LOAD, 1, ACQ } },
	      { { LOAD, 1, ACQ }, { LOAD, 0, ACQ } } } },
	  { { 2, 0, 1 }, { 2, 1, 0 }, { 3, 0, 1 }, { 3, 1, 0 } },
	  true },
	{ "independent reads of independent writes, seq_cst",
	  { { { { STORE, 0, SC, 1 } },
	      { { STORE, 1, SC, 1 } },
	      { { LOAD, 0, SC }, { LOAD, 1, SC } },
	      { { LOAD, 1, SC }, { LOAD, 0, SC } } } },
	  { { 2, 0, 1 }, { 2, 1, 0 }, { 3, 0, 1 }, { 3, 1, 0 } },
	  false },
	{ "load buffering: possible on arm64, but not found here",
	  { { { { LOAD, 0, RLX }, { STORE, 1, RLX, 1 } },
	      { { LOAD, 1, RLX }, { STORE, 0, RLX, 1 } } } },
	  { { 0, 0, 1 }, { 1, 0, 1 } },
	  false },
	{ "two additions that are one",
	  { { { { ADD, 0, RLX } }, { { ADD, 0, RLX } } } },
	  { { 0, 0, 0 }, { 1, 0, 0 } },
	  false },
	{ "half of a pair's store",
	  { { { { PAIR_STORE, 0, RLX, 1 } }, { { PAIR_LOAD, 0, RLX } } } },
	  { { 1, 0, 1 } },
	  false },
	{ "a whole pair, though one half alone is newer",
	  { { { { PAIR_STORE, 0, RLX, 1 }, { STORE, 0, RLX, 2 } }, { { PAIR_LOAD, 0, RLX } } } },
	  { { 1, 0, 1002 } },
	  true },
};

static const struct litmus *litmus_now;
static bool litmus_seen;

static void look_for_end(void *arg) {
	struct state *state = arg;
	bool all = true;
	for (int i = 0; i < 4; i++) {
		int thread = litmus_now->end[i].thread, step = litmus_now->end[i].step;
		if (i > 0 && !thread && !step && !litmus_now->end[i].value)
			break;
		all &= state->got[thread][step] == litmus_now->end[i].value;
	}
	litmus_seen |= all;
}

static int count_threads(void) {
	int threads = 0;
	while (threads < THREADS && program.steps[threads][0].kind != END)
		threads++;
	return threads;
}

static bool check_litmus(void) {
	bool good = true;
	for (size_t i = 0; i < sizeof(litmus) / sizeof(*litmus); i++) {
		litmus_now = &litmus[i];
		litmus_seen = false;
		program = litmus_now->program;
		struct il_result result = outcomes_of(IL_ALL, count_threads(), look_for_end);
		bool right = result.complete && litmus_seen == litmus_now->possible;
		printf("%-9s %5ju runs  %s%s\n", litmus_seen ? "possible" : "never",
		       (uintmax_t)result.runs, litmus_now->name, right ? "" : "   WRONG");
		good &= right;
	}
	return good;
}

/* ---- programs by chance */

static uint64_t random_state;

static unsigned below(unsigned limit) {
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(random_state >> 33) % limit;
}

static void make_program(int threads, int steps) {
	static const enum kind kinds[] = { LOAD, LOAD, LOAD,  LOAD,  STORE, STORE,     STORE,
					   ADD,	 CAS,  FENCE, LIGHT, HEAVY, PAIR_LOAD, PAIR_STORE };
	static const int orders[] = { HF_RELAXED, HF_RELAXED, HF_ACQUIRE, HF_RELEASE, HF_SEQ_CST };
	unsigned simple = below(3) ? 9 : 14; /* often without fences and pairs */
	memset(&program, 0, sizeof(program));
	for (int t = 0; t < threads; t++)
		for (int i = 0; i < steps; i++)
			program.steps[t][i] = (struct step){
				kinds[below(simple)],
				(int)below(simple == 9 ? 3 : 2),
				orders[below(5)],
				1 + below(3),
			};
}

static void print_program(int threads) {
	static const char *const names[] = { "end",   "load",  "store", "add",	     "cas",
					     "fence", "light", "heavy", "pair load", "pair store",
					     "spin",  "lock",  "unlock" };
	for (int t = 0; t < threads; t++)
		for (int i = 0; i < STEPS && program.steps[t][i].kind != END; i++)
			printf("  thread %d: %s place %d order %d value %ju\n", t,
			       names[program.steps[t][i].kind], program.steps[t][i].place,
			       program.steps[t][i].order, (uintmax_t)program.steps[t][i].value);
}

/* The same with loops that wait: for a store that another thread makes, or for a lock. */
static void add_loops(int threads) {
	int waiter = (int)below((unsigned)threads), storer = (waiter + 1) % threads;
	struct step *steps = program.steps[waiter];
	unsigned what = below(3);
	if (what == 0) { /* two of three, or one of two, try; the other one's store lets them */
		for (int t = 0; t + 1 < threads; t++)
			program.steps[t][0] = (struct step){ TRY, 0, HF_ACQUIRE, 0 };
		for (int t = 0; t < threads; t++)
			for (int i = 1; i < STEPS; i++)
				program.steps[t][i].place = program.steps[t][i].place % 2 + 1;
		program.steps[threads - 1][0].place = 2;
		program.steps[threads - 1][1] = (struct step){ STORE, 1, HF_RELEASE, 1 };
		return;
	}
	if (what == 1) {
		steps[below(2)] = (struct step){ SPIN, 0, HF_ACQUIRE, 0 };
		program.steps[storer][below(2)] = (struct step){ STORE, 0, HF_RELEASE, 1 };
		return;
	}
	for (int t = 0; t < threads; t++) {
		for (int i = 0; i < STEPS; i++) /* the lock's place is its own */
			program.steps[t][i].place = (program.steps[t][i].place & 1) + 1;
		program.steps[t][0] = (struct step){ LOCK, 0, 0, 0 };
		program.steps[t][2] = (struct step){ UNLOCK, 0, 0, 0 };
	}
}

struct way {
	enum il_mode mode;
	int turns_max;
};

/*
 * IL_ALL finds exactly what the simpler searches find; and where there are loops, what is found if
 * each is two turns, and the runs that need a third do not count.
 */
static bool check_program(uint64_t seed, bool loops, uint64_t runs[3], uint64_t *compared) {
	static uint64_t wanted[OUTCOMES_MAX];
	static const struct way ways[] = {
		{ IL_NAIVE, 2 }, { IL_NAIVE, 0 }, { IL_SLEEP, 0 }, { IL_ALL, 0 }
	};
	unsigned wanted_count = 0;
	random_state = seed * 0x9e3779b97f4a7c15u;
	int threads = 2 + (int)below(2), steps = threads == 2 || !below(32) ? 3 : 2;
	make_program(threads, steps);
	if (loops)
		add_loops(threads);
	/* With locks that are only tried, no reduction at all would take too long. */
	bool tries = loops && program.steps[0][0].kind == TRY;
	int first_way = loops ? 0 : 1;
	for (int i = first_way; i < 4; i++) {
		if (tries && i == 1)
			continue;
		turns_max = ways[i].turns_max;
		struct il_result result = outcomes_of(tries && i == 0 ? IL_SLEEP : ways[i].mode,
						      threads, note_outcome);
		if (!result.complete)
			return true;
		if (i > 0)
			runs[i - 1] += result.runs + result.cut;
		if (i == first_way) {
			wanted_count = outcome_count;
			memcpy(wanted, outcomes, sizeof(*outcomes) * outcome_count);
		} else if (wanted_count != outcome_count ||
			   memcmp(wanted, outcomes, sizeof(*outcomes) * outcome_count) != 0) {
			printf("seed %ju, %s: way %d finds %u ends, not %u\n", (uintmax_t)seed,
			       loops ? "loops" : "no loops", i, outcome_count, wanted_count);
			print_program(threads);
			return false;
		}
	}
	(*compared)++;
	return true;
}

static bool check_programs(uint64_t from, uint64_t count, bool loops) {
	uint64_t runs[3] = { 0 }, compared = 0;
	bool good = true;
	for (uint64_t seed = from; seed < from + count; seed++)
		good &= check_program(seed, loops, runs, &compared);
	printf("%ju programs by chance %s loops (%ju took too long): %ju runs without reduction, "
	       "%ju with sleep sets, %ju with all\n",
	       (uintmax_t)compared, loops ? "with" : "without", (uintmax_t)(count - compared),
	       (uintmax_t)runs[0], (uintmax_t)runs[1], (uintmax_t)runs[2]);
	return good && compared > count / 2;
}

int main(int argc, char **argv) {
	uint64_t from = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 300;
	bool good = check_litmus();
	good &= check_programs(from, count, false);
	good &= check_programs(from, count / 20, true);
	return good ? 0 : 1;
}
