"""A connection over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from echoclient.connection import CHUNK, Session
from echoclient.errors import ClientError, ResetError, TimedOutError, from_os_error
from echoclient.tls_end import TlsEnd
from echoclient.tls_errors import explain, explain_handshake

if TYPE_CHECKING:
    from echoclient.durations import Deadline
    from echoclient.target import Target

# The most that a certificate's names may take in a message.
_MOST_NAMES = 5


class TlsSession(Session):
    """A connection over TLS; as with the plain one, one thread may send while another receives.

    The bytes that are counted are those before encryption.
    """

    def __init__(self, sock: socket.socket, target: Target, end: TlsEnd, handshake: float) -> None:
        super().__init__(sock, target)
        self.handshake = handshake
        self.secured = end.description
        # OpenSSL needs its calls one at a time. No thread waits for the network while it holds this lock, so neither
        # direction can block the other.
        self._guard = threading.Lock()
        self._end = end
        # What the server sent together with the end of its handshake. Only the receiving thread uses it.
        self._early = end.decrypt()
        # Held over send(2), so that records leave in the order in which they were made; guards `_records`.
        self._order = threading.Lock()
        self._records = bytearray()

    @property
    def pending(self) -> bool:
        """Whether `receive` would return or raise at once, without the socket being readable."""
        with self._guard:
            return bool(self._early) or self._end.over

    @property
    def unflushed(self) -> bool:
        """Whether records wait for a non-blocking socket to take them; for a thread that sends and receives."""
        with self._guard:
            return bool(self._records) or self._end.has_output

    def flush(self) -> None:
        """Send as much as the socket takes of the records that wait."""
        with self._order:
            self._flush()

    def send_some(self, data: bytes | memoryview) -> int:
        """Encrypt and send at most `CHUNK` bytes, and return how many.

        If the socket is non-blocking, `unflushed` may be true afterwards.
        """
        piece = memoryview(data)[:CHUNK]
        with self._order:
            if not self._flush():
                raise BlockingIOError
            with self._guard:
                try:
                    self._end.encrypt(piece)
                except ssl.SSLError as error:
                    raise explain(error, self.target) from error
            self._flush()
        self.bytes_out += len(piece)
        return len(piece)

    def _flush(self) -> bool:
        """Send what waits, and return whether nothing is left; the caller holds `_order`."""
        with self._guard:
            self._records += self._end.take()
        while self._records:
            try:
                taken = self.socket.send(self._records)
            except BlockingIOError:
                return False
            except OSError as error:
                raise from_os_error(error, self.target) from error
            del self._records[:taken]
        return True

    def receive(self) -> bytes:
        """Receive once and decrypt; ``b""`` means that the server has ended its side with close_notify.

        Raises:
            BlockingIOError: nothing is there now, or only a part of a record.
            ClientError: the connection is lost, or its stream ended without close_notify.
        """
        data, self._early = self._early, b""
        with self._guard:
            over = self._end.over
        if not data and not over:
            try:
                records = self.socket.recv(CHUNK)
            except BlockingIOError:
                raise
            except OSError as error:
                raise self._lost(from_os_error(error, self.target)) from error
            with self._guard:
                self._end.feed(records)
                data = self._end.decrypt()
        self.bytes_in += len(data)
        if data:
            return data
        with self._guard:
            if self._end.failure:
                raise explain(self._end.failure, self.target)
            if self._end.ended:
                return b""
        raise BlockingIOError

    def _lost(self, error: ClientError) -> ClientError:
        """Return the error with what may be behind it: a reset can overtake the alert that refuses a certificate."""
        presented = self.target.tls is not None and self.target.tls.cert
        if isinstance(error, ResetError) and presented and not self.bytes_in:
            return error.adding("it may have refused the client's certificate")
        return error

    def half_close(self) -> None:
        """Send close_notify; replies can still be received."""
        with contextlib.suppress(ClientError), self._order:  # the next receive says why
            with self._guard:
                self._end.end()
            self._flush()

    def shutdown(self) -> None:
        """End both directions, the sending one with close_notify if that is possible at once; see `Session`."""
        self._say_goodbye()
        super().shutdown()

    def close(self) -> None:
        """Close the socket, after close_notify if that can be sent at once. May be called twice."""
        self._say_goodbye()
        super().close()

    def _say_goodbye(self) -> None:
        if not self._order.acquire(blocking=False):  # a thread is blocked in the middle of a record
            return
        try:
            with self._guard:
                self._end.end()
                self._records += self._end.take()
            with contextlib.suppress(OSError):
                del self._records[: self.socket.send(self._records, socket.MSG_DONTWAIT)]
        finally:
            self._order.release()


def secure(sock: socket.socket, target: Target, deadline: Deadline) -> TlsSession:
    """Make a TLS connection of a connected socket.

    Raises:
        ClientError: the handshake failed, or was not complete by the deadline. The caller closes the socket.
    """
    assert target.tls is not None
    end = TlsEnd(target.tls.context, target.name)
    began = time.monotonic()
    _shake_hands(sock, end, target, deadline)
    took = time.monotonic() - began
    sock.settimeout(None)
    return TlsSession(sock, target, end, took)


def certificate_names(sock: socket.socket, target: Target, deadline: Deadline) -> str:
    """Return the names in the server's certificate as text; empty if they can't be had."""
    assert target.tls is not None
    end = TlsEnd(target.tls.without_name(), target.name)
    try:
        _shake_hands(sock, end, target, deadline)
        end.end()
        sock.sendall(end.take())
    except (ClientError, OSError):
        return ""
    names = [name if name.isprintable() else ascii(name) for name in end.names()]
    return ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")


def _shake_hands(sock: socket.socket, end: TlsEnd, target: Target, deadline: Deadline) -> None:
    try:
        while True:
            left = deadline.remaining()
            sock.settimeout(None if left is None else max(left, 0.001))
            try:
                done = end.shake_hands()
            finally:
                sock.sendall(end.take())  # of a failure, an alert tells the server why
            if done:
                return
            end.feed(sock.recv(CHUNK))
    except ssl.SSLError as error:
        raise explain_handshake(error, target) from error
    except TimeoutError as error:
        raise TimedOutError(f"{target}: connected, but the TLS handshake did not end in time") from error
    except OSError as error:
        raise from_os_error(error, target).adding("during the TLS handshake") from error
