"""The workers mode: idle peers hold no thread, and a few threads serve them all.

The poller parks the connections in an epoll set. One that becomes readable goes on a bounded queue, and one of the
worker threads takes it off, serves it one turn and parks it again: the poller is the producer, the workers are the
consumers. Where the handler never blocks, the poller serves the turn itself, since under the GIL the hand-over costs
more than the work.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread, get_ident
from time import monotonic

from structlog.typing import FilteringBoundLogger

from echoserver.clock import Deadline
from echoserver.errors import ConfigError
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import WorkerSnapshot
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection, hold_back_sigpipe
from echoserver.serving.nonblocking import NonBlockingConnection
from echoserver.serving.workers.poller import Poller, can_poll
from echoserver.serving.workers.ready import ReadyQueue, Stop

_ENDING_SECONDS = 0.3


class Workers:
    """The poller, the queue and the worker threads.

    Parameters
    ----------
    settle:
        Takes over a connection that has ended: lingers with it or closes it.
    cores:
        Where the threads run.
    inline:
        Whether the poller serves the turns itself.
    count:
        How many worker threads; none is started where turns are served inline.
    order:
        Who is served next: fifo, lifo or priority.
    queue_size:
        How many connections may wait for a worker.
    limited:
        Whether connections have a rate limit, and so may pause.
    log:
        For what goes wrong in here.
    fail:
        Is told what ended the poller, without which nobody is served.

    Raises
    ------
    ConfigError
        This platform has no epoll.

    """

    connection = NonBlockingConnection
    """The kind of connection that this mode serves."""
    blocking = False
    """Whether the sockets of this mode wait in a receive or a send."""

    def __init__(
        self,
        settle: Callable[[Connection], None],
        cores: Affinity,
        *,
        inline: bool,
        count: int,
        order: str,
        queue_size: int,
        limited: bool,
        log: FilteringBoundLogger,
        fail: Callable[[BaseException], None],
    ) -> None:
        if not can_poll():
            raise ConfigError("workers is refused: this platform has no epoll; must be threads here", key="mode")
        self._log = log
        self._cores = cores
        self._ready = ReadyQueue(order, queue_size, log)
        self._poller = Poller(None if inline else self._ready, limited=limited, settle=settle, cores=cores, fail=fail)
        # Guards the lists: the janitor changes them, and whoever asks for the counters reads them.
        self._lock = Lock()
        self._workers = [
            _Worker(self._poller, self._ready, cores, number) for number in range(1, 1 + (0 if inline else count))
        ]
        self._dead: list[_Worker] = []

    def start(self) -> None:
        """Start the poller and the workers.

        Raises
        ------
        RuntimeError
            The system doesn't start that many threads. `stop` ends those that have started.

        """
        self._poller.open()
        for thread in [*self._workers, self._poller.thread]:
            thread.start()

    def assign(self, connection: Connection) -> None:
        """Give the poller a new connection; from any thread."""
        assert isinstance(connection, NonBlockingConnection)
        self._poller.assign(connection)

    def serves_in(self, thread: Thread) -> bool:
        """Return whether handlers are called in this thread."""
        return thread is self._poller.thread or (isinstance(thread, _Worker) and thread.poller is self._poller)

    def tend(self) -> None:
        """Replace workers that died; called by the janitor a few times a second."""
        with self._lock:
            dead = [worker for worker in self._workers if not worker.is_alive()]
        for worker in dead:
            if self._poller.stopping.is_set():
                return
            try:
                successor = _Worker(self._poller, self._ready, self._cores, worker.number)
                successor.start()
            except (RuntimeError, MemoryError) as error:  # none to be had now: the next call tries again
                self._log.error("cannot replace a worker", thread=worker.name, reason=str(error))
                return
            with self._lock:
                self._workers[self._workers.index(worker)] = successor
                self._dead.append(worker)
            self._log.error("worker died and was replaced", thread=worker.name, exc_info=worker.error)

    def counts(self) -> WorkerSnapshot:
        """Return this mode's counters. Each is written by one thread, and may be one turn behind."""
        with self._lock:
            workers, dead = list(self._workers), list(self._dead)
        return WorkerSnapshot(
            inline_turns=self._poller.turns,
            queued_turns=sum(worker.turns for worker in workers + dead),
            queued_seconds=round(sum(worker.queued_seconds for worker in workers + dead), 6),
            queue_depth=self._ready.depth,
            queue_high_water=self._ready.high_water,
            queue_full=self._ready.times_full,
            busy=sum(worker.busy for worker in workers),
            replaced=len(dead),
        )

    def stop(self, deadline: Deadline) -> list[Thread]:
        """Let the workers serve what is queued, end all threads, and return those still alive at the deadline."""
        self._ready.join(deadline)
        self._poller.stopping.set()
        # A stuck handler has used up the deadline; what isn't stuck still needs a moment to end.
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


class _Worker(Thread):
    """One consumer of the queue. A daemon: one that a handler never lets go must not keep the process from ending."""

    def __init__(self, poller: Poller, ready: ReadyQueue, cores: Affinity, number: int) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        # Written by this thread alone.
        self.turns = 0
        self.queued_seconds = 0.0
        self.busy = False
        self.error: BaseException | None = None
        self.poller = poller
        self._ready = ready
        self._cores = cores
        self._buffer = ReceiveBuffer()

    def run(self) -> None:
        try:
            hold_back_sigpipe()
            self._cores.pin()
            while self._serve_next():
                pass
        except BaseException as error:  # noqa: BLE001 - kept for the janitor, which logs it and starts a successor
            self.error = error

    def _serve_next(self) -> bool:
        connection, queued_at = self._ready.get()
        try:
            if isinstance(connection, Stop):
                return False
            self.busy = True
            self.turns += 1
            self.queued_seconds += monotonic() - queued_at
            connection.served_by = get_ident()
            try:
                self.poller.give_back(connection, connection.turn(self._buffer), self._buffer)
            except BaseException as error:
                self.poller.give_up(connection, error)
                raise
            return True
        finally:
            self.busy = False
            self._ready.task_done()
