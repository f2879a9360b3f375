"""The time limits on real connections: which peers they end, and which they spare."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver import Handler
from echoserver.net.splice import MOVE_BYTES
from echoserver.serving.interpreter import has_gil
from server.kit import PATIENCE, Gate, scripted, serves_on, wait_until_idle
from server.ways import each_transport

MIB = 1024 * 1024


@each_transport
def test_a_peer_that_never_sends_is_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    begun = monotonic()
    peer = connect(server)
    assert peer.read_to_end() == b""
    assert monotonic() - begun >= 0.2
    assert log.ended(peer)["reason"] == "idle"


@each_transport
def test_a_peer_that_falls_silent_is_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    peer = connect(server)
    begun = monotonic()  # before the exchange: this thread may read the reply late
    assert peer.exchange(b"hello") == b"hello"
    assert peer.read_to_end() == b""
    # The janitor counts from the look at which it saw the last byte, which may precede the start of this clock.
    assert monotonic() - begun >= 0.2 - 0.05
    line = log.ended(peer)
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("idle", 5, 5)


def test_a_peer_that_is_silent_after_a_greeting_is_idle_not_stalled(serve, connect, log):
    server = serve(scripted(greet=lambda: b"welcome"), idle_timeout=0.3, write_timeout=0.1)
    peer = connect(server)
    assert peer.read_to_end() == b"welcome"
    assert log.ended(peer)["reason"] == "idle"


@each_transport
def test_an_idle_peer_gets_the_reply_of_finish(serve, connect, log):
    server = serve(scripted(finish=lambda: b"too late"), idle_timeout=0.1)
    peer = connect(server)
    assert peer.read_to_end() == b"too late"
    assert log.ended(peer)["reason"] == "idle"


def test_a_peer_that_keeps_sending_is_not_idle(serve, connect, log):
    server = serve(idle_timeout=0.2)
    talking = connect(server)
    for _ in range(2):
        silent = connect(server)
        while not log.lines("connection ended", peer=silent.name):
            assert talking.exchange(b"x") == b"x"
    assert log.lines("connection ended", peer=talking.name) == []
    talking.finish()
    assert talking.read_to_end() == b""
    assert log.ended(talking)["reason"] == "eof"


def test_a_slow_handler_does_not_make_its_peer_idle(serve, connect, log):
    gate = Gate()
    server = serve(scripted(feed=lambda data: gate(data) if data == b"slow" else data), idle_timeout=0.1)
    busy = connect(server)
    busy.send(b"slow")
    gate.wait_entered()
    for _ in range(2):
        assert connect(server).read_to_end() == b""  # twice the limit, one after another
    gate.open()
    assert busy.read(4) == b"slow"
    assert busy.read_to_end() == b""
    assert log.ended(busy)["reason"] == "idle"  # now it is


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_that_never_reads_is_stalled(serve, connect, log, blocking):
    """Whichever reply it does not read: that of `greet`, `feed` or `finish`."""
    moments, asked = iter(["greet", "feed", "finish"]), threading.Event()

    class Verbose(scripted(blocking=blocking)):
        def __init__(self) -> None:
            self.moment = next(moments, None) if tried else None
            tried.append(self)

        def say(self, moment: str) -> bytes:
            assert asked.wait(PATIENCE)  # a stalled peer is reset, and could not send any more
            return b"x" * (12 * MIB) if moment == self.moment else b""

        def greet(self) -> bytes:
            return self.say("greet")

        def feed(self, _: bytes) -> bytes:
            return self.say("feed")

        def finish(self) -> bytes:
            return self.say("finish")

    tried: list[Handler] = []  # the server makes the first one to check its options
    server = serve(Verbose, write_timeout=0.1)
    begun = monotonic()
    peers = [connect(server) for _ in range(3)]
    for peer in peers:
        peer.send(b"?")
        peer.finish()
    asked.set()
    for peer in peers:
        assert log.ended(peer)["reason"] == "stalled"
        # It is reset, so that the kernel does not keep megabytes for it.
        with pytest.raises(ConnectionResetError):
            peer.read(12 * MIB)
    assert monotonic() - begun >= 0.1
    wait_until_idle(server)


@each_transport
def test_a_flood_that_is_never_read_is_stalled(serve, connect, log):
    server = serve(write_timeout=0.2)
    peer = connect(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        peer.send(bytes(256 * MIB))
    line = log.ended(peer)
    assert line["reason"] == "stalled"
    assert line["bytes_in"] - line["bytes_out"] <= MOVE_BYTES  # no more than one event's bytes were held in memory
    assert serves_on(connect, server)


def test_an_idle_peer_that_does_not_read_the_reply_of_finish_is_stalled(serve, connect, log):
    server = serve(scripted(finish=lambda: b"x" * (12 * MIB)), idle_timeout=0.1, write_timeout=0.1)
    peer = connect(server)
    assert log.ended(peer)["reason"] == "stalled"


@each_transport
def test_a_peer_whose_kernel_has_the_reply_is_not_stalled(serve, connect, log):
    server = serve(write_timeout=0.1, idle_timeout=0.3)
    peer = connect(server)
    peer.send(b"x" * 1000)
    assert log.ended(peer)["reason"] == "idle"
    assert peer.read_to_end() == b"x" * 1000


def test_a_slow_reader_that_keeps_reading_is_not_stalled(serve, connect, log):
    reply = bytes(16 * MIB)
    server = serve(scripted(feed=lambda _: reply), write_timeout=0.8, idle_timeout=0.05)
    slow = connect(server, receive_buffer=65536)
    slow.send(b"?")
    taken, begun = 0, monotonic()
    # For twice the limit, a little at a time. The server's own clock sets the pace: each read follows the idle timeout
    # of another peer.
    while monotonic() - begun < 1.6:
        assert connect(server).read_to_end() == b""
        slow.read(128 * 1024)
        taken += 128 * 1024
        assert log.lines("connection ended", peer=slow.name) == [], f"ended after {taken} bytes"
    slow.read(len(reply) - taken)
    slow.finish()
    slow.read_to_end()
    assert log.ended(slow)["bytes_out"] == len(reply)


def test_limits_that_are_off_end_no_connection(serve, connect, log):
    server = serve(scripted(feed=lambda _: b"x" * (12 * MIB)), idle_timeout=0, write_timeout=0)
    never_reads, silent = connect(server), connect(server)
    never_reads.send(b"?")
    assert never_reads.read(1) == b"x"
    assert silent.swap(b"") == b""
    assert [line["peer"] for line in log.wait_for("connection ended")] == [silent.name]
    assert never_reads.read(12 * MIB - 1)


def test_a_stuck_handler_is_logged_and_its_peer_disconnected(serve, connect, log, gate):
    server = serve(scripted(feed=lambda data: gate(data) if data == b"hang" else data), handler_timeout=0.2)
    stuck = connect(server)
    stuck.send(b"hang")
    gate.wait_entered()
    assert stuck.read_to_break() == b""
    (line,) = log.wait_for("handler stuck")
    assert (line["level"], line["id"], line["peer"]) == ("error", 1, stuck.name)
    assert line["thread"].startswith(("conn-", "worker-"))
    if has_gil():
        assert "in __call__" in line["stack"]
        assert "kit.py" in line["stack"]
    else:  # frames of a running thread can't be read safely
        assert line["stack"].startswith("not available")
    for _ in range(3):
        other = connect(server)
        assert other.swap(b"hello") == b"hello"
        log.ended(other)
    assert server.stats().active == 1  # it keeps its thread, and with it its place, until the handler returns
    gate.open()
    assert log.ended(stuck)["reason"] == "killed"
    wait_until_idle(server)
    assert len(log.lines("handler stuck")) == server.stats().handlers_stuck == 1
