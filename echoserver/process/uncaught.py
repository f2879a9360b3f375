"""What nobody catches goes to the log, as one escaped event, instead of raw to standard error."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import TracebackException
from typing import TYPE_CHECKING

from echoserver.observe.logger import Logger

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


@dataclass(frozen=True, slots=True)
class IgnoredError:
    """An exception that the interpreter could not raise anywhere, such as one in a `__del__`."""

    source: str
    thread: str
    traceback: TracebackException

    def log(self, log: Logger) -> None:
        """Log it; for the main thread."""
        log.error("exception ignored", source=self.source, thread=self.thread, exception=self.traceback)


@contextmanager
def uncaught_errors_to(log: Logger, post: Callable[[IgnoredError], None]) -> Iterator[None]:
    """Send what threads and finalisers raise to the log, and restore the interpreter's hooks afterwards.

    Only the command does so: in an embedding program the hooks are the host's to set.

    Parameters
    ----------
    log:
        Takes what a thread raised, from that thread.
    post:
        Takes what a finaliser raised. It must be reentrant: garbage may be collected while this thread holds the log's
        lock, so nothing may be logged from there.

    """

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or isinstance(args.exc_value, SystemExit):  # as the interpreter's own hook does
            return
        name = args.thread.name if args.thread is not None else "?"
        log.error("uncaught exception in a thread", thread=name, exc_info=args.exc_value)

    def ignored(args: UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            # Only texts are kept: the object itself may be dying (sys.unraisablehook).
            trace = TracebackException.from_exception(args.exc_value)
            post(IgnoredError(_source(args), threading.current_thread().name, trace))

    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = in_thread, ignored
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def _source(args: UnraisableHookArgs) -> str:
    if args.err_msg:
        return args.err_msg
    try:
        return repr(args.object)
    except Exception:  # noqa: BLE001 - a handler's own `__repr__`
        return object.__repr__(args.object)
