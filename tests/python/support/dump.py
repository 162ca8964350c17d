"""Everything that a server holds, key by key, in a form that two servers can be compared by."""

from __future__ import annotations

from .resp import Connection

CHUNK = 500
READERS = {
    b"string": lambda key: ("GET", key),
    b"list": lambda key: ("LRANGE", key, 0, -1),
    b"set": lambda key: ("SMEMBERS", key),
    b"hash": lambda key: ("HGETALL", key),
    b"zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
    b"stream": lambda key: ("XINFO", "STREAM", key, "FULL", "COUNT", 0),
}
# How entries are spread over nodes is each server's own business after a rewrite; 7.0 does not know the last, and does not log when a consumer asked.
# How far a group lags is counted as 7.2 does, which 7.0 does not.
NOT_COMPARED = {b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time", b"lag"}


def stream_facts(pairs: list) -> dict:
    """What XINFO STREAM FULL tells, groups and consumers included."""
    facts = {name: value for name, value in zip(pairs[::2], pairs[1::2]) if name not in NOT_COMPARED}
    for inner in (b"groups", b"consumers"):
        if inner in facts:
            facts[inner] = [stream_facts(one) for one in facts[inner]]
    return facts


def dump_database(connection: Connection, db: int) -> dict:
    """key -> (type, value, deadline in ms or -1) of one database; sets and hashes in a fixed order."""
    connection.call("SELECT", db)
    keys = sorted(connection.call("KEYS", "*"))
    held = {}
    for at in range(0, len(keys), CHUNK):
        part = keys[at : at + CHUNK]
        types = connection.pipeline(("TYPE", key) for key in part)
        values = connection.pipeline(READERS[kind](key) for key, kind in zip(part, types))
        deadlines = connection.pipeline(("PEXPIRETIME", key) for key in part)
        for key, kind, value, deadline in zip(part, types, values, deadlines):
            if kind == b"set":
                value = sorted(value)
            elif kind == b"hash":
                value = sorted(zip(value[::2], value[1::2]))
            elif kind == b"stream":
                value = stream_facts(value)
            elif kind == b"zset":
                value = [(member, float(score)) for member, score in zip(value[::2], value[1::2])]
            held[key] = (kind, value, deadline)
    return held


def dump_all(port: int) -> dict:
    """(database, key) -> (type, value, deadline) of the whole server."""
    with Connection(port, timeout=60.0) as connection:
        keyspace = connection.call("INFO", "keyspace").decode()
        databases = sorted(int(line[2:].split(":")[0]) for line in keyspace.splitlines() if line.startswith("db"))
        return {(db, key): entry for db in databases for key, entry in dump_database(connection, db).items()}


def differences(left: dict, right: dict, limit: int = 10) -> list[str]:
    """What differs, as short lines; empty when both hold the same."""
    lines = []
    for key in sorted(left.keys() | right.keys()):
        if left.get(key) != right.get(key):
            lines.append(f"{key}: " + apart(left.get(key), right.get(key)))
    return lines[:limit] + ([f"... {len(lines)} in all"] if len(lines) > limit else [])


def apart(left, right) -> str:
    """Where two values part, by the path to it."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return "; ".join(f"{name}: {apart(left[name], right[name])}" for name in left if left[name] != right[name])
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)) and len(left) == len(right):
        return "; ".join(f"[{at}] {apart(*pair)}" for at, pair in enumerate(zip(left, right)) if pair[0] != pair[1])
    return f"{shorten(left)} != {shorten(right)}"


def shorten(value, length: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= length else text[:length] + "..."
