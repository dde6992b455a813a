/*
 * A snapshot of any bytes, beside a whole log, in a build where every checksum holds: it is taken
 * over, or left aside with a word; nothing may crash, also when what it brought is asked for.
 *
 * Input: a byte; if it is odd, the file. Else blocks, of which headers are made as they should be:
 * each a kind, a number of items, and a payload, up to a separator.
 */
#include "base/assert.h"
#include "compile_once.h"
#include "engine/engine_private.h"
#include "frame/cursor.h"
#include "image.h"
#include "log/snapshot.h"
#include "memory_log.h"
#include "small_snapshot.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDS_MAX 8u /* are replayed if the snapshot is left aside: the contract, `a` and `b` */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* libFuzzer gives a target no place of its own for what outlives a run. */
static struct hf_small_snapshot whole;

/* ---- a block's payload in memory of just its size, so that reading past it is caught -------- */

bool __real_hf_snapshot_read(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
			     struct hf_err *err);
bool __wrap_hf_snapshot_read(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
			     struct hf_err *err);

bool __wrap_hf_snapshot_read(struct hf_snapshot_reader *reader, struct hf_snapshot_block *ret,
			     struct hf_err *err) {
	static uint8_t *copy;
	bool good = __real_hf_snapshot_read(reader, ret, err);
	free(copy);
	copy = good ? malloc(ret->payload.len) : NULL;
	if (good) {
		HF_ASSERT(copy != NULL);
		memcpy(copy, ret->payload.data, ret->payload.len);
		ret->payload.data = copy;
	}
	return good;
}

/* ---- the file ------------------------------------------------------------------------------ */

static size_t put_block(struct hf_span part, uint64_t index, uint8_t *bytes) {
	struct hf_writer out = { .at = bytes, .end = bytes + HF_SNAPSHOT_HEADER_SIZE };
	struct hf_reader in = hf_reader(part);
	uint8_t kind = hf_read_u8(&in), items = hf_read_u8(&in);
	size_t payload_len = (size_t)(in.end - in.at);
	size_t used = HF_SNAPSHOT_HEADER_SIZE + payload_len;
	size_t len =
		(used + HF_SNAPSHOT_ALIGNMENT - 1) / HF_SNAPSHOT_ALIGNMENT * HF_SNAPSHOT_ALIGNMENT;
	hf_write_span(&out, hf_span_of("HFS1"));
	hf_write_u32(&out, kind);
	hf_write_u64(&out, index);
	hf_write_u32(&out, (uint32_t)payload_len);
	hf_write_u32(&out, items);
	for (int i = 0; i < 4; i++) /* the chain, of checksums that are all 0; and zero */
		hf_write_u32(&out, 0);
	hf_bytes_copy(bytes + HF_SNAPSHOT_HEADER_SIZE, in.at, payload_len);
	memset(bytes + used, 0, len - used);
	return len;
}

static size_t make_file(struct hf_span input, uint8_t *bytes) {
	if (input.len == 0)
		return 0;
	struct hf_span rest = hf_span(input.data + 1, input.len - 1);
	size_t len = 0;
	if (input.data[0] & 1) {
		hf_bytes_copy(bytes, rest.data, rest.len);
		return rest.len;
	}
	for (uint64_t index = 0; rest.len > 0 && len < HF_SMALL_SNAPSHOT_MAX / 2; index++)
		len += put_block(hf_fuzz_take_part(&rest), index, bytes + len);
	return len;
}

/* The LSN of the snapshot that was taken over; 0: it was left aside. */
static uint64_t recover(struct hf_span input) {
	static uint8_t bytes[HF_SMALL_SNAPSHOT_MAX];
	struct hf_engine_options options = { .data_dir = "" };
	struct hf_engine *engine;
	struct hf_err err;
	size_t len = make_file(input, bytes);
	struct hf_image_file file = { .name = whole.name, .bytes = bytes, .len = len, .size = len };
	hf_image_show(&file, 1);
	if (!hf_engine_open(&options, &engine, &err)) {
		HF_ASSERT(err.status == HF_CORRUPT && err.text[0] != '\0');
		return 0;
	}
	uint64_t lsn = engine->recovered_from.lsn;
	hf_fuzz_ask(engine);
	bool closed = hf_engine_close(engine, &err);
	HF_ASSERT(closed);
	return lsn;
}

/* Otherwise the inputs are of another world, and no mutation of them comes past the head. */
static void prove_inputs(const char *path) {
	static uint8_t input[HF_SMALL_SNAPSHOT_MAX / 4];
	FILE *file = fopen(path, "rb");
	HF_ASSERT(file != NULL);
	size_t len = fread(input, 1, sizeof(input), file);
	fclose(file);
	bool is_taken_over = recover(hf_span(input, len)) != 0;
	HF_ASSERT(is_taken_over);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	hf_small_snapshot_make(&whole);
	hf_memory_log_shorten(RECORDS_MAX);
	prove_inputs(HF_FUZZ_CORPUS "/snapshot_bytes/blocks");
	prove_inputs(HF_FUZZ_CORPUS "/snapshot_bytes/no-ids");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (size <= HF_SMALL_SNAPSHOT_MAX / 4)
		recover(hf_span(data, size));
	return 0;
}
