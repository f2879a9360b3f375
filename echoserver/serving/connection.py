"""One accepted connection: what it consists of, what it holds, and how it is asked to end.

A connection is served by one thread at a time, its owner. Only the owner moves bytes, calls the handler, writes the
statistics and closes the socket; how it does so is the business of a driver (`blocking.py`, `nonblocking.py`). Any
other thread may only ask the connection to end. `end` then shuts the socket down, which wakes the owner.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from echoserver.handlers import Proxied
from echoserver.net.endpoint import format_address
from echoserver.net.splice import PipePool
from echoserver.net.transport import Transport
from echoserver.observe.metrics import CloseReason, ConnectionState, ConnectionStats
from echoserver.serving.interest import Interest
from echoserver.serving.occupancy import Occupancy
from echoserver.serving.rate import TokenBucket
from echoserver.serving.reasons import ABRUPT, BROKEN, HARSHNESS, LINGERING
from echoserver.serving.session import Session
from echoserver.serving.tracebacks import clear_frames

if TYPE_CHECKING:
    from echoserver.net.tls_facts import TlsInfo

T = TypeVar("T")
RECEIVE_BYTES = 65536
"""The most that a handler is given at once."""

_NOT_OURS = frozenset({errno.EBADF, errno.ENOTSOCK})  # shutdown(2) where a handler has closed the descriptor


class Wakeable(Protocol):
    """What wakes the owner of a connection that waits for something other than its socket."""

    def wake(self, connection: Connection, /) -> None:
        """Have the owner look at the connection again; from any thread."""


class Opening(Protocol):
    """What comes before the handler of a connection is made, such as a PROXY header (`opening.py`)."""

    deadline: float
    """When it must be over, on the monotonic clock."""
    late: CloseReason
    """Why the connection ends that is not through by then."""

    def advance(self, connection: Connection, /) -> Interest | None:
        """Go on, in the serving thread; return what to wait for, or `None` once the handler may be made.

        Raises `RefusedError` where the connection must end and knows why, and `OSError` where it is broken.
        """


class Connection:
    """One peer, from accepted to closed.

    Parameters
    ----------
    number:
        Counts the connections of the server from 1; it names this one in the log.
    endpoint:
        What it has connected to, as text.
    transport:
        Moves the bytes. The connection closes it.
    session:
        The handler and its replies.
    lease:
        What the connection occupies, to be released when it has ended.

    """

    __slots__ = (
        *("_closed", "_gate", "_waker", "abrupt", "bucket", "ending", "endpoint", "error", "lease", "mode"),
        *("number", "opened_at", "opening", "pipes", "proxied", "reason", "served_by", "session", "stats", "tls"),
        *("transport", "watch"),
    )

    def __init__(self, number: int, endpoint: str, transport: Transport, session: Session, lease: Occupancy) -> None:
        self.number = number
        self.transport = transport
        self.session = session
        self.lease = lease
        self.endpoint = endpoint
        self.opening: Opening | None = None
        """What comes before the handler; written by the owner, and `None` once that is over."""
        # These are for `Peer`. The owner writes them before the handler is made, and nothing changes them later.
        self.mode = ""
        self.proxied: Proxied | None = None
        self.tls: TlsInfo | None = None
        self.pipes: PipePool | None = None
        """Where to borrow a pipe for bulk data; `None` copies all of it."""
        self.bucket: TokenBucket | None = None
        """How fast it may receive; `None` sets no limit."""
        self.stats = ConnectionStats()
        self.opened_at = monotonic()
        self.error: BaseException | None = None
        """What broke it: the exception of the handler or of the socket. Cleared once it has been logged."""
        self.reason = CloseReason.EOF
        """How it ended; valid once it has been served."""
        self.served_by = 0
        """The identity of the thread that serves it, or did last; written by that thread."""
        self.watch: object = None
        """What the time limits remember of this connection; only the janitor touches it."""
        # Guards `_closed`, `_waker`, every write to `ending` and `abrupt`, and the descriptor: no thread shuts it down
        # after another has closed it, when its number may belong to a new connection.
        self._gate = Lock()
        self._closed = False
        self._waker: Wakeable | None = None
        # Read by the owner without the lock, which may see them one message late.
        self.ending: CloseReason | None = None
        """Why another thread asked it to end."""
        self.abrupt = False
        """Whether it was asked to end without answering what has arrived."""

    @property
    def peer(self) -> str:
        """The address of the peer as people write it."""
        return format_address(self.session.address)

    @property
    def host(self) -> str | None:
        """The host of the peer; `None` over a unix socket."""
        address = self.session.address
        return address[0] if isinstance(address, tuple) else None

    @property
    def local(self) -> str:
        """The server's own address of the connection; empty once it is closed."""
        with self._gate:
            return "" if self._closed else self.transport.local()

    @property
    def proxied_by(self) -> str | None:
        """The address of the proxy that speaks for the peer."""
        return None if self.proxied is None or self.proxied.header.local else self.proxied.by

    @property
    def closed(self) -> bool:
        """Whether the socket has been closed."""
        with self._gate:
            return self._closed

    # -- called by the owner

    def failed(self, reason: CloseReason, error: BaseException) -> None:
        """Record that serving failed.

        A socket that another thread has shut down fails in many ways; the reason is then the one that thread gave. The
        traceback of a reset says nothing that its error number does not. Where a traceback is of use, its frames are
        cleared: they hold what was received and the reply, which may be large.
        """
        if reason in BROKEN and self.ending not in (None, reason):
            self.reason = self.ending or reason
            return
        self.reason, self.error = reason, error
        if reason is CloseReason.RESET:
            error.__traceback__ = None
        else:
            clear_frames(error)
        self.session.close()

    @property
    def end_of_input(self) -> CloseReason:
        """The reason for which a connection ends whose peer sends no more."""
        return CloseReason.TRUNCATED if self.transport.truncated else CloseReason.EOF

    def start_lingering(self) -> bool:
        """Return whether to linger before closing, and begin to.

        Closing a socket with unread input makes the kernel reset it, and a reset destroys replies that are still on
        their way. So where the server ended the connection and the peer may still be sending, what it sends is received
        and dropped for a while. A peer that was silent and has all its replies needs none of that.
        """
        if self.reason not in LINGERING or self.abrupt:
            return False
        if self.reason in (CloseReason.HANDLER, CloseReason.FINISHED, CloseReason.FAULT):
            _try(self.transport.shut_writing)
        elif self.transport.unread() == 0 and self.transport.unacknowledged() == 0:
            return False
        # In the other cases the reading side has been shut down already. Half-closing now would reset: in FIN-WAIT the
        # kernel answers bytes that can no longer be read with a reset. So that comes last, in `close`.
        self.stats.state = ConnectionState.LINGERING
        return True

    def discard(self, limit: int) -> int:
        """Receive and drop what the peer has sent, without waiting.

        Parameters
        ----------
        limit:
            How many bytes at most.

        Returns
        -------
        int
            How many bytes that was; -1 at the end of the stream, or where the connection is broken.

        """
        return self.transport.discard(limit)

    def close(self) -> None:
        """Close the socket, once. Raises nothing: an error of the close leaves nothing to be done."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._waker = None
            if self.reason is CloseReason.STALLED or (self.abrupt and self.reason in LINGERING):
                # The peer does not read. Without a reset the kernel would keep the replies for minutes (socket(7),
                # SO_LINGER).
                self.transport.reset_on_close()
            elif self.stats.state == ConnectionState.LINGERING:
                # The end of the replies first, then, if input is left unread, the reset.
                _try(self.transport.shut_writing)
            _try(self.transport.close)

    def forget(self) -> None:
        """Let go of the handler, the error and what they hold, now that the connection has been logged."""
        self.error = None
        self.watch = None
        self.session.close()

    # -- called from any thread

    def end(self, reason: CloseReason, *, abruptly: bool = False, shut: Callable[[], None] | None = None) -> bool:
        """Ask the connection to end.

        The first reason stands, except that a harsher one replaces it, and any end can become abrupt. Shutting down the
        reading side wakes the owner from a receive, which gets what had arrived; an abrupt end also ends a send.

        Parameters
        ----------
        reason:
            Why it has to end.
        abruptly:
            Whether to end abruptly even for a reason that lets what had arrived be answered.
        shut:
            What shuts the transport down, with the lock held; by default as much of it is shut down as the reason says.

        Returns
        -------
        bool
            Whether this call makes a difference.

        """
        abruptly = abruptly or reason in ABRUPT
        ours = True
        with self._gate:
            if self._closed:
                return False
            if self.ending is None or HARSHNESS.get(reason, 0) > HARSHNESS.get(self.ending, 0):
                self.ending = reason
            elif self.abrupt or not abruptly:
                return False
            self.abrupt = self.abrupt or abruptly
            try:
                (shut or (self.transport.shut_both if abruptly else self.transport.shut_reading))()
            except OSError as error:  # the peer has reset it: the owner is awake, or about to be
                ours = error.errno not in _NOT_OURS
            waker = self._waker
        # Outside the lock, since it may take another one. A connection that pauses for its rate limit, or whose
        # descriptor has been closed by a handler or by `shut`, is not woken by a shutdown.
        if waker is not None and (self.bucket is not None or self.transport.has_faults or shut is not None or not ours):
            waker.wake(self)
        return True

    def wake_with(self, waker: Wakeable) -> None:
        """Name what wakes the owner where shutting the socket down does not."""
        with self._gate:
            self._waker = waker

    def ask(self, question: Callable[[Transport], T]) -> T | None:
        """Return what the transport answers; `None` once it is closed."""
        with self._gate:
            return None if self._closed else question(self.transport)

    def arrived(self) -> int:
        """Return how many bytes wait for the owner."""
        return self.ask(lambda transport: transport.waiting()) or 0

    def unacknowledged(self) -> int:
        """Return how many of the bytes sent the peer's kernel has yet to confirm."""
        return self.ask(lambda transport: transport.unacknowledged()) or 0

    def taken(self) -> int:
        """Return how many bytes the peer has taken so far, as far as the kernel can tell."""
        return self.ask(lambda transport: transport.taken(self.stats.bytes_out)) or 0


def _try(action: Callable[[], None]) -> None:
    try:
        action()
    except OSError:  # the peer is gone already, or a handler has closed the descriptor
        pass
