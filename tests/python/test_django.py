"""A real Django site on the server: django-redis cache, cache sessions, django-redis-sessions, on databases 2 to 6."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from support import site
from support.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("django") / "data", name="graven").start()
    site.configure(server.port)
    yield server
    server.end()


@pytest.fixture
def cache(server):
    from django.core.cache import caches

    made = caches["default"]
    made.clear()
    return made


def test_get_set_add_delete(cache):
    assert cache.get("k") is None and cache.get("k", "else") == "else"
    assert cache.set("k", {"a": [1, 2.5, None, "é"]})
    assert cache.get("k") == {"a": [1, 2.5, None, "é"]}
    assert cache.add("k", 1) is False and cache.add("n", 1) is True
    assert cache.has_key("k") and "n" in cache
    assert cache.set("k", 2, nx=True) is not True and cache.set("k", 3, xx=True)
    assert cache.get("k") == 3
    assert cache.delete("k") and not cache.delete("k")
    assert cache.get_or_set("made", lambda: 42, timeout=100) == 42
    assert cache.get("made") == 42
    cache.set("versioned", 1, version=2)
    assert cache.get("versioned") is None and cache.get("versioned", version=2) == 1
    assert cache.incr_version("versioned", version=2) == 3


def test_many(cache):
    values = {f"key{n}": n for n in range(200)}
    cache.set_many(values, timeout=100)
    assert cache.get_many(list(values) + ["none"]) == values
    cache.delete_many(list(values)[:100])
    assert len(cache.get_many(values)) == 100


def test_counters(cache):
    cache.set("n", 10)
    assert cache.incr("n") == 11 and cache.incr("n", 5) == 16 and cache.decr("n") == 15
    with pytest.raises(ValueError):
        cache.incr("none")
    cache.set("n", 1, timeout=100)
    cache.incr("n")
    assert 40 < cache.ttl("n") <= 100


def test_lifetimes(cache):
    cache.set("k", 1, timeout=100)
    assert 40 < cache.ttl("k") <= 100 and 40000 < cache.pttl("k") <= 100000
    assert cache.persist("k") and cache.ttl("k") is None
    assert cache.expire("k", timeout=50) and 45 < cache.ttl("k") <= 50
    assert cache.pexpire("k", timeout=50500) and 45 <= cache.ttl("k") <= 51
    assert cache.expire_at("k", datetime.now(timezone.utc).astimezone() + timedelta(hours=1)) and cache.ttl("k") > 3500
    assert cache.pexpire_at("k", datetime.now(timezone.utc).astimezone() + timedelta(hours=2)) and cache.ttl("k") > 7100
    assert cache.touch("k", 30) and cache.ttl("k") <= 30
    assert not cache.touch("none", 30) and cache.ttl("none") == 0
    cache.set("soon", 1, timeout=1)
    time.sleep(1.15)
    assert cache.get("soon") is None
    cache.set("never", 1, timeout=0)
    assert cache.get("never") is None
    cache.set("forever", 1, timeout=None)
    assert cache.ttl("forever") is None


def test_patterns(cache):
    cache.set_many({f"user:{n}": n for n in range(2500)})
    cache.set("other", 1)
    assert len(cache.keys("user:*")) == 2500
    assert sorted(cache.iter_keys("user:1*")) == sorted(f"user:{n}" for n in range(2500) if str(n).startswith("1"))
    assert cache.delete_pattern("user:*", itersize=100) == 2500
    assert cache.keys("*") == ["other"]


def test_locks(server):
    from django.core.cache import caches

    locks = caches["locks"]
    locks.clear()
    inside, most = [0], [0]
    errors = []

    def work() -> None:
        try:
            for _ in range(10):
                with locks.lock("mutex", timeout=60, blocking_timeout=120, sleep=0.002):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.001)
                    inside[0] -= 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert not errors and most[0] == 1
    held = locks.lock("mutex", timeout=60)
    assert held.acquire(blocking=False) and not locks.lock("mutex").acquire(blocking=False)
    held.extend(5)
    held.release()


def test_sets_and_hashes(cache):
    assert cache.sadd("s", 1, 2, 3) == 3 and cache.scard("s") == 3
    assert cache.smembers("s") == {1, 2, 3} and cache.sismember("s", 2)
    assert cache.srem("s", 2) == 1
    cache.sadd("t", 3, 4)
    assert cache.sinter("s", "t") == {3} and cache.sunion("s", "t") == {1, 3, 4} and cache.sdiff("s", "t") == {1}
    assert cache.hset("h", "field", "value") == 1 and cache.hexists("h", "field") and cache.hlen("h") == 1
    assert cache.hkeys("h") == ["field"]
    assert cache.hdel("h", "field") == 1


def test_compression_and_json(server):
    from django.core.cache import caches

    cache = caches["compressed"]
    value = {"text": "x" * 5000, "n": [1, 2, 3]}
    cache.set("k", value)
    assert cache.get("k") == value


def test_raw_client(server, cache):
    from django_redis import get_redis_connection

    raw = get_redis_connection("default")
    assert raw.ping()
    with raw.pipeline() as pipe:
        pipe.set("raw", 1).incr("raw").lpush("queue", "a", "b").hset("h", mapping={"a": 1, "b": 2}).expire("h", 100)
        assert pipe.execute() == [True, 2, 2, 2, True]
    assert raw.zadd("board", {"ann": 3, "bob": 1.5}) == 2
    assert raw.zrange("board", 0, -1, withscores=True) in ([(b"bob", 1.5), (b"ann", 3.0)], [[b"bob", 1.5], [b"ann", 3.0]])
    assert raw.info()["db2"]["keys"] >= 4
    assert raw.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")(keys=["raw"], args=[5]) == 7


@pytest.mark.parametrize("engine", ["django.contrib.sessions.backends.cache", "redis_sessions.session"])
def test_session_backends(server, engine):
    import importlib

    store = importlib.import_module(engine).SessionStore
    session = store()
    session["user"] = 7
    session["cart"] = ["a", "b"]
    session.set_expiry(300)
    session.save()
    key = session.session_key
    again = store(key)
    assert again["user"] == 7 and again["cart"] == ["a", "b"] and again.exists(key)
    again["user"] = 8
    again.save()
    assert store(key)["user"] == 8
    again.cycle_key()
    assert again.session_key != key and store(again.session_key)["user"] == 8
    again.delete()
    assert not store().exists(again.session_key)
    short = store()
    short["x"] = 1
    short.set_expiry(1)
    short.save()
    time.sleep(1.2)
    assert store(short.session_key).get("x") is None


@pytest.mark.parametrize("engine", ["django.contrib.sessions.backends.cache", "redis_sessions.session"])
def test_requests_with_sessions(server, cache, engine):
    from django.test import Client, override_settings

    with override_settings(SESSION_ENGINE=engine):
        ann, bob = Client(), Client()
        assert ann.get("/count/").json() == {"own": 1, "everybody": 1}
        assert ann.get("/count/").json() == {"own": 2, "everybody": 2}
        assert bob.get("/count/").json() == {"own": 1, "everybody": 3}
        assert ann.get("/leave/").status_code == 200
        assert ann.get("/count/").json() == {"own": 1, "everybody": 4}


def test_page_cache(server):
    from django.core.cache import caches
    from django.test import Client

    caches["views"].clear()
    client = Client()
    first = client.get("/page/").content
    assert client.get("/page/").content == first
    caches["views"].clear()
    assert client.get("/page/").content != first


def test_each_on_its_own_database(server, cache):
    """The site's parts are in databases 2 to 6, and nowhere else."""
    from django.core.cache import caches

    for name in ("default", "sessions", "views", "locks"):
        caches[name].set("mark", name)
    with server.connect() as connection:
        keyspace = connection.call("INFO", "keyspace").decode()
        held = sorted(int(line[2:].split(":")[0]) for line in keyspace.splitlines() if line.startswith("db"))
    assert set(held) <= {2, 3, 4, 5, 6} and {2, 3, 4, 6} <= set(held)
    caches["default"].clear()
    assert caches["sessions"].get("mark") == "sessions"


def test_the_site_survives_a_crash(server, cache):
    """What the cache and the sessions acknowledged is there after kill -9; the site reconnects by itself."""
    from django.core.cache import caches
    from django.test import Client

    client = Client()
    for _ in range(5):
        own = client.get("/count/").json()["own"]
    cache.set_many({f"k{n}": n for n in range(100)}, timeout=1000)
    server.kill9()
    server.start()
    for _ in range(20):
        try:
            caches["default"].get("k1")
            caches["sessions"].get("x")
            break
        except Exception:
            time.sleep(0.1)
    assert cache.get_many([f"k{n}" for n in range(100)]) == {f"k{n}": n for n in range(100)}
    assert 900 < cache.ttl("k5") <= 1000
    assert client.get("/count/").json()["own"] == own + 1


def test_a_small_cache_forgets_the_idle_and_keeps_the_popular(server, tmp_path):
    """A site's cache under allkeys-lru: it never refuses, stays within its memory, and keeps what is asked for."""
    from django_redis.cache import RedisCache

    small = Server(tmp_path / "small", name="graven").start(maxmemory_policy="allkeys-lru")
    try:
        with small.connect() as connection:
            limit = memory_of(connection)["used_memory"] + (4 << 20)
            assert connection.call("CONFIG", "SET", "maxmemory", str(limit)) == b"OK"
            cache = RedisCache(small.url(2), {"OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"}})
            popular = [f"popular{n}" for n in range(50)]
            cache.set_many({key: key * 20 for key in popular}, timeout=None)
            # Idle time is counted in seconds, as in stock: what the cache holds has to span a few of them.
            for written in range(1, 1801):
                assert cache.set(f"page{written - 1}", "x" * 8000, timeout=3600 if written % 2 else None)
                if written % 20 == 0:
                    cache.get_many(popular)
                time.sleep(0.004)
            memory = memory_of(connection)
            assert memory["used_memory"] < limit * 1.05
            # What is asked next takes memory too, and would push more of them out.
            connection.call("CONFIG", "SET", "maxmemory", "0")
            evicted = int(connection.info("stats")["evicted_keys"])
            held = connection.call("SELECT", "2") and connection.call("DBSIZE")
            assert evicted > 500 and held + evicted == written + len(popular)
            assert len(cache.get_many(popular)) >= 45
            assert len(cache.get_many([f"page{n}" for n in range(written - 100, written)])) >= 98
            names = sorted(connection.call("KEYS", "*"))
        # What was evicted was logged as deleted: it does not come back.
        small.kill9()
        small.start(maxmemory="0")
        with small.connect() as connection:
            connection.call("SELECT", "2")
            assert sorted(connection.call("KEYS", "*")) == names
    finally:
        small.end()


def memory_of(connection) -> dict:
    return {name: int(value) for name, value in connection.info("memory").items() if name in ("used_memory", "maxmemory")}


def test_select2_keeps_its_widgets_in_the_cache(cache):
    """A widget is pickled into the cache when it is rendered; the view that answers its searches takes it from there."""
    import re

    from django import forms
    from django.contrib.sessions.models import Session
    from django.core.management import call_command
    from django.test import Client
    from django_select2.forms import ModelSelect2Widget

    call_command("migrate", verbosity=0)
    for name in ("apple", "apricot", "banana"):
        Session.objects.create(session_key=name, session_data="", expire_date=datetime.now(timezone.utc))

    sessions = Session.objects.order_by("session_key")

    class Form(forms.Form):
        session = forms.ModelChoiceField(sessions, widget=ModelSelect2Widget(queryset=sessions, search_fields=["session_key__icontains"]))

    field = re.search(r'data-field_id="([^"]+)"', str(Form()))[1]
    answer = Client().get("/select2/fields/auto.json", {"field_id": field, "term": "ap"})
    assert [result["text"] for result in answer.json()["results"]] == ["apple", "apricot"]
    cache.clear()
    assert Client().get("/select2/fields/auto.json", {"field_id": field, "term": "ap"}).status_code == 404
