"""CLIENT LIST, KILL, PAUSE and their kin, beside stock redis-server 7.0 where it says the same."""

from __future__ import annotations

import time

import pytest

from support.resp import Closed, Connection
from support.server import wait_until


# What the two servers of `pair` run with.
PAIR_DIRECTIVES = {"enable-debug-command": "yes"}


@pytest.fixture(params=["graven", "stock"])
def either(pair, request):
    return pair[request.param == "stock"]


def fields(line: bytes) -> dict:
    return dict(word.split("=", 1) for word in line.decode().split())


def listed(connection: Connection, name: str) -> dict:
    for line in connection.call("CLIENT", "LIST").splitlines():
        found = fields(line)
        if found["name"] == name:
            return found
    raise AssertionError(f"no client is called {name}")


@pytest.mark.parametrize("protocol", [2, 3])
def test_errors(pair, protocol):
    commands = """
    CLIENT PAUSE|CLIENT PAUSE x|CLIENT PAUSE -1|CLIENT PAUSE 1 foo|CLIENT PAUSE 1 write x|CLIENT PAUSE 99999999999999999999|CLIENT UNPAUSE x|CLIENT UNPAUSE
    CLIENT KILL id 0|CLIENT KILL id x|CLIENT KILL type foo|CLIENT KILL skipme foo|CLIENT KILL user nosuch|CLIENT KILL id|CLIENT KILL foo bar|CLIENT KILL 1.2.3.4:5|CLIENT KILL
    CLIENT KILL addr 1.2.3.4:5|CLIENT KILL laddr 1.2.3.4:5|CLIENT KILL id 1000000|CLIENT KILL type pubsub|CLIENT KILL type replica|CLIENT KILL id 1000000 addr
    CLIENT LIST type foo|CLIENT LIST id|CLIENT LIST id x|CLIENT LIST id 1000000|CLIENT LIST foo|CLIENT LIST type|CLIENT LIST type pubsub|CLIENT LIST type master|CLIENT LIST type normal x
    CLIENT NO-EVICT x|CLIENT NO-EVICT on|CLIENT NO-EVICT off|CLIENT UNBLOCK x|CLIENT UNBLOCK 1 x|CLIENT UNBLOCK 1000000|CLIENT UNBLOCK 1000000 error|CLIENT REPLY x|CLIENT REPLY on
    CLIENT GETNAME|CLIENT SETNAME me|CLIENT GETNAME|CLIENT SETNAME a\\tb|CLIENT FOO|CLIENT ID x|CLIENT INFO x
    """.strip().split("|")
    commands = [command.split() for line in commands for command in line.strip().splitlines()]
    shown = []
    for server in pair:
        with server.connect(protocol=protocol) as connection:
            shown.append([connection.ask(*command).render() for command in commands])
    assert list(zip(commands, shown[0])) == list(zip(commands, shown[1]))


def test_every_field_of_a_line_is_there_in_order(pair):
    ours, stock = ([word.split(b"=")[0].decode() for word in server.connect().call("CLIENT", "INFO").split()] for server in pair)
    if len(ours) > len(stock):
        ours = [name for name in ours if name not in ("watch", "lib-name", "lib-ver", "capa")]
    assert ours == stock


def test_memory_of_connections(either):
    """Bytes that wait for the rest of a request, queued commands, and replies that nobody reads are seen, and so is their end."""
    with either.connect() as watcher, either.connect() as sender, either.connect() as reader:
        sender.call("CLIENT", "SETNAME", "sender")
        quiet = listed(watcher, "sender")
        sender.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"x" * 50000)
        busy = wait_until(lambda: (found := listed(watcher, "sender")) and int(found["qbuf"]) >= 50000 and found, 5, "qbuf")
        assert int(busy["tot-mem"]) >= int(quiet["tot-mem"]) + 50000 and quiet["events"] == "r"
        sender.send_bytes(b"x" * 50000 + b"\r\n")
        assert sender.read() == b"OK"
        wait_until(lambda: int(listed(watcher, "sender")["qbuf"]) == 0, 5, "qbuf after the request")
        sender.pipeline([("MULTI",), ("SET", "a", "y" * 5000), ("SET", "b", "y" * 5000)])
        queued = listed(watcher, "sender")
        assert queued["multi"] == "2" and int(queued["multi-mem"]) >= 10000 and "x" in queued["flags"]
        sender.call("DISCARD")
        assert listed(watcher, "sender")["multi"] == "-1"
        reader.call("CLIENT", "SETNAME", "reader")
        reader.send_bytes(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" * 200)
        waiting = wait_until(lambda: (found := listed(watcher, "reader")) and "w" in found["events"] and found, 10, "replies that wait")
        assert int(waiting["omem"]) + int(waiting["obl"]) > 100000 and int(waiting["tot-mem"]) > 100000
        for _ in range(200):
            reader.read_reply()
        wait_until(lambda: (found := listed(watcher, "reader")) and found["events"] == "r" and found["omem"] == found["obl"] == found["oll"] == "0", 5, "nothing that waits")


def test_kill_by_each_filter(either):
    def open_one(name):
        connection = either.connect()
        connection.call("CLIENT", "SETNAME", name)
        return connection

    def is_gone(connection):
        try:
            connection.socket.settimeout(60)
            return connection.socket.recv(100) == b""
        except ConnectionError:
            return True

    with either.connect() as me:
        one = open_one("one")
        assert me.call("CLIENT", "KILL", "ID", listed(me, "one")["id"]) == 1 and is_gone(one)
        one = open_one("one")
        assert me.call("CLIENT", "KILL", listed(me, "one")["addr"]) == b"OK" and is_gone(one)
        one, two = open_one("one"), open_one("two")
        assert me.call("CLIENT", "KILL", "ADDR", listed(me, "one")["addr"], "LADDR", listed(me, "two")["laddr"]) == 1 and is_gone(one)
        assert two.call("PING") == b"PONG"
        two.call("SUBSCRIBE", "c")
        assert me.call("CLIENT", "KILL", "TYPE", "pubsub", "USER", "default") == 1 and is_gone(two)
        three = open_one("three")
        assert me.call("CLIENT", "KILL", "TYPE", "normal") == 1 and is_gone(three)
        assert me.call("CLIENT", "KILL", "ID", me.call("CLIENT", "ID"), "SKIPME", "no") == 1
        with pytest.raises((Closed, ConnectionError)):
            me.call("PING")


@pytest.mark.graven_only
def test_kill_by_age(pair):
    with pair[0].connect() as old, pair[0].connect() as me:
        old.call("CLIENT", "SETNAME", "old")
        time.sleep(3.1)
        assert me.call("CLIENT", "KILL", "MAXAGE", "1000") == 0
        with pair[0].connect() as young:
            assert me.call("CLIENT", "KILL", "MAXAGE", "3") >= 1
            assert young.call("PING") == b"PONG"


def test_list_by_type_and_id(either):
    with either.connect() as me, either.connect() as listener:
        listener.call("SUBSCRIBE", "c")
        (line,) = me.call("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
        found = fields(line)
        assert found["sub"] == "1" and found["flags"] == "P"
        ids = [fields(line)["id"] for line in me.call("CLIENT", "LIST", "ID", found["id"], me.call("CLIENT", "ID"), "999999").splitlines()]
        assert sorted(ids) == sorted([found["id"], str(me.call("CLIENT", "ID"))])


def answers_within(connection: Connection, seconds: float) -> bool:
    return not connection.silent(seconds)


def test_pause_of_writes(either):
    """Reads go on, writes wait and then happen in order; what expires does not while it lasts."""
    with either.connect() as me, either.connect() as writer, either.connect() as queuer, either.connect() as reader:
        me.call("FLUSHALL")
        assert me.pipeline([("CONFIG", "RESETSTAT"), ("SET", "due", "x", "PX", "1000"), ("CLIENT", "PAUSE", "60000", "WRITE")])[-1] == b"OK"
        for command in (("SET", "k", "1"), ("INCR", "k"), ("GET", "k")):
            writer.send(*command)
        queuer.call("MULTI")
        queuer.send("SET", "q", "1")
        queuer.send("EXEC")
        assert reader.call("GET", "k") is None
        assert not answers_within(writer, 0.15) and not answers_within(queuer, 0.01)
        wait_until(lambda: b"blocked_clients:2\r\n" in reader.call("INFO", "clients"), 5, "two that wait")
        wait_until(lambda: reader.call("GET", "due") is None, 5, "the key is due")
        assert b"expired_keys:0\r\n" in reader.call("INFO", "stats")
        assert me.call("CLIENT", "UNPAUSE") == b"OK"
        assert [writer.read() for _ in range(3)] == [b"OK", 2, b"2"]
        assert [queuer.read() for _ in range(2)] == [b"QUEUED", [b"OK"]]
        wait_until(lambda: b"expired_keys:1\r\n" in reader.call("INFO", "stats"), 5, "the key that was due")
        assert b"blocked_clients:0\r\n" in reader.call("INFO", "clients")


def test_pause_of_everything_ends_by_itself(either):
    with either.connect() as me, either.connect() as other:
        began = time.monotonic()
        assert me.call("CLIENT", "PAUSE", "300") == b"OK"
        assert other.call("PING") == b"PONG"
        assert 0.25 < time.monotonic() - began < 60


def test_a_second_pause_makes_it_longer_and_stricter_only(either):
    with either.connect() as me, either.connect() as other:
        began = time.monotonic()
        me.call("CLIENT", "PAUSE", "500", "WRITE")
        me.call("CLIENT", "PAUSE", "10", "WRITE")
        other.call("SET", "k", "v")
        assert time.monotonic() - began > 0.4
        began = time.monotonic()
        me.pipeline([("CLIENT", "PAUSE", "300", "WRITE"), ("CLIENT", "PAUSE", "10", "ALL")])
        other.call("GET", "k")
        assert time.monotonic() - began > 0.2


def test_a_pause_inside_a_transaction_lets_it_end(either):
    with either.connect() as me:
        assert me.pipeline([("MULTI",), ("CLIENT", "PAUSE", "60000", "WRITE"), ("SET", "k", "paused"), ("GET", "k"), ("EXEC",)])[-1] == [b"OK", b"OK", b"paused"]
        me.call("CLIENT", "UNPAUSE")


def test_scripts_and_messages_are_writes_to_a_pause(either):
    with either.connect() as me, either.connect() as scripter, either.connect() as publisher, either.connect() as blocker:
        me.call("CLIENT", "PAUSE", "60000", "WRITE")
        scripter.send("EVAL", "return 1", "0")
        publisher.send("PUBLISH", "c", "x")
        blocker.send("BLPOP", "nolist", "0.01")
        assert not answers_within(scripter, 0.1) and not answers_within(publisher, 0.01) and not answers_within(blocker, 0.01)
        me.call("CLIENT", "UNPAUSE")
        assert (scripter.read(), publisher.read(), blocker.read()) == (1, 0, None)


def test_a_paused_client_may_leave_or_be_killed(either):
    with either.connect() as me, either.connect() as leaves, either.connect() as dies:
        dies.call("CLIENT", "SETNAME", "dies")
        me.call("CLIENT", "PAUSE", "60000", "WRITE")
        leaves.send("SET", "left", "1")
        dies.send("SET", "died", "1")
        wait_until(lambda: "b" in listed(me, "dies")["flags"], 5, "a client that waits")
        leaves.close()
        assert me.call("CLIENT", "KILL", "ID", listed(me, "dies")["id"]) == 1
        wait_until(lambda: b"blocked_clients:0\r\n" in me.call("INFO", "clients"), 5, "nobody that waits")
        me.call("CLIENT", "UNPAUSE")
        assert me.call("EXISTS", "died", "left") == 0
