"""One connection to a server: send, receive, half-close."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from echoclient.errors import from_os_error

if TYPE_CHECKING:
    from echoclient.target import Target

# Bytes for one system call: more gains nothing over loopback, and less costs throughput.
CHUNK = 256 * 1024


class Session:
    """A connection and its byte counts.

    One thread may send while another receives. `shutdown` may be called from any thread, and wakes both. Only the owner
    may call `close`, after both have finished, because the descriptor's number is reused at once.

    Attributes:
        target: what the user asked for.
        peer: the address that answered, as ``host:port``, ``[v6]:port`` or ``unix:/path``.
        bytes_out: bytes that the kernel took; written only by the sending thread.
        bytes_in: bytes received; written only by the receiving thread.
        secured: the version of TLS and the cipher suite; empty without TLS.
        handshake: seconds that the TLS handshake took.
        pending: whether `receive` would return or raise at once, whatever select(2) says of the socket.
        unflushed: whether `flush` has something to send when the socket is writable.
    """

    secured = ""
    handshake = 0.0

    def __init__(self, sock: socket.socket, target: Target) -> None:
        self.socket = sock
        self.target = target
        if target.path:
            self.peer = str(target)
        else:
            # A typed line or a ping is sent at once, without waiting until the last one is acknowledged (RFC 896).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host, port = sock.getpeername()[:2]
            self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.bytes_out = 0
        self.bytes_in = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes | memoryview) -> None:
        """Send all of ``data``, waiting for the peer without a limit.

        Raises:
            ClientError: the connection is lost; ``bytes_out`` is how much the kernel took.
        """
        left = memoryview(data)
        while left:
            left = left[self.send_some(left) :]

    def send_some(self, data: bytes | memoryview) -> int:
        """Send as much as one send(2) takes, count it, and return how many bytes that were.

        Raises:
            BlockingIOError: the socket is non-blocking and can't take anything now.
            ClientError: the connection is lost.
        """
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise from_os_error(error, self.target) from error
        self.bytes_out += sent
        return sent

    @property
    def pending(self) -> bool:
        """Never: the kernel has everything that is not received yet."""
        return False

    @property
    def unflushed(self) -> bool:
        """Never: the kernel has everything that was sent."""
        return False

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def receive(self) -> bytes:
        """Receive what is there, at most `CHUNK` bytes; ``b""`` means that the peer has ended its side.

        Raises:
            BlockingIOError: nothing is there now; without TLS, only if the socket is non-blocking.
            ClientError: the connection is lost.
        """
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            raise
        except OSError as error:
            raise from_os_error(error, self.target) from error
        self.bytes_in += len(data)
        return data

    def half_close(self) -> None:
        """End the sending side; replies can still be received."""
        self._shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        """End both directions, and wake the threads that are blocked in one of them."""
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        # ENOTCONN: the connection has ended already, and the next receive says why.
        with contextlib.suppress(OSError):
            self.socket.shutdown(how)

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self.socket.close()

    def traffic(self) -> str:
        """Return a text that says how many bytes were sent and received."""
        return f"{self.bytes_out} bytes sent, {self.bytes_in} received"
