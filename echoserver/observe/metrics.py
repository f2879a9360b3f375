"""Counting: each connection in its own `ConnectionStats`, the whole server in `Metrics`.

A semaphore costs about fifteen times as much as a plain lock, so no message uses one. A connection counts in its own
statistics, which only the thread that serves it writes. The totals change twice in the life of a connection: when it
opens and when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from threading import BoundedSemaphore


class CloseReason(StrEnum):
    """How a connection ended."""

    EOF = "eof"
    """The peer ended its side and got all its replies."""
    FINISHED = "finished"
    """The handler returned its last reply."""
    IDLE = "idle"
    """Nothing moved for the time of the idle timeout."""
    EXPIRED = "expired"
    """It had been open for its maximum lifetime. The peer got the replies to what had arrived."""
    STALLED = "stalled"
    """The peer accepted none of its reply for the time of the write timeout."""
    RESET = "reset"
    """The peer or the network broke the connection."""
    PROXY = "proxy"
    """It did not begin with a PROXY header that may be believed."""
    HANDSHAKE = "handshake"
    """The TLS handshake failed, or was not complete in time."""
    TRUNCATED = "truncated"
    """The peer's stream ended without the end that TLS requires. What had arrived was answered."""
    HANDLER = "handler"
    """The handler raised an exception, or returned something that is not a reply."""
    FAULT = "fault"
    """A fault that was asked for ended it."""
    DRAINED = "drained"
    """The server stopped. The peer got the replies to what had arrived."""
    RETIRED = "retired"
    """Its process was replaced by another, and it was still open after the time for that. Otherwise like `drained`."""
    CUT = "cut"
    """The server stopped and could not wait any longer."""
    KILLED = "killed"
    """The server ended it for another reason, which the log names."""
    LOST = "lost"
    """Its process died. Only counted: there was nobody to log it."""


class ConnectionState(IntEnum):
    """What the thread that serves a connection is doing. People see the name in lower case."""

    RECEIVING = 0
    HANDLING = 1
    SENDING = 2
    LINGERING = 3
    QUEUED = 4
    PAUSED = 5
    """It waits until its rate limit allows another receive."""
    OPENING = 6
    """It receives what comes before the first byte for the handler, such as a PROXY header."""


class ConnectionStats:
    """What one connection has moved, and what it is doing.

    Only the thread that serves the connection writes to it. Other threads read it, and may be one message behind.
    """

    __slots__ = ("bytes_in", "bytes_out", "replies", "state")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.replies = 0
        # A plain number, since it is stored up to three times per message: `ConnectionState(state)` gives the member.
        self.state: int = ConnectionState.RECEIVING.value


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment. `accepted == active + sum(closed.values())` always holds."""

    accepted: int
    active: int
    closed: Mapping[str, int]
    rejected: int
    """Peers closed at once because of a limit: the total (`at_limit = "reject"`), or that of their host."""
    held: int
    """How often the limit made new peers wait (`at_limit = "wait"`)."""
    bytes_in: int
    bytes_out: int
    replies: int
    handler_errors: int
    handlers_stuck: int
    """How often a handler kept its thread for longer than the handler timeout."""
    faults: Mapping[str, int] | None = None
    """How many faults have happened, by kind; `None` without rules for any."""
    reloads: int = 0
    """How often the configuration or certificates were read again."""
    failed_reloads: int = 0
    """How often they were refused, and the earlier ones stayed in use."""
    workers: WorkerSnapshot | None = None
    """The counters of workers mode; `None` in threads mode."""


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """The poller, the queue and the worker threads at one moment."""

    inline_events: int
    """Ready events that the poller served itself."""
    queued_events: int
    """Ready events that a worker took from the queue."""
    queued_seconds: float
    """The total time that these waited in the queue."""
    queue_depth: int
    queue_high_water: int
    queue_full: int
    """How often the poller had to wait for a free place in the queue."""
    busy: int
    """Workers that are serving a connection now."""
    replaced: int
    """Workers that died and were replaced."""


_REASONS = {reason: index for index, reason in enumerate(CloseReason)}
_ACCEPTED, _REJECTED, _HELD, _BYTES_IN, _BYTES_OUT, _REPLIES, _STUCK = range(len(_REASONS), len(_REASONS) + 7)
COUNTERS = len(_REASONS) + 7
"""How many numbers the totals of a server are: one for each way to end, and the rest."""


def counters_of(totals: list[int] | memoryview[int]) -> dict[str, object]:
    """Return totals as `Snapshot` names them, which are those of the connections that have ended."""
    closed = {reason.value: totals[index] for reason, index in _REASONS.items()}
    return {
        "accepted": totals[_ACCEPTED],
        "closed": closed,
        "rejected": totals[_REJECTED],
        "held": totals[_HELD],
        "bytes_in": totals[_BYTES_IN],
        "bytes_out": totals[_BYTES_OUT],
        "replies": totals[_REPLIES],
        "handler_errors": closed[CloseReason.HANDLER],
        "handlers_stuck": totals[_STUCK],
    }


class Metrics:
    """The totals of one server.

    Parameters
    ----------
    totals:
        Where they are kept: `COUNTERS` numbers. A process whose counters must survive it keeps them in memory that it
        shares with another. Each number is replaced as a whole, whenever the process dies.

    """

    def __init__(self, totals: list[int] | memoryview[int] | None = None) -> None:
        # Guards everything below. A semaphore of one is a lock that any thread may release. It is bounded, so that one
        # release too many raises an error instead of letting a second thread in.
        self._gate = BoundedSemaphore(1)
        self._live: set[ConnectionStats] = set()
        self._totals = [0] * COUNTERS if totals is None else totals
        self._faults: dict[str, int] | None = None
        self._reloads = 0
        self._failed_reloads = 0

    def opened(self, stats: ConnectionStats) -> None:
        """Count a connection that was accepted."""
        with self._gate:
            self._live.add(stats)
            self._totals[_ACCEPTED] += 1

    def closed(self, stats: ConnectionStats, reason: CloseReason) -> bool:
        """Add the statistics of a connection that has ended to the totals, once; return whether this call did.

        Several threads may come to end a connection, and this is where one of them turns out to be the first. The
        thread that served it no longer writes to the statistics.
        """
        totals, ended = self._totals, _REASONS[reason]
        with self._gate:
            if stats not in self._live:
                return False
            # All numbers are made before any is stored: where there is no memory for one, nothing has been counted.
            closed, replies = totals[ended] + 1, totals[_REPLIES] + stats.replies
            bytes_in, bytes_out = totals[_BYTES_IN] + stats.bytes_in, totals[_BYTES_OUT] + stats.bytes_out
            self._live.remove(stats)
            totals[ended], totals[_REPLIES] = closed, replies
            totals[_BYTES_IN], totals[_BYTES_OUT] = bytes_in, bytes_out
            return True

    def rejected(self) -> None:
        """Count a peer that was closed at once because of a limit."""
        with self._gate:
            self._totals[_REJECTED] += 1

    def held(self) -> None:
        """Count one occasion on which the limit made new peers wait."""
        with self._gate:
            self._totals[_HELD] += 1

    def stuck(self) -> None:
        """Count a handler that kept its thread for too long."""
        with self._gate:
            self._totals[_STUCK] += 1

    def count_faults(self, kinds: Iterable[str]) -> None:
        """Have faults of these kinds counted."""
        with self._gate:
            self._faults = dict.fromkeys(kinds, 0) | (self._faults or {})

    def fault(self, kind: str) -> None:
        """Count a fault."""
        with self._gate:
            if self._faults is not None:
                self._faults[kind] += 1

    def reloaded(self) -> None:
        """Count that the configuration or certificates were read again."""
        with self._gate:
            self._reloads += 1

    def reload_failed(self) -> None:
        """Count that they were refused."""
        with self._gate:
            self._failed_reloads += 1

    def snapshot(self, workers: WorkerSnapshot | None = None) -> Snapshot:
        """Return all counters, including those of the open connections.

        A connection that closes is added to the totals under the same semaphore, so each is seen either as open or as
        closed, never as both or neither.

        Parameters
        ----------
        workers:
            The counters that workers mode keeps itself.

        """
        totals, live = self._totals, self._live
        with self._gate:
            return Snapshot(
                accepted=totals[_ACCEPTED],
                active=len(live),
                closed={reason.value: totals[index] for reason, index in _REASONS.items()},
                rejected=totals[_REJECTED],
                held=totals[_HELD],
                bytes_in=totals[_BYTES_IN] + sum(stats.bytes_in for stats in live),
                bytes_out=totals[_BYTES_OUT] + sum(stats.bytes_out for stats in live),
                replies=totals[_REPLIES] + sum(stats.replies for stats in live),
                handler_errors=totals[_REASONS[CloseReason.HANDLER]],
                handlers_stuck=totals[_STUCK],
                faults=None if self._faults is None else dict(self._faults),
                reloads=self._reloads,
                failed_reloads=self._failed_reloads,
                workers=workers,
            )
