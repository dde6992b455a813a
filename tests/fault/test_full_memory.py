#!/usr/bin/python3
"""P7: a process that gets no more memory refuses what needs some, goes on reading, and writes again when it may.

    test_full_memory.py [--room MIB]

A real server, whose address space may grow by so much and no more (RLIMIT_AS), is filled with entities and ids until it
refuses. Then every entity can be read, one that is there takes events that need no memory, connections come
and go, and nothing that was refused is there. With the limit raised, what was refused is taken. Then a restart: replay
finds the same state.
"""

import argparse
import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402

from test_memory import TALLY  # noqa: E402

BATCH = 500
REFUSALS = 3 * BATCH  # seen before the server counts as full
KEY = "entity-%08d-" + "x" * 200


def address_space(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def send_all(connection, numbers):
    """One event to each entity; the replies."""
    connection.send_raw(b"".join(
        resp.encode("HF.SEND", "tally", KEY % i, "Add", "n", i + 1, "ID", f"first-{i}") for i in numbers))
    return [connection.read() for _ in numbers]


def fill(connection):
    """Until it refuses: (those that were taken, those that were refused)."""
    taken, refused = [], []
    for begin in range(0, 10 ** 7, BATCH):
        numbers = range(begin, begin + BATCH)
        for i, reply in zip(numbers, send_all(connection, numbers)):
            if isinstance(reply, resp.Error):
                assert reply.startswith("NOMEM ") and "memory" in reply, reply
                refused.append(i)
            else:
                taken.append(i)
        if len(refused) >= REFUSALS:
            return taken, refused
    raise AssertionError("it never refused")


def read_all(connection, taken, refused):
    for numbers, wanted in ((taken, True), (refused, False)):
        for begin in range(0, len(numbers), BATCH):
            part = numbers[begin:begin + BATCH]
            connection.send_raw(b"".join(resp.encode("HF.GET", "tally", KEY % i, "version", "sum") for i in part))
            for i in part:
                reply = connection.read()
                if wanted:
                    assert reply == [b"version", 1, b"sum", str(i + 1).encode()], (i, reply)
                else:
                    assert isinstance(reply, resp.Error) and reply.startswith("NOTFOUND"), (i, reply)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--room", type=int, default=24)
    args = parser.parse_args()
    with Server(contracts={"tally": TALLY}, args=["--max-clients", "100"]) as server:
        pid = server.process.pid
        with resp.Connection(server.connect()) as connection:
            send_all(connection, range(10 ** 7, 10 ** 7 + BATCH))  # what a first pipeline needs is there
            limit = address_space(pid) + (args.room << 20)
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            taken, refused = fill(connection)
            print(f"{len(taken)} entities taken, then {len(refused)} refused")
            read_all(connection, taken, refused)
            reply = connection.call("HF.SEND", "tally", KEY % taken[0], "Close")
            assert reply == [b"Shut", 2, reply[2]], reply
            for _ in range(100):
                with resp.Connection(server.connect()) as other:
                    assert other.call("PING") == "PONG"
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            for begin in range(0, len(refused), BATCH):
                for reply in send_all(connection, refused[begin:begin + BATCH]):
                    assert not isinstance(reply, resp.Error) and reply[1] == 1, reply
            read_all(connection, taken[1:] + refused, [])
            _lsn, state_hash = connection.call("HF.HASH")
        server.kill9()
        replayed = subprocess.run([holdfast(), "replay", server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        assert state_hash.decode() in replayed, f"{state_hash}, replay: {replayed}"


if __name__ == "__main__":
    main()
