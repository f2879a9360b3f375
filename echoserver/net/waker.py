"""Waking a thread that waits in a selector, poll or epoll."""

from __future__ import annotations

import os
import sys
from threading import Lock

# An eventfd(2) takes eight bytes at a time, in the machine's byte order, and returns at most eight.
_ONE = (1).to_bytes(8, sys.byteorder)
_READ_BYTES = 4096


class Waker:
    """A descriptor that becomes readable when another thread calls `wake`.

    It belongs to the thread that waits for it, which alone calls `clear`; any other thread may call `wake`. A signal
    handler must not: it could interrupt a call of `wake` in the same thread and wait for its lock for ever.

    Raises
    ------
    OSError
        The process or the system has no descriptor left.

    """

    __slots__ = ("_lock", "_read_end", "_write_end")

    def __init__(self) -> None:
        # Guards both numbers: between reading a number and writing to it, `close` could free it, and the system could
        # give it to a new connection.
        self._lock = Lock()
        if hasattr(os, "eventfd"):
            self._read_end = self._write_end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read_end, self._write_end = os.pipe()
            os.set_blocking(self._read_end, False)
            os.set_blocking(self._write_end, False)

    def fileno(self) -> int:
        """Return the descriptor to poll for input; -1 once closed."""
        return self._read_end

    def wake(self) -> None:
        """Make the descriptor readable. Never blocks and never raises; does nothing once closed."""
        with self._lock:
            if self._write_end >= 0:
                try:
                    os.write(self._write_end, _ONE)
                except BlockingIOError:  # full: the descriptor is readable already
                    pass

    def clear(self) -> None:
        """Make the descriptor unreadable until the next `wake`. Does nothing once closed.

        Call this before looking for what the wake-up was about: a `wake` that comes after the look then counts as the
        next one.
        """
        with self._lock:
            if self._read_end >= 0:
                try:
                    while len(os.read(self._read_end, _READ_BYTES)) == _READ_BYTES:
                        pass
                except BlockingIOError:  # nothing is left
                    pass

    def close(self) -> None:
        """Close the descriptor. Calling it again does nothing."""
        with self._lock:
            ends = {self._read_end, self._write_end} - {-1}
            self._read_end = self._write_end = -1
        for end in ends:
            os.close(end)
