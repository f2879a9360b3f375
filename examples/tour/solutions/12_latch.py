"""The solution of chapter 12: a latch, which opens when so many things have happened."""

import threading


class Latch:
    """Opens after so many calls of `count_down`, and stays open."""

    def __init__(self, count: int) -> None:
        self._changed = threading.Condition()  # guards the number
        self._left = count

    def count_down(self) -> None:
        """Say that one of the things has happened."""
        with self._changed:
            self._left -= 1
            if self._left <= 0:
                self._changed.notify_all()  # not `notify`: everybody who waits may go on

    def wait(self, timeout: float) -> bool:
        """Wait until the latch is open; return whether it is, after so many seconds at most."""
        with self._changed:
            return self._changed.wait_for(lambda: self._left <= 0, timeout)
