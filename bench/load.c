/*
 * load.c - reads beside a load that can be switched on and off. redis-benchmark can do neither: it
 * has no windows, and its latencies are in steps of 8 us.
 *
 * The *probe*: some connections, each with one request at a time, each reply timed. The *pumps*:
 * processes that keep pipelines full. Windows take turns, one with the pumps idle and one with them
 * at work, so that what disturbs the machine hits both; each is a line of JSON. Without a probe
 * there is only the load.
 *
 *     load -p PORT -s SERVER_PID [-c PROBE_CONNECTIONS] [-n PUMPS] [-m CONNECTIONS_OF_EACH]
 *          [-d DEPTH] [-w WINDOWS_OF_EACH_KIND] [-t SECONDS] [-k KEYS] PROBE_COMMAND PUMP_COMMAND
 *
 * A command is words with one blank between; each # in it becomes 12 digits of a random key below
 * KEYS, each @ a number of 12 digits that is not used again. An error reply ends the run.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <linux/sched/types.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 65536u
#define DIGITS 12u
#define HOLES_MAX 4u
#define PUMPS_MAX 8u
#define EVENTS_MAX 64
#define SETTLE_PART 8u /* of a window, before it: neither counted nor timed */
#define PROBE_SLICE_NS 100000u
#define PUMP_SLICE_NS 20000000u

/* ---- time -------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id) {
	struct timespec now;

	if (clock_gettime(id, &now) != 0)
		err(1, "clock_gettime");
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) {
	return clock_ns(CLOCK_MONOTONIC);
}

/* The clock of what all threads of a process have spent on processors. */
static clockid_t cpu_clock(pid_t pid) {
	clockid_t id;
	int rc = clock_getcpuclockid(pid, &id);

	if (rc != 0)
		errx(1, "no CPU clock of process %d: %s", (int)pid, strerror(rc));
	return id;
}

/*
 * The scheduler lets who has a short slice interrupt who has a long one (Linux 6.12 on), so that
 * the probe does not wait for a pump on its own processor. Elsewhere it may have to.
 */
static void ask_for_slice(uint32_t ns) {
	struct sched_attr attributes = { .size = 0 };

	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0)
		return;
	attributes.sched_runtime = ns;
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

/* ---- requests ---------------------------------------------------------------------------- */

/* `depth` copies of one command in RESP, with the places in one copy where digits go. */
struct script {
	char *bytes;
	size_t size; /* of a copy */
	uint32_t depth, keys, hole_count;
	struct {
		size_t at;
		bool serial;
	} holes[HOLES_MAX];
	uint64_t random, serial;
};

static size_t put_word(struct script *s, char *out, const char *word, size_t len) {
	size_t long_len = len, at;

	for (size_t i = 0; i < len; i++)
		long_len += word[i] == '#' || word[i] == '@' ? DIGITS - 1 : 0;
	at = s->size + (size_t)sprintf(out + s->size, "$%zu\r\n", long_len);
	for (size_t i = 0; i < len; i++) {
		if (word[i] != '#' && word[i] != '@') {
			out[at++] = word[i];
			continue;
		}
		if (s->hole_count == HOLES_MAX)
			errx(2, "more than %u # and @", HOLES_MAX);
		s->holes[s->hole_count].at = at;
		s->holes[s->hole_count++].serial = word[i] == '@';
		at += DIGITS;
	}
	return at + (size_t)sprintf(out + at, "\r\n");
}

/* `who` tells the random numbers, and those that are not used again, of one process from others'.
 */
static void script_init(struct script *s, const char *text, uint32_t depth, uint32_t keys,
			unsigned who) {
	uint32_t words = 1;
	char *one = malloc(strlen(text) * (DIGITS + 32) + 32);

	for (const char *p = text; *p != '\0'; p++)
		words += *p == ' ';
	*s = (struct script){ .depth = depth, .keys = keys, .random = who + 1 };
	s->serial = who * 10000000000u; /* ten thousand million each */
	if (one == NULL)
		err(1, "malloc");
	s->size = (size_t)sprintf(one, "*%u\r\n", words);
	for (const char *p = text;; p++) {
		size_t len = strcspn(p, " ");
		s->size = put_word(s, one, p, len);
		p += len;
		if (*p == '\0')
			break;
	}
	s->bytes = malloc(s->size * depth);
	if (s->bytes == NULL)
		err(1, "malloc");
	for (uint32_t i = 0; i < depth; i++)
		memcpy(s->bytes + i * s->size, one, s->size);
	free(one);
}

static void put_digits(char *out, uint64_t value) {
	for (unsigned i = DIGITS; i-- > 0; value /= 10)
		out[i] = (char)('0' + value % 10);
}

/* Marsaglia's xorshift: what it costs does not show beside a system call. */
static uint32_t random_below(uint64_t *state, uint32_t end) {
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)((*state >> 32) * end >> 32);
}

/* New digits in every copy. */
static void script_renew(struct script *s) {
	for (uint32_t i = 0; i < s->depth; i++)
		for (uint32_t k = 0; k < s->hole_count; k++)
			put_digits(s->bytes + i * s->size + s->holes[k].at,
				   s->holes[k].serial ? s->serial++
						      : random_below(&s->random, s->keys));
}

/* ---- connections ------------------------------------------------------------------------- */

struct connection {
	int fd;
	uint32_t awaited; /* replies */
	uint64_t parts;	  /* of the current reply that are to come */
	size_t skip;	  /* bytes of a string that are to come */
	uint64_t integer; /* the last one that a reply held: an LSN, if it is one of Holdfast's */
	uint64_t asked_ns;
	uint64_t known_lsn; /* acknowledged to anybody before this was asked */
	size_t used;
	char input[INPUT_MAX];
};

static struct connection *connect_to(uint16_t port) {
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct connection *c = calloc(1, sizeof(*c));
	int on = 1;

	if (c == NULL)
		err(1, "calloc");
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		err(1, "cannot connect to port %u", port);
	return c;
}

static void ask(struct connection *c, struct script *s) {
	size_t len = s->size * s->depth;

	script_renew(s);
	c->awaited += s->depth;
	for (size_t at = 0; at < len;) {
		ssize_t n = send(c->fd, s->bytes + at, len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			err(1, "send");
		at += n > 0 ? (size_t)n : 0;
	}
}

/* Takes one line, which `end` follows; what it announces is to come. */
static void take_line(struct connection *c, const char *line, const char *end) {
	long long value = strtoll(line + 1, NULL, 10);

	c->parts--;
	switch (line[0]) {
	case '-':
		errx(1, "an error reply: %.*s", (int)(end - line), line);
	case ':':
		c->integer = (uint64_t)value;
		break;
	case '$':
		c->skip = value >= 0 ? (size_t)value + 2 : 0;
		break;
	case '*':
		c->parts += (uint64_t)value;
		break;
	case '+':
		break;
	default:
		errx(1, "not RESP2: %.*s", (int)(end - line), line);
	}
}

/* Reads once. How many replies ended in it. */
static uint32_t take(struct connection *c) {
	ssize_t n = recv(c->fd, c->input + c->used, sizeof(c->input) - c->used, 0);
	uint32_t ended = 0;

	if (n <= 0)
		err(1, n == 0 ? "the server hung up" : "recv");
	const char *at = c->input, *end = c->input + c->used + (size_t)n;
	while (at < end) {
		if (c->skip > 0) {
			size_t len = (size_t)(end - at) < c->skip ? (size_t)(end - at) : c->skip;
			at += len;
			c->skip -= len;
		} else {
			const char *eol = memchr(at, '\n', (size_t)(end - at));
			if (eol == NULL)
				break;
			c->parts += c->parts == 0; /* a reply begins */
			take_line(c, at, eol);
			at = eol + 1;
		}
		ended += c->parts == 0 && c->skip == 0;
	}
	c->used = (size_t)(end - at);
	memmove(c->input, at, c->used);
	if (ended > c->awaited)
		errx(1, "more replies than requests");
	c->awaited -= ended;
	return ended;
}

static int watch_all(struct connection **all, uint32_t count) {
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		err(1, "epoll_create1");
	for (uint32_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = all[i] };
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i]->fd, &event) != 0)
			err(1, "epoll_ctl");
	}
	return epoll;
}

/* ---- pumps ------------------------------------------------------------------------------- */

struct pump {
	pid_t pid;
	int fd; /* our end: a byte starts it, and one comes when nothing is on its way any more */
	clockid_t clock;
};

/* What the processes share. */
struct shared {
	atomic_bool pumping;
	atomic_uint_fast64_t replies, known_lsn;
};

/* Until `pumping` ends, and then until every reply is there. */
static void pump_once(struct shared *shared, int epoll, struct connection **all, uint32_t count,
		      struct script *script) {
	uint32_t busy = count;

	for (uint32_t i = 0; i < count; i++)
		ask(all[i], script);
	while (busy > 0) {
		struct epoll_event events[EVENTS_MAX];
		int n = epoll_wait(epoll, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			atomic_fetch_add(&shared->replies, take(c));
			/* Of several pumps one may win: then it only grows a little later. */
			uint64_t known = atomic_load(&shared->known_lsn);
			if (c->integer > known)
				atomic_store(&shared->known_lsn, c->integer);
			if (c->awaited > 0)
				continue;
			if (atomic_load(&shared->pumping))
				ask(c, script);
			else
				busy--;
		}
	}
}

static void pump_run(struct shared *shared, int fd, uint16_t port, uint32_t connections,
		     struct script *script) {
	struct connection **all = calloc(connections, sizeof(struct connection *));
	char byte = 0;

	if (all == NULL)
		err(1, "calloc");
	for (uint32_t i = 0; i < connections; i++)
		all[i] = connect_to(port);
	int epoll = watch_all(all, connections);
	do { /* the first byte says that it has connected */
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			exit(0);
		pump_once(shared, epoll, all, connections, script);
	} while (true);
}

static void pump_wait(const struct pump *pump) {
	char byte;

	if (read(pump->fd, &byte, 1) != 1)
		errx(1, "a pump ended");
}

/* ---- the probe --------------------------------------------------------------------------- */

struct samples {
	uint32_t *ns;
	size_t count, cap;
};

static void add_sample(struct samples *samples, uint64_t ns) {
	if (samples->count == samples->cap) {
		samples->cap = samples->cap * 2 + 65536;
		samples->ns = realloc(samples->ns, samples->cap * sizeof(uint32_t));
		if (samples->ns == NULL)
			err(1, "realloc");
	}
	samples->ns[samples->count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static int compare(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* In us, of sorted samples. */
static double quantile(const struct samples *samples, double q) {
	return samples->count == 0 ? 0
				   : samples->ns[(size_t)(q * (double)(samples->count - 1))] / 1e3;
}

struct probe {
	struct connection **all;
	uint32_t count;
	int epoll;
	struct script script;
	/* All, and those that showed only what had been acknowledged when they were asked. */
	struct samples read, known;
};

static void probe_ask(struct probe *probe, struct shared *shared, struct connection *c) {
	c->known_lsn = atomic_load(&shared->known_lsn);
	c->asked_ns = now_ns();
	ask(c, &probe->script);
}

/* Reads for `ns`, until every reply is there; keeps the times if `timed`. */
static void probe_read(struct probe *probe, struct shared *shared, uint64_t ns, bool timed) {
	uint64_t end = now_ns() + ns, now = 0;
	uint32_t busy = probe->count;

	for (uint32_t i = 0; i < probe->count; i++)
		probe_ask(probe, shared, probe->all[i]);
	while (busy > 0) {
		struct epoll_event events[EVENTS_MAX];
		int n = epoll_wait(probe->epoll, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (take(c) == 0)
				continue;
			now = now_ns();
			if (timed) {
				add_sample(&probe->read, now - c->asked_ns);
				if (c->integer <= c->known_lsn)
					add_sample(&probe->known, now - c->asked_ns);
			}
			if (now < end)
				probe_ask(probe, shared, c);
			else
				busy--;
		}
	}
}

/* ---- windows ----------------------------------------------------------------------------- */

struct load {
	uint16_t port;
	pid_t server;
	clockid_t server_clock;
	uint32_t pump_count, pump_connections, depth, windows, keys;
	double seconds;
	struct pump pumps[PUMPS_MAX];
	struct probe probe;
	struct shared *shared;
};

struct moment {
	uint64_t wall, server, probe, pumps, replies;
};

static struct moment moment(const struct load *load) {
	struct moment ret = { .wall = now_ns(),
			      .server = clock_ns(load->server_clock),
			      .probe = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
			      .replies = atomic_load(&load->shared->replies) };

	for (uint32_t i = 0; i < load->pump_count; i++)
		ret.pumps += clock_ns(load->pumps[i].clock);
	return ret;
}

static void spend(struct load *load, uint64_t ns, bool timed) {
	struct timespec pause = { .tv_sec = (time_t)(ns / 1000000000u),
				  .tv_nsec = (long)(ns % 1000000000u) };

	if (load->probe.count > 0)
		probe_read(&load->probe, load->shared, ns, timed);
	else
		nanosleep(&pause, NULL);
}

static void print_window(struct probe *probe, bool pumping, const struct moment *a,
			 const struct moment *b) {
	struct samples *read = &probe->read, *known = &probe->known;

	qsort(read->ns, read->count, sizeof(uint32_t), compare);
	qsort(known->ns, known->count, sizeof(uint32_t), compare);
	printf("{\"pumping\": %s, \"seconds\": %.6f, \"reads\": %zu, \"pumped\": %llu, "
	       "\"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"known\": %zu, "
	       "\"known_p99\": %.2f, \"server_s\": %.6f, \"probe_s\": %.6f, \"pumps_s\": %.6f}\n",
	       pumping ? "true" : "false", (double)(b->wall - a->wall) / 1e9, read->count,
	       (unsigned long long)(b->replies - a->replies), quantile(read, 0.5),
	       quantile(read, 0.99), quantile(read, 0.999), known->count, quantile(known, 0.99),
	       (double)(b->server - a->server) / 1e9, (double)(b->probe - a->probe) / 1e9,
	       (double)(b->pumps - a->pumps) / 1e9);
	read->count = known->count = 0;
}

static void window(struct load *load, bool pumping) {
	uint64_t ns = (uint64_t)(load->seconds * 1e9);

	atomic_store(&load->shared->pumping, pumping);
	for (uint32_t i = 0; pumping && i < load->pump_count; i++)
		if (write(load->pumps[i].fd, "", 1) != 1)
			err(1, "a pump ended");
	spend(load, ns / SETTLE_PART, false);
	struct moment begin = moment(load);
	spend(load, ns, true);
	struct moment end = moment(load);
	atomic_store(&load->shared->pumping, false);
	for (uint32_t i = 0; pumping && i < load->pump_count; i++)
		pump_wait(&load->pumps[i]);
	print_window(&load->probe, pumping, &begin, &end);
}

/* ---- beginning --------------------------------------------------------------------------- */

static void start_pump(struct load *load, uint32_t i, const char *command) {
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		err(1, "socketpair");
	pid_t pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		struct script script;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ask_for_slice(PUMP_SLICE_NS);
		close(pair[0]);
		script_init(&script, command, load->depth, load->keys, i + 1);
		pump_run(load->shared, pair[1], load->port, load->pump_connections, &script);
	}
	close(pair[1]);
	load->pumps[i] = (struct pump){ .pid = pid, .fd = pair[0], .clock = cpu_clock(pid) };
	pump_wait(&load->pumps[i]);
}

static void start(struct load *load, const char *probe_command, const char *pump_command) {
	struct probe *probe = &load->probe;

	load->shared = mmap(NULL, sizeof(*load->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	probe->all = calloc(probe->count + 1u, sizeof(struct connection *));
	if (load->shared == MAP_FAILED || probe->all == NULL)
		err(1, "no memory");
	ask_for_slice(PROBE_SLICE_NS);
	load->server_clock = cpu_clock(load->server);
	script_init(&probe->script, probe_command, 1, load->keys, 0);
	for (uint32_t i = 0; i < probe->count; i++)
		probe->all[i] = connect_to(load->port);
	probe->epoll = watch_all(probe->all, probe->count);
	for (uint32_t i = 0; i < load->pump_count; i++)
		start_pump(load, i, pump_command);
}

/* Ends the pumps, waits for them (so that their time is ours), and tells what they did in all. */
static void finish(struct load *load) {
	for (uint32_t i = 0; i < load->pump_count; i++)
		close(load->pumps[i].fd);
	for (uint32_t i = 0; i < load->pump_count; i++)
		if (waitpid(load->pumps[i].pid, NULL, 0) < 0)
			err(1, "waitpid");
	printf("{\"replies\": %llu}\n", (unsigned long long)atomic_load(&load->shared->replies));
}

static uint32_t number(const char *text) {
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end != '\0' || value > UINT32_MAX)
		errx(2, "not a number: %s", text);
	return (uint32_t)value;
}

int main(int argc, char **argv) {
	struct load load = { .pump_count = 1,
			     .pump_connections = 4,
			     .depth = 64,
			     .windows = 1,
			     .keys = 100000,
			     .seconds = 1 };

	for (int option; (option = getopt(argc, argv, "p:s:c:n:m:d:w:t:k:")) != -1;)
		switch (option) {
		case 'p':
			load.port = (uint16_t)number(optarg);
			break;
		case 's':
			load.server = (pid_t)number(optarg);
			break;
		case 'c':
			load.probe.count = number(optarg);
			break;
		case 'n':
			load.pump_count = number(optarg);
			break;
		case 'm':
			load.pump_connections = number(optarg);
			break;
		case 'd':
			load.depth = number(optarg);
			break;
		case 'w':
			load.windows = number(optarg);
			break;
		case 't':
			load.seconds = strtod(optarg, NULL);
			break;
		case 'k':
			load.keys = number(optarg);
			break;
		default:
			return 2;
		}
	if (argc - optind != 2 || load.port == 0 || load.server == 0 || load.pump_count > PUMPS_MAX)
		errx(2, "usage: load -p PORT -s PID [-cnmdwtk N] PROBE_COMMAND PUMP_COMMAND");
	start(&load, argv[optind], argv[optind + 1]);
	for (uint32_t i = 0; i < load.windows; i++) {
		if (load.probe.count > 0)
			window(&load, false);
		window(&load, true);
	}
	finish(&load);
	return 0;
}
