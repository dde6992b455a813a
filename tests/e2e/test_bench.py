#!/usr/bin/python3
"""`holdfast bench`: each measurement does the work that it tells of, and leaves nothing behind unless told to."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

from server import holdfast  # noqa: E402

ORDERS = 100_000  # placed before the events that are timed
SIZES = [512, 4096, 65536, 524288]


def events_in(directory):
    """What `holdfast replay` finds, which judges every event again."""
    done = subprocess.run([holdfast(), "replay", "--json", directory], capture_output=True, text=True, timeout=60,
                          check=True)
    return json.loads(done.stdout)["events"]


class Bench(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory(prefix="holdfast-test-")
        self.addCleanup(temp.cleanup)
        self.dir = pathlib.Path(temp.name)

    def run_bench(self, *args):
        return subprocess.run([holdfast(), "bench", *map(str, args)], capture_output=True, text=True, timeout=60,
                              cwd=self.dir)

    def rows(self, *args):
        """The rows of a run that ends well, and the one directory that it left."""
        done = self.run_bench("--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        left = list(self.dir.iterdir())
        self.assertEqual(len(left), 1 if "--keep" in args else 0)
        for path in left:
            self.assertIn(f"kept ./{path.name}\n", done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()], left[0] if left else None

    def wait_for_directory(self):
        deadline = time.monotonic() + 30
        while not os.listdir(self.dir) and time.monotonic() < deadline:
            time.sleep(0.01)

    def assert_rising(self, *figures):
        self.assertGreater(figures[0], 0)
        self.assertEqual(list(figures), sorted(figures))

    def test_usual(self):
        """Without a word: flush, send and submit, in the current directory."""
        rows, _ = self.rows("--events", 20)
        self.assertEqual([row["bench"] for row in rows], ["flush"] * 4 + ["send", "submit", "batch"])
        self.assertTrue(all(row["synced"] for row in rows))
        done = self.run_bench("--events", 20)
        self.assertEqual(done.returncode, 0, done.stderr)
        words = [line.split() for line in done.stdout.splitlines() if line.strip()]
        self.assertEqual([row[0] for row in words if row[0] in ("flush", "send", "submit", "batch", "memory")],
                         ["flush"] * 4 + ["send", "submit", "batch"])
        self.assertEqual([], list(self.dir.iterdir()))

    def test_flush(self):
        rows, left = self.rows("flush", "--events", 30, "--keep")
        self.assertEqual([row["bytes"] for row in rows], SIZES)
        for row in rows:
            self.assertEqual(row["writes"], 30)
            self.assert_rising(row["p50_us"], row["p99_us"])
            self.assert_rising(row["growing_p50_us"], row["growing_p99_us"])
        self.assertEqual({path.name for path in left.iterdir()}, {"written"})

    def test_send(self):
        [row], left = self.rows("send", "--events=50", "--keep")
        self.assertEqual(row["events"], 50)
        self.assert_rising(row["p50_us"], row["p99_us"], row["p999_us"])
        self.assertEqual(events_in(left), ORDERS + 50)

    def test_submit(self):
        [row], left = self.rows("submit", "--events", 5000, "--keep")
        self.assertEqual(row["events"], 5000)
        self.assertGreater(row["events_per_second"], 0)
        self.assertEqual(events_in(left), ORDERS + 5000)

    def test_memory(self):
        [row], left = self.rows("memory", "--events", 20000, "--keep", "--no-sync")
        self.assertEqual((row["orders"], row["events"], row["synced"]), (20000, 60000, False))
        self.assertEqual(events_in(left), 3 * ORDERS + 60000)

    def test_snapshot(self):
        """Requests while it is calm, and while snapshots are taken: rows with the same members; and their ratios."""
        [*rows, ratio], left = self.rows("snapshot", "--events", 40000, "--keep", "--no-sync")
        self.assertEqual([(row["bench"], row["orders"]) for row in rows], [("calm", 40000), ("taking", 40000)])
        self.assertEqual(list(rows[0]), list(rows[1]))
        self.assertEqual(rows[0]["snapshots"], 0)
        self.assertGreater(rows[1]["snapshots"], 0)
        for row in rows:
            self.assertGreater(row["events_per_second"], 0)
            self.assert_rising(row["p50_us"], row["p99_us"])
            self.assertGreater(row["resident_mb"], 0)
            self.assertIn("more_mb", row)
        self.assertIn(len(list(left.glob("snapshot-*.hfs"))), (1, 2))
        self.assertEqual(list(ratio), ["bench", "synced", "events_per_second", "p50_us", "p99_us"])
        self.assertEqual(ratio["bench"], "ratio")
        self.assertGreater(min(ratio[figure] for figure in ("events_per_second", "p50_us", "p99_us")), 0)
        self.assertEqual(events_in(left), 40000 + 20 * (10001 + 101))

    def test_recovery(self):
        """By the log and by a snapshot: as many ids as events."""
        [row], left = self.rows("recovery", "--events", 2000, "--each", 4, "--keep", "--no-sync")
        self.assertEqual((row["bench"], row["orders"], row["ids"]), ("recovery", 2000, 8000))
        for kind in ("log", "snapshot"):
            self.assertGreater(row[kind + "_seconds"], 0)
            size = sum(path.stat().st_size for path in left.glob(kind + "-*"))
            self.assertAlmostEqual(row[kind + "_mb"], size / 1e6, delta=0.1)
        self.assertEqual(events_in(left), 8000)
        [kept] = left.glob("snapshot-*.hfs")
        proven = subprocess.run([holdfast(), "log", "verify", "--json", left], capture_output=True, text=True,
                                timeout=60, check=True)
        [snapshot] = json.loads(proven.stdout)["snapshots"]
        self.assertEqual((snapshot["snapshot"], snapshot["entities"], snapshot["ids"]), (kept.name, 2000, 8000))

    def test_contract(self):
        """The contract in the binary is the example's text."""
        _, left = self.rows("send", "--events", 1, "--keep")
        dump = subprocess.Popen([holdfast(), "log", "dump", "--json", left], stdout=subprocess.PIPE)
        with dump.stdout:
            first = json.loads(dump.stdout.readline())
        dump.kill()
        dump.wait()
        self.assertEqual(first["text"], (ROOT / "examples/order/order.mmd").read_text())

    def test_interrupted(self):
        """A signal ends it, and what it wrote is removed."""
        command = [holdfast(), "bench", "submit", "--events", "1000000000", "--data", str(self.dir)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.wait_for_directory()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        self.assertEqual((process.returncode, said), (-signal.SIGTERM, "holdfast bench: interrupted\n"))
        self.assertEqual([], list(self.dir.iterdir()))

    def test_interrupted_and_kept(self):
        """Where that is stands in the output, whatever it goes to."""
        with tempfile.TemporaryFile("w+") as output:
            command = [holdfast(), "bench", "submit", "--events", "1000000000", "--keep"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, cwd=self.dir)
            self.addCleanup(process.kill)
            self.wait_for_directory()
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), -signal.SIGTERM)
            output.seek(0)
            [left] = self.dir.iterdir()
            self.assertIn(f"kept ./{left.name}\n", output.read())

    def test_nohup(self):
        """A signal that is ignored ends nothing."""
        command = ["nohup", holdfast(), "bench", "submit", "--events", "1000000000"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, cwd=self.dir)
        self.addCleanup(process.kill)
        self.wait_for_directory()
        process.send_signal(signal.SIGHUP)
        self.assertRaises(subprocess.TimeoutExpired, process.wait, 2)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), -signal.SIGTERM)

    def test_interrupted_reading(self):
        """Reads go on for minutes here, if nothing ends them."""
        process = subprocess.Popen([holdfast(), "bench", "get", "--events", "20000000"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, cwd=self.dir)
        self.addCleanup(process.kill)
        self.wait_for_directory()
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        self.assertEqual((process.returncode, said), (-signal.SIGTERM, "holdfast bench: interrupted\n"))
        self.assertEqual([], list(self.dir.iterdir()))

    def test_failing(self):
        """A file size limit is a disk that is full: the reason is told, and what it wrote is removed."""
        done = subprocess.run(["prlimit", "--fsize=1048576", holdfast(), "bench", "flush"], capture_output=True,
                              text=True, timeout=60, cwd=self.dir)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("holdfast bench: cannot reserve 16777216 bytes: File too large", done.stderr)
        self.assertEqual([], list(self.dir.iterdir()))

    def test_nobody_reads(self):
        """An output that is closed, or full, ends it with the reason, and what it wrote is removed."""
        for mode in ("flush", "send"):
            reader, writer = os.pipe()
            os.close(reader)
            with os.fdopen(writer, "wb") as closed, open("/dev/full", "wb") as full:
                for output, why in ((closed, "Broken pipe"), (full, "No space left on device")):
                    done = subprocess.run([holdfast(), "bench", mode, "--events", "3"], stdout=output,
                                          stderr=subprocess.PIPE, text=True, timeout=60, cwd=self.dir, check=False)
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(f"holdfast bench: the output could not be written: {why}\n", done.stderr)
                    self.assertEqual([], list(self.dir.iterdir()))

    def test_usage(self):
        for args, said in ((["flus"], "did you mean 'flush'"), (["--events", "0"], "from 1 to 1000000000, not 0"),
                           (["--events", "many"], "whole number"), (["--data"], "needs a value"),
                           (["--json=yes"], "takes no value"), (["--evens", "1"], "did you mean '--events'"),
                           (["--each", "0"], "--each takes a number from 1 to 1000, not 0"),
                           (["memory", "--each=1001"], "from 1 to 1000, not 1001"),
                           (["recovery", "--each", "-1"], "--each -1: a whole number is wanted"),
                           (["--each", " 3"], "whole number"), (["--each="], "--each is empty"),
                           (["--each", "0x3"], "whole number"), (["--each"], "--each needs a value"),
                           (["--events", "1000000001"], "from 1 to 1000000000, not 1000000001"),
                           (["--events", "18446744073709551617"], "--events 18446744073709551617:"),
                           (["--events", "5", "--events", "0"], "from 1 to 1000000000, not 0"),
                           (["flush", "memry"], "did you mean 'memory'"), ([""], "an argument is empty"),
                           (["--", "--json"], "nothing to measure is called '--json'"),
                           (["-e", "1"], "unknown option '-e'")):
            with self.subTest(args):
                done = self.run_bench(*args)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(said, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)
                self.assertEqual([], list(self.dir.iterdir()))
        done = self.run_bench("--data", "nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nowhere: No such file or directory", done.stderr)
        self.assertEqual([], list(self.dir.iterdir()))


if __name__ == "__main__":
    unittest.main()
