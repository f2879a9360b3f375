"""Both directions of a connection, driven by one thread under a deadline; used by send, ping and wait."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from echoclient.errors import ClientError, TlsError
from echoclient.session import CHUNK

if TYPE_CHECKING:
    from echoclient.durations import Deadline
    from echoclient.session import Session


class Duplex:
    """Sends what is queued and receives what arrives, whichever is possible, so neither direction blocks the other.

    Attributes:
        ended: the peer has ended its side.
    """

    def __init__(self, session: Session) -> None:
        """Take over a session, and put its socket into non-blocking mode."""
        session.socket.setblocking(False)
        self._session = session
        self._unsent = bytearray()
        self._half_close = False
        self._broken: ClientError | None = None  # why nothing more can be sent
        self.ended = False

    def queue(self, data: bytes, *, last: bool = False) -> None:
        """Queue ``data`` for the next calls of `pump`; if it is the last, half-close after it."""
        self._unsent += data
        self._half_close = last

    @property
    def unsent(self) -> int:
        """How many queued bytes have not been sent yet; at least 1 while the session holds some back."""
        return len(self._unsent) or int(self._session.unflushed)

    def pump(self, deadline: Deadline, also: int | None = None) -> bytes:
        """Wait until something can be sent or received, and do it once.

        Args:
            deadline: when it passes, the call returns with nothing done; the caller checks the clock.
            also: a descriptor that ends the wait when it becomes readable.

        Returns:
            What was received; ``b""`` if nothing was, in which case `ended` may have become true.

        Raises:
            ClientError: the connection is lost.
        """
        session = self._session
        if self._half_close and not self._unsent:
            self._half_close = False
            session.half_close()
        sock = session.socket.fileno()
        readers = ([] if self.ended else [sock]) + ([] if also is None else [also])
        writers = [sock] if self.unsent and not self._broken else []
        pending = session.pending and not self.ended
        readable, writable, _ = select.select(readers, writers, [], 0 if pending else deadline.remaining())
        if writable:
            self._send_once()
        if sock in readable or pending:
            return self._receive_once()
        return b""

    def _send_once(self) -> None:
        try:
            if self._unsent:
                del self._unsent[: self._session.send_some(bytes(self._unsent[:CHUNK]))]
            else:
                self._session.flush()
        except BlockingIOError:  # select(2) may report a socket that is not ready after all
            return
        except ClientError as error:
            # What the server sent before may still be received: the rest of a reply, or over TLS why it refuses us.
            self._broken = error

    def _receive_once(self) -> bytes:
        try:
            data = self._session.receive()
        except BlockingIOError:
            return b""
        except TlsError:
            raise
        except ClientError as error:
            raise self._broken or error from None
        if self._broken and not data:
            raise self._broken
        self.ended = not data
        return data
