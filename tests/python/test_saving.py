"""SAVE, BGSAVE, save points, the save at the end: what is on disk, what stock makes of it, what INFO tells, what a failure does."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import pytest

from support.dump import differences, dump_all
from support.resp import Closed, ServerError
from support.server import wait_until
from test_stock_interchange import fill

CHECK = shutil.which("redis-check-rdb")


def persistence(server) -> dict:
    with server.connect() as connection:
        text = connection.call("INFO", "persistence").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def saved(server) -> None:
    wait_until(lambda: persistence(server)["rdb_bgsave_in_progress"] == "0", 30, "the save has ended")


@pytest.fixture
def ours(make_server):
    return make_server(directives={"appendonly": "no"}).start()


@pytest.mark.parametrize("directives", [{}, {"rdbcompression": "no"}, {"rdbchecksum": "no"}, {"maxmemory-policy": "allkeys-lru"}, {"maxmemory-policy": "allkeys-lfu"}], ids=str)
def test_stock_loads_what_is_saved(make_server, make_stock, tmp_path, directives):
    ours = make_server(directives={"appendonly": "no", **directives}).start()
    fill(ours, f"saving {directives}", steps=1500)
    library = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)"
    with ours.connect(timeout=30) as connection:
        connection.call("FUNCTION", "LOAD", library)
        assert connection.call("SAVE") == b"OK"
        digest = connection.call("DEBUG", "DIGEST")
    held = dump_all(ours.port)
    assert len(held) > 50
    if CHECK:
        checked = subprocess.run([CHECK, ours.directory / "dump.rdb"], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0 and "RDB looks OK" in checked.stdout, checked.stdout
    (tmp_path / "stock").mkdir()
    shutil.copy(ours.directory / "dump.rdb", tmp_path / "stock")
    stock = make_stock(directory=tmp_path / "stock", directives={"appendonly": "no"}).start()
    assert not differences(held, dump_all(stock.port))
    with stock.connect(timeout=30) as connection:
        assert connection.call("DEBUG", "DIGEST") == digest
        assert connection.call("FCALL", "answer", 0) == 42
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        assert connection.call("FCALL", "answer", 0) == 42
    assert not differences(held, dump_all(ours.port))
    assert persistence(ours)["rdb_last_load_keys_loaded"] == str(len(held))


def test_a_dump_goes_to_and_fro(make_server, make_stock):
    """One directory, each server in turn: each saves at its end and loads what the other left."""
    ours = make_server(directives={"appendonly": "no", "save": "900 1"}).start()
    stock = make_stock(directory=ours.directory, directives={"appendonly": "no", "save": "900 1"})
    for visit in range(2):
        fill(ours, f"to {visit}", steps=400)
        held = dump_all(ours.port)
        assert ours.stop() == 0
        stock.start()
        assert not differences(held, dump_all(stock.port))
        fill(stock, f"fro {visit}", steps=400)
        held = dump_all(stock.port)
        stock.stop()
        ours.start()
        assert not differences(held, dump_all(ours.port))


def test_a_background_save_is_a_moment(ours):
    """What is written after BGSAVE began is not in the file; INFO counts the changes from there."""
    with ours.connect(timeout=30) as connection:
        connection.call("DEBUG", "POPULATE", 50000)
        before = connection.call("LASTSAVE")
        assert int(persistence(ours)["rdb_changes_since_last_save"]) == 50000
        replies = connection.pipeline([("BGSAVE",), ("SET", "later", 1), ("BGSAVE",), ("BGSAVE", "SCHEDULE"), ("BGSAVE", "WHAT"), ("MULTI",), ("SAVE",), ("DISCARD",)])
        assert replies[0] == b"Background saving started"
        assert replies[2].text == replies[3].text == "ERR Background save already in progress"
        assert replies[4].text == "ERR syntax error"
        assert replies[6].text.startswith("ERR Command not allowed inside a transaction")
        saved(ours)
        info = persistence(ours)
        assert (info["rdb_last_bgsave_status"], info["rdb_changes_since_last_save"], info["rdb_saves"]) == ("ok", "1", "1")
        assert int(info["rdb_last_bgsave_time_sec"]) >= 0 and info["rdb_current_bgsave_time_sec"] == "-1"
        assert connection.call("LASTSAVE") >= before
        assert connection.pipeline([("MULTI",), ("BGSAVE",), ("EXEC",)])[2] == [b"Background saving scheduled"]
        wait_until(lambda: persistence(ours)["rdb_saves"] == "2", 10, "the scheduled save")
        connection.call("FLUSHALL")
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        assert connection.call("DBSIZE") == 50001
    log = ours.log_text()
    for line in ("Background saving started", "DB saved on disk", "Background saving terminated with success"):
        assert line in log


def test_others_are_served_while_one_saves(ours):
    """SAVE's client waits; everybody else goes on."""
    with ours.connect(timeout=60) as connection, ours.connect() as other:
        connection.call("DEBUG", "POPULATE", 300000)
        connection.send("SAVE")
        served = 0
        while persistence(ours)["rdb_bgsave_in_progress"] == "1":
            other.call("INCR", "served")
            served += 1
        assert connection.read() == b"OK"
        assert served >= 1
        with pytest.raises(ServerError, match="Unknown|unknown|wrong number"):
            connection.call("SAVE", "x")


def test_reload(ours):
    """DEBUG RELOAD: what comes back from the dump is what was there."""
    fill(ours, "reload", steps=600)
    held = dump_all(ours.port)
    with ours.connect(timeout=60) as connection:
        digest = connection.call("DEBUG", "DIGEST")
        assert connection.call("DEBUG", "RELOAD") == b"OK"
        assert connection.call("DEBUG", "DIGEST") == digest
        assert not differences(held, dump_all(ours.port))
        connection.call("FLUSHALL")
        connection.call("SET", "other", "1")
        assert connection.call("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH") == b"OK"
        assert connection.call("GET", "other") == b"1"
        replies = connection.pipeline([("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"), ("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE"), ("DEBUG", "RELOAD", "WHAT")])
        assert replies[0].text.startswith("ERR Error trying to load the RDB dump") and replies[1] == b"OK"
        assert replies[2].text.startswith("ERR DEBUG RELOAD only supports")
        connection.call("DEL", "other")
        assert connection.call("DEBUG", "DIGEST") == digest


LIBRARY = "#!lua name={0}\nredis.register_function('{0}', function() return 7 end)"
RELOADS = [
    ("FUNCTION", "LOAD", LIBRARY.format("kept")), ("SET", "a", 1), ("SELECT", 3), ("SET", "b", 2, "PX", 100000000), ("SELECT", 0),
    ("DEBUG", "RELOAD"), ("FUNCTION", "LIST"), ("GET", "a"),
    ("SET", "late", 1), ("FUNCTION", "LOAD", LIBRARY.format("late")), ("DEBUG", "RELOAD", "NOSAVE"), ("FUNCTION", "LIST"), ("DBSIZE",),
    ("SET", "late", 1), ("SET", "a", "changed"), ("DEBUG", "RELOAD", "nosave", "noflush", "merge"), ("MGET", "a", "late"), ("FUNCTION", "LIST"),
    ("WATCH", "a"), ("DEBUG", "RELOAD"), ("MULTI",), ("GET", "a"), ("EXEC",),
    ("WATCH", "none"), ("DEBUG", "RELOAD", "NOSAVE"), ("MULTI",), ("GET", "a"), ("EXEC",),
    ("MULTI",), ("SET", "in", 1), ("DEBUG", "RELOAD"), ("GET", "in"), ("EXEC",),
    ("DEBUG", "RELOAD", "NOSAVE", "WHAT"),
    ("PEXPIRE", "in", 1), ("SAVE",), ("DEBUG", "RELOAD", "NOSAVE"), ("EXISTS", "a"), ("SELECT", 3), ("PEXPIRETIME", "b"), ("GET", "b"), ("SELECT", 0),
]


@pytest.mark.parametrize("log", ["no", "yes"])
def test_reload_is_as_in_stock(make_server, make_stock, log):
    """Also what was loaded without having been saved is there after a kill."""
    directives = {"appendonly": log, "maxmemory-policy": "allkeys-lfu", "enable-debug-command": "yes"}
    ours, stock = make_server(directives=directives).start(), make_stock(directives={**directives, "appendonly": "no"}).start()
    both = []
    for server in (ours, stock):
        with server.connect(timeout=30) as connection:
            both.append([str(reply) for reply in connection.pipeline(RELOADS)])
            connection.pipeline([("GET", "a")] * 500)
            frequency = connection.call("OBJECT", "FREQ", "a")
            assert frequency > 5 and connection.pipeline([("DEBUG", "RELOAD"), ("OBJECT", "FREQ", "a")]) == [b"OK", frequency]
            if server is ours:
                held = dump_all(ours.port)
    for request, mine, theirs in zip(RELOADS, *both):
        assert mine == theirs or request[0] == "PEXPIRETIME", request
    if log == "yes":
        ours.kill9()
        ours.start()
        assert dump_all(ours.port) == held
        with ours.connect() as connection:
            assert connection.call("FCALL", "kept", 0) == 7


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_the_log_is_loaded_again(make_server, policy):
    """DEBUG LOADAOF: what comes back from the log is what was there, and the server goes on with it."""
    ours = make_server(directives={"appendfsync": policy, "auto-aof-rewrite-percentage": 0}).start()
    fill(ours, f"loadaof-{policy}", steps=600)
    with ours.connect() as connection:
        connection.call("SET", "due", "v", "PX", 100000)
        connection.call("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 7 end)")
        held = dump_all(ours.port)
        digest = connection.call("DEBUG", "DIGEST")
        # What stands before it in a pipeline is in the log when it is read.
        replies = connection.pipeline([("SET", "late", 1), ("DEBUG", "LOADAOF"), ("GET", "late"), ("DEL", "late"), ("DEBUG", "DIGEST")])
        assert replies == [b"OK", b"OK", b"1", 1, digest]
        assert dump_all(ours.port) == held and connection.call("FCALL", "f", 0) == 7
        replies = connection.pipeline([("MULTI",), ("DEBUG", "LOADAOF"), ("EXEC",)])
        assert "inside a transaction" in str(replies[-1][0])
        connection.call("SET", "behind", 1)
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        assert connection.call("GET", "behind") == b"1" and connection.call("DBSIZE") > 10
        connection.call("CONFIG", "SET", "appendonly", "no")
        # The log ends a moment later; until then it holds all there is.
        wait_until(lambda: "which is off" in str(connection.pipeline([("DEBUG", "LOADAOF")])[0]), 20, "the log has ended")


def test_save_points(make_server):
    ours = make_server(directives={"appendonly": "no", "save": "1 3"}).start()
    with ours.connect() as connection:
        connection.pipeline([("SET", "a", 1), ("SET", "b", 2)])
        connection.call("CONFIG", "SET", "save", "1 2")
        wait_until(lambda: persistence(ours)["rdb_saves"] == "1", 10, "the save point")
        assert "2 changes in 1 seconds. Saving..." in ours.log_text()
        connection.call("CONFIG", "SET", "save", "")
        assert connection.call("CONFIG", "GET", "save") == [b"save", b""]
    ours.kill9()
    ours.start(save="")
    with ours.connect() as connection:
        assert connection.call("DBSIZE") == 2


def test_the_later_one_of_log_and_dump_is_loaded(make_server):
    """AOF switched off and on over a directory that has both: of a dump and the log that it was written beside, the later one."""
    ours = make_server().start()
    with ours.connect() as connection:
        connection.pipeline([("SET", "k", "in the dump"), ("SAVE",), ("SET", "k", "in the log")])
    ours.kill9()
    ours.start(appendonly="no")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"in the log"
        assert "which stands later than the dump beside it" in ours.log_since_start()
        connection.pipeline([("SET", "k", "without a log"), ("SAVE",)])
    ours.kill9()
    for appendonly in ("no", "yes", "yes"):
        ours.start(appendonly=appendonly)
        with ours.connect() as connection:
            assert connection.call("GET", "k") == b"without a log"
        ours.kill9()
    assert len(list(ours.directory.glob("appendonlydir.superseded-*Z"))) == 1


@pytest.mark.parametrize("where", ["file", "command line"])
def test_aof_switched_on_over_a_dump_of_stock(make_server, make_stock, where):
    """The dump becomes the base; stock itself would start empty."""
    stock = make_stock(directives={"appendonly": "no"}).start()
    with stock.connect() as connection:
        connection.pipeline([("SET", "k", "from stock"), ("SAVE",)])
    stock.kill9()
    if where == "file":
        ours = make_server(directory=stock.directory, directives={"appendonly": "yes"}).start()
    else:
        ours = make_server(directory=stock.directory, directives={"appendonly": "no"}).start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"from stock"
        connection.call("SET", "k", "in the log")
    ours.kill9()
    for appendonly in ("no", "yes"):
        ours.start(appendonly=appendonly)
        with ours.connect() as connection:
            assert connection.call("GET", "k") == b"in the log"
        ours.kill9()


def test_all_keys_may_expire_before_a_save(make_server):
    """What came to be empty replaces the dump that was loaded, and is the truth afterwards, with and without a log."""
    ours = make_server(directives={"appendonly": "no"}).start()
    with ours.connect() as connection:
        connection.pipeline([("SET", "k", "v", "PXAT", "9000000000000"), ("SAVE",)])
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        connection.pipeline([("PEXPIRE", "k", 1)])
        wait_until(lambda: connection.call("DBSIZE") == 0, 60, "it is due")
        assert connection.call("SAVE") == b"OK"
    ours.kill9()
    for appendonly in ("no", "yes", "no"):
        ours.start(appendonly=appendonly)
        with ours.connect() as connection:
            assert connection.call("DBSIZE") == 0
        ours.kill9()
    assert not list(ours.directory.glob("*.superseded-*"))


def test_a_dump_that_was_put_there_is_never_overwritten(make_server, tmp_path):
    """An old dump put back on purpose: with the log off it is loaded; with the log on the log is, and the first save sets the dump aside."""
    ours = make_server().start()
    with ours.connect() as connection:
        connection.pipeline([("SET", "k", "old"), ("SAVE",)])
        shutil.copy(ours.directory / "dump.rdb", tmp_path / "old.rdb")
        connection.pipeline([("SET", "k", "new"), ("SAVE",)])
    other = make_server("other", directives={"appendonly": "no"}).start()
    with other.connect() as connection:
        connection.pipeline([("SET", "k", "foreign"), ("SAVE",)])
    ours.stop()
    shutil.copy(tmp_path / "old.rdb", ours.directory / "dump.rdb")
    ours.start(appendonly="no")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"old"
        assert "is not loaded, because the append-only file is off" in ours.log_since_start()
    ours.kill9()
    shutil.copy(other.directory / "dump.rdb", ours.directory / "dump.rdb")
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"new"
        connection.call("FLUSHALL")
        assert connection.call("SAVE") == b"OK"
        assert connection.call("SAVE") == b"OK"
    assert "neither loaded nor written by this server" in ours.log_since_start()
    kept = list(ours.directory.glob("dump.rdb.superseded-*Z"))
    assert [path.read_bytes() for path in kept] == [(other.directory / "dump.rdb").read_bytes()]


def test_the_last_generations_of_the_dump_are_kept(make_server, make_stock, tmp_path):
    """`snapshot-generations`: by configuration and CONFIG SET; each generation is a dump that stock loads; what INFO tells; a start that cannot load names the latest."""
    ours = make_server(directives={"appendonly": "no", "snapshot-generations": 3}).start()

    def generations() -> list[str]:
        return sorted(path.name for path in ours.directory.glob("dump.rdb.*"))

    with ours.connect() as connection:
        for number in range(1, 6):
            assert connection.pipeline([("SET", "k", number), ("SAVE",)]) == [b"OK", b"OK"]
        assert generations() == ["dump.rdb.generation-3", "dump.rdb.generation-4"]
        figures = persistence(ours)
        sizes = [(ours.directory / name).stat().st_size for name in generations()]
        assert (figures["rdb_generations_kept"], figures["rdb_generations_bytes"]) == ("2", str(sum(sizes)))
        assert connection.call("CONFIG", "GET", "snapshot-generations") == [b"snapshot-generations", b"3"]
        assert connection.call("CONFIG", "SET", "snapshot-generations", "2") == b"OK"
        wait_until(lambda: generations() == ["dump.rdb.generation-4"], 60, "the oldest has gone")
        wait_until(lambda: persistence(ours)["rdb_generations_kept"] == "1", 60, "INFO tells")
        connection.call("SET", "k", 6)
        assert connection.call("BGSAVE").startswith(b"Background saving started")
        saved(ours)
        assert generations() == ["dump.rdb.generation-5"]
    (tmp_path / "stock").mkdir()
    shutil.copy(ours.directory / "dump.rdb.generation-5", tmp_path / "stock/dump.rdb")
    stock = make_stock(directory=tmp_path / "stock", directives={"appendonly": "no"}).start()
    with stock.connect() as connection:
        assert connection.call("GET", "k") == b"5"
    ours.kill9()
    ours.start(snapshot_generations="1")
    assert generations() == [] and "snapshot-generations is 1" in ours.log_since_start()
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"6"
        connection.pipeline([("CONFIG", "SET", "snapshot-generations", "2"), ("SET", "k", 7), ("SAVE",)])
        assert generations() == ["dump.rdb.generation-1"]
    ours.kill9()
    dump = ours.directory / "dump.rdb"
    dump.write_bytes(dump.read_bytes()[:-9] + b"x" * 9)
    failed = subprocess.run([ours.binary, "check", ours.directory], capture_output=True, text=True, timeout=60)
    assert "dump.rdb.generation-1  " in failed.stdout and failed.returncode != 0, failed.stdout
    with pytest.raises(AssertionError, match="while starting"):
        ours.start(snapshot_generations="2")
    assert "The snapshot before it is kept as" in ours.log_since_start()


def test_what_a_snapshot_retains_is_counted_in_bytes(make_server):
    """Everything is flushed while a save and a rewrite hold it: what they retained is what the data set had taken; nothing changed, nothing retained."""
    ours = make_server(directives={"appendfsync": "everysec", "rdbcompression": "no"}).start()
    with ours.connect(timeout=60) as connection:

        def held() -> int:
            told = connection.info("memory")
            return int(told["used_memory"]) - int(told["mem_not_counted_for_evict"])

        for word, field, done in (("BGSAVE", "rdb_last_cow_size", "rdb_bgsave_in_progress"), ("BGREWRITEAOF", "aof_last_cow_size", "aof_rewrite_in_progress")):
            empty = held()
            for start in range(0, 20000, 1000):
                connection.pipeline([("SET", f"k{n}", "v" * 500) for n in range(start, start + 1000)])
            grown = held() - empty
            for flush in (False, True):
                if flush:
                    connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 1)
                connection.call(word)
                if flush:
                    connection.call("FLUSHALL")
                    wait_until(lambda: 0.6 < int(persistence(ours)["current_cow_size"]) / grown < 1.4, 60, "it is counted")
                    connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 0)
                wait_until(lambda: persistence(ours)[done] == "0", 60, "it has ended")
                retained = int(persistence(ours)[field])
                assert 0.6 < retained / grown < 1.4 if flush else retained < grown / 20, (word, flush, retained, grown)


def test_a_newer_version_of_the_format(make_server):
    """`rdb-version 11`: sets keep their listpacks; read back the same."""
    ours = make_server(directives={"appendonly": "no", "rdb-version": 11}).start()
    fill(ours, "version 11", steps=400)
    held = dump_all(ours.port)
    with ours.connect(timeout=30) as connection:
        assert connection.call("SAVE") == b"OK"
    assert (ours.directory / "dump.rdb").read_bytes()[:9] == b"REDIS0011"
    ours.kill9()
    ours.start()
    assert not differences(held, dump_all(ours.port))


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE", "SIGTERM without points"])
def test_the_end_saves(make_server, how):
    points = "" if how in ("SHUTDOWN SAVE", "SIGTERM without points") else "900 1"
    ours = make_server(directives={"appendonly": "no", "save": points}).start()
    with ours.connect() as connection:
        connection.call("SET", "k", "v")
        if how.startswith("SIGTERM"):
            assert ours.stop() == 0
        else:
            with pytest.raises((Closed, ConnectionError)):
                connection.call(*how.split())
            ours.process.wait(60)
    kept = how in ("SIGTERM", "SHUTDOWN", "SHUTDOWN SAVE")
    assert ("Saving the final RDB snapshot before exiting." in ours.log_text()) == kept
    ours.start()
    with ours.connect() as connection:
        assert connection.call("GET", "k") == (b"v" if kept else None)


def block_dump(server) -> None:
    """A directory in the place of the draft: no save can succeed, whoever runs it."""
    (server.directory / "dump.rdb.tmp").mkdir()


def unblock_dump(server) -> None:
    (server.directory / "dump.rdb.tmp").rmdir()


def test_a_failed_save_is_told_and_stops_writes(make_server):
    ours = make_server(directives={"appendonly": "no", "save": "900 1"}).start()
    with ours.connect() as connection:
        connection.call("SET", "k", "v")
        assert connection.call("SAVE") == b"OK"
        connection.call("SET", "k", "w")
        block_dump(ours)
        with pytest.raises(ServerError):
            connection.call("SAVE")
        info = persistence(ours)
        assert (info["rdb_last_bgsave_status"], info["rdb_bgsave_in_progress"], info["rdb_saves"]) == ("err", "0", "1")
        assert "dump.rdb" in ours.log_tail() and "Write error saving DB on disk" in ours.log_text()
        with pytest.raises(ServerError, match="MISCONF Redis is configured to save RDB snapshots"):
            connection.call("SET", "k", "x")
        assert connection.call("GET", "k") == b"w"
        connection.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        connection.call("SET", "k", "y")
        connection.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        # It cannot save, so it does not end.
        with pytest.raises(ServerError, match="Errors trying to SHUTDOWN"):
            connection.call("SHUTDOWN")
        assert connection.call("GET", "k") == b"y"
        assert "can't exit" in ours.log_text()
        unblock_dump(ours)
        assert connection.call("SAVE") == b"OK"
        connection.call("SET", "k", "z")
        assert persistence(ours)["rdb_last_bgsave_status"] == "ok"
    assert ours.stop() == 0
    ours.start()
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"z"


def test_with_a_healthy_log_a_failed_save_stops_nobody(make_server):
    ours = make_server(directives={"save": "1 1"}).start()
    block_dump(ours)
    with ours.connect() as connection:
        connection.call("SET", "k", "v")
        wait_until(lambda: persistence(ours)["rdb_last_bgsave_status"] == "err", 10, "the save fails")
        connection.call("SET", "k", "w")
        unblock_dump(ours)
        wait_until(lambda: persistence(ours)["rdb_last_bgsave_status"] == "ok", 15, "it is tried again")


def test_kill_while_saving(make_server):
    """kill -9 at any moment of a save: the dump that is found is the old one or the new one."""
    ours = make_server(directives={"appendonly": "no"}).start()
    with ours.connect(timeout=30) as connection:
        connection.call("DEBUG", "POPULATE", 20000, "old")
        assert connection.call("SAVE") == b"OK"
        connection.call("DEBUG", "POPULATE", 20000, "new")
    for delay in (0.0, 0.005, 0.02, 0.05):
        with ours.connect(timeout=30) as connection:
            connection.call("BGSAVE")
        timer = threading.Event()
        timer.wait(delay)
        ours.kill9()
        ours.start()
        with ours.connect(timeout=30) as connection:
            size = connection.call("DBSIZE")
            assert size in (20000, 40000)
            if size == 20000:
                connection.call("DEBUG", "POPULATE", 20000, "new")
    assert os.path.exists(ours.directory / "dump.rdb")


def test_progress_rate_and_memory(ours):
    """While a save goes on: how far it is, what it retains of memory, how fast it may write; all of it at run time."""
    with ours.connect(timeout=60) as connection:
        connection.call("DEBUG", "POPULATE", 200000, "key", 200)
        # Noise, so that there is something to write.
        noise = os.urandom(150).hex().encode()
        for start in range(0, 40000, 2000):
            connection.pipeline([("SET", f"key:{number}", noise + b"%d" % number) for number in range(start, start + 2000)])
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 1)
        used = int(info(connection, "memory")["used_memory"])
        connection.call("BGSAVE")
        wait_until(lambda: int(persistence(ours)["current_save_keys_processed"]) > 0, 10, "a step")
        seen = persistence(ours)
        assert seen["current_save_keys_total"] == "200000" and 0 < float(seen["current_fork_perc"]) < 100
        for start in range(0, 100000, 2000):
            connection.pipeline([("SET", f"key:{number}", b"x" * 200) for number in range(start, start + 2000)])
        wait_until(lambda: int(persistence(ours)["current_cow_size"]) > 20_000_000, 10, "it is counted")
        wait_until(lambda: persistence(ours)["current_cow_size_age"] == "0", 5, "it is counted again")
        seen = persistence(ours)
        assert seen["rdb_bgsave_in_progress"] == "1", "the rate holds it back"
        grown = int(info(connection, "memory")["used_memory"]) - used
        assert 0.6 < int(seen["current_cow_size"]) / grown < 1.4, (seen["current_cow_size"], grown)
        assert int(seen["current_cow_peak"]) >= int(seen["current_cow_size"])
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 0)
        saved(ours)
        after = persistence(ours)
        assert (after["current_cow_size"], after["current_save_keys_total"]) == ("0", "0")
        assert int(after["rdb_last_cow_size"]) >= int(seen["current_cow_size"])


def info(connection, section: str) -> dict:
    return dict(line.split(":", 1) for line in connection.call("INFO", section).decode().splitlines() if ":" in line)


def test_what_retains_too_much_is_given_up_and_tried_again(make_server):
    ours = make_server(directives={"save": "", "snapshot-max-mb-per-sec": 1, "snapshot-max-retained": "4mb", "appendfsync": "everysec"}).start()
    with ours.connect(timeout=60) as connection:
        connection.call("DEBUG", "POPULATE", 300000, "key", 300)
        connection.call("CONFIG", "SET", "rdbcompression", "no")
        connection.call("BGSAVE")

        def overwrite() -> None:
            for start in range(0, 300000, 3000):
                connection.pipeline([("SET", f"key:{number}", b"x" * 300) for number in range(start, start + 3000)])
                if persistence(ours)["rdb_bgsave_in_progress"] == "0":
                    return

        overwrite()
        saved(ours)
        log = ours.log_text()
        if persistence(ours)["rdb_last_bgsave_status"] == "ok":
            # So hurried it came through.
            assert "it is hurried" in log
            return
        assert "given up" in persistence(ours)["rdb_last_bgsave_error"] and "snapshot-max-retained" in log
        assert int(persistence(ours)["snapshot_batches_held_back"]) > 0
        connection.call("SET", "k", "nobody is refused anything")
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 0)
        wait_until(lambda: persistence(ours)["rdb_last_bgsave_status"] == "ok", 30, "it is tried again")


def test_a_failed_background_save_is_tried_again_and_has_a_remedy(make_server):
    ours = make_server(directives={"save": ""}).start()
    block_dump(ours)
    with ours.connect() as connection:
        connection.call("SET", "k", "v")
        connection.call("BGSAVE")
        wait_until(lambda: persistence(ours)["rdb_last_bgsave_status"] == "err", 10, "it fails")
        error = persistence(ours)["rdb_last_bgsave_error"]
        assert "dump.rdb.tmp" in error and "os error 21" in error and "move it away" in error, error
        assert "tried again in 5 seconds" in ours.log_text()
        unblock_dump(ours)
        wait_until(lambda: persistence(ours)["rdb_last_bgsave_status"] == "ok", 15, "it is tried again")
        assert persistence(ours)["rdb_last_bgsave_error"] == ""


def test_keys_that_are_due_are_counted_apart(ours):
    with ours.connect() as connection:
        connection.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        connection.pipeline([("SET", f"k{number}", "v", "PX", 1) for number in range(10)] + [("SET", "stays", "v")])
        assert connection.call("SAVE") == b"OK"
    ours.kill9()
    ours.start()
    seen = persistence(ours)
    assert (seen["rdb_last_load_keys_loaded"], seen["rdb_last_load_keys_expired"]) == ("1", "10")
