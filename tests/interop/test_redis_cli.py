#!/usr/bin/python3
"""redis-cli: one command, RESP3, a script on its standard input, interactive on a terminal, --pipe, --stat."""

import os
import pty
import select
import shutil
import subprocess
import sys

from common import ORDER, Server, encode, equal, place, run, skip


def cli(server, *args, data=None):
    """Standard output of redis-cli, which must end well and complain of nothing."""
    done = subprocess.run(["redis-cli", "-p", str(server.port), *args], input=data, timeout=60,
                          capture_output=True, check=False)
    equal((done.returncode, done.stderr), (0, b""))
    return done.stdout.decode()


def test_one_shot(server):
    equal(cli(server, "PING"), "PONG\n")
    lines = cli(server, *map(str, place("cli"))).splitlines()
    equal(lines[:2], ["Open", "1"])
    equal(cli(server, "HF.GET", "order", "cli", "qty"), "qty\n10\n")


def test_resp3(server):
    equal(cli(server, "-3", "HF.GET", "order", "cli", "state", "version"), "state Open\nversion 1\n")


def test_error_exit_code(server):
    done = subprocess.run(["redis-cli", "-e", "-p", str(server.port), "HF.SEND", "order", "no", "Cancel"],
                          capture_output=True, timeout=60, check=False)
    equal(done.returncode, 1)
    assert b"REFUSED " in done.stdout + done.stderr


def test_database_and_user(server):
    equal(cli(server, "-n", "0", "PING"), "PONG\n")
    equal(cli(server, "--user", "default", "--pass", "any", "--no-auth-warning", "PING"), "PONG\n")


def test_script(server):
    script = "PING\nHF.CONTRACT LIST\nHF.COUNT order Open\nECHO \"a b\"\n"
    lines = cli(server, data=script.encode()).splitlines()
    equal((lines[0], lines[-1]), ("PONG", "a b"))


def test_interactive(server):
    """On a terminal redis-cli asks for COMMAND DOCS and prints typed replies."""
    parent, child = pty.openpty()
    process = subprocess.Popen(["redis-cli", "-p", str(server.port)], stdin=child, stdout=child,
                               stderr=child, env={**os.environ, "TERM": "dumb"})
    os.close(child)
    screen = b""
    try:
        for line, wanted in ((b"help hf.send\n", b"IFVERSION n"),
                             (b"HF.GET order cli version\n", b"(integer) 1"),
                             (b"quit\n", b"quit")):
            os.write(parent, line)
            while wanted not in screen:
                assert select.select([parent], [], [], 30)[0], "silence after %r: %r" % (line, screen)
                screen += os.read(parent, 65536)
        equal(process.wait(30), 0)
    finally:
        process.kill()
        process.wait()
        os.close(parent)


def test_pipe(server):
    feed = b"".join(encode(*place("pipe-%d" % i)) for i in range(20000))
    feed += encode("HF.SEND", "order", "pipe-0", "NoSuchEvent")
    done = subprocess.run(["redis-cli", "-p", str(server.port), "--pipe"], input=feed, timeout=60,
                          capture_output=True, check=False)
    assert b"errors: 1, replies: 20001" in done.stdout, done
    assert int(cli(server, "HF.COUNT", "order", "Open")) >= 20000


def test_stat(server):
    process = subprocess.Popen(["redis-cli", "-p", str(server.port), "-i", "0.01", "--stat"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        lines = [process.stdout.readline().decode() for _ in range(4)]
    finally:
        process.kill()
        process.communicate()
    assert "keys" in lines[1], lines
    assert int(lines[3].split()[0]) >= 20001, lines


def main():
    if shutil.which("redis-cli") is None:
        skip("redis-cli is not installed (package redis-tools)")
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
