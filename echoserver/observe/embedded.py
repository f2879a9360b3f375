"""The log of an embedded server: structlog in front of the standard library's logging, which the host configures."""

from __future__ import annotations

import logging
from typing import Any, cast

import structlog
from structlog.typing import EventDict, WrappedLogger

from echoserver.observe.logger import Logger
from echoserver.observe.rendering import escape


def library_logger() -> Logger:
    """Return the logger `echoserver` of the standard library, for events with fields."""
    logger = structlog.wrap_logger(
        logging.getLogger("echoserver"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _escape, _as_text],
    )
    return cast("Logger", logger.bind())


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return escape(dict(event))


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Render an event for the standard library's logging: one message, and the arguments that it handles itself."""
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = event.pop("event")
    return (" ".join([str(text), *(f"{key}={value}" for key, value in event.items())]),), passed_on
