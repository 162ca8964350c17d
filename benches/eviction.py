#!/usr/bin/env python3
"""Hit ratio of the eviction policies and what evicting costs, graven beside stock redis-server in the same run.

    cargo build --release && python3 benches/eviction.py [--accesses N] [--traces zipf ...] [--json FILE]

Both servers hold the same number of keys: the memory models differ, so each gets the `maxmemory` that makes it so. It is
found while the first half of the trace is replayed, and stays as it is in the second half, which counts; where the keys held
there differ from what was wanted by more than half a percent, the run is repeated with a better limit. Both replay the same
trace at the same time, as a cache does: GET, and SET on a miss. Traces: zipf (a few keys are asked for most of the time), zipf
with scans (every so often a run over keys that nobody asks for again), and a zipf whose popular keys change half-way.
Access clocks tell seconds apart, so the trace is spread over `--seconds`.
"""

import argparse
import bisect
import itertools
import json
import multiprocessing
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


def configure(server: Server, **settings) -> None:
    with server.connect() as connection:
        for name, value in settings.items():
            connection.sendall(command("CONFIG", "SET", name.replace("_", "-"), value))
            assert connection.recv(1 << 12).startswith(b"+OK"), name


def batch(connection, keys: list[bytes]) -> int:
    """Asks for these keys and stores those that are not there; how many are."""
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
    return sum(found)


def replay(binary: str, policy: str, trace: list[bytes], seconds: float, held: int, limit: int) -> dict:
    """Hit ratio, CPU microseconds per access and mean number of keys in the second half of the trace. `limit`: what
    `maxmemory` to begin with, or 0."""
    server = Server(binary, ["--appendonly", "no"])
    try:
        configure(server, maxmemory_policy=policy)
        if limit:
            configure(server, maxmemory=limit)
        with server.connect() as connection:
            empty, hits, counted, sizes, cpu = used(server), 0, 0, [], 0.0
            begun, half = time.monotonic(), len(trace) // 2 // BATCH * BATCH
            for start in range(0, len(trace), BATCH):
                if start == half:
                    cpu = server.cpu_seconds()
                hit = batch(connection, trace[start:start + BATCH])
                size = int(call(connection, "DBSIZE")[1:])
                if start >= half:
                    hits += hit
                    counted += len(trace[start:start + BATCH])
                    sizes.append(size)
                elif size > held and not limit:
                    limit = used(server)
                    configure(server, maxmemory=limit)
                elif limit and start % (20 * BATCH) == 0 and size > held * 0.9:
                    # What a key takes tells how far to go; not all the way, since memory in use swings.
                    limit += int((held - size) * (limit - empty) / size / 4)
                    configure(server, maxmemory=limit)
                ahead = begun + seconds * start / len(trace) - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
            mean = sum(sizes) / len(sizes)
            return {"ratio": hits / counted, "us": (server.cpu_seconds() - cpu) * 1e6 / counted, "keys": mean,
                    "spread": (max(sizes) - min(sizes)) / mean,
                    "limit": limit, "next": int(limit + (held - mean) * (limit - empty) / mean)}
    finally:
        server.stop()


def measured(given: tuple) -> dict:
    """Replays until the number of keys held is the one wanted, three times at most."""
    *how, held = given
    limit = 0
    for _ in range(3):
        row = replay(*how, held, limit)
        if abs(row["keys"] / held - 1) <= 0.005:
            break
        limit = row["next"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accesses", type=int, default=400_000)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--held", type=int, default=20_000, help="keys that there is room for")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--traces", nargs="*", help="all without")
    parser.add_argument("--policies", nargs="*", default=["allkeys-lru", "allkeys-lfu", "allkeys-random"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--graven", default=str(TARGET / "release" / "graven"))
    given = parser.parse_args()
    binaries = {"graven": given.graven, "stock": shutil.which("redis-server")}
    rows, worse = [], []
    for name, trace in traces(given.accesses, given.keys).items():
        if given.traces and name not in given.traces:
            continue
        for policy in given.policies:
            row = {"trace": name, "policy": policy}
            with multiprocessing.Pool(2) as pool:
                calls = [(binary, policy, trace, given.seconds, given.held) for binary in binaries.values()]
                row |= zip(binaries, pool.map(measured, calls, chunksize=1))
            graven, stock = row["graven"], row["stock"]
            rows.append(row)
            print(f"{name:14} {policy:15} graven {graven['ratio']:.4f}  stock {stock['ratio']:.4f}   keys "
                  f"{graven['keys']:.0f} (from least to most {graven['spread']:.1%}) / {stock['keys']:.0f} ({stock['spread']:.1%})   "
                  f"CPU {graven['us']:.2f} / {stock['us']:.2f} us an access", flush=True)
            # What chance alone does to one run.
            if policy != "allkeys-random" and graven["ratio"] < stock["ratio"] - 0.003:
                worse.append(f"{name}, {policy}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    if worse:
        raise SystemExit(f"below stock: {'; '.join(worse)}")


if __name__ == "__main__":
    os.nice(5)
    main()
