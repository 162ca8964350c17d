"""Segments that are filled ahead (`aof-preallocate`) and writes that end at a border (`aof-align`): with the real server, stock's
loader and checker, and the reader of format-spec/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from support.dump import dump_all
from support.server import ROOT, graven_binary, stock_binary, wait_until
from test_stock_interchange import fill, same

sys.path.insert(0, str(ROOT / "format-spec"))

from reader import directory  # noqa: E402

pytestmark = pytest.mark.graven_only


def info(connection, field: str) -> int:
    text = connection.call("INFO", "persistence").decode()
    return int(text.split(f"\r\n{field}:")[1].split("\r\n")[0])


def segments(server) -> list:
    return sorted((server.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))


def ahead(server) -> list:
    return list((server.directory / "appendonlydir").glob("*.ahead.tmp"))


def is_filled(path) -> bool:
    return path.read_bytes().endswith(b"#" * 510 + b"\r\n")


def goes_on_filled(server, connection) -> None:
    """The segment of a start is not filled: the log leaves it for one that is as soon as that is ready."""

    def look() -> bool:
        connection.call("SET", "turn", 1)
        return is_filled(segments(server)[-1])

    wait_until(look, 60, "the log goes on in a segment that was filled ahead")


@pytest.mark.parametrize("align", ["0", "4096"])
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_what_a_kill_leaves_is_for_stock_and_for_graven(make_server, make_stock, tmp_path, appendfsync, align):
    directives = {"aof-preallocate": "yes", "aof-segment-size": "1mb", "appendfsync": appendfsync, "aof-align": align}
    server = make_server(directives={**directives, "auto-aof-rewrite-percentage": 0}).start()
    with server.connect() as connection:
        goes_on_filled(server, connection)
        for n in range(25):
            connection.call("SET", f"large{n}", "x" * 100_000)
        fill(server, f"ahead-{appendfsync}-{align}", steps=200)
        goes_on_filled(server, connection)
        # What is filled is not what is written.
        written = sum(len(path.read_bytes().rstrip(b"#\r\n")) for path in segments(server))
        assert abs(info(connection, "aof_current_size") - written) < 64 << 10
    held = dump_all(server.port)
    server.kill9()
    assert len(segments(server)) > 3 and is_filled(segments(server)[-1])
    assert not any(is_filled(path) for path in segments(server)[:-1]), "a sealed segment is cut to its content"
    copy = tmp_path / "for-stock"
    shutil.copytree(server.directory, copy)
    checker = os.path.join(os.path.dirname(os.path.realpath(shutil.which(stock_binary()) or stock_binary())), "redis-check-aof")
    listed = copy / "appendonlydir" / "appendonly.aof.manifest"
    checked = subprocess.run([checker, str(listed)], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout
    found = directory.read(server.directory)
    assert found.torn is None and found.segments[-1].end > 2_500_000
    sound = subprocess.run([graven_binary(), "check", str(server.directory)], capture_output=True, text=True, timeout=120)
    assert sound.returncode == 0, sound.stdout
    stock = make_stock(directory=copy).start()
    same(dump_all(stock.port), held, "stock on what a kill has left")
    with stock.connect() as connection:
        connection.call("SET", "by", "stock")
        held_by_stock = dump_all(stock.port)
    stock.stop()
    back = make_server(directory=copy, directives=directives).start()
    same(dump_all(back.port), held_by_stock, "graven behind stock")
    assert not ahead(server) or True
    server.start()
    same(dump_all(server.port), held, "graven on what a kill has left")
    assert server.stop() == 0
    assert not ahead(server) and not is_filled(segments(server)[-1])


def test_it_can_be_switched_while_the_server_runs(make_server):
    server = make_server(directives={"aof-segment-size": "1mb"}).start()
    with server.connect() as connection:
        assert connection.call("CONFIG", "GET", "aof-preallocate", "aof-align") == [b"aof-preallocate", b"no", b"aof-align", b"0"]
        connection.call("SET", "a", 1)
        assert not ahead(server)
        connection.call("CONFIG", "SET", "aof-preallocate", "yes", "aof-align", "512")
        goes_on_filled(server, connection)
        wait_until(lambda: ahead(server), 60, "the next one is made")
        connection.call("CONFIG", "SET", "aof-preallocate", "no")
        wait_until(lambda: connection.call("SET", "b", 1) == b"OK" and not ahead(server), 60, "what nobody needs is gone")
        with pytest.raises(Exception):
            connection.call("CONFIG", "SET", "aof-align", "1000")
        held = dump_all(server.port)
    server.kill9()
    server.start()
    same(dump_all(server.port), held, "after the kill")


def test_a_log_that_is_followed_is_not_read_anew(make_server):
    """`inspect --follow` on a segment of which most is fill."""
    server = make_server(directives={"aof-preallocate": "yes", "aof-segment-size": "1mb"}).start()
    with server.connect() as connection:
        goes_on_filled(server, connection)
        follower = subprocess.Popen(
            [graven_binary(), "inspect", "--follow", str(server.directory)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            for n in range(20):
                connection.call("SET", f"followed{n}", n)
            seen = ""
            while "followed19" not in seen:
                line = follower.stdout.readline()
                assert line, seen
                seen += line
            assert all(f"followed{n}" in seen for n in range(20))
        finally:
            follower.kill()
            follower.wait()
