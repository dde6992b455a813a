#!/usr/bin/python3
"""A full disk: events are refused before any effect, all else goes on, and so do events when there is room again.

On ext4 (in a file, on a loop device) and on tmpfs, both small. Skips where mounting is not allowed.
"""

import os
import pathlib
import random
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import mounts  # noqa: E402
import resp  # noqa: E402
import shelf  # noqa: E402
from server import Server, StartError, skip  # noqa: E402

DISK_SIZE = 12 << 20
SEGMENT = 1 << 20
ARGS = ["--segment-size", str(SEGMENT)]
BOOKINGS = 10000  # more than the prepared segments take
BATCH = 100
PATIENCE_SECONDS = 20  # the segment maker tries again each second
NO_ROOM = "STOPPED no room for the next log segment"
# Larger than any event: what is left of the segment does not take it.
OTHER_CONTRACT = shelf.CONTRACT.replace("shelf", "other") + "%% " + 60000 * "-" + "\n"
NEW = ("HF.SEND", "shelf", "new", "Add", "n", 1, "ID", "new-1")


def info(connection):
    """The figures of INFO holdfast."""
    lines = connection.call("INFO", "holdfast").decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


class FullDisk:
    """The same for each file system."""

    def setUp(self):
        self.temp = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        self.addCleanup(self.temp.cleanup)
        self.path = pathlib.Path(self.temp.name, "mnt")
        self.path.mkdir()
        self.mount()
        self.addCleanup(mounts.run, "umount", "-l", str(self.path))
        self.data = self.path / "data"
        rng = random.Random(1)
        self.bookings = shelf.bookings_of(rng, 0, BOOKINGS, 250)
        self.keys = shelf.keys_of(self.bookings)
        self.acknowledged = {}

    def fill(self):
        """Takes all room."""
        with open(self.path / "ballast", "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 16, 1 << 12):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    pass

    def empty(self):
        """Gives it back."""
        (self.path / "ballast").unlink()

    def serve(self, *args):
        return Server(contracts={"shelf": shelf.CONTRACT}, data=self.data, args=[*ARGS, *args])

    def book(self, connection):
        """Books until all is booked or something is refused; the refusal."""
        todo = [booking for booking in self.bookings if booking[:2] not in self.acknowledged]
        for start in range(0, len(todo), BATCH):
            batch = todo[start:start + BATCH]
            connection.send_raw(b"".join(map(shelf.command, batch)))
            refusal = None
            for key, event_id, _n in batch:
                reply = connection.read()
                if isinstance(reply, resp.Error):
                    refusal = refusal or reply
                else:
                    self.assertIsNone(refusal, "taken after one was refused, with no room")
                    self.acknowledged[key, event_id] = reply
            if refusal:
                return refusal
        return None

    def check_whole(self, connection):
        """Reads go on, and what was acknowledged is all there is."""
        total = shelf.check(connection, self.keys, self.acknowledged, {})
        self.assertEqual(total, len(self.acknowledged))
        self.assertEqual(connection.call("HF.HASH")[0], total + 1)
        shelf.retry(connection, self.bookings, self.acknowledged)

    def check_refuses(self, connection):
        """Nothing changes."""
        before = connection.call("HF.HASH"), connection.call("HF.COUNT", "shelf")
        refused = connection.call(*NEW)
        self.assertIsInstance(refused, resp.Error)
        self.assertTrue(refused.startswith(NO_ROOM) and "No space left" in refused, refused)
        refused = connection.call("HF.CONTRACT", "LOAD", OTHER_CONTRACT)
        self.assertTrue(isinstance(refused, resp.Error) and refused.startswith(NO_ROOM), refused)
        self.assertTrue(connection.call("HF.GET", "shelf", "new").startswith("NOTFOUND"))
        self.assertEqual((connection.call("HF.HASH"), connection.call("HF.COUNT", "shelf")), before)
        self.assertEqual(connection.call("PING"), "PONG")

    def until_taken(self, connection):
        """The new event's reply, once it is not refused for want of room."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            reply = connection.call(*NEW)
            if not isinstance(reply, resp.Error) or time.monotonic() > until:
                return reply
            self.assertTrue(reply.startswith(NO_ROOM), reply)
            time.sleep(0.05)

    def fills_up(self, in_order, *args):
        """Full; still full after the server's end, in order or by kill -9; and not full any more."""
        with self.serve(*args) as server:
            with resp.Connection(server.connect()) as connection:
                self.fill()
                refusal = self.book(connection)
                self.assertTrue(refusal and refusal.startswith(NO_ROOM), refusal)
                self.assertGreater(len(self.acknowledged), SEGMENT // 1000)
                self.check_refuses(connection)
                self.assertEqual(server.stderr.count("WARNING: no room for the next log segment"), 1)
                self.check_whole(connection)
                digest = connection.call("HF.HASH")
            if in_order:
                self.assertEqual(server.terminate(), 0)
            else:
                server.kill9()
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), digest)
                self.book(connection)
                self.check_refuses(connection)
                self.check_whole(connection)
                self.empty()
                lsn = connection.call("HF.HASH")[0]
                self.assertEqual(self.until_taken(connection), [b"Filling", 1, lsn + 1])
                self.assertIn("there is room for the next log segment again", server.stderr)
            self.assertEqual(server.terminate(), 0)
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call(*NEW), [b"Filling", 1, lsn + 1])

    def test_io_uring(self):
        """Flushes from the sequencer."""
        self.fills_up(False)

    def test_log_thread(self):
        """Flushes from a thread."""
        self.fills_up(True, "--flush", "thread")

    def test_a_segments_end(self):
        """Full to a segment's last byte, with no room for the next one: an end in order is one all the same."""
        with self.serve() as server:
            with resp.Connection(server.connect()) as connection:
                self.fill()
                reply = "OK"
                while reply == "OK":
                    left = SEGMENT - int(info(connection)["log_bytes"]) % SEGMENT
                    reply = connection.call("SET", "key", min(left - 200, 60000) * "v")
                self.assertTrue(reply.startswith(NO_ROOM), reply)
                self.assertEqual(left, SEGMENT)
            self.assertEqual(server.terminate(), 0)
            self.empty()
            server.restart()
            self.assertEqual(server.terminate(), 0)

    def test_new_log(self):
        """No room for a log's first segment: said, and nothing is left that is in the way later."""
        self.data.mkdir()
        self.fill()
        os.truncate(self.path / "ballast", (self.path / "ballast").stat().st_size - SEGMENT // 4)
        first = self.data / "log-0000000000000000.hfl"
        with self.assertRaisesRegex(StartError, f"{first}.making: cannot (reserve|write).*: No space left on device; "
                                                "a new log begins with two segments: --segment-size"):
            with self.serve():
                pass
        self.empty()
        with self.serve() as server, resp.Connection(server.connect()) as connection:
            self.assertEqual(connection.call(*NEW), [b"Filling", 1, 2])


class Tmpfs(FullDisk, unittest.TestCase):
    """In memory."""

    def mount(self):
        mounts.run("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(self.path))


class Ext4(FullDisk, unittest.TestCase):
    """On a loop device."""

    def mount(self):
        image = pathlib.Path(self.temp.name, "image")
        with open(image, "wb") as file:
            file.truncate(DISK_SIZE)
        mounts.run("mkfs.ext4", "-q", "-m", "0", str(image))
        mounts.run("mount", "-o", "loop", "-t", "ext4", str(image), str(self.path))


if __name__ == "__main__":
    WHY_NOT = mounts.why_not("mkfs.ext4")
    if WHY_NOT is not None:
        skip(WHY_NOT)
    unittest.main()
