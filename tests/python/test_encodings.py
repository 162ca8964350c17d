"""OBJECT ENCODING at exactly the configured limits: one below, at, one above; beside stock where 7.0 has the same rule."""

from __future__ import annotations

import pytest


SMALL = {"entries": 8, "value": 20}


def build(connection, kind: str, words: list) -> None:
    connection.call("DEL", "k")
    for number, word in enumerate(words):
        if kind == "hash":
            connection.call("HSET", "k", *(word if isinstance(word, tuple) else (word, "v")))
        elif kind == "zset":
            connection.call("ZADD", "k", number, word)
        elif kind == "set":
            connection.call("SADD", "k", word)
        elif kind == "list":
            connection.call("RPUSH", "k", word)
        else:
            connection.call("SET", "k", word)


def encoding(connection, kind: str, words: list) -> str:
    build(connection, kind, words)
    return connection.call("OBJECT", "ENCODING", "k").decode()


# What is set, of which type, and what lies one below, at and one above the limit.
def words_of(length: int) -> list:
    return ["a", "x" * length, "b"]


def many(count: int) -> list:
    return [f"m{n}" for n in range(count)]


SHARED_RULES = [
    ("hash-max-listpack-entries", "hash-max-ziplist-entries", "hash", many, 8, "listpack", "hashtable"),
    ("hash-max-listpack-value", "hash-max-ziplist-value", "hash", words_of, 20, "listpack", "hashtable"),
    ("hash-max-listpack-value", "hash-max-ziplist-value", "hash", lambda length: [("f", "x" * length)], 20, "listpack", "hashtable"),
    ("zset-max-listpack-entries", "zset-max-ziplist-entries", "zset", many, 8, "listpack", "skiplist"),
    ("zset-max-listpack-value", "zset-max-ziplist-value", "zset", words_of, 20, "listpack", "skiplist"),
    ("set-max-intset-entries", None, "set", lambda count: [str(n * 1000) for n in range(count)], 8, "intset", "hashtable"),
    (None, None, "string", lambda length: ["x" * length], 44, "embstr", "raw"),
]


@pytest.mark.parametrize("rule", SHARED_RULES, ids=lambda rule: f"{rule[2]} {rule[0]}")
def test_limits_are_those_of_stock(pair, rule):
    name, old_name, kind, make, limit, small, large = rule
    for spelling in (name, old_name):
        for server in pair:
            with server.connect() as connection:
                if spelling:
                    connection.call("CONFIG", "SET", spelling, str(limit))
                    assert dict(zip(*[iter(connection.call("CONFIG", "GET", name))] * 2))[name.encode()] == str(limit).encode()
                found = [encoding(connection, kind, make(limit + step)) for step in (-1, 0, 1)]
                # An intset above its limit is small enough for a listpack in 7.2, and stays a table all the same.
                assert found == [small, small, large], (server.name, spelling)


@pytest.mark.parametrize("text,expected", [("0", "int"), ("-9223372036854775808", "int"), ("9223372036854775807", "int"), ("9223372036854775808", "embstr"), ("01", "embstr"), ("+1", "embstr"), ("1.0", "embstr"), ("", "embstr")])
def test_strings(pair, text, expected):
    for server in pair:
        with server.connect() as connection:
            assert encoding(connection, "string", [text]) == expected, server.name
            connection.call("APPEND", "k", "")
            assert connection.call("OBJECT", "ENCODING", "k") == b"raw", server.name


@pytest.mark.graven_only
def test_sets_by_the_rules_of_7_2(pair):
    with pair[0].connect() as connection:
        connection.call("CONFIG", "SET", "set-max-listpack-entries", "8", "set-max-listpack-value", "20", "set-max-intset-entries", "512")
        assert [encoding(connection, "set", many(8 + step)) for step in (-1, 0, 1)] == ["listpack", "listpack", "hashtable"]
        assert [encoding(connection, "set", words_of(20 + step)) for step in (-1, 0, 1)] == ["listpack", "listpack", "hashtable"]
        # An intset that gets its first word: a listpack if all of it fits into one.
        numbers = [str(n) for n in range(20)]
        assert encoding(connection, "set", numbers[:7] + ["word"]) == "listpack"
        assert encoding(connection, "set", numbers[:8] + ["word"]) == "hashtable"
        assert encoding(connection, "set", ["1", "x" * 21]) == "hashtable"
        # What was converted stays converted.
        build(connection, "set", many(9))
        connection.call("SREM", "k", *many(8))
        assert connection.call("OBJECT", "ENCODING", "k") == b"hashtable"


@pytest.mark.graven_only
@pytest.mark.parametrize("spelling", ["list-max-listpack-size", "list-max-ziplist-size"])
def test_lists_by_the_rules_of_7_2(pair, spelling):
    with pair[0].connect() as connection:
        for count in (1, 5, 128):
            connection.call("CONFIG", "SET", spelling, str(count))
            found = [encoding(connection, "list", many(count + step)) for step in (0, 1)]
            assert found == ["listpack", "quicklist"], count
            # A large list that is down to half a node is small again.
            build(connection, "list", many(128 + 1))
            connection.call("LTRIM", "k", 0, max(count // 2, 1) - 1)
            assert connection.call("OBJECT", "ENCODING", "k") == (b"listpack" if count > 1 else b"quicklist"), count
        for size, limit in ((-1, 4096), (-2, 8192), (-3, 16384), (-4, 32768), (-5, 65536)):
            connection.call("CONFIG", "SET", spelling, str(size))
            # An element of 100 bytes takes 103 in a listpack, whose own are 7; a push counts its bytes without those of
            # its encoding.
            largest = next(n for n in range(2000) if 7 + 103 * n + 100 > limit)
            found = [encoding(connection, "list", ["x" * 100] * (largest + step)) for step in (-1, 0, 1)]
            assert found == ["listpack", "listpack", "quicklist"], size
        connection.call("CONFIG", "SET", "list-compress-depth", "1", spelling, "-2")
        assert connection.call("CONFIG", "GET", "list-compress-depth") == [b"list-compress-depth", b"1"]
        build(connection, "list", ["y" * 500] * 100)
        assert connection.call("LRANGE", "k", 0, -1) == [b"y" * 500] * 100
        assert connection.call("OBJECT", "ENCODING", "k") == b"quicklist"
        connection.call("CONFIG", "SET", "list-compress-depth", "0")
