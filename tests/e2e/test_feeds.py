#!/usr/bin/python3
"""Real logs against independent models: the same verdict on each event, the same end.

The exchange day and the incident log each go in twice, whole: through the converter and
`redis-cli --pipe`, as the example's README says, and event by event with redis-py. A third feed
is the day's first part, spoilt: lines dropped, repeated, swapped and changed, so that the rules
have something to refuse in every way.
"""

import os
import pathlib
import random
import re
import subprocess
import sys
import unittest

import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/model")]
sys.dont_write_bytecode = True

import feeds  # noqa: E402
import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402

SPOILT_LINES = 20000
SPOILT_SEED = 2012


def setUpModule():
    feeds.LOBSTER.text(1)
    feeds.INCIDENTS.text(1)


def pipe(feed, text, port):
    """Sends the lines as the README says; (errors, replies) as redis-cli counted them."""
    converter = subprocess.Popen([feed.converter, "--ids"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
    client = subprocess.Popen(["redis-cli", "-p", str(port), "--pipe"], stdin=converter.stdout,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    converter.stdout.close()
    converter.stdin.write("\n".join(text).encode())
    converter.stdin.close()
    output, _ = client.communicate(timeout=120)
    assert converter.wait(timeout=10) == 0
    return tuple(int(n) for n in re.search(r"errors: (\d+), replies: (\d+)", output).groups())


def one_by_one(feed, text, port):
    """Every reply to the lines' commands, with redis-py: [state, version, lsn], or an exception."""
    client = redis.Redis(port=port)
    commands, replies = feed.commands(text), []
    for start in range(0, len(commands), feeds.BATCH):
        batch = client.pipeline(transaction=False)
        for words in commands[start:start + feeds.BATCH]:
            batch.execute_command(*words)
        replies += batch.execute(raise_on_error=False)
    client.close()
    return replies


def spoil(text, seed):
    """The feed after an accident: the same kinds of lines, but many that no exchange would send."""
    rng = random.Random(seed)
    spoilt = []
    for line in text:
        time, kind, order, size, price, side = line.split(",")
        dice = rng.random()
        if dice < 0.02:
            continue
        if dice < 0.04:
            spoilt.append(line)
        elif dice < 0.06:
            size = str(rng.choice([0, 1, int(size) - 1, int(size) + 1, int(size) * 2]))
        elif dice < 0.07:
            price = str(rng.choice([0, int(price) + 100]))
        elif dice < 0.08:
            kind = rng.choice("1234")
        elif dice < 0.081:
            kind, order, size, price = "7", "0", "0", rng.choice(["-1", "0", "1"])
        spoilt.append(",".join((time, kind, order, size, price, side)))
        if rng.random() < 0.05:
            other = rng.randrange(max(0, len(spoilt) - 20), len(spoilt))
            spoilt[-1], spoilt[other] = spoilt[other], spoilt[-1]
    return spoilt


class Feeds(unittest.TestCase):
    """One test per feed and way."""

    def agree(self, server, feed, model, verdicts):
        """The server holds exactly the model's entities."""
        with resp.Connection(server.connect()) as connection:
            names = {verdict[0] for verdict in verdicts}
            self.assertEqual(feeds.differences(connection, model, names)[:5], [])
            counts = {}
            for (contract, _key), entity in model.entities.items():
                counts.setdefault(contract, {}).setdefault(entity.state, 0)
                counts[contract][entity.state] += 1
            for contract, states in counts.items():
                reply = feeds.as_dict(connection.call("HF.COUNT", contract))
                self.assertEqual({s: n for s, n in reply.items() if n}, states)
                for state, count in states.items():
                    self.assertEqual(connection.call("HF.COUNT", contract, state), count)
            lsn, state_hash = connection.call("HF.HASH")
            self.assertEqual(lsn, model.accepted + self.contracts_of(feed))
            return state_hash

    @staticmethod
    def contracts_of(feed):
        """How many records of the log are contracts."""
        return len(list(feed.contracts.glob("*.mmd")))

    def same_verdicts(self, feed, verdicts, replies):
        """Each reply is the model's verdict; an accepted event takes the next log sequence number."""
        self.assertEqual(len(replies), len(verdicts))
        lsn = self.contracts_of(feed)
        for number, (verdict, reply) in enumerate(zip(verdicts, replies), start=1):
            name, accepted, state, version = verdict
            where = f"event {number}, {name}"
            if accepted:
                lsn += 1
                self.assertEqual(reply, [state.encode(), version, lsn], where)
            else:
                self.assertIsInstance(reply, redis.ResponseError, where)
                self.assertTrue(str(reply).startswith(f"REFUSED {name[0]}:{name[1]} "), reply)

    def whole(self, feed):
        """Both ways, and a replay, end in the same hash."""
        text = feed.text()
        model, verdicts = feed.judge(text)
        refused = len(verdicts) - model.accepted
        with Server(contracts=feed.contracts) as server:
            self.assertEqual(pipe(feed, text, server.port), (refused, len(verdicts)))
            first = self.agree(server, feed, model, verdicts)
            self.assertEqual(server.terminate(), 0)
            replay = subprocess.run([holdfast(), "replay", server.data_dir, "--verify"],
                                    capture_output=True, text=True)
            self.assertEqual(replay.returncode, 0, replay.stderr)
            self.assertIn(first.decode(), replay.stdout)
        with Server(contracts=feed.contracts) as server:
            self.same_verdicts(feed, verdicts, one_by_one(feed, text, server.port))
            self.assertEqual(self.agree(server, feed, model, verdicts), first)

    def test_exchange_day(self):
        """91,997 order events, 84 of them about orders from before the window."""
        self.whole(feeds.LOBSTER)

    def test_incidents(self):
        """65,533 events, all of which the derived contract allows."""
        model, verdicts = feeds.INCIDENTS.judge(feeds.INCIDENTS.text())
        self.assertEqual((model.accepted, len(verdicts)), (65533, 65533))
        self.whole(feeds.INCIDENTS)

    def test_spoilt_day(self):
        """Refusals of every kind, in the middle of lawful events."""
        text = spoil(feeds.LOBSTER.text(SPOILT_LINES), SPOILT_SEED)
        model, verdicts = feeds.LOBSTER.judge(text)
        self.assertGreater(min(model.refused[kind] for kind in "12347"), 5)
        with Server(contracts=feeds.LOBSTER.contracts) as server:
            self.same_verdicts(feeds.LOBSTER, verdicts,
                               one_by_one(feeds.LOBSTER, text, server.port))
            self.agree(server, feeds.LOBSTER, model, verdicts)

    def test_derived_contract(self):
        """The incidents contract is what derive.py makes of the log."""
        folder = feeds.INCIDENTS.contracts
        derived = subprocess.run([folder / "derive.py"], capture_output=True, text=True, check=True,
                                 input="\n".join(feeds.INCIDENTS.text()),
                                 env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(derived.stdout, (folder / "incidents.mmd").read_text())


if __name__ == "__main__":
    unittest.main()
