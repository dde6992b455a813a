#!/usr/bin/python3
"""The wire, byte by byte: what good and bad clients can send, on raw sockets.

After every bad input the server still answers others, and state and hash are what they were.
"""

import contextlib
import os
import resource
import socket
import struct
import sys
import threading

from common import Closed, Connection, Error, ORDER, Server, encode, equal, is_error, place, run, skip


@contextlib.contextmanager
def unharmed(server):
    """Yields a connection; afterwards the server lives, and nothing in it has changed."""
    with Connection(server.connect()) as witness:
        before = witness.call("HF.HASH")
        with Connection(server.connect()) as conn:
            yield conn
        equal(witness.call("HF.HASH"), before)
        equal(witness.call("PING"), "PONG")


# ---- good bytes, in all sizes -----------------------------------------------------------------


SEQUENCE = [
    (encode("PING"), "PONG"),
    (encode("ECHO", b"\r\n$5\r\n*1\r\n"), b"\r\n$5\r\n*1\r\n"),
    (b"ECHO \"a b\"\r\n", b"a b"),
    (encode("HF.GET", "order", "no-such", "state"), "NOTFOUND"),
    (encode("SELECT", "0"), "OK"),
]


def expect_sequence(conn):
    for _, wanted in SEQUENCE:
        reply = conn.read()
        if wanted == "NOTFOUND":
            is_error(reply, "NOTFOUND ")
        else:
            equal(reply, wanted)


def test_every_truncation_point(server):
    """A sequence cut in two anywhere is the same sequence."""
    data = b"".join(command for command, _ in SEQUENCE)
    with unharmed(server) as conn:
        for cut in range(1, len(data)):
            conn.send_raw(data[:cut])
            conn.send_raw(data[cut:])
            expect_sequence(conn)


def test_one_byte_at_a_time(server):
    data = b"".join(command for command, _ in SEQUENCE)
    with unharmed(server) as conn:
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            conn.send_raw(data[i:i + 1])
        expect_sequence(conn)


def test_closed_at_every_point(server):
    """Half a command and gone: nothing of it is done."""
    data = encode(*place("half"))
    with unharmed(server):
        for cut in range(0, len(data)):
            with Connection(server.connect()) as conn:
                conn.send_raw(data[:cut])
        with Connection(server.connect()) as conn:
            is_error(conn.call("HF.GET", "order", "half"), "NOTFOUND ")


def test_half_close_gets_all_replies(server):
    """A client that sends all and shuts its direction (such as nc) still gets every reply."""
    with unharmed(server) as conn:
        conn.send_raw(encode("PING") * 100 + encode("PING")[:-3])
        conn.sock.shutdown(socket.SHUT_WR)
        for _ in range(100):
            equal(conn.read(), "PONG")
        assert conn.at_end()


def test_reset_by_client(server):
    with unharmed(server):
        conn = Connection(server.connect())
        conn.send_raw(encode("PING") * 1000)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()


def test_inline(server):
    with unharmed(server) as conn:
        conn.send_raw(b"PING\r\n\r\n  \nECHO '\\'x\\''\nECHO \"\\x41\\n\"\r\n")
        equal([conn.read() for _ in range(3)], ["PONG", b"'x'", b"A\n"])


def test_empty_arrays_are_nothing(server):
    with unharmed(server) as conn:
        conn.send_raw(b"*0\r\n*-1\r\n*-10\r\n" + encode("PING"))
        equal(conn.read(), "PONG")


# ---- bytes that are not RESP, or too many of them ----------------------------------------------


def expect_closed(server, data, message):
    with unharmed(server) as conn:
        conn.send_raw(encode("PING") + data)
        equal(conn.read(), "PONG")
        is_error(conn.read(), message)
        assert conn.at_end(), "the connection is still open"


def test_bulk_of_1_gb(server):
    expect_closed(server, b"*2\r\n$4\r\nECHO\r\n$1073741824\r\nxx",
                  "ERR Protocol error: invalid bulk length: 1073741824 is over the limit of 131072")


def test_array_of_10_million(server):
    expect_closed(server, b"*10000000\r\n",
                  "ERR Protocol error: invalid multibulk length: 10000000 is over the limit of 1024")


def test_negative_lengths(server):
    expect_closed(server, b"*2\r\n$4\r\nECHO\r\n$-1\r\n", "ERR Protocol error: invalid bulk length")


def test_bad_lengths(server):
    for bad in (b"*x\r\n", b"*1x\r\n", b"*\r\n", b"*99999999999999999999\r\n", b"*1\rZ"):
        expect_closed(server, bad, "ERR Protocol error: invalid multibulk length")
    for bad in (b"*1\r\n$x\r\n", b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$4\rZ"):
        expect_closed(server, bad, "ERR Protocol error: invalid bulk length")


def test_wrong_type(server):
    expect_closed(server, b"*1\r\n:4\r\n", "ERR Protocol error: expected '$', got ':'")


def test_bulk_without_end(server):
    expect_closed(server, b"*1\r\n$4\r\nPINGPING", "ERR Protocol error: expected CRLF")


def test_command_too_big(server):
    big = b"$100000\r\n" + b"x" * 100000 + b"\r\n"
    expect_closed(server, b"*3\r\n" + big * 2 + b"$100000\r\n",
                  "ERR Protocol error: invalid command length")


def test_huge_inline(server):
    expect_closed(server, b"a" * 65536, "ERR Protocol error: invalid inline request: 65537 is over the limit of 65536 ")
    expect_closed(server, b"ECHO '" + b"a" * 70000, "ERR Protocol error: invalid inline request")


def test_unbalanced_quotes(server):
    expect_closed(server, b"ECHO \"x\r\n", "ERR Protocol error: unbalanced quotes in request")


def test_a_browser_is_shown_the_door(server):
    with unharmed(server) as conn:
        conn.send_raw(b"POST / HTTP/1.1\r\nHF.SEND order web Cancel\r\n\r\n")
        is_error(conn.read(), "ERR unknown command 'POST'")
        assert conn.at_end()


def test_nothing_after_a_protocol_error_is_done(server):
    with unharmed(server) as conn:
        conn.send_raw(b"*1\r\n:1\r\n" + encode(*place("after-error")))
        is_error(conn.read(), "ERR Protocol error")
        assert conn.at_end()


def test_commands_before_a_protocol_error_are_done(server):
    with Connection(server.connect()) as conn:
        conn.send_raw(encode(*place("before-error")) + b"*x\r\n")
        equal(conn.read()[:2], [b"Open", 1])
        is_error(conn.read(), "ERR Protocol error")
        assert conn.at_end()


# ---- commands ----------------------------------------------------------------------------------


def test_quit_in_mid_pipeline(server):
    with unharmed(server) as conn:
        conn.send_raw(encode("PING") + encode("QUIT") + encode(*place("after-quit")) * 100)
        equal([conn.read(), conn.read()], ["PONG", "OK"])
        assert conn.at_end()


def test_unknown_command(server):
    with unharmed(server) as conn:
        is_error(conn.call("FOO", "a", "b"),
                 "ERR unknown command 'FOO', with args beginning with: 'a' 'b' ")
        is_error(conn.call("client|id"), "ERR unknown command")
        is_error(conn.call("x" * 300), "ERR unknown command '" + "x" * 128)
        is_error(conn.call("CLIENT", "NONSENSE"), "ERR unknown subcommand")
        is_error(conn.call("CLIENT", b"ID\0x"), "ERR unknown subcommand")


def test_arity(server):
    with unharmed(server) as conn:
        for command, name in ((("HF.SEND", "order", "1"), "hf.send"), (("hf.get", "order"), "hf.get"),
                              (("ECHO",), "echo"), (("CLIENT", "SETNAME"), "client|setname"),
                              (("CLIENT",), "client"), (("HF.HASH", "x"), "hf.hash")):
            equal(conn.call(*command),
                  Error("ERR wrong number of arguments for '%s' command" % name))


def test_send_arguments(server):
    with unharmed(server) as conn:
        send = ("HF.SEND", "order", "args", "Place")
        is_error(conn.call(*send, "q"), "BADPARAM q (argument 4) has no value")
        is_error(conn.call(*send, "q", "1", "id", "a", "ID", "b"), "BADPARAM ID is given twice")
        is_error(conn.call(*send, "ifversion", "0", "IFVERSION", "0"), "BADPARAM IFVERSION is given")
        is_error(conn.call(*send, "IFVERSION", "new"), "BADPARAM IFVERSION takes a version number")
        is_error(conn.call(*send, "ID", ""), "BADPARAM ID is empty")
        is_error(conn.call(*send, "ID", "x" * 256), "TOOBIG ")
        is_error(conn.call(*place("k" * 256)), "TOOBIG ")
        is_error(conn.call(*place("")), "BADPARAM ")
        is_error(conn.call(*send, "Q", "1"), "BADPARAM ")
        is_error(conn.call("HF.SEND", "nothing", "k", "Place"), "NOTFOUND ")
        is_error(conn.call("HF.SEND", "order", "args", "place"), "BADEVENT ")
        is_error(conn.call("HF.SEND", "order", "args", "Cancel"), "REFUSED ")


def test_binary_keys(server):
    key = b"\x00\r\n$5\xff \"'"
    with Connection(server.connect()) as conn:
        equal(conn.call(*place(key, 10, "ID", b"\x00\xff\r\n"))[:2], [b"Open", 1])
        equal(conn.call("HF.GET", "order", key, "state", "qty"), [b"state", b"Open", b"qty", b"10"])
        equal(conn.call("HF.HISTORY", "order", key)[0][-1], b"\x00\xff\r\n")


def fields_of(reply):
    return dict(zip(reply[::2], reply[1::2]))


def test_get_in_resp2_and_resp3(server):
    with Connection(server.connect()) as conn:
        conn.call(*place("shape"))
        flat = conn.call("HF.GET", "order", "shape")
        equal(flat[::2], [b"state", b"version", b"lsn", b"time", b"qty", b"filled", b"price", b"rush",
                          b"symbol"])
        assert conn.call("HELLO", "3")[b"proto"] == 3
        mapped = conn.call("HF.GET", "order", "shape")
        equal(mapped, fields_of(flat))
        equal(mapped[b"state"], b"Open")
        equal(mapped[b"version"], 1)
        assert isinstance(mapped[b"lsn"], int) and isinstance(mapped[b"time"], int)
        equal([mapped[f] for f in (b"qty", b"filled", b"price", b"rush", b"symbol")],
              [b"10", b"0", b"-5", b"false", b"ACME"])
        equal(conn.call("HF.GET", "order", "shape", "symbol", "version"),
              {b"symbol": b"ACME", b"version": 1})
        is_error(conn.call("HF.GET", "order", "shape", "qty", "quantity"),
                 "BADPARAM order has no field quantity (argument 4)")
        is_error(conn.call("HF.GET", "order", "shape", ""), "BADPARAM order has no field '' (argument 3)")


def test_history(server):
    with Connection(server.connect()) as conn:
        conn.call(*place("past", 100, "ID", "p-1"))
        for n in range(1, 5):
            conn.call("HF.SEND", "order", "past", "Fill", "n", n)
        conn.call("HELLO", "3")
        past = conn.call("HF.HISTORY", "order", "past")
        equal([e[b"version"] for e in past], [1, 2, 3, 4, 5])
        equal([e[b"event"] for e in past], [b"Place"] + [b"Fill"] * 4)
        equal(past[0][b"params"], {b"q": b"100", b"p": b"-5", b"s": b"ACME"})
        equal(past[0][b"id"], b"p-1")
        assert b"id" not in past[1]
        equal(past[4][b"params"], {b"n": b"4"})
        equal(past[4][b"state"], b"Open")
        some = conn.call("HF.HISTORY", "order", "past", "count", "2", "FROM", "3")
        equal(some, past[2:4])
        equal(conn.call("HF.HISTORY", "order", "past", "FROM", "6"), [])
        for bad in (("FROM",), ("FROM", "0"), ("COUNT", "1001"), ("COUNT", "x"), ("UPTO", "3"),
                    ("FROM", "1", "FROM", "2")):
            is_error(conn.call("HF.HISTORY", "order", "past", *bad), "BADPARAM ")
        is_error(conn.call("HF.HISTORY", "order", "no-such"), "NOTFOUND ")
        conn.call("HELLO", "2")
        flat = conn.call("HF.HISTORY", "order", "past", "COUNT", "1")[0]
        equal(flat[::2], [b"version", b"lsn", b"time", b"event", b"state", b"params", b"id"])
        equal(flat[11], [b"q", b"100", b"p", b"-5", b"s", b"ACME"])


def test_count(server):
    with Connection(server.connect()) as conn:
        flat = conn.call("HF.COUNT", "order")
        equal(flat[::2], [b"Open", b"Filled", b"Cancelled"])
        conn.call(*place("counted"))
        equal(conn.call("HF.COUNT", "order", "Open"), fields_of(flat)[b"Open"] + 1)
        is_error(conn.call("HF.COUNT", "order", "Lost"), "NOTFOUND order has no state Lost")
        is_error(conn.call("HF.COUNT", "order", ""), "NOTFOUND order has no state ''")
        is_error(conn.call("HF.COUNT", "nothing"), "NOTFOUND ")
        equal(conn.call("DBSIZE"), sum(flat[1::2]) + 1)
        equal(conn.call("TYPE", "order:counted"), "entity")
        equal(conn.call("TYPE", "order:nothing"), "none")


SECOND = "---\ntitle: door\n---\nstateDiagram-v2\n  [*] --> Shut\n  Shut --> Ajar : Open\n  Ajar --> Shut : Close\n"


def test_contracts(server):
    with Connection(server.connect()) as conn:
        equal(conn.call("HF.CONTRACT", "SHOW", "order"), ORDER.encode())
        is_error(conn.call("HF.CONTRACT", "SHOW", "door"), "NOTFOUND ")
        equal(conn.call("HF.CONTRACT", "CHECK", SECOND), "OK")
        is_error(conn.call("HF.CONTRACT", "CHECK", "nonsense\nand more"), "BADCONTRACT ")
        is_error(conn.call("HF.CONTRACT", "SHOW", "door"), "NOTFOUND ")
        loaded = conn.call("HF.CONTRACT", "LOAD", SECOND)
        equal(loaded[:2], [b"door", 1])
        assert len(loaded[2]) == 32 and isinstance(loaded[3], int)
        listed = [fields_of(each) for each in conn.call("HF.CONTRACT", "LIST")]
        equal([each[b"name"] for each in listed], [b"order", b"door"])
        equal(listed[1][b"states"], [b"Shut", b"Ajar"])
        equal(listed[1][b"hash"], loaded[2])
        equal(conn.call("HF.SEND", "door", "1", "Open")[:2], [b"Ajar", 1])
        is_error(conn.call("HF.CONTRACT", "LOAD", SECOND.replace("Ajar", "Wide")), "REFUSED ")
        equal(conn.call("HF.CONTRACT", "SHOW", "door"), SECOND.encode())
        assert len(conn.call("HF.CONTRACT", "HELP")) == 5


def test_retry_gets_the_original_reply(server):
    with Connection(server.connect()) as conn:
        first = conn.call(*place("again", 10, "ID", "once"))
        conn.call("HF.SEND", "order", "again", "Touch")
        before = conn.call("HF.HASH")
        equal(conn.call(*place("again", 10, "id", "once")), first)
        equal(conn.call("HF.HASH"), before)


def test_ifversion(server):
    with Connection(server.connect()) as conn:
        equal(conn.call(*place("fenced", 10, "IFVERSION", "0"))[1], 1)
        before = conn.call("HF.HASH")
        is_error(conn.call("HF.SEND", "order", "fenced", "Touch", "ifversion", "7"), "STALE ")
        equal(conn.call("HF.HASH"), before)
        equal(conn.call("HF.SEND", "order", "fenced", "Touch", "ifversion", "1")[1], 2)


def test_hash(server):
    with Connection(server.connect()) as conn:
        lsn, digest = conn.call("HF.HASH")
        assert len(digest) == 32 and int(digest, 16) >= 0
        after = conn.call(*place("hashed"))[2]
        equal(after, lsn + 1)
        assert conn.call("HF.HASH")[1] != digest


def test_snapshot(server):
    """Replies to what is pipelined behind it come behind its own; others are served meanwhile."""
    with Connection(server.connect()) as conn:
        last = conn.call(*place("snapped"))[2]
        conn.send_raw(encode("HF.SNAPSHOT") + encode("PING", "one") + encode(*place("behind")) +
                      encode("HF.SNAPSHOT") + encode("PING", "two"))
        lsn, size = conn.read()
        assert lsn >= last and size % 4096 == 0
        equal(conn.read(), b"one")
        after = conn.read()[2]
        assert after > lsn
        assert conn.read()[0] >= after
        equal(conn.read(), b"two")
        is_error(conn.call("HF.SNAPSHOT", "now"), "ERR wrong number")


def test_multi_executes_nothing(server):
    """Clients pipeline MULTI, commands, EXEC: none of the commands may be done."""
    with unharmed(server) as conn:
        conn.send_raw(encode("MULTI") + encode(*place("multi")) + encode("HF.HASH") + encode("EXEC"))
        equal(conn.read(), "OK")
        is_error(conn.read(), "ERR not executed: MULTI is not available")
        is_error(conn.read(), "ERR not executed: MULTI is not available")
        is_error(conn.read(), "EXECABORT ")
        is_error(conn.call("EXEC"), "ERR EXEC without MULTI")
        conn.call("MULTI")
        is_error(conn.call("MULTI"), "ERR MULTI calls can not be nested")
        equal(conn.call("DISCARD"), "OK")
        is_error(conn.call("HF.GET", "order", "multi"), "NOTFOUND ")


# ---- many ---------------------------------------------------------------------------------------


def test_10000_pipelined_without_reading(server):
    with Connection(server.connect()) as conn:
        conn.call(*place("pipe", 100000))
        conn.send_raw(encode("HF.SEND", "order", "pipe", "Fill", "n", 1) * 10000)
        replies = [conn.read() for _ in range(10000)]
        equal([r[1] for r in replies], list(range(2, 10002)))
        equal(conn.call("HF.GET", "order", "pipe", "filled"), [b"filled", b"10000"])


def resident_kb(server):
    with open("/proc/%d/status" % server.process.pid, encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_client_that_never_reads_costs_bounded_memory(server):
    """64 MB of replies are wanted, none is read: the server stops reading, and others are served."""
    message = b"x" * 65536
    before = resident_kb(server)
    with unharmed(server) as conn:
        conn.sock.setblocking(False)
        data = encode("ECHO", message)
        sent = 0
        for _ in range(1000):
            try:
                sent += conn.sock.send(data[sent % len(data):])
            except BlockingIOError:
                with Connection(server.connect()) as other:
                    equal(other.call("PING"), "PONG")
        grown = resident_kb(server) - before
        assert grown < 32768, "%d KB more" % grown
        conn.sock.setblocking(True)
        conn.sock.settimeout(30)
        whole = sent // len(data)
        assert whole > 10
        for _ in range(whole):
            equal(conn.read(), message)


def test_pipeline_larger_than_the_pause(server):
    """Sender and reader at once: 8 MB of replies go through a limit of 1 MB, in order."""
    with Connection(server.connect()) as conn:
        count = 2000
        data = b"".join(encode("ECHO", b"%04d" % i * 1024) for i in range(count))
        sender = threading.Thread(target=conn.send_raw, args=(data,))
        sender.start()
        for i in range(count):
            equal(conn.read(), b"%04d" % i * 1024)
        sender.join()


def test_slow_commands_wait_and_stay_in_order(server):
    """More of them than one turn takes, with all kinds of others between and behind them."""
    with Connection(server.connect()) as conn:
        conn.send_raw(encode(*place("a slow b", 1000)) + b"HF.HISTORY order 'a slow b'\r\n"
                      + (encode("COMMAND", "DOCS") + b"HF.HISTORY order 'a slow b'\r\n"
                       + encode("HF.SEND", "order", "a slow b", "Fill", "n", 1)) * 20
                      + b'HF.GET order "a\\x20slow b" version\r\nPING "x\\x41y"\r\n' + encode("HF.NO"))
        equal(conn.read()[1], 1)
        equal(len(conn.read()), 1)
        for version in range(1, 21):
            assert len(conn.read()) > 50
            equal([event[1] for event in conn.read()], list(range(1, version + 1)))
            equal(conn.read()[1], version + 1)
        equal(conn.read(), [b"version", 21])
        equal(conn.read(), b"xAy")
        is_error(conn.read(), "ERR unknown command 'HF.NO'")


LONG = 700


def make_long_history(conn):
    conn.send_raw(encode(*place("long", 1 << 40)) + b"".join(
        encode("HF.SEND", "order", "long", "Fill", "n", 1, "ID", f"{i:0200}") for i in range(2, LONG + 1)))
    for version in range(1, LONG + 1):
        equal(conn.read()[1], version)


def test_histories_take_turns(server):
    """Several clients want long ones at once: each is whole, in its place, and as of its beginning."""
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(Connection(server.connect())) for _ in range(4)]
        make_long_history(conns[0])
        ask = encode("HF.HISTORY", "order", "long", "COUNT", 1000)
        fill = encode("HF.SEND", "order", "long", "Fill", "n", 1)
        for conn in conns:
            conn.send_raw((ask + fill + encode("PING")) * 3 + b"ECHO \"a \\x41\"\r\n" + encode("INFO"))
        for conn in conns:
            seen = LONG
            for _ in range(3):
                history = conn.read()
                equal([event[1] for event in history], list(range(1, len(history) + 1)))
                assert len(history) >= seen, (len(history), seen)
                seen = conn.read()[1]
                assert seen > len(history), (len(history), seen)
                equal(conn.read(), "PONG")
            equal(conn.read(), b"a A")
            assert b"connected_clients" in conn.read()


def test_gone_in_mid_history(server):
    with Connection(server.connect()) as conn:
        make_long_history(conn) if conn.call("TYPE", "order:long") == "none" else None
        for _ in range(50):
            with Connection(server.connect()) as leaving:
                leaving.send_raw(encode("HF.HISTORY", "order", "long", "COUNT", 1000) * 3)
                leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            equal(conn.call("PING"), "PONG")
        equal(len(conn.call("HF.HISTORY", "order", "long", "COUNT", LONG)), LONG)


def test_many_connections(server):
    conns = [Connection(server.connect()) for _ in range(300)]
    try:
        for i, conn in enumerate(conns):
            conn.send_raw(encode(*place("conn-%d" % i)))
        for conn in conns:
            equal(conn.read()[:2], [b"Open", 1])
    finally:
        for conn in conns:
            conn.close()


def test_connection_limit(_server):
    with Server(contracts={"order": ORDER}, args=["--max-clients", "3"]) as server:
        conns = [Connection(server.connect()) for _ in range(3)]
        for conn in conns:
            equal(conn.call("PING"), "PONG")
        with Connection(server.connect()) as one_too_many:
            is_error(one_too_many.read(), "ERR max number of clients reached")
            assert one_too_many.at_end()
        conns.pop().close()
        for _ in range(100):
            conn = Connection(server.connect())
            try:
                equal(conn.call("PING"), "PONG")
                break
            except (Closed, ConnectionError, AssertionError):
                continue  # the server has not seen the close yet
        else:
            raise AssertionError("no client is taken after one has left")


def rejected(conn):
    """How many clients were turned away, as INFO and HF.STATS tell it."""
    fields = dict(line.split(":", 1) for line in conn.call("INFO", "stats").decode().split("\r\n") if ":" in line)
    equal(conn.call("HF.STATS", "clients.rejected")[1:], [int(fields["rejected_connections"])])
    return int(fields["rejected_connections"])


def test_out_of_files(_server):
    """The process may open no more files: who comes is told so, who is there is served on."""
    with Server(contracts={"order": ORDER}) as server, Connection(server.connect()) as first:
        equal(first.call("PING"), "PONG")
        opened = len(os.listdir("/proc/%d/fd" % server.process.pid))
        hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (opened, hard))
        for _ in range(3):
            with Connection(server.connect()) as refused:
                is_error(refused.read(), "ERR max number of clients reached")
                assert refused.at_end()
            equal(first.call("HF.HASH")[0], 1)
        equal(rejected(first), 3)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (opened + 1, hard))
        with Connection(server.connect()) as second:
            equal(second.call("PING"), "PONG")


def has_ipv6():
    """This machine; where it has not, the end is a SKIP that says so."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


def test_ipv6(_server):
    if not has_ipv6():
        return
    with Server(contracts={"order": ORDER}, listen="[::1]:0") as server:
        equal(server.address, "[::1]")
        with Connection(server.connect()) as conn:
            equal(conn.call(*place("six"))[:2], [b"Open", 1])
            assert b"addr=[::1]:" in conn.call("CLIENT", "LIST")


def test_own_address(_server):
    """Of a server that listens everywhere: where the client came to."""
    with Server(contracts={"order": ORDER}, listen="0.0.0.0:0") as server:
        with Connection(server.connect()) as conn:
            addresses = "addr=%s:%d laddr=%s:%d " % (conn.sock.getsockname() + conn.sock.getpeername())
            assert addresses.encode() in conn.call("CLIENT", "LIST")
            assert addresses.encode() in conn.call("CLIENT", "INFO")


def main():
    failed = 0
    for args in ([], ["--threads", "2"]):
        print("# serve", *args, flush=True)
        with Server(contracts={"order": ORDER}, args=args) as server:
            failed += run(globals(), server)
    if not failed and not has_ipv6():
        skip("this machine has no IPv6; all else is as it should be")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
