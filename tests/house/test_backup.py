#!/usr/bin/python3
"""The commands for backup and restore in docs/operations.md do what they say where the data is behind a symbolic link,
as it is under tools/holdfast.service.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402


def commands():
    """The indented lines of the section, in its order."""
    section = (ROOT / "docs/operations.md").read_text().split("\n## Backup and restore\n")[1].split("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def value_of(server, key):
    with resp.Connection(server.connect()) as connection:
        return connection.call("GET", key)


def put(server, key, value):
    with resp.Connection(server.connect()) as connection:
        assert connection.call("SET", key, value) == "OK"


def main():
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
        for folder in ("private/holdfast", "backup"):
            os.makedirs(f"{temp}/{folder}")
        os.symlink("private/holdfast", temp + "/holdfast")
        with Server(data=temp + "/holdfast", args=["--segment-size", str(1 << 20)]) as server:
            put(server, "key", "saved")
            starts = 0
            for line in commands():
                if line == "systemctl stop holdfast":
                    assert server.terminate() == 0
                elif line == "systemctl start holdfast":
                    server.start()
                    starts += 1
                    assert value_of(server, "key") == b"saved", line
                    put(server, "key", "changed since")
                else:
                    line = line.replace("/var/lib/", temp + "/").replace("/backup/", temp + "/backup/")
                    line = line.replace("holdfast ", holdfast() + " ", 1) if line.startswith("holdfast ") else line
                    subprocess.run(line, shell=True, check=True, timeout=60)
            assert starts == 2, "the section is not what this test knows"
            assert os.path.islink(temp + "/holdfast")


if __name__ == "__main__":
    main()
