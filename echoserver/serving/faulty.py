"""Serving connections that meet faults: what is made for them, and the drivers that know of their pauses."""

from __future__ import annotations

import math
from time import monotonic

from echoserver.faults.effects import Effect
from echoserver.faults.plan import Plan
from echoserver.net.buffer import ReceiveBuffer
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import CloseReason, ConnectionState, Metrics
from echoserver.observe.telling import tell
from echoserver.serving.blocking import BlockingDriver
from echoserver.serving.connection import Connection
from echoserver.serving.faulty_transport import FaultyTransport
from echoserver.serving.interest import Interest
from echoserver.serving.opened import DecodingDriver
from echoserver.serving.opening import refused
from echoserver.serving.pieces import Pieces


class Faults:
    """Gives new connections the faults of a plan.

    Parameters
    ----------
    plan:
        The rules and the seed.
    metrics:
        Counts what happens.

    """

    def __init__(self, plan: Plan, metrics: Metrics) -> None:
        self._plan = plan
        self._metrics = metrics
        metrics.count_faults(rule.kind for rule in plan.rules)

    @property
    def rules(self) -> list[str]:
        """The rules, as they are written."""
        return [str(rule) for rule in self._plan.rules]

    @property
    def seed(self) -> int:
        """What everything that is drawn follows from."""
        return self._plan.seed

    def announce(self, log: Logger) -> None:
        """Log the rules and the seed, with which everything that is drawn can be drawn again."""
        plan = self._plan
        of_ticket = {} if plan.replayed is None else {"as_connection": plan.replayed}
        rules = [str(rule) for rule in plan.rules]
        tell(log.info, "faults", rules=rules, seed=plan.seed, **of_ticket, generation=plan.generation)

    def apply(self, connection: Connection) -> None:
        """Have a new connection meet what its schedule says; most have none, and stay as they are."""
        schedule = self._plan.schedule(connection.number)
        if schedule is None:
            return
        transport = FaultyTransport(
            connection.transport, schedule, connection, self._metrics.fault, self._plan.generation
        )
        connection.transport, connection.pipes = transport, None
        if schedule.refused is not None:
            connection.opening = Refusal(transport, schedule.refused)


class Refusal:
    """Ends a connection before anything is received from it. See `Opening`."""

    __slots__ = ("_effect", "_transport")

    deadline = math.inf
    late = CloseReason.FAULT

    def __init__(self, transport: FaultyTransport, effect: Effect) -> None:
        self._transport = transport
        self._effect = effect

    def advance(self, connection: Connection) -> Interest | None:
        """Refuse it."""
        self._transport.record(self._effect)
        raise refused(connection, "", CloseReason.FAULT)


class FaultyBlockingDriver(BlockingDriver):
    """Gives the transport each reply as a whole, since only that can tell where a reply begins and ends."""

    __slots__ = ("_faulty",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        assert isinstance(connection.transport, FaultyTransport), "others have no faults"
        self._faulty = connection.transport

    def _send_all(self, reply: bytes | Pieces) -> None:
        if type(reply) is not bytes:
            self._send_special(reply)
        elif reply:
            self._stats.state = ConnectionState.SENDING
            self._send_rest(memoryview(reply))
            self._stats.replies += 1

    def _send_rest(self, rest: memoryview) -> None:
        if rest:
            self._stats.bytes_out += self._send(rest)

    def _send_pieces(self, pieces: Pieces) -> bool:
        return super()._send_pieces(_Audible(pieces, self._faulty))

    def _pause(self, seconds: float) -> None:
        super()._pause(min(seconds, max(0.0, self._faulty.next_moment() - monotonic())))
        self._faulty.act_on_time()


class _Audible(Pieces):
    """The pieces of a reply up to where nothing more is sent; there may be no end of them."""

    __slots__ = ("_pieces", "_transport")

    def __init__(self, pieces: Pieces, transport: FaultyTransport) -> None:
        super().__init__(iter(()))
        self._pieces = pieces
        self._transport = transport

    def next(self) -> bytes | None:
        return None if self._transport.muted else self._pieces.next()


class FaultyDriver(DecodingDriver):
    """Comes back when a pause is over, and when a fault happens by itself."""

    __slots__ = ("_faulty",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        assert isinstance(connection.transport, FaultyTransport), "others have no faults"
        self._faulty = connection.transport

    def on_ready(self, buffer: ReceiveBuffer) -> Interest:
        """Serve one event. See `NonBlockingDriver.on_ready`."""
        connection, transport = self.connection, self._faulty
        if connection.opening is None:
            try:
                transport.act_on_time()
            except OSError as error:  # broken, or ended by a fault: then the connection knows better
                connection.failed(CloseReason.RESET, error)
                return self.give_up()
        interest, paused_until = super().on_ready(buffer), transport.take_pause()
        if interest is Interest.NOTHING or connection.ending is not None or connection.opening is not None:
            return interest
        if paused_until is not None:
            self.resume_at = paused_until
            self._stats.state = ConnectionState.PAUSED
            return Interest.PAUSE
        moment = transport.next_moment()
        if interest is Interest.PAUSE:  # for its rate limit
            self.resume_at = min(self.resume_at, moment)
        elif moment < math.inf:
            self.resume_at = moment
            return Interest.READ_UNTIL if interest is Interest.READ else Interest.WRITE_UNTIL
        return interest

    def _send_pieces(self) -> Interest:
        pieces = self._pieces
        if pieces is None or not self._faulty.muted:
            return super()._send_pieces()
        # There may be no end of them, and nothing is received before there is.
        self._pieces = None
        self._stats.replies += 1
        pieces.close()
        return self._after_reply()
