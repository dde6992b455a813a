"""Clients that book goods under load, and what must hold of their bookings after any crash.

    bookings_of      what a client will book
    Client, Reader   threads that write and read until the server is gone
    Taker            a thread that has snapshots taken until then
    check            every acknowledged booking is there, once, as its reply said
    retry            every acknowledged booking, sent again, gets its reply again

"Acknowledged" is what a client has read, never what the server says about itself.
"""

import threading
import time

import feeds
import resp

PIPELINE = 32
AGAIN = 100  # events before the first unanswered one that a client sends again
HISTORY_COUNT = 1000
REST_SECONDS = 0.002  # between two snapshots
SHARED = "shared"
CONTRACT = """\
---
title: shelf
---
stateDiagram-v2
    %% field pieces: u64
    %% field bookings: u64
    %% field last: u64
    %% invariant bookings <= pieces
    [*] --> Filling : Add(n: u64) [n > 0] / pieces += n, bookings += 1, last = n
    Filling --> Filling : Add(n: u64) [n > 0] / pieces += n, bookings += 1, last = n
    Filling --> Shut : Close
    Shut --> [*]
"""


def bookings_of(rng, client, count, size=0):
    """What a client will book: (key, id, pieces) each, in the entity that all share or in its own."""
    own = f"own{client}".ljust(size, "-")
    return [(rng.choice([SHARED, own]), f"{client}-{i}".ljust(size, "-"), rng.randrange(1, 1000))
            for i in range(count)]


def keys_of(bookings):
    """All entities in which these are booked."""
    return sorted({key for key, _id, _pieces in bookings} | {SHARED})


def short(key, event_id):
    """The two without what fills them up."""
    return f"{key.rstrip('-')} {event_id.rstrip('-')}"


def command(booking):
    """Its bytes on the wire."""
    key, event_id, pieces = booking
    return resp.encode("HF.SEND", "shelf", key, "Add", "n", pieces, "ID", event_id)


class Client(threading.Thread):
    """Books until it has nothing left to book or the server is gone.

    acknowledged: (key, id) -> reply.    refusal: the last error reply.
    wrong: what must never be: another reply to a retry, or one that is none.
    """

    def __init__(self, server, bookings, acknowledged, pipeline=PIPELINE):
        super().__init__()
        self.connection = resp.Connection(server.connect())
        self.acknowledged = acknowledged
        self.pipeline = pipeline
        first = next((i for i, b in enumerate(bookings) if b[:2] not in acknowledged), len(bookings))
        self.todo = bookings[max(0, first - AGAIN):]
        self.refusal = self.wrong = None

    def run(self):
        try:
            for start in range(0, len(self.todo), self.pipeline):
                batch = self.todo[start:start + self.pipeline]
                self.connection.send_raw(b"".join(command(booking) for booking in batch))
                for key, event_id, _n in batch:
                    reply = self.connection.read()
                    if isinstance(reply, resp.Error):
                        self.refusal = reply
                        continue
                    first = self.acknowledged.setdefault((key, event_id), reply)
                    if first != reply:
                        self.wrong = f"{short(key, event_id)} was acknowledged as {first}, its retry as {reply}"
                        return
        except (resp.Closed, OSError):
            pass  # the kill
        except Exception as error:
            self.wrong = repr(error)
        finally:
            self.connection.close()


class Reader(threading.Thread):
    """Reads the shared entity for as long as it can.

    seen: version -> the fields read with it.    wrong: why it could not make sense of a reply.
    """

    def __init__(self, server):
        super().__init__()
        self.connection = resp.Connection(server.connect())
        self.seen = {}
        self.wrong = None

    def run(self):
        try:
            while True:
                reply = self.connection.call("HF.GET", "shelf", SHARED)
                if not isinstance(reply, resp.Error):
                    fields = feeds.as_dict(reply)
                    self.seen[int(fields["version"])] = fields
        except (resp.Closed, OSError):
            pass  # the kill
        except Exception as error:
            self.wrong = repr(error)
        finally:
            self.connection.close()


class Taker(threading.Thread):
    """Has one snapshot taken behind the other for as long as it can.

    taken: how many.    wrong: why it could not make sense of a reply.
    """

    def __init__(self, server):
        super().__init__()
        self.connection = resp.Connection(server.connect())
        self.taken = 0
        self.wrong = None

    def run(self):
        try:
            while True:
                self.taken += not isinstance(self.connection.call("HF.SNAPSHOT"), resp.Error)
                time.sleep(REST_SECONDS)
        except (resp.Closed, OSError):
            pass  # the kill
        except Exception as error:
            self.wrong = repr(error)
        finally:
            self.connection.close()


def recovered_from_snapshot(connection):
    """Did the server begin with a snapshot?"""
    return b"\r\nrecovered_snapshot_lsn:0\r\n" not in connection.call("INFO")


def history(connection, key):
    """All events of an entity, as dicts; none if there is no such entity."""
    events = []
    while True:
        part = connection.call("HF.HISTORY", "shelf", key, "FROM", len(events) + 1,
                               "COUNT", HISTORY_COUNT)
        if isinstance(part, resp.Error) and part.startswith("NOTFOUND") and not events:
            return events
        assert not isinstance(part, resp.Error), part
        events += [feeds.as_event(event) for event in part]
        if len(part) < HISTORY_COUNT:
            return events


def check(connection, keys, acknowledged, seen):
    """What must hold after every restart; the number of events of all keys.

    acknowledged: (key, id) -> reply.   seen: version of the shared entity -> what was read of it.
    """
    total, lsns = 0, set()
    replies = {key: {} for key in keys}
    for (key, event_id), reply in acknowledged.items():
        replies[key][event_id] = reply
    for key in keys:
        events = history(connection, key)
        total += len(events)
        assert [int(e["version"]) for e in events] == list(range(1, len(events) + 1)), key
        assert len({e["id"] for e in events}) == len(events), f"{key}: an id was applied twice"
        lsns |= {int(e["lsn"]) for e in events}
        at = {e["id"]: e for e in events}
        for event_id, reply in replies[key].items():
            event = at.get(event_id)
            assert event, f"{short(key, event_id)} was acknowledged as {reply} and is lost"
            got = [event["state"].encode(), int(event["version"]), int(event["lsn"])]
            assert got == reply, f"{short(key, event_id)} was acknowledged as {reply} and is {got}"
        if key == SHARED:
            check_seen(events, seen)
    assert len(lsns) == total, "an LSN was given twice"
    return total


def check_seen(events, seen):
    """Each version that was read is still there, and its fields were those of that version."""
    pieces = 0
    sums = [pieces := pieces + int(event["n"]) for event in events]
    for version, fields in seen.items():
        assert version <= len(events), f"version {version} was shown and is lost"
        event = events[version - 1]
        expected = [str(sums[version - 1]), str(version), event["n"], str(event["lsn"])]
        got = [str(fields[name]) for name in ("pieces", "bookings", "last", "lsn")]
        assert got == expected, f"torn read of version {version}: {got}, not {expected}"


def retry(connection, bookings, acknowledged):
    """Sends again what was acknowledged: the original replies come back."""
    known = [booking for booking in bookings if booking[:2] in acknowledged]
    for start in range(0, len(known), HISTORY_COUNT):
        batch = known[start:start + HISTORY_COUNT]
        connection.send_raw(b"".join(command(booking) for booking in batch))
        for key, event_id, _n in batch:
            reply, first = connection.read(), acknowledged[key, event_id]
            assert reply == first, f"{short(key, event_id)} was acknowledged as {first}, its retry as {reply}"
