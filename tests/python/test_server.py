"""The program itself: command line and configuration files, start and end, signals, limits, what it refuses and how it says so."""

from __future__ import annotations

import grp
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support.dump import differences, dump_all
from support.resp import Closed, Connection, ServerError, encode
from support.server import Server, free_port, graven_binary, stock_binary, stock_under_test, wait_until

STOCK_CONF = Path("/etc/redis/redis.conf")


def run(arguments, *, stdin: str | None = None, cwd=None, seconds: float = 120.0) -> subprocess.CompletedProcess:
    """Runs the program to its end."""
    return subprocess.run([graven_binary(), *map(str, arguments)], input=stdin, text=True, capture_output=True, cwd=cwd, timeout=seconds)


def config(connection: Connection, name: str) -> str | None:
    pair = connection.call("CONFIG", "GET", name)
    return pair[1].decode() if pair else None


class Plain(Server):
    """A server whose command line the test writes itself."""

    def __init__(self, directory: Path, words, *, binary=None, stdin: str | None = None):
        super().__init__(directory, binary=binary)
        self.words = [str(word).replace("@PORT@", str(self.port)) for word in words]
        self.stdin = stdin

    def arguments(self) -> list[str]:
        return [self.binary, *self.words]

    def start(self, *, wait: bool = True, **_directives) -> "Plain":
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.arguments(), stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.directory)
        Server.running.append(self)
        if self.stdin is not None:
            self.process.stdin.write(self.stdin.replace("@PORT@", str(self.port)).encode())
        self.process.stdin.close()
        if wait:
            self.wait_ready()
        return self


@pytest.fixture
def plain(tmp_path):
    made = []

    def make(words, **options) -> Plain:
        made.append(Plain(tmp_path / f"cwd-{len(made)}", words, **options))
        return made[-1]

    yield make
    for server in made:
        server.end()


# The command line.


def test_version_and_help():
    for option in ("--version", "-v"):
        done = run([option])
        assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout), done
    for option in ("--help", "-h"):
        done = run([option])
        text = done.stdout + done.stderr
        assert "redis.conf" in text or "config" in text.lower(), done


@pytest.mark.graven_only
def test_defaults_without_arguments(plain):
    """Safe by default: everything logged, every reply durable, data in ./graven-data, nobody from elsewhere."""
    server = plain(["--port", "@PORT@"]).start()
    with server.connect() as connection:
        assert config(connection, "appendonly") == "yes"
        assert config(connection, "appendfsync") == "always"
        assert config(connection, "save") == ""
        assert config(connection, "dir") == str(server.directory / "graven-data")
        assert config(connection, "bind").split()[0] == "127.0.0.1"
        assert config(connection, "protected-mode") == "yes"
        assert config(connection, "databases") == "16"
        assert connection.call("SET", "k", "v") == b"OK"
    assert (server.directory / "graven-data" / "appendonlydir" / "appendonly.aof.manifest").exists()
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"v"


@pytest.mark.graven_only
@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_under_the_name_of_stock(plain, tmp_path, name):
    """A link called redis-server has stock's defaults."""
    link = tmp_path / name
    link.symlink_to(Path(graven_binary()).resolve())
    server = plain(["--port", "@PORT@"], binary=str(link)).start()
    with server.connect() as connection:
        assert config(connection, "appendonly") == "no"
        assert config(connection, "appendfsync") == "everysec"
        assert config(connection, "dir") == str(server.directory)


@pytest.mark.graven_only
def test_the_word_server_is_optional(plain):
    server = plain(["server", "--port", "@PORT@"]).start()
    with server.connect() as connection:
        assert config(connection, "appendonly") == "yes"


def test_configuration_file_and_arguments_behind_it(plain, tmp_path):
    conf = tmp_path / "my redis.conf"
    data = tmp_path / "data dir"
    data.mkdir()
    conf.write_text(
        "# a comment\n\n   # another\n"
        "port 1\n"
        f'dir "{data}"\n'
        "maxclients 77\n"
        "appendonly no\n"
        "save 900 1\nsave 300 10\n"
        "requirepass 'with space'\n"
        "TIMEOUT 33\n"
        "slave-read-only yes\n"
        "hash-max-ziplist-entries 99\n"
        "client-output-buffer-limit pubsub 16mb 8mb 60\n"
        "tcp-keepalive 120\n"
    )
    server = plain([conf, "--port", "@PORT@", "--maxclients 55", "--databases", "20", "--appendfsync", "no"]).start()
    with server.connect() as connection:
        assert connection.call("AUTH", "with space") == b"OK"
        assert config(connection, "maxclients") == "55", "an argument overrides the file"
        assert config(connection, "databases") == "20" and config(connection, "appendfsync") == "no"
        assert config(connection, "save") == "900 1 300 10"
        assert config(connection, "timeout") == "33" and config(connection, "dir") == str(data)
        assert config(connection, "hash-max-listpack-entries") == "99" and config(connection, "hash-max-ziplist-entries") == "99"
        assert config(connection, "replica-read-only") == "yes"
        assert "pubsub 16777216 8388608 60" in config(connection, "client-output-buffer-limit")
        assert connection.call("INFO", "server").decode().count(f"config_file:{conf}") == 1


def test_include_and_relative_dir(plain, tmp_path):
    server = plain(["main.conf", "--port", "@PORT@"])
    (server.directory / "other.conf").write_text("maxclients 66\n")
    (server.directory / "main.conf").write_text("include other.conf\ndir ./data\nappendonly yes\n")
    (server.directory / "data").mkdir()
    server.start()
    with server.connect() as connection:
        assert config(connection, "maxclients") == "66" and config(connection, "dir") == str(server.directory / "data")


def test_configuration_from_standard_input(plain):
    server = plain(["-", "--maxclients", "44"], stdin="port @PORT@\ndatabases 9\nappendonly no\n").start()
    with server.connect() as connection:
        assert config(connection, "databases") == "9" and config(connection, "maxclients") == "44"


def test_save_with_none_and_with_several_values(plain):
    server = plain(["--port", "@PORT@", "--save", "", "--appendonly", "no"]).start()
    with server.connect() as connection:
        assert config(connection, "save") == ""
    server = plain(["--port", "@PORT@", "--save", "100", "1", "200", "2", "--appendonly", "no"]).start()
    with server.connect() as connection:
        assert config(connection, "save") == "100 1 200 2"


@pytest.mark.parametrize(
    "line",
    ["nosuch yes", "port abc", "port 70000", "appendfsync maybe", "appendonly perhaps", "databases 0", "maxclients", "save abc", "port 1 2", 'requirepass "unbalanced', "client-output-buffer-limit nosuch 1 2 3"],
)
def test_a_bad_line_stops_the_start(tmp_path, line):
    conf = tmp_path / "bad.conf"
    conf.write_text(f"# first\nmaxclients 100\n{line}\n")
    done = run([conf], cwd=tmp_path)
    assert done.returncode == 1, done
    assert "*** FATAL CONFIG FILE ERROR" in done.stderr
    assert "at line 3" in done.stderr and f">>> '{line}'" in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ["bad.conf"], "something was touched"


def test_a_bad_argument_stops_the_start(tmp_path):
    done = run(["--nosuch", "yes"], cwd=tmp_path)
    assert done.returncode == 1 and "*** FATAL CONFIG FILE ERROR" in done.stderr and "nosuch" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_missing_configuration_file(tmp_path):
    done = run([tmp_path / "none.conf"], cwd=tmp_path)
    assert done.returncode == 1 and "none.conf" in done.stdout + done.stderr


@pytest.mark.graven_only
@pytest.mark.parametrize(
    "line", ["replicaof 127.0.0.1 1", "slaveof 127.0.0.1 1", "tls-port 6390", "cluster-enabled yes", "loadmodule /x.so"]
)
def test_what_would_change_safety_stops_the_start(tmp_path, line):
    conf = tmp_path / "unsafe.conf"
    conf.write_text(f"port 0\n{line}\n")
    done = run([conf], cwd=tmp_path)
    assert done.returncode == 1, done
    assert line.split()[0] in done.stderr, done.stderr


def test_every_directive_of_stock_is_accepted(plain, tmp_path):
    """A file with each directive that stock reports, at stock's value; and the redis.conf of Debian's package where it can be read."""
    stock = Server(tmp_path / "stock", name="stock", binary=stock_binary(), directives={"appendonly": "no"}).start()
    with stock.connect() as connection:
        values = connection.call("CONFIG", "GET", "*")
    stock.end()
    pairs = {name.decode(): value.decode() for name, value in zip(values[::2], values[1::2])}
    own = {"port", "bind", "dir", "unixsocket", "logfile", "pidfile", "tls-port", "cluster-enabled", "replicaof", "slaveof", "save"}
    lines = [f'{name} "{value}"' for name, value in pairs.items() if name not in own and value != ""]
    lines = [re.sub(r'^(client-output-buffer-limit|oom-score-adj-values|save|latency-tracking-info-percentiles) "(.*)"$', r"\1 \2", line) for line in lines]
    assert len(lines) > 150
    conf = tmp_path / "all.conf"
    conf.write_text("\n".join(lines) + "\n")
    server = plain([conf, "--port", "@PORT@", "--logfile", ""]).start()
    # What the platform or the version decides.
    differ = {"maxclients", "io-threads-do-reads", "oom-score-adj-values"}
    with server.connect() as connection:
        wrong = []
        for name, value in pairs.items():
            if name not in own | differ and (got := config(connection, name)) != value:
                wrong.append(f"{name}: {got!r} instead of {value!r}")
    assert not wrong, "\n".join(wrong)
    server.end()
    if os.access(STOCK_CONF, os.R_OK):
        server = plain([STOCK_CONF, "--port", "@PORT@", "--daemonize", "no", "--supervised", "no", "--logfile", "", "--dir", ".", "--pidfile", "x.pid"]).start()
        with server.connect() as connection:
            assert connection.call("PING") == b"PONG"


@pytest.mark.graven_only
def test_directives_without_effect_are_named_once(plain):
    server = plain(["--port", "@PORT@", "--activedefrag", "no", "--jemalloc-bg-thread", "yes", "--lfu-log-factor", "11"]).start()
    log = server.log_text()
    assert log.count("lfu-log-factor") <= 1


# Start and end.


def test_the_marks_in_the_start_log(server):
    log = server.log_since_start()
    assert f" PID: {server.pid}" in log or stock_under_test()
    at = [log.find(mark) for mark in ("Server initialized", "Ready to accept connections")]
    assert 0 < at[0] < at[1], log
    assert server.stop() == 0
    assert "ready to exit, bye bye" in server.log_since_start()


@pytest.mark.graven_only
def test_what_was_loaded_is_said(server):
    with server.connect() as connection:
        connection.call("SET", "k", "v")
    server.stop()
    server.start()
    log = server.log_since_start()
    assert re.search(r"(?i)loaded", log), log


def test_a_port_that_is_taken(server, tmp_path):
    done = run(["--port", server.port, "--bind", "127.0.0.1", "--dir", tmp_path, "--appendonly", "no"])
    assert done.returncode == 1
    assert "Failed listening on port" in done.stdout + done.stderr


@pytest.mark.graven_only
def test_two_servers_on_one_directory(server):
    with server.connect() as connection:
        connection.call("SET", "k", "v")
    before = {path: path.read_bytes() for path in sorted(server.directory.rglob("*")) if path.is_file()}
    done = run(["--port", free_port(), "--dir", server.directory, "--appendonly", "yes"])
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert str(server.directory) in said and re.search(r"(?i)lock|in use|another", said), said
    after = {path: path.read_bytes() for path in sorted(server.directory.rglob("*")) if path.is_file()}
    assert {p: b for p, b in after.items() if ".incr." not in p.name} == {p: b for p, b in before.items() if ".incr." not in p.name}
    with server.connect() as connection:
        assert connection.call("INCR", "n") == 1
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("MGET", "k", "n") == [b"v", b"1"]


@pytest.mark.graven_only
def test_unusable_directories(tmp_path):
    """One clear line, exit 1, nothing touched."""
    file = tmp_path / "file"
    file.write_text("x")
    done = run(["--port", free_port(), "--dir", file])
    assert done.returncode == 1 and str(file) in done.stdout + done.stderr
    assert file.read_text() == "x"
    held = tmp_path / "held" / "appendonlydir"
    held.mkdir(parents=True)
    (held / "appendonly.aof.manifest").write_text("this is no manifest\n")
    done = run(["--port", free_port(), "--dir", held.parent])
    assert done.returncode == 1 and "manifest" in done.stdout + done.stderr
    assert (held / "appendonly.aof.manifest").read_text() == "this is no manifest\n"
    assert os.listdir(held) == ["appendonly.aof.manifest"]


def damaged_start(server: Server) -> str:
    """Starts on a directory that must be refused; returns what was said."""
    before = {path: path.read_bytes() for path in sorted((server.directory / "appendonlydir").iterdir())}
    server.start(wait=False)
    assert server.process.wait(60) == 1, server.log_tail()
    after = {path: path.read_bytes() for path in sorted((server.directory / "appendonlydir").iterdir())}
    assert before == after, "a directory that was refused has been changed"
    return server.log_since_start()


@pytest.mark.graven_only
@pytest.mark.parametrize("damage", ["flip", "missing manifest", "missing segment", "emptied segment", "truncated after a clean stop"])
def test_damage_is_refused_by_name(server, damage):
    with server.connect() as connection:
        for n in range(300):
            connection.call("SET", f"key{n}", "x" * 50)
    assert server.stop() == 0
    directory = server.directory / "appendonlydir"
    segment = max(directory.glob("*.incr.aof"), key=lambda path: path.stat().st_size)
    if damage == "flip":
        data = bytearray(segment.read_bytes())
        at = data.index(b"key150") + 2
        data[at] ^= 1
        segment.write_bytes(data)
        assert re.search(r"\d{3,}", damaged_start(server)) and segment.name in server.log_since_start()
    elif damage == "missing manifest":
        (directory / "appendonly.aof.manifest").unlink()
        assert "manifest" in damaged_start(server)
    elif damage == "missing segment":
        segment.unlink()
        assert segment.name in damaged_start(server)
    elif damage == "emptied segment":
        segment.write_bytes(b"")
        assert segment.name in damaged_start(server)
    else:
        segment.write_bytes(segment.read_bytes()[:-200])
        assert segment.name in damaged_start(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_in_order(server, number):
    with server.connect() as connection, server.connect() as blocked:
        connection.call("SET", "k", "v")
        blocked.send("BLPOP", "none", 0)
        time.sleep(0.05)
        server.signal(number)
        assert server.process.wait(60) == 0
        with pytest.raises((Closed, ConnectionError)):
            connection.call("PING")
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"v"


def test_other_signals(server):
    server.signal(signal.SIGHUP)
    server.signal(signal.SIGPIPE)
    time.sleep(0.1)
    with server.connect() as connection:
        assert connection.call("PING") == b"PONG"
        server.signal(signal.SIGSTOP)
        wait_until(lambda: "State:\tT" in Path(f"/proc/{server.pid}/status").read_text(), 5, "the process is stopped")
        connection.send("PING")
        assert connection.silent(0.2)
        server.signal(signal.SIGCONT)
        assert connection.read() == b"PONG"


@pytest.mark.parametrize("words", [("SHUTDOWN",), ("SHUTDOWN", "NOSAVE"), ("SHUTDOWN", "NOW"), ("SHUTDOWN", "NOSAVE", "NOW", "FORCE")], ids=" ".join)
def test_shutdown(server, words):
    with server.connect() as connection:
        connection.call("SET", "k", "v")
        connection.send(*words)
        with pytest.raises((Closed, ConnectionError)):
            connection.read()
    assert server.process.wait(60) == 0
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"v"


def test_pidfile_and_logfile(make_server, tmp_path):
    pid, log = tmp_path / "server.pid", tmp_path / "server.log"
    server = make_server(directives={"pidfile": pid, "logfile": log}).start()
    assert pid.read_text().strip() == str(server.pid)
    assert "Ready to accept connections" in log.read_text()
    server.stop()
    assert not pid.exists()
    server = make_server(directives={"pidfile": "/nowhere/at/all.pid"}).start()
    with server.connect() as connection:
        assert connection.call("PING") == b"PONG"


def test_connections_while_loading(make_server):
    """They are accepted and answered -LOADING; INFO shows the progress."""
    server = make_server()
    with open(server.directory / "appendonly.aof", "wb") as file:
        for at in range(0, 1_500_000, 10_000):
            file.write(b"".join(b"*3\r\n$3\r\nSET\r\n$11\r\nkey%08d\r\n$5\r\n%05d\r\n" % (n, n % 99999) for n in range(at, at + 10_000)))
    server.start(wait=False)
    seen, info, answers = None, None, {}
    setting_up = ["HELLO 3", "CLIENT SETINFO LIB-NAME probe", "SELECT 2", "SUBSCRIBE news", "CONFIG GET databases", "CONFIG SET slowlog-max-len 99", "CONFIG SET appendonly no",
                  "ACL WHOAMI", "COMMAND COUNT", "MULTI", "SET k v", "DISCARD", "DEBUG POPULATE 3", "BGSAVE", "EVAL 'return 1' 0", "CLIENT INFO"]
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with server.connect(timeout=20.0) as connection:
                connection.send("GET", "key00000001")
                reply = connection.read()
                if isinstance(reply, ServerError):
                    seen = reply.text
                    connection.send("INFO", "persistence")
                    reply = connection.read()
                    if isinstance(reply, bytes) and b"loading:1" in reply:
                        came = {}
                        for line in setting_up:
                            connection.send(*shlex.split(line))
                            came[line] = connection.read()
                        connection.send("INFO", "persistence")
                        if b"loading:1" in connection.read():
                            info, answers = reply.decode(), came
                            break
                else:
                    break
        except (OSError, Closed):
            assert server.alive(), server.log_tail()
            time.sleep(0.002)
    assert seen and seen.startswith("LOADING"), "loading was never seen"
    assert info and "loading_total_bytes:" in info and "loading_loaded_bytes:" in info, info
    refused = {line for line, answer in answers.items() if isinstance(answer, ServerError) and answer.text.startswith("LOADING ")}
    assert refused == {"SET k v", "BGSAVE", "EVAL 'return 1' 0", "DEBUG POPULATE 3"}, answers
    assert "the data is being loaded" in answers["CONFIG SET appendonly no"].text
    assert b"lib-name=probe" in answers["CLIENT INFO"] and b"db=2" in answers["CLIENT INFO"] and b"sub=1" in answers["CLIENT INFO"], answers
    server.wait_ready()
    with server.connect() as connection:
        assert connection.call("DBSIZE") == 1_500_000
        assert connection.call("CONFIG", "GET", "slowlog-max-len")[1] == b"99"


# Limits.


def test_maxclients(make_server):
    server = make_server(directives={"maxclients": 5}).start()
    held = [server.connect()]
    clients = lambda count: b"connected_clients:%d\r\n" % count in held[0].call("INFO", "clients")  # noqa: E731
    wait_until(lambda: clients(1), 5, "whoever waited for the start is gone")
    held += [server.connect() for _ in range(4)]
    for connection in held:
        assert connection.call("PING") == b"PONG"
    with server.connect() as refused:
        assert refused.drain(30.0) == (b"-ERR max number of clients reached\r\n", True)
    held.pop().close()
    wait_until(lambda: clients(4), 5, "one has left")
    with server.connect() as connection:
        assert connection.call("PING") == b"PONG"
    for connection in held:
        connection.close()


def test_idle_clients_are_closed(make_server):
    server = make_server(directives={"timeout": 1}).start()
    with server.connect() as idle, server.connect() as subscriber, server.connect() as blocked:
        idle.call("PING")
        subscriber.call("SUBSCRIBE", "c")
        blocked.send("BLPOP", "none", 0)
        assert idle.drain(60.0) == (b"", True)
        assert subscriber.silent(0.2) and blocked.silent(0.2), "subscribers and blocked clients are not idle"


def test_a_slow_subscriber_is_cut_off(make_server):
    server = make_server(directives={"client-output-buffer-limit": "pubsub 1mb 0 0", "appendonly": "no"}).start()
    with server.connect(timeout=20.0) as subscriber, server.connect(timeout=20.0) as publisher:
        subscriber.call("SUBSCRIBE", "c")
        message = "x" * 100_000
        for _ in range(400):
            if publisher.call("PUBLISH", "c", message) == 0:
                break
        else:
            pytest.fail("a subscriber that reads nothing was kept")
        assert b"client_output_buffer_limit_disconnections:1" in publisher.call("INFO", "stats") or stock_under_test()


def test_the_query_buffer_is_limited(make_server):
    server = make_server(directives={"client-query-buffer-limit": "1mb", "appendonly": "no"}).start()
    with server.connect() as connection:
        try:
            connection.send_bytes(b"*2\r\n$4\r\nECHO\r\n$5000000\r\n" + b"x" * 4_000_000)
        except ConnectionError:
            pass
        assert connection.drain(60.0)[1], "the connection was kept"
    with server.connect() as connection:
        assert connection.call("PING") == b"PONG"


def test_large_values_and_deep_pipelines(server):
    with server.connect(timeout=60.0) as connection:
        big = os.urandom(1 << 20) * 20
        assert connection.call("SET", "big", big) == b"OK"
        assert connection.call("GET", "big") == big
        assert connection.pipeline([("INCR", "n")] * 20000)[-1] == 20000
        connection.send_bytes(encode("GET", "big") * 5)
        assert all(connection.read() == big for _ in range(5))
    server.kill9()
    server.start()
    with server.connect(timeout=60.0) as connection:
        assert connection.call("GET", "big") == big and connection.call("GET", "n") == b"20000"


def test_many_connections(server):
    connections = [server.connect(timeout=20.0) for _ in range(300)]
    for connection in connections:
        connection.send("INCR", "n")
    assert sorted(connection.read() for connection in connections) == list(range(1, 301))
    with server.connect() as connection:
        assert b"connected_clients:301" in connection.call("INFO", "clients")
    for connection in connections:
        connection.close()


def test_an_unused_unix_socket_file_is_replaced(make_server, tmp_path):
    path = tmp_path / "s.sock"
    server = make_server(directives={"unixsocket": path, "unixsocketperm": "770"}).start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o770
    server.kill9()
    server.start()
    with Connection(path=str(path)) as connection:
        assert connection.call("PING") == b"PONG"


def test_what_is_arranged_with_the_system(make_server, tmp_path):
    """The supervisor is told, the score for the lack of memory is set, the socket has its group, and the zone is shown."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(60)
    group = grp.getgrgid(os.getgid()).gr_name
    server = make_server(
        directives={"supervised": "systemd", "oom-score-adj": "relative", "oom-score-adj-values": [100, 200, 800], "availability-zone": "here", "always-show-logo": "yes",
                    "unixsocket": tmp_path / "s.sock", "unixsocketgroup": group, "max-new-connections-per-cycle": 1}
    )
    server.env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
    server.start()
    assert b"READY=1" in told.recv(1000)
    before = int(Path("/proc/self/oom_score_adj").read_text())
    score = lambda: int(Path(f"/proc/{server.pid}/oom_score_adj").read_text())
    assert score() == min(before + 100, 1000)
    assert (tmp_path / "s.sock").stat().st_gid == os.getgid()
    assert "standalone mode" in server.log_path.read_text()
    with server.connect() as connection:
        shown = connection.call("INFO", "server")
        assert b"process_supervised:systemd" in shown and b"availability_zone:here" in shown
        connection.call("CONFIG", "SET", "oom-score-adj-values", "300 0 0", "oom-score-adj", "absolute")
        assert score() == 300
        connection.call("CONFIG", "SET", "availability-zone", "there")
        assert b"availability_zone:there" in connection.call("INFO", "server")
        many = [server.connect() for _ in range(30)]
        assert all(one.call("PING") == b"PONG" for one in many)
    server.stop()
    assert b"STOPPING=1" in told.recv(1000)


def test_what_a_client_can_do_is_remembered(server):
    with server.connect() as connection:
        assert connection.call("CLIENT", "CAPA", "something", "REDIRECT") == b"OK"
        assert b" capa=r" in connection.call("CLIENT", "INFO")
        connection.call("RESET")
        assert b" capa=\n" in connection.call("CLIENT", "INFO")


def info(connection, section: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in connection.call("INFO", section).decode().split("\r\n") if ":" in line)


def test_counters_of_expiry_payloads_and_threads_move(make_server):
    server = make_server(directives={"io-threads": 2, "appendfsync": "everysec"}).start()
    with server.connect() as connection, server.connect() as other:
        connection.call("RPUSH", "list", "a", "b")
        payload = connection.call("DUMP", "list")
        assert connection.call("RESTORE", "again", 0, payload) == b"OK"
        connection.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        connection.pipeline([("SET", f"k{n}", "v", "PX", 1) for n in range(1000)])
        wait_until(lambda: float(info(connection, "stats")["expired_stale_perc"]) == 100.0, 60, "all keys are past their time")
        connection.call("DEBUG", "SET-ACTIVE-EXPIRE", 1)
        wait_until(lambda: info(connection, "stats")["expired_keys"] == "1000", 60, "all keys are gone")
        assert other.call("PING") == b"PONG"
        stats = info(connection, "stats")
        assert int(stats["expired_time_cap_reached_count"]) >= 10 and stats["dump_payload_sanitizations"] == "1"
        assert int(stats["io_threaded_reads_processed"]) > 0 and int(stats["io_threaded_writes_processed"]) > 0
        assert int(stats["reply_buffer_expands"]) > 0


# Clients and scripts.


def test_client_list_kill_unblock(server):
    with server.connect() as control, server.connect() as other:
        other.call("CLIENT", "SETNAME", "other")
        number = other.call("CLIENT", "ID")
        line = next(line for line in control.call("CLIENT", "LIST").decode().splitlines() if "name=other" in line)
        fields = dict(field.split("=", 1) for field in line.split(" "))
        for field in "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp".split():
            assert field in fields, field
        assert fields["id"] == str(number) and fields["addr"].startswith("127.0.0.1:") and fields["cmd"] == "client|id" and fields["resp"] == "2"
        for reason, expected in (("TIMEOUT", None), ("ERROR", "UNBLOCKED client unblocked via CLIENT UNBLOCK")):
            other.send("BLPOP", "none", 0)
            wait_until(lambda: control.call("CLIENT", "UNBLOCK", number, reason) == 1, 5, "the client was blocked")
            got = other.read()
            assert (got.text if isinstance(got, ServerError) else got) == expected
        assert control.call("CLIENT", "UNBLOCK", number) == 0
        assert control.call("CLIENT", "KILL", "ID", number) == 1
        assert other.drain(60.0)[1]
    with server.connect() as connection:
        port = connection.socket.getsockname()[1]
        assert connection.call("CLIENT", "KILL", f"127.0.0.1:{port}") == b"OK"


def test_a_long_script_leaves_the_server_reachable(make_server):
    server = make_server(directives={"busy-reply-threshold": 100}).start()
    with server.connect(timeout=30.0) as runner, server.connect(timeout=30.0) as control:
        def past_its_time() -> bool:
            answer = control.ask("PING").plain()
            return isinstance(answer, ServerError) and answer.text.startswith("BUSY")

        runner.send("EVAL", "while true do end", 0)
        wait_until(past_its_time, 20, "the script is past its time")
        for words in (("PING",), ("GET", "k"), ("SET", "k", "v"), ("INFO",)):
            control.send(*words)
            answer = control.read()
            assert isinstance(answer, ServerError) and answer.text.startswith("BUSY"), (words, answer)
        with server.connect() as fresh:
            assert fresh.call("SCRIPT", "KILL") == b"OK"
        answer = runner.read()
        assert isinstance(answer, ServerError) and "Script killed by user" in answer.text
        assert control.call("PING") == b"PONG"
        with pytest.raises(ServerError, match="NOTBUSY"):
            control.call("SCRIPT", "KILL")
        runner.send("EVAL", "redis.call('SET', 'k', 'half') while true do end", 0)
        wait_until(past_its_time, 20, "the script is past its time")
        with pytest.raises(ServerError, match="UNKILLABLE"):
            control.call("SCRIPT", "KILL")
        control.send("SHUTDOWN", "NOSAVE")
        assert server.process.wait(60) == 0
    server.start()
    with server.connect() as connection:
        assert connection.call("EXISTS", "k") == 0, "half a script was kept"


def test_a_script_is_whole_in_the_log(server):
    """A script that fails in the middle has done what it did before the error, as one transaction."""
    with server.connect() as connection:
        with pytest.raises(ServerError):
            connection.call("EVAL", "redis.call('SET', 'a', 1) redis.call('INCR', 'n') redis.call('NOSUCH')", 0)
        assert connection.call("MGET", "a", "n") == [b"1", b"1"]
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("MGET", "a", "n") == [b"1", b"1"]


# Expiry, INFO, configuration at run time.


def test_expiry_is_exact_and_announced(server):
    with server.connect() as connection, server.connect() as subscriber:
        connection.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
        subscriber.call("SUBSCRIBE", "__keyevent@0__:expired")
        # A machine that is busy may be late once or twice; the server never is by itself.
        for attempt in range(5):
            began = time.time()
            connection.pipeline(("SET", f"k{n}", "v", "PX", 200 + n) for n in range(200))
            late = []
            for _ in range(200):
                key = subscriber.read()[2]
                late.append(time.time() - began - (200 + int(key[1:])) / 1000)
            if max(late) < 0.25:
                break
        if not stock_under_test():
            assert max(late) < 0.25, f"{max(late) * 1000:.0f} ms late"
            assert b"expired_keys:%d\r\n" % (200 * (attempt + 1)) in connection.call("INFO", "stats")
        assert connection.call("DBSIZE") == 0
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("DBSIZE") == 0


@pytest.mark.graven_only
def test_an_idle_server_with_many_deadlines_rests(make_server):
    server = make_server(directives={"appendfsync": "everysec"}).start()
    with server.connect(timeout=60.0) as connection:
        for at in range(0, 200_000, 10_000):
            connection.pipeline(("SET", f"key:{n}", "v", "EX", 3600 + n % 1000) for n in range(at, at + 10_000))

    def cpu() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def used() -> float:
        began, before = time.monotonic(), cpu()
        time.sleep(3.0)
        return (cpu() - before) / (time.monotonic() - began)

    # What was written has to reach the disk first.
    wait_until(lambda: used() < 0.02, 30, "less than 2 % of a core")


INFO_FIELDS = """
redis_version redis_mode os arch_bits process_id run_id tcp_port uptime_in_seconds hz executable config_file io_threads_active
connected_clients maxclients blocked_clients used_memory used_memory_human used_memory_rss used_memory_peak used_memory_lua maxmemory maxmemory_policy
mem_allocator mem_clients_normal number_of_cached_scripts lazyfree_pending_objects active_defrag_running allocator_frag_ratio
loading async_loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status aof_enabled aof_rewrite_in_progress
aof_rewrite_scheduled aof_last_write_status aof_last_bgrewrite_status rdb_last_load_keys_expired current_cow_size current_fork_perc
total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes rejected_connections sync_full
sync_partial_ok sync_partial_err expired_keys evicted_keys evicted_clients keyspace_hits keyspace_misses pubsub_channels pubsub_patterns latest_fork_usec
total_forks unexpected_error_replies total_error_replies total_active_defrag_time acl_access_denied_auth
role connected_slaves master_failover_state master_replid master_replid2 master_repl_offset second_repl_offset repl_backlog_active
repl_backlog_first_byte_offset repl_backlog_histlen used_cpu_sys used_cpu_user cluster_enabled
""".split()


def test_info(server):
    with server.connect() as connection:
        connection.pipeline([("SET", "k", "v", "EX", 100), ("GET", "k"), ("GET", "none"), ("INCR", "x", "y"), ("LPUSH", "k", "x"), ("SELECT", 3), ("SET", "k", "v")])
        text = connection.call("INFO", "everything").decode()
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        missing = [field for field in INFO_FIELDS if field not in fields]
        if not stock_under_test():
            assert not missing, missing
            assert fields["redis_version"] == "7.2.4" and fields["server_name"] == "graven" and fields["graven_version"]
        assert fields["process_id"] == str(server.pid) and fields["tcp_port"] == str(server.port)
        assert fields["db0"].startswith("keys=1,expires=1,avg_ttl=") and fields["db3"].startswith("keys=1,expires=0,avg_ttl=")
        assert fields["keyspace_hits"] == "1" and fields["keyspace_misses"] == "1"
        assert int(fields["total_error_replies"]) == 2
        assert re.match(r"calls=2,usec=\d+,usec_per_call=[\d.]+,rejected_calls=0,failed_calls=0", fields["cmdstat_get"])
        assert fields["errorstat_ERR"] == "count=1" and fields["errorstat_WRONGTYPE"] == "count=1"
        assert re.match(r"calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0", fields["cmdstat_incr"])
        sections = connection.call("INFO", "server", "clients").decode()
        assert "# Server" in sections and "# Clients" in sections and "# Memory" not in sections
        assert int(fields["used_memory"]) > 100_000
        connection.call("CONFIG", "RESETSTAT")
        fields = dict(line.split(":", 1) for line in connection.call("INFO").decode().splitlines() if ":" in line)
        assert fields["keyspace_hits"] == "0" and fields["total_error_replies"] == "0"


def test_config_set_is_all_or_nothing(server):
    with server.connect() as connection:
        before = config(connection, "hash-max-listpack-entries")
        for words in (("hash-max-listpack-entries", "5", "nosuch", "1"), ("hash-max-listpack-entries", "5", "maxclients", "abc"), ("hash-max-listpack-entries", "5", "port", "x")):
            with pytest.raises(ServerError):
                connection.call("CONFIG", "SET", *words)
            assert config(connection, "hash-max-listpack-entries") == before
        assert connection.call("CONFIG", "SET", "hash-max-listpack-entries", "5", "timeout", "100") == b"OK"
        assert config(connection, "hash-max-listpack-entries") == "5" and config(connection, "timeout") == "100"
        connection.call("HSET", "h", *"abcdefghijkl")
        assert connection.call("OBJECT", "ENCODING", "h") == b"hashtable"


def test_appendonly_cannot_lose_data_by_a_switch(server):
    """CONFIG SET appendonly no, then yes: what was written in between is in the log again when that is there."""
    with server.connect(timeout=20.0) as connection:
        connection.call("SET", "before", "1")
        connection.call("CONFIG", "SET", "appendonly", "no")
        connection.call("SET", "between", "1")
        connection.call("CONFIG", "SET", "appendonly", "yes")
        held = dump_all(server.port)

        def begun() -> bool:
            told = connection.info("persistence")
            return (told["aof_rewrite_in_progress"], told["aof_rewrite_scheduled"]) == ("0", "0")

        wait_until(begun, 20, "the log is there")
    server.kill9()
    server.start()
    assert not differences(held, dump_all(server.port))


@pytest.mark.graven_only
def test_what_comes_later_says_so(server):
    """Never OK for something that is not done."""
    with server.connect() as connection:
        for words in (("REPLICAOF", "127.0.0.1", "1"), ("CLUSTER", "INFO"), ("MODULE", "LOAD", "/x.so")):
            with pytest.raises(ServerError):
                connection.call(*words)


@pytest.mark.graven_only
@pytest.mark.parametrize("threads", [2, 4])
def test_several_io_threads(make_server, threads):
    server = make_server(directives={"io-threads": threads, "appendfsync": "everysec"}).start()
    errors = []

    def work(number: int) -> None:
        try:
            with server.connect(timeout=30.0) as connection:
                for n in range(300):
                    connection.pipeline([("INCR", "n"), ("RPUSH", f"l{number}", n), ("MULTI",), ("INCR", "m"), ("INCR", "m"), ("EXEC",)])
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(180)
    assert not errors
    with server.connect() as connection:
        assert connection.call("MGET", "n", "m") == [b"2400", b"4800"]
        assert all(connection.call("LRANGE", f"l{number}", 0, -1) == [str(n).encode() for n in range(300)] for number in range(8))
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("MGET", "n", "m") == [b"2400", b"4800"]


# Which data is loaded.


@pytest.mark.graven_only
@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_a_dump_of_stock_is_taken(make_server, make_stock, appendonly):
    """With the AOF off the dump is loaded; with the AOF just switched on, it becomes the base."""
    stock = make_stock(directives={"appendonly": "no"}).start()
    with stock.connect() as connection:
        connection.call("RPUSH", "l", *range(500))
        connection.call("SET", "k", "v", "EX", 1000)
        connection.call("SAVE")
    held = dump_all(stock.port)
    stock.kill9()
    ours = make_server(directory=stock.directory, directives={"appendonly": appendonly}).start()
    assert not (wrong := differences(held, dump_all(ours.port))), wrong
    if appendonly == "yes":
        with ours.connect() as connection:
            connection.call("SET", "more", "1")
        ours.kill9()
        ours.start()
        with ours.connect() as connection:
            assert connection.call("MGET", "k", "more") == [b"v", b"1"]


@pytest.mark.graven_only
def test_an_empty_log_beside_a_dump_is_not_guessed_about(server):
    """A directory with AOF data, started with the AOF off: what is there is not silently ignored and overwritten."""
    with server.connect() as connection:
        connection.call("SET", "k", "v")
    server.stop()
    server.start(wait=False, appendonly="no")
    try:
        server.wait_ready()
    except AssertionError:
        assert re.search(r"(?i)appendonly", server.log_since_start())
    else:
        server.stop()
    server.process.wait(60)
    server.start(appendonly="yes")
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"v"


def test_a_wait_that_begins_and_ends_in_one_pass(make_server):
    """Requests behind two waits of a millisecond are executed, whenever the second one ends."""
    server = make_server(directives={"appendfsync": "no"}).start()
    with server.connect() as connection:
        for n in range(1500):
            first, second = f"0.00{1 + n % 3}", "0.001"
            answers = connection.pipeline([("SET", "k", "v"), ("BLPOP", "none", first), ("INCR", "n"), ("BLPOP", "none", second), ("GET", "k")])
            assert answers[-1] == b"v"
