"""The lifecycle of a connection: whatever goes wrong as one begins or ends, its place is given back, once."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable

import pytest

from echoserver import ServerConfig
from echoserver.clock import Deadline
from echoserver.handlers import find_handler
from echoserver.net.endpoint import TcpEndpoint
from echoserver.net.listener import Listener
from echoserver.observe.metrics import CloseReason, Metrics
from echoserver.serving.admission import Admission, Lease
from echoserver.serving.connection import Connection
from echoserver.serving.lifecycle import Lifecycle, Recipe
from echoserver.serving.registry import ConnectionRegistry
from server.kit import PATIENCE, Peer
from server.log_lines import LogLines


class FakeMode:
    """Keeps what is assigned to it, or raises what the test has set."""

    blocking = True

    def __init__(self) -> None:
        self.assigned: list[Connection] = []
        self.error: BaseException | None = None

    def assign(self, connection: Connection) -> None:
        if self.error is not None:
            raise self.error
        self.assigned.append(connection)


class Parts:
    """The parts of a server that a connection passes through, without any thread."""

    def __init__(self, log: LogLines, **options: object) -> None:
        self.log = log
        self.metrics, self.registry, self.mode = Metrics(), ConnectionRegistry(), FakeMode()
        config = ServerConfig(max_connections=1, **options)
        self.admission = Admission(config, self.metrics, self.registry)
        recipe = Recipe(find_handler("echo", {}), None, config, Metrics())
        self.lifecycle = Lifecycle(recipe, self.metrics, log.logger)
        self.lifecycle.mode = self.mode

    def lease(self) -> Lease:
        lease = self.admission.take_place()
        assert lease is not None
        assert lease.enter_host("192.0.2.1")
        return lease

    def admit(self, sock: socket.socket) -> Connection | None:
        listener = Listener(sock, TcpEndpoint("192.0.2.2", 9000), made_here=False)
        return self.lifecycle.admit(sock, ("192.0.2.1", 5000), listener, self.lease())

    def assert_nothing_is_held(self, **closed: int) -> None:
        """Check that the place is free, the registry empty, and that these connections have been counted."""
        assert self.admission.places.free == 1
        assert len(self.registry) == 0
        assert self.admission.hosts is None or len(self.admission.hosts._open) == 0
        stats = self.metrics.snapshot()
        assert stats.active == 0
        assert {reason: count for reason, count in stats.closed.items() if count} == closed


@pytest.fixture
def parts(log: LogLines) -> Parts:
    return Parts(log, max_connections_per_host=1)


def test_a_connection_is_entered_everywhere_and_given_to_the_mode(parts, pair):
    connection = parts.admit(pair[0])
    assert parts.mode.assigned == parts.registry.live() == [connection]
    assert parts.metrics.snapshot().active == 1
    assert parts.admission.take_place() is None
    parts.lifecycle.finalise(connection)
    parts.assert_nothing_is_held(eof=1)
    assert connection.closed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOTCONN, "gone"), "reset"),
        (RuntimeError("can't start new thread"), "killed"),
        (MemoryError(), "killed"),
    ],
    ids=repr,
)
def test_a_connection_that_gets_no_thread_is_closed_and_counted(parts, pair, log, error, reason):
    parts.mode.error = error
    connection = parts.admit(pair[0])
    assert connection is not None
    assert connection.closed
    parts.assert_nothing_is_held(**{reason: 1})
    assert len(log.lines("connection ended", reason=reason)) == 1
    assert len(log.lines("cannot serve a connection")) == (reason == "killed")
    assert pair[1].read_to_break() == b""


@pytest.mark.parametrize("where", ["make", "add"])
def test_without_memory_for_a_connection_its_socket_is_closed(parts, pair, log, monkeypatch, where):
    def no_memory(*_: object) -> None:
        raise MemoryError

    owner = parts.registry if where == "add" else parts.lifecycle.recipe
    monkeypatch.setattr(owner, where, no_memory)
    assert parts.admit(pair[0]) is None
    parts.assert_nothing_is_held(**({"killed": 1} if where == "add" else {}))
    assert log.lines("cannot serve a connection", reason="MemoryError")
    assert pair[1].read_to_break() == b""


def test_of_many_threads_that_finalise_a_connection_one_counts_and_releases_it(parts, pair, log, background):
    connection, together = parts.admit(pair[0]), threading.Barrier(8)

    def finalise() -> None:
        together.wait(PATIENCE)
        parts.lifecycle.finalise(connection)

    for future in [background(finalise) for _ in range(8)]:
        future.result(PATIENCE)
    parts.assert_nothing_is_held(eof=1)
    assert len(log.lines("connection ended")) == 1


def test_an_abandoned_connection_is_counted_once_and_closed_by_its_thread_later(parts, pair, log):
    connection = parts.admit(pair[0])
    parts.lifecycle.abandon(connection)
    parts.assert_nothing_is_held(cut=1)
    assert not connection.closed
    connection.reason = CloseReason.HANDLER
    parts.lifecycle.finalise(connection)
    assert connection.closed
    parts.assert_nothing_is_held(cut=1)
    assert [line["reason"] for line in log.lines("connection ended")] == ["cut"]


@pytest.fixture
def reported(monkeypatch) -> list[type[BaseException]]:
    """Return the types of the exceptions that were reported as those of a thread."""
    kinds: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: kinds.append(args.exc_type))
    return kinds


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_log_that_raises_costs_no_place(parts, pair, monkeypatch, reported):
    connection = parts.admit(pair[0])
    monkeypatch.setattr("echoserver.serving.lifecycle.log_end", failing(RuntimeError("the log is broken")))
    parts.lifecycle.finalise(connection)
    parts.assert_nothing_is_held(eof=1)
    assert reported == [RuntimeError]


def test_without_memory_to_count_the_place_is_given_back(parts, pair, monkeypatch, reported):
    connection = parts.admit(pair[0])
    with monkeypatch.context() as patched:
        patched.setattr(parts.metrics, "closed", failing(MemoryError()))
        parts.lifecycle.finalise(connection)
    assert parts.admission.places.free == 1
    assert len(parts.registry) == 0
    assert reported == [MemoryError]


def test_a_connection_that_cannot_linger_is_closed_at_once(parts, pair, monkeypatch, reported):
    served, peer = pair
    connection = parts.admit(served)
    connection.reason = CloseReason.FINISHED
    monkeypatch.setattr(Connection, "start_lingering", failing(MemoryError()))
    parts.lifecycle.begin_close(connection)
    parts.assert_nothing_is_held(finished=1)
    assert reported == [MemoryError]
    assert peer.read_to_end() == b""


def test_a_connection_whose_peer_may_be_sending_lingers(parts, pair):
    connection = parts.admit(pair[0])
    connection.reason = CloseReason.FINISHED
    parts.lifecycle.begin_close(connection)
    assert parts.lifecycle.lingering.get_nowait() is connection
    assert parts.registry.live() == [connection]
    assert not connection.closed
    parts.lifecycle.finalise(connection)
    parts.assert_nothing_is_held(finished=1)


def test_the_connection_is_counted_before_it_leaves_the_registry(parts, pair, background, monkeypatch):
    """A drain waits for an empty registry and then reads the counters."""
    connection, remove, seen = parts.admit(pair[0]), parts.registry.remove, []

    def note_and_remove(leaving: Connection) -> None:
        seen.append((parts.metrics.snapshot().active, len(parts.log.lines("connection ended"))))
        remove(leaving)

    monkeypatch.setattr(parts.registry, "remove", note_and_remove)
    waiting = background(parts.registry.wait_empty, Deadline(PATIENCE))
    parts.lifecycle.finalise(connection)
    assert waiting.result(PATIENCE) is True
    assert seen == [(0, 1)]


# -- the lease


def test_a_lease_is_released_once(parts):
    lease = parts.lease()
    lease.release()
    lease.release()
    parts.assert_nothing_is_held()


def test_a_lease_without_a_connection_counts_nothing(parts):
    lease = parts.lease()
    assert lease.fold(CloseReason.EOF) is False
    lease.release()
    assert lease.fold(CloseReason.EOF) is False
    parts.assert_nothing_is_held()


def test_a_lease_of_a_host_at_its_limit_counts_nothing(log):
    parts = Parts(log, max_connections_per_host=1)
    assert parts.admission.hosts is not None
    assert parts.admission.hosts.enter("192.0.2.1")
    lease = parts.admission.take_place()
    assert lease is not None
    assert lease.enter_host("192.0.2.1") is False
    lease.release()
    parts.admission.hosts.leave("192.0.2.1")
    parts.assert_nothing_is_held()


def test_without_memory_for_a_lease_the_place_is_free_again(parts, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("echoserver.serving.admission.Lease", failing(MemoryError()))
        with pytest.raises(MemoryError):
            parts.admission.take_place()
    parts.assert_nothing_is_held()


# -- a serving thread that dies


@pytest.mark.parametrize("mode", ["threads"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_whose_thread_dies_is_closed(serve, connect, log, monkeypatch):
    server = serve(max_connections=1)
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    monkeypatch.setattr("echoserver.serving.threads.drive_blocking", failing(MemoryError()))
    peer.close()
    log.ended(peer)
    unlucky: Peer = connect(server)
    assert unlucky.read_to_break() == b""
    assert log.ended(unlucky)["reason"] == "killed"
    monkeypatch.undo()
    assert connect(server).swap(b"a new thread") == b"a new thread"
