"""archive.md: what was superseded, packed, and its manifest. Blocks are unpacked by the package `zstandard`, where it is installed."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from . import Refused, log, rdb
from .manifest import split_words

BLOCK_BYTES = 1 << 20
HEAD_MAGIC, INDEX_MAGIC = 0x184D2A50, 0x184D2A51


@dataclass
class Entry:
    number: int
    type: str
    superseded: int
    original: str
    raw: int
    crc: int
    packed: int
    timeline: str | None = None
    first: int | None = None
    end: int | None = None
    times: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"{self.number}.{self.original}.zst"


@dataclass
class Archive:
    path: Path
    next: int = 1
    entries: list[Entry] = field(default_factory=list)


@dataclass
class Packed:
    """A file of the archive, unpacked."""

    path: Path
    number: int
    type: str
    superseded: int
    original: str
    content: bytes
    crc: int
    size: int

    def decoded(self) -> log.Segment | rdb.File | None:
        if log.is_segment(self.content):
            return log.read_segment(self.path, self.content)
        return rdb.read(self.path, self.content) if self.content.startswith(b"REDIS") else None


def decompressor():
    try:
        import zstandard
    except ImportError as error:
        raise Refused("blocks", None, "the Python package zstandard is needed to unpack them") from error
    return zstandard.ZstdDecompressor()


def pairs(text: bytes) -> dict[str, str]:
    words = [word.decode("utf-8", "surrogateescape") for word in split_words(text)]
    if len(words) % 2:
        raise ValueError("a name without a value")
    return dict(zip(words[::2], words[1::2]))


def label(fields: dict[str, str]) -> tuple[int, str, int, str]:
    number, kind, original = int(fields["number"]), fields["type"], fields["original"]
    if number < 1 or kind not in ("b", "i") or not original or "/" in original:
        raise ValueError("no label")
    return number, kind, int(fields["superseded"]), original


def entry(line: bytes) -> Entry:
    if not line.startswith(b"file "):
        raise ValueError("no entry")
    fields = pairs(line[5:])
    try:
        found = Entry(*label(fields), int(fields["raw"]), int(fields["crc"], 16), int(fields["packed"]))
        if "timeline" in fields:
            if not re.fullmatch("[0-9a-f]{40}", fields["timeline"]):
                raise ValueError("no timeline")
            found.timeline, found.first, found.end = fields["timeline"], int(fields["first"]), int(fields["end"])
        if "from" in fields:
            found.times = (int(fields["from"]), int(fields["to"]))
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    return found


def decode(path: Path, content: bytes) -> Archive:
    lines = content.split(b"\n")
    if len(lines) < 3 or lines[-1]:
        raise Refused(path, len(content), "it ends inside a line, or is too short")
    said = content[: len(content) - len(lines[-2]) - 1]
    if lines[-2] != b"crc %08x" % zlib.crc32(said):
        raise Refused(path, len(said), "the checksum differs")
    first = re.fullmatch(rb"graven-archive 1 next ([0-9]+)", lines[0])
    if not first:
        raise Refused(path, 0, "not the manifest of an archive, or of another version")
    found = Archive(path, int(first[1]))
    at = len(lines[0]) + 1
    for line in lines[1:-2]:
        try:
            found.entries.append(entry(line))
        except ValueError as error:
            raise Refused(path, at, str(error)) from None
        at += len(line) + 1
    numbers = [one.number for one in found.entries] + [found.next]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:])):
        raise Refused(path, None, "numbers do not increase")
    return found


def read(directory: Path) -> Archive | None:
    """The archive of a data directory; None where there is none."""
    path = directory / "archive" / "archive.contents"
    return decode(path, path.read_bytes()) if path.exists() else None


def unpack(path: Path, data: bytes) -> Packed:
    """A file of the archive, every check of archive.md made."""
    if len(data) < 32:
        raise Refused(path, 0, "too short")
    magic, length = struct.unpack_from("<II", data, 0)
    text = data[8 : 8 + length]
    line = re.fullmatch(rb"(graven-archived 1 (.*)) crc ([0-9a-f]{8})\n", text, re.DOTALL)
    if magic != HEAD_MAGIC or not line or int(line[3], 16) != zlib.crc32(line[1]):
        raise Refused(path, 0, "no label that verifies")
    try:
        said = label(pairs(line[2]))
    except (ValueError, KeyError) as error:
        raise Refused(path, 8, str(error)) from None
    raw, crc, own = struct.unpack_from("<QII", data, len(data) - 16)
    count = -(-raw // BLOCK_BYTES)
    index_bytes = 8 * count + 16
    index_at = len(data) - index_bytes - 8
    if index_at < 8 + length:
        raise Refused(path, len(data) - 16, "the index does not fit")
    if struct.unpack_from("<II", data, index_at) != (INDEX_MAGIC, index_bytes):
        raise Refused(path, index_at, "no index stands there")
    if own != zlib.crc32(data[index_at + 8 : -4]):
        raise Refused(path, index_at, "the index has another checksum")
    content, at, unpacks = [], 8 + length, decompressor() if count else None
    for number in range(count):
        packed, block_crc = struct.unpack_from("<II", data, index_at + 8 + 8 * number)
        expected = min(BLOCK_BYTES, raw - number * BLOCK_BYTES)
        try:
            block = unpacks.decompress(data[at : at + packed], max_output_size=expected)
        except Exception as error:
            raise Refused(path, at, f"a block does not unpack: {error}") from None
        if len(block) != expected or zlib.crc32(block) != block_crc:
            raise Refused(path, at, "a block does not verify")
        content.append(block)
        at += packed
    if at != index_at:
        raise Refused(path, index_at, "the blocks do not end where the index begins")
    whole = b"".join(content)
    if zlib.crc32(whole) != crc:
        raise Refused(path, index_at, "what is in it has another checksum")
    return Packed(path, *said, whole, crc, len(data))


def files(directory: Path) -> list[Packed]:
    """The files that the manifest names, each as it says."""
    found = []
    archive = read(directory)
    for one in archive.entries if archive else []:
        path = archive.path.parent / one.name
        if not path.exists():
            raise Refused(path, None, "the manifest names it, and it is missing")
        packed = unpack(path, path.read_bytes())
        alike = (packed.number, packed.type, packed.superseded, packed.original, len(packed.content), packed.crc, packed.size)
        if alike != (one.number, one.type, one.superseded, one.original, one.raw, one.crc, one.packed):
            raise Refused(path, 0, "not the file that the manifest names")
        found.append(packed)
    return found
