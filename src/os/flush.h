/*
 * flush.h - one write at a time, made durable, while the caller goes on.
 *
 * Two ways: io_uring (no thread; completions are collected by the thread that made the flusher)
 * and plain calls (the caller's own thread blocks in hf_flush_write). A failed write is never
 * retried by anyone: the kernel forgets the failure, and a second sync lies.
 */
#ifndef HF_OS_FLUSH_H
#define HF_OS_FLUSH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "os/disk.h"

struct hf_flusher;

/*
 * Makes an io_uring for the calling thread, which alone may use it. False, with the reason, where
 * io_uring is forbidden.
 */
HF_MUST bool hf_flusher_new(bool synced, struct hf_flusher **ret, struct hf_err *err);
void hf_flusher_free(struct hf_flusher *flusher); /* NULL is fine; nothing may be in flight */

/* An eventfd: readable when a completion waits; whoever waits for it reads it empty. */
int hf_flusher_fd(const struct hf_flusher *flusher);

/*
 * Starts the write. `buf` must stay as it is until it has completed. Nothing else may be in flight.
 */
HF_MUST bool hf_flusher_start(struct hf_flusher *flusher, const struct hf_file *file,
			      const void *buf, size_t len, uint64_t offset, struct hf_err *err);
/*
 * Collects the completion: `ret_done` tells whether there was one. With `wait`, waits for it.
 * False: the write failed.
 */
HF_MUST bool hf_flusher_collect(struct hf_flusher *flusher, bool wait, bool *ret_done,
				struct hf_err *err);

/* The plain way: writes and makes durable (unless !synced) before it returns. Any thread. */
HF_MUST bool hf_flush_write(const struct hf_file *file, const void *buf, size_t len,
			    uint64_t offset, bool synced, struct hf_err *err);

#endif
