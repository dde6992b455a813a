#!/usr/bin/python3
"""P7, P4: a client may go at any byte. What was whole is done, and nothing else is.

For every prefix of a pipeline that writes, reads and fails, a client sends just that, and then
  - shuts its direction: all replies to what was whole come, and the state is what they say;
  - hangs up, or resets: the state is that after some of the whole commands, from the first on;
  - waits, and sends the rest: all of it is done, once.
In the end replay finds the state that the server says it has.
"""

import pathlib
import socket
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server, holdfast  # noqa: E402

LINGER_NOT = struct.pack("ii", 1, 0)
CONTRACT = """\
---
title: tally
---
stateDiagram-v2
    %% field sum: u64
    %% field note: bytes(64)
    [*] --> Open : Add(n: u64) / sum += n
    Open --> Open : Add(n: u64) / sum += n
    Open --> Open : Note(text: bytes(64)) / note = text
    Open --> Shut : Close
    Shut --> [*]
"""


def script(key):
    """The commands: (bytes, what it adds to the version, what it adds to the sum)."""
    def send(*words):
        return resp.encode("HF.SEND", "tally", key, *words)

    return [
        (send("Add", "n", 1, "ID", "first"), 1, 1),
        (send("Add", "n", 2), 1, 2),
        (resp.encode("HF.GET", "tally", key), 0, 0),
        (f"hf.send tally {key} Add n 4 ID second\r\n".encode(), 1, 4),
        (send("Add", "n", 8, "IFVERSION", 1), 0, 0),
        (send("Add", "n", 1, "ID", "first"), 0, 0),
        (send("Note", "text", "\r\n*1\r\n$4\r\nPING\r\n"), 1, 0),
        (resp.encode("NO.SUCH", "thing"), 0, 0),
        (send("Add", "n", 16, "IFVERSION", 4, "ID", "third"), 1, 16),
        (resp.encode("HF.HISTORY", "tally", key), 0, 0),
        (send("Close"), 1, 0),
        (send("Add", "n", 32), 0, 0),
    ]


def after(commands):
    """(version, sum) after each number of commands, from none on."""
    states = [(0, 0)]
    for _bytes, events, pieces in commands:
        states.append((states[-1][0] + events, states[-1][1] + pieces))
    return states


def whole(commands, cut):
    """How many commands the first `cut` bytes hold whole."""
    end = count = 0
    for data, _events, _pieces in commands:
        end += len(data)
        count += end <= cut
    return count


def leave_in_order(connection):
    connection.close()


def reset(connection):
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    connection.close()


def state_of(witness, key):
    reply = witness.call("HF.GET", "tally", key, "version", "sum")
    if isinstance(reply, resp.Error):
        assert reply.startswith("NOTFOUND"), reply
        return 0, 0
    return reply[1], int(reply[3])


def half_close(server, key, data, expected, replies):
    """Sends, shuts, and reads to the end."""
    with resp.Connection(server.connect()) as connection:
        connection.send_raw(data)
        connection.sock.shutdown(socket.SHUT_WR)
        for _ in range(replies):
            connection.read()
        assert connection.at_end(), f"{key}: more than {replies} replies"
    with resp.Connection(server.connect()) as witness:
        got = state_of(witness, key)
        assert got == expected, f"{key}: {got}, not {expected}"


def pause(server, witness, key, data, cut, expected):
    """The rest comes when the server has seen the beginning."""
    with resp.Connection(server.connect()) as connection:
        connection.send_raw(data[:cut])
        witness.call("PING")
        connection.send_raw(data[cut:])
        connection.sock.shutdown(socket.SHUT_WR)
        while not connection.at_end():
            pass
    got = state_of(witness, key)
    assert got == expected, f"{key}: {got}, not {expected}"


def byte_by_byte(server):
    commands = script("slowly")
    with resp.Connection(server.connect()) as connection:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"".join(data for data, _, _ in commands):
            connection.send_raw(bytes([byte]))
        for _ in commands:
            connection.read()
        assert state_of(connection, "slowly") == after(commands)[-1]


def strike(server):
    """Each prefix, each way to go; the number of prefixes."""
    length = len(b"".join(data for data, _, _ in script("c000")))
    gone = []
    with resp.Connection(server.connect()) as witness:
        for cut in range(length + 1):
            for way, leave in (("h", leave_in_order), ("r", reset)):
                key = f"{way}{cut:03}"
                commands = script(key)
                connection = resp.Connection(server.connect())
                connection.send_raw(b"".join(data for data, _, _ in commands)[:cut])
                leave(connection)
                gone.append((key, after(commands)[:whole(commands, cut) + 1]))
            commands = script(f"c{cut:03}")
            data, states, count = b"".join(c[0] for c in commands), after(commands), whole(commands, cut)
            half_close(server, f"c{cut:03}", data[:cut], states[count], count)
            commands = script(f"p{cut:03}")
            pause(server, witness, f"p{cut:03}", b"".join(c[0] for c in commands), cut, states[-1])
        done = 0
        for key, possible in gone:
            got = state_of(witness, key)
            assert got in possible, f"{key}: {got} is none of {possible}"
            done += got == possible[-1]
        print(f"{length + 1} prefixes; of {len(gone)} clients that hung up, {done} had all done that was whole")
    return length + 1


def main():
    with Server(contracts={"tally": CONTRACT}) as server:
        byte_by_byte(server)
        strike(server)
        with resp.Connection(server.connect()) as witness:
            lsn, state_hash = witness.call("HF.HASH")
        assert server.terminate() == 0, server.stderr
        replayed = subprocess.run([holdfast(), "replay", server.data_dir], check=True, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        assert state_hash.decode() in replayed, f"LSN {lsn}: {state_hash}, replay: {replayed}"


if __name__ == "__main__":
    main()
