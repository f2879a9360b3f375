"""The client's end of a TLS connection, apart from its socket: bytes go in and bytes come out."""

from __future__ import annotations

import contextlib
import ssl

# A record carries at most this many bytes (RFC 8446, 5.1).
_RECORD = 16_384


class TlsEnd:
    """An `ssl.SSLObject` between two buffers. With a socket, it can end one direction alone, unlike `ssl.SSLSocket`.

    Nothing here blocks, and nothing here is locked: one thread at a time may call it.

    Attributes:
        ended: the server has sent close_notify.
        failure: why nothing more can be decrypted.
    """

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.ended = False
        self.failure: ssl.SSLError | None = None

    def shake_hands(self) -> bool:
        """Go on with the handshake as far as what was fed allows; return whether it is complete.

        Raises:
            ssl.SSLError: it has failed; `take` may return an alert for the server.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, data: bytes) -> None:
        """Take what came from the server; ``b""`` is the end of its TCP stream."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def take(self) -> bytes:
        """Return what has to be sent to the server."""
        return self._outgoing.read()

    @property
    def has_output(self) -> bool:
        """Whether `take` would return anything."""
        return self._outgoing.pending > 0

    def encrypt(self, data: bytes | memoryview) -> None:
        """Encrypt all of ``data``."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]

    def decrypt(self) -> bytes:
        """Return all that can be decrypted of what was fed; afterwards, `over` says whether more can follow."""
        pieces = []
        try:
            # Before our own close_notify, the server's is an empty piece; after it, an exception.
            while not self.over and (piece := self._tls.read(_RECORD)):
                pieces.append(piece)
            self.ended = not self.failure
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self.failure = error
        return b"".join(pieces)

    @property
    def over(self) -> bool:
        """Whether nothing more can be decrypted."""
        return self.ended or self.failure is not None

    def end(self) -> None:
        """End our direction: `take` returns close_notify. The other direction goes on."""
        # The call also asks for the server's close_notify, which has not been fed yet.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()

    @property
    def description(self) -> str:
        """The version of TLS and the cipher suite."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()}, {cipher[0] if cipher else 'no cipher'}"

    def names(self) -> list[str]:
        """Return the names and addresses in the server's certificate, if it was verified."""
        certificate = self._tls.getpeercert() or {}
        return [str(name[1]) for name in certificate.get("subjectAltName", ()) if isinstance(name, tuple)]
