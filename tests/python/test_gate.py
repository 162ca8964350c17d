"""Nothing that leaves the server shows a write that is not durable; and what a failing disk does to the real process.

The server runs under the fault shim of tests/shim, which holds, delays or fails its calls. Each promise is tried from *another*
connection than the writer's.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shim"))

from control import Shim  # noqa: E402

from support.dump import differences, dump_all  # noqa: E402
from support.resp import ServerError, encode  # noqa: E402
from support.server import Server, wait_until  # noqa: E402
from support.workload import Load  # noqa: E402

pytestmark = pytest.mark.graven_only
SEED = int(os.environ.get("GRAVEN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
LOG = ".incr.aof"
HELD_SECONDS = 0.35
KEYS = 20000


def shimmed(base: Path, name: str = "graven", **directives) -> tuple[Server, Shim]:
    base.mkdir(parents=True, exist_ok=True)
    shim = Shim(base)
    server = Server(base / "data", name=name, directives={key.replace("_", "-"): value for key, value in directives.items()}, env=shim.environment())
    server.start()
    assert shim.loaded() >= 1, "the server runs without the shim"
    return server, shim


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A server under `appendfsync always` with so many keys that two of them seldom share a leaf."""
    server, shim = shimmed(tmp_path_factory.mktemp("gate"))
    with server.connect(timeout=60.0) as connection:
        for at in range(0, KEYS, 1000):
            connection.call("MSET", *(word for n in range(at, at + 1000) for word in (f"filler:{n}", n)))
    yield server, shim
    shim.set()
    server.end()


class Hold:
    """While inside, no sync of the log returns; leaving lets them go. Waits until the sync of the given writes is really held.

    Of several commands (a transaction) the last one writes.
    """

    def __init__(self, server: Server, shim: Shim, *writes, db: int = 0):
        self.server, self.shim, self.writes = server, shim, writes
        self.writer = server.connect(timeout=60.0, db=db)

    def __enter__(self) -> "Hold":
        self.shim.set(f"sync hold 0 0 {LOG}")
        for write in self.writes[:-1]:
            self.writer.call(*write)
        self.writer.send(*self.writes[-1])
        wait_until(lambda: self.shim.struck(0) >= 1, 5, "the sync of the write is held")
        assert self.writer.silent(0.05), "the writer was answered while its write is not durable"
        return self

    def release(self):
        """Lets the syncs go; returns the reply to the write."""
        self.shim.set()
        return self.writer.read()

    def __exit__(self, *_exc) -> None:
        self.shim.set()
        self.writer.close()


SETUP = [
    ("DEL", "new", "blocked", "moved"),
    ("SET", "k", "old"),
    ("DEL", "h", "l", "s", "z"),
    ("HSET", "h", "f", "old"),
    ("RPUSH", "l", "old"),
    ("SADD", "s", "old"),
    ("ZADD", "z", 1, "m"),
]
WRITE = ("SET", "k", "new-value")
READS = {
    "the value that was written": ([WRITE], [("GET", "k")], [b"new-value"]),
    "its deletion": ([("DEL", "k")], [("GET", "k")], [None]),
    "its deletion by EXISTS": ([("DEL", "k")], [("EXISTS", "k")], [0]),
    "a new key": ([("SET", "new", "1")], [("GET", "new")], [b"1"]),
    "STRLEN": ([WRITE], [("STRLEN", "k")], [9]),
    "MGET": ([WRITE], [("MGET", "filler:1", "k")], [[b"1", b"new-value"]]),
    "TTL": ([("PEXPIREAT", "k", 4102444800000)], [("PEXPIRETIME", "k")], [4102444800000]),
    "TYPE": ([("RENAME", "l", "k")], [("TYPE", "k")], [b"list"]),
    "the source of a RENAME": ([("RENAME", "l", "moved")], [("EXISTS", "l")], [0]),
    "HGET": ([("HSET", "h", "f", "new")], [("HGET", "h", "f")], [b"new"]),
    "HLEN": ([("HSET", "h", "g", "new")], [("HLEN", "h")], [2]),
    "LRANGE": ([("RPUSH", "l", "new")], [("LRANGE", "l", 0, -1)], [[b"old", b"new"]]),
    "LLEN of a list that was popped": ([("LPOP", "l")], [("LLEN", "l")], [0]),
    "SISMEMBER": ([("SADD", "s", "new")], [("SISMEMBER", "s", "new")], [1]),
    "ZSCORE": ([("ZADD", "z", 2, "m")], [("ZSCORE", "z", "m")], [b"2"]),
    "DBSIZE": ([("SET", "new", "1")], [("DBSIZE",)], None),
    "SCAN": ([("SET", "new", "1")], [("SCAN", 0, "COUNT", 100000, "MATCH", "new")], [[b"0", [b"new"]]]),
    "KEYS": ([("SET", "new", "1")], [("KEYS", "new")], [[b"new"]]),
    "RANDOMKEY": ([("SET", "alone", "1")], [("RANDOMKEY",)], [b"alone"]),
    "EXEC": ([WRITE], [("MULTI",), ("GET", "k"), ("EXEC",)], [b"OK", b"QUEUED", [b"new-value"]]),
    "a script": ([WRITE], [("EVAL", "return redis.call('GET', KEYS[1])", 1, "k")], [b"new-value"]),
    "a transaction": ([("MULTI",), WRITE, ("SET", "new", "2"), ("EXEC",)], [("GET", "new")], [b"2"]),
    "a script's write": ([("EVAL", "return redis.call('SET', KEYS[1], 'by-script')", 1, "k")], [("GET", "k")], [b"by-script"]),
    "INFO keyspace": ([("SET", "alone", "1")], [("INFO", "keyspace")], None),
    "a write that failed on what it saw": ([("SET", "new", "1")], [("SET", "new", "2", "NX")], [None]),
    "a read by a writer": ([WRITE], [("SET", "k", "newer", "GET")], [b"new-value"]),
}


ALONE = ("RANDOMKEY", "INFO keyspace")


@pytest.mark.parametrize("what", READS)
def test_what_is_not_durable_is_not_shown(gated, what):
    server, shim = gated
    writes, reads, expected = READS[what]
    db = 7 if what in ALONE else 0
    with server.connect(timeout=60.0, db=db) as reader:
        reader.pipeline([("FLUSHDB",)] if what in ALONE else SETUP)
        with Hold(server, shim, *writes, db=db) as hold:
            for read in reads:
                reader.send(*read)
            early = []
            while not reader.silent(HELD_SECONDS):
                early.append(reader.read())
            assert len(early) < len(reads), f"{what}: {early} was sent before the write was durable"
            hold.release()
            got = early + [reader.read() for _ in reads[len(early) :]]
        if expected is not None:
            assert got == expected


@pytest.mark.parametrize("command", [("FLUSHDB",), ("FLUSHALL",), ("SWAPDB", 5, 6), ("FLUSHDB", "ASYNC")], ids=lambda c: " ".join(map(str, c)))
def test_an_emptied_database_is_not_shown(make_server, tmp_path, command):
    server, shim = shimmed(tmp_path)
    with server.connect(timeout=60.0, db=5) as reader:
        reader.call("MSET", *(word for n in range(2000) for word in (f"key:{n}", n)))
        with Hold(server, shim, command, db=5) as hold:
            reader.send("GET", "key:77")
            assert reader.silent(HELD_SECONDS)
            hold.release()
            assert reader.read() is None
        reader.send("DBSIZE")
        assert reader.read() == 0
    server.end()


def test_what_shows_no_key_is_answered_at_once(gated):
    server, shim = gated
    quick = [request for request in ALWAYS_ANSWERED if request[0] not in ("INFO", "SLOWLOG", "MEMORY") and "SET" not in request] + [("INFO", "persistence")]
    with server.connect(timeout=60.0) as reader, Hold(server, shim, WRITE):
        for request in quick:
            assert not isinstance(reader.call(*request), ServerError), request


def test_other_keys_are_answered_at_once(gated):
    """Reading what is durable costs nothing: only keys that share a leaf with the write may wait."""
    server, shim = gated
    connections = [server.connect(timeout=60.0) for _ in range(40)]
    with Hold(server, shim, WRITE):
        for number, connection in enumerate(connections):
            connection.send("GET", f"filler:{number * 371}")
        wait_until(lambda: sum(not connection.silent(0.01) for connection in connections) >= 38, 20, "38 of 40 are answered while the sync is held")
    for number, connection in enumerate(connections):
        assert connection.read() == str(number * 371).encode()
        connection.close()


def test_messages_wait_for_the_write_beside_them(gated):
    """kombu publishes a result in the transaction that stores it: whoever hears of it must find it after a crash."""
    server, shim = gated
    with server.connect(timeout=60.0) as subscriber, server.connect(timeout=60.0, protocol=3) as modern:
        subscriber.call("SUBSCRIBE", "results")
        modern.call("PSUBSCRIBE", "res*")
        with Hold(server, shim, ("MULTI",), ("SETEX", "result", 100, "done"), ("PUBLISH", "results", "ready"), ("EXEC",)) as hold:
            assert subscriber.silent(HELD_SECONDS)
            assert modern.silent(0.05)
            assert hold.release() == [b"OK", 2]
            assert subscriber.read() == [b"message", b"results", b"ready"]
            assert modern.read() == [b"pmessage", b"res*", b"results", b"ready"]


def test_notifications_wait(gated):
    server, shim = gated
    with server.connect(timeout=60.0) as subscriber, server.connect() as connection:
        connection.call("CONFIG", "SET", "notify-keyspace-events", "KEA")
        subscriber.call("PSUBSCRIBE", "__keyspace@0__:k")
        try:
            with Hold(server, shim, WRITE) as hold:
                assert subscriber.silent(HELD_SECONDS)
                hold.release()
                assert subscriber.read()[2:] == [b"__keyspace@0__:k", b"set"]
        finally:
            connection.call("CONFIG", "SET", "notify-keyspace-events", "")


@pytest.mark.parametrize("command", [("BLPOP", "blocked", 0), ("BRPOP", "blocked", 0), ("BLMOVE", "blocked", "moved", "LEFT", "RIGHT", 0), ("BLMPOP", 0, 1, "blocked", "LEFT")], ids=lambda c: c[0])
def test_a_woken_client_waits(gated, command):
    """What a blocked client is given was pushed, and is popped, by writes that must both be durable."""
    server, shim = gated
    with server.connect(timeout=60.0) as blocked, server.connect() as connection:
        connection.pipeline(SETUP)
        blocked.send(*command)
        wait_until(lambda: b"blocked_clients:1" in connection.call("INFO", "clients"), 5, "the client is blocked")
        with Hold(server, shim, ("RPUSH", "blocked", "x")) as hold:
            assert blocked.silent(HELD_SECONDS)
            hold.release()
            assert b"x" in repr(blocked.read()).encode()


def test_expiry_waits_too(gated):
    """A key that is due is absent for everybody, but its log entry comes later: absence by expiry needs no write to be durable."""
    server, shim = gated
    with server.connect(timeout=60.0) as reader:
        reader.call("SET", "k", "v", "PX", 30)
        time.sleep(0.2)
        assert reader.call("GET", "k") is None


@pytest.mark.parametrize("appendfsync", ["everysec", "no"])
def test_a_held_sync_delays_nobody_without_always(tmp_path, appendfsync):
    server, shim = shimmed(tmp_path, appendfsync=appendfsync)
    shim.set(f"sync hold 0 0 {LOG}")
    with server.connect(timeout=60.0) as connection:
        for n in range(200):
            assert connection.call("INCR", "n") == n + 1
            time.sleep(0.01)
    shim.set()
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "n") == b"200"
    server.end()


def test_replies_run_ahead_of_a_stuck_write(tmp_path):
    """Under everysec a write that hangs holds replies back for milliseconds only."""
    server, shim = shimmed(tmp_path, appendfsync="everysec")
    with server.connect(timeout=60.0) as connection:
        connection.call("SET", "k", "v")
        shim.set(f"write hold 0 0 {LOG}")
        for n in range(20):
            connection.call("SET", "k", n)
        shim.set()
        assert connection.call("WAITAOF", 1, 0, 60000) == [1, 0]
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"19"
    server.end()


def test_appendfsync_is_switched_at_run_time(gated):
    server, shim = gated
    with server.connect(timeout=60.0) as connection:
        connection.call("CONFIG", "SET", "appendfsync", "everysec")
        shim.set(f"sync hold 0 0 {LOG}")
        assert connection.call("SET", "k", "1") == b"OK"
        shim.set()
        connection.call("CONFIG", "SET", "appendfsync", "always")
        assert connection.call("SET", "k", "2") == b"OK"
        with Hold(server, shim, WRITE):
            connection.send("GET", "k")
            assert connection.silent(HELD_SECONDS)
        assert connection.read() == b"new-value"


def test_waitaof(tmp_path):
    """Under everysec WAITAOF tells when a write is on disk; without an AOF it is refused."""
    server, shim = shimmed(tmp_path, appendfsync="everysec")
    with server.connect(timeout=60.0) as connection:
        connection.call("SET", "k", "v")
        assert connection.call("WAITAOF", 1, 0, 60000) == [1, 0]
        shim.set(f"sync hold 0 0 {LOG}")
        connection.call("SET", "k", "w")
        assert connection.call("WAITAOF", 1, 0, 300) == [0, 0]
        connection.send("WAITAOF", 1, 0, 0)
        assert connection.silent(0.3)
        shim.set()
        assert connection.read() == [1, 0]
        for arguments, text in (((2, 0, 0), "ERR value is out of range, value must between 0 and 1"), (("x", 0, 0), "ERR value is not an integer or out of range"), ((1, 0, -1), "ERR timeout is negative")):
            with pytest.raises(ServerError) as caught:
                connection.call("WAITAOF", *arguments)
            assert caught.value.text == text
    server.end()
    server, _ = shimmed(tmp_path / "off", appendonly="no")
    with server.connect() as connection, pytest.raises(ServerError) as caught:
        connection.call("WAITAOF", 1, 0, 0)
    assert caught.value.text == "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    server.end()


def test_readers_beside_a_slow_disk(gated):
    """With syncs of 200 ms a GET of another key takes no part of them."""
    server, shim = gated
    stop = threading.Event()

    def write() -> None:
        with server.connect(timeout=60.0) as connection:
            while not stop.is_set():
                connection.call("SET", "k", "x")

    shim.set(f"sync delay:200 0 0 {LOG}")
    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    times = []
    with server.connect(timeout=60.0) as connection:
        for n in range(100):
            began = time.perf_counter()
            connection.call("GET", f"filler:{n * 61}")
            times.append(time.perf_counter() - began)
            time.sleep(0.003)
    stop.set()
    for writer in writers:
        writer.join()
    shim.set()
    assert statistics.median(times) < 0.1, f"median {statistics.median(times) * 1000:.1f} ms"


# What a failing disk does.


def resumes(server: Server, seconds: float = 15.0) -> None:
    """Service comes back by itself: a write is answered OK."""

    def works() -> bool:
        try:
            with server.connect() as connection:
                return connection.call("SET", "probe", time.time()) == b"OK"
        except ServerError as error:
            assert error.text.startswith("MISCONF"), error.text
            return False

    wait_until(works, seconds, "writes are accepted again", pause=0.1)


def everything_survives(server: Server, make_stock, tmp_path) -> None:
    """After a crash graven, and stock on a copy, hold what the running server held."""
    import shutil

    held = dump_all(server.port)
    server.kill9()
    copy = tmp_path / "for-stock"
    shutil.copytree(server.directory, copy)
    server.start()
    assert not (wrong := differences(held, dump_all(server.port))), wrong
    stock = make_stock(directory=copy).start()
    assert not (wrong := differences(held, dump_all(stock.port))), f"stock: {wrong}"


FAULTS_ONCE = {
    "a write fails with ENOSPC": f"write enospc 3 1 {LOG}",
    "a write fails with EIO": f"write eio 3 1 {LOG}",
    "several writes fail": f"write enospc 3 5 {LOG}",
    "writes are short": f"write short:7 0 30 {LOG}",
    "a short write, then ENOSPC": f"write short:20 3 1 {LOG}\nwrite enospc 0 2 {LOG}",
    "a sync fails with EIO": f"sync eio 3 1 {LOG}",
    "a sync fails with ENOSPC": f"sync enospc 3 1 {LOG}",
    "two syncs fail": f"sync eio 3 2 {LOG}",
    "a write and then the cut fail": f"write short:9 3 1 {LOG}\nwrite enospc 0 1 {LOG}\ntruncate eio 0 1 {LOG}",
    "a sync fails and the manifest cannot be replaced at first": f"sync eio 3 1 {LOG}\nrename eio 0 2 manifest",
    "a sync fails and no file can be opened at first": f"sync eio 3 1 {LOG}\nopen enospc 0 2 {LOG}",
}


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
@pytest.mark.parametrize("what", FAULTS_ONCE)
def test_a_fault_that_passes(tmp_path, make_stock, what, appendfsync):
    """Service goes on by itself, nothing acknowledged is missing, nothing is applied twice, here and on stock."""
    server, shim = shimmed(tmp_path, appendfsync=appendfsync)
    with server.connect(timeout=30.0) as connection:
        connection.call("SET", "before", "1")
    shim.set(*FAULTS_ONCE[what].split("\n"))
    acknowledged = doubtful = 0
    # Under everysec the fault comes with a later sync: that long, whatever is answered meanwhile.
    began = time.monotonic()
    least = 2.5 if appendfsync == "everysec" else 0.0
    with server.connect(timeout=90.0) as connection:
        while time.monotonic() < began + least or (acknowledged < 40 and time.monotonic() < began + 90):
            try:
                connection.call("INCR", "n")
                acknowledged += 1
                time.sleep(0.005)
            except ServerError as error:
                assert error.text.startswith("MISCONF"), error.text
                doubtful += "in doubt" in error.text
                time.sleep(0.1)
    assert acknowledged >= 40
    shim.set()
    resumes(server)
    with server.connect() as connection:
        n = int(connection.call("GET", "n"))
    assert acknowledged <= n <= acknowledged + doubtful
    everything_survives(server, make_stock, tmp_path)
    server.end()


# What shows no key is answered whatever the log does: with it the operator finds out, and clients come and go.
ALWAYS_ANSWERED = [
    ("INFO",), ("INFO", "keyspace"), ("HELLO", 2), ("SELECT", 0), ("PING",), ("TIME",), ("CONFIG", "GET", "appendonly"), ("CONFIG", "SET", "maxclients", 1000),
    ("CLIENT", "LIST"), ("CLIENT", "SETNAME", "operator"), ("SLOWLOG", "GET"), ("LATENCY", "LATEST"), ("MEMORY", "STATS"), ("ACL", "WHOAMI"), ("COMMAND", "COUNT"),
    ("PUBLISH", "channel", "message"), ("MULTI",), ("DISCARD",), ("WATCH", "k"), ("UNWATCH",), ("LASTSAVE",), ("SCRIPT", "EXISTS", "none"),
]


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
@pytest.mark.parametrize("fault", ["write enospc", "write eio", "sync eio"])
def test_the_log_cannot_be_made_durable_at_all(tmp_path, make_stock, fault, appendfsync):
    """Writers are told at once and clearly, readers of the rest are served, and it all resumes when the disk does."""
    server, shim = shimmed(tmp_path, appendfsync=appendfsync)
    with server.connect(timeout=30.0) as connection:
        connection.call("MSET", *(word for n in range(5000) for word in (f"filler:{n}", n)))
        connection.call("SET", "k", "durable")
        if appendfsync == "everysec":
            assert connection.call("WAITAOF", 1, 0, 60000) == [1, 0]
    name, error = fault.split()
    # Files that are created in the log's place fail as well.
    shim.set(f"{name} {error} 0 0 aof", f"open {error} 0 0 nothing-matches-this")
    text = {"enospc": r"(ENOSPC|No space left|28)", "eio": r"(EIO|Input/output error|os error 5|\b5\b)"}[error]
    refused = None
    applied = []
    with server.connect(timeout=30.0) as connection:
        end = time.monotonic() + 90
        while refused is None and time.monotonic() < end:
            value = f"v{len(applied)}"
            applied.append(value)
            connection.send("SET", "k", value)
            answer = connection.read()
            if isinstance(answer, ServerError):
                refused = answer.text
            else:
                assert appendfsync == "everysec", "acknowledged under always without a durable log"
            time.sleep(0.05)
        assert refused, "writes are still accepted"
        assert refused.startswith("MISCONF "), refused
        assert "appendonly" in refused and re.search(text, refused), refused
        if appendfsync == "always":
            assert "in doubt" in refused, refused
        began = time.monotonic()
        for asking in (connection, server.connect(timeout=30.0)):
            replies = asking.pipeline(ALWAYS_ANSWERED)
            for request, reply in zip(ALWAYS_ANSWERED, replies):
                assert not isinstance(reply, ServerError), request
            status = dict(line.split(":", 1) for line in replies[0].decode().splitlines() if ":" in line)
            assert status["aof_last_write_status"] == "err" and status["db0"].startswith("keys=")
        asking.close()
        if appendfsync == "always":
            with pytest.raises(ServerError) as caught:
                connection.call("GET", "k")
            assert caught.value.text.startswith("MISCONF")
        with pytest.raises(ServerError) as caught:
            connection.call("SET", "other", "1")
        assert caught.value.text.startswith("MISCONF")
        # In one go: a reply behind one that cannot be given does not share its fate.
        connection.send_bytes(b"".join([encode("GET", "k"), *(encode("GET", f"filler:{n * 97}") for n in range(40))]))
        answers = [connection.read_reply().plain() for _ in range(41)][1:]
        assert sum(answer == str(n * 97).encode() for n, answer in enumerate(answers)) >= 36, answers
        assert time.monotonic() - began < 30, "answers took their time"
    shim.set()
    resumes(server)
    with server.connect(timeout=30.0) as connection:
        assert connection.call("GET", "k").decode() in applied
        assert connection.call("EXISTS", "other") == 0, "a refused write was applied"
    everything_survives(server, make_stock, tmp_path)
    server.end()


def test_deletions_are_possible_on_a_full_disk(tmp_path):
    """DEL and UNLINK use the room that was reserved for them."""
    server, shim = shimmed(tmp_path)
    with server.connect(timeout=60.0) as connection:
        connection.call("MSET", "a", "1", "b", "2", "c", "3")
        shim.set(f"write enospc 0 0 {LOG}")
        connection.send("SET", "a", "x" * 100)
        assert isinstance(connection.read(), ServerError)
        connection.send("SET", "d", "x")
        assert isinstance(connection.read(), ServerError)
        shim.set()
    resumes(server)
    with server.connect() as connection:
        assert connection.call("DEL", "b") == 1
    server.kill9()
    server.start()
    with server.connect() as connection:
        assert connection.call("MGET", "b", "c", "d") == [None, b"3", None]
    server.end()


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_killed_inside_a_write(tmp_path, make_stock, appendfsync):
    """The process dies after an arbitrary number of bytes of a write; it starts by itself with a prefix and everything acknowledged."""
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-inside-{appendfsync}")
    server, shim = shimmed(tmp_path, appendfsync=appendfsync)
    load = Load(3, chance.randrange(1 << 32), depth=20)
    for _ in range(8):
        shim.set(f"write kill:{chance.randrange(0, 3000)} {chance.randrange(3, 120)} 0 {LOG}")
        load.start(server.port)
        wait_until(lambda: not server.alive(), 30, "the process kills itself")
        load.stop()
        load.check_errors()
        shim.set()
        server.start()
        load.judge(server.port)
    everything_survives(server, make_stock, tmp_path)
    server.end()


@pytest.mark.parametrize("call", ["sync", "rename", "truncate", "open", "unlink"])
def test_killed_at_any_call_of_a_start(tmp_path, call):
    """Crashes at each of the first calls of a kind that a recovery makes, one after the other on the same directory."""
    server, shim = shimmed(tmp_path)
    load = Load(3, SEED, depth=20)
    load.start(server.port)
    load.run_for(0.3)
    server.kill9()
    load.stop()
    survived = 0
    for at in range(12):
        # The directory's files only: the program opens others, too.
        shim.set(f"{call} kill:0 {at} 0 {server.directory}")
        server.start(wait=False)
        try:
            server.wait_ready()
            survived += 1
            shim.set()
            server.kill9()
        except AssertionError:
            server.process.wait(60)
        if survived >= 2:
            break
    shim.set()
    server.start()
    load.judge(server.port)
    server.end()


def test_an_error_at_the_start_is_said_and_touches_nothing(tmp_path):
    """A disk that cannot be read or written at start: one clear reason and a failure, never an empty server."""
    server, shim = shimmed(tmp_path)
    with server.connect() as connection:
        connection.call("SET", "k", "v")
    server.kill9()
    for rule in ("sync eio 0 0 appendonlydir", "rename eio 0 0 manifest", "write enospc 0 0 appendonlydir"):
        shim.set(rule)
        server.start(wait=False)
        try:
            code = server.process.wait(60)
        except Exception:
            pytest.fail(f"{rule}: still running:\n{server.log_tail()}")
        assert code == 1, f"{rule}: ended with {code}\n{server.log_tail()}"
        assert "appendonly" in server.log_since_start(), rule
    shim.set()
    server.start()
    with server.connect() as connection:
        assert connection.call("GET", "k") == b"v"
    server.end()


def test_a_log_that_is_switched_off_and_cannot_be_kept_acknowledges_nothing(tmp_path):
    """Replies that wait for the log when it is switched off, and that it can then not make durable, are errors; what comes behind is answered."""
    server, shim = shimmed(tmp_path, "off", appendfsync="always")
    try:
        with server.connect(timeout=120) as writer, server.connect(timeout=120) as admin:
            assert writer.call("SET", "kept", "v") == b"OK"
            shim.set("sync hold 0 0 .incr.aof")
            writer.send("SET", "lost", "v")
            wait_until(lambda: shim.struck(0) > 0, 60, "its sync is held")
            admin.send("CONFIG", "SET", "appendonly", "no")
            wait_until(lambda: "The append-only file is off from" in server.log_since_start(), 60, "it is off")
            shim.set("sync eio 0 0 .incr.aof", "open enospc 0 0 .incr.aof")
            for connection in (writer, admin):
                reply = connection.read_reply()
                assert reply.is_error and re.search("MISCONF .*in doubt", reply.render()), reply
            assert admin.call("GET", "lost") == b"v"
            assert writer.call("SET", "behind", "v") == b"OK"
            assert admin.call("CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
            assert "is not durable" in server.log_since_start()
    finally:
        shim.set()
        server.kill9()


def test_a_full_disk_is_survived_on_the_emergency_reserve(tmp_path):
    """The log's disk is full: the reserve is given up, what frees room is served and kept, the log is rewritten, everything else is refused until the reserve is there again."""
    server, shim = shimmed(tmp_path, "full", appendfsync="always", emergency_reserve="1mb")
    reserve = server.directory / "graven.reserve"

    def told(name: str) -> str:
        with server.connect() as connection:
            try:
                return connection.info("persistence")[name]
            except ServerError as doubt:
                return str(doubt)

    try:
        wait_until(lambda: told("emergency_reserve") == "held", 60, "the reserve is there")
        assert (reserve.stat().st_size, told("emergency_reserve_bytes")) == (1 << 20, str(1 << 20))
        with server.connect(timeout=120) as connection:
            connection.pipeline([("SET", f"k{n}", "v" * 100) for n in range(100)])
            shim.set("write enospc 0 0 .incr.aof", "write enospc 0 0 graven.reserve")
            with pytest.raises(ServerError, match="MISCONF .*in doubt"):
                connection.call("SET", "doubtful", "v")
            assert "is full: free some room" in server.log_since_start()
            wait_until(lambda: not reserve.exists(), 60, "the reserve is given up")
            # There is as much room again as it took.
            shim.set("write enospc 0 0 graven.reserve")
            wait_until(lambda: told("aof_last_write_status") == "ok", 60, "the log goes on")
            for _ in range(2):
                with pytest.raises(ServerError, match="MISCONF .*the emergency reserve is in use"):
                    connection.call("SET", "refused", "v")
            assert connection.call("GET", "k1") == b"v" * 100
            assert connection.call("DEL", "k1", "k2") == 2
            wait_until(lambda: told("aof_rewrites") not in ("", "0"), 60, "the log is rewritten")
            assert connection.call("FLUSHALL") == b"OK"
            assert (told("emergency_reserve"), told("emergency_reserve_times_used")) == ("used", "1")
            shim.set()
            wait_until(lambda: told("emergency_reserve") == "held", 60, "the reserve is there again")
            assert connection.call("SET", "served", "v") == b"OK"
            assert connection.call("CONFIG", "SET", "emergency-reserve", "0") == b"OK"
            wait_until(lambda: not reserve.exists(), 60, "none is wanted")
            assert told("emergency_reserve") == "none" and connection.call("SET", "more", "v") == b"OK"
        server.kill9()
        server.start()
        with server.connect() as connection:
            assert sorted(connection.call("KEYS", "*")) == [b"more", b"served"]
    finally:
        shim.set()
        server.kill9()


def test_a_segment_that_cannot_be_begun_is_told_with_its_remedy(tmp_path):
    """A roll that fails: the log goes on in its segment, INFO and the log name path, error and remedy; tried again."""
    server, shim = shimmed(tmp_path, "roll", appendfsync="everysec", aof_segment_size="1mb")
    try:
        shim.set("open enospc 0 0 .2.incr.aof.tmp")
        with server.connect(timeout=120) as connection:
            for n in range(4):
                assert connection.call("SET", f"k{n}", "v" * (400 << 10)) == b"OK"
            told = wait_until(lambda: (found := connection.info("persistence"))["aof_last_roll_status"] == "err" and found, 60, "it is told")
            assert "appendonly.aof.2.incr.aof" in told["aof_last_roll_error"] and "free some room" in told["aof_last_roll_error"], told
            assert told["aof_last_write_status"] == "ok"
            assert "No new AOF segment could be opened" in server.log_since_start()
            shim.set()
            wait_until(lambda: connection.call("SET", "k", "v") == b"OK" and connection.info("persistence")["aof_last_roll_status"] == "ok", 60, "it is tried again")
        server.kill9()
        server.start()
        with server.connect() as connection:
            assert connection.call("DBSIZE") == 5
    finally:
        shim.set()
        server.kill9()
