"""Was the machine quiet? Other work and a busy host show up here before they show up in the figures."""
import os
import time

CHUNK_LOOPS = 10_000          # about a third of a millisecond: shorter than a scheduler's slice
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOST_LIMIT = 0.03             # of the probe's time; a quiet machine loses less than a hundredth
OTHERS_LIMIT = 0.10           # of one core during a run, taken by neither server nor client
STEAL_LIMIT = 0.02            # of one core during a run, taken by the host


def cpu_seconds(pid):
    """User and system time that a process has used, all its threads together."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def machine_seconds():
    """What all cores spent since boot: (in processes and kernel threads, stolen by the host)."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system) / TICKS_PER_S, steal / TICKS_PER_S


def spin(cpu, seconds, pipe):
    """Does the same small piece of work again and again on one core and reports how long the pieces took."""
    os.sched_setaffinity(0, {cpu})
    clock, took = time.perf_counter, []
    end = clock() + seconds
    begin = clock()
    while begin < end:
        for _ in range(CHUNK_LOOPS):
            pass
        now = clock()
        took.append(now - begin)
        begin = now
    took.sort()
    best = took[len(took) // 10]
    os.write(pipe, f"{best} {1 - best * len(took) / sum(took)} {took[-1]}\n".encode())


def probe(seconds):
    """Spins on every core at once. A list, per core, of (best chunk in s, share of time lost, longest chunk in s)."""
    results = []
    readers = []
    for cpu in sorted(os.sched_getaffinity(0)):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                spin(cpu, seconds, writer)
            finally:
                os._exit(0)
        os.close(writer)
        readers.append((pid, reader))
    for pid, reader in readers:
        with os.fdopen(reader) as file:
            results.append(tuple(float(word) for word in file.read().split()))
        os.waitpid(pid, 0)
    return results


def is_quiet(results):
    return max(lost for _best, lost, _longest in results) <= LOST_LIMIT


def text(results):
    """One line about a probe."""
    worst = max(lost for _best, lost, _longest in results)
    pause = max(longest - best for best, _lost, longest in results)
    speeds = ", ".join(f"{best * 1e6:.0f}" for best, _lost, _longest in results)
    return (f"{'quiet' if is_quiet(results) else 'NOT QUIET'}: a spinning core lost {worst:.1%} to others (limit "
            f"{LOST_LIMIT:.0%}), longest pause {pause * 1e3:.1f} ms; {speeds} us a chunk")


class Watch:
    """Who used the processors between two moments: the server, the client (a child that ended), others, the host."""

    def __init__(self, server_pid):
        self.pid = server_pid
        self.begin = self.now()

    def now(self):
        children = os.times()
        busy, steal = machine_seconds()
        own = children.user + children.system
        return (time.perf_counter(), cpu_seconds(self.pid) if self.pid else 0.0,
                children.children_user + children.children_system, busy, steal, own)

    def stop(self):
        """A dict of shares of one core: server, client, others, steal; and server_s in seconds."""
        wall, server, client, busy, steal, own = (b - a for a, b in zip(self.begin, self.now()))
        others = max(0.0, busy - server - client - own)
        return {"server_s": server, "server": server / wall, "client": client / wall,
                "others": others / wall, "steal": steal / wall,
                "noisy": others / wall > OTHERS_LIMIT or steal / wall > STEAL_LIMIT}
