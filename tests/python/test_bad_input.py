"""Every verb of the tools on what makes no sense, cannot be read, or cannot be written: one clear line, the documented exit code, and
nothing left behind.

Each case is a command line with names in braces for what lies in the directory of the test (see `places`), an exit code, and what the
line says. Disks that are full or refuse are those of the fault shim of tests/shim.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import Server, graven_binary, stock_binary

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shim"))
from control import Shim  # noqa: E402

pytestmark = pytest.mark.graven_only

FILLED = 300


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A directory with data and without, in every state that a command line may name."""
    base = tmp_path_factory.mktemp("bad")
    server = Server(base / "data", directives={"appendfsync": "always"}).start()
    with server.connect() as connection:
        for number in range(FILLED):
            connection.call("SET", f"key:{number}", "v" * 100)
        connection.call("BGREWRITEAOF")
        while b"aof_rewrite_in_progress:1" in connection.call("INFO", "persistence"):
            pass
        for number in range(FILLED):
            connection.call("INCR", f"counter:{number}")
        connection.call("SAVE")
    server.stop()
    used = Server(base / "used", directives={"appendfsync": "always"}).start()
    with used.connect() as connection:
        connection.call("SET", "a", "b")
    for name in ("empty", "foreign", "full"):
        (base / name).mkdir()
    for name in ("foreign", "full"):
        (base / name / "something").write_text("else")
    (base / "file").write_text("something else")
    shutil.copy(base / "data" / "dump.rdb", base / "dump.rdb")
    done = subprocess.run([graven_binary(), "export", "--jsonl", base / "data", "--out", base / "lines.jsonl"], capture_output=True, timeout=60)
    assert done.returncode == 0
    yield base
    used.end()


def tree(directory):
    """What lies there, but for what a server in use writes."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*")) if "used" not in path.parts and "shim" not in path.name
    }


def run(places, line, **how):
    """Runs a verb; its exit code, and what it said on either side."""
    names = {name: places / name for name in ("data", "used", "empty", "foreign", "full", "file", "none", "new", "dump.rdb", "lines.jsonl")}
    words = [re.sub(r"\{([^}]+)\}", lambda found: str(names[found[1]]), word) for word in line.split(" ")]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | how
    done = subprocess.run([graven_binary(), *(word.replace("~", " ") for word in words if word)], text=True, errors="replace", **how)
    return done.returncode, done.stdout or "", done.stderr or ""


def refused(places, line, code, said, **how):
    before = tree(places)
    got, out, err = run(places, line, **how)
    what = f"{line}: exit {got}\n{out}\n{err}"
    assert tree(places) == before, f"{what}\nleft behind: {sorted(set(tree(places)) ^ set(before))}"
    assert got == code, what
    assert "panicked" not in err, what
    assert len(err.splitlines()) == 1 and out == "", f"not one line: {what}"
    assert re.search(said, err), f"does not say {said!r}: {what}"


# What is looked at: no such thing (4), nothing of ours (2).
READS = {
    "check": "check {%s}",
    "repair": "repair {%s}",
    "repair --apply": "repair {%s} --apply",
    "repair --into": "repair {%s} --apply --into {new}",
    "inspect": "inspect {%s}",
    "inspect keys": "inspect {%s} --show keys",
    "inspect --archive": "inspect {%s} --archive",
    "restore": "restore {%s} --before-command INCR~counter:100 --into {new}",
    "export": "export --rdb {%s} --out {new}",
    "export lines": "export --jsonl {%s}",
    "import": "import {%s} --into {new}",
    "diff": "diff {%s} {data}",
    "diff, the other one": "diff {data} {%s}",
    "backup": "backup {%s} {new}",
    "backup --archive": "backup --archive {%s} {new}",
}
# Everything else: the line, the exit code, what is said.
LINES = [
    ("doctor {none}", 4, "No such file"),
    ("doctor {file}", 2, "file is no directory"),
    # A directory in use, for those who write to it.
    ("repair {used} --apply", 2, "in use by a server: stop it first"),
    ("restore {data} --before-command INCR~counter:100 --into {used}", 2, "is not empty"),
    ("import {dump.rdb} --into {used}", 2, "is not empty"),
    ("backup {data} {used}", 2, "is not empty"),
    # A target that is there.
    ("repair {data} --apply --into {full}", 2, "is not empty"),
    ("repair {data} --apply --into {file}", 2, "is no directory"),
    ("restore {data} --before-command INCR~counter:100 --into {full}", 2, "is not empty"),
    ("restore {data} --before-command INCR~counter:100 --into {file}", 2, "is no directory"),
    ("import {dump.rdb} --into {full}", 2, "is not empty"),
    ("import {lines.jsonl} --into {file}", 2, "is no directory"),
    ("backup {data} {full}", 2, "is not empty"),
    ("backup {data} {file}", 2, "is no directory"),
    ("export --rdb {data} --out {file}", 2, "is there already"),
    ("export --jsonl {data} --out {full}", 2, "is there already"),
    ("export --aof {data} --out {none}/deep", 4, "No such file"),
    ("restore {data} --before-command INCR~counter:100 --into {none}/deep", 4, "No such file"),
    ("import {dump.rdb} --into {none}/deep", 4, "No such file"),
    ("backup {data} {none}/deep", 4, "No such file"),
    # Files where directories are meant, and the other way round.
    ("restore {dump.rdb} --to-lsn 100 --into {new}", 2, "is a file"),
    ("backup {dump.rdb} {new}", 2, "is a file"),
    ("inspect {dump.rdb} --follow", 2, "--follow goes with"),
    # Moments that are not there: what there is, is said.
    ("restore {data} --to-time 1999-01-01 --into {new}", 2, r"not in this log, which holds LSN \d+ to \d+, 20\S+Z to 20\S+Z"),
    ("restore {data} --to-time 2999-01-01 --into {new}", 2, r"not in this log, which holds LSN \d+ to \d+, 20\S+Z to 20\S+Z"),
    ("restore {data} --to-lsn 0 --into {new}", 2, r"which holds LSN \d+ to \d+"),
    ("restore {data} --to-lsn 99999999999 --into {new}", 2, r"which holds LSN \d+ to \d+"),
    ("restore {data} --before-command NOSUCH --into {new}", 2, "no command 'NOSUCH'"),
    ("restore {data} --before-command DEL~nothing --into {new}", 2, r"no such command is in this log, which holds LSN \d+ to \d+"),
    ("restore {data} --before-command ~ --into {new}", 2, "names no command"),
    # What is no time, position, number.
    ("restore {data} --to-time yesterday --into {new}", 2, '"yesterday" is no time'),
    ("restore {data} --to-time 2026-02-30 --into {new}", 2, "is no time"),
    ("restore {data} --to-lsn x --into {new}", 2, "'x'"),
    ("restore {data} --to-lsn=-1 --into {new}", 2, "'-1'"),
    ("restore {data} --to-lsn 99999999999999999999 --into {new}", 2, "number too large"),
    ("inspect {data} --from-time noon", 2, '"noon" is no time'),
    ("inspect {data} --to-lsn 1.5", 2, "'1.5'"),
    ("inspect {data} --limit many", 2, "'many'"),
    ("inspect {data} --db x", 2, "'x'"),
    ("inspect {data} --show everything", 2, "'everything'.*possible values: commands"),
    ("inspect {data} --command NOSUCH", 2, "no command 'NOSUCH'"),
    ("inspect {data} --show histogram --depth 0", 2, "a prefix has one part at least"),
    ("inspect {data} --show histogram --separator=", 2, "a prefix has one part at least"),
    ("inspect {data} --from-lsn 9 --to-lsn 5", 2, "ends before it begins"),
    ("inspect {data} --from-time 2026-01-02 --to-time 2026-01-01", 2, "ends before it begins"),
    ("diff {data} {dump.rdb} --db x", 2, "'x'"),
    ("export --rdb {data} --out {new} --rdb-version 9", 2, "9 is not in 10..=11"),
    ("backup {data} {new} --zstd=99", 2, "99 is not in 1..=22"),
    ("backup {data} {new} --max-mb-per-sec fast", 2, "'fast'"),
    # Options that contradict each other, or lack another one.
    ("restore {data} --to-lsn 1 --to-time 2026-01-01 --into {new}", 2, "cannot be used with"),
    ("restore {data} --into {new}", 2, "required arguments were not provided: .*--to-time"),
    ("restore {data} --to-lsn 1", 2, "required arguments were not provided: --into"),
    ("export {data} --out {new}", 2, "required arguments were not provided: .*--rdb"),
    ("export --rdb --aof {data} --out {new}", 2, "cannot be used with"),
    ("export --rdb {data}", 2, "name one with --out"),
    ("import {dump.rdb}", 2, "required arguments were not provided: --into"),
    ("repair {data} --into {new}", 2, "--into says where --apply writes"),
    ("repair {data} --across-gaps --stop-at-gap", 2, "cannot be used with"),
    ("inspect {data} --follow --archive", 2, "cannot be used with"),
    ("inspect {data} --follow --show keys", 2, "--follow goes with"),
    ("inspect {data} --show keys --from-lsn 1", 2, "keys have no LSN"),
    ("inspect {dump.rdb} --show keys --command set", 2, "keys have no LSN"),
    ("diff {data}", 2, "required arguments were not provided: <OTHER>"),
    ("check", 2, "required arguments were not provided: <PATH>"),
    ("check {data} {data}", 2, "unexpected argument"),
    ("check {data} --no-such", 2, "unexpected argument '--no-such'"),
    ("doctor", 2, "required arguments were not provided: <PATH>"),
    ("backup {data}", 2, "required arguments were not provided: <(PATH|TARGET)>"),
    ("backup {data} {new} --from 127.0.0.1:1", 2, "cannot be used with"),
    ("backup {data} {new} --user me", 2, "name it with --from"),
    ("backup --from 127.0.0.1:1 {new}", 4, "127.0.0.1:1"),
    # Damage is not a reason to make half of something.
    ("import {file} --into {new}", 1, "file"),
    ("export --rdb {file} --out {new}", 1, "file"),
    ("diff {file} {data}", 5, "file"),
]


@pytest.mark.parametrize("verb", READS)
def test_nothing_there_and_nothing_of_ours(places, verb):
    refused(places, READS[verb] % "none", 4, "none: No such file")
    for name in ("empty", "foreign"):
        refused(places, READS[verb] % name, 2, f"{name} is no data directory: it holds no .manifest file")


@pytest.mark.parametrize(("line", "code", "said"), LINES, ids=[line for line, _, _ in LINES])
def test_what_makes_no_sense(places, line, code, said):
    refused(places, line, code, said)


@pytest.mark.parametrize("verb", ["check", "inspect", "repair", "restore", "export", "import", "diff", "doctor", "backup"])
def test_help_tells_options_and_exit_codes(places, verb):
    code, out, err = run(places, f"{verb} --help")
    assert (code, err) == (0, "") and re.search(rf"Usage: \S+ {verb} ", out) and "Exit codes: 0" in out


@pytest.fixture
def shim(tmp_path):
    return Shim(tmp_path)


@pytest.mark.parametrize("fault", ["13", "5"], ids=["no permission", "a bad disk"])
@pytest.mark.parametrize("verb", [verb for verb in READS if verb != "check"])
def test_a_file_that_cannot_be_opened(places, shim, verb, fault):
    said = {"13": "Permission denied", "5": "Input/output error"}[fault]
    shim.set(f"open {fault} 0 0 {places / 'data' / 'appendonlydir'}/appendonly.aof.2.incr.aof")
    refused(places, READS[verb] % "data", 4, f"incr.aof: {said}", env=os.environ | shim.environment())
    assert shim.struck(0) > 0


def test_a_check_says_which_file_cannot_be_opened(places, shim):
    shim.set("open 13 0 0 .incr.aof")
    code, out, err = run(places, "check {data} --json", env=os.environ | shim.environment())
    found = {file["verdict"] for file in json.loads(out)["files"] if file["file"].endswith(".incr.aof")}
    assert (code, err, found) == (4, "", {"unreadable"})


@pytest.mark.parametrize("verb", READS)
def test_a_file_that_vanishes(places, shim, verb):
    """It is named, and gone when it is opened: damage, or an error of the disk; never a panic, and nothing is made."""
    before = tree(places)
    for first in (0, 1, 2):
        shim.set(f"open 2 {first} 0 {places / 'data' / 'appendonlydir'}/appendonly.aof.2.incr.aof")
        code, out, err = run(places, READS[verb] % "data", env=os.environ | shim.environment())
        struck, what = shim.struck(0), f"{verb}, from its open {first} on: {code}\n{out}\n{err}"
        assert "panicked" not in err and len(err.splitlines()) <= 2, what
        if code == 0 or verb.startswith("repair"):
            # It was read before; or what remains is saved, which is said.
            shutil.rmtree(places / "new", ignore_errors=True)
            (places / "new").unlink(missing_ok=True)
        else:
            assert struck > 0 and code in (1, 2, 4, 5), what
        if verb != "repair --apply":
            assert tree(places) == before, what
        else:
            break


MAKES = [
    "repair {data} --apply --into {new}",
    "restore {data} --before-command INCR~counter:100 --into {new}",
    "export --rdb {data} --out {new}",
    "export --aof {data} --out {new}",
    "export --resp {data} --out {new}",
    "export --jsonl {data} --out {new}",
    "import {data} --into {new}",
    "import {dump.rdb} --into {new}",
    "import {lines.jsonl} --into {new}",
    "backup {data} {new}",
    "backup --zstd {data} {new}",
    "backup --archive {data} {new}",
]


@pytest.mark.parametrize("line", MAKES)
@pytest.mark.parametrize("rule", ["write 28 0 0", "write 28 1 0", "sync 5 0 0", "rename 28 0 0", "open 28 0 0"])
def test_a_target_disk_that_is_full_or_bad(places, shim, line, rule):
    """Whatever was made of the target goes again."""
    shim.set(f"{rule} {places / 'new'}")
    before = tree(places)
    code, out, err = run(places, line, env=os.environ | shim.environment())
    if shim.struck(0) == 0:
        assert code == 0, err
        shutil.rmtree(places / "new", ignore_errors=True)
        (places / "new").unlink(missing_ok=True)
    else:
        what = f"{line}, {rule}: exit {code}\n{out}\n{err}"
        assert tree(places) == before, f"{what}\nleft behind: {sorted(set(tree(places)) ^ set(before))}"
        assert code == 4 and out == "", what
        assert len(err.splitlines()) == 1 and re.search("No space left|Input/output error", err), what


PRINTS = [
    "check {data}",
    "check {data} --json",
    "repair {data}",
    "inspect {data}",
    "inspect {data} --json",
    "inspect {data} --show frames",
    "inspect {data} --show histogram",
    "inspect {data} --show keys",
    "inspect {data} --show memory",
    "inspect {dump.rdb} --show memory-keys",
    "export --jsonl {data}",
    "export --resp {data}",
    "export --aof {dump.rdb}",
    "diff {data} {data}",
    "diff {data} {used}",
    "doctor {data}",
    "backup {data} -",
    "backup --zstd {data} -",
]


@pytest.mark.parametrize("line", PRINTS)
def test_an_output_that_is_closed_or_full(places, line):
    """A reader that has gone away has seen enough: no error, but where what it was to get is the result. A full disk is one."""
    before, usual = tree(places), run(places, line)[0]
    reads, writes = os.pipe()
    os.close(reads)
    code, _, err = run(places, line, stdout=writes)
    os.close(writes)
    assert "panicked" not in err and code == (4 if line.startswith("backup") else usual), (code, err)
    with open("/dev/full", "w") as full:
        code, _, err = run(places, line, stdout=full)
    printed = run(places, line)[1] != ""
    assert "panicked" not in err and (code == 4 or not printed), (code, err)
    assert not printed or "No space left" in err, err
    assert tree(places) == before


STOCK = [
    "redis-check-aof",
    "redis-check-aof a b c d",
    "redis-check-aof --no-such {data}",
    "redis-check-aof --fix",
    "redis-check-aof {none}",
    "redis-check-aof --fix {none}",
    "redis-check-aof {nothing}",
    "redis-check-aof {garbage}",
    "redis-check-aof {short}",
    "redis-check-aof --truncate-to-timestamp x {short}",
    "redis-check-aof --truncate-to-timestamp 0 {short}",
    "redis-check-aof --truncate-to-timestamp -5 {short}",
    "redis-check-aof --truncate-to-timestamp 5 {none}",
    "redis-check-aof {bad.manifest}",
    "redis-check-aof {gone.manifest}",
    "redis-check-rdb",
    "redis-check-rdb a b",
    "redis-check-rdb {none}",
    "redis-check-rdb {garbage}",
    "redis-check-rdb {nothing}",
    "redis-check-rdb {short.rdb}",
    "redis-check-rdb {wrong.rdb}",
    "redis-check-rdb {new.rdb}",
]


@pytest.mark.parametrize("line", STOCK)
def test_stock_s_tools_by_name_on_what_makes_no_sense(places, tmp_path, line):
    """Exit codes and lines of the real ones, but for what is wrong with a file, in other words."""
    dump = (places / "dump.rdb").read_bytes()
    contents = {
        "nothing": b"",
        "garbage": b"hello, world\nand more\n",
        "short": b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhe",
        "bad.manifest": b"file here seq x type b\n",
        "gone.manifest": b"file gone.aof seq 1 type i\n",
        # Inside of a field of its head: of a key that is cut off stock counts that it began.
        "short.rdb": dump[:60],
        "wrong.rdb": dump[:-1] + bytes([dump[-1] ^ 1]),
        "new.rdb": b"REDIS9999" + dump[9:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    names = tmp_path / "bin"
    names.mkdir()
    tool, *words = line.split(" ")
    (names / tool).symlink_to(graven_binary())
    real = os.path.dirname(os.path.realpath(shutil.which(stock_binary()) or stock_binary()))

    def said(directory):
        shown = [re.sub(r"\{([^}]+)\}", lambda found: found[1], word) for word in words]
        done = subprocess.run([f"{directory}/{tool}", *shown], capture_output=True, text=True, timeout=60, cwd=tmp_path, stdin=subprocess.DEVNULL)
        lines = [text for text in done.stdout.splitlines() if not text.startswith(("0x", "[additional info]")) and "AUX FIELD graven-" not in text]
        lines = [re.sub(r"^(\[offset \d+\] (?!Checking|AUX|Selecting)).*", r"\1", re.sub(r"\S*/(redis-check-\w+)", r"\1", text)) for text in lines]
        lines = [line for line in (re.sub(r"^\d+:C .{24} # ?", "", text) for text in lines) if line]
        return done.returncode, lines, done.stderr.replace(f"{directory}/", "")

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    ours, stock = said(names), said(real)
    assert ours[:2] == stock[:2]
    # Where stock says nothing at all, ours says why.
    assert ours[2] == stock[2] or stock[2] == ""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
