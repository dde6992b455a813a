#include "small_snapshot.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "compile_once.h"
#include "engine/engine_private.h"
#include "world.h"

static void wait_durable(struct hf_engine *engine) {
	struct hf_err err;
	bool durable = hf_engine_wait(engine, UINT64_MAX, &err);
	HF_ASSERT(durable);
}

static void read_file(const struct hf_dir *dir, struct hf_small_snapshot *ret) {
	struct hf_file file;
	struct hf_err err;
	bool ok = hf_file_open(dir, ret->name, HF_FILE_READ, false, &file, &err) &&
		  hf_file_read(&file, ret->bytes, sizeof(ret->bytes), 0, &ret->len, &err) &&
		  hf_dir_remove(dir, ret->name, &err) && hf_dir_remove(dir, "lock", &err);
	HF_ASSERT(ok && ret->len < sizeof(ret->bytes));
	hf_file_close(&file);
}

void hf_small_snapshot_make(struct hf_small_snapshot *ret) {
	char path[] = "/tmp/holdfast-fuzz-XXXXXX";
	struct hf_engine_options options = { .data_dir = path };
	struct hf_engine *engine;
	struct hf_snapshot_head head;
	struct hf_reply reply;
	struct hf_err err;
	uint64_t bytes;
	HF_ASSERT(mkdtemp(path) != NULL);
	hf_compile_once(hf_span_of(hf_fuzz_contract));
	bool ok = hf_engine_open(&options, &engine, &err);
	HF_ASSERT(ok);
	hf_fuzz_fill(engine);
	wait_durable(engine);
	ok = hf_snapshot_take(engine, 0, &head, &bytes, &err);
	HF_ASSERT(ok);
	hf_snapshot_name(head.lsn, ret->name);
	hf_fuzz_fill_more(engine);
	wait_durable(engine);
	hf_engine_hash(engine, ret->hash, &reply);
	ret->last_lsn = reply.lsn;
	HF_ASSERT(ret->last_lsn > head.lsn);
	read_file(&engine->dir, ret);
	ok = hf_engine_close(engine, &err);
	HF_ASSERT(ok);
	rmdir(path);
}
