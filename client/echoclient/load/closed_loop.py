"""Workloads whose pace the server sets: a closed loop, and a new connection for each message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echoclient.load.pattern import CHUNK, Sizes

if TYPE_CHECKING:
    from echoclient.load.connection import Connection
    from echoclient.load.plan import Plan
    from echoclient.load.pool import ConnectionPool

# More than any run sends: time ends it.
_ENDLESS = 1 << 60
# A longer message seldom arrives in one piece, and is better sent without a copy.
_LONGEST_LONE = CHUNK // 16


class ClosedLoop:
    """Each reply triggers the next message on its connection."""

    unsent = 0

    def __init__(self, pool: ConnectionPool, plan: Plan, end: float, messages: int | None) -> None:
        """Send until ``end`` on the monotonic clock, or ``messages`` messages."""
        self._pool = pool
        self._end = end
        self._pipeline = plan.pipeline
        self._sizes = Sizes(plan.smallest, plan.largest, plan.seed)
        self._fixed = plan.smallest == plan.largest
        self.size = plan.smallest
        self._lone = self._fixed and plan.pipeline == 1 and plan.largest <= _LONGEST_LONE
        self.budget = _ENDLESS if messages is None else messages

    def opened(self, connection: Connection, now: float) -> None:
        """Fill its pipeline."""
        self.answered(connection, self._pipeline, now)

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Send as many new messages as were answered."""
        count = min(count, self.budget)
        if count <= 0:
            return
        self.budget -= count
        if self._lone:
            connection.issue_lone(self.size, now)
        elif self._fixed:
            connection.issue(count, self.size, now, now)
        else:
            for _ in range(count):
                connection.issue(1, self._sizes.of(connection.number, connection.drawn), now, now)
                connection.drawn += 1
        self._pool.send(connection)

    def may_open(self) -> bool:
        """Reopen while there is something to send."""
        return self.budget > 0

    def lost(self, connection: Connection) -> int:
        """Return how many messages had no reply."""
        return connection.under_way

    def pump(self, now: float) -> float:
        """Do nothing: only the end goes by the clock."""
        return math.inf

    def finished(self, now: float) -> bool:
        """Stop sending at the end; then wait for the replies, each for as long as a reply may take."""
        if self.budget > 0 and now < self._end:
            return False
        self.budget = 0
        return not any(connection.under_way for connection in self._pool.connections)


class Churn(ClosedLoop):
    """Connect, exchange one message and close; then again, as a new connection with the next free number."""

    def __init__(self, pool: ConnectionPool, plan: Plan, end: float, messages: int | None) -> None:
        """Open connections until ``end`` on the monotonic clock, or ``messages`` of them."""
        super().__init__(pool, plan, end, messages)
        self._lone = False
        self._step = plan.connections

    def opened(self, connection: Connection, now: float) -> None:
        """Send the one message."""
        self._pool.recorder.connect.fresh.append(now - connection.began - connection.shaking)
        size = self._sizes.of(connection.number, 0)
        connection.issue(1, size, now, now)
        self._pool.send(connection)

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Close the connection and open the next."""
        if self.may_open():
            self._pool.replace(connection, connection.number + self._step, now)
        else:
            connection.number += self._step
            self._pool.retire(connection)

    def may_open(self) -> bool:
        """Take one from the budget, if there is one."""
        if self.budget <= 0:
            return False
        self.budget -= 1
        return True

    def lost(self, connection: Connection) -> int:
        """Count the connection as one message, even if it was never opened."""
        return 1

    def pump(self, now: float) -> float:
        """Open the connections that were not opened yet."""
        self._pool.open_more(now)
        return math.inf

    def finished(self, now: float) -> bool:
        """Stop opening at the end; then wait for the connections that are open."""
        if self.budget > 0 and now < self._end:
            return False
        self.budget = 0
        return all(connection.descriptor < 0 for connection in self._pool.connections)
