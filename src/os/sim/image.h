/*
 * image.h - the simulated disk's insides, for the files of this folder.
 *
 * Invariants: a sector is NULL where it is all zeros, and never changes once it is made. An inode
 * that several disks share (refs > 1) never changes. `seen` is what a read gives, `durable` what is
 * left if the cut keeps nothing of `pending`, in which the unsynced writes stand in order.
 */
#ifndef HF_SIM_IMAGE_H
#define HF_SIM_IMAGE_H

#include "base/limits.h"
#include "os/sim/sim.h"

#define INODES_MAX 256u
#define NAMES_MAX 128u
#define CHANGES_MAX 64u
#define DIRS_MAX 2u
#define FILE_END ((uint64_t)1 << 40) /* longer than any file */

struct sector {
	union {
		uint64_t refs;
		struct sector *next; /* spare */
	};
	uint8_t bytes[HF_SECTOR];
};

struct sectors {
	struct sector **at;
	uint32_t count, room;
};

struct pending {
	uint32_t at;
	struct sector *sector;
};

struct inode {
	uint32_t refs; /* disks */
	bool betrayed; /* after a failed sync: what is seen and what is durable have parted */
	uint64_t size, durable_size;
	struct sectors seen, durable;
	struct pending *pending;
	uint32_t pending_count, pending_room;
};

struct name {
	uint64_t hash; /* of the text */
	char text[64];
	uint32_t slot;
};

struct names {
	uint32_t count;
	struct name at[NAMES_MAX];
};

struct change {
	enum { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE } kind;
	char from[64], to[64];
	uint32_t slot; /* CHANGE_CREATE */
};

struct directory {
	char path[128];
	bool made, made_durably;
	uint32_t change_count;
	struct names seen, durable;
	struct change changes[CHANGES_MAX];
};

/* A write of a process that was killed, which the device still has. Whole sectors. */
struct late {
	uint32_t slot;
	uint64_t offset;
	size_t len;
	uint8_t *bytes; /* NULL: there is none */
};

struct sim_disk {
	struct sim_disk *next_spare;
	uint32_t slots; /* that were ever used: those behind are free */
	struct inode *inodes[INODES_MAX];
	uint16_t opened[INODES_MAX]; /* by the process that runs on it */
	uint32_t dir_count;
	struct directory dirs[DIRS_MAX];
	struct late late;
};

const struct inode *sim_inode(const struct sim_disk *disk, uint32_t slot);
/* [offset, offset + len) lies within the file. */
void sim_inode_read(const struct inode *inode, uint64_t offset, uint8_t *ret, size_t len);
void sim_inode_grow(struct sim_disk *disk, uint32_t slot, uint64_t size);
void sim_inode_write(struct sim_disk *disk, uint32_t slot, uint64_t offset, const uint8_t *bytes,
		     size_t len);
/* What waits for the sectors of these bytes becomes durable. */
void sim_inode_settle(struct sim_disk *disk, uint32_t slot, uint64_t offset, uint64_t len);
/*
 * Likewise, but only once in `keep_one_in` sectors (0: none); the rest is still seen, counts as
 * written, and is gone with the power: what Linux makes of a failed sync, and a bad disk of any.
 */
void sim_inode_betray(struct sim_disk *disk, uint32_t slot, uint64_t offset, uint64_t len,
		      struct sim_random *random, uint32_t keep_one_in);
/* What is seen is again what is durable, and what waits for a sync. */
void sim_inode_reveal(struct sim_disk *disk, uint32_t slot);
/*
 * The last write there, which is not durable yet, is not seen any more: it lands later. Nothing
 * happens if it is durable after all, or an earlier one is late.
 */
void sim_disk_delay(struct sim_disk *disk, uint32_t slot, uint64_t offset, size_t len);
/* What is late lands, and is durable. */
void sim_disk_land(struct sim_disk *disk);
static inline bool sim_disk_is_late(const struct sim_disk *disk) {
	return disk->late.bytes != NULL;
}
/* Changes what is seen and what is durable. */
void sim_inode_damage(struct sim_disk *disk, uint32_t slot, uint64_t offset, const uint8_t *bytes,
		      size_t len);

/* FNV-1a: names are short. */
static inline uint64_t sim_text_hash(const char *text) {
	uint64_t hash = 0xcbf29ce484222325u;
	while (*text != '\0')
		hash = (hash ^ (uint8_t)*text++) * 0x100000001b3u;
	return hash;
}
void sim_names_copy(struct names *to, const struct names *from);
bool sim_dir_find(const struct sim_disk *disk, uint32_t dir, const char *text, uint32_t *ret_slot);
uint32_t sim_dir_create(struct sim_disk *disk, uint32_t dir, const char *text);
void sim_dir_rename(struct sim_disk *disk, uint32_t dir, const char *from, const char *to);
void sim_dir_remove(struct sim_disk *disk, uint32_t dir, const char *text);
/*
 * The first `keep` changes become durable; the rest goes on waiting, or, with `forget`, never will
 * (what is seen stays).
 */
void sim_dir_settle(struct sim_disk *disk, uint32_t at, uint32_t keep, bool forget);

#endif
