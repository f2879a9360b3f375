"""Logging without a thread, for a process that forks: the line is rendered and written by whoever logs it."""

from __future__ import annotations

import os
import select
from time import time

from echoserver.observe.logger import LevelLogger
from echoserver.observe.rendering import Fields, is_console, renderer


class DirectLog:
    """Writes each event at once, unless its reader takes nothing: then the line is dropped and counted.

    A process that forks may have no other thread (fork(2)), so it has no `LogWriter`. It logs a few lines an hour.

    Parameters
    ----------
    descriptor:
        Where the lines go; it is neither opened nor closed here.
    level:
        The least important level to write: debug, info, warning or error.
    log_format:
        console, json, or auto: console on a terminal and JSON elsewhere.
    process:
        What each line says it is from.

    """

    def __init__(self, descriptor: int, level: str, log_format: str, process: str) -> None:
        self._descriptor = descriptor
        self._render = renderer(
            console=is_console(descriptor, log_format),
            colours=os.isatty(descriptor) and not os.environ.get("NO_COLOR"),
            process=process,
        )
        self.dropped = 0
        """How many lines were lost."""
        self.logger = LevelLogger(level, self._write)

    def _write(self, level: str, event: Fields) -> None:
        event["timestamp"], event["level"] = time(), level
        line = self._render(event) or b""
        # A pipe that polls as writable takes this many bytes without blocking (pipe(7)), and a terminal or a file any.
        pieces = (
            [line[start : start + select.PIPE_BUF] for start in range(0, len(line), select.PIPE_BUF)] if line else []
        )
        if not pieces or not all(self._write_piece(piece) for piece in pieces):
            self.dropped += 1

    def _write_piece(self, piece: bytes) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        try:
            return bool(poll.poll(0)) and os.write(self._descriptor, piece) == len(piece)
        except OSError:  # the disk is full, the pipe closed
            return False
