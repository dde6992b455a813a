/*
 * server.h - serves an engine to Redis clients.
 *
 * hf_server_open binds, hf_server_run serves until it is told to stop, hf_server_close lets go.
 * The engine stays the caller's.
 */
#ifndef HF_SERVER_H
#define HF_SERVER_H

#include <stdint.h>

#include "base/err.h"

struct hf_engine;
struct hf_server;

struct hf_server_options {
	struct hf_engine *engine; /* in HF_FLUSH_THREAD if there are several threads */
	const char *listen;	  /* "127.0.0.1:7379", "[::1]:7379"; port 0 takes a free one */
	uint32_t threads;	  /* 1: the caller of hf_server_run does all */
	uint32_t max_clients;	  /* 1 to HF_CONNECTIONS_MAX */
	/* Gets what an operator should know, a line without its end, in any thread. May be NULL. */
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};

#define HF_SERVER_THREADS_MAX 64u

/* Is it an address in form? Asks nobody. */
HF_MUST bool hf_server_check_listen(const char *listen, struct hf_err *err);
/*
 * Binds and listens; clients wait until hf_server_run. Raises the process's limit of open files
 * as far as it may, and lowers max_clients if that is not enough. `options` is not kept, but
 * the engine is used until hf_server_close.
 */
HF_MUST bool hf_server_open(const struct hf_server_options *options, struct hf_server **ret,
			    struct hf_err *err);
/* Where it listens, with the port that was found: "127.0.0.1:7379". */
const char *hf_server_address(const struct hf_server *server);
/* How many clients it takes. */
uint32_t hf_server_max_clients(const struct hf_server *server);
/*
 * Serves. True after hf_server_stop, once everything that had been read is answered (a client
 * that does not take its replies is given up after some seconds). False if the engine stopped:
 * nothing that is not durable was acknowledged.
 */
HF_MUST bool hf_server_run(struct hf_server *server, struct hf_err *err);
/*
 * Asks hf_server_run to drain and return. Any thread, also a signal handler; again does nothing
 * more.
 */
void hf_server_stop(struct hf_server *server);
void hf_server_close(struct hf_server *server);

#endif
