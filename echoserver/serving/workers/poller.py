"""The poller: one thread that watches the idle connections in an epoll set and sees which of them are ready.

The docstring of the package says what belongs to whom, and which interleavings there are.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic

from echoserver.clock import Deadline
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.drivers import drive
from echoserver.serving.interest import Interest
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.nonblocking import NonBlockingDriver
from echoserver.serving.sigpipe import hold_back_sigpipe
from echoserver.serving.workers.accepting import PollerAccepting
from echoserver.serving.workers.epoll_set import EpollSet
from echoserver.serving.workers.messages import take_all
from echoserver.serving.workers.ready import ReadyQueue
from echoserver.serving.workers.timers import TimerHeap

_EVENTS_A_BATCH, _TIMED = 512, (Interest.PAUSE, Interest.READ_UNTIL, Interest.WRITE_UNTIL)


class Poller:
    """The thread, and the connections that it alone holds.

    Parameters
    ----------
    ready:
        Where a connection that is ready waits for a worker; `None` serves its event in this thread.
    lifecycle:
        Takes over connections that have been served.
    affinity:
        Where the thread runs.

    """

    def __init__(self, ready: ReadyQueue | None, *, lifecycle: Lifecycle, affinity: Affinity) -> None:
        self._ready = ready
        self._lifecycle = lifecycle
        self._affinity = affinity
        self.stopping = Event()  # set when the workers mode stops: replace no worker, wait for no place on the queue
        self.events = self.rounds = 0
        """How many this thread has served itself, and how often it was woken; written by this thread alone."""
        self._arrivals: SimpleQueue[Connection] = SimpleQueue()
        self._returned: SimpleQueue[tuple[NonBlockingDriver, Interest]] = SimpleQueue()
        self._woken: SimpleQueue[Connection] = SimpleQueue()
        self.thread = Thread(target=self._run, name="poller", daemon=True)
        self.accepting: PollerAccepting | None = None  # what accepts in this thread; set before it starts
        self._opened = False
        # The poller thread's own.
        self._buffer = ReceiveBuffer()
        self._drivers: dict[int, NonBlockingDriver] = {}
        self._timers: TimerHeap[NonBlockingDriver] = TimerHeap()  # of those that pause
        # Guards `_gone`, and `queued` of a connection that a worker gives back; the worker arms it under the same hold.
        self._lock = Lock()
        self._gone = False

    def open(self) -> None:
        """Make what the thread polls; `close` gives it back."""
        if not self._opened:
            self.set = EpollSet(one_shot=self._ready is not None)
            self._opened = True

    def stop(self, deadline: Deadline) -> None:
        """Wait for the thread to end, now that `stopping` is set."""
        if self.thread.ident is not None:
            self.set.waker.wake()
            self.thread.join(deadline.timeout())

    def close(self) -> None:
        """Close what `open` made, unless the thread is still alive and needs it."""
        if self._opened and not self.thread.is_alive():
            with self._lock:
                self._gone = True
            self.set.close()

    def assign(self, connection: Connection) -> None:
        """Give the poller a new connection. Raises `RuntimeError` where its thread has ended."""
        connection.wake_with(self)
        with self._lock:
            if self._gone:
                raise RuntimeError("the poller has ended")
            self._arrivals.put(connection)
        self.set.waker.wake()

    def wake(self, connection: Connection) -> None:
        """Have the poller look at a connection that waits for something other than its socket."""
        self._woken.put(connection)
        self.set.waker.wake()

    def give_back(self, driver: NonBlockingDriver, interest: Interest, buffer: ReceiveBuffer) -> None:
        """Take a connection back from the worker that has served it, and which must not touch it any more."""
        with self._lock:
            if not self._gone:
                # One that is not armed stays queued until the poller has it: if woken now, it must not be served again.
                driver.queued = interest not in (Interest.READ, Interest.WRITE)
                if not driver.queued and self.set.arm(driver, interest):
                    return
                driver.queued = True
                self._returned.put((driver, interest))
                self.set.waker.wake()
                return
        # `stop` had given up on the handler, and it has returned after all. Its connection has been cut.
        while interest is not Interest.NOTHING:
            interest = driver.on_ready(buffer)
        self._lifecycle.begin_close(driver.connection)

    def _run(self) -> None:
        try:
            hold_back_sigpipe()
            self._affinity.pin()
            self._poll()
            self._shut_down()
        except BaseException as error:  # noqa: BLE001 - a defect; without a poller nothing is served
            self._lifecycle.fail(error)
            self._end_all()
        finally:
            if self.accepting is not None:
                self.accepting.end()

    def _end_all(self) -> None:
        """End every connection, since nothing will tell of them any more. A worker that has one ends it itself."""
        with self._lock:
            self._gone = True
            drivers = [(driver, driver.queued) for driver in self._drivers.values()]
        for driver, is_held in drivers:
            driver.connection.end(CloseReason.KILLED)
            if not is_held:
                driver.connection.reason = CloseReason.KILLED
                self._remove(driver)
        for arrival in take_all(self._arrivals):
            arrival.reason = CloseReason.KILLED
            self._lifecycle.begin_close(arrival)

    def _poll(self) -> None:
        """Wait for events and serve them, until the server stops."""
        poll, drivers, ready, timers = self.set.poll, self._drivers, self._ready, self._timers
        pauses = timers.heap
        buffer, waker, stopping = self._buffer, self.set.waker.fileno(), self.stopping
        accepting, readable = self.accepting, list[int]()
        while not stopping.is_set():
            events, woken = poll(timers.timeout(monotonic()) if pauses else -1, _EVENTS_A_BATCH), False
            for descriptor, _ in events:
                driver = drivers.get(descriptor)
                if driver is None:
                    # The waker, a listener, or a late event of a connection that ended earlier in this batch.
                    if descriptor == waker:
                        woken = True
                    elif accepting is not None:
                        readable.append(descriptor)
                    continue
                try:
                    if ready is not None:
                        if not driver.queued:  # as it may be since it was woken; giving it back arms it again
                            self._queue(driver)
                    elif (interest := driver.on_ready(buffer)) is not driver.registered:
                        self._update(driver, interest)
                except MemoryError as error:  # it costs this connection, and not the others of the batch
                    self._kill(driver, error)
            driver = None  # or it, and its handler, would live until the next event
            if ready is None:
                self.events += len(events) - len(readable) - woken
            # What follows comes after the batch, so that within it a descriptor number means one connection.
            if accepting is not None and readable:
                accepting.accept_from(readable)
            if woken:
                self.rounds += 1
                self.set.waker.clear()
                self._take_messages()
                if accepting is not None:
                    accepting.on_woken()
            if pauses:
                self._take_due(timers)

    def _queue(self, driver: NonBlockingDriver) -> None:
        """Have a connection wait for a worker, or serve it to its end where the server stops with all workers stuck."""
        driver.queued = True
        self._timers.discard(driver)  # what it waited for besides its socket; or it would be queued twice
        if self._ready is None or not self._ready.put(driver, self.stopping):
            driver.queued = False
            self._serve_to_end(driver)

    def _update(self, driver: NonBlockingDriver, interest: Interest) -> None:
        """Have a connection wait for what it asks for, or let it go."""
        if interest in _TIMED:
            self._timers.add(driver, driver.resume_at)
        if interest is Interest.NOTHING or not self.set.arm(driver, interest):
            self._remove(driver)

    def _remove(self, driver: NonBlockingDriver) -> None:
        """Let a connection go that has ended: out of the epoll set, and only then closed."""
        if self._drivers.get(driver.connection.transport.fileno()) is driver:
            del self._drivers[driver.connection.transport.fileno()]
        self.set.remove(driver)
        driver.give_up()
        self._timers.discard(driver)
        self._lifecycle.begin_close(driver.connection)

    def _serve(self, driver: NonBlockingDriver) -> None:
        """Serve an event that epoll has not told of: the first, the end of a pause, or a request to end."""
        try:
            if self._ready is None:
                self._update(driver, driver.on_ready(self._buffer))
            else:
                self._queue(driver)
        except MemoryError as error:
            self._kill(driver, error)

    def _serve_to_end(self, driver: NonBlockingDriver) -> None:
        """Serve a connection that has been cut until it has ended."""
        driver.connection.end(CloseReason.CUT)
        while driver.on_ready(self._buffer) is not Interest.NOTHING:
            pass
        self._remove(driver)

    def _take_messages(self) -> None:
        """Act on everything that other threads have said."""
        for driver, interest in take_all(self._returned):
            self._take_back(driver, interest)
        for connection in take_all(self._arrivals):
            self.begin(connection)
        for connection in take_all(self._woken):
            self._resume(connection)

    def _take_back(self, driver: NonBlockingDriver, interest: Interest) -> None:
        """Let a connection pause that a worker has served, or let it go."""
        driver.queued = False
        try:
            if interest is driver.registered is Interest.PAUSE:
                self._timers.add(driver, driver.resume_at)  # it has been told of its peer's end, and would be again
            else:  # one without a moment has ended, or could not be armed
                self._update(driver, interest if interest in _TIMED else Interest.NOTHING)
            if interest is Interest.PAUSE and driver.connection.ending is not None:  # waking it had no effect
                self._woken.put(driver.connection)
        except MemoryError as error:
            self._kill(driver, error)

    def begin(self, connection: Connection) -> None:
        """Begin to serve a new connection. Its first event needs no input: the handler may want to speak first."""
        connection.served_by = self.thread.ident or 0  # one object for all connections
        lost = self._drivers.get(descriptor := connection.transport.fileno())
        try:
            driver = self._drivers[descriptor] = drive(connection)
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
            self._kill(driver, OSError("a handler has closed the descriptor of this connection"))

    def _kill(self, driver: NonBlockingDriver, error: Exception) -> None:
        """End a connection that cannot be served any longer."""
        driver.queued = False
        driver.connection.failed(CloseReason.KILLED, error)
        self._remove(driver)

    def _resume(self, connection: Connection) -> None:
        """Serve a connection that has been asked to end, and to which no event comes."""
        driver = self._drivers.get(connection.transport.fileno())
        with self._lock:
            if driver is None or driver.connection is not connection or driver.queued:
                return
        self._timers.discard(driver)
        self._serve(driver)

    def _take_due(self, timers: TimerHeap[NonBlockingDriver]) -> None:
        """Serve the connections whose pause is over."""
        for driver in timers.take_due(monotonic()):
            self.events += self._ready is None
            self._serve(driver)

    def _shut_down(self) -> None:
        """Serve what is left to its end, when the server stops with its workers stuck. All of it has been cut."""
        with self._lock:
            self._gone = True
        # From here on a worker that returns ends its connection itself.
        self._take_messages()
        queued = [] if self._ready is None else self._ready.take_left()
        for driver in [driver for driver in self._drivers.values() if not driver.queued] + queued:
            self._serve_to_end(driver)
