"""LATENCY's events of the disk: each is brought about on a disk that is made slow, and seen by its name.

The delays are longer than the threshold of one millisecond; how much longer a call takes on a slow machine does not matter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shim"))

from control import Shim  # noqa: E402

from support.server import Server, wait_until  # noqa: E402

pytestmark = pytest.mark.graven_only
LOG, DUMP = ".incr.aof", "dump.rdb.tmp"


@pytest.fixture
def slow(tmp_path):
    """A server that notices everything longer than a millisecond, and what makes its disk slow."""
    shim = Shim(tmp_path)
    server = Server(tmp_path / "data", name="graven", directives={"latency-monitor-threshold": 1, "save": ""}, env=shim.environment()).start()
    yield server, shim
    shim.set()
    server.end()


def wait_for(connection, *events: str) -> None:
    """Until all of these were seen; each took at least its delay."""

    def seen() -> dict:
        return {event.decode(): highest for event, _at, _latest, highest in connection.call("LATENCY", "LATEST")}

    wait_until(lambda: all(seen().get(event, 0) >= 20 for event in events), 60, f"{events}, of {seen()}")


def test_syncs_and_writes_of_the_log(slow):
    server, shim = slow
    with server.connect(timeout=60.0) as connection:
        shim.set(f"sync delay:20 0 0 {LOG}")
        assert connection.call("SET", "k", 1) == b"OK"
        wait_for(connection, "aof-fsync-always")
        connection.call("CONFIG", "SET", "appendfsync", "everysec")
        shim.set(f"write delay:20 0 0 {LOG}")
        assert connection.call("SET", "k", 2) == b"OK"
        wait_for(connection, "aof-write-alone", "aof-write")
        # The next sync is held; what is written meanwhile is written beside it.
        shim.set(f"sync hold 0 0 {LOG}", f"write delay:20 0 0 {LOG}")

        def written_beside_a_sync() -> bool:
            connection.call("INCR", "n")
            return b"aof-write-pending-fsync" in [event[0] for event in connection.call("LATENCY", "LATEST")]

        wait_until(written_beside_a_sync, 60, "a write beside the held sync")
        assert shim.struck(0) >= 1
        shim.set()
        assert b"aof-write" in connection.call("LATENCY", "DOCTOR")


def test_writes_of_the_log_beside_a_save_and_the_removal_of_a_failed_one(slow):
    server, shim = slow
    with server.connect(timeout=60.0) as connection:
        connection.call("SET", "k", 1)
        connection.call("CONFIG", "SET", "appendfsync", "everysec")
        shim.set(f"write hold 0 0 {DUMP}", f"write delay:20 0 0 {LOG}")
        connection.call("BGSAVE")
        wait_until(lambda: shim.struck(0) >= 1, 60, "the save is under way")
        connection.call("SET", "k", 2)
        wait_for(connection, "aof-write-active-child")
        shim.set()
        wait_until(lambda: b"rdb_bgsave_in_progress:0" in connection.call("INFO", "persistence"), 60, "the save has ended")
        shim.set(f"write enospc 0 1 {DUMP}", f"unlink delay:20 0 0 {DUMP}")
        connection.call("BGSAVE")
        wait_for(connection, "rdb-unlink-temp-file")
