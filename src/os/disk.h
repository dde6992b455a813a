/*
 * disk.h - directories and files. Every call that reaches a disk is here or in flush.h.
 */
#ifndef HF_OS_DISK_H
#define HF_OS_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HF_DIR_PATH_MAX 3072u

/* An open directory. */
struct hf_dir {
	int fd;
	int lock_fd; /* -1 without a lock */
	char path[HF_DIR_PATH_MAX];
};

/*
 * Opens a directory; with `create`, makes it if it is not there (its parent must be), and syncs
 * its parent. Closed with hf_dir_close.
 */
HF_MUST bool hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err);
/*
 * Takes the directory for this process until it closes it or ends; fails at once if another has it,
 * and says which.
 */
HF_MUST bool hf_dir_lock(struct hf_dir *dir, struct hf_err *err);
/* Makes creations, renames and removals in it durable. */
HF_MUST bool hf_dir_sync(const struct hf_dir *dir, struct hf_err *err);
void hf_dir_close(struct hf_dir *dir);
/*
 * Calls `each` with every entry's name, in no order. Stops when it returns false (then so does
 * this).
 */
HF_MUST bool hf_dir_list(const struct hf_dir *dir,
			 bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
			 struct hf_err *err);
HF_MUST bool hf_dir_rename(const struct hf_dir *dir, const char *from, const char *to,
			   struct hf_err *err);
HF_MUST bool hf_dir_remove(const struct hf_dir *dir, const char *name, struct hf_err *err);
/* Removes a directory in it, which must be empty. */
HF_MUST bool hf_dir_remove_dir(const struct hf_dir *dir, const char *name, struct hf_err *err);

struct hf_file {
	int fd; /* -1: not open */
	/* Bypasses the page cache: buffers, lengths and offsets are multiples of HF_SECTOR. */
	bool direct;
	bool taken; /* see hf_file_take */
};

#define HF_FILE_CLOSED ((struct hf_file){ .fd = -1 })

enum hf_file_mode { HF_FILE_READ, HF_FILE_WRITE, HF_FILE_CREATE };

/*
 * Opens `name` in `dir`. HF_FILE_CREATE fails if it is there. With `direct`, tries to bypass the
 * page cache and falls back to it where the file system cannot (ret->direct tells). Closed with
 * hf_file_close. If it fails because no such file is there, err->sys_errno is ENOENT.
 */
HF_MUST bool hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode,
			  bool direct, struct hf_file *ret, struct hf_err *err);
/*
 * Of a file of at least two sectors, opened with `direct`: keeps that only if the disk takes single
 * sectors of HF_SECTOR bytes, and reopens it through the page cache if not (disks with sectors of
 * 4 KiB).
 */
HF_MUST bool hf_file_fit_direct(const struct hf_dir *dir, const char *name, struct hf_file *file,
				struct hf_err *err);
void hf_file_close(struct hf_file *file);
HF_MUST bool hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err);
/* Reads up to `len` bytes; fewer only at the file's end. */
HF_MUST bool hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
			  size_t *ret_len, struct hf_err *err);
/* Writes all of it, to the kernel. */
HF_MUST bool hf_file_write(const struct hf_file *file, const void *buf, size_t len, uint64_t offset,
			   struct hf_err *err);
/*
 * Makes what was written durable. After a failure the file must not be used again: the kernel
 * forgets.
 */
HF_MUST bool hf_file_sync(const struct hf_file *file, struct hf_err *err);
/*
 * Takes the file for this opening of it, until hf_file_close or the process's end. A write that is
 * in flight through it keeps it open, even when its process is killed (the kernel lets go of the
 * file when the write is over), so who gets it knows that no write of another opening will land any
 * more. With `wait`, waits for that; else `ret_taken` tells.
 */
HF_MUST bool hf_file_take(struct hf_file *file, bool wait, bool *ret_taken, struct hf_err *err);
/*
 * Brings to the disk what any process wrote to it. A disk that has it may still keep it in a cache:
 * it is durable with the next hf_file_sync of any file there. For files whose place and size are
 * durable already: cheaper than a sync of each.
 */
HF_MUST bool hf_file_write_back(const struct hf_file *file, struct hf_err *err);
/*
 * Makes durable what any process wrote to it, and lets the kernel forget what it remembers of it:
 * what is read then is what the disk has. The two differ after a failed sync, of which the process
 * that comes next knows nothing.
 */
HF_MUST bool hf_file_refresh(const struct hf_file *file, struct hf_err *err);
/*
 * Fills the file with `size` zero bytes that are really written, and syncs: later writes within it
 * change no metadata, so each flush is one device write.
 */
HF_MUST bool hf_file_fill(const struct hf_file *file, uint64_t size, struct hf_err *err);

#endif
