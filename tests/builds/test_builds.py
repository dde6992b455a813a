#!/usr/bin/python3
"""P5: the same events give the same state hash, whatever compiled the code that judges them.

    test_builds.py [--events N] [--seed N] [-j N] BUILD... | all

The release build makes a log of N events (1,000,000; in logs of at most LOG_EVENTS, each of another seed) and says
its state hash at several LSNs. Each BUILD replays it up to the last of them, judging every event again; of the first
log also up to the others, and makes its own from the same seed: all hashes must be the same. A BUILD is asan or tsan,
which `make` builds, or COMPILER-LEVEL, such as gcc-O0, clang-O3, clang-asan, which is built here, as far as needed.
So many logs are worked on at a time as -j says, or there are processors.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOG_EVENTS = 1_000_000
ALL = ["gcc-O0", "gcc-O3", "asan", "clang-O0", "clang-O3", "clang-asan"]
FEED = "tests/builds/feed"
SANITIZED = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dc_args=-O1 -g -fno-sanitize-recover=all"]


def skip(why):
    print("SKIP:", why)
    sys.exit(77)


def run(*words, **more):
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def feed_of(build):
    """The program, of that build."""
    if build in ("release", "asan", "tsan"):
        path = ROOT / ("build" if build == "release" else f"build-{build}") / FEED
        if not path.exists():
            skip(f"{path.relative_to(ROOT)} is not built")
        return path
    compiler, level = build.split("-")
    if shutil.which(compiler) is None:
        skip(f"{compiler} is not installed (tools/setup test)")
    directory = ROOT / "build-builds" / build
    options = SANITIZED if level == "asan" else [f"-Dc_args=-{level}"]
    if not (directory / "build.ninja").exists():
        run("meson", "setup", directory, "--buildtype=plain", *options, env=dict(os.environ, CC=compiler))
    run("ninja", "-j2", "-C", directory, FEED)
    return directory / FEED


def last_lines(text, lsns):
    return "".join(text.splitlines(keepends=True)[-len(lsns):])


def compare(build, what, expected, got):
    if got != expected:
        sys.exit(f"{build} {what}:\n{got}where the release build says\n{expected}")


def check_log(feeds, number, events, seed):
    """The hashes of one log, which are the same in all builds; and the seconds that each took."""
    took = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-builds-") as directory:
        log = f"{directory}/log"
        begin = time.monotonic()
        expected = run(feeds["release"], "make", log, str(events), seed)
        took["making"] = time.monotonic() - begin
        lsns = [line.split()[0] for line in expected.splitlines()]
        assert len(lsns) > 3 and len(set(expected.split())) == 2 * len(lsns), expected
        for build, feed in feeds.items():
            begin = time.monotonic()
            upto = lsns if number == 0 else lsns[-1:]
            compare(build, "replays", last_lines(expected, upto), run(feed, "replay", log, *upto))
            if number == 0 and build != "release":
                compare(build, "makes", expected, run(feed, "make", f"{directory}/{build}", str(events), seed))
            took[build] = time.monotonic() - begin
    return expected, took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=LOG_EVENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, dest="jobs")
    parser.add_argument("builds", nargs="+", metavar="BUILD")
    args = parser.parse_args()
    args.builds = ALL if args.builds == ["all"] else args.builds
    for build in args.builds:
        if not re.fullmatch(r"asan|tsan|[a-z]+-(O[0-3s]|asan)", build):
            parser.error(f"BUILD {build}: want asan, tsan, or such as gcc-O0, clang-asan")
    feeds = {build: feed_of(build) for build in ["release", *args.builds]}

    def check(number):
        first = number * LOG_EVENTS
        return check_log(feeds, number, min(LOG_EVENTS, args.events - first), str(args.seed + number))

    took = dict.fromkeys(["making", *feeds], 0.0)
    numbers = range((args.events + LOG_EVENTS - 1) // LOG_EVENTS)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        try:
            for number, (expected, seconds) in enumerate(pool.map(check, numbers)):
                for build, each in seconds.items():
                    took[build] += each
                if number % 10 == 0:
                    print(f"log {number}, seed {args.seed + number}:", expected.splitlines()[-1], flush=True)
        except BaseException:  # the first difference ends it
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print("the same hashes:", ", ".join(f"{build} ({seconds:.0f} s)" for build, seconds in took.items()))


if __name__ == "__main__":
    main()
