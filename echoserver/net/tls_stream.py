"""The two directions of a TLS connection: plaintext on one side, and the socket with its ciphertext on the other.

Both belong to the thread that serves the connection.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import cast

RECORD_BYTES = 16_384
"""The most plaintext that one record carries (RFC 8446, section 5.1)."""

_SEND_BYTES = 4 * RECORD_BYTES
_OVERHEAD_BYTES = 128  # at least what encryption adds to as many bytes
# How often one non-blocking receive asks the socket: a peer may send records without data, and no end of them.
_MOST_RECEIVES = 16
# How much of the answers to such records (key updates, renegotiations) may wait for the peer to take it.
_MOST_ANSWER_BYTES = 65_536


class TlsSender:
    """Encrypts and sends.

    Parameters
    ----------
    sock:
        A connected socket, in either mode.
    tls:
        Encrypts into `outgoing`.
    outgoing:
        Where the ciphertext is to be found.

    """

    __slots__ = ("_accepted", "_outgoing", "_send", "_unsent", "_write", "broken")

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        self.broken = False
        """Whether an alert has ended the connection: nothing may follow it."""
        self._send = sock.send
        self._write = tls.write
        self._outgoing = outgoing
        self._accepted = 0  # how much plaintext has been encrypted whose ciphertext has not been sent completely
        self._unsent: bytes | memoryview = b""  # ciphertext taken out of `_outgoing`

    def send(self, data: bytes | memoryview) -> int:
        """Send the first of these bytes, and return how many.

        Raises
        ------
        BlockingIOError
            The socket does not block, and has not taken all of their ciphertext. The next call must begin with the same
            bytes: those that are encrypted already are not encrypted again. This way no caller has to know of
            ciphertext, and there is never more of it than that of 64 KiB.
        OSError
            The connection is broken.

        """
        if not self._accepted:
            if not data:
                return 0
            self._accepted = self._write(data if len(data) <= _SEND_BYTES else memoryview(data)[:_SEND_BYTES])
        self.flush()
        accepted, self._accepted = self._accepted, 0
        return accepted

    def flush(self, flags: int = 0) -> None:
        """Send the ciphertext that is left. Raises `BlockingIOError` while the socket does not take all of it."""
        unsent = self._unsent or self._outgoing.read()
        try:
            while unsent:
                sent = self._send(unsent, flags)
                unsent = memoryview(unsent)[sent:] if sent != len(unsent) else self._outgoing.read()
        finally:
            self._unsent = unsent

    def unsent(self) -> int:
        """Return how much ciphertext the socket has not taken yet."""
        return len(self._unsent) + self._outgoing.pending

    def answer(self) -> None:
        """Send what receiving has caused, such as the answer to a key update, as far as the socket takes it.

        It never waits, not even where the socket blocks: a thread that is to receive must not be held by a peer that
        reads nothing, and which neither the idle nor the write timeout would find late.
        """
        try:
            self.flush(socket.MSG_DONTWAIT)
        except BlockingIOError:
            if self.unsent() > _MOST_ANSWER_BYTES:
                raise OSError("the peer does not take the answers to its key updates or renegotiations") from None

    def break_off(self) -> None:
        """Send the alert that the TLS object has made of an error, unless it would have to wait."""
        self.broken = True
        try:
            self.flush(socket.MSG_DONTWAIT)
        except OSError:
            pass


class TlsReceiver:
    """Receives and decrypts.

    Parameters
    ----------
    sock:
        A connected socket, in either mode.
    tls:
        Decrypts what is in `incoming`.
    incoming, outgoing:
        Where it finds the ciphertext, and where it puts what receiving causes.
    sender:
        Sends what is in `outgoing`.

    """

    __slots__ = (
        *("_ended", "_failure", "_incoming", "_outgoing", "_pending", "_read", "_receive_raw", "_receive_raw_into"),
        *("_sender", "_sock", "held", "partial", "shut", "truncated"),
    )

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        sender: TlsSender,
    ) -> None:
        self.shut = False
        """Whether the socket's reading side is shut; written by the thread that shuts it, before it does so."""
        # Other threads may read these two, and see them one receive late.
        self.held = 0
        """How many bytes have been received from the socket, and not returned; the end of the stream counts as one."""
        self.partial = 0
        """How many bytes the TLS object has of a record whose rest has not arrived."""
        self.truncated = False
        """Whether the stream has ended without close_notify."""
        self._sock = sock
        self._receive_raw, self._receive_raw_into = sock.recv, sock.recv_into
        # Given memory it returns a number of bytes, otherwise the bytes.
        self._read = cast(Callable[[int, memoryview | None], bytes | int], tls.read)
        self._pending = tls.pending
        self._incoming, self._outgoing = incoming, outgoing
        self._sender = sender
        self._ended = False  # whether the peer's close_notify has come
        self._failure: ssl.SSLError | None = None  # raised once what came before it has been returned

    def recv(self, limit: int) -> bytes:
        """Receive up to so many bytes; none at the end of the stream, or once the reading side is shut and empty.

        Raises
        ------
        BlockingIOError
            There is nothing to receive, and the socket does not block.
        OSError
            The connection is broken, or what came is not TLS.

        """
        data = self._receive(limit, None)
        if not isinstance(data, bytes):
            return b""
        if not self.held or len(data) == limit:
            return data
        pieces, left = [data], limit - len(data)
        while left and isinstance(data := self._receive_held(left, None), bytes):
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def recv_into(self, memory: memoryview) -> int:
        """Receive into memory and return how many bytes. Ends and raises as `recv`."""
        limit = len(memory)
        count = self._receive(limit, memory)
        if not isinstance(count, int):
            return 0
        while self.held and count != limit:
            more = self._receive_held(limit - count, memory[count:])
            if not isinstance(more, int):
                break
            count += more
        return count

    def _receive(self, limit: int, memory: memoryview | None) -> bytes | int | None:
        """Return the data of one record, received from the socket if none is here; `None` at the end of the stream."""
        if self._failure is not None:
            self.held = 0
            raise self._failure
        receives = 0
        while True:
            if self.held:
                data = self._decrypt(limit, memory)
                if data is not None:
                    return data
            if self._ended:
                return None
            if self._outgoing.pending:
                self._sender.answer()
            receives += 1
            if receives > _MOST_RECEIVES and self._sock.gettimeout() is not None:
                raise BlockingIOError("no data in what has been received so far")
            # A whole record at least, and if it is full, no more than is returned at once. Memory that takes one is
            # used for the ciphertext first: it has been copied when the plaintext comes.
            if memory is not None and limit >= RECORD_BYTES + _OVERHEAD_BYTES:
                count = self._receive_raw_into(memory)
                received: bytes | memoryview = memory[:count]
            else:
                received = self._receive_raw((limit if limit > RECORD_BYTES else RECORD_BYTES) + _OVERHEAD_BYTES)
                count = len(received)
            if not count:
                if self.shut:
                    return None
                self.truncated = self._ended = True
                return None
            self._incoming.write(received)
            self.held += count

    def _receive_held(self, limit: int, memory: memoryview | None) -> bytes | int | None:
        """Return the data of one more record if a whole one is here; otherwise `None`."""
        if not self.held:
            return None
        try:
            data = self._decrypt(limit, memory)
        except ssl.SSLError as error:
            self._failure = error.with_traceback(None)  # its frames refer to this object
            data = None
        # The socket does not tell of an end that has been received along with data.
        self.held += self._ended or self._failure is not None
        return data

    def _decrypt(self, limit: int, memory: memoryview | None) -> bytes | int | None:
        """Return the data of the next record; `None` if it is not complete or if it is the peer's close_notify."""
        before = self._incoming.pending
        try:
            data = self._read(limit, memory)
        except ssl.SSLWantReadError:
            self.partial += before
            self.held = 0
            return None
        except ssl.SSLZeroReturnError:
            data = 0
        except ssl.SSLError:
            self.held = 0
            self._sender.break_off()
            raise
        if not data:
            self._ended = True
            self.held = 0
            return None
        # Only a record that is longer than what was asked for leaves something decrypted.
        if (len(data) if isinstance(data, bytes) else data) == limit:
            self.held = self._incoming.pending + self._pending()
        else:
            self.held = self._incoming.pending
        self.partial = 0
        return data
