#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

static void die(const char *what, const char *name) {
	fprintf(stderr, "step: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

/* False: it went away before it could be read. */
static bool read_file(int dir_fd, const char *name, struct file_bytes *ret) {
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat status;
	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0 || fstat(fd, &status) != 0)
		die("cannot open", name);
	if ((size_t)status.st_size > ret->cap) {
		ret->cap = (size_t)status.st_size;
		ret->bytes = realloc(ret->bytes, ret->cap);
		if (ret->bytes == NULL)
			die("no memory for", name);
	}
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	for (ret->len = 0; ret->len < (size_t)status.st_size;) {
		ssize_t got = pread(fd, ret->bytes + ret->len, (size_t)status.st_size - ret->len,
				    (off_t)ret->len);
		if (got <= 0)
			die("cannot read", name);
		ret->len += (size_t)got;
	}
	close(fd);
	return true;
}

static int by_name(const void *a, const void *b) {
	return strcmp(((const struct file_bytes *)a)->name, ((const struct file_bytes *)b)->name);
}

void files_take(const char *dir, struct files *ret) {
	DIR *stream = opendir(dir);
	if (stream == NULL)
		die("cannot read", dir);
	const struct dirent *entry;
	ret->count = 0;
	while ((entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (ret->count == FILES_MAX)
			die("too many files in", dir);
		ret->count += read_file(dirfd(stream), entry->d_name, &ret->files[ret->count]);
	}
	closedir(stream);
	qsort(ret->files, ret->count, sizeof(ret->files[0]), by_name);
}

void files_put(const struct files *files, const char *dir) {
	files_remove(dir);
	int dir_fd = mkdir(dir, 0700) == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir_fd < 0)
		die("cannot make", dir);
	for (uint32_t i = 0; i < files->count; i++) {
		const struct file_bytes *file = &files->files[i];
		int fd = openat(dir_fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, file->bytes, file->len) != (ssize_t)file->len)
			die("cannot write", file->name);
		close(fd);
	}
	close(dir_fd);
}

uint64_t files_hash(const struct files *files) {
	uint64_t hash = files->count;
	for (uint32_t i = 0; i < files->count; i++) {
		const struct file_bytes *file = &files->files[i];
		hash = XXH3_64bits_withSeed(file->name, strlen(file->name), hash);
		hash = XXH3_64bits_withSeed(file->bytes, file->len, hash + file->len);
	}
	return hash;
}

const struct file_bytes *files_find(const struct files *files, const char *name) {
	for (uint32_t i = 0; i < files->count; i++)
		if (strcmp(files->files[i].name, name) == 0)
			return &files->files[i];
	return NULL;
}

void files_free(struct files *files) {
	for (uint32_t i = 0; i < FILES_MAX; i++)
		free(files->files[i].bytes);
	*files = (struct files){ 0 };
}

void files_remove(const char *dir) {
	DIR *stream = opendir(dir);
	if (stream == NULL)
		return;
	const struct dirent *entry;
	while ((entry = readdir(stream)) != NULL)
		if (entry->d_name[0] != '.' && unlinkat(dirfd(stream), entry->d_name, 0) != 0)
			die("cannot remove", entry->d_name);
	closedir(stream);
	if (rmdir(dir) != 0)
		die("cannot remove", dir);
}
