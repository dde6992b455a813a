/*
 * commit.c - group commit: one frame on its way to the disk, the next one gathering behind it.
 *
 * With io_uring the appender's thread starts and collects the writes itself. Without, a log thread
 * takes frame after frame and blocks in the write. Either way a failed write ends it all:
 * hf_log_stop.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "log/log_private.h"
#include "os/clock.h"
#include "os/event.h"

void hf_log_wake(struct hf_log *log) {
	for (uint32_t i = 0; i < log->watcher_count; i++)
		hf_event_signal(log->watchers[i]);
	if (log->flusher != NULL)
		hf_event_signal(hf_flusher_fd(log->flusher));
	hf_cond_broadcast(&log->moved);
}

void hf_log_sleep(struct hf_log *log, uint64_t ns) {
	hf_cond_wait_ns(&log->moved, &log->lock, ns);
}

/* Tells everyone who waits for a commit, or for the end of hope. */
static void wake_all(struct hf_log *log) {
	hf_cond_broadcast(&log->moved);
	for (uint32_t i = 0; i < log->watcher_count; i++)
		hf_event_signal(log->watchers[i]);
	if (log->flusher != NULL)
		hf_event_signal(hf_flusher_fd(log->flusher));
}

void hf_log_stop(struct hf_log *log, const struct hf_err *reason) {
	if (hf_log_stopped(log))
		return;
	hf_fail(&log->stop_reason, HF_STOPPED,
		"%.600s; nothing is accepted until a restart has recovered the log", reason->text);
	/* Release: whoever sees `stopped` sees the reason. */
	atomic_store_explicit(&log->stopped, true, memory_order_release);
	wake_all(log);
	hf_cond_signal(&log->work); /* the writer has its end to tell */
}

bool hf_log_stopped(const struct hf_log *log) {
	/* Acquire: pairs with the release in hf_log_stop. */
	return atomic_load_explicit(&log->stopped, memory_order_acquire);
}

const char *hf_log_stop_reason(const struct hf_log *log) {
	return hf_log_stopped(log) ? log->stop_reason.text : "";
}

uint64_t hf_log_committed(const struct hf_log *log) {
	/*
	 * Acquire: pairs with the release in frame_durable; a reply is written only after its flush
	 * was seen.
	 */
	return atomic_load_explicit(&log->committed, memory_order_acquire);
}

static bool has_records(const struct hf_log *log) {
	return log->sealed_count > 0 || (log->frame_open && log->frame.record_count > 0);
}

/* The oldest frame that waits; an open one is sealed for it. False: nothing to write. */
static bool take_frame(struct hf_log *log) {
	HF_ASSERT(!log->in_flight);
	if (!has_records(log))
		return false;
	if (log->sealed_count == 0)
		hf_log_seal(log);
	log->flying = log->sealed[log->sealed_head];
	log->sealed_head = (log->sealed_head + 1) % SEALED_MAX;
	log->sealed_count--;
	log->in_flight = true;
	return true;
}

/* A stopped log acknowledges nothing: what failed may have taken what the disk said it had. */
static void frame_durable(struct hf_log *log) {
	HF_ASSERT(!hf_log_stopped(log));
	log->in_flight = false;
	log->flushes++;
	atomic_store_explicit(&log->committed, log->flying.last_lsn, memory_order_release);
	if (log->witness_idle)
		hf_cond_signal(&log->witness_work);
	if (log->durable_hook == NULL || log->flying.record_count == 0)
		return; /* a close mark */
	const struct hf_log_group group = {
		.records = log->flying.record_count,
		.bytes = log->flying.len,
		.lag_ns = hf_clock_monotonic_ns() - log->flying.begun_ns,
	};
	log->durable_hook(log->arg, &group);
}

static void frame_failed(struct hf_log *log, const struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	struct hf_err reason;
	hf_fail(&reason, HF_STOPPED, "%s/%s offset %llu: %.400s", log->dir->path,
		hf_segment_name(log->flying.position / log->segment_size, name),
		(unsigned long long)(log->flying.position % log->segment_size), err->text);
	hf_log_stop(log, &reason);
}

static bool start_uring(struct hf_log *log) {
	if (hf_log_stopped(log) || log->in_flight || !take_frame(log))
		return false;
	struct hf_err err;
	struct hf_file *file = hf_segment_write_file(log, log->flying.position / log->segment_size);
	if (!hf_flusher_start(log->flusher, file, hf_log_ring_at(log, log->flying.position),
			      log->flying.len, log->flying.position % log->segment_size, &err))
		frame_failed(log, &err);
	return true;
}

static void collect_uring(struct hf_log *log, bool wait) {
	if (hf_log_stopped(log) || !log->in_flight)
		return;
	struct hf_err err;
	bool done;
	if (!hf_flusher_collect(log->flusher, wait, &done, &err))
		frame_failed(log, &err);
	else if (done)
		frame_durable(log);
}

void hf_log_poll(struct hf_log *log) {
	if (log->flusher != NULL)
		collect_uring(log, false);
}

bool hf_log_flush(struct hf_log *log) {
	hf_log_poll(log);
	if (log->flusher != NULL)
		return start_uring(log);
	if (!log->thread_idle || !has_records(log))
		return false;
	hf_cond_signal(&log->work);
	log->thread_idle = false; /* it is on its way */
	return true;
}

bool hf_log_flushing(const struct hf_log *log) {
	return log->in_flight || (log->thread_running && !log->thread_idle);
}

uint64_t hf_log_taken(const struct hf_log *log) {
	return log->in_flight ? log->flying.last_lsn : hf_log_committed(log);
}

bool hf_log_group_full(const struct hf_log *log) {
	return log->sealed_count > 0;
}

bool hf_log_wait_frame(struct hf_log *log, struct hf_err *err) {
	hf_log_flush(log);
	if (log->flusher != NULL)
		collect_uring(log, true);
	else if (!hf_log_stopped(log)) /* else nobody would wake us any more */
		hf_cond_wait(&log->moved, &log->lock);
	return !hf_log_stopped(log) || hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
}

bool hf_log_wait(struct hf_log *log, uint64_t lsn, struct hf_err *err) {
	bool ok = true;
	if (hf_log_committed(log) >= lsn)
		return true;
	hf_log_lock(log);
	while (ok && hf_log_committed(log) < lsn) {
		HF_ASSERT(lsn <= log->last_lsn);
		ok = hf_log_wait_frame(log, err);
	}
	hf_log_unlock(log);
	return ok;
}

static void writer_main(void *arg) {
	struct hf_log *log = arg;
	hf_mutex_lock(&log->lock);
	while (!hf_log_stopped(log)) {
		if (!take_frame(log)) {
			if (log->quit)
				break;
			log->thread_idle = true;
			hf_cond_wait(&log->work, &log->lock);
			log->thread_idle = false;
			continue;
		}
		struct sealed frame = log->flying;
		struct hf_file file =
			*hf_segment_write_file(log, frame.position / log->segment_size);
		struct hf_err err;
		hf_mutex_unlock(&log->lock);
		bool ok = hf_flush_write(&file, hf_log_ring_at(log, frame.position), frame.len,
					 frame.position % log->segment_size, log->synced, &err);
		hf_mutex_lock(&log->lock);
		if (!ok) {
			frame_failed(log, &err);
		} else if (!hf_log_stopped(log)) { /* by another thread meanwhile */
			frame_durable(log);
			wake_all(log);
		}
		if (log->committed_hook != NULL) {
			hf_mutex_unlock(&log->lock);
			log->committed_hook(log->arg);
			hf_mutex_lock(&log->lock);
		}
	}
	hf_mutex_unlock(&log->lock);
	/* Another thread may have stopped it. */
	if (hf_log_stopped(log) && log->committed_hook != NULL)
		log->committed_hook(log->arg);
}

bool hf_log_writer_start(struct hf_log *log, struct hf_err *err) {
	struct hf_err why;
	if (!log->threaded && hf_flusher_new(log->synced, &log->flusher, &why))
		return true;
	if (!log->threaded && log->notice != NULL) {
		char line[HF_ERR_TEXT_MAX + 80];
		snprintf(line, sizeof(line),
			 "WARNING: %s: flushing with plain calls in a log thread instead",
			 why.text);
		log->notice(log->arg, line);
	}
	if (!hf_thread_start(&log->thread, writer_main, log, err))
		return false;
	log->thread_running = true;
	return true;
}

void hf_log_writer_stop(struct hf_log *log) {
	if (log->thread_running) {
		hf_mutex_lock(&log->lock);
		log->quit = true;
		hf_cond_broadcast(&log->work);
		hf_mutex_unlock(&log->lock);
		hf_thread_join(&log->thread);
		log->thread_running = false;
	}
	if (log->flusher != NULL) {
		/* A log that has stopped may have left one on its way, in the ring's memory. */
		struct hf_err ignored;
		bool done;
		(void)!hf_flusher_collect(log->flusher, true, &done, &ignored);
	}
	hf_flusher_free(log->flusher);
	log->flusher = NULL;
	for (uint32_t i = 0; i < log->watcher_count; i++)
		hf_event_close(log->watchers[i]);
	log->watcher_count = 0;
}

bool hf_log_commit_fd(struct hf_log *log, int *ret_fd, struct hf_err *err) {
	if (log->flusher != NULL) {
		*ret_fd = hf_flusher_fd(log->flusher);
		return true;
	}
	if (log->watcher_count == WATCHERS_MAX)
		return hf_fail(err, HF_USAGE, "at most %u threads can wait for commits",
			       WATCHERS_MAX);
	int fd;
	if (!hf_event_new(&fd, err))
		return false;
	log->watchers[log->watcher_count++] = fd;
	*ret_fd = fd;
	return true;
}
