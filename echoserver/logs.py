"""Logging that never blocks a serving thread.

A log call puts its event on a bounded queue; one writer thread takes it off, renders it and writes it. Serving threads
are the producers and the writer the consumer: where the log's reader stops, the queue fills, and further lines are
dropped and counted, so that a stuck log costs lines and never connections.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import traceback
from collections.abc import MutableMapping
from queue import Full, Queue
from threading import Lock, Thread
from time import time
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from echoserver.clock import Throttle

QUEUE_LINES = 16384
_REPORT_EVERY = 1.0
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def library_logger() -> FilteringBoundLogger:
    """Return the logger of an embedded server: the standard library's `echoserver`, which the host program sets up."""
    logger = structlog.wrap_logger(
        logging.getLogger("echoserver"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _escape, _as_text],
    )
    return cast("FilteringBoundLogger", logger)


class LogWriter:
    """The log of the command: the queue, the thread that empties it, and the count of what did not fit.

    Parameters
    ----------
    descriptor:
        Where the lines go; the writer neither opens nor closes it.
    level:
        The least important level to write: debug, info, warning or error.
    log_format:
        console, json, or auto: console on a terminal and JSON elsewhere.
    queue_lines:
        How many lines may wait to be written.

    """

    def __init__(self, descriptor: int, level: str, log_format: str, *, queue_lines: int = QUEUE_LINES) -> None:
        self._descriptor = descriptor
        console = log_format == "console" or (log_format == "auto" and os.isatty(descriptor))
        self._render = _renderers(console=console, colours=os.isatty(descriptor) and not os.environ.get("NO_COLOR"))
        self._queue: Queue[EventDict | None] = Queue(queue_lines)
        # Guards the two counts. A lock and not the metrics' semaphore: every lost line passes here, on serving threads.
        self._lock = Lock()
        self._dropped = 0
        self._unreported = 0
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            self,
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            processors=[structlog.processors.add_log_level, self._enqueue],
        )
        self._thread = Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far, because the queue was full or writing failed."""
        with self._lock:
            return self._dropped

    def close(self, timeout: float) -> bool:
        """Write what is queued and end the thread; return whether that took less than `timeout` seconds."""
        try:
            self._queue.put(None, timeout=timeout)
        except Full:
            return False
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enqueue(self, _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        """Queue an event as it is, as the chain's last processor: rendering costs far more, and is the writer's."""
        event["timestamp"] = time()
        if event.get("exc_info") is True:
            event["exc_info"] = sys.exc_info()
        try:
            self._queue.put_nowait(event)
        except Full:
            self._lost(1)
        raise structlog.DropEvent

    def _write_all(self) -> None:
        report = Throttle(_REPORT_EVERY)
        while (event := self._queue.get()) is not None:
            self._write(event)
            self._report_lost(report)
        self._report_lost(Throttle(0))

    def _report_lost(self, throttle: Throttle) -> None:
        with self._lock:
            count = self._unreported
            if not count or not throttle.ready():
                return
            self._unreported = 0
        self._write({"event": "log lines dropped", "level": "warning", "timestamp": time(), "lines": count})

    def _lost(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines
            self._unreported += lines

    def _write(self, event: EventDict) -> None:
        try:
            rendered: Any = event
            for process in self._render:
                rendered = process(None, "", rendered)
            line = memoryview(f"{rendered}\n".encode("utf-8", "backslashreplace"))
            # The descriptor itself, with no buffer between: a daemon thread stuck in a buffer's lock can't be left
            # behind at exit.
            while line:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BlockingIOError:  # somebody made the terminal or pipe non-blocking for all its users
                    select.select([], [self._descriptor], [])
        except Exception:  # noqa: BLE001 - a full disk, a closed pipe, a value that can't be shown: the line is lost and counted
            self._lost(1)


def _renderers(*, console: bool, colours: bool) -> list[Processor]:
    if not console:
        return [
            _utc,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=True),
        ]
    return [
        _local_time,
        _escape,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=_traceback, pad_event_to=24),
    ]


def _utc(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(event.pop("timestamp"), UTC).isoformat(timespec="milliseconds")
    # First what every line has, so that the eye finds it.
    return {"timestamp": moment, "level": event.pop("level"), "event": event.pop("event"), **event}


def _local_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    from datetime import datetime

    event["timestamp"] = datetime.fromtimestamp(event["timestamp"]).strftime("%H:%M:%S.%f")[:-3]
    return event


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: what a peer or a plug-in put into a value must not reach the terminal as a command."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """Print a traceback line by line, with each line's control characters escaped."""
    text = "".join(traceback.format_exception(*exc_info))
    out.write("\n".join("    " + line.encode("unicode_escape").decode("ascii") for line in text.rstrip().split("\n")))


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Render an event as the standard library's logging wants it: one message, and what it handles itself."""
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = event.pop("event")
    return (" ".join([str(text), *(f"{key}={value}" for key, value in event.items())]),), passed_on
