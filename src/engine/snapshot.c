/*
 * snapshot.c - takes snapshots of a working engine: all of its state at one LSN, in a file, while
 * requests go on. `take` reads top to bottom.
 *
 * Consistent without a copy of everything and without stopping: at the LSN, all entities become
 * *unsaved*, by turning what their `saved` bit means. The thread here walks the arena and copies
 * entity after entity, in slices of some microseconds under the lock; a request that is about to
 * change an unsaved entity copies it first (hf_entity_save). Entities made since are born saved.
 * Ids are never removed, and never change: those of the LSN have a position before its end. Plain
 * keys are saved as entities are; their map is walked behind the arena.
 *
 * Images wait in a ring of blocks until this thread has written them. The walk leaves most of it
 * to the requests: a slice begins when less than a quarter is full, and copies less than a block
 * takes (where a line has more plain keys, the next slice goes over the rest). Where requests fill
 * three quarters, blocks are written whole and without rests. If they fill it all the same, the
 * disk is slower than they are, and they wait for a block to be written, as they do for the log's
 * ring. If that takes too long, the snapshot is given up, not the requests.
 */
#include "engine/engine_private.h"
#include "frame/cursor.h"
#include "os/clock.h"
#include "os/memory.h"

#define SLICE_BYTES (HF_SNAPSHOT_BLOCK_MAX / 4) /* copied in one slice */
#define SLICE_STEPS 4096u			/* entities looked at in one slice */
#define SLICE_LINES 256u			/* of the index of ids */
#define BLOCKS_MIN 8u
#define BLOCKS_MAX 128u
#define ARENA_SHARE 25u /* the ring has this part of what the entities take */
#define ID_IMAGE 12u

#define REST_MAX_NS 1000000u	 /* a slice that took long waited for a processor, or a page */
#define ROOM_WAIT_NS 1000000000u /* that a request waits for a block, at most */
#define WAIT_NS 1000000u	 /* before it looks again whether the log is durable */

/* One snapshot under way. */
struct pass {
	struct hf_engine *engine;
	struct hf_snapshot_head head;
	struct hf_snapshot_writer writer;
	struct image_block blocks[BLOCKS_MAX];
	struct image_block own; /* for all but the entities */
	uint8_t *memory;	/* of all blocks */
	size_t memory_bytes;
	const struct chunk *chunk; /* the walk; NULL behind its end */
	const uint8_t *at, *end;
	uint64_t place;	 /* among the plain keys: the next hash */
	size_t copied;	 /* of them, in this slice */
	bool again;	 /* there are more of them in this line than a slice copies */
	uint64_t images; /* written */
};

#define IMAGE_MAX (sizeof(struct entity) + HF_PLAIN_VALUE_MAX + HF_KEY_MAX + 7)
_Static_assert(IMAGE_MAX <= HF_SNAPSHOT_PAYLOAD_MAX / 2 && SLICE_BYTES <= HF_SNAPSHOT_BLOCK_MAX / 4,
	       "the smallest ring, a quarter of it full, has room for all that a slice copies");

/* ---- images: under the lock ------------------------------------------------------------------ */

static struct image_block *filling(struct saver *saver) {
	return &saver->blocks[(saver->first + saver->full) % saver->block_count];
}

static bool put_image(struct saver *saver, const struct entity *entity) {
	size_t size = hf_entity_size(entity);
	struct image_block *block = filling(saver);
	if (block->used + size > HF_SNAPSHOT_PAYLOAD_MAX) {
		if (saver->full + 1 == saver->block_count)
			return false;
		saver->full++;
		block = filling(saver);
	}
	uint8_t *image = block->bytes + HF_SNAPSHOT_HEADER_SIZE + block->used;
	memcpy(image, entity, size);
	hf_entity_set_saved((struct entity *)image, 0);
	/* The ring is larger than the caches: the next image's lines are fetched meanwhile. */
	for (size_t line = 64; line <= 192; line += 64)
		__builtin_prefetch(image + size + line, 1);
	block->used += size;
	block->items++;
	return true;
}

void hf_entity_save(struct hf_engine *engine, struct entity *entity) {
	struct saver *saver = &engine->saver;
	hf_entity_set_saved(entity, saver->mark);
	if (!saver->overrun && !put_image(saver, entity))
		saver->overrun = true;
}

/* Nothing is copied any more, and who waits for a block need not. */
static void stop_copying(struct hf_engine *engine) {
	engine->saver.overrun = true;
	if (engine->saver.waiting > 0)
		hf_log_wake(engine->log);
}

bool hf_saver_make_room(struct hf_engine *engine) {
	struct saver *saver = &engine->saver;
	uint64_t until = 0;
	while (saver->saving && !saver->overrun && saver->full + 1 == saver->block_count) {
		uint64_t now = hf_clock_monotonic_ns();
		if (until == 0)
			until = now + ROOM_WAIT_NS;
		if (now >= until) {
			stop_copying(engine);
			break;
		}
		saver->waiting++;
		hf_log_sleep(engine->log, until - now);
		saver->waiting--;
	}
	return until != 0;
}

bool hf_engine_make_room(struct hf_engine *engine, size_t body_max, struct hf_err *err) {
	/* A wait for one of them may cost the other. */
	do
		if (!hf_log_make_room(engine->log, body_max, err))
			return false;
	while (engine->saver.saving && hf_saver_make_room(engine));
	return true;
}

/* Some of the walk. False: it is at its end. */
static bool walk_entities(struct pass *pass) {
	struct hf_engine *engine = pass->engine;
	size_t copied = 0;
	for (uint32_t i = 0; i < SLICE_STEPS && copied < SLICE_BYTES && pass->chunk != NULL; i++) {
		if (pass->at == pass->end) {
			pass->chunk = pass->chunk->before;
			pass->at = pass->chunk == NULL ? NULL : pass->chunk->bytes;
			pass->end = pass->chunk == NULL ? NULL : pass->chunk->end;
			continue;
		}
		struct entity *entity = (struct entity *)(uintptr_t)pass->at;
		pass->at = hf_arena_next(pass->at);
		if (entity->key_len == 0 || hf_entity_is_saved(entity, engine->saver.mark))
			continue;
		copied += hf_entity_size(entity);
		hf_entity_save(engine, entity);
	}
	return pass->chunk != NULL;
}

static void walk_key(void *arg, void *object) {
	struct pass *pass = arg;
	struct entity *entity = object;
	if (hf_entity_is_saved(entity, pass->engine->saver.mark))
		return;
	if (pass->copied >= SLICE_BYTES) {
		pass->again = true;
		return;
	}
	pass->copied += hf_entity_size(entity);
	hf_entity_save(pass->engine, entity);
}

/* A line has no bounds: its values together may be larger than the whole ring. */
static bool walk_plain(struct pass *pass) {
	pass->copied = 0;
	pass->again = false;
	for (uint32_t i = 0; i < SLICE_STEPS && pass->copied < SLICE_BYTES; i++) {
		uint64_t next =
			hf_objects_walk(pass->engine->plain.map, pass->place, walk_key, pass);
		if (pass->again)
			return true; /* the next slice passes over what is saved by then */
		pass->place = next;
		if (next == 0)
			return false;
	}
	return true;
}

static bool walk_slice(struct pass *pass) {
	return walk_entities(pass) || walk_plain(pass);
}

/* ---- the pass ---------------------------------------------------------------------------- */

static bool quits(struct pass *pass, struct hf_err *err) {
	if (hf_snapshots_quit(pass->engine))
		return !hf_fail(err, HF_STOPPED, "the data directory is being closed");
	return hf_log_stopped(pass->engine->log) &&
	       !hf_fail(err, HF_STOPPED, "%s", hf_log_stop_reason(pass->engine->log));
}

/* Lets go of the lock, taken at `since`, and stays away from it. */
static void unlock_and_rest(struct pass *pass, uint64_t since) {
	uint64_t held_ns = hf_clock_monotonic_ns() - since;
	hf_engine_unlock(pass->engine);
	uint64_t rest_ns = held_ns * HF_SNAPSHOT_PACE;
	hf_snapshots_sleep(pass->engine, rest_ns < REST_MAX_NS ? rest_ns : REST_MAX_NS);
}

/* Leaves the disk to the log's flushes for a while, unless requests are about to fill the ring. */
static bool rest_from_disk(void *arg, uint64_t wrote_ns) {
	struct pass *pass = arg;
	const struct saver *saver = &pass->engine->saver;
	if (saver->saving && saver->full * 4 > saver->block_count * 3)
		return false;
	uint64_t rest_ns = wrote_ns * HF_SNAPSHOT_DISK_PACE;
	if (rest_ns > 0)
		hf_snapshots_sleep(pass->engine, rest_ns < REST_MAX_NS ? rest_ns : REST_MAX_NS);
	return true;
}

static bool make_blocks(struct pass *pass, struct hf_err *err) {
	hf_engine_lock(pass->engine);
	uint64_t count = (pass->engine->arena.bytes + pass->engine->plain.bytes) / ARENA_SHARE /
			 HF_SNAPSHOT_BLOCK_MAX;
	hf_engine_unlock(pass->engine);
	count = count < BLOCKS_MIN ? BLOCKS_MIN : count > BLOCKS_MAX ? BLOCKS_MAX : count;
	pass->memory_bytes = (count + 1) * HF_SNAPSHOT_BLOCK_MAX;
	pass->memory = hf_pages_new(pass->memory_bytes);
	if (pass->memory == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory: no %zu bytes for a snapshot's blocks",
			       pass->memory_bytes);
	memset(pass->memory, 0, pass->memory_bytes); /* the requests need not wait for its pages */
	for (uint32_t i = 0; i < count; i++)
		pass->blocks[i].bytes = pass->memory + (size_t)i * HF_SNAPSHOT_BLOCK_MAX;
	pass->own.bytes = pass->memory + count * HF_SNAPSHOT_BLOCK_MAX;
	pass->engine->saver.block_count = (uint32_t)count;
	return true;
}

/* The one instant at which the snapshot is true. Under the lock. */
static void begin(struct pass *pass, const struct hf_log_place *place) {
	struct hf_engine *engine = pass->engine;
	pass->head = (struct hf_snapshot_head){
		.crc = place->crc,
		.log_id = place->log_id,
		.lsn = place->lsn,
		.position = place->position,
		.frame_position = place->frame_position,
		.state_hash = { engine->state_hash[0], engine->state_hash[1] },
		.hash_seed = engine->hash_seed,
		.time_ns = engine->logged_ns,
		.record_bytes = place->record_bytes,
		.events = engine->events,
		.contracts = engine->slot_count,
		.entities = hf_objects_count(engine->entities),
		.plain_keys = hf_objects_count(engine->plain.map),
		.ids = hf_index_count(&engine->ids),
		.taken_ns = hf_clock_wall_ns(),
	};
	struct saver *saver = &engine->saver;
	saver->saving = true;
	saver->overrun = false;
	saver->mark ^= 1;
	saver->blocks = pass->blocks;
	saver->first = 0;
	saver->full = 0;
	pass->chunk = engine->arena.chunks;
	pass->at = pass->chunk == NULL ? NULL : pass->chunk->bytes;
	pass->end = pass->chunk == NULL ? NULL : engine->arena.at;
}

/* Begins, unless the newest snapshot has all there is. */
static bool find_instant(struct pass *pass, uint64_t newest_lsn, struct hf_err *err) {
	struct hf_log_place place = { 0 };
	for (bool marked = false; !marked;) {
		if (quits(pass, err))
			return false;
		hf_engine_lock(pass->engine);
		marked = hf_log_mark(pass->engine->log, &place);
		if (marked && place.lsn > 0 && place.lsn != newest_lsn)
			begin(pass, &place);
		hf_engine_unlock(pass->engine);
		if (!marked)
			hf_snapshots_sleep(pass->engine, WAIT_NS);
	}
	return place.lsn > 0 ||
	       hf_fail(err, HF_NOTFOUND,
		       "nothing has been logged yet: there is nothing to snapshot");
}

static bool write_own(struct pass *pass, enum hf_snapshot_kind kind, struct hf_err *err) {
	struct image_block *own = &pass->own;
	bool ok = hf_snapshot_write(&pass->writer, kind, own->items, own->bytes, own->used, err);
	own->used = own->items = 0;
	return ok;
}

/* Room for `len` bytes more in the block of our own. */
static uint8_t *own_room(struct pass *pass, size_t len) {
	struct image_block *own = &pass->own;
	return own->used + len > HF_SNAPSHOT_PAYLOAD_MAX
		       ? NULL
		       : own->bytes + HF_SNAPSHOT_HEADER_SIZE + own->used;
}

static bool write_contracts(struct pass *pass, struct hf_err *err) {
	for (uint64_t i = 0; i < pass->head.contracts; i++) {
		/* Texts never change, nor do they move: no lock. */
		const struct contract_slot *slot = &pass->engine->slots[i];
		size_t body_max = hf_contract_body_max(slot->contract);
		uint8_t *to = own_room(pass, 12 + body_max);
		if (to == NULL) {
			if (!write_own(pass, HF_SNAPSHOT_CONTRACTS, err))
				return false;
			to = own_room(pass, 12 + body_max);
		}
		uint32_t len = (uint32_t)hf_contract_body_put(slot->contract, to + 12, body_max);
		memcpy(to, &slot->lsn, 8);
		memcpy(to + 8, &len, 4);
		pass->own.used += 12 + len;
		pass->own.items++;
	}
	return pass->own.items == 0 || write_own(pass, HF_SNAPSHOT_CONTRACTS, err);
}

/*
 * The block to write next, NULL: none; `written` is one that was, and is free again. At the end of
 * the walk the last block is to be written, full or not.
 */
static struct image_block *next_block(struct pass *pass, struct image_block *written,
				      bool walking) {
	struct saver *saver = &pass->engine->saver;
	hf_engine_lock(pass->engine);
	if (written != NULL) {
		saver->first = (saver->first + 1) % saver->block_count;
		saver->full--;
		if (saver->waiting > 0)
			hf_log_wake(pass->engine->log);
	}
	if (!walking && saver->full == 0 && filling(saver)->items > 0)
		saver->full++;
	struct image_block *block = saver->full == 0 ? NULL : &saver->blocks[saver->first];
	hf_engine_unlock(pass->engine);
	return block;
}

/* Keeps off the lock where there is nothing to write: whoever waits for it in vain sleeps. */
static bool write_images(struct pass *pass, bool walking, struct hf_err *err) {
	if (walking && pass->engine->saver.full == 0)
		return true;
	struct image_block *block = next_block(pass, NULL, walking);
	while (block != NULL) {
		/* As long as it counts as full, it is this thread's. */
		if (!hf_snapshot_write(&pass->writer, HF_SNAPSHOT_ENTITIES, block->items,
				       block->bytes, block->used, err))
			return false;
		pass->images += block->items;
		block->used = block->items = 0;
		block = next_block(pass, block, walking);
	}
	return true;
}

/* Some of the walk, under the lock; *ret_walking is false at its end. False: it is given up. */
static bool copy_some(struct pass *pass, bool ok, bool *ret_walking, struct hf_err *err) {
	struct saver *saver = &pass->engine->saver;
	if (!ok)
		stop_copying(pass->engine);
	if (!ok || saver->full * 4 < saver->block_count)
		saver->saving = *ret_walking = walk_slice(pass);
	/* Behind the walk: of what overruns in its last part, nobody else would hear. */
	if (ok && saver->overrun)
		return hf_fail(err, HF_IO,
			       "events changed entities faster than the disk took their images");
	return ok;
}

/*
 * Once begun, the walk goes to its end also when the snapshot is given up, only that nothing is
 * copied any more: behind it, all `saved` bits are equal again.
 */
static bool walk(struct pass *pass, bool ok, struct hf_err *err) {
	struct saver *saver = &pass->engine->saver;
	for (bool walking = true; walking;) {
		struct hf_err why;
		if (quits(pass, &why)) {
			if (ok)
				*err = why;
			hf_engine_lock(pass->engine);
			saver->saving = false; /* nobody will look at the bits again */
			stop_copying(pass->engine);
			hf_engine_unlock(pass->engine);
			return false;
		}
		hf_engine_lock(pass->engine);
		uint64_t since = hf_clock_monotonic_ns();
		ok = copy_some(pass, ok, &walking, err);
		unlock_and_rest(pass, since);
		ok = ok && write_images(pass, walking, err);
	}
	return ok;
}

static bool write_entities(struct pass *pass, bool ok, struct hf_err *err) {
	uint64_t count = pass->head.entities + pass->head.plain_keys;
	return walk(pass, ok, err) &&
	       (pass->images == count ||
		hf_fail(err, HF_IO, "it holds %llu of %llu entities and plain keys",
			(unsigned long long)pass->images, (unsigned long long)count));
}

/* Some lines of the index, as long as the block has room. False: it is at its end. */
static bool walk_ids(struct pass *pass, uint64_t *line) {
	uint64_t hash[HF_INDEX_LINE_ENTRIES], value[HF_INDEX_LINE_ENTRIES];
	for (uint32_t n = 0; n < SLICE_LINES; n++) {
		uint8_t *to = own_room(pass, HF_INDEX_LINE_ENTRIES * ID_IMAGE);
		if (to == NULL)
			return true;
		int count = hf_index_walk_line(&pass->engine->ids, line, hash, value);
		if (count < 0)
			return false;
		for (int i = 0; i < count; i++) {
			if (value[i] >= pass->head.position)
				continue; /* younger than the snapshot */
			memcpy(to, &hash[i], 6);
			memcpy(to + 6, &value[i], 6);
			to += ID_IMAGE;
			pass->own.used += ID_IMAGE;
			pass->own.items++;
		}
	}
	return true;
}

static bool write_ids(struct pass *pass, struct hf_err *err) {
	struct hf_engine *engine = pass->engine;
	uint64_t line = 0, ids = 0;
	bool ok = true, settled = false, walking = true;
	while (ok && walking) {
		hf_engine_lock(engine);
		uint64_t since = hf_clock_monotonic_ns();
		if (settled) {
			walking = walk_ids(pass, &line);
		} else if (hf_index_settle(&engine->ids, SLICE_LINES)) {
			hf_index_walk_begin(&engine->ids);
			settled = true;
		}
		unlock_and_rest(pass, since);
		bool full = own_room(pass, HF_INDEX_LINE_ENTRIES * ID_IMAGE) == NULL;
		if (full || (!walking && pass->own.items > 0)) {
			ids += pass->own.items;
			ok = write_own(pass, HF_SNAPSHOT_IDS, err);
		}
		ok = ok && !quits(pass, err);
	}
	hf_engine_lock(engine);
	if (settled)
		hf_index_walk_end(&engine->ids);
	hf_engine_unlock(engine);
	HF_ASSERT(!ok || ids == pass->head.ids);
	return ok;
}

static bool wait_durable(struct pass *pass, struct hf_err *err) {
	while (hf_log_committed(pass->engine->log) < pass->head.lsn) {
		if (quits(pass, err))
			return false;
		hf_snapshots_sleep(pass->engine, WAIT_NS);
	}
	return true;
}

/* From the instant to the file under its real name. */
static bool take(struct pass *pass, uint64_t newest_lsn, struct hf_err *err) {
	if (!make_blocks(pass, err) || !find_instant(pass, newest_lsn, err))
		return false;
	if (pass->head.lsn == 0)
		return true;
	struct hf_snapshot_writer *writer = &pass->writer;
	bool created = hf_snapshot_create(&pass->engine->dir, pass->head.lsn, writer, err);
	writer->rest = rest_from_disk;
	writer->arg = pass;
	bool ok = created && hf_snapshot_write_head(writer, &pass->head, pass->own.bytes, err) &&
		  write_contracts(pass, err);
	ok = write_entities(pass, ok, err) && write_ids(pass, err) && wait_durable(pass, err) &&
	     hf_snapshot_finish(writer, pass->own.bytes, err);
	if (!ok && created)
		hf_snapshot_give_up(writer);
	return ok;
}

bool hf_snapshot_take(struct hf_engine *engine, uint64_t newest_lsn,
		      struct hf_snapshot_head *ret_head, uint64_t *ret_bytes, struct hf_err *err) {
	struct pass *pass = hf_memory_new(sizeof(*pass));
	if (pass == NULL)
		return hf_fail(err, HF_NOMEM, "out of memory");
	pass->engine = engine;
	bool ok = take(pass, newest_lsn, err);
	*ret_head = pass->head;
	*ret_bytes = pass->writer.bytes;
	hf_pages_free(pass->memory, pass->memory_bytes);
	hf_memory_free(pass);
	return ok;
}
