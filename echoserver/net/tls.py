"""The TLS transport: an `ssl.SSLObject` between two memory buffers, and a plain socket.

Only the thread that serves the connection touches the TLS object; other threads touch the socket alone. That is why it
is no `ssl.SSLSocket`: one whose reading side another thread has shut down can't send any more.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from echoserver.net import kernel
from echoserver.net.tls_facts import HandshakeError, TlsInfo, why_failed
from echoserver.net.tls_stream import RECORD_BYTES, TlsReceiver, TlsSender
from echoserver.net.transport import PlainTransport

_HELLO_BYTES = 16_384  # how much of the handshake is kept to find the server name in


class TlsTransport:
    """A stream of TLS on a connected socket: the server's side of it.

    It belongs to the thread that serves the connection. Another thread may call `unread`, `waiting`, `unacknowledged`,
    `taken`, `shut_reading` and `shut_both`, none of which touches the TLS object.

    Parameters
    ----------
    sock:
        A connected socket, in either mode. The transport closes it.
    context:
        Certificate and rules. It must not be changed any more.
    received:
        What has been received already, such as the bytes after a PROXY header.

    """

    __slots__ = (
        *("_hello", "_incoming", "_opened", "_plain", "_receiver", "_reset", "_said_goodbye", "_sender", "_tls"),
        *("_writing_shut", "flush", "recv", "recv_into", "send", "sock", "unsent"),
    )

    can_splice = False
    has_faults = False
    log_facts: Mapping[str, object] = MappingProxyType({})

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, received: bytes = b"") -> None:
        self.sock = sock
        self._plain = PlainTransport(sock)
        outgoing = ssl.MemoryBIO()
        self._incoming = ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(self._incoming, outgoing, server_side=True)
        self._sender = TlsSender(sock, self._tls, outgoing)
        self._receiver = TlsReceiver(sock, self._tls, self._incoming, outgoing, self._sender)
        self._hello = received
        self._opened = self._reset = self._said_goodbye = self._writing_shut = False
        self.recv: Callable[[int], bytes] = self._receiver.recv
        self.recv_into: Callable[[memoryview], int] = self._receiver.recv_into
        self.send: Callable[[bytes | memoryview], int] = self._sender.send
        """See `TlsSender.send`: after a `BlockingIOError` the same bytes must be sent again."""
        self.flush = self._sender.flush
        self.unsent = self._sender.unsent

    def handshake(self) -> Literal["read", "write"] | None:
        """Go on with the handshake.

        Returns
        -------
        str or None
            `None` once it is complete; there may be data then that `pending` tells of, and the socket does not. Before
            that, what a socket that does not block has to be ready for: "read" or "write".

        Raises
        ------
        HandshakeError
            It failed, or the socket was shut down. The alert has been sent if the socket took it.
        OSError
            The connection is broken.

        """
        while True:
            if not self._opened:
                self._step()
            try:
                self.flush()
            except BlockingIOError:
                return "write"
            if self._opened:
                self._receiver.held = self._incoming.pending
                return None
            try:
                data = self.sock.recv(RECORD_BYTES)
            except BlockingIOError:
                return "read"
            if not data:
                raise HandshakeError("the stream ended during the handshake")
            self._incoming.write(data)
            if len(self._hello) < _HELLO_BYTES:
                self._hello += data

    def _step(self) -> None:
        """Have the TLS object take what has come, and write its answer."""
        try:
            self._tls.do_handshake()
            self._opened = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._sender.break_off()
            raise HandshakeError(why_failed(error)) from error

    def tls_info(self) -> TlsInfo:
        """Return what has been negotiated; to be called once, when the handshake is complete."""
        hello, self._hello = self._hello, b""
        return TlsInfo.of(self._tls, hello)

    @property
    def has_received(self) -> bool:
        """Whether anything came for the handshake; valid until `tls_info` is called."""
        return bool(self._hello)

    @property
    def truncated(self) -> bool:
        """Whether the stream ended without close_notify; see `Transport`."""
        return self._receiver.truncated

    def fileno(self) -> int:
        """Return the descriptor; -1 once closed."""
        return self.sock.fileno()

    def local(self) -> str:
        """Return the address of this end as people write it."""
        return self._plain.local()

    def pending(self) -> int:
        """Return how many bytes are here that the socket does not tell of: receive until there are none."""
        return self._receiver.held

    def unread(self) -> int:
        """Return at most how many bytes wait to be received: they are counted with what encryption adds."""
        return kernel.unread(self.sock) + self._receiver.held + self._receiver.partial

    def waiting(self) -> int:
        """Return how many bytes wait for the serving thread: not those of a record that it waits for the rest of."""
        return kernel.unread(self.sock) + self._receiver.held

    def unacknowledged(self) -> int:
        """Return how much of the ciphertext sent the peer has not taken yet."""
        return kernel.unacknowledged(self.sock)

    def taken(self, sent: int) -> int:
        """Return a number that changes when the peer takes ciphertext."""
        return kernel.taken(self.sock, sent)

    def set_blocking(self, blocking: bool) -> None:
        """Have receives and sends wait, or raise `BlockingIOError` instead."""
        self._plain.set_blocking(blocking)

    def discard(self, limit: int) -> int:
        """Receive ciphertext without waiting and drop it; return how many bytes, -1 at the end or if it is broken.

        Nothing can be received after that.
        """
        if self._said_goodbye and not self._writing_shut:
            try:
                self.shut_writing()
            except OSError:
                return -1
        return self._plain.discard(limit)

    def shut_reading(self) -> None:
        """Shut the socket's reading side: what has arrived can still be received, and answers can still be sent."""
        self._receiver.shut = True
        self._plain.shut_reading()

    def _say_goodbye(self) -> None:
        """Have the TLS object write close_notify, once."""
        if self._said_goodbye:
            return
        self._said_goodbye = True
        if self._opened and not self._sender.broken:
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # it is written; the peer's has not come yet, or data has
                pass

    def send_end(self) -> None:
        """Send close_notify after what was sent. Raises `BlockingIOError` while the socket does not take all of it."""
        self._say_goodbye()
        self.flush()

    def shut_writing(self) -> None:
        """Send close_notify after what was sent, and shut the writing side. This does not wait.

        If the socket does not take all of it now, `discard` tries again.
        """
        self._say_goodbye()
        if not self._writing_shut:
            try:
                self.flush(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            self._writing_shut = True
            self._plain.shut_writing()

    def shut_both(self) -> None:
        """Shut both sides of the socket: a waiting handshake, receive or send returns or fails."""
        self._receiver.shut = True
        self._plain.shut_both()

    def reset_on_close(self) -> None:
        """Have `close` reset the connection and drop what the peer has not taken."""
        self._reset = True
        self._plain.reset_on_close()

    def close(self) -> None:
        """Send close_notify, unless it was sent or the socket does not take it now, and close the socket."""
        try:
            if not self._reset:
                self.shut_writing()
        except OSError:  # the peer is gone, or another thread has shut the socket down
            pass
        finally:
            self._plain.close()

    def forget(self) -> None:
        """Let go of the descriptor without closing it."""
        self._plain.forget()
