/*
 * scan.c - reads a log from its beginning, proves every record of it, and finds its exact end.
 *
 * The log ends at the first position where no valid frame stands. What makes that an end and not a
 * hole: there is no whole frame header for its own place anywhere behind it, in this segment or a
 * later one, and nothing but zeros further on than one frame reaches. One frame at most is ever on
 * its way to the disk, so this is what a power cut can leave; anything else is damage, and refused.
 *
 * And what stands at the end itself, if not zeros, must lack a sector: segments are all zeros
 * before they are used and no sector of a whole frame is, so a frame that a power cut tore has a
 * sector of zeros, and one that was written whole and has rotted since has none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "log/log_private.h"
#include "log/snapshot.h"
#include "os/memory.h"

#define BATCH 256u

struct scanner {
	const struct hf_log_scan *options;
	struct hf_log_end end;
	uint32_t seed;
	bool stopped; /* until_lsn reached */
	struct hf_file file;
	uint64_t segment; /* that `file` is */
	uint8_t *window;
	uint64_t window_at; /* offset in the segment of window[0] */
	size_t window_len;
};

/* ---- which segments are there ---- */

struct listing {
	uint64_t count, highest;
	bool has_witness;
};

static bool list_segment(void *arg, const char *name, struct hf_err *err) {
	struct listing *listing = arg;
	uint64_t segment;
	if (strcmp(name, HF_WITNESS_NAME) == 0)
		listing->has_witness = true;
	if (!hf_numbered_name_get(name, "log-", ".hfl", &segment))
		return true; /* such as one that is being made */
	if (segment >= HF_SEGMENTS_MAX)
		return hf_fail(err, HF_CORRUPT, "%s: impossible segment number", name);
	listing->count++;
	if (segment >= listing->highest)
		listing->highest = segment;
	return true;
}

/* The first of the segments up to `highest` that is not there, by its name. */
static const char *first_missing(const struct hf_dir *dir, uint64_t highest, char *buf) {
	for (uint64_t segment = 0; segment < highest; segment++) {
		struct hf_file file;
		struct hf_err err;
		if (hf_file_open(dir, hf_segment_name(segment, buf), HF_FILE_READ, false, &file,
				 &err))
			hf_file_close(&file);
		else if (err.sys_errno == ENOENT)
			break;
	}
	return buf;
}

static bool find_segments(struct scanner *scanner, struct hf_err *err) {
	struct listing listing = { 0 };
	const struct hf_dir *dir = scanner->options->dir;
	char name[HF_SEGMENT_NAME_SIZE];
	if (!hf_dir_list(dir, list_segment, &listing, err))
		return false;
	if (listing.count > 0 && listing.highest != listing.count - 1)
		return hf_fail(
			err, HF_CORRUPT,
			"%s: the log has segments up to number %llu, but %llu of them are missing, "
			"first %s",
			dir->path, (unsigned long long)listing.highest,
			(unsigned long long)(listing.highest + 1 - listing.count),
			first_missing(dir, listing.highest, name));
	/* A log's first segment is in the directory before its witness is made. */
	if (listing.count == 0 && listing.has_witness)
		return hf_fail(
			err, HF_CORRUPT,
			"%s: the log is missing: no segment is here, but " HF_WITNESS_NAME
			" is. Restore the log from a copy, or remove that file to begin anew",
			dir->path);
	scanner->end.segments = listing.count;
	return true;
}

/* ---- writes of the dead ---- */

static bool wait_for_write(const struct hf_log_scan *options, uint64_t segment,
			   struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE], line[HF_SEGMENT_NAME_SIZE + 128];
	struct hf_file file;
	bool taken;
	if (!hf_file_open(options->dir, hf_segment_name(segment, name), HF_FILE_WRITE, false, &file,
			  err))
		return false;
	bool ok = hf_file_take(&file, false, &taken, err);
	if (ok && !taken) {
		snprintf(line, sizeof(line),
			 "waiting for the disk: a write to %s, of a process that has ended, is "
			 "still on its way",
			 name);
		if (options->notice != NULL)
			options->notice(options->arg, line);
		ok = hf_file_take(&file, true, &taken, err);
	}
	hf_file_close(&file);
	return ok || hf_fail_file(err, options->dir->path, name);
}

/*
 * A process that was killed may leave a write in flight, which the disk may take at any later time:
 * also after the recovery that did not see it, on top of what was written since. Its writer had
 * taken the file, which stays so until the write is over. It is in one of those that a writer has
 * open.
 */
static bool wait_for_writes(const struct scanner *scanner, struct hf_err *err) {
	uint64_t segments = scanner->end.segments;
	for (uint64_t i = segments > WRITE_FILES ? segments - WRITE_FILES : 0; i < segments; i++)
		if (!wait_for_write(scanner->options, i, err))
			return false;
	return true;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static bool corrupt(const struct scanner *scanner, uint64_t offset, struct hf_err *err,
		    const char *what) {
	char name[HF_SEGMENT_NAME_SIZE];
	return hf_fail(err, HF_CORRUPT, "%s/%s offset %llu: %s", scanner->options->dir->path,
		       hf_segment_name(scanner->segment, name), (unsigned long long)offset, what);
}

/* Bytes [offset, offset + len) of the segment, in the window until the next call. */
static bool fetch(struct scanner *scanner, uint64_t offset, size_t len, const uint8_t **ret,
		  struct hf_err *err) {
	HF_ASSERT(len <= HF_SCAN_WINDOW && offset + len <= scanner->end.segment_size);
	if (offset < scanner->window_at ||
	    offset + len > scanner->window_at + scanner->window_len) {
		size_t want = HF_SCAN_WINDOW;
		if (want > scanner->end.segment_size - offset)
			want = (size_t)(scanner->end.segment_size - offset);
		scanner->window_at = offset;
		if (!hf_file_read(&scanner->file, scanner->window, want, offset,
				  &scanner->window_len, err)) {
			char name[HF_SEGMENT_NAME_SIZE];
			scanner->window_len = 0;
			return hf_fail_file(err, scanner->options->dir->path,
					    hf_segment_name(scanner->segment, name));
		}
		if (scanner->window_len < len)
			return corrupt(scanner, offset + scanner->window_len, err,
				       "the file ends early");
	}
	*ret = scanner->window + (offset - scanner->window_at);
	return true;
}

/*
 * The last frame may be known to the kernel and not to the disk: wherever it can stand. So may any
 * other that was written without syncing, and what is acknowledged from now on stands behind it.
 */
static bool reaches_disk(const struct scanner *scanner, struct hf_err *err) {
	if (scanner->segment + WRITE_FILES >= scanner->end.segments)
		return hf_file_refresh(&scanner->file, err);
	return !scanner->options->writer || hf_file_write_back(&scanner->file, err);
}

static bool enter_segment(struct scanner *scanner, uint64_t segment, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	uint8_t sector[HF_SECTOR];
	size_t len;
	uint64_t size;
	struct hf_segment_header header;
	struct hf_err why;
	hf_file_close(&scanner->file);
	scanner->segment = segment;
	scanner->window_len = 0;
	if (!hf_file_open(scanner->options->dir, hf_segment_name(segment, name), HF_FILE_READ,
			  false, &scanner->file, err))
		return false;
	if (!reaches_disk(scanner, err) ||
	    !hf_file_read(&scanner->file, sector, sizeof(sector), 0, &len, err) ||
	    !hf_file_size(&scanner->file, &size, err))
		return hf_fail_file(err, scanner->options->dir->path, name);
	if (len < sizeof(sector))
		return corrupt(scanner, len, err, "the file ends early");
	if (!hf_segment_header_get(sector, &header, &why))
		return hf_fail(err, why.status, "%s/%s %.400s", scanner->options->dir->path, name,
			       why.text);
	if (segment == 0) {
		scanner->end.log_id = header.log_id;
		scanner->end.segment_size = header.segment_size;
		scanner->seed = hf_frame_seed(header.log_id);
	}
	if (header.log_id != scanner->end.log_id ||
	    header.segment_size != scanner->end.segment_size)
		return corrupt(scanner, 16, err, "this segment belongs to another log");
	if (header.segment != segment)
		return corrupt(scanner, 24, err,
			       "this segment is misplaced: its header has another number");
	if (size != header.segment_size)
		return corrupt(scanner, size < header.segment_size ? size : header.segment_size,
			       err, "the file has not the size that its header names");
	return true;
}

/* ---- frames ---- */

static uint64_t frame_size(const struct hf_frame *frame) {
	return hf_sector_up(HF_FRAME_HEADER_SIZE + frame->payload_len);
}

/* Do the payload and padding of a frame whose header holds hold, too? Calls nobody. */
static bool payload_holds(const struct hf_frame *frame, const uint8_t *bytes) {
	uint64_t at = HF_FRAME_HEADER_SIZE, end = at + frame->payload_len;
	uint8_t padding = HF_PADDING;
	for (uint64_t i = end, whole = frame_size(frame); i < whole; i++)
		padding &= bytes[i];
	if (padding != HF_PADDING)
		return false;
	if (!hf_frame_payload_holds(frame, bytes))
		return false;
	for (uint32_t i = 0; i < frame->record_count; i++) {
		struct hf_record record;
		if (!hf_record_get(hf_span(bytes + at, end - at), frame->position + at, &record) ||
		    record.lsn != frame->first_lsn + i)
			return false;
		at += record.size;
	}
	return at == end;
}

/* Hands out the records of a proven frame. */
static bool deliver(struct scanner *scanner, const struct hf_frame *frame, const uint8_t *bytes,
		    struct hf_err *err) {
	const struct hf_log_scan *options = scanner->options;
	struct hf_record batch[BATCH];
	uint64_t at = HF_FRAME_HEADER_SIZE, end = at + frame->payload_len;
	uint64_t segment_size = scanner->end.segment_size;
	while (at < end && !scanner->stopped) {
		uint32_t count = 0;
		for (; count < BATCH && at < end; count++) {
			bool whole = hf_record_get(hf_span(bytes + at, end - at),
						   frame->position + at, &batch[count]);
			HF_ASSERT(whole);
			if (options->until_lsn != 0 && batch[count].lsn > options->until_lsn) {
				scanner->stopped = true;
				break;
			}
			if (options->prove_records && !hf_record_holds(&batch[count], bytes + at))
				return corrupt(
					scanner, (frame->position + at) % segment_size, err,
					"a record is not what was logged, in a group that is");
			at += batch[count].size;
		}
		if (count > 0 && options->records != NULL &&
		    !options->records(options->arg, batch, count, err))
			return false;
		scanner->end.last_lsn += count;
	}
	scanner->end.record_bytes += at - HF_FRAME_HEADER_SIZE;
	return true;
}

/* Does its header say that it comes next? */
static bool follows(const struct scanner *scanner, const struct hf_frame *frame) {
	return frame->first_lsn == scanner->end.last_lsn + 1 &&
	       frame->previous_crc == scanner->end.crc;
}

/* Is there a valid next frame at `offset`? */
static bool next_frame(struct scanner *scanner, uint64_t offset, struct hf_frame *ret,
		       const uint8_t **ret_bytes, bool *ret_valid, struct hf_err *err) {
	uint64_t position = scanner->segment * scanner->end.segment_size + offset;
	*ret_valid = false;
	if (offset + HF_SECTOR > scanner->end.segment_size)
		return true;
	if (!fetch(scanner, offset, HF_SECTOR, ret_bytes, err))
		return false;
	struct hf_frame frame;
	if (!hf_frame_get(*ret_bytes, scanner->seed, position, &frame))
		return true;
	if (!follows(scanner, &frame) || offset + frame_size(&frame) > scanner->end.segment_size)
		return true;
	if (!fetch(scanner, offset, frame_size(&frame), ret_bytes, err))
		return false;
	*ret_valid = payload_holds(&frame, *ret_bytes);
	*ret = frame;
	return true;
}

static bool sector_is_zero(const uint8_t *bytes) {
	static const uint8_t zeros[HF_SECTOR];
	return memcmp(bytes, zeros, HF_SECTOR) == 0;
}

/*
 * No valid frame is at `offset`, and [offset, dirty) is what stands there. Is it zeros, or a frame
 * that lacks a sector?
 */
static bool lacks_sector(struct scanner *scanner, uint64_t offset, uint64_t dirty,
			 struct hf_err *err) {
	const uint8_t *bytes;
	struct hf_frame frame;
	if (dirty == offset)
		return true;
	if (!fetch(scanner, offset, HF_SECTOR, &bytes, err))
		return false;
	if (sector_is_zero(bytes))
		return dirty - offset <= HF_FRAME_MAX ||
		       corrupt(scanner, dirty - HF_SECTOR, err,
			       "bytes are not zero further on than one unfinished group reaches");
	if (!hf_frame_get(bytes, scanner->seed,
			  scanner->segment * scanner->end.segment_size + offset, &frame) ||
	    offset + frame_size(&frame) > scanner->end.segment_size)
		return corrupt(scanner, offset, err,
			       "this sector was written, and is not the header of a frame");
	uint64_t end = offset + frame_size(&frame);
	if (dirty > end)
		return corrupt(scanner, dirty - HF_SECTOR, err,
			       "bytes are not zero behind the unfinished group");
	for (uint64_t at = offset + HF_SECTOR; at < end; at += HF_SECTOR) {
		if (!fetch(scanner, at, HF_SECTOR, &bytes, err))
			return false;
		if (sector_is_zero(bytes))
			return true;
	}
	return corrupt(
		scanner, offset, err,
		"this group was written whole and is not whole any more: of one that a power "
		"cut left unfinished, a sector would be missing");
}

/*
 * The break is at `offset`. From there to the segment's end there must be no whole frame header for
 * its own place; only the broken frame itself may have one. `ret_dirty` is the end of the last
 * sector that is not all zeros, or `offset`.
 */
static bool nothing_behind(struct scanner *scanner, uint64_t offset, uint64_t *ret_dirty,
			   struct hf_err *err) {
	uint64_t first = offset;
	*ret_dirty = offset;
	for (; offset < scanner->end.segment_size; offset += HF_SECTOR) {
		const uint8_t *bytes = NULL;
		struct hf_frame frame;
		if (!fetch(scanner, offset, HF_SECTOR, &bytes, err))
			return false;
		if (sector_is_zero(bytes))
			continue;
		*ret_dirty = offset + HF_SECTOR;
		if (hf_frame_get(bytes, scanner->seed,
				 scanner->segment * scanner->end.segment_size + offset, &frame) &&
		    (offset != first || !follows(scanner, &frame)))
			return corrupt(scanner, offset, err,
				       "a whole frame stands where none can follow");
	}
	return lacks_sector(scanner, first, *ret_dirty, err);
}

static bool damaged(const struct scanner *scanner, uint64_t position, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	char found[HF_ERR_TEXT_MAX];
	if (err->status != HF_CORRUPT)
		return false;
	snprintf(found, sizeof(found), "%s", err->text);
	return hf_fail(err, HF_CORRUPT,
		       "%s/%s offset %llu: damaged: no valid frame with LSN %llu here, but the log "
		       "does not end here "
		       "(%.300s). Nothing was changed; restore this file from a copy",
		       scanner->options->dir->path,
		       hf_segment_name(position / scanner->end.segment_size, name),
		       (unsigned long long)(position % scanner->end.segment_size),
		       (unsigned long long)scanner->end.last_lsn + 1, found);
}

/* Is what this segment begins with a broken frame, and not a later one that is whole? */
static bool begins_broken(struct scanner *scanner, bool *ret, struct hf_err *err) {
	const uint8_t *bytes;
	struct hf_frame frame;
	uint64_t position = scanner->segment * scanner->end.segment_size + HF_SECTOR;
	if (!fetch(scanner, HF_SECTOR, HF_SECTOR, &bytes, err))
		return false;
	*ret = !sector_is_zero(bytes) &&
	       (!hf_frame_get(bytes, scanner->seed, position, &frame) || follows(scanner, &frame));
	return true;
}

/*
 * No valid frame at `offset` of this segment, nor at the beginning of the next one: is that the
 * end, or a hole?
 */
static bool find_end(struct scanner *scanner, uint64_t offset, struct hf_err *err) {
	uint64_t size = scanner->end.segment_size;
	uint64_t position = scanner->segment * size + offset, first = scanner->segment + 1;
	uint64_t dirty;
	bool broken;
	if (!nothing_behind(scanner, offset, &dirty, err))
		return damaged(scanner, position, err);
	scanner->end.position = position;
	scanner->end.torn_bytes = dirty - offset;
	for (uint64_t later = first; later < scanner->end.segments; later++) {
		if (!enter_segment(scanner, later, err) || !begins_broken(scanner, &broken, err))
			return false;
		/* It did not fit into the segment before, where nothing stands in its place. */
		if (later == first && scanner->end.torn_bytes == 0 && broken)
			position = later * size + HF_SECTOR;
		if (!nothing_behind(scanner, HF_SECTOR, &dirty, err))
			return damaged(scanner, position, err);
		if (dirty == HF_SECTOR)
			continue;
		/*
		 * Only one group can be unfinished: this one, if it did not fit into the segment
		 * before, or that was full to its last byte.
		 */
		if (scanner->end.torn_bytes > 0 || later > first) {
			corrupt(scanner, dirty - HF_SECTOR, err,
				"bytes are not zero in a segment that was never used");
			return damaged(scanner, position, err);
		}
		scanner->end.position = later * size + HF_SECTOR;
		scanner->end.torn_bytes = dirty - HF_SECTOR;
	}
	return true;
}

static bool take_frame(struct scanner *scanner, const struct hf_frame *frame, const uint8_t *bytes,
		       struct hf_err *err) {
	if (!deliver(scanner, frame, bytes, err))
		return false;
	if (scanner->stopped)
		return true;
	scanner->end.frames++;
	scanner->end.frame_position = frame->position;
	scanner->end.crc = frame->crc;
	scanner->end.closed = frame->record_count == 0;
	if (scanner->options->until_lsn != 0 &&
	    scanner->end.last_lsn >= scanner->options->until_lsn)
		scanner->stopped = true;
	return true;
}

/*
 * A snapshot was renamed into place when the log was durable up to it. So if the log is not there,
 * it was acknowledged and is lost.
 */
static bool lost(const struct scanner *scanner, struct hf_err *err, const char *what) {
	const struct hf_log_place *start = scanner->options->start;
	uint64_t size = scanner->end.segment_size;
	char snapshot[HF_SNAPSHOT_NAME_SIZE], segment[HF_SEGMENT_NAME_SIZE];
	return hf_fail(err, HF_CORRUPT,
		       "%s/%s was taken at LSN %llu, whose frame stands at %s offset %llu: %s. "
		       "Acknowledged events are lost or damaged. Nothing was changed; restore the "
		       "log from a copy, or move the snapshot away to go on with what is left",
		       scanner->options->dir->path, hf_snapshot_name(start->lsn, snapshot),
		       (unsigned long long)start->lsn,
		       hf_segment_name(start->frame_position / size, segment),
		       (unsigned long long)(start->frame_position % size), what);
}

/* Proves that the log has the place to start from, and goes there. */
static bool enter_start(struct scanner *scanner, uint64_t *ret_offset, struct hf_err *err) {
	const struct hf_log_place *start = scanner->options->start;
	uint64_t size = scanner->end.segment_size;
	uint64_t segment = start->frame_position / size, offset = start->frame_position % size;
	if (start->log_id != scanner->end.log_id)
		return lost(scanner, err, "the log that is here is another one");
	for (uint64_t i = 1; i <= segment && i < scanner->end.segments; i++)
		if (!enter_segment(scanner, i, err))
			return false;
	if (segment >= scanner->end.segments)
		return lost(scanner, err, "there is no such file");
	/* A group may have stood open in the next one. It was there, durably, before that. */
	if ((start->position - 1) / size >= scanner->end.segments)
		return lost(scanner, err, "the file behind it is missing");
	const uint8_t *bytes = NULL;
	struct hf_frame frame;
	if (offset > size - HF_SECTOR)
		return lost(scanner, err, "no frame can stand there");
	if (!fetch(scanner, offset, HF_SECTOR, &bytes, err))
		return false;
	if (!hf_frame_get(bytes, scanner->seed, start->frame_position, &frame) ||
	    frame.crc != start->crc || frame.first_lsn + frame.record_count != start->lsn + 1 ||
	    offset + frame_size(&frame) > size)
		return lost(scanner, err, "another frame stands there, or none");
	if (!fetch(scanner, offset, frame_size(&frame), &bytes, err))
		return false;
	if (!payload_holds(&frame, bytes))
		return lost(scanner, err, "the frame is damaged");
	scanner->end.last_lsn = start->lsn;
	scanner->end.crc = start->crc;
	scanner->end.frame_position = start->frame_position;
	scanner->end.record_bytes = start->record_bytes;
	scanner->end.closed = frame.record_count == 0;
	/*
	 * Not start->position: an empty group may have stood open there, and after a crash the next
	 * one in a place before it.
	 */
	*ret_offset = offset + frame_size(&frame);
	return true;
}

/*
 * No valid frame is at `offset` of this segment. Does the log go on in the next one? Goes there, if
 * it does. What is left of a segment when the next frame does not fit is zeros, and stays so.
 */
static bool goes_on(struct scanner *scanner, uint64_t offset, bool *ret, struct hf_err *err) {
	uint64_t segment = scanner->segment, size = scanner->end.segment_size;
	struct hf_frame frame;
	const uint8_t *bytes;
	*ret = false;
	if (segment + 1 == scanner->end.segments)
		return true;
	for (uint64_t at = offset; size - offset <= HF_FRAME_MAX && at < size; at += HF_SECTOR) {
		if (!fetch(scanner, at, HF_SECTOR, &bytes, err))
			return false;
		if (!sector_is_zero(bytes))
			return true;
	}
	if (!enter_segment(scanner, segment + 1, err) ||
	    !next_frame(scanner, HF_SECTOR, &frame, &bytes, ret, err))
		return false;
	return *ret || enter_segment(scanner, segment, err);
}

/*
 * Found was that the log neither goes on nor ends at `offset` of `segment`. If it is in use, it may
 * go on by now: what was found behind that place was written when that place was. Goes there again,
 * if so.
 */
static bool has_grown(struct scanner *scanner, uint64_t segment, uint64_t offset) {
	struct hf_frame frame;
	const uint8_t *bytes;
	struct hf_err ignored;
	bool on;
	if (!enter_segment(scanner, segment, &ignored) ||
	    !next_frame(scanner, offset, &frame, &bytes, &on, &ignored))
		return false;
	if (!on && (!goes_on(scanner, offset, &on, &ignored) || !on))
		return false;
	scanner->end.torn_bytes = 0;
	return enter_segment(scanner, segment, &ignored);
}

/* The main path: frame after frame, segment after segment. */
static bool scan_frames(struct scanner *scanner, struct hf_err *err) {
	const struct hf_log_scan *options = scanner->options;
	uint64_t offset = HF_SECTOR, size = scanner->end.segment_size;
	if (options->start != NULL && !enter_start(scanner, &offset, err))
		return false;
	while (!scanner->stopped) {
		struct hf_frame frame;
		const uint8_t *bytes;
		bool valid;
		if (!next_frame(scanner, offset, &frame, &bytes, &valid, err))
			return false;
		if (valid) {
			if (!take_frame(scanner, &frame, bytes, err))
				return false;
			offset += frame_size(&frame);
			if (options->progress != NULL)
				options->progress(options->arg, scanner->segment * size + offset,
						  scanner->end.segments * size);
			continue;
		}
		uint64_t segment = scanner->segment;
		if (!goes_on(scanner, offset, &valid, err))
			return false;
		if (valid)
			offset = HF_SECTOR;
		else if (find_end(scanner, offset, err))
			return true;
		else if (err->status != HF_CORRUPT || !has_grown(scanner, segment, offset))
			return false;
	}
	scanner->end.position = scanner->segment * size + offset;
	return true;
}

/* Ended it before an LSN that its witness saw durable? */
static bool holds_witness(const struct scanner *scanner, uint64_t witnessed, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	const struct hf_log_end *end = &scanner->end;
	if (scanner->stopped || witnessed <= end->last_lsn)
		return true;
	return hf_fail(
		err, HF_CORRUPT,
		"%s/%s offset %llu: the log ends here, after LSN %llu, but LSN %llu was durable: "
		"acked.hfw says so. Acknowledged events are missing. Nothing was changed; restore "
		"the log from a copy",
		scanner->options->dir->path,
		hf_segment_name(end->position / end->segment_size, name),
		(unsigned long long)(end->position % end->segment_size),
		(unsigned long long)end->last_lsn, (unsigned long long)witnessed);
}

bool hf_log_scan(const struct hf_log_scan *options, struct hf_log_end *ret, struct hf_err *err) {
	struct scanner scanner = { .options = options, .file = HF_FILE_CLOSED };
	if (!find_segments(&scanner, err))
		return false;
	bool ok = !options->writer || wait_for_writes(&scanner, err);
	if (ok && scanner.end.segments > 0) {
		scanner.window = hf_memory_new(HF_SCAN_WINDOW);
		ok = scanner.window != NULL || hf_fail(err, HF_NOMEM, "out of memory");
		uint64_t witnessed;
		/* The witness first, then the list again: the log may be in use, and grow. */
		ok = ok && enter_segment(&scanner, 0, err) &&
		     hf_witness_read(options->dir, &scanner.end, &witnessed, err) &&
		     find_segments(&scanner, err) && scan_frames(&scanner, err) &&
		     holds_witness(&scanner, witnessed, err);
		hf_file_close(&scanner.file);
		hf_memory_free(scanner.window);
	}
	if (ok)
		*ret = scanner.end;
	return ok;
}
