"""The archive of a real server: what rewrites supersede is packed, restores go back to it, tools and the scrubber verify it."""

import json
import subprocess
import sys

import pytest

from support.dump import differences, dump_all
from support.server import ROOT, graven_binary, wait_until

sys.path.insert(0, str(ROOT / "format-spec"))

from reader import archive, log  # noqa: E402

pytestmark = pytest.mark.graven_only

RETAINING = {"appendfsync": "always", "aof-segment-size": "1mb", "aof-retain-size": "1gb", "auto-aof-rewrite-percentage": 0}


def tool(*words, code=0):
    done = subprocess.run([graven_binary(), *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout or done.stderr


def persistence(connection) -> dict:
    lines = connection.call("INFO", "persistence").decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def is_settled(connection) -> bool:
    found = persistence(connection)
    return (found["aof_rewrite_in_progress"], found["archive_in_progress"], found["archive_pending_files"]) == ("0", "0", "0")


def rewrite(connection, directory) -> None:
    before = int(persistence(connection)["aof_rewrites"])
    connection.call("BGREWRITEAOF")
    wait_until(lambda: int(persistence(connection)["aof_rewrites"]) > before, 60, "the rewrite is done")
    wait_until(lambda: is_settled(connection) and not superseded(directory), 60, "what was superseded is archived")


def superseded(directory) -> list:
    manifest = (directory / "appendonlydir" / "appendonly.aof.manifest").read_text()
    return [line for line in manifest.splitlines() if line.endswith("type h")]


def write(connection, number) -> None:
    connection.call("SET", f"big:{number}", str(number) * 600_000)
    for key in range(20):
        connection.call("RPUSH", f"list:{key}", f"{number}:{key}")
    connection.call("SET", "last", number)


def packed(directory) -> list:
    return sorted((directory / "archive").glob("*.zst"), key=lambda path: int(path.name.split(".")[0]))


def test_a_restore_goes_back_behind_rewrites_and_restarts(make_server, make_stock, tmp_path):
    server = make_server(directives=RETAINING).start()
    moments = []
    for life in range(3):
        with server.connect() as connection:
            for round in range(2):
                write(connection, life * 2 + round)
                moments.append((int(persistence(connection)["aof_lsn_appended"]), life * 2 + round, dump_all(server.port)))
                write(connection, "lost")
                if round == 0 or life == 1:
                    rewrite(connection, server.directory)
        server.kill9() if life % 2 else server.stop()
        server.start()
    with server.connect() as connection:
        wait_until(lambda: int(persistence(connection)["archive_files"]) > 0 and is_settled(connection), 60, "the archiver rests")
        found = persistence(connection)
        assert (found["archive_enabled"], found["archive_last_status"]) == ("1", "ok")
        assert int(found["archive_files"]) == len(packed(server.directory)) >= 6
        assert int(found["archive_bytes"]) == sum(path.stat().st_size for path in packed(server.directory))
        assert (int(found["archive_bases"]), found["archive_oldest_lsn"]) == (3, "1")
        assert int(found["archive_oldest_time"]) > 1_700_000_000
    for lsn, number, held in moments:
        into = tmp_path / f"to-{lsn}"
        tool("restore", server.directory, "--to-lsn", lsn, "--into", into)
        restored = make_server(directory=into).start()
        assert not differences(dump_all(restored.port), held)
        restored.stop()
    # The one before the last that set it so, in front of three rewrites.
    tool("restore", server.directory, "--before-command", "set last 1", "--into", tmp_path / "before")
    restored = make_server(directory=tmp_path / "before").start()
    with restored.connect() as connection:
        assert connection.call("GET", "last") == b"lost"
        assert connection.call("EXISTS", "big:1") == 1 and connection.call("EXISTS", "big:2") == 0
    said = tool("restore", server.directory, "--to-lsn", 1 << 50, "--into", tmp_path / "none", code=2)
    assert len(said.splitlines()) == 1 and "LSN 1 to " in said and not (tmp_path / "none").exists()
    # Its own log is what stock knows, archive or not.
    held = dump_all(server.port)
    server.stop()
    stock = make_stock(directory=server.directory, directives={"appendonly": "yes"}).start()
    assert not differences(dump_all(stock.port), held)


def test_what_is_kept_changes_while_the_server_runs(make_server):
    server = make_server(directives={**RETAINING, "aof-retain-size": 0}).start()
    with server.connect() as connection:
        write(connection, 1)
        rewrite(connection, server.directory)
        assert not (server.directory / "archive").exists() and persistence(connection)["archive_enabled"] == "0"
        assert connection.call("CONFIG", "SET", "aof-retain-time", "3600") == b"OK"
        for number in (2, 3):
            write(connection, number)
            rewrite(connection, server.directory)
        files = packed(server.directory)
        assert ".base." in files[0].name and len(files) == int(persistence(connection)["archive_files"]) >= 4
        assert connection.call("CONFIG", "SET", "aof-retain-size", "1") == b"OK"
        wait_until(lambda: persistence(connection)["archive_files"] == "0", 60, "it is too much")
        assert not packed(server.directory)
        connection.call("CONFIG", "SET", "aof-retain-size", "0", "aof-retain-time", "1")
        write(connection, 4)
        before = int(persistence(connection)["aof_rewrites"])
        connection.call("BGREWRITEAOF")
        wait_until(lambda: int(persistence(connection)["aof_rewrites"]) > before, 60, "the rewrite is done")
        wait_until(lambda: is_settled(connection) and not superseded(server.directory) and not packed(server.directory), 60, "it is too old")
    assert "have left the archive" in server.log_text()


def damage(path) -> int:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    return len(content) // 2


def test_damage_in_the_archive_is_found_by_check_and_by_the_scrubber(make_server):
    server = make_server(directives={**RETAINING, "scrub-max-mb-per-sec": 0}).start()
    with server.connect() as connection:
        for number in range(3):
            write(connection, number)
            rewrite(connection, server.directory)
        connection.call("SAVE")
        report = json.loads(tool("check", server.directory, "--json"))
        roles = [file["role"] for file in report["files"]]
        assert report["verdict"] in ("sound", "in-flight") and roles.count("archived") == len(packed(server.directory))
        assert persistence(connection)["scrub_passes"] == "0"
        connection.call("CONFIG", "SET", "scrub-period", "1")
        wait_until(lambda: int(persistence(connection)["scrub_passes"]) >= 1, 60, "a pass is over")
        found = persistence(connection)
        assert (found["scrub_errors"], found["scrub_last_error"]) == ("0", "") and int(found["scrub_last_pass_time"]) > 0
        assert int(found["scrub_bytes_verified"]) > sum(path.stat().st_size for path in packed(server.directory))
        victim = packed(server.directory)[1]
        damage(victim)
        wait_until(lambda: persistence(connection)["scrub_errors"] != "0", 60, "it is found")
        assert f"{victim} at offset " in persistence(connection)["scrub_last_error"]
        # It harms nobody.
        assert connection.call("GET", "last") == b"2"
        report = json.loads(tool("check", server.directory, "--json", code=1))
        (bad,) = [file for file in report["files"] if file["verdict"] == "damaged"]
        assert bad["file"] == str(victim) and bad["damage"]["offset"] <= victim.stat().st_size
        tool("check", victim, code=1)
    assert f"DAMAGED: {victim} at offset" in server.log_text()


def test_a_backup_takes_the_archive_and_a_reader_reads_it(make_server, tmp_path):
    server = make_server(directives=RETAINING).start()
    with server.connect() as connection:
        write(connection, 1)
        moment = int(persistence(connection)["aof_lsn_appended"])
        rewrite(connection, server.directory)
        write(connection, 2)
        rewrite(connection, server.directory)
    tool("backup", server.directory, tmp_path / "without")
    assert not (tmp_path / "without" / "archive").exists()
    tool("backup", "--archive", server.directory, tmp_path / "with")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "with", check=True)
    tool("restore", tmp_path / "with", "--to-lsn", moment, "--into", tmp_path / "then")
    restored = make_server(directory=tmp_path / "then").start()
    with restored.connect() as connection:
        assert connection.call("GET", "last") == b"1"
    # Positions and commands as an independent reader sees them.
    files = archive.files(tmp_path / "with")
    entries = archive.read(tmp_path / "with").entries
    assert [one.type for one in entries][0] == "i" and [one.type for one in entries].count("b") == 1
    words = []
    for file, entry in zip(files, entries):
        held = file.decoded()
        if isinstance(held, log.Segment):
            assert (held.header.timeline, held.header.first, held.end) == (entry.timeline, entry.first, entry.end)
            words += [command.words for command in held.commands() if command.words[0] == b"SET"]
        else:
            assert (held.position.lsn, held.position.timeline) == (entry.first, entry.timeline)
    assert [word[1:] for word in words if word[1] == b"last"] == [[b"last", b"1"], [b"last", b"2"]]
    shown = tool("inspect", server.directory, "--archive", "--json").splitlines()
    lasts = [json.loads(line)["command"][2] for line in shown if json.loads(line).get("command", [""])[1:2] == ["last"]]
    assert lasts == ["1", "2"]
    one = tool("inspect", packed(server.directory)[0], "--json").splitlines()
    assert any(json.loads(line).get("command", [""])[1:2] == ["big:1"] for line in one)


def test_archiving_goes_on_behind_a_kill(make_server):
    server = make_server(directives={**RETAINING, "archive-max-mb-per-sec": 1}).start()
    with server.connect() as connection:
        for number in range(4):
            write(connection, number)
        connection.call("BGREWRITEAOF")
        wait_until(lambda: persistence(connection)["archive_in_progress"] == "1", 60, "it has begun")
    server.kill9()
    server.start(**{"archive-max-mb-per-sec": 0})
    with server.connect() as connection:
        wait_until(lambda: is_settled(connection) and not superseded(server.directory), 60, "it has caught up")
        assert connection.call("GET", "last") == b"3"
    names = {path.name.split(".", 1)[1] for path in packed(server.directory)}
    assert len(names) == len(packed(server.directory)) >= 2, "each once"
    assert not list((server.directory / "archive").glob("*.tmp"))
    tool("check", server.directory)


@pytest.mark.parametrize("timestamps", ["yes", "no"])
def test_moments_in_a_visit_by_stock_are_exact_or_are_refused(make_server, make_stock, tmp_path, timestamps):
    """What stock wrote has no positions, and times only where it was told to write them: nothing of it gets into a moment before it."""

    def second(connection):
        """The time, when nothing more is logged in its second."""
        now = int(connection.call("TIME")[0])
        wait_until(lambda: int(connection.call("TIME")[0]) > now + 1, 10, "the next second")
        return now + 1

    ours = make_server(directives=RETAINING).start()
    with ours.connect() as connection:
        connection.call("SET", "a", "1")
        rewrite(connection, ours.directory)
        connection.call("SET", "b", "1")
        before = second(connection)
    ours.stop()
    stock = make_stock(directory=ours.directory, directives={"aof-timestamp-enabled": timestamps}).start()
    with stock.connect() as connection:
        connection.call("SET", "s", "1")
        during = second(connection)
        connection.call("SET", "t", "1")
        connection.call("SET", "u", "1")
        second(connection)
    stock.stop()
    ours.start()
    with ours.connect() as connection:
        connection.call("SET", "c", "1")
        after = second(connection)
        rewrite(connection, ours.directory)
        connection.call("SET", "d", "1")
    ours.stop()

    def keys(number, *moment, code=0):
        into = tmp_path / f"restored-{number}"
        said = tool("restore", ours.directory, *moment, "--into", into, code=code)
        assert into.exists() == (code == 0)
        if code:
            return said
        exported = subprocess.run([graven_binary(), "export", "--jsonl", into], capture_output=True, text=True, timeout=60, check=True)
        return "".join(sorted(json.loads(line)["key"] for line in exported.stdout.splitlines()))

    assert keys(1, "--to-time", after) == "abcstu"
    assert keys(2, "--before-command", "SET t 1") == "abs"
    assert keys(3, "--before-command", "SET u") == "abst"
    assert keys(4, "--before-command", "SET s") == "ab"
    if timestamps == "yes":
        assert keys(5, "--to-time", before) == "ab"
        assert keys(6, "--to-time", during) == "abs"
    else:
        for number, moment in ((5, before), (6, during)):
            said = keys(number, "--to-time", moment, code=2)
            assert "a stock server wrote there" in said and said.count("20") >= 2 and len(said.splitlines()) == 1, said
    # Where the last frame in front of the visit ends, and a position that nothing has.
    inspected = tool("inspect", ours.directory, "--archive", "--show", "commands", "--json")
    lines = [json.loads(line) for line in inspected.splitlines()]
    lsns = {line["command"][1]: line["lsn"] for line in lines if line["command"][0] == "SET"}
    behind = lsns["b"] + len("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n")
    assert lsns["s"] is None and behind < lsns["c"] - 1
    assert keys(7, "--to-lsn", behind) == "ab"
    assert "a stock server wrote there" in keys(8, "--to-lsn", lsns["c"] - 1, code=2)
    assert keys(9, "--to-lsn", lsns["c"]) == "abstu"
