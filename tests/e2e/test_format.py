#!/usr/bin/python3
"""P5: docs/format/log.md is enough to read a log and to compute its state hash, without Holdfast.

A reader in Python, written from that page alone, proves every frame and record of a log in which
each type of field and param, ids, several contracts and a kill have left their traces, and
computes the hash after every event. XXH3 is the one thing that it takes from a library.
"""

import ctypes
import pathlib
import random
import struct
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

import resp  # noqa: E402
from server import Server  # noqa: E402

SECTOR, SEGMENT_SIZE = 512, 1 << 20
FULL = 0xFFFFFFFF
MASK = 2**64 - 1
TICKET = """\
---
title: ticket
---
stateDiagram-v2
    %% field open: bool
    %% field owner: bytes(5)
    %% field cents: i64
    %% field hours: u64
    [*] --> New : Create(c: i64, o: bytes(5)) / open = true, cents = c, owner = o
    New --> New : Work(h: u64, b: bool) / hours = h, open = b
    New --> Done : Finish
    Done --> [*]
"""
STATES = ["[*]", "New", "Done"]
EVENTS = {0: ("Create", ("c", "i64"), ("o", "bytes")), 1: ("Work", ("h", "u64"), ("b", "bool")), 2: ("Finish",)}
TRANSITIONS = ["New", "New", "Done"]


class Hash128(ctypes.Structure):
    """XXH128_hash_t"""
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxhash():
    """The library, with the types of the two functions used."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits_withSeed.restype = ctypes.c_uint64
    library.XXH3_128bits_withSeed.restype = Hash128
    for function in (library.XXH3_64bits_withSeed, library.XXH3_128bits_withSeed):
        function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return library


XXH = xxhash()
CRC_TABLE = []
for entry in range(256):
    for _ in range(8):
        entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
    CRC_TABLE.append(entry)


def crc(seed, data):
    """CRC-32C without the inversions."""
    for byte in data:
        seed = seed >> 8 ^ CRC_TABLE[(seed ^ byte) & 255]
    return seed


def number(data, at, size):
    """A little-endian number."""
    return int.from_bytes(data[at:at + size], "little")


def varint(data, at):
    """(value, where the next thing begins)"""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def records(folder):
    """All records of a log as (position, type, LSN, time, body), proven; ends after the close mark."""
    segments = [path.read_bytes() for path in sorted(folder.glob("log-*.hfl"))]
    log_id = segments[0][16:24]
    for index, segment in enumerate(segments):
        header = segment[:SECTOR]
        assert header[:8] == b"HOLDFAST" and number(header, 8, 4) == 2 and header[16:24] == log_id
        assert number(header, 12, 4) == crc(FULL, header[:12] + bytes(4) + header[16:])
        assert (number(header, 24, 8), number(header, 32, 8)) == (index, SEGMENT_SIZE)
        assert len(segment) == SEGMENT_SIZE and not any(header[40:])
    log = b"".join(segments)
    position, lsn, chain = SECTOR, 0, 0
    while True:
        if log[position:position + 4] != b"HFG1" and position % SEGMENT_SIZE:
            position = (position // SEGMENT_SIZE + 1) * SEGMENT_SIZE + SECTOR
        if position >= len(log):
            return
        head = log[position:position + 40]
        if head[:4] != b"HFG1":
            return
        length, count = number(head, 4, 4), number(head, 24, 4)
        assert number(head, 8, 8) == position and number(head, 16, 8) == lsn + 1
        assert number(head, 28, 4) == chain
        payload = log[position + 40:position + 40 + length]
        assert number(head, 32, 4) == crc(FULL, payload)
        chain = number(head, 36, 4)
        assert chain == crc(crc(FULL, log_id), head[:36])
        at = 0
        for _ in range(count):
            size = number(payload, at, 3)
            record, where = payload[at:at + size], position + 40 + at
            lsn, at = lsn + 1, at + size
            assert number(record, 4, 8) == lsn
            check = XXH.XXH3_64bits_withSeed(record[:-4], size - 4, where)
            assert number(record, size - 4, 4) == check & FULL
            yield where, record[3], lsn, number(record, 12, 8), record[20:-4]
        assert at == length
        end = position + 40 + length
        position += (40 + length + SECTOR - 1) // SECTOR * SECTOR
        assert log[end:position] == b"\xff" * (position - end)


def params(event, body, at):
    """The params of an event's body, from this place to its end."""
    values = {}
    for name, kind in EVENTS[event][1:]:
        if kind == "bytes":
            values[name], at = body[at + 1:at + 1 + body[at]], at + 1 + body[at]
        elif kind == "bool":
            values[name], at = body[at], at + 1
        else:
            values[name], at = varint(body, at)
            if kind == "i64":
                values[name] = values[name] >> 1 ^ -(values[name] & 1)
    assert at == len(body)
    return values


class Ticket:
    """An entity: TICKET's rules by hand, and the entity's part of the state hash."""

    def __init__(self):
        self.state, self.version, self.positions = 0, 0, []
        self.open, self.owner, self.cents, self.hours = 0, b"", 0, 0

    def apply(self, event, values):
        """One event."""
        if event == 0:
            self.open, self.cents, self.owner = 1, values["c"], values["o"]
        elif event == 1:
            self.hours, self.open = values["h"], values["b"]

    def part(self, key, contract_hash):
        """(low, high)"""
        # In the contract's order: a bool, bytes(5), then i64 and u64 at multiples of 8.
        block = struct.pack("<BB5sxqQ", self.open, len(self.owner), self.owner, self.cents, self.hours)
        data = struct.pack("<HBBQ", self.state, len(key), 0, self.version) + block + key
        found = XXH.XXH3_128bits_withSeed(data, len(data), number(contract_hash, 0, 8))
        return found.low, found.high


def replay(folder):
    """{LSN: state hash} after every record."""
    hashes, tickets, contract_hash = {}, {}, b""
    low = high = 0
    last_time = 0
    for position, kind, lsn, time, body in records(folder):
        assert time >= last_time
        last_time = time
        if kind == 1:
            name = body[17:17 + body[16]]
            text = body[17 + body[16]:]
            found = XXH.XXH3_128bits_withSeed(text, len(text), 0)
            assert body[:16] == struct.pack(">QQ", found.high, found.low)
            if name == b"ticket":
                contract_hash = body[:16]
        else:
            assert body[:4] == contract_hash[:4]
            event, key_length, id_length = body[4:7]
            key = body[7:7 + key_length]
            at = 7 + key_length + id_length
            ticket = tickets.setdefault(key, Ticket())
            if ticket.version:
                old = ticket.part(key, contract_hash)
                low, high = (low - old[0]) & MASK, (high - old[1]) & MASK
            ticket.version += 1
            version, at = varint(body, at)
            transition, at = varint(body, at)
            back, at = varint(body, at)
            assert version == ticket.version
            assert back == (position - ticket.positions[-1] if ticket.positions else 0)
            if version % 64 == 0:
                far, at = varint(body, at)
                assert far == (position - ticket.positions[-64] if version > 64 else 0)
            ticket.positions.append(position)
            ticket.state = STATES.index(TRANSITIONS[transition])
            ticket.apply(event, params(event, body, at))
            new = ticket.part(key, contract_hash)
            low, high = (low + new[0]) & MASK, (high + new[1]) & MASK
        hashes[lsn] = f"{high:016x}{low:016x}"
    return hashes


class Format(unittest.TestCase):
    """The page against the program."""

    def test_reader(self):
        rng = random.Random(1)
        noted = {}
        with Server(contracts={"ticket": TICKET, "other": "stateDiagram-v2\n    [*] --> A : X\n"},
                    args=["--segment-size", str(SEGMENT_SIZE)]) as server:
            for lap in range(3):
                with resp.Connection(server.connect()) as connection:
                    for _ in range(700):
                        key = rng.choice(["a", "b", "k" * 255])
                        event = rng.choice([
                            ("Create", "c", rng.randint(-2**63, 2**63 - 1), "o", b"\0\xff!"[:rng.randrange(4)]),
                            *[("Work", "h", rng.getrandbits(rng.randrange(1, 65)), "b", "true")] * 3])
                        connection.call("HF.SEND", "ticket", key, *event,
                                        *(["ID", rng.randbytes(rng.randrange(1, 256))] * (rng.random() < 0.3)))
                        lsn, state_hash = connection.call("HF.HASH")
                        noted[lsn] = state_hash.decode()
                if lap == 0:
                    server.kill9()
                server.restart()
            with resp.Connection(server.connect()) as connection:
                connection.call("HF.SEND", "ticket", "a", "Finish")
                lsn, state_hash = connection.call("HF.HASH")
                noted[lsn] = state_hash.decode()
            self.assertEqual(server.terminate(), 0)
            computed = replay(pathlib.Path(server.data_dir))
        self.assertGreater(len(noted), 1000)
        different = [lsn for lsn in sorted(noted) if computed.get(lsn) != noted[lsn]]
        self.assertEqual(different[:5], [], "LSNs with another hash")
        self.assertEqual(max(computed), max(noted))


if __name__ == "__main__":
    unittest.main()
