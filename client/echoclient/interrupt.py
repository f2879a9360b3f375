"""Ctrl-C as an event among others, for loops in which an exception would come at a bad moment."""

from __future__ import annotations

import signal
import socket


class Interrupt:
    """While it is entered, SIGINT sets ``seen`` and makes the descriptor readable, and raises nothing.

    An exception could fall between receiving a reply and counting it; this waits for its turn. Main thread only.
    """

    def __enter__(self) -> Interrupt:
        self.seen = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)
        signal.set_wakeup_fd(self._previous_fd)
        self._reader.close()
        self._writer.close()

    def _note(self, *_: object) -> None:
        self.seen = True

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader.fileno()
