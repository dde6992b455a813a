#!/usr/bin/python3
"""HF.STATS and INFO: each command, event and refusal is counted once, by what it was; also with several threads, where
every snapshot is of one instant."""

import sys
import threading

from common import ORDER, Connection, Server, encode, equal, place, run

SENDERS = 4
ROUNDS = 150


def stats(conn, *patterns):
    """A dict, in whichever protocol."""
    reply = conn.call("HF.STATS", *patterns)
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2]))
    return {name.decode(): value for name, value in reply.items()}


def info(conn, section):
    lines = conn.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def settled_info(conn):
    """As `settled`."""
    for _ in range(1000):
        figures = info(conn, "holdfast")
        if figures["stats_fresh"] == "1":
            return figures
    raise AssertionError("no fresh snapshot")


def settled(conn):
    """The figures, of now: a thread that is late for one snapshot comes by for the next."""
    for _ in range(1000):
        figures = stats(conn)
        if figures["stats.fresh"] == 1:
            return figures
    raise AssertionError("no fresh snapshot")


def test_shapes(server):
    with Connection(server.connect()) as conn:
        flat = conn.call("HF.STATS")
        equal((type(flat), len(flat) % 2), (list, 0))
        conn.call("HELLO", "3")
        both = conn.call("HF.STATS")
        equal(type(both), dict)
        assert set(flat[::2]) <= set(both), "RESP3 lacks %r" % (set(flat[::2]) - set(both))
        only = stats(conn, "stats.f*", "latency_ns.hello.*", "nothing")
        equal(set(only), {"stats.fresh"} | {"latency_ns.hello." + end for end in
                                            ("count", "mean", "p50", "p90", "p99", "p999", "max")})
        equal(stats(conn, "nothing"), {})
        equal(stats(conn, "x" * 1000), {})


def test_each_outcome(server):
    with Connection(server.connect()) as conn:
        before = settled(conn)
        conn.call(*place("o1", 10, "ID", "i"))
        conn.call(*place("o1", 10, "ID", "i"))
        for quantity in (4, 5, 7, 1):
            conn.call("HF.SEND", "order", "o1", "Fill", "n", quantity)
        for request in ((*place("o2"), "IFVERSION", 3), ("HF.SEND", "order", "o1", "Cancel"), place("o2", 0),
                        ("HF.SEND", "order", "o1", "Nonsense"), ("HF.SEND", "order", "o1", "Fill", "n", "x"),
                        ("HF.SEND", "nothing", "o1", "Fill"), ("HF.SEND", "order", "k" * 256, "Fill", "n", 1),
                        ("HF.SEND", "order"), ("HF.SEND", "order", "o1", "Fill", "n"), ("NONSENSE",)):
            conn.call(*request)
        place_max = place("big", 2**64 - 1)
        conn.call(*place_max)
        conn.call("HF.SEND", "order", "big", "Fill", "n", 5)
        conn.call("HF.SEND", "order", "big", "Fill", "n", 2**64 - 1)
        after = settled(conn)
        grown = {name: after[name] - before.get(name, 0) for name in after
                 if name.startswith(("events.", "retried.", "refused.")) and after[name] != before.get(name, 0)}
        equal(grown, {
            "events.order.[*].Place.Open": 2, "events.order.Open.Fill.Open": 3, "events.order.Open.Fill.Filled": 1,
            "retried.order": 1, "refused.order.stale": 1, "refused.order.not_allowed": 1, "refused.order.guard": 2,
            "refused.order.bad_event": 1, "refused.order.bad_param": 1, "refused.(none).not_found": 1,
            "refused.(none).too_big": 1, "refused.order.arithmetic": 1})
        # Two HF.SENDs were no HF.SENDs, but commands; so was NONSENSE.
        equal(after["latency_ns.hf.send.count"] - before.get("latency_ns.hf.send.count", 0), 18)
        equal(after["latency_ns.unknown.count"] - before.get("latency_ns.unknown.count", 0), 1)
        equal(after["log.group_records.count"] - before.get("log.group_records.count", 0), 6)
        equal(after["log.durable_ns.count"], after["log.group_records.count"])
        for name in ("latency_ns.hf.send", "log.durable_ns"):
            ordered = [after[name + end] for end in (".p50", ".p90", ".p99", ".p999", ".max")]
            assert 0 < ordered[0] and ordered == sorted(ordered), ordered


def test_info_agrees(server):
    with Connection(server.connect()) as conn:
        conn.call(*place("agrees"))
        figures = settled(conn)
        told = info(conn, "holdfast")
        equal(int(told["accepted"]), sum(n for name, n in figures.items() if name.startswith("events.")))
        equal(int(told["accepted"]), int(told["events"]))
        equal(int(told["retried"]), figures.get("retried.order", 0))
        equal(int(told["refused"]), sum(n for name, n in figures.items() if name.startswith("refused.")))
        equal(int(told["refused"]), sum(int(n) for name, n in told.items() if name.startswith("refused_")))
        equal(int(told["flushes"]), figures["log.group_records.count"])
        equal(int(told["flushed_events"]), int(told["committed_lsn"]))
        commands = int(info(conn, "stats")["total_commands_processed"])
        equal(int(info(conn, "stats")["total_commands_processed"]), commands + 1)


def send_many(server, number, failures):
    try:
        with Connection(server.connect()) as conn:
            for i in range(ROUNDS):
                conn.send_raw(b"".join(encode(*place("%d-%d-%d" % (number, i, k))) for k in range(10)) + encode("PING"))
                for _ in range(11):
                    conn.read()
    except Exception as error:  # the main thread tells
        failures.append(error)


def test_counts_under_load(server):
    """While others send: no snapshot has more commands than were made, or more events than commands."""
    failures = []
    threads = [threading.Thread(target=send_many, args=(server, i, failures)) for i in range(SENDERS)]
    with Connection(server.connect()) as conn:
        before = last = settled(conn)
        for thread in threads:
            thread.start()
        fresh = 0
        while any(thread.is_alive() for thread in threads):
            now = stats(conn)
            fresh += now["stats.fresh"]
            for name in before:
                if name.endswith(".count") or name.startswith("events."):
                    assert last.get(name, 0) <= now[name], (name, last.get(name), now[name])
            events = now.get("events.order.[*].Place.Open", 0)
            assert events <= now["latency_ns.hf.send.count"], (events, now["latency_ns.hf.send.count"])
            last = now
        for thread in threads:
            thread.join()
        equal(failures, [])
        assert fresh > 0
        now = settled(conn)
        name = "events.order.[*].Place.Open"
        equal(now[name] - before.get(name, 0), SENDERS * ROUNDS * 10)
        equal(now["latency_ns.ping.count"] - before.get("latency_ns.ping.count", 0), SENDERS * ROUNDS)
        print("%d fresh snapshots under load" % fresh)


def wide(name, states=127, events=31):
    """A contract with as many transitions as may be, nearly: each event leads out of each state."""
    lines = ["---", f"title: {name}", "---", "stateDiagram-v2", "state A {", "[*] --> s0"]
    lines += [f"s{i} --> s{i + 1} : next" for i in range(states - 1)]
    return "\n".join(lines + ["}", "[*] --> A : Start"] + [f"A --> Done : e{i}" for i in range(events)]) + "\n"


def test_more_than_there_are_counters(_server):
    """What has no counter of its own is counted all the same, and the server starts again."""
    contracts = {f"wide{i}": wide(f"wide{i}") for i in range(5)}
    with Server(contracts) as server:
        for _ in range(2):
            with Connection(server.connect()) as conn:
                before = settled_info(conn)
                for name in contracts:
                    key = before["last_lsn"]
                    equal(conn.call("HF.SEND", name, key, "Start", "ID", name + key)[0], b"s0")
                    equal(conn.call("HF.SEND", name, key, "Start", "ID", name + key)[0], b"s0")
                    assert conn.call("HF.SEND", name, key, "Start").startswith("REFUSED")
                after = settled_info(conn)
                grown = [int(after[figure]) - int(before[figure])
                         for figure in ("accepted", "retried", "refused", "refused_not_allowed")]
                equal(grown, [5, 5, 5, 5])
                figures = settled(conn)
                equal([figures[f"{kind}.(other)"] for kind in ("events", "retried")], [1, 1])
                equal((figures["refused.(other).not_allowed"], figures.get("stats.without_key", 0)), (1, 0))
            equal(server.terminate(), 0)
            server.start()


def main():
    failed = 0
    for args in ((), ("--threads", "2")):
        with Server({"order": ORDER}, args=args) as server:
            failed += run(globals(), server)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
