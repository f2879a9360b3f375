"""One socket and its handler: the way of every byte, blocking in `serve()` and non-blocking in `turn()`.

A connection is served by one thread at a time, its owner: a thread of its own (`serve`), or whichever thread the
workers mode hands it to (`turn`). Only the owner receives, sends, calls the handler, writes the tally and closes. Any
other thread may ask it to end, with `end()`, which shuts the socket down and so wakes the owner, wherever it waits.
"""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable
from enum import Enum, auto
from threading import Event, Lock, get_ident
from time import monotonic

from echoserver.bulk import Pipe, PipePool
from echoserver.handlers import HandlerFactory
from echoserver.metrics import CloseReason, Phase, Tally
from echoserver.rate import TokenBucket

RECEIVE_BYTES = 65536
"""The most that one receive takes, and so what a turn of a pipelining peer can cost the others."""

_STILL_BULK = 16384  # a move of less than this, and the next turn is an ordinary one again

LINGER_BYTES = 16 * 1024 * 1024
LINGER_SECONDS = 2.0
"""How much, and for how long, a connection that the server ends still takes in what its peer sends."""

_ABRUPT = frozenset({CloseReason.STALLED, CloseReason.CUT, CloseReason.KILLED})
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
# linux/tcp.h, struct tcp_info: it begins with the connection's state, and the field tcpi_bytes_acked is a 64-bit number
# that only grows.
_TCP_INFO = socket.TCP_INFO if sys.platform == "linux" else 0
_BYTES_ACKED_END = 128
_TCP_CLOSE = b"\x07"


class Wants(Enum):
    """What a connection waits for after a turn."""

    READ = auto()
    WRITE = auto()
    PAUSE = auto()
    """The moment `resume_at`: its rate limit lets it receive nothing before."""
    NOTHING = auto()
    """It has ended: `reason` says how."""


# A look-up less on the message path than the attributes of the enumeration.
_READ, _WRITE, _NOTHING = Wants.READ, Wants.WRITE, Wants.NOTHING
_RECEIVING, _HANDLING, _SENDING = Phase.RECEIVING, Phase.HANDLING, Phase.SENDING


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
    pipes:
        Where to borrow a pipe for bulk data; `None` copies all of it.
    bucket:
        How fast it may receive; `None` doesn't limit it.

    """

    __slots__ = (
        "_address",
        "_bucket",
        "_bulk",
        "_closed",
        "_factory",
        "_feed",
        "_final",
        "_gate",
        "_handler",
        "_hurry",
        "_left",
        "_opened",
        "_pipes",
        "_plain",
        "_receive",
        "_send",
        "_sock",
        "_unchanged",
        "_unsent",
        "_when_ended",
        "ending",
        "error",
        "number",
        "opened_at",
        "parked_for",
        "reason",
        "resume_at",
        "served_by",
        "tally",
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
        self.resume_at = 0.0
        """When a pause ends, on the monotonic clock; valid once `turn()` has asked for one."""
        self.watch: object = None
        """The janitor's own record of this connection, which no other thread touches."""
        self._sock = sock
        self._address = address
        self._factory = factory
        self._receive = sock.recv
        self._send = sock.send
        self._pipes = pipes
        self._bucket = bucket  # the owner's own
        self._unchanged = factory.unchanged  # then the handler need not be asked
        self._bulk = False  # whether the last receive was a full one; the owner's own
        # What `turn()` keeps from one turn to the next; the owner's own.
        self._opened = False
        # Whether the next turn is just another message: opened, nothing unsent, and not limited.
        self._plain = False
        self._unsent: memoryview | None = None  # what of a turn's reply the peer has yet to take
        self._left = -1  # once asked to end: how much of what had arrived is still to be answered
        self._final = False  # nothing comes after what is unsent
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

    # -- the blocking way: one thread from the first byte to the last

    def serve(self) -> CloseReason:
        """Serve the peer to its end and return how it ended. Raises nothing of the peer's or the handler's doing."""
        self.served_by = get_ident()
        receive, tally = self._receive, self.tally
        try:
            self._say(self._open())
            tally.phase = _RECEIVING
            if self._bucket is not None:
                self._serve_limited(self._bucket)
            else:
                while self.ending is None and (data := receive(RECEIVE_BYTES)):
                    self._say(self._reply(data))
                    if len(data) == RECEIVE_BYTES and self._unchanged:
                        self._move_what_arrived()
                    tally.phase = _RECEIVING
            self._answer_what_arrived()
            self.reason = self.ending or CloseReason.EOF
            if self.reason not in _ABRUPT:
                self._say(self._ask("finish"))
        except _HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours; it ends this connection and nothing else
            self._failed(CloseReason.KILLED, error)
        return self.reason

    def _serve_limited(self, bucket: TokenBucket) -> None:
        """Answer the peer no faster than the rate limit allows, up to the end of input or until asked to end."""
        self._hurry = Event()
        self.when_ended(self._hurry.set)
        while self.ending is None:
            if wait := bucket.wait(monotonic()):
                self.tally.phase = Phase.PAUSED
                self._hurry.wait(wait)
                continue
            self.tally.phase = _RECEIVING
            data = self._receive(bucket.most(RECEIVE_BYTES))
            if not data:
                return
            bucket.spend(len(data), monotonic())
            self._say(self._reply(data))

    def _say(self, reply: bytes) -> None:
        """Send all of a reply. The kernel takes it whole, but for a thread that was woken in the middle to end."""
        if not reply:
            return
        tally = self.tally
        tally.phase = _SENDING
        sent = self._send(reply)
        tally.bytes_out += sent
        if sent != len(reply):
            rest = memoryview(reply)
            while rest := rest[sent:]:
                sent = self._send(rest)
                tally.bytes_out += sent
        tally.replies += 1

    def _move_what_arrived(self) -> None:
        """Send bulk data back without copying it, as long as there is some; the next receive is the one that waits."""
        while self._pipes is not None and self.ending is None and unread(self._sock) >= RECEIVE_BYTES:
            pipe = self._pipes.borrow()
            if pipe is None or (rest := self._move(pipe)) is None:
                return
            # Of a blocking socket there is no rest but after it was shut down, and then sending says so.
            self._say(rest)

    def _answer_what_arrived(self) -> None:
        """Answer the bytes that had come when the server asked this connection to end, and no later ones.

        A peer that never stops sending can so not hold up a drain. An abrupt end answers nothing more.
        """
        if self.ending is None or self.ending in _ABRUPT:
            return
        left = unread(self._sock)
        while left > 0 and self.ending not in _ABRUPT and (data := self._receive(min(left, RECEIVE_BYTES))):
            left -= len(data)
            self._say(self._reply(data))

    # -- the non-blocking way: a turn at a time, by whichever thread it is given to

    def turn(self) -> Wants:
        """Serve one turn without waiting, and return what to wait for before the next. Raises nothing.

        A turn is at most one receive, the reply to it, and as much of that as the peer takes: a greedy peer can't keep
        the thread, and a slow one costs no more memory than one reply, since it is not received from until it has
        taken that.
        """
        try:
            if not self._plain or self.ending is not None:
                return self._special_turn()
            if self._bulk and (wants := self._bulk_turn()) is not None:
                return wants
            if data := self._receive(RECEIVE_BYTES):
                self._bulk = len(data) == RECEIVE_BYTES and self._unchanged
                return self._offer(self._reply(data))
            # The end of input: the peer's own, or that of another thread asking this connection to end just now.
            return self._last_turn(CloseReason.EOF) if self.ending is None else self._special_turn()
        except BlockingIOError:  # from a receive alone: it was woken for nothing
            self.tally.phase = _RECEIVING
            return _READ
        except _HandlerFailedError as failure:
            self._failed(CloseReason.HANDLER, failure.__cause__)
        except OSError as error:
            self._failed(CloseReason.RESET, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours; it must not take the other peers' thread with it
            self._failed(CloseReason.KILLED, error)
        return _NOTHING

    def _offer(self, reply: bytes | memoryview) -> Wants:
        """Send what the peer takes of a reply and keep the rest, before which nothing else is received."""
        tally = self.tally
        if reply:
            tally.phase = _SENDING
            try:
                sent = self._send(reply)
            except BlockingIOError:
                sent = 0
            tally.bytes_out += sent
            if sent != len(reply):
                self._unsent = memoryview(reply)[sent:]
                self._plain = False
                return _WRITE
            tally.replies += 1
        tally.phase = _RECEIVING
        return _READ

    def _bulk_turn(self) -> Wants | None:
        """Serve a turn without copying; return `None` if it has to be served as any other."""
        self._bulk = False
        pipe = self._pipes.borrow() if self._pipes is not None else None
        rest = self._move(pipe) if pipe is not None else None
        return None if rest is None else self._offer(rest)

    def _special_turn(self) -> Wants:
        """Serve a turn that is no plain message: the first, the last ones, one with a reply still to get rid of."""
        if self._unsent is not None:
            wants = self._offer(self._unsent)
            if wants is _WRITE:
                return _WRITE
            self._unsent = None
            if self._final:
                return _NOTHING
            self._plain = self._bucket is None
            return _READ if self._bucket is None else self._read_or_pause(self._bucket)
        if self.ending in _ABRUPT:
            return self._last_turn(self.ending)
        if not self._opened:
            self._opened = True
            self._plain = self._bucket is None
            return self._offer(self._open())
        if self.ending is None:
            assert self._bucket is not None
            return self._limited_turn(self._bucket)
        if self._left < 0:
            self._left = unread(self._sock)
        if self._left and (data := self._receive(min(self._left, RECEIVE_BYTES))):
            self._left -= len(data)
            # The reading side is shut down, so the socket stays readable and the next turn comes at once.
            return self._offer(self._reply(data))
        return self._last_turn(self.ending)

    def _limited_turn(self, bucket: TokenBucket) -> Wants:
        if self._read_or_pause(bucket) is Wants.PAUSE:
            return Wants.PAUSE
        data = self._receive(bucket.most(RECEIVE_BYTES))
        if not data:
            return self._last_turn(CloseReason.EOF) if self.ending is None else self._special_turn()
        bucket.spend(len(data), monotonic())
        wants = self._offer(self._reply(data))
        return self._read_or_pause(bucket) if wants is _READ else wants

    def _read_or_pause(self, bucket: TokenBucket) -> Wants:
        """Return what a limited connection waits for that has nothing left to send."""
        now = monotonic()
        if self.ending is None and (wait := bucket.wait(now)):
            self.resume_at = now + wait
            self.tally.phase = Phase.PAUSED
            return Wants.PAUSE
        self.tally.phase = _RECEIVING
        return _READ

    def _last_turn(self, reason: CloseReason) -> Wants:
        self.reason = reason
        self._final = True
        last_words = b"" if reason in _ABRUPT else self._ask("finish")
        return _NOTHING if self._offer(last_words) is _READ else _WRITE

    # -- what both ways share

    def _open(self) -> bytes:
        """Make the handler and return its greeting."""
        self.tally.phase = _HANDLING
        try:
            self._handler = self._factory.make()
            self._feed = self._handler.feed
        except BaseException as error:
            raise _HandlerFailedError from error
        return self._ask("greet")

    def _move(self, pipe: Pipe) -> bytes | None:
        """Move what arrived back through a pipe; return what the peer didn't take, `None` if nothing had arrived."""
        assert self._pipes is not None
        tally, descriptor, left = self.tally, self._sock.fileno(), 0
        try:
            left = count = pipe.take(descriptor)
            if not count:
                return None
            tally.bytes_in += count
            tally.phase = _SENDING
            self._bulk = count >= _STILL_BULK
            while left:
                sent = pipe.give(descriptor, left)
                tally.bytes_out += sent
                left -= sent
        except BlockingIOError:
            if not left:  # from taking: it was woken for nothing
                return None
            rest, left = pipe.empty(left), 0
            return rest
        else:
            tally.replies += 1
            return b""
        finally:
            self._pipes.give_back(pipe, empty=not left)

    def _reply(self, data: bytes) -> bytes:
        """Count what came and return the handler's reply to it."""
        tally = self.tally
        tally.bytes_in += len(data)
        if self._unchanged:
            return data
        tally.phase = _HANDLING
        try:
            reply = self._feed(data)
            return reply if type(reply) is bytes else _as_bytes(reply)
        except BaseException as error:  # a plug-in may raise anything, SystemExit too
            raise _HandlerFailedError from error

    def _ask(self, question: str) -> bytes:
        """Return what the handler's `greet` or `finish` says."""
        self.tally.phase = _HANDLING
        try:
            reply = getattr(self._handler, question)()
            return reply if type(reply) is bytes else _as_bytes(reply)
        except BaseException as error:
            raise _HandlerFailedError from error

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
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR if reason in _ABRUPT else socket.SHUT_RD)
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
        if self.reason not in _LINGERING or self.ending in _ABRUPT:
            return False
        if self.reason is CloseReason.HANDLER:
            self._half_close()
        elif unread(self._sock) == 0 and unacknowledged(self._sock) == 0:
            return False
        # Else the reading side is shut down already, and to half-close now would be to reset: in FIN-WAIT the kernel
        # answers bytes that nobody can read any more with a reset. So that comes last, in `close`.
        self.tally.phase = Phase.LINGERING
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
            elif self.tally.phase == Phase.LINGERING:
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
    or splice to a connection that was shut down would end the process (signal(7), pthread_sigmask(3)). What a handler
    starts inherits the mask.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})


def _as_bytes(reply: object) -> bytes:
    if isinstance(reply, bytes | bytearray | memoryview):
        return bytes(reply)
    raise TypeError(f"the handler returned {type(reply).__name__}; it must return bytes")


def unread(sock: socket.socket) -> int:
    """Return how many bytes wait to be received (FIONREAD, tcp(7)); 0 where that can't be told."""
    return _ask_kernel(sock, termios.FIONREAD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many sent bytes the peer may yet acknowledge (SIOCOUTQ, tcp(7)); 0 where that can't be told."""
    # A connection that was reset goes on saying what was pending.
    return 0 if _tcp_info(sock, 1) == _TCP_CLOSE else _ask_kernel(sock, termios.TIOCOUTQ)


def acknowledged(sock: socket.socket) -> int:
    """Return how many bytes the peer has acknowledged so far (TCP_INFO, tcp(7)); 0 where that can't be told."""
    info = _tcp_info(sock, _BYTES_ACKED_END)
    return int.from_bytes(info[_BYTES_ACKED_END - 8 :], sys.byteorder) if len(info) == _BYTES_ACKED_END else 0


def _tcp_info(sock: socket.socket, size: int) -> bytes:
    if not _TCP_INFO:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, size)
    except OSError:  # no TCP socket, or gone
        return b""


def _ask_kernel(sock: socket.socket, request: int) -> int:
    try:
        answer = fcntl.ioctl(sock.fileno(), request, b"\0\0\0\0")
    except (OSError, ValueError):  # not known for sockets on this platform, or the socket is gone
        return 0
    (count,) = struct.unpack("i", answer)
    return int(count)
