#include "os/thread.h"

#include <time.h>

#include "base/assert.h"

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

void hf_mutex_init(struct hf_mutex *mutex) {
	pthread_mutexattr_t adaptive;
	pthread_mutexattr_init(&adaptive);
	pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&mutex->handle, &adaptive);
	pthread_mutexattr_destroy(&adaptive);
}

void hf_mutex_fini(struct hf_mutex *mutex) {
	pthread_mutex_destroy(&mutex->handle);
}

void hf_mutex_lock(struct hf_mutex *mutex) {
	pthread_mutex_lock(&mutex->handle);
}

void hf_mutex_unlock(struct hf_mutex *mutex) {
	pthread_mutex_unlock(&mutex->handle);
}

void hf_cond_init(struct hf_cond *cond) {
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&cond->handle, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void hf_cond_fini(struct hf_cond *cond) {
	pthread_cond_destroy(&cond->handle);
}

void hf_cond_wait(struct hf_cond *cond, struct hf_mutex *mutex) {
	pthread_cond_wait(&cond->handle, &mutex->handle);
}

void hf_cond_wait_ns(struct hf_cond *cond, struct hf_mutex *mutex, uint64_t ns) {
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t end_ns = (uint64_t)until.tv_nsec + ns;
	until.tv_sec += (time_t)(end_ns / 1000000000u);
	until.tv_nsec = (long)(end_ns % 1000000000u);
	pthread_cond_timedwait(&cond->handle, &mutex->handle, &until);
}

void hf_cond_signal(struct hf_cond *cond) {
	pthread_cond_signal(&cond->handle);
}

void hf_cond_broadcast(struct hf_cond *cond) {
	pthread_cond_broadcast(&cond->handle);
}
