#!/usr/bin/python3
"""The docs have all that the server shows, and nothing else; of HF.STATS, the latter is not looked at.

docs/commands.md: a heading for every command of the server's table, with its syntax, and every name of HF.STATS.
docs/operations.md: every field of INFO's section Holdfast.

Names of HF.STATS come with what is counted (a contract, an event, a code), so one that is documented and not there
is no fault: these are held against the table in one direction.
"""

import re
import sys

from common import Connection, HERE, ORDER, Server, equal, place, run

DOCS = HERE.parents[1] / "docs" / "commands.md"
OPERATIONS = HERE.parents[1] / "docs" / "operations.md"
PARTS = ("count", "mean", "p50", "p90", "p99", "p999", "max")  # of one histogram


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


def first_column(text, above):
    """The names in the first column of the table below a line that begins so."""
    table = re.search(r"\n\|.*?\n\n", text[text.index(above):], re.S)[0]
    return {name for line in table.splitlines() for name in re.findall(r"`([^`]*)`", line[1:].split(" |")[0])}


def test_every_figure_of_info_is_documented(server):
    with Connection(server.connect()) as conn:
        shown = {line.split(":")[0] for line in conn.call("INFO", "Holdfast").decode().splitlines() if ":" in line}
    documented = first_column(OPERATIONS.read_text(), "## Figures")
    equal(shown - documented, set())
    equal(documented - shown, set())


def test_every_name_of_stats_is_documented(server):
    """Each name that comes is one of the table's, where words in capitals stand for any."""
    patterns = [re.sub("[A-Z]+", ".+", re.escape(name)) for name in first_column(DOCS.read_text(), "### HF.STATS")]
    with Connection(server.connect()) as conn:
        for command in (place("1", 10, "ID", "a"), place("1", 10, "ID", "a"), ("HF.SEND", "order", "2", "Cancel"),
                        ("SET", "key", "1"), ("INCR", "key"), ("DEL", "key")):
            conn.call(*command)
        names = [name.decode() for name in conn.call("HF.STATS")[::2]]
    assert len(names) > 30, names
    for name in names:
        whole = re.sub(r"\.(%s)$" % "|".join(PARTS), "", name)
        assert any(re.fullmatch(pattern, whole) for pattern in patterns), f"{name} is not in docs/commands.md"


def main():
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
