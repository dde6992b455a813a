/*
 * clock.h - time. Only the sequencer asks for it; what it got is logged, and replay reads the log.
 */
#ifndef HF_OS_CLOCK_H
#define HF_OS_CLOCK_H

#include <stdint.h>

/* Wall-clock time, ns since 1970-01-01 UTC. May jump; the sequencer keeps its own times rising. */
int64_t hf_clock_wall_ns(void);

/* Monotonic time in ns, for measuring. */
uint64_t hf_clock_monotonic_ns(void);

/* CPU time of this process, all its threads, user and system, in ns. */
uint64_t hf_clock_cpu_ns(void);

#endif
