"""Reads the reply tables (`replies/README.md` has the grammar) and plays their blocks against one server."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from .resp import Closed, Connection, Reply

LINE = re.compile(r"^([A-Z]?)([>~%?!_.]|<[~%?]?)(?: (.*))?$")
REPEAT = re.compile(r"\{(.)\*(\d+)\}")
SPAN = re.compile(r"^\{(\d+)\.\.(\d+)\}$")
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", '"': b'"'}
QUIET_SECONDS = 0.15


@dataclass
class Line:
    text: str
    connection: str
    action: str
    words: list[bytes]


@dataclass
class Block:
    file: str
    title: str
    protocols: tuple[int, ...]
    lines: list[Line] = field(default_factory=list)


def split_words(text: str) -> list[bytes]:
    """The words of a line; a `{1..9}` gives nine."""
    words, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word = bytearray()
        if text[at] == '"':
            at += 1
            while text[at] != '"':
                if text[at] == "\\" and text[at + 1] == "x":
                    word.append(int(text[at + 2 : at + 4], 16))
                    at += 4
                elif text[at] == "\\":
                    word += ESCAPES[text[at + 1]]
                    at += 2
                else:
                    word += text[at].encode()
                    at += 1
            at += 1
        else:
            end = text.find(" ", at)
            end = len(text) if end < 0 else end
            bare = text[at:end]
            at = end
            span = SPAN.match(bare)
            if span:
                words += [b"%d" % n for n in range(int(span[1]), int(span[2]) + 1)]
                continue
            word += bare.encode()
        expanded = REPEAT.sub(lambda m: m[1] * int(m[2]), word.decode("latin-1"))
        words.append(expanded.encode("latin-1"))
    return words


def load(path: Path) -> list[Block]:
    blocks: list[Block] = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        text = text.rstrip("\n")
        if not text.strip() or text.startswith("#"):
            continue
        if text.startswith("== "):
            title = text[3:].strip()
            protocols = (2, 3)
            only = re.search(r" \[([23])\]$", title)
            if only:
                protocols = (int(only[1]),)
            blocks.append(Block(path.name, title, protocols))
            continue
        match = LINE.match(text)
        if not match or not blocks:
            raise ValueError(f"{path.name}:{number}: {text!r} is no line of a reply table")
        blocks[-1].lines.append(Line(text, match[1] or "A", match[2], split_words(match[3] or "")))
    return blocks


def unordered(reply: Reply, pairs: bool) -> str:
    """The rendering of an aggregate whose order means nothing."""
    if reply.kind == "%":
        return "%{" + " ".join(sorted(f"{k.render()}={v.render()}" for k, v in reply.value)) + "}"
    if reply.kind in "*~" and reply.value is not None:
        items = [item.render() for item in reply.value]
        if pairs:
            items = [f"{a}={b}" for a, b in zip(items[::2], items[1::2])]
        return reply.kind + "[" + " ".join(sorted(items)) + "]"
    return reply.render()


def kind_only(reply: Reply) -> str:
    if reply.is_error:
        return reply.kind + reply.value.split(b" ")[0].decode("latin-1")
    return reply.kind


def shown(reply: Reply, action: str) -> str:
    mark = action[-1]
    if mark == "?":
        return kind_only(reply)
    if mark in "~%":
        return unordered(reply, mark == "%")
    return reply.render()


class Player:
    """One server's side of a block: opens connections as lines name them, yields what each line showed."""

    def __init__(self, port: int, protocol: int):
        self.port = port
        self.protocol = protocol
        self.connections: dict[str, Connection] = {}
        self.aside: Connection | None = None

    def connection(self, name: str) -> Connection:
        if name not in self.connections:
            self.connections[name] = Connection(self.port, protocol=self.protocol)
        return self.connections[name]

    def let_it_arrive(self) -> None:
        """Until the server has executed what was sent last: what it answers on another connection, it has read later."""
        if self.aside is None:
            self.aside = Connection(self.port)
        for _ in range(2):
            self.aside.ask("PING")

    def play(self, line: Line) -> str | None:
        """What the line showed, or None where it shows nothing."""
        if line.action == ".":
            time.sleep(float(line.words[0]))
            return None
        connection = self.connection(line.connection)
        try:
            if line.action == "!":
                connection.send(*line.words)
                self.let_it_arrive()
                return None
            if line.action == "_":
                return "silent" if connection.silent(QUIET_SECONDS) else "not silent"
            if not line.action.startswith("<"):
                connection.send(*line.words)
            return shown(connection.read_reply(), line.action)
        except socket.timeout:
            return "(no reply)"
        except (Closed, ConnectionError):
            self.connections.pop(line.connection).close()
            return "(closed)"

    def close(self) -> None:
        for connection in [*self.connections.values(), *filter(None, [self.aside])]:
            connection.close()
