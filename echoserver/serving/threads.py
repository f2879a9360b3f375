"""The threads mode: a thread for each connection, from the first byte to the last.

Starting a thread costs more than serving a short connection, so one that has finished waits a few seconds for the next.
The one that became idle last is used first: its stack is still in the caches, and the others get to end when they are
not needed.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Lock, Thread

from echoserver.clock import Deadline
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.metrics import CloseReason
from echoserver.serving.affinity import Affinity
from echoserver.serving.connection import Connection
from echoserver.serving.drivers import drive_blocking
from echoserver.serving.interpreter import fit_switch_interval
from echoserver.serving.lifecycle import Lifecycle
from echoserver.serving.sigpipe import hold_back_sigpipe

IDLE_SECONDS = 5.0


class ServingThreads:
    """The threads that serve connections.

    Parameters
    ----------
    lifecycle:
        Takes over connections that have been served.
    affinity:
        Where the threads run.

    """

    blocking = True
    """Whether the sockets of this mode wait in a receive or a send."""

    def __init__(self, lifecycle: Lifecycle, affinity: Affinity) -> None:
        self.lifecycle = lifecycle
        self.affinity = affinity
        # Guards the attributes below it.
        self._lock = Lock()
        self._idle: list[_ServingThread] = []
        self._all: set[_ServingThread] = set()
        self._last_out: _ServingThread | None = None
        self._stopping = False

    def start(self) -> None:
        """Do nothing: threads start when there are connections."""

    @property
    def worker_count(self) -> int:
        """None: each connection has a thread."""
        return 0

    @property
    def beating(self) -> tuple[()]:
        """The threads that all connections depend on: none, since each has its own."""
        return ()

    def maintain(self) -> None:
        """Fit the interpreter to the number of threads, and end the connections of threads that died.

        Called by the janitor a few times a second. A thread that died is not replaced: the next connection gets a new
        one.
        """
        with self._lock:
            dead = [thread for thread in self._all if thread.started and not thread.is_alive()]
            self._all.difference_update(dead)
            self._idle = [thread for thread in self._idle if thread not in dead] if dead else self._idle
            count = len(self._all)
        for thread in dead:
            thread.end_connection()
        fit_switch_interval(count)

    def counts(self) -> None:
        """Return nothing: this mode has no counters of its own."""

    def serves_in(self, thread: Thread) -> bool:
        """Return whether handlers are called in this thread."""
        return isinstance(thread, _ServingThread) and thread.pool is self

    def assign(self, connection: Connection) -> None:
        """Give a connection to an idle thread, or to a new one.

        Raises
        ------
        RuntimeError
            The system starts no more threads. The connection is still the caller's.
        MemoryError
            There is no memory for one. As above.

        """
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is not None:
            try:
                thread.mailbox.put(connection)
            except BaseException:
                if not self.park(thread):
                    thread.mailbox.put(_STOP)
                raise
            return
        thread = _ServingThread(self, connection)
        with self._lock:
            self._all.add(thread)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._all.discard(thread)
            raise
        thread.started = True

    def park(self, thread: _ServingThread) -> bool:
        """Put a thread on the idle stack; return whether it may wait there."""
        with self._lock:
            if not self._stopping:
                self._idle.append(thread)
            return not self._stopping

    def retire(self, thread: _ServingThread) -> bool:
        """Let a thread that has waited long enough end; return false if it was picked for a connection meanwhile."""
        with self._lock:
            if thread not in self._idle:
                return False
            self._idle.remove(thread)
            self._all.discard(thread)
            before, self._last_out = self._last_out, thread
        # Each thread that ends joins the one that ended before it, so that joining the last one joins them all.
        if before is not None:
            before.join()
        return True

    def stop(self, deadline: Deadline) -> list[Thread]:
        """Let the idle threads end, wait for the busy ones, and return those still alive at the deadline."""
        with self._lock:
            self._stopping = True
            idle, self._idle = self._idle, []
            threads: set[Thread] = {*self._all}
            if self._last_out is not None:
                threads.add(self._last_out)
        for thread in idle:
            thread.mailbox.put(_STOP)
        for waited_for in threads:
            waited_for.join(deadline.timeout())
        return [thread for thread in threads if thread.is_alive()]


class _Stop:
    """What ends a thread, in the place of a connection in its mailbox: never `None`, which a slip may put there."""


_STOP = _Stop()


class _ServingThread(Thread):
    """One thread with its mailbox. A daemon: one that a handler never lets go must not keep the process from ending."""

    def __init__(self, pool: ServingThreads, first: Connection) -> None:
        super().__init__(name=f"conn-{first.number}", daemon=True)
        self.pool = pool
        self._buffer = ReceiveBuffer()
        # A SimpleQueue is the cheapest way to hand one thing to one waiting thread; nothing here needs its size or
        # `task_done`.
        self.mailbox: SimpleQueue[Connection | _Stop] = SimpleQueue()
        self.mailbox.put(first)
        self._serving: Connection | None = None
        """What this thread serves; read by others only after it has ended."""
        self.started = False
        """Whether `start` has returned. Before that, a thread has an identity but is not alive, as if it had died."""

    def run(self) -> None:
        try:
            hold_back_sigpipe()
            # A thread starts on the cores of the thread that starts it, the acceptor, which is pinned if threads of
            # this server are (sched_setaffinity(2)).
            while isinstance(connection := self._next(), Connection):
                self._serve(connection)
                del connection  # an idle thread keeps no connection, and with it no handler, alive
                if not self.pool.park(self):
                    return
        except BaseException:
            self.end_connection()
            raise

    def _serve(self, connection: Connection) -> None:
        self._serving = connection
        self.name = f"conn-{connection.number}"
        drive_blocking(connection).serve(self._buffer, self.pool.affinity)
        self.pool.lifecycle.begin_close(connection)
        self._serving = None
        self.name = "conn-idle"

    def end_connection(self) -> None:
        """End the connection that this thread served when it died, or was about to serve."""
        connection: Connection | _Stop | None = self._serving
        if connection is None:
            try:
                connection = self.mailbox.get_nowait()
            except Empty:
                return
        self._serving = None
        if isinstance(connection, Connection):
            connection.reason = CloseReason.KILLED
            self.pool.lifecycle.begin_close(connection)

    def _next(self) -> Connection | _Stop:
        try:
            return self.mailbox.get(timeout=IDLE_SECONDS)
        except Empty:
            if self.pool.retire(self):
                return _STOP
            # Between our timeout and `retire`, `assign` or `stop` took this thread off the stack: what it puts into the
            # mailbox is on its way.
            return self.mailbox.get()
