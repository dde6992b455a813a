#!/usr/bin/python3
"""A disk with sectors of 4 KiB: the log's sectors of 512 bytes cannot be written directly there.

A loop device with such sectors under ext4. Skips where those are not allowed.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, skip  # noqa: E402

ORDER = (ROOT / "examples/order/order.mmd").read_text()


class Disk:
    """A mounted file system on 4 KiB sectors."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-test-"))
        self.image, self.mount = self.dir / "image", self.dir / "mount"
        self.device = None

    def attach(self):
        """False if this machine does not allow it."""
        if os.geteuid() != 0 or not all(map(shutil.which, ("losetup", "mkfs.ext4", "mount"))):
            return False
        self.mount.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(64 << 20)
        made = subprocess.run(["losetup", "--sector-size", "4096", "-f", "--show", self.image],
                              capture_output=True, text=True)
        if made.returncode != 0:
            return False
        self.device = made.stdout.strip()
        return all(subprocess.run(command, capture_output=True).returncode == 0 for command in (
            ["mkfs.ext4", "-q", "-b", "4096", self.device], ["mount", self.device, self.mount]))

    def detach(self):
        """Takes everything away."""
        subprocess.run(["umount", self.mount], capture_output=True)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], capture_output=True)
        shutil.rmtree(self.dir)


class BigSectors(unittest.TestCase):
    """It says that it goes through the page cache, and works."""

    def test_serves_and_recovers(self):
        """A new log, and an old one after kill -9."""
        with Server(contracts={"order": ORDER}, data=str(DISK.mount / "data"),
                    args=["--segment-size", "1048576"]) as server:
            self.assertIn("WARNING: no direct writes", server.stderr)
            with resp.Connection(server.connect()) as connection:
                for key in range(50):
                    connection.call("HF.SEND", "order", str(key), "Place", "q", "9", "p", "1", "s", "A")
                before = connection.call("HF.HASH")
            server.kill9()
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), before)
                self.assertEqual(connection.call("HF.SEND", "order", "7", "Cancel"), [b"Cancelled", 2, 52])
            self.assertEqual(server.terminate(), 0)


if __name__ == "__main__":
    DISK = Disk()
    try:
        if not DISK.attach():
            skip("needs root, loop devices with 4 KiB sectors and ext4")
        result = unittest.main(exit=False).result
    finally:
        DISK.detach()
    sys.exit(0 if result.wasSuccessful() else 1)
