"""The character generator of RFC 864: lines without end, whatever comes is thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Annotated, ClassVar

from echoserver.handlers.handler import Handler, Last
from echoserver.handlers.options import Between

_RING = bytes(range(0x20, 0x7F))  # the 95 printing characters of ASCII
_WIDTH = 72
_LINE_BYTES = _WIDTH + 2
_LINES = 8 * len(_RING)
# The pattern repeats after 95 lines. A piece holds several rounds of it, so that no work is done for each line.
_PIECE = b"".join((_RING * 2)[first : first + _WIDTH] + b"\r\n" for first in range(len(_RING))) * 8


class Chargen(Handler):
    """Send lines of 72 characters, each beginning one character later, without end (RFC 864)."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        *,
        lines: Annotated[int, "how many lines to send before the end; 0 is endless", Between(0, 10**12)] = 0,
    ) -> None:
        self._lines = lines

    def greet(self) -> Iterator[bytes]:
        """Return the lines in pieces of about 55 KiB, each taken when the peer has accepted the one before."""
        if not self._lines:
            return repeat(_PIECE)
        pieces, rest = divmod(self._lines, _LINES)
        return chain(repeat(_PIECE, pieces), (Last(_PIECE[: rest * _LINE_BYTES]),))

    def feed(self, _data: bytes) -> bytes:
        """Return nothing: what comes is thrown away."""
        return b""
