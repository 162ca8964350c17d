"""When a reply of graven equals one of stock: by the rule of the command, and by what differs on purpose.

Everything is compared byte for byte (errors with their whole text) unless its form in the grammar names a rule.
"""

from __future__ import annotations

import itertools
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
    return left == right and len(ours) <= max(len(stock), 25)


def alike(ours, stock, leaf: Callable[[str, bytes, bytes], bool]) -> bool:
    """The same tree, whose leaves are equal or satisfy `leaf(kind, ours, stock)`."""
    if ours == stock:
        return True
    (kind, value), (kind_stock, value_stock) = ours, stock
    if kind != kind_stock or value is None or value_stock is None:
        return False
    if kind in "%|":
        value, value_stock = ([("*", list(pair)) for pair in items] for items in (value, value_stock))
    elif kind not in "*~>":
        return leaf(kind, value, value_stock)
    return len(value) == len(value_stock) and all(alike(left, right, leaf) for left, right in zip(value, value_stock))


def doubles(ours, stock) -> bool:
    """As exact, but numbers may be written in their shortest form."""
    return alike(ours, stock, lambda kind, left, right: kind in "$,+" and same_double(left, right))


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
    return alike(ours, stock, lambda kind, left, right: kind in "$," and nearly(left, right))


def nearly(ours: bytes, stock: bytes) -> bool:
    try:
        return math.isclose(float(ours), float(stock), rel_tol=1e-9, abs_tol=1e-9)
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
    """7.2 keeps small lists and small sets of other than integers in one listpack, and begins a hash, set or sorted set for as many members as were given,
    repeated or not. A short string stays as it is when SETBIT or BITFIELD change nothing of it."""
    return ours == stock or (ours, stock) in PACKED


PACKED = {(("$", b"listpack"), ("$", b"quicklist")), (("$", b"listpack"), ("$", b"hashtable")), (("$", b"listpack"), ("$", b"intset")), (("$", b"embstr"), ("$", b"raw")), (("$", b"int"), ("$", b"raw")), (("$", b"skiplist"), ("$", b"listpack")), (("$", b"hashtable"), ("$", b"listpack"))}


def pending(ours, stock) -> bool:
    """XPENDING's rows hold the milliseconds since the delivery: numbers that may be apart, as no count of deliveries is."""
    return unstamped(ours) == unstamped(stock) and alike(ours, stock, lambda kind, left, right: kind == ":" and abs(int(left) - int(right)) <= MS_APART)


# Fields of XINFO that tell of times or of the inner tree, and those that 7.2 has added. A consumer is there in 7.2 once it has asked, in 7.0 once it
# has been given something: those without pending entries are left out, and their number.
TIMES = {b"idle", b"inactive", b"seen-time", b"active-time"}
INNER = {b"radix-tree-keys", b"radix-tree-nodes"}
NEW = {b"inactive", b"active-time"}
COUNTED = {b"entries-read", b"lag"}
# A sequence that says itself how much its groups have read: what follows from that is counted otherwise too.
COUNTS_GIVEN: list = []


def xinfo(ours, stock) -> bool:
    return masked(ours) == masked(stock)


def masked(reply, whole: bool = False):
    """XINFO without what may differ: times, tree sizes, new fields; delivery times in the lists of pending entries; how far groups have come, unless
    the stream is still `whole`: the newest 7.2 counts otherwise beside deleted entries."""
    kind, value = reply
    if kind == "%":
        value = [word for pair in value for word in pair]
        kind = "*"
    if kind != "*" or value is None:
        return reply
    if value and len(value) % 2 == 0 and all(item[0] == "$" for item in value[::2]):
        fields = [(name[1], item) for name, item in zip(value[::2], value[1::2])]
        of_stream = dict(fields)
        if b"entries-added" in of_stream:
            whole = not COUNTS_GIVEN and of_stream[b"entries-added"] == of_stream[b"length"] and of_stream[b"max-deleted-entry-id"][1] == b"0-0"
        consumers = [item for name, item in fields if name == b"consumers"]
        if consumers and consumers[0][0] == ":":
            fields = [(name, item) for name, item in fields if name != b"consumers"]
        hidden = TIMES | INNER | (set() if whole else COUNTED)
        return (kind, [(name, None if name in hidden else unstamped(item) if name in (b"pel", b"pending") else masked(item, whole)) for name, item in fields if name not in NEW])
    rows = [masked(item, whole) for item in value]
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


# What is sent without being asked for, or once for each word of what was asked.
MESSAGES = {b"message", b"pmessage", b"smessage", b"invalidate", b"tracking-redir-broken"}
CONFIRMED = {b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ssubscribe", b"sunsubscribe"}


def is_push(reply) -> bool:
    kind, value = reply
    return kind == ">" or (kind == "*" and bool(value) and value[0][0] == "$" and value[0][1] in MESSAGES | CONFIRMED)


def kind_of_push(reply) -> str:
    kind, value = reply
    return value[0][1].decode("latin-1") if kind in "*>" and value else kind


def pushes(frames: list) -> list:
    """In their order, but that of several patterns that one message fits, and that in which everything is unsubscribed from at once."""
    out: list = []
    for alike, run in itertools.groupby(frames, key=run_of):
        items = list(run)
        if alike[0] == b"pmessage":
            items.sort(key=repr)
        elif alike[0] in CONFIRMED and len(items) > 1 and b"un" in alike[0]:
            left = [item[1][2] for item in items]
            items = [(item[0], [*item[1][:2], count]) for item, count in zip(sorted(items, key=lambda item: repr(item[1][1])), left)]
        out += items
    return out


def run_of(frame):
    kind, value = frame
    name = value[0][1]
    return (name, value[2:]) if name == b"pmessage" else (name,)


def deep(ours, stock) -> bool:
    """No order at all, in no depth: fields of maps, libraries, their functions and flags."""
    return sunk(ours) == sunk(stock)


def sunk(reply):
    kind, value = reply
    if kind in "%|":
        value = [half for pair in value for half in pair]
        kind = "*"
    if kind in "*~" and value is not None:
        items = [sunk(item) for item in value]
        if items and len(items) % 2 == 0 and all(item[0] == "$" for item in items[::2]):
            items = [half for pair in sorted(zip(items[::2], items[1::2]), key=repr) for half in pair]
            return ("*", items)
        return ("*", sorted(items, key=repr))
    return reply


def user(ours, stock) -> bool:
    """ACL GETUSER and ACL LIST: stock 7.0 shows the flag of payloads once somebody has set it, 7.2 always. 7.2 keeps the rules of commands as
    they were given, 7.0 writes down what they came to; what they allow is compared by DRYRUN and by the calls themselves."""
    return sunk(in_common(ours)) == sunk(in_common(stock))


def in_common(reply):
    kind, value = reply
    if kind == "%":
        kind, value = "*", [half for pair in value for half in pair]
    if kind in "*~" and value is not None:
        return (kind, [in_common(item) for item in value if item != ("$", b"sanitize-payload")])
    if kind == "$" and value is not None:
        return (kind, b" ".join(word for word in value.split(b" ") if word != b"sanitize-payload" and (word[:1] not in b"+-" or not word)))
    return reply


NOTED = (b"count", b"reason", b"context", b"object", b"username")


def acl_log(ours, stock) -> bool:
    """Entries of ACL LOG without times, and without what 7.2 has more."""
    return ours == stock or (ours[0] == stock[0] == "*" and noted(ours) == noted(stock))


def noted(reply) -> list:
    entries = []
    for kind, value in reply[1]:
        fields = {name[1]: item for name, item in (value if kind == "%" else zip(value[::2], value[1::2]))}
        entries.append([fields.get(name) for name in NOTED])
    return entries


CLIENT_FIELDS = ("name", "db", "sub", "psub", "multi", "cmd", "user", "resp", "flags")


def client(ours, stock) -> bool:
    """The fields of CLIENT INFO and CLIENT LIST that do not depend on addresses, times and memory."""
    if ours[0] not in "$=" or stock[0] not in "$=":
        return ours == stock
    return fields_of_clients(ours[1]) == fields_of_clients(stock[1])


def fields_of_clients(text: bytes) -> list:
    lines = [dict(field.split("=", 1) for field in line.split(" ") if "=" in field) for line in text.decode("latin-1").splitlines()]
    # (Since 7.2 RESET ends what NO-EVICT began.)
    return [[line.get(name, "").replace("e", "").strip("N") if name == "flags" else line.get(name) for name in CLIENT_FIELDS] for line in lines]


def idle(ours, stock) -> bool:
    """Seconds since the last access. (Small integers are one object for all keys of stock, which may have rested for long.)"""
    return ours == stock or (ours[0] == ":" == stock[0] and int(ours[1]) - int(stock[1]) <= SECONDS_APART)


def damage(ours, stock) -> bool:
    """Of a damaged payload: taken or refused, each server by its own care. What is taken alike is compared by a test of its own."""
    # (In a script the refusal names its place.)
    either = [reply == ("+", b"OK") or reply[0] == "-" and reply[1].startswith(b"ERR Bad data format") for reply in (ours, stock)]
    return ours == stock or all(either)


RULES: dict[str, Callable] = {
    "exact": exact, "unordered": unordered, "pairs": pairs, "doubles": doubles, "near": near, "kind": kind, "shape": shape, "lifetime": lifetime,
    "scan": scan, "scanpairs": scan_pairs, "scandoubles": scan_doubles, "encoding": encoding, "pending": pending, "xinfo": xinfo, "hello": hello,
    "forgotten": kind, "deep": deep, "user": user, "acllog": acl_log, "client": client, "idle": idle, "damage": damage,
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


# What 7.2 says of users and their rights where stock 7.0 said otherwise.
NEWER = [
    (r"HELLO <proto> AUTH", "HELLO AUTH"),
    (r"User \S+ has no permissions to run", "This user has no permissions to run"),
    (r"User \S+ has no permissions to access", "This user has no permissions to access"),
    (r"NOPERM This user has no", "NOPERM this user has no"),
    (r"NOPERM No permissions to access a key", "NOPERM this user has no permissions to access one of the keys used as arguments"),
    (r"NOPERM No permissions to access a channel", "NOPERM this user has no permissions to access one of the channels used as arguments"),
    (r"NOPERM ACL failure in script: This user has no permissions to run the .* command", "ERR The user executing the script can't run this command or subcommand"),
    (r"NOPERM ACL failure in script: No permissions to access a key",
     "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"),
    (r"NOPERM ACL failure in script: No permissions to access a channel", "ERR The user executing the script can't publish to the channel mentioned in the command"),
    (r"Print this help", "Prints this help"),
]


def in_older_words(text: str) -> str:
    for newer, older in NEWER:
        text = re.sub(newer, older, text)
    return text


def text_of(reply) -> str:
    kind, value = reply
    return kind + (value.decode("latin-1") if isinstance(value, bytes) else "")


ALLOWED = [
    Allowed("7.2 reads all options of HELLO before it looks at the password", "hello", "^-ERR Syntax error in HELLO", "^-(WRONGPASS|NOAUTH)"),
    Allowed("7.2 has ZRANK and ZREVRANK WITHSCORE", "zrank|zrevrank", "", "^-ERR wrong number of arguments for 'z(rev)?rank' command|^-ERR Wrong number of args calling"),
    Allowed("7.2 tells a timeout that is too large from a negative one", "b.*|xread.*", "^-ERR timeout is out of range", "^-ERR timeout is negative"),
    Allowed("7.2 refuses the one rank whose opposite does not exist", "lpos", "^-ERR value is out of range, value must between", ""),
    Allowed("numbers beyond 64 bits that a script returns are cut to the largest integer; in stock the result is undefined", "eval.*", "^:(9223372036854775807|0)$", "^:-9223372036854775808$"),
    Allowed("7.2 compares with the largest id deleted before all else", "xsetid", "^-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id", ""),
    Allowed("no larger sequence number is left: 7.2 says what is wrong with the id", "xadd", "^-ERR The ID specified in XADD is equal or smaller", "^-ERR Elements are too large to be stored"),
    Allowed("stock reads a cursor to its first zero byte", "[hsz]?scan", "^-ERR invalid cursor", ""),
    Allowed("7.2 reads all arguments before it looks for the key", "bitcount|bitpos", "^-ERR (syntax error|value is not an integer|The bit argument)", "^(:|-WRONGTYPE)"),
    Allowed("7.2 has made the consumer when it asked for something", "xgroup", "^:0$", "^:1$"),
    Allowed("7.2 names the command", "xread(group)?", "^-ERR Unbalanced '", "^-ERR Unbalanced XREAD list"),
    Allowed("7.2 goes on to the end of the first bracket that is open", "acl", r"^-ERR Error in ACL SETUSER modifier '\(.* \(", r"^-ERR Error in ACL SETUSER modifier '\("),
    Allowed("stock takes the error of an earlier conversion (ZADD z 5e-324 a) for one of its own", "sort(_ro)?", "^[*:]", "^-ERR One or more scores can't be converted into double"),
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
    if any(b"\x00" in word for word in words) and (ours[0] == "-" == stock[0] or ours[0] == "$" == stock[0] and b" permissions " in (ours[1] or b"")):
        return True
    if ours[0] == stock[0] and ours[0] in "-$" and ours[1] and stock[1] and b" permissions " in ours[1] and in_older_words(ours[1].decode("latin-1")) == stock[1].decode("latin-1"):
        return True
    # The text is the same; the place in the script is not known where a library function fails in a tail call.
    if ours[0] == "-" == stock[0] and stock[1].startswith(b"ERR user_script:1: " + ours[1][4:] + b" script: "):
        return True
    return any(entry.fits(words, ours, stock) for entry in ALLOWED)
