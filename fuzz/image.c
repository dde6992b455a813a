#include "image.h"

#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <string.h>

#include "base/assert.h"
#include "os/disk.h"
#include "os/memory.h"

#define FIRST_FD 1000000 /* no real file's */
#define LARGE 131072u	 /* AddressSanitizer maps and unmaps what is larger */
#define KEPT_MAX 4u

/* The wrapped calls have no argument of ours. */
static struct {
	const struct hf_image_file *files;
	uint32_t count;
	/* Large blocks that were freed: mapping them anew costs more than the rest together. */
	struct {
		void *block;
		size_t bytes;
	} kept[KEPT_MAX];
} shown;

void *__real_hf_memory_new(size_t bytes);
void *__wrap_hf_memory_new(size_t bytes);
void __real_hf_memory_free(void *memory);
void __wrap_hf_memory_free(void *memory);

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
bool __real_hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			 size_t *ret_len, struct hf_err *err);
bool __wrap_hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			 size_t *ret_len, struct hf_err *err);

void hf_image_show(const struct hf_image_file *files, uint32_t count) {
	shown.files = files;
	shown.count = count;
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
	return hf_fail(err, HF_IO, "no file %s", name);
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

void *__wrap_hf_memory_new(size_t bytes) {
	for (uint32_t i = 0; bytes >= LARGE && i < KEPT_MAX; i++) {
		void *block = shown.kept[i].block;
		if (block == NULL || shown.kept[i].bytes != bytes)
			continue;
		shown.kept[i].block = NULL;
		ASAN_UNPOISON_MEMORY_REGION(block, bytes);
		return memset(block, 0, bytes);
	}
	return __real_hf_memory_new(bytes);
}

void __wrap_hf_memory_free(void *memory) {
	size_t bytes = memory == NULL ? 0 : __sanitizer_get_allocated_size(memory);
	for (uint32_t i = 0; bytes >= LARGE && i < KEPT_MAX; i++) {
		if (shown.kept[i].block != NULL)
			continue;
		shown.kept[i].block = memory;
		shown.kept[i].bytes = bytes;
		ASAN_POISON_MEMORY_REGION(memory, bytes);
		return;
	}
	__real_hf_memory_free(memory);
}
