"""How an event becomes a line: JSON for machines, text for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from traceback import TracebackException
from typing import Any

Fields = dict[str, Any]
"""An event: its name, its level, when it happened, and what belongs to it."""
Processor = Callable[[Fields], Any]

# Printed below the line on a terminal, and not in it.
_MANY_LINES = ("exception", "stack")


def is_console(descriptor: int, log_format: str) -> bool:
    """Return whether lines of this format (console, json, or auto) are for people who look at this descriptor."""
    return log_format == "console" or (log_format == "auto" and os.isatty(descriptor))


def renderer(*, console: bool, colours: bool, process: str = "") -> Callable[[Fields], bytes | None]:
    """Return a function that renders an event as a line; it returns `None` for an event that can't be rendered.

    Parameters
    ----------
    console:
        Render for people; otherwise as JSON.
    colours:
        Whether lines for people have colours.
    process:
        Which process of several each line is from; empty for the only one.

    """
    processors = _processors(console=console, colours=colours)
    if process:
        processors.insert(0, lambda event: {"process": process, **event})

    def render(event: Fields) -> bytes | None:
        try:
            rendered: Any = event
            for process in processors:
                rendered = process(rendered)
            return f"{rendered}\n".encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - such as a value whose `__str__` raises; the caller counts the line as lost
            return None

    return render


def _processors(*, console: bool, colours: bool) -> list[Processor]:
    if not console:
        return [_utc, _traceback, _FirstUse(_json_renderer)]
    return [_local_time, _traceback, _compact, escape, _FirstUse(lambda: _console_renderer(colours=colours))]


class _FirstUse:
    """A processor that is made for the first event. Loading what it needs takes long, and peers are served by then."""

    def __init__(self, make: Callable[[], Processor]) -> None:
        self._make = make
        self._process: Processor | None = None

    def __call__(self, event: Fields) -> object:
        if self._process is None:
            self._process = self._make()
        return self._process(event)


def _json_renderer() -> Processor:
    from json import JSONEncoder

    return JSONEncoder(default=str).encode  # `json.dumps` would make an encoder for each line


def _console_renderer(*, colours: bool) -> Processor:
    from echoserver.observe.console import console_renderer

    return console_renderer(colours=colours)


def _utc(event: Fields) -> Fields:
    moment = datetime.fromtimestamp(event.pop("timestamp"), UTC).isoformat(timespec="milliseconds")
    # The fields that every line has come first, where the eye finds them.
    return {"timestamp": moment, "level": event.pop("level"), "event": event.pop("event"), **event}


def _local_time(event: Fields) -> Fields:
    event["timestamp"] = datetime.fromtimestamp(event["timestamp"]).strftime("%H:%M:%S.%f")[:-3]
    return event


def _traceback(event: Fields) -> Fields:
    error = event.get("exception")
    if isinstance(error, TracebackException):
        event["exception"] = "".join(error.format()).rstrip()
    return event


def _compact(event: Fields) -> Fields:
    """Write counts and lists for people: `closed=eof:3,idle:1` without the zeroes, and `cut=-` for an empty list."""
    for key, value in event.items():
        if isinstance(value, Mapping):
            event[key] = ",".join(f"{name}:{count}" for name, count in value.items() if count) or "-"
        elif isinstance(value, list | tuple):
            event[key] = ",".join(map(str, value)) or "-"
    return event


def escape(event: Fields) -> Fields:
    """Escape control characters: text from a peer or a plug-in must not reach the terminal as a command."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key in _MANY_LINES else [value]
            event[key] = "\n".join(line.encode("unicode_escape").decode("ascii") for line in lines)
    return event
