/*
 * frame.h - the bytes of the log: segments, frames, records. docs/format/log.md says the same for
 * others.
 *
 * Numbers are little-endian. A log is one sequence of bytes, addressed by *position*, cut into
 * segment files of equal size: position p is byte p % S of segment p / S.
 *
 *   segment   sector 0 (512 bytes): segment header, written and synced before the segment is used;
 *             then frames; the rest is zeros, written beforehand.
 *     0  8  "HOLDFAST"
 *     8  4  format version (2)
 *    12  4  CRC32C of the sector with these 4 bytes zero
 *    16  8  log id (random, the same in all segments of a log)
 *    24  8  segment number
 *    32  8  segment size S
 *    40     zeros
 *
 *   frame     one group commit: begins at a multiple of 512, never crosses the end of its segment.
 *     0  4  "HFG1"
 *     4  4  payload length: all records of the frame
 *     8  8  position of this frame
 *    16  8  LSN of the first record (of the next one to come, in a frame without records)
 *    24  4  number of records
 *    28  4  header CRC of the frame before this one; 0 in the first
 *    32  4  CRC32C of the payload
 *    36  4  header CRC: CRC32C of bytes 0..35, begun with the CRC32C of the log id
 *    40     records, then bytes of 0xff to a multiple of 512
 *
 *   record    24 bytes and a body
 *     0  3  length of the record, check included
 *     3  1  type
 *     4  8  LSN
 *    12  8  log time, ns since 1970
 *    20     body
 *   len-4 4  check: low half of XXH3-64 of bytes 0..len-5, seeded with this record's position
 *
 * Validity: a frame is valid at position p, after a frame with header CRC c and a record with LSN
 * n, if and only if its header CRC holds, its position is p, its first LSN n + 1, the header CRC
 * before it c, its payload's CRC holds, its records fill the payload exactly, with LSNs in turn,
 * and its padding is 0xff. So the header CRCs of a log form one chain: a block that is missing,
 * misplaced, old, or of another log breaks it. A record's check is for reading it alone.
 *
 * A frame without records is a *close* mark: the log was closed in order, and all before it was
 * complete.
 */
#ifndef HF_FRAME_H
#define HF_FRAME_H

#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

#define HF_FORMAT_VERSION 2u
#define HF_PADDING 0xff /* behind a frame's records; zeros would look like a sector not written */
#define HF_FRAME_HEADER_SIZE 40u
#define HF_RECORD_HEADER_SIZE 20u
#define HF_RECORD_OVERHEAD 24u /* header and check */

/*
 * Is the checksum that was read the one of the bytes that were read? Every check of bytes on disk
 * asks here.
 */
HF_MUST bool hf_check_holds(uint32_t stored, uint32_t computed);

struct hf_segment_header {
	uint32_t format_version;
	uint64_t log_id;
	uint64_t segment;
	uint64_t segment_size;
};

/*
 * CRC32C (Castagnoli) of `len` bytes, continued from `crc`; its plain form, without the customary
 * inversions.
 */
uint32_t hf_crc32c(uint32_t crc, const uint8_t *bytes, size_t len);

/* `sector` has HF_SECTOR bytes. */
void hf_segment_header_put(const struct hf_segment_header *header, uint8_t *sector);
/*
 * False, with the reason (HF_CORRUPT), if it is not a whole header of a version that this build
 * reads.
 */
HF_MUST bool hf_segment_header_get(const uint8_t *sector, struct hf_segment_header *ret,
				   struct hf_err *err);

/*
 * A slot of the file acked.hfw, a sector:
 *    0  8  "HFACKED1"
 *    8  4  zeros
 *   12  4  CRC32C of the sector with these 4 bytes zero
 *   16  8  log id
 *   24  8  LSN: it and all before it were durable
 *   32     zeros
 */
struct hf_witness_slot {
	uint64_t log_id;
	uint64_t lsn;
};

/* `sector` has HF_SECTOR bytes. */
void hf_witness_slot_put(const struct hf_witness_slot *slot, uint8_t *sector);
/* False if it is not a whole slot. */
HF_MUST bool hf_witness_slot_get(const uint8_t *sector, struct hf_witness_slot *ret);

struct hf_frame {
	uint64_t position;
	uint64_t first_lsn;
	uint32_t payload_len;
	uint32_t record_count;
	uint32_t previous_crc; /* header CRC of the frame before it */
	uint32_t payload_crc;
	uint32_t crc; /* header CRC; set by hf_frame_put and hf_frame_get */
};

/* What the CRCs of a log's frame headers begin with. */
uint32_t hf_frame_seed(uint64_t log_id);
/*
 * Completes the frame whose records stand at `bytes + HF_FRAME_HEADER_SIZE`: both CRCs, and the
 * header.
 */
void hf_frame_put(struct hf_frame *frame, uint32_t seed, uint8_t *bytes);
/*
 * True if the header itself is whole, and was written for this position. Says nothing of the
 * payload.
 */
HF_MUST bool hf_frame_get(const uint8_t *bytes, uint32_t seed, uint64_t position,
			  struct hf_frame *ret);

enum hf_record_type {
	HF_RECORD_CONTRACT = 1,
	HF_RECORD_EVENT = 2,
	HF_RECORD_SET = 3,    /* a plain key gets a value */
	HF_RECORD_DELETE = 4, /* plain keys go */
};

struct hf_record {
	uint64_t position;
	uint64_t lsn;
	int64_t time_ns;
	uint32_t size; /* overhead included */
	uint8_t type;
	struct hf_span body;
};

/* True if the payload behind the header at `bytes` has the header's CRC. */
HF_MUST bool hf_frame_payload_holds(const struct hf_frame *frame, const uint8_t *bytes);

/*
 * Completes the record of `body_len` body bytes at `bytes + HF_RECORD_HEADER_SIZE`: its header and
 * check around it.
 */
void hf_record_put(uint8_t *bytes, uint64_t position, uint8_t type, uint64_t lsn, int64_t time_ns,
		   size_t body_len);
/*
 * Takes apart the record at the start of `bytes`, of a payload whose CRC holds. False if it is
 * none.
 */
HF_MUST bool hf_record_get(struct hf_span bytes, uint64_t position, struct hf_record *ret);
/*
 * True if a record that was read alone has its check. `bytes` as for hf_record_get, which gave
 * `record`.
 */
HF_MUST bool hf_record_holds(const struct hf_record *record, const uint8_t *bytes);
/*
 * The length that a record's first bytes announce; 0 if it cannot be one. `bytes` has at least 4.
 */
uint32_t hf_record_size(const uint8_t *bytes);

#endif
