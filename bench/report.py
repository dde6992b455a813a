"""The results of bench/run as text."""
import statistics

import peers
import quiet
import reads

MISSING = "-"


def median(values):
    """Of those that are there; None if none is."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def number(value, digits=0):
    return MISSING if value is None else f"{value:,.{digits}f}"


def with_unit(value, digits, unit):
    return MISSING if value is None else number(value, digits) + unit


def aligned(rows):
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


class Runs:
    """The runs by name, as medians over the rounds."""

    def __init__(self, runs):
        self.runs = runs

    def median(self, name, figure):
        return median(run.get(figure) for run in self.runs.get(name, []))

    def ratio(self, name, other, figure="rate"):
        """Median of the ratios round by round: what drifts from round to round hits both."""
        return median(a[figure] / b[figure] for a, b in zip(self.runs.get(name, []), self.runs.get(other, [])))

    def spread(self, name):
        """How far apart the rounds are: (highest - lowest) / median."""
        rates = [run["rate"] for run in self.runs[name]]
        return (max(rates) - min(rates)) / statistics.median(rates)

    def noisy(self, name=None):
        """How many of the runs of that name, or of all, saw other work on the machine."""
        chosen = [self.runs[name]] if name else self.runs.values()
        return sum(bool(run.get("noisy")) for group in chosen for run in group)


def network_table(runs):
    """The absolute figures, a block for each pipeline."""
    rows = [["per event: CPU us, bytes on disk, RSS, counted", "events/s", "spread", "p50 us", "p99 us", "p99.9 us",
             "server", "client", "CPU us", "disk", "RSS", "counted", "~"]]
    for clients, pipeline in ((50, 1), (50, 16), (50, 64), (1, 1)):
        title = f"{clients} clients, pipeline {pipeline}" if clients > 1 else "one client alone"
        rows.append([title] + [""] * (len(rows[0]) - 1))
        for peer in peers.ALL:
            name = f"{peer.name} c{clients} P{pipeline}"
            if name not in runs.runs:
                continue
            cells = [number(runs.median(name, "rate")), f"{runs.spread(name):.0%}"]
            cells += [number(runs.median(name, figure)) for figure in ("p50", "p99", "p999")]
            cells += [f"{runs.median(name, figure):.0%}" for figure in ("server", "client")]
            cells += [number(runs.median(name, "server_us"), 2)]
            cells += [number(runs.median(name, figure), 1) for figure in ("disk", "resident", "counted")]
            rows.append(["  " + peer.label] + cells + ["~" * runs.noisy(name)])
    return aligned(rows)


def flush_table(flush):
    rows = [["one write made durable, us", "written p50", "p99", "growing p50", "p99"]]
    for size, times in sorted(flush.items()):
        text = f"{size >> 10} KiB" if size >= 1024 else f"{size} B"
        rows.append(["  " + text] + [number(median(column), 0) for column in zip(*times)])
    return aligned(rows)


def group_table(runs):
    """What a flush of Holdfast's carries."""
    rows = [["Holdfast's flushes", "events", "KiB"]]
    for clients, pipeline in ((50, 1), (50, 16), (50, 64), (1, 1)):
        name = f"holdfast c{clients} P{pipeline}"
        each = runs.median(name, "flushes")
        if each:
            rows.append([f"  {clients} clients, pipeline {pipeline}", number(1 / each, 1),
                         number(runs.median(name, "disk") / each / 1024, 1)])
    return aligned(rows)


def beside_table(runs):
    """Reads with the writers idle, and beside them."""
    rows = [["one read at a time, calm | beside writes: us", "p50", "p99", "p99.9", "reads/s", "| p50", "p99", "p99.9",
             "reads/s", "| writes/s", "server", "reader", "writer", "| p99 ratio", "unknown", "p99 without", "~"]]
    for server, group in reads.servers(reads.BESIDE).items():
        rows.append([server.label] + [""] * (len(rows[0]) - 1))
        for row in group:
            name = f"beside {row.name}"
            cells = [number(runs.median(name, f"{when} {figure}"), 0) for when in ("calm", "busy")
                     for figure in ("p50", "p99", "p999", "reads")]
            cells.append(number(runs.median(name, "busy pumped")))
            cells += [f"{runs.median(name, f'busy {figure}_s'):.0%}" for figure in ("server", "probe", "pumps")]
            cells.append(number(runs.median(name, "ratio"), 2))
            cells += ([f"{runs.median(name, 'busy unknown'):.1%}", number(runs.median(name, "busy known_p99"), 0)]
                      if row.tells_lsn() else [MISSING, MISSING])
            rows.append(["  " + row.label] + cells + ["~" * runs.noisy(name)])
    return aligned(rows)


def scaling_table(runs):
    rows = [["reads, 2 processes, 16 clients, pipeline 64", "reads/s", "spread", "server", "clients", "CPU us", "~"]]
    for row in reads.SCALING:
        name = f"scaling {row.name}"
        cells = [number(runs.median(name, "rate"))]
        cells += [f"{runs.spread(name):.0%}"] + [f"{runs.median(name, who):.0%}" for who in ("server", "pumps")]
        rows.append([f"  {row.label}, {row.server.label}", *cells, number(runs.median(name, "server_us"), 2),
                     "~" * runs.noisy(name)])
    lines = [f"{command}, two threads beside one: {runs.ratio(f'scaling {command} 2', f'scaling {command} 1'):.2f} "
             f"of the reads, {runs.ratio(f'scaling {command} 2', f'scaling {command} 1', 'server_us'):.2f} of the "
             "server's CPU time a read" for command in ("HF.GET", "GET", "redis")]
    return aligned(rows) + lines


def embedded_table(runs, memory):
    rows = [["without a network", "events/s", "spread", "CPU us/event", "p50 us", "p99 us", "p99.9 us"]]
    for name, label in (("embedded", "embedded, durable, 64 events a call"),
                        ("embedded one", "embedded, durable, one a call"),
                        ("embedded no-sync", "embedded, no-sync, 64 events a call"),
                        ("replay cold", "replay with hash, one core, from the disk"),
                        ("replay", "replay with hash, one core, from the page cache"),
                        ("send", "embedded, each event waited for")):
        rate = runs.median(name, "rate")
        rows.append(["  " + label, number(rate), f"{runs.spread(name):.0%}" if rate else MISSING,
                     number(runs.median(name, "cpu_us"), 2)]
                    + [number(runs.median(name, figure), 1) for figure in ("p50_us", "p99_us", "p999_us")])
    parts = ", ".join(f"{name.removeprefix('memory_')} {value:.1f}" for name, value in memory.items()
                      if name != "resident")
    counted = counted_memory(memory)
    return aligned(rows) + ["", f"An order with three ids: {counted:.1f} bytes of memory as counted ({parts}); "
                                f"the process grew by {memory['resident']:.1f}."]


def counted_memory(memory):
    return sum(value for name, value in memory.items() if name != "resident")


def flush_for(runs, flush):
    """p50 of a flush as large as those of one client alone: (bytes, us)."""
    each = runs.median("holdfast c1 P1", "flushes")
    wanted = runs.median("holdfast c1 P1", "disk") / each if each else 0
    size = min((size for size in flush if size >= wanted * 0.99), default=max(flush))
    return size, median(times[0] for times in flush[size])


def goals(runs, results):
    """Rows of (goal in words, wanted, reached as text, met or None where it was not measured)."""
    def at_least(words, wanted, reached, unit="x", digits=2):
        text = f"{wanted:,.0f}" if wanted > 1000 else f"{wanted:g}"
        return words, f">= {text}{unit}", with_unit(reached, digits, unit), reached and reached >= wanted

    def at_most(words, wanted, reached, unit, digits=1):
        return words, f"<= {wanted}{unit}", with_unit(reached, digits, unit), reached and reached <= wanted

    def ratio(pipeline, other):
        return runs.ratio(f"holdfast c50 P{pipeline}", f"{other} c50 P{pipeline}")

    for pipeline, wanted in ((1, (("volatile", 0.95), ("limit", 0.95))), (16, (("lua", 13), ("volatile", 1.5))),
                             (64, (("lua", 25), ("volatile", 2.5)))):
        for other, factor in wanted:
            label = next(peer.label for peer in peers.ALL if peer.name == other)
            yield at_least(f"pipeline {pipeline}, beside {label}", factor, ratio(pipeline, other))
    for pipeline in (1, 16, 64):
        yield at_least(f"pipeline {pipeline}, fsync on beside off", 0.9, ratio(pipeline, "nosync"))
    yield at_least("embedded, fsync on beside off", 0.9, runs.ratio("embedded", "embedded no-sync"))
    size, flush_us = flush_for(runs, results["flush"])
    alone = runs.median("holdfast c1 P1", "p50")
    yield at_most(f"one client alone: p50 above a flush of {size} B ({flush_us:.0f} us)", 25,
                  alone - flush_us if alone else None, " us")
    yield at_least("embedded, durable", 2e6, runs.median("embedded", "rate"), "/s", 0)
    yield at_least("replay with hash, one core", 5e6, runs.median("replay", "rate"), "/s", 0)
    for pipeline in (1, 16, 64):
        yield at_most(f"disk per event, 50 clients, pipeline {pipeline}", 96,
                      runs.median(f"holdfast c50 P{pipeline}", "disk"), " B")
    yield at_most("HF.GET beside saturating writes, p99 beside calm", 1.25, runs.median("beside one", "ratio"),
                  "x", 2)
    yield at_most("HF.GET, two threads beside one, CPU time a read", 1.1,
                  runs.ratio("scaling HF.GET 2", "scaling HF.GET 1", "server_us"), "x", 2)
    yield at_most("memory per order with three ids", 200, counted_memory(results["memory"]), " B")


def goal_table(runs, results):
    rows = [["goal", "wanted", "reached", "met"]]
    doubt = "" if is_quiet(runs, results) else " ~"
    for words, wanted, reached, met in goals(runs, results):
        rows.append(["  " + words, wanted, reached, MISSING if met is None else ("yes" if met else "NO") + doubt])
    return aligned(rows)


def is_quiet(runs, results):
    """Few noisy runs, and two quiet probes."""
    total = sum(len(group) for group in runs.runs.values())
    return runs.noisy() * 4 <= total and all(map(quiet.is_quiet, (results["probe before"], results["probe after"])))


def noise_lines(runs, results):
    total = sum(len(group) for group in runs.runs.values())
    lines = [f"before: {quiet.text(results['probe before'])}", f"after:  {quiet.text(results['probe after'])}"]
    if runs.noisy():
        lines.append(f"{runs.noisy()} of {total} runs were noisy (a ~ each): others took more than "
                     f"{quiet.OTHERS_LIMIT:.0%} of a core, or the host more than {quiet.STEAL_LIMIT:.0%}.")
    if not is_quiet(runs, results):
        lines.append("THE MACHINE WAS NOT QUIET: do not quote these figures.")
    if results["quick"]:
        lines.append("A SMOKE (--quick): far too short to mean anything.")
    return lines


def text(results):
    runs = Runs(results["runs"])
    lines = [f"bench of {results['began']}, {results['minutes']:.1f} minutes"]
    lines += [results[name] for name in ("machine", "versions", "method")]
    lines += noise_lines(runs, results)
    tables = [beside_table(runs), scaling_table(runs)]
    if "flush" in results:  # else there are only the reads
        tables = [network_table(runs), group_table(runs), flush_table(results["flush"]),
                  embedded_table(runs, results["memory"]), *tables, goal_table(runs, results)]
    for table in tables:
        lines += [""] + table
    return "\n".join(lines) + "\n"
