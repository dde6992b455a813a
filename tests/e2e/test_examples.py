#!/usr/bin/python3
"""The examples do what their READMEs show, and check without a complaint.

A `console` block of a README is a session on an empty directory: each command is run with
redis-cli, and its output must be the one shown; `...` stands for any text.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402

EXAMPLES = ROOT / "examples"
PROMPT = "$ redis-cli -p 7379 "
WARNINGS = {"hello": 0, "order": 0, "payment": 0, "stock": 0, "lobster": 0, "tape": 0, "incidents": 0}


def sessions(readme):
    """(command, output lines) pairs of a README's console blocks, block by block."""
    for block in re.findall(r"^```console\n(.*?)^```", readme.read_text(), re.S | re.M):
        steps = []
        for line in block.splitlines():
            if line.startswith(PROMPT):
                steps.append((line[len(PROMPT):], []))
            else:
                steps[-1][1].append(line)
        yield steps


def matches(pattern, text):
    """Equal, with `...` for any text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("..."))), text, re.S) is not None


class Examples(unittest.TestCase):
    """Contracts, READMEs, and the table of contents."""

    def test_readmes(self):
        ran = set()
        for readme in sorted(EXAMPLES.glob("*/README.md")):
            for steps in sessions(readme):
                with Server(contracts=readme.parent) as server:
                    for command, expected in steps:
                        with self.subTest(readme=readme.parent.name, command=command):
                            done = subprocess.run(
                                ["redis-cli", "--no-raw", "-p", str(server.port), *shlex.split(command)],
                                capture_output=True, text=True, timeout=30)
                            output = done.stdout.rstrip("\n")
                            self.assertTrue(matches("\n".join(expected), output), "\n" + output)
                ran.add(readme.parent.name)
        self.assertEqual(ran, {"hello", "order", "payment", "stock"})

    def test_contracts_check(self):
        files = sorted(EXAMPLES.glob("*/*.mmd"))
        self.assertEqual({path.stem for path in files}, set(WARNINGS))
        for path in files:
            done = subprocess.run([holdfast(), "check", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual((done.stdout + done.stderr).count("warning:"), WARNINGS[path.stem],
                             done.stdout + done.stderr)

    def test_readme_lists_all(self):
        table = (EXAMPLES / "README.md").read_text()
        for folder in EXAMPLES.iterdir():
            if folder.is_dir():
                self.assertIn(f"| `{folder.name}` |", table)
                self.assertTrue((folder / "README.md").exists(), folder)

    def test_payment_expires(self):
        """`now` is the log's clock: before `until` it captures, after it only expires."""
        with Server(contracts=EXAMPLES / "payment") as server:
            with resp.Connection(server.connect()) as connection:
                def send(key, event, *params):
                    return connection.call("HF.SEND", "payment", key, event, *params)
                soon = time.time_ns() + 300_000_000
                placed = send("p", "Authorise", "amount", 1, "cur", "EUR", "until", soon)
                self.assertEqual(placed[:2], [b"Authorised", 1])
                early = send("p", "Expire")
                self.assertTrue(early.startswith("REFUSED") and "now >= expires" in early, early)
                time.sleep(max(0, (soon - time.time_ns()) / 1e9) + 0.01)
                late = send("p", "Capture", "amount", 1)
                self.assertTrue(late.startswith("REFUSED"), late)
                self.assertEqual(send("p", "Expire")[:2], [b"Expired", 2])
                past = send("q", "Authorise", "amount", 1, "cur", "EUR", "until", soon)
                self.assertTrue(past.startswith("REFUSED"), past)
                state_hash = connection.call("HF.HASH")
            # The judgement is repeatable although the clock has moved on.
            self.assertEqual(server.terminate(), 0)
            replay = subprocess.run([holdfast(), "replay", "--verify", "--json", server.data_dir],
                                    capture_output=True, text=True, check=True)
            summary = json.loads(replay.stdout)
            self.assertEqual([summary["lsn"], summary["state_hash"].encode()], state_hash)

    def test_converters_refuse_other_files(self):
        for name, line in (("lobster", "1,9,3,4,5,1\n"), ("lobster", "hello\n"),
                           ("incidents", "case,timestamp,status,substatus\n1,2010-01-01T00:00:00+00:00,A,B\n")):
            done = subprocess.run([EXAMPLES / name / "convert.py"], input=line, text=True,
                                  capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
            self.assertEqual(done.returncode, 1)
            self.assertIn("convert.py: ", done.stderr)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
