"""BGSAVE, BGREWRITEAOF and `graven backup` beside each other and beside a writer: each result is a moment of its own, whole; and a
kill -9 in the middle loses nothing that was acknowledged."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from support.dump import differences, dump_all
from support.server import graven_binary, wait_until
from test_backup import Writer, holds_a_prefix

KEYS = 20000


def filled(make_server, **directives):
    """A server whose snapshots take a while."""
    ours = make_server(directives={"appendfsync": "everysec", "rdbcompression": "no", "snapshot-max-mb-per-sec": 4, "aof-segment-size": "1mb", **directives}).start()
    with ours.connect(timeout=60) as connection:
        for start in range(0, KEYS, 1000):
            connection.pipeline([("SET", f"fill:{n}", f"{n}:" + "x" * 600) for n in range(start, start + 1000)])
    return ours


def persistence(server) -> dict:
    with server.connect() as connection:
        return connection.info("persistence")


def both_run(server) -> bool:
    told = persistence(server)
    return (told["rdb_bgsave_in_progress"], told["aof_rewrite_in_progress"]) == ("1", "1")


def begin_both(server) -> None:
    with server.connect() as connection:
        assert connection.call("BGREWRITEAOF") == b"Background append only file rewriting started"
        assert connection.call("BGSAVE") == b"Background saving started"
    assert both_run(server), "each takes seconds"


def test_a_save_a_rewrite_and_a_backup_beside_a_writer(make_server, make_stock, tmp_path):
    ours = filled(make_server)
    writer = Writer(ours)
    writer.start()
    try:
        wait_until(lambda: writer.acknowledged > 500, 60, "it writes")
        least = writer.acknowledged
        begin_both(ours)
        copying = subprocess.Popen([graven_binary(), "backup", str(ours.directory), str(tmp_path / "copy")], stderr=subprocess.PIPE)
        assert copying.wait(300) == 0, copying.stderr.read().decode()
        copied = writer.acknowledged
        with ours.connect() as connection:
            connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 0)
        wait_until(lambda: (told := persistence(ours))["rdb_bgsave_in_progress"] == told["aof_rewrite_in_progress"] == "0", 120, "both have ended")
        told = persistence(ours)
        assert (told["rdb_last_bgsave_status"], told["aof_last_bgrewrite_status"], told["aof_rewrites"]) == ("ok", "ok", "1"), told
    finally:
        writer.stop()
    most = writer.acknowledged + 1
    held = dump_all(ours.port)
    (tmp_path / "saved").mkdir()
    shutil.copy(ours.directory / "dump.rdb", tmp_path / "saved")
    ours.kill9()
    shutil.copytree(ours.directory, tmp_path / "stocks")
    # The save, the backup and the rewritten log, each at stock and here.
    for name, low, high, log in (("saved", least, copied + 1, "no"), ("copy", least, copied + 1, "yes"), ("stocks", writer.acknowledged, most, "yes")):
        held_by = []
        for make in (make_stock, make_server):
            directory = tmp_path / f"{name}-{len(held_by)}"
            shutil.copytree(tmp_path / name, directory)
            server = make(f"{name}{len(held_by)}", directory=directory, directives={"appendonly": log}).start()
            holds_a_prefix(server, low if name != "saved" else least, most if name == "saved" else high)
            with server.connect(timeout=60) as connection:
                assert connection.call("GET", f"fill:{KEYS - 1}") == f"{KEYS - 1}:".encode() + b"x" * 600
            held_by.append(dump_all(server.port))
            server.kill9()
        assert not differences(*held_by), name
        if name == "stocks":
            assert not differences(held, held_by[0])
    ours.start()
    assert not differences(held, dump_all(ours.port))


@pytest.mark.parametrize("round_number", range(3))
def test_killed_in_the_middle_of_all_of_them(make_server, make_stock, tmp_path, round_number):
    ours = filled(make_server, appendfsync="always")
    chance = random.Random(f"several {round_number}")
    writer = Writer(ours)
    writer.start()
    wait_until(lambda: writer.acknowledged > 100, 60, "it writes")
    begin_both(ours)
    copying = subprocess.Popen([graven_binary(), "backup", "--max-mb-per-sec", "4", str(ours.directory), str(tmp_path / "copy")], stderr=subprocess.PIPE)
    at = writer.acknowledged + chance.randrange(50, 400)
    wait_until(lambda: writer.acknowledged >= at, 120, "in the middle")
    ours.kill9()
    writer.stop()
    acknowledged = writer.acknowledged
    code = copying.wait(300)
    # The copy is of files that it had opened: it comes to its end, whole, or says why not.
    assert code == 0 or copying.stderr.read(), code
    later = {}
    for name in ("stock", "ours"):
        shutil.copytree(ours.directory, tmp_path / name)
        make = make_stock if name == "stock" else make_server
        server = make(f"{name}-after", directory=tmp_path / name, directives={"appendonly": "yes"}).start()
        holds_a_prefix(server, acknowledged, acknowledged + 1)
        later[name] = dump_all(server.port)
        server.kill9()
    assert not differences(later["stock"], later["ours"])
    if code == 0:
        copied = make_server("copied", directory=tmp_path / "copy").start()
        holds_a_prefix(copied, 100, acknowledged + 1)
