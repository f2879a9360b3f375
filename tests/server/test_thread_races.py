"""Serving threads that time out, retire and are stopped at the same moment as they get a connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest

import echoserver.serving.threads
from echoserver.clock import Deadline
from server.kit import PATIENCE
from server.thread_kit import Job, Pool, driver_for, serve_one


@pytest.fixture(autouse=True)
def jobs_are_served(monkeypatch) -> None:
    monkeypatch.setattr(echoserver.serving.threads, "drive_blocking", driver_for)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    assert made.stop(Deadline(PATIENCE)) == []


def test_stop_waits_for_threads_that_have_just_retired(monkeypatch):
    """They are in no list any more, but must not outlive the server."""
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.01)
    pool = Pool()
    threads = []
    for number in range(5):
        job = Job(number, held=True)
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
        threads.append((job, job.thread))
    for job, _ in threads:
        job.released.set()
    for _ in threads:
        pool.retired.get(timeout=PATIENCE)
    assert pool.stop(Deadline(PATIENCE)) == []
    assert not any(thread.is_alive() for _, thread in threads)


def test_a_retired_thread_is_joined_by_the_next_one_to_retire(monkeypatch):
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.01)
    run, leave = echoserver.serving.threads._ServingThread.run, threading.Event()
    slow: list[threading.Thread] = []

    def run_and_wait(thread: threading.Thread) -> None:
        run(thread)
        if not slow:
            slow.append(thread)
            assert leave.wait(PATIENCE)

    monkeypatch.setattr(echoserver.serving.threads._ServingThread, "run", run_and_wait)
    pool = Pool()
    first, second = Job(1), Job(2)
    pool.assign(first)
    assert first.entered.wait(PATIENCE)
    assert pool.retired.get(timeout=PATIENCE) is first.thread
    # It has left all lists but still runs. The next thread to retire joins it.
    joined, join = threading.Event(), first.thread.join
    first.thread.join = lambda timeout=None: (joined.set(), join(timeout))
    pool.assign(second)
    assert joined.wait(PATIENCE)
    assert pool.stop(Deadline(0.05)) == [second.thread]
    leave.set()
    assert pool.stop(Deadline(PATIENCE)) == []
    assert not first.thread.is_alive()
    assert not second.thread.is_alive()


class LateMailbox:
    """A mailbox whose first wait times out, and returns only after the test has acted in between.

    It is as if the timeout had passed and the thread had then not been scheduled for a while.
    """

    def __init__(self) -> None:
        self._items: SimpleQueue[object] = SimpleQueue()
        self.timed_out = threading.Event()
        self.go_on = threading.Event()

    def put(self, item: object) -> None:
        self._items.put(item)

    def get(self, timeout: float | None = None) -> object:
        if self.timed_out.is_set():
            return self._items.get(timeout=timeout or PATIENCE)
        self.timed_out.set()
        assert self.go_on.wait(PATIENCE)
        raise Empty


def serve_one_with(pool: Pool, mailbox: LateMailbox) -> threading.Thread:
    """Have a thread serve one job and then wait for this mailbox."""

    class Swap(Job):
        def run(self) -> None:
            threading.current_thread().mailbox = mailbox
            super().run()

    pool.assign(Swap(1))
    thread = pool.parked.get(timeout=PATIENCE)
    assert mailbox.timed_out.wait(PATIENCE)
    return thread


def test_a_thread_that_gets_a_connection_while_it_times_out_serves_it(pool):
    mailbox = LateMailbox()
    thread = serve_one_with(pool, mailbox)
    job = Job(2)
    pool.assign(job)  # takes the thread off the stack; what it puts into the mailbox must not be lost
    mailbox.go_on.set()
    assert job.entered.wait(PATIENCE)
    assert job.thread is thread
    assert pool.retired.empty()


def test_a_thread_that_is_stopped_while_it_times_out_ends(background):
    pool, mailbox = Pool(), LateMailbox()
    thread = serve_one_with(pool, mailbox)
    stopping = background(pool.stop, Deadline(PATIENCE))
    # Once the item is there, the stop has taken the thread off the stack.
    item = mailbox._items.get(timeout=PATIENCE)
    mailbox.put(item)
    mailbox.go_on.set()
    assert stopping.result(PATIENCE) == []
    assert not thread.is_alive()


def test_a_retired_thread_gets_no_connection(pool):
    mailbox = LateMailbox()
    thread = serve_one_with(pool, mailbox)
    mailbox.go_on.set()
    assert pool.retired.get(timeout=PATIENCE) is thread
    assert serve_one(pool, 2) is not thread


def test_a_thread_that_becomes_idle_during_the_stop_ends():
    pool, job = Pool(), Job(1, held=True)
    pool.assign(job)
    assert job.entered.wait(PATIENCE)
    late = pool.stop(Deadline(0.05))
    assert late == [job.thread]
    job.released.set()
    job.thread.join(PATIENCE)
    assert pool.stop(Deadline(PATIENCE)) == []
