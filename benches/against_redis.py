#!/usr/bin/env python3
"""graven beside stock redis-server: CPU time per request, and what readers feel while writers wait for a slow disk.

    cargo build --release && python3 benches/against_redis.py [--requests N] [--only cpu|slow-disk|syncs] [--json FILE]

`--only syncs` tells how long a sync of the log takes with `aof-preallocate` and `aof-align`, in turn with the same server without.

Both servers run in turn under the same load (redis-benchmark, 50 connections), each command in both orders, so that a
machine that speeds up or slows down does so for both. CPU time is the server process's own, all threads, user and
system, from /proc; requests per second are context only. Needs redis-server and redis-benchmark on the PATH.
"""

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
sys.path.insert(0, str(ROOT / "tests" / "shim"))

COMMANDS = ["set", "get", "lpush", "rpop", "hset", "zadd"]
PIPELINES = [1, 16, 64]
MODES = {
    "memory": ["--appendonly", "no"],
    "everysec": ["--appendonly", "yes", "--appendfsync", "everysec"],
    "always": ["--appendonly", "yes", "--appendfsync", "always"],
}
CLIENTS = 50
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server process in a directory of its own, on loopback."""

    def __init__(self, binary: str, arguments: list[str], environment: dict | None = None):
        self.directory = tempfile.mkdtemp(prefix="graven-bench-")
        self.port = free_port()
        line = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory, "--save", ""]
        self.log = open(Path(self.directory) / "server.log", "wb")
        self.process = subprocess.Popen(
            line + arguments, stdout=self.log, stderr=self.log, env={**os.environ, **(environment or {})}
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.connect() as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{binary} did not start: see {self.log.name}")
            time.sleep(0.02)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def cpu_seconds(self) -> float:
        """User and system time of all threads, in nanosecond resolution where the kernel offers it."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except (OSError, IndexError):
                continue
        if total:
            return total / 1e9
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def load(server: Server, command: str, pipeline: int, requests: int) -> tuple[float, float]:
    """CPU microseconds per request, and requests per second."""
    before, start = server.cpu_seconds(), time.monotonic()
    subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-c", str(CLIENTS), "-n", str(requests), "-P", str(pipeline),
         "-r", "100000", "-d", "32", "-t", command, "-q"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=300,
    )
    spent = time.monotonic() - start
    return (server.cpu_seconds() - before) * 1e6 / requests, requests / spent


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def cpu_per_request(binaries: dict[str, str], requests: int) -> list[dict]:
    rows = []
    for mode, arguments in MODES.items():
        for pipeline in PIPELINES:
            servers = {name: Server(binary, arguments) for name, binary in binaries.items()}
            try:
                for command in COMMANDS:
                    count = max(requests // (8 if mode == "always" and pipeline == 1 else 1), 1000) * (1 if pipeline == 1 else 4)
                    measured: dict[str, list] = {name: [] for name in servers}
                    for order in (list(servers), list(reversed(servers))):
                        for name in order:
                            measured[name].append(load(servers[name], command, pipeline, count))
                    best = {name: min(values) for name, values in measured.items()}
                    row = {
                        "mode": mode, "pipeline": pipeline, "command": command,
                        **{f"{name}_us": best[name][0] for name in best},
                        **{f"{name}_rps": best[name][1] for name in best},
                        "ratio": best["graven"][0] / best["redis"][0],
                    }
                    rows.append(row)
                    print(f"{mode:9} P{pipeline:<3} {command:6} graven {row['graven_us']:7.2f} us  redis "
                          f"{row['redis_us']:7.2f} us  ratio {row['ratio']:.2f}   "
                          f"({row['graven_rps']:9.0f} / {row['redis_rps']:9.0f} req/s)", flush=True)
            finally:
                for server in servers.values():
                    server.stop()
    for pipeline in PIPELINES:
        for mode in MODES:
            ratios = [row["ratio"] for row in rows if row["pipeline"] == pipeline and row["mode"] == mode]
            print(f"geometric mean, {mode}, pipeline {pipeline}: {geometric_mean(ratios):.2f}")
        print(f"geometric mean, pipeline {pipeline}: "
              f"{geometric_mean([row['ratio'] for row in rows if row['pipeline'] == pipeline]):.2f}")
    return rows


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def slow_disk(binaries: dict[str, str], seconds: float) -> dict:
    """Latency of GET on one connection while others SET under `always` and each sync takes 10 ms longer."""
    from control import Shim  # the shim's own Python side

    result = {}
    for name, binary in binaries.items():
        with tempfile.TemporaryDirectory() as place:
            shim = Shim(Path(place))
            server = Server(binary, MODES["always"], shim.environment())
            try:
                reader = server.connect()
                # A key space of some size: graven tells keys apart by the table's leaves, of a dozen keys each.
                with server.connect() as filler:
                    for start in range(0, 20_000, 1000):
                        filler.sendall(b"".join(b"SET fill:%d value\r\n" % key for key in range(start, start + 1000)))
                        received = b""
                        while received.count(b"+OK\r\n") < 1000:
                            received += filler.recv(1 << 16)
                reader.sendall(b"SET quiet value\r\n")
                reader.recv(64)
                shim.set("sync delay:10 0 0 .aof")
                stop, written = threading.Event(), [0]

                def write(number: int) -> None:
                    with server.connect() as writer:
                        while not stop.is_set():
                            writer.sendall(b"SET busy:%d value\r\n" % number)
                            writer.recv(64)
                            written[0] += 1

                writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
                for writer in writers:
                    writer.start()
                latencies, end = [], time.monotonic() + seconds
                while time.monotonic() < end:
                    start = time.perf_counter()
                    reader.sendall(b"GET quiet\r\n")
                    reader.recv(64)
                    latencies.append(time.perf_counter() - start)
                    time.sleep(0.001)
                stop.set()
                for writer in writers:
                    writer.join()
                shim.set()
                result[name] = {
                    "p50_ms": percentile(latencies, 0.5) * 1e3, "p99_ms": percentile(latencies, 0.99) * 1e3,
                    "sets_per_second": written[0] / seconds,
                }
                print(f"slow disk: {name:7} GET p50 {result[name]['p50_ms']:.2f} ms, p99 {result[name]['p99_ms']:.2f} "
                      f"ms, beside {result[name]['sets_per_second']:.0f} SET/s", flush=True)
            finally:
                server.stop()
    print(f"slow disk: ratio of p99 {result['graven']['p99_ms'] / result['redis']['p99_ms']:.3f}")
    return result


LAYOUTS = {
    "plain": [],
    "preallocated": ["--aof-preallocate", "yes"],
    "preallocated, aligned": ["--aof-preallocate", "yes", "--aof-align", "4096"],
    "aligned": ["--aof-align", "4096"],
}


def syncs(binary: str, requests: int, rounds: int) -> dict:
    """Microseconds of a SET of 100 bytes under `always`, one at a time: little more than the fdatasync of the log."""

    def is_filled(server: Server) -> bool:
        sizes = [path.stat().st_size for path in Path(server.directory).glob("appendonlydir/*.incr.aof")]
        return any(size > 8 << 20 for size in sizes)

    def sets(connection: socket.socket, number: int) -> list[float]:
        taken = []
        for _ in range(number):
            began = time.perf_counter()
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n" + b"v" * 100 + b"\r\n")
            while not connection.recv(64).endswith(b"\r\n"):
                pass
            taken.append((time.perf_counter() - began) * 1e6)
        return taken

    replies: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for _ in range(rounds):
        for name, more in LAYOUTS.items():
            server = Server(binary, MODES["always"] + ["--aof-segment-size", "8mb"] + more)
            try:
                with server.connect() as connection:
                    deadline = time.monotonic() + 30
                    # The first segment of a start is not filled: the log goes on in one that is, when that is ready.
                    while more and "preallocate" in more[0] and not is_filled(server):
                        sets(connection, 1)
                        if time.monotonic() > deadline:
                            raise SystemExit("no segment was filled")
                    sets(connection, 50)
                    replies[name] += sets(connection, requests)
            finally:
                server.stop()
    result = {}
    for name, taken in replies.items():
        result[name] = {"p50_us": percentile(taken, 0.5), "p99_us": percentile(taken, 0.99), "mean_us": sum(taken) / len(taken)}
        ratio = result[name]["p50_us"] / result["plain"]["p50_us"]
        print(f"syncs: {name:22} SET p50 {result[name]['p50_us']:.0f} us, p99 {result[name]['p99_us']:.0f} us, p50 to plain {ratio:.3f}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="per command at pipeline 1; four times as many else")
    parser.add_argument("--only", choices=["cpu", "slow-disk", "syncs"])
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--graven", default=str(TARGET / "release" / "graven"))
    given = parser.parse_args()
    for needed in ("redis-server", "redis-benchmark"):
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is not on the PATH: install redis-server and redis-tools")
    binaries = {"graven": given.graven, "redis": shutil.which("redis-server")}
    figures = {}
    if given.only == "syncs":
        figures["syncs"] = syncs(given.graven, 2000, 3)
    if given.only in (None, "cpu"):
        figures["cpu"] = cpu_per_request(binaries, given.requests)
    if given.only in (None, "slow-disk"):
        figures["slow_disk"] = slow_disk(binaries, 5.0)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
