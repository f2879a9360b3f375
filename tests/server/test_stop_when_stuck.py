"""Stopping while the workers are held by their handlers and the ready queue is full."""

from __future__ import annotations

import threading

import pytest

from server.kit import PATIENCE, scripted, wait_until_gone
from server.ways import every_way, free_places, wait_for


@pytest.fixture
def mode():
    return "workers"


@pytest.mark.parametrize(("count", "order"), [(4, "fifo"), (4, "lifo"), (4, "priority"), (40, "fifo")])
def test_nothing_is_lost_when_the_queue_is_full(serve, connect, log, gate, count, order):
    server = serve(gate, workers=1, queue_size=1, queue_order=order)
    first = connect(server)
    first.send(b"stuck")
    gate.wait_entered()
    # Greeted by nobody: they wait on the queue, for a place on it, and to begin.
    peers = [first, *(connect(server) for _ in range(count - 1))]
    wait_for(lambda: server.stats().accepted == count, "not all are accepted")
    wait_for(lambda: server.stats().workers.queue_full, "the queue was never full")
    descriptors = [connection.transport for connection in server.connections()]
    poller = server._mode._poller.thread
    cut = server.stop(timeout=0.1)
    assert len(cut) == count
    assert not poller.is_alive()
    for peer in peers:
        assert peer.read_to_break() == b""
        assert log.ended(peer)["reason"] == "cut"
    stats = server.stats()
    assert (stats.accepted, stats.active, stats.closed["cut"]) == (count, 0, count)
    assert stats.workers.queue_depth == 0
    assert free_places(server) == server.config.max_connections
    # Only the socket of the stuck handler is still open.
    assert sum(transport.fileno() >= 0 for transport in descriptors) == 1
    gate.open()
    wait_until_gone(server)
    assert all(transport.fileno() < 0 for transport in descriptors)


def test_those_that_wait_to_be_served_again_are_ended_too(serve, connect, log, gate):
    server = serve(scripted(feed=lambda data: gate(data) if data == b"stuck" else data), workers=1, queue_size=1)
    peers = [connect(server) for _ in range(8)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    peers[0].send(b"stuck")
    gate.wait_entered()
    for peer in peers[1:]:
        peer.send(b"waiting")
    for connection in server.connections()[1:]:
        wait_for(lambda connection=connection: connection.arrived() == len(b"waiting"), "nothing arrived")
    assert len(server.stop(timeout=0.1)) == 8
    assert {log.ended(peer)["reason"] for peer in peers} == {"cut"}
    assert [thread.name for thread in threading.enumerate() if thread.name == "poller"] == []
    gate.open()
    wait_until_gone(server)


@every_way
def test_the_last_statistics_of_an_idle_server_have_nothing_queued(serve, connect, dispatch):
    server = serve(dispatch=dispatch)
    assert connect(server).swap(b"hello") == b"hello"
    assert server.stop() == []
    workers = server.stats().workers
    assert workers is None or workers.queue_depth == 0


def test_the_sign_to_stop_reaches_every_worker(serve, connect, gate, background):
    """One worker is held; the others pass the sign on, however small the queue."""
    server = serve(gate, workers=6, queue_size=1)
    peer = connect(server)
    peer.send(b"stuck")
    gate.wait_entered()
    workers = list(server._mode._workers)
    server.stop(timeout=0.05)
    assert sum(worker.is_alive() for worker in workers) == 1
    gate.open()
    wait_until_gone(server)
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.error is None
