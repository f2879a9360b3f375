"""A transport whose connection meets the faults of a schedule, around one that does not.

It takes each reply whole, and sends what the schedule makes of it: other bytes, none, or the same ones twice, with
pauses and ends at their places. In the mode that blocks it waits for the end of a pause; otherwise it says when that is
(`take_pause`), and the driver comes back then.
"""

from __future__ import annotations

import errno
import math
import os
import select
from collections.abc import Callable, Mapping
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

from echoserver.faults.effects import Close, Cut, Effect, HalfClose, Reset, Stall
from echoserver.faults.schedule import Schedule
from echoserver.net.transport import Transport
from echoserver.net.wrapped import WrappedTransport
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.faulty_reply import FaultyReply

if TYPE_CHECKING:
    from echoserver.serving.connection import Connection

_SHOWN = 16
# Timers and `poll` take no infinite time. Who waits for longer looks again.
_LONGEST_WAIT = 3600.0
# How often a thread that waits looks whether the peer is still there.
_LOOK_SECONDS = 0.5


class FaultEndedError(ConnectionError):
    """A fault has ended the connection, which knows that."""


class FaultyTransport(WrappedTransport):
    """Moves the bytes of one connection, with its faults.

    It belongs to the thread that serves the connection, as every transport does. Once the connection has been asked to
    end, nothing pauses any more, and nothing ends it by itself.

    Parameters
    ----------
    inner:
        Moves the bytes without faults.
    schedule:
        What the connection meets.
    connection:
        The connection.
    count:
        Is told the kind of each fault when it happens.
    generation:
        Which set of rules the schedule is from, for the log.

    """

    __slots__ = (
        *("_blocking", "_connection", "_count", "_fired", "_generation", "_index", "_offset"),
        "_not_before",
        "_paused_until",
        *("_reply", "_schedule", "_seen_age", "_shown", "_stalled_until", "_woken", "muted"),
    )

    has_faults = True

    def __init__(
        self,
        inner: Transport,
        schedule: Schedule,
        connection: Connection,
        count: Callable[[str], None],
        generation: int,
    ) -> None:
        super().__init__(inner)
        self._schedule = schedule
        self._connection = connection
        self._count = count
        self._generation = generation
        self._blocking = True
        self._index = 0  # of the next reply
        self._offset = 0  # how many bytes were sent
        self._reply: FaultyReply | None = None  # what is being sent
        self._seen_age = -1.0  # up to which age faults have happened by themselves
        self._stalled_until = self._not_before = -math.inf
        self.muted = False
        """Whether nothing more is sent; the owner's own."""
        self._woken = Event()  # whoever asks the connection to end, to the thread that waits here
        self._shown: list[str] = []
        self._fired = 0
        self._paused_until: float | None = None

    # -- sending and receiving

    def send(self, data: bytes | memoryview) -> int:
        """Take a reply; return its length once all of what has become of it is sent. Raises as a socket's method does.

        In the mode that does not block, `BlockingIOError` asks for the same reply again later.
        """
        self.act_on_time()
        if self.muted:
            self._connection.stats.bytes_out -= len(data)  # the driver is about to add what it takes to be sent
            return len(data)
        if self._reply is None:
            age = monotonic() - self._connection.opened_at
            effects = self._schedule.reply(self._index, self._offset, len(data), age)
            self._reply = FaultyReply(data, self._offset, effects, self._not_before)
            self._index += 1
        reply = self._reply
        while not (reply.done or self.muted):
            if not self._wait(reply):
                break
            effect = reply.next_effect(monotonic())
            if effect is not None:
                self._happen(effect)
            elif piece := reply.piece(hurried=self._hurried):
                count = self._send(piece)
                reply.sent(count, monotonic())
                self._offset += count
                self._connection.stats.bytes_out += count
        self._reply, self._not_before = None, reply.not_before()
        self._connection.stats.bytes_out -= len(data)
        return len(data)

    def _send(self, piece: memoryview) -> int:
        """Send what the peer takes; without waiting for that beyond the moment at which something happens by itself."""
        if not self._blocking or self.next_moment() == math.inf:
            return self._inner.send(piece)
        self._inner.set_blocking(False)
        try:
            return self._inner.send(piece)
        except BlockingIOError:
            self._wait_for_socket(select.POLLOUT)
            return 0
        finally:
            self._inner.set_blocking(True)

    def recv(self, limit: int) -> bytes:
        """Receive into new memory."""
        self._before_receive()
        return self._inner.recv(limit)

    def recv_into(self, memory: memoryview) -> int:
        """Receive into the memory given."""
        self._before_receive()
        return self._inner.recv_into(memory)

    def _before_receive(self) -> None:
        """Let happen what is due by itself, and wait while the connection is stalled."""
        self.act_on_time()
        self._wait()
        while self._blocking and self.next_moment() < math.inf and not self._inner.pending():
            if self._wait_for_socket(select.POLLIN):
                return
            self._wait()

    def _wait_for_socket(self, event: int) -> bool:
        """Wait until the socket is ready, or something has happened by itself; return whether it is ready."""
        poll = select.poll()
        poll.register(self._inner.fileno(), event)
        if poll.poll(1000 * min(_LONGEST_WAIT, max(0.0, self.next_moment() - monotonic()))):
            return True
        self.act_on_time()
        return False

    # -- time

    def take_pause(self) -> float | None:
        """Return when the pause is over that a call has met since this was last asked; `None` if there was none."""
        until, self._paused_until = self._paused_until, None
        return until

    @property
    def _hurried(self) -> bool:
        """Whether the connection has been asked to end."""
        return self._connection.ending is not None

    def next_moment(self) -> float:
        """Return when something happens by itself, on the monotonic clock; `math.inf` if nothing does."""
        if self._hurried:
            return math.inf
        return self._connection.opened_at + self._schedule.next_time(self._seen_age)

    def act_on_time(self) -> None:
        """Let happen what is due by itself. Raises as `send` does."""
        if self._hurried or self._seen_age == math.inf:
            return
        since, self._seen_age = self._seen_age, monotonic() - self._connection.opened_at
        for cut in self._schedule.due(since, self._seen_age):
            self._happen(cut)
        if self._schedule.next_time(self._seen_age) == math.inf:
            self._seen_age = math.inf  # nothing is left, so no more looks at the clock

    def _wait(self, reply: FaultyReply | None = None) -> bool:
        """Wait, or ask to come back, while the connection is stalled or it is too early for the next bytes of a reply.

        What is due by itself happens meanwhile, and may change how long that is. Returns whether it can still be sent.
        """
        while not self._hurried:
            until, now = self._stalled_until, monotonic()
            if reply is not None and not self.muted:
                until = max(until, reply.not_before())
            if now >= until:
                break
            if self._is_broken():
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            stop = min(until, self.next_moment(), now + _LONGEST_WAIT)
            if not self._blocking:
                self._paused_until = stop
                raise BlockingIOError
            stats = self._connection.stats
            before, stats.state = stats.state, ConnectionState.PAUSED
            self._woken.wait(min(stop - now, _LOOK_SECONDS))
            stats.state = before
            self.act_on_time()
        return not self.muted

    def _is_broken(self) -> bool:
        """Return whether the peer has reset the connection, which no call tells of that waits for the time alone."""
        poll = select.poll()
        poll.register(self._inner.fileno(), 0)
        return bool(poll.poll(0))

    # -- faults

    def _happen(self, effect: Effect) -> None:
        """Do what an effect does beyond changing the bytes of a reply, and record it."""
        if isinstance(effect, Cut) and (self._hurried or self.muted):
            return
        self.record(effect)
        match effect:
            case Stall():
                self._stalled_until = max(self._stalled_until, monotonic() + effect.seconds)
            case HalfClose():
                self.muted = True
                self._inner.shut_writing()
            case Reset():
                self._end(abruptly=True)
            case Close():
                self._end(abruptly=False)

    def record(self, effect: Effect) -> None:
        """Count an effect, and keep it for the log."""
        self._fired += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(str(effect))
        self._count(effect.kind)

    def _end(self, *, abruptly: bool) -> None:
        """End the connection with a reset, or in the orderly way: the lingering that follows sends the end."""
        # A shutdown would send the end of the stream before the reset, or before the rest of what was sent.
        self._connection.end(CloseReason.FAULT, abruptly=abruptly, shut=_leave_alone)
        if abruptly:
            self._inner.reset_on_close()
        raise FaultEndedError

    @property
    def log_facts(self) -> Mapping[str, object]:
        """What the log says of the faults; nothing if none has happened."""
        if not self._fired:
            return {}
        more = {} if self._fired == len(self._shown) else {"faults_in_all": self._fired}
        ticket = {"ticket": self._schedule.ticket, "fault_generation": self._generation}
        return {"faults": self._shown, **more, **ticket}

    # -- what the faults leave to the other transport, but for this

    def set_blocking(self, blocking: bool) -> None:
        """See `Transport`."""
        self._blocking = blocking
        super().set_blocking(blocking)

    def shut_reading(self) -> None:
        """See `Transport`. The thread that waits here goes on."""
        self._woken.set()
        super().shut_reading()

    def shut_both(self) -> None:
        """See `Transport`. The thread that waits here goes on."""
        self._woken.set()
        super().shut_both()

    def send_end(self) -> None:
        """See `Transport`."""
        if not self.muted:
            super().send_end()

    def shut_writing(self) -> None:
        """See `Transport`."""
        if not self.muted:
            super().shut_writing()


def _leave_alone() -> None:
    """Shut nothing down."""
