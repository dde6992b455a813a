#include "actor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/machine.h"

void actor_fail(const struct actor *actor, const char *fmt, ...) {
	va_list args;
	fflush(stdout);
	fprintf(stderr, "FAILED: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nseed %llu; to see it again: build/tests/sim/sim %s --replay %llu\n",
		(unsigned long long)actor->seed, actor->mode, (unsigned long long)actor->seed);
	exit(1);
}

/* ---- names: of different lengths, so that records are ---- */

char *actor_put_number(uint64_t number, char *at) {
	char digits[20];
	uint32_t count = 0;
	do
		digits[count++] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	while (count > 0)
		*at++ = digits[--count];
	return at;
}

/* `prefix`, the number, and `count` times `padding`. */
static struct hf_span name_text(const char *prefix, uint32_t number, char padding, size_t count,
				char *buf) {
	char *at = actor_put_number(number, stpcpy(buf, prefix));
	memset(at, padding, count);
	return hf_span(buf, (size_t)(at - buf) + count);
}

struct hf_span actor_key_text(uint32_t key, char *buf) {
	return name_text("k", key, '.', key * 7 % 40, buf);
}

static struct hf_span id_text(uint32_t id, char *buf) {
	if (id == 0)
		return hf_span(buf, 0);
	return name_text("id", id, ' ', id % 8 == 0 ? 200 : id * 5 % 30, buf);
}

void actor_crowd(struct actor *actor) {
	struct sim_random *random = &actor->random;
	actor->is_crowd = sim_once_in(random, 8);
	uint32_t crowd = actor->is_crowd ? 16 : 1;
	actor->client_count = crowd * (1 + sim_below(random, CLIENTS_MAX / 16));
	actor->keys = 1 + sim_below(random, MODEL_KEYS);
	actor->batch_max = crowd * (1 + sim_below(random, 12));
}

/* ---- opening and closing ---- */

/* Where nothing failed and nothing was damaged, everything must be found as it was left. */
static void on_notice(void *arg, const char *line) {
	struct actor *actor = arg;
	bool of_witness = strstr(line, "acked.hfw is ") != NULL;
	sim_say("-- %s", line);
	actor->unwitnessed |= of_witness && strstr(line, "acked.hfw is damaged") != NULL;
	if (!actor->faults && !actor->damage &&
	    (of_witness || strstr(line, "this snapshot is not used") != NULL))
		actor_fail(actor, "nothing was damaged, and it says: %s", line);
	if (strstr(line, "no snapshot was taken: it holds ") != NULL) /* whatever failed */
		actor_fail(actor, "what a snapshot has to save it did not: %s", line);
}

/* Opening has the witness know all that was recovered, before it returns. */
static void begin_commits(struct actor *actor) {
	actor->commits->last = hf_engine_committed(actor->engine);
	memset(actor->commits->at_ns, 0,
	       (actor->commits->last + 1) * sizeof(actor->commits->at_ns[0]));
}

static void note_commits(struct actor *actor, uint64_t committed) {
	while (actor->commits->last < committed)
		actor->commits->at_ns[++actor->commits->last] = sim_time_ns(actor->sim);
}

bool actor_open(struct actor *actor, struct hf_err *err) {
	actor->engine = NULL;
	actor->unwitnessed = false;
	actor->options.notice = on_notice;
	actor->options.arg = actor;
	memset(actor->clients, 0, actor->client_count * sizeof(*actor->clients));
	struct hf_engine *engine;
	if (!hf_engine_open(&actor->options, &engine, err))
		return false;
	sim_say("-- open, recovered %llu", (unsigned long long)hf_engine_committed(engine));
	actor->engine = engine;
	if (actor->commits != NULL)
		begin_commits(actor);
	actor->commit_fd = -1;
	return hf_engine_commit_fd(engine, &actor->commit_fd, err);
}

bool actor_close(struct actor *actor, struct hf_err *err) {
	struct hf_engine *engine = actor->engine;
	actor->floor = actor_floor(actor);
	actor->ceiling = actor_ceiling(actor);
	actor->engine = NULL;
	bool ok = hf_engine_close(engine, err);
	if (ok)
		actor->floor = actor->ceiling;
	return ok;
}

void actor_crash(struct actor *actor) {
	actor->floor = actor_floor(actor);
	actor->ceiling = actor_ceiling(actor);
	actor->engine = NULL;
	sim_crash();
}

uint64_t actor_floor(const struct actor *actor) {
	return actor->engine == NULL ? actor->floor : hf_engine_committed(actor->engine);
}

uint64_t actor_ceiling(const struct actor *actor) {
	return actor->engine == NULL ? actor->ceiling : actor->model->last;
}

void actor_check_hash(struct actor *actor, uint64_t lsn) {
	uint8_t hash[16];
	struct hf_reply reply;
	hf_engine_hash(actor->engine, hash, &reply);
	if (reply.status != HF_OK || reply.lsn != lsn || reply.durable_at != lsn)
		actor_fail(actor, "the hash is that of LSN %llu, not of %llu",
			   (unsigned long long)reply.lsn, (unsigned long long)lsn);
	if (lsn > 0 && memcmp(hash, actor->model->records[lsn].hash, sizeof(hash)) != 0)
		actor_fail(actor, "the state hash after LSN %llu is another one than it was",
			   (unsigned long long)lsn);
}

void actor_keep_hash(struct actor *actor) {
	uint64_t last = actor->model->last;
	struct hf_reply reply;
	hf_engine_hash(actor->engine, actor->model->records[last].hash, &reply);
	if (reply.lsn != last)
		actor_fail(actor, "the hash is that of LSN %llu, not of %llu",
			   (unsigned long long)reply.lsn, (unsigned long long)last);
}

/* What was answered is on the disk: nothing older may be what recovery began from. */
static void check_snapshot(const struct actor *actor) {
	struct hf_engine_info info;
	if (actor->snapshot_floor == 0 || actor->faults || actor->damage)
		return;
	hf_engine_info(actor->engine, &info);
	if (info.recovered_snapshot_lsn < actor->snapshot_floor)
		actor_fail(actor,
			   "a snapshot of LSN %llu was answered, and recovery began from that of "
			   "%llu",
			   (unsigned long long)actor->snapshot_floor,
			   (unsigned long long)info.recovered_snapshot_lsn);
}

void actor_check_recovered(struct actor *actor) {
	uint64_t floor = actor->floor, ceiling = actor->ceiling;
	uint64_t committed = hf_engine_committed(actor->engine);
	if (committed < floor)
		actor_fail(actor, "LSN %llu was acknowledged, and only %llu was recovered",
			   (unsigned long long)floor, (unsigned long long)committed);
	if (committed > ceiling)
		actor_fail(actor, "LSN %llu was recovered, and only %llu was ever sent",
			   (unsigned long long)committed, (unsigned long long)ceiling);
	hf_engine_lock(actor->engine);
	actor_check_hash(actor, committed);
	check_snapshot(actor);
	hf_engine_unlock(actor->engine);
	model_cut(actor->model, committed);
	actor->shown = committed;
}

void actor_verify(struct actor *actor) {
	struct hf_engine_options options = actor->options;
	struct hf_err err;
	options.read_only = options.verify = true;
	if (!hf_engine_open(&options, &actor->engine, &err))
		actor_fail(actor, "replay --verify: %s", err.text);
	uint64_t lsn = hf_engine_committed(actor->engine);
	if (lsn < actor->floor || lsn > actor->ceiling)
		actor_fail(actor, "replay --verify: it ends at LSN %llu", (unsigned long long)lsn);
	actor_check_hash(actor, lsn);
	struct hf_engine *engine = actor->engine;
	actor->engine = NULL;
	if (!hf_engine_close(engine, &err))
		actor_fail(actor, "replay --verify: %s", err.text);
}

/* ---- requests ---- */

bool actor_is_of_the_world(const struct actor *actor, enum hf_status status) {
	return (actor->damage && status == HF_CORRUPT) ||
	       (actor->faults && (status == HF_NOMEM || status == HF_IO || status == HF_STOPPED));
}

/* What an answer gave away must not be shown before it is durable. */
static void check_answer(const struct actor *actor, const struct model_request *request,
			 const struct model_answer *want, const struct hf_reply *got) {
	const char *what = model_event_names[request->event];
	if (got->status != want->status)
		actor_fail(actor, "%s of key %u: %s (%s), should be %s", what, request->key,
			   hf_status_name(got->status), got->text == NULL ? "" : got->text,
			   hf_status_name(want->status));
	if (got->durable_at < want->durable_at || got->durable_at > actor->model->last)
		actor_fail(actor, "%s of key %u: to be shown at LSN %llu, should be %llu", what,
			   request->key, (unsigned long long)got->durable_at,
			   (unsigned long long)want->durable_at);
	if (want->status != HF_OK)
		return;
	if (got->lsn != want->lsn || got->version != want->version ||
	    got->retried != want->retried || strcmp(got->state, want->state) != 0)
		actor_fail(actor,
			   "%s of key %u: LSN %llu version %llu %s%s, should be LSN %llu version "
			   "%llu %s%s",
			   what, request->key, (unsigned long long)got->lsn,
			   (unsigned long long)got->version, got->state,
			   got->retried ? " retried" : "", (unsigned long long)want->lsn,
			   (unsigned long long)want->version, want->state,
			   want->retried ? " retried" : "");
}

/* Under the lock. False: a fault was in the way, and nothing has changed. */
static bool send_one(struct actor *actor, const struct model_request *request,
		     struct model_answer *ret) {
	char key[ACTOR_TEXT_MAX], id[ACTOR_TEXT_MAX], param[24];
	char *param_end = actor_put_number(request->param, param);
	struct hf_arg arg = {
		.name = hf_span_of(request->event == FILL ? "n" : "q"),
		.value = hf_span(param, (size_t)(param_end - param)),
	};
	bool has_param =
		request->event == PLACE || request->event == FILL || request->event == AMEND;
	struct hf_send send = {
		.contract = hf_span_of(model_contract_names[request->contract]),
		.key = actor_key_text(request->key, key),
		.event = hf_span_of(model_event_names[request->event]),
		.args = &arg,
		.arg_count = has_param,
		.has_ifversion = request->has_ifversion,
		.ifversion = request->ifversion,
		.id = id_text(request->id, id),
	};
	struct hf_reply reply;
	if (sim_once_in(&actor->random, 2)) {
		hf_engine_prepare(actor->engine, &send);
		hf_engine_touch(actor->engine, &send);
	}
	hf_engine_send(actor->engine, &send, &reply);
	if (actor_is_of_the_world(actor, reply.status)) {
		actor_check_hash(actor, actor->model->last);
		return false;
	}
	uint64_t last = actor->model->last;
	*ret = model_send(actor->model, request);
	check_answer(actor, request, ret, &reply);
	if (actor->model->last > last) {
		actor_keep_hash(actor);
	} else {
		actor_check_hash(actor, last);
	}
	return true;
}

bool actor_load(struct actor *actor, enum model_contract contract, uint32_t version) {
	struct hf_reply reply;
	if (model_is_full(actor->model))
		return true;
	bool is_new = actor->model->contract_versions[contract] < version;
	hf_engine_lock(actor->engine);
	hf_engine_contract_load(actor->engine, hf_span_of(model_texts[contract][version - 1]), "?",
				&reply);
	bool world = actor_is_of_the_world(actor, reply.status);
	if (!world && reply.status != HF_OK)
		actor_fail(actor, "loading %s version %u: %s %s", model_contract_names[contract],
			   version, hf_status_name(reply.status), reply.text);
	if (!world && is_new) {
		model_load(actor->model, contract, version);
		uint64_t last = actor->model->last;
		if (reply.lsn != last)
			actor_fail(actor, "loading %s: LSN %llu, should be %llu",
				   model_contract_names[contract], (unsigned long long)reply.lsn,
				   (unsigned long long)last);
		hf_engine_hash(actor->engine, actor->model->records[last].hash, &reply);
	} else {
		actor_check_hash(actor, actor->model->last);
	}
	hf_engine_flush(actor->engine);
	hf_engine_unlock(actor->engine);
	return !world;
}

/* What a client might send: mostly sensible, sometimes wrong, sometimes for the second time. */
static struct model_request invent(struct actor *actor) {
	struct sim_random *random = &actor->random;
	struct model *model = actor->model;
	if (model->last > 0 && sim_once_in(random, 8)) {
		uint64_t lsn = 1 + sim_below(random, (uint32_t)model->last);
		struct model_request again = model->records[lsn].request;
		if (!model->records[lsn].is_contract && again.id != 0) {
			if (sim_once_in(random, 4))
				again.param++;
			if (sim_once_in(random, 8))
				again.key = (again.key + 1) % actor->keys;
			return again;
		}
	}
	struct model_request request = {
		.contract = sim_once_in(random, 3) ? DOOR : ORDER,
		.key = sim_below(random, actor->keys),
		.param = 1 + sim_below(random, 9),
		.id = sim_once_in(random, 3) ? 0 : actor->next_id++,
	};
	const struct model_entity *entity = &model->entities[request.contract][request.key];
	if (sim_once_in(random, 32)) {
		request.event = sim_below(random, EVENTS);
		request.param = sim_below(random, 3);
	} else if (request.contract == DOOR) {
		request.event = OPEN + sim_below(random, 4);
	} else if (entity->version == 0) {
		request.event = PLACE;
		request.param = 20 + sim_below(random, 1000);
	} else {
		request.event = sim_once_in(random, 32) ? CANCEL : FILL;
		if (model->contract_versions[ORDER] == 2 && sim_once_in(random, 4)) {
			request.event = AMEND;
			request.param = entity->filled + sim_below(random, 50);
		}
	}
	if (sim_once_in(random, 4)) {
		request.has_ifversion = true;
		request.ifversion = entity->version + (sim_once_in(random, 8) ? 1 : 0);
	}
	return request;
}

/* ---- reads ---- */

static void look_at_entity(struct actor *actor, enum model_contract contract, uint32_t key,
			   uint64_t *ret_version) {
	char buf[ACTOR_TEXT_MAX];
	const struct model_entity *want = &actor->model->entities[contract][key];
	struct hf_entity_view view;
	struct hf_reply reply;
	hf_engine_get(actor->engine, hf_span_of(model_contract_names[contract]),
		      actor_key_text(key, buf), &view, &reply);
	*ret_version = want->version;
	if (want->version == 0) {
		if (reply.status != HF_NOTFOUND)
			actor_fail(actor, "key %u is there, and was never sent", key);
		return;
	}
	if (reply.status != HF_OK || view.version != want->version || view.lsn != want->lsn ||
	    strcmp(view.state, want->state) != 0 || reply.durable_at < want->lsn)
		actor_fail(actor, "a read of key %u: %s version %llu, should be %s version %llu",
			   key, reply.status == HF_OK ? view.state : hf_status_name(reply.status),
			   (unsigned long long)reply.version, want->state,
			   (unsigned long long)want->version);
	if (contract == ORDER &&
	    (hf_field_value(&view.contract->fields[0], view.block).num != want->qty ||
	     hf_field_value(&view.contract->fields[1], view.block).num != want->filled))
		actor_fail(actor, "a read of key %u has other fields", key);
}

struct history {
	const struct actor *actor;
	enum model_contract contract;
	uint32_t key;
	uint64_t next; /* version that must come */
	int64_t time_ns;
};

static void check_past(void *arg, const struct hf_history_event *event) {
	struct history *history = arg;
	const struct actor *actor = history->actor;
	if (event->lsn == 0 || event->lsn > actor->model->last)
		actor_fail(actor, "a history shows LSN %llu", (unsigned long long)event->lsn);
	const struct model_record *want = &actor->model->records[event->lsn];
	char id[ACTOR_TEXT_MAX];
	if (want->is_contract || want->request.contract != history->contract ||
	    want->request.key != history->key || want->after.version != event->version ||
	    event->version != history->next || event->time_ns < history->time_ns ||
	    strcmp(event->event, model_event_names[want->request.event]) != 0 ||
	    strcmp(event->state, want->after.state) != 0 ||
	    !hf_span_equal(event->id, id_text(want->request.id, id)))
		actor_fail(actor, "the history of key %u shows LSN %llu wrongly", history->key,
			   (unsigned long long)event->lsn);
	history->next++;
	history->time_ns = event->time_ns;
}

static void look_at_history(struct actor *actor, enum model_contract contract, uint32_t key,
			    uint64_t version) {
	char buf[ACTOR_TEXT_MAX];
	struct history history = { .actor = actor, .contract = contract, .key = key };
	struct hf_reply reply;
	history.next = 1 + sim_below(&actor->random, (uint32_t)version);
	uint64_t end = history.next + HF_HISTORY_MAX <= version ? history.next + HF_HISTORY_MAX
								: version + 1;
	hf_engine_history(actor->engine, hf_span_of(model_contract_names[contract]),
			  actor_key_text(key, buf), history.next, HF_HISTORY_MAX, check_past,
			  &history, &reply);
	if (actor_is_of_the_world(actor, reply.status))
		return;
	if (reply.status != HF_OK || history.next != end)
		actor_fail(actor, "the history of key %u breaks off at version %llu: %s", key,
			   (unsigned long long)history.next, reply.text == NULL ? "" : reply.text);
}

struct counts {
	const struct actor *actor;
	enum model_contract contract;
};

static void check_count(void *arg, const char *state, uint64_t entities) {
	const struct counts *counts = arg;
	const struct model *model = counts->actor->model;
	uint64_t want = 0;
	for (uint32_t key = 0; key < MODEL_KEYS; key++) {
		const struct model_entity *entity = &model->entities[counts->contract][key];
		want += entity->version > 0 && strcmp(entity->state, state) == 0;
	}
	if (want != entities)
		actor_fail(counts->actor, "%llu entities are %s, should be %llu",
			   (unsigned long long)entities, state, (unsigned long long)want);
}

static void retry_one(struct actor *actor) {
	struct model *model = actor->model;
	struct model_answer answer;
	uint64_t lsn = 1 + sim_below(&actor->random, (uint32_t)model->last);
	while (lsn > 0 && (model->records[lsn].is_contract || model->records[lsn].request.id == 0))
		lsn--;
	if (lsn == 0 || !send_one(actor, &model->records[lsn].request, &answer))
		return;
	if (!answer.retried || answer.lsn != lsn)
		actor_fail(actor, "the model has lost an id");
}

void actor_look(struct actor *actor) {
	struct sim_random *random = &actor->random;
	enum model_contract contract = sim_below(random, CONTRACTS);
	uint64_t version;
	hf_engine_lock(actor->engine);
	if (actor->model->contract_versions[contract] > 0) {
		uint32_t key = sim_below(random, actor->keys);
		look_at_entity(actor, contract, key, &version);
		if (version > 0)
			look_at_history(actor, contract, key, version);
		struct counts counts = { .actor = actor, .contract = contract };
		struct hf_reply reply;
		hf_engine_count(actor->engine, hf_span_of(model_contract_names[contract]),
				check_count, &counts, &reply);
	}
	plain_look(actor);
	if (actor->model->last > 0)
		retry_one(actor);
	actor_check_hash(actor, actor->model->last);
	hf_engine_unlock(actor->engine);
}

/* ---- clients ---- */

static void show(struct actor *actor) {
	uint64_t committed = hf_engine_committed(actor->engine);
	if (committed > actor->model->last)
		actor_fail(actor, "LSN %llu is committed, and only %llu was sent",
			   (unsigned long long)committed, (unsigned long long)actor->model->last);
	if (actor->commits != NULL)
		note_commits(actor, committed);
	for (uint32_t i = 0; i < actor->client_count; i++) {
		struct client *client = &actor->clients[i];
		if (!client->waits || client->answer.durable_at > committed)
			continue;
		client->waits = false;
		if (client->answer.durable_at > actor->shown)
			actor->shown = client->answer.durable_at;
	}
}

static void poll(struct actor *actor) {
	hf_engine_lock(actor->engine);
	hf_engine_commit_poll(actor->engine, actor->commit_fd);
	hf_engine_flush(actor->engine);
	hf_engine_unlock(actor->engine);
	show(actor);
}

/* Asks for a snapshot; waits for it, now and then. */
static void snapshot(struct actor *actor) {
	struct hf_snapshot_outcome outcome;
	struct hf_err err;
	uint64_t ticket;
	if (actor->model->last == 0)
		return;
	if (!hf_engine_snapshot(actor->engine, &ticket, &err)) {
		actor->counts->snapshots_refused++;
		return;
	}
	if (sim_once_in(&actor->random, 2))
		return;
	if (actor->options.flush == HF_FLUSH_THREAD)
		hf_engine_snapshot_wait(actor->engine, ticket, &outcome);
	while (!hf_engine_snapshot_done(actor->engine, ticket, &outcome)) {
		sim_event_wait(actor->commit_fd);
		poll(actor);
	}
	if (outcome.err.status != HF_OK && !actor_is_of_the_world(actor, outcome.err.status))
		actor_fail(actor, "a snapshot: %s", outcome.err.text);
	if (outcome.lsn > hf_engine_committed(actor->engine))
		actor_fail(actor, "a snapshot of LSN %llu, which is not durable",
			   (unsigned long long)outcome.lsn);
	if (outcome.err.status != HF_OK)
		return;
	actor->counts->snapshots++;
	if (outcome.lsn > actor->snapshot_floor)
		actor->snapshot_floor = outcome.lsn;
}

bool actor_step(struct actor *actor) {
	struct sim_random *random = &actor->random;
	if (sim_once_in(random, 16))
		snapshot(actor);
	uint32_t batch = 1 + sim_below(random, actor->batch_max);
	hf_engine_lock(actor->engine);
	for (uint32_t i = 0; i < batch && !model_is_full(actor->model); i++) {
		struct client *client = &actor->clients[sim_below(random, actor->client_count)];
		if (client->waits)
			continue;
		bool plain = sim_once_in(random, 4);
		client->request = plain ? plain_invent(actor) : invent(actor);
		client->waits = plain ? plain_send(actor, &client->request, &client->answer)
				      : send_one(actor, &client->request, &client->answer);
	}
	hf_engine_flush(actor->engine);
	hf_engine_unlock(actor->engine);
	if (sim_once_in(random, 2))
		poll(actor);
	else
		sim_yield();
	show(actor);
	return !hf_engine_stopped(actor->engine);
}

void actor_settle(struct actor *actor) {
	struct hf_err err;
	uint64_t last = actor->model->last;
	if (sim_once_in(&actor->random, 2)) {
		bool ok = hf_engine_wait(actor->engine, last, &err);
		if (!ok && !actor->faults)
			actor_fail(actor, "a wait failed: %s", err.text);
	}
	/* The other way: as a server's loop does. */
	while (hf_engine_committed(actor->engine) < last && !hf_engine_stopped(actor->engine)) {
		sim_event_wait(actor->commit_fd);
		poll(actor);
	}
	show(actor);
}

void actor_rest(struct actor *actor) {
	sim_sleep((uint64_t)sim_below(&actor->random, 100) * 1000000);
	show(actor);
}
