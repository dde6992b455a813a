/*
 * snapshot.c - snapshot files: written beside and renamed, read block by block, listed, removed.
 */
#include "log/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frame/cursor.h"
#include "frame/frame.h"
#include "log/log_private.h"
#include "os/clock.h"
#include "os/memory.h"

#define SNAPSHOT_VERSION 2u
#define HEAD_LEN 128u
#define PIECE 32768u /* written at once, but in a hurry: so much a flush of the log waits behind */

_Static_assert(HF_SNAPSHOT_BLOCK_MAX % HF_SNAPSHOT_ALIGNMENT == 0, "the largest block is whole");
_Static_assert(HF_SNAPSHOT_ALIGNMENT % HF_SECTOR == 0, "blocks are written with direct I/O");

static const char block_magic[4] = { 'H', 'F', 'S', '1' };

const char *hf_snapshot_name(uint64_t lsn, char *buf) {
	return hf_numbered_name("snapshot-", lsn, ".hfs", buf);
}

static const char *making_name(uint64_t lsn, char *buf) {
	char name[HF_SNAPSHOT_NAME_SIZE];
	snprintf(buf, HF_SNAPSHOT_NAME_SIZE + 8, "%s.making", hf_snapshot_name(lsn, name));
	return buf;
}

static size_t block_len(size_t payload_len) {
	return (HF_SNAPSHOT_HEADER_SIZE + payload_len + HF_SNAPSHOT_ALIGNMENT - 1) /
	       HF_SNAPSHOT_ALIGNMENT * HF_SNAPSHOT_ALIGNMENT;
}

static uint32_t header_crc(const uint8_t *block) {
	return hf_crc32c(~0u, block, HF_SNAPSHOT_HEADER_SIZE - 4);
}

static uint32_t body_crc(const uint8_t *block, size_t len) {
	return hf_crc32c(~0u, block + HF_SNAPSHOT_HEADER_SIZE, len - HF_SNAPSHOT_HEADER_SIZE);
}

/* ---- writing ---- */

bool hf_snapshot_create(const struct hf_dir *dir, uint64_t lsn, struct hf_snapshot_writer *ret,
			struct hf_err *err) {
	char name[HF_SNAPSHOT_NAME_SIZE + 8];
	*ret = (struct hf_snapshot_writer){ .dir = dir, .lsn = lsn };
	/* Past the page cache: it has no use for these bytes, and the log's flushes would wait. */
	return hf_log_file_new(dir, making_name(lsn, name), &ret->file, err);
}

static bool write_pieces(struct hf_snapshot_writer *writer, const uint8_t *block, size_t len,
			 struct hf_err *err) {
	for (size_t at = 0, size; at < len; at += size) {
		size = writer->hurries || len - at < PIECE ? len - at : PIECE;
		uint64_t since = hf_clock_monotonic_ns();
		if (!hf_file_write(&writer->file, block + at, size, writer->bytes + at, err))
			return false;
		if (writer->rest != NULL)
			writer->hurries =
				!writer->rest(writer->arg, hf_clock_monotonic_ns() - since);
	}
	return true;
}

bool hf_snapshot_write(struct hf_snapshot_writer *writer, enum hf_snapshot_kind kind,
		       uint32_t items, uint8_t *block, size_t payload_len, struct hf_err *err) {
	HF_ASSERT(payload_len <= HF_SNAPSHOT_PAYLOAD_MAX);
	size_t len = block_len(payload_len), used = HF_SNAPSHOT_HEADER_SIZE + payload_len;
	memset(block + used, 0, len - used);
	struct hf_writer header = { .at = block, .end = block + HF_SNAPSHOT_HEADER_SIZE };
	hf_write_span(&header, hf_span(block_magic, sizeof(block_magic)));
	hf_write_u32(&header, kind);
	hf_write_u64(&header, writer->index++);
	hf_write_u32(&header, (uint32_t)payload_len);
	hf_write_u32(&header, items);
	hf_write_u32(&header, writer->crc);
	hf_write_u32(&header, body_crc(block, len));
	hf_write_u32(&header, 0);
	writer->crc = header_crc(block);
	hf_write_u32(&header, writer->crc);
	struct hf_err why;
	char name[HF_SNAPSHOT_NAME_SIZE + 8];
	if (!write_pieces(writer, block, len, &why))
		return hf_fail(err, why.status, "%s/%s: %.400s", writer->dir->path,
			       making_name(writer->lsn, name), why.text);
	writer->bytes += len;
	return true;
}

bool hf_snapshot_write_head(struct hf_snapshot_writer *writer, const struct hf_snapshot_head *head,
			    uint8_t *block, struct hf_err *err) {
	uint8_t *payload = block + HF_SNAPSHOT_HEADER_SIZE;
	struct hf_writer out = { .at = payload, .end = payload + HEAD_LEN };
	hf_write_u32(&out, SNAPSHOT_VERSION);
	hf_write_u32(&out, head->crc);
	hf_write_u64(&out, head->log_id);
	hf_write_u64(&out, head->lsn);
	hf_write_u64(&out, head->position);
	hf_write_u64(&out, head->frame_position);
	hf_write_u64(&out, head->state_hash[0]);
	hf_write_u64(&out, head->state_hash[1]);
	hf_write_u64(&out, head->hash_seed);
	hf_write_u64(&out, (uint64_t)head->time_ns);
	hf_write_u64(&out, head->record_bytes);
	hf_write_u64(&out, head->events);
	hf_write_u64(&out, head->contracts);
	hf_write_u64(&out, head->entities);
	hf_write_u64(&out, head->ids);
	hf_write_u64(&out, (uint64_t)head->taken_ns);
	hf_write_u64(&out, head->plain_keys);
	HF_ASSERT(out.at == out.end);
	return hf_snapshot_write(writer, HF_SNAPSHOT_HEAD, 1, block, HEAD_LEN, err);
}

bool hf_snapshot_finish(struct hf_snapshot_writer *writer, uint8_t *block, struct hf_err *err) {
	char name[HF_SNAPSHOT_NAME_SIZE], making[HF_SNAPSHOT_NAME_SIZE + 8];
	bool ok = hf_snapshot_write(writer, HF_SNAPSHOT_END, 0, block, 0, err) &&
		  hf_file_sync(&writer->file, err) &&
		  hf_dir_rename(writer->dir, making_name(writer->lsn, making),
				hf_snapshot_name(writer->lsn, name), err);
	if (!ok)
		return false;
	writer->renamed = true;
	hf_file_close(&writer->file);
	return hf_dir_sync(writer->dir, err);
}

void hf_snapshot_give_up(struct hf_snapshot_writer *writer) {
	char name[HF_SNAPSHOT_NAME_SIZE + 8];
	struct hf_err ignored; /* it stays: whole, or the next start removes it */
	hf_file_close(&writer->file);
	(void)!hf_dir_remove(writer->dir,
			     writer->renamed ? hf_snapshot_name(writer->lsn, name)
					     : making_name(writer->lsn, name),
			     &ignored);
}

/* ---- reading ---- */

bool hf_snapshot_corrupt(const struct hf_snapshot_reader *reader, uint64_t offset,
			 struct hf_err *err, const char *what) {
	char name[HF_SNAPSHOT_NAME_SIZE];
	return hf_fail(err, HF_CORRUPT, "%s/%s offset %llu: %s", reader->dir->path,
		       hf_snapshot_name(reader->lsn, name), (unsigned long long)offset, what);
}

/* Reads the block at reader->offset and proves its bytes; not yet that it stands in its place. */
static bool fetch_block(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
			uint32_t *ret_crc, struct hf_err *err) {
	uint64_t at = reader->offset;
	size_t len;
	char name[HF_SNAPSHOT_NAME_SIZE];
	if (!hf_file_read(&reader->file, reader->buf, HF_SNAPSHOT_BLOCK_MAX, at, &len, err))
		return hf_fail_file(err, reader->dir->path, hf_snapshot_name(reader->lsn, name));
	if (len < HF_SNAPSHOT_ALIGNMENT)
		return hf_snapshot_corrupt(reader, at + len, err, "the file ends early");
	struct hf_reader header = hf_reader(hf_span(reader->buf, HF_SNAPSHOT_HEADER_SIZE));
	if (memcmp(hf_read(&header, 4), block_magic, 4) != 0)
		return hf_snapshot_corrupt(reader, at, err,
					   "no block of a snapshot begins here (\"HFS1\")");
	uint32_t kind = hf_read_u32(&header);
	uint64_t index = hf_read_u64(&header);
	uint32_t payload_len = hf_read_u32(&header);
	uint32_t items = hf_read_u32(&header);
	uint32_t previous = hf_read_u32(&header);
	uint32_t body = hf_read_u32(&header);
	uint32_t zero = hf_read_u32(&header);
	*ret_crc = hf_read_u32(&header);
	if (!hf_check_holds(*ret_crc, header_crc(reader->buf)))
		return hf_snapshot_corrupt(reader, at, err,
					   "the block header's checksum does not hold");
	if (kind < HF_SNAPSHOT_HEAD || kind > HF_SNAPSHOT_END || zero != 0 ||
	    payload_len > HF_SNAPSHOT_PAYLOAD_MAX)
		return hf_snapshot_corrupt(reader, at, err, "impossible block header");
	if (index != reader->index || previous != reader->crc)
		return hf_snapshot_corrupt(reader, at, err,
					   "this block does not follow the one before it");
	if (block_len(payload_len) > len)
		return hf_snapshot_corrupt(reader, at + len, err, "the file ends early");
	if (!hf_check_holds(body, body_crc(reader->buf, block_len(payload_len))))
		return hf_snapshot_corrupt(reader, at, err, "the block's checksum does not hold");
	*ret = (struct hf_snapshot_block){
		.kind = kind,
		.items = items,
		.offset = at + HF_SNAPSHOT_HEADER_SIZE,
		.payload = hf_span(reader->buf + HF_SNAPSHOT_HEADER_SIZE, payload_len),
	};
	return true;
}

bool hf_snapshot_read(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
		      struct hf_err *err) {
	uint32_t crc = 0;
	if (!fetch_block(reader, ret, &crc, err))
		return false;
	/* Kinds come in order; each but the end takes away from what the head announced. */
	enum hf_snapshot_kind kind = reader->kind;
	while (kind < ret->kind && reader->left[kind] == 0)
		kind++;
	if (kind != ret->kind || (kind < HF_SNAPSHOT_END && ret->items > reader->left[kind]))
		return hf_snapshot_corrupt(reader, reader->offset, err,
					   "the head announces something else here");
	if (kind < HF_SNAPSHOT_END)
		reader->left[kind] -= ret->items;
	reader->kind = kind;
	reader->offset += block_len(ret->payload.len);
	reader->index++;
	reader->crc = crc;
	if (kind == HF_SNAPSHOT_END && (reader->offset != reader->size || ret->payload.len != 0))
		return hf_snapshot_corrupt(reader, reader->offset, err,
					   "something stands behind the snapshot's end");
	return true;
}

static bool read_head(struct hf_snapshot_reader *reader, struct hf_snapshot_head *ret,
		      struct hf_err *err) {
	struct hf_snapshot_block block;
	reader->kind = HF_SNAPSHOT_HEAD;
	reader->left[HF_SNAPSHOT_HEAD] = 1;
	if (!hf_snapshot_read(reader, &block, err))
		return false;
	struct hf_reader in = hf_reader(block.payload);
	uint32_t version = hf_read_u32(&in);
	if (version != SNAPSHOT_VERSION) {
		char what[80];
		snprintf(what, sizeof(what),
			 "snapshot format version %u, this build reads version %u", version,
			 SNAPSHOT_VERSION);
		return hf_snapshot_corrupt(reader, block.offset, err, what);
	}
	ret->crc = hf_read_u32(&in);
	ret->log_id = hf_read_u64(&in);
	ret->lsn = hf_read_u64(&in);
	ret->position = hf_read_u64(&in);
	ret->frame_position = hf_read_u64(&in);
	ret->state_hash[0] = hf_read_u64(&in);
	ret->state_hash[1] = hf_read_u64(&in);
	ret->hash_seed = hf_read_u64(&in);
	ret->time_ns = (int64_t)hf_read_u64(&in);
	ret->record_bytes = hf_read_u64(&in);
	ret->events = hf_read_u64(&in);
	ret->contracts = reader->left[HF_SNAPSHOT_CONTRACTS] = hf_read_u64(&in);
	ret->entities = hf_read_u64(&in);
	ret->ids = reader->left[HF_SNAPSHOT_IDS] = hf_read_u64(&in);
	ret->taken_ns = (int64_t)hf_read_u64(&in);
	ret->plain_keys = hf_read_u64(&in);
	reader->left[HF_SNAPSHOT_ENTITIES] = ret->entities + ret->plain_keys;
	if (in.bad || in.at != in.end)
		return hf_snapshot_corrupt(reader, block.offset, err,
					   "impossible length of a head");
	if (ret->lsn != reader->lsn)
		return hf_snapshot_corrupt(
			reader, block.offset + 16, err,
			"this is the snapshot of another LSN than its name says");
	return true;
}

bool hf_snapshot_open(const struct hf_dir *dir, uint64_t lsn, struct hf_snapshot_reader *ret,
		      struct hf_snapshot_head *ret_head, struct hf_err *err) {
	char name[HF_SNAPSHOT_NAME_SIZE];
	*ret = (struct hf_snapshot_reader){ .dir = dir, .file = HF_FILE_CLOSED, .lsn = lsn };
	ret->buf = hf_pages_new(HF_SNAPSHOT_BLOCK_MAX);
	bool ok = ret->buf != NULL || hf_fail(err, HF_NOMEM, "out of memory");
	ok = ok &&
	     hf_file_open(dir, hf_snapshot_name(lsn, name), HF_FILE_READ, false, &ret->file, err);
	ok = ok && hf_file_size(&ret->file, &ret->size, err) && read_head(ret, ret_head, err);
	if (!ok)
		hf_snapshot_close(ret);
	return ok;
}

bool hf_snapshot_gone(const struct hf_err *err) {
	return err->sys_errno == ENOENT;
}

void hf_snapshot_close(struct hf_snapshot_reader *reader) {
	hf_file_close(&reader->file);
	hf_pages_free(reader->buf, HF_SNAPSHOT_BLOCK_MAX);
	reader->buf = NULL;
}

bool hf_snapshot_verify(const struct hf_dir *dir, uint64_t lsn, struct hf_snapshot_head *ret_head,
			uint64_t *ret_bytes, struct hf_err *err) {
	struct hf_snapshot_reader reader;
	struct hf_snapshot_block block;
	if (!hf_snapshot_open(dir, lsn, &reader, ret_head, err))
		return false;
	bool ok = true;
	do
		ok = hf_snapshot_read(&reader, &block, err);
	while (ok && block.kind != HF_SNAPSHOT_END);
	*ret_bytes = reader.size;
	hf_snapshot_close(&reader);
	return ok;
}

/* ---- the directory ---- */

struct listing {
	uint64_t *lsns;
	uint32_t count;
};

static bool list_one(void *arg, const char *name, struct hf_err *err) {
	struct listing *listing = arg;
	uint64_t lsn;
	if (!hf_numbered_name_get(name, "snapshot-", ".hfs", &lsn))
		return true;
	uint32_t at = listing->count;
	while (at > 0 && listing->lsns[at - 1] < lsn)
		at--;
	if (at == HF_SNAPSHOTS_LISTED)
		return true;
	if (listing->count < HF_SNAPSHOTS_LISTED)
		listing->count++;
	for (uint32_t i = listing->count - 1; i > at; i--)
		listing->lsns[i] = listing->lsns[i - 1];
	listing->lsns[at] = lsn;
	return true;
}

bool hf_snapshot_list(const struct hf_dir *dir, uint64_t ret_lsns[HF_SNAPSHOTS_LISTED],
		      uint32_t *ret_count, struct hf_err *err) {
	struct listing listing = { .lsns = ret_lsns };
	if (!hf_dir_list(dir, list_one, &listing, err))
		return false;
	*ret_count = listing.count;
	return true;
}

bool hf_snapshot_keep(const struct hf_dir *dir, uint64_t newest, uint64_t before,
		      struct hf_err *err) {
	uint64_t lsns[HF_SNAPSHOTS_LISTED];
	uint32_t count;
	if (!hf_snapshot_list(dir, lsns, &count, err))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		char name[HF_SNAPSHOT_NAME_SIZE];
		if (lsns[i] != newest && lsns[i] != before &&
		    !hf_dir_remove(dir, hf_snapshot_name(lsns[i], name), err))
			return false;
	}
	return true;
}
