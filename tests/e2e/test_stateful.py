#!/usr/bin/python3
"""Stateful property tests: random contracts, events, retries, versions, upgrades and crashes against a model.

    test_stateful.py [--examples N] [--seed N] [--shrink]

Without arguments it is the same walk each time. With a seed it is another one, and a failure is
reproduced by the same numbers. After every step the reply, every entity, the LSN and (where
nothing may change) the state hash are compared.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys

import hypothesis
import redis
from hypothesis import stateful
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import contracts  # noqa: E402
import feeds  # noqa: E402
from server import Server, holdfast  # noqa: E402

KEYS = ["a", "b", "key with spaces\r\n"]
BURST_KEYS = KEYS + [f"k{i}" for i in range(9)]
BURST = 30
SEGMENT_SIZE = "1048576"  # the smallest: a server starts at once
IDS = ["1", "2", "3", "id \x00\xff"]


class Life(stateful.RuleBasedStateMachine):
    """One server, one contract and its later versions, a few entities."""

    def __init__(self):
        super().__init__()
        self.server = Server(args=["--segment-size", SEGMENT_SIZE])
        self.server.start()
        self.client = redis.Redis(port=self.server.port)
        self.contract = None
        self.entities = {}  # key -> Entity, once it has an event
        self.ids = {}  # (key, id) -> (the words that were sent, the reply)
        self.lsn = 0
        self.hash = None

    def teardown(self):
        try:
            if self.contract:
                assert self.server.terminate() == 0
                replay = subprocess.run(
                    [holdfast(), "replay", self.server.data_dir, "--verify", "--json"],
                    capture_output=True, text=True)
                assert replay.returncode == 0, replay.stderr
                summary = json.loads(replay.stdout)
                assert (summary["lsn"], summary["state_hash"]) == (self.lsn, self.hash), summary
        finally:
            self.client.close()
            self.server.close()

    # ---- what is sent, and what is compared

    def call(self, *words):
        """The reply, or the text of an error."""
        try:
            return self.client.execute_command(*words)
        except redis.ResponseError as error:
            return str(error)

    def unchanged(self, reply, word):
        """An error that starts with this word; nothing else is different."""
        assert isinstance(reply, str) and reply.split()[0] == word, (word, reply)
        self.same_hash()

    def same_hash(self):
        """Nothing happened."""
        assert self.call("HF.HASH") == [self.lsn, self.hash.encode()], (self.lsn, self.hash)

    def took_place(self):
        """One more record in the log."""
        self.lsn += 1
        lsn, state_hash = self.call("HF.HASH")
        assert lsn == self.lsn, (lsn, self.lsn)
        self.hash = state_hash.decode()

    def judged(self, words, key, event, params):
        """Sends it; accepted or refused as the model says. The reply, or None if refused."""
        reply = self.call(*words)
        try:
            after = self.contract.step(self.entity(key), event, params)
        except contracts.Refused:
            self.unchanged(reply, "REFUSED")
            return None
        before = self.hash
        self.took_place()
        assert reply == [after.state.encode(), after.version, self.lsn], (reply, after)
        assert self.hash != before
        self.entities[key] = after
        return reply

    def entity(self, key):
        """As the model has it."""
        return self.entities.get(key) or self.contract.new_entity()

    @stateful.invariant()
    def same_entities(self):
        """Every entity is what the model says."""
        if not self.contract:
            return
        for key in {*KEYS, *self.entities}:
            reply = self.call("HF.GET", "c", key)
            if key not in self.entities:
                assert isinstance(reply, str) and reply.startswith("NOTFOUND"), reply
                continue
            got = dict(zip(reply[::2], reply[1::2]))
            entity = self.entities[key]
            assert got.pop(b"state") == entity.state.encode(), (got, entity)
            assert int(got.pop(b"version")) == entity.version, (got, entity)
            assert 0 < int(got.pop(b"lsn")) <= self.lsn and int(got.pop(b"time")) > 0
            assert {name.decode(): bytes_of(value) for name, value in got.items()} == {
                name: contracts.spelled(value) for name, value in entity.fields.items()}

    # ---- the rules

    @stateful.initialize(contract=contracts.contracts())
    def load(self, contract):
        """The first contract."""
        if not self.loads(contract):
            hypothesis.reject()
        self.contract = contract
        self.took_place()

    @stateful.rule(data=st.data(), key=st.sampled_from(KEYS), id_=st.none() | st.sampled_from(IDS),
                   ifversion=st.sampled_from([None, None, None, 0, -1, 1]))
    def send(self, data, key, id_, ifversion):
        """Any event with good params; the version that it insists on is right (0) or off by so much."""
        event, params = self.draw_event(data)
        words = self.words(data, key, event, params)
        entity = self.entity(key)
        if ifversion is not None:
            ifversion = max(0, entity.version + ifversion)
            words += ["IFVERSION", str(ifversion)]
        if id_ is not None:
            words += ["ID", id_.encode("latin-1")]
        if (key, id_) in self.ids:
            return  # that is a retry or a reuse: see below
        if ifversion not in (None, entity.version):
            self.unchanged(self.call(*words), "STALE")
        else:
            reply = self.judged(words, key, event, params)
            if reply and id_ is not None:
                self.ids[key, id_] = words, reply

    @stateful.rule(seed=st.integers(0, 2**32 - 1))
    def burst(self, seed):
        """Many events in a row, most of them ones that the state knows."""
        rng = random.Random(seed)
        for _ in range(BURST):
            key = rng.choice(BURST_KEYS)
            known = [t.event for t in self.contract.transitions
                     if t.origin == self.entity(key).state]
            event = rng.choice(known or sorted(self.contract.events))
            params = {p.name: contracts.pick(rng, p.type) for p in self.contract.events[event]}
            words = ["HF.SEND", "c", key, event]
            for name, value in params.items():
                words += [name, contracts.spelled(value)]
            self.judged(words, key, event, params)

    @stateful.precondition(lambda self: self.ids)
    @stateful.rule(data=st.data())
    def retry(self, data):
        """The original reply, whatever happened since."""
        words, reply = self.ids[data.draw(st.sampled_from(sorted(self.ids)))]
        assert self.call(*words) == reply
        self.same_hash()

    @stateful.precondition(lambda self: self.ids)
    @stateful.rule(data=st.data())
    def reuse(self, data):
        """An id that stands for another event is an error, not a silent success."""
        key, id_ = data.draw(st.sampled_from(sorted(self.ids)))
        event, params = self.draw_event(data)
        words, _reply = self.ids[key, id_]
        if event != words[3]:
            self.unchanged(self.call(*self.words(data, key, event, params), "ID",
                                     id_.encode("latin-1")), "BADPARAM")

    @stateful.rule(data=st.data(), key=st.sampled_from(KEYS), how=st.sampled_from(
        ["missing", "unknown", "repeated", "ill-typed", "too long", "event", "contract"]))
    def misspell(self, data, key, how):
        """Events that no contract could allow."""
        event, params = self.draw_event(data)
        words = self.words(data, key, event, params)
        types = {p.name: p.type for p in self.contract.events[event]}
        word = "BADPARAM"
        if how == "event":
            words[3], word = "Nonesuch", "BADEVENT"
        elif how == "contract":
            words[1], word = "nonesuch", "NOTFOUND"
        elif how == "unknown":
            words += ["nonesuch", "1"]
        elif not params:
            return
        elif how == "missing":
            del words[-2:]
        elif how == "repeated":
            words += words[-2:]
        elif how == "ill-typed" and types[words[-2]].kind != "bytes":
            words[-1] = data.draw(st.sampled_from(ill_typed(types[words[-2]].kind)))
        elif how == "too long" and types[words[-2]].kind == "bytes":
            words[-1] = b"x" * (types[words[-2]].longest + 1)
            word = "TOOBIG"
        else:
            return
        self.unchanged(self.call(*words), word)

    @stateful.rule(kill=st.booleans())
    def restart(self, kill):
        """Nothing that was acknowledged is gone."""
        self.client.close()
        if kill:
            self.server.kill9()
        self.server.restart()
        self.client = redis.Redis(port=self.server.port)
        self.same_hash()

    @stateful.rule(data=st.data())
    def upgrade(self, data):
        """A later version keeps every entity, and new fields are zero."""
        later = data.draw(contracts.upgrades(self.contract))
        if not self.loads(later):
            self.same_hash()
            return
        self.contract = later
        zeros = later.new_entity().fields
        self.entities = {key: contracts.Entity(e.state, e.version, {**zeros, **e.fields})
                         for key, e in self.entities.items()}
        self.took_place()

    @stateful.rule()
    def load_again(self):
        """The text that is in force: nothing to do."""
        assert not is_error(self.call("HF.CONTRACT", "LOAD", self.contract.text()))
        self.same_hash()

    @stateful.rule()
    def count_and_history(self):
        """Entities per state, and as many events as the version says."""
        states = [entity.state for entity in self.entities.values()]
        counts = feeds.as_dict(self.call("HF.COUNT", "c"))
        assert {s: n for s, n in counts.items() if n} == {s: states.count(s) for s in states}
        for key, entity in self.entities.items():
            events = [feeds.as_event(event) for event in self.call("HF.HISTORY", "c", key)]
            assert [int(e["version"]) for e in events] == list(range(1, entity.version + 1))
            assert events[-1]["state"] == entity.state

    # ---- helpers

    def loads(self, contract):
        """True if the checker takes it; False if a transition can never be taken, which is then put to the test."""
        reply = self.call("HF.CONTRACT", "LOAD", contract.text())
        if not is_error(reply):
            return True
        never = re.match(r"BADCONTRACT <text>:(\d+):.* can never ", reply)
        assert never, f"{reply}\n{contract.text()}"
        taken = contract.way_to(int(never[1]), random.Random(0))
        assert taken is None, f"{reply}\n{contract.text()}\nbut it is taken with {taken}"
        return False

    def draw_event(self, data):
        """An event's name and values for its params."""
        event = data.draw(st.sampled_from(sorted(self.contract.events)))
        return event, {p.name: data.draw(contracts.values(p.type))
                       for p in self.contract.events[event]}

    @staticmethod
    def words(data, key, event, params):
        """HF.SEND with the params in any order."""
        words = ["HF.SEND", "c", key, event]
        for name in data.draw(st.permutations(sorted(params))):
            words += [name, contracts.spelled(params[name])]
        return words


def is_error(reply):
    """True for what redis-py raised as an error."""
    return isinstance(reply, str)


def ill_typed(kind):
    """Texts that are no values of the type."""
    if kind == "bool":
        return ["1", "TRUE", "", "yes"]
    shared = ["", "x", "1.0", "0x10", " 1", "1 ", "+-1", "18446744073709551616", "1e3"]
    return shared + (["-1"] if kind == "u64" else ["9223372036854775808", "-9223372036854775809"])


def bytes_of(value):
    """A field's value in a reply, as bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--shrink", action="store_true", help="make a failure small; takes minutes")
    args = parser.parse_args()
    machine = Life
    if args.seed is not None:
        print("seed", args.seed)
        machine = hypothesis.seed(args.seed)(Life)
    stateful.run_state_machine_as_test(machine, settings=hypothesis.settings(
        max_examples=args.examples, stateful_step_count=30, deadline=None, database=None,
        derandomize=args.seed is None,
        phases=[hypothesis.Phase.generate] + [hypothesis.Phase.shrink] * args.shrink,
        suppress_health_check=list(hypothesis.HealthCheck)))


if __name__ == "__main__":
    main()
