/*
 * limit.c - the most that a server on this machine could do with redis-benchmark: it parses each
 * RESP command and answers +OK. No state, no log, no reply to wait for. One thread, epoll, one
 * read and one write per wake-up.
 *
 * Prints `ready: 127.0.0.1:PORT` on stderr and runs until it is killed.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 65536u /* more than any batch of redis-benchmark's that we run */
#define REPLY "+OK\r\n"
#define REPLY_LEN 5u

struct connection {
	int fd;
	size_t used; /* bytes of `input` that hold an unfinished command */
	char input[INPUT_MAX];
};

/* Reads `mark`, a decimal number and CRLF at *at. False: not all there yet. */
static bool number(const char **at, const char *end, char mark, size_t *ret) {
	const char *p = *at;
	size_t value = 0;

	if (p < end && *p != mark)
		errx(1, "not a RESP array of bulk strings: byte 0x%02x, expected %c", *p, mark);
	for (p++; p < end && *p >= '0' && *p <= '9'; p++)
		value = value * 10 + (size_t)(*p - '0');
	if (end - p < 2)
		return false;
	*at = p + 2;
	*ret = value;
	return true;
}

/* Steps *at over one command. False: not all there yet, *at unchanged. */
static bool command(const char **at, const char *end) {
	const char *p = *at;
	size_t count, len;

	if (p == end || !number(&p, end, '*', &count))
		return false;
	for (; count > 0; count--) {
		if (p >= end || !number(&p, end, '$', &len) || (size_t)(end - p) < len + 2)
			return false;
		p += len + 2;
	}
	*at = p;
	return true;
}

/* Takes what has arrived and answers every whole command of it. False: the peer is gone. */
static bool serve(struct connection *c) {
	static const char reply[REPLY_LEN + 1] = REPLY;
	char output[INPUT_MAX];
	size_t filled = 0;
	ssize_t n = read(c->fd, c->input + c->used, sizeof(c->input) - c->used);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	const char *at = c->input;
	const char *end = c->input + c->used + (size_t)n;
	while (command(&at,
		       end)) { /* a command is longer than its reply, so output cannot overflow */
		memcpy(output + filled, reply, REPLY_LEN);
		filled += REPLY_LEN;
	}
	c->used = (size_t)(end - at);
	if (c->used == sizeof(c->input))
		errx(1, "a command of more than %u bytes", INPUT_MAX);
	memmove(c->input, at, c->used);
	return filled == 0 || write(c->fd, output, filled) == (ssize_t)filled;
}

static void watch(int epoll, int fd, void *data) {
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = data };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		err(1, "epoll_ctl");
}

static void accept_one(int epoll, int listener) {
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int on = 1;
	struct connection *c = malloc(sizeof(*c));

	if (fd < 0 || c == NULL)
		err(1, "accept");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		err(1, "TCP_NODELAY");
	c->fd = fd;
	c->used = 0;
	watch(epoll, fd, c);
}

/* A listening socket on a free port of loopback, announced on stderr. */
static int listen_somewhere(void) {
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, 511) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		err(1, "listen");
	fprintf(stderr, "ready: 127.0.0.1:%u\n", ntohs(address.sin_port));
	return fd;
}

int main(void) {
	struct epoll_event events[128];
	int listener = listen_somewhere();
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		err(1, "epoll_create1");
	watch(epoll, listener, NULL);
	for (;;) {
		int n = epoll_wait(epoll, events, 128, -1);

		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;

			if (c == NULL) {
				accept_one(epoll, listener);
			} else if (!serve(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
}
