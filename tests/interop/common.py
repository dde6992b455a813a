"""What the interoperability tests share: a contract, and a runner of functions named test_*."""

import pathlib
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))

from resp import Closed, Connection, Error, encode  # noqa: E402,F401
from server import Server, holdfast, skip  # noqa: E402,F401

ORDER = """---
title: order
---
stateDiagram-v2
    %% version 1
    %% field qty: u64
    %% field filled: u64
    %% field price: i64
    %% field rush: bool
    %% field symbol: bytes(12)
    %% invariant filled <= qty
    [*] --> Open : Place(q: u64, p: i64, s: bytes(12)) [q > 0] / qty = q, price = p, symbol = s
    Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n
    Open --> Open : Touch
    Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n
    Open --> Cancelled : Cancel
    Filled --> [*]
    Cancelled --> [*]
"""


def place(key, quantity=10, *options):
    """The arguments of an HF.SEND that makes an order."""
    return ("HF.SEND", "order", key, "Place", "q", quantity, "p", -5, "s", "ACME", *options)


def equal(got, wanted):
    assert got == wanted, "got %.500r, wanted %.500r" % (got, wanted)


def is_error(reply, beginning):
    assert isinstance(reply, Error), "no error but %r" % (reply,)
    assert reply.startswith(beginning), "got %r, wanted %r..." % (reply, beginning)


def run(module, *args):
    """Calls every test_* function of the module with `args`; returns how many failed."""
    failed = 0
    for name, function in list(module.items()):
        if not name.startswith("test_"):
            continue
        try:
            function(*args)
            print("ok   ", name, flush=True)
        except Exception:  # the next test is run all the same
            failed += 1
            print("FAIL ", name, flush=True)
            traceback.print_exc(file=sys.stdout)
    return failed
