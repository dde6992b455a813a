"""The servers of the table: how each is started, filled, told to do its work, and asked what it cost."""
import glob
import os
import re
import shutil
import socket
import subprocess
import time

import client

SERVER_CPU = "0"
CONTRACT_DIR = "examples/order"
START_TIMEOUT_S = 30
QTY = "1000000000000"  # of each order: more than any run will fill
ID = "{letter}__rand_int____rand_int__"  # 25 bytes out of 10^10 per run: see README.md
FILL = ["HF.SEND", "order", "o:__rand_int__", "Fill", "n", "1", "ID", ID]
PLACE_ID = "p{:024}"


SET = ["-t", "set", "-d", "100"]
GET = ["-t", "get"]


def plain_sets():
    """A value for each key that redis-benchmark asks for."""
    return (["SET", f"key:{i:012}", "x" * 100] for i in range(client.KEYS))


def order_key(i):
    return f"o:{i:012}"  # as redis-benchmark writes __rand_int__


class Peer:
    """One server process on a free port of loopback, with a fresh directory that it fills, or with `path` as it is.
    Use it as a context; the process ends with it."""
    name = label = ""
    arguments = ()  # more of them, for its command line

    def __init__(self, bench, path=None):
        self.bench = bench  # the options of bench/run
        self.fresh = path is None
        self.dir = path or os.path.join(bench.data, "peer")
        self.log = os.path.join(bench.data, f"{self.name}.log")
        self.process = self.port = self.client = None
        self.applied = 0  # events that it must have taken by now
        self.pinned = bench.pinned

    def __enter__(self):
        if self.fresh:
            shutil.rmtree(self.dir, ignore_errors=True)
            os.makedirs(self.dir)
        pin = ["taskset", "-c", SERVER_CPU] if self.pinned else []
        with open(self.log, "wb") as log:
            # It dies with us, however we die.
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *pin, *self.command_line(),
                                             *self.arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_until_ready()
            self.client = client.Client(self.port, self.pinned)
            if self.fresh:
                self.fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.fresh and not self.bench.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    raise client.Failed(f"{self.label} did not start:\n{log.read()[-2000:]}")
            time.sleep(0.01)

    def is_ready(self):
        """Our own servers say so on stderr, with the port that they got."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            found = re.search(r"^ready: .*:(\d+)$", log.read(), re.MULTILINE)
        self.port = int(found[1]) if found else None
        return bool(found)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def command_line(self):
        raise NotImplementedError

    def fill(self):
        """What must be there before the first event."""

    def work(self):
        """What redis-benchmark sends."""
        return FILL

    def disk_bytes(self):
        return None

    def counted_bytes(self):
        """What the server itself says its data takes in memory."""
        return None

    def flushes(self):
        """Writes made durable so far."""
        return None

    def check(self):
        """Raises Failed unless it applied every event, each once."""


class Holdfast(Peer):
    name, label = "holdfast", "Holdfast"
    flags = []

    def command_line(self):
        return [self.bench.holdfast, "serve", "--data", self.dir, "--contracts", CONTRACT_DIR,
                "--listen", "127.0.0.1:0", *self.flags]

    def fill(self):
        self.client.feed(["HF.SEND", "order", order_key(i), "Place", "q", QTY, "p", "100", "s", "AAPL", "ID",
                          PLACE_ID.format(i)] for i in range(client.KEYS))
        self.applied = client.KEYS

    def figures(self):
        return {name: int(value) for name, value in self.client.info("holdfast").items() if value.isdigit()}

    def disk_bytes(self):
        return self.figures()["log_bytes"]

    def flushes(self):
        return self.figures()["flushes"]

    def counted_bytes(self):
        return sum(value for name, value in self.figures().items() if name.startswith("memory_"))

    def check(self):
        events = self.figures()["events"]
        if events != self.applied:
            raise client.Failed(f"{self.label} applied {events} of {self.applied} events")


class HoldfastSet(Holdfast):
    """Plain keys: the very commands that the Redis rows do."""
    name, label = "set", "Holdfast, SET of 100 bytes"

    def fill(self):
        self.client.feed(plain_sets())
        self.applied = client.KEYS

    def work(self):
        return SET


class HoldfastGet(HoldfastSet):
    name, label = "get", "Holdfast, GET of 100 bytes"

    def work(self):
        return GET

    def check(self):
        if self.figures()["events"] != client.KEYS:
            raise client.Failed(f"{self.label} wrote something")


class HoldfastNoSync(Holdfast):
    name, label = "nosync", "Holdfast --no-sync"
    flags = ["--no-sync"]


class Redis(Peer):
    options = ["--appendonly", "no"]

    def command_line(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.dir, "--save", "",
                "--auto-aof-rewrite-percentage", "0", "--daemonize", "no", *self.options]

    def is_ready(self):
        return client.output_of(["redis-cli", "-p", str(self.port), "PING"])[0] == "PONG\n"

    def fill(self):
        self.client.feed(plain_sets())

    def work(self):
        return SET

    def disk_bytes(self):
        return sum(os.path.getsize(path) for path in glob.glob(f"{self.dir}/appendonlydir/*.aof"))

    def counted_bytes(self):
        return int(self.client.info("memory")["used_memory"])


class RedisLua(Redis):
    name, label = "lua", "(a) Redis, Lua life cycle, always"
    options = ["--appendonly", "yes", "--appendfsync", "always"]
    sha = None

    def fill(self):
        with open(os.path.join(os.path.dirname(__file__), "order.lua"), encoding="utf-8") as file:
            self.sha = self.client.ask("SCRIPT", "LOAD", file.read())
        self.client.feed(["EVALSHA", self.sha, "1", order_key(i), "Place", QTY, PLACE_ID.format(i)]
                         for i in range(client.KEYS))
        self.applied = client.KEYS

    def work(self):
        return ["EVALSHA", self.sha, "1", "o:__rand_int__", "Fill", "1", ID]

    def check(self):
        events = int(self.client.ask("XLEN", "orders"))
        if events != self.applied:
            raise client.Failed(f"{self.label} applied {events} of {self.applied} events")


class RedisSetAlways(Redis):
    name, label = "always", "(b) Redis, SET of 100 bytes, always"
    options = ["--appendonly", "yes", "--appendfsync", "always"]


class RedisSet(Redis):
    name, label = "volatile", "(c) Redis, SET of 100 bytes, no AOF"

    def disk_bytes(self):
        return None


class RedisGet(RedisSet):
    name, label = "redis-get", "Redis, GET of 100 bytes, no AOF"

    def work(self):
        return GET


class Limit(Peer):
    name, label = "limit", "(d) the limit: parse, say +OK"

    def command_line(self):
        return [os.path.join(self.bench.tools, "limit")]


ALL = [Holdfast, HoldfastNoSync, RedisLua, RedisSetAlways, RedisSet, Limit, HoldfastSet, HoldfastGet, RedisGet]
