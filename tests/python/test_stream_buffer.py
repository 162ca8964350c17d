"""A stream as the buffer of an IoT site: devices add readings at a high rate to a stream of bounded length, two groups of workers read
them, take over what a dead worker left behind, and the server is killed again and again.

What was acknowledged to anybody stays: a reading whose ID was answered is handed to every group, unless trimming took it (and then
everything before it is gone too); a reading whose XACK was answered is never handed out again.
"""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from support.resp import Closed, Connection, ServerError
from support.server import wait_until

SEED = int(os.environ.get("GRAVEN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
STREAM, GROUPS, DEVICES, WORKERS = "readings", ("store", "alarm"), 3, 2
LENGTH = 100_000
CLAIM_AFTER_MS = 200


def order(entry_id: bytes) -> tuple[int, int]:
    ms, seq = entry_id.split(b"-")
    return int(ms), int(seq)


class Site:
    """Devices and workers, each a thread with a connection of its own that comes back after every crash."""

    def __init__(self, server, chance: random.Random):
        self.server, self.chance = server, chance
        self.added: list[list[bytes]] = [[] for _ in range(DEVICES)]
        self.received = {group: [set() for _ in range(WORKERS)] for group in GROUPS}
        # When the reply to its XACK was there.
        self.acknowledged: dict[str, dict[bytes, float]] = {group: {} for group in GROUPS}
        self.repeated: list[str] = []
        self.failed: list[str] = []
        self.produce, self.stop = threading.Event(), threading.Event()
        self.produce.set()
        self.threads = [threading.Thread(target=self.keep, args=(self.device, n), daemon=True) for n in range(DEVICES)]
        self.threads += [threading.Thread(target=self.keep, args=(self.worker, group, n), daemon=True) for group in GROUPS for n in range(WORKERS)]
        for thread in self.threads:
            thread.start()

    def keep(self, act, *args) -> None:
        """Runs one part of the site, on a new connection whenever the server went away."""
        while not self.stop.is_set():
            try:
                with Connection(self.server.port, timeout=30.0) as connection:
                    act(connection, *args)
            except (OSError, Closed, EOFError):
                self.stop.wait(0.02)
            except ServerError as error:
                if not str(error).startswith("LOADING"):
                    self.failed.append(f"{args}: {error}")
                    return
                self.stop.wait(0.02)

    def device(self, connection, number: int) -> None:
        while self.produce.is_set() and not self.stop.is_set():
            readings = [("XADD", STREAM, "MAXLEN", "~", LENGTH, "*", "device", number, "reading", f"{self.chance.random():.6f}") for _ in range(10)]
            replies = connection.pipeline(readings)
            self.added[number] += [reply for reply in replies if isinstance(reply, bytes)]
            refused = [reply for reply in replies if not isinstance(reply, bytes)]
            if refused:
                raise refused[0]
            self.stop.wait(0.001)
        self.stop.wait(0.05)

    def worker(self, connection, group: str, number: int) -> None:
        name = f"{group}-{number}"
        # What was handed to this worker before the crash, and not acknowledged.
        while not self.stop.is_set():
            asked = time.monotonic()
            left = connection.call("XREADGROUP", "GROUP", group, name, "COUNT", 100, "STREAMS", STREAM, "0")
            if not left or not left[0][1]:
                break
            self.handle(connection, group, number, left[0][1], asked)
        while not self.stop.is_set():
            asked = time.monotonic()
            got = connection.call("XREADGROUP", "GROUP", group, name, "COUNT", 50, "BLOCK", 50, "STREAMS", STREAM, ">")
            if got:
                # Now and then a worker forgets what it got: somebody else has to take it over.
                if self.chance.random() < 0.05:
                    continue
                self.handle(connection, group, number, got[0][1], asked)
            elif self.chance.random() < 0.3:
                asked = time.monotonic()
                cursor, claimed, gone = connection.call("XAUTOCLAIM", STREAM, group, name, CLAIM_AFTER_MS, "0", "COUNT", 50)
                self.handle(connection, group, number, claimed, asked)

    def handle(self, connection, group: str, number: int, entries: list, asked: float) -> None:
        """`asked`: when the command was sent that returned them."""
        ids = [entry[0] for entry in entries]
        if not ids:
            return
        known = self.acknowledged[group]
        self.repeated += [f"{group} {entry_id}" for entry_id in ids if known.get(entry_id, asked) < asked]
        self.received[group][number].update(ids)
        connection.call("XACK", STREAM, group, *ids)
        self.acknowledged[group].update(dict.fromkeys(ids, time.monotonic()))

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_no_reading_is_lost(make_server, appendfsync):
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-{appendfsync}")
    server = make_server(directives={"appendfsync": appendfsync}).start()
    with server.connect() as connection:
        for group in GROUPS:
            connection.call("XGROUP", "CREATE", STREAM, group, "0", "MKSTREAM")
    site = Site(server, chance)
    try:
        for kill in range(4):
            before = sum(map(len, site.added))
            site.stop.wait(chance.uniform(0.5, 1.2))
            wait_until(lambda: sum(map(len, site.added)) > before, 20, f"readings arrive before kill {kill}")
            server.kill9()
            server.start()
        site.produce.clear()
        with server.connect(timeout=30.0) as connection:
            assert not site.failed, site.failed
            added = {entry_id for device in site.added for entry_id in device}
            assert len(added) == sum(map(len, site.added)), "an ID was answered twice"
            present = {entry[0] for entry in connection.call("XRANGE", STREAM, "-", "+")}
            first = min(map(order, present))
            lost = [entry_id for entry_id in added - present if order(entry_id) >= first]
            assert not lost, f"{len(lost)} acknowledged readings are gone, such as {lost[:3]}"
            for group in GROUPS:
                wait_until(lambda group=group: not (added & present) - set().union(*site.received[group]), 30, f"every reading reaches {group}", pause=0.1)
                wait_until(lambda group=group: connection.call("XPENDING", STREAM, group)[0] == 0, 30, f"nothing is left pending in {group}", pause=0.1)
    finally:
        site.end()
    assert not site.failed, site.failed
    assert not site.repeated, f"acknowledged and handed out again: {site.repeated[:5]}"


def test_a_buffer_of_bounded_length_stays_bounded(make_server):
    """Approximate trimming at a high rate, replayed after a crash to the very same entries, groups and counters."""
    server = make_server(directives={"appendfsync": "everysec"}).start()
    with server.connect(timeout=30.0) as connection:
        connection.call("XGROUP", "CREATE", STREAM, "store", "0", "MKSTREAM")
        for batch in range(20):
            connection.pipeline([("XADD", STREAM, "MAXLEN", "~", 1000, "*", "batch", batch, "reading", "r" * (n % 90)) for n in range(500)])
            connection.call("XREADGROUP", "GROUP", "store", "one", "COUNT", 100, "STREAMS", STREAM, ">")
        length = connection.call("XLEN", STREAM)
        assert 1000 <= length < 1200, length
        facts = lambda connection: [connection.call("XINFO", "STREAM", STREAM), connection.call("XRANGE", STREAM, "-", "+"), connection.call("XINFO", "GROUPS", STREAM)]  # noqa: E731
        held = facts(connection)
        idle = connection.call("XINFO", "CONSUMERS", STREAM, "store")[0]
    server.kill9()
    server.start()
    with server.connect(timeout=30.0) as connection:
        assert facts(connection) == held
        after = connection.call("XINFO", "CONSUMERS", STREAM, "store")[0]
        assert after[:4] == idle[:4]
        # The times of the consumer are those of before the crash.
        assert 0 <= after[5] < 120_000 and 0 <= after[7] < 120_000, after
