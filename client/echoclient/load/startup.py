"""The two workloads that precede any sending: opening the connections, and waiting for the start."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.connection import Connection
    from echoclient.load.pool import ConnectionPool


class Waiting:
    """Send nothing until an instant that is not known yet."""

    budget, size, unsent = 0, 0, 0

    def __init__(self, start: Callable[[], float]) -> None:
        """Ask ``start`` for the instant, on the monotonic clock; it is infinite until it is known."""
        self._start = start

    def opened(self, connection: Connection, now: float) -> None:
        """Leave it idle."""

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Do nothing: nothing was sent."""

    def may_open(self) -> bool:
        """Leave opening to the phases that send."""
        return False

    def lost(self, connection: Connection) -> int:
        """Lose nothing: nothing was sent."""
        return 0

    def pump(self, now: float) -> float:
        """Return the start."""
        return self._start()

    def finished(self, now: float) -> bool:
        """Return whether the start has come."""
        return now >= self._start()


class Opening(Waiting):
    """Open every connection once."""

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(lambda: math.inf)
        self._pool = pool

    def may_open(self) -> bool:
        """Open them all."""
        return True

    def finished(self, now: float) -> bool:
        """Open as many as may be in progress, and return whether each is open or has failed."""
        return self._pool.open_more(now)
