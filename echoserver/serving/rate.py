"""How fast one connection may go: a token bucket, and who waits for theirs to fill.

Nothing here reads a clock or waits: whoever asks says what time it is.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")

# Bytes are waited for until this long's worth is there. A peer that has much to send would else be served byte by byte.
_WORTH_SECONDS = 0.01
# Timers are no finer than this, and a wait so short that it vanishes in the rounding of the clock would never end.
_SHORTEST_WAIT = 0.001


class TokenBucket:
    """What one connection may receive now: full at first, emptied by what it receives, filled by time.

    Over any t seconds it lets through at most `burst + rate * t`. It belongs to the thread that serves the connection.

    Parameters
    ----------
    rate:
        How much it gains in a second; at least 1.
    burst:
        How much it holds, and so how much may go at once; at least 1.
    of_bytes:
        Whether bytes are counted, and not messages, of which each receive is one.
    now:
        The monotonic time, in seconds, here and in all methods.

    """

    __slots__ = ("_at", "_burst", "_least", "_of_bytes", "_rate", "_tokens")

    def __init__(self, rate: int, burst: int, *, of_bytes: bool, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._of_bytes = of_bytes
        self._least = max(1.0, min(burst, rate * _WORTH_SECONDS)) if of_bytes else 1.0
        self._tokens = float(burst)
        self._at = now

    def wait(self, now: float) -> float:
        """Return the seconds until something may be received; 0 if it may be now."""
        self._fill(now)
        if self._tokens >= self._least:
            return 0.0
        return max(_SHORTEST_WAIT, (self._least - self._tokens) / self._rate)

    def most(self, count: int) -> int:
        """Return how many of `count` bytes may be received, now that `wait` has said 0."""
        return min(count, int(self._tokens)) if self._of_bytes else count

    def spend(self, count: int, now: float) -> None:
        """Take out what a receive of `count` bytes costs."""
        # The receive may have waited long after `wait` was asked: that time must not fill a bucket that was full.
        self._fill(now)
        self._tokens -= count if self._of_bytes else 1

    def _fill(self, now: float) -> None:
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now


class Pauses(Generic[T]):
    """Who waits until when. It belongs to one thread."""

    def __init__(self) -> None:
        self._until: dict[T, float] = {}
        # One who stopped waiting early stays in here until the time has come, and is then passed over.
        self._heap: list[tuple[float, int, T]] = []
        self._serial = itertools.count()

    def __contains__(self, waiting: T) -> bool:
        return waiting in self._until

    def add(self, waiting: T, until: float) -> None:
        """Let somebody wait until a moment of the monotonic clock; who waits already waits until then instead."""
        self._until[waiting] = until
        heapq.heappush(self._heap, (until, next(self._serial), waiting))

    def discard(self, waiting: T) -> None:
        """Let somebody, if waiting, wait no more."""
        self._until.pop(waiting, None)

    def timeout(self, now: float) -> float:
        """Return the seconds until somebody's time may come, as epoll takes them: -1 waits without limit."""
        return max(0.0, self._heap[0][0] - now) if self._heap else -1

    def take_due(self, now: float) -> list[T]:
        """Return those whose time has come, who first had to first, and let them wait no more."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            until, _, waiting = heapq.heappop(self._heap)
            if self._until.get(waiting) == until:
                del self._until[waiting]
                due.append(waiting)
        return due

    def take_all(self) -> list[T]:
        """Return all who wait, and let them wait no more."""
        self._heap.clear()
        everybody = list(self._until)
        self._until.clear()
        return everybody
