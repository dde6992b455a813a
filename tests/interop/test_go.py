#!/usr/bin/python3
"""go-redis, in the version of go/go.mod."""

import os
import shutil
import subprocess
import sys
import tempfile

from common import HERE, ORDER, Server, skip


def build(directory):
    """The client's binary."""
    binary = os.path.join(directory, "client")
    try:
        done = subprocess.run(["go", "build", "-o", binary, "."], cwd=HERE / "go", timeout=240,
                              capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        skip("the Go module proxy does not answer")
    if done.returncode == 0:
        return binary
    if "dial tcp" in done.stderr or "proxy" in done.stderr:
        skip("the Go modules cannot be had: " + done.stderr.strip().splitlines()[-1])
    sys.exit("the client does not build:\n" + done.stderr)


def main():
    if shutil.which("go") is None:
        skip("go is not installed")
    with tempfile.TemporaryDirectory(prefix="holdfast-go-") as directory:
        binary = build(directory)
        with Server(contracts={"order": ORDER}) as server:
            done = subprocess.run([binary, "%s:%d" % (server.address, server.port)], timeout=60, check=False)
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
