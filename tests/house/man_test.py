#!/usr/bin/python3
"""man/holdfast.1 is well-formed, and names every subcommand that the binary does."""
import os
import re
import shutil
import subprocess
import sys


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
    usage = subprocess.run([os.environ["HOLDFAST"], "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    wanted = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+|(?<=holdfast )[a-z]+", usage))
    lacking = [word for word in sorted(wanted) if word.lstrip("-").replace("-", "\\-") not in page.replace("\\-", "-")
               and word.lstrip("-") not in page]
    if lacking or not wanted:
        sys.exit(f"`holdfast --help` speaks of what the page does not: {' '.join(lacking) or 'nothing at all'}")


if __name__ == "__main__":
    main()
