/*
 * log.c - opening and closing.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "log/log_private.h"
#include "log/snapshot.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/random.h"

static bool is_half_made(const char *name) {
	size_t len = strlen(name);
	bool ours = strncmp(name, "log-", 4) == 0 || strncmp(name, "snapshot-", 9) == 0;
	return ours && len > 7 && strcmp(name + len - 7, ".making") == 0;
}

static bool remove_half_made(void *arg, const char *name, struct hf_err *err) {
	const struct hf_log *log = arg;
	return !is_half_made(name) || hf_dir_remove(log->dir, name, err);
}

/* Zeros over an unfinished group, so that nothing of it is ever mistaken for something else. */
static bool cut_torn(struct hf_log *log, struct hf_err *err) {
	_Alignas(4096) static const uint8_t zeros[4096];
	const struct hf_log_end *end = &log->end;
	if (end->torn_bytes == 0)
		return true;
	uint64_t segment = end->position / log->segment_size;
	struct hf_file *file = hf_segment_write_file(log, segment);
	for (uint64_t done = 0; done < end->torn_bytes; done += sizeof(zeros)) {
		size_t len = end->torn_bytes - done < sizeof(zeros)
				     ? (size_t)(end->torn_bytes - done)
				     : sizeof(zeros);
		if (!hf_file_write(file, zeros, len, end->position % log->segment_size + done, err))
			return false;
	}
	if (!hf_file_sync(file, err))
		return false;
	log->cut_bytes = end->torn_bytes;
	if (log->notice != NULL) {
		char name[HF_SEGMENT_NAME_SIZE], line[HF_DIR_PATH_MAX + 256];
		snprintf(line, sizeof(line),
			 "cut off %llu bytes of an unfinished group, never acknowledged, after LSN "
			 "%llu: %s/%s offset %llu",
			 (unsigned long long)end->torn_bytes, (unsigned long long)end->last_lsn,
			 log->dir->path, hf_segment_name(segment, name),
			 (unsigned long long)(end->position % log->segment_size));
		log->notice(log->arg, line);
	}
	return true;
}

static bool begin_new_log(struct hf_log *log, uint64_t segment_size, struct hf_err *err) {
	log->segment_size = segment_size == 0 ? HF_SEGMENT_SIZE_DEFAULT : segment_size;
	if (log->segment_size < HF_SEGMENT_SIZE_MIN || log->segment_size > HF_SEGMENT_SIZE_MAX ||
	    log->segment_size % 4096 != 0)
		return hf_fail(
			err, HF_USAGE,
			"segment size %llu: it must be a multiple of 4096 from %u to %u bytes",
			(unsigned long long)log->segment_size, HF_SEGMENT_SIZE_MIN,
			HF_SEGMENT_SIZE_MAX);
	if (!hf_random_u64(&log->log_id, err))
		return false;
	log->seed = hf_frame_seed(log->log_id);
	return hf_segment_make(log, 0, err);
}

static bool continue_log(struct hf_log *log, struct hf_err *err) {
	const struct hf_log_end *end = &log->end;
	uint64_t segment = end->position / end->segment_size;
	if (segment == end->segments) /* the last one is full to its last byte */
		segment--;
	log->segment_size = end->segment_size;
	log->log_id = end->log_id;
	log->seed = hf_frame_seed(end->log_id);
	log->append_segment = segment;
	log->made_segment = end->segments - 1;
	log->next = end->position;
	log->last_lsn = end->last_lsn;
	log->crc = end->crc;
	log->frame_position = end->frame_position;
	log->record_bytes = end->record_bytes;
	for (uint64_t i = segment; i < end->segments && i < segment + WRITE_FILES; i++)
		if (!hf_segment_open(log, i, err))
			return false;
	/*
	 * A process that was killed may have left a segment's name that the disk does not have yet
	 * (its frames are durable: the scan saw to that).
	 */
	return cut_torn(log, err) && hf_dir_sync(log->dir, err);
}

static bool make_writable(struct hf_log *log, const struct hf_log_options *options,
			  struct hf_err *err) {
	if (!hf_dir_list(log->dir, remove_half_made, log, err) ||
	    !hf_ring_memory_new(HF_LOG_RING_SIZE, &log->ring, err))
		return false;
	if (log->end.segments == 0 ? !begin_new_log(log, options->segment_size, err)
				   : !continue_log(log, err))
		return false;
	log->ring_first = log->ring_high = log->next;
	atomic_store_explicit(&log->committed, log->last_lsn, memory_order_release);
	return hf_witness_start(log, err) && hf_segment_maker_start(log, err) &&
	       hf_log_writer_start(log, err);
}

static void release(struct hf_log *log) {
	hf_witness_stop(log);
	hf_segment_maker_stop(log);
	hf_log_writer_stop(log);
	for (uint32_t i = 0; i < WRITE_FILES; i++)
		hf_file_close(&log->write_files[i].file);
	for (uint32_t i = 0; i < READ_FILES; i++)
		hf_file_close(&log->read_files[i].file);
	hf_ring_memory_free(log->ring, HF_LOG_RING_SIZE);
	hf_cond_fini(&log->witness_work);
	hf_cond_fini(&log->wanted);
	hf_cond_fini(&log->moved);
	hf_cond_fini(&log->work);
	hf_mutex_fini(&log->lock);
	hf_memory_free(log);
}

static struct hf_log *new_log(const struct hf_log_options *options) {
	struct hf_log *log = hf_memory_new(sizeof(*log));
	if (log == NULL)
		return NULL;
	log->dir = options->dir;
	log->synced = options->synced;
	log->threaded = options->threaded;
	log->read_only = options->read_only;
	log->notice = options->notice;
	log->committed_hook = options->committed;
	log->durable_hook = options->durable;
	log->arg = options->arg;
	log->witness_file = HF_FILE_CLOSED;
	for (uint32_t i = 0; i < WRITE_FILES; i++)
		log->write_files[i].file = HF_FILE_CLOSED;
	for (uint32_t i = 0; i < READ_FILES; i++)
		log->read_files[i].file = HF_FILE_CLOSED;
	hf_mutex_init(&log->lock);
	hf_cond_init(&log->work);
	hf_cond_init(&log->moved);
	hf_cond_init(&log->wanted);
	hf_cond_init(&log->witness_work);
	return log;
}

static bool reaches_snapshot(const struct hf_log *log, const struct hf_log_options *options,
			     struct hf_err *err) {
	char name[HF_SNAPSHOT_NAME_SIZE];
	return log->end.last_lsn >= options->snapshot_lsn ||
	       hf_fail(err, HF_CORRUPT,
		       "the log in %s ends at LSN %llu, but %s is there, which was taken when LSN "
		       "%llu "
		       "was durable: acknowledged events are lost. Nothing was changed; restore "
		       "the log "
		       "from a copy, or move the snapshot away to go on with what is left",
		       log->dir->path, (unsigned long long)log->end.last_lsn,
		       hf_snapshot_name(options->snapshot_lsn, name),
		       (unsigned long long)options->snapshot_lsn);
}

bool hf_log_open(const struct hf_log_options *options, struct hf_log **ret, struct hf_err *err) {
	struct hf_log *log = new_log(options);
	if (log == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	struct hf_log_scan scan = {
		.dir = options->dir,
		.start = options->start,
		.records = options->records,
		.progress = options->progress,
		.arg = options->arg,
		.until_lsn = options->read_only ? options->until_lsn : 0,
		.writer = !options->read_only,
		.notice = options->notice,
	};
	uint64_t begin_ns = hf_clock_monotonic_ns();
	bool ok = hf_log_scan(&scan, &log->end, err);
	log->scan_ns = hf_clock_monotonic_ns() - begin_ns;
	log->segment_size = log->end.segment_size;
	log->last_lsn = log->end.last_lsn;
	log->ring_first = UINT64_MAX;
	ok = ok && reaches_snapshot(log, options, err);
	if (ok)
		hf_witness_tell(log);
	ok = ok && (options->read_only || make_writable(log, options, err));
	if (!ok) {
		release(log);
		return false;
	}
	atomic_store_explicit(&log->committed, log->last_lsn, memory_order_release);
	*ret = log;
	return true;
}

static bool finish(struct hf_log *log, struct hf_err *err) {
	bool ok = !hf_log_stopped(log) || hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
	while (ok && hf_log_committed(log) < log->last_lsn)
		ok = hf_log_wait_frame(log, err);
	/* Nothing new since an earlier close mark, or since the log was made: it needs none. */
	if (!ok || (log->flushes == 0 && (log->end.closed || log->last_lsn == 0)))
		return ok;
	if (log->frame_open) { /* one that hf_log_begin opened, and nothing came */
		HF_ASSERT(log->frame.record_count == 0);
		log->frame_open = false;
		log->next = log->frame.position;
	}
	struct hf_err no_room;
	/* It only tells how the log ended. A full disk may have no segment for it. */
	if (!hf_log_seal_close_mark(log, &no_room) && !hf_log_stopped(log))
		return true;
	ok = !hf_log_stopped(log) || hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
	while (ok && (log->sealed_count > 0 || log->in_flight))
		ok = hf_log_wait_frame(log, err);
	return ok;
}

bool hf_log_close(struct hf_log *log, struct hf_err *err) {
	bool ok = true;
	if (!log->read_only) {
		hf_log_lock(log);
		ok = finish(log, err);
		hf_log_unlock(log);
		ok = ok && hf_witness_finish(log, err);
	}
	release(log);
	return ok;
}

void hf_log_lock(struct hf_log *log) {
	hf_mutex_lock(&log->lock);
}

bool hf_log_try_lock(struct hf_log *log) {
	return hf_mutex_try_lock(&log->lock);
}

void hf_log_unlock(struct hf_log *log) {
	hf_mutex_unlock(&log->lock);
}

uint64_t hf_log_last(const struct hf_log *log) {
	return log->last_lsn;
}

uint64_t hf_log_position(const struct hf_log *log) {
	return log->next;
}

void hf_log_info(const struct hf_log *log, struct hf_log_info *ret) {
	bool direct =
		!log->read_only && log->write_files[log->append_segment % WRITE_FILES].file.direct;
	*ret = (struct hf_log_info){
		.io_uring = log->flusher != NULL,
		.direct_io = direct,
		.synced = log->synced,
		.segment_size = log->segment_size,
		.segments = log->made_segment + 1,
		.bytes = log->next,
		.record_bytes = log->record_bytes,
		.scan_ns = log->scan_ns,
		.cut_bytes = log->cut_bytes,
	};
	snprintf(ret->flush_text, sizeof(ret->flush_text), "%s, %s, %s",
		 log->synced ? "each reply waits for the disk's flush"
			     : "NOT DURABLE: replies do not wait for the disk",
		 log->flusher != NULL ? "io_uring" : "plain calls in a log thread",
		 direct ? "direct I/O into preallocated segments"
			: "through the page cache (no direct I/O here)");
}
