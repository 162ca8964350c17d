"""Every reply of graven beside that of stock redis-server 7.0: tables of commands, malformed requests.

What differs on purpose (the level is Redis 7.2) stands in allowed_differences.toml, and an entry that is not needed is a failure.
"""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path

import pytest

try:
    import tomllib
except ImportError:
    tomllib = None

from support import commands
from support.resp import Connection
from support.script import Player, load
from support.server import Server, stock_binary, stock_under_test

HERE = Path(__file__).resolve().parent
BLOCKS = [block for path in sorted((HERE / "replies").glob("*.txt")) for block in load(path)]
FRESH = [("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction"), ("CONFIG", "SET", "notify-keyspace-events", ""), ("CONFIG", "SET", "hash-max-listpack-entries", "128"), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"), ("FLUSHALL",)]


# What the two servers of `pair` run with.
PAIR_DIRECTIVES = {"databases": 16}


def allowed_differences() -> dict:
    """(file, line, protocol) -> (stock, graven) of allowed_differences.toml."""
    with open(HERE / "allowed_differences.toml", "rb") as file:
        entries = tomllib.load(file).get("difference", [])
    table = {}
    for entry in entries:
        for protocol in entry.get("protocols", [2, 3]):
            key = (entry["file"], entry["block"], entry["line"], protocol)
            table.setdefault(key, []).append((entry["stock"], entry["graven"]))
    return table


def fresh(pair) -> None:
    for server in pair:
        with server.connect() as connection:
            connection.pipeline(FRESH)


@pytest.fixture(scope="module")
def used() -> set:
    return set()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.file}: {block.title}")
def test_table(pair, used, block, protocol):
    if protocol not in block.protocols:
        return
    fresh(pair)
    allowed = {} if stock_under_test() else allowed_differences()
    ours, stock = (Player(server.port, protocol) for server in pair)
    problems = []
    try:
        for line in block.lines:
            got, expected = ours.play(line), stock.play(line)
            key = (block.file, block.title, line.text, protocol)
            if (expected, got) in allowed.get(key, []):
                used.add((*key, expected))
            elif got != expected:
                problems.append(f"{line.text}\n    stock:  {expected}\n    graven: {got}")
    finally:
        ours.close()
        stock.close()
    if problems:
        pytest.fail(f"{block.file}, == {block.title}, RESP{protocol}:\n" + "\n".join(problems), pytrace=False)


@pytest.mark.graven_only
def test_every_allowed_difference_is_needed(used, request):
    """Runs after the tables: an entry that nothing used is out of date, or never was true."""
    selected = {item.originalname for item in request.session.items}
    count = sum(1 for item in request.session.items if item.originalname == "test_table")
    if "test_table" not in selected or count < 2 * len(BLOCKS):
        return
    unused = sorted({(*key, stock) for key, pairs in allowed_differences().items() for stock, _ in pairs} - used)
    assert not unused, "not needed: " + "; ".join(map(str, unused))


SEED = int(os.environ.get("GRAVEN_TEST_SEED", "20240607"))


BIG = b"x" * 70000
MALFORMED = {
    "multibulk count is not a number": b"*abc\r\n",
    "multibulk count is empty": b"*\r\n",
    "multibulk count too large": b"*1048577\r\n",
    "multibulk count far too large": b"*99999999999999999999\r\n",
    "multibulk count negative": b"*-1\r\nPING\r\n",
    "multibulk count minus ten": b"*-10\r\n*1\r\n$4\r\nPING\r\n",
    "multibulk count zero": b"*0\r\nPING\r\n",
    "multibulk count with a space": b"* 1\r\n$4\r\nPING\r\n",
    "multibulk count with a plus": b"*+1\r\n$4\r\nPING\r\n",
    "multibulk count with leading zero": b"*01\r\n$4\r\nPING\r\n",
    "no dollar": b"*1\r\nPING\r\n",
    "another sign instead of dollar": b"*1\r\n:4\r\nPING\r\n",
    "newline instead of dollar": b"*1\r\n\r\nPING\r\n",
    "unprintable instead of dollar": b"*1\r\n\x01\r\n",
    "bulk length is not a number": b"*1\r\n$abc\r\n",
    "bulk length is empty": b"*1\r\n$\r\n",
    "bulk length negative": b"*1\r\n$-1\r\n",
    "bulk length too large": b"*1\r\n$536870913\r\n",
    "bulk length overflows": b"*1\r\n$99999999999999999999\r\n",
    "bulk length with leading zero": b"*1\r\n$04\r\nPING\r\n",
    "bulk without its line end": b"*1\r\n$4\r\nPINGxxPING\r\n",
    "second bulk is bad": b"*2\r\n$4\r\nECHO\r\n$x\r\n",
    "good, then bad": b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n",
    "half a command": b"*2\r\n$4\r\nECHO\r\n$5\r\nhel",
    "only a star": b"*",
    "count without end": b"*1234567",
    "inline": b"PING\r\n",
    "inline with a bare newline": b"PING\n",
    "inline with spaces": b"   ECHO    hello   \r\n",
    "inline with tabs": b"ECHO\thello\r\n",
    "inline empty lines": b"\r\n\r\n\n\nPING\r\n",
    "inline with quotes": b'ECHO "a \\x41\\n\\"b"\r\n',
    "inline with single quotes": b"ECHO 'it\\'s'\r\n",
    "inline with unbalanced quotes": b'ECHO "abc\r\n',
    "inline with text behind a quote": b'ECHO "abc"d\r\nPING\r\n',
    "inline with a quote inside a word": b'ECHO ab"cd"\r\n',
    "inline with an empty string": b'ECHO ""\r\n',
    "inline unknown": b"HELP ME\r\n",
    "inline of another protocol": b"GET / HTTP/1.1\r\n",
    "inline POST": b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    "inline Host:": b"Host: x\r\nPING\r\n",
    "inline with a zero byte": b"ECHO a\x00b\r\nPING\r\n",
    "inline too long": BIG,
    "multibulk line too long": b"*" + b"1" * 70000,
    "bulk line too long": b"*1\r\n$" + b"1" * 70000,
    "binary": bytes(range(128, 256)) + b"\r\n",
    "a reply": b"+OK\r\n-ERR\r\n:1\r\n",
    "RESP3 types": b"%1\r\n$1\r\na\r\n",
    "mixed inline and multibulk": b"PING\r\n*1\r\n$4\r\nPING\r\nECHO x\r\n",
    "empty command name": b"*1\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n",
    "unknown command with line ends": b"*2\r\n$5\r\na\r\nb\n\r\n$3\r\nx\r\n\r\n",
    "crlf missing after count": b"*1$4\r\nPING\r\n",
    "only newlines as line ends": b"*1\n$4\nPING\n",
}


def same_bytes(pair, data: bytes, half_close: bool) -> tuple:
    """What came from both; asked again with more patience when it differs: one may only have been slower than the other."""
    for quiet in (0.12, 1.0, 5.0):
        got, expected = (all_bytes(server.port, data, half_close, quiet) for server in pair)
        if got == expected:
            break
    return got, expected


def all_bytes(port: int, data: bytes, half_close: bool, quiet: float = 0.12) -> tuple[bytes, bool]:
    with Connection(port) as connection:
        try:
            connection.send_bytes(data)
            if half_close:
                connection.socket.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        return connection.drain(quiet)


def differs_on_purpose(name: str) -> bool:
    if stock_under_test():
        return False
    with open(HERE / "allowed_differences.toml", "rb") as file:
        return name in [entry["name"] for entry in tomllib.load(file).get("malformed", [])]


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_request(pair, name):
    """The same bytes come back and the connection ends, or stays, as with stock; cutting the stream anywhere changes nothing of it."""
    data = MALFORMED[name]
    ours, stock = pair
    if differs_on_purpose(name):
        got, expected = same_bytes(pair, data, False)
        assert got != expected, "an entry that is not needed"
        return
    for half_close in (False, True):
        got, expected = same_bytes(pair, data, half_close)
        assert got == expected, f"{data[:80]!r}, half closed: {half_close}"
    if len(data) < 100:
        for quiet in (0.12, 1.0, 5.0):
            expected = all_bytes(stock.port, data, False, quiet)
            with Connection(ours.port) as connection:
                try:
                    for at in range(len(data)):
                        connection.send_bytes(data[at : at + 1])
                        time.sleep(0.0005)
                except ConnectionError:
                    pass
                got = connection.drain(quiet)
            if got[0] == expected[0]:
                break
        assert got[0] == expected[0], "fed byte by byte"


def test_random_bytes(pair):
    """Random protocol-like bytes: equal answers, and neither server minds."""
    chance = random.Random(SEED)
    pieces = [b"*1\r\n", b"*2\r\n", b"*3\r\n", b"$4\r\n", b"$3\r\n", b"$0\r\n", b"PING\r\n", b"GET\r\n", b"\r\n", b"\n", b"*", b"$", b"-1\r\n", b"SET\r\n", b"ECHO\r\n", b"abc\r\n", b"'", b'"', b" "]
    for round_number in range(60):
        data = b"".join(chance.choice(pieces) for _ in range(chance.randrange(1, 12)))
        got, expected = same_bytes(pair, data, True)
        assert got == expected, f"seed {SEED}, round {round_number}: {data!r}"


def test_oversized_bulk(pair):
    """`proto-max-bulk-len` is enforced before the bytes are read."""
    for server in pair:
        with server.connect() as connection:
            connection.call("CONFIG", "SET", "proto-max-bulk-len", "1mb")
    data = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n"
    answers = same_bytes(pair, data, False)
    for server in pair:
        with server.connect() as connection:
            connection.call("CONFIG", "SET", "proto-max-bulk-len", "512mb")
    assert answers[0] == answers[1]
    assert answers[0] == (b"-ERR Protocol error: invalid bulk length\r\n", True)


def test_limits_before_authentication(tmp_path):
    """An unauthenticated client may send neither long arrays nor long bulks."""
    servers = [
        Server(tmp_path / name, name=name, binary=binary, directives={"appendonly": "no", "requirepass": "secret"}).start()
        for name, binary in (("graven", None), ("stock", stock_binary()))
    ]
    try:
        for data in (b"*11\r\n", b"*10\r\n", b"*2\r\n$16385\r\n", b"*2\r\n$4\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n",
                     b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*1\r\n$4\r\nPING\r\n", b"QUIT\r\n", b"MULTI\r\nGET x\r\nEXEC\r\n", b"NOSUCH\r\n",
                     b"HELLO 2 AUTH default wrong\r\n", b"GET\r\n"):
            got, expected = same_bytes(servers, data, False)
            assert got == expected, data
    finally:
        for server in servers:
            server.end()


def scan_all(connection: Connection, *command) -> list:
    cursor, found, calls = b"0", [], 0
    while True:
        at = 1 if command[0] == "SCAN" else 2
        cursor, part = connection.call(*command[:at], cursor, *command[at:])
        found += part
        calls += 1
        assert calls < 10000
        if cursor == b"0":
            return found


def test_scans_see_everything(pair):
    """Cursors are each server's own business; what a full scan of an unchanging keyspace returns is not."""
    fresh(pair)
    for server in pair:
        with server.connect() as connection:
            connection.pipeline([("SET", f"key:{n}", n) for n in range(1500)])
            connection.pipeline([("RPUSH", f"list:{n}", n) for n in range(300)])
            connection.call("SADD", "set", *range(2000), "x")
            connection.call("HSET", "hash", *(word for n in range(1500) for word in (f"f{n}", n)))
            connection.call("ZADD", "zset", *(word for n in range(1500) for word in (n, f"m{n}")))
    results = []
    for server in pair:
        with server.connect() as connection:
            results.append(
                [
                    sorted(scan_all(connection, "SCAN")),
                    sorted(scan_all(connection, "SCAN", "COUNT", 7, "MATCH", "key:1*")),
                    sorted(scan_all(connection, "SCAN", "TYPE", "list", "COUNT", 100)),
                    sorted(scan_all(connection, "SSCAN", "set", "COUNT", 50)),
                    sorted(scan_all(connection, "HSCAN", "hash", "MATCH", "f1??", "COUNT", 50)),
                    sorted(scan_all(connection, "ZSCAN", "zset")),
                ]
            )
    assert [len(r) for r in results[0]] == [1803, 611, 300, 2001, 200, 3000]
    assert results[0] == results[1]


def test_command_table(pair):
    """Arity, flags and key positions of every command that both know."""
    tables = []
    for server in pair:
        with server.connect(timeout=30.0) as connection:
            entries = connection.call("COMMAND")
        tables.append({entry[0]: (entry[1], sorted(entry[2]), entry[3:6]) for entry in entries})
    ours, stock = tables
    missing = [name for name in commands.EXPECTED if name.encode() not in ours]
    assert not missing, f"not in COMMAND: {missing}"
    if not stock_under_test():
        with open(HERE / "allowed_differences.toml", "rb") as file:
            for entry in tomllib.load(file).get("command", []):
                name = entry["name"].encode()
                assert str(ours.get(name)) != str(stock.get(name)), f"not needed: the entry of command {entry['name']}"
                ours.pop(name, None)
                stock.pop(name, None)
    wrong = [f"{name.decode()}: stock {stock[name]}, graven {ours[name]}" for name in sorted(ours.keys() & stock.keys()) if ours[name] != stock[name]]
    assert not wrong, "\n".join(wrong)
