#!/usr/bin/python3
"""The server as a process: what it says at the start, how it stops, and how it answers a wrong command line."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, StartError, holdfast  # noqa: E402

ORDER = (ROOT / "examples/order/order.mmd").read_text()
HELLO = (ROOT / "examples/hello/hello.mmd").read_text()
PLACE = ("q", "10", "p", "1", "s", "ACME")


def run(*args, cwd=None, env=None):
    """One call of the command line; `env` comes on top of the environment."""
    return subprocess.run([holdfast(), *map(str, args)], capture_output=True, text=True, timeout=60,
                          cwd=cwd, env=os.environ | (env or {}))


class Start(unittest.TestCase):
    """The first screen, and what prevents it."""

    def test_screen(self):
        """Which contracts, where, and what durable means here: on one screen."""
        with Server(contracts={"order": ORDER, "hello": HELLO}) as server:
            screen = server.stderr
            for part in ("order", "hello", server.data_dir, str(server.port), "durab"):
                self.assertIn(part, screen)
            self.assertRegex(screen, "io_uring|fdatasync|fsync|O_DSYNC|flush")
            lines = screen.splitlines()
            self.assertLessEqual(len(lines), 24)
            self.assertLessEqual(max(map(len, lines)), 160)

    def test_empty_directory_without_contracts(self):
        """It serves; a contract can be loaded at run time, and is still there after a restart without --contracts."""
        with Server() as server:
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH")[0], 0)
                loaded = connection.call("HF.CONTRACT", "LOAD", ORDER)
                self.assertNotIsInstance(loaded, resp.Error)
                self.assertEqual(connection.call("HF.SEND", "order", "1", "Place", *PLACE), [b"Open", 1, 2])
            server.restart()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.SEND", "order", "1", "Fill", "n", 1), [b"Open", 2, 3])
                self.assertEqual(connection.call("HF.CONTRACT", "SHOW", "order").decode(), ORDER)

    def test_restart_logs_nothing(self):
        """The same contracts again are no news."""
        with Server(contracts={"order": ORDER, "hello": HELLO}) as server:
            for _ in range(3):
                with resp.Connection(server.connect()) as connection:
                    self.assertEqual(connection.call("HF.HASH")[0], 2)
                server.restart()

    def test_bad_contract(self):
        """It does not start, and says where the contract is wrong."""
        broken = ORDER.replace("filled += n", "filed += n")
        with self.assertRaises(StartError) as raised:
            with Server(contracts={"order": broken}):
                pass
        self.assertRegex(str(raised.exception).splitlines()[-1], r"order\.mmd:12:\d+: ")
        self.assertIn("filed", str(raised.exception))

    def test_changed_contract(self):
        """The same version with other rules is refused; the log is as it was."""
        with Server(contracts={"order": ORDER}) as server:
            with resp.Connection(server.connect()) as connection:
                before = connection.call("HF.HASH")
            server.terminate()
            path = pathlib.Path(server.contracts_dir, "order.mmd")
            path.write_text(ORDER.replace("[q > 0]", "[q > 1]"))
            with self.assertRaises(StartError) as raised:
                server.start()
            self.assertIn("version 1", str(raised.exception))
            path.write_text(ORDER)
            server.start()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH"), before)

    def test_earlier_contract(self):
        """An earlier text put back: it says which file, and that its version is older."""
        later = ORDER.replace("version 1", "version 2")
        older = "%s: contract order version 1 is older than version 2, which is in force"
        with Server(contracts={"a": ORDER}) as server:
            file = pathlib.Path(server.contracts_dir, "a.mmd")
            file.write_text(later)
            server.restart()
            file.write_text(ORDER)
            server.terminate()
            with self.assertRaises(StartError) as raised:
                server.start()
            self.assertIn(older % file, str(raised.exception))
    def test_port_in_use(self):
        with Server() as server:
            with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
                listen = f"127.0.0.1:{server.port}"
                done = run("serve", "--data", temp + "/data", "--listen", listen)
                self.assertEqual(done.returncode, 1)
                self.assertIn(listen, done.stderr)


class Deployment(unittest.TestCase):
    """The contracts of a directory are taken all or none: a start that fails leaves the log as it was."""

    OLD = {"hello": HELLO, "order": ORDER}
    NEW = ORDER.replace("version 1", "version 2")

    @staticmethod
    def write(server, contracts):
        for file in pathlib.Path(server.contracts_dir).iterdir():
            file.unlink()
        for name, text in contracts.items():
            pathlib.Path(server.contracts_dir, name + ".mmd").write_text(text)

    def refused(self, contracts, *said):
        """They do not start, which logs nothing, so that the old ones still do."""
        with Server(contracts=self.OLD) as server:
            server.terminate()
            before = run("log", "dump", server.data_dir).stdout
            self.write(server, contracts)
            with self.assertRaises(StartError) as raised:
                server.start()
            for part in said:
                self.assertIn(part, str(raised.exception))
            self.assertEqual(server.process.returncode, 1)
            self.assertEqual(run("log", "dump", server.data_dir).stdout, before)
            self.write(server, self.OLD)
            server.start()

    def test_error_in_another_file(self):
        slip = self.NEW.replace("filled += n", "filed += n").replace("title: order", "title: slip")
        self.assertIn("title: slip", slip)
        # Every file is read, and what is wrong with each is told.
        self.refused({"order": self.NEW, "slip": slip, "too": slip, "worse": "nothing of ours"},
                     "slip.mmd:12:", "too.mmd:12:", "worse.mmd:1:")

    def test_refused_successor(self):
        self.refused({"a": self.NEW.replace("title: order", "title: other"), "order": ORDER + "\n"},
                     "order.mmd: contract order version 1 is in force with another text")

    def test_one_title_twice(self):
        """In the files of one deployment: at the next start one of them would be refused."""
        self.refused({"a": self.NEW, "b": self.NEW.replace("version 2", "version 3")},
                     "a.mmd and ", "b.mmd: both are contract order, with different texts")

    def test_one_text_twice(self):
        """Without a title, the file's name tells them apart, and a record in the log cannot."""
        self.assertNotIn("title", HELLO)
        other = HELLO + "%% another\n"
        self.refused({"again": HELLO, "hello": HELLO, "alpha": other, "beta": other, "order": self.NEW},
                     "again.mmd: contract again has the very text of contract hello", "`title`",
                     "alpha.mmd and ", "beta.mmd: contract beta has the very text of contract alpha")

    def test_port_in_use(self):
        with Server() as other, Server(contracts=self.OLD) as server:
            server.terminate()
            before = run("log", "dump", server.data_dir).stdout
            self.write(server, self.OLD | {"order": self.NEW})
            free, server.listen = server.listen, f"127.0.0.1:{other.port}"
            with self.assertRaisesRegex(StartError, "cannot listen on"):
                server.start()
            self.assertEqual(run("log", "dump", server.data_dir).stdout, before)
            server.listen = free
            self.write(server, self.OLD)
            server.start()


class ClosedStreams(unittest.TestCase):
    """Started with no standard streams, it must not take a file of the log for one."""

    def test_serve(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            data = temp + "/data"
            with subprocess.Popen([holdfast(), "serve", "--data", data, "--listen", f"127.0.0.1:{port}"],
                                  preexec_fn=lambda: os.closerange(0, 3)) as process:
                try:
                    with resp.Connection(self.connect(process, port)) as connection:
                        self.assertEqual(connection.call("SET", "a", "b"), "OK")
                    streams = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
                    self.assertEqual(streams, 3 * ["/dev/null"])
                    process.terminate()
                    self.assertEqual(process.wait(60), 0)
                finally:
                    process.kill()
            verified = run("log", "verify", data)
            self.assertEqual(verified.returncode, 0, verified.stderr)

    @staticmethod
    def connect(process, port):
        """Connected, as soon as it listens."""
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), 30)
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise
                time.sleep(0.02)

    def test_output(self):
        """What could not be printed is still no success."""
        done = subprocess.run([holdfast(), "check", "--json", ROOT / "examples/order/order.mmd"],
                              preexec_fn=lambda: os.closerange(0, 3), timeout=60, check=False)
        self.assertEqual(done.returncode, 1)


class FewFiles(Server):
    """One that may open so many files."""

    def __init__(self, files, **options):
        super().__init__(**options)
        self.files = files

    def command(self):
        return ["prlimit", f"--nofile={self.files}:{self.files}", *super().command()]


class Files(unittest.TestCase):
    """Where few files may be open, clients leave some to the log."""

    THREADS = 20
    OWN = 64 + 3 * THREADS
    ARGS = ("--threads", str(THREADS), "--segment-size", str(1 << 20))

    def test_idle_clients_do_not_stop_the_log(self):
        with FewFiles(self.OWN + 50, args=self.ARGS) as server, resp.Connection(server.connect()) as connection:
            self.assertIn("maxclients:50\r\n", connection.call("INFO", "clients").decode())
            idle = [server.connect() for _ in range(self.OWN + 50)]
            refused = sum(client.recv(1) == b"-" for client in idle[49:])
            self.assertEqual(refused, len(idle) - 49)
            for number in range(80):  # five segments
                self.assertEqual(connection.call("SET", number, bytes(65000)), "OK")
            self.assertNotIsInstance(connection.call("HF.SNAPSHOT"), resp.Error)
            self.assertIn(f"rejected_connections:{refused}\r\n", connection.call("INFO", "stats").decode())
            for client in idle:
                client.close()

    def test_too_few(self):
        with self.assertRaises(StartError) as raised:
            with FewFiles(self.OWN, args=self.ARGS):
                pass
        self.assertIn(f"{self.OWN} files only, and needs {self.OWN} beside its clients", str(raised.exception))


class NoHangUp(Server):
    """One that outlives its terminal."""

    def command(self):
        return ["nohup", *super().command()]


class HangsUp(Server):
    """Hears SIGHUP, also where the test itself runs under nohup."""

    def command(self):
        return ["env", "--default-signal=HUP", *super().command()]


class Stop(unittest.TestCase):
    """SIGTERM, SIGINT and SIGHUP drain."""

    def drain(self, signum):
        """Whatever was applied was answered before the end, and the other way round."""
        events = 100000
        with HangsUp(contracts={"order": ORDER}) as server:
            connection = resp.Connection(server.connect())
            wire = b"".join(resp.encode("HF.SEND", "order", n, "Place", *PLACE) for n in range(events))
            sender = threading.Thread(target=self.send, args=(connection, wire))
            sender.start()
            replies = [connection.read() for _ in range(100)]
            server.process.send_signal(signum)
            if signum == signal.SIGHUP:  # a closed terminal's may come twice
                time.sleep(0.02)
                server.process.send_signal(signum)
            time.sleep(0.3)  # replies wait in the sockets, and so do commands that nobody will read
            try:
                while True:
                    replies.append(connection.read())
            except (resp.Closed, ConnectionResetError):
                pass
            sender.join()
            connection.close()
            self.assertEqual(server.wait(), 0)
            self.assertTrue(all(reply == [b"Open", 1, n + 2] for n, reply in enumerate(replies)))
            server.start()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH")[0], 1 + len(replies))

    @staticmethod
    def send(connection, wire):
        """Everything, until the server does not want any more."""
        try:
            connection.send_raw(wire)
        except OSError:
            pass

    def test_sigterm(self):
        self.drain(signal.SIGTERM)

    def test_sigint(self):
        self.drain(signal.SIGINT)

    def test_sighup(self):
        self.drain(signal.SIGHUP)

    def test_nohup(self):
        with NoHangUp() as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("PING"), "PONG")
            self.assertEqual(server.terminate(), 0)
            self.assertNotIn("Hangup", server.stderr)

    def test_shutdown(self):
        """A client asks for it: who that was is told, once."""
        with Server() as server, resp.Connection(server.connect()) as connection:
            self.assertIsInstance(connection.call("SHUTDOWN", "NOW"), resp.Error)
            host, port = connection.sock.getsockname()
            connection.send_raw(resp.encode("SHUTDOWN") + resp.encode("SHUTDOWN", "NOSAVE"))
            self.assertEqual(server.wait(), 0)
            self.assertEqual(server.stderr.splitlines()[-1], f"holdfast: SHUTDOWN from {host}:{port}: draining")
            self.assertEqual(server.stderr.count("SHUTDOWN"), 1)

    def test_signal_behind_a_shutdown(self):
        """
        It is the first one: the server still ends as a client's SHUTDOWN ends it. Now and then it comes while the
        server closes, which is what is asked; otherwise it drains as any, or finds nobody.
        """
        with Server(args=["--segment-size", "268435456"]) as server:
            with resp.Connection(server.connect()) as connection:
                connection.send_raw(resp.encode("SHUTDOWN"))
                self.assertRaises((resp.Closed, ConnectionResetError), connection.read)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 0)

    def test_idle_clients_do_not_hold_it_up(self):
        with Server() as server:
            clients = [server.connect() for _ in range(20)]
            began = time.monotonic()
            self.assertEqual(server.terminate(), 0)
            self.assertLess(time.monotonic() - began, 2)
            for client in clients:
                self.assertEqual(client.recv(1), b"")
                client.close()

    def test_client_that_does_not_read(self):
        """It is given up after a while; a second signal changes nothing about what is durable."""
        with Server(contracts={"order": ORDER}) as server:
            connection = resp.Connection(server.connect())
            self.assertEqual(connection.call("HF.SEND", "order", "1", "Place", *PLACE), [b"Open", 1, 2])
            wire = resp.encode("HF.HISTORY", "order", "1") * 50000
            sender = threading.Thread(target=self.send, args=(connection, wire))
            sender.start()
            sender.join(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(30), 128 + signal.SIGTERM)
            connection.close()
            sender.join()
            server.start()
            with resp.Connection(server.connect()) as connection:
                self.assertEqual(connection.call("HF.HASH")[0], 2)


class Usage(unittest.TestCase):
    """0 good, 1 not good, 2 usage; help on stdout, complaints on stderr."""

    def test_help(self):
        for args in (["--help"], ["help"], ["serve", "--help"], ["check", "--help"], ["replay", "--help"],
                     ["log", "--help"]):
            done = run(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""), args)
            self.assertIn("holdfast", done.stdout)
        whole = run("--help").stdout
        for command in ("serve", "check", "replay", "log"):
            self.assertIn(command, whole)

    def test_version(self):
        done = run("--version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^holdfast \d+\.\d+\.\d+")

    def test_output_that_is_lost(self):
        """What could not be written where it was to go is no success."""
        for args in (["--help"], ["--version"], ["check", "--help"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([holdfast(), *args], stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn(b"the output could not be written", done.stderr)

    def test_suggestion(self):
        for typo, meant in (("sevre", "serve"), ("chekc", "check"), ("reply", "replay")):
            done = run(typo)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(typo, done.stderr)
            self.assertIn(meant, done.stderr)

    def test_wrong_usage(self):
        """The complaint comes before anything is done: no data directory is made."""
        for args in ([], ["serve", "--nonesuch"], ["serve", "--listen"], ["serve", "extra"],
                     ["serve", "--listen", "nowhere"], ["serve", "--listen", "127.0.0.1:99999"],
                     ["serve", "--threads", "0"], ["serve", "--segment-size", "5"],
                     ["serve", "--segment-size", "1048577"], ["check"]):
            with self.subTest(args=args), tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
                done = run(*args, cwd=temp)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertNotEqual(done.stderr, "")
                self.assertEqual(list(pathlib.Path(temp).iterdir()), [])

    def test_end_of_options(self):
        """Behind -- all are operands, also what looks like an option."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            pathlib.Path(temp, "--json").write_text(ORDER)
            for args in (["--", "--json"], ["--json", "--", "--json"]):
                done = run("check", *args, cwd=temp)
                self.assertEqual((done.returncode, done.stderr), (0, ""), args)
                self.assertEqual(done.stdout.startswith("{"), len(args) > 2)
            self.assertIn("--: No such file", run("check", "--", "--", cwd=temp).stderr)
            for command in ("serve", "replay", "log", "bench"):
                done = run(command, "--", "--nonesuch", "one too many", cwd=temp)
                self.assertEqual(done.returncode, 2, command)
                self.assertNotIn("unknown option", done.stderr)

    def test_wrong_value(self):
        """The complaint names what was wrong as it was given: the option, or the variable that stands in for it."""
        for name in ("data", "contracts", "listen", "threads"):
            option, variable = "--" + name, "HOLDFAST_" + name.upper()
            for args, env, wrong in (([option, ""], {variable: "1"}, option), ([option + "="], {}, option),
                                     ([], {variable: ""}, variable)):
                with self.subTest(wrong=wrong, args=args):
                    done = run("serve", "--max-clients", "0", *args, env=env)  # it would not start anyway
                    self.assertEqual(done.returncode, 2)
                    self.assertEqual(done.stderr, f"holdfast serve: {wrong} is empty; try --help\n")
        for args, env, named in (((), {"HOLDFAST_LISTEN": "1"}, "HOLDFAST_LISTEN"),
                                 (("--listen", "1"), {"HOLDFAST_LISTEN": "2"}, "--listen"),
                                 (("--listen", "localhost:a"), {}, "--listen")):
            self.assertRegex(run("serve", *args, env=env).stderr, f"^holdfast serve: {named}: .* is not a")
        for value in ("0", "many"):
            self.assertIn(" HOLDFAST_THREADS ", run("serve", env={"HOLDFAST_THREADS": value}).stderr)
            self.assertIn(" --threads ", run("serve", "--threads", value, env={"HOLDFAST_THREADS": "1"}).stderr)
        # An option counts more than what stands in for it.
        self.assertIn("--max-clients", run("serve", "--threads", "1", "--max-clients", "0",
                                           env={"HOLDFAST_THREADS": ""}).stderr)

    def test_empty_argument(self):
        for args in (["log", "dump", ""], ["log", "verify", ""], ["replay", ""], ["check", ""],
                     ["bench", "--data", ""]):
            done = run(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertIn("--data is empty" if args[0] == "bench" else "an argument is empty", done.stderr)

    def test_missing_parent(self):
        """Of the data directory, only the last part is made."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            done = run("serve", "--listen", "127.0.0.1:0", "--data", temp + "/a/b")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"cannot make directory {temp}/a/b, whose parent must be there: ", done.stderr)

    def test_contract_that_is_no_file(self):
        """A pipe that nobody writes to is not waited for."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            contracts = pathlib.Path(temp, "contracts")
            contracts.mkdir()
            (contracts / "a.mmd").mkdir()
            os.mkfifo(contracts / "b.mmd")
            done = run("serve", "--listen", "127.0.0.1:0", "--data", temp + "/data", "--contracts", contracts)
            self.assertEqual(done.returncode, 1)
            for name in ("a.mmd", "b.mmd"):
                self.assertIn(f"{contracts / name} is not a regular file: a contract is", done.stderr)

    def test_contract_that_is_too_long(self):
        """As long as it may be: a comment is all that is in it, and a contract is more."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            contracts = pathlib.Path(temp, "contracts")
            contracts.mkdir()
            for name, size in (("a.mmd", 65536), ("b.mmd", 65537), ("c.mmd", 1000000)):
                (contracts / name).write_text("%" * size)
            done = run("serve", "--listen", "127.0.0.1:0", "--data", temp + "/data", "--contracts", contracts)
            self.assertEqual(done.returncode, 1)
            for name, too_long in (("a.mmd", False), ("b.mmd", True), ("c.mmd", True)):
                text = f"{contracts / name}:1:1: a contract has at most 65536 bytes; "
                self.assertEqual(text in done.stderr, too_long, done.stderr)

    def test_missing_contracts(self):
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            done = run("serve", "--data", temp + "/data", "--contracts", temp + "/nonesuch",
                       "--listen", "127.0.0.1:0")
            self.assertEqual(done.returncode, 1)
            self.assertIn(temp + "/nonesuch", done.stderr)

    def test_no_start(self):
        """What a right command line meets is 1: no contract in the directory, or another process in the data's."""
        with Server() as server, tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            for args, named in ((["--data", temp + "/data", "--contracts", temp], temp + " has no contract"),
                                (["--data", server.data_dir], server.data_dir + " is in use")):
                done = run("serve", "--listen", "127.0.0.1:0", *args)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(named, done.stderr)

    def test_check(self):
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as temp:
            broken = pathlib.Path(temp, "broken.mmd")
            broken.write_text(ORDER.replace("filled += n", "filed += n"))
            done = run("check", broken, ROOT / "examples/order/order.mmd")
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout + done.stderr, r"broken\.mmd:12:\d+: error")
            self.assertIn("^", done.stdout + done.stderr)
            done = run("check", "--json", broken)
            self.assertEqual(done.returncode, 1)
            self.assertIn('"line"', done.stdout)
            self.assertEqual(run("check", temp + "/nonesuch.mmd").returncode, 1)


if __name__ == "__main__":
    unittest.main()
