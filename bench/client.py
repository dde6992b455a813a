"""redis-benchmark and redis-cli, run and read."""
import itertools
import re
import subprocess
import time

CLIENT_CPU = "1"
BATCH = 64  # request counts are multiples of this, so that no pipeline is cut short at the end
KEYS = 100_000
STEP_TIMEOUT_S = 120
SUMMARY = re.compile(r"throughput summary: ([\d.]+) requests per second")
PERCENTILE = re.compile(r"^([\d.]+)% <= ([\d.]+) milliseconds \(cumulative count \d+\)$", re.MULTILINE)


class Failed(Exception):
    """A step of the benchmark did not do what it must; the text is for the user."""


def output_of(command, **options):
    """What a command prints, errors and all, and its exit status. One that hangs fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=STEP_TIMEOUT_S, **options)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)}: no end after {STEP_TIMEOUT_S} s") from error
    return done.stdout.decode(errors="replace"), done.returncode


def percentile_us(text, wanted):
    """The first latency of redis-benchmark's distribution that covers `wanted` percent."""
    begin = text.index("Latency by percentile distribution:")
    end = text.index("Cumulative distribution of latencies:")
    for covered, milliseconds in PERCENTILE.findall(text[begin:end]):
        if float(covered) >= wanted:
            return float(milliseconds) * 1e3
    raise Failed(f"redis-benchmark printed no {wanted}% latency:\n{text}")


class Client:
    """redis-benchmark against one server. Each run marks its ids with another letter: its random numbers may repeat."""

    def __init__(self, port, pinned):
        self.port, self.pinned = port, pinned
        self.letters = iter("abcdefghijklmnopqrstuvwxyz")

    def run(self, command, requests, clients, pipeline):
        """One run. A dict: rate (events/s), p50, p99, p999 (us)."""
        letter = next(self.letters)
        words = [word.replace("{letter}", letter) for word in command]
        pin = ["taskset", "-c", CLIENT_CPU] if self.pinned else []
        text, status = output_of(
            [*pin, "redis-benchmark", "-h", "127.0.0.1", "-p", str(self.port), "-c", str(clients), "-n", str(requests),
             "-r", str(KEYS), "-P", str(pipeline), "--precision", "3", *words])
        text = text.replace("\r", "\n")
        rate = SUMMARY.search(text)
        if status != 0 or "Error from server" in text or not rate:
            raise Failed(f"redis-benchmark {' '.join(words)}:\n" + "\n".join(
                line for line in text.splitlines() if line.strip() and "overall" not in line)[-2000:])
        return {"rate": float(rate[1]), **{name: percentile_us(text, wanted) for name, wanted in
                                           (("p50", 50), ("p99", 99), ("p999", 99.9))}}

    def warm_up(self, command, clients, pipeline, seconds):
        """Runs until the rate can be told. (requests made, rate)."""
        made, requests = 0, BATCH * 8 * min(pipeline, 16)
        while True:
            begin = time.perf_counter()
            result = self.run(command, requests, clients, pipeline)
            made += requests
            if time.perf_counter() - begin >= seconds:
                return made, result["rate"]
            requests *= 8

    def feed(self, commands):
        """Sends commands (lists of strings) through redis-cli --pipe; every one must succeed."""
        data = b"".join(resp(command) for command in commands)
        text, status = output_of(["redis-cli", "-p", str(self.port), "--pipe"], input=data)
        if status != 0 or "errors: 0," not in text:
            raise Failed(f"redis-cli --pipe: {text[-2000:]}")

    def ask(self, *words):
        """One command and its reply as redis-cli prints it."""
        text, status = output_of(["redis-cli", "-p", str(self.port), *words])
        if status != 0 or text.startswith("ERR"):
            raise Failed(f"redis-cli {' '.join(words)}: {text}")
        return text.rstrip("\n")

    def info(self, section):
        """INFO's fields of one section."""
        lines = self.ask("INFO", section).splitlines()
        return dict(line.strip().split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def resp(words):
    parts = [f"*{len(words)}\r\n"]
    parts += itertools.chain.from_iterable((f"${len(word)}\r\n", word, "\r\n") for word in words)
    return "".join(parts).encode()
