/*
 * thread.c - thread.h as fibers of one thread of the system, and who runs next.
 *
 * A fiber runs until it waits, or until chance takes its turn away where it locks, unlocks or does
 * I/O. A stack is used again and again: its bottom frame (begin) is where each new fiber on it
 * starts.
 */
#include "os/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "os/sim/world.h"

#define STACK_SIZE ((size_t)1 << 20)
#define JUMPS_MAX \
	10000u /* of the clock, with nothing else to do, before the main thread runs again */
#define PREEMPT_ONE_IN 8u
#define SPURIOUS_ONE_IN 64u

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

struct stack {
	struct stack *next; /* spare */
	uint8_t *bottom;
	size_t size;
	jmp_buf begin;
};

struct sim_mutex {
	uint32_t owner; /* fiber + 1 */
};

struct sim_thread {
	uint32_t fiber;
};

_Static_assert(sizeof(struct sim_mutex) <= sizeof(struct hf_mutex), "it fits");
_Static_assert(sizeof(struct sim_thread) <= sizeof(((struct hf_thread *)0)->handle), "it fits");

static struct stack *spare_stacks;

/* ---- what AddressSanitizer must be told ---- */

static void leaving(struct fiber *from, const struct fiber *to) {
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(&from->sanitizer, to->stack_bottom, to->stack_size);
#endif
}

/* On the stack of `now`, coming from `from`. */
static void arrived(struct fiber *from, struct fiber *now) {
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(now->sanitizer, &from->stack_bottom, &from->stack_size);
#endif
}

/* ---- stacks and switches ---- */

static _Noreturn void run_fiber(void);

static struct stack *stack_being_made;
static struct fiber stack_maker, stack_itself; /* for the switch there and back */

static void begin(void) {
	arrived(&stack_maker, &stack_itself);
	leaving(&stack_itself, &stack_maker);
	if (_setjmp(stack_being_made->begin) == 0)
		_longjmp(stack_maker.at, 1);
	run_fiber();
}

__attribute__((noinline)) static void go_and_come_back(ucontext_t *context) {
	HF_ASSERT(getcontext(context) == 0);
	context->uc_stack.ss_sp = stack_being_made->bottom;
	context->uc_stack.ss_size = stack_being_made->size;
	context->uc_link = NULL;
	makecontext(context, begin, 0);
	leaving(&stack_maker, &stack_itself);
	if (_setjmp(stack_maker.at) == 0)
		setcontext(context);
	arrived(&stack_itself, &stack_maker);
}

static struct stack *stack_new(void) {
	struct stack *stack = spare_stacks;
	if (stack != NULL) {
		spare_stacks = stack->next;
		return stack;
	}
	ucontext_t context;
	stack = malloc(sizeof(*stack));
	HF_ASSERT(stack != NULL);
	stack->size = STACK_SIZE;
	stack->bottom = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	HF_ASSERT(stack->bottom != MAP_FAILED);
	stack_being_made = stack;
	stack_itself.stack_bottom = stack->bottom;
	stack_itself.stack_size = stack->size;
	go_and_come_back(&context);
	return stack;
}

static void stack_free(struct stack *stack) {
#ifdef __SANITIZE_ADDRESS__
	/* A fiber that crashed has left its frames. */
	__asan_unpoison_memory_region(stack->bottom, stack->size);
#endif
	stack->next = spare_stacks;
	spare_stacks = stack;
}

static struct fiber *coming_from;

__attribute__((noinline)) static void switch_to(struct sim *sim, uint32_t next) {
	struct fiber *from = &sim->fibers[sim->fiber], *to = &sim->fibers[next];
	if (from == to)
		return;
	sim->fiber = next;
	sim->switches++;
	sim_trace_add(sim, next);
	coming_from = from;
	leaving(from, to);
	if (_setjmp(from->at) == 0)
		_longjmp(to->at, 1);
	arrived(coming_from, from);
	if (sim->leaving)
		_longjmp(sim->out, 1);
}

void sim_fibers_leave(struct sim *sim, enum sim_end end) {
	sim->end = end;
	sim->leaving = true;
	if (sim->fiber != 0)
		switch_to(sim, 0);
	_longjmp(sim->out, 1);
}

void sim_fibers_begin(struct sim *sim) {
	memset(sim->fibers, 0, sizeof(sim->fibers));
	sim->fiber = 0;
	sim->fibers[0].state = FIBER_READY;
	sim->leaving = false;
	sim->jumps = 0;
}

void sim_fibers_end(struct sim *sim) {
	for (uint32_t i = 1; i < FIBERS_MAX; i++)
		if (sim->fibers[i].state != FIBER_FREE)
			stack_free(sim->fibers[i].stack);
}

/* ---- who runs next ---- */

/* Wakes whose time has come; returns how many are ready. */
static uint32_t count_ready(struct sim *sim, uint64_t *ret_next_ns) {
	uint32_t ready = 0;
	*ret_next_ns = 0;
	for (uint32_t i = 0; i < FIBERS_MAX; i++) {
		struct fiber *fiber = &sim->fibers[i];
		if (fiber->state == FIBER_WAITS && fiber->until_ns != 0) {
			if (fiber->until_ns <= sim->now_ns)
				fiber->state = FIBER_READY;
			else if (*ret_next_ns == 0 || fiber->until_ns < *ret_next_ns)
				*ret_next_ns = fiber->until_ns;
		}
		ready += fiber->state == FIBER_READY;
	}
	return ready;
}

static void schedule(struct sim *sim) {
	uint64_t next_ns;
	uint32_t ready;
	while ((ready = count_ready(sim, &next_ns)) == 0) {
		if (sim_flusher_complete(sim))
			continue;
		if (next_ns == 0) {
			snprintf(sim->why, sizeof(sim->why), "every thread waits for another one");
			sim_fibers_leave(sim, SIM_DEADLOCK);
		}
		if (sim->jumps++ == JUMPS_MAX) {
			snprintf(sim->why, sizeof(sim->why), "the main thread waits for ever");
			sim_fibers_leave(sim, SIM_HUNG);
		}
		sim->now_ns = next_ns;
	}
	uint32_t turn = ready == 1 ? 0 : sim_below(&sim->random, ready), next = 0;
	while (sim->fibers[next].state != FIBER_READY || turn-- > 0)
		next++;
	if (next == 0)
		sim->jumps = 0;
	switch_to(sim, next);
}

void sim_wait_for(struct sim *sim, const void *what, uint64_t until_ns) {
	struct fiber *fiber = &sim->fibers[sim->fiber];
	fiber->state = FIBER_WAITS;
	fiber->waits_for = what;
	fiber->until_ns = until_ns;
	schedule(sim);
}

void sim_wake_all(struct sim *sim, const void *what) {
	for (uint32_t i = 0; i < FIBERS_MAX; i++)
		if (sim->fibers[i].state == FIBER_WAITS && sim->fibers[i].waits_for == what)
			sim->fibers[i].state = FIBER_READY;
}

void sim_yield(void) {
	schedule(sim_world());
}

void sim_sleep(uint64_t ns) {
	struct sim *sim = sim_world();
	sim_wait_for(sim, &sim->fibers[sim->fiber], sim->now_ns + ns + 1);
}

static void preempt(struct sim *sim) {
	if (sim_once_in(&sim->random, PREEMPT_ONE_IN))
		schedule(sim);
}

/* ---- threads ---- */

static void run_fiber(void) {
	struct sim *sim = sim_world();
	struct fiber *fiber = &sim->fibers[sim->fiber];
	arrived(coming_from, fiber);
	fiber->main(fiber->arg);
	fiber->state = FIBER_ENDED;
	sim_wake_all(sim, fiber);
	schedule(sim);
	HF_ASSERT(false);
	abort();
}

bool hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
		     struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t i = 1;
	while (i < FIBERS_MAX && sim->fibers[i].state != FIBER_FREE)
		i++;
	if (i == FIBERS_MAX || sim_alloc_fails(sim))
		return hf_fail_sys(err, EAGAIN, "cannot start a thread");
	struct fiber *fiber = &sim->fibers[i];
	*fiber = (struct fiber){
		.state = FIBER_READY,
		.main = main,
		.arg = arg,
		.stack = stack_new(),
	};
	fiber->stack_bottom = fiber->stack->bottom;
	fiber->stack_size = fiber->stack->size;
	memcpy(fiber->at, fiber->stack->begin, sizeof(fiber->at));
	((struct sim_thread *)&thread->handle)->fiber = i;
	preempt(sim);
	return true;
}

void hf_thread_join(struct hf_thread *thread) {
	struct sim *sim = sim_world();
	struct fiber *fiber = &sim->fibers[((struct sim_thread *)&thread->handle)->fiber];
	while (fiber->state != FIBER_ENDED)
		sim_wait_for(sim, fiber, 0);
	stack_free(fiber->stack);
	fiber->state = FIBER_FREE;
}

/* ---- locks ---- */

void hf_mutex_init(struct hf_mutex *mutex) {
	memset(mutex, 0, sizeof(*mutex));
}

void hf_mutex_fini(struct hf_mutex *mutex) {
	HF_ASSERT(((struct sim_mutex *)mutex)->owner == 0);
}

static void lock(struct sim *sim, struct sim_mutex *mutex) {
	HF_ASSERT(mutex->owner != sim->fiber + 1);
	while (mutex->owner != 0)
		sim_wait_for(sim, mutex, 0);
	mutex->owner = sim->fiber + 1;
}

static void unlock(struct sim *sim, struct sim_mutex *mutex) {
	HF_ASSERT(mutex->owner == sim->fiber + 1);
	mutex->owner = 0;
	sim_wake_all(sim, mutex);
}

void hf_mutex_lock(struct hf_mutex *mutex) {
	struct sim *sim = sim_world();
	preempt(sim);
	lock(sim, (struct sim_mutex *)mutex);
}

bool hf_mutex_try_lock(struct hf_mutex *mutex) {
	struct sim *sim = sim_world();
	preempt(sim);
	if (((struct sim_mutex *)mutex)->owner != 0)
		return false;
	lock(sim, (struct sim_mutex *)mutex);
	return true;
}

void hf_mutex_unlock(struct hf_mutex *mutex) {
	struct sim *sim = sim_world();
	unlock(sim, (struct sim_mutex *)mutex);
	preempt(sim);
}

void hf_cond_init(struct hf_cond *cond) {
}

void hf_cond_fini(struct hf_cond *cond) {
	const struct sim *sim = sim_world();
	for (uint32_t i = 0; i < FIBERS_MAX; i++)
		HF_ASSERT(sim->fibers[i].state != FIBER_WAITS || sim->fibers[i].waits_for != cond);
}

static void cond_wait(struct hf_cond *cond, struct hf_mutex *mutex, bool timed, uint64_t ns) {
	struct sim *sim = sim_world();
	unlock(sim, (struct sim_mutex *)mutex);
	if (sim_once_in(&sim->random, SPURIOUS_ONE_IN))
		schedule(sim);
	else
		sim_wait_for(sim, cond, timed ? sim->now_ns + ns + 1 : 0);
	lock(sim, (struct sim_mutex *)mutex);
}

void hf_cond_wait(struct hf_cond *cond, struct hf_mutex *mutex) {
	cond_wait(cond, mutex, false, 0);
}

void hf_cond_wait_ns(struct hf_cond *cond, struct hf_mutex *mutex, uint64_t ns) {
	cond_wait(cond, mutex, true, ns);
}

void hf_cond_signal(struct hf_cond *cond) {
	struct sim *sim = sim_world();
	uint32_t first = sim_below(&sim->random, FIBERS_MAX);
	for (uint32_t i = 0; i < FIBERS_MAX; i++) {
		struct fiber *fiber = &sim->fibers[(first + i) % FIBERS_MAX];
		if (fiber->state != FIBER_WAITS || fiber->waits_for != cond)
			continue;
		fiber->state = FIBER_READY;
		return;
	}
}

void hf_cond_broadcast(struct hf_cond *cond) {
	sim_wake_all(sim_world(), cond);
}

void hf_thread_yield(void) {
	sim_yield();
}

/* Fibers are of one thread of the system: they see each other's stores in order. */
void hf_fence_heavy(void) {
}

bool hf_fence_heavy_works(void) {
	return true;
}
