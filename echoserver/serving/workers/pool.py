"""The workers mode: idle peers hold no thread, and a few threads serve them all.

The poller watches the connections in an epoll set. One that is ready goes on a bounded queue, and one of the worker
threads takes it off, serves one event and gives it back: the poller is the producer, the workers are the consumers.
Where the handler never blocks, the poller serves the event itself, since under the GIL the hand-over costs more than
the work.
"""

from __future__ import annotations

from threading import Lock, Thread
from typing import Self

from echoserver.clock import Deadline
from echoserver.errors import ConfigError
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason, WorkerSnapshot
from echoserver.serving.acceptor import Acceptor
from echoserver.serving.admission import Admission
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.interest import Interest
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.workers.accepting import PollerAccepting
from echoserver.serving.workers.epoll_set import can_poll
from echoserver.serving.workers.poller import Poller
from echoserver.serving.workers.ready import ReadyQueue
from echoserver.serving.workers.worker import Worker

_ENDING_SECONDS = 0.3


class Workers:
    """The poller, the queue and the worker threads.

    Parameters
    ----------
    poller:
        The poller.
    ready:
        The queue between them.
    count:
        How many worker threads; 0 where the poller serves the events itself.
    affinity:
        Where the threads run.
    log:
        For what goes wrong in here.

    Raises
    ------
    ConfigError
        This platform has no epoll.

    """

    blocking = False
    """Whether the sockets of this mode wait in a receive or a send."""

    def __init__(self, poller: Poller, ready: ReadyQueue, *, count: int, affinity: Affinity, log: Logger) -> None:
        if not can_poll():
            raise ConfigError("workers is refused: this platform has no epoll; must be threads here", key="mode")
        self._log = log
        self._poller = poller
        self._assign = poller.assign
        self._ready = ready
        self._affinity = affinity
        # Guards the attributes below it: the janitor changes them, and whoever asks for the counters reads them.
        self._lock = Lock()
        self._workers = [self._make(number) for number in range(1, 1 + count)]
        self.inline = count == 0
        """Whether the poller serves the connections itself."""
        self.worker_count = count
        """How many worker threads there are to be."""
        self._replaced = 0
        self._events_of_dead = 0
        self._queued_seconds_of_dead = 0.0

    def accept_with(self, acceptor: Acceptor, admission: Admission, lifecycle: Lifecycle) -> PollerAccepting:
        """Have the poller accept; before `start`."""
        accepting = self._poller.accepting = PollerAccepting(acceptor, admission, lifecycle, self._poller)
        self._assign = accepting.begin
        return accepting

    def _make(self, number: int) -> Worker:
        return Worker(number, self._poller, self._ready, self._affinity)

    def start(self) -> None:
        """Start the poller and the workers.

        Raises
        ------
        RuntimeError
            The system does not start that many threads. `stop` ends those that have started.
        OSError
            There are no descriptors left.

        """
        self._poller.open()
        for thread in [*self._workers, self._poller.thread]:
            thread.start()

    def assign(self, connection: Connection) -> None:
        """Give the poller a new connection: from the acceptor's thread, or where the poller accepts from its own."""
        self._assign(connection)

    def serves_in(self, thread: Thread) -> bool:
        """Return whether handlers are called in this thread."""
        return thread is self._poller.thread or (isinstance(thread, Worker) and thread.poller is self._poller)

    @property
    def beating(self) -> tuple[Self]:
        """The threads that all connections depend on: the poller. A worker that is stuck holds up one."""
        return (self,)

    @property
    def thread(self) -> Thread:
        """The poller's."""
        return self._poller.thread

    @property
    def rounds(self) -> int:
        """How often it has been woken, or has looked for a place on the full queue, which holds it up rightly."""
        return self._poller.rounds + self._ready.retries

    def nudge(self) -> None:
        """Wake the poller."""
        self._poller.set.waker.wake()

    def maintain(self) -> None:
        """Replace workers that died, and end what they served; called by the janitor a few times a second."""
        if self._poller.accepting is not None:
            self._poller.accepting.resume()
        with self._lock:
            dead = [worker for worker in self._workers if worker.ident is not None and not worker.is_alive()]
        for worker in dead:
            if worker.driver is not None:  # it died before it could give this back
                worker.driver.connection.reason = CloseReason.KILLED
                self._poller.give_back(worker.driver, Interest.NOTHING, worker.buffer)
                worker.driver = None
            if self._poller.stopping.is_set():
                return
            try:
                successor = self._make(worker.number)
                successor.start()
            except (RuntimeError, MemoryError) as error:  # not to be had now: the next call tries again
                self._log.error("cannot replace a worker", thread=worker.name, reason=str(error))
                return
            with self._lock:
                self._workers[self._workers.index(worker)] = successor
                self._replaced += 1
                self._events_of_dead += worker.events
                self._queued_seconds_of_dead += worker.queued_seconds
            self._log.error("worker died and was replaced", thread=worker.name, exc_info=worker.error)

    def counts(self) -> WorkerSnapshot:
        """Return the counters of this mode. Each is written by one thread, and may be one event behind."""
        with self._lock:
            workers, replaced = list(self._workers), self._replaced
            events, seconds = self._events_of_dead, self._queued_seconds_of_dead
        return WorkerSnapshot(
            inline_events=self._poller.events,
            queued_events=events + sum(worker.events for worker in workers),
            queued_seconds=round(seconds + sum(worker.queued_seconds for worker in workers), 6),
            queue_depth=self._ready.depth,
            queue_high_water=self._ready.high_water,
            queue_full=self._ready.times_full,
            busy=sum(worker.busy for worker in workers),
            replaced=replaced,
        )

    def stop(self, deadline: Deadline) -> list[Thread]:
        """Let the workers serve what is queued, end all threads, and return those still alive at the deadline."""
        self._ready.join(deadline)
        self._poller.stopping.set()
        # A stuck handler has used up the deadline; what is not stuck still needs a moment to end.
        deadline = Deadline(max(deadline.remaining(), _ENDING_SECONDS))
        self._poller.stop(deadline)
        with self._lock:
            workers = [worker for worker in self._workers if worker.ident is not None]
        self._ready.stop(deadline)
        for worker in workers:
            worker.join(deadline.timeout())
        left = [thread for thread in (*workers, self._poller.thread) if thread.is_alive()]
        self._poller.close()
        return left
