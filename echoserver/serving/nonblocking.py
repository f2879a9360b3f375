"""A connection that is served a turn at a time, by whichever thread it is given to, and never waited for."""

from __future__ import annotations

import socket
from enum import Enum, auto
from time import monotonic

from echoserver.handlers import HandlerFactory
from echoserver.net.buffer import USUAL_BYTES, ReceiveBuffer
from echoserver.net.kernel import unread
from echoserver.net.splice import STILL_BULK, PipePool
from echoserver.observe.metrics import CloseReason, ConnectionState
from echoserver.serving.connection import ABRUPT, RECEIVE_BYTES, Connection, HandlerFailedError
from echoserver.serving.rate import TokenBucket


class Wants(Enum):
    """What a connection waits for after a turn."""

    READ = auto()
    WRITE = auto()
    PAUSE = auto()
    """The moment `resume_at`: its rate limit lets it receive nothing before."""
    NOTHING = auto()
    """It has ended: `reason` says how."""


# A look-up less on the message path than the attributes of the classes.
_READ, _WRITE, _NOTHING = Wants.READ, Wants.WRITE, Wants.NOTHING
_RECEIVING, _SENDING = ConnectionState.RECEIVING.value, ConnectionState.SENDING.value


class NonBlockingConnection(Connection):
    """One peer, served by one thread at a time."""

    __slots__ = ("_bulk", "_final", "_left", "_opened", "_plain", "_unsent", "parked_for", "resume_at")

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        address: object,
        factory: HandlerFactory,
        pipes: PipePool | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        super().__init__(number, sock, address, factory, pipes, bucket)
        self.parked_for = _NOTHING
        """What it waits for in the epoll set; `NOTHING` while it isn't there. The owner's own."""
        self.resume_at = 0.0
        """When a pause ends, on the monotonic clock; valid once `turn()` has asked for one."""
        # What a turn leaves to the next; the owner's own.
        self._opened = False
        self._bulk = False  # whether the peer sends in bulk
        # Whether the next turn is just another message: opened, nothing unsent, not limited, no bulk.
        self._plain = False
        self._unsent: memoryview | None = None  # what of a turn's reply the peer has yet to take
        self._left = -1  # once asked to end: how much of what had arrived is still to be answered
        self._final = False  # nothing comes after what is unsent

    def turn(self, buffer: ReceiveBuffer) -> Wants:
        """Serve one turn without waiting, and return what to wait for before the next. Raises nothing.

        A turn is at most one receive, the reply to it, and as much of that as the peer takes: a greedy peer can't keep
        the thread, and a slow one costs no more memory than one reply, since it is not received from until it has
        taken that.

        Parameters
        ----------
        buffer:
            The calling thread's own.

        """
        try:
            if not self._plain or self.ending is not None:
                return self._special_turn()
            if not self._unchanged:
                data = self._receive(RECEIVE_BYTES)
                return self._offer(self._reply(data)) if data else self._end_of_input()
            # What comes is sent back out of the memory it was received into. All of it in this one place: this is the
            # way of every message, and a call to another method would be felt.
            count = self._receive_into(buffer.usual)
            if not count:
                return self._end_of_input()
            stats = self.stats
            stats.bytes_in += count
            part = buffer.part if count == buffer.size else buffer.first(count)
            try:
                sent = self._send(part)
            except BlockingIOError:
                sent = 0
            stats.bytes_out += sent
            if count == USUAL_BYTES:  # filled: there may be more
                self._bulk, self._plain = True, False
            if sent != count:
                return self._keep(bytes(part[sent:]))
            stats.replies += 1
            stats.state = _RECEIVING
        except BlockingIOError:  # from a receive alone: it was woken for nothing
            self.stats.state = _RECEIVING
            return _READ
        except HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours; it must not take the other peers' thread with it
            self._failed(CloseReason.KILLED, error)
        else:
            return _READ
        return _NOTHING

    def _end_of_input(self) -> Wants:
        """Serve the turn that found no more input: the peer's end, or that of whoever asked it to end just now."""
        return self._last_turn(CloseReason.EOF) if self.ending is None else self._special_turn()

    def _offer(self, reply: bytes | memoryview) -> Wants:
        """Send what the peer takes of a reply and keep the rest."""
        stats = self.stats
        if reply:
            try:
                sent = self._send(reply)
            except BlockingIOError:
                sent = 0
            stats.bytes_out += sent
            if sent != len(reply):
                return self._keep(memoryview(reply)[sent:])
            stats.replies += 1
        stats.state = _RECEIVING
        return _READ

    def _keep(self, rest: bytes | memoryview) -> Wants:
        """Keep what the peer didn't take of a reply; nothing else is received before that has gone."""
        self._unsent = memoryview(rest)
        self._plain = False
        self.stats.state = _SENDING
        return _WRITE

    def _special_turn(self) -> Wants:
        """Serve a turn that is no plain message: first, last, bulk, limited, or with a reply still to get rid of."""
        if self._unsent is not None:
            wants = self._offer(self._unsent)
            if wants is _WRITE:
                return _WRITE
            self._unsent = None
            if self._final:
                return _NOTHING
            self._plain = self._bucket is None and not self._bulk
            return _READ if self._bucket is None else self._read_or_pause(self._bucket)
        if self.ending in ABRUPT:
            return self._last_turn(self.ending)
        if not self._opened:
            self._opened = True
            self._plain = self._bucket is None
            return self._offer(self._open())
        if self.ending is None:
            if self._bucket is not None:
                return self._limited_turn(self._bucket)
            return self._bulk_turn()
        if self._left < 0:
            self._left = unread(self._sock)
        if self._left and (data := self._receive(min(self._left, RECEIVE_BYTES))):
            self._left -= len(data)
            # The reading side is shut down, so the socket stays readable and the next turn comes at once.
            return self._offer(self._reply(data))
        return self._last_turn(self.ending)

    def _bulk_turn(self) -> Wants:
        """Serve a turn without copying, or as any other if there is no pipe to be had or nothing more has arrived."""
        pipe = self._pipes.borrow() if self._pipes is not None else None
        count, rest = self._move(pipe) if pipe is not None else (0, b"")
        self._bulk = count >= STILL_BULK
        self._plain = not self._bulk
        if count:
            return self._offer(rest)
        data = self._receive(RECEIVE_BYTES)
        return self._offer(self._reply(data)) if data else self._end_of_input()

    def _limited_turn(self, bucket: TokenBucket) -> Wants:
        if self._read_or_pause(bucket) is Wants.PAUSE:
            return Wants.PAUSE
        data = self._receive(bucket.most(RECEIVE_BYTES))
        if not data:
            return self._end_of_input()
        bucket.spend(len(data), monotonic())
        wants = self._offer(self._reply(data))
        return self._read_or_pause(bucket) if wants is _READ else wants

    def _read_or_pause(self, bucket: TokenBucket) -> Wants:
        """Return what a limited connection waits for that has nothing left to send."""
        now = monotonic()
        if self.ending is None and (wait := bucket.wait(now)):
            self.resume_at = now + wait
            self.stats.state = ConnectionState.PAUSED
            return Wants.PAUSE
        self.stats.state = _RECEIVING
        return _READ

    def _last_turn(self, reason: CloseReason) -> Wants:
        self.reason = reason
        self._final = True
        last_words = b"" if reason in ABRUPT else self._ask("finish")
        return _NOTHING if self._offer(last_words) is _READ else _WRITE
