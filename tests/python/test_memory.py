"""Memory as the server reports it, and what it does when memory is short; encodings at their limits, beside stock."""

from __future__ import annotations

import pytest

from support.resp import ServerError
from support.server import wait_until

MIB = 1 << 20


def memory(connection) -> dict[str, int]:
    return {name: int(value) for name, value in connection.info("memory").items() if value.lstrip("-").isdigit()}


def fill(connection, count: int, size: int, prefix: str = "key", first: int = 0) -> None:
    value = b"v" * size
    for start in range(first, first + count, 500):
        replies = connection.pipeline(("SET", f"{prefix}:{n:08}", value) for n in range(start, min(start + 500, first + count)))
        assert not any(isinstance(reply, ServerError) for reply in replies)


def rss(server) -> int:
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


@pytest.mark.graven_only
def test_figures_are_true_and_move(server):
    """used_memory is what the allocator says, grows by what is stored and falls when it goes; the parts add up."""
    with server.connect() as connection:
        before = memory(connection)
        fill(connection, 20_000, 1000)
        full = memory(connection)
        grown = full["used_memory"] - before["used_memory"]
        assert 20 * MIB < grown < 25 * MIB
        assert abs(full["used_memory"] - full["allocator_allocated"]) < 0.05 * full["used_memory"]
        assert full["allocator_allocated"] <= full["allocator_active"] <= full["allocator_resident"]
        assert abs(full["used_memory_rss"] - rss(server)) < 0.05 * full["used_memory_rss"]
        assert full["used_memory_peak"] >= full["used_memory"]
        assert full["used_memory_dataset"] == full["used_memory"] - full["used_memory_overhead"]
        assert 0.8 * grown < full["used_memory_dataset"] < 1.1 * grown
        assert full["used_memory_overhead"] > full["used_memory_startup"] + 20_000 * 8
        connection.call("FLUSHALL")
        wait_until(lambda: memory(connection)["used_memory"] < before["used_memory"] + 2 * MIB, 10, "what was flushed is free")
        after = memory(connection)
        assert after["used_memory_peak"] >= full["used_memory"]
        assert after["lazyfreed_objects"] >= 1 and after["lazyfree_pending_objects"] == 0
        connection.call("CONFIG", "RESETSTAT")
        assert memory(connection)["lazyfreed_objects"] == 0


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_memory_stays_at_its_limit(make_server, policy):
    """The gauge that is asked before each command agrees with the allocator: values of all sizes, in and out, for a while."""
    server = make_server().start(maxmemory_policy=policy)
    with server.connect() as connection:
        limit = memory(connection)["used_memory"] + 6 * MIB
        connection.call("CONFIG", "SET", "maxmemory", str(limit))
        for turn in range(8):
            size = [20, 200, 3000, 40_000][turn % 4]
            commands = [("SET", f"{size}:{turn}:{n}", b"v" * size, "EX", 1000 + n) for n in range(4 * MIB // (size + 100))]
            together = max(100_000 // size, 1)
            for start in range(0, len(commands), together):
                replies = connection.pipeline(commands[start : start + together])
                assert not any(isinstance(reply, ServerError) for reply in replies), replies[0]
            now = memory(connection)
            # What waits for the disk goes by itself.
            assert now["used_memory"] - now["mem_not_counted_for_evict"] < limit * 1.05 + 0.3 * MIB
        info = connection.info("stats")
        assert int(info["evicted_keys"]) > 1000
        # Enough is left: nothing is thrown out for nothing.
        assert memory(connection)["used_memory"] > limit - 2 * MIB


@pytest.mark.graven_only
def test_a_smaller_limit_takes_effect_at_once(server):
    with server.connect() as connection:
        base = memory(connection)["used_memory"]
        fill(connection, 20_000, 1000)
        limit = base + 10 * MIB
        assert connection.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", str(limit))
        # Nobody sends a command that would ask for room.
        wait_until(lambda: "smaller than the current memory usage" in server.log_text(), 5, "the warning")
        wait_until(lambda: memory(connection)["used_memory"] < limit * 1.05, 10, "memory is below the new limit")
        assert 5_000 < connection.call("DBSIZE") < 12_000


@pytest.mark.graven_only
def test_one_big_value_does_not_drive_out_everything(server):
    """What was given up and is not freed yet counts as freed."""
    with server.connect() as connection:
        base = memory(connection)["used_memory"]
        fill(connection, 2_000, 1000)
        for start in range(0, 300_000, 1000):
            connection.call("SADD", "big", *(f"member:{n:09}" for n in range(start, start + 1000)))
        big = memory(connection)["used_memory"] - base - 2 * MIB
        assert big > 6 * MIB
        # The big one is the idlest.
        connection.pipeline(("EXPIRE", "big", "100") for _ in range(1))
        connection.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl", "maxmemory", str(base + 5 * MIB))
        wait_until(lambda: connection.call("EXISTS", "big") == 0, 5, "the big one goes")
        assert connection.call("DBSIZE") == 2_000
        wait_until(lambda: memory(connection)["used_memory"] < base + 5 * MIB, 10, "its memory is free")
        assert int(connection.info("stats")["evicted_keys"]) == 1


def fragment(connection, keys: int, kept: int) -> None:
    """Of so many keys each `kept`th stays, so that hardly a page is free and most of each is."""
    fill(connection, keys, 60)
    connection.call("HSET", "hash", *(word for n in range(5000) for word in (f"field:{n}", "v" * 40)))
    connection.call("ZADD", "zset", *(word for n in range(5000) for word in (str(n), f"member:{n:06}")))
    connection.call("RPUSH", "list", *(f"element:{n:06}" for n in range(20_000)))
    for start in range(0, keys, 500):
        connection.call("DEL", *(f"key:{n:08}" for n in range(start, start + 500) if n % kept))


def defrag_figures(connection) -> dict[str, int]:
    return {name: int(value) for name, value in connection.info("stats").items() if "defrag" in name}


@pytest.mark.graven_only
def test_active_defragmentation_moves_what_is_left_together(server):
    with server.connect() as connection:
        fragment(connection, 200_000, 12)
        digest = connection.call("DEBUG", "DIGEST")
        before = memory(connection)
        assert before["allocator_frag_bytes"] > 8 * MIB
        assert set(defrag_figures(connection).values()) == {0}
        connection.call("CONFIG", "SET", "active-defrag-ignore-bytes", "1mb", "activedefrag", "yes")
        wait_until(lambda: memory(connection)["allocator_frag_bytes"] < before["allocator_frag_bytes"] / 3, 60, "most holes are gone")
        assert connection.call("DEBUG", "DIGEST") == digest
        figures = defrag_figures(connection)
        assert figures["active_defrag_hits"] >= figures["active_defrag_key_hits"] > 5000
        assert figures["active_defrag_misses"] > 0 and figures["total_active_defrag_time"] > 0
        connection.call("CONFIG", "SET", "activedefrag", "no")
        wait_until(lambda: memory(connection)["active_defrag_running"] == 0, 60, "it rests")
        connection.call("CONFIG", "RESETSTAT")
        assert set(defrag_figures(connection).values()) == {0}


@pytest.mark.graven_only
def test_the_holes_that_a_snapshot_leaves_are_closed(server):
    """Nearly everything is overwritten while a snapshot holds it, and what was not keeps its pages when that is gone."""
    with server.connect() as connection:
        keys = 200_000
        fill(connection, keys, 60)
        connection.call("CONFIG", "SET", "rdbcompression", "no", "snapshot-max-mb-per-sec", "1", "active-defrag-ignore-bytes", "4mb")
        connection.call("BGSAVE")
        overwrite = "for n = 0, ARGV[1] - 1 do if n % 12 > 0 then redis.call('SET', ('key:%08d'):format(n), ARGV[2]) end end"
        connection.call("EVAL", overwrite, "0", str(keys), b"w" * 60)
        assert connection.info("persistence")["rdb_bgsave_in_progress"] == "1"
        connection.call("CONFIG", "SET", "snapshot-max-mb-per-sec", "0")
        wait_until(lambda: connection.info("persistence")["rdb_bgsave_in_progress"] == "0", 60, "the snapshot has ended")
        wait_until(lambda: defrag_figures(connection)["active_defrag_hits"] > 5000, 60, "what was not overwritten moves")
        wait_until(lambda: memory(connection)["allocator_frag_bytes"] < 4 * MIB, 60, "memory is back")


@pytest.mark.graven_only
def test_what_a_long_script_needed_is_free_behind_it(server):
    """The unit that it logs is tens of megabytes: they are not kept for the next one."""
    with server.connect() as connection:
        before = memory(connection)["used_memory"]
        connection.call("EVAL", "for n = 1, 500 do redis.call('SET', 'key:' .. n, ARGV[1]) end", "0", b"v" * 50_000)
        connection.call("FLUSHALL")
        wait_until(lambda: memory(connection)["used_memory"] < before + 4 * MIB, 60, "all of it is free")
