/*
 * snapshot.h - the file of a snapshot: blocks that are proven one by one, and as a chain.
 * docs/format/snapshot.md says the same for others, and what the blocks' items are.
 *
 * "snapshot-<LSN, 16 hex digits>.hfs" in the log's directory: blocks, one behind the other, each
 * at a multiple of 4096. Numbers are little-endian.
 *
 *   block     at most 256 KiB
 *     0  4  "HFS1"
 *     4  4  kind: 1 head, 2 contracts, 3 entities, 4 ids, 5 end
 *     8  8  index: 0, 1, 2...
 *    16  4  payload length
 *    20  4  items in the payload
 *    24  4  header CRC of the block before it; 0 in the first
 *    28  4  body CRC: CRC32C of all from byte 40 on to the block's end, the zeros included
 *    32  4  zero
 *    36  4  header CRC: CRC32C of bytes 0..35
 *    40     payload, then zeros to a multiple of 4096
 *
 *   head      the payload of block 0, one item
 *     0  4  format version (2)
 *     4  4  header CRC of the log's last frame
 *     8  8  log id
 *    16  8  LSN: everything up to it is in the snapshot, nothing behind it
 *    24  8  a log position behind all records up to the LSN; the segment of the byte before it
 *           was there
 *    32  8  log position of the last frame
 *    40 16  state hash: low half, high half
 *    56  8  seed of the hashes that stand in blocks of ids
 *    64  8  log time of the last record, ns
 *    72  8  bytes of records in the log up to here
 *    80  8  events
 *    88  8  contract texts
 *    96  8  entities
 *   104  8  ids
 *   112  8  wall-clock time at which it was taken, ns since 1970 UTC
 *   120  8  plain keys: their images stand among the entities'
 *
 * Validity: each block's two CRCs hold, its index is one more than that of the block before it,
 * and it names that block's header CRC. Block 0 is a head whose LSN is the one in the file's
 * name; then come contracts, entities with plain keys, and ids, in this order and as many as the
 * head says; then an end without payload, behind which the file ends.
 *
 * A file is written under a name with ".making" behind it, synced, renamed, and the directory
 * synced: under its real name it is whole. Whoever renames it must know that the log is durable
 * up to its LSN.
 */
#ifndef HF_SNAPSHOT_H
#define HF_SNAPSHOT_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/span.h"
#include "os/disk.h"

#define HF_SNAPSHOT_HEADER_SIZE 40u
#define HF_SNAPSHOT_ALIGNMENT 4096u
#define HF_SNAPSHOT_PAYLOAD_MAX (HF_SNAPSHOT_BLOCK_MAX - HF_SNAPSHOT_HEADER_SIZE)
#define HF_SNAPSHOT_NAME_SIZE 32u

enum hf_snapshot_kind {
	HF_SNAPSHOT_HEAD = 1,
	HF_SNAPSHOT_CONTRACTS,
	HF_SNAPSHOT_ENTITIES,
	HF_SNAPSHOT_IDS,
	HF_SNAPSHOT_END,
};

struct hf_snapshot_head {
	uint32_t crc;
	uint64_t log_id;
	uint64_t lsn;
	uint64_t position;
	uint64_t frame_position;
	uint64_t state_hash[2];
	uint64_t hash_seed;
	int64_t time_ns;
	uint64_t record_bytes;
	uint64_t events;
	uint64_t contracts, entities, ids;
	uint64_t plain_keys; /* their images stand among the entities' */
	int64_t taken_ns;
};

/* "snapshot-0000000000000000.hfs". `buf` has room for HF_SNAPSHOT_NAME_SIZE. */
const char *hf_snapshot_name(uint64_t lsn, char *buf);

/* ---- writing ---- */

struct hf_snapshot_writer {
	const struct hf_dir *dir;
	struct hf_file file;
	uint64_t lsn, index, bytes;
	uint32_t crc;
	bool renamed; /* it has its real name */
	bool hurries; /* no rest was taken: what is left of a block is written at once */
	/* Called after each piece of a block, which took so long to write: rests, or says that
	   there is no time for it (false). May be NULL. */
	bool (*rest)(void *arg, uint64_t wrote_ns);
	void *arg;
};

HF_MUST bool hf_snapshot_create(const struct hf_dir *dir, uint64_t lsn,
				struct hf_snapshot_writer *ret, struct hf_err *err);
/*
 * Writes a block. `block` has HF_SNAPSHOT_BLOCK_MAX bytes at an address that is a multiple of
 * HF_SNAPSHOT_ALIGNMENT; its payload is there already, behind HF_SNAPSHOT_HEADER_SIZE bytes of
 * room.
 */
HF_MUST bool hf_snapshot_write(struct hf_snapshot_writer *writer, enum hf_snapshot_kind kind,
			       uint32_t items, uint8_t *block, size_t payload_len,
			       struct hf_err *err);
/* As hf_snapshot_write, of the head alone. */
HF_MUST bool hf_snapshot_write_head(struct hf_snapshot_writer *writer,
				    const struct hf_snapshot_head *head, uint8_t *block,
				    struct hf_err *err);
/* Writes the end and makes the file durable under its real name. `block` as above. */
HF_MUST bool hf_snapshot_finish(struct hf_snapshot_writer *writer, uint8_t *block,
				struct hf_err *err);
/* Instead of hf_snapshot_finish, or after it has failed: nothing is left of the file. */
void hf_snapshot_give_up(struct hf_snapshot_writer *writer);

/* ---- reading ---- */

struct hf_snapshot_block {
	enum hf_snapshot_kind kind;
	uint32_t items;
	uint64_t offset; /* of the payload, in the file */
	struct hf_span payload;
};

struct hf_snapshot_reader {
	const struct hf_dir *dir;
	struct hf_file file;
	uint64_t lsn, index, offset, size;
	uint32_t crc;
	enum hf_snapshot_kind kind;	/* of the last block */
	uint64_t left[HF_SNAPSHOT_END]; /* items that must still come, by kind */
	uint8_t *buf;
};

/* Opens the snapshot at `lsn` and proves its head. Closed with hf_snapshot_close. */
HF_MUST bool hf_snapshot_open(const struct hf_dir *dir, uint64_t lsn,
			      struct hf_snapshot_reader *ret, struct hf_snapshot_head *ret_head,
			      struct hf_err *err);
/*
 * The next block, proven; its payload is valid until the next call. The last one is the
 * HF_SNAPSHOT_END. False: it is not valid (HF_CORRUPT, with the file and the offset), or cannot
 * be read.
 */
HF_MUST bool hf_snapshot_read(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
			      struct hf_err *err);
/* HF_CORRUPT, naming the file and the offset. False. */
bool hf_snapshot_corrupt(const struct hf_snapshot_reader *reader, uint64_t offset,
			 struct hf_err *err, const char *what);
/*
 * Opening it failed because it is not there any more: a directory in use loses its older snapshots
 * to younger ones. No flaw of what is there.
 */
bool hf_snapshot_gone(const struct hf_err *err);
void hf_snapshot_close(struct hf_snapshot_reader *reader);
/* Proves a whole file, as far as its bytes go. */
HF_MUST bool hf_snapshot_verify(const struct hf_dir *dir, uint64_t lsn,
				struct hf_snapshot_head *ret_head, uint64_t *ret_bytes,
				struct hf_err *err);

/* ---- the directory ---- */

#define HF_SNAPSHOTS_LISTED 64u
/* The newest snapshots' LSNs, newest first. */
HF_MUST bool hf_snapshot_list(const struct hf_dir *dir, uint64_t ret_lsns[HF_SNAPSHOTS_LISTED],
			      uint32_t *ret_count, struct hf_err *err);
/* Removes all snapshots but these two (which need not be there). */
HF_MUST bool hf_snapshot_keep(const struct hf_dir *dir, uint64_t newest, uint64_t before,
			      struct hf_err *err);

#endif
