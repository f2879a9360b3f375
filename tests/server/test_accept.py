"""Errors of accept: those that are ignored, those that are waited out, and those that end the server."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

import echoserver.net.listeners
import echoserver.net.transport
import echoserver.serving.acceptor
from echoserver import Server
from echoserver.errors import BindError
from echoserver.net.listener import Listener, listen_on_all
from echoserver.serving.acceptor import _PEER_GONE, _SHORTAGE, _SHORTAGE_PAUSE
from server.kit import PATIENCE, Peer, wait_until_idle

CANNOT_FOR_NOW = "cannot accept for now"


class Unreliable(socket.socket):
    """A real listener whose `accept` raises the errors that the test has set, and then accepts."""

    def __init__(self, real: socket.socket) -> None:
        super().__init__(fileno=real.detach())
        self.raises: list[BaseException] = []
        self.always: BaseException | None = None
        self.wraps: Callable[[socket.socket], socket.socket] = lambda sock: sock
        self.calls = 0
        self.raised = threading.Semaphore(0)
        self.queue_empty = threading.Event()

    def fail_with(self, *numbers: int) -> None:
        self.raises.extend(OSError(number, os.strerror(number)) for number in numbers)

    def accept(self) -> tuple[socket.socket, object]:
        self.calls += 1
        error = self.raises.pop(0) if self.raises else self.always
        if error is not None:
            self.raised.release()
            raise error
        self.queue_empty.clear()
        try:
            sock, address = super().accept()
        except BlockingIOError:
            self.queue_empty.set()
            raise
        return self.wraps(sock), address


@pytest.fixture
def listeners(monkeypatch) -> list[Unreliable]:
    """The listeners of the servers that the test starts."""
    made: list[Unreliable] = []

    def listen_unreliably(*where: Any) -> list[Listener]:
        for listener in (opened := listen_on_all(*where)):
            made.append(unreliable := Unreliable(listener.sock))
            listener.sock = unreliable
        return opened

    monkeypatch.setattr(echoserver.net.listeners, "listen_on_all", listen_unreliably)
    return made


def connect_and_close(server: Server) -> None:
    """Give the acceptor a reason to accept. It may have ended before the connect returns."""
    try:
        Peer(server.address).close()
    except ConnectionError:
        pass


def test_no_error_is_of_two_kinds():
    assert not _PEER_GONE & _SHORTAGE
    assert errno.EAGAIN not in _PEER_GONE | _SHORTAGE


@pytest.mark.parametrize("number", sorted(_PEER_GONE), ids=errno.errorcode.get)
def test_a_peer_that_has_gone_again_costs_nothing(serve, listeners, log, number):
    server = serve(max_connections=1)
    listeners[0].fail_with(*[number] * 200)  # more than it accepts in a row, and more than it has places
    begun = monotonic()
    with Peer(server.address) as peer:
        assert peer.swap(b"hello") == b"hello"
    assert listeners[0].raises == []
    assert monotonic() - begun < _SHORTAGE_PAUSE * 200 / 10  # without pauses
    assert log.lines(CANNOT_FOR_NOW) == []
    wait_until_idle(server)
    assert server.stats().accepted == 1


@pytest.mark.parametrize("number", sorted(_SHORTAGE), ids=errno.errorcode.get)
def test_a_shortage_is_waited_out(serve, listeners, log, monkeypatch, number):
    pause = 0.03
    monkeypatch.setattr(echoserver.serving.acceptor, "_SHORTAGE_PAUSE", pause)
    server = serve(max_connections=1)
    listeners[0].fail_with(*[number] * 3)
    begun = monotonic()
    with Peer(server.address) as peer:
        assert peer.swap(b"hello") == b"hello"
    assert monotonic() - begun >= 3 * pause  # it did not spin
    assert listeners[0].calls <= 3 + 1 + 2  # one that accepts, and one or two that find the queue empty
    lines = log.lines(CANNOT_FOR_NOW)
    assert 1 <= len(lines) <= 1 + (monotonic() - begun)  # at most once a second
    assert (lines[0]["level"], lines[0]["error"]) == ("warning", errno.errorcode[number])
    assert lines[0]["reason"] == os.strerror(number)
    wait_until_idle(server)
    assert server.stats().accepted == 1


def test_connections_go_on_during_a_shortage(serve, connect, listeners, log):
    server = serve()
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    # The acceptor tries again after the first peer. Within a real accept it would still take the next one.
    assert listeners[0].queue_empty.wait(PATIENCE)
    listeners[0].always = OSError(errno.EMFILE, "Too many open files")
    waiting = connect(server)
    waiting.send(b"patience")
    log.wait_for(CANNOT_FOR_NOW, error="EMFILE")
    for _ in range(100):
        assert peer.exchange(b"hello") == b"hello"
    assert server.stats().accepted == 1
    listeners[0].always = None
    assert waiting.read(8) == b"patience"


def test_a_stop_does_not_wait_for_the_end_of_a_shortage(serve, connect, listeners, monkeypatch):
    monkeypatch.setattr(echoserver.serving.acceptor, "_SHORTAGE_PAUSE", 3600)
    server = serve()
    listeners[0].always = OSError(errno.EMFILE, "Too many open files")
    connect(server)
    assert listeners[0].raised.acquire(timeout=PATIENCE)
    begun = monotonic()
    assert server.stop() == []
    assert monotonic() - begun < 5


def test_a_shortage_at_one_listener_does_not_close_the_other(serve, listeners):
    server = serve(listen=["tcp://127.0.0.1:0", "tcp://127.0.0.2:0"])
    listeners[0].always = OSError(errno.ENOBUFS, "No buffer space available")
    with Peer(server.addresses[0]) as waiting:
        assert listeners[0].raised.acquire(timeout=PATIENCE)
        with Peer(server.addresses[1]) as peer:
            assert peer.swap(b"hello") == b"hello"
        listeners[0].always = None
        assert waiting.swap(b"me too") == b"me too"


def test_a_listener_that_is_readable_without_a_peer(serve, connect, listeners):
    server = serve(max_connections=1)
    listeners[0].fail_with(*[errno.EAGAIN] * 3)
    assert connect(server).swap(b"hello") == b"hello"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED, errno.EAGAIN])
def test_rejecting_survives_the_same_errors(serve, connect, listeners, number):
    server = serve(max_connections=1, at_limit="reject")
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    listeners[0].fail_with(number, number)
    assert connect(server).read_to_break() == b""
    assert server.stats().rejected == 1
    assert inside.exchange(b"still in") == b"still in"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError("an error without a number"),
        MemoryError(),
        RuntimeError("a defect"),
    ],
    ids=repr,
)
def test_any_other_error_ends_accepting_and_is_reported(serve, connect, listeners, log, error):
    server = serve()
    before = connect(server)
    assert before.exchange(b"hello") == b"hello"
    # Within a real accept it would still take the next one.
    assert listeners[0].queue_empty.wait(PATIENCE)
    listeners[0].always = error
    connect_and_close(server)
    with pytest.raises(BindError, match="cannot go on") as raised:
        server.wait()
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error
    (line,) = log.wait_for("cannot go on serving")
    assert line["level"] == "error"
    # Open connections are still served, and drained as usual.
    assert before.exchange(b"still here") == b"still here"
    assert server.stop() == []
    assert before.read_to_end() == b""
    assert server.stats().closed["drained"] == 1
    assert listeners[0].fileno() == -1
    with pytest.raises(BindError):
        server.wait()


def test_any_other_error_while_rejecting_ends_accepting_too(serve, connect, listeners):
    server = serve(max_connections=1, at_limit="reject")
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    listeners[0].always = OSError(errno.EINVAL, "Invalid argument")
    connect_and_close(server)
    with pytest.raises(BindError):
        server.wait()
    server._accepting.thread.join(PATIENCE)  # it reports the error first, and then closes
    assert listeners[0].fileno() == -1


def test_peers_that_reset_before_they_are_accepted_do_not_hold_up_the_next(serve, connect, log):
    server = serve(max_connections=1)
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    for _ in range(5):
        connect(server).reset()  # in the kernel's queue, since there is no place
    last = connect(server)
    last.send(b"hello")
    inside.close()
    assert last.read(5) == b"hello"
    last.finish()
    assert last.read_to_end() == b""
    wait_until_idle(server)
    assert server.stats().closed["reset"] in range(6)  # some systems do not report them at all


class Broken(socket.socket):
    """An accepted socket that the peer has reset, as some systems report it: by the first call that sets an option."""

    def __init__(self, real: socket.socket) -> None:
        super().__init__(fileno=real.detach())

    def setsockopt(self, *_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    def setblocking(self, _: bool) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def test_an_accepted_socket_that_is_broken_already(serve, connect, listeners, log, monkeypatch):
    monkeypatch.setattr(echoserver.net.transport, "_ACCEPTED_BLOCKING", False)  # as on systems other than Linux
    server = serve(max_connections=1)
    listeners[0].wraps = Broken
    for _ in range(3):
        unlucky = connect(server)
        assert unlucky.read_to_break() == b""
        line = log.ended(unlucky)
        assert (line["reason"], line["error"]) == ("reset", "EINVAL")
    listeners[0].wraps = lambda sock: sock
    assert connect(server).swap(b"hello") == b"hello"
    wait_until_idle(server)
    assert server.stats().closed["reset"] == 3


def test_a_crowd_is_accepted_completely(serve, background):
    """More at once than the acceptor takes in a row."""
    server = serve()
    together = threading.Barrier(16)

    def crowd(seed: int) -> int:
        together.wait(PATIENCE)
        peers = [Peer(server.address) for _ in range(20)]
        try:
            for peer in peers:
                peer.send(b"%06d" % seed)
            return sum(peer.read(6) == b"%06d" % seed for peer in peers)
        finally:
            for peer in peers:
                peer.close()

    crowds = [background(crowd, seed) for seed in range(16)]
    assert sum(future.result(PATIENCE) for future in crowds) == 320
    wait_until_idle(server)
    assert server.stats().accepted == 320


def test_a_server_can_be_asked_from_any_thread_while_it_accepts(serve, connect, background):
    server: Server = serve()

    def ask() -> int:
        for _ in range(200):
            server.stats()
            server.connections()
            assert server.address == server.addresses[0]
        return 1

    asking = [background(ask) for _ in range(4)]
    for _ in range(50):
        assert connect(server).swap(b"hello") == b"hello"
    assert sum(future.result(PATIENCE) for future in asking) == 4
