#!/usr/bin/python3
"""docs/commands.md has a heading for every command of the server's table, with its syntax, and for no other."""

import re
import sys

from common import Connection, HERE, ORDER, Server, equal, run

DOCS = HERE.parents[1] / "docs" / "commands.md"


def headings(text):
    """The headings that begin with a command's name (capitals and dots)."""
    return {line for line in re.findall(r"^### (.*)$", text, re.M)}


def wanted(conn):
    """What COMMAND DOCS says: "NAME SUBCOMMAND syntax" of each command that is not just a group of others."""
    conn.call("HELLO", "3")
    found = set()

    def add(name, doc):
        if b"subcommands" in doc:
            for sub, sub_doc in doc[b"subcommands"].items():
                add(sub, sub_doc)
        if b"subcommands" not in doc or name == b"command":
            syntax = doc[b"arguments"][0][b"name"].decode() if b"arguments" in doc else ""
            found.add((name.decode().upper().replace("|", " ") + " " + syntax).rstrip())

    for name, doc in conn.call("COMMAND", "DOCS").items():
        add(name, doc)
    return found


def test_every_command_is_documented(server):
    with Connection(server.connect()) as conn:
        table = wanted(conn)
        equal(headings(DOCS.read_text()) - table, set())
        equal(table - headings(DOCS.read_text()), set())


def main():
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
