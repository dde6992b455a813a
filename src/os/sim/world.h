/*
 * world.h - a simulated world's insides, for the files of this folder.
 */
#ifndef HF_SIM_WORLD_H
#define HF_SIM_WORLD_H

#include <setjmp.h>

#include "os/disk.h"
#include "os/sim/image.h"

#define HANDLES_MAX 64u
#define EVENTS_MAX 16u
#define FIBERS_MAX 8u

/* An open file or directory. */
struct handle {
	enum { HANDLE_FREE, HANDLE_FILE, HANDLE_DIR, HANDLE_LOCK } kind;
	uint32_t at; /* slot of the inode; index of the directory */
	bool taken;  /* by hf_file_take */
};

/* What hf_memory_new and its like gave away, in a ring; 64 bytes, so that what follows is
 * aligned. */
struct block {
	struct block *next, *previous;
	size_t size;
	uint64_t pages; /* is what follows aligned to a page? */
	uint64_t pad[4];
};

struct fiber {
	enum { FIBER_FREE, FIBER_READY, FIBER_WAITS, FIBER_ENDED } state;
	const void *waits_for; /* a mutex, cond, fiber or event */
	uint64_t until_ns;     /* 0: for as long as it takes */
	void (*main)(void *arg);
	void *arg;
	struct stack *stack; /* NULL: the stack that sim_run was called on */
	jmp_buf at;
	/* AddressSanitizer's. */
	void *sanitizer;
	const void *stack_bottom;
	size_t stack_size;
};

struct sim {
	struct sim *below; /* the world that this one runs in, or NULL */
	struct sim_random random;
	struct sim_disk *disk;
	struct sim_faults faults;
	void (*hook)(void *arg, enum sim_op op);
	void *hook_arg;
	uint64_t room;
	uint64_t trace, io_count, alloc_count, fault_count, damage_count;
	uint64_t now_ns; /* monotonic */
	int64_t wall_ns; /* what the wall clock is ahead of it */
	uint64_t switches;
	char why[256];

	/* The process. */
	bool running;
	enum sim_end end;
	struct block blocks; /* the ring's anchor */
	struct handle handles[HANDLES_MAX];
	bool events_used[EVENTS_MAX], events[EVENTS_MAX];
	struct fiber fibers[FIBERS_MAX];
	uint32_t fiber; /* that runs */
	bool leaving;	/* fiber 0 shall go back to sim_run */
	uint32_t jumps; /* of the clock since fiber 0 ran */
	jmp_buf out;
	struct hf_flusher *flusher; /* with a write in flight, or NULL */
};

/* The world that is running. */
struct sim *sim_world(void);

/* world.c */
void sim_trace_add(struct sim *sim, uint64_t value);
/*
 * An operation of the disk begins. False: it shall fail, with `ret_errno`. `rate` is the fault's
 * that the operation is prone to.
 */
HF_MUST bool sim_io(struct sim *sim, enum sim_op op, uint64_t what, uint32_t rate, int *ret_errno);
/* Tells the hook. */
void sim_moment(struct sim *sim, enum sim_op op);
bool sim_strikes(struct sim *sim, uint32_t rate);
/* As sim_strikes, of faults that only detection is promised for. */
bool sim_damages(struct sim *sim, uint32_t rate);

/* thread.c */
void sim_fibers_begin(struct sim *sim);
/* Frees the stacks. Called on the stack of sim_run. */
void sim_fibers_end(struct sim *sim);
/* Goes back to sim_run, from whichever fiber. */
_Noreturn void sim_fibers_leave(struct sim *sim, enum sim_end end);
void sim_wait_for(struct sim *sim, const void *what, uint64_t until_ns);
void sim_wake_all(struct sim *sim, const void *what);

/* flush.c */
/* Completes the write that is in flight; false if there is none. */
bool sim_flusher_complete(struct sim *sim);

/* disk.c */
/* The inode behind an open file. */
uint32_t sim_slot(const struct sim *sim, const struct hf_file *file);
/* Writes, but not durably; or elsewhere, if that fault strikes. */
void sim_put(struct sim *sim, enum sim_op op, uint32_t slot, uint64_t offset, const void *bytes,
	     size_t len);
/* Makes it durable, or not, if that fault strikes. */
void sim_settle(struct sim *sim, uint32_t slot, uint64_t offset, uint64_t len);

/* memory.c */
/* Counts an allocation. */
bool sim_alloc_fails(struct sim *sim);
bool sim_memory_is_free(const struct sim *sim);
void sim_memory_free_all(struct sim *sim);

#endif
