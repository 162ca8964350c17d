"""How the process presents itself to the system: its title, its log's forms, the system's log, its processors, its language."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.resp import ServerError
from support.server import ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "shim"))
from control import library  # noqa: E402


def title(server) -> str:
    return Path(f"/proc/{server.pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_the_title_of_the_process(make_server, tmp_path):
    """As stock writes it, also when it is longer than the arguments were, and the environment stays what it was."""
    server = make_server(directives={"proc-title-template": "{title} {listen-addr} {server-mode} x{port}"})
    server.env["GRAVEN_TITLE_TEST"] = "kept"
    server.start()
    port = server.port
    assert title(server).endswith(f" 127.0.0.1:{port}  x{port}") and title(server).startswith(str(server.binary))
    with server.connect() as connection:
        for template, expected in (
            ("short", "short"),
            (" {config-file} {tls-port} {unixsocket} ", "{} 0"),
            ("{port} " + "x" * 10000, None),
            ("again {listen-addr}", f"again 127.0.0.1:{port}"),
        ):
            assert connection.call("CONFIG", "SET", "proc-title-template", template) == b"OK"
            if expected == "{} 0":
                assert re.fullmatch(r"(-|/\S+) 0", title(server))
            elif expected:
                assert title(server) == expected
            else:
                assert title(server).startswith(f"{port} xxx")
        with pytest.raises(ServerError, match="template format is invalid or contains unknown variables"):
            connection.call("CONFIG", "SET", "proc-title-template", "{nothing}")
        connection.call("CONFIG", "SET", "bind", "127.0.0.1 ::1" if Path("/proc/net/if_inet6").exists() else "127.0.0.1")
        assert title(server) == f"again 127.0.0.1:{port}"


def test_a_title_that_is_not_wanted(make_server):
    server = make_server(directives={"set-proc-title": "no"}).start()
    assert "--port" in title(server) or str(server.binary) in title(server)
    before = title(server)
    with server.connect() as connection:
        connection.call("CONFIG", "SET", "bind", "127.0.0.1")
    assert title(server) == before


@pytest.mark.graven_only
def test_forms_of_log_lines(make_server):
    """Those of Valkey 8.1, changed while running."""
    server = make_server(directives={"log-format": "logfmt", "log-timestamp-format": "iso8601"}).start()
    lines = server.log_since_start().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert lines and all(re.fullmatch(rf'pid={server.pid} role=(RDB/AOF|primary) timestamp="{stamp}" level=\w+ message=".*"', line) for line in lines), lines
    assert any('level=notice message="Ready to accept connections' in line for line in lines)
    with server.connect() as connection:
        connection.call("CONFIG", "SET", "log-timestamp-format", "milliseconds")
        connection.call("DEBUG", "LOG", 'say "this"')
        line = server.log_since_start().splitlines()[-1]
        found = re.fullmatch(rf'pid={server.pid} role=primary timestamp="(\d+)" level=warning message="DEBUG LOG: say \'this\'"', line)
        assert found and abs(int(found[1]) / 1000 - time.time()) < 3600, line
        connection.call("CONFIG", "SET", "log-format", "legacy")
        connection.call("DEBUG", "LOG", "plain")
        assert re.fullmatch(rf"{server.pid}:M \d+ # DEBUG LOG: plain", server.log_since_start().splitlines()[-1])
        connection.call("CONFIG", "SET", "log-timestamp-format", "legacy")
        connection.call("DEBUG", "LOG", "plain")
        assert re.fullmatch(rf"{server.pid}:M \d\d \w{{3}} \d{{4}} \d\d:\d\d:\d\d\.\d{{3}} # DEBUG LOG: plain", server.log_since_start().splitlines()[-1])


@pytest.mark.graven_only
def test_the_log_of_the_system(make_server, tmp_path):
    """Under its name and facility, each line with its level; the server's own log has them too."""
    told = tmp_path / "syslog"
    server = make_server(directives={"syslog-enabled": "yes", "syslog-ident": "broker", "syslog-facility": "local3"})
    server.env.update(LD_PRELOAD=str(library(ROOT / "tests" / "shim" / "syslog.rs")), GRAVEN_SYSLOG=str(told))
    server.start()
    lines = told.read_text().splitlines()
    pid, at_once, local3 = 1, 8, 19 << 3
    assert lines[0] == f"openlog broker {pid | at_once} {local3}"
    assert f"syslog {local3 | 5} %s Ready to accept connections tcp" in lines
    with server.connect() as connection:
        connection.call("DEBUG", "LOG", "100% here")
    assert told.read_text().splitlines()[-1] == f"syslog {local3 | 4} %s DEBUG LOG: 100% here"
    assert "DEBUG LOG: 100% here" in server.log_since_start()


@pytest.mark.graven_only
def test_the_processors_of_the_threads(make_server):
    """Each thread runs where its work is to be done; what a snapshot starts runs where the snapshot does."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    lists = {"server_cpulist": first, "bio_cpulist": f"{last}-{last}", "aof_rewrite_cpulist": last, "bgsave_cpulist": first}
    # Slow enough to be looked at.
    server = make_server(directives={**lists, "snapshot-max-mb-per-sec": 1, "io-threads": 2, "snapshot-threads": 3, "appendfsync": "everysec"}).start()

    def threads() -> dict[str, str]:
        found = {}
        for task in Path(f"/proc/{server.pid}/task").iterdir():
            try:
                name, status = (task / "comm").read_text().strip(), (task / "status").read_text()
            except OSError:
                continue
            found[name] = re.search(r"Cpus_allowed_list:\s*(\S+)", status)[1]
        return found

    def niceness() -> dict[str, int]:
        states = [stat.read_text() for stat in Path(f"/proc/{server.pid}/task").glob("*/stat")]
        return {state[state.index("(") + 1 : state.rindex(")")]: int(state.rsplit(")", 1)[1].split()[16]) for state in states}

    expected = {"io-0": first, "io-1": first, "ticker": first, "aof-writer": first, "aof-sync": last, "reaper": last, "archiver": last, "scrubber": last}
    wait_until(lambda: {name: threads().get(name) for name in expected} == {name: str(cpu) for name, cpu in expected.items()}, 30, "processors of the threads")
    with server.connect() as connection:
        connection.call("DEBUG", "POPULATE", 100_000, "key", 100)
        for command, name, cpu in (("BGSAVE", "rdb-save", first), ("BGREWRITEAOF", "aof-rewrite", last)):
            connection.call(command)
            for one in (name, "rdb-encode"):
                wait_until(lambda: threads().get(one) == str(cpu), 30, f"{one} on processor {cpu}")
            assert niceness()["io-0"] == 0 and niceness()[name] > 0 and niceness()["rdb-encode"] > 0
            connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 0)
            wait_until(lambda: name not in threads(), 60, f"the end of {name}")
            connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", 1)


@pytest.mark.graven_only
def test_pages_are_given_back_aside(make_server):
    """`jemalloc-bg-thread`: threads of the allocator's, or none."""
    server = make_server(directives={"jemalloc-bg-thread": "no"}).start()

    def threads() -> list[str]:
        return [path.read_text().strip() for path in Path(f"/proc/{server.pid}/task").glob("*/comm")]

    assert "jemalloc_bg_thd" not in threads()
    with server.connect() as connection:
        connection.call("CONFIG", "SET", "jemalloc-bg-thread", "yes")
        wait_until(lambda: "jemalloc_bg_thd" in threads(), 10, "the allocator's thread")
        connection.call("CONFIG", "SET", "jemalloc-bg-thread", "no")
        wait_until(lambda: "jemalloc_bg_thd" not in threads(), 10, "its end")


@pytest.mark.graven_only
def test_directives_that_do_nothing_have_a_reason(make_server):
    """What the log names at start is what allowed_differences.toml explains, no more and no less; our own are told elsewhere."""
    import tomllib

    names = (ROOT / "tests" / "fixtures" / "config-names.txt").read_text().split()
    server = make_server().start()
    with server.connect() as connection:
        values = connection.call("CONFIG", "GET", *names)
    known = {name.decode(): value.decode() for name, value in zip(values[::2], values[1::2])}
    assert len(known) > 200
    server.stop()
    own = {"port", "bind", "dir", "logfile", "pidfile", "unixsocket", "aclfile", "locale-collate", "replicaof", "slaveof", "appendfsync", "appendonly"}
    several = {"client-output-buffer-limit", "oom-score-adj-values", "latency-tracking-info-percentiles", "save", "shutdown-on-sigint", "shutdown-on-sigterm"}
    for name, value in known.items():
        if name not in own:
            server.directives[name] = value.split() if name in several and value else value
    server.start()
    (said,) = re.findall(r"Accepted, but without effect in this version: (.*)", server.log_since_start())
    with open(Path(__file__).with_name("allowed_differences.toml"), "rb") as file:
        explained = {name for entry in tomllib.load(file)["directives"] for name in entry["names"]}
    assert set(said.split(", ")) == explained


@pytest.mark.graven_only
def test_a_list_of_processors_that_is_none(make_server):
    server = make_server(directives={"server_cpulist": "one"}).start()
    assert "'one' is no list of processors" in server.log_since_start()
    with server.connect() as connection:
        assert connection.call("CONFIG", "GET", "server-cpulist") == [b"server-cpulist", b"one"]


@pytest.mark.graven_only
def test_the_language_that_texts_are_ordered_by(make_server, tmp_path):
    """SORT ALPHA and scripts go by `locale-collate`, what SORT stores does not."""
    locales = tmp_path / "locales"
    locales.mkdir()
    (tmp_path / "zyx").write_text(ZYX)
    (tmp_path / "charmap").write_text(CHARMAP)
    built = subprocess.run(["localedef", "--no-archive", "-c", "-i", tmp_path / "zyx", "-f", tmp_path / "charmap", locales / "zyx"], capture_output=True, text=True)
    assert (locales / "zyx" / "LC_COLLATE").exists(), built.stderr
    server = make_server()
    server.env.update(LOCPATH=str(locales), LC_ALL="C")
    server.start()
    with server.connect() as connection:
        connection.call("RPUSH", "l", "x", "z", "y")
        sort, script = ("SORT", "l", "ALPHA"), ("EVAL", "return tostring('x' < 'z')", 0)
        assert connection.call(*sort) == [b"x", b"y", b"z"] and connection.call(*script) == b"true"
        with pytest.raises(ServerError, match="Invalid locale name"):
            connection.call("CONFIG", "SET", "locale-collate", "nowhere")
        assert connection.call("CONFIG", "SET", "locale-collate", "zyx") == b"OK"
        assert connection.call(*sort) == [b"z", b"y", b"x"] and connection.call(*script) == b"false"
        connection.call(*sort, "STORE", "d")
        assert connection.call("LRANGE", "d", 0, -1) == [b"x", b"y", b"z"]
        assert connection.call("CONFIG", "SET", "locale-collate", "") == b"OK"
        assert connection.call(*sort) == [b"x", b"y", b"z"]
    server.stop()
    server.directives["locale-collate"] = "nowhere"
    with pytest.raises(Exception):
        server.start()
    assert "Failed to configure LOCALE for invalid locale name." in server.log_text()


# A language with three letters, in the order of none that is spoken.
CHARMAP = """<code_set_name> ANSI_X3.4-1968
<comment_char> %
<escape_char> /
CHARMAP
""" + "".join(f"<U{code:04X}>     /x{code:02x}         {chr(code) if chr(code).isalnum() else 'CHARACTER'}\n" for code in range(128)) + "END CHARMAP\n"
ZYX = """comment_char %
escape_char /
LC_COLLATE
order_start forward
<U007A>
<U0079>
<U0078>
order_end
END LC_COLLATE
"""
