"""Replies that a handler produces piece by piece, and what can be a piece."""

from __future__ import annotations

from collections.abc import Iterator

from echoserver.handlers import Last


class HandlerFailedError(Exception):
    """The handler raised an exception, or returned something that is not a reply. The cause is the error to report."""


class Pieces:
    """A reply that the handler produces piece by piece, each when the peer has accepted the one before it.

    It belongs to the thread that serves the connection; that thread also closes it.
    """

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Iterator[object]) -> None:
        self._iterator = iterator

    def next(self) -> bytes | None:
        """Return the next piece, which may be empty or a `Last`; `None` after the last one.

        Raises
        ------
        HandlerFailedError
            The iterator raised an exception, or yielded something other than bytes.

        """
        try:
            piece = next(self._iterator)
            return piece if type(piece) is bytes else as_piece(piece, "yielded")
        except StopIteration:
            return None
        except BaseException as error:
            raise HandlerFailedError from error

    def close(self) -> None:
        """Close the iterator, if it can be closed, so that a generator runs its `finally` blocks now.

        Raises
        ------
        HandlerFailedError
            A `finally` block raised an exception.

        """
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            raise HandlerFailedError from error


def as_piece(reply: object, verb: str) -> bytes:
    """Return what a handler returned or yielded (`verb`) as `bytes`, or the `Last` that it is.

    Raises
    ------
    TypeError
        It is not bytes.

    """
    if isinstance(reply, Last):
        return reply
    if isinstance(reply, bytes | bytearray | memoryview):
        return bytes(reply)
    allowed = "bytes, Last or an iterator of bytes" if verb == "returned" else "bytes or Last"
    raise TypeError(f"the handler {verb} {type(reply).__name__}; it must be {allowed}")
