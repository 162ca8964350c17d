"""`graven repair` on damaged directories: the plan changes nothing, what it makes starts in graven and in stock."""

import json
import re
import subprocess

import pytest

from support.dump import differences, dump_all
from support.server import graven_binary, wait_until

pytestmark = pytest.mark.graven_only


def repair(path, *options, code=0):
    done = subprocess.run([graven_binary(), "repair", "--json", *map(str, options), str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def content(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "graven.lock"}


def segments(directory):
    return sorted((directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(re.search(r"\.(\d+)\.", path.name)[1]))


def fill(server, count=300):
    with server.connect() as connection:
        for number in range(count):
            connection.call("SET", f"k:{number}", "v" * 50)
        connection.call("INCR", "counter")
        connection.call("SELECT", "3")
        connection.call("SET", "other", "db")


@pytest.fixture
def damaged(make_server):
    """A directory with one frame gone bad, that of k:100."""
    server = make_server(directives={"appendfsync": "always"}).start()
    fill(server)
    server.stop()
    segment = segments(server.directory)[-1]
    bytes_ = bytearray(segment.read_bytes())
    bytes_[bytes_.index(b"k:100\r\n")] ^= 1
    segment.write_bytes(bytes_)
    return server


def keys(server):
    with server.connect() as connection:
        return {key.decode() for key in connection.call("KEYS", "*")}


def both_start(make_server, make_stock, directory, tmp_path):
    import shutil

    shutil.copytree(directory, tmp_path / "for-stock")
    ours = make_server(directory=directory).start()
    stock = make_stock(directory=tmp_path / "for-stock", directives={"appendonly": "yes"}).start()
    assert not differences(dump_all(ours.port), dump_all(stock.port))
    return ours


def test_a_damaged_frame_is_named_and_the_rest_is_saved(damaged, make_server, make_stock, tmp_path):
    before = content(damaged.directory)
    plan = repair(damaged.directory, code=1)
    assert content(damaged.directory) == before and not plan["applied"]
    (loss,) = plan["losses"]
    # The key as it can still be read is not the one that was written.
    assert loss["commands"] >= 1 and loss["before"][:2] == ["SET", "k:99"] and loss["after"][:2] == ["SET", "k:101"]
    assert loss["to_lsn"] > loss["lsn"] and loss["crossed"]
    made = repair(damaged.directory, "--apply", "--into", tmp_path / "new")
    assert content(damaged.directory) == before and made["loads"]["commands"] >= 300
    ours = both_start(make_server, make_stock, tmp_path / "new", tmp_path)
    assert keys(ours) == {f"k:{number}" for number in range(300) if number != 100} | {"counter"}
    with ours.connect() as connection:
        connection.call("SELECT", "3")
        assert connection.call("GET", "other") == b"db"


def test_in_place_every_replaced_file_is_kept(damaged, make_server, make_stock, tmp_path):
    before = content(damaged.directory)
    made = repair(damaged.directory, "--apply")
    after = content(damaged.directory)
    assert all(bytes_ in after.values() for bytes_ in before.values())
    assert made["kept"] and all(re.search(r"before-repair-", path) for path in made["kept"])
    assert repair(damaged.directory)["needed"] is False
    ours = both_start(make_server, make_stock, damaged.directory, tmp_path)
    assert len(keys(ours)) == 300
    ours.stop()
    ours.start()
    assert len(keys(ours)) == 300


def test_the_log_ends_at_the_gap_where_that_is_wanted(damaged, make_server, tmp_path):
    plan = repair(damaged.directory, "--stop-at-gap", code=1)
    assert plan["unused"][0]["commands"] >= 200
    repair(damaged.directory, "--apply", "--stop-at-gap", "--into", tmp_path / "new")
    assert keys(make_server(directory=tmp_path / "new").start()) == {f"k:{number}" for number in range(100)}


def test_a_lost_manifest_is_made_from_the_files(make_server, make_stock, tmp_path):
    server = make_server(directives={"appendfsync": "always", "aof-segment-size": "1mb"}).start()
    with server.connect() as connection:
        for number in range(30):
            connection.call("SET", f"k:{number}", "v" * 100_000)
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 60, "the rewrite is done")
        connection.call("SET", "last", "one")
    server.stop()
    (server.directory / "appendonlydir" / "appendonly.aof.manifest").unlink()
    plan = repair(server.directory, code=3)
    assert not plan["losses"] and "manifest is missing" in plan["notes"][0]
    repair(server.directory, "--apply")
    ours = both_start(make_server, make_stock, server.directory, tmp_path)
    assert keys(ours) == {f"k:{number}" for number in range(30)} | {"last"}


def test_a_missing_segment_ends_the_log_unless_it_is_gone_over(make_server, tmp_path):
    server = make_server(directives={"appendfsync": "always", "aof-segment-size": "1mb", "auto-aof-rewrite-percentage": "0"}).start()
    with server.connect() as connection:
        for number in range(40):
            connection.call("SET", f"k:{number}", "v" * 100_000)
    server.stop()
    files = segments(server.directory)
    assert len(files) >= 4
    files[1].unlink()
    plan = repair(server.directory, code=1)
    assert any("is missing" in loss["reason"] and not loss["crossed"] for loss in plan["losses"])
    assert sum(left["commands"] for left in plan["unused"]) > 0
    repair(server.directory, "--apply", "--into", tmp_path / "short")
    short = keys(make_server(directory=tmp_path / "short").start())
    repair(server.directory, "--apply", "--across-gaps", "--into", tmp_path / "long")
    long = keys(make_server(directory=tmp_path / "long").start())
    assert short == {f"k:{number}" for number in range(len(short))} and short < long and "k:39" in long


def test_the_blocks_of_a_dump_that_are_whole_are_saved(make_server, make_stock, tmp_path):
    server = make_server(directives={"appendonly": "no"}).start()
    with server.connect() as connection:
        for number in range(3000):
            connection.call("SET", f"k:{number}", f"{number}:" + "v" * 1000)
        connection.call("CONFIG", "SET", "rdbcompression", "no")
        connection.call("SAVE")
    server.kill9()
    dump = server.directory / "dump.rdb"
    bytes_ = bytearray(dump.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    dump.write_bytes(bytes_)
    plan = repair(server.directory, code=1)
    (loss,) = plan["losses"]
    assert 0 < loss["keys"] < 2000 and len(loss["names"]) == min(loss["keys"], 1000)
    repair(server.directory, "--apply")
    ours = make_server(directory=server.directory, directives={"appendonly": "no"}).start()
    found = keys(ours)
    assert len(found) == 3000 - loss["keys"] and not found & {name["key"] for name in loss["names"]}
    ours.kill9()
    stock = make_stock(directory=server.directory, directives={"appendonly": "no"}).start()
    with stock.connect() as connection:
        assert connection.call("DBSIZE") == len(found)


def test_files_of_a_stock_server(make_stock, make_server, tmp_path):
    stock = make_stock(directives={"appendonly": "yes"}).start()
    fill(stock, 50)
    with stock.connect() as connection:
        connection.call("SAVE")
    stock.stop()
    segment = segments(stock.directory)[-1]
    bytes_ = bytearray(segment.read_bytes())
    at = bytes_.index(b"k:20\r\n")
    bytes_[at - 4 : at] = b"xxxx"
    segment.write_bytes(bytes_)
    plan = repair(stock.directory, code=1)
    assert not plan["losses"][0]["crossed"] and plan["unused"][0]["commands"] >= 29
    repair(stock.directory, "--apply", "--across-gaps", "--into", tmp_path / "new")
    found = keys(make_server(directory=tmp_path / "new").start())
    assert {"k:19", "k:21", "k:49"} <= found and "k:20" not in found
    dump = stock.directory / "dump.rdb"
    bytes_ = bytearray(dump.read_bytes())
    bytes_[-1] ^= 1
    (tmp_path / "dump.rdb").write_bytes(bytes_)
    plan = repair(tmp_path / "dump.rdb", code=1)
    assert "checksum" in plan["losses"][0]["reason"] and plan["saved"]["keys"] == 52
    repair(tmp_path / "dump.rdb", "--apply", "--into", tmp_path / "dumped")
    again = make_stock(directory=tmp_path / "dumped", directives={"appendonly": "no"}).start()
    with again.connect() as connection:
        assert connection.call("DBSIZE") == 51


def test_what_cannot_be_repaired_is_said_in_one_line(damaged, make_server, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("y")
    for words in (
        ["--into", tmp_path / "new"],
        ["--apply", "--into", tmp_path / "full"],
    ):
        said = repair(damaged.directory, *words, code=2)
        assert len(said.splitlines()) == 1, said
    assert repair(tmp_path / "full", code=2).count("\n") == 1
    assert repair(tmp_path / "nothing", code=4).count("\n") == 1
    whole = make_server(directives={"appendfsync": "always"}).start()
    fill(whole, 5)
    assert repair(whole.directory, code=0)["needed"] in (False, True)
    said = repair(whole.directory, "--apply", code=2)
    assert "in use" in said and said.count("\n") == 1
    whole.stop()
    (whole.directory / "appendonlydir" / "stray").mkdir()
    said = repair(whole.directory, "--apply", code=0)
    assert not said["applied"]
