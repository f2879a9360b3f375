"""A log of the embedding program that raises: the server goes on, whichever of its threads logged."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from echoserver import Server, ServerConfig
from echoserver.net.listener import Listener
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Lease
from server.kit import Peer, wait_until_gone
from server.log_lines import LogLines
from server.ways import wait_for, wait_until_settled


class BrokenLog(LogLines):
    """A log that raises for one event."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._poison = event

    def _take(self, logger: object, method: str, event: dict[str, object]) -> str:
        if event["event"] == self._poison:
            raise RuntimeError("the log is broken")
        return super()._take(logger, method, event)


@pytest.fixture
def reported(monkeypatch) -> list[str]:
    """What was reported as uncaught."""
    texts: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: texts.append(str(args.exc_value)))
    return texts


def test_a_start_that_cannot_be_logged(mode, reported):
    log = BrokenLog("listening").logger
    with Server(ServerConfig(port=0, mode=mode), log=log) as server, Peer(server.address) as peer:
        assert peer.swap(b"hello") == b"hello"
    assert reported == ["the log is broken"]


@pytest.mark.parametrize("at_limit", ["wait", "reject"])
def test_a_limit_that_cannot_be_logged(mode, reported, at_limit):
    config = ServerConfig(port=0, mode=mode, max_connections=1, at_limit=at_limit)
    with Server(config, log=BrokenLog("connection limit reached").logger) as server:
        with Peer(server.address) as first, Peer(server.address) as second:
            assert first.exchange(b"hello") == b"hello"
            wait_for(lambda: reported, "the limit was not reached")
            first.close()
            if at_limit == "wait":
                assert second.swap(b"hello") == b"hello"
        wait_until_settled(server)
        with Peer(server.address) as third:
            assert third.swap(b"hello") == b"hello"
    assert set(reported) == {"the log is broken"}


def test_a_limit_of_a_host_that_cannot_be_logged(mode, reported):
    config = ServerConfig(port=0, mode=mode, max_connections_per_host=1)
    with Server(config, log=BrokenLog("connection limit of a host reached").logger) as server:
        with Peer(server.address) as first:
            assert first.exchange(b"hello") == b"hello"
            with Peer(server.address) as second:
                assert second.read_to_break() == b""
        wait_until_settled(server)
        with Peer(server.address) as third:
            assert third.swap(b"hello") == b"hello"
    assert reported == ["the log is broken"]


def test_a_shortage_that_cannot_be_logged(mode, reported, monkeypatch):
    errors = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]

    def accept(acceptor: Acceptor, listener: Listener, lease: Lease) -> bool:
        if not errors:
            return accept_really(acceptor, listener, lease)
        lease.release()
        acceptor._pause_for(listener, errors.pop())
        return False

    accept_really = Acceptor._accept
    monkeypatch.setattr(Acceptor, "_accept", accept)
    log = BrokenLog("cannot accept for now").logger
    with Server(ServerConfig(port=0, mode=mode), log=log) as server, Peer(server.address) as peer:
        assert peer.swap(b"hello") == b"hello"
    assert reported == ["the log is broken"]


def test_a_full_queue_that_cannot_be_logged(reported, gate):
    config = ServerConfig(port=0, mode="workers", handler=gate, workers=1, queue_size=1)
    with Server(config, log=BrokenLog("queue full").logger) as server:
        peers = [Peer(server.address) for _ in range(4)]
        for peer in peers:
            peer.send(b"hello")
        gate.wait_entered()
        wait_for(lambda: reported, "the queue was never full")
        gate.open()
        for peer in peers:
            with peer:
                assert peer.swap(b"!") == b"hello!"
        wait_until_settled(server)
    assert reported == ["the log is broken"]


def test_a_stop_that_cannot_log_which_threads_are_stuck(mode, reported, gate):
    server = Server(ServerConfig(port=0, mode=mode, handler=gate), log=BrokenLog("threads did not end").logger)
    server.start()
    with Peer(server.address) as peer:
        peer.send(b"hello")
        gate.wait_entered()
        assert len(server.stop(timeout=0.01)) == 1
    assert reported == ["the log is broken"]
    server.wait()
    stats = server.stats()
    assert (stats.active, stats.closed["cut"]) == (0, 1)
    gate.open()
    wait_until_gone(server)
