"""What the server's memory may be, as docs/operations.md has it ("Memory"), and what it was at most."""

import pathlib
import re

MIB = 1 << 20
PROGRAM = 48 * MIB
SNAPSHOT_PART, SNAPSHOT_MIN, SNAPSHOT_MAX = 25, 2_000_000, 33_000_000
PER_CONNECTION = 1024
SLACK_PER_THREAD = 64 * MIB


def cap(info, threads):
    """By INFO's numbers, where the data has never been more than it is now."""
    snapshot = min(max(info["used_memory"] // SNAPSHOT_PART, SNAPSHOT_MIN), SNAPSHOT_MAX)
    return (PROGRAM + info["used_memory"] + snapshot + info["maxmemory_clients"]
            + info["maxclients"] * PER_CONNECTION + threads * SLACK_PER_THREAD)


def peak(server):
    """The most that was resident at any time."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)[1])
