"""Moving bulk data from a socket back into it without copying it into this process.

Where a handler returns what it gets, the bytes need not enter this process at all: splice(2) moves the pages that hold
them from the socket's receive queue into a pipe, and from there into its send queue. For large messages this is faster
than receiving and sending; for small ones it gains nothing.
"""

from __future__ import annotations

import fcntl
import os
from threading import Lock

MOVE_BYTES = 262_144
"""The most that is moved at once."""

WORTH_SPLICING = 65_536
"""How many bytes must wait in the kernel for a move to gain more than it costs to ask for them and borrow a pipe."""

STILL_BULK = 16_384
"""A connection that moved fewer bytes than this returns to ordinary receives."""

_PIPES = 8


def can_splice() -> bool:
    """Return whether this platform has splice(2)."""
    return hasattr(os, "splice")


class Pipe:
    """A pipe from a socket back to itself. It belongs to the thread that borrowed it, and is empty between loans."""

    __slots__ = ("_in", "_out")

    def __init__(self) -> None:
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, MOVE_BYTES)
        except OSError:  # more than this user may have (pipe(7)): the pipe is smaller and moves less at once
            pass

    def take(self, descriptor: int) -> int:
        """Move what a socket has received into the pipe; return the number of bytes, 0 at the end of input.

        Raises
        ------
        BlockingIOError
            Nothing has been received, and the socket is non-blocking.
        OSError
            The connection is broken.

        """
        return os.splice(descriptor, self._in, MOVE_BYTES)

    def give(self, descriptor: int, count: int) -> int:
        """Move up to `count` bytes from the pipe into a socket; return the number of bytes moved.

        Raises
        ------
        BlockingIOError
            The send queue is full, and the socket is non-blocking.
        OSError
            The connection is broken.

        """
        return os.splice(self._out, descriptor, count)

    def empty(self, count: int) -> bytes:
        """Take out and return the `count` bytes that are left in the pipe."""
        return os.read(self._out, count)

    def close(self) -> None:
        """Close both ends."""
        os.close(self._out)
        os.close(self._in)


class PipePool:
    """A few pipes that all connections share: each needs one only while it moves data.

    There are few because each takes two of the descriptors that connections need. A connection that gets none copies
    its data instead.
    """

    def __init__(self) -> None:
        # Guards the attributes below.
        self._lock = Lock()
        self._idle: list[Pipe] = []
        self._open = 0
        self._closed = False

    def borrow(self) -> Pipe | None:
        """Return an empty pipe, or `None` if all are on loan, no descriptor is left or the pool is closed."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._open == _PIPES or self._closed:
                return None
            self._open += 1
        try:
            return Pipe()
        except OSError:  # no descriptor left
            self._forget()
            return None

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back. One that isn't empty is closed, so that no connection ever gets another's bytes."""
        with self._lock:
            if empty and not self._closed:
                self._idle.append(pipe)
                return
        pipe.close()
        self._forget()

    def close(self) -> None:
        """Close the idle pipes. Those on loan are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for pipe in idle:
            pipe.close()
            self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._open -= 1
