"""The two real logs: where they are, their converters, and whether a server agrees with the models.

The logs are test input only: they are not part of the project.
"""

import dataclasses
import importlib.util
import lzma
import os
import pathlib
import sys

import incidents_model
import lobster_model
import resp

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIP = 77
BATCH = 500  # commands sent before their replies are read


@dataclasses.dataclass(frozen=True)
class Feed:
    """A log, its example folder, and its model."""

    name: str
    file: str
    header: int  # lines before the first event
    new_model: type

    @property
    def contracts(self):
        """The folder with the contracts."""
        return ROOT / "examples" / self.name

    @property
    def converter(self):
        """The path of the converter."""
        return self.contracts / "convert.py"

    def text(self, count=None):
        """The log's lines: its header, and the first `count` events or all. Skips the test without it."""
        folder = pathlib.Path(os.environ.get("HOLDFAST_DATA") or ROOT.parent / "shared" / "data")
        if not (folder / self.file).exists():
            print(f"SKIP: {self.file} is not in {folder} (HOLDFAST_DATA names the folder)")
            sys.exit(SKIP)
        with lzma.open(folder / self.file, "rt") as file:
            return file.read().splitlines()[:None if count is None else self.header + count]

    def commands(self, text, ids=False):
        """The converter's commands for these lines, as lists of words."""
        spec = importlib.util.spec_from_file_location("convert", self.converter)
        convert = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(convert)
        return list(convert.commands(text, ids=ids))

    def judge(self, text):
        """The model after these lines, and its verdict on each."""
        model = self.new_model()
        return model, [model.judge(line) for line in text[self.header:]]


LOBSTER = Feed("lobster", "LOBSTER_AAPL_2012-06-21_34200000_37800000_message_50.csv.xz", 0,
               lobster_model.Model)
INCIDENTS = Feed("incidents", "bpic2013_incidents.csv.xz", 1, incidents_model.Model)


def call_all(connection, commands):
    """The replies to many commands, sent in batches."""
    replies = []
    for start in range(0, len(commands), BATCH):
        batch = commands[start:start + BATCH]
        connection.send_raw(b"".join(resp.encode(*words) for words in batch))
        replies += [connection.read() for _ in batch]
    return replies


def as_dict(flat):
    """A RESP2 map (a flat array) as a dict of texts, one character per byte."""
    texts = [item.decode("latin-1") if isinstance(item, bytes) else item for item in flat]
    return dict(zip(texts[::2], texts[1::2]))


def as_event(flat):
    """One event of HF.HISTORY as a dict of texts, its params among them."""
    return {name: value for key, value in as_dict(flat).items()
            for name, value in (as_dict(value).items() if key == "params" else [(key, value)])}


def differences(connection, model, names):
    """What the server and the model say differently of these entities, as texts; none is what we want."""
    found = []
    names = sorted(names)
    replies = call_all(connection, [("HF.GET", *name) for name in names])
    for name, reply in zip(names, replies):
        entity = model.entities.get(name)
        if entity is None:
            if not (isinstance(reply, resp.Error) and reply.startswith("NOTFOUND")):
                found.append(f"{name}: expected NOTFOUND, got {reply!r}")
            continue
        if isinstance(reply, resp.Error):
            found.append(f"{name}: {reply}")
            continue
        got = as_dict(reply)
        del got["lsn"], got["time"]
        expected = {"state": entity.state, "version": entity.version, **entity.fields()}
        if {k: str(v) for k, v in got.items()} != {k: str(v) for k, v in expected.items()}:
            found.append(f"{name}: expected {expected}, got {got}")
    return found
