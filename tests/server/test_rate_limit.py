"""The rate limit on real connections: it delays what is received, loses nothing, and ends when it has to."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.rate import TokenBucket
from server.connection_kit import make_connection, serve_blocking, tcp_pair
from server.kit import PATIENCE, Gate, scripted, wait_arrived, wait_for_state, wait_until_gone, wait_until_idle


@pytest.fixture
def mode():
    return "threads"


@pytest.fixture
def pausing(monkeypatch) -> threading.Event:
    """Return an event that is set when a connection is told to pause; the pause may be over when the test looks."""
    told, wait = threading.Event(), TokenBucket.wait

    def note(bucket: TokenBucket, now: float) -> float:
        seconds = wait(bucket, now)
        if seconds:
            told.set()
        return seconds

    monkeypatch.setattr(TokenBucket, "wait", note)
    return told


def test_all_bytes_come_back_no_faster_than_the_rate(serve, connect, way):
    server = serve(rate_limit="1MB/s", rate_burst="100kB", **way)
    payload = bytes(range(256)) * 1000  # 256,000 bytes
    peer = connect(server)
    began = monotonic()
    assert peer.swap(payload) == payload
    # The rate applies to what exceeds the burst.
    assert monotonic() - began >= 0.156
    wait_until_idle(server)
    assert server.stats().closed["eof"] == 1


def test_all_messages_come_back_no_faster_than_the_rate(serve, connect, way):
    server = serve(rate_limit="50/s", rate_burst="5", **way)
    peer = connect(server)
    began = monotonic()
    for number in range(15):
        assert peer.exchange(b"message %02d" % number) == b"message %02d" % number
    assert monotonic() - began >= 10 / 50
    peer.finish()
    assert peer.read_to_end() == b""


def test_a_burst_is_not_delayed(serve, connect, way, dry):
    """The bucket never fills again, so one message more than the burst would wait for ever."""
    server = serve(rate_limit="1/s", rate_burst="100", **way)
    peer = connect(server)
    for number in range(100):
        assert peer.exchange(b"%02d" % number) == b"%02d" % number
    wait_for_state(server, ConnectionState.PAUSED)


def test_one_receive_takes_no_more_than_the_burst(serve, connect, way):
    seen = []

    def feed(data: bytes) -> bytes:
        seen.append(len(data))
        return data

    server = serve(
        scripted(feed=feed, blocking=way.get("dispatch") == "queue"), rate_limit="100kB/s", rate_burst="700B", **way
    )
    payload = bytes(10_000)
    assert connect(server).swap(payload) == payload
    assert max(seen) <= 700
    assert sum(seen) == 10_000


def test_a_half_close_during_a_pause_is_answered_in_full(serve, connect, way, pausing):
    server = serve(rate_limit="5/s", rate_burst="1", **way)
    peer = connect(server)
    assert peer.exchange(b"first") == b"first"
    assert pausing.wait(PATIENCE)
    peer.send(b"second")
    peer.finish()
    assert peer.read_to_end() == b"second"


def test_the_replies_of_greet_and_finish_are_not_limited(serve, connect, way):
    handler = scripted(greet=lambda: b"hello", finish=lambda: b"bye", blocking=way.get("dispatch") == "queue")
    server = serve(handler, rate_limit="10/s", rate_burst="1", **way)
    peer = connect(server)
    assert peer.read(5) == b"hello"
    assert peer.exchange(b"x") == b"x"
    peer.finish()
    assert peer.read_to_end() == b"bye"


def test_a_peer_that_resets_during_its_pause_leaves_nothing(serve, connect, way, pausing):
    server = serve(rate_limit="10/s", rate_burst="1", **way)
    for _ in range(5):
        peer = connect(server)
        pausing.clear()
        assert peer.exchange(b"x") == b"x"
        assert pausing.wait(PATIENCE)
        peer.reset()
        wait_until_idle(server)
    assert server.stats().closed["reset"] == 5


def test_a_limited_peer_that_reads_slowly_loses_nothing(serve, connect, way):
    server = serve(rate_limit="64MB/s", rate_burst="64kB", **way)
    peer = connect(server, receive_buffer=4096)
    payload = bytes(range(256)) * 8000
    assert peer.swap(payload) == payload


def test_a_paused_connection_does_not_hold_up_others(serve, connect, way, dry):
    server = serve(rate_limit="1/s", rate_burst="2", **{**way, "workers": 1})
    paused = connect(server)
    assert paused.exchange(b"1") == b"1"
    assert paused.exchange(b"2") == b"2"
    connection = wait_for_state(server, ConnectionState.PAUSED)
    paused.send(b"3")
    wait_arrived(connection)
    for _ in range(20):  # they would wait too long if a worker, or the poller, waited
        peer = connect(server)
        assert peer.exchange(b"x") == b"x"
        peer.close()
    assert connection.stats.state == ConnectionState.PAUSED
    assert server.stop() == []
    assert paused.read_to_end() == b"3"


def test_a_paused_connection_is_not_idle(serve, connect, way):
    # The pause is five times as long as the idle timeout.
    server = serve(rate_limit="2/s", rate_burst="1", idle_timeout=0.1, **way)
    peer = connect(server)
    assert peer.exchange(b"1") == b"1"
    peer.send(b"2")
    assert peer.read(1) == b"2"
    # When the second pause ends there is nothing to receive, and then it is idle.
    assert peer.read_to_end() == b""
    wait_until_idle(server)
    assert server.stats().closed["idle"] == 1


# -- asked to end


def test_a_drain_ends_pauses_and_answers_what_had_arrived(serve, connect, way, dry):
    server = serve(rate_limit="1/s", rate_burst="1", **way)
    peers = [connect(server) for _ in range(5)]
    for peer in peers:
        assert peer.exchange(b"1") == b"1"
    for connection, peer in zip(server.connections(), peers, strict=True):
        peer.send(b"arrived")
        wait_arrived(connection)
    assert server.stop() == []
    for peer in peers:
        assert peer.read_to_break() == b"arrived"
    assert server.stats().closed["drained"] == 5


def test_a_cut_ends_a_pause(serve, connect, way, dry):
    server = serve(rate_limit="1B/s", rate_burst="1B", **way)
    peer = connect(server)
    assert peer.exchange(b"1") == b"1"
    wait_for_state(server, ConnectionState.PAUSED)
    (connection,) = server.connections()
    connection.end(CloseReason.CUT)
    wait_until_idle(server)
    assert server.stats().closed["cut"] == 1


def test_no_pause_begins_after_the_connection_was_asked_to_end(serve, connect, way, dry):
    """The request comes while the handler runs, before there is a pause to cut short."""
    gate = Gate()
    server = serve(gate, rate_limit="1/s", rate_burst="1", **way)
    try:
        peer = connect(server)
        peer.send(b"1")
        gate.wait_entered()
        (connection,) = server.connections()
        assert connection.end(CloseReason.DRAINED)
    finally:
        gate.open()
    wait_until_idle(server)
    assert peer.read_to_end() == b"1"


def test_no_request_to_end_is_lost_as_a_pause_begins(serve, connect, way, dry):
    """The request and the pause come in either order, many times; no connection is left waiting."""
    server = serve(rate_limit="1B/s", rate_burst="1B", **way)
    for _ in range(40):
        peer = connect(server)
        peer.send(b"1")
        while not server.connections():
            pass
        (connection,) = server.connections()
        while not connection.stats.bytes_in:
            pass
        connection.end(CloseReason.EXPIRED)
        wait_until_idle(server)
        assert peer.read_to_end() == b"1"


@pytest.mark.parametrize("mode", ["workers"])
def test_a_stop_with_stuck_workers_ends_paused_connections_too(serve, connect):
    gate = Gate()

    def feed(data: bytes) -> bytes:
        return gate(data) if data == b"stuck" else data

    server = serve(scripted(feed=feed), workers=1, rate_limit="1/s", rate_burst="1", drain_timeout=0.2)
    try:
        paused, stuck = connect(server), connect(server)
        assert paused.exchange(b"1") == b"1"
        stuck.send(b"stuck")
        gate.wait_entered()
        assert len(server.stop()) == 2
    finally:
        gate.open()
    wait_until_idle(server)
    wait_until_gone(server)
    assert server.stats().closed["cut"] == 2


def test_a_request_to_end_wakes_a_pausing_thread_at_once(background, dry):
    served, peer = tcp_pair()
    bucket = TokenBucket(1, 1, of_bytes=True, now=monotonic())
    connection = make_connection(served, bucket=bucket)
    with peer:
        serving = background(serve_blocking, connection)
        assert peer.exchange(b"1") == b"1"
        assert connection.end(CloseReason.EXPIRED)
        assert serving.result(PATIENCE) is CloseReason.EXPIRED
        connection.close()
