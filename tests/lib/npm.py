"""Puts the packages that a package-lock.json pins into its folder."""

import re
import shutil
import subprocess
import sys

PATIENCE_S = 150  # npm itself gives up earlier where nobody answers
COMMAND = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1",
           "--fetch-timeout=30000"]
# That the registry cannot be reached: as the system says it, as npm does, and by way of a proxy.
NETWORK = {"ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "EHOSTUNREACH",
           "ERR_SOCKET_TIMEOUT", "ECONNECTIONTIMEOUT", "EIDLETIMEOUT", "ERESPONSETIMEOUT", "ETRANSFERTIMEOUT",
           "EINVALIDPROXY", "E407", "E502", "E503", "E504"}


def install(folder):
    """None; or why this machine cannot: no npm, no network. Anything else that goes wrong fails the test."""
    if shutil.which("npm") is None:
        return "npm is not installed"
    try:
        done = subprocess.run(COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S,
                              text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"npm ci: still running after {PATIENCE_S} s")
    if done.returncode == 0:
        return None
    code = re.search(r"^npm (?:ERR!|error) code (\S+)$", done.stdout, re.M)
    if code and code.group(1) in NETWORK:
        return f"npm does not reach its registry: {code.group(1)}"
    print(done.stdout)
    sys.exit(f"npm ci: exit {done.returncode}")
