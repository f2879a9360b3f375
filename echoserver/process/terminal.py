"""Whether the terminal that the process was started in is still there."""

from __future__ import annotations

import errno
import os

# What opening the controlling terminal says where there is none, and where it has hung up (tty(4)). Any other error,
# such as a shortage of descriptors, tells nothing of the terminal.
_GONE = frozenset({errno.ENXIO, errno.EIO})


class ControllingTerminal:
    """The controlling terminal of the process, if it has one when this is made (tty(4)).

    SIGHUP has two senders who mean different things: the kernel, when the terminal has gone, and whoever wants the
    server to read its files again. Only whether the terminal is there tells them apart.
    """

    def __init__(self) -> None:
        self._had = _error_of_opening() == 0

    def has_gone(self) -> bool:
        """Return whether the process had a terminal and has lost it."""
        return self._had and _error_of_opening() in _GONE


def _error_of_opening() -> int:
    """Try to open the terminal; return the error number, or 0."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0
