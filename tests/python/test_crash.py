"""`kill -9` of the server at random moments under load: whatever was acknowledged, or shown to anybody, is there after the restart.

The state must also be a prefix of what each connection sent, with transactions and scripts whole. Every crash is followed by more
writes and the next crash on the same directory. `GRAVEN_TEST_SEED` repeats a run's choices (not the kernel's).
"""

from __future__ import annotations

import os
import random
import time

import pytest

from support.celery_app import CeleryWorld
from support.server import wait_until
from support.workload import Load

SEED = int(os.environ.get("GRAVEN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
KILLS = 8


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_kill9_under_load(make_server, appendfsync):
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-{appendfsync}")
    server = make_server(directives={"appendfsync": appendfsync}).start()
    load = Load(4, chance.randrange(1 << 32))
    before = 0
    for kill in range(KILLS):
        load.start(server.port)
        load.run_for(chance.uniform(0.1, 0.9))
        server.kill9()
        load.stop()
        load.check_errors()
        server.start()
        lengths = load.judge(server.port)
        assert sum(lengths.values()) > before, f"kill {kill}: the load did nothing"
        before = sum(lengths.values())
    assert server.stop() == 0
    server.start()
    assert load.judge(server.port) == lengths


@pytest.mark.graven_only
def test_kill9_across_segments(make_server):
    """Small segments, so that crashes fall around roll-overs too."""
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-segments")
    server = make_server(directives={"aof-segment-size": "1mb"}).start()
    load = Load(4, chance.randrange(1 << 32), depth=40)
    for _ in range(4):
        load.start(server.port)
        load.run_for(chance.uniform(0.3, 1.0))
        server.kill9()
        load.stop()
        load.check_errors()
        server.start()
        load.judge(server.port)


def test_kill9_while_starting(make_server):
    """A crash in recovery is an ordinary crash: kills at random points of the start, then a judgement."""
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-starting")
    server = make_server().start()
    load = Load(4, chance.randrange(1 << 32), depth=30)
    load.start(server.port)
    load.run_for(1.5)
    server.kill9()
    load.stop()
    for _ in range(10):
        server.start(wait=False)
        time.sleep(chance.uniform(0.0, 0.12))
        server.kill9()
    server.start()
    load.judge(server.port)


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_celery_loses_no_task(make_server, tmp_path, appendfsync):
    """A producer and a worker, the server killed between them: every task whose `delay` returned is executed in the end.

    BRPOP takes a message off its queue before kombu writes it down as unacknowledged; a message whose BRPOP was executed when the
    server died is gone with any Redis. Those are told from lost ones by the log, which must hold their push.
    """
    print(f"GRAVEN_TEST_SEED={SEED}")
    chance = random.Random(f"{SEED}-celery-{appendfsync}")
    server = make_server(directives={"appendfsync": appendfsync}).start()
    kills = 3
    with CeleryWorld(server, tmp_path / "celery") as world:
        world.start_worker()
        producer = world.start_producer(count=400, pause=0.01)
        for _ in range(kills):
            load_seconds = chance.uniform(0.6, 1.4)
            wait_until(lambda: world.acknowledged(), 20, "the producer sends")
            producer.sleep(load_seconds)
            server.kill9()
            producer.sleep(chance.uniform(0.0, 0.5))
            server.start()
        producer.wait(300)
        sent = set(world.acknowledged())
        assert len(sent) > 100

        def missing():
            return sent - world.executed()

        wait_until(world.supervised(lambda: len(missing()) <= kills), 60, f"{len(missing())} of {len(sent)} tasks are executed", pause=0.2)
        wait_until_settled(world.supervised(lambda: not missing()))
        left = missing()
        if left:
            log = b"".join(path.read_bytes() for path in sorted((server.directory / "appendonlydir").iterdir()))
            lost = [task for task in left if task.encode() not in log]
            assert not lost, f"acknowledged, and not even in the log: {lost}"
            assert len(left) <= kills, f"more than one task in flight per kill: {left}"


def wait_until_settled(settled, seconds: float = 10.0) -> None:
    """Waits for redelivery of what a worker held when the server died; returns early when nothing is missing."""
    end = time.monotonic() + seconds
    while not settled() and time.monotonic() < end:
        time.sleep(0.2)
