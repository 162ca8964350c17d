"""One socket as this tester needs it: many commands at once, replies as nested tuples, little else, fast.

A reply is `(kind, value)`: kind is the first byte as text; value is bytes, None, or a list of replies (of pairs for a map).
"""

from __future__ import annotations

import select
import socket
import time

from support.resp import Closed, ProtocolError

SECONDS = 120.0
# Followed by the number of a connection: the id that it has on the server at hand.
ACTOR = b"<id>"


def encode(words: list[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Incomplete(Exception):
    """More bytes are needed."""


def parse(data: bytes, at: int):
    """The reply at `at` and where the next one begins."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind = data[at]
    line = data[at + 1 : end]
    at = end + 2
    if kind == 36 or kind == 61 or kind == 33:  # $ = !
        length = int(line)
        if length < 0:
            return (chr(kind), None), at
        end = at + length
        if len(data) < end + 2:
            raise Incomplete
        if data[end : end + 2] != b"\r\n":
            raise ProtocolError(f"a bulk of {length} bytes does not end in CRLF")
        return (chr(kind), data[at:end]), end + 2
    if kind in b"+:-,#_(":
        return (chr(kind), line), at
    if kind in b"*~>":
        count = int(line)
        if count < 0:
            return (chr(kind), None), at
        items = []
        for _ in range(count):
            item, at = parse(data, at)
            items.append(item)
        return (chr(kind), items), at
    if kind in b"%|":
        items = []
        for _ in range(int(line)):
            name, at = parse(data, at)
            value, at = parse(data, at)
            items.append((name, value))
        return (chr(kind), items), at
    raise ProtocolError(f"a reply starts with {data[at - 40 : at + 40]!r}")


class Wire:
    """A connection. Bytes that are not yet taken stay in `data`."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()
        self.held: list = []

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends all of it and takes what arrives meanwhile, so that neither side waits for the other."""
        view = memoryview(data)
        end = time.monotonic() + SECONDS
        self.socket.setblocking(False)
        try:
            while view:
                readable, writable, _ = select.select([self.socket], [self.socket], [], max(0.0, end - time.monotonic()))
                if readable:
                    self.take()
                if writable:
                    view = view[self.socket.send(view) :]
                if not readable and not writable:
                    raise TimeoutError("the server does not read")
        finally:
            self.socket.settimeout(SECONDS)

    def take(self) -> None:
        part = self.socket.recv(1 << 18)
        if not part:
            raise Closed("the server closed the connection")
        self.data += part

    def until(self, marker: bytes) -> bytes:
        """Everything before `marker`, which must be the last that the server sends."""
        end = time.monotonic() + SECONDS
        while not self.data.endswith(marker):
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self.take()
        taken = bytes(self.data[: -len(marker)])
        self.data.clear()
        return taken

    def has(self, seconds: float) -> bool:
        """Whether bytes arrive within `seconds`; they are taken."""
        readable, _, _ = select.select([self.socket], [], [], seconds)
        if readable:
            self.take()
        return bool(readable)

    def reply(self):
        while True:
            try:
                reply, at = parse(bytes(self.data), 0)
            except Incomplete:
                self.take()
                continue
            del self.data[:at]
            return reply

    def whole(self) -> list:
        """All whole replies that have arrived, and those that were put back."""
        data, at = bytes(self.data), 0
        replies, self.held = self.held, []
        while at < len(data):
            try:
                reply, at = parse(data, at)
            except Incomplete:
                break
            replies.append(reply)
        del self.data[:at]
        return replies

    def put_back(self, replies: list) -> None:
        self.held = replies

    def call(self, *words: bytes):
        self.socket.sendall(encode(list(words)))
        return self.reply()


def parse_all(data: bytes) -> list:
    replies, at = [], 0
    while at < len(data):
        reply, at = parse(data, at)
        replies.append(reply)
    return replies


def show(reply, limit: int = 300) -> str:
    """One line for people."""
    kind, value = reply
    if kind in "*~>" and value is not None:
        text = kind + "[" + " ".join(show(item, limit) for item in value) + "]"
    elif kind in "%|":
        text = kind + "{" + " ".join(f"{show(name)}={show(item)}" for name, item in value) + "}"
    elif value is None:
        text = kind + "nil"
    elif kind in "$=!":
        text = kind + show_word(value)
    else:
        text = kind + value.decode("utf-8", "backslashreplace")
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def show_word(word: bytes) -> str:
    """As redis-cli would take it."""
    if word and all(33 <= byte <= 126 and byte not in b"\"'\\" for byte in word):
        return word.decode()
    return '"' + "".join(chr(b) if 32 <= b <= 126 and b not in b'"\\' else f"\\x{b:02x}" for b in word) + '"'


def show_command(words: list[bytes]) -> str:
    return " ".join(show_word(word) for word in words)
