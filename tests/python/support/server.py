"""Starts, stops and kills servers for tests: the one under test and the stock server beside it.

A server runs in the foreground on a free loopback port with its data in a directory of its own and its log in a file, and is
signalled by its process id only. `GRAVEN_TEST_SERVER` puts another program in the place of graven, for checking the suites
themselves against stock.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .resp import Closed, Connection, ServerError

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 120.0
# What one waits for where only its coming is promised, not when: the machine may be slow, and busy with other work.
PATIENCE = 60.0


def graven_binary() -> str:
    """The binary under test: GRAVEN_TEST_SERVER, else what cargo built."""
    named = os.environ.get("GRAVEN_TEST_SERVER")
    if named:
        return shutil.which(named) or named
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return str(target / "debug" / "graven")


def stock_binary() -> str:
    """The stock redis-server that the test command found or unpacked."""
    found = os.environ.get("GRAVEN_STOCK_SERVER") or shutil.which("redis-server")
    if not found:
        raise RuntimeError("no redis-server: run tests/run.py, which installs one")
    return found


def stock_under_test() -> bool:
    """True while the suites run against stock in place of graven."""
    return "redis-server" in Path(graven_binary()).name


handed_out: set[int] = set()


def free_port() -> int:
    """A loopback port below the ephemeral range, so that no outgoing connection can take it between two starts; none twice."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        if port in handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            handed_out.add(port)
            return port


def wait_until(condition, seconds: float, what: str, pause: float = 0.02):
    """Polls `condition` until it returns something true, which is returned; fails with `what` when the time is over.

    `seconds` is what it may take on a machine at rest; a busy one is given at least `PATIENCE`.
    """
    seconds = max(2 * seconds, PATIENCE)
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


class Server:
    """One server process at a time, on one port and one directory; `start` may follow every kind of end."""

    running: list["Server"] = []

    def __init__(self, directory: Path, *, binary: str | None = None, name: str = "server", directives: dict | None = None, env: dict | None = None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.binary = binary or graven_binary()
        self.name = name
        self.port = free_port()
        self.log_path = self.directory.parent / f"{name}-{self.port}.log"
        self.env = env or {}
        self.process: subprocess.Popen | None = None
        self.directives = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.directory,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "enable-debug-command": "yes",
        }
        self.directives.update(directives or {})

    def arguments(self) -> list[str]:
        words = [self.binary]
        for name, value in self.directives.items():
            words += [f"--{name}", *(map(str, value) if isinstance(value, (list, tuple)) else [str(value)])]
        return words

    def start(self, *, wait: bool = True, **directives) -> "Server":
        assert self.process is None or self.process.poll() is not None, "already running"
        self.directives.update({name.replace("_", "-"): value for name, value in directives.items()})
        with open(self.log_path, "ab") as log:
            log.write(b"---- start\n")
            log.flush()
            self.process = subprocess.Popen(
                self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env}, cwd=self.directory.parent
            )
        if self not in Server.running:
            Server.running.append(self)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        end = time.monotonic() + seconds
        while True:
            code = self.process.poll()
            if code is not None:
                raise AssertionError(f"{self.name} ended with {code} while starting:\n{self.log_tail()}")
            try:
                with self.connect(timeout=10.0) as connection:
                    connection.call("PING")
                    return
            except ServerError as error:
                if error.text.startswith("NOAUTH"):
                    return
                if not error.text.startswith("LOADING"):
                    raise
            except (OSError, Closed):
                pass
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} did not answer within {seconds:g} s:\n{self.log_tail()}")
            time.sleep(0.01)

    def connect(self, **options) -> Connection:
        return Connection(self.port, **options)

    def url(self, db: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{db}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill9(self) -> None:
        """The crash: no handler of the process runs."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self, seconds: float = PATIENCE) -> int:
        """An orderly end by SIGTERM; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            tail = self.log_tail()
            self.kill9()
            raise AssertionError(f"{self.name} was still running {seconds:g} s after SIGTERM:\n{tail}") from None

    def end(self) -> None:
        if self.alive():
            self.signal(signal.SIGCONT)
            self.kill9()
        if self in Server.running:
            Server.running.remove(self)

    def log_text(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def log_since_start(self) -> str:
        return self.log_text().rsplit("---- start\n", 1)[-1]

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])


def end_all() -> None:
    for server in list(Server.running):
        server.end()
