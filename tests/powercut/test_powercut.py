#!/usr/bin/python3
"""P1 on a real file system: the plug is pulled under load, and no acknowledged event is lost.

    test_powercut.py [--cuts N] [--seed N] [--after N]

`holdfast serve` writes to ext4 on a loop device on a disk of our own (disk.c), which forgets what
was not flushed, or keeps a random part of it. The plug is pulled within a random write or flush
under the load of several clients, while snapshots are taken; in every third round a write, or every
flush from some instant on, fails instead. Then the file system comes up as after any loss of power, and
  - `holdfast log verify` proves the log, and serve starts on it;
  - every acknowledged event is in its entity's history with the version and LSN of the reply, and
    its retry gets that reply again; the LSNs have no hole; HF.HASH is what `replay` computes;
  - a server whose writes or flushes fail has stopped by itself, and said why.
First of all, a server with --no-sync must be caught losing acknowledged events: the test can fail. Of CUTS_SURE cuts
some must have met each thing that the last line counts. Where io_uring is forbidden, all is done with a log thread, and
the test says in the end that it is skipped.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import machine as machines  # noqa: E402
import resp  # noqa: E402
import shelf  # noqa: E402
from server import Server, StartError, holdfast, skip  # noqa: E402

CLIENTS = 3
PIPELINE = 4
SEGMENTS = ["--segment-size", "1048576"]
SIZE = 250  # of keys and ids: a log soon has several segments
BOOKINGS = 6000  # per client: more than are booked before the cuts of most disks
CUTS_PER_DISK = (2, 4, 8)
OPERATIONS_MAX = (25, 240, 240)  # the disk's writes and flushes until the cut: in the start, or under load
STOP_SECONDS = 30
KINDS = ("cut-after",) * 4 + ("fail-write", "fail-flush")
KEEPS = ("nothing", "some", "some", "first", "all")
CUTS_SURE = 100


class Log:
    """What the clients know of the log on one disk."""

    def __init__(self, rng):
        self.bookings = [shelf.bookings_of(rng, c, BOOKINGS, SIZE) for c in range(CLIENTS)]
        self.keys = shelf.keys_of(sum(self.bookings, []))
        self.acknowledged = [{} for _ in range(CLIENTS)]
        self.segments = self.taken = self.from_snapshot = 0
        self.writers = collections.Counter()  # how the servers wrote

    def check(self, machine):
        """What must hold of it when the machine is up again."""
        data = machine.path / "data"
        acknowledged = {k: v for part in self.acknowledged for k, v in part.items()}
        replayed = {"lsn": 0}
        if any(data.glob("log-*.hfl")):  # or the cut was before there was a log
            self.segments = tool("log", "verify", data, "--json")["segments"]
            replayed = tool("replay", data, "--json")
        with Server(contracts={"shelf": shelf.CONTRACT}, data=data, args=SEGMENTS) as server, \
                resp.Connection(server.connect()) as connection:
            self.from_snapshot += shelf.recovered_from_snapshot(connection)
            lsn, digest = connection.call("HF.HASH")
            if replayed["lsn"] > 0:
                expected = [replayed["lsn"], replayed["state_hash"].encode()]
                assert [lsn, digest] == expected, f"HF.HASH says {lsn} {digest}, replay {expected}"
            total = shelf.check(connection, self.keys, acknowledged, {})
            assert lsn == total + 1, f"{total} events and a contract, and LSN {lsn}: a hole"
            for bookings in self.bookings:
                shelf.retry(connection, bookings, acknowledged)
            assert connection.call("HF.HASH") == [lsn, digest], "a retry changed something"


class Round:
    """One life of the machine, from the server's start to the cut."""

    def __init__(self, rng, machine, log, kinds=KINDS, keeps=KEEPS, args=()):
        self.machine, self.log = machine, log
        self.kind, self.at = rng.choice(kinds), rng.randrange(1, rng.choice(OPERATIONS_MAX))
        self.keep, self.seed = rng.choice(keeps), rng.getrandbits(63)
        self.args = [*SEGMENTS, "--flush", rng.choice(("auto", "thread")), *args]

    def __str__(self):
        return f"{self.kind} {self.at} {self.keep} {self.seed}, serve {' '.join(self.args)}"

    def run(self):
        """Serves and books until the disk ends it."""
        self.machine.control(f"{self.kind} {self.at} {self.keep} {self.seed}")
        before = self.machine.report()[1]["failed"]
        try:
            self._load()
        except (StartError, OSError):
            up, counts = self.machine.report()
            if up and counts["failed"] == before:
                raise  # it is not the disk that keeps the server from starting
        self.machine.pull_the_plug(self.keep, self.seed)

    def _load(self):
        with Server(contracts={"shelf": shelf.CONTRACT}, data=self.machine.path / "data",
                    args=self.args) as server:
            self.log.writers["io_uring" if server.uses_io_uring() else "thread"] += 1
            clients = [shelf.Client(server, self.log.bookings[c], self.log.acknowledged[c], PIPELINE)
                       for c in range(CLIENTS)]
            taker = shelf.Taker(server)
            for thread in [*clients, taker]:
                thread.start()
            for client in clients:
                client.join()
                assert client.wrong is None, client.wrong
                # An id's first use may have to be read from the disk.
                assert client.refusal is None or client.refusal.startswith(("STOPPED", "IO ")), client.refusal
            all_booked = all(len(known) == BOOKINGS for known in self.log.acknowledged)
            # A single write may have been ext4's own, or a snapshot's, of which no client is told.
            if not (all_booked or self.kind == "fail-write") or not self._still_serves(server):
                self._expect_stop(server)
            assert taker.wrong is None, taker.wrong
            self.log.taken += taker.taken

    def _still_serves(self, server):
        try:
            with resp.Connection(server.connect()) as connection:
                return not isinstance(connection.call("HF.HASH"), resp.Error)
        except (resp.Closed, OSError):
            return False

    def _expect_stop(self, server):
        """The server must end by itself, and say why."""
        try:
            code = server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        # Its reason is not always the last line: a snapshot under way may fail after it.
        said = any(line.startswith("holdfast serve: ") for line in server.stderr.splitlines())
        assert code == 1 and said, f"no stop: exit {code}: {server.stderr}"


def tool(*words):
    """The JSON object that a subcommand of holdfast prints."""
    done = subprocess.run([holdfast(), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"holdfast {' '.join(map(str, words))}: {done.stderr}"
    return json.loads(done.stdout)


def rounds(machine, rng, count, **options):
    """So many rounds on a new disk; what the clients know of it then. Leaves it unmounted."""
    machine.new_disk()
    machine.mount()
    log = Log(rng)
    for number in range(1, count + 1):
        this = Round(rng, machine, log, **options)
        try:
            this.run()
            machine.mount()
            # Where nothing is checked, the next cut can meet the recovery.
            if number == count or rng.randrange(3) > 0:
                log.check(machine)
        except AssertionError as why:
            raise AssertionError(f"cut {number} of this disk ({this}): {why}") from why
    machine.unmount()
    return log


def check_that_it_can_fail(machine, rng):
    """A server that does not wait for the disk is caught."""
    try:
        rounds(machine, rng, 20, kinds=["cut-after"], keeps=["nothing"], args=["--no-sync"])
    except AssertionError as why:
        assert "was acknowledged" in str(why), why
        print("--no-sync is caught, as it must be:", why)
        machine.pull_the_plug()
        return
    raise AssertionError("a server with --no-sync lost nothing in 20 cuts: this test cannot fail")


def conclude(cuts, total, segments, writers, counts):
    """Prints what there was, of which there must have been some."""
    print(f"{cuts} cuts, none of {total['events acknowledged']} acknowledged events lost; logs of up to {segments} "
          f"segments, {total['snapshots']} snapshots, {total['starts from one']} starts from one; lives with io_uring "
          f"{writers['io_uring']}, with a log thread {writers['thread']}; {counts}")
    if cuts >= CUTS_SURE:
        for what, count in [*total.items(), *counts.items(), ("lives with a log thread", writers["thread"])]:
            assert count > 0, f"{what}: none in {cuts} cuts"
        if writers["io_uring"] == 0:
            skip("needs io_uring, which is not available here: only a log thread was cut off")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--after", type=int, default=0, help="cuts done before: a failure names them")
    args = parser.parse_args()
    why_not = machines.why_not()
    if why_not is not None:
        skip(why_not)
    print("seed", args.seed)
    done, total, segments, writers = args.after, collections.Counter(), 0, collections.Counter()
    with machines.Machine() as machine:
        check_that_it_can_fail(machine, random.Random(args.seed))
        before = machine.report()[1]
        while done < args.cuts:
            seed = f"{args.seed}/{done}"
            rng = random.Random(seed)
            count = min(rng.choice(CUTS_PER_DISK), args.cuts - done)
            try:
                log = rounds(machine, rng, count)
            except BaseException:
                print(f"the disk after cut {done} of seed {args.seed}")
                raise
            done += count
            total.update({"events acknowledged": sum(map(len, log.acknowledged)), "snapshots": log.taken,
                          "starts from one": log.from_snapshot})
            segments, writers = max(segments, log.segments), writers + log.writers
            if done // 500 > (done - count) // 500:
                print(f"{done} cuts", flush=True)
        counts = {k: v - before[k] for k, v in machine.report()[1].items()}
    conclude(done - args.after, total, segments, writers, counts)


if __name__ == "__main__":
    main()
