/*
 * The log on a real file system: order, ends, damage, rotation, reading back, both ways of
 * flushing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/limits.h"
#include "log/log_private.h"

#define RECORDS_MAX 200000u

struct fixture {
	char path[64];
	struct hf_dir dir;
	bool threaded;
	uint32_t group; /* records between flushes */
	uint64_t segment_size;
	uint64_t seen;	 /* records that recovery handed out */
	uint64_t cut;	 /* notices of a cut */
	uint64_t warned; /* of a damaged witness */
	uint32_t told;	 /* commits, and the stop */
	uint64_t positions[RECORDS_MAX + 3];
	uint8_t scratch[HF_RECORD_MAX];
	struct hf_err err;
	struct fixture *before; /* of an earlier test */
};

/* The body of record `lsn`: its length and bytes follow from the LSN. */
static size_t body_of(uint64_t lsn, uint8_t *body) {
	size_t len = lsn % 500 == 0 ? 70000 : 10 + lsn % 90;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(lsn + i);
	return len;
}

static void assert_record(const struct hf_record *record, uint64_t lsn) {
	static uint8_t body[70000];
	size_t len = body_of(lsn, body);
	assert_int_equal(record->lsn, lsn);
	assert_int_equal(record->time_ns, lsn * 3);
	assert_int_equal(record->body.len, len);
	assert_memory_equal(record->body.data, body, len);
}

static bool on_records(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err) {
	struct fixture *fixture = arg;
	for (uint32_t i = 0; i < count; i++)
		assert_record(&records[i], ++fixture->seen);
	return true;
}

static void on_notice(void *arg, const char *line) {
	struct fixture *fixture = arg;
	fixture->cut += strncmp(line, "cut off", 7) == 0;
	fixture->warned += strstr(line, "acked.hfw is damaged") != NULL;
}

static void on_committed(void *arg) {
	struct fixture *fixture = arg;
	(void)hf_atomic_fetch_add(&fixture->told, 1u, HF_SEQ_CST);
}

/* `start`: what was before it is not read; NULL: all is. */
static bool try_open_at(struct fixture *fixture, const struct hf_log_place *start,
			struct hf_log **ret) {
	struct hf_log_options options = {
		.dir = &fixture->dir,
		.start = start,
		.segment_size = fixture->segment_size,
		.synced = true,
		.threaded = fixture->threaded,
		.records = on_records,
		.notice = on_notice,
		.committed = on_committed,
		.arg = fixture,
	};
	fixture->seen = start == NULL ? 0 : start->lsn;
	fixture->cut = fixture->warned = 0;
	return hf_log_open(&options, ret, &fixture->err);
}

static bool try_open(struct fixture *fixture, struct hf_log **ret) {
	return try_open_at(fixture, NULL, ret);
}

static struct hf_log *open_log(struct fixture *fixture) {
	struct hf_log *log;
	if (!try_open(fixture, &log))
		fail_msg("%s", fixture->err.text);
	return log;
}

static void append(struct fixture *fixture, struct hf_log *log, uint64_t count) {
	hf_log_lock(log);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t lsn, position;
		if (!hf_log_make_room(log, 70000, &fixture->err))
			fail_msg("%s", fixture->err.text);
		uint8_t *body = hf_log_begin(log, 70000, &lsn, &position);
		fixture->positions[lsn] = position;
		hf_log_end(log, HF_RECORD_EVENT, (int64_t)lsn * 3, body_of(lsn, body));
		if (lsn % fixture->group == 0) {
			hf_log_flush(log);
			hf_log_poll(log);
		}
	}
	hf_log_unlock(log);
}

static void close_log(struct fixture *fixture, struct hf_log *log) {
	if (!hf_log_close(log, &fixture->err))
		fail_msg("%s", fixture->err.text);
}

static void make_durable(struct fixture *fixture, struct hf_log *log) {
	assert_true(hf_log_wait(log, hf_log_last(log), &fixture->err));
	assert_int_equal(hf_log_committed(log), hf_log_last(log));
}

/* A closed log with so many more records, all of them durable. */
static void write_log(struct fixture *fixture, uint32_t records) {
	struct hf_log *log = open_log(fixture);
	append(fixture, log, records);
	make_durable(fixture, log);
	close_log(fixture, log);
}

static int set_up(void **state) {
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture->group = 7;
	fixture->segment_size = HF_SEGMENT_SIZE_MIN;
	snprintf(fixture->path, sizeof(fixture->path), "build/test-log-XXXXXX");
	if (mkdtemp(fixture->path) == NULL ||
	    !hf_dir_open(fixture->path, false, &fixture->dir, &fixture->err))
		return -1;
	*state = fixture;
	return 0;
}

static int set_up_threaded(void **state) {
	int result = set_up(state);
	((struct fixture *)*state)->threaded = true;
	return result;
}

/* The fixture stays: if the test failed, its log's threads are still there, and use it. */
static int tear_down(void **state) {
	static struct fixture *kept;
	struct fixture *fixture = *state;
	char command[128];
	hf_dir_close(&fixture->dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture->path);
	fixture->before = kept;
	kept = fixture;
	return system(command);
}

static void what_was_appended_comes_back(void **state) {
	struct fixture *fixture = *state;
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = &fixture->dir };
	uint64_t total = 0;
	for (int round = 0; round < 4; round++) {
		struct hf_log *log = open_log(fixture);
		assert_int_equal(fixture->seen, total);
		assert_int_equal(fixture->cut, 0);
		assert_int_equal(hf_log_last(log), total);
		append(fixture, log,
		       4000); /* over several segments: the long records alone fill half of one */
		total += 4000;
		make_durable(fixture, log);
		close_log(fixture, log);
		assert_true(hf_log_scan(&scan, &end, &fixture->err));
		assert_true(end.closed);
	}
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, total);
}

static void every_record_can_be_read_alone(void **state) {
	struct fixture *fixture = *state;
	for (int round = 0; round < 2; round++) {
		struct hf_log *log = open_log(fixture);
		append(fixture, log, RECORDS_MAX / 2); /* more than the ring holds */
		make_durable(fixture, log);
		struct hf_record record;
		hf_log_lock(log);
		for (uint64_t lsn = 1; lsn <= hf_log_last(log); lsn += lsn % 13 + 1) {
			if (!hf_log_read(log, fixture->positions[lsn], fixture->scratch, &record,
					 &fixture->err))
				fail_msg("LSN %llu: %s", (unsigned long long)lsn,
					 fixture->err.text);
			assert_record(&record, lsn);
		}
		/* Not yet flushed, and in an open frame. */
		hf_log_unlock(log);
		append(fixture, log, 1);
		hf_log_lock(log);
		uint64_t last = hf_log_last(log);
		assert_true(hf_log_read(log, fixture->positions[last], fixture->scratch, &record,
					&fixture->err));
		assert_record(&record, last);
		hf_log_unlock(log);
		close_log(fixture, log);
	}
}

/* More than the ring holds, and nobody starts a flush but the wait for room. */
static void what_waits_for_the_disk_is_not_overwritten(void **state) {
	struct fixture *fixture = *state;
	fixture->group = UINT32_MAX;
	fixture->segment_size = HF_SEGMENT_SIZE_DEFAULT;
	write_log(fixture, RECORDS_MAX);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, RECORDS_MAX);
}

static void segment_path(const struct fixture *fixture, uint64_t segment, char *path, size_t cap) {
	char name[HF_SEGMENT_NAME_SIZE];
	snprintf(path, cap, "%s/%s", fixture->path, hf_segment_name(segment, name));
}

/* XORs one byte: whatever it was, it is another now. */
static void flip_in(const char *path, off_t offset, uint8_t mask) {
	uint8_t byte = 0;
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0 && pread(fd, &byte, 1, offset) == 1);
	byte ^= mask;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	close(fd);
}

/* One of the log. */
static void flip(const struct fixture *fixture, uint64_t position, uint8_t mask) {
	char path[128];
	segment_path(fixture, position / HF_SEGMENT_SIZE_MIN, path, sizeof(path));
	flip_in(path, (off_t)(position % HF_SEGMENT_SIZE_MIN), mask);
}

static void a_flipped_byte_is_refused_and_named(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	write_log(fixture, 3000);
	/*
	 * Any byte: of the segment's header, of a frame's, of a record, of the last record before
	 * the close mark.
	 */
	const uint64_t places[] = { 0,
				    9,
				    13,
				    30,
				    100,
				    512,
				    520,
				    560,
				    700,
				    fixture->positions[1500] + 3,
				    fixture->positions[3000] - 1,
				    fixture->positions[3000] + 8 };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		flip(fixture, places[i], 0x10);
		bool opened = try_open(fixture, &log);
		if (opened)
			fail_msg("byte %llu was accepted", (unsigned long long)places[i]);
		assert_int_equal(fixture->err.status, HF_CORRUPT);
		assert_non_null(strstr(fixture->err.text, "log-00000000000000"));
		assert_non_null(strstr(fixture->err.text, "offset"));
		flip(fixture, places[i], 0x10);
	}
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, 3000);
}

/* Where one segment ends and the next one begins. */
static void damage_at_a_segments_end_is_refused_and_named(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	write_log(fixture, 12000);
	const struct {
		uint64_t position;
		const char *place;
	} damages[] = {
		{ HF_SEGMENT_SIZE_MIN - 1, "/log-0000000000000000.hfl offset " },
		{ HF_SEGMENT_SIZE_MIN + 600, "/log-0000000000000001.hfl offset 512: damaged" },
	};
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		flip(fixture, damages[i].position, 0x10);
		assert_false(try_open(fixture, &log));
		assert_int_equal(fixture->err.status, HF_CORRUPT);
		assert_non_null(strstr(fixture->err.text, damages[i].place));
		flip(fixture, damages[i].position, 0x10);
	}
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, 12000);
}

static void a_record_that_rotted_is_not_read(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	write_log(fixture, 1000);
	log = open_log(fixture); /* its ring is empty: it reads the file */
	struct hf_record record;
	hf_log_lock(log);
	assert_true(hf_log_read(log, fixture->positions[700], fixture->scratch, &record,
				&fixture->err));
	hf_log_unlock(log);
	/* Not up to the next one: that may be in another frame. */
	uint64_t end = fixture->positions[700] + record.size;
	for (uint64_t at = fixture->positions[700]; at < end; at++) {
		flip(fixture, at, 0x04);
		hf_log_lock(log);
		assert_false(hf_log_read(log, fixture->positions[700], fixture->scratch, &record,
					 &fixture->err));
		hf_log_unlock(log);
		assert_int_equal(fixture->err.status, HF_CORRUPT);
		flip(fixture, at, 0x04);
	}
	close_log(fixture, log);
}

static void a_misplaced_block_is_refused(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	write_log(fixture, 3000);
	char path[128];
	uint8_t block[4096];
	segment_path(fixture, 0, path, sizeof(path));
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, block, sizeof(block), 8192), sizeof(block));
	assert_int_equal(pwrite(fd, block, sizeof(block), 16384), sizeof(block));
	close(fd);
	assert_false(try_open(fixture, &log));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
}

static void a_missing_segment_is_refused(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	write_log(fixture, 12000);
	char path[128], aside[140];
	segment_path(fixture, 1, path, sizeof(path));
	snprintf(aside, sizeof(aside), "%s.aside", path);
	assert_int_equal(rename(path, aside), 0);
	assert_false(try_open(fixture, &log));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
	assert_non_null(strstr(fixture->err.text, "missing, first log-0000000000000001.hfl"));
	assert_int_equal(rename(aside, path), 0);
	close_log(fixture, open_log(fixture));
}

/* A child appends, makes `durable` records durable, and dies without closing. */
static void die_after(struct fixture *fixture, uint64_t durable) {
	pid_t child = fork();
	if (child == 0) {
		struct hf_log *log;
		struct hf_err err;
		if (!try_open(fixture, &log))
			_exit(1);
		append(fixture, log, durable);
		_exit(hf_log_wait(log, durable, &err) ? 0 : 1);
	}
	int status;
	assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status) &&
		    WEXITSTATUS(status) == 0);
}

static void an_unfinished_group_is_cut_with_a_notice(void **state) {
	struct fixture *fixture = *state;
	die_after(fixture, 100);
	struct hf_dir *dir = &fixture->dir;
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = dir };
	assert_true(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(end.last_lsn, 100);
	assert_false(end.closed);
	assert_int_equal(end.torn_bytes, 0);
	/*
	 * What a power cut may leave: sectors of the next group in any order, here its second
	 * alone.
	 */
	flip(fixture, end.position + 512 + 17, 0x55);
	assert_true(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(end.torn_bytes, 1024);
	struct hf_log *log = open_log(fixture);
	assert_int_equal(fixture->seen, 100);
	assert_int_equal(fixture->cut, 1);
	append(fixture, log, 50);
	make_durable(fixture, log);
	close_log(fixture, log);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, 150);
	assert_int_equal(fixture->cut, 0);
}

/*
 * In a child, which dies: groups of one record until the first segment is full to its last byte,
 * then one more is begun, and never ended.
 */
static void fill_first_segment(struct fixture *fixture) {
	struct hf_log *log;
	uint64_t lsn, position = HF_SECTOR, overhead = HF_FRAME_HEADER_SIZE + HF_RECORD_OVERHEAD;
	if (!try_open(fixture, &log))
		_exit(1);
	hf_log_lock(log);
	while (position < HF_SEGMENT_SIZE_MIN) {
		uint64_t left = HF_SEGMENT_SIZE_MIN - position;
		uint64_t len = (left < 65536 ? left : 65536 - HF_SECTOR) - overhead;
		if (!hf_log_make_room(log, len, &fixture->err))
			_exit(2);
		memset(hf_log_begin(log, len, &lsn, &position), 1, len);
		hf_log_end(log, HF_RECORD_EVENT, 1, len);
		hf_log_unlock(log);
		if (!hf_log_wait(log, lsn, &fixture->err))
			_exit(3);
		hf_log_lock(log);
		position = log->next;
	}
	bool room = hf_log_make_room(log, 100, &fixture->err);
	while (room && log->made_segment < 2)
		room = hf_segment_wait(log, &fixture->err);
	_exit(room && position == HF_SEGMENT_SIZE_MIN ? 0 : 4);
}

static void damage_two_segments_ahead_is_refused(void **state) {
	struct fixture *fixture = *state;
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = &fixture->dir };
	int status;
	pid_t child = fork();
	if (child == 0)
		fill_first_segment(fixture);
	assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(end.position, HF_SEGMENT_SIZE_MIN);
	assert_int_equal(end.segments, 3);
	/* The next group may have been torn in the next segment. Nothing was written behind it. */
	flip(fixture, 2 * HF_SEGMENT_SIZE_MIN + 1536, 1);
	assert_false(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
	flip(fixture, 2 * HF_SEGMENT_SIZE_MIN + 1536, 1);
	flip(fixture, HF_SEGMENT_SIZE_MIN + 1536, 1);
	assert_true(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(end.torn_bytes, 1536);
}

/* A child makes one group of several sectors durable, and dies. Returns where the group ends. */
static uint64_t die_after_one_group(struct fixture *fixture) {
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = &fixture->dir };
	fixture->group = 100;
	die_after(fixture, 20);
	assert_true(hf_log_scan(&scan, &end, &fixture->err));
	assert_int_equal(end.last_lsn, 20);
	assert_int_equal(end.frames, 1);
	assert_true(end.position >= HF_SECTOR + 2 * HF_SECTOR);
	return end.position;
}

static void rot_in_the_last_group_is_refused_and_not_cut(void **state) {
	struct fixture *fixture = *state;
	char path[128];
	uint64_t end = die_after_one_group(fixture);
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	unlink(path); /* the log alone must know */
	for (uint64_t at = HF_SECTOR; at < end; at++) {
		struct hf_log *log;
		flip(fixture, at, (uint8_t)(1 << at % 8));
		if (try_open(fixture, &log))
			fail_msg("byte %llu was accepted", (unsigned long long)at);
		assert_int_equal(fixture->err.status, HF_CORRUPT);
		assert_int_equal(fixture->cut, 0);
		flip(fixture, at, (uint8_t)(1 << at % 8));
	}
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, 20);
}

/*
 * Puts zeros over the sectors of `lost`, a bit for each behind the segment's header, as if they had
 * never been written; so nobody was witness to their being durable.
 */
static void lose_sectors(struct fixture *fixture, uint64_t lost) {
	static const uint8_t zeros[HF_SECTOR];
	char path[128];
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	unlink(path);
	segment_path(fixture, 0, path, sizeof(path));
	int fd = open(path, O_RDWR);
	for (uint32_t i = 0; lost >> i != 0; i++)
		if (lost >> i & 1)
			assert_int_equal(pwrite(fd, zeros, HF_SECTOR,
						HF_SECTOR + (off_t)i * HF_SECTOR),
					 HF_SECTOR);
	close(fd);
}

static void a_group_that_lacks_any_sectors_is_cut(void **state) {
	struct fixture *fixture = *state;
	char path[128], copy[140], command[400];
	uint64_t sectors = die_after_one_group(fixture) / HF_SECTOR - 1;
	segment_path(fixture, 0, path, sizeof(path));
	snprintf(copy, sizeof(copy), "%s.copy", path);
	snprintf(command, sizeof(command), "cp '%s' '%s'", path, copy);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "cp '%s' '%s'", copy, path);
	for (uint64_t lost = 1; lost < (uint64_t)1 << sectors; lost++) {
		assert_int_equal(system(command), 0);
		lose_sectors(fixture, lost);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->seen, 0);
		assert_int_equal(fixture->cut, lost != ((uint64_t)1 << sectors) - 1);
	}
}

static void a_log_that_ends_before_its_witness_is_refused(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	append(fixture, log, 30);
	make_durable(fixture, log);
	char path[128], line[300];
	uint8_t slots[2][8];
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	int fd = open(path, O_RDONLY);
	/* The last of the LSNs is witnessed soon, and no later one ever. */
	for (uint64_t lsn = 0; lsn != 30;) {
		usleep(1000);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pread(fd, slots[i], 8, i * 4096 + 24), 8);
		lsn = slots[0][0] > slots[1][0] ? slots[0][0] : slots[1][0];
		assert_true(lsn <= 30);
	}
	close(fd);
	close_log(fixture, log);
	segment_path(fixture, 0, path, sizeof(path));
	snprintf(line, sizeof(line), "truncate -s 512 '%s' && truncate -s %u '%s'", path,
		 HF_SEGMENT_SIZE_MIN, path);
	assert_int_equal(system(line), 0);
	assert_false(try_open(fixture, &log));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
	assert_non_null(
		strstr(fixture->err.text, "ends here, after LSN 0, but LSN 30 was durable"));
}

static void bytes_far_behind_the_end_are_no_unfinished_group(void **state) {
	struct fixture *fixture = *state;
	die_after(fixture, 100);
	flip(fixture, HF_SEGMENT_SIZE_MIN - 5, 0x55);
	struct hf_log *log;
	assert_false(try_open(fixture, &log));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
	assert_non_null(strstr(fixture->err.text, "further on than one unfinished group"));
}

static void a_scan_stops_where_it_is_told(void **state) {
	struct fixture *fixture = *state;
	die_after(fixture, 200);
	struct hf_log_options options = {
		.dir = &fixture->dir,
		.read_only = true,
		.until_lsn = 123,
		.records = on_records,
		.arg = fixture,
	};
	struct hf_log *log;
	fixture->seen = 0;
	assert_true(hf_log_open(&options, &log, &fixture->err));
	assert_int_equal(fixture->seen, 123);
	assert_int_equal(hf_log_last(log), 123);
	close_log(fixture, log);
}

struct growing {
	struct fixture *fixture;
	struct hf_log *log;
	uint64_t seen;
};

static bool grow(void *arg, const struct hf_record *records, uint32_t count, struct hf_err *err) {
	struct growing *growing = arg;
	if (growing->seen == 0) {
		append(growing->fixture, growing->log, 8000);
		make_durable(growing->fixture, growing->log);
	}
	for (uint32_t i = 0; i < count; i++)
		assert_record(&records[i], ++growing->seen);
	return true;
}

/* It goes on in later segments than where its end was when the scan read that. */
static void a_log_in_use_is_not_damaged(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	append(fixture, log, 20);
	make_durable(fixture, log);
	char next[128];
	segment_path(fixture, 1, next, sizeof(next));
	while (access(next, F_OK) != 0) /* it is made ahead */
		usleep(1000);
	struct growing growing = { fixture, log, 0 };
	struct hf_log_scan scan = { .dir = &fixture->dir, .records = grow, .arg = &growing };
	struct hf_log_end end;
	if (!hf_log_scan(&scan, &end, &fixture->err))
		fail_msg("%s", fixture->err.text);
	assert_int_equal(end.last_lsn, growing.seen);
	assert_true(growing.seen > 20);
	close_log(fixture, log);
}

/* As `append`, of one record, which asks for no more room than it takes. */
static void append_small(struct fixture *fixture, struct hf_log *log) {
	uint64_t lsn, position;
	hf_log_lock(log);
	assert_true(hf_log_make_room(log, 100, &fixture->err));
	uint8_t *body = hf_log_begin(log, 100, &lsn, &position);
	hf_log_end(log, HF_RECORD_EVENT, (int64_t)lsn * 3, body_of(lsn, body));
	hf_log_unlock(log);
	make_durable(fixture, log);
}

/* Its last record has little room behind it. A large one begins a group elsewhere, and is none. */
static void die_with_an_empty_group(struct fixture *fixture, struct hf_log_place *ret) {
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		struct hf_log *log = open_log(fixture);
		append(fixture, log, 490);
		while (HF_SEGMENT_SIZE_MIN - hf_log_position(log) % HF_SEGMENT_SIZE_MIN > 60000)
			append_small(fixture, log);
		make_durable(fixture, log);
		hf_log_lock(log);
		bool ok = hf_log_make_room(log, 65000, &fixture->err) && hf_log_mark(log, ret);
		_exit(ok && write(ends[1], ret, sizeof(*ret)) == sizeof(*ret) ? 0 : 1);
	}
	int status;
	assert_true(waitpid(child, &status, 0) == child && status == 0);
	assert_int_equal(read(ends[0], ret, sizeof(*ret)), sizeof(*ret));
	close(ends[0]);
	close(ends[1]);
}

/* Found by the simulation: the log goes on where it would have without that group. */
static void a_place_does_not_depend_on_an_empty_group(void **state) {
	struct fixture *fixture = *state;
	struct hf_log_place place;
	struct hf_log *log;
	die_with_an_empty_group(fixture, &place);
	assert_int_equal(place.position / HF_SEGMENT_SIZE_MIN,
			 place.frame_position / HF_SEGMENT_SIZE_MIN + 1);
	log = open_log(fixture);
	assert_int_equal(fixture->seen, place.lsn);
	append_small(fixture, log);
	assert_true(hf_log_position(log) < place.position);
	close_log(fixture, log);
	if (!try_open_at(fixture, &place, &log))
		fail_msg("%s", fixture->err.text);
	assert_int_equal(fixture->seen, place.lsn + 1);
	close_log(fixture, log);
}

/* What stands behind a segment's header goes, as what was never written does with the power. */
static void lose_segment(struct fixture *fixture, uint64_t segment) {
	char path[128], name[HF_SEGMENT_NAME_SIZE];
	snprintf(path, sizeof(path), "%s/%s", fixture->path, hf_segment_name(segment, name));
	assert_int_equal(truncate(path, HF_SECTOR), 0);
	assert_int_equal(truncate(path, HF_SEGMENT_SIZE_MIN), 0);
}

/* Appends until the log is in that segment; returns the last LSN of segment 0. */
static uint64_t append_up_to(struct fixture *fixture, struct hf_log *log, uint64_t segment) {
	uint64_t last = 0;
	do {
		append(fixture, log, 500);
		make_durable(fixture, log);
	} while (hf_log_position(log) / HF_SEGMENT_SIZE_MIN < segment);
	while (fixture->positions[last + 1] != 0 &&
	       fixture->positions[last + 1] < HF_SEGMENT_SIZE_MIN)
		last++;
	return last;
}

/* It refuses to make a segment that no start would read. */
static void a_log_has_only_so_many_segments(void **state) {
	struct fixture *fixture = *state;
	fixture->segment_size = 32 << 20; /* of which the bytes end before the numbers do */
	struct hf_log *log = open_log(fixture);
	hf_log_lock(log);
	while (log->made_segment == 0) /* from then on its maker sleeps */
		hf_log_sleep(log, 1000000000);
	assert_false(hf_segment_make(log, HF_LOG_BYTES_MAX / (32 << 20), &fixture->err));
	assert_int_equal(fixture->err.sys_errno, ENOSPC);
	assert_non_null(strstr(fixture->err.text, "log-0000000000800000.hfl: a log has at most"));
	log->segment_size = HF_SEGMENT_SIZE_MIN;
	assert_false(hf_segment_make(log, HF_SEGMENTS_MAX, &fixture->err));
	assert_int_equal(fixture->err.sys_errno, ENOSPC);
	assert_non_null(strstr(fixture->err.text, "log-0000000001000000.hfl: a log has at most"));
	log->segment_size = 32 << 20;
	hf_log_unlock(log);
	close_log(fixture, log);
	close_log(fixture, open_log(fixture));
}

/* A segment whose making failed, and could not be removed, is made all the same. */
static void what_a_failed_making_left_is_in_nobodys_way(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	char path[128], making[140];
	segment_path(fixture, 2, path, sizeof(path));
	snprintf(making, sizeof(making), "%s.making", path);
	int fd = open(making, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
	append_up_to(fixture, log, 2);
	close_log(fixture, log);
	assert_int_equal(access(making, F_OK), -1);
	close_log(fixture, open_log(fixture));
}

/*
 * While the first group of a segment was on its way, the appender came two segments further, and
 * one more was made: all that may be lost with the power, and the log goes on from the segment
 * before them, with four behind it. Where nothing was synced, there may be more.
 */
static void a_log_goes_on_with_many_segments_ahead(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	uint64_t last = append_up_to(fixture, log, 7);
	close_log(fixture, log);
	assert_true(hf_dir_remove(&fixture->dir, HF_WITNESS_NAME, &fixture->err));
	for (uint64_t segment = 1; segment <= 7; segment++)
		lose_segment(fixture, segment);
	log = open_log(fixture);
	assert_int_equal(fixture->seen, last);
	(void)append_up_to(fixture, log, 10);
	last = hf_log_last(log);
	close_log(fixture, log);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->seen, last);
}

/* It is said once, and a slot that nothing was written to is not damaged. */
static void a_damaged_witness_is_told(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	append(fixture, log, 30);
	make_durable(fixture, log);
	close_log(fixture, log);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->warned, 0);
	char path[128];
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	static const off_t places[] = { 0, 13, 20, 24, 511, 4096, 4096 + 300 };
	for (uint32_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		flip_in(path, places[i], 4);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->warned, 1);
		assert_int_equal(fixture->seen, 30);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->warned, 0);
	}
	static const off_t sizes[] = { 0, 100, 4096, 4096 + 511 };
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(truncate(path, sizes[i]), 0);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->warned, 1);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->warned, 0);
	}
}

/* So that a write that is torn leaves what counts. */
static void a_start_leaves_the_newest_slot(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	append(fixture, log, 30);
	make_durable(fixture, log);
	close_log(fixture, log);
	close_log(fixture, open_log(fixture)); /* now both slots have LSN 30 */
	char path[128];
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	for (off_t newest = 0; newest <= 4096; newest += 4096) {
		uint8_t sector[HF_SECTOR], other[HF_SECTOR] = { 0 };
		int fd = open(path, O_RDWR);
		assert_int_equal(pread(fd, sector, HF_SECTOR, 4096 - newest), HF_SECTOR);
		assert_int_equal(pwrite(fd, sector, HF_SECTOR, newest), HF_SECTOR);
		assert_int_equal(pwrite(fd, other, HF_SECTOR, 4096 - newest), HF_SECTOR);
		close_log(fixture, open_log(fixture));
		assert_int_equal(pread(fd, other, HF_SECTOR, 4096 - newest), HF_SECTOR);
		assert_memory_equal(other, sector, HF_SECTOR);
		close(fd);
	}
}

/* An empty log may have lost all that it had; one that was being made has not. */
static void a_damaged_witness_of_an_empty_log_is_told(void **state) {
	struct fixture *fixture = *state;
	close_log(fixture, open_log(fixture));
	char path[128];
	snprintf(path, sizeof(path), "%s/acked.hfw", fixture->path);
	static const off_t sizes[] = { 0, 100, 4096 };
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(truncate(path, sizes[i]), 0);
		close_log(fixture, open_log(fixture));
		assert_int_equal(fixture->warned, 0);
	}
	flip_in(path, 4096 + 20, 4);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->warned, 1);
	close_log(fixture, open_log(fixture));
	assert_int_equal(fixture->warned, 0);
}

/* By a thread that is not the one that writes, which waits for something to write. */
static void who_waits_is_told_of_a_stop(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log = open_log(fixture);
	append(fixture, log, 3);
	make_durable(fixture, log);
	struct hf_err reason;
	hf_fail(&reason, HF_STOPPED, "no more");
	hf_log_lock(log);
	while (!log->thread_idle) {
		hf_log_unlock(log);
		usleep(1000);
		hf_log_lock(log);
	}
	uint32_t before = hf_atomic_load(&fixture->told, HF_SEQ_CST);
	hf_log_stop(log, &reason);
	hf_log_unlock(log);
	for (uint32_t i = 0; i < 10000; i++) {
		if (hf_atomic_load(&fixture->told, HF_SEQ_CST) > before)
			break;
		usleep(1000);
	}
	assert_true(hf_atomic_load(&fixture->told, HF_SEQ_CST) > before);
	assert_false(hf_log_close(log, &fixture->err));
	assert_non_null(strstr(fixture->err.text, "no more"));
}

static void a_segment_in_which_a_group_stood_open_is_missed(void **state) {
	struct fixture *fixture = *state;
	struct hf_log_place place;
	struct hf_log *log;
	char path[128];
	die_with_an_empty_group(fixture, &place);
	uint64_t segment = place.position / HF_SEGMENT_SIZE_MIN;
	for (uint64_t i = segment; i < segment + 3; i++) {
		segment_path(fixture, i, path, sizeof(path));
		assert_true(unlink(path) == 0 || i > segment);
	}
	assert_false(try_open_at(fixture, &place, &log));
	assert_int_equal(fixture->err.status, HF_CORRUPT);
	assert_non_null(strstr(fixture->err.text, "the file behind it is missing"));
}

/* From now on the kernel refuses system call `nr` of this process with one of `bits` in `arg`. */
static bool forbid(uint32_t nr, uint32_t arg, uint32_t bits) {
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + arg * 8),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void assert_in_child(struct fixture *fixture, bool (*holds)(struct fixture *fixture)) {
	pid_t child = fork();
	if (child == 0)
		_exit(holds(fixture) ? 0 : 1);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static bool makes_file_without_direct_io(struct fixture *fixture) {
	struct hf_file file;
	if (!forbid(__NR_openat, 2, O_DIRECT))
		return false;
	if (hf_file_open(&fixture->dir, "file", HF_FILE_CREATE, true, &file, &fixture->err))
		return !file.direct;
	fprintf(stderr, "%s\n", fixture->err.text);
	return false;
}

/* A file system may refuse direct I/O before it has made the file, or after. */
static void a_file_is_made_where_direct_io_is_refused(void **state) {
	assert_in_child(*state, makes_file_without_direct_io);
}

static bool on_name(void *arg, const char *name, struct hf_err *err) {
	return true;
}

static bool lists_in_vain(struct fixture *fixture) {
	int before = dup(0), after;
	close(before);
	if (!forbid(__NR_fcntl, 1, F_GETFL)) /* which opendir(3) asks for */
		return false;
	bool listed = hf_dir_list(&fixture->dir, on_name, NULL, &fixture->err);
	after = dup(0);
	return !listed && after == before;
}

static void a_directory_that_cannot_be_listed_is_closed(void **state) {
	assert_in_child(*state, lists_in_vain);
}

static bool scans_without_sync(struct fixture *fixture) {
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = &fixture->dir };
	if (!forbid(__NR_fsync, 0, UINT32_MAX))
		return false;
	if (hf_log_scan(&scan, &end, &fixture->err))
		return end.last_lsn == 100;
	fprintf(stderr, "%s\n", fixture->err.text);
	return false;
}

/* Those that are only ever read (squashfs) know of no sync: EINVAL. */
static void a_log_is_proven_where_there_is_nothing_to_sync(void **state) {
	struct fixture *fixture = *state;
	write_log(fixture, 100);
	assert_in_child(fixture, scans_without_sync);
}

/* A directory can be opened as a file can, but not be read. */
static void put_directory(struct fixture *fixture, const char *name) {
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", fixture->path, name);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0777), 0);
}

static void what_cannot_be_read_is_named(void **state) {
	struct fixture *fixture = *state;
	struct hf_log *log;
	struct hf_log_end end;
	struct hf_log_scan scan = { .dir = &fixture->dir };
	write_log(fixture, 100);
	put_directory(fixture, HF_WITNESS_NAME);
	assert_false(try_open(fixture, &log));
	assert_non_null(strstr(fixture->err.text, HF_WITNESS_NAME ": cannot read"));
	put_directory(fixture, "log-0000000000000000.hfl");
	assert_false(hf_log_scan(&scan, &end, &fixture->err));
	assert_non_null(strstr(fixture->err.text, "log-0000000000000000.hfl: cannot read"));
}

static void one_process_per_directory(void **state) {
	struct fixture *fixture = *state;
	struct hf_dir second;
	assert_true(hf_dir_lock(&fixture->dir, &fixture->err));
	assert_true(hf_dir_open(fixture->path, false, &second, &fixture->err));
	assert_false(hf_dir_lock(&second, &fixture->err));
	char pid[32];
	snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	assert_non_null(strstr(fixture->err.text, pid));
	hf_dir_close(&second);
}

#define BOTH(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down), { \
#test " (log thread)", test, set_up_threaded, tear_down, NULL \
	}

int main(void) {
	const struct CMUnitTest tests[] = {
		BOTH(what_was_appended_comes_back),
		BOTH(every_record_can_be_read_alone),
		BOTH(what_waits_for_the_disk_is_not_overwritten),
		BOTH(a_flipped_byte_is_refused_and_named),
		BOTH(damage_at_a_segments_end_is_refused_and_named),
		BOTH(a_record_that_rotted_is_not_read),
		BOTH(a_misplaced_block_is_refused),
		BOTH(a_missing_segment_is_refused),
		BOTH(an_unfinished_group_is_cut_with_a_notice),
		BOTH(rot_in_the_last_group_is_refused_and_not_cut),
		BOTH(a_group_that_lacks_any_sectors_is_cut),
		BOTH(damage_two_segments_ahead_is_refused),
		BOTH(a_log_that_ends_before_its_witness_is_refused),
		BOTH(bytes_far_behind_the_end_are_no_unfinished_group),
		BOTH(a_scan_stops_where_it_is_told),
		BOTH(a_log_in_use_is_not_damaged),
		BOTH(a_place_does_not_depend_on_an_empty_group),
		BOTH(a_segment_in_which_a_group_stood_open_is_missed),
		BOTH(a_log_has_only_so_many_segments),
		BOTH(what_a_failed_making_left_is_in_nobodys_way),
		BOTH(a_log_goes_on_with_many_segments_ahead),
		BOTH(a_damaged_witness_is_told),
		BOTH(a_start_leaves_the_newest_slot),
		BOTH(a_damaged_witness_of_an_empty_log_is_told),
		cmocka_unit_test_setup_teardown(who_waits_is_told_of_a_stop, set_up_threaded,
						tear_down),
		BOTH(one_process_per_directory),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_is_made_where_direct_io_is_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_log_is_proven_where_there_is_nothing_to_sync,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_listed_is_closed, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
