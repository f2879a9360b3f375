"""Fixtures for the stress tests, and the report of their figures at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stress.kit import FIGURES, Figures, Started

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not FIGURES:
        return
    terminalreporter.section("figures")
    for test, what, figure, bound in FIGURES:
        terminalreporter.write_line(f"{test}: {what} = {figure}" + (f"  (bound: {bound})" if bound else ""))
    rows = [f"| {test} | {what} | {figure} | {bound} |" for test, what, figure, bound in FIGURES]
    REPORT.write_text("\n".join(["| Test | What | Figure | Bound |", "|---|---|---|---|", *rows, ""]))
    terminalreporter.write_line(f"also in {REPORT}")
