/*
 * disk.c - a disk whose plug can be pulled: a FUSE file system with two files.
 *
 *     disk -f -s MOUNTPOINT      with the disk's first contents in the file $DISK_IMAGE
 *
 * `disk` is the disk, made to lie under a loop device. What is written waits in a cache until a
 * flush (FUSE's fsync) reaches it. `control` takes one command per write:
 *
 *     cut-after N KEEP SEED   pulls the plug within the Nth write or flush from now; 0: at once
 *     fail-write N            fails the Nth write from now: nothing of it is kept
 *     fail-flush N            fails the Nth flush from now, and all after it
 *     restart                 the power is back: the disk has what was durable
 *     reset                   the same, with the first contents
 *
 * and says when read: "up|cut writes N flushes N kept N lost N failed N". From the cut on, all I/O
 * fails. KEEP says what of the cache survives it, in sectors of 512 bytes: `nothing`; `some` (each
 * sector by the toss of a coin, so torn and reordered); `first` (whole writes in order, the last of
 * them torn); `all`.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define SECTOR 512u

enum keep { KEEP_NOTHING, KEEP_SOME, KEEP_FIRST, KEEP_ALL };
static const char *const keep_names[] = { "nothing", "some", "first", "all" };

/* A write in the cache; its bytes are at `at` of the arena. */
struct write {
	size_t offset, len, at;
};

struct disk {
	size_t size;
	uint8_t *first;	  /* what it had at the start */
	uint8_t *durable; /* what a cut leaves */
	uint8_t *shown;	  /* what a read gets: the cache over the durable bytes */
	struct write *writes;
	size_t write_count, write_cap;
	uint8_t *arena;
	size_t arena_len, arena_cap;
	bool cut, flush_broken;
	/* Countdowns; 0: not armed. */
	uint64_t cut_after, fail_write, fail_flush;
	enum keep keep;
	uint64_t random;
	/* Since the start; of these sectors at cuts. */
	uint64_t write_total, flush_total, kept, lost, failed;
};

static struct disk disk;

static void *grown(void *old, size_t size) {
	void *ret = realloc(old, size);
	if (ret == NULL)
		abort();
	return ret;
}

/* splitmix64 */
static uint64_t next_random(void) {
	uint64_t z = disk.random += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* ---- the cache ---- */

static void cache_write(size_t offset, const void *bytes, size_t len) {
	if (disk.write_count == disk.write_cap) {
		disk.write_cap = disk.write_cap == 0 ? 64 : 2 * disk.write_cap;
		disk.writes = grown(disk.writes, disk.write_cap * sizeof(*disk.writes));
	}
	while (disk.arena_len + len > disk.arena_cap) {
		disk.arena_cap = disk.arena_cap == 0 ? 1 << 20 : 2 * disk.arena_cap;
		disk.arena = grown(disk.arena, disk.arena_cap);
	}
	disk.writes[disk.write_count++] = (struct write){ offset, len, disk.arena_len };
	memcpy(disk.arena + disk.arena_len, bytes, len);
	disk.arena_len += len;
	memcpy(disk.shown + offset, bytes, len);
}

static void cache_forget(void) {
	for (size_t i = 0; i < disk.write_count; i++)
		memcpy(disk.shown + disk.writes[i].offset, disk.durable + disk.writes[i].offset,
		       disk.writes[i].len);
	disk.write_count = disk.arena_len = 0;
}

static void cache_flush(void) {
	for (size_t i = 0; i < disk.write_count; i++)
		memcpy(disk.durable + disk.writes[i].offset, disk.arena + disk.writes[i].at,
		       disk.writes[i].len);
	disk.write_count = disk.arena_len = 0;
}

/* What of the cache is durable after all, as if the disk had been about to write it. */
static void pull_the_plug(void) {
	uint64_t sectors = disk.arena_len / SECTOR;
	uint64_t first = sectors == 0 ? 0 : next_random() % (sectors + 1);
	uint64_t seen = 0;
	for (size_t i = 0; i < disk.write_count; i++) {
		const struct write *write = &disk.writes[i];
		for (size_t at = 0; at < write->len; at += SECTOR, seen++) {
			bool keeps = disk.keep == KEEP_ALL ||
				     (disk.keep == KEEP_SOME && next_random() % 2 == 0) ||
				     (disk.keep == KEEP_FIRST && seen < first);
			if (keeps)
				memcpy(disk.durable + write->offset + at,
				       disk.arena + write->at + at, SECTOR);
			keeps ? disk.kept++ : disk.lost++;
		}
	}
	cache_forget();
	disk.cut = true;
	disk.cut_after = disk.fail_write = disk.fail_flush = 0;
}

/* True if the countdown is armed and ends with this. */
static bool is_due(uint64_t *countdown) {
	return *countdown > 0 && --*countdown == 0;
}

/* ---- control ---- */

static bool parse_cut(const char *text) {
	char name[16];
	unsigned long long count, seed;
	if (sscanf(text, "cut-after %llu %15s %llu", &count, name, &seed) != 3)
		return false;
	for (unsigned i = 0; i < sizeof(keep_names) / sizeof(keep_names[0]); i++) {
		if (strcmp(name, keep_names[i]) != 0)
			continue;
		disk.keep = i;
		disk.random = seed;
		disk.cut_after = count;
		if (count == 0 && !disk.cut)
			pull_the_plug();
		return true;
	}
	return false;
}

static bool obey(const char *text) {
	unsigned long long count;
	if (sscanf(text, "fail-write %llu", &count) == 1) {
		disk.fail_write = count;
	} else if (sscanf(text, "fail-flush %llu", &count) == 1) {
		disk.fail_flush = count;
	} else if (strcmp(text, "restart") == 0 || strcmp(text, "reset") == 0) {
		if (strcmp(text, "reset") == 0)
			memcpy(disk.durable, disk.first, disk.size);
		disk.write_count = disk.arena_len = 0;
		memcpy(disk.shown, disk.durable, disk.size);
		disk.cut = disk.flush_broken = false;
		disk.cut_after = disk.fail_write = disk.fail_flush = 0;
	} else {
		return parse_cut(text);
	}
	return true;
}

static int report(char *buf, size_t len) {
	char text[160];
	int text_len = snprintf(text, sizeof(text),
				"%s writes %llu flushes %llu kept %llu lost %llu failed %llu\n",
				disk.cut ? "cut" : "up", (unsigned long long)disk.write_total,
				(unsigned long long)disk.flush_total, (unsigned long long)disk.kept,
				(unsigned long long)disk.lost, (unsigned long long)disk.failed);
	size_t got = (size_t)text_len < len ? (size_t)text_len : len;
	memcpy(buf, text, got);
	return (int)got;
}

/* ---- FUSE ---- */

static bool is_disk(const char *path) {
	return strcmp(path, "/disk") == 0;
}

static bool is_control(const char *path) {
	return strcmp(path, "/control") == 0;
}

static int on_getattr(const char *path, struct stat *ret, struct fuse_file_info *info) {
	if (strcmp(path, "/") == 0)
		*ret = (struct stat){ .st_mode = S_IFDIR | 0700, .st_nlink = 2 };
	else if (is_disk(path))
		*ret = (struct stat){ .st_mode = S_IFREG | 0600,
				      .st_nlink = 1,
				      .st_size = (off_t)disk.size };
	else if (is_control(path))
		*ret = (struct stat){ .st_mode = S_IFREG | 0600, .st_nlink = 1 };
	else
		return -ENOENT;
	return 0;
}

static int on_open(const char *path, struct fuse_file_info *info) {
	info->direct_io = 1; /* the kernel keeps no pages: every write comes here, in order */
	return is_disk(path) || is_control(path) ? 0 : -ENOENT;
}

static int on_read(const char *path, char *buf, size_t len, off_t at, struct fuse_file_info *info) {
	size_t offset = (size_t)at;
	if (is_control(path))
		return offset == 0 ? report(buf, len) : 0;
	if (disk.cut)
		return -EIO;
	if (offset >= disk.size)
		return 0;
	size_t got = disk.size - offset < len ? disk.size - offset : len;
	memcpy(buf, disk.shown + offset, got);
	return (int)got;
}

static int on_write(const char *path, const char *buf, size_t len, off_t at,
		    struct fuse_file_info *info) {
	size_t offset = (size_t)at;
	if (is_control(path)) {
		char text[80];
		snprintf(text, sizeof(text), "%.*s", (int)len, buf);
		return obey(text) ? (int)len : -EINVAL;
	}
	if (disk.cut)
		return -EIO;
	if (offset % SECTOR != 0 || len % SECTOR != 0 || offset > disk.size ||
	    len > disk.size - offset)
		return -EINVAL;
	disk.write_total++;
	if (is_due(&disk.fail_write)) {
		disk.failed++;
		return -EIO;
	}
	cache_write(offset, buf, len);
	if (is_due(&disk.cut_after)) {
		pull_the_plug();
		return -EIO;
	}
	return (int)len;
}

static int on_fsync(const char *path, int only_data, struct fuse_file_info *info) {
	if (is_control(path))
		return 0;
	if (disk.cut)
		return -EIO;
	disk.flush_total++;
	if (disk.flush_broken || is_due(&disk.fail_flush)) {
		disk.flush_broken = true;
		disk.failed++;
		return -EIO;
	}
	if (is_due(&disk.cut_after)) {
		pull_the_plug();
		return -EIO;
	}
	cache_flush();
	return 0;
}

/*
 * Once mounted, this process goes into a mount namespace of its own. In the one of the test it
 * could be the last to die: then it would have to unmount, while it dies, what needs it to be
 * written to, and would wait for itself for ever.
 */
static void *on_init(struct fuse_conn_info *connection, struct fuse_config *config) {
	if (unshare(CLONE_NEWNS) != 0) {
		perror("disk: no mount namespace");
		exit(1);
	}
	return NULL;
}

static const struct fuse_operations operations = {
	.init = on_init,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
};

static bool load(const char *path) {
	FILE *file = path == NULL ? NULL : fopen(path, "re");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		return false;
	disk.size = (size_t)ftell(file);
	rewind(file);
	disk.first = grown(NULL, disk.size);
	disk.durable = grown(NULL, disk.size);
	disk.shown = grown(NULL, disk.size);
	bool ok = fread(disk.first, 1, disk.size, file) == disk.size;
	fclose(file);
	return ok && disk.size % SECTOR == 0 && obey("reset");
}

int main(int argc, char **argv) {
	if (!load(getenv("DISK_IMAGE"))) {
		fprintf(stderr, "disk: $DISK_IMAGE must name a file of whole sectors of %u bytes\n",
			SECTOR);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return fuse_main(argc, argv, &operations, NULL);
}
