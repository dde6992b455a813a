#!/usr/bin/python3
"""man/holdfast.1 is well-formed, and names every subcommand and option that --help speaks of."""
import os
import re
import shutil
import subprocess
import sys


def help_of(*words):
    run = subprocess.run([os.environ["HOLDFAST"], *words, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def main():
    if not shutil.which("mandoc"):
        print("SKIP: mandoc is not installed")
        sys.exit(77)
    lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", "man/holdfast.1"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if lint.returncode != 0 or lint.stdout:
        sys.exit(lint.stdout)
    with open("man/holdfast.1", encoding="utf-8") as file:
        page = file.read()
    subcommands = re.findall(r"^  ([a-z]+) ", help_of(), re.M)
    lacking = [word for word in subcommands if f".Ss holdfast {word}\n" not in page]
    options = set()
    for word in subcommands:
        options |= set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", help_of(word)))
    lacking += ["--" + name for name in sorted(options) if f"Fl -{name}" not in page]
    if lacking or not subcommands or not options:
        sys.exit(f"--help speaks of what the page does not: {' '.join(lacking) or 'nothing at all'}")


if __name__ == "__main__":
    main()
