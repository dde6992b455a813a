#!/usr/bin/python3
"""What tests/planted/run takes for a catch, and what not: a test that cannot run has caught nothing.

Each case is a test of a made-up list, and what it should count as when a bug is planted.
"""

import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_S = 2  # in all


def load_run():
    loader = importlib.machinery.SourceFileLoader("planted_run", str(HERE / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("planted_run", loader))
    loader.exec_module(module)
    return module


run = load_run()
PLAIN, HANGS, SAYS = run.Sign(), run.Sign(hangs=True), run.Sign(says="^the key is gone$")
CAUGHT, NOT_CAUGHT, CANNOT_RUN = "caught", "not caught", "cannot run"

CASES = [  # words in the shell, or of a Python program; the bug's sign; what it counts as
    ("true", PLAIN, NOT_CAUGHT),
    ("echo '[  FAILED  ] map_grows'; exit 1", PLAIN, CAUGHT),
    ("echo '[  ERROR   ] map_grows'; exit 1", PLAIN, CAUGHT),
    ("echo 'killed: bit 3 of byte 81912 of snapshot-0000000000001006.hfs: taken silently'; exit 1", PLAIN, CAUGHT),
    ("echo 'holdfast: log.c:3: assertion failed: a == b'; exit 1", PLAIN, CAUGHT),
    ("echo 'FAILED: event 3 is lost'; echo 'seed 3; to see it again: ...'; exit 1", PLAIN, CAUGHT),
    ("echo 'seed 8: ended with 134: lost'; exit 1", PLAIN, CAUGHT),
    ("echo '| two puts | FAILED | 3 + 4 | 9 | 0.01 |'; exit 1", PLAIN, CAUGHT),
    ("kill -SEGV $$", PLAIN, CAUGHT),
    ("kill -ABRT $$", PLAIN, CAUGHT),
    ("python: assert 1 == 2", PLAIN, CAUGHT),
    ("python: import unittest; unittest.TestCase().assertEqual(1, 2)", PLAIN, CAUGHT),
    ("python: raise ConnectionResetError('the server went')", PLAIN, CAUGHT),
    # A test that is there no more, or broken
    ("exit 1", PLAIN, NOT_CAUGHT),
    ("echo FAILED; exit 1", PLAIN, NOT_CAUGHT),
    ("build/tests/unit/test_lgo", PLAIN, NOT_CAUGHT),
    ("python: import rsep", PLAIN, NOT_CAUGHT),
    ("python: open('no-such-file')", PLAIN, NOT_CAUGHT),
    ("python: assrt 1 == 2", PLAIN, NOT_CAUGHT),
    ("python: asert(1 == 2)", PLAIN, NOT_CAUGHT),
    ("echo 'usage: sim MODE'; exit 2", PLAIN, NOT_CAUGHT),
    (None, PLAIN, CANNOT_RUN),
    # One that somebody ended, that was skipped, or that had no time
    ("kill -KILL $$", PLAIN, NOT_CAUGHT),
    ("kill -TERM $$", PLAIN, NOT_CAUGHT),
    ("echo 'SKIP: no disk'; exit 77", PLAIN, NOT_CAUGHT),
    ("echo '[  FAILED  ] one'; exit 77", PLAIN, NOT_CAUGHT),
    ("sleep 60", PLAIN, NOT_CAUGHT),
    ("sleep 60", HANGS, CAUGHT),
    ("echo '[  FAILED  ] one'; exit 1", HANGS, CAUGHT),
    ("exit 1", HANGS, NOT_CAUGHT),
    # One that is to say something of its own
    ("echo the key is gone; exit 1", SAYS, CAUGHT),
    ("echo the key is gone", SAYS, NOT_CAUGHT),
    ("echo '[  FAILED  ] another test'; exit 1", SAYS, NOT_CAUGHT),
    ("sleep 60", SAYS, NOT_CAUGHT),
]


class Tree(run.Lane):
    """A lane in which nothing is built."""

    def __init__(self, root):  # pylint: disable=super-init-not-called
        self.root = root
        os.mkdir(os.path.join(root, "build"))

    def build(self, words=()):
        pass


class Test:
    """As tests/run has it."""

    timeout_s = 60

    def __init__(self, script):
        if script is None:
            self.words = ["./no-such-program"]
        elif script.startswith("python: "):
            self.words = [sys.executable, "-c", script.removeprefix("python: ")]
        else:
            self.words = ["sh", "-c", script]


def outcome(lane, script, sign):
    planting = run.Planting({"it": Test(script)})
    planting.patience_s = lambda _catcher, _sign: PATIENCE_S
    try:
        planting.catch(lane, "a bug", ["it"], sign)
    except OSError:
        return CANNOT_RUN
    return NOT_CAUGHT if planting.holes else CAUGHT


def check_untried(lane):
    """A bug whose tests are skipped here is neither caught nor a hole: the whole is a skip, unless there are holes."""
    planting = run.Planting({"it": Test("exit 77"), "blind": Test("true")})
    planting.prove(lane, "it")
    planting.catch(lane, "a bug", ["it"])
    assert (planting.untried, planting.holes) == (["a bug"], [])
    assert run.verdict(planting) == run.SKIP_STATUS
    planting.prove(lane, "blind")
    planting.catch(lane, "another", ["it", "blind"])
    assert (planting.untried, planting.holes) == (["a bug"], ["another"])
    assert run.verdict(planting) == 1


def check_pattern(lane):
    """A pattern that no test's name matches is a mistake in bugs.py."""
    planting = run.Planting({"it": Test("echo '[==========] Running 0 test(s).'"), "one": Test("echo Running")})
    planting.prove(lane, "one")
    try:
        planting.prove(lane, "it")
    except RuntimeError as why:
        assert str(why) == "it: no test has such a name"
    else:
        raise AssertionError("a pattern that matches nothing was taken for a test")


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as root:
        lane = Tree(root)
        for script, sign, wanted in CASES:
            got = outcome(lane, script, sign)
            if got != wanted:
                print(f"FAILED: {script}, {sign}: {got}, wanted {wanted}")
                wrong += 1
        check_untried(lane)
        check_pattern(lane)
    assert wrong == 0, f"{wrong} of {len(CASES)} judged wrongly"
    print(f"{len(CASES)} tests, each counted as what it is")


if __name__ == "__main__":
    main()
