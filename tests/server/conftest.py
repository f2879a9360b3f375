"""Fixtures for the server's tests. Those that use `mode` hold for every way of serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from echoserver import Server, ServerConfig
from server.kit import PATIENCE, Gate, LogLines, Peer

MODES = ["threads", "workers"]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def log() -> LogLines:
    return LogLines()


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Run something in a thread: `background(function, *arguments)` returns its future."""
    with ThreadPoolExecutor(64, thread_name_prefix="test") as pool:
        yield pool.submit


@pytest.fixture
def serve(mode: str, log: LogLines, background: object) -> Iterator[Callable[..., Server]]:
    """Start a server: `serve(handler, option=value, ...)`. At the end it is stopped, and its books must balance."""
    servers: list[Server] = []

    def start(handler: Any = "echo", **options: Any) -> Server:
        config = ServerConfig(**{"port": 0, "mode": mode, "handler": handler, "drain_timeout": PATIENCE, **options})
        server = Server(config, log=log.logger)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
        stats = server.stats()
        assert stats.active == 0, f"still open: {[connection.peer for connection in server.connections()]}"
        assert stats.accepted == sum(stats.closed.values())
        assert server.connections() == []


@pytest.fixture
def connect(serve: object) -> Iterator[Callable[..., Peer]]:
    """Connect to a server: `connect(server)`. What the test leaves open is closed before the server stops."""
    with ExitStack() as peers:

        def connect_to(server: Server, **options: Any) -> Peer:
            return peers.enter_context(Peer(server.address, **options))

        yield connect_to


@pytest.fixture
def gate(connect: object) -> Iterator[Gate]:
    """A handler function that waits for the test; opened before the server stops, also when the test fails."""
    made = Gate()
    yield made
    made.open()
