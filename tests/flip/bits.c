/*
 * P6: flips bits of a data directory, one at a time, and reads it after each: no flip is taken
 * silently. One in the log or a snapshot is refused, with the file and the offset named. Where
 * nothing was written yet, behind the log's end, it may also be reported as a group that was never
 * finished. In the witness, which only guards the log, it is said; where the witness has nothing,
 * it changes nothing.
 *
 *     bits [--all] [--seed N]      1 % of the bits, or all of them
 *
 * Two directories: of a server that was stopped in order, and of one that was killed: no close mark
 * stands behind its last group.
 *
 * A log is read frame by frame, and what a frame says does not depend on what stands behind it. So
 * with --all, of each byte of a log one bit is turned before a reading of all of it, and the other
 * seven before a reading that begins two frames earlier.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "image.h"
#include "log/log.h"
#include "log/snapshot.h"

#define EVENTS 13500u	/* about a mebibyte of log */
#define SNAPSHOT_1 200u /* after this group */
#define SNAPSHOT_2 500u
#define SEGMENT_SIZE 65536u
#define FILES_MAX 32u
#define PLACES_MAX 2048u
#define WITNESS_STRIDE 4096u /* of its slots, of a sector each */
#define JOBS 2u
#define SAMPLE 100u	   /* without --all, one bit in so many, */
#define SAMPLE_ZEROS 2000u /* and of a segment of zeros that the log has not reached yet */

struct flip_file {
	char name[64];
	uint8_t *bytes;
	size_t len;
	enum { LOG, SNAPSHOT, WITNESS } kind;
	uint64_t position; /* of a log's first byte */
	uint64_t lsn;	   /* of a snapshot */
};

/* Between two frames of a log: a reading can begin here. */
struct place {
	struct hf_log_place log;
	uint64_t records_hash; /* of what comes behind it */
};

/* A data directory, its files in memory: image.c shows them to the code. */
struct subject {
	const char *what;
	struct hf_dir dir;
	struct flip_file files[FILES_MAX];
	struct hf_image_file images[FILES_MAX];
	uint32_t file_count;
	uint64_t end; /* position */
	uint64_t last_lsn;
	uint64_t records_hash;
	struct place places[PLACES_MAX];
	uint32_t place_count;
};

/* What came of the flips. */
struct counts {
	uint64_t refused, unfinished, damaged_witness, without_effect, silent;
};

static void must(bool ok, const struct hf_err *err) {
	if (ok)
		return;
	fprintf(stderr, "%s\n", err->text);
	exit(1);
}

/* ---- a data directory ---------------------------------------------------------------------- */

static void send_event(struct hf_engine *engine, uint32_t i, uint64_t *ret_lsn) {
	char key[32], id[32], amount[32];
	snprintf(key, sizeof(key), "key-%u", i * 7919 % 1009);
	snprintf(id, sizeof(id), "id-%u", i);
	snprintf(amount, sizeof(amount), "%u", i);
	struct hf_arg args[] = { { hf_span_of("amount"), hf_span_of(amount) },
				 { hf_span_of("why"), hf_span_of("because") } };
	struct hf_send send = { .contract = hf_span_of("account"),
				.key = hf_span_of(key),
				.event = hf_span_of("Put"),
				.args = args,
				.arg_count = 2,
				.id = i % 3 == 0 ? hf_span_of(id) : hf_span(NULL, 0) };
	struct hf_reply reply;
	hf_engine_send(engine, &send, &reply);
	if (reply.status != HF_OK) {
		fprintf(stderr, "%s\n", reply.text);
		exit(1);
	}
	*ret_lsn = reply.lsn;
}

static void take_snapshot(struct hf_engine *engine) {
	struct hf_snapshot_outcome outcome;
	struct hf_err err;
	uint64_t ticket;
	must(hf_engine_snapshot(engine, &ticket, &err), &err);
	hf_engine_snapshot_wait(engine, ticket, &outcome);
	must(outcome.err.status == HF_OK, &outcome.err);
}

/* Groups of 1 to 40 events, each durable before the next begins; and two snapshots on the way. */
static void fill(struct hf_engine *engine) {
	static const char contract[] = "---\ntitle: account\n---\n"
				       "stateDiagram-v2\n"
				       "%% field total: u64\n"
				       "%% field last: bytes(16)\n"
				       "[*] --> Open\n"
				       "Open --> Open : Put(amount: u64, why: bytes(16)) "
				       "/ total += amount, last = why\n";
	struct hf_reply reply;
	struct hf_err err;
	hf_engine_lock(engine);
	hf_engine_contract_load(engine, hf_span_of(contract), "account.mmd", &reply);
	for (uint32_t i = 0, group = 0; i < EVENTS; group++) {
		uint64_t lsn = 0;
		for (uint32_t end = i + 1 + group * 17 % 40; i < end && i < EVENTS; i++)
			send_event(engine, i, &lsn);
		hf_engine_flush(engine);
		hf_engine_unlock(engine);
		must(hf_engine_wait(engine, lsn, &err), &err);
		if (group == SNAPSHOT_1 || group == SNAPSHOT_2)
			take_snapshot(engine);
		hf_engine_lock(engine);
	}
	hf_engine_unlock(engine);
}

enum ending { CLOSED, KILLED };

/* In a process of its own, which can be killed. */
static void write_directory(const char *path, enum ending ending) {
	pid_t child = fork();
	HF_ASSERT(child >= 0);
	if (child == 0) {
		struct hf_engine_options options = { .data_dir = path,
						     .segment_size = SEGMENT_SIZE };
		struct hf_engine *engine;
		struct hf_err err;
		must(hf_engine_open(&options, &engine, &err), &err);
		fill(engine);
		if (ending == CLOSED)
			must(hf_engine_close(engine, &err), &err);
		_exit(0);
	}
	int status;
	HF_ASSERT(waitpid(child, &status, 0) == child);
	if (status != 0)
		exit(1);
}

static bool read_file(void *arg, const char *name, struct hf_err *err) {
	struct subject *subject = arg;
	struct hf_file real;
	uint64_t size;
	if (name[0] == '.' || strcmp(name, "lock") == 0)
		return true;
	HF_ASSERT(subject->file_count < FILES_MAX);
	struct flip_file *file = &subject->files[subject->file_count];
	unsigned long long number = 0;
	file->kind = WITNESS;
	if (sscanf(name, "log-%16llx.hfl", &number) == 1)
		file->kind = LOG;
	else if (sscanf(name, "snapshot-%16llx.hfs", &number) == 1)
		file->kind = SNAPSHOT;
	file->position = number * SEGMENT_SIZE;
	file->lsn = number;
	snprintf(file->name, sizeof(file->name), "%s", name);
	must(hf_file_open(&subject->dir, name, HF_FILE_READ, false, &real, err), err);
	must(hf_file_size(&real, &size, err), err);
	file->bytes = malloc(size);
	HF_ASSERT(file->bytes != NULL);
	must(hf_file_read(&real, file->bytes, size, 0, &file->len, err), err);
	hf_file_close(&real);
	subject->images[subject->file_count++] = (struct hf_image_file){
		.name = file->name, .bytes = file->bytes, .len = size, .size = size
	};
	return file->len == size;
}

static bool remove_file(void *arg, const char *name, struct hf_err *err) {
	return name[0] == '.' || hf_dir_remove(arg, name, err);
}

/* Makes one, takes its files to memory, and removes it. */
static void read_directory(struct subject *subject, enum ending ending) {
	char path[] = "/tmp/holdfast-bits-XXXXXX";
	struct hf_err err;
	HF_ASSERT(mkdtemp(path) != NULL);
	write_directory(path, ending);
	must(hf_dir_open(path, false, &subject->dir, &err), &err);
	must(hf_dir_list(&subject->dir, read_file, subject, &err), &err);
	must(hf_dir_list(&subject->dir, remove_file, &subject->dir, &err), &err);
	hf_dir_close(&subject->dir);
	rmdir(path);
}

/* ---- reading it ---------------------------------------------------------------------------- */

static bool hash_records(void *arg, const struct hf_record *records, uint32_t count,
			 struct hf_err *err) {
	uint64_t *hash = arg;
	for (uint32_t i = 0; i < count; i++)
		*hash = XXH3_64bits_withSeed(records[i].body.data, records[i].body.len, *hash);
	return true;
}

/* From `start` on; NULL: all of it. */
static bool read_log(const struct subject *subject, const struct hf_log_place *start,
		     struct hf_log_end *ret_end, uint64_t *ret_hash, struct hf_err *err) {
	struct hf_log_scan scan = {
		.dir = &subject->dir, .start = start, .records = hash_records, .arg = ret_hash
	};
	*ret_hash = 0;
	return hf_log_scan(&scan, ret_end, err);
}

/* ---- places -------------------------------------------------------------------------------- */

/* A frame's records come in one call: there are not many in a frame. */
static bool note_place(void *arg, const struct hf_record *records, uint32_t count,
		       struct hf_err *err) {
	struct subject *subject = arg;
	HF_ASSERT(subject->place_count < PLACES_MAX);
	subject->places[subject->place_count++].log.lsn = records[count - 1].lsn;
	return true;
}

/* Finds where the frames of the whole log end. */
static void find_places(struct subject *subject) {
	struct hf_log_scan scan = { .dir = &subject->dir, .records = note_place, .arg = subject };
	struct hf_log_end end;
	struct hf_err err;
	must(hf_log_scan(&scan, &end, &err), &err);
	HF_ASSERT(end.frames == subject->place_count + end.closed);
	for (uint32_t i = 0; i < subject->place_count; i++) {
		struct place *place = &subject->places[i];
		struct hf_log_scan until = { .dir = &subject->dir, .until_lsn = place->log.lsn };
		must(hf_log_scan(&until, &end, &err), &err);
		place->log = (struct hf_log_place){ .log_id = end.log_id,
						    .lsn = end.last_lsn,
						    .position = end.position,
						    .frame_position = end.frame_position,
						    .crc = end.crc,
						    .record_bytes = end.record_bytes };
		must(read_log(subject, &place->log, &end, &place->records_hash, &err), &err);
		HF_ASSERT(end.last_lsn == subject->last_lsn && end.position == subject->end);
	}
}

/* The last one with a whole frame between it and the byte; NULL if there is none. */
static const struct place *place_before(const struct subject *subject, uint64_t position) {
	uint32_t low = 0, high = subject->place_count; /* how many end at or before the byte */
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (subject->places[middle].log.position <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low < 2 ? NULL : &subject->places[low - 2];
}

static void open_subject(struct subject *subject, const char *what, enum ending ending) {
	struct hf_err err;
	struct hf_log_end end;
	subject->what = what;
	read_directory(subject, ending);
	hf_image_show(subject->images, subject->file_count);
	must(hf_dir_open("", false, &subject->dir, &err), &err);
	must(read_log(subject, NULL, &end, &subject->records_hash, &err), &err);
	subject->end = end.position;
	subject->last_lsn = end.last_lsn;
	HF_ASSERT(end.last_lsn == EVENTS + 1 && end.torn_bytes == 0);
	HF_ASSERT(end.closed == (ending == CLOSED));
	HF_ASSERT(end.position > 12 * SEGMENT_SIZE && end.segments >= 14);
	uint32_t snapshots = 0;
	for (uint32_t i = 0; i < subject->file_count; i++)
		snapshots += subject->files[i].kind == SNAPSHOT;
	HF_ASSERT(snapshots == 2);
	find_places(subject);
}

/* ---- flipping ------------------------------------------------------------------------------ */

/* Does the message name this file, and an offset at or before the byte, in its group or block? */
static bool names_the_place(const struct flip_file *file, uint64_t byte, const char *text) {
	const char *name = text;
	uint64_t reach = file->kind == SNAPSHOT ? HF_SNAPSHOT_BLOCK_MAX : HF_FRAME_MAX;
	unsigned long long offset;
	for (; (name = strstr(name, file->name)) != NULL; name += strlen(file->name))
		if (sscanf(name + strlen(file->name), " offset %llu", &offset) == 1 &&
		    offset <= byte && byte - offset < reach)
			return true;
	return false;
}

static void report(const struct subject *subject, const struct flip_file *file, uint64_t bit,
		   const char *what) {
	fprintf(stderr, "%s: bit %u of byte %llu of %s: %s\n", subject->what, (unsigned)(bit % 8),
		(unsigned long long)bit / 8, file->name, what);
}

/* A byte of the witness that is in neither of its two slots? */
static bool is_unused(uint64_t byte) {
	return byte % WITNESS_STRIDE >= HF_SECTOR;
}

/* `place`: where to begin reading the log; NULL: at its beginning. */
static void flip(const struct subject *subject, const struct flip_file *file, uint64_t bit,
		 const struct place *place, struct counts *counts) {
	struct hf_log_end end = { 0 };
	const struct hf_log_place *start = place == NULL ? NULL : &place->log;
	uint64_t expected = place == NULL ? subject->records_hash : place->records_hash;
	struct hf_snapshot_head head;
	struct hf_err err;
	uint64_t hash = 0, bytes, byte = bit / 8;
	uint8_t mask = (uint8_t)(1u << bit % 8);
	file->bytes[byte] ^= mask;
	bool taken = file->kind == SNAPSHOT
			     ? hf_snapshot_verify(&subject->dir, file->lsn, &head, &bytes, &err)
			     : read_log(subject, start, &end, &hash, &err);
	file->bytes[byte] ^= mask;
	bool refused = !taken && err.status == HF_CORRUPT;
	bool same = taken && end.last_lsn == subject->last_lsn && hash == expected;
	bool behind = file->kind == LOG && file->position + byte >= subject->end;
	if (refused && (file->kind == WITNESS || names_the_place(file, byte, err.text)))
		counts->refused++;
	else if (same && end.torn_bytes > 0 && behind)
		counts->unfinished++;
	else if (same && end.torn_bytes == 0 && end.witness == HF_WITNESS_DAMAGED)
		counts->damaged_witness++;
	else if (same && end.torn_bytes == 0 && file->kind == WITNESS && is_unused(byte))
		counts->without_effect++;
	else if (counts->silent++ < 20)
		report(subject, file, bit, taken ? "taken silently" : err.text);
}

/* A number below `limit` that follows from `x`. */
static uint64_t scatter(uint64_t x, uint64_t limit) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % limit;
}

/* One of JOBS shares of a file's bits: of each run of `stride` bits one. */
static void flip_share(const struct subject *subject, const struct flip_file *file, uint32_t job,
		       uint64_t stride, uint64_t seed, struct counts *counts) {
	uint64_t bits = (uint64_t)file->len * 8;
	if (stride > 1 && file->kind == LOG && file->position > subject->end)
		stride = SAMPLE_ZEROS;
	for (uint64_t run = job; run * stride < bits; run += JOBS) {
		uint64_t bit = run * stride + (stride > 1 ? scatter(seed + run, stride) : 0);
		uint64_t byte = bit / 8;
		bool whole = stride > 1 || bit % 8 == byte % 8 || file->kind != LOG;
		if (bit < bits)
			flip(subject, file, bit,
			     whole ? NULL : place_before(subject, file->position + byte), counts);
	}
}

/* The job's own copy of the memory: its flips do not meet those of another. */
static void run_job(const struct subject *subject, uint32_t job, uint64_t stride, uint64_t seed,
		    int result_fd) {
	struct counts counts = { 0 };
	for (uint32_t file = 0; file < subject->file_count; file++)
		flip_share(subject, &subject->files[file], job, stride, seed, &counts);
	ssize_t written = write(result_fd, &counts, sizeof(counts));
	_exit(written == (ssize_t)sizeof(counts) ? 0 : 1);
}

/* Adds up what the jobs counted; false if one of them failed. */
static bool run_jobs(const struct subject *subject, uint64_t stride, uint64_t seed,
		     struct counts *total) {
	int fds[2];
	bool good = pipe(fds) == 0;
	HF_ASSERT(good);
	for (uint32_t job = 0; job < JOBS; job++) {
		pid_t child = fork();
		HF_ASSERT(child >= 0);
		if (child == 0)
			run_job(subject, job, stride, seed, fds[1]);
	}
	close(fds[1]);
	struct counts counts;
	for (uint32_t job = 0; job < JOBS && good; job++) {
		good = read(fds[0], &counts, sizeof(counts)) == (ssize_t)sizeof(counts);
		total->refused += counts.refused;
		total->unfinished += counts.unfinished;
		total->damaged_witness += counts.damaged_witness;
		total->without_effect += counts.without_effect;
		total->silent += counts.silent;
	}
	close(fds[0]);
	int status;
	while (wait(&status) > 0)
		good &= status == 0;
	return good;
}

static bool run_subject(const char *what, enum ending ending, uint64_t stride, uint64_t seed) {
	static struct subject subject;
	struct counts total = { 0 };
	subject = (struct subject){ 0 };
	open_subject(&subject, what, ending);
	bool good = run_jobs(&subject, stride, seed, &total);
	printf("%s: %llu refused, %llu reported as unfinished, %llu as a damaged witness, %llu "
	       "without effect, %llu taken silently\n",
	       what, (unsigned long long)total.refused, (unsigned long long)total.unfinished,
	       (unsigned long long)total.damaged_witness, (unsigned long long)total.without_effect,
	       (unsigned long long)total.silent);
	hf_image_show(NULL, 0);
	for (uint32_t i = 0; i < subject.file_count; i++)
		free(subject.files[i].bytes);
	return good && total.refused > 0 && total.silent == 0;
}

int main(int argc, char **argv) {
	uint64_t stride = SAMPLE, seed = 1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--all") == 0) {
			stride = 1;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "usage: %s [--all] [--seed N]\n", argv[0]);
			return 2;
		}
	}
	/* Each reading needs large blocks again: they are not to be unmapped in between. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	bool closed = run_subject("closed", CLOSED, stride, seed);
	bool killed = run_subject("killed", KILLED, stride, seed);
	return closed && killed ? 0 : 1;
}
