"""The clients of some years ago, from requirements-old.txt: redis-py 3.5 (no HELLO, RESP2 only), aioredis 2, Celery 5.2, django-redis 5."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
import time

import pytest
import redis

from support.celery_app import CeleryWorld
from support.server import Server, wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("old") / "data", name="graven").start()
    yield server
    server.end()


@pytest.fixture
def r(shared):
    client = redis.Redis(port=shared.port, decode_responses=True, socket_timeout=60)
    client.flushall()
    return client


def test_versions():
    assert redis.__version__.startswith("3.5.")


def test_all_types(r):
    assert r.set("k", "v", ex=100, nx=True) and not r.set("k", "v", nx=True) and 80 < r.ttl("k") <= 100
    assert r.lpush("l", 1, 2, 3) == 3 and r.lrange("l", 0, -1) == ["3", "2", "1"] and r.brpoplpush("l", "m", 1) == "1"
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {"a": "1", "b": "2"} and r.hmset("h", {"c": 3})
    assert r.sadd("s", "a", "b") == 2 and r.smembers("s") == {"a", "b"}
    assert r.zadd("z", {"a": 1, "b": 2.5}) == 2 and r.zrange("z", 0, -1, withscores=True) == [("a", 1.0), ("b", 2.5)]
    assert r.zincrby("z", 1.5, "a") == 2.5 and r.zpopmax("z") == [("b", 2.5)]
    assert r.blpop(["none", "m"], 1) == ("m", "1")
    assert r.type("h") == "hash" and sorted(r.keys("*")) == ["h", "k", "l", "s", "z"]
    assert r.object("encoding", "k") in ("embstr", "raw")
    assert r.info()["redis_version"] and r.config_get("maxclients") and r.client_list() and r.dbsize() == 5
    assert set(r.scan_iter("*")) == {"h", "k", "l", "s", "z"} and r.time()[0] > 0
    assert r.incrbyfloat("f", 0.1) == 0.1


def test_pipeline_watch_and_scripts(r):
    with r.pipeline() as pipe:
        pipe.watch("n")
        pipe.multi()
        pipe.incr("n")
        pipe.lpush("l", "x")
        assert pipe.execute() == [1, 1]
    with pytest.raises(redis.WatchError):
        with r.pipeline() as pipe:
            pipe.watch("n")
            r.incr("n")
            pipe.multi()
            pipe.incr("n")
            pipe.execute()
    script = r.register_script("return {redis.call('INCR', KEYS[1]), ARGV[1]}")
    assert script(keys=["n"], args=["x"]) == [3, "x"]
    r.script_flush()
    assert script(keys=["n"], args=["x"]) == [4, "x"]


def test_lock_and_pubsub(r):
    with r.lock("mutex", timeout=60, blocking_timeout=60):
        assert not r.lock("mutex").acquire(blocking=False)
    pubsub = r.pubsub()
    pubsub.subscribe("a")
    pubsub.psubscribe("b*")
    assert [pubsub.get_message(timeout=60)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    assert r.publish("a", "1") == 1 and r.publish("bb", "2") == 1
    assert [pubsub.get_message(timeout=60)["data"] for _ in range(2)] == ["1", "2"]
    pubsub.close()


def test_monitor_of_connections(shared, r):
    """redis-py 3.5 never sends HELLO: its connection is RESP2 and says so."""
    r.client_setname("old")
    assert any(client["name"] == "old" for client in r.client_list())
    threads = [threading.Thread(target=lambda: [r.incr("n") for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert r.get("n") == "400"


def import_aioredis():
    """aioredis 2.0.1 names two base classes that became one in Python 3.11; they are kept apart while it is imported."""
    kept = asyncio.TimeoutError
    if kept is TimeoutError:
        asyncio.TimeoutError = type("TimeoutError", (Exception,), {})
    try:
        return importlib.import_module("aioredis")
    finally:
        asyncio.TimeoutError = kept


def test_aioredis(shared, r):
    aioredis = import_aioredis()
    assert aioredis.__version__.startswith("2.0")

    async def scenario() -> None:
        client = aioredis.from_url(shared.url(0), decode_responses=True)
        assert await client.set("k", "v") and await client.get("k") == "v"
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.incr("n").incr("n").lpush("l", "a").execute() == [1, 2, 1]
        assert await client.hset("h", mapping={"a": "1"}) == 1 and await client.hgetall("h") == {"a": "1"}
        assert await client.zadd("z", {"a": 1.5}) == 1 and await client.zrange("z", 0, -1, withscores=True) == [("a", 1.5)]
        waiting = asyncio.create_task(client.blpop("q", timeout=50))
        await asyncio.sleep(0.1)
        other = aioredis.from_url(shared.url(0))
        await other.rpush("q", "item")
        assert await waiting == ("q", "item")
        pubsub = client.pubsub()
        await pubsub.subscribe("c")
        assert (await pubsub.get_message(timeout=60))["type"] == "subscribe"
        await other.publish("c", "x")
        message = None
        for _ in range(600):
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message:
                break
        assert message["data"] == "x"
        assert {key async for key in client.scan_iter("*")} == {"k", "n", "l", "h", "z"}
        await asyncio.gather(*(client.incr("m") for _ in range(50)))
        assert await client.get("m") == "50"

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_celery(make_server, tmp_path):
    import celery

    assert celery.__version__.startswith("5.2.")
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work", TEST_VISIBILITY="4") as world:
        os.environ.update(world.environment)
        sys.modules.pop("support.tasks", None)
        tasks = importlib.import_module("support.tasks")
        worker = world.start_worker(pool="prefork", concurrency=2)
        assert [result.get(timeout=60) for result in [tasks.add.delay(n, n) for n in range(20)]] == [2 * n for n in range(20)]
        assert tasks.flaky.delay(2).get(timeout=60) == 2
        assert celery.group(tasks.add.s(n, 1) for n in range(10))().get(timeout=60) == list(range(1, 11))
        assert celery.chord((tasks.add.s(n, n) for n in range(10)), tasks.total.s())().get(timeout=60) == 90
        sent = time.time()
        assert tasks.stamp.apply_async(countdown=1).get(timeout=60) >= sent + 0.9
        assert list(world.ping(tasks.app)) == ["w0@test"]
        held = tasks.held.delay()
        wait_until(lambda: world.lines("started"), 20, "the task is running")
        worker.kill9()
        world.let_go()
        # A worker gives back what is due when it begins, and then every 100 s only.
        time.sleep(4.5)
        second = world.start_worker(pool="prefork", concurrency=2)
        wait_until(lambda: held.id in world.executed(), 40, "it is delivered again after its worker's death")
        second.stop()


def test_celery_after_a_crash_of_the_server(make_server, tmp_path):
    server = make_server().start()
    with CeleryWorld(server, tmp_path / "work", TEST_VISIBILITY="4") as world:
        os.environ.update(world.environment)
        sys.modules.pop("support.tasks", None)
        tasks = importlib.import_module("support.tasks")
        results = [tasks.record.delay() for _ in range(50)]
        server.kill9()
        server.start()
        worker = world.start_worker()
        wait_until(lambda: {result.id for result in results} <= world.executed(), 40, "all tasks are executed")
        worker.stop()


def test_old_django_redis(shared):
    from django.conf import settings

    import django

    settings.configure(
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": shared.url(2), "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"}}},
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        INSTALLED_APPS=["django.contrib.sessions"],
        SECRET_KEY="not a secret",
    )
    django.setup()
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import cache

    cache.clear()
    assert cache.set("k", [1, 2], timeout=100) and cache.get("k") == [1, 2] and 90 < cache.ttl("k") <= 100
    assert cache.add("k", 1) is False and cache.incr("n") == 1 if cache.set("n", 0) else False
    cache.set_many({f"p{n}": n for n in range(50)})
    assert cache.delete_pattern("p*") == 50
    with cache.lock("mutex", timeout=60):
        pass
    session = SessionStore()
    session["user"] = 1
    session.save()
    assert SessionStore(session.session_key)["user"] == 1
