"""How an event becomes a line: JSON for machines, text for people, a message for the standard library's logging."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json import JSONEncoder
from traceback import TracebackException
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Printed below the line on a terminal, and not in it.
_MANY_LINES = ("exception", "stack")


def renderer(*, console: bool, colours: bool) -> Callable[[EventDict], bytes | None]:
    """Return a function that renders an event as a line; it returns `None` for an event that can't be rendered.

    Parameters
    ----------
    console:
        Render for people; otherwise as JSON.
    colours:
        Whether lines for people have colours.

    """
    processors = _processors(console=console, colours=colours)

    def render(event: EventDict) -> bytes | None:
        try:
            rendered: Any = event
            for process in processors:
                rendered = process(None, "", rendered)
            return f"{rendered}\n".encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - such as a value whose `__str__` raises; the caller counts the line as lost
            return None

    return render


def _processors(*, console: bool, colours: bool) -> list[Processor]:
    if not console:
        # Made once: `json.dumps` would make an encoder for each line.
        encode = JSONEncoder(default=str).encode
        return [_utc, _traceback, structlog.processors.JSONRenderer(lambda event, **_: encode(event))]
    line = structlog.dev.ConsoleRenderer(
        colors=colours, sort_keys=False, pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
    )
    return [_local_time, _traceback, _compact, escape, line]


def _utc(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    moment = datetime.fromtimestamp(event.pop("timestamp"), UTC).isoformat(timespec="milliseconds")
    # The fields that every line has come first, where the eye finds them.
    return {"timestamp": moment, "level": event.pop("level"), "event": event.pop("event"), **event}


def _local_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.fromtimestamp(event["timestamp"]).strftime("%H:%M:%S.%f")[:-3]
    return event


def _traceback(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = event.get("exception")
    if isinstance(error, TracebackException):
        event["exception"] = "".join(error.format()).rstrip()
    return event


def _compact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write counts and lists for people: `closed=eof:3,idle:1` without the zeroes, and `cut=-` for an empty list."""
    for key, value in event.items():
        if isinstance(value, Mapping):
            event[key] = ",".join(f"{name}:{count}" for name, count in value.items() if count) or "-"
        elif isinstance(value, list | tuple):
            event[key] = ",".join(map(str, value)) or "-"
    return event


def escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: text from a peer or a plug-in must not reach the terminal as a command."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key in _MANY_LINES else [value]
            event[key] = "\n".join(line.encode("unicode_escape").decode("ascii") for line in lines)
    return event


def as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Render an event for the standard library's logging: one message, and the arguments that it handles itself."""
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = event.pop("event")
    return (" ".join([str(text), *(f"{key}={value}" for key, value in event.items())]),), passed_on
