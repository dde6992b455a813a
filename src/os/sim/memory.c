/*
 * memory.c - allocation: taken again without the system, failing on demand, and freed as a whole
 * when a process ends.
 */
#include "os/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "os/sim/world.h"

#define ALIGNMENT 64u
#define PAGE 4096u
#define CLASSES 40u
#define SPARE_RINGS 16u

#ifdef __SANITIZE_ADDRESS__
#define RECYCLED false /* so that every use after free is seen */
#else
#define RECYCLED true
#endif

_Static_assert(sizeof(struct block) == ALIGNMENT, "what follows a block is aligned");

static struct block *spare[2][CLASSES]; /* pages apart; by the power of two they have room for */

static uint32_t class_of(size_t bytes) {
	return bytes <= ALIGNMENT ? 6 : 64 - (uint32_t)__builtin_clzll(bytes - 1);
}

bool sim_alloc_fails(struct sim *sim) {
	const struct sim_faults *faults = &sim->faults;
	sim->alloc_count++;
	bool fails = faults->fail_alloc_at != 0 &&
		     (faults->fail_for_ever ? sim->alloc_count >= faults->fail_alloc_at
					    : sim->alloc_count == faults->fail_alloc_at);
	sim->fault_count += fails;
	return fails || sim_strikes(sim, faults->no_memory);
}

/* What follows it is aligned to 64 bytes, or, of pages, to a page. */
static struct block *block_new(size_t bytes, bool pages) {
	uint32_t class = class_of(bytes);
	size_t before = pages ? PAGE : sizeof(struct block);
	size_t alignment = pages ? PAGE : ALIGNMENT;
	struct block *block = spare[pages][class];
	if (RECYCLED && block != NULL) {
		spare[pages][class] = block->next;
		return block;
	}
	size_t room = RECYCLED ? (size_t)1 << class : bytes;
	uint8_t *base =
		aligned_alloc(alignment, before + (room + alignment - 1) / alignment * alignment);
	HF_ASSERT(base != NULL);
	block = (struct block *)(base + before) - 1;
	block->pages = pages;
	return block;
}

static void block_free(struct block *block) {
	uint32_t class = class_of(block->size);
	block->next->previous = block->previous;
	block->previous->next = block->next;
	if (!RECYCLED) {
		free((uint8_t *)(block + 1) - (block->pages ? PAGE : sizeof(*block)));
		return;
	}
	block->next = spare[block->pages][class];
	spare[block->pages][class] = block;
}

static struct block kept = { .next = &kept, .previous = &kept };
static bool keeping;

void sim_keep_memory(bool keep) {
	keeping = keep;
}

static void *memory_new(size_t bytes, bool zeroed, bool pages) {
	struct block *anchor = keeping ? &kept : &sim_world()->blocks;
	if (bytes > (size_t)1 << 36 || (!keeping && sim_alloc_fails(sim_world())))
		return NULL;
	struct block *block = block_new(bytes, pages);
	block->size = bytes;
	block->previous = anchor;
	block->next = anchor->next;
	block->next->previous = anchor->next = block;
	if (zeroed)
		memset(block + 1, 0, bytes);
	return block + 1;
}

void *hf_memory_new(size_t bytes) {
	return memory_new(bytes, true, false);
}

void *hf_memory_grow(void *old, size_t bytes) {
	void *grown = memory_new(bytes, false, false);
	if (grown == NULL || old == NULL)
		return grown;
	struct block *block = (struct block *)old - 1;
	memcpy(grown, old, block->size < bytes ? block->size : bytes);
	block_free(block);
	return grown;
}

void hf_memory_free(void *memory) {
	if (memory != NULL)
		block_free((struct block *)memory - 1);
}

void *hf_pages_new(size_t bytes) {
	return memory_new(bytes, true, true);
}

void *hf_small_pages_new(size_t bytes) {
	return hf_pages_new(bytes);
}

void hf_pages_free(void *pages, size_t bytes) {
	hf_memory_free(pages);
}

/* Whoever looks at it again is found out. */
void hf_pages_drop(void *part, size_t bytes) {
	memset(part, 0xdd, bytes);
}

/* ---- the log's ring: mapped twice, so it cannot be a block ---- */

struct ring {
	uint8_t *at;
	size_t bytes;
	const struct sim *user;
};

static struct ring rings[SPARE_RINGS];

static uint8_t *map_ring(size_t bytes) {
	int fd = memfd_create("sim-ring", MFD_CLOEXEC);
	HF_ASSERT(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	uint8_t *at = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	HF_ASSERT(at != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		void *half = mmap(at + (size_t)i * bytes, bytes, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, fd, 0);
		HF_ASSERT(half != MAP_FAILED);
	}
	close(fd);
	return at;
}

bool hf_ring_memory_new(size_t bytes, uint8_t **ret, struct hf_err *err) {
	struct sim *sim = sim_world();
	if (sim_alloc_fails(sim))
		return hf_fail_sys(err, ENOMEM, "cannot map %zu bytes for the log ring", bytes);
	/* Any world's, if no process has it now. */
	for (uint32_t i = 0; i < SPARE_RINGS; i++) {
		struct ring *ring = &rings[i];
		if (ring->user != NULL || (ring->at != NULL && ring->bytes != bytes))
			continue;
		if (ring->at == NULL)
			*ring = (struct ring){ .at = map_ring(bytes), .bytes = bytes };
		memset(ring->at, 0, bytes);
		ring->user = sim;
		*ret = ring->at;
		return true;
	}
	return hf_fail(err, HF_NOMEM, "too many simulated rings at a time");
}

void hf_ring_memory_free(uint8_t *at, size_t bytes) {
	for (uint32_t i = 0; at != NULL && i < SPARE_RINGS; i++)
		if (rings[i].at == at)
			rings[i].user = NULL;
}

bool sim_memory_is_free(const struct sim *sim) {
	bool is_free = sim->blocks.next == &sim->blocks;
	for (uint32_t i = 0; i < SPARE_RINGS; i++)
		is_free &= rings[i].user != sim;
	return is_free;
}

void sim_memory_free_all(struct sim *sim) {
	while (sim->blocks.next != &sim->blocks)
		block_free(sim->blocks.next);
	for (uint32_t i = 0; i < SPARE_RINGS; i++)
		if (rings[i].user == sim)
			rings[i].user = NULL;
}
