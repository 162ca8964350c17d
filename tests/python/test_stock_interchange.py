"""No lock-in: stock redis-server takes graven's data directory and holds exactly the same, and the other way round.

Compared key by key: type, value, deadline. Stock works on a copy of the directory, or on the directory itself when it is to be
taken back afterwards.
"""

from __future__ import annotations

import os
import random
import shutil

import pytest

from support import commands
from support.dump import differences, dump_all
from support.resp import encode
from support.server import wait_until
from support.workload import Load

SEED = int(os.environ.get("GRAVEN_TEST_SEED", "20240607"))
STOCK = {"aof-load-truncated": "yes"}


GROUP_COMMANDS = ("XREADGROUP", "XCLAIM", "XAUTOCLAIM")


def to_known_consumers(command: tuple, key: str) -> tuple:
    """The command for a group whose consumers are there: stock does not log one that comes to be and gets nothing."""
    if command[0] == "XREADGROUP":
        return (*command[:2], "g0", *command[3:-2], key, ">")
    return (command[0], key, "g0", *command[3:])


def fill(server, seed, steps: int = 3000, dbs=(0, 2, 5, 15)) -> None:
    """All types and encodings, deadlines, transactions and scripts, over several databases."""
    chance = random.Random(f"{SEED}-{seed}")
    families = [commands.strings, commands.lists, commands.hashes, commands.sets, commands.zsets, commands.stream_writes]
    with server.connect(timeout=30.0) as connection:
        for at in range(0, steps, 100):
            batch = [("SELECT", chance.choice(dbs))]
            for key in ("e0", "e1"):
                batch += [("XGROUP", "CREATE", key, "g0", 0, "MKSTREAM"), *(("XGROUP", "CREATECONSUMER", key, "g0", f"c{n}") for n in range(3))]
            for _ in range(100):
                roll = chance.random()
                if roll < 0.9:
                    command = chance.choice(families)(chance)
                    if command[0] in GROUP_COMMANDS:
                        command = to_known_consumers(command, chance.choice(["e0", "e1"]))
                    if command[0] != "BLPOP" and command not in (("DEL", "e0"), ("DEL", "e1")):
                        batch.append(command)
                elif roll < 0.94:
                    batch += [("MULTI",), ("SET", "txn", at), ("RPUSH", "txns", at), ("EXEC",)]
                elif roll < 0.96:
                    batch.append(("PEXPIREAT", chance.choice("slhtz") + str(chance.randrange(4)), 4102444800000 + chance.randrange(10**6)))
                elif roll < 0.98:
                    batch.append(("EVAL", "redis.call('SADD', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], redis.call('TIME')[1])", 2, "scripted", "when", at))
                else:
                    batch.append(("SET", f"big{chance.randrange(5)}", os.urandom(8).hex() * chance.randrange(1, 4000)))
            connection.pipeline(batch)
        connection.pipeline(
            [
                ("SELECT", 3),
                ("SET", "binary\x00\r\n", bytes(range(256))),
                ("SPOP", "t0"),
                ("SADD", "chance", *range(50)),
                ("SPOP", "chance", 20),
                ("HSET", "wide", *(w for n in range(2000) for w in (f"f{n}", n))),
                ("ZADD", "ranks", *(w for n in range(2000) for w in (n / 8, f"m{n}"))),
                ("RPUSH", "long", *range(3000)),
                ("SADD", "ints", *range(700)),
                ("SADD", "words", *(f"w{n}" for n in range(700))),
                ("SET", "expires", "v", "PX", 90000000),
                ("GETEX", "expires", "EX", 80000),
                ("INCRBYFLOAT", "float", "0.1"),
                ("INCRBYFLOAT", "float", "0.2"),
                ("HINCRBYFLOAT", "wide", "float", "0.1"),
                ("ZADD", "infinite", "inf", "a", "-inf", "b", "0.1", "c", "3.0000000000000004", "d"),
                *(("XADD", "stream", "MAXLEN", "~", 250, "*", "n", n, *(("other", "x" * n) if n % 50 == 0 else ())) for n in range(400)),
                ("XGROUP", "CREATE", "stream", "readers", 0),
                ("XREADGROUP", "GROUP", "readers", "alice", "COUNT", 20, "STREAMS", "stream", ">"),
                ("XREADGROUP", "GROUP", "readers", "bob", "COUNT", 5, "NOACK", "STREAMS", "stream", ">"),
                ("XREADGROUP", "GROUP", "readers", "bob", "COUNT", 5, "STREAMS", "stream", ">"),
                ("XAUTOCLAIM", "stream", "readers", "carol", 0, 0, "COUNT", 7),
                ("XGROUP", "DELCONSUMER", "stream", "readers", "bob"),
                ("XADD", "emptied", "7-7", "f", "v"),
                ("XDEL", "emptied", "7-7"),
                ("XGROUP", "CREATE", "emptied", "g", "$", "ENTRIESREAD", 1),
                ("RPUSH", "source", 1, 2, 3),
                ("LMOVE", "source", "target", "LEFT", "RIGHT"),
                ("BLMPOP", 0, 1, "source", "LEFT"),
                ("COPY", "wide", "wide2", "DB", 4),
                ("RENAME", "wide2", "wide3"),
            ]
        )


def copy_of(server, tmp_path, name: str):
    target = tmp_path / name
    shutil.copytree(server.directory, target)
    return target


def as_stock_keeps(held: dict) -> dict:
    """Streams as far as the log of stock 7.0 can tell of them: not how much a group has read, and where stock rewrites its log as
    commands, not what is pending of entries that are deleted, nor consumers that hold nothing else: 7.0 makes a consumer in XCLAIM only
    for an entry that is there."""

    def kept(facts: dict, ids: set) -> dict:
        facts = {name: value for name, value in facts.items() if name not in (b"entries-read", b"lag", b"pel-count")}
        if b"pending" in facts:
            facts[b"pending"] = [pending for pending in facts[b"pending"] if pending[0] in ids]
        for inner in (b"groups", b"consumers"):
            if inner in facts:
                facts[inner] = [kept(one, ids) for one in facts[inner]]
        if b"consumers" in facts:
            facts[b"consumers"] = [one for one in facts[b"consumers"] if one[b"pending"]]
        return facts

    def entry(kind, value, deadline):
        if kind == b"stream":
            value = kept(value, {one[0] for one in value[b"entries"]})
        return kind, value, deadline

    return {key: entry(*what) for key, what in held.items()}


def same(left: dict, right: dict, what: str, by_stock: bool = False) -> None:
    """`by_stock`: stock wrote part of it."""
    if by_stock:
        left, right = as_stock_keeps(left), as_stock_keeps(right)
    wrong = differences(left, right)
    assert not wrong, f"{what} (GRAVEN_TEST_SEED={SEED}):\n" + "\n".join(wrong)
    assert left, "nothing was compared"


@pytest.mark.parametrize("end", ["clean stop", "kill -9"])
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_stock_holds_the_same(make_server, make_stock, tmp_path, end, appendfsync):
    ours = make_server(directives={"appendfsync": appendfsync}).start()
    fill(ours, end)
    held = dump_all(ours.port)
    if end == "clean stop":
        assert ours.stop() == 0
    else:
        ours.kill9()
    stock = make_stock(directory=copy_of(ours, tmp_path, "copy"), directives=STOCK).start()
    same(held, dump_all(stock.port), f"stock after {end}")
    ours.start()
    same(held, dump_all(ours.port), f"graven itself after {end}")


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("end", ["clean stop", "kill -9"])
def test_graven_holds_the_same(make_server, make_stock, tmp_path, end, preamble):
    """Stock's directory with a base (RDB or commands) and an increment, every encoding of the five types in the base."""
    stock = make_stock(directives={"aof-use-rdb-preamble": preamble, "auto-aof-rewrite-percentage": 0}).start()
    fill(stock, f"stock {end} {preamble}", steps=2000)
    rewrite(stock)
    fill(stock, f"stock {end} {preamble} more", steps=1000)
    held = dump_all(stock.port)
    if end == "clean stop":
        assert stock.stop() == 0
    else:
        stock.kill9()
    ours = make_server(directory=copy_of(stock, tmp_path, "copy")).start()
    same(held, dump_all(ours.port), "graven on stock's directory", by_stock=True)
    fill(ours, "on top", steps=300)
    held = dump_all(ours.port)
    ours.kill9()
    ours.start()
    same(held, dump_all(ours.port), "graven after its own crash on stock's base", by_stock=True)
    ours.stop()
    back = make_stock("stock-again", directory=ours.directory, directives=STOCK).start()
    same(held, dump_all(back.port), "stock on graven's log behind stock's base", by_stock=True)


def rewrite(stock) -> None:
    with stock.connect() as connection:
        connection.call("BGREWRITEAOF")
        wait_until(
            lambda: b"aof_rewrite_in_progress:0" in (info := connection.call("INFO", "persistence")) and b"aof_rewrite_scheduled:0" in info,
            30,
            "stock has rewritten its AOF",
        )


def test_graven_loads_a_single_file_of_redis_6(make_server, make_stock, tmp_path):
    """Before version 7 the AOF was one file beside dump.rdb: with an RDB preamble, or commands alone."""
    for preamble in ("yes", "no"):
        stock = make_stock(directives={"aof-use-rdb-preamble": preamble, "auto-aof-rewrite-percentage": 0}).start()
        fill(stock, f"single {preamble}", steps=600)
        rewrite(stock)
        fill(stock, f"single {preamble} more", steps=300)
        held = dump_all(stock.port)
        stock.stop()
        single = tmp_path / f"single-{preamble}"
        single.mkdir()
        files = sorted((stock.directory / "appendonlydir").glob("*.aof*"), key=lambda path: (".base." not in path.name, path.name))
        files = [path for path in files if not path.name.endswith(".manifest")]
        (single / "appendonly.aof").write_bytes(b"".join(path.read_bytes() for path in files))
        ours = make_server(f"graven-{preamble}", directory=single).start()
        same(held, dump_all(ours.port), f"a single file, aof-use-rdb-preamble {preamble}", by_stock=True)
        ours.kill9()
        ours.start()
        same(held, dump_all(ours.port), "the same after a crash", by_stock=True)
        ours.end()


@pytest.mark.parametrize("end", ["clean stop", "kill -9"])
def test_stock_writes_on_and_graven_takes_it_back(make_server, make_stock, end):
    """Both ways twice on one directory: what either wrote is there for the other."""
    ours = make_server().start()
    directory = ours.directory
    stock = make_stock(directory=directory, directives={**STOCK, "auto-aof-rewrite-percentage": 0})
    for visit in range(2):
        fill(ours, f"ours {visit}", steps=600)
        held = dump_all(ours.port)
        ours.stop() if end == "clean stop" else ours.kill9()
        stock.start()
        same(held, dump_all(stock.port), f"visit {visit}: stock", by_stock=True)
        fill(stock, f"stock {visit}", steps=600)
        held = dump_all(stock.port)
        stock.stop() if end == "clean stop" else stock.kill9()
        ours.start()
        same(held, dump_all(ours.port), f"visit {visit}: graven back", by_stock=True)


def test_stock_rewrites_and_graven_takes_it_back(make_server, make_stock):
    """Stock's rewrite drops every annotation and every file of ours; graven starts on what is left."""
    ours = make_server().start()
    fill(ours, "before the rewrite")
    ours.stop()
    stock = make_stock(directory=ours.directory, directives={**STOCK, "auto-aof-rewrite-percentage": 0}).start()
    rewrite(stock)
    fill(stock, "after the rewrite", steps=300)
    held = dump_all(stock.port)
    stock.stop()
    ours.start()
    same(held, dump_all(ours.port), "graven after stock's rewrite", by_stock=True)


def last_segment(server):
    """The file that the manifest names last."""
    directory = server.directory / "appendonlydir"
    manifest = (directory / "appendonly.aof.manifest").read_text()
    names = [line.split()[1] for line in manifest.splitlines() if line.startswith("file ") and line.split()[5] == "i"]
    return directory / names[-1]


@pytest.mark.parametrize("round_number", range(6))
def test_stock_visits_after_a_torn_frame(make_server, make_stock, tmp_path, round_number):
    """The last segment is cut at an arbitrary byte, as a crash inside a write leaves it; stock goes first, writes on, graven takes it back.

    Stock keeps every whole command of the torn frame, so its state is what must come back.
    """
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-torn-{round_number}")
    ours = make_server(directives={"appendfsync": "everysec"}).start()
    load = Load(3, chance.randrange(1 << 32), depth=30)
    load.start(ours.port)
    load.run_for(0.4)
    ours.kill9()
    load.stop()
    segment = last_segment(ours)
    data = segment.read_bytes()
    cut = len(data) - chance.randrange(1, min(len(data) // 2, 4000))
    # Between two frames nothing would be torn.
    os.truncate(segment, cut + 1 if data[cut : cut + 4] == b"#F1 " else cut)

    torn = copy_of(ours, tmp_path, "torn")
    alone = make_server("graven-alone", directory=torn, directives={"appendfsync": "everysec"}).start()
    load.judge(alone.port, whole=False)
    assert "torn" in alone.log_since_start().lower() or "trunc" in alone.log_since_start().lower() or "cut" in alone.log_since_start().lower()
    alone.end()

    stock = make_stock(directory=ours.directory, directives=STOCK).start()
    with stock.connect() as connection:
        connection.pipeline([("SET", "by-stock", "1"), ("RPUSH", "stock-list", 1, 2, 3), ("SELECT", 4), ("SET", "by-stock", "4")])
    held = dump_all(stock.port)
    stock.stop() if chance.random() < 0.5 else stock.kill9()
    ours.start()
    same(held, dump_all(ours.port), "graven after stock's visit to a torn log")
    with ours.connect() as connection:
        connection.call("SET", "after", "1")
    held = dump_all(ours.port)
    ours.kill9()
    ours.start()
    same(held, dump_all(ours.port), "and after another crash")


@pytest.mark.parametrize("end", ["clean stop", "kill -9"])
@pytest.mark.parametrize("place", ["in a command", "behind a command", "in EXEC", "in a header"])
def test_stock_visits_twice_and_nothing_is_rewritten_between(make_server, make_stock, tmp_path, place, end):
    """A transaction of ours is torn; stock goes first, twice if it can, and rewrites nothing. It leaves our MULTI open: at its second start it
    refuses, or the half transaction comes to life there, closed by an EXEC of its own. What its clients were told is there, here and at
    stock again, before and after the rewrite that follows; the half transaction never is."""
    ours = make_server(directives={"appendfsync": "always"}).start()
    with ours.connect() as connection:
        connection.pipeline([("SET", f"k{n}", n) for n in range(20)])
        transaction = [("SET", f"t{n}", "v" * 50) for n in range(20)]
        assert connection.pipeline([("MULTI",), *transaction, ("EXEC",)])[-1] == [b"OK"] * 20
    ours.kill9()
    segment = last_segment(ours)
    data = segment.read_bytes()
    begins = data.rindex(b"#F1 ", 0, data.rindex(encode("MULTI")))
    cut = {
        "in a command": data.index(b"v" * 50, begins) + 20,
        "behind a command": data.index(encode("SET", "t9", "v" * 50), begins),
        "in EXEC": data.index(encode("EXEC"), begins) + 8,
        "in a header": begins + 40,
    }[place]
    os.truncate(segment, cut)
    stock = make_stock(directory=ours.directory, directives={**STOCK, "auto-aof-rewrite-percentage": 0})
    told = {}
    for visit in range(2):
        try:
            stock.start()
        except AssertionError:
            assert visit == 1 and place in ("in EXEC", "in a header"), "it refuses what it has written itself"
            break
        with stock.connect() as connection:
            connection.pipeline([("SET", f"visit{visit}", 1), ("SELECT", 4), ("RPUSH", "visits", visit), ("MULTI",), ("INCR", "n"), ("INCR", "n"), ("EXEC",)])
        told = dump_all(stock.port)
        stock.stop() if end == "clean stop" else stock.kill9()
    expected = {key: value for key, value in told.items() if not key[1].startswith(b"t")}
    assert len(expected) == len(told) or visit == 1, "one visit shows nothing of it"
    ours.start()
    assert not differences(expected, dump_all(ours.port))

    def rewritten():
        with ours.connect() as connection:
            return int(connection.info("persistence")["aof_rewrites"]) > 0

    wait_until(rewritten, 60, "a compaction follows the visit")
    with ours.connect() as connection:
        assert connection.call("SET", "behind", 1) == b"OK"
    held = dump_all(ours.port)
    ours.kill9()
    for server in (make_stock("later", directory=copy_of(ours, tmp_path, "later"), directives=STOCK), ours):
        server.start()
        same(held, dump_all(server.port), "after the rewrite")
