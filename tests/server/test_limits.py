"""The rate limit and the longest life, on real connections: they delay or end, and lose nothing."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection
from echoserver.serving.rate import TokenBucket
from server.connection_kit import make_connection, serve_blocking, tcp_pair
from server.kit import PATIENCE, Gate, scripted, wait_arrived, wait_until_gone, wait_until_idle

WAYS = [
    {"mode": "threads"},
    {"mode": "workers"},
    {"mode": "workers", "dispatch": "queue"},
    {"mode": "workers", "dispatch": "queue", "queue_order": "priority", "workers": 2},
]


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(map(str, way.values())))
def way(request):
    """Every way to pause. The fixture `serve` runs once for each mode, and these options win over its own."""
    return request.param


@pytest.fixture
def mode():
    return "threads"


@pytest.fixture
def dry(monkeypatch):
    """Buckets that never fill again, and pauses longer than any test waits: who comes out of one was told to."""
    wait = TokenBucket.wait
    monkeypatch.setattr(TokenBucket, "_fill", lambda *_: None)
    monkeypatch.setattr(TokenBucket, "wait", lambda bucket, now: wait(bucket, now) and 2 * PATIENCE)


@pytest.fixture
def pausing(monkeypatch) -> threading.Event:
    """Set when a connection is told to pause: the pause itself may be over by the time that the test looks."""
    told, wait = threading.Event(), TokenBucket.wait

    def note(bucket: TokenBucket, now: float) -> float:
        seconds = wait(bucket, now)
        if seconds:
            told.set()
        return seconds

    monkeypatch.setattr(TokenBucket, "wait", note)
    return told


def wait_for_state(server, state: int) -> Connection:
    """Wait until the only connection is in a state; the one state that nobody tells, so it is looked for."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        for connection in server.connections():
            if connection.stats.state == state:
                return connection
    raise AssertionError(f"never {ConnectionState(state).name.lower()}: {server.connections()}")


# -- delay, and never drop


def test_bytes_come_back_no_faster_than_the_rate_and_all_of_them(serve, connect, way):
    server = serve(rate_limit="1MB/s", rate_burst="100kB", **way)
    payload = bytes(range(256)) * 1000  # 256,000 bytes
    peer = connect(server)
    began = monotonic()
    assert peer.swap(payload) == payload
    # What goes beyond the burst takes its time.
    assert monotonic() - began >= 0.156
    wait_until_idle(server)
    assert server.stats().closed["eof"] == 1


def test_messages_come_back_no_faster_than_the_rate_and_all_of_them(serve, connect, way):
    server = serve(rate_limit="50/s", rate_burst="5", **way)
    peer = connect(server)
    began = monotonic()
    for number in range(15):
        assert peer.exchange(b"message %02d" % number) == b"message %02d" % number
    assert monotonic() - began >= 10 / 50
    peer.finish()
    assert peer.read_to_end() == b""


def test_a_burst_is_not_held_back(serve, connect, way, dry):
    """One message an hour would be late; a hundred at once are not."""
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


def test_a_greeting_and_last_words_cost_nothing(serve, connect, way):
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


def test_a_slow_reader_is_limited_too_and_loses_nothing(serve, connect, way):
    server = serve(rate_limit="64MB/s", rate_burst="64kB", **way)
    peer = connect(server, receive_buffer=4096)
    payload = bytes(range(256)) * 8000
    assert peer.swap(payload) == payload


def test_the_others_do_not_wait_for_one_who_pauses(serve, connect, way, dry):
    server = serve(rate_limit="1/s", rate_burst="2", **{**way, "workers": 1})
    paused = connect(server)
    assert paused.exchange(b"1") == b"1"
    assert paused.exchange(b"2") == b"2"
    connection = wait_for_state(server, ConnectionState.PAUSED)
    paused.send(b"3")
    wait_arrived(connection)
    for _ in range(20):  # a worker, or the poller, that waited would keep them for too long
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
    # The second pause ends with nothing to receive: then it is.
    assert peer.read_to_end() == b""
    wait_until_idle(server)
    assert server.stats().closed["idle"] == 1


# -- asked to end


def test_a_drain_hurries_who_pauses_and_answers_what_had_arrived(serve, connect, way, dry):
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


def test_a_cut_ends_who_pauses(serve, connect, way, dry):
    server = serve(rate_limit="1B/s", rate_burst="1B", **way)
    peer = connect(server)
    assert peer.exchange(b"1") == b"1"
    wait_for_state(server, ConnectionState.PAUSED)
    (connection,) = server.connections()
    connection.end(CloseReason.CUT)
    wait_until_idle(server)
    assert server.stats().closed["cut"] == 1


def test_a_pause_that_begins_after_the_end_was_asked_for_is_none(serve, connect, way, dry):
    """The request to end comes while the handler thinks, and so before there is a pause to cut short."""
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


def test_many_end_at_the_moment_they_begin_to_pause(serve, connect, way, dry):
    """Whoever asks and whoever pauses come in either order, over and over: nobody is left waiting."""
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
def test_stuck_workers_leave_nobody_who_pauses_behind(serve, connect):
    """With every worker held by a handler, a stop settles those that pause as well."""
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


def test_a_blocked_pause_wakes_at_once(background, dry):
    """One connection by itself, in its thread: the event wakes it, not the clock."""
    served, peer = tcp_pair()
    bucket = TokenBucket(1, 1, of_bytes=True, now=monotonic())
    connection = make_connection(served, bucket=bucket)
    with peer:
        serving = background(serve_blocking, connection)
        assert peer.exchange(b"1") == b"1"
        assert connection.end(CloseReason.EXPIRED)
        assert serving.result(PATIENCE) is CloseReason.EXPIRED
        connection.close()


# -- the longest life

LIFETIME = 3600


def end_its_time(server) -> None:
    """Let the only connection's longest life be over now, whatever time the test took to get here."""
    (connection,) = server.connections()
    connection.opened_at -= LIFETIME


def test_a_talkative_peer_ends_at_the_longest_life_and_has_every_reply(serve, connect, way, log):
    server = serve(max_lifetime=0.4, **way)
    began, got = monotonic(), 0  # before its life begins
    peer = connect(server)
    try:
        while peer.exchange(b"x") == b"x":
            got += 1
    except (AssertionError, ConnectionError):
        pass
    assert 0.4 <= monotonic() - began < 1.4
    line = log.ended(peer)
    assert line["reason"] == "expired"
    assert line["bytes_in"] == line["bytes_out"] in (got, got + 1)
    wait_until_idle(server)
    assert server.stats().closed["expired"] == 1


def test_a_silent_peer_ends_at_the_longest_life_in_an_orderly_way(serve, connect, way):
    server = serve(max_lifetime=LIFETIME, **way)
    peer = connect(server)
    assert peer.exchange(b"x") == b"x"
    end_its_time(server)
    assert peer.read_to_end() == b""


def test_what_arrives_while_the_handler_thinks_is_answered_before_the_end(serve, connect, gate, log, monkeypatch):
    server = serve(gate, max_lifetime=LIFETIME)
    peer = connect(server)
    peer.send(b"one")
    gate.wait_entered()
    peer.send(b"two")
    (connection,) = server.connections()
    wait_arrived(connection, len(b"two"))
    asked, end = threading.Event(), Connection.end

    def end_and_say_so(connection: Connection, reason: CloseReason, *, abruptly: bool = False) -> bool:
        outcome = end(connection, reason, abruptly=abruptly)
        asked.set()
        return outcome

    monkeypatch.setattr(Connection, "end", end_and_say_so)
    end_its_time(server)
    assert asked.wait(PATIENCE)
    gate.open()
    assert peer.read_to_break() == b"onetwo"
    assert log.ended(peer)["reason"] == "expired"


def test_who_pauses_ends_at_the_longest_life(serve, connect, way, log, dry):
    server = serve(max_lifetime=LIFETIME, rate_limit="1B/s", rate_burst="1B", **way)
    peer = connect(server)
    peer.send(b"123456")
    wait_for_state(server, ConnectionState.PAUSED)
    end_its_time(server)
    assert peer.read_to_end() == b"123456"  # and not in five pauses
    assert log.ended(peer)["reason"] == "expired"
