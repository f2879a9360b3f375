"""One non-blocking socket and the stream on it."""

from __future__ import annotations

import errno
import math
import socket
import sys
from typing import TYPE_CHECKING

from echoclient.load.stream import Stream

if TYPE_CHECKING:
    from echoclient.load.pattern import Pattern

# One after the other; a server that is down is asked again after this long, then twice as long, and so on.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
# ip(7): choose the port on connecting, when it only has to differ from those of connections to the same peer. The
# standard library has had the name since Python 3.12.
_BIND_ADDRESS_NO_PORT = 24 if sys.platform == "linux" else None

Address = tuple[str, int] | tuple[str, int, int, int]


class Connection(Stream):
    """A stream and the socket it runs over, which may be closed and opened again.

    Attributes:
        descriptor: of the socket; -1 while there is none.
        connected: the handshake is over.
        wants_write: the poller watches for room to send.
        began: when the current connect began.
        pause: how long the last retry was put off.
        retry_at: when to open again; infinite if nobody plans to.
    """

    __slots__ = ("_socket", "began", "connected", "descriptor", "pause", "retry_at", "wants_write")

    def __init__(self, number: int, pattern: Pattern, *, verify: bool) -> None:
        super().__init__(number, pattern, verify=verify)
        self._socket: socket.socket | None = None
        self.descriptor = -1
        self.connected = False
        self.wants_write = False
        self.began = 0.0
        self.retry_at = math.inf
        self.pause = 0.0

    def open(self, family: int, address: Address, source: str, now: float) -> bool:
        """Start to connect, as a new stream, and say whether the connection is already there.

        Args:
            family: of the address.
            address: of the server.
            source: our own address; empty: the kernel chooses.
            now: the time.

        Raises:
            OSError: it can't be made; `close` is to follow.
        """
        self.restart(self.number)
        self.retry_at = math.inf
        self.began = now
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self.descriptor = self._socket.fileno()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            if _BIND_ADDRESS_NO_PORT is not None:
                self._socket.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            self._socket.bind((source, 0))
        code = self._socket.connect_ex(address)
        if code == errno.EINPROGRESS:
            # Over loopback the handshake is over by the time the call returns, and asking again says so: that saves
            # a round of the poller for each connection.
            code = self._socket.connect_ex(address)
        return self._progress(code)

    def advance(self, address: Address) -> bool:
        """Look whether the connect has ended, once the socket is writable; returns and raises as `open` does."""
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
            # With nobody listening on a port of the range outgoing connections use, the kernel may give our end that
            # very port and connect the socket to itself (RFC 9293, 3.5), which makes a perfect echo server.
            raise OSError(errno.ECONNREFUSED, "")
        self.connected = True
        return True

    def close(self) -> None:
        """Close the socket, if there is one. The caller has taken it out of the poller."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self.descriptor = -1
        self.connected = self.wants_write = False

    def plan_retry(self, now: float) -> None:
        """Open again at once if the server has answered on this connection, and later and later if it has not."""
        self.pause = 0.0 if self.offset else min(max(FIRST_PAUSE, 2 * self.pause), LONGEST_PAUSE)
        self.retry_at = now + self.pause
