"""A real Celery application with real workers on the server: what a site's task queue does, and what it survives."""

from __future__ import annotations

import importlib
import os
import sys
import time

import pytest

from support.celery_app import CeleryWorld
from support.server import Server, wait_until


def load_tasks(world: CeleryWorld):
    """The application inside the test process, bound to the world's server."""
    os.environ.update(world.environment)
    sys.modules.pop("support.tasks", None)
    return importlib.import_module("support.tasks")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One server, one prefork worker with two processes."""
    base = tmp_path_factory.mktemp("celery")
    server = Server(base / "data", name="graven").start()
    with CeleryWorld(server, base / "work", TEST_VISIBILITY="60") as made:
        made.worker = made.start_worker("--events", pool="prefork", concurrency=2)
        made.tasks = load_tasks(made)
        yield made
    server.end()


def test_plain_tasks(world):
    results = [world.tasks.add.delay(n, n) for n in range(50)]
    assert [result.get(timeout=60) for result in results] == [2 * n for n in range(50)]


def test_errors_reach_the_caller(world):
    result = world.tasks.fail.delay("on purpose")
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=60)
    assert result.failed() and "on purpose" in result.traceback


def test_retries(world):
    result = world.tasks.flaky.delay(3)
    assert result.get(timeout=60) == 3
    runs = [line.split()[1] for line in world.lines("flaky") if line.startswith(result.id)]
    assert runs == ["0", "1", "2", "3"]


def test_countdown_and_eta(world):
    from datetime import datetime, timedelta, timezone

    sent = time.time()
    soon = world.tasks.stamp.apply_async(countdown=1)
    later = world.tasks.stamp.apply_async(eta=datetime.now(timezone.utc) + timedelta(seconds=2))
    assert soon.get(timeout=60) >= sent + 0.9
    assert later.get(timeout=60) >= sent + 1.9


def test_expired_tasks_are_not_run(world):
    result = world.tasks.stamp.apply_async(countdown=0.5, expires=0.2)
    wait_until(lambda: result.state == "REVOKED", 20, "the expired task is revoked")


def test_groups(world):
    from celery import group

    job = group(world.tasks.add.s(n, 1) for n in range(30))()
    assert job.get(timeout=60) == [n + 1 for n in range(30)]
    job.save()
    assert world.tasks.app.GroupResult.restore(job.id).get(timeout=60) == [n + 1 for n in range(30)]


def test_chains_and_chords(world):
    from celery import chain, chord, group

    assert chain(world.tasks.add.s(1, 2), world.tasks.add.s(10), world.tasks.add.s(100))().get(timeout=60) == 113
    assert chord((world.tasks.add.s(n, n) for n in range(20)), world.tasks.total.s())().get(timeout=60) == sum(2 * n for n in range(20))
    nested = chain(group(world.tasks.add.s(n, 0) for n in range(5)), world.tasks.total.s(), world.tasks.add.s(1))
    assert nested().get(timeout=60) == 11


def test_chord_with_a_failing_member(world):
    from celery import chord
    from celery.exceptions import ChordError

    result = chord([world.tasks.add.s(1, 1), world.tasks.fail.s("member")], world.tasks.total.s())()
    with pytest.raises((ChordError, ValueError)):
        result.get(timeout=60)


def test_results_expire(world):
    result = world.tasks.add.delay(2, 3)
    assert result.get(timeout=60) == 5
    with world.server.connect(db=1) as connection:
        key = f"celery-task-meta-{result.id}"
        assert 3500 < connection.call("TTL", key) <= 3600
        connection.call("PEXPIRE", key, 20)
        wait_until(lambda: connection.call("EXISTS", key) == 0, 5, "the result is gone")
    assert world.tasks.app.AsyncResult(result.id).state == "PENDING"


def test_results_can_be_forgotten_and_waited_for_by_many(world):
    results = [world.tasks.add.delay(n, 0) for n in range(20)]
    from celery.result import ResultSet

    assert sorted(ResultSet(results).join(timeout=60)) == list(range(20))
    for result in results:
        result.forget()
    with world.server.connect(db=1) as connection:
        assert connection.call("EXISTS", *(f"celery-task-meta-{result.id}" for result in results)) == 0


def test_large_messages(world):
    text = "x" * 3_000_000
    assert len(world.tasks.add.delay(text, "y").get(timeout=60)) == 3_000_001


def test_inspect_and_control(world):
    """Broadcasts go by PUBLISH to the workers' pattern subscriptions, answers come back through a queue."""
    inspect = world.tasks.app.control.inspect(timeout=1.5)
    answer = lambda name: wait_until(getattr(inspect, name), 30, f"the worker answers {name}")  # noqa: E731
    assert list(answer("ping")) == ["w0@test"]
    assert "support.tasks.add" in answer("registered")["w0@test"]
    assert answer("stats")["w0@test"]["pool"]["max-concurrency"] == 2
    assert answer("active_queues")["w0@test"][0]["name"] == "celery"


def test_revoke(world):
    for countdown in (2, 10, 30):
        result = world.tasks.add.apply_async((1, 1), countdown=countdown)
        world.tasks.app.control.revoke(result.id)
        if wait_until(lambda: result.state in ("REVOKED", "SUCCESS") and result.state, 30 + countdown, "the task has ended") == "REVOKED":
            break
        # The worker was so slow to hear of it that the task was due before.
    assert result.state == "REVOKED"


def test_purge_and_queue_length(world, tmp_path):
    for n in range(7):
        world.tasks.add.apply_async((n, n), queue="idle")
    with world.tasks.app.connection_for_write() as connection:
        channel = connection.channel()
        assert channel._size("idle") == 7
        assert channel.queue_purge("idle") == 7
    with world.server.connect() as connection:
        assert connection.call("EXISTS", "idle") == 0


def test_priorities(make_server, tmp_path):
    """Messages of a higher priority that wait leave first (0 is the highest of the Redis transport)."""
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work") as world:
        tasks = load_tasks(world)
        for n in range(4):
            for priority in (9, 6, 3, 0):
                tasks.order.apply_async((f"{priority}",), priority=priority)
        worker = world.start_worker("--prefetch-multiplier=1", pool="solo", concurrency=1)
        lines = wait_until(lambda: len(world.lines("order")) == 16 and world.lines("order"), 30, "all are executed")
        assert lines == sorted(lines)
        worker.stop()


def test_redelivery_after_the_death_of_a_worker(make_server, tmp_path):
    """`acks_late`: what a killed worker held is given to another one when its visibility timeout is over.

    The worker dies only when it has noted all it took as unacknowledged: a message between its pop and that note is lost with any Redis.
    """
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work", TEST_VISIBILITY="6") as world:
        tasks = load_tasks(world)
        first = world.start_worker(pool="prefork", concurrency=2)
        results = [tasks.held.delay() for _ in range(4)]
        wait_until(lambda: len(world.lines("started")) >= 2, 20, "two tasks are running")
        with server.connect() as connection:
            wait_until(lambda: connection.call("HLEN", "unacked") == len(results), 20, "the worker holds every message")
            first.kill9()
            # On a slow machine the worker may have found time to put some of them back into their queue.
            held = connection.pipeline([("HLEN", "unacked"), ("ZCARD", "unacked_index"), ("LLEN", "celery")])
            assert held[0] == held[1] and held[0] + held[2] == len(results)
        assert not world.executed()
        world.let_go()
        # A worker gives back what is due when it begins, and then every 100 s only.
        time.sleep(6.5)
        second = world.start_worker(pool="prefork", concurrency=2)
        wait_until(lambda: {result.id for result in results} <= world.executed(), 45, "another worker has done what the dead one held")
        for result in results:
            assert isinstance(result.get(timeout=60), int)
        second.stop()
        with server.connect() as connection:
            wait_until(lambda: connection.call("HLEN", "unacked") == 0, 10, "nothing is left unacknowledged")


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_an_idle_worker_outlives_its_broker(make_server, tmp_path, end):
    """The same worker process reconnects, subscribes again and goes on."""
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work") as world:
        tasks = load_tasks(world)
        worker = world.start_worker()
        time.sleep(0.5)
        getattr(server, end)()
        time.sleep(0.5)
        server.start()
        results = [tasks.slow.apply_async((0.01,), ignore_result=True) for _ in range(10)]
        wait_until(lambda: {result.id for result in results} <= world.executed(), 45, "tasks sent after the restart are done")
        assert worker.process.poll() is None, worker.tail()
        worker.stop()


@pytest.mark.parametrize("end", ["kill9", "stop"])
def test_a_busy_worker_and_its_broker(make_server, tmp_path, end):
    """The server ends with tasks waiting, running and delayed; all are done after its restart."""
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work", TEST_VISIBILITY="5") as world:
        tasks = load_tasks(world)
        world.start_worker()
        # Results that nobody waits for: this process would otherwise reconnect to their store whenever one is collected.
        waiting = [tasks.held.apply_async(ignore_result=True) for _ in range(8)]
        delayed = tasks.slow.apply_async((0.01,), countdown=2, ignore_result=True)
        wait_until(lambda: world.lines("started"), 20, "a task is running")
        # Until it has fetched what it may hold: a message that is being popped when its server dies is gone with any Redis.
        with server.connect() as connection:
            wait_until(lambda: connection.call("HLEN", "unacked") >= 4, 20, "the worker holds what it may hold")
        getattr(server, end)()
        # A worker gives back what is due when it connects, and then every 100 s only.
        time.sleep(5.5)
        server.start()
        world.let_go()
        done = world.supervised(lambda: {result.id for result in [*waiting, delayed]} <= world.executed())
        wait_until(done, 90, "all tasks are done", pause=0.2)


def test_a_full_broker_refuses_tasks_and_loses_none(tmp_path):
    """`noeviction`: whoever sends to a full queue is told so; what was accepted is there when there is room again."""
    from kombu.exceptions import OperationalError
    from redis.exceptions import OutOfMemoryError

    server = Server(tmp_path / "data", name="graven").start(maxmemory_policy="noeviction")
    try:
        with CeleryWorld(server, tmp_path / "work") as world, server.connect() as connection:
            tasks = load_tasks(world)
            limit = int(connection.info("memory")["used_memory"]) + (3 << 20)
            assert connection.call("CONFIG", "SET", "maxmemory", str(limit)) == b"OK"
            accepted = []
            with pytest.raises((OperationalError, OutOfMemoryError), match="maxmemory"):
                for _ in range(10_000):
                    accepted.append(tasks.record.apply_async(headers={"ballast": "x" * 10_000}, retry=False).id)
            assert 50 < len(accepted) < 1000
            assert connection.call("LLEN", "celery") == len(accepted)
            assert int(connection.info("stats")["evicted_keys"]) == 0
            assert connection.call("CONFIG", "SET", "maxmemory", "0") == b"OK"
            world.start_worker()
            wait_until(lambda: world.executed() >= set(accepted), 60, "every accepted task is executed")
            wait_until(lambda: int(connection.info("memory")["used_memory"]) < limit - (1 << 20), 10, "the queue's memory is free again")
            assert connection.call("CONFIG", "SET", "maxmemory", str(limit)) == b"OK"
            later = tasks.record.apply_async(retry=False).id
            wait_until(lambda: later in world.executed(), 30, "a task that was sent afterwards is executed")
    finally:
        server.end()
