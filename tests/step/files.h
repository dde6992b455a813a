/*
 * files.h - a directory of a few plain files, as a value: what a kill leaves.
 */
#ifndef TEST_STEP_FILES_H
#define TEST_STEP_FILES_H

#include <stddef.h>
#include <stdint.h>

#define FILES_MAX 16u

struct file_bytes {
	char name[256];
	uint8_t *bytes; /* on the heap; what lies behind `len` is not looked at */
	size_t len, cap;
};

struct files {
	struct file_bytes files[FILES_MAX]; /* by name */
	uint32_t count;
};

/* Reads the directory into `ret`, whose memory is used again. Zeroed is empty. */
void files_take(const char *dir, struct files *ret);
/* Makes the directory hold these files and no others. */
void files_put(const struct files *files, const char *dir);
/* Of names, lengths and bytes. */
uint64_t files_hash(const struct files *files);
/* NULL if there is none of that name. */
const struct file_bytes *files_find(const struct files *files, const char *name);
void files_free(struct files *files);
/* Removes the directory and the files in it, if it is there. */
void files_remove(const char *dir);

#endif
