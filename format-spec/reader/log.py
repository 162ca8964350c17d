"""log.md: segments, frames and the commands in them."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from . import Refused

MAGIC = b"#GRAVEN-SEGMENT 1 "
HEADER = 213
FRAME = 99
END = 50
NONE = "0" * 40


@dataclass
class Header:
    timeline: str
    parent: str
    fork: int
    number: int
    first: int
    db: int
    salt: int
    previous_end: int
    previous_chain: int
    chain: int


@dataclass
class Frame:
    offset: int
    lsn: int
    length: int
    db: int
    time: int
    previous: int
    payload_crc: int
    durable: int
    chain: int

    @property
    def payload(self) -> slice:
        return slice(self.offset + FRAME, self.offset + FRAME + self.length)

    @property
    def end(self) -> int:
        return self.lsn + self.length


@dataclass
class Command:
    offset: int
    lsn: int | None
    db: int
    words: list[bytes]


@dataclass
class Segment:
    """What verifies of one file, and why it stops where it does."""

    path: Path
    content: bytes
    header: Header
    frames: list[Frame] = field(default_factory=list)
    # Where the first byte lies that does not verify, and what is wrong there.
    stop: int = 0
    why: str | None = None
    sealed: bool = False
    # The highest `durable` of any header that verifies, also behind damage.
    mark: int = 0
    unframed: list[Command] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.frames[-1].end if self.frames else self.header.first

    @property
    def chain(self) -> int:
        return self.frames[-1].chain if self.frames else self.header.chain

    def commands(self, until: int | None = None) -> list[Command]:
        """Those of all frames that end at LSN `until` or before."""
        found = []
        for frame in self.frames:
            if until is not None and frame.end > until:
                break
            db, at = frame.db, frame.payload.start
            while at < frame.payload.stop:
                read = command(self.content, at, frame.payload.stop)
                if read is None:
                    raise Refused(self.path, at, "a payload that is not whole commands, under a checksum that is right")
                words, end = read
                if words[0].lower() == b"select":
                    db = int(words[1])
                found.append(Command(at, frame.lsn + at - frame.payload.start, db, words))
                at = end
        return found


def is_segment(content: bytes) -> bool:
    return content.startswith(b"#GRAVEN-SEGMENT ")


def fields(line: bytes, layout: list[tuple[int, int]]) -> list[bytes] | None:
    """The digits at (offset, size), or nothing where there is another byte; one space between fields."""
    found = [line[offset : offset + size] for offset, size in layout]
    spaces = all(line[offset - 1 : offset] == b" " for offset, _ in layout)
    return found if spaces and all(re.fullmatch(rb"[0-9a-f]+", one) for one in found) else None


def line_crc(salt: int, offset: int, body: bytes) -> int:
    return zlib.crc32(struct.pack("<QQ", salt, offset) + body)


def read_header(path: Path, content: bytes) -> Header:
    line = content[:HEADER]
    layout = [(18, 40), (59, 40), (100, 16), (117, 16), (134, 16), (151, 8), (160, 16), (177, 16), (194, 8), (203, 8)]
    words = fields(line, layout) if line.startswith(MAGIC) and line.endswith(b"\r\n") else None
    if words is None:
        raise Refused(path, 0, "no segment header of version 1")
    timeline, parent, *rest = words
    fork, number, first, db, salt, previous_end, previous_chain, crc = (int(word, 16) for word in rest)
    if line_crc(0, 0, line[:203]) != crc:
        raise Refused(path, 0, "the segment header's checksum differs")
    if first < previous_end:
        raise Refused(path, 134, "the segment begins before the end of the one before")
    return Header(timeline.decode(), parent.decode(), fork, number, first, db, salt, previous_end, previous_chain, crc)


def read_frame(content: bytes, at: int, salt: int) -> Frame | None:
    line = content[at : at + FRAME]
    if len(line) < FRAME or not line.startswith(b"#F1 ") or not line.endswith(b"\r\n"):
        return None
    words = fields(line, [(4, 16), (21, 10), (32, 8), (41, 12), (54, 8), (63, 8), (72, 16), (89, 8)])
    if words is None:
        return None
    lsn, length, db, time, previous, payload_crc, durable, crc = (int(word, 16) for word in words)
    if line_crc(salt, at, line[:89]) != crc:
        return None
    return Frame(at, lsn, length, db, time, previous, payload_crc, durable, crc)


def command(content: bytes, at: int, until: int) -> tuple[list[bytes], int] | None:
    """One command as a RESP array of strings, and where it ends; nothing where it is not whole."""

    def number(kind: bytes, at: int) -> tuple[int, int] | None:
        end = content.find(b"\r\n", at, min(until, at + 32))
        if end < 0 or content[at : at + 1] != kind or not content[at + 1 : end].isdigit():
            return None
        return int(content[at + 1 : end]), end + 2

    head = number(b"*", at)
    if head is None or head[0] < 1:
        return None
    count, at = head
    words = []
    for _ in range(count):
        head = number(b"$", at)
        if head is None:
            return None
        length, at = head
        if at + length + 2 > until or content[at + length : at + length + 2] != b"\r\n":
            return None
        words.append(content[at : at + length])
        at += length + 2
    return words, at


def behind_filler(content: bytes, at: int) -> int:
    """The offset behind the filler lines that stand there."""
    while content[at : at + 1] == b"#":
        end = content.find(b"\r\n", at, at + 1023)
        if end < 0 or content[at:end].strip(b"#"):
            break
        at = end + 2
    return at


def read_segment(path: Path, content: bytes) -> Segment:
    """Rules 2 and 3: every frame that counts, and the mark."""
    header = read_header(path, content)
    segment = Segment(path, content, header)
    read = command(content, HEADER, len(content))
    if read is None or read[0] != [b"select", b"%d" % header.db]:
        raise Refused(path, HEADER, "the preamble is missing or selects another database than the header says")
    at = read[1]
    time = 0
    while at < len(content):
        if content.startswith(b"#TS:", at) and (end := content.find(b"\r\n", at)) >= 0:
            at = end + 2
            continue
        if (behind := behind_filler(content, at)) > at:
            if behind == len(content):
                break
            at = behind
            continue
        if content.startswith(b"#GRAVEN-END 1 ", at):
            line = content[at : at + END]
            words = fields(line, [(14, 16), (31, 8), (40, 8)])
            if words and line.endswith(b"\r\n") and line_crc(header.salt, at, line[:40]) == int(words[2], 16):
                if (int(words[0], 16), int(words[1], 16)) != (segment.end, segment.chain):
                    segment.why = "the end annotation speaks of another place"
                    break
                segment.sealed = True
                at += END
                if behind_filler(content, at) < len(content):
                    segment.why = "something follows the end annotation"
                break
        frame = read_frame(content, at, header.salt)
        if frame is None:
            segment.why = "no frame header that verifies"
        elif frame.lsn != segment.end or frame.previous != segment.chain:
            segment.why = "a frame that does not follow the one before"
        elif at + FRAME + frame.length > len(content):
            segment.why = "a frame that reaches beyond the file"
        elif zlib.crc32(content[frame.payload]) != frame.payload_crc:
            segment.why = "a payload whose checksum differs"
        elif frame.durable > frame.end or frame.time < time:
            segment.why = "a frame that contradicts itself or the one before"
        if segment.why:
            break
        time = frame.time
        segment.mark = max(segment.mark, frame.durable)
        if frame.length:
            segment.frames.append(frame)
        at += FRAME + frame.length
    segment.stop = at
    behind = content.find(b"#F1 ", at)
    while behind >= 0:
        if frame := read_frame(content, behind, header.salt):
            segment.mark = max(segment.mark, frame.durable)
        behind = content.find(b"#F1 ", behind + 1)
    return segment


def stock_commands(path: Path, content: bytes, at: int, db: int, *, last: bool) -> list[Command]:
    """Stock's rules: whole commands count, a transaction when its EXEC is there, comment lines are skipped; behind the last
    whole command of the last file an incomplete one may follow."""
    found: list[Command] = []
    opened: int | None = None
    while at < len(content):
        if content[at : at + 1] == b"#":
            end = content.find(b"\r\n", at)
            at = len(content) if end < 0 else end + 2
            continue
        read = command(content, at, len(content))
        if read is None:
            if not last:
                raise Refused(path, at, "not a whole command")
            break
        words, end = read
        name = words[0].lower()
        if name == b"select":
            db = int(words[1])
        elif name == b"multi":
            opened = len(found)
        found.append(Command(at, None, db, words))
        if name == b"exec":
            opened = None
        at = end
    return found if opened is None else found[:opened]


def seam(segment: Segment) -> int | None:
    """Rule 6: where stock's commands begin behind what verifies, or nothing if stock was not here."""
    content, stop = segment.content, segment.stop
    starts = [stop]
    if (frame := read_frame(content, stop, segment.header.salt)) and frame.length:
        starts.append(frame.payload.start)
    glued = content.find(b"*", stop, stop + 1024) if content[stop : stop + 1] == b"#" else -1
    if glued >= 0:
        starts.append(glued)
    for start in starts:
        at = start
        while (read := command(content, at, len(content))) is not None:
            if read[0][0] == b"SELECT":
                return at
            at = read[1]
            while content[at : at + 1] == b"#" and (end := content.find(b"\r\n", at)) >= 0:
                at = end + 2
    return None
