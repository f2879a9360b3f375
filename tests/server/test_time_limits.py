"""The time limits: which connection is late at which time, on a clock that the test holds."""

from __future__ import annotations

import pytest

from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.limits import Limits
from server.connection_kit import make_connection, serve_blocking, tcp_pair
from server.janitor_kit import FakeConnection, make_janitor
from server.kit import PATIENCE


def test_a_silent_peer_is_idle_at_the_limit_and_not_before():
    peer = FakeConnection()
    janitor, _ = make_janitor(Limits(idle=10, write=1, handler=1), peer)
    for now in (100, 105, 109.999):
        janitor.look(now)
        assert peer.ended == []
    janitor.look(110)
    assert peer.ended == [CloseReason.IDLE]


def test_a_peer_whose_bytes_have_not_been_received_yet_is_not_idle():
    peer = FakeConnection()
    peer.bytes_arrived = 1
    janitor, _ = make_janitor(Limits(idle=10, write=0, handler=0), peer)
    for now in (0, 10, 100):
        janitor.look(now)
    assert peer.ended == []
    peer.bytes_arrived = 0
    janitor.look(101)
    assert peer.ended == [CloseReason.IDLE]


@pytest.mark.parametrize("state", [ConnectionState.RECEIVING, ConnectionState.SENDING, ConnectionState.HANDLING])
def test_time_in_which_the_process_could_not_run_does_not_count(state):
    peer = FakeConnection(state=state)
    janitor, _ = make_janitor(Limits(idle=10, write=10, handler=10), peer)
    janitor.look(0)
    janitor.look(9)
    janitor.forgive(1000)
    janitor.look(1009.5)
    assert peer.ended == []
    janitor.look(1010)
    assert len(peer.ended) == 1


def test_a_byte_now_and_then_keeps_a_peer_from_being_idle():
    peer = FakeConnection()
    janitor, _ = make_janitor(Limits(idle=10, write=0, handler=0), peer)
    for now in range(0, 100, 9):
        peer.stats.bytes_in += 1
        janitor.look(now)
    assert peer.ended == []
    janitor.look(99 + 9)
    assert peer.ended == []
    janitor.look(99 + 10)
    assert peer.ended == [CloseReason.IDLE]


def test_bytes_sent_count_as_movement_too():
    peer = FakeConnection()
    janitor, _ = make_janitor(Limits(idle=10, write=0, handler=0), peer)
    janitor.look(0)
    peer.stats.bytes_out += 1
    janitor.look(9)
    janitor.look(18)
    assert peer.ended == []
    janitor.look(19)
    assert peer.ended == [CloseReason.IDLE]


def test_a_change_of_state_restarts_the_time():
    peer = FakeConnection()
    janitor, _ = make_janitor(Limits(idle=10, write=10, handler=10), peer)
    for now, state in enumerate([ConnectionState.RECEIVING, ConnectionState.HANDLING, ConnectionState.SENDING] * 10):
        peer.stats.state = state
        janitor.look(now * 9)
    assert peer.ended == []


@pytest.mark.parametrize(
    ("state", "limits"),
    [
        (ConnectionState.RECEIVING, Limits(idle=0, write=1, handler=1)),
        (ConnectionState.HANDLING, Limits(idle=1, write=1, handler=0)),
        (ConnectionState.SENDING, Limits(idle=1, write=0, handler=1)),
        (ConnectionState.LINGERING, Limits(idle=1, write=1, handler=1)),
        (ConnectionState.QUEUED, Limits(idle=1, write=1, handler=1)),
        (ConnectionState.PAUSED, Limits(idle=1, write=1, handler=1)),
    ],
)
def test_each_limit_applies_to_its_own_state_only(state, limits):
    peer = FakeConnection(state=state)
    janitor, lifecycle = make_janitor(limits, peer)
    for now in (0, 1, 1_000_000):
        janitor.look(now)
    assert peer.ended == []
    assert lifecycle.stuck == []


def test_a_peer_that_takes_nothing_is_stalled_at_the_limit_and_not_before():
    peer = FakeConnection(state=ConnectionState.SENDING)
    janitor, _ = make_janitor(Limits(idle=1, write=10, handler=1), peer)
    for now in (0, 5, 9.999):
        janitor.look(now)
        assert peer.ended == []
    janitor.look(10)
    assert peer.ended == [CloseReason.STALLED]


def test_a_peer_that_takes_something_gets_the_full_time_again():
    peer = FakeConnection(state=ConnectionState.SENDING)
    janitor, _ = make_janitor(Limits(idle=0, write=10, handler=0), peer)
    janitor.look(0)
    for now in range(10, 110, 10):
        peer.bytes_taken += 1
        janitor.look(now)
        assert peer.ended == []
    janitor.look(109)
    assert peer.ended == []
    janitor.look(110)
    assert peer.ended == [CloseReason.STALLED]


def test_a_handler_that_takes_too_long_is_reported_once_and_its_connection_ended():
    peer = FakeConnection(state=ConnectionState.HANDLING)
    janitor, lifecycle = make_janitor(Limits(idle=1, write=1, handler=10), peer)
    for now in (0, 9.999):
        janitor.look(now)
    assert lifecycle.stuck == []
    for now in (10, 20, 30):
        janitor.look(now)
    assert lifecycle.stuck == [peer]
    assert peer.ended[0] is CloseReason.KILLED


@pytest.mark.parametrize(
    "state",
    [
        ConnectionState.RECEIVING,
        ConnectionState.HANDLING,
        ConnectionState.SENDING,
        ConnectionState.QUEUED,
        ConnectionState.PAUSED,
    ],
)
def test_the_longest_lifetime_ends_a_connection_in_any_state(state):
    peer = FakeConnection(state=state)
    peer.opened_at = 1000.0
    janitor, _ = make_janitor(Limits(idle=0, write=0, handler=0, lifetime=10), peer)
    for now in (1001, 1005, 1009.999):
        peer.stats.bytes_in += 1
        janitor.look(now)
        assert peer.ended == []
    peer.stats.bytes_in += 1
    janitor.look(1010)
    assert peer.ended == [CloseReason.EXPIRED]


@pytest.mark.parametrize("late", [0.0, 0.39, 5.0])
def test_after_the_longest_lifetime_a_connection_has_time_to_answer_before_it_ends_abruptly(late):
    """However late the look is that finds it expired; moving bytes meanwhile does not prolong it."""
    peer = FakeConnection()
    peer.opened_at = 1000.0
    janitor, _ = make_janitor(Limits(idle=0, write=0, handler=0, lifetime=10), peer)
    for now in (0.0, 0.1, 0.29):
        peer.stats.bytes_out += 1
        janitor.look(1010 + late + now)
        assert set(peer.ended) == {CloseReason.EXPIRED}
        assert not peer.ended_abruptly
    janitor.look(1010 + late + 0.31)
    assert peer.ended_abruptly


def test_a_lingering_connection_is_not_ended_again():
    peer = FakeConnection(state=ConnectionState.LINGERING)
    janitor, _ = make_janitor(Limits(idle=0, write=0, handler=0, lifetime=10), peer)
    janitor.look(1000)
    assert peer.ended == []


def test_each_connection_is_judged_by_itself():
    idle, busy, stalled = (
        FakeConnection(1),
        FakeConnection(2, state=ConnectionState.HANDLING),
        FakeConnection(3, state=ConnectionState.SENDING),
    )
    janitor, _ = make_janitor(Limits(idle=10, write=20, handler=0), idle, busy, stalled)
    for now in (0, 10, 20):
        janitor.look(now)
    assert (idle.ended[0], busy.ended, stalled.ended) == (CloseReason.IDLE, [], [CloseReason.STALLED])


def test_a_slow_reader_on_a_real_socket_is_not_stalled_as_long_as_it_takes_something(background):
    """During a blocking send nothing is counted; only the kernel knows whether the peer is reading."""
    served, peer = tcp_pair(receive_buffer=65536)
    reply = bytes(32 * 1024 * 1024)
    connection = make_connection(served, lambda _: reply)
    janitor, _ = make_janitor(Limits(idle=0, write=10, handler=0), connection)
    with peer:
        serving = background(serve_blocking, connection)
        peer.send(b"?")
        peer.read(1)
        now = 0.0
        janitor.look(now)
        for _ in range(20):
            peer.read(512 * 1024)
            now += 10
            janitor.look(now)
            assert connection.ending is None
        # It stops reading. Once what is on its way has arrived, nothing moves.
        while connection.ending is None:
            now += 10
            janitor.look(now)
        assert connection.ending is CloseReason.STALLED
        assert serving.result(PATIENCE) is CloseReason.STALLED
        connection.close()
