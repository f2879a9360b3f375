"""A janitor without a server: connections as it sees them, and what it would tell the lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue

from echoserver.observe.metrics import CloseReason, ConnectionState, ConnectionStats
from echoserver.serving.connection import Connection
from echoserver.serving.janitor import Janitor
from echoserver.serving.limits import Limits
from echoserver.serving.registry import ConnectionRegistry

LIMITS_OFF = Limits(idle=0, write=0, handler=0)


class FakeConnection(Connection):
    """A connection as the janitor sees it; the test says what its peer has taken and sent."""

    def __init__(self, number: int = 1, *, state: int = ConnectionState.RECEIVING) -> None:
        self.number = number
        self.stats = ConnectionStats()
        self.stats.state = state
        self.watch = None
        self.opened_at = 0.0
        self.ending = None
        self.bytes_taken = 0
        self.bytes_pending = 0
        self.bytes_arrived = 0
        self.dropped: Callable[[int], int] = lambda _limit: 0
        self.ended: list[CloseReason] = []
        """The reasons of all calls of `end`."""
        self.ended_abruptly = False

    def end(self, reason: CloseReason, *, abruptly: bool = False) -> bool:
        first = self.ending is None
        self.ending = self.ending or reason
        self.ended.append(reason)
        self.ended_abruptly = self.ended_abruptly or abruptly
        return first

    def taken(self) -> int:
        return self.bytes_taken

    def unacknowledged(self) -> int:
        return self.bytes_pending

    def arrived(self) -> int:
        return self.bytes_arrived

    def discard(self, limit: int) -> int:
        return self.dropped(limit)


class FakeLifecycle:
    """Takes what the janitor hands back."""

    def __init__(self) -> None:
        self.lingering: SimpleQueue[Connection | None] = SimpleQueue()
        self.finalised: SimpleQueue[Connection] = SimpleQueue()
        self.finalise = self.finalised.put
        self.stuck: list[Connection] = []
        self.report_stuck = self.stuck.append
        self.maintained: SimpleQueue[None] = SimpleQueue()


def make_janitor(limits: Limits, *connections: Connection) -> tuple[Janitor, FakeLifecycle]:
    registry, lifecycle = ConnectionRegistry(), FakeLifecycle()
    for connection in connections:
        registry.add(connection)
    maintain = lifecycle.maintained.put
    return Janitor(registry, limits, lifecycle, lambda: maintain(None)), lifecycle  # type: ignore[arg-type]
