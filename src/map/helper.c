#include "map/helper.h"

#include "base/memory.h"
#include "map/pieces.h"
#include "os/thread.h"

struct hf_helper {
	struct hf_pieces *pieces;
	struct hf_thread thread;
	struct hf_mutex mutex; /* guards what follows */
	struct hf_cond moved;
	bool asked, stop;
};

/* Waits until there may be something to do; false: the end. */
static bool wait(struct hf_helper *helper, bool idle) {
	hf_mutex_lock(&helper->mutex);
	while (idle && !helper->asked && !helper->stop)
		hf_cond_wait(&helper->moved, &helper->mutex);
	helper->asked = false;
	bool on = !helper->stop;
	hf_mutex_unlock(&helper->mutex);
	return on;
}

static void help(void *arg) {
	struct hf_helper *helper = arg;
	for (bool idle = false; wait(helper, idle);)
		idle = !hf_pieces_help(helper->pieces);
}

bool hf_helper_start(struct hf_pieces *pieces, struct hf_helper **ret, struct hf_err *err) {
	struct hf_helper *helper = hf_memory_new(sizeof(*helper));
	if (helper == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory for a map's helper");
	helper->pieces = pieces;
	hf_mutex_init(&helper->mutex);
	hf_cond_init(&helper->moved);
	if (!hf_thread_start(&helper->thread, help, helper, err)) {
		hf_cond_fini(&helper->moved);
		hf_mutex_fini(&helper->mutex);
		hf_memory_free(helper);
		return false;
	}
	*ret = helper;
	return true;
}

static void tell(struct hf_helper *helper, bool *what) {
	hf_mutex_lock(&helper->mutex);
	*what = true;
	hf_cond_broadcast(&helper->moved);
	hf_mutex_unlock(&helper->mutex);
}

void hf_helper_ask(struct hf_helper *helper) {
	if (helper != NULL)
		tell(helper, &helper->asked);
}

void hf_helper_stop(struct hf_helper *helper) {
	if (helper == NULL)
		return;
	tell(helper, &helper->stop);
	hf_thread_join(&helper->thread);
	hf_cond_fini(&helper->moved);
	hf_mutex_fini(&helper->mutex);
	hf_memory_free(helper);
}
