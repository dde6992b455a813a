#!/usr/bin/python3
"""What each client says when it connects, replayed byte for byte, with the replies that it counts on.

These stand in for the clients that are not run here (Jedis, Lettuce, redis-py 8, RedisInsight), and keep the others'
handshakes under test where they are not installed. They were recorded from the clients, or taken from their sources.
"""

import sys

from common import Connection, Error, ORDER, Server, encode, equal, is_error, run


def talk(server, *exchange):
    """Sends all commands at once; each reply must equal the value beside it, or satisfy it if that is a function."""
    with Connection(server.connect()) as conn:
        conn.send_raw(b"".join(encode(*command) for command, _ in exchange))
        for command, wanted in exchange:
            reply = conn.read()
            if callable(wanted):
                assert wanted(reply), "%r: %.300r" % (command, reply)
            else:
                assert reply == wanted, "%r: %.300r, wanted %r" % (command, reply, wanted)
        equal(conn.call("PING"), "PONG")


def error(beginning):
    return lambda reply: isinstance(reply, Error) and reply.startswith(beginning)


def hello(proto):
    """The full map of HELLO, in its own protocol."""
    def check(reply):
        fields = reply if proto == 3 else dict(zip(reply[::2], reply[1::2]))
        return (isinstance(reply, dict) == (proto == 3) and fields[b"proto"] == proto
                and fields[b"mode"] == b"standalone" and fields[b"role"] == b"master"
                and fields[b"modules"] == [] and isinstance(fields[b"id"], int)
                and {b"server", b"version"} <= set(fields))
    return check


def has(*texts):
    return lambda reply: all(text in reply for text in texts)


MAINT = ("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "internal-ip")
UNKNOWN_SUB = error("ERR unknown subcommand")


def test_redis_cli(server):
    talk(server, (("HELLO", "3"), hello(3)))
    talk(server, (("AUTH", "default", "any"), "OK"), (("SELECT", "0"), "OK"))
    talk(server, (("COMMAND", "DOCS"), lambda r: b"hf.send" in r and len(r) % 2 == 0))
    talk(server, (("HELLO", "3"), hello(3)),
         (("COMMAND", "DOCS"), lambda r: r[b"hf.send"][b"group"] == b"holdfast"))
    talk(server, (("INFO",), has(b"\r\nconnected_clients:", b"\r\nused_memory_human:",
                                 b"\r\ntotal_commands_processed:", b"\r\nblocked_clients:0")))


def test_redis_benchmark(server):
    talk(server, (("CONFIG", "GET", "save"), [b"save", b""]),
         (("CONFIG", "GET", "appendonly"), [b"appendonly", b"yes"]))


def test_ioredis(server):
    talk(server, (("select", "0"), "OK"), (("client", "setname", "app"), "OK"),
         (("client", "SETINFO", "LIB-NAME", "ioredis"), "OK"),
         (("client", "SETINFO", "LIB-VER", "5.11.0"), "OK"),
         (("info",), has(b"\r\nloading:0\r\n", b"\r\nrole:master\r\n")))


def test_node_redis(server):
    setup = [(("CLIENT", "SETNAME", "app"), "OK"), (("SELECT", "0"), "OK"),
             (("CLIENT", "SETINFO", "LIB-VER", "5.12.0"), "OK"),
             (("CLIENT", "SETINFO", "LIB-NAME", "node-redis"), "OK")]
    talk(server, *setup)
    talk(server, (("HELLO", "3"), hello(3)), *setup, (MAINT, UNKNOWN_SUB))


def test_redis_py_4(server):
    talk(server, (("CLIENT", "SETNAME", "app"), "OK"), (("SELECT", "0"), "OK"))
    talk(server, (("MULTI",), "OK"), (("HF.SEND", "order", "multi", "Cancel"), error("ERR not executed")),
         (("EXEC",), error("EXECABORT ")))


def test_redis_py_8(server):
    talk(server, (("HELLO", "3", "AUTH", "default", "any"), hello(3)),
         (("CLIENT", "SETNAME", "app"), "OK"), (MAINT, UNKNOWN_SUB),
         (("CLIENT", "SETINFO", "LIB-NAME", "redis-py"), "OK"),
         (("CLIENT", "SETINFO", "LIB-VER", "8.0.0"), "OK"), (("SELECT", "0"), "OK"))


def test_go_redis(server):
    talk(server, (("hello", "3", "setname", "app"), hello(3)),
         (("client", "getname"), b"app"),
         (("client", "maint_notifications", "on", "moving-endpoint-type", "internal-ip"), UNKNOWN_SUB),
         (("client", "setinfo", "LIB-NAME", "go-redis(,go1.22.0)"), "OK"),
         (("client", "setinfo", "LIB-VER", "9.22.0"), "OK"))
    talk(server, (("hello", "2"), hello(2)), (("select", "0"), "OK"))


def test_jedis(server):
    talk(server, (("HELLO", "3"), hello(3)), (("CLIENT", "SETNAME", "app"), "OK"),
         (("CLIENT", "SETINFO", "LIB-NAME", "jedis"), "OK"),
         (("CLIENT", "SETINFO", "LIB-VER", "8.0.0"), "OK"), (("SELECT", "0"), "OK"))


def test_lettuce(server):
    talk(server, (("HELLO", "3"), hello(3)),
         (("CLIENT", "SETINFO", "lib-name", "Lettuce"), "OK"),
         (("CLIENT", "SETINFO", "lib-ver", "6.5.0"), "OK"))
    talk(server, (("NOSUCH",), error("ERR unknown command")))


def test_redis_insight(server):
    talk(server, (("HELLO", "3"), hello(3)), (("INFO",), has(b"redis_version:", b"cluster_enabled:0")),
         (("MODULE", "LIST"), []), (("CONFIG", "GET", "databases"), {b"databases": b"1"}),
         (("CLIENT", "LIST"), has(b"addr=", b"name=")), (("DBSIZE",), lambda r: isinstance(r, int)),
         (("CLUSTER", "INFO"), error("ERR This instance has cluster support disabled")),
         (("ACL", "WHOAMI"), b"default"), (("ACL", "LIST"), lambda r: len(r) == 1),
         (("SLOWLOG", "GET", "10"), []), (("TYPE", "x"), "none"), (("SCAN", "0"), [b"0", []]))


# ---- what they may say otherwise ----------------------------------------------------------------


def test_hello_refusals(server):
    talk(server, (("HELLO", "4"), error("NOPROTO ")), (("HELLO", "-1"), error("NOPROTO ")),
         (("HELLO", "x"), error("ERR Protocol version")),
         (("HELLO", "3", "NONSENSE"), error("ERR Syntax error in HELLO option 'NONSENSE'")),
         (("HELLO", "3", "AUTH", "someone", "secret"), error("WRONGPASS ")),
         (("HELLO", "3", "SETNAME", "a b"), error("ERR Client names cannot contain spaces")),
         # None of these has changed the protocol or the name.
         (("HELLO",), hello(2)), (("CLIENT", "GETNAME"), None))


def test_auth(server):
    talk(server, (("AUTH", "secret"), error("ERR AUTH <password> called without any password configured")),
         (("AUTH", "someone", "secret"), error("WRONGPASS ")), (("AUTH", "default", "x"), "OK"))


def test_select(server):
    talk(server, (("SELECT", "1"), error("ERR DB index is out of range")),
         (("SELECT", "x"), error("ERR value is not an integer")), (("SELECT", "0"), "OK"))


def test_reset(server):
    talk(server, (("HELLO", "3", "SETNAME", "app"), hello(3)), (("MULTI",), "OK"), (("RESET",), "RESET"),
         (("HELLO",), hello(2)), (("CLIENT", "GETNAME"), None), (("EXEC",), error("ERR EXEC without MULTI")))


def test_client(server):
    talk(server, (("CLIENT", "SETNAME", "x" * 64), error("ERR Client names")),
         (("CLIENT", "SETINFO", "LIB-OTHER", "x"), error("ERR Unrecognized option")),
         (("CLIENT", "NO-EVICT", "ON"), "OK"), (("CLIENT", "NO-TOUCH", "off"), "OK"),
         (("CLIENT", "NO-EVICT", "maybe"), error("ERR syntax error")),
         (("CLIENT", "ID"), lambda r: r > 0), (("CLIENT", "INFO"), has(b"id=", b"resp=2")),
         (("CLIENT", "REPLY", "OFF"), UNKNOWN_SUB))


def test_ping_echo_wait(server):
    talk(server, (("PING",), "PONG"), (("PING", "x"), b"x"), (("PING", "x", "y"), error("ERR wrong number")),
         (("ECHO", b"\x00\xff"), b"\x00\xff"), (("WAIT", "0", "100"), 0), (("QUIT!",), error("ERR unknown")))


def test_command(server):
    with Connection(server.connect()) as conn:
        commands = conn.call("COMMAND")
        equal(len(commands), conn.call("COMMAND", "COUNT"))
        equal(conn.call("COMMAND", "INFO"), commands)
        send, nothing = conn.call("COMMAND", "INFO", "HF.SEND", "nothing")
        equal((send[0], send[1], send[2], send[3:6], nothing), (b"hf.send", -4, ["write"], [2, 2, 1], None))
        subcommands = [sub[0] for command in commands if command[0] == b"client" for sub in command[9]]
        assert b"client|setname" in subcommands
        names = conn.call("COMMAND", "LIST")
        equal(len(names), len(set(names)))
        docs = conn.call("COMMAND", "DOCS", "hf.get", "nothing")
        equal((docs[0], len(docs)), (b"hf.get", 2))
        is_error(conn.call("COMMAND", "NONSENSE"), "ERR unknown subcommand 'NONSENSE' of 'command'")


def test_info_sections(server):
    with Connection(server.connect()) as conn:
        whole = conn.call("INFO")
        for line in whole.decode().splitlines():
            assert line == "" or line.startswith("# ") or ":" in line, line
        part = conn.call("INFO", "holdfast")
        assert part.startswith(b"# Holdfast\r\n") and b"# Server" not in part
        equal(conn.call("INFO", "nothing"), b"")


def test_config_patterns(server):
    with Connection(server.connect()) as conn:
        names = conn.call("CONFIG", "GET", "*")[::2]
        assert {b"save", b"appendonly", b"databases", b"maxclients"} <= set(names)
        equal(conn.call("CONFIG", "GET", "MAX*")[::2], [b"maxclients", b"maxmemory"])
        equal(conn.call("CONFIG", "GET", "nothing"), [])
        is_error(conn.call("CONFIG", "SET", "save", "1"), "ERR unknown subcommand")


def main():
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
