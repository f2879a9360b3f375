"""What is said on one connection: its handler and the handler's replies, without any I/O.

A driver asks a session what to send and sends it. Nothing here touches a socket or a clock, so a session can be tested
with bytes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from echoserver.handlers import Facts, Handler, HandlerFactory, Peer, Reply
from echoserver.net.endpoint import format_address
from echoserver.serving.pieces import HandlerFailedError, Pieces, as_piece


class Session:
    """The handler of one connection.

    All methods raise `HandlerFailedError` for whatever the handler raises, `SystemExit` included.

    Parameters
    ----------
    factory:
        Makes the handler. It is called by `open`, in the serving thread, so that a slow or failing constructor affects
        this connection only.
    address:
        The address of the peer as `accept` returned it; the handler gets it as `self.peer`.

    """

    __slots__ = ("_factory", "_feed", "_handler", "address")

    def __init__(self, factory: HandlerFactory, address: object) -> None:
        self._factory = factory
        self.address = address
        self._handler: Handler | None = None
        self._feed: Callable[[bytes], Reply] = _feed_closed

    @property
    def unchanged(self) -> bool:
        """Whether every reply is the very bytes that were received; a driver then need not ask for it."""
        return self._factory.unchanged

    def open(self, facts: Facts) -> bytes | Pieces:
        """Make the handler and return its greeting.

        Parameters
        ----------
        facts:
            Where `self.peer` finds what is known of the connection.

        """
        try:
            self._handler = self._factory.make(_peer_at(self.address, facts))
            self._feed = _feed_unchanged if self.unchanged else self._handler.feed  # the latter takes up memory
            return _checked(self._handler.greet())
        except BaseException as error:
            raise HandlerFailedError from error

    def reply(self, data: bytes) -> bytes | Pieces:
        """Return the reply to these bytes."""
        try:
            reply = self._feed(data)
            return reply if type(reply) is bytes else _checked(reply)
        except BaseException as error:  # a plug-in may raise anything, SystemExit included
            raise HandlerFailedError from error

    def finish(self) -> bytes | Pieces:
        """Return what the handler has left to say when no more input will come."""
        assert self._handler is not None, "open() comes first"
        try:
            return _checked(self._handler.finish())
        except BaseException as error:
            raise HandlerFailedError from error

    def close(self) -> None:
        """Let go of the handler and whatever it holds."""
        self._handler = None
        self._feed = _feed_closed


def _peer_at(address: object, facts: Facts) -> Peer:
    if isinstance(address, tuple) and len(address) >= 2:
        return Peer(str(address[0]), int(address[1]), facts)
    return Peer(format_address(address), None, facts)


def _feed_unchanged(data: bytes) -> Reply:
    return data


def _feed_closed(_data: bytes) -> Reply:
    raise AssertionError("the session is closed")


def _checked(reply: object) -> bytes | Pieces:
    if isinstance(reply, Iterator):
        return Pieces(reply)
    return as_piece(reply, "returned")
