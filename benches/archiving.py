#!/usr/bin/env python3
"""What archiving costs: how fast it goes, how much of a processor it takes, and what a client feels of it.

    python3 benches/archiving.py [--binary target/release/graven] [--mib 500] [--rates 64 0] [--directory /tmp]

A server's log of so many MiB is superseded by a rewrite and goes into the archive at each rate (`archive-max-mb-per-sec`; 0: as fast as it
can), while one client sets keys one by one under `appendfsync everysec`. Its percentiles are shown beside those of a quiet server, and the
memory of the page cache that is used before and behind: nothing of what is read for the archive should stay in it.
"""

import argparse
import tempfile
import time
from pathlib import Path

from tools import Server


def settle(server):
    while True:
        figures = dict(line.split(":", 1) for line in server.call(b"INFO", b"persistence").decode().split("\r\n") if ":" in line)
        if figures["archive_in_progress"] == "0" and figures["archive_pending_files"] == "0" and figures["aof_rewrite_in_progress"] == "0":
            return figures
        time.sleep(0.05)


def thread_seconds(server, name):
    """Seconds of processor time that a thread of the server has used."""
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return sum(map(int, (task / "stat").read_text().rpartition(")")[2].split()[11:13])) / 100
    return 0.0


def cached_mib():
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Cached:")) / 1024


def latencies(server, until):
    """Milliseconds of each SET until a condition holds, asked after every hundredth."""
    took = []
    while True:
        for number in range(100):
            begun = time.perf_counter()
            server.call(b"SET", b"one:%d" % number, b"x" * 100)
            took.append((time.perf_counter() - begun) * 1000)
        if until():
            return sorted(took)


def tell(name, took):
    at = {label: took[min(len(took) - 1, int(len(took) * share))] for label, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    print(f"  {name:<12} " + "  ".join(f"{label} {value:6.3f} ms" for label, value in at.items()) + f"  longest {took[-1]:6.1f} ms  ({len(took)} calls)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(Path(__file__).parent.parent / "target/release/graven"))
    parser.add_argument("--mib", type=int, default=500)
    parser.add_argument("--rates", type=int, nargs="+", default=[64, 0])
    parser.add_argument("--directory", default=None)
    arguments = parser.parse_args()
    for rate in arguments.rates:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            server = Server(arguments.binary, Path(name))
            for setting in (b"aof-retain-size 100gb", b"archive-max-mb-per-sec %d" % rate, b"appendfsync everysec"):
                server.call(b"CONFIG", b"SET", *setting.split())
            server.fill(arguments.mib)
            end = time.monotonic() + 3
            quiet = latencies(server, lambda: time.monotonic() > end)
            # The data goes, and with it what a rewrite would have to write: its work is not what is measured.
            server.call(b"FLUSHALL")
            cpu, cached = thread_seconds(server, "archiver"), cached_mib()
            begun = time.monotonic()
            server.call(b"BGREWRITEAOF")

            def is_archived():
                text = server.call(b"INFO", b"persistence")
                return b"archive_pending_files:0" in text and b"archive_files:0" not in text and b"archive_in_progress:0" in text

            beside = latencies(server, is_archived)
            seconds = time.monotonic() - begun
            figures = settle(server)
            used = thread_seconds(server, "archiver") - cpu
            limit = f"{rate} MB/s" if rate else "no limit"
            print(f"{arguments.mib} MiB, {limit}: {seconds:.1f} s, {arguments.mib * 1.048576 / seconds:.0f} MB/s, {used:.1f} s of a processor "
                  f"({100 * used / seconds:.0f} %), packed to {int(figures['archive_bytes']) / 1e6:.0f} MB; page cache {cached_mib() - cached:+.0f} MiB")
            tell("quiet", quiet)
            tell("archiving", beside)
            server.stop()


if __name__ == "__main__":
    main()
