/*
 * log.h - the write-ahead log: records in, group commits out, and every record provable.
 *
 * The appender writes records straight into a ring of memory; what has gathered there becomes one
 * frame, one write, one flush; what gathers meanwhile becomes the next. The bytes are described
 * in frame/frame.h.
 *
 * Thread rules: all calls under hf_log_lock, but for hf_log_committed, hf_log_wait and
 * hf_log_stopped. Without a log thread (io_uring), all calls come from the thread that opened the
 * log.
 */
#ifndef HF_LOG_H
#define HF_LOG_H

#include <stdint.h>

#include "base/err.h"
#include "frame/frame.h"
#include "os/disk.h"

struct hf_log;

/*
 * Gets the log's records in order, some at a time, all proven. Returning false (with `err`) ends
 * the scan as failed.
 */
typedef bool hf_log_records_fn(void *arg, const struct hf_record *records, uint32_t count,
			       struct hf_err *err);
typedef void hf_log_notice_fn(void *arg, const char *line);
typedef void hf_log_progress_fn(void *arg, uint64_t bytes_done, uint64_t bytes_total);

/*
 * A place in the log between two frames: what comes behind it follows from what a snapshot at
 * `lsn` holds.
 */
struct hf_log_place {
	uint64_t log_id;
	uint64_t lsn;
	uint64_t position;	 /* behind the last frame, maybe further: all before it was there */
	uint64_t frame_position; /* of the last frame */
	uint32_t crc;		 /* header CRC of the last frame */
	uint64_t record_bytes;
};

struct hf_log_scan {
	const struct hf_dir *dir;
	/*
	 * NULL: from the log's beginning. Otherwise the frame before it must be there, and what
	 * comes before that is not read. (Each segment's header is.)
	 */
	const struct hf_log_place *start;
	hf_log_records_fn *records;
	hf_log_progress_fn *progress; /* NULL: none */
	void *arg;
	uint64_t until_lsn; /* 0: to the end */
	/* Each by its own checksum, too: the group's was made of what memory held by then. */
	bool prove_records;
	/* By who will write to it: first waits until no write of an earlier process can land. */
	bool writer;
	hf_log_notice_fn *notice; /* NULL: none. Told if it waits. */
};

/* What the file that tells how far the log was durable is like; short: one that is being made. */
enum hf_witness {
	HF_WITNESS_MISSING,
	HF_WITNESS_SHORT,
	HF_WITNESS_DAMAGED,
	HF_WITNESS_WHOLE,
};

/* Where a scan ended. */
struct hf_log_end {
	uint64_t log_id;
	uint64_t segment_size;
	uint64_t segments; /* files, the prepared one included; 0: no log here */
	uint64_t position; /* after the last valid frame */
	uint64_t last_lsn;
	uint64_t frame_position; /* of the last frame */
	uint32_t crc;		 /* header CRC of the last frame */
	uint64_t frames;
	uint64_t record_bytes;
	uint64_t torn_bytes;	 /* from `position` on: an unfinished group, never acknowledged */
	bool closed;		 /* the last frame is a close mark */
	enum hf_witness witness; /* if it is not whole, it may have known that there was more */
	uint32_t witness_slot;	 /* the one that counts */
};

/*
 * Reads a whole log without changing it. An unfinished last group is reported in ret->torn_bytes;
 * anything else that is not proven intact fails as HF_CORRUPT, with the file and the offset.
 */
HF_MUST bool hf_log_scan(const struct hf_log_scan *scan, struct hf_log_end *ret,
			 struct hf_err *err);

/* What one write made durable: a group commit. */
struct hf_log_group {
	uint32_t records;
	uint64_t bytes;	 /* padding included */
	uint64_t lag_ns; /* since its first record was appended */
};

struct hf_log_options {
	struct hf_dir *dir;    /* locked by the caller, who keeps it open */
	uint64_t segment_size; /* of a new log; an old one keeps its own */
	bool synced;
	bool threaded;			  /* a log thread even where io_uring is allowed */
	bool read_only;			  /* hf_log_read only */
	uint64_t until_lsn;		  /* as in hf_log_scan; read_only */
	const struct hf_log_place *start; /* as in hf_log_scan */
	/*
	 * LSN of the newest snapshot in the directory, good or not: it got its name when the log
	 * was durable up to there. A log that ends before it is refused, with nothing changed.
	 */
	uint64_t snapshot_lsn;
	hf_log_records_fn *records; /* recovery */
	hf_log_progress_fn *progress;
	hf_log_notice_fn *notice;
	/* NULL: none. From the log thread, without the lock, after a commit or the stop. */
	void (*committed)(void *arg);
	/* NULL: none. Under the lock, for each group of records. */
	void (*durable)(void *arg, const struct hf_log_group *group);
	void *arg;
};

/* Scans, cuts off an unfinished last group (with a notice), and makes ready to append. */
HF_MUST bool hf_log_open(const struct hf_log_options *options, struct hf_log **ret,
			 struct hf_err *err);
/*
 * Makes durable what was appended, leaves a close mark, lets go. Frees the log also where it
 * fails.
 */
HF_MUST bool hf_log_close(struct hf_log *log, struct hf_err *err);

void hf_log_lock(struct hf_log *log);
/* False: somebody has it, or is waiting for it. */
HF_MUST bool hf_log_try_lock(struct hf_log *log);
void hf_log_unlock(struct hf_log *log);

/*
 * Makes room for a record with at most `body_max` bytes of body, so that hf_log_begin finds it as
 * long as the lock is held. May wait for a flush or a segment, *letting go of the lock meanwhile*:
 * what was found out under the lock before may not hold afterwards. Fails, with nothing changed,
 * once the log has stopped (HF_STOPPED) or while the disk has no room for its next segment.
 */
HF_MUST bool hf_log_make_room(struct hf_log *log, size_t body_max, struct hf_err *err);
/*
 * Begins a record, for which hf_log_make_room made room: the place of its body; `ret_lsn` and
 * `ret_position` are what it will have. Completed by hf_log_end, or forgotten by not calling that.
 */
uint8_t *hf_log_begin(struct hf_log *log, size_t body_max, uint64_t *ret_lsn,
		      uint64_t *ret_position);
void hf_log_end(struct hf_log *log, uint8_t type, int64_t time_ns, size_t body_len);

/*
 * Where the log stands: ends the open frame, so that nothing of it comes behind `ret`. False: too
 * many frames wait for the disk; nothing changed.
 */
HF_MUST bool hf_log_mark(struct hf_log *log, struct hf_log_place *ret);
/* Makes the file descriptors of hf_log_commit_fd readable, and wakes who is in hf_log_sleep. */
void hf_log_wake(struct hf_log *log);
/* Lets go of the lock until hf_log_wake, for `ns` at most; may return before. */
void hf_log_sleep(struct hf_log *log, uint64_t ns);

/*
 * Starts the flush of what was appended, if none is under way any more: true if so. Cheap: once per
 * batch.
 */
bool hf_log_flush(struct hf_log *log);
/* Is one under way? Up to which LSN has one begun? Does a group wait for one that is full? */
bool hf_log_flushing(const struct hf_log *log);
uint64_t hf_log_taken(const struct hf_log *log);
bool hf_log_group_full(const struct hf_log *log);
/*
 * Collects a finished flush. Without a log thread it is this that moves hf_log_committed, and the
 * next flush begins with hf_log_flush.
 */
void hf_log_poll(struct hf_log *log);
uint64_t hf_log_committed(const struct hf_log *log);
uint64_t hf_log_last(const struct hf_log *log);
/* Behind the last record. */
uint64_t hf_log_position(const struct hf_log *log);
/* Waits until `lsn` is durable. Not under the lock. */
HF_MUST bool hf_log_wait(struct hf_log *log, uint64_t lsn, struct hf_err *err);
/*
 * A file descriptor that is readable when hf_log_committed may have moved, or the log stopped.
 * The log's own.
 */
HF_MUST bool hf_log_commit_fd(struct hf_log *log, int *ret_fd, struct hf_err *err);
bool hf_log_stopped(const struct hf_log *log);
const char *hf_log_stop_reason(const struct hf_log *log);

/*
 * Reads the record at `position` (appended before, durable or not) and proves it. `ret` borrows
 * from `scratch`, of HF_RECORD_MAX bytes, or from the ring until the next append.
 */
HF_MUST bool hf_log_read(struct hf_log *log, uint64_t position, uint8_t *scratch,
			 struct hf_record *ret, struct hf_err *err);

struct hf_log_info {
	bool io_uring, direct_io, synced;
	char flush_text[160];
	uint64_t segment_size, segments;
	uint64_t bytes;	       /* frames and padding, since the log began */
	uint64_t record_bytes; /* of these, records */
	uint64_t scan_ns;      /* what recovery took */
	uint64_t cut_bytes;    /* of an unfinished group, at open */
};
void hf_log_info(const struct hf_log *log, struct hf_log_info *ret);

/*
 * "log-0000000000000000.hfl": the file that holds `position`. `buf` has room for
 * HF_SEGMENT_NAME_SIZE.
 */
#define HF_SEGMENT_NAME_SIZE 32u
const char *hf_segment_name(uint64_t segment, char *buf);

#endif
