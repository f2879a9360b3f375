"""Lingering: how long the peer of a connection that has ended is still listened to."""

from __future__ import annotations

from queue import SimpleQueue

from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason, ConnectionState
from server.janitor_kit import LIMITS_OFF, FakeConnection, make_janitor
from server.kit import PATIENCE


def test_lingering_ends_when_the_peer_has_closed(running):
    lifecycle = running()
    peer = FakeConnection(state=ConnectionState.LINGERING)
    peer.dropped = lambda _: -1
    lifecycle.lingering.put(peer)
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer


def test_lingering_ends_when_a_quiet_peer_has_everything(running):
    lifecycle = running()
    peer = FakeConnection(state=ConnectionState.LINGERING)
    lifecycle.lingering.put(peer)
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer


def test_lingering_lasts_while_the_peer_lacks_something_that_was_sent(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.lingering.LINGER_SECONDS", 3600)
    lifecycle = running()
    looks = SimpleQueue()
    peer = FakeConnection(state=ConnectionState.LINGERING)
    peer.bytes_pending = 1
    peer.dropped = lambda _: looks.put(None) or 0
    lifecycle.lingering.put(peer)
    for _ in range(5):
        looks.get(timeout=PATIENCE)
        assert lifecycle.finalised.empty()
    peer.bytes_pending = 0
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer


def test_lingering_ends_after_so_many_bytes(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.lingering.LINGER_SECONDS", 3600)
    lifecycle = running()
    limits = []

    def take(limit: int) -> int:
        limits.append(limit)
        return min(limit, 4_000_000)

    peer = FakeConnection(state=ConnectionState.LINGERING)
    peer.dropped = take
    lifecycle.lingering.put(peer)
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer
    assert limits == sorted(limits, reverse=True)  # never more than what is left of the limit
    assert sum(min(limit, 4_000_000) for limit in limits) == limits[0]
    assert limits[-1] > 0  # and no further call after that


def test_lingering_ends_after_a_while_although_the_peer_sends_on(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.lingering.LINGER_SECONDS", 0.2)
    lifecycle = running()
    peer = FakeConnection(state=ConnectionState.LINGERING)
    peer.dropped = lambda _: 1
    lifecycle.lingering.put(peer)
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer


def test_a_cut_ends_the_lingering(running):
    lifecycle = running()
    looks = SimpleQueue()
    peer = FakeConnection(state=ConnectionState.LINGERING)
    peer.bytes_pending = 1
    peer.dropped = lambda _: looks.put(None) or 0
    lifecycle.lingering.put(peer)
    looks.get(timeout=PATIENCE)
    peer.ending = CloseReason.CUT
    assert lifecycle.finalised.get(timeout=PATIENCE) is peer


def test_a_stop_finalises_lingering_connections():
    janitor, lifecycle = make_janitor(LIMITS_OFF)
    janitor.start()
    peers = [FakeConnection(number, state=ConnectionState.LINGERING) for number in range(3)]
    for peer in peers:
        peer.bytes_pending = 1
        lifecycle.lingering.put(peer)
    assert janitor.stop(Deadline(PATIENCE)) == []
    assert [lifecycle.finalised.get(timeout=PATIENCE) for _ in peers] == peers
