"""What the program around it may do to the server: a log that raises, a default timeout, closed descriptors."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from echoserver import Handler, Server, ServerConfig
from echoserver.errors import BindError
from server.kit import PATIENCE, Peer, scripted
from server.ways import blocking_ways, every_way, free_places, wait_for, wait_until_settled, workers_ways


@pytest.fixture
def quiet(monkeypatch) -> list[BaseException]:
    """Collect what is reported as an error of a thread."""
    reported: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))
    return reported


class FailingLog:
    """A log that raises at the events that the test names."""

    def __init__(self, real: Any, *events: str) -> None:
        self._real, self._events = real, events

    def __getattr__(self, level: str) -> Any:
        def write(event: str, **facts: object) -> None:
            if event in self._events:
                raise RuntimeError(f"cannot log {event}")
            getattr(self._real, level)(event, **facts)

        return write


@pytest.fixture
def serve_badly_logged(mode, log, quiet, request):
    """Start a server whose log raises at some events."""

    def start(handler: Any, *events: str, **options: Any) -> Server:
        config = ServerConfig(**{"port": 0, "mode": mode, "handler": handler, "drain_timeout": PATIENCE, **options})
        server = Server(config, log=FailingLog(log.logger, *events))
        server.start()
        request.addfinalizer(server.stop)
        return server

    return start


# -- a log that raises


@blocking_ways
def test_a_log_that_raises_at_a_stuck_handler_leaves_the_limits(serve_badly_logged, log, quiet, gate, dispatch):
    def feed(data: bytes) -> bytes:
        return gate(data) if data == b"stuck" else data

    server = serve_badly_logged(
        scripted(feed=feed), "handler stuck", dispatch=dispatch, handler_timeout=0.1, idle_timeout=0.3
    )
    with Peer(server.address) as peer, Peer(server.address) as silent:
        peer.send(b"stuck")
        gate.wait_entered()
        assert peer.read_to_break() == b""
        assert silent.read_to_end() == b""
        assert log.ended(silent)["reason"] == "idle"
        gate.open()
        assert log.ended(peer)["reason"] == "killed"
    assert [str(error) for error in quiet] == ["cannot log handler stuck"]
    assert server.stats().handlers_stuck == 1


@every_way
def test_an_upkeep_that_raises_leaves_the_limits(serve, connect, log, quiet, monkeypatch, dispatch):
    def maintain() -> None:
        raise ValueError("on purpose")

    server = serve(scripted(blocking=False), dispatch=dispatch, idle_timeout=0.1)
    monkeypatch.setattr(server._janitor, "_maintain", maintain)
    wait_for(lambda: quiet, "the janitor never comes by")
    for _ in range(2):
        peer = connect(server)
        assert peer.read_to_end() == b""
        assert log.ended(peer)["reason"] == "idle"


@pytest.mark.parametrize("mode", ["workers"])
def test_a_log_that_raises_when_the_queue_is_full_costs_nobody(serve_badly_logged, quiet, gate):
    server = serve_badly_logged(gate, "queue full", workers=1, queue_size=1)
    peers = [Peer(server.address) for _ in range(4)]
    try:
        for peer in peers:
            peer.send(b"hello")
        gate.wait_entered()
        wait_for(lambda: quiet, "the queue was never full")
        gate.open()
        for peer in peers:
            assert peer.read(5) == b"hello"
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("event", ["connection limit reached", "connection limit of a host reached"])
def test_a_log_that_raises_at_a_limit_leaves_the_acceptor(serve_badly_logged, quiet, event):
    limit = (
        {"max_connections": 1, "at_limit": "reject"}
        if event.endswith("limit reached")
        else {"max_connections_per_host": 1}
    )
    server = serve_badly_logged("echo", event, **limit)
    with Peer(server.address) as first:
        assert first.exchange(b"hello") == b"hello"
        with Peer(server.address) as second:
            assert second.read_to_break() == b""
    assert [str(error) for error in quiet] == [f"cannot log {event}"]
    wait_until_settled(server)
    with Peer(server.address) as third:
        assert third.swap(b"hello") == b"hello"


# -- a defect in the one thread that serves


@workers_ways
def test_a_server_whose_poller_fails_says_so_and_ends_every_connection(serve, connect, log, monkeypatch, dispatch):
    server = serve(scripted(blocking=False), dispatch=dispatch)
    peers = [connect(server) for _ in range(3)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"

    def fail() -> None:
        raise ValueError("on purpose")

    monkeypatch.setattr(server._mode._poller, "_take_messages", fail)
    late = connect(server)
    wait_for(lambda: len(server.connections()) == 4 or server._lifecycle.failure, "the last is not accepted")
    server._mode.nudge()
    with pytest.raises(BindError, match="cannot go on serving: ValueError"):
        server.wait()
    assert [line["reason"] for line in log.lines("cannot go on serving")] == ["ValueError('on purpose')"]
    for peer in [*peers, late]:
        assert peer.read_to_break() == b""
        assert log.ended(peer)["reason"] == "killed"
    assert server.stop() == []
    wait_until_settled(server)


# -- sockets with a default timeout


@every_way
def test_a_default_timeout_of_the_program_does_not_apply(serve, connect, monkeypatch, dispatch):
    socket.setdefaulttimeout(0.01)
    try:
        server = serve(scripted(blocking=False), dispatch=dispatch)
        peer = connect(server)
        assert peer.exchange(b"hello") == b"hello"
        (connection,) = server.connections()
        assert connection.transport.sock.gettimeout() == (None if server.config.mode == "threads" else 0.0)
        # A thread that waits with a timeout would be in poll(2), and back from it by now.
        threading.Event().wait(0.05)
        assert peer.exchange(b"again") == b"again"
    finally:
        socket.setdefaulttimeout(None)


# -- a handler that closes another connection's descriptor


class Closing(Handler):
    """Closes the descriptor that it is told the number of."""

    blocking = False

    def feed(self, data: bytes) -> bytes:
        if data.startswith(b"close "):
            os.close(int(data.split()[1]))
        return data


@every_way
@pytest.mark.parametrize("stopped", [False, True], ids=["left", "stopped"])
def test_a_closed_descriptor_is_no_connection_for_ever(serve, connect, dispatch, stopped):
    server = serve(Closing, dispatch=dispatch)
    victim, culprit = connect(server), connect(server)
    for peer in (victim, culprit):
        assert peer.exchange(b"hello") == b"hello"
    number = server.connections()[0].transport.fileno()
    message = b"close %d" % number
    assert culprit.exchange(message) == message
    victim.close()
    assert culprit.swap(b"still here") == b"still here"
    if not stopped and server.config.mode == "threads":  # epoll does not tell of a descriptor that was closed
        wait_until_settled(server)
    assert server.stop(timeout=1) == []
    stats = server.stats()
    assert (stats.accepted, stats.active) == (2, 0)
    assert free_places(server) == server.config.max_connections


@workers_ways
def test_a_closed_descriptor_that_is_another_connection_s_by_now(serve, connect, log, dispatch):
    server = serve(Closing, dispatch=dispatch)
    victim, culprit = connect(server), connect(server)
    for peer in (victim, culprit):
        assert peer.exchange(b"hello") == b"hello"
    number = server.connections()[0].transport.fileno()
    message = b"close %d" % number
    # Descriptors are given out lowest first, so use up those below the one that will be free.
    fill = []
    while (descriptor := os.open("/dev/null", os.O_RDONLY)) < number:
        fill.append(descriptor)
    os.close(descriptor)
    newcomer = socket.socket()
    try:
        newcomer.settimeout(PATIENCE)
        assert culprit.exchange(message) == message
        newcomer.connect(server.address)
        newcomer.sendall(b"hello")
        assert newcomer.recv(5) == b"hello"
        assert log.ended(victim)["reason"] == "killed"
        newcomer.sendall(b"again")
        assert newcomer.recv(5) == b"again"
        assert culprit.swap(b"still here") == b"still here"
    finally:
        newcomer.close()
        for descriptor in fill:
            os.close(descriptor)
    wait_until_settled(server)
