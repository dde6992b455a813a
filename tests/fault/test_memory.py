#!/usr/bin/python3
"""P1 to P4 without memory: an allocation that fails is an error, or a connection less, and nothing else.

    test_memory.py [--runs N] [--threads N] [--seed N]

One scenario: start, contracts from files and over the wire, events, reads, connections, a restart, a stop. It
is run once to count its allocations, and then with the first failing, the second, the third..., each once, and
with all those after it as well; --runs takes so many of these, spread evenly (all of them by default).

In each run: what fails says that it was for want of memory, and what to do comes after it; nothing crashes; a
connection that was served before goes on reading; once memory is there, every event that was not acknowledged is
taken, each is applied exactly once, and what was acknowledged has the reply that it had; the state is the
model's, after a restart too, and replay's hash is the server's.
"""

import argparse
import mmap
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
import server as server_module  # noqa: E402

PRODUCT = server_module.holdfast()
FAULTY = str(pathlib.Path(PRODUCT).parents[2] / "tests/fault/holdfast-fault")
CONNECTIONS, EVENTS, ENTITIES = 6, 40, 7
TALLY = """\
---
title: tally
---
stateDiagram-v2
    %% field sum: u64
    [*] --> Open : Add(n: u64) [n > 0] / sum += n
    Open --> Open : Add(n: u64) [n > 0] / sum += n
    Open --> Shut : Close
    Shut --> [*]
"""
OTHER = TALLY.replace("tally", "other")


class Control:
    """What memory.c maps, too."""

    def __init__(self, folder):
        self.path = folder + "/control"
        pathlib.Path(self.path).write_bytes(bytes(32))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 32)

    def arm(self, fail_at, forever):
        self.map[:32] = struct.pack("4Q", fail_at, forever, 0, 0)

    def disarm(self):
        self.map[:8] = bytes(8)

    @property
    def count(self):
        return struct.unpack_from("Q", self.map, 16)[0]

    @property
    def armed(self):
        return struct.unpack_from("Q", self.map)[0] > 0

    @property
    def failed(self):
        return struct.unpack_from("Q", self.map, 24)[0]


class Wrong(Exception):
    """A promise is broken."""


def want(held, what, *about):
    if not held:
        raise Wrong(f"{what}: {about}")


def is_for_want_of_memory(text):
    return "memory" in text.lower()


class Client:
    """A connection that may be lost."""

    def __init__(self, server):
        self.connection = None
        try:
            self.connection = resp.Connection(server.connect())
        except OSError:
            pass

    def ask_all(self, commands):
        """The replies to a pipeline; None where there is none for want of memory. Other errors are the caller's."""
        replies = []
        try:
            if self.connection is not None:
                self.connection.send_raw(b"".join(resp.encode(*words) for words in commands))
                for _ in commands:
                    reply = self.connection.read()
                    lacking = isinstance(reply, resp.Error) and (
                        is_for_want_of_memory(reply) or "max number of clients" in reply)
                    replies.append(None if lacking else reply)
        except (resp.Closed, OSError):
            self.close()
        return replies + [None] * (len(commands) - len(replies))

    def ask(self, *words):
        return self.ask_all([words])[0]

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Scenario:
    """One run."""

    def __init__(self, control, args, fail_at, forever):
        self.control, self.args, self.forever = control, args, forever
        self.acknowledged = {}  # (key, id) -> reply
        self.events = [(f"k{i % ENTITIES}-{'x' * (i % 200)}", f"event-{i}", i + 1)
                       for i in range(CONNECTIONS * EVENTS)]
        control.arm(fail_at, forever)

    def struck(self):
        return self.control.failed > 0

    def start(self, server):
        """Starts it; if that fails for want of memory, again with memory."""
        try:
            server.start()
            return
        except server_module.StartError as error:
            want(self.struck(), "it does not start, and had memory", error)
            want(server.process.returncode == 1, "the exit code", server.process.returncode, error)
            want(is_for_want_of_memory(str(error)), "it says something else", error)
        self.control.disarm()
        server.start()

    def check_reply(self, event, reply):
        """A good one, and the same as before."""
        want(isinstance(reply, list) and len(reply) == 3, "not the reply of an event", event, reply)
        known = self.acknowledged.setdefault(event[:2], reply)
        want(known == reply, "another reply to the retry", event, known, reply)

    def send(self, client, events):
        """True if all of them were taken."""
        replies = client.ask_all([("HF.SEND", "tally", key, "Add", "n", n, "ID", event_id)
                                  for key, event_id, n in events])
        for event, reply in zip(events, replies):
            if reply is not None:
                self.check_reply(event, reply)
        return None not in replies

    def load(self, client):
        reply = client.ask("HF.CONTRACT", "LOAD", OTHER)
        want(reply is None or reply[0] == b"other", "the contract is not taken", reply)
        return reply is not None

    def read(self, client, must):
        """Each read is right, or is not."""
        for key in sorted({event[0] for event in self.events})[:20]:
            reply = client.ask("HF.GET", "tally", key, "version")
            want(reply is not None or not must, "a connection that was there reads no more", key)
            known = [r[1] for (k, _), r in self.acknowledged.items() if k == key]
            if isinstance(reply, resp.Error):
                want(reply.startswith("NOTFOUND") and not known, "a read", key, reply)
            elif reply is not None:
                want(reply[1] >= max(known, default=1), "an old version", key, reply, known)
                history = client.ask("HF.HISTORY", "tally", key)
                whole = isinstance(history, list) and len(history) >= reply[1]
                want(history is None or whole, "a short history", key, reply, history)

    def traffic(self, server):
        """Several connections, each with a pipeline's worth of events; then a contract, and reads."""
        witness = Client(server)
        was_there = witness.ask("HF.COUNT", "tally") is not None and witness.ask("PING") == "PONG"
        clients = [Client(server) for _ in range(CONNECTIONS)]
        for i, client in enumerate(clients):
            self.send(client, self.events[i::CONNECTIONS])
        self.load(witness)
        self.read(witness, must=was_there and witness.connection is not None)
        for client in clients + [witness]:
            client.close()

    def complete(self, server):
        """There is memory: everything goes through, and the state is the model's. Its hash."""
        if self.struck():
            self.control.disarm()
        client = Client(server)
        if not self.load(client) or not self.send(client, self.events):
            want(self.struck() and self.control.armed, "refused with memory", server.stderr)
            client.close()
            return self.complete(server)
        for key in {event[0] for event in self.events}:
            numbers = [n for k, _, n in self.events if k == key]
            reply = client.ask("HF.GET", "tally", key, "version", "sum")
            want(reply == [b"version", len(numbers), b"sum", str(sum(numbers)).encode()], "the state", key, reply)
        state_hash = client.ask("HF.HASH")
        client.close()
        return state_hash

    def run(self, server):
        self.start(server)
        self.traffic(server)
        before = self.complete(server)
        server.kill9()
        self.start(server)
        after = self.complete(server)
        want(before == after, "another state after the restart", before, after)
        want(server.terminate() == 0, "the exit code of a stop", server.process.returncode, server.stderr)
        replayed = subprocess.run([PRODUCT, "replay", server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        want(after[1].decode() in replayed, "replay's hash", after, replayed)


def run(control, args, fail_at, forever):
    """One run; the number of allocations it saw, and whether one failed."""
    os.environ["HOLDFAST"] = FAULTY
    server = server_module.Server(contracts={"tally": TALLY}, env={"HOLDFAST_FAULT_MEMORY": control.path}, args=[
        "--segment-size", str(1 << 20), "--threads", args.threads, "--max-clients", "64"])
    scenario = Scenario(control, args, fail_at, forever)
    try:
        scenario.run(server)
    except Exception as error:
        which = f"allocation {fail_at}{' and all after it' if forever else ''}"
        raise Wrong(f"{which}: {error}\n{server.stderr}") from error
    finally:
        server.close()
    return control.count, scenario.struck()


def spread(todo, count, rng):
    """So many of them, evenly; the first is chosen at random."""
    step = len(todo) / count
    first = rng.random() * step
    return [todo[int(first + i * step)] for i in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=0, help="0: all")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-fault-") as folder:
        control = Control(folder)
        total, _ = run(control, args, 0, 0)
        todo = [(n, forever) for n in range(1, total + 1) for forever in (0, 1)]
        if 0 < args.runs < len(todo):
            todo = spread(todo, args.runs, random.Random(args.seed))
        struck = sum(run(control, args, n, forever)[1] for n, forever in todo)
    print(f"{total} allocations; {len(todo)} runs, in {struck} of them one or more failed: nothing lost, nothing wrong")
    assert struck > len(todo) * 9 // 10, "hardly anything was tried"


if __name__ == "__main__":
    main()
