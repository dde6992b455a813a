"""Clients that mean no good, each kind a process of its own.

    with Crowd(kind, port, count):   # all of them are there, and go on until the end

A kind is a function of the port, the number of clients, and two events: `ready`, which it sets, and `stop`.
"""

import contextlib
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import threading

import machine
import resp

READY_S = 60
SMALL_BUFFER = 4096
HUGE = 131072  # the longest string of a command
BIG_KEY = "big"  # a key with a long history
SCANNED = 250  # keys, each nearly as long as may be
RESET = struct.pack("ii", 1, 0)


class Crowd:
    """`kind` at work, from entry to exit."""

    def __init__(self, kind, port, count):
        self.stop = multiprocessing.Event()
        self.ready = multiprocessing.Event()
        self.process = multiprocessing.Process(target=_run, args=(kind, port, count, self.ready, self.stop),
                                               daemon=True)

    def __enter__(self):
        self.process.start()
        assert self.ready.wait(READY_S), "the hostile clients are not there"
        return self

    def __exit__(self, *exc):
        self.stop.set()
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Crowds:
    """Several, each (kind, count)."""

    def __init__(self, port, parts):
        self.crowds = [Crowd(kind, port, count) for kind, count in parts]
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        for crowd in self.crowds:
            self.stack.enter_context(crowd)
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def pids(self):
        return [crowd.process.pid for crowd in self.crowds]


class _Elsewhere:
    """
    Hostile clients are other machines. Here, once they are all there (`ready`), they get the processor time that
    nobody else wants, and of one processor only: else the scheduler gives them, now and then, the server's for some
    milliseconds.
    """

    def __init__(self, ready):
        self.ready = ready

    def set(self):
        for thread in os.listdir("/proc/self/task"):
            machine.stand_back(int(thread))
            os.sched_setaffinity(int(thread), {max(os.sched_getaffinity(0))})
        self.ready.set()


def _run(kind, port, count, ready, stop):
    machine.die_with_parent()
    machine.leave_group()
    kind(port, count, _Elsewhere(ready), stop)


def connect(port, small=False):
    sock = socket.socket()
    if small:  # so that what is not read stays with the server
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    sock.connect(("127.0.0.1", port))
    return sock


def connect_all(port, count, small=False):
    socks = []
    for _ in range(count):
        socks.append(connect(port, small))
        socks[-1].setblocking(False)
    return socks


def push(sock, data):
    """Sends what goes; what is left. None if the server has closed it."""
    try:
        return data[sock.send(data):]
    except BlockingIOError:
        return data
    except OSError:
        return None


def idle(port, count, ready, stop):
    """They do nothing."""
    socks = connect_all(port, count)
    ready.set()
    stop.wait()
    for sock in socks:
        sock.close()


def slow_readers(port, count, ready, stop):
    """Each wants megabytes, and reads 64 bytes a tenth of a second."""
    wish = resp.encode("HF.HISTORY", "order", BIG_KEY, "COUNT", 1000) * 20
    socks = connect_all(port, count, small=True)
    for sock in socks:
        push(sock, wish)
    ready.set()
    while not stop.wait(0.1):
        for sock in socks:
            try:
                sock.recv(64)
            except OSError:
                pass


def deaf(port, count, ready, stop):
    """They ask, and ask, and never read."""
    wish = resp.encode("HF.HISTORY", "order", BIG_KEY, "COUNT", 1000) * 200
    left = [(sock, wish) for sock in connect_all(port, count, small=True)]
    ready.set()
    while not stop.wait(0.05):
        left = [(sock, push(sock, data) or wish) for sock, data in left]


def loris(port, count, ready, stop):
    """One byte at a time of a command that never ends."""
    socks = connect_all(port, count)
    ready.set()
    data = resp.encode("HF.SEND", "order", "loris", "Place", "q", "1", "p", "1", "s", "x" * 60000)
    for byte in data:
        if stop.wait(0.02):
            break
        for sock in socks:
            push(sock, bytes([byte]))


def announcers(port, count, ready, stop):
    """Each announces the longest string there may be, sends nearly all of it, and waits."""
    data = b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % HUGE + b"x" * (HUGE - 1)
    left = [(sock, data) for sock in connect_all(port, count)]
    while any(data for _sock, data in left) and not stop.is_set():
        left = [(sock, push(sock, data) if data else data) for sock, data in left]
    ready.set()
    stop.wait()


def historians(port, count, ready, stop):
    """They want long histories, one after the other, and read them all."""
    wish = resp.encode("HF.HISTORY", "order", BIG_KEY, "COUNT", 1000) * 10
    pour(connect_all(port, count), wish, ready, stop)


def scanners(port, count, ready, stop):
    """They look for what is not there, by a pattern that nearly matches every key, over and over."""
    socks = connect_all(port, count)
    with resp.Connection(connect(port)) as connection:
        for i in range(SCANNED):
            connection.call("SET", b"%03d" % i + b"a" * 252, "v")
    wish = resp.encode("SCAN", 0, "MATCH", b"*" + b"a" * 127 + b"b", "COUNT", SCANNED) * 10
    pour(socks, wish, ready, stop)


def flood(port, count, ready, stop):
    """Pipelines as fast as they go, all replies read."""
    chunk = b"".join(resp.encode("HF.SEND", "order", f"flood{i}", "Fill", "n", "1") for i in range(200))
    socks = connect_all(port, count)
    for i in range(200):
        socks[0].setblocking(True)
        socks[0].sendall(resp.encode("HF.SEND", "order", f"flood{i}", "Place", "q", 1 << 40, "p", 1, "s", "x"))
        socks[0].setblocking(False)
    pour(socks, chunk, ready, stop)


def pour(socks, chunk, ready, stop):
    """Sends it again and again, and reads what comes."""
    selector = selectors.DefaultSelector()
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
    left = dict.fromkeys(socks, chunk)
    ready.set()
    while not stop.is_set():
        for key, events in selector.select(0.1):
            sock = key.fileobj
            try:
                if events & selectors.EVENT_READ:
                    sock.recv(1 << 16)
            except BlockingIOError:
                pass
            if events & selectors.EVENT_WRITE:
                left[sock] = push(sock, left[sock]) or chunk


def cutters(port, count, ready, stop):
    """They come, send a part of a pipeline, and are gone."""
    chunk = b"".join(resp.encode("HF.SEND", "order", f"cut{i}", "Place", "q", "1", "p", "1", "s", "x")
                     for i in range(20))

    def cut():
        at = 0
        while not stop.is_set():
            try:
                with connect(port) as sock:
                    at = (at + 37) % len(chunk)
                    sock.sendall(chunk[:at])
                    if at % 2:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass

    threads = [threading.Thread(target=cut) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.set()
    for thread in threads:
        thread.join()
