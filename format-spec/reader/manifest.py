"""manifest.md: which files make up the log."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from . import Refused

ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


@dataclass
class Entry:
    name: str
    seq: int
    type: str


@dataclass
class Identity:
    """What tells a file by its size and its edges."""

    size: int
    edges: int

    def holds(self, content: bytes) -> bool:
        return len(content) == self.size and zlib.crc32(content[:4096] + content[-4096:]) == self.edges


@dataclass
class Manifest:
    path: Path
    entries: list[Entry] = field(default_factory=list)
    # "open", "closed", or None where stock wrote it last.
    state: str | None = None
    closed_at: tuple[int, int, int] | None = None
    segments_from: int | None = None
    base_identity: Identity | None = None
    dump: tuple[str, int, Identity] | None = None

    def base(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.type == "b"), None)

    def files(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.type == "i"]


def numbers(words: list[bytes], *widths: int) -> list[int]:
    if len(words) != len(widths):
        raise ValueError("fields are missing or too many")
    for word, width in zip(words, widths):
        if len(word) != width or not re.fullmatch(rb"[0-9a-f]*", word):
            raise ValueError(f"{word!r} is not a number of {width} digits")
    return [int(word, 16) for word in words]


def split_words(line: bytes) -> list[bytes]:
    words, at = [], 0
    while at < len(line):
        if line[at : at + 1] == b" ":
            at += 1
        elif line[at : at + 1] == b'"':
            quoted = re.compile(rb'"((?:[^"\\]|\\.)*)"(?= |$)').match(line, at)
            if not quoted:
                raise ValueError("a quotation without an end")
            words.append(ESCAPE.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else m[2], quoted[1]))
            at = quoted.end()
        else:
            end = line.find(b" ", at)
            end = len(line) if end < 0 else end
            words.append(line[at:end])
            at = end
    return words


def entry(line: bytes) -> Entry:
    words = split_words(line)
    fields = dict(zip(words[::2], words[1::2]))
    if len(words) != 6 or set(fields) != {b"file", b"seq", b"type"} or fields[b"type"] not in (b"b", b"i", b"h"):
        raise ValueError("no entry")
    if not re.fullmatch(rb"[1-9][0-9]*", fields[b"seq"]):
        raise ValueError("a sequence that is no number from 1")
    if b"/" in fields[b"file"]:
        raise ValueError("a path in a name")
    return Entry(fields[b"file"].decode("utf-8", "surrogateescape"), int(fields[b"seq"]), fields[b"type"].decode())


def read(path: Path) -> Manifest:
    content = path.read_bytes()
    manifest = Manifest(path)
    if not content or not content.endswith(b"\n"):
        raise Refused(path, len(content), "it is empty or ends inside a line")
    lines = content[:-1].split(b"\n")
    at = 0
    summed = False
    for number, line in enumerate(lines, 1):
        try:
            if summed:
                raise ValueError("something follows the checksum")
            if line.startswith(b"#graven-crc "):
                (crc,) = numbers(line.split(b" ")[1:], 8)
                if crc != zlib.crc32(content[:at]):
                    raise ValueError("the checksum differs")
                summed = True
            elif line.startswith(b"#graven-"):
                ours(manifest, line)
            elif not line.startswith(b"#"):
                manifest.entries.append(entry(line))
        except ValueError as error:
            raise Refused(path, at, f"line {number}: {error}") from None
        at += len(line) + 1
    if manifest.state and not summed:
        raise Refused(path, at, "a state without a checksum")
    sequences = [one.seq for one in manifest.files()]
    if any(later <= earlier for earlier, later in zip(sequences, sequences[1:])):
        raise Refused(path, None, "sequences do not increase")
    if sum(one.type == "b" for one in manifest.entries) > 1:
        raise Refused(path, None, "more than one base")
    if not manifest.entries:
        raise Refused(path, None, "it names no file")
    return manifest


def ours(manifest: Manifest, line: bytes) -> None:
    name, *words = line.split(b" ")
    if name == b"#graven-state" and words == [b"open"]:
        manifest.state = "open"
    elif name == b"#graven-state" and words[:1] == [b"closed"]:
        manifest.state = "closed"
        end, chain, size = numbers(words[1:], 16, 8, 16)
        manifest.closed_at = (end, chain, size)
    elif name == b"#graven-segments":
        (manifest.segments_from,) = numbers(words, 16)
    elif name == b"#graven-base":
        manifest.base_identity = Identity(*numbers(words, 16, 8))
    elif name == b"#graven-dump":
        timeline, lsn, size, edges = numbers(words, 40, 16, 16, 8)
        manifest.dump = (f"{timeline:040x}", lsn, Identity(size, edges))
    else:
        raise ValueError(f"a line of a later version: {line!r}")
