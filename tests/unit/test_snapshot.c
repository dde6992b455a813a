/*
 * Snapshot files: what was written is read back proven; every flipped byte and every cut is found;
 * a file given up leaves nothing; only the two that are kept stay.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log/snapshot.h"
#include "os/memory.h"

#define LSN 77u
#define BLOCKS 3u
#define PAYLOAD 5000u

struct fixture {
	char path[64];
	struct hf_dir dir;
	uint8_t *block;
	struct hf_err err;
};

static int set_up(void **state) {
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	snprintf(fixture->path, sizeof(fixture->path), "/tmp/holdfast-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->path));
	assert_true(hf_dir_open(fixture->path, false, &fixture->dir, &fixture->err));
	fixture->block = hf_pages_new(HF_SNAPSHOT_BLOCK_MAX);
	*state = fixture;
	return 0;
}

static bool remove_one(void *arg, const char *name, struct hf_err *err) {
	return name[0] == '.' || hf_dir_remove(arg, name, err);
}

static int tear_down(void **state) {
	struct fixture *fixture = *state;
	assert_true(hf_dir_list(&fixture->dir, remove_one, &fixture->dir, &fixture->err));
	hf_dir_close(&fixture->dir);
	assert_int_equal(rmdir(fixture->path), 0);
	hf_pages_free(fixture->block, HF_SNAPSHOT_BLOCK_MAX);
	free(fixture);
	return 0;
}

static uint8_t *payload(struct fixture *fixture, uint32_t seed, size_t len) {
	uint8_t *bytes = fixture->block + HF_SNAPSHOT_HEADER_SIZE;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed * 31 + i * 7);
	return bytes;
}

/* One block of contracts, BLOCKS of entities, one of ids. */
static void write_blocks(struct fixture *fixture, uint64_t lsn, struct hf_snapshot_writer *writer) {
	struct hf_snapshot_head head = {
		.crc = 1,
		.log_id = 2,
		.lsn = lsn,
		.position = 4,
		.frame_position = 3,
		.state_hash = { 5, 6 },
		.hash_seed = 7,
		.time_ns = -8,
		.record_bytes = 9,
		.events = 10,
		.contracts = 1,
		.entities = BLOCKS * 11,
		.ids = 12,
		.taken_ns = 13,
	};
	struct hf_err *err = &fixture->err;
	assert_true(hf_snapshot_create(&fixture->dir, lsn, writer, err));
	assert_true(hf_snapshot_write_head(writer, &head, fixture->block, err));
	payload(fixture, 1, 100);
	assert_true(hf_snapshot_write(writer, HF_SNAPSHOT_CONTRACTS, 1, fixture->block, 100, err));
	for (uint32_t i = 0; i < BLOCKS; i++) {
		payload(fixture, i, PAYLOAD);
		assert_true(hf_snapshot_write(writer, HF_SNAPSHOT_ENTITIES, 11, fixture->block,
					      PAYLOAD, err));
	}
	payload(fixture, 9, 144);
	assert_true(hf_snapshot_write(writer, HF_SNAPSHOT_IDS, 12, fixture->block, 144, err));
}

static void write_snapshot(struct fixture *fixture, uint64_t lsn) {
	struct hf_snapshot_writer writer;
	write_blocks(fixture, lsn, &writer);
	assert_true(hf_snapshot_finish(&writer, fixture->block, &fixture->err));
}

static bool verifies(struct fixture *fixture) {
	struct hf_snapshot_head head;
	uint64_t bytes;
	return hf_snapshot_verify(&fixture->dir, LSN, &head, &bytes, &fixture->err);
}

static void what_was_written_is_read(void **state) {
	struct fixture *fixture = *state;
	struct hf_snapshot_reader reader;
	struct hf_snapshot_head head;
	struct hf_snapshot_block block;
	write_snapshot(fixture, LSN);
	assert_true(hf_snapshot_open(&fixture->dir, LSN, &reader, &head, &fixture->err));
	assert_int_equal(head.crc, 1);
	assert_int_equal(head.log_id, 2);
	assert_int_equal(head.lsn, LSN);
	assert_int_equal(head.position, 4);
	assert_int_equal(head.frame_position, 3);
	assert_int_equal(head.state_hash[0], 5);
	assert_int_equal(head.state_hash[1], 6);
	assert_int_equal(head.hash_seed, 7);
	assert_int_equal(head.time_ns, -8);
	assert_int_equal(head.record_bytes, 9);
	assert_int_equal(head.events, 10);
	assert_int_equal(head.taken_ns, 13);
	assert_true(hf_snapshot_read(&reader, &block, &fixture->err));
	assert_int_equal(block.kind, HF_SNAPSHOT_CONTRACTS);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		assert_true(hf_snapshot_read(&reader, &block, &fixture->err));
		assert_int_equal(block.kind, HF_SNAPSHOT_ENTITIES);
		assert_int_equal(block.items, 11);
		assert_int_equal(block.payload.len, PAYLOAD);
		assert_memory_equal(block.payload.data, payload(fixture, i, PAYLOAD), PAYLOAD);
	}
	assert_true(hf_snapshot_read(&reader, &block, &fixture->err));
	assert_int_equal(block.kind, HF_SNAPSHOT_IDS);
	assert_true(hf_snapshot_read(&reader, &block, &fixture->err));
	assert_int_equal(block.kind, HF_SNAPSHOT_END);
	hf_snapshot_close(&reader);
}

static void every_flipped_byte_is_found(void **state) {
	struct fixture *fixture = *state;
	char name[HF_SNAPSHOT_NAME_SIZE];
	struct hf_file file;
	uint64_t size;
	write_snapshot(fixture, LSN);
	assert_true(verifies(fixture));
	assert_true(hf_file_open(&fixture->dir, hf_snapshot_name(LSN, name), HF_FILE_WRITE, false,
				 &file, &fixture->err));
	assert_true(hf_file_size(&file, &size, &fixture->err));
	for (uint64_t at = 0; at < size; at++) {
		uint8_t byte, flipped;
		size_t len;
		assert_true(hf_file_read(&file, &byte, 1, at, &len, &fixture->err));
		flipped = byte ^ (uint8_t)(1u << at % 8);
		assert_true(hf_file_write(&file, &flipped, 1, at, &fixture->err));
		assert_false(verifies(fixture));
		assert_int_equal(fixture->err.status, HF_CORRUPT);
		assert_non_null(strstr(fixture->err.text, "offset"));
		assert_non_null(strstr(fixture->err.text, name));
		assert_true(hf_file_write(&file, &byte, 1, at, &fixture->err));
	}
	assert_true(verifies(fixture));
	/* Something behind the end, and every end too early. */
	assert_true(hf_file_write(&file, "x", 1, size, &fixture->err));
	assert_false(verifies(fixture));
	for (uint64_t end = 0; end < size; end += 512) {
		assert_int_equal(ftruncate(file.fd, (off_t)(size - 1 - end)), 0);
		assert_false(verifies(fixture));
		assert_int_equal(fixture->err.status, HF_CORRUPT);
	}
	hf_file_close(&file);
}

/* Blocks that are whole, but of another file, or in another order. */
static void a_block_of_another_place_is_found(void **state) {
	struct fixture *fixture = *state;
	char name[HF_SNAPSHOT_NAME_SIZE];
	uint8_t one[8192], two[8192];
	struct hf_file file;
	size_t len;
	write_snapshot(fixture, LSN);
	assert_true(hf_file_open(&fixture->dir, hf_snapshot_name(LSN, name), HF_FILE_WRITE, false,
				 &file, &fixture->err));
	/* Head and contracts take 4096 bytes each, and each block of entities 8192. */
	assert_true(hf_file_read(&file, one, sizeof(one), 8192, &len, &fixture->err));
	assert_true(hf_file_read(&file, two, sizeof(two), 16384, &len, &fixture->err));
	assert_true(hf_file_write(&file, two, sizeof(two), 8192, &fixture->err));
	assert_true(hf_file_write(&file, one, sizeof(one), 16384, &fixture->err));
	assert_false(verifies(fixture));
	assert_non_null(strstr(fixture->err.text, "does not follow"));
	hf_file_close(&file);
	/* A whole file under another LSN's name. */
	write_snapshot(fixture, LSN + 1);
	char other[HF_SNAPSHOT_NAME_SIZE];
	assert_true(hf_dir_rename(&fixture->dir, hf_snapshot_name(LSN + 1, other), name,
				  &fixture->err));
	assert_false(verifies(fixture));
	assert_non_null(strstr(fixture->err.text, "another LSN"));
}

struct rests {
	uint32_t asked, granted;
};

static bool rest(void *arg, uint64_t wrote_ns) {
	struct rests *rests = arg;
	return rests->asked++ < rests->granted;
}

/* The largest block is written in eight pieces, until a rest is refused; then at once. */
static void what_is_written_in_a_hurry_is_the_same(void **state) {
	struct fixture *fixture = *state;
	struct hf_err *err = &fixture->err;
	struct hf_snapshot_head head = { .lsn = LSN, .entities = 4 };
	struct hf_snapshot_writer writer;
	static const uint32_t granted[] = { 8, 2, 0, 8 }, asked[] = { 8, 4, 1, 1 };
	assert_true(hf_snapshot_create(&fixture->dir, LSN, &writer, err));
	assert_true(hf_snapshot_write_head(&writer, &head, fixture->block, err));
	writer.rest = rest;
	for (uint32_t i = 0; i < 4; i++) {
		struct rests rests = { .granted = granted[i] };
		writer.arg = &rests;
		payload(fixture, i, HF_SNAPSHOT_PAYLOAD_MAX);
		assert_true(hf_snapshot_write(&writer, HF_SNAPSHOT_ENTITIES, 1, fixture->block,
					      HF_SNAPSHOT_PAYLOAD_MAX, err));
		assert_int_equal(rests.asked, asked[i]);
	}
	assert_false(writer.hurries);
	writer.rest = NULL;
	assert_true(hf_snapshot_finish(&writer, fixture->block, err));
	assert_true(verifies(fixture));
}

static void one_given_up_leaves_nothing(void **state) {
	struct fixture *fixture = *state;
	struct hf_snapshot_writer writer;
	uint64_t lsns[HF_SNAPSHOTS_LISTED];
	uint32_t count;
	write_blocks(fixture, LSN, &writer);
	/* Under its real name it would be taken for whole. */
	assert_true(hf_snapshot_list(&fixture->dir, lsns, &count, &fixture->err));
	assert_int_equal(count, 0);
	hf_snapshot_give_up(&writer);
	assert_true(hf_snapshot_create(&fixture->dir, LSN, &writer, &fixture->err));
	hf_snapshot_give_up(&writer);
}

/* The directory cannot be synced: what has its real name by then is taken away again. */
static void one_given_up_after_its_renaming_leaves_nothing(void **state) {
	struct fixture *fixture = *state;
	struct hf_snapshot_writer writer;
	struct hf_dir unsynced = fixture->dir;
	uint64_t lsns[HF_SNAPSHOTS_LISTED];
	uint32_t count;
	write_blocks(fixture, LSN, &writer);
	unsynced.fd = open(fixture->path, O_PATH | O_DIRECTORY); /* good for all but that */
	assert_true(unsynced.fd >= 0);
	writer.dir = &unsynced;
	assert_false(hf_snapshot_finish(&writer, fixture->block, &fixture->err));
	assert_non_null(strstr(fixture->err.text, "cannot sync directory"));
	assert_true(hf_snapshot_list(&fixture->dir, lsns, &count, &fixture->err));
	assert_int_equal(count, 1);
	hf_snapshot_give_up(&writer);
	close(unsynced.fd);
	assert_true(hf_snapshot_list(&fixture->dir, lsns, &count, &fixture->err));
	assert_int_equal(count, 0);
}

static void the_newest_two_are_kept(void **state) {
	struct fixture *fixture = *state;
	uint64_t lsns[HF_SNAPSHOTS_LISTED];
	uint32_t count;
	for (uint64_t lsn = 1; lsn <= 5; lsn++)
		write_snapshot(fixture, lsn * lsn);
	assert_true(hf_snapshot_list(&fixture->dir, lsns, &count, &fixture->err));
	assert_int_equal(count, 5);
	for (uint64_t i = 0; i < 5; i++)
		assert_int_equal(lsns[i], (5 - i) * (5 - i));
	assert_true(hf_snapshot_keep(&fixture->dir, 25, 9, &fixture->err));
	assert_true(hf_snapshot_list(&fixture->dir, lsns, &count, &fixture->err));
	assert_int_equal(count, 2);
	assert_int_equal(lsns[0], 25);
	assert_int_equal(lsns[1], 9);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_flipped_byte_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_block_of_another_place_is_found, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_written_in_a_hurry_is_the_same, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_given_up_leaves_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_given_up_after_its_renaming_leaves_nothing,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_newest_two_are_kept, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
