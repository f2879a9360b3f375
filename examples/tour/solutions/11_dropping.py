"""The solution of chapter 11: a producer that must not wait drops what finds no place, and counts it."""

import queue
import threading


class Lines:
    """Lines for a slow writer. `put` never waits."""

    def __init__(self, places: int) -> None:
        self.waiting: queue.Queue[str] = queue.Queue(places)
        self._lock = threading.Lock()  # guards the number
        self._dropped = 0

    def put(self, line: str) -> None:
        """Hand a line over, or drop it if there is no place."""
        try:
            self.waiting.put_nowait(line)
        except queue.Full:
            with self._lock:
                self._dropped += 1

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped
