"""The poller: one thread that watches the idle connections in an epoll set and sees which of them are ready.

What belongs to whom. The table of connections belongs to the poller thread: it alone adds, finds, removes and closes
them. Other threads talk to it through queues (`_arrivals`, `_returned`, `_woken`) and a waker. A connection on the
ready queue is disarmed in the epoll set (`EPOLLONESHOT`), so it is there once at most. It belongs to the worker that
takes it off until that worker gives it back. One that pauses for its rate limit belongs to the poller, which keeps it
disarmed in a heap of due times and polls no longer than until the first of them.

The interleavings to survive:

* An event for a connection that has ended. Epoll hands out events in batches, and a connection may end while a later
  event of the same batch still names its descriptor. The poller removes it from the table when it ends, so the late
  event finds nothing.
* A descriptor number used again. New connections are added between batches only, so within a batch a number means one
  connection. A socket leaves the epoll set before it is closed, so no event of the old one can follow.
* Another thread ends a connection (the janitor, a drain) while a worker serves it. That only shuts the socket down; the
  poller alone closes it, after the worker has given it back. A socket shut down while disarmed reports so as soon as it
  is armed.
* Another thread ends a connection that pauses. It wakes the connection after asking it to end; the poller looks for a
  request to end after letting a connection pause. Whichever comes second sees the other.
* A drain while the queue is full. The poller waits for a place, the workers make some, each connection reports once
  more that its input has ended, and leaves.
* A stop while every worker is held by its handler. The poller waits for no place, serves what no worker holds to its
  end, and ends. A worker that returns later finds it gone and ends its connection itself; a lock decides which of the
  two does.
* A handler closes the descriptor of another connection, and the number is given to a new one. The new connection takes
  the place in the table, and the old one, of which epoll would never tell, is ended without closing the number again.
"""

from __future__ import annotations

import select
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, get_ident
from time import monotonic
from typing import TypeVar

from echoserver.clock import Deadline
from echoserver.net.buffer import ReceiveBuffer
from echoserver.net.waker import Waker
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection, hold_back_sigpipe
from echoserver.serving.lifecycle import Lifecycle, report
from echoserver.serving.nonblocking import Interest, NonBlockingDriver
from echoserver.serving.workers.ready import ReadyQueue
from echoserver.serving.workers.timers import TimerHeap

T = TypeVar("T")

_EVENTS_A_BATCH = 512
_EVENTS = (
    # One that pauses is told of nothing but, once, of its end.
    {Interest.READ: select.EPOLLIN, Interest.WRITE: select.EPOLLOUT, Interest.PAUSE: select.EPOLLONESHOT}
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
        Where a connection that is ready waits for a worker; `None` serves its event in this thread.
    limited:
        Whether connections have a rate limit, and so may pause.
    lifecycle:
        Takes over connections that have been served.
    affinity:
        Where the thread runs.

    """

    def __init__(self, ready: ReadyQueue | None, *, limited: bool, lifecycle: Lifecycle, affinity: Affinity) -> None:
        self._ready = ready
        self._lifecycle = lifecycle
        self._affinity = affinity
        self.stopping = Event()
        """Set when the workers mode stops: replace no worker, wait for no place on the queue."""
        self.events = 0
        """How many this thread has served itself; written by this thread alone."""
        self._arrivals: SimpleQueue[Connection] = SimpleQueue()
        self._returned: SimpleQueue[tuple[NonBlockingDriver, Interest]] = SimpleQueue()
        self._woken: SimpleQueue[Connection] = SimpleQueue()
        self.thread = Thread(target=self._run, name="poller", daemon=True)
        self._waker: Waker | None = None
        # The poller thread's own.
        self._buffer = ReceiveBuffer()
        self._drivers: dict[int, NonBlockingDriver] = {}
        self._timers: TimerHeap[NonBlockingDriver] | None = TimerHeap() if limited else None
        # Guards `_gone`, `_waker` and `queued` of each driver: who ends a connection that a worker gives back.
        self._lock = Lock()
        self._gone = False

    # -- any thread

    def open(self) -> None:
        """Make what the thread polls; `close` gives it back."""
        self._epoll = select.epoll()
        try:
            self._waker = Waker()
        except BaseException:
            self._epoll.close()
            raise
        self._epoll.register(self._waker.fileno(), select.EPOLLIN)

    def stop(self, deadline: Deadline) -> None:
        """Wait for the thread to end, now that `stopping` is set."""
        if self.thread.ident is not None:
            self._wake()
            self.thread.join(deadline.timeout())

    def close(self) -> None:
        """Close what `open` made, unless the thread is still alive and needs it."""
        if self._waker is not None and not self.thread.is_alive():
            with self._lock:
                self._gone = True
            self._epoll.close()
            self._waker.close()

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()

    def assign(self, connection: Connection) -> None:
        """Give the poller a new connection.

        Raises
        ------
        RuntimeError
            The thread has ended. The connection is still the caller's.

        """
        connection.wake_with(self)
        with self._lock:
            if self._gone:
                raise RuntimeError("the poller has ended")
            self._arrivals.put(connection)
        self._wake()

    def wake(self, connection: Connection) -> None:
        """Have the poller look at a connection that waits for something other than its socket."""
        self._woken.put(connection)
        self._wake()

    def give_back(self, driver: NonBlockingDriver, interest: Interest, buffer: ReceiveBuffer) -> None:
        """Take a connection back from the worker that has served it, and which must not touch it any more."""
        with self._lock:
            if not self._gone:
                driver.queued = False
                if interest in (Interest.READ, Interest.WRITE) and self._arm(driver, interest):
                    return
                self._returned.put((driver, interest))
                self._wake()
                return
        # `stop` had given the handler up, and it has returned after all. Its connection has been cut: the next event is
        # the last.
        while interest is not Interest.NOTHING:
            interest = driver.on_ready(buffer)
        self._lifecycle.begin_close(driver.connection)

    def _arm(self, driver: NonBlockingDriver, interest: Interest) -> bool:
        """Have epoll tell of a connection; return false where it cannot, which is the end of that connection."""
        events = _EVENTS[interest] | (0 if self._ready is None else select.EPOLLONESHOT)
        first, driver.registered = driver.registered is Interest.NOTHING, interest
        descriptor = driver.connection.transport.fileno()
        try:
            # Registered after its first event, and not before: even with no event asked for, epoll would report a
            # hang-up, and the connection would be queued twice.
            if first:
                self._epoll.register(descriptor, events)
            else:
                self._epoll.modify(descriptor, events)
        except (OSError, ValueError, MemoryError) as error:  # epoll_ctl(2): ENOSPC, ENOMEM; EBADF and a number below 0
            if first:
                driver.registered = Interest.NOTHING
            driver.connection.failed(CloseReason.KILLED, error)
            return False
        return True

    # -- from here on, the poller thread

    def _run(self) -> None:
        try:
            hold_back_sigpipe()
            self._affinity.pin()
            while not self.stopping.is_set():
                self._poll()
            self._shut_down()
        except BaseException as error:  # noqa: BLE001 - a defect; without a poller nothing is served, so the server must end
            self._lifecycle.fail(error)
            self._end_all()

    def _end_all(self) -> None:
        """End every connection, since nothing will tell of them any more. A worker that has one ends it itself."""
        with self._lock:
            self._gone = True
            drivers = list(self._drivers.values())
            held = [driver.queued for driver in drivers]
        for driver, is_held in zip(drivers, held, strict=True):
            driver.connection.end(CloseReason.KILLED)
            if not is_held:
                driver.connection.reason = CloseReason.KILLED
                self._remove(driver)
        while (arrival := _next_of(self._arrivals)) is not None:
            arrival.reason = CloseReason.KILLED
            self._lifecycle.begin_close(arrival)

    def _poll(self) -> None:
        """Wait for events and serve them, until the server stops or an error comes in between."""
        assert self._waker is not None
        poll, drivers, ready, timers = self._epoll.poll, self._drivers, self._ready, self._timers
        buffer, waker, stopping = self._buffer, self._waker.fileno(), self.stopping
        driver = None
        try:
            while not stopping.is_set():
                events = poll(-1 if timers is None else timers.timeout(monotonic()), _EVENTS_A_BATCH)
                woken = False
                for descriptor, _ in events:
                    driver = drivers.get(descriptor)
                    if driver is None:
                        # The waker, or a late event of a connection that ended earlier in this batch.
                        woken = woken or descriptor == waker
                    elif ready is not None:
                        if not driver.queued:  # as it may be since it was woken; giving it back arms it again
                            self._queue(driver)
                    elif (interest := driver.on_ready(buffer)) is not driver.registered:
                        self._update(driver, interest)
                driver = None  # or it, and its handler, would live until the next event
                if ready is None:
                    self.events += len(events) - woken
                if woken:
                    # After the batch, so that within it a descriptor number means one connection.
                    self._waker.clear()
                    self._take_messages()
                if timers is not None:
                    self._take_due(timers)
        except MemoryError:  # it costs the connection it came with; the other events of the batch come again
            report()
            if driver is not None:
                self._kill(driver)
            self._wake()  # what other threads have said may be waiting still

    def _queue(self, driver: NonBlockingDriver) -> None:
        """Have a connection wait for a worker, or serve it to its end where the server stops with all workers stuck."""
        assert self._ready is not None
        driver.queued = True
        if not self._ready.put(driver, self.stopping):
            driver.queued = False
            self._serve_to_end(driver)

    def _update(self, driver: NonBlockingDriver, interest: Interest) -> None:
        """Have a connection wait for what it asks for, or let it go."""
        if interest is Interest.PAUSE and self._timers is not None:
            self._timers.add(driver, driver.resume_at)
        if interest is Interest.NOTHING or not self._arm(driver, interest):
            self._remove(driver)

    def _remove(self, driver: NonBlockingDriver) -> None:
        """Let a connection go that has ended: out of the epoll set, and only then closed."""
        descriptor = driver.connection.transport.fileno()
        if self._drivers.get(descriptor) is driver:
            del self._drivers[descriptor]
        if driver.registered is not Interest.NOTHING:
            driver.registered = Interest.NOTHING
            try:
                self._epoll.unregister(descriptor)
            except (OSError, ValueError):  # a handler has closed the descriptor
                pass
        if self._timers is not None:
            self._timers.discard(driver)
        self._lifecycle.begin_close(driver.connection)

    def _serve(self, driver: NonBlockingDriver) -> None:
        """Serve an event that did not come from epoll: the first, the end of a pause, or a request to end."""
        try:
            if self._ready is None:
                self._update(driver, driver.on_ready(self._buffer))
            else:
                self._queue(driver)
        except MemoryError:
            report()
            self._kill(driver)

    def _kill(self, driver: NonBlockingDriver) -> None:
        """End a connection that there was no memory to go on with."""
        driver.queued = False
        driver.connection.reason = CloseReason.KILLED
        self._remove(driver)

    def _serve_to_end(self, driver: NonBlockingDriver) -> None:
        """Serve a connection that has been cut until it has ended."""
        driver.connection.end(CloseReason.CUT)
        while driver.on_ready(self._buffer) is not Interest.NOTHING:
            pass
        self._remove(driver)

    # -- what other threads say

    def _take_messages(self) -> None:
        """Act on everything that other threads have said."""
        while (returned := _next_of(self._returned)) is not None:
            self._take_back(*returned)
        while (arrival := _next_of(self._arrivals)) is not None:
            self._begin(arrival)
        while (woken := _next_of(self._woken)) is not None:
            self._resume(woken)

    def _take_back(self, driver: NonBlockingDriver, interest: Interest) -> None:
        """Let a connection pause that a worker has served, or let it go."""
        try:
            if interest is Interest.PAUSE and self._timers is not None:  # it is disarmed, and stays so
                self._timers.add(driver, driver.resume_at)
                # It may have been asked to end before it got here, when waking it had no effect.
                if driver.connection.ending is not None:
                    self._woken.put(driver.connection)
            else:
                self._remove(driver)
        except MemoryError:
            report()
            self._kill(driver)

    def _begin(self, connection: Connection) -> None:
        """Begin to serve a new connection. Its first event needs no input: the handler may want to speak first."""
        connection.served_by = get_ident()
        descriptor = connection.transport.fileno()
        lost = self._drivers.get(descriptor)
        try:
            driver = self._drivers[descriptor] = NonBlockingDriver(connection)
        except MemoryError as error:
            connection.failed(CloseReason.KILLED, error)
            self._lifecycle.begin_close(connection)
            return
        if lost is not None:
            self._lose(lost)
        self._serve(driver)

    def _lose(self, driver: NonBlockingDriver) -> None:
        """End a connection whose descriptor a handler has closed, and whose number belongs to another one by now."""
        driver.registered = Interest.NOTHING
        driver.connection.transport.forget()
        if not driver.queued:  # or the worker that has it finds its socket gone, and gives it back
            problem = OSError("a handler has closed the descriptor of this connection")
            driver.connection.failed(CloseReason.KILLED, problem)
            self._remove(driver)

    def _resume(self, connection: Connection) -> None:
        """Serve a connection that has been asked to end, and to which no event comes."""
        driver = self._drivers.get(connection.transport.fileno())
        if driver is None or driver.connection is not connection or driver.queued:
            return
        if self._timers is not None:
            self._timers.discard(driver)
        self._serve(driver)

    def _take_due(self, timers: TimerHeap[NonBlockingDriver]) -> None:
        """Serve the connections whose pause is over."""
        for driver in timers.take_due(monotonic()):
            if self._ready is None:
                self.events += 1
            self._serve(driver)

    def _shut_down(self) -> None:
        """Serve what is left to its end, when the server stops with its workers stuck. All of it has been cut."""
        with self._lock:
            self._gone = True
        # From here on a worker that returns ends its connection itself.
        self._take_messages()
        for driver in [driver for driver in self._drivers.values() if not driver.queued]:
            self._serve_to_end(driver)
        for driver in self._ready.take_left() if self._ready is not None else ():
            self._serve_to_end(driver)


def _next_of(queue: SimpleQueue[T]) -> T | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None
