#!/usr/bin/env python3
"""What the tools cost on large directories: bytes a second of `check`, and the most memory that each of them held.

    python3 benches/tools.py [--binary target/release/graven] [--mib 200 2000] [--directory /tmp]

For each size two data directories are made by a server: one whose data is in segments of the log, one whose data is in a base
(a rewrite's RDB with blocks). Each tool then runs on both, twice for `check`: the second run finds the files in memory. A figure of
memory that grows with the files would be a defect: it is bounded by blocks, frames, and the portions of `src/tools/portions.rs`.
"""

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VALUE_BYTES = 1000
PIPELINE = 500


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, binary, directory):
        self.port = free_port()
        words = ["--port", self.port, "--dir", directory, "--appendonly", "yes", "--appendfsync", "no", "--save", "", "--auto-aof-rewrite-percentage", 0]
        self.process = subprocess.Popen([binary, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=600)
                break
            except OSError:
                if time.time() > deadline:
                    raise
                time.sleep(0.05)
        self.replies = self.socket.makefile("rb")

    def fill(self, mib):
        random.seed(1)
        noise = random.randbytes(VALUE_BYTES * 64).hex().encode()
        count, sent = mib * (1 << 20) // (VALUE_BYTES + 60), 0
        while sent < count:
            batch = []
            for number in range(sent, min(sent + PIPELINE, count)):
                key = b"key:%010d" % number
                at = (number * 37) % (len(noise) - VALUE_BYTES)
                batch.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, VALUE_BYTES, noise[at : at + VALUE_BYTES]))
            self.socket.sendall(b"".join(batch))
            for _ in batch:
                assert self.replies.readline() == b"+OK\r\n"
            sent += len(batch)

    def call(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
        line = self.replies.readline()
        if line[:1] == b"$":
            text = self.replies.read(int(line[1:]) + 2)
            return text[:-2]
        return line

    def rewrite(self):
        self.call(b"BGREWRITEAOF")
        while b"aof_rewrite_in_progress:0" not in self.call(b"INFO", b"persistence") or b"aof_rewrite_scheduled:1" in self.call(
            b"INFO", b"persistence"
        ):
            time.sleep(0.2)

    def stop(self):
        self.socket.sendall(b"*1\r\n$8\r\nSHUTDOWN\r\n")
        self.process.wait(timeout=120)


def size(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def run(binary, *words):
    """Seconds, the most memory held in MiB, and the exit code."""
    begun = time.monotonic()
    process = subprocess.Popen([binary, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 3):
        sys.exit(f"{words}: {process.returncode}: {said.decode()}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024, process.returncode


def damage(directory):
    """A bit in the middle of the largest file."""
    largest = max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with open(largest, "r+b") as file:
        file.seek(largest.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def measure(binary, directory, what, work):
    bytes_ = size(directory)
    print(f"{what}: {bytes_ / 1e6:.0f} MB")

    def tell(name, *words):
        seconds, memory, code = run(binary, *words)
        print(f"  {name:<28} {seconds:7.2f} s {bytes_ / seconds / 1e9:6.2f} GB/s {memory:8.0f} MiB  exit {code}", flush=True)

    for name in ("check", "check, warm"):
        tell(name, "check", directory)
    tell("inspect --show histogram", "inspect", "--show", "histogram", directory)
    tell("inspect --show memory", "inspect", "--show", "memory", directory)
    tell("export --rdb", "export", "--rdb", directory, "--out", work / "out.rdb")
    tell("export --jsonl", "export", "--jsonl", directory, "--out", work / "out.jsonl")
    for name in ("out.rdb", "out.jsonl"):
        tell(f"import {name}", "import", work / name, "--into", work / "imported")
        shutil.rmtree(work / "imported")
    tell("diff", "diff", directory, work / "out.rdb")
    for name in ("out.rdb", "out.jsonl"):
        (work / name).unlink()
    if "log" in what:
        tell("restore", "restore", directory, "--before-command", "SET key:%010d" % (bytes_ // 3000), "--into", work / "restored")
        shutil.rmtree(work / "restored")
    damage(directory)
    tell("repair, the plan", "repair", directory)
    tell("repair --apply --into", "repair", directory, "--apply", "--into", work / "repaired")
    shutil.rmtree(work / "repaired")
    tell("repair --apply", "repair", directory, "--apply")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(Path(__file__).parent.parent / "target/release/graven"))
    parser.add_argument("--mib", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--directory", default=None)
    arguments = parser.parse_args()
    for mib in arguments.mib:
        for what in ("log", "base"):
            with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
                work = Path(name)
                (work / "data").mkdir()
                server = Server(arguments.binary, work / "data")
                server.fill(mib)
                if what == "base":
                    server.rewrite()
                server.stop()
                measure(arguments.binary, work / "data", f"{mib} MiB in the {what}", work)


if __name__ == "__main__":
    main()
