/*
 * shadow.c - which accesses are ordered: data races, and accesses to memory that is not there.
 *
 * Every granule of memory that was accessed remembers, per thread, when that was. Two accesses that
 * conflict and of which neither happens before the other are reported whichever came first in this
 * run; so plain accesses need not be steps of the exploration.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "inside.h"

enum {
	GRANULE = 4, /* bytes: what is smaller and shares one counts as one object */
	GRANULES_MAX = 1 << 15,
	TABLE = 1 << 16,
	OBJECTS_MAX = 1 << 13,
};
#define ARENA_BYTES ((size_t)64 << 20)

struct when {
	uint16_t clock[IL_CLOCKS];
	il_site site[IL_CLOCKS];
};

struct granule {
	uintptr_t where;
	int writer; /* -1: no plain store yet */
	uint16_t write_clock;
	il_site write_site;
	struct when plain_reads, reads, writes; /* the latter two: atomic ones */
	bool atomic;				/* there were some */
};

/* Memory from the heap, or a part of it that is used anew. The newest that covers a place holds. */
struct object {
	uintptr_t where;
	size_t bytes;
	bool dead;
	int thread; /* that made it, or ended it */
	uint16_t clock;
	il_site site;
};

static struct {
	struct granule granules[GRANULES_MAX];
	uint32_t granule_count;
	uint32_t table[TABLE], table_run[TABLE], run;
	struct object objects[OBJECTS_MAX];
	uint32_t object_count;
	struct {
		uint8_t *memory;
		size_t used;
	} arena[IL_CLOCKS];
} shadow;

static const struct hf_interleave_site heap_site = { "heap", 0, "memory" };

void il_shadow_reset(void) {
	shadow.granule_count = shadow.object_count = 0;
	shadow.run++;
	for (int i = 0; i < IL_CLOCKS; i++) {
		memset(shadow.arena[i].memory, 0, shadow.arena[i].used);
		shadow.arena[i].used = 0;
	}
}

static struct granule *granule_of(uintptr_t where) {
	where &= ~(uintptr_t)(GRANULE - 1);
	uint32_t i = (uint32_t)((where * 0x9e3779b97f4a7c15u) >> 48);
	for (;; i = (i + 1) % TABLE) {
		if (shadow.table_run[i] != shadow.run)
			break;
		if (shadow.granules[shadow.table[i]].where == where)
			return &shadow.granules[shadow.table[i]];
	}
	if (shadow.granule_count == GRANULES_MAX)
		il_fail("more than %d bytes accessed: a smaller test is wanted",
			GRANULES_MAX * GRANULE);
	shadow.table_run[i] = shadow.run;
	shadow.table[i] = shadow.granule_count;
	struct granule *granule = &shadow.granules[shadow.granule_count++];
	*granule = (struct granule){ .where = where, .writer = -1 };
	return granule;
}

/* ---- races */

static bool is_before(int thread, int other, uint16_t clock) {
	return other == thread || clock <= il_model_clock(thread)[other];
}

static void when_note(struct when *when, int thread, il_site site) {
	when->clock[thread] = il_model_clock(thread)[thread];
	when->site[thread] = site;
}

static _Noreturn void race(int thread, il_site site, const char *does, int other, il_site there,
			   const char *did) {
	il_fail("data race on %s: %s %s at %s, %s %s at %s, and nothing orders the two", site->what,
		il_thread_name(thread), does, il_place(site), il_thread_name(other), did,
		il_place(there));
}

static void check_writer(const struct granule *granule, int thread, il_site site,
			 const char *does) {
	if (granule->writer >= 0 && !is_before(thread, granule->writer, granule->write_clock))
		race(thread, site, does, granule->writer, granule->write_site, "stores");
}

static void check_when(const struct when *when, int thread, il_site site, const char *does,
		       const char *did) {
	for (int i = 0; i < IL_CLOCKS; i++)
		if (when->clock[i] && !is_before(thread, i, when->clock[i]))
			race(thread, site, does, i, when->site[i], did);
}

/* The smallest object that holds all of it must be there, and known to be. */
static void check_object(int thread, uintptr_t where, size_t bytes, il_site site) {
	for (uint32_t i = shadow.object_count; i-- > 0;) {
		const struct object *object = &shadow.objects[i];
		if (where < object->where || where + bytes > object->where + object->bytes)
			continue;
		if (object->dead)
			il_fail("use after free: %s accesses %s at %s, which %s ended at %s",
				il_thread_name(thread), site->what, il_place(site),
				il_thread_name(object->thread), il_place(object->site));
		if (!is_before(thread, object->thread, object->clock))
			il_fail("not published: %s accesses %s at %s, and nothing orders that "
				"after %s made it at %s",
				il_thread_name(thread), site->what, il_place(site),
				il_thread_name(object->thread), il_place(object->site));
		return;
	}
}

void il_shadow_plain(int thread, uintptr_t where, size_t bytes, bool writes, il_site site) {
	check_object(thread, where, bytes, site);
	uintptr_t first = where & ~(uintptr_t)(GRANULE - 1);
	for (uintptr_t at = first; at < where + bytes; at += GRANULE) {
		struct granule *granule = granule_of(at);
		const char *does = writes ? "stores" : "loads";
		check_writer(granule, thread, site, does);
		if (granule->atomic)
			check_when(&granule->writes, thread, site, does, "stores atomically");
		if (!writes) {
			when_note(&granule->plain_reads, thread, site);
			continue;
		}
		check_when(&granule->plain_reads, thread, site, does, "loads");
		if (granule->atomic)
			check_when(&granule->reads, thread, site, does, "loads atomically");
		granule->writer = thread;
		granule->write_clock = il_model_clock(thread)[thread];
		granule->write_site = site;
	}
}

void il_shadow_atomic(int thread, uintptr_t where, size_t bytes, bool writes, il_site site) {
	check_object(thread, where, bytes, site);
	uintptr_t first = where & ~(uintptr_t)(GRANULE - 1);
	for (uintptr_t at = first; at < where + bytes; at += GRANULE) {
		struct granule *granule = granule_of(at);
		const char *does = writes ? "stores atomically" : "loads atomically";
		granule->atomic = true;
		check_writer(granule, thread, site, does);
		if (writes)
			check_when(&granule->plain_reads, thread, site, does, "loads");
		when_note(writes ? &granule->writes : &granule->reads, thread, site);
	}
}

bool il_shadow_written(uintptr_t where) {
	return granule_of(where)->writer >= 0;
}

/* ---- lifetimes */

static void add_object(int thread, uintptr_t where, size_t bytes, bool dead, il_site site) {
	if (shadow.object_count == OBJECTS_MAX)
		il_fail("more than %d objects: a smaller test is wanted", OBJECTS_MAX);
	shadow.objects[shadow.object_count++] = (struct object){
		where, bytes, dead, thread, il_model_clock(thread)[thread], site,
	};
}

void il_shadow_new(int thread, uintptr_t where, size_t bytes, il_site site) {
	for (uint32_t i = 0; i < shadow.granule_count; i++) {
		struct granule *granule = &shadow.granules[i];
		if (granule->where >= where && granule->where < where + bytes)
			*granule = (struct granule){ .where = granule->where, .writer = -1 };
	}
	il_model_forget(where, bytes);
	add_object(thread, where, bytes, false, site);
}

static void check_unused(const struct when *when, int thread, il_site site) {
	for (int i = 0; i < IL_CLOCKS; i++)
		if (when->clock[i] && !is_before(thread, i, when->clock[i]))
			il_fail("early free: %s ends %s at %s, and nothing orders that after the "
				"access of %s at %s",
				il_thread_name(thread), site->what, il_place(site),
				il_thread_name(i), il_place(when->site[i]));
}

void il_shadow_dead(int thread, uintptr_t where, size_t bytes, il_site site) {
	check_object(thread, where, bytes, site);
	for (uint32_t i = 0; i < shadow.granule_count; i++) {
		const struct granule *granule = &shadow.granules[i];
		if (granule->where < where || granule->where >= where + bytes)
			continue;
		check_unused(&granule->plain_reads, thread, site);
		check_unused(&granule->reads, thread, site);
		check_unused(&granule->writes, thread, site);
		check_writer(granule, thread, site, "ends");
	}
	add_object(thread, where, bytes, true, site);
}

/* ---- base/memory.h: never the same memory twice in a run, the same in each run */

struct block {
	size_t bytes;
	size_t pad;
};

void *hf_memory_new(size_t bytes) {
	int thread = il_current();
	uint8_t **memory = &shadow.arena[thread].memory;
	if (!*memory) {
		*memory = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (*memory == MAP_FAILED)
			abort();
	}
	size_t begin = (shadow.arena[thread].used + 127) / 128 * 128 + 128; /* lines of its own */
	if (bytes > ARENA_BYTES - begin)
		return NULL;
	shadow.arena[thread].used = begin + bytes;
	struct block *block = (void *)(*memory + begin);
	block[-1].bytes = bytes;
	add_object(thread, (uintptr_t)block, bytes, false, &heap_site);
	return block;
}

void hf_memory_free(void *memory) {
	struct block *block = memory;
	if (block)
		il_shadow_dead(il_current(), (uintptr_t)memory, block[-1].bytes, &heap_site);
}

void *hf_memory_grow(void *old, size_t bytes) {
	const struct block *block = old;
	void *grown = hf_memory_new(bytes);
	if (!grown || !old)
		return grown;
	memcpy(grown, old, block[-1].bytes < bytes ? block[-1].bytes : bytes);
	hf_memory_free(old);
	return grown;
}
