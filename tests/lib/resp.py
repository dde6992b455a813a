"""A RESP client of a few lines, independent of any library: it shows the bytes as they are.

Replies: bulk strings and verbatim strings as bytes, simple strings as str, integers as int, arrays as list,
RESP3 maps as dict, null as None, errors as an Error instance (returned, not raised).
"""


class Error(str):
    """An error reply; its text with the status word."""


class Closed(Exception):
    """The server closed the connection."""


def encode(*args):
    """A command as a RESP array of bulk strings."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, bytes):
            arg = str(arg).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(out)


class Connection:
    """Wraps a connected socket."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()

    def send_raw(self, data):
        self.sock.sendall(data)

    def call(self, *args):
        """Sends one command and returns its reply."""
        self.sock.sendall(encode(*args))
        return self.read()

    def at_end(self):
        """True if the server closed the connection and nothing is left to read."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Closed(line)
        return line[:-2]

    def _exactly(self, count):
        data = self.file.read(count + 2)
        if len(data) != count + 2 or data[-2:] != b"\r\n":
            raise Closed(data)
        return data[:-2]

    def read(self):
        """The next reply."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode(errors="replace"))
        if kind in b":(":
            return int(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_":
            return None
        if kind == b"$":
            return None if rest == b"-1" else self._exactly(int(rest))
        if kind == b"=":
            return self._exactly(int(rest))[4:]
        if kind in b"*~>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return dict((self.read(), self.read()) for _ in range(int(rest)))
        raise ValueError("not a RESP reply: %r" % line)
