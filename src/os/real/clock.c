#include "os/clock.h"

#include <time.h>

int64_t hf_clock_wall_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t clock_ns(clockid_t clock) {
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t hf_clock_monotonic_ns(void) {
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t hf_clock_cpu_ns(void) {
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}
