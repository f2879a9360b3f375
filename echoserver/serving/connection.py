"""One socket and its handler: what both ways of serving a connection have in common, and how one ends.

A connection is served by one thread at a time, its owner: a thread of its own (`blocking.py`), or whichever thread the
workers mode hands it to (`nonblocking.py`). Only the owner receives, sends, calls the handler, writes the stats and
closes. Any other thread may ask it to end, with `end()`, which shuts the socket down and so wakes the owner.
"""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Callable
from threading import Lock
from time import monotonic

from echoserver.handlers import HandlerFactory, Peer
from echoserver.net.kernel import acknowledged, unacknowledged, unread
from echoserver.net.splice import Pipe, PipePool
from echoserver.observe.metrics import CloseReason, ConnectionState, ConnectionStats
from echoserver.serving.rate import TokenBucket

RECEIVE_BYTES = 65536
"""The most that a handler is given at once."""

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0
"""How much, and for how long, a connection that the server ends still takes in what its peer sends."""

ABRUPT = frozenset({CloseReason.STALLED, CloseReason.CUT, CloseReason.KILLED})
_LINGERING = frozenset({CloseReason.IDLE, CloseReason.EXPIRED, CloseReason.DRAINED, CloseReason.HANDLER})
# Which reason another thread may give to a connection that has been asked to end already.
_HARSHNESS = {
    CloseReason.IDLE: 0,
    CloseReason.EXPIRED: 0,
    CloseReason.DRAINED: 0,
    CloseReason.STALLED: 1,
    CloseReason.KILLED: 1,
    CloseReason.CUT: 2,
}


class HandlerFailedError(Exception):
    """The handler raised, or returned what is no bytes; the cause is the error to show."""


class Connection:
    """One peer, from accepted to closed.

    Parameters
    ----------
    number:
        Counts the server's connections from 1; it names this one in the log.
    sock:
        The accepted socket. The connection closes it.
    address:
        The peer's address as `accept` returned it.
    factory:
        Makes the handler, in the thread that serves, so that a slow or failing constructor harms nobody else.
    pipes:
        Where to borrow a pipe for bulk data; `None` copies all of it.
    bucket:
        How fast it may receive; `None` doesn't limit it.

    """

    __slots__ = (
        "_address",
        "_bucket",
        "_closed",
        "_factory",
        "_feed",
        "_gate",
        "_handler",
        "_pipes",
        "_receive",
        "_receive_into",
        "_send",
        "_sock",
        "_unchanged",
        "_when_ended",
        "ending",
        "error",
        "number",
        "opened_at",
        "reason",
        "served_by",
        "stats",
        "watch",
    )

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        address: object,
        factory: HandlerFactory,
        pipes: PipePool | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        self.number = number
        self.stats = ConnectionStats()
        self.opened_at = monotonic()
        self.error: BaseException | None = None
        """What broke it: the handler's exception, or the socket's."""
        self.reason = CloseReason.EOF
        """How it ended; valid once it has been served."""
        self.served_by = 0
        """The identity of the thread that serves it, or did last; written by that thread."""
        self.watch: object = None
        """The janitor's own record of this connection, which no other thread touches."""
        self._sock = sock
        self._address = address
        self._factory = factory
        self._receive = sock.recv
        self._receive_into = sock.recv_into
        self._send = sock.send
        self._pipes = pipes
        self._bucket = bucket  # the owner's own
        self._unchanged = factory.unchanged  # then the handler need not be asked
        # Guards `_closed`, `_when_ended`, every write to `ending`, and the descriptor against being shut down by one
        # thread after another closed it: its number may by then belong to a new connection.
        self._gate = Lock()
        self._closed = False
        self._when_ended: Callable[[], object] | None = None
        self.ending: CloseReason | None = None
        """Why another thread asked it to end; the owner reads it without the lock, and may see it one message late."""

    @property
    def peer(self) -> str:
        """The peer's address as people write it."""
        if isinstance(self._address, tuple) and len(self._address) >= 2:
            host, port = self._address[:2]
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return str(self._address)

    @property
    def host(self) -> str:
        """The peer's address without its port."""
        return str(self._address[0]) if isinstance(self._address, tuple) and self._address else str(self._address)

    @property
    def _port(self) -> int | None:
        return self._address[1] if isinstance(self._address, tuple) and len(self._address) >= 2 else None

    @property
    def limited(self) -> bool:
        """Whether it has a rate limit, and so may pause."""
        return self._bucket is not None

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed."""
        with self._gate:
            return self._closed

    def fileno(self) -> int:
        """Return the descriptor's number; -1 once closed."""
        return self._sock.fileno()

    # -- what both ways share

    def _open(self) -> bytes:
        """Make the handler and return its greeting."""
        self.stats.state = ConnectionState.HANDLING
        try:
            self._handler = self._factory.make(Peer(self.peer, self.host, self._port))
            self._feed = self._handler.feed
        except BaseException as error:
            raise HandlerFailedError from error
        return self._ask("greet")

    def _move(self, pipe: Pipe) -> tuple[int, bytes]:
        """Move what arrived back through a pipe.

        Return how many bytes had arrived, 0 if none or at the end of input, and those that the peer didn't take.
        """
        assert self._pipes is not None
        stats, descriptor, left = self.stats, self._sock.fileno(), 0
        try:
            left = count = pipe.take(descriptor)
            if not count:
                return 0, b""
            stats.bytes_in += count
            stats.state = ConnectionState.SENDING
            while left:
                sent = pipe.give(descriptor, left)
                stats.bytes_out += sent
                left -= sent
        except BlockingIOError:
            if not left:  # from taking: it was woken for nothing
                return 0, b""
            rest, left = pipe.empty(left), 0
            return count, rest
        else:
            stats.replies += 1
            return count, b""
        finally:
            self._pipes.give_back(pipe, empty=not left)

    def _reply(self, data: bytes) -> bytes:
        """Count what came and return the handler's reply to it."""
        stats = self.stats
        stats.bytes_in += len(data)
        if self._unchanged:
            return data
        stats.state = ConnectionState.HANDLING
        try:
            reply = self._feed(data)
            return reply if type(reply) is bytes else _as_bytes(reply)
        except BaseException as error:  # a plug-in may raise anything, SystemExit too
            raise HandlerFailedError from error

    def _ask(self, question: str) -> bytes:
        """Return what the handler's `greet` or `finish` says."""
        self.stats.state = ConnectionState.HANDLING
        try:
            reply = getattr(self._handler, question)()
            return reply if type(reply) is bytes else _as_bytes(reply)
        except BaseException as error:
            raise HandlerFailedError from error

    def _failed(self, reason: CloseReason, error: BaseException | None) -> None:
        # A socket that another thread shut down fails in many ways; the reason is then that thread's.
        if reason is CloseReason.RESET and self.ending is not None:
            self.reason = self.ending
        else:
            self.reason, self.error = reason, error

    # -- ending

    def end(self, reason: CloseReason) -> bool:
        """Ask the connection to end, from any thread; return whether this call is what ends it.

        The first reason stands, except that a harsher one goes over it. Shutting the reading side wakes the owner from
        a receive, which still gets what had arrived; an abrupt reason shuts both sides and wakes it from a send too.
        """
        with self._gate:
            if self._closed or (self.ending is not None and _HARSHNESS[reason] <= _HARSHNESS[self.ending]):
                return False
            self.ending = reason
            try:
                # The plain socket's method: a wrapper's own (TLS) would drop its layer.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR if reason in ABRUPT else socket.SHUT_RD)
            except OSError:  # the peer has reset it: the owner is awake, or about to be
                pass
            told = self._when_ended
        # Outside the lock: it may take another.
        if told is not None:
            told()
        return True

    def when_ended(self, tell: Callable[[], object]) -> None:
        """Have the owner told by whichever thread asks the connection to end: while it pauses, no shutdown wakes it."""
        with self._gate:
            self._when_ended = tell

    def start_lingering(self) -> bool:
        """Return whether to linger before closing, and begin with it.

        Closing a socket with unread input makes the kernel reset it, and a reset destroys replies that are still on
        their way. So where the server ended the connection, and its peer may still be sending, that is taken in for a
        while. A peer that was silent and has all its replies needs none of it.
        """
        if self.reason not in _LINGERING or self.ending in ABRUPT:
            return False
        if self.reason is CloseReason.HANDLER:
            self._half_close()
        elif unread(self._sock) == 0 and unacknowledged(self._sock) == 0:
            return False
        # Else the reading side is shut down already, and to half-close now would be to reset: in FIN-WAIT the kernel
        # answers bytes that nobody can read any more with a reset. So that comes last, in `close`.
        self.stats.state = ConnectionState.LINGERING
        return True

    def discard(self, limit: int) -> int:
        """Take in and drop what the peer has sent, without waiting; return how many bytes that was, -1 at its end."""
        dropped = 0
        try:
            while dropped < limit:
                data = self._sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
                if not data:
                    # With the reading side shut down, no data is no end.
                    return -1 if self.ending is None else dropped
                dropped += len(data)
        except BlockingIOError:
            pass
        except OSError:
            return -1
        return dropped

    def arrived(self) -> int:
        """Return how many bytes wait to be received."""
        with self._gate:
            return 0 if self._closed else unread(self._sock)

    def unacknowledged(self) -> int:
        """Return how many sent bytes the peer's kernel has yet to confirm."""
        with self._gate:
            return 0 if self._closed else unacknowledged(self._sock)

    def acknowledged(self) -> int:
        """Return how many bytes the peer's kernel has confirmed so far."""
        with self._gate:
            return 0 if self._closed else acknowledged(self._sock)

    def close(self) -> None:
        """Close the socket; called by the owner, once."""
        with self._gate:
            self._closed = True
            if self.reason is CloseReason.STALLED:
                # The peer doesn't read: reset it, or the kernel keeps the replies for minutes (socket(7), SO_LINGER).
                self._set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif self.stats.state == ConnectionState.LINGERING:
                # First the end of the replies, then, if input is left unread, the reset.
                self._half_close()
            self._sock.close()

    def _half_close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone already
            pass

    def _set(self, level: int, option: int, value: bytes) -> None:
        try:
            self._sock.setsockopt(level, option, value)
        except OSError:  # as above
            pass


def hold_back_sigpipe() -> None:
    """Block SIGPIPE in this thread, which is about to serve: a peer that is gone is an error of its connection.

    Python ignores the signal, but a program that writes to pipes may have set it back to its default, and then a send
    to a connection that was shut down would end the process (signal(7), pthread_sigmask(3)). What a handler starts
    inherits the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})


def _as_bytes(reply: object) -> bytes:
    if isinstance(reply, bytes | bytearray | memoryview):
        return bytes(reply)
    raise TypeError(f"the handler returned {type(reply).__name__}; it must return bytes")
