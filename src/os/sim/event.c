/*
 * event.c - event.h: a flag that fibers wait for.
 */
#include "os/event.h"

#include <errno.h>

#include "base/assert.h"
#include "os/sim/world.h"

bool hf_event_new(int *ret_fd, struct hf_err *err) {
	struct sim *sim = sim_world();
	for (int i = 0; i < (int)EVENTS_MAX; i++) {
		if (sim->events_used[i])
			continue;
		sim->events_used[i] = true;
		sim->events[i] = false;
		*ret_fd = i;
		return true;
	}
	return hf_fail_sys(err, EMFILE, "cannot make an eventfd");
}

void hf_event_close(int fd) {
	if (fd >= 0)
		sim_world()->events_used[fd] = false;
}

void hf_event_signal(int fd) {
	struct sim *sim = sim_world();
	HF_ASSERT(sim->events_used[fd]);
	sim->events[fd] = true;
	sim_wake_all(sim, &sim->events[fd]);
}

void hf_event_clear(int fd) {
	struct sim *sim = sim_world();
	HF_ASSERT(sim->events_used[fd]);
	sim->events[fd] = false;
}

void sim_event_wait(int fd) {
	struct sim *sim = sim_world();
	sim_yield();
	while (!sim->events[fd])
		sim_wait_for(sim, &sim->events[fd], 0);
}
