#include "memory_log.h"

#include "base/assert.h"
#include "base/limits.h"
#include "log/log.h"
#include "os/event.h"
#include "os/thread.h"

#define BYTES_MAX 1048576u
#define FIRST 512u /* positions begin behind a segment's header, so 0 is none */

/* One at a time, as the engine is; its bytes outlive it. */
struct hf_log {
	uint64_t next, last_lsn, committed;
	uint64_t records_max; /* that are read from the beginning on */
	int event_fd;
	uint8_t bytes[BYTES_MAX];
};

static struct hf_log the_log = { .next = FIRST, .records_max = UINT64_MAX, .event_fd = -1 };

void hf_memory_log_forget(void) {
	the_log.next = FIRST;
	the_log.last_lsn = the_log.committed = 0;
}

void hf_memory_log_shorten(uint64_t records_max) {
	the_log.records_max = records_max;
}

void hf_memory_log_finish_flush(void) {
	hf_event_signal(the_log.event_fd);
}

bool __wrap_hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
			    struct hf_err *err);
void __wrap_hf_thread_join(struct hf_thread *thread);

bool __wrap_hf_thread_start(struct hf_thread *thread, void (*main)(void *arg), void *arg,
			    struct hf_err *err) {
	return true;
}

void __wrap_hf_thread_join(struct hf_thread *thread) {
}

/* Where the record behind this LSN begins, if the log goes so far; else 0. */
static uint64_t behind(const struct hf_log *log, uint64_t lsn) {
	uint64_t at = FIRST;
	if (lsn > log->last_lsn)
		return 0;
	for (; lsn > 0; lsn--)
		at += hf_record_size(log->bytes + at);
	return at;
}

bool hf_log_open(const struct hf_log_options *options, struct hf_log **ret, struct hf_err *err) {
	struct hf_log *log = &the_log;
	uint64_t at = FIRST, left = options->start == NULL ? log->records_max : UINT64_MAX;
	if (log->event_fd < 0 && !hf_event_new(&log->event_fd, err))
		return false;
	if (options->start != NULL)
		at = behind(log, options->start->lsn);
	if (at == 0)
		return hf_fail(err, HF_CORRUPT, "the log does not go so far as the snapshot");
	for (; at < log->next && left > 0; left--) {
		struct hf_record record;
		bool whole = hf_record_get(hf_span(log->bytes + at, log->next - at), at, &record);
		HF_ASSERT(whole);
		if (!options->records(options->arg, &record, 1, err))
			return false;
		at += record.size;
	}
	log->committed = log->last_lsn;
	*ret = log;
	return true;
}

bool hf_log_close(struct hf_log *log, struct hf_err *err) {
	log->committed = log->last_lsn;
	return true;
}

void hf_log_lock(struct hf_log *log) {
}

bool hf_log_try_lock(struct hf_log *log) {
	return true;
}

void hf_log_unlock(struct hf_log *log) {
}

bool hf_log_make_room(struct hf_log *log, size_t body_max, struct hf_err *err) {
	return log->next + body_max + HF_RECORD_OVERHEAD <= BYTES_MAX ||
	       hf_fail(err, HF_STOPPED, "no room");
}

uint8_t *hf_log_begin(struct hf_log *log, size_t body_max, uint64_t *ret_lsn,
		      uint64_t *ret_position) {
	*ret_lsn = log->last_lsn + 1;
	*ret_position = log->next;
	return log->bytes + log->next + HF_RECORD_HEADER_SIZE;
}

void hf_log_end(struct hf_log *log, uint8_t type, int64_t time_ns, size_t body_len) {
	hf_record_put(log->bytes + log->next, log->next, type, ++log->last_lsn, time_ns, body_len);
	log->next += body_len + HF_RECORD_OVERHEAD;
}

bool hf_log_mark(struct hf_log *log, struct hf_log_place *ret) {
	*ret = (struct hf_log_place){ .log_id = 1, .lsn = log->last_lsn, .position = log->next };
	return true;
}

void hf_log_wake(struct hf_log *log) {
}

void hf_log_sleep(struct hf_log *log, uint64_t ns) {
}

uint64_t hf_log_position(const struct hf_log *log) {
	return log->next;
}

bool hf_log_flush(struct hf_log *log) {
	return false;
}

bool hf_log_flushing(const struct hf_log *log) {
	return false;
}

uint64_t hf_log_taken(const struct hf_log *log) {
	return log->committed;
}

bool hf_log_group_full(const struct hf_log *log) {
	return false;
}

void hf_log_poll(struct hf_log *log) {
	log->committed = log->last_lsn;
}

uint64_t hf_log_committed(const struct hf_log *log) {
	return log->committed;
}

uint64_t hf_log_last(const struct hf_log *log) {
	return log->last_lsn;
}

bool hf_log_wait(struct hf_log *log, uint64_t lsn, struct hf_err *err) {
	log->committed = log->last_lsn;
	return true;
}

bool hf_log_commit_fd(struct hf_log *log, int *ret_fd, struct hf_err *err) {
	*ret_fd = log->event_fd;
	return true;
}

bool hf_log_stopped(const struct hf_log *log) {
	return false;
}

const char *hf_log_stop_reason(const struct hf_log *log) {
	return "";
}

bool hf_log_read(struct hf_log *log, uint64_t position, uint8_t *scratch, struct hf_record *ret,
		 struct hf_err *err) {
	bool whole = position >= FIRST && position < log->next;
	struct hf_span rest = { 0 };
	if (whole)
		rest = hf_span(log->bytes + position, log->next - position);
	whole = whole && hf_record_get(rest, position, ret) && hf_record_holds(ret, rest.data);
	return whole || hf_fail(err, HF_CORRUPT, "no record stands here");
}

void hf_log_info(const struct hf_log *log, struct hf_log_info *ret) {
	*ret = (struct hf_log_info){ .bytes = log->next };
}
