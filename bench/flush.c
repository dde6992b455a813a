/*
 * flush.c - what one durable write costs on this device, with nothing of Holdfast in the way.
 *
 *     flush DIR COUNT
 *
 * For each size, COUNT times: an O_DIRECT write with RWF_DSYNC, timed. Once into a file whose
 * blocks were written before (as a preallocated log segment's are), once at the end of a growing
 * file (as a plain append log does it). Prints one line per size: bytes, then p50 and p99 in
 * microseconds for the first and for the second.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE (16u << 20)
#define SIZE_MAX_BYTES (512u << 10)

static int64_t now_ns(void) {
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* A file in the working directory, unlinked at once, so that nothing stays behind. */
static int scratch_file(void) {
	char path[] = "flush.XXXXXX";
	int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);

	if (fd < 0 || unlink(path) != 0)
		err(1, "a scratch file for O_DIRECT");
	return fd;
}

/* Writes the whole file once, so that its blocks are allocated and known as written. */
static void write_before(int fd, const char *block) {
	for (off_t at = 0; at < FILE_SIZE; at += SIZE_MAX_BYTES) {
		if (pwrite(fd, block, SIZE_MAX_BYTES, at) != SIZE_MAX_BYTES)
			err(1, "write");
	}
	if (fsync(fd) != 0)
		err(1, "fsync");
}

/* Times `count` flushes of `size` bytes, one behind the other; past `wrap` it begins again at 0.
 * Sorts the times. False: the device does not take writes of this size. */
static bool measure(int fd, char *block, size_t size, off_t wrap, size_t count, int64_t *ret_ns) {
	struct iovec part = { .iov_base = block, .iov_len = size };
	off_t at = 0;

	for (size_t i = 0; i < count; i++) {
		int64_t begin = now_ns();
		ssize_t n = pwritev2(fd, &part, 1, at, RWF_DSYNC);

		if (n < 0 && errno == EINVAL)
			return false;
		if (n != (ssize_t)size)
			err(1, "pwritev2 of %zu bytes", size);
		ret_ns[i] = now_ns() - begin;
		at += (off_t)size;
		if (at + (off_t)size > wrap)
			at = 0;
	}
	qsort(ret_ns, count, sizeof(*ret_ns), by_value);
	return true;
}

/* One line of the table. */
static void report(char *block, size_t size, size_t count, int64_t *times) {
	int written = scratch_file(), growing = scratch_file();
	size_t p50 = count / 2, p99 = count * 99 / 100;

	write_before(written, block);
	if (!measure(written, block, size, FILE_SIZE, count, times)) {
		printf("%zu not possible here\n", size);
	} else {
		printf("%zu %.1f %.1f", size, (double)times[p50] / 1e3, (double)times[p99] / 1e3);
		if (!measure(growing, block, size, INT64_MAX, count, times))
			errx(1, "a write of %zu bytes was refused at the end of a growing file",
			     size);
		printf(" %.1f %.1f\n", (double)times[p50] / 1e3, (double)times[p99] / 1e3);
	}
	close(written);
	close(growing);
}

int main(int argc, char **argv) {
	static const size_t sizes[] = {
		512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, SIZE_MAX_BYTES
	};
	char *end = NULL;
	unsigned long count = argc == 3 ? strtoul(argv[2], &end, 10) : 0;
	char *block = aligned_alloc(4096, SIZE_MAX_BYTES);

	if (count == 0 || *end != '\0')
		errx(2, "usage: flush DIR COUNT");
	if (chdir(argv[1]) != 0)
		err(1, "%s", argv[1]);
	int64_t *times = calloc(count, sizeof(*times));

	if (block == NULL || times == NULL)
		errx(1, "out of memory");
	memset(block, 0x5a, SIZE_MAX_BYTES);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		report(block, sizes[i], count, times);
	free(times);
	free(block);
	return 0;
}
