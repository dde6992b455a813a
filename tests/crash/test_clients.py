#!/usr/bin/python3
"""P1, P2 and P4 under load: kill -9 while several clients write and one reads.

    test_clients.py [--rounds N] [--bookings N] [--threads N] [--seed N]

Each client books goods into one shared entity and into one of its own, pipelined, with an id per
event, and goes on after the restart a little before where its last reply left it. After each kill
  - every acknowledged event is in its entity's history, with the version and LSN of the reply;
  - no version that the reader saw was taken back, and it saw all fields of that one version;
and in the end every event has been applied exactly once.
"""

import argparse
import pathlib
import random
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import feeds  # noqa: E402
import resp  # noqa: E402
from server import Server  # noqa: E402

CLIENTS = 6
PIPELINE = 32
AGAIN = 100  # events before the first unanswered one that a client sends again
HISTORY_COUNT = 1000
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


class Client(threading.Thread):
    """Books until it has nothing left to book or the server is gone. `acknowledged`: (key, id) -> reply."""

    def __init__(self, server, bookings, acknowledged):
        super().__init__()
        self.connection = resp.Connection(server.connect())
        self.acknowledged = acknowledged
        first = next((i for i, b in enumerate(bookings) if b[:2] not in acknowledged), len(bookings))
        self.todo = bookings[max(0, first - AGAIN):]
        self.error = None

    def run(self):
        try:
            for start in range(0, len(self.todo), PIPELINE):
                batch = self.todo[start:start + PIPELINE]
                self.connection.send_raw(b"".join(
                    resp.encode("HF.SEND", "shelf", key, "Add", "n", n, "ID", event_id)
                    for key, event_id, n in batch))
                for key, event_id, _n in batch:
                    reply = self.connection.read()
                    if isinstance(reply, resp.Error):
                        self.error = f"{key} {event_id}: {reply}"
                        return
                    if self.acknowledged.setdefault((key, event_id), reply) != reply:
                        self.error = f"{key} {event_id}: another reply to the retry: {reply}"
                        return
        except (resp.Closed, OSError):
            pass  # the kill
        finally:
            self.connection.close()


class Reader(threading.Thread):
    """Reads the shared entity for as long as it can; `seen`: version -> the fields read with it."""

    def __init__(self, server):
        super().__init__()
        self.connection = resp.Connection(server.connect())
        self.seen = {}

    def run(self):
        try:
            while True:
                reply = self.connection.call("HF.GET", "shelf", "shared")
                if not isinstance(reply, resp.Error):
                    fields = feeds.as_dict(reply)
                    self.seen[int(fields["version"])] = fields
        except (resp.Closed, OSError):
            pass  # the kill
        finally:
            self.connection.close()


def history(connection, key):
    """All events of an entity, as dicts."""
    events = []
    while True:
        part = connection.call("HF.HISTORY", "shelf", key, "FROM", len(events) + 1,
                               "COUNT", HISTORY_COUNT)
        assert not isinstance(part, resp.Error), part
        events += [feeds.as_event(event) for event in part]
        if len(part) < HISTORY_COUNT:
            return events


def check(connection, keys, acknowledged, seen):
    """What must hold after every restart; the number of events of all keys."""
    total, lsns = 0, set()
    for key in keys:
        events = history(connection, key)
        total += len(events)
        assert [int(e["version"]) for e in events] == list(range(1, len(events) + 1)), key
        assert len({e["id"] for e in events}) == len(events), f"{key}: an id was applied twice"
        lsns |= {int(e["lsn"]) for e in events}
        at = {e["id"]: e for e in events}
        for (of, event_id), (state, version, lsn) in acknowledged.items():
            if of == key:
                event = at.get(event_id)
                assert event, f"{key}: {event_id} was acknowledged and is lost"
                got = (event["state"].encode(), int(event["version"]), int(event["lsn"]))
                assert got == (state, version, lsn), f"{key}: {event_id} {got}"
        if key == "shared":
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bookings", type=int, default=6000, help="per client")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--seed", type=int, default=9)
    args = parser.parse_args()
    print("seed", args.seed)
    rng = random.Random(args.seed)

    bookings = [[(rng.choice(["shared", f"own{c}"]), f"{c}-{i}", rng.randrange(1, 1000))
                 for i in range(args.bookings)] for c in range(CLIENTS)]
    keys = ["shared"] + [f"own{c}" for c in range(CLIENTS)]
    acknowledged = [{} for _ in range(CLIENTS)]
    seen = {}

    with Server(contracts={"shelf": CONTRACT}, args=["--threads", args.threads]) as server:
        for round_number in range(1, args.rounds + 2):
            last = round_number > args.rounds
            clients = [Client(server, bookings[c], acknowledged[c]) for c in range(CLIENTS)]
            reader = Reader(server)
            for thread in clients + [reader]:
                thread.start()
            if not last:
                kill_at = sum(map(len, acknowledged)) + rng.randrange(
                    args.bookings * CLIENTS // (args.rounds + 1))
                while sum(map(len, acknowledged)) < kill_at and any(
                        c.is_alive() for c in clients):
                    clients[0].join(0.001)
                server.kill9()
            for client in clients:
                client.join()
                assert client.error is None, client.error
            if last:
                server.kill9()
            reader.join()
            seen.update(reader.seen)
            server.restart()
            with resp.Connection(server.connect()) as connection:
                merged = {k: v for part in acknowledged for k, v in part.items()}
                total = check(connection, keys, merged, seen)
                print(f"round {round_number}: {len(merged)} acknowledged, {total} applied, "
                      f"{len(seen)} versions read")
        assert total == len(merged) == args.bookings * CLIENTS, (total, len(merged))
        with resp.Connection(server.connect()) as connection:
            for key in keys:
                expected = sum(n for part in bookings for k, _id, n in part if k == key)
                got = feeds.as_dict(connection.call("HF.GET", "shelf", key))
                assert int(got["pieces"]) == expected, f"{key}: {got}, {expected} pieces were sent"


if __name__ == "__main__":
    main()
