"""Asking a connection to end: which reason stands, what is still answered, and which calls of the owner are woken."""

from __future__ import annotations

import threading

import pytest

from echoserver.observe.metrics import CloseReason
from server.connection_kit import make_connection
from server.kit import PATIENCE, Gate, scripted, wait_arrived

MIB = 1024 * 1024


@pytest.mark.parametrize("first", [CloseReason.IDLE, CloseReason.DRAINED])
def test_the_first_reason_stands_unless_a_harsher_one_comes(pair, first):
    connection = make_connection(pair[0])
    assert connection.end(first) is True
    assert connection.ending is first
    for same in (CloseReason.IDLE, CloseReason.DRAINED):
        assert connection.end(same) is False
        assert connection.ending is first
    assert connection.end(CloseReason.STALLED) is True
    assert connection.end(CloseReason.KILLED) is False
    assert connection.end(CloseReason.CUT) is True
    assert connection.end(CloseReason.CUT) is False
    for milder in (CloseReason.IDLE, CloseReason.DRAINED, CloseReason.STALLED, CloseReason.KILLED):
        assert connection.end(milder) is False
    assert connection.ending is CloseReason.CUT


def test_only_one_of_many_calls_to_end_returns_true(pair, background):
    connection, together = make_connection(pair[0]), threading.Barrier(8)

    def end() -> bool:
        together.wait(PATIENCE)
        return connection.end(CloseReason.DRAINED)

    assert sorted(future.result(PATIENCE) for future in [background(end) for _ in range(8)]) == [False] * 7 + [True]


@pytest.mark.parametrize("reason", [CloseReason.DRAINED, CloseReason.STALLED, CloseReason.CUT])
def test_end_after_close_does_nothing(pair, reason):
    connection = make_connection(pair[0])
    connection.close()
    assert connection.closed
    assert connection.transport.fileno() == -1
    assert connection.end(reason) is False
    assert connection.unacknowledged() == connection.taken() == connection.arrived() == 0


@pytest.mark.parametrize(
    "reason", [CloseReason.IDLE, CloseReason.DRAINED, CloseReason.STALLED, CloseReason.KILLED, CloseReason.CUT]
)
def test_end_wakes_a_waiting_receive(pair, background, serve_to_end, reason):
    served, peer = pair
    connection = make_connection(served, scripted(greet=lambda: b"!"))
    ending = background(serve_to_end, connection)
    assert peer.read(1) == b"!"
    assert connection.end(reason)
    assert ending.result(PATIENCE) is reason
    assert connection.error is None


@pytest.mark.parametrize("reason", [CloseReason.STALLED, CloseReason.KILLED, CloseReason.CUT])
def test_an_abrupt_end_wakes_a_waiting_send(pair, background, serve_to_end, reason):
    served, peer = pair
    connection = make_connection(served, lambda _: b"x" * (12 * MIB))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    assert peer.read(1) == b"x"
    assert connection.end(reason)
    assert ending.result(PATIENCE) is reason
    assert connection.stats.bytes_out < 12 * MIB


@pytest.mark.parametrize("reason", [CloseReason.IDLE, CloseReason.DRAINED])
def test_bytes_that_arrived_before_the_end_are_answered_and_later_ones_are_not(pair, serve_to_end, reason):
    served, peer = pair
    heard = []

    def feed(data: bytes) -> bytes:
        heard.append(data)
        if len(heard) == 1:
            peer.send(b"2" * 1000)
            wait_arrived(connection)
            connection.end(reason)
        else:
            peer.send(b"too late")
            wait_arrived(connection)
        return data

    connection = make_connection(served, scripted(feed=feed, finish=lambda: b"."))
    peer.send(b"1")
    assert serve_to_end(connection) is reason
    assert b"".join(heard) == b"1" + b"2" * 1000
    assert peer.read(1002) == b"1" + b"2" * 1000 + b"."


def test_an_abrupt_end_leaves_what_arrived_unanswered(pair, serve_to_end):
    served, peer = pair
    finished = []

    def feed(data: bytes) -> bytes:
        peer.send(b"more")
        wait_arrived(connection)
        connection.end(CloseReason.CUT)
        return data

    connection = make_connection(served, scripted(feed=feed, finish=lambda: finished.append(1) or b"bye"))
    peer.send(b"1")
    assert serve_to_end(connection) is CloseReason.CUT
    assert connection.stats.bytes_in == 1
    assert finished == []


def test_a_connection_may_be_asked_to_end_before_it_is_served(pair, serve_to_end):
    served, peer = pair
    connection = make_connection(served, scripted(greet=lambda: b"hello ", finish=lambda: b"bye"))
    peer.send(b"early ")
    wait_arrived(connection)
    assert connection.end(CloseReason.DRAINED)
    assert serve_to_end(connection) is CloseReason.DRAINED
    assert peer.read(len(b"hello early bye")) == b"hello early bye"


def test_cut_overrides_a_drain_under_way(pair, background, serve_to_end):
    served, peer = pair
    gate = Gate()
    connection = make_connection(served, lambda data: gate(data) * (12 * MIB))
    ending = background(serve_to_end, connection)
    peer.send(b"?")
    gate.wait_entered()
    assert connection.end(CloseReason.DRAINED)
    gate.open()
    assert peer.read(1) == b"?"
    assert connection.end(CloseReason.CUT)
    assert ending.result(PATIENCE) is CloseReason.CUT
