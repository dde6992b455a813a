#!/usr/bin/python3
"""P1, P2 and P4 under load: kill -9 while several clients write, one reads, and snapshots are taken.

    test_clients.py [--kills N] [--kills-per-log N] [--bookings N] [--threads N] [--seed N]

Each client books goods into one shared entity and into one of its own, pipelined, with an id per
event, and goes on after the restart a little before where its last reply left it. After each kill
  - every acknowledged event is in its entity's history, with the version and LSN of the reply;
  - no version that the reader saw was taken back, and it saw all fields of that one version;
and at the end of each log (a new one begins after so many kills) every event has been applied
exactly once.
"""

import argparse
import collections
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import feeds  # noqa: E402
import resp  # noqa: E402
import shelf  # noqa: E402
from server import Server  # noqa: E402

CLIENTS = 6


def load_and_kill(server, bookings, acknowledged, kill_at):
    """One life of the server: killed at so many replies, or (None) when all is booked.

    What was read, and how many snapshots were taken.
    """
    clients = [shelf.Client(server, bookings[c], acknowledged[c]) for c in range(CLIENTS)]
    reader, taker = shelf.Reader(server), shelf.Taker(server)
    for thread in clients + [reader, taker]:
        thread.start()
    if kill_at is not None:
        while sum(map(len, acknowledged)) < kill_at and any(c.is_alive() for c in clients):
            clients[0].join(0.0005)
        server.kill9()
    for client in clients:
        client.join()
        assert client.refusal is None and client.wrong is None, client.refusal or client.wrong
    server.kill9()
    for thread in (reader, taker):
        thread.join()
        assert thread.wrong is None, thread.wrong
    return reader.seen, taker.taken


def one_log(rng, args, kills):
    """A new log, and so many kills; counts of what it had."""
    bookings = [shelf.bookings_of(rng, c, args.bookings) for c in range(CLIENTS)]
    keys = shelf.keys_of(sum(bookings, []))
    acknowledged = [{} for _ in range(CLIENTS)]
    seen = {}
    counts = collections.Counter()
    step = args.bookings * CLIENTS // (kills + 1)
    with Server(contracts={"shelf": shelf.CONTRACT},
                args=["--threads", args.threads, "--segment-size", "1048576"]) as server:
        for round_number in range(1, kills + 2):
            kill_at = None
            if round_number <= kills:
                kill_at = sum(map(len, acknowledged)) + rng.randrange(step)
            read, taken = load_and_kill(server, bookings, acknowledged, kill_at)
            seen.update(read)
            server.restart()
            merged = {k: v for part in acknowledged for k, v in part.items()}
            with resp.Connection(server.connect()) as connection:
                total = shelf.check(connection, keys, merged, seen)
                lsn, _hash = connection.call("HF.HASH")
                assert lsn == total + 1, f"{total} events and a contract, and LSN {lsn}: a hole"
                counts["from a snapshot"] += shelf.recovered_from_snapshot(connection)
            counts["snapshots"] += taken
        assert total == len(merged) == args.bookings * CLIENTS, (total, len(merged))
        with resp.Connection(server.connect()) as connection:
            for key in keys:
                expected = sum(n for part in bookings for k, _id, n in part if k == key)
                got = feeds.as_dict(connection.call("HF.GET", "shelf", key))
                assert int(got["pieces"]) == expected, f"{key}: {got}, {expected} pieces were sent"
    counts["events"], counts["versions"] = total, len(seen)
    return counts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--kills-per-log", type=int, default=10)
    parser.add_argument("--bookings", type=int, default=600, help="per client and log")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--seed", type=int, default=9)
    args = parser.parse_args()
    print("seed", args.seed)
    done, counts = 0, collections.Counter()
    for log_number in range(1 << 30):
        kills = min(args.kills_per_log, args.kills - done)
        if kills <= 0:
            break
        # The seed of each log is told, so that one alone can be had again.
        seed = f"{args.seed}/{log_number}"
        try:
            counts += one_log(random.Random(seed), args, kills)
        except BaseException:
            print(f"log {log_number} of seed {args.seed}")
            raise
        done += kills
        if done // 500 > (done - kills) // 500:
            print(f"{done} kills", flush=True)
    print(f"{done} kills: {counts['events']} events acknowledged and applied once, {counts['versions']} versions read, "
          f"{counts['snapshots']} snapshots taken, {counts['from a snapshot']} starts from one")
    assert counts["versions"] > 0, "no version was read: this test shows less than it says"
    assert counts["from a snapshot"] > 0, "no start was from a snapshot: this test shows less than it says"


if __name__ == "__main__":
    main()
