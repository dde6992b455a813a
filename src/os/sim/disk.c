/*
 * disk.c - disk.h on a simulated disk.
 */
#include "os/disk.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/span.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "os/sim/world.h"

#define FILL_CHUNK 65536u

_Alignas(HF_SECTOR) static const uint8_t zeros[FILL_CHUNK];

/* ---- handles ---- */

static bool handle_new(struct sim *sim, int kind, uint32_t at, int *ret_fd) {
	for (uint32_t i = 0; i < HANDLES_MAX; i++) {
		if (sim->handles[i].kind != HANDLE_FREE)
			continue;
		sim->handles[i].kind = kind;
		sim->handles[i].taken = false;
		sim->handles[i].at = at;
		if (kind == HANDLE_FILE)
			sim->disk->opened[at]++;
		*ret_fd = (int)i;
		return true;
	}
	return false;
}

static uint32_t handle_at(const struct sim *sim, int fd, int kind) {
	HF_ASSERT(fd >= 0 && fd < (int)HANDLES_MAX && sim->handles[fd].kind == (unsigned)kind);
	return sim->handles[fd].at;
}

static void handle_close(struct sim *sim, int fd) {
	struct handle *handle = &sim->handles[fd];
	HF_ASSERT(fd >= 0 && fd < (int)HANDLES_MAX && handle->kind != HANDLE_FREE);
	if (handle->kind == HANDLE_FILE)
		sim->disk->opened[handle->at]--;
	handle->kind = HANDLE_FREE;
	handle->taken = false;
}

uint32_t sim_slot(const struct sim *sim, const struct hf_file *file) {
	return handle_at(sim, file->fd, HANDLE_FILE);
}

/* ---- directories ---- */

static bool sync_parent(struct sim *sim, struct directory *dir, struct hf_err *err) {
	int reason;
	sim_moment(sim, SIM_DIR_SYNC);
	if (!sim_io(sim, SIM_DIR_SYNC, 0, sim->faults.sync_eio, &reason))
		return hf_fail_sys(err, reason, "cannot sync the directory above %s", dir->path);
	dir->made_durably = true;
	return true;
}

static bool make_dir(struct sim *sim, const char *path, uint32_t *ret_at, struct hf_err *err) {
	struct sim_disk *disk = sim->disk;
	int reason;
	if (!sim_io(sim, SIM_MAKE_DIR, sim_text_hash(path), sim->faults.dir_eio, &reason))
		return hf_fail_sys(err, reason, "cannot make directory %s", path);
	uint32_t at = *ret_at;
	if (at == disk->dir_count) {
		HF_ASSERT(at < DIRS_MAX && strlen(path) < sizeof(disk->dirs[at].path));
		disk->dir_count++;
		disk->dirs[at] = (struct directory){ .made = false };
		strcpy(disk->dirs[at].path, path);
	}
	if (!disk->dirs[at].made) {
		disk->dirs[at].made = true;
		sim_moment(sim, SIM_MAKE_DIR);
	}
	return true;
}

bool hf_dir_open(const char *path, bool create, struct hf_dir *ret, struct hf_err *err) {
	struct sim *sim = sim_world();
	struct sim_disk *disk = sim->disk;
	uint32_t at = 0;
	int fd, reason;
	while (at < disk->dir_count && strcmp(disk->dirs[at].path, path) != 0)
		at++;
	if (create && (!make_dir(sim, path, &at, err) || !sync_parent(sim, &disk->dirs[at], err)))
		return false;
	if (at == disk->dir_count || !disk->dirs[at].made)
		return hf_fail_sys(err, ENOENT, "cannot open directory %s", path);
	if (!sim_io(sim, SIM_OPEN, sim_text_hash(path), sim->faults.dir_eio, &reason) ||
	    !handle_new(sim, HANDLE_DIR, at, &fd))
		return hf_fail_sys(err, reason, "cannot open directory %s", path);
	*ret = (struct hf_dir){ .fd = fd, .lock_fd = -1 };
	hf_text_copy(ret->path, sizeof(ret->path), path);
	return true;
}

static bool create_file(struct sim *sim, uint32_t dir, const char *name, uint32_t *ret_slot,
			int *ret_errno) {
	if (!sim_io(sim, SIM_CREATE, sim_text_hash(name), sim->faults.dir_eio, ret_errno))
		return false;
	if (sim_strikes(sim, sim->faults.no_space)) {
		*ret_errno = ENOSPC;
		return false;
	}
	*ret_slot = sim_dir_create(sim->disk, dir, name);
	sim_moment(sim, SIM_CREATE);
	return true;
}

bool hf_dir_lock(struct hf_dir *dir, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR), slot;
	int reason;
	for (uint32_t i = 0; i < HANDLES_MAX; i++)
		if (sim->handles[i].kind == HANDLE_LOCK && sim->handles[i].at == at)
			return hf_fail(err, HF_USAGE, "%s is in use", dir->path);
	if (!sim_dir_find(sim->disk, at, "lock", &slot) &&
	    !create_file(sim, at, "lock", &slot, &reason))
		return hf_fail_sys(err, reason, "cannot open %s/lock", dir->path);
	if (!sim_io(sim, SIM_WRITE, slot, sim->faults.write_eio, &reason))
		return hf_fail_sys(err, reason, "cannot write %s/lock", dir->path);
	sim_put(sim, SIM_WRITE, slot, 0, "1234\n", 5);
	return handle_new(sim, HANDLE_LOCK, at, &dir->lock_fd) ||
	       hf_fail_sys(err, EMFILE, "cannot open %s/lock", dir->path);
}

bool hf_dir_sync(const struct hf_dir *dir, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR);
	int reason;
	sim_moment(sim, SIM_DIR_SYNC);
	sim_yield();
	if (!sim_io(sim, SIM_DIR_SYNC, at, sim->faults.sync_eio, &reason)) {
		/* What was not made durable still waits: a journal that fails does not forget. */
		sim_dir_settle(sim->disk, at, sim_below(&sim->random, 4), false);
		return hf_fail_sys(err, reason, "cannot sync directory %s", dir->path);
	}
	sim_dir_settle(sim->disk, at, sim_damages(sim, sim->faults.lost_write) ? 0 : CHANGES_MAX,
		       true);
	return true;
}

void hf_dir_close(struct hf_dir *dir) {
	struct sim *sim = sim_world();
	if (dir->lock_fd >= 0)
		handle_close(sim, dir->lock_fd);
	handle_close(sim, dir->fd);
}

bool hf_dir_list(const struct hf_dir *dir,
		 bool (*each)(void *arg, const char *name, struct hf_err *err), void *arg,
		 struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR);
	struct names names;
	int reason;
	sim_names_copy(&names, &sim->disk->dirs[at].seen);
	if (!sim_io(sim, SIM_READ, at, sim->faults.dir_eio, &reason))
		return hf_fail_sys(err, reason, "cannot read directory %s", dir->path);
	bool ok = each(arg, ".", err) && each(arg, "..", err);
	/* In no order. */
	while (ok && names.count > 0) {
		uint32_t i = sim_below(&sim->random, names.count);
		ok = each(arg, names.at[i].text, err);
		names.at[i] = names.at[--names.count];
	}
	return ok;
}

bool hf_dir_rename(const struct hf_dir *dir, const char *from, const char *to, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR), slot;
	int reason = ENOENT;
	if (!sim_dir_find(sim->disk, at, from, &slot) ||
	    !sim_io(sim, SIM_RENAME, sim_text_hash(from) ^ sim_text_hash(to), sim->faults.dir_eio,
		    &reason))
		return hf_fail_sys(err, reason, "cannot rename %s/%s to %s", dir->path, from, to);
	sim_dir_rename(sim->disk, at, from, to);
	sim_moment(sim, SIM_RENAME);
	return true;
}

bool hf_dir_remove(const struct hf_dir *dir, const char *name, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR), slot;
	int reason = ENOENT;
	if (!sim_dir_find(sim->disk, at, name, &slot) ||
	    !sim_io(sim, SIM_REMOVE, sim_text_hash(name), sim->faults.dir_eio, &reason))
		return hf_fail_sys(err, reason, "cannot remove %s/%s", dir->path, name);
	if (sim->room != UINT64_MAX)
		sim->room += sim_inode(sim->disk, slot)->size;
	sim_dir_remove(sim->disk, at, name);
	sim_moment(sim, SIM_REMOVE);
	return true;
}

bool hf_dir_remove_dir(const struct hf_dir *dir, const char *name, struct hf_err *err) {
	return hf_fail_sys(err, ENOENT, "cannot remove directory %s/%s", dir->path, name);
}

/* ---- files ---- */

bool hf_file_open(const struct hf_dir *dir, const char *name, enum hf_file_mode mode, bool direct,
		  struct hf_file *ret, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t at = handle_at(sim, dir->fd, HANDLE_DIR), slot;
	int fd = -1, reason = 0;
	bool found = sim_dir_find(sim->disk, at, name, &slot);
	if (found != (mode != HF_FILE_CREATE))
		reason = found ? EEXIST : ENOENT;
	else if (!found)
		found = create_file(sim, at, name, &slot, &reason);
	else
		found = sim_io(sim, SIM_OPEN, sim_text_hash(name), sim->faults.dir_eio, &reason);
	if (!found || (mode != HF_FILE_CREATE && reason == ENOENT) ||
	    !handle_new(sim, HANDLE_FILE, slot, &fd))
		return hf_fail_sys(err, reason, "cannot open %s/%s", dir->path, name);
	*ret = (struct hf_file){ .fd = fd, .direct = direct && !sim->faults.no_direct };
	return true;
}

bool hf_file_fit_direct(const struct hf_dir *dir, const char *name, struct hf_file *file,
			struct hf_err *err) {
	return true; /* its sectors are small enough */
}

void hf_file_close(struct hf_file *file) {
	if (file->fd >= 0)
		handle_close(sim_world(), file->fd);
	*file = HF_FILE_CLOSED;
}

bool hf_file_size(const struct hf_file *file, uint64_t *ret, struct hf_err *err) {
	struct sim *sim = sim_world();
	*ret = sim_inode(sim->disk, sim_slot(sim, file))->size;
	return true;
}

/* What the kernel would refuse. */
static void check_direct(const struct hf_file *file, const void *buf, size_t len, uint64_t offset) {
	HF_ASSERT(!file->direct ||
		  ((uintptr_t)buf % HF_SECTOR | len % HF_SECTOR | offset % HF_SECTOR) == 0);
}

bool hf_file_read(const struct hf_file *file, void *buf, size_t len, uint64_t offset,
		  size_t *ret_len, struct hf_err *err) {
	struct sim *sim = sim_world();
	const struct inode *inode = sim_inode(sim->disk, sim_slot(sim, file));
	int reason;
	check_direct(file, buf, len, offset);
	if (!sim_io(sim, SIM_READ, offset, sim->faults.read_eio, &reason))
		return hf_fail_sys(err, reason, "cannot read at offset %llu",
				   (unsigned long long)offset);
	uint64_t there = offset < inode->size ? inode->size - offset : 0;
	*ret_len = len < there ? len : (size_t)there;
	sim_inode_read(inode, offset, buf, *ret_len);
	if (*ret_len > 0 && sim_damages(sim, sim->faults.rot_read))
		((uint8_t *)buf)[sim_below(&sim->random, (uint32_t)*ret_len)] ^=
			(uint8_t)(1u << sim_below(&sim->random, 8));
	return true;
}

/* ---- writing ---- */

/* One bit of one file, at a place that is in use. */
static void rot(struct sim *sim) {
	uint32_t slots = sim->disk->slots, slot = sim_below(&sim->random, slots);
	for (uint32_t i = 0; i < slots; i++, slot = (slot + 1) % slots) {
		const struct inode *inode = sim->disk->inodes[slot];
		if (inode == NULL || inode->seen.count == 0)
			continue;
		uint64_t offset = sim_below(&sim->random, inode->seen.count * HF_SECTOR);
		uint8_t byte;
		if (offset >= inode->size)
			return;
		sim_inode_read(inode, offset, &byte, 1);
		byte ^= (uint8_t)(1u << sim_below(&sim->random, 8));
		sim_inode_damage(sim->disk, slot, offset, &byte, 1);
		return;
	}
}

/* Lands on another sector of this file, or on the same one of another. */
static void misdirect(struct sim *sim, uint32_t slot, uint64_t offset, const void *bytes,
		      size_t len) {
	uint32_t to = sim_below(&sim->random, sim->disk->slots);
	if (sim->disk->inodes[to] == NULL || sim_once_in(&sim->random, 2))
		to = slot;
	uint64_t size = sim->disk->inodes[to]->size;
	if (to == slot && size >= HF_SECTOR)
		offset =
			HF_SECTOR * (uint64_t)sim_below(&sim->random, (uint32_t)(size / HF_SECTOR));
	if (offset + len <= size)
		sim_inode_damage(sim->disk, to, offset, bytes, len);
}

void sim_put(struct sim *sim, enum sim_op op, uint32_t slot, uint64_t offset, const void *bytes,
	     size_t len) {
	/* What fills a file is known. */
	sim_trace_add(sim, bytes == zeros ? len : XXH3_64bits_withSeed(bytes, len, offset));
	if (sim_damages(sim, sim->faults.rot_rest))
		rot(sim);
	if (sim_damages(sim, sim->faults.misdirected))
		misdirect(sim, slot, offset, bytes, len);
	else
		sim_inode_write(sim->disk, slot, offset, bytes, len);
	sim_moment(sim, op);
}

void sim_settle(struct sim *sim, uint32_t slot, uint64_t offset, uint64_t len) {
	if (sim_damages(sim, sim->faults.lost_write))
		sim_inode_betray(sim->disk, slot, offset, len, &sim->random, 0);
	else
		sim_inode_settle(sim->disk, slot, offset, len);
}

static bool take_room(struct sim *sim, uint64_t bytes) {
	if (bytes > sim->room || sim_strikes(sim, sim->faults.no_space)) {
		sim->fault_count++;
		return false;
	}
	if (sim->room != UINT64_MAX)
		sim->room -= bytes;
	return true;
}

bool hf_file_write(const struct hf_file *file, const void *buf, size_t len, uint64_t offset,
		   struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t slot = sim_slot(sim, file);
	uint64_t size = sim_inode(sim->disk, slot)->size;
	size_t part = len;
	int reason;
	check_direct(file, buf, len, offset);
	sim_yield();
	bool ok = sim_io(sim, SIM_WRITE, (uint64_t)slot << 32 | offset, sim->faults.write_eio,
			 &reason);
	if (ok && offset + len > size && !take_room(sim, offset + len - size)) {
		ok = false;
		reason = ENOSPC;
	}
	/* A write that fails, or comes short, has written its first sectors. */
	if (!ok || sim_strikes(sim, sim->faults.short_write))
		part = sim_below(&sim->random, (uint32_t)(len / HF_SECTOR) + 1) * HF_SECTOR;
	if (part > 0)
		sim_put(sim, SIM_WRITE, slot, offset, buf, part);
	if (!ok)
		return hf_fail_sys(err, reason, "cannot write at offset %llu",
				   (unsigned long long)(offset + part));
	if (part < len)
		sim_put(sim, SIM_WRITE, slot, offset + part, (const uint8_t *)buf + part,
			len - part);
	return true;
}

bool hf_file_sync(const struct hf_file *file, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t slot = sim_slot(sim, file);
	int reason;
	sim_moment(sim, SIM_SYNC);
	sim_yield();
	if (!sim_io(sim, SIM_SYNC, slot, sim->faults.sync_eio, &reason)) {
		sim_inode_betray(sim->disk, slot, 0, FILE_END, &sim->random,
				 sim_below(&sim->random, 4));
		return hf_fail_sys(err, reason, "cannot sync a file");
	}
	sim_settle(sim, slot, 0, FILE_END);
	return true;
}

bool hf_file_take(struct hf_file *file, bool wait, bool *ret_taken, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t slot = sim_slot(sim, file);
	for (uint32_t i = 0; i < HANDLES_MAX; i++) /* it would wait for itself */
		HF_ASSERT(!sim->handles[i].taken || sim->handles[i].at != slot);
	bool late = sim_disk_is_late(sim->disk) && sim->disk->late.slot == slot;
	if (late && wait)
		sim_disk_land(sim->disk);
	*ret_taken = file->taken = sim->handles[file->fd].taken = wait || !late;
	return true;
}

bool hf_file_write_back(const struct hf_file *file, struct hf_err *err) {
	return hf_file_sync(file, err);
}

bool hf_file_refresh(const struct hf_file *file, struct hf_err *err) {
	struct sim *sim = sim_world();
	if (!hf_file_sync(file, err))
		return false;
	sim_inode_reveal(sim->disk, sim_slot(sim, file));
	return true;
}

bool hf_file_fill(const struct hf_file *file, uint64_t size, struct hf_err *err) {
	struct sim *sim = sim_world();
	uint32_t slot = sim_slot(sim, file);
	int reason;
	if (!sim_io(sim, SIM_FILL, size, sim->faults.write_eio, &reason))
		return hf_fail_sys(err, reason, "cannot reserve %llu bytes",
				   (unsigned long long)size);
	if (!take_room(sim, size))
		return hf_fail_sys(err, ENOSPC, "cannot reserve %llu bytes",
				   (unsigned long long)size);
	sim_inode_grow(sim->disk, slot, size);
	sim_moment(sim, SIM_FILL);
	for (uint64_t at = 0; at < size; at += FILL_CHUNK)
		if (!hf_file_write(file, zeros,
				   size - at < FILL_CHUNK ? (size_t)(size - at) : FILL_CHUNK, at,
				   err))
			return false;
	return hf_file_sync(file, err);
}
