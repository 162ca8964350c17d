"""The redis-cli of stock Redis, in each of its modes, against graven."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.server import stock_binary, wait_until


@pytest.fixture
def filled(make_server):
    server = make_server(directives={"appendonly": "no", "maxmemory-policy": "allkeys-lfu"}).start()
    with server.connect() as connection:
        connection.pipeline([("SET", f"key:{n}", "x" * (n + 1)) for n in range(50)])
        connection.pipeline([("RPUSH", "list", *range(100)), ("HSET", "hash", "f", "v", "g", "w"), ("SADD", "set", *range(7)), ("ZADD", "zset", 1, "one", 2, "two")])
    return server


def program(name: str) -> str:
    beside = Path(stock_binary()).with_name(name)
    return str(beside) if beside.exists() else (shutil.which(name) or name)


def arguments(server, *words) -> list[str]:
    return [program("redis-cli"), "-p", str(server.port), *map(str, words)]


def cli(server, *words, given: bytes | None = None, seconds: float = 180) -> subprocess.CompletedProcess:
    environment = {**os.environ, "TERM": "dumb", "HOME": "/nonexistent"}
    return subprocess.run(arguments(server, *words), input=given, capture_output=True, timeout=seconds, env=environment)


def out(server, *words, given: bytes | None = None) -> str:
    done = cli(server, *words, given=given)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-500:])
    return done.stdout.decode()


def started(server, *words, until: str, seconds: float = 90) -> str:
    """A mode that does not end by itself: what it has printed when `until` is in it."""
    process = subprocess.Popen(arguments(server, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    os.set_blocking(process.stdout.fileno(), False)
    seen = b""
    try:
        end = time.monotonic() + seconds
        while until.encode() not in seen:
            assert time.monotonic() < end and process.poll() is None, f"not seen: {until!r} in {seen.decode()!r}"
            seen += process.stdout.read() or b""
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return seen.decode()


def test_scan(filled):
    assert sorted(out(filled, "--scan", "--pattern", "key:1*").split()) == sorted(["key:1", *(f"key:{n}" for n in range(10, 20))])
    assert len(out(filled, "--scan").split()) == 54


def test_bigkeys(filled):
    text = out(filled, "--bigkeys")
    assert re.search(r'Biggest +list +found .*"list".* has 100 items', text) and re.search(r'Biggest +string +found .*"key:49".* has 50 bytes', text), text
    assert "Sampled 54 keys in the keyspace" in text


def test_memkeys(filled):
    text = out(filled, "--memkeys")
    found = re.search(r'Biggest +list +found .*"list".* has (\d+) bytes', text)
    assert found and int(found[1]) > 100, text
    assert len(out(filled, "--memkeys-samples", "0").splitlines()) > 5


def test_hotkeys(filled):
    with filled.connect() as connection:
        connection.pipeline([("GET", "key:7")] * 3000)
        if connection.call("CONFIG", "GET", "maxmemory-policy")[1] != b"allkeys-lfu":
            pytest.fail("the policy is not in force")
    done = cli(filled, "--hotkeys")
    text = done.stdout.decode()
    assert re.search(r"hot key found with counter: \d+\s+keyname: .key:7", text), text


def test_stat(filled):
    text = started(filled, "--stat", "-i", "0.05", until="54 ")
    assert "keys" in text and "requests" in text


def test_latency(filled):
    assert re.search(r"^\d+ \d+ \d+\.\d+ \d+$", out(filled, "--latency", "-i", "0.3", "--raw").strip())
    assert started(filled, "--latency-history", "-i", "0.2", until="seconds range")
    assert started(filled, "--latency-dist", "-i", "0.2", until="\x1b[")


def test_intrinsic_latency(filled):
    """Of the machine, not of the server; the server is not asked."""
    assert "Worst run took" in out(filled, "--intrinsic-latency", "1")


def test_pipe(filled):
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\np:%d\r\n$1\r\nv\r\n" % (len(b"p:%d" % n), n) for n in range(5000))
    text = out(filled, "--pipe", given=commands)
    assert "errors: 0, replies: 5000" in text
    assert out(filled, "GET", "p:4999").strip() == "v"


def test_eval_from_a_file(filled, tmp_path):
    script = tmp_path / "script.lua"
    script.write_text("return {redis.call('LLEN', KEYS[1]), ARGV[1]}")
    assert out(filled, "--eval", script, "list", ",", "word").split() == ["100", "word"]


def test_last_argument_from_standard_input(filled):
    assert out(filled, "-x", "SET", "from:stdin", given=b"some text\n").strip() == "OK"
    assert out(filled, "GET", "from:stdin") == "some text\n\n"
    assert out(filled, "-X", "tag", "SET", "tag", "v", given=b"named").strip() == "OK"
    assert out(filled, "GET", "named").strip() == "v"


def test_csv_json_and_raw(filled):
    assert out(filled, "--csv", "LRANGE", "list", "0", "2").strip() == '"0","1","2"'
    assert json.loads(out(filled, "--json", "HGETALL", "hash")) == {"f": "v", "g": "w"}
    assert json.loads(out(filled, "-3", "--json", "ZRANGE", "zset", "0", "-1", "WITHSCORES")) == [["one", 1.0], ["two", 2.0]]
    assert out(filled, "--no-raw", "HMGET", "hash", "f", "x") == '1) "v"\n2) (nil)\n'
    assert out(filled, "-3", "--no-raw", "HGETALL", "hash") == '1# "f" => "v"\n2# "g" => "w"\n'
    assert out(filled, "-r", "3", "-i", "0.01", "INCR", "counter").split() == ["1", "2", "3"]


def test_monitor_and_subscribe(filled):
    process = subprocess.Popen(arguments(filled, "MONITOR"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    listener = subprocess.Popen(arguments(filled, "--csv", "PSUBSCRIBE", "news.*"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert process.stdout.readline() == b"OK\n"
        assert listener.stdout.readline().startswith(b"Reading messages")
        assert listener.stdout.readline().startswith(b'"psubscribe","news.*",1')
        out(filled, "PUBLISH", "news.today", "hello")
        assert listener.stdout.readline() == b'"pmessage","news.*","news.today","hello"\n'
        lines = b""
        while b'"PUBLISH" "news.today" "hello"' not in lines:
            lines += process.stdout.readline()
    finally:
        for one in (process, listener):
            one.kill()
            one.wait()


def test_help_and_hints_come_from_command_docs(filled):
    """In interactive mode the hints need COMMAND DOCS: it is asked first, and `help` prints what it said."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", out(filled, given=b"help LPOP\nhelp @list\n"))
    assert "LPOP key [count]" in text and "group: list" in text and "LMPOP numkeys key" in text


def test_interactive_session(filled):
    text = out(filled, given=b"SELECT 3\nSET a 1\nMULTI\nINCR a\nEXEC\nGET nokey\nNOSUCH\n")
    assert text.splitlines()[:6] == ["OK", "OK", "OK", "QUEUED", "2", ""] and "ERR unknown command" in text


@pytest.mark.graven_only
@pytest.mark.parametrize("words", [("--rdb", "/dev/null"), ("--functions-rdb", "/dev/null"), ("--replica",), ("--cluster", "info")])
def test_modes_of_replication_and_cluster_say_why_not(filled, words):
    if words[0] == "--cluster":
        words = (*words, f"127.0.0.1:{filled.port}")
    done = cli(filled, *words)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode != 0 and re.search(r"unknown command|not supported|disabled|not configured as a cluster", text, re.I), text


def test_the_benchmark_program_runs(filled):
    done = subprocess.run([program("redis-benchmark"), "-p", str(filled.port), "-n", "1000", "-q", "-t", "set,get,lpush,lpop,sadd,zadd,mset"], capture_output=True, timeout=180)
    assert done.returncode == 0 and done.stdout.decode().count("requests per second") >= 7 and b"WARNING" not in done.stderr
    wait_until(lambda: out(filled, "PING").strip() == "PONG", 5, "an answer afterwards")
