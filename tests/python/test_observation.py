"""What shows a server at work: SLOWLOG, LATENCY, MONITOR and the statistics of INFO, beside stock redis-server 7.0 where it says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.resp import Connection, ServerError
from support.server import Server, stock_binary, stock_under_test, wait_until


# What the two servers of `pair` run with.
PAIR_DIRECTIVES = {"enable-debug-command": "yes"}


@pytest.fixture(params=["graven", "stock"])
def either(pair, request):
    """Both servers, one after the other: what holds for the one holds for the other."""
    server = pair[request.param == "stock"]
    with server.connect() as connection:
        connection.pipeline([("CONFIG", "SET", "slowlog-log-slower-than", "10000", "slowlog-max-len", "128", "latency-monitor-threshold", "0"), ("SLOWLOG", "RESET"), ("LATENCY", "RESET"), ("CONFIG", "RESETSTAT")])
    return server


def replies(pair, *commands, protocol=2):
    shown = []
    for server in pair:
        with server.connect(protocol=protocol) as connection:
            shown.append([connection.ask(*command).render() for command in commands])
    return shown


@pytest.mark.parametrize("protocol", [2, 3])
def test_errors_and_empty_replies(pair, protocol):
    commands = [
        ("SLOWLOG", "GET", "-2"), ("SLOWLOG", "GET", "x"), ("SLOWLOG", "GET", "1", "2"), ("SLOWLOG", "LEN", "1"), ("SLOWLOG", "RESET"), ("SLOWLOG", "GET", "-1"), ("SLOWLOG", "LEN"),
        ("SLOWLOG", "FOO"), ("SLOWLOG",), ("LATENCY", "RESET"), ("LATENCY", "LATEST"), ("LATENCY", "HISTORY", "command"), ("LATENCY", "HISTORY"), ("LATENCY", "RESET", "x", "y"),
        ("LATENCY", "GRAPH", "command"), ("LATENCY", "FOO"), ("LATENCY", "HISTOGRAM", "nosuch"), ("LATENCY", "GRAPH"), ("MONITOR", "x"), ("DEBUG", "FOO"), ("DEBUG", "SLEEP"),
    ]  # fmt: skip
    ours, stock = replies(pair, *commands, protocol=protocol)
    assert list(zip(commands, ours)) == list(zip(commands, stock))


def test_slow_calls_are_kept_with_who_made_them(either):
    with either.connect() as connection:
        connection.call("CLIENT", "SETNAME", "worker")
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "5")
        connection.call("SET", "k", "x" * 200)
        connection.call("DEL", *range(40))
        with pytest.raises(ServerError):
            connection.call("CONFIG", "SET", "requirepass")
        connection.call("CONFIG", "SET", "masterauth", "secret")
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        connection.call("PING")
        entries = connection.call("SLOWLOG", "GET")
        assert [entry[3][0] for entry in entries] == [b"CONFIG", b"DEL", b"SET", b"CONFIG"]
        ids = [entry[0] for entry in entries]
        assert ids == sorted(ids, reverse=True)
        newest, deleted, written, _ = entries
        assert newest[3] == [b"CONFIG", b"SET", b"masterauth", b"(redacted)"]
        assert deleted[3][-1] == b"... (10 more arguments)" and len(deleted[3]) == 32
        assert written[3][2] == b"x" * 128 + b"... (72 more bytes)"
        assert written[4].startswith(b"127.0.0.1:") and written[5] == b"worker" and 0 <= int(connection.call("TIME")[0]) - written[1] < 60
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        for n in range(10):
            connection.call("GET", "k")
        assert connection.call("SLOWLOG", "LEN") == 5
        assert len(connection.call("SLOWLOG", "GET", "2")) == 2
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "10000", "slowlog-max-len", "128")
        connection.call("SLOWLOG", "RESET")
        connection.call("DEBUG", "SLEEP", "0.02")
        # On a busy machine anything may be slow.
        (entry,) = [entry for entry in connection.call("SLOWLOG", "GET") if entry[3][0] == b"DEBUG"]
        assert entry[3] == [b"DEBUG", b"SLEEP", b"0.02"] and 20000 <= entry[2] < 20000000


def test_passwords_are_in_no_log_and_no_monitor(either):
    with either.connect() as connection, either.connect() as monitor:
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
        assert monitor.call("MONITOR") == b"OK"
        for command in (("AUTH", "hunter2"), ("AUTH", "default", "hunter2"), ("HELLO", "2", "AUTH", "default", "hunter2")):
            try:
                connection.call(*command)
            except ServerError:
                pass
        entries = connection.call("SLOWLOG", "GET", "3")
        assert [entry[3] for entry in entries] == [
            [b"HELLO", b"2", b"AUTH", b"(redacted)", b"(redacted)"],
            [b"AUTH", b"(redacted)", b"(redacted)"],
            [b"AUTH", b"(redacted)"],
        ]
        lines = [monitor.read() for _ in range(3)]
        assert b"hunter2" not in b"".join(lines)
        connection.call("CONFIG", "SET", "slowlog-log-slower-than", "10000")


MONITOR = re.compile(rb"^\d{10}\.\d{6} \[(\d+) (127\.0\.0\.1:\d+|lua)\] (.*)$")


def test_monitor_shows_what_is_executed_in_order(pair):
    """The same lines, but for times and ports, as stock shows: transactions, scripts, blocked calls, errors, odd bytes."""
    shown = []
    for server in pair:
        with server.connect() as monitor, server.connect() as worker, server.connect() as other:
            assert monitor.call("MONITOR") == b"OK"
            worker.pipeline([
                ("SET", "k", b'a"\\\n\r\t\x07\x08\x00\xff'), ("get", "k"), ("NOSUCH", "x"), ("GET",), ("LPUSH", "k", "x"), ("SELECT", "3"), ("DEL", "l"),
                ("MULTI",), ("INCR", "n"), ("GET", "n"), ("EXEC",), ("EVAL", "redis.call('set', KEYS[1], 'v'); return redis.call('get', KEYS[1])", "1", "s"),
                ("CONFIG", "GET", "port"), ("CLIENT", "GETNAME"), ("BLPOP", "l", "0.01"), ("SELECT", "0"),
            ])  # fmt: skip
            worker.send("BLPOP", "queue", "0")
            wait_until(lambda: b"blocked_clients:1" in other.call("INFO", "clients"), 5, "a blocked client")
            other.call("RPUSH", "queue", "job")
            worker.read()
            worker.call("ECHO", "the end")
            lines = []
            while not lines or b"the end" not in lines[-1]:
                lines.append(monitor.read())
            lines = [line for line in lines if b'"INFO"' not in line]
            assert all(MONITOR.match(line) for line in lines), lines
            shown.append([MONITOR.sub(rb"\1 \3", line) for line in lines])
    assert shown[0] == shown[1]


def test_monitor_ends_with_reset_and_has_its_flag(either):
    with either.connect() as monitor, either.connect() as worker:
        monitor.call("CLIENT", "SETNAME", "watcher")
        monitor.call("MONITOR")
        line = next(line for line in worker.call("CLIENT", "LIST").decode().splitlines() if "name=watcher" in line)
        assert " flags=O " in line and " cmd=monitor " in line
        worker.call("ECHO", "one")
        while b'"one"' not in (seen := monitor.read()):
            assert b"ECHO" not in seen
        monitor.send("RESET")
        while monitor.read() != b"RESET":
            pass
        worker.call("ECHO", "two")
        assert monitor.silent(0.1)


def test_monitor_is_refused_in_transactions(pair):
    ours, stock = replies(pair, ("MULTI",), ("MONITOR",), ("EXEC",), ("EVAL", "return redis.call('monitor')", "0"))
    assert ours[:3] == stock[:3]


def test_latency_spikes(either):
    with either.connect() as connection:
        # Above what a busy machine does by itself.
        connection.call("CONFIG", "SET", "latency-monitor-threshold", "1000")
        connection.call("DEBUG", "SLEEP", "1.2")
        ((event, at, latest, highest),) = connection.call("LATENCY", "LATEST")
        assert event == b"command" and 1200 <= latest < 60000 and latest == highest
        assert connection.call("LATENCY", "HISTORY", "command") == [[at, latest]]
        graph = connection.call("LATENCY", "GRAPH", "command").decode().splitlines()
        assert graph[0] == f"command - high {latest} ms, low {latest} ms (all time high {latest} ms)" and graph[1] == "-" * 80
        assert graph[2:7] == [" ", " ", " ", "_", " "]
        assert "1. command: 1 latency spikes (average" in connection.call("LATENCY", "DOCTOR").decode()
        assert connection.call("LATENCY", "RESET", "command", "fork") == 1
        assert connection.call("LATENCY", "LATEST") == []


def test_times_of_commands(either):
    with either.connect(protocol=3) as connection:
        connection.pipeline([("SET", "k", n) for n in range(100)])
        connection.call("DEBUG", "SLEEP", "0.01")
        for command in (("LPUSH", "k", "x"), ("GET",), ("CONFIG", "SET", "nosuch", "x")):
            with pytest.raises(ServerError):
                connection.call(*command)
        histogram = connection.call("LATENCY", "HISTOGRAM", "set", "debug", "config")
        assert sorted(histogram) == [b"config|resetstat", b"config|set", b"debug", b"set"]
        assert histogram[b"set"][b"calls"] == 100
        steps = histogram[b"set"][b"histogram_usec"]
        assert list(steps) == sorted(steps) and list(steps.values()) == sorted(steps.values()) and list(steps.values())[-1] == 100
        assert list(histogram[b"debug"][b"histogram_usec"].values()) == [1] and min(histogram[b"debug"][b"histogram_usec"]) >= 16000
        info = connection.call("INFO", "everything").decode()
        assert re.search(r"\r\nlatency_percentiles_usec_set:p50=\d+\.\d{3},p99=\d+\.\d{3},p99.9=\d+\.\d{3}\r\n", info)
        assert re.search(r"\r\ncmdstat_set:calls=100,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=0,failed_calls=0\r\n", info)
        assert re.search(r"\r\ncmdstat_lpush:calls=1,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=0,failed_calls=1\r\n", info)
        assert re.search(r"\r\ncmdstat_get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n", info)
        assert "\r\nerrorstat_WRONGTYPE:count=1\r\n" in info and "\r\nerrorstat_ERR:count=2\r\n" in info
        connection.call("CONFIG", "SET", "latency-tracking-info-percentiles", "0 75 100")
        assert re.search(r"latency_percentiles_usec_set:p0=\d+\.\d{3},p75=\d+\.\d{3},p100=\d+\.\d{3}\r\n", connection.call("INFO", "latencystats").decode())
        connection.call("CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 99.9", "latency-tracking", "no")
        connection.call("GET", "k")
        assert b"get" not in connection.call("LATENCY", "HISTOGRAM")
        connection.call("CONFIG", "SET", "latency-tracking", "yes")


@pytest.mark.graven_only
def test_a_wait_counts_once_and_is_not_slow(pair):
    """Time in which a blocked client waits is nobody's work."""
    with pair[0].connect() as worker, pair[0].connect() as other:
        other.pipeline([("CONFIG", "SET", "slowlog-log-slower-than", "500000"), ("SLOWLOG", "RESET"), ("CONFIG", "RESETSTAT")])
        worker.send("BLPOP", "queue", "0")
        wait_until(lambda: b"blocked_clients:1" in other.call("INFO", "clients"), 5, "a blocked client")
        assert b"cmdstat_blpop" not in other.call("INFO", "commandstats")
        other.call("DEBUG", "SLEEP", "0.6")
        other.call("RPUSH", "queue", "job")
        worker.read()
        stats = other.call("INFO", "commandstats").decode()
        calls, usec = re.search(r"cmdstat_blpop:calls=(\d+),usec=(\d+),", stats).groups()
        assert calls == "1" and int(usec) < 500000
        assert [entry[3][0] for entry in other.call("SLOWLOG", "GET")] == [b"DEBUG"]


# Fields of INFO in Redis 7.2 that 7.0 does not have.
NEWER = """
server_name watching_clients pubsub_clients total_watched_keys total_blocking_keys evicted_scripts acl_access_denied_auth acl_access_denied_cmd acl_access_denied_key
acl_access_denied_channel client_query_buffer_limit_disconnections client_output_buffer_limit_disconnections eventloop_cycles eventloop_duration_sum
eventloop_duration_cmd_sum instantaneous_eventloop_cycles_per_sec instantaneous_eventloop_duration_usec
""".split()


def test_info_has_every_field_of_stock(tmp_path):
    """By section, with a log and a key, as names; and those of 7.2 beside them."""
    found = []
    for name, binary in (("graven", None), ("stock", stock_binary())):
        server = Server(tmp_path / name, name=name, binary=binary).start()
        with server.connect() as connection:
            connection.pipeline([("SET", "k", "v", "EX", 100), ("NOSUCH",), ("GET", "k")])
            text = connection.call("INFO", "everything").decode()
            fields, section = {}, None
            for line in text.split("\r\n"):
                if line.startswith("# "):
                    section = line[2:]
                    fields[section] = set()
                elif line:
                    fields[section].add(line.split(":")[0])
            found.append(fields)
        server.end()
    ours, stock = found
    assert list(ours) == list(stock)
    missing = {section: sorted(stock[section] - ours[section] - {"cmdstat_hello"}) for section in stock if section not in ("Commandstats", "Latencystats")}
    assert not any(missing.values()), missing
    everywhere = set().union(*ours.values())
    assert stock_under_test() or not [name for name in NEWER if name not in everywhere]


@pytest.mark.graven_only
def test_the_loop_counts_its_work(pair):
    with pair[0].connect() as connection:
        def figures():
            return {line.split(":")[0]: line.split(":")[1] for line in connection.call("INFO", "stats", "cpu").decode().split("\r\n") if ":" in line}

        before = figures()
        connection.call("DEBUG", "SLEEP", "0.05")
        after = wait_until(lambda: (now := figures()) and int(now["instantaneous_eventloop_cycles_per_sec"]) > 0 and now, 5, "a sample")
        grown = {name: float(after[name]) - float(before[name]) for name in ("eventloop_cycles", "eventloop_duration_sum", "eventloop_duration_cmd_sum", "used_cpu_user_main_thread")}
        assert grown["eventloop_duration_cmd_sum"] >= 50000 and grown["eventloop_duration_sum"] >= 50000 and grown["eventloop_cycles"] >= 1
        # The system tells user time from its own by sampling, so only their sum can be compared.
        main, all_threads = (sum(float(after[f"used_cpu_{kind}{suffix}"]) for kind in ("user", "sys")) for suffix in ("_main_thread", ""))
        assert 0 < main <= all_threads + 0.01


def words_of_help(lines: list[bytes]) -> set[str]:
    """The subcommands that a HELP names, each of those that share a line."""
    return {part.split()[0].decode() for line in lines[1:] if not line.startswith(b" ") for part in line.split(b" | ")}


@pytest.mark.graven_only
def test_what_debug_does_not_have_has_a_reason(pair):
    """allowed_differences.toml names each subcommand of stock's that is missing, and no other."""
    import tomllib

    shown = []
    for server in pair:
        with server.connect() as connection:
            shown.append(words_of_help(connection.call("DEBUG", "HELP")))
    with open(Path(__file__).with_name("allowed_differences.toml"), "rb") as file:
        explained = {name for entry in tomllib.load(file)["debug"] for name in entry["names"]}
    assert shown[1] - shown[0] == explained


def test_debug_about_forms_and_peers(pair):
    commands = [
        ("FLUSHALL",), ("RPUSH", "quick", *range(5000)), ("HSET", "small", "f", "v"), ("ZADD", "z", 1, "m"), ("SET", "s", "x"), ("SADD", "i", 1),
        ("DEBUG", "LISTPACK", "small"), ("DEBUG", "LISTPACK", "z"), ("DEBUG", "LISTPACK", "quick"), ("DEBUG", "LISTPACK", "s"), ("DEBUG", "LISTPACK", "i"),
        ("DEBUG", "LISTPACK", "none"), ("DEBUG", "LISTPACK"), ("DEBUG", "QUICKLIST", "quick"), ("DEBUG", "QUICKLIST", "quick", 1), ("DEBUG", "QUICKLIST", "small"),
        ("DEBUG", "QUICKLIST", "none"), ("DEBUG", "QUICKLIST"), ("DEBUG", "REPLICATE", "a", "b"), ("DEBUG", "REPLICATE"),
        ("DEBUG", "LEAK", "x"), ("DEBUG", "LEAK"),
        ("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-1"), ("DEBUG", "PAUSE-CRON", 0), ("DEBUG", "SET-ACTIVE-EXPIRE", 1), ("FLUSHALL",),
    ]  # fmt: skip
    ours, stock = replies(pair, *commands)
    assert list(zip(commands, ours)) == list(zip(commands, stock))


@pytest.mark.graven_only
def test_debug_prints_forms(make_server):
    server = make_server().start()
    with server.connect() as connection:
        # (Stock looks for its cluster all the same, and crashes.)
        with pytest.raises(ServerError, match="only available for cluster mode"):
            connection.call("DEBUG", "CLUSTERLINK", "kill", "all", "x")
        # (As 7.2 has it.)
        assert [connection.call("DEBUG", "STRINGMATCH-LEN", pattern, text) for pattern, text in (("a*[b-d]?", "axxcz"), ("a", "b"))] == [1, 0]
        connection.call("HSET", "small", "f", b"\xff\n")
        connection.call("DEBUG", "LISTPACK", "small")
        connection.call("CONFIG", "SET", "list-max-listpack-size", 2)
        connection.call("RPUSH", "l", "a", "b", "c", "x" * 9000)
        connection.call("DEBUG", "QUICKLIST", "l")
        connection.call("DEBUG", "QUICKLIST", "l", 1)
    text = server.log_since_start()
    assert "0: f\n1: \\xff\\n\n" in text
    assert "{count: 4}\n{nodes: 3}\n" in text and "entries}\n{node 1}" in text and "{plain: 9000 bytes}\n" in text
    assert "0: a\n1: b\n{node 1}" in text


@pytest.fixture
def pair_with_sockets(make_server, make_stock, tmp_path):
    """Both servers, and the unix socket of each."""
    return [(make({"appendonly": "no", "unixsocket": tmp_path / name}, name).start(), tmp_path / name) for name, make in (
        ("graven", lambda directives, name: make_server(name, directives=directives)), ("stock", lambda directives, name: make_stock(name, directives=directives)),
    )]  # fmt: skip


def test_every_line_of_monitor(pair_with_sockets):
    """Byte for byte but for times and ports: scripts, functions, a unix socket, escapes, hidden passwords, transactions, what was refused."""
    shown = []
    for server, path in pair_with_sockets:
        with server.connect() as monitor, server.connect() as client, Connection(path=str(path)) as local, server.connect() as last:
            monitor.call("MONITOR")
            for words in (
                ("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("HELLO", 2, "AUTH", "default", "wrong"), ("SET", "k", bytes(range(256))), ("SET", 'k"\\', "\n\r\t\a\b"),
                ("EVAL", "redis.call('set', KEYS[1], ARGV[1]); redis.pcall('incr', KEYS[1]); return redis.call('select', 2)", 1, "a", "b"),
                ("EVAL", "redis.call('HSET', 'h', '\\n', '\\255')", 0), ("MULTI",), ("SET", "a", 1), ("NOSUCH",), ("EXEC",), ("MULTI",), ("SET", "a", 1), ("INCR", "a"), ("EXEC",),
                ("MULTI",), ("GET", "a"), ("DISCARD",), ("GET",), ("CONFIG", "SET", "masterauth", "secret"), ("CONFIG", "GET", "port"), ("ACL", "SETUSER", "u", ">secret"),
                ("BLPOP", "none", "0.01"), ("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return redis.call('get', 'zz') end)"), ("FCALL", "f", 0),
                ("FUNCTION", "DELETE", "l"), ("SUBSCRIBE", "ch"), ("PING",),
            ):  # fmt: skip
                client.ask(*words)
            for words in (("GET", "k"), ("SELECT", 3), ("SET", "x", "y")):
                local.ask(*words)
            last.call("SET", "last", "one")
            lines = []
            while not lines or b'"last"' not in lines[-1]:
                line = re.sub(rb"127\.0\.0\.1:\d+", b"ADDRESS", monitor.read()).replace(str(path).encode(), b"SOCKET")
                assert re.match(rb"\d{10}\.\d{6} \[", line), line
                lines.append(line[18:])
        shown.append(lines)
    assert len(shown[0]) > 25
    assert shown[0] == shown[1]


def test_what_the_acl_log_remembers(pair):
    shown = []
    for server in pair:
        with server.connect() as admin, server.connect() as limited, server.connect() as other:
            admin.call("ACL", "SETUSER", "lim", "on", "nopass", "~a*", "&ch*", "+get", "+eval", "+multi", "+exec", "+publish")
            admin.call("ACL", "LOG", "RESET")
            for words in (
                ("AUTH", "lim", "x"), ("GET", "zz"), ("GET", "zz"), ("SET", "a", 1), ("EVAL", "return redis.call('set', 'a', 1)", 0), ("EVAL", "return redis.call('get', 'zz')", 0),
                ("PUBLISH", "news", "m"), ("MULTI",), ("GET", "zz"), ("EXEC",), ("ACL", "LOG"),
            ):  # fmt: skip
                limited.ask(*words)
            other.ask("AUTH", "nobody", "x")
            entries = [dict(zip(entry[::2], entry[1::2])) for entry in admin.call("ACL", "LOG")]
            shown.append([[entry[name] for name in (b"count", b"reason", b"context", b"object", b"username")] for entry in entries])
            admin.call("ACL", "DELUSER", "lim")
    assert len(shown[0]) == 8
    assert shown[0] == shown[1]


def test_the_graph_of_a_latency(pair):
    """The same picture of the same times; what it is drawn of are real calls, as long as asked for or longer."""
    for server in pair:
        with server.connect() as connection:
            connection.call("CONFIG", "SET", "latency-monitor-threshold", 1)
            connection.call("LATENCY", "RESET")
            connection.call("DEBUG", "SLEEP", "0.02")
            ((_, took),) = connection.call("LATENCY", "HISTORY", "command")
            (_, _, latest, highest) = next(entry for entry in connection.call("LATENCY", "LATEST") if entry[0] == b"command")
            assert 20 <= took == latest == highest
            graph = connection.call("LATENCY", "GRAPH", "command").decode().splitlines()
            assert graph[0] == f"command - high {took} ms, low {took} ms (all time high {took} ms)" and graph[1] == "-" * 80
            assert graph[2:6] == [" ", " ", " ", "_"] and re.fullmatch(r"\d", graph[7]) and graph[8] == "s"
            report = connection.call("LATENCY", "DOCTOR").decode()
            assert f"1. command: 1 latency spikes (average {took}ms, mean deviation 0ms, period" in report and f"Worst all time event {took}ms." in report
            assert connection.call("LATENCY", "RESET", "command") == 1
            assert connection.call("LATENCY", "HISTORY", "command") == []
            connection.call("CONFIG", "SET", "latency-monitor-threshold", 0)


def test_the_command_that_a_client_sent_last(make_server, make_stock):
    """CLIENT LIST names it whether or not it could run, as long as there is such a one."""
    seen = []
    for server in (make_server(directives={"appendonly": "no"}).start(), make_stock(directives={"appendonly": "no"}).start()):
        with server.connect() as client, server.connect() as other:
            seen.append([])
            for request in (("GET",), ("GEOADD", "k", 1, 2, 3, 4), ("nosuch",), ("GEOADD", "k", "x"), ("CONFIG",), ("CONFIG", "GET"), ("CLIENT", "NOSUCH"), ("GET", "k")):
                client.pipeline([request])
                lines = other.call("CLIENT", "LIST").decode().splitlines()
                seen[-1].append((request, [line.split(" cmd=")[1].split()[0] for line in lines]))
    assert seen[0] == seen[1]
