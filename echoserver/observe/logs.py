"""Logging that never blocks a serving thread.

A log call puts its event on a bounded queue; one writer thread takes it off, renders it and writes it. Serving threads
are the producers and the writer the consumer: where the log's reader stops, the queue fills, and further lines are
dropped and counted, so that a stuck log costs lines and never connections.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from itertools import accumulate
from json import JSONEncoder
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from time import time
from traceback import TracebackException
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from echoserver.clock import Deadline, Throttle

QUEUE_LINES = 16384
_REPORT_EVERY = 1.0
# Between two batches, so that a server that ends thousands of connections a second doesn't wake the writer for each: to
# wake it, and to let it have the interpreter's lock, costs more than to render the line.
_GATHER_SECONDS = 0.01
_BATCH_LINES = 256
_PATIENCE = 1.0
_NEWLINE = 0x0A
# Printed below the line on a terminal, and not in it.
_MANY_LINES = ("exception", "stack")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def library_logger() -> FilteringBoundLogger:
    """Return the logger of an embedded server: the standard library's `echoserver`, which the host program sets up."""
    logger = structlog.wrap_logger(
        logging.getLogger("echoserver"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _escape, _as_text],
    )
    return cast("FilteringBoundLogger", logger.bind())


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
        self._closing = Event()
        self._patience = _PATIENCE  # of the thread that uses `patient_logger`, its own
        self._torn = False  # the writer's own: what was written last ended inside a line
        # Guards the two counts. A lock and not the metrics' semaphore: every lost line passes here, on serving threads.
        self._lock = Lock()
        self._dropped = 0
        self._unreported = 0
        wrapper = structlog.make_filtering_bound_logger(_LEVELS[level])
        # Bound already: what `wrap_logger` returns makes a new logger for each line.
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            self, wrapper_class=wrapper, processors=[self._enqueue]
        ).bind()
        """For every thread: it never waits."""
        self.patient_logger: FilteringBoundLogger = structlog.wrap_logger(
            self, wrapper_class=wrapper, processors=[self._enqueue_patiently]
        ).bind()
        """For the one thread that answers people and serves nobody: where the queue is full, it waits a second."""
        self._thread = Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far, because the queue was full or writing failed."""
        with self._lock:
            return self._dropped

    def close(self, timeout: float) -> bool:
        """Write what is queued and end the thread; return whether that took less than `timeout` seconds."""
        deadline = Deadline(timeout)
        self._closing.set()
        try:
            self._queue.put(None, timeout=deadline.timeout())
        except Full:
            return False
        self._thread.join(deadline.timeout())
        return not self._thread.is_alive()

    def _enqueue(self, _logger: WrappedLogger, level: str, event: MutableMapping[str, Any]) -> EventDict:
        """Queue an event as it is, as the chain's last processor: rendering costs far more, and is the writer's."""
        self._put(level, event, 0)
        raise structlog.DropEvent

    def _enqueue_patiently(self, _logger: WrappedLogger, level: str, event: MutableMapping[str, Any]) -> EventDict:
        # Where one was waited for in vain, the next isn't, or a log that is stuck would hold up the signals.
        self._patience = _PATIENCE if self._put(level, event, self._patience) else 0
        raise structlog.DropEvent

    def _put(self, level: str, event: MutableMapping[str, Any], patience: float) -> bool:
        event["timestamp"], event["level"] = time(), level
        error = event.pop("exc_info", None)
        if isinstance(error, BaseException):
            # Where the error arose, without the frames and all that they hold, which would wait in the queue with it.
            event["exception"] = TracebackException.from_exception(error)
        try:
            self._queue.put(event, block=patience > 0, timeout=patience)
        except Full:
            self._lost(1)
            return False
        return True

    def _write_all(self) -> None:
        report, more = Throttle(_REPORT_EVERY), True
        while more:
            events, more = self._next_batch()
            self._lost(len(events) - self._write(events))
            self._report_lost(report)
            if more and len(events) < _BATCH_LINES:
                self._closing.wait(_GATHER_SECONDS)
        self._report_lost(Throttle(0))

    def _next_batch(self) -> tuple[list[EventDict], bool]:
        """Wait for an event; return it with those behind it, and whether there will be more."""
        batch: list[EventDict] = []
        event = self._queue.get()
        while event is not None:
            batch.append(event)
            if len(batch) == _BATCH_LINES:
                return batch, True
            try:
                event = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _report_lost(self, throttle: Throttle) -> None:
        with self._lock:
            count = self._unreported
        if count and throttle.ready():
            report = {"event": "log lines dropped", "level": "warning", "timestamp": time(), "lines": count}
            if self._write([report]):
                with self._lock:
                    self._unreported -= count  # more may have been lost while this was written

    def _lost(self, count: int) -> None:
        if count:
            with self._lock:
                self._dropped += count
                self._unreported += count

    def _write(self, events: list[EventDict]) -> int:
        """Render and write events; return how many got there: the disk may be full, the pipe closed."""
        lines = [line for line in map(self._line, events) if line is not None]
        written = 0
        while written < len(lines):
            # Whole lines, and no more than a pipe takes at once: where several processes write to one, it keeps such a
            # piece together (pipe(7), PIPE_BUF).
            end, size = written + 1, len(lines[written])
            while end < len(lines) and size + len(lines[end]) <= select.PIPE_BUF:
                size += len(lines[end])
                end += 1
            count = self._write_together(lines[written:end])
            written += count
            if written < end:
                break
        return written

    def _write_together(self, lines: list[bytes]) -> int:
        """Write lines at once; return how many of them got there whole."""
        done, before = 0, b"\n" if self._torn else b""
        try:
            text = memoryview(b"".join([before, *lines]))
            # The descriptor itself, with no buffer between: a daemon thread stuck in a buffer's lock can't be left
            # behind at exit.
            while done < len(text):
                try:
                    done += os.write(self._descriptor, text[done:])
                    self._torn = text[done - 1] != _NEWLINE
                except BlockingIOError:  # somebody made the terminal or pipe non-blocking for all its users
                    select.select([], [self._descriptor], [])
        except Exception:  # noqa: BLE001 - whatever it was, the caller counts the lines as lost
            return sum(len(before) + end <= done for end in accumulate(map(len, lines)))
        return len(lines)

    def _line(self, event: EventDict) -> bytes | None:
        """Render an event; return `None` if what is in it can't be."""
        try:
            rendered: Any = event
            for process in self._render:
                rendered = process(None, "", rendered)
            return f"{rendered}\n".encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - a handler's error that can't be shown, for one; the caller counts it as lost
            return None


def _renderers(*, console: bool, colours: bool) -> list[Processor]:
    if not console:
        # Made once: `json.dumps` makes an encoder for each line.
        encode = JSONEncoder(default=str).encode
        return [_utc, _traceback, structlog.processors.JSONRenderer(lambda event, **_: encode(event))]
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, sort_keys=False, pad_event_to=20, exception_formatter=structlog.dev.plain_traceback
    )
    return [_local_time, _traceback, _compact, _escape, renderer]


def _utc(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    moment = datetime.fromtimestamp(event.pop("timestamp"), UTC).isoformat(timespec="milliseconds")
    # First what every line has, so that the eye finds it.
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
    """Write counts and lists as people do: `closed=eof:3,idle:1` without the zeroes, and `cut=-` for nothing."""
    for key, value in event.items():
        if isinstance(value, Mapping):
            event[key] = ",".join(f"{name}:{count}" for name, count in value.items() if count) or "-"
        elif isinstance(value, list | tuple):
            event[key] = ",".join(map(str, value)) or "-"
    return event


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: what a peer or a plug-in put into a value must not reach the terminal as a command."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key in _MANY_LINES else [value]
            event[key] = "\n".join(line.encode("unicode_escape").decode("ascii") for line in lines)
    return event


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Render an event as the standard library's logging wants it: one message, and what it handles itself."""
    passed_on = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    text = event.pop("event")
    return (" ".join([str(text), *(f"{key}={value}" for key, value in event.items())]),), passed_on
