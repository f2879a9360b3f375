"""The connection limit: how many are served, what happens to the others, and that no failure costs a place."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

import echoserver.serving.drain
from server.kit import PATIENCE, Gate, Peer, scripted, wait_until_gone, wait_until_idle

REACHED = "connection limit reached"


def connect_until_served(connect, server) -> Peer:
    """Connect until a peer is served: a place becomes free shortly after its connection is logged as ended."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        peer = connect(server)
        try:
            if peer.exchange(b"?") == b"?":
                return peer
        except (AssertionError, ConnectionError):
            peer.close()
    raise AssertionError("no peer was served")


# -- wait


def test_at_the_limit_new_peers_wait(serve, connect, log):
    server = serve(max_connections=2)
    first, second = connect(server), connect(server)
    assert first.exchange(b"1") == b"1"
    assert second.exchange(b"2") == b"2"
    third = connect(server)  # it is in the kernel's queue and has not been accepted
    third.send(b"3")
    (line,) = log.wait_for(REACHED)
    assert (line["level"], line["active"], line["limit"]) == ("warning", 2, 2)
    assert server.stats().active == server.stats().accepted == 2
    first.close()
    assert third.read(1) == b"3"
    assert server.stats().accepted == 3
    assert server.stats().held >= 1
    assert server.stats().rejected == 0


@pytest.mark.parametrize("at_limit", ["wait", "reject"])
def test_the_limit_is_reached_only_if_a_peer_waits(serve, connect, log, at_limit):
    server = serve(max_connections=1, at_limit=at_limit)
    for _ in range(5):
        peer = connect_until_served(connect, server)
        before = (server.stats().held, server.stats().rejected, len(log.lines(REACHED)))
        assert peer.exchange(b"again") == b"again"
        assert (server.stats().held, server.stats().rejected, len(log.lines(REACHED))) == before
        peer.close()
        wait_until_idle(server)
    # One after another there is always a place, except for the moment in which it is given back.
    assert server.stats().accepted >= 5
    if at_limit == "wait":
        assert server.stats().accepted == 5


def test_a_single_peer_does_not_reach_a_limit_of_one(serve, connect, log):
    server = serve(max_connections=1)
    peer = connect(server)
    assert peer.exchange(b"hello") == b"hello"
    peer.finish()
    assert peer.read_to_end() == b""
    wait_until_idle(server)
    server.stop()  # so that the acceptor has done all its work
    assert log.lines(REACHED) == []
    assert server.stats().held == 0


def test_never_more_than_the_limit_are_served_at_once(serve, background):
    lock = threading.Lock()
    inside, most = 0, 0

    def count_in() -> bytes:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        return b""

    def count_out() -> bytes:
        nonlocal inside
        with lock:
            inside -= 1
        return b""

    server = serve(scripted(greet=count_in, finish=count_out), max_connections=3)

    def visit(_: int) -> bool:
        with Peer(server.address) as peer:
            return peer.swap(b"hello" * 1000) == b"hello" * 1000

    visits = [background(visit, number) for number in range(60)]
    assert all(visit.result(PATIENCE) for visit in visits)
    wait_until_idle(server)
    assert inside == 0
    assert 1 <= most <= 3
    assert server.stats().accepted == 60


def test_waiting_peers_are_served_in_the_order_in_which_they_connected(serve, connect):
    server = serve(max_connections=1)
    first = connect(server)
    assert first.exchange(b"0") == b"0"
    waiting = [connect(server) for _ in range(10)]
    for number, peer in enumerate(waiting):
        peer.send(b"%d" % number)
    first.close()
    for number, peer in enumerate(waiting):
        assert peer.read(1) == b"%d" % number
        assert server.stats().accepted == number + 2
        peer.close()


# -- reject


def test_at_the_limit_new_peers_are_closed_at_once(serve, connect, log):
    server = serve(max_connections=2, at_limit="reject")
    inside = [connect(server), connect(server)]
    for peer in inside:
        assert peer.exchange(b"in") == b"in"
    for _ in range(10):
        assert connect(server).read_to_end() == b""
    stats = server.stats()
    assert (stats.accepted, stats.active, stats.rejected, stats.held) == (2, 2, 10, 0)
    for peer in inside:
        assert peer.exchange(b"still in") == b"still in"
    inside[0].close()
    connect_until_served(connect, server)
    assert server.stats().accepted == 3


def test_a_peer_that_has_sent_something_is_closed_too(serve, connect):
    server = serve(max_connections=1, at_limit="reject")
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    for _ in range(10):
        peer = connect(server)
        try:
            peer.send(b"let me in")
        except ConnectionError:  # closed before it could send
            continue
        assert peer.read_to_break() == b""
    assert server.stats().rejected == 10


@pytest.mark.parametrize("at_limit", ["wait", "reject"])
def test_the_warning_comes_at_most_once_a_second(serve, connect, log, at_limit):
    server = serve(max_connections=1, at_limit=at_limit)
    begun = monotonic()
    peer = connect(server)
    assert peer.exchange(b"in") == b"in"
    for _ in range(100):
        another = connect(server)
        if at_limit == "reject":
            assert another.read_to_end() == b""
        else:
            peer.close()
            assert another.exchange(b"in") == b"in"
            peer = another
    assert len(log.lines(REACHED)) <= 1 + (monotonic() - begun)
    if at_limit == "reject":
        assert len(log.lines(REACHED)) >= 1


# -- stopping


def test_stop_while_peers_wait_at_the_limit(serve, connect, log):
    server = serve(max_connections=1)
    inside = connect(server)
    assert inside.exchange(b"in") == b"in"
    waiting = connect(server)
    waiting.send(b"hello")
    log.wait_for(REACHED)
    assert server.stop() == []
    assert inside.read_to_end() == b""
    assert waiting.read_to_break() == b""
    assert server.stats().accepted == 1


def test_stop_while_peers_wait_and_no_place_becomes_free(serve, connect, log, gate, monkeypatch):
    monkeypatch.setattr(echoserver.serving.drain, "_GRACE_AFTER_CUT", 0.05)
    server = serve(gate, max_connections=1)
    inside = connect(server)
    inside.send(b"hello")
    gate.wait_entered()
    connect(server)
    log.wait_for(REACHED)
    begun = monotonic()
    assert server.stop(timeout=0.1) == [f"1 {inside.name}"]
    assert monotonic() - begun < 5  # the acceptor is woken from its wait for a place
    gate.open()
    wait_until_idle(server)
    wait_until_gone(server)


# -- the places


def test_no_failure_costs_a_place(serve, connect, log):
    """If the only place were lost, no other peer would be served."""

    def feed(data: bytes) -> bytes:
        if data == b"fail":
            raise SystemExit("as told")
        return b"x" * 12_000_000 if data == b"much" else data

    server = serve(scripted(feed=feed), max_connections=1, write_timeout=0.1, idle_timeout=1)

    def next_peer(message: bytes = b"") -> Peer:
        peer = connect(server)
        peer.send(message)
        return peer

    next_peer().close()  # a probe
    next_peer(b"hello").reset()
    failed = next_peer(b"fail")
    assert failed.read_to_end() == b""
    stalled = next_peer(b"much")
    assert log.ended(stalled)["reason"] == "stalled"
    assert next_peer().read_to_end() == b""  # idle
    assert next_peer().swap(b"hello") == b"hello"
    assert next_peer().swap(b"the next") == b"the next"
    wait_until_idle(server)
    stats = server.stats()
    assert stats.accepted == 7
    assert stats.closed["stalled"] == stats.closed["handler"] == stats.closed["idle"] == 1


def test_a_constructor_that_always_fails_costs_no_place(serve, connect):
    made = []

    class NeverAgain(scripted()):
        def __init__(self) -> None:
            made.append(self)
            if len(made) > 1:
                raise ValueError("cannot be made")

    server = serve(NeverAgain, max_connections=1)
    for _ in range(3):
        assert connect(server).read_to_end() == b""
    wait_until_idle(server)
    assert server.stats().closed["handler"] == 3


def test_a_stuck_handler_keeps_its_place_and_no_other(serve, connect):
    gate = Gate()
    server = serve(scripted(feed=lambda data: gate(data) if data == b"wait" else data), max_connections=2)
    stuck = connect(server)
    stuck.send(b"wait")
    gate.wait_entered()
    for _ in range(5):
        assert connect(server).swap(b"hello") == b"hello"
    gate.open()
    assert stuck.read(4) == b"wait"
