/*
 * small_snapshot.h - a snapshot of the small world, made once; the log behind it is memory_log.c's,
 * and goes a little further than the snapshot.
 */
#ifndef HF_FUZZ_SMALL_SNAPSHOT_H
#define HF_FUZZ_SMALL_SNAPSHOT_H

#include "log/snapshot.h"

#define HF_SMALL_SNAPSHOT_MAX 131072u

struct hf_small_snapshot {
	char name[HF_SNAPSHOT_NAME_SIZE];
	size_t len;
	uint8_t bytes[HF_SMALL_SNAPSHOT_MAX];
	uint64_t last_lsn; /* of the log */
	uint8_t hash[16];  /* behind it */
};

void hf_small_snapshot_make(struct hf_small_snapshot *ret);

#endif
