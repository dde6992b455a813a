/*
 * log_private.h - the log's insides, shared by the files of this folder.
 *
 * Invariants (under the lock):
 *   flushed <= in flight <= sealed <= open frame <= next: positions only grow.
 *   next - RING <= start of the oldest frame that is not durable: the ring never overwrites what
 *   the disk still needs. At most one frame is being written at any time, so at most the last frame
 *   on disk can be unfinished. An appender enters segment n only when its file is made, filled,
 *   synced and in the directory.
 */
#ifndef HF_LOG_PRIVATE_H
#define HF_LOG_PRIVATE_H

#include <errno.h>
#include <stdatomic.h>

#include "log/log.h"
#include "os/flush.h"
#include "os/thread.h"

#define SEALED_MAX 64u /* frames waiting behind the one in flight */
/*
 * Segments open for writing: the one that is flushed, at most two up to the one that is appended
 * to, and the prepared one. After a crash that left nothing of these, the log goes on in the one
 * before them.
 */
#define WRITE_FILES 5u
#define READ_FILES 16u
#define WATCHERS_MAX 64u

/* A frame that waits for the disk, or is on its way. */
struct sealed {
	uint64_t position;
	uint64_t len; /* padding included */
	uint64_t last_lsn;
	uint32_t record_count;
	uint64_t begun_ns; /* monotonic: its first record */
};

struct segment_file {
	uint64_t segment;
	struct hf_file file;
};

struct hf_log {
	struct hf_dir *dir;
	uint64_t log_id;
	uint64_t segment_size;
	uint32_t seed; /* of frame headers */
	bool synced;
	bool threaded;
	bool read_only;
	hf_log_notice_fn *notice;
	void (*committed_hook)(void *arg);
	void (*durable_hook)(void *arg, const struct hf_log_group *group);
	void *arg; /* of all three */

	struct hf_mutex lock;
	struct hf_cond work;   /* for the log thread: something to write, or quit */
	struct hf_cond moved;  /* committed moved, a segment was made, or the log stopped */
	struct hf_cond wanted; /* for the segment maker: one more, or quit */

	/* The appender. */
	uint8_t *ring;
	uint64_t ring_first; /* nothing before this position was ever in the ring */
	uint64_t ring_high;  /* nothing at or after this position was ever written to the ring */
	uint64_t next;	     /* where the next record goes; the next frame, if none is open */
	uint64_t last_lsn;
	uint32_t crc;		 /* header CRC of the last frame that was sealed */
	uint64_t frame_position; /* of that frame */
	bool frame_open;
	struct hf_frame frame;
	uint64_t frame_begun_ns; /* its first record */
	uint64_t record_bytes;

	/* Frames on their way. */
	struct sealed sealed[SEALED_MAX];
	uint32_t sealed_head, sealed_count;
	bool in_flight;
	struct sealed flying;
	struct hf_flusher *flusher; /* NULL with a log thread */
	struct hf_thread thread;
	bool thread_running, thread_idle, quit;
	_Atomic uint64_t committed;
	_Atomic bool stopped;
	struct hf_err stop_reason;
	int watchers[WATCHERS_MAX];
	uint32_t watcher_count;

	/* Segments. */
	struct segment_file write_files[WRITE_FILES]; /* segment n is at n % WRITE_FILES */
	struct segment_file read_files[READ_FILES];
	uint64_t append_segment; /* the appender is in it */
	uint64_t made_segment;	 /* the newest one that is ready */
	struct hf_thread maker;
	bool maker_running;
	bool maker_failed;
	struct hf_err maker_err;

	/* The witness: see witness.c. */
	struct hf_file witness_file;
	struct hf_thread witness;
	struct hf_cond witness_work; /* committed moved, or quit */
	bool witness_running, witness_idle;
	uint32_t witness_slot; /* written last */
	uint64_t witnessed;    /* LSN */

	uint64_t flushes, cut_bytes, scan_ns;
	struct hf_log_end end; /* of the scan at open */
};

#define HF_WITNESS_NAME "acked.hfw"

/* A new file, for direct I/O. What an earlier try left under this name is removed first. */
HF_MUST static inline bool hf_log_file_new(const struct hf_dir *dir, const char *name,
					   struct hf_file *ret, struct hf_err *err) {
	if (hf_file_open(dir, name, HF_FILE_CREATE, true, ret, err))
		return true;
	return err->sys_errno == EEXIST && hf_dir_remove(dir, name, err) &&
	       hf_file_open(dir, name, HF_FILE_CREATE, true, ret, err);
}

/* segment.c */
HF_MUST bool hf_segment_make(struct hf_log *log, uint64_t segment, struct hf_err *err);
HF_MUST bool hf_segment_open(struct hf_log *log, uint64_t segment, struct hf_err *err);
bool hf_segment_is_open(const struct hf_log *log, uint64_t segment);
HF_MUST bool hf_segment_maker_start(struct hf_log *log, struct hf_err *err);
void hf_segment_maker_stop(struct hf_log *log);
/*
 * Waits until the maker has made a segment, or failed at it: then this fails. Under the lock, which
 * it lets go of meanwhile.
 */
HF_MUST bool hf_segment_wait(struct hf_log *log, struct hf_err *err);
/* The appender goes to `segment`, which is made: the one that it is in, or the next. */
void hf_segment_enter(struct hf_log *log, uint64_t segment);
struct hf_file *hf_segment_write_file(struct hf_log *log, uint64_t segment);

/* witness.c */
/*
 * The LSN up to which the directory's log (end->log_id) was durable, as far as its witness knows;
 * 0: nothing. Says in `end` what that is like.
 */
HF_MUST bool hf_witness_read(const struct hf_dir *dir, struct hf_log_end *end, uint64_t *ret_lsn,
			     struct hf_err *err);
/* Says it if what was read of it is damaged. */
void hf_witness_tell(const struct hf_log *log);
HF_MUST bool hf_witness_start(struct hf_log *log, struct hf_err *err);
/* Ends it with the last LSN: after an orderly stop nothing is left that it has not seen. */
HF_MUST bool hf_witness_finish(struct hf_log *log, struct hf_err *err);
void hf_witness_stop(struct hf_log *log);

/* append.c */
/* Ends the open frame and queues it for the disk. */
void hf_log_seal(struct hf_log *log);
/* Queues a close mark. */
HF_MUST bool hf_log_seal_close_mark(struct hf_log *log, struct hf_err *err);

/* commit.c */
HF_MUST bool hf_log_writer_start(struct hf_log *log, struct hf_err *err);
void hf_log_writer_stop(struct hf_log *log);
/* Waits for one frame to become durable. Under the lock. */
HF_MUST bool hf_log_wait_frame(struct hf_log *log, struct hf_err *err);
/* For ever; says so behind the reason. Under the lock. */
void hf_log_stop(struct hf_log *log, const struct hf_err *reason);

static inline uint8_t *hf_log_ring_at(const struct hf_log *log, uint64_t position) {
	return log->ring + (position & (HF_LOG_RING_SIZE - 1));
}

static inline uint64_t hf_sector_up(uint64_t bytes) {
	return (bytes + HF_SECTOR - 1) / HF_SECTOR * HF_SECTOR;
}

#endif
