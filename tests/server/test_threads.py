"""The serving threads: used again, last in first out, gone when nobody needs them, and never lost in a race."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from time import monotonic

import pytest

import echoserver.serving.threads
from echoserver.clock import Deadline
from echoserver.serving.connection import Connection
from echoserver.serving.threads import ServingThreads
from server.connection_kit import ANY_CORE
from server.kit import PATIENCE, wait_until_idle


class Job(Connection):
    """A connection as the threads see it; serving it lasts until the test lets it go."""

    def __init__(self, number: int, *, held: bool = False) -> None:
        self.number = number
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.thread: threading.Thread | None = None
        self.name = ""
        if not held:
            self.let_go.set()

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.name = self.thread.name
        self.entered.set()
        assert self.let_go.wait(PATIENCE)


class JobDriver:
    """Stands in for `BlockingDriver`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def serve(self, _buffer: object, _affinity: object) -> None:
        self._job.run()


class JobLifecycle:
    """Stands in for `Lifecycle`: takes the jobs that the threads let go of."""

    def __init__(self) -> None:
        self.closing: SimpleQueue[Job] = SimpleQueue()

    def begin_close(self, job: Job) -> None:
        self.closing.put(job)


class Pool(ServingThreads):
    """Serving threads that report each thread that has become idle or has retired."""

    def __init__(self) -> None:
        super().__init__(JobLifecycle(), ANY_CORE)  # type: ignore[arg-type]
        self.parked: SimpleQueue[threading.Thread] = SimpleQueue()
        self.retired: SimpleQueue[threading.Thread] = SimpleQueue()

    def park(self, thread) -> bool:
        parked = super().park(thread)
        self.parked.put(thread)
        return parked

    def retire(self, thread) -> bool:
        retired = super().retire(thread)
        if retired:
            self.retired.put(thread)
        return retired


@pytest.fixture(autouse=True)
def jobs_are_served(monkeypatch) -> None:
    """Have the threads of the tests without a server run jobs."""
    driver = echoserver.serving.threads.BlockingDriver

    def choose(connection: Connection) -> object:
        return JobDriver(connection) if isinstance(connection, Job) else driver(connection)

    monkeypatch.setattr(echoserver.serving.threads, "BlockingDriver", choose)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    assert made.stop(Deadline(PATIENCE)) == []


def serve_one(pool: Pool, number: int) -> threading.Thread:
    """Have a job served, wait until its thread is idle again, and return that."""
    job = Job(number)
    pool.assign(job)
    thread = pool.parked.get(timeout=PATIENCE)
    assert job.thread is thread
    return thread


def test_an_idle_thread_is_used_again(pool):
    first = serve_one(pool, 1)
    assert serve_one(pool, 2) is first
    assert serve_one(pool, 3) is first


def test_a_busy_thread_is_not_waited_for(pool):
    busy, other = Job(1, held=True), Job(2)
    pool.assign(busy)
    pool.assign(other)
    assert pool.parked.get(timeout=PATIENCE) is other.thread
    assert busy.entered.wait(PATIENCE)
    assert busy.thread is not other.thread
    busy.let_go.set()


def test_the_last_to_go_idle_is_used_first(pool):
    jobs = [Job(number, held=True) for number in range(4)]
    for job in jobs:
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
    idle = []
    for number in (2, 0, 3, 1):
        jobs[number].let_go.set()
        idle.append(pool.parked.get(timeout=PATIENCE))
    again = [Job(number, held=True) for number in range(10, 14)]
    for job in again:
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
    assert [job.thread for job in again] == idle[::-1]
    for job in again:
        job.let_go.set()


def test_a_thread_is_named_after_whom_it_serves(pool):
    jobs = [Job(7), Job(8)]
    for job in jobs:
        pool.assign(job)
        assert pool.parked.get(timeout=PATIENCE).name == "conn-idle"
    assert [job.name for job in jobs] == ["conn-7", "conn-8"]


def test_an_idle_thread_keeps_nothing_of_the_connection_alive(pool):
    job = Job(1)
    pool.assign(job)
    pool.parked.get(timeout=PATIENCE)
    assert pool.lifecycle.closing.get(timeout=PATIENCE) is job
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
        job.let_go.set()
    gone = {pool.retired.get(timeout=PATIENCE) for _ in jobs}
    assert gone == {job.thread for job in jobs}
    for thread in gone:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        pool.parked.get(timeout=PATIENCE)
    assert pool._all == set()
    assert pool._idle == []
    assert serve_one(pool, 99) not in gone


def test_stop_waits_for_threads_that_have_just_retired(monkeypatch):
    """They are in no list any more, and still must not outlive the server."""
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.01)
    pool = Pool()
    threads = []
    for number in range(5):
        job = Job(number, held=True)
        pool.assign(job)
        assert job.entered.wait(PATIENCE)
        threads.append((job, job.thread))
    for job, _ in threads:
        job.let_go.set()
    for _ in threads:
        pool.retired.get(timeout=PATIENCE)
    assert pool.stop(Deadline(PATIENCE)) == []
    assert not any(thread.is_alive() for _, thread in threads)


def test_a_thread_that_is_slow_to_leave_is_waited_for_through_the_one_after_it(monkeypatch):
    monkeypatch.setattr(echoserver.serving.threads, "IDLE_SECONDS", 0.01)
    run, leave = echoserver.serving.threads._ServingThread.run, threading.Event()
    slow: list[threading.Thread] = []

    def run_and_dawdle(thread: threading.Thread) -> None:
        run(thread)
        if not slow:
            slow.append(thread)
            assert leave.wait(PATIENCE)

    monkeypatch.setattr(echoserver.serving.threads._ServingThread, "run", run_and_dawdle)
    pool = Pool()
    first, second = Job(1), Job(2)
    pool.assign(first)
    assert first.entered.wait(PATIENCE)
    assert pool.retired.get(timeout=PATIENCE) is first.thread
    # It has left all lists, and still runs. The next one to retire sees it off.
    seen_off, join = threading.Event(), first.thread.join
    first.thread.join = lambda timeout=None: (seen_off.set(), join(timeout))
    pool.assign(second)
    assert seen_off.wait(PATIENCE)
    assert pool.stop(Deadline(0.05)) == [second.thread]
    leave.set()
    assert pool.stop(Deadline(PATIENCE)) == []
    assert not first.thread.is_alive()
    assert not second.thread.is_alive()


class LateMailbox:
    """A mailbox whose first wait times out exactly when the test has done what must happen in between.

    That `get` says that the time is over and returns only after the test has acted, as if the clock had struck and then
    the thread had not been scheduled for a while.
    """

    def __init__(self) -> None:
        self._letters: SimpleQueue[object] = SimpleQueue()
        self.timed_out = threading.Event()
        self.go_on = threading.Event()

    def put(self, letter: object) -> None:
        self._letters.put(letter)

    def get(self, timeout: float | None = None) -> object:
        if self.timed_out.is_set():
            return self._letters.get(timeout=timeout or PATIENCE)
        self.timed_out.set()
        assert self.go_on.wait(PATIENCE)
        raise Empty


def serve_one_with(pool: Pool, mailbox: LateMailbox) -> threading.Thread:
    """Have a thread serve one job and then wait at this mailbox."""

    class Swap(Job):
        def run(self) -> None:
            threading.current_thread().mailbox = mailbox
            super().run()

    pool.assign(Swap(1))
    thread = pool.parked.get(timeout=PATIENCE)
    assert mailbox.timed_out.wait(PATIENCE)
    return thread


def test_a_thread_that_is_assigned_to_while_it_times_out_serves(pool):
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
    # The stop has taken it off the stack once its letter is there.
    letter = mailbox._letters.get(timeout=PATIENCE)
    mailbox.put(letter)
    mailbox.go_on.set()
    assert stopping.result(PATIENCE) == []
    assert not thread.is_alive()


def test_a_thread_that_retires_is_not_assigned_to(pool):
    mailbox = LateMailbox()
    thread = serve_one_with(pool, mailbox)
    mailbox.go_on.set()
    assert pool.retired.get(timeout=PATIENCE) is thread
    assert serve_one(pool, 2) is not thread


def test_a_thread_that_finishes_while_the_pool_stops_ends():
    pool, job = Pool(), Job(1, held=True)
    pool.assign(job)
    assert job.entered.wait(PATIENCE)
    late = pool.stop(Deadline(0.05))
    assert late == [job.thread]
    job.let_go.set()
    job.thread.join(PATIENCE)
    assert pool.stop(Deadline(PATIENCE)) == []


def test_many_assignments_from_a_thread_that_never_waits(pool):
    """Every job is served once, whatever the threads happen to be doing."""
    jobs = [Job(number) for number in range(2000)]
    for job in jobs:
        pool.assign(job)
    for job in jobs:
        assert job.entered.wait(PATIENCE)
    assert len({job.thread for job in jobs}) <= len(jobs)


def refuse_to_start(monkeypatch, refusals: int) -> list[threading.Thread]:
    """Let the next serving threads fail to start, as on a system that has no more; return which did."""
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
def test_a_peer_for_whom_there_is_no_thread_is_closed_and_nothing_else(serve, connect, log, monkeypatch):
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
    # The thread is idle a moment after its connection has left the registry, so now and then a second one is needed.
    assert len(served_by) <= 3
