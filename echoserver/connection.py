"""One socket and its handler: the way of every byte, blocking in `serve()` and non-blocking in `turn()`.

A connection is served by one thread at a time, its owner: a thread of its own (`serve`), or whichever thread the
workers mode hands it to (`turn`). Only the owner receives, sends, calls the handler, writes the tally and closes. Any
other thread may ask it to end, with `end()`, which shuts the socket down and so wakes the owner, wherever it waits.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from enum import Enum, auto
from threading import Lock, get_ident
from time import monotonic

from echoserver.handlers import HandlerFactory
from echoserver.metrics import CloseReason, Phase, Tally

RECEIVE_BYTES = 65536
"""The most that one receive takes, and so what a turn of a pipelining peer can cost the others."""

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0
"""How much, and for how long, a connection that the server ends still takes in what its peer sends."""

_ABRUPT = frozenset({CloseReason.STALLED, CloseReason.CUT, CloseReason.KILLED})
_LINGERING = frozenset({CloseReason.IDLE, CloseReason.DRAINED, CloseReason.HANDLER})


class Wants(Enum):
    """What a connection waits for after a turn."""

    READ = auto()
    WRITE = auto()
    NOTHING = auto()
    """It has ended: `reason` says how."""


class _HandlerFailedError(Exception):
    """The handler raised, or returned what is no bytes; the cause is the error to show."""


class Connection:
    """One peer, from accepted to closed.

    Parameters
    ----------
    number:
        Counts the server's connections from 1; it names this one in the log.
    sock:
        The accepted socket, blocking for `serve()` and non-blocking for `turn()`. The connection closes it.
    address:
        The peer's address as `accept` returned it.
    factory:
        Makes the handler, in the thread that serves, so that a slow or failing constructor harms nobody else.

    """

    __slots__ = (
        "_address",
        "_closed",
        "_factory",
        "_feed",
        "_final",
        "_gate",
        "_handler",
        "_left",
        "_opened",
        "_recv",
        "_send_some",
        "_sock",
        "_unsent",
        "ending",
        "error",
        "number",
        "opened_at",
        "parked_for",
        "reason",
        "served_by",
        "tally",
        "watch",
    )

    def __init__(self, number: int, sock: socket.socket, address: object, factory: HandlerFactory) -> None:
        self.number = number
        self.tally = Tally()
        self.opened_at = monotonic()
        self.error: BaseException | None = None
        """What broke it: the handler's exception, or the socket's."""
        self.reason = CloseReason.EOF
        """How it ended; valid once `serve()` has returned or `turn()` wants nothing."""
        self.served_by = 0
        """The identity of the thread that serves it, or did last; written by that thread."""
        self.parked_for = Wants.NOTHING
        """What it waits for in the workers mode's epoll set; `NOTHING` while it isn't there. The owner's own."""
        self.watch: object = None
        """The janitor's own record of this connection, which no other thread touches."""
        self._sock = sock
        self._address = address
        self._factory = factory
        self._recv = sock.recv
        self._send_some = sock.send
        # What `turn()` keeps from one turn to the next; the owner's own.
        self._opened = False
        self._unsent: memoryview | None = None  # what of a turn's reply the peer has yet to take
        self._left = -1  # once asked to end: how much of what had arrived is still to be answered
        self._final = False  # nothing comes after what is unsent
        # Guards `_closed`, every write to `ending`, and the descriptor against being shut down by one thread after
        # another closed it: its number may by then belong to a new connection.
        self._gate = Lock()
        self._closed = False
        self.ending: CloseReason | None = None
        """Why another thread asked it to end. Only ever set, so the owner reads it without the lock."""

    @property
    def peer(self) -> str:
        """The peer's address as people write it."""
        if isinstance(self._address, tuple) and len(self._address) >= 2:
            host, port = self._address[:2]
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return str(self._address)

    def fileno(self) -> int:
        """Return the descriptor's number; -1 once closed."""
        return self._sock.fileno()

    # -- the blocking way: one thread from the first byte to the last

    def serve(self) -> CloseReason:
        """Serve the peer to its end and return how it ended. Raises nothing of the peer's or the handler's doing."""
        self.served_by = get_ident()
        try:
            self._make_handler()
            if greeting := self._ask(self._handler.greet):
                self._send(greeting)
            self.tally.phase = Phase.RECEIVING
            while self.ending is None and (data := self._recv(RECEIVE_BYTES)):
                if reply := self._reply(data):
                    self._send(reply)
                self.tally.phase = Phase.RECEIVING
            if self.ending is not None:
                self._answer_what_arrived()
            self.reason = self.ending or CloseReason.EOF
            if self.reason not in _ABRUPT and (reply := self._ask(self._handler.finish)):
                self._send(reply)
        except _HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        return self.reason

    def _send(self, reply: bytes) -> None:
        """Send all of a reply, blocking: the kernel takes it whole, or in pieces where the thread was woken to end."""
        tally = self.tally
        tally.phase = Phase.SENDING
        sent = self._send_some(reply)
        tally.bytes_out += sent
        if sent != len(reply):
            rest = memoryview(reply)
            while rest := rest[sent:]:
                sent = self._send_some(rest)
                tally.bytes_out += sent
        tally.replies += 1

    def _answer_what_arrived(self) -> None:
        """Answer the bytes that had come when the server asked this connection to end, and no later ones.

        A peer that never stops sending can so not hold up a drain. An abrupt end answers nothing more.
        """
        left = 0 if self.ending in _ABRUPT else unread(self._sock)
        while left > 0 and self.ending not in _ABRUPT and (data := self._recv(min(left, RECEIVE_BYTES))):
            left -= len(data)
            if reply := self._reply(data):
                self._send(reply)

    # -- the non-blocking way: a turn at a time, by whichever thread it is given to

    def turn(self) -> Wants:
        """Serve one turn without waiting, and return what to wait for before the next.

        A turn is at most one receive, the reply to it, and as much of that as the peer takes: a greedy peer can't keep
        the thread, and a slow one costs no more memory than one reply, since it is not received from until it has taken
        that.
        """
        try:
            if self._unsent is not None or self.ending is not None or not self._opened:
                return self._special_turn()
            if data := self._recv(RECEIVE_BYTES):
                reply = self._reply(data)
                return self._send_what_fits(reply) if reply else self._wait_for(Wants.READ)
            # The end of input: the peer's own, or that of another thread asking this connection to end just now.
            return self._last_turn(CloseReason.EOF) if self.ending is None else self._special_turn()
        except BlockingIOError:  # from a receive alone: somebody was woken for nothing
            return self._wait_for(Wants.READ)
        except _HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        return Wants.NOTHING

    def _special_turn(self) -> Wants:
        """Serve a turn that is no plain message: the first, the last ones, one with a reply still to get rid of."""
        if self._unsent is not None:
            wants = self._send_what_fits(self._unsent)
            return Wants.NOTHING if wants is Wants.READ and self._final else wants
        if self.ending in _ABRUPT:
            return self._last_turn(self.ending)
        if not self._opened:
            self._opened = True
            self._make_handler()
            greeting = self._ask(self._handler.greet)
            return self._send_what_fits(greeting) if greeting else self._wait_for(Wants.READ)
        assert self.ending is not None
        if self._left < 0:
            self._left = unread(self._sock)
        if self._left and (data := self._recv(min(self._left, RECEIVE_BYTES))):
            self._left -= len(data)
            reply = self._reply(data)
            # The reading side is shut down, so the socket stays readable and the next turn comes at once.
            return self._send_what_fits(reply) if reply else self._wait_for(Wants.READ)
        return self._last_turn(self.ending)

    def _last_turn(self, reason: CloseReason) -> Wants:
        self.reason = reason
        self._final = True
        if reason not in _ABRUPT and (reply := self._ask(self._handler.finish)):
            wants = self._send_what_fits(reply)
            return Wants.NOTHING if wants is Wants.READ else wants
        return Wants.NOTHING

    def _send_what_fits(self, reply: bytes | memoryview) -> Wants:
        tally = self.tally
        tally.phase = Phase.SENDING
        try:
            sent = self._send_some(reply)
        except BlockingIOError:
            sent = 0
        tally.bytes_out += sent
        if sent == len(reply):
            self._unsent = None
            tally.replies += 1
            tally.phase = Phase.RECEIVING
            return Wants.READ
        self._unsent = memoryview(reply)[sent:]
        return Wants.WRITE

    def _wait_for(self, wants: Wants) -> Wants:
        self.tally.phase = Phase.RECEIVING
        return wants

    # -- what both ways share

    def _make_handler(self) -> None:
        self.tally.phase = Phase.HANDLING
        try:
            self._handler = self._factory.make()
        except BaseException as error:
            raise _HandlerFailedError from error
        self._feed = self._handler.feed

    def _reply(self, data: bytes) -> bytes:
        """Count what came and return the handler's reply to it."""
        tally = self.tally
        tally.bytes_in += len(data)
        tally.receives += 1
        tally.phase = Phase.HANDLING
        try:
            reply = self._feed(data)
        except BaseException as error:
            raise _HandlerFailedError from error
        return reply if type(reply) is bytes else _as_bytes(reply)

    def _ask(self, question: Callable[[], bytes]) -> bytes:
        """Return what the handler's `greet` or `finish` says."""
        self.tally.phase = Phase.HANDLING
        try:
            reply = question()
        except BaseException as error:
            raise _HandlerFailedError from error
        return reply if type(reply) is bytes else _as_bytes(reply)

    def _failed(self, reason: CloseReason, error: BaseException | None) -> None:
        # A socket that another thread shut down fails in many ways; the reason is then that thread's.
        if reason is CloseReason.RESET and self.ending is not None:
            self.reason = self.ending
        else:
            self.reason, self.error = reason, error

    # -- ending

    def end(self, reason: CloseReason) -> bool:
        """Ask the connection to end, from any thread; return whether this call is what ends it.

        The first reason stands, but a `CUT` goes over all. Shutting the reading side wakes the owner from a receive,
        which still gets what had arrived; an abrupt reason shuts both sides and wakes it from a send as well.
        """
        with self._gate:
            if self._closed or (self.ending is not None and reason is not CloseReason.CUT):
                return False
            self.ending = reason
            try:
                # The plain socket's method: a wrapper's own (TLS) would drop its layer.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR if reason in _ABRUPT else socket.SHUT_RD)
            except OSError:  # the peer has reset it: the owner is awake, or about to be
                pass
            return True

    def start_lingering(self) -> bool:
        """Half-close towards the peer and return whether to linger before closing.

        Closing a socket with unread input makes the kernel reset it, and a reset destroys replies that are still on
        their way. So where the server ended the connection and the peer may still be sending, its input is taken in for
        a while.
        """
        if self.reason not in _LINGERING:
            return False
        waiting = self.reason is not CloseReason.HANDLER and unread(self._sock) == 0 and unacknowledged(self._sock) == 0
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:  # already gone
            return False
        self.tally.phase = Phase.LINGERING
        # A peer that was silent and has all its replies: there is nothing to protect.
        return not waiting

    def discard(self, limit: int) -> int:
        """Take in and drop what the peer has sent, without waiting; return how many bytes that was, -1 at its end."""
        dropped = 0
        try:
            while dropped < limit:
                data = self._sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
                if not data:
                    return -1 if self.ending is None else dropped
                dropped += len(data)
        except BlockingIOError:
            pass
        except OSError:
            return -1
        return dropped

    def unacknowledged(self) -> int:
        """Return how many sent bytes the peer's kernel has yet to confirm; called by the owner or the janitor."""
        with self._gate:
            return 0 if self._closed else unacknowledged(self._sock)

    def close(self) -> None:
        """Close the socket; called by the owner, once."""
        with self._gate:
            self._closed = True
            if self.reason is CloseReason.STALLED:
                # The peer doesn't read: reset it, or the kernel would keep the replies for many minutes more
                # (socket(7), SO_LINGER).
                try:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:  # reset by the peer in the meantime
                    pass
            self._sock.close()


def _as_bytes(reply: object) -> bytes:
    if isinstance(reply, bytes | bytearray | memoryview):
        return bytes(reply)
    wrong = TypeError(f"the handler returned {type(reply).__name__}; it must return bytes")
    raise _HandlerFailedError from wrong


def unread(sock: socket.socket) -> int:
    """Return how many bytes wait to be received (FIONREAD, tcp(7)); 0 where that can't be told."""
    return _ask_kernel(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many sent bytes the peer has not acknowledged (SIOCOUTQ, tcp(7)); 0 where that can't be told."""
    return _ask_kernel(sock, termios.TIOCOUTQ)


def _ask_kernel(sock: socket.socket, request: int) -> int:
    try:
        answer = fcntl.ioctl(sock.fileno(), request, b"\0\0\0\0")
    except (OSError, ValueError):  # not known for sockets on this platform, or the socket is gone
        return 0
    (count,) = struct.unpack("i", answer)
    return int(count)
