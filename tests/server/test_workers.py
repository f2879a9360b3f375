"""The workers mode: the ready queue and its orders, workers that die, and how workers end."""

from __future__ import annotations

import errno
import os
import threading
from time import monotonic
from types import SimpleNamespace

import pytest

import echoserver.net.buffer
import echoserver.serving.workers.epoll_set
from echoserver.clock import Deadline
from echoserver.errors import ConfigError
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import ConnectionState, ConnectionStats
from echoserver.serving.interest import Interest
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.workers.pool import Workers
from echoserver.serving.workers.ready import ReadyQueue, Stop
from echoserver.serving.workers.worker import Worker
from server.kit import PATIENCE, Peer, scripted, wait_arrived, wait_until_idle
from server.log_lines import LogLines


@pytest.fixture
def mode() -> str:
    return "workers"


class Ready(NonBlockingDriver):
    """A driver as the queue sees it."""

    def __init__(self, bytes_in: int = 0) -> None:
        self.stats = ConnectionStats()
        self.stats.bytes_in = bytes_in
        self.connection = SimpleNamespace(stats=self.stats)  # type: ignore[assignment]


def queue_of(order: str, size: int = 10, log: LogLines | None = None) -> ReadyQueue:
    return ReadyQueue(order, size, (log or LogLines()).logger)


def put_all(queue: ReadyQueue, connections: list[Ready]) -> None:
    for connection in connections:
        queue.put(connection, threading.Event())


@pytest.mark.parametrize(
    ("order", "expected"), [("fifo", [0, 1, 2, 3]), ("lifo", [3, 2, 1, 0]), ("priority", [2, 0, 3, 1])]
)
def test_the_queue_order_decides_what_is_served_next(order, expected):
    """By priority, the connection that has been served least comes first; equals keep their order."""
    queue, connections = queue_of(order), [Ready(50), Ready(90), Ready(0), Ready(50)]
    put_all(queue, connections)
    assert all(connection.stats.state == ConnectionState.QUEUED for connection in connections)
    assert [connections.index(queue.get()[0]) for _ in connections] == expected
    assert (queue.depth, queue.high_water, queue.times_full) == (0, 4, 0)


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_a_full_queue_makes_the_poller_wait_for_a_place(order, background):
    log = LogLines()
    queue, late = queue_of(order, 1, log), Ready()
    put_all(queue, [Ready()])
    putting = background(queue.put, late, threading.Event())
    log.wait_for("queue full", size=1, times=1)
    assert not putting.done()
    queue.get()
    putting.result(PATIENCE)
    assert queue.get()[0] is late
    assert queue.times_full == 1


def test_a_full_queue_is_logged_once_a_second_at_most():
    log, stopping = LogLines(), threading.Event()
    stopping.set()
    queue = queue_of("fifo", 1, log)
    for _ in range(4):
        queue.put(Ready(), stopping)  # a server that is stopping waits for no place
    assert queue.times_full == 3
    assert len(log.lines("queue full")) == 1


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_every_worker_gets_the_stop_sign_even_through_a_small_queue(order, background):
    queue = queue_of(order, 1)
    queue.stop(Deadline(PATIENCE))
    for _ in range(5):
        item, _ = background(queue.get).result(PATIENCE)
        assert isinstance(item, Stop)


def test_join_waits_until_what_was_taken_off_has_been_served(background):
    queue = queue_of("fifo")
    put_all(queue, [Ready()])
    queue.get()
    begun = monotonic()
    queue.join(Deadline(0.05))
    assert monotonic() - begun >= 0.05
    joining = background(queue.join, Deadline(PATIENCE))
    queue.task_done()
    joining.result(PATIENCE)


def test_a_connection_is_served_by_one_worker_at_a_time(serve, connect, gate):
    """Bytes that arrive while a worker serves it wait for that worker, although others are free."""
    received = []

    def feed(data: bytes) -> bytes:
        received.append(data)
        return gate(data) if data == b"first" else data

    server = serve(scripted(feed=feed), workers=4)
    held, other = connect(server), connect(server)
    assert other.exchange(b"0") == b"0"
    held.send(b"first")
    gate.wait_entered()
    held.send(b"second")
    (connection,) = [one for one in server.connections() if one.peer == held.name]
    wait_arrived(connection, len(b"second"))
    for _ in range(10):  # the poller and the other workers go on
        assert other.exchange(b"0") == b"0"
    assert b"second" not in received
    gate.open()
    assert held.read(11) == b"firstsecond"
    assert [data for data in received if data != b"0"] == [b"first", b"second"]


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_the_bytes_of_a_connection_stay_in_order_in_every_queue_order(serve, background, order):
    def swap(seed: int) -> bool:
        data = bytes([seed]) + os.urandom(300_000)
        with Peer(server.address) as peer:
            return peer.swap(data) == data

    server = serve(scripted(), workers=8, queue_size=4, queue_order=order)
    assert all(future.result(PATIENCE) for future in [background(swap, seed) for seed in range(12)])


@pytest.fixture
def fatal(monkeypatch) -> threading.Event:
    """While it is set, the next worker that serves an event dies of it."""
    deadly, on_ready = threading.Event(), NonBlockingDriver.on_ready

    def serve_or_die(driver: NonBlockingDriver, buffer: ReceiveBuffer) -> Interest:
        if deadly.is_set() and isinstance(threading.current_thread(), Worker):
            deadly.clear()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return on_ready(driver, buffer)

    monkeypatch.setattr(NonBlockingDriver, "on_ready", serve_or_die)
    return deadly


def test_a_worker_that_dies_is_replaced_within_a_second(serve, connect, log, fatal, monkeypatch):
    """The janitor replaces it at the first look that finds it dead, and it looks twice a second or more."""
    looks, maintain = [], Workers.maintain

    def note(workers: Workers) -> None:
        looks.append(all(worker.is_alive() for worker in workers._workers))
        maintain(workers)

    monkeypatch.setattr(Workers, "maintain", note)
    server = serve(scripted(), workers=1)
    assert server._janitor._look_interval <= 0.5
    victim = connect(server)
    assert victim.exchange(b"1") == b"1"
    fatal.set()
    victim.send(b"2")
    (line,) = log.wait_for("worker died and was replaced")
    assert looks.count(False) == 1
    assert (line["level"], line["thread"]) == ("error", "worker-1")
    assert "No space left" in str(line["exc_info"])
    assert victim.read_to_break() in (b"", b"2")  # the worker may have died of the previous event
    assert connect(server).swap(b"served by the next") == b"served by the next"
    wait_until_idle(server)
    assert server.stats().closed["killed"] == 1
    assert server.stats().workers.replaced == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_setaffinity(2)")
def test_the_successor_runs_on_the_shared_core(serve, connect, log, fatal):
    where = []

    def feed(data: bytes) -> bytes:
        where.append(os.sched_getaffinity(0))
        return data

    server = serve(scripted(feed=feed), workers=1, cores="one")
    victim = connect(server)
    assert victim.exchange(b"1") == b"1"
    fatal.set()
    victim.send(b"2")
    log.wait_for("worker died and was replaced")
    assert connect(server).exchange(b"3") == b"3"
    assert len(where[0]) == 1
    assert where == [where[0]] * len(where)


def test_a_worker_is_replaced_once_there_is_memory_for_a_successor(serve, connect, log, fatal, monkeypatch):
    server = serve(scripted(), workers=1)
    victim = connect(server)

    def no_memory(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patched:
        patched.setattr(echoserver.net.buffer.mmap, "mmap", no_memory)
        fatal.set()
        victim.send(b"1")
        log.wait_for("cannot replace a worker")
    log.wait_for("worker died and was replaced")
    assert connect(server).swap(b"served again") == b"served again"


@pytest.mark.parametrize("workers", [1, 8])
def test_stopping_ends_more_workers_than_the_queue_has_places(serve, connect, workers):
    server = serve(scripted(), workers=workers, queue_size=1)
    assert connect(server).swap(b"hello") == b"hello"
    wait_until_idle(server)
    begun = monotonic()
    assert server.stop() == []
    assert monotonic() - begun < 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]


def test_without_epoll_the_mode_is_refused(serve, monkeypatch):
    monkeypatch.setattr(echoserver.serving.workers.epoll_set, "_EVENTS", {})
    with pytest.raises(ConfigError, match="this platform has no epoll; must be threads here"):
        serve()


def test_inline_is_refused_with_a_handler_that_may_block(serve):
    with pytest.raises(ConfigError, match=r"inline is refused: the handler .* may block") as refused:
        serve(scripted(), dispatch="inline")
    assert refused.value.key == "dispatch"


@pytest.mark.parametrize(("dispatch", "queued"), [("auto", False), ("inline", False), ("queue", True)])
def test_dispatch_decides_which_thread_serves_and_what_is_counted(serve, connect, dispatch, queued):
    """Echo never blocks, so the poller serves it unless configured otherwise."""
    server = serve("echo", workers=2, dispatch=dispatch)
    peer = connect(server)
    for _ in range(10):
        assert peer.exchange(b"hello") == b"hello"
    peer.close()
    wait_until_idle(server)
    counts = server.stats().workers
    assert counts is not None
    served, idle = (
        (counts.queued_events, counts.inline_events) if queued else (counts.inline_events, counts.queued_events)
    )
    assert served >= 10
    assert idle == 0
    assert (counts.queued_seconds > 0) == queued
    assert (counts.queue_high_water >= 1) == queued
    assert (counts.queue_depth, counts.queue_full, counts.replaced) == (0, 0, 0)


def test_a_worker_is_busy_while_it_serves(serve, connect, gate):
    server = serve(gate, workers=2)
    peer = connect(server)
    peer.send(b"wait")
    gate.wait_entered()
    while server.stats().workers.busy != 1:  # no event tells of it; the other one may still be busy
        pass
    gate.open()
    assert peer.read(4) == b"wait"
