/*
 * A snapshot that was damaged, beside a whole log: whatever was done to its bytes, recovery says so
 * and comes to the state that it would have come to.
 *
 * Input: damages: an offset (2 bytes), a number of bytes n, n bytes that are XORed there; if n
 * is 0, the next byte says what: even: the file ends there; odd: another block of 4 KiB is there.
 */
#include "base/assert.h"
#include "compile_once.h"
#include "engine/engine_private.h"
#include "frame/cursor.h"
#include "image.h"
#include "small_snapshot.h"
#include "world.h"

#define BLOCK 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libFuzzer gives a target no place of its own for what outlives a run. */
static struct hf_small_snapshot whole;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	hf_small_snapshot_make(&whole);
	return 0;
}

/* Returns the new length. */
static size_t damage(struct hf_span input, uint8_t *bytes) {
	struct hf_reader reader = hf_reader(input);
	size_t size = whole.len;
	while (reader.at < reader.end) {
		size_t offset = hf_read_u16(&reader) % whole.len;
		size_t len = hf_read_u8(&reader);
		for (size_t i = 0; i < len && offset + i < whole.len && !reader.bad; i++)
			bytes[offset + i] ^= hf_read_u8(&reader);
		uint8_t what = len == 0 ? hf_read_u8(&reader) : 0;
		if (reader.bad)
			break;
		if (len == 0 && what % 2 == 0)
			size = offset;
		else if (len == 0)
			memcpy(bytes + offset / BLOCK * BLOCK,
			       whole.bytes + what / 2u % (whole.len / BLOCK) * BLOCK, BLOCK);
	}
	return size;
}

static void on_notice(void *arg, const char *line) {
	*(bool *)arg |= strstr(line, whole.name) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static uint8_t bytes[HF_SMALL_SNAPSHOT_MAX];
	bool noticed = false;
	struct hf_engine_options options = { .data_dir = "", .notice = on_notice, .arg = &noticed };
	struct hf_engine *engine;
	struct hf_reply reply;
	struct hf_err err;
	uint8_t hash[16];
	memcpy(bytes, whole.bytes, whole.len);
	size_t len = damage(hf_span(data, size), bytes);
	bool same = len == whole.len && memcmp(bytes, whole.bytes, len) == 0;
	struct hf_image_file file = { .name = whole.name, .bytes = bytes, .len = len, .size = len };
	hf_image_show(&file, 1);
	bool opened = hf_engine_open(&options, &engine, &err);
	HF_ASSERT(opened && noticed == !same);
	hf_engine_hash(engine, hash, &reply);
	HF_ASSERT(memcmp(hash, whole.hash, sizeof(hash)) == 0 && reply.lsn == whole.last_lsn);
	hf_fuzz_ask(engine);
	bool closed = hf_engine_close(engine, &err);
	HF_ASSERT(closed);
	return 0;
}
