"""What a handler is. It receives bytes and returns bytes, and never touches a socket.

It can therefore be tested without a network. Each connection has its own instance, so a handler needs no lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeAlias

from echoserver.handlers.peer import Peer


class Last(bytes):
    """The last reply of a connection: the server sends it and then ends the connection."""

    __slots__ = ()


Reply: TypeAlias = bytes | Last | Iterator[bytes]
"""What a handler returns: a whole reply, the last reply, or an iterator of the pieces of a reply.

The server takes the next piece when the peer has accepted the previous one. A piece that is `Last` ends the connection.
"""


class Handler:
    """Produces the replies to one peer. Subclass it and override `feed`.

    The keyword parameters of `__init__` are the options of the handler.
    """

    blocking: ClassVar[bool] = True
    """Whether `feed` may block, or compute for more than about a millisecond. If false, the polling thread of workers
    mode calls the handler itself. This is faster, but one slow call then delays every connection."""

    peer: Peer
    """The peer of this connection. The server sets it after `__init__` and before it calls `greet`."""

    def greet(self) -> Reply:
        """Return what to send before anything has been received; by default nothing."""
        return b""

    def feed(self, data: bytes) -> Reply:
        """Return the reply to these bytes, which may be empty. An exception ends this connection only.

        The bytes come in the pieces that TCP delivers. A handler that needs whole lines has to keep an unfinished
        line until the rest arrives.
        """
        raise NotImplementedError

    def finish(self) -> Reply:
        """Return what is left to send when no more data will come; by default nothing.

        The peer has half-closed the connection, or the server is about to end it.
        """
        return b""


def feed_unchanged(_handler: Handler, data: bytes) -> bytes:
    """Return the bytes as they are: the `feed` of a handler that changes nothing.

    The server recognises this very function. It then calls no handler: it sends the bytes from the buffer in which they
    were received, and moves bulk data without copying it.
    """
    return data
