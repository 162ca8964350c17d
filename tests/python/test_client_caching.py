"""Client-side caching with real clients: redis-py's own cache over RESP3, and a RESP2 client that has its invalidations sent to another connection."""

from __future__ import annotations

import threading
import time

import pytest
import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from support.server import Server, stock_under_test, wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("caching") / "data", name="graven").start()
    yield server
    server.end()


# redis-py offers its cache from version 7.4 on, whatever the server has; the level here is 7.2.
CacheProxyConnection.MIN_ALLOWED_VERSION = "7.2.0"


def caching_client(server, **options):
    return redis.Redis(port=server.port, protocol=3, decode_responses=True, socket_timeout=60, cache_config=CacheConfig(max_size=1000), **options)


@pytest.mark.graven_only
def test_redis_py_cache(shared):
    """Reads come from the cache until somebody changes the key, whatever the command."""
    reader, writer = caching_client(shared), redis.Redis(port=shared.port, decode_responses=True)
    writer.flushall()
    writer.set("k", "one")
    writer.hset("h", mapping={"f": "1"})
    calls = lambda name: int(writer.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"])
    before = calls("get")
    assert [reader.get("k") for _ in range(50)] == ["one"] * 50
    assert calls("get") == before + 1 and reader.get_cache().size == 1
    writer.set("k", "two")
    wait_until(lambda: reader.get("k") == "two", 5, "the change is seen")
    assert reader.hgetall("h") == {"f": "1"} == reader.hgetall("h")
    writer.hincrby("h", "f", 5)
    wait_until(lambda: reader.hgetall("h") == {"f": "6"}, 5, "the change is seen")
    writer.delete("k")
    wait_until(lambda: reader.get("k") is None, 5, "the deletion is seen")
    for lifetime in (60, 1000, 10_000):
        writer.set("brief", "x", px=lifetime)
        if reader.get("brief") == "x":
            break
    else:
        pytest.fail("gone before its time")
    wait_until(lambda: reader.get("brief") is None, 5, "the expiry is seen")
    reader.get("k")
    writer.flushall()
    wait_until(lambda: reader.get_cache().size <= 1 and reader.get("h") is None, 5, "the flush is seen")
    reader.close()


@pytest.mark.graven_only
def test_caches_never_stay_stale(shared):
    """Several caching readers beside a writer: when it has stopped, everybody soon sees what it wrote last."""
    writer = redis.Redis(port=shared.port, decode_responses=True)
    writer.flushall()
    keys = [f"key:{n}" for n in range(20)]
    stop, wrong = threading.Event(), []

    def read(client):
        while not stop.is_set():
            for key in keys:
                value = client.get(key)
                if value is not None and not value.startswith(key):
                    wrong.append((key, value))

    readers = [caching_client(shared) for _ in range(3)]
    threads = [threading.Thread(target=read, args=(client,)) for client in readers]
    for thread in threads:
        thread.start()
    for number in range(1500):
        writer.set(keys[number % len(keys)], f"{keys[number % len(keys)]}={number}")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    last = {key: writer.get(key) for key in keys}
    for client in readers:
        wait_until(lambda: all(client.get(key) == last[key] for key in keys), 5, "no cache is stale")
        client.close()


def test_redirected_invalidations(shared):
    """RESP2: one connection reads, another listens on __redis__:invalidate; when that one is gone the reader is told."""
    writer = redis.Redis(port=shared.port)
    writer.flushall()
    listener = redis.Redis(port=shared.port, protocol=2, socket_timeout=60)
    pubsub = listener.pubsub()
    pubsub.subscribe("__redis__:invalidate")
    assert pubsub.get_message(timeout=60)["type"] == "subscribe"
    target = next(int(client["id"]) for client in writer.client_list() if client["sub"] == "1")
    with shared.connect() as reader:
        assert reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", target) == b"OK"
        assert reader.call("CLIENT", "GETREDIR") == target
        line = next(client for client in writer.client_list() if client["redir"] == str(target))
        assert "t" in line["flags"]
        reader.call("MGET", "a", "b")
        writer.mset({"a": 1, "b": 2, "c": 3})
        assert [pubsub.get_message(timeout=60)["data"] for _ in range(2)] == [[b"a"], [b"b"]]
        reader.call("GET", "a")
        writer.flushdb()
        assert pubsub.get_message(timeout=60)["data"] is None
        pubsub.close()
        listener.close()
        reader.call("GET", "a")
        wait_until(lambda: not any(client["id"] == str(target) for client in writer.client_list()), 5, "the listener is gone")
        writer.set("a", 2)
        assert b"broken_redirect" in reader.call("CLIENT", "TRACKINGINFO")[1]


def test_figures(shared):
    writer = redis.Redis(port=shared.port)
    writer.flushall()
    with shared.connect(protocol=3) as a, shared.connect(protocol=3) as b, shared.connect(protocol=3) as c:
        a.call("CLIENT", "TRACKING", "ON")
        b.call("CLIENT", "TRACKING", "ON")
        c.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x", "PREFIX", "y")
        a.call("MGET", "k1", "k2")
        b.call("GET", "k1")
        wait_until(lambda: writer.info()["tracking_clients"] == 3, 5, "those of other tests are gone")
        info = writer.info()
        assert (info["tracking_total_keys"], info["tracking_total_items"], info["tracking_total_prefixes"]) == (2, 3, 2)
        c.call("CLIENT", "TRACKING", "OFF")
        writer.set("k1", 1)
        info = writer.info()
        assert (info["tracking_clients"], info["tracking_total_keys"], info["tracking_total_items"], info["tracking_total_prefixes"]) == (2, 1, 1, 0)
    wait_until(lambda: writer.info()["tracking_clients"] == 0, 5, "the connections are gone")


def test_with_a_durable_log(make_server):
    """Under `appendfsync always` with a log on a real disk: each change is told once, and the key read afterwards is the changed one."""
    server = make_server().start()
    with server.connect(protocol=3) as reader, server.connect() as writer:
        reader.call("CLIENT", "TRACKING", "ON")
        for number in range(50):
            reader.call("GET", "k")
            writer.send("SET", "k", number)
            assert reader.read_reply().render() == '>[$"invalidate" *[$"k"]]'
            assert writer.read_reply().render() == "+OK"
            assert reader.call("GET", "k") == str(number).encode()


@pytest.mark.parametrize("limit", [10])
def test_table_limit(make_server, limit):
    server = make_server(directives={"tracking-table-max-keys": limit}).start()
    with server.connect(protocol=3) as reader, server.connect() as other:
        reader.call("CLIENT", "TRACKING", "ON")
        for number in range(200):
            reader.send("GET", f"key:{number}")
        told = 0
        for _ in range(200):
            while True:
                reply = reader.read_reply()
                if reply.kind != ">":
                    break
                told += 1
        keys = lambda: int(other.call("INFO", "stats").decode().split("tracking_total_keys:")[1].split("\r\n")[0])  # noqa: E731
        wait_until(lambda: keys() <= limit, 5, "the table is within its limit")
        assert told >= 200 - limit - 1
        assert stock_under_test() or other.call("CONFIG", "SET", "tracking-table-max-keys", 0) == b"OK"
