#!/usr/bin/python3
"""What the incident log must come to. It reads neither the contract nor anything of the server.

Every event of the log is taken: what happened, happened. A case is in the (status, substatus) of
its last event; it was opened at its first event, has been in the queue so often, and was reopened
each time it left a status of Completed.

Run on a log (CSV with its header on stdin) it prints counts.
"""

import collections
import datetime
import re
import sys


class Case:
    """One incident."""

    def __init__(self, at):
        self.status = None
        self.substatus = None
        self.version = 0
        self.opened = self.last = at
        self.queued = self.reopened = 0

    @property
    def state(self):
        """The state's name: the words of both, or one of them where they are the same."""
        both = self.status if self.status == self.substatus else f"{self.status} {self.substatus}"
        return re.sub(r"\W", "", both)

    def fields(self):
        """The fields as they are spelled on the wire."""
        return {"opened": str(self.opened), "last": str(self.last), "queued": str(self.queued),
                "reopened": str(self.reopened)}


class Model:
    """The whole log, one line at a time, without its header."""

    def __init__(self):
        self.entities = {}
        self.accepted = 0

    def judge(self, line):
        """(entity, accepted, state, version) of one line; accepted is always True."""
        key, timestamp, status, substatus = line.split(",")
        at = round(datetime.datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%S%z").timestamp())
        case = self.entities.setdefault(("incidents", key), Case(at))
        if case.status == "Completed" and status != "Completed":
            case.reopened += 1
        if substatus == "Awaiting Assignment":
            case.queued += 1
        case.status, case.substatus, case.last = status, substatus, at
        case.version += 1
        self.accepted += 1
        return ("incidents", key), True, case.state, case.version


def main():
    model = Model()
    for line in sys.stdin.read().splitlines()[1:]:
        model.judge(line)
    print("accepted", model.accepted, "cases", len(model.entities))
    print(collections.Counter(case.state for case in model.entities.values()))


if __name__ == "__main__":
    main()
