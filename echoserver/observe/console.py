"""Log lines for people, as structlog renders them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog


def console_renderer(*, colours: bool) -> Callable[[dict[str, Any]], str]:
    """Return what renders an event as a line for people, with or without colours."""
    render = structlog.dev.ConsoleRenderer(
        colors=colours, sort_keys=False, pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
    )
    return lambda event: render(None, "", event)
