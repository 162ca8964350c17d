"""CONFIG SET appendonly, and BGREWRITEAOF without a log: what is answered, what INFO tells, what a start loads afterwards; beside stock."""

from __future__ import annotations

import shutil
import threading

import pytest

from support.dump import differences, dump_all
from support.resp import Closed, ServerError
from support.server import wait_until
from test_stock_interchange import fill


def persistence(server) -> dict:
    with server.connect() as connection:
        return connection.info("persistence")


def quiet(server) -> None:
    def done():
        told = persistence(server)
        return told["aof_rewrite_in_progress"] == "0" and told["aof_rewrite_scheduled"] == "0"

    wait_until(done, 60, "no rewrite is under way")


def switch(server, word: str) -> None:
    with server.connect(timeout=60) as connection:
        assert connection.call("CONFIG", "SET", "appendonly", word) == b"OK"
        assert connection.call("CONFIG", "GET", "appendonly") == [b"appendonly", word.encode()]
    quiet(server)


def logs(server) -> list[str]:
    directory = server.directory / "appendonlydir"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_switched_on_nothing_acknowledged_is_lost(make_server, make_stock, appendfsync, tmp_path):
    """On, killed, loaded; stock loads it, too; off, and on again."""
    ours = make_server(directives={"appendonly": "no", "appendfsync": appendfsync}).start()
    fill(ours, "switched on", steps=1500)
    assert persistence(ours)["aof_enabled"] == "0"
    switch(ours, "yes")
    told = persistence(ours)
    assert (told["aof_enabled"], told["aof_last_bgrewrite_status"]) == ("1", "ok")
    assert int(told["aof_base_size"]) > 0
    with ours.connect() as connection:
        connection.call("SET", "behind", "it")
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]
    held = dump_all(ours.port)
    ours.kill9()
    assert logs(ours) == ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]
    (tmp_path / "stock").mkdir()
    shutil.copytree(ours.directory / "appendonlydir", tmp_path / "stock" / "appendonlydir")
    stock = make_stock(directory=tmp_path / "stock", directives={"appendonly": "yes"}).start()
    assert not differences(held, dump_all(stock.port))
    ours.start(appendonly="yes")
    assert not differences(held, dump_all(ours.port))
    switch(ours, "no")
    wait_until(lambda: "closed" in (ours.directory / "appendonlydir/appendonly.aof.manifest").read_text(), 60, "the log is closed")
    with ours.connect() as connection:
        connection.pipeline([("SET", "without", "a log"), ("SAVE",)])
    switch(ours, "yes")
    with ours.connect() as connection:
        connection.call("SET", "again", "on")
    held = dump_all(ours.port)
    ours.kill9()
    ours.start()
    assert not differences(held, dump_all(ours.port))
    assert not list(ours.directory.glob("*.superseded-*")), "it descends from the log that it takes the place of"


def test_what_is_loaded_behind_a_switch_is_decided_by_lineage(make_server):
    ours = make_server().start()
    with ours.connect() as connection:
        connection.pipeline([("SET", "k", "in the log"), ("SAVE",)])
        connection.call("SET", "k", "behind the save")
    switch(ours, "no")
    ours.kill9()
    for appendonly in ("no", "yes"):
        ours.start(appendonly=appendonly)
        with ours.connect() as connection:
            assert connection.call("GET", "k") == b"behind the save", "the log stands later than the dump"
        ours.kill9()
    ours.start(appendonly="yes")
    switch(ours, "no")
    with ours.connect() as connection:
        connection.pipeline([("SET", "k", "without a log"), ("SAVE",)])
    ours.kill9()
    for appendonly in ("yes", "no"):
        ours.start(appendonly=appendonly)
        with ours.connect() as connection:
            assert connection.call("GET", "k") == b"without a log", "the dump stands later than the log"
        ours.kill9()


def test_a_log_of_another_history_is_set_aside(make_server, tmp_path):
    """A dump that was put there, AOF off: the log beside it is not what the data descends from."""
    ours = make_server().start()
    with ours.connect() as connection:
        connection.call("SET", "k", "in the log")
    ours.stop()
    other = make_server("other", directives={"appendonly": "no"}).start()
    with other.connect() as connection:
        connection.pipeline([("SET", "k", "foreign"), ("SAVE",)])
    shutil.copy(other.directory / "dump.rdb", ours.directory / "dump.rdb")
    ours.start(appendonly="no")
    switch(ours, "yes")
    ours.kill9()
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"foreign"
    (kept,) = ours.directory.glob("appendonlydir.superseded-*Z")
    assert (kept / "appendonly.aof.1.incr.aof").exists()


def test_the_answers_are_those_of_stock(make_server, make_stock):
    """WAITAOF without and with a log, a directory that cannot be made, transactions, the value in force, CONFIG REWRITE."""
    ours, stock = make_server(directives={"appendonly": "no"}).start(), make_stock(directives={"appendonly": "no"}).start()
    for server in (ours, stock):
        (server.directory / "appendonlydir").write_text("in the way")
    said = []
    for server in (ours, stock):
        with server.connect() as connection:
            with pytest.raises(ServerError) as refused:
                connection.call("CONFIG", "SET", "appendonly", "yes")
            said.append(str(refused.value))
            assert connection.call("CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
            with pytest.raises(ServerError, match="argument must be 'yes' or 'no'"):
                connection.call("CONFIG", "SET", "appendonly", "perhaps")
    assert said[0] == said[1]
    (ours.directory / "appendonlydir").unlink()
    with ours.connect() as connection:
        with pytest.raises(ServerError, match="WAITAOF cannot be used when numlocal is set but appendonly is disabled"):
            connection.call("WAITAOF", 1, 0, 0)
        assert connection.pipeline([("MULTI",), ("SET", "k", "v"), ("CONFIG", "SET", "appendonly", "yes"), ("EXEC",)])[-1] == [b"OK", b"OK"]
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]
        assert connection.call("CONFIG", "SET", "appendonly", "yes") == b"OK", "nothing happens"
    ours.kill9()
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"v"


def test_config_rewrite_keeps_the_switch(make_server, tmp_path):
    """Switched on and rewritten, the file says so, and a start by it alone loads the log; switched off, the same."""
    ours = make_server(directives={"appendonly": "no"})
    file = tmp_path / "graven.conf"
    file.write_text("".join(f"{name} {value!s}\n" if value != "" else f'{name} ""\n' for name, value in ours.directives.items()))
    ours.arguments = lambda: [ours.binary, str(file)]
    ours.start()
    for said, key in (("yes", "on"), ("no", "off")):
        switch(ours, said)
        with ours.connect() as connection:
            assert connection.call("CONFIG", "REWRITE") == b"OK"
            assert f"appendonly {said}" in file.read_text().splitlines()
            assert connection.call("SET", key, "v") == b"OK"
            if said == "no":
                assert connection.call("SAVE") == b"OK"
        ours.kill9()
        ours.start()
        with ours.connect() as connection:
            assert connection.call("CONFIG", "GET", "appendonly") == [b"appendonly", said.encode()]
            assert connection.call("GET", key) == b"v"


def test_switched_on_in_a_transaction(make_server):
    """EXEC answers at once, and the log begins behind it; where it cannot, INFO and the log tell, and it is tried again."""
    ours = make_server(directives={"appendonly": "no"}).start()
    with ours.connect() as connection:
        connection.call("SET", "k", "before")
        said = connection.pipeline([("MULTI",), ("CONFIG", "SET", "appendonly", "yes"), ("SET", "k", "inside"), ("EXEC",)])
        assert said[-1] == [b"OK", b"OK"]
        quiet(ours)
        assert connection.info("persistence")["aof_enabled"] == "1"
        assert connection.call("SET", "k2", "behind") == b"OK"
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]
    ours.kill9()
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.pipeline([("GET", "k"), ("GET", "k2")]) == [b"inside", b"behind"]
    blocked = make_server("blocked", directives={"appendonly": "no"}).start()
    (blocked.directory / "appendonlydir").write_text("in the way")
    with blocked.connect() as connection:
        assert connection.pipeline([("MULTI",), ("CONFIG", "SET", "appendonly", "yes"), ("EXEC",)])[-1] == [b"OK"]
        told = wait_until(lambda: (found := connection.info("persistence"))["aof_last_bgrewrite_status"] == "err" and found, 60, "it is told")
        assert str(blocked.directory / "appendonlydir") in told["aof_last_bgrewrite_error"], told
        (blocked.directory / "appendonlydir").unlink()
        wait_until(lambda: connection.info("persistence")["aof_last_bgrewrite_status"] == "ok", 60, "tried again")
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]


def test_switched_while_a_save_and_a_rewrite_run(make_server):
    """On beside a BGSAVE, off beside a rewrite, and on again at once: in the end the log holds everything."""
    ours = make_server(directives={"appendonly": "no", "snapshot-max-mb-per-sec": 1}).start()
    with ours.connect(timeout=60) as connection:
        value = "v" * 1000
        connection.pipeline([("SET", f"k{n}", value + str(n)) for n in range(3000)])
        connection.call("CONFIG", "SET", "rdbcompression", "no")
        assert connection.call("BGSAVE") == b"Background saving started"
        assert connection.call("CONFIG", "SET", "appendonly", "yes") == b"OK"
        told = connection.info("persistence")
        assert (told["rdb_bgsave_in_progress"], told["aof_rewrite_in_progress"], told["aof_enabled"]) == ("1", "1", "1")
        with pytest.raises(ServerError, match="already in progress"):
            wait_until(lambda: (ours.directory / "appendonlydir" / "appendonly.aof.founding").exists(), 60, "it has begun")
            connection.call("BGREWRITEAOF")
        # It does not count yet.
        assert connection.call("WAITAOF", 1, 0, 10) == [0, 0]
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", "0")
        quiet(ours)
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", "1")
        assert connection.call("BGREWRITEAOF") == b"Background append only file rewriting started"
        assert connection.call("CONFIG", "SET", "appendonly", "no") == b"OK"
        connection.call("SET", "between", "two logs")
        assert connection.call("CONFIG", "SET", "appendonly", "yes") == b"OK"
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", "0")
        assert connection.call("WAITAOF", 1, 0, 0) == [1, 0]
        quiet(ours)
        connection.call("SET", "behind", "them")
    ours.kill9()
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("DBSIZE") == 3002
        assert connection.call("MGET", "between", "behind", "k2999") == [b"two logs", b"them", (value + "2999").encode()]


def test_switched_off_before_it_counts(make_server):
    """A log that is being begun is given up: nothing of it stays, and whoever waits in WAITAOF is told."""
    ours = make_server(directives={"appendonly": "no", "snapshot-max-mb-per-sec": 1, "rdbcompression": "no"}).start()
    with ours.connect(timeout=60) as connection, ours.connect(timeout=60) as waiting:
        connection.pipeline([("SET", f"k{n}", "v" * 1000) for n in range(5000)])
        assert connection.call("CONFIG", "SET", "appendonly", "yes") == b"OK"
        waiting.send("WAITAOF", 1, 0, 0)
        wait_until(lambda: (ours.directory / "appendonlydir" / "appendonly.aof.founding").exists(), 60, "it has begun")
        assert connection.call("CONFIG", "SET", "appendonly", "no") == b"OK"
        assert "appendonly is disabled" in str(waiting.read())
        wait_until(lambda: not logs(ours), 60, "nothing is left")
        connection.call("SET", "goes", "on")
        assert connection.info("persistence")["aof_enabled"] == "0"
    ours.kill9()
    ours.start(appendonly="yes")
    with ours.connect() as connection:
        assert connection.call("DBSIZE") == 0


def test_bgrewriteaof_without_a_log_writes_one_once(make_server, make_stock, tmp_path):
    """As stock: the log holds that moment; here nothing of what came meanwhile is missing, and lineage decides at the next start."""
    ours = make_server(directives={"appendonly": "no"}).start()
    with ours.connect(timeout=60) as connection:
        connection.pipeline([("SET", "k", "written"), ("SAVE",), ("SET", "k", "written later")])
        assert connection.call("BGREWRITEAOF") == b"Background append only file rewriting started"
        assert connection.call("CONFIG", "GET", "appendonly") == [b"appendonly", b"no"]
    quiet(ours)
    manifest = ours.directory / "appendonlydir" / "appendonly.aof.manifest"
    wait_until(lambda: manifest.exists() and "closed" in manifest.read_text(), 60, "it is closed")
    told = persistence(ours)
    assert (told["aof_enabled"], told["aof_rewrites"], told["aof_last_bgrewrite_status"]) == ("0", "1", "ok")
    held = dump_all(ours.port)
    (tmp_path / "stock").mkdir()
    shutil.copytree(ours.directory / "appendonlydir", tmp_path / "stock" / "appendonlydir")
    stock = make_stock(directory=tmp_path / "stock", directives={"appendonly": "yes"}).start()
    assert not differences(held, dump_all(stock.port))
    ours.kill9()
    ours.start(appendonly="no")
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"written later", "it stands later than the dump"


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_kill9_while_it_is_switched_under_load(make_server, appendfsync):
    """On and off again under load, killed at some moment: what was acknowledged while the log counted is there."""
    ours = make_server(directives={"appendonly": "no", "appendfsync": appendfsync}).start()
    with ours.connect(timeout=60) as connection:
        connection.pipeline([("SET", f"k{n}", "v" * 100) for n in range(2000)])
    for turn in range(3):
        switch(ours, "yes")
        acknowledged, stop = [0], threading.Event()

        def write():
            try:
                with ours.connect(timeout=60) as connection:
                    while not stop.is_set():
                        acknowledged[0] = connection.call("INCR", "counter")
            except (Closed, ConnectionError, OSError):
                pass

        writer = threading.Thread(target=write)
        writer.start()
        start = acknowledged[0]
        wait_until(lambda: acknowledged[0] > start + 50, 60, "it writes")
        if turn == 1:
            switch(ours, "no")
            switch(ours, "yes")
        ours.kill9()
        stop.set()
        writer.join(60)
        ours.start(appendonly="yes")
        with ours.connect() as connection:
            assert int(connection.call("GET", "counter")) >= acknowledged[0]
            assert connection.call("DBSIZE") == 2001
        switch(ours, "no")
        with ours.connect(timeout=60) as connection:
            assert connection.call("SAVE") == b"OK"
