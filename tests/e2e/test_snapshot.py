#!/usr/bin/python3
"""Snapshots: true at one LSN, taken under load; recovery from them is recovery from the log, or says why not.

A snapshot is held against the log: `replay --until` must give the recorded hash, and `replay --verify` compares every
entity and id with what the log makes.
"""

import itertools
import json
import os
import pathlib
import random
import resource
import shutil
import signal
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
SEGMENT = ["--segment-size", "1048576"]
NEVER = ["--snapshot-log", "0"]
ORDERS = 6000
LARGE_IN_A_LINE = 34  # of 64 KiB: more than the smallest ring of images takes, 8 blocks of 256 KiB
SEED = 11


def run(*args):
    """One call of the command line."""
    return subprocess.run([holdfast(), *map(str, args)], capture_output=True, text=True, timeout=120)


def snapshots(data):
    """The snapshot files, newest first."""
    return sorted(pathlib.Path(data).glob("snapshot-*.hfs"), reverse=True)


def making(data):
    return list(pathlib.Path(data).glob("*.making"))


def info(connection):
    """The figures of INFO holdfast."""
    lines = connection.call("INFO", "holdfast").decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def flip(path, offset, bit=0):
    """Turns one bit around; again, and it is as it was."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def crc(data):
    """The CRC of docs/format/log.md, bit by bit."""
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def forge(path, kind, offset):
    """Turns a bit in the first block of that kind around, and makes all checksums hold again."""
    data = bytearray(path.read_bytes())
    at, before, forged = 0, 0, False
    while at < len(data):
        size = (40 + int.from_bytes(data[at + 16:at + 20], "little") + 4095) // 4096 * 4096
        if not forged and int.from_bytes(data[at + 4:at + 8], "little") == kind:
            data[at + 40 + offset] ^= 1
            forged = True
        data[at + 24:at + 28] = before.to_bytes(4, "little")
        data[at + 28:at + 32] = crc(data[at + 40:at + size]).to_bytes(4, "little")
        before = crc(data[at:at + 36])
        data[at + 36:at + 40] = before.to_bytes(4, "little")
        at += size
    assert forged
    path.write_bytes(data)


def place(connection, numbers):
    """Places orders, each with an id; a pipeline. The replies."""
    for number in numbers:
        connection.send_raw(resp.encode("HF.SEND", "order", "o%s" % number, "Place", "q", 1000000, "p", 1, "s", "ACME",
                                        "ID", "place"))
    return [connection.read() for _ in numbers]


def pipeline(connection, commands):
    """Sends them all; the replies."""
    connection.send_raw(b"".join(resp.encode(*command) for command in commands))
    return [connection.read() for _ in commands]


def keys_by_line(connection):
    """Of an empty map: keys of the same home line, by the cursor behind it; that of the last line is 0."""
    tenth = connection.call("SCAN", 0, "COUNT", 1)[0]  # looks at ten lines
    lines = {}
    while len(lines.get(b"0", [])) < LARGE_IN_A_LINE or sum(len(k) >= LARGE_IN_A_LINE for k in lines.values()) < 2:
        number = sum(map(len, lines.values()))
        keys = [b"key%d" % number for number in range(number, number + 50)]
        replies = pipeline(connection, [command for key in keys for command in (
            ("SET", key, "x"), ("SCAN", 0, "COUNT", 1), ("SCAN", tenth, "COUNT", 1), ("DEL", key))])
        for key, low, high in zip(keys, replies[1::4], replies[2::4]):
            shown = [behind for behind, shown in (low, high) if shown == [key]]
            assert len(shown) == 1, (key, low, high)
            lines.setdefault(shown[0], []).append(key)
    return lines


class Load:
    """Clients that fill and place orders as fast as they are answered, until the block ends.

    told: the highest LSN that each was told of.
    """

    numbers = itertools.count()  # so that no load sends what another one did

    def __init__(self, server, clients=2):
        self.server = server
        self.number = next(Load.numbers)
        self.told = [0] * clients
        self.stop = False
        self.errors = []
        self.events = 0
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stop = True
        for thread in self.threads:
            thread.join()

    def _run(self, client):
        rng = random.Random(SEED + client)
        batch = 0
        try:
            with resp.Connection(self.server.connect()) as connection:
                while not self.stop:
                    commands = []
                    for i in range(50):
                        key = "o%d" % rng.randrange(ORDERS)
                        if i % 10 == 0:
                            commands.append(("Place", "n%d-%d-%d-%d" % (self.number, client, batch, i), "q", 5,
                                             "p", 1, "s", "NEW"))
                        else:
                            commands.append(("Fill", key, "n", 1))
                    for i, (event, key, *params) in enumerate(commands):
                        connection.send_raw(resp.encode("HF.SEND", "order", key, event, *params, "ID",
                                                        "%d-%d-%d-%d" % (self.number, client, batch, i)))
                    for _ in commands:
                        reply = connection.read()
                        if isinstance(reply, resp.Error):
                            self.errors.append(reply)
                        else:
                            _state, _version, lsn = reply
                            self.told[client] = max(self.told[client], lsn)
                        self.events += 1
                    batch += 1
        except (resp.Closed, ConnectionError):
            pass  # the server was killed
        except Exception as error:
            self.errors.append(repr(error))


class Taken(unittest.TestCase):
    """While requests go on."""

    args = SEGMENT + NEVER

    def taken_under_load(self, server, load):
        """Takes four, the contract growing in between; the replies."""
        replies = []
        with resp.Connection(server.connect()) as connection:
            for number in range(4):
                reply = connection.call("HF.SNAPSHOT")
                self.assertIsInstance(reply, list, reply)
                replies.append(reply)
                if number == 1:
                    # Every order that is touched from now on takes more room, and moves.
                    wider = ORDER.replace("version 1", "version 2").replace("field symbol: bytes(12)",
                                                                            "field symbol: bytes(40)")
                    self.assertIsInstance(connection.call("HF.CONTRACT", "LOAD", wider), list)
        self.assertEqual(load.errors, [])
        return replies

    def test_equals_the_log(self):
        """The state of each snapshot is that of the log up to its LSN; a restart from it is a replay of all."""
        with Server(contracts={"order": ORDER}, args=self.args) as server:
            with resp.Connection(server.connect()) as connection:
                first = place(connection, range(ORDERS))
                with Load(server) as load:
                    replies = self.taken_under_load(server, load)
                self.assertEqual([path.name for path in snapshots(server.data_dir)],
                                 ["snapshot-%016x.hfs" % lsn for lsn, _ in (replies[3], replies[2])])
                self.assertEqual(snapshots(server.data_dir)[0].stat().st_size, replies[3][1])
                history = connection.call("HF.HISTORY", "order", "o7", "COUNT", 1000)
                before = connection.call("HF.HASH")
            server.kill9()
            self.check_against_log(server.data_dir)
            server.contracts_dir = None
            server.start()
            with resp.Connection(server.connect()) as connection:
                figures = info(connection)
                self.assertEqual(int(figures["recovered_snapshot_lsn"]), replies[3][0])
                self.assertIn("up to LSN %d from a snapshot" % replies[3][0], server.stderr)
                self.assertEqual(connection.call("HF.HASH"), before)
                self.assertEqual(connection.call("HF.HISTORY", "order", "o7", "COUNT", 1000), history)
                # Ids from before the snapshot, and that of the last event before it.
                self.assertEqual(place(connection, range(ORDERS)), first)
                self.assertEqual(connection.call("HF.HASH"), before)
                # The next one is taken from what was loaded.
                connection.call("HF.SEND", "order", "later", "Place", "q", 1, "p", 1, "s", "")
                lsn, _ = connection.call("HF.SNAPSHOT")
                self.assertEqual(lsn, before[0] + 1)
            self.assertEqual(server.terminate(), 0)
            self.check_against_log(server.data_dir)

    def check_against_log(self, data):
        """replay --verify, and once more by the hash alone."""
        verified = run("replay", data, "--verify")
        self.assertEqual(verified.returncode, 0, verified.stderr)
        proven = json.loads(run("log", "verify", data, "--json").stdout)
        self.assertEqual(len(proven["snapshots"]), 2)
        for snapshot in proven["snapshots"]:
            until = json.loads(run("replay", data, "--until", snapshot["lsn"], "--json").stdout)
            self.assertEqual(until["state_hash"], snapshot["state_hash"])
            self.assertEqual(until["events"], snapshot["events"])
            self.assertEqual(until["entities"], snapshot["entities"])

    def test_others_are_served_meanwhile(self):
        """Who asks for a snapshot waits; others do not, and cannot ask for a second one."""
        with Server(contracts={"order": ORDER}, args=self.args) as server:
            with resp.Connection(server.connect()) as asks, resp.Connection(server.connect()) as other:
                place(asks, range(ORDERS))
                refused = 0
                for number in range(50):
                    place(asks, ["again%d" % number])
                    asks.send_raw(resp.encode("HF.SNAPSHOT") + resp.encode("PING", "behind"))
                    reply = other.call("HF.SNAPSHOT")
                    if isinstance(reply, resp.Error):
                        self.assertTrue(reply.startswith("REFUSED a snapshot is under way"), reply)
                        refused += 1
                        self.assertIsInstance(place(other, ["other%d" % number])[0], list)
                    mine = asks.read()
                    self.assertTrue(isinstance(mine, list) or mine.startswith("REFUSED"), mine)
                    self.assertEqual(asks.read(), b"behind")
                    if refused >= 3:
                        break
                self.assertGreaterEqual(refused, 1)
            self.assertEqual(server.terminate(), 0)

    def test_many_ask_all_the_time(self):
        """Also when one is just over, and its client not told yet. Of an empty log they are over at once."""
        with Server(args=self.args) as server:
            others, done = [], []

            def ask():
                with resp.Connection(server.connect()) as connection:
                    for _ in range(1000):
                        reply = connection.call("HF.SNAPSHOT")
                        if not reply.startswith(("NOTFOUND nothing has been", "REFUSED a snapshot is under")):
                            others.append(reply)
                done.append(True)

            askers = [threading.Thread(target=ask) for _ in range(4)]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            self.assertEqual((others, len(done)), ([], len(askers)))
            self.assertEqual(server.terminate(), 0)

    def test_a_client_that_hangs_up(self):
        """The snapshot is taken all the same, and nobody else's reply is lost."""
        with Server(contracts={"order": ORDER}, args=self.args) as server:
            with resp.Connection(server.connect()) as connection:
                place(connection, range(ORDERS))
                leaver = resp.Connection(server.connect())
                leaver.send_raw(resp.encode("HF.SNAPSHOT") + resp.encode("PING"))
                leaver.close()
                for _ in range(200):
                    if info(connection)["snapshot_lsn"] != "0":
                        break
                    time.sleep(0.05)
                self.assertEqual(int(info(connection)["snapshot_lsn"]), connection.call("HF.HASH")[0])
            self.assertEqual(server.terminate(), 0)

    def test_a_drain_does_not_wait(self):
        """SIGTERM while one is under way: the client hears of it, the exit is 0, no half file is left."""
        with Server(contracts={"order": ORDER}, args=self.args) as server:
            with resp.Connection(server.connect()) as connection:
                place(connection, range(ORDERS))
                connection.send_raw(resp.encode("HF.SNAPSHOT"))
                server.process.send_signal(signal.SIGTERM)
                try:
                    reply = connection.read()
                    self.assertTrue(isinstance(reply, list) or reply.startswith("STOPPED"), reply)
                except resp.Closed:
                    pass  # the signal came first, and the command was not read
            self.assertEqual(server.wait(), 0)
            self.assertEqual(making(server.data_dir), [])

    def test_policy(self):
        """By bytes of log and by time; none without an event; the figures are in INFO."""
        with Server(contracts={"order": ORDER}, args=self.args + ["--snapshot-log", "100000"]) as server:
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(info(connection)["snapshot_lsn"], "0")
                place(connection, range(2000))
                self.wait_for_snapshot(connection)
                figures = info(connection)
                self.assertEqual(figures["snapshot_failures"], "0")
                self.assertLess(int(figures["snapshot_age_seconds"]), 60)
                self.assertEqual(int(figures["snapshot_bytes"]), snapshots(server.data_dir)[0].stat().st_size)
            server.restart(args=self.args + ["--snapshot-every", "1"])
            with resp.Connection(server.connect()) as connection:
                newest = int(info(connection)["snapshot_lsn"])
                place(connection, ["late"])
                self.wait_for_snapshot(connection, newest)
                newest = snapshots(server.data_dir)
                time.sleep(2.5)
                self.assertEqual(snapshots(server.data_dir), newest)
            self.assertEqual(server.terminate(), 0)

    def test_nothing_logged_yet(self):
        """It is no failure: not counted, not told, and what comes then does not wait for the pause behind one."""
        with Server(args=self.args + ["--snapshot-every", "1"]) as server:
            with resp.Connection(server.connect()) as connection:
                self.assertRegex(connection.call("HF.SNAPSHOT"), "^NOTFOUND nothing has been logged yet")
                self.assertEqual(info(connection)["snapshot_failures"], "0")
                connection.call("HF.CONTRACT", "LOAD", ORDER)
                self.wait_for_snapshot(connection)
                newest, _ = connection.call("HF.SNAPSHOT")
                place(connection, ["behind one that was asked for"])
                self.wait_for_snapshot(connection, newest)
            self.assertNotIn("WARNING: no snapshot", server.stderr)

    def wait_for_snapshot(self, connection, after=0):
        for _ in range(300):
            if int(info(connection)["snapshot_lsn"]) > after:
                return
            time.sleep(0.05)
        self.fail("no snapshot was taken")

    def test_no_room(self):
        """A file that cannot be written: told, counted, removed; the server goes on, and so do snapshots later."""
        with Server(contracts={"order": ORDER}, args=self.args) as server:
            with resp.Connection(server.connect()) as connection:
                place(connection, range(3 * ORDERS))
                limit = 1 << 20  # a segment is as large as that, the snapshot is larger
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                reply = connection.call("HF.SNAPSHOT")
                self.assertIsInstance(reply, resp.Error)
                self.assertRegex(reply, r"^IO .*snapshot-.*\.making: .*File too large")
                for _ in range(100):
                    if "WARNING: no snapshot was taken: " in server.stderr:
                        break
                    time.sleep(0.05)
                else:
                    self.fail("nothing was told")
                self.assertEqual(info(connection)["snapshot_failures"], "1")
                self.assertEqual(making(server.data_dir) + snapshots(server.data_dir), [])
                self.assertIsInstance(place(connection, ["goes on"])[0], list)
                # One that cannot even be begun.
                lsn = connection.call("HF.HASH")[0]
                taken = pathlib.Path(server.data_dir, "snapshot-%016x.hfs.making" % lsn)
                taken.mkdir()
                self.assertRegex(connection.call("HF.SNAPSHOT"), r"^IO .*\.making: Is a directory")
                taken.rmdir()
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                                 (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                with Load(server):
                    self.assertIsInstance(connection.call("HF.SNAPSHOT"), list)
            self.assertEqual(server.terminate(), 0)
            verified = run("replay", server.data_dir, "--verify")
            self.assertEqual(verified.returncode, 0, verified.stderr)

    def test_many_large_values_in_one_line(self):
        """A home line of the map of plain keys, with more in it than the ring of images takes: in the last line, which
        ends the walk, and in another one."""
        with Server(args=self.args) as server:
            with resp.Connection(server.connect()) as connection:
                lines = keys_by_line(connection)
                large = [keys for keys in lines.values() if len(keys) >= LARGE_IN_A_LINE and keys is not lines[b"0"]]
                for count, keys in enumerate((lines[b"0"], large[0]), start=1):
                    keys = keys[:LARGE_IN_A_LINE]
                    self.assertEqual(pipeline(connection, [("SET", key, "v" * 65536) for key in keys]),
                                     ["OK"] * LARGE_IN_A_LINE)
                    self.assertEqual(set(connection.call("SCAN", 0, "COUNT", 1000)[1]), set(keys))
                    lsn, size = connection.call("HF.SNAPSHOT")
                    self.assertGreater(size, 65536 * LARGE_IN_A_LINE)
                    self.check_snapshots(server.data_dir, count)
                    self.assertEqual(connection.call("DEL", *keys), LARGE_IN_A_LINE)
                figures = info(connection)
                self.assertEqual((int(figures["snapshot_lsn"]), figures["snapshot_failures"]), (lsn, "0"))
            self.assertEqual(server.terminate(), 0)

    def check_snapshots(self, data, count):
        """All of them are what the log makes."""
        for words in (["replay", data, "--verify"], ["log", "verify", data]):
            done = run(*words)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(snapshots(data)), count)

    def test_one_that_succeeds_ends_the_pause(self):
        """After a failure the policy waits for half a minute, unless somebody else's succeeds before."""
        with Server(contracts={"order": ORDER}, args=self.args + ["--snapshot-every", "1"]) as server:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
            with resp.Connection(server.connect()) as connection:
                place(connection, range(3 * ORDERS))
                for _ in range(100):
                    if info(connection)["snapshot_failures"] != "0":
                        break
                    time.sleep(0.05)
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
                lsn, _ = connection.call("HF.SNAPSHOT")
                self.assertEqual(info(connection)["snapshot_failures"], "1")
                place(connection, ["later"])
                self.wait_for_snapshot(connection, after=lsn)
            self.assertEqual(server.terminate(), 0)


class TakenWithThreads(Taken):
    """The same with several network threads, and a log thread."""

    args = SEGMENT + NEVER + ["--threads", "2"]


class Kept(unittest.TestCase):
    """What is on disk, and what is made of it when it is not as it was."""

    @classmethod
    def setUpClass(cls):
        cls.temp = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        cls.addClassCleanup(cls.temp.cleanup)
        cls.made = pathlib.Path(cls.temp.name, "made")
        cls.early = pathlib.Path(cls.temp.name, "early")
        cls.lsns = []
        with Server(contracts={"order": ORDER}, data=cls.made, args=SEGMENT + NEVER) as server:
            with resp.Connection(server.connect()) as connection:
                for number in range(4):
                    place(connection, range(number * 100, number * 100 + 100))
                    cls.lsns.append(connection.call("HF.SNAPSHOT")[0])
                place(connection, ["last"])
                cls.hash = connection.call("HF.HASH")
                cls.memory_contracts = info(connection)["memory_contracts"]
            assert server.terminate() == 0
        with Server(contracts={"order": ORDER}, data=cls.early, args=SEGMENT + NEVER) as server:
            assert server.terminate() == 0

    def setUp(self):
        self.data = pathlib.Path(self.temp.name, self.id())
        shutil.copytree(self.made, self.data)

    def start(self):
        return Server(data=self.data, args=SEGMENT + NEVER)

    def test_nothing_new(self):
        """One that finds nothing new, in another life than the newest's, removes none."""
        with self.start() as server:
            with resp.Connection(server.connect()) as connection:
                newest = connection.call("HF.SNAPSHOT")
            self.assertEqual(server.terminate(), 0)
            kept = snapshots(self.data)
            self.assertEqual(len(kept), 2)
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.SNAPSHOT"), newest)
            self.assertEqual(snapshots(self.data), kept)

    def recovers(self, from_lsn, *said):
        """A start that loads the snapshot at that LSN (0: the log alone) and says all these things."""
        with self.start() as server:
            for text in said:
                self.assertIn(text, server.stderr)
            if not said:
                self.assertNotIn("WARNING", server.stderr)
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), self.hash)
                self.assertEqual(int(info(connection)["recovered_snapshot_lsn"]), from_lsn)
                self.assertEqual(info(connection)["memory_contracts"], self.memory_contracts)
                self.assertIsInstance(place(connection, [5])[0], list)
                self.assertEqual(connection.call("HF.HASH"), self.hash)
            self.assertEqual(server.terminate(), 0)

    def refuses(self, *said):
        """A start that does not get there, says these things, and leaves everything as it is."""
        before = {path.name: path.stat().st_mtime_ns for path in self.data.iterdir() if path.name != "lock"}
        with self.assertRaises(StartError) as caught, self.start():
            pass
        for text in said:
            self.assertIn(text, str(caught.exception))
        after = {path.name: path.stat().st_mtime_ns for path in self.data.iterdir() if path.name != "lock"}
        self.assertEqual(before, after)

    def test_two_are_kept_and_all_segments(self):
        """Older snapshots go; of the log, nothing does."""
        self.assertEqual([path.name for path in snapshots(self.data)],
                         ["snapshot-%016x.hfs" % lsn for lsn in (self.lsns[3], self.lsns[2])])
        self.assertTrue((self.data / ("log-%016x.hfl" % 0)).exists())
        self.recovers(self.lsns[3])

    def test_falls_back_loudly(self):
        """The newest one damaged: the one before. Both: the whole log. The next good one takes their place."""
        newest, before = snapshots(self.data)
        flip(newest, 5000)
        self.recovers(self.lsns[2], "WARNING: this snapshot is not used: %s offset 4096: " % newest,
                      "recovering from the one before it")
        os.truncate(before, before.stat().st_size - 4096)
        self.recovers(0, str(newest), "WARNING: this snapshot is not used: %s offset " % before,
                      "recovering from the whole log")
        verified = run("log", "verify", self.data)
        self.assertEqual(verified.returncode, 1)
        self.assertIn(str(newest), verified.stderr)
        verified = run("replay", self.data, "--verify")
        self.assertEqual(verified.returncode, 1)
        with self.start() as server, resp.Connection(server.connect()) as connection:
            lsn, _ = connection.call("HF.SNAPSHOT")
            self.assertEqual(lsn, self.hash[0])
        self.assertEqual([path.name for path in snapshots(self.data)], ["snapshot-%016x.hfs" % lsn])
        self.recovers(lsn)

    def test_a_bad_one_hides_nothing(self):
        """`log verify` and `log dump` print the log and the good snapshots, tell of each bad one, and end with 1."""
        newest, before = snapshots(self.data)
        lines = run("log", "dump", self.data, "--json").stdout.splitlines()
        flip(newest, 5000)
        verified = run("log", "verify", self.data, "--json")
        self.assertEqual(verified.returncode, 1)
        self.assertIn(f"{newest} offset 4096: ", verified.stderr)
        proven = json.loads(verified.stdout)
        self.assertEqual(proven["last_lsn"], self.hash[0])
        self.assertEqual([snapshot["snapshot"] for snapshot in proven["snapshots"]], [before.name])
        verified = run("log", "verify", self.data)
        self.assertRegex(verified.stdout, rf"(?m)^last LSN +{self.hash[0]}$")
        self.assertIn(f"snapshot {before.name} lsn {self.lsns[2]} ", verified.stdout)
        dumped = run("log", "dump", self.data, "--json")
        self.assertEqual((dumped.returncode, dumped.stderr), (1, verified.stderr))
        self.assertEqual(dumped.stdout.splitlines(), lines[:-2] + lines[-1:])
        flip(before, 5000)
        verified = run("log", "verify", self.data, "--json")
        self.assertEqual((verified.returncode, json.loads(verified.stdout)["snapshots"]), (1, []))
        self.assertEqual([line.split()[2] for line in verified.stderr.splitlines()], [str(newest), str(before)])

    def test_every_flip_is_found(self):
        """Sampled bits of the newest snapshot; tests/unit/test_snapshot.c flips every byte of one."""
        rng = random.Random(SEED)
        newest = snapshots(self.data)[0]
        size = newest.stat().st_size
        for _ in range(100):
            offset, bit = rng.randrange(size), rng.randrange(8)
            flip(newest, offset, bit)
            verified = run("log", "verify", self.data)
            self.assertEqual(verified.returncode, 1, (offset, bit))
            self.assertIn("%s offset " % newest, verified.stderr)
            flip(newest, offset, bit)
        self.assertEqual(run("log", "verify", self.data).returncode, 0)
        for _ in range(3):
            offset, bit = rng.randrange(size), rng.randrange(8)
            flip(newest, offset, bit)
            self.recovers(self.lsns[2], str(newest), "recovering from the one before it")
            flip(newest, offset, bit)
        self.recovers(self.lsns[3])

    def test_whole_but_wrong(self):
        """All checksums hold, but the content is not that of the log: the state hash, and replay --verify, tell."""
        newest = snapshots(self.data)[0]
        forge(newest, kind=3, offset=48)  # the first byte of an entity's fields
        self.assertEqual(run("log", "verify", self.data).returncode, 0)
        verified = run("replay", self.data, "--verify")
        self.assertEqual(verified.returncode, 1)
        self.assertIn("this entity is not as the log makes it", verified.stderr)
        self.recovers(self.lsns[2], str(newest), "have not the state hash that was recorded")
        forge(newest, kind=3, offset=48)
        forge(newest, kind=4, offset=2)  # a byte of an id's hash
        verified = run("replay", self.data, "--verify")
        self.assertEqual(verified.returncode, 1)
        self.assertIn("this id is not as the log makes it", verified.stderr)

    def test_of_another_seed(self):
        """A start from the log alone hashes ids anew: those of a snapshot that is put back are compared, too."""
        newest, before = snapshots(self.data)
        aside = self.data / "aside"
        aside.mkdir()
        for path in (newest, before):
            path.rename(aside / path.name)
        with self.start() as server, resp.Connection(server.connect()) as connection:
            place(connection, ["later"])
            later = connection.call("HF.SNAPSHOT")[0]
        self.assertEqual([path.name for path in snapshots(self.data)], ["snapshot-%016x.hfs" % later])
        for path in (newest, before):
            (aside / path.name).rename(path)
        aside.rmdir()
        verified = run("replay", self.data, "--verify")
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
        for path in (newest, before):
            for offset in (2, 7):  # a byte of an id's hash; one of its position
                forge(path, kind=4, offset=offset)
                verified = run("replay", self.data, "--verify")
                self.assertEqual(verified.returncode, 1)
                self.assertRegex(verified.stderr, rf"{path.name} offset \d+: this id is not as the log makes it")
                self.assertEqual(run("replay", self.data, "--verify", "--until", self.lsns[2] - 1).returncode, 0)
                forge(path, kind=4, offset=offset)

    def test_rot_behind_a_snapshot(self):
        """In old events it is met by who needs them; an operator is told of each place once, not at each request."""
        log = min(self.data.glob("log-*"))
        flip(log, log.read_bytes().index(b"o3place"))
        corrupt = []
        with self.start() as server:
            flip(log, log.read_bytes().index(b"o4place"))  # while it is served
            with resp.Connection(server.connect()) as connection:
                for number in (3, 3, 4):
                    corrupt += [connection.call("HF.HISTORY", "order", f"o{number}"), *place(connection, [number])]
            self.assertEqual(server.terminate(), 0)
            warning = "holdfast: WARNING: a request needed a record of the log: "
            told = [line for line in server.stderr.splitlines() if line.startswith(warning)]
        self.assertEqual([f"{warning}{error.removeprefix('CORRUPT ')}" for error in (corrupt[0], corrupt[-1])], told)
        self.assertEqual(corrupt, corrupt[:1] * 4 + corrupt[-1:] * 2)
        self.assertRegex(corrupt[0], rf"^CORRUPT .*/{log.name} offset \d+: ")

    def test_unreadable(self):
        """A directory in its place cannot be read: the one before."""
        newest = snapshots(self.data)[0]
        newest.unlink()
        newest.mkdir()
        self.recovers(self.lsns[2], f"WARNING: this snapshot is not used: {newest}: cannot read",
                      "recovering from the one before it")

    def test_a_shorter_log_is_refused(self):
        """The log lost what the snapshot proves was acknowledged."""
        newest = snapshots(self.data)[0]
        segment = self.data / ("log-%016x.hfl" % 0)
        whole = segment.read_bytes()
        head = newest.read_bytes()[40:]
        frame = int.from_bytes(head[32:40], "little")
        # As if the disk had lost it: zeros from the snapshot's frame on, and no witness.
        (self.data / "acked.hfw").unlink(missing_ok=True)
        segment.write_bytes(whole[:frame] + bytes(len(whole) - frame))
        self.refuses(str(newest), segment.name, "offset %d" % frame, "move the snapshot away")
        # The snapshot is damaged, too; its name says enough.
        flip(newest, 5000)
        self.refuses(newest.name, "ends at LSN ", "move the snapshot away")
        # The way out that was named.
        for path in snapshots(self.data):
            if path.name >= "snapshot-%016x.hfs" % self.lsns[3]:
                path.unlink()
        with self.start() as server, resp.Connection(server.connect()) as connection:
            self.assertLess(connection.call("HF.HASH")[0], self.lsns[3])

    def test_a_damaged_frame_is_refused(self):
        """Damage to the very frame that the snapshot ends with."""
        newest = snapshots(self.data)[0]
        frame = int.from_bytes(newest.read_bytes()[72:80], "little")
        flip(self.data / ("log-%016x.hfl" % 0), frame + 60)
        self.refuses(str(newest), "offset %d" % frame, "the frame is damaged")

    def test_no_log_or_another_one_is_refused(self):
        """A snapshot without its log."""
        for path in self.data.glob("log-*"):
            path.unlink()
        (self.data / "acked.hfw").unlink(missing_ok=True)
        newest = snapshots(self.data)[0]
        self.refuses(newest.name, "ends at LSN 0")
        for path in self.early.glob("log-*"):
            shutil.copy(path, self.data)
        self.refuses(newest.name, "another")

    def test_half_made_ones_are_removed(self):
        """What a crash left behind under another name is no snapshot."""
        left = self.data / "snapshot-00000000000003e8.hfs.making"
        left.write_bytes(b"HFS1")
        self.recovers(self.lsns[3])
        self.assertFalse(left.exists())

    def test_killed_in_the_middle(self):
        """kill -9 at any instant of a snapshot under load: nothing acknowledged is lost, and no half file is taken."""
        rng = random.Random(SEED)
        with Server(contracts={"order": ORDER}, args=SEGMENT + NEVER) as server:
            with resp.Connection(server.connect()) as connection:
                place(connection, range(ORDERS))
                placed = connection.call("HF.HASH")[0]
            told = 0
            for _ in range(6):
                with Load(server) as load, resp.Connection(server.connect()) as connection:
                    connection.send_raw(resp.encode("HF.SNAPSHOT"))
                    time.sleep(rng.random() * 0.1)
                    server.kill9()
                verified = run("replay", server.data_dir, "--verify", "--json")
                self.assertEqual(verified.returncode, 0, verified.stderr)
                server.start()
                self.assertEqual(making(server.data_dir), [])
                self.assertEqual(load.errors, [])
                with resp.Connection(server.connect()) as connection:
                    lsn, state_hash = connection.call("HF.HASH")
                    told = max(told, *load.told)
                    self.assertGreaterEqual(lsn, told)
                    self.assertEqual(state_hash.decode(), json.loads(verified.stdout)["state_hash"])
                self.assertNotIn("this snapshot is not used", server.stderr)
            self.assertGreater(told, placed)
            self.assertEqual(server.terminate(), 0)


if __name__ == "__main__":
    unittest.main()
