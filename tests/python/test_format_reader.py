"""The reader in format-spec/, written from the documents alone, on directories of real servers: what it finds is what they hold."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.dump import dump_all
from support.server import ROOT, graven_binary, wait_until
from test_stock_interchange import fill, same

sys.path.insert(0, str(ROOT / "format-spec"))

from reader import Refused, directory, log, rdb  # noqa: E402

pytestmark = pytest.mark.graven_only


def batches(commands):
    """The commands as pipelines, with the database that each needs."""
    batch, selected = [], None
    for command in commands:
        if command.db != selected and command.words[0].lower() != b"select":
            batch.append(("SELECT", command.db))
        selected = command.db
        batch.append(tuple(command.words))
        if len(batch) > 500 and command.words[0].lower() not in (b"multi",):
            yield batch
            batch = []
    yield batch


def replayed(make_server, commands) -> dict:
    """What a fresh server holds behind the commands."""
    other = make_server(directives={"appendonly": "no"}).start()
    with other.connect(timeout=60) as connection:
        for batch in batches(commands):
            connection.pipeline(batch)
    return dump_all(other.port)


def as_dumped(keys: list[rdb.Key]) -> dict:
    """Keys of a file in the form of `dump_all`; streams by their entries."""

    def value(kind: str, held):
        if kind == "set":
            return sorted(held)
        if kind == "hash":
            return sorted(held.items())
        if kind == "zset":
            return sorted(held.items(), key=lambda pair: (pair[1], pair[0]))
        return entries(held["entries"]) if kind == "stream" else held

    return {(key.db, key.name): (key.kind.encode(), value(key.kind, key.value), -1 if key.expiry is None else key.expiry) for key in keys}


def entries(held) -> list:
    return [[b"%d-%d" % number, [word for pair in fields for word in pair]] for number, fields in held]


def streams_by_entries(held: dict) -> dict:
    return {key: (kind, value[b"entries"] if kind == b"stream" else value, at) for key, (kind, value, at) in held.items()}


def check(path: Path) -> dict:
    done = subprocess.run([graven_binary(), "check", "--json", str(path)], capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout)


def test_commands_of_several_lives_rebuild_what_the_server_holds(make_server):
    server = make_server(directives={"aof-segment-size": "1mb", "auto-aof-rewrite-percentage": 0}).start()
    for life in range(3):
        fill(server, f"reader-{life}", steps=1000)
        server.kill9()
        found = directory.read(server.directory)
        server.start()
    held = dump_all(server.port)
    assert found.torn is None and len(found.segments) > 3
    lsn = 1
    for command in found.commands:
        assert command.lsn >= lsn, "in order"
        lsn = command.lsn
    same(replayed(make_server, found.commands), held, "the commands in the log")
    server.stop()
    closed = directory.read(server.directory)
    assert closed.manifest.state == "closed" and closed.segments[-1].sealed and closed.durable() <= closed.end
    assert [command.words for command in closed.commands if command.words[0] != b"select"] == [
        command.words for command in found.commands if command.words[0] != b"select"
    ]


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_a_base_holds_what_the_server_held(make_server, preamble):
    server = make_server(directives={"aof-use-rdb-preamble": preamble}).start()
    fill(server, f"base-{preamble}", steps=1000)
    held = dump_all(server.port)
    with server.connect() as connection:
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 60, "the rewrite is done")
        connection.call("SELECT", 3)
        connection.call("SET", "behind", "it")
    server.stop()
    found = directory.read(server.directory)
    first = found.segments[0].header
    if preamble == "yes":
        assert found.base.indexed and found.base.position.lsn == first.first
        assert as_dumped(found.base.keys) == streams_by_entries(held)
    else:
        same(replayed(make_server, found.base_commands), held, "the commands of the base")
    assert [(command.db, command.words[1:]) for command in found.commands if command.words[0] == b"SET"] == [(3, [b"behind", b"it"])]


def test_the_reader_refuses_damage_in_a_base_of_commands(make_server, make_stock, tmp_path):
    server = make_server(directives={"aof-use-rdb-preamble": "no", "auto-aof-rewrite-percentage": 0}).start()
    fill(server, "sums", steps=600)
    with server.connect() as connection:
        connection.pipeline(("SET", f"long{n}", "x" * 40_000) for n in range(80))
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 60, "the rewrite is done")
    held = dump_all(server.port)
    server.stop()
    (base,) = (server.directory / "appendonlydir").glob("*.base.aof")
    content = base.read_bytes()
    assert content.count(b"#GRAVEN-SUM 1 ") >= 3 and directory.verified(base, content) == len(content)
    chance = random.Random("sums")
    places = [chance.randrange(len(content)) for _ in range(12)] + [len(content) // 2, len(content) - 3, 20]
    listed = server.directory / "appendonlydir" / "appendonly.aof.manifest"
    for at in places:
        copy = tmp_path / f"at-{at}"
        shutil.copytree(server.directory, copy)
        damaged = bytearray(content)
        damaged[at] ^= 1 << chance.randrange(8)
        (copy / "appendonlydir" / base.name).write_bytes(damaged)
        # As after a visit by stock: its rewritten manifest says nothing of the file.
        bare = [line for line in listed.read_text().splitlines(keepends=True) if not line.startswith("#")]
        (copy / "appendonlydir" / listed.name).write_text("".join(bare))
        verdict = check(copy)
        assert not verdict["start"]["would_start"], at
        found = next(file["damage"] for file in verdict["files"] if file["file"].endswith(base.name))
        assert found["offset"] <= at, (at, found)
        with pytest.raises(Refused):
            directory.read(copy)
        shutil.rmtree(copy)
    checked = subprocess.run(["redis-check-aof", str(listed)], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout
    stock = make_stock(directory=server.directory).start()
    same(dump_all(stock.port), held, "stock on a base with checksum lines")


def test_streams_with_their_groups_stand_in_a_dump(make_server):
    server = make_server(directives={"appendonly": "no"}).start()
    with server.connect() as connection:
        connection.pipeline(("XADD", "s", f"{n}-1", "n", n, *(("more", n) if n % 7 == 0 else ())) for n in range(1, 400))
        connection.call("XDEL", "s", "5-1", "300-1")
        connection.call("XGROUP", "CREATE", "s", "g", "7-1")
        connection.call("XREADGROUP", "GROUP", "g", "alice", "COUNT", 3, "STREAMS", "s", ">")
        connection.call("SAVE")
        held = connection.call("XRANGE", "s", "-", "+")
    found = rdb.read(server.directory / "dump.rdb", (server.directory / "dump.rdb").read_bytes())
    (key,) = found.keys
    assert entries(key.value["entries"]) == held and (key.value["last"], key.value["added"]) == ((399, 1), 399)
    group = key.value["groups"][b"g"]
    assert group["last"] == (10, 1) and list(group["consumers"][b"alice"]["pending"]) == [(8, 1), (9, 1), (10, 1)]
    assert found.indexed and found.position.lsn > 400


def test_damage_below_the_mark_is_refused_and_a_torn_tail_is_cut_where_a_start_cuts_it(make_server, tmp_path):
    server = make_server(directives={"auto-aof-rewrite-percentage": 0}).start()
    with server.connect() as connection:
        for n in range(60):
            connection.call("SET", f"k{n}", "v" * (n * 7 % 90))
    server.kill9()
    segment = max((server.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    content = segment.read_bytes()
    whole = log.read_segment(segment, content)
    chance = random.Random("damage")
    refused = torn = 0
    for number in range(60):
        copy = tmp_path / f"damaged-{number}"
        shutil.copytree(server.directory, copy)
        damaged = bytearray(content)
        kind = number % 3
        at = chance.randrange(len(content)) if kind else whole.frames[-1].offset + chance.randrange(1, 99)
        if kind == 1:
            damaged[at] ^= 1 << chance.randrange(8)
        else:
            del damaged[at:]
        place = copy / "appendonlydir" / segment.name
        place.write_bytes(damaged)
        verdict = check(copy)
        try:
            found = directory.read(copy)
        except Refused as error:
            assert error.path == place and not verdict["start"]["would_start"], (number, error)
            refused += 1
            continue
        assert verdict["start"]["would_start"], (number, verdict)
        kept = [frame for frame in whole.frames if frame.offset + log.FRAME + frame.length <= at]
        assert [frame.lsn for frame in found.segments[-1].frames] == [frame.lsn for frame in kept]
        if found.torn:
            cut = next(file["damage"] for file in verdict["files"] if file["file"] == str(place))
            assert found.torn[0] == cut["offset"], (number, cut)
            torn += 1
        shutil.rmtree(copy)
    assert refused >= 15 and torn >= 15


def test_a_visit_by_stock_is_seen_and_its_commands_count(make_server, make_stock):
    server = make_server().start()
    with server.connect() as connection:
        connection.call("SET", "a", 1)
        connection.call("MULTI")
        connection.call("INCR", "a")
        connection.call("INCR", "a")
        connection.call("EXEC")
    server.kill9()
    stock = make_stock(directory=server.directory, directives={"aof-load-truncated": "yes"}).start()
    with stock.connect() as connection:
        connection.call("INCRBY", "a", 10)
        connection.call("SELECT", 2)
        connection.call("RPUSH", "l", 1, 2)
        held = dump_all(stock.port)
    stock.stop()
    found = directory.read(server.directory)
    assert found.stock_was_here
    assert replayed(make_server, found.commands) == held
    for name in ("manifest", "incr.aof"):
        assert list((server.directory / "appendonlydir").glob(f"*{name}"))


def test_what_must_be_refused_is(make_server, tmp_path):
    server = make_server(directives={"aof-segment-size": "1mb"}).start()
    with server.connect() as connection:
        for n in range(30):
            connection.call("SET", "k", "v" * 100000)
    server.stop()

    def spoiled(name, spoil) -> str:
        copy = tmp_path / name
        shutil.copytree(server.directory, copy)
        spoil(copy / "appendonlydir")
        assert not check(copy)["start"]["would_start"]
        with pytest.raises(Refused) as raised:
            directory.read(copy)
        return str(raised.value)

    def first(home: Path) -> Path:
        return min(home.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def last(home: Path) -> Path:
        return max(home.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def manifest(home: Path) -> Path:
        return home / "appendonly.aof.manifest"

    assert "missing" in spoiled("lost", lambda home: first(home).unlink())
    assert "without a manifest" in spoiled("unnamed", lambda home: manifest(home).unlink())
    assert "checksum" in spoiled("flipped", lambda home: manifest(home).write_bytes(manifest(home).read_bytes().replace(b"seq 1 ", b"seq 2 ")))
    assert "ends inside a line" in spoiled("cut", lambda home: manifest(home).write_bytes(manifest(home).read_bytes()[:-1]))
    assert "durable" in spoiled("short", lambda home: last(home).write_bytes(last(home).read_bytes()[:-51]))
    assert "header" in spoiled("emptied", lambda home: first(home).write_bytes(b""))
    assert "next segment" in spoiled("middle", lambda home: first(home).write_bytes(first(home).read_bytes()[:-500000]))


@pytest.mark.parametrize("document", ["log.md", "snapshot.md", "manifest.md", "archive.md"])
def test_the_documents_own_bytes_are_read(tmp_path, document):
    text = (ROOT / "format-spec" / document).read_text()
    block = text.split("```hex\n")[1].split("```")[0]
    content = b"".join(bytes.fromhex(line[10:57].replace(" ", "")) for line in block.splitlines())
    path = tmp_path / "shown"
    path.write_bytes(content)
    if document == "manifest.md":
        from reader import manifest

        read = manifest.read(path)
        assert (read.state, read.closed_at, [one.seq for one in read.files()]) == ("closed", (0x77, 0x83904727, 0x19C), [1, 2])
        return
    if document == "archive.md":
        from reader import archive

        found = archive.unpack(path, content)
        assert found.content.count(b"$3\r\nset\r\n") == 3 and (found.number, found.original) == (4, "appendonly.aof.3.incr.aof")
        shown = text.split("```text\n")[1].split("```")[0].encode()
        (named,) = archive.decode(path, shown).entries
        assert (named.crc, named.raw, named.packed, named.name) == (found.crc, 81, len(content), "4.appendonly.aof.3.incr.aof.zst")
        for at in range(0, len(content), 3):
            damaged = bytearray(content)
            damaged[at] ^= 4
            try:
                assert archive.unpack(path, bytes(damaged)).content == found.content
            except Refused:
                pass
        return
    shown = subprocess.run([sys.executable, "-m", "reader", str(path)], cwd=ROOT / "format-spec", capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    told = ["lpush l 1 2 3", "LSN 1 to 92", "sealed"] if document == "log.md" else ["[0] greeting", "until 1700000000000", "with an index, at LSN 42"]
    assert all(one in shown.stdout for one in told), shown.stdout
