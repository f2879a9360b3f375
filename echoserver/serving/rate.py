"""How fast one connection may receive: a token bucket.

Nothing here reads a clock or waits: the caller passes the time.
"""

from __future__ import annotations

# A limit in bytes waits for what it gains in this time, or a peer with much to send would be served byte by byte.
_WORTH_SECONDS = 0.01
# Timers are no finer than this; and a wait so short that the clock's rounding swallows it would never end.
_SHORTEST_WAIT = 0.001


class TokenBucket:
    """What one connection may receive now: full at first, emptied by what it receives, refilled by time.

    In any `t` seconds it allows at most `burst + rate * t`. It belongs to the thread that serves the connection.

    Parameters
    ----------
    rate:
        How much it gains per second; at least 1.
    burst:
        How much it holds, which is the most that may be received at once; at least 1.
    of_bytes:
        Whether it counts bytes; it counts messages otherwise, and each receive is one.
    now:
        The time in seconds on the monotonic clock, here and in all methods.

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
        """Return the seconds until something may be received; 0 if it may be received now."""
        self._fill(now)
        if self._tokens >= self._least:
            return 0.0
        return max(_SHORTEST_WAIT, (self._least - self._tokens) / self._rate)

    def most(self, count: int) -> int:
        """Return how many of `count` bytes may be received, once `wait` has returned 0."""
        return min(count, int(self._tokens)) if self._of_bytes else count

    def spend(self, count: int, now: float) -> None:
        """Pay for a receive of `count` bytes."""
        # The receive may have waited long after `wait`: a bucket that was full must not gain by that.
        self._fill(now)
        self._tokens -= count if self._of_bytes else 1

    def _fill(self, now: float) -> None:
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
