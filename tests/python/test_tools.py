"""`graven check` on directories of running, killed and closed servers, and on files of stock's."""

import json
import os
import re
import shutil
import subprocess

import pytest

from support.server import graven_binary, stock_binary, wait_until

pytestmark = pytest.mark.graven_only


def check(path, *options):
    done = subprocess.run([graven_binary(), "check", *options, str(path)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def segments(server):
    return sorted((server.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))


def write(server, count=200):
    with server.connect() as connection:
        for n in range(count):
            connection.call("SET", f"k{n}", "v" * 50)


def test_a_directory_in_use_after_a_kill_and_after_a_clean_end(make_server):
    server = make_server().start()
    write(server)
    code, out, _ = check(server.directory, "--json")
    report = json.loads(out)
    assert (code, report["in_use"]) == (0, True) and report["verdict"] in ("sound", "in-flight")
    assert sum(file["commands"] for file in report["files"]) >= 200
    server.kill9()
    code, out, _ = check(server.directory)
    assert code == 0 and "in use" not in out and "not closed" in out
    server.start()
    server.stop()
    code, out, _ = check(server.directory)
    assert code == 0 and "closed cleanly" in out and "sealed" in out


def test_damage_is_named_and_what_verifies_behind_it_is_counted(make_server):
    server = make_server().start()
    write(server)
    server.stop()
    segment = segments(server)[-1]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    code, out, _ = check(server.directory, "--json")
    report = json.loads(out)
    assert code == 1 and report["verdict"] == "damaged" and not report["start"]["would_start"]
    (found,) = [file for file in report["files"] if file["damage"]]
    assert found["file"] == str(segment) and 0 < found["damage"]["offset"] <= len(content) // 2
    before = content[: found["damage"]["offset"]]
    assert found["damage"]["line"] == before.count(b"\n") + 1
    # One frame is lost, all the others verify.
    assert found["frames"] + found["behind"]["frames"] >= 150 and found["behind"]["commands"] >= 50
    one = check(segment)
    assert one[0] == 1 and "DAMAGED" in one[1]


def test_a_torn_tail_has_its_own_exit_code(make_server):
    server = make_server().start()
    write(server, 20)
    server.kill9()
    with open(segments(server)[-1], "ab") as file:
        file.write(b"#F1 0000")
    before = {path: path.read_bytes() for path in server.directory.rglob("*") if path.is_file()}
    code, out, _ = check(server.directory)
    assert code == 3 and "torn" in out and "would cut 8 bytes" in out
    assert before == {path: path.read_bytes() for path in server.directory.rglob("*") if path.is_file()}


def test_files_of_a_stock_server(make_stock, tmp_path):
    stock_server = make_stock().start()
    with stock_server.connect() as connection:
        connection.call("SET", "a", "1")
        connection.call("SAVE")
    dump = stock_server.directory / "dump.rdb"
    code, out, _ = check(dump)
    assert code == 0 and "1 keys" in out
    content = bytearray(dump.read_bytes())
    content[-1] ^= 1
    bad = tmp_path / "bad.rdb"
    bad.write_bytes(content)
    code, out, _ = check(bad)
    assert code == 1 and "checksum" in out


def test_what_is_no_data_directory(tmp_path):
    code, out, err = check(tmp_path)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1 and str(tmp_path) in err
    code, out, err = check(tmp_path / "nothing")
    assert (code, out) == (4, "") and len(err.splitlines()) == 1
    assert check(tmp_path, "--no-such")[0] == 2


@pytest.fixture
def check_tools(tmp_path):
    """graven under the names of stock's tools, beside the real ones: each a function that runs one of them."""

    def runner(directory):
        return lambda tool, *words, answer="": subprocess.run(
            [f"{directory}/{tool}", *map(str, words)], input=answer, capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    names = tmp_path / "bin"
    names.mkdir()
    for name in ("redis-check-aof", "redis-check-rdb"):
        (names / name).symlink_to(graven_binary())
    return runner(names), runner(os.path.dirname(os.path.realpath(shutil.which(stock_binary()) or stock_binary())))


def comparable(text):
    """Without what is said in other words (what is wrong, and while what was read), and without the tools' own paths."""
    lines = [line for line in text.splitlines() if not line.startswith(("0x", "[additional info]"))]
    return [re.sub(r"\S*/(redis-check-\w+)", r"\1", line) for line in lines]


def test_stock_s_tools_by_name_say_what_the_real_ones_say(check_tools, make_stock, tmp_path):
    ours, stock = check_tools
    server = make_stock(directives={"appendonly": "yes", "aof-timestamp-enabled": "yes"}).start()
    with server.connect() as connection:
        for n in range(20):
            connection.call("SET", f"k{n}", n)
        connection.call("SET", "gone", 1, "PXAT", 1)
        connection.call("SAVE")
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 20, "the rewrite is done")
        connection.call("MULTI")
        connection.call("SET", "a", 1)
        connection.call("SET", "b", 1)
        connection.call("EXEC")
    server.stop()
    log = server.directory / "appendonlydir"
    manifest = log / "appendonly.aof.manifest"
    last = segments(server)[-1]

    def same(tool, *words, answer=""):
        copy = {path: path.read_bytes() for path in log.iterdir() if path.is_file()}
        real = stock(tool, *words, answer=answer)
        after = {path: path.read_bytes() for path in log.iterdir() if path.is_file() and path in copy}
        for path, content in copy.items():
            path.write_bytes(content)
        mine = ours(tool, *words, answer=answer)
        assert mine.returncode == real.returncode
        assert comparable(mine.stdout) == comparable(real.stdout)
        assert {path: path.read_bytes() for path in after} == after
        return mine

    assert same("redis-check-aof", manifest).returncode == 0
    assert same("redis-check-aof", last).returncode == 0
    assert same("redis-check-rdb", server.directory / "dump.rdb").returncode == 0
    assert same("redis-check-aof").returncode == 1
    assert same("redis-check-aof", tmp_path / "nothing").returncode == 1
    timed = log / "timed.aof"
    timed.write_bytes(b"#TS:100\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:200\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")
    assert same("redis-check-aof", timed).returncode == 0
    assert same("redis-check-aof", "--truncate-to-timestamp", "250", timed).returncode == 0
    assert same("redis-check-aof", "--truncate-to-timestamp", "150", timed).returncode == 0
    assert same("redis-check-aof", "--truncate-to-timestamp", "50", timed).returncode == 1
    assert same("redis-check-aof", "--truncate-to-timestamp", "99999999999", manifest).returncode == 0
    assert same("redis-check-aof", "--truncate-to-timestamp", "x", manifest).returncode == 1
    whole = last.read_bytes()
    last.write_bytes(whole[:-5])
    assert same("redis-check-aof", manifest).returncode == 1
    assert same("redis-check-aof", "--fix", manifest, answer="n\n").returncode == 1
    assert same("redis-check-aof", "--fix", manifest, answer="y\n").returncode == 0
    torn = list(log.glob("appendonly*.torn"))
    assert len(torn) == 1 and last.read_bytes() + torn[0].read_bytes() == whole[:-5]
    last.write_bytes(whole[:-5] + b"junk")
    assert same("redis-check-aof", manifest).returncode == 1


def test_a_segment_of_ours_that_was_fixed_starts_again(check_tools, make_server):
    ours, _ = check_tools
    server = make_server().start()
    write(server, 100)
    server.stop()
    segment = segments(server)[-1]
    content = bytearray(segment.read_bytes())
    content[-200] ^= 1
    segment.write_bytes(content)
    manifest = segment.parent / "appendonly.aof.manifest"
    found = ours("redis-check-aof", manifest)
    assert found.returncode == 1 and "LSN" in found.stdout
    assert ours("redis-check-aof", "--fix", manifest, answer="y\n").returncode == 0
    server.start()
    with server.connect() as connection:
        assert 90 <= connection.call("DBSIZE") < 100


def test_a_log_with_timestamps_is_cut_by_time(check_tools, make_server, make_stock, tmp_path):
    ours, stock = check_tools
    server = make_server(directives={"aof-use-rdb-preamble": "no", "auto-aof-rewrite-percentage": 0}).start()
    with server.connect() as connection:

        def second():
            return int(connection.call("TIME")[0])

        connection.call("SET", "plain", 1)
        assert b"#TS:" not in segments(server)[-1].read_bytes()
        connection.call("CONFIG", "SET", "aof-timestamp-enabled", "yes")
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 20, "the rewrite is done")
        connection.pipeline([("SET", "a", n) for n in range(50)])
        until = second()
        wait_until(lambda: second() > until, 5, "another second")
        connection.call("SET", "b", 1)
    server.stop()
    log = server.directory / "appendonlydir"
    (base,) = log.glob("*.base.aof")
    assert re.match(rb"#GRAVEN-BASE [^\n]*\r\n#TS:\d+\r\n\*2\r\n\$6\r\nSELECT", base.read_bytes())
    stamped = segments(server)[-1].read_bytes()
    assert 2 <= stamped.count(b"\n#TS:") <= 1 + len(set(re.findall(rb"\n#TS:(\d+)", stamped)))
    other = tmp_path / "for-stock"
    shutil.copytree(server.directory, other)
    done = stock("redis-check-aof", "--truncate-to-timestamp", until, other / "appendonlydir" / "appendonly.aof.manifest")
    assert done.returncode == 0, done.stdout
    done = ours("redis-check-aof", "--truncate-to-timestamp", until, log / "appendonly.aof.manifest")
    assert done.returncode == 0, done.stdout
    for left in (make_stock(directory=other).start(), server.start()):
        with left.connect() as connection:
            assert sorted(connection.call("KEYS", "*")) == [b"a", b"plain"]
