#!/usr/bin/python3
"""tests/lib/npm.py: only a registry that is out of reach is a reason to skip a test."""
import os
import pathlib
import subprocess
import sys
import tempfile

LIB = pathlib.Path(__file__).resolve().parents[1] / "lib"
INSTALL = f"import sys; sys.dont_write_bytecode = True; sys.path[:0] = ['{LIB}']; import npm; print(npm.install('.'))"

# What npm does, the exit status of who called, and what is there to be read.
CASES = [
    ("exit 0", 0, "None"),
    ("echo 'npm error code ENOTFOUND' >&2; exit 1", 0, "npm does not reach its registry: ENOTFOUND"),
    ("echo 'npm ERR! code ERR_SOCKET_TIMEOUT'; exit 1", 0, "npm does not reach its registry: ERR_SOCKET_TIMEOUT"),
    ("echo 'npm error code E407'; exit 1", 0, "npm does not reach its registry: E407"),
    ("echo 'npm error code EINTEGRITY'; echo 'npm error sha512, not ENOTFOUND'; exit 1", 1, "npm ci: exit 1"),
    ("echo 'npm error code EUSAGE'; exit 1", 1, "npm error code EUSAGE"),
    ("exit 3", 1, "npm ci: exit 3"),
    (None, 0, "npm is not installed"),
]


def check(folder, script, status, needle):
    fake = pathlib.Path(folder, "npm")
    fake.unlink(missing_ok=True)
    if script is not None:
        fake.write_text("#!/bin/sh\n" + script + "\n", encoding="utf-8")
        fake.chmod(0o755)
    ended = subprocess.run([sys.executable, "-c", INSTALL], cwd=folder, env=dict(os.environ, PATH=folder), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if ended.returncode == status and needle in ended.stdout:
        return 0
    print(f"{script!r}: exit {ended.returncode}, wanted {status} and '{needle}', in:\n{ended.stdout}")
    return 1


def main():
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(1 if sum(check(folder, *case) for case in CASES) else 0)


if __name__ == "__main__":
    main()
