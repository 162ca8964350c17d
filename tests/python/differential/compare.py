"""When a reply of graven equals one of stock: by the rule of the command, and by what differs on purpose.

Everything is compared byte for byte (errors with their whole text) unless its form in the grammar names a rule.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Callable

MS_APART = 8000
SECONDS_APART = 8


def plain_order(reply):
    kind, value = reply
    if kind in "*~" and value is not None:
        return (kind, sorted(value, key=repr))
    if kind == "%":
        return (kind, sorted(value, key=repr))
    return reply


def paired(reply):
    """A flat list of name, value, name, value, as sorted pairs."""
    kind, value = reply
    if kind == "*" and value is not None and len(value) % 2 == 0:
        return (kind, sorted(zip(value[::2], value[1::2]), key=repr))
    return plain_order(reply)


def exact(ours, stock) -> bool:
    return ours == stock


def unordered(ours, stock) -> bool:
    return plain_order(ours) == plain_order(stock)


def pairs(ours, stock) -> bool:
    return paired(ours) == paired(stock)


def same_double(ours: bytes, stock: bytes) -> bool:
    """Redis 7.2 writes the shortest form that reads back, 7.0 seventeen digits; the sign of a zero depends on what stock has kept it in."""
    try:
        left, right = float(ours), float(stock)
    except ValueError:
        return False
    return left == right and len(ours) <= max(len(stock), 23)


def doubles(ours, stock) -> bool:
    """As exact, but numbers may be written in their shortest form."""
    if ours == stock:
        return True
    (kind, value), (kind_stock, value_stock) = ours, stock
    if kind != kind_stock or value is None or value_stock is None:
        return False
    if kind in "*~>":
        return len(value) == len(value_stock) and all(map(doubles, value, value_stock))
    if kind == "%":
        return len(value) == len(value_stock) and all(a[0] == b[0] and doubles(a[1], b[1]) for a, b in zip(value, value_stock))
    return kind in "$,+" and same_double(value, value_stock)


def near(ours, stock) -> bool:
    """Distances and coordinates, which differ in their last digits by the order of floating operations; places in no order where none was asked."""
    if (ours[0], stock[0]) == ("*", "*") and ours[1] is not None and stock[1] is not None:
        return all(map(close, sorted(ours[1], key=named), sorted(stock[1], key=named))) and len(ours[1]) == len(stock[1])
    return ours == stock


def named(reply) -> str:
    """What a place is sorted by: its name, which comes first."""
    while reply[0] == "*" and reply[1]:
        reply = reply[1][0]
    return repr(reply)


def close(ours, stock) -> bool:
    if ours == stock:
        return True
    (kind, value), (kind_stock, value_stock) = ours, stock
    if kind != kind_stock or value is None or value_stock is None:
        return False
    if kind == "*":
        return len(value) == len(value_stock) and all(map(close, value, value_stock))
    try:
        return kind in "$," and math.isclose(float(value), float(value_stock), rel_tol=1e-9, abs_tol=1e-9)
    except ValueError:
        return False


def kind(ours, stock) -> bool:
    """The kind of reply; errors as a whole."""
    if "-" in (ours[0], stock[0]):
        return ours == stock
    return ours[0] == stock[0] and (ours[1] is None) == (stock[1] is None)


def shape(ours, stock) -> bool:
    """Random elements: how many, and of which kinds."""
    if ours[0] in "*~%" and ours[0] == stock[0] and ours[1] is not None and stock[1] is not None:
        if len(ours[1]) != len(stock[1]):
            return False
        return ours[0] == "%" or all(a[0] == b[0] for a, b in zip(ours[1], stock[1]))
    return kind(ours, stock)


def lifetime(ours, stock) -> bool:
    """Two servers reach a command some milliseconds apart."""
    if ours[0] == ":" == stock[0]:
        left, right = int(ours[1]), int(stock[1])
        if left < 0 or right < 0:
            return left == right
        return abs(left - right) <= (MS_APART if max(left, right) > 1_000_000 else SECONDS_APART)
    return ours == stock


def scan(ours, stock, elements=unordered) -> bool:
    """A scan that returned everything: the cursor must be 0, the elements have no order."""
    if ours[0] == "*" == stock[0] and ours[1] and stock[1] and len(ours[1]) == 2 == len(stock[1]):
        return ours[1][0] == stock[1][0] and elements(ours[1][1], stock[1][1])
    return ours == stock


def scan_pairs(ours, stock) -> bool:
    return scan(ours, stock, pairs)


def scan_doubles(ours, stock) -> bool:
    return scan(ours, stock, lambda a, b: a[1] is not None and b[1] is not None and doubles((a[0], by_member(a[1])), (b[0], by_member(b[1]))))


def by_member(items: list) -> list:
    return [half for pair in sorted(zip(items[::2], items[1::2]), key=lambda pair: repr(pair[0])) for half in pair]


def encoding(ours, stock) -> bool:
    """7.2 keeps small lists and small sets of other than integers in one listpack, and begins a set or sorted set for as many members as were given,
    repeated or not. A short string stays as it is when SETBIT or BITFIELD change nothing of it."""
    return ours == stock or (ours, stock) in PACKED


PACKED = {(("$", b"listpack"), ("$", b"quicklist")), (("$", b"listpack"), ("$", b"hashtable")), (("$", b"listpack"), ("$", b"intset")), (("$", b"embstr"), ("$", b"raw")), (("$", b"int"), ("$", b"raw")), (("$", b"skiplist"), ("$", b"listpack"))}


def pending(ours, stock) -> bool:
    """XPENDING's rows hold the milliseconds since the delivery."""
    if ours[0] == "*" == stock[0] and ours[1] is not None and stock[1] is not None and len(ours[1]) == len(stock[1]):
        return all(
            a == b or (a[0] == b[0] == "*" and len(a[1]) == len(b[1]) == 4 and a[1][:2] == b[1][:2] and a[1][3] == b[1][3] and near_time(a[1][2], b[1][2]))
            for a, b in zip(ours[1], stock[1])
        )
    return ours == stock


def near_time(ours, stock) -> bool:
    return ours[0] == ":" == stock[0] and abs(int(ours[1]) - int(stock[1])) <= MS_APART


# Fields of XINFO that tell of times or of the inner tree, and those that 7.2 has added. A consumer is there in 7.2 once it has asked, in 7.0 once it
# has been given something: those without pending entries are left out, and their number.
TIMES = {b"idle", b"inactive", b"seen-time", b"active-time"}
INNER = {b"radix-tree-keys", b"radix-tree-nodes"}
NEW = {b"inactive", b"active-time"}


def xinfo(ours, stock) -> bool:
    return masked(ours) == masked(stock)


def masked(reply):
    """XINFO without what may differ: times, tree sizes, new fields; delivery times in the lists of pending entries."""
    kind, value = reply
    if kind == "%":
        value = [word for pair in value for word in pair]
        kind = "*"
    if kind != "*" or value is None:
        return reply
    if value and len(value) % 2 == 0 and all(item[0] == "$" for item in value[::2]):
        fields = [(name[1], item) for name, item in zip(value[::2], value[1::2])]
        consumers = [item for name, item in fields if name == b"consumers"]
        if consumers and consumers[0][0] == ":":
            fields = [(name, item) for name, item in fields if name != b"consumers"]
        return (kind, [(name, None if name in TIMES | INNER else unstamped(item) if name in (b"pel", b"pending") else masked(item)) for name, item in fields if name not in NEW])
    rows = [masked(item) for item in value]
    return (kind, [row for row in rows if not (row[0] == "*" and row[1] and (b"pending", (":", b"0")) in row[1] and row[1][-1][0] == b"idle")
                   and not (row[0] == "*" and row[1] and (b"pel-count", (":", b"0")) in row[1] and row[1][1][0] == b"seen-time")])


def unstamped(reply):
    """Rows of pending entries without the time of their delivery: id, [consumer,] time, count."""
    kind, value = reply
    if kind == "*" and value is not None:
        return (kind, [(row[0], row[1][:-2] + row[1][-1:]) if row[0] == "*" and row[1] else row for row in value])
    return reply


def hello(ours, stock) -> bool:
    """What a server says of itself differs in version and connection; names and protocol do not."""
    left, right = hello_fields(ours), hello_fields(stock)
    return left == right


def hello_fields(reply):
    kind, value = reply
    if kind == "*" and value:
        value = list(zip(value[::2], value[1::2]))
    elif kind != "%":
        return reply
    return (kind, [(name, None if name[1] in (b"id", b"version") else item) for name, item in value])


RULES: dict[str, Callable] = {
    "exact": exact, "unordered": unordered, "pairs": pairs, "doubles": doubles, "near": near, "kind": kind, "shape": shape, "lifetime": lifetime,
    "scan": scan, "scanpairs": scan_pairs, "scandoubles": scan_doubles, "encoding": encoding, "pending": pending, "xinfo": xinfo, "hello": hello,
}


@dataclass
class Allowed:
    """A difference on purpose: where it may appear, what both must say, and why."""

    reason: str
    names: str
    ours: str
    stock: str

    def fits(self, words: list[bytes], ours, stock) -> bool:
        return bool(
            re.fullmatch(self.names, words[0].decode("latin-1"), re.IGNORECASE) and re.search(self.ours, text_of(ours)) and re.search(self.stock, text_of(stock))
        )


def text_of(reply) -> str:
    kind, value = reply
    return kind + (value.decode("latin-1") if isinstance(value, bytes) else "")


ALLOWED = [
    Allowed("7.2 has ZRANK and ZREVRANK WITHSCORE", "zrank|zrevrank", "", "^-ERR wrong number of arguments for 'z(rev)?rank' command|^-ERR Wrong number of args calling"),
    Allowed("7.2 tells a timeout that is too large from a negative one", "b.*|xread.*", "^-ERR timeout is out of range", "^-ERR timeout is negative"),
    Allowed("7.2 refuses the one rank whose opposite does not exist", "lpos", "^-ERR value is out of range, value must between", ""),
    Allowed("numbers beyond 64 bits that a script returns are cut to the largest integer; in stock the result is undefined", "eval.*", "^:(9223372036854775807|0)$", "^:-9223372036854775808$"),
    Allowed("7.2 compares with the largest id deleted before all else", "xsetid", "^-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id", ""),
    Allowed("no larger sequence number is left: 7.2 says what is wrong with the id", "xadd", "^-ERR The ID specified in XADD is equal or smaller", "^-ERR Elements are too large to be stored"),
    Allowed("stock reads a cursor to its first zero byte", "[hsz]?scan", "^-ERR invalid cursor", ""),
    Allowed("7.2 reads all arguments before it looks for the key", "bitcount|bitpos", "^-ERR (syntax error|value is not an integer|The bit argument)", "^(:|-WRONGTYPE)"),
    Allowed("stock's SORT sees an error of range that an earlier command has left behind", "sort(_ro)?", "", "^-ERR One or more scores"),
    Allowed("stock's SORT reads a number to its first zero byte", "sort(_ro)?", "^-ERR One or more scores", ""),
    Allowed("7.2 has made the consumer when it asked for something", "xgroup", "^:0$", "^:1$"),
    Allowed("7.2 names the command", "xread(group)?", "^-ERR Unbalanced '", "^-ERR Unbalanced XREAD list"),
    Allowed("7.2 takes a command without arguments here", "command", "", "^-ERR wrong number of arguments for 'command\\|getkeys"),
]


def wrapped(reply):
    """A reply that has passed through a script: numbers beyond 64 bits, whose conversion is undefined in stock, are all alike."""
    kind, value = reply
    if kind == "*" and value is not None:
        return (kind, [wrapped(item) for item in value])
    return (":", b"beyond") if kind == ":" and value in (b"9223372036854775807", b"-9223372036854775808") else reply


def allowed(words: list[bytes], ours, stock) -> bool:
    # Stock ends the text of an error at a zero byte of the argument that it quotes.
    if ours[0] == "-" == stock[0] and any(b"\x00" in word for word in words):
        return True
    # The text of an error is UTF-8 in graven, whatever the argument that it quotes.
    if ours[0] == "-" == stock[0] and ours[1].decode("utf-8", "replace") == stock[1].decode("utf-8", "replace"):
        return True
    # The text is the same; the place in the script is not known where a library function fails in a tail call.
    if ours[0] == "-" == stock[0] and stock[1].startswith(b"ERR user_script:1: " + ours[1][4:] + b" script: "):
        return True
    return any(entry.fits(words, ours, stock) for entry in ALLOWED)
