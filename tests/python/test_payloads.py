"""DUMP here, RESTORE there: payloads of every type and encoding pass between graven and stock in both directions.

Both servers are asked what they hold afterwards; random damage is answered alike, and neither server minds.
"""

from __future__ import annotations

import os
import random

import pytest

from support.dump import READERS, differences, dump_all, stream_facts
from test_stock_interchange import fill

SEED = int(os.environ.get("GRAVEN_TEST_SEED", "20240607"))


@pytest.fixture
def both(make_server, make_stock):
    return make_server(directives={"appendonly": "no"}).start(), make_stock(directives={"appendonly": "no"}).start()


def carry(source, target) -> int:
    """Every key of one server to another, by DUMP and RESTORE; how many."""
    count = 0
    with source.connect(timeout=60.0) as asked, target.connect(timeout=60.0) as given:
        for db in range(16):
            for connection in (asked, given):
                connection.call("SELECT", db)
            keys = asked.call("KEYS", "*")
            payloads = asked.pipeline(("DUMP", key) for key in keys)
            deadlines = asked.pipeline(("PEXPIRETIME", key) for key in keys)
            replies = given.pipeline(("RESTORE", key, max(at, 0), payload, "ABSTTL") for key, payload, at in zip(keys, payloads, deadlines))
            assert all(reply == b"OK" for reply in replies), replies
            count += len(keys)
    return count


@pytest.mark.parametrize("compression", ["yes", "no"])
def test_payloads_pass_both_ways(both, compression):
    ours, stock = both
    for server in both:
        with server.connect() as connection:
            connection.call("CONFIG", "SET", "rdbcompression", compression)
    for source, target in ((ours, stock), (stock, ours)):
        for server in both:
            with server.connect() as connection:
                connection.call("FLUSHALL")
        fill(source, f"payloads {compression} {source.name}", steps=1500)
        assert carry(source, target) > 30
        wrong = differences(dump_all(source.port), dump_all(target.port))
        assert not wrong, f"{source.name} to {target.name}:\n" + "\n".join(wrong)


WAYS = [["RPUSH"], ["LPUSH"], ["RPUSH", "LPUSH"], ["RPUSH", "LPUSH", "LPOP", "RPOP"], ["RPUSH", "LREM"], ["RPUSH", "LTRIM"], ["LPUSH", "RPOP"]]


@pytest.mark.parametrize("ways", WAYS, ids="+".join)
def test_lists_are_cut_into_the_same_nodes(both, ways):
    """Byte for byte, however a list has grown and shrunk at its ends, by LREM and by LTRIM, and as DEBUG OBJECT counts them."""
    chance = random.Random(f"{SEED} {ways}")
    with both[0].connect(timeout=60.0) as here, both[1].connect(timeout=60.0) as there:
        for fill in (-5, -2, -1, 3, 7, 128):
            for connection in (here, there):
                connection.call("CONFIG", "SET", "list-max-listpack-size", fill, "rdbcompression", "no")
                connection.call("DEL", "l")
            calls = []
            for _ in range(chance.randrange(1000, 2000)):
                way = chance.choice(ways)
                element = lambda longest: bytes(chance.choices(b"abc123", k=chance.choice([1, 3, 10, 100, 1000][:longest])))
                if way.endswith("PUSH"):
                    calls.append((way, "l", *(element(5) for _ in range(chance.randrange(1, 5)))))
                elif way == "LREM":
                    calls.append((way, "l", chance.choice([-2, 1, 3]), element(1)))
                elif way.endswith("POP"):
                    calls.append((way, "l"))
                elif chance.random() < 0.05:
                    calls.append((way, "l", 1, -2))
            assert here.pipeline(calls) == there.pipeline(calls)
            assert here.call("DUMP", "l") == there.call("DUMP", "l")
            if here.call("OBJECT", "ENCODING", "l") == b"quicklist":
                shown = [dict(field.split(b":", 1) for field in connection.call("DEBUG", "OBJECT", "l").split() if b":" in field) for connection in (here, there)]
                for field in (b"ql_nodes", b"ql_avg_node", b"ql_listpack_max", b"ql_compressed", b"ql_uncompressed_size", b"serializedlength"):
                    assert shown[0][field] == shown[1][field], field


def test_a_large_set_passes(both):
    """A value that is written and read in pieces."""
    ours, stock = both
    with ours.connect(timeout=60.0) as here, stock.connect(timeout=60.0) as there:
        for start in range(0, 300_000, 10_000):
            here.call("SADD", "big", *(f"member:{n}" for n in range(start, start + 10_000)))
        assert there.call("RESTORE", "big", 0, here.call("DUMP", "big")) == b"OK"
        assert there.call("SCARD", "big") == 300_000
        assert there.call("SISMEMBER", "big", "member:299999") == 1


def test_restores_are_replayed_by_stock(make_server, make_stock, tmp_path):
    """What RESTORE logs: deadlines as moments, newer payloads as stock reads them."""
    import shutil

    ours = make_server().start()
    fill(ours, "log", steps=300)
    with ours.connect(timeout=60.0) as connection:
        for key in connection.call("KEYS", "*"):
            payload = connection.call("DUMP", key)
            connection.call("RESTORE", b"copy:" + key, 86_400_000, payload)
            connection.call("RESTORE", b"again:" + key, 0, payload, "REPLACE", "IDLETIME", 100)
    held = dump_all(ours.port)
    ours.kill9()
    shutil.copytree(ours.directory, tmp_path / "copy")
    stock = make_stock(directory=tmp_path / "copy").start()
    assert not differences(held, dump_all(stock.port))
    ours.start()
    assert not differences(held, dump_all(ours.port))


def elements(kind: bytes, value):
    """What a value holds. The order of a damaged sorted set is stock's own business: graven puts its members in order, as it sees for
    itself which entry of a stream is the first one."""
    if kind == b"stream":
        facts = stream_facts(value)
        return facts[b"entries"], [{**group, b"lag": None} for group in facts[b"groups"]], facts[b"entries-added"]
    if kind == b"zset":
        return sorted((member, float(score)) for member, score in zip(value[::2], value[1::2]))
    return sorted(zip(value[::2], value[1::2])) if kind == b"hash" else sorted(value) if kind == b"set" else value


def test_damage_is_answered_alike(both):
    """Payloads with one bit changed and no checksum compared: refused, or taken as the same value that stock takes them for."""
    ours, stock = both
    chance = random.Random(SEED)
    with ours.connect(timeout=60.0) as here, stock.connect(timeout=60.0) as there:
        there.call("CONFIG", "SET", "sanitize-dump-payload", "yes")
        for connection in (here, there):
            connection.call("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
        fill(ours, "damage", steps=600, dbs=(0,))
        taken = 0
        for key in here.call("KEYS", "*"):
            payload = here.call("DUMP", key)
            for _ in range(8):
                at = chance.randrange(len(payload) - 10)
                damaged = payload[:at] + bytes([payload[at] ^ (1 << chance.randrange(8))]) + payload[at + 1 :]
                replies = [connection.pipeline([("RESTORE", "damaged", 0, damaged, "REPLACE")])[0] for connection in (here, there)]
                if replies[0] == b"OK":
                    taken += 1
                    kind = here.call("TYPE", "damaged")
                    reader = READERS[kind]("damaged")
                    if replies[1] == b"OK":
                        mine, theirs = (elements(kind, connection.call(*reader)) for connection in (here, there))
                        assert mine == theirs, damaged
                    else:
                        here.call(*reader)
                else:
                    assert "Bad data format" in str(replies[0]), replies[0]
        assert taken > 20
