#!/usr/bin/python3
"""tests/run: what passes, fails, is skipped, hangs or is misspelled; its last line and exit status."""
import os
import subprocess
import sys
import tempfile

# The list, the arguments, the exit status, the last line, and what else has to be there.
CASES = [
    ("quick good true\nfull more true\n", [], 0, "1 passed, 0 failed", "PASS good "),
    ("quick good true\nfull more true\n", ["full"], 0, "2 passed, 0 failed", "PASS more "),
    ("quick good true\nfull more true\n", ["more"], 0, "1 passed, 0 failed", "PASS more "),
    ("full slow false\nquick soon false\n", ["full"], 1, "0 passed, 2 failed", "Failed: soon slow"),
    ("quick good true\nquick bad false\n", [], 1, "1 passed, 1 failed", "FAIL bad "),
    ("quick,alone bad sh -c 'kill\n", [], 1, "0 passed, 1 failed", "exit status 2"),
    ("quick bad sh killed.sh\n", [], 1, "0 passed, 1 failed", "killed by SIGTERM"),
    ("quick bad ./no-such-program\n", [], 1, "0 passed, 1 failed", "No such file"),
    ("quick good true\nquick bad sh nameless.sh\n", [], 1, "1 passed, 1 failed", "killed by signal 40"),
    # The log is gone, and with it the folder for those of the others: nothing of that has passed.
    ("quick good true\nfull bad sh wipe.sh\n", ["full"], 1, "1 passed, 1 failed", "FAIL bad: FileNotFoundError"),
    ("quick good true\nfull bad sh wipe.sh\nfull,alone more true\n", ["full"], 1, "1 passed, 2 failed",
     "Failed: bad more"),
    ("quick,timeout=1 slow sleep 30\n", [], 1, "0 passed, 1 failed", "still running after 1 s"),
    ("quick good true\nquick some sh skip.sh\n", [], 0, "1 passed, 0 failed, 1 skipped", "SKIP some: no disk"),
    ("quick some sh skip.sh\n", [], 1, "0 passed, 0 failed, 1 skipped", "Not run here:\n  SKIP some: no disk"),
    ("quick good true\nquick some sh late.sh\n", [], 0, "1 passed, 0 failed, 1 skipped", "SKIP some: no luck"),
    ("quick bad sh long.sh\n", [], 1, "0 passed, 1 failed", "    line 99999"),
    ("quick bad sh cases.sh\n", [], 1, "0 passed, 1 failed", "    [  FAILED  ] a_case\n    [ RUN      ] a_last\n"),
    ("# nothing\n", [], 1, "0 passed, 0 failed", ""),
    ("quick,asan where sh where.sh build/a\n", [], 1, "1 passed, 1 failed", "build-asan/a build-asan/src/cli/holdfast"),
    ("quick,tsan where sh where.sh build/a\n", [], 0, "1 passed, 0 failed", "PASS where "),
    ("quick,tsan where sh where.sh build/a\n", ["full"], 1, "1 passed, 1 failed", "FAIL where-tsan "),
    ("quick good true\nquick good true\n", [], 1, None, ":2: 'good' is there twice"),
    ("slow good true\n", [], 1, None, ":1: tier 'slow': want quick or full"),
    ("quick,big good true\n", [], 1, None, ":1: mark 'big': want alone"),
    ("quick good\n", [], 1, None, ":1: 'good' has no command"),
    ("quick good true\n", ["other"], 1, None, "no test 'other'"),
]
SCRIPTS = {
    "skip.sh": "echo before\necho SKIP: no disk\nexit 77\n",
    "late.sh": "echo SKIP: no disk\nseq 99999\necho SKIP: no luck\necho more\nexit 77\n",
    "long.sh": "seq -f 'line %.0f' 99999\nexit 1\n",
    "cases.sh": """echo '[ RUN      ] a_case'; echo '[  FAILED  ] a_case'
for i in $(seq 40); do echo "[ RUN      ] case_$i"; echo "[       OK ] case_$i"; done
echo '[ RUN      ] a_last'; exit 1
""",
    "killed.sh": "kill $$\n",
    "nameless.sh": "kill -40 $$\n",
    "wipe.sh": "rm -r build/test-logs\n",
    "where.sh": "echo $1 $HOLDFAST\ntest $1 = build/a\n",
}
# tests/run, but a test of that name is forgotten.
FORGETFUL = """
import runpy
it = runpy.run_path("tests/run")
run_one = it["Runner"].run_one
it["Runner"].run_one = lambda self, test: test.name != "lost" and run_one(self, test)
it["main"]()
"""


def check(root, text, words, status, ending, needle, program=("tests/run",)):
    with open(os.path.join(root, "tests/list"), "w", encoding="utf-8") as file:
        file.write(text)
    ended = subprocess.run([*program, *words], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           check=False)
    lines = ended.stdout.splitlines()
    if ended.returncode == status and needle in ended.stdout and (ending is None or lines[-1:] == [ending]):
        return 0
    print(f"{text!r} {words}: exit {ended.returncode}, wanted {status}, '{needle}', and at the end '{ending}', in:")
    print(ended.stdout)
    return 1


def main():
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(os.path.join(root, "tests"))
        subprocess.run(["cp", "tests/run", os.path.join(root, "tests/run")], check=True)
        for name, text in SCRIPTS.items():
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text)
        wrong = sum(check(root, *case) for case in CASES)
        wrong += check(root, "quick good true\nquick lost true\n", [], 1, "1 passed, 0 failed",
                       "2 tests were chosen, and 1 accounted for", (sys.executable, "-c", FORGETFUL))
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
