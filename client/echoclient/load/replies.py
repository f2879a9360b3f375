"""Workloads in which the server sets the pace: a closed loop, and connections that come and go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echoclient.load.pattern import CHUNK, Sizes

if TYPE_CHECKING:
    from echoclient.load.connection import Connection
    from echoclient.load.engine import Engine
    from echoclient.load.plan import Plan

# More than any run sends: time ends it.
_ENDLESS = 1 << 60
# A longer message seldom arrives in one piece, and is better sent without a copy.
_LONGEST_LONE = CHUNK // 16


class Closed:
    """Closed loop: each reply triggers the next message on its connection."""

    unsent = 0

    def __init__(self, engine: Engine, plan: Plan, end: float, messages: int | None) -> None:
        """Send until ``end`` on the monotonic clock, or ``messages`` messages."""
        self._engine = engine
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
                connection.issue(1, self._sizes.of(connection.number, connection.turn), now, now)
                connection.turn += 1
        self._engine.send(connection)

    def may_open(self) -> bool:
        """Reopen while there is something to send."""
        return self.budget > 0

    def lost(self, connection: Connection) -> int:
        """Return what had no reply."""
        return connection.under_way

    def pump(self, now: float) -> float:
        """Nothing goes by the clock but the end."""
        return math.inf

    def finished(self, now: float) -> bool:
        """Stop sending at the end; then wait for the replies, each for as long as a reply may take."""
        if self.budget > 0 and now < self._end:
            return False
        self.budget = 0
        return not any(connection.under_way for connection in self._engine.connections)


class Churn(Closed):
    """Connect, exchange one message, close; then again, as a new connection with the next free number."""

    def __init__(self, engine: Engine, plan: Plan, end: float, messages: int | None) -> None:
        """Open connections until ``end`` on the monotonic clock, or ``messages`` of them."""
        super().__init__(engine, plan, end, messages)
        self._lone = False
        self._step = plan.connections

    def opened(self, connection: Connection, now: float) -> None:
        """Send the one message."""
        self._engine.recorder.connect.fresh.append(now - connection.began)
        size = self._sizes.of(connection.number, 0)
        connection.issue(1, size, now, now)
        self._engine.send(connection)

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Close, and open the next."""
        if self.may_open():
            self._engine.replace(connection, connection.number + self._step, now)
        else:
            connection.number += self._step
            self._engine.retire(connection)

    def may_open(self) -> bool:
        """Take one from the budget, if there is one."""
        if self.budget <= 0:
            return False
        self.budget -= 1
        return True

    def lost(self, connection: Connection) -> int:
        """Count the connection as a message, even if it was never opened."""
        return 1

    def pump(self, now: float) -> float:
        """Open those that were never opened."""
        self._engine.open_more(now)
        return math.inf

    def finished(self, now: float) -> bool:
        """Stop opening at the end; then wait for those that are open."""
        if self.budget > 0 and now < self._end:
            return False
        self.budget = 0
        return all(connection.descriptor < 0 for connection in self._engine.connections)
