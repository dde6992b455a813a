#include "frame/frame.h"

#define XXH_INLINE_ALL
#include <isa-l/crc.h>
#include <xxhash.h>

#include "frame/cursor.h"

static const char segment_magic[8] = { 'H', 'O', 'L', 'D', 'F', 'A', 'S', 'T' };
static const char witness_magic[8] = { 'H', 'F', 'A', 'C', 'K', 'E', 'D', '1' };
static const char frame_magic[4] = { 'H', 'F', 'G', '1' };

/*
 * ISA-L's kernel for AVX-512 returns with the upper parts of the vector registers in use, and from
 * then on every SSE instruction of the thread waits for the one before it: three times as slow.
 */
static void clear_upper_vectors(void) {
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile("vzeroupper");
#endif
}

uint32_t hf_crc32c(uint32_t crc, const uint8_t *bytes, size_t len) {
	crc = crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)len, crc);
	clear_upper_vectors();
	return crc;
}

bool hf_check_holds(uint32_t stored, uint32_t computed) {
#ifdef HF_FUZZ_NO_CHECKSUMS
	return true; /* so that changed bytes reach the code behind the checks: only in fuzz/ */
#else
	return stored == computed;
#endif
}

/* Of a sector that has its CRC at offset 12. */
static uint32_t sector_crc(const uint8_t *sector) {
	uint8_t copy[HF_SECTOR];
	memcpy(copy, sector, sizeof(copy));
	memset(copy + 12, 0, 4);
	return hf_crc32c(~0u, copy, sizeof(copy));
}

void hf_segment_header_put(const struct hf_segment_header *header, uint8_t *sector) {
	memset(sector, 0, HF_SECTOR);
	struct hf_writer writer = { .at = sector, .end = sector + HF_SECTOR };
	hf_write_span(&writer, hf_span(segment_magic, sizeof(segment_magic)));
	hf_write_u32(&writer, header->format_version);
	hf_write_u32(&writer, 0);
	hf_write_u64(&writer, header->log_id);
	hf_write_u64(&writer, header->segment);
	hf_write_u64(&writer, header->segment_size);
	uint32_t crc = sector_crc(sector);
	memcpy(sector + 12, &crc, sizeof(crc));
}

bool hf_segment_header_get(const uint8_t *sector, struct hf_segment_header *ret,
			   struct hf_err *err) {
	struct hf_reader reader = hf_reader(hf_span(sector, HF_SECTOR));
	if (memcmp(hf_read(&reader, sizeof(segment_magic)), segment_magic, sizeof(segment_magic)) !=
	    0)
		return hf_fail(
			err, HF_CORRUPT,
			"offset 0: not a Holdfast log segment (it should begin with \"HOLDFAST\")");
	struct hf_segment_header header = { .format_version = hf_read_u32(&reader) };
	uint32_t crc = hf_read_u32(&reader);
	/* Before the CRC: another version may have put that elsewhere. */
	if (header.format_version != HF_FORMAT_VERSION)
		return hf_fail(err, HF_CORRUPT,
			       "offset 8: log format version %u, this build reads version %u",
			       header.format_version, HF_FORMAT_VERSION);
	if (!hf_check_holds(crc, sector_crc(sector)))
		return hf_fail(err, HF_CORRUPT,
			       "offset 0: the segment header's checksum does not hold");
	header.log_id = hf_read_u64(&reader);
	header.segment = hf_read_u64(&reader);
	header.segment_size = hf_read_u64(&reader);
	if (header.segment_size < HF_SEGMENT_SIZE_MIN ||
	    header.segment_size > HF_SEGMENT_SIZE_MAX || header.segment_size % HF_SECTOR != 0)
		return hf_fail(err, HF_CORRUPT, "offset 32: impossible segment size %llu",
			       (unsigned long long)header.segment_size);
	*ret = header;
	return true;
}

void hf_witness_slot_put(const struct hf_witness_slot *slot, uint8_t *sector) {
	memset(sector, 0, HF_SECTOR);
	struct hf_writer writer = { .at = sector, .end = sector + HF_SECTOR };
	hf_write_span(&writer, hf_span(witness_magic, sizeof(witness_magic)));
	hf_write_u64(&writer, 0); /* and the CRC's place */
	hf_write_u64(&writer, slot->log_id);
	hf_write_u64(&writer, slot->lsn);
	uint32_t crc = sector_crc(sector);
	memcpy(sector + 12, &crc, sizeof(crc));
}

bool hf_witness_slot_get(const uint8_t *sector, struct hf_witness_slot *ret) {
	uint32_t crc;
	memcpy(&crc, sector + 12, sizeof(crc));
	if (memcmp(sector, witness_magic, sizeof(witness_magic)) != 0 ||
	    !hf_check_holds(crc, sector_crc(sector)))
		return false;
	struct hf_reader reader = hf_reader(hf_span(sector + 16, 16));
	ret->log_id = hf_read_u64(&reader);
	ret->lsn = hf_read_u64(&reader);
	return true;
}

uint32_t hf_frame_seed(uint64_t log_id) {
	return hf_crc32c(~0u, (const uint8_t *)&log_id, sizeof(log_id));
}

static uint32_t header_crc(const uint8_t *bytes, uint32_t seed) {
	return hf_crc32c(seed, bytes, HF_FRAME_HEADER_SIZE - 4);
}

static uint32_t payload_crc(const struct hf_frame *frame, const uint8_t *bytes) {
	return hf_crc32c(~0u, bytes + HF_FRAME_HEADER_SIZE, frame->payload_len);
}

void hf_frame_put(struct hf_frame *frame, uint32_t seed, uint8_t *bytes) {
	struct hf_writer writer = { .at = bytes, .end = bytes + HF_FRAME_HEADER_SIZE };
	frame->payload_crc = payload_crc(frame, bytes);
	hf_write_span(&writer, hf_span(frame_magic, sizeof(frame_magic)));
	hf_write_u32(&writer, frame->payload_len);
	hf_write_u64(&writer, frame->position);
	hf_write_u64(&writer, frame->first_lsn);
	hf_write_u32(&writer, frame->record_count);
	hf_write_u32(&writer, frame->previous_crc);
	hf_write_u32(&writer, frame->payload_crc);
	frame->crc = header_crc(bytes, seed);
	hf_write_u32(&writer, frame->crc);
}

bool hf_frame_get(const uint8_t *bytes, uint32_t seed, uint64_t position, struct hf_frame *ret) {
	struct hf_reader reader = hf_reader(hf_span(bytes, HF_FRAME_HEADER_SIZE));
	if (memcmp(hf_read(&reader, sizeof(frame_magic)), frame_magic, sizeof(frame_magic)) != 0)
		return false;
	struct hf_frame frame;
	frame.payload_len = hf_read_u32(&reader);
	frame.position = hf_read_u64(&reader);
	frame.first_lsn = hf_read_u64(&reader);
	frame.record_count = hf_read_u32(&reader);
	frame.previous_crc = hf_read_u32(&reader);
	frame.payload_crc = hf_read_u32(&reader);
	frame.crc = hf_read_u32(&reader);
	if (!hf_check_holds(frame.crc, header_crc(bytes, seed)) || frame.position != position ||
	    frame.payload_len > HF_FRAME_MAX - HF_FRAME_HEADER_SIZE)
		return false;
	*ret = frame;
	return true;
}

bool hf_frame_payload_holds(const struct hf_frame *frame, const uint8_t *bytes) {
	return hf_check_holds(frame->payload_crc, payload_crc(frame, bytes));
}

static uint32_t record_check(const uint8_t *bytes, size_t size, uint64_t position) {
	return (uint32_t)XXH3_64bits_withSeed(bytes, size - 4, position);
}

void hf_record_put(uint8_t *bytes, uint64_t position, uint8_t type, uint64_t lsn, int64_t time_ns,
		   size_t body_len) {
	size_t size = body_len + HF_RECORD_OVERHEAD;
	HF_ASSERT(size <= HF_RECORD_MAX);
	struct hf_writer writer = { .at = bytes, .end = bytes + HF_RECORD_HEADER_SIZE };
	hf_write_u32(&writer, (uint32_t)size | (uint32_t)type << 24);
	hf_write_u64(&writer, lsn);
	hf_write_u64(&writer, (uint64_t)time_ns);
	uint32_t check = record_check(bytes, size, position);
	memcpy(bytes + size - 4, &check, sizeof(check));
}

uint32_t hf_record_size(const uint8_t *bytes) {
	uint32_t word;
	memcpy(&word, bytes, sizeof(word));
	uint32_t size = word & 0xffffff;
	return size >= HF_RECORD_OVERHEAD && size <= HF_RECORD_MAX ? size : 0;
}

bool hf_record_get(struct hf_span bytes, uint64_t position, struct hf_record *ret) {
	if (bytes.len < HF_RECORD_OVERHEAD)
		return false;
	uint32_t size = hf_record_size(bytes.data);
	if (size == 0 || size > bytes.len)
		return false;
	struct hf_reader reader = hf_reader(hf_span(bytes.data, HF_RECORD_HEADER_SIZE));
	uint32_t word = hf_read_u32(&reader);
	*ret = (struct hf_record){
		.position = position,
		.lsn = hf_read_u64(&reader),
		.time_ns = (int64_t)hf_read_u64(&reader),
		.size = size,
		.type = (uint8_t)(word >> 24),
		.body = hf_span(bytes.data + HF_RECORD_HEADER_SIZE, size - HF_RECORD_OVERHEAD),
	};
	return true;
}

bool hf_record_holds(const struct hf_record *record, const uint8_t *bytes) {
	uint32_t check;
	memcpy(&check, bytes + record->size - 4, sizeof(check));
	return hf_check_holds(check, record_check(bytes, record->size, record->position));
}
