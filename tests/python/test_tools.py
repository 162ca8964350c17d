"""`graven check` on directories of running, killed and closed servers, and on files of stock's."""

import json
import subprocess

import pytest

from support.server import graven_binary

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
