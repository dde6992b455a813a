/*
 * snapshots.c - when snapshots are taken: the thread that takes them, its policy, and who asked.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "engine/engine_private.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/thread.h"

#define TICK_NS 1000000000u   /* how often the policy is looked at */
#define RETRY_NS 30000000000u /* after a failure */
#define OUTCOMES 64u	      /* kept for those who asked: they look when they are woken */

struct snapshots {
	struct hf_engine *engine;
	struct hf_thread thread;
	uint64_t log_bytes, every_ns; /* policy; 0: off */
	_Atomic bool quit;

	struct hf_mutex mutex; /* guards the next three; taken under the engine's lock, not the
				  other way round */
	/* One more was asked for than is done: it is under way, or will be at once. */
	uint64_t asked, done;
	struct hf_snapshot_outcome outcomes[OUTCOMES]; /* of the last ones, by their number */
	struct hf_cond wake;			       /* for the thread: asked for, or quit */
	struct hf_cond over;			       /* `done` has moved */

	/* Guarded by the engine's lock. */
	uint64_t lsn, before_lsn; /* of the newest good snapshot and the one before; 0: none */
	uint64_t position;	  /* of the log, at the newest one */
	uint64_t bytes, duration_ns, failures;
	int64_t taken_ns;  /* wall clock */
	uint64_t taken_at; /* monotonic */
	uint64_t retry_at;
};

bool hf_snapshots_quit(const struct hf_engine *engine) {
	return atomic_load(&engine->snapshots->quit);
}

void hf_snapshots_sleep(struct hf_engine *engine, uint64_t ns) {
	struct snapshots *snapshots = engine->snapshots;
	hf_mutex_lock(&snapshots->mutex);
	if (!atomic_load(&snapshots->quit))
		hf_cond_wait_ns(&snapshots->wake, &snapshots->mutex, ns);
	hf_mutex_unlock(&snapshots->mutex);
}

static void tell(struct hf_engine *engine, const char *what, const struct hf_err *err) {
	char line[HF_ERR_TEXT_MAX + 80];
	snprintf(line, sizeof(line), "WARNING: %s: %s", what, err->text);
	if (engine->notice != NULL)
		engine->notice(engine->arg, line);
}

/* To have logged nothing yet is none: who asked is told, and that is all. */
static bool is_failure(const struct hf_err *err) {
	return err->status != HF_NOTFOUND;
}

/* Takes one, and keeps account. */
static bool take(struct snapshots *snapshots, struct hf_err *err) {
	struct hf_engine *engine = snapshots->engine;
	struct hf_snapshot_head head = { 0 };
	uint64_t bytes = 0, begun_at = hf_clock_monotonic_ns();
	bool ok = hf_snapshot_take(engine, snapshots->lsn, &head, &bytes, err);
	uint64_t now = hf_clock_monotonic_ns();
	hf_engine_lock(engine);
	if (!ok && is_failure(err)) {
		snapshots->failures++;
		snapshots->retry_at = now + RETRY_NS;
	} else if (ok && head.lsn != 0) {
		snapshots->before_lsn = snapshots->lsn;
		snapshots->lsn = head.lsn;
		snapshots->position = head.position;
		snapshots->bytes = bytes;
		snapshots->taken_ns = head.taken_ns;
		snapshots->taken_at = begun_at;
		snapshots->duration_ns = now - begun_at;
		snapshots->retry_at = 0;
	}
	hf_engine_unlock(engine);
	return ok;
}

static void take_and_tell(struct snapshots *snapshots) {
	struct hf_engine *engine = snapshots->engine;
	struct hf_err err = { 0 }, why;
	uint64_t newest_lsn = snapshots->lsn;
	bool taken = take(snapshots, &err);
	/* A log that has stopped has told its reason, which is this one's, too. */
	if (!taken && is_failure(&err) && !atomic_load(&snapshots->quit) &&
	    !hf_log_stopped(engine->log))
		tell(engine, "no snapshot was taken", &err);
	/* The new one is durable in its place: those older than the one before it may go. */
	if (taken && snapshots->lsn != newest_lsn &&
	    !hf_snapshot_keep(&engine->dir, snapshots->lsn, snapshots->before_lsn, &why))
		tell(engine, "an old snapshot stays", &why);
	hf_mutex_lock(&snapshots->mutex);
	snapshots->done = snapshots->asked;
	snapshots->outcomes[snapshots->done % OUTCOMES] = (struct hf_snapshot_outcome){
		.lsn = taken ? snapshots->lsn : 0,
		.bytes = taken ? snapshots->bytes : 0,
		.err = err,
	};
	hf_cond_broadcast(&snapshots->over);
	hf_mutex_unlock(&snapshots->mutex);
	hf_engine_lock(engine);
	hf_log_wake(engine->log);
	hf_engine_unlock(engine);
}

/* Does the policy want one? */
static bool is_due(const struct snapshots *snapshots) {
	struct hf_engine *engine = snapshots->engine;
	uint64_t now = hf_clock_monotonic_ns();
	hf_engine_lock(engine);
	/* After a crash the log may go on before a place that stood open when it was taken. */
	uint64_t position = hf_log_position(engine->log);
	uint64_t grown = position > snapshots->position ? position - snapshots->position : 0;
	uint64_t enough = snapshots->bytes / 4 > snapshots->log_bytes ? snapshots->bytes / 4
								      : snapshots->log_bytes;
	bool due = (snapshots->log_bytes != 0 && grown >= enough) ||
		   (snapshots->every_ns != 0 && now - snapshots->taken_at >= snapshots->every_ns);
	due = due && now >= snapshots->retry_at && hf_log_last(engine->log) != snapshots->lsn &&
	      !hf_log_stopped(engine->log);
	hf_engine_unlock(engine);
	return due;
}

static void snapshots_main(void *arg) {
	struct snapshots *snapshots = arg;
	bool ticks = snapshots->log_bytes != 0 || snapshots->every_ns != 0;
	while (!atomic_load(&snapshots->quit)) {
		bool due = ticks && is_due(snapshots);
		hf_mutex_lock(&snapshots->mutex);
		if (due && snapshots->asked == snapshots->done)
			snapshots->asked++;
		bool wanted = snapshots->asked > snapshots->done;
		if (!wanted && !atomic_load(&snapshots->quit)) {
			if (ticks)
				hf_cond_wait_ns(&snapshots->wake, &snapshots->mutex, TICK_NS);
			else
				hf_cond_wait(&snapshots->wake, &snapshots->mutex);
		}
		hf_mutex_unlock(&snapshots->mutex);
		if (wanted)
			take_and_tell(snapshots);
	}
}

static void snapshots_free(struct snapshots *snapshots) {
	hf_cond_fini(&snapshots->over);
	hf_cond_fini(&snapshots->wake);
	hf_mutex_fini(&snapshots->mutex);
	hf_memory_free(snapshots);
}

bool hf_snapshots_start(struct hf_engine *engine, const struct hf_engine_options *options,
			struct hf_err *err) {
	struct snapshots *snapshots = hf_memory_new(sizeof(*snapshots));
	if (snapshots == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	uint64_t log_bytes = options->snapshot_log_bytes, every_s = options->snapshot_every_s;
	*snapshots = (struct snapshots){
		.engine = engine,
		.log_bytes = log_bytes == 0 ? HF_SNAPSHOT_LOG_DEFAULT : log_bytes,
		.every_ns = every_s > UINT64_MAX / 1000000000u ? UINT64_MAX : every_s * 1000000000u,
		.lsn = engine->recovered_from.lsn,
		.position = engine->recovered_from.position,
		.bytes = engine->recovered_bytes,
		.taken_ns = engine->recovered_from.taken_ns,
		.taken_at = hf_clock_monotonic_ns(),
	};
	if (log_bytes == UINT64_MAX)
		snapshots->log_bytes = 0;
	hf_mutex_init(&snapshots->mutex);
	hf_cond_init(&snapshots->wake);
	hf_cond_init(&snapshots->over);
	engine->snapshots = snapshots;
	if (hf_thread_start(&snapshots->thread, snapshots_main, snapshots, err))
		return true;
	engine->snapshots = NULL;
	snapshots_free(snapshots);
	return false;
}

void hf_snapshots_stop(struct hf_engine *engine) {
	struct snapshots *snapshots = engine->snapshots;
	if (snapshots == NULL)
		return;
	hf_mutex_lock(&snapshots->mutex);
	atomic_store(&snapshots->quit, true);
	hf_cond_broadcast(&snapshots->wake);
	hf_mutex_unlock(&snapshots->mutex);
	hf_thread_join(&snapshots->thread);
	engine->snapshots = NULL;
	snapshots_free(snapshots);
}

bool hf_engine_snapshot(struct hf_engine *engine, uint64_t *ret_ticket, struct hf_err *err) {
	struct snapshots *snapshots = engine->snapshots;
	HF_ASSERT(snapshots != NULL);
	hf_mutex_lock(&snapshots->mutex);
	bool ok = snapshots->asked == snapshots->done;
	if (ok) {
		*ret_ticket = ++snapshots->asked;
		hf_cond_signal(&snapshots->wake);
	}
	hf_mutex_unlock(&snapshots->mutex);
	return ok || hf_fail(err, HF_REFUSED, "%s", HF_SNAPSHOT_UNDER_WAY);
}

bool hf_engine_snapshot_done(struct hf_engine *engine, uint64_t ticket,
			     struct hf_snapshot_outcome *ret) {
	struct snapshots *snapshots = engine->snapshots;
	hf_mutex_lock(&snapshots->mutex);
	bool done = snapshots->done >= ticket;
	if (done)
		*ret = snapshots->outcomes[ticket % OUTCOMES];
	hf_mutex_unlock(&snapshots->mutex);
	return done;
}

void hf_engine_snapshot_wait(struct hf_engine *engine, uint64_t ticket,
			     struct hf_snapshot_outcome *ret) {
	struct snapshots *snapshots = engine->snapshots;
	hf_mutex_lock(&snapshots->mutex);
	while (snapshots->done < ticket)
		hf_cond_wait(&snapshots->over, &snapshots->mutex);
	*ret = snapshots->outcomes[ticket % OUTCOMES];
	hf_mutex_unlock(&snapshots->mutex);
}

void hf_snapshots_info(const struct hf_engine *engine, struct hf_engine_info *ret) {
	struct snapshots *snapshots = engine->snapshots;
	if (snapshots == NULL)
		return;
	ret->snapshot_lsn = snapshots->lsn;
	ret->snapshot_bytes = snapshots->bytes;
	ret->snapshot_taken_ns = snapshots->taken_ns;
	ret->snapshot_duration_ns = snapshots->duration_ns;
	ret->snapshot_failures = snapshots->failures;
	hf_mutex_lock(&snapshots->mutex);
	ret->snapshot_under_way = snapshots->asked > snapshots->done;
	hf_mutex_unlock(&snapshots->mutex);
}
