#!/usr/bin/python3
"""The checker of histories refuses what is not linearizable, and says what is wrong.

    test_planted.py [--seed N]

Takes good histories of a real server, breaks each in one way, and wants a refusal that names the break. What it
changes is chosen at random among all that would be such a break. And the search for an order of the operations on
plain keys is held against one that tries all orders, on small histories by chance.
"""

import argparse
import collections
import itertools
import pathlib
import random
import re
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import check  # noqa: E402
import test_histories  # noqa: E402

ROUNDS = 2  # of each violation
OPERATIONS = 4000  # of the history that is broken
MARGIN_NS = 1000
SMALL_HISTORIES = 3000  # held against all orders
PLACES = {"p": 0, "q": 1}  # the keys of those
NEW_VALUE = 1 << 60  # no client of record has it


class Records:
    """The lines of a history, to be changed. A line is [connection, begin, end, request, reply]."""

    def __init__(self, lines, rng):
        self.lines = [line.rstrip("\n").split("\t") for line in lines]
        self.rng = rng

    def pick(self, verb, reply, fits=lambda line: True):
        """A random line of the verb whose reply matches the pattern."""
        found = [line for line in self.lines if line[3].startswith(verb) and re.match(reply, line[4]) and fits(line)]
        assert found, f"the history has no {verb} with the reply {reply}"
        return self.rng.choice(found)

    def all_acknowledged(self):
        """Writes whose reply came, and that nobody retried."""
        asked = collections.Counter(line[3] for line in self.lines)
        return [line for line in self.lines if asked[line[3]] == 1 and re.match(r"[A-Z]\w+ \d+ \d+$", line[4])]

    def acknowledged(self, fits=lambda line: True):
        """One of them, at random."""
        return self.rng.choice([line for line in self.all_acknowledged() if fits(line)])

    def everywhere(self, pattern, replacement):
        """Replaces in all histories that were read."""
        for line in self.lines:
            if line[3].startswith("HF.HISTORY"):
                line[4] = re.sub(pattern, replacement, line[4]).strip(" ")

    def late(self, *requests):
        """Appends them, (request, reply), each behind the end of all before."""
        time = max(int(line[2]) for line in self.lines) + MARGIN_NS
        for request, reply in requests:
            self.lines.append(["1000001", str(time), str(time + 1), request, reply])
            time += MARGIN_NS

    def at_once(self, requests):
        """Appends them, (connection, begin, end, request, reply), at times counted from the end of all before."""
        late = max(int(line[2]) for line in self.lines) + MARGIN_NS
        for connection, begin, end, request, reply in requests:
            self.lines.append([f"100000{connection}", str(late + begin), str(late + end), request, reply])

    def new_keys(self):
        """Two that nobody has asked for: no command without a reply may have changed them."""
        return self.rng.sample(["p8", "p9"], 2)

    def plain_key(self):
        return self.rng.choice(test_histories.PLAIN_KEYS)

    def check(self):
        check.check("\t".join(line) for line in self.lines)


def lsn_of(line):
    return line[4].split(" ")[2]


def request_of(line):
    """key, event, n"""
    words = line[3].split(" ")
    return words[2], words[3], words[5]


# ---- what can go wrong. Each breaks a history, and returns what the refusal has to speak of.

def swap_two_lsns(records):
    """Two writes, one of which ended before the other began, and neither key has another between them."""
    written = {int(lsn_of(line)): line for line in records.all_acknowledged()}
    key_at = {int(row[2]): line[3].split(" ")[2] for line in records.lines for row in check.ROW.finditer(line[4])}
    pairs = [(str(a), str(b)) for a in written for b in range(a + 1, a + 20)
             if b in written and int(written[a][2]) < int(written[b][1])
             and key_at[a] not in (key_at.get(i) for i in range(a + 1, b + 1))
             and key_at[b] not in (key_at.get(i) for i in range(a, b))]
    place = {}  # LSN -> that, and its time, as they will be
    a, b = records.rng.choice(pairs)
    for line in records.lines:
        place.update((row[2], (row[2], row[3])) for row in check.ROW.finditer(line[4]))
    place[a], place[b] = place[b], place[a]
    for line in records.lines:
        line[4] = re.sub(r"\blsn (%s|%s) time \d+" % (a, b), lambda m: "lsn %s time %s" % place[m[1]], line[4])
        line[4] = re.sub(r"^([A-Z]\w+ \d+) (%s|%s)$" % (a, b), lambda m: f"{m[1]} {place[m[2]][0]}", line[4])
    return "stands at LSN"


def swap_two_replies(records):
    one, other = records.acknowledged(), records.acknowledged()
    while other[4] == one[4]:
        other = records.acknowledged()
    one[4], other[4] = other[4], one[4]
    return "in the history"


def stale_read(records):
    """A read that began after a newer version was shown."""
    read = records.pick("HF.GET", "state", lambda line: int(line[4].split(" ")[3]) > 20)
    version = int(read[4].split(" ")[3])
    old = records.pick("HF.GET", "state", lambda line: line[3] == read[3] and int(line[4].split(" ")[3]) < version
                       and int(line[2]) + MARGIN_NS < int(read[1]))
    late = max(int(line[2]) for line in records.lines) + MARGIN_NS
    records.lines.append(["1000001", str(late), str(late + 1), old[3], old[4]])
    return "stands at LSN"


# ---- plain keys. Only values that one SET has, and no INCR comes to, show for sure that an order is wrong.

def is_from_set(value):
    return value.isdigit() and int(value) > 0 and int(value) % 4096 == 0


def plain_stale_read(records):
    """A value that others have replaced, and somebody has seen that."""
    old = records.pick("GET p", r"\d", lambda line: is_from_set(line[4]))
    key = old[3].split(" ")[1]
    end = next(line for line in records.lines if line[0] == str(test_histories.LAST_CONNECTION)
               and line[3] == f"GET {key}")
    if end[4] == old[4]:
        records.late((f"SET {key} {NEW_VALUE}", "OK"))
    records.late((old[3], old[4]))
    return "no order fits"


def plain_lost_incr(records):
    """Two INCRs come to the same number."""
    numbers = {(line[3], line[4]): line for line in records.lines if line[3].startswith("INCR")}
    (request, number), line = records.rng.choice([
        ((request, int(number)), numbers[request, str(int(number) + 1)]) for request, number in numbers
        if number.isdigit() and int(number) > 4096 and (request, str(int(number) + 1)) in numbers])
    assert line[3] == request
    line[4] = str(number)
    return "no order fits"


def plain_set_nx_won_twice(records):
    """On a key that nobody else has: both at once, so that either could have been the first."""
    late = max(int(line[2]) for line in records.lines) + MARGIN_NS
    when = records.rng.randrange(MARGIN_NS)
    for i in range(2):
        records.lines.append([f"100000{i}", str(late + i * when), str(late + 2 * MARGIN_NS), f"SET p9 {i + 1} NX",
                              "OK"])
    return "no order fits"


def plain_read_taken_back(records):
    """Somebody read a value whose SET was not acknowledged, and then the one before is there again."""
    shown = {line[4] for line in records.lines}
    lost = [line[3] for line in records.lines if line[3].startswith("SET p") and line[4] == "?"
            and line[3].split(" ")[3:] in ([], ["GET"]) and line[3].split(" ")[2] not in shown]
    if lost:
        key, value = records.rng.choice(lost).split(" ")[1:3]
    else:  # none in this history
        key, value = records.plain_key(), str(NEW_VALUE + 4096)
        begin = max(int(line[2]) for line in records.lines) + MARGIN_NS
        records.lines.append(["1000002", str(begin), "0", f"SET {key} {value}", "?"])
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"GET {key}", value), (f"GET {key}", str(NEW_VALUE)))
    return "no order fits"


def plain_deleted_and_seen_again(records):
    deleted = records.pick("DEL p", "1$")
    key = deleted[3].split(" ")[1]
    before = records.pick("GET p", r"\d", lambda line: line[3].split(" ")[1] == key and is_from_set(line[4]))
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"DEL {key}", "1"),
                 (f"GET {key}", records.rng.choice((str(NEW_VALUE), before[4]))))
    return "no order fits"


def plain_lost_write(records):
    """It was acknowledged, and the restart has the one before."""
    key = records.plain_key()
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"SET {key} {NEW_VALUE + 4096}", "OK"),
                 (f"GET {key}", str(NEW_VALUE)))
    return "no order fits"


def plain_half_a_command(records):
    """A read shows the value of one that was cut in the middle."""
    shown = {(line[3].split(" ")[1], line[4]) for line in records.lines if line[3].startswith("GET p")}
    one = records.pick("SET p", "OK", lambda line: tuple(line[3].split(" ")[1:3]) in shown)
    one[2], one[4] = "0", "!"
    return "no order fits"


def plain_ifeq_of_the_past(records):
    """It found a value that was gone."""
    key = records.plain_key()
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"SET {key} {NEW_VALUE + 4096}", "OK"),
                 (f"SET {key} {NEW_VALUE + 8192} IFEQ {NEW_VALUE}", "OK"))
    return "no order fits"


def plain_against_its_connection(records):
    """A read in the same pipeline, behind one's own SET, shows what was before."""
    one = records.pick("SET p", "OK", lambda line: len(line[3].split(" ")) == 3)
    key = one[3].split(" ")[1]
    value = str(NEW_VALUE)
    at = next(i for i, line in enumerate(records.lines) if line is one)
    records.lines[at:at + 1] = [one[:3] + [f"SET {key} {value}", "OK"], one, one[:3] + [f"GET {key}", value]]
    return "no order fits"


def plain_setnx_won_over_a_value(records):
    key = records.new_keys()[0]
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"SETNX {key} {NEW_VALUE + 4096}", "1"))
    return "no order fits"


def plain_setnx_lost_to_nothing(records):
    key = records.new_keys()[0]
    records.late((f"DEL {key}", "0"), (f"SETNX {key} {NEW_VALUE}", "0"))
    return "no order fits"


def plain_setnx_won_twice(records):
    """Both at once, so that either could have been the first."""
    when, key = records.rng.randrange(MARGIN_NS), records.new_keys()[0]
    records.at_once((i, i * when, 2 * MARGIN_NS, f"SETNX {key} {i + 1}", "1") for i in range(2))
    return "no order fits"


def two_keys_change(records, first, other):
    """One gets a new value, then the other. What sees the second, and not the first, saw two moments."""
    return [(0, 0, 1, f"SET {first} {NEW_VALUE}", "OK"), (0, 2, 3, f"SET {other} {NEW_VALUE + 4096}", "OK"),
            (0, 10, 20, f"SET {first} {NEW_VALUE + 8192}", "OK"),
            (0, 30, 40, f"SET {other} {NEW_VALUE + 12288}", "OK")]


def plain_mget_of_two_moments(records):
    """Each value was there at some moment of the MGET, but not both at one."""
    first, other = records.new_keys()
    records.at_once([*two_keys_change(records, first, other),
                     (1, 5, 50, f"MGET {other} {first}", f"{NEW_VALUE + 12288} {NEW_VALUE}")])
    return "no order fits"


def plain_mget_stale(records):
    """One of its values was replaced before."""
    first, other = records.new_keys()
    records.late((f"SET {first} {NEW_VALUE}", "OK"), (f"SET {other} {NEW_VALUE + 4096}", "OK"),
                 (f"SET {first} {NEW_VALUE + 8192}", "OK"),
                 (f"MGET {first} {other}", f"{NEW_VALUE} {NEW_VALUE + 4096}"))
    return "no order fits"


def plain_mget_values_swapped(records):
    """Both are right, but not of these keys."""
    first, other = records.new_keys()
    records.late((f"SET {first} {NEW_VALUE}", "OK"), (f"SET {other} {NEW_VALUE + 4096}", "OK"),
                 (f"MGET {first} {other}", f"{NEW_VALUE + 4096} {NEW_VALUE}"))
    return "no order fits"


def plain_mget_one_key_two_values(records):
    """The same key twice in one command, with a value before a SET and the one behind it."""
    key = records.new_keys()[0]
    records.at_once([(0, 0, 1, f"SET {key} {NEW_VALUE}", "OK"), (0, 10, 20, f"SET {key} {NEW_VALUE + 4096}", "OK"),
                     (1, 5, 50, f"MGET {key} {key}", f"{NEW_VALUE} {NEW_VALUE + 4096}")])
    return "no order fits"


def plain_mget_too_short(records):
    one = records.pick("MGET p", r"\S+ \S+")
    one[4] = one[4].rsplit(" ", 1)[0]
    return "is no reply"


def plain_long_mget_stale(records):
    """Read key by key: but none of them may be from before the command."""
    key = records.new_keys()[0]
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"SET {key} {NEW_VALUE + 4096}", "OK"),
                 (f"MGET {key} big {key}", f"{NEW_VALUE + 4096} #65536 {NEW_VALUE}"))
    return "no order fits"


def plain_long_value_cut(records):
    one = records.pick("MGET p", ".*#65536")
    one[4] = one[4].replace("#65536", "#32768", 1)
    return "no order fits"


def plain_del_half_done(records):
    """Somebody finds the one key deleted, and then the other one still there, while both are deleted by one DEL."""
    first, other = records.new_keys()
    records.at_once([(0, 0, 1, f"SET {first} {NEW_VALUE}", "OK"), (0, 2, 3, f"SET {other} {NEW_VALUE + 4096}", "OK"),
                     (0, 5, 50, f"DEL {first} {other}", "2"), (1, 10, 20, f"GET {first}", "_"),
                     (1, 30, 40, f"GET {other}", str(NEW_VALUE + 4096))])
    return "no order fits"


def plain_del_of_one_counts_two(records):
    first, other = records.new_keys()
    records.late((f"SET {first} {NEW_VALUE}", "OK"), (f"DEL {other}", "0"),
                 (f"DEL {first} {other}", "2"))
    return "no order fits"


def plain_del_twice_counts_twice(records):
    key = records.new_keys()[0]
    records.late((f"SET {key} {NEW_VALUE}", "OK"), (f"DEL {key} {key}", "2"))
    return "no order fits"


def plain_del_in_part_after_a_crash(records):
    """Its reply did not come; the one key is gone, the other is not."""
    first, other = records.new_keys()
    records.late((f"SET {first} {NEW_VALUE}", "OK"), (f"SET {other} {NEW_VALUE + 4096}", "OK"))
    begin = max(int(line[2]) for line in records.lines) + MARGIN_NS
    records.lines.append(["1000002", str(begin), "0", f"DEL {first} {other}", "?"])
    records.late((f"MGET {first} {other}", f"_ {NEW_VALUE + 4096}"))
    return "no order fits"


def plain_exists_of_two_moments(records):
    """The one is deleted, then the other one made: both together were never there."""
    first, other = records.new_keys()
    records.at_once([(0, 0, 1, f"SET {first} {NEW_VALUE}", "OK"), (0, 2, 3, f"DEL {other}", "0"),
                     (0, 10, 20, f"DEL {first}", "1"), (0, 30, 40, f"SET {other} {NEW_VALUE}", "OK"),
                     (1, 5, 50, f"EXISTS {first} {other}", "2")])
    return "no order fits"


def plain_no_reply_to_that(records):
    records.pick("INCR", r"\d")[4] = "OK"
    return "is no reply"


def lsns_without_a_write(records):
    """More of them than plain keys had writes."""
    records.lines = [line for line in records.lines if line[3].split(" ")[0] not in check.plain.VERBS]
    return "LSNs before it are no event's, and plain keys had 0 writes"


def read_behind_ones_own_write(records):
    """In one pipeline, the version before the one just written: only the order of the commands tells."""
    views = {}  # what a read of the version before a write would have shown
    for line in records.lines:
        match = check.VIEW.match(line[4])
        if match:
            views[f"{line[3].split(' ')[2]} {int(match[2]) + 1}"] = line[4]

    def version(line):
        return f"{request_of(line)[0]} {line[4].split(' ')[1]}"

    write = records.acknowledged(lambda line: version(line) in views)
    at = next(i for i, line in enumerate(records.lines) if line is write)
    records.lines.insert(at + 1, write[:3] + [f"HF.GET shelf {request_of(write)[0]}", views[version(write)]])
    return f"stands at LSN .* but line {at + 1} "


def missing_after_it_was_there(records):
    read = records.pick("HF.GET", "state", lambda line: line[0] == str(test_histories.LAST_CONNECTION))
    read[4] = f"-NOTFOUND shelf:{read[3].split(' ')[2]} does not exist"
    return "stands at LSN"


def read_from_the_future(records):
    """A read that ended before what it shows was asked for."""
    early = min(int(line[1]) for line in records.lines)
    read = records.pick("HF.GET", "state", lambda line: int(line[4].split(" ")[3]) > 50)
    read[1], read[2] = str(early - 2 * MARGIN_NS), str(early - MARGIN_NS)
    return "stands at LSN"


def hash_from_the_future(records):
    early = min(int(line[1]) for line in records.lines)
    read = records.pick("HF.HASH", r"\d\d\d")
    read[1], read[2] = str(early - 2 * MARGIN_NS), str(early - MARGIN_NS)
    return "stands at LSN"


def stale_hash(records):
    read = records.pick("HF.HASH", r"\d\d\d ")
    late = max(int(line[2]) for line in records.lines) + MARGIN_NS
    read[:3] = "1000001", str(late), str(late + 1)
    return "stands at LSN"


def another_hash(records):
    read = records.pick("HF.HASH", r"\d")
    lsn, value = read[4].split(" ")
    records.lines.append(read[:4] + [f"{lsn} {value[::-1]}"])
    return "the hash was another one"


def torn_read(records):
    """One field is that of the version before."""
    read = records.pick("HF.GET", "state", lambda line: int(line[4].split(" ")[3]) > 1)
    read[4] = re.sub(r"count (\d+)", lambda m: f"count {int(m[1]) - 1}", read[4])
    return "is \\("


def lose_the_last(records):
    """The log's last event is gone after the restart, from all that was read of it; its request's line."""
    last = max((row for line in records.lines for row in check.ROW.finditer(line[4])), key=lambda row: int(row[2]))
    for line in records.lines:
        if line[3].startswith("HF.HISTORY"):
            line[4] = re.sub(rf" ?\bversion \d+ lsn {last[2]} time .*", "", line[4])
    records.lines = [line for line in records.lines if f"lsn {last[2]} " not in line[4]
                     and not line[4].startswith(last[2] + " ")]
    write = next(line for line in records.lines if f"{last[4]} n {last[6]}" in line[3])
    write[2], write[4] = "0", "?"
    return write, last


def lost_write(records):
    """It was acknowledged."""
    write, last = lose_the_last(records)
    write[2], write[4] = str(int(write[1]) + MARGIN_NS), f"{last[5]} {last[1]} {last[2]}"
    return "was acknowledged, and is lost"


def lost_after_it_was_read(records):
    """It was not acknowledged, but somebody has seen it."""
    write, last = lose_the_last(records)
    records.lines.append(["1000001", write[1], str(int(write[1]) + MARGIN_NS),
                          f"HF.SEND {' '.join(write[3].split(' ')[1:3])} Add n 1 IFVERSION 0",
                          f"-STALE shelf:{request_of(write)[0]} is at version {last[1]} ({last[5]}), not 0: read"])
    # A retry of it may have been acknowledged.
    return "was (shown|acknowledged), and is lost"


def applied_twice(records):
    """One request makes two events."""
    one = records.acknowledged()
    _key, event, n = request_of(one)
    other = records.acknowledged(lambda line: request_of(line)[1] == event and request_of(line)[2] != n)
    records.everywhere(rf"\bn {request_of(other)[2]}\b", f"n {n}")
    return "was applied before|asked for something else"


def nobodys_event(records):
    one = records.acknowledged()
    records.lines = [line for line in records.lines if f" n {request_of(one)[2]}" not in line[3]]
    return "nobody's request"


def half_a_command(records):
    """It was cut in the middle, and had an effect."""
    one = records.acknowledged()
    one[2], one[4] = "0", "!"
    return "not sent whole"


def version_gap(records):
    versions = [(request_of(line)[0], int(line[4].split(" ")[1])) for line in records.all_acknowledged()]

    def stands_between(line):  # without its last version a history has no gap
        key, version = request_of(line)[0], int(line[4].split(" ")[1])
        return version > 5 and any(other == key and later > version for other, later in versions)

    one = records.acknowledged(stands_between)
    records.everywhere(rf" ?\bversion \d+ lsn {lsn_of(one)} time \d+ event \w+ state \w+ params n \d+( id \S+)?", "")
    return "stands where version"


def lsn_gap(records):
    one = records.acknowledged()
    records.everywhere(rf"\blsn {lsn_of(one)}\b", "lsn 999999")
    return "are no event's|smaller LSN"


def lsn_twice(records):
    one = records.acknowledged()
    other = records.acknowledged(lambda line: request_of(line)[0] != request_of(one)[0])
    records.everywhere(rf"\blsn {lsn_of(one)}\b", f"lsn {lsn_of(other)}")
    return "another event, too"


def unlawful_event(records):
    one = records.acknowledged(lambda line: request_of(line)[1] == "Add" and int(line[4].split(" ")[1]) > 1)
    n = request_of(one)[2]
    for line in records.lines:
        line[3] = line[3].replace(f"Add n {n}", f"Unlock n {n}")
    records.everywhere(rf"\bevent Add state (\w+) params n {n}\b", rf"event Unlock state \1 params n {n}")
    return "does not lead from Open"


def wrong_ifversion(records):
    one = records.acknowledged(lambda line: "IFVERSION" in line[3])
    one[3] = re.sub(r"IFVERSION (\d+)", lambda m: f"IFVERSION {int(m[1]) + 1}", one[3])
    return "was for another version"


def retry_with_another_reply(records):
    one = records.acknowledged(lambda line: " ID " in line[3])
    state, version, lsn = one[4].split(" ")
    late = max(int(line[2]) for line in records.lines) + MARGIN_NS
    records.lines.append(["1000001", str(late), str(late + 1), one[3], f"{state} {int(version) + 1} {int(lsn) + 1}"])
    return "in the history"


def retry_refused(records):
    """An id that was applied is judged a second time."""
    one = records.acknowledged(lambda line: " ID " in line[3] and " IFV" not in line[3]
                               and request_of(line)[1] == "Lock")
    key, (state, version, _lsn) = request_of(one)[0], one[4].split(" ")
    records.lines.append(["1000001", one[1], one[2], one[3],
                          f"-REFUSED shelf:{key} is {state} (version {version}): Lock is allowed from Open"])
    return "the id's reply is"


def refused_and_applied(records):
    one = records.acknowledged(lambda line: " ID " not in line[3] and " IFV" not in line[3]
                               and request_of(line)[1] == "Lock")
    key, version = request_of(one)[0], one[4].split(" ")[1]
    one[4] = f"-REFUSED shelf:{key} is Locked (version {version}): Lock is allowed from Open"
    return "was refused, and applied"


def refused_without_reason(records):
    one = records.pick("HF.SEND", r"-REFUSED .* is Locked")
    one[3] = re.sub(r" (Add|Lock) ", " Unlock ", one[3])
    return "the contract allows it|asked for something else"


def stale_without_reason(records):
    one = records.pick("HF.SEND", r"-STALE .* is at version")
    one[3] = re.sub(r"IFVERSION \d+", "IFVERSION " + re.search(r"at version (\d+)", one[4])[1], one[3])
    return "is what IFVERSION asks for"


def stale_about_the_past(records):
    """A refusal tells of a version that was replaced long before."""
    one = records.pick("HF.SEND", r"-STALE .* is at version [1-9] ")
    late = max(int(line[2]) for line in records.lines) + MARGIN_NS
    one[:3] = "1000001", str(late), str(late + 1)
    return "stands at LSN"


def no_reply_to_that(records):
    one = records.pick("HF.GET", "state")
    one[4] = "-STOPPED the disk failed"
    return "is no reply"


PLANTED = [swap_two_lsns, swap_two_replies, stale_read, read_behind_ones_own_write, missing_after_it_was_there,
           read_from_the_future, hash_from_the_future, stale_hash, another_hash, torn_read, lost_write,
           lost_after_it_was_read, applied_twice, nobodys_event, half_a_command, version_gap, lsn_gap, lsn_twice,
           unlawful_event, wrong_ifversion, retry_with_another_reply, retry_refused, refused_and_applied,
           refused_without_reason, stale_without_reason, stale_about_the_past, no_reply_to_that, plain_stale_read,
           plain_lost_incr, plain_set_nx_won_twice, plain_read_taken_back, plain_deleted_and_seen_again,
           plain_lost_write, plain_half_a_command, plain_ifeq_of_the_past, plain_against_its_connection,
           plain_no_reply_to_that, lsns_without_a_write, plain_setnx_won_over_a_value, plain_setnx_lost_to_nothing,
           plain_setnx_won_twice, plain_mget_of_two_moments, plain_mget_stale, plain_mget_values_swapped,
           plain_mget_one_key_two_values, plain_mget_too_short, plain_long_mget_stale, plain_long_value_cut,
           plain_del_half_done, plain_del_of_one_counts_two, plain_del_twice_counts_twice,
           plain_del_in_part_after_a_crash, plain_exists_of_two_moments]


# ---- what is allowed, though it looks like one of them

def long_mget_of_two_moments(records):
    """Longer than what is read at one instant: each value is one version of its key."""
    first, other = records.new_keys()
    records.at_once([*two_keys_change(records, first, other),
                     (1, 5, 50, f"MGET {other} big {first}", f"{NEW_VALUE + 12288} #65536 {NEW_VALUE}")])


def del_done_whole_after_a_crash(records):
    """Its reply did not come; both keys are gone."""
    first, other = records.new_keys()
    records.late((f"SET {first} {NEW_VALUE}", "OK"), (f"SET {other} {NEW_VALUE + 4096}", "OK"))
    begin = max(int(line[2]) for line in records.lines) + MARGIN_NS
    records.lines.append(["1000002", str(begin), "0", f"DEL {first} {other}", "?"])
    records.late((f"MGET {first} {other}", "_ _"), (f"EXISTS {first} {other}", "0"))


ALLOWED = [long_mget_of_two_moments, del_done_whole_after_a_crash]


# ---- the search, against all orders

def small_history(rng):
    """A few operations on two keys: what three connections could have seen of a right one, some replies changed."""
    lines, values, now, number = [], (None, None), [10 * i for i in range(3)], [0, 1, 2]
    begin = list(now)
    for _ in range(rng.randrange(2, 7)):
        client = rng.randrange(3)
        key, several = rng.choice("ppq"), " ".join(rng.choice("pq") for _ in range(rng.randrange(2, 4)))
        words = rng.choice([f"GET {key}", f"DEL {key}", f"INCR {key}", f"SET {key} {rng.randrange(1, 4)}",
                            f"SET {key} 1 NX", f"SET {key} 3 GET", f"SETNX {key} {rng.randrange(1, 4)}",
                            f"SET {key} {rng.randrange(1, 4)} IFEQ {rng.randrange(1, 4)}",
                            f"MGET {several}", f"DEL {several}", f"EXISTS {several}"])
        reply, values = check.plain.run(words.split(" "), values, PLACES)
        connection, end = number[client], now[client] + rng.randrange(1, 40)
        if rng.random() < 0.6:  # otherwise in one pipeline with the one before
            begin[client] = now[client]
        now[client] = end + rng.randrange(1, 10)
        if rng.random() < 0.1:
            reply = rng.choice(["_", "OK", "0", "1", "2", "3"])
            if words.startswith("MGET"):
                reply = " ".join(rng.choice("_123") for _ in several.split(" "))
        if rng.random() < 0.25:
            end, reply = 0, "?"
        lines.append(f"{connection}\t{begin[client]}\t{end}\t{words}\t{reply}")
        if reply == "?":  # it comes back, as another one
            number[client] += 3
            begin[client] = now[client]
    return [check.Operation(number, line) for number, line in enumerate(lines, 1)]


def fits(order):
    """The replies are true in this order, and it goes against no time."""
    values = (None, None)
    for i, operation in enumerate(order):
        reply, values = check.plain.run(operation.words, values, PLACES)
        if operation.answered and reply != operation.reply:
            return False
        for later in order[i + 1:]:
            if later.answered and (later.end < operation.begin or (
                    later.connection == operation.connection and later.line < operation.line)):
                return False
    return True


def has_order(operations):
    """Tries all of them."""
    answered = [o for o in operations if o.answered]
    unanswered = [o for o in operations if not o.answered]
    return any(fits(order) for count in range(len(unanswered) + 1)
               for happened in itertools.combinations(unanswered, count)
               for order in itertools.permutations(answered + list(happened)))


def compare_with_all_orders(seed):
    counts, soon = [0, 0], check.plain.CONFIGURATIONS_SOON
    for number in range(SMALL_HISTORIES):
        operations = small_history(random.Random(f"{seed}/{number}"))
        there = has_order(operations)
        for limit in (soon, 0):  # 0: with few unanswered ones, before all are tried
            check.plain.CONFIGURATIONS_SOON = limit
            if there != (check.plain.find_wrong(operations) is None):
                sys.exit(f"small history {number}: {'an order' if there else 'no order'} fits, the search says "
                         f"otherwise: {'; '.join(map(str, operations))}")
        counts[there] += 1
    check.plain.CONFIGURATIONS_SOON = soon
    assert min(counts) > SMALL_HISTORIES // 10, counts
    print(f"{counts[1]} small histories that have an order, {counts[0]} that have none: the search is right")


def refuse_too_little(good):
    """A history in which nothing happened is linearizable, and proves nothing."""
    test_histories.require_enough(good, OPERATIONS)
    for counts in (check.check([]), good._replace(operations=OPERATIONS - 1), good._replace(answered=OPERATIONS // 4),
                   good._replace(events=0), good._replace(events=OPERATIONS // 100)):
        try:
            test_histories.require_enough(counts, OPERATIONS)
        except AssertionError:
            continue
        sys.exit(f"that was taken for enough: {counts}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    compare_with_all_orders(args.seed)
    with tempfile.TemporaryDirectory(prefix="holdfast-planted-") as folder:
        path = folder + "/records"
        test_histories.make(path, args.seed, 6, OPERATIONS)
        with open(path, encoding="ascii") as file:
            good = file.readlines()
    refuse_too_little(check.check(good))
    for plant in PLANTED:
        for seed in range(args.seed, args.seed + ROUNDS):
            records = Records(good, random.Random(seed))
            message = plant(records)
            try:
                records.check()
            except check.Violation as violation:
                if not re.search(message, str(violation)):
                    sys.exit(f"{plant.__name__}, seed {seed}: refused, but for another reason: {violation}")
                if seed == args.seed:
                    print(f"{plant.__name__}: {violation}")
            else:
                sys.exit(f"{plant.__name__}, seed {seed}: taken for linearizable")
    for allow in ALLOWED:
        for seed in range(args.seed, args.seed + ROUNDS):
            records = Records(good, random.Random(seed))
            allow(records)
            records.check()
    print(f"{len(PLANTED)} kinds of violations, each planted {ROUNDS} times: all refused")


if __name__ == "__main__":
    main()
