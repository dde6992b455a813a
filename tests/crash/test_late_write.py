#!/usr/bin/python3
"""P1: a write that is still on its way when its process is killed cannot land on what the next one writes.

    test_late_write.py

`holdfast serve` writes to ext4 on a loop device, and the kernel holds its writes back (the block
controller of control groups): an event is on its way, and the server is killed with kill -9. The
write goes on: io_uring's writes outlive their process. The next server, whose writes nobody holds
back, must say that it waits, and not recover, before the write is over. Then the log is whole, the
event is there once, and so is what comes after it.
"""

import contextlib
import os
import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import mounts  # noqa: E402
import resp  # noqa: E402
from mounts import run  # noqa: E402
from server import Server, holdfast, skip  # noqa: E402

GROUPS = pathlib.Path("/sys/fs/cgroup/blkio")
SEGMENTS = ["--segment-size", "1048576"]
BYTES = 60000  # of the event that is held back
BYTES_A_SECOND = 1024
REST_SECONDS = 0.3  # without a thread at work, after which none will be
WAIT_SECONDS = 2  # in which the next server must not become ready


class Brake:
    """Holds back what a process writes to a device."""

    def __init__(self, device):
        self.group = GROUPS / f"holdfast-test-{os.getpid()}"
        self.limit = self.group / "blkio.throttle.write_bps_device"
        self.device = device

    def __enter__(self):
        self.group.mkdir()
        return self

    def __exit__(self, *exc):
        self.release()
        for pid in (self.group / "cgroup.procs").read_text().split():
            (GROUPS / "cgroup.procs").write_text(pid)
        self.group.rmdir()

    def hold(self, pid):
        """From now on."""
        self.limit.write_text(f"{self.device} {BYTES_A_SECOND}")
        (self.group / "cgroup.procs").write_text(str(pid))

    def release(self):
        """What was held back goes to the disk."""
        self.limit.write_text(f"{self.device} 0")


@contextlib.contextmanager
def disk():
    """(path, device) of an ext4 of its own."""
    with mounts.small_ext4() as path:
        device = os.stat(path).st_dev
        yield path, f"{os.major(device)}:{os.minor(device)}"


def why_not():
    """Why this cannot be had here; None if it can."""
    why = mounts.why_not("mkfs.ext4")
    if why is not None:
        return why
    if not os.access(GROUPS / "blkio.throttle.write_bps_device", os.W_OK):
        return "needs the block controller of control groups (version 1), to hold writes back"
    try:
        with disk():
            return None
    except OSError as why:
        return f"loop devices or ext4 are not allowed here: {why}"


def all_asleep(pid):
    """Whether no thread of the process runs or is in the middle of a write."""
    stats = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)


def come_to_rest(pid):
    """
    Waits until the server has written all that follows an event: the witness and the next segment are written by
    threads with plain calls, and a process with such a call under way ends after it, and then after all before it.
    """
    deadline = time.monotonic() + 30
    since = time.monotonic()
    while time.monotonic() - since < REST_SECONDS:
        if not all_asleep(pid):
            since = time.monotonic()
        assert since < deadline, "the server does not come to rest"
        time.sleep(0.005)


def leave_behind(server, brake):
    """Kills the server while an event, and nothing else, is on its way."""
    with resp.Connection(server.connect()) as connection:
        assert connection.call("SET", "before", "1") == "OK"
        come_to_rest(server.process.pid)
        brake.hold(server.process.pid)
        connection.send_raw(resp.encode("SET", "late", "x" * BYTES))
        connection.sock.settimeout(0.5)
        try:
            raise AssertionError(f"nothing was held back: {connection.read()!r}")
        except TimeoutError:
            pass
    begin = time.monotonic()
    server.kill9()
    took = time.monotonic() - begin
    assert took < BYTES / BYTES_A_SECOND / 2, f"killed in {took:.3f} s: its write was not left behind"
    return took


def wait_and_start(server, brake):
    """Starts it, and sees that it waits until the brake is released."""
    ready = []
    releaser = threading.Timer(WAIT_SECONDS, lambda: (ready.append("ready:" in server.stderr), brake.release()))
    releaser.start()
    try:
        server.start()
    finally:
        releaser.join()
    assert ready == [False], "it recovered while a write of the process before was on its way"
    assert "waiting for the disk" in server.stderr, server.stderr


def check(server):
    """What the log holds, and that it goes on."""
    with resp.Connection(server.connect()) as connection:
        late = connection.call("GET", "late")
        assert late in (None, b"x" * BYTES), f"torn: {late!r:.60}"
        assert connection.call("GET", "before") == b"1"
        assert connection.call("SET", "after", "2") == "OK"
        return late is not None, connection.call("HF.HASH")


def main():
    reason = why_not()
    if reason is not None:
        skip(reason)
    with disk() as (path, device), Brake(device) as brake:
        data = path / "data"
        with Server(data=data, args=SEGMENTS) as first:
            if not first.uses_io_uring():
                skip("needs io_uring: a write by a thread ends before its process does")
            took = leave_behind(first, brake)
        print(f"killed in {took:.3f} s; its write is on its way")
        with contextlib.closing(Server(data=data, args=SEGMENTS)) as following:
            wait_and_start(following, brake)
            there, digest = check(following)
            following.kill9()
            run(holdfast(), "log", "verify", str(data))
            following.start()
            with resp.Connection(following.connect()) as connection:
                assert connection.call("HF.HASH") == digest
    print(f"the next server waited; the event was {'there' if there else 'not there'}; the log is whole")


if __name__ == "__main__":
    main()
