/*
 * read.c - one record by its position: from the ring if it is still there, else from its segment.
 */
#include <string.h>

#include "base/assert.h"
#include "log/log_private.h"

#define FIRST_READ 512u /* most records are shorter */

static bool corrupt(struct hf_log *log, uint64_t position, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	return hf_fail(err, HF_CORRUPT, "%s/%s offset %llu: this record was written whole, and is not whole any more",
		       log->dir->path, hf_segment_name(position / log->segment_size, name),
		       (unsigned long long)(position % log->segment_size));
}

static bool read_file(struct hf_log *log, uint64_t segment, struct hf_file **ret, struct hf_err *err) {
	struct segment_file *slot = &log->read_files[segment % READ_FILES];
	if (slot->file.fd < 0 || slot->segment != segment) {
		char name[HF_SEGMENT_NAME_SIZE];
		struct hf_file file;
		if (!hf_file_open(log->dir, hf_segment_name(segment, name), HF_FILE_READ, false, &file, err))
			return false;
		hf_file_close(&slot->file);
		*slot = (struct segment_file){ .segment = segment, .file = file };
	}
	*ret = &slot->file;
	return true;
}

bool hf_log_read(struct hf_log *log, uint64_t position, uint8_t *scratch, struct hf_record *ret, struct hf_err *err) {
	uint64_t ring_low = log->ring_high > HF_LOG_RING_SIZE ? log->ring_high - HF_LOG_RING_SIZE : 0;
	if (position >= log->ring_first && position - 4 >= ring_low && position < log->next) {
		/* It is as the appender left it, so its CRC holds; checked all the same, memory rots, too. */
		const uint8_t *bytes = hf_log_ring_at(log, position - 4);
		uint32_t previous_crc;
		memcpy(&previous_crc, bytes, sizeof(previous_crc));
		/* The first record of an open frame: the header with the CRC before it is not yet there. */
		if (log->frame_open && position == log->frame.position + HF_FRAME_HEADER_SIZE)
			previous_crc = log->frame.previous_crc;
		if (!hf_record_get(hf_span(bytes + 4, HF_RECORD_MAX), position, previous_crc, ret))
			return corrupt(log, position, err);
		return true;
	}
	struct hf_file *file;
	uint64_t offset = position % log->segment_size - 4;
	size_t len;
	if (!read_file(log, position / log->segment_size, &file, err) ||
	    !hf_file_read(file, scratch, FIRST_READ, offset, &len, err))
		return false;
	uint32_t size = len < 8 ? 0 : hf_record_size(scratch + 4);
	if (size == 0)
		return corrupt(log, position, err);
	if (size + 4 > len && !hf_file_read(file, scratch, size + 4, offset, &len, err))
		return false;
	uint32_t previous_crc;
	memcpy(&previous_crc, scratch, sizeof(previous_crc));
	if (len < 4 || !hf_record_get(hf_span(scratch + 4, len - 4), position, previous_crc, ret))
		return corrupt(log, position, err);
	return true;
}
