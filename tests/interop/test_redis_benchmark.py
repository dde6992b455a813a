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
            benchmark(server, "-n", "20000", "-P", pipeline, "HF.SEND", "order", "bench", "Touch")
            done = conn.call("HF.GET", "order", "bench", "version")[1] - before
            # redis-benchmark rounds up to whole pipelines.
            assert 20000 <= done <= 20000 + 50 * int(pipeline), done


def test_random_ids(server):
    """redis-benchmark's random ids repeat: a repeated one gets the original reply, which is no error."""
    def ids(conn):
        return int(conn.call("INFO", "holdfast").split(b"\r\nids:")[1].split(b"\r\n")[0])

    with Connection(server.connect()) as conn:
        before = ids(conn)
        benchmark(server, "-n", "20000", "-P", "16", "-r", "1000000", "HF.SEND", "order", "bench",
                  "Touch", "ID", "id-__rand_int__")
        assert 15000 < ids(conn) - before <= 20000


def main():
    if shutil.which("redis-benchmark") is None:
        skip("redis-benchmark is not installed (package redis-tools)")
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
