#!/usr/bin/python3
"""Plants concurrency bugs in copies of src/map and src/stats, and says in how many runs the explorer finds each.

    tests/interleave/test_planted.py [PART-OF-NAME]

A bug is a text of the sources and its replacement, outside the product. The text must be there exactly once, so a bug
whose place has changed is noticed. One that is not found is a failure; so is one that is not found as what it is.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
FLAGS = """-std=gnu17 -O1 -D_GNU_SOURCE -DHF_INTERLEAVE -DHF_SMALL_LIMITS -fno-strict-aliasing -U_FORTIFY_SOURCE -fPIC
    -w""".split()
PATIENCE_S = 20

# What to compile anew for a header: all that the tests go through which are named for its bugs.
REBUILT = {"map/epoch.h": ["src/map/epoch.c", "tests/interleave/map.c"], "map/lock.h": ["src/map/u64.c"],
           "map/table.h": ["src/map/u64.c"]}

# name, file of src, the text, what stands there instead, which test of map.c or stats.c, what its failure says
BUGS = [
    ("a pin is not fenced", "map/epoch.h",
     "\thf_fence_light();\n\treturn outer;", "\treturn outer;", "epochs", "free"),
    ("a pin is not fenced where membarrier is missing", "map/epoch.h",
     "if (__builtin_expect(pin->fences, 0))", "if (false)", "epochs without", "free"),
    ("pins are looked at without a fence", "map/epoch.c", "\t\tfence(epochs);\n", "", "epochs", "free"),
    ("pins are not looked at", "map/epoch.c", "\t\t\tsafe = pinned - 1;\n", "\t\t\tcontinue;\n", "epochs", "free"),
    ("what is one epoch older than a pin is freed", "map/epoch.c",
     "pinned - 1 < safe)\n\t\t\tsafe = pinned - 1;", "pinned < safe)\n\t\t\tsafe = pinned;", "epochs", "free"),
    ("an epoch too early", "map/epoch.c", "\treturn stamp < safe;\n", "\treturn stamp <= safe;\n", "epochs", "free"),
    ("a thread unpins without release", "map/epoch.h", "hf_atomic_store(&pin->epoch, outer, HF_RELEASE);",
     "hf_atomic_store(&pin->epoch, outer, HF_RELAXED);", "epochs", "free"),
    ("the epoch is asked for before the removal", "map/epoch.h",
     "\thf_fence_light();\n\treturn hf_atomic_load(&epochs->now, HF_ACQUIRE);",
     "\treturn hf_atomic_load(&epochs->now, HF_ACQUIRE);", "epochs", "free"),
    ("a removed slot is used again at once", "map/shard.c",
     "if (known ? !hf_epochs_known(&map->epochs, oldest->stamp)\n"
     "\t\t\t  : !hf_epochs_passed(&map->epochs, oldest->stamp))", "if (false)", "a slot used again", "does not hold"),
    ("an emptied table is freed at once", "map/shard.c",
     "if (!hf_epochs_passed(&map->epochs, shard->retired_at))", "if (false)", "resize to the end", "free"),
    ("moving begins while a put is under way", "map/shard.c",
     "if (!map->owned && !hf_epochs_passed(&map->epochs, shard->freezing))", "if (false)", "resize; put",
     "== 20 does not hold"),
    ("a put does not see that the table is frozen", "map/u64.c",
     "if (HF_UNLIKELY(slot == NULL || (table & HF_TABLE_FROZEN) != 0)) {\n\t\thf_unpin",
     "if (slot == NULL) {\n\t\thf_unpin", "resize; put",
     "== 20 does not hold"),
    ("a moved line is said to be so before its neighbours are copied", "map/shard.c",
     "\t\tHF_ASSERT(copied);\n", "\t\tHF_ASSERT(copied);\n\t\tline_mark_moved(map, (uint64_t *)line);\n",
     "resize; get of a key beside", "== 14 does not hold"),
    ("an empty slot ends a search before a moved one is seen", "map/table.h",
     "\tif (moved) {", "\tif (moved && !ends) {", "resize; get of a key in a line with room",
     "== 31 does not hold"),
    ("the key comes before its value", "map/u64.c",
     "hf_atomic_store(&slot[1], value, HF_RELEASE);\n\thf_atomic_store(slot, place->key, HF_RELEASE);",
     "hf_atomic_store(slot, place->key, HF_RELEASE);\n\thf_atomic_store(&slot[1], value, HF_RELEASE);",
     "put of a new key", "does not hold"),
    ("a key is published without release", "map/u64.c", "hf_atomic_store(slot, place->key, HF_RELEASE);",
     "hf_atomic_store(slot, place->key, HF_RELAXED);", "put of a new key", "does not hold"),
    ("an update is a load and a store", "map/u64.c",
     "!hf_atomic_cas(&slot[1], &old, change->value, HF_ACQ_REL, HF_ACQUIRE)",
     "(hf_atomic_store(&slot[1], change->value, HF_RELEASE), false)", "two updates", "does not hold"),
    ("a removed slot is empty for whoever looks", "map/shard.c",
     "hf_atomic_store(slot, (uint64_t)HF_MARK_DEAD, HF_RELEASE);",
     "hf_atomic_store(slot, (uint64_t)HF_MARK_EMPTY, HF_RELEASE);", "a slot used again", "does not hold"),
    ("a record is published without release", "map/records.c",
     "hf_atomic_store(slot, hf_tag_word(change->hash, record), HF_RELEASE);",
     "hf_atomic_store(slot, hf_tag_word(change->hash, record), HF_RELAXED);", "record put of a new",
     "not published"),
    ("a record is filled after it is published", "map/records.c",
     "\tuint64_t was = hf_atomic_load(slot, HF_RELAXED);\n",
     "\tuint64_t was = hf_atomic_load(slot, HF_RELAXED);\n\thf_atomic_store(slot, hf_tag_word("
     "change->hash, record), HF_RELEASE);\n\thf_plain_writes(record->bytes, change->len);\n", "record put of a new",
     "data race"),
    ("a replaced record is used again at once", "map/blocks.c",
     "\tif (!many) {\n", "\tif (many) {\n\t\tfree_oldest(blocks, depot);\n\t} else if (!many) {\n",
     "record put thrice", "accesses record"),
    ("a record is replaced with a load and a store", "map/records.c",
     "bool done = hf_atomic_cas(spot.slot, &was, now, HF_ACQ_REL, HF_RELAXED);",
     "bool done = true;\n\thf_atomic_store(spot.slot, now, HF_RELEASE);", "two record puts", "does not hold"),
    ("a new version is published without release", "map/records.c",
     "if (!hf_atomic_cas(spot.slot, &spot.word, now, HF_ACQ_REL, HF_RELAXED))",
     "if (!hf_atomic_cas(spot.slot, &spot.word, now, HF_RELAXED, HF_RELAXED))", "record put", "not published"),
    ("a record is replaced in a frozen table", "map/records.c",
     "\t\tif (HF_UNLIKELY((table & HF_TABLE_FROZEN) != 0))\n\t\t\tbreak;\n", "", "records resize; put",
     "does not hold"),
    ("a key that has moved is taken for one that is not there", "map/records.c",
     "\treturn hf_atomic_load(&line[0], HF_ACQUIRE) != HF_MARK_MOVED &&\n", "\treturn\n",
     "records resize; get from a line with room", "does not hold"),
    ("a version comes again after a removal", "map/records.c",
     "\t\t\tshard->version = change->ret_version;\n", "\t\t\t;\n", "record delete; put", "does not hold"),
    ("a record that is looked at between enter and exit is not held", "map/map.c",
     "\t\t(void)hf_pin(&thread->map->epochs, &thread->pin);\n", "\t\t(void)0;\n", "record put thrice; look",
     "accesses record"),
    ("many records are copied after the thread has left", "map/records.c",
     "\t\t\t__builtin_prefetch(hf_record_of(all[i].spot.word));\n",
     "\t\t\t__builtin_prefetch(hf_record_of(all[i].spot.word));\n\thf_unpin(&thread->pin, outer);\n",
     "get_many", "early free"),
    ("an object is published without release", "map/objects.c",
     "\thf_atomic_store(slot, hf_tag_word(hash, object), HF_RELEASE);\n",
     "\thf_atomic_store(slot, hf_tag_word(hash, object), HF_RELAXED);\n", "object added", "not published"),
    ("an object is replaced without release", "map/objects.c",
     "hf_atomic_store(slot_with(map, hash, old), hf_tag_word(hash, object), HF_RELEASE);",
     "hf_atomic_store(slot_with(map, hash, old), hf_tag_word(hash, object), HF_RELAXED);", "object replaced;",
     "not published"),
    ("an object that is replaced is away for a moment", "map/objects.c",
     "\thf_atomic_store(slot_with(map, hash, old), hf_tag_word(hash, object), HF_RELEASE);\n",
     "\tuint64_t *slot = slot_with(map, hash, old);\n\thf_atomic_store(slot, (uint64_t)HF_MARK_FREE, HF_RELEASE);\n"
     "\thf_atomic_store(slot, hf_tag_word(hash, object), HF_RELEASE);\n", "object replaced;", "!= 0 does not hold"),
    ("an object that is held is freed", "map/objects.c",
     "\t\tif (known ? !hf_epochs_known(&map->epochs, oldest->stamp)\n"
     "\t\t\t  : !hf_epochs_passed(&map->epochs, oldest->stamp))", "\t\tif (false)", "object replaced thrice",
     "free"),
    ("a slot that an object has left ends searches", "map/shard.c",
     "hf_atomic_store(slot, (uint64_t)(ends ? HF_MARK_EMPTY : HF_MARK_FREE), HF_RELEASE);",
     "hf_atomic_store(slot, (uint64_t)HF_MARK_EMPTY, HF_RELEASE);", "object removed from a full line",
     "does not hold"),
    ("the table of objects is read without acquire", "map/objects.c",
     "hf_atomic_load(&map->tables[0], HF_ACQUIRE)", "hf_atomic_load(&map->tables[0], HF_RELAXED)",
     "objects resize to the end", "not published"),
    ("room for an object is found before its line moves", "map/objects.c",
     "\thf_shard_tend(map, shard);\n\tshard->reserved = hf_shard_room(map, shard, &nobody, hash, err);\n",
     "\tshard->reserved = hf_shard_room(map, shard, &nobody, hash, err);\n\thf_shard_tend(map, shard);\n",
     "objects resize; find of a new one", "does not hold"),
    ("a cursor does not freeze the shards", "map/cursor.c",
     "\tif (map->cursor_count++ == 0)\n\t\tfreeze_all(map, true);\n",
     "\tmap->cursor_count++;\n", "two puts; a cursor", "walked(s, 10, 11, 0)"),
    ("what a cursor has not seen yet is not kept", "map/cursor.c", "bool seen = entry->shard < cursor->shard ||",
     "bool seen = entry->shard <= 2 ||", "two puts; a cursor", "walked(s, 10, 11, 0)"),
    ("who has the lock is looked at, then written", "map/lock.h",
     "hf_atomic_cas(lock, &free, 1u, HF_ACQUIRE, HF_RELAXED);",
     "(hf_atomic_store(lock, 1u, HF_SEQ_CST), free == 0);", "two get_or_put", "does not hold"),
    ("a lock is taken without acquire", "map/lock.h", "hf_atomic_cas(lock, &free, 1u, HF_ACQUIRE, HF_RELAXED)",
     "hf_atomic_cas(lock, &free, 1u, HF_RELAXED, HF_RELAXED)", "two get_or_put", "does not hold"),
    ("a lock is left without release", "map/lock.h", "hf_atomic_store(lock, 0u, HF_RELEASE)",
     "hf_atomic_store(lock, 0u, HF_RELAXED)", "two get_or_put", "does not hold"),
    ("a flip is not fenced", "stats/stats.c", "\thf_fence(HF_SEQ_CST); /* hf_stats_wake has the other one */\n", "",
     "snapshot", "data race"),
    ("a thread that wakes is not fenced", "stats/stats.c",
     "HF_RELEASE);\n\t\thf_fence(HF_SEQ_CST);\n", "HF_RELEASE);\n", "snapshot", "data race"),
    ("a snapshot waits for nobody", "stats/stats.c", "\twhile (!all_have_seen(stats)) {", "\twhile (false) {",
     "snapshot", "data race"),
    ("a thread says too weakly that it has seen the flip", "stats/stats.c",
     "hf_atomic_store(&seat->seen, epoch, HF_RELEASE);\n\t}\n\tpass",
     "hf_atomic_store(&seat->seen, epoch, HF_RELAXED);\n\t}\n\tpass", "snapshot", "data race"),
    ("a thread says too weakly that it rests", "stats/stats.c", "hf_atomic_store(&seat->seen, RESTS, HF_RELEASE)",
     "hf_atomic_store(&seat->seen, RESTS, HF_RELAXED)", "snapshot", "data race"),
    ("a thread takes a bank over too weakly", "stats/stats.c", "seat->stats->epoch, HF_ACQUIRE);\n\tif",
     "seat->stats->epoch, HF_RELAXED);\n\tif", "snapshot", "data race"),
    ("a shared handle's point is fetched as it is after the mutex", "stats/stats.c",
     "\t\tpass(arg);\n", "\t\tpass = hf_plain_load(&seat->pass);\n\t\tpass(arg);\n", "a shared handle leaves",
     "data race"),
    ("a thread counts on in the old bank", "stats/stats.c", "\t\tseat->current = epoch;\n\t\thf_seat_point(seat);\n",
     "\t\tseat->current = epoch;\n", "snapshot", ""),
]


class Build:
    """The program `map` or `stats` as Meson built it, for any of whose files another object can be put in."""

    def __init__(self, build, name):
        with open(os.path.join(build, "build.ninja"), encoding="utf-8") as file:
            text = file.read()
        line = re.search(rf"^build tests/interleave/{name}: \S+ (.*?)$", text, re.M).group(1)
        words = [word for word in line.split() if word.endswith((".o", ".a"))]
        self.inputs = [os.path.join(build, word) for word in words]
        self.libraries = ["-lxxhash"] if name == "stats" else []
        self.cc = shlex.split(os.environ.get("CC", "cc"))

    def make(self, folder, file, text):
        """The program, with that text for that file of src."""
        source = os.path.join(folder, file)
        os.makedirs(os.path.dirname(source))
        with open(source, "w", encoding="utf-8") as out:
            out.write(text)
        anew = REBUILT.get(file, ["src/" + file])
        inputs = [source if name == "src/" + file else os.path.join(ROOT, name) for name in anew]
        inputs += [path for path in self.inputs if self.source_of(path) not in anew]
        program = os.path.join(folder, "program")
        words = [*self.cc, *FLAGS, "-I" + folder, "-I" + ROOT + "/src", "-I" + ROOT + "/include", *inputs, "-fno-lto",
                 *self.libraries, "-o", program]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stdout[-3000:])
        return program

    @staticmethod
    def source_of(path):
        """Of an object, as Meson names it."""
        name = os.path.basename(path)
        if name.startswith(".._.._"):
            folders, file = name[len(".._.._"):-len(".o")].rsplit("_", 1)
            return folders.replace("_", "/") + "/" + file
        return "tests/interleave/" + name[:-len(".o")]


def find(builds, bug):
    name, file, there, instead, test, wanted = bug
    with open(os.path.join(ROOT, "src", file), encoding="utf-8") as source:
        good = source.read()
    if good.count(there) != 1:
        raise RuntimeError(f"{file} has {good.count(there)} places like that; this list must follow the code")
    with tempfile.TemporaryDirectory() as folder:
        program = builds[os.path.dirname(file)].make(folder, file, good.replace(there, instead))
        begin = time.monotonic()
        run = subprocess.run([program, "-f", test], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             check=False, timeout=PATIENCE_S)
        seconds = time.monotonic() - begin
    found = re.search(r"^\| ([^|]*) \| FAILED \| (\d+) \+ (\d+) \| (\d+) \|.*\n +(.*)\n", run.stdout, re.M)
    if run.returncode != 1 or not found:
        raise RuntimeError("not found; " + run.stdout[-500:])
    if wanted not in found.group(5) or "does not replay" in found.group(5):
        raise RuntimeError(f"found as '{found.group(5)}', not as '{wanted}'")
    runs = int(found.group(2)) + int(found.group(3))
    return f"| {name} | {found.group(1)} | {runs} | {found.group(4)} | {seconds:.2f} |"


def main():
    build = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(os.environ["HOLDFAST"]))))
    builds = {name: Build(build, name) for name in ("map", "stats")}
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    bugs = [bug for bug in BUGS if part in bug[0]]
    rows, failures, left = {}, [], list(bugs)
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not left:
                    return
                bug = left.pop(0)
            try:
                rows[bug[0]] = find(builds, bug)
            except Exception as why:  # whatever it was, the bug was not found
                failures.append(f"{bug[0]}: {type(why).__name__}: {why}")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("| planted bug | found by | runs | steps | seconds |\n| --- | --- | --- | --- | --- |")
    print("\n".join(rows[bug[0]] for bug in bugs if bug[0] in rows))
    for failure in failures:
        print("NOT FOUND:", failure)
    return 1 if failures or not bugs or len(rows) != len(bugs) else 0


if __name__ == "__main__":
    sys.exit(main())
