"""What a connection moves its bytes through."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from echoserver.net import kernel
from echoserver.net.endpoint import format_address
from echoserver.net.splice import can_splice

_DISCARD_BYTES = 65_536
# On Linux an accepted socket blocks whatever its listener does; elsewhere it may inherit that (accept(2)).
_ACCEPTED_BLOCKING = sys.platform == "linux"
_RESET = struct.pack("ii", 1, 0)


class Transport(Protocol):
    """What a driver moves bytes through.

    It belongs to the thread that serves the connection. Another thread may ask and shut it down under a lock that also
    guards `close`.
    """

    can_splice: bool
    """Whether splice(2) on the descriptor moves the same bytes as `recv` and `send`."""
    has_faults: bool
    """Whether `recv` and `send` pause on purpose, and so need a driver that knows of it."""

    @property
    def truncated(self) -> bool:
        """Whether the stream has ended without the peer's having said so, as TLS requires (RFC 8446, section 6.1).

        Everything that had arrived before has been received, and answers can still be sent.
        """

    @property
    def log_facts(self) -> Mapping[str, object]:
        """What the log is to say of it when the connection has ended."""

    @property
    def recv(self) -> Callable[[int], bytes]:
        """What receives into new memory."""

    @property
    def recv_into(self) -> Callable[[memoryview], int]:
        """What receives into the memory given."""

    @property
    def send(self) -> Callable[[bytes | memoryview], int]:
        """What sends, and returns how many bytes the kernel has accepted."""

    def fileno(self) -> int:
        """Return the descriptor; -1 once closed."""

    def local(self) -> str:
        """Return the address of this end as people write it."""

    def pending(self) -> int:
        """Return how many bytes are received and decoded already, which neither epoll nor FIONREAD sees."""

    def unread(self) -> int:
        """Return how many bytes wait to be received, those that are pending included."""

    def waiting(self) -> int:
        """Return how many bytes wait for the serving thread.

        That is `unread` without what this thread has already taken of a record whose rest the peer has yet to send.
        """

    def unacknowledged(self) -> int:
        """Return how much of what was sent the peer has not taken yet."""

    def taken(self, sent: int) -> int:
        """Return how many bytes of the `sent` ones the peer has taken; see `kernel.taken` for what may be compared."""

    def set_blocking(self, blocking: bool) -> None:
        """Have receives and sends wait, or raise `BlockingIOError` instead."""

    def discard(self, limit: int) -> int:
        """Receive without waiting and drop what came, until that is `limit` bytes or more.

        Returns
        -------
        int
            How many bytes were dropped; -1 at the end of the stream, or if the connection is broken.

        """

    def shut_reading(self) -> None:
        """Shut the reading side: a waiting receive returns, and what has arrived can still be received.

        Raises
        ------
        OSError
            The connection is broken.

        """

    def send_end(self) -> None:
        """Send what the stream itself ends with, such as close_notify, so that `shut_writing` has nothing left to send.

        Raises
        ------
        BlockingIOError
            The socket does not block, and has not taken all of it. The next call goes on with it.
        OSError
            The connection is broken.

        """

    def shut_writing(self) -> None:
        """Send the end of the stream after what was sent. Raises as `shut_reading`."""

    def shut_both(self) -> None:
        """Shut both sides: a waiting receive or send returns. Raises as `shut_reading`."""

    def reset_on_close(self) -> None:
        """Have `close` reset the connection and drop what the peer has not taken (socket(7), SO_LINGER)."""

    def close(self) -> None:
        """Close the descriptor."""

    def forget(self) -> None:
        """Let go of the descriptor without closing it: its number belongs to another connection by now."""


class PlainTransport:
    """A stream socket as it is: to receive and send is to call the socket's own methods.

    Parameters
    ----------
    sock:
        A connected socket. The transport closes it.

    """

    __slots__ = ("_reading_shut", "sock")

    can_splice = can_splice()
    has_faults = False
    log_facts: Mapping[str, object] = MappingProxyType({})
    truncated = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reading_shut = False

    # Each of these makes a bound method, which takes up memory: a driver keeps those that it uses for every message.

    @property
    def recv(self) -> Callable[[int], bytes]:
        """The socket's own method."""
        return self.sock.recv

    @property
    def recv_into(self) -> Callable[[memoryview], int]:
        """The socket's own method."""
        return self.sock.recv_into

    @property
    def send(self) -> Callable[[bytes | memoryview], int]:
        """The socket's own method."""
        return self.sock.send

    def fileno(self) -> int:
        """Return the descriptor; -1 once closed."""
        return self.sock.fileno()

    def local(self) -> str:
        """Return the address of this end as people write it."""
        return format_address(self.sock.getsockname())

    def pending(self) -> int:
        """Return 0: nothing is decoded."""
        return 0

    def unread(self) -> int:
        """Return how many bytes wait to be received."""
        return kernel.unread(self.sock)

    def waiting(self) -> int:
        """Return how many bytes wait to be received."""
        return kernel.unread(self.sock)

    def unacknowledged(self) -> int:
        """Return how much of what was sent the peer has not taken yet."""
        return kernel.unacknowledged(self.sock)

    def taken(self, sent: int) -> int:
        """Return how many bytes of the `sent` ones the peer has taken."""
        return kernel.taken(self.sock, sent)

    def set_blocking(self, blocking: bool) -> None:
        """Have receives and sends wait, or raise `BlockingIOError` instead."""
        # `socket.setdefaulttimeout` of an embedding program applies to accepted sockets too; otherwise this saves a
        # system call for each connection.
        if blocking and _ACCEPTED_BLOCKING and self.sock.gettimeout() is None:
            return
        self.sock.setblocking(blocking)

    def discard(self, limit: int) -> int:
        """Receive without waiting and drop what came; return how many bytes, -1 at the end or if it is broken."""
        dropped = 0
        try:
            while dropped < limit:
                data = self.sock.recv(_DISCARD_BYTES, socket.MSG_DONTWAIT)
                if not data:
                    # With the reading side shut down, no data doesn't mean that the peer has ended: more may come.
                    return dropped if self._reading_shut else -1
                dropped += len(data)
        except BlockingIOError:
            pass
        except OSError:
            return -1
        return dropped

    def shut_reading(self) -> None:
        """Shut the reading side: a waiting receive returns, and what has arrived can still be received."""
        self._reading_shut = True
        self._shut(socket.SHUT_RD)

    def send_end(self) -> None:
        """Do nothing: a stream without TLS ends with the shutdown alone."""

    def shut_writing(self) -> None:
        """Send the end of the stream after what was sent."""
        self._shut(socket.SHUT_WR)

    def shut_both(self) -> None:
        """Shut both sides: a waiting receive or send returns."""
        self._reading_shut = True
        self._shut(socket.SHUT_RDWR)

    def reset_on_close(self) -> None:
        """Have `close` reset the connection and drop what the peer has not taken."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:  # the peer is gone already
            pass

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def forget(self) -> None:
        """Let go of the descriptor without closing it."""
        self.sock.detach()

    def _shut(self, how: int) -> None:
        # The plain socket's method: a TLS wrapper's own would drop its layer.
        socket.socket.shutdown(self.sock, how)
