"""Replies in pieces and last replies, sent by a server in every way of serving."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from echoserver import Handler
from echoserver.handlers import Last
from echoserver.observe.metrics import ConnectionState
from server.kit import PATIENCE, Gate, scripted, wait_arrived, wait_for_state, wait_until_idle
from server.source import Source

MIB = 1024 * 1024


@pytest.fixture
def mode() -> str:
    return "threads"  # the options of `way` override it


def blocks(way: dict[str, object]) -> bool:
    """Return whether the handler has to say that it may block, so that it is not served by the poller."""
    return way["mode"] == "threads" or way.get("dispatch") == "queue"


def test_the_last_reply_arrives_although_the_peer_sends_on(serve, connect, log, way):
    reply = b"r" * (2 * MIB)
    server = serve(scripted(feed=lambda _: Last(reply), blocking=blocks(way)), **way)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"r"
    peer.send_what_fits(b"!" * MIB)
    assert 1 + len(peer.read_to_break()) == len(reply)
    line = log.ended(peer)
    assert (line["reason"], line["bytes_out"], line["level"]) == ("finished", len(reply), "info")
    wait_until_idle(server)
    assert server.stats().closed["finished"] == 1


def test_an_iterator_is_closed_in_the_thread_that_serves(serve, connect, way):
    sources = []

    class Streaming(Handler):
        blocking = blocks(way)

        def feed(self, _: bytes) -> Iterator[bytes]:
            sources.append(Source(b"a", b"b"))
            return sources[-1]

    server = serve(Streaming, **way)
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(2) == b"ab"
    peer.finish()
    assert peer.read_to_end() == b""
    (source,) = sources
    (thread,) = source.closed_in
    assert server._mode.serves_in(thread)


def test_an_endless_reply_does_not_keep_the_thread_from_other_peers(serve, connect, way):
    """In workers mode one event sends a limited part of it."""

    class Endless(Handler):
        blocking = blocks(way)

        def feed(self, data: bytes) -> bytes | Iterator[bytes]:
            return data if data == b"hello" else iter(lambda: b"x" * 1000, None)

    server = serve(Endless, **{**way, "workers": 1})
    greedy, other = connect(server), connect(server)
    greedy.send(b"?")
    greedy.read(100_000)
    for _ in range(5):
        assert other.exchange(b"hello") == b"hello"
        greedy.read(100_000)
    assert server.stop(timeout=0.1) == [f"1 {greedy.name}"]


def test_a_stalled_peer_ends_a_reply_in_pieces(serve, connect, log, way):
    gone = threading.Event()

    def pieces(_: bytes) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            gone.set()

    server = serve(scripted(feed=pieces, blocking=blocks(way)), write_timeout=0.1, **way)
    peer = connect(server)
    peer.send(b"?")
    assert log.ended(peer)["reason"] == "stalled"
    assert gone.wait(PATIENCE)


def test_what_arrives_during_a_reply_in_pieces_is_answered_after_it(serve, connect, way):
    gate = Gate()

    class Slow(Handler):
        blocking = True

        def feed(self, data: bytes) -> bytes | Iterator[bytes]:
            return self.pieces() if data == b"1" else data

        def pieces(self) -> Iterator[bytes]:
            yield b"a"
            yield gate(b"b")

    server = serve(Slow, mode=way["mode"], queue_order=way.get("queue_order", "fifo"))
    try:
        peer = connect(server)
        peer.send(b"1")
        gate.wait_entered()
        connection = wait_for_state(server, ConnectionState.HANDLING)
        peer.send(b"2")
        wait_arrived(connection)
    finally:
        gate.open()
    assert peer.read(3) == b"ab2"
