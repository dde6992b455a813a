#!/usr/bin/python3
"""A LOBSTER message file (CSV, on stdin) as Holdfast commands (RESP, on stdout).

    xzcat FEED.csv.xz | ./convert.py --ids | redis-cli --pipe

One command per line of the feed, and no judgement here: an execution of an order that nobody
submitted is sent like any other, and it is the contract that refuses it.
"""

import argparse
import csv
import sys

SUBMIT, REDUCE, DELETE, EXECUTE, HIDDEN, HALT = "1", "2", "3", "4", "5", "7"
HALT_EVENTS = {"-1": "Halt", "0": "Quote", "1": "Resume"}  # by what stands in the price column


def command(row, symbol):
    """The words of the command for one line of the feed."""
    _time, kind, order, size, price, side = row
    if kind == SUBMIT:
        buy = "true" if side == "1" else "false"
        return ["HF.SEND", "lobster", order, "Submit", "n", size, "p", price, "is_buy", buy]
    if kind == REDUCE:
        return ["HF.SEND", "lobster", order, "Reduce", "n", size]
    if kind == DELETE:
        return ["HF.SEND", "lobster", order, "Delete", "n", size]
    if kind == EXECUTE:
        return ["HF.SEND", "lobster", order, "Execute", "n", size, "p", price]
    if kind == HIDDEN:
        return ["HF.SEND", "tape", symbol, "Hidden", "n", size, "p", price]
    if kind == HALT:
        return ["HF.SEND", "tape", symbol, HALT_EVENTS[price]]
    raise ValueError(f"message type {kind} is not one of 1 to 5 and 7")


def commands(lines, symbol="AAPL", ids=False):
    """The words of a command for each line of the feed, in its order."""
    for number, row in enumerate(csv.reader(lines), start=1):
        try:
            words = command(row, symbol)
        except (ValueError, KeyError) as error:
            sys.exit(f"convert.py: line {number}: {error}")
        # The line number is unique for ever, so a feed that is sent again changes nothing.
        yield words + ["ID", str(number)] if ids else words


def resp(words):
    """One command in Redis's protocol."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbol", default="AAPL", help="key of the tape entity (AAPL)")
    parser.add_argument("--ids", action="store_true", help="add an id per event: a re-run is harmless")
    args = parser.parse_args()
    for words in commands(sys.stdin, args.symbol, args.ids):
        sys.stdout.buffer.write(resp(words))


if __name__ == "__main__":
    main()
