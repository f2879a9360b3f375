"""What an engine is told to do with its connections, and the two workloads that come before any sending."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.connection import Connection
    from echoclient.load.engine import Engine


class Workload(Protocol):
    """What to do with the connections. The engine calls it from its one thread.

    Attributes:
        budget: how many more messages replies may trigger; 0 once sending is over.
        size: of the messages that are sent as lone ones (see `Stream`), which the engine answers with another itself.
        unsent: messages that were due by the clock and not sent.
    """

    budget: int
    size: int
    unsent: int

    def opened(self, connection: Connection, now: float) -> None:
        """Take a connection that is ready."""

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Take note that ``count`` replies have arrived."""

    def may_open(self) -> bool:
        """Say whether one more connection is to be opened, now; if so, it will be."""

    def lost(self, connection: Connection) -> int:
        """Return how many messages are lost with a connection that fails."""

    def pump(self, now: float) -> float:
        """Do what is due by the clock; return when to be called again."""

    def finished(self, now: float) -> bool:
        """Say whether everything is done, and stop sending once the time for that is up."""


class Waiting:
    """Send nothing until an instant that is not known yet."""

    budget, size, unsent = 0, 0, 0

    def __init__(self, start: Callable[[], float]) -> None:
        """Ask ``start`` for the instant, on the monotonic clock; it is infinite until it is known."""
        self._start = start

    def opened(self, connection: Connection, now: float) -> None:
        """Leave it idle."""

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Nothing was asked."""

    def may_open(self) -> bool:
        """Leave that to the phases that send."""
        return False

    def lost(self, connection: Connection) -> int:
        """Nothing was sent."""
        return 0

    def pump(self, now: float) -> float:
        """Wake when it is time."""
        return self._start()

    def finished(self, now: float) -> bool:
        """Say whether it is time."""
        return now >= self._start()


class Opening(Waiting):
    """Open every connection once."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(lambda: math.inf)
        self._engine = engine

    def may_open(self) -> bool:
        """Open them all."""
        return True

    def finished(self, now: float) -> bool:
        """Open as many as may be under way, and say whether each is open or has failed."""
        return self._engine.open_more(now)
