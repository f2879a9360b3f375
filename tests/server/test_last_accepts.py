"""Peers that still wait in the kernel's queue when the server stops, and a server without descriptors left."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import echoserver.net.listeners
import echoserver.server
from echoserver import Server
from echoserver.net.listener import Listener, listen_on_all
from server.kit import PATIENCE, Peer, drain_begun, scripted
from server.ways import every_way, free_places, wait_for, wait_until_settled


class HeldListener(socket.socket):
    """A listener at which nobody is accepted before the test says so."""

    def __init__(self, real: socket.socket) -> None:
        super().__init__(fileno=real.detach())
        self.asked = threading.Event()
        self.may_accept = threading.Event()

    def accept(self) -> tuple[socket.socket, object]:
        self.asked.set()
        assert self.may_accept.wait(PATIENCE), "the test never lets it accept"
        return super().accept()


@pytest.fixture
def held(monkeypatch) -> list[HeldListener]:
    made: list[HeldListener] = []

    def listen_held(*where: Any) -> list[Listener]:
        opened = listen_on_all(*where)
        for listener in opened:
            listener.sock = HeldListener(listener.sock)
            made.append(listener.sock)
        return opened

    monkeypatch.setattr(echoserver.net.listeners, "listen_on_all", listen_held)
    return made


def stopping(server: Server) -> threading.Event:
    return server._accepting.acceptor._stopping


@every_way
def test_peers_that_wait_in_the_queue_are_answered(serve, connect, log, background, held, dispatch):
    server = serve(scripted(finish=lambda: b"!", blocking=False), dispatch=dispatch)
    peers = [connect(server) for _ in range(20)]
    for number, peer in enumerate(peers):
        peer.send(b"hello %02d" % number)
    assert held[0].asked.wait(PATIENCE)
    stop = background(server.stop)
    assert stopping(server).wait(PATIENCE)
    held[0].may_accept.set()
    for number, peer in enumerate(peers):
        assert peer.read_to_end() == b"hello %02d!" % number
    assert stop.result(PATIENCE) == []
    assert server.stats().closed["drained"] == 20


@every_way
def test_no_more_are_accepted_than_there_are_places(serve, connect, background, dispatch):
    """The one that is served keeps its place until the acceptor has given up."""
    gate = threading.Event()

    def feed(data: bytes) -> bytes:
        assert gate.wait(PATIENCE)
        return data

    server = serve(scripted(feed=feed, blocking=dispatch != "inline"), dispatch=dispatch, max_connections=1)
    begun = drain_begun(server)
    if dispatch == "inline":  # the thread that calls the handler also accepts; here the open connection keeps its place
        gate.set()
    first = connect(server)
    first.send(b"hello")
    wait_for(lambda: server.stats().bytes_in or server.stats().active, "the first is not accepted")
    waiting = [connect(server) for _ in range(3)]
    for peer in waiting:
        peer.send(b"hello")
    wait_for(lambda: server.stats().held, "the acceptor does not wait")
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.set()
    assert first.read_to_end() == b"hello"
    for peer in waiting:
        assert peer.read_to_break() == b""
    assert stop.result(PATIENCE) == []
    assert server.stats().accepted == 1


@every_way
def test_none_is_accepted_after_the_deadline(serve, connect, background, held, dispatch):
    server = serve(scripted(blocking=False), dispatch=dispatch)
    peers = [connect(server) for _ in range(3)]
    for peer in peers:
        peer.send(b"hello")
    assert held[0].asked.wait(PATIENCE)
    server.cut()
    stop = background(server.stop)
    assert stopping(server).wait(PATIENCE)
    held[0].may_accept.set()  # the accept that was under way
    stop.result(PATIENCE)
    assert server.stats().accepted <= 1
    assert free_places(server) == server.config.max_connections
    for peer in peers:
        peer.read_to_break()


def test_an_acceptor_that_does_not_end_holds_up_the_stop_for_a_limited_time(
    serve, connect, log, held, monkeypatch, background
):
    monkeypatch.setattr(echoserver.server, "_GRACE_TO_END", 0.1)
    server = serve()
    connect(server)
    assert held[0].asked.wait(PATIENCE)
    background(server.stop).result(PATIENCE)
    assert server._accepting.thread.name in log.lines("threads did not end")[0]["threads"]
    held[0].may_accept.set()
    server._accepting.thread.join(PATIENCE)
    assert not server._accepting.thread.is_alive()
    wait_until_settled(server)


# -- no descriptors


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            os.open("/dev/null", os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@every_way
def test_a_server_without_descriptors_waits_for_a_place_and_for_descriptors(serve, connect, log, dispatch):
    server = serve(scripted(blocking=False), dispatch=dispatch, max_connections=1)
    first = connect(server)
    assert first.exchange(b"hello") == b"hello"
    second = socket.socket()
    try:
        second.settimeout(PATIENCE)
        with no_descriptors():
            second.connect(server.address)
            second.sendall(b"hello")
            log.wait_for("connection limit reached")
            wait_for(lambda: server._admission.place_wanted, "the acceptor does not wait")
            assert first.exchange(b"again") == b"again"
            first.close()
            log.wait_for("cannot accept for now", error="EMFILE")
        assert second.recv(5) == b"hello"
    finally:
        second.close()
    wait_until_settled(server)
    assert connect(server).swap(b"after") == b"after"


@every_way
def test_a_server_without_descriptors_goes_on_serving_and_stops(serve, connect, background, dispatch):
    server = serve(scripted(blocking=False), dispatch=dispatch)
    peer: Peer = connect(server)
    stop: Callable[[], list[str]] = server.stop
    assert peer.exchange(b"hello") == b"hello"
    with no_descriptors():
        assert peer.exchange(b"x" * 400_000) == b"x" * 400_000
        assert stop() == []
    assert peer.read_to_end() == b""
