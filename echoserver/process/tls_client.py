"""The client's end of a TLS connection, as far as a health check needs it."""

from __future__ import annotations

import socket
import ssl

_PIECE_BYTES = 65_536


class TlsClient:
    """Speaks TLS over a socket, and can end its own side alone, which `ssl.SSLSocket` can't.

    It accepts any certificate: the check asks whether the server serves, and not who it is.

    Parameters
    ----------
    sock:
        A connected socket, with the time limit that each step gets.

    Raises
    ------
    OSError
        The handshake failed, or the connection is broken. So do all methods, with what the server said of it.

    """

    def __init__(self, sock: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            else:
                self._flush()
                return

    def settimeout(self, seconds: float | None) -> None:
        """Set the time limit of each step."""
        self._sock.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Send."""
        self._tls.write(data)
        self._flush()

    def shutdown(self, how: int) -> None:
        """Send the end of the stream; the answer can still be received."""
        assert how == socket.SHUT_WR, "nothing else is needed"
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:  # for the server's own end
            pass
        self._flush()

    def recv(self, limit: int) -> bytes:
        """Receive; nothing at the end of the stream."""
        while True:
            try:
                return self._tls.read(limit)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                self._receive()

    def _receive(self) -> None:
        data = self._sock.recv(_PIECE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        self._sock.sendall(self._outgoing.read())
