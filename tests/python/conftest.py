"""Fixtures and rules for all suites: servers that never outlive their test, logs shown with a failure, no skips where CI is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.server import Server, end_all, stock_binary, stock_under_test  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "graven_only: promises that stock does not make; not run while the suites are checked against stock")


def pytest_collection_modifyitems(items):
    if stock_under_test():
        for item in items:
            if item.get_closest_marker("graven_only"):
                item.add_marker(pytest.mark.skip(reason="the server under test is stock"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not stock_under_test():
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    if report.failed and call.when == "call":
        for server in Server.running:
            report.sections.append((f"log of {server.name}", server.log_tail()))


@pytest.fixture
def make_server(tmp_path):
    """Makes servers (not started) of the program under test; they end with the test."""
    made = []

    def make(name: str = "graven", directory: Path | None = None, **options) -> Server:
        server = Server(directory or tmp_path / f"{name}-{len(made)}", name=name, **options)
        made.append(server)
        return server

    yield make
    for server in made:
        server.end()


@pytest.fixture
def make_stock(make_server):
    """Makes stock servers (not started)."""

    def make(name: str = "stock", **options) -> Server:
        return make_server(name, binary=stock_binary(), **options)

    return make


@pytest.fixture
def server(make_server):
    """A started server of the program under test, under `appendfsync always`."""
    return make_server().start()


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running():
    yield
    end_all()


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """graven and stock, started, without an AOF and with the module's `PAIR_DIRECTIVES`; they end with the module."""
    base = tmp_path_factory.mktemp(request.module.__name__)
    directives = {"appendonly": "no", **getattr(request.module, "PAIR_DIRECTIVES", {})}
    ours = Server(base / "graven", name="graven", directives=directives).start()
    stock = Server(base / "stock", name="stock", binary=stock_binary(), directives=directives).start()
    yield ours, stock
    ours.end()
    stock.end()
