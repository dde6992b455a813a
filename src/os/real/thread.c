#include "os/thread.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define PATIENCE_NS 100000u /* of who finds a mutex taken, before it queues */
#define SLICE_NS 20000000u  /* of who gives way to shorter ones */
#define NAP_NS 20000u
#define NS_PER_S 1000000000u

static void *run(void *arg) {
	struct hf_thread *thread = arg;
	thread->main(thread->arg);
	return NULL;
}

bool hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
		     struct hf_err *err) {
	thread->main = main;
	thread->arg = arg;
	int result = pthread_create(&thread->handle, NULL, run, thread);
	return result == 0 || hf_fail_sys(err, result, "cannot start a thread");
}

void hf_thread_join(struct hf_thread *thread) {
	int result = pthread_join(thread->handle, NULL);
	HF_ASSERT(result == 0);
}

static struct timespec in_ns(clockid_t clock, uint64_t ns) {
	struct timespec until;
	clock_gettime(clock, &until);
	uint64_t end_ns = (uint64_t)until.tv_nsec + ns;
	until.tv_sec += (time_t)(end_ns / NS_PER_S);
	until.tv_nsec = (long)(end_ns % NS_PER_S);
	return until;
}

/* Sleeps while `*word` is `value`, until `until` (NULL: for ever). May return early. */
static void futex_wait(atomic_uint *word, uint32_t value, const struct timespec *until) {
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static void futex_wake(atomic_uint *word, int count) {
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}

/* ---- mutexes ----------------------------------------------------------------------------- */

void hf_thread_yield(void) {
	sched_yield();
}

void hf_thread_nap(void) {
	struct timespec moment = { .tv_nsec = NAP_NS };
	nanosleep(&moment, NULL);
}

/* struct sched_attr of linux/sched/types.h, which glibc's sched.h forbids beside itself. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t slice_ns, deadline_ns, period_ns;
};

/*
 * What is woken has the processor at once if it has a shorter slice, an earlier end of it, and was
 * not served more than its share; without, the running thread goes on until the slice is over, and
 * that is looked at by ticks only, each 4 ms (CONFIG_HZ=250). Usual slices are 0.7 to 3 ms.
 */
void hf_thread_give_way(void) {
	struct attributes attributes = { .size = 0 };
	prctl(PR_SET_TIMERSLACK, 1); /* else a sleep may take 50 us more than it is asked for */
	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0)
		return;
	if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH)
		return;
	attributes.slice_ns = SLICE_NS;
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void hf_mutex_init(struct hf_mutex *mutex) {
	pthread_mutexattr_t adaptive;
	pthread_mutexattr_init(&adaptive);
	pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&mutex->handle, &adaptive);
	pthread_mutexattr_destroy(&adaptive);
	atomic_init(&mutex->tickets, 0);
	atomic_init(&mutex->serving, 0);
}

void hf_mutex_fini(struct hf_mutex *mutex) {
	HF_ASSERT(atomic_load(&mutex->tickets) == atomic_load(&mutex->serving));
	pthread_mutex_destroy(&mutex->handle);
}

static bool has_queue(struct hf_mutex *mutex) {
	return atomic_load_explicit(&mutex->tickets, memory_order_relaxed) !=
	       atomic_load_explicit(&mutex->serving, memory_order_relaxed);
}

/* In the order of the tickets; who has none yet keeps out of the way. */
static void lock_in_turn(struct hf_mutex *mutex) {
	uint32_t ticket = atomic_fetch_add(&mutex->tickets, 1), serving;
	while ((serving = atomic_load(&mutex->serving)) != ticket)
		futex_wait(&mutex->serving, serving, NULL);
	pthread_mutex_lock(&mutex->handle);
	atomic_fetch_add(&mutex->serving, 1);
	if (has_queue(mutex))
		futex_wake(&mutex->serving, INT_MAX);
}

/*
 * A mutex that any comer may take is the fastest, and starves who sleeps: whoever lets go of it
 * and wants it again is there first. So who has lost for a while takes a ticket, and as long as
 * there is one without the mutex, nobody takes it but in their order.
 */
void hf_mutex_lock(struct hf_mutex *mutex) {
	if (hf_mutex_try_lock(mutex))
		return;
	if (!has_queue(mutex)) {
		/* A wall clock that jumps costs patience, no more. TSan knows no other one. */
		struct timespec until = in_ns(CLOCK_REALTIME, PATIENCE_NS);
		if (pthread_mutex_timedlock(&mutex->handle, &until) == 0)
			return;
	}
	lock_in_turn(mutex);
}

bool hf_mutex_try_lock(struct hf_mutex *mutex) {
	return !has_queue(mutex) && pthread_mutex_trylock(&mutex->handle) == 0;
}

void hf_mutex_unlock(struct hf_mutex *mutex) {
	pthread_mutex_unlock(&mutex->handle);
}

/* ---- conditions -------------------------------------------------------------------------- */

/*
 * Not pthread's: they would take the mutex again without a ticket. `signals` moves with every
 * signal, so one that comes between letting go of the mutex and going to sleep is not missed.
 */
void hf_cond_init(struct hf_cond *cond) {
	atomic_init(&cond->signals, 0);
	atomic_init(&cond->sleepers, 0);
}

void hf_cond_fini(struct hf_cond *cond) {
	HF_ASSERT(atomic_load(&cond->sleepers) == 0);
}

static void cond_wait(struct hf_cond *cond, struct hf_mutex *mutex, const struct timespec *until) {
	atomic_fetch_add(&cond->sleepers, 1);
	uint32_t signals = atomic_load(&cond->signals);
	hf_mutex_unlock(mutex);
	futex_wait(&cond->signals, signals, until);
	atomic_fetch_sub(&cond->sleepers, 1);
	hf_mutex_lock(mutex);
}

void hf_cond_wait(struct hf_cond *cond, struct hf_mutex *mutex) {
	cond_wait(cond, mutex, NULL);
}

void hf_cond_wait_ns(struct hf_cond *cond, struct hf_mutex *mutex, uint64_t ns) {
	struct timespec until = in_ns(CLOCK_MONOTONIC, ns);
	cond_wait(cond, mutex, &until);
}

static void wake(struct hf_cond *cond, int count) {
	atomic_fetch_add(&cond->signals, 1);
	if (atomic_load(&cond->sleepers) > 0)
		futex_wake(&cond->signals, count);
}

void hf_cond_signal(struct hf_cond *cond) {
	wake(cond, 1);
}

void hf_cond_broadcast(struct hf_cond *cond) {
	wake(cond, INT_MAX);
}
