#!/usr/bin/python3
"""man/holdfast.1 is well-formed, and names every subcommand, option and measurement that --help speaks of, and every
command and error word that docs/commands.md has for entities and plain keys.
"""
import os
import re
import shutil
import subprocess
import sys


def help_of(*words):
    run = subprocess.run([os.environ["HOLDFAST"], *words, "--help"], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def names_of_commands_doc():
    """As the page is to have them: ".It COMMAND", and the stable first words of errors."""
    with open("docs/commands.md", encoding="utf-8") as file:
        text = file.read()
    data = text[text.index("## Holdfast's commands"):text.index("## Redis's commands")]
    errors = text[text.index("## Errors"):text.index("## Holdfast's commands")]
    commands = re.findall(r"^### ([A-Z.]+)", data, re.M)
    return {".It " + name for name in commands}, set(re.findall(r"^\| `([A-Z]+)` \|", errors, re.M))


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
    bench = re.findall(r"\[([a-z]+)\]", help_of("bench").split("\n\n")[0])
    synopsis = re.search(r"\.Cm bench\n\.Op Cm (.*) \.\.\.\n", page)[1]
    lacking += ["bench " + word for word in bench if word not in synopsis.split(" | ")]
    commands, errors = names_of_commands_doc()
    lacking += [name for name in sorted(commands) if not re.search(rf"^{re.escape(name)}\b", page, re.M)]
    lacking += [word for word in sorted(errors) if not re.search(rf"\b{word}\b", page)]
    if lacking or not all((subcommands, options, bench, commands, errors)):
        sys.exit(f"--help or docs/commands.md has what the page has not: {', '.join(lacking) or 'nothing at all'}")


if __name__ == "__main__":
    main()
