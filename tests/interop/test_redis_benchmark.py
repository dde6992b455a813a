#!/usr/bin/python3
"""redis-benchmark: PING and HF.SEND, one at a time and pipelined, without an error in what it prints."""

import shutil
import subprocess
import sys

from common import Connection, ORDER, Server, equal, place, run, skip


def benchmark(server, *args):
    """Requests per second of the one test that was run."""
    done = subprocess.run(["redis-benchmark", "-p", str(server.port), "--csv", *args], timeout=60,
                          capture_output=True, check=False)
    assert done.returncode == 0, done
    equal(done.stderr, b"")
    last = done.stdout.decode().splitlines()[-1]
    rate = float(last.split('","')[1])
    print("      %-60s %9.0f requests/s" % (" ".join(args), rate))
    return rate


def test_ping(server):
    benchmark(server, "-n", "20000", "-t", "ping_inline")
    benchmark(server, "-n", "20000", "-P", "16", "-t", "ping_mbulk")


def test_resp3(server):
    benchmark(server, "-3", "-n", "20000", "-t", "ping_mbulk")


def test_hf_send(server):
    """Every request is executed: as many events as were sent, no error among the replies."""
    with Connection(server.connect()) as conn:
        conn.call(*place("bench"))
        for pipeline in ("1", "16", "64"):
            before = conn.call("HF.GET", "order", "bench", "version")[1]
            benchmark(server, "-e", "-n", "20000", "-P", pipeline, "HF.SEND", "order", "bench", "Touch")
            equal(conn.call("HF.GET", "order", "bench", "version")[1], before + 20000)


def test_random_keys(server):
    with Connection(server.connect()) as conn:
        before = conn.call("DBSIZE")
        benchmark(server, "-n", "20000", "-P", "16", "-r", "1000000", "HF.SEND", "order",
                  "key:__rand_int__", "Place", "q", "9", "p", "1", "s", "ACME")
        assert conn.call("DBSIZE") > before + 15000


def main():
    if shutil.which("redis-benchmark") is None:
        skip("redis-benchmark is not installed (package redis-tools)")
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
