"""The counters: they are consistent at every moment, and agree with what the peers counted."""

from __future__ import annotations

import threading
from collections import Counter

from echoserver.observe.metrics import CloseReason, ConnectionState, ConnectionStats, Metrics, Snapshot
from server.kit import PATIENCE, Peer, scripted, wait_until_idle


def adds_up(stats: Snapshot) -> bool:
    return stats.accepted == stats.active + sum(stats.closed.values())


GROWING = ["accepted", "rejected", "held", "bytes_in", "bytes_out", "replies", "handler_errors"]


def test_a_connection_is_either_live_or_closed():
    metrics, stats = Metrics(), ConnectionStats()
    metrics.opened(stats)
    stats.bytes_in, stats.bytes_out, stats.replies = 3, 5, 1
    live = metrics.snapshot()
    assert (live.accepted, live.active, live.bytes_in, live.bytes_out, live.replies) == (1, 1, 3, 5, 1)
    metrics.closed(stats, CloseReason.HANDLER)
    closed = metrics.snapshot()
    assert (closed.accepted, closed.active, closed.bytes_in, closed.bytes_out, closed.replies) == (1, 0, 3, 5, 1)
    assert closed.closed["handler"] == closed.handler_errors == 1
    assert adds_up(live)
    assert adds_up(closed)
    assert live.active == 1  # a snapshot does not change


def test_every_reason_is_in_every_snapshot():
    assert list(Metrics().snapshot().closed) == [reason.value for reason in CloseReason]


def test_a_new_connection_is_receiving():
    stats = ConnectionStats()
    assert type(stats.state) is int, "cheaper to store than a member of the enumeration"
    assert ConnectionState(stats.state).name.lower() == "receiving"


def test_a_connection_that_was_never_opened_is_not_counted_as_closed():
    metrics = Metrics()
    assert metrics.closed(ConnectionStats(), CloseReason.FINISHED) is False
    assert metrics.snapshot().accepted == metrics.snapshot().closed["finished"] == 0


def test_a_connection_that_is_closed_twice_is_counted_once():
    metrics, stats = Metrics(), ConnectionStats()
    metrics.opened(stats)
    stats.bytes_in = 3
    assert metrics.closed(stats, CloseReason.EOF) is True
    assert metrics.closed(stats, CloseReason.CUT) is False
    snapshot = metrics.snapshot()
    assert (snapshot.accepted, snapshot.active, snapshot.bytes_in) == (1, 0, 3)
    assert (snapshot.closed["eof"], snapshot.closed["cut"]) == (1, 0)


def test_of_many_threads_that_close_a_connection_one_counts_it(background):
    metrics, stats, together = Metrics(), ConnectionStats(), threading.Barrier(8)
    metrics.opened(stats)

    def close() -> bool:
        together.wait(PATIENCE)
        return metrics.closed(stats, CloseReason.EOF)

    assert sorted(future.result(PATIENCE) for future in [background(close) for _ in range(8)]) == [False] * 7 + [True]
    assert metrics.snapshot().closed["eof"] == 1


def test_rejected_and_held_peers_are_counted_separately():
    metrics = Metrics()
    metrics.rejected()
    metrics.held()
    metrics.held()
    stats = metrics.snapshot()
    assert (stats.rejected, stats.held, stats.accepted) == (1, 2, 0)


def test_the_counters_add_up_while_many_threads_count(background):
    metrics = Metrics()
    reasons = list(CloseReason)
    start, done = threading.Barrier(5), threading.Event()

    def churn() -> None:
        start.wait(PATIENCE)
        for number in range(5000):
            stats = ConnectionStats()
            metrics.opened(stats)
            stats.bytes_in += number
            stats.replies += 1
            metrics.closed(stats, reasons[number % len(reasons)])

    def watch() -> int:
        start.wait(PATIENCE)
        before, seen = metrics.snapshot(), 0
        while not done.is_set():
            stats = metrics.snapshot()
            assert adds_up(stats)
            assert all(getattr(stats, name) >= getattr(before, name) for name in GROWING)
            before, seen = stats, seen + 1
        return seen

    churning = [background(churn) for _ in range(4)]
    watching = background(watch)
    for future in churning:
        future.result(PATIENCE)
    done.set()
    assert watching.result(PATIENCE) > 0
    stats = metrics.snapshot()
    assert (stats.accepted, stats.active, stats.replies) == (20_000, 0, 20_000)
    assert stats.bytes_in == 4 * sum(range(5000))
    assert stats.closed == Counter(reasons[number % len(reasons)].value for number in range(5000) for _ in range(4))


def test_the_counters_of_a_busy_server_add_up_and_agree_with_the_peers(serve, background):
    servers = []

    def check() -> None:
        assert adds_up(servers[0].stats())

    def feed(data: bytes) -> bytes:
        check()  # in the serving thread
        if data.startswith(b"!"):
            raise ValueError("as told")
        return data.upper()

    server = serve(scripted(feed=feed))
    servers.append(server)

    def churn(seed: int) -> tuple[int, int, int]:
        connections = sent = received = 0
        before = server.stats()
        for number in range(60):
            with Peer(server.address) as peer:
                connections += 1
                message = b"%d-%d " % (seed, number) * (1 + number % 7)
                sent += len(message)
                received += len(peer.swap(message))
            stats = server.stats()
            assert adds_up(stats)
            assert all(getattr(stats, name) >= getattr(before, name) for name in GROWING)
            before = stats
        for _ in range(5):
            with Peer(server.address) as peer:
                connections += 1
                sent += 1
                peer.send(b"!")
                assert peer.read_to_end() == b""
            check()
        return connections, sent, received

    churning = [background(churn, seed) for seed in range(4)]
    counted = [future.result(PATIENCE) for future in churning]
    wait_until_idle(server)
    stats = server.stats()
    connections, sent, received = (sum(column) for column in zip(*counted, strict=True))
    assert (stats.accepted, stats.active) == (connections, 0)
    assert (stats.bytes_in, stats.bytes_out) == (sent, received)
    assert stats.closed["handler"] == stats.handler_errors == 20
    assert stats.closed["eof"] == connections - 20
