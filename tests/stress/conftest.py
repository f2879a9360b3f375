"""Fixtures for the stress tests, and the report of their figures at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stress.kit import FIGURES, Figures, Started
from stress.tls_kit import Certificates, Secure

REPORT = Path("stress-report.md")


@pytest.fixture(params=["threads", "workers"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.node.name)


@pytest.fixture
def serve(mode: str) -> Iterator[object]:
    """Return a function that starts a server as a process: `serve("--max-connections", 5)`."""
    servers: list[Started] = []

    def start(*options: object) -> Started:
        servers.append(Started("--mode", mode, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(mode: str, certificates: Certificates) -> Iterator[object]:
    """Start a server that listens with TLS and without: `secure("--max-connections", 5)`."""
    servers: list[Secure] = []

    def start(*options: object, proxy: bool = False) -> Secure:
        servers.append(Secure(certificates, mode, *options, proxy=proxy))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not FIGURES:
        return
    terminalreporter.section("figures")
    for test, what, figure, bound in FIGURES:
        terminalreporter.write_line(f"{test}: {what} = {figure}" + (f"  (bound: {bound})" if bound else ""))
    rows = [f"| {test} | {what} | {figure} | {bound} |" for test, what, figure, bound in FIGURES]
    REPORT.write_text("\n".join(["| Test | What | Figure | Bound |", "|---|---|---|---|", *rows, ""]))
    terminalreporter.write_line(f"also in {REPORT}")
