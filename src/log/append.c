/*
 * append.c - records into the ring, and frames around them.
 */
#include <string.h>

#include "base/assert.h"
#include "log/log_private.h"
#include "os/clock.h"

_Static_assert(HF_FRAME_MAX >= HF_RECORD_MAX + HF_SECTOR, "every record fits into a frame");
_Static_assert(HF_SEGMENT_SIZE_MIN >= HF_FRAME_MAX + HF_SECTOR, "every frame fits into a segment");
_Static_assert(HF_SCAN_WINDOW >= HF_FRAME_MAX, "every frame can be looked at as a whole");
_Static_assert(HF_LOG_RING_SIZE >= 8 * HF_FRAME_MAX, "a frame is written while others are filled");
/*
 * Recovery tells a sector that was never written by its being all zeros. Of what a client sends,
 * only key and id stand side by side with nothing between them (values of plain keys come in
 * pieces: src/engine/record.c).
 */
_Static_assert(HF_KEY_MAX + HF_ID_MAX < HF_SECTOR, "no sector of a whole frame is all zeros");

static uint64_t segment_end(const struct hf_log *log, uint64_t position) {
	return (position / log->segment_size + 1) * log->segment_size;
}

/* Where the ring must not write: the oldest byte that the disk still needs. */
static uint64_t oldest_needed(const struct hf_log *log) {
	if (log->in_flight)
		return log->flying.position;
	if (log->sealed_count > 0)
		return log->sealed[log->sealed_head].position;
	return log->frame_open ? log->frame.position : log->next;
}

void hf_log_seal(struct hf_log *log) {
	HF_ASSERT(log->frame_open && log->sealed_count < SEALED_MAX);
	uint8_t *bytes = hf_log_ring_at(log, log->frame.position);
	uint64_t used = HF_FRAME_HEADER_SIZE + log->frame.payload_len;
	uint64_t len = hf_sector_up(used);
	hf_frame_put(&log->frame, log->seed, bytes);
	log->crc = log->frame.crc;
	log->frame_position = log->frame.position;
	memset(bytes + used, HF_PADDING, len - used);
	log->sealed[(log->sealed_head + log->sealed_count++) % SEALED_MAX] = (struct sealed){
		.position = log->frame.position,
		.len = len,
		.last_lsn = log->last_lsn,
		.record_count = log->frame.record_count,
		.begun_ns = log->frame_begun_ns,
	};
	log->next = log->frame.position + len;
	log->frame_open = false;
}

/* Where a frame with `len` bytes of records can begin: in this segment or the next. */
static uint64_t frame_place(const struct hf_log *log, size_t len) {
	uint64_t position = log->next;
	uint64_t end = segment_end(log, position);
	if (position % log->segment_size == 0)
		position += HF_SECTOR; /* behind the segment's header */
	if (position + hf_sector_up(HF_FRAME_HEADER_SIZE + len) > end)
		position = end + HF_SECTOR;
	return position;
}

static void open_frame(struct hf_log *log, uint64_t position) {
	hf_segment_enter(log, position / log->segment_size);
	log->frame = (struct hf_frame){
		.position = position,
		.first_lsn = log->last_lsn + 1,
		.previous_crc = log->crc,
	};
	log->next = position + HF_FRAME_HEADER_SIZE;
	log->frame_open = true;
}

/*
 * Opens a frame if that takes no waiting. Else waits once, and the caller starts over: others may
 * have opened one meanwhile.
 */
static bool open_frame_or_wait(struct hf_log *log, size_t len, struct hf_err *err) {
	uint64_t position = frame_place(log, len);
	uint64_t segment = position / log->segment_size;
	/*
	 * Small segments: the file that the maker's next one replaces must have been written to its
	 * end.
	 */
	if (oldest_needed(log) / log->segment_size + WRITE_FILES - 3 < segment)
		return hf_log_wait_frame(log, err);
	if (log->made_segment < segment)
		return hf_segment_wait(log, err);
	/* One that was made in another life: a crash without syncs leaves any number of them. */
	if (!hf_segment_is_open(log, segment) && !hf_segment_open(log, segment, err))
		return false;
	open_frame(log, position);
	return true;
}

static bool frame_has_room(const struct hf_log *log, size_t len) {
	uint64_t used = HF_FRAME_HEADER_SIZE + (uint64_t)log->frame.payload_len + len;
	return used <= HF_FRAME_MAX &&
	       log->frame.position + hf_sector_up(used) <= segment_end(log, log->frame.position);
}

/* The padding at the frame's end counts, too. */
static bool has_room(const struct hf_log *log, size_t len) {
	return log->frame_open && frame_has_room(log, len) &&
	       log->next + len + HF_SECTOR <= oldest_needed(log) + HF_LOG_RING_SIZE;
}

/*
 * Makes the open frame one with room, and the ring have room behind it. Waiting lets the log thread
 * take the open frame, so every wait starts over.
 */
bool hf_log_make_room(struct hf_log *log, size_t body_max, struct hf_err *err) {
	size_t len = body_max + HF_RECORD_OVERHEAD;
	HF_ASSERT(len <= HF_RECORD_MAX);
	if (hf_log_stopped(log))
		return hf_fail(err, HF_STOPPED, "%s", log->stop_reason.text);
	for (;;) {
		if (log->frame_open && !frame_has_room(log, len)) {
			if (log->frame.record_count == 0) {
				log->frame_open = false;
				log->next = log->frame.position;
			} else if (log->sealed_count < SEALED_MAX) {
				hf_log_seal(log);
			}
		}
		if (has_room(log, len))
			return true;
		if (log->frame_open ? !hf_log_wait_frame(log, err)
				    : !open_frame_or_wait(log, len, err))
			return false;
	}
}

uint8_t *hf_log_begin(struct hf_log *log, size_t body_max, uint64_t *ret_lsn,
		      uint64_t *ret_position) {
	size_t len = body_max + HF_RECORD_OVERHEAD;
	HF_ASSERT(has_room(log, len));
	if (log->next + len + HF_SECTOR > log->ring_high)
		log->ring_high = log->next + len + HF_SECTOR;
	*ret_lsn = log->last_lsn + 1;
	*ret_position = log->next;
	return hf_log_ring_at(log, log->next) + HF_RECORD_HEADER_SIZE;
}

void hf_log_end(struct hf_log *log, uint8_t type, int64_t time_ns, size_t body_len) {
	HF_ASSERT(log->frame_open);
	size_t size = body_len + HF_RECORD_OVERHEAD;
	if (log->frame.record_count == 0)
		log->frame_begun_ns = hf_clock_monotonic_ns();
	log->last_lsn++;
	uint8_t *bytes = hf_log_ring_at(log, log->next);
	hf_record_put(bytes, log->next, type, log->last_lsn, time_ns, body_len);
	/*
	 * The ring is larger than the caches: the next records' lines are fetched while other work
	 * is done.
	 */
	__builtin_prefetch(bytes + size + 128, 1);
	__builtin_prefetch(bytes + size + 192, 1);
	log->next += size;
	log->record_bytes += size;
	log->frame.payload_len += (uint32_t)size;
	log->frame.record_count++;
}

bool hf_log_mark(struct hf_log *log, struct hf_log_place *ret) {
	bool seals = log->frame_open && log->frame.record_count > 0;
	if (seals && log->sealed_count == SEALED_MAX)
		return false;
	if (seals)
		hf_log_seal(log);
	*ret = (struct hf_log_place){
		.log_id = log->log_id,
		.lsn = log->last_lsn,
		.position = log->frame_open ? log->frame.position : log->next,
		.frame_position = log->frame_position,
		.crc = log->crc,
		.record_bytes = log->record_bytes,
	};
	return true;
}

bool hf_log_seal_close_mark(struct hf_log *log, struct hf_err *err) {
	HF_ASSERT(!log->frame_open && log->sealed_count == 0 && !log->in_flight);
	if (!hf_log_make_room(log, 0, err))
		return false;
	hf_log_seal(log);
	return true;
}
