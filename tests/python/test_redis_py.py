"""What programs do with redis-py of today, over RESP2 and RESP3: connecting, pipelines, transactions, scripts, locks, blocking, pub/sub, scanning."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from support.server import Server, stock_under_test, wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis-py") / "data", name="graven").start()
    yield server
    server.end()


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def r(shared, request):
    client = redis.Redis(port=shared.port, protocol=request.param, decode_responses=True, client_name="suite", socket_timeout=60)
    client.flushall()
    yield client
    client.close()


def test_connecting(shared, r):
    """The commands that redis-py sends on its own: HELLO, CLIENT SETNAME, SETINFO, MAINT_NOTIFICATIONS."""
    assert r.ping()
    assert r.client_getname() == "suite"
    info = r.client_info()
    assert info["name"] == "suite" and int(info["db"]) == 0
    if not stock_under_test():
        assert info["lib-name"].startswith("redis-py") and info["lib-ver"]
        assert r.info("server")["redis_version"] == "7.2.4"
        assert "graven_version" in r.info("server")
    other = redis.Redis(port=shared.port, db=9)
    assert other.set("k", 1) and r.get("k") is None
    assert r.info("keyspace")["db9"]["keys"] == 1
    assert len(r.client_list()) >= 2
    assert r.client_kill_filter(_id=other.client_id()) == 1
    assert other.get("k") == b"1", "the pool connects again"


def test_unix_socket(make_server, tmp_path):
    path = str(tmp_path / "s.sock")
    server = make_server(directives={"unixsocket": path, "unixsocketperm": "700"}).start()
    client = redis.Redis(unix_socket_path=path)
    assert client.set("k", "v") and client.get("k") == b"v"
    assert server.stop() == 0


def test_password(make_server):
    server = make_server(directives={"requirepass": "s3cret"}).start()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port, password="wrong").ping()
    for protocol in (2, 3):
        assert redis.Redis(port=server.port, password="s3cret", protocol=protocol).ping()
        assert redis.Redis(port=server.port, username="default", password="s3cret", protocol=protocol).ping()
    assert redis.Redis.from_url(f"redis://:s3cret@127.0.0.1:{server.port}/3").set("k", 1)


def test_strings(r):
    assert r.set("k", "v", ex=100) and 80 < r.ttl("k") <= 100
    assert r.set("k", "w", get=True, keepttl=True) == "v" and r.ttl("k") > 0
    assert r.getex("k", persist=True) == "w" and r.ttl("k") == -1
    assert r.getdel("k") == "w" and r.get("k") is None
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "c") == ["1", "2", None]
    assert r.incrby("n", 5) == 5 and r.incrbyfloat("n", 0.5) == 5.5
    assert r.append("s", "hello") == 5 and r.setrange("s", 1, "a") == 5 and r.getrange("s", 0, 2) == "hal"


def test_collections(r):
    assert r.rpush("l", *range(10)) == 10 and r.lrange("l", 0, 2) == ["0", "1", "2"] and r.lpos("l", "5") == 5
    assert r.lmove("l", "m", "LEFT", "RIGHT") == "0" and r.lmpop(2, "none", "l", direction="LEFT", count=2) == ["l", ["1", "2"]]
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {"a": "1", "b": "2"}
    assert r.hincrbyfloat("h", "a", 0.5) == 1.5 and sorted(r.hrandfield("h", 2)) == ["a", "b"]
    assert r.sadd("s", "a", "b", "c") == 3 and r.smembers("s") == {"a", "b", "c"} and list(r.smismember("s", ["a", "x"])) == [1, 0]
    assert r.sadd("t", "b", "c", "d") == 3 and r.sinter("s", "t") == {"b", "c"} and r.sintercard(2, ["s", "t"]) == 2
    assert r.zadd("z", {"a": 1, "b": 2.5, "c": 3}) == 3 and r.zscore("z", "b") == 2.5
    pairs = [tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)]
    assert pairs == [("a", 1.0), ("b", 2.5), ("c", 3.0)]
    assert r.zrangebyscore("z", "(1", "+inf") == ["b", "c"] and r.zrevrange("z", 0, 0) == ["c"] and r.zrank("z", "c") == 2
    assert r.zadd("z", {"a": 10}, gt=True, ch=True) == 1 and r.zincrby("z", 1, "a") == 11
    assert tuple(r.bzpopmin("z", timeout=1)) == ("z", "b", 2.5)
    assert r.zmscore("z", ["a", "none"]) == [11.0, None]


def test_errors(r):
    r.lpush("l", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        r.get("l")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        r.execute_command("NOSUCH")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        r.execute_command("GET")


def test_pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(f"k{n}", n)
        pipe.lpush("k1", "x")
        pipe.get("k999")
        results = pipe.execute(raise_on_error=False)
    assert results[:1000] == [True] * 1000 and isinstance(results[1000], redis.ResponseError) and results[1001] == "999"
    with r.pipeline() as pipe:
        assert pipe.incr("n").incr("n").get("n").execute() == [1, 2, "2"]
    with pytest.raises(redis.ResponseError):
        with r.pipeline() as pipe:
            pipe.set("a", 1).lpush("a", 2).set("b", 3).execute()
    assert r.get("b") == "3"


def test_optimistic_locking(r):
    """Many threads count by WATCH/MULTI/EXEC; every conflict is seen."""
    r.set("n", 0)
    conflicts = [0]

    def work() -> None:
        for _ in range(25):
            with r.pipeline() as pipe:
                while True:
                    try:
                        pipe.watch("n")
                        value = int(pipe.get("n"))
                        pipe.multi()
                        pipe.set("n", value + 1)
                        pipe.execute()
                        break
                    except redis.WatchError:
                        conflicts[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert r.get("n") == "100"
    assert r.transaction(lambda pipe: (pipe.multi(), pipe.incr("n")), "n") == [101]


def test_scripts(r):
    script = r.register_script("local n = redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('RPUSH', KEYS[2], n) return {n, redis.call('LLEN', KEYS[2])}")
    r.script_flush()
    assert script(keys=["n", "l"], args=[5]) == [5, 1]
    assert script(keys=["n", "l"], args=[5]) == [10, 2]
    assert r.script_exists(script.sha, "f" * 40) == [True, False]
    with r.pipeline() as pipe:
        script(keys=["n", "l"], args=[1], client=pipe)
        script(keys=["n", "l"], args=[1], client=pipe)
        assert pipe.execute() == [[11, 3], [12, 4]]
    with pytest.raises(redis.exceptions.NoScriptError):
        r.evalsha("f" * 40, 0)
    assert r.eval("return cjson.encode({a=1})", 0) == '{"a":1}'


def test_locks(r):
    lock = r.lock("mutex", timeout=60)
    assert lock.acquire() and not r.lock("mutex", timeout=60).acquire(blocking=False)
    assert lock.extend(100) and lock.owned() and r.pttl("mutex") > 100_000
    assert lock.reacquire() and r.pttl("mutex") <= 60_000
    lock.release()
    with pytest.raises(redis.exceptions.LockError):
        lock.release()
    short = r.lock("mutex", timeout=0.1)
    assert short.acquire()
    time.sleep(0.2)
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        short.release()


def test_blocking(r):
    got = []

    def consume() -> None:
        while (item := r.brpop(["high", "low"], timeout=50)) is not None and item[1] != "end":
            got.append(tuple(item))

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.1)
    for n in range(20):
        r.lpush("high" if n % 2 else "low", n)
    r.lpush("low", "end")
    thread.join(60)
    assert not thread.is_alive() and sorted(int(value) for _, value in got) == list(range(20))
    began = time.monotonic()
    assert r.blpop("none", timeout=0.3) is None
    assert 0.25 < time.monotonic() - began < 50
    r.zadd("z", {"a": 1})
    assert tuple(r.bzpopmin("z", timeout=1)) == ("z", "a", 1.0)
    assert r.blmove("none", "other", 0.1) is None


def test_pubsub(r):
    pubsub = r.pubsub()
    pubsub.subscribe("news", "other")
    pubsub.psubscribe("n*")
    kinds = [pubsub.get_message(timeout=60)["type"] for _ in range(3)]
    assert kinds == ["subscribe", "subscribe", "psubscribe"]
    assert r.publish("news", "hello") == 2
    messages = [pubsub.get_message(timeout=60) for _ in range(2)]
    assert {(m["type"], m["channel"], m["data"]) for m in messages} == {("message", "news", "hello"), ("pmessage", "news", "hello")}
    assert r.pubsub_channels() and dict(r.pubsub_numsub("news", "none")) == {"news": 1, "none": 0} and r.pubsub_numpat() == 1
    pubsub.close()
    handled = []
    pubsub = r.pubsub()
    pubsub.subscribe(direct=lambda message: handled.append(message["data"]))
    thread = pubsub.run_in_thread(sleep_time=0.01)
    wait_until(lambda: dict(r.pubsub_numsub("direct"))["direct"] == 1, 20, "the subscription")
    r.publish("direct", "x")
    wait_until(lambda: handled, 20, "the message")
    thread.stop()
    thread.join(60)
    assert handled == ["x"]
    pubsub.close()


def test_scanning(r):
    with r.pipeline(transaction=False) as pipe:
        for n in range(3000):
            pipe.set(f"key:{n}", n)
        pipe.sadd("set", *range(1000))
        pipe.hset("hash", mapping={f"f{n}": n for n in range(1000)})
        pipe.zadd("zset", {f"m{n}": n for n in range(1000)})
        pipe.execute()
    assert set(r.scan_iter("key:*", count=100)) == {f"key:{n}" for n in range(3000)}
    assert set(r.scan_iter(_type="SET")) == {"set"}
    assert set(r.sscan_iter("set")) == {str(n) for n in range(1000)}
    assert dict(r.hscan_iter("hash")) == {f"f{n}": str(n) for n in range(1000)}
    assert dict(r.zscan_iter("zset")) == {f"m{n}": float(n) for n in range(1000)}
    assert r.dbsize() == 3003


def test_scan_keeps_its_guarantee_while_keys_come_and_go(r):
    """What is there from the beginning to the end is returned, whatever else is inserted and deleted between the calls."""
    stay = {f"stay:{n}" for n in range(500)}
    r.mset({key: 1 for key in stay})
    seen, cursor, round_number = set(), 0, 0
    while True:
        cursor, keys = r.scan(cursor, count=20)
        seen.update(keys)
        r.mset({f"go:{round_number}:{n}": 1 for n in range(50)})
        if round_number:
            r.delete(*(f"go:{round_number - 1}:{n}" for n in range(50)))
        round_number += 1
        if cursor == 0:
            break
        assert round_number < 5000
    assert stay <= seen


def test_asyncio(shared):
    import asyncio

    import redis.asyncio as aredis

    async def scenario() -> None:
        client = aredis.Redis(port=shared.port, decode_responses=True)
        await client.flushall()
        assert await client.set("k", "v")
        assert await asyncio.gather(*(client.incr("n") for _ in range(50))) != []
        assert await client.get("n") == "50"
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("c")
            assert (await pubsub.get_message(timeout=60))["type"] == "subscribe"
            await client.publish("c", "x")
            assert (await pubsub.get_message(timeout=60))["data"] == "x"
        async with client.lock("l", timeout=60):
            pass
        waiting = asyncio.create_task(client.blpop("q", timeout=50))
        await asyncio.sleep(0.1)
        await client.rpush("q", "item")
        assert tuple(await waiting) == ("q", "item")
        await client.aclose()

    asyncio.run(scenario())
