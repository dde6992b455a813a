#!/usr/bin/python3
"""P5 and P6: a replay gives the hash of every LSN; what is not intact is named and stops it.

Also what scripts rely on: exit codes 0, 1 and 2, data on stdout, --json.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, StartError, holdfast  # noqa: E402

ORDER = (ROOT / "examples/order/order.mmd").read_text()
STOCK = (ROOT / "examples/stock/stock.mmd").read_text()
SECTOR = 512
SEGMENT_SIZE = "1048576"
SEED = 5


def run(*args):
    """One call of the command line."""
    return subprocess.run([holdfast(), *map(str, args)], capture_output=True, text=True, timeout=60)


def crc(seed, data):
    """The CRC of docs/format/log.md, bit by bit: only for a sector."""
    for byte in data:
        seed ^= byte
        for _ in range(8):
            seed = seed >> 1 ^ (0x82F63B78 if seed & 1 else 0)
    return seed


class Directory(unittest.TestCase):
    """A directory with a few hundred records, some of them in frames of one, and the hash after each."""

    @classmethod
    def setUpClass(cls):
        cls.temp = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        cls.addClassCleanup(cls.temp.cleanup)
        cls.data = pathlib.Path(cls.temp.name, "data")
        cls.hashes = {}
        rng = random.Random(SEED)
        with Server(contracts={"order": ORDER, "stock": STOCK}, data=cls.data,
                    args=["--segment-size", SEGMENT_SIZE]) as server:
            with resp.Connection(server.connect()) as connection:
                def note():
                    lsn, state_hash = connection.call("HF.HASH")
                    cls.hashes[lsn] = state_hash.decode()
                note()
                for number in range(300):
                    key = rng.randrange(40)
                    connection.call("HF.SEND", "order", key, "Place", "q", 50, "p", -1, "s", "A\0\xff",
                                    "ID", number)
                    note()
                    connection.call("HF.SEND", "order", key, "Fill", "n", rng.randrange(1, 30))
                    note()
                    connection.call("HF.SEND", "stock", "s", "Receive", "n", number + 1)
                    note()
                later = ORDER.replace("version 1", "version 2").replace("[q > 0]", "[q > 7]")
                assert not isinstance(connection.call("HF.CONTRACT", "LOAD", later), resp.Error)
                note()
                cls.upgrade = max(cls.hashes)
                connection.call("HF.SEND", "order", "new", "Place", "q", 9, "p", 0, "s", "")
                note()
            assert server.terminate() == 0
        cls.last = max(cls.hashes)

    def segment(self):
        """The first file of the log, and how much of it is used."""
        path = min(self.data.glob("log-*"))
        return path, len(path.read_bytes().rstrip(b"\0"))


class Replay(Directory):
    """An intact log."""

    def summary(self, *args):
        """The JSON of a replay that must succeed."""
        done = run("replay", self.data, "--json", *args)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_every_lsn(self):
        """--until gives the hash that HF.HASH had."""
        self.assertEqual(set(self.hashes), set(range(2, self.last + 1)), "the LSNs have holes")
        events = {lsn: state_hash for lsn, state_hash in self.hashes.items() if lsn != self.upgrade}
        self.assertEqual(len(set(events.values())), len(events), "two states, one hash")
        rng = random.Random(SEED)
        for lsn in [2, 3, self.last - 1, self.last, *rng.sample(range(4, self.last - 1), 16)]:
            summary = self.summary("--until", lsn, *rng.choice([[], ["--verify"]]))
            self.assertEqual((summary["lsn"], summary["state_hash"]), (lsn, self.hashes[lsn]))

    def test_same_events_same_hash(self):
        """However the entities' events are interleaved, and at whatever time, the hash is the same; otherwise not."""
        events = [("Place", "q", 5, "p", 1, "s", "X"), ("Fill", "n", 2), ("Fill", "n", 3)]
        keys = range(5)
        orders = [[(key, event) for key in keys for event in events],
                  [(key, event) for event in events for key in reversed(keys)],
                  [(key, event) for key in keys for event in events][:-1] + [(9, events[0])]]
        hashes = []
        for order in orders:
            with Server(contracts={"order": ORDER}) as server:
                with resp.Connection(server.connect()) as connection:
                    for key, event in order:
                        reply = connection.call("HF.SEND", "order", key, *event)
                        self.assertNotIsInstance(reply, resp.Error)
                    hashes.append(connection.call("HF.HASH"))
        self.assertEqual(hashes[0], hashes[1])
        self.assertEqual(hashes[0][0], hashes[2][0])
        self.assertNotEqual(hashes[0][1], hashes[2][1])

    def test_summary(self):
        whole = self.summary("--verify")
        self.assertEqual((whole["lsn"], whole["state_hash"]), (self.last, self.hashes[self.last]))
        self.assertEqual(whole["events"], self.last - 3)  # three records are contracts
        text = run("replay", self.data)
        self.assertEqual(text.returncode, 0)
        for part in (str(self.last), whole["state_hash"]):
            self.assertIn(part, text.stdout)

    def test_plain_keys(self):
        """They are counted, by replay and for each snapshot, as text and as JSON."""
        with Server() as server:
            with resp.Connection(server.connect()) as connection:
                for key in "abc":
                    connection.call("SET", key, 1)
                connection.call("DEL", "b")
                self.assertNotIsInstance(connection.call("HF.SNAPSHOT"), resp.Error)
            self.assertEqual(server.terminate(), 0)
            replayed = json.loads(run("replay", server.data_dir, "--json").stdout)
            self.assertEqual((replayed["events"], replayed["entities"], replayed["plain_keys"]), (4, 0, 2))
            self.assertRegex(run("replay", server.data_dir).stdout, r"(?m)^plain keys  2$")
            [snapshot] = json.loads(run("log", "verify", server.data_dir, "--json").stdout)["snapshots"]
            self.assertEqual((snapshot["entities"], snapshot["plain_keys"], snapshot["ids"]), (0, 2, 0))
            self.assertIn(" entities 0 plain_keys 2 ids 0 ", run("log", "verify", server.data_dir).stdout)

    def test_reads_only(self):
        """The tools change nothing, and work beside a server."""
        before = {path: path.read_bytes() for path in self.data.iterdir()}
        for args in (["replay", self.data], ["replay", self.data, "--verify"], ["log", "verify", self.data],
                     ["log", "dump", self.data]):
            self.assertEqual(run(*args).returncode, 0, args)
        self.assertEqual({path: path.read_bytes() for path in self.data.iterdir()}, before)

    def test_dump(self):
        """One line per record, in order, with what was sent."""
        lines = [json.loads(line) for line in run("log", "dump", self.data, "--json").stdout.splitlines()]
        self.assertEqual([line["lsn"] for line in lines], list(range(1, self.last + 1)))
        self.assertEqual(sum("text" in line for line in lines), 3)
        last = lines[-1]
        self.assertEqual((last["contract"], last["key"], last["event"]), ("order", "new", "Place"))
        text = run("log", "dump", self.data)
        self.assertEqual(text.returncode, 0)
        self.assertGreaterEqual(len(text.stdout.splitlines()), self.last)

    def test_output_that_is_lost(self):
        """What could not be written where it was to go is no success."""
        for args in (["replay", self.data, "--json"], ["log", "verify", self.data], ["log", "dump", self.data]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([holdfast(), *map(str, args)], stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(b"the output could not be written", done.stderr)

    def test_no_log(self):
        """A directory without a log, of which nothing is proven, is not one with an empty log, which is."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            for args in (["replay", temp], ["replay", temp, "--verify"], ["log", "verify", temp]):
                done = run(*args)
                self.assertEqual((done.returncode, done.stdout), (1, ""), args)
                self.assertIn(f"{temp}: no log is here (no file log-0000000000000000.hfl)", done.stderr)
        with Server() as server:
            server.terminate()
            for args in (["replay", server.data_dir, "--verify"], ["log", "verify", server.data_dir]):
                self.assertEqual(run(*args).returncode, 0, args)

    def test_a_witness_that_was_being_made(self):
        """Cut off in the first start: nothing was logged, so nothing can be lost. Where something was, it is damage."""
        with Server() as server:
            server.kill9()
            witness = pathlib.Path(server.data_dir, "acked.hfw")
            witness.write_bytes(b"")
            verified = run("log", "verify", server.data_dir)
            self.assertEqual(verified.returncode, 0, verified.stderr)
            self.assertIn("acked.hfw is not made yet; nothing is logged", verified.stdout)
            server.start()
            self.assertNotIn("acked.hfw", server.stderr)
            with resp.Connection(server.connect()) as connection:
                connection.call("SET", "a", "1")
            server.kill9()
            witness.write_bytes(b"")
            self.assertIn("acked.hfw is damaged", run("log", "verify", server.data_dir).stdout)

    def test_usage(self):
        for args in (["replay"], ["replay", self.data, "--until", "x"], ["replay", self.data, "--nonesuch"],
                     ["log"], ["log", "dmp", self.data], ["log", "dump"]):
            done = run(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertNotEqual(done.stderr, "", args)
        for args in (["replay", "/nonesuch"], ["log", "verify", "/nonesuch"], ["log", "dump", "/nonesuch"]):
            done = run(*args)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn("/nonesuch", done.stderr)
        beyond = run("replay", self.data, "--until", self.last + 1)
        self.assertNotEqual(beyond.returncode, 0)
        self.assertIn(str(self.last), beyond.stderr)


class Dump(unittest.TestCase):
    """`log dump --json` gives back the bytes that were sent: text as text, anything else in hex."""

    def test_names(self):
        """A contract keeps the name that it was recorded with, if that ends in .mmd as its file does."""
        texts = ["stateDiagram-v2\n    [*] --> Here : Come\n", "stateDiagram-v2\n    [*] --> There : Come\n"]
        with Server(contracts={"order": texts[0], "order.mmd": texts[1], "x.mmd": texts[1] + "%% its own\n",
                               "y.mmd": "---\ntitle: called\n---\n" + texts[0]}) as server:
            names = ["order", "order.mmd", "x.mmd", "called"]
            with resp.Connection(server.connect()) as connection:
                for name in names:
                    self.assertNotIsInstance(connection.call("HF.SEND", name, "k", "Come"), resp.Error)
            for snapshot in (False, True):
                if snapshot:
                    with resp.Connection(server.connect()) as connection:
                        self.assertNotIsInstance(connection.call("HF.SNAPSHOT"), resp.Error)
                self.assertEqual(server.terminate(), 0)
                dumped = run("log", "dump", "--json", server.data_dir)
                lines = [json.loads(line) for line in dumped.stdout.splitlines()]
                self.assertEqual([line["contract"] for line in lines if "event" in line], names)
                server.start()
                with resp.Connection(server.connect()) as connection:
                    for name, state in zip(names, ("Here", "There", "There", "Here")):
                        reply = connection.call("HF.GET", name, "k")
                        self.assertIn(state.encode(), reply)

    ODD = [b"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\xa6\x9e", b"\"\\\t\x00\x7f{}", b'{"hex":"00"}', b"\xef\xbf\xbd",
           b"\xc3\xa9\xff", b"\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", bytes(range(200))]

    @staticmethod
    def had(value):
        """The bytes of a string of it, as docs/format/log.md says."""
        return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])

    def test_bytes(self):
        with Server(contracts={"order": ORDER + "    %% caf\u00e9 \u2013\n"}) as server:
            with resp.Connection(server.connect()) as connection:
                for odd in self.ODD:
                    reply = connection.call("HF.SEND", "order", odd, "Place", "q", 1, "p", 1, "s", odd[:12],
                                            "ID", odd[:60])
                    self.assertNotIsInstance(reply, resp.Error)
                    self.assertEqual(connection.call("SET", odd, odd + odd), "OK")
                self.assertEqual(connection.call("DEL", *self.ODD), len(self.ODD))
            self.assertEqual(server.terminate(), 0)
            dumped = subprocess.run([holdfast(), "log", "dump", "--json", server.data_dir], stdout=subprocess.PIPE,
                                    timeout=60, check=True).stdout
        lines = [json.loads(line) for line in dumped.decode().splitlines()]
        self.assertIn("%% caf\u00e9 \u2013", lines[0]["text"])
        events = [line for line in lines if "event" in line]
        self.assertEqual([tuple(map(self.had, (line["key"], line["params"]["s"], line["id"]))) for line in events],
                         [(odd, odd[:12], odd[:60]) for odd in self.ODD])
        self.assertEqual([(self.had(line["set"]), self.had(line["value"])) for line in lines if "set" in line],
                         [(odd, odd + odd) for odd in self.ODD])
        self.assertEqual([self.had(key) for key in lines[-1]["delete"]], self.ODD)
        # What can be read is not in hex.
        self.assertEqual([line["key"] for line in events[:4]], [odd.decode() for odd in self.ODD[:4]])


class Damage(Directory):
    """Every kind of damage to the log."""

    def setUp(self):
        self.path, self.used = self.segment()
        self.whole = self.path.read_bytes()
        self.addCleanup(self.path.write_bytes, self.whole)

    def stopped(self, data, *named):
        """With these bytes as the log, nothing goes on: each command ends with 1 and names the file and the place."""
        self.path.write_bytes(data)
        for args in (["replay", self.data], ["log", "verify", self.data],
                     ["serve", "--data", self.data, "--listen", "127.0.0.1:0"]):
            done = run(*args)
            self.assertEqual(done.returncode, 1, (args, done.stdout, done.stderr))
            for name in (self.path.name, *named):
                self.assertIn(name, done.stderr, args)
        self.assertEqual(self.path.read_bytes(), data, "the damaged log was changed")

    def test_flipped_bits(self):
        """A flipped bit anywhere in the used part is caught, or it was in padding and the state is the same."""
        rng = random.Random(SEED)
        caught = 0
        for _ in range(60):
            offset = rng.randrange(self.used - 2 * SECTOR)
            data = bytearray(self.whole)
            data[offset] ^= 1 << rng.randrange(8)
            self.path.write_bytes(data)
            done = run("replay", self.data)
            if done.returncode == 0:
                self.assertEqual(self.whole[offset], 0, f"a flip at {offset} was not seen")
                self.assertIn(self.hashes[self.last], done.stdout)
            else:
                self.assertEqual(done.returncode, 1)
                self.assertIn(self.path.name, done.stderr)
                caught += 1
        self.assertGreater(caught, 10)

    def test_first_frame(self):
        data = bytearray(self.whole)
        data[SECTOR + 60] ^= 1
        self.stopped(data, str(SECTOR))

    def test_middle_frame(self):
        middle = self.used // 2 // SECTOR * SECTOR
        data = bytearray(self.whole)
        data[middle:middle + 8] = bytes(b ^ 255 for b in data[middle:middle + 8])
        self.stopped(data, "offset")

    def test_swapped_sectors(self):
        """Two frames that are whole, each in the other's place."""
        frames = [at for at in range(SECTOR, self.used, SECTOR) if self.whole[at:at + 4] == b"HFG1"]
        pairs = [(a, b) for a, b in zip(frames[20:], frames[21:]) if b - a == SECTOR]
        a, b = pairs[0]
        data = bytearray(self.whole)
        data[a:a + SECTOR], data[b:b + SECTOR] = self.whole[b:b + SECTOR], self.whole[a:a + SECTOR]
        self.stopped(data, str(a))

    def test_lost_sector(self):
        """A write that the disk acknowledged and never made."""
        frames = [at for at in range(SECTOR, self.used, SECTOR) if self.whole[at:at + 4] == b"HFG1"]
        data = bytearray(self.whole)
        data[frames[30]:frames[30] + SECTOR] = bytes(SECTOR)
        self.stopped(data, str(frames[30]))

    def test_truncated_file(self):
        self.stopped(self.whole[:self.used // 2])

    def test_unknown_version(self):
        """A later format, whole in itself (see docs/format/log.md)."""
        sector = bytearray(self.whole[:SECTOR])
        self.assertEqual(int.from_bytes(sector[8:12], "little"), 2)
        self.assertEqual(int.from_bytes(sector[12:16], "little"),
                         crc(0xFFFFFFFF, sector[:12] + bytes(4) + sector[16:]))
        sector[8:12] = (3).to_bytes(4, "little")
        sector[12:16] = crc(0xFFFFFFFF, sector[:12] + bytes(4) + sector[16:]).to_bytes(4, "little")
        self.stopped(bytes(sector) + self.whole[SECTOR:], "version 3")

    def test_another_file(self):
        self.stopped(b"this is not a log\n" * 4096)


class InUse(unittest.TestCase):
    """A log that grows while it is read: what stood there at some moment, and no damage."""

    def test_readers(self):
        with Server(args=["--segment-size", SEGMENT_SIZE]) as server:
            with resp.Connection(server.connect()) as connection:
                over = threading.Event()

                def write():
                    while not over.is_set():
                        connection.call("SET", "key", "v" * 3000)

                writer = threading.Thread(target=write)
                writer.start()
                try:
                    lsns = [self.read(server.data_dir) for _ in range(12)]
                finally:
                    over.set()
                    writer.join()
            self.assertEqual(lsns, sorted(lsns))
            self.assertGreater(lsns[-1], lsns[0], "it did not grow")

    def test_snapshots_come_and_go(self):
        """A snapshot that was there when a reader looked is removed for younger ones before it gets to it."""
        with Server(args=["--segment-size", SEGMENT_SIZE]) as server:
            with resp.Connection(server.connect()) as connection:
                over = threading.Event()

                def take():
                    while not over.is_set():
                        connection.call("SET", "key", "v")
                        assert not isinstance(connection.call("HF.SNAPSHOT"), resp.Error)

                taker = threading.Thread(target=take)
                taker.start()
                try:
                    for _ in range(12):
                        self.read(server.data_dir)
                finally:
                    over.set()
                    taker.join()

    def read(self, path):
        """The last LSN, as far as replay is concerned."""
        done = run("log", "verify", path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = run("replay", path, "--verify", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)["lsn"]


class Torn(unittest.TestCase):
    """A log that was not closed: what a power cut tore behind its last frame is cut off, no more."""

    EVENTS = 20

    def killed(self, server, rest_s=0):
        """(path, offsets of the frames, hashes by LSN) of a log of single events, after a rest and kill -9."""
        hashes = {}
        with resp.Connection(server.connect()) as connection:
            for number in range(self.EVENTS):
                connection.call("HF.SEND", "order", number, "Place", "q", 1, "p", 1, "s", "")
                lsn, state_hash = connection.call("HF.HASH")
                hashes[lsn] = state_hash
        time.sleep(rest_s)
        server.kill9()
        path = min(pathlib.Path(server.data_dir).glob("log-*"))
        whole = path.read_bytes()
        frames = [at for at in range(SECTOR, len(whole), SECTOR) if whole[at:at + 4] == b"HFG1"]
        self.assertEqual(len(frames), self.EVENTS + 1)  # the contract's is the first
        return path, frames, hashes

    def test_unfinished_group(self):
        """Some sectors of a group that was on its way to the disk: cut off, loudly, and nothing before it is lost."""
        with Server(contracts={"order": ORDER}, args=["--segment-size", SEGMENT_SIZE]) as server:
            path, frames, hashes = self.killed(server)
            data = bytearray(path.read_bytes())
            data[frames[-1] + 2 * SECTOR:frames[-1] + 3 * SECTOR] = b"x" * SECTOR
            path.write_bytes(data)
            said = len(server.stderr)
            server.start()
            self.assertRegex(server.stderr[said:], r"\bcut off 1024 bytes of an unfinished group\b")
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), [self.EVENTS + 1, hashes[self.EVENTS + 1]])

    def test_last_frame(self):
        """Rot in the group that was acknowledged last is not taken for an unfinished group: nothing starts."""
        with Server(contracts={"order": ORDER}, args=["--segment-size", SEGMENT_SIZE]) as server:
            path, frames, hashes = self.killed(server)
            whole = path.read_bytes()
            for offset in (0, 16, 39, 40, 60, SECTOR - 1):
                data = bytearray(whole)
                data[frames[-1] + offset] ^= 1
                self.refused(server, path, data, str(frames[-1]))
            path.write_bytes(whole)
            server.start()

    def test_lost_last_frame(self):
        """An acknowledged group of which nothing is left: the witness of the acknowledgement knows."""
        with Server(contracts={"order": ORDER}, args=["--segment-size", SEGMENT_SIZE]) as server:
            path, frames, hashes = self.killed(server, rest_s=0.5)
            whole = path.read_bytes()
            data = bytearray(whole)
            data[frames[-1]:frames[-1] + SECTOR] = bytes(SECTOR)
            self.refused(server, path, data, f"LSN {self.EVENTS + 1} was durable")
            path.write_bytes(whole)
            server.start()

    def refused(self, server, path, data, named):
        path.write_bytes(data)
        with self.assertRaises(StartError) as raised:
            server.start()
        self.assertIn(path.name, str(raised.exception))
        self.assertIn(named, str(raised.exception))
        self.assertEqual(path.read_bytes(), data)

    def test_other_frames(self):
        """Behind them stands a whole frame, so they were acknowledged: nothing starts."""
        with Server(contracts={"order": ORDER}, args=["--segment-size", SEGMENT_SIZE]) as server:
            path, frames, hashes = self.killed(server)
            whole = path.read_bytes()
            for frame in (frames[0], frames[-2]):
                for offset in (0, 16, 60):
                    data = bytearray(whole)
                    data[frame + offset] ^= 1
                    self.refused(server, path, data, str(frame))
            path.write_bytes(whole)
            server.start()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), [self.EVENTS + 1, hashes[self.EVENTS + 1]])


if __name__ == "__main__":
    unittest.main()
