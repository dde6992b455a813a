/*
 * segment.c - segment files: made ahead of need by a thread of their own, so that no commit waits
 * for it.
 *
 * A segment is made under a name of its own, filled, synced, renamed and the directory synced:
 * under its real name it is whole.
 */
#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "log/log_private.h"

#define RETRY_NS 1000000000u

const char *hf_segment_name(uint64_t segment, char *buf) {
	return hf_numbered_name("log-", segment, ".hfl", buf);
}

/* For its writes: see hf_log_scan's wait_for_writes. Nobody else has it now. */
static bool take_file(struct hf_file *file, struct hf_err *err) {
	bool taken;
	return hf_file_take(file, true, &taken, err);
}

static bool write_header(const struct hf_log *log, uint64_t segment, struct hf_file *file,
			 struct hf_err *err) {
	_Alignas(4096) uint8_t sector[HF_SECTOR];
	struct hf_segment_header header = {
		.format_version = HF_FORMAT_VERSION,
		.log_id = log->log_id,
		.segment = segment,
		.segment_size = log->segment_size,
	};
	hf_segment_header_put(&header, sector);
	return hf_file_write(file, sector, sizeof(sector), 0, err) && hf_file_sync(file, err);
}

/* What is in a segment before its first frame. */
static bool fill_file(const struct hf_log *log, uint64_t segment, const char *making,
		      struct hf_file *file, struct hf_err *err) {
	return (hf_file_fill(file, log->segment_size, err) &&
		hf_file_fit_direct(log->dir, making, file, err) && take_file(file, err) &&
		write_header(log, segment, file, err)) ||
	       hf_fail_file(err, log->dir->path, making);
}

/* Makes the file; touches nothing that the lock guards. */
static bool make_file(const struct hf_log *log, uint64_t segment, struct hf_file *ret,
		      struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE], making[HF_SEGMENT_NAME_SIZE + 8];
	hf_segment_name(segment, name);
	snprintf(making, sizeof(making), "%s.making", name);
	struct hf_file file;
	/* As if the disk were full: what is there is safe, and is read. */
	if (segment >= HF_SEGMENTS_MAX || (segment + 1) * log->segment_size > HF_LOG_BYTES_MAX)
		return hf_fail_sys(err, ENOSPC,
				   "%s/%s: a log has at most %u segments, of %llu bytes together",
				   log->dir->path, name, HF_SEGMENTS_MAX, HF_LOG_BYTES_MAX);
	if (!hf_log_file_new(log->dir, making, &file, err))
		return false;
	struct hf_err ignored;
	bool ok = fill_file(log, segment, making, &file, err) &&
		  hf_dir_rename(log->dir, making, name, err);
	if (!ok)
		(void)!hf_dir_remove(log->dir, making, &ignored);
	if (!ok || !hf_dir_sync(log->dir, err)) {
		hf_file_close(&file);
		return false;
	}
	*ret = file;
	return true;
}

static void keep_write_file(struct hf_log *log, uint64_t segment, struct hf_file file) {
	struct segment_file *slot = &log->write_files[segment % WRITE_FILES];
	/*
	 * Its last user, WRITE_FILES segments ago, was written to its end: open_frame waits for
	 * that.
	 */
	hf_file_close(&slot->file);
	*slot = (struct segment_file){ .segment = segment, .file = file };
}

bool hf_segment_make(struct hf_log *log, uint64_t segment, struct hf_err *err) {
	struct hf_file file;
	if (!make_file(log, segment, &file, err))
		return false;
	keep_write_file(log, segment, file);
	log->made_segment = segment;
	return true;
}

bool hf_segment_open(struct hf_log *log, uint64_t segment, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	struct hf_file file;
	if (!hf_file_open(log->dir, hf_segment_name(segment, name), HF_FILE_WRITE, true, &file,
			  err))
		return false;
	if (!hf_file_fit_direct(log->dir, name, &file, err) || !take_file(&file, err)) {
		hf_file_close(&file);
		return false;
	}
	keep_write_file(log, segment, file);
	return true;
}

bool hf_segment_is_open(const struct hf_log *log, uint64_t segment) {
	const struct segment_file *slot = &log->write_files[segment % WRITE_FILES];
	return slot->segment == segment && slot->file.fd >= 0;
}

struct hf_file *hf_segment_write_file(struct hf_log *log, uint64_t segment) {
	HF_ASSERT(hf_segment_is_open(log, segment));
	return &log->write_files[segment % WRITE_FILES].file;
}

/*
 * What was short may come back. Any other failure is the disk's: writes that it had taken, the
 * log's among them, are in doubt.
 */
static bool may_try_again(const struct hf_err *err) {
	switch (err->sys_errno) {
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return true;
	default:
		return err->status == HF_NOMEM;
	}
}

static void maker_failed(struct hf_log *log, const struct hf_err *err) {
	struct hf_err reason;
	log->maker_failed = true;
	log->maker_err = *err;
	if (may_try_again(err))
		return;
	hf_fail(&reason, HF_STOPPED, "the next log segment cannot be made: %.600s", err->text);
	hf_log_stop(log, &reason);
}

/* Room is gone, or is back. Without the lock: who reads these lines may be slow. */
static void tell(const struct hf_log *log, const struct hf_err *err) {
	char line[HF_ERR_TEXT_MAX + 256];
	if (log->notice == NULL)
		return;
	if (err != NULL)
		snprintf(
			line, sizeof(line),
			"WARNING: no room for the next log segment (%.500s): it is tried again and "
			"again, and events are refused when this one is full",
			err->text);
	else
		snprintf(line, sizeof(line), "there is room for the next log segment again");
	log->notice(log->arg, line);
}

/* One segment ahead of the appender, always. */
static void maker_main(void *arg) {
	struct hf_log *log = arg;
	hf_mutex_lock(&log->lock);
	while (!log->quit && !hf_log_stopped(log)) {
		if (log->made_segment > log->append_segment) {
			hf_cond_wait(&log->wanted, &log->lock);
			continue;
		}
		uint64_t segment = log->made_segment + 1;
		struct hf_file file;
		struct hf_err err;
		hf_mutex_unlock(&log->lock);
		bool ok = make_file(log, segment, &file, &err);
		if (ok && log->maker_failed)
			tell(log, NULL);
		if (!ok && !log->maker_failed && may_try_again(&err))
			tell(log, &err);
		hf_mutex_lock(&log->lock);
		if (ok) {
			keep_write_file(log, segment, file);
			log->made_segment = segment;
			log->maker_failed = false;
		} else {
			maker_failed(log, &err);
		}
		hf_cond_broadcast(&log->moved);
		if (!ok && !log->quit && !hf_log_stopped(log))
			hf_cond_wait_ns(&log->wanted, &log->lock, RETRY_NS);
	}
	hf_mutex_unlock(&log->lock);
}

bool hf_segment_maker_start(struct hf_log *log, struct hf_err *err) {
	if (!hf_thread_start(&log->maker, maker_main, log, err))
		return false;
	log->maker_running = true;
	return true;
}

void hf_segment_maker_stop(struct hf_log *log) {
	if (!log->maker_running)
		return;
	hf_mutex_lock(&log->lock);
	log->quit = true;
	hf_cond_broadcast(&log->wanted);
	hf_mutex_unlock(&log->lock);
	hf_thread_join(&log->maker);
	log->maker_running = false;
}

bool hf_segment_wait(struct hf_log *log, struct hf_err *err) {
	if (log->maker_failed)
		return hf_fail(err, HF_STOPPED,
			       "no room for the next log segment (%.500s); reads go on, events are "
			       "taken again when there is room",
			       log->maker_err.text);
	hf_cond_wait(&log->moved, &log->lock);
	return !hf_log_stopped(log) || hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
}

void hf_segment_enter(struct hf_log *log, uint64_t segment) {
	HF_ASSERT(segment == log->append_segment || segment == log->append_segment + 1);
	HF_ASSERT(segment <= log->made_segment);
	if (segment != log->append_segment) {
		log->append_segment = segment;
		hf_cond_signal(&log->wanted);
	}
}
