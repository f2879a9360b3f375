"""How long connections were open: counted in buckets, for a server whose metrics somebody scrapes."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)
"""The upper ends of the buckets, in seconds. What is longer than the last is in one more."""


class Histogram:
    """Durations in buckets."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards the two: any thread may end a connection
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        bucket = bisect_left(BOUNDS, seconds)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += seconds

    def read(self) -> tuple[list[int], float]:
        """Return how many there are in each bucket, and the sum of all durations."""
        with self._lock:
            return list(self._counts), self._sum
