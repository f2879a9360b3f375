"""Load over TLS: the same streams and workloads, with a handshake first and records instead of bytes.

The plain classes know nothing of this, and pay nothing for it: a run chooses its classes at the start.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

from echoclient.load.connection import Connection
from echoclient.load.engine import Engine
from echoclient.load.pattern import CHUNK
from echoclient.load.poller import READ, WRITE
from echoclient.load.pool import ConnectionPool
from echoclient.tls_end import TlsEnd
from echoclient.tls_errors import explain, explain_handshake

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoclient.load.connection import Address
    from echoclient.load.pattern import Pattern
    from echoclient.load.recorder import Recorder
    from echoclient.load.workload import Workload
    from echoclient.target import Target

# A record and what encryption adds to it (RFC 8446, 5.2).
_RECORD = 16_384 + 256


class TlsConnection(Connection):
    """A connection that is `connected` once the TLS handshake is complete.

    Attributes:
        end: our end of TLS; ``None`` until TCP is connected.
        shaking: seconds that the handshake took.
    """

    __slots__ = ("_context", "_joined", "_name", "_records", "end", "shaking")

    def __init__(self, number: int, pattern: Pattern, target: Target, *, verify: bool) -> None:
        super().__init__(number, pattern, target, verify=verify)
        assert target.tls is not None
        self._context, self._name = target.tls.context, target.name
        self._records = bytearray()  # encrypted, and not taken by the kernel yet
        self._joined = self.shaking = 0.0
        self.end: TlsEnd | None = None

    @property
    def awaits(self) -> int:
        """The events that bring it on while it is not connected."""
        if self.end is None:
            return WRITE
        return READ | WRITE if self._records else READ

    def _join(self) -> bool:
        self._joined = time.monotonic()
        self.end = TlsEnd(self._context, self._name)
        return self._shake_hands(self.end)

    def advance(self, address: Address) -> bool:
        """Go on with the connect or the handshake; returns and raises as `open` does."""
        if self.end is None:
            return super().advance(address)
        with contextlib.suppress(BlockingIOError):
            assert self._socket is not None
            self.end.feed(self._socket.recv(CHUNK))
        return self._shake_hands(self.end)

    def _shake_hands(self, end: TlsEnd) -> bool:
        try:
            done = end.shake_hands()
        finally:
            self.flush()  # of a failure, an alert tells the server why
        if done:
            self.shaking = time.monotonic() - self._joined
            self.connected = True
        return done

    def encrypt(self, piece: memoryview) -> None:
        """Add a piece to what `flush` sends."""
        assert self.end is not None
        self.end.encrypt(piece)

    def flush(self) -> bool:
        """Send what the kernel takes, and return whether nothing is left."""
        assert self._socket is not None
        assert self.end is not None
        self._records += self.end.take()
        with contextlib.suppress(BlockingIOError):
            while self._records:
                del self._records[: self._socket.send(self._records)]
        return not self._records

    def read(self, most: int) -> bytes:
        """Receive once, about ``most`` bytes, and return what can be decrypted; `end` says whether more can follow."""
        assert self._socket is not None
        assert self.end is not None
        self.end.feed(self._socket.recv(min(most + _RECORD, CHUNK // 2)))
        return self.end.decrypt()

    def close(self) -> None:
        """Close the socket, after close_notify if the stream is whole."""
        if self.connected and self.end is not None and self.end.failure is None:
            self.end.end()
            with contextlib.suppress(OSError):
                self.flush()
        self._records.clear()
        self.end = None
        super().close()


class TlsPool(ConnectionPool):
    """Connections over TLS."""

    connections: list[TlsConnection]  # type: ignore[assignment] # filled by `_make` alone
    _make = TlsConnection

    def send(self, connection: Connection) -> None:
        """Encrypt and send what the kernel takes, and watch until it can take the rest."""
        assert isinstance(connection, TlsConnection)
        try:
            while (flushed := connection.flush()) and connection.unsent:
                piece = connection.next_piece()
                connection.encrypt(piece)
                connection.unsent -= len(piece)
        except OSError as error:
            self.fail_with(connection, error)
            return
        if connection.wants_write == flushed:
            connection.wants_write = not flushed
            self.poller.modify(connection.descriptor, READ if flushed else READ | WRITE)

    def advance(self, connection: Connection) -> None:
        """Continue a connect or a handshake."""
        assert isinstance(connection, TlsConnection)
        try:
            ready = connection.advance(self._address)
        except OSError as error:
            self.fail_with(connection, error)
            return
        if not ready:
            self.poller.modify(connection.descriptor, connection.awaits)
            return
        self._opening -= 1
        self.recorder.handshake.fresh.append(connection.shaking)
        self.poller.modify(connection.descriptor, READ)
        self.send(connection)  # the end of the handshake, if the kernel has not taken it
        if connection.connected:
            self._workload.opened(connection, time.monotonic())

    def fail_with(self, connection: Connection, error: OSError) -> None:
        """Give a connection up because of what a system call or OpenSSL raised."""
        if not isinstance(error, ssl.SSLError):
            super().fail_with(connection, error)
            return
        known = (explain if connection.connected else explain_handshake)(error, self._target)
        self._fail(connection, known.word, known.detail.removeprefix(f"{self._target}: "))


class TlsEngine(Engine):
    """The loop for connections over TLS. It has no fast path: encryption costs more than that saves."""

    def _event_handler(self, workload: Workload, recorder: Recorder) -> Callable[[list[tuple[int, int]]], int]:
        def serve(events: list[tuple[int, int]]) -> int:
            for descriptor, event in events:
                self._other(self._pool.table[descriptor], event)
            return 0

        return serve

    def _other(self, connection: Connection | None, event: int) -> None:
        if not isinstance(connection, TlsConnection) or not connection.connected:
            super()._other(connection, event)
            return
        if event & WRITE:
            self._pool.send(connection)
        if event & ~WRITE and connection.connected:
            self._take(connection)

    def _take(self, connection: TlsConnection) -> None:
        end = connection.end
        try:
            data = connection.read(self._most)
        except BlockingIOError:
            return
        except OSError as error:
            self._pool.fail_with(connection, error)
            return
        if data:
            self._received(connection, data)
        if end is None or connection.end is not end:  # it has failed, or is another connection now
            return
        if end.failure is not None:
            self._pool.fail_with(connection, end.failure)
        elif end.ended:
            self._pool.fail_ended(connection)
