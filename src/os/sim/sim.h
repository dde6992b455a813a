/*
 * sim.h - the simulated world: a disk, a clock, an allocator and a scheduler, all driven by one
 * seed.
 *
 * A program that is linked with this folder instead of os/real makes worlds (sim_new), runs a
 * process in one (sim_run), cuts its power (sim_cut) or kills it (sim_kill) at any moment, and runs
 * the next process on what is left. The functions of os/disk.h and its neighbours act on the world
 * that is running. The same seed gives the same world, to the last bit of I/O: sim_trace.
 *
 * Not thread-safe: everything happens in one thread of the system. Threads of the process are
 * fibers, which take turns where they lock, wait or do I/O.
 */
#ifndef HF_SIM_H
#define HF_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- chance ---- */

struct sim_random {
	uint64_t state;
};

static inline uint64_t sim_next(struct sim_random *random) {
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0..n-1 */
static inline uint32_t sim_below(struct sim_random *random, uint32_t n) {
	return (uint32_t)(((sim_next(random) >> 32) * n) >> 32);
}

/* True once in n times; never if n is 0. */
static inline bool sim_once_in(struct sim_random *random, uint32_t n) {
	return n != 0 && sim_below(random, n) == 0;
}

/* ---- the disk -------------------------------------------------------------------------------- */

/*
 * Files of 512-byte sectors, which are written whole or not at all. What was written is seen at
 * once, and survives a power cut for certain only when it was synced; the names in a directory only
 * when the directory was.
 */
struct sim_disk;
struct sim;

struct sim_disk *sim_disk_new(void);
/* Cheap: what is not changed is shared. */
struct sim_disk *sim_disk_clone(struct sim_disk *disk);
void sim_disk_free(struct sim_disk *disk);
/*
 * The power goes: of what was not synced, any sectors are kept (any older unsynced version of them,
 * too), and of each directory's unsynced changes the first few, as `seed` says. Returns a hash of
 * what was kept: two cuts of one disk with the same hash leave the same.
 */
uint64_t sim_disk_cut(struct sim_disk *disk, uint64_t seed);
/*
 * Of a world whose process is killed, on `disk`, its own or a clone: what was written stays, but
 * the write in flight may land later, in another process's time, as `seed` says.
 */
void sim_kill(const struct sim *sim, struct sim_disk *disk, uint64_t seed);
/* Everything counts as synced. */
void sim_disk_settle(struct sim_disk *disk);

/* A file as it is seen now, for tests that look at or damage bytes. */
struct sim_name {
	char text[64];
	uint64_t size;
};
/* The files of directory `path`, at most `max`; returns how many. */
size_t sim_disk_list(const struct sim_disk *disk, const char *path, struct sim_name *ret,
		     size_t max);
/* False if there is no such file, or `offset` + `len` is behind its end. */
bool sim_disk_peek(const struct sim_disk *disk, const char *path, const char *name, uint64_t offset,
		   void *ret, size_t len);
/* Likewise; changes the bytes, durably. */
bool sim_disk_poke(struct sim_disk *disk, const char *path, const char *name, uint64_t offset,
		   const void *bytes, size_t len);

/* Takes the name out of the directory, durably. */
void sim_disk_unlink(struct sim_disk *disk, const char *path, const char *name);

/* ---- faults ---------------------------------------------------------------------------------- */

/* What an operation was, for the hook and the counts. */
enum sim_op {
	SIM_OPEN,
	SIM_READ,
	SIM_WRITE,
	SIM_SYNC,
	SIM_FLUSH, /* a write that is durable when it returns */
	SIM_FILL,
	SIM_CREATE,
	SIM_RENAME,
	SIM_REMOVE,
	SIM_DIR_SYNC,
	SIM_MAKE_DIR,
	SIM_OP_COUNT,
};

/*
 * Once in how many operations each fault strikes; 0: never. Those of the first group are within
 * what is promised: nothing acknowledged may be lost. Those of the second can only be detected.
 */
struct sim_faults {
	uint32_t write_eio, sync_eio, read_eio, dir_eio; /* open, create, rename, remove, list */
	uint32_t short_write;
	uint32_t no_space; /* creating and filling */
	uint32_t no_memory;
	uint32_t clock_jump; /* per reading of the wall clock */

	uint32_t lost_write;  /* told to be durable, and is not */
	uint32_t misdirected; /* lands on another place of that file, or of another one */
	uint32_t rot_read;    /* a bit of what is read */
	uint32_t rot_rest;    /* a bit of what is durable, at some write */

	uint32_t slow_clock_ns; /* what a reading of the monotonic clock takes longer */

	bool no_direct; /* a file system without direct I/O */
	bool no_uring;	/* a kernel without io_uring */

	/* The n-th operation of the disk, or the n-th allocation (from 1) fails; 0: none. */
	uint64_t fail_io_at, fail_alloc_at;
	bool fail_for_ever; /* and all after it */
};

/* ---- worlds ---------------------------------------------------------------------------------- */

/* Owns the disk from then on. */
struct sim *sim_new(uint64_t seed, struct sim_disk *disk);
/* The disk, too. */
void sim_free(struct sim *sim);

enum sim_end {
	SIM_DONE,     /* main returned */
	SIM_CRASHED,  /* sim_crash was called */
	SIM_DEADLOCK, /* every thread waited for another one */
	SIM_HUNG,     /* they woke each other without end */
	SIM_LEFT,     /* main returned while threads ran, or files or memory were still held */
};

/*
 * Runs main(arg) as the world's process until it returns or crashes; what it still holds is let go.
 * Worlds may be run within worlds.
 */
enum sim_end sim_run(struct sim *sim, void (*main)(void *arg), void *arg);
/* For SIM_LEFT and the like: what was wrong, in words. */
const char *sim_why(const struct sim *sim);
/* Ends the process of the running world where it stands. Does not return. */
_Noreturn void sim_crash(void);
/*
 * After each change to the disk that is not yet durable, and before each sync: the moments at which
 * a crash can make a difference. The hook may clone the disk, or call sim_crash. NULL: none.
 */
void sim_set_hook(struct sim *sim, void (*hook)(void *arg, enum sim_op op), void *arg);

struct sim_disk *sim_disk_of(struct sim *sim);
/* Gives the world another disk, which it owns; frees the old one. Not while it runs. */
void sim_set_disk(struct sim *sim, struct sim_disk *disk);
struct sim_faults *sim_faults_of(struct sim *sim);
/* Room for new files, in bytes; UINT64_MAX (the default): endless. */
void sim_set_room(struct sim *sim, uint64_t bytes);
uint64_t sim_time_ns(const struct sim *sim);

/* A hash over all operations so far, their bytes, and all switches between threads. */
uint64_t sim_trace(const struct sim *sim);
/* Tells each operation, and what sim_say is given, to `line`; NULL (the default): to nobody. */
void sim_set_story(void (*line)(const char *line));
void sim_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t sim_io_count(const struct sim *sim);
uint64_t sim_alloc_count(const struct sim *sim);
/* How many faults struck so far. */
uint64_t sim_fault_count(const struct sim *sim);
/* How many of them only detection is promised for. */
uint64_t sim_damage_count(const struct sim *sim);

/* ---- for the process itself ---- */

/* Lets others run, perhaps. */
void sim_yield(void);
/* So much time passes at least, in which others run. */
void sim_sleep(uint64_t ns);
/* What is allocated while this is on outlives the process, and never fails. */
void sim_keep_memory(bool keep);
/* Waits until the event is signalled, or the flush behind it has completed. */
void sim_event_wait(int fd);

#endif
