/*
 * memory_log.h - log/log.h without a disk, for targets that need a whole engine per execution:
 * memory_log.c takes the place of src/log. What was appended becomes durable when hf_log_poll is
 * called, as with io_uring, and stays over hf_log_close and hf_log_open, until it is forgotten.
 * Nothing moves by itself: threads are never started (-Wl,--wrap).
 */
#ifndef HF_FUZZ_MEMORY_LOG_H
#define HF_FUZZ_MEMORY_LOG_H

#include <stdint.h>

/* The next log that is opened is an empty one. */
void hf_memory_log_forget(void);
/*
 * Who opens it without a snapshot is given only so many of its records, for targets to which one
 * replay of all is like the other.
 */
void hf_memory_log_shorten(uint64_t records_max);
/* Makes the commit fd readable: the flush is over. */
void hf_memory_log_finish_flush(void);

#endif
