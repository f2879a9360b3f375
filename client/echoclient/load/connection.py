"""One non-blocking socket and the stream on it."""

from __future__ import annotations

import errno
import math
import socket
import sys
from typing import TYPE_CHECKING

from echoclient.load.poller import WRITE
from echoclient.load.stream import Stream

if TYPE_CHECKING:
    from echoclient.load.pattern import Pattern
    from echoclient.target import Target

# Seconds until a connection that failed is retried: at first the one, then twice as long each time, up to the other.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
# ip(7): connect(2) chooses the port, which then has to differ only from those of other connections to the same peer.
# The standard library has the name since Python 3.12.
_BIND_ADDRESS_NO_PORT = 24 if sys.platform == "linux" else None

Address = tuple[str, int] | tuple[str, int, int, int] | str  # the last is the path of a unix socket


class Connection(Stream):
    """A stream and its socket, which may be closed and opened again.

    Attributes:
        descriptor: the socket's; -1 while there is none.
        connected: whether the handshake is complete.
        wants_write: whether the poller watches for writability.
        began: when the current connect began.
        pause: seconds by which the last retry was delayed.
        retry_at: when to open it again; infinite if no retry is planned.
        shaking: seconds of the connect that a TLS handshake took.
    """

    __slots__ = ("_proxy", "_socket", "began", "connected", "descriptor", "pause", "retry_at", "wants_write")
    shaking = 0.0

    def __init__(self, number: int, pattern: Pattern, target: Target, *, verify: bool) -> None:
        super().__init__(number, pattern, verify=verify)
        self._proxy = target.proxy
        self._socket: socket.socket | None = None
        self.descriptor = -1
        self.connected = False
        self.wants_write = False
        self.began = 0.0
        self.retry_at = math.inf
        self.pause = 0.0

    @property
    def awaits(self) -> int:
        """The events that bring it on while it is not connected."""
        return WRITE

    def open(self, family: int, address: Address, source: str, now: float) -> bool:
        """Start to connect, as a new stream; return whether the connection is already established.

        Args:
            family: the address family.
            address: the server's address, or the path of its unix socket.
            source: the address to connect from; empty: the kernel chooses.
            now: the time.

        Raises:
            OSError: connecting failed; the caller must call `close`.
        """
        self.restart(self.number)
        self.retry_at = math.inf
        self.began = now
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self.descriptor = self._socket.fileno()
        self._socket.setblocking(False)
        if family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            if _BIND_ADDRESS_NO_PORT is not None:
                self._socket.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            self._socket.bind((source, 0))
        code = self._socket.connect_ex(address)
        if code == errno.EINPROGRESS:
            # Over loopback, the handshake is complete when the call returns, and a second call says so. That saves a
            # round of the poller for each connection.
            code = self._socket.connect_ex(address)
        return self._progress(code)

    def advance(self, address: Address) -> bool:
        """Check whether the connect has ended, once the socket is writable; returns and raises as `open` does."""
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return self._progress(code or self._socket.connect_ex(address))

    def _progress(self, code: int) -> bool:
        if code in (errno.EINPROGRESS, errno.EALREADY):
            return False
        if code not in (0, errno.EISCONN):
            raise OSError(code, "")
        assert self._socket is not None
        local, peer = self._socket.getsockname(), self._socket.getpeername()
        if local[:2] == peer[:2]:
            # If nothing listens on a port in the range for outgoing connections, the kernel may choose that same port
            # for our end, and connect the socket to itself (RFC 9293, 3.5), which makes a perfect echo server.
            raise OSError(errno.ECONNREFUSED, "")
        if self._proxy is not None:  # the kernel takes the first bytes on a connection at once
            self._socket.sendall(self._proxy.header(self._socket))
        return self._join()

    def _join(self) -> bool:
        """Begin to use the socket, which is connected now; return whether it is ready for the first message."""
        self.connected = True
        return True

    def close(self) -> None:
        """Close the socket, if there is one. The caller has removed it from the poller."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self.descriptor = -1
        self.connected = self.wants_write = False

    def plan_retry(self, now: float) -> None:
        """Plan to open it again: at once if the server has answered on it, otherwise with growing delays."""
        self.pause = 0.0 if self.offset else min(max(FIRST_PAUSE, 2 * self.pause), LONGEST_PAUSE)
        self.retry_at = now + self.pause
