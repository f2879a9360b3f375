"""How long a server may take to end: one deadline that all steps share, and what brings it forward."""

from __future__ import annotations

from threading import Event

from echoserver.clock import Deadline
from echoserver.serving.registry import ConnectionRegistry


class Patience:
    """The deadline of something that may be brought forward from another thread, even before it begins.

    Parameters
    ----------
    registry:
        Whose emptiness is waited for.

    """

    def __init__(self, registry: ConnectionRegistry) -> None:
        self._registry = registry
        self._over = Event()
        self.deadline = Deadline(0)
        """When it is over; replaced by `begin`."""

    def begin(self, seconds: float) -> Deadline:
        """Return a deadline that many seconds from now, or one that is over if `end` has been called; 0 sets none."""
        self.deadline = Deadline(seconds)
        # `end` sets the flag before it expires the deadline, and here the deadline is made before the flag is looked
        # at: whichever comes second, this deadline is over.
        if self._over.is_set():
            self.deadline.expire()
        return self.deadline

    def end(self) -> None:
        """Have what is under way, or what begins next, wait no longer."""
        self._over.set()
        self.deadline.expire()
        self._registry.wake()
