"""How much of the machine went to processes that are not the test's."""

import os
import time

QUIET = 0.10  # of one processor: what a window may lose to others
TICKS = os.sysconf("SC_CLK_TCK")


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
        self.begin, self.busy, self.ours = time.monotonic(), _busy_s(), self._ours()

    def _ours(self):
        return sum(map(_ran_s, self.pids))

    def others(self):
        """The processors' time that others had, in processors; good to some hundredths."""
        return (_busy_s() - self.busy - (self._ours() - self.ours)) / (time.monotonic() - self.begin)
