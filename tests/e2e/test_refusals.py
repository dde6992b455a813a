#!/usr/bin/python3
"""P3 and P7: the refusal table. Each case has its error, which names the thing, and changes nothing.

What concerns the protocol's framing (truncated, huge, never read) is in tests/interop.
"""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, StartError  # noqa: E402

ORDER = (ROOT / "examples/order/order.mmd").read_text()
NUMBERS = """\
---
title: numbers
---
stateDiagram-v2
    %% version 3
    %% field u: u64
    %% field i: i64
    %% field b: bool
    %% field s: bytes(4)
    %% invariant u <= 18446744073709551614
    %% invariant i != 13
    [*] --> On
    On --> On : Set(v: u64, w: i64, x: bool, y: bytes(4)) / u = v, i = w, b = x, s = y
    On --> On : AddU(n: u64) / u += n
    On --> On : SubU(n: u64) / u -= n
    On --> On : AddI(n: i64) / i += n
    On --> On : Times(n: i64) / i = i * n
    On --> On : Over(n: u64) / u = u / n
    On --> On : Sum(n: u64) [u + n > 0] / u = n
    On --> On : Never [now < 5]
    On --> Off : Stop
    Off --> [*]
"""
KEY_MAX, ID_MAX, NAME_MAX = 255, 255, 63
PLACE = ("q", "10", "p", "-5", "s", "ACME")


def bad(text, old, new):
    """The text with one thing changed."""
    assert old in text
    return text.replace(old, new, 1)


class Refusals(unittest.TestCase):
    """One server; every test sees that it changes nothing."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(contracts={"order": ORDER, "numbers": NUMBERS})
        cls.addClassCleanup(cls.server.close)
        cls.server.start()
        cls.connection = resp.Connection(cls.server.connect())
        cls.addClassCleanup(cls.connection.close)
        call = cls.connection.call
        call("HF.SEND", "order", "1", "Place", *PLACE, "ID", "first")
        call("HF.SEND", "order", "1", "Fill", "n", "4")
        call("HF.SEND", "order", "2", "Place", *PLACE)
        call("HF.SEND", "order", "2", "Fill", "n", "10")
        call("HF.SEND", "numbers", "1", "Set", "v", "7", "w", "-7", "x", "true", "y", "abcd")

    def picture(self):
        """All that must not change."""
        entities = [("order", "1"), ("order", "2"), ("order", "3"), ("numbers", "1")]
        return [self.connection.call("HF.HASH"),
                *(self.connection.call("HF.GET", *name) for name in entities),
                *(self.connection.call("HF.HISTORY", *name) for name in entities),
                self.connection.call("HF.COUNT", "order"), self.connection.call("HF.COUNT", "numbers")]

    def refused(self, words, first, *named):
        """The command ends in an error that starts with `first` and names these things, and changes nothing."""
        before = self.picture()
        reply = self.connection.call(*words)
        self.assertIsInstance(reply, resp.Error, f"{words} was accepted: {reply!r}")
        self.assertEqual(reply.split()[0], first, reply)
        for name in named:
            self.assertIn(name, reply)
        self.assertNotIn("\n", reply)
        self.assertEqual(self.picture(), before)
        return reply

    def send(self, first, *words_and_names):
        """refused() for HF.SEND; the names to be found in the error follow a None."""
        split = words_and_names.index(None)
        return self.refused(("HF.SEND", *words_and_names[:split]), first, *words_and_names[split + 1:])

    # ---- the contract says no

    def test_wrong_event(self):
        self.send("REFUSED", "order", "2", "Fill", "n", "1", None,
                  "order:2", "Filled", "version 2", "Fill", "Open")
        self.send("REFUSED", "order", "3", "Cancel", None, "order:3", "Cancel", "Open")
        self.send("REFUSED", "order", "1", "Place", *PLACE, None, "order:1", "Open", "Place")

    def test_guard_false(self):
        self.send("REFUSED", "order", "1", "Fill", "n", "7", None,
                  "order:1", "Fill", "filled + n")
        self.send("REFUSED", "order", "3", "Place", "q", "0", "p", "1", "s", "x", None, "q > 0")
        self.send("REFUSED", "numbers", "1", "Never", None, "now < 5")

    def test_overflow(self):
        self.send("REFUSED", "numbers", "1", "AddU", "n", "18446744073709551615", None,
                  "numbers:1", "overflow")
        self.send("REFUSED", "numbers", "1", "SubU", "n", "8", None, "numbers:1", "overflow")
        self.send("REFUSED", "numbers", "1", "AddI", "n", "-9223372036854775802", None, "overflow")
        self.send("REFUSED", "numbers", "1", "Times", "n", "9223372036854775807", None, "overflow")
        self.send("REFUSED", "numbers", "1", "Over", "n", "0", None, "numbers:1", "zero")
        self.send("REFUSED", "numbers", "1", "Sum", "n", "18446744073709551615", None, "overflow")

    def test_invariant_broken(self):
        self.send("REFUSED", "numbers", "1", "AddU", "n", "18446744073709551608", None,
                  "numbers:1", "u <= 18446744073709551614")
        self.send("REFUSED", "numbers", "1", "AddI", "n", "20", None, "numbers:1", "i != 13")

    # ---- names

    def test_unknown_contract(self):
        self.send("NOTFOUND", "ordr", "1", "Fill", "n", "1", None, "ordr")
        for command in ("HF.GET", "HF.HISTORY"):
            self.refused((command, "ordr", "1"), "NOTFOUND", "ordr")
        self.refused(("HF.COUNT", "ordr"), "NOTFOUND", "ordr")
        self.refused(("HF.CONTRACT", "SHOW", "ordr"), "NOTFOUND", "ordr")

    def test_unknown_entity(self):
        self.refused(("HF.GET", "order", "3"), "NOTFOUND", "order:3")
        self.refused(("HF.HISTORY", "order", "3"), "NOTFOUND", "order:3")

    def test_unknown_event(self):
        self.send("BADEVENT", "order", "1", "Fil", "n", "1", None, "order", "Fil")

    def test_unknown_param(self):
        self.send("BADPARAM", "order", "1", "Fill", "n", "1", "m", "2", None, "Fill", "m")
        self.send("BADPARAM", "order", "1", "Cancel", "why", "2", None, "Cancel", "why")

    def test_missing_param(self):
        self.send("BADPARAM", "order", "1", "Fill", None, "Fill", "n")
        self.send("BADPARAM", "order", "3", "Place", "q", "1", "s", "x", None, "Place", "p")

    def test_repeated_param(self):
        self.send("BADPARAM", "order", "1", "Fill", "n", "1", "n", "1", None, "n")

    def test_param_without_value(self):
        reply = self.refused(("HF.SEND", "order", "1", "Fill", "n"), "BADPARAM", "n")
        self.assertTrue("value" in reply, reply)

    # ---- values

    def test_wrong_type(self):
        for value in ("", "x", "-1", "1.5", "0x1", " 1", "1 ", "18446744073709551616"):
            self.send("BADPARAM", "order", "1", "Fill", "n", value, None, "n", "u64")
        for value in ("x", "9223372036854775808", "-9223372036854775809", "--1"):
            self.send("BADPARAM", "numbers", "1", "AddI", "n", value, None, "n", "i64")
        for value in ("1", "True", "TRUE", ""):
            self.send("BADPARAM", "numbers", "1", "Set", "v", "1", "w", "1", "x", value, "y", "", None,
                      "x", "true", "false")

    def test_value_too_long(self):
        self.send("TOOBIG", "order", "3", "Place", "q", "1", "p", "1", "s", "x" * 13, None,
                  "s", "12", "13")
        self.send("TOOBIG", "order", "3", "Place", "q", "1", "p", "1", "s", "x" * 100000, None, "s")

    def test_key_too_long(self):
        key = "k" * (KEY_MAX + 1)
        self.send("TOOBIG", "order", key, "Place", *PLACE, None, "key", str(KEY_MAX))
        self.refused(("HF.GET", "order", key), "TOOBIG", "key", str(KEY_MAX))
        self.send("TOOBIG", "order", "3", "Place", *PLACE, "ID", "i" * (ID_MAX + 1), None, str(ID_MAX))

    def test_empty_key_or_id(self):
        self.send("BADPARAM", "order", "", "Place", *PLACE, None, "key")
        self.send("BADPARAM", "order", "3", "Place", *PLACE, "ID", "", None, "ID")

    # ---- versions and ids

    def test_stale_version(self):
        self.send("STALE", "order", "1", "Fill", "n", "1", "IFVERSION", "1", None,
                  "order:1", "version 2", "1")
        self.send("STALE", "order", "1", "Fill", "n", "1", "IFVERSION", "3", None, "version 2")
        self.send("STALE", "order", "3", "Place", *PLACE, "IFVERSION", "1", None, "order:3", "0")
        self.send("BADPARAM", "order", "1", "Fill", "n", "1", "IFVERSION", "two", None, "IFVERSION")

    def test_id_reused(self):
        self.send("BADPARAM", "order", "1", "Cancel", "ID", "first", None, "first", "order:1")
        self.send("BADPARAM", "order", "1", "Place", *PLACE[:-1], "OTHER", "ID", "first", None, "first")

    # ---- contracts

    def test_contract_that_does_not_parse(self):
        for text, named in (
                ("", "stateDiagram"),
                ("flowchart TD\n  A --> B\n", "stateDiagram-v2"),
                (bad(ORDER, "Open --> Cancelled", "Open -> Cancelled"), ":14:"),
                (bad(ORDER, "filled += n", "filed += n"), "filed"),
                (bad(ORDER, "[q > 0]", "[q > ]"), ":11:"),
                (bad(ORDER, "field qty: u64", "field qty: u63"), "u63")):
            for command in ("CHECK", "LOAD"):
                self.refused(("HF.CONTRACT", command, text), "BADCONTRACT", named)

    def test_same_version_with_changed_text(self):
        changed = bad(ORDER, "[q > 0]", "[q > 1]")
        self.refused(("HF.CONTRACT", "LOAD", changed), "REFUSED", "order", "version 1")

    def test_earlier_version(self):
        earlier = bad(NUMBERS, "version 3", "version 2")
        self.refused(("HF.CONTRACT", "LOAD", earlier), "REFUSED", "numbers", "version 3", "version 2")

    def test_upgrade_that_drops_a_field(self):
        later = bad(bad(ORDER, "version 1", "version 2"), "        %% field price: i64\n".lstrip(" "), "")
        later = bad(later, ", price = p", "")
        self.refused(("HF.CONTRACT", "LOAD", later), "REFUSED", "price")

    def test_upgrade_that_changes_a_type(self):
        later = bad(bad(ORDER, "version 1", "version 2"), "price: i64", "price: u64")
        later = bad(later, "p: i64", "p: u64")
        self.refused(("HF.CONTRACT", "LOAD", later), "REFUSED", "price", "i64")

    def test_upgrade_that_drops_a_state_in_use(self):
        later = bad(ORDER, "version 1", "version 2").replace("Filled", "Done")
        self.refused(("HF.CONTRACT", "LOAD", later), "REFUSED", "Filled")

    # ---- commands

    def test_arity(self):
        for words in (("HF.SEND",), ("HF.SEND", "order"), ("HF.SEND", "order", "1"), ("HF.GET", "order"),
                      ("HF.COUNT",), ("HF.HASH", "x"), ("HF.CONTRACT",), ("HF.CONTRACT", "LOAD")):
            self.refused(words, "ERR", words[0].lower())
        self.refused(("HF.NONESUCH",), "ERR", "unknown command")
        self.refused(("HF.CONTRACT", "NONESUCH"), "ERR", "NONESUCH")

    def test_unknown_field(self):
        self.refused(("HF.GET", "order", "1", "colour"), "BADPARAM", "colour")

    def test_unknown_state(self):
        self.refused(("HF.COUNT", "order", "Nowhere"), "NOTFOUND", "Nowhere")


class Directory(unittest.TestCase):
    """What must keep a server from starting, and leave every byte as it was. A damaged log is in test_replay.py."""

    def setUp(self):
        self.temp = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        self.addCleanup(self.temp.cleanup)
        self.data = pathlib.Path(self.temp.name, "data")
        with Server(contracts={"order": ORDER}, data=self.data) as server:
            with resp.Connection(server.connect()) as connection:
                for key in range(50):
                    reply = connection.call("HF.SEND", "order", key, "Place", *PLACE)
                    self.assertEqual(reply[:2], [b"Open", 1])
                self.hash = connection.call("HF.HASH")
            self.assertEqual(server.terminate(), 0)

    def bytes_on_disk(self):
        """Everything in the directory."""
        return {path: path.read_bytes() for path in self.data.rglob("*") if path.is_file()}

    def test_second_process(self):
        with Server(contracts={"order": ORDER}, data=self.data) as server:
            before = self.bytes_on_disk()
            with self.assertRaises(StartError) as raised:
                with Server(contracts={"order": ORDER}, data=self.data):
                    pass
            self.assertIn(str(self.data), str(raised.exception))
            self.assertIn("in use", str(raised.exception))
            self.assertIn(str(server.process.pid), str(raised.exception))
            self.assertEqual(self.bytes_on_disk(), before)
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), self.hash)


if __name__ == "__main__":
    unittest.main()
