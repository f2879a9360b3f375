"""What the server logs with: a method for each level, which takes an event and its fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

LEVELS = ("debug", "info", "warning", "error")
"""From the least important to the most important."""


class Logger(Protocol):
    """A logger of the kind that structlog makes, of which the server uses no more than this."""

    def debug(self, event: str, /, **fields: object) -> object:
        """Log what helps to find a defect."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log what is as it should be."""

    def warning(self, event: str, /, **fields: object) -> object:
        """Log what an operator should know of."""

    def error(self, event: str, /, **fields: object) -> object:
        """Log what is broken."""


class LevelLogger:
    """Passes on events from one level upwards. Loading structlog to do this would take longer than all of the server.

    Parameters
    ----------
    level:
        The least important level to pass on.
    emit:
        Takes the level, and the fields with the event as one of them.

    """

    def __init__(self, level: str, emit: Callable[[str, dict[str, Any]], object]) -> None:
        self._emit = emit
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Pass on events from another level upwards; from any thread."""
        self._passed = frozenset(LEVELS[LEVELS.index(level) :])  # replaced as a whole

    def debug(self, event: str, /, **fields: object) -> None:
        """See `Logger.debug`."""
        self._log("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """See `Logger.info`."""
        self._log("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """See `Logger.warning`."""
        self._log("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """See `Logger.error`."""
        self._log("error", event, fields)

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if level in self._passed:
            self._emit(level, {"event": event, **fields})
