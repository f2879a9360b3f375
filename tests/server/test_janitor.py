"""The janitor: who is late at which moment, with a clock that the test holds; and the seeing-off of peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from echoserver.clock import Deadline
from echoserver.handlers import find_handler
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason, ConnectionState, ConnectionStats
from echoserver.serving.blocking import BlockingConnection
from echoserver.serving.connection import Connection
from echoserver.serving.janitor import Janitor, Limits
from echoserver.serving.registry import ConnectionRegistry
from server.kit import ANY_CORE, PATIENCE, tcp_pair

OFF = Limits(idle=0, write=0, handler=0)


class Watched(Connection):
    """A connection as the janitor sees one; the test says what its peer has taken and sent."""

    def __init__(self, number: int = 1, *, phase: int = ConnectionState.RECEIVING) -> None:
        self.number = number
        self.stats = ConnectionStats()
        self.stats.state = phase
        self.watch = None
        self.opened_at = 0.0
        self.ending = None
        self.taken = 0
        self.pending = 0
        self.waiting = 0
        self.dropped: Callable[[int], int] = lambda _limit: 0
        self.ended: list[CloseReason] = []

    def end(self, reason: CloseReason) -> bool:
        first = self.ending is None
        self.ending = self.ending or reason
        self.ended.append(reason)
        return first

    def acknowledged(self) -> int:
        return self.taken

    def unacknowledged(self) -> int:
        return self.pending

    def arrived(self) -> int:
        return self.waiting

    def discard(self, limit: int) -> int:
        return self.dropped(limit)


class Calls:
    """What the janitor told the server."""

    def __init__(self) -> None:
        self.finished: SimpleQueue[Connection] = SimpleQueue()
        self.stuck: list[Connection] = []
        self.tended: SimpleQueue[None] = SimpleQueue()


def make(limits: Limits, *connections: Connection) -> tuple[Janitor, Calls]:
    registry, calls = ConnectionRegistry(), Calls()
    for connection in connections:
        registry.add(connection)
    janitor = Janitor(
        registry,
        limits,
        finish=calls.finished.put,
        stuck=calls.stuck.append,
        tend=lambda: calls.tended.put(None),
    )
    return janitor, calls


# -- looking


def test_a_silent_peer_is_idle_at_the_limit_and_not_before():
    peer = Watched()
    janitor, _ = make(Limits(idle=10, write=1, handler=1), peer)
    for now in (100, 105, 109.999):
        janitor.look(now)
        assert peer.ended == []
    janitor.look(110)
    assert peer.ended == [CloseReason.IDLE]


def test_who_has_said_something_that_nobody_received_is_not_silent():
    peer = Watched()
    peer.waiting = 1
    janitor, _ = make(Limits(idle=10, write=0, handler=0), peer)
    for now in (0, 10, 100):
        janitor.look(now)
    assert peer.ended == []
    peer.waiting = 0
    janitor.look(101)
    assert peer.ended == [CloseReason.IDLE]


@pytest.mark.parametrize("phase", [ConnectionState.RECEIVING, ConnectionState.SENDING, ConnectionState.HANDLING])
def test_time_in_which_the_process_was_stopped_is_not_held_against_anybody(phase):
    peer = Watched(phase=phase)
    janitor, _ = make(Limits(idle=10, write=10, handler=10), peer)
    janitor.look(0)
    janitor.look(9)
    janitor.forgive(1000)
    janitor.look(1009.5)
    assert peer.ended == []
    janitor.look(1010)
    assert len(peer.ended) == 1


def test_one_byte_now_and_then_is_not_idle():
    peer = Watched()
    janitor, _ = make(Limits(idle=10, write=0, handler=0), peer)
    for now in range(0, 100, 9):
        peer.stats.bytes_in += 1
        janitor.look(now)
    assert peer.ended == []
    janitor.look(99 + 9)
    assert peer.ended == []
    janitor.look(99 + 10)
    assert peer.ended == [CloseReason.IDLE]


def test_bytes_that_only_go_out_are_movement_too():
    peer = Watched()
    janitor, _ = make(Limits(idle=10, write=0, handler=0), peer)
    janitor.look(0)
    peer.stats.bytes_out += 1
    janitor.look(9)
    janitor.look(18)
    assert peer.ended == []
    janitor.look(19)
    assert peer.ended == [CloseReason.IDLE]


def test_a_change_of_phase_starts_the_clock_anew():
    peer = Watched()
    janitor, _ = make(Limits(idle=10, write=10, handler=10), peer)
    for now, phase in enumerate([ConnectionState.RECEIVING, ConnectionState.HANDLING, ConnectionState.SENDING] * 10):
        peer.stats.state = phase
        janitor.look(now * 9)
    assert peer.ended == []


@pytest.mark.parametrize(
    ("phase", "limits"),
    [
        (ConnectionState.RECEIVING, Limits(idle=0, write=1, handler=1)),
        (ConnectionState.HANDLING, Limits(idle=1, write=1, handler=0)),
        (ConnectionState.SENDING, Limits(idle=1, write=0, handler=1)),
        (ConnectionState.LINGERING, Limits(idle=1, write=1, handler=1)),
        (ConnectionState.QUEUED, Limits(idle=1, write=1, handler=1)),
        (ConnectionState.PAUSED, Limits(idle=1, write=1, handler=1)),
    ],
)
def test_each_limit_is_for_its_own_phase(phase, limits):
    peer = Watched(phase=phase)
    janitor, calls = make(limits, peer)
    for now in (0, 1, 1_000_000):
        janitor.look(now)
    assert peer.ended == []
    assert calls.stuck == []


def test_a_peer_that_takes_nothing_is_stalled_at_the_limit_and_not_before():
    peer = Watched(phase=ConnectionState.SENDING)
    janitor, _ = make(Limits(idle=1, write=10, handler=1), peer)
    for now in (0, 5, 9.999):
        janitor.look(now)
        assert peer.ended == []
    janitor.look(10)
    assert peer.ended == [CloseReason.STALLED]


def test_a_peer_that_takes_something_gets_the_whole_time_again():
    peer = Watched(phase=ConnectionState.SENDING)
    janitor, _ = make(Limits(idle=0, write=10, handler=0), peer)
    janitor.look(0)
    for now in range(10, 110, 10):
        peer.taken += 1
        janitor.look(now)
        assert peer.ended == []
    janitor.look(109)
    assert peer.ended == []
    janitor.look(110)
    assert peer.ended == [CloseReason.STALLED]


def test_a_handler_that_takes_long_is_reported_once_and_ended():
    peer = Watched(phase=ConnectionState.HANDLING)
    janitor, calls = make(Limits(idle=1, write=1, handler=10), peer)
    for now in (0, 9.999):
        janitor.look(now)
    assert calls.stuck == []
    for now in (10, 20, 30):
        janitor.look(now)
    assert calls.stuck == [peer]
    assert peer.ended[0] is CloseReason.KILLED


@pytest.mark.parametrize(
    "phase",
    [
        ConnectionState.RECEIVING,
        ConnectionState.HANDLING,
        ConnectionState.SENDING,
        ConnectionState.QUEUED,
        ConnectionState.PAUSED,
    ],
)
def test_the_longest_life_ends_whatever_is_going_on(phase):
    peer = Watched(phase=phase)
    peer.opened_at = 1000.0
    janitor, _ = make(Limits(idle=0, write=0, handler=0, lifetime=10), peer)
    for now in (1001, 1005, 1009.999):
        peer.stats.bytes_in += 1
        janitor.look(now)
        assert peer.ended == []
    peer.stats.bytes_in += 1
    janitor.look(1010)
    assert peer.ended == [CloseReason.EXPIRED]


def test_who_lingers_has_ended_already():
    peer = Watched(phase=ConnectionState.LINGERING)
    janitor, _ = make(Limits(idle=0, write=0, handler=0, lifetime=10), peer)
    janitor.look(1000)
    assert peer.ended == []


def test_each_connection_is_judged_by_itself():
    idle, busy, stalled = (
        Watched(1),
        Watched(2, phase=ConnectionState.HANDLING),
        Watched(3, phase=ConnectionState.SENDING),
    )
    janitor, _ = make(Limits(idle=10, write=20, handler=0), idle, busy, stalled)
    for now in (0, 10, 20):
        janitor.look(now)
    assert (idle.ended[0], busy.ended, stalled.ended) == (CloseReason.IDLE, [], [CloseReason.STALLED])


def test_a_slow_reader_on_a_real_socket_is_spared_as_long_as_it_takes_something(background):
    """While one blocking send is under way nothing is counted; only the kernel knows whether the peer is reading."""
    served, peer = tcp_pair(receive_buffer=65536)
    reply = bytes(32 * 1024 * 1024)
    connection = BlockingConnection(1, served, peer.sock.getsockname(), find_handler(lambda _: reply, {}))
    janitor, _ = make(Limits(idle=0, write=10, handler=0), connection)
    with peer:
        serving = background(connection.serve, ReceiveBuffer(), ANY_CORE)
        peer.send(b"?")
        peer.read(1)
        now = 0.0
        janitor.look(now)
        for _ in range(20):
            peer.read(512 * 1024)
            now += 10
            janitor.look(now)
            assert connection.ending is None
        # It stops reading. What is on its way settles, and then nothing moves.
        while connection.ending is None:
            now += 10
            janitor.look(now)
        assert connection.ending is CloseReason.STALLED
        assert serving.result(PATIENCE) is CloseReason.STALLED
        connection.close()


# -- seeing off


@pytest.fixture
def running() -> Iterator[Callable[..., tuple[Janitor, Calls]]]:
    started = []

    def start(limits: Limits = OFF, *connections: Connection) -> tuple[Janitor, Calls]:
        janitor, calls = make(limits, *connections)
        janitor.start()
        started.append(janitor)
        return janitor, calls

    yield start
    for janitor in started:
        assert janitor.stop(Deadline(PATIENCE)) == []


def test_a_peer_that_has_closed_is_let_go(running):
    janitor, calls = running()
    peer = Watched(phase=ConnectionState.LINGERING)
    peer.dropped = lambda _: -1
    janitor.linger(peer)
    assert calls.finished.get(timeout=PATIENCE) is peer


def test_a_quiet_peer_that_has_everything_is_let_go(running):
    janitor, calls = running()
    peer = Watched(phase=ConnectionState.LINGERING)
    janitor.linger(peer)
    assert calls.finished.get(timeout=PATIENCE) is peer


def test_a_peer_that_is_still_owed_something_is_waited_for(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.janitor.LINGER_SECONDS", 3600)
    janitor, calls = running()
    looks = SimpleQueue()
    peer = Watched(phase=ConnectionState.LINGERING)
    peer.pending = 1
    peer.dropped = lambda _: looks.put(None) or 0
    janitor.linger(peer)
    for _ in range(5):
        looks.get(timeout=PATIENCE)
        assert calls.finished.empty()
    peer.pending = 0
    assert calls.finished.get(timeout=PATIENCE) is peer


def test_a_peer_that_never_stops_sending_is_let_go_after_so_many_bytes(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.janitor.LINGER_SECONDS", 3600)
    janitor, calls = running()
    limits = []

    def take(limit: int) -> int:
        limits.append(limit)
        return min(limit, 4_000_000)

    peer = Watched(phase=ConnectionState.LINGERING)
    peer.dropped = take
    janitor.linger(peer)
    assert calls.finished.get(timeout=PATIENCE) is peer
    assert limits == sorted(limits, reverse=True)  # never asked for more than what is left
    assert sum(min(limit, 4_000_000) for limit in limits) == limits[0]
    assert limits[-1] > 0  # and not once more after that


def test_a_peer_that_drips_is_let_go_after_a_while(running, monkeypatch):
    monkeypatch.setattr("echoserver.serving.janitor.LINGER_SECONDS", 0.2)
    janitor, calls = running()
    peer = Watched(phase=ConnectionState.LINGERING)
    peer.dropped = lambda _: 1
    janitor.linger(peer)
    assert calls.finished.get(timeout=PATIENCE) is peer


def test_a_cut_ends_the_seeing_off(running):
    janitor, calls = running()
    looks = SimpleQueue()
    peer = Watched(phase=ConnectionState.LINGERING)
    peer.pending = 1
    peer.dropped = lambda _: looks.put(None) or 0
    janitor.linger(peer)
    looks.get(timeout=PATIENCE)
    peer.ending = CloseReason.CUT
    assert calls.finished.get(timeout=PATIENCE) is peer


def test_a_stop_finishes_who_is_still_being_seen_off():
    janitor, calls = make(OFF)
    janitor.start()
    peers = [Watched(number, phase=ConnectionState.LINGERING) for number in range(3)]
    for peer in peers:
        peer.pending = 1
        janitor.linger(peer)
    assert janitor.stop(Deadline(PATIENCE)) == []
    assert [calls.finished.get(timeout=PATIENCE) for _ in peers] == peers


def test_a_stream_of_arrivals_does_not_keep_the_others_waiting(running):
    """Otherwise peers whose handler fails, coming fast enough, would switch all time limits off."""
    silent = Watched(0)
    janitor, calls = running(Limits(idle=0.05, write=0, handler=0), silent)
    first = Watched(1, phase=ConnectionState.LINGERING)
    first.dropped = lambda _: -1
    janitor.linger(first)
    arrivals, finished = 0, None
    while finished is None and arrivals < 2_000_000:
        if janitor._inbox.qsize() < 100:  # never empty, and never far ahead
            late = Watched(2 + arrivals, phase=ConnectionState.LINGERING)
            late.pending = 1
            janitor.linger(late)
            arrivals += 1
        if not calls.finished.empty():
            finished = calls.finished.get()
    assert finished is first
    assert not silent.ended or silent.ended[0] is CloseReason.IDLE


def test_it_tends_although_nothing_is_limited(running):
    _, calls = running()
    for _ in range(2):
        calls.tended.get(timeout=PATIENCE)


def test_it_ends_idle_connections_by_itself(running):
    ended = threading.Event()

    class Ending(Watched):
        def end(self, reason: CloseReason) -> bool:
            ended.set()
            return super().end(reason)

    running(Limits(idle=0.05, write=0, handler=0), Ending())
    assert ended.wait(PATIENCE)


def test_a_stop_before_the_start_leaves_nothing():
    janitor, _ = make(OFF)
    assert janitor.stop(Deadline(PATIENCE)) == []
