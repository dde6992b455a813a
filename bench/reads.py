"""Reads over the network: beside writes that saturate the server, and with a second network thread. By `load.c`."""
import json
import os
import statistics
from typing import NamedTuple

import client
import peers
import quiet

WRITERS, DEPTH = 16, 64  # connections of the process that writes, and the pipeline of each
GET_ORDER = "HF.GET order {}:# state version lsn"  # `load` takes the last integer for the LSN
FILL = "HF.SEND order o:# Fill n 1 ID {letter}@"
GET, SET = "GET key:#", "SET key:# " + "x" * 100


class Orders(peers.Holdfast):
    """Orders that are filled (o:), as many that are only read (r:), and plain keys."""

    def fill(self):
        super().fill()
        self.client.feed(["HF.SEND", "order", f"r:{i:012}", "Place", "q", peers.QTY, "p", "100", "s", "AAPL"]
                         for i in range(client.KEYS))
        self.client.feed(peers.plain_sets())
        self.applied = 3 * client.KEYS


class Server(NamedTuple):
    label: str
    kind: type
    flags: tuple
    pinned: bool  # the server on one core, the load on the other

    def start(self, options):
        """A peer of its kind with its flags, to be used as a context."""
        started = self.kind(options)
        started.arguments = self.flags
        started.pinned = self.pinned
        return started


ONE = Server("--threads 1", Orders, ("--threads", "1"), True)
TWO = Server("--threads 2", Orders, ("--threads", "2"), False)
REDIS = Server("Redis, no AOF", peers.RedisSet, (), True)
ALWAYS = Server("Redis, always", peers.RedisSetAlways, (), True)


class Beside(NamedTuple):
    """A row: what is read by how many connections, one request at a time each, and what is written meanwhile."""
    name: str
    label: str
    server: Server
    connections: int
    read: str
    write: str

    def tells_lsn(self):
        """Can it be told whether a read showed what nobody had been told of?"""
        return self.read.startswith("HF.GET")


BESIDE = [
    Beside("one", "HF.GET, other orders", ONE, 1, GET_ORDER.format("r"), FILL),
    Beside("one same", "HF.GET, the same orders", ONE, 1, GET_ORDER.format("o"), FILL),
    Beside("one plain", "GET beside SET", ONE, 1, GET, SET),
    Beside("one 50", "HF.GET, other orders, 50 connections", ONE, 50, GET_ORDER.format("r"), FILL),
    Beside("two", "HF.GET, other orders", TWO, 1, GET_ORDER.format("r"), FILL),
    Beside("two same", "HF.GET, the same orders", TWO, 1, GET_ORDER.format("o"), FILL),
    Beside("two 50", "HF.GET, other orders, 50 connections", TWO, 50, GET_ORDER.format("r"), FILL),
    Beside("redis", "GET beside SET", REDIS, 1, GET, SET),
    Beside("redis 50", "GET beside SET, 50 connections", REDIS, 50, GET, SET),
    Beside("always", "GET beside SET", ALWAYS, 1, GET, SET),
]


class Scaling(NamedTuple):
    """A row: reads through full pipelines from two processes; the scheduler places all."""
    name: str
    label: str
    server: Server
    read: str


IO_THREADS = ("--io-threads", "2", "--io-threads-do-reads", "yes")
SCALING = [
    Scaling("HF.GET 1", "HF.GET", ONE._replace(pinned=False), GET_ORDER.format("r")),
    Scaling("HF.GET 2", "HF.GET", TWO, GET_ORDER.format("r")),
    Scaling("GET 1", "GET", ONE._replace(pinned=False), GET),
    Scaling("GET 2", "GET", TWO, GET),
    Scaling("redis 1", "GET", Server("Redis", peers.RedisSet, (), False), GET),
    Scaling("redis 2", "GET", Server("Redis, io-threads 2", peers.RedisSet, IO_THREADS, False), GET),
]


# ---- measuring -----------------------------------------------------------------------------------

def run_load(options, peer, read, write, letter, *flags):
    """The windows that `load` tells of, idle ones first. Counts what was written as applied."""
    pin = ["taskset", "-c", client.CLIENT_CPU] if peer.pinned else []
    text, status = client.output_of(
        [*pin, os.path.join(options.tools, "load"), "-p", str(peer.port), "-s", str(peer.process.pid),
         "-d", str(DEPTH), "-k", str(client.KEYS), "-t", str(options.window_s), *map(str, flags),
         read, write.replace("{letter}", letter)])
    if status != 0:
        raise client.Failed(f"load, {peer.label}: {text.strip()}")
    *windows, last = map(json.loads, text.splitlines())
    if write.split()[0] in ("HF.SEND", "SET"):
        peer.applied += last["replies"]
    peer.check()
    return [[window for window in windows if window["pumping"] is pumping] for pumping in (False, True)]


def middle(windows, figure):
    return statistics.median(figure(window) for window in windows)


def beside(options, peer, row, letter):
    """One run of a row."""
    watch = quiet.Watch(peer.process.pid)
    calm, busy = run_load(options, peer, row.read, row.write, letter, "-c", row.connections, "-m", WRITERS,
                          "-w", options.windows)
    result = {"noisy": watch.stop()["noisy"],
              "ratio": statistics.median(b["p99"] / a["p99"] for a, b in zip(calm, busy))}
    for prefix, windows in (("calm ", calm), ("busy ", busy)):
        for name in ("p50", "p99", "p999", "known_p99"):
            result[prefix + name] = middle(windows, lambda window, name=name: window[name])
        for name in ("reads", "pumped", "server_s", "probe_s", "pumps_s"):
            result[prefix + name] = middle(windows, lambda window, name=name: window[name] / window["seconds"])
        result[prefix + "unknown"] = middle(windows, lambda window: 1 - window["known"] / window["reads"])
    return result


def scaling(options, peer, row):
    watch = quiet.Watch(peer.process.pid)
    _calm, busy = run_load(options, peer, row.read, row.read, "", "-c", 0, "-n", 2, "-m", WRITERS // 2,
                           "-w", options.windows)
    return {"noisy": watch.stop()["noisy"],
            "rate": middle(busy, lambda window: window["pumped"] / window["seconds"]),
            "server": middle(busy, lambda window: window["server_s"] / window["seconds"]),
            "pumps": middle(busy, lambda window: window["pumps_s"] / window["seconds"]),
            "server_us": middle(busy, lambda window: window["server_s"] * 1e6 / window["pumped"])}


def servers(rows):
    """Rows by server, each server once, in their order."""
    return {row.server: [other for other in rows if other.server == row.server] for row in rows}


def run(options, runs, say):
    """All rows, `options.rounds` times; adds to `runs`, by name."""
    for turn in range(1, options.rounds + 1):
        for server, rows in servers(BESIDE).items():
            with server.start(options) as peer:
                for row, letter in zip(rows, "abcdefgh"):
                    result = beside(options, peer, row, letter)
                    runs.setdefault(f"beside {row.name}", []).append(result)
                    say(f"round {turn}  {server.label:20} {row.label:38} p99 {result['calm p99']:6,.0f} us, "
                        f"{result['busy p99']:6,.0f} beside writes{'  ~' if result['noisy'] else ''}")
        for server, rows in servers(SCALING).items():
            with server.start(options) as peer:
                for row in rows:
                    result = scaling(options, peer, row)
                    runs.setdefault(f"scaling {row.name}", []).append(result)
                    say(f"round {turn}  {server.label:20} {row.label:38} {result['rate']:>12,.0f} reads/s"
                        f"{'  ~' if result['noisy'] else ''}")
