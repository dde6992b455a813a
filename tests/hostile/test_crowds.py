#!/usr/bin/python3
"""P7: bad clients cost bounded memory, and do not hurt the others.

    test_crowds.py [--idle N] [--each N] [--sends N] [--threads N] [--sanitized]

Crowds of hostile clients come, one kind after the other and then all together, while a healthy client sends
events and waits for each. The crowd is there; throughout, the server answers, its memory was never over the cap that
docs/operations.md states, and what the healthy client had acknowledged is there in the end; then replay finds
the state that the server said it had. The latencies are printed; how much they grow is a figure, not a test,
unless it is absurd. --sanitized is for a sanitizer's build, whose memory and time are mostly the sanitizer's.
Where too few open files are allowed for so many idle clients, the rest is done, and the end is a SKIP that says so.
"""

import argparse
import contextlib
import pathlib
import resource
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import crowds  # noqa: E402
import memory  # noqa: E402
import resp  # noqa: E402
from server import Server, holdfast, skip  # noqa: E402

MIB = memory.MIB
ROOM = 100  # connections beside the crowds
STAY = {crowds.idle, crowds.slow_readers, crowds.loris, crowds.announcers, crowds.flood,
        crowds.scanners}  # on their connections
THERE_S = 60  # in which all of them must have been accepted
OWN_FILES = 3000  # open ones, beside the idle clients'
PRESSING = 500  # as many per thread, with 256 KiB each, are over their share
ABSURD_TIMES, ABSURD_S = 20, 1.0
SECONDS_MIN, SECONDS_MAX = 1.0, 10.0  # of one measurement
PRESSED_S = 240  # in which clients that want too much must have been closed; a sanitizer's server is slow


class Healthy:
    """A client that sends an event, waits, sends the next."""

    def __init__(self, server):
        self.connection = resp.Connection(server.connect())
        self.version = 1
        self.connection.call("HF.SEND", "order", "healthy", "Place", "q", 1 << 40, "p", 1, "s", "x")

    def send(self):
        begin = time.perf_counter()
        reply = self.connection.call("HF.SEND", "order", "healthy", "Fill", "n", 1, "ID", str(self.version))
        self.version += 1
        assert not isinstance(reply, resp.Error) and reply[1] == self.version, reply
        return time.perf_counter() - begin

    def latencies(self, sends):
        """(median, p99) of at least so many, unless there is no time for them."""
        begin = time.perf_counter()
        taken = []
        while (elapsed := time.perf_counter() - begin) < SECONDS_MAX and (
                len(taken) < sends or elapsed < SECONDS_MIN):
            taken.append(self.send())
        taken.sort()
        return taken[len(taken) // 2], taken[len(taken) * 99 // 100]


def grow_big(connection):
    """An entity whose whole history is a reply of half a megabyte."""
    connection.send_raw(
        resp.encode("HF.SEND", "order", crowds.BIG_KEY, "Place", "q", 1 << 40, "p", 1, "s", "x")
        + b"".join(resp.encode("HF.SEND", "order", crowds.BIG_KEY, "Fill", "n", 1, "ID", f"{i:0255}")
                   for i in range(999)))
    for _ in range(1000):
        connection.read()


class Watch:
    """One server's memory and replies, under crowds."""

    def __init__(self, server, args):
        self.server, self.sends, self.sanitized = server, args.sends, args.sanitized
        self.threads = int(args.threads)
        self.healthy = Healthy(server)
        self.witness = resp.Connection(server.connect())
        grow_big(self.witness)
        self.calm = self.healthy.latencies(self.sends)
        self.show("calm", self.calm)

    def info(self):
        text = self.witness.call("INFO").decode()
        return {name: int(value) for name, _, value in (line.partition(":") for line in text.splitlines())
                if value.isdigit()}

    def wait_for(self, name, clients):
        """So many are connected, or were and had to go."""
        end = time.monotonic() + THERE_S
        while True:
            now = self.info()
            there = now["connected_clients"] - 2 + now["evicted_clients"]
            if there >= clients:
                return
            assert time.monotonic() < end, f"{name}: only {there} of {clients} clients are there"
            time.sleep(0.1)

    def look(self):
        """INFO's numbers, and the peak of memory; neither is over its cap."""
        now, peak = self.info(), memory.peak(self.server)
        over = peak - memory.cap(now, self.threads)
        assert over < 0 or self.sanitized, f"{peak} bytes, {over} over the cap"
        # Buffers are over their share for no longer than a pass.
        assert now["mem_clients_normal"] <= now["maxmemory_clients"], now
        return now, peak

    def show(self, name, latencies):
        now, peak = self.look()
        print("%-40s p50 %7.2f ms  p99 %7.2f ms (%.1fx)  %5d clients  %4d MiB of buffers  %4d MiB in all, at most" % (
            name, latencies[0] * 1e3, latencies[1] * 1e3, latencies[1] / self.calm[1], now["connected_clients"],
            now["mem_clients_normal"] // MIB, peak // MIB), flush=True)

    def endure(self, name, *parts, pressed=False):
        """Measures while the crowds, each (kind, count), are there. `pressed`: they stay until clients had to go."""
        with contextlib.ExitStack() as stack:
            for kind, count in parts:
                stack.enter_context(crowds.Crowd(kind, self.server.port, count))
            self.wait_for(name, sum(count for kind, count in parts if kind in STAY))
            latencies = self.healthy.latencies(self.sends)
            self.show(name, latencies)
            end = time.monotonic() + PRESSED_S
            while pressed and self.look()[0]["evicted_clients"] == 0:
                assert time.monotonic() < end, f"{name}: nobody had to go: this server was not pressed"
                self.healthy.send()
                time.sleep(0.1)
        absurd = latencies[1] > max(ABSURD_TIMES * self.calm[1], ABSURD_S)
        assert self.sanitized or not absurd, f"{name}: p99 is {latencies[1]} s"

    def conclude(self):
        """Nothing was lost, and the log says what the server says."""
        state = self.witness.call("HF.GET", "order", "healthy", "version")
        assert state[1] == self.healthy.version, state
        _lsn, state_hash = self.witness.call("HF.HASH")
        end = self.info()
        peak, cap = memory.peak(self.server) // MIB, memory.cap(end, self.threads) // MIB
        print(f"{end['evicted_clients']} clients were closed because of their memory; at most {peak} MiB in all, "
              f"of {cap} that are allowed", flush=True)
        self.server.kill9()
        replayed = subprocess.run([holdfast(), "replay", self.server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        assert state_hash.decode() in replayed, f"{state_hash}, replay: {replayed}"


def idle_clients(wanted):
    """As many as one process can have; who may raises the limit."""
    need = wanted + OWN_FILES
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < need:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (need, need))
            hard = need
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, min(wanted, hard - OWN_FILES))


def demand_all_idle(idle, wanted):
    """At the end, all else being done: skipped, if there were too few."""
    if idle < wanted:
        skip(f"only {idle + OWN_FILES} open files are allowed: {idle} idle clients instead of {wanted}")


def serve_args(args, max_clients):
    return ["--max-clients", str(max_clients), "--threads", args.threads]


def one_by_one(args, idle):
    order = str(ROOT / "examples/order")
    with Server(contracts=order, args=serve_args(args, idle + 2 * args.each + ROOM)) as server:
        watch = Watch(server, args)
        watch.endure(f"{idle} idle", (crowds.idle, idle))
        watch.endure(f"{args.each} slow readers", (crowds.slow_readers, args.each))
        watch.endure(f"{args.each} at a byte at a time", (crowds.loris, args.each))
        watch.endure(f"{args.each} with a huge half command", (crowds.announcers, args.each))
        watch.endure("8 floods", (crowds.flood, 8))
        watch.endure("200 that scan", (crowds.scanners, 200))
        watch.endure("8 that hang up in mid-command", (crowds.cutters, 8))
        watch.endure("all of them", (crowds.idle, idle), (crowds.slow_readers, args.each), (crowds.loris, ROOM // 4),
                     (crowds.announcers, args.each - ROOM // 2), (crowds.flood, 2), (crowds.cutters, 2))
        watch.conclude()


def more_than_its_share(args):
    """What the clients want of memory is more than they may have."""
    count = max(PRESSING * int(args.threads), args.each)
    with Server(contracts=str(ROOT / "examples/order"), args=serve_args(args, count + ROOM)) as server:
        watch = Watch(server, args)
        watch.endure(f"{count} that never read", (crowds.deaf, count), pressed=True)
        watch.endure(f"{count} with a huge half command", (crowds.announcers, count))
        watch.conclude()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--each", type=int, default=1000, help="of the other kinds")
    parser.add_argument("--sends", type=int, default=200, help="of the healthy client, for each figure")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--sanitized", action="store_true")
    args = parser.parse_args()
    idle = idle_clients(args.idle)
    one_by_one(args, idle)
    more_than_its_share(args)
    demand_all_idle(idle, args.idle)


if __name__ == "__main__":
    main()
