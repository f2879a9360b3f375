"""Both directions of a connection, driven by one thread under a deadline; used by send, ping and wait."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

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
        self.ended = False

    def queue(self, data: bytes, *, last: bool = False) -> None:
        """Queue ``data`` for the next calls of `pump`; if it is the last, half-close after it."""
        self._unsent += data
        self._half_close = last

    @property
    def unsent(self) -> int:
        """How many queued bytes have not been sent yet."""
        return len(self._unsent)

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
        if self._half_close and not self._unsent:
            self._half_close = False
            self._session.half_close()
        sock = self._session.socket.fileno()
        readers = ([] if self.ended else [sock]) + ([] if also is None else [also])
        readable, writable, _ = select.select(readers, [sock] if self._unsent else [], [], deadline.remaining())
        if writable:
            try:
                del self._unsent[: self._session.send_some(bytes(self._unsent[:CHUNK]))]
            except BlockingIOError:  # select(2) may report a socket that is not ready after all
                pass
        if sock in readable:
            try:
                data = self._session.receive()
            except BlockingIOError:
                return b""
            self.ended = not data
            return data
        return b""
