/*
 * image.c - the disk itself: sectors, files, directories, and what a power cut leaves of them.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/span.h"
#include "os/sim/image.h"

static const uint8_t zeros[HF_SECTOR];

/* ---- sectors ---- */

static struct sector *spare_sectors;

static struct sector *sector_new(const uint8_t *bytes) {
	struct sector *sector;
	if (memcmp(bytes, zeros, HF_SECTOR) == 0)
		return NULL;
	sector = spare_sectors;
	if (sector != NULL)
		spare_sectors = sector->next;
	else
		sector = malloc(sizeof(*sector));
	HF_ASSERT(sector != NULL);
	sector->refs = 1;
	memcpy(sector->bytes, bytes, HF_SECTOR);
	return sector;
}

static struct sector *sector_ref(struct sector *sector) {
	if (sector != NULL)
		sector->refs++;
	return sector;
}

static void sector_drop(struct sector *sector) {
	if (sector == NULL || --sector->refs > 0)
		return;
	sector->next = spare_sectors;
	spare_sectors = sector;
}

/* ---- runs of sectors: behind `count` they are zeros ---- */

static struct sector *run_get(const struct sectors *run, uint32_t i) {
	return i < run->count ? run->at[i] : NULL;
}

/* Takes over the caller's reference. */
static void run_set(struct sectors *run, uint32_t i, struct sector *sector) {
	if (i >= run->count) {
		if (sector == NULL)
			return;
		if (i >= run->room) {
			run->room = i + 1 > 16 ? (i + 1) * 2 : 16;
			run->at = realloc(run->at, run->room * sizeof(struct sector *));
			HF_ASSERT(run->at != NULL);
		}
		while (run->count <= i)
			run->at[run->count++] = NULL;
	}
	sector_drop(run->at[i]);
	run->at[i] = sector;
}

static struct sectors run_copy(const struct sectors *run) {
	struct sectors copy = { .count = run->count, .room = run->count };
	if (run->count == 0)
		return copy;
	copy.at = malloc(run->count * sizeof(struct sector *));
	HF_ASSERT(copy.at != NULL);
	for (uint32_t i = 0; i < run->count; i++)
		copy.at[i] = sector_ref(run->at[i]);
	return copy;
}

static void run_free(struct sectors *run) {
	for (uint32_t i = 0; i < run->count; i++)
		sector_drop(run->at[i]);
	free(run->at);
}

/* ---- inodes ---- */

static struct inode *inode_copy(const struct inode *inode) {
	struct inode *copy = malloc(sizeof(*copy));
	HF_ASSERT(copy != NULL);
	*copy = *inode;
	copy->refs = 1;
	copy->seen = run_copy(&inode->seen);
	copy->durable = run_copy(&inode->durable);
	copy->pending_room = inode->pending_count;
	copy->pending = NULL;
	if (copy->pending_room > 0) {
		copy->pending = malloc(copy->pending_room * sizeof(*copy->pending));
		HF_ASSERT(copy->pending != NULL);
	}
	for (uint32_t i = 0; i < copy->pending_count; i++) {
		copy->pending[i] = inode->pending[i];
		sector_ref(copy->pending[i].sector);
	}
	return copy;
}

static void inode_drop(struct inode *inode) {
	if (inode == NULL || --inode->refs > 0)
		return;
	run_free(&inode->seen);
	run_free(&inode->durable);
	for (uint32_t i = 0; i < inode->pending_count; i++)
		sector_drop(inode->pending[i].sector);
	free(inode->pending);
	free(inode);
}

const struct inode *sim_inode(const struct sim_disk *disk, uint32_t slot) {
	HF_ASSERT(slot < INODES_MAX && disk->inodes[slot] != NULL);
	return disk->inodes[slot];
}

/* To change it: a copy of its own, if another disk has it, too. */
static struct inode *inode_own(struct sim_disk *disk, uint32_t slot) {
	struct inode *inode = disk->inodes[slot];
	if (inode->refs > 1) {
		disk->inodes[slot] = inode_copy(inode);
		inode->refs--;
	}
	return disk->inodes[slot];
}

static void mark_names(const struct names *names, bool *used) {
	for (uint32_t i = 0; i < names->count; i++)
		used[names->at[i].slot] = true;
}

/* Lets go of inodes that no name, no unsynced change and no open file leads to. */
static void collect(struct sim_disk *disk) {
	bool used[INODES_MAX];
	memset(used, false, disk->slots);
	if (sim_disk_is_late(disk))
		used[disk->late.slot] = true;
	for (uint32_t i = 0; i < disk->dir_count; i++) {
		const struct directory *dir = &disk->dirs[i];
		mark_names(&dir->seen, used);
		mark_names(&dir->durable, used);
		for (uint32_t j = 0; j < dir->change_count; j++)
			if (dir->changes[j].kind == CHANGE_CREATE)
				used[dir->changes[j].slot] = true;
	}
	for (uint32_t i = 0; i < disk->slots; i++) {
		if (disk->inodes[i] == NULL || used[i] || disk->opened[i] > 0)
			continue;
		inode_drop(disk->inodes[i]);
		disk->inodes[i] = NULL;
	}
}

static uint32_t free_slot(const struct sim_disk *disk) {
	uint32_t slot = 0;
	while (slot < disk->slots && disk->inodes[slot] != NULL)
		slot++;
	return slot;
}

static uint32_t inode_new(struct sim_disk *disk) {
	uint32_t slot = free_slot(disk);
	if (slot == INODES_MAX) {
		collect(disk);
		slot = free_slot(disk);
	}
	HF_ASSERT(slot < INODES_MAX);
	if (slot == disk->slots)
		disk->opened[disk->slots++] = 0;
	disk->inodes[slot] = calloc(1, sizeof(struct inode));
	HF_ASSERT(disk->inodes[slot] != NULL);
	disk->inodes[slot]->refs = 1;
	return slot;
}

/* ---- reading and writing ---- */

void sim_inode_read(const struct inode *inode, uint64_t offset, uint8_t *ret, size_t len) {
	const struct sectors *seen = &inode->seen;
	while (len > 0) {
		size_t within = offset % HF_SECTOR;
		size_t part = HF_SECTOR - within < len ? HF_SECTOR - within : len;
		if (offset / HF_SECTOR >= seen->count) {
			memset(ret, 0, len);
			return;
		}
		const struct sector *sector = seen->at[offset / HF_SECTOR];
		memcpy(ret, sector == NULL ? zeros : sector->bytes + within, part);
		offset += part;
		ret += part;
		len -= part;
	}
}

static void add_pending(struct inode *inode, uint32_t i, struct sector *sector) {
	if (inode->pending_count == inode->pending_room) {
		inode->pending_room = inode->pending_room * 2 + 16;
		inode->pending =
			realloc(inode->pending, inode->pending_room * sizeof(*inode->pending));
		HF_ASSERT(inode->pending != NULL);
	}
	inode->pending[inode->pending_count++] = (struct pending){ .at = i, .sector = sector };
}

static bool is_pending(const struct inode *inode, uint32_t at) {
	for (uint32_t i = 0; i < inode->pending_count; i++)
		if (inode->pending[i].at == at)
			return true;
	return false;
}

void sim_inode_grow(struct sim_disk *disk, uint32_t slot, uint64_t size) {
	struct inode *inode = inode_own(disk, slot);
	if (size > inode->size)
		inode->size = size;
}

void sim_inode_write(struct sim_disk *disk, uint32_t slot, uint64_t offset, const uint8_t *bytes,
		     size_t len) {
	struct inode *inode = inode_own(disk, slot);
	sim_inode_grow(disk, slot, offset + len);
	while (len > 0) {
		uint8_t whole[HF_SECTOR];
		const uint8_t *from = bytes;
		uint32_t i = (uint32_t)(offset / HF_SECTOR);
		size_t within = offset % HF_SECTOR;
		size_t part = HF_SECTOR - within < len ? HF_SECTOR - within : len;
		if (part < HF_SECTOR) {
			sim_inode_read(inode, (uint64_t)i * HF_SECTOR, whole, HF_SECTOR);
			memcpy(whole + within, bytes, part);
			from = whole;
		}
		struct sector *sector = sector_new(from);
		/* Zeros over zeros change nothing: so filling a file is cheap. */
		if (sector != NULL || run_get(&inode->seen, i) != NULL ||
		    run_get(&inode->durable, i) != NULL || is_pending(inode, i)) {
			add_pending(inode, i, sector_ref(sector));
			run_set(&inode->seen, i, sector);
		}
		offset += part;
		bytes += part;
		len -= part;
	}
}

/* Takes what waits for sectors [first, end) off the list, making it durable if `keep`. */
static void settle_range(struct inode *inode, uint64_t first, uint64_t end, bool keep) {
	uint32_t left = 0;
	for (uint32_t i = 0; i < inode->pending_count; i++) {
		struct pending pending = inode->pending[i];
		if (pending.at < first || pending.at >= end)
			inode->pending[left++] = pending;
		else if (keep)
			run_set(&inode->durable, pending.at, pending.sector);
		else
			sector_drop(pending.sector);
	}
	inode->pending_count = left;
}

void sim_inode_settle(struct sim_disk *disk, uint32_t slot, uint64_t offset, uint64_t len) {
	struct inode *inode = inode_own(disk, slot);
	settle_range(inode, offset / HF_SECTOR, (offset + len - 1) / HF_SECTOR + 1, true);
	uint64_t size = offset + len < inode->size ? offset + len : inode->size;
	if (size > inode->durable_size)
		inode->durable_size = size;
}

void sim_inode_betray(struct sim_disk *disk, uint32_t slot, uint64_t offset, uint64_t len,
		      struct sim_random *random, uint32_t keep_one_in) {
	struct inode *inode = inode_own(disk, slot);
	uint64_t first = offset / HF_SECTOR, end = first + (len - 1) / HF_SECTOR + 1;
	uint32_t left = 0;
	inode->betrayed = true;
	for (uint32_t i = 0; i < inode->pending_count; i++) {
		struct pending pending = inode->pending[i];
		if (pending.at < first || pending.at >= end)
			inode->pending[left++] = pending;
		else if (sim_once_in(random, keep_one_in))
			run_set(&inode->durable, pending.at, pending.sector);
		else
			sector_drop(pending.sector);
	}
	inode->pending_count = left;
	if (sim_once_in(random, keep_one_in))
		inode->durable_size = inode->size;
}

void sim_inode_reveal(struct sim_disk *disk, uint32_t slot) {
	if (!disk->inodes[slot]->betrayed)
		return;
	struct inode *inode = inode_own(disk, slot);
	run_free(&inode->seen);
	inode->seen = run_copy(&inode->durable);
	for (uint32_t i = 0; i < inode->pending_count; i++)
		run_set(&inode->seen, inode->pending[i].at, sector_ref(inode->pending[i].sector));
	if (inode->pending_count == 0)
		inode->size = inode->durable_size;
	inode->betrayed = false;
}

void sim_inode_damage(struct sim_disk *disk, uint32_t slot, uint64_t offset, const uint8_t *bytes,
		      size_t len) {
	struct inode *inode = inode_own(disk, slot);
	for (size_t done = 0; done < len;) {
		uint8_t whole[HF_SECTOR];
		uint32_t i = (uint32_t)((offset + done) / HF_SECTOR);
		size_t within = (offset + done) % HF_SECTOR;
		size_t part = HF_SECTOR - within < len - done ? HF_SECTOR - within : len - done;
		sim_inode_read(inode, (uint64_t)i * HF_SECTOR, whole, HF_SECTOR);
		memcpy(whole + within, bytes + done, part);
		settle_range(inode, i, i + 1, false);
		struct sector *sector = sector_new(whole);
		run_set(&inode->seen, i, sector_ref(sector));
		run_set(&inode->durable, i, sector);
		done += part;
	}
}

/* ---- writes that land late ---- */

/* Forgets the last write that waits for sector `i`; false if none does. */
static bool unsee(struct inode *inode, uint32_t i) {
	struct sector *before = run_get(&inode->durable, i);
	uint32_t last = inode->pending_count;
	for (uint32_t j = 0; j < inode->pending_count; j++) {
		if (inode->pending[j].at != i)
			continue;
		if (last < inode->pending_count)
			before = inode->pending[last].sector;
		last = j;
	}
	if (last == inode->pending_count)
		return false;
	run_set(&inode->seen, i, sector_ref(before));
	sector_drop(inode->pending[last].sector);
	inode->pending_count--;
	memmove(inode->pending + last, inode->pending + last + 1,
		(inode->pending_count - last) * sizeof(*inode->pending));
	return true;
}

void sim_disk_delay(struct sim_disk *disk, uint32_t slot, uint64_t offset, size_t len) {
	HF_ASSERT((offset | len) % HF_SECTOR == 0);
	if (sim_disk_is_late(disk) || disk->inodes[slot]->betrayed)
		return;
	struct inode *inode = inode_own(disk, slot);
	uint8_t *bytes = malloc(len);
	HF_ASSERT(bytes != NULL);
	sim_inode_read(inode, offset, bytes, len);
	bool late = false;
	for (uint64_t at = offset; at < offset + len; at += HF_SECTOR)
		late |= unsee(inode, (uint32_t)(at / HF_SECTOR));
	if (late)
		disk->late = (struct late){ slot, offset, len, bytes };
	else
		free(bytes);
}

/* As a write that is not durable yet. */
static void arrive(struct sim_disk *disk) {
	struct late late = disk->late;
	disk->late.bytes = NULL;
	sim_inode_write(disk, late.slot, late.offset, late.bytes, late.len);
	free(late.bytes);
}

void sim_disk_land(struct sim_disk *disk) {
	arrive(disk);
	sim_inode_settle(disk, disk->late.slot, disk->late.offset, disk->late.len);
}

/* ---- names ---- */

/* Its index, or names->count. */
static uint32_t find_name(const struct names *names, const char *text) {
	uint64_t hash = sim_text_hash(text);
	uint32_t i = 0;
	while (i < names->count &&
	       (names->at[i].hash != hash || strcmp(names->at[i].text, text) != 0))
		i++;
	return i;
}

void sim_names_copy(struct names *to, const struct names *from) {
	to->count = from->count;
	memcpy(to->at, from->at, from->count * sizeof(*from->at));
}

static void put_name(struct names *names, const char *text, uint32_t slot) {
	uint32_t i = find_name(names, text);
	HF_ASSERT(i < NAMES_MAX && strlen(text) < sizeof(names->at[i].text));
	if (i == names->count) {
		strcpy(names->at[names->count++].text, text);
		names->at[i].hash = sim_text_hash(text);
	}
	names->at[i].slot = slot;
}

/* A rename or removal of what an earlier, lost change would have made does nothing. */
static void apply_change(struct names *names, const struct change *change) {
	uint32_t from = find_name(names, change->from);
	if (change->kind == CHANGE_CREATE) {
		put_name(names, change->from, change->slot);
	} else if (from < names->count) {
		uint32_t slot = names->at[from].slot;
		names->at[from] = names->at[--names->count];
		if (change->kind == CHANGE_RENAME)
			put_name(names, change->to, slot);
	}
}

static void add_change(struct sim_disk *disk, uint32_t at, const struct change *change) {
	struct directory *dir = &disk->dirs[at];
	HF_ASSERT(dir->change_count < CHANGES_MAX);
	dir->changes[dir->change_count++] = *change;
	apply_change(&dir->seen, change);
}

bool sim_dir_find(const struct sim_disk *disk, uint32_t dir, const char *text, uint32_t *ret_slot) {
	const struct names *names = &disk->dirs[dir].seen;
	uint32_t i = find_name(names, text);
	if (i < names->count)
		*ret_slot = names->at[i].slot;
	return i < names->count;
}

uint32_t sim_dir_create(struct sim_disk *disk, uint32_t dir, const char *text) {
	struct change change = { .kind = CHANGE_CREATE, .slot = inode_new(disk) };
	hf_text_copy(change.from, sizeof(change.from), text);
	add_change(disk, dir, &change);
	return change.slot;
}

void sim_dir_rename(struct sim_disk *disk, uint32_t dir, const char *from, const char *to) {
	struct change change = { .kind = CHANGE_RENAME };
	hf_text_copy(change.from, sizeof(change.from), from);
	hf_text_copy(change.to, sizeof(change.to), to);
	add_change(disk, dir, &change);
}

void sim_dir_remove(struct sim_disk *disk, uint32_t dir, const char *text) {
	struct change change = { .kind = CHANGE_REMOVE };
	hf_text_copy(change.from, sizeof(change.from), text);
	add_change(disk, dir, &change);
}

void sim_dir_settle(struct sim_disk *disk, uint32_t at, uint32_t keep, bool forget) {
	struct directory *dir = &disk->dirs[at];
	if (keep > dir->change_count)
		keep = dir->change_count;
	for (uint32_t i = 0; i < keep; i++)
		apply_change(&dir->durable, &dir->changes[i]);
	dir->change_count = forget ? 0 : dir->change_count - keep;
	memmove(dir->changes, dir->changes + keep, dir->change_count * sizeof(*dir->changes));
}

/* ---- disks ---- */

static struct sim_disk *spare_disks;

struct sim_disk *sim_disk_new(void) {
	struct sim_disk *disk = spare_disks;
	if (disk != NULL)
		spare_disks = disk->next_spare;
	else
		disk = malloc(sizeof(*disk));
	HF_ASSERT(disk != NULL);
	disk->slots = disk->dir_count = 0;
	disk->late.bytes = NULL;
	return disk;
}

static void copy_dir(struct directory *to, const struct directory *from) {
	memcpy(to, from, offsetof(struct directory, seen));
	memcpy(to->changes, from->changes, from->change_count * sizeof(*from->changes));
	sim_names_copy(&to->seen, &from->seen);
	sim_names_copy(&to->durable, &from->durable);
}

struct sim_disk *sim_disk_clone(struct sim_disk *disk) {
	struct sim_disk *clone = sim_disk_new();
	clone->slots = disk->slots;
	memset(clone->opened, 0, disk->slots * sizeof(*clone->opened));
	for (uint32_t i = 0; i < disk->slots; i++) {
		clone->inodes[i] = disk->inodes[i];
		if (clone->inodes[i] != NULL)
			clone->inodes[i]->refs++;
	}
	clone->dir_count = disk->dir_count;
	for (uint32_t i = 0; i < disk->dir_count; i++)
		copy_dir(&clone->dirs[i], &disk->dirs[i]);
	clone->late = disk->late;
	if (sim_disk_is_late(disk)) {
		clone->late.bytes = malloc(disk->late.len);
		HF_ASSERT(clone->late.bytes != NULL);
		memcpy(clone->late.bytes, disk->late.bytes, disk->late.len);
	}
	return clone;
}

void sim_disk_free(struct sim_disk *disk) {
	if (disk == NULL)
		return;
	for (uint32_t i = 0; i < disk->slots; i++)
		inode_drop(disk->inodes[i]);
	free(disk->late.bytes);
	disk->next_spare = spare_disks;
	spare_disks = disk;
}

/* ---- a power cut ---- */

/* How much of what was not synced the cut keeps: the shapes that have found bugs in others. */
enum keep { KEEP_NONE, KEEP_ALL, KEEP_FIRST, KEEP_LAST, KEEP_HALF, KEEP_FEW, KEEP_MOST, KEEPS };

struct cutter {
	struct sim_random random;
	uint64_t kept; /* hash */
	enum keep keep;
	uint32_t total, done, turn; /* KEEP_FIRST, KEEP_LAST: where it turns */
};

static bool keeps(struct cutter *cutter) {
	uint32_t i = cutter->done++;
	switch (cutter->keep) {
	case KEEP_NONE:
		return false;
	case KEEP_ALL:
		return true;
	case KEEP_FIRST:
		return i < cutter->turn;
	case KEEP_LAST:
		return i >= cutter->turn;
	case KEEP_HALF:
		return sim_once_in(&cutter->random, 2);
	case KEEP_FEW:
		return sim_once_in(&cutter->random, cutter->total);
	default:
		return !sim_once_in(&cutter->random, cutter->total);
	}
}

static void mix(uint64_t *hash, uint64_t value) {
	*hash = (*hash ^ value) * 0x9e3779b97f4a7c15u;
	*hash ^= *hash >> 29;
}

static void cut_inode(struct cutter *cutter, struct inode *inode) {
	cutter->total = inode->pending_count;
	cutter->done = 0;
	cutter->keep = (enum keep)sim_below(&cutter->random, KEEPS);
	cutter->turn = sim_below(&cutter->random, cutter->total + 1);
	for (uint32_t i = 0; i < inode->pending_count; i++) {
		struct pending pending = inode->pending[i];
		if (keeps(cutter)) {
			mix(&cutter->kept, i + 1);
			run_set(&inode->durable, pending.at, pending.sector);
		} else {
			sector_drop(pending.sector);
		}
	}
	inode->pending_count = 0;
	if (inode->size != inode->durable_size) {
		uint64_t sectors = (inode->size - inode->durable_size) / HF_SECTOR;
		uint32_t which = sim_below(&cutter->random, 3);
		if (which == 0)
			inode->durable_size = inode->size;
		else if (which == 1 && sectors > 0)
			inode->durable_size +=
				HF_SECTOR * sim_below(&cutter->random, (uint32_t)sectors);
		mix(&cutter->kept, inode->durable_size);
	}
	inode->size = inode->durable_size;
	/* What was kept behind the end is not there. */
	for (uint32_t i = (uint32_t)((inode->size + HF_SECTOR - 1) / HF_SECTOR);
	     i < inode->durable.count; i++)
		run_set(&inode->durable, i, NULL);
	run_free(&inode->seen);
	inode->seen = run_copy(&inode->durable);
}

static void cut_dir(struct cutter *cutter, struct sim_disk *disk, uint32_t at) {
	struct directory *dir = &disk->dirs[at];
	uint32_t keep = sim_below(&cutter->random, dir->change_count + 1);
	mix(&cutter->kept, keep);
	if (!dir->made_durably) {
		bool kept = sim_once_in(&cutter->random, 2);
		mix(&cutter->kept, kept);
		dir->made = dir->made_durably = kept;
		if (!kept)
			dir->durable.count = keep = 0;
	}
	sim_dir_settle(disk, at, keep, true);
	sim_names_copy(&dir->seen, &dir->durable);
}

static bool is_clean(const struct inode *inode) {
	return inode->pending_count == 0 && inode->size == inode->durable_size && !inode->betrayed;
}

uint64_t sim_disk_cut(struct sim_disk *disk, uint64_t seed) {
	struct cutter cutter = { .random = { seed } };
	if (sim_disk_is_late(disk))
		arrive(disk);
	memset(disk->opened, 0, disk->slots * sizeof(*disk->opened));
	for (uint32_t i = 0; i < disk->dir_count; i++)
		cut_dir(&cutter, disk, i);
	collect(disk);
	for (uint32_t i = 0; i < disk->slots; i++) {
		if (disk->inodes[i] == NULL || is_clean(disk->inodes[i]))
			continue;
		mix(&cutter.kept, i);
		cut_inode(&cutter, inode_own(disk, i));
		disk->inodes[i]->betrayed = false;
	}
	return cutter.kept;
}

void sim_disk_settle(struct sim_disk *disk) {
	if (sim_disk_is_late(disk))
		arrive(disk);
	for (uint32_t i = 0; i < disk->dir_count; i++) {
		disk->dirs[i].made_durably = disk->dirs[i].made;
		sim_dir_settle(disk, i, CHANGES_MAX, true);
	}
	for (uint32_t i = 0; i < disk->slots; i++)
		if (disk->inodes[i] != NULL)
			sim_inode_settle(disk, i, 0, FILE_END);
}

/* ---- for tests ---- */

static bool find_file(const struct sim_disk *disk, const char *path, const char *name,
		      uint32_t *ret_slot) {
	for (uint32_t i = 0; i < disk->dir_count; i++)
		if (strcmp(disk->dirs[i].path, path) == 0 && disk->dirs[i].made)
			return sim_dir_find(disk, i, name, ret_slot);
	return false;
}

size_t sim_disk_list(const struct sim_disk *disk, const char *path, struct sim_name *ret,
		     size_t max) {
	size_t count = 0;
	for (uint32_t i = 0; i < disk->dir_count; i++) {
		const struct directory *dir = &disk->dirs[i];
		if (strcmp(dir->path, path) != 0 || !dir->made)
			continue;
		for (uint32_t j = 0; j < dir->seen.count && count < max; j++, count++) {
			memcpy(ret[count].text, dir->seen.at[j].text, sizeof(ret[count].text));
			ret[count].size = sim_inode(disk, dir->seen.at[j].slot)->size;
		}
	}
	return count;
}

bool sim_disk_peek(const struct sim_disk *disk, const char *path, const char *name, uint64_t offset,
		   void *ret, size_t len) {
	uint32_t slot;
	if (!find_file(disk, path, name, &slot) || sim_inode(disk, slot)->size < offset + len)
		return false;
	sim_inode_read(sim_inode(disk, slot), offset, ret, len);
	return true;
}

bool sim_disk_poke(struct sim_disk *disk, const char *path, const char *name, uint64_t offset,
		   const void *bytes, size_t len) {
	uint32_t slot;
	if (!find_file(disk, path, name, &slot) || sim_inode(disk, slot)->size < offset + len)
		return false;
	sim_inode_damage(disk, slot, offset, bytes, len);
	return true;
}

void sim_disk_unlink(struct sim_disk *disk, const char *path, const char *name) {
	for (uint32_t i = 0; i < disk->dir_count; i++) {
		uint32_t slot;
		if (strcmp(disk->dirs[i].path, path) != 0 || !sim_dir_find(disk, i, name, &slot))
			continue;
		sim_dir_remove(disk, i, name);
		sim_dir_settle(disk, i, CHANGES_MAX, true);
	}
}
