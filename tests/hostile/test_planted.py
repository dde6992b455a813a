#!/usr/bin/python3
"""test_neighbours.py can fail: made-up windows of servers that are too slow, and of machines that others use.

What it must say of each: passed, failed, or skipped, and the last only where others took the processors.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import machine  # noqa: E402
import test_neighbours  # noqa: E402
from server import SKIP  # noqa: E402

CALM_S = 0.0005
CROWD = {"clients": 8, "commands": 200000.0, "came": 0.0, "server": 0.9}
NOBODY = {"clients": 0, "commands": 0.0, "came": 0.0, "server": 0.1}
QUIET, BUSY = 0.0, 2 * machine.QUIET
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def window(times, others=QUIET, did=CROWD):
    """One whose requests took so many times the usual: as many as there is time for."""
    latency = times * CALM_S
    count = min(test_neighbours.REQUESTS, int(test_neighbours.WINDOW_S / latency))
    return test_neighbours.Window([latency] * count, others, did)


def calm(times=1.0, others=QUIET):
    return window(times, others, NOBODY)


def always(hostile, before=None):
    while True:
        yield before or calm(), hostile


def first(count, times, then):
    """The first pairs are one way, the others another."""
    for _ in range(count):
        yield calm(), window(times)
    yield from always(window(then))


def now_and_then(hostile):
    """Every other pair is spoilt by others, in its calm window or in its hostile one."""
    while True:
        yield calm(others=BUSY), window(1.0)
        yield calm(), hostile
        yield calm(), window(1.0, BUSY)


CASES = [
    ("nothing happens", always(window(1.0)), PASSED),
    ("just good enough", always(window(2.0)), PASSED),
    ("just too slow", always(window(2.1)), FAILED),
    ("20 times slower, too slow for a whole window", always(window(20.0)), FAILED),
    ("5,000 times slower", always(window(5000.0)), FAILED),
    ("one answer in a window", always(window(16000.0)), FAILED),
    ("a slow disk, calm and hostile", always(window(24.0), calm(20.0)), PASSED),
    ("too slow, on a slow disk", always(window(60.0), calm(20.0)), FAILED),
    ("too slow, where others use the machine now and then", now_and_then(window(20.0)), FAILED),
    ("fast where others use the machine now and then", now_and_then(window(1.0)), PASSED),
    ("good pairs first, then more bad ones", first(test_neighbours.PAIRS // 2, 1.0, 20.0), FAILED),
    ("bad pairs first, then more good ones", first(test_neighbours.PAIRS // 2, 20.0, 1.0), PASSED),
    ("others use the machine all the time", always(window(1.0, BUSY)), SKIPPED),
    ("others use it while it is calm", always(window(1.0), calm(others=BUSY)), SKIPPED),
    ("too slow, and others use the machine", always(window(20.0, BUSY)), SKIPPED),
    ("no crowd came", always(window(1.0, did=NOBODY)), FAILED),
]


def outcome(pairs):
    args = argparse.Namespace(pairs=test_neighbours.PAIRS, patience=0.01, others=machine.QUIET, verbose=False)
    kind = test_neighbours.Kind("8 floods", [], clients=8, commands=100000, server=0.7)
    try:
        test_neighbours.judge({"flood": test_neighbours.compare(lambda _kind: next(pairs), kind, args)})
    except AssertionError:
        return FAILED
    except SystemExit as ended:
        return SKIPPED if ended.code == SKIP else FAILED
    return PASSED


def main():
    wrong = 0
    for what, pairs, wanted in CASES:
        got = outcome(pairs)
        print(f"{what}: {got}")
        if got != wanted:
            print(f"FAILED: {what}: wanted {wanted}")
            wrong += 1
    assert wrong == 0, f"{wrong} of {len(CASES)} judged wrongly"
    print(f"{len(CASES)} servers and machines, each judged as it should be")


if __name__ == "__main__":
    main()
