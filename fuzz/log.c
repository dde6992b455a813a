/*
 * A whole log, closed in order, that was damaged: what a scan of it still hands out must be what
 * was written, from the beginning on. And where just one sector was damaged, the scan says that the
 * log is damaged, whichever of its bytes it was, padding too; only what stands from the close mark
 * on may look like a write that did not come to its end: then all records are handed out.
 *
 * Input: damages of 4 bytes and more: the sector, the offset in it, the number of bytes n, then n
 * bytes that are XORed over it; n = 0 puts the content of another sector there (the next byte says
 * which).
 */
#include "base/assert.h"
#include "base/limits.h"
#include "frame/cursor.h"
#include "image.h"
#include "log/log.h"
#include "os/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GROUPS 6u
#define RECORDS_PER_GROUP 3u
#define SECTORS 32u /* the only segment: all that is not zero, and some that are */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libFuzzer gives a target no place of its own for what outlives a run. */
static struct {
	struct hf_dir dir; /* only its path is used */
	uint8_t image[SECTORS][HF_SECTOR];
	uint32_t close_mark; /* its sector, the last that is not all zeros */
} world;

/* The body of the record with this LSN: of a length and content that tell it from the others. */
static size_t body_of(uint64_t lsn, uint8_t *body) {
	size_t len = (size_t)(lsn * 97 % 600);
	memset(body, (int)('a' + lsn), len);
	return len;
}

static void must(bool ok, const struct hf_err *err) {
	if (!ok)
		fprintf(stderr, "%s\n", err->text);
	HF_ASSERT(ok);
}

static void write_log(struct hf_dir *dir) {
	struct hf_err err;
	struct hf_log *log;
	struct hf_log_options options = { .dir = dir, .segment_size = SECTORS * HF_SECTOR };
	must(hf_log_open(&options, &log, &err), &err);
	uint64_t lsn = 0, position;
	for (uint32_t i = 0; i < GROUPS * RECORDS_PER_GROUP; i++) {
		hf_log_lock(log);
		must(hf_log_make_room(log, 600, &err), &err);
		uint8_t *body = hf_log_begin(log, 600, &lsn, &position);
		hf_log_end(log, HF_RECORD_EVENT, 0, body_of(lsn, body));
		if ((i + 1) % RECORDS_PER_GROUP == 0)
			hf_log_flush(log);
		hf_log_unlock(log);
		if ((i + 1) % RECORDS_PER_GROUP == 0)
			must(hf_log_wait(log, lsn, &err), &err);
	}
	must(hf_log_close(log, &err), &err);
}

static bool remove_file(void *arg, const char *name, struct hf_err *err) {
	return name[0] == '.' || hf_dir_remove(arg, name, err);
}

/* A real log, once: its bytes are the image. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
	static const uint8_t zeros[HF_SECTOR];
	struct hf_err err;
	char path[] = "/tmp/holdfast-fuzz-XXXXXX", name[HF_SEGMENT_NAME_SIZE];
	struct hf_file file;
	size_t len;
	HF_ASSERT(mkdtemp(path) != NULL);
	must(hf_dir_open(path, false, &world.dir, &err), &err);
	write_log(&world.dir);
	must(hf_file_open(&world.dir, hf_segment_name(0, name), HF_FILE_READ, false, &file, &err),
	     &err);
	must(hf_file_read(&file, world.image, sizeof(world.image), 0, &len, &err), &err);
	HF_ASSERT(len == sizeof(world.image));
	world.close_mark = SECTORS - 1;
	while (memcmp(world.image[world.close_mark], zeros, sizeof(zeros)) == 0)
		world.close_mark--;
	HF_ASSERT(world.close_mark + 1 < SECTORS);
	hf_file_close(&file);
	must(hf_dir_list(&world.dir, remove_file, &world.dir, &err), &err);
	hf_dir_close(&world.dir);
	rmdir(path);
	return 0;
}

static bool check_records(void *arg, const struct hf_record *records, uint32_t count,
			  struct hf_err *err) {
	uint64_t *last = arg;
	uint8_t body[600];
	for (uint32_t i = 0; i < count; i++) {
		HF_ASSERT(records[i].lsn == ++*last && records[i].type == HF_RECORD_EVENT);
		HF_ASSERT(hf_span_equal(records[i].body, hf_span(body, body_of(*last, body))));
	}
	return true;
}

/* Applies the input's damages to `sectors`. */
static void damage(struct hf_reader *input, uint8_t (*sectors)[HF_SECTOR]) {
	while (input->at < input->end) {
		uint8_t *sector = sectors[hf_read_u8(input) % SECTORS];
		size_t offset = hf_read_u16(input) % HF_SECTOR;
		size_t len = hf_read_u8(input);
		if (len == 0)
			memcpy(sector, world.image[hf_read_u8(input) % SECTORS], HF_SECTOR);
		for (size_t i = 0; i < len && offset + i < HF_SECTOR && !input->bad; i++)
			sector[offset + i] ^= hf_read_u8(input);
		if (input->bad)
			break;
	}
}

/* Of the sectors that differ from the image now: their number, and the first. */
static uint32_t damaged_sectors(uint8_t (*sectors)[HF_SECTOR], uint32_t *ret_first) {
	uint32_t count = 0;
	for (uint32_t i = SECTORS; i-- > 0;)
		if (memcmp(sectors[i], world.image[i], HF_SECTOR) != 0) {
			*ret_first = i;
			count++;
		}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static uint8_t sectors[SECTORS][HF_SECTOR];
	struct hf_reader input = hf_reader(hf_span(data, size));
	struct hf_err err;
	struct hf_log_end end;
	uint64_t last = 0;
	uint32_t first = 0;
	memcpy(sectors, world.image, sizeof(sectors));
	damage(&input, sectors);
	uint32_t damaged = damaged_sectors(sectors, &first);
	char name[HF_SEGMENT_NAME_SIZE];
	const struct hf_image_file file = { .name = hf_segment_name(0, name),
					    .bytes = sectors[0],
					    .len = sizeof(sectors),
					    .size = sizeof(sectors) };
	hf_image_show(&file, 1);
	struct hf_log_scan scan = { .dir = &world.dir, .records = check_records, .arg = &last };
	bool good = hf_log_scan(&scan, &end, &err);
	HF_ASSERT(good || (err.status == HF_CORRUPT && err.text[0] != '\0'));
	HF_ASSERT(!good || end.last_lsn == last);
	HF_ASSERT(!good || damaged > 1 || last == GROUPS * RECORDS_PER_GROUP);
	HF_ASSERT(good ? damaged != 1 || first >= world.close_mark : damaged > 0);
	return 0;
}
