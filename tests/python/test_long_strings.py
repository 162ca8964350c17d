"""Strings of tens of kilobytes and more: read into their own memory, kept, logged and sent without being joined or copied. Whatever
the network does with them, they arrive whole, in their place, as they were when they were asked for, and they count."""

from __future__ import annotations

import random
import re

import pytest

from support.dump import differences, dump_all
from support.resp import Connection, encode
from support.server import wait_until

# Around the length from which a string is not copied, the chunk's, and the socket's.
LENGTHS = [100, 4080, 4081, 32767, 32768, 32769, 65536, 70_000, 300_000, 3_000_001]


def content(chance: random.Random, length: int) -> bytes:
    return chance.randbytes(length)


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_values_come_back_as_they_were_sent_and_survive_a_kill(make_server, make_stock, appendfsync):
    chance = random.Random(3)
    server = make_server(directives={"appendfsync": appendfsync}).start()
    values = {b"v%d" % length: content(chance, length) for length in LENGTHS}
    with server.connect() as connection:
        sent = b"".join(encode("SET", key, value) + encode("GET", key) for key, value in values.items())
        at, replies = 0, []
        while at < len(sent):
            step = chance.choice([1, 100, 16384, 65536, 200_000])
            connection.send_bytes(sent[at : at + step])
            at += step
        replies = [connection.read() for _ in range(2 * len(values))]
        assert replies[::2] == [b"OK"] * len(values)
        assert replies[1::2] == list(values.values())
        big = values[b"v300000"]
        # Every way in, and every way out.
        for command in [
            ("SETEX", "setex", "1000", big), ("PSETEX", "psetex", "1000000", big), ("SETNX", "setnx", big), ("GETSET", "getset", big), ("SET", "getset", big[::-1], "GET"),
            ("MSET", "m1", big, "m2", "short", "m3", big[:40_000]), ("APPEND", "append", big), ("SETRANGE", "range", "7", big), ("RPUSH", "list", big, "x"), ("HSET", "hash", "f", big),
            ("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", "script", big),
        ]:  # fmt: skip
            connection.call(*command)
        assert connection.pipeline([("MULTI",), ("SET", "tx1", big), ("GET", "tx1"), ("SET", "tx2", big[:50_000]), ("EXEC",)])[-1] == [b"OK", big, b"OK"]
        assert connection.call("MGET", "m1", "m2", "nosuch", "m3") == [big, b"short", None, big[:40_000]]
        assert connection.call("GETRANGE", "setex", "5", "-6") == big[5:-5]
        assert connection.call("GETSET", "getset", "") == big[::-1]
        assert connection.call("EVAL", "return redis.call('GET', KEYS[1])", "1", "script") == big
        assert connection.call("GETDEL", "psetex") == big and connection.call("EXISTS", "psetex") == 0
        # Parts of what came in one piece change, and grow.
        connection.pipeline([("SETRANGE", "m1", "5000", "changed"), ("APPEND", "m1", "tail"), ("SETBIT", "m3", "1000", "1")])
        changed = bytearray(big)
        changed[5000:5007] = b"changed"
        assert connection.call("GET", "m1") == bytes(changed) + b"tail"
        before = dump_all(server.port)
    server.kill9()
    server.start()
    assert not differences(before, dump_all(server.port))
    server.stop()
    stock = make_stock(directory=server.directory).start()
    assert not differences(before, dump_all(stock.port))


def test_a_reply_shows_the_string_as_it_was_while_others_change_it(server):
    chance = random.Random(4)
    big = content(chance, 20_000_000)
    with server.connect() as writer, server.connect() as reader:
        writer.call("SET", "k", big)
        for change in [("SETRANGE", "k", "0", "x" * 100_000), ("APPEND", "k", "y"), ("SETBIT", "k", "159999999", "1"), ("SET", "k", "short"), ("DEL", "k")]:
            expected = writer.call("GET", "k")
            reader.send_bytes(encode("ECHO", "a") + encode("GET", "k") + encode("ECHO", "b"))
            # The server has more than the socket takes.
            wait_until(lambda: figure(writer, "cmd=get", "omem") > 0 or figure(writer, "cmd=echo", "omem") > 0 or len(expected) < 10_000_000, 10, "the reply is not taken")
            writer.call(*change)
            assert reader.read() == b"a"
            assert reader.read() == expected
            assert reader.read() == b"b"


def figure(connection: Connection, which: str, name: str) -> int:
    lines = [line for line in connection.call("CLIENT", "LIST").decode().splitlines() if which in line]
    return max((int(re.search(rf" {name}=(\d+)", line).group(1)) for line in lines), default=0)


def test_what_is_not_taken_counts_and_is_limited(server):
    big = b"z" * 10_000_000
    with server.connect() as connection, server.connect() as reader:
        connection.call("SET", "k", big)
        connection.call("CONFIG", "SET", "client-output-buffer-limit", "normal 35mb 0 0")
        reader.call("CLIENT", "SETNAME", "lazy")
        reader.send_bytes(encode("GET", "k") * 3)
        wait_until(lambda: figure(connection, "name=lazy", "omem") > 20_000_000, 10, "three replies are waiting")
        assert figure(connection, "name=lazy", "tot-mem") >= figure(connection, "name=lazy", "omem")
        assert b"client_recent_max_output_buffer:" in connection.call("INFO", "clients")
        reader.send_bytes(encode("GET", "k") * 2)
        wait_until(lambda: figure(connection, "name=lazy", "fd") == 0, 10, "the client is sent away")
    with server.connect() as connection:
        assert int(connection.call("INFO", "stats").decode().split("client_output_buffer_limit_disconnections:")[1].split()[0]) == 1


def test_an_argument_of_which_nothing_comes_claims_nothing(server):
    with server.connect() as connection:
        used = int(connection.call("INFO", "memory").decode().split("used_memory:")[1].split()[0])
        idle = [server.connect() for _ in range(20)]
        for one in idle:
            one.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n" + b"x" * 1000)
        wait_until(lambda: figure(connection, "qbuf=1", "qbuf") >= 1000, 10, "they have arrived")
        now = int(connection.call("INFO", "memory").decode().split("used_memory:")[1].split()[0])
        assert now - used < 20_000_000
        for one in idle:
            one.close()
