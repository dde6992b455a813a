#!/usr/bin/python3
"""Is a history linearizable? Decides it from the clients' own records alone.

    check.py FILE...

A history is what record.c describes, and ends with HF.HISTORYs of all keys, whole. Its contract is shelf.mmd,
and every request has a number `n` of its own (the retry of an id has that of its first).

Each event carries its LSN, so the order is given, and nothing has to be searched for. What is proven:

  1. Facts. The histories that were read are one list of events per key: versions 1, 2, 3..., LSNs and times that
     rise with them, no LSN twice, no more left out than plain keys had writes; each is one request that somebody
     made, applied once, lawful in the state before it and at the version that its IFVERSION named.
  2. Replies. Each says what the facts say: a write (or the retry of an id) its own version, LSN and state; a read
     all fields of one version; a refusal a version at which the contract, or IFVERSION, refuses that request.
  3. Time. A write stands in the order at its LSN, a read somewhere behind the write that it saw and before the
     next one of that key. An operation that ended before another began, or came before it on the same
     connection, must not stand behind it. One sweep over time gives each operation the first place that this
     leaves open: if that is behind its last possible one, no order fits.
  4. Plain keys. Their replies carry no LSN: plain.py searches for an order, for all keys that commands name together.

An operation without a reply may have happened or not, at any time after it began. One that was not sent whole
has not. Whatever else is in a history is not understood, and refused.
"""

import collections
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import plain  # noqa: E402

FOREVER = 1 << 62
FIRST_LSN = 2  # 1 is the contract's
NEW = "[*]"
NEXT = {(NEW, "Add"): "Open", ("Open", "Add"): "Open", ("Open", "Lock"): "Locked", ("Locked", "Unlock"): "Open"}

ROW = re.compile(r"version (\d+) lsn (\d+) time (\d+) event (\w+) state (\w+) params n (\d+)(?: id (\S+))?(?: |$)")
OUTCOME = re.compile(r"(\w+) (\d+) (\d+)$")
VIEW = re.compile(r"state (\w+) version (\d+) lsn (\d+) time (\d+) sum (\d+) count (\d+) last (\d+)$")
HASH = re.compile(r"(\d+) ([0-9a-f]{32})$")
STALE = re.compile(r"-STALE shelf:(\S+) (?:is at version (\d+) \((\w+)\), not |does not exist yet \(version 0\), not)")
REFUSED = re.compile(r"-REFUSED shelf:(\S+) (?:is (\w+) \(version (\d+)\)|does not exist yet): ")
NOTFOUND = re.compile(r"-NOTFOUND shelf:(\S+) does not exist$")


Counts = collections.namedtuple("Counts", "operations answered events")


class Violation(Exception):
    """The history is not linearizable; the message says which lines show it, and why."""


def require(held, message, *args):
    if not held:
        raise Violation(message.format(*args))


class Operation:
    """One line. low, high: the first and the last place in the order that its reply allows; None: it has no place."""

    __slots__ = ("line", "connection", "begin", "end", "words", "reply", "verb", "key", "event", "n", "id",
                 "ifversion", "low", "high", "writes", "place")

    def __init__(self, line, text):
        self.line = line
        connection, begin, end, request, self.reply = text.rstrip("\n").split("\t")
        self.connection, self.begin, self.end = int(connection), int(begin), int(end)
        self.words = request.split(" ")
        self.verb = self.words[0]
        key_at = 1 if self.verb in plain.VERBS else 2
        self.key = self.words[key_at] if len(self.words) > key_at else None
        self.low, self.high, self.writes, self.place = None, FOREVER, False, None
        if self.verb == "HF.SEND":
            options = dict(zip(self.words[6::2], self.words[7::2]))
            self.event, self.n, self.id = self.words[3], int(self.words[5]), options.get("ID")
            self.ifversion = int(options["IFVERSION"]) if "IFVERSION" in options else None

    def __str__(self):
        return f"line {self.line} ({' '.join(self.words)} -> {self.reply[:80]})"

    @property
    def answered(self):
        return self.reply not in ("?", "!")


class Event:
    """What made one version of a key, and what the version is like."""

    def __init__(self, operation, row):
        self.key, self.line = operation.key, operation.line
        self.version, self.lsn, self.time = int(row[1]), int(row[2]), int(row[3])
        self.event, self.state, self.n, self.id = row[4], row[5], int(row[6]), row[7]
        self.sum = self.count = 0  # known once all earlier ones are

    def facts(self):
        return self.version, self.lsn, self.time, self.event, self.state, self.n, self.id

    def __str__(self):
        return f"version {self.version} of {self.key} (LSN {self.lsn}, {self.event} {self.n})"


# ---- 1. facts

def rows(operation):
    """The events of one HF.HISTORY's reply."""
    at = 0
    while at < len(operation.reply):
        row = ROW.match(operation.reply, at)
        require(row, "{}: cannot be read from byte {}", operation, at)
        at = row.end()
        yield Event(operation, row)


class Facts:
    """events: key -> list, [version - 1].  by_n: the same by their requests' numbers."""

    def __init__(self, operations):
        found = {}
        for operation in operations:
            if operation.verb == "HF.HISTORY" and operation.answered and operation.reply[:1] != "-":
                self._collect(operation, found)
        self.events = {key: [by_version[v] for v in sorted(by_version)] for key, by_version in found.items()}
        for key, events in self.events.items():
            for version, event in enumerate(events, 1):
                require(event.version == version, "{} follows version {}: a version is missing", event, version - 1)
        self._check_order(sum(1 for o in operations if o.verb in plain.VERBS and plain.may_write(o)))
        self.by_n = {}
        for events in self.events.values():
            self._check_requests(events, operations)

    @staticmethod
    def _collect(operation, found):
        by_version = found.setdefault(operation.key, {})
        for version, event in enumerate(rows(operation), int(operation.words[4])):
            require(event.version == version, "{}: {} stands where version {} should", operation, event, version)
            known = by_version.setdefault(version, event)
            require(known.facts() == event.facts(), "{}: {} was something else in line {}", operation, event,
                    known.line)

    def _check_order(self, plain_writes):
        everything = sorted((e for events in self.events.values() for e in events), key=lambda e: e.lsn)
        taken = set()
        for count, event in enumerate(everything):
            left_out = event.lsn - FIRST_LSN - count
            require(event.lsn not in taken, "{}: its LSN is that of another event, too", event)
            taken.add(event.lsn)
            require(left_out <= plain_writes, "{}: {} LSNs before it are no event's, and plain keys had {} writes",
                    event, left_out, plain_writes)
        for before, event in zip(everything, everything[1:]):
            require(before.time <= event.time, "{} has an earlier time than {}", event, before)

    def _check_requests(self, events, operations):
        """Each event was asked for, once, and was lawful."""
        asked = collections.defaultdict(list)
        for operation in operations:
            if operation.verb == "HF.SEND":
                asked[operation.n].append(operation)
        before = None
        for event in events:
            state, version = (before.state, before.version) if before else (NEW, 0)
            require(before is None or before.lsn < event.lsn, "{} has a smaller LSN than {}", event, before)
            require(event.n not in self.by_n, "{} was applied before, as {}", event, self.by_n.get(event.n))
            self.by_n[event.n] = event
            sent = [o for o in asked[event.n] if o.reply != "!"]
            require(sent, "{} is nobody's request, or of one that was not sent whole", event)
            asks = (sent[0].key, sent[0].event, sent[0].id)
            require(asks == (event.key, event.event, event.id), "{}: {} asked for something else", event, sent[0])
            require(NEXT.get((state, event.event)) == event.state, "{}: {} does not lead from {} to {}", event,
                    event.event, state, event.state)
            require(sent[0].ifversion in (None, version), "{}: {} was for another version", event, sent[0])
            event.sum = (before.sum if before else 0) + (event.n if event.event == "Add" else 0)
            event.count = (before.count if before else 0) + 1
            before = event

    def version(self, operation, key, version):
        """The event that made it, None for version 0. It has to be there."""
        require(key == operation.key, "{}: is about {}", operation, key)
        events = self.events.get(key, [])
        require(version <= len(events), "{}: version {} was shown, and is lost: {} are left", operation, version,
                len(events))
        return events[version - 1] if version > 0 else None

    def last_place(self, key, version):
        """The last place in the order where this is the key's version."""
        events = self.events.get(key, [])
        return events[version].lsn - 1 if version < len(events) else FOREVER


# ---- 2. replies: each judge sets the places that its reply leaves open

def stand_at_version(facts, operation, key, version):
    event = facts.version(operation, key, version)
    operation.low = event.lsn if event else 0
    operation.high = facts.last_place(key, version)
    return event


def judge_outcome(facts, operation, match):
    event = facts.by_n.get(operation.n)
    require(event, "{}: was acknowledged, and is lost", operation)
    said = (match[1], int(match[2]), int(match[3]))
    require(said == (event.state, event.version, event.lsn), "{}: is {} in the history, {}", operation, event,
            event.state)
    operation.low = event.lsn


def judge_stale(facts, operation, match):
    version = int(match[2] or 0)
    event = stand_at_version(facts, operation, match[1], version)
    require(match[3] == (event.state if event else None), "{}: {} is {}", operation, event, event and event.state)
    require(operation.ifversion not in (None, version), "{}: is what IFVERSION asks for", operation)
    before_its_own(facts, operation)


def judge_refused(facts, operation, match):
    version = int(match[3] or 0)
    event = stand_at_version(facts, operation, match[1], version)
    state = event.state if event else NEW
    require((match[2] or NEW) == state, "{}: {} is {}", operation, event, state)
    require((state, operation.event) not in NEXT, "{}: the contract allows it in {}", operation, state)
    require(operation.ifversion in (None, version), "{}: IFVERSION asks for another version", operation)
    before_its_own(facts, operation)


def before_its_own(facts, operation):
    """Once a request is applied, its id gets the original reply, and no refusal any more."""
    event = facts.by_n.get(operation.n)
    if event:
        require(operation.id, "{}: was refused, and applied as {}", operation, event)
        operation.high = min(operation.high, event.lsn - 1)
        require(operation.low <= operation.high, "{}: the id's reply is that of {}", operation, event)


def judge_view(facts, operation, match):
    event = stand_at_version(facts, operation, operation.key, int(match[2]))
    said = (match[1], *map(int, match.groups()[2:]))
    is_so = event and (event.state, event.lsn, event.time, event.sum, event.count, event.n)
    require(said == is_so, "{}: {} is {}", operation, event, is_so)


def judge_history(facts, operation, _match):
    first, wanted = int(operation.words[4]), int(operation.words[6])
    came = sum(1 for _ in rows(operation))
    require(came <= wanted, "{}: {} events", operation, came)
    if came > 0:
        stand_at_version(facts, operation, operation.key, first + came - 1)
    else:
        operation.low, operation.high = 1, facts.last_place(operation.key, first - 1)
    if came == wanted:
        operation.high = FOREVER


def judge_missing(facts, operation, match):
    stand_at_version(facts, operation, match[1], 0)


def judge_hash(_facts, operation, match):
    operation.low = operation.high = int(match[1])


def judge_plain(_facts, _operation, _match):
    """It has no place among LSNs: plain.py looks for one."""


def judge_plain_values(_facts, operation, _match):
    """As many as keys were named. The rest is plain.py's."""
    require(len(operation.reply.split(" ")) == len(operation.words) - 1, "{}: is no reply to that", operation)


JUDGES = {
    "HF.SEND": ((OUTCOME, judge_outcome), (STALE, judge_stale), (REFUSED, judge_refused)),
    "HF.GET": ((VIEW, judge_view), (NOTFOUND, judge_missing)),
    "HF.HISTORY": ((NOTFOUND, judge_missing), (re.compile(r"version |$"), judge_history)),
    "HF.HASH": ((HASH, judge_hash),),
    "GET": ((re.compile(r"(#?\d+|_)$"), judge_plain),),
    "MGET": ((re.compile(r"(#?\d+|_)( (#?\d+|_))*$"), judge_plain_values),),
    "SET": ((re.compile(r"(\d+|_|OK)$"), judge_plain),),
    "SETNX": ((re.compile(r"[01]$"), judge_plain),),
    "DEL": ((re.compile(r"\d$"), judge_plain),),
    "EXISTS": ((re.compile(r"\d$"), judge_plain),),
    "INCR": ((re.compile(r"\d+$"), judge_plain),),
}


def judge(facts, operation):
    for pattern, judge_reply in JUDGES[operation.verb]:
        match = pattern.match(operation.reply)
        if match:
            judge_reply(facts, operation, match)
            return
    raise Violation(f"{operation}: is no reply to that")


def check_hashes(operations):
    hashes = {}
    for operation in operations:
        if operation.verb == "HF.HASH" and operation.answered:
            lsn, value = operation.reply.split(" ")
            known = hashes.setdefault(lsn, (value, operation))
            require(known[0] == value, "{}: the hash was another one in {}", operation, known[1])


# ---- 3. time

def effects(facts, operations):
    """
    The operations that stand for the events themselves. Where a request was sent once, it is that; where it was
    retried, any of them may be the one that had the effect, at any time after the first began.
    """
    sent = collections.defaultdict(list)
    for operation in operations:
        if operation.verb == "HF.SEND" and operation.n in facts.by_n and operation.reply[:1] not in ("-", "!"):
            sent[operation.n].append(operation)
    for n, group in sent.items():
        effect = group[0]
        if len(group) > 1:
            effect = Operation(group[0].line, "0\t0\t0\tHF.SEND shelf - - n 0\t")
            effect.words, effect.reply = group[0].words, "some attempt at it"
            effect.begin, effect.connection = min(o.begin for o in group), None
            yield effect
        effect.low = effect.high = facts.by_n[n].lsn
        effect.writes = True


def sweep(operations):
    """
    Gives each operation the first place that those before it leave. There is an order if, and only if, all have
    one.
    """
    moments = []
    for operation in operations:
        if operation.low is not None:
            moments.append((operation.begin, 0, len(moments), operation))
            if operation.end > 0:
                moments.append((operation.end, 1, len(moments), operation))
    ended = None  # of those that ended, the one that stands last
    previous = {}  # connection -> its operation that stands last
    for _time, ends, _tie, operation in sorted(moments):
        if ends:
            ended = operation if ended is None or operation.place > ended.place else ended
            continue
        operation.place = operation.low
        for before in (ended, previous.get(operation.connection)):
            if before is None:
                continue
            first = before.place + (1 if operation.writes else 0)
            operation.place = max(operation.place, first)
            require(operation.place <= operation.high, "{}: stands at LSN {} at the latest, but {} before it stands "
                    "at {} or later", operation, operation.high, before, before.place)
        if operation.connection is not None:
            previous[operation.connection] = operation


def check(lines):
    """Raises Violation if the history is not linearizable; its Counts: one of nothing is linearizable."""
    operations = [Operation(number, line) for number, line in enumerate(lines, 1)]
    facts = Facts(operations)
    for operation in operations:
        if operation.answered:
            judge(facts, operation)
    check_hashes(operations)
    sweep(list(effects(facts, operations)) + operations)
    wrong = plain.find_wrong(operations)
    require(not wrong, "{1}: {0}", *(wrong or ()))
    return Counts(len(operations), sum(operation.answered for operation in operations), len(facts.by_n))


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="ascii") as file:
            try:
                print("%s: linearizable: %d operations, %d answered, %d events" % (path, *check(file)))
            except Violation as violation:
                sys.exit(f"{path}: NOT linearizable: {violation}")


if __name__ == "__main__":
    main()
