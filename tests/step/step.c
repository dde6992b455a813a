/*
 * step.c - a kill at every instruction of the commit path.
 *
 *     step [--flush auto|thread] [--groups FROM-TO] [--segment-end] [--kills N] [--seed N]
 *
 * A child sends two groups of events (load.c) and is stepped, all its threads, instruction by
 * instruction. After each, the question is: had kill -9 struck here, would everything be there that
 * was acknowledged by now? kill -9 leaves what the files hold, and only system calls and the write
 * that is on its way change that. So after each instruction the bytes of the log where the groups
 * go are compared, after each system call all files; and every state not seen before is copied and
 * recovered from, for real. Then come real kills at random instructions, each in a run of its own.
 *
 * First of all, a child that acknowledges too early must be caught: the test can fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "load.h"

#define SKIPPED 77
#define THREADS_MAX 16u
#define STATES_MAX 4096u
#define GROUP_MAX 64u

typedef unsigned long long ull;

/* A state of the data directory, and the LSN that recovery from it ends at. */
struct state {
	uint64_t hash, lsn;
};

/* Where the path writes: bytes [begin, end) of a segment's file, as the kernel shows them. */
struct window {
	char name[32];
	const uint8_t *mapped; /* the whole file */
	size_t begin, end;
};

/* One scenario, and the child that runs it. */
struct run {
	struct plan plan;
	struct shared *shared;
	char dir[32], data_dir[64], copy_dir[64];
	struct expected *expected; /* by LSN */
	struct state states[STATES_MAX];
	uint32_t state_count;
	struct hf_err err;

	pid_t child;
	pid_t threads[THREADS_MAX];
	uint32_t thread_count;
	struct window windows[2];
	struct files files; /* as they were last seen */
	uint64_t lsn;	    /* that these recover to */
	uint64_t instructions, system_calls;
};

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void clean_up(struct run *run) {
	files_free(&run->files);
	files_remove(run->data_dir);
	files_remove(run->copy_dir);
	rmdir(run->dir);
}

/* ---- what a kill would leave ---- */

/* Recovers from run->files, if this state is new. */
static bool learn_state(struct run *run) {
	uint64_t hash = files_hash(&run->files);
	for (uint32_t i = 0; i < run->state_count; i++) {
		if (run->states[i].hash == hash) {
			run->lsn = run->states[i].lsn;
			return true;
		}
	}
	uint64_t first = run->shared->first_event;
	files_put(&run->files, run->copy_dir);
	if (!load_recover(run->copy_dir, first, first + 2 * run->plan.group, run->expected,
			  &run->lsn, &run->err))
		return false;
	if (run->state_count == STATES_MAX)
		return hf_fail(&run->err, HF_TOOBIG, "more than %u states of the disk", STATES_MAX);
	run->states[run->state_count++] = (struct state){ .hash = hash, .lsn = run->lsn };
	return true;
}

static bool holds_acknowledged(struct run *run) {
	uint64_t acknowledged = run->shared->acknowledged;
	return acknowledged <= run->lsn ||
	       hf_fail(&run->err, HF_CORRUPT, "LSN %llu is acknowledged, and a kill leaves %llu",
		       (ull)acknowledged, (ull)run->lsn);
}

static bool windows_differ(const struct run *run) {
	for (uint32_t i = 0; i < 2; i++) {
		const struct window *window = &run->windows[i];
		const struct file_bytes *seen = files_find(&run->files, window->name);
		if (window->mapped != NULL && seen != NULL &&
		    memcmp(window->mapped + window->begin, seen->bytes + window->begin,
			   window->end - window->begin) != 0)
			return true;
	}
	return false;
}

/* After an instruction: is everything there that was acknowledged by now? */
static bool check(struct run *run, bool system_call) {
	if (system_call || windows_differ(run)) {
		files_take(run->data_dir, &run->files);
		if (!learn_state(run))
			return false;
	}
	return holds_acknowledged(run);
}

static void map_windows(struct run *run) {
	uint64_t segment = run->shared->begin_position / SEGMENT_SIZE;
	size_t len = 4096 + (size_t)run->plan.group * 1024;
	for (uint32_t i = 0; i < 2; i++) {
		struct window *window = &run->windows[i];
		char path[128];
		snprintf(window->name, sizeof(window->name), "log-%016llx.hfl", (ull)segment + i);
		snprintf(path, sizeof(path), "%s/%s", run->data_dir, window->name);
		window->begin = i == 0 ? run->shared->begin_position % SEGMENT_SIZE : 0;
		window->end =
			window->begin + len < SEGMENT_SIZE ? window->begin + len : SEGMENT_SIZE;
		window->mapped = NULL;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue; /* not made yet: seen after the system calls that make it */
		void *mapped = mmap(NULL, SEGMENT_SIZE, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		if (mapped == MAP_FAILED)
			die("mmap");
		window->mapped = mapped;
	}
}

static void unmap_windows(struct run *run) {
	for (uint32_t i = 0; i < 2; i++)
		if (run->windows[i].mapped != NULL)
			munmap((void *)(uintptr_t)run->windows[i].mapped, SEGMENT_SIZE);
}

/* ---- the child ---- */

static void trace(enum __ptrace_request request, pid_t thread, uintptr_t data) {
	/* ESRCH: killed meanwhile. */
	if (ptrace(request, thread, NULL, (void *)data) != 0 && errno != ESRCH)
		die("ptrace");
}

static void know_thread(struct run *run, pid_t thread) {
	for (uint32_t i = 0; i < run->thread_count; i++)
		if (run->threads[i] == thread)
			return;
	if (run->thread_count == THREADS_MAX) {
		fprintf(stderr, "step: more than %u threads\n", THREADS_MAX);
		exit(1);
	}
	run->threads[run->thread_count++] = thread;
}

/* Waits until some thread stops, and returns it; 0: the child has ended. */
static pid_t wait_stop(struct run *run, int *ret_signal) {
	int status;
	pid_t thread = waitpid(-1, &status, __WALL);
	while (thread > 0 && !WIFSTOPPED(status)) {
		if (thread == run->child)
			return 0;
		thread = waitpid(-1, &status, __WALL);
	}
	if (thread < 0)
		return 0;
	know_thread(run, thread);
	*ret_signal = WSTOPSIG(status);
	return thread;
}

static void kill_child(struct run *run) {
	int status;
	kill(run->child, SIGKILL);
	while (waitpid(-1, &status, __WALL) > 0 || errno == EINTR)
		;
}

static _Noreturn void skip(struct run *run, const char *why) {
	printf("SKIP: %s\n", why);
	clean_up(run);
	exit(SKIPPED);
}

/* Starts the child and lets it run to the beginning of the path; there, all its threads stand. */
static bool start(struct run *run) {
	files_remove(run->data_dir);
	memset(run->shared, 0, sizeof(*run->shared));
	run->thread_count = 0;
	run->instructions = run->system_calls = 0;
	run->child = fork();
	if (run->child < 0)
		die("fork");
	if (run->child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(SKIPPED);
		raise(SIGSTOP);
		load_run(run->data_dir, &run->plan, run->shared);
	}
	int signal = 0, status;
	if (waitpid(run->child, &status, __WALL) != run->child || !WIFSTOPPED(status))
		skip(run, "ptrace is not allowed here");
	know_thread(run, run->child);
	trace(PTRACE_SETOPTIONS, run->child, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
	trace(PTRACE_CONT, run->child, 0);
	for (;;) {
		pid_t thread = wait_stop(run, &signal);
		if (thread == 0)
			return hf_fail(&run->err, HF_IO, "the child ended before its path began");
		if (thread == run->child && signal == SIGSTOP)
			break;
		trace(PTRACE_CONT, thread, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
	}
	if (run->plan.flush == HF_FLUSH_AUTO && !run->shared->io_uring) {
		kill_child(run);
		skip(run, "needs io_uring, which is not available here");
	}
	for (uint32_t i = 0; i < run->thread_count; i++) {
		if (run->threads[i] == run->child)
			continue;
		syscall(SYS_tgkill, run->child, run->threads[i], SIGSTOP);
		if (waitpid(run->threads[i], &status, __WALL) != run->threads[i])
			die("waitpid");
	}
	return true;
}

/* Did this stop follow a system call? The kernel keeps its number then, and -1 otherwise. */
static bool after_system_call(pid_t thread) {
	errno = 0;
	long number = ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user, regs.orig_rax), NULL);
	return errno == 0 && number >= 0;
}

/*
 * Steps all threads to the path's end, or through `limit` instructions. With `checked`, asks after
 * each.
 */
static bool step(struct run *run, bool checked, uint64_t limit) {
	for (uint32_t i = 0; i < run->thread_count; i++)
		trace(PTRACE_SINGLESTEP, run->threads[i], 0);
	while (run->instructions < limit) {
		int signal = 0;
		pid_t thread = wait_stop(run, &signal);
		if (thread == 0)
			return hf_fail(&run->err, HF_IO, "the child ended within its path");
		if (thread == run->child && run->shared->finished)
			return true;
		bool system_call = checked && signal == SIGTRAP && after_system_call(thread);
		run->instructions++;
		run->system_calls += system_call;
		if (checked && !check(run, system_call))
			return false;
		trace(PTRACE_SINGLESTEP, thread,
		      signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
	}
	return true;
}

/* ---- scenarios ---- */

/* What each LSN must leave, once a first child has told how many events come before the path. */
static bool learn(struct run *run) {
	bool ok = start(run);
	kill_child(run);
	if (!ok)
		return false;
	uint64_t events = run->shared->first_event + 2 * run->plan.group;
	run->expected = calloc(events + 2, sizeof(*run->expected));
	if (run->expected == NULL)
		die("calloc");
	files_remove(run->copy_dir);
	load_learn(run->copy_dir, events, run->expected);
	return true;
}

static bool step_through(struct run *run) {
	if (!start(run)) {
		kill_child(run);
		return false;
	}
	map_windows(run);
	bool ok = check(run, true) && step(run, true, UINT64_MAX);
	unmap_windows(run);
	kill_child(run);
	return ok;
}

/* Kills after so many instructions, and recovers from the directory itself. */
static bool kill_at(struct run *run, uint64_t instruction) {
	bool ok = start(run) && step(run, false, instruction);
	kill_child(run);
	uint64_t first = run->shared->first_event;
	return ok &&
	       load_recover(run->data_dir, first, first + 2 * run->plan.group, run->expected,
			    &run->lsn, &run->err) &&
	       holds_acknowledged(run);
}

static bool run_plan(struct run *run, uint64_t kills) {
	if (!learn(run) || !step_through(run))
		return false;
	uint64_t instructions = run->instructions, system_calls = run->system_calls;
	for (uint64_t i = 0; i < kills; i++) {
		uint64_t at = (uint64_t)random() % instructions;
		if (!kill_at(run, at)) {
			run->instructions = at;
			return false;
		}
	}
	printf("%s, 2 groups of %u%s: %llu instructions, %llu system calls: %u states of the disk, "
	       "each recovered from; %llu kills\n",
	       run->shared->io_uring ? "io_uring" : "log thread", run->plan.group,
	       run->plan.at_segment_end ? " into the next segment" : "", (ull)instructions,
	       (ull)system_calls, run->state_count, (ull)kills);
	return true;
}

static bool scenario(struct run *run, const struct plan *plan, uint64_t kills) {
	run->plan = *plan;
	run->state_count = 0;
	bool ok = run_plan(run, kills);
	free(run->expected);
	run->expected = NULL;
	return ok;
}

/* A child that acknowledges before the disk has it is caught. */
static bool liar_is_caught(struct run *run, const struct plan *plan) {
	struct plan lying = *plan;
	lying.lie = true;
	if (scenario(run, &lying, 0) || strstr(run->err.text, "is acknowledged") == NULL) {
		printf("a child that acknowledges too early is not caught: %s\n", run->err.text);
		return false;
	}
	printf("acknowledging too early is caught, as it must be: instruction %llu: %s\n",
	       (ull)run->instructions, run->err.text);
	return true;
}

struct options {
	struct plan plan; /* but for the group */
	unsigned from, to;
	uint64_t kills;
	unsigned seed;
};

static bool read_options(int argc, char **argv, struct options *ret) {
	static const struct option names[] = {
		{ "flush", required_argument, NULL, 'f' },
		{ "groups", required_argument, NULL, 'g' },
		{ "segment-end", no_argument, NULL, 'e' },
		{ "kills", required_argument, NULL, 'k' },
		{ "seed", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	*ret = (struct options){ .from = 4, .to = 4, .kills = 5, .seed = 1 };
	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		if (c == 'f' && strcmp(optarg, "thread") == 0)
			ret->plan.flush = HF_FLUSH_THREAD;
		else if (c == 'f' && strcmp(optarg, "auto") == 0)
			ret->plan.flush = HF_FLUSH_AUTO;
		else if (c == 'g' && sscanf(optarg, "%u-%u", &ret->from, &ret->to) == 2)
			continue;
		else if (c == 'e')
			ret->plan.at_segment_end = true;
		else if (c == 'k')
			ret->kills = strtoull(optarg, NULL, 10);
		else if (c == 's')
			ret->seed = (unsigned)strtoul(optarg, NULL, 10);
		else
			return false;
	}
	return optind == argc && ret->from >= 1 && ret->to <= GROUP_MAX;
}

/*
 * A thread that is stepped stops after each turn of a repeated string instruction: the C library
 * fills a segment with a loop instead. It reads this when it is loaded.
 */
static void without_string_instructions(char **argv) {
	static const char tunables[] = "glibc.cpu.x86_rep_stosb_threshold=1073741824:"
				       "glibc.cpu.x86_rep_movsb_threshold=1073741824";
	const char *set = getenv("GLIBC_TUNABLES");
	if (set != NULL && strcmp(set, tunables) == 0)
		return;
	setenv("GLIBC_TUNABLES", tunables, 1);
	execv("/proc/self/exe", argv);
	die("execv");
}

int main(int argc, char **argv) {
	struct options options;
	if (!read_options(argc, argv, &options)) {
		fprintf(stderr, "usage: step [--flush auto|thread] [--groups FROM-TO] "
				"[--segment-end] [--kills N] [--seed N]\n");
		return 2;
	}
	without_string_instructions(argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %u\n", options.seed);
	srandom(options.seed);
	static struct run run = { .dir = "build/test-step-XXXXXX" };
	run.shared = mmap(NULL, sizeof(*run.shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.shared == MAP_FAILED || mkdtemp(run.dir) == NULL)
		die("cannot begin");
	snprintf(run.data_dir, sizeof(run.data_dir), "%s/data", run.dir);
	snprintf(run.copy_dir, sizeof(run.copy_dir), "%s/copy", run.dir);
	struct plan plan = options.plan;
	plan.group = options.from;
	bool ok = liar_is_caught(&run, &plan);
	for (; ok && plan.group <= options.to; plan.group++) {
		ok = scenario(&run, &plan, options.kills);
		if (!ok)
			printf("group of %u, after instruction %llu: %s\n", plan.group,
			       (ull)run.instructions, run.err.text);
	}
	clean_up(&run);
	return ok ? 0 : 1;
}
