#!/usr/bin/python3
"""P1, P2: a feed that kill -9 interrupts, sent again from its start, ends like one that was not.

    test_resume.py [--whole] [--seed N]

There are ten kills, and every event carries an id. The points are random; the seed is printed. A
reply that was received before a kill must come back from every later retry as it was, and in the
end state hash, LSN and every entity are those of the uninterrupted run: nothing lost, nothing
twice.
"""

import argparse
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import feeds  # noqa: E402
import resp  # noqa: E402
from server import Server  # noqa: E402

KILLS = 10
QUICK_EVENTS = 20000
WINDOW = 512  # commands on their way: what the kill finds in every stage


def run(server, commands, kill_after=None):
    """Sends the feed from its start; the replies until the end, or all that still came after a kill."""
    replies, sent = [], 0
    with resp.Connection(server.connect()) as connection:
        try:
            while len(replies) < len(commands):
                if sent - len(replies) <= WINDOW // 2 and sent < len(commands):
                    connection.send_raw(b"".join(commands[sent:sent + WINDOW // 2]))
                    sent += WINDOW // 2
                replies.append(connection.read())
                if len(replies) == kill_after:
                    server.kill9()
        except (resp.Closed, OSError):
            assert kill_after is not None, f"connection lost after {len(replies)} replies"
    return replies


def first_difference(known, replies):
    """What a retry answered differently, or None."""
    for number, (before, now) in enumerate(zip(known, replies), start=1):
        if before != now:
            return f"event {number}: first {before!r}, then {now!r}"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole", action="store_true", help="the whole day, not its first part")
    parser.add_argument("--seed", type=int, default=20120621)
    args = parser.parse_args()
    print("seed", args.seed)
    rng = random.Random(args.seed)

    feed = feeds.LOBSTER
    text = feed.text(None if args.whole else QUICK_EVENTS)
    model, verdicts = feed.judge(text)
    names = {verdict[0] for verdict in verdicts}
    commands = [resp.encode(*words) for words in feed.commands(text, ids=True)]

    with Server(contracts=feed.contracts) as server:
        uninterrupted = run(server, commands)
        with resp.Connection(server.connect()) as connection:
            expected_hash = connection.call("HF.HASH")

    known = []
    with Server(contracts=feed.contracts) as server:
        for kill_after in sorted(rng.sample(range(1, len(commands)), KILLS)):
            replies = run(server, commands, kill_after)
            print(f"killed after {kill_after} replies, {len(replies)} received")
            difference = first_difference(known, replies)
            assert difference is None, difference
            known = max(known, replies, key=len)
            server.restart()
            acknowledged = max((r[2] for r in known if not isinstance(r, resp.Error)), default=0)
            with resp.Connection(server.connect()) as connection:
                lsn, _hash = connection.call("HF.HASH")
            assert lsn >= acknowledged, f"LSN {acknowledged} was acknowledged, {lsn} is the last"
        replies = run(server, commands)
        assert (difference := first_difference(known, replies)) is None, difference
        difference = first_difference(uninterrupted, replies)
        assert difference is None, "not as in the uninterrupted run: " + str(difference)
        with resp.Connection(server.connect()) as connection:
            got_hash = connection.call("HF.HASH")
            assert got_hash == expected_hash, f"{got_hash} is not {expected_hash}"
            different = feeds.differences(connection, model, names)
            assert not different, different[:5]
    print(f"{len(commands)} events, {KILLS} kills: same replies, same hash, {len(names)} entities agree")


if __name__ == "__main__":
    main()
