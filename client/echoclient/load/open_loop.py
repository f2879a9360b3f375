"""The workload whose pace the clock sets: an open loop, free of coordinated omission."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echoclient.load.pattern import Sizes

if TYPE_CHECKING:
    from echoclient.load.connection import Connection
    from echoclient.load.plan import Plan, Share
    from echoclient.load.pool import ConnectionPool


class OpenLoop:
    """Message k is due at ``start + k / rate`` on connection k modulo their number, whatever the server does.

    A message waits here if its connection has a full pipeline, or is down, when it is due. Its latency counts from when
    it was due, so a stall shows in every message it delays, not only in the one it caught.
    """

    budget, size = 0, 0  # replies trigger no message by themselves

    def __init__(self, pool: ConnectionPool, plan: Plan, share: Share, start: float, total: int) -> None:
        """Send the share of ``total`` messages that falls to this process's connections.

        Args:
            pool: the connections to use.
            plan: the parameters; it has a rate.
            share: this process's part of the plan.
            start: when message 0 is due, on the monotonic clock.
            total: messages, over all processes.
        """
        assert plan.rate is not None
        self._pool = pool
        self._rate = plan.rate
        self._every = plan.connections
        self._first = share.first
        self._start = start
        self._total = total
        self._pipeline = plan.pipeline
        self._sizes = Sizes(plan.smallest, plan.largest, plan.seed)
        # The message that each connection sends next.
        self._next = [share.first + index for index in range(share.connections)]
        # Where the pump continues: at this round, with the connection of this index.
        self._round, self._index = 0, 0
        self.unsent = sum(len(range(first, total, self._every)) for first in self._next)
        # Messages that the server held up may be sent after the last planned time, but not for ever.
        self._end = start + total / plan.rate + (plan.timeout or math.inf)

    def opened(self, connection: Connection, now: float) -> None:
        """Send what has become due in the meantime."""
        self._send_due(connection, now)

    def answered(self, connection: Connection, count: int, now: float) -> None:
        """Send what waited for this reply."""
        self._send_due(connection, now)

    def may_open(self) -> bool:
        """Reopen while there is something to send."""
        return self.unsent > 0

    def lost(self, connection: Connection) -> int:
        """Return how many messages had no reply."""
        return connection.under_way

    def pump(self, now: float) -> float:
        """Send what has become due on idle connections, and return when the next message is due."""
        connections = self._pool.connections
        round_time = self._every / self._rate
        if now - self._due(self._round, self._index) > round_time:
            # A whole round behind, so something is due on every connection. `_send_due` goes by the time and not by
            # this position: moving on to the present skips no message, and the cost of a stall stays bounded.
            for connection in connections:
                self._send_due(connection, now)
            self._round, self._index = int((now - self._start) / round_time), 0
        while (due := self._due(self._round, self._index)) <= now:
            self._send_due(connections[self._index], now)
            self._index += 1
            if self._index == len(connections):
                self._round, self._index = self._round + 1, 0
        return due if self._round * self._every < self._total else math.inf

    def finished(self, now: float) -> bool:
        """Return whether every message was sent, or the time for it is up, and no reply is due."""
        if self.unsent and now < self._end:
            return False
        return not any(connection.under_way for connection in self._pool.connections)

    def _due(self, number: int, index: int) -> float:
        return self._start + (number * self._every + self._first + index) / self._rate

    def _send_due(self, connection: Connection, now: float) -> None:
        if not connection.connected or now >= self._end:
            return
        index = connection.number - self._first
        message = self._next[index]
        free = self._pipeline - connection.messages
        while free > 0 and message < self._total and (due := self._start + message / self._rate) <= now:
            connection.issue(1, self._sizes.of(connection.number, connection.drawn), due, now)
            connection.drawn += 1
            message += self._every
            self.unsent -= 1
            free -= 1
        if connection.unsent and message != self._next[index]:
            self._next[index] = message
            self._pool.send(connection)
