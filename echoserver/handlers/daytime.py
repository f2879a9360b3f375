"""The daytime service of RFC 867: says the time and ends the connection, whatever comes.

The time is that of the wall clock, in UTC. No time limit depends on it.
"""

from __future__ import annotations

import time
from typing import ClassVar

from echoserver.handlers.handler import Handler, Last

# Not those of the locale, in which an embedding program may have chosen another language.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)


class Daytime(Handler):
    """Say the date and the time in UTC, and end the connection (RFC 867)."""

    blocking: ClassVar[bool] = False

    def greet(self) -> Last:
        """Return the line."""
        return Last(line_at(time.time()))

    def feed(self, _data: bytes) -> bytes:
        """Return nothing: what comes is thrown away."""
        return b""


def line_at(seconds: float) -> bytes:
    """Return a line such as `Monday, February 22, 1982 17:37:43-UTC`.

    Parameters
    ----------
    seconds:
        The time, in seconds since the epoch.

    """
    now = time.gmtime(seconds)
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{day}, {month} {now.tm_mday}, {now.tm_year} {clock}-UTC\r\n".encode("ascii")
