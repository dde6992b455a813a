#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/clock.h"

#define WIDTH 40u
#define REDRAW_NS 100000000u

void hf_progress_init(struct hf_progress *progress) {
	const char *term = getenv("TERM");
	*progress = (struct hf_progress){
		.shown = isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0,
	};
}

void hf_progress_draw(void *arg, uint64_t done, uint64_t total, uint64_t events) {
	struct hf_progress *progress = arg;
	if (!progress->shown || total == 0)
		return;
	uint64_t now_ns = hf_clock_monotonic_ns();
	if (now_ns - progress->last_ns < REDRAW_NS)
		return;
	progress->last_ns = now_ns;
	unsigned filled = (unsigned)(done * WIDTH / total);
	char bar[WIDTH + 1];
	memset(bar, ' ', WIDTH);
	memset(bar, '#', filled < WIDTH ? filled : WIDTH);
	bar[WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %3u%% %llu events", bar, (unsigned)(done * 100 / total),
		(unsigned long long)events);
}

void hf_progress_end(struct hf_progress *progress) {
	if (progress->shown && progress->last_ns != 0)
		fprintf(stderr, "\r\033[K");
}
