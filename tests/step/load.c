#include "load.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAT 200u /* bytes that fill up an id where a segment is to be filled quickly */

static const char contract[] = "stateDiagram-v2\n"
			       "    %% field sum: u64\n"
			       "    [*] --> Live : Add(n: u64) / sum += n\n"
			       "    Live --> Live : Add(n: u64) / sum += n\n";

static void die(const char *what, const char *why) {
	fprintf(stderr, "step: %s: %s\n", what, why);
	abort();
}

static struct hf_engine *open_engine(const char *dir, enum hf_flush_mode flush,
				     struct hf_err *err) {
	struct hf_engine_options options = {
		.data_dir = dir,
		.flush = flush,
		.segment_size = SEGMENT_SIZE,
	};
	struct hf_engine *engine;
	return hf_engine_open(&options, &engine, err) ? engine : NULL;
}

static void load_contract(struct hf_engine *engine) {
	struct hf_reply reply;
	hf_engine_contract_load(engine, hf_span_of(contract), "counter", &reply);
	if (reply.status != HF_OK)
		die("the contract", reply.text);
}

/* Sends event `i`; under the lock. */
static void send_event(struct hf_engine *engine, uint64_t i, struct hf_reply *ret) {
	char key[16], id[32 + FAT], n[24];
	snprintf(key, sizeof(key), "key-%u", (unsigned)(i % 3));
	snprintf(id, sizeof(id), "%0*llu", (int)FAT, (unsigned long long)i);
	snprintf(n, sizeof(n), "%llu", (unsigned long long)i + 1);
	struct hf_arg arg = { hf_span_of("n"), hf_span_of(n) };
	struct hf_send send = {
		.contract = hf_span_of("counter"),
		.key = hf_span_of(key),
		.event = hf_span_of("Add"),
		.args = &arg,
		.arg_count = 1,
		.id = hf_span_of(id),
	};
	hf_engine_send(engine, &send, ret);
}

/* Sends `count` events from `first` and starts their flush. `liar` acknowledges before that. */
static void send_group(struct hf_engine *engine, uint64_t first, uint64_t count,
		       struct shared *liar) {
	struct hf_reply reply;
	hf_engine_lock(engine);
	for (uint64_t i = first; i < first + count; i++) {
		send_event(engine, i, &reply);
		if (reply.status != HF_OK || reply.lsn != i + 2 || reply.retried)
			die("an event", reply.text == NULL ? "another LSN" : reply.text);
		if (liar != NULL)
			liar->acknowledged = reply.lsn;
	}
	hf_engine_flush(engine);
	hf_engine_unlock(engine);
}

static void wait_for(struct hf_engine *engine, uint64_t lsn, struct shared *shared) {
	struct hf_err err;
	if (!hf_engine_wait(engine, lsn, &err))
		die("the log", err.text);
	shared->acknowledged = hf_engine_committed(engine);
}

static struct hf_engine_info info_of(struct hf_engine *engine) {
	struct hf_engine_info info;
	hf_engine_lock(engine);
	hf_engine_info(engine, &info);
	hf_engine_unlock(engine);
	return info;
}

static uint64_t position(struct hf_engine *engine) {
	return info_of(engine).log_bytes;
}

/* Up to where a single sector is left of the first segment. */
static uint64_t fill_segment(struct hf_engine *engine, struct shared *shared) {
	uint64_t events = 0;
	while (position(engine) < SEGMENT_SIZE - HF_SECTOR) {
		uint64_t count = position(engine) < SEGMENT_SIZE - 65536 ? 64 : 1;
		send_group(engine, events, count, NULL);
		events += count;
		wait_for(engine, events + 1, shared);
	}
	return events;
}

_Noreturn void load_run(const char *dir, const struct plan *plan, struct shared *shared) {
	struct hf_err err;
	struct hf_engine *engine = open_engine(dir, plan->flush, &err);
	if (engine == NULL)
		die("cannot open", err.text);
	hf_engine_lock(engine);
	load_contract(engine);
	hf_engine_unlock(engine);
	wait_for(engine, 1, shared);
	uint64_t first = plan->at_segment_end ? fill_segment(engine, shared) : 0;
	shared->first_event = first;
	shared->begin_position = position(engine);
	shared->io_uring = info_of(engine).io_uring;
	raise(SIGSTOP);
	struct shared *liar = plan->lie ? shared : NULL;
	send_group(engine, first, plan->group, liar);
	/* The second group gathers while the first is on its way. */
	send_group(engine, first + plan->group, plan->group, liar);
	wait_for(engine, first + plan->group + 1, shared);
	wait_for(engine, first + 2 * plan->group + 1, shared);
	shared->finished = true;
	raise(SIGSTOP);
	abort();
}

static void get_hash(struct hf_engine *engine, uint8_t ret_hash[16]) {
	struct hf_reply reply;
	hf_engine_lock(engine);
	hf_engine_hash(engine, ret_hash, &reply);
	hf_engine_unlock(engine);
}

void load_learn(const char *dir, uint64_t events, struct expected *ret) {
	struct hf_err err;
	struct hf_engine *engine = open_engine(dir, HF_FLUSH_AUTO, &err);
	if (engine == NULL)
		die("cannot open", err.text);
	get_hash(engine, ret[0].hash);
	hf_engine_lock(engine);
	load_contract(engine);
	hf_engine_unlock(engine);
	get_hash(engine, ret[1].hash);
	for (uint64_t i = 0; i < events; i++) {
		struct hf_reply reply;
		hf_engine_lock(engine);
		send_event(engine, i, &reply);
		hf_engine_unlock(engine);
		ret[i + 2].version = reply.version;
		get_hash(engine, ret[i + 2].hash);
	}
	if (!hf_engine_close(engine, &err))
		die("cannot close", err.text);
}

static bool hash_is(struct hf_engine *engine, const uint8_t expected[16]) {
	uint8_t hash[16];
	get_hash(engine, hash);
	return memcmp(hash, expected, sizeof(hash)) == 0;
}

static bool send_again(struct hf_engine *engine, uint64_t first, uint64_t end, uint64_t recovered,
		       const struct expected *expected, struct hf_err *err) {
	for (uint64_t i = first; i < end; i++) {
		struct hf_reply reply;
		hf_engine_lock(engine);
		if (recovered == 0 && i == 0)
			load_contract(engine);
		send_event(engine, i, &reply);
		hf_engine_flush(engine);
		hf_engine_unlock(engine);
		if (reply.status != HF_OK || reply.lsn != i + 2 ||
		    reply.version != expected[i + 2].version ||
		    reply.retried != (i + 2 <= recovered))
			return hf_fail(
				err, HF_CORRUPT,
				"event %llu, sent again: status %d, LSN %llu, version %llu%s %s",
				(unsigned long long)i, (int)reply.status,
				(unsigned long long)reply.lsn, (unsigned long long)reply.version,
				reply.retried ? ", as retried" : "",
				reply.text == NULL ? "" : reply.text);
	}
	if (!hash_is(engine, expected[end + 1].hash))
		return hf_fail(err, HF_CORRUPT, "another state after all was sent again");
	return hf_engine_wait(engine, end + 1, err);
}

bool load_recover(const char *dir, uint64_t first, uint64_t end, const struct expected *expected,
		  uint64_t *ret_lsn, struct hf_err *err) {
	struct hf_engine_info info;
	struct hf_engine *engine = open_engine(dir, HF_FLUSH_AUTO, err);
	if (engine == NULL)
		return false;
	hf_engine_info(engine, &info);
	*ret_lsn = info.last_lsn;
	bool ok = info.last_lsn <= end + 1
			  ? hash_is(engine, expected[info.last_lsn].hash) ||
				    hf_fail(err, HF_CORRUPT, "not the state of LSN %llu",
					    (unsigned long long)info.last_lsn)
			  : hf_fail(err, HF_CORRUPT, "LSN %llu was never given",
				    (unsigned long long)info.last_lsn);
	ok = ok && send_again(engine, first, end, info.last_lsn, expected, err);
	struct hf_err ignored;
	return hf_engine_close(engine, ok ? err : &ignored) && ok;
}
