#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/clock.h"
#include "os/memory.h"
#include "server/command.h"
#include "server/loop.h"

#define BACKLOG 4096
#define ACCEPTS_MAX 2	/* per pass */
#define FILES_SPARE 64u /* open files of neither clients nor loops: the log, standard streams */
#define REFUSAL "-ERR max number of clients reached\r\n"

/* ---- listening --------------------------------------------------------------------------- */

/* Splits "host:port" or "[v6]:port". `host` has room for HF_ADDRESS_MAX. */
static bool split_address(const char *listen, char *host, const char **ret_port,
			  struct hf_err *err) {
	const char *colon = strrchr(listen, ':');
	size_t len = colon == NULL ? 0 : (size_t)(colon - listen);
	bool bracketed = len > 2 && listen[0] == '[' && listen[len - 1] == ']';
	if (len == 0 || len >= HF_ADDRESS_MAX || (!bracketed && memchr(listen, ':', len) != NULL))
		return hf_fail(err, HF_USAGE,
			       "%s is not an address: it takes HOST:PORT or [IPV6]:PORT, such as "
			       "127.0.0.1:7379",
			       listen);
	snprintf(host, HF_ADDRESS_MAX, "%.*s", (int)(bracketed ? len - 2 : len),
		 bracketed ? listen + 1 : listen);
	*ret_port = colon + 1;
	uint64_t port;
	if (!hf_span_u64(hf_span_of(colon + 1), &port) || port > UINT16_MAX)
		return hf_fail(err, HF_USAGE, "%s: %s is not a port: 0 (any free one) to 65535",
			       listen, colon + 1);
	return true;
}

static bool bind_to(const struct addrinfo *address, int *ret_fd) {
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	int on = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
		*ret_fd = fd;
		return true;
	}
	int bind_errno = errno;
	close(fd);
	errno = bind_errno;
	return false;
}

bool hf_server_check_listen(const char *listen, struct hf_err *err) {
	char host[HF_ADDRESS_MAX];
	const char *port;
	return split_address(listen, host, &port, err);
}

static bool start_listening(struct hf_server *server, const char *where, struct hf_err *err) {
	char host[HF_ADDRESS_MAX];
	const char *port = NULL;
	if (!split_address(where, host, &port, err))
		return false;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *found;
	int rc = getaddrinfo(host, port, &hints, &found);
	if (rc != 0)
		return hf_fail(err, HF_IO, "cannot listen on %s: %s", where, gai_strerror(rc));
	bool bound = bind_to(found, &server->listen_fd);
	int bind_errno = errno;
	freeaddrinfo(found);
	if (!bound)
		return hf_fail_sys(err, bind_errno, "cannot listen on %s", where);
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	if (getsockname(server->listen_fd, (struct sockaddr *)&address, &len) != 0)
		return hf_fail_sys(err, errno, "cannot read the address of %s", where);
	hf_address_text(&address, server->address);
	return true;
}

/* Each client is an open file. */
static bool raise_file_limit(struct hf_server *server, uint32_t threads, struct hf_err *err) {
	struct rlimit files;
	uint32_t spare = FILES_SPARE + threads * HF_LOOP_FILES;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return hf_fail_sys(err, errno, "cannot read the limit of open files");
	uint64_t wanted = (uint64_t)server->max_clients + spare;
	if (files.rlim_cur < wanted) {
		files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
		if (setrlimit(RLIMIT_NOFILE, &files) != 0)
			return hf_fail_sys(err, errno, "cannot raise the limit of open files");
	}
	if (files.rlim_cur <= spare)
		return hf_fail(err, HF_IO,
			       "the process may open %llu files only, and needs %u beside its "
			       "clients: raise the limit (ulimit -n)",
			       (unsigned long long)files.rlim_cur, spare);
	if (files.rlim_cur < wanted)
		server->max_clients = (uint32_t)files.rlim_cur - spare;
	return true;
}

static bool make_files(struct hf_server *server, struct hf_err *err) {
	server->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	server->drain_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->stop_fd < 0 || server->drain_fd < 0 || server->spare_fd < 0)
		return hf_fail_sys(err, errno, "cannot open the server's event files");
	return true;
}

static bool make_loops(struct hf_server *server, uint32_t count, struct hf_err *err) {
	server->loops = hf_memory_new(count * sizeof(server->loops[0]));
	if (server->loops == NULL)
		return hf_fail(err, HF_NOMEM, "no memory for %u threads", count);
	for (; server->loop_count < count; server->loop_count++) {
		struct hf_loop *loop = &server->loops[server->loop_count];
		loop->client_memory_max =
			HF_CLIENT_MEMORY_PER_THREAD +
			(uint64_t)server->max_clients * HF_CLIENT_MEMORY_PER_CLIENT / count;
		if (!hf_loop_init(loop, server, err)) {
			hf_loop_fini(loop);
			return false;
		}
	}
	return true;
}

bool hf_server_open(const struct hf_server_options *options, struct hf_server **ret,
		    struct hf_err *err) {
	HF_ASSERT(options->threads >= 1 && options->threads <= HF_SERVER_THREADS_MAX);
	HF_ASSERT(options->max_clients >= 1 && options->max_clients <= HF_CONNECTIONS_MAX);
	struct hf_server *server = hf_memory_new(sizeof(*server));
	if (server == NULL)
		return hf_fail(err, HF_NOMEM, "no memory for the server");
	server->engine = options->engine;
	server->max_clients = options->max_clients;
	server->notice = options->notice;
	server->notice_arg = options->notice_arg;
	server->started_s = hf_clock_wall_ns() / 1000000000;
	server->listen_fd = server->stop_fd = server->drain_fd = server->spare_fd = -1;
	server->listen_source.kind = HF_SOURCE_LISTEN;
	server->stop_source.kind = HF_SOURCE_STOP;
	server->drain_source.kind = HF_SOURCE_DRAIN;
	pthread_mutex_init(&server->mutex, NULL);
	if (!raise_file_limit(server, options->threads, err) || !make_files(server, err) ||
	    !start_listening(server, options->listen, err) || !hf_server_register(server, err) ||
	    !make_loops(server, options->threads, err)) {
		hf_server_close(server);
		return false;
	}
	*ret = server;
	return true;
}

static void close_file(int fd) {
	if (fd >= 0)
		close(fd);
}

void hf_server_close(struct hf_server *server) {
	while (server->conns != NULL) {
		struct hf_conn *conn = server->conns;
		hf_server_forget(server, conn);
		hf_conn_free(conn);
	}
	for (uint32_t i = 0; i < server->loop_count; i++)
		hf_loop_fini(&server->loops[i]);
	hf_memory_free(server->loops);
	hf_memory_free(server->latencies);
	close_file(server->listen_fd);
	close_file(server->stop_fd);
	close_file(server->drain_fd);
	close_file(server->spare_fd);
	pthread_mutex_destroy(&server->mutex);
	hf_memory_free(server);
}

const char *hf_server_address(const struct hf_server *server) {
	return server->address;
}

uint32_t hf_server_max_clients(const struct hf_server *server) {
	return server->max_clients;
}

/* ---- running ----------------------------------------------------------------------------- */

static void *run_thread(void *arg) {
	/* False if the engine stopped: the first loop sees that as well, and reports it. */
	(void)hf_loop_run(arg);
	return NULL;
}

static void signal_fd(int fd) {
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));
	/* It can fail only because the counter is full, and then it is readable. */
	(void)written;
}

bool hf_server_run(struct hf_server *server, struct hf_err *err) {
	uint32_t started = 1;
	int rc = 0;
	for (; started < server->loop_count && rc == 0; started += rc == 0)
		rc = pthread_create(&server->loops[started].thread, NULL, run_thread,
				    &server->loops[started]);
	if (rc != 0) {
		hf_stats_wake(server->loops[0].counting); /* what is refused is counted */
		hf_server_drain(server);
		hf_stats_rest(server->loops[0].counting);
	}
	bool drained = hf_loop_run(&server->loops[0]);
	for (uint32_t i = 1; i < started; i++)
		pthread_join(server->loops[i].thread, NULL);
	if (rc != 0)
		return hf_fail_sys(err, rc, "cannot start thread %u", started);
	if (!drained)
		return hf_fail(err, HF_STOPPED, "%s", hf_engine_stop_reason(server->engine));
	return true;
}

void hf_server_stop(struct hf_server *server) {
	signal_fd(server->stop_fd);
}

void hf_server_shutdown(struct hf_server *server, const struct hf_conn *conn) {
	char peer[HF_ADDRESS_MAX], line[HF_ADDRESS_MAX + 32];
	pthread_mutex_lock(&server->mutex);
	bool first = !server->shutdown;
	server->shutdown = true;
	pthread_mutex_unlock(&server->mutex);
	hf_conn_peer(conn, peer);
	snprintf(line, sizeof(line), "SHUTDOWN from %s: draining", peer);
	if (first && server->notice != NULL)
		server->notice(server->notice_arg, line);
	hf_server_stop(server);
}

/* ---- clients ----------------------------------------------------------------------------- */

static struct hf_loop *least_busy(struct hf_server *server) {
	struct hf_loop *best = &server->loops[0];
	for (uint32_t i = 1; i < server->loop_count; i++)
		if (atomic_load(&server->loops[i].conn_count) < atomic_load(&best->conn_count))
			best = &server->loops[i];
	return best;
}

/* The connection is in the list before its loop can hear of it; afterwards it is the loop's. */
bool hf_server_adopt(struct hf_server *server, int fd) {
	struct hf_loop *loop = least_busy(server);
	struct hf_conn *conn = hf_conn_new(loop, fd, server->accepted);
	if (conn == NULL)
		return false;
	atomic_fetch_add(&loop->conn_count, 1);
	pthread_mutex_lock(&server->mutex);
	conn->next = server->conns;
	if (conn->next != NULL)
		conn->next->prev = conn;
	server->conns = conn;
	server->conn_count++;
	pthread_mutex_unlock(&server->mutex);
	struct epoll_event event = { .events = conn->interest, .data.ptr = &conn->source };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
		return true;
	hf_server_forget(server, conn);
	atomic_fetch_sub(&loop->conn_count, 1);
	conn->fd = -1;
	hf_conn_free(conn);
	return false;
}

void hf_server_forget(struct hf_server *server, struct hf_conn *conn) {
	pthread_mutex_lock(&server->mutex);
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		server->conns = conn->next;
	server->conn_count--;
	pthread_mutex_unlock(&server->mutex);
}

/* Numbers the client that came; false if there are too many. */
static bool admit(struct hf_server *server) {
	pthread_mutex_lock(&server->mutex);
	bool admitted = server->conn_count < server->max_clients;
	server->accepted += admitted;
	pthread_mutex_unlock(&server->mutex);
	return admitted;
}

/* In the first loop's thread. */
static void refuse(struct hf_server *server, int fd) {
	hf_count(server->loops[0].counting, server->rejected, 1);
	/* Best effort: the client may be gone already. */
	ssize_t sent = send(fd, REFUSAL, sizeof(REFUSAL) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)sent;
	close(fd);
}

/* Out of files: with the spare one given up, the next client can be taken and told. */
static void refuse_without_files(struct hf_server *server) {
	close_file(server->spare_fd);
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		refuse(server, fd);
	server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* False: nobody waits to be let in, or nobody can be. */
static bool accept_one(struct hf_server *server) {
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		refuse_without_files(server);
	if (fd < 0)
		return false;
	int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!admit(server) || !hf_server_adopt(server, fd))
		refuse(server, fd);
	return true;
}

void hf_server_accept(struct hf_server *server) {
	for (int i = 0; i < ACCEPTS_MAX && server->listen_fd >= 0 && accept_one(server); i++)
		;
}

void hf_server_drain(struct hf_server *server) {
	if (server->listen_fd < 0)
		return;
	/* Who has connected is a client, and gets the end of its stream, not a reset. */
	for (int i = 0; i < BACKLOG && accept_one(server); i++)
		;
	close(server->listen_fd);
	server->listen_fd = -1;
	int rc = epoll_ctl(server->loops[0].epoll_fd, EPOLL_CTL_DEL, server->stop_fd, NULL);
	HF_ASSERT(rc == 0);
	signal_fd(server->drain_fd);
}
