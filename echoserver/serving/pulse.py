"""Whether the threads that a server can't do without go round, for a service manager that watches over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Thread
from time import monotonic
from typing import Protocol

_PATIENCE = 1.0


class Beating(Protocol):
    """What has a thread that waits, does something, and waits again."""

    @property
    def thread(self) -> Thread:
        """The thread."""

    @property
    def rounds(self) -> int:
        """How often it has been woken; only the thread itself changes that."""

    def nudge(self) -> None:
        """Wake the thread, which then begins a new round at once, unless it is stuck."""


class Pulse:
    """Nudges threads and sees later which of them have begun a new round. It belongs to the thread that asks.

    A thread that has nothing to do waits for as long as that lasts, which can't be told from being stuck by looking at
    it. So it is woken. One is stuck if that has had no effect for a second, in which the janitor looks twice.

    Parameters
    ----------
    beating:
        What has the threads.

    """

    def __init__(self, beating: Sequence[Beating]) -> None:
        self._beating = beating
        self._seen = [-1] * len(beating)
        self._moved_at = [math.inf] * len(beating)

    def stuck(self) -> list[str]:
        """Return the names of the threads that have begun no round since the last call, and nudge all.

        The first call returns none, and threads that have ended are not stuck.
        """
        now, names = monotonic(), []
        for index, entry in enumerate(self._beating):
            rounds = entry.rounds
            if rounds != self._seen[index]:
                self._seen[index], self._moved_at[index] = rounds, now
            elif now - self._moved_at[index] >= _PATIENCE and entry.thread.is_alive():
                names.append(entry.thread.name)
            entry.nudge()
        return names
