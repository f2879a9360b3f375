"""The poller: one thread that parks idle connections in an epoll set and sees which of them are ready.

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

import os
import select
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, get_ident
from time import monotonic

from echoserver.clock import Deadline
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection, hold_back_sigpipe
from echoserver.serving.nonblocking import NonBlockingConnection, Wants
from echoserver.serving.workers.ready import ReadyQueue
from echoserver.serving.workers.timers import TimerHeap

_EVENTS_A_BATCH = 512
_EVENTS = (
    # Who pauses is told of nothing but, once, of its end.
    {Wants.READ: select.EPOLLIN, Wants.WRITE: select.EPOLLOUT, Wants.PAUSE: select.EPOLLONESHOT}
    if hasattr(select, "epoll")
    else {}
)


def can_poll() -> bool:
    """Return whether this platform has epoll(7)."""
    return bool(_EVENTS)


class Poller:
    """The thread, and the connections that it alone holds.

    Parameters
    ----------
    ready:
        Where a connection that is readable waits for a worker; `None` serves its turn in this thread.
    limited:
        Whether connections have a rate limit, and so may pause.
    settle:
        Takes over a connection that has ended: lingers with it or closes it.
    cores:
        Where the thread runs.
    fail:
        Is told what ended the poller, without which nobody is served.

    """

    def __init__(
        self,
        ready: ReadyQueue | None,
        *,
        limited: bool,
        settle: Callable[[Connection], None],
        cores: Affinity,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._ready = ready
        self._settle = settle
        self._cores = cores
        self._fail = fail
        self.stopping = Event()
        """Set by the workers mode when it stops: replace nobody, wait for no place on the queue."""
        self.turns = 0
        """How many it served itself; written by this thread alone."""
        self._arrivals: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._departures: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._resting: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self._hurried: SimpleQueue[NonBlockingConnection] = SimpleQueue()
        self.thread = Thread(target=self._run, name="poller", daemon=True)
        self._bell = -1
        # The poller thread's own.
        self._buffer = ReceiveBuffer()
        self._parked: dict[int, NonBlockingConnection] = {}
        self._pauses: TimerHeap[NonBlockingConnection] | None = TimerHeap() if limited else None
        # Guards `_gone`: who settles a connection that a worker gives back.
        self._lock = Lock()
        self._gone = False

    def open(self) -> None:
        """Make what the thread polls; `close` gives it back."""
        self._epoll = select.epoll()
        try:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except BaseException:
            self._epoll.close()
            raise
        self._epoll.register(self._bell, select.EPOLLIN)

    def stop(self, deadline: Deadline) -> None:
        """Wait for the thread to end, now that `stopping` is set."""
        if self.thread.ident is not None:
            self.ring()
            self.thread.join(deadline.timeout())

    def close(self) -> None:
        """Close what `open` made, unless the thread is still alive and needs it."""
        if self._bell >= 0 and not self.thread.is_alive():
            with self._lock:
                self._gone = True
            self._epoll.close()
            os.close(self._bell)
            self._bell = -1

    def ring(self) -> None:
        """Wake the thread; from any other."""
        os.eventfd_write(self._bell, 1)

    def assign(self, connection: NonBlockingConnection) -> None:
        """Give the poller a new connection; from any thread."""
        if connection.limited:
            connection.when_ended(partial(self.hurry, connection))
        self._arrivals.put(connection)
        self.ring()

    def hurry(self, connection: NonBlockingConnection) -> None:
        """End the pause that a connection may be in, because it has been asked to end; from any thread."""
        with self._lock:
            if not self._gone:
                self._hurried.put(connection)
                self.ring()

    def give_back(self, connection: NonBlockingConnection, wants: Wants, buffer: ReceiveBuffer) -> None:
        """Take a connection back from the worker that served it a turn, and which must not touch it any more."""
        with self._lock:
            if not self._gone:
                if wants is Wants.NOTHING:
                    self._departures.put(connection)
                    self.ring()
                elif wants is Wants.PAUSE:  # it is disarmed, and stays so
                    self._resting.put(connection)
                    self.ring()
                else:
                    self._park(connection, wants)
                return
        # The handler was given up by `stop`, and comes back after all. Its connection has been cut: the next turn is
        # the last.
        while wants is not Wants.NOTHING:
            wants = connection.turn(buffer)
        self._settle(connection)

    def give_up(self, connection: NonBlockingConnection, error: BaseException) -> None:
        """Take a connection from a worker that dies of it: disarmed, it would never be looked at again."""
        connection.reason, connection.error = CloseReason.KILLED, error
        with self._lock:
            if not self._gone:
                self._departures.put(connection)
                self.ring()
                return
        self._settle(connection)

    def _park(self, connection: NonBlockingConnection, wants: Wants) -> None:
        """Arm a connection for its next turn; it belongs to the poller when this returns, or to whom that gives it."""
        events = _EVENTS[wants] | (0 if self._ready is None else select.EPOLLONESHOT)
        first = connection.parked_for is Wants.NOTHING
        connection.parked_for = wants
        if first:
            # Not before the first turn: even without an event asked for, epoll would report a hang-up, and so queue it
            # twice.
            try:
                self._epoll.register(connection.fileno(), events)
            except OSError:  # epoll_ctl(2), ENOSPC: no more watches
                connection.parked_for = Wants.NOTHING
                raise
        else:
            self._epoll.modify(connection.fileno(), events)

    # -- from here on, the poller thread

    def _run(self) -> None:
        try:
            hold_back_sigpipe()
            self._cores.pin()
            self._poll()
            self._leave()
        except BaseException as error:  # noqa: BLE001 - a defect; without a poller nobody is served, so the server must end
            self._fail(error)

    def _poll(self) -> None:
        poll, parked, ready, pauses = self._epoll.poll, self._parked, self._ready, self._pauses
        buffer = self._buffer
        while not self.stopping.is_set():
            events = poll(-1 if pauses is None else pauses.timeout(monotonic()), _EVENTS_A_BATCH)
            rung = False
            for descriptor, _ in events:
                connection = parked.get(descriptor)
                if connection is None:
                    # The bell, or a late event of a connection that ended earlier in this batch.
                    rung = rung or descriptor == self._bell
                elif ready is not None:
                    ready.put(connection, self.stopping)
                elif (wants := connection.turn(buffer)) is not connection.parked_for:
                    self._park_or_strike(connection, wants)
            connection = None  # or it, and its handler, would live until the next event
            if ready is None:
                self.turns += len(events) - rung
            if rung:
                # After the batch, so that within it a descriptor number means one connection.
                os.eventfd_read(self._bell)
                self._take_departures()
                self._take_arrivals()
            if pauses is not None:
                self._take_pauses(pauses)

    def _take_pauses(self, pauses: TimerHeap[NonBlockingConnection]) -> None:
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
            if self._ready is None:
                self.turns += 1
                self._park_or_strike(connection, connection.turn(self._buffer))
            else:
                self._ready.put(connection, self.stopping)

    def _leave(self) -> None:
        """Settle what is left when the server stops with its workers stuck: all of it has been cut."""
        with self._lock:
            self._gone = True
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
        while self._ready is not None and (queued := self._ready.take_left()) is not None:
            self._finish_off(queued)

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
            if self._ready is None:
                self._park_or_strike(connection, connection.turn(self._buffer))
            else:
                self._ready.put(connection, self.stopping)

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


def _next_of(queue: SimpleQueue[NonBlockingConnection]) -> NonBlockingConnection | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None
