/*
 * image.h - the files of a data directory as a fuzz target wants them: read from memory.
 *
 * A target that links image.c and has the calls of os/disk.h wrapped (-Wl,--wrap, in meson.build)
 * reads from here whatever directory it opens. Real files cost a millisecond an execution.
 */
#ifndef HF_FUZZ_IMAGE_H
#define HF_FUZZ_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* A file of `size` bytes: `bytes`, then zeros. The bytes are the target's. */
struct hf_image_file {
	const char *name;
	const uint8_t *bytes;
	size_t len;
	uint64_t size;
};

/* The directory has these files from now on; NULL: back to real ones. */
void hf_image_show(const struct hf_image_file *files, uint32_t count);

#endif
