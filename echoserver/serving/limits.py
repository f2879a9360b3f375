"""The time limits of a connection: which of them it has exceeded, judged by what has changed since the last look.

A serving thread sets no timers and reads no clock. In exchange a limit is met up to two looks late, which is less than
a second, and never early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from echoserver.config import ServerConfig
from echoserver.net.endpoint import TcpEndpoint
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import Connection

_SLOWEST_LOOK = 0.4
_FASTEST_LOOK = 0.01
# How long a connection whose lifetime is over gets to answer what had arrived.
_LAST_ANSWER_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a connection may stay as it is, in seconds; 0 is off."""

    idle: float
    write: float
    handler: float
    lifetime: float = 0.0
    opening: float = 0.0
    """The shortest of those before the handler is made. Each connection knows when its own is over."""

    @classmethod
    def of(cls, config: ServerConfig) -> Self:
        """Return the limits that a configuration sets."""
        endpoints = config.endpoints
        opening = [config.proxy_timeout for endpoint in endpoints if endpoint.proxy]
        opening += [config.handshake_timeout for entry in endpoints if isinstance(entry, TcpEndpoint) and entry.tls]
        return cls(
            idle=config.idle_timeout,
            write=config.write_timeout,
            handler=config.handler_timeout,
            lifetime=config.max_lifetime,
            opening=min(filter(None, opening), default=0.0),
        )

    @property
    def look_interval(self) -> float:
        """The seconds between two looks that meet the shortest of the limits in time."""
        limits = (self.idle, self.write, self.handler, self.lifetime, self.opening)
        shortest = min([limit for limit in limits if limit], default=_SLOWEST_LOOK)
        return min(_SLOWEST_LOOK, max(_FASTEST_LOOK, shortest / 8))


@dataclass(slots=True)
class _Watch:
    """What was seen of a connection when it was last found changed."""

    moved: int
    state: int
    since: float
    taken: int
    expired_at: float | None
    """When its lifetime was found to be over."""


class TimeLimits:
    """Judges connections. It belongs to the janitor thread.

    Parameters
    ----------
    limits:
        The limits.
    stuck:
        Is told of a connection whose handler has kept its thread for too long, once.

    """

    def __init__(self, limits: Limits, stuck: Callable[[Connection], None]) -> None:
        self._limits = limits
        self._stuck = stuck

    def change(self, limits: Limits) -> None:
        """Judge by other limits; from any thread."""
        self._limits = limits

    def still(self, connection: Connection, awake: float) -> float:
        """Return for how many seconds nothing has moved on a connection; from any thread, so it may be a look late."""
        watch, stats = connection.watch, connection.stats
        if (
            not isinstance(watch, _Watch)
            or watch.moved != stats.bytes_in + stats.bytes_out
            or watch.state != stats.state
        ):
            return 0.0
        return max(0.0, awake - watch.since)

    def judge(self, connection: Connection, now: float, awake: float) -> None:
        """Look at a connection, and ask it to end if it is late.

        Parameters
        ----------
        connection:
            An open connection.
        now:
            The monotonic time, in seconds.
        awake:
            The same without the time in which the process could not run: that is no silence of the peer's.

        """
        stats = connection.stats
        moved, state = stats.bytes_in + stats.bytes_out, stats.state
        if state == ConnectionState.LINGERING:  # it has ended
            return
        watch = connection.watch
        changed = not isinstance(watch, _Watch) or watch.moved != moved or watch.state != state
        if not isinstance(watch, _Watch) or changed:
            taken = connection.taken() if state == ConnectionState.SENDING else 0
            expired_at = watch.expired_at if isinstance(watch, _Watch) else None
            watch = connection.watch = _Watch(moved, state, awake, taken, expired_at)
        if self._limits.lifetime and now - connection.opened_at >= self._limits.lifetime:
            self._end_expired(connection, watch, now)
        opening = connection.opening
        if opening is not None:
            # What has arrived and no thread has received yet is not late.
            if now >= opening.deadline and connection.arrived() == 0:
                connection.end(opening.late)
            return
        if changed:
            return
        if state == ConnectionState.RECEIVING:
            silent = self._limits.idle and awake - watch.since >= self._limits.idle
            # What the peer has sent and no thread has received yet, because the threads are held up, is no silence.
            if silent and connection.arrived() == 0:
                connection.end(CloseReason.IDLE)
        elif state == ConnectionState.SENDING:
            self._judge_sending(connection, watch, awake)
        elif state == ConnectionState.HANDLING:
            late = self._limits.handler and awake - watch.since >= self._limits.handler
            # It ends once, so this is reported once; the thread is the handler's until it returns.
            if late and connection.end(CloseReason.KILLED):
                self._stuck(connection)

    @staticmethod
    def _end_expired(connection: Connection, watch: _Watch, now: float) -> None:
        """End a connection whose lifetime is over: first so that what had arrived is answered, then abruptly.

        The time to answer starts with the first request, since the look that makes it may be late.
        """
        if watch.expired_at is None:
            watch.expired_at = now
            connection.end(CloseReason.EXPIRED)
        elif now - watch.expired_at >= _LAST_ANSWER_SECONDS:
            connection.end(CloseReason.EXPIRED, abruptly=True)

    def _judge_sending(self, connection: Connection, watch: _Watch, awake: float) -> None:
        """End a connection whose peer takes nothing; a slow one gets the time again.

        A blocking send returns when the kernel has accepted everything, so the statistics stand still although a slow
        peer is reading. The kernel knows what the peer has taken. It is asked at every look: at the end of the time it
        could not tell whether that was a moment ago or right at the beginning.
        """
        if not self._limits.write:
            return
        taken = connection.taken()
        if taken != watch.taken:
            watch.since, watch.taken = awake, taken
        elif awake - watch.since >= self._limits.write:
            connection.end(CloseReason.STALLED)
