"""Fixtures of the server's tests. Tests that use `mode` run in each mode, those marked `each_transport` over each.

`start` and `wire` are for tests that are marked `everywhere`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from echoserver import Server, ServerConfig
from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason
from echoserver.serving.connection import Connection
from echoserver.serving.limits import Limits
from echoserver.serving.rate import TokenBucket
from server.connection_kit import serve_blocking, serve_events, tcp_pair
from server.fault_kit import wired, with_faults  # noqa: F401 - fixtures
from server.janitor_kit import LIMITS_OFF, FakeLifecycle, make_janitor
from server.kit import PATIENCE, Gate, Peer, where
from server.log_lines import LogLines
from server.over_kit import Over, Wire, join

MODES = ["threads", "workers"]
WAYS: list[dict[str, Any]] = [
    {"mode": "threads"},
    {"mode": "workers"},
    {"mode": "workers", "dispatch": "queue"},
    {"mode": "workers", "dispatch": "queue", "queue_order": "priority", "workers": 2},
]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def transport() -> str:
    """What servers listen on where the test doesn't say; `each_transport` replaces it."""
    return "tcp"


@pytest.fixture
def log() -> LogLines:
    return LogLines()


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Run something in a thread: `background(function, *arguments)` returns its future."""
    with ThreadPoolExecutor(64, thread_name_prefix="test") as pool:
        yield pool.submit


@pytest.fixture
def serve(
    mode: str, transport: str, log: LogLines, background: object, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Server]]:
    """Start a server: `serve(handler, option=value, ...)`. At the end it is stopped, and its counters must add up."""
    servers: list[Server] = []

    def start(handler: Any = "echo", **options: Any) -> Server:
        ours: dict[str, Any] = {"mode": mode, "handler": handler, "drain_timeout": PATIENCE}
        if transport == "unix":
            ours["listen"] = [f"unix:{request.getfixturevalue('tmp_path')}/{len(servers)}.sock"]
        elif "listen" not in options:
            ours["port"] = 0
        config = ServerConfig(**{**ours, **options})
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
            return peers.enter_context(Peer(where(server), **options))

        yield connect_to


@pytest.fixture
def start(serve: Callable[..., Server], tmp_path: Path, over: Over, dispatch: str) -> Callable[..., Server]:
    """Start a server that listens on the transport of the test: `start(handler, option=value, ...)`."""

    def start_one(handler: Any = "echo", **options: Any) -> Server:
        return serve(handler, dispatch=dispatch, **over.options(tmp_path), **options)

    return start_one


@pytest.fixture
def wire(serve: object, over: Over) -> Iterator[Callable[..., Wire]]:
    """Connect to a server over the transport of the test: `wire(server)`."""
    with ExitStack() as sockets:

        def connect_to(server: Server, **options: int) -> Wire:
            made = join(server, over, **options)
            sockets.enter_context(made.sock)
            return made

        yield connect_to


@pytest.fixture
def gate(connect: object) -> Iterator[Gate]:
    """A handler function that waits for the test; it is opened before the server stops, also when the test fails."""
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Peer]]:
    """Return the server's end and the peer's end of a TCP connection."""
    served, peer = tcp_pair()
    with served, peer:
        yield served, peer


@pytest.fixture(params=[serve_blocking, serve_events], ids=["blocking", "events"])
def serve_to_end(request: pytest.FixtureRequest) -> Callable[[Connection], CloseReason]:
    """Return each of the two ways to serve a connection to its end."""
    return request.param


@pytest.fixture
def running() -> Iterator[Callable[..., FakeLifecycle]]:
    """Start a janitor: `running(limits, *connections)` returns the lifecycle that it works for."""
    started = []

    def start(limits: Limits = LIMITS_OFF, *connections: Connection) -> FakeLifecycle:
        janitor, lifecycle = make_janitor(limits, *connections)
        janitor.start()
        started.append(janitor)
        return lifecycle

    yield start
    for janitor in started:
        assert janitor.stop(Deadline(PATIENCE)) == []


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(map(str, way.values())))
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the options of each way of serving; they override those of the fixture `serve`."""
    return request.param


@pytest.fixture
def dry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have buckets never fill again, and pauses outlast every test: only a request to end can end one."""
    wait = TokenBucket.wait
    monkeypatch.setattr(TokenBucket, "_fill", lambda *_: None)
    monkeypatch.setattr(TokenBucket, "wait", lambda bucket, now: wait(bucket, now) and 2 * PATIENCE)
