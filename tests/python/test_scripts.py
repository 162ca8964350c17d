"""Scripts and functions beyond single replies: the libraries on random values beside stock's, what lasts over a restart and
a kill, what stock takes from graven's log and graven from stock's files, hostile scripts, and scripts that run for long.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import threading

import pytest

from differential.lua import Expressions
from support.server import Server, stock_binary, stock_under_test, wait_until

SEED = int(os.environ.get("GRAVEN_TEST_SEED", "20240607"))
pytestmark = pytest.mark.skipif(stock_under_test(), reason="some of these scripts end stock 7.0")
LIBRARY = """#!lua name=counting
local function add(keys, args)
    return redis.call('INCRBY', keys[1], args[1])
end
redis.register_function('add', add)
redis.register_function{function_name='look', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}
"""
OTHER = "#!lua name=other\nredis.register_function('five', function() return 5 end)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("scripts") / "graven", name="graven", directives={"busy-reply-threshold": 100}).start()
    yield server
    server.end()


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("scripts") / "stock", name="stock", binary=stock_binary(), directives={"appendonly": "no"}).start()
    yield server
    server.end()


def test_libraries_on_random_values(server, stock):
    """The same bytes and the same error texts as stock's cjson, cmsgpack, struct and bit."""
    expressions = Expressions(random.Random(f"{SEED}-libraries"))
    scripts = [expressions.script() for _ in range(3000)]
    calls = [("EVAL", script, 0) for script in scripts]
    with server.connect(timeout=60.0) as ours, stock.connect(timeout=60.0) as theirs:
        for at in range(0, len(calls), 500):
            pairs = zip(scripts[at : at + 500], ours.pipeline(calls[at : at + 500]), theirs.pipeline(calls[at : at + 500]), strict=True)
            wrong = [f"{script}\n  stock:  {b!r}\n  graven: {a!r}" for script, a, b in pairs if repr(a) != repr(b)]
            assert not wrong, f"seed {SEED}:\n" + "\n".join(wrong[:5])


def test_functions_outlive_restart_and_kill(tmp_path):
    """A library is there after its reply, and half of a refused one never is."""
    server = Server(tmp_path / "graven", name="graven").start()
    with server.connect() as connection:
        assert connection.call("FUNCTION", "LOAD", LIBRARY) == b"counting"
        assert connection.call("FUNCTION", "LOAD", OTHER) == b"other"
        assert connection.call("FCALL", "add", 1, "n", 7) == 7
        payload = connection.call("FUNCTION", "DUMP")
        assert connection.call("FUNCTION", "DELETE", "other") == b"OK"
        assert connection.ask("FUNCTION", "LOAD", "#!lua name=bad\nredis.register_function('x', function() end) redis.nosuch()").is_error
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("FCALL", "add", 1, "n", 1) == 8
        assert connection.call("FCALL_RO", "look", 1, "n") == b"8"
        assert connection.ask("FCALL", "five", 0).is_error and connection.ask("FCALL", "x", 0).is_error
        assert connection.call("FUNCTION", "RESTORE", payload, "FLUSH") == b"OK"
    server.stop()
    server.start()
    with server.connect() as connection:
        assert connection.call("FCALL", "five", 0) == 5
        assert connection.call("FUNCTION", "FLUSH") == b"OK"
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("FUNCTION", "LIST") == []
        assert connection.call("GET", "n") == b"8"
    server.end()


def test_functions_pass_to_stock_and_back(tmp_path):
    """Stock starts on a log with libraries; graven on stock's log, and on an RDB base that holds them."""
    server = Server(tmp_path / "graven", name="graven").start()
    with server.connect() as connection:
        connection.call("FUNCTION", "LOAD", LIBRARY)
        connection.call("FCALL", "add", 1, "n", 3)
    server.stop()
    shutil.copytree(server.directory, tmp_path / "stock")
    theirs = Server(tmp_path / "stock", name="stock", binary=stock_binary(), directives={"appendonly": "yes"}).start()
    with theirs.connect() as connection:
        assert connection.call("FCALL", "add", 1, "n", 4) == 7
        assert connection.call("FUNCTION", "LOAD", OTHER) == b"other"
        theirs_payload = connection.call("FUNCTION", "DUMP")
    theirs.stop()
    shutil.copytree(theirs.directory, tmp_path / "log")
    ours = Server(tmp_path / "log", name="log", directives={"appendonly": "yes"}).start()
    with ours.connect() as connection:
        assert (connection.call("FCALL", "add", 1, "n", 1), connection.call("FCALL", "five", 0)) == (8, 5)
        ours_payload = connection.call("FUNCTION", "DUMP")
        assert connection.call("FUNCTION", "RESTORE", theirs_payload, "REPLACE") == b"OK"
    ours.end()
    theirs.start()
    with theirs.connect() as connection:
        assert connection.call("FUNCTION", "RESTORE", ours_payload, "REPLACE") == b"OK"
        connection.call("BGREWRITEAOF")
        wait_until(lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence"), 20, "stock's rewrite")
    theirs.stop()
    base = Server(theirs.directory, name="base", directives={"appendonly": "yes"}).start()
    with base.connect() as connection:
        assert (connection.call("FCALL", "add", 1, "n", 1), connection.call("FCALL", "five", 0)) == (8, 5)
    base.end()


def test_what_set_repl_keeps_out_of_the_log_is_gone_after_a_restart(tmp_path):
    server = Server(tmp_path / "graven", name="graven").start()
    with server.connect() as connection:
        script = "redis.call('SET', 'a', 1) redis.set_repl(redis.REPL_NONE) redis.call('SET', 'b', 1) redis.set_repl(redis.REPL_ALL) redis.call('SET', 'c', 1)"
        connection.call("EVAL", script, 0)
        assert connection.call("EXISTS", "a", "b", "c") == 3
    server.stop()
    server.start()
    with server.connect() as connection:
        assert [connection.call("EXISTS", key) for key in "abc"] == [1, 0, 1]
    server.end()


HOSTILE = {
    "recursion through gsub": ("local function f() return (string.gsub('x', 'x', f)) end return f()", "C stack overflow"),
    "recursion through coroutines": ("local function f() return coroutine.wrap(f)() end return f()", "C stack overflow"),
    "recursion through pcall": ("local function f() return pcall(f) end return f()", 1),
    "recursion": ("local function f() return 1 + f() end return f()", "stack overflow"),
    "recursion through __index": ("local t = setmetatable({}, {__index = function(t, k) return t[k] end}) return t.x", "C stack overflow"),
    "strings without end": ("local s = 'x' while true do s = s .. s end", "not enough memory"),
    "patterns that recurse": ("return string.find(string.rep('a', 300000), string.rep('a?', 300000))", "pattern too complex"),
    "bytecode": ("return loadstring(string.dump(function() end))()", "attempt to call a nil value"),
    "syntax that nests": ("return loadstring(string.rep('(', 100000))", None),
    "JSON that nests": ("cjson.decode_max_depth(1e6) local ok, e = pcall(cjson.decode, string.rep('[', 1000000)) cjson.decode_max_depth(1000) return tostring(ok)", b"false"),
    "a table in itself, as JSON": ("cjson.encode_max_depth(1e6) local t = {} t[1] = t local ok = pcall(cjson.encode, t) cjson.encode_max_depth(1000) return tostring(ok)", b"false"),
    "MessagePack that nests": ("return tostring((pcall(cmsgpack.unpack, string.rep('\\145', 100000))))", b"false"),
    "a table in itself, as MessagePack": ("local t = {} t[1] = t return #cmsgpack.pack(t)", 17),
    "lengths that lie": ("return {pcall(cmsgpack.unpack, '\\219\\255\\255\\255\\255')}", [None, b"Missing bytes in input."]),
    "hexadecimal digits below zero": ("return bit.tohex(65535, -2147483648)", b"0000FFFF"),
    "tables shared by scripts": ("for k, v in pairs(_G) do if type(v) == 'table' and k ~= 'KEYS' and k ~= 'ARGV' and (pcall(rawset, v, 'zz', 1) or pcall(table.insert, v, 1)) then return k end end", None),
    "the metatable of strings": ("getmetatable('').__index = nil", "Attempt to modify a readonly table"),
    "the collector stopped": ("collectgarbage('stop') return 1", 1),
    "error objects": ("for _, e in ipairs({1, 'a', true, {}, {err = {}}, print_ or function() end, cjson.null}) do pcall(error, e) end error({})", "unknown error"),
    "a resumed self": ("local co co = coroutine.create(function() return coroutine.resume(co) end) return select('#', coroutine.resume(co))", 3),
    "many arguments": ("local t = {} for i = 1, 7000 do t[i] = 'k' .. i end return #redis.call('MGET', unpack(t))", 7000),
    "a reply in lines": ("return {ok = 'a\\r\\n$5\\r\\nhello'}", "a  $5  hello"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(server, name):
    """No script ends the server, and none leaves anything behind for the next."""
    script, expected = HOSTILE[name]
    script = script.replace("print_ or ", "")
    with server.connect(timeout=60.0) as connection:
        reply = connection.ask("EVAL", script, 0)
        if isinstance(expected, str):
            assert expected in reply.render()
        else:
            assert reply.plain() == expected
        assert connection.call("EVAL", "return ('ab'):upper() .. cjson.encode({1}) .. #KEYS", 0) == b"AB[1]0"
    assert server.alive()


def run_aside(server, *command):
    """Runs a command on a connection of its own; its reply, once it is there."""
    replies = []

    def run():
        with server.connect(timeout=60.0) as connection:
            replies.append(connection.ask(*command))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, replies


@pytest.mark.parametrize("body", ["while true do end", "while true do pcall(function() while true do end end) end", "coroutine.wrap(function() while true do end end)()"])
def test_a_script_can_be_killed_wherever_it_is(server, body):
    with server.connect() as connection:
        thread, replies = run_aside(server, "EVAL", body, 0)
        wait_until(lambda: b"SCRIPT KILL" in connection.ask("GET", "x").render().encode(), 20, "the script past its time")
        assert "SCRIPT KILL" in connection.ask("FUNCTION", "KILL").render()
        assert connection.call("SCRIPT", "KILL") == b"OK"
        thread.join(60)
        assert "Script killed by user" in replies[0].render()
        assert connection.call("EVAL", "return 1", 0) == 1


ASIDE = """PING|MULTI|SET a b|EXEC|MULTI|MULTI|DISCARD|WATCH k|UNWATCH|HELLO|HELLO 3|HELLO 2 SETNAME me|HELLO 4|HELLO 2 AUTH me no|HELLO 3 NO|AUTH a b c
AUTH x|AUTH me no|RESET|CLIENT LIST|SCRIPT KILL x|NOSUCH|INFO|SUBSCRIBE x|ACL WHOAMI|CLIENT ID|SELECT 1|FUNCTION STATS|FUNCTION KILL|GET|DISCARD|EXEC|EXEC
PUBLISH a b|MULTI|SCRIPT KILL|HELLO|UNWATCH|WATCH x|SUBSCRIBE y|NOSUCH|EXEC|MULTI|NOSUCH|DISCARD|MULTI"""


def test_what_is_answered_beside_a_long_script(server, stock):
    """Commands about the connection alone are, and count once the script has ended; all as in stock."""
    told = []
    for server in (server, stock):
        with server.connect(timeout=60.0) as connection, server.connect(timeout=60.0) as watcher, server.connect(timeout=60.0) as quiet:
            connection.call("CONFIG", "SET", "busy-reply-threshold", 100)
            connection.call("ACL", "SETUSER", "me", "on", ">secret", "+@all", "allkeys")
            connection.call("SET", "watched", 1)
            assert watcher.call("MULTI") == b"OK"
            quiet.send("CLIENT", "REPLY", "SKIP")
            wait_until(lambda: b"cmd=client|reply" in connection.call("CLIENT", "LIST"), 60, "one reply to be skipped")
            thread, replies = run_aside(server, "EVAL", "local function f()\n while true do end\nend\nf()", 0)
            wait_until(lambda: "SCRIPT KILL" in connection.ask("GET", "x").render(), 60, "the script past its time")
            seen = [connection.ask(*line.split(" ")).render() for line in ASIDE.replace("\n", "|").split("|")]
            seen += [watcher.ask(*line.split(" ")).render() for line in ("SET a 1", "HELLO")]
            quiet.send("GET", "skipped")
            seen.append(quiet.ask("GET", "x").render())
            with server.connect(timeout=60.0) as late:
                seen += [late.ask(*line.split(" ")).render() for line in ("WATCH watched", "HELLO 3 AUTH me secret SETNAME late", "MULTI", "SCRIPT KILL")]
                number = int(seen[-3].split('"id"=:')[1].split()[0])
                assert connection.ask("DISCARD").render() == "+OK" and connection.call("SCRIPT", "KILL") == b"OK"
                thread.join(60)
                seen.append(replies[0].render())
                assert quiet.call("PING") == b"PONG"
                seen += [watcher.ask("EXEC").render(), connection.ask("EXEC").render(), late.ask("DISCARD").render(), late.ask("ACL", "WHOAMI").render(), late.ask("CLIENT", "GETNAME").render()]
                assert late.call("CLIENT", "ID") == number
                assert "late" in late.ask("CLIENT", "LIST", "ID", number).render()
                late.call("WATCH", "watched")
                connection.call("SET", "watched", 2)
                assert late.call("MULTI") == b"OK" and late.call("EXEC") is None
        told.append([re.sub(r'("version".)[^ ]+ |("id".):\d+', "", text) for text in seen])
    assert told[0] == told[1]


def test_a_function_can_be_seen_and_killed(server):
    body = "#!lua name=slow\nredis.register_function('spin', function() while true do end end)\nredis.register_function('write', function(keys) redis.call('SET', keys[1], 1) while redis.call('EXISTS', 'go') == 0 do end return 1 end)"
    with server.connect() as connection:
        connection.call("FUNCTION", "LOAD", "REPLACE", body)
        thread, replies = run_aside(server, "FCALL", "spin", 1, "k", "v")
        wait_until(lambda: "FUNCTION KILL" in connection.ask("GET", "x").render(), 20, "the function past its time")
        stats = connection.call("FUNCTION", "STATS")
        running = dict(zip(stats[1][::2], stats[1][1::2], strict=True))
        assert running[b"name"] == b"spin" and running[b"command"] == [b"FCALL", b"spin", b"1", b"k", b"v"] and running[b"duration_ms"] >= 100
        assert "FUNCTION KILL" in connection.ask("SCRIPT", "KILL").render()
        assert connection.call("FUNCTION", "KILL") == b"OK"
        thread.join(60)
        assert "Script killed by user" in replies[0].render()
        assert connection.call("FUNCTION", "STATS")[1] is None
        connection.call("FUNCTION", "DELETE", "slow")


def test_scripts_of_eval_leave_the_cache_and_loaded_ones_stay(server):
    with server.connect() as connection:
        connection.call("SCRIPT", "FLUSH")
        kept = connection.call("SCRIPT", "LOAD", "return 'kept'")
        before = dict(line.split(":") for line in connection.call("INFO").decode().split("\r\n") if ":" in line)
        connection.pipeline([("EVAL", f"return {number}", 0) for number in range(600)])
        after = dict(line.split(":") for line in connection.call("INFO").decode().split("\r\n") if ":" in line)
        assert int(after["evicted_scripts"]) - int(before["evicted_scripts"]) == 100
        assert int(after["number_of_cached_scripts"]) == 501
        assert int(after["used_memory_scripts_eval"]) > 501 * 50 and int(after["used_memory_vm_eval"]) > 50_000
        assert connection.call("EVALSHA", kept, 0) == b"kept"
        assert connection.call("SCRIPT", "SHOW", kept) == b"return 'kept'"


def test_counts_of_functions_in_info(server):
    with server.connect() as connection:
        connection.call("FUNCTION", "FLUSH")
        connection.call("FUNCTION", "LOAD", LIBRARY)
        info = dict(line.split(":") for line in connection.call("INFO", "memory").decode().split("\r\n") if ":" in line)
        assert (info["number_of_libraries"], info["number_of_functions"]) == ("1", "2")
        assert int(info["used_memory_functions"]) > len(LIBRARY) and int(info["used_memory_vm_functions"]) > 50_000
        connection.call("FUNCTION", "FLUSH")


def test_a_job_queue_in_scripts(server):
    """Scripts of some hundred lines over cmsgpack arguments, as BullMQ sends them: jobs added, moved, finished."""
    helpers = "\n".join(f"local function helper{n}(a, b) if a == nil then return b end return (a + b) % {n + 2} end" for n in range(150))
    add = helpers + """
        local opts = cmsgpack.unpack(ARGV[1])
        local id = redis.call('INCR', KEYS[1])
        redis.call('HSET', KEYS[2] .. id, 'name', opts.name, 'data', cjson.encode(opts.data), 'attempts', opts.attempts or 1)
        redis.call('LPUSH', KEYS[3], id)
        return id .. ''
    """
    take = helpers + """
        local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
        if not id then return nil end
        return {id, redis.call('HGETALL', KEYS[3] .. id), helper3(1, 2)}
    """
    pack = "return cmsgpack.pack({name='job', attempts=3, data={n=tonumber(ARGV[1]), list={1,2,3}, deep={a={b={c='x'}}}}})"
    with server.connect(timeout=60.0) as connection:
        connection.call("DEL", "id", "wait", "active")
        shas = {name: connection.call("SCRIPT", "LOAD", text) for name, text in (("add", add), ("take", take), ("pack", pack))}
        for number in range(50):
            packed = connection.call("EVALSHA", shas["pack"], 0, number)
            assert connection.call("EVALSHA", shas["add"], 3, "id", "job:", "wait", packed) == str(number + 1).encode()
        for number in range(50):
            job, fields, three = connection.call("EVALSHA", shas["take"], 3, "wait", "active", "job:")
            fields = dict(zip(fields[::2], fields[1::2], strict=True))
            assert job == str(number + 1).encode() and three == 3 and b'"n":%d' % number in fields[b"data"] and fields[b"attempts"] == b"3"
        assert connection.call("EVALSHA", shas["take"], 3, "wait", "active", "job:") is None
