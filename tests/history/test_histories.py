#!/usr/bin/python3
"""P1, P2, P4: what real clients saw, under faults, fits one order of events (README.md).

    test_histories.py [--histories N] [--operations N] [--clients N] [--seed N] [--workers N]

Each history has a server of its own, with one or two network threads, that is killed and started again, stopped
and continued at random moments, while several clients write and read the same few keys and cut their connections.
In the end their records, with all that the server then says of every key, go to check.py; and replay says the
same state hash as the server. A failure prints its seed and keeps its records. A history in which too little happened
is a failure, too: so many operations as were asked for, most of them answered, events of every key, and faults that
came while the clients were at work.
"""

import argparse
import multiprocessing
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests/lib"), str(HERE)]
sys.dont_write_bytecode = True

import check  # noqa: E402
import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402

RECORD = pathlib.Path(holdfast()).parents[2] / "tests/history/record"
KEYS = [f"k{i}" for i in range(5)]
PLAIN_KEYS = [f"p{i}" for i in range(3)]
LONG_WORD = 1000  # as record has it
PAGE = 1000
LAST_CONNECTION = 1000000  # a number that no connection of record has
ANSWERED = 0.5  # of the operations, at least
EVENTS = 0.1  # to an operation, at least
IN_TIME = 0.9  # of all faults, at least, while the clients are at work: on a busy machine one may be late


def strike(server, rng):
    """One fault."""
    if rng.random() < 0.6:
        server.kill9()
        server.restart()
    else:
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(rng.random() * 0.01)
        server.process.send_signal(signal.SIGCONT)


def flat(reply):
    """The words of the leaves, as record writes them."""
    if isinstance(reply, list):
        return " ".join(flat(part) for part in reply)
    if isinstance(reply, resp.Error):
        return "-" + reply
    if reply is None:
        return check.plain.NULL
    word = reply.decode() if isinstance(reply, bytes) else str(reply)
    return word if len(word) < LONG_WORD else f"{check.plain.LONG}{len(word)}"


def read_the_end(server, file):
    """Appends what the server says of each key, and its hash; the hash."""
    with resp.Connection(server.connect()) as connection:
        def ask(*words):
            begin = time.monotonic_ns()
            reply = connection.call(*words)
            file.write(f"{LAST_CONNECTION}\t{begin}\t{time.monotonic_ns()}\t{' '.join(map(str, words))}\t"
                       f"{flat(reply)}\n")
            return reply

        for key in KEYS:
            version = 1
            while len(ask("HF.HISTORY", "shelf", key, "FROM", version, "COUNT", PAGE)) == PAGE:
                version += PAGE
            ask("HF.GET", "shelf", key)
        for key in [*PLAIN_KEYS, "big"]:
            ask("GET", key)
        ask("MGET", *PLAIN_KEYS)
        return flat(ask("HF.HASH"))


def make(path, seed, clients, operations):
    """Records one history under faults into `path`: how many there were, and how many of them while it was recorded."""
    rng = random.Random(seed)
    args = ["--segment-size", str(1 << 20), "--threads", str(rng.choice((1, 1, 2)))]
    faults = sorted(rng.randrange(operations * 9 // 10) for _ in range(rng.randrange(1, 4)))
    planned, in_time = len(faults), 0
    with Server(contracts=str(HERE), args=args) as server:
        server.listen = f"127.0.0.1:{server.port}"  # where it comes back
        with subprocess.Popen([RECORD, str(server.port), path, str(seed), str(clients), str(operations)],
                              stdout=subprocess.PIPE, text=True) as record:
            for done in record.stdout:
                while faults and int(done) >= faults[0]:
                    faults.pop(0)
                    in_time += record.poll() is None
                    strike(server, rng)
        assert record.returncode == 0, "record failed"
        assert not faults, f"{len(faults)} faults never came"
        server.kill9()
        server.restart()
        with open(path, "a", encoding="ascii") as file:
            hashed = read_the_end(server, file)
        server.kill9()
        replayed = subprocess.run([holdfast(), "replay", server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        assert hashed.split()[1] in replayed, f"the server's hash is {hashed}, replay's is {replayed}"
    return planned, in_time


def require_enough(counts, asked):
    """A history in which nothing happened proves nothing."""
    assert counts.operations >= asked, f"{asked} operations were asked for: {counts}"
    assert counts.answered >= ANSWERED * counts.operations, f"most operations had no answer: {counts}"
    assert counts.events >= max(1, EVENTS * counts.operations), f"next to no events: {counts}"


def run(job):
    """One history, made and checked: (seed, its Counts, faults planned and in time, what is wrong or None)."""
    seed, clients, operations = job
    folder = tempfile.mkdtemp(prefix="holdfast-history-")
    path = folder + "/records"
    try:
        faults = make(path, seed, clients, operations)
        with open(path, encoding="ascii") as file:
            counts = check.check(file)
        require_enough(counts, operations)
        shutil.rmtree(folder)
        return seed, counts, faults, None
    except Exception as error:  # pylint: disable=broad-except
        return seed, None, None, f"{type(error).__name__}: {error} (records: {path})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    jobs = [(args.seed + i, args.clients, args.operations) for i in range(args.histories)]
    done, total, planned, in_time = 0, check.Counts(0, 0, 0), 0, 0
    with multiprocessing.Pool(args.workers) as pool:
        for seed, counts, faults, wrong in pool.imap_unordered(run, jobs):
            if wrong:
                sys.exit(f"seed {seed}: {wrong}")
            done, total = done + 1, check.Counts(*map(sum, zip(total, counts)))
            planned, in_time = planned + faults[0], in_time + faults[1]
            if done % 1000 == 0:
                print(f"{done} histories", flush=True)
    assert done == args.histories, f"{done} histories"
    assert in_time >= int(IN_TIME * planned), f"of {planned} faults, {in_time} came while clients were at work"
    print(f"{done} histories (seeds {args.seed} to {args.seed + done - 1}) are linearizable: {total.operations} "
          f"operations, {total.answered} answered, {total.events} events, {planned} faults")


if __name__ == "__main__":
    main()
