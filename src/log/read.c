/*
 * read.c - one record by its position: from the ring if it is still there, else from its segment.
 */
#include "log/log_private.h"

#define FIRST_READ 512u /* most records are shorter */

static bool corrupt(struct hf_log *log, uint64_t position, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	return hf_fail(
		err, HF_CORRUPT,
		"%s/%s offset %llu: this record was written whole, and is not whole any more",
		log->dir->path, hf_segment_name(position / log->segment_size, name),
		(unsigned long long)(position % log->segment_size));
}

static bool unreadable(struct hf_log *log, uint64_t position, struct hf_err *err) {
	char name[HF_SEGMENT_NAME_SIZE];
	return hf_fail_file(err, log->dir->path,
			    hf_segment_name(position / log->segment_size, name));
}

static bool read_file(struct hf_log *log, uint64_t segment, struct hf_file **ret,
		      struct hf_err *err) {
	struct segment_file *slot = &log->read_files[segment % READ_FILES];
	if (slot->file.fd < 0 || slot->segment != segment) {
		char name[HF_SEGMENT_NAME_SIZE];
		struct hf_file file;
		if (!hf_file_open(log->dir, hf_segment_name(segment, name), HF_FILE_READ, false,
				  &file, err))
			return false;
		hf_file_close(&slot->file);
		*slot = (struct segment_file){ .segment = segment, .file = file };
	}
	*ret = &slot->file;
	return true;
}

bool hf_log_read(struct hf_log *log, uint64_t position, uint8_t *scratch, struct hf_record *ret,
		 struct hf_err *err) {
	uint64_t ring_low =
		log->ring_high > HF_LOG_RING_SIZE ? log->ring_high - HF_LOG_RING_SIZE : 0;
	const uint8_t *bytes = scratch;
	size_t len = HF_RECORD_MAX;
	if (position >= log->ring_first && position >= ring_low && position < log->next) {
		bytes = hf_log_ring_at(log, position);
	} else {
		struct hf_file *file;
		uint64_t offset = position % log->segment_size;
		if (!read_file(log, position / log->segment_size, &file, err))
			return false;
		if (!hf_file_read(file, scratch, FIRST_READ, offset, &len, err))
			return unreadable(log, position, err);
		uint32_t size = len < 4 ? 0 : hf_record_size(scratch);
		if (size > len && !hf_file_read(file, scratch, size, offset, &len, err))
			return unreadable(log, position, err);
	}
	/* Also from the ring: memory rots, too. */
	if (!hf_record_get(hf_span(bytes, len), position, ret) || !hf_record_holds(ret, bytes))
		return corrupt(log, position, err);
	return true;
}
