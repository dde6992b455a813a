/*
 * witness.c - a second, synced record of how far the log was durable: the file acked.hfw.
 *
 * The log proves of itself all but one thing: that its last group is not missing altogether, for
 * zeros look like what was never written. So a thread writes down, a little after the fact, the
 * last LSN that was durable; a log that ends before that LSN has lost something. Nobody waits for
 * the witness: it is up to WITNESS_DELAY_NS and one flush behind, and never ahead.
 *
 * Two slots are written in turn, so that a write that a power cut tears leaves the other one; of
 * the whole ones with the log's id, the one with the higher LSN counts. A slot is a sector, and so
 * written whole or not at all: one that holds anything else is damaged, which is said, but keeps
 * nobody from a log that proves itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log/log_private.h"

#define SLOTS 2u
#define SLOT_STRIDE 4096u
#define WITNESS_DELAY_NS 20000000u

/* As hf_witness_read. A slot of zeros was never written. */
static bool read_slots(const struct hf_file *file, struct hf_log_end *end, uint64_t *ret_lsn,
		       struct hf_err *err) {
	static const uint8_t never_written[HF_SECTOR];
	uint8_t sector[HF_SECTOR];
	struct hf_witness_slot slot;
	for (uint32_t i = 0; i < SLOTS; i++) {
		size_t len;
		if (!hf_file_read(file, sector, sizeof(sector), i * SLOT_STRIDE, &len, err))
			return false;
		if (len == sizeof(sector) && memcmp(sector, never_written, len) == 0)
			continue;
		if (len < sizeof(sector)) {
			if (end->witness != HF_WITNESS_DAMAGED)
				end->witness = HF_WITNESS_SHORT;
		} else if (!hf_witness_slot_get(sector, &slot) || slot.log_id != end->log_id) {
			end->witness = HF_WITNESS_DAMAGED;
		} else if (slot.lsn > *ret_lsn) {
			*ret_lsn = slot.lsn;
			end->witness_slot = i;
		}
	}
	return true;
}

/* `ret` is closed if it is not there. */
static bool open_file(const struct hf_dir *dir, enum hf_file_mode mode, struct hf_file *ret,
		      struct hf_err *err) {
	if (hf_file_open(dir, HF_WITNESS_NAME, mode, false, ret, err))
		return true;
	*ret = HF_FILE_CLOSED;
	return err->sys_errno == ENOENT;
}

static void warn(const struct hf_log *log, const char *what) {
	char line[HF_DIR_PATH_MAX + 128];
	if (log->notice == NULL)
		return;
	snprintf(line, sizeof(line),
		 "WARNING: %s/" HF_WITNESS_NAME " %s: if the end of the log was lost, nobody knows",
		 log->dir->path, what);
	log->notice(log->arg, line);
}

void hf_witness_tell(const struct hf_log *log) {
	/* A crash while both were made leaves an empty log, a short witness, and lost nothing. */
	if (log->end.witness == HF_WITNESS_DAMAGED ||
	    (log->end.witness == HF_WITNESS_SHORT && log->end.last_lsn > 0))
		warn(log, "is damaged");
}

bool hf_witness_read(const struct hf_dir *dir, struct hf_log_end *end, uint64_t *ret_lsn,
		     struct hf_err *err) {
	struct hf_file file;
	*ret_lsn = 0;
	if (!open_file(dir, HF_FILE_READ, &file, err))
		return false;
	end->witness = file.fd < 0 ? HF_WITNESS_MISSING : HF_WITNESS_WHOLE;
	bool ok = file.fd < 0 || read_slots(&file, end, ret_lsn, err) ||
		  hf_fail_file(err, dir->path, HF_WITNESS_NAME);
	hf_file_close(&file);
	return ok;
}

static bool write_slot(struct hf_log *log, uint64_t lsn, struct hf_err *err) {
	uint8_t sector[HF_SECTOR];
	hf_witness_slot_put(&(struct hf_witness_slot){ .log_id = log->log_id, .lsn = lsn }, sector);
	log->witness_slot = (log->witness_slot + 1) % SLOTS;
	return hf_flush_write(&log->witness_file, sector, sizeof(sector),
			      log->witness_slot * SLOT_STRIDE, true, err);
}

static void witness_main(void *arg) {
	struct hf_log *log = arg;
	hf_mutex_lock(&log->lock);
	while (!log->quit) {
		uint64_t lsn = hf_log_committed(log);
		if (lsn == log->witnessed) {
			log->witness_idle = true;
			hf_cond_wait(&log->witness_work, &log->lock);
			log->witness_idle = false;
			continue;
		}
		struct hf_err err;
		hf_mutex_unlock(&log->lock);
		bool ok = write_slot(log, lsn, &err);
		hf_mutex_lock(&log->lock);
		if (!ok) {
			struct hf_err reason;
			hf_fail(&reason, HF_STOPPED, "%s/%s offset %u: %.400s", log->dir->path,
				HF_WITNESS_NAME, log->witness_slot * SLOT_STRIDE, err.text);
			hf_log_stop(log, &reason);
			break;
		}
		log->witnessed = lsn;
		if (!log->quit)
			hf_cond_wait_ns(&log->witness_work, &log->lock, WITNESS_DELAY_NS);
	}
	hf_mutex_unlock(&log->lock);
}

/* Also where it is there and the log is empty: the disk may not have what was being made. */
static bool make_file(struct hf_log *log, bool there, struct hf_err *err) {
	return (there || hf_file_open(log->dir, HF_WITNESS_NAME, HF_FILE_CREATE, false,
				      &log->witness_file, err)) &&
	       hf_file_fill(&log->witness_file, SLOTS * SLOT_STRIDE, err) &&
	       hf_file_sync(&log->witness_file, err) &&
	       (there || hf_dir_sync(log->dir, err)); /* one that is there: the start did that */
}

bool hf_witness_start(struct hf_log *log, struct hf_err *err) {
	if (!log->synced)
		return true; /* nothing is acknowledged for being durable */
	if (!open_file(log->dir, HF_FILE_WRITE, &log->witness_file, err))
		return false;
	bool there = log->witness_file.fd >= 0;
	if ((!there || log->last_lsn == 0) && !make_file(log, there, err))
		return false;
	if (!there && log->last_lsn > 0)
		warn(log, "is missing");
	log->witnessed = log->last_lsn;
	log->witness_slot = log->end.witness_slot; /* also where the other one is damaged */
	bool damaged =
		log->end.witness == HF_WITNESS_DAMAGED || log->end.witness == HF_WITNESS_SHORT;
	uint32_t slots = damaged ? SLOTS : log->last_lsn > 0;
	for (uint32_t i = 0; i < slots; i++)
		if (!write_slot(log, log->last_lsn, err))
			return false;
	if (!hf_thread_start(&log->witness, witness_main, log, err))
		return false;
	log->witness_running = true;
	return true;
}

static void stop_thread(struct hf_log *log) {
	if (!log->witness_running)
		return;
	hf_mutex_lock(&log->lock);
	log->quit = true;
	hf_cond_broadcast(&log->witness_work);
	hf_mutex_unlock(&log->lock);
	hf_thread_join(&log->witness);
	log->witness_running = false;
}

bool hf_witness_finish(struct hf_log *log, struct hf_err *err) {
	stop_thread(log);
	if (hf_log_stopped(log))
		return hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
	return !log->synced || log->witnessed == hf_log_committed(log) ||
	       write_slot(log, hf_log_committed(log), err);
}

void hf_witness_stop(struct hf_log *log) {
	stop_thread(log);
	hf_file_close(&log->witness_file);
}
