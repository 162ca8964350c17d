#!/usr/bin/env python3
"""What a snapshot costs those who are served meanwhile, graven beside stock redis-server in the same run.

    cargo build --release && python3 benches/snapshots.py [--keys 10000000] [--only start latency memory cpu speed]
                                                          [--rate 2000] [--seconds 5] [--rounds 3] [--binary PATH] [--json FILE]

    start    longest time that the engine is held by the beginning of a snapshot: the command's own time, and the longest
             gap that a client sees which asks without pause
    latency  p99.9 and longest time of a SET sent at a fixed rate, from when each was due (open loop): quiet, during BGSAVE, and
             with a log during BGREWRITEAOF; medians of several rounds. The generator runs ahead of everything else on the
             machine where the system lets it (SCHED_FIFO, as root): otherwise its own waiting for a processor is measured too
    memory   PSS of all processes during a snapshot under writers at full speed, uniform over the keys, as part of what it
             was before; and some seconds later
    cpu      processor time of a SET (all threads but the one that saves, no child) with a snapshot alive, by that without
    speed    MB/s of the file written, on disk and on tmpfs, with values that do not compress; beside it what the disk takes
             from a program that only writes

Keys of 16 bytes with values of 32 (`speed`: 180). Snapshots are kept alive (`memory`, `cpu`) by slowing them down: rate limit
here, `rdb-key-save-delay` at stock. Missing a target ends the run with an error.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from against_redis import CLOCK_TICKS, TARGET, free_port

SAVERS = ("rdb-save", "rdb-encode", "rdb-sync", "aof-rewrite")
BATCH = 2000
STARTS = 5
SETTLED_SECONDS = 15


class Server:
    def __init__(self, name: str, binary: str, directory: Path, arguments: list[str]):
        self.name, self.directory, self.port = name, directory, free_port()
        directory.mkdir(parents=True, exist_ok=True)
        command = [binary, "--port", str(self.port), "--dir", str(directory), "--save", "", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.link = Link(self.port)
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                # The server says nothing when it is there.
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def processes(self) -> list[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def pss(self) -> int:
        total = 0
        for pid in self.processes():
            try:
                found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
            except OSError:
                continue
            total += int(found[1]) * 1024 if found else 0
        return total

    def settled(self, before: int) -> float:
        """What is left of a snapshot's memory after the time that an allocator keeps pages for, as part of what it was before."""
        time.sleep(SETTLED_SECONDS)
        return (self.pss() - before) / before

    def cpu(self) -> float:
        """Seconds of all threads of the server itself but those that save."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name, rest = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue
            if name not in SAVERS:
                fields = rest.split()
                total += int(fields[11]) + int(fields[12])
        return total / CLOCK_TICKS

    def info(self, section: str) -> dict:
        return dict(line.split(":", 1) for line in self.link.call("INFO", section).decode().split("\r\n") if ":" in line)

    def saving(self) -> bool:
        seen = self.info("persistence")
        return "1" in (seen["rdb_bgsave_in_progress"], seen["aof_rewrite_in_progress"])

    def wait(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while self.saving():
            if time.monotonic() > deadline:
                raise TimeoutError("the snapshot does not end")
            time.sleep(0.02)

    def end_child(self) -> None:
        """Stock's child keeps the delay with which it was begun."""
        for pid in self.processes()[1:]:
            os.kill(pid, signal.SIGUSR1)

    def slow_down(self, on: bool) -> None:
        if self.name == "graven":
            self.link.call("CONFIG", "SET", "snapshot-max-mb-per-sec", "1" if on else "0")
        else:
            self.link.call("CONFIG", "SET", "rdb-key-save-delay", "20" if on else "0")

    def fill(self, keys: int, value_bytes: int) -> None:
        noise = random.Random(1).randbytes(1 << 20)
        for start in range(0, keys, BATCH):
            batch = [self.set(n, noise, value_bytes) for n in range(start, min(start + BATCH, keys))]
            self.link.socket.sendall(b"".join(batch))
            self.link.skip_oks(len(batch))

    @staticmethod
    def set(n: int, noise: bytes, value_bytes: int) -> bytes:
        at = n * 7919 % (len(noise) - value_bytes)
        return b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (n, value_bytes, noise[at:at + value_bytes])


class Link:
    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("the server has gone")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def call(self, *words: str) -> bytes:
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        line = self.line()
        if line.startswith(b"-"):
            raise RuntimeError(line.decode())
        if not line.startswith(b"$"):
            return line[1:]
        length = int(line[1:]) + 2
        while len(self.buffer) < length:
            self.buffer += self.socket.recv(1 << 16)
        body, self.buffer = self.buffer[:length - 2], self.buffer[length:]
        return body

    def skip_oks(self, count: int) -> None:
        wanted = count * 5 - len(self.buffer)
        while wanted > 0:
            wanted -= len(self.socket.recv(min(wanted, 1 << 20)))
        self.buffer = b""


def start(server: Server, arguments) -> dict:
    prober, ping = Link(server.port), b"*1\r\n$4\r\nPING\r\n"

    def longest(seconds: float, meanwhile) -> float:
        worst, asked, end = 0.0, False, time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            if not asked and end - now < seconds - 0.2:
                meanwhile()
                asked = True
            prober.socket.sendall(ping)
            prober.line()
            worst = max(worst, time.perf_counter() - now)
        return worst

    other = Link(server.port)
    quiet = longest(1, lambda: None)
    gaps, spent = [], []
    for _ in range(STARTS):
        server.link.call("CONFIG", "RESETSTAT")
        gaps.append(longest(1, lambda: other.socket.sendall(b"*1\r\n$6\r\nBGSAVE\r\n")) * 1000)
        other.line()
        spent.append(float(re.search(r"usec=(\d+)", server.info("commandstats")["cmdstat_bgsave"])[1]) / 1000)
        server.end_child()
        server.wait()
    # One that the machine interrupts says nothing about the server.
    return {"command_ms": statistics.median(spent), "longest_ms": max(spent), "gap_ms": statistics.median(gaps), "quiet_gap_ms": quiet * 1000}


def generator(place: Path) -> Path:
    """The load generator, built."""
    built = place / "open_loop"
    source = Path(__file__).with_name("open_loop.rs")
    subprocess.run(["rustc", "--edition", "2024", "-O", "--cap-lints", "allow", "-o", str(built), str(source)], check=True)
    return built


def first_on_the_machine() -> None:
    """Has this process run before any other, where the system lets it."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def open_loop(built: Path, server: Server, arguments, meanwhile: str | None) -> tuple[float, float]:
    """p99.9 and the longest, in milliseconds."""
    command = [str(built), *map(str, (server.port, arguments.keys, arguments.rate, arguments.seconds)), *([meanwhile] if meanwhile else [])]
    p999, longest = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=first_on_the_machine).stdout.split()
    return float(p999), float(longest)


def latency(server: Server, arguments) -> dict:
    built = generator(server.directory)
    words = {"quiet": None, "bgsave": "BGSAVE"}
    if server.info("persistence")["aof_enabled"] == "1":
        words["rewrite"] = "BGREWRITEAOF"
    rounds = {name: [] for name in words}
    for _ in range(arguments.rounds):
        for name, word in words.items():
            rounds[name].append(open_loop(built, server, arguments, word))
            server.wait()
    measured = {}
    for name, figures in rounds.items():
        measured[f"{name}_ms"] = statistics.median(p999 for p999, _ in figures)
        measured[f"{name}_longest_ms"] = statistics.median(longest for _, longest in figures)
    return measured


def overwrite(server: Server, keys: int, count: int) -> subprocess.CompletedProcess:
    command = ["redis-benchmark", "-p", str(server.port), "-n", str(count), "-r", str(keys), "-d", "32", "-P", "16", "-c",
               "8", "-q", "-t", "set"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def memory(server: Server, arguments) -> dict:
    """Overwrites go on for as long as a snapshot at full speed takes, then for as many writes as there are keys."""
    before, peak = server.pss(), 0
    command = ["redis-benchmark", "-p", str(server.port), "-n", "1000000000", "-r", str(arguments.keys), "-d", "32", "-P", "16",
               "-c", "8", "-q", "-t", "set"]
    writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    written = -int(server.info("stats")["total_commands_processed"])
    server.link.call("BGSAVE")
    while server.saving():
        peak = max(peak, server.pss())
        time.sleep(0.05)
    written += int(server.info("stats")["total_commands_processed"])
    writer.kill()
    writer.wait()
    measured = {"data_mb": before / 1e6, "share": (peak - before) / before, "writes": written, "share_settled": server.settled(before)}
    server.slow_down(True)
    server.link.call("BGSAVE")
    # Uniform with repeats: 3 writes a key change 95 in 100.
    overwrite(server, arguments.keys, arguments.keys * 3)
    measured["share_every_key"] = (server.pss() - before) / before
    server.slow_down(False)
    server.end_child()
    server.wait(240)
    measured["share_after"] = server.settled(before)
    return measured


def cpu(server: Server, arguments) -> dict:
    count = min(arguments.keys, 1_000_000)

    def cost() -> float:
        used = server.cpu()
        overwrite(server, arguments.keys, count)
        return (server.cpu() - used) / count * 1e9

    cost()
    quiet = cost()
    server.slow_down(True)
    server.link.call("BGSAVE")
    alive = cost()
    kept = server.saving()
    server.slow_down(False)
    server.end_child()
    server.wait(240)
    return {"quiet_ns": quiet, "alive_ns": alive, "ratio": alive / quiet, "alive_throughout": kept}


def speed(server: Server, arguments) -> dict:
    dump, rates, used = server.directory / "dump.rdb", [], []
    for _ in range(3):
        began, cpu_before = time.perf_counter(), total_cpu(server)
        server.link.call("SAVE")
        rates.append(dump.stat().st_size / 1e6 / (time.perf_counter() - began))
        used.append((total_cpu(server) - cpu_before) / (dump.stat().st_size / 1e6) * 1000)
    return {"mb_per_s": max(rates), "disk_mb_per_s": bare_writing(server.directory / "bare", dump.stat().st_size), "cpu_ms_per_mb": min(used)}


def bare_writing(path: Path, size: int) -> float:
    """MB/s of writing so many bytes and nothing else, synced as saves are."""
    chunk, began, synced = os.urandom(1 << 20), time.perf_counter(), 0
    with open(path, "wb", buffering=0) as file:
        for written in range(0, size, len(chunk)):
            file.write(chunk)
            if written - synced >= 4 << 20:
                os.fdatasync(file.fileno())
                synced = written
        os.fsync(file.fileno())
    path.unlink()
    return size / 1e6 / (time.perf_counter() - began)


def total_cpu(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def run(part: str, arguments, place: Path) -> dict:
    measured = {}
    keys, value_bytes = (min(arguments.keys, 2_000_000), 180) if part.startswith("speed") else (arguments.keys, 32)
    persistence = ["--appendonly", "yes", "--appendfsync", "everysec"] if part == "latency" else ["--appendonly", "no"]
    for name, binary in (("stock", "redis-server"), ("graven", arguments.binary)):
        server = Server(name, binary, place / name, persistence)
        try:
            server.fill(keys, value_bytes)
            measured[name] = {"start": start, "latency": latency, "memory": memory, "cpu": cpu}.get(part, speed)(server, arguments)
        finally:
            server.stop()
            shutil.rmtree(place / name, ignore_errors=True)
        print(f"{part:12} {name:7} " + "  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in measured[name].items()), flush=True)
    return measured


def verdicts(part: str, measured: dict) -> list[tuple[str, bool]]:
    ours, stock = measured["graven"], measured["stock"]
    if part == "start":
        return [("the start of a snapshot holds the engine for less than 1 ms", ours["command_ms"] < 1)]
    if part == "latency":
        checks = []
        for how in ("bgsave_ms", "rewrite_ms"):
            if how in ours:
                worst = max(stock["bgsave_ms"], stock.get("rewrite_ms", 0))
                checks.append((f"p99.9, {how}: within twice of quiet", ours[how] <= 2 * ours["quiet_ms"]))
                checks.append((f"p99.9, {how}: a fifth of stock's worst", ours[how] <= worst / 5))
        return checks
    if part == "memory":
        return [("extra memory under writers at full speed <= 25 %", ours["share"] <= 0.25),
                ("extra memory with every key overwritten <= 80 %", ours["share_every_key"] <= 0.8)]
    if part == "cpu":
        return [("a SET beside a snapshot costs <= 1.5 of one without", ours["ratio"] <= 1.5)]
    wanted = min(2 * stock["mb_per_s"], 0.9 * ours["disk_mb_per_s"])
    return [("twice stock's MB/s, or nine tenths of what the disk takes", ours["mb_per_s"] >= wanted)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="*", default=["start", "latency", "memory", "cpu", "speed"])
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=5, help="of load (latency), for each figure of a round")
    parser.add_argument("--rounds", type=int, default=3, help="of latency")
    parser.add_argument("--binary", default=str(TARGET / "release/graven"))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    parts = [part for name in arguments.only for part in (["speed-disk", "speed-tmpfs"] if name == "speed" else [name])]
    results, missed = {}, []
    for part in parts:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if part == "speed-tmpfs" else TARGET) as place:
            results[part] = run(part, arguments, Path(place))
        for text, met in verdicts(part, results[part]):
            print(f"  {'met   ' if met else 'MISSED'} {text}")
            missed += [] if met else [text]
    if args_json := arguments.json:
        Path(args_json).write_text(json.dumps(results, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
