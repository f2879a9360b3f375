"""Timers: which item is due when. Nothing here reads a clock or waits: the caller passes the time."""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeVar

T = TypeVar("T")


class TimerHeap(Generic[T]):
    """Items, each with a time at which it is due. It belongs to one thread.

    All times are in seconds on the monotonic clock.
    """

    def __init__(self) -> None:
        self._due: dict[T, float] = {}
        # An item that was discarded stays in the heap until it is due, and is then skipped.
        self.heap: list[tuple[float, int, T]] = []
        """Empty if nothing is due, ever; the same list for the life of this."""
        self._serial = itertools.count()  # keeps equal times in order, and the heap from comparing items

    def __contains__(self, item: T) -> bool:
        return item in self._due

    def add(self, item: T, due: float) -> None:
        """Add an item, or change the time at which it is due."""
        self._due[item] = due
        heapq.heappush(self.heap, (due, next(self._serial), item))

    def discard(self, item: T) -> None:
        """Remove an item if it is there."""
        self._due.pop(item, None)

    def timeout(self, now: float) -> float:
        """Return the seconds until an item may be due, as epoll takes them: -1 waits without limit."""
        return max(0.0, self.heap[0][0] - now) if self.heap else -1

    def take_due(self, now: float) -> list[T]:
        """Remove and return the items that are due, earliest first."""
        taken = []
        while self.heap and self.heap[0][0] <= now:
            due, _, item = heapq.heappop(self.heap)
            if self._due.get(item) == due:
                del self._due[item]
                taken.append(item)
        return taken

    def take_all(self) -> list[T]:
        """Remove and return all items."""
        self.heap.clear()
        taken = list(self._due)
        self._due.clear()
        return taken
