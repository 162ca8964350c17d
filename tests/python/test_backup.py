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
from support.server import free_port, graven_binary, wait_until
from test_saving import persistence


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


def backup(server, target, *options, asking: bool = False, **how) -> subprocess.CompletedProcess:
    source = ["--from", f"127.0.0.1:{server.port}"] if asking else [str(server.directory)]
    made = subprocess.run([graven_binary(), "backup", *options, *source, str(target)], capture_output=True, timeout=120, **how)
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


def test_files_stay_readable_when_a_rewrite_deletes_them(make_server, tmp_path):
    """A copy is settled when it begins: what the server removes meanwhile is read to its end from the open files."""
    ours = make_server(directives={"appendfsync": "everysec", "auto-aof-rewrite-percentage": 0}).start()
    with ours.connect(timeout=30) as connection:
        for number in range(1, 3000):
            connection.call("RPUSH", "log", number)
            connection.call("SET", f"key:{number % 700}", os.urandom(400))
        log = ours.directory / "appendonlydir"
        before = {path.name for path in log.iterdir()} - {"appendonly.aof.manifest"}
        held = dump_all(ours.port)
        with open(tmp_path / "copy.tar", "wb") as archive:
            words = [graven_binary(), "backup", "--max-mb-per-sec", "1", str(ours.directory), "-"]
            running = subprocess.Popen(words, stdout=archive, stderr=subprocess.PIPE)
            # It holds the files before it writes the first byte.
            wait_until(lambda: (tmp_path / "copy.tar").stat().st_size > 0, 60, "the copy has begun")
            connection.call("DEL", "log")
            connection.call("BGREWRITEAOF")
            wait_until(lambda: persistence(ours)["aof_rewrites"] == "1", 60, "the rewrite is over")
            assert not before & {path.name for path in log.iterdir()}, "the files that are being copied are gone"
            assert running.poll() is None, "they are still being copied"
            _, said = running.communicate(timeout=120)
            assert running.returncode == 0, said
    with tarfile.open(tmp_path / "copy.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert {path.name for path in (tmp_path / "unpacked" / "appendonlydir").iterdir()} == before | {"appendonly.aof.manifest"}
    assert not differences(dump_all(make_server(directory=tmp_path / "unpacked").start().port), held)


@pytest.mark.parametrize("who", ["graven", "stock"])
@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_a_server_is_asked_where_its_data_is(make_server, make_stock, tmp_path, who, appendonly):
    """By its address alone; one without a log saves first, so that nothing acknowledged is missing."""
    directives = {"appendonly": appendonly, "dbfilename": "other.rdb", "appenddirname": "logs", "appendfilename": "other.aof"}
    server = (make_server if who == "graven" else make_stock)(directives=directives).start()
    with server.connect(timeout=30) as connection:
        connection.call("SET", "saved", "before")
        if appendonly == "no":
            connection.call("SAVE")
        connection.call("RPUSH", "log", *range(1, 200))
    backup(server, tmp_path / "copy", asking=True)
    restored = make_server(directory=tmp_path / "copy", directives=directives).start()
    holds_a_prefix(restored, 199, 199)
    restored.stop()
    made = backup(server, "-", "--zstd", asking=True)
    unpacked = subprocess.run(["tar", "--list", "--use-compress-program", "zstd"], input=made.stdout, capture_output=True, timeout=60) \
        if shutil.which("zstd") else None
    assert made.stdout[:4] == b"\x28\xb5\x2f\xfd"
    assert unpacked is None or b"SHA256SUMS" in unpacked.stdout, unpacked


def test_a_server_that_asks_for_a_password_gets_it(make_server, tmp_path):
    server = make_server(directives={"requirepass": "secret", "unixsocket": tmp_path / "socket"}).start(wait=False)
    wait_until(lambda: (tmp_path / "socket").exists(), 60, "the socket is there")
    words = [graven_binary(), "backup", "--from", str(tmp_path / "socket"), str(tmp_path / "copy")]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 4 and "NOAUTH" in refused.stderr
    made = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "REDISCLI_AUTH": "secret"})
    assert made.returncode == 0, made.stderr
    server.stop()


def test_data_of_another_server_is_not_taken(make_server, tmp_path):
    """The path that a server names may be another machine's: what stands there must be that server's."""
    one, other = make_server().start(), make_server().start()
    with one.connect() as connection:
        connection.call("SET", "a", "b")
        moved = tmp_path / "moved"
        one.directory.rename(moved)
        shutil.copytree(other.directory, one.directory)
        words = [graven_binary(), "backup", "--from", f"127.0.0.1:{one.port}", str(tmp_path / "copy")]
        refused = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert refused.returncode == 2 and "another timeline" in refused.stderr, refused
        assert not (tmp_path / "copy").exists()
        shutil.rmtree(one.directory)
        moved.rename(one.directory)
    assert subprocess.run(words, capture_output=True, timeout=120).returncode == 0
    nobody = [graven_binary(), "backup", "--from", f"127.0.0.1:{free_port()}", str(tmp_path / "none")]
    assert subprocess.run(nobody, capture_output=True, timeout=120).returncode == 4


def test_a_compressed_copy_unpacks_into_a_data_directory(make_server, tmp_path):
    ours = make_server(directives={"appendfsync": "always"}).start()
    with ours.connect() as connection:
        connection.call("RPUSH", "log", *range(1, 200))
    backup(ours, tmp_path / "copy", "--zstd=9")
    packed = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert len(packed) >= 3 and all(path.name.endswith(".zst") for path in packed)
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-d", "-q", "--rm", "-r", str(tmp_path / "copy")], check=True, timeout=60)
        holds_a_prefix(make_server(directory=tmp_path / "copy").start(), 199, 199)
