#!/usr/bin/python3
"""`holdfast check`: what it prints where, and how it exits."""
import json
import os
import subprocess
import sys
import tempfile

HOLDFAST = os.environ.get("HOLDFAST", "build/src/cli/holdfast")
GOOD = "stateDiagram-v2\n    [*] --> A\n    A --> B : go\n    B --> [*]\n"
BAD = "stateDiagram-v2\n    [*] --> A\n\tA --> B :\tgo now\n    B --> [*]\n"
UGLY = b"stateDiagram-v2\n[*] --> A\nA --> \xff\x1b[31m\"\\\xc3\xa9 : go\n"

failures = []


def check(name, wanted, got):
    if wanted != got:
        failures.append(f"{name}: wanted {wanted!r}, got {got!r}")


def run(*args, stdin=b"", env=None):
    done = subprocess.run([HOLDFAST, "check", *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, **(env or {})}, timeout=20)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def people(folder):
    good, bad = os.path.join(folder, "good.mmd"), os.path.join(folder, "bad.mmd")
    check("good", (0, f"{good}: good version 1: 2 states, 1 event, 0 fields, ok\n", ""), run(good))
    code, out, err = run(bad)
    lines = err.split("\n")
    check("bad exit", 1, code)
    check("bad stdout", "", out)
    check("head", f'{bad}:3:12: error: "go now" cannot be an event\'s name [event-name]', lines[0])
    check("source", "    3 | \tA --> B :\tgo now", lines[1])
    check("caret", "      | \t         \t^~~~~~", lines[2])
    check("help", True, lines[3].startswith("      = help: ") and "goNow" in lines[3])
    check("summary", "1 error and 0 warnings in 1 file", lines[4])
    code, out, err = run(good, bad)
    check("both exit", 1, code)
    check("both", (True, True), ("good version 1" in out, "in 2 files" in err))
    check("no colours in a pipe", False, "\x1b" in run(bad, env={"TERM": "xterm"})[2])


def stdin_and_files(folder):
    code, out, err = run("-", stdin=GOOD.encode())
    check("stdin has no name", (1, "", "<stdin>:1:1: error: the contract has no title"), (code, out, err[:45]))
    check("stdin", (0, "<stdin>: door version 1: 2 states, 1 event, 0 fields, ok\n", ""),
          run("-", stdin=b"---\ntitle: door\n---\n" + GOOD.encode()))
    missing = os.path.join(folder, "missing.mmd")
    code, out, err = run(missing)
    check("missing", (1, "", True), (code, out, "missing.mmd: No such file" in err))
    code, out, err = run(folder)
    check("a folder", (1, True), (code, "Is a directory" in err))
    check("too long", True, "65536 bytes" in run("-", stdin=b" " * 70000)[2])
    check("no file", 2, run()[0])
    check("unknown option", 2, run("--jsn", "x")[0])
    check("help", 0, run("--help")[0])


def programs(folder):
    good, ugly = os.path.join(folder, "good.mmd"), os.path.join(folder, "ugly.mmd")
    code, out, err = run("--json", good, ugly, os.path.join(folder, "missing.mmd"))
    check("json exit", (1, ""), (code, err))
    document = json.loads(out)
    check("errors", (2, 1), (document["errors"], document["warnings"] + 1))
    first, second, third = document["files"]
    check("transitions", [{"line": 3, "from": "A", "event": "go", "to": "B"}], first["transitions"])
    check("states", [{"name": "A", "final": False}, {"name": "B", "final": True}], first["states"])
    check("initial", "A", first["initial"])
    check("drawn", 3, len(first["drawn"]["transitions"]))
    check("ugly", ("state-name", 3, 7), tuple(second["diagnostics"][0][key] for key in ("code", "line", "column")))
    check("missing", "io", third["diagnostics"][0]["code"])
    check("nothing that a terminal obeys", False, "\x1b" in run(ugly)[2])


def names(folder):
    """A file's name is no more to be obeyed by a terminal than its text is."""
    odd = "a\x1b]0;x\x07\x9b\t\n\u00e9.mmd"
    shown = os.path.join(folder, "a?]0;x??\t?\u00e9.mmd")
    for text, code in ((GOOD, 1), ("---\ntitle: good\n---\n" + GOOD, 0), (BAD * 30, 1)):
        with open(os.path.join(folder, odd), "w", encoding="utf-8") as out:
            out.write(text)
        got, out, err = run(os.path.join(folder, odd))
        lines = [line for line in (out + err).splitlines() if shown in line]
        check("odd name", (code, True, False, False), (got, bool(lines), "\x1b" in out + err, "\x9b" in out + err))
    check("odd name that is not there", (1, "", f"holdfast check: {shown}x: No such file or directory"),
          tuple(run(os.path.join(folder, odd + "x")))[:2] + (run(os.path.join(folder, odd + "x"))[2].splitlines()[0],))
    good = os.path.join(folder, "good.mmd")
    with open(good, "w", encoding="utf-8") as out:
        out.write("stateDiagram-v2\n    [*] --> A\n    A --> B : \u009b go now\n    B --> [*]\n")
    check("source", False, "\x9b" in run(good)[2])


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("good", GOOD.encode()), ("bad", BAD.encode()), ("ugly", UGLY)):
            with open(os.path.join(folder, name + ".mmd"), "wb") as out:
                out.write(text)
        people(folder)
        stdin_and_files(folder)
        programs(folder)
        names(folder)
    for line in failures:
        print(line)
    return 1 if failures else 0


sys.exit(main())
