"""The workload in which the clock sets the pace: an open loop, free of coordinated omission."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echoclient.load.pattern import Sizes

if TYPE_CHECKING:
    from echoclient.load.connection import Connection
    from echoclient.load.engine import Engine
    from echoclient.load.plan import Plan, Share


class Planned:
    """Open loop: message k is due at ``start + k / rate`` on connection k modulo their number, come what may.

    A message that is due while its connection has a full pipeline, or none at all, waits here, and its latency counts
    from when it was due: so a stall shows in every message it delays, and not only in the one it caught.
    """

    budget, size = 0, 0  # replies trigger nothing

    def __init__(self, engine: Engine, plan: Plan, share: Share, start: float, total: int) -> None:
        """Send the share of ``total`` messages that falls to this process's connections.

        Args:
            engine: whose connections to use.
            plan: with a rate.
            share: which part of the plan is this process's.
            start: when message 0 is due, on the monotonic clock.
            total: messages, over all processes.
        """
        assert plan.rate is not None
        self._engine = engine
        self._rate = plan.rate
        self._every = plan.connections
        self._first = share.first
        self._start = start
        self._total = total
        self._pipeline = plan.pipeline
        self._sizes = Sizes(plan.smallest, plan.largest, plan.seed)
        # By connection: the message it sends next.
        self._next = [share.first + index for index in range(share.connections)]
        # What the pump looks at next: this message, of the connection with this index.
        self._round, self._index = 0, 0
        self.unsent = sum(len(range(first, total, self._every)) for first in self._next)
        # What the server holds up may be sent after the last planned time, but not for ever.
        self._end = start + total / plan.rate + (plan.timeout or math.inf)

    def opened(self, connection: Connection, now: float) -> None:
        """Send what has become due meanwhile."""
        self._send_due(connection, now)

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Send what had to wait for this reply."""
        self._send_due(connection, now)

    def may_open(self) -> bool:
        """Reopen while there is something to send."""
        return self.unsent > 0

    def lost(self, connection: Connection) -> int:
        """Return what had no reply."""
        return connection.under_way

    def pump(self, now: float) -> float:
        """Send what has become due on idle connections, and return when the next message is due."""
        connections = self._engine.connections
        turn = self._every / self._rate
        if now - self._due(self._round, self._index) > turn:
            # Behind by a whole round, so something is due everywhere. `_send_due` goes by the time and not by this
            # position, so skipping to the present skips no message, and the cost of a stall stays bounded.
            for connection in connections:
                self._send_due(connection, now)
            self._round, self._index = int((now - self._start) / turn), 0
        while (due := self._due(self._round, self._index)) <= now:
            self._send_due(connections[self._index], now)
            self._index += 1
            if self._index == len(connections):
                self._round, self._index = self._round + 1, 0
        return due if self._round * self._every < self._total else math.inf

    def finished(self, now: float) -> bool:
        """Say whether every message was sent, or the time for it is up, and the replies have come."""
        if self.unsent and now < self._end:
            return False
        return not any(connection.under_way for connection in self._engine.connections)

    def _due(self, turn: int, index: int) -> float:
        return self._start + (turn * self._every + self._first + index) / self._rate

    def _send_due(self, connection: Connection, now: float) -> None:
        if not connection.connected or now >= self._end:
            return
        index = connection.number - self._first
        message = self._next[index]
        room = self._pipeline - connection.messages
        while room > 0 and message < self._total and (due := self._start + message / self._rate) <= now:
            connection.issue(1, self._sizes.of(connection.number, connection.turn), due, now)
            connection.turn += 1
            message += self._every
            self.unsent -= 1
            room -= 1
        if connection.unsent and message != self._next[index]:
            self._next[index] = message
            self._engine.send(connection)
