"""Starts and stops a real `holdfast serve` for tests, on a free port and a directory of its own.

    with Server(contracts={"order": ORDER_TEXT}) as s:
        client = redis.Redis(port=s.port)
        s.kill9()
        s.restart()          # same data; s.port may be another one

The binary is $HOLDFAST, by default build/src/cli/holdfast under the repo root.
"""

import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY = re.compile(r"^ready: (.*):(\d+)$")
SKIP = 77


def holdfast():
    """The path of the binary under test."""
    path = os.environ.get("HOLDFAST") or ROOT / "build/src/cli/holdfast"
    return str(pathlib.Path(path).resolve())


def skip(why):
    """Ends the test as skipped."""
    print("SKIP:", why)
    sys.exit(SKIP)


def _die_with_parent():
    """In the child: a test that is itself killed must not leave a server behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _ready_line(lines):
    """The match of the first `ready:` line, or None."""
    return next(filter(None, (READY.match(line.rstrip("\n")) for line in lines)), None)


class StartError(Exception):
    """The server ended, or said nothing, instead of `ready:`. The message is its stderr."""


class Server:
    """One server process.

    contracts: None, a directory, or a dict of name -> text (written as name.mmd).
    data:      None for a temporary directory that is removed at the end, or a path that is kept.
    args:      more arguments of `holdfast serve`.
    env:       variables added to the environment.

    port, address: where it listens (after start).   data_dir: the data directory.
    process: the subprocess.Popen.                   stderr: all it has printed so far, as text.
    """

    def __init__(self, contracts=None, data=None, args=(), env=None, listen="127.0.0.1:0",
                 timeout_s=60):
        self.temp_dir = tempfile.mkdtemp(prefix="holdfast-test-")
        self.data_dir = str(data) if data is not None else os.path.join(self.temp_dir, "data")
        self.contracts_dir = self._contracts_dir(contracts)
        self.args = list(args)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        self.env.update(env or {})
        self.listen = listen
        self.timeout_s = timeout_s
        self.process = None
        self.address = None
        self.port = None
        self._reader = None
        self._ended = False
        self._lines = []
        self._changed = threading.Condition()

    def _contracts_dir(self, contracts):
        if contracts is None or not isinstance(contracts, dict):
            return None if contracts is None else str(contracts)
        directory = os.path.join(self.temp_dir, "contracts")
        os.mkdir(directory)
        for name, text in contracts.items():
            pathlib.Path(directory, name + ".mmd").write_text(text)
        return directory

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc):
        self.close()

    @property
    def stderr(self):
        with self._changed:
            return "".join(self._lines)

    def uses_io_uring(self):
        """Whether it writes the log with io_uring, as it said at its start; otherwise with plain calls in a thread."""
        return ", io_uring, " in self.stderr

    def command(self):
        """The full command line."""
        line = [holdfast(), "serve", "--data", self.data_dir, "--listen", self.listen]
        if self.contracts_dir is not None:
            line += ["--contracts", self.contracts_dir]
        return line + self.args

    def start(self):
        """Starts the process and waits until it is ready. Raises StartError if it does not get there."""
        first_line = len(self._lines)
        on_main = threading.current_thread() is threading.main_thread()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=self.env, text=True,
                                        errors="replace",
                                        preexec_fn=_die_with_parent if on_main else None)
        self._ended = False
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or _ready_line(self._lines[first_line:]),
                                   self.timeout_s)
            match = _ready_line(self._lines[first_line:])
        if match is None:
            if self._ended:
                self.wait()
            else:
                self.kill9()
            raise StartError("".join(self._lines[first_line:]) or "no ready: line")
        self.address, self.port = match.group(1), int(match.group(2))
        return self

    def restart(self, args=None):
        """Stops the process if it runs (SIGTERM), and starts it on the same data. `args` replace the old ones."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        if args is not None:
            self.args = list(args)
        return self.start()

    def _read(self, pipe):
        """The reader thread: collects stderr line by line until the process closes it."""
        for line in pipe:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, timeout_s=60):
        """Waits for the process to end; its exit code (negative: the signal)."""
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        self.process.stderr.close()
        return code

    def terminate(self, timeout_s=60):
        """SIGTERM: the server drains. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill9(self):
        """Pulls the plug on the process."""
        if self.process.poll() is None:
            self.process.kill()
            self.wait()

    def connect(self, timeout_s=30):
        """A connected TCP socket."""
        return socket.create_connection((self.address.strip("[]"), self.port), timeout_s)

    def close(self):
        """Kills the process if it runs and removes what was temporary."""
        if self.process is not None:
            self.kill9()
        shutil.rmtree(self.temp_dir, ignore_errors=True)
