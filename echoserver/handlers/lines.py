"""The echo service of RFC 862 in whole lines. A line ends with LF; a CR before it belongs to the line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from echoserver.errors import PeerError
from echoserver.handlers.handler import Handler
from echoserver.handlers.options import BytesBetween


class Lines(Handler):
    """Send back complete lines; what has no newline at the end of input is dropped."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        *,
        max_line: Annotated[int, "longest line, its newline left out", BytesBetween(1, 1024**3)] = 64 * 1024,
    ) -> None:
        self._most = max_line
        self._held = bytearray()  # an unfinished line

    def feed(self, data: bytes) -> bytes | Iterator[bytes]:
        """Return all lines that are complete now as one reply."""
        held, end = self._held, data.rfind(b"\n") + 1
        first = data.find(b"\n") if end else len(data)
        if len(held) + first > self._most:
            return self._refuse(b"")
        # Only a piece that is longer than a line may be can have a line within it that is too long.
        if len(data) > self._most and (good := self._count_good(data)) >= 0:
            return self._refuse(bytes(held) + data[:good])
        if not end:
            held += data
            return b""
        reply = bytes(held) + data[:end] if held else data[:end]
        if held or end < len(data):
            self._held = bytearray(data[end:])
        return reply

    def _count_good(self, data: bytes) -> int:
        """Return how many bytes precede the first line that is too long; -1 if there is none."""
        start = 0
        while start < len(data):
            end = data.find(b"\n", start)
            if (len(data) if end < 0 else end) - start > self._most:
                return start
            if end < 0:
                break
            start = end + 1
        return -1

    def _refuse(self, reply: bytes) -> Iterator[bytes]:
        """Send the lines that were complete before the one that is too long."""
        self._held = bytearray()
        yield reply
        raise PeerError(f"a line is longer than max_line = {self._most} bytes")
