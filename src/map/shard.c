#include "map/map_private.h"

#include <string.h>

#include "base/memory.h"
#include "map/record.h"
#include "os/clock.h"

/* How many slots of a table may be in use: */
#define FILL_MAX(slots) ((slots) - (slots)*3 / 20) /* with more, a resize begins */
#define FILL_SOON(slots) ((slots)*6 / 10)	   /* with more, the helper finds memory for one */
#define FILL_HARD(slots) ((slots) - (slots) / 16)  /* not more, while it cannot begin */
#define FILL_NEW(slots) ((slots)*6 / 10)	   /* not more, in a table that takes over */
#define FILL_MIN(slots) ((slots) / 8)		   /* with fewer, a smaller table will do */

#define SURVEY_BITS 6u	/* in a table without long runs each 2^this lines have their share */
#define RUN_MAX 256u	/* lines; at random there is no such run */
#define CROWD_SHARE 64u /* a table becomes larger because of one if it is not emptier than this */

static uint32_t slot_words(const struct hf_map *map) {
	return map->kind == HF_MAP_U64 ? 2 : 1;
}

static hf_table table_at(const struct hf_table_head *head, uint32_t bits) {
	uint64_t lines = (uintptr_t)head + HF_LINE;
	HF_ASSERT(lines % HF_PIECE_ALIGNMENT == 0);
	return lines | (64 - bits);
}

static hf_table table_new(struct hf_map *map, uint32_t bits) {
	struct hf_table_head *head = hf_piece_new(&map->pieces, bits);
	if (head == NULL)
		return 0;
	head->words = slot_words(map);
	return table_at(head, bits);
}

static void table_free(struct hf_map *map, hf_table table) {
	if (table != 0)
		hf_piece_free(&map->pieces, hf_table_head(table), hf_table_bits(table));
}

/* Of the smallest table that has room for `entries` and some more. */
static uint32_t bits_for(const struct hf_map *map, uint64_t entries) {
	uint32_t bits = HF_MAP_BITS_MIN;
	uint64_t line_slots = HF_LINE_WORDS / slot_words(map);
	while (FILL_NEW(line_slots << bits) < entries)
		bits++;
	return bits;
}

/* The one word that readers know of the shard. */
static void publish(struct hf_map *map, struct hf_map_shard *shard) {
	hf_table frozen = shard->frozen != 0 ? HF_TABLE_FROZEN : 0;
	hf_atomic_store(&map->tables[shard - map->shards], shard->table | frozen, HF_RELEASE);
}

/* Lines that are 0 and not in use have memory from here on. */
static void touch(uint64_t *lines, uint64_t count) {
	for (uint64_t i = 0; i < count; i += HF_MAP_WARM_LINES)
		*(volatile uint64_t *)&lines[i * HF_LINE_WORDS] = 0;
}

bool hf_shard_init(struct hf_map *map, struct hf_map_shard *shard, uint64_t expected,
		   struct hf_err *err) {
	shard->bits_min = bits_for(map, expected);
	/* Objects and records have theirs elsewhere. */
	bool limbo = map->kind == HF_MAP_U64;
	shard->limbo = limbo ? hf_memory_new(HF_MAP_LIMBO * sizeof(*shard->limbo)) : NULL;
	shard->table = table_new(map, shard->bits_min);
	if ((limbo && shard->limbo == NULL) || shard->table == 0)
		return hf_fail(err, HF_NOMEM, "out of memory: no map of %llu entries a shard",
			       (unsigned long long)expected);
	if (map->pieces.helper != NULL)
		touch(hf_table_line(shard->table, 0), hf_table_count(shard->table));
	publish(map, shard);
	return true;
}

uint64_t hf_slot_hash(const struct hf_map *map, uint64_t mark) {
	if (map->kind == HF_MAP_U64)
		return hf_hash_u64(map, mark);
	if (map->kind == HF_MAP_OBJECTS)
		return map->objects.hash(map->objects.arg, hf_tag_address(mark));
	const struct hf_record *record = hf_record_of(mark);
	return hf_record_hash(map, hf_record_key(record), hf_record_key_len(record));
}

void hf_shard_freeze(struct hf_map *map, struct hf_map_shard *shard, uint32_t why, bool on) {
	shard->frozen = on ? shard->frozen | why : shard->frozen & ~why;
	publish(map, shard);
}

struct hf_entry hf_entry_of(const struct hf_map *map, uint64_t shard, uint64_t hash,
			    const uint64_t *slot) {
	struct hf_entry entry = { .shard = shard, .hash = hash };
	if (map->kind == HF_MAP_U64) {
		entry.key = &slot[0];
		entry.data = &slot[1];
		entry.key_len = entry.len = sizeof(*slot);
		return entry;
	}
	const struct hf_record *record = hf_record_of(hf_atomic_load(slot, HF_ACQUIRE));
	entry.version = hf_record_version(record);
	entry.key = hf_record_key(record);
	entry.key_len = hf_record_key_len(record);
	entry.data = record->bytes;
	entry.len = hf_record_len(record);
	return entry;
}

static bool has_mark(const struct hf_map *map, const uint64_t *line, enum hf_mark mark) {
	for (uint32_t i = 0; i < HF_LINE_WORDS; i += slot_words(map))
		if (hf_atomic_load(&line[i], HF_RELAXED) == mark)
			return true;
	return false;
}

/* The end of the hashes whose home is the same line as that of `hash`; 0: the last line. */
static uint64_t line_end(hf_table table, uint64_t hash) {
	return table == 0 ? 0 : (hf_table_home(table, hash) + 1) << (table & 63);
}

uint64_t hf_shard_line_last(const struct hf_map_shard *shard, uint64_t from) {
	uint64_t last = line_end(shard->table, from) - 1, next = line_end(shard->next, from) - 1;
	return next < last ? next : last;
}

bool hf_shard_each(const struct hf_map *map, const struct hf_map_shard *shard, uint64_t from,
		   uint64_t last, hf_slot_fn *fn, void *arg) {
	hf_table table = hf_shard_table(shard, from);
	const uint64_t *line = hf_table_line(table, hf_table_home(table, from));
	for (bool ends = false; !ends; line += HF_LINE_WORDS) {
		for (uint32_t i = 0; i < HF_LINE_WORDS; i += slot_words(map)) {
			uint64_t mark = hf_atomic_load(&line[i], HF_ACQUIRE);
			ends |= mark == HF_MARK_EMPTY;
			if (mark < HF_MARKS)
				continue;
			uint64_t hash = hf_slot_hash(map, mark);
			if (hash >= from && hash <= last && !fn(arg, hash, &line[i]))
				return false;
		}
	}
	return true;
}

/* ---- what was removed */

/* The slot may be used again, and is as good as never used if a search ends in its line anyway. */
static void slot_release(const struct hf_map *map, struct hf_map_shard *shard, uint64_t *slot) {
	uint64_t *line = (uint64_t *)((uintptr_t)slot & ~(uintptr_t)(HF_LINE - 1));
	bool ends = has_mark(map, line, HF_MARK_EMPTY);
	hf_atomic_store(slot, (uint64_t)(ends ? HF_MARK_EMPTY : HF_MARK_FREE), HF_RELEASE);
	if (!ends)
		return;
	const uint64_t *lines = hf_table_lines(shard->table);
	bool in_table =
		slot >= lines && slot < lines + hf_table_count(shard->table) * HF_LINE_WORDS;
	hf_table_head(in_table ? shard->table : shard->next)->used--;
}

static void free_removed(struct hf_map *map, struct hf_map_shard *shard,
			 const struct hf_removed *removed) {
	uint64_t *slot = (uint64_t *)(uintptr_t)removed->what;
	if (hf_atomic_load(slot, HF_RELAXED) == HF_MARK_DEAD)
		slot_release(map, shard, slot); /* else it was moved, and is out of use */
}

/* Frees what is out of sight, without finding out more than is known if `known`. */
static void limbo_drain(struct hf_map *map, struct hf_map_shard *shard, bool known) {
	while (shard->limbo_count != 0) {
		struct hf_removed *oldest = &shard->limbo[shard->limbo_first];
		if (known ? !hf_epochs_known(&map->epochs, oldest->stamp)
			  : !hf_epochs_passed(&map->epochs, oldest->stamp))
			return;
		free_removed(map, shard, oldest);
		shard->limbo_count--;
		/* Begins anew where it can, to stay within few lines. */
		shard->limbo_first =
			shard->limbo_count == 0 ? 0 : (shard->limbo_first + 1) % HF_MAP_LIMBO;
	}
}

static bool retired_free(struct hf_map *map, struct hf_map_shard *shard) {
	if (shard->retired == 0)
		return true;
	if (!hf_epochs_passed(&map->epochs, shard->retired_at))
		return false;
	/* What was removed in it before has an older stamp, so this leaves none of its slots. */
	limbo_drain(map, shard, true);
	table_free(map, shard->retired);
	shard->retired = 0;
	return true;
}

void hf_shard_remove(struct hf_map *map, struct hf_map_shard *shard, uint64_t *slot,
		     uint64_t hash) {
	shard->live--;
	/* What was in the next table may keep a slot there while others are still to come. */
	if (hf_shard_table(shard, hash) == shard->next)
		hf_spread_add(&shard->gone, hash);
	else
		hf_spread_remove(&shard->spread, hash);
	if (map->kind != HF_MAP_U64) {
		slot_release(map, shard, slot);
		return;
	}
	hf_atomic_store(slot, (uint64_t)HF_MARK_DEAD, HF_RELEASE);
	/* No room in limbo, for a reader is stuck: then the slot waits for the next resize. */
	if (shard->limbo_count == HF_MAP_LIMBO)
		return;
	uint32_t at = (shard->limbo_first + shard->limbo_count++) % HF_MAP_LIMBO;
	shard->limbo[at] = (struct hf_removed){ (uintptr_t)slot, hf_epochs_stamp(&map->epochs) };
}

/* Large records are pieces of their own; the others go with the pieces they were cut from. */
static void records_free(struct hf_map *map, hf_table table) {
	if (table == 0)
		return;
	for (uint64_t i = 0; i < hf_table_count(table) * HF_LINE_WORDS; i++) {
		uint64_t word = hf_table_lines(table)[i];
		if (word >= HF_MARKS)
			hf_large_free(&map->depot, hf_record_of(word),
				      hf_record_lines(hf_record_of(word)));
	}
}

void hf_shard_fini(struct hf_map *map, struct hf_map_shard *shard) {
	if (map->kind == HF_MAP_RECORDS) {
		records_free(map, shard->table);
		records_free(map, hf_shard_moving_to(shard));
	}
	table_free(map, shard->table);
	table_free(map, shard->next);
	table_free(map, shard->retired);
	hf_memory_free(shard->limbo);
}

/* ---- resizing */

/* Looks no further than `lowest`: see hf_spread_fits. The last line is never filled. */
static bool fits(const struct hf_map *map, const struct hf_map_shard *shard, uint32_t lowest,
		 uint32_t bits) {
	uint64_t slots = HF_LINE_WORDS / slot_words(map), tail = (HF_MAP_TAIL_LINES - 1) * slots;
	return hf_spread_fits(&shard->spread, lowest, bits, slots, tail);
}

/*
 * Of the table to take over: it has room for what is there, wherever that is, and for what comes
 * while entries are being moved, one with every HF_MAP_MOVE_LINES lines.
 */
static uint32_t bits_next(const struct hf_map *map, const struct hf_map_shard *shard) {
	uint64_t coming = hf_table_count(shard->table) / HF_MAP_MOVE_LINES + 1;
	uint32_t bits = bits_for(map, shard->live + coming);
	if (bits < shard->bits_min)
		bits = shard->bits_min;
	if (bits <= shard->dense_bits && shard->live > shard->dense_live)
		bits = shard->dense_bits + 1;
	while (bits < HF_MAP_BITS_MAX && !fits(map, shard, 0, bits))
		bits++;
	return bits;
}

/* Asks the helper, if there is one, for a piece of this size instead of what was asked for. */
static void want(struct hf_map *map, struct hf_map_shard *shard, uint32_t bits) {
	if (shard->wanted == bits || map->pieces.helper == NULL)
		return;
	if (shard->wanted != 0)
		hf_pieces_want(&map->pieces, shard->wanted, -1);
	if (bits != 0)
		hf_pieces_want(&map->pieces, bits, 1);
	shard->wanted = bits;
}

/* No table of so many bits is asked for, for a while, or before there are far fewer entries. */
static void avoid(struct hf_map_shard *shard, uint32_t bits) {
	shard->dense_bits = bits;
	shard->dense_calls = 4 * hf_table_count(shard->table);
	shard->dense_live = shard->live / 2;
}

/* Of the table to take over now: a larger one, where this one has too long a run. */
static uint32_t bits_wanted(const struct hf_map *map, const struct hf_map_shard *shard) {
	uint32_t bits = bits_next(map, shard), now = hf_table_bits(shard->table);
	return shard->crowded && bits <= now ? now + 1 : bits;
}

/* `must`: not only if the next table's memory is there, or nobody helps to find it. */
static bool resize_begin(struct hf_map *map, struct hf_map_shard *shard, uint32_t bits, bool must) {
	HF_ASSERT(shard->phase == HF_PHASE_STILL);
	if (!retired_free(map, shard))
		return false;
	bool *zero = &shard->next_is_zero;
	const struct hf_table_head *head = must ? hf_piece_take(&map->pieces, bits, zero)
						: hf_piece_try(&map->pieces, bits, zero);
	want(map, shard, head == NULL ? bits : 0);
	if (head == NULL)
		return false;
	shard->next = table_at(head, bits);
	shard->phase = HF_PHASE_WARMING;
	shard->warmed = 0;
	if (shard->crowded)
		avoid(shard, hf_table_bits(shard->table));
	shard->crowded = false;
	return true;
}

/* From here on every write takes the lock; moving begins when all who may not know are through. */
static void freeze_for_move(struct hf_map *map, struct hf_map_shard *shard) {
	hf_table_head(shard->next)->words = slot_words(map);
	hf_shard_freeze(map, shard, HF_FROZEN_RESIZE, true);
	shard->phase = HF_PHASE_FREEZING;
	shard->freezing = hf_epochs_stamp(&map->epochs);
}

/*
 * Makes so many lines more of the next table ready: to find memory for all of it, or to clear what
 * another table left there, takes too long for one call.
 */
static void warm_lines(struct hf_map *map, struct hf_map_shard *shard, uint64_t lines) {
	uint64_t *first = hf_table_line(shard->next, 0) - HF_LINE_WORDS;
	uint64_t count = hf_piece_bytes(hf_table_bits(shard->next)) / HF_LINE;
	uint64_t left = count - shard->warmed;
	lines = lines < left ? lines : left;
	if (!shard->next_is_zero)
		memset(first + shard->warmed * HF_LINE_WORDS, 0, lines * HF_LINE);
	else
		touch(first + shard->warmed * HF_LINE_WORDS, lines);
	shard->warmed += lines;
	if (shard->warmed == count)
		freeze_for_move(map, shard);
}

static bool move_begin(struct hf_map *map, struct hf_map_shard *shard) {
	if (!map->owned && !hf_epochs_passed(&map->epochs, shard->freezing))
		return false;
	/* More came while we waited than there is room for. */
	if (bits_next(map, shard) > hf_table_bits(shard->next)) {
		hf_table larger = table_new(map, bits_next(map, shard));
		if (larger == 0)
			return false;
		table_free(map, shard->next);
		shard->next = larger;
	}
	shard->phase = HF_PHASE_MOVING;
	shard->moved = 0;
	hf_atomic_store(&hf_table_head(shard->table)->next, shard->next, HF_RELEASE);
	return true;
}

/* The first slot on the way of this hash that may take an entry; NULL if the table ends before. */
static uint64_t *slot_for(const struct hf_map *map, hf_table table, uint64_t hash) {
	uint64_t *line = hf_table_line(table, hf_table_home(table, hash));
	const uint64_t *last = hf_table_line(table, hf_table_count(table) - 1);
	for (; line < last; line += HF_LINE_WORDS)
		for (uint32_t i = 0; i < HF_LINE_WORDS; i += slot_words(map))
			if (hf_atomic_load(&line[i], HF_RELAXED) <= HF_MARK_FREE)
				return &line[i];
	return NULL;
}

static bool line_copy(struct hf_map *map, const uint64_t *line, hf_table to) {
	for (uint32_t i = 0; map->kind != HF_MAP_U64 && i < HF_LINE_WORDS; i++)
		__builtin_prefetch(hf_tag_address(hf_atomic_load(&line[i], HF_RELAXED)));
	for (uint32_t i = 0; i < HF_LINE_WORDS; i += slot_words(map)) {
		uint64_t mark = hf_atomic_load(&line[i], HF_RELAXED);
		if (mark < HF_MARKS)
			continue;
		uint64_t *slot = slot_for(map, to, hf_slot_hash(map, mark));
		if (slot == NULL)
			return false;
		if (hf_atomic_load(slot, HF_RELAXED) == HF_MARK_EMPTY)
			hf_table_head(to)->used++;
		if (map->kind == HF_MAP_U64)
			hf_atomic_store(&slot[1], hf_atomic_load(&line[i + 1], HF_RELAXED),
					HF_RELAXED);
		hf_atomic_store(slot, mark, HF_RELEASE);
	}
	return true;
}

static void line_mark_moved(const struct hf_map *map, uint64_t *line) {
	for (uint32_t i = 0; i < HF_LINE_WORDS; i += slot_words(map))
		hf_atomic_store(&line[i], (uint64_t)HF_MARK_MOVED, HF_RELEASE);
}

static void move_end(struct hf_map *map, struct hf_map_shard *shard) {
	hf_table old = shard->table;
	shard->table = shard->next;
	shard->next = 0;
	shard->phase = HF_PHASE_STILL;
	for (uint32_t i = 0; i < HF_SPREAD_PARTS; i++)
		shard->spread.parts[i] -= shard->gone.parts[i];
	shard->spread.count -= shard->gone.count;
	shard->gone = (struct hf_spread){ 0 };
	hf_shard_freeze(map, shard, HF_FROZEN_RESIZE, false);
	shard->retired = old;
	shard->retired_at = hf_epochs_stamp(&map->epochs);
	shard->resizes++;
}

/*
 * Moves whole runs: the lines up to the first one in which searches end. All entries whose search
 * passes one of these lines stand in them, so once all are copied, a reader that meets a moved
 * line, anywhere in the run, finds in the next table what it looks for.
 */
static void move_lines(struct hf_map *map, struct hf_map_shard *shard, uint64_t lines) {
	hf_table from = shard->table;
	uint64_t first = shard->moved, end = first, count = hf_table_count(from);
	bool ends = true;
	while (end < count && (end - first < lines || !ends)) {
		const uint64_t *line = hf_table_line(from, end++);
		ends = has_mark(map, line, HF_MARK_EMPTY);
		/* The table was chosen so, and room_at_once lets nothing in that does not fit. */
		bool copied = line_copy(map, line, shard->next);
		HF_ASSERT(copied);
	}
	for (uint64_t i = first; i < end; i++)
		line_mark_moved(map, hf_table_line(from, i));
	shard->moved = end;
	if (end == count)
		move_end(map, shard);
}

hf_table hf_shard_table(const struct hf_map_shard *shard, uint64_t hash) {
	bool moved =
		shard->phase == HF_PHASE_MOVING && hf_table_home(shard->table, hash) < shard->moved;
	return moved ? shard->next : shard->table;
}

static bool is_resize_due(const struct hf_map *map, const struct hf_map_shard *shard) {
	uint64_t slots = hf_table_slots(shard->table);
	uint32_t bits = hf_table_bits(shard->table);
	bool full = hf_table_head(shard->table)->used > FILL_MAX(slots);
	return full || shard->crowded ||
	       (shard->live < FILL_MIN(slots) && bits > shard->bits_min &&
		bits_next(map, shard) < bits);
}

/* To a larger table at once, to a smaller one once that is known to keep apart what is there. */
static void resize(struct hf_map *map, struct hf_map_shard *shard) {
	uint32_t bits = bits_wanted(map, shard);
	if (bits < hf_table_bits(shard->table) && bits > SURVEY_BITS) {
		shard->phase = HF_PHASE_SURVEYING;
		shard->survey_bits = bits;
		shard->surveyed = shard->gathered = 0;
	} else if (resize_begin(map, shard, bits, false)) {
		warm_lines(map, shard, HF_MAP_WARM_LINES);
	}
}

/* It does, and is begun, or a larger one that is wanted by now; if there is no memory, later. */
static void survey_end(struct hf_map *map, struct hf_map_shard *shard) {
	shard->phase = HF_PHASE_STILL;
	shard->dense_bits = 0;
	if (!is_resize_due(map, shard))
		return;
	uint32_t bits = bits_wanted(map, shard);
	if (bits < shard->survey_bits)
		bits = shard->survey_bits;
	if (resize_begin(map, shard, bits, false))
		warm_lines(map, shard, HF_MAP_WARM_LINES);
	else
		shard->phase = HF_PHASE_SURVEYING;
}

/*
 * Looks at so many lines more of a table that is to become smaller. Where a program has removed
 * what a cursor showed, in its order, what is left stands close together, and in a table for so few
 * entries it would stand in one long run: no search in it would end, and one call would have to
 * move it. So no part of the new table may get more than a whole table may have.
 */
static void survey_lines(struct hf_map *map, struct hf_map_shard *shard, uint64_t lines) {
	uint32_t words = slot_words(map), steps = hf_table_bits(shard->table) - shard->survey_bits;
	uint64_t homes = hf_table_homes(shard->table), count = hf_table_count(shard->table);
	uint64_t window = (uint64_t)1 << (SURVEY_BITS + steps);
	uint64_t most = FILL_MAX(((uint64_t)HF_LINE_WORDS << SURVEY_BITS) / words);
	for (; lines > 0 && shard->surveyed < count; lines--, shard->surveyed++) {
		const uint64_t *line = hf_table_line(shard->table, shard->surveyed);
		/* What overflows the last home line belongs to its window. */
		if (shard->surveyed % window == 0 && shard->surveyed < homes)
			shard->gathered = 0;
		for (uint32_t i = 0; i < HF_LINE_WORDS; i += words)
			shard->gathered += hf_atomic_load(&line[i], HF_RELAXED) >= HF_MARKS;
		if (shard->gathered > most) {
			avoid(shard, shard->survey_bits);
			shard->phase = HF_PHASE_STILL;
			return;
		}
	}
	if (shard->surveyed == count)
		survey_end(map, shard);
}

void hf_shard_tend(struct hf_map *map, struct hf_map_shard *shard) {
	hf_pieces_tend(&map->pieces);
	if (shard->dense_bits != 0 && --shard->dense_calls == 0)
		shard->dense_bits = 0;
	if (shard->limbo_count != 0)
		limbo_drain(map, shard, shard->limbo_count < HF_MAP_LIMBO_EAGER);
	if (shard->phase == HF_PHASE_MOVING) {
		move_lines(map, shard, HF_MAP_MOVE_LINES);
	} else if (shard->phase == HF_PHASE_WARMING) {
		warm_lines(map, shard, HF_MAP_WARM_LINES);
	} else if (shard->phase == HF_PHASE_SURVEYING) {
		survey_lines(map, shard, HF_MAP_SURVEY_LINES);
	} else if (shard->phase == HF_PHASE_FREEZING) {
		(void)move_begin(map, shard);
	} else if (shard->retired != 0) {
		(void)retired_free(map, shard);
	} else {
		uint64_t slots = hf_table_slots(shard->table);
		bool soon = hf_table_head(shard->table)->used > FILL_SOON(slots);
		if (!is_resize_due(map, shard))
			want(map, shard, soon ? hf_table_bits(shard->table) + 1 : 0);
		else
			resize(map, shard);
	}
}

bool hf_shard_is_still(struct hf_map *map, struct hf_map_shard *shard) {
	limbo_drain(map, shard, false);
	return shard->limbo_count == 0 && shard->phase == HF_PHASE_STILL && shard->retired == 0 &&
	       !is_resize_due(map, shard);
}

/* ---- room for a new entry */

static bool is_full(const struct hf_map_shard *shard) {
	return hf_table_head(shard->table)->used >= FILL_HARD(hf_table_slots(shard->table));
}

/* Does one more fit into the next table, together with all that is to be moved there? */
static bool fits_in_next(const struct hf_map *map, struct hf_map_shard *shard, uint64_t hash) {
	hf_spread_add(&shard->spread, hash);
	bool answer = fits(map, shard, hf_spread_part(hash), hf_table_bits(shard->next));
	hf_spread_remove(&shard->spread, hash);
	return answer;
}

/*
 * Does a search for this hash go far? Then entries are close together where others were removed,
 * and a larger table keeps them apart; but for hashes that are the same whatever its size, so it
 * must not be all too large.
 */
static bool is_crowded(const struct hf_map *map, const struct hf_map_shard *shard, uint64_t hash) {
	const uint64_t *line = hf_table_line(shard->table, hf_table_home(shard->table, hash));
	for (uint32_t i = 0; i < RUN_MAX; i++, line += HF_LINE_WORDS)
		if (has_mark(map, line, HF_MARK_EMPTY))
			return false;
	return hf_table_slots(shard->table) / CROWD_SHARE < shard->live;
}

static uint64_t *room_at_once(struct hf_map *map, struct hf_map_shard *shard, uint64_t hash) {
	bool moving = shard->phase == HF_PHASE_MOVING;
	if (moving ? !fits_in_next(map, shard, hash) : is_full(shard))
		return NULL;
	if (shard->phase == HF_PHASE_STILL && !shard->crowded)
		shard->crowded = is_crowded(map, shard, hash);
	return slot_for(map, hf_shard_table(shard, hash), hash);
}

/* Does whatever makes room next; false if that has to wait for a reader, or for memory. */
static bool make_room(struct hf_map *map, struct hf_map_shard *shard) {
	if (shard->phase == HF_PHASE_MOVING) {
		move_lines(map, shard, hf_table_count(shard->table));
		return true;
	}
	if (shard->phase == HF_PHASE_WARMING) {
		warm_lines(map, shard, UINT64_MAX);
		return true;
	}
	if (shard->phase == HF_PHASE_FREEZING)
		return move_begin(map, shard);
	shard->phase = HF_PHASE_STILL; /* or SURVEYING, for a smaller table */
	/* If it is not full, its last lines are: in a larger one, fewer have their home there. */
	uint32_t bits = bits_wanted(map, shard), now = hf_table_bits(shard->table);
	if (bits <= now)
		bits = is_full(shard) ? now : now + 1;
	return resize_begin(map, shard, bits, true);
}

/* Inside the map: who has to wait for readers would wait for itself. */
static bool is_inside(const struct hf_pin *pin) {
	return hf_atomic_load(&pin->epoch, HF_RELAXED) != 0;
}

/* A writer's patience with a reader. */
struct wait {
	uint64_t begin_ns;
};

/* Waits a moment; false if it has been long enough, or would be for ever. */
static bool wait_for_readers(struct hf_map *map, struct hf_pin *pin, struct wait *wait) {
	uint64_t now_ns = hf_clock_monotonic_ns();
	if (wait->begin_ns == 0) {
		wait->begin_ns = now_ns;
		hf_atomic_fetch_add(&map->waits, 1u, HF_RELAXED);
	}
	if (is_inside(pin) || now_ns - wait->begin_ns >= (uint64_t)map->patience_ms * 1000000)
		return false;
	hf_thread_yield();
	return true;
}

static bool refuse(struct hf_map *map, const struct hf_pin *pin, bool waited, uint64_t stamp,
		   const char *what, struct hf_err *err) {
	char name[HF_MAP_NAME_MAX + 1];
	if (waited && is_inside(pin))
		return hf_fail(err, HF_NOMEM,
			       "map '%s' cannot %s: thread '%s' is between hf_map_enter and "
			       "hf_map_exit, and would have to wait for itself",
			       map->name, what, pin->name);
	if (waited && hf_epochs_culprit(&map->epochs, stamp, name, sizeof(name)))
		return hf_fail(err, HF_NOMEM,
			       "map '%s' cannot %s: thread '%s' has been reading in it for more "
			       "than %u ms",
			       map->name, what, name, map->patience_ms);
	return hf_fail(err, HF_NOMEM, "out of memory: map '%s' cannot %s", map->name, what);
}

/* May it be readers that are in the way of more room? Else it is memory. */
static bool may_wait(const struct hf_map *map, const struct hf_map_shard *shard,
		     uint64_t *ret_stamp) {
	bool freezing = shard->phase == HF_PHASE_FREEZING;
	*ret_stamp = freezing ? shard->freezing : shard->retired_at;
	return freezing ? !map->owned : shard->retired != 0;
}

uint64_t *hf_shard_room(struct hf_map *map, struct hf_map_shard *shard, struct hf_pin *pin,
			uint64_t hash, struct hf_err *err) {
	uint64_t *slot = room_at_once(map, shard, hash);
	struct wait wait = { 0 };
	while (slot == NULL) {
		uint64_t stamp = 0;
		if (!make_room(map, shard)) {
			bool readers = may_wait(map, shard, &stamp);
			if (!readers || !wait_for_readers(map, pin, &wait)) {
				(void)refuse(map, pin, readers, stamp, "grow", err);
				return NULL;
			}
		}
		slot = room_at_once(map, shard, hash);
	}
	return slot;
}

bool hf_map_wait_passed(struct hf_map *map, struct hf_pin *pin, uint64_t stamp, const char *what,
			struct hf_err *err) {
	struct wait wait = { 0 };
	while (!hf_epochs_passed(&map->epochs, stamp))
		if (!wait_for_readers(map, pin, &wait))
			return refuse(map, pin, true, stamp, what, err);
	return true;
}

bool hf_shard_limbo_room(struct hf_map *map, struct hf_blocks *blocks, struct hf_pin *pin,
			 struct hf_err *err) {
	struct wait wait = { 0 };
	while (hf_blocks_are_full(blocks)) {
		(void)hf_blocks_drain(blocks, &map->depot);
		if (hf_blocks_are_full(blocks) && !hf_blocks_widen(blocks) &&
		    !wait_for_readers(map, pin, &wait))
			return refuse(map, pin, true, hf_blocks_oldest(blocks)->stamp,
				      "free old records", err);
	}
	return true;
}

void hf_shard_added(struct hf_map_shard *shard, uint64_t hash, uint64_t mark) {
	shard->live++;
	hf_spread_add(&shard->spread, hash);
	if (mark == HF_MARK_EMPTY)
		hf_table_head(hf_shard_table(shard, hash))->used++;
}
