"""The places of a server that is one process: how many connections may be open."""

from __future__ import annotations

from threading import Lock, Semaphore


class Places:
    """Places to be taken and given back, whose number may change.

    Parameters
    ----------
    limit:
        How many there are.

    """

    def __init__(self, limit: int) -> None:
        # Bounded by `release`: the bound of a `BoundedSemaphore` can't change.
        self._free = Semaphore(limit)
        # Guards the two numbers.
        self._lock = Lock()
        self._limit = limit
        self._owed = 0
        """How many more are taken than there are by now; they are not free when they are given back."""

    def acquire(self, *, blocking: bool) -> bool:
        """Take a place; return false if all are taken. It never waits for one, whatever is asked."""
        assert not blocking
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Give a place back.

        Raises
        ------
        ValueError
            None is taken: one place more than there are would let in one peer too many, unnoticed.

        """
        with self._lock:
            if self._owed:
                self._owed -= 1
                return
            if self.free >= self._limit:
                raise ValueError("a place was given back twice")
            self._free.release()

    def resize(self, limit: int) -> None:
        """Change how many places there are. Nobody loses one that is taken."""
        with self._lock:
            change, self._limit = limit - self._limit, limit
            paid = min(self._owed, max(0, change))
            self._owed -= paid
            if change > paid:
                self._free.release(change - paid)
            for _ in range(-change):
                if not self._free.acquire(blocking=False):
                    self._owed += 1

    @property
    def free(self) -> int:
        """How many are free, unless somebody takes one or gives one back meanwhile."""
        return self._free._value
