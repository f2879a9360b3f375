"""Replies sent before the end still arrive, although the peer goes on sending."""

from __future__ import annotations

import pytest

from server.kit import PATIENCE, Gate, drain_begun, scripted, wait_arrived

MIB = 1024 * 1024


def fail(_: bytes) -> bytes:
    raise ValueError("as told")


@pytest.mark.parametrize("blocking", [True, False])
def test_replies_arrive_although_the_handler_fails_on_unread_input(serve, connect, log, blocking):
    """Closing a socket with unread input makes the kernel reset it, which destroys what is on its way."""
    gate = Gate()
    calls = []

    def feed(_: bytes) -> bytes:
        calls.append(1)
        if len(calls) == 1:
            return b"r" * (2 * MIB)
        if blocking:
            gate(b"")
        raise ValueError("as told")

    server = serve(scripted(feed=feed, blocking=blocking))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read(1) == b"r"
    peer.send(b"?")
    if blocking:
        gate.wait_entered()
    peer.send_what_fits(b"!" * (2 * MIB))
    gate.open()
    assert peer.read_to_break() == b"r" * (2 * MIB - 1)
    line = log.ended(peer)
    assert (line["reason"], line["bytes_out"]) == ("handler", 2 * MIB)


def test_replies_arrive_although_the_peer_sends_on_during_the_drain(serve, connect, log, gate, background):
    def feed(data: bytes) -> bytes:
        return gate(data)[:1] * (3 * MIB) if data[:1] in b"12" else b"late"

    server = serve(scripted(feed=feed))
    begun = drain_begun(server)
    peer = connect(server)
    peer.send(b"1")
    gate.wait_entered()
    peer.send(b"2")
    (connection,) = server.connections()
    wait_arrived(connection)
    stop = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert peer.read(1) == b"1"
    # What is sent from here on comes too late to be answered, and must not destroy the replies before it.
    peer.send_what_fits(b"3" * MIB)
    got = peer.read_to_break()
    line = log.ended(peer)
    assert stop.result(PATIENCE) == []
    assert line["reason"] == "drained"
    assert 1 + len(got) == line["bytes_out"]
    assert got[: 6 * MIB - 1] == b"1" * (3 * MIB - 1) + b"2" * (3 * MIB)


def test_replies_arrive_although_the_peer_sends_on_after_the_idle_timeout(serve, connect, log):
    words = b"x" * (3 * MIB)
    server = serve(scripted(finish=lambda: words), idle_timeout=0.1)
    peer = connect(server)
    assert peer.read(1) == b"x"
    peer.send_what_fits(b"?" * MIB)
    assert 1 + len(peer.read_to_break()) == len(words)
    assert log.ended(peer)["reason"] == "idle"


def test_a_peer_that_sends_on_and_on_to_a_failed_handler_is_disconnected(serve, connect, log):
    server = serve(scripted(feed=fail))
    peer = connect(server)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        peer.send(bytes(256 * MIB))
    assert log.ended(peer)["reason"] == "handler"


@pytest.mark.parametrize("mode", ["workers"])
def test_a_lingering_connection_does_not_wake_the_poller(serve, connect, log):
    server = serve(scripted(feed=fail, blocking=False))
    peer = connect(server)
    peer.send(b"?")
    assert peer.read_to_end() == b""
    peer.send(b"unwanted" * 1000)
    assert log.ended(peer)["reason"] == "handler"
    assert server.stats().workers.inline_events <= 4
