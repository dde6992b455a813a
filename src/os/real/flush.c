#include "os/flush.h"

#include <errno.h>
#include <liburing.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "os/event.h"
#include "os/memory.h"

struct hf_flusher {
	struct io_uring ring;
	int event_fd; /* the ring's own fd does not wake an epoll while completions are deferred */
	bool synced;
	bool in_flight;
	size_t len; /* of the write in flight */
};

/* Not before Linux 5.6, which can be asked. */
static bool can_write(struct io_uring *ring) {
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool ret = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_WRITE);
	io_uring_free_probe(probe);
	return ret;
}

bool hf_flusher_new(bool synced, struct hf_flusher **ret, struct hf_err *err) {
	struct hf_flusher *flusher = hf_memory_new(sizeof(*flusher));
	if (flusher == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	/*
	 * Completions run when this thread asks for them, not by interrupting it; kernels before
	 * 6.1 lack that.
	 */
	int result = io_uring_queue_init(4, &flusher->ring,
					 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						 IORING_SETUP_TASKRUN_FLAG);
	if (result == -EINVAL)
		result = io_uring_queue_init(4, &flusher->ring, 0);
	if (result < 0) {
		hf_memory_free(flusher);
		return hf_fail_sys(err, -result, "io_uring is not available");
	}
	flusher->event_fd = -1;
	if (!can_write(&flusher->ring)) {
		hf_flusher_free(flusher);
		return hf_fail_sys(err, ENOSYS, "io_uring cannot write");
	}
	if (!hf_event_new(&flusher->event_fd, err)) {
		hf_flusher_free(flusher);
		return false;
	}
	result = io_uring_register_eventfd(&flusher->ring, flusher->event_fd);
	if (result < 0) {
		hf_flusher_free(flusher);
		return hf_fail_sys(err, -result, "io_uring cannot signal completions");
	}
	flusher->synced = synced;
	*ret = flusher;
	return true;
}

void hf_flusher_free(struct hf_flusher *flusher) {
	if (flusher == NULL)
		return;
	io_uring_queue_exit(&flusher->ring);
	hf_event_close(flusher->event_fd);
	hf_memory_free(flusher);
}

int hf_flusher_fd(const struct hf_flusher *flusher) {
	return flusher->event_fd;
}

bool hf_flusher_start(struct hf_flusher *flusher, const struct hf_file *file, const void *buf,
		      size_t len, uint64_t offset, struct hf_err *err) {
	HF_ASSERT(!flusher->in_flight);
	struct io_uring_sqe *entry = io_uring_get_sqe(&flusher->ring);
	HF_ASSERT(entry != NULL);
	io_uring_prep_write(entry, file->fd, buf, (unsigned)len, offset);
	if (flusher->synced)
		entry->rw_flags = RWF_DSYNC;
	int submitted;
	do
		submitted = io_uring_submit(&flusher->ring);
	while (submitted == -EINTR);
	if (submitted != 1)
		return hf_fail_sys(err, submitted < 0 ? -submitted : EIO,
				   "cannot submit a log write");
	flusher->in_flight = true;
	flusher->len = len;
	return true;
}

bool hf_flusher_collect(struct hf_flusher *flusher, bool wait, bool *ret_done, struct hf_err *err) {
	*ret_done = false;
	if (!flusher->in_flight)
		return true;
	struct io_uring_cqe *completion = NULL;
	int result;
	/* A peek enters the kernel only if a flag in the ring says that there is work. */
	do
		result = wait ? io_uring_wait_cqe(&flusher->ring, &completion)
			      : io_uring_peek_cqe(&flusher->ring, &completion);
	while (result == -EINTR);
	if (result == -EAGAIN)
		return true;
	if (result < 0)
		return hf_fail_sys(err, -result, "cannot collect a log write");
	int written = completion->res;
	io_uring_cqe_seen(&flusher->ring, completion);
	flusher->in_flight = false;
	*ret_done = true;
	if (written < 0)
		return hf_fail_sys(err, -written, "the log write failed");
	if ((size_t)written != flusher->len)
		return hf_fail(err, HF_IO, "the log write was cut short: %d of %zu bytes", written,
			       flusher->len);
	return true;
}

bool hf_flush_write(const struct hf_file *file, const void *buf, size_t len, uint64_t offset,
		    bool synced, struct hf_err *err) {
	struct iovec vector = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	ssize_t written;
	do
		written = pwritev2(file->fd, &vector, 1, (off_t)offset, synced ? RWF_DSYNC : 0);
	while (written < 0 && errno == EINTR);
	if (written < 0)
		return hf_fail_sys(err, errno, "the log write failed");
	if ((size_t)written != len)
		return hf_fail(err, HF_IO, "the log write was cut short: %zd of %zu bytes", written,
			       len);
	return true;
}
