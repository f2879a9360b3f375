"""Fixtures of the plugin's tests. `tcp_server` is the plugin's own, made here: the plugin may not be installed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from echoserver.pytest_plugin import TcpServer, TcpServerFactory
from plugin.kit import Runs
from support import PATIENCE


@pytest.fixture(params=["threads", "workers"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tcp_server() -> Iterator[TcpServerFactory]:
    factory = TcpServerFactory()
    yield factory
    assert factory.close() == []


@pytest.fixture
def connect() -> Iterator[Callable[[TcpServer], socket.socket]]:
    """Connect to a server, until the test has ended."""
    with ExitStack() as peers:
        yield lambda server: peers.enter_context(socket.create_connection(server.address, PATIENCE))


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Run pytest in a process of its own, in an environment in which the plugin is installed."""
    return Runs(pytester, monkeypatch)
