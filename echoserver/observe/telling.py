"""Logging from threads that serve everybody: whatever the log does, they go on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from echoserver.observe.logger import Logger


def tell(log: Callable[..., object], event: str, **facts: object) -> None:
    """Log an event. The log of an embedding program may raise: that is reported, and the thread goes on."""
    try:
        log(event, **facts)
    except Exception:  # noqa: BLE001 - as above; this thread serves others too
        report()


def report() -> None:
    """Report the exception being handled as Python reports one that ends a thread; the thread goes on."""
    # Looked up now: the program may have installed its hook after this module was loaded.
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def library_logger() -> Logger:
    """Return the logger of an embedded server, which passes everything on to the standard library's."""
    from echoserver.observe.embedded import library_logger as embedded  # it loads structlog, which takes long

    return embedded()
