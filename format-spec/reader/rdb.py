"""snapshot.md: RDB files, their blocks and their index; and what of stock's format graven and Redis 7 write."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from . import Refused

FIELD = 71
END_FIELD = 194


def crc_table() -> list[int]:
    # The polynomial 0xAD93D23594C935A9, reflected.
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0x95AC9329AC4BC9B5 if byte & 1 else byte >> 1
        table.append(byte)
    return table


TABLE = crc_table()


def crc64(content: bytes, crc: int = 0) -> int:
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


@dataclass
class Position:
    timeline: str
    lsn: int
    parent: str
    fork: int


@dataclass
class Key:
    db: int
    name: bytes
    kind: str
    value: object
    # Milliseconds since the epoch, or None.
    expiry: int | None = None
    idle: int | None = None
    frequency: int | None = None


@dataclass
class Block:
    offset: int
    length: int
    crc: int
    keys: int
    db: int


@dataclass
class File:
    version: int = 0
    aux: dict[bytes, bytes] = field(default_factory=dict)
    libraries: list[bytes] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    position: Position | None = None
    # The index is there and agrees with everything.
    indexed: bool = False
    # Bytes up to the end of the checksum; commands may follow.
    length: int = 0


class Bytes:
    """A cursor that knows where it is when something is wrong."""

    def __init__(self, path: Path, content: bytes, at: int = 0):
        self.path, self.content, self.at = path, content, at

    def wrong(self, what: str) -> Refused:
        return Refused(self.path, self.at, what)

    def take(self, count: int) -> bytes:
        if count > len(self.content) - self.at:
            raise self.wrong(f"{count} bytes expected, {len(self.content) - self.at} there")
        self.at += count
        return self.content[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> tuple[int, bool]:
        """A length, or the number of a special encoding of a string."""
        first = self.byte()
        kind, low = first >> 6, first & 0x3F
        if kind == 0:
            return low, False
        if kind == 1:
            return low << 8 | self.byte(), False
        if kind == 3:
            return low, True
        if first == 0x80:
            return struct.unpack(">I", self.take(4))[0], False
        if first == 0x81:
            return struct.unpack(">Q", self.take(8))[0], False
        raise self.wrong("no length")

    def count(self) -> int:
        count, special = self.length()
        if special:
            raise self.wrong("a length expected")
        return count

    def string(self) -> bytes:
        count, special = self.length()
        if not special:
            return self.take(count)
        if count < 3:
            form = "<b", "<h", "<i"
            return b"%d" % struct.unpack(form[count], self.take(1 << count))[0]
        if count == 3:
            packed, plain = self.count(), self.count()
            return self.unpack(self.take(packed), plain)
        raise self.wrong("an unknown encoding of a string")

    def unpack(self, packed: bytes, length: int) -> bytes:
        """LZF."""
        out, at = bytearray(), 0
        while at < len(packed):
            control = packed[at]
            at += 1
            if control < 32:
                out += packed[at : at + control + 1]
                at += control + 1
                continue
            count = control >> 5
            if count == 7:
                count += packed[at]
                at += 1
            back = ((control & 0x1F) << 8 | packed[at]) + 1
            at += 1
            if back > len(out):
                raise self.wrong("a compressed string that refers to what is before it")
            for _ in range(count + 2):
                out.append(out[-back])
        if len(out) != length:
            raise self.wrong("a compressed string of another length than it says")
        return bytes(out)


def listpack(content: bytes, source: Bytes) -> list[bytes]:
    total, declared = struct.unpack_from("<IH", content)
    if total != len(content) or content[-1] != 0xFF:
        raise source.wrong("a listpack of another size than it says")
    at, found = 6, []
    while content[at] != 0xFF:
        first, start = content[at], at
        if first < 0x80:
            item, at = b"%d" % first, at + 1
        elif first < 0xC0:
            item, at = content[at + 1 : at + 1 + (first & 0x3F)], at + 1 + (first & 0x3F)
        elif first < 0xE0:
            number = (first & 0x1F) << 8 | content[at + 1]
            item, at = b"%d" % (number - (1 << 13) if number >= 1 << 12 else number), at + 2
        elif first < 0xF0:
            size = (first & 0x0F) << 8 | content[at + 1]
            item, at = content[at + 2 : at + 2 + size], at + 2 + size
        elif first == 0xF0:
            (size,) = struct.unpack_from("<I", content, at + 1)
            item, at = content[at + 5 : at + 5 + size], at + 5 + size
        elif first in (0xF1, 0xF2, 0xF3, 0xF4):
            size = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}[first]
            item, at = b"%d" % int.from_bytes(content[at + 1 : at + 1 + size], "little", signed=True), at + 1 + size
        else:
            raise source.wrong("an unknown element of a listpack")
        size, back = at - start, 1
        while size >> (7 * back):
            back += 1
        at += back
        found.append(item)
    if declared not in (0xFFFF, len(found)):
        raise source.wrong("a listpack with another number of elements than it says")
    return found


def pairs(items: list[bytes]) -> zip:
    return zip(items[::2], items[1::2])


def stream_id(raw: bytes) -> tuple[int, int]:
    return struct.unpack(">QQ", raw)


def stream(source: Bytes, kind: int) -> dict:
    entries = []
    for _ in range(source.count()):
        ms, seq = stream_id(source.string())
        items = listpack(source.string(), source)
        names = int(items[2])
        master = items[3 : 3 + names]
        at = 4 + names
        while at < len(items):
            flags, ms_add, seq_add = (int(item) for item in items[at : at + 3])
            at += 3
            if flags & 2:
                held = list(zip(master, items[at : at + names]))
                at += names
            else:
                count = int(items[at])
                held = list(pairs(items[at + 1 : at + 1 + 2 * count]))
                at += 1 + 2 * count
            at += 1
            if not flags & 1:
                entries.append(((ms + ms_add, seq + seq_add), held))
    found = {"entries": entries, "length": source.count(), "last": (source.count(), source.count())}
    if kind >= 19:
        found |= {"first": (source.count(), source.count()), "deleted": (source.count(), source.count()), "added": source.count()}
    found["groups"] = {source.string(): group(source, kind) for _ in range(source.count())}
    if found["length"] != len(entries):
        raise source.wrong("a stream of another length than it says")
    return found


def group(source: Bytes, kind: int) -> dict:
    found = {"last": (source.count(), source.count())}
    if kind >= 19:
        found["read"] = source.count()
    pending = {}
    for _ in range(source.count()):
        one = stream_id(source.take(16))
        pending[one] = (struct.unpack("<Q", source.take(8))[0], source.count())
    found["consumers"] = {}
    for _ in range(source.count()):
        name = source.string()
        seen = struct.unpack("<q", source.take(8))[0]
        active = struct.unpack("<q", source.take(8))[0] if kind >= 21 else None
        owned = [stream_id(source.take(16)) for _ in range(source.count())]
        found["consumers"][name] = {"seen": seen, "active": active, "pending": {one: pending[one] for one in owned}}
    return found


def intset(content: bytes) -> list[bytes]:
    width, count = struct.unpack_from("<II", content)
    return [b"%d" % int.from_bytes(content[8 + n * width : 8 + (n + 1) * width], "little", signed=True) for n in range(count)]


def score(source: Bytes) -> float:
    return struct.unpack("<d", source.take(8))[0]


def quicklist(source: Bytes) -> list[bytes]:
    found = []
    for _ in range(source.count()):
        plain = source.count() == 1
        node = source.string()
        found += [node] if plain else listpack(node, source)
    return found


def value(source: Bytes, kind: int) -> tuple[str, object]:
    if kind == 0:
        return "string", source.string()
    if kind == 1:
        return "list", [source.string() for _ in range(source.count())]
    if kind == 18:
        return "list", quicklist(source)
    if kind == 2:
        return "set", {source.string() for _ in range(source.count())}
    if kind == 11:
        return "set", set(intset(source.string()))
    if kind == 20:
        return "set", set(listpack(source.string(), source))
    if kind == 4:
        return "hash", {source.string(): source.string() for _ in range(source.count())}
    if kind == 16:
        return "hash", dict(pairs(listpack(source.string(), source)))
    if kind == 5:
        return "zset", {source.string(): score(source) for _ in range(source.count())}
    if kind == 17:
        return "zset", {member: float(text) for member, text in pairs(listpack(source.string(), source))}
    if kind in (15, 19, 21):
        return "stream", stream(source, kind)
    raise source.wrong(f"a value of type {kind}, which neither graven nor Redis 7 writes")


def read(path: Path, content: bytes) -> File:
    """A file from front to end, as rule 3 of a reader says; its index is compared with what was read."""
    source = Bytes(path, content)
    found = File()
    if source.take(5) != b"REDIS":
        raise Refused(path, 0, "no RDB file")
    found.version = int(source.take(4))
    db, key, begin, keys_before = 0, {}, 0, 0
    end_field = None
    while True:
        at = source.at
        code = source.byte()
        if code == 0xFF:
            break
        if code == 0xFA:
            name, text = source.string(), source.string()
            if name == b"graven-block":
                block(found, source, Block(begin, at - begin, 0, len(found.keys) - keys_before, db), text)
                begin, keys_before = source.at, len(found.keys)
            elif name == b"graven-end":
                end_field = (at, text)
            else:
                found.aux[name] = text
        elif code == 0xF5:
            found.libraries.append(source.string())
        elif code == 0xFE:
            db = source.count()
        elif code == 0xFB:
            source.count(), source.count()
        elif code == 0xFC:
            key["expiry"] = struct.unpack("<q", source.take(8))[0]
        elif code == 0xFD:
            key["expiry"] = struct.unpack("<i", source.take(4))[0] * 1000
        elif code == 0xF8:
            key["idle"] = source.count()
        elif code == 0xF9:
            key["frequency"] = source.byte()
        else:
            name = source.string()
            kind, held = value(source, code)
            found.keys.append(Key(db, name, kind, held, **key))
            key = {}
    summed = source.at
    if found.version >= 5:
        (crc,) = struct.unpack("<Q", source.take(8))
        if crc and crc != crc64(content[:summed]):
            raise Refused(path, summed, "the file's checksum differs")
    found.length = source.at
    if end_field:
        found.indexed = index(found, content, *end_field)
    return found


def block(found: File, source: Bytes, read: Block, text: bytes) -> None:
    """The field behind a block, against what was read since the one before."""
    number, crc, keys, length = int(text[:8], 16), int(text[8:24], 16), int(text[24:40], 16), int(text[40:56], 16)
    read.crc = crc
    if (number, keys, length) != (len(found.blocks), read.keys, read.length):
        return
    if crc and crc != crc64(source.content[read.offset : read.offset + read.length]):
        raise Refused(source.path, read.offset, f"block {number} of {length} bytes and {keys} keys: its checksum differs")
    if number == 0:
        read.db = 0
    found.blocks.append(read)


def index(found: File, content: bytes, at: int, text: bytes) -> bool:
    """True where the index agrees with itself, with its place and with the blocks that were read."""
    if at + END_FIELD + 9 != found.length or len(text) != 180 or text[:4] != b"0001":
        return False
    if int(text[164:], 16) != crc64(text[:164]):
        return False
    offset, entries, crc = int(text[4:20], 16), int(text[20:36], 16), int(text[36:52], 16)
    if crc and crc != crc64(content[offset:at]):
        return False
    source = Bytes(Path("index"), content, offset)
    if source.byte() != 0xFA or source.string() != b"graven-index":
        return False
    rows = source.string()
    widths = (0, 16), (16, 32), (32, 48), (48, 64), (64, 72)
    listed = []
    for row in range(entries):
        line = rows[72 * row : 72 * row + 72]
        listed.append(Block(*(int(line[start:end], 16) for start, end in widths)))
    if source.at != at or listed != found.blocks or len(rows) != 72 * entries:
        return False
    timeline, lsn, parent, fork = text[52:92].decode(), int(text[92:108], 16), text[108:148].decode(), int(text[148:164], 16)
    if timeline != "0" * 40:
        found.position = Position(timeline, lsn, parent, fork)
    return True
