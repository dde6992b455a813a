#!/usr/bin/python3
"""P7: how much a healthy client's p99 grows beside hostile ones. Twice its usual, at most.

    test_neighbours.py [--idle N] [--each N] [--threads N] [--kinds NAME,...] [--pairs N] [--patience S] [--others N]

Windows without and with a crowd take turns, each of some thousand requests, or what came in its time; the crowd comes
anew for each. What is compared is the median of the windows' p99, calm and hostile, of a number of pairs that is said
beforehand: the bound is on the server, not on one unlucky second, and no look at the figures ends it. A crowd that is
not there, or does not do what it came for, fails the test.

A window in which processes that are none of ours took the processors is not counted, nor is its pair; nothing else is
a reason for that. Where PATIENCE seconds went to such pairs, the test says so and is skipped. A server that does not
answer for ANSWER_S fails it. A server that has a thread for every processor would wait for one as often as the crowd:
that, too, is said and skipped. test_planted.py has the proof that all this can fail.
"""

import argparse
import contextlib
import gc
import os
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
from test_crowds import Healthy, demand_all_idle, grow_big, idle_clients, ROOM  # noqa: E402

GOAL = 2.0
REQUESTS = 2000  # of a window: 20 are beyond the p99
WINDOW_S = 8.0  # it ends then, and is judged by what came
SETTLE_S, SETTLES = 0.1, 50
PAIRS = 9
ANSWER_S = 20


class Window:
    """What was measured once: the requests' times, what others took of the processors, and what the crowd did."""

    def __init__(self, latencies, others, did):
        self.latencies, self.others, self.did = sorted(latencies), others, did

    def quantile_ms(self, percent):
        return self.latencies[len(self.latencies) * percent // 100] * 1e3

    def __str__(self):
        return "p50 %.2f p99 %.2f ms, %d requests, %s, others %.0f%%" % (
            self.quantile_ms(50), self.quantile_ms(99), len(self.latencies), work(self.did), self.others * 100)


class Figures:
    """What the windows of one kind, calm or hostile, were like."""

    def __init__(self, windows):
        self.p50 = [window.quantile_ms(50) for window in windows]
        self.p99 = [window.quantile_ms(99) for window in windows]
        self.did = {name: statistics.median(window.did[name] for window in windows) for name in windows[0].did}

    def __str__(self):
        return "p50 %.2f p99 %.2f (%.2f to %.2f)" % (
            statistics.median(self.p50), statistics.median(self.p99), min(self.p99), max(self.p99))


class Neighbourhood:
    """A server, its healthy client, and the crowds of one test."""

    def __init__(self, server):
        self.server = server
        self.healthy = Healthy(server)
        self.witness = resp.Connection(server.connect())
        for connection in self.healthy.connection, self.witness:
            connection.sock.settimeout(ANSWER_S)
        grow_big(self.witness)

    def info(self):
        text = self.witness.call("INFO").decode()
        return {name: int(value) for name, _, value in (line.partition(":") for line in text.splitlines())
                if value.isdigit()}

    def settle(self):
        """The last crowd is gone, and what it had asked for is done."""
        before = now = self.info()
        for _ in range(SETTLES):
            time.sleep(SETTLE_S)
            before, now = now, self.info()
            done = now["total_commands_processed"] - before["total_commands_processed"]
            if now["connected_clients"] == 2 and done <= 1:
                return

    def window(self, pids):
        """Measures once."""
        for _ in range(20):
            self.healthy.send()
        load, before = machine.Load([self.server.process.pid, *pids]), self.info()
        begin, latencies = time.perf_counter(), []
        while (seconds := time.perf_counter() - begin) < WINDOW_S and len(latencies) < REQUESTS:
            latencies.append(self.healthy.send())
        after, others, server = self.info(), load.others(), load.share(self.server.process.pid)
        return Window(latencies, others, {
            "clients": after["connected_clients"] - 2,
            "commands": (after["total_commands_processed"] - before["total_commands_processed"]
                         - len(latencies) - 1) / seconds,
            "came": (after["total_connections_received"] - before["total_connections_received"]) / seconds,
            "server": server,
        })

    def pair(self, kind):
        """Two windows, one after the other: calm, and beside the kind's crowd."""
        self.settle()
        calm = self.window([])
        with crowds.Crowds(self.server.port, kind.parts) as crowd:
            time.sleep(SETTLE_S)
            return calm, self.window(crowd.pids())


def quiet_pairs(pair, kind, args):
    """So many in which nobody else took the processors; fewer if that took more than our patience."""
    pairs, lost_s = [], 0.0
    while len(pairs) < args.pairs and lost_s <= args.patience:
        begin = time.monotonic()
        both = pair(kind)
        quiet = all(window.others <= args.others for window in both)
        if quiet:
            pairs.append(both)
        else:
            lost_s += time.monotonic() - begin
        if args.verbose:
            for window in both:
                print(f"   {window}{'' if quiet else ': not counted'}", flush=True)
    return pairs


def compare(pair, kind, args):
    """The ratio of the p99s; None if the machine was too busy."""
    pairs = quiet_pairs(pair, kind, args)
    if len(pairs) < args.pairs:
        print(f"{kind.what}: only {len(pairs)} pairs of windows in which nobody else took the processors", flush=True)
        return None
    calm, hostile = map(Figures, zip(*pairs))
    ratio = statistics.median(hostile.p99) / statistics.median(calm.p99)
    print("%-32s %3.1fx   calm %s   hostile %s ms   %d pairs, %s" % (
        kind.what, ratio, calm, hostile, len(pairs), work(hostile.did)), flush=True)
    for name, least in kind.least.items():
        did = hostile.did[name]
        assert did >= least, f"{kind.what}: that was no crowd: {name} {did:.2f}, expected {least}"
    return ratio


def judge(ratios):
    """Ends the test, by the ratio of each kind."""
    over = [f"{name} {ratio:.1f}" for name, ratio in ratios.items() if ratio is not None and ratio > GOAL]
    assert not over, f"p99 over {GOAL} times the calm one: {', '.join(over)}"
    unknown = [name for name in ratios if ratios[name] is None]
    if unknown:
        skip("other processes use the machine: not measured beside " + ", ".join(unknown))


def work(did):
    return "%(clients)d clients, %(commands).0f commands/s, %(came).0f connections/s" % did + \
        ", server %.0f%% of a processor" % (did["server"] * 100)


class Kind:
    """A crowd, and the least that it must be seen to do."""

    def __init__(self, what, parts, **least):
        self.what, self.parts, self.least = what, parts, least


def kinds(idle, each):
    most = 0.9 * each
    return {
        "idle": Kind(f"{idle} idle", [(crowds.idle, idle)], clients=idle),
        "readers": Kind(f"{each} slow readers", [(crowds.slow_readers, each)], clients=most),
        "deaf": Kind(f"{each} that never read", [(crowds.deaf, each)], clients=most / 2),
        "historians": Kind("8 that read histories", [(crowds.historians, 8)], clients=8, server=0.3),
        "scanners": Kind("200 that scan", [(crowds.scanners, 200)], clients=200, commands=500, server=0.7),
        "loris": Kind(f"{each} a byte at a time", [(crowds.loris, each)], clients=most, server=0.03),
        "announcers": Kind(f"{each} with a huge half command", [(crowds.announcers, each)], clients=most),
        "flood": Kind("8 floods", [(crowds.flood, 8)], clients=8, commands=100000, server=0.7),
        "cutters": Kind("8 that hang up in mid-command", [(crowds.cutters, 8)], came=500),
        "all": Kind("all of them", [(crowds.idle, idle), (crowds.slow_readers, each), (crowds.loris, each),
                                    (crowds.announcers, each), (crowds.flood, 4), (crowds.historians, 4),
                                    (crowds.cutters, 4)], clients=idle + 2 * most, commands=20000, server=0.5),
    }


@contextlib.contextmanager
def another_machine(data_dir):
    """
    The healthy client is another machine, too: it does not wait for a processor that a server, busy with others, has.
    Without the right to that it takes its chance with the scheduler. Neither it nor the crowds, which inherit that, are
    in the way of the disk's interrupts, and of the kernel's threads that end a flush where those came.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    os.sched_setaffinity(0, {machine.quiet_processor(data_dir)})
    gc.disable()
    yield


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--each", type=int, default=1000, help="of the other kinds")
    parser.add_argument("--threads", default="1", help="of the server")
    parser.add_argument("--kinds", help="some of them only")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of windows")
    parser.add_argument("--patience", type=float, default=60, help="seconds that each kind may lose to others")
    parser.add_argument("--others", type=float, default=machine.QUIET, help="what others may take, in processors")
    parser.add_argument("--verbose", action="store_true", help="each window")
    args = parser.parse_args()
    processors = len(os.sched_getaffinity(0))
    if processors <= int(args.threads):
        skip(f"{args.threads} threads of the server, and the crowd, need a processor each; here are {processors}")
    idle = idle_clients(args.idle)
    chosen = kinds(idle, args.each)
    names = args.kinds.split(",") if args.kinds else list(chosen)
    serve = ["--max-clients", str(idle + 4 * args.each + ROOM), "--threads", args.threads]
    ratios = {}
    with Server(contracts=str(ROOT / "examples/order"), args=serve) as server, \
            another_machine(server.data_dir):
        neighbourhood = Neighbourhood(server)
        for name in names:
            ratios[name] = compare(neighbourhood.pair, chosen[name], args)
    judge(ratios)
    demand_all_idle(idle, args.idle)


if __name__ == "__main__":
    main()
