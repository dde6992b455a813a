#!/usr/bin/python3
"""What an exchange day must come to. It reads neither the contract nor anything of the server.

The rules, from the feed's own description: a submission opens an order; a partial cancellation
takes away less than what is left, a deletion all of it; an execution takes at most what is left,
at the order's own price. An order that was never submitted has nothing that could be cancelled,
deleted or executed, and one that is over stays so. Hidden executions and halts are about the
symbol.

    judge = Model().judge      # judge(line) -> (entity, accepted, state, version), line by line
    Model.entities             # {(contract, key): Entity} of what exists

Run on a feed (CSV on stdin) it prints counts.
"""

import collections
import dataclasses
import sys

SYMBOL = "AAPL"


@dataclasses.dataclass
class Entity:
    """One order, or the symbol's tape: its state, how often it changed, and its fields as text."""

    state: str
    version: int
    numbers: dict

    def fields(self):
        """The fields as they are spelled on the wire."""
        return {name: str(value).lower() for name, value in self.numbers.items()}


class Model:
    """The whole book, one line of the feed at a time."""

    def __init__(self):
        self.entities = {}
        self.accepted = 0
        self.refused = collections.Counter()

    def judge(self, line):
        """(entity, accepted, state, version) of one line; state and version are None if refused."""
        _time, kind, order, size, price, side = line.split(",")
        name = ("tape", SYMBOL) if kind in "57" else ("lobster", order)
        change = {"1": self._submit, "2": self._reduce, "3": self._delete, "4": self._execute,
                  "5": self._hidden, "7": self._halt}[kind]
        entity = change(name, int(size), int(price), side == "1")
        if entity is None:
            self.refused[kind] += 1
            return name, False, None, None
        entity.version += 1
        self.entities[name] = entity
        self.accepted += 1
        return name, True, entity.state, entity.version

    def _submit(self, name, size, price, is_buy):
        if name in self.entities or size <= 0 or price <= 0:
            return None
        return Entity("Open", 0, {"buy": is_buy, "price": price, "qty": size, "left": size,
                                  "filled": 0, "cancelled": 0})

    def _open_order(self, name):
        order = self.entities.get(name)
        return order if order and order.state == "Open" else None

    @staticmethod
    def _take(order, size, into):
        order.numbers["left"] -= size
        order.numbers[into] += size
        return order

    def _reduce(self, name, size, _price, _is_buy):
        order = self._open_order(name)
        if not order or not 0 < size < order.numbers["left"]:
            return None
        return self._take(order, size, "cancelled")

    def _delete(self, name, size, _price, _is_buy):
        order = self._open_order(name)
        if not order or size != order.numbers["left"]:
            return None
        order.state = "Deleted"
        return self._take(order, size, "cancelled")

    def _execute(self, name, size, price, _is_buy):
        order = self._open_order(name)
        if not order or not 0 < size <= order.numbers["left"] or price != order.numbers["price"]:
            return None
        self._take(order, size, "filled")
        if order.numbers["left"] == 0:
            order.state = "Filled"
        return order

    def _tape(self, name):
        return self.entities.get(name) or Entity("Trading", 0, {"trades": 0, "shares": 0,
                                                                "notional": 0, "last": 0})

    def _hidden(self, name, size, price, _is_buy):
        tape = self._tape(name)
        if tape.state != "Trading" or size <= 0 or price <= 0:
            return None
        tape.numbers["trades"] += 1
        tape.numbers["shares"] += size
        tape.numbers["notional"] += size * price
        tape.numbers["last"] = price
        return tape

    def _halt(self, name, _size, price, _is_buy):
        tape = self._tape(name)
        moves = {("Trading", -1): "Halted", ("Halted", 0): "Quoting", ("Halted", 1): "Trading",
                 ("Quoting", 1): "Trading"}
        if (tape.state, price) not in moves:
            return None
        tape.state = moves[tape.state, price]
        return tape


def main():
    model = Model()
    for line in sys.stdin.read().splitlines():
        model.judge(line)
    print("accepted", model.accepted, "refused", dict(model.refused))
    print(collections.Counter((name[0], e.state) for name, e in model.entities.items()))


if __name__ == "__main__":
    main()
