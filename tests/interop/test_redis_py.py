#!/usr/bin/python3
"""redis-py, as Debian has it: a pool, names, pipelines with and without a transaction, errors, decoding."""

import sys
import time

from common import ORDER, Server, equal, place, run, skip

try:
    import redis
except ImportError:
    skip("redis-py is not installed (package python3-redis)")


def client(server, **options):
    return redis.Redis(port=server.port, client_name="interop", **options)


def refused(call, beginning):
    try:
        reply = call()
    except redis.ResponseError as error:
        assert str(error).startswith(beginning), error
        return
    raise AssertionError("not refused: %r" % (reply,))


def test_connect(server):
    with client(server, db=0) as r:
        assert r.ping()
        equal(r.client_getname(), "interop")
        equal(r.echo("x"), b"x")
        assert r.client_id() > 0
    refused(client(server, db=1).ping, "DB index is out of range")
    refused(client(server, password="secret").ping, "AUTH <password> called without any password")


def test_user_without_password(server):
    assert client(server, username="default", password="any").ping()


def test_events(server):
    with client(server, decode_responses=True) as r:
        state, version, lsn = r.execute_command(*place("py"))
        equal((state, version), ("Open", 1))
        assert lsn > 0
        flat = r.execute_command("HF.GET", "order", "py")
        entity = dict(zip(flat[::2], flat[1::2]))
        equal((entity["qty"], entity["symbol"], entity["version"]), ("10", "ACME", 1))
        refused(lambda: r.execute_command("HF.SEND", "order", "py", "Fill", "n", 11), "REFUSED ")


def test_pipeline(server):
    with client(server) as r, r.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.execute_command(*place("pipe-%d" % i))
        replies = pipe.execute()
        equal([reply[:2] for reply in replies], [[b"Open", 1]] * 500)


def test_transaction_is_refused_and_does_nothing(server):
    with client(server) as r:
        before = r.execute_command("HF.HASH")
        with r.pipeline() as pipe:
            pipe.execute_command(*place("transaction"))
            refused(pipe.execute, "Command # 1")
        equal(r.execute_command("HF.HASH"), before)
        assert r.ping()


def test_administration(server):
    with client(server) as r:
        info = r.info()
        equal((info["loading"], info["role"], info["redis_mode"]), (0, "master", "standalone"))
        assert info["holdfast_version"] and info["last_lsn"] > 0
        equal(r.info("clients")["connected_clients"], info["connected_clients"])
        equal(r.config_get("save"), {"save": ""})
        assert r.dbsize() > 0
        commands = r.command()
        equal(commands["hf.send"]["arity"], -4)
        assert r.command_count() == len(commands)
        equal(r.module_list(), [])
        equal(r.slowlog_get(), [])
        equal(r.acl_whoami(), "default")
        equal(r.wait(0, 0), 0)


def test_client_list(server):
    """It looks for Redis's fields in each line."""
    began = time.monotonic()
    with client(server) as first, client(server, decode_responses=True) as second:
        assert first.ping()
        time.sleep(1.1)
        lines = {int(each["id"]): each for each in second.client_list()}
        info = second.client_info()
        lived = time.monotonic() - began
        assert 1 <= int(lines[first.client_id()]["age"]) <= lived, lines
        equal((info["name"], info["db"], info["flags"], info["user"]), ("interop", 0, "N", "default"))
        equal(info["idle"], 0)
        assert 0 <= int(info["age"]) <= lived
        equal(info["id"], second.client_id())


def main():
    with Server(contracts={"order": ORDER}) as server:
        sys.exit(1 if run(globals(), server) else 0)


if __name__ == "__main__":
    main()
