"""The ready queue: connections that wait for a worker, bounded, and in the order that the configuration asks for.

The poller is its only producer of connections, the workers are its consumers. A worker says `task_done` when it has
served what it took, so that whoever stops the server can wait for all that is queued to be served, not only taken off.
"""

from __future__ import annotations

import itertools
import math
from queue import Empty, Full, LifoQueue, PriorityQueue, Queue
from threading import Event
from time import monotonic

from structlog.typing import FilteringBoundLogger

from echoserver.clock import Deadline, Throttle
from echoserver.observe.metrics import ConnectionState
from echoserver.serving.nonblocking import NonBlockingConnection

_FULL_RETRY_SECONDS = 0.1


class Stop:
    """What ends a worker, in a connection's place on the queue: never `None`, which a slip may put there."""


_STOP = Stop()

# How urgent, a serial number that keeps equals in order (and a PriorityQueue from comparing connections), when it was
# queued, and who.
_Entry = tuple[float, int, float, NonBlockingConnection | Stop]
_LAST: _Entry = (math.inf, 0, 0.0, _STOP)


def make_queue(order: str, size: int) -> Queue[_Entry]:
    """Return the bounded queue of the order asked for: fifo, lifo or priority."""
    kinds: dict[str, type[Queue[_Entry]]] = {"fifo": Queue, "lifo": LifoQueue, "priority": PriorityQueue}
    return kinds[order](size)


class ReadyQueue:
    """The queue and what is counted of it.

    Parameters
    ----------
    order:
        Who is served next: fifo, lifo or priority.
    size:
        How many connections may wait.
    log:
        Is told, once a second at most, that it is full.

    """

    def __init__(self, order: str, size: int, log: FilteringBoundLogger) -> None:
        self._queue = make_queue(order, size)
        self._log = log
        # The poller's own; others read the counters.
        self._by_service = order == "priority"
        self._serial = itertools.count()
        self._warn_full = Throttle(1.0)
        self.high_water = 0
        """The most that have waited at once."""
        self.times_full = 0
        """How often the poller had to wait for a place."""

    @property
    def depth(self) -> int:
        """How many wait."""
        return self._queue.qsize()

    def put(self, connection: NonBlockingConnection, stopping: Event) -> None:
        """Have a connection wait for a worker; called by the poller.

        While the queue is full the poller waits here and polls nobody: what peers send stays in the kernel, and TCP
        slows them down. Once `stopping` is set it waits no more.
        """
        stats = connection.stats
        stats.state = ConnectionState.QUEUED
        # Least attained service first: who has been given least so far.
        urgency = stats.bytes_in + stats.bytes_out if self._by_service else 0
        entry = (urgency, next(self._serial), monotonic(), connection)
        try:
            self._queue.put_nowait(entry)
        except Full:
            self._wait_for_place(entry, stopping)
        depth = self._queue.qsize()
        if depth > self.high_water:
            self.high_water = depth

    def _wait_for_place(self, entry: _Entry, stopping: Event) -> None:
        self.times_full += 1
        if self._warn_full.ready():
            self._log.warning("queue full", size=self._queue.maxsize, times=self.times_full)
        while True:
            try:
                self._queue.put(entry, timeout=_FULL_RETRY_SECONDS)
            except Full:
                if stopping.is_set():  # past the drain's deadline, with all workers stuck
                    return
            else:
                return

    def get(self) -> tuple[NonBlockingConnection | Stop, float]:
        """Wait for the next one; return it, or the sign to stop, with when it was queued. `task_done` has to follow."""
        _, _, queued_at, connection = self._queue.get()
        if connection is _STOP:
            self._queue.put_nowait(_LAST)  # there is room: nobody queues connections any more
        return connection, queued_at

    def task_done(self) -> None:
        """Say that what `get` returned has been dealt with."""
        self._queue.task_done()

    def take_left(self) -> NonBlockingConnection | None:
        """Return one that nobody will serve any more, and count it as dealt with; `None` if there is none."""
        try:
            *_, connection = self._queue.get_nowait()
        except Empty:
            return None
        self._queue.task_done()
        assert isinstance(connection, NonBlockingConnection), "the signs to stop come after the poller has taken these"
        return connection

    def join(self, deadline: Deadline) -> None:
        """Do what `Queue.join` does, within a time limit: a handler that never comes back never calls `task_done`."""
        queue = self._queue
        with queue.all_tasks_done:
            while queue.unfinished_tasks and not deadline.expired:
                queue.all_tasks_done.wait(deadline.timeout())

    def stop(self, deadline: Deadline) -> None:
        """Tell the workers to end, after what is queued: each that hears it tells the next."""
        try:
            self._queue.put(_LAST, timeout=deadline.timeout())
        except Full:  # all workers are stuck
            pass
