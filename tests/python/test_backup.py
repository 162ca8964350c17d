"""`graven backup` beside a server under load: what was acknowledged before the call is in the copy, on which both start."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import threading

import pytest

from support.dump import differences, dump_all
from support.server import graven_binary


class Writer(threading.Thread):
    """Counts upwards in keys of its own, one request after the other, until it is told to stop."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.acknowledged, self.stopping = server, 0, threading.Event()

    def run(self) -> None:
        with self.server.connect(timeout=30) as connection:
            while not self.stopping.is_set():
                number = self.acknowledged + 1
                connection.call("RPUSH", "log", number)
                connection.call("SET", f"key:{number % 500}", f"{number}:" + "v" * 300)
                self.acknowledged = number

    def stop(self) -> None:
        self.stopping.set()
        self.join(30)


def backup(server, target, *options, **how) -> subprocess.CompletedProcess:
    made = subprocess.run([graven_binary(), "backup", str(server.directory), str(target), *options], capture_output=True, timeout=120, **how)
    assert made.returncode == 0, made.stderr.decode()
    return made


def holds_a_prefix(server, least: int, most: int) -> None:
    with server.connect(timeout=30) as connection:
        log = [int(number) for number in connection.call("LRANGE", "log", 0, -1)]
    assert log == list(range(1, len(log) + 1)), "a prefix, without gaps"
    assert least <= len(log) <= most


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_copy_beside_a_writer_is_a_data_directory(make_server, make_stock, tmp_path, fsync):
    ours = make_server(directives={"appendfsync": fsync, "aof-segment-size": "1mb"}).start()
    writer = Writer(ours)
    writer.start()
    try:
        copies = []
        for number in range(3):
            before = writer.acknowledged
            while writer.acknowledged < before + 300:
                assert writer.is_alive()
            least = writer.acknowledged
            backup(ours, tmp_path / f"copy{number}")
            copies.append((tmp_path / f"copy{number}", least, writer.acknowledged + 1))
    finally:
        writer.stop()
    assert shutil.which("sha256sum"), "coreutils are there"
    for directory, least, most in copies:
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=directory, check=True, timeout=60)
        for_stock = tmp_path / f"{directory.name}-stock"
        shutil.copytree(directory, for_stock)
        restored = make_server(directory=directory).start()
        holds_a_prefix(restored, least, most)
        stock = make_stock(directory=for_stock, directives={"appendonly": "yes"}).start()
        assert not differences(dump_all(restored.port), dump_all(stock.port))
        restored.stop()
        stock.stop()
    ours.stop()
    ours.start()
    holds_a_prefix(ours, writer.acknowledged, writer.acknowledged + 1)


def test_an_archive_unpacks_into_a_data_directory(make_server, tmp_path):
    ours = make_server(directives={"appendfsync": "always"}).start()
    with ours.connect() as connection:
        for number in range(1, 200):
            connection.call("RPUSH", "log", number)
    made = backup(ours, "-")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    holds_a_prefix(make_server(directory=tmp_path / "unpacked").start(), 199, 199)


def test_a_backup_says_why_there_is_none(make_server, tmp_path):
    ours = make_server(directives={"appendfsync": "always"}).start()
    with ours.connect() as connection:
        connection.call("SET", "a", "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("else")

    def refused(*words) -> tuple[int, str]:
        made = subprocess.run([graven_binary(), "backup", *map(str, words)], capture_output=True, text=True, timeout=60)
        return made.returncode, made.stderr

    code, said = refused(ours.directory, tmp_path / "full")
    assert code == 2 and "is not empty" in said
    code, said = refused(tmp_path / "nowhere", tmp_path / "copy")
    assert code == 4 and "nowhere" in said
    assert refused(tmp_path / "full", tmp_path / "copy")[0] == 2
    # A backup that was broken off has no manifest, and nobody starts on it.
    backup(ours, tmp_path / "broken-off")
    os.remove(tmp_path / "broken-off" / "appendonlydir" / "appendonly.aof.manifest")
    server = make_server(directory=tmp_path / "broken-off")
    server.start(wait=False)
    assert server.process.wait(30) != 0
