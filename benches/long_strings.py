#!/usr/bin/env python3
"""What strings of 10 KB to 100 MB cost to write and to read, graven beside stock redis-server in the same run.

    cargo build --release && python3 benches/long_strings.py [--megabytes N] [--json FILE]

One connection sends SET and GET of one value after another. CPU time is the server process's own, all threads, user and
system, per megabyte; memory is the most that the process had resident while it did that, less what it had before. Each
size gets a fresh server of each kind, without persistence and with the append-only file under `everysec`.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from against_redis import MODES, TARGET, Server

SIZES = {"10 KB": 10_000, "100 KB": 100_000, "1 MB": 1_000_000, "100 MB": 100_000_000}
KEYS = 2


def peak_kib(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def read_exactly(connection, count: int, buffer: bytearray) -> None:
    while count > 0:
        received = connection.recv_into(buffer, min(count, len(buffer)))
        if received == 0:
            raise SystemExit("the server has closed the connection")
        count -= received


def measure(binary: str, arguments: list[str], size: int, rounds: int) -> dict:
    value = (bytes(range(33, 127)) * (size // 94 + 1))[:size]
    buffer = bytearray(1 << 20)
    header = b"$%d\r\n" % size
    server = Server(binary, arguments)
    try:
        with server.connect() as connection:
            before_peak, figures = peak_kib(server), {}
            for name in ("set", "get"):
                cpu, began = server.cpu_seconds(), time.monotonic()
                for n in range(rounds):
                    key = b"key:%d" % (n % KEYS)
                    if name == "set":
                        connection.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n%s" % (len(key), key, header))
                        connection.sendall(value)
                        connection.sendall(b"\r\n")
                        read_exactly(connection, len(b"+OK\r\n"), buffer)
                    else:
                        connection.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
                        read_exactly(connection, len(header) + size + 2, buffer)
                spent = server.cpu_seconds() - cpu
                figures[name] = spent * 1e3 / (size * rounds / 1e6)
                figures[f"{name}_seconds"] = time.monotonic() - began
            figures["peak"] = (peak_kib(server) - before_peak) * 1024 / (KEYS * size)
            return figures
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400, help="data written and read for each size")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    binaries = {"graven": str(TARGET / "release" / "graven"), "redis": shutil.which("redis-server")}
    rows = []
    for mode in ("memory", "everysec"):
        for label, size in SIZES.items():
            rounds = max(options.megabytes * 1_000_000 // size, 4)
            measured = {name: measure(binary, MODES[mode], size, rounds) for name, binary in binaries.items()}
            ours, theirs = measured["graven"], measured["redis"]
            rows.append({"mode": mode, "size": size, **measured})
            for name in ("set", "get"):
                print(f"{mode:9} {name} {label:>7}: graven {ours[name]:6.3f} ms CPU per MB, redis {theirs[name]:6.3f}, "
                      f"ratio {ours[name] / theirs[name]:.2f}", flush=True)
            print(f"{mode:9} peak of memory: graven {ours['peak']:.2f} of the data, redis {theirs['peak']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
