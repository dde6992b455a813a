/*
 * record - several clients on one Holdfast, and what each of them saw.
 *
 *   record PORT FILE SEED CLIENTS OPERATIONS
 *
 * The clients write and read a few keys of the contract `shelf`, and a few plain keys, pipelined,
 * each on a connection
 * of its own that it cuts at random, and comes back after the server is gone. One line of FILE is
 * one operation, in tabs:
 *
 *   connection  begin  end  request  reply
 *
 * begin: monotonic ns before the first byte of it was sent.  end: after its reply was read.
 * request: its words.  reply: the words of its leaves, in order; an error's begin with '-', `_` is
 * null, `#65536` stands for one of that length.
 * An operation whose reply did not come has end 0 and the reply `?`; one that was not sent whole
 * has `!`. Lines of one connection are in the order in which they were sent.
 *
 * What it means is for check.py to say: nothing is judged here. Prints the number of operations
 * done so far, now and then, for who wants to strike in the middle.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEYS 5u
#define PLAIN_KEYS 3u
#define BIG_LEN 65536u	 /* of the value of the key `big`: a MGET of two of them is a long one */
#define LONG_WORD 1000u	 /* a reply's word from here on is written as `#` and its length */
#define NAMED_MAX 4u	 /* keys in one command */
#define PLAIN_STEP 4096u /* between the values of two SETs: INCRs do not get from one to the next */
#define PIPELINE_MAX 24u
#define REQUEST_MAX 160u
#define WORDS_MAX 16u
#define REPLY_MAX 65536u  /* leaves of one reply, as text */
#define OLD_IDS 32u	  /* requests with an id that may be sent again */
#define PROGRESS 100u	  /* operations between two lines of it */
#define CUT_ONE_IN 40u	  /* batches */
#define PATIENCE_S 60	  /* without a reply, or without a server */
#define READ_SIZE 131072u /* any line of a reply */

struct world {
	struct sockaddr_in server;
	FILE *file;
	uint32_t operations;
	atomic_uint started, done, connections;
};

struct operation {
	char request[REQUEST_MAX];
	uint64_t begin_ns;
	size_t sent_at; /* the batch's bytes that hold it whole */
};

struct client {
	struct world *world;
	pthread_t thread;
	uint32_t number, connection;
	uint64_t random;
	uint64_t unique; /* the last number that stands in a request, and in no other one */
	int fd;
	char in[READ_SIZE];
	size_t in_start, in_end;
	char reply[REPLY_MAX];
	size_t reply_len;
	uint64_t versions[KEYS]; /* as last seen */
	uint64_t values[PLAIN_KEYS];
	char old[OLD_IDS][REQUEST_MAX];
	uint32_t old_count;
	struct operation batch[PIPELINE_MAX];
	uint32_t count;
	char out[PIPELINE_MAX * (REQUEST_MAX + 8 * WORDS_MAX)];
	size_t out_len;
};

static void die(const char *what) {
	perror(what);
	exit(1);
}

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* xorshift64*: [0, below). */
static uint32_t draw(struct client *client, uint32_t below) {
	client->random ^= client->random >> 12;
	client->random ^= client->random << 25;
	client->random ^= client->random >> 27;
	return (uint32_t)((client->random * 0x2545f4914f6cdd1du >> 32) % below);
}

/* ---- the socket -------------------------------------------------------------------------- */

static void open_connection(struct client *client) {
	uint64_t give_up_ns = now_ns() + PATIENCE_S * 1000000000u;
	int on = 1;
	struct timeval patience = { .tv_sec = PATIENCE_S };
	for (;;) {
		client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (client->fd < 0)
			die("socket");
		if (connect(client->fd, (struct sockaddr *)&client->world->server,
			    sizeof(client->world->server)) == 0)
			break;
		close(client->fd);
		if (now_ns() > give_up_ns)
			die("no server");
		usleep(1000);
	}
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	client->in_start = client->in_end = 0;
	client->connection = atomic_fetch_add(&client->world->connections, 1);
}

/* Ends the connection, with a reset or in order. */
static void cut(struct client *client, bool reset) {
	struct linger none = { .l_onoff = 1 };
	if (reset)
		setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(client->fd);
	client->fd = -1;
}

/* One line without its end, in place; NULL if the connection is gone. */
static char *read_line(struct client *client) {
	for (size_t seen = client->in_start;;) {
		char *end = memchr(client->in + seen, '\n', client->in_end - seen);
		if (end != NULL) {
			char *line = client->in + client->in_start;
			end[-1] = '\0';
			client->in_start = (size_t)(end + 1 - client->in);
			return line;
		}
		if (client->in_start > 0) {
			memmove(client->in, client->in + client->in_start,
				client->in_end - client->in_start);
			client->in_end -= client->in_start;
			client->in_start = 0;
		}
		seen = client->in_end;
		ssize_t got = recv(client->fd, client->in + seen, READ_SIZE - seen, 0);
		if (got < 0 && errno == EAGAIN)
			die("no reply");
		if (got <= 0)
			return NULL;
		client->in_end += (size_t)got;
	}
}

static void add_word(struct client *client, const char *word) {
	char shortened[32];
	if (strlen(word) >= LONG_WORD) {
		snprintf(shortened, sizeof(shortened), "#%zu", strlen(word));
		word = shortened;
	}
	int len = snprintf(client->reply + client->reply_len, REPLY_MAX - client->reply_len, "%s%s",
			   client->reply_len > 0 ? " " : "", word);
	client->reply_len += (size_t)len;
	if (client->reply_len >= REPLY_MAX)
		die("a reply is too long");
}

/* Adds the leaves of one reply; no value of this contract holds a line end. */
static bool read_reply(struct client *client) {
	char *line = read_line(client);
	if (line == NULL)
		return false;
	if (*line == '*') {
		for (long left = atol(line + 1); left > 0; left--)
			if (!read_reply(client))
				return false;
		return true;
	}
	if (strcmp(line, "$-1") == 0)
		line = "_";
	else if (*line == '$')
		line = read_line(client);
	else if (*line != '-')
		line++;
	if (line != NULL)
		add_word(client, line);
	return line != NULL;
}

/* ---- what is asked ----------------------------------------------------------------------- */

static void ask_to_send(struct client *client, char *request, uint32_t key) {
	uint32_t kind = draw(client, 20);
	const char *event = kind == 0 ? "Lock" : kind < 4 ? "Unlock" : "Add";
	uint64_t unique = ((uint64_t)client->number << 32) + ++client->unique;
	int len = snprintf(request, REQUEST_MAX, "HF.SEND shelf k%u %s n %llu", key, event,
			   (unsigned long long)unique);
	/* Sometimes it is what was seen last, sometimes older, sometimes the future. */
	if (draw(client, 6) == 0)
		len += snprintf(request + len, REQUEST_MAX - (size_t)len, " IFVERSION %llu",
				(unsigned long long)(client->versions[key] + draw(client, 3) / 2));
	if (draw(client, 5) < 3) {
		snprintf(request + len, REQUEST_MAX - (size_t)len, " ID c%llu",
			 (unsigned long long)unique);
		strcpy(client->old[client->old_count++ % OLD_IDS], request);
	}
}

/* Several keys in one command; the same one may be among them twice. */
static void ask_for_several(struct client *client, char *request, const char *verb) {
	int len = snprintf(request, REQUEST_MAX, "%s", verb);
	for (uint32_t left = 2 + draw(client, NAMED_MAX - 1); left > 0; left--)
		len += snprintf(request + len, REQUEST_MAX - (size_t)len, " p%u",
				draw(client, PLAIN_KEYS));
}

/* Each SET has a value of its own, so that a read tells whose it shows. */
static void ask_to_set(struct client *client, char *request, uint32_t key) {
	uint32_t kind = draw(client, 100);
	unsigned long long seen = client->values[key];
	unsigned long long value =
		(((uint64_t)client->number << 32) + ++client->unique) * PLAIN_STEP;
	if (kind < 40)
		snprintf(request, REQUEST_MAX, "SET p%u %llu IFEQ %llu", key, value, seen);
	else if (kind < 60)
		snprintf(request, REQUEST_MAX, "SETNX p%u %llu", key, value);
	else
		snprintf(request, REQUEST_MAX, "SET p%u %llu%s", key, value,
			 kind < 75   ? " NX"
			 : kind < 88 ? " GET"
				     : "");
}

static void ask_plain(struct client *client, char *request, uint32_t key) {
	uint32_t kind = draw(client, 100);
	if (kind < 18)
		snprintf(request, REQUEST_MAX, "GET p%u", key);
	else if (kind < 36)
		snprintf(request, REQUEST_MAX, "INCR p%u", key);
	else if (kind < 46)
		snprintf(request, REQUEST_MAX, "DEL p%u", key);
	else if (kind < 51)
		ask_for_several(client, request, "DEL");
	else if (kind < 60)
		ask_for_several(client, request, "MGET");
	else if (kind < 64)
		ask_for_several(client, request, "EXISTS");
	else if (kind < 66)
		snprintf(request, REQUEST_MAX, "MGET p%u big p%u big p%u", key,
			 draw(client, PLAIN_KEYS), key);
	else
		ask_to_set(client, request, key);
}

static void ask(struct client *client, char *request) {
	if (draw(client, 5) == 0) {
		ask_plain(client, request, draw(client, PLAIN_KEYS));
		return;
	}
	uint32_t key = draw(client, KEYS);
	uint32_t kind = draw(client, 100);
	uint32_t old = client->old_count < OLD_IDS ? client->old_count : OLD_IDS;
	if (kind < 60)
		ask_to_send(client, request, key);
	else if (kind < 67 && old > 0)
		strcpy(request, client->old[draw(client, old)]);
	else if (kind < 95)
		snprintf(request, REQUEST_MAX, "HF.GET shelf k%u", key);
	else if (kind < 98)
		snprintf(request, REQUEST_MAX, "HF.HISTORY shelf k%u FROM %llu COUNT %u", key,
			 (unsigned long long)(client->versions[key] + 1), 1 + draw(client, 8));
	else
		strcpy(request, "HF.HASH");
}

/* The request's words as RESP, behind what is in `out`. */
static void encode(struct client *client, const char *request) {
	char words[REQUEST_MAX];
	char *word[WORDS_MAX], *save;
	uint32_t count = 0;
	strcpy(words, request);
	for (char *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		word[count++] = w;
	char *p = client->out + client->out_len;
	p += sprintf(p, "*%u\r\n", count);
	for (uint32_t i = 0; i < count; i++)
		p += sprintf(p, "$%zu\r\n%s\r\n", strlen(word[i]), word[i]);
	client->out_len = (size_t)(p - client->out);
}

/* ---- what was seen ----------------------------------------------------------------------- */

static void note(struct client *client, const struct operation *operation, uint64_t end_ns,
		 const char *reply) {
	fprintf(client->world->file, "%u\t%llu\t%llu\t%s\t%s\n", client->connection,
		(unsigned long long)operation->begin_ns, (unsigned long long)end_ns,
		operation->request, reply);
	uint32_t done = atomic_fetch_add(&client->world->done, 1) + 1;
	if (done % PROGRESS == 0)
		printf("%u\n", done);
}

/* So that some IFVERSIONs and IFEQs fit. */
static void remember(struct client *client, const struct operation *operation) {
	unsigned key;
	unsigned long long version, value;
	const char *request = operation->request;
	bool sets = sscanf(request, "%*[A-Z] p%u %llu", &key, &value) == 2;
	if (sets ? strcmp(client->reply, "OK") == 0 || (request[3] == 'N' && *client->reply == '1')
		 : sscanf(request, "%*[A-Z] p%u", &key) == 1 && strchr("GIM", *request) != NULL &&
			    sscanf(client->reply, "%llu", &value) == 1)
		client->values[key] = value;
	if (sscanf(operation->request, "HF.%*[A-Z] shelf k%u", &key) == 1 &&
	    (sscanf(client->reply, "state %*s version %llu", &version) == 1 ||
	     sscanf(client->reply, "%*[A-Z]%*[a-z] %llu", &version) == 1))
		client->versions[key] = version;
}

/* Reads the replies to the first `wanted` operations; the number that came. */
static uint32_t read_replies(struct client *client, uint32_t wanted) {
	uint32_t i = 0;
	for (; i < wanted; i++) {
		client->reply_len = 0;
		client->reply[0] = '\0';
		if (!read_reply(client))
			break;
		note(client, &client->batch[i], now_ns(), client->reply);
		remember(client, &client->batch[i]);
	}
	return i;
}

static bool send_bytes(struct client *client, size_t len, size_t *ret_sent) {
	for (*ret_sent = 0; *ret_sent < len;) {
		ssize_t sent =
			send(client->fd, client->out + *ret_sent, len - *ret_sent, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		*ret_sent += (size_t)sent;
	}
	return true;
}

/* One pipeline of operations, all of them on one connection, cut or not. */
static void run_batch(struct client *client) {
	bool cuts = draw(client, CUT_ONE_IN) == 0;
	size_t len = client->out_len, sent;
	uint32_t wanted = client->count;
	if (cuts && draw(client, 2) == 0)
		len = draw(client, (uint32_t)len);
	else if (cuts)
		wanted = draw(client, wanted);
	uint64_t begin_ns = now_ns();
	for (uint32_t i = 0; i < client->count; i++)
		client->batch[i].begin_ns = begin_ns;
	bool alive = send_bytes(client, len, &sent);
	for (uint32_t i = 0; i < wanted; i++)
		if (client->batch[i].sent_at > sent)
			wanted = i;
	/* A half sent one is cut at once as often as its forerunners are waited for. */
	uint32_t came = cuts && draw(client, 2) == 0 ? 0 : read_replies(client, wanted);
	for (uint32_t i = came; i < client->count; i++)
		note(client, &client->batch[i], 0, client->batch[i].sent_at > sent ? "!" : "?");
	if (cuts || !alive || came < client->count) {
		cut(client, draw(client, 2) == 0);
		open_connection(client);
	}
}

static void *run_client(void *arg) {
	struct client *client = arg;
	struct world *world = client->world;
	open_connection(client);
	while (atomic_load(&world->started) < world->operations) {
		/* Few at a time more often than many: both real time and groups are tried. */
		uint32_t depth =
			draw(client, 3) > 0 ? 1 + draw(client, 4) : 1 + draw(client, PIPELINE_MAX);
		client->out_len = 0;
		for (client->count = 0; client->count < depth; client->count++) {
			struct operation *operation = &client->batch[client->count];
			if (atomic_fetch_add(&world->started, 1) >= world->operations)
				break;
			ask(client, operation->request);
			encode(client, operation->request);
			operation->sent_at = client->out_len;
		}
		if (client->count > 0)
			run_batch(client);
	}
	cut(client, false);
	return NULL;
}

/* The one long value, before all others. */
static void set_big(struct client *client) {
	static char command[BIG_LEN + 64];
	struct operation operation = { .begin_ns = now_ns() };
	snprintf(operation.request, REQUEST_MAX, "SET big #%u", BIG_LEN);
	int head = sprintf(command, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%u\r\n", BIG_LEN);
	memset(command + head, 'b', BIG_LEN);
	memcpy(command + head + BIG_LEN, "\r\n", 2);
	open_connection(client);
	size_t len = (size_t)head + BIG_LEN + 2;
	if (send(client->fd, command, len, MSG_NOSIGNAL) != (ssize_t)len || !read_reply(client))
		die("no value is set");
	note(client, &operation, now_ns(), client->reply);
	cut(client, false);
}

int main(int argc, char **argv) {
	if (argc != 6) {
		fputs("usage: record PORT FILE SEED CLIENTS OPERATIONS\n", stderr);
		return 2;
	}
	setlinebuf(stdout);
	static struct world world;
	world.server = (struct sockaddr_in){ .sin_family = AF_INET,
					     .sin_port = htons((uint16_t)atoi(argv[1])),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	world.file = fopen(argv[2], "w");
	world.operations = (uint32_t)atoi(argv[5]);
	uint32_t count = (uint32_t)atoi(argv[4]);
	struct client *clients = calloc(count, sizeof(*clients));
	if (world.file == NULL || clients == NULL)
		die(argv[2]);
	clients[0].world = &world;
	set_big(&clients[0]);
	for (uint32_t i = 0; i < count; i++) {
		clients[i].world = &world;
		clients[i].number = i + 1;
		clients[i].random =
			(strtoull(argv[3], NULL, 10) * count + i + 1) * 0x9e3779b97f4a7c15u;
		if (pthread_create(&clients[i].thread, NULL, run_client, &clients[i]) != 0)
			die("pthread_create");
	}
	for (uint32_t i = 0; i < count; i++)
		pthread_join(clients[i].thread, NULL);
	free(clients);
	return fclose(world.file) == 0 ? 0 : 1;
}
