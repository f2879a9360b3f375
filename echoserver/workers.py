"""The workers mode: idle peers hold no thread, and a few threads serve them all.

The poller parks the connections in an epoll set. One that becomes readable goes on a bounded queue, and one of the
worker threads takes it off, serves it one turn and parks it again: the poller is the producer, the workers are the
consumers. Where the handler never blocks, the poller serves the turn itself, since under the GIL the hand-over costs
more than the work.

Who owns what. The set of parked connections belongs to the poller thread: it alone enters, finds, strikes and closes
them. The others talk to it through queues (`_arrivals`, `_departures`, `_resting`, `_hurried`) and ring a bell. A
connection on the ready queue is disarmed in the epoll set (`EPOLLONESHOT`), so it is there once at most; it belongs to
the worker that takes it off, until that worker gives it back. One that its rate limit lets pause is the poller's, which
has it in a heap of resume times and polls no longer than until the first of them; it stays disarmed.

The interleavings that this has to survive:

* An event for a connection that has ended. Epoll hands out events in batches, and a connection may end while a later
  event of the same batch still names its descriptor. The poller strikes it from `_parked` when it ends, so the late
  event finds nothing.
* A descriptor number used again. New connections enter between batches only, so within a batch a number means one
  connection. A socket leaves the epoll set before it is closed, so no event of the old one can follow.
* Another thread ends a connection (the janitor, a drain) while a worker serves it. That only shuts the socket down; it
  is closed by the poller alone, after the worker has given it back. Shut down while disarmed, it reports so as soon as
  it is armed.
* Another thread ends a connection that pauses. It hurries it, after it has asked it to end; the poller looks for a
  request to end after it has let a connection pause. Whichever comes second sees the other.
* A drain while the queue is full. The poller waits for a place, the workers make some, each connection reports once
  more that its input has ended, and leaves.
* A stop while every worker is held by its handler. The poller no longer waits for a place, settles what nobody holds,
  and goes. A worker that comes back later finds it gone and settles its connection itself; a lock decides who does.
"""

from __future__ import annotations

import itertools
import math
import os
import select
from collections.abc import Callable
from functools import partial
from queue import Empty, Full, LifoQueue, PriorityQueue, Queue, SimpleQueue
from threading import Event, Lock, Thread, get_ident
from time import monotonic

from structlog.typing import FilteringBoundLogger

from echoserver.buffer import ReceiveBuffer
from echoserver.clock import Deadline, Throttle
from echoserver.connection import Connection, hold_back_sigpipe
from echoserver.errors import ConfigError
from echoserver.metrics import Phase, WorkerSnapshot
from echoserver.nonblocking import NonBlockingConnection, Wants
from echoserver.rate import Pauses

_EVENTS_A_BATCH = 512
_EVENTS = (
    # Who pauses is told of nothing but, once, of its end.
    {Wants.READ: select.EPOLLIN, Wants.WRITE: select.EPOLLOUT, Wants.PAUSE: select.EPOLLONESHOT}
    if hasattr(select, "epoll")
    else {}
)
_FULL_RETRY_SECONDS = 0.1
_ENDING_SECONDS = 0.3

# How urgent, a serial number that keeps equals in order (and a PriorityQueue from comparing connections), when it was
# queued, and who.
_Ready = tuple[float, int, float, "NonBlockingConnection | _Stop"]


class _Stop:
    """What ends a worker, in a connection's place on the queue: never `None`, which a slip may put there."""


_STOP = _Stop()


def make_queue(order: str, size: int) -> Queue[_Ready]:
    """Return the bounded queue of the order asked for: fifo, lifo or priority."""
    kinds: dict[str, type[Queue[_Ready]]] = {"fifo": Queue, "lifo": LifoQueue, "priority": PriorityQueue}
    return kinds[order](size)


class Workers:
    """The poller, the queue and the worker threads.

    Parameters
    ----------
    settle:
        Takes over a connection that has ended: lingers with it or closes it.
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
        *,
        inline: bool,
        count: int,
        order: str,
        queue_size: int,
        limited: bool,
        log: FilteringBoundLogger,
        fail: Callable[[BaseException], None],
    ) -> None:
        if not _EVENTS:
            raise ConfigError("workers is refused: this platform has no epoll; must be threads here", key="mode")
        self._settle = settle
        self._log = log
        self._fail = fail
        self._ready = make_queue(order, queue_size)
        self._stopping = Event()
        self._arrivals: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._departures: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._resting: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._hurried: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._poller = Thread(target=self._run, name="poller", daemon=True)
        self._bell = -1
        # The poller's own; others read the counters.
        self._buffer = ReceiveBuffer()
        self._parked: dict[int, NonBlockingConnection] = {}
        self._pauses: Pauses[NonBlockingConnection] | None = Pauses() if limited else None
        self._inline = inline
        self._by_service = order == "priority"
        self._serial = itertools.count()
        self._warn_full = Throttle(1.0)
        self._inline_turns = 0
        self._queue_high_water = 0
        self._queue_full = 0
        # Guards what follows. The lists: the janitor changes them, and whoever asks for the counters reads them.
        self._lock = Lock()
        self._poller_gone = False
        self._workers = [_Worker(self, self._ready, number) for number in range(1, 1 + (0 if inline else count))]
        self._dead: list[_Worker] = []

    def start(self) -> None:
        """Start the poller and the workers.

        Raises
        ------
        RuntimeError
            The system doesn't start that many threads. `stop` ends those that have started.

        """
        self._epoll = select.epoll()
        try:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except BaseException:
            self._epoll.close()
            raise
        self._epoll.register(self._bell, select.EPOLLIN)
        for thread in [*self._workers, self._poller]:
            thread.start()

    def assign(self, connection: Connection) -> None:
        """Give the poller a new connection; from any thread."""
        assert isinstance(connection, NonBlockingConnection)
        if connection.limited:
            connection.when_ended(partial(self.hurry, connection))
        self._arrivals.put(connection)
        self._ring()

    def hurry(self, connection: NonBlockingConnection) -> None:
        """End the pause that a connection may be in, because it has been asked to end; from any thread."""
        with self._lock:
            if not self._poller_gone:
                self._hurried.put(connection)
                self._ring()

    def serves_in(self, thread: Thread) -> bool:
        """Return whether handlers are called in this thread."""
        return thread is self._poller or (isinstance(thread, _Worker) and thread.pool is self)

    def give_back(self, connection: NonBlockingConnection, wants: Wants, buffer: ReceiveBuffer) -> None:
        """Take a connection back from the worker that served it a turn, and which must not touch it any more."""
        with self._lock:
            if not self._poller_gone:
                if wants is Wants.NOTHING:
                    self._departures.put(connection)
                    self._ring()
                elif wants is Wants.PAUSE:  # it is disarmed, and stays so
                    self._resting.put(connection)
                    self._ring()
                else:
                    self._park(connection, wants)
                return
        # The handler was given up by `stop`, and comes back after all. Its connection has been cut: the next turn is
        # the last.
        while wants is not Wants.NOTHING:
            wants = connection.turn(buffer)
        self._settle(connection)

    def _park(self, connection: NonBlockingConnection, wants: Wants) -> None:
        """Arm a connection for its next turn; it belongs to the poller when this returns, or to whom that gives it."""
        events = _EVENTS[wants] | (0 if self._inline else select.EPOLLONESHOT)
        first = connection.parked_for is Wants.NOTHING
        connection.parked_for = wants
        if first:
            # Not before the first turn: even without an event asked for, epoll would report a hang-up, and so queue it
            # twice.
            self._epoll.register(connection.fileno(), events)
        else:
            self._epoll.modify(connection.fileno(), events)

    def tend(self) -> None:
        """Replace workers that died; called by the janitor a few times a second."""
        with self._lock:
            dead = [worker for worker in self._workers if not worker.is_alive()]
        for worker in dead:
            if self._stopping.is_set():
                return
            successor = _Worker(self, self._ready, worker.number)
            try:
                successor.start()
            except RuntimeError as error:  # no more threads now: the next call tries again
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
            inline_turns=self._inline_turns,
            queued_turns=sum(worker.turns for worker in workers + dead),
            queued_seconds=round(sum(worker.queued_seconds for worker in workers + dead), 6),
            queue_depth=self._ready.qsize(),
            queue_high_water=self._queue_high_water,
            queue_full=self._queue_full,
            busy=sum(worker.busy for worker in workers),
            replaced=len(dead),
        )

    def stop(self, deadline: Deadline) -> list[Thread]:
        """Let the workers serve what is queued, end all threads, and return those still alive at the deadline."""
        _join(self._ready, deadline)
        self._stopping.set()
        # A stuck handler has used up the deadline; what isn't stuck still needs a moment to end.
        deadline = Deadline(max(deadline.remaining(), _ENDING_SECONDS))
        if self._poller.ident is not None:
            self._ring()
            self._poller.join(deadline.timeout())
        with self._lock:
            workers = [worker for worker in self._workers if worker.ident is not None]
        for number, _ in enumerate(workers):
            try:
                self._ready.put_nowait((math.inf, number, 0.0, _STOP))
            except Full:  # a small queue, and workers that are stuck
                break
        for worker in workers:
            worker.join(deadline.timeout())
        left = [thread for thread in (*workers, self._poller) if thread.is_alive()]
        if self._bell >= 0 and not self._poller.is_alive():
            with self._lock:
                self._poller_gone = True
            self._epoll.close()
            os.close(self._bell)
            self._bell = -1
        return left

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    # -- from here on, the poller thread

    def _run(self) -> None:
        try:
            hold_back_sigpipe()
            self._poll()
            self._leave()
        except BaseException as error:  # noqa: BLE001 - a defect; without a poller nobody is served, so the server must end
            self._fail(error)

    def _poll(self) -> None:
        poll, parked, inline, pauses = self._epoll.poll, self._parked, self._inline, self._pauses
        buffer = self._buffer
        while not self._stopping.is_set():
            events = poll(-1 if pauses is None else pauses.timeout(monotonic()), _EVENTS_A_BATCH)
            rung = False
            for descriptor, _ in events:
                connection = parked.get(descriptor)
                if connection is None:
                    # The bell, or a late event of a connection that ended earlier in this batch.
                    rung = rung or descriptor == self._bell
                elif not inline:
                    self._enqueue(connection)
                elif (wants := connection.turn(buffer)) is not connection.parked_for:
                    self._park_or_strike(connection, wants)
            connection = None  # or it, and its handler, would live until the next event
            if inline:
                self._inline_turns += len(events) - rung
            if rung:
                # After the batch, so that within it a descriptor number means one connection.
                os.eventfd_read(self._bell)
                self._take_departures()
                self._take_arrivals()
            if pauses is not None:
                self._take_pauses(pauses)

    def _take_pauses(self, pauses: Pauses[NonBlockingConnection]) -> None:
        """Let connections pause, and let those go on whose time has come or who have been asked to end."""
        while (connection := _next_of(self._resting)) is not None:
            pauses.add(connection, connection.resume_at)
            # Its end may have been asked for before it got here, and so in vain.
            if connection.ending is not None:
                self._hurried.put(connection)
        due = pauses.take_due(monotonic())
        while (connection := _next_of(self._hurried)) is not None:
            if connection in pauses:
                pauses.discard(connection)
                due.append(connection)
        for connection in due:
            if self._inline:
                self._inline_turns += 1
                self._park_or_strike(connection, connection.turn(self._buffer))
            else:
                self._enqueue(connection)

    def _leave(self) -> None:
        """Settle what is left when the server stops with its workers stuck: all of it has been cut."""
        with self._lock:
            self._poller_gone = True
        # From here on a worker that comes back settles its connection itself. What the others had before:
        for descriptor, _ in self._epoll.poll(0, max(1, len(self._parked))):
            if descriptor in self._parked:
                self._finish_off(self._parked[descriptor])
        self._take_departures()
        if self._pauses is not None:
            while (resting := _next_of(self._resting)) is not None:
                self._pauses.add(resting, 0.0)
            for resting in self._pauses.take_all():
                self._finish_off(resting)
        while True:
            try:
                *_, connection = self._ready.get_nowait()
            except Empty:
                return
            self._ready.task_done()
            assert isinstance(connection, NonBlockingConnection), (
                "`stop` queues its signs for the workers after this thread has ended"
            )
            self._finish_off(connection)

    def _finish_off(self, connection: NonBlockingConnection) -> None:
        while connection.turn(self._buffer) is not Wants.NOTHING:
            pass
        self._strike(connection)

    def _take_arrivals(self) -> None:
        ident = get_ident()
        while (connection := _next_of(self._arrivals)) is not None:
            connection.served_by = ident
            self._parked[connection.fileno()] = connection
            # The handler may want to speak first, so the first turn comes without an event.
            if self._inline:
                self._park_or_strike(connection, connection.turn(self._buffer))
            else:
                self._enqueue(connection)

    def _take_departures(self) -> None:
        while (connection := _next_of(self._departures)) is not None:
            self._strike(connection)

    def _strike(self, connection: NonBlockingConnection) -> None:
        """Let a connection go that has ended: out of the set, and only then closed."""
        del self._parked[connection.fileno()]
        if connection.parked_for is not Wants.NOTHING:
            self._epoll.unregister(connection.fileno())
        if self._pauses is not None:
            self._pauses.discard(connection)
        self._settle(connection)

    def _park_or_strike(self, connection: NonBlockingConnection, wants: Wants) -> None:
        if wants is Wants.NOTHING:
            self._strike(connection)
            return
        if wants is Wants.PAUSE and self._pauses is not None:
            self._pauses.add(connection, connection.resume_at)
        self._park(connection, wants)

    def _enqueue(self, connection: NonBlockingConnection) -> None:
        tally = connection.tally
        tally.phase = Phase.QUEUED
        # Least attained service first: who has been given least so far.
        urgency = tally.bytes_in + tally.bytes_out if self._by_service else 0
        entry = (urgency, next(self._serial), monotonic(), connection)
        try:
            self._ready.put_nowait(entry)
        except Full:
            self._wait_for_place(entry)
        depth = self._ready.qsize()
        if depth > self._queue_high_water:
            self._queue_high_water = depth

    def _wait_for_place(self, entry: _Ready) -> None:
        """Stop polling until a worker makes a place: what peers send stays in the kernel, and TCP slows them down."""
        self._queue_full += 1
        if self._warn_full.ready():
            self._log.warning("queue full", size=self._ready.maxsize, times=self._queue_full)
        while True:
            try:
                self._ready.put(entry, timeout=_FULL_RETRY_SECONDS)
            except Full:
                if self._stopping.is_set():  # past the drain's deadline, with all workers stuck
                    return
            else:
                return


def _join(queue: Queue[_Ready], deadline: Deadline) -> bool:
    """Do what `queue.join` does, within a time limit: a handler that never comes back never calls `task_done`."""
    with queue.all_tasks_done:
        while queue.unfinished_tasks and not deadline.expired:
            queue.all_tasks_done.wait(deadline.timeout())
        return not queue.unfinished_tasks


def _next_of(queue: SimpleQueue[NonBlockingConnection]) -> NonBlockingConnection | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None


class _Worker(Thread):
    """One consumer of the queue. A daemon: one that a handler never lets go must not keep the process from ending."""

    def __init__(self, pool: Workers, ready: Queue[_Ready], number: int) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        # Written by this thread alone.
        self.turns = 0
        self.queued_seconds = 0.0
        self.busy = False
        self.error: BaseException | None = None
        self.pool = pool
        self._ready = ready
        self._buffer = ReceiveBuffer()

    def run(self) -> None:
        try:
            hold_back_sigpipe()
            while self._serve_next():
                pass
        except BaseException as error:  # noqa: BLE001 - kept for the janitor, which logs it and starts a successor
            self.error = error

    def _serve_next(self) -> bool:
        _, _, queued_at, connection = self._ready.get()
        try:
            if isinstance(connection, _Stop):
                return False
            self.busy = True
            self.turns += 1
            self.queued_seconds += monotonic() - queued_at
            self._serve(connection)
            return True
        finally:
            self.busy = False
            self._ready.task_done()

    def _serve(self, connection: NonBlockingConnection) -> None:
        connection.served_by = get_ident()
        self.pool.give_back(connection, connection.turn(self._buffer), self._buffer)
