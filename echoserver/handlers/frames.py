"""The echo service of RFC 862 in frames: a length of 4 bytes, most significant first (RFC 1700), and so many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, ClassVar

from echoserver.errors import PeerError
from echoserver.handlers.handler import Handler
from echoserver.handlers.options import BytesBetween

_LENGTH = struct.Struct("!I")


class Frames(Handler):
    """Send back whole frames, each a length of 4 bytes, big-endian, and so many bytes."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        *,
        max_frame: Annotated[int, "most bytes in a frame, its length left out", BytesBetween(1, 1024**3)] = 1024**2,
    ) -> None:
        self._most = max_frame
        self._held = bytearray()  # an unfinished frame
        self._wanted = _LENGTH.size  # how much of it has to be there before anything can be done

    def feed(self, data: bytes) -> bytes | Iterator[bytes]:
        """Return all frames that are complete now as one reply."""
        held = self._held
        if held:
            # Appending takes no longer for a long frame than for a short one, and nothing is looked at before all of
            # what is wanted has come. So each byte is copied a fixed number of times, however small the pieces are.
            held += data
            if len(held) < self._wanted:
                return b""
        whole = held or data
        end, excess = self._scan(whole)
        if excess:
            return self._refuse(bytes(whole[:end]), excess)
        if not end:
            if not held:
                self._held = bytearray(data)
            return b""
        reply = data if end == len(data) and not held else bytes(memoryview(whole)[:end])
        if held or end < len(data):
            self._held = bytearray(memoryview(whole)[end:])
        return reply

    def _scan(self, data: bytes | bytearray) -> tuple[int, int]:
        """Find out what of the data is whole frames, and set how much is wanted of the one after them.

        Returns
        -------
        tuple
            Where the last whole frame ends, and the length of the one that follows if that is too long; 0 if it isn't.

        """
        start = 0
        while start + _LENGTH.size <= len(data):
            (length,) = _LENGTH.unpack_from(data, start)
            if length > self._most:
                return start, length
            end = start + _LENGTH.size + length
            if end > len(data):
                self._wanted = end - start
                return start, 0
            start = end
        self._wanted = _LENGTH.size
        return start, 0

    def _refuse(self, reply: bytes, length: int) -> Iterator[bytes]:
        """Send the frames before the one that is too long."""
        self._held = bytearray()
        yield reply
        raise PeerError(f"a frame of {length} bytes is longer than max_frame = {self._most} bytes")
