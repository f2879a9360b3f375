"""Logging that never blocks a serving thread.

A log call puts its event on a bounded queue; one writer thread takes it off, renders it and writes it. If the reader of
the log stops, the queue fills, and further lines are dropped and counted: a stuck log costs lines, never connections.
"""

from __future__ import annotations

import os
import select
from itertools import accumulate
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from time import time
from traceback import TracebackException

from echoserver.clock import Deadline, Throttle
from echoserver.observe.logger import LevelLogger
from echoserver.observe.rendering import Fields, is_console, renderer

QUEUE_LINES = 16384
_REPORT_EVERY = 1.0
# Between two batches, so that a server that ends thousands of connections a second doesn't wake the writer for each:
# waking it and handing it the interpreter lock costs more than rendering the line.
_GATHER_SECONDS = 0.01
_BATCH_LINES = 256
_PATIENCE = 1.0
_NEWLINE = 0x0A


class LogWriter:
    """The log of the command: the queue, the thread that empties it, and the count of the lines that were lost.

    Parameters
    ----------
    descriptor:
        Where the lines go; the writer neither opens nor closes it.
    level:
        The least important level to write: debug, info, warning or error.
    log_format:
        console, json, or auto: console on a terminal and JSON elsewhere.
    process:
        Which process of several each line is from; empty for the only one.
    queue_lines:
        How many lines may wait to be written.

    """

    def __init__(
        self, descriptor: int, level: str, log_format: str, *, process: str = "", queue_lines: int = QUEUE_LINES
    ) -> None:
        self._descriptor = descriptor
        self._render = renderer(
            console=is_console(descriptor, log_format),
            colours=os.isatty(descriptor) and not os.environ.get("NO_COLOR"),
            process=process,
        )
        self._queue: Queue[Fields | None] = Queue(queue_lines)
        self._closing = Event()
        self._patience = _PATIENCE  # owned by the one thread that uses `patient_logger`
        self._ended = False  # the writer's own: it has met the end of the queue
        self._torn = False  # the writer's own: the last write ended inside a line
        # Guards the two counts.
        self._lock = Lock()
        self._dropped = 0
        self._unreported = 0
        self.level = level
        """The least important level that is written; replaced as a whole."""
        self.logger = LevelLogger(level, self._enqueue)
        """For every thread: it never waits."""
        self.patient_logger = LevelLogger(level, self._enqueue_patiently)
        """For the main thread, which serves no connection: where the queue is full, it waits up to a second."""
        self._thread = Thread(target=self._write_all, name="log-writer", daemon=True)
        self._thread.start()

    def set_level(self, level: str) -> None:
        """Write events from another level upwards; from any thread."""
        self.level = level
        self.logger.set_level(level)
        self.patient_logger.set_level(level)

    @property
    def dropped(self) -> int:
        """How many lines were lost so far, because the queue was full or writing failed."""
        with self._lock:
            return self._dropped

    def close(self, timeout: float) -> bool:
        """Write what is queued and end the thread; return whether it ended within `timeout` seconds."""
        deadline = Deadline(timeout)
        self._closing.set()
        try:
            self._queue.put(None, timeout=deadline.timeout())
        except Full:
            return False
        self._thread.join(deadline.timeout())
        return not self._thread.is_alive()

    def _enqueue(self, level: str, event: Fields) -> None:
        """Queue an event unrendered: rendering costs far more, so the writer does it."""
        self._put(level, event, 0)

    def _enqueue_patiently(self, level: str, event: Fields) -> None:
        # After one wait without success the next line doesn't wait: a stuck log must not hold up the signals.
        self._patience = _PATIENCE if self._put(level, event, self._patience) else 0

    def _put(self, level: str, event: Fields, patience: float) -> bool:
        event["timestamp"], event["level"] = time(), level
        error = event.pop("exc_info", None)
        if isinstance(error, BaseException):
            # Only its text: the error itself would keep its frames, and all they refer to, alive in the queue.
            event["exception"] = TracebackException.from_exception(error)
        try:
            self._queue.put(event, block=patience > 0, timeout=patience)
        except Full:
            self._lost(1)
            return False
        return True

    def _write_all(self) -> None:
        report = Throttle(_REPORT_EVERY)
        while not self._ended:
            try:
                self._write_batch(report)
            except Exception:  # noqa: BLE001, S112 - such as MemoryError: it costs a batch, and never the thread
                continue
        self._report_lost(Throttle(0))

    def _write_batch(self, report: Throttle) -> None:
        batch: list[Fields] = []
        written = 0
        try:
            self._take_batch(batch)
            written = self._write(batch)
        finally:
            self._lost(len(batch) - written)
        self._report_lost(report)
        if not self._ended and len(batch) < _BATCH_LINES:
            self._closing.wait(_GATHER_SECONDS)

    def _take_batch(self, batch: list[Fields]) -> None:
        """Wait for an event; put it and those behind it into the batch, and note the end of all."""
        event = self._queue.get()
        while event is not None:
            batch.append(event)
            if len(batch) == _BATCH_LINES:
                return
            try:
                event = self._queue.get_nowait()
            except Empty:
                return
        self._ended = True

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

    def _write(self, events: list[Fields]) -> int:
        """Render and write events; return how many were written: the disk may be full, the pipe closed."""
        lines = [line for line in map(self._render, events) if line is not None]
        written = 0
        while written < len(lines):
            # Whole lines, and no more than a pipe takes at once: it keeps such a piece together even if several
            # processes write to it (pipe(7), PIPE_BUF).
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
        """Write lines at once; return how many of them were written whole."""
        done, before = 0, b"\n" if self._torn else b""
        try:
            text = memoryview(b"".join([before, *lines]))
            # Straight to the descriptor: a daemon thread that holds a buffer's lock would hang the interpreter's exit.
            while done < len(text):
                try:
                    done += os.write(self._descriptor, text[done:])
                    self._torn = text[done - 1] != _NEWLINE
                except BlockingIOError:  # another user of the terminal or pipe made it non-blocking
                    select.select([], [self._descriptor], [])
        except Exception:  # noqa: BLE001 - whatever it is, the caller counts the lines as lost
            return sum(len(before) + end <= done for end in accumulate(map(len, lines)))
        return len(lines)
