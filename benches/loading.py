#!/usr/bin/env python3
"""How long a start takes: loading an RDB file and replaying an append-only file, graven beside stock redis-server.

    cargo build --release && python3 benches/loading.py [--scale 0.1] [--only rdb|aof|own ...] [--cores 1 2]
                                                        [--rounds N] [--prepare] [--json FILE]

    rdb   5 million strings of 180 bytes in a dump.rdb that stock has written, about 1 GB
    aof   5 million mixed commands in an append-only directory that stock has written
    own   graven alone on what graven wrote of the same commands and strings; stock's figure is that of its own files

The figure is the time from the start of the process until it answers a PING with +PONG, the files being in the page
cache; `cpu` is processor time of all threads up to then, `rss` resident memory right behind it (`peak` its maximum).
Each server is held to the cores given (taskset). The data is made once per scale and kept below the target directory;
`--prepare` makes it and measures nothing. Targets at full scale: RDB in half of stock's time on two cores and in three
quarters on one, commands in half of stock's time on two cores; missing one ends the run with an error.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from against_redis import CLOCK_TICKS, TARGET, free_port
from memory import command

STRINGS, COMMANDS = 5_000_000, 5_000_000
VALUE_BYTES = 180
BATCH = 4000
# Time of graven by time of stock, by data and number of cores.
TARGETS = {("rdb", 1): 0.75, ("rdb", 2): 0.5, ("aof", 2): 0.5, ("own-aof", 2): 0.5, ("own-rdb", 1): 0.75,
           ("own-rdb", 2): 0.5}
AOF = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]
DUMP = ["--appendonly", "no"]


def strings(count: int) -> Iterator[bytes]:
    """Values that no compression makes smaller."""
    noise = random.Random(1).randbytes(1 << 20)
    for n in range(count):
        at = n * 7919 % (len(noise) - VALUE_BYTES)
        yield b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$180\r\n%s\r\n" % (n, noise[at:at + VALUE_BYTES])


def mixed(count: int) -> Iterator[bytes]:
    """What a broker and a cache write: strings, counters, hashes, queues, sets, scores, deadlines."""
    chance = random.Random(2)
    keys = max(count // 10, 100)
    for n in range(count):
        kind, key = chance.random(), chance.randrange(keys)
        if kind < 0.35:
            yield command("SET", b"s:%d" % key, b"value-%026d" % n)
        elif kind < 0.45:
            yield command("INCR", b"c:%d" % key)
        elif kind < 0.60:
            yield command("HSET", b"h:%d" % (key // 10), b"field%d" % (n % 30), b"value-%d" % n)
        elif kind < 0.70:
            yield command("LPUSH", b"l:%d" % (key // 100), b"task-%040d" % n)
        elif kind < 0.78:
            yield command("RPOP", b"l:%d" % (key // 100))
        elif kind < 0.86:
            yield command("SADD", b"t:%d" % (key // 20), b"member-%d" % (n % 1000))
        elif kind < 0.93:
            yield command("ZADD", b"z:%d" % (key // 50), chance.randrange(10**6), b"member-%d" % (n % 500))
        elif kind < 0.97:
            yield command("PEXPIREAT", b"s:%d" % key, 4102444800000 + n)
        else:
            yield command("DEL", b"s:%d" % key)


class Server:
    """A server process in a given directory, on given cores."""

    def __init__(self, binary: str, directory: Path, arguments: list[str], cores: int):
        self.port = free_port()
        self.log = open(directory / "server.log", "wb")
        line = ["taskset", "-c", ",".join(map(str, range(cores))), binary, "--port", str(self.port), "--bind",
                "127.0.0.1", "--dir", str(directory), "--save", "", *arguments]
        self.started = time.monotonic()
        self.process = subprocess.Popen(line, stdout=self.log, stderr=self.log)
        self.ready_after = self._ready()

    def _ready(self) -> float:
        while time.monotonic() < self.started + 280:
            try:
                with self.connect() as connection:
                    while True:
                        connection.sendall(b"PING\r\n")
                        if connection.recv(256).startswith(b"+PONG"):
                            return time.monotonic() - self.started
                        time.sleep(0.01)
            except OSError:
                time.sleep(0.005)
            if self.process.poll() is not None:
                break
        raise SystemExit(f"the server did not start: see {self.log.name}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=280)

    def status(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise SystemExit(f"the kernel tells no {field}")

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def ask(self, *words: object) -> bytes:
        with self.connect() as connection:
            connection.sendall(command(*words))
            return connection.recv(1 << 16)

    def send(self, commands: Iterator[bytes]) -> None:
        with self.connect() as connection:
            while batch := [text for _, text in zip(range(BATCH), commands)]:
                connection.sendall(b"".join(batch))
                # Every reply of these commands is one line, but for what RPOP finds.
                connection.sendall(b"*2\r\n$4\r\nECHO\r\n$8\r\n<behind>\r\n")
                tail = b""
                while not tail.endswith(b"<behind>\r\n"):
                    received = connection.recv(1 << 20)
                    if not received or received.startswith(b"-") or b"\r\n-" in received:
                        raise SystemExit(f"a command of the load failed: {received[:200]!r}")
                    tail = (tail + received)[-10:]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


def prepare(data: Path, name: str, binary: str, arguments: list[str], commands: Iterator[bytes], save: bool) -> Path:
    """A directory with these commands in it, as this server leaves it; made once."""
    made = data / name
    if made.exists():
        return made
    draft = Path(tempfile.mkdtemp(dir=data, prefix=f".{name}-"))
    server = Server(binary, draft, arguments, os.cpu_count() or 1)
    server.send(commands)
    if save and not server.ask("SAVE").startswith(b"+OK"):
        raise SystemExit("SAVE failed")
    server.stop()
    (draft / "server.log").unlink()
    draft.rename(made)
    return made


def measure(binary: str, made: Path, arguments: list[str], cores: int) -> dict:
    """One start on a copy, which also puts the files into the page cache."""
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".run-") as directory:
        shutil.copytree(made, directory, dirs_exist_ok=True)
        os.sync()
        server = Server(binary, Path(directory), arguments, cores)
        cpu, rss, peak = server.cpu(), server.status("VmRSS"), server.status("VmHWM")
        keys = int(server.ask("DBSIZE")[1:].split(b"\r\n")[0])
        server.process.kill()
        server.process.wait()
        server.log.close()
        return {"seconds": server.ready_after, "cpu": cpu, "rss": rss, "peak": peak, "keys": keys}


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--only", nargs="*", choices=["rdb", "aof", "own"], default=["rdb", "aof", "own"])
    parser.add_argument("--cores", nargs="*", type=int, choices=[1, 2], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1, help="the quickest of so many starts counts")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--graven", default=str(TARGET / "release" / "graven"))
    given = parser.parse_args()
    stock = shutil.which("redis-server")
    if not stock:
        raise SystemExit("redis-server is not on the PATH")
    data = TARGET / "loading-bench" / f"{given.scale:g}"
    data.mkdir(parents=True, exist_ok=True)
    count = {"rdb": max(int(STRINGS * given.scale), 1000), "aof": max(int(COMMANDS * given.scale), 1000)}
    uncompressed = [*DUMP, "--rdbcompression", "no"]
    runs: list[tuple[str, str, str, Path, list[str], int]] = []
    for kind, arguments, writing, load in [("rdb", DUMP, uncompressed, strings), ("aof", AOF, AOF, mixed)]:
        if kind not in given.only and "own" not in given.only:
            continue
        by_stock = prepare(data, f"{kind}-stock", stock, writing, load(count[kind]), kind == "rdb")
        runs.append((kind, "stock", stock, by_stock, arguments, count[kind]))
        if kind in given.only:
            runs.append((kind, "graven", given.graven, by_stock, arguments, count[kind]))
        if "own" in given.only:
            ours = prepare(data, f"{kind}-graven", given.graven, writing, load(count[kind]), kind == "rdb")
            runs.append((f"own-{kind}", "graven", given.graven, ours, arguments, count[kind]))
    if given.prepare:
        return
    figures, missed = [], []
    for cores in given.cores:
        best: dict[tuple[str, str], dict] = {}
        for _ in range(given.rounds):
            for kind, who, binary, made, arguments, _ in runs:
                figure = measure(binary, made, arguments, cores)
                if (kind, who) not in best or figure["seconds"] < best[kind, who]["seconds"]:
                    best[kind, who] = figure
        for kind, who, _, made, _, items in runs:
            figure, beside = best[kind, who], best[kind.removeprefix("own-"), "stock"]
            if figure["keys"] != beside["keys"]:
                raise SystemExit(f"{who} loaded {figure['keys']} keys, stock {beside['keys']}")
            ratio, target = figure["seconds"] / beside["seconds"], TARGETS.get((kind, cores))
            verdict = "" if who == "stock" or target is None else f"at most {target}: {'ok' if ratio <= target else 'MISSED'}"
            print(f"{kind:8} {cores} core{'s' if cores > 1 else ' '} {who:6} {figure['seconds']:7.2f} s "
                  f"({ratio:4.2f} of stock's) {figure['seconds'] * 1e6 / items:6.2f} us each, "
                  f"{size(made) / 1e6 / figure['seconds']:6.0f} MB/s, cpu {figure['cpu']:6.2f} s, "
                  f"rss {figure['rss'] / 1e6:6.0f} MB, peak {figure['peak'] / 1e6:6.0f} MB  {verdict}", flush=True)
            figures.append({"data": kind, "cores": cores, "server": who, "bytes": size(made), **figure})
            if "MISSED" in verdict:
                missed.append(f"{kind} on {cores}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    if missed and given.scale >= 1.0:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
