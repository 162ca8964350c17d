"""`graven inspect` on directories of graven and of stock servers: commands, frames, keys, memory, and a log that grows."""

import csv
import io
import json
import subprocess
import threading

import pytest

from support.server import graven_binary, wait_until

pytestmark = pytest.mark.graven_only


def inspect(path, *options):
    done = subprocess.run([graven_binary(), "inspect", str(path), *map(str, options)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def lines(path, *options, code=0):
    done = inspect(path, "--json", *options)
    assert done[0] == code, done
    return [json.loads(line) for line in done[1].splitlines()]


def words(found):
    return [line["command"] for line in found if "command" in line]


def fill(connection):
    connection.call("SET", "user:1", "one")
    connection.call("RPUSH", "queue:a", "x", b"\xff\x00", "3")
    connection.call("HSET", "user:2", "name", "two", "age", "7")
    connection.call("ZADD", "rank", "1.5", "a", "-inf", "b")
    connection.call("SADD", "tags", "1", "2")
    connection.call("XADD", "events", "5-1", "k", "v")
    connection.call("XGROUP", "CREATE", "events", "g", "0")
    connection.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "events", ">")
    connection.call("SET", "user:3", "3", "PXAT", "4102444800000")
    connection.call("SELECT", "3")
    connection.call("SET", "other", "db")


@pytest.fixture
def filled(make_server):
    server = make_server(directives={"appendfsync": "always"}).start()
    with server.connect() as connection:
        fill(connection)
    return server


def test_commands_are_shown_in_order_and_chosen(filled):
    everything = lines(filled.directory)
    assert ["SET", "user:1", "one"] in words(everything)
    assert {"hex": "ff00"} in next(line for line in words(everything) if line[0] == "RPUSH")
    lsns = [line["lsn"] for line in everything]
    assert lsns == sorted(lsns) and lsns[0] == 1
    assert [line[1] for line in words(lines(filled.directory, "--key", "user:*"))] == ["user:1", "user:2", "user:3"]
    assert [line[1] for line in words(lines(filled.directory, "--db", 3, "--command", "set"))] == ["other"]
    middle = lsns[3]
    assert words(lines(filled.directory, "--from-lsn", middle)) == words(everything)[3:]
    assert words(lines(filled.directory, "--to-lsn", middle)) == words(everything)[:3]
    assert words(lines(filled.directory, "--limit", 2)) == words(everything)[:2]
    assert lines(filled.directory, "--to-time", "2001-01-01") == []
    assert words(lines(filled.directory, "--from-time", "2001-01-01T00:00:00Z")) == words(everything)
    text = inspect(filled.directory)[1]
    assert '[0] "RPUSH" "queue:a" "x" "\\xff\\x00" "3"' in text and "# " in text


def test_frames_and_marks(filled):
    filled.stop()
    frames = lines(filled.directory, "--show", "frames")
    data = [frame for frame in frames if not frame["mark"]]
    assert [frame["lsn"] for frame in data[1:]] == [frame["end"] for frame in data[:-1]]
    assert sum(frame["commands"] for frame in frames) == len(lines(filled.directory))
    assert "mark, durable to" in inspect(filled.directory, "--show", "frames")[1] or not [f for f in frames if f["mark"]]


def test_the_histogram_counts_commands_and_prefixes(filled):
    (report,) = lines(filled.directory, "--show", "histogram")
    counts = {row["name"]: row["count"] for row in report["commands"]}
    assert counts["set"] == 3 and counts["rpush"] == 1
    prefixes = {row["name"]: row["count"] for row in report["prefixes"]}
    assert prefixes["user:*"] == 3 and prefixes["rank"] == 1
    assert "user:*" in inspect(filled.directory, "--show", "histogram")[1]


def by_key(found):
    return {(line["db"], line["key"]): line for line in found if "key" in line}


def test_keys_of_a_log_an_rdb_file_and_a_stock_server_are_the_same(filled, make_stock):
    keys = by_key(lines(filled.directory, "--show", "keys"))
    assert keys[0, "user:1"]["value"] == "one" and keys[0, "user:3"]["expires_at_ms"] == 4102444800000
    assert keys[0, "rank"]["value"] == [["b", "-inf"], ["a", 1.5]]
    assert keys[0, "queue:a"]["value"] == ["x", {"hex": "ff00"}, "3"]
    assert sorted(keys[0, "user:2"]["value"]) == [["age", "7"], ["name", "two"]]
    (group,) = keys[0, "events"]["value"]["groups"]
    assert group["pending"][0]["consumer"] == "c" and keys[3, "other"]["value"] == "db"
    with filled.connect() as connection:
        connection.call("SAVE")
    assert by_key(lines(filled.directory / "dump.rdb")) == keys
    stock = make_stock().start()
    with stock.connect() as connection:
        fill(connection)
        connection.call("SAVE")
    theirs = by_key(lines(stock.directory / "dump.rdb"))
    assert theirs.keys() == keys.keys()
    assert all(theirs[key]["value"] == keys[key]["value"] for key in keys if key not in {(0, "events"), (0, "tags"), (0, "user:2")})
    chosen = lines(filled.directory / "dump.rdb", "--key", "user:[12]", "--db", 0)
    assert sorted(line["key"] for line in chosen) == ["user:1", "user:2"]


def test_memory_has_the_columns_of_rdb_tools(filled):
    with filled.connect() as connection:
        connection.call("SAVE")
    columns = ["database", "type", "key", "size_in_bytes", "encoding", "num_elements", "len_largest_element", "expiry"]
    for path in (filled.directory, filled.directory / "dump.rdb"):
        code, out, _ = inspect(path, "--show", "memory-keys")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert code == 0 and list(rows[0]) == columns
        row = next(row for row in rows if row["key"] == "user:3")
        assert row["expiry"] == "2100-01-01T00:00:00.000Z" and int(row["size_in_bytes"]) > 0
        rows = list(csv.DictReader(io.StringIO(inspect(path, "--show", "memory")[1])))
        assert list(rows[0]) == [*columns, "num_keys"]
        assert {(row["key"], row["type"]): row["num_keys"] for row in rows}["user:*", "string"] == "2"


def test_damage_is_a_gap_and_what_follows_is_shown(filled):
    filled.stop()
    before = words(lines(filled.directory))
    segment = next(path for path in (filled.directory / "appendonlydir").glob("*.incr.aof"))
    content = bytearray(segment.read_bytes())
    content[content.index(b"queue:a")] ^= 1
    segment.write_bytes(content)
    found = lines(filled.directory, code=1)
    (gap,) = [line["gap"] for line in found if "gap" in line]
    assert gap["offset"] < content.index(b"ueue:a") < gap["to_offset"] and gap["to_lsn"] > gap["lsn"]
    assert words(found) == [line for line in before if line[0] != "RPUSH"]
    assert "goes on at LSN" in inspect(segment)[1]


def test_a_log_of_a_stock_server(make_stock):
    stock = make_stock(directives={"appendonly": "yes", "aof-timestamp-enabled": "yes"}).start()
    with stock.connect() as connection:
        fill(connection)
    stock.stop()
    found = lines(stock.directory)
    assert ["SET", "user:1", "one"] in words(found) and all(line["lsn"] is None for line in found)
    assert all(line["time_ms"] > 1_600_000_000_000 for line in found)
    last = sorted((stock.directory / "appendonlydir").glob("*.incr.aof"))[-1]
    last.write_bytes(last.read_bytes()[:-5])
    code, out, _ = inspect(last)
    assert code == 3 and "torn" in out


def test_who_follows_sees_what_is_written_over_a_rewrite(filled):
    follower = subprocess.Popen(
        [graven_binary(), "inspect", str(filled.directory), "--follow", "--json", "--key", "n:*"], stdout=subprocess.PIPE, text=True
    )
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(json.loads(line)["command"][1] for line in follower.stdout), daemon=True)
    reader.start()
    try:
        with filled.connect() as connection:
            for number in range(60):
                connection.call("SET", f"n:{number}", "v")
                if number % 20 == 10:
                    wait_until(lambda: len(seen) == number + 1, 60, "what is written is shown")
                    connection.call("BGREWRITEAOF")
                    wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 60, "the rewrite is done")
            wait_until(lambda: len(seen) == 60, 60, "everything that was written is shown")
        assert seen == [f"n:{number}" for number in range(60)]
    finally:
        follower.kill()
        follower.wait(60)


def test_what_makes_no_sense_is_said_in_one_line(filled, tmp_path):
    for words in (
        [tmp_path],
        [filled.directory, "--show", "keys", "--from-lsn", "1"],
        [filled.directory, "--show", "memory", "--follow"],
        [filled.directory, "--depth", "0"],
    ):
        code, out, err = inspect(*words)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1, words
    assert inspect(filled.directory, "--from-time", "yesterday")[0] == 2
    assert inspect(tmp_path / "nothing")[0] == 4
