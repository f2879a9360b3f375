"""Both directions of one connection driven by one thread under a deadline: what send, ping and wait are made of."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from echoclient.session import CHUNK

if TYPE_CHECKING:
    from echoclient.durations import Deadline
    from echoclient.session import Session


class Duplex:
    """Sends what is queued and receives what comes, whichever is possible, so that neither side can block the other.

    Attributes:
        ended: the peer has said everything.
    """

    def __init__(self, session: Session) -> None:
        """Take over a session: its socket is put into non-blocking mode."""
        session.socket.setblocking(False)
        self._session = session
        self._unsent = bytearray()
        self._half_close = False
        self.ended = False

    def queue(self, data: bytes, *, last: bool = False) -> None:
        """Have ``data`` sent by the calls of `pump` to come; after the last, half-close."""
        self._unsent += data
        self._half_close = last

    @property
    def unsent(self) -> int:
        """How many queued bytes the kernel has not taken yet."""
        return len(self._unsent)

    def pump(self, deadline: Deadline, also: int | None = None) -> bytes:
        """Wait until something can be sent or received, and do it once.

        Args:
            deadline: returns when it passes, with nothing done; the caller looks at the clock.
            also: a descriptor that ends the wait when it becomes readable.

        Returns:
            What was received; ``b""`` if nothing was, and then `ended` may have become true.

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
            except BlockingIOError:  # select(2) may promise too much
                pass
        if sock in readable:
            try:
                data = self._session.receive()
            except BlockingIOError:
                return b""
            self.ended = not data
            return data
        return b""
