"""Waiting for a place: in the thread that accepts, which does other things meanwhile."""

from __future__ import annotations

import math
from time import monotonic
from typing import Protocol

from echoserver.serving.admission import Admission, Lease

# How long to wait at most for another process to say that a place is free, before looking.
_LOOK_AGAIN = 0.2


class Watching(Protocol):
    """What tells of readable descriptors: a selector, or the poller's epoll set."""

    def watch(self, descriptor: int, *, exclusively: bool = False) -> None:
        """Tell of a descriptor whenever it is readable.

        Parameters
        ----------
        descriptor:
            The descriptor.
        exclusively:
            Whether, of several processes that watch it, the kernel is to tell one that has nothing else to do.

        Raises
        ------
        OSError
            The kernel refuses.

        """

    def unwatch(self, descriptor: int) -> None:
        """Tell of it no more."""


class PlaceWait:
    """Whether the accepting thread waits for a place, and what wakes it. Only that thread uses it.

    Parameters
    ----------
    admission:
        The places.

    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._watching: Watching | None = None
        self.waits = False
        self.look_again_at = math.inf
        """When to look for a place, though nobody has said that there is one."""

    def begin(self, watching: Watching) -> Lease | None:
        """Wait until a connection ends; return a place if one has ended just now.

        The acceptor says that it wants a place and then tries once more; `Lease.release` gives one back and then looks
        whether one is wanted. Whichever comes second sees the other: either this try gets the place, or `release` wakes
        the accepting thread, which calls `is_over`.
        """
        shared = self._admission.shared
        self._watching = watching
        self._admission.place_wanted = True
        if shared is not None:
            watching.watch(shared.freed)
            shared.want(wanted=True)
            self.look_again_at = monotonic() + _LOOK_AGAIN
        lease = self._admission.take_place()
        self.waits = True
        if lease is not None:
            self._end()
        return lease

    def heard(self, descriptor: int) -> bool:
        """Return whether a readable descriptor says that another process has given a place back."""
        shared = self._admission.shared
        if shared is None or descriptor != shared.freed:
            return False
        shared.look()
        return True

    def is_over(self) -> bool:
        """Return whether there is a place again."""
        lease = self._admission.take_place()
        if lease is None:
            if self._admission.shared is not None:
                self.look_again_at = monotonic() + _LOOK_AGAIN
            return False
        self._end()
        lease.release()
        return True

    def _end(self) -> None:
        self.waits = self._admission.place_wanted = False
        self.look_again_at = math.inf
        shared = self._admission.shared
        if shared is not None and self._watching is not None:
            shared.want(wanted=False)
            self._watching.unwatch(shared.freed)
