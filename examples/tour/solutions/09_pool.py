"""The solution of chapter 9: a pool of a few things that are lent to many threads."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Lends things, each to one thread at a time."""

    def __init__(self, things: Sequence[T]) -> None:
        self._free = threading.BoundedSemaphore(len(things))
        self._lock = threading.Lock()  # guards the list
        self._things = list(things)

    @contextmanager
    def borrow(self, timeout: float) -> Iterator[T]:
        """Lend a thing for the `with` block, or raise `TimeoutError` if none is free in so many seconds."""
        if not self._free.acquire(timeout=timeout):
            raise TimeoutError(f"nothing is free after {timeout} s")
        with self._lock:
            thing = self._things.pop()  # there is one: the semaphore counts them
        try:
            yield thing
        finally:
            with self._lock:
                self._things.append(thing)
            self._free.release()  # last: whoever gets the place finds the thing
