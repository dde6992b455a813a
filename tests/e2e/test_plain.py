#!/usr/bin/python3
"""Plain keys beside a real Redis: the same commands, the same replies; also after a kill, and after a replay.

    test_plain.py [--examples N] [--seed N]

Random commands go to redis-server and to Holdfast. Every reply must be the same, of an error what stands
before its explanation. Now and then Holdfast is killed with -9 or takes a snapshot; nothing may be lost.
IFEQ, which Debian's Redis has not, is held against what GET says. At the end `holdfast replay --verify`
must make the same state hash as the server did.

What Redis has not, the limits, is tried first: what just fits is there after a kill, what does not changes nothing.
"""

import argparse
import json
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, holdfast, skip  # noqa: E402

KEYS = [b"a", b"b", b"c:d", b"key with \r\n\x00 bytes", b"k" * 255, *(b"n%d" % i for i in range(12))]
VALUES = [b"", b"0", b"1", b"-1", b"10", b"9223372036854775807", b"-9223372036854775808", b"007", b" 1", b"+1", b"-0",
          b"1.0", b"x", b"\x00" * 700, b"\x00" * 65536, b"hello world", b"\r\n", bytes(range(256))]
PATTERNS = [b"*", b"?", b"n*", b"n[0-3]", b"n[^0-3]*", b"[ab]", b"*:*", b"key*bytes", b"n1?", b"\\a", b"[a-", b"n[3-0]",
            b"*n*", b"**", b"", b"[]", b"[^]", b"a\\", b"*\\*", b"[\\a-c]"]

KEY_MAX, VALUE_MAX = 255, 65536
DEL_MAX = 131048  # bytes of one DEL's keys, one more for each
PATTERN_MAX, PATTERNS_MAX = 1024, 64
CURSORS = 1 << 40  # all of SCAN's are below


class Redis:
    """A redis-server of its own."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="holdfast-test-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen(["redis-server", "--port", str(port), "--dir", self.dir, "--save", "",
                                         "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.connection = resp.Connection(socket.create_connection(("127.0.0.1", port)))
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def close(self):
        self.connection.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


def command(rng):
    """A random command, mostly a right one."""
    key, value = rng.choice(KEYS), rng.choice(VALUES)
    some = [rng.choice(KEYS) for _ in range(rng.randrange(1, 5))]
    options = rng.choice([[], [], [], [b"NX"], [b"xx"], [b"GET"], [b"NX", b"get"], [b"XX", b"GET"], [b"NX", b"XX"],
                          [b"GET", b"GET", b"NX", b"XX"], [b"what"]])
    return rng.choice([
        [b"SET", key, value, *options], [b"set", key, value], [b"GET", key], [b"SETNX", key, value], [b"DEL", *some],
        [b"EXISTS", *some], [b"MGET", *some], [b"INCR", key], [b"INCR", key], [b"INCRBY", key, value],
        [b"INCRBY", key, b"%d" % rng.randrange(-100, 100)], [b"TYPE", key], [b"DBSIZE"],
        rng.choice([[b"GET"], [b"SET", key], [b"MGET"], [b"INCRBY", key], [b"SCAN"], [b"SCAN", b"x"],
                    [b"SCAN", b"0", b"COUNT"], [b"SCAN", b"0", b"COUNT", b"0"], [b"SCAN", b"0", b"COUNT", b"-1"],
                    [b"SCAN", b"0", b"COUNT", b"x"], [b"SCAN", b"0", b"what", b"1"]]),
    ])


def comparable(reply):
    """Of an error, the part that clients look for."""
    if isinstance(reply, resp.Error):
        return " ".join(reply.split()[:3])
    return reply


def scan(connection, *options):
    """All keys that a whole iteration shows."""
    cursor, keys = b"0", set()
    while True:
        cursor, some = connection.call("SCAN", cursor, *options)
        keys |= set(some)
        if cursor == b"0":
            return keys


def same_keys(ours, theirs, rng):
    """All keys and values, and what some patterns choose of them."""
    keys = sorted(scan(theirs))
    assert sorted(scan(ours, "COUNT", rng.randrange(1, 30))) == keys
    if keys:
        assert ours.call("MGET", *keys) == theirs.call("MGET", *keys)
    for pattern in rng.sample(PATTERNS, 6):
        expected = scan(theirs, "MATCH", pattern, "COUNT", 1000)
        got = scan(ours, "MATCH", pattern)
        assert got == expected, f"MATCH {pattern}: {got}, Redis shows {expected}"
    assert scan(ours, "TYPE", "string") == set(keys) and scan(ours, "TYPE", "hash") == set()


def check_ifeq(ours, theirs, rng):
    """SET IFEQ, told to Redis as a SET if it must have taken place."""
    key, value, new = rng.choice(KEYS), rng.choice(VALUES), rng.choice(VALUES)
    if rng.random() < 0.5:
        value = theirs.call("GET", key) or value
    before = theirs.call("GET", key)
    options = ["GET"] if rng.random() < 0.3 else []
    reply = ours.call("SET", key, new, "IFEQ", value, *options)
    takes = before == value
    assert reply == (before if options else "OK" if takes else None), (key, value, before, reply)
    if takes:
        theirs.call("SET", key, new)


def replayed(server, lsn, state_hash):
    """`holdfast replay --verify` finds the same."""
    replay = subprocess.run([holdfast(), "replay", server.data_dir, "--verify", "--json"], capture_output=True,
                            text=True, check=False)
    assert replay.returncode == 0, replay.stderr
    summary = json.loads(replay.stdout)
    assert (summary["lsn"], summary["state_hash"].encode()) == (lsn, state_hash), summary


def one_life(rng, steps):
    """A new Holdfast and a new Redis, and so many steps; the number of commands."""
    redis = Redis()
    theirs = redis.connection
    server = Server(args=["--segment-size", "1048576", "--flush", rng.choice(["auto", "thread"])])
    commands = 0
    try:
        server.start()
        ours = resp.Connection(server.connect())
        for _ in range(steps):
            batch = [command(rng) for _ in range(rng.randrange(1, 30))]
            for connection in ours, theirs:
                connection.send_raw(b"".join(resp.encode(*words) for words in batch))
            for words in batch:
                got, expected = comparable(ours.read()), comparable(theirs.read())
                assert got == expected, f"{words}: {got}, Redis says {expected}"
            commands += len(batch)
            check_ifeq(ours, theirs, rng)
            act = rng.randrange(12)
            if act == 0:
                assert not isinstance(ours.call("HF.SNAPSHOT"), resp.Error)
            elif act == 1:
                state = ours.call("HF.HASH")
                ours.close()
                server.kill9()
                server.restart()
                ours = resp.Connection(server.connect())
                assert ours.call("HF.HASH") == state
            elif act == 2:
                same_keys(ours, theirs, rng)
        same_keys(ours, theirs, rng)
        lsn, state_hash = ours.call("HF.HASH")
        ours.close()
        assert server.terminate() == 0
        replayed(server, lsn, state_hash)
        verified = subprocess.run([holdfast(), "log", "verify", server.data_dir], capture_output=True, check=False)
        assert verified.returncode == 0, verified.stderr
    finally:
        server.close()
        redis.close()
    return commands


def count_together(clients=4, each=200):
    """Several clients count one key up: no count is lost or given twice."""
    def count(connection, seen):
        for _ in range(each):
            seen.append(connection.call("INCR", "counter"))

    with Server(args=["--segment-size", "1048576"]) as server:
        seen = [[] for _ in range(clients)]
        threads = [threading.Thread(target=count, args=(resp.Connection(server.connect()), part)) for part in seen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(sum(seen, [])) == list(range(1, clients * each + 1))


def pipelined(connection, commands):
    """The replies; not so many at a time that the server would wait for them to be read."""
    replies = []
    for first in range(0, len(commands), 500):
        some = commands[first:first + 500]
        connection.send_raw(b"".join(resp.encode(*words) for words in some))
        replies += [connection.read() for _ in some]
    return replies


def check_deletes_in_scan_order(count=30000):
    """What clients do to be rid of keys: the ones that stay meanwhile are all at one end of the map, however few."""
    keys = [b"key:%d" % i for i in range(count)]
    with Server(args=["--segment-size", "1048576"]) as server:
        with resp.Connection(server.connect()) as connection:
            for kept in 0, 100:
                assert pipelined(connection, [("SET", key, b"x") for key in keys]) == ["OK"] * count
                cursor, found = b"0", []
                while cursor != b"0" or not found:
                    cursor, some = connection.call("SCAN", cursor, "COUNT", 250)
                    assert int(cursor) < CURSORS, cursor
                    found += some
                assert sorted(found) == sorted(keys)
                stay, go = found[count - kept:], found[:count - kept]
                assert pipelined(connection, [("DEL", key) for key in go]) == [1] * len(go)
                assert connection.call("DBSIZE") == kept
                assert pipelined(connection, [("GET", key) for key in stay]) == [b"x"] * kept


def everything(connection):
    """The number of keys, and all that the state hash stands for."""
    return connection.call("DBSIZE"), connection.call("HF.HASH")


def refused(connection, word, *commands):
    """Each gets an error that begins with the word, and changes nothing."""
    before = everything(connection)
    for words in commands:
        reply = connection.call(*words)
        assert isinstance(reply, resp.Error) and reply.startswith(word + " "), (words[0], str(reply)[:200])
        assert everything(connection) == before, words[0]


def fill_a_delete():
    """Keys that fill one DEL to its last byte."""
    count = DEL_MAX // (1 + KEY_MAX)
    keys = [b"%d" % i + b"d" * (KEY_MAX - len(b"%d" % i)) for i in range(count)]
    return keys + [b"e" * (DEL_MAX - count * (1 + KEY_MAX) - 1)]


def check_lengths(connection, kept):
    """Keys and values to their limits, and one byte beyond; adds to `kept` what has to stay."""
    long_key, value = b"k" * KEY_MAX, b"\x00" * VALUE_MAX
    assert connection.call("SET", long_key, value) == "OK"
    assert connection.call("SETNX", b"x", b"y" * VALUE_MAX) == 1
    assert connection.call("SET", b"x", b"z" * VALUE_MAX, "GET") == b"y" * VALUE_MAX
    assert connection.call("INCR", b"i" * KEY_MAX) == 1
    kept.update({long_key: value, b"x": b"z" * VALUE_MAX, b"i" * KEY_MAX: b"1"})
    refused(connection, "TOOBIG", ("SET", b"x", value + b"0"), ("SET", b"new", value + b"0"),
            ("SET", b"x", value + b"0", "GET"), ("SET", b"x", value + b"0", "XX"), ("SETNX", b"new", value + b"0"),
            ("SET", b"x", value + b"0", "IFEQ", b"z" * VALUE_MAX), ("SET", long_key + b"k", b"1"),
            ("SETNX", long_key + b"k", b"1"), ("INCR", long_key + b"k"), ("INCRBY", long_key + b"k", 2))
    refused(connection, "ERR", ("SET", b"", b"1"), ("SET", b"", b"1", "GET"), ("SETNX", b"", b"1"), ("INCR", b""),
            ("INCRBY", b"", 2), ("INCR", b"x"), ("DEL",), ("MGET",))
    # Keys that cannot be are not there. IFEQ may name what cannot be, either.
    before = everything(connection)
    impossible = (b"", long_key + b"k")
    assert connection.call("MGET", *impossible, b"x") == [None, None, kept[b"x"]]
    assert [connection.call("GET", key) for key in impossible] == [None, None]
    assert connection.call("EXISTS", *impossible) == connection.call("DEL", *impossible) == 0
    assert connection.call("SET", b"x", b"1", "IFEQ", b"z" * (VALUE_MAX + 1)) is None
    assert everything(connection) == before


def check_many(connection, kept):
    """More keys and more bytes than a record of the log holds: a DEL has to fit into one, a MGET need not."""
    keys = fill_a_delete()
    values = [b"%d" % i for i in range(len(keys))]
    for key, value in zip(keys, values):
        assert connection.call("SET", key, value) == "OK"
    refused(connection, "TOOBIG", ("DEL", *keys[:-1], keys[-1] + b"e"), ("DEL", *keys, b"1"))
    # Nearly the 262,144 bytes that a command may have, with what RESP adds.
    assert connection.call("MGET", *keys, *keys[:480]) == values + values[:480]
    assert connection.call("EXISTS", *keys, *keys[:480]) == len(keys) + 480
    kept_keys = list(kept)
    assert connection.call("MGET", *kept_keys * 100) == list(kept.values()) * 100  # 13 MB
    assert connection.call("DEL", *keys) == len(keys)
    assert connection.call("EXISTS", *keys) == 0


def check_limits():
    """What is at a limit is kept through a kill and a replay; what is beyond it is refused, and nothing has changed."""
    kept = {}
    with Server(args=["--segment-size", "1048576"]) as server:
        with resp.Connection(server.connect()) as connection:
            check_lengths(connection, kept)
            check_many(connection, kept)
            before = everything(connection)
        assert before[0] == len(kept)
        server.kill9()
        server.restart()
        with resp.Connection(server.connect()) as connection:
            assert everything(connection) == before
            assert connection.call("MGET", *kept) == list(kept.values())
        assert server.terminate() == 0
        replayed(server, *before[1])


def cpu_seconds(server):
    """What all of the server's threads have had of the processors."""
    threads = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def check_patterns():
    """No pattern keeps the others waiting: a long one is refused, the worst of the others takes hardly any time."""
    worst = [b"*[" + b"b" * (PATTERN_MAX - 3) + b"]", b"*" + b"a" * (PATTERN_MAX - 2) + b"b",
             b"*" + b"a" * 127 + b"b", b"*" + b"?" * (PATTERN_MAX - 1), b"*a" * 127 + b"b"]
    with Server(args=["--segment-size", "1048576"]) as server, resp.Connection(server.connect()) as connection:
        pipelined(connection, [("SET", b"%03d" % i + b"a" * (KEY_MAX - 3), b"") for i in range(250)])
        for pattern in worst:
            wish = "SCAN", 0, "MATCH", pattern, "COUNT", 250
            taken = []
            for _ in range(3):
                before = cpu_seconds(server)
                assert connection.call(*wish)[1] == []
                taken.append(cpu_seconds(server) - before)
            assert min(taken) < 0.1, (pattern[:8], taken)
        # Of such a pattern a SCAN looks at a few keys only, and all of them together find them all.
        long = "MATCH", b"*" + b"?" * 149 + b"*", "COUNT", 250
        assert 0 < len(connection.call("SCAN", 0, *long)[1]) < 50
        assert len(scan(connection, *long)) == 250
        refused(connection, "TOOBIG", ("SCAN", 0, "MATCH", worst[0] + b"x"), ("HF.STATS", worst[0], b"x"),
                ("HF.STATS", *[b"x"] * (PATTERNS_MAX + 1)), ("CONFIG", "GET", worst[0] + b"x"))
        found = connection.call("CONFIG", "GET", *[b"x"] * (PATTERNS_MAX - 1), b"PO[q-s]T")
        assert found == [b"port", b"%d" % server.port]
        assert connection.call("HF.STATS", b"x", b"stats.fres?") == [b"stats.fresh", 1]


def check_scan_arguments():
    """A cursor fits into a double, and what is none is refused; COUNT is a number from 1 on."""
    with Server(args=["--segment-size", "1048576"]) as server, resp.Connection(server.connect()) as connection:
        connection.call("SET", "key", "value")
        for cursor in 0, 1, CURSORS - 1:
            assert isinstance(connection.call("SCAN", cursor), list), cursor
        for cursor in CURSORS, 1 << 63, (1 << 64) - 1, 1 << 64, -1, "x":
            assert connection.call("SCAN", cursor) == "ERR invalid cursor", cursor
        for count in -1, 0, -(1 << 63):
            assert connection.call("SCAN", 0, "COUNT", count) == "ERR syntax error", count
        for count in "x", "", 1 << 63, 1 << 64:
            reply = connection.call("SCAN", 0, "COUNT", count)
            assert reply == "ERR value is not an integer or out of range", (count, reply)
        assert connection.call("SCAN", 0, "COUNT", (1 << 63) - 1) == [b"0", [b"key"]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    check_limits()
    check_patterns()
    check_scan_arguments()
    check_deletes_in_scan_order()
    if shutil.which("redis-server") is None:
        skip("redis-server is not installed (tools/setup test)")
    count_together()
    commands = 0
    for number in range(args.examples):
        seed = f"{args.seed}/{number}"
        try:
            commands += one_life(random.Random(seed), 60)
        except BaseException:
            print("seed", seed)
            raise
    print(f"{args.examples} lives, {commands} commands: the same replies as Redis's")


if __name__ == "__main__":
    main()
