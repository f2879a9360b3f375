"""Connections that the server ends, over every transport: the drain, the time limits, and streams that are cut."""

from __future__ import annotations

import pytest

from echoserver.observe.metrics import ConnectionState
from server.kit import PATIENCE, drain_begun, scripted, wait_arrived, wait_for_state
from server.over_kit import closed_as, everywhere, over_tls, read_to_end, served
from server.ways import wait_until_settled

MIB = 1024 * 1024


def _long(data: bytes) -> bytes:
    return data * (12 * MIB) if data == b"?" else data


# -- the drain


@everywhere
def test_what_had_arrived_is_answered(start, wire, log, background, gate, over):
    """With TLS it has arrived encrypted, and what has begun to arrive of a record is no message yet."""
    server = start(scripted(feed=lambda data: gate(data).upper(), blocking=False))
    begun = drain_begun(server)
    peer = wire(server)
    peer.send(b"first ")
    gate.wait_entered()
    waiting = peer.encrypt(b"second ") + peer.encrypt(b"third")
    cut = peer.encrypt(b"never complete")[:9] if over.tls else b""
    peer.sock.sendall(waiting + cut)
    (connection,) = server.connections()
    wait_arrived(connection, len(waiting + cut))
    stopping = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert stopping.result(PATIENCE) == []
    assert read_to_end(peer) == b"FIRST SECOND THIRD"
    assert closed_as(log, "drained")["bytes_in"] == 18


@everywhere
def test_a_reply_that_the_peer_takes_late_survives_the_drain(start, wire, log, background, gate):
    """It is longer than what the kernel's buffers hold."""
    server = start(scripted(feed=lambda data: gate(data).upper() * 20, blocking=False))
    begun = drain_begun(server)
    peer = wire(server, buffer=16_384)
    peer.send(b"first")
    gate.wait_entered()
    records = b"".join(peer.encrypt(b"x" * 10_000) for _ in range(5))
    peer.sock.sendall(records)
    wait_arrived(server.connections()[0], len(records))
    stopping = background(server.stop)
    assert begun.wait(PATIENCE)
    gate.open()
    assert read_to_end(peer) == b"FIRST" * 20 + b"X" * 1_000_000
    assert stopping.result(PATIENCE) == []
    assert closed_as(log, "drained")["bytes_in"] == 50_005


@everywhere
def test_a_drain_ends_a_pause_and_answers_what_waits(start, wire, log, dry):
    """The rate limit has taken a part of it. With TLS the rest is decrypted in part."""
    server = start(scripted(finish=lambda: b" bye", blocking=False), rate_limit="2kB/s", rate_burst="2kB")
    peer = wire(server)
    peer.send(b"x" * 9_000)
    assert peer.read(2_000) == b"x" * 2_000
    wait_for_state(server, ConnectionState.PAUSED)
    assert server.stop() == []
    assert read_to_end(peer) == b"x" * 7_000 + b" bye"
    assert closed_as(log, "drained")["bytes_out"] == 9_004


@everywhere
def test_a_silent_peer_is_drained_at_once(start, wire, log):
    server = start(scripted(finish=lambda: b"bye", blocking=False), drain_timeout=0)
    peer = wire(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    assert server.stop() == []
    assert read_to_end(peer) == b"bye"
    closed_as(log, "drained")


@everywhere
def test_a_peer_that_takes_no_reply_is_cut(start, wire, log):
    server = start(scripted(feed=_long, blocking=False))
    peer = wire(server)
    peer.send(b"?")
    assert peer.read(1) == b"?"
    assert len(server.stop(timeout=0.1)) == 1
    closed_as(log, "cut")


# -- time limits


@everywhere
def test_a_silent_peer_is_idle(start, wire, log, over):
    server = start(scripted(finish=lambda: b"too late", blocking=False), idle_timeout=0.4)
    peer = wire(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    assert read_to_end(peer) == b"too late"
    closed_as(log, "idle")
    wait_until_settled(server)


@over_tls
def test_a_peer_that_falls_silent_within_a_record_is_idle(start, wire, log):
    peer = wire(start(idle_timeout=0.4))
    peer.sock.sendall(peer.encrypt(b"hello") + peer.encrypt(b"never complete")[:9])
    assert peer.read(5) == b"hello"
    assert read_to_end(peer) == b""
    closed_as(log, "idle")


@everywhere
def test_a_peer_that_takes_no_reply_is_stalled(start, wire, log, over):
    server = start(scripted(feed=_long, blocking=False), write_timeout=0.3)
    peer = wire(server)
    peer.send(b"?")
    assert peer.read(1) == b"?"
    assert closed_as(log, "stalled")["bytes_out"] < 12 * MIB
    assert served(server, over)


@everywhere
def test_a_lifetime_that_is_over(start, wire, log):
    """The end is an orderly one."""
    server = start(scripted(finish=lambda: b"over", blocking=False), max_lifetime=0.3)
    peer = wire(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    assert read_to_end(peer) == b"over"
    assert closed_as(log, "expired")["bytes_out"] == 9
    wait_until_settled(server)


# -- streams that are cut


@over_tls
@pytest.mark.parametrize("cut", [0, 3, 20], ids=["between records", "within a header", "within a record"])
def test_a_stream_without_its_end_is_truncated(start, wire, log, cut):
    server = start(scripted(finish=lambda: b" bye", blocking=False))
    peer = wire(server)
    peer.sock.sendall(peer.encrypt(b"hello") + peer.encrypt(b"never complete")[:cut])
    peer.break_off()
    assert read_to_end(peer) == b"hello bye"
    line = closed_as(log, "truncated")
    assert (line["bytes_in"], line["bytes_out"]) == (5, 9)
    wait_until_settled(server)
