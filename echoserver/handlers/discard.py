"""The discard service of RFC 863: whatever comes is thrown away, and nothing is sent."""

from __future__ import annotations

from typing import ClassVar

from echoserver.handlers.handler import Handler


class Discard(Handler):
    """Throw away whatever comes and send nothing (RFC 863)."""

    blocking: ClassVar[bool] = False

    def feed(self, _data: bytes) -> bytes:
        """Return nothing."""
        return b""
