/*
 * archiver.c - snapshots, taken every so often by a thread of its own and written by workers. What
 * counts never takes this mutex.
 */
#include "base/memory.h"
#include "os/clock.h"
#include "stats/stats_private.h"

struct hf_archiver {
	struct hf_archiver_options options;
	struct hf_thread taker, workers[HF_ARCHIVER_WORKERS_MAX];
	uint32_t worker_count;
	bool taker_runs;
	bool cancel; /* what it waits for in hf_stats_take_until; that has its own mutex */

	struct hf_mutex mutex; /* guards what follows */
	struct hf_cond moved;
	bool stop;  /* the taker */
	bool ended; /* it has: nothing more will be queued */
	struct hf_archiver_info info;
	/* One for each that may wait or be written, and one that is being taken. */
	struct hf_stats_snapshot *spare[HF_ARCHIVER_QUEUE_MAX + HF_ARCHIVER_WORKERS_MAX + 1];
	uint32_t spare_count;
	struct hf_stats_snapshot *queue[HF_ARCHIVER_QUEUE_MAX]; /* a ring */
	uint32_t first, waiting;
};

/* Queues a snapshot, or drops it. */
static void offer(struct hf_archiver *archiver, struct hf_stats_snapshot *snapshot) {
	uint32_t room = archiver->options.queue;
	if (archiver->waiting == room) {
		archiver->info.dropped++;
		archiver->spare[archiver->spare_count++] = snapshot;
		return;
	}
	archiver->queue[(archiver->first + archiver->waiting++) % room] = snapshot;
	archiver->info.queued++;
	hf_cond_broadcast(&archiver->moved);
}

static void take(void *arg) {
	struct hf_archiver *archiver = arg;
	const struct hf_archiver_options *options = &archiver->options;
	uint64_t next_ns = hf_later_ns(hf_clock_monotonic_ns(), options->period_ns);
	hf_mutex_lock(&archiver->mutex);
	while (!archiver->stop) {
		uint64_t now_ns = hf_clock_monotonic_ns();
		if (now_ns < next_ns) {
			hf_cond_wait_ns(&archiver->moved, &archiver->mutex, next_ns - now_ns);
			continue;
		}
		next_ns = hf_later_ns(now_ns, options->period_ns);
		struct hf_stats_snapshot *snapshot = archiver->spare[--archiver->spare_count];
		hf_mutex_unlock(&archiver->mutex);
		enum hf_status status =
			hf_stats_take_until(options->stats, NULL, options->deadline_ns,
					    &archiver->cancel, snapshot, NULL, 0);
		hf_mutex_lock(&archiver->mutex);
		if (status == HF_OK) {
			offer(archiver, snapshot);
		} else {
			archiver->info.failed++;
			archiver->spare[archiver->spare_count++] = snapshot;
		}
	}
	hf_mutex_unlock(&archiver->mutex);
}

static void work(void *arg) {
	struct hf_archiver *archiver = arg;
	hf_mutex_lock(&archiver->mutex);
	for (;;) {
		if (archiver->waiting == 0) {
			if (archiver->ended)
				break;
			hf_cond_wait(&archiver->moved, &archiver->mutex);
			continue;
		}
		struct hf_stats_snapshot *snapshot = archiver->queue[archiver->first];
		archiver->first = (archiver->first + 1) % archiver->options.queue;
		archiver->waiting--;
		hf_mutex_unlock(&archiver->mutex);
		bool ok = archiver->options.write(archiver->options.arg, snapshot);
		hf_mutex_lock(&archiver->mutex);
		*(ok ? &archiver->info.written : &archiver->info.failed) += 1;
		archiver->info.queued--;
		archiver->spare[archiver->spare_count++] = snapshot;
	}
	hf_mutex_unlock(&archiver->mutex);
}

static bool check_options(const struct hf_archiver_options *options, struct hf_err *err) {
	if (options->queue == 0 || options->queue > HF_ARCHIVER_QUEUE_MAX)
		return hf_fail(err, HF_USAGE, "a queue of %u: want 1 to %u", options->queue,
			       HF_ARCHIVER_QUEUE_MAX);
	if (options->workers == 0 || options->workers > HF_ARCHIVER_WORKERS_MAX)
		return hf_fail(err, HF_USAGE, "%u workers: want 1 to %u", options->workers,
			       HF_ARCHIVER_WORKERS_MAX);
	if (options->period_ns == 0)
		return hf_fail(err, HF_USAGE, "the period is 0");
	if (options->stats == NULL || options->write == NULL)
		return hf_fail(err, HF_USAGE, "an archiver needs `stats`, and a function to write");
	return true;
}

static bool start(struct hf_archiver *archiver, struct hf_err *err) {
	const struct hf_archiver_options *options = &archiver->options;
	uint32_t count = options->queue + options->workers + 1;
	while (archiver->spare_count < count) {
		enum hf_status status =
			hf_stats_snapshot_new(options->stats,
					      &archiver->spare[archiver->spare_count], err->text,
					      sizeof(err->text));
		if (status != HF_OK) {
			err->status = status;
			return false;
		}
		archiver->spare_count++;
	}
	for (; archiver->worker_count < options->workers; archiver->worker_count++)
		if (!hf_thread_start(&archiver->workers[archiver->worker_count], work, archiver,
				     err))
			return false;
	archiver->taker_runs = hf_thread_start(&archiver->taker, take, archiver, err);
	return archiver->taker_runs;
}

enum hf_status hf_archiver_start(const struct hf_archiver_options *options,
				 struct hf_archiver **ret, char *err, size_t err_cap) {
	struct hf_err why;
	if (!check_options(options, &why))
		return hf_err_tell(&why, err, err_cap);
	struct hf_archiver *archiver = hf_memory_new(sizeof(*archiver));
	if (archiver == NULL) {
		hf_fail(&why, HF_NOMEM, "out of memory for an archiver");
		return hf_err_tell(&why, err, err_cap);
	}
	archiver->options = *options;
	hf_mutex_init(&archiver->mutex);
	hf_cond_init(&archiver->moved);
	if (!start(archiver, &why)) {
		hf_archiver_stop(archiver, NULL);
		return hf_err_tell(&why, err, err_cap);
	}
	*ret = archiver;
	return HF_OK;
}

void hf_archiver_info(struct hf_archiver *archiver, struct hf_archiver_info *ret) {
	hf_mutex_lock(&archiver->mutex);
	*ret = archiver->info;
	hf_mutex_unlock(&archiver->mutex);
}

static void tell_all(struct hf_archiver *archiver, bool *what) {
	hf_mutex_lock(&archiver->mutex);
	*what = true;
	hf_cond_broadcast(&archiver->moved);
	hf_mutex_unlock(&archiver->mutex);
}

void hf_archiver_stop(struct hf_archiver *archiver, struct hf_archiver_info *ret) {
	tell_all(archiver, &archiver->stop);
	hf_stats_cancel(archiver->options.stats, &archiver->cancel);
	if (archiver->taker_runs)
		hf_thread_join(&archiver->taker);
	tell_all(archiver, &archiver->ended);
	for (uint32_t i = 0; i < archiver->worker_count; i++)
		hf_thread_join(&archiver->workers[i]);
	if (ret != NULL)
		*ret = archiver->info;
	for (uint32_t i = 0; i < archiver->spare_count; i++)
		hf_stats_snapshot_free(archiver->spare[i]);
	hf_cond_fini(&archiver->moved);
	hf_mutex_fini(&archiver->mutex);
	hf_memory_free(archiver);
}
