"""Counting: each connection in its own `ConnectionStats`, all of them together in `Metrics`.

A semaphore costs about fifteen times what a plain lock does, so no message pays for one. A connection counts in its own
stats, which only the thread that serves it writes; the totals are touched twice in a connection's life, when it opens
and when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from threading import BoundedSemaphore


class CloseReason(StrEnum):
    """How a connection ended."""

    EOF = "eof"
    """The peer said all it had to say, and was answered."""
    IDLE = "idle"
    """Nothing moved for the idle timeout."""
    EXPIRED = "expired"
    """It had been open for the longest time allowed; what had arrived was answered."""
    STALLED = "stalled"
    """The peer took nothing of its reply for the write timeout."""
    RESET = "reset"
    """The peer, or the network, broke the connection."""
    FINISHED = "finished"
    """The handler returned its last reply."""
    HANDLER = "handler"
    """The handler raised, or returned what is no bytes."""
    DRAINED = "drained"
    """The server stopped; what had arrived was answered."""
    CUT = "cut"
    """The server stopped and could not wait any longer."""
    KILLED = "killed"
    """The server ended it for a reason of its own, which the log names."""


class ConnectionState(IntEnum):
    """What the thread that serves a connection is doing."""

    RECEIVING = 0
    HANDLING = 1
    SENDING = 2
    LINGERING = 3
    QUEUED = 4
    PAUSED = 5
    """It waits for its rate limit to let it receive again."""


_RECEIVING = int(ConnectionState.RECEIVING)


class ConnectionStats:
    """What one connection has moved.

    Written by the one thread that serves it; others read it, and may be one message behind.
    """

    __slots__ = ("bytes_in", "bytes_out", "replies", "state")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.replies = 0
        self.state: int = _RECEIVING
        """A `ConnectionState`, as the plain number: it is stored three times a message."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment: `accepted == active + sum(closed.values())` in every one of them."""

    accepted: int
    active: int
    closed: Mapping[str, int]
    rejected: int
    """Peers closed at once because a limit was reached: of all (`at_limit = "reject"`), or of their host."""
    held: int
    """Times the limit made new peers wait (`at_limit = "wait"`)."""
    bytes_in: int
    bytes_out: int
    replies: int
    handler_errors: int
    handlers_stuck: int
    """Times a handler kept its thread for longer than the handler timeout."""
    workers: WorkerSnapshot | None = None
    """What only the workers mode counts."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """The poller, the queue and the worker threads at one moment."""

    inline_events: int
    """Turns that the poller served itself."""
    queued_events: int
    """Turns that a worker took off the queue."""
    queued_seconds: float
    """How long these waited on the queue, in all."""
    queue_depth: int
    queue_high_water: int
    queue_full: int
    """Times the poller had to wait for a place on the queue."""
    busy: int
    """Workers that are serving a turn now."""
    replaced: int
    """Workers that died and were replaced."""


class Metrics:
    """The totals of one server."""

    def __init__(self) -> None:
        # Guards everything below. A semaphore of one is a lock that any thread may release; bounded, so that one
        # release too many is an error here and not a second thread inside.
        self._gate = BoundedSemaphore(1)
        self._live: set[ConnectionStats] = set()
        self._accepted = 0
        self._closed = dict.fromkeys(CloseReason, 0)
        self._rejected = 0
        self._held = 0
        self._bytes_in = 0
        self._bytes_out = 0
        self._replies = 0
        self._stuck = 0

    def opened(self, stats: ConnectionStats) -> None:
        """Count a connection that was accepted."""
        with self._gate:
            self._accepted += 1
            self._live.add(stats)

    def closed(self, stats: ConnectionStats, reason: CloseReason) -> bool:
        """Fold the statistics of a connection that has ended into the totals, once; return whether this call did."""
        with self._gate:
            if stats not in self._live:
                return False
            # All numbers are made before any is stored: where there is no memory for one, nothing has been counted.
            closed, replies = self._closed[reason] + 1, self._replies + stats.replies
            bytes_in, bytes_out = self._bytes_in + stats.bytes_in, self._bytes_out + stats.bytes_out
            self._live.remove(stats)
            self._closed[reason], self._replies = closed, replies
            self._bytes_in, self._bytes_out = bytes_in, bytes_out
            return True

    def rejected(self) -> None:
        """Count a peer that was closed at once, a limit being reached."""
        with self._gate:
            self._rejected += 1

    def held(self) -> None:
        """Count one time that the limit made new peers wait."""
        with self._gate:
            self._held += 1

    def stuck(self) -> None:
        """Count a handler that kept its thread for too long."""
        with self._gate:
            self._stuck += 1

    def snapshot(self, workers: WorkerSnapshot | None = None) -> Snapshot:
        """Return all counters, the live connections' among them, beside those that the workers mode keeps itself.

        A connection folds under the same semaphore, so each is seen either live or closed, never both and never
        neither.
        """
        with self._gate:
            return Snapshot(
                accepted=self._accepted,
                active=len(self._live),
                closed={reason.value: self._closed[reason] for reason in CloseReason},
                rejected=self._rejected,
                held=self._held,
                bytes_in=self._bytes_in + sum(stats.bytes_in for stats in self._live),
                bytes_out=self._bytes_out + sum(stats.bytes_out for stats in self._live),
                replies=self._replies + sum(stats.replies for stats in self._live),
                handler_errors=self._closed[CloseReason.HANDLER],
                handlers_stuck=self._stuck,
                workers=workers,
            )
