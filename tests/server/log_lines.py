"""A log in memory, for servers in the same process."""

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from server.kit import PATIENCE, Peer


class LogLines:
    """A log that a test can read and wait for. Each line is a dictionary, with the event under `event`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the lines
        self._lines: list[dict[str, Any]] = []
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            None,
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            processors=[structlog.processors.add_log_level, self._take],
        )

    def _take(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        with self._changed:
            self._lines.append(dict(event))
            self._changed.notify_all()
        raise structlog.DropEvent

    def lines(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Return the lines so far that have this event and these values."""
        wanted = {"event": event, **facts}
        with self._changed:
            return [line for line in self._lines if wanted.items() <= {**line, "exc_info": None}.items()]

    def wait_for(self, event: str, *, count: int = 1, **facts: object) -> list[dict[str, Any]]:
        """Wait until there are `count` such lines, and return them."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.lines(event, **facts)) >= count, PATIENCE)
            assert enough, f"waited for {count} x {event!r} {facts}; there are {self._lines[-20:]}"
            return self.lines(event, **facts)

    def ended(self, peer: Peer) -> dict[str, Any]:
        """Wait for the one line about the end of a peer's connection, and return it."""
        (line,) = self.wait_for("connection ended", peer=peer.name)
        return line
