"""What the engine asks of a workload: which messages to send on which connection, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from echoclient.load.connection import Connection


class Workload(Protocol):
    """What to do with the connections. It is called in the engine's one thread.

    Attributes:
        budget: how many more messages replies may trigger; 0 once sending is over.
        size: bytes of a lone message (see `Stream`): the engine itself answers its reply with the next one.
        unsent: messages that were due by the clock and not sent.
    """

    budget: int
    size: int
    unsent: int

    def opened(self, connection: Connection, now: float) -> None:
        """Use a connection that is ready."""

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """React to the arrival of ``count`` replies."""

    def may_open(self) -> bool:
        """Return whether one more connection is to be opened now; if so, the caller opens it."""

    def lost(self, connection: Connection) -> int:
        """Return how many messages are lost with a connection that fails."""

    def pump(self, now: float) -> float:
        """Do what is due by the clock; return when to be called again."""

    def finished(self, now: float) -> bool:
        """Stop sending once the time for it is up, and return whether everything is done."""
