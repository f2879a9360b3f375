"""What the tests of the log share: a writer on a pipe, and an error to log."""

from __future__ import annotations

import os
import threading

from echoserver.observe.logs import LogWriter

PATIENCE = 10.0


class Pipe:
    """A pipe with a log writer at one end, whose other end the test reads or neglects."""

    def __init__(self, log_format: str = "json", level: str = "debug", **options: int) -> None:
        self.read_end, self.write_end = os.pipe()
        self.writer = LogWriter(self.write_end, level, log_format, **options)
        self.log = self.writer.logger

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_read_end()  # a writer that is stuck gets an error
        self.writer.close(PATIENCE)
        self.writer._thread.join(PATIENCE)
        if self.write_end >= 0:
            os.close(self.write_end)

    def clog(self) -> None:
        """Fill the pipe, with empty lines: from here on the writer waits for somebody to read."""
        os.set_blocking(self.write_end, False)
        try:
            while True:
                os.write(self.write_end, b"\n")
        except BlockingIOError:
            os.set_blocking(self.write_end, True)

    def close_read_end(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def finish(self) -> list[str]:
        """End the writer, reading along, and return all its lines."""
        ended = threading.Thread(target=self._end_writer)
        ended.start()
        with os.fdopen(self.read_end, encoding="utf-8", newline="\n") as file:
            self.read_end = -1
            lines = file.read().splitlines()
        ended.join(PATIENCE)
        return lines

    def _end_writer(self) -> None:
        assert self.writer.close(PATIENCE)
        os.close(self.write_end)
        self.write_end = -1


def one(lines: list[str]) -> str:
    (line,) = lines
    return line


def fail_with_local(held: object) -> None:
    raise ValueError("two\nlines \x1b[31m")
