#!/usr/bin/env python3
"""What data costs in memory: growth of RSS per key or element, graven beside stock redis-server in the same run.

    cargo build --release && python3 benches/memory.py [--scale 1.0] [--only NAME ...] [--json FILE]

Every data set is loaded into a fresh server of each kind. The figure is RSS after loading, less RSS before, divided by
the number of keys or elements; `used` is the same for `used_memory`. `--scale` shrinks the data sets: per-key figures
hold from about 0.2 on. Targets are those of the project; a data set above its target ends the run with an error.
"""

import argparse
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from against_redis import TARGET, Server

SETTINGS = ["--appendonly", "no"]
BATCH = 2000


def command(*words: object) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(text), text))
    return b"".join(parts)


def strings(count: int) -> Iterator[bytes]:
    value = b"v" * 32
    return (b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$32\r\n%s\r\n" % (n, value) for n in range(count))


def strings_with_ttl(count: int) -> Iterator[bytes]:
    value = b"v" * 32
    return (command("SET", b"key:%012d" % n, value, "EX", "100000") for n in range(count))


def hashes(count: int) -> Iterator[bytes]:
    fields = [word for n in range(1, 11) for word in (b"field%d" % n, b"value-%02d" % n)]
    return (command("HSET", b"h:%012d" % n, *fields) for n in range(count))


def sorted_sets(count: int) -> Iterator[bytes]:
    chance = random.Random(1)
    for n in range(count):
        pairs = [word for m in range(20) for word in (b"%d" % chance.randrange(100_000, 10**6), b"member:%04d" % m)]
        yield command("ZADD", b"z:%012d" % n, *pairs)


def lists(count: int) -> Iterator[bytes]:
    chance = random.Random(2)
    for n in range(count):
        yield command("RPUSH", b"l:%012d" % n, *(b"%d" % chance.randrange(10**6, 10**7) for _ in range(50)))


def big_hash(count: int) -> Iterator[bytes]:
    for start in range(0, count, 10):
        pairs = (word for n in range(start, start + 10) for word in (b"field:%010d" % n, b"v" * 16))
        yield command("HSET", "hash", *pairs)


def big_sorted_set(count: int) -> Iterator[bytes]:
    chance = random.Random(3)
    for start in range(0, count, 10):
        members = range(start, start + 10)
        pairs = (word for n in members for word in (b"%d" % chance.randrange(10**7, 10**8), b"member:%09d" % n))
        yield command("ZADD", "zset", *pairs)


def big_stream(count: int) -> Iterator[bytes]:
    value = b"v" * 32
    return (command("XADD", "stream", "*", "field", value) for _ in range(count))


def big_set(count: int) -> Iterator[bytes]:
    for start in range(0, count, 10):
        yield command("SADD", "set", *(b"member:%09d" % n for n in range(start, start + 10)))


# Name: how to load it, number of things counted, lines of a reply, bytes at most.
DATA_SETS = {
    "strings": (strings, 5_000_000, 1, 92),
    "strings with TTL": (strings_with_ttl, 1_000_000, 1, 115),
    "hashes of 10": (hashes, 200_000, 1, 255),
    "sorted sets of 20": (sorted_sets, 200_000, 1, 440),
    "lists of 50": (lists, 200_000, 1, 380),
    "hash of 1M": (big_hash, 1_000_000, 1, 75),
    "sorted set of 1M": (big_sorted_set, 1_000_000, 1, 85),
    "stream of 1M": (big_stream, 1_000_000, 2, 44),
    "set of 1M": (big_set, 1_000_000, 1, 42),
}


def send(server: Server, commands: Iterator[bytes], lines: int) -> bytes:
    """Sends commands in batches; returns the first reply that is an error, or nothing."""
    with server.connect() as connection:
        while True:
            batch = [text for _, text in zip(range(BATCH), commands)]
            if not batch:
                return b""
            connection.sendall(b"".join(batch))
            missing, tail = len(batch) * lines, b""
            while missing > 0:
                received = connection.recv(1 << 20)
                if received.startswith(b"-") or b"\r\n-" in received:
                    return received[received.find(b"-"):].split(b"\r\n")[0]
                missing -= (tail + received).count(b"\r\n")
                tail = b"\r" if received.endswith(b"\r") else b""


def resident(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the kernel tells no VmRSS")


def used(server: Server) -> int:
    with server.connect() as connection:
        connection.sendall(b"INFO memory\r\n")
        text = b""
        while b"used_memory:" not in text:
            text += connection.recv(1 << 16)
        return int(text.split(b"used_memory:")[1].split(b"\r\n")[0])


def measure(binary: str, load, count: int, lines: int) -> dict | None:
    server = Server(binary, SETTINGS)
    try:
        # One connection's buffers are there before the first look.
        send(server, iter([command("PING")] * BATCH), 1)
        before, used_before = resident(server), used(server)
        error = send(server, load(count), lines)
        if error:
            print(f"  {Path(binary).name}: {error.decode(errors='replace')}")
            return None
        time.sleep(0.5)
        return {"rss": (resident(server) - before) / count, "used": (used(server) - used_before) / count}
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=list(DATA_SETS))
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--graven", default=str(TARGET / "release" / "graven"))
    parser.add_argument("--without-stock", action="store_true", help="graven alone, for work on the structures")
    given = parser.parse_args()
    stock = shutil.which("redis-server")
    if not stock and not given.without_stock:
        raise SystemExit("redis-server is not on the PATH")
    binaries = {"graven": given.graven} | ({} if given.without_stock else {"stock": stock})
    rows, failed = {}, []
    for name in given.only or DATA_SETS:
        load, count, lines, target = DATA_SETS[name]
        count = max(int(count * given.scale) // 10 * 10, 1000)
        row = rows[name] = {who: measure(binary, load, count, lines) for who, binary in binaries.items()}
        figures = "   ".join(f"{who} {r['rss']:6.1f} (used {r['used']:6.1f})" for who, r in row.items() if r)
        verdict = "-" if not row["graven"] else "ok" if row["graven"]["rss"] <= target else "ABOVE"
        print(f"{name:18} {figures}   at most {target}: {verdict}", flush=True)
        if verdict == "ABOVE":
            failed.append(name)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    if failed and given.scale >= 1.0:
        raise SystemExit(f"above the target: {', '.join(failed)}")


if __name__ == "__main__":
    os.nice(5)
    main()
