"""`graven restore`, `export`, `import`, `diff` and `doctor`, with real servers on what they make."""

import json
import subprocess
import time

import pytest

from support.dump import differences, dump_all
from support.server import graven_binary, wait_until

pytestmark = pytest.mark.graven_only


def tool(*words, code=0, text=True, **how):
    done = subprocess.run([graven_binary(), *map(str, words)], capture_output=True, text=text, timeout=60, **how)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code in (0, 1) else done.stderr


def refused(*words, code=2):
    said = tool(*words, code=code)
    assert len(said.splitlines()) == 1, said
    return said


def keys(server):
    with server.connect() as connection:
        return {key.decode() for key in connection.call("KEYS", "*")}


@pytest.fixture
def filled(make_server):
    server = make_server(directives={"appendfsync": "always", "databases": "16"}).start()
    with server.connect() as connection:
        connection.call("SET", "a", "1")
        connection.call("RPUSH", "l", "x", b"\xff", "3")
        connection.call("SADD", "s", "m", "n")
        connection.call("HSET", "h", "f", "v", "g", "w")
        connection.call("ZADD", "z", "1.5", "a", "inf", "b")
        connection.call("XADD", "x", "5-1", "k", "v")
        connection.call("XADD", "x", "6-1", "k", "w")
        connection.call("XDEL", "x", "5-1")
        connection.call("XGROUP", "CREATE", "x", "g", "0")
        connection.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "x", ">")
        connection.call("SET", "due", "later", "PXAT", "4102444800000")
        connection.call("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 7 end)")
        connection.call("SELECT", "5")
        connection.call("SET", "b", "5")
    return server


def test_before_the_accident_in_ours_and_in_stock(filled, make_server, make_stock, tmp_path):
    with filled.connect() as connection:
        for number in range(20):
            connection.call("SET", f"k:{number}", number)
        connection.call("MULTI")
        connection.call("SET", "with", "it")
        connection.call("FLUSHALL")
        connection.call("EXEC")
        connection.call("SET", "after", "it")
    # The server goes on.
    made = json.loads(tool("restore", filled.directory, "--before-command", "flushall", "--into", tmp_path / "new", "--json"))
    assert made["left_out"] >= 5 and made["commands"] == made["loads"]["commands"]
    tool("restore", filled.directory, "--before-command", "FLUSHALL", "--into", tmp_path / "stock")
    ours = make_server(directory=tmp_path / "new").start()
    assert keys(ours) >= {"a", "due", "k:19"} and not keys(ours) & {"with", "after"}
    stock = make_stock(directory=tmp_path / "stock", directives={"appendonly": "yes"}).start()
    assert not differences(dump_all(ours.port), dump_all(stock.port))


def test_to_a_time_and_a_position_behind_a_rewrite(make_server, tmp_path):
    server = make_server(directives={"appendfsync": "always"}).start()
    with server.connect() as connection:
        connection.call("SET", "old", "1")
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 60, "the rewrite is done")
        connection.call("SET", "first", "1")
        between = time.time()
        wait_until(lambda: time.time() > between + 0.01, 60, "the clock goes on")
        connection.call("SET", "second", "1")
    server.stop()
    shown = [json.loads(line) for line in tool("inspect", server.directory, "--json").splitlines()]
    (second,) = [line for line in shown if line.get("command", [""])[1:2] == ["second"]]
    tool("restore", server.directory, "--to-time", second["time_ms"] / 1000 - 0.001, "--into", tmp_path / "time")
    assert keys(make_server(directory=tmp_path / "time").start()) == {"old", "first"}
    tool("restore", server.directory, "--to-lsn", second["lsn"], "--into", tmp_path / "lsn")
    assert keys(make_server(directory=tmp_path / "lsn").start()) == {"old", "first"}
    assert "LSN" in refused("restore", server.directory, "--to-lsn", 1 << 40, "--into", tmp_path / "none")
    assert "Z" in refused("restore", server.directory, "--to-time", "2001-01-01", "--into", tmp_path / "none")
    refused("restore", server.directory, "--before-command", "FLUSHDB", "--into", tmp_path / "none")
    refused("restore", server.directory, "--to-lsn", second["lsn"], "--into", tmp_path / "lsn")
    tool("restore", server.directory, "--into", tmp_path / "none", code=2)
    assert not (tmp_path / "none").exists()


def test_a_log_by_stock_is_restored_to_a_time(make_stock, tmp_path):
    stock = make_stock(directives={"appendonly": "yes", "aof-timestamp-enabled": "yes"}).start()
    with stock.connect() as connection:
        connection.call("SET", "first", "1")
        begun = int(time.time())
        wait_until(lambda: int(time.time()) > begun + 1, 60, "the clock goes on")
        connection.call("SET", "second", "1")
    stock.stop()
    tool("restore", stock.directory, "--to-time", begun + 1, "--into", tmp_path / "new")
    again = make_stock(directory=tmp_path / "new", directives={"appendonly": "yes"}).start()
    assert keys(again) == {"first"}


@pytest.mark.parametrize("form", ["rdb", "aof", "resp", "jsonl"])
def test_what_is_exported_is_the_same_when_it_is_imported(filled, make_server, make_stock, tmp_path, form):
    target = tmp_path / f"data.{form}"
    tool("export", filled.directory, f"--{form}", "--out", target)
    assert tool("diff", filled.directory, target) == "" if form != "jsonl" else True
    tool("import", target, "--into", tmp_path / "new")
    assert tool("diff", filled.directory, tmp_path / "new") == ""
    ours = make_server(directory=tmp_path / "new").start()
    assert not differences(dump_all(filled.port), dump_all(ours.port))
    with ours.connect() as connection:
        assert connection.call("FCALL", "f", "0") == 7
        assert connection.call("XPENDING", "x", "g")[0] == 1
        connection.call("SET", "more", "1")
    ours.kill9()
    assert "more" in keys(ours.start())
    ours.stop()
    stock = make_stock(directory=tmp_path / "new", directives={"appendonly": "yes"}).start()
    assert "more" in keys(stock)
    refused("export", filled.directory, f"--{form}", "--out", target)
    refused("import", target, "--into", tmp_path / "new")


def test_exported_commands_are_for_redis_cli_pipe(filled, make_stock):
    commands = tool("export", filled.directory, "--resp", text=False)
    stock = make_stock().start()
    piped = subprocess.run(["redis-cli", "-p", str(stock.port), "--pipe"], input=commands, capture_output=True, timeout=60)
    assert piped.returncode == 0 and b"errors: 0" in piped.stdout, piped.stdout
    assert not differences(dump_all(filled.port), dump_all(stock.port))
    tool("export", filled.directory, "--rdb", code=2)
    tool("export", filled.directory, code=2)


def test_a_difference_is_named(filled, tmp_path):
    filled.stop()
    tool("export", filled.directory, "--rdb", "--out", tmp_path / "before.rdb")
    filled.start()
    with filled.connect() as connection:
        connection.call("SET", "a", "2")
        connection.call("DEL", "l")
        connection.call("SET", "new", "1")
        connection.call("SADD", "s", "o")
        connection.call("SREM", "s", "o")
        connection.call("PERSIST", "due")
    found = tool("diff", tmp_path / "before.rdb", filled.directory, code=1).splitlines()
    assert sorted(line.split("  ")[0] for line in found) == ["+ 0:new", "- 0:l", "~ 0:a", "~ 0:due"]
    only = [json.loads(line) for line in tool("diff", tmp_path / "before.rdb", filled.directory, "--key", "[al]", "--json", code=1).splitlines()]
    assert {line["key"] for line in only} == {"a", "l"}
    (tmp_path / "bad.rdb").write_bytes((tmp_path / "before.rdb").read_bytes()[:-20])
    assert tool("diff", tmp_path / "before.rdb", tmp_path / "bad.rdb", code=5)


def test_lines_that_are_wrong_are_named(tmp_path):
    for line in ('{"key": "a", "type": "string"}', '{"key": "a", "type": "set", "value": []}', '{"key": "a"', '{"key": "a", "type": "x", "value": 1}'):
        (tmp_path / "bad.jsonl").write_text('{"key": "ok", "type": "string", "value": "1"}\n' + line + "\n")
        done = subprocess.run([graven_binary(), "import", str(tmp_path / "bad.jsonl"), "--into", str(tmp_path / "new")], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "line 2" in done.stderr and len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "new").exists()


def test_a_key_that_is_there_twice_is_named_before_anything_is_made(tmp_path):
    line = '{"key": "a", "type": "string", "value": "1"}\n'
    (tmp_path / "twice.jsonl").write_text(line + line)
    done = subprocess.run([graven_binary(), "import", str(tmp_path / "twice.jsonl"), "--into", str(tmp_path / "new")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "line 2: the key 'a' is there twice" in done.stderr
    assert not (tmp_path / "new").exists()


def test_what_was_written_is_told_to_machines(filled, tmp_path):
    told = json.loads(tool("export", filled.directory, "--rdb", "--json", "--out", tmp_path / "data.rdb"))
    assert told["source"] == "append only log" and told["keys"] > 3
    made = json.loads(tool("import", tmp_path / "data.rdb", "--json", "--into", tmp_path / "new"))
    assert made["keys"] == told["keys"] and made["into"] == str(tmp_path / "new")


def test_the_doctor_answers_every_question(filled, tmp_path):
    answers = json.loads(tool("doctor", filled.directory, "--json"))
    assert {answer["about"] for answer in answers} >= {"file system", "permissions", "free space", "sync latency", "huge pages", "overcommit"}
    assert not [path for path in filled.directory.iterdir() if "doctor" in path.name]
    assert len(tool("doctor", filled.directory).splitlines()) == len(answers)
    refused("doctor", tmp_path / "nothing", code=4)
