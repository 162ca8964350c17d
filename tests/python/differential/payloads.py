"""What two payloads of DUMP must have in common: everything, but for what stock leaves to chance.

A payload is taken apart into a tree that holds every byte of meaning: the form, how each string is written (as a number, as it is), the
nodes of a stream with their bytes. Left out are the checksum, how well a compressor compresses, the order of hash tables, moments, how
7.0 writes fractions of scores, and where a list is cut.
"""

from __future__ import annotations

import struct

STRING, SET, HASH, ZSET, INTSET, HASH_PACKED, ZSET_PACKED, LIST, STREAM = 0, 2, 4, 5, 11, 16, 17, 18, 19
# Two bytes of version, eight of checksum.
FOOTER = 10


class Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        first = self.byte()
        match first >> 6:
            case 0:
                return first
            case 1:
                return (first & 63) << 8 | self.byte()
            case _:
                assert first in (0x80, 0x81), first
                return int.from_bytes(self.take(4 if first == 0x80 else 8), "big")

    def string(self):
        """The bytes of a string; a number as such."""
        first = self.data[self.at]
        if first >> 6 != 3:
            return self.take(self.length())
        self.at += 1
        if first == 0xC3:
            packed, whole = self.length(), self.length()
            return decompressed(self.take(packed), whole)
        return int.from_bytes(self.take(1 << (first & 3)), "little", signed=True)

    def id(self) -> tuple[int, int]:
        return self.length(), self.length()


def decompressed(data: bytes, length: int) -> bytes:
    """LZF: runs as they are, and references to what has been."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        count = control >> 5
        if count == 7:
            count += data[at]
            at += 1
        start = len(out) - ((control & 31) << 8 | data[at]) - 1
        at += 1
        for place in range(start, start + count + 2):
            out.append(out[place])
    assert len(out) == length
    return bytes(out)


def tree(payload: bytes, counted: bool) -> tuple:
    """What a payload says. `counted`: how far the groups of a stream have read."""
    reader = Reader(payload[:-FOOTER])
    form = reader.byte()
    if form in (STRING, INTSET, HASH_PACKED):
        said = reader.string()
    elif form == ZSET_PACKED:
        said = scores(reader.string())
    elif form == SET:
        said = sorted((reader.string() for _ in range(reader.length())), key=repr)
    elif form == HASH:
        said = sorted(((reader.string(), reader.string()) for _ in range(reader.length())), key=repr)
    elif form == ZSET:
        # (The sign of a zero depends on what stock has kept it in.)
        said = [(reader.string(), struct.unpack("<d", reader.take(8))[0] + 0.0) for _ in range(reader.length())]
    elif form == LIST:
        # From which length on an element has a node of its own has changed with 7.2. LSET lets a node of stock grow beyond list-max-listpack-size, which
        # graven never does, and an insertion into a full node joins other neighbours; otherwise nodes are compared by a test of their own.
        said = [item for _ in range(reader.length()) for item in ([reader.string()] if reader.length() == 1 else elements(reader.string()))]
    elif form == STREAM:
        said = stream(reader, counted)
    else:
        raise AssertionError(f"form {form}")
    assert reader.at == len(reader.data)
    return (form, payload[-FOOTER:-8], said)


def stream(reader: Reader, counted: bool) -> list:
    said: list = [(reader.string(), reader.string()) for _ in range(reader.length())]
    length, last, first, deleted, added = reader.length(), reader.id(), reader.id(), reader.id(), reader.length()
    said += [length, last, first, deleted, added]
    counted = counted and added == length and deleted == (0, 0)
    for _ in range(reader.length()):
        name, at, read = reader.string(), reader.id(), reader.length()
        # The moment of a delivery is left out.
        pending = [(reader.take(16), reader.take(8)[:0], reader.length()) for _ in range(reader.length())]
        consumers = [(reader.string(), reader.take(8)[:0], [reader.take(16) for _ in range(reader.length())]) for _ in range(reader.length())]
        # In 7.2 a consumer is there once it has asked, in 7.0 once it has been given something.
        said.append((name, at, read if counted else None, pending, [consumer for consumer in consumers if consumer[2]]))
    return said


def elements(listpack: bytes) -> list:
    """The elements of a listpack: bytes as they are, numbers as such."""
    out, at = [], 6
    while listpack[at] != 0xFF:
        begun, first = at, listpack[at]
        at += 1
        width = {0xF1: 2, 0xF2: 3, 0xF3: 4, 0xF4: 8}.get(first)
        if first < 0x80:
            out.append(first)
        elif width:
            out.append(int.from_bytes(listpack[at : at + width], "little", signed=True))
            at += width
        elif first >> 5 == 6:
            number = (first & 31) << 8 | listpack[at]
            out.append(number - (1 << 13 if number >= 1 << 12 else 0))
            at += 1
        else:
            if first >> 6 == 2:
                size = first & 63
            elif first >> 4 == 14:
                size = (first & 15) << 8 | listpack[at]
                at += 1
            else:
                size = int.from_bytes(listpack[at : at + 4], "little")
                at += 4
            out.append(listpack[at : at + size])
            at += size
        used = at - begun
        at += 1 if used < 128 else 2 if used < 16384 else 3 if used < 2097152 else 4 if used < 268435456 else 5
    return out


def scores(listpack: bytes):
    """A packed sorted set: its bytes, or where a score is a fraction, which 7.0 writes in more digits, its elements."""
    items = elements(listpack)
    if all(isinstance(score, int) for score in items[1::2]):
        return listpack
    return list(zip(items[::2], (float(score) + 0.0 for score in items[1::2])))


def same(ours: bytes, stock: bytes, *, counted: bool) -> bool:
    return ours == stock or tree(ours, counted) == tree(stock, counted)
