"""One thread that enforces every time limit, so that no message pays for one.

The janitor looks at each connection a few times a second and compares what has moved since it last looked. A serving
thread therefore sets no timers and reads no clock; in exchange a limit is met up to two looks late, at most a second,
and never early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from echoserver.clock import Deadline
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import LINGER_BYTES, LINGER_SECONDS, Connection
from echoserver.serving.registry import ConnectionRegistry

_SLOWEST_LOOK = 0.5
_FASTEST_LOOK = 0.01
_LINGER_LOOK = 0.05
# A look that comes this late was not late by itself: the process was stopped, or the machine asleep.
_STOPPED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection may stay as it is, in seconds; 0 is off."""

    idle: float
    write: float
    handler: float
    lifetime: float = 0.0


@dataclass(slots=True)
class _Watch:
    """What the janitor saw of a connection when it last found it changed."""

    moved: int
    phase: int
    since: float
    acknowledged: int


@dataclass(slots=True)
class _Lingering:
    connection: Connection
    deadline: Deadline
    bytes_left: int
    quiet: bool


class Janitor:
    """Ends connections that are late, and sees the lingering ones off.

    Parameters
    ----------
    registry:
        Where the live connections are.
    limits:
        The time limits.
    finish:
        Takes over a connection that has lingered long enough; closes it and counts it.
    stuck:
        Is told of a connection whose handler has kept its thread for too long, once each time.
    tend:
        Is called a few times a second.

    """

    def __init__(
        self,
        registry: ConnectionRegistry,
        limits: Limits,
        finish: Callable[[Connection], None],
        stuck: Callable[[Connection], None],
        tend: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._finish = finish
        self._stuck = stuck
        self._tend = tend
        in_force = [limit for limit in (limits.idle, limits.write, limits.handler, limits.lifetime) if limit]
        shortest = min(in_force, default=_SLOWEST_LOOK)
        self._look_every = min(_SLOWEST_LOOK, max(_FASTEST_LOOK, shortest / 8))
        # Connections to linger with, from the threads that served them; `None` ends the thread.
        self._inbox: SimpleQueue[Connection | None] = SimpleQueue()
        # The janitor thread's own.
        self._lingering: list[_Lingering] = []
        self._lost = 0.0
        self._thread = Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, deadline: Deadline) -> list[Thread]:
        """End the thread, and with it all lingering; return it if it is still alive at the deadline."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join(deadline.timeout())
        return [self._thread] if self._thread.is_alive() else []

    def linger(self, connection: Connection) -> None:
        """Take over a connection that has ended but whose peer may still be sending; its thread is free at once."""
        self._inbox.put(connection)

    def _run(self) -> None:
        look_at = linger_at = monotonic()
        while True:
            wake_at = min(look_at, linger_at) if self._lingering else look_at
            try:
                arrival = self._inbox.get(timeout=max(0.0, wake_at - monotonic()))
            except Empty:
                pass
            else:
                if arrival is None:
                    break
                self._lingering.append(_Lingering(arrival, Deadline(LINGER_SECONDS), LINGER_BYTES, quiet=False))
            # By the clock, and not only when nobody arrives: a stream of arrivals must not keep the limits waiting.
            now = monotonic()
            if self._lingering and now >= linger_at:
                self._linger_on()
                linger_at = monotonic() + _LINGER_LOOK
            if now >= look_at:
                if now - look_at >= _STOPPED_SECONDS:
                    self.forgive(now - look_at)
                self.look(now)
                self._tend()
                look_at = monotonic() + self._look_every
        for late in self._lingering:
            self._finish(late.connection)

    def forgive(self, seconds: float) -> None:
        """Let a stretch of time not count as silence: nobody could be served in it."""
        self._lost += seconds

    def look(self, now: float) -> None:
        """Look once at every connection and end those that are late.

        Parameters
        ----------
        now:
            The monotonic time, in seconds.

        """
        awake = now - self._lost
        for connection in self._registry.live():
            stats = connection.stats
            moved = stats.bytes_in + stats.bytes_out
            phase = stats.state
            # Beside the limit for what it is doing: it may be sending to a peer that takes nothing, and end as stalled.
            expires = self._limits.lifetime and phase != ConnectionState.LINGERING
            if expires and now - connection.opened_at >= self._limits.lifetime:
                connection.end(CloseReason.EXPIRED)
            watch = connection.watch
            if not isinstance(watch, _Watch) or watch.moved != moved or watch.phase != phase:
                taken = connection.acknowledged() if phase == ConnectionState.SENDING else 0
                connection.watch = _Watch(moved, phase, awake, taken)
            elif phase == ConnectionState.RECEIVING:
                silent = self._limits.idle and awake - watch.since >= self._limits.idle
                # What it said and nobody has yet received, with the threads that could being held up, is no silence.
                if silent and connection.arrived() == 0:
                    connection.end(CloseReason.IDLE)
            elif phase == ConnectionState.SENDING:
                if self._limits.write and awake - watch.since >= self._limits.write:
                    self._judge_sender(connection, watch, awake)
            elif phase == ConnectionState.HANDLING:
                late = self._limits.handler and awake - watch.since >= self._limits.handler
                # It ends once, so this is told once; the thread is the handler's until it returns.
                if late and connection.end(CloseReason.KILLED):
                    self._stuck(connection)

    def _judge_sender(self, connection: Connection, watch: _Watch, now: float) -> None:
        """End a connection whose peer takes nothing; one that is merely slow gets the time again.

        A blocking send returns only when the kernel has taken everything, so the stats stands still although a slow
        peer is reading. The kernel knows better: it counts what the peer has acknowledged.
        """
        taken = connection.acknowledged()
        if taken > watch.acknowledged:
            watch.since, watch.acknowledged = now, taken
        else:
            connection.end(CloseReason.STALLED)

    def _linger_on(self) -> None:
        """Take in what lingering peers sent, and let go those that need no more of it."""
        staying = []
        for late in self._lingering:
            dropped = late.connection.discard(late.bytes_left)
            late.bytes_left -= max(0, dropped)
            served = late.quiet and dropped == 0 and late.connection.unacknowledged() == 0
            late.quiet = dropped == 0
            enough = late.bytes_left <= 0 or late.deadline.expired or late.connection.ending is CloseReason.CUT
            if dropped < 0 or served or enough:
                self._finish(late.connection)
            else:
                staying.append(late)
        self._lingering = staying
