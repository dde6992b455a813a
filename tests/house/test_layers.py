#!/usr/bin/python3
"""tools/check-layers finds each kind of breach in a tree that has it, and nothing in the same tree without it."""
import sys

import trees

TABLE = """# Architecture
## Who may include whom
| folder | holds | may include | may ask the system for |
| --- | --- | --- | --- |
| `src/base` | errors | | print |
| `src/os` | disk | base | disk clock |
| `src/machine` | contracts | base | |
"""
GOOD = {
    "ARCHITECTURE.md": TABLE,
    "src/base/err.h": '#include "holdfast.h"\n',
    "src/os/disk.c": '#include <fcntl.h>\n#include "base/err.h"\nint f(void) { return open("a", 0); }\n',
    "src/machine/ring.c": '#include "holdfast/ring.h"\n',
    "src/machine/step.c": '#include <string.h>\n#include "base/err.h"\n/* time(0) and "open()" are only words here */\n'
                          'int g(struct s *s) { return s->open("time("); }\n',
}
# What is laid over the good tree, and what has to be said about it.
BAD = [
    ({"src/machine/a.c": '#include "os/disk.c"\n'}, "src/machine/a.c:1: src/machine may include only machine base"),
    ({"src/machine/a.c": '#include <time.h>\n'}, "src/machine/a.c:1: src/machine asks nothing of the system"),
    ({"src/machine/a.c": '\nint h(void) { return rand(); }\n'}, "src/machine/a.c:2: rand() needs 'random'"),
    ({"src/base/a.c": 'int h(void) { return fsync(1); }\n'}, "src/base/a.c:1: fsync() needs 'disk'"),
    ({"src/machine/a.c": 'void *h(void) { return malloc(1); }\n'}, "src/machine/a.c:1: malloc() needs 'memory'"),
    ({"src/base/a.c": '#include "err.h"\n'}, "src/base/a.c:1: no src/err.h"),
    ({"src/machine/a.c": '#include "holdfast.h"\n'}, "comes through"),
    ({"src/os/a.c": '#include "holdfast/ring.h"\n'}, "src/os/a.c:1: src/os may include only os base, not src/machine"),
    ({"src/machine/a.c": '#include "holdfast/rung.h"\n'}, "no folder of src has the code of that name"),
    ({"src/new/a.c": "\n"}, "'new' has no row"),
    ({"src/base/a.h": '#include "base/b.h"\n', "src/base/b.h": '#include "base/a.h"\n'}, "in a circle"),
    ({"ARCHITECTURE.md": TABLE.replace("| errors | |", "| errors | machine |")}, "the table has a cycle"),
    ({"ARCHITECTURE.md": TABLE.replace("disk clock", "disk luck")}, "granted 'luck'"),
    ({"ARCHITECTURE.md": "# Architecture\n"}, "no section"),
]


if __name__ == "__main__":
    sys.exit(trees.prove("tools/check-layers", GOOD, BAD))
