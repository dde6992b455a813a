#!/usr/bin/python3
"""Derives the contract from the log (CSV on stdin, contract on stdout): what happened is allowed, and no more.

    xzcat bpic2013_incidents.csv.xz | ./derive.py > incidents.mmd
"""

import csv
import sys

from convert import STATES

HEAD = """\
---
title: incidents
---
stateDiagram-v2
    %% version 1
    %% Made by derive.py from the BPI Challenge 2013 incident log; do not edit.
    %% Times are in seconds since 1970.
    %% field opened: u64
    %% field last: u64
    %% field queued: u64
    %% field reopened: u64
    %% invariant opened <= last"""


def pairs(lines):
    """Every (state before, state after) of the log; None before a case's first event."""
    found, current = set(), {}
    for row in csv.DictReader(lines):
        state = row["status"], row["substatus"]
        found.add((current.get(row["case"]), state))
        current[row["case"]] = state
    return found


def transition(before, after):
    """One line of the diagram."""
    name, event = STATES[after]
    effects = ["last = at"]
    if before is None:
        effects.insert(0, "opened = at")
    if event == "Queue":
        effects.append("queued += 1")
    if before and before[0] == "Completed" and after[0] != "Completed":
        effects.append("reopened += 1")
    origin = STATES[before][0] if before else "[*]"
    guard = " [at >= last]" if before else ""
    return f"    {origin} --> {name} : {event}(at: u64){guard} / {', '.join(effects)}"


def main():
    found = pairs(sys.stdin)
    states = sorted({after for _before, after in found})
    print(HEAD)
    for state in states:
        print(f'    state "{" / ".join(state)}" as {STATES[state][0]}')
    for before, after in sorted(found, key=lambda pair: (pair[0] or (), pair[1])):
        print(transition(before, after))
    # An end is what the log enters and never leaves.
    for state in states:
        if not any(before == state for before, _after in found):
            print(f"    {STATES[state][0]} --> [*]")


if __name__ == "__main__":
    main()
