/* fiber.c - the threads of a test, as coroutines on stacks of their own. */
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "inside.h"

#define STACK_BYTES ((size_t)256 << 10)

static struct { jmp_buf begin, paused; } fibers[IL_THREADS_MAX];
static jmp_buf made;
static void (*fiber_body)(int thread);

/* The bottom frame of a stack: every run of its thread starts in it. */
static void bottom(int thread) {
	if (_setjmp(fibers[thread].begin) == 0)
		_longjmp(made, 1);
	fiber_body(thread);
	abort();
}

static void make(int thread) {
	ucontext_t context;
	void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stack == MAP_FAILED || getcontext(&context) != 0)
		abort();
	context.uc_stack.ss_sp = stack;
	context.uc_stack.ss_size = STACK_BYTES;
	context.uc_link = NULL;
	makecontext(&context, (void (*)(void))bottom, 1, thread);
	if (_setjmp(made) == 0)
		setcontext(&context);
}

void il_fibers_init(void (*body)(int thread)) {
	bool first = !fiber_body;
	fiber_body = body;
	for (int i = 0; first && i < IL_THREADS_MAX; i++)
		make(i);
}

void il_fiber_start(int thread) {
	_longjmp(fibers[thread].begin, 1);
}

void il_fiber_resume(int thread) {
	_longjmp(fibers[thread].paused, 1);
}

jmp_buf *il_fiber_context(int thread) {
	return &fibers[thread].paused;
}
