#!/usr/bin/python3
"""A log write fails: nothing more is acknowledged, the reason is said, and a restart has all that was acknowledged."""

import resource
import sys

from common import Closed, Connection, Error, ORDER, Server, encode, equal, place, run


SEGMENT = 1 << 20
WITNESS = 8192  # bytes: it is written some time after an acknowledgement, and fails the log, too


def refuse_writes(server, begin=WITNESS):
    """From now on every write of the process to a file fails that reaches this offset (EFBIG)."""
    hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (begin, hard))


def replies_until_closed(conn):
    replies = []
    try:
        while True:
            replies.append(conn.read())
    except (Closed, ConnectionError):
        return replies


def fail_stop(args):
    with Server(contracts={"order": ORDER}, args=args) as server:
        with Connection(server.connect()) as conn, Connection(server.connect()) as other:
            for number in range(100):  # the log is longer than the witness
                equal(conn.call(*place(f"kept-{number}"))[1], 1)
            digest = conn.call("HF.HASH")
            refuse_writes(server)
            equal(conn.call("PING"), "PONG")
            conn.send_raw(encode(*place("lost")) + encode("PING"))
            # The reply that waits for the disk never comes, nor does what stands behind it.
            equal([r for r in replies_until_closed(conn) if not isinstance(r, Error)], [])
            equal([r for r in replies_until_closed(other) if not isinstance(r, Error)], [])
        equal(server.wait(), 1)
        for said in ("offset", "File too large", "restart"):
            assert said in server.stderr, server.stderr
        server.start()
        with Connection(server.connect()) as conn:
            equal(conn.call("HF.HASH"), digest)
            equal(conn.call("HF.GET", "order", "kept-99", "version"), [b"version", 1])


def test_one_thread():
    fail_stop([])


def test_log_thread():
    fail_stop(["--flush", "thread"])


def test_two_threads():
    fail_stop(["--threads", "2"])


def test_no_part_of_a_long_mget_is_shown_before_it_is_durable():
    """Values are read part by part, and one of them, in the middle, never gets to the disk."""
    old, new = b"o" * 65536, b"n" * 65536
    with Server(args=["--segment-size", str(SEGMENT)]) as server:
        with Connection(server.connect()) as writer, Connection(server.connect()) as reader:
            for key in range(8):
                equal(writer.call("SET", key, old), "OK")
            refuse_writes(server)
            writer.send_raw(encode("SET", 4, new))
            reader.send_raw(encode("MGET", *range(8)) + encode("GET", 4))
            head = b"*8\r\n" + 4 * (b"$65536\r\n" + old + b"\r\n")
            shown = b""
            try:
                while part := reader.sock.recv(1 << 16):
                    shown += part
            except ConnectionError:
                pass
            assert head.startswith(shown), shown[len(head):][:100]
        equal(server.wait(), 1)


def test_segment_cannot_be_made():
    """The log's own writes go well, but its next file cannot be made, and not for want of room."""
    with Server(contracts={"order": ORDER}, args=["--segment-size", str(SEGMENT)]) as server:
        with Connection(server.connect()) as conn:
            equal(conn.call(*place("kept"))[1], 1)  # later ones may all be too late
            acknowledged = 1
            refuse_writes(server, SEGMENT - 1)
            try:
                for batch in range(100):
                    conn.send_raw(b"".join(encode(*place(f"{batch}-{i}" + 200 * "-")) for i in range(100)))
                    for _ in range(100):
                        acknowledged += not isinstance(conn.read(), Error)
            except (Closed, ConnectionError):
                pass
        equal(server.wait(), 1)
        for said in ("the next log segment cannot be made: ", ".hfl.making: ", "File too large", "restart"):
            assert said in server.stderr, server.stderr
        server.start()
        with Connection(server.connect()) as conn:
            lsn = conn.call("HF.HASH")[0]
            assert lsn > acknowledged, (lsn, acknowledged)


if __name__ == "__main__":
    sys.exit(1 if run(globals()) else 0)
