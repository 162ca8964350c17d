"""BGREWRITEAOF and automatic rewrites: what is on disk, what stock makes of it, crashes and failures among them, what INFO tells."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading

import pytest

from support.celery_app import CeleryWorld
from support.dump import differences, dump_all
from support.resp import ServerError
from support.server import wait_until
from support.workload import Load
from test_saving import persistence
from test_stock_interchange import copy_of, fill, rewrite, same

CHECK = shutil.which("redis-check-aof")
SEED = int(os.environ.get("GRAVEN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
STOCK = {"appendonly": "yes", "auto-aof-rewrite-percentage": 0}


def files(server) -> list[str]:
    return sorted(path.name.removeprefix("appendonly.aof.") for path in (server.directory / "appendonlydir").iterdir())


def accepted(directory) -> None:
    """redis-check-aof finds nothing wrong with a directory."""
    if CHECK:
        checked = subprocess.run([CHECK, directory / "appendonlydir" / "appendonly.aof.manifest"], capture_output=True, text=True, timeout=120)
        assert checked.returncode == 0 and "is valid" in checked.stdout, checked.stdout + checked.stderr


def rewritten(server, count: int) -> None:
    wait_until(lambda: persistence(server)["aof_rewrites"] == str(count), 60, f"{count} rewrites")


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("end", ["clean stop", "kill -9"])
def test_stock_and_graven_load_what_is_rewritten(make_server, make_stock, tmp_path, preamble, end):
    ours = make_server(directives={"aof-use-rdb-preamble": preamble, "appendfsync": "everysec"}).start()
    fill(ours, f"rewriting {preamble} {end}", steps=1500)
    with ours.connect(timeout=30) as connection:
        connection.call("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('answer', function() return 42 end)")
        connection.call("SET", "due", "x", "PX", 1)
    for count in (1, 2):
        rewrite(ours)
        rewritten(ours, count)
        fill(ours, f"behind {preamble} {end} {count}", steps=300)
    form = "rdb" if preamble == "yes" else "aof"
    assert files(ours) == [f"2.base.{form}", "3.incr.aof", "manifest"]
    held = dump_all(ours.port)
    if end == "clean stop":
        assert ours.stop() == 0
    else:
        ours.kill9()
    copy = copy_of(ours, tmp_path, "copy")
    accepted(copy)
    stock = make_stock(directory=copy, directives=STOCK).start()
    same(held, dump_all(stock.port), "stock", by_stock=True)
    with stock.connect() as connection:
        assert connection.call("FCALL", "answer", 0) == 42
    ours.start()
    same(held, dump_all(ours.port), "graven", by_stock=preamble == "no")
    with ours.connect() as connection:
        assert connection.call("FCALL", "answer", 0) == 42
    fill(stock, "on by stock", steps=300)
    rewrite(stock)
    fill(stock, "behind by stock", steps=300)
    held = dump_all(stock.port)
    stock.kill9()
    back = make_server("back", directory=copy).start()
    same(held, dump_all(back.port), "back from stock", by_stock=True)


def test_replies_and_figures(make_server):
    ours = make_server().start()
    with ours.connect(timeout=60) as connection:
        connection.call("DEBUG", "POPULATE", 50000)
        before = persistence(ours)
        assert (before["aof_rewrites"], before["aof_last_rewrite_time_sec"], before["aof_base_size"]) == ("0", "-1", "0")
        replies = connection.pipeline([("BGREWRITEAOF",), ("BGREWRITEAOF",), ("BGSAVE",), ("SET", "k", "v"), ("BGREWRITEAOF", "x")])
        assert replies[0] == b"Background append only file rewriting started"
        assert replies[1].text == "ERR Background append only file rewriting already in progress"
        assert replies[2] == b"Background saving started", "several snapshots at once"
        assert replies[4].text == "ERR wrong number of arguments for 'bgrewriteaof' command"
        assert persistence(ours)["aof_rewrite_in_progress"] == "1" or persistence(ours)["aof_rewrites"] == "1"
        rewritten(ours, 1)
        info = persistence(ours)
        assert (info["aof_rewrite_in_progress"], info["aof_last_bgrewrite_status"], info["aof_current_rewrite_time_sec"]) == ("0", "ok", "-1")
        assert 0 <= int(info["aof_last_rewrite_time_sec"]) < 60
        # An idle log appends a mark.
        assert 0 <= int(info["aof_current_size"]) - int(info["aof_base_size"]) < 200 and int(info["aof_base_size"]) > 50000
        assert connection.pipeline([("MULTI",), ("BGREWRITEAOF",), ("EXEC",)])[2] == [b"Background append only file rewriting scheduled"]
        rewritten(ours, 2)
    for line in ("Background append only file rewriting started by pid", "Background AOF rewrite terminated with success", "Background AOF rewrite finished successfully"):
        assert line in ours.log_text()
    size = os.path.getsize(ours.directory / "appendonlydir" / "appendonly.aof.2.base.rdb")
    ours.stop()
    ours.start()
    assert int(persistence(ours)["aof_base_size"]) == size
    assert int(persistence(ours)["aof_current_size"]) > size


def test_the_log_grows_and_is_rewritten_by_itself(make_server):
    ours = make_server(directives={"appendfsync": "everysec", "auto-aof-rewrite-min-size": "100kb", "aof-segment-size": "1mb"}).start()
    with ours.connect(timeout=30) as connection:
        for round_number in range(3):
            connection.pipeline([("SET", f"k{n}", "v" * 100) for n in range(1200)])
            rewritten(ours, round_number + 1)
            assert connection.call("DBSIZE") == 1200
        assert re.search(r"Starting automatic rewriting of AOF on \d+% growth", ours.log_text())
        connection.call("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)
        connection.pipeline([("SET", f"k{n}", "v" * 100) for n in range(5000)])
        connection.call("CONFIG", "SET", "auto-aof-rewrite-min-size", "1gb", "auto-aof-rewrite-percentage", 100)
        threading.Event().wait(0.5)
        assert persistence(ours)["aof_rewrites"] == "3"
        connection.call("CONFIG", "SET", "auto-aof-rewrite-min-size", "100kb")
        rewritten(ours, 4)
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        assert connection.call("DBSIZE") == 5000


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_kill9_while_rewriting_under_load(make_server, make_stock, tmp_path, appendfsync):
    """Whatever moment of a rewrite the crash picks: graven finds everything acknowledged, and so does stock on a copy."""
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-rewriting-{appendfsync}")
    server = make_server(directives={"appendfsync": appendfsync, "aof-segment-size": "1mb"}).start()
    with server.connect(timeout=60) as connection:
        connection.call("DEBUG", "POPULATE", 30000, "ballast", 200)
    load = Load(4, chance.randrange(1 << 32), depth=20)
    for kill in range(8):
        load.start(server.port)
        load.run_for(chance.uniform(0.05, 0.3))
        with server.connect(timeout=30) as connection:
            connection.call("BGREWRITEAOF")
        load.run_for(chance.uniform(0.0, 0.25))
        server.kill9()
        load.stop()
        load.check_errors()
        if kill % 3 == 2:
            copy = copy_of(server, tmp_path, f"copy-{kill}")
            accepted(copy)
            stock = make_stock(f"stock-{kill}", directory=copy, directives=STOCK).start()
            load.judge(stock.port)
            stock.end()
        server.start()
        load.judge(server.port)
        left = [name for name in files(server) if not name.endswith(".torn")]
        assert sum(".base." in name for name in left) <= 1 and not any(name.endswith(".tmp") for name in left), left
    rewrite(server)
    assert server.stop() == 0
    server.start()
    load.judge(server.port)


def test_celery_goes_on_through_rewrites_and_crashes(make_server, tmp_path):
    """A producer and a worker while the log is rewritten again and again by itself, with the broker killed in between.

    As without rewrites (test_crash.py), a message whose BRPOP was executed when the server died may be gone: one for each kill.
    """
    server = make_server(directives={"auto-aof-rewrite-min-size": "20kb", "aof-segment-size": "1mb"}).start()
    kills = 2
    with CeleryWorld(server, tmp_path / "celery") as world:
        world.start_worker()
        producer = world.start_producer(count=200, pause=0.02)
        for _ in range(kills):
            wait_until(lambda: int(persistence(server)["aof_rewrites"]) >= 2, 60, "rewrites by itself")
            server.kill9()
            server.start()
        producer.wait(60)
        sent = set(world.acknowledged())
        assert len(sent) > 100
        wait_until(world.supervised(lambda: len(sent - world.executed()) <= kills), 60, "the tasks are executed", pause=0.2)


def block_base(server, sequence: int) -> None:
    """A directory in the place of the draft: no base of this number can be written, whoever runs it."""
    (server.directory / "appendonlydir" / f"appendonly.aof.{sequence}.base.rdb.tmp").mkdir()


def test_a_failed_rewrite_is_told_harms_nobody_and_is_tried_again(make_server):
    ours = make_server(directives={"auto-aof-rewrite-percentage": 0}).start()
    block_base(ours, 1)
    with ours.connect(timeout=30) as connection:
        connection.call("SET", "k", "v")
        assert connection.call("BGREWRITEAOF") == b"Background append only file rewriting started"
        wait_until(lambda: persistence(ours)["aof_last_bgrewrite_status"] == "err", 10, "the rewrite fails")
        info = persistence(ours)
        assert (info["aof_rewrites"], info["aof_rewrites_consecutive_failures"]) == ("0", "1")
        assert "appendonly.aof.1.base.rdb.tmp" in info["aof_last_bgrewrite_error"] and "Is a directory" in info["aof_last_bgrewrite_error"]
        assert "Background AOF rewrite terminated with error" in ours.log_text()
        connection.call("SET", "k", "w")
        (ours.directory / "appendonlydir" / "appendonly.aof.1.base.rdb.tmp").rmdir()
        wait_until(lambda: persistence(ours)["aof_last_bgrewrite_status"] == "ok", 15, "it is tried again")
        assert persistence(ours)["aof_last_bgrewrite_error"] == ""
    ours.kill9()
    ours.start()
    with ours.connect() as connection:
        assert connection.call("GET", "k") == b"w"


def test_a_visit_by_stock_is_followed_by_a_rewrite(make_server, make_stock):
    """Twice, the second time over a transaction of ours that a crash has torn: nothing of it comes back, nothing of stock's is lost."""
    ours = make_server().start()
    fill(ours, "first", steps=200)
    for visit in range(2):
        with ours.connect() as connection:
            connection.pipeline([("MULTI",), ("SET", "half", visit), ("SET", "other half", "x" * 200), ("EXEC",)])
            connection.call("DEL", "half", "other half")
            connection.pipeline([("MULTI",), ("SET", "torn", visit), ("SET", "torn too", "x" * 200), ("EXEC",)])
        ours.kill9()
        segment = max((ours.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))
        content = segment.read_bytes()
        os.truncate(segment, content.rindex(b"torn too") + 100)
        stock = make_stock(f"stock-{visit}", directory=ours.directory, directives=STOCK).start()
        with stock.connect() as connection:
            assert connection.call("EXISTS", "torn", "torn too") == 0
            connection.call("SET", f"by stock {visit}", "y")
        held = dump_all(stock.port)
        stock.kill9()
        ours.start()
        assert not differences(held, dump_all(ours.port))
        rewritten(ours, 1)
        assert "Starting automatic rewriting of AOF" in ours.log_since_start()
        assert sum(name.endswith(".incr.aof") for name in files(ours)) == 1, files(ours)
        again = make_stock(f"again-{visit}", directory=copy_of(ours, ours.directory.parent, f"after-{visit}"), directives=STOCK).start()
        assert not differences(held, dump_all(again.port))
        again.end()


def test_superseded_files_can_be_kept(make_server, make_stock, tmp_path):
    ours = make_server(directives={"aof-disable-auto-gc": "yes"}).start()
    with ours.connect() as connection:
        connection.call("SET", "k", "v")
    rewrite(ours)
    rewritten(ours, 1)
    assert files(ours) == ["1.base.rdb", "1.incr.aof", "2.incr.aof", "manifest"]
    manifest = (ours.directory / "appendonlydir" / "appendonly.aof.manifest").read_text()
    assert "file appendonly.aof.1.incr.aof seq 1 type h" in manifest
    ours.stop()
    stock = make_stock(directory=copy_of(ours, tmp_path, "copy"), directives={**STOCK, "aof-disable-auto-gc": "yes"}).start()
    with stock.connect() as connection:
        assert connection.call("GET", "k") == b"v"
    ours.start(**{"aof-disable-auto-gc": "no"})
    assert files(ours) == ["1.base.rdb", "2.incr.aof", "manifest"]
