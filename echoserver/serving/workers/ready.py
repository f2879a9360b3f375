"""The ready queue: connections that wait for a worker, bounded, and in the order that the configuration asks for.

The poller is its only producer of connections, the workers are its consumers. A worker calls `task_done` when it has
served what it took, so that whoever stops the server can wait until everything queued has been served, and not only
taken off.
"""

from __future__ import annotations

import itertools
import math
from queue import Empty, Full, LifoQueue, PriorityQueue, Queue
from threading import Event
from time import monotonic

from echoserver.clock import Deadline, Throttle
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import ConnectionState
from echoserver.observe.telling import tell
from echoserver.serving.nonblocking import NonBlockingDriver

_FULL_RETRY_SECONDS = 0.1


class Stop:
    """What ends a worker, in the place of a connection on the queue: never `None`, which a slip may put there."""


_STOP = Stop()

# How urgent; a serial number that keeps equals in order (and a PriorityQueue from comparing drivers); when it was
# queued; and what.
_Entry = tuple[float, int, float, NonBlockingDriver | Stop]
_LAST: _Entry = (math.inf, 0, 0.0, _STOP)


def make_queue(order: str, size: int) -> Queue[_Entry]:
    """Return a bounded queue of the order asked for: fifo, lifo or priority."""
    kinds: dict[str, type[Queue[_Entry]]] = {"fifo": Queue, "lifo": LifoQueue, "priority": PriorityQueue}
    return kinds[order](size)


class ReadyQueue:
    """The queue and what is counted of it.

    Parameters
    ----------
    order:
        What is served next: fifo, lifo or priority.
    size:
        How many connections may wait.
    log:
        Is told, once a second at most, that the queue is full.

    """

    def __init__(self, order: str, size: int, log: Logger) -> None:
        self._queue = make_queue(order, size)
        self._log = log
        self._closing = False  # written by the thread that stops the workers; whether the stop sign has been put
        # The poller's own; others read the counters.
        self._by_service = order == "priority"
        self._serial = itertools.count()
        self._warn_full = Throttle(1.0)
        self.high_water = 0
        """The most connections that have waited at once."""
        self.times_full = 0
        """How often the poller had to wait for a place."""
        self.retries = 0
        """How often it has found the queue still full while it waited: it is held up, and not stuck."""

    @property
    def depth(self) -> int:
        """How many connections wait."""
        # The stop sign is no connection, and is on the queue or in the hands of a worker that passes it on.
        return max(0, self._queue.qsize() - self._closing)

    def put(self, driver: NonBlockingDriver, stopping: Event) -> bool:
        """Have a connection wait for a worker; called by the poller.

        While the queue is full the poller waits here and polls nothing: what peers send stays in the kernel, and TCP
        slows them down.

        Returns
        -------
        bool
            Whether it waits there; false where there is no place and `stopping` is set. It is then still the caller's.

        """
        stats = driver.connection.stats
        stats.state = ConnectionState.QUEUED
        # Least attained service first: the one that has been given least so far.
        urgency = stats.bytes_in + stats.bytes_out if self._by_service else 0
        entry = (urgency, next(self._serial), monotonic(), driver)
        try:
            self._queue.put_nowait(entry)
        except Full:
            if not self._wait_for_place(entry, stopping):
                return False
        depth = self._queue.qsize()
        if depth > self.high_water:
            self.high_water = depth
        return True

    def _wait_for_place(self, entry: _Entry, stopping: Event) -> bool:
        self.times_full += 1
        if self._warn_full.ready():
            tell(self._log.warning, "queue full", size=self._queue.maxsize, times=self.times_full)
        # Once the drain's deadline has passed with all workers stuck, `stopping` is set and nothing more is waited for.
        while not stopping.is_set():
            try:
                self._queue.put(entry, timeout=_FULL_RETRY_SECONDS)
            except Full:
                self.retries += 1
                continue
            return True
        return False

    def get(self) -> tuple[NonBlockingDriver | Stop, float]:
        """Wait for the next one; return it, or the stop sign, with when it was queued. `task_done` has to follow."""
        _, _, queued_at, driver = self._queue.get()
        if driver is _STOP:
            self._queue.put_nowait(_LAST)  # for the next worker; there is room, since no connection is queued any more
        return driver, queued_at

    def task_done(self) -> None:
        """Say that what `get` returned has been dealt with."""
        self._queue.task_done()

    def take_left(self) -> list[NonBlockingDriver]:
        """Return the connections that no worker will serve any more, and count them as dealt with."""
        left: list[NonBlockingDriver] = []
        while True:
            try:
                *_, driver = self._queue.get_nowait()
            except Empty:
                return left
            self._queue.task_done()
            if isinstance(driver, NonBlockingDriver):
                left.append(driver)

    def join(self, deadline: Deadline) -> None:
        """Do what `Queue.join` does, within a time limit: a handler that never returns never calls `task_done`."""
        queue = self._queue
        with queue.all_tasks_done:
            while queue.unfinished_tasks and not deadline.expired:
                queue.all_tasks_done.wait(deadline.timeout())

    def stop(self, deadline: Deadline) -> None:
        """Tell the workers to end, after what is queued: each one that hears it tells the next."""
        self._closing = True
        try:
            self._queue.put(_LAST, timeout=deadline.timeout())
        except Full:  # all workers are stuck
            pass
