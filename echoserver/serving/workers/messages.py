"""Taking what other threads have put on a queue."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def take_all(queue: SimpleQueue[T]) -> Iterator[T]:
    """Yield what is on a queue that no other thread takes from, until it is empty."""
    while not queue.empty():  # true until this thread has taken the last one
        yield queue.get_nowait()
