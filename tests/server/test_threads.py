"""The serving threads: which one serves a connection, and when idle ones end."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from time import monotonic

import pytest

import echoserver.serving.threads
from echoserver.clock import Deadline
from server.kit import PATIENCE, wait_until_idle
from server.thread_kit import Job, Pool, driver_for, serve_one


@pytest.fixture(autouse=True)
def jobs_are_served(monkeypatch) -> None:
    monkeypatch.setattr(echoserver.serving.threads, "drive_blocking", driver_for)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    assert made.stop(Deadline(PATIENCE)) == []


def test_an_idle_thread_is_reused(pool):
    first = serve_one(pool, 1)
    assert serve_one(pool, 2) is first
    assert serve_one(pool, 3) is first


def test_a_connection_does_not_wait_for_a_busy_thread(pool):
    busy, other = Job(1, held=True), Job(2)
    pool.assign(busy)
    pool.assign(other)
    assert pool.parked.get(timeout=PATIENCE) is other.thread
    assert busy.entered.wait(PATIENCE)
    assert busy.thread is not other.thread
    busy.released.set()


def test_the_thread_that_became_idle_last_is_used_first(pool):
    jobs = [Job(number, held=True) for number in range(4)]
    for job in jobs:
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
    idle = []
    for number in (2, 0, 3, 1):
        jobs[number].released.set()
        idle.append(pool.parked.get(timeout=PATIENCE))
    again = [Job(number, held=True) for number in range(10, 14)]
    for job in again:
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
    assert [job.thread for job in again] == idle[::-1]
    for job in again:
        job.released.set()


def test_a_thread_is_named_after_the_connection_it_serves(pool):
    jobs = [Job(7), Job(8)]
    for job in jobs:
        pool.assign(job)
        assert pool.parked.get(timeout=PATIENCE).name == "conn-idle"
    assert [job.name for job in jobs] == ["conn-7", "conn-8"]


def test_an_idle_thread_keeps_nothing_of_the_connection_alive(pool):
    job = Job(1)
    pool.assign(job)
    pool.parked.get(timeout=PATIENCE)
    assert pool.lifecycle.served.get(timeout=PATIENCE) is job
    gone = weakref.ref(job)
    del job
    gc.collect()
    assert gone() is None


def test_idle_threads_end_after_a_while(pool, monkeypatch):
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.02)
    jobs = [Job(number, held=True) for number in range(10)]
    for job in jobs:
        pool.assign(job)
    for job in jobs:
        job.released.set()
    gone = {pool.retired.get(timeout=PATIENCE) for _ in jobs}
    assert gone == {job.thread for job in jobs}
    for thread in gone:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        pool.parked.get(timeout=PATIENCE)
    assert pool._all == set()
    assert pool._idle == []
    assert serve_one(pool, 99) not in gone


def test_each_of_many_connections_assigned_in_a_row_is_served(pool):
    """Whatever the threads happen to be doing."""
    jobs = [Job(number) for number in range(2000)]
    for job in jobs:
        pool.assign(job)
    for job in jobs:
        assert job.entered.wait(PATIENCE)
    assert len({job.thread for job in jobs}) <= len(jobs)


def refuse_to_start(monkeypatch, refusals: int) -> list[threading.Thread]:
    """Have the next serving threads fail to start, as on a system that is out of threads; return them."""
    refused: list[threading.Thread] = []
    start = echoserver.serving.threads._ServingThread.start

    def fail_at_first(thread: threading.Thread) -> None:
        if len(refused) < refusals:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(echoserver.serving.threads._ServingThread, "start", fail_at_first)
    return refused


def test_a_thread_that_does_not_start_is_forgotten(pool, monkeypatch):
    refused = refuse_to_start(monkeypatch, 2)
    for number in (1, 2):
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.assign(Job(number))
    assert pool._all == set()
    assert serve_one(pool, 3) not in refused


@pytest.mark.parametrize("mode", ["threads"])
def test_a_peer_without_a_thread_is_closed_and_others_are_not_affected(serve, connect, log, monkeypatch):
    server = serve(max_connections=2)
    before = connect(server)
    assert before.exchange(b"hello") == b"hello"
    refused = refuse_to_start(monkeypatch, 5)
    begun = monotonic()
    for _ in range(5):
        unlucky = connect(server)
        assert unlucky.read_to_break() == b""
        assert log.ended(unlucky)["reason"] == "killed"
    assert len(refused) == 5
    line, *more = log.lines("cannot serve a connection")
    assert len(more) <= monotonic() - begun  # at most once a second
    assert (line["level"], line["reason"]) == ("warning", "can't start new thread")
    assert before.exchange(b"unharmed") == b"unharmed"
    assert connect(server).swap(b"there are threads again") == b"there are threads again"
    before.close()
    wait_until_idle(server)
    stats = server.stats()
    assert (stats.accepted, stats.closed["killed"], stats.closed["eof"]) == (7, 5, 2)


@pytest.mark.parametrize("mode", ["threads"])
def test_one_connection_after_another_uses_one_thread(serve, connect):
    served_by = set()

    def note(data: bytes) -> bytes:
        served_by.add(threading.get_ident())
        return data

    server = serve(note)
    for _ in range(20):
        assert connect(server).swap(b"hello") == b"hello"
        wait_until_idle(server)
    # A thread becomes idle shortly after its connection has left the registry, so a second one is needed now and then.
    assert len(served_by) <= 3
