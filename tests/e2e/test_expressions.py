#!/usr/bin/python3
"""P3 and P5: what expressions come to, at the edges of 64 bits, against a model.

    test_expressions.py [--contracts N] [--seed N]

Each contract has an event per random expression, as an effect (i64, u64) or as a guard, and every
event is sent with values that overflow, divide by zero and change signs. The printed text has
only the parentheses that C needs, so that a wrong precedence shows.
"""

import argparse
import pathlib
import random
import sys

import hypothesis
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import contracts  # noqa: E402
import feeds  # noqa: E402
import resp  # noqa: E402
from contracts import Contract, Effect, Name, Transition, Type  # noqa: E402
from server import Server  # noqa: E402

EXPRESSIONS = 12
VALUES = 40
FIELDS = {kind: Name(kind, Type(kind)) for kind in ("i64", "u64")}
PARAMS = tuple(Name(f"{kind}_{letter}", Type(kind)) for kind in FIELDS for letter in "abc")


@st.composite
def calculators(draw):
    """A contract with one event per expression."""
    transitions, events = [], {}
    for number in range(EXPRESSIONS):
        event, kind = f"E{number}", draw(st.sampled_from(sorted(FIELDS)))
        events[event] = PARAMS
        names = [*PARAMS, *FIELDS.values()]
        if draw(st.integers(0, 3)):
            value = draw(contracts.numbers(names, kind, depth=3))
            transitions.append(Transition("S", "S", event, None, (Effect(FIELDS[kind], "=", value),)))
        else:
            guard = draw(contracts.guards(names))
            transitions.append(Transition("S", "S", event, guard, ()))
    return Contract("x", 1, tuple(FIELDS.values()), events, "S", tuple(transitions), (), ())


def value(rng, kind):
    """Small, of either sign, or at an edge."""
    if kind == "i64" and rng.random() < 0.4:
        return rng.randrange(-12, 13)
    return contracts.pick(rng, Type(kind))


def compare(connection, contract, rng):
    """Sends every event with many values; (accepted, refused), or the first difference as an AssertionError."""
    entity, lines, expected = contract.new_entity(), [], []
    for transition in contract.transitions * VALUES:
        params = {p.name: value(rng, p.type.kind) for p in contract.events[transition.event]}
        words = [part for name, number in params.items() for part in (name, str(number))]
        lines.append(("HF.SEND", contract.name, "k", transition.event, *words))
        try:
            entity = contract.step(entity, transition.event, params)
            expected.append(entity)
        except contracts.Refused as refused:
            expected.append(refused)
        lines.append(("HF.GET", contract.name, "k", *FIELDS))
    replies = feeds.call_all(connection, lines)
    now = contract.new_entity()
    for sent, after, reply, read in zip(lines[::2], expected, replies[::2], replies[1::2]):
        where = f"{sent} after {now}:\n{contract.text()}\n{after!r} was expected, got {reply!r}, {read!r}"
        if isinstance(after, contracts.Refused):
            assert isinstance(reply, resp.Error) and reply.startswith("REFUSED "), where
        else:
            now = after
            assert reply[:2] == [b"S", after.version], where
        if now.version:
            got = feeds.as_dict(read)
            assert all(got[name] == str(number) for name, number in now.fields.items()), where
    refused = sum(isinstance(after, contracts.Refused) for after in expected)
    return len(expected) - refused, refused


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--contracts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=64)
    args = parser.parse_args()
    print("seed", args.seed)
    rng = random.Random(args.seed)
    totals = [0, 0]

    with Server() as server, resp.Connection(server.connect()) as connection:
        @hypothesis.seed(args.seed)
        @hypothesis.settings(max_examples=args.contracts, deadline=None, database=None,
                             phases=[hypothesis.Phase.generate],
                             suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(calculators())
        def every_contract(calculator):
            name = f"x{connection.call('HF.HASH')[0]}"
            calculator = contracts.dataclasses.replace(calculator, name=name)
            loaded = connection.call("HF.CONTRACT", "LOAD", calculator.text())
            assert not isinstance(loaded, resp.Error), f"{loaded}\n{calculator.text()}"
            for i, count in enumerate(compare(connection, calculator, rng)):
                totals[i] += count

        every_contract()
    print(f"{totals[0]} accepted, {totals[1]} refused, all as the model says")
    assert min(totals) > 1000, "too one-sided to mean much"


if __name__ == "__main__":
    main()
