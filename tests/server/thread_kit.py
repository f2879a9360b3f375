"""Serving threads without a server, and jobs for them in the place of connections."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import echoserver.serving.threads
from echoserver.serving.connection import Connection
from echoserver.serving.threads import ServingThreads
from server.connection_kit import ANY_CORE
from server.kit import PATIENCE

_drive_blocking = echoserver.serving.threads.drive_blocking


class Job(Connection):
    """A connection as the threads see it. Serving it lasts until the test releases it."""

    def __init__(self, number: int, *, held: bool = False) -> None:
        self.number = number
        self.entered = threading.Event()
        self.released = threading.Event()
        self.thread: threading.Thread | None = None
        self.name = ""
        if not held:
            self.released.set()

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.name = self.thread.name
        self.entered.set()
        assert self.released.wait(PATIENCE)


class JobDriver:
    """Stands in for a `BlockingDriver`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def serve(self, _buffer: object, _affinity: object) -> None:
        self._job.run()


class JobLifecycle:
    """Stands in for `Lifecycle`: takes the jobs that have been served."""

    def __init__(self) -> None:
        self.served: SimpleQueue[Job] = SimpleQueue()

    def begin_close(self, job: Job) -> None:
        self.served.put(job)


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


def serve_one(pool: Pool, number: int) -> threading.Thread:
    """Have a job served, wait until its thread is idle again, and return the thread."""
    job = Job(number)
    pool.assign(job)
    thread = pool.parked.get(timeout=PATIENCE)
    assert job.thread is thread
    return thread


def driver_for(connection: Connection) -> object:
    """Return what serves a job or, for a server in the same test, a connection."""
    return JobDriver(connection) if isinstance(connection, Job) else _drive_blocking(connection)
