#!/usr/bin/python3
"""P7: replies of 67 MB, a dozen at once, cost bounded memory, and the others do not wait for them.

    test_large_replies.py [--clients N] [--threads N] [--sanitized]

Each client names keys with the longest values that there may be, 1,023 times, in one MGET, and sends other commands
behind it. At first nobody reads; then all do, while one of the keys gets new values; then some hang up in the
middle. Throughout a PING is answered, and memory stays under the cap that docs/operations.md states. Whoever reads
gets the right values in the right order, of the key that changes one whole version, and then the other replies.
--sanitized is for a sanitizer's build, whose memory and time are mostly the sanitizer's.
"""

import argparse
import pathlib
import selectors
import socket
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import crowds  # noqa: E402
import memory  # noqa: E402
import resp  # noqa: E402
from server import Server  # noqa: E402

MIB = memory.MIB
VALUE = 65536
NAMED = 1023
CHANGING = 500  # the place of a key that gets new values
KEYS = [b"changing" if i == CHANGING else b"k%d" % (i % 128) for i in range(NAMED)]
MAX_CLIENTS = 64
HELD_MAX = 2 * MIB + 256 * 1024  # for one client: a buffer for a mebibyte of replies and a part, and its command
ABSURD_S = 1.0  # a PING; it took 4 s when such a reply was made in one go
UNREAD_PINGS = 200


def value(number):
    return b"%08d" % number * (VALUE // 8)


def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


BEFORE = b"*%d\r\n" % NAMED + b"".join(bulk(value(i % 128)) for i in range(CHANGING))
BEHIND = b"".join(bulk(value(i % 128)) for i in range(CHANGING + 1, NAMED))
CHANGING_SIZE = len(bulk(value(0)))


class Reader:
    """A client with a long MGET and more behind it, which compares what it reads with what it must be."""

    def __init__(self, port, number, least):
        self.sock = crowds.connect(port)
        own = b"own%d" % number
        self.least, self.changing = least, b""  # what is acknowledged of the changing key; what was read of it
        rest = b"+OK\r\n" + bulk(own) + b"*2\r\n" + bulk(value(7)) + b"$-1\r\n" + b"+PONG\r\n"
        self.left, self.at = [BEFORE, None, BEHIND, rest], 0
        self.sock.sendall(resp.encode("MGET", *KEYS) + resp.encode("SET", own, own) + b'GET "%s"\r\n' % own
                          + resp.encode("MGET", KEYS[7], "none") + b"PING\r\n")
        self.sock.setblocking(False)

    def read(self, newest):
        """Some of it; True at the end."""
        data = self.sock.recv(1 << 20)
        assert data, "closed in the middle"
        while data:
            assert self.left, data[:100]
            wanted = self.left[0]
            count = min(len(data), (CHANGING_SIZE if wanted is None else len(wanted)) - self.at)
            some, data = data[:count], data[count:]
            if wanted is None:
                self.changing += some
            else:
                assert wanted.startswith(some, self.at), some[:100]
            self.at += count
            if self.at == (CHANGING_SIZE if wanted is None else len(wanted)):
                self.left.pop(0)
                self.at = 0
        if self.changing and None not in self.left:
            self.check_changing(newest)
            self.changing = b""
        return not self.left

    def check_changing(self, newest):
        """One version, whole: none from before the request, and none from the future."""
        number = int(self.changing[8:16])
        assert self.changing == bulk(value(number)), "not of one version"
        assert self.least <= number <= newest, f"{number} is not from {self.least} to {newest}"


class Watch:
    """Another client, that sees to it that the server answers, and what it holds."""

    def __init__(self, server, args):
        self.server, self.connection = server, resp.Connection(server.connect())
        self.threads, self.sanitized = int(args.threads), args.sanitized
        self.newest = CHANGING
        self.taken = []

    def info(self):
        text = self.connection.call("INFO").decode()
        return {name: int(number) for name, _, number in (line.partition(":") for line in text.splitlines())
                if number.isdigit()}

    def ping(self):
        begin = time.perf_counter()
        assert self.connection.call("PING") == "PONG"
        self.taken.append(time.perf_counter() - begin)

    def change(self):
        self.newest += 1
        assert self.connection.call("SET", KEYS[CHANGING], value(self.newest)) == "OK"

    def look(self, clients):
        now = self.info()
        peak, cap = memory.peak(self.server), memory.cap(now, self.threads)
        assert peak < cap or self.sanitized, f"{peak} bytes, the cap is {cap}"
        assert now["mem_clients_normal"] <= clients * HELD_MAX + MIB, now["mem_clients_normal"]
        assert now["evicted_clients"] == 0, now["evicted_clients"]
        return now

    def conclude(self, name, clients):
        now = self.look(clients)
        taken, self.taken = sorted(self.taken), []
        print("%-20s %5d PINGs: p50 %6.2f ms, longest %6.2f ms; %3d MiB of buffers, %4d MiB in all, at most" % (
            name, len(taken), taken[len(taken) // 2] * 1e3, taken[-1] * 1e3, now["mem_clients_normal"] // MIB,
            memory.peak(self.server) // MIB), flush=True)
        assert taken[-1] < ABSURD_S or self.sanitized, f"a PING took {taken[-1]} s"


def nobody_reads(watch, readers):
    for _ in range(UNREAD_PINGS):
        watch.ping()
        watch.look(len(readers))
    watch.conclude("nobody reads", len(readers))


def all_read(watch, readers, clients):
    """They read all; so many clients are there, at most."""
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.sock, selectors.EVENT_READ, reader)
    rounds = 0
    while selector.get_map():
        for key, _events in selector.select():
            if key.data.read(watch.newest):
                selector.unregister(key.fileobj)
        rounds += 1
        if rounds % 10 == 0:
            watch.ping()
        if rounds % 100 == 0:
            watch.change()
            watch.look(clients)
    watch.conclude("all read" if clients == len(readers) else "others hang up", clients)


def some_hang_up(server, watch, clients):
    """After some of the reply or none, in order or with a reset; who stays gets all."""
    stays = Reader(server.port, clients, watch.newest)
    for number in range(clients):
        reader = Reader(server.port, number, watch.newest)
        reader.sock.setblocking(True)
        for _ in range(number):
            reader.read(watch.newest)
        if number % 2 == 0:
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, crowds.RESET)
        reader.sock.close()
        watch.ping()
    all_read(watch, [stays], clients + 1)
    end = time.monotonic() + 30
    while watch.info()["connected_clients"] > 2:
        assert time.monotonic() < end, "who hung up is still there"
    stays.sock.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--sanitized", action="store_true")
    args = parser.parse_args()
    with Server(args=["--max-clients", str(MAX_CLIENTS), "--threads", args.threads]) as server:
        with resp.Connection(server.connect()) as connection:
            places = dict(zip(KEYS, range(NAMED)))
            values = {key: value(place if key == b"changing" else place % 128) for key, place in places.items()}
            connection.send_raw(b"".join(resp.encode("SET", *pair) for pair in values.items()))
            assert {connection.read() for _ in values} == {"OK"}
        watch = Watch(server, args)
        readers = [Reader(server.port, number, watch.newest) for number in range(args.clients)]
        nobody_reads(watch, readers)
        all_read(watch, readers, len(readers))
        for reader in readers:
            reader.sock.close()
        some_hang_up(server, watch, args.clients)
        assert server.terminate() == 0, server.stderr


if __name__ == "__main__":
    main()
