"""An iterator that a handler returns as its reply."""

from __future__ import annotations

import threading
from collections.abc import Iterator


class Source:
    """An iterator that notes what was taken from it, and in which thread it was closed."""

    def __init__(self, *pieces: object) -> None:
        self._pieces = list(pieces)
        self.taken = 0
        self.closed_in: list[threading.Thread] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._pieces:
            raise StopIteration
        self.taken += 1
        return self._pieces.pop(0)

    def close(self) -> None:
        self.closed_in.append(threading.current_thread())
