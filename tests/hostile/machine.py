"""Who has the machine: what went to processes that are not the test's, and how some of its own stand back."""

import contextlib
import ctypes
import os
import platform
import signal
import struct
import tempfile
import time

QUIET = 0.10  # of one processor: what a window may lose to others
TICKS = os.sysconf("SC_CLK_TCK")


SLICE_NS = 100_000_000  # the longest
SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


def die_with_parent():
    """A test that is itself killed must not leave its crowds behind, in sessions of their own."""
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        os._exit(1)


def leave_group():
    """
    Makes this process a session of its own. The scheduler gives each session the same share, whatever the priorities
    within (autogroup), and knows the kernel's threads, which end a flush, as another: so this one is told to take
    little.
    """
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write("19")


def stand_back(thread):
    """
    The thread gets what nobody else wants, and gives way at once: who wants less at a time (a slice, sched(7)) need not
    wait until it has had its own. SCHED_IDLE has no slices, and gives way within its session only.
    """
    attr = struct.pack("IIQiIQQQ", 48, os.SCHED_BATCH, 0, 19, 0, SLICE_NS, 0, 0)
    number = SYS_SCHED_SETATTR.get(platform.machine())
    if number is None or ctypes.CDLL(None).syscall(number, thread, attr, 0) != 0:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _interrupts():
    """How many each processor has had from devices."""
    with open("/proc/interrupts", encoding="ascii") as table:
        processors = [int(name.removeprefix("CPU")) for name in next(table).split()]
        lines = [line.split() for line in table]
    rows = [row[1:1 + len(processors)] for row in lines if row[0].rstrip(":").isdigit()]
    return {cpu: sum(int(row[i]) for row in rows) for i, cpu in enumerate(processors)}


def quiet_processor(directory, writes=300):
    """
    One of ours that does not end the writes to this directory's disk: none of its interrupts come there. The last one,
    if it makes no difference.
    """
    before = _interrupts()
    with tempfile.TemporaryFile(dir=directory) as file:
        for i in range(writes):
            os.pwrite(file.fileno(), bytes(512), 512 * i)
            os.fdatasync(file.fileno())
    after = _interrupts()
    busy = {cpu for cpu in after if after[cpu] - before.get(cpu, 0) >= writes / 2}
    ours = os.sched_getaffinity(0)
    return max(ours - busy or ours)


def _kernel_threads():
    """Those that end a flush, and what the network does beside the processes."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == "2":  # a child of kthreadd
            found.append(int(pid))
    return found


def _ran_s(pid):
    """Processor time of all threads of a process, of those that are gone, too."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except OSError:
        return 0.0


def _busy_s():
    """Time in which a processor was not idle, and what the host took away; interrupts are left out."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + steal) / TICKS


class Load:
    """From here on."""

    def __init__(self, pids):
        self.pids = [os.getpid(), *pids, *_kernel_threads()]
        self.begin, self.busy, self.ran = time.monotonic(), _busy_s(), self._ran()

    def _ran(self):
        return {pid: _ran_s(pid) for pid in self.pids}

    def share(self, pid):
        """The processors' time that this one of ours had, in processors."""
        return (_ran_s(pid) - self.ran[pid]) / (time.monotonic() - self.begin)

    def others(self):
        """The processors' time that others had, in processors; good to some hundredths."""
        ours = sum(self._ran().values()) - sum(self.ran.values())
        return (_busy_s() - self.busy - ours) / (time.monotonic() - self.begin)
