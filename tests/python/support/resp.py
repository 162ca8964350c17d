"""A small Redis client that hides nothing: every reply keeps the bytes that carried it.

The suites that compare servers, or that must see exactly what was acknowledged, speak through this module; a client library would
normalise away what they look for. One `Connection` is one socket; it is not shared between threads.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass


class ServerError(Exception):
    """An error reply (`-` or `!`), raised by `call` and returned in place by `pipeline`."""

    def __init__(self, text: str):
        super().__init__(text)
        self.text = text


class Closed(ConnectionError):
    """The server closed the connection before a whole reply had arrived."""


class ProtocolError(Exception):
    """The server sent bytes that are not RESP."""


@dataclass
class Reply:
    """One reply as it came: `kind` is its first byte; aggregates hold replies, everything else holds bytes or None."""

    kind: str
    value: object
    raw: bytes

    @property
    def is_error(self) -> bool:
        return self.kind in "-!"

    def plain(self):
        """The Python value: bytes, int, float, bool, None, list, dict, set as list; errors as `ServerError` objects."""
        kind, value = self.kind, self.value
        if kind in "-!":
            return ServerError(value.decode("utf-8", "replace"))
        if kind == ":":
            return int(value)
        if kind == ",":
            return float(value)
        if kind == "#":
            return value == b"t"
        if kind == "_" or value is None:
            return None
        if kind == "=":
            return value[4:]
        if kind in "*~>":
            return [item.plain() for item in value]
        if kind == "%":
            return {_hashable(k.plain()): v.plain() for k, v in value}
        return value

    def render(self) -> str:
        """One line of text that shows type and content, for comparison and for people."""
        kind, value = self.kind, self.value
        if kind in "*~>":
            if value is None:
                return f"{kind}nil"
            return kind + "[" + " ".join(item.render() for item in value) + "]"
        if kind in "%|":
            return kind + "{" + " ".join(f"{k.render()}={v.render()}" for k, v in value) + "}"
        if kind == "$" and value is None:
            return "$nil"
        if kind == "_":
            return "_"
        text = value.decode("latin-1")
        shown = "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)
        if kind in "$=":
            return f'{kind}"{shown}"'
        return kind + shown


def _hashable(value):
    return repr(value) if isinstance(value, (list, dict)) else value


def encode(*args) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = to_bytes(arg)
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def to_bytes(arg) -> bytes:
    if isinstance(arg, bytes):
        return arg
    if isinstance(arg, float):
        return repr(arg).encode()
    return str(arg).encode()


class Connection:
    """A socket to one server. `path` is a unix socket and takes the place of host and port."""

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", path: str | None = None, timeout: float = 60.0, protocol: int = 2, db: int = 0):
        if path is not None:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection((host, port), timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.buffer = bytearray()
        self.at = 0
        if protocol != 2:
            self.call("HELLO", protocol)
        if db:
            self.call("SELECT", db)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send(self, *args) -> None:
        self.send_bytes(encode(*args))

    def call(self, *args):
        """Sends one command and returns its reply as a Python value; an error reply is raised."""
        self.send(*args)
        value = self.read()
        if isinstance(value, ServerError):
            raise value
        return value

    def info(self, section: str = "default") -> dict[str, str]:
        """The fields of INFO."""
        lines = bytes(self.call("INFO", section)).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def pipeline(self, commands) -> list:
        """Sends all commands at once and returns the plain values of all replies, errors included."""
        commands = list(commands)
        self.send_bytes(b"".join(encode(*command) for command in commands))
        return [self.read() for _ in commands]

    def ask(self, *args) -> Reply:
        self.send(*args)
        return self.read_reply()

    def read(self, timeout: float | None = None):
        return self.read_reply(timeout).plain()

    def read_reply(self, timeout: float | None = None) -> Reply:
        """Reads one whole reply; raises `socket.timeout` when it does not arrive in time and `Closed` at the end of the stream."""
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        start = self.at
        try:
            reply = self._parse()
        except (Closed, OSError):
            self.at = start
            raise
        if self.at > 1 << 16:
            del self.buffer[: self.at]
            self.at = 0
        return reply

    def silent(self, seconds: float) -> bool:
        """True when not one byte arrives within `seconds`."""
        if self.at < len(self.buffer):
            return False
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except socket.timeout:
            return True
        self.buffer += data
        return False

    def drain(self, quiet: float) -> tuple[bytes, bool]:
        """All bytes until the server closes or is quiet for `quiet` seconds, and whether it closed."""
        self.socket.settimeout(quiet)
        closed = False
        try:
            while True:
                data = self.socket.recv(1 << 16)
                if not data:
                    closed = True
                    break
                self.buffer += data
        except socket.timeout:
            pass
        except ConnectionError:
            closed = True
        data = bytes(self.buffer[self.at :])
        self.at = len(self.buffer)
        return data, closed

    def _fill(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise Closed("the server closed the connection")
        self.buffer += data

    def _line(self) -> bytes:
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line = bytes(self.buffer[self.at : end])
                self.at = end + 2
                return line
            self._fill()

    def _exactly(self, count: int) -> bytes:
        while len(self.buffer) - self.at < count + 2:
            self._fill()
        data = bytes(self.buffer[self.at : self.at + count])
        if self.buffer[self.at + count : self.at + count + 2] != b"\r\n":
            raise ProtocolError("a bulk does not end in CRLF")
        self.at += count + 2
        return data

    def _parse(self) -> Reply:
        begin = self.at
        line = self._line()
        kind, rest = chr(line[0]) if line else "", line[1:]
        if kind in "$=!":
            length = int(rest)
            value = None if length < 0 else self._exactly(length)
        elif kind in "*~>":
            count = int(rest)
            value = None if count < 0 else [self._parse() for _ in range(count)]
        elif kind in "%|" and kind:
            value = [(self._parse(), self._parse()) for _ in range(int(rest))]
        elif kind in "+-:,#_(" and kind:
            value = rest
        else:
            raise ProtocolError(f"a reply starts with {line[:40]!r}")
        return Reply(kind, value, bytes(self.buffer[begin : self.at]))
