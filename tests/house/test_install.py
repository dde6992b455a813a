#!/usr/bin/python3
"""What `make install` leaves behind is whole: a program builds against it with pkg-config, and runs."""
import glob
import os
import re
import subprocess
import sys
import tempfile

PROGRAM = r"""
#include <holdfast.h>
#include <holdfast/map.h>
#include <holdfast/ring.h>
#include <holdfast/stats.h>
#include <stdio.h>
#define TEXT(s) { s, sizeof(s) - 1 }
int main(void) {
	char err[768];
	struct hf_db *db;
	struct hf_result result;
	struct hf_bytes text = TEXT("stateDiagram-v2\n[*] --> Open\nOpen --> Closed : Close\nClosed --> [*]\n");
	struct hf_request request = { .contract = TEXT("door"), .key = TEXT("front"), .event = TEXT("Close") };
	if (hf_open(&(struct hf_options){ .data_dir = "data" }, &db, err, sizeof(err)) != HF_OK)
		return fprintf(stderr, "%s\n", err), 1;
	if (hf_load_contract(db, text, "door", &result) != HF_OK || hf_send(db, &request, &result) != HF_OK)
		return fprintf(stderr, "%s\n", result.text), 1;
	printf("%s %s %d\n", hf_version(), result.state, (int)result.version);
	return hf_close(db, err, sizeof(err)) != HF_OK;
}
"""
# Every library that may be loaded at run time, and the Debian package that brings it.
LIBRARIES = {
    "libc.so.6": "libc6",
    "libm.so.6": "libc6",
    "ld-linux-x86-64.so.2": "libc6",
    "ld-linux-aarch64.so.1": "libc6",
    "libisal.so.2": "libisal2",
    "liburing.so.2": "liburing2",
    "libxxhash.so.0": "libxxhash0",
}
FILES = ["bin/holdfast", "include/holdfast.h", "include/holdfast/map.h", "include/holdfast/ring.h",
         "include/holdfast/stats.h",
         "share/man/man1/holdfast.1", "lib*/**/libholdfast.a", "lib*/**/libholdfast.so", "lib*/**/libholdfast.so.0",
         "lib*/**/pkgconfig/holdfast.pc"]


def output_of(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def dynamic(path, tag):
    return re.findall(rf"\({tag}\).*\[(.*)\]", output_of("readelf", "-dW", path))


def check_files(prefix):
    found = {}
    for pattern in FILES:
        paths = glob.glob(os.path.join(prefix, pattern), recursive=True)
        if len(paths) != 1:
            sys.exit(f"installed as {pattern}: {paths or 'nothing'}")
        found[os.path.basename(paths[0])] = paths[0]
    return found


def check_libraries(path):
    for library in dynamic(path, "NEEDED"):
        if library not in LIBRARIES and library != "libholdfast.so.0":
            sys.exit(f"{path} needs {library}, which is not among the libraries that it may need")


def check_symbols(library, headers):
    declared = set()
    for header in headers:
        with open(header, encoding="utf-8") as file:
            declared |= set(re.findall(r"^HF_API[^;(]*?\b(hf_\w+)\(", file.read(), re.M))
    names = output_of("nm", "-D", "--defined-only", "--format=posix", library).splitlines()
    exported = {line.split()[0] for line in names}
    if not declared or declared != exported:
        sys.exit(f"declared HF_API but not exported: {sorted(declared - exported)}; "
                 f"exported but not declared: {sorted(exported - declared)}")


def check_program(folder, prefix, found, static):
    with open(os.path.join(folder, "program.c"), "w", encoding="utf-8") as file:
        file.write(PROGRAM)
    env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(found["holdfast.pc"]))
    query = ["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "holdfast"]
    flags = output_of(*query, *(["--static"] if static else []), env=env).split()
    if static:
        flags = [found["libholdfast.a"] if flag == "-lholdfast" else flag for flag in flags]
    program = os.path.join(folder, "static" if static else "shared")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "program.c", "-o", program, *flags], cwd=folder, check=True)
    if ("libholdfast.so.0" in dynamic(program, "NEEDED")) == static:
        sys.exit(f"{program} needs {dynamic(program, 'NEEDED')}")
    env["LD_LIBRARY_PATH"] = os.path.dirname(found["libholdfast.so"])
    subprocess.run(["rm", "-rf", "data"], cwd=folder, check=True)
    said = output_of(program, cwd=folder, env=env)
    if not re.fullmatch(r"\d+\.\d+\.\d+ Closed 1\n", said):
        sys.exit(f"{program} printed {said!r}")


def main():
    build = os.path.dirname(os.path.dirname(os.path.dirname(os.environ["HOLDFAST"])))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", folder + "/root"],
                       check=True)
        prefix = os.path.dirname(os.path.dirname(glob.glob(folder + "/root/**/bin/holdfast", recursive=True)[0]))
        found = check_files(prefix)
        for name in ("holdfast", "libholdfast.so"):
            check_libraries(found[name])
        if dynamic(found["libholdfast.so"], "SONAME") != ["libholdfast.so.0"]:
            sys.exit(f"SONAME is {dynamic(found['libholdfast.so'], 'SONAME')}, want libholdfast.so.0")
        check_symbols(found["libholdfast.so"], [path for name, path in found.items() if name.endswith(".h")])
        version = output_of(found["holdfast"], "--version")
        if not re.search(r"\d+\.\d+\.\d+", version):
            sys.exit(f"holdfast --version printed {version!r}")
        for static in (False, True):
            check_program(folder, prefix, found, static)


if __name__ == "__main__":
    main()
