"""Where the time of a flush goes: the kernel's own account of each, from its tracepoints."""
import re

# The steps of one flush, each from the event of the one before to its own.
STEPS = (
    ("submitted", "io_uring:io_uring_submit_req", ""),
    ("write sent to the device", "block:block_rq_issue", " WS "),
    ("write done", "block:block_rq_complete", " WS "),
    ("cache flush sent to the device", "block:block_rq_issue", " FF "),
    ("cache flush done", "block:block_rq_complete", " FF "),
    ("the kernel's worker has run", "workqueue:workqueue_execute_end", "iomap_dio_complete_work"),
    ("the server has the completion", "io_uring:io_uring_complete", ""),
)
EVENTS = sorted({event for _name, event, _mark in STEPS} | {"sched:sched_switch"})
LINE = re.compile(r"\s*.+?\s+\d+ \[(\d+)\]\s+([\d.]+):\s+(\S+):\s?(.*)$")


def read(script):
    """(steps: {name: [us]}, seconds that each command ran on each CPU, seconds in all) of perf script's lines."""
    steps = {name: [] for name, _event, _mark in STEPS[1:]}
    ran, running, begin, end, step, since = {}, {}, None, None, 0, 0
    for line in script.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        cpu, now, event, said = int(match[1]), float(match[2]) * 1e6, match[3], match[4]
        begin, end = begin or now, now
        if event == "sched:sched_switch":
            if cpu in running:
                who, from_us = running[cpu]
                ran[cpu, who] = ran.get((cpu, who), 0) + now - from_us
            running[cpu] = (re.search(r"next_comm=(.+?) next_pid=", said)[1], now)
        if event == STEPS[0][1]:
            step, since = 1, now
        elif 0 < step < len(STEPS) and event == STEPS[step][1] and STEPS[step][2] in said:
            steps[STEPS[step][0]].append(now - since)
            step, since = step + 1, now
    return steps, ran, (end or 0) - (begin or 0)


def table(script):
    """The account as lines."""
    steps, ran, total = read(script)
    lines = [f"{'a flush, us':34} {'mean':>7} {'p50':>7} {'p90':>7} {'seen':>6}"]
    whole = 0
    for name, times in steps.items():
        if times:
            times.sort()
            whole += sum(times) / len(times)
            lines.append(f"{'... ' + name:34} {sum(times) / len(times):7.1f} {times[len(times) // 2]:7.1f} "
                         f"{times[len(times) * 9 // 10]:7.1f} {len(times):6}")
    lines.append(f"{'in all':34} {whole:7.1f}")
    for (cpu, who), us in sorted(ran.items(), key=lambda item: -item[1])[:8]:
        lines.append(f"CPU {cpu}: {who:16} {us / total:6.1%}")
    return lines
