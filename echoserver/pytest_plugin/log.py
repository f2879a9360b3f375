"""The log of a server in a test: everything goes to the logger `echoserver`, and errors are kept for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from traceback import format_exception
from typing import TypeVar

from echoserver.observe.embedded import library_logger

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a connection."""

    error: BaseException
    text: str


class ServerLog:
    """A `Logger` that passes events on to the standard library's logging, which pytest captures, and keeps errors."""

    def __init__(self) -> None:
        self._inner = library_logger()
        self._failures: SimpleQueue[Failure] = SimpleQueue()
        self._others: SimpleQueue[str] = SimpleQueue()
        self.debug = self._inner.debug
        self.info = self._inner.info
        self.warning = self._inner.warning

    def error(self, event: str, /, **fields: object) -> None:
        """See `Logger.error`; called in the threads of the server."""
        error = fields.get("exc_info")
        if isinstance(error, BaseException):
            words = f"connection {fields.get('id')} from {fields.get('peer')} ended with an exception"
            self._failures.put(Failure(error, f"{words}:\n{''.join(format_exception(error)).rstrip()}"))
        else:
            self._others.put(" ".join([event, *(f"{name}={value}" for name, value in fields.items())]))
        self._inner.error(event, **fields)

    def take_failures(self) -> list[Failure]:
        """Return the exceptions that have ended connections since the last call."""
        return list(_take_all(self._failures))

    def take_others(self) -> list[str]:
        """Return the other errors since the last call."""
        return list(_take_all(self._others))


def _take_all(queue: SimpleQueue[_T]) -> Iterator[_T]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
