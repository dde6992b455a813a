/*
 * progress.h - a progress bar on stderr, where that is a terminal.
 */
#ifndef HF_CLI_PROGRESS_H
#define HF_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct hf_progress {
	bool shown; /* stderr is a terminal that can do it */
	uint64_t last_ns;
};

void hf_progress_init(struct hf_progress *progress);
/*
 * Redraws, at most ten times a second. `arg` of hf_engine_options.progress is a struct hf_progress.
 */
void hf_progress_draw(void *arg, uint64_t done, uint64_t total, uint64_t events);
/* Takes the bar away. */
void hf_progress_end(struct hf_progress *progress);

#endif
