"""The echo service of RFC 862: every byte goes back as it came."""

from __future__ import annotations

from typing import ClassVar

from echoserver.handlers.handler import Handler, feed_unchanged


class Echo(Handler):
    """Send every byte back as it came (RFC 862)."""

    blocking: ClassVar[bool] = False
    feed = feed_unchanged
