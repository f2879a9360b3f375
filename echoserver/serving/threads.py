"""The threads mode: a thread for each connection, from the first byte to the last.

Starting a thread costs more than serving a short connection, so one that has finished waits a few seconds for the next.
The one that went idle last is used first: its stack is still in the caches, and the others get to end when they are not
needed.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from echoserver.clock import Deadline
from echoserver.net.buffer import ReceiveBuffer
from echoserver.serving.affinity import Affinity
from echoserver.serving.blocking import BlockingConnection
from echoserver.serving.connection import Connection, hold_back_sigpipe
from echoserver.serving.interpreter import fit_switch_interval

IDLE_SECONDS = 5.0


class ServingThreads:
    """The threads that serve connections.

    Parameters
    ----------
    settle:
        Takes over a connection that has ended: lingers with it or closes it. Raises nothing.
    cores:
        Where the threads run.

    """

    connection = BlockingConnection
    """The kind of connection that this mode serves."""
    blocking = True
    """Whether the sockets of this mode wait in a receive or a send."""

    def __init__(self, settle: Callable[[Connection], None], cores: Affinity) -> None:
        self._settle = settle
        self._cores = cores
        # Guards the attributes below it.
        self._lock = Lock()
        self._idle: list[_ServingThread] = []
        self._all: set[_ServingThread] = set()
        self._last_out: _ServingThread | None = None
        self._stopping = False

    def start(self) -> None:
        """Do nothing: threads start when there are connections."""

    def tend(self) -> None:
        """Fit the interpreter to the number of threads; called by the janitor a few times a second.

        A thread that a defect ended is not missed: the next connection gets a new one.
        """
        with self._lock:
            count = len(self._all)
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
            Nor does it have the memory for one. As above.

        """
        assert isinstance(connection, BlockingConnection)
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is not None:
            thread.mailbox.put(connection)
            return
        thread = _ServingThread(self, self._settle, self._cores, connection)
        with self._lock:
            self._all.add(thread)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._all.discard(thread)
            raise

    def park(self, thread: _ServingThread) -> bool:
        """Put a thread on the idle stack; return whether it may wait there."""
        with self._lock:
            if not self._stopping:
                self._idle.append(thread)
            return not self._stopping

    def retire(self, thread: _ServingThread) -> bool:
        """Let a thread that waited long enough go; return false if it was picked for a connection meanwhile."""
        with self._lock:
            if thread not in self._idle:
                return False
            self._idle.remove(thread)
            self._all.discard(thread)
            before, self._last_out = self._last_out, thread
        # Each thread that leaves sees the one before it off, so that joining the last one is joining them all.
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
    """What ends a thread, in a connection's place in its mailbox: never `None`, which a slip may put there."""


_STOP = _Stop()


class _ServingThread(Thread):
    """One thread with its mailbox. A daemon: one that a handler never lets go must not keep the process from ending."""

    def __init__(
        self, pool: ServingThreads, settle: Callable[[Connection], None], cores: Affinity, first: BlockingConnection
    ) -> None:
        super().__init__(name=f"conn-{first.number}", daemon=True)
        self.pool = pool
        self._settle = settle
        self._cores = cores
        self._buffer = ReceiveBuffer()
        # A SimpleQueue is the cheapest way to hand one thing to one waiting thread; nobody needs its size or its
        # task_done.
        self.mailbox: SimpleQueue[BlockingConnection | _Stop] = SimpleQueue()
        self.mailbox.put(first)

    def run(self) -> None:
        hold_back_sigpipe()
        # On the shared core already, if there is one: a thread begins where the one that starts it may run, and that is
        # the acceptor (sched_setaffinity(2)).
        while isinstance(connection := self._next(), BlockingConnection):
            self.name = f"conn-{connection.number}"
            connection.serve(self._buffer, self._cores)
            self._settle(connection)
            del connection  # an idle thread keeps no connection, and so no handler, alive
            self.name = "conn-idle"
            if not self.pool.park(self):
                return

    def _next(self) -> BlockingConnection | _Stop:
        try:
            return self.mailbox.get(timeout=IDLE_SECONDS)
        except Empty:
            if self.pool.retire(self):
                return _STOP
            # Between our timeout and `retire`, `assign` or `stop` took this thread off the stack: what it puts into the
            # mailbox is on its way.
            return self.mailbox.get()
