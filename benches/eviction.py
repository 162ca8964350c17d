#!/usr/bin/env python3
"""Hit ratio of the eviction policies and what evicting costs, graven beside stock redis-server in the same run.

    cargo build --release && python3 benches/eviction.py [--accesses N] [--json FILE]

Both servers are given room for the same number of keys (each its own `maxmemory`, found by filling it), then replay the
same trace as a cache does: GET, and SET on a miss. Traces: zipf (a few keys are asked for most of the time), zipf with
scans (every so often a run over keys that nobody asks for again), and a zipf whose popular keys change half-way. Access
clocks tell seconds apart, so the trace is spread over `--seconds`.
"""

import argparse
import bisect
import itertools
import json
import os
import random
import shutil
import time
from pathlib import Path

from against_redis import TARGET, Server
from memory import command, used

VALUE = b"v" * 200
BATCH = 100


def zipf(keys: int, exponent: float, chance: random.Random):
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(keys)))
    total = weights[-1]
    names = list(range(keys))
    chance.shuffle(names)
    return lambda: names[bisect.bisect_left(weights, chance.random() * total)]


def traces(accesses: int, keys: int) -> dict[str, list[bytes]]:
    chance = random.Random(4)
    draw = zipf(keys, 0.99, chance)
    plain = [b"z:%08d" % draw() for _ in range(accesses)]
    scanned, fresh = [], itertools.count()
    for at in range(0, accesses, 1000):
        scanned += plain[at:at + 800] + [b"s:%08d" % next(fresh) for _ in range(200)]
    other = zipf(keys, 0.99, chance)
    moved = plain[: accesses // 2] + [b"z:%08d" % other() for _ in range(accesses // 2)]
    return {"zipf": plain, "zipf+scan": scanned, "shifting zipf": moved}


def replies(connection, count: int) -> list[bool]:
    """Whether each of `count` replies to GET is a hit."""
    data, hits = b"", []
    at = 0
    while len(hits) < count:
        end = data.find(b"\r\n", at)
        if end >= 0:
            length = int(data[at + 1:end])
            if length < 0:
                hits.append(False)
                at = end + 2
                continue
            if len(data) >= end + 2 + length + 2:
                hits.append(True)
                at = end + 2 + length + 2
                continue
        data, at = data[at:] + connection.recv(1 << 20), 0
    return hits


def call(connection, *words) -> bytes:
    """One command whose reply is one line."""
    connection.sendall(command(*words))
    data = b""
    while not data.endswith(b"\r\n"):
        data += connection.recv(1 << 12)
    return data


def fill(connection, first: int, keys: int) -> None:
    for start in range(first, first + keys, BATCH):
        connection.sendall(b"".join(command("SET", b"z:%08d" % n, VALUE) for n in range(start, start + BATCH)))
        missing = BATCH
        while missing > 0:
            missing -= connection.recv(1 << 16).count(b"+OK\r\n")


def limit_for(server: Server, keys: int) -> int:
    """The `maxmemory` that holds so many of the trace's keys while others come and go."""
    with server.connect() as connection:
        fill(connection, 0, keys)
        limit = used(server)
        call(connection, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        for turn in range(1, 6):
            call(connection, "CONFIG", "SET", "maxmemory", limit)
            fill(connection, turn * keys, keys)
            # Slowly at last: in a burst both hold somewhat more than they may.
            for calm in range(40):
                time.sleep(0.01)
                fill(connection, (10 + turn) * keys + calm * BATCH, BATCH)
            limit = int(limit * keys / int(call(connection, "DBSIZE")[1:]))
        call(connection, "CONFIG", "SET", "maxmemory", 0)
        call(connection, "FLUSHALL")
    return limit


def configure(server: Server, **settings) -> None:
    with server.connect() as connection:
        for name, value in settings.items():
            connection.sendall(command("CONFIG", "SET", name.replace("_", "-"), value))
            assert connection.recv(1 << 12).startswith(b"+OK"), name


def replay(server: Server, trace: list[bytes], seconds: float) -> tuple[float, float, int]:
    """Hit ratio over the second half of the trace, CPU microseconds of the server per access, and keys held at the end."""
    hits = counted = 0
    begun, cpu = time.monotonic(), server.cpu_seconds()
    with server.connect() as connection:
        for start in range(0, len(trace), BATCH):
            keys = trace[start:start + BATCH]
            connection.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$10\r\n%s\r\n" % key for key in keys))
            found = replies(connection, len(keys))
            missed = [key for key, hit in zip(keys, found) if not hit]
            if missed:
                connection.sendall(b"".join(command("SET", key, VALUE) for key in missed))
                left = len(missed)
                while left > 0:
                    received = connection.recv(1 << 16)
                    assert b"-OOM" not in received
                    left -= received.count(b"+OK\r\n")
            if start >= len(trace) // 2:
                hits += sum(found)
                counted += len(keys)
            ahead = begun + seconds * start / len(trace) - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        held = int(call(connection, "DBSIZE")[1:])
    return hits / counted, (server.cpu_seconds() - cpu) * 1e6 / len(trace), held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accesses", type=int, default=400_000)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--held", type=int, default=20_000, help="keys that there is room for")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--policies", nargs="*", default=["allkeys-lru", "allkeys-lfu", "allkeys-random"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--graven", default=str(TARGET / "release" / "graven"))
    given = parser.parse_args()
    binaries = {"graven": given.graven, "stock": shutil.which("redis-server")}
    rows, worse = [], []
    for name, trace in traces(given.accesses, given.keys).items():
        for policy in given.policies:
            row = {"trace": name, "policy": policy}
            for who, binary in binaries.items():
                server = Server(binary, ["--appendonly", "no"])
                try:
                    limit = limit_for(server, given.held)
                    configure(server, maxmemory_policy=policy, maxmemory=limit)
                    row[who], row[f"{who}_us"], row[f"{who}_keys"] = replay(server, trace, given.seconds)
                finally:
                    server.stop()
            rows.append(row)
            print(f"{name:14} {policy:15} graven {row['graven']:.4f}  stock {row['stock']:.4f}   "
                  f"CPU {row['graven_us']:.2f} / {row['stock_us']:.2f} us an access, {row['graven_keys']} / {row['stock_keys']} keys",
                  flush=True)
            # What chance alone does to one run.
            if policy != "allkeys-random" and row["graven"] < row["stock"] - 0.003:
                worse.append(f"{name}, {policy}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    if worse:
        raise SystemExit(f"below stock: {'; '.join(worse)}")


if __name__ == "__main__":
    os.nice(5)
    main()
