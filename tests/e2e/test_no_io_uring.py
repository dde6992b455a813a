#!/usr/bin/python3
"""Where io_uring is forbidden, as in containers: the server says so, and keeps the same promises.

A seccomp filter refuses io_uring_setup for this process and all it starts, the way Docker's does.
"""

import ctypes
import pathlib
import platform
import struct
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, skip  # noqa: E402

ORDER = (ROOT / "examples/order/order.mmd").read_text()
PLACE = ("q", "10", "p", "1", "s", "ACME")

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
IO_URING_SETUP = 425  # on every architecture
EPERM = 1


# What holds a network thread up for some 40 ms: a contract whose states all lead on by many events.
LONG = "---\ntitle: long\n---\nstateDiagram-v2\n    [*] --> s0 : E0\n" + "".join(
    f"    s{i % 900} --> s{(i + 1) % 900} : E{i % 200}\n" for i in range(2000))


class Program(ctypes.Structure):
    """struct sock_fprog"""
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def forbid_io_uring():
    """False if this kernel takes no filter."""
    load_number, equal, give = 0x20, 0x15, 0x06
    code = b"".join(struct.pack("<HBBI", *line) for line in (
        (load_number, 0, 0, 0),
        (equal, 0, 1, IO_URING_SETUP),
        (give, 0, 0, 0x00050000 | EPERM),
        (give, 0, 0, 0x7fff0000),
    ))
    program = Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None).prctl
    return (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


class NoIoUring(unittest.TestCase):
    """Loud, and the same."""

    def test_says_so_and_works(self):
        """A warning with the reason; events are durable across kill -9; retries get their reply."""
        with Server(contracts={"order": ORDER}) as server:
            self.assertRegex(server.stderr, "WARNING: io_uring is not available: .*plain calls")
            self.assertIn("plain calls in a log thread", server.stderr)
            first = []
            with resp.Connection(server.connect()) as connection:
                for key in range(100):
                    first.append(connection.call("HF.SEND", "order", str(key), "Place", *PLACE, "ID", "p"))
                before = connection.call("HF.HASH")
            server.kill9()
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), before)
                for key in range(100):
                    again = connection.call("HF.SEND", "order", str(key), "Place", *PLACE, "ID", "p")
                    self.assertEqual(again, first[key])
            self.assertEqual(server.terminate(), 0)

    def test_a_commit_swallows_nothing(self):
        """
        What comes while the network thread is busy is read in the pass that also sees the end of a flush. It has to be
        flushed itself, even if nothing is ever written behind it.
        """
        with Server() as server:
            first, slow, second = (resp.Connection(server.connect()) for _ in range(3))
            second.sock.settimeout(10)
            for i in range(20):
                first.send_raw(resp.encode("SET", "first", i))
                time.sleep(0.0001)
                slow.send_raw(resp.encode("HF.CONTRACT", "CHECK", LONG))
                time.sleep(0.0005)  # the first one's flush ends, and the second one comes, during the check
                second.send_raw(resp.encode("SET", "second", i))
                self.assertEqual([first.read(), second.read()], ["OK", "OK"])
                self.assertRegex(slow.read(), "BADCONTRACT ")
            for connection in (first, slow, second):
                connection.close()
            self.assertEqual(server.terminate(), 0)


if __name__ == "__main__":
    if platform.system() != "Linux" or not forbid_io_uring():
        skip("this kernel takes no seccomp filter")
    unittest.main()
