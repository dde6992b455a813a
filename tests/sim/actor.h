/*
 * actor.h - a process that runs the engine in a simulated world, asks it things, and holds every
 * answer against the model.
 */
#ifndef TESTS_SIM_ACTOR_H
#define TESTS_SIM_ACTOR_H

#include "engine/engine.h"
#include "model.h"
#include "os/sim/sim.h"

#define CLIENTS_MAX 128u
#define ACTOR_TEXT_MAX 256u

/* Has one request on its way at most, and sees its answer when it is durable. */
struct client {
	bool waits;
	struct model_request request;
	struct model_answer answer;
};

/* When each LSN was committed, or a little later: when that was first looked at. */
struct commits {
	uint64_t last;
	uint64_t at_ns[MODEL_LSNS];
};

/* What was done by all actors of a mode's runs; numbers only (main.c adds them up). */
struct actor_counts {
	uint64_t snapshots, snapshots_refused; /* answered; one was under way */
};

struct actor {
	const char *mode;
	uint64_t seed; /* of the whole run: what replays it, with the mode */
	struct sim *sim;
	struct sim_random random; /* what it asks; the world has its own */
	struct model *model;
	struct hf_engine_options options;
	struct hf_engine *engine; /* NULL: not open */
	int commit_fd;
	struct client *clients; /* CLIENTS_MAX; the modes' (modes.h) */
	uint32_t client_count, keys, batch_max;
	bool is_crowd;
	uint32_t next_id;
	uint64_t shown; /* no answer that a client saw depends on a later LSN */
	/* While no engine is open: what must be recovered, and what can be at most. */
	uint64_t floor, ceiling;
	uint64_t snapshot_floor;     /* a snapshot of this LSN was answered: it stays, or a newer */
	struct actor_counts *counts; /* of the mode */
	struct commits *commits;     /* NULL: nobody asks */
	bool unwitnessed;	     /* this life was told that the witness is damaged */
	bool faults; /* a request may fail for a reason of the world's, if it changes nothing */
	bool damage; /* likewise, because it met damage */
};

/* How many clients, and of how much at a time: few, or, now and then, more than the ring takes. */
void actor_crowd(struct actor *actor);
/* Prints what is wrong, and how to see it again; ends the program. */
_Noreturn void actor_fail(const struct actor *actor, const char *fmt, ...) HF_PRINTF(2, 3);

/* The engine's state hash is that of `lsn`. Under the lock, as is what follows. */
void actor_check_hash(struct actor *actor, uint64_t lsn);
/* Keeps the engine's state hash as that of the model's last LSN. */
void actor_keep_hash(struct actor *actor);
/* Is this failure one that the world may be the reason of? */
bool actor_is_of_the_world(const struct actor *actor, enum hf_status status);
struct hf_span actor_key_text(uint32_t key, char *buf); /* ACTOR_TEXT_MAX */
/* Its digits, without a zero behind them; returns where they end. */
char *actor_put_number(uint64_t number, char *at);

/* plain.c: what a client might do to a plain key; sends it, as actor.c does events; reads one. */
struct model_request plain_invent(struct actor *actor);
HF_MUST bool plain_send(struct actor *actor, const struct model_request *request,
			struct model_answer *ret);
void plain_look(struct actor *actor);

/* Opens the engine; false with `err` if it refuses. */
HF_MUST bool actor_open(struct actor *actor, struct hf_err *err);
/* Compares what was recovered with the model, which is then cut to it. */
void actor_check_recovered(struct actor *actor);
/* Proves the whole log and its snapshots as `holdfast replay --verify` does; no engine is open. */
void actor_verify(struct actor *actor);
/* Up to here everything is durable, and everything was sent, at this moment. */
uint64_t actor_floor(const struct actor *actor);
uint64_t actor_ceiling(const struct actor *actor);
/* One look at what is there: a random entity, its history, a retry, the counts. */
void actor_look(struct actor *actor);
/* Loads a text; false if a fault was in the way. */
bool actor_load(struct actor *actor, enum model_contract contract, uint32_t version);
/* A batch of requests; then shows the clients what is durable. False: the engine has stopped. */
bool actor_step(struct actor *actor);
/* Waits until everything is durable, or the engine has stopped. */
void actor_settle(struct actor *actor);
/* Does nothing for a while: up to 100 ms of the world's time. */
void actor_rest(struct actor *actor);
/* Ends the process where it stands. */
_Noreturn void actor_crash(struct actor *actor);
/* Closes the engine; false with `err` if it had failed. */
HF_MUST bool actor_close(struct actor *actor, struct hf_err *err);

#endif
