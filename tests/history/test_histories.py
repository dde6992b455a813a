#!/usr/bin/python3
"""P1, P2, P4: what real clients saw, under faults, fits one order of events (README.md).

    test_histories.py [--histories N] [--operations N] [--clients N] [--seed N] [--workers N]

Each history has a server of its own, with one or two network threads, that is killed and started again, stopped
and continued at random moments, while several clients write and read the same few keys and cut their connections.
In the end their records, with all that the server then says of every key, go to check.py; and replay says the
same state hash as the server. A failure prints its seed and keeps its records.
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
    """Records one history under faults into `path`."""
    rng = random.Random(seed)
    args = ["--segment-size", str(1 << 20), "--threads", str(rng.choice((1, 1, 2)))]
    faults = sorted(rng.randrange(operations) for _ in range(rng.randrange(1, 4)))
    with Server(contracts=str(HERE), args=args) as server:
        server.listen = f"127.0.0.1:{server.port}"  # where it comes back
        with subprocess.Popen([RECORD, str(server.port), path, str(seed), str(clients), str(operations)],
                              stdout=subprocess.PIPE, text=True) as record:
            for done in record.stdout:
                while faults and int(done) >= faults[0]:
                    faults.pop(0)
                    strike(server, rng)
        assert record.returncode == 0, "record failed"
        server.kill9()
        server.restart()
        with open(path, "a", encoding="ascii") as file:
            hashed = read_the_end(server, file)
        server.kill9()
        replayed = subprocess.run([holdfast(), "replay", server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        assert hashed.split()[1] in replayed, f"the server's hash is {hashed}, replay's is {replayed}"


def run(job):
    """One history, made and checked: (seed, operations, events, None) or (seed, 0, 0, what is wrong)."""
    seed, clients, operations = job
    folder = tempfile.mkdtemp(prefix="holdfast-history-")
    path = folder + "/records"
    try:
        make(path, seed, clients, operations)
        with open(path, encoding="ascii") as file:
            counts = check.check(file)
        shutil.rmtree(folder)
        return seed, *counts, None
    except Exception as error:  # pylint: disable=broad-except
        return seed, 0, 0, f"{type(error).__name__}: {error} (records: {path})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--operations", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    jobs = [(args.seed + i, args.clients, args.operations) for i in range(args.histories)]
    done = operations = events = 0
    with multiprocessing.Pool(args.workers) as pool:
        for seed, operation_count, event_count, wrong in pool.imap_unordered(run, jobs):
            if wrong:
                sys.exit(f"seed {seed}: {wrong}")
            done, operations, events = done + 1, operations + operation_count, events + event_count
            if done % 1000 == 0:
                print(f"{done} histories", flush=True)
    print(f"{done} histories (seeds {args.seed} to {args.seed + done - 1}) are linearizable: {operations} operations, "
          f"{events} events")


if __name__ == "__main__":
    main()
