/*
 * What was counted, from one snapshot of src/stats: HF.STATS shows all of it, INFO the main
 * figures.
 */
#include <stdio.h>

#include "os/memory.h"
#include "server/command.h"
#include "server/glob.h"

#define TAKE_NS 2000000u /* for the other threads to come by; they are seldom longer away */

bool hf_server_register(struct hf_server *server, struct hf_err *err) {
	struct hf_stats *stats = hf_engine_stats(server->engine);
	char name[HF_NAME_MAX + 16];
	if (server->latencies == NULL)
		server->latencies =
			hf_memory_new((hf_command_count + 1) * sizeof(*server->latencies));
	if (server->latencies == NULL)
		return hf_fail(err, HF_NOMEM, "no memory for the server's figures");
	enum hf_status status = HF_OK;
	for (uint32_t i = 0; i <= hf_command_count && status == HF_OK; i++) {
		snprintf(name, sizeof(name), "latency_ns.%s",
			 i < hf_command_count ? hf_commands[i].name : "unknown");
		status = hf_stats_histogram(stats, name, &server->latencies[i], err->text,
					    sizeof(err->text));
	}
	if (status == HF_OK)
		status = hf_stats_counter(stats, HF_FIGURE_EVICTED, &server->evicted, err->text,
					  sizeof(err->text));
	if (status == HF_OK)
		status = hf_stats_counter(stats, HF_FIGURE_REJECTED, &server->rejected, err->text,
					  sizeof(err->text));
	if (status == HF_OK)
		status = hf_stats_gauge(stats, HF_FIGURE_CLIENT_MEMORY, &server->client_memory,
					err->text, sizeof(err->text));
	err->status = status;
	return status == HF_OK;
}

bool hf_loop_join_stats(struct hf_loop *loop, struct hf_err *err) {
	struct hf_stats *stats = hf_engine_stats(loop->engine);
	char name[32];
	snprintf(name, sizeof(name), "network-%u", (unsigned)(loop - loop->server->loops) + 1);
	err->status = hf_stats_snapshot_new(stats, &loop->figures, err->text, sizeof(err->text));
	if (err->status == HF_OK)
		err->status =
			hf_stats_join(stats, name, &loop->counting, err->text, sizeof(err->text));
	if (err->status != HF_OK)
		return false;
	hf_stats_rest(loop->counting); /* until its first pass */
	return true;
}

void hf_loop_leave_stats(struct hf_loop *loop) {
	if (loop->counting != NULL)
		hf_stats_leave(loop->counting);
	hf_stats_snapshot_free(loop->figures);
	loop->counting = NULL;
	loop->figures = NULL;
}

void hf_loop_take_figures(struct hf_loop *loop) {
	/* Without memory they are those of the last time, and not fresh. */
	(void)hf_stats_take(hf_engine_stats(loop->engine), loop->counting, TAKE_NS, loop->figures,
			    NULL, 0);
}

/* ---- HF.STATS ---------------------------------------------------------------------------- */

struct listing {
	struct hf_out *out;
	const struct hf_glob *glob; /* NULL: all */
	uint64_t count;
};

/* Is the figure asked for? */
static bool is_wanted(const struct listing *listing, const char *name) {
	return listing->glob == NULL || hf_glob_matches(listing->glob, hf_span_of(name));
}

static void add(struct listing *listing, const char *name, const char *suffix, int64_t value) {
	char full[HF_STATS_NAME_MAX + 16];
	snprintf(full, sizeof(full), "%s%s", name, suffix);
	if (!is_wanted(listing, full))
		return;
	hf_out_text(listing->out, full);
	hf_out_int(listing->out, value);
	listing->count++;
}

static void add_text(struct listing *listing, const char *name, const char *value) {
	if (!is_wanted(listing, name))
		return;
	hf_out_text(listing->out, name);
	hf_out_text(listing->out, value);
	listing->count++;
}

/* Whether and how far the rest can be relied on. */
static void add_about(struct listing *listing, const struct hf_stats_snapshot *figures) {
	struct hf_stats_about about;
	char names[256];
	struct hf_text late = hf_text(names, sizeof(names));
	hf_stats_about(figures, &about);
	for (uint32_t i = 0; i < about.late; i++)
		hf_text_add(&late, "%s%s", i > 0 ? "," : "", hf_stats_late(figures, i));
	add(listing, "stats.fresh", "", about.fresh);
	add(listing, "stats.time_ms", "", about.time_ns / 1000000);
	add_text(listing, "stats.late", names);
	add(listing, "stats.breakers_open", "", about.open);
	add(listing, "stats.breaker_openings", "", (int64_t)about.openings);
	add(listing, "stats.skipped", "", (int64_t)about.skipped);
}

static void add_histogram(struct listing *listing, const struct hf_stats_snapshot *figures,
			  const struct hf_stats_item *item) {
	static const struct {
		const char *suffix;
		double q;
	} quantiles[] = { { ".p50", 0.5 }, { ".p90", 0.9 }, { ".p99", 0.99 }, { ".p999", 0.999 } };
	struct hf_stats_summary summary;
	hf_stats_summary(figures, item->histogram, &summary);
	add(listing, item->name, ".count", (int64_t)summary.count);
	add(listing, item->name, ".mean", (int64_t)(summary.mean + 0.5));
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		add(listing, item->name, quantiles[i].suffix,
		    (int64_t)hf_stats_quantile(figures, item->histogram, quantiles[i].q));
	add(listing, item->name, ".max", (int64_t)summary.max);
}

void hf_cmd_stats(struct hf_loop *loop, struct hf_conn *conn,
		  const struct hf_resp_command *request) {
	const struct hf_stats_snapshot *figures = loop->figures;
	struct hf_glob glob;
	struct listing listing = { .out = &conn->out, .glob = request->argc > 1 ? &glob : NULL };
	struct hf_stats_item item;
	struct hf_err err;
	if (listing.glob != NULL &&
	    !hf_glob_compile(&glob, request->argv + 1, request->argc - 1, false, &err)) {
		hf_out_err(&conn->out, &err);
		return;
	}
	hf_loop_take_figures(loop);
	uint64_t begun = hf_out_begin(&conn->out);
	add_about(&listing, figures);
	for (uint32_t i = 0; i < hf_stats_item_count(figures); i++) {
		hf_stats_item(figures, i, &item);
		if (item.kind == HF_STATS_HISTOGRAM && item.count > 0)
			add_histogram(&listing, figures, &item);
		else if (item.kind == HF_STATS_COUNTER && item.count > 0)
			add(&listing, item.name, "", (int64_t)item.count);
		else if (item.kind == HF_STATS_GAUGE)
			add(&listing, item.name, "", item.level);
	}
	hf_out_end_map(&conn->out, begun, listing.count);
}

/* ---- INFO -------------------------------------------------------------------------------- */

static void add_line(struct hf_text *text, const char *name, uint64_t value) {
	hf_text_add(text, "%s:%llu\r\n", name, (unsigned long long)value);
}

/* In microseconds, from nanoseconds. */
static void add_times(struct hf_text *text, const char *name,
		      const struct hf_stats_snapshot *figures, struct hf_histogram histogram) {
	struct hf_stats_summary summary;
	hf_stats_summary(figures, histogram, &summary);
	hf_text_add(text, "%s_usec:p50=%.3f,p99=%.3f,p99.9=%.3f,max=%.3f\r\n", name,
		    (double)hf_stats_quantile(figures, histogram, 0.5) / 1000,
		    (double)hf_stats_quantile(figures, histogram, 0.99) / 1000,
		    (double)hf_stats_quantile(figures, histogram, 0.999) / 1000,
		    (double)summary.max / 1000);
}

uint64_t hf_stats_sum_of(const struct hf_stats_snapshot *figures, const char *prefix) {
	struct hf_stats_item item;
	uint64_t sum = 0;
	for (uint32_t i = 0; i < hf_stats_item_count(figures); i++) {
		hf_stats_item(figures, i, &item);
		if (strncmp(item.name, prefix, strlen(prefix)) == 0)
			sum += item.count;
	}
	return sum;
}

/* The log's, which the engine has registered. */
static struct hf_histogram histogram_of(const struct hf_server *server, const char *name) {
	struct hf_histogram ret;
	(void)hf_stats_histogram(hf_engine_stats(server->engine), name, &ret, NULL, 0);
	return ret;
}

/* "refused_guard:3", summed up over all contracts; reasons come in the order of registration. */
static void add_refusals(struct hf_text *text, const struct hf_stats_snapshot *figures) {
	static const char first[] = "refused.(none).";
	struct hf_stats_item reason, item;
	uint64_t total = 0;
	for (uint32_t i = 0; i < hf_stats_item_count(figures); i++) {
		uint64_t sum = 0;
		hf_stats_item(figures, i, &reason);
		if (strncmp(reason.name, first, sizeof(first) - 1) != 0)
			continue;
		const char *name = strrchr(reason.name, '.');
		for (uint32_t k = 0; k < hf_stats_item_count(figures); k++) {
			hf_stats_item(figures, k, &item);
			const char *last = strrchr(item.name, '.');
			if (strncmp(item.name, "refused.", 8) == 0 && strcmp(last, name) == 0)
				sum += item.count;
		}
		hf_text_add(text, "refused_%s:%llu\r\n", name + 1, (unsigned long long)sum);
		total += sum;
	}
	add_line(text, "refused", total);
}

void hf_info_figures(const struct hf_loop *loop, struct hf_text *text) {
	const struct hf_server *server = loop->server;
	const struct hf_stats_snapshot *figures = loop->figures;
	struct hf_histogram groups = histogram_of(server, "log.group_records");
	struct hf_stats_summary summary;
	struct hf_stats_about about;
	hf_stats_about(figures, &about);
	hf_stats_summary(figures, groups, &summary);
	add_line(text, "flushes", summary.count);
	add_line(text, "flushed_events", summary.sum);
	hf_text_add(text, "group_commit:p50=%llu,p99=%llu,max=%llu\r\n",
		    (unsigned long long)hf_stats_quantile(figures, groups, 0.5),
		    (unsigned long long)hf_stats_quantile(figures, groups, 0.99),
		    (unsigned long long)summary.max);
	add_times(text, "durable_lag", figures, histogram_of(server, "log.durable_ns"));
	add_times(text, "send", figures, server->latencies[HF_COMMAND_SEND]);
	add_line(text, "accepted", hf_stats_sum_of(figures, "events."));
	add_line(text, "retried", hf_stats_sum_of(figures, "retried."));
	add_refusals(text, figures);
	add_line(text, "stats_fresh", about.fresh);
	add_line(text, "stats_late", about.late);
	add_line(text, "stats_breakers_open", about.open);
	add_line(text, "stats_breaker_openings", about.openings);
}
