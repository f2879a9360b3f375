"""What the engine does with its connections: open them, answer replies with messages, keep to a plan, or churn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from echoclient.load.pattern import CHUNK, Sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.connection import Connection
    from echoclient.load.engine import Engine
    from echoclient.load.plan import Plan, Share

# More than any run sends: time ends it.
_ENDLESS = 1 << 60
# A longer message seldom arrives in one piece, and is better sent without a copy.
_LONGEST_LONE = CHUNK // 16


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
