"""Signals, and Ctrl-C in particular, for loops that wait for descriptors."""

from __future__ import annotations

import signal
import socket


class SignalWakeUp:
    """A context in which a signal also makes a descriptor readable. Main thread only.

    A signal that arrives just before a system call that waits does not end the call, and is handled only when the call
    ends for another reason. A select(2) that includes this descriptor can't miss a signal.
    """

    def __enter__(self) -> SignalWakeUp:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._reader.fileno()


class Interrupt(SignalWakeUp):
    """A context in which SIGINT also sets ``seen``, and raises nothing.

    An exception could be raised between receiving a reply and counting it; a flag is checked where it is safe.
    """

    def __enter__(self) -> Interrupt:
        self.seen = False
        super().__enter__()
        self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)
        super().__exit__()

    def _note(self, *_: object) -> None:
        self.seen = True
