"""Workers and producers of the Celery application `support.tasks` as processes of their own, against one server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .server import Server, wait_until

PYTHON_ROOT = Path(__file__).resolve().parents[1]


class Program:
    """A subprocess in a session of its own, so that a worker and its children can be killed at once."""

    def __init__(self, arguments, env, log: Path):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(arguments, env=env, cwd=PYTHON_ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)

    def kill9(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)

    def stop(self, seconds: float = 60.0) -> int | None:
        """A warm shutdown; a worker that does not end in time is killed."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill9()
            return None

    def tail(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-30:])


class CeleryWorld:
    """Broker on database 0, results on database 1, files in a directory; everything it started ends with it."""

    def __init__(self, server: Server, directory: Path, **environment):
        self.server = server
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "TEST_BROKER": server.url(0),
            "TEST_BACKEND": server.url(1),
            "TEST_WORK": str(self.directory),
            "TEST_VISIBILITY": "3",
            **{name: str(value) for name, value in environment.items()},
        }
        self.programs: list[Program] = []

    def __enter__(self) -> "CeleryWorld":
        return self

    def __exit__(self, kind, *_exc) -> None:
        for program in self.programs:
            program.kill9()
            if kind is not None:
                print(f"---- {program.log.name}\n{program.tail()}")

    def env(self) -> dict:
        return {**os.environ, **self.environment, "PYTHONPATH": str(PYTHON_ROOT), "PYTHONUNBUFFERED": "1"}

    def start_worker(self, *options: str, pool: str = "threads", concurrency: int = 2, wait: bool = True) -> Program:
        log = self.directory / f"worker-{len(self.programs)}.log"
        arguments = [sys.executable, "-m", "celery", "-A", "support.tasks", "worker", f"--pool={pool}", f"--concurrency={concurrency}", "--loglevel=INFO"]
        arguments += [f"--hostname=w{len(self.programs)}@test", "--without-mingle", "--without-gossip", *options]
        program = Program(arguments, self.env(), log)
        self.programs.append(program)
        if wait:
            wait_until(lambda: " ready." in log.read_text("utf-8", "replace") or program.process.poll() is not None, 40, "the worker is ready")
            assert program.process.poll() is None, program.tail()
        return program

    def supervised(self, condition):
        """`condition` for `wait_until`, with the worker started anew when it has ended: kombu 5.7 fails while it returns unacknowledged
        messages to a broker that is away, whichever server that is, and a site has a supervisor for it."""

        def check():
            if self.programs[0].process.poll() is not None:
                self.programs[0] = self.start_worker(wait=False)
                self.programs.pop()
            return condition()

        return check

    def start_producer(self, count: int, pause: float) -> Program:
        arguments = [sys.executable, "-m", "support.producer", str(count), str(pause)]
        program = Program(arguments, self.env(), self.directory / f"producer-{len(self.programs)}.log")
        self.programs.append(program)
        return program

    def let_go(self) -> None:
        """Ends every `held` task, and those to come."""
        (self.directory / "go").touch()

    def ping(self, app) -> dict:
        """The answers of the workers to a ping, of which there is one at least."""
        return wait_until(lambda: app.control.inspect(timeout=1.5).ping(), 30, "a worker answers")

    def lines(self, name: str) -> list[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def acknowledged(self) -> list[str]:
        return self.lines("acknowledged")

    def executed(self) -> set[str]:
        return set(self.lines("executed"))
