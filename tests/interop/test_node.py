#!/usr/bin/python3
"""node-redis and ioredis, as npm has them, in the versions of node/package-lock.json."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from common import HERE, ORDER, Server, skip  # puts tests/lib on the path

import npm


def install(directory):
    """Puts the pinned packages and the scripts there."""
    for name in ("package.json", "package-lock.json", "node-redis.js", "ioredis.js", "check.js"):
        shutil.copy(HERE / "node" / name, directory)
    why = npm.install(directory)
    if why:
        skip(why)


def main():
    if shutil.which("node") is None:
        skip("node is not installed")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="holdfast-node-") as directory:
        install(directory)
        with Server(contracts={"order": ORDER}) as server:
            for script in ("node-redis.js", "ioredis.js"):
                done = subprocess.run(["node", str(pathlib.Path(directory, script)), str(server.port)],
                                      timeout=60, capture_output=True, text=True, check=False)
                print(done.stdout, done.stderr, sep="", end="", flush=True)
                failed += done.returncode != 0 or done.stderr != ""
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
