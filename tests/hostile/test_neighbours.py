#!/usr/bin/python3
"""P7: how much a healthy client's p99 grows beside hostile ones. The goal is twice its usual, at most.

    test_neighbours.py [--idle N] [--each N] [--threads N] [--kinds NAME,...] [--patience S]

Windows without and with a crowd take turns: the crowd stays connected, and is stopped and continued. A window in
which processes that are none of ours took the processors is not counted; where too few are left, the test says so
and is skipped. What is compared is the median of the windows' p99, calm and hostile. More windows are taken while it
is too much: the bound is on the server, not on one unlucky second. Where the goal is not reached yet, LIMITS has
what must hold today.
"""

import argparse
import gc
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(pathlib.Path(__file__).resolve().parent)]
sys.dont_write_bytecode = True

import crowds  # noqa: E402
import machine  # noqa: E402
import resp  # noqa: E402
from server import Server, skip  # noqa: E402
from test_crowds import Healthy, grow_big, idle_clients, ROOM  # noqa: E402

GOAL = 2.0
LIMITS = {"flood": 8.0}  # seen on a quiet machine with 2 cores: 4.2
UNPROVEN = 20.0  # for the kinds of which no quiet machine has told yet
PROVEN = ("readers", "flood")
WINDOW_S, SETTLE_S = 0.4, 0.1
PAIRS_MIN, PAIRS_MAX = 3, 40  # of windows


class Figures:
    """What the windows of one kind, calm or hostile, were like."""

    def __init__(self):
        self.p50, self.p99, self.commands = [], [], []

    def add(self, latencies, commands):
        latencies.sort()
        self.p50.append(latencies[len(latencies) // 2])
        self.p99.append(latencies[len(latencies) * 99 // 100])
        self.commands.append(commands)

    def __str__(self):
        return "p50 %5.2f ms  p99 %5.2f ms" % (statistics.median(self.p50) * 1e3, statistics.median(self.p99) * 1e3)


class Neighbourhood:
    """A server, its healthy client, and the crowds of one test."""

    def __init__(self, server, args):
        self.server, self.verbose, self.patience_s = server, args.verbose, args.patience
        self.healthy = Healthy(server)
        self.witness = resp.Connection(server.connect())
        grow_big(self.witness)

    def commands(self):
        text = self.witness.call("INFO", "stats").decode()
        return int(text.split("total_commands_processed:")[1].split()[0])

    def settle(self):
        """What a crowd had asked for when it was stopped is done."""
        before, now = 0, self.commands()
        for _ in range(20):
            time.sleep(SETTLE_S)
            before, now = now, self.commands()
            if now - before <= 3:  # our own questions
                return

    def window(self, crowd, figures):
        """Measures once. False if others had the processors meanwhile."""
        for _ in range(20):
            self.healthy.send()
        load = machine.Load([self.server.process.pid, *crowd.pids()])
        commands, begin, latencies = self.commands(), time.perf_counter(), []
        while (seconds := time.perf_counter() - begin) < WINDOW_S:
            latencies.append(self.healthy.send())
        commands = max(0, self.commands() - commands - len(latencies) - 1) / seconds
        others = load.others()
        if self.verbose:
            latencies.sort()
            print("   p99 %.2f ms, %.0f commands/s, others %.0f%%" % (
                latencies[len(latencies) * 99 // 100] * 1e3, commands, others * 100), flush=True)
        if others > machine.QUIET:
            return False
        figures.add(latencies, commands)
        return True

    def compare(self, name, parts, limit):
        """The ratio of the p99s; None if the machine was too busy."""
        calm, hostile = Figures(), Figures()
        ratio = None
        with crowds.Crowds(self.server.port, parts) as crowd:
            end = time.monotonic() + self.patience_s
            while time.monotonic() < end and len(hostile.p99) < PAIRS_MAX:
                crowd.pause()
                self.settle()
                if not self.window(crowd, calm):
                    continue
                crowd.go_on()
                time.sleep(SETTLE_S)
                if not self.window(crowd, hostile):
                    calm.p50.pop(), calm.p99.pop(), calm.commands.pop()
                    continue
                ratio = statistics.median(hostile.p99) / statistics.median(calm.p99)
                if len(hostile.p99) >= PAIRS_MIN and ratio <= limit:
                    break
        pairs = len(hostile.p99)
        if pairs < PAIRS_MIN:
            print(f"{name}: only {pairs} windows in which nobody else took the processors", flush=True)
            return None
        print("%-34s calm %s   hostile %s  %4.1fx   %6.0f hostile commands/s, %d windows" % (
            name, calm, hostile, ratio, statistics.median(hostile.commands), pairs), flush=True)
        return ratio


def limit(name):
    return LIMITS.get(name, GOAL if name in PROVEN else UNPROVEN)


def kinds(idle, each):
    return {
        "idle": (f"{idle} idle", [(crowds.idle, idle)]),
        "readers": (f"{each} slow readers", [(crowds.slow_readers, each)]),
        "deaf": (f"{each} that never read", [(crowds.deaf, each)]),
        "historians": ("8 that read histories", [(crowds.historians, 8)]),
        "loris": (f"{each} a byte at a time", [(crowds.loris, each)]),
        "announcers": (f"{each} with a huge half command", [(crowds.announcers, each)]),
        "flood": ("8 floods", [(crowds.flood, 8)]),
        "cutters": ("8 that hang up in mid-command", [(crowds.cutters, 8)]),
        "all": ("all of them", [(crowds.idle, idle), (crowds.slow_readers, each), (crowds.loris, each),
                                (crowds.announcers, each), (crowds.flood, 4), (crowds.historians, 4),
                                (crowds.cutters, 4)]),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--each", type=int, default=1000, help="of the other kinds")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--kinds", help="some of them only")
    parser.add_argument("--patience", type=float, default=15, help="seconds for each kind")
    parser.add_argument("--verbose", action="store_true", help="each window")
    args = parser.parse_args()
    idle = idle_clients(args.idle)
    chosen = kinds(idle, args.each)
    names = args.kinds.split(",") if args.kinds else list(chosen)
    serve = ["--max-clients", str(idle + 4 * args.each + ROOM), "--threads", args.threads]
    gc.disable()
    with Server(contracts=str(ROOT / "examples/order"), args=serve) as server:
        neighbourhood = Neighbourhood(server, args)
        ratios = {}
        for name in names:
            ratios[name] = neighbourhood.compare(*chosen[name], limit(name))
            if ratios[name] is None:
                break
    measured = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    print("over the goal of", GOAL, "times:", [name for name in measured if measured[name] > GOAL] or "none")
    over = [f"{name} {ratio:.1f}" for name, ratio in measured.items() if ratio > limit(name)]
    assert not over, f"p99 over its limit, in times of the calm one: {', '.join(over)}"
    if None in ratios.values():
        skip("other processes use the machine: not measured beside " + ", ".join(names[len(ratios) - 1:]))


if __name__ == "__main__":
    main()
