#include "image.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "os/disk.h"

#define FIRST_FD 1000000 /* no real file's */

/* The wrapped calls have no argument of ours. */
static struct {
	const struct hf_image_file *files;
	uint32_t count;
} shown;

bool __real_hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err);
bool __wrap_hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err);
bool __real_hf_dir_lock(struct hf_dir *dir, struct hf_err *err);
bool __wrap_hf_dir_lock(struct hf_dir *dir, struct hf_err *err);
void __real_hf_dir_close(struct hf_dir *dir);
void __wrap_hf_dir_close(struct hf_dir *dir);
bool __real_hf_dir_list(const struct hf_dir *dir,
			bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
			struct hf_err *err);
bool __wrap_hf_dir_list(const struct hf_dir *dir,
			bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
			struct hf_err *err);
bool __real_hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode,
			 bool direct, struct hf_file *ret, struct hf_err *err);
bool __wrap_hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode,
			 bool direct, struct hf_file *ret, struct hf_err *err);
void __real_hf_file_close(struct hf_file *file);
void __wrap_hf_file_close(struct hf_file *file);
bool __real_hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err);
bool __wrap_hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err);
bool __real_hf_file_refresh(const struct hf_file *file, struct hf_err *err);
bool __wrap_hf_file_refresh(const struct hf_file *file, struct hf_err *err);
bool __real_hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			 size_t *ret_len, struct hf_err *err);
bool __wrap_hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			 size_t *ret_len, struct hf_err *err);

void hf_image_show(const struct hf_image_file *files, uint32_t count) {
	shown.files = files;
	shown.count = count;
}

bool __wrap_hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err) {
	if (shown.files == NULL)
		return __real_hf_dir_open(path, create, ret, err);
	*ret = (struct hf_dir){ .fd = FIRST_FD, .lock_fd = -1, .path = "image" };
	return true;
}

bool __wrap_hf_dir_lock(struct hf_dir *dir, struct hf_err *err) {
	return shown.files != NULL || __real_hf_dir_lock(dir, err);
}

void __wrap_hf_dir_close(struct hf_dir *dir) {
	if (dir->fd != FIRST_FD)
		__real_hf_dir_close(dir);
}

bool __wrap_hf_dir_list(const struct hf_dir *dir,
			bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
			struct hf_err *err) {
	if (shown.files == NULL)
		return __real_hf_dir_list(dir, each, arg, err);
	for (uint32_t i = 0; i < shown.count; i++)
		if (!each(arg, shown.files[i].name, err))
			return false;
	return true;
}

bool __wrap_hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode,
			 bool direct, struct hf_file *ret, struct hf_err *err) {
	if (shown.files == NULL)
		return __real_hf_file_open(dir, name, mode, direct, ret, err);
	HF_ASSERT(mode == HF_FILE_READ);
	for (uint32_t i = 0; i < shown.count; i++)
		if (strcmp(shown.files[i].name, name) == 0) {
			*ret = (struct hf_file){ .fd = FIRST_FD + (int)i };
			return true;
		}
	return hf_fail_sys(err, ENOENT, "no file %s", name);
}

void __wrap_hf_file_close(struct hf_file *file) {
	if (file->fd < FIRST_FD)
		__real_hf_file_close(file);
	*file = HF_FILE_CLOSED;
}

bool __wrap_hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err) {
	if (file->fd < FIRST_FD)
		return __real_hf_file_size(file, ret, err);
	*ret = shown.files[file->fd - FIRST_FD].size;
	return true;
}

bool __wrap_hf_file_refresh(const struct hf_file *file, struct hf_err *err) {
	return file->fd >= FIRST_FD || __real_hf_file_refresh(file, err);
}

bool __wrap_hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			 size_t *ret_len, struct hf_err *err) {
	if (file->fd < FIRST_FD)
		return __real_hf_file_read(file, buf, len, offset, ret_len, err);
	const struct hf_image_file *image = &shown.files[file->fd - FIRST_FD];
	uint64_t rest = offset < image->size ? image->size - offset : 0;
	*ret_len = len < rest ? len : (size_t)rest;
	size_t stored = offset < image->len ? (size_t)(image->len - offset) : 0;
	if (stored > *ret_len)
		stored = *ret_len;
	if (stored > 0)
		memcpy(buf, image->bytes + offset, stored);
	memset((uint8_t *)buf + stored, 0, *ret_len - stored);
	return true;
}
