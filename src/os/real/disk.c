#include "os/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/memory.h"

#define FILL_CHUNK ((size_t)1 << 20)
#define DIRECT_ALIGNMENT_BYTES 4096

/* With `made` it must work; else another user made it, perhaps where this one may not look. */
static bool sync_parent(const char *path, bool made, struct hf_err *err) {
	char parent[HF_DIR_PATH_MAX];
	snprintf(parent, sizeof(parent), "%s", path);
	size_t len = strlen(parent);
	while (len > 1 && parent[len - 1] == '/')
		parent[--len] = '\0';
	char *slash = strrchr(parent, '/');
	if (slash == NULL)
		snprintf(parent, sizeof(parent), ".");
	else
		slash[slash == parent ? 1 : 0] = '\0';
	int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return (!made && errno == EACCES) ||
		       hf_fail_sys(err, errno, "cannot open directory %s", parent);
	bool ok = fsync(fd) == 0;
	int reason = errno;
	close(fd);
	/* EINVAL: a file system, read-only mostly, that knows no fsync. */
	return ok || (!made && reason == EINVAL) ||
	       hf_fail_sys(err, reason, "cannot sync directory %s", parent);
}

bool hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err) {
	if (strlen(path) >= sizeof(ret->path))
		return hf_fail(err, HF_TOOBIG, "directory path is longer than %u bytes",
			       HF_DIR_PATH_MAX - 1);
	if (create) {
		bool made = mkdir(path, 0777) == 0;
		if (!made && errno != EEXIST)
			return hf_fail_sys(err, errno, "cannot make directory %s%s", path,
					   errno == ENOENT ? ", whose parent must be there" : "");
		/* Also of one that was there: its maker may have been killed before this. */
		if (!sync_parent(path, made, err))
			return false;
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return hf_fail_sys(err, errno, "cannot open directory %s", path);
	*ret = (struct hf_dir){ .fd = fd, .lock_fd = -1 };
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	return true;
}

bool hf_dir_lock(struct hf_dir *dir, struct hf_err *err) {
	int fd = openat(dir->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return hf_fail_sys(err, errno, "cannot open %s/lock", dir->path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int reason = errno;
		char holder[32] = "";
		ssize_t len = pread(fd, holder, sizeof(holder) - 1, 0);
		close(fd);
		if (reason != EWOULDBLOCK)
			return hf_fail_sys(err, reason, "cannot lock %s", dir->path);
		holder[strspn(holder, "0123456789")] = '\0';
		return hf_fail(
			err, HF_USAGE,
			"%s is in use already%s%s: one process per data directory, and one handle",
			dir->path, len > 0 ? ", pid " : "", holder);
	}
	/*
	 * For the message above only: the lock itself is the kernel's, and goes with the process.
	 * Always of one length: ext4 writes a file that was truncated when its last user closes it,
	 * and truncating it again would wait for that.
	 */
	char pid[32];
	int len = snprintf(pid, sizeof(pid), "%-15d\n", (int)getpid());
	if (pwrite(fd, pid, (size_t)len, 0) != len)
		len = 0; /* on a full disk; the message will do without */
	dir->lock_fd = fd;
	return true;
}

bool hf_dir_sync(const struct hf_dir *dir, struct hf_err *err) {
	return fsync(dir->fd) == 0 ||
	       hf_fail_sys(err, errno, "cannot sync directory %s", dir->path);
}

void hf_dir_close(struct hf_dir *dir) {
	if (dir->lock_fd >= 0) {
		/* Closing is not enough: a child that was forked meanwhile has it open, too. */
		(void)flock(dir->lock_fd, LOCK_UN);
		close(dir->lock_fd);
	}
	close(dir->fd);
}

bool hf_dir_list(const struct hf_dir *dir,
		 bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
		 struct hf_err *err) {
	int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	if (stream == NULL) {
		int reason = errno;
		if (fd >= 0)
			close(fd);
		return hf_fail_sys(err, reason, "cannot read directory %s", dir->path);
	}
	bool ok = true;
	const struct dirent *entry;
	while (ok && (errno = 0, entry = readdir(stream)) != NULL)
		ok = each(arg, entry->d_name, err);
	if (ok && errno != 0)
		ok = hf_fail_sys(err, errno, "cannot read directory %s", dir->path);
	closedir(stream);
	return ok;
}

bool hf_dir_rename(const struct hf_dir *dir, const char *from, const char *to, struct hf_err *err) {
	return renameat(dir->fd, from, dir->fd, to) == 0 ||
	       hf_fail_sys(err, errno, "cannot rename %s/%s to %s", dir->path, from, to);
}

bool hf_dir_remove(const struct hf_dir *dir, const char *name, struct hf_err *err) {
	return unlinkat(dir->fd, name, 0) == 0 ||
	       hf_fail_sys(err, errno, "cannot remove %s/%s", dir->path, name);
}

bool hf_dir_remove_dir(const struct hf_dir *dir, const char *name, struct hf_err *err) {
	return unlinkat(dir->fd, name, AT_REMOVEDIR) == 0 ||
	       hf_fail_sys(err, errno, "cannot remove directory %s/%s", dir->path, name);
}

bool hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode, bool direct,
		  struct hf_file *ret, struct hf_err *err) {
	static const int flags[] = {
		[HF_FILE_READ] = O_RDONLY,
		[HF_FILE_WRITE] = O_RDWR,
		[HF_FILE_CREATE] = O_RDWR | O_CREAT | O_EXCL,
	};
	int fd = -1;
	if (direct)
		fd = openat(dir->fd, name, flags[mode] | O_CLOEXEC | O_DIRECT, 0666);
	*ret = (struct hf_file){ .fd = fd, .direct = fd >= 0 };
	/* A file system without direct I/O; some of them say so after having made the file. */
	bool refused = direct && fd < 0 && errno == EINVAL;
	if (refused && mode == HF_FILE_CREATE)
		(void)unlinkat(dir->fd, name, 0);
	if (refused || !direct)
		ret->fd = openat(dir->fd, name, flags[mode] | O_CLOEXEC, 0666);
	if (ret->fd < 0)
		return hf_fail_sys(err, errno, "cannot open %s/%s", dir->path, name);
	return true;
}

bool hf_file_fit_direct(const struct hf_dir *dir, const char *name, struct hf_file *file,
			struct hf_err *err) {
	/* As frames lie in memory: at any sector. */
	_Alignas(DIRECT_ALIGNMENT_BYTES) uint8_t sectors[2 * HF_SECTOR];
	if (!file->direct || pread(file->fd, sectors + HF_SECTOR, HF_SECTOR, HF_SECTOR) >= 0 ||
	    errno != EINVAL)
		return true; /* any other error will be told by who meets it */
	hf_file_close(file);
	return hf_file_open(dir, name, HF_FILE_WRITE, false, file, err);
}

void hf_file_close(struct hf_file *file) {
	if (file->taken)
		(void)flock(file->fd, LOCK_UN); /* as in hf_dir_close */
	if (file->fd >= 0)
		close(file->fd);
	*file = HF_FILE_CLOSED;
}

bool hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err) {
	struct stat status;
	if (fstat(file->fd, &status) != 0)
		return hf_fail_sys(err, errno, "cannot tell a file's size");
	*ret = (uint64_t)status.st_size;
	return true;
}

bool hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
		  size_t *ret_len, struct hf_err *err) {
	size_t done = 0;
	while (done < len) {
		ssize_t got =
			pread(file->fd, (uint8_t *)buf + done, len - done, (off_t)(offset + done));
		if (got == 0)
			break;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return hf_fail_sys(err, errno, "cannot read at offset %llu",
					   (unsigned long long)(offset + done));
		done += (size_t)got;
	}
	*ret_len = done;
	return true;
}

bool hf_file_write(const struct hf_file *file, const void *buf, size_t len, uint64_t offset,
		   struct hf_err *err) {
	size_t done = 0;
	while (done < len) {
		ssize_t put = pwrite(file->fd, (const uint8_t *)buf + done, len - done,
				     (off_t)(offset + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return hf_fail_sys(err, put == 0 ? ENOSPC : errno,
					   "cannot write at offset %llu",
					   (unsigned long long)(offset + done));
		done += (size_t)put;
	}
	return true;
}

bool hf_file_sync(const struct hf_file *file, struct hf_err *err) {
	return fsync(file->fd) == 0 || hf_fail_sys(err, errno, "cannot sync a file");
}

bool hf_file_take(struct hf_file *file, bool wait, bool *ret_taken, struct hf_err *err) {
	int result;
	do
		result = flock(file->fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
	while (result != 0 && errno == EINTR);
	*ret_taken = file->taken = result == 0;
	return result == 0 || errno == EWOULDBLOCK || hf_fail_sys(err, errno, "cannot lock a file");
}

bool hf_file_write_back(const struct hf_file *file, struct hf_err *err) {
	const unsigned all =
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	if (sync_file_range(file->fd, 0, 0, all) == 0)
		return true;
	/* Not after any other error: it is told once, and a sync would know nothing of it. */
	return errno == ENOSYS ? hf_file_sync(file, err)
			       : hf_fail_sys(err, errno, "cannot write back a file");
}

bool hf_file_refresh(const struct hf_file *file, struct hf_err *err) {
	/* EINVAL: a file system that is only ever read; nothing waits there. */
	if (fsync(file->fd) != 0 && errno != EINVAL)
		return hf_fail_sys(err, errno, "cannot sync a file");
	/* Advice, which Linux takes for pages that are clean, and all are now. */
	(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
	return true;
}

bool hf_file_fill(const struct hf_file *file, uint64_t size, struct hf_err *err) {
	void *zeros = hf_pages_new(FILL_CHUNK); /* aligned for direct I/O */
	if (zeros == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	/*
	 * Reserved in one piece first: contiguous, and a full disk is found before anything is
	 * written.
	 */
	int reserved;
	do
		reserved = posix_fallocate(file->fd, 0, (off_t)size);
	while (reserved == EINTR);
	bool ok = reserved == 0 || reserved == EOPNOTSUPP || reserved == EINVAL ||
		  hf_fail_sys(err, reserved, "cannot reserve %llu bytes", (unsigned long long)size);
	for (uint64_t at = 0; ok && at < size; at += FILL_CHUNK) {
		size_t len = size - at < FILL_CHUNK ? (size_t)(size - at) : FILL_CHUNK;
		ok = hf_file_write(file, zeros, len, at, err);
	}
	hf_pages_free(zeros, FILL_CHUNK);
	return ok && hf_file_sync(file, err);
}
