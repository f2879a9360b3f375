"""Whether the terminal that the process was started in is still there."""

from __future__ import annotations

import os


class ControllingTerminal:
    """The controlling terminal of the process, if it has one when this is made (tty(4)).

    SIGHUP has two senders who mean different things: the kernel, when the terminal has gone, and whoever wants the
    server to read its files again. Only whether the terminal is there tells them apart.
    """

    def __init__(self) -> None:
        self._had = _can_open()

    def has_gone(self) -> bool:
        """Return whether the process had a terminal and has lost it."""
        return self._had and not _can_open()


def _can_open() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:  # ENXIO: there is none
        return False
    return True
