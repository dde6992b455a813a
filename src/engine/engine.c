/*
 * engine.c - opening, closing, and what the engine passes on to its log.
 */
#include "engine/engine_private.h"
#include "os/event.h"
#include "os/memory.h"

static const struct hf_allocator allocator = { hf_pages_new, hf_pages_free, hf_pages_drop };

static void log_notice(void *arg, const char *line) {
	struct hf_engine *engine = arg;
	if (engine->notice != NULL)
		engine->notice(engine->arg, line);
}

static void log_progress(void *arg, uint64_t done, uint64_t total) {
	struct hf_engine *engine = arg;
	if (engine->progress != NULL)
		engine->progress(engine->arg, done, total, engine->events);
}

static void log_committed(void *arg) {
	struct hf_engine *engine = arg;
	engine->committed(engine->arg);
}

void hf_engine_empty(struct hf_engine *engine) {
	hf_contracts_free(engine);
	hf_index_fini(&engine->ids);
	hf_index_init(&engine->ids, &allocator);
	hf_map_free(engine->entities);
	hf_map_free(engine->plain.map);
	engine->entities = NULL;
	engine->plain = (struct plain_keys){ 0 };
	hf_arena_free(&engine->arena);
	engine->state_hash[0] = engine->state_hash[1] = 0;
}

bool hf_engine_make_maps(struct hf_engine *engine, uint64_t entities, uint64_t plain_keys,
			 struct hf_err *err) {
	struct hf_object_kind entity = hf_entity_kind(engine), plain = hf_plain_kind(engine);
	return hf_objects_make(&entity, entities, &allocator, &engine->entities, err) &&
	       hf_objects_make(&plain, plain_keys, &allocator, &engine->plain.map, err);
}

static void engine_free(struct hf_engine *engine) {
	hf_engine_empty(engine);
	hf_figures_stop(engine);
	hf_memory_free(engine->id_pairs);
	if (engine->dir_open)
		hf_dir_close(&engine->dir);
	hf_memory_free(engine);
}

static bool open_log(struct hf_engine *engine, const struct hf_engine_options *options,
		     struct hf_err *err) {
	struct hf_log_place start = { 0 };
	uint64_t lsns[HF_SNAPSHOTS_LISTED];
	uint32_t count;
	/* Tools read the whole log: they are there to prove it. */
	if (!hf_snapshot_list(&engine->dir, lsns, &count, err) ||
	    (!options->read_only && !hf_snapshot_recover(engine, lsns, count, &start, err)) ||
	    (start.lsn == 0 && !hf_engine_make_maps(engine, 0, 0, err)))
		return false;
	if (options->verify) {
		memcpy(engine->snapshots_ahead, lsns, count * sizeof(*lsns));
		engine->snapshots_ahead_count = count;
		hf_snapshot_take_seed(engine, lsns, count);
	}
	struct hf_log_options log = {
		.dir = &engine->dir,
		.segment_size = options->segment_size,
		.synced = !options->no_sync,
		.threaded = options->flush == HF_FLUSH_THREAD,
		.read_only = options->read_only,
		.until_lsn = options->until_lsn,
		.start = start.lsn == 0 ? NULL : &start,
		.snapshot_lsn = count == 0 || options->until_lsn != 0 ? 0 : lsns[0],
		.records = hf_replay_records,
		.progress = log_progress,
		.notice = log_notice,
		.committed = engine->committed == NULL ? NULL : log_committed,
		.durable = engine->stats == NULL ? NULL : hf_figures_group,
		.arg = engine,
	};
	if (!hf_log_open(&log, &engine->log, err))
		return false;
	engine->recovered_events = engine->events;
	if (hf_verify_ids(engine, err) && hf_snapshot_compare_unlike(engine, err) &&
	    (options->read_only || hf_snapshots_start(engine, options, err)))
		return true;
	struct hf_err ignored; /* nothing was written that could fail to become durable */
	(void)!hf_log_close(engine->log, &ignored);
	return false;
}

bool hf_engine_open(const struct hf_engine_options *options, struct hf_engine **ret,
		    struct hf_err *err) {
	struct hf_engine *engine = hf_memory_new(sizeof(*engine));
	if (engine == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	engine->notice = options->notice;
	engine->progress = options->progress;
	engine->committed = options->committed;
	engine->arg = options->arg;
	engine->verify = options->verify;
	hf_index_init(&engine->ids, &allocator);
	if (!options->read_only && !hf_figures_start(engine, err)) {
		engine_free(engine);
		return false;
	}
	engine->dir_open = hf_dir_open(options->data_dir, !options->read_only, &engine->dir, err);
	if (!engine->dir_open || (!options->read_only && !hf_dir_lock(&engine->dir, err)) ||
	    !hf_random_u64(&engine->hash_seed, err) || !open_log(engine, options, err)) {
		engine_free(engine);
		return false;
	}
	*ret = engine;
	return true;
}

bool hf_engine_close(struct hf_engine *engine, struct hf_err *err) {
	hf_snapshots_stop(engine);
	bool ok = hf_log_close(engine->log, err);
	engine_free(engine);
	return ok;
}

void hf_engine_lock(struct hf_engine *engine) {
	hf_log_lock(engine->log);
	engine->now_is_fresh = false;
	if (engine->counting != NULL)
		hf_stats_quiescent(engine->counting);
}

void hf_engine_unlock(struct hf_engine *engine) {
	hf_log_unlock(engine->log);
}

uint64_t hf_engine_committed(const struct hf_engine *engine) {
	return hf_log_committed(engine->log);
}

bool hf_engine_flush(struct hf_engine *engine) {
	return hf_log_flush(engine->log);
}

bool hf_engine_flushing(const struct hf_engine *engine) {
	return hf_log_flushing(engine->log);
}

uint64_t hf_engine_taken(const struct hf_engine *engine) {
	return hf_log_taken(engine->log);
}

bool hf_engine_group_full(const struct hf_engine *engine) {
	return hf_log_group_full(engine->log);
}

bool hf_engine_commit_fd(struct hf_engine *engine, int *ret_fd, struct hf_err *err) {
	return hf_log_commit_fd(engine->log, ret_fd, err);
}

void hf_engine_commit_poll(struct hf_engine *engine, int fd) {
	hf_event_clear(fd);
	hf_log_poll(engine->log);
}

bool hf_engine_wait(struct hf_engine *engine, uint64_t lsn, struct hf_err *err) {
	return hf_log_wait(engine->log, lsn, err);
}

bool hf_engine_stopped(const struct hf_engine *engine) {
	return hf_log_stopped(engine->log);
}

const char *hf_engine_stop_reason(const struct hf_engine *engine) {
	return hf_log_stop_reason(engine->log);
}

void hf_engine_info(const struct hf_engine *engine, struct hf_engine_info *ret) {
	struct hf_log_info log;
	hf_log_info(engine->log, &log);
	*ret = (struct hf_engine_info){
		.data_dir = engine->dir.path,
		.io_uring = log.io_uring,
		.direct_io = log.direct_io,
		.synced = log.synced,
		.last_lsn = hf_log_last(engine->log),
		.committed_lsn = hf_log_committed(engine->log),
		.events = engine->events,
		.contracts = engine->family_count,
		.entities = hf_objects_count(engine->entities),
		.ids = hf_index_count(&engine->ids),
		.plain_keys = hf_objects_count(engine->plain.map),
		.memory_plain = engine->plain.bytes + hf_objects_bytes(engine->plain.map),
		.log_bytes = log.bytes,
		.segments = log.segments,
		.segment_size = log.segment_size,
		.record_bytes = log.record_bytes,
		.memory_entities = engine->arena.bytes,
		.memory_ids = hf_index_bytes(&engine->ids),
		.memory_index = hf_objects_bytes(engine->entities),
		.memory_contracts = engine->contract_bytes,
		.recovered_events = engine->recovered_events,
		.recovered_ns = engine->load_ns + log.scan_ns,
		.recovered_snapshot_lsn = engine->recovered_from.lsn,
		.cut_bytes = log.cut_bytes,
	};
	hf_snapshots_info(engine, ret);
	_Static_assert(sizeof(ret->flush_text) == sizeof(log.flush_text), "the same text");
	memcpy(ret->flush_text, log.flush_text, sizeof(log.flush_text));
}
