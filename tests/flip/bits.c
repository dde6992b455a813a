/*
 * P6: flips bits of a data directory, one at a time, and reads it after each: no flip is taken
 * silently. One in the log is refused, with the file and the offset named. Where nothing was
 * written yet, behind the log's end, it may also be reported as a group that was never finished; in
 * the witness, which only guards the log, it may also change nothing.
 *
 *     bits [--all] [--seed N]      1 % of the bits, or all of them
 *
 * Two directories: of a server that was stopped in order, and of one that was killed: no close mark
 * stands behind its last group.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "log/log.h"

#define EVENTS 13500u /* about a mebibyte of log */
#define FILES_MAX 8u
#define JOBS 2u
#define SAMPLE 100u	   /* without --all, one bit in so many, */
#define SAMPLE_ZEROS 2000u /* and of a segment of zeros that the log has not reached yet */

struct mapped_file {
	char name[64];
	uint8_t *bytes;
	size_t len;
	bool is_log;
	uint64_t position; /* of its first byte, if it is one of the log's */
};

/* A data directory, its files in memory that the file system shares. */
struct subject {
	const char *what;
	char path[80];
	struct hf_dir dir;
	struct mapped_file files[FILES_MAX];
	uint32_t file_count;
	uint64_t end; /* position */
	uint64_t last_lsn;
	uint64_t records_hash;
};

/* What came of the flips. */
struct counts {
	uint64_t refused, unfinished, without_effect, silent;
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

/* Groups of 1 to 40 events, each durable before the next begins. */
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
						     .segment_size = HF_SEGMENT_SIZE_MIN };
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

static bool map_file(void *arg, const char *name, struct hf_err *err) {
	struct subject *subject = arg;
	struct stat stat;
	if (name[0] == '.' || strcmp(name, "lock") == 0)
		return true;
	HF_ASSERT(subject->file_count < FILES_MAX);
	struct mapped_file *file = &subject->files[subject->file_count++];
	snprintf(file->name, sizeof(file->name), "%s", name);
	int fd = openat(subject->dir.fd, name, O_RDWR | O_CLOEXEC);
	HF_ASSERT(fd >= 0 && fstat(fd, &stat) == 0);
	file->len = (size_t)stat.st_size;
	file->bytes = mmap(NULL, file->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	HF_ASSERT(file->bytes != MAP_FAILED);
	close(fd);
	unsigned long long segment = 0;
	file->is_log = sscanf(name, "log-%16llx.hfl", &segment) == 1;
	file->position = segment * HF_SEGMENT_SIZE_MIN;
	return true;
}

static bool remove_file(void *arg, const char *name, struct hf_err *err) {
	return name[0] == '.' || hf_dir_remove(arg, name, err);
}

static void remove_subject(struct subject *subject) {
	struct hf_err err;
	for (uint32_t i = 0; i < subject->file_count; i++)
		munmap(subject->files[i].bytes, subject->files[i].len);
	must(hf_dir_list(&subject->dir, remove_file, &subject->dir, &err), &err);
	hf_dir_close(&subject->dir);
	rmdir(subject->path);
}

/* ---- reading it ---------------------------------------------------------------------------- */

static bool hash_records(void *arg, const struct hf_record *records, uint32_t count,
			 struct hf_err *err) {
	uint64_t *hash = arg;
	for (uint32_t i = 0; i < count; i++)
		*hash = XXH3_64bits_withSeed(records[i].body.data, records[i].body.len, *hash);
	return true;
}

static bool read_log(const struct subject *subject, struct hf_log_end *ret_end, uint64_t *ret_hash,
		     struct hf_err *err) {
	struct hf_log_scan scan = { .dir = &subject->dir,
				    .records = hash_records,
				    .arg = ret_hash };
	*ret_hash = 0;
	return hf_log_scan(&scan, ret_end, err);
}

static void open_subject(struct subject *subject, const char *what, enum ending ending) {
	struct hf_err err;
	struct hf_log_end end;
	subject->what = what;
	snprintf(subject->path, sizeof(subject->path), "%s/holdfast-bits-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	HF_ASSERT(mkdtemp(subject->path) != NULL);
	write_directory(subject->path, ending);
	must(hf_dir_open(subject->path, false, &subject->dir, &err), &err);
	must(hf_dir_list(&subject->dir, map_file, subject, &err), &err);
	must(read_log(subject, &end, &subject->records_hash, &err), &err);
	subject->end = end.position;
	subject->last_lsn = end.last_lsn;
	HF_ASSERT(end.last_lsn == EVENTS + 1 && end.torn_bytes == 0);
	HF_ASSERT(end.closed == (ending == CLOSED));
	HF_ASSERT(end.position > HF_SEGMENT_SIZE_MIN * 3 / 4 && end.segments >= 2);
}

/* ---- flipping ------------------------------------------------------------------------------ */

/* Does the message name this file, and an offset at or before the byte, in the same group? */
static bool names_the_place(const struct mapped_file *file, uint64_t byte, const char *text) {
	const char *name = text;
	unsigned long long offset;
	for (; (name = strstr(name, file->name)) != NULL; name += strlen(file->name))
		if (sscanf(name + strlen(file->name), " offset %llu", &offset) == 1 &&
		    offset <= byte && byte - offset < HF_FRAME_MAX)
			return true;
	return false;
}

static void flip(const struct subject *subject, const struct mapped_file *file, uint64_t bit,
		 struct counts *counts) {
	struct hf_log_end end;
	struct hf_err err;
	uint64_t hash, byte = bit / 8;
	uint8_t mask = (uint8_t)(1u << bit % 8);
	file->bytes[byte] ^= mask;
	bool taken = read_log(subject, &end, &hash, &err);
	file->bytes[byte] ^= mask;
	bool same = taken && end.last_lsn == subject->last_lsn && hash == subject->records_hash;
	bool refused = !taken && err.status == HF_CORRUPT;
	bool behind = file->is_log && file->position + byte >= subject->end;
	if (refused && (!file->is_log || names_the_place(file, byte, err.text)))
		counts->refused++;
	else if (same && end.torn_bytes > 0 && behind)
		counts->unfinished++;
	else if (same && end.torn_bytes == 0 && !file->is_log)
		counts->without_effect++;
	else if (counts->silent++ < 20)
		fprintf(stderr, "%s: bit %u of byte %llu of %s: %s\n", subject->what,
			(unsigned)(bit % 8), (unsigned long long)byte, file->name,
			taken ? "taken silently" : err.text);
}

/* A number below `limit` that follows from `x`. */
static uint64_t scatter(uint64_t x, uint64_t limit) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) % limit;
}

/* One of JOBS shares of a file's bits: of each run of `stride` bits one. */
static void flip_share(const struct subject *subject, const struct mapped_file *file, uint32_t job,
		       uint64_t stride, uint64_t seed, struct counts *counts) {
	uint64_t bits = (uint64_t)file->len * 8;
	if (stride > 1 && file->is_log && file->position > subject->end)
		stride = SAMPLE_ZEROS;
	for (uint64_t run = job; run * stride < bits; run += JOBS) {
		uint64_t bit = run * stride + (stride > 1 ? scatter(seed + run, stride) : 0);
		if (bit < bits)
			flip(subject, file, bit, counts);
	}
}

static const struct {
	const char *what;
	enum ending ending;
} subjects[] = {
	{ "closed", CLOSED },
	{ "killed", KILLED },
};
#define SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

/* A job has directories of its own: its flips must not meet those of another. */
static void run_job(uint32_t job, uint64_t stride, uint64_t seed, int result_fd) {
	struct counts counts[SUBJECTS] = { 0 };
	for (uint32_t i = 0; i < SUBJECTS; i++) {
		struct subject subject = { 0 };
		open_subject(&subject, subjects[i].what, subjects[i].ending);
		for (uint32_t file = 0; file < subject.file_count; file++)
			flip_share(&subject, &subject.files[file], job, stride, seed, &counts[i]);
		remove_subject(&subject);
	}
	ssize_t written = write(result_fd, counts, sizeof(counts));
	_exit(written == (ssize_t)sizeof(counts) ? 0 : 1);
}

/* Adds up what the jobs counted; false if one of them failed. */
static bool run_jobs(uint64_t stride, uint64_t seed, struct counts *totals) {
	int fds[2];
	bool good = pipe(fds) == 0;
	HF_ASSERT(good);
	for (uint32_t job = 0; job < JOBS; job++) {
		pid_t child = fork();
		HF_ASSERT(child >= 0);
		if (child == 0)
			run_job(job, stride, seed, fds[1]);
	}
	close(fds[1]);
	struct counts counts[SUBJECTS];
	for (uint32_t job = 0; job < JOBS && good; job++) {
		good = read(fds[0], counts, sizeof(counts)) == (ssize_t)sizeof(counts);
		for (uint32_t i = 0; i < SUBJECTS && good; i++) {
			totals[i].refused += counts[i].refused;
			totals[i].unfinished += counts[i].unfinished;
			totals[i].without_effect += counts[i].without_effect;
			totals[i].silent += counts[i].silent;
		}
	}
	close(fds[0]);
	int status;
	while (wait(&status) > 0)
		good &= status == 0;
	return good;
}

int main(int argc, char **argv) {
	uint64_t stride = SAMPLE, seed = 1, silent = 0;
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
	struct counts totals[SUBJECTS] = { 0 };
	bool good = run_jobs(stride, seed, totals);
	for (uint32_t i = 0; i < SUBJECTS; i++) {
		const struct counts *total = &totals[i];
		printf("%s: %llu refused, %llu reported as unfinished, %llu without effect, %llu "
		       "taken silently\n",
		       subjects[i].what, (unsigned long long)total->refused,
		       (unsigned long long)total->unfinished,
		       (unsigned long long)total->without_effect,
		       (unsigned long long)total->silent);
		silent += total->silent;
		good &= total->refused > 0;
	}
	return good && silent == 0 ? 0 : 1;
}
