"""Proves that a checker can fail: it is shown trees with one fault each."""
import os
import subprocess
import tempfile


def run(tool, files):
    """The exit status and output of `tool ROOT` over a tree of these files (path -> text)."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        ended = subprocess.run([tool, root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               check=False)
        return ended.returncode, ended.stdout


def prove(tool, good, bad):
    """1 and an explanation on stdout unless `tool` is silent about `good`, and finds each fault of `bad`.

    bad: pairs of the files laid over the good tree, and what has to be said about them.
    """
    wrong = 0
    for files, expected in [({}, None)] + bad:
        status, output = run(tool, {**good, **files})
        found = status == 1 and expected in output if expected else (status, output) == (0, "")
        if not found:
            wrong = 1
            print(f"{files}: exit {status}, wanted {expected or 'silence'} in:\n{output}")
    return wrong
