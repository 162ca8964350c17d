#!/usr/bin/env python3
"""What watching costs: latency tracking, the memory limit and ACL in instructions per command.

    cargo build --release && python3 benches/overheads.py [--requests 10000] [--json FILE]

Instructions that the thread which executes spends on a command, with one thing switched on or off: counted by valgrind's
callgrind, so that the machine's load does not matter; stock redis-server beside it. Two runs of different length, of which the
difference counts. Ends with an error where something costs more than a tenth of the command, and more than in stock.
"""

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from against_redis import TARGET, free_port
from memory import command

PIPELINE = 16
KEYS = 1000
# What is switched: commands sent before the load; the load's own connection sends them.
VARIANTS = {
    "all off": [("CONFIG", "SET", "latency-tracking", "no")],
    "latency tracking": [("CONFIG", "SET", "latency-tracking", "yes")],
    "memory limit": [("CONFIG", "SET", "latency-tracking", "no"), ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
                     ("CONFIG", "SET", "maxmemory", "4gb")],
    "user with key patterns": [("CONFIG", "SET", "latency-tracking", "no"),
                               ("ACL", "SETUSER", "worker", "on", ">secret", "+@all", "~key:*", "~other:*", "&*"),
                               ("AUTH", "worker", "secret")],
}
LOADS = {"SET": lambda n: command("SET", b"key:%06d" % (n % KEYS), b"v" * 32), "GET": lambda n: command("GET", b"key:%06d" % (n % KEYS))}
LINES = {"SET": 1, "GET": 2}
COST_MAX = 0.1


def counted(binary: str, setup: list[tuple], load: str, requests: int) -> int:
    """Instructions of the thread that spent most."""
    with tempfile.TemporaryDirectory(prefix="graven-bench-") as place:
        port = free_port()
        words = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={place}/out",
                 binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", place, "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
                    break
                except OSError:
                    if time.monotonic() > deadline or server.poll() is not None:
                        raise
                    time.sleep(0.1)
            with connection:
                for words in setup:
                    reply = b"-LOADING"
                    while reply.startswith(b"-LOADING"):
                        connection.sendall(command(*words))
                        reply = connection.recv(1 << 12)
                    assert reply.startswith(b"+OK"), (words, reply)
                for what, count in (("SET", KEYS), (load, requests)):
                    for start in range(0, count, PIPELINE):
                        connection.sendall(b"".join(LOADS[what](n) for n in range(start, start + PIPELINE)))
                        missing = PIPELINE * LINES[what]
                        while missing > 0:
                            missing -= connection.recv(1 << 16).count(b"\r\n")
            server.send_signal(signal.SIGTERM)
            server.wait(120)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
        totals = (re.findall(r"^(?:summary|totals): (\d+)", file.read_text(), re.M) for file in Path(place).glob("out*"))
        return max(int(total) for found in totals for total in found)


def cost(arguments) -> tuple[dict, list[str]]:
    rows, missed = {}, []
    for who, binary in (("graven", arguments.binary), ("stock", shutil.which("redis-server"))):
        for load in LOADS:
            figures = {}
            for name, setup in VARIANTS.items():
                few, many = (counted(binary, setup, load, arguments.requests * times) for times in (1, 3))
                figures[name] = (many - few) / (2 * arguments.requests)
            base = figures["all off"]
            more = {name: figure - base for name, figure in figures.items() if name != "all off"}
            rows[f"{who} {load}"] = figures
            print(f"{who:7} {load:4} {base:8.0f} instructions   " + "   ".join(f"{name} {extra:+.0f}" for name, extra in more.items()), flush=True)
    for load in LOADS:
        ours, theirs = rows[f"graven {load}"], rows[f"stock {load}"]
        for name in VARIANTS:
            more, in_stock = ours[name] - ours["all off"], theirs[name] - theirs["all off"]
            if more > max(ours["all off"] * COST_MAX, in_stock):
                missed.append(f"{load}, {name}")
    return rows, missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--binary", default=str(TARGET / "release" / "graven"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows, missed = cost(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    for what in missed:
        print(f"MISSED {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
