#!/usr/bin/python3
"""tools/check-style finds each kind of breach in a tree that has it, and nothing in the same tree without it."""
import sys

import trees


def function_of(lines):
    return "int f(void) {\n" + "\tg();\n" * (lines - 2) + "}\n"


GOOD = {
    "src/base/README.md": "# base\n",
    "src/base/a.h": "#ifndef HF_BASE_A_H\n#define HF_BASE_A_H\n#endif\n",
    "src/base/a.c": function_of(70) + "static const int table[] = {\n" + "\t1,\n" * 100 + "};\n",
    "src/base/b.c": "\t/*" + "x" * 88 + "*/\n",
    "tests/unit/test_a.c": "int main(void) {\n}\n",
    "tests/unit/meson.build": "unit_tests = ['a']\n",
    "tests/list": "quick a build/tests/unit/test_a\n",
}
# What is laid over the good tree, and what has to be said about it.
BAD = [
    ({"src/base/a.c": "\n" + function_of(71)}, "src/base/a.c:2: a function of 71 lines"),
    ({"src/base/a.c": "static int f(int a,\n\t     int b) {\n" + "\tg();\n" * 70 + "}\n"}, "a.c:2: a function of 72"),
    ({"src/base/a.c": "\t/*" + "x" * 89 + "*/\n"}, "src/base/a.c:1: 101 columns"),
    ({"tools/x": "#!/bin/sh\n" + "x" * 121 + "\n"}, "tools/x:2: 121 columns"),
    ({"data.bin": "x" * 524289}, "data.bin:1: 524289 bytes"),
    ({"src/base/a.c": "int a; \n"}, "src/base/a.c:1: blanks at the end"),
    ({"tools/x": "#!/bin/sh\n# TO" + "DO: more\n"}, "tools/x:2: 'TO" + "DO'"),
    ({"src/base/a.c": "int a;"}, "ends in one newline"),
    ({"src/base/a.c": "        int a;\n"}, "with blanks, not tabs"),
    ({"src/base/a.h": "int a;\n"}, "src/base/a.h:1: no header guard"),
    ({"src/base/a.h": "#ifndef HF_B_H\n#define HF_B_H\n#endif\n"}, "should end in A_H"),
    ({"src/new/a.c": "int a;\n"}, "src/new:1: no README.md"),
    ({"tests/unit/test_b.c": "int b;\n"}, "tests/unit/test_b.c:1: not in tests/list"),
    ({"tests/unit/test_b.c": "int b;\n"}, "tests/unit/test_b.c:1: not in tests/unit/meson.build"),
    ({"tests/e2e/test_b.py": "print()\n"}, "tests/e2e/test_b.py:1: not in tests/list"),
    ({"tools/style-exemptions": "src/base/a.c\n"}, "has no reason"),
]


def main():
    wrong = trees.prove("tools/check-style", GOOD, BAD)
    exempted = {**GOOD, **BAD[0][0], "tools/style-exemptions": "src/base/a.c generated\n"}
    if trees.run("tools/check-style", exempted) != (0, ""):
        print("an exempted file is not left alone")
        wrong = 1
    sys.exit(wrong)


if __name__ == "__main__":
    main()
